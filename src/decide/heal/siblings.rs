//! Who else of the group is away, and whether it is our turn to be: so that healing never takes a group down, and never fights a cause that all share.
//!
//! What must stay true: counted is what AWS says, and an instance that is not in service and healthy counts as away, whatever the reason; when most
//! siblings are away, nobody is restarted or replaced; without a fresh read nobody is.

use super::Hold;
use crate::decide::justify::Justification;
use crate::decide::justify::hold_on;
use crate::decide::policy::Policy;
use crate::decide::turns::Slot;
use crate::decide::turns::Turn;
use crate::decide::turns::members;
use crate::model::Group;
use crate::model::HealthCheckType;
use crate::model::InstanceHealth;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Process;
use crate::model::Timestamp;

/// The group tag by which its owner switches healing off, `bellrock:heal` = `off`. Another value but `on` makes no sense and counts as off.
pub const HEAL_TAG: &str = "bellrock:heal";

/// Why the group's owner does not want healing; `None` when he does.
pub fn switched_off(group: &Group) -> Option<String> {
    let word = group.tags.get(HEAL_TAG)?.trim();
    (!word.eq_ignore_ascii_case("on")).then(|| format!("the group's tag {HEAL_TAG} is {word:?}"))
}

/// Others of the group, as AWS shows them.
struct Others {
    /// How many there are or should be.
    all: usize,
    /// Of these, those that are on their way out or in, and those that are wanted and not there.
    moving: usize,
    /// Of these, those that are moving, and those that are in service and marked unhealthy.
    sick: usize,
}

fn others(group: &Group, own: &InstanceId) -> Others {
    let there = group
        .instances
        .iter()
        .filter(|i| &i.id != own && !matches!(i.state, LifecycleState::Terminated | LifecycleState::TerminatingRetained));
    let mut others = Others { all: 0, moving: 0, sick: 0 };
    for other in there {
        let moves = other.state != LifecycleState::InService;
        others.all += 1;
        others.moving += usize::from(moves);
        others.sick += usize::from(moves || other.health != InstanceHealth::Healthy);
    }
    // A weighted group's desired is no number of instances.
    let wanted = if group.is_weighted() { 0 } else { (group.capacity.desired as usize).saturating_sub(1) };
    let missing = wanted.saturating_sub(others.all);
    Others { all: others.all + missing, moving: others.moving + missing, sick: others.sick + missing }
}

/// A cause that the whole group seems to have.
pub fn shared_cause(group: &Group, own: &InstanceId) -> Option<String> {
    let Others { all, sick, .. } = others(group, own);
    (sick * 2 > all).then(|| format!("{sick} of {all} others of {} are not in service and healthy", group.name))
}

/// How many of the group may be away at once.
pub fn budget(policy: &Policy, group: &Group) -> usize {
    (members(group).len() * usize::from(policy.heal.budget_percent) / 100).max(1)
}

/// Whether our turn has come: at most max(1, percent) of the group away at once, ourselves among them. Who is sick and waits, as we do, is not away yet.
pub fn turn(policy: &Policy, group: &Group, own: &InstanceId, asked: Timestamp, now: Timestamp) -> Result<(), (String, Turn)> {
    let slot = Slot::at(policy.heal.turn, now);
    let members = members(group);
    let Others { moving, .. } = others(group, own);
    let budget = budget(policy, group);
    let places = budget.saturating_sub(moving);
    if places == 0 {
        return Err((format!("{moving} others of the group are away, the budget is {budget}"), Turn::At(slot.next)));
    }
    let Some(rank) = members.iter().position(|m| *m == own) else {
        return Err((format!("{own} is not in service"), Turn::At(slot.next)));
    };
    match if places >= members.len() { Turn::Now } else { slot.turn(rank, members.len(), places, asked) } {
        Turn::Now => Ok(()),
        Turn::AfterARead => Err(("a read of this turn".to_owned(), Turn::AfterARead)),
        Turn::At(until) => Err((format!("another instance's turn; {budget} of {} at once", members.len()), Turn::At(until))),
    }
}

/// Whether a replacement would replace anything, and help.
pub fn replaceable(policy: &Policy, group: &Group, own: &InstanceId) -> Result<(), (Hold, String)> {
    if let Some(shared) = shared_cause(group, own) {
        return Err((Hold::FleetSick, shared));
    }
    if group.suspended.contains_key(&Process::Launch) {
        return Err((Hold::LaunchSuspended, format!("Launch is suspended on {}: nothing would take this instance's place", group.name)));
    }
    if others(group, own).all > 0 && group.health_check_type == HealthCheckType::Ec2 && !policy.heal.trust_ec2_checks {
        let text = format!("{} has EC2 checks only: they do not tell whether its other orchestrators are well", group.name);
        return Err((Hold::SiblingsUnseen, text));
    }
    Ok(())
}

/// May this instance end now, to be replaced? Asked by the drain with fresh reads, just before it would.
pub fn justify(policy: &Policy, group: &Group, own: &InstanceId, asked: Timestamp, now: Timestamp) -> Justification {
    if let Some(held) = hold_on(group, now) {
        return Justification::Cancel(held);
    }
    if group.is_disabled() {
        return Justification::Cancel("the group is disabled: what is superseded is not replaced".to_owned());
    }
    if let Some(off) = switched_off(group) {
        return Justification::Cancel(off);
    }
    if let Err((hold, text)) = replaceable(policy, group, own) {
        return Justification::Cancel(format!("{text} (runbooks/{}.md)", hold.code()));
    }
    match turn(policy, group, own, asked, now) {
        Ok(()) => Justification::Go,
        Err((why, Turn::At(until))) => Justification::Wait { why, until },
        Err((why, Turn::AfterARead | Turn::Now)) => Justification::Wait { why, until: now },
    }
}
