//! What an engine did, counted: for metrics. Nothing is decided on it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use super::owner::Exit;
use crate::model::Tally;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::status::Status;

/// Counts since the engine began. Clones share them.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Executions that came to be owned: `due`, or `adopted` from a session that is gone.
    pub claims: Tally<&'static str>,
    /// How ownerships came to their ends: `parked`, `finished`, `fenced`, `abandoned`, `lost`, `refused`.
    pub let_go: Tally<&'static str>,
    /// Executions that ended here, by how.
    pub ended: Tally<Status>,
    /// Attempts that came to an end, by effect and by `ok`, `failed`, `lost` (a job of which nothing is left) or `left` (for another instance).
    pub attempts: Tally<(&'static str, &'static str)>,
    /// Renewals of the session's lease: `ok`, `failed`, or `refused` as another process holds this instance's name.
    pub renewals: Tally<&'static str>,
    /// Notices to people: `delivered`, `put_off`, `given_up`.
    pub notices: Tally<&'static str>,
    late_triggers: Arc<AtomicUsize>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            claims: Tally::of(["due", "adopted"]),
            let_go: Tally::default(),
            ended: Tally::default(),
            attempts: Tally::default(),
            // Alerts rest on an increase of these, and the first is one.
            renewals: Tally::of(["ok", "refused", "failed"]),
            notices: Tally::of(["delivered", "put_off", "given_up"]),
            late_triggers: Arc::default(),
        }
    }
}

impl Counts {
    /// Cron triggers that are late and wait for a person, as far as this instance is the scheduler.
    pub fn late_triggers(&self) -> usize {
        self.late_triggers.load(Ordering::Relaxed)
    }

    pub(super) fn set_late_triggers(&self, count: usize) {
        self.late_triggers.store(count, Ordering::Relaxed);
    }
}

impl Exit {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Parked(_) => "parked",
            Self::Finished => "finished",
            Self::Fenced => "fenced",
            Self::Abandoned => "abandoned",
            Self::Lost => "lost",
            Self::Refused => "refused",
        }
    }
}

/// An attempt's outcome as it is counted. What a server or a command says of its own work is no failure of the attempt.
pub(super) fn outcome(of: &Outcome) -> &'static str {
    match of {
        Outcome::Failed { .. } => "failed",
        Outcome::JobLost => "lost",
        Outcome::Http { .. }
        | Outcome::Fetched { .. }
        | Outcome::Job { .. }
        | Outcome::Started { .. }
        | Outcome::Execution { .. }
        | Outcome::NotFound { .. }
        | Outcome::Sizes { .. }
        | Outcome::Done { .. } => "ok",
    }
}
