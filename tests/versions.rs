//! Versions of Bellrock read each other's records: what the previous one left, today's goes on from; what a newer one may leave, today's keeps, or holds.
//!
//! The previous one's records are in `versions/0df7544/`, as it wrote them. A newer one's are the same with words that nobody knows today.

#[path = "fleet/host.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod host;
#[path = "versions/kept.rs"]
mod kept;
#[path = "fleet/living.rs"]
mod living;
#[path = "fleet/process.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod process;
#[path = "versions/rollback.rs"]
mod rollback;
#[path = "../src/orchestrator/store/redis/tests/server.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the store's tests use the rest")]
mod server;
#[path = "fleet/sim.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod sim;
#[path = "versions/store.rs"]
mod store;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bellrock::host::boot;
use bellrock::journal::FileJournal;
use bellrock::journal::Journal;
use bellrock::model::InstanceId;
use host::SOON;
use kept::holds;
use kept::previous;
use living::Living;
use process::Agent;
use process::bellrock;
use process::until;
use serde_json::Value;
use serde_json::json;
use sim::Sim;

const OLD: &str = "shop-main-v001";
/// Of the instance, and of the boot, that `journal.jsonl` is of.
const WRITER: &str = "i-5e05e1be2dd918ac2";
const ITS_BOOT: &str = "d74831c4-3030-4f88-892b-7a3c8e2990a2";
const DRAIN_WITHIN: Duration = Duration::from_secs(200);

/// A superseded group of so many instances, and its successor.
fn superseded(instances: u32) -> Value {
    let group = |name: &str, desired: u32, version: &str, suspended: &[&str]| json!({"name": name, "min": 0, "max": 3, "desired": desired, "template": "shop", "version": version, "settled": true, "suspended": suspended});
    json!({"templates": [{"name": "shop", "versions": [{}, {}]}],
        "groups": [group(OLD, instances, "1", &["Launch", "AddToLoadBalancer"]), group("shop-main-v002", 1, "2", &[])]})
}

/// A region with a group that nobody supersedes.
fn alone(instances: u32) -> Value {
    json!({"templates": [{"name": "shop", "versions": [{}]}], "target_groups": [{"name": "shop-main"}],
        "groups": [{"name": OLD, "min": 1, "max": 4, "desired": instances, "template": "shop", "version": "1", "settled": true, "target_groups": ["shop-main"]}]})
}

fn id(instance: &Value) -> &str {
    instance["id"].as_str().expect("an id")
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a file in a directory")).expect("a directory of our own");
    std::fs::write(path, text).expect("a directory of our own");
}

/// The journal as the previous version wrote it in a whole drain, of this instance and this boot; a line each.
fn journal_of(instance: &str) -> Vec<String> {
    let boot = boot::id().expect("this is Linux");
    previous("journal.jsonl", &[(WRITER, instance), (ITS_BOOT, &boot)]).lines().map(str::to_owned).collect()
}

/// The first line of this journal that has gone so far.
fn until_it_is(lines: &[String], progress: &str) -> String {
    let at = lines.iter().position(|line| line.contains(&format!("\"is\":\"{progress}\""))).expect("the drain came so far");
    lines[..=at].join("\n") + "\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_the_previous_version_began_goes_on_and_ends_its_instance_once() {
    let dir = tempfile::tempdir().expect("a directory of our own");
    let sim = Sim::start(dir.path(), &superseded(3), 5).await;
    let instances = sim.instances(OLD).await;
    let ids: Vec<String> = instances.iter().map(|i| id(i).to_owned()).collect();
    // How far each had come, and where today's begins: with an orchestrator that was stopped it looks whether that is so, and what came of an intent.
    let came_to = [("draining", "closing_intake"), ("stopped", "confirming_idle"), ("intent", "outcome_unknown")];
    for (id, (progress, _)) in ids.iter().zip(came_to) {
        write(&dir.path().join(id).join("state/journal"), &until_it_is(&journal_of(id), progress));
    }
    let agents = sim.agents(OLD, dir.path()).await;
    until("all three to be ended", DRAIN_WITHIN, async || {
        let ended = sim.truth().await["decrements"].as_array().expect("a list").len();
        (ended == ids.len()).then_some(())
    })
    .await;
    println!("{}", sim::keeps_the_promises(&sim.truth().await, &ids));
    for (id, (_, begins)) in ids.iter().zip(came_to) {
        let audit = agents.iter().find(|agent| agent.id == *id).expect("one of them").audit();
        let (first, moved) = (&audit[0], audit.iter().find(|line| line["event"] == "phase").expect("it went on"));
        assert_eq!((&first["event"], &first["same_boot"]), (&json!("started"), &json!(true)), "{first}");
        assert_eq!(first["found"]["drain"]["reason"]["by"], "shop-main-v002", "{first}");
        assert_eq!(moved["from"], begins, "{moved}");
    }
}

#[test]
fn every_line_of_a_journal_of_the_previous_version_is_read_to_its_last_word() {
    let dir = tempfile::tempdir().expect("a directory of our own");
    let path = dir.path().join("journal");
    let lines = journal_of("i-0ours");
    for line in &lines {
        write(&path, line);
        let boot = boot::id().expect("this is Linux");
        let read = FileJournal::new(&path).load(&InstanceId::from("i-0ours"), &boot);
        let (durable, same_boot) = read.expect("readable").expect("ours");
        let (written, read) = (serde_json::from_str::<Value>(line).expect("JSON"), serde_json::to_value(durable).expect("JSON"));
        assert!(same_boot && holds(&read, &written["durable"]), "{read:#} is not all of {written:#}");
    }
    assert_eq!(lines.len(), 7, "from the first order to the accepted end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_of_a_newer_version_is_held_on_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory of our own");
    let sim = Sim::start(dir.path(), &superseded(3), 6).await;
    let mut left = BTreeMap::new();
    for (instance, (from, to)) in sim.instances(OLD).await.iter().zip([
        ("\"format\":1", "\"format\":2"),
        ("{\"is\":\"intent\"", "{\"is\":\"parleying\""),
        ("{\"is\":\"superseded\"", "{\"is\":\"outshone\""),
    ]) {
        let path = dir.path().join(id(instance)).join("state/journal");
        let text = until_it_is(&journal_of(id(instance)), "intent").replace(from, to);
        assert!(text.contains(to), "{text}");
        write(&path, &text);
        left.insert(path, text);
    }
    for agent in &mut sim.agents(OLD, dir.path()).await {
        let status =
            until("the agent to hold", SOON, async || agent.status().await.filter(|status| status["held"]["code"] == "journal")).await;
        assert!(status["waits_for"].as_str().is_some_and(|why| why.contains("the journal to be readable")), "{status}");
        let said = "the journal cannot be read; nothing is done until it can (runbooks/journal.md)";
        until("it to be tried again", SOON, async || (agent.all_said(said).len() > 1).then_some(())).await;
        assert_eq!(agent.deeds(""), 0);
    }
    assert_eq!(sim.truth().await["decrements"], json!([]));
    for (path, text) in left {
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), text);
    }
}

#[test]
fn a_field_that_a_newer_version_added_to_the_journal_does_not_hold_an_older_one() {
    let dir = tempfile::tempdir().expect("a directory of our own");
    let path = dir.path().join("journal");
    let known = until_it_is(&journal_of("i-0ours"), "intent");
    let read = |text: &str| {
        write(&path, text);
        FileJournal::new(&path).load(&InstanceId::from("i-0ours"), "b").expect("readable").expect("ours").0
    };
    let more = known.replace("\"forced\":", "\"novelty\":[1],\"forced\":").replace("\"veto\":", "\"novelty\":{},\"veto\":");
    assert_ne!(known, more);
    assert_eq!(read(&more), read(&known));
}

/// An orchestrator that counts, as its keeper begins one, and the folder of its agent with the record of the version before.
fn begun(place: &Path, run: impl Fn(Value) -> Value) -> (std::process::Child, Living, String) {
    let folder = place.join("state/orchestrator");
    std::fs::create_dir_all(&folder).expect("a directory of our own");
    let order: Value = serde_json::from_str(&previous("orchestrator/order.json", &[])).expect("JSON");
    let argv: Vec<&str> = order["argv"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let child = std::process::Command::new(argv[0]).args(&argv[1..]).env("BELLROCK_KEPT_IN", &folder).current_dir(place).spawn();
    let child = child.expect("a shell");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("it lives");
    let ticks: u64 =
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)).and_then(|n| n.parse().ok()).expect("a number");
    let mut record: Value =
        serde_json::from_str(&previous("orchestrator/run.json", &[(ITS_BOOT, &boot::id().expect("this is Linux"))])).expect("JSON");
    record["main"] = json!({"pid": child.id(), "start_ticks": ticks});
    write(&folder.join("run.json"), &run(record).to_string());
    write(&folder.join("lock"), "");
    for file in ["order.json", "upkeep.json"] {
        let text = previous(
            &format!("orchestrator/{file}"),
            &[(ITS_BOOT, &boot::id().expect("this is Linux")), ("/tmp/previous/run/drain", &place.display().to_string())],
        );
        write(&folder.join(file), &text);
    }
    let config = format!(
        "[orchestrator]\nkind = \"process\"\nurl = \"URL\"\ntimeout = \"2s\"\n\
         [orchestrator.activity]\nevery = \"1s\"\nevery_idle = \"1s\"\nsample_max_age = \"1s\"\nactive_by_instance = {{ refreshed = \"1s\" }}\n\
         [orchestrator.process]\ncommand = {argv:?}\ndirectory = \"{}\"\n",
        place.display()
    );
    (child, Living(folder), config)
}

async fn agent_of(sim: &Sim, instance: &Value, dir: &Path, config: &str) -> Agent {
    let told = |key: &str| instance[key].as_str().expect("text").to_owned();
    let env = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", told("metadata")), ("AWS_ENDPOINT_URL", sim.endpoint.clone())];
    Agent::start(id(instance), dir, &config.replace("URL", &told("orchestrator")), &env)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orchestrator_that_the_previous_version_began_is_taken_up_and_not_begun_again() {
    let dir = tempfile::tempdir().expect("a directory of our own");
    let sim = Sim::start(dir.path(), &alone(1), 7).await;
    let instance = sim.instances(OLD).await.remove(0);
    let (mut child, _living, config) = begun(&dir.path().join(id(&instance)), |run| run);
    let mut agent = agent_of(&sim, &instance, dir.path(), &config).await;
    let status = until("its process to be known", SOON, async || {
        assert!(!agent.has_ended(), "the agent ended:\n{}", agent.tail());
        agent.status().await.filter(|status| status["process"]["state"] == "running")
    })
    .await;
    assert_eq!((&status["process"]["pid"], &status["process"]["restarts"]), (&json!(child.id()), &json!(0)), "{status:#}");
    assert!(child.try_wait().expect("ours").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_an_orchestrator_whose_record_is_a_newer_version_s_none_is_begun() {
    let dir = tempfile::tempdir().expect("a directory of our own");
    let sim = Sim::start(dir.path(), &alone(1), 8).await;
    let instance = sim.instances(OLD).await.remove(0);
    let newer = |mut run: Value| {
        run["main"] = json!({"unit": "orca.scope"});
        run
    };
    let (mut child, living, config) = begun(&dir.path().join(id(&instance)), newer);
    let mut agent = agent_of(&sim, &instance, dir.path(), &config).await;
    let status = until("it to be told, and the agent to go on", SOON, async || {
        let status = agent.status().await?;
        (status["process"]["state"] == "unknown" && !status["group"].is_null()).then_some(status)
    })
    .await;
    assert_eq!(status["process"]["runbook"], "runbooks/orchestrator-keeper.md", "{status:#}");
    assert!(child.try_wait().expect("ours").is_none());
    let words = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let same: Vec<u32> = living.all().iter().map(|process| process.pid).filter(|pid| words(*pid).contains("while :")).collect();
    assert_eq!(same.len(), 1, "{status:#}");
}

/// The file of executions as the previous version left it, and the id of the one in it.
fn file(dir: &Path, more: &str) -> (String, &'static str) {
    let path = dir.join("runs.db");
    let file = rusqlite::Connection::open(&path).expect("a directory of our own");
    file.execute_batch(&(previous("runs.sql", &[]) + more)).expect("SQL");
    (path.display().to_string(), "01M8J455B312Z8NDT7AFXWFT6H")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_in_a_file_of_the_previous_version_goes_on() {
    let dir = tempfile::tempdir().expect("a directory of our own");
    let (file, execution) = file(dir.path(), "");
    let run = bellrock(&["pipeline", "run", "--store", &file, "--resume", execution], &[]).output().await.expect("the program");
    let said = String::from_utf8_lossy(&run.stdout);
    let both = said.contains("[1] Job (runJob), 25ms") && said.contains("> last");
    assert!(
        run.status.success() && both,
        "the first job as it was recorded, the last one now: {said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_a_newer_version_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory of our own");
    let (file, execution) = file(dir.path(), "PRAGMA user_version = 99;");
    let before = std::fs::read(&file).expect("it is there");
    let run = bellrock(&["pipeline", "run", "--store", &file, "--resume", execution], &[]).output().await.expect("the program");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success() && said.contains("newer Bellrock") && said.contains("runbooks/pipeline-store.md"), "{said}");
    assert!(std::fs::read(&file).expect("it is there") == before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_of_the_previous_version_is_in_order() {
    for file in ["embedded", "endpoint", "process"] {
        let path = format!("{}/tests/versions/0df7544/{file}.toml", env!("CARGO_MANIFEST_DIR"));
        let check = bellrock(&["config", "check", "--config", &path], &[]).output().await.expect("the program");
        let said = String::from_utf8_lossy(&check.stdout);
        assert!(check.status.success() && check.stderr.is_empty(), "{file}: {said}{}", String::from_utf8_lossy(&check.stderr));
    }
}
