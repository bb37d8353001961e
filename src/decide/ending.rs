//! The end of a drain: one terminate call, its outcome, and what AWS does with it.
//!
//! What must stay true: a call of unknown outcome is settled by reads, over the staleness bound, before anything else is done (S4, F21);
//! an end that AWS accepted is followed and never asked for again; what was accepted and does not happen is held for a person (F33).

use std::time::Duration;

use crate::model::LifecycleState;
use crate::model::Moment;

use super::action::Deed;
use super::drain::Step;
use super::justify;
use super::observation::Fault;
use super::observation::FaultKind;
use super::observation::OwnRead;
use super::observation::Receipt;
use super::observation::TaskRead;
use super::policy::MinSize;
use super::state::HeldWhy;
use super::state::Phase;
use super::state::Progress;
use super::state::Reason;

/// Between reads of our own entry while AWS ends us.
pub const FOLLOW_EVERY: Duration = Duration::from_secs(10);
/// Between reads of our own entry once it was gone: a host that comes back, from a warm pool or by mistake, is noticed (F19).
pub const GONE_EVERY: Duration = Duration::from_secs(60);
/// Reads in a row that must show us alive before a terminate call of unknown outcome counts as not done.
const ALIVE_READS: u32 = 2;
/// Reads in a row without us before we count as gone: one absence proves nothing (F15).
const ABSENT_READS: u32 = 2;
/// Reads in a row that show us in service although our end was accepted, before a person is asked: five minutes.
pub const STILL_ALIVE_READS: u32 = 30;

impl Step<'_> {
    pub(super) fn terminate(&mut self) {
        if matches!(self.reason(), Some(Reason::TargetTerminated)) {
            self.ending_by_itself();
            return;
        }
        if !self.may_act() {
            return;
        }
        let stopped = matches!(self.progress(), Some(Progress::Stopped));
        let drain = self.state.durable.drain.as_ref().map(|d| d.started).unwrap_or_default();
        let lower_min = self.is_superseded() && self.policy.min_size == MinSize::Lower;
        self.set_progress(Progress::Intent { at: self.now.wall, stopped });
        self.deed(Deed::TerminateOwn { drain, lower_min });
        self.enter(Phase::Terminating);
    }

    pub(super) fn terminated(&mut self, result: Result<Receipt, Fault>) {
        match result {
            Ok(Receipt::Task(task)) => self.accepted(task, true),
            Ok(Receipt::Activity(activity)) => self.accepted(activity, false),
            Ok(Receipt::Done) => self.accepted(String::new(), false),
            Err(fault) if fault.what == FaultKind::OutcomeUnknown => self.uncertain(),
            Err(fault) => {
                self.not_sent();
                let suspended = self.state.group.as_ref().is_some_and(|(_, g)| justify::terminate_suspended(g));
                let refused = if fault.text.to_ascii_lowercase().contains("min size") {
                    HeldWhy::MinSize
                } else if suspended {
                    HeldWhy::TerminateSuspended
                } else {
                    HeldWhy::TerminateRefused
                };
                self.failed(fault, refused);
            }
        }
    }

    pub(super) fn own(&mut self, asked: Moment, read: OwnRead) {
        if let Some(entry) = &read.entry {
            self.state.group_name = Some(entry.group.clone());
        }
        match self.state.phase {
            Phase::Ending { absent, alive } => self.follow(absent, alive, read),
            Phase::Uncertain { from, alive_reads } => self.settle(asked, from, alive_reads, read),
            Phase::Gone if read.entry.is_some_and(|e| e.state != LifecycleState::Terminated) => {
                self.enter(Phase::Ending { absent: 0, alive: 0 });
            }
            _ => {}
        }
    }

    fn follow(&mut self, absent: u32, alive: u32, read: OwnRead) {
        let Some(Progress::Accepted { reference, task }) = self.progress() else { return };
        let OwnRead { entry, ending } = read;
        self.state.finding = Some(
            [entry.as_ref().map(|e| e.state.to_string()), ending.as_ref().map(|a| a.text.clone())]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("; "),
        );
        let Some(entry) = entry else {
            let absent = absent + 1;
            self.state.phase = if absent >= ABSENT_READS { Phase::Gone } else { Phase::Ending { absent, alive } };
            return;
        };
        if entry.state == LifecycleState::Terminated {
            self.enter(Phase::Gone);
            return;
        }
        if entry.state.is_ending() {
            self.state.phase = Phase::Ending { absent: 0, alive: 0 };
            return;
        }
        let failed = ending.filter(|a| a.failed && (reference.is_empty() || task || a.id == reference));
        // Spinnaker ends us when it gets to it; until its task has ended, life proves nothing.
        let alive = if task && !self.state.task_ended { 0 } else { alive + 1 };
        if let Some(failed) = failed.filter(|_| alive >= ALIVE_READS) {
            self.hold(HeldWhy::EndingFailed, failed.text);
        } else if alive >= STILL_ALIVE_READS {
            self.hold(HeldWhy::EndingFailed, format!("the end was accepted, and the instance is {} all the same", entry.state));
        } else {
            self.state.phase = Phase::Ending { absent: 0, alive };
        }
    }

    /// Reads from `from` on can tell what came of a terminate call.
    fn settle(&mut self, asked: Moment, from: Moment, alive_reads: u32, read: OwnRead) {
        let over = read.entry.as_ref().is_none_or(|e| e.state.is_ending());
        let activity = read.ending.filter(|a| !a.failed).map(|a| a.id);
        if over || activity.is_some() {
            self.accepted(activity.unwrap_or_default(), false);
        } else if asked.mono >= from.mono && alive_reads + 1 < ALIVE_READS {
            self.state.phase = Phase::Uncertain { from, alive_reads: alive_reads + 1 };
        } else if asked.mono >= from.mono {
            self.not_sent();
            self.again("the terminate call was not carried out".to_owned());
        }
    }

    pub(super) fn task(&mut self, task: TaskRead) {
        if !matches!(self.state.phase, Phase::Ending { .. }) {
            return;
        }
        match task {
            TaskRead::Running => {}
            TaskRead::Succeeded => self.state.task_ended = true,
            TaskRead::Failed(why) => {
                self.state.deed_fault = Some(format!("Spinnaker's task: {why}"));
                self.set_progress(Progress::Intent { at: self.now.wall, stopped: false });
                self.uncertain();
            }
        }
    }

    /// AWS ends the instance without our asking: nothing more is asked of it (F33).
    pub(super) fn ending_by_itself(&mut self) {
        if matches!(self.progress(), Some(Progress::Draining | Progress::Stopping | Progress::Stopped | Progress::Intent { .. })) {
            self.accepted(String::new(), false);
        }
    }

    /// The target lifecycle state is not Terminated any more (F18).
    pub(super) fn target_is_back(&mut self) {
        let alive = matches!(self.state.phase, Phase::Ending { alive, .. } if alive >= ALIVE_READS);
        match self.progress() {
            Some(Progress::Draining | Progress::Stopping | Progress::Stopped) => {
                self.cancel("the target lifecycle state is InService again".to_owned())
            }
            Some(Progress::Accepted { reference, .. }) if reference.is_empty() && alive => {
                self.cancel_whatever("the target lifecycle state is InService again".to_owned(), self.policy.stop_grace.is_some());
            }
            Some(Progress::Accepted { .. } | Progress::Intent { .. } | Progress::Cancelled { .. }) | None => {}
        }
    }

    pub(super) fn uncertain(&mut self) {
        let from = self.now.plus(justify::settling_of_an_unknown(self.policy));
        self.enter(Phase::Uncertain { from, alive_reads: 0 });
    }

    /// A terminate call that was intended did nothing: the drain stands where it stood before.
    pub(super) fn not_sent(&mut self) {
        if let Some(Progress::Intent { stopped, .. }) = self.progress() {
            self.set_progress(if stopped { Progress::Stopped } else { Progress::Draining });
        }
    }

    fn accepted(&mut self, reference: String, task: bool) {
        self.state.task_ended = false;
        self.set_progress(Progress::Accepted { reference, task });
        self.enter(Phase::Ending { absent: 0, alive: 0 });
    }
}
