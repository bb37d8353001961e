//! What comes next for one cluster: plan, facts and what was done so far in, steps out. Pure.
//!
//! What must stay true: nothing is taken from the newest group before the restored one serves with all the plan promises (S13), except
//! for a singleton, whose restored group stays as it is until the newest is gone (S14). A group that looks neither as before nor as
//! written is somebody else's doing and stops the cluster (F59). Every step may be repeated; a repeated run reaches the same end (L6).

mod bake;
mod freeze;
mod holds;
mod look;
mod put_back;
mod step;
mod stop;
mod watch;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::facts::Backend;
use super::facts::Facts;
use super::facts::Standing;
use super::facts::backends_of;
use super::plan::ClusterPlan;
use super::plan::GroupPlan;
use super::plan::Request;
use super::plan::Way;
use super::plan::alive;
use crate::cloud;
use crate::cloud::Kind;
use crate::model::Capacity;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::InstanceHealth;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Moment;
use crate::model::Process;

pub use step::CapacityTag;
pub use step::Step;
pub use stop::Stop;

use look::Look;
use watch::Role;
use watch::Seen;
use watch::Watch;

/// How old a describe may be. A write that is not to be seen for so long was lost and is sent again; too short and a stale read looks like
/// somebody else's change.
const STALE: Duration = Duration::from_secs(10);
/// AWS shows what was written, and checks end, within this of when they should.
const NEWS_WITHIN: Duration = Duration::from_secs(2);
/// Looks in a row without a group before it counts as gone.
const GONE: u32 = 8;
/// How old the survey of versions may be before the first change and before something is taken away.
const SURVEY_FRESH: Duration = Duration::from_secs(10);
/// Looks that must agree before something is taken away: one stale one is not enough (draining.md §4.6).
const AGREE: u32 = 2;
/// Refusals of the same step in a row before a person has to look.
const STRIKES: u32 = 3;

/// Where a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Tags on all groups.
    Hold,
    /// For a singleton, until its agent has had time to see the hold: it must not take the newest group's leaving for a reason to poll again.
    Settle,
    /// What would fight is suspended.
    Freeze,
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
    /// Until what was verified has stayed true for long enough.
    Bake,
    /// All groups as they were found.
    PutBack,
    /// The pinned min goes back to what the plan says, what was frozen goes on, and then the tags go.
    Release,
    /// Done.
    Done,
}

const SIDE_BY_SIDE: [Stage; 10] = [
    Stage::Hold,
    Stage::Freeze,
    Stage::Restore,
    Stage::Await,
    Stage::Close,
    Stage::Gone,
    Stage::Verify,
    Stage::Bake,
    Stage::Release,
    Stage::Done,
];
const HANDED_OVER: [Stage; 11] = [
    Stage::Hold,
    Stage::Settle,
    Stage::Freeze,
    Stage::Close,
    Stage::Gone,
    Stage::Restore,
    Stage::Await,
    Stage::Verify,
    Stage::Bake,
    Stage::Release,
    Stage::Done,
];
const PUT_BACK: [Stage; 4] = [Stage::Hold, Stage::PutBack, Stage::Release, Stage::Done];

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
    /// How long an earlier run had held all of them by then.
    held_before: Duration,
    /// Registrations that were asked for, by direction.
    asked: BTreeMap<(Backend, InstanceId, bool), Moment>,
    released: BTreeSet<GroupName>,
    /// The last write.
    wrote: Option<Moment>,
    /// Since when as many restored instances as are wanted have been in service, with only their checks to come.
    up: Option<Moment>,
    agreeing: u32,
    strikes: u32,
    /// Since when all was seen to stand.
    baking: Option<Moment>,
    /// Since when it does not any more.
    worse: Option<Moment>,
}

impl Progress {
    /// Before the first step.
    pub fn new(plan: &ClusterPlan) -> Self {
        Self {
            stages: match plan.way {
                Way::PutBack => &PUT_BACK,
                Way::Rollback | Way::Forward if plan.singleton => &HANDED_OVER,
                Way::Rollback | Way::Forward => &SIDE_BY_SIDE,
            },
            at: 0,
            watches: plan.groups().map(|g| (g.name.clone(), Watch::new(g))).collect(),
            holds: BTreeMap::new(),
            held_since: None,
            held_before: Duration::ZERO,
            asked: BTreeMap::new(),
            released: BTreeSet::new(),
            wrote: None,
            up: None,
            agreeing: 0,
            strikes: 0,
            baking: None,
            worse: None,
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
            Stage::Hold | Stage::Settle | Stage::Freeze | Stage::Restore | Stage::Release | Stage::Done => BTreeSet::new(),
            Stage::Await => {
                let Some(group) = facts.group(&plan.restore.name) else { return BTreeSet::new() };
                let known = |id: &InstanceId| plan.backends.iter().all(|b| facts.backends.get(b).is_some_and(|f| f.has(id)));
                let news = group.instances.iter().any(|i| i.state == LifecycleState::InService && !known(&i.id));
                if news || group.healthy_in_service() >= to_usize(plan.count) { all() } else { BTreeSet::new() }
            }
            Stage::Close | Stage::Gone | Stage::Verify | Stage::Bake | Stage::PutBack => all(),
        }
    }

    /// What was written last is about to show, or the restored instances are about to pass their checks: to look sooner is worth its calls, for a
    /// few seconds.
    pub fn is_news_due(&self, plan: &ClusterPlan, at: Moment) -> bool {
        let due = match self.stage() {
            Stage::Await => self.up.map(|up| (up, plan.first_health)),
            _ => self.wrote.map(|wrote| (wrote, Duration::ZERO)),
        };
        due.is_some_and(|(since, takes)| at.since(since).abs_diff(takes) <= NEWS_WITHIN)
    }

    /// What a rerun would still do, a line each.
    pub fn left(&self, plan: &ClusterPlan) -> Vec<String> {
        let (restore, after) = (&plan.restore.name, plan.restore.after.capacity);
        let retired = plan.retire.iter().map(|g| g.name.as_str()).collect::<Vec<_>>().join(", ");
        let line = |stage: &Stage| match stage {
            Stage::Hold | Stage::Settle | Stage::Freeze | Stage::Bake | Stage::Done => None,
            Stage::Restore => Some(format!("restore {restore} to {}", plan.restore.during)),
            Stage::Await => Some(format!("wait until {} instances of {restore} serve", plan.count)),
            Stage::Close => Some(format!("take {retired} out of the load balancers and to 0/0/0")),
            Stage::Gone => Some(format!("see that {retired} {}", if plan.singleton { "is gone" } else { "gets no traffic" })),
            Stage::Verify => Some("verify load balancers and service".to_owned()),
            Stage::PutBack => Some(format!("put {restore} back to {after}, and all processes as they were found")),
            Stage::Release => Some(format!(
                "leave {restore} at {after}, resume what was frozen, release the hold on {}",
                plan.held().map(GroupName::as_str).collect::<Vec<_>>().join(", ")
            )),
        };
        self.stages.iter().skip(self.at).filter_map(line).collect()
    }

    /// Looks at the facts and says what comes next. `service` is whether the service has answered (or nobody asked for it).
    pub fn advance(&mut self, plan: &ClusterPlan, facts: &Facts, request: &Request, service: bool, at: Moment) -> Next {
        let look = Look { plan, facts, request, service, at };
        match self.guard(&look) {
            Ok(()) => {}
            Err(next) => return next,
        }
        loop {
            let next = match self.stage() {
                Stage::Hold => self.hold(&look),
                Stage::Settle => self.settle(&look),
                Stage::Freeze => self.freeze(&look),
                Stage::PutBack => self.put_back(&look),
                Stage::Restore => self.restore(&look),
                Stage::Await => self.until_it_serves(&look),
                Stage::Close => self.close(&look),
                Stage::Gone => self.until_gone(&look),
                Stage::Verify => self.verify(&look),
                Stage::Bake => self.bake(&look),
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
        self.wrote = Some(at);
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
            Step::Suspend { group, processes } => {
                if let Some(watch) = self.watches.get_mut(group) {
                    watch.wrote(at, sure, |shape| shape.suspended.extend(processes.iter().cloned()));
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

impl Progress {
    /// Who else is at it? Every look answers that before anything is changed.
    fn guard(&mut self, look: &Look<'_>) -> Result<(), Next> {
        let done = self.stage() == Stage::Done;
        for planned in look.plan.groups() {
            if done {
                break;
            }
            let group = look.group(&planned.name).inspect_err(|_| self.agreeing = 0)?;
            let agents_may_act = self.held_for(look.at) < look.request.settle + STALE;
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
        let mut steps = self.freeze_steps(look);
        steps.extend(self.restore_steps(look));
        steps.extend(self.registrations(look, group));
        if !steps.is_empty() {
            return Some(Next::Do(steps));
        }
        self.up = if group.healthy_in_service() >= to_usize(look.plan.count) { self.up.or(Some(look.at)) } else { None };
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
        let failure = look.facts.launch_failures.get(&group.name).map(|why| format!("; AWS could not launch: {why}")).unwrap_or_default();
        Some(Next::Wait(format!("{}: {serving} of {count} serve, {up} in service{usual}{failure}", group.name)))
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
        for backend in &backends_of(group) {
            let port = look.facts.backends.get(backend).and_then(|f| f.port_of_siblings(&up));
            let targets: Vec<_> = up.iter().filter(|id| absent(backend, id)).map(|id| ((*id).clone(), port)).collect();
            if !targets.is_empty() {
                steps.push(Step::Register { backend: backend.clone(), targets });
            }
        }
        steps
    }

    /// The members of these groups that are behind their load balancers and not on their way out.
    fn departures(&self, look: &Look<'_>, groups: &[&Group]) -> Vec<Step> {
        let mut leave: BTreeMap<Backend, Vec<(InstanceId, Option<u16>)>> = BTreeMap::new();
        for group in groups {
            for backend in backends_of(group) {
                let Some(facts) = look.facts.backends.get(&backend) else { continue };
                let members = group.instances.iter().flat_map(|i| facts.members.get(&i.id).into_iter().flatten().map(move |m| (&i.id, m)));
                let staying = members.filter(|(id, m)| m.standing != Standing::Leaving && !self.asked_lately(&backend, id, false, look.at));
                let targets: Vec<_> = staying.map(|(id, m)| (id.clone(), m.port)).collect();
                if !targets.is_empty() {
                    leave.entry(backend.clone()).or_default().extend(targets);
                }
            }
        }
        leave.into_iter().map(|(backend, targets)| Step::Deregister { backend, targets }).collect()
    }

    fn asked_lately(&self, backend: &Backend, id: &InstanceId, join: bool, at: Moment) -> bool {
        self.asked.get(&(backend.clone(), id.clone(), join)).is_some_and(|asked| at.since(*asked) < STALE)
    }

    fn close_steps(&self, look: &Look<'_>) -> Vec<Step> {
        let (mut shrink, mut resume) = (Vec::new(), Vec::new());
        for planned in &look.plan.retire {
            if let Some(known) = self.watches.get(&planned.name).map(Watch::known).filter(|known| known.capacity != planned.after.capacity)
            {
                shrink.push(Step::Resize { group: planned.name.clone(), from: known.capacity, to: planned.after.capacity });
            }
            if let Some(known) = self.watches.get(&planned.name).map(Watch::known) {
                let ended = known.suspended.difference(&planned.after.suspended);
                let processes: Vec<Process> = ended.filter(|p| !planned.frozen.contains(p)).cloned().collect();
                if !processes.is_empty() {
                    resume.push(Step::Resume { group: planned.name.clone(), processes });
                }
            }
        }
        let groups: Vec<&Group> = look.plan.retire.iter().filter_map(|g| look.facts.group(&g.name)).collect();
        self.departures(look, &groups).into_iter().chain(shrink).chain(resume).collect()
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

    /// The restored group last: as long as it is held, a rerun knows that work is left.
    fn release(&mut self, look: &Look<'_>) -> Option<Next> {
        let restored = &look.plan.restore.name;
        let others = look.there().filter(|g| *g != restored);
        let order = others.chain([restored]).filter(|g| !self.released.contains(*g));
        let capacity = |group: &GroupName| match look.plan.way {
            Way::PutBack => look.plan.groups().find(|g| &g.name == group).map_or(CapacityTag::Kept, |g| match &g.record.capacity_tag {
                Some(text) => CapacityTag::Set(text.clone()),
                None => CapacityTag::Deleted,
            }),
            Way::Rollback | Way::Forward if group == restored => CapacityTag::Deleted,
            Way::Rollback | Way::Forward => CapacityTag::Kept,
        };
        // In one breath, stopping at the first that fails: no tag goes before what it stands for is undone.
        let mut steps = if look.plan.way == Way::PutBack { Vec::new() } else { self.thaw_steps(look) };
        steps.extend(order.map(|g| Step::Release { group: g.clone(), capacity: capacity(g) }));
        (!steps.is_empty()).then_some(Next::Do(steps))
    }
}

/// Members that are not gone.
fn left(group: &Group) -> usize {
    group.instances.iter().filter(|i| i.state != LifecycleState::Terminated).count()
}

fn to_usize(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
