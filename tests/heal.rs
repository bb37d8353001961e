//! Healing as a process: an agent whose liveness probe fails restarts its orchestrator by the configured commands, once, and says so; its off switch; and
//! what a Redis in trouble is to it.
//!
//! The orchestrator is a file: it lives as long as that is there. Every wait is a poll with a deadline.

#[path = "fleet/process.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod process;
#[path = "../src/orchestrator/store/redis/tests/server.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the store's tests use the rest")]
mod server;
#[path = "fleet/sim.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod sim;

use std::path::Path;
use std::time::Duration;

use process::Agent;
use process::bellrock;
use process::until;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use serde_json::json;
use server::Server;
use sim::Sim;

const SOON: Duration = Duration::from_secs(60);
const GROUP: &str = "shop-main-v001";

/// Its orchestrator works as long as `alive` is there; what was done to it is a line each in `done`.
fn config(url: &str, dir: &Path) -> String {
    let (alive, done) = (dir.join("alive"), dir.join("done"));
    let (alive, done) = (alive.display(), done.display());
    format!(
        "[orchestrator]\nkind = \"endpoint\"\nurl = \"{url}\"\n\
         [orchestrator.activity]\nsources = [\"metrics\"]\nevery = \"1s\"\nevery_idle = \"1s\"\nsample_max_age = \"1s\"\n\
         [orchestrator.activity.metrics]\nurl = \"{url}/metrics\"\nseries = 'threadpool_activeCount{{id=\"messageHandlerPool\"}}'\n\
         [orchestrator.stop]\ncommand = [\"/bin/sh\", \"-c\", \"rm -f {alive}; echo stop >> {done}\"]\n\
         [orchestrator.start]\ncommand = [\"/bin/sh\", \"-c\", \"touch {alive}; echo start >> {done}\"]\n\
         [heal]\nstop_grace = \"5s\"\nturn = \"35s\"\nstart_grace = \"2s\"\nbackoff = \"1s\"\n\
         [heal.liveness]\nrun = [\"/usr/bin/test\", \"-e\", \"{alive}\"]\nevery = \"1s\"\ntimeout = \"1s\"\nfailures = 2\n"
    )
}

async fn heal(agent: &mut Agent, wanted: &str) -> Value {
    until(&format!("healing to be {wanted}"), SOON, async || {
        assert!(!agent.has_ended(), "the agent ended:\n{}", agent.tail());
        agent.status().await.filter(|status| status["heal"]["state"] == wanted).map(|status| status["heal"].clone())
    })
    .await
}

/// `bellrock heal …` on this host; its answer, or null when it failed.
async fn order(dir: &Path, id: &str, args: &[&str]) -> Value {
    let socket = dir.join(id).join("sock").display().to_string();
    let mut all = vec!["heal"];
    all.extend(args);
    all.extend(["--socket", &socket, "--output", "json"]);
    let done = bellrock(&all, &[]).output().await.expect("the program that was built for this test");
    serde_json::from_slice(&done.stdout).unwrap_or(Value::Null)
}

/// A region with one instance, and what the region says of it.
async fn one_instance(dir: &Path) -> (Sim, Value) {
    let group = json!({"name": GROUP, "min": 0, "max": 3, "desired": 1, "template": "shop", "settled": true});
    let region = json!({"templates": [{"name": "shop", "versions": [{}]}], "groups": [group]});
    let sim = Sim::start(dir, &region, 1).await;
    let instance = sim.instances(GROUP).await.remove(0);
    (sim, instance)
}

#[tokio::test]
async fn an_orchestrator_that_fails_its_probe_is_restarted_once_and_not_while_healing_is_off() {
    let dir = tempfile::tempdir().unwrap();
    let done = || std::fs::read_to_string(dir.path().join("done")).unwrap_or_default();
    let alive = dir.path().join("alive");
    std::fs::write(&alive, "").unwrap();
    let (sim, instance) = one_instance(dir.path()).await;
    let text = |key: &str| instance[key].as_str().expect("text").to_owned();
    let env = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", text("metadata")), ("AWS_ENDPOINT_URL", sim.endpoint.clone())];
    let mut agent = Agent::start(&text("id"), dir.path(), &config(&text("orchestrator"), dir.path()), &env);
    heal(&mut agent, "well").await;

    let off = order(dir.path(), &text("id"), &["off", "--for", "1h"]).await;
    assert!(off["off"].as_str().is_some_and(|by| by.contains("until")), "{off}");
    std::fs::remove_file(&alive).unwrap();
    let rests = heal(&mut agent, "rest").await;
    assert!(rests["next"].as_str().is_some_and(|next| next.contains("liveness") && next.contains("switched healing off")), "{rests}");
    // The switch outlives the agent.
    agent.kill("working").await;
    agent.restart();
    heal(&mut agent, "rest").await;
    assert_eq!(done(), "");

    let on = order(dir.path(), &text("id"), &["on"]).await;
    assert_eq!(on["off"], Value::Null, "{on}");
    let well = heal(&mut agent, "well").await;
    assert_eq!(done(), "stop\nstart\n");
    assert_eq!((&well["restarts"], &well["restarts_most"]), (&json!(1), &json!(3)));
    let told: Vec<&str> = well["decisions"].as_array().unwrap().iter().filter_map(|d| d["what"].as_str()).collect();
    assert!(told.ends_with(&["on", "restart", "restarted", "well"]), "{told:?}");
    assert_eq!(agent.deeds("restart the orchestrator"), 1);
    let audit = agent.audit();
    let healed: Vec<&str> = audit.iter().filter(|line| line["event"] == "heal").filter_map(|line| line["what"].as_str()).collect();
    assert!(healed.contains(&"restart") && healed.contains(&"off"), "{healed:?}");
    println!("restarted once; decisions: {told:?}");
}

/// Redis takes no writes, or does not answer: an engine on it is not at fault, which it knows without a probe. When that is over it takes a permit, is
/// restarted once and gives the permit back.
#[tokio::test]
async fn an_engine_whose_redis_is_in_trouble_is_left_alone_and_then_restarted_with_a_permit() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Server::start(&[]);
    let mut raw = redis.connection();
    let life: String = redis::cmd("INFO").arg("replication").query(&mut raw).unwrap();
    let life = life.lines().find_map(|line| line.strip_prefix("master_replid:")).unwrap().to_owned();
    // A book that was written before, so that it is not closed for its first minutes; in ours, of the region's group, somebody else has the place.
    redis::cmd("HSET").arg("bellrock:permits").arg(&["life", &life, "opens", "0"]).exec(&mut raw).unwrap();
    let ours = format!("bellrock:permits:us-east-1:123456789012:{GROUP}");
    redis::cmd("HSET").arg(&ours).arg(&["i-0another", "1 99999999999999"]).exec(&mut raw).unwrap();
    let alive = dir.path().join("alive");
    std::fs::write(&alive, "").unwrap();
    let (sim, instance) = one_instance(dir.path()).await;
    let text = |key: &str| instance[key].as_str().expect("text").to_owned();
    let env = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", text("metadata")), ("AWS_ENDPOINT_URL", sim.endpoint.clone())];
    let config = format!(
        "[orchestrator]\nkind = \"embedded\"\nredis = \"{}\"\nlease = \"3s\"\n\
         [orchestrator.activity]\nevery = \"1s\"\nsample_max_age = \"1s\"\n\
         [heal]\nstop_grace = \"5s\"\nturn = \"35s\"\nstart_grace = \"2s\"\nbackoff = \"1s\"\n\
         [heal.liveness]\nrun = [\"/usr/bin/test\", \"-e\", \"{}\"]\nevery = \"1s\"\ntimeout = \"1s\"\nfailures = 2\n",
        redis.url(),
        alive.display()
    );
    let mut agent = Agent::start(&text("id"), dir.path(), &config, &env);
    heal(&mut agent, "well").await;

    redis::cmd("CONFIG").arg(&["SET", "maxmemory", "1"]).exec(&mut raw).unwrap();
    let says = |heal: &Value, word: &str| heal["evidence"].to_string().contains(word);
    let store = async |agent: &mut Agent, word: &str| {
        until(&format!("the engine to say of its store: {word}"), SOON, async || {
            agent.status().await.filter(|status| says(&status["heal"], word)).map(|status| status["heal"].clone())
        })
        .await
    };
    store(&mut agent, "takes no writes").await;
    std::fs::remove_file(&alive).unwrap();
    let holds = heal(&mut agent, "hold").await;
    assert_eq!(holds["held"]["code"], "heal_store_down", "{holds}");
    redis::cmd("CONFIG").arg(&["SET", "maxmemory", "0"]).exec(&mut raw).unwrap();
    std::fs::write(&alive, "").unwrap();
    heal(&mut agent, "well").await;

    let signal = |signal| kill_process(Pid::from_child(&redis.child), signal).unwrap();
    signal(Signal::STOP);
    store(&mut agent, "does not answer").await;
    std::fs::remove_file(&alive).unwrap();
    let holds = heal(&mut agent, "hold").await;
    assert_eq!(holds["held"]["code"], "heal_store_down", "{holds}");
    assert_eq!((agent.deeds("restart the orchestrator"), agent.deeds("take one of")), (0, 0));
    signal(Signal::CONT);

    let named = |heal: &Value| heal["permit"].as_str().is_some_and(|permit| permit.contains("i-0another"));
    until("it is told who has the place", SOON, async || agent.status().await.filter(|status| named(&status["heal"]))).await;
    assert_eq!(agent.deeds("restart the orchestrator"), 0);
    // Nobody lists the other one: its permit is taken over.
    until("a restart with a permit", SOON, async || (agent.deeds("restart the orchestrator") > 0).then_some(())).await;
    std::fs::write(&alive, "").unwrap();
    heal(&mut agent, "well").await;
    let none = |heal: &Value| heal["permit"] == "none, and none is needed";
    until("its permit is given back", SOON, async || agent.status().await.filter(|status| none(&status["heal"]))).await;
    assert!(agent.deeds("take one of 1 permits") > 1, "it was refused before");
    assert_eq!(agent.deeds("give back the permit"), 1);
    let left: usize = redis::cmd("HLEN").arg(&ours).query(&mut raw).unwrap();
    assert_eq!(left, 0);
}
