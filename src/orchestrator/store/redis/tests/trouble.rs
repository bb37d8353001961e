//! What the server does when it is not well, and what it holds when it is.

use std::collections::BTreeSet;

use redis::Commands;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;

use super::server::Server;
use super::*;
use crate::host::clock::SystemClock;
use crate::model::Clock;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::Head;
use crate::orchestrator::engine::execution::Stage;
use crate::orchestrator::engine::execution::StageId;
use crate::orchestrator::engine::execution::Summary;
use crate::orchestrator::store::Then;
use crate::orchestrator::store::record;

const LEASE: Duration = Duration::from_secs(600);

pub fn session() -> Session {
    Session { instance: "i-1".to_owned(), process: "1".to_owned() }
}

pub fn execution(n: u32) -> Execution {
    let summary = Summary {
        application: "spintest".to_owned(),
        name: "Deploy".to_owned(),
        pipeline_config_id: Some("c-1".to_owned()),
        build_time: Timestamp(1_763_000_000_000),
        ..Summary::default()
    };
    let head = Head { ref_id: "1".to_owned(), kind: "wait".to_owned(), ..Head::default() };
    let id = format!("01KC{n:022}");
    Execution::new(ExecutionId(id.clone()), summary, vec![Stage::new(StageId(format!("{id}-1")), head, serde_json::Map::new())])
}

pub fn new(execution: &Execution) -> NewExecution {
    NewExecution {
        listing: record::listing(execution),
        record: record::encode(execution),
        correlation_id: Some(format!("k-{}", execution.id)),
        due: Timestamp(1),
    }
}

pub fn set(lease: &Lease, text: &str) -> Write {
    Write {
        lease: lease.clone(),
        set: vec![("x".to_owned(), text.to_owned())],
        remove: Vec::new(),
        stage_index: None,
        listing: None,
        taken: 0,
        notices: Vec::new(),
        then: Then::Keep,
    }
}

/// A store with one execution that it owns.
async fn owner(url: &str, limit: Duration, tasks: &mut JoinSet<()>) -> (RedisStore, Lease) {
    let settings = Settings { url: url.to_owned(), read: None, prefix: String::new(), timeout: limit };
    let (store, background) = RedisStore::open(settings, "one").unwrap();
    tasks.spawn(background.run());
    assert!(store.beat(&session(), LEASE).await.unwrap());
    store.create(new(&execution(1))).await.unwrap();
    let lease = store.claim(&session(), 1).await.unwrap().remove(0).lease;
    (store, lease)
}

fn store_error(result: Result<(), WriteError>) -> StoreError {
    match result {
        Err(WriteError::Store(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_execution_stands_where_orca_puts_it() {
    let (server, mut tasks) = (Server::start(&[]), JoinSet::new());
    let (store, lease) = owner(&server.url(), LIMIT, &mut tasks).await;
    let mut server = server.connection();
    let id = &execution(1).id.0;
    let is_in = |server: &mut redis::Connection, key: &str| server.sismember::<_, _, bool>(key, id).unwrap();
    assert!(is_in(&mut server, "allJobs:pipeline") && is_in(&mut server, "pipeline:app:spintest"));
    assert_eq!(server.zscore::<_, _, f64>("pipeline:executions:c-1", id).unwrap(), 1_763_000_000_000.0);
    assert_eq!(server.get::<_, String>(format!("correlation:k-{id}")).unwrap(), *id);
    assert_eq!(server.hget::<_, _, String>(format!("pipeline:{id}"), "status").unwrap(), "NOT_STARTED");
    assert_eq!(server.hget::<_, _, String>(format!("pipeline:{id}"), format!("stage.{id}-1.type")).unwrap(), "wait");
    assert_eq!(server.lrange::<_, Vec<String>>(format!("pipeline:{id}:stageIndex"), 0, -1).unwrap(), [format!("{id}-1")]);

    store.create(new(&execution(2))).await.unwrap();
    let second = store.claim(&session(), 1).await.unwrap().remove(0).lease;
    store.admit(&lease, "c-1", 1).await.unwrap();
    store.admit(&second, "c-1", 1).await.unwrap();
    let waits: Vec<String> = server.lrange("orca.pipeline.queue.c-1", 0, -1).unwrap();
    let ticket: Value = serde_json::from_str(&waits[0]).unwrap();
    assert_eq!((ticket["kind"].as_str(), ticket["executionId"].as_str()), (Some("startExecution"), Some(second.execution.as_str())));
    assert_eq!((ticket["executionType"].as_str(), ticket["application"].as_str()), (Some("PIPELINE"), Some("spintest")));
}

#[tokio::test]
async fn an_execution_that_orca_wrote_is_read_and_owned() {
    let (server, mut tasks) = (Server::start(&[]), JoinSet::new());
    let (store, _) = owner(&server.url(), LIMIT, &mut tasks).await;
    let mut server = server.connection();
    let () = server.hset_multiple("orchestration:X", &[("status", "RUNNING"), ("application", "a"), ("stage.s.type", "wait")]).unwrap();
    let id = ExecutionId::from("X");
    let read = record::decode(&id, None, &store.load(&id).await.unwrap().unwrap()).unwrap();
    assert_eq!((read.summary().kind, read.stages().len()), (ExecutionType::Orchestration, 1));
    let lease = store.claim_one(&session(), &id).await.unwrap().unwrap().lease;
    store.write(set(&lease, "1")).await.unwrap();
    assert_eq!(server.hget::<_, _, String>("orchestration:X", "x").unwrap(), "1");
    let () = server.hset("pipeline:Y", "status", "SUCCEEDED").unwrap();
    assert!(store.claim_one(&session(), &ExecutionId::from("Y")).await.unwrap().is_none(), "it ended");
}

#[tokio::test]
async fn what_was_removed_leaves_no_key_behind() {
    let (server, mut tasks) = (Server::start(&[]), JoinSet::new());
    let (store, lease) = owner(&server.url(), LIMIT, &mut tasks).await;
    let mut ended = execution(1);
    ended.summary_mut().status = crate::orchestrator::engine::status::Status::Succeeded;
    store.admit(&lease, "c-1", 1).await.unwrap();
    let write = Write { listing: Some(record::listing(&ended)), then: Then::Finish, ..set(&lease, "1") };
    store.write(Write { set: record::encode(&ended).fields, ..write }).await.unwrap();
    assert!(store.remove(&lease.execution).await.unwrap());
    let keys: BTreeSet<String> = server.connection().keys("*").unwrap();
    let expected = ["bellrock:instances", "bellrock:scopes", "bellrock:sequence:one", "bellrock:sessions"];
    assert_eq!(keys, expected.map(str::to_owned).into());
}

#[tokio::test]
async fn out_of_memory_changes_nothing_and_says_so() {
    let (server, mut tasks) = (Server::start(&[]), JoinSet::new());
    let (store, lease) = owner(&server.url(), LIMIT, &mut tasks).await;
    let config = |name: &str, value: &str| redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(&mut server.connection()).unwrap();
    config("maxmemory", "1");
    assert!(matches!(store_error(store.write(set(&lease, "1")).await), StoreError::Full(_)));
    assert!(matches!(store.create(new(&execution(2))).await, Err(StoreError::Full(_))));
    assert!(matches!(store.claim(&session(), 1).await, Err(StoreError::Full(_))));
    assert!(store.load(&lease.execution).await.unwrap().unwrap().fields.iter().all(|(name, _)| name != "x"), "reads go on");
    config("maxmemory", "0");
    store.write(set(&lease, "1")).await.unwrap();
    assert_eq!(store.create(new(&execution(2))).await.unwrap(), Created::New);
}

#[tokio::test]
async fn a_server_that_hangs_is_unavailable_within_the_limit() {
    let (server, mut tasks) = (Server::start(&[]), JoinSet::new());
    let (store, lease) = owner(&server.url(), Duration::from_millis(300), &mut tasks).await;
    let signal = |signal| kill_process(Pid::from_child(&server.child), signal).unwrap();
    let clock = SystemClock::start();
    signal(Signal::STOP);
    assert!(matches!(store_error(store.write(set(&lease, "1")).await), StoreError::Unavailable(_)));
    assert!(matches!(store.claim(&session(), 1).await, Err(StoreError::Unavailable(_))));
    assert!(clock.now().mono < Duration::from_secs(3), "{:?}", clock.now().mono);
    signal(Signal::CONT);
    // Whatever became of the first, it may be sent again.
    store.write(set(&lease, "1")).await.unwrap();
}

#[tokio::test]
async fn a_server_restarted_empty_is_noticed_once_and_used_again() {
    let (mut server, mut tasks) = (Server::start(&[]), JoinSet::new());
    let (store, lease) = owner(&server.url(), LIMIT, &mut tasks).await;
    server.restart();
    let lost = loop {
        match store.beat(&session(), LEASE).await {
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            other => break other,
        }
    };
    assert!(matches!(lost, Err(StoreError::LostData(_))), "{lost:?}");
    assert_eq!(store.write(set(&lease, "1")).await, Err(WriteError::Fenced), "what it owned is gone");
    assert!(store.beat(&session(), LEASE).await.unwrap());
    assert_eq!(store.create(new(&execution(1))).await.unwrap(), Created::New);
}

#[tokio::test]
async fn a_server_restarted_with_its_file_lost_nothing() {
    let (mut server, mut tasks) = (Server::start(&["--appendonly", "yes", "--appendfsync", "always"]), JoinSet::new());
    let (store, lease) = owner(&server.url(), LIMIT, &mut tasks).await;
    store.write(set(&lease, "1")).await.unwrap();
    server.restart();
    let outcome = loop {
        match store.write(set(&lease, "2")).await {
            Err(WriteError::Store(StoreError::Unavailable(_))) => tokio::time::sleep(Duration::from_millis(10)).await,
            other => break other,
        }
    };
    assert_eq!(outcome, Ok(()));
    assert_eq!(store.active_by_instance().await.unwrap()[0].count, 1);
}

#[tokio::test]
async fn a_waiter_hears_within_a_hundred_milliseconds() {
    let (server, mut tasks) = (Server::start(&[]), JoinSet::new());
    let (store, _) = owner(&server.url(), LIMIT, &mut tasks).await;
    let (other, clock) = (handle(&server.url(), "", "two", &mut tasks), SystemClock::start());
    let mut took = Vec::new();
    for n in 2..22 {
        while tokio::time::timeout(Duration::from_millis(30), store.wait(&session(), LEASE)).await.is_ok() {}
        let before = clock.now();
        let create = async {
            other.create(new(&execution(n))).await.unwrap();
        };
        let waiter = session();
        tokio::join!(store.wait(&waiter, LEASE), create);
        took.push(clock.now().since(before));
        assert_eq!(store.claim(&session(), 10).await.unwrap().len(), 1);
    }
    took.sort();
    assert!(took[10] < Duration::from_millis(100), "{took:?}");
}

#[tokio::test]
async fn a_cluster_without_a_hash_tag_is_refused() {
    for (url, prefix, good) in [
        ("redis+cluster://127.0.0.1:1", "", false),
        ("redis+cluster://127.0.0.1:1", "{}x", false),
        ("redis+cluster://a:b@127.0.0.1:1,127.0.0.1:2", "{x}:", true),
        ("redis+sentinel://127.0.0.1:1", "", false),
        ("redis+sentinel://u:p@127.0.0.1:1,127.0.0.1:2/main/3", "", true),
        ("rediss://127.0.0.1:1/2", "x", true),
        ("redis+dreams://127.0.0.1:1", "", false),
        ("127.0.0.1", "", false),
    ] {
        let settings = Settings { url: url.to_owned(), read: None, prefix: prefix.to_owned(), timeout: LIMIT };
        assert_eq!(RedisStore::open(settings, "one").is_ok(), good, "{url} {prefix}");
    }
}
