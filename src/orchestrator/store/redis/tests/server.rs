//! Redis servers for tests: on free ports, without files unless asked for, ended with the value.

use std::io::BufRead;
use std::io::BufReader;
use std::net::TcpListener;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

/// Its configuration, in its directory.
const SENTINEL: &str = "sentinel.conf";

/// A server of our own.
pub struct Server {
    pub child: Child,
    pub port: u16,
    dir: tempfile::TempDir,
    args: Vec<String>,
}

/// A port that nobody has.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    /// Without files, on a free port.
    pub fn start(more: &[&str]) -> Self {
        Self::start_at(free_port(), more)
    }

    pub fn start_at(port: u16, more: &[&str]) -> Self {
        let mut args: Vec<String> = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"].map(str::to_owned).to_vec();
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let dir = tempfile::tempdir().unwrap();
        Self { child: run(port, &args, &dir), port, dir, args }
    }

    /// A Sentinel of this configuration, which it rewrites.
    pub fn sentinel(config: &str) -> Self {
        let (port, dir) = (free_port(), tempfile::tempdir().unwrap());
        std::fs::write(dir.path().join(SENTINEL), config).unwrap();
        let args = ["--sentinel", "--bind", "127.0.0.1"].map(str::to_owned).to_vec();
        Self { child: run(port, &args, &dir), port, dir, args }
    }

    /// Kills it and starts it again with what it has on disk.
    pub fn restart(&mut self) {
        self.kill();
        self.child = run(self.port, &self.args, &self.dir);
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Where it works.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub fn connection(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has no main to hand it the environment")]
fn run(port: u16, args: &[String], dir: &tempfile::TempDir) -> Child {
    let program = std::env::var("BELLROCK_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    let mut command = Command::new(&program);
    let config = dir.path().join(SENTINEL);
    if config.exists() {
        command.arg(config);
    }
    let mut child = command
        .args(["--port", &port.to_string()])
        .args(args)
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot run {program}: {e}. Install redis-server, or give its path in BELLROCK_REDIS_SERVER."));
    let log = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let ready = log.take_while(|line| !line.contains("Ready to accept") && !line.contains("+monitor master")).count();
    assert!(child.try_wait().unwrap().is_none(), "{program} did not come up on port {port} ({ready} lines)");
    child
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
