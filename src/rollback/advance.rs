//! What comes next for one cluster: plan, facts and what was done so far in, steps out. Pure.
//!
//! What must stay true: nothing is taken from the newest group before the restored one serves with all the plan promises (S13), except
//! for a singleton, whose restored group stays as it is until the newest is gone (S14). A group that looks neither as before nor as
//! written is somebody else's doing and stops the cluster (F59). Every step may be repeated; a repeated run reaches the same end (L6).

mod watch;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde::ser::SerializeMap;

use super::facts::Backend;
use super::facts::Facts;
use super::facts::Standing;
use super::facts::backends_of;
use super::plan::ClusterPlan;
use super::plan::GroupPlan;
use super::plan::alive;
use crate::cloud;
use crate::cloud::Kind;
use crate::model::Capacity;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::HOLD_TTL;
use crate::model::Hold;
use crate::model::InstanceHealth;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Moment;
use crate::model::Process;

use watch::Role;
use watch::Seen;
use watch::Watch;

/// How old a describe may be. A write that is not to be seen for so long was lost and is sent again; too short and a stale read looks like
/// somebody else's change.
const STALE: Duration = Duration::from_secs(10);
/// Looks in a row without a group before it counts as gone.
const GONE: u32 = 8;
/// How old the survey of versions may be before the first change and before something is taken away.
const SURVEY_FRESH: Duration = Duration::from_secs(10);
/// Looks that must agree before something is taken away: one stale one is not enough (draining.md §4.6).
const AGREE: u32 = 2;
/// Refusals of the same step in a row before a person has to look.
const STRIKES: u32 = 3;

/// One change to the cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// Put or refresh the hold; `record` leaves sizes behind for whoever restores this group next.
    Hold {
        /// The group.
        group: GroupName,
        /// What agents read.
        hold: Hold,
        /// Goes into the capacity tag.
        record: Option<Capacity>,
    },
    /// Set the sizes.
    Resize {
        /// The group.
        group: GroupName,
        /// As known.
        from: Capacity,
        /// To be.
        to: Capacity,
    },
    /// Resume these processes.
    Resume {
        /// The group.
        group: GroupName,
        /// None else.
        processes: Vec<Process>,
    },
    /// Put instances behind a load balancer.
    Register {
        /// Where.
        backend: Backend,
        /// Who, with which port.
        targets: Vec<(InstanceId, Option<u16>)>,
    },
    /// Take instances out of a load balancer.
    Deregister {
        /// Where.
        backend: Backend,
        /// Who, with which port.
        targets: Vec<(InstanceId, Option<u16>)>,
    },
    /// Take the hold off.
    Release {
        /// The group.
        group: GroupName,
        /// The record of its sizes goes as well.
        forget: bool,
    },
}

impl Step {
    /// True when the two may be sent at once: they are of one kind, and neither prepares the other.
    pub fn may_go_with(&self, other: &Self) -> bool {
        match self {
            Self::Hold { .. } => matches!(other, Self::Hold { .. }),
            Self::Resize { .. } => matches!(other, Self::Resize { .. }),
            Self::Register { .. } => matches!(other, Self::Register { .. }),
            Self::Deregister { .. } => matches!(other, Self::Deregister { .. }),
            Self::Resume { .. } | Self::Release { .. } => false,
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hold { group, hold, .. } => write!(f, "hold {group} (generation {}, until {})", hold.generation, hold.expires),
            Self::Resize { group, from, to } => write!(f, "resize {group} from {from} to {to} (min/desired/max)"),
            Self::Resume { group, processes } => {
                write!(f, "resume {} on {group}", processes.iter().map(Process::as_str).collect::<Vec<_>>().join(", "))
            }
            Self::Register { backend, targets } => write!(f, "register {} with {backend}", ids(targets)),
            Self::Deregister { backend, targets } => write!(f, "deregister {} from {backend}", ids(targets)),
            Self::Release { group, .. } => write!(f, "release {group}"),
        }
    }
}

fn ids(targets: &[(InstanceId, Option<u16>)]) -> String {
    targets.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(", ")
}

/// Why a cluster stops before its end. A rerun goes on from there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// Asked to, by a signal.
    #[error("interrupted")]
    Interrupted,
    /// The time allowed ran out.
    #[error("out of time while waiting: {waiting}")]
    OutOfTime {
        /// For what.
        waiting: String,
    },
    /// A group is as nobody here made it.
    #[error("{group} was changed by somebody else: {diff}")]
    ChangedByAnother {
        /// The group.
        group: GroupName,
        /// Expected and found.
        diff: String,
    },
    /// Another rollback took the group.
    #[error("{group} is held by {owner} now")]
    HoldLost {
        /// The group.
        group: GroupName,
        /// By whom.
        owner: String,
    },
    /// The group is not to be seen any more.
    #[error("{group} is gone, or is being deleted")]
    GroupGone {
        /// The group.
        group: GroupName,
    },
    /// The credentials may not.
    #[error("not allowed: {error}")]
    Denied {
        /// AWS's words.
        error: cloud::Error,
    },
    /// AWS said no, several times, to a step that follows from the facts.
    #[error("refused: {error}")]
    Refused {
        /// AWS's words.
        error: cloud::Error,
    },
    /// Everything stands, but the service does not answer.
    #[error("the service does not answer: {problem}")]
    ServiceSilent {
        /// What came instead.
        problem: String,
    },
    /// The journal cannot be written, so nothing more may be changed.
    #[error("the journal cannot be written: {problem}")]
    Journal {
        /// The system's words.
        problem: String,
    },
}

impl Stop {
    /// For programs, and the name of the page in `runbooks/`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Interrupted => "rollback-interrupted",
            Self::OutOfTime { .. } => "rollback-out-of-time",
            Self::ChangedByAnother { .. } => "rollback-changed-by-another",
            Self::HoldLost { .. } => "rollback-hold-lost",
            Self::GroupGone { .. } => "rollback-group-gone",
            Self::Denied { .. } => "rollback-denied",
            Self::Refused { .. } => "rollback-refused-by-aws",
            Self::ServiceSilent { .. } => "rollback-service-silent",
            Self::Journal { .. } => "rollback-journal",
        }
    }

    /// True when the same command goes on once the obstacle is gone by itself; false when a person has to mend something first.
    pub fn is_pause(&self) -> bool {
        match self {
            Self::Interrupted | Self::OutOfTime { .. } | Self::ChangedByAnother { .. } | Self::HoldLost { .. } => true,
            Self::GroupGone { .. } | Self::Denied { .. } | Self::Refused { .. } | Self::ServiceSilent { .. } | Self::Journal { .. } => {
                false
            }
        }
    }
}

impl Serialize for Stop {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("code", self.code())?;
        map.serialize_entry("message", &self.to_string())?;
        map.end()
    }
}

/// Where a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Tags on all groups.
    Hold,
    /// For a singleton, until its agent has had time to see the hold: it must not take the newest group's leaving for a reason to poll again.
    Settle,
    /// Processes, sizes.
    Restore,
    /// Until enough instances serve, and agents have had time to see the hold.
    Await,
    /// Out of the load balancers, down to nothing.
    Close,
    /// Until what was closed serves no more; for a singleton, until it is gone.
    Gone,
    /// Facts against promises.
    Verify,
    /// The pinned min goes back to what the plan says.
    Unpin,
    /// Tags off.
    Release,
    /// Done.
    Done,
}

const SIDE_BY_SIDE: [Stage; 9] =
    [Stage::Hold, Stage::Restore, Stage::Await, Stage::Close, Stage::Gone, Stage::Verify, Stage::Unpin, Stage::Release, Stage::Done];
const HANDED_OVER: [Stage; 10] = [
    Stage::Hold,
    Stage::Settle,
    Stage::Close,
    Stage::Gone,
    Stage::Restore,
    Stage::Await,
    Stage::Verify,
    Stage::Unpin,
    Stage::Release,
    Stage::Done,
];

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These, in order, stopping at the first that fails.
    Do(Vec<Step>),
    /// Nothing; look again. The text says for what.
    Wait(String),
    /// Nothing yet: a second look has to agree with this one.
    Agree(String),
    /// Nothing; all else stands, and the service has to answer.
    AskService,
    /// Nothing before the application's groups are read anew: there may be another version.
    Survey,
    /// Nothing any more.
    Done,
    /// This cluster cannot go on.
    Stop(Stop),
}

/// What is known of the work on one cluster besides the facts. Lost with the process; a rerun makes it anew from the facts.
#[derive(Clone, Debug)]
pub struct Progress {
    stages: &'static [Stage],
    at: usize,
    watches: BTreeMap<GroupName, Watch>,
    /// When a hold was last put on a group, as far as we know.
    holds: BTreeMap<GroupName, Moment>,
    /// When all groups of the stage were first seen to be held: from then on agents have their time.
    held_since: Option<Moment>,
    /// Registrations that were asked for, by direction.
    asked: BTreeMap<(Backend, InstanceId, bool), Moment>,
    released: BTreeSet<GroupName>,
    agreeing: u32,
    strikes: u32,
}

impl Progress {
    /// Before the first step.
    pub fn new(plan: &ClusterPlan) -> Self {
        Self {
            stages: if plan.singleton { &HANDED_OVER } else { &SIDE_BY_SIDE },
            at: 0,
            watches: plan.groups().map(|g| (g.name.clone(), Watch::new(g))).collect(),
            holds: BTreeMap::new(),
            held_since: None,
            asked: BTreeMap::new(),
            released: BTreeSet::new(),
            agreeing: 0,
            strikes: 0,
        }
    }

    /// Where it is.
    pub fn stage(&self) -> Stage {
        self.stages.get(self.at).copied().unwrap_or(Stage::Done)
    }

    /// The load balancers whose health the next look needs, given groups just read. None while instances boot: a look then costs one
    /// describe for all clusters together.
    pub fn wants(&self, plan: &ClusterPlan, facts: &Facts) -> BTreeSet<Backend> {
        let all = || plan.groups().filter_map(|g| facts.group(&g.name)).flat_map(backends_of).collect();
        match self.stage() {
            Stage::Hold | Stage::Settle | Stage::Restore | Stage::Unpin | Stage::Release | Stage::Done => BTreeSet::new(),
            Stage::Await => {
                let Some(group) = facts.group(&plan.restore.name) else { return BTreeSet::new() };
                let known = |id: &InstanceId| plan.backends.iter().all(|b| facts.backends.get(b).is_some_and(|f| f.has(id)));
                let news = group.instances.iter().any(|i| i.state == LifecycleState::InService && !known(&i.id));
                if news || group.healthy_in_service() >= to_usize(plan.count) { all() } else { BTreeSet::new() }
            }
            Stage::Close | Stage::Gone | Stage::Verify => all(),
        }
    }

    /// What a rerun would still do, a line each.
    pub fn left(&self, plan: &ClusterPlan) -> Vec<String> {
        let (restore, after) = (&plan.restore.name, plan.restore.after.capacity);
        let retired = plan.retire.iter().map(|g| g.name.as_str()).collect::<Vec<_>>().join(", ");
        let line = |stage: &Stage| match stage {
            Stage::Hold | Stage::Settle | Stage::Done => None,
            Stage::Restore => Some(format!("restore {restore} to {}", plan.restore.during)),
            Stage::Await => Some(format!("wait until {} instances of {restore} serve", plan.count)),
            Stage::Close => Some(format!("take {retired} out of the load balancers and to 0/0/0")),
            Stage::Gone => Some(format!("see that {retired} {}", if plan.singleton { "is gone" } else { "gets no traffic" })),
            Stage::Verify => Some("verify load balancers and service".to_owned()),
            Stage::Unpin => (plan.restore.during != after).then(|| format!("set {restore} to {after}")),
            Stage::Release => Some(format!("release the hold on {}", plan.held().map(GroupName::as_str).collect::<Vec<_>>().join(", "))),
        };
        self.stages.iter().skip(self.at).filter_map(line).collect()
    }

    /// Looks at the facts and says what comes next. `service` is whether the service has answered (or nobody asked for it).
    pub fn advance(&mut self, plan: &ClusterPlan, facts: &Facts, owner: &str, settle: Duration, service: bool, at: Moment) -> Next {
        let look = Look { plan, facts, owner, settle, service, at };
        match self.guard(&look) {
            Ok(()) => {}
            Err(next) => return next,
        }
        loop {
            let next = match self.stage() {
                Stage::Hold => self.hold(&look),
                Stage::Settle => self.settle(&look),
                Stage::Restore => self.restore(&look),
                Stage::Await => self.until_it_serves(&look),
                Stage::Close => self.close(&look),
                Stage::Gone => self.until_gone(&look),
                Stage::Verify => self.verify(&look),
                Stage::Unpin => self.unpin(&look),
                Stage::Release => self.release(&look),
                Stage::Done => Some(Next::Done),
            };
            match next {
                Some(next) => return next,
                None => {
                    self.at += 1;
                    self.agreeing = 0;
                }
            }
        }
    }

    /// A step was carried out.
    pub fn succeeded(&mut self, step: &Step, at: Moment) {
        self.strikes = 0;
        self.wrote(step, at, true);
    }

    /// A step failed. `Some` when that is the end for this cluster.
    pub fn failed(&mut self, step: &Step, error: &cloud::Error, at: Moment) -> Option<Stop> {
        match error.kind {
            Kind::Throttled | Kind::Conflict => None,
            Kind::Unavailable | Kind::TimedOut => {
                self.wrote(step, at, false);
                None
            }
            Kind::Denied => Some(Stop::Denied { error: error.clone() }),
            Kind::Gone | Kind::Refused | Kind::Bug => {
                if error.outcome_unknown() {
                    self.wrote(step, at, false);
                }
                self.strikes += 1;
                (self.strikes >= STRIKES).then(|| Stop::Refused { error: error.clone() })
            }
        }
    }

    /// Notes a write so that the next looks are understood. `sure` is false when nobody knows whether it was carried out.
    fn wrote(&mut self, step: &Step, at: Moment, sure: bool) {
        match step {
            Step::Hold { group, .. } => {
                if sure {
                    self.holds.insert(group.clone(), at);
                }
            }
            Step::Resize { group, to, .. } => {
                if let Some(watch) = self.watches.get_mut(group) {
                    watch.wrote(at, sure, |shape| shape.capacity = *to);
                }
            }
            Step::Resume { group, processes } => {
                if let Some(watch) = self.watches.get_mut(group) {
                    watch.wrote(at, sure, |shape| shape.suspended.retain(|p| !processes.contains(p)));
                }
            }
            Step::Register { backend, targets } | Step::Deregister { backend, targets } => {
                let join = matches!(step, Step::Register { .. });
                if sure {
                    self.asked.extend(targets.iter().map(|(id, _)| ((backend.clone(), id.clone(), join), at)));
                }
            }
            Step::Release { group, .. } => {
                if sure {
                    self.released.insert(group.clone());
                }
            }
        }
    }
}

/// One look at the world.
struct Look<'a> {
    plan: &'a ClusterPlan,
    facts: &'a Facts,
    owner: &'a str,
    settle: Duration,
    service: bool,
    at: Moment,
}

impl<'a> Look<'a> {
    fn group(&self, name: &GroupName) -> Result<&'a Group, Next> {
        let gone = || Next::Stop(Stop::GroupGone { group: name.clone() });
        match self.facts.absent.get(name) {
            Some(looks) if *looks >= GONE => Err(gone()),
            Some(_) => Err(Next::Wait(format!("AWS to show {name} again"))),
            None => self.facts.group(name).filter(|g| g.status.is_none()).ok_or_else(gone),
        }
    }

    /// The groups to hold; a bystander that somebody has deleted needs no hold.
    fn there(&self) -> impl Iterator<Item = &'a GroupName> {
        let (plan, facts) = (self.plan, self.facts);
        let is_there = move |name: &GroupName| {
            facts.absent.get(name).is_none_or(|looks| *looks < GONE) && facts.group(name).is_some_and(|g| g.status.is_none())
        };
        plan.held().filter(move |name| !plan.bystanders.contains(name) || is_there(name))
    }

    /// The versions of the cluster were read a moment ago.
    fn is_surveyed(&self) -> bool {
        self.facts.surveyed.is_some_and(|when| self.at.since(when) < SURVEY_FRESH)
    }

    /// No other version, no other rollback.
    fn nobody_else(&self) -> Result<(), Next> {
        let cluster = self.facts.clusters.get(&self.plan.cluster);
        if let Some(other) = cluster.into_iter().flat_map(|c| &c.versions).find(|v| !self.plan.versions.contains(&v.group.name)) {
            let diff = format!("a version the plan does not know, {}", other.group.capacity);
            return Err(Next::Stop(Stop::ChangedByAnother { group: other.group.name.clone(), diff }));
        }
        for group in self.there().filter_map(|name| self.facts.group(name)) {
            let lost = |owner: String| Err(Next::Stop(Stop::HoldLost { group: group.name.clone(), owner }));
            match Hold::parse(&group.tags) {
                Ok(Some(hold)) if hold.is_live(self.at.wall) && (hold.owner != self.owner || hold.generation > self.plan.generation) => {
                    return lost(hold.owner);
                }
                Ok(_) => {}
                Err(problem) => return lost(problem.to_string()),
            }
        }
        Ok(())
    }

    /// Enough restored instances serve; the number that does is told too.
    fn serves(&self, restored: &Group) -> (bool, usize) {
        let serving = self.facts.serving(restored).count();
        (serving >= to_usize(self.plan.count), serving)
    }
}

impl Progress {
    /// Who else is at it? Every look answers that before anything is changed.
    fn guard(&mut self, look: &Look<'_>) -> Result<(), Next> {
        let done = self.stage() == Stage::Done;
        for planned in look.plan.groups() {
            if done {
                break;
            }
            let group = look.group(&planned.name).inspect_err(|_| self.agreeing = 0)?;
            let agents_may_act = self.held_since.is_none_or(|since| look.at.since(since) < look.settle + STALE);
            let role =
                if planned.name == look.plan.restore.name { Role::Restored { agents_may_act } } else { Role::Retired { agents_may_act } };
            let Some(watch) = self.watches.get_mut(&planned.name) else { continue };
            match watch.look(group, role, look.at) {
                Seen::Steady => {}
                Seen::Unsettled => return Err(Next::Wait(format!("AWS to show what was written to {}", planned.name))),
                Seen::Changed(diff) => return Err(Next::Stop(Stop::ChangedByAnother { group: planned.name.clone(), diff })),
            }
        }
        if !done {
            look.nobody_else()?;
        }
        self.hold_anew_what_lapsed(look);
        let refresh = self.overdue_holds(look);
        if refresh.is_empty() { Ok(()) } else { Err(Next::Do(refresh)) }
    }

    fn hold_step(look: &Look<'_>, group: &GroupName) -> Step {
        let hold = Hold { generation: look.plan.generation, owner: look.owner.to_owned(), expires: look.at.wall.plus(HOLD_TTL) };
        let retired = || look.plan.retire.iter().find(|g| &g.name == group).map(|g| g.before.capacity).filter(|c| c.desired > 0);
        let record = if *group == look.plan.restore.name { Some(look.plan.restore.after.capacity) } else { retired() };
        Step::Hold { group: group.clone(), hold, record }
    }

    /// A hold that we put and that is not to be seen any more, or has expired while this machine slept: agents may have gone on meanwhile,
    /// so all begins again with the hold. Every step may be repeated.
    fn hold_anew_what_lapsed(&mut self, look: &Look<'_>) {
        if self.stage() >= Stage::Release {
            return;
        }
        let is_live = |name: &GroupName| {
            let hold = look.facts.group(name).and_then(|g| Hold::parse(&g.tags).ok().flatten());
            hold.is_some_and(|hold| hold.is_live(look.at.wall))
        };
        let lapsed = |name: &&GroupName| self.holds.get(*name).is_some_and(|put| age(*put, look.at) >= STALE) && !is_live(name);
        let lapsed: Vec<GroupName> = look.there().filter(lapsed).cloned().collect();
        if !lapsed.is_empty() {
            self.holds.retain(|name, _| !lapsed.contains(name));
            self.held_since = None;
            self.agreeing = 0;
            self.at = 0;
        }
    }

    /// Holds that we put and that have used up half their life.
    fn overdue_holds(&self, look: &Look<'_>) -> Vec<Step> {
        let overdue = |g: &&GroupName| {
            let put = self.holds.get(*g).filter(|_| !self.released.contains(*g) && self.stage() < Stage::Release);
            put.is_some_and(|put| age(*put, look.at) > HOLD_TTL / 2)
        };
        look.there().filter(overdue).map(|g| Self::hold_step(look, g)).collect()
    }

    fn hold(&mut self, look: &Look<'_>) -> Option<Next> {
        if !look.is_surveyed() {
            return Some(Next::Survey);
        }
        let missing: Vec<Step> = look.there().filter(|g| !self.holds.contains_key(*g)).map(|g| Self::hold_step(look, g)).collect();
        if !missing.is_empty() {
            return Some(Next::Do(missing));
        }
        self.held_since.get_or_insert(look.at);
        None
    }

    fn is_settled(&self, look: &Look<'_>) -> bool {
        self.held_since.is_some_and(|since| look.at.since(since) >= look.settle)
    }

    fn settle(&mut self, look: &Look<'_>) -> Option<Next> {
        (!self.is_settled(look)).then(|| Next::Wait("agents to see the hold".to_owned()))
    }

    /// Sizes first, processes after: a Terminate resumed on a group that wants fewer than it has would end some at once (F28).
    fn restore_steps(&self, look: &Look<'_>) -> Vec<Step> {
        let planned = &look.plan.restore;
        let Some(known) = self.watches.get(&planned.name).map(Watch::known) else { return Vec::new() };
        let raised = if look.plan.singleton { 0 } else { known.capacity.desired };
        let desired = planned.during.desired.max(raised);
        let to = Capacity { desired, max: planned.during.max.max(desired), ..planned.during };
        let mut steps = Vec::new();
        if known.capacity != to {
            steps.push(Step::Resize { group: planned.name.clone(), from: known.capacity, to });
        }
        let processes: Vec<Process> = look.plan.resume.iter().filter(|p| known.suspended.contains(p)).cloned().collect();
        if !processes.is_empty() {
            steps.push(Step::Resume { group: planned.name.clone(), processes });
        }
        steps
    }

    fn restore(&mut self, look: &Look<'_>) -> Option<Next> {
        let steps = self.restore_steps(look);
        (!steps.is_empty()).then_some(Next::Do(steps))
    }

    fn until_it_serves(&mut self, look: &Look<'_>) -> Option<Next> {
        let group = match look.group(&look.plan.restore.name) {
            Ok(group) => group,
            Err(next) => return Some(next),
        };
        let mut steps = self.restore_steps(look);
        steps.extend(self.registrations(look, group));
        if !steps.is_empty() {
            return Some(Next::Do(steps));
        }
        let (enough, serving) = look.serves(group);
        let settled = self.is_settled(look);
        if enough && settled {
            self.agreeing += 1;
            if self.agreeing >= AGREE {
                return None;
            }
            return Some(Next::Agree(format!("a second look to agree that {} serves", group.name)));
        }
        self.agreeing = 0;
        if enough {
            return Some(Next::Wait("agents to see the hold".to_owned()));
        }
        let (up, count) = (group.healthy_in_service(), look.plan.count);
        let usual = match look.plan.first_health.as_secs() {
            0 => String::new(),
            seconds => format!(" (checks take {seconds} s)"),
        };
        Some(Next::Wait(format!("{}: {serving} of {count} serve, {up} in service{usual}", group.name)))
    }

    /// AddToLoadBalancer is not retroactive: those that came while it was suspended, and those that were taken out, are put in by hand (F57).
    fn registrations(&self, look: &Look<'_>, group: &Group) -> Vec<Step> {
        let known = self.watches.get(&group.name).map(Watch::known);
        if known.is_none_or(|shape| shape.suspended.contains(&Process::AddToLoadBalancer)) {
            return Vec::new();
        }
        let up: Vec<&InstanceId> = group
            .instances
            .iter()
            .filter(|i| i.state == LifecycleState::InService && i.health == InstanceHealth::Healthy)
            .map(|i| &i.id)
            .collect();
        let absent = |backend: &Backend, id: &InstanceId| {
            look.facts.backends.get(backend).is_some_and(|f| !f.has(id)) && !self.asked_lately(backend, id, true, look.at)
        };
        let mut steps = Vec::new();
        for backend in &look.plan.backends {
            let port = look.facts.backends.get(backend).and_then(|f| f.port_of_siblings(&up));
            let targets: Vec<_> = up.iter().filter(|id| absent(backend, id)).map(|id| ((*id).clone(), port)).collect();
            if !targets.is_empty() {
                steps.push(Step::Register { backend: backend.clone(), targets });
            }
        }
        steps
    }

    fn asked_lately(&self, backend: &Backend, id: &InstanceId, join: bool, at: Moment) -> bool {
        self.asked.get(&(backend.clone(), id.clone(), join)).is_some_and(|asked| at.since(*asked) < STALE)
    }

    fn close_steps(&self, look: &Look<'_>) -> Vec<Step> {
        let mut leave: BTreeMap<Backend, Vec<(InstanceId, Option<u16>)>> = BTreeMap::new();
        let (mut shrink, mut resume) = (Vec::new(), Vec::new());
        for planned in &look.plan.retire {
            let Some(group) = look.facts.group(&planned.name) else { continue };
            for backend in backends_of(group) {
                let Some(facts) = look.facts.backends.get(&backend) else { continue };
                let staying = group.instances.iter().flat_map(|i| facts.members.get(&i.id).into_iter().flatten().map(move |m| (&i.id, m)));
                let staying = staying.filter(|(id, m)| m.standing != Standing::Leaving && !self.asked_lately(&backend, id, false, look.at));
                let targets: Vec<_> = staying.map(|(id, m)| (id.clone(), m.port)).collect();
                if !targets.is_empty() {
                    leave.entry(backend.clone()).or_default().extend(targets);
                }
            }
            if let Some(known) = self.watches.get(&planned.name).map(Watch::known).filter(|known| known.capacity != planned.after.capacity)
            {
                shrink.push(Step::Resize { group: planned.name.clone(), from: known.capacity, to: planned.after.capacity });
            }
            if let Some(known) = self.watches.get(&planned.name).map(Watch::known) {
                let processes: Vec<Process> = known.suspended.difference(&planned.after.suspended).cloned().collect();
                if !processes.is_empty() {
                    resume.push(Step::Resume { group: planned.name.clone(), processes });
                }
            }
        }
        let leave = leave.into_iter().map(|(backend, targets)| Step::Deregister { backend, targets });
        leave.chain(shrink).chain(resume).collect()
    }

    fn close(&mut self, look: &Look<'_>) -> Option<Next> {
        let zeroed = look.plan.retire.iter().all(|g| self.watches.get(&g.name).is_some_and(|w| w.known().capacity == g.after.capacity));
        if !zeroed && !look.is_surveyed() {
            return Some(Next::Survey);
        }
        if !look.plan.singleton {
            let group = match look.group(&look.plan.restore.name) {
                Ok(group) => group,
                Err(next) => return Some(next),
            };
            if !zeroed && !look.serves(group).0 {
                self.at -= 1;
                self.agreeing = 0;
                return Some(Next::Wait(format!("{} to serve again", group.name)));
            }
        }
        let steps = self.close_steps(look);
        (!steps.is_empty()).then_some(Next::Do(steps))
    }

    fn until_gone(&mut self, look: &Look<'_>) -> Option<Next> {
        let steps = self.close_steps(look);
        if !steps.is_empty() {
            return Some(Next::Do(steps));
        }
        for planned in &look.plan.retire {
            let group = match look.group(&planned.name) {
                Ok(group) => group,
                Err(next) => return Some(next),
            };
            if group.capacity != planned.after.capacity {
                return Some(self.not_yet(format!("{} to show {}", group.name, planned.after.capacity)));
            }
            let healthy = |i: &InstanceId| backends_of(group).iter().any(|b| look.facts.backends.get(b).is_some_and(|f| f.gets_traffic(i)));
            let serving = group.instances.iter().filter(|i| healthy(&i.id)).count();
            if serving > 0 {
                return Some(self.not_yet(format!("{}: {serving} still get traffic", group.name)));
            }
            if look.plan.singleton && left(group) > 0 {
                return Some(self.not_yet(format!(
                    "{}: {} to be gone before {} may start",
                    group.name,
                    left(group),
                    look.plan.restore.name
                )));
            }
            if alive(group).next().is_some() {
                return Some(self.not_yet(format!("AWS to begin to end {} of {}", alive(group).count(), group.name)));
            }
        }
        self.agreeing += 1;
        if look.plan.singleton && self.agreeing < AGREE {
            return Some(Next::Agree("a second look to agree that nothing polls any more".to_owned()));
        }
        None
    }

    fn not_yet(&mut self, text: String) -> Next {
        self.agreeing = 0;
        Next::Wait(text)
    }

    /// The promises, measured in one look: sizes and processes as planned, enough restored instances behind every load balancer, nothing
    /// of the others, and the service's answer.
    fn verify(&mut self, look: &Look<'_>) -> Option<Next> {
        let group = match look.group(&look.plan.restore.name) {
            Ok(group) => group,
            Err(next) => return Some(next),
        };
        let mut steps = self.restore_steps(look);
        steps.extend(self.close_steps(look));
        if !steps.is_empty() {
            return Some(Next::Do(steps));
        }
        let unseen = |g: &&GroupPlan| {
            let watch = self.watches.get(&g.name);
            look.facts.group(&g.name).is_none_or(|group| watch.is_none_or(|w| !w.is_as_known(group)))
        };
        if let Some(unseen) = look.plan.groups().find(unseen) {
            return Some(Next::Wait(format!("AWS to show what was written to {}", unseen.name)));
        }
        if let Some(group) = look.plan.retire.iter().filter_map(|g| look.facts.group(&g.name)).find(|g| alive(g).next().is_some()) {
            return Some(Next::Wait(format!("AWS to begin to end {} of {}", alive(group).count(), group.name)));
        }
        let (enough, serving) = look.serves(group);
        if !enough {
            return Some(Next::Wait(format!("{}: {serving} of {} serve", group.name, look.plan.count)));
        }
        (!look.service).then_some(Next::AskService)
    }

    fn unpin(&mut self, look: &Look<'_>) -> Option<Next> {
        let planned = &look.plan.restore;
        let known = self.watches.get(&planned.name).map(Watch::known)?.capacity;
        let to = Capacity { min: planned.after.capacity.min, ..known };
        (known != to).then(|| Next::Do(vec![Step::Resize { group: planned.name.clone(), from: known, to }]))
    }

    /// The restored group last: as long as it is held, a rerun knows that work is left.
    fn release(&mut self, look: &Look<'_>) -> Option<Next> {
        let restored = &look.plan.restore.name;
        let others = look.there().filter(|g| *g != restored);
        let order = others.chain([restored]).filter(|g| !self.released.contains(*g));
        let steps: Vec<Step> = order.map(|g| Step::Release { group: g.clone(), forget: g == restored }).collect();
        (!steps.is_empty()).then_some(Next::Do(steps))
    }
}

/// By the clock that shows more: the one that does not jump stands still while a laptop sleeps.
fn age(earlier: Moment, at: Moment) -> Duration {
    let wall = u64::try_from(at.wall.0.saturating_sub(earlier.wall.0)).unwrap_or(0);
    at.since(earlier).max(Duration::from_millis(wall))
}

/// Members that are not gone.
fn left(group: &Group) -> usize {
    group.instances.iter().filter(|i| i.state != LifecycleState::Terminated).count()
}

fn to_usize(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
