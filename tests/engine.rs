//! An agent that runs pipelines itself, as a process in the simulated region: orders over its socket, kill -9, a drain.
//!
//! Every wait is a poll with a deadline.

#[path = "fleet/process.rs"]
#[allow(dead_code, reason = "the fleet's tests use the rest")]
mod process;
#[path = "fleet/sim.rs"]
#[allow(dead_code, reason = "the fleet's tests use the rest")]
mod sim;

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use process::Agent;
use process::until;
use serde_json::Value;
use serde_json::json;
use sim::Sim;

const SOON: Duration = Duration::from_secs(60);
/// Looks are exact, so the shortest quiet that [`Agent::start`] sets is enough.
const CONFIG: &str = "[orchestrator.activity]\nsample_max_age = \"1s\"\n";
const GROUP: &str = "shop-main-v001";

fn region() -> Value {
    json!({
        "templates": [{"name": "shop", "versions": [{}]}],
        "target_groups": [{"name": "shop-main"}],
        "groups": [{"name": GROUP, "min": 1, "max": 4, "desired": 2, "template": "shop", "version": "1", "settled": true, "target_groups": ["shop-main"]}],
    })
}

/// An agent, and its API over its socket.
struct Host {
    agent: Agent,
    socket: PathBuf,
}

impl Host {
    async fn start(sim: &Sim, dir: &Path) -> Self {
        let found = sim.instances(GROUP).await.remove(0);
        let instance = found["id"].as_str().expect("text").to_owned();
        let metadata = found["metadata"].as_str().expect("text").to_owned();
        let env = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata), ("AWS_ENDPOINT_URL", sim.endpoint.clone())];
        let agent = Agent::start(&instance, dir, CONFIG, &env);
        let mut host = Self { agent, socket: dir.join(&instance).join("sock") };
        host.is_up().await;
        host
    }

    /// Waits until the API answers.
    async fn is_up(&mut self) {
        until("the API to answer", SOON, async || {
            assert!(!self.agent.has_ended(), "the agent ended:\n{}", self.agent.tail());
            let answer = self.client().get("http://agent/admin/instance/enabled").send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    fn client(&self) -> reqwest::Client {
        let client = reqwest::Client::builder().unix_socket(self.socket.clone()).no_proxy().timeout(Duration::from_secs(10));
        client.build().expect("a client")
    }

    async fn get(&self, path: &str) -> Value {
        self.client().get(format!("http://agent{path}")).send().await.expect("answers").json().await.expect("JSON")
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.client().post(format!("http://agent{path}")).json(body).send().await.expect("answers");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    async fn start_pipeline(&self, name: &str) -> String {
        let (code, answer) = self.post(&format!("/pipelines/shop/{name}"), &json!({"parameters": {}})).await;
        assert_eq!(code, 202, "{answer}");
        answer["ref"].as_str().expect("a reference").to_owned()
    }

    async fn reaches(&self, execution: &str, status: &str) -> Value {
        until(&format!("{execution} to be {status}"), SOON, async || {
            let seen = self.get(execution).await;
            (seen["status"] == status).then_some(seen)
        })
        .await
    }
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
    let mut host = Host::start(&sim, dir.path()).await;

    let (code, saved) = host.post("/pipelines", &pipeline("short", 1)).await;
    assert_eq!((code, &saved["version"]), (200, &json!(1)), "{saved}");
    let (code, refused) =
        host.post("/pipelines", &json!({"application": "shop", "name": "odd", "stages": [{"refId": "1", "type": "what"}]})).await;
    assert_eq!((code, &refused["code"]), (400, &json!("invalid")), "{refused}");
    let done = host.start_pipeline("short").await;
    let seen = host.reaches(&done, "SUCCEEDED").await;
    assert_eq!(seen["stages"][1]["outputs"]["greeting"], "hello shop", "{seen:#}");
    let said = host.get(&format!("{done}/evaluateExpression?expression=%23stage('Say').outputs.greeting")).await;
    assert_eq!(said["result"], "hello shop", "{said}");

    host.post("/pipelines", &pipeline("long", 4)).await;
    let under_way = host.start_pipeline("long").await;
    host.reaches(&under_way, "RUNNING").await;
    host.agent.kill("working").await;
    host.agent.restart();
    host.is_up().await;
    host.reaches(&under_way, "SUCCEEDED").await;

    let active = host.get("/executions/activeByInstance").await;
    assert!(active.is_object(), "{active}");
    let list = host.get("/applications/shop/pipelines?limit=10").await;
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_closes_the_engines_intake_and_a_change_of_mind_opens_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let sim = Sim::start(dir.path(), &region(), 32).await;
    let host = Host::start(&sim, dir.path()).await;
    let enabled = async |wanted: bool| {
        until("the intake to follow", SOON, async || (host.get("/admin/instance/enabled").await["enabled"] == wanted).then_some(())).await;
    };
    enabled(true).await;
    // Refused until the agent has seen its group.
    until("the drain to be taken", SOON, async || {
        let (code, _) = host.post("/drain", &json!({"reason": "kernel update"})).await;
        (code == 200).then_some(())
    })
    .await;
    enabled(false).await;
    let (code, answer) = host.post("/undrain", &json!({})).await;
    assert_eq!(code, 200, "{answer}");
    enabled(true).await;
}
