//! The end of a drain: one terminate call, its outcome, and what AWS does with it.
//!
//! What must stay true: a call of unknown outcome is settled by reads, over the staleness bound, before anything else is done (S4, F21);
//! an end that AWS accepted is followed and never asked for again; what was accepted and does not happen is held for a person (F33).

use std::time::Duration;

use crate::model::LifecycleState;
use crate::model::Moment;

use super::action::Deed;
use super::drain::Step;
use super::hook;
use super::justify;
use super::justify::Justification;
use super::observation::Fault;
use super::observation::FaultKind;
use super::observation::OwnRead;
use super::observation::Receipt;
use super::observation::TaskRead;
use super::policy::MinSize;
use super::schedule::followed_task;
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
/// Spinnaker's task is not to be read for so long: then what is read of AWS counts alone.
const TASK_SILENT: Duration = Duration::from_secs(300);
/// Between two orders to call a task off.
const CANCEL_AGAIN: Duration = Duration::from_secs(10);

impl Step<'_> {
    pub(super) fn terminate(&mut self) {
        if !self.may_act() {
            return;
        }
        if self.is_doomed() {
            match hook::waited_for(self.state, self.policy).map(str::to_owned) {
                Some(hook) => self.answer_hook(hook),
                None => self.ending_by_itself(),
            }
            return;
        }
        let stopped = self.is_stopped();
        let drain = self.state.durable.drain.as_ref().map(|d| d.started).unwrap_or_default();
        let lower_min = self.is_superseded() && self.policy.min_size == MinSize::Lower;
        self.set_progress(Progress::Intent { at: self.now.wall, stopped });
        let others = self.reads().and_then(|(_, groups)| groups.iter().find(|g| Some(&g.name) == self.state.group_name.as_ref()));
        let others = others.map_or(0, |group| justify::others(self.policy, self.is_superseded(), group));
        // A scale-in that met protected members left more of them than are wanted: nobody comes in their place.
        let surplus = self.state.group.as_ref().is_some_and(|(_, group)| group.capacity.desired == 0);
        let decrement = !surplus && !matches!(self.reason(), Some(Reason::Unhealthy { .. }));
        let others = if decrement { others } else { 0 };
        self.deed(Deed::TerminateOwn { decrement, drain, lower_min, others });
        self.enter(Phase::Terminating);
    }

    pub(super) fn terminated(&mut self, result: Result<Receipt, Fault>) {
        match result {
            Ok(Receipt::Task(task)) => self.accepted(task, true),
            Ok(Receipt::Activity(activity)) => self.accepted(activity, false),
            Ok(Receipt::Done | Receipt::Permit(_)) => self.accepted(String::new(), false),
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
        self.hook_seen(read.entry.as_ref().map(|entry| &entry.state));
        match self.state.phase {
            Phase::Ending { absent, alive } => self.follow(absent, alive, read),
            Phase::Uncertain { .. } => self.settle(asked, read),
            Phase::Gone if read.entry.is_some_and(|e| e.state != LifecycleState::Terminated) => {
                self.enter(Phase::Ending { absent: 0, alive: 0 });
            }
            _ => {}
        }
    }

    fn follow(&mut self, absent: u32, alive: u32, read: OwnRead) {
        let Some(Progress::Accepted { reference, task, .. }) = self.progress() else { return };
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
        if entry.state == LifecycleState::TerminatingRetained {
            self.hold(HeldWhy::Retained, "AWS keeps the instance out of the group, with the work on it; somebody has to end it".to_owned());
            return;
        }
        if entry.state.is_ending() {
            self.state.phase = Phase::Ending { absent: 0, alive: 0 };
            let ours = entry.state == LifecycleState::TerminatingWait && !self.is_doomed();
            if ours && self.end_came_to_nothing() {
                self.overrule(Reason::TargetTerminated);
            } else if ours {
                self.release();
            }
            return;
        }
        let failed = ending.filter(|a| a.failed && (reference.is_empty() || task || a.id == reference));
        // Spinnaker ends us when it gets to it; until its task has ended, or nobody can tell any more, life proves nothing.
        let silent = self.now.since(self.state.task_read.unwrap_or(self.state.since)) >= TASK_SILENT;
        let alive = if task && !self.state.task_ended && !silent { 0 } else { alive + 1 };
        if let Some(failed) = failed.filter(|_| alive >= ALIVE_READS) {
            self.hold(HeldWhy::EndingFailed, failed.text);
        } else if alive >= STILL_ALIVE_READS {
            self.hold(HeldWhy::EndingFailed, format!("the end was accepted, and the instance is {} all the same", entry.state));
        } else {
            self.state.phase = Phase::Ending { absent: 0, alive };
        }
    }

    /// AWS accepted our end and did not carry it out. It is over then: what came back since may have work, and another end is drained for anew.
    pub(super) fn end_came_to_nothing(&self) -> bool {
        self.state.held_before == Some(HeldWhy::EndingFailed)
    }

    /// Reads from `from` on can tell what came of a terminate call.
    fn settle(&mut self, asked: Moment, read: OwnRead) {
        let Phase::Uncertain { from, alive_reads, absent_reads, .. } = &mut self.state.phase else { return };
        let activity = read.ending.filter(|a| !a.failed).map(|a| a.id);
        match &read.entry {
            None => *absent_reads += 1,
            Some(_) => *absent_reads = 0,
        }
        let over = *absent_reads >= ABSENT_READS || read.entry.as_ref().is_some_and(|e| e.state.is_ending());
        if over || activity.is_some() {
            self.accepted(activity.unwrap_or_default(), false);
            return;
        }
        if read.entry.is_some() && asked.mono >= from.mono {
            *alive_reads += 1;
        }
        self.settled();
    }

    /// A search for a task in Spinnaker that ends us. One whose submission was lost may be queued for long: nothing is called off before a search has
    /// shown that there is none (F21).
    pub(super) fn own_task(&mut self, asked: Moment, task: Option<String>) {
        let Phase::Uncertain { from, searched, .. } = &mut self.state.phase else { return };
        match task {
            Some(task) => self.accepted(task, true),
            None => {
                *searched |= asked.mono >= from.mono;
                self.settled();
            }
        }
    }

    /// The terminate call came to nothing, once all that could contradict it has been read.
    fn settled(&mut self) {
        if let Phase::Uncertain { alive_reads, searched: true, .. } = self.state.phase
            && alive_reads >= ALIVE_READS
        {
            self.not_sent();
            self.again("the terminate call was not carried out".to_owned());
        }
    }

    /// A task is no terminate call yet: what would have stopped the drain before it was submitted calls it off (S1, S11). The drain follows once
    /// the task reads back as ended; until then the instance may be ended at any moment, and takes no work.
    pub(super) fn watch_the_task(&mut self) {
        let Some(task) = followed_task(self.state).map(str::to_owned) else { return };
        let why = match self.justification() {
            Some(Justification::Cancel(why) | Justification::Hold(HeldWhy::Rollback, why)) => why,
            Some(Justification::Anew) => "a rollback came and went".to_owned(),
            Some(
                Justification::Go
                | Justification::LowerMin { .. }
                | Justification::Wait { .. }
                | Justification::Hold(..)
                | Justification::Ending
                | Justification::NoAnswer(_),
            )
            | None => return,
        };
        if self.may_act() && self.state.ordered.is_none_or(|at| self.now.since(at) >= CANCEL_AGAIN) {
            self.state.finding = Some(format!("Spinnaker's task {task} is called off: {why}"));
            self.deed(Deed::CancelTask { task });
        }
    }

    pub(super) fn task(&mut self, asked: Moment, task: TaskRead) {
        if !matches!(self.state.phase, Phase::Ending { .. }) {
            return;
        }
        self.state.task_read = Some(asked);
        match task {
            TaskRead::Running => {}
            TaskRead::Succeeded => self.state.task_ended = true,
            TaskRead::Failed(why) => {
                self.state.deed_fault = Some(format!("Spinnaker's task: {why}"));
                self.set_progress(Progress::Intent { at: self.now.wall, stopped: self.is_stopped() });
                self.uncertain();
            }
        }
    }

    /// AWS ends the instance without our asking: nothing more is asked of it (F33).
    pub(super) fn ending_by_itself(&mut self) {
        // The describe was quicker than the metadata: AWS may wait for our hook, and there may be work.
        let drains = matches!(self.progress(), Some(Progress::Draining | Progress::Stopping | Progress::Stopped));
        if drains && !self.is_doomed() && self.policy.hooks.terminating.is_some() {
            self.overrule(Reason::TargetTerminated);
            return;
        }
        if matches!(self.progress(), Some(Progress::Draining | Progress::Stopping | Progress::Stopped | Progress::Intent { .. })) {
            self.accepted(String::new(), false);
        }
    }

    /// AWS does not mean to end the instance any more (F18).
    pub(super) fn is_spared(&mut self, why: String) {
        let alive = matches!(self.state.phase, Phase::Ending { alive, .. } if alive >= ALIVE_READS);
        match self.progress() {
            Some(Progress::Draining | Progress::Stopping | Progress::Stopped) => self.cancel(why),
            Some(Progress::Accepted { reference, .. }) if reference.is_empty() && alive => self.cancel_whatever(why),
            Some(Progress::Accepted { .. } | Progress::Intent { .. } | Progress::Cancelled { .. }) | None => {}
        }
    }

    pub(super) fn uncertain(&mut self) {
        self.enter(Phase::uncertain(self.policy, self.now));
    }

    /// A terminate call that was intended did nothing: the drain stands where it stood before.
    pub(super) fn not_sent(&mut self) {
        if let Some(Progress::Intent { stopped, .. }) = self.progress() {
            self.set_progress(if stopped { Progress::Stopped } else { Progress::Draining });
        }
    }

    fn accepted(&mut self, reference: String, task: bool) {
        (self.state.task_ended, self.state.task_read, self.state.held_before) = (false, None, None);
        self.set_progress(Progress::Accepted { reference, task, stopped: self.is_stopped() });
        self.enter(Phase::Ending { absent: 0, alive: 0 });
    }
}
