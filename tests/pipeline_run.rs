//! `bellrock pipeline run` as a shell sees it: the examples of this repository run to their end, and what stops a run on its way.

use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::Command;

/// How long a process may take for what takes it a few seconds.
const LIMIT: Duration = Duration::from_secs(90);

fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).to_str().expect("UTF-8").to_owned()
}

/// A folder for the files of a run, and the run.
struct Rig(tempfile::TempDir);

impl Rig {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn file(&self, stages: &Value) -> String {
        let document = json!({ "application": "shop", "name": "p", "stages": stages });
        std::fs::write(self.at("p.json"), document.to_string()).expect("a directory of our own");
        self.at("p.json")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellrock"));
        command.args(["pipeline", "run"]).args(args).args(["--output", "json"]).env_clear();
        command.envs([("PATH", "/usr/bin:/bin"), ("USER", "ada")]).env("TMPDIR", self.0.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    fn spawn(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).spawn().expect("runs");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Running { child, lines, steps: Vec::new() }
    }

    async fn run(&self, args: &[&str]) -> Ended {
        self.spawn(args).ended().await
    }

    /// Folders of runs that were not removed.
    fn left(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.0.path()).expect("ours").map(|entry| entry.expect("ours").path());
        entries.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("bellrock-run"))).collect()
    }
}

/// A run under way.
struct Running {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    steps: Vec<Value>,
}

/// How a run ended.
struct Ended {
    code: Option<i32>,
    steps: Vec<Value>,
    error: String,
}

impl Running {
    /// The next step, or `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        let line = tokio::time::timeout(LIMIT, self.lines.next_line()).await.expect("in time").expect("text")?;
        let step: Value = serde_json::from_str(&line).expect("JSON");
        self.steps.push(step.clone());
        Some(step)
    }

    /// Waits until this stage comes to this status.
    async fn until(&mut self, ref_id: &str, status: &str) {
        while let Some(step) = self.next().await {
            if step["refId"] == ref_id && step["status"] == status {
                return;
            }
        }
        panic!("it ended before {ref_id} was {status}");
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().expect("it runs").cast_signed()).expect("not 0");
        kill_process(pid, signal).expect("our own child");
    }

    async fn ended(mut self) -> Ended {
        while self.next().await.is_some() {}
        let output = tokio::time::timeout(LIMIT, self.child.wait_with_output()).await.expect("ends in time").expect("runs");
        Ended { code: output.status.code(), steps: self.steps, error: String::from_utf8(output.stderr).expect("UTF-8") }
    }
}

impl Ended {
    /// Last status of a stage.
    fn status(&self, ref_id: &str) -> &str {
        let steps = self.steps.iter().rev();
        steps.filter(|step| step["refId"] == ref_id).find_map(|step| step["status"].as_str()).unwrap_or("untold")
    }
}

#[tokio::test]
async fn every_example_is_in_order_and_those_that_wait_for_nothing_run_to_their_end() {
    let rig = Rig::new();
    let names = ["deploy.json", "nightly.json", "release.json", "roll-back.json", "smoke-test.json"];
    let mut there: Vec<String> = std::fs::read_dir(example(""))
        .expect("it is there")
        .map(|e| e.expect("a file").file_name().into_string().expect("UTF-8"))
        .collect();
    there.sort();
    assert_eq!(there, names);
    let mut check = Command::new(env!("CARGO_BIN_EXE_bellrock"));
    let checked = check.args(["pipeline", "check"]).args(names.map(example)).output().await.expect("runs");
    let said = String::from_utf8(checked.stdout).expect("UTF-8");
    assert_eq!((checked.status.code(), said.matches(": in order").count()), (Some(0), names.len()), "{said}");

    let (smoke, deploy) = (example("smoke-test.json"), example("deploy.json"));
    for (args, code) in [
        (&[smoke.as_str(), "--param", "depth=full"][..], 0),
        (&[&deploy, "--with", &smoke], 0),
        (&[&deploy, "--with", &smoke, "--param", "outcome=bad"], 4),
        (&[&example("roll-back.json")], 0),
    ] {
        let ended = rig.run(args).await;
        assert_eq!(ended.code, Some(code), "{args:?}: {:#?}{}", ended.steps, ended.error);
    }
    for (input, taken, passed) in [("everybody", "all", "few"), ("a few", "few", "all")] {
        let ended = rig.run(&[&example("release.json"), "--yes-judgment", &format!("go={input}")]).await;
        assert_eq!((ended.code, ended.status(taken), ended.status(passed)), (Some(0), "SUCCEEDED", "SKIPPED"), "{:#?}", ended.steps);
    }
    assert_eq!(rig.left(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn what_a_command_says_and_why_it_failed_are_told_and_what_is_wrong_is_not_started() {
    let rig = Rig::new();
    let file = rig.file(&json!([{ "refId": "1", "type": "runJob", "name": "Speak", "command": ["sh", "-c", "echo of $USER; exit 3"] }]));
    let ended = rig.run(&[&file]).await;
    let told = ended.steps.iter().find(|step| step["status"] == "TERMINAL").expect("it failed")["details"].to_string();
    assert_eq!(ended.code, Some(4));
    assert!(told.contains("> of ada") && told.contains("error: "), "{told}");

    let smoke = example("smoke-test.json");
    for (args, code, why) in [
        (&[smoke.as_str(), "--param", "depth=none"][..], "pipeline-wrong", "depth"),
        (&[&smoke, "--param", "dept=full"], "pipeline-wrong", "did you mean depth?"),
        (&["/absent.json"], "pipeline-wrong", "/absent.json cannot be read"),
        (&["--store", &rig.at("s.db"), "--resume", "E1"], "pipeline-not-found", "E1"),
        (&[&smoke, "--store", "/proc/s.db"], "pipeline-store", "/proc"),
    ] {
        let refused = rig.run(args).await;
        assert!(refused.steps.is_empty() && matches!(refused.code, Some(1 | 2)), "{args:?}");
        assert!(refused.error.contains(code) && refused.error.contains(why), "{args:?}: {}", refused.error);
    }
}

#[tokio::test]
async fn a_judgment_that_nobody_can_be_asked_for_calls_the_execution_off_and_says_how_to_answer_it() {
    let rig = Rig::new();
    let ended = rig.run(&[&example("release.json")]).await;
    assert_eq!(ended.code, Some(5), "{:#?}", ended.steps);
    assert!(ended.error.contains("--yes-judgment go=everybody"), "{}", ended.error);
    let ended = rig.run(&[&example("release.json"), "--yes-judgment", "go"]).await;
    assert_eq!(ended.code, Some(5), "{:#?}", ended.steps);
    assert!(ended.error.contains("offers: everybody, a few"), "{}", ended.error);
}

#[tokio::test]
async fn an_interrupt_calls_it_off_and_leaves_no_command_behind() {
    let rig = Rig::new();
    let pid = rig.at("pid");
    let command = format!("echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 600");
    let file = rig.file(&json!([{ "refId": "1", "type": "runJob", "name": "Long", "command": ["sh", "-c", command] }]));
    let mut run = rig.spawn(&[&file]);
    run.until("1", "RUNNING").await;
    let started = async {
        while !Path::new(&pid).exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, started).await.expect("the command starts");
    run.signal(Signal::INT);
    let ended = run.ended().await;
    assert_eq!((ended.code, ended.status("1")), (Some(5), "CANCELED"), "{}", ended.error);
    let pid = std::fs::read_to_string(&pid).expect("written").trim().to_owned();
    assert!(!Path::new("/proc").join(pid).exists(), "the command still runs");
    assert_eq!(rig.left(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_run_with_a_store_of_its_own_goes_on_where_it_was_stopped_or_killed() {
    let rig = Rig::new();
    let store = rig.at("s.db");
    let go = rig.at("go");
    let wait = format!("until test -e {go}; do sleep 0.05; done; echo gone on");
    let stages = json!([
        { "refId": "1", "type": "evaluateVariables", "name": "First", "variables": [{ "key": "a", "value": "1" }] },
        { "refId": "2", "type": "runJob", "name": "Long", "requisiteStageRefIds": ["1"], "command": ["sh", "-c", wait] },
    ]);
    let mut run = rig.spawn(&[&rig.file(&stages), "--store", &store]);
    run.until("2", "RUNNING").await;
    let id = run.steps[0]["id"].as_str().expect("an id").to_owned();
    let second = rig.run(&["--store", &store, "--resume", &id]).await;
    assert!(second.code == Some(2) && second.error.contains("another run"), "{}", second.error);
    run.signal(Signal::TERM);
    let ended = run.ended().await;
    assert_eq!(ended.code, Some(3));
    assert!(ended.error.contains(&format!("--resume {id}")), "{}", ended.error);

    let mut again = rig.spawn(&["--store", &store, "--resume", &id]);
    again.until("2", "RUNNING").await;
    again.signal(Signal::KILL);
    again.ended().await;
    std::fs::write(&go, "").expect("a directory of our own");
    let last = rig.run(&["--store", &store, "--resume", &id]).await;
    assert_eq!((last.code, last.status("1"), last.status("2")), (Some(0), "SUCCEEDED", "SUCCEEDED"), "{:#?}{}", last.steps, last.error);
}
