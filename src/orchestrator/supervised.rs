//! An orchestrator whose process this agent looks after: an [`Endpoint`] in all that is asked over HTTP, and a [`Charge`] that is begun, ended and seen to.
//!
//! ```text
//!   look ─▶ up ───────────────────▶ wait for news of it
//!     ▲  ├▶ unkept (its keeper is gone) ▶ take it up
//!     │  └▶ down ── wanted? budget? ──▶ begin
//!     └───────────── news, a wish, a reload, time ◀┘
//! ```
//!
//! What must stay true:
//! * What runs is left running: an agent that starts, stops or is killed touches nothing. Nothing is begun beside something that lives.
//! * The wish comes first: that it shall not run is on disk before it is told to end, so that no agent, this one or the next, starts it again in the
//!   middle of a drain. A wish that cannot be read is none, and nothing is begun on it.
//! * What we stopped we start again when it is wanted; what somebody else stopped is left to them. Whose stop it was is on disk before it is told to end.
//! * Starts are counted on disk and have a [`Budget`]; one that does not stay up is tried again slowly, and people are told.
//!
//! Fails by saying so in [`Report`] and holding; the drain goes by what the endpoint sees, which is unknown then.

mod budget;
mod memory;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;
use tracing::info;
use tracing::warn;

pub use budget::Budget;

use super::Abilities;
use super::Error;
use super::Orchestrator;
use super::endpoint::Endpoint;
use super::engine::seed;
use crate::host::boot;
use crate::host::process::Process;
use crate::model::Clock;
use crate::model::Intake;
use crate::model::Sample;
use crate::model::Timestamp;
use budget::Next;
use memory::Memory;

/// What is shown is looked at anew so often, though nothing was heard.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Between two times that the same process is taken up: whatever kills its keepers must not make a storm of them.
const TAKE_UP_EVERY: Duration = Duration::from_secs(2);
/// After something could not be looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A process, or what stands for it, that can be begun and ended.
#[async_trait]
pub trait Charge: Send + Sync + 'static {
    /// The word of `orchestrator.kind`.
    fn kind(&self) -> &'static str;

    /// Where it stands. Bounded in time.
    async fn look(&self) -> Stand;

    /// Begins it, or takes up one that lives and is not looked after; never a second one.
    async fn begin(&self) -> Result<(), Error>;

    /// Ends it within `grace`; `Ok` means that nothing of it runs any more.
    async fn end(&self, grace: Duration) -> Result<(), Error>;

    /// Returns when it may stand elsewhere than `stand`; perhaps never. Cancel-safe.
    async fn news(&self, stand: &Stand);

    /// One that ended as it was asked to may look as if it had never been begun.
    fn forgets(&self) -> bool {
        false
    }
}

/// Where a charge stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stand {
    /// It runs.
    Up {
        /// Its main process, where there is one.
        process: Option<Process>,
        /// Since when.
        since: Option<Timestamp>,
        /// Lines of its output that were not kept.
        dropped_lines: u64,
        /// What people should know.
        note: Option<String>,
    },
    /// It runs, and nobody looks after it.
    Unkept {
        /// Its main process, where it lives.
        process: Option<Process>,
    },
    /// On its way, as the word says: `starting`, `stopping`.
    Moving(&'static str),
    /// Nothing of it runs.
    Down {
        /// Names the run that ended; `None` = there was none.
        run: Option<String>,
        /// How it ended; `None` = nobody saw.
        exit: Option<Exit>,
    },
    /// Nothing of it runs, by somebody's wish.
    Rest(String),
    /// Nobody can say; the text is for people.
    Unknown(String),
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// When.
    pub at: Timestamp,
    /// Its exit code, when it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// It was told to end.
    pub asked: bool,
    /// Why it could not be begun, or was not seen.
    pub error: Option<String>,
}

impl Exit {
    /// For people.
    pub fn describe(&self) -> String {
        let how = match (self.code, self.signal, &self.error) {
            (_, _, Some(error)) => error.clone(),
            (Some(code), _, None) => format!("exit code {code}"),
            (None, Some(signal), None) => format!("signal {signal}"),
            (None, None, None) => "nobody saw how".to_owned(),
        };
        if self.asked { format!("{how}, as asked") } else { how }
    }
}

/// Every word of [`Report::state`].
pub const STATES: [&str; 8] = ["running", "unkept", "starting", "stopping", "down", "stopped", "crash-loop", "unknown"];

/// What `bellrock status` shows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// `process` or `unit`.
    pub kind: String,
    /// `running`, `unkept`, `starting`, `stopping`, `down`, `stopped`, `crash-loop` or `unknown`.
    pub state: String,
    /// Of its main process.
    pub pid: Option<u32>,
    /// Since when it runs.
    pub since: Option<Timestamp>,
    /// How often it was started again after an end that nobody had asked for.
    pub restarts: u64,
    /// How the last run ended.
    pub last_exit: Option<Exit>,
    /// When it is begun next.
    pub next_start: Option<Timestamp>,
    /// Lines of its output that were not kept.
    pub dropped_lines: u64,
    /// What people should know.
    pub note: Option<String>,
}

/// Where what is looked after is on record.
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("orchestrator")
}

/// An orchestrator that is looked after.
pub struct Supervised<C> {
    endpoint: Arc<Endpoint>,
    charge: C,
    budget: Budget,
    own: String,
    /// Names this boot of the host; empty where the kernel does not.
    boot: String,
    memory: Mutex<Memory>,
    /// Begun and ended by one at a time.
    hand: tokio::sync::Mutex<()>,
    woken: Notify,
    clock: Arc<dyn Clock>,
    report: watch::Sender<Option<Report>>,
}

impl<C: Charge> Supervised<C> {
    /// `folder` is where its memory lives; `own` seeds the jitter; `report` is what `status` shows. Does nothing before [`Supervised::run`].
    pub fn new(
        endpoint: Arc<Endpoint>,
        charge: C,
        budget: Budget,
        folder: PathBuf,
        own: &str,
        clock: Arc<dyn Clock>,
        report: watch::Sender<Option<Report>>,
    ) -> Self {
        let memory = Memory::open(folder);
        if let Some(trouble) = &memory.trouble {
            error!(trouble, "what was wished of the orchestrator cannot be read; it is not started (runbooks/orchestrator-record.md)");
        }
        let (hand, woken) = (tokio::sync::Mutex::new(()), Notify::new());
        // An agent without it does not start at all.
        let boot = boot::id().unwrap_or_default();
        Self { endpoint, charge, budget, own: own.to_owned(), boot, memory: Mutex::new(memory), hand, woken, clock, report }
    }

    /// Looks after it until `stop`; then leaves it as it is. A change of `again` tries at once what waits.
    pub async fn run(&self, stop: CancellationToken, mut again: watch::Receiver<u64>) {
        let (mut at_once, mut taken_up) = (false, None::<Duration>);
        loop {
            let seen = self.look().await;
            let stand = self.meant(&seen);
            let now = self.clock.now();
            let next = self.next(&stand, now.wall, at_once);
            self.publish(&stand, next, now.wall);
            let pause = match (&stand, next) {
                (Stand::Unkept { .. }, _) if taken_up.is_none_or(|last| now.mono - last >= TAKE_UP_EVERY) => {
                    warn!("the orchestrator runs and its keeper is gone; it is taken up as it is (runbooks/orchestrator-keeper.md)");
                    taken_up = Some(now.mono);
                    self.told(self.charge.begin().await);
                    continue;
                }
                (Stand::Unkept { .. }, _) => TAKE_UP_EVERY,
                (Stand::Down { .. }, Some(Next::Now)) => {
                    at_once = false;
                    self.begin().await;
                    continue;
                }
                (Stand::Down { .. }, Some(Next::Wait(wait) | Next::Held(wait))) => wait,
                (Stand::Unknown(_), _) => LOOK_AGAIN,
                (Stand::Up { .. } | Stand::Moving(_) | Stand::Down { .. } | Stand::Rest(_), _) => LOOK_EVERY,
            };
            // All arms only wait, and what they wait for is looked at anew.
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.charge.news(&seen) => {}
                () = self.woken.notified() => at_once = true,
                Ok(()) = again.changed() => at_once = true,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks, and remembers what was seen.
    async fn look(&self) -> Stand {
        // What is seen while somebody stops it says nothing of what comes after.
        let alone = self.hand.try_lock();
        let stand = self.charge.look().await;
        self.note(&stand);
        if alone.is_ok() && matches!(stand, Stand::Up { .. }) {
            self.memory().seen_up(&self.boot);
        }
        stand
    }

    /// What rests because we stopped it is down; what ran since the host started and is forgotten was stopped by somebody else.
    fn meant(&self, seen: &Stand) -> Stand {
        let memory = self.memory();
        match seen {
            Stand::Rest(_) if memory.stopped_by_us() => Stand::Down { run: None, exit: None },
            Stand::Down { run: None, .. } if self.charge.forgets() && memory.ran_in(&self.boot) && !memory.stopped_by_us() => {
                Stand::Rest("it ran, and somebody stopped it, or it ended by itself; it is left so".to_owned())
            }
            seen => seen.clone(),
        }
    }

    /// What comes next of one that is down; `None` = nothing, it shall not run.
    fn next(&self, stand: &Stand, now: Timestamp, at_once: bool) -> Option<Next> {
        let memory = self.memory();
        if !matches!(stand, Stand::Down { .. }) || !memory.wanted() {
            return None;
        }
        let jitter = seed::of(&format!("{} {}", self.own, memory.starts().len())) % 1000;
        Some(if at_once { Next::Now } else { self.budget.next(memory.starts(), now, jitter) })
    }

    async fn begin(&self) {
        let _one = self.hand.lock().await;
        // A stop may have come first.
        if !self.memory().wanted() {
            return;
        }
        self.memory().started(self.clock.now().wall);
        info!(kind = self.charge.kind(), "the orchestrator is started");
        self.told(self.charge.begin().await);
    }

    fn told(&self, done: Result<(), Error>) {
        if let Err(error) = done {
            error!(%error, "the orchestrator could not be started (runbooks/orchestrator-keeper.md)");
        }
    }

    /// Remembers how a run ended, once.
    fn note(&self, stand: &Stand) {
        let Stand::Down { run: Some(run), exit } = stand else { return };
        let unseen = || Exit { at: self.clock.now().wall, ..Exit::default() };
        let exit = exit.clone().unwrap_or_else(unseen);
        if !self.memory().ended(run, exit.clone()) {
            return;
        }
        let how = exit.describe();
        if exit.asked {
            info!(how, "the orchestrator ended");
        } else {
            warn!(how, "the orchestrator ended, and nobody had asked it to");
        }
    }

    fn publish(&self, stand: &Stand, next: Option<Next>, now: Timestamp) {
        let memory = self.memory();
        let mut report = Report {
            kind: self.charge.kind().to_owned(),
            restarts: memory.restarts(),
            last_exit: memory.last_exit().cloned(),
            note: memory.trouble.clone(),
            ..Report::default()
        };
        drop(memory);
        report.state = match stand {
            Stand::Up { process, since, dropped_lines, note } => {
                (report.pid, report.since, report.dropped_lines) = (process.map(|p| p.pid), *since, *dropped_lines);
                report.note = note.clone().or(report.note);
                "running"
            }
            Stand::Unkept { process } => {
                report.pid = process.map(|p| p.pid);
                "unkept"
            }
            Stand::Moving(word) => word,
            Stand::Down { .. } => match next {
                None => "stopped",
                Some(Next::Now) => "down",
                Some(Next::Wait(wait)) => {
                    report.next_start = Some(now.plus(wait));
                    "down"
                }
                Some(Next::Held(wait)) => {
                    report.next_start = Some(now.plus(wait));
                    "crash-loop"
                }
            },
            Stand::Rest(why) => {
                report.note = Some(why.clone());
                "stopped"
            }
            Stand::Unknown(why) => {
                report.note = Some(why.clone());
                "unknown"
            }
        }
        .to_owned();
        let before = self.report.send_replace(Some(report.clone()));
        let moved = before.as_ref().is_none_or(|before| (&before.state, before.pid) != (&report.state, report.pid));
        match report.state.as_str() {
            _ if !moved => {}
            "crash-loop" => error!(
                restarts = report.restarts,
                next_start = report.next_start.map(|at| at.to_string()),
                "the orchestrator does not stay up; it is tried again slowly (runbooks/orchestrator-crash-loop.md)"
            ),
            "unknown" => warn!(why = report.note, "nobody can say whether the orchestrator runs (runbooks/orchestrator-keeper.md)"),
            state => info!(state, pid = report.pid, note = report.note, "the orchestrator's process"),
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it, once it is on disk whether it shall run afterwards.
    async fn end(&self, run_again: bool, grace: Duration) -> Result<(), Error> {
        let seen = self.charge.look().await;
        let rests = matches!(self.meant(&seen), Stand::Rest(_));
        // One that rests was stopped by whoever it was before.
        let wished = if rests { self.memory().wish(run_again) } else { self.memory().wish_and_stop(run_again) };
        wished.map_err(unrecorded)?;
        self.charge.end(grace).await
    }
}

fn unrecorded(error: std::io::Error) -> Error {
    Error::Refused(format!("the wish cannot be recorded, so nothing was done: {error}"))
}

#[async_trait]
impl<C: Charge> Orchestrator for Supervised<C> {
    async fn activity(&self) -> Sample {
        self.endpoint.activity().await
    }

    async fn intake(&self) -> Intake {
        self.endpoint.intake().await
    }

    async fn set_intake(&self, open: bool) -> Result<(), Error> {
        self.endpoint.set_intake(open).await
    }

    async fn stop(&self, grace: Duration) -> Result<(), Error> {
        let _one = self.hand.lock().await;
        self.end(false, grace).await
    }

    /// It is wanted all the while, so that a stop that fails, or an agent that falls in the middle, does not leave it stopped.
    async fn restart(&self, grace: Duration) -> Result<(), Error> {
        let _one = self.hand.lock().await;
        let ended = self.end(true, grace).await;
        self.woken.notify_one();
        ended
    }

    async fn start(&self) -> Result<(), Error> {
        let _one = self.hand.lock().await;
        self.memory().wish(true).map_err(unrecorded)?;
        self.woken.notify_one();
        Ok(())
    }

    fn abilities(&self) -> Abilities {
        Abilities { stop: true, start: true, ..self.endpoint.abilities() }
    }
}

#[cfg(test)]
mod tests;
