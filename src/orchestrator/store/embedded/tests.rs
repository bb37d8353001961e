//! What the file promises beyond the contract.

mod agreement;
mod crash;
mod promises;
mod trouble;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::host::clock::SystemClock;
use crate::model::Moment;
use crate::orchestrator::engine::event::Notice;
use crate::orchestrator::engine::execution::ExecutionType;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::status::Status;
use crate::orchestrator::store::Then;

/// Every statement the tests of this process have compiled.
static STATEMENTS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

pub(super) fn note(sql: &str) {
    STATEMENTS.lock().unwrap().insert(sql.to_owned());
}

/// A clock that is set by hand.
#[derive(Default)]
struct HandClock(Mutex<Moment>);

impl HandClock {
    fn at(ms: i64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Moment { mono: Duration::ZERO, wall: Timestamp(ms) })))
    }

    fn pass(&self, by: Duration) {
        let mut moment = self.0.lock().unwrap();
        *moment = moment.plus(by);
    }

    fn set_wall(&self, ms: i64) {
        self.0.lock().unwrap().wall = Timestamp(ms);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Moment {
        *self.0.lock().unwrap()
    }
}

const LEASE: Duration = Duration::from_secs(6);

fn directory() -> (TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    (directory, path)
}

async fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(path, Arc::new(SystemClock::start())).await.unwrap()
}

fn session(instance: &str, process: &str) -> Session {
    Session { instance: instance.to_owned(), process: process.to_owned() }
}

fn listing(id: &str) -> Listing {
    Listing {
        id: id.into(),
        kind: ExecutionType::Pipeline,
        application: "shop".to_owned(),
        name: "deploy".to_owned(),
        pipeline_config_id: Some("deploy".to_owned()),
        status: Status::NotStarted,
        build_time: Timestamp(1),
        start_time: None,
        end_time: None,
    }
}

fn new(id: &str) -> NewExecution {
    let record = Record { fields: vec![("status".to_owned(), "NOT_STARTED".to_owned())], stage_index: vec![format!("{id}-1")] };
    NewExecution { listing: listing(id), record, correlation_id: None, due: Timestamp(0), limit: None }
}

fn write(lease: &Lease, then: Then) -> Write {
    Write {
        lease: lease.clone(),
        number: 1,
        set: Vec::new(),
        remove: Vec::new(),
        stage_index: None,
        listing: None,
        taken: 0,
        notices: Vec::new(),
        then,
    }
}

fn cancel() -> Message {
    Message::Cancel { by: "me".to_owned(), reason: None }
}

#[tokio::test]
async fn what_is_asked_for_together_is_one_transaction_and_a_failure_is_one_callers() {
    let (_directory, path) = directory();
    let store = open(&path).await;
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let blocked = store.writer.call(move |_| Ok(wait.recv().is_ok()));
    let before = *store.shared.news.borrow();
    let creates = join_all((0..40).map(|n| store.create(new(&format!("e{n:02}")))));
    let half_done = store.writer.call(|tx| {
        shelf::set_mark(tx, "half", "done")?;
        Err::<(), _>(StoreError::Refused("no".to_owned()).into())
    });
    let release = async { go.send(()) };
    let (_, failed, created, _) = tokio::join!(blocked, half_done, creates, release);
    assert_eq!(failed, Err(StoreError::Refused("no".to_owned())));
    assert!(created.into_iter().all(|created| created == Ok(Created::New)));
    assert_eq!(*store.shared.news.borrow() - before, 1, "transactions");
    assert_eq!(store.mark("half").await, Ok(None), "what failed is undone");
}

#[tokio::test]
async fn a_claim_whose_caller_went_away_is_given_back() {
    let (_directory, path) = directory();
    let store = open(&path).await;
    let me = session("a", "1");
    assert!(store.beat(&me, LEASE).await.unwrap());
    store.create(new("e")).await.unwrap();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    {
        let blocked = store.writer.call(move |_| Ok(wait.recv().is_ok()));
        let claim = store.claim(&me, 1);
        tokio::pin!(blocked, claim);
        assert!(futures::poll!(blocked.as_mut()).is_pending() && futures::poll!(claim.as_mut()).is_pending());
    }
    go.send(()).unwrap();
    let again = store.claim(&me, 1).await.unwrap();
    let again = if again.is_empty() { store.claim(&me, 1).await.unwrap() } else { again };
    assert_eq!(again.len(), 1, "it is due again");
    assert_eq!(again[0].lease.epoch, 2, "it was claimed before");
}

#[tokio::test]
async fn what_another_process_does_wakes_a_wait_and_what_was_told_is_not_told_again() {
    let (_directory, path) = directory();
    let (daemon, cli) = (open(&path).await, open(&path).await);
    let me = session("a", "1");
    assert!(daemon.beat(&me, LEASE * 10).await.unwrap());
    cli.create(new("e")).await.unwrap();
    assert_eq!(daemon.claim(&me, 1).await.unwrap().len(), 1);
    let told_within = |time| tokio::time::timeout(time, daemon.wait(&me, Duration::from_secs(60)));
    while told_within(FOREIGN_EVERY * 3).await.is_ok() {}

    let (id, message) = ("e".into(), cancel());
    let (told, posted) = tokio::join!(told_within(Duration::from_secs(20)), cli.post(&id, &message));
    assert_eq!((told, posted, daemon.with_messages(&me).await), (Ok(()), Ok(true), Ok(vec![id])));
    assert!(told_within(FOREIGN_EVERY * 3).await.is_err(), "the same message was told twice");
}

#[tokio::test]
async fn what_another_process_does_rings_here_and_what_is_no_news_does_not() {
    let (_directory, path) = directory();
    let (daemon, cli) = (open(&path).await, open(&path).await);
    let bell = daemon.bell.as_ref().unwrap();
    assert!(cli.beat(&session("b", "1"), LEASE).await.unwrap());
    assert!(bell.heard().now_or_never().is_none());
    cli.create(new("e")).await.unwrap();
    bell.heard().await;
    assert!(bell.heard().now_or_never().is_none());
}

#[tokio::test]
async fn a_store_with_nothing_to_do_writes_nothing() {
    let (_directory, path) = directory();
    let store = open(&path).await;
    let me = session("a", "1");
    assert!(store.beat(&me, LEASE).await.unwrap());
    let other = Connection::open(&path).unwrap();
    let version = || other.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
    let before = version();
    assert_eq!(store.claim(&me, 10).await, Ok(Vec::new()));
    assert_eq!(store.outbox(10, LEASE).await, Ok(Vec::new()));
    store.wait(&me, FOREIGN_EVERY * 2).await;
    assert_eq!(version(), before);
}

#[tokio::test]
async fn removal_goes_in_steps_and_gives_room_back() {
    let (_directory, path) = directory();
    let store = open(&path).await;
    let me = session("a", "1");
    assert!(store.beat(&me, LEASE).await.unwrap());
    join_all((0..30).map(|n| {
        let mut new = new(&format!("e{n:02}"));
        new.record.fields.push(("stage.1.context".to_owned(), "x".repeat(100_000)));
        store.create(new)
    }))
    .await;
    let leases: Vec<Lease> = store.claim(&me, 100).await.unwrap().into_iter().map(|c| c.lease).collect();
    assert!(join_all(leases.iter().map(|l| store.write(write(l, Then::Finish)))).await.iter().all(Result::is_ok));
    let pages = || store.writer.call(|tx| Ok(tx.connection.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0))?));
    let before = pages().await.unwrap();
    let retention = Retention { older_than: Timestamp(2), keep: 4, step: 25 };
    assert_eq!((store.expire(retention).await, store.expire(retention).await, store.expire(retention).await), (Ok(25), Ok(1), Ok(0)));
    let left: Vec<String> = store.list(&Query { limit: 10, ..Query::default() }).await.unwrap().into_iter().map(|l| l.id.0).collect();
    assert_eq!(left, ["e29", "e28", "e27", "e26"]);
    assert!(pages().await.unwrap() < before / 2, "pages before: {before}");
}

/// Everything the store can be asked, once, so that every statement has been compiled.
async fn exercise(store: &EmbeddedStore) {
    let (me, id): (Session, ExecutionId) = (session("a", "1"), "e".into());
    store.beat(&me, LEASE).await.unwrap();
    store.create(NewExecution { correlation_id: Some("c".to_owned()), ..new("e") }).await.unwrap();
    let lease = store.claim(&me, 1).await.unwrap().remove(0).lease;
    store.create(new("f")).await.unwrap();
    store.claim_one(&me, &"f".into()).await.unwrap();
    store.admit(&lease, "deploy", 1).await.unwrap();
    for keep in [true, false] {
        store.start_waiting("deploy", 2, keep).await.unwrap();
    }
    store.post(&id, &cancel()).await.unwrap();
    store.inbox(&lease, 0).await.unwrap();
    let notice = Notice { number: 1, event: "x".to_owned(), to: Object::new(), stage: None, details: Object::new() };
    let all = Write {
        set: vec![("a".to_owned(), "1".to_owned())],
        remove: vec!["b".to_owned()],
        stage_index: Some(Vec::new()),
        listing: Some(listing("e")),
        taken: 1,
        notices: vec![notice],
        ..write(&lease, Then::Keep)
    };
    store.write(all).await.unwrap();
    store.post(&id, &cancel()).await.unwrap();
    store.with_messages(&me).await.unwrap();
    store.active_by_instance().await.unwrap();
    store.write(write(&lease, Then::Park { due: None })).await.unwrap();
    let lease = store.claim_one(&me, &id).await.unwrap().unwrap().lease;
    store.wait(&me, Duration::from_millis(1)).await;
    store.next_due().await.unwrap();
    store.load(&id).await.unwrap();
    store.write(write(&lease, Then::Finish)).await.unwrap();
    store.expire(Retention { older_than: Timestamp(5), keep: 1, step: 5 }).await.unwrap();
    for id in ["e", "f"] {
        store.remove(&id.into()).await.unwrap();
    }
    store.outbox(1, LEASE).await.unwrap();
    store.outbox_done("e:1").await.unwrap();
    store.outbox_again("e:1", Timestamp(1)).await.unwrap();
    for kind in [None, Some(ExecutionType::Orchestration)] {
        for application in [None, Some("shop".to_owned())] {
            for pipeline_config_id in [None, Some("deploy".to_owned())] {
                for statuses in [vec![], vec![Status::Running], vec![Status::Running, Status::Paused]] {
                    let (application, pipeline_config_id) = (application.clone(), pipeline_config_id.clone());
                    store.list(&Query { kind, application, pipeline_config_id, statuses, before: None, limit: 10 }).await.unwrap();
                }
            }
        }
    }
    store.take_role("r", &me, LEASE).await.unwrap();
    store.set_mark("m", "t").await.unwrap();
    store.mark("m").await.unwrap();
    store.definitions(Some("shop"), None, 1).await.unwrap();
    store.definitions(None, None, 1).await.unwrap();
    store.end_session(&me).await.unwrap();
}

/// The plan of every statement, with the statement.
fn plans(connection: &Connection) -> Vec<(String, Vec<String>)> {
    let statements = STATEMENTS.lock().unwrap().clone();
    let words = ["SELECT", "UPDATE", "DELETE", "INSERT"];
    let explained = statements.into_iter().filter(|sql| words.iter().any(|word| sql.trim_start().starts_with(word)));
    explained
        .map(|sql| {
            let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let plan = explain.raw_query().mapped(|row| row.get::<_, String>(3)).map(Result::unwrap).collect();
            (sql, plan)
        })
        .collect()
}

#[tokio::test]
async fn no_question_looks_at_every_execution_and_no_index_is_idle() {
    let (_directory, path) = directory();
    exercise(&open(&path).await).await;
    let connection = Connection::open(&path).unwrap();
    let plans = plans(&connection);
    assert!(plans.len() > 50, "{}", plans.len());
    for (sql, plan) in &plans {
        for step in plan {
            let of_many = ["execution", "old", "newer", "field", "message", "slot", "outbox", "definition"];
            let scan = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next()).is_some_and(|table| of_many.contains(&table));
            assert!(!scan || sql.contains("LIMIT") && step.contains("INDEX"), "{sql}\n{step}");
            assert!(!step.contains("TEMP B-TREE"), "{sql}\n{step}");
        }
    }
    let mut indexes = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL").unwrap();
    for index in indexes.query_map([], |row| row.get::<_, String>(0)).unwrap() {
        let using = format!("INDEX {} ", index.unwrap());
        assert!(plans.iter().any(|(_, plan)| plan.iter().any(|step| step.contains(&using))), "{using}is used by no statement");
    }
}
