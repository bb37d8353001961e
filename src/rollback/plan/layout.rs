//! The plan of one cluster that goes to another version: every group from what to what, how many, and why. Pure.
//!
//! What must stay true: a restored group never gets smaller (S13); what an unfinished run has put on record comes before what is there now.

use std::collections::BTreeSet;

use super::super::facts::Facts;
use super::super::facts::Version;
use super::super::facts::backends_of;
use super::super::record::Record;
use super::super::record::Role;
use super::super::share::Share;
use super::super::share::Shares;
use super::CANARY_ABOVE;
use super::Canary;
use super::CanaryPlan;
use super::Choice;
use super::ClusterPlan;
use super::GroupPlan;
use super::Request;
use super::Setup;
use super::Shape;
use super::Way;
use super::alive;
use super::ending_resumed;
use super::frozen;
use super::generation_of;
use super::is_recorded;
use super::keep;
use super::record;
use super::unfrozen;
use crate::model::CAPACITY_TAG;
use crate::model::Capacity;
use crate::model::Hold;
use crate::model::Process;
use crate::model::Timestamp;
use crate::model::recorded_by_agents;
use crate::model::recorded_capacity;

/// Fewest instances of a restored group that is no singleton: one alone is a single point of failure at the worst moment.
const FLOOR: u32 = 2;

/// `None` when there is nothing to do.
pub(super) fn lay_out(request: &Request, facts: &Facts, choice: &Choice<'_>, now: Timestamp) -> Option<ClusterPlan> {
    let restore = &choice.restore.group;
    let before = Shape::of(restore);
    let mut notes = Vec::new();
    let (count, capacity, why, is_guess) = sizes(choice);
    notes.push(why);
    if let Some(why) = choice.singleton {
        notes.push(format!("a singleton ({why}): handed over, never two at once; nothing polls in between"));
    }
    if choice.singleton.is_none() && own_record(choice).is_none() && recorded_capacity(&restore.tags).is_some() {
        let text = restore.tags.get(CAPACITY_TAG).map_or("", String::as_str);
        notes.push(format!("{}: its record {text} is of an earlier life of the group, and is not used", restore.name));
    }
    if choice.count.is_some_and(|asked| asked < count) {
        notes.push(format!("{} has {} instances wanted already: never scaled down", restore.name, count));
    }
    let resume: Vec<Process> = Process::DISABLING.into_iter().filter(|p| before.suspended.contains(p)).collect();
    let suspended: BTreeSet<Process> = unfrozen(restore).into_iter().filter(|p| !resume.contains(p)).collect();
    if !suspended.is_empty() {
        let names: Vec<&str> = suspended.iter().map(Process::as_str).collect();
        notes.push(format!("{} keeps {} suspended, as found", restore.name, names.join(", ")));
    }
    let backends = backends_of(restore);
    for (group, why) in choice.held().filter_map(|v| facts.refreshes_unknown.get_key_value(&v.group.name)) {
        notes.push(format!("whether an instance refresh of {group} is under way cannot be known, and one would fight this: {why}"));
    }
    for group in choice.bystanders.iter().map(|v| &v.group) {
        notes.push(format!("{} ({} instances) is held meanwhile and then left to its agents again", group.name, group.instances.len()));
    }
    for group in choice.retire.iter().map(|v| &v.group).filter(|g| ending_resumed(g).is_some()) {
        notes.push(format!("{} is disabled and still runs: its Terminate is resumed so that it ends", group.name));
    }
    if choice.way == Way::Forward {
        notes.push(format!("{} has gone already: undone as a rollback to it", restore.name));
    }
    if choice.retire.last().is_some_and(|newest| newest.group.is_disabled()) {
        notes.push(format!("{} is disabled already", choice.retire.last().map_or("", |v| v.group.name.as_str())));
    }
    let after = Shape { capacity, suspended };
    let canary = canary(request, facts, choice, count, after.capacity);
    notes.extend(canary_note(request, facts, choice, count, canary.as_ref()));
    let during = if choice.singleton.is_some() { capacity } else { Capacity { min: count, ..capacity } };
    let gone = |v: &&Version| {
        let zero = Capacity::default();
        let before = Shape::of(&v.group);
        let mut after = Shape { capacity: zero, suspended: unfrozen(&v.group) };
        after.suspended.retain(|p| Some(p) != ending_resumed(&v.group).as_ref());
        let record = record(&v.group, Role::Retire, choice, count);
        let kept = keep::kept(request, facts, choice, &v.group, &record);
        GroupPlan {
            name: v.group.name.clone(),
            before,
            setup: Setup::of(&v.group),
            members: v.group.instances.len(),
            during: zero,
            after,
            frozen: frozen(&v.group),
            record: Record { keeps: !kept.is_empty(), ..record },
            kept,
        }
    };
    let retire: Vec<GroupPlan> = choice.retire.iter().map(gone).collect();
    notes.extend(keep::notes(request, choice, &retire));
    let groups = || choice.held().map(|v| &v.group);
    let untouched = groups().all(|g| matches!(Hold::parse(&g.tags), Ok(None)) && !is_recorded(g));
    let emptied = choice.retire.iter().all(|v| alive(&v.group).next().is_none());
    let needed = choice.count.unwrap_or(if choice.singleton.is_some() { 1 } else { FLOOR }).max(before.capacity.desired);
    let serves = resume.is_empty() && before.capacity.desired >= needed && facts.serving_weight(restore) >= needed;
    if untouched && emptied && serves && retire.iter().all(|g| g.before == g.after) {
        return None;
    }
    let generation = generation_of(request, choice, now);
    if untouched && request.resume {
        notes.push("was asked for together with the others and never begun: begun now".to_owned());
    }
    if generation.1 {
        notes.push("takes up its own interrupted rollback".to_owned());
    }
    let first_health = backends.iter().filter_map(|b| facts.backends.get(b)).map(|f| f.first_health).max().unwrap_or_default();
    Some(ClusterPlan {
        cluster: choice.cluster.to_owned(),
        way: choice.way,
        singleton: choice.singleton.is_some(),
        restore: GroupPlan {
            name: restore.name.clone(),
            before,
            setup: Setup::of(restore),
            members: restore.instances.len(),
            during,
            after,
            frozen: frozen(restore),
            record: record(restore, Role::Restore, choice, count),
            kept: Vec::new(),
        },
        retire,
        bystanders: choice.bystanders.iter().map(|v| v.group.name.clone()).collect(),
        versions: choice.versions.iter().map(|v| v.group.name.clone()).collect(),
        share: Some(Share {
            cluster: choice.cluster.to_owned(),
            restore: choice.restore.push.clone(),
            newest: choice.versions.last().map_or_else(String::new, |newest| newest.push.clone()),
            generation: generation.0,
            count,
            undoes: choice.way == Way::Forward,
            singleton: choice.singleton.is_some(),
        }),
        shares: Shares::default(),
        count,
        is_guess,
        generation: generation.0,
        resume,
        canary,
        backends,
        first_health,
        notes,
    })
}

fn has_canary(request: &Request, choice: &Choice<'_>, count: u32) -> bool {
    let wanted = match request.canary {
        Canary::ForMany => count > CANARY_ABOVE,
        Canary::Always => true,
        Canary::Never => false,
    };
    wanted && choice.singleton.is_none() && count > 1
}

/// None where one serves already, or where all that are wanted are wanted already: a restored group is never made smaller.
fn canary(request: &Request, facts: &Facts, choice: &Choice<'_>, count: u32, after: Capacity) -> Option<CanaryPlan> {
    let restore = &choice.restore.group;
    let alone = restore.capacity.desired.max(1);
    let serves = facts.serving(restore).next().is_some();
    (has_canary(request, choice, count) && !serves && alone < count)
        .then_some(CanaryPlan { sizes: Capacity { min: alone, desired: alone, max: after.max }, within: request.canary_within })
}

fn canary_note(request: &Request, facts: &Facts, choice: &Choice<'_>, count: u32, canary: Option<&CanaryPlan>) -> Option<String> {
    let restore = &choice.restore.group;
    let behind = match backends_of(restore).as_slice() {
        [] => "in service (it is behind no load balancer: that is all that can be seen of it)".to_owned(),
        backends => format!("healthy behind {}", backends.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    };
    match canary {
        Some(canary) => {
            let (alone, within) = (canary.sizes.desired, canary.within.as_secs());
            let who = if alone == 1 { "one instance".to_owned() } else { format!("one of the {alone} it wants already") };
            Some(format!("canary: {who} has to be {behind} within {within} s; then the other {} are launched", count - alone))
        }
        None if !has_canary(request, choice, count) => None,
        None => match facts.serving(restore).next() {
            Some(member) => Some(format!("canary: {} serves already", member.id)),
            None => {
                Some(format!("no canary: {} wants {} instances already, and is never made smaller", restore.name, restore.capacity.desired))
            }
        },
    }
}

/// What the restored group had, by its own tag. Agents take theirs off once the group serves again: one on an enabled group, but for one that a
/// rollback has enabled, or one that names a version which is no younger one, is of an earlier life. The version named may be gone since.
fn own_record(choice: &Choice<'_>) -> Option<Capacity> {
    let restore = &choice.restore.group;
    let mut not_younger = choice.versions.iter().take_while(|v| v.group.name != restore.name).chain([choice.restore]);
    let mut stands = |by: &str| (restore.is_disabled() || is_recorded(restore)) && !not_younger.any(|v| v.push == by);
    recorded_capacity(&restore.tags).filter(|_| recorded_by_agents(&restore.tags).is_none_or(&mut stands))
}

/// How many, the sizes to leave the restored group with, where the number comes from, and whether it is a guess.
fn sizes(choice: &Choice<'_>) -> (u32, Capacity, String, bool) {
    let restore = &choice.restore.group;
    if choice.singleton.is_some() {
        return (1, Capacity { min: 1, max: 1, desired: 1 }, "exactly 1".to_owned(), false);
    }
    let own = own_record(choice);
    let earlier = Record::parse(&restore.tags).ok().flatten();
    let earlier = earlier.filter(|r| r.role == Role::Restore && r.undoes == (choice.way == Way::Forward)).map(|r| r.count);
    let earlier = earlier.or(choice.share.as_ref().map(|share| share.count));
    let newest = choice.retire.last().map_or_else(Capacity::default, |newest| {
        let now = newest.group.capacity;
        if now.desired > 0 { now } else { recorded_capacity(&newest.group.tags).unwrap_or(now) }
    });
    let (wanted, why) = match (choice.count.or(earlier), own) {
        (Some(count), _) if choice.count.is_some() => (count, format!("{count} as asked")),
        (Some(count), _) => (count, format!("{count} as the interrupted run has it")),
        // A record may be of an older drain: what the newest was given since counts as well.
        (None, Some(own)) if own.desired.max(FLOOR) >= newest.desired => {
            (own.desired.max(FLOOR), format!("{} as {} had before it was drained", own.desired.max(FLOOR), restore.name))
        }
        (None, _) if newest.desired >= FLOOR => (newest.desired, format!("{} as the newest group has", newest.desired)),
        (None, _) => (FLOOR, format!("{FLOOR}, the least there should be")),
    };
    let count = wanted.max(restore.capacity.desired);
    let usual = newest.min.max(restore.capacity.min);
    // A deployer pins min to desired while it works on a group, and an agent may have seen it so.
    let may_be_pin = |own: &Capacity| own.min == own.desired && recorded_by_agents(&restore.tags).is_some();
    let min = own.map_or(usual, |own| if may_be_pin(&own) { own.min.min(usual) } else { own.min }).min(count);
    let max = own.map_or(0, |own| own.max).max(restore.capacity.max).max(count);
    (count, Capacity { min, max, desired: count }, why, choice.count.is_none() && earlier.is_none() && own.is_none())
}
