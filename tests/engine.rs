//! An agent that runs pipelines itself, as a process in the simulated region: orders over its socket, kill -9, a drain.
//!
//! Every wait is a poll with a deadline.

#[path = "fleet/host.rs"]
#[allow(dead_code, reason = "the fleet's tests use the rest")]
mod host;
#[path = "fleet/process.rs"]
#[allow(dead_code, reason = "the fleet's tests use the rest")]
mod process;
#[path = "fleet/sim.rs"]
#[allow(dead_code, reason = "the fleet's tests use the rest")]
mod sim;

use host::Host;
use host::SOON;
use process::until;
use serde_json::Value;
use serde_json::json;
use sim::Sim;

/// Looks are exact, so the shortest quiet that [`process::Agent::start`] sets is enough.
const CONFIG: &str = "[orchestrator.activity]\nsample_max_age = \"1s\"\n";
const GROUP: &str = "shop-main-v001";

fn region() -> Value {
    json!({
        "templates": [{"name": "shop", "versions": [{}]}],
        "target_groups": [{"name": "shop-main"}],
        "groups": [{"name": GROUP, "min": 1, "max": 4, "desired": 2, "template": "shop", "version": "1", "settled": true, "target_groups": ["shop-main"]}],
    })
}

fn pipeline(name: &str, wait_s: u32) -> Value {
    json!({"application": "shop", "name": name, "stages": [
        {"refId": "1", "requisiteStageRefIds": [], "type": "wait", "name": "Wait", "waitTime": wait_s},
        {"refId": "2", "requisiteStageRefIds": ["1"], "type": "evaluateVariables", "name": "Say",
         "variables": [{"key": "greeting", "value": "${'hello ' + execution.application}"}]},
    ]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_runs_on_a_fresh_install_and_outlives_a_kill_of_its_agent() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let sim = Sim::start(dir.path(), &region(), 31).await;
    let mut host = Host::first(&sim, GROUP, dir.path(), CONFIG).await;

    let (code, saved) = host.door.post("/pipelines", &pipeline("short", 1)).await;
    assert_eq!((code, &saved["version"]), (200, &json!(1)), "{saved}");
    let (code, refused) =
        host.door.post("/pipelines", &json!({"application": "shop", "name": "odd", "stages": [{"refId": "1", "type": "what"}]})).await;
    assert_eq!((code, &refused["code"]), (400, &json!("invalid")), "{refused}");
    let done = host.door.start("short", json!({})).await;
    let seen = host.door.reaches(&done, "SUCCEEDED").await;
    assert_eq!(seen["stages"][1]["outputs"]["greeting"], "hello shop", "{seen:#}");
    let said = host.door.get(&format!("{done}/evaluateExpression?expression=%23stage('Say').outputs.greeting")).await;
    assert_eq!(said["result"], "hello shop", "{said}");

    host.door.post("/pipelines", &pipeline("long", 4)).await;
    let under_way = host.door.start("long", json!({})).await;
    host.door.reaches(&under_way, "RUNNING").await;
    host.agent.kill("working").await;
    host.agent.restart();
    host.is_up().await;
    host.door.reaches(&under_way, "SUCCEEDED").await;

    let active = host.door.get("/executions/activeByInstance").await;
    assert!(active.is_object(), "{active}");
    let list = host.door.get("/applications/shop/pipelines?limit=10").await;
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_closes_the_engines_intake_and_a_change_of_mind_opens_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let sim = Sim::start(dir.path(), &region(), 32).await;
    let host = Host::first(&sim, GROUP, dir.path(), CONFIG).await;
    let enabled = async |wanted: bool| {
        until("the intake to follow", SOON, async || (host.door.get("/admin/instance/enabled").await["enabled"] == wanted).then_some(()))
            .await;
    };
    enabled(true).await;
    // Refused until the agent has seen its group.
    until("the drain to be taken", SOON, async || {
        let (code, _) = host.door.post("/drain", &json!({"reason": "kernel update"})).await;
        (code == 200).then_some(())
    })
    .await;
    enabled(false).await;
    let (code, answer) = host.door.post("/undrain", &json!({})).await;
    assert_eq!(code, 200, "{answer}");
    enabled(true).await;
}
