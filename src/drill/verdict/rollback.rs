//! What the rollback promises, and what it and the agents owe each other.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use super::Judge;
use super::bound;
use super::ledger::find;
use super::ledger::group_of;
use super::ledger::secs;
use super::ledger::wall;
use crate::cloud::sim::GroupSpec;
use crate::cloud::sim::Outcome as Came;
use crate::cloud::sim::SimTime;
use crate::cloud::sim::Switch;
use crate::drill::scenario::BYSTANDER;
use crate::drill::scenario::Cluster;
use crate::drill::stage::LOOK_EVERY;
use crate::model::CAPACITY_TAG;
use crate::model::Capacity;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::HOLD_TAG;
use crate::model::Hold;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Process;
use crate::model::RECORD_TAG;
use crate::model::capacity_text;
use crate::model::recorded_capacity;
use crate::rollback::Outcome;
use crate::rollback::Refusal;
use crate::rollback::kept;

/// The restored group was seen to serve at most so long before the newest is taken away: two looks that agree, and the calls.
const SEEN_TO_SERVE: Duration = Duration::from_secs(30);
/// An agent that was told to go on takes work again within this: its look at the group, a failed one or two, the switch.
const REOPENED_WITHIN: Duration = Duration::from_secs(200);

impl Judge<'_> {
    pub(super) fn s11(&self) -> Option<String> {
        let held = |group: &GroupName, at: SimTime| Some(self.held_for(group, at)).filter(|held| *held > bound(self.policy));
        for (id, call) in &self.calls {
            let Some(group) = group_of(&call.groups, id) else { continue };
            if Hold::parse(&group.tags).is_ok_and(|hold| hold.is_none_or(|hold| !hold.is_live(wall(call.at)))) {
                continue;
            }
            if let Some(held) = held(&group.name, call.at) {
                return Some(format!("{id} at {}: {} had been held for {} s", secs(call.at), group.name, held.as_secs()));
            }
        }
        for (change, _) in self.resizes().filter(|(c, _)| c.by.starts_with("agent:")) {
            if let Some(held) = held(&change.group, change.at) {
                let (by, group) = (&change.by, &change.group);
                return Some(format!("{by} resized {group} at {}, held for {} s", secs(change.at), held.as_secs()));
            }
        }
        None
    }

    /// Done, by this start or by the one before whose laptop died after the last change.
    pub(super) fn is_done(&self) -> bool {
        match self.after.rollback.as_ref().and_then(|run| run.outcome.as_ref()) {
            Some(Outcome::Done(_)) => true,
            Some(Outcome::Refused(refused)) => matches!(refused.refusals.as_slice(), [Refusal::NothingToDo { .. }]),
            Some(Outcome::Paused(_) | Outcome::Failed(_) | Outcome::Blind(_)) | None => false,
        }
    }

    pub(super) fn s12(&self) -> Option<String> {
        let run = self.after.rollback.as_ref()?;
        let groups = |cluster: &Cluster| {
            let at_end = |name: &str| find(&self.after.groups, name).cloned();
            let before = |name: &str| find(&run.before, name).cloned();
            let (old, new) = (&cluster.old.name, &cluster.new.name);
            // What was undone in between was rolled back anew from what the undoing had left.
            let left = run.undone.as_ref().and_then(|undone| find(&undone.after, new).cloned());
            Some(([at_end(old)?, at_end(new)?], [before(old)?, left.or_else(|| before(new))?]))
        };
        let bystander =
            [&self.after.groups, &run.before].map(|groups| find(groups, BYSTANDER).map(|g| (g.capacity, &g.suspended, &g.tags)));
        if bystander[0] != bystander[1] {
            return Some(format!("{BYSTANDER} was touched: {bystander:?}"));
        }
        if let Some(wrong) = self.wrong_when_undone().or_else(|| self.wrongly_recorded()) {
            return Some(wrong);
        }
        if !self.is_done() {
            return None;
        }
        for cluster in &self.play.clusters {
            let Some(([old, new], before)) = groups(cluster) else { return Some(format!("a group of {} is gone", cluster.name)) };
            if let Some(wrong) = wrong_at_end(cluster, &old, &new, &before, self.may_be_late()).or_else(|| self.wrongly_kept(cluster, &new))
            {
                return Some(wrong);
            }
        }
        None
    }

    /// As many of the newest group as were asked for are there for the post-mortem, and nobody of one that polls.
    fn wrongly_kept(&self, cluster: &Cluster, new: &Group) -> Option<String> {
        let asked = if cluster.polling { 0 } else { self.play.oncall.keep_bad as usize };
        let kept: Vec<&InstanceId> = kept::in_standby(new).map(|i| &i.id).collect();
        (kept.len() != asked).then(|| format!("{}: {kept:?} are kept, and {asked} were to be", new.name))
    }

    /// Agents may record late what a superseded group had: those that crash, or cannot close intake.
    fn may_be_late(&self) -> bool {
        let crashes = self.play.crash_every.is_some() || self.play.crash_at_call > 0.0;
        let version = self.play.region.templates.first().and_then(|template| template.versions.first());
        crashes || version.and_then(|version| version.orchestrator).is_none_or(|orchestrator| orchestrator.switch != Switch::Obeys)
    }

    /// What a superseded group had is on record when somebody comes to restore it (F53), once any of it is gone.
    fn wrongly_recorded(&self) -> Option<String> {
        let run = self.after.rollback.as_ref()?;
        if self.may_be_late() {
            return None;
        }
        let wrong = |cluster: &Cluster| {
            let GroupSpec { name, min, max, desired, .. } = &cluster.old;
            let had = Capacity { min: *min, max: *max, desired: desired.unwrap_or(*min) };
            let before = find(&run.before, name)?;
            let (found, text) = (before.tags.get(CAPACITY_TAG), capacity_text(had, "v024"));
            let is_whole = found.is_none() && before.capacity == had;
            (found != Some(&text) && !is_whole).then(|| format!("{name} had {had} when it was superseded, and its record is {found:?}"))
        };
        self.play.clusters.iter().find_map(wrong)
    }

    pub(super) fn s13(&self) -> Option<String> {
        let run = self.after.rollback.as_ref()?;
        if let Some(lost) = self.lost_to_undoing() {
            return Some(lost);
        }
        for cluster in self.play.clusters.iter().filter(|c| !c.polling) {
            let (old, new) = (GroupName::from(cluster.old.name.as_str()), GroupName::from(cluster.new.name.as_str()));
            for (change, before) in self.resizes().filter(|(c, _)| c.by == "oncall" && !self.is_undoing(c.at)) {
                let lowered = change.capacity.desired < before.desired;
                let serving = |from: SimTime, to: SimTime| {
                    let lately = run.serving.iter().filter(|(at, group, _)| *group == old && *at >= from && *at <= to);
                    lately.map(|(_, _, serving)| *serving).max().unwrap_or(0)
                };
                let alone = find(&run.before, &cluster.old.name).map_or(1, |group| group.capacity.desired.max(1));
                let grows = change.group == old && before.desired <= alone && change.capacity.desired > alone;
                if self.play.oncall.canary && grows && serving(SimTime::ZERO, change.at + LOOK_EVERY) == 0 {
                    let to = change.capacity;
                    return Some(format!("{old} was given {to} at {}, before one of it served", secs(change.at)));
                }
                if lowered && change.group == old {
                    return Some(format!("{old} was scaled down to {} at {}", change.capacity, secs(change.at)));
                }
                let serving = serving(change.at.saturating_sub(SEEN_TO_SERVE), change.at + LOOK_EVERY);
                if lowered && change.group == new && serving < cluster.old.desired.unwrap_or_default() as usize {
                    return Some(format!(
                        "{new} was taken down to {} at {} while {serving} of {old} served",
                        change.capacity,
                        secs(change.at)
                    ));
                }
            }
        }
        None
    }

    /// From the rollback's start on, nobody lets a second instance of a polling cluster take work. An orchestrator that crashes and comes
    /// back with its intake open (F5) is let by nobody.
    pub(super) fn s14(&self) -> Option<String> {
        let run = self.after.rollback.as_ref()?;
        for cluster in self.play.clusters.iter().filter(|c| c.polling) {
            let mut open_now: BTreeSet<&InstanceId> = BTreeSet::new();
            let mut process: BTreeMap<&InstanceId, u32> = BTreeMap::new();
            for change in &self.after.truth.intake {
                if !self.belongs(&change.instance, &cluster.name) {
                    continue;
                }
                let restarted = process.insert(&change.instance, change.generation).is_some_and(|before| before != change.generation);
                if change.open && !restarted {
                    open_now.insert(&change.instance);
                } else {
                    open_now.remove(&change.instance);
                }
                open_now.retain(|id| !self.is_stopped(id, change.at));
                if change.open && !restarted && change.at >= run.from && open_now.len() > 1 {
                    return Some(format!("{open_now:?} poll at once at {}", secs(change.at)));
                }
            }
        }
        None
    }

    /// What serves again takes work again, unless its switch cannot be turned.
    pub(super) fn l3(&self) -> Option<String> {
        let run = self.after.rollback.as_ref().filter(|_| self.is_done())?;
        let orchestrator = self.play.region.templates.first().and_then(|t| t.versions.first()).and_then(|v| v.orchestrator);
        let deaf = orchestrator.is_some_and(|o| matches!(o.switch, Switch::Ignores | Switch::Refuses));
        if deaf || self.after.length - run.to < REOPENED_WITHIN {
            return None;
        }
        for cluster in &self.play.clusters {
            let Some(group) = find(&self.after.groups, &cluster.old.name) else { return Some(format!("{} is gone", cluster.old.name)) };
            for member in group.instances.iter().filter(|i| i.state == LifecycleState::InService) {
                let Some(last) = self.after.truth.intake.iter().rfind(|c| c.instance == member.id) else { continue };
                if !last.open && self.after.length - last.at > REOPENED_WITHIN {
                    let phase = self.after.stations.get(&member.id).map(|s| s.status.borrow().phase.clone()).unwrap_or_default();
                    return Some(format!("{} of {} was restored and takes no work; its agent is {phase}", member.id, group.name));
                }
            }
        }
        None
    }

    pub(super) fn l6(&self) -> Option<String> {
        let run = self.after.rollback.as_ref()?;
        let changed = || self.after.truth.calls.iter().any(|c| c.caller == "oncall" && c.outcome == Came::Applied);
        match &run.outcome {
            Some(Outcome::Done(_)) => None,
            Some(Outcome::Refused(_)) if run.starts == 1 && !changed() => None,
            // The laptop died after the last change and before the last word.
            Some(Outcome::Refused(_)) if self.is_done() => None,
            Some(Outcome::Refused(refusals)) => Some(format!("refused in the middle: {refusals:?}")),
            Some(other) => Some(format!("not done after {} starts: {other:?}", run.starts)),
            None => Some(format!("still running at the end, after {} starts", run.starts)),
        }
    }
}

/// How a cluster differs from what its rollback was to leave.
fn wrong_at_end(cluster: &Cluster, old: &Group, new: &Group, before: &[Group; 2], recorded_late: bool) -> Option<String> {
    let expected: BTreeSet<&Process> = before[0].suspended.keys().filter(|p| !Process::DISABLING.contains(p)).collect();
    if old.suspended.keys().collect::<BTreeSet<_>>() != expected {
        return Some(format!("{}: {:?} are suspended, expected {expected:?}", old.name, old.suspended.keys()));
    }
    if new.suspended != before[1].suspended {
        return Some(format!("{}: {:?} are suspended, {:?} were before", new.name, new.suspended, before[1].suspended));
    }
    if let Some(left) = [old, new].iter().find(|g| g.tags.contains_key(HOLD_TAG) || g.tags.contains_key(RECORD_TAG)) {
        return Some(format!("the hold is still on {}", left.name));
    }
    if new.capacity != Capacity::default() {
        return Some(format!("{} is left at {}", new.name, new.capacity));
    }
    if recorded_capacity(&new.tags) != Some(before[1].capacity) {
        return Some(format!("{} had {} and records {:?}", new.name, before[1].capacity, new.tags.get(CAPACITY_TAG)));
    }
    let count = cluster.old.desired.unwrap_or_default();
    let sizes = match cluster.polling {
        true => Capacity { min: 1, max: 1, desired: 1 },
        false => Capacity { min: cluster.new.min, max: cluster.old.max, desired: count },
    };
    // Who records late sees a min that a sibling has lowered.
    let is_less = recorded_late && old.capacity.min < sizes.min && Capacity { min: sizes.min, ..old.capacity } == sizes;
    (old.capacity != sizes && !is_less).then(|| format!("{} is at {}, and {sizes} was to be restored", old.name, old.capacity))
}
