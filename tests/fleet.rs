//! The whole product as separate processes over HTTP: the simulated region, an agent for each old instance, a rollback beside them.
//!
//! The region runs ten times as fast as the agents; their durations are real. Every wait is a poll with a deadline.

#[path = "fleet/process.rs"]
#[allow(dead_code, reason = "the engine's tests use the rest")]
mod process;
#[path = "fleet/sim.rs"]
mod sim;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bellrock::model::HOLD_TAG;
use process::Agent;
use process::bellrock;
use process::until;
use serde_json::Value;
use serde_json::json;
use sim::Sim;
use sim::all_ready;
use sim::keeps_the_promises;

/// Where an agent can be while something outside depends on it; all of them have to be survived.
const PHASES: [&str; 10] = [
    "working",
    "closing_intake",
    "confirming_idle",
    "validating",
    "waiting",
    "lowering_min",
    "last_look",
    "terminating",
    "outcome_unknown",
    "ending",
];
/// Kills in each phase at most; more only take time.
const KILLS_A_PHASE: u32 = 2;
const DRAIN_WITHIN: Duration = Duration::from_secs(200);
const SOON: Duration = Duration::from_secs(60);

const BALANCED: [&str; 2] = ["shop-main", "shop-internal"];

fn group(name: &str, min: u32, size: u32, version: &str) -> Value {
    json!({"name": name, "min": min, "max": 10, "desired": size, "template": "shop", "version": version, "settled": true,
        "target_groups": BALANCED, "classic_load_balancers": ["shop-classic"]})
}

/// Its instance takes work until its hook lets it end, which is longer than an agent goes without a look at the cluster.
fn polling(name: &str) -> Value {
    let hook = json!({"name": "last-words", "transition": "autoscaling:EC2_INSTANCE_TERMINATING", "heartbeat_s": 150, "default_result": "CONTINUE"});
    json!({"name": name, "min": 1, "max": 1, "desired": 1, "template": "shop", "version": "1", "settled": true, "hooks": [hook]})
}

/// A region with load balancers of both generations, whose second template version never gets healthy.
fn region(groups: Value, trouble: Value) -> Value {
    json!({
        // An end that takes longer than an agent needs to confirm idleness again: a second decrement would find its instance.
        "pace": {"end": [60, 80]},
        "undocumented": {"second_terminate": "decrements_again", "terminated_lingers": true},
        "templates": [{"name": "shop", "versions": [{}, {"orchestrator": {"works": "never_healthy"}}]}],
        "target_groups": BALANCED.map(|name| json!({"name": name})),
        "load_balancers": [
            {"name": "shop-public", "listeners": [[443, BALANCED[0]]]},
            {"name": "shop-private", "internal": true, "listeners": [[80, BALANCED[1]]]},
        ],
        "classic_load_balancers": [{"name": "shop-classic", "internal": true}],
        "groups": groups, "trouble": trouble,
    })
}

/// Calls that take long enough to be met under way, short against the agents' staleness bound; and a terminate call that never arrives,
/// then two whose answers get lost.
fn rough() -> Value {
    let slow = |action: &str, s: [u32; 2]| json!({"kind": {"slow": s}, "actions": [action]});
    let terminate = "TerminateInstanceInAutoScalingGroup";
    json!([
        slow("DescribeAutoScalingGroups", [2, 3]),
        slow("DescribeAutoScalingInstances", [2, 3]),
        slow("UpdateAutoScalingGroup", [5, 6]),
        slow(terminate, [6, 8]),
        {"kind": "reset", "actions": [terminate], "times": 1},
        {"kind": "lose_reply", "actions": [terminate], "times": 2},
    ])
}

fn ids(agents: &[Agent]) -> Vec<String> {
    agents.iter().map(|a| a.id.clone()).collect()
}

/// Kills agents with SIGKILL wherever it meets them, and starts them again on what they left on disk.
#[derive(Default)]
struct Killer {
    kills: BTreeMap<String, u32>,
}

impl Killer {
    async fn strike(&mut self, agent: &mut Agent) {
        let Some(phase) = agent.phase().await else { return };
        if !PHASES.contains(&phase.as_str()) || self.kills.get(&phase).is_some_and(|n| *n >= KILLS_A_PHASE) {
            return;
        }
        let died_in = agent.kill(&phase).await;
        *self.kills.entry(died_in).or_default() += 1;
        agent.restart();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redeploy_loses_nothing_although_agents_are_killed_in_every_phase() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    // Above min a second decrement would be carried out; at min the agents have to lower it themselves.
    let sim = Sim::start(dir.path(), &region(json!([group("shop-main-v023", 1, 4, "1")]), rough()), 23).await;
    let mut agents = sim.agents("shop-main-v023", dir.path()).await;
    let old = ids(&agents);
    assert_eq!(old.len(), 4);
    all_ready(&mut agents).await;
    sim.work("shop-main", 24, [100, 250], 0).await;
    sim.incident(json!({"add_group": group("shop-main-v024", 4, 4, "1")})).await;
    sim.work("shop-main", 16, [60, 200], 120).await;
    sim.incident(json!({"disable": "shop-main-v023"})).await;

    let mut killer = Killer::default();
    until("all old instances to be gone", DRAIN_WITHIN, async || {
        let alive: BTreeSet<String> =
            sim.instances("shop-main-v023").await.iter().filter_map(|i| i["id"].as_str().map(str::to_owned)).collect();
        // An agent ends with its machine.
        agents.retain(|agent| alive.contains(&agent.id));
        for agent in &mut agents {
            assert!(!agent.has_ended(), "an agent ended by itself:\n{}", agent.tail());
            killer.strike(agent).await;
        }
        agents.is_empty().then_some(())
    })
    .await;

    until("every execution to end", SOON, async || all_finished(&sim.truth().await)).await;
    let emptied = until("the old group to be empty", SOON, async || {
        let group = sim.group("shop-main-v023").await;
        (group["instances"] == json!([])).then_some(group)
    })
    .await;
    assert_eq!((&emptied["desired"], &emptied["min"], &emptied["max"]), (&json!(0), &json!(0), &json!(10)));
    let new = sim.group("shop-main-v024").await;
    assert_eq!((&new["desired"], &new["min"], new["instances"].as_array().map(Vec::len)), (&json!(4), &json!(4), Some(4)));

    let truth = sim.truth().await;
    let figures = keeps_the_promises(&truth, &old);
    for id in &old {
        let ends: Vec<&Value> = truth["terminations"].as_array().expect("a list").iter().filter(|t| t["instance"] == **id).collect();
        assert_eq!((ends.len(), &ends[0]["by"], &ends[0]["decremented"]), (1, &json!(id), &json!(true)), "{ends:#?}");
    }
    println!("{figures}; kills by phase: {:?}", killer.kills);
    let missed: Vec<&str> = PHASES.into_iter().filter(|phase| !killer.kills.contains_key(*phase)).collect();
    assert!(missed.is_empty(), "never killed in {missed:?}: {:?}", killer.kills);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_restores_a_group_that_its_agents_have_begun_to_retire() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (sim, mut agents) = bad_deploy(dir.path(), 24).await;
    let old = ids(&agents);
    sim.work("shop-main", 6, [20, 60], 0).await;
    supersede(&sim).await;
    until("the first old instance to go", DRAIN_WITHIN, async || {
        (sim.group("shop-main-v024").await["desired"].as_u64()? < 3).then_some(())
    })
    .await;

    let report = rollback(&sim, dir.path()).await;
    assert_eq!(report["outcome"], "done", "{report:#}");
    restored(&sim, &mut agents).await;
    let truth = sim.truth().await;
    println!("{}; rollback took {} s", keeps_the_promises(&truth, &old), report["report"]["took_s"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hold_of_a_rollback_stops_agents_whose_work_has_ended() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (sim, mut agents) = bad_deploy(dir.path(), 25).await;
    let old = ids(&agents);
    sim.work("shop-main", 24, [1000, 2000], 0).await;
    sim.work("shop-polling", 4, [1000, 2000], 0).await;
    supersede(&sim).await;
    for agent in &mut agents {
        until("the agent to wait for idleness", DRAIN_WITHIN, async || agent.phase().await.filter(|p| p == "confirming_idle")).await;
    }
    let began = sim.control().await["now_s"].as_f64().expect("a time");

    // The groups stay held and disabled until the agents, idle by then, have come upon the hold.
    sim.post("trouble", json!({"rules": [{"kind": "throttle", "actions": ["ResumeProcesses"]}]})).await;
    let coming_upon_it = async {
        until("both groups to be held", SOON, async || {
            let held = [sim.group("shop-main-v024").await, sim.group("shop-polling-v024").await];
            held.iter().all(|group| group["tags"].get(HOLD_TAG).is_some()).then_some(())
        })
        .await;
        sim.post("advance", json!({"seconds": 2000})).await;
        // The pollers' agent may also have come between the end of the newest and the hold, and taken up its work.
        for agent in &mut agents[..3] {
            let held = async || agent.status().await.filter(|s| s["held"]["code"] == "held_by_rollback");
            until("the agent to be stopped by the hold", SOON, held).await;
        }
        sim.no_trouble().await;
    };
    let (report, ()) = tokio::join!(rollback(&sim, dir.path()), coming_upon_it);
    assert_eq!(report["outcome"], "done", "{report:#}");
    restored(&sim, &mut agents).await;
    for agent in &mut agents {
        until("the agent to work again", SOON, async || agent.phase().await.filter(|p| p == "working")).await;
        assert_eq!((agent.deeds("terminate"), agent.deeds("lower")), (0, 0), "{}", agent.tail());
    }
    until("intake to be open on every restored instance", SOON, async || {
        let truth = sim.truth().await;
        old.iter().all(|id| takes_work(&truth, id)).then_some(())
    })
    .await;
    let truth = sim.truth().await;
    let ended = truth["terminations"].as_array().expect("a list").iter().filter(|t| old.iter().any(|id| t["instance"] == **id)).count();
    assert_eq!(ended, 0, "an instance of the restored groups was ended");
    never_two_pollers(&truth, began);
    println!("{}; rollback took {} s", keeps_the_promises(&truth, &old), report["report"]["took_s"]);
}

/// v024 runs with an agent on each instance, in two clusters.
async fn bad_deploy(dir: &Path, seed: u64) -> (Sim, Vec<Agent>) {
    let groups = json!([group("shop-main-v024", 3, 3, "1"), polling("shop-polling-v024")]);
    let sim = Sim::start(dir, &region(groups, json!([])), seed).await;
    let mut agents = sim.agents("shop-main-v024", dir).await;
    agents.extend(sim.agents("shop-polling-v024", dir).await);
    assert_eq!(agents.len(), 4);
    all_ready(&mut agents).await;
    (sim, agents)
}

/// v025 takes over: in service for Auto Scaling, never healthy behind a load balancer.
async fn supersede(sim: &Sim) {
    sim.incident(json!({"add_group": group("shop-main-v025", 3, 3, "2")})).await;
    sim.incident(json!({"add_group": polling("shop-polling-v025")})).await;
    sim.incident(json!({"disable": "shop-main-v024"})).await;
    sim.incident(json!({"disable": "shop-polling-v024"})).await;
}

async fn rollback(sim: &Sim, dir: &Path) -> Value {
    let env = [
        ("AWS_ACCESS_KEY_ID", "oncall"),
        ("AWS_SECRET_ACCESS_KEY", "none"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("XDG_STATE_HOME", dir.to_str().expect("UTF-8")),
    ];
    let env = env.map(|(k, v)| (k.to_owned(), v.to_owned()));
    let args = ["rollback", "shop", "--yes", "--endpoint", &sim.endpoint, "--output", "json", "--timeout", "3m", "--settle", "15s"];
    let ended = tokio::time::timeout(Duration::from_secs(200), bellrock(&args, &env).output()).await.expect("ends in time").expect("runs");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    let report = serde_json::from_slice(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    assert_eq!(ended.status.code(), Some(0), "{report:#}\n{said}");
    report
}

/// What a rollback leaves behind, as AWS and the region itself show it.
async fn restored(sim: &Sim, agents: &mut [Agent]) {
    for (name, size) in [("shop-main-v024", 3), ("shop-polling-v024", 1)] {
        let group = sim.group(name).await;
        assert_eq!((&group["desired"], &group["suspended"]), (&json!(size), &json!([])), "{group:#}");
        assert!(group["tags"].get(HOLD_TAG).is_none(), "{group:#}");
        let members = group["instances"].as_array().expect("a list");
        let in_service = members.iter().filter(|i| i["state"] == "InService" && i["health"] == "Healthy").count();
        assert_eq!(in_service, size, "{group:#}");
    }
    let mut serving: Vec<String> =
        sim.instances("shop-main-v024").await.iter().filter_map(|i| i["id"].as_str().map(str::to_owned)).collect();
    serving.sort();
    let healthy = sim.healthy_targets().await;
    assert_eq!(healthy.len(), BALANCED.len());
    for (name, ids) in healthy {
        assert!(ids.len() == 3 && ids.iter().all(|id| serving.contains(id)), "{name} serves from {ids:?}, the group has {serving:?}");
    }
    for name in ["shop-main-v025", "shop-polling-v025"] {
        let group = until("the bad group to be empty", SOON, async || {
            let group = sim.group(name).await;
            (group["instances"] == json!([])).then_some(group)
        })
        .await;
        assert_eq!((&group["min"], &group["desired"], &group["max"]), (&json!(0), &json!(0), &json!(0)));
        assert!(group["tags"].get(HOLD_TAG).is_none(), "{group:#}");
    }
    for agent in agents {
        assert!(!agent.has_ended(), "an agent ended by itself:\n{}", agent.tail());
    }
}

fn all_finished(truth: &Value) -> Option<()> {
    let executions = truth["executions"].as_array().expect("a list");
    executions.iter().all(|e| e["runs"].as_array().and_then(|r| r.last()).is_some_and(|r| !r["end"].is_null())).then_some(())
}

fn takes_work(truth: &Value, id: &str) -> bool {
    truth["intake"].as_array().expect("a list").iter().rev().find(|i| i["instance"] == *id).is_some_and(|i| i["open"] == true)
}

/// From the beginning of the rollback on, at most one instance of the polling cluster takes new work (S14).
fn never_two_pollers(truth: &Value, from: f64) {
    let states = truth["states"].as_array().expect("a list");
    let is_poller = |id: &Value| {
        states.iter().any(|s| s["instance"] == *id && s["group"].as_str().is_some_and(|group| group.starts_with("shop-polling")))
    };
    let mut open = BTreeSet::new();
    for change in truth["intake"].as_array().expect("a list").iter().filter(|change| is_poller(&change["instance"])) {
        let id = change["instance"].as_str().expect("an id");
        if change["open"] == true {
            open.insert(id)
        } else {
            open.remove(id)
        };
        assert!(open.len() < 2 || change["at"].as_f64().expect("a time") < from, "two pollers: {open:?} at {}", change["at"]);
    }
}
