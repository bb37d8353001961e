//! What the agents owe an instance that AWS ends by itself.

use std::time::Duration;

use super::Judge;
use super::ledger::secs;
use crate::cloud::sim::IntakeChange;
use crate::cloud::sim::Outcome;
use crate::cloud::sim::RunEnd;
use crate::cloud::sim::SimTime;
use crate::cloud::sim::Termination;
use crate::cloud::sim::Why;
use crate::model::InstanceId;
use crate::model::LifecycleState;

/// A spot notice comes so long before the end.
const NOTICE: Duration = Duration::from_secs(120);
/// A look, an order, and the work that was being claimed meanwhile.
const ORDERED_WITHIN: Duration = Duration::from_secs(3);
/// A switch that did not answer, or did not obey, is told again within this.
const TOLD_AGAIN: Duration = Duration::from_secs(10);

impl Judge<'_> {
    /// AWS answers a hook's CONTINUE by ending the machine at once.
    pub(super) fn s10(&self) -> Option<String> {
        let answers = self.agent_calls().filter(|(call, _)| call.action == "CompleteLifecycleAction" && call.outcome == Outcome::Applied);
        for (call, id) in answers {
            if let Some(under_way) = self.under_way(&id, call.at) {
                return Some(format!("{id} answered its hook at {} with {under_way} under way", secs(call.at)));
            }
        }
        None
    }

    /// AWS waited for as long as there was work: none was cut off by an end that a hook could delay.
    pub(super) fn l5(&self) -> Option<String> {
        let delayed = |t: &&Termination| matches!(t.why, Why::ScaleIn | Why::Refresh | Why::Rebalance);
        for end in self.after.truth.terminations.iter().filter(delayed) {
            let Some(stopped) = end.stopped else { continue };
            if let Some(lost) = end.lost.first() {
                return Some(format!("{} was ended by AWS at {} with execution {lost} on it", end.instance, secs(stopped)));
            }
            if let Some(cut) = self.cut_off(&end.instance, stopped) {
                return Some(format!("{} was ended by AWS at {} with {cut} under way", end.instance, secs(stopped)));
            }
        }
        None
    }

    /// Of an instance that AWS takes back: no work from a poll after the notice on. An orchestrator that comes up later, its
    /// intake open, may take some until it is told again.
    pub(super) fn f41(&self) -> Option<String> {
        let bound = self.policy.metadata_every.mul_f64(1.25) + ORDERED_WITHIN;
        for end in self.after.truth.terminations.iter().filter(|t| t.why == Why::Spot) {
            let closed = end.at.saturating_sub(NOTICE) + bound;
            if let Some((what, at)) = self.begun_after(&end.instance, closed) {
                return Some(format!(
                    "{} began {what} at {}, and its end was announced at {}",
                    end.instance,
                    secs(at),
                    secs(end.at - NOTICE)
                ));
            }
        }
        None
    }

    /// Whom an agent protected from scale-in is so no more when it is idle.
    pub(super) fn s16_of_agents(&self) -> Option<String> {
        for group in &self.after.groups {
            let kept = group.instances.iter().find(|i| {
                i.protected && i.state == LifecycleState::InService && self.after.executing.get(&i.id).is_some_and(Vec::is_empty)
            });
            if let Some(kept) = kept {
                return Some(format!("{} of {} is protected, and idle", kept.id, group.name));
            }
        }
        None
    }

    /// Work on an instance at a time, what was cut off then included.
    fn under_way(&self, id: &InstanceId, at: SimTime) -> Option<String> {
        let runs = self.after.truth.executions.iter().flat_map(|e| e.runs.iter().map(move |run| (e.id, run)));
        let run = runs.into_iter().find(|(_, run)| {
            let cut = run.ended == Some(at) && run.end == Some(RunEnd::Lost);
            &run.instance == id && run.claimed <= at && (cut || run.ended.is_none_or(|ended| ended > at))
        });
        run.map(|(execution, _)| format!("execution {execution}")).or_else(|| {
            let ledger = &self.after.remains.as_ref()?.ledger;
            ledger.iter().find(|e| &e.on == id && (e.is_under_way(at) || e.cut == Some(at))).map(|e| e.key.to_string())
        })
    }

    fn cut_off(&self, id: &InstanceId, at: SimTime) -> Option<String> {
        self.after.remains.as_ref()?.ledger.iter().find(|e| &e.on == id && e.cut == Some(at)).map(|e| e.key.to_string())
    }

    fn begun_after(&self, id: &InstanceId, from: SimTime) -> Option<(String, SimTime)> {
        let runs = self.after.truth.executions.iter().flat_map(|e| e.runs.iter().map(move |run| (e.id, run)));
        let run = runs.into_iter().find(|(_, run)| &run.instance == id && run.claimed > from && !self.just_came_up(id, run.claimed));
        let effects =
            || self.after.remains.as_ref()?.ledger.iter().find(|e| &e.on == id && e.begun > from).map(|e| (e.key.to_string(), e.begun));
        run.map(|(execution, run)| (format!("execution {execution}"), run.claimed)).or_else(effects)
    }
    /// An orchestrator's process began with its intake open, and nobody had the time to close it.
    fn just_came_up(&self, id: &InstanceId, at: SimTime) -> bool {
        let changes = || self.after.truth.intake.iter().filter(|change| &change.instance == id);
        let first =
            |change: &IntakeChange| changes().find(|other| other.generation == change.generation).is_some_and(|other| other == change);
        changes().any(|change| change.open && first(change) && change.at <= at && at <= change.at + TOLD_AGAIN + ORDERED_WITHIN)
    }
}
