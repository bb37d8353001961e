//! Where the job of a folder stands, told from the folder alone.

use std::io;
use std::path::Path;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;

use super::EXECUTION;
use super::KEY;
use super::orphans;
use super::record;
use super::record::Job;
use crate::host::folder;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::execution::ExecutionId;

/// Where a job stands.
#[derive(Debug)]
pub(super) enum State {
    /// Nobody knows it, or it came to nothing before its command was begun.
    NotBegun,
    /// Its supervisor lives.
    Running,
    /// It left a result.
    Ended {
        outcome: Outcome,
        /// On request, or because the host went down: its end is nobody's result.
        stopped: bool,
    },
    /// Its command was begun, or was about to be, and left no result.
    Lost,
    /// The same, and processes of it still run.
    Orphaned,
}

/// Where the job of this folder stands.
pub(super) fn state(at: &Path) -> io::Result<State> {
    // A running job is told by its lock before its result is looked for: it may end between the two looks, but never begin.
    match folder::is_locked(at)? {
        None => return Ok(State::NotBegun),
        Some(true) => return Ok(State::Running),
        Some(false) => {}
    }
    if let Some((outcome, stopped)) = record::outcome(at)? {
        return Ok(State::Ended { outcome, stopped });
    }
    if !at.join(record::PID).try_exists()? {
        return Ok(State::NotBegun);
    }
    Ok(if orphans::of(at)?.members()?.is_empty() { State::Lost } else { State::Orphaned })
}

/// Asks the supervisor of a running job to end it. `known`: its PID, when it is our child; else the one it left, if it did already.
pub(super) fn terminate(at: &Path, known: Option<u32>) {
    let known = known.and_then(|pid| i32::try_from(pid).ok());
    let pid = known.or_else(|| folder::read::<i32>(at, record::PID).ok().flatten()).and_then(Pid::from_raw);
    // The lock is held, so the PID is still that of the supervisor; one that is gone by now needs no asking.
    if let (Some(pid), Ok(State::Running)) = (pid, state(at)) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// The key in the environment of the job's command.
pub(super) fn key(at: &Path) -> io::Result<Option<String>> {
    Ok(folder::read::<Job>(at, record::JOB)?.and_then(|job| variable(job, KEY)))
}

/// The execution it belongs to.
pub(super) fn execution(at: &Path) -> Option<ExecutionId> {
    variable(folder::read::<Job>(at, record::JOB).ok()??, EXECUTION).map(ExecutionId)
}

/// Ours come last, and the last one counts.
fn variable(job: Job, name: &str) -> Option<String> {
    job.env.into_iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
}
