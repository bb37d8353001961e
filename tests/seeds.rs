//! What people want pipelines for, end to end on a fresh install: one agent, its API and its command line, real jobs.
//!
//! Every wait is a poll with a deadline; that something does not happen is asked once something that comes after it has happened.

#[path = "fleet/host.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod host;
#[path = "fleet/process.rs"]
#[allow(dead_code, reason = "the fleet's tests use the rest")]
mod process;
#[path = "fleet/sim.rs"]
#[allow(dead_code, reason = "the fleet's tests use the rest")]
mod sim;

use bellrock::host::clock::SystemClock;
use bellrock::model::Clock;
use host::Host;
use host::SOON;
use host::stage;
use host::stage_id;
use process::bellrock;
use process::until;
use serde_json::Value;
use serde_json::json;
use sim::Sim;

const GROUP: &str = "shop-main-v001";
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// An agent of the simulated region, with what it needs while it lives.
struct Install {
    host: Host,
    _sim: Sim,
    _dir: tempfile::TempDir,
}

impl Install {
    async fn fresh(seed: u64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let region = json!({
            "templates": [{"name": "shop", "versions": [{}]}],
            "target_groups": [{"name": "shop-main"}],
            "groups": [{"name": GROUP, "min": 1, "max": 2, "desired": 1, "template": "shop", "version": "1", "settled": true, "target_groups": ["shop-main"]}],
        });
        let sim = Sim::start(dir.path(), &region, seed).await;
        let host = Host::first(&sim, GROUP, dir.path(), "[orchestrator.activity]\nsample_max_age = \"1s\"\n").await;
        Self { host, _sim: sim, _dir: dir }
    }

    /// `bellrock pipeline …` against this agent; its exit code, and what it printed.
    async fn cli(&self, words: &[&str]) -> (Option<i32>, String) {
        let socket = self.host.door.socket.display().to_string();
        let words = [&["pipeline"], words, &["--socket", &socket, "--output", "json"]].concat();
        let ended = tokio::time::timeout(SOON, bellrock(&words, &[]).output()).await.expect("in time").expect("it runs");
        let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (ended.status.code(), said.concat())
    }

    /// Executions of a pipeline, newest first.
    async fn executions(&self, definition: &str) -> Vec<Value> {
        let list = self.host.door.get(&format!("/executions?limit=100&pipelineConfigIds={definition}")).await;
        list.as_array().cloned().unwrap_or_else(|| panic!("{list}"))
    }
}

fn say(ref_id: &str, after: &[&str], what: &str) -> Value {
    json!({"refId": ref_id, "requisiteStageRefIds": after, "type": "runJob", "name": format!("Say {what}"), "command": ["echo", what]})
}

fn ask(ref_id: &str, after: &[&str]) -> Value {
    json!({"refId": ref_id, "requisiteStageRefIds": after, "type": "manualJudgment", "name": "Where to?", "instructions": "Where to?",
        "judgmentInputs": [{"value": "everybody"}, {"value": "a few"}]})
}

fn id_of(execution: &str) -> &str {
    execution.strip_prefix("/pipelines/").expect("a reference")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_window_blocks_and_can_be_skipped() {
    let install = Install::fresh(51).await;
    let door = &install.host.door;
    // The day after the day after tomorrow, so that no midnight comes into it. 1970-01-01 was a Thursday; Sunday is 1.
    let opens = SystemClock::start().now().wall.0 / DAY_MS + 3;
    let mut deploy = say("1", &[], "deployed");
    deploy["restrictExecutionDuringTimeWindow"] = true.into();
    deploy["restrictedExecutionWindow"] = json!({"days": [(opens + 4) % 7 + 1], "timezone": "UTC",
        "whitelist": [{"startHour": 0, "startMin": 0, "endHour": 23, "endMin": 59}]});
    door.save(&json!({"application": "shop", "name": "nightly", "stages": [deploy]})).await;
    door.save(&json!({"application": "shop", "name": "free", "stages": [say("1", &[], "free")]})).await;
    let blocked = door.start("nightly", json!({})).await;
    let window = |execution: &Value| {
        let stages = execution["stages"].as_array().expect("stages").iter();
        stages.into_iter().find(|s| s["type"] == "restrictExecutionDuringTimeWindow").cloned()
    };
    let waiting = until("the window to be waited for", SOON, async || {
        window(&door.get(&blocked).await).filter(|window| window["status"] == "RUNNING" && window["scheduledTime"].is_i64())
    })
    .await;
    assert_eq!(waiting["scheduledTime"], opens * DAY_MS, "the time that is shown is when it opens");
    let free = door.start("free", json!({})).await;
    door.reaches(&free, "SUCCEEDED").await;
    let seen = door.get(&blocked).await;
    assert_eq!((&seen["status"], &stage(&seen, "1")["outputs"]), (&json!("RUNNING"), &json!({})), "{seen:#}");
    assert!(stage(&seen, "1")["context"]["stdout"].is_null(), "nothing ran: {seen:#}");

    let (code, answer) = door.patch(&blocked, waiting["id"].as_str().expect("an id"), &json!({"skipRemainingWait": true})).await;
    assert_eq!(code, 202, "{answer}");
    let seen = door.reaches(&blocked, "SUCCEEDED").await;
    assert_eq!(stage(&seen, "1")["context"]["lastLine"], "deployed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_judgments_input_chooses_the_stages_that_run_and_stop_ends_the_pipeline() {
    let install = Install::fresh(52).await;
    let door = &install.host.door;
    let only = |input: &str, mut stage: Value| {
        stage["stageEnabled"] = json!({"type": "expression", "expression": format!("#judgment('Where to?') == '{input}'")});
        stage
    };
    let stages = [
        ask("go", &[]),
        only("everybody", say("all", &["go"], "all")),
        only("a few", say("few", &["go"], "few")),
        say("end", &["all", "few"], "end"),
    ];
    door.save(&json!({"application": "shop", "name": "release", "stages": stages})).await;
    let asked = async || {
        let execution = door.start("release", json!({})).await;
        door.stage_reaches(&execution, "go", "RUNNING").await;
        execution
    };
    for (input, runs, skipped) in [("everybody", "all", "few"), ("a few", "few", "all")] {
        let execution = asked().await;
        let (code, said) = install.cli(&["judge", id_of(&execution), "go", "continue", "--input", input]).await;
        assert_eq!(code, Some(0), "{said}");
        let seen = door.reaches(&execution, "SUCCEEDED").await;
        let ended = |ref_id: &str| (stage(&seen, ref_id)["status"].clone(), stage(&seen, ref_id)["context"]["lastLine"].clone());
        assert_eq!(ended(runs), (json!("SUCCEEDED"), json!(runs)), "{input}");
        assert_eq!(ended(skipped), (json!("SKIPPED"), Value::Null), "{input}");
        assert_eq!(ended("end"), (json!("SUCCEEDED"), json!("end")), "{input}");
    }
    let execution = asked().await;
    let (code, said) = install.cli(&["judge", id_of(&execution), "Where to?", "stop"]).await;
    assert_eq!(code, Some(0), "{said}");
    let seen = door.reaches(&execution, "TERMINAL").await;
    let statuses = ["go", "all", "few", "end"].map(|ref_id| stage(&seen, ref_id)["status"].as_str().expect("text").to_owned());
    assert_eq!(statuses, ["TERMINAL", "NOT_STARTED", "NOT_STARTED", "NOT_STARTED"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_parent_starts_its_rollback_pipeline_and_one_that_went_well_does_not() {
    let install = Install::fresh(53).await;
    let door = &install.host.door;
    let mut job = say("1", &[], "");
    job["command"] = json!(["sh", "-c", "exit ${parameters.code}"]);
    let parent = door
        .save(&json!({"application": "shop", "name": "deploy", "stages": [job], "parameterConfig": [{"name": "code", "required": true}]}))
        .await;
    let follower = |name: &str, on: &str| {
        json!({"application": "shop", "name": name, "stages": [say("1", &[], "done")],
            "triggers": [{"type": "pipeline", "enabled": true, "application": "shop", "pipeline": parent, "status": [on]}]})
    };
    let rollback = door.save(&follower("roll back", "failed")).await;
    let announce = door.save(&follower("announce", "successful")).await;
    let well = door.start("deploy", json!({"code": "0"})).await;
    door.reaches(&well, "SUCCEEDED").await;
    let followed = async |definition: &str, of: &str| {
        let what = format!("{definition} to be started by {of}");
        let id = until(&what, SOON, async || {
            let all = install.executions(definition).await;
            all.iter().find(|e| e["trigger"]["parentExecution"]["id"] == id_of(of)).and_then(|e| e["id"].as_str().map(str::to_owned))
        })
        .await;
        door.reaches(&format!("/pipelines/{id}"), "SUCCEEDED").await
    };
    followed(&announce, &well).await;
    let badly = door.start("deploy", json!({"code": "1"})).await;
    door.reaches(&badly, "TERMINAL").await;
    let seen = followed(&rollback, &badly).await;
    assert_eq!(stage(&seen, "1")["context"]["lastLine"], "done");
    // All that the first parent's end could start was started before the second parent began to.
    for definition in [&rollback, &announce] {
        assert_eq!(install.executions(definition).await.len(), 1, "{definition}");
    }
    let missing = door.post("/pipelines/shop/deploy", &json!({"parameters": {}})).await;
    assert_eq!((missing.0, &missing.1["code"]), (400, &json!("invalid")), "a parameter is required: {missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executions_of_a_pipeline_with_a_limit_run_one_at_a_time_in_their_order() {
    let install = Install::fresh(54).await;
    let door = &install.host.door;
    let definition = json!({"application": "shop", "name": "single", "limitConcurrent": true, "keepWaitingPipelines": true,
        "stages": [ask("go", &[]), say("1", &["go"], "done")]});
    let id = door.save(&definition).await;
    let mut order = Vec::new();
    for _ in 0..3 {
        order.push(door.start("single", json!({})).await);
    }
    let mut ends = 0;
    for (nth, execution) in order.iter().enumerate() {
        let seen = door.stage_reaches(execution, "go", "RUNNING").await;
        let running: Vec<Value> = install.executions(&id).await.into_iter().filter(|e| e["status"] == "RUNNING").collect();
        assert_eq!(running.len(), 1, "{running:#?}");
        for later in &order[nth + 1..] {
            let waiting = door.get(later).await;
            assert!(waiting["startTime"].is_null(), "{waiting:#}");
        }
        let (code, answer) = door.patch(execution, &stage_id(&seen, "go"), &json!({"judgmentStatus": "continue"})).await;
        assert_eq!(code, 202, "{answer}");
        let seen = door.reaches(execution, "SUCCEEDED").await;
        let (from, to) = (seen["startTime"].as_i64().expect("a time"), seen["endTime"].as_i64().expect("a time"));
        assert!(from >= ends, "began {} ms before the one before had ended", ends - from);
        ends = to;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_pipeline_is_refused_whoever_asks_until_it_is_enabled() {
    let install = Install::fresh(55).await;
    let door = &install.host.door;
    let definition =
        |disabled: bool| json!({"application": "shop", "name": "old", "disabled": disabled, "stages": [say("1", &[], "done")]});
    let id = door.save(&definition(true)).await;
    let (code, refused) = door.post("/pipelines/shop/old", &json!({})).await;
    assert_eq!((code, &refused["code"]), (409, &json!("disabled")), "{refused}");
    let (code, said) = install.cli(&["start", "shop", "old"]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("disabled"), "{said}");
    assert_eq!(install.executions(&id).await, Vec::<Value>::new());
    let mut enabled = definition(false);
    enabled["id"] = id.into();
    door.save(&enabled).await;
    let (code, said) = install.cli(&["start", "shop", "old", "--wait"]).await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_is_started_by_name_and_a_cluster_counted_before() {
    let install = Install::fresh(56).await;
    let door = &install.host.door;
    let child = door.save(&json!({"application": "shop", "name": "roll back", "stages": [say("1", &[], "back")]})).await;
    let size = |comparison: &str| json!({"type": "clusterSize", "context": {"cluster": "shop-main", "regions": ["us-east-1"], "comparison": comparison, "expected": 1}});
    let check =
        |comparison: &str| json!({"refId": "size", "type": "checkPreconditions", "name": "Size", "preconditions": [size(comparison)]});
    let start = json!({"refId": "start", "requisiteStageRefIds": ["size"], "type": "pipeline", "name": "Start", "application": "shop",
        "pipeline": "${ #pipelineId('roll back') }"});
    for (name, comparison, ends) in [("one", "==", "SUCCEEDED"), ("more", ">", "TERMINAL")] {
        door.save(&json!({"application": "shop", "name": name, "stages": [check(comparison), start]})).await;
        let execution = door.start(name, json!({})).await;
        door.reaches(&execution, ends).await;
    }
    let started = install.executions(&child).await;
    assert_eq!(started.iter().map(|e| &e["status"]).collect::<Vec<_>>(), ["SUCCEEDED"], "by the one whose check held");
}
