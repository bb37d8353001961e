//! Real processes of the program under test: agents that can be killed and started again, and a poll with a deadline.
//!
//! What must stay true: no process outlives its test, whatever way the test ends; what a process did is read from what it left on disk.

use std::fs::File;
use std::fs::OpenOptions;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use rustix::process::kill_process_group;
use serde_json::Value;
use tokio::process::Child;
use tokio::process::Command;

/// Between two looks of [`until`]; short against the shortest phase of a drain.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// Looks until there is something to see; panics with `what` when there is nothing in time.
pub async fn until<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(within, looking).await.unwrap_or_else(|_| panic!("not within {} s: {what}", within.as_secs()))
}

/// The program with nothing of our own environment but a `PATH`, killed when dropped.
pub fn bellrock(args: &[&str], env: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellrock"));
    command.args(args).env_clear().env("PATH", "/usr/bin:/bin").envs(env.iter().map(|(k, v)| (k, v))).stdin(Stdio::null());
    command.kill_on_drop(true);
    command
}

pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().expect("a client")
}

/// The agent of one instance: one state directory, one process at a time.
pub struct Agent {
    pub id: String,
    dir: PathBuf,
    env: Vec<(String, String)>,
    child: Child,
    http: reqwest::Client,
    address: Option<String>,
}

impl Agent {
    /// Starts it on a configuration that lacks only where the host is: state, socket, port.
    pub fn start(id: &str, dir: &Path, config: &str, env: &[(&str, String)]) -> Self {
        let dir = dir.join(id);
        std::fs::create_dir_all(&dir).expect("a directory of our own");
        let here = format!(
            "[fleet]\nstate_dir = \"{at}/state\"\nagree_over = \"1s\"\ndescribe_every = \"10s\"\nmetadata_every = \"1s\"\n\
             [fleet.aws]\nattempt_timeout = \"1s\"\ncall_timeout = \"5s\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\nsocket = \"{at}/sock\"\n[log]\nformat = \"json\"\n\
             [drain]\nsettle = \"2s\"\nquiet = \"3s\"\nstale_bound = \"1s\"\nbudget_percent = 50\n",
            at = dir.display()
        );
        std::fs::write(dir.join("bellrock.toml"), here + config).expect("a directory of our own");
        let mut all: Vec<(String, String)> = env.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        all.extend(["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"].map(|k| (k.to_owned(), "/dev/null".to_owned())));
        let child = spawn(&dir, &all);
        Self { id: id.to_owned(), dir, env: all, child, http: client(), address: None }
    }

    /// SIGKILL, and the body is waited for. Answers the phase it died in.
    pub async fn kill(&mut self, last_seen: &str) -> String {
        self.child.kill().await.expect("it can be killed");
        let audit = self.audit();
        let moved = audit.iter().rev().find(|line| matches!(line["event"].as_str(), Some("phase" | "started")));
        moved.and_then(|line| line["to"].as_str()).unwrap_or(last_seen).to_owned()
    }

    /// The process under way.
    pub fn pid(&self) -> Pid {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        id.and_then(Pid::from_raw).expect("it was not waited for yet")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it is ours");
    }

    /// Waits until it has ended, by itself or as it was told.
    pub async fn ends(&mut self, within: Duration) -> ExitStatus {
        let ended = tokio::time::timeout(within, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it goes on after {} s:\n{}", within.as_secs(), self.tail())).expect("it is ours")
    }

    /// Kills its jobs and those who watch over them, as the end of its host does. The agent is dead already, so there are no new ones.
    pub fn kill_jobs(&self) {
        let at = self.dir.join("state/jobs").display().to_string();
        for supervisor in processes().filter(|(_, _, words)| words.contains(&at)).map(|(pid, _, _)| pid).collect::<Vec<_>>() {
            // It may have ended since; once it stands still it begins nothing any more.
            let _ = kill_process(supervisor, Signal::STOP);
            for job in processes().filter(|(_, parent, _)| *parent == Some(supervisor)).map(|(pid, _, _)| pid).collect::<Vec<_>>() {
                let _ = kill_process_group(job, Signal::KILL);
            }
            let _ = kill_process(supervisor, Signal::KILL);
        }
    }

    /// A new process on the same state.
    pub fn restart(&mut self) {
        self.address = None;
        self.child = spawn(&self.dir, &self.env);
    }

    /// It ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_some()
    }

    /// `/status`, once it answers.
    pub async fn status(&mut self) -> Option<Value> {
        if self.address.is_none() {
            self.address = self.address();
        }
        let url = format!("http://{}/status", self.address.as_ref()?);
        self.http.get(url).send().await.ok()?.json().await.ok()
    }

    /// Its phase, once it answers.
    pub async fn phase(&mut self) -> Option<String> {
        Some(self.status().await?["phase"].as_str()?.to_owned())
    }

    /// Everything it has put on record, all its processes together.
    pub fn audit(&self) -> Vec<Value> {
        lines(&self.dir.join("state/audit.jsonl"))
    }

    /// Deeds on record whose text begins so.
    pub fn deeds(&self, start: &str) -> usize {
        self.audit().iter().filter(|line| line["deed"].as_str().is_some_and(|deed| deed.starts_with(start))).count()
    }

    /// For the one who has to find out what went wrong.
    pub fn tail(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let from = log.lines().count().saturating_sub(12);
        log.lines().skip(from).collect::<Vec<_>>().join("\n")
    }

    /// The last line of its log with this message.
    pub fn said(&self, message: &str) -> Option<Value> {
        self.all_said(message).pop()
    }

    /// All its log lines with this message, oldest first.
    pub fn all_said(&self, message: &str) -> Vec<Value> {
        lines(&self.dir.join("log")).into_iter().filter(|line| line["message"] == message).collect()
    }

    /// SIGHUP.
    #[allow(dead_code, reason = "for tests that change what an agent reads")]
    pub fn reload(&self) {
        let id = self.child.id().expect("it runs");
        let pid = rustix::process::Pid::from_raw(i32::try_from(id).expect("a process id")).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it is ours");
    }

    fn address(&self) -> Option<String> {
        self.said("answering over HTTP")?["address"].as_str().map(str::to_owned)
    }
}

/// The log belongs to one process, so that nobody takes the last one's port for its own.
fn spawn(dir: &Path, env: &[(String, String)]) -> Child {
    let log = dir.join("log");
    drop(std::fs::rename(&log, dir.join("log.before")));
    let log: File = OpenOptions::new().create_new(true).append(true).open(log).expect("a directory of our own");
    let config = dir.join("bellrock.toml").display().to_string();
    bellrock(&["agent", "--config", &config], env)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the program that was built for this test")
}

/// Every process: its id, its parent's, its command line.
fn processes() -> impl Iterator<Item = (Pid, Option<Pid>, String)> {
    let entries = std::fs::read_dir("/proc").expect("this is Linux").flatten();
    entries.filter_map(|entry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let words = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // Behind the name, which may hold anything: state, parent, …
        let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
        Some((pid, Pid::from_raw(parent), words))
    })
}

/// Whole lines of JSON; one that is being written is left out.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
