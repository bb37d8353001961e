//! What the folder of a kept process holds. The agent writes the order and the stop, the keeper alone writes the run.

use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::host::process::Process;
use crate::model::Timestamp;
use crate::orchestrator::supervised::Exit;

/// What to run.
pub(super) const ORDER: &str = "order.json";
/// That it shall end, and how soon.
pub(super) const STOP: &str = "stop.json";
/// Who runs, and how it ended.
pub(super) const RUN: &str = "run.json";
/// The named pipe both outputs go to. The command holds both ends of it, so that it outlives a keeper.
pub(super) const OUTPUT: &str = "output";
/// Where output is kept when there is no journal.
pub(super) const LOG: &str = "output.log";
/// In the environment of the keeper and of all it begins, with the folder.
pub(super) const MARK: &str = "BELLROCK_KEPT_IN";

/// What a keeper is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) argv: Vec<String>,
    pub(super) digest: String,
    pub(super) directory: Option<PathBuf>,
    /// Its number.
    pub(super) signal: i32,
    pub(super) grace_ms: u64,
    /// Look after what lives; begin nothing.
    pub(super) take_up: bool,
    /// Output goes to standard error.
    pub(super) journal: bool,
    pub(super) lines_per_second: u32,
}

/// How long it has to end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Stop {
    pub(super) grace_ms: u64,
}

/// One run, from its start to its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    /// Of the host: pids mean nothing in another one.
    pub(super) boot: String,
    /// Of what was ordered.
    pub(super) digest: String,
    /// Who looks after it.
    pub(super) keeper: Process,
    /// The keeper that began it, and the session it is in.
    pub(super) founder: Process,
    /// The command, or what it left in its place; `None` before it is begun.
    pub(super) main: Option<Process>,
    pub(super) since: Timestamp,
    pub(super) ended: Option<Exit>,
    #[serde(default)]
    pub(super) dropped_lines: u64,
}

impl Run {
    /// Tells one run from another.
    pub(super) fn name(&self) -> String {
        format!("{} {} {}", self.boot, self.founder.pid, self.founder.start_ticks)
    }
}
