//! The `redis` source against a real server: what Orca's heartbeat writes, and what happens when it stops or the server does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::BufRead;
use std::io::BufReader;
use std::net::TcpListener;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bellrock::host::clock::SystemClock;
use bellrock::model::Activity;
use bellrock::model::Clock;
use bellrock::model::InstanceId;
use bellrock::model::Sample;
use bellrock::orchestrator::Orchestrator;
use bellrock::orchestrator::endpoint::Endpoint;
use bellrock::orchestrator::endpoint::Key;
use bellrock::orchestrator::endpoint::Redis;
use bellrock::orchestrator::endpoint::Settings;
use bellrock::orchestrator::endpoint::Source;
use bellrock::orchestrator::web::Limits;
use redis::Commands;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;

/// A Redis of our own on a free port, without files; ends when it is dropped.
struct Server {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::start_at(port)
    }

    #[expect(clippy::disallowed_methods, reason = "a test has no main to hand it the environment")]
    fn start_at(port: u16) -> Self {
        let program = std::env::var("BELLROCK_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(&program)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| {
                panic!("cannot run {program}: {e}. Install redis-server, or give its path in BELLROCK_REDIS_SERVER; tests/run does both.")
            });
        let log: Vec<String> = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .take_while(|line| !line.contains("Ready to accept"))
            .collect();
        let server = Self { child, port, _dir: dir };
        server.client().get_connection().unwrap_or_else(|e| panic!("{program} did not come up on port {port}: {e}\n{}", log.join("\n")));
        server
    }

    fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).unwrap()
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// What Orca's heartbeat writes every 60 s.
    fn heartbeat(&self, id: &str, expiry_s: u64, executions: &[&str]) {
        let mut connection = self.client().get_connection().unwrap();
        let token = format!("active_executions:{id}");
        let set = format!("{token}:executions");
        let () = connection.sadd("active_instances", id).unwrap();
        let () = connection.set_ex(&token, executions.len(), expiry_s).unwrap();
        let () = connection.del(&set).unwrap();
        if !executions.is_empty() {
            let () = connection.sadd(&set, executions).unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn endpoint(server: &Server, key: Key) -> Endpoint {
    let source = Source::Redis(Redis { url: server.url(), key, expiry: Duration::from_secs(300) });
    let limits = Limits { total: Duration::from_millis(500), ..Limits::default() };
    let settings = Settings { sources: vec![source], limits, ..Settings::default() };
    Endpoint::new(settings, &InstanceId::from("i-1"), Arc::new(SystemClock::start())).unwrap()
}

fn is_unknown(sample: &Sample) -> bool {
    matches!(sample.activity, Activity::Unknown { .. })
}

#[tokio::test]
async fn says_what_the_heartbeat_said_and_how_old_it_is() {
    let server = Server::start();
    let endpoint = endpoint(&server, Key::Own);
    assert!(is_unknown(&endpoint.activity().await), "nobody has written anything");

    server.heartbeat("i-1", 280, &[]);
    let sample = endpoint.activity().await;
    assert_eq!(sample.activity, Activity::Idle);
    let age = sample.asked.wall.since(sample.measured.expect("the token dates it"));
    assert!((Duration::from_secs(20)..Duration::from_secs(50)).contains(&age), "{age:?}");

    server.heartbeat("i-1", 300, &["foo:pipeline:2", "foo:pipeline:1"]);
    let Activity::Busy { count, executions } = endpoint.activity().await.activity else { panic!("busy") };
    let urls: Vec<&str> = executions.iter().map(|execution| execution.url.as_str()).collect();
    assert_eq!((count, urls), (2, vec!["/pipelines/1", "/pipelines/2"]));
}

#[tokio::test]
async fn a_heartbeat_that_stopped_is_unknown_with_and_without_work() {
    let server = Server::start();
    let endpoint = endpoint(&server, Key::Own);
    let mut connection = server.client().get_connection().unwrap();
    for work in [vec![], vec!["foo:pipeline:1"]] {
        server.heartbeat("i-1", 300, &work);
        assert!(!is_unknown(&endpoint.activity().await));
        let () = connection.del("active_executions:i-1").unwrap();
        assert!(is_unknown(&endpoint.activity().await), "{work:?}");
    }
    server.heartbeat("i-1", 300, &[]);
    let () = connection.persist("active_executions:i-1").unwrap();
    assert!(is_unknown(&endpoint.activity().await), "a token without expiry has no age");
    let () = connection.del("active_executions:i-1").unwrap();
    let () = connection.lpush("active_executions:i-1", "0").unwrap();
    assert!(is_unknown(&endpoint.activity().await), "not a token at all");
}

#[tokio::test]
async fn processes_of_our_host_are_found_by_it() {
    let server = Server::start();
    let endpoint = endpoint(&server, Key::Host("orca-1".to_owned()));
    server.heartbeat("9@orca-2", 300, &["foo:task:1"]);
    assert!(is_unknown(&endpoint.activity().await));
    server.heartbeat("12@orca-1", 300, &[]);
    assert_eq!(endpoint.activity().await.activity, Activity::Idle);
    server.heartbeat("11@orca-1", 300, &["foo:task:2"]);
    assert!(matches!(endpoint.activity().await.activity, Activity::Busy { count: 1, .. }));
}

#[tokio::test]
async fn a_server_that_hangs_or_restarts_is_unknown_only_until_it_is_back() {
    let server = Server::start();
    let endpoint = endpoint(&server, Key::Own);
    server.heartbeat("i-1", 300, &[]);
    assert_eq!(endpoint.activity().await.activity, Activity::Idle);

    server.signal(Signal::STOP);
    let clock = SystemClock::start();
    assert!(is_unknown(&endpoint.activity().await));
    assert!(clock.now().mono < Duration::from_secs(5), "bounded");
    server.signal(Signal::CONT);
    assert_eq!(endpoint.activity().await.activity, Activity::Idle);

    let port = server.port;
    drop(server);
    assert!(is_unknown(&endpoint.activity().await));
    let server = Server::start_at(port);
    server.heartbeat("i-1", 300, &[]);
    assert_eq!(endpoint.activity().await.activity, Activity::Idle);
}
