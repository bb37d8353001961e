//! What comes next for one cluster: plan, facts and what was done so far in, steps out. Pure.
//!
//! What must stay true: nothing is taken from the newest group before the restored one serves with all the plan promises (S13), except
//! for a singleton, whose restored group stays as it is until the newest is gone (S14). A group that looks neither as before nor as
//! written is somebody else's doing and stops the cluster (F59). Every step may be repeated; a repeated run reaches the same end (L6).

mod bake;
mod canary;
mod freeze;
mod holds;
mod keep;
mod look;
mod protect;
mod put_back;
mod restore;
mod stage;
mod step;
mod stop;
mod switch;
mod verify;
mod watch;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use super::facts::Backend;
use super::facts::Facts;
use super::facts::backends_of;
use super::plan::ClusterPlan;
use super::plan::Request;
use crate::cloud;
use crate::cloud::Kind;
use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Moment;

pub use stage::Stage;
pub use step::CapacityTag;
pub use step::Step;
pub use stop::Stop;

use look::Look;
use protect::Protections;
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
/// The same of a step that names members: one that has begun to end spoils the call for all until looks show it.
const MEMBER_STRIKES: u32 = 6;

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
    protections: Protections,
    /// Sent into standby, and when.
    standby: BTreeMap<InstanceId, Moment>,
    released: BTreeSet<GroupName>,
    /// The last write.
    wrote: Option<Moment>,
    /// Since when as many restored instances as are wanted have been in service, with only their checks to come.
    up: Option<Moment>,
    /// Since when the canary is waited for.
    canary_since: Option<Moment>,
    /// It was seen to serve, so that the others may come.
    canary_serves: bool,
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
            stages: stage::stages(plan),
            at: 0,
            watches: plan.groups().map(|g| (g.name.clone(), Watch::new(g, plan.canary.as_ref().map(|canary| canary.sizes)))).collect(),
            holds: BTreeMap::new(),
            held_since: None,
            held_before: Duration::ZERO,
            asked: BTreeMap::new(),
            protections: Protections::default(),
            standby: BTreeMap::new(),
            released: BTreeSet::new(),
            wrote: None,
            up: None,
            canary_since: None,
            canary_serves: false,
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
            Stage::Canary | Stage::Await => {
                let Some(group) = facts.group(&plan.restore.name) else { return BTreeSet::new() };
                let enough = if self.stage() == Stage::Canary { 1 } else { plan.count };
                let known = |id: &InstanceId| plan.backends.iter().all(|b| facts.backends.get(b).is_some_and(|f| f.has(id)));
                let news = group.instances.iter().any(|i| i.state == LifecycleState::InService && !known(&i.id));
                if news || group.healthy_weight() >= enough { all() } else { BTreeSet::new() }
            }
            Stage::Close | Stage::Gone | Stage::Verify | Stage::Bake | Stage::PutBack => all(),
        }
    }

    /// What was written last is about to show, or the restored instances are about to pass their checks: to look sooner is worth its calls, for a
    /// few seconds.
    pub fn is_news_due(&self, plan: &ClusterPlan, at: Moment) -> bool {
        let due = match self.stage() {
            Stage::Canary | Stage::Await => self.up.map(|up| (up, plan.first_health)),
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
            Stage::Canary => {
                let canary = plan.canary.as_ref().filter(|_| !self.canary_serves);
                canary.map(|canary| {
                    format!("wait until one of {restore} serves, {} s at most, before the others are launched", canary.within.as_secs())
                })
            }
            Stage::Await => Some(match plan.count {
                1 => format!("wait until 1 instance of {restore} serves"),
                count => format!("wait until {count} instances of {restore} serve"),
            }),
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
                Stage::Canary => self.canary(&look),
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
                let most = if let Step::Protect { .. } | Step::Standby { .. } = step { MEMBER_STRIKES } else { STRIKES };
                (self.strikes >= most).then(|| Stop::Refused { error: error.clone() })
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
            Step::Protect { instances, protected, .. } => {
                if sure {
                    self.protections.wrote(instances, *protected, at);
                }
            }
            Step::Standby { group, instances, decrement } => {
                if let Some(watch) = self.watches.get_mut(group) {
                    watch.wrote(at, sure, |shape| shape.capacity.desired = shape.capacity.desired.saturating_sub(*decrement));
                }
                if sure {
                    self.standby.extend(instances.iter().map(|id| (id.clone(), at)));
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
            match watch.look(group, role, look.facts.described.unwrap_or(look.at)) {
                Seen::Steady => {}
                Seen::Unsettled => return Err(Next::Wait(format!("AWS to show what was written to {}", planned.name))),
                Seen::Changed(differences) => {
                    return Err(Next::Stop(Stop::ChangedByAnother { group: planned.name.clone(), differences, activity: None }));
                }
            }
        }
        if !done {
            look.nobody_else()?;
        }
        self.hold_anew_what_lapsed(look);
        let refresh = self.overdue_holds(look);
        if refresh.is_empty() { Ok(()) } else { Err(Next::Do(refresh)) }
    }
}
