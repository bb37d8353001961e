//! A rollback as it is at 3 a.m.: `bellrock sim` and `bellrock rollback` as processes, a bad line between, laptops that die, agents that are dead already;
//! and the page that does without Bellrock, done.
//!
//! Seeds are printed. `BELLROCK_ROLLBACK_SEEDS=FROM..TO` plays others, or more of them; processes still race as they like.
#![allow(clippy::disallowed_methods, reason = "the environment of the test run says where the AWS CLI is, and which seeds are asked for")]

#[path = "rollback_fleet/by_hand.rs"]
mod by_hand;
#[path = "fleet/process.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod process;
#[path = "rollback_fleet/proxy.rs"]
mod proxy;
#[path = "fleet/sim.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod sim;
#[path = "rollback_fleet/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post;

use futures::future::join_all;
use proxy::Fate;
use proxy::Proxy;
use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg32;
use serde_json::Value;
use serde_json::json;
use sim::Sim;
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::process::Command;
use tokio::task::JoinSet;

/// Seeds of a run of `tests/run`; more are asked for by hand.
const SEEDS: Range<u64> = 0..3;
/// Of all requests while the line is bad.
const BAD: f64 = 0.15;
/// Laptops that die in one night.
const KILLS: usize = 4;
/// Runs that may give up before the line gets better.
const GIVES_UP: usize = 4;
/// For what takes half a minute on a quiet machine.
const LIMIT: Duration = Duration::from_secs(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_bad_the_line_and_however_often_the_laptop_dies_the_same_command_ends_it() {
    let nights = join_all(seeds().map(night)).await;
    assert!(nights.iter().map(|night| night.killed).sum::<usize>() > 0, "no laptop died: {nights:?}");
    let fates: BTreeMap<String, usize> = nights.iter().flat_map(|night| night.fates.clone()).fold(BTreeMap::new(), |mut all, (fate, n)| {
        *all.entry(fate).or_default() += n;
        all
    });
    println!("{fates:?}");
    assert!(
        ["NeverArrived", "AnswerLost", "AnswerSpoiled", "Throttled", "Unavailable"].iter().all(|fate| fates.contains_key(*fate)),
        "{fates:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_only_the_aws_endpoint_up_the_rollback_is_done() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let sim = world::region(dir.path(), 1).await;
    // The agents of both groups, killed, and what they looked after: no orchestrator answers, no store, nobody reads a hold.
    for group in ["shop-main-v023", "shop-main-v024"] {
        let mut agents = sim.agents(group, dir.path()).await;
        sim::all_ready(&mut agents).await;
        for mut agent in agents {
            agent.kill("working").await;
        }
    }
    for group in ["shop-main-v024", "shop-polling-v024"] {
        for instance in sim.instances(group).await {
            sim.incident(json!({ "hang_orchestrator": { "on": instance["id"], "for": 86_400 } })).await;
        }
    }
    let line = Proxy::to(&sim.endpoint, 1, 0.0).await;
    let ended = ended(start(dir.path(), &line.endpoint, "oncall@laptop")).await;
    let said = said(&ended);
    assert_eq!((ended.status.code(), &said["outcome"]), (Some(0), &json!("done")), "{said:#}");
    let elsewhere: Vec<_> = line.seen().into_iter().filter(|seen| seen.path != "/" || seen.action.is_empty()).collect();
    assert!(elsewhere.is_empty(), "it asked for more than AWS: {elsewhere:?}");
    let results: Vec<Value> = journal(dir.path()).into_iter().filter(|line| line["event"] == "result").collect();
    assert!(results.len() > 10 && results.iter().all(|line| line["request_id"].is_string()), "{results:#?}");
    assert_eq!(world::wrong(&sim).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_regions_are_gone_through_in_order_as_a_role_with_a_report_and_people_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (here, there) = (dir.path().join("eu-west-1"), dir.path().join("us-east-1"));
    [&here, &there].into_iter().for_each(|dir| std::fs::create_dir(dir).expect("a directory of our own"));
    let (first, second) = tokio::join!(world::region(&here, 1), world::region(&there, 2));
    let line = Proxy::to_regions(&[("eu-west-1", &first.endpoint), ("us-east-1", &second.endpoint)], 1, 0.0).await;
    let hook = Hook::start().await;
    let report = dir.path().join("incident.md");
    let (told, file) = (hook.url.clone(), report.display().to_string());
    let more = [
        &["--region", "eu-west-1", "--region", "us-east-1", "--wait-between", "1s"][..],
        &["--role-arn", "arn:aws:iam::123456789012:role/on-call", "--report", &file, "--notify", &told],
    ]
    .concat();
    let ended = ended(start_with(dir.path(), &line.endpoint, "ann@laptop", &more)).await;
    let said = said(&ended);
    assert_eq!((ended.status.code(), &said["outcome"]), (Some(0), &json!("done")), "{said:#}");
    let regions: Vec<_> = said["regions"].as_array().expect("a list").iter().map(|r| (&r["region"], &r["outcome"])).collect();
    assert_eq!(regions, [(&json!("eu-west-1"), &json!("done")), (&json!("us-east-1"), &json!("done"))]);
    for sim in [&first, &second] {
        assert_eq!(world::wrong_by(sim, "ann@laptop").await, Vec::<String>::new());
    }
    let changes: Vec<String> = line.seen().into_iter().filter(|seen| seen.is_change()).map(|seen| seen.region).collect();
    assert!(changes.is_sorted() && changes.len() > 20, "one region after the other: {changes:?}");

    let told = hook.told();
    let events: Vec<&str> = told.iter().map(|(event, _)| event.as_str()).collect();
    assert_eq!(events, ["start", "end"], "{told:?}");
    assert!(told[0].1.contains("shop-main-v023 comes back with 3") && told[1].1.contains("is done. eu-west-1: "), "{told:?}");

    let text = std::fs::read_to_string(&report).expect("it was written");
    for part in [
        "# Rollback of shop",
        "## eu-west-1: done after",
        "## us-east-1: done after",
        "| by | ann@laptop |",
        "### Timeline",
        "### Verified",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    let steps: Vec<&str> = text.lines().filter(|row| row.contains("| resize ") || row.contains("| hold ")).collect();
    assert!(steps.len() > 8 && steps.iter().all(|row| !row.ends_with("|  |")), "each change has AWS's id of its request: {steps:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_told_with_the_command_that_goes_on_and_a_deaf_webhook_stops_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let sim = world::region(dir.path(), 1).await;
    let (hook, report) = (Hook::start().await, dir.path().join("incident.md"));
    let (told, file) = (hook.url.clone(), report.display().to_string());
    let more = ["--report", &file, "--notify", &told, "--timeout", "2s"];
    let ended_one = ended(start_with(dir.path(), &sim.endpoint, "oncall@laptop", &more)).await;
    let one = said(&ended_one);
    assert_eq!((ended_one.status.code(), &one["outcome"]), (Some(3), &json!("paused")), "{one:#}");
    let again = one["continue"].as_str().expect("a command");
    assert!(again.contains("--report") && !again.contains(&told), "whoever has the URL may post: {again}");
    let (event, text) = hook.told().pop().expect("it was told");
    assert!(event == "pause" && text.contains("rollback-out-of-time") && text.contains(again), "{event}: {text}");

    let more = ["--report", &file, "--notify", "http://127.0.0.1:1/deaf"];
    let two = ended(start_with(dir.path(), &sim.endpoint, "oncall@laptop", &more)).await;
    assert_eq!(two.status.code(), Some(0), "{:#}", said(&two));
    let stderr = std::fs::read_to_string(dir.path().join("stderr")).expect("text");
    assert!(stderr.contains("[rollback-notify] 127.0.0.1") && !stderr.contains("/deaf"), "{stderr}");
    assert!(stderr.contains("waiting for shop-main-v023") && stderr.contains("(usually "), "{stderr}");
    let text = std::fs::read_to_string(&report).expect("text");
    assert_eq!((text.matches("# Rollback of shop\n").count(), text.contains("### Left to do")), (2, true), "{text}");
    assert!(text.contains("\n### Verified\n\n- shop-main-v023: 3 instances"), "{text}");
    assert_eq!(world::wrong(&sim).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_done_by_hand_with_the_aws_cli_leaves_what_the_rollback_leaves() {
    let cli = aws_cli();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let sim = by_hand_on(dir.path()).await;
    pasted(&sim, &by_hand::script(), dir.path(), &cli).await;
    let groups = sim.control().await["groups"].take();
    let states: Vec<String> = groups.as_array().expect("groups").iter().map(state).collect();
    assert_eq!(
        states,
        [
            r#"spinnaker-main-v023 3/3/10 [] {"bellrock:generation":"1"} 3"#,
            r#"spinnaker-main-v024 0/0/0 [] {"bellrock:capacity":"3/3/10","bellrock:generation":"1"} 0"#,
            r#"spinnaker-polling-v023 1/1/1 [] {"bellrock:generation":"1"} 1"#,
            r#"spinnaker-polling-v024 0/0/0 [] {"bellrock:capacity":"1/1/1","bellrock:generation":"1"} 0"#,
        ]
    );
    let members: Vec<Value> = sim.instances("spinnaker-main-v023").await.iter().map(|i| i["id"].clone()).collect();
    for (name, serving) in sim.healthy_targets().await {
        assert!(serving.len() == 3 && serving.iter().all(|id| members.contains(&json!(id))), "{name}: {serving:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_s_way_back_done_by_hand_ends_who_was_added_and_nobody_else() {
    let cli = aws_cli();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let sim = by_hand_on(dir.path()).await;
    let main = async |name: &str| {
        let groups = sim.control().await["groups"].take();
        groups.as_array().expect("groups").iter().find(|g| g["name"] == name).cloned().expect("it is there")
    };
    let before = main("spinnaker-main-v023").await;
    assert_eq!(before["instances"].as_array().map(Vec::len), Some(3), "three that were there: {before}");
    pasted(&sim, &by_hand::undone().replace("COUNT=3 ", "COUNT=5 "), dir.path(), &cli).await;
    assert!(sim.truth().await["capacity"].as_array().expect("a list").iter().any(|change| change["capacity"]["desired"] == 5));
    sim.post("advance", json!({ "seconds": 300 })).await;
    let after = main("spinnaker-main-v023").await;
    assert_eq!(state(&after).replace(r#"{"bellrock:generation":"1"}"#, "{}"), state(&before));
    assert_eq!(after["instances"], before["instances"], "the same, and protected no more");
    let serving = sim.healthy_targets().await;
    assert!(before["instances"].as_array().expect("a list").iter().all(|i| serving.values().flatten().all(|id| i["id"] != json!(id))));
}

fn aws_cli() -> String {
    std::env::var("BELLROCK_AWS_CLI").unwrap_or_else(|_| {
        panic!(
            "BELLROCK_AWS_CLI is not set. `tests/run` installs the AWS CLI and sets it; by hand: \
             python3 -m venv V && V/bin/pip install awscli, then BELLROCK_AWS_CLI=$PWD/V/bin/aws cargo test --test rollback_fleet"
        )
    })
}

/// The region that the page's names are those of.
async fn by_hand_on(dir: &Path) -> Sim {
    let broken: Value = serde_json::from_str(include_str!("../src/cloud/sim/serve/scenarios/broken.json")).expect("JSON");
    let sim = Sim::start(dir, &broken, 1).await;
    sim.post("advance", json!({ "seconds": 150 })).await;
    sim
}

/// Into a shell, in one go; it says nothing of errors.
async fn pasted(sim: &Sim, script: &str, dir: &Path, cli: &str) {
    let bin = Path::new(cli).parent().expect("a directory").display().to_string();
    let mut hand = Command::new("bash");
    hand.args(["-c", script]).current_dir(dir).env_clear().stdin(Stdio::null());
    hand.env("PATH", format!("{bin}:/usr/bin:/bin")).envs(credentials(&sim.endpoint));
    hand.envs([("USER", "ann"), ("EVERY_S", "0.5"), ("SETTLE_S", "0"), ("AWS_DEFAULT_REGION", "us-east-1")]);
    let ended = tokio::time::timeout(2 * LIMIT, hand.kill_on_drop(true).output()).await.expect("ends in time").expect("bash runs");
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success() && err.is_empty(), "{}\n{out}\n{err}", ended.status);
}

/// How one night went.
#[derive(Debug)]
struct Night {
    killed: usize,
    fates: BTreeMap<String, usize>,
}

/// A rollback over a bad line, killed at some change or other and continued from another machine; then, if it has paused, from a better one.
async fn night(seed: u64) -> Night {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let sim = world::region(dir.path(), seed).await;
    let line = Proxy::to(&sim.endpoint, seed, BAD).await;
    let mut random = Pcg32::seed_from_u64(seed);
    let (mut killed, mut given_up, mut lost) = (0, 0, false);
    let last = loop {
        let laptop = dir.path().join(format!("laptop-{killed}"));
        // The run that lives loses a call whose loss nothing later would show but the region itself: whoever takes it for done leaves a hold behind.
        if killed == KILLS && !std::mem::replace(&mut lost, true) {
            line.lose("DeleteTags");
        }
        let mut child = start(&laptop, &line.endpoint, "oncall@laptop");
        let dies = random.random_range(1..8);
        // Cancel-safe: a process that has ended stays so, and changes are counted by the proxy.
        tokio::select! {
            _ = child.wait() => {}
            () = line.after_changes(dies), if killed < KILLS => {
                child.kill().await.expect("it can be killed");
                killed += 1;
                continue;
            }
            () = tokio::time::sleep(LIMIT) => panic!("seed {seed}: it neither ends nor changes anything"),
        }
        let ended = child.wait_with_output().await.expect("it has ended");
        match ended.status.code() {
            Some(0) => break ended,
            // Over a line this bad it may give up, and says so; then the line gets better, and the same command has to end it.
            Some(1 | 3) => {
                let said = said(&ended);
                println!("seed {seed}: {}, {} {}", said["outcome"], said["reasons"], said["report"]["clusters"]);
                assert_ne!(said["outcome"], "blind", "seed {seed}: a call that is lost is asked again, {said:#}");
                let text = said["report"].to_string();
                let blames = ["rollback-changed-by-another", "rollback-hold-lost"].iter().any(|code| text.contains(code));
                assert!(!blames, "seed {seed}: nobody else is at it; what was lost was taken for done: {said:#}");
                given_up += 1;
                if given_up > GIVES_UP {
                    line.turn(0.0);
                }
            }
            _ => {
                let said = said(&ended);
                // The one before had only its last word left to say when it died.
                assert_eq!(said["reasons"][0]["code"], "rollback-nothing-to-do", "seed {seed}: {said:#}");
                break ended;
            }
        }
    };
    let wrong = world::wrong(&sim).await;
    let progress = std::fs::read_to_string(dir.path().join(format!("laptop-{killed}/stderr"))).unwrap_or_default();
    assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}\n{:#}\n{progress}", said(&last));
    let mut fates = BTreeMap::new();
    for seen in line.seen() {
        let fate = if let Fate::Late(_) = seen.fate { "Late".to_owned() } else { format!("{:?}", seen.fate) };
        *fates.entry(fate).or_default() += 1;
    }
    println!("seed {seed}: {killed} laptops died, {fates:?}");
    Night { killed, fates }
}

fn seeds() -> Range<u64> {
    let asked = std::env::var("BELLROCK_ROLLBACK_SEEDS").ok();
    let range = asked.as_deref().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    let seeds = range.unwrap_or(SEEDS);
    println!("BELLROCK_ROLLBACK_SEEDS={}..{}", seeds.start, seeds.end);
    seeds
}

fn credentials(endpoint: &str) -> Vec<(String, String)> {
    [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", world::PERSON),
        ("AWS_SECRET_ACCESS_KEY", "none"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// A rollback from this laptop.
fn start(laptop: &Path, endpoint: &str, owner: &str) -> Child {
    start_with(laptop, endpoint, owner, &[])
}

fn start_with(laptop: &Path, endpoint: &str, owner: &str, more: &[&str]) -> Child {
    let mut env = credentials(endpoint);
    env.push(("XDG_STATE_HOME".to_owned(), laptop.display().to_string()));
    std::fs::create_dir_all(laptop).expect("a directory of our own");
    let progress = File::options().create(true).append(true).open(laptop.join("stderr")).expect("a directory of our own");
    let limit: &[&str] = if more.contains(&"--timeout") { &[] } else { &["--timeout", "3m"] };
    let args = [&["rollback", "shop", "--yes", "--output", "json", "--settle", "1s", "--owner", owner], limit, more].concat();
    process::bellrock(&args, &env).stdout(Stdio::piped()).stderr(progress).spawn().expect("the program that was built for this test")
}

async fn ended(child: Child) -> Output {
    tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("ends in time").expect("it is ours")
}

fn said(ended: &Output) -> Value {
    serde_json::from_slice(&ended.stdout).unwrap_or_else(|_| json!({ "no JSON": String::from_utf8_lossy(&ended.stdout) }))
}

/// A webhook that hears and keeps: the event's name, and the text.
struct Hook {
    url: String,
    heard: Arc<Mutex<Vec<(String, String)>>>,
    _server: JoinSet<std::io::Result<()>>,
}

impl Hook {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let url = format!("http://{}/hooks/T0/B0/secret", listener.local_addr().expect("it is bound"));
        let heard: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let keep = Arc::clone(&heard);
        let hear = async move |headers: HeaderMap, body: Json<Value>| {
            let event = headers["x-bellrock-event"].to_str().expect("text").to_owned();
            keep.lock().expect("nobody panics").push((event, body["text"].as_str().expect("a text").to_owned()));
        };
        let app = Router::new().route("/hooks/T0/B0/secret", post(hear));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await });
        Self { url, heard, _server: server }
    }

    fn told(&self) -> Vec<(String, String)> {
        self.heard.lock().expect("nobody panics").clone()
    }
}

/// Lines of the one journal of this laptop.
fn journal(laptop: &Path) -> Vec<Value> {
    let mut files = std::fs::read_dir(laptop.join("bellrock")).expect("it was written").map(|file| file.expect("an entry").path());
    let file = files.find(|file| file.extension().is_some_and(|e| e == "jsonl")).expect("a journal");
    let text = std::fs::read_to_string(file).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn state(group: &Value) -> String {
    let instances = group["instances"].as_array().map_or(0, Vec::len);
    let text = |key: &str| group[key].as_str().unwrap_or_default().to_owned();
    format!("{} {}/{}/{} {} {} {instances}", text("name"), group["min"], group["desired"], group["max"], group["suspended"], group["tags"])
}
