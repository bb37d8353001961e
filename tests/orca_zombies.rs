//! `bellrock orca` against a real Redis with Orca's keys and a stand-in for its API: who is called a zombie, and what is done about one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::io::BufRead;
use std::io::BufReader;
use std::net::TcpListener;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use bellrock::host::clock::SystemClock;
use bellrock::model::Clock;
use bellrock::orchestrator::orca::Error;
use bellrock::orchestrator::orca::Findings;
use bellrock::orchestrator::orca::Orca;
use bellrock::orchestrator::orca::Settings;
use bellrock::orchestrator::orca::Store;
use bellrock::orchestrator::orca::zombie::Rules;
use bellrock::orchestrator::web::Auth;
use bellrock::orchestrator::web::Limits;
use redis::Commands;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use tokio::task::JoinSet;

const Q: &str = "orca.task.queue";
const HOUR_MS: i64 = 3_600_000;

/// A Redis of our own on a free port, without files; ends when it is dropped.
struct Redis {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Redis {
    #[expect(clippy::disallowed_methods, reason = "a test has no main to hand it the environment")]
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let program = std::env::var("BELLROCK_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(&program)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run {program}: {e}. Install redis-server, or give its path in BELLROCK_REDIS_SERVER"));
        let log = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let log: Vec<String> = log.take_while(|line| !line.contains("Ready to accept")).collect();
        let server = Self { child, port, _dir: dir };
        server.client().get_connection().unwrap_or_else(|e| panic!("{program} did not come up: {e}\n{}", log.join("\n")));
        server
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// An execution as Orca stores it, with one stage that began when it did.
    fn execution(&self, kind: &str, id: &str, status: &str, started: i64) {
        let mut connection = self.client().get_connection().unwrap();
        let key = format!("{kind}:{id}");
        let tasks = format!(r#"[{{"id":"1","name":"monitorDeploy","status":"{status}","startTime":{started},"stageStart":true}}]"#);
        let fields = [
            ("application", "shop".to_owned()),
            ("name", "release".to_owned()),
            ("status", status.to_owned()),
            ("buildTime", started.to_string()),
            ("startTime", started.to_string()),
            ("stage.s1.type", "deploy".to_owned()),
            ("stage.s1.name", "to prod".to_owned()),
            ("stage.s1.status", status.to_owned()),
            ("stage.s1.startTime", started.to_string()),
            ("stage.s1.context", r#"{"account":"prod"}"#.to_owned()),
            ("stage.s1.tasks", tasks),
        ];
        let () = connection.sadd(format!("allJobs:{kind}"), id).unwrap();
        let () = connection.hset_multiple(&key, &fields).unwrap();
        let () = connection.rpush(format!("{key}:stageIndex"), "s1").unwrap();
    }

    /// A message as Keiko stores it, in the sets named.
    fn message(&self, fingerprint: &str, json: &str, sets: &[&str]) {
        let mut connection = self.client().get_connection().unwrap();
        let () = connection.hset(format!("{Q}.messages"), fingerprint, json).unwrap();
        for set in sets {
            let () = connection.zadd(format!("{Q}.{set}"), fingerprint, 1_700_000_000_000u64).unwrap();
        }
    }

    fn orca(&self) -> Orca {
        orca("http://127.0.0.1:9", self, Some(self.url()), None)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn orca(base: &str, redis: &Redis, executions_redis: Option<String>, partition: Option<&str>) -> Orca {
    let rules = Rules { apart: Duration::from_millis(50), age: Duration::from_secs(600), partition: partition.map(str::to_owned) };
    let store = Store { queue_redis: redis.url(), queue: Q.to_owned(), executions_redis, rules };
    let limits = Limits { connect: Duration::from_secs(5), total: Duration::from_secs(5), body: 1 << 20 };
    let settings = Settings { base: base.to_owned(), auth: Auth::None, limits, store: Some(store) };
    Orca::new(&settings, Arc::new(SystemClock::start())).unwrap()
}

fn run_task(id: &str) -> String {
    format!(
        r#"{{"kind":"runTask","executionType":"PIPELINE","executionId":"{id}","application":"shop","stageId":"s1","taskId":"1","attributes":[]}}"#
    )
}

fn ago(ms: i64) -> i64 {
    SystemClock::start().now().wall.0 - ms
}

fn zombies(found: &Findings) -> Vec<&str> {
    let mut ids: Vec<&str> = found.zombies.iter().map(|zombie| zombie.execution.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

/// One zombie of each type, and one of each kind of execution that is none.
fn fill(redis: &Redis) {
    let long_ago = ago(3 * HOUR_MS);
    for id in ["Forgotten", "Queued", "Taken", "Orphan", "Garbled"] {
        redis.execution("pipeline", id, "RUNNING", long_ago);
    }
    redis.execution("orchestration", "Resize", "RUNNING", long_ago);
    redis.execution("pipeline", "Young", "RUNNING", ago(60_000));
    redis.execution("pipeline", "Done", "SUCCEEDED", long_ago);
    redis.execution("pipeline", "Waiting", "NOT_STARTED", long_ago);
    redis.execution("pipeline", "Paused", "PAUSED", long_ago);
    redis.message("f1", &run_task("Queued"), &["queue"]);
    redis.message("f2", &run_task("Taken"), &["unacked"]);
    redis.message("f3", &run_task("Orphan"), &[]);
    redis.message("f4", r#"{"kind":"runTask","executionId":"Garbled"#, &["queue"]);
    redis.message("f5", r#"{"kind":"startWaitingExecutions","pipelineConfigId":"Forgotten"}"#, &["queue"]);
}

#[tokio::test]
async fn those_without_a_message_are_zombies_and_nothing_is_written() {
    let redis = Redis::start();
    fill(&redis);
    let mut connection = redis.client().get_connection().unwrap();
    let () = redis::cmd("CONFIG").arg("RESETSTAT").query(&mut connection).unwrap();
    let found = redis.orca().zombies(None).await.unwrap();
    assert_eq!(zombies(&found), ["Forgotten", "Orphan", "Resize"]);
    assert_eq!((found.running, found.messages, found.unsure.len(), found.notes.len()), (7, 5, 0, 0));
    let forgotten = found.zombies.iter().find(|zombie| zombie.execution.id == "Forgotten").unwrap();
    assert!(forgotten.evidence[0].starts_with("no message of it among the 5 of the queue"), "{forgotten:?}");
    assert!(forgotten.evidence[1].starts_with("nothing recorded for 3 h 0 min"), "{forgotten:?}");
    assert_eq!(forgotten.evidence[2], "stage \"to prod\" (deploy): task monitorDeploy is RUNNING");

    let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut connection).unwrap();
    let used: BTreeSet<&str> = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next()).collect();
    let reads = BTreeSet::from(["sscan", "hscan", "hmget", "lrange", "zscore", "hexists"]);
    let no_data = BTreeSet::from(["multi", "exec", "select", "hello", "client|setinfo", "config|resetstat", "info"]);
    assert!(used.is_superset(&reads), "{used:?}");
    assert!(used.iter().all(|command| reads.contains(command) || no_data.contains(command)), "{used:?}");
}

#[tokio::test]
async fn a_queue_of_many_pages_is_read_to_its_end() {
    let redis = Redis::start();
    let mut connection = redis.client().get_connection().unwrap();
    let mut pipe = redis::pipe();
    for n in 0..3_000 {
        let id = format!("E{n}");
        redis_add(&mut pipe, &id, ago(HOUR_MS));
        if n != 1_234 {
            pipe.hset(format!("{Q}.messages"), &id, run_task(&id)).zadd(format!("{Q}.queue"), &id, n);
        }
    }
    let () = pipe.query(&mut connection).unwrap();
    let found = redis.orca().zombies(None).await.unwrap();
    assert_eq!((zombies(&found), found.running, found.messages), (vec!["E1234"], 3_000, 2_999));
}

fn redis_add(pipe: &mut redis::Pipeline, id: &str, started: i64) {
    pipe.sadd("allJobs:pipeline", id).hset_multiple(
        format!("pipeline:{id}"),
        &[("application", "shop".to_owned()), ("status", "RUNNING".to_owned()), ("startTime", started.to_string())],
    );
}

#[tokio::test]
async fn an_empty_queue_or_a_store_that_does_not_answer_makes_nobody_a_zombie() {
    let redis = Redis::start();
    redis.execution("pipeline", "Forgotten", "RUNNING", ago(HOUR_MS));
    let found = redis.orca().zombies(None).await.unwrap();
    assert!(found.zombies.is_empty() && found.unsure[0].why.contains("holds nothing at all"), "{found:?}");

    let mut connection = redis.client().get_connection().unwrap();
    let () = connection.set(format!("{Q}.messages"), "not a hash").unwrap();
    let error = redis.orca().zombies(None).await.unwrap_err();
    assert!(matches!(&error, Error::Store(why) if why.contains("WRONGTYPE")), "{error}");

    redis.signal(Signal::STOP);
    let hung = redis.orca().zombies(None).await;
    redis.signal(Signal::CONT);
    assert!(matches!(hung, Err(Error::Store(_))), "{hung:?}");
}

/// A stand-in for Orca's API: knows `Forgotten` and `Worked`, which run, of one partition.
struct Api {
    base: String,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

/// What it makes of a force-cancel.
#[derive(Clone, Copy, PartialEq)]
enum Cancels {
    AsAsked,
    NotReally,
}

impl Api {
    async fn start(cancels: Cancels) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::<String>::new()));
        let started = ago(3 * HOUR_MS);
        let answer = {
            let asked = asked.clone();
            move |request: Request| {
                let line = format!("{} {}", request.method(), request.uri());
                let is_canceled = cancels == Cancels::AsAsked && asked.lock().unwrap().iter().any(|line| line.starts_with("PUT"));
                asked.lock().unwrap().push(line.clone());
                std::future::ready(reply(&line, started, is_canceled))
            }
        };
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
        Self { base, asked, _serving: serving }
    }

    fn changes(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().filter(|line| line.contains("dryRun=false") || line.starts_with("PUT")).cloned().collect()
    }
}

fn reply(line: &str, started: i64, is_canceled: bool) -> (StatusCode, String) {
    let path = line.split_once(' ').unwrap().1;
    let hydrated = |ids: &[&str], dry: bool| {
        let action = r#"{"description":"Task is running and is retryable","message":{"kind":"runTask"},"context":{"stageType":"deploy","taskType":"monitorDeploy"}}"#;
        let of = |id: &&str| format!(r#""{id}":{{"startTime":{started},"actions":[{action}],"canApply":true}}"#);
        format!(r#"{{"dryRun":{dry},"executions":{{{}}}}}"#, ids.iter().map(of).collect::<Vec<_>>().join(","))
    };
    let execution = |status: &str| {
        format!(
            r#"{{"type":"PIPELINE","application":"shop","name":"release","status":"{status}","startTime":{started},"partition":"blue","stages":[]}}"#
        )
    };
    let body = match path {
        "/admin/queue/hydrate?dryRun=true" => hydrated(&["Forgotten", "Worked"], true),
        "/admin/queue/hydrate?dryRun=true&executionId=Forgotten" => hydrated(&["Forgotten"], true),
        "/admin/queue/hydrate?dryRun=false&executionId=Forgotten" => hydrated(&["Forgotten"], false),
        "/pipelines/Forgotten" if is_canceled => execution("CANCELED"),
        "/pipelines/Forgotten" | "/pipelines/Worked" => execution("RUNNING"),
        "/pipelines/Ended" => execution("SUCCEEDED"),
        _ if line.starts_with("PUT /admin/forceCancelExecution?executionId=Forgotten&executionType=PIPELINE&canceledBy=") => String::new(),
        _ => return (StatusCode::NOT_FOUND, "{}".to_owned()),
    };
    (StatusCode::OK, body)
}

#[tokio::test]
async fn where_executions_are_in_sql_its_api_is_asked_and_partitions_are_kept_apart() {
    let redis = Redis::start();
    redis.message("f1", &run_task("Worked"), &["queue"]);
    let api = Api::start(Cancels::AsAsked).await;
    let found = orca(&api.base, &redis, None, Some("blue")).zombies(None).await.unwrap();
    assert_eq!((zombies(&found), found.running, found.unsure.len()), (vec!["Forgotten"], 2, 0));
    let found = orca(&api.base, &redis, None, None).zombies(None).await.unwrap();
    assert!(found.zombies.is_empty() && found.unsure[0].why.contains("partition \"blue\""), "{found:?}");
    assert_eq!(api.changes(), Vec::<String>::new());
}

async fn bellrock(args: &[&str], api: &Api, redis: &Redis) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = tokio::process::Command::new(env!("CARGO_BIN_EXE_bellrock"))
        .args(args)
        .env_clear()
        .env("USER", "ann")
        .env("BELLROCK_ORCHESTRATOR_KIND", "endpoint")
        .env("BELLROCK_ORCHESTRATOR_URL", &api.base)
        .env("BELLROCK_ORCHESTRATOR_ORCA_QUEUE_REDIS", redis.url())
        .env("BELLROCK_ORCHESTRATOR_ORCA_PARTITION", "blue")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn nothing_is_mended_that_is_worked_on_that_does_not_run_or_that_nobody_agreed_to() {
    let redis = Redis::start();
    redis.message("f1", &run_task("Worked"), &["queue"]);
    let api = Api::start(Cancels::AsAsked).await;
    for how in ["rehydrate", "force-cancel"] {
        for (execution, more, code) in [
            ("Worked", "--yes", "[orca-not-a-zombie]"),
            ("Ended", "--yes", "[orca-not-running]"),
            ("Absent", "--yes", "[orca-not-running]"),
            ("Forgotten", "--force", "[orca-not-confirmed]"),
        ] {
            let (exit, out, err) = bellrock(&["orca", how, execution, more], &api, &redis).await;
            assert!(exit == Some(2) && out.is_empty() && err.contains(code), "{how} {execution}: {exit:?} {out} {err}");
        }
        let (exit, _, err) = bellrock(&["orca", how, "a?dryRun=false"], &api, &redis).await;
        assert!(exit == Some(2) && err.contains("wanted an id"), "{err}");
        let (exit, out, _) = bellrock(&["orca", how, "Forgotten", "--force", "--dry-run"], &api, &redis).await;
        assert!(exit == Some(0) && out.ends_with("Nothing was changed.\n"), "{out}");
    }
    assert_eq!(api.changes(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_agreed_to_is_done_once_and_read_back() {
    let redis = Redis::start();
    let api = Api::start(Cancels::AsAsked).await;
    let (exit, out, err) = bellrock(&["orca", "rehydrate", "Forgotten", "--force", "--yes", "--output", "json"], &api, &redis).await;
    let said: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out} {err}"));
    assert_eq!((exit, &said["done"], &said["hydration"]["actions"][0]["message"]["kind"]), (Some(0), &true.into(), &"runTask".into()));
    let (exit, out, err) = bellrock(&["orca", "force-cancel", "Forgotten", "--force", "--yes"], &api, &redis).await;
    assert_eq!((exit, out.as_str()), (Some(0), "pipeline Forgotten of shop \"release\" is CANCELED.\n"), "{err}");
    let changes = api.changes();
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!(changes[0], "POST /admin/queue/hydrate?dryRun=false&executionId=Forgotten");
    assert!(changes[1].contains("canceledBy=ann%40"), "{changes:?}");

    let lies = Api::start(Cancels::NotReally).await;
    let (exit, _, err) = bellrock(&["orca", "force-cancel", "Forgotten", "--force", "--yes"], &lies, &redis).await;
    assert!(exit == Some(1) && err.contains("[orca-not-mended]") && err.contains("is RUNNING"), "{exit:?} {err}");
}
