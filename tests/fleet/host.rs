//! An agent that runs pipelines itself, and its API over its socket.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use serde_json::json;

use super::process::Agent;
use super::process::until;
use super::sim::Sim;

/// More than anything takes on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// The API of one agent, whatever process serves it.
#[derive(Clone)]
pub struct Door {
    pub socket: PathBuf,
    http: reqwest::Client,
}

impl Door {
    pub fn new(socket: PathBuf, within: Duration) -> Self {
        let client = reqwest::Client::builder().unix_socket(socket.clone()).no_proxy().timeout(within);
        Self { socket, http: client.build().expect("a client") }
    }

    /// One call. An answer without a body is null.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(u16, Value), reqwest::Error> {
        let request = self.http.request(method, format!("http://agent{path}"));
        let answer = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = answer.send().await?;
        let code = answer.status().as_u16();
        let text = answer.text().await?;
        Ok((code, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    pub async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, None).await.expect("answers").1
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask(Method::POST, path, Some(body)).await.expect("answers")
    }

    /// Saves a pipeline; answers its id.
    pub async fn save(&self, document: &Value) -> String {
        let (code, saved) = self.post("/pipelines", document).await;
        assert_eq!(code, 200, "{saved}");
        saved["id"].as_str().expect("an id").to_owned()
    }

    /// Starts a stored pipeline of the application `shop` with these parameters; answers where its execution is.
    pub async fn start(&self, name: &str, parameters: Value) -> String {
        let (code, answer) = self.post(&format!("/pipelines/shop/{name}"), &json!({"parameters": parameters})).await;
        assert_eq!(code, 202, "{answer}");
        answer["ref"].as_str().expect("a reference").to_owned()
    }

    /// Merges these keys into the context of a stage.
    pub async fn patch(&self, execution: &str, stage: &str, context: &Value) -> (u16, Value) {
        let path = format!("{execution}/stages/{stage}");
        self.ask(Method::PATCH, &path, Some(context)).await.expect("answers")
    }

    /// Waits until an execution has this status.
    pub async fn reaches(&self, execution: &str, status: &str) -> Value {
        until(&format!("{execution} to be {status}"), SOON, async || {
            let seen = self.get(execution).await;
            (seen["status"] == status).then_some(seen)
        })
        .await
    }

    /// Waits until a stage of an execution has this status; answers the execution.
    pub async fn stage_reaches(&self, execution: &str, ref_id: &str, status: &str) -> Value {
        until(&format!("stage {ref_id} of {execution} to be {status}"), SOON, async || {
            let seen = self.get(execution).await;
            (stage(&seen, ref_id)["status"] == status).then_some(seen)
        })
        .await
    }
}

/// A stage of an execution by its reference id.
pub fn stage<'e>(execution: &'e Value, ref_id: &str) -> &'e Value {
    let stages = execution["stages"].as_array();
    let found = stages.and_then(|stages| stages.iter().find(|stage| stage["refId"] == ref_id));
    found.unwrap_or_else(|| panic!("no stage {ref_id} in {execution:#}"))
}

/// The id of a stage by its reference id.
pub fn stage_id(execution: &Value, ref_id: &str) -> String {
    stage(execution, ref_id)["id"].as_str().expect("an id").to_owned()
}

/// An agent on an instance of the simulated region.
pub struct Host {
    pub agent: Agent,
    pub door: Door,
}

impl Host {
    /// Starts the agent of the first instance of a group and waits until its API answers.
    pub async fn first(sim: &Sim, group: &str, dir: &Path, config: &str) -> Self {
        let instance = sim.instances(group).await.remove(0);
        Self::start(sim, &instance, dir, config).await
    }

    /// Starts the agent of this instance, as [`Sim::instances`] names it, and waits until its API answers.
    pub async fn start(sim: &Sim, instance: &Value, dir: &Path, config: &str) -> Self {
        Self::start_with(sim, instance, dir, config, &[]).await
    }

    /// The same, with more of an environment.
    pub async fn start_with(sim: &Sim, instance: &Value, dir: &Path, config: &str, more: &[(&str, String)]) -> Self {
        let text = |key: &str| instance[key].as_str().expect("text").to_owned();
        let mut env = vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", text("metadata")), ("AWS_ENDPOINT_URL", sim.endpoint.clone())];
        env.extend_from_slice(more);
        let agent = Agent::start(&text("id"), dir, config, &env);
        let door = Door::new(dir.join(text("id")).join("sock"), Duration::from_secs(10));
        let mut host = Self { agent, door };
        host.is_up().await;
        host
    }

    /// Waits until the API answers.
    pub async fn is_up(&mut self) {
        until("the API to answer", SOON, async || {
            assert!(!self.agent.has_ended(), "the agent ended:\n{}", self.agent.tail());
            let (code, _) = self.door.ask(Method::GET, "/admin/instance/enabled", None).await.ok()?;
            (code == 200).then_some(())
        })
        .await;
    }
}
