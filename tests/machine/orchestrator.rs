//! Orchestrators of a machine: what they do is in `work`, which is on the host.

use std::path::Path;

use serde_json::Value;

use super::host::Machine;
use super::host::SOON;
use super::process::until;

/// Writes a line for each unit of its work, and its pid; says when it is not alone, and when it is asked to end.
pub const WORKS: &str = "exec 9>>alone; flock -n 9 || echo $$ >> second; trap 'echo end $$ >> work; exit 0' TERM; \
     i=0; while :; do i=$((i+1)); echo $i $$ >> work; sleep 0.02 9>&-; done";

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Units, those of all runs together.
    pub units: u64,
    /// Processes that did some.
    pub runs: usize,
    /// The last of them.
    pub pid: u64,
    /// It was asked to end.
    pub ended: bool,
}

/// Each run counts from one, without a gap; no run goes on once another has begun.
pub fn work(at: &Path) -> Work {
    let text = std::fs::read_to_string(at.join("work")).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let (mut done, mut last) = (Work::default(), 0);
    for line in whole.lines() {
        let (what, pid) = line.split_once(' ').expect("a word and a pid");
        let pid: u64 = pid.parse().expect("a pid");
        if what == "end" {
            assert_eq!(pid, done.pid, "another one ended");
            done.ended = true;
            continue;
        }
        let number: u64 = what.parse().expect("a number");
        if number == 1 {
            (done.runs, done.pid, done.ended, last) = (done.runs + 1, pid, false, 0);
        }
        assert!((number, pid) == (last + 1, done.pid) && !done.ended, "work was interrupted: {line} after {last} of {done:?}");
        (last, done.units) = (number, done.units + 1);
    }
    let second = std::fs::read_to_string(at.join("second")).unwrap_or_default();
    assert_eq!(second, "", "two were at work");
    done
}

/// Waits until more was done; answers what.
pub async fn works_on(at: &Path) -> Work {
    let before = work(at).units;
    until("work goes on", SOON, async || Some(work(at)).filter(|done| done.units > before + 5)).await
}

/// The process that the agent shows as running.
pub async fn running(machine: &Machine) -> Value {
    machine.shows("a running orchestrator", SOON, |status| status["ready"] == true && status["process"]["state"] == "running").await["process"].clone()
}

/// The keeper of that process.
pub async fn keeper(machine: &Machine) -> u64 {
    let record = machine.does(&["cat", "/var/lib/bellrock/orchestrator/run.json"]).await;
    let run: Value = serde_json::from_str(&record).expect("a record");
    run["keeper"]["pid"].as_u64().expect("a pid")
}
