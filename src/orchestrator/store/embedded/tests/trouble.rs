//! A full disk, a damaged file, a clock that goes back: what the store says, and that nothing acknowledged suffers.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

async fn refusal(path: &Path) -> StoreError {
    EmbeddedStore::open(path, Arc::new(SystemClock::start())).await.unwrap_err()
}

async fn pragma(store: &EmbeddedStore, pragma: &'static str) {
    store.writer.call(move |tx| Ok(tx.connection.execute_batch(&format!("PRAGMA {pragma}"))?)).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_said_and_what_was_there_stays_and_goes_on_when_there_is_room() {
    let (_directory, path) = directory();
    let store = open(&path).await;
    store.create(new("small")).await.unwrap();
    pragma(&store, "max_page_count = 100").await;
    let mut large = new("large");
    large.record.fields.push(("stage.1.context".to_owned(), "x".repeat(4_000_000)));
    let full = store.create(large.clone()).await;
    assert!(matches!(&full, Err(StoreError::Full(why)) if why.contains("make room")), "{full:?}");
    assert_eq!(store.load(&"large".into()).await, Ok(None));
    assert!(store.load(&"small".into()).await.unwrap().is_some());
    assert_eq!(store.post(&"small".into(), &cancel()).await, Ok(true), "what needs no room goes on");
    pragma(&store, "max_page_count = 100000").await;
    assert_eq!(store.create(large).await, Ok(Created::New));
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_full_and_can_be_read() {
    let (_directory, path) = directory();
    let store = open(&path).await;
    store.create(new("e")).await.unwrap();
    pragma(&store, "query_only = ON").await;
    assert!(matches!(store.create(new("f")).await, Err(StoreError::Full(_))));
    assert!(store.load(&"e".into()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_file_of_a_newer_layout_is_refused_and_not_touched() {
    let (_directory, path) = directory();
    drop(open(&path).await);
    let newer = Connection::open(&path).unwrap();
    newer.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(newer);
    let before = fs::read(&path).unwrap();
    let refused = refusal(&path).await;
    assert!(matches!(&refused, StoreError::Unreadable(why) if why.contains("newer Bellrock (layout 99")), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn what_is_not_ours_is_refused() {
    let (_directory, path) = directory();
    fs::write(&path, "not a database, and longer than the hundred bytes of a header ".repeat(20)).unwrap();
    let refused = refusal(&path).await;
    assert!(matches!(&refused, StoreError::Unreadable(why) if why.contains("damaged")), "{refused}");
    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let refused = refusal(&path).await;
    assert!(matches!(&refused, StoreError::Unreadable(why) if why.contains("another program")), "{refused}");
}

#[tokio::test]
async fn a_damaged_page_is_said_when_it_is_read() {
    let (_directory, path) = directory();
    let store = open(&path).await;
    let mut large = new("e");
    large.record.fields.extend((0..2_000).map(|n| (format!("field {n}"), "x".repeat(500))));
    store.create(large).await.unwrap();
    drop(store);
    Connection::open(&path).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let (page, header) = (4096, 100);
    for at in (page * 20..bytes.len()).step_by(page) {
        bytes[at..at + header].fill(0xee);
    }
    fs::write(&path, bytes).unwrap();
    let read = match EmbeddedStore::open(&path, Arc::new(SystemClock::start())).await {
        Ok(store) => store.load(&"e".into()).await.expect_err("it was read, damage and all"),
        Err(error) => error,
    };
    assert!(matches!(&read, StoreError::Unreadable(why) if why.contains(".recover")), "{read}");
}

#[tokio::test]
async fn a_file_that_is_replaced_while_in_use_takes_no_more_writes() {
    let (_directory, path) = directory();
    let store = open(&path).await;
    fs::remove_file(&path).unwrap();
    assert!(matches!(store.create(new("e")).await, Err(StoreError::LostData(_))));
}

#[tokio::test]
async fn only_its_owner_can_read_it_and_a_place_where_others_write_is_refused() {
    let (directory, path) = directory();
    let store = open(&path).await;
    store.create(new("e")).await.unwrap();
    for file in fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
    }
    drop(store);
    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    allow(&path, 0o666);
    assert!(matches!(refusal(&path).await, StoreError::Refused(_)));
    allow(&path, 0o600);
    allow(directory.path(), 0o777);
    assert!(matches!(refusal(&path).await, StoreError::Refused(_)));
}

#[tokio::test]
async fn two_processes_may_make_the_file_at_once() {
    let (_directory, path) = directory();
    let stores = join_all((0..6).map(|_| open(&path))).await;
    let created = join_all(stores.iter().map(|store| store.create(new("e")))).await;
    assert_eq!(created.iter().filter(|c| **c == Ok(Created::New)).count(), 1, "{created:?}");
}

#[tokio::test]
async fn the_clock_never_shows_a_time_before_one_the_file_has_seen() {
    let (_directory, path) = directory();
    let clock = HandClock::at(5_000_000);
    let store = EmbeddedStore::open(&path, clock.clone()).await.unwrap();
    store.create(new("e")).await.unwrap();
    drop(store);
    let back = HandClock::at(1_000_000);
    let store = EmbeddedStore::open(&path, back.clone()).await.unwrap();
    assert_eq!(store.now().await, Ok(Timestamp(5_000_000)));
    back.pass(Duration::from_secs(10));
    assert_eq!(store.now().await, Ok(Timestamp(5_005_000)), "it goes on, at half speed");
    back.set_wall(6_000_000);
    assert_eq!(store.now().await, Ok(Timestamp(6_000_000)), "and follows the wall clock again");
}

#[tokio::test]
async fn an_inbox_of_a_newer_version_does_not_stop_the_others() {
    let (_directory, path) = directory();
    let store = open(&path).await;
    let me = session("a", "1");
    assert!(store.beat(&me, LEASE).await.unwrap());
    for id in ["d", "e"] {
        store.create(new(id)).await.unwrap();
    }
    store.post(&"d".into(), &cancel()).await.unwrap();
    let newer = |tx: &writer::Tx<'_>| Ok(tx.connection.execute("UPDATE message SET body = '{\"kind\":\"levitate\"}'", [])?);
    store.writer.call(newer).await.unwrap();
    let claimed = store.claim(&me, 10).await.unwrap();
    assert_eq!(claimed.into_iter().map(|c| c.lease.execution.0).collect::<Vec<_>>(), ["e"]);
    assert!(store.next_due().await.unwrap().is_some(), "it waits for a version that can");
}

#[tokio::test]
async fn a_claim_that_was_rolled_back_takes_nothing_from_who_claims_after_it() {
    let (_directory, path) = directory();
    let (store, other) = (open(&path).await, open(&path).await);
    let (me, them) = (session("a", "1"), session("b", "1"));
    assert!(store.beat(&me, LEASE * 100).await.unwrap() && other.beat(&them, LEASE * 100).await.unwrap());
    store.create(new("e")).await.unwrap();
    // One transaction of three: it stands still until the claim, and what undoes all of it, are in line.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let still = store.writer.call(move |_| Ok(wait.recv().is_ok()));
    let undo = store.writer.call(|tx: &writer::Tx<'_>| -> Result<(), Fault> {
        tx.connection.execute_batch("ROLLBACK")?;
        Err(StoreError::Unavailable("undone".to_owned()).into())
    });
    let (_, claimed, undone, ()) = tokio::join!(still, store.claim(&me, 10), undo, async { go.send(()).unwrap() });
    assert!(undone.is_err());
    assert!(matches!(claimed, Err(StoreError::Unavailable(_))), "{claimed:?}");

    let lease = other.claim(&them, 10).await.unwrap().remove(0).lease;
    store.create(new("f")).await.unwrap();
    other.write(write(&lease, Then::Keep)).await.unwrap();
    assert_eq!(other.owned(&them, None, 10).await.unwrap(), [ExecutionId::from("e")]);
}

#[tokio::test]
async fn one_that_cannot_be_read_does_not_hide_the_others() {
    let (_directory, path) = directory();
    let store = open(&path).await;
    let me = session("a", "1");
    assert!(store.beat(&me, LEASE).await.unwrap());
    for id in ["d", "e", "f"] {
        store.create(new(id)).await.unwrap();
        let definition = DefinitionVersion {
            id: id.to_owned(),
            application: "shop".to_owned(),
            name: id.to_owned(),
            version: 0,
            by: "me".to_owned(),
            at: Timestamp(0),
            deleted: false,
            document: serde_json::Value::Null,
        };
        store.save_definition(definition, None).await.unwrap();
    }
    let notice = |number| Notice { number, event: "e".to_owned(), to: Object::new(), stage: None, details: Object::new() };
    let lease = store.claim_one(&me, &"d".into()).await.unwrap().unwrap().lease;
    store.write(Write { notices: vec![notice(1), notice(2)], ..write(&lease, Then::Keep) }).await.unwrap();
    let damage = |tx: &writer::Tx<'_>| {
        let newer = "UPDATE execution SET status = 'LEVITATING' WHERE id = 'e'; UPDATE outbox SET notice = '{}' WHERE id = 'd:1';
                     UPDATE definition SET document = '{' WHERE id = 'e'";
        Ok(tx.connection.execute_batch(newer)?)
    };
    store.writer.call(damage).await.unwrap();
    let listed = store.list(&Query { limit: 2, ..Query::default() }).await.unwrap();
    assert_eq!(listed.iter().map(|l| l.id.as_str()).collect::<Vec<_>>(), ["f", "d"], "a page is full but for the last one");
    let defined = store.definitions(None, None, 2).await.unwrap();
    assert_eq!(defined.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(), ["d", "f"]);
    assert!(matches!(store.definition("e", None).await, Err(StoreError::Unreadable(_))));
    let told = store.outbox(10, LEASE).await.unwrap();
    assert_eq!(told.iter().map(|out| out.notice.number).collect::<Vec<_>>(), [2]);
    assert_eq!(store.outbox(10, LEASE).await.unwrap(), [], "the other comes back after its lease too");
}

#[tokio::test]
async fn a_file_of_an_older_layout_is_brought_up_to_date_with_all_it_holds() {
    let (_directory, path) = directory();
    let older = Connection::open(&path).unwrap();
    older.execute_batch(schema::MIGRATIONS[0]).unwrap();
    older.pragma_update(None, "application_id", schema::APPLICATION_ID).unwrap();
    older.pragma_update(None, "user_version", 1).unwrap();
    older
        .execute_batch(
            "INSERT INTO execution (id, kind, application, name, status, build_time, due) VALUES ('e', 'pipeline', 'shop', 'n', 'RUNNING', 1, 0)",
        )
        .unwrap();
    drop(older);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let store = open(&path).await;
    let me = session("a", "1");
    assert!(store.beat(&me, LEASE).await.unwrap());
    let lease = store.claim(&me, 10).await.unwrap().remove(0).lease;
    store.write(write(&lease, Then::Keep)).await.unwrap();
}
