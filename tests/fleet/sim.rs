//! `bellrock sim` as a process: its control page, its ground truth, and agents for its instances.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio::process::Child;

use super::process::Agent;
use super::process::bellrock;
use super::process::client;
use super::process::until;

/// Virtual seconds per real one. Everything that takes AWS a minute takes six seconds; a second of an agent is ten.
pub const SPEED: u32 = 10;

pub struct Sim {
    pub endpoint: String,
    http: reqwest::Client,
    _child: Child,
}

impl Sim {
    pub async fn start(dir: &Path, scenario: &Value, seed: u64) -> Self {
        let file = dir.join("scenario.json");
        std::fs::write(&file, scenario.to_string()).expect("a directory of our own");
        let (file, seed_text, speed) = (file.display().to_string(), seed.to_string(), SPEED.to_string());
        let args = ["sim", "--scenario", &file, "--seed", &seed_text, "--speed", &speed];
        let mut child = bellrock(&args, &[]).stdout(Stdio::piped()).spawn().expect("the program that was built for this test");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let ready = tokio::time::timeout(Duration::from_secs(20), out.next_line()).await.expect("ready in time");
        let ready: Value = serde_json::from_str(&ready.expect("a line").expect("a line")).expect("JSON");
        println!("{ready}");
        Self { endpoint: ready["endpoint"].as_str().expect("an address").to_owned(), http: client(), _child: child }
    }

    /// Its process.
    #[allow(dead_code, reason = "for whoever has to end it from elsewhere")]
    pub fn pid(&self) -> u32 {
        self._child.id().expect("it was not waited for")
    }

    pub async fn control(&self) -> Value {
        self.get("/control").await
    }

    pub async fn truth(&self) -> Value {
        self.get("/control/truth").await
    }

    async fn get(&self, path: &str) -> Value {
        self.http.get(format!("{}{path}", self.endpoint)).send().await.expect("answers").json().await.expect("JSON")
    }

    pub async fn post(&self, path: &str, body: Value) {
        let answer = self.http.post(format!("{}/control/{path}", self.endpoint)).json(&body).send().await.expect("answers");
        assert!(answer.status().is_success(), "{path} {body}: {}", answer.text().await.unwrap_or_default());
    }

    pub async fn no_trouble(&self) {
        self.http.delete(format!("{}/control/trouble", self.endpoint)).send().await.expect("answers");
    }

    pub async fn incident(&self, what: Value) {
        self.post("incident", what).await;
    }

    pub async fn work(&self, queue: &str, count: u32, length: [u32; 2], over: u32) {
        self.post("work", json!({"queue": queue, "application": "shop", "count": count, "length": length, "over": over})).await;
    }

    /// One group of the control page.
    pub async fn group(&self, name: &str) -> Value {
        let control = self.control().await;
        let groups = control["groups"].as_array().expect("groups");
        groups.iter().find(|g| g["name"] == name).unwrap_or_else(|| panic!("no {name} in {groups:?}")).clone()
    }

    /// The instances of a group that are not over, with where their metadata and their orchestrator are.
    pub async fn instances(&self, group: &str) -> Vec<Value> {
        let control = self.control().await;
        let all = control["instances"].as_array().expect("instances");
        all.iter().filter(|i| i["group"] == group && i["state"] != "terminated").cloned().collect()
    }

    /// An agent on each instance of a group, each with its own metadata and its instance role's credentials.
    pub async fn agents(&self, group: &str, dir: &Path) -> Vec<Agent> {
        let mut agents = Vec::new();
        for instance in self.instances(group).await {
            let text = |key: &str| instance[key].as_str().expect("text").to_owned();
            let env = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", text("metadata")), ("AWS_ENDPOINT_URL", self.endpoint.clone())];
            agents.push(Agent::start(&text("id"), dir, &orchestrator(&text("orchestrator")), &env));
        }
        agents
    }

    /// What a load balancer really serves from: ids of healthy targets by target group name.
    pub async fn healthy_targets(&self) -> BTreeMap<String, Vec<String>> {
        let ask = async |action: &str, more: &[(&str, &str)]| {
            let mut form = vec![("Action", action), ("Version", "2015-12-01")];
            form.extend(more);
            self.http.post(&self.endpoint).form(&form).send().await.expect("answers").text().await.expect("a body")
        };
        let mut healthy = BTreeMap::new();
        let groups = ask("DescribeTargetGroups", &[]).await;
        for arn in all_between(&groups, "<TargetGroupArn>", "</TargetGroupArn>") {
            let name = arn.split('/').nth(1).unwrap_or(arn).to_owned();
            let health = ask("DescribeTargetHealth", &[("TargetGroupArn", arn)]).await;
            let members = all_between(&health, "<member>", "</member>").into_iter();
            let serving = members.filter(|m| m.contains("<State>healthy</State>"));
            let mut ids: Vec<String> = serving.flat_map(|m| all_between(m, "<Id>", "</Id>")).map(str::to_owned).collect();
            ids.sort();
            healthy.insert(name, ids);
        }
        healthy
    }
}

/// Two sources by HTTP and one by a command, which is slow so that the phases that rest on a single look can be met.
fn orchestrator(url: &str) -> String {
    format!(
        "[orchestrator]\nkind = \"endpoint\"\nurl = \"{url}\"\ntimeout = \"2s\"\n\
         [orchestrator.activity]\nsources = [\"active-by-instance\", \"metrics\", \"command\"]\n\
         every = \"1s\"\nevery_idle = \"1s\"\nsample_max_age = \"1s\"\n\
         [orchestrator.activity.metrics]\nurl = \"{url}/metrics\"\nseries = 'threadpool_activeCount{{id=\"messageHandlerPool\"}}'\n\
         [orchestrator.activity.command]\nrun = [\"/bin/sh\", \"-c\", \"sleep 0.2; echo 0\"]\n"
    )
}

pub async fn all_ready(agents: &mut [Agent]) {
    for agent in agents {
        until(&format!("the agent of {} to be ready", agent.id), Duration::from_secs(30), async || {
            assert!(!agent.has_ended(), "the agent ended:\n{}", agent.tail());
            agent.status().await.filter(|s| s["ready"] == true)
        })
        .await;
    }
}

/// The promises that hold in every scenario. Answers a line of figures.
pub fn keeps_the_promises(truth: &Value, old: &[String]) -> String {
    let list = |key: &str| truth[key].as_array().expect("a list").clone();
    let executions = list("executions");
    let lost: Vec<&Value> =
        executions.iter().filter(|e| e["runs"].as_array().is_some_and(|r| r.iter().any(|r| r["end"] == "lost"))).collect();
    assert!(lost.is_empty(), "executions lost: {lost:#?}");
    let unfinished = executions.iter().filter(|e| e["runs"].as_array().and_then(|r| r.last()).is_none_or(|r| r["end"] != "finished"));
    let unfinished: Vec<&Value> = unfinished.collect();
    assert!(unfinished.is_empty(), "executions not finished: {unfinished:#?}");
    for ended in list("terminations").iter().filter(|t| old.iter().any(|id| t["instance"] == **id)) {
        assert_eq!((&ended["executing"], &ended["lost"]), (&json!([]), &json!([])), "{ended:#}");
    }
    let (decrements, calls) = (list("decrements"), list("calls"));
    for id in old {
        let own = decrements.iter().filter(|d| d["instance"] == **id).count();
        assert!(own <= 1, "{id} was decremented {own} times");
        let ended = calls.iter().filter(|c| c["args"]["InstanceId"] == **id && c["outcome"] == "applied").count();
        assert!(ended <= 1, "{id} was ended by {ended} calls");
    }
    format!("executions {}, lost 0, decrements {}, mutating calls {}", executions.len(), decrements.len(), calls.len())
}

fn all_between<'t>(text: &'t str, start: &str, end: &str) -> Vec<&'t str> {
    text.split(start).skip(1).filter_map(|rest| rest.split_once(end)).map(|(inside, _)| inside).collect()
}
