//! Several regions, and signals: what is between two regions can be stopped, gone on with, and taken back; a second signal waits for nothing.
#![allow(clippy::disallowed_methods, reason = "the environment of the test run says where things are")]

#[path = "fleet/process.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod process;
#[path = "rollback_fleet/proxy.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod proxy;
#[path = "fleet/sim.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod sim;
#[path = "rollback_fleet/world.rs"]
mod world;

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use proxy::Proxy;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use serde_json::json;
use sim::Sim;
use tempfile::TempDir;
use tokio::process::Child;

/// For what takes half a minute on a quiet machine.
const LIMIT: Duration = Duration::from_secs(200);
const HERE: &str = "eu-west-1";
const THERE: &str = "us-east-1";
const BOTH: [&str; 4] = ["--region", HERE, "--region", THERE];

/// Two regions behind one address.
struct Two {
    dir: TempDir,
    here: Sim,
    there: Sim,
    line: Proxy,
}

impl Two {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let dirs = [HERE, THERE].map(|region| dir.path().join(region));
        dirs.iter().for_each(|dir| std::fs::create_dir(dir).expect("a directory of our own"));
        let (here, there) = tokio::join!(world::region(&dirs[0], 1), world::region(&dirs[1], 2));
        let line = Proxy::to_regions(&[(HERE, &here.endpoint), (THERE, &there.endpoint)], 1, 0.0).await;
        Self { dir, here, there, line }
    }

    fn run(&self, laptop: &str, more: &[&str]) -> Child {
        let laptop = self.dir.path().join(laptop);
        let env = credentials(&self.line.endpoint, &laptop);
        let progress = File::options().create(true).append(true).open(laptop.join("stderr")).expect("a directory of our own");
        let args = [&["rollback", "shop", "--yes", "--output", "json"][..], &BOTH, more].concat();
        process::bellrock(&args, &env).stdout(Stdio::piped()).stderr(progress).spawn().expect("the program that was built for this test")
    }

    async fn done(&self, laptop: &str, more: &[&str]) -> Value {
        let (code, said) = ended(self.run(laptop, more)).await;
        assert_eq!((code, &said["outcome"]), (Some(0), &json!("done")), "{said:#}");
        said
    }

    /// It dies once it has resized a group of this region.
    async fn dies_in(&self, region: &str, more: &[&str]) {
        let mut child = self.run("dies", more);
        // Cancel-safe: a process that has ended stays so.
        tokio::select! {
            ended = child.wait() => panic!("it ended: {ended:?}"),
            () = self.line.until_asked(region, "UpdateAutoScalingGroup") => {}
            () = tokio::time::sleep(LIMIT) => panic!("it never came to {region}"),
        }
        child.kill().await.expect("it can be killed");
    }

    fn changes(&self, region: &str) -> usize {
        self.line.seen().iter().filter(|seen| seen.region == region && seen.is_change()).count()
    }
}

fn credentials(endpoint: &str, laptop: &Path) -> Vec<(String, String)> {
    std::fs::create_dir_all(laptop).expect("a directory of our own");
    let laptop = laptop.display().to_string();
    [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", THERE),
        ("AWS_ACCESS_KEY_ID", world::PERSON),
        ("AWS_SECRET_ACCESS_KEY", "none"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("XDG_STATE_HOME", &laptop),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

async fn ended(child: Child) -> (Option<i32>, Value) {
    let ended = tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("ends in time").expect("it is ours");
    let said = serde_json::from_slice(&ended.stdout).unwrap_or_else(|_| json!({ "no JSON": String::from_utf8_lossy(&ended.stdout) }));
    (ended.status.code(), said)
}

fn signal(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id().expect("it runs")).expect("a pid")).expect("a pid");
    kill_process(pid, Signal::INT).expect("a process of our own");
}

/// Waits until the progress of this laptop has said this.
async fn until_said(two: &Two, laptop: &str, what: &str, times: usize) {
    let path = two.dir.path().join(laptop).join("stderr");
    let poll = async {
        while std::fs::read_to_string(&path).unwrap_or_default().matches(what).count() < times {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(LIMIT, poll).await;
    assert!(in_time.is_ok(), "{what:?} was not said: {}", std::fs::read_to_string(&path).unwrap_or_default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_between_two_regions_stops_it_there_and_the_printed_command_does_the_rest() {
    let two = Two::start().await;
    let child = two.run("ann", &["--settle", "1s", "--wait-between", "1h", "--owner", "ann@laptop"]);
    // The last of the first region's two clusters.
    until_said(&two, "ann", ": done", 2).await;
    signal(&child);
    let (code, said) = ended(child).await;
    assert_eq!((code, &said["outcome"]), (Some(3), &json!("paused")), "{said:#}");
    let outcomes: Vec<_> = said["regions"].as_array().expect("a list").iter().map(|r| r["outcome"].clone()).collect();
    assert_eq!((outcomes, two.changes(THERE)), (vec![json!("done"), json!("not_begun")], 0), "{said:#}");
    assert_eq!(world::wrong(&two.here).await, Vec::<String>::new());

    let again = said["continue"].as_str().expect("a command").to_owned();
    let before = two.changes(HERE);
    let words: Vec<&str> = again.split_whitespace().skip(3).filter(|word| !BOTH.contains(word)).collect();
    let words: Vec<&str> = words.iter().map(|word| if *word == "1h" { "0s" } else { word }).collect();
    let said = two.done("bob", &words).await;
    assert_eq!(said["regions"][0]["reasons"][0]["code"], "rollback-nothing-to-do", "{said:#}");
    assert_eq!((world::wrong(&two.there).await, two.changes(HERE)), (Vec::new(), before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_dies_in_the_second_region_is_resumed_there_by_a_machine_that_is_told_nothing_else() {
    let two = Two::start().await;
    two.dies_in(THERE, &["--settle", "1s", "--bake", "2s", "--owner", "ann@laptop"]).await;
    assert_eq!(world::wrong(&two.here).await, Vec::<String>::new());
    let before = two.changes(HERE);
    let (code, said) = ended(two.run("bob", &["--resume", "--owner", "bob@desk"])).await;
    assert_eq!((code, &said["regions"][1]["reasons"][0]["code"]), (Some(2), &json!("rollback-held")), "a live hold: {said:#}");
    let said = two.done("bob", &["--resume", "--owner", "ann@laptop"]).await;
    assert_eq!(said["regions"][0]["reasons"][0]["code"], "rollback-nothing-to-resume", "{said:#}");
    let asked = &said["regions"][1]["plan"]["request"];
    assert_eq!((&asked["bake"]["secs"], &asked["settle"]["secs"]), (&json!(2), &json!(1)), "{asked:#}");
    assert_eq!((world::wrong(&two.there).await, two.changes(HERE)), (Vec::new(), before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_dies_in_the_first_region_is_undone_there_and_the_second_is_passed_by() {
    let two = Two::start().await;
    two.dies_in(HERE, &["--settle", "1s", "--owner", "ann@laptop", "--cluster", "shop-main"]).await;
    let said = two.done("bob", &["--undo", "--settle", "1s", "--owner", "ann@laptop", "--cluster", "shop-main"]).await;
    assert_eq!(said["regions"][1]["reasons"][0]["code"], "rollback-nothing-to-undo", "{said:#}");
    assert_eq!(two.changes(THERE), 0);
    let control = two.here.control().await;
    let group = |name: &str| control["groups"].as_array().expect("groups").iter().find(|g| g["name"] == name).expect("it is there").clone();
    let (old, new) = (group("shop-main-v023"), group("shop-main-v024"));
    assert_eq!((&old["desired"], &new["desired"]), (&json!(1), &json!(3)), "as found: {old:#} {new:#}");
    for group in [&old, &new] {
        let left: Vec<&String> = group["tags"].as_object().expect("tags").keys().filter(|key| key.starts_with("bellrock:")).collect();
        assert!(left.iter().all(|key| ["bellrock:generation", "bellrock:capacity"].contains(&key.as_str())), "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_signal_ends_it_at_once_with_a_call_in_flight_and_it_can_be_gone_on_with() {
    let two = Two::start().await;
    two.line.hold(Some("UpdateAutoScalingGroup"));
    let child = two.run("ann", &["--settle", "1s", "--owner", "ann@laptop"]);
    let asked = tokio::time::timeout(LIMIT, two.line.until_asked(HERE, "UpdateAutoScalingGroup")).await;
    assert!(asked.is_ok(), "it never resized anything");
    signal(&child);
    until_said(&two, "ann", "once more stops at once", 1).await;
    signal(&child);
    let (code, said) = ended(child).await;
    assert_eq!((code, &said["outcome"]), (Some(3), &json!("paused")), "{said:#}");
    assert!(said["continue"].as_str().is_some_and(|again| again.contains("--owner ann@laptop")), "{said:#}");
    two.line.hold(None);
    two.done("ann", &["--settle", "1s", "--owner", "ann@laptop"]).await;
    for sim in [&two.here, &two.there] {
        assert_eq!(world::wrong(sim).await, Vec::<String>::new());
    }
}
