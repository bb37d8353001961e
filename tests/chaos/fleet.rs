//! Five agents on one store, who may be in trouble at any time, and those who use them: they start pipelines, judge, call off, and ask again
//! elsewhere when there is no answer.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg64;
use reqwest::Method;
use serde_json::Value;
use serde_json::json;

use super::host::Door;
use super::plan::CHILDREN;
use super::plan::Manner;
use super::plan::PARENTS;
use super::plan::Plan;

/// Instances that have an agent at any time.
pub const AGENTS: usize = 5;

/// A user does not wait longer for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks of the judge.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// Each execution is visited once in so many looks, at most so many of them at once.
const LOOKS: u64 = 5;
const AT_ONCE: usize = 8;
/// Listings of one page.
const PAGE: usize = 1000;
/// Executions with their stages of one page.
const EXPANDED: usize = 100;
const OPEN: &str = "NOT_STARTED,BUFFERED,RUNNING,PAUSED,SUSPENDED";

/// The doors of all agents, in trouble or not.
#[derive(Clone)]
pub struct Doors {
    doors: Arc<Mutex<Vec<Door>>>,
    /// The last answer that was none.
    refused: Arc<Mutex<String>>,
}

impl Doors {
    pub fn new(sockets: impl IntoIterator<Item = PathBuf>) -> Self {
        let doors = sockets.into_iter().map(|socket| Door::new(socket, PATIENCE)).collect();
        Self { doors: Arc::new(Mutex::new(doors)), refused: Arc::default() }
    }

    /// Another instance stands at this place now.
    pub fn replace(&self, at: usize, socket: PathBuf) {
        self.doors.lock().expect("nobody panicked with it")[at] = Door::new(socket, PATIENCE);
    }

    fn any(&self, rng: &mut Pcg64) -> Door {
        let doors = self.doors.lock().expect("nobody panicked with it");
        doors[rng.random_range(0..doors.len())].clone()
    }

    /// Asks one agent after the other until there is an answer that is not about trouble. A change may have been made more than once.
    pub async fn ask(&self, rng: &mut Pcg64, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        loop {
            let refused = match self.any(rng).ask(method.clone(), path, body).await {
                Ok((code @ (429 | 500..), answer)) => format!("{method} {path}: {code} {answer}"),
                Ok(answer) => return answer,
                Err(error) => format!("{method} {path}: {error:?}"),
            };
            *self.refused.lock().expect("nobody panicked with it") = refused;
            tokio::time::sleep(Duration::from_millis(rng.random_range(20..200))).await;
        }
    }

    /// What a user was told last instead of an answer.
    pub fn last_refusal(&self) -> String {
        self.refused.lock().expect("nobody panicked with it").clone()
    }

    /// Executions that have not ended, as listings.
    pub async fn open(&self, rng: &mut Pcg64) -> Vec<Value> {
        let path = format!("/applications/shop/pipelines?expand=false&limit={PAGE}&statuses={OPEN}");
        let (code, list) = self.ask(rng, Method::GET, &path, None).await;
        assert_eq!(code, 200, "{list}");
        list.as_array().cloned().expect("a list")
    }

    /// How many have not ended, and some of them in a line each: what their stages do.
    pub async fn unended(&self, rng: &mut Pcg64, most: usize) -> Vec<String> {
        let open = self.open(rng).await;
        let mut lines = vec![format!("{} of them", open.len())];
        for listing in &open[..open.len().min(most)] {
            let path = format!("/pipelines/{}", listing["id"].as_str().expect("an id"));
            let (_, execution) = self.ask(rng, Method::GET, &path, None).await;
            let stages = execution["stages"].as_array().into_iter().flatten().filter(|stage| stage["status"] == "RUNNING");
            let said = |stage: &Value| format!("{} {} {}", stage["refId"], stage["type"], stage["tasks"]);
            let under_way: Vec<String> = stages.map(said).collect();
            lines.push(format!("{path} {} {}: {}", listing["name"], listing["status"], under_way.join("; ")));
        }
        lines
    }

    /// Every execution there is, with its stages.
    pub async fn executions(&self, rng: &mut Pcg64) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let before = all.last().map_or_else(String::new, |last| format!("&before={}", last["id"].as_str().expect("an id")));
            let path = format!("/applications/shop/pipelines?limit={EXPANDED}{before}");
            let (code, page) = self.ask(rng, Method::GET, &path, None).await;
            assert_eq!(code, 200, "{page}");
            let page = page.as_array().cloned().expect("a list");
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }
}

/// The id under which a plan is saved.
pub fn definition_id(at: usize) -> String {
    format!("plan-{at}")
}

/// The plan of an execution.
pub fn plan_of(execution: &Value) -> usize {
    let id = execution["pipelineConfigId"].as_str().and_then(|id| id.strip_prefix("plan-"));
    id.and_then(|at| at.parse().ok()).unwrap_or_else(|| panic!("not one of ours: {execution:#}"))
}

pub async fn save(doors: &Doors, plans: &[Plan], ledger: &str) {
    let mut rng = Pcg64::seed_from_u64(0);
    for (at, plan) in plans.iter().enumerate() {
        let document = plan.document(&definition_id(at), definition_id, ledger);
        let (code, answer) = doors.ask(&mut rng, Method::POST, "/pipelines", Some(&document)).await;
        assert_eq!(code, 200, "{answer:#}");
    }
}

/// Starts so many executions, spread over this time; answers the ids that were given for an answer. A start whose answer is lost is asked for again,
/// under the same correlation id.
pub async fn start(doors: &Doors, seed: u64, plans: &[Plan], count: u32, over: Duration) -> BTreeSet<String> {
    let one = |n: u32| async move {
        let mut rng = Pcg64::seed_from_u64(seed ^ 0x57A7 ^ u64::from(n) << 32);
        tokio::time::sleep(over * n / count).await;
        let at = CHILDREN + rng.random_range(0..PARENTS);
        // Those that run one at a time would queue up for longer than the test lasts.
        let at = if plans[at].manner == Manner::OneByOne && rng.random_bool(0.5) { CHILDREN } else { at };
        let trigger = json!({"correlationId": format!("start-{n}"), "parameters": {}});
        let (code, answer) = doors.ask(&mut rng, Method::POST, &format!("/pipelines/shop/{}", plans[at].name), Some(&trigger)).await;
        assert_eq!(code, 202, "{answer}");
        answer["ref"].as_str().and_then(|path| path.strip_prefix("/pipelines/")).expect("a reference").to_owned()
    };
    stream::iter(0..count).map(one).buffer_unordered(usize::MAX).collect().await
}

/// Stages that need no person any more: execution, place in its plan.
type Answered = BTreeSet<(String, usize)>;

/// Answers judgments, and calls off what its plan says is called off, until nothing is open any more after `all_started`. Answers how many messages
/// were accepted. What was accepted is not said again: one that is lost shows in an execution that never ends.
pub async fn judge(doors: &Doors, seed: u64, plans: &[Plan], all_started: impl Fn() -> bool) -> usize {
    let mut rng = Pcg64::seed_from_u64(seed ^ 0x1AD6E);
    let (mut answered, mut accepted) = (Answered::new(), 0);
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for turn in 0_u64.. {
        look.tick().await;
        let last_look = all_started();
        let open = doors.open(&mut rng).await;
        if open.is_empty() && last_look {
            break;
        }
        let ids = open.iter().enumerate().filter(|(n, listing)| listing["status"] == "RUNNING" && (*n as u64 + turn).is_multiple_of(LOOKS));
        let visits = ids.map(|(n, listing)| visit(doors, seed ^ turn << 32 ^ n as u64, plans, listing, &answered));
        let visits: Vec<(Answered, usize)> = stream::iter(visits).buffer_unordered(AT_ONCE).collect().await;
        for (newly, messages) in visits {
            answered.extend(newly);
            accepted += messages;
        }
    }
    accepted
}

/// Says what is to be said to one execution. Answers the stages that are settled, and how many messages were accepted.
async fn visit(doors: &Doors, seed: u64, plans: &[Plan], listing: &Value, answered: &Answered) -> (Answered, usize) {
    let mut rng = Pcg64::seed_from_u64(seed);
    let (id, plan) = (listing["id"].as_str().expect("an id").to_owned(), &plans[plan_of(listing)]);
    let left: Vec<(usize, bool)> = plan.judgments().filter(|(at, _)| !answered.contains(&(id.clone(), *at))).collect();
    let (mut newly, mut accepted) = (Answered::new(), 0);
    if left.is_empty() {
        return (newly, accepted);
    }
    let (_, execution) = doors.ask(&mut rng, Method::GET, &format!("/pipelines/{id}"), None).await;
    let stages = execution["stages"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (at, go) in left {
        let Some(stage) = stages.iter().find(|stage| stage["refId"].as_str() == Some(&at.to_string())) else { continue };
        if stage["status"] == "NOT_STARTED" {
            continue;
        }
        newly.insert((id.clone(), at));
        if stage["status"] != "RUNNING" {
            continue;
        }
        let (method, path, body) = if plan.manner == Manner::CalledOff {
            (Method::PUT, format!("/pipelines/{id}/cancel?reason=test"), None)
        } else {
            let answer = json!({"judgmentStatus": if go { "continue" } else { "stop" }});
            (Method::PATCH, format!("/pipelines/{id}/stages/{}", stage["id"].as_str().expect("an id")), Some(answer))
        };
        let (code, answer) = doors.ask(&mut rng, method, &path, body.as_ref()).await;
        // It may have ended in between.
        assert!(matches!(code, 202 | 409), "{code} {answer}");
        accepted += usize::from(code == 202);
    }
    (newly, accepted)
}
