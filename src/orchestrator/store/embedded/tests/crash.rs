//! kill -9 in the middle of writes: what was acknowledged is there.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write as _;
use std::process::Command;
use std::process::Stdio;

use super::*;

/// Executions the victim writes to at once, and acknowledgements after which it is killed.
const WRITERS: usize = 8;
const KILLED_AFTER: usize = 150;

/// Names the file to the process that is killed, which is this test once more.
const VICTIM: &str = "BELLROCK_TEST_VICTIM";

/// Writes without end, and says on its standard output what was acknowledged.
fn be_the_victim(path: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = open(path).await;
        let me = session("victim", "1");
        assert!(store.beat(&me, Duration::from_secs(600)).await.unwrap());
        join_all((0..WRITERS).map(|n| store.create(new(&format!("e{n}"))))).await;
        let claimed = store.claim(&me, WRITERS).await.unwrap();
        let write_on = |lease: Lease| {
            let store = &store;
            async move {
                for count in 1_u32.. {
                    let set = ["a", "b"].map(|name| (name.to_owned(), count.to_string()));
                    store.write(Write { set: set.to_vec(), ..write(&lease, Then::Keep) }).await.unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "ack {} {count}", lease.execution).unwrap();
                    out.flush().unwrap();
                }
            }
        };
        join_all(claimed.into_iter().map(|c| write_on(c.lease))).await;
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how the test tells its own second process from itself")]
fn acknowledged_writes_outlive_kill_9() {
    if let Some(path) = std::env::var_os(VICTIM) {
        return be_the_victim(Path::new(&path));
    }
    let (_directory, path) = directory();
    let name = format!("{}::acknowledged_writes_outlive_kill_9", module_path!().split_once("::").unwrap().1);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(VICTIM, &path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut acknowledged: BTreeMap<String, u32> = BTreeMap::new();
    let mut seen = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // The test harness prints lines of its own, and one of ours may follow its text.
        let Some((_, ack)) = line.split_once("ack ") else { continue };
        let Some((id, count)) = ack.split_once(' ') else { continue };
        acknowledged.insert(id.to_owned(), count.parse().unwrap());
        seen += 1;
        if seen == KILLED_AFTER {
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success() && seen >= KILLED_AFTER, "{seen}");
    tokio::runtime::Runtime::new().unwrap().block_on(look_at_what_is_left(&path, &acknowledged));
}

async fn look_at_what_is_left(path: &Path, acknowledged: &BTreeMap<String, u32>) {
    let store = open(path).await;
    let sound: String = store.writer.call(|tx| Ok(tx.connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?)).await.unwrap();
    assert_eq!(sound, "ok");
    store.end_session(&session("victim", "1")).await.unwrap();
    let heir = session("victim", "2");
    assert!(store.beat(&heir, LEASE).await.unwrap(), "its own restart takes over at once");
    let claimed = store.claim(&heir, 500).await.unwrap();
    assert_eq!(claimed.len(), WRITERS);
    for one in claimed {
        let field = |name: &str| one.record.fields.iter().find(|(n, _)| n == name).map_or(0, |(_, value)| value.parse::<u32>().unwrap());
        let written = acknowledged.get(one.lease.execution.as_str()).copied().unwrap_or(0);
        assert!(field("a") >= written, "{}: {} was acknowledged, {} is there", one.lease.execution, written, field("a"));
        assert_eq!(field("a"), field("b"), "a write is whole");
        assert!(one.adopted && one.lease.epoch == 2);
    }
}
