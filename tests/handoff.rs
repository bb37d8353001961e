//! Leaving with work on one's hands: a drain, a stop, a kill, the loss of a host. Real agents on one Redis; how long each took is printed.
//!
//! Figures are for people: what is asserted has room for a machine that is busy with everything else. Every wait is a poll with a deadline.

#[path = "fleet/host.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod host;
#[path = "fleet/process.rs"]
#[allow(dead_code, reason = "the fleet's tests use the rest")]
mod process;
#[path = "../src/orchestrator/store/redis/tests/server.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the store's tests use the rest")]
mod server;
#[path = "fleet/sim.rs"]
#[allow(dead_code, reason = "the fleet's tests use the rest")]
mod sim;

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bellrock::host::clock::SystemClock;
use bellrock::model::Clock;
use host::Host;
use host::SOON;
use host::stage;
use host::stage_id;
use process::until;
use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;
use server::Server;
use sim::Sim;
use tokio::task::JoinSet;

const GROUP: &str = "shop-main-v001";
const LEASE: Duration = Duration::from_secs(6);
/// Seconds of the longest waits: nobody waits for their end.
const TEN_MINUTES: u32 = 600;
const THREE_DAYS_MS: u64 = 3 * 24 * 60 * 60 * 1000;

/// Instances without agents yet, one Redis, a folder for what jobs leave.
struct Fleet {
    sim: Sim,
    instances: Vec<Value>,
    redis: Server,
    dir: tempfile::TempDir,
    clock: SystemClock,
}

impl Fleet {
    async fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let region = json!({
            "templates": [{"name": "shop", "versions": [{}]}],
            "target_groups": [{"name": "shop-main"}],
            "groups": [{"name": GROUP, "min": 1, "max": 4, "desired": 2, "template": "shop", "version": "1", "settled": true, "target_groups": ["shop-main"]}],
        });
        let sim = Sim::start(dir.path(), &region, seed).await;
        let instances = sim.instances(GROUP).await;
        Self { sim, instances, redis: Server::start(&["--appendonly", "yes"]), dir, clock: SystemClock::start() }
    }

    /// The agent of an instance.
    async fn host(&self, at: usize) -> Host {
        let config = format!(
            "[orchestrator]\nredis = \"{}\"\nlease = \"{}s\"\n[orchestrator.webhooks]\nlocal = [\"127.0.0.1\"]\n\
             [orchestrator.activity]\nsample_max_age = \"1s\"\n",
            self.redis.url(),
            LEASE.as_secs()
        );
        Host::start(&self.sim, &self.instances[at], self.dir.path(), &config).await
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Lines of a file that jobs write to.
    fn lines(&self, name: &str) -> Vec<String> {
        std::fs::read_to_string(self.file(name)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    async fn has_lines(&self, name: &str, count: usize) {
        until(&format!("{count} lines in {name}"), SOON, async || (self.lines(name).len() >= count).then_some(())).await;
    }

    fn ms(&self) -> u128 {
        self.clock.now().mono.as_millis()
    }

    /// A job that puts its key into `began`, waits for the file `go`, and says so.
    fn job(&self, ref_id: &str, idempotent: bool) -> Value {
        let (began, go) = (self.file("began"), self.file("go"));
        let script =
            format!("echo $BELLROCK_IDEMPOTENCY_KEY >> {}; until [ -e {} ]; do sleep 0.05; done; echo went", began.display(), go.display());
        json!({"refId": ref_id, "requisiteStageRefIds": [], "type": "runJob", "name": "Job", "command": ["sh", "-c", script],
            "idempotent": idempotent, "stageTimeoutMs": 600_000})
    }

    /// A job that leaves a line in `after`.
    fn after(&self, ref_id: &str, earlier: &str) -> Value {
        let script = format!("echo $BELLROCK_EXECUTION_ID >> {}", self.file("after").display());
        json!({"refId": ref_id, "requisiteStageRefIds": [earlier], "type": "runJob", "name": "After", "command": ["sh", "-c", script]})
    }
}

fn wait(ref_id: &str, earlier: &[&str]) -> Value {
    json!({"refId": ref_id, "requisiteStageRefIds": earlier, "type": "wait", "name": "Wait", "waitTime": TEN_MINUTES})
}

fn judgment(ref_id: &str, earlier: &[&str]) -> Value {
    json!({"refId": ref_id, "requisiteStageRefIds": earlier, "type": "manualJudgment", "name": "Ask", "stageTimeoutMs": THREE_DAYS_MS})
}

fn pipeline(name: &str, stages: &[Value]) -> Value {
    json!({"application": "shop", "name": name, "stages": stages})
}

/// Executions that an instance owns, as any agent says.
fn owned(active: &Value, instance: &str) -> u64 {
    active[instance]["count"].as_u64().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_instance_leaves_in_seconds_and_a_wait_a_judgment_and_a_job_finish_elsewhere() {
    let fleet = Fleet::new(41).await;
    let old = fleet.host(0).await;
    let named = [
        ("waits", vec![wait("1", &[]), fleet.after("2", "1")]),
        ("asks", vec![judgment("1", &[]), fleet.after("2", "1")]),
        ("works", vec![fleet.job("1", true), fleet.after("2", "1")]),
    ];
    let mut executions = Vec::new();
    for (name, stages) in &named {
        old.door.save(&pipeline(name, stages)).await;
        executions.push(old.door.start(name, json!({})).await);
    }
    for execution in &executions {
        old.door.stage_reaches(execution, "1", "RUNNING").await;
    }
    fleet.has_lines("began", 1).await;
    let new = fleet.host(1).await;
    assert_eq!(owned(&new.door.get("/executions/activeByInstance").await, &old.agent.id), 1, "who waits is nobody's");

    // Refused until the agent has seen its group.
    until("the drain to be taken", SOON, async || {
        let (code, _) = old.door.post("/drain", &json!({"reason": "kernel update"})).await;
        (code == 200).then_some(())
    })
    .await;
    let from = fleet.ms();
    until("the drained instance to own nothing", SOON, async || {
        (owned(&new.door.get("/executions/activeByInstance").await, &old.agent.id) == 0).then_some(())
    })
    .await;
    println!("drain: owns nothing after {} ms, with a job under way that may move", fleet.ms() - from);
    fleet.has_lines("began", 2).await;
    println!("drain: the job runs elsewhere after {} ms", fleet.ms() - from);
    until("the instance to be gone", 3 * SOON, async || {
        let left = fleet.sim.instances(GROUP).await;
        left.iter().all(|i| i["id"] != old.agent.id.as_str() || i["state"] == "shutting-down").then_some(())
    })
    .await;
    println!("drain: the instance ends after {} ms, settle 1 s and quiet 3 s among them", fleet.ms() - from);

    std::fs::write(fleet.file("go"), "").expect("a directory of our own");
    let seen = new.door.get(&executions[0]).await;
    new.door.patch(&executions[0], &stage_id(&seen, "1"), &json!({"skipRemainingWait": true})).await;
    let seen = new.door.get(&executions[1]).await;
    new.door.patch(&executions[1], &stage_id(&seen, "1"), &json!({"judgmentStatus": "continue"})).await;
    for execution in &executions {
        new.door.reaches(execution, "SUCCEEDED").await;
    }
    let (began, mut after) = (fleet.lines("began"), fleet.lines("after"));
    assert!(began.len() == 2 && began[0] == began[1], "stopped here, begun there, under one key: {began:?}");
    after.sort();
    after.dedup();
    assert_eq!((after.len(), fleet.lines("after").len()), (3, 3), "each of the others once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_waits_and_nothing_runs_twice() {
    let fleet = Fleet::new(42).await;
    let mut host = fleet.host(0).await;
    // Open on no day but the one five days from now. 1970-01-01 was a Thursday; Sunday is 1.
    let days = fleet.clock.now().wall.0 / (24 * 60 * 60 * 1000);
    let mut windowed = fleet.after("2", "1");
    windowed["restrictExecutionDuringTimeWindow"] = true.into();
    windowed["restrictedExecutionWindow"] = json!({"days": [(days + 5 + 4) % 7 + 1], "whitelist": [{"startHour": 0, "startMin": 0, "endHour": 23, "endMin": 59}], "timezone": "UTC"});
    let first = fleet.after("1", "0");
    let first = |stage: Value| {
        let mut first = first.clone();
        first["requisiteStageRefIds"] = json!([]);
        vec![first, stage]
    };
    host.door.save(&pipeline("slow", &[wait("1", &[])])).await;
    let child = json!({"refId": "2", "requisiteStageRefIds": ["1"], "type": "pipeline", "name": "Child", "application": "shop", "pipeline": "slow"});
    let kinds =
        [("waits", first(wait("2", &["1"]))), ("asks", first(judgment("2", &["1"]))), ("window", first(windowed)), ("child", first(child))];
    let mut executions = Vec::new();
    for (name, stages) in &kinds {
        host.door.save(&pipeline(name, stages)).await;
        for _ in 0..5 {
            executions.push(host.door.start(name, json!({})).await);
        }
    }
    for execution in &executions {
        host.door.stage_reaches(execution, "1", "SUCCEEDED").await;
    }
    for execution in &executions {
        host.door.stage_reaches(execution, "2", "RUNNING").await;
    }
    let from = fleet.ms();
    host.agent.signal(Signal::TERM);
    let ended = host.agent.ends(SOON).await;
    let took = fleet.ms() - from;
    println!("stop: {} executions that wait ten minutes and longer, gone after {took} ms", executions.len());
    assert!(ended.success(), "{ended}");
    assert!(took < 10_000, "{took} ms");
    host.agent.restart();
    host.is_up().await;
    for execution in &executions {
        let (code, answer) = host.door.ask(reqwest::Method::PUT, &format!("{execution}/cancel"), None).await.expect("answers");
        assert_eq!(code, 202, "{answer}");
        let seen = host.door.reaches(execution, "CANCELED").await;
        assert_eq!(stage(&seen, "1")["status"], "SUCCEEDED");
    }
    assert_eq!(fleet.lines("after").len(), executions.len(), "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_agent_takes_its_jobs_up_again_and_no_other_takes_them_for_lost() {
    let fleet = Fleet::new(43).await;
    let mut host = fleet.host(0).await;
    host.door.save(&pipeline("works", &[fleet.job("1", false), fleet.after("2", "1")])).await;
    let execution = host.door.start("works", json!({})).await;
    fleet.has_lines("began", 1).await;
    let sibling = fleet.host(1).await;
    host.agent.kill("working").await;
    // The job ends while its agent is not there.
    std::fs::write(fleet.file("go"), "").expect("a directory of our own");
    let from = fleet.ms();
    host.agent.restart();
    let seen = until("the execution to end", SOON, async || {
        let seen = sibling.door.get(&execution).await;
        (seen["status"] != "RUNNING").then_some(seen)
    })
    .await;
    println!("kill -9: from the restart to the end of the execution, the boot of the process among it, {} ms", fleet.ms() - from);
    assert_eq!(seen["status"], "SUCCEEDED", "{seen:#}");
    assert_eq!((fleet.lines("began").len(), fleet.lines("after").len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_host_had_is_adopted_once_its_lease_is_over() {
    let fleet = Fleet::new(44).await;
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    // The first request is never answered.
    let page = move || {
        let nth = count.fetch_add(1, Ordering::SeqCst);
        async move {
            if nth == 0 {
                pending::<()>().await;
            }
            "well"
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, Router::new().route("/", get(page))).await });

    let mut host = fleet.host(0).await;
    let webhook = json!({"refId": "1", "requisiteStageRefIds": [], "type": "webhook", "name": "Ask", "method": "GET", "url": url});
    host.door.save(&pipeline("asks", &[webhook, fleet.after("2", "1")])).await;
    host.door.save(&pipeline("works", &[fleet.job("1", true), fleet.after("2", "1")])).await;
    host.door.save(&pipeline("once", &[fleet.job("1", false), fleet.after("2", "1")])).await;
    let mut executions = Vec::new();
    for name in ["asks", "works", "once"] {
        executions.push(host.door.start(name, json!({})).await);
    }
    fleet.has_lines("began", 2).await;
    until("the request", SOON, async || (asked.load(Ordering::SeqCst) == 1).then_some(())).await;
    let heir = fleet.host(1).await;
    host.agent.kill("working").await;
    host.agent.kill_jobs();
    let from = fleet.ms();
    until("the request again", SOON, async || (asked.load(Ordering::SeqCst) == 2).then_some(())).await;
    let adopted = fleet.ms() - from;
    println!("host gone: a request begins again after {adopted} ms, the lease is {} ms", LEASE.as_millis());
    assert!(adopted < LEASE.as_millis() + 20_000);
    fleet.has_lines("began", 3).await;
    println!("host gone: a job that may be repeated begins again after {} ms", fleet.ms() - from);
    std::fs::write(fleet.file("go"), "").expect("a directory of our own");
    heir.door.reaches(&executions[0], "SUCCEEDED").await;
    heir.door.reaches(&executions[1], "SUCCEEDED").await;
    let lost = heir.door.reaches(&executions[2], "TERMINAL").await;
    assert_eq!(stage(&lost, "1")["context"]["exception"]["exceptionType"], "JobLostException", "{lost:#}");
    assert_eq!((fleet.lines("began").len(), fleet.lines("after").len()), (3, 2), "nothing twice that may not be");
}
