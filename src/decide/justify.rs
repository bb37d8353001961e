//! May this instance end now? Asked with fresh reads, just before it would.
//!
//! What must stay true: a live hold or a newer generation stops the drain, whatever else is so (S6, S11). Intake is opened again when the
//! group is enabled or nothing newer is left, not before: a rollback that hands a singleton over ends the newer instance first, which takes
//! work until it is gone, and must not meet two with intake on (S14). Min is lowered only for a
//! superseded, unheld group, only to desired − 1, and only by the leader of a turn, so that no stale read can raise it again; at most
//! max(1, p %) of the group ends at once (S9).

use std::time::Duration;

use crate::model::GENERATION_TAG;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::Hold;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Process;
use crate::model::Timestamp;
use crate::model::generation;
use crate::model::strange_generation;

use super::heal;
use super::policy::MinSize;
use super::policy::Policy;
use super::policy::Via;
use super::state::Drain;
use super::state::HeldWhy;
use super::state::Reason;
use super::superseded;
use super::turns::Slot;
use super::turns::Turn;
use super::turns::leaves;
use super::turns::members;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Justification {
    /// It may.
    Go,
    /// It may once min is this.
    LowerMin {
        /// desired − 1.
        to: u32,
    },
    /// Not yet; ask again at the given time of day.
    Wait {
        /// For people.
        why: String,
        /// When it can change by itself.
        until: Timestamp,
    },
    /// Not until something outside changes.
    Hold(HeldWhy, String),
    /// The drain is not justified any more.
    Cancel(String),
    /// A rollback came and went, and the group is still disabled: the drain begins anew under the new generation.
    Anew,
    /// AWS is ending this instance already.
    Ending,
    /// The read cannot answer: absent group, absent instance.
    NoAnswer(String),
}

/// Judges fresh reads. `groups` holds our group, and its siblings when the reason is that we are superseded; they were asked for at `asked`.
pub fn justify(
    policy: &Policy,
    drain: &Drain,
    own: &InstanceId,
    own_group: &GroupName,
    groups: &[Group],
    asked: Timestamp,
    now: Timestamp,
) -> Justification {
    let Some(group) = groups.iter().find(|g| &g.name == own_group) else {
        return Justification::NoAnswer(format!("{own_group} is absent from the describe"));
    };
    match drain.reason {
        Reason::Standby => return in_standby(group, own),
        Reason::Rebalance => return moved_away(group, own),
        Reason::Superseded { .. }
        | Reason::Operator { .. }
        | Reason::TargetTerminated
        | Reason::Interrupted { .. }
        | Reason::Warmed
        | Reason::Unhealthy { .. } => {}
    }
    let superseded = matches!(drain.reason, Reason::Superseded { .. });
    let disabled = superseded && (group.is_disabled() || policy.retired);
    match hold_on(group, now) {
        Some(held) if disabled => return Justification::Hold(HeldWhy::Rollback, held),
        // Read later too, when the hold is over.
        Some(held) => return Justification::Cancel(format!("at that time {held}")),
        None if generation(&group.tags) != drain.generation && disabled => return Justification::Anew,
        None if generation(&group.tags) != drain.generation => {
            return Justification::Cancel(format!("a rollback has raised the group's generation to {}", generation(&group.tags)));
        }
        None => {}
    }
    let Some(entry) = group.instance(own) else {
        return Justification::NoAnswer(format!("{own} is absent from {own_group}"));
    };
    if entry.state.is_ending() {
        return Justification::Ending;
    }
    if entry.state != LifecycleState::InService {
        return Justification::Hold(HeldWhy::LifecycleState, format!("the instance is {}, not InService", entry.state));
    }
    if let Reason::Unhealthy { .. } = drain.reason {
        return heal::justify(policy, group, own, asked, now);
    }
    if superseded {
        match superseded::judge(policy, own_group, groups) {
            superseded::Verdict::By(_) => {}
            superseded::Verdict::No(why) => {
                let why = format!("no longer superseded: {why}");
                return match superseded::alive_newer(own_group, groups).filter(|_| disabled) {
                    Some(newer) => Justification::Wait {
                        why: format!("{why}; intake stays closed until {} is gone or our group is enabled", newer.name),
                        until: now.plus(policy.describe_every),
                    },
                    None => Justification::Cancel(why),
                };
            }
            superseded::Verdict::NoAnswer(why) => return Justification::NoAnswer(why),
        }
        let over = drain.started.plus(policy.soak);
        if now < over && !drain.forced {
            return Justification::Wait { why: format!("soak until {over}: the rollback window stays open"), until: over };
        }
    }
    let keep = if superseded { policy.keep as usize } else { 0 };
    if let Err(wait) = turn(policy, keep, group, own, asked, now) {
        return wait;
    }
    min_size(policy, drain, group, own, asked, now)
}

/// Nothing is ended because of standby, whoever holds the group: intake stays closed until the instance is back in service.
fn in_standby(group: &Group, own: &InstanceId) -> Justification {
    match group.instance(own).map(|entry| &entry.state) {
        None => Justification::NoAnswer(format!("{own} is absent from {}", group.name)),
        Some(state) if state.is_ending() => Justification::Ending,
        Some(LifecycleState::InService) => Justification::Cancel("the instance is back in service".to_owned()),
        Some(state) => Justification::Hold(HeldWhy::LifecycleState, format!("the instance is {state}: it takes no work, and is not ended")),
    }
}

/// Nothing is ended because AWS recommends to move away (F42).
fn moved_away(group: &Group, own: &InstanceId) -> Justification {
    match group.instance(own).map(|entry| &entry.state) {
        None => Justification::NoAnswer(format!("{own} is absent from {}", group.name)),
        Some(state) if state.is_ending() => Justification::Ending,
        Some(_) => {
            let text = "AWS recommends to move away: it takes no work, and AWS ends it once a replacement serves".to_owned();
            Justification::Hold(HeldWhy::Rebalance, text)
        }
    }
}

/// Why the group's tags forbid any step that lowers capacity; `None` when they do not.
pub fn hold_on(group: &Group, now: Timestamp) -> Option<String> {
    match Hold::parse(&group.tags) {
        Ok(Some(hold)) if hold.is_live(now) => Some(format!("held by a rollback of {} until {}", hold.owner, hold.expires)),
        Ok(_) => strange_generation(&group.tags).map(|text| {
            format!("the tag {GENERATION_TAG} is {text:?} and no number, so a rollback may have been there: it counts as held")
        }),
        Err(error) => Some(format!("the hold tag cannot be read, so it counts as held: {error}")),
    }
}

fn min_size(policy: &Policy, drain: &Drain, group: &Group, own: &InstanceId, asked: Timestamp, now: Timestamp) -> Justification {
    // Nothing is left to take off, and AWS would not launch another: a scale-in met members that were protected (draining.md §4.3).
    let surplus = group.capacity.desired == 0 && matches!(drain.reason, Reason::Superseded { .. });
    if group.capacity.desired > group.capacity.min || surplus {
        return Justification::Go;
    }
    let at = format!("desired and min are both {}", group.capacity.desired);
    if policy.min_size == MinSize::Hold || !matches!(drain.reason, Reason::Superseded { .. }) {
        return Justification::Hold(HeldWhy::MinSize, at);
    }
    if policy.via == Via::Spinnaker {
        return Justification::Go;
    }
    let Some(to) = group.capacity.desired.checked_sub(1) else {
        return Justification::NoAnswer("desired is 0 although this instance is in service".to_owned());
    };
    let (members, slot) = (members(group), Slot::at(policy.stale_bound, now));
    match members.iter().position(|m| m == &own) {
        Some(_) if members.len() == 1 => Justification::LowerMin { to },
        Some(rank) if slot.place(rank, members.len()) == 0 && slot.first_half && asked >= slot.start => Justification::LowerMin { to },
        Some(rank) => {
            Justification::Wait { why: format!("{at}; the leader of a turn lowers min"), until: slot.next_turn(rank, members.len(), 1) }
        }
        None => Justification::NoAnswer(format!("{own} is not a member in service")),
    }
}

/// Whether it is our turn to end. A termination rests on a read that is at least one staleness bound younger than the terminations of the slot before.
fn turn(policy: &Policy, keep: usize, group: &Group, own: &InstanceId, asked: Timestamp, now: Timestamp) -> Result<(), Justification> {
    let (members, slot) = (members(group), Slot::at(policy.stale_bound, now));
    let Room { ending, spare, budget } = room(policy, keep, group, members.len());
    if spare == 0 {
        return Err(Justification::Hold(
            HeldWhy::KeepFloor,
            match members.len() - ending {
                1 => format!("1 instance in service, and {keep} to be kept"),
                left => format!("{left} instances in service, and {keep} to be kept"),
            },
        ));
    }
    if ending >= budget {
        return Err(Justification::Wait { why: format!("{ending} of the group are ending, the budget is {budget}"), until: slot.next });
    }
    let Some(rank) = members.iter().position(|m| m == &own) else {
        return Err(Justification::NoAnswer(format!("{own} is not a member in service")));
    };
    let places = (budget - ending).min(spare);
    if places >= members.len() {
        return Ok(());
    }
    match slot.turn(rank, members.len(), places, asked) {
        Turn::Now => Ok(()),
        Turn::AfterARead => Err(Justification::Wait { why: "a read of this turn".to_owned(), until: now }),
        Turn::At(until) => {
            Err(Justification::Wait { why: format!("another instance's turn; {budget} of {} end at once", members.len()), until })
        }
    }
}

/// How many of a group may end.
struct Room {
    /// Those that AWS shows ending.
    ending: usize,
    /// Those in service that are not to be kept.
    spare: usize,
    /// How many may be ending at once.
    budget: usize,
}

fn room(policy: &Policy, keep: usize, group: &Group, members: usize) -> Room {
    let ending = group.instances.iter().filter(|i| leaves(&i.state)).count();
    let budget = (members * usize::from(policy.budget_percent) / 100).max(1);
    Room { ending, spare: (members - ending).saturating_sub(keep), budget }
}

/// So many other instances of the group may be about to end beside ours, unseen by AWS yet: tasks that Spinnaker has not come to (S9).
pub fn others(policy: &Policy, superseded: bool, group: &Group) -> usize {
    let keep = if superseded { policy.keep as usize } else { 0 };
    let Room { ending, spare, budget } = room(policy, keep, group, members(group).len());
    budget.saturating_sub(ending).min(spare).saturating_sub(1)
}

/// Whether an operator's drain can succeed at all, before intake is closed for it (F24). `Some` is why not.
pub fn preflight(group: &Group, own: &InstanceId, now: Timestamp) -> Option<String> {
    if let Some(held) = hold_on(group, now) {
        return Some(held);
    }
    let Some(entry) = group.instance(own) else {
        return Some(format!("{own} is absent from {}", group.name));
    };
    if entry.state != LifecycleState::InService {
        return Some(format!("the instance is {}, not InService", entry.state));
    }
    if group.capacity.desired <= group.capacity.min {
        return Some(format!(
            "desired and min of {} are both {}: AWS would refuse the decrement; lower min first (runbooks/min_size.md)",
            group.name, group.capacity.desired
        ));
    }
    None
}

/// Whether the group forbids endings by suspension; AWS's answer to a terminate is then undocumented (F27).
pub fn terminate_suspended(group: &Group) -> bool {
    group.suspended.contains_key(&Process::Terminate)
}

/// How long after a termination of unknown outcome its effect may still show up in a read.
pub fn settling_of_an_unknown(policy: &Policy) -> Duration {
    policy.stale_bound.saturating_mul(3)
}
