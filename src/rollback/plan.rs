//! The plan of a rollback: which groups, from what to what, or why not. Pure: facts and wishes in, plan or refusals out.
//!
//! What must stay true: all judgement about *who* and *how many* is here; a plan made from the facts of an interrupted run leads to the
//! same end as the first one; a restored group never gets smaller (S13), unless all is put back; what is refused has changed nothing (L6).

mod choice;
mod keep;
mod layout;
mod objections;
pub mod preflight;
mod recover;
mod refusal;
mod request;
mod shape;
mod unbegun;
mod undo;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::facts::Backend;
use super::facts::Facts;
use super::kept;
use super::record;
use super::record::Member;
use super::record::Record;
use super::record::Role;
use super::share::Share;
use super::share::Shares;
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

pub use preflight::Finding;
pub use preflight::Severity;
pub use refusal::Refusal;
pub use refusal::Refused;
pub use request::Canary;
pub use request::Request;
pub use request::Wanted;
pub use shape::Difference;
pub use shape::Setup;
pub use shape::Shape;
pub use unbegun::LeftOut;

use choice::Choice;
use choice::Chosen;

/// Processes that would fight a rollback (F58): suspended while it works, where they are not already, and put back exactly as found.
pub(super) const FREEZE: [Process; 4] =
    [Process::AlarmNotification, Process::AZRebalance, Process::InstanceRefresh, Process::ScheduledActions];

/// Groups of more than this have a canary unless the person says otherwise. A canary costs a boot and its checks; up to here all that come at once are
/// few enough to look at, and to end.
pub const CANARY_ABOVE: u32 = 4;

/// What will be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What was asked.
    pub request: Request,
    /// Each cluster that has something to do, by name.
    pub clusters: Vec<ClusterPlan>,
    /// Clusters that the interrupted run was asked for, has never begun, and that are left alone now.
    pub left_out: Vec<LeftOut>,
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
    /// What its groups' tags tell whoever goes on; nothing where all is put back.
    #[serde(skip)]
    pub share: Option<Share>,
    /// What they tell of the clusters beside it, this one first.
    #[serde(skip)]
    pub shares: Shares,
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
    /// One has to serve before the others are launched; none where all may come at once.
    pub canary: Option<CanaryPlan>,
    /// How long those usually take to call a good instance healthy.
    pub first_health: Duration,
    /// Why these numbers and what is special, a line each.
    pub notes: Vec<String>,
}

/// The restored group before one of its instances has been seen to serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CanaryPlan {
    /// Sizes until then: one instance, or those that are wanted already, which are never made fewer.
    pub sizes: Capacity,
    /// How long it may take.
    #[serde(rename = "within_s", serialize_with = "seconds")]
    pub within: Duration,
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
    /// What is no business of a rollback's, as it was read.
    pub setup: Setup,
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
    /// Members of a group that goes which are left alive, in standby.
    pub kept: Vec<InstanceId>,
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
    let choices = choice::choose(request, facts).choices;
    choices.iter().flat_map(|c| c.retire.iter().chain([&c.restore])).map(|v| v.group.name.clone()).collect()
}

/// The groups that would be restored; what launches need is looked at for these alone.
pub fn restored(request: &Request, facts: &Facts) -> Vec<Group> {
    let choices = choice::choose(request, facts).choices;
    choices.into_iter().map(|c| c.restore.group.clone()).collect()
}

/// Makes the plan.
///
/// # Errors
/// All reasons not to, together, and what may spoil it besides.
pub fn plan(request: &Request, facts: &Facts, now: Timestamp) -> Result<Plan, Refused> {
    let Chosen { choices, mut refusals, left_out } = choice::choose(request, facts);
    let mut notes = choice::skipped(request, facts);
    let mut recovered = request.clone();
    match recover::recover(&mut recovered, &choices) {
        Ok(lines) => notes.extend(lines),
        Err(refusal) => refusals.push(refusal),
    }
    let request = &recovered;
    let mut clusters = Vec::new();
    for choice in &choices {
        let found = objections::objections(request, facts, choice, now);
        let laid_out = match choice.way {
            Way::PutBack => Some(undo::put_back(request, facts, choice, now)),
            Way::Rollback | Way::Forward => layout::lay_out(request, facts, choice, now),
        };
        match laid_out {
            Some(cluster) => clusters.push(cluster),
            None if found.is_empty() => {
                notes.push(format!("{}: {} serves already and nothing else runs: left alone", choice.cluster, choice.restore.group.name));
            }
            None => {}
        }
        refusals.extend(found);
    }
    if refusals.is_empty() && clusters.is_empty() {
        refusals.push(Refusal::NothingToDo { application: request.application.clone() });
    }
    // What is refused is examined as well as it can be laid out.
    let findings = if clusters.is_empty() { Vec::new() } else { preflight::examine(request, facts, &clusters, now) };
    refusals.extend(choices.iter().filter_map(|choice| objections::cannot_launch(choice, &findings)));
    if !refusals.is_empty() {
        return Err(Refused { refusals, findings });
    }
    notes.extend(left_out.iter().map(|left| format!("{}: {}: left alone; to roll it back: {}", left.cluster, left.why, left.next)));
    tell_of_each_other(&mut clusters);
    Ok(Plan { request: request.clone(), clusters, left_out, findings, notes })
}

/// Each cluster's tags tell of those beside it.
fn tell_of_each_other(clusters: &mut [ClusterPlan]) {
    let shares: Vec<Share> = clusters.iter().filter_map(|cluster| cluster.share.clone()).collect();
    for (at, cluster) in clusters.iter_mut().filter(|cluster| cluster.share.is_some()).enumerate() {
        cluster.shares = Shares::from(&shares, at);
    }
}

/// Members that run on, that AWS has not begun to end, and that no rollback keeps in standby.
pub(super) fn alive(group: &Group) -> impl Iterator<Item = &GroupInstance> {
    let kept: Vec<&InstanceId> = kept::in_standby(group).map(|i| &i.id).collect();
    group.instances.iter().filter(move |i| !i.state.is_ending() && i.state != LifecycleState::Detached && !kept.contains(&&i.id))
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
    let singleton = Some(choice.singleton.is_some());
    let earlier = Record::parse(&group.tags).ok().flatten();
    let now = || Record {
        role,
        undoes,
        singleton,
        count,
        found: Shape::of(group),
        alive: u32::try_from(alive(group).count()).unwrap_or(u32::MAX),
        capacity_tag: group.tags.get(CAPACITY_TAG).cloned(),
        members: members(group).filter(|_| role == Role::Restore),
        protects: false,
        keeps: false,
    };
    let found = earlier.unwrap_or_else(now);
    let protects = found.protects || (choice.way == Way::PutBack && role == Role::Restore);
    Record { role, undoes, singleton, count, protects, ..found }
}

/// Who lives in the group; `None` when its tags could not say so.
fn members(group: &Group) -> Option<Vec<Member>> {
    record::listed(alive(group).map(|i| Member { id: i.id.clone(), protected: i.protected }).collect(), &group.tags)
}

/// The process to resume so that a disabled group's members end; only where it is suspended as a part of the disabling.
fn ending_resumed(group: &Group) -> Option<Process> {
    let by_disabling = group.is_disabled() && unfrozen(group).iter().all(|p| Process::DISABLING.contains(p));
    (by_disabling && group.suspended.contains_key(&Process::Terminate) && alive(group).next().is_some()).then_some(Process::Terminate)
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

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_secs())
}

#[cfg(test)]
mod tests;
