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
use crate::orchestrator::engine::event::Notice;
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
        limit: None,
    }
}

pub fn set(lease: &Lease, text: &str) -> Write {
    Write {
        lease: lease.clone(),
        number: 1,
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
    let since = format!("bellrock:since:{}", super::super::token(&lease.session));
    let expected = ["bellrock:instances", "bellrock:scopes", "bellrock:sequence:one", "bellrock:sessions", since.as_str()];
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
    assert!(matches!(store_error(store.write(set(&lease, "1")).await), StoreError::LostData(_)), "what it owned is gone");
    begin_anew(&store).await;
    assert_eq!(store.create(new(&execution(1))).await.unwrap(), Created::New);
}

/// As a runner does that was told of a loss.
async fn begin_anew(store: &RedisStore) -> Session {
    let next = Session { process: "2".to_owned(), ..session() };
    assert!(matches!(store.beat(&session(), LEASE).await, Err(StoreError::LostData(_))));
    assert!(matches!(store.claim(&session(), 10).await, Err(StoreError::LostData(_))));
    store.end_session(&session()).await.unwrap();
    assert!(store.beat(&next, LEASE).await.unwrap());
    next
}

#[tokio::test]
async fn after_a_loss_nothing_is_written_that_builds_on_what_is_gone() {
    let (mut server, mut tasks) = (Server::start(&[]), JoinSet::new());
    let (store, lease) = owner(&server.url(), LIMIT, &mut tasks).await;
    store.create(new(&execution(2))).await.unwrap();
    let second = store.claim(&session(), 1).await.unwrap().remove(0).lease;
    store.write(set(&lease, "kept")).await.unwrap();
    redis::cmd("SAVE").exec(&mut server.connection()).unwrap();
    // One acknowledged script is lost; more than one that was made without knowing of it reach the server together.
    store.write(set(&lease, "lost")).await.unwrap();
    server.restart();
    let after = |lease: &Lease| Write { set: vec![("y".to_owned(), "1".to_owned())], ..set(lease, "") };
    let (message, session) = (Message::Cancel { by: "me".to_owned(), reason: None }, session());
    let mut lost = 0;
    for _ in 0..300 {
        let told = tokio::join!(
            store.write(after(&lease)),
            store.post(&lease.execution, &message),
            store.write(after(&second)),
            store.create(new(&execution(3))),
            store.set_mark("a", "b"),
            store.beat(&session, LEASE),
        );
        let told =
            [store_error(told.0), told.1.unwrap_err(), store_error(told.2), told.3.unwrap_err(), told.4.unwrap_err(), told.5.unwrap_err()];
        lost += told.iter().filter(|error| matches!(error, StoreError::LostData(_))).count();
        if lost > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(lost > 0, "it was not said");
    let next = begin_anew(&store).await;
    assert_eq!(store.write(after(&second)).await, Err(WriteError::Fenced), "a write of the old session that comes even later");
    let claimed = store.claim(&next, 10).await.unwrap();
    assert_eq!(claimed.len(), 2);
    for one in claimed {
        assert!(one.adopted && one.inbox.is_empty());
        let field = |name: &str| one.record.fields.iter().find(|(n, _)| n == name).map(|(_, text)| text.as_str());
        assert_eq!((field("x"), field("y")), ((one.lease.execution == lease.execution).then_some("kept"), None));
        store.write(after(&one.lease)).await.unwrap();
    }
}

#[tokio::test]
async fn what_arrives_over_a_connection_that_was_given_up_does_nothing() {
    let (server, mut tasks) = (Server::start(&[]), JoinSet::new());
    let (store, lease) = owner(&server.url(), LIMIT, &mut tasks).await;
    let first = store.shared.link.live().await.unwrap();
    let late = |script: &Script, args: &[&str]| {
        let mut cmd = store.shared.command(script, 0, first.number, shared::SMALL);
        args.iter().for_each(|arg| _ = cmd.arg(*arg));
        (cmd, script.sha.clone())
    };
    let token = token(&session());
    let late = [
        late(&script::CLAIM, &[&token, "10"]).0,
        late(&script::CLAIM_ONE, &[&token, &execution(2).id.0]).0,
        late(&script::PLAIN, &["HSET", "bellrock:marks", "cron", "older"]).0,
        late(&script::POST, &[&execution(2).id.0, " ", "{}", "1000"]).0,
    ];
    store.shared.link.give_up(&first).await;
    store.create(new(&execution(2))).await.unwrap();
    store.set_mark("cron", "newer").await.unwrap();
    assert_eq!(store.owned(&session(), None, 10).await.unwrap(), std::slice::from_ref(&lease.execution));
    let live = store.shared.link.live().await.unwrap();
    assert!(live.number > first.number);
    for (cmd, script) in late.iter().zip([&*script::CLAIM, &*script::CLAIM_ONE, &*script::PLAIN, &*script::POST]) {
        let said = store.shared.link.script(&live, script, cmd).await.unwrap();
        let said: i64 = Parts::of(said).unwrap().number().unwrap();
        assert!(matches!(store.shared.guard.note(store.shared.guard.known(), said), Err(StoreError::Unavailable(_))), "{said}");
    }
    assert_eq!(store.owned(&session(), None, 10).await.unwrap(), [lease.execution]);
    assert_eq!(store.mark("cron").await.unwrap().as_deref(), Some("newer"));
    let second = store.claim(&session(), 10).await.unwrap().remove(0);
    assert_eq!((second.lease.epoch, second.inbox.len()), (1, 0));
}

#[tokio::test]
async fn one_that_cannot_be_read_does_not_stop_the_others() {
    let (server, mut tasks) = (Server::start(&[]), JoinSet::new());
    let (store, lease) = owner(&server.url(), LIMIT, &mut tasks).await;
    let mut raw = server.connection();
    let notice =
        |number| Notice { number, event: "e".to_owned(), to: serde_json::Map::new(), stage: None, details: serde_json::Map::new() };
    store.write(Write { notices: vec![notice(1), notice(2)], ..set(&lease, "1") }).await.unwrap();
    for n in 2..6 {
        store.create(new(&execution(n))).await.unwrap();
        let named = DefinitionVersion {
            id: n.to_string(),
            application: "a".to_owned(),
            name: n.to_string(),
            version: 0,
            by: "me".to_owned(),
            at: Timestamp(0),
            deleted: false,
            document: Value::Null,
        };
        store.save_definition(named, None).await.unwrap();
    }
    let [bad_mail, bad_text, bad_status] = [2, 3, 4].map(|n| execution(n).id.0);
    store.post(&execution(2).id, &Message::Cancel { by: "me".to_owned(), reason: None }).await.unwrap();
    let () = raw.del(format!("bellrock:inbox:{bad_mail}")).unwrap();
    let () = raw.zadd(format!("bellrock:inbox:{bad_mail}"), "1 {\"kind\":\"levitate\"}", 1).unwrap();
    let () = raw.hset(format!("pipeline:{bad_text}"), "x", b"\xff\xfe".as_slice()).unwrap();
    let () = raw.hset(format!("pipeline:{bad_status}"), "status", "LEVITATING").unwrap();
    let () = raw.hset("bellrock:outbox:notices", format!("{}:1", lease.execution), "[]\n{}").unwrap();
    let () = raw.rpush("bellrock:definition:3", "2 1 {}").unwrap();

    let claimed: Vec<ExecutionId> = store.claim(&session(), 10).await.unwrap().into_iter().map(|c| c.lease.execution).collect();
    assert_eq!(claimed, [execution(4).id, execution(5).id], "what stands in a record is its owner's to read");
    for id in [bad_mail, bad_text] {
        assert!(store.claim_one(&session(), &ExecutionId(id.clone())).await.unwrap().is_none());
        let again = raw.zscore::<_, _, f64>("bellrock:due", &id).unwrap();
        let now = store.now().await.unwrap().0 as f64;
        assert!(again > now + 30_000.0, "it waits for a version that can");
        assert_eq!(
            raw.hget::<_, _, String>(format!("pipeline:{id}"), "_owner").unwrap().chars().next(),
            Some('-'),
            "nothing of it is lost"
        );
    }
    assert_eq!(store.owned(&session(), None, 10).await.unwrap(), [execution(1).id, execution(4).id, execution(5).id]);
    let told = store.outbox(10, LEASE).await.unwrap();
    assert_eq!(told.iter().map(|out| out.notice.number).collect::<Vec<_>>(), [2]);
    let listed = store.list(&Query { limit: 4, ..Query::default() }).await.unwrap();
    assert_eq!(listed.iter().map(|l| l.id.0.chars().last().unwrap()).collect::<String>(), "5321");
    assert_eq!(store.active_by_instance().await.unwrap()[0].executions.len(), 2);
    let page = async |after: Option<&str>| store.definitions(None, after, 2).await.unwrap().into_iter().map(|d| d.id).collect::<String>();
    assert_eq!((page(None).await, page(Some("4")).await), ("24".to_owned(), "5".to_owned()), "a page is full but for the last one");
    assert!(matches!(store.definition("3", None).await, Err(StoreError::Unreadable(_))));
}

#[tokio::test]
async fn what_decides_is_read_from_the_master_and_what_is_shown_from_the_replica() {
    let (server, copy, mut tasks) = (Server::start(&[]), Server::start(&[]), JoinSet::new());
    let (_, lease) = owner(&server.url(), LIMIT, &mut tasks).await;
    // Behind, as far as a replica can be: it has the execution as it began.
    let () = copy.connection().hset(format!("pipeline:{}", lease.execution), "status", "NOT_STARTED").unwrap();
    let () = server.connection().hset(format!("pipeline:{}", lease.execution), "status", "RUNNING").unwrap();
    let settings = Settings { url: server.url(), read: Some(copy.url()), prefix: String::new(), timeout: LIMIT };
    let (store, _background) = RedisStore::open(settings, "reader").unwrap();
    let status = |record: Option<Record>| record.unwrap().fields.into_iter().find(|(name, _)| name == "status").unwrap().1;
    assert_eq!(status(store.load(&lease.execution).await.unwrap()), "RUNNING");
    assert_eq!(status(store.show(&lease.execution).await.unwrap()), "NOT_STARTED");
    drop(copy);
    assert_eq!(status(store.show(&lease.execution).await.unwrap()), "RUNNING", "the replica is gone");
}

#[tokio::test]
async fn a_dead_session_leaves_nothing_behind_once_its_work_is_adopted() {
    let (server, mut tasks) = (Server::start(&[]), JoinSet::new());
    let (store, lease) = owner(&server.url(), LIMIT, &mut tasks).await;
    let heir = Session { instance: "i/2".to_owned(), process: "a/b".to_owned() };
    // Who adopts was heard of before the lease ran out, or it would wait a lease of its own first.
    assert!(store.beat(&heir, LEASE).await.unwrap());
    for session in [session(), Session { instance: "i-3".to_owned(), process: "1".to_owned() }] {
        assert!(store.beat(&session, Duration::from_millis(1)).await.unwrap());
    }
    let mut claimed = Vec::new();
    while claimed.is_empty() {
        claimed = store.claim(&heir, 10).await.unwrap();
    }
    assert_eq!(claimed[0].lease.execution, lease.execution);
    let mut raw = server.connection();
    // The other's lease, a millisecond long too, may run out after that claim.
    while raw.hlen::<_, usize>("bellrock:instances").unwrap() > 1 {
        store.claim(&heir, 10).await.unwrap();
    }
    assert_eq!(raw.hkeys::<_, Vec<String>>("bellrock:instances").unwrap(), ["i/2"]);
    assert_eq!(raw.zcard::<_, usize>("bellrock:sessions").unwrap(), 1);
    assert!(store.beat(&session(), LEASE).await.unwrap());
    assert!(store.beat(&heir, Duration::from_millis(1)).await.unwrap());
    while raw.hlen::<_, usize>("bellrock:instances").unwrap() > 1 {
        store.claim(&session(), 10).await.unwrap();
    }
    assert_eq!(raw.hkeys::<_, Vec<String>>("bellrock:instances").unwrap(), ["i-1"]);
}

#[tokio::test]
async fn a_server_that_takes_no_writes_says_so_changes_nothing_and_is_used_again() {
    let (server, mut tasks) = (Server::start(&["--repl-ping-replica-period", "1"]), JoinSet::new());
    let (store, lease) = owner(&server.url(), LIMIT, &mut tasks).await;
    let mut raw = server.connection();
    let mut order = |words: &[&str]| {
        let mut cmd = redis::cmd(words[0]);
        cmd.arg(&words[1..]).exec(&mut raw).unwrap();
    };
    let nowhere = super::server::free_port().to_string();
    for (no, yes) in [
        // A master whose replicas are gone.
        (["CONFIG", "SET", "min-replicas-to-write", "1"].as_slice(), ["CONFIG", "SET", "min-replicas-to-write", "0"].as_slice()),
        // A replica.
        (["REPLICAOF", "127.0.0.1", &nowhere].as_slice(), ["REPLICAOF", "NO", "ONE"].as_slice()),
    ] {
        order(no);
        let refused = store_error(store.write(set(&lease, "1")).await);
        assert!(matches!(refused, StoreError::Full(_)), "{no:?}: {refused:?}");
        assert!(matches!(store.create(new(&execution(2))).await, Err(StoreError::Full(_))), "{no:?}");
        assert!(matches!(store.beat(&session(), LEASE).await, Err(StoreError::Full(_))), "{no:?}");
        assert!(store.load(&lease.execution).await.unwrap().unwrap().fields.iter().all(|(name, _)| name != "x"), "reads go on");
        order(yes);
        assert!(store.beat(&session(), LEASE).await.unwrap());
    }
    store.write(set(&lease, "1")).await.unwrap();
}

#[tokio::test]
async fn a_server_whose_disk_is_full_says_so_and_is_used_again() {
    let (server, mut tasks) = (Server::start(&[]), JoinSet::new());
    let (store, lease) = owner(&server.url(), LIMIT, &mut tasks).await;
    let mut raw = server.connection();
    let mut config = |name: &str, value: &str| redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(&mut raw).unwrap();
    // Redis refuses writes after a snapshot that failed, whatever for. Here its name is a folder's.
    std::fs::create_dir(server.dir().join("dump.rdb")).unwrap();
    std::fs::write(server.dir().join("dump.rdb/full"), "").unwrap();
    config("save", "3600 1");
    assert!(redis::cmd("SAVE").exec(&mut server.connection()).is_err());
    redis::cmd("BGSAVE").exec(&mut server.connection()).unwrap();
    super::fleet::until("the snapshot failed", || {
        let info: String = redis::cmd("INFO").arg("persistence").query(&mut server.connection()).unwrap();
        info.contains("rdb_last_bgsave_status:err")
    })
    .await;
    let refused = store_error(store.write(set(&lease, "1")).await);
    assert!(matches!(refused, StoreError::Full(_)), "{refused:?}");
    config("save", "");
    store.write(set(&lease, "1")).await.unwrap();
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
