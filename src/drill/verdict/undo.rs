//! What the undoing of a rollback promises: all as it was found, and nobody ended who was there.

use std::time::Duration;

use super::Judge;
use super::ledger::find;
use super::ledger::secs;
use crate::cloud::sim::SimTime;
use crate::cloud::sim::Termination;
use crate::cloud::sim::Why;
use crate::model::CAPACITY_TAG;
use crate::model::Capacity;
use crate::model::GENERATION_TAG;
use crate::model::Group;
use crate::model::HOLD_TAG;
use crate::model::Process;
use crate::model::RECORD_TAG;
use crate::model::recorded_by_agents;

/// Auto Scaling acts on what an undoing has left within this of its end.
const ACTS_WITHIN: Duration = Duration::from_secs(15);

impl Judge<'_> {
    /// What was taken back before the switch is as it was found, field by field; after it the newest has what it had.
    pub(super) fn wrong_when_undone(&self) -> Option<String> {
        let run = self.after.rollback.as_ref()?;
        let undone = run.undone.as_ref().filter(|undone| !undone.after.is_empty())?;
        let agents = |group: &Group| self.resizes().any(|(c, _)| c.group == group.name && c.by.starts_with("agent:") && c.at >= run.from);
        let tags =
            |g: &Group| g.tags.iter().filter(|(key, _)| *key != GENERATION_TAG).map(|(k, v)| (k.clone(), v.clone())).collect::<Vec<_>>();
        // What somebody else suspends in its last moments stands.
        let theirs = |process: &&Process| undone.meddled && **process == Process::HealthCheck;
        let suspended = |g: &Group| g.suspended.keys().filter(|p| !theirs(p)).cloned().collect::<Vec<_>>();
        for cluster in &self.play.clusters {
            for (name, is_new) in [(&cluster.old.name, false), (&cluster.new.name, true)] {
                let (before, after) = (find(&run.before, name)?, find(&undone.after, name)?);
                if after.tags.contains_key(HOLD_TAG) || after.tags.contains_key(RECORD_TAG) {
                    return Some(format!("{name} is held after it was undone: {:?}", after.tags));
                }
                if undone.switched.iter().any(|group| group.as_str() == cluster.new.name) {
                    let wanted = if cluster.polling { Capacity { min: 1, max: 1, desired: 1 } } else { before.capacity };
                    let wrong = is_new && after.capacity != wanted;
                    if wrong {
                        return Some(format!("{name} was undone to {}, it had {}", after.capacity, before.capacity));
                    }
                    continue;
                }
                let sizes = after.capacity == before.capacity || agents(before);
                // An agent may have written down what its group has, just before it was held or just after.
                let noted = !before.tags.contains_key(CAPACITY_TAG) && recorded_by_agents(&after.tags).is_some();
                let ours = |(key, _): &(String, String)| !(noted && key == CAPACITY_TAG);
                let same_tags = tags(after).into_iter().filter(ours).eq(tags(before));
                if !sizes || suspended(after) != suspended(before) || !same_tags {
                    let shape = |g: &Group| (g.capacity.to_string(), g.suspended.keys().cloned().collect::<Vec<_>>(), tags(g));
                    return Some(format!("{name} was undone to {:?}, it had {:?}", shape(after), shape(before)));
                }
            }
        }
        None
    }

    /// While a rollback is taken back it goes the other way.
    pub(super) fn is_undoing(&self, at: SimTime) -> bool {
        let undone = self.after.rollback.as_ref().and_then(|run| run.undone.as_ref());
        undone.is_some_and(|undone| undone.from <= at && (at <= undone.to || undone.after.is_empty()))
    }

    /// Before the switch an undoing ends what was added: nobody who was there when the rollback was first typed, with work or without (F25).
    pub(super) fn lost_to_undoing(&self) -> Option<String> {
        let run = self.after.rollback.as_ref()?;
        let undone = run.undone.as_ref()?;
        let until = if undone.after.is_empty() { self.after.length } else { undone.to + ACTS_WITHIN };
        let by_aws = |t: &&Termination| t.why == Why::ScaleIn && undone.from <= t.at && t.at <= until;
        let put_back = self.play.clusters.iter().filter(|c| !undone.switched.iter().any(|group| group.as_str() == c.new.name));
        let there: Vec<&Group> = put_back.filter_map(|c| find(&run.before, &c.old.name)).collect();
        let end = self.after.truth.terminations.iter().filter(by_aws).find(|t| there.iter().any(|g| g.instance(&t.instance).is_some()))?;
        let (id, work) = (&end.instance, end.executing.len());
        Some(format!("{id} was there before, and was ended at {} because of an undoing, with {work} executions under way", secs(end.at)))
    }

    /// Nobody else protects anybody in a play.
    pub(super) fn s16(&self) -> Option<String> {
        let run = self.after.rollback.as_ref()?;
        let undone = run.undone.as_ref().map(|undone| undone.after.as_slice()).unwrap_or_default();
        let ended = if self.is_done() { self.after.groups.as_slice() } else { &[] };
        let left = undone.iter().chain(ended).flat_map(|g| &g.instances).find(|i| i.protected)?;
        Some(format!("{} of {} is still protected from scale-in", left.id, left.group))
    }
}
