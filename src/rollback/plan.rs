//! The plan of a rollback: which groups, from what to what, or why not. Pure: facts and wishes in, plan or refusals out.
//!
//! What must stay true: all judgement about *who* and *how many* is here; a plan made from the facts of an interrupted run leads to the
//! same end as the first one; a restored group never gets smaller (S13), unless all is put back; what is refused has changed nothing (L6).

mod choice;
pub mod preflight;
mod refusal;
mod undo;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::SETTLE;
use super::TIMEOUT;
use super::facts::Backend;
use super::facts::Facts;
use super::facts::Version;
use super::facts::backends_of;
use super::record::Record;
use super::record::Role;
use crate::model::CAPACITY_TAG;
use crate::model::Capacity;
use crate::model::Group;
use crate::model::GroupInstance;
use crate::model::GroupName;
use crate::model::Hold;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Process;
use crate::model::Timestamp;
use crate::model::generation;
use crate::model::recorded_capacity;

pub use preflight::Finding;
pub use preflight::Severity;
pub use refusal::Refusal;

use choice::Choice;

/// Fewest instances of a restored group that is no singleton: one alone is a single point of failure at the worst moment.
const FLOOR: u32 = 2;
/// Processes that would fight a rollback (F58): suspended while it works, where they are not already, and put back exactly as found.
pub(super) const FREEZE: [Process; 4] =
    [Process::AlarmNotification, Process::AZRebalance, Process::InstanceRefresh, Process::ScheduledActions];

/// What the person asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Spinnaker application.
    pub application: String,
    /// Clusters to roll back; empty means all of the application.
    pub clusters: Vec<Wanted>,
    /// Only clusters whose names begin so.
    pub prefix: Option<String>,
    /// Restore this version instead of the previous one.
    pub to: Option<u32>,
    /// Clusters that must never have two instances at once.
    pub polling: Vec<String>,
    /// Clusters that are no singletons although their detail says `polling`.
    pub not_polling: Vec<String>,
    /// How long agents may take to see the hold before what is left of a group counts as capacity (F55).
    pub settle: Duration,
    /// For the whole run, but for the bake.
    pub timeout: Duration,
    /// How long all that was verified has to stay true before the pinned min and the holds go.
    pub bake: Duration,
    /// Must answer 2xx or 3xx in the end.
    pub service_urls: Vec<String>,
    /// `user@host`; a live hold of the same owner is taken up again.
    pub owner: String,
    /// The owner is not who runs this: the hold may have been put by another machine, with another clock.
    pub taken_over: bool,
    /// Go on with what is unfinished, and with nothing else, whoever began it; the groups' records say what that is.
    pub resume: bool,
    /// Put back what an unfinished rollback has changed; where the newest has gone already, roll back to it.
    pub undo: bool,
}

impl Request {
    /// All clusters of an application, with nothing said otherwise.
    pub fn of(application: impl Into<String>, owner: impl Into<String>) -> Self {
        Self {
            application: application.into(),
            clusters: Vec::new(),
            prefix: None,
            to: None,
            polling: Vec::new(),
            not_polling: Vec::new(),
            settle: SETTLE,
            timeout: TIMEOUT,
            bake: Duration::ZERO,
            service_urls: Vec::new(),
            owner: owner.into(),
            taken_over: false,
            resume: false,
            undo: false,
        }
    }
}

/// A cluster that was asked for by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// `app-stack-detail`.
    pub name: String,
    /// Instances the restored group shall have.
    pub count: Option<u32>,
}

/// What will be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What was asked.
    pub request: Request,
    /// Each cluster that has something to do, by name.
    pub clusters: Vec<ClusterPlan>,
    /// What may spoil it, the worst first.
    pub findings: Vec<Finding>,
    /// What a person should know besides, a line each.
    pub notes: Vec<String>,
}

/// What will be done with one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterPlan {
    /// Its name.
    pub cluster: String,
    /// Which way.
    pub way: Way,
    /// Handed over with never two at once, instead of side by side.
    pub singleton: bool,
    /// The group that comes back.
    pub restore: GroupPlan,
    /// The groups that go, newest last.
    pub retire: Vec<GroupPlan>,
    /// Other versions with living members: held meanwhile and not changed, so that their agents do not take the newest one's leaving for a
    /// reason to work again (S14).
    pub bystanders: Vec<GroupName>,
    /// Every version of the cluster; another one that appears meanwhile is somebody else's doing (F59).
    pub versions: BTreeSet<GroupName>,
    /// Healthy instances the restored group must have before anything is taken from the others.
    pub count: u32,
    /// Nobody has said how many, nor is it on record: the newest group's number, or the least there should be.
    pub is_guess: bool,
    /// The generation of the hold.
    pub generation: u64,
    /// Disabling processes to resume on the restored group: those that are suspended, and nothing else (S12).
    pub resume: Vec<Process>,
    /// Load balancers the restored instances must be healthy behind.
    pub backends: Vec<Backend>,
    /// How long those usually take to call a good instance healthy.
    pub first_health: Duration,
    /// Why these numbers and what is special, a line each.
    pub notes: Vec<String>,
}

/// Which way a cluster goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// To an older version.
    Rollback,
    /// Undone before the switch: every group as it was found.
    PutBack,
    /// Undone after the switch: a rollback to the newest version.
    Forward,
}

/// One group, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupPlan {
    /// Its name.
    pub name: GroupName,
    /// As it was read.
    pub before: Shape,
    /// Members as they were read, whatever their state.
    pub members: usize,
    /// Sizes while the work is under way: the restored group's min is pinned, so that nothing scales it in.
    pub during: Capacity,
    /// As it will be left.
    pub after: Shape,
    /// Suspended meanwhile and resumed at the end.
    pub frozen: Vec<Process>,
    /// As the first run found it; goes into the group's tags.
    pub record: Record,
}

/// What a rollback may change of a group, and watches for changes by others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Sizes.
    pub capacity: Capacity,
    /// Suspended processes.
    pub suspended: BTreeSet<Process>,
}

impl Shape {
    /// The shape of a group as it was read.
    pub fn of(group: &Group) -> Self {
        Self { capacity: group.capacity, suspended: group.suspended.keys().cloned().collect() }
    }
}

impl ClusterPlan {
    /// Every group it changes: the restored one first.
    pub fn groups(&self) -> impl Iterator<Item = &GroupPlan> {
        std::iter::once(&self.restore).chain(&self.retire)
    }

    /// Every group it holds.
    pub fn held(&self) -> impl Iterator<Item = &GroupName> {
        self.groups().map(|g| &g.name).chain(&self.bystanders)
    }
}

/// The groups that a plan would touch, as far as the survey can tell. The rest of the facts is needed about these alone.
pub fn involved(request: &Request, facts: &Facts) -> BTreeSet<GroupName> {
    let (choices, _) = choice::choose(request, facts);
    choices.iter().flat_map(|c| c.retire.iter().chain([&c.restore])).map(|v| v.group.name.clone()).collect()
}

/// Makes the plan.
///
/// # Errors
/// All reasons not to, together.
pub fn plan(request: &Request, facts: &Facts, now: Timestamp) -> Result<Plan, Vec<Refusal>> {
    let (choices, mut refusals) = choice::choose(request, facts);
    let mut notes = choice::skipped(request, facts);
    let mut clusters = Vec::new();
    for choice in &choices {
        let found = objections(request, facts, choice, now);
        if found.is_empty() {
            let laid_out = match choice.way {
                Way::PutBack => Some(undo::put_back(request, facts, choice, now)),
                Way::Rollback | Way::Forward => lay_out(request, facts, choice, now),
            };
            match laid_out {
                Some(cluster) => clusters.push(cluster),
                None => notes
                    .push(format!("{}: {} serves already and nothing else runs: left alone", choice.cluster, choice.restore.group.name)),
            }
        }
        refusals.extend(found);
    }
    if refusals.is_empty() && clusters.is_empty() {
        refusals.push(Refusal::NothingToDo { application: request.application.clone() });
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let findings = preflight::examine(request, facts, &clusters, now);
    Ok(Plan { request: request.clone(), clusters, findings, notes })
}

/// Members that run on, and that AWS has not begun to end.
pub(super) fn alive(group: &Group) -> impl Iterator<Item = &GroupInstance> {
    group.instances.iter().filter(|i| !i.state.is_ending() && i.state != LifecycleState::Detached)
}

fn objections(request: &Request, facts: &Facts, choice: &Choice<'_>, now: Timestamp) -> Vec<Refusal> {
    let mut found = Vec::new();
    let cluster = choice.cluster.to_owned();
    for version in choice.retire.iter().chain([&choice.restore]) {
        let group = &version.group;
        if let Some(status) = &group.status {
            found.push(Refusal::GroupBeingDeleted { group: group.name.clone(), status: status.clone() });
        }
        if let Some(status) = facts.refreshing.get(&group.name).filter(|_| choice.way != Way::PutBack) {
            found.push(Refusal::RefreshInProgress { group: group.name.clone(), status: status.clone() });
        }
    }
    for group in choice.held().map(|v| &v.group) {
        match Hold::parse(&group.tags) {
            Ok(Some(hold)) if hold.is_live(now) && hold.owner != request.owner => {
                found.push(Refusal::Held { group: group.name.clone(), owner: hold.owner, expires: hold.expires.to_string() });
            }
            // What is dead is gone on with only when somebody says so.
            Ok(Some(hold)) if hold.owner != request.owner && is_recorded(group) && !request.resume && !request.undo => {
                found.push(Refusal::Unfinished { group: group.name.clone(), owner: hold.owner, expired: hold.expires.to_string() });
            }
            Ok(_) => {}
            Err(problem) => {
                found.push(Refusal::Held { group: group.name.clone(), owner: problem.to_string(), expires: "an unknown time".to_owned() });
            }
        }
    }
    if choice.way == Way::PutBack {
        return found;
    }
    for group in choice.retire.iter().map(|v| &v.group) {
        found.extend(cannot_end(group));
    }
    let gone = |b: &Backend| facts.backends.get(b).is_some_and(|f| f.gone);
    for backend in backends_of(&choice.restore.group).into_iter().filter(gone) {
        found.push(Refusal::LoadBalancerGone { group: choice.restore.group.name.clone(), load_balancer: backend.to_string() });
    }
    let newest_disabled = choice.retire.last().is_none_or(|newest| newest.group.is_disabled());
    if choice.restore.group.is_disabled() && newest_disabled {
        let groups = choice.retire.last().into_iter().chain([&choice.restore]).map(|v| v.group.name.clone()).collect();
        found.push(Refusal::BothDisabled { cluster: cluster.clone(), groups });
    }
    let desired = choice.restore.group.capacity.desired;
    if choice.singleton.is_some() && desired > 1 {
        found.push(Refusal::SingletonHasMany { cluster: cluster.clone(), group: choice.restore.group.name.clone(), desired });
    }
    if let Some(count) = choice.count.filter(|count| choice.singleton.is_some() && *count != 1) {
        found.push(Refusal::SingletonCount { cluster, count });
    }
    found
}

fn is_recorded(group: &Group) -> bool {
    !matches!(Record::parse(&group.tags), Ok(None))
}

/// What this rollback freezes of a group, or an earlier run of it has frozen.
fn frozen(group: &Group) -> Vec<Process> {
    let found = Record::parse(&group.tags).ok().flatten().map_or_else(|| Shape::of(group), |record| record.found);
    FREEZE.into_iter().filter(|p| !found.suspended.contains(p)).collect()
}

/// Suspended processes, but for those that a rollback has frozen.
fn unfrozen(group: &Group) -> BTreeSet<Process> {
    let frozen = frozen(group);
    group.suspended.keys().filter(|p| !frozen.contains(p)).cloned().collect()
}

/// What the group's tag is to say of it: what an unfinished run has written there, or how it is now.
fn record(group: &Group, role: Role, choice: &Choice<'_>, count: u32) -> Record {
    let undoes = choice.way == Way::Forward;
    let earlier = Record::parse(&group.tags).ok().flatten();
    let now = || Record {
        role,
        undoes,
        count,
        found: Shape::of(group),
        alive: u32::try_from(alive(group).count()).unwrap_or(u32::MAX),
        capacity_tag: group.tags.get(CAPACITY_TAG).cloned(),
    };
    Record { role, undoes, count, ..earlier.unwrap_or_else(now) }
}

/// Why members of a group that is set to nothing would live on, and work on.
fn cannot_end(group: &Group) -> Option<Refusal> {
    let list =
        |which: &dyn Fn(&GroupInstance) -> bool| -> Vec<InstanceId> { alive(group).filter(|i| which(i)).map(|i| i.id.clone()).collect() };
    let name = || group.name.clone();
    let standby = list(&|i| matches!(i.state, LifecycleState::Standby | LifecycleState::EnteringStandby));
    let protected = list(&|i| i.protected);
    if !standby.is_empty() {
        return Some(Refusal::InStandby { group: name(), instances: standby });
    }
    if !protected.is_empty() {
        return Some(Refusal::Protected { group: name(), instances: protected });
    }
    let stuck = group.suspended.contains_key(&Process::Terminate) && alive(group).next().is_some() && ending_resumed(group).is_none();
    stuck.then(|| Refusal::TerminateSuspended { group: name() })
}

/// The process to resume so that a disabled group's members end; only where it is suspended as a part of the disabling.
fn ending_resumed(group: &Group) -> Option<Process> {
    let by_disabling = group.is_disabled() && unfrozen(group).iter().all(|p| Process::DISABLING.contains(p));
    (by_disabling && group.suspended.contains_key(&Process::Terminate) && alive(group).next().is_some()).then_some(Process::Terminate)
}

/// `None` when there is nothing to do.
fn lay_out(request: &Request, facts: &Facts, choice: &Choice<'_>, now: Timestamp) -> Option<ClusterPlan> {
    let restore = &choice.restore.group;
    let before = Shape::of(restore);
    let mut notes = Vec::new();
    let (count, capacity, why, is_guess) = sizes(choice);
    notes.push(why);
    if let Some(why) = choice.singleton {
        notes.push(format!("a singleton ({why}): handed over, never two at once; nothing polls in between"));
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
    let during = if choice.singleton.is_some() { capacity } else { Capacity { min: count, ..capacity } };
    let gone = |v: &&Version| {
        let zero = Capacity::default();
        let before = Shape::of(&v.group);
        let mut after = Shape { capacity: zero, suspended: unfrozen(&v.group) };
        after.suspended.retain(|p| Some(p) != ending_resumed(&v.group).as_ref());
        let record = record(&v.group, Role::Retire, choice, count);
        GroupPlan {
            name: v.group.name.clone(),
            before,
            members: v.group.instances.len(),
            during: zero,
            after,
            frozen: frozen(&v.group),
            record,
        }
    };
    let retire: Vec<GroupPlan> = choice.retire.iter().map(gone).collect();
    let groups = || choice.held().map(|v| &v.group);
    let untouched = groups().all(|g| matches!(Hold::parse(&g.tags), Ok(None)) && !is_recorded(g));
    let emptied = choice.retire.iter().all(|v| alive(&v.group).next().is_none());
    let needed = choice.count.unwrap_or(if choice.singleton.is_some() { 1 } else { FLOOR }).max(before.capacity.desired);
    let serves = resume.is_empty() && before.capacity.desired >= needed && facts.serving(restore).count() >= to_usize(needed);
    if untouched && emptied && serves && retire.iter().all(|g| g.before == g.after) {
        return None;
    }
    let generation = generation_of(request, choice, now);
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
            members: restore.instances.len(),
            during,
            after,
            frozen: frozen(restore),
            record: record(restore, Role::Restore, choice, count),
        },
        retire,
        bystanders: choice.bystanders.iter().map(|v| v.group.name.clone()).collect(),
        versions: choice.versions.iter().map(|v| v.group.name.clone()).collect(),
        count,
        is_guess,
        generation: generation.0,
        resume,
        backends,
        first_health,
        notes,
    })
}

/// The generation, and whether it is that of an interrupted run of ours.
fn generation_of(request: &Request, choice: &Choice<'_>, now: Timestamp) -> (u64, bool) {
    let groups = || choice.held().map(|v| &v.group);
    let ours = groups().filter_map(|g| Hold::parse(&g.tags).ok().flatten()).filter(|h| h.is_live(now) && h.owner == request.owner);
    match ours.map(|hold| hold.generation).max() {
        Some(generation) => (generation, true),
        None => (groups().map(|g| generation(&g.tags)).max().unwrap_or(0) + 1, false),
    }
}

/// How many, the sizes to leave the restored group with, where the number comes from, and whether it is a guess.
fn sizes(choice: &Choice<'_>) -> (u32, Capacity, String, bool) {
    let restore = &choice.restore.group;
    if choice.singleton.is_some() {
        return (1, Capacity { min: 1, max: 1, desired: 1 }, "exactly 1".to_owned(), false);
    }
    let own = recorded_capacity(&restore.tags);
    let earlier = Record::parse(&restore.tags).ok().flatten();
    let earlier = earlier.filter(|r| r.role == Role::Restore && r.undoes == (choice.way == Way::Forward)).map(|r| r.count);
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
    let min = own.map_or(newest.min.max(restore.capacity.min), |own| own.min).min(count);
    let max = own.map_or(0, |own| own.max).max(restore.capacity.max).max(count);
    (count, Capacity { min, max, desired: count }, why, choice.count.is_none() && earlier.is_none() && own.is_none())
}

fn to_usize(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
