//! What versions share in Redis: executions in their midst, messages, notices, the book of permits.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use bellrock::model::GroupName;
use bellrock::model::InstanceId;
use bellrock::model::Permit;
use bellrock::model::PermitAnswer;
use bellrock::model::PermitRequest;
use bellrock::orchestrator::permits::Home;
use bellrock::orchestrator::permits::Permits;
use bellrock::orchestrator::store::RedisPermits;
use bellrock::orchestrator::store::RedisSettings;
use serde_json::Value;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::OLD;
use super::alone;
use super::host::Host;
use super::host::SOON;
use super::host::stage;
use super::host::stage_id;
use super::id;
use super::kept;
use super::kept::Store;
use super::kept::previous;
use super::process::until;
use super::server::Server;
use super::sim::Sim;
use super::write;

/// Agents on a Redis with what the previous version left there.
struct Fleet {
    sim: Sim,
    dir: tempfile::TempDir,
    redis: Server,
    store: Store,
    instances: Vec<Value>,
    hooks: mpsc::Receiver<Value>,
    url: String,
    _serving: JoinSet<()>,
}

impl Fleet {
    async fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().expect("a directory of our own");
        let sim = Sim::start(dir.path(), &alone(2), seed).await;
        let instances = sim.instances(OLD).await;
        let redis = Server::start(&[]);
        let store = Store::of(id(&instances[0]), dir.path());
        store.put(&mut redis.connection());
        let (told, hooks) = mpsc::channel(10);
        let web = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", web.local_addr().expect("a port"));
        let take = async move |body: axum::Json<Value>| told.send(body.0).await.expect("the test listens");
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(web, Router::new().route("/hook", post(take))).await.expect("it serves") });
        Self { sim, dir, redis, store, instances, hooks, url, _serving: serving }
    }

    async fn host(&self, at: usize) -> Host {
        let config = format!(
            "[orchestrator]\nredis = \"{}\"\nlease = \"6s\"\n[orchestrator.activity]\nsample_max_age = \"1s\"\n\
             [orchestrator.notifications.webhook]\nurl = \"{}\"\n",
            self.redis.url(),
            self.url
        );
        Host::start(&self.sim, &self.instances[at], self.dir.path(), &config).await
    }

    fn lines(&self, file: &str) -> usize {
        std::fs::read_to_string(self.dir.path().join(file)).unwrap_or_default().lines().count()
    }
}

async fn patch(host: &Host, path: &str, ref_id: &str, context: Value) {
    let seen = host.door.stage_reaches(path, ref_id, "RUNNING").await;
    let (code, answer) = host.door.patch(path, &stage_id(&seen, ref_id), &context).await;
    assert!(code < 300, "{code} {answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executions_that_the_previous_version_left_in_redis_are_adopted_and_end_well() {
    let mut fleet = Fleet::new(9).await;
    let state = fleet.dir.path().join(id(&fleet.instances[0])).join("state");
    fleet.store.put_state(&state, fleet.dir.path());
    let host = fleet.host(0).await;
    let path = |name: &str| fleet.store.path(name);

    // Its job ended between the two agents; a message that nobody had taken holds it.
    host.door.reaches(&path("works"), "PAUSED").await;
    let (code, answer) = host.door.ask(reqwest::Method::PUT, &format!("{}/resume", path("works")), None).await.expect("answers");
    assert_eq!(code, 202, "{answer}");
    let works = host.door.reaches(&path("works"), "SUCCEEDED").await;
    assert_eq!((&stage(&works, "1")["context"]["stdout"], fleet.lines("began")), (&json!("went\n"), 0), "it is not begun again: {works:#}");
    patch(&host, &path("asks"), "1", json!({"judgmentStatus": "continue"})).await;
    host.door.reaches(&path("asks"), "SUCCEEDED").await;
    // Its time is over; with it goes the slot to the one that waited for it.
    host.door.reaches(&path("waits"), "SUCCEEDED").await;
    patch(&host, &path("queued"), "1", json!({"skipRemainingWait": true})).await;
    host.door.reaches(&path("queued"), "SUCCEEDED").await;
    assert_eq!(fleet.lines("after"), 4, "each once");
    let told = tokio::time::timeout(SOON, fleet.hooks.recv()).await.expect("the notice in time").expect("a notice");
    assert!(told.to_string().contains("told"), "{told}");
    let again = host.door.start("told", json!({})).await;
    host.door.reaches(&again, "SUCCEEDED").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_newer_version_wrote_into_redis_is_kept_or_waits_for_it() {
    let mut fleet = Fleet::new(10).await;
    let mut redis = fleet.redis.connection();
    let (asks, waits, queued) = (fleet.store.key("asks"), fleet.store.key("waits"), fleet.store.key("queued"));
    let all = |redis: &mut redis::Connection, key: &str| -> BTreeMap<String, String> {
        redis::cmd("HGETALL").arg(key).query(redis).expect("a hash")
    };
    let set = |redis: &mut redis::Connection, key: &str, field: &str, text: &str| {
        redis::cmd("HSET").arg(key).arg(field).arg(text).exec(redis).expect("ours")
    };
    // Fields that nobody knows today, everywhere in an execution.
    let own = all(&mut redis, &asks);
    let first = format!("stage.{}-0", fleet.store.execution("asks"));
    set(&mut redis, &asks, "novelty", "kept");
    set(&mut redis, &asks, &format!("{first}.novelty"), "kept");
    let tasks = format!("{first}.tasks");
    set(&mut redis, &asks, &tasks, &own[&tasks].replace("\"id\":", "\"novelty\":\"kept\",\"id\":"));
    set(&mut redis, &asks, "authentication", &own["authentication"].replace("{\"", "{\"novelty\":\"kept\",\""));
    // A state and a message that nobody knows, and a notice.
    set(&mut redis, &queued, "status", "HIBERNATING");
    let inbox = format!("bellrock:inbox:{}", fleet.store.execution("waits"));
    redis::cmd("ZADD").arg(&inbox).arg(1).arg("1 {\"kind\":\"hibernate\",\"by\":\"ann\"}").exec(&mut redis).expect("ours");
    set(&mut redis, &waits, "_messages", "1");
    redis::cmd("ZADD").arg("bellrock:outbox").arg(0).arg("novel").exec(&mut redis).expect("ours");
    set(&mut redis, "bellrock:outbox:notices", "novel", "{\"listing\":{},\"notice\":{}}");
    let before = [all(&mut redis, &waits), all(&mut redis, &queued)];

    let host = fleet.host(1).await;
    let path = |name: &str| fleet.store.path(name);
    patch(&host, &path("asks"), "1", json!({"judgmentStatus": "continue"})).await;
    host.door.reaches(&path("asks"), "SUCCEEDED").await;
    let after = all(&mut redis, &asks);
    for field in ["novelty", &format!("{first}.novelty"), &tasks, "authentication"] {
        assert!(after[field].contains("kept"), "{field} is {:?}", after[field]);
    }
    // What it knows of the outbox is told, though it does not know all of it.
    let told = tokio::time::timeout(SOON, fleet.hooks.recv()).await.expect("the notice in time").expect("a notice");
    assert!(told.to_string().contains("told"), "{told}");
    let said = |message: &'static str| async { until(message, SOON, async || host.agent.said(message)).await };
    said("an execution holds what this version cannot read; it waits for one that can (runbooks/unreadable-execution.md)").await;
    said("this execution cannot be read; it is set aside (runbooks/unreadable-execution.md)").await;
    for (key, mut before) in [&waits, &queued].into_iter().zip(before) {
        let mut after = all(&mut redis, key);
        // Whose it is at the moment.
        for record in [&mut before, &mut after] {
            record.retain(|name, _| name != "_owner" && name != "_write");
        }
        assert_eq!(after, before);
    }
    let waiting: usize = redis::cmd("ZCARD").arg(&inbox).query(&mut redis).expect("a number");
    let notices: BTreeMap<String, String> = all(&mut redis, "bellrock:outbox:notices");
    assert_eq!((waiting, notices.contains_key("novel")), (1, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_gets_a_message_of_a_newer_version_goes_no_further_and_gives_the_execution_to_one_that_knows_it() {
    let fleet = Fleet::new(11).await;
    let host = fleet.host(1).await;
    let stage = |ref_id: &str, earlier: &[&str], script: String| json!({"refId": ref_id, "requisiteStageRefIds": earlier, "type": "runJob", "name": ref_id, "command": ["sh", "-c", script]});
    let at = fleet.dir.path().display();
    let stages =
        [stage("1", &[], format!("until [ -e {at}/go ]; do sleep 0.05; done")), stage("2", &["1"], format!("echo 2 >> {at}/second"))];
    host.door.save(&json!({"application": "shop", "name": "new", "stages": stages})).await;
    let path = host.door.start("new", json!({})).await;
    host.door.stage_reaches(&path, "1", "RUNNING").await;
    let execution = path.rsplit('/').next().expect("an id");
    let (key, inbox) = (format!("pipeline:{execution}"), format!("bellrock:inbox:{execution}"));
    let mut redis = fleet.redis.connection();
    let owner: String = redis::cmd("HGET").arg(&key).arg("_owner").query(&mut redis).expect("it is owned");
    let session = owner.split_once(' ').expect("an epoch and a session").1;
    // As a sibling of a newer version delivers it.
    redis::pipe()
        .atomic()
        .cmd("HINCRBY")
        .arg(&key)
        .arg("_messages")
        .arg(1)
        .cmd("ZADD")
        .arg(&inbox)
        .arg(1)
        .arg("1 {\"kind\":\"hibernate\",\"by\":\"ann\"}")
        .cmd("SADD")
        .arg(format!("bellrock:mail:{session}"))
        .arg(execution)
        .cmd("PUBLISH")
        .arg("bellrock:news")
        .arg(session)
        .exec(&mut redis)
        .expect("ours");
    let unread = "a message to this execution cannot be read; it goes to an instance that can (runbooks/unreadable-execution.md)";
    until("the message to be met", SOON, async || host.agent.said(unread)).await;
    write(&fleet.dir.path().join("go"), "");
    host.door.stage_reaches(&path, "1", "SUCCEEDED").await;
    let waits = "an execution holds what this version cannot read; it waits for one that can (runbooks/unreadable-execution.md)";
    until("it to be given back", SOON, async || {
        assert_eq!(fleet.lines("second"), 0, "it went on past the message");
        host.agent.said(waits)
    })
    .await;
    let left: Vec<String> = redis::cmd("ZRANGE").arg(&inbox).arg(0).arg(-1).query(&mut redis).expect("a list");
    assert_eq!((left.len(), fleet.lines("second")), (1, 0), "{left:?}");
}

fn permit(holder: &str, number: u64) -> PermitRequest {
    PermitRequest {
        group: GroupName::from(OLD),
        permit: Permit { holder: InstanceId::from(holder), number },
        places: 3,
        lease: Duration::from_secs(60),
        keeps: false,
        gone: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_book_of_permits_of_another_version_is_never_taken_for_an_empty_one() {
    let redis = Server::start(&[]);
    let mut raw = redis.connection();
    let settings = RedisSettings { url: redis.url(), read: None, prefix: String::new(), timeout: Duration::from_secs(5) };
    let home = Home { region: "us-east-1".to_owned(), account: "123456789012".to_owned() };
    let book = RedisPermits::open(settings, home).expect("an address");
    kept::put(&serde_json::from_str(&previous("permits.json", &[])).expect("JSON"), &mut raw);
    // Its server is another one than that which knew all grants, so it is closed for the longest lease of that one.
    match book.take(&permit("i-0ours", 1)).await.expect("an answer") {
        PermitAnswer::Refused { closed: Some(left), .. } => assert!(left > Duration::from_secs(180), "{left:?}"),
        other => panic!("{other:?}"),
    }
    // A newer one has more to say of a grant, and of the book.
    let ours = format!("bellrock:permits:us-east-1:123456789012:{OLD}");
    redis::cmd("HSET").arg("bellrock:permits").arg(&["opens", "0", "novelty", "kept"]).exec(&mut raw).expect("ours");
    redis::cmd("HSET").arg(&ours).arg(&["i-0other", "1 99999999999999 standby"]).exec(&mut raw).expect("ours");
    let refused = book.take(&permit("i-0ours", 1)).await;
    assert!(!matches!(refused, Ok(PermitAnswer::Granted)), "{refused:?}");
    let left: (String, String) = (
        redis::cmd("HGET").arg("bellrock:permits").arg("novelty").query(&mut raw).expect("kept"),
        redis::cmd("HGET").arg(&ours).arg("i-0other").query(&mut raw).expect("kept"),
    );
    assert_eq!(left, ("kept".to_owned(), "1 99999999999999 standby".to_owned()));
}
