//! Who is not to end while the restored group gets smaller again: its members as they were found, protected from scale-in for that time.
//!
//! What must stay true: the record says so before the first of them is protected, so that any machine can take it off; a protection that somebody
//! else has set stays; nothing is made smaller before all of them are protected.

use std::collections::BTreeMap;

use super::super::plan::GroupPlan;
use super::super::plan::alive;
use super::Look;
use super::Progress;
use super::STALE;
use super::Step;
use crate::model::Group;
use crate::model::GroupInstance;
use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Moment;
use crate::model::weight;

/// What has to be done before the group may get smaller.
pub(super) enum Guard {
    /// Nothing: everybody who was found is protected.
    Stands,
    /// This.
    Steps(Vec<Step>),
    /// Wait for this one: AWS protects nobody in its state, and may choose it.
    Awaits(InstanceId),
}

/// Protections that were asked for, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Protections(BTreeMap<InstanceId, (bool, Moment)>);

impl Protections {
    pub fn wrote(&mut self, instances: &[InstanceId], protected: bool, at: Moment) {
        self.0.extend(instances.iter().map(|id| (id.clone(), (protected, at))));
    }

    /// As it was last set here, as long as looks may not show it yet; else as a look shows it.
    fn is_protected(&self, member: &GroupInstance, at: Moment) -> bool {
        match self.0.get(&member.id) {
            Some((protected, when)) if at.since(*when) < STALE => *protected,
            Some(_) | None => member.protected,
        }
    }
}

impl Progress {
    /// Before the restored group gets smaller.
    pub(super) fn guard_found(&self, look: &Look<'_>, group: &Group) -> Guard {
        let planned = &look.plan.restore;
        let open: Vec<&GroupInstance> = ours(planned, group).filter(|i| !self.protections.is_protected(i, look.at)).collect();
        let counted = |i: &&&GroupInstance| match i.state {
            LifecycleState::InService => true,
            // No scale-in chooses these.
            LifecycleState::Standby | LifecycleState::EnteringStandby | LifecycleState::Detaching => false,
            _ => true,
        };
        let open: Vec<&GroupInstance> = open.iter().filter(counted).copied().collect();
        match open.iter().find(|i| i.state != LifecycleState::InService) {
            Some(early) => Guard::Awaits(early.id.clone()),
            None if open.is_empty() => Guard::Stands,
            None => Guard::Steps(vec![protect(&planned.name, &open, true)]),
        }
    }

    /// What an undoing has protected is so no more: at its end, or when the rollback goes on after all.
    pub(super) fn unprotect_steps(&self, look: &Look<'_>) -> Vec<Step> {
        let planned = &look.plan.restore;
        let Some(group) = look.facts.group(&planned.name).filter(|_| planned.record.protects) else { return Vec::new() };
        let taken = |i: &&GroupInstance| self.protections.is_protected(i, look.at) && may_change(&i.state);
        let closed: Vec<&GroupInstance> = ours(planned, group).filter(taken).collect();
        if closed.is_empty() { Vec::new() } else { vec![protect(&planned.name, &closed, false)] }
    }
}

/// How many have still to end: those beyond the size that was found, or beyond who was found where that is more. Nobody where that is not known.
pub(super) fn surplus(planned: &GroupPlan, group: &Group) -> u32 {
    let Some(members) = &planned.record.members else { return 0 };
    let found = weight(alive(group).filter(|i| members.iter().any(|m| m.id == i.id)));
    weight(alive(group)).saturating_sub(found.max(planned.record.found.capacity.desired))
}

/// Living members that were found with no protection: it is ours to set, and to take off.
fn ours<'a>(planned: &'a GroupPlan, group: &'a Group) -> impl Iterator<Item = &'a GroupInstance> {
    let members = planned.record.members.as_deref().unwrap_or_default();
    alive(group).filter(|i| members.iter().any(|m| m.id == i.id && !m.protected))
}

/// AWS changes the protection of an instance in these states alone (draining.md §4.3).
fn may_change(state: &LifecycleState) -> bool {
    matches!(state, LifecycleState::InService | LifecycleState::EnteringStandby | LifecycleState::Standby)
}

fn protect(group: &GroupName, members: &[&GroupInstance], protected: bool) -> Step {
    Step::Protect { group: group.clone(), instances: members.iter().map(|i| i.id.clone()).collect(), protected }
}
