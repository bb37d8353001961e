//! The region itself: its things, its virtual time, its one queue of events.
//!
//! What must stay true: the same seed and the same calls at the same times give the same truth. Nothing here reads a clock, and every
//! collection that is walked is ordered. A group is changed through [`Region::group_mut`] and [`Region::instance_mut`] alone, which keep
//! what stale reads still show.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::BinaryHeap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use serde_json::Value;

use super::SimTime;
use super::api::ApiError;
use super::api::ApiResult;
use super::balancer::Balancer;
use super::balancer::Classic;
use super::balancer::TargetGroupState;
use super::ec2::Template;
use super::group::GroupDescription;
use super::group::GroupState;
use super::instance::Instance;
use super::spec::Incident;
use super::spec::Pace;
use super::supply::Supply;
use super::trouble::Troubles;
use super::truth::Call;
use super::truth::Outcome;
use super::truth::Truth;
use super::undocumented::Undocumented;
use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::TargetGroupArn;
use crate::model::Timestamp;

/// The account everything belongs to.
pub const ACCOUNT: &str = "123456789012";
/// The region's name.
pub const REGION: &str = "us-east-1";
/// The caller of everything the scenario itself does.
pub const SCENARIO: &str = "scenario";
/// The caller of what Auto Scaling does on its own.
pub(super) const AUTOSCALING: &str = "autoscaling";

/// A simulated region: Auto Scaling, EC2, both generations of load balancers, and the orchestrators on its instances.
#[derive(Debug)]
pub struct Region {
    pub(super) start: Timestamp,
    pub(super) now: SimTime,
    pub(super) rng: Pcg64Mcg,
    pub(super) pace: Pace,
    pub(super) undocumented: Undocumented,
    pub(super) troubles: Troubles,
    pub(super) stale: Duration,
    pub(super) context: Option<Context>,
    events: BinaryHeap<Reverse<(SimTime, u64, Event)>>,
    serial: u64,
    pub(super) supply: Supply,
    pub(super) templates: BTreeMap<String, Template>,
    pub(super) groups: BTreeMap<GroupName, GroupState>,
    past: BTreeMap<GroupName, VecDeque<Past>>,
    pub(super) instances: BTreeMap<InstanceId, Instance>,
    pub(super) target_groups: BTreeMap<TargetGroupArn, TargetGroupState>,
    pub(super) balancers: BTreeMap<String, Balancer>,
    pub(super) classics: BTreeMap<String, Classic>,
    pub(super) queues: BTreeMap<String, VecDeque<u64>>,
    pub(super) incidents: Vec<Incident>,
    pub(super) truth: Truth,
}

/// What a group looked like until that time; `None` = it was not there.
type Past = (SimTime, Option<Arc<GroupDescription>>);

/// Who makes the call that is being carried out.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) caller: String,
    pub(super) reply_lost: bool,
}

/// What is going to happen. The order of variants breaks no tie: the serial number does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Reconcile(GroupName),
    Rebalance(GroupName),
    RefreshStep(GroupName),
    Scheduled(GroupName, String, u64),
    Booted(InstanceId),
    ServiceUp(InstanceId, u32),
    CheckHealth(InstanceId),
    HookTimeout(InstanceId, String, u64),
    Deregistered(InstanceId),
    Ended(InstanceId),
    Forget(InstanceId),
    Purge(InstanceId),
    SpotEnd(InstanceId),
    CrashLoop(InstanceId, u32),
    Submit(String, String, Duration),
    Finish(u64, usize),
    Redeliver(u64),
    StopGrace(InstanceId, u32),
    Incident(usize),
}

impl Region {
    /// An empty region whose virtual time begins at `start`. Everything random in it comes from `seed`, also how the undocumented parts
    /// of AWS are.
    pub fn new(seed: u64, start: Timestamp) -> Self {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let undocumented = Undocumented::draw(&mut rng);
        Self {
            start,
            now: SimTime::ZERO,
            rng,
            pace: Pace::default(),
            undocumented,
            troubles: Troubles::default(),
            stale: Duration::ZERO,
            context: None,
            events: BinaryHeap::new(),
            serial: 0,
            supply: Supply::default(),
            templates: BTreeMap::new(),
            groups: BTreeMap::new(),
            past: BTreeMap::new(),
            instances: BTreeMap::new(),
            target_groups: BTreeMap::new(),
            balancers: BTreeMap::new(),
            classics: BTreeMap::new(),
            queues: BTreeMap::new(),
            incidents: Vec::new(),
            truth: Truth::default(),
        }
    }

    /// Lets virtual time pass up to `to`: everything due until then happens, in order. An earlier time changes nothing.
    pub fn advance(&mut self, to: SimTime) {
        while self.events.peek().is_some_and(|Reverse((at, _, _))| *at <= to) {
            let Some(Reverse((at, _, event))) = self.events.pop() else { break };
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = self.now.max(to);
    }

    /// When the next thing happens by itself; `None` = never.
    pub fn next_event(&self) -> Option<SimTime> {
        self.events.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Virtual time since the start.
    pub fn now(&self) -> SimTime {
        self.now
    }

    /// Time of day in the region.
    pub fn wall(&self) -> Timestamp {
        self.wall_at(self.now)
    }

    /// Time of day at a virtual time.
    pub fn wall_at(&self, at: SimTime) -> Timestamp {
        self.start.plus(at)
    }

    /// What really happened.
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// How the undocumented parts of AWS are in this region.
    pub fn undocumented(&self) -> &Undocumented {
        &self.undocumented
    }

    /// Sets them, instead of the seed.
    pub fn set_undocumented(&mut self, undocumented: Undocumented) {
        self.undocumented = undocumented;
    }

    /// How fast AWS is.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// One instance, as it really is; ended ones for an hour.
    pub fn instance(&self, id: &InstanceId) -> Option<&Instance> {
        self.instances.get(id)
    }

    /// All instances that EC2 still knows, by id.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values()
    }

    /// One group as it really is now, whatever reads show.
    pub fn group_now(&self, name: &GroupName) -> Option<GroupDescription> {
        self.groups.get(name).map(|g| self.describe(g))
    }

    /// Names of all groups.
    pub fn group_names(&self) -> Vec<GroupName> {
        self.groups.keys().cloned().collect()
    }

    /// Living members of a group, oldest first.
    pub fn members(&self, group: &GroupName) -> Vec<InstanceId> {
        let living = |id: &&InstanceId| self.instances.get(id).is_some_and(|i| !i.ec2.is_over());
        self.groups.get(group).map(|g| g.members.iter().filter(living).cloned().collect()).unwrap_or_default()
    }

    pub(super) fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    pub(super) fn at(&mut self, at: SimTime, event: Event) {
        self.serial += 1;
        self.events.push(Reverse((at.max(self.now), self.serial, event)));
    }

    pub(super) fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from_digit(self.rng.random_range(0..16), 16).unwrap_or('0')).collect()
    }

    pub(super) fn uuid(&mut self) -> String {
        [8, 4, 4, 4, 12].map(|n| self.hex(n)).join("-")
    }

    /// Who makes the call that is being carried out.
    pub(super) fn who(&self) -> String {
        self.context.as_ref().map_or_else(|| SCENARIO.to_owned(), |c| c.caller.clone())
    }

    /// Carries a mutation out and writes it into the ledger, whatever comes of it.
    pub(super) fn mutate<T>(&mut self, action: &'static str, args: Value, change: impl FnOnce(&mut Self) -> ApiResult<T>) -> ApiResult<T> {
        // A call that no front makes is the script's own.
        let scripted = self.context.is_none();
        if scripted {
            self.context = Some(Context { caller: SCENARIO.to_owned(), reply_lost: false });
        }
        let result = change(self);
        let outcome = result.as_ref().map_or_else(|e| Outcome::Refused(e.clone()), |_| Outcome::Applied);
        let (caller, reply_lost) = (self.who(), self.context.as_ref().is_some_and(|c| c.reply_lost));
        self.truth.calls.push(Call { at: self.now, caller, action, args, outcome, reply_lost });
        if scripted {
            self.context = None;
        }
        result
    }

    /// The group, to be changed. What it was is kept for stale reads.
    pub(super) fn group_mut(&mut self, name: &GroupName) -> Option<&mut GroupState> {
        self.remember(name);
        self.groups.get_mut(name)
    }

    pub(super) fn known_group(&self, name: &GroupName) -> ApiResult<&GroupState> {
        self.groups.get(name).ok_or_else(|| ApiError::no_group(name.as_str()))
    }

    /// The instance, to be changed. What its group was is kept for stale reads.
    pub(super) fn instance_mut(&mut self, id: &InstanceId) -> Option<&mut Instance> {
        if let Some(group) = self.instances.get(id).and_then(|i| i.group.clone()) {
            self.remember(&group);
        }
        self.instances.get_mut(id)
    }

    /// Keeps what a group looks like until now, and drops what no read can show any more. Once for each instant is enough.
    pub(super) fn remember(&mut self, name: &GroupName) {
        if self.stale.is_zero() {
            if let Some(group) = self.groups.get(name) {
                group.shown.take();
            }
            return;
        }
        if self.past.get(name).and_then(|past| past.back()).is_some_and(|(until, _)| *until == self.now) {
            if let Some(group) = self.groups.get(name) {
                group.shown.take();
            }
            return;
        }
        let shown = self.groups.get(name).map(|g| self.shown(g));
        if let Some(group) = self.groups.get(name) {
            group.shown.take();
        }
        let oldest = self.now.saturating_sub(self.stale);
        let past = self.past.entry(name.clone()).or_default();
        past.push_back((self.now, shown));
        while past.front().is_some_and(|(until, _)| *until < oldest) {
            past.pop_front();
        }
    }

    /// A group as a read of this age shows it.
    pub(super) fn shown_at(&self, name: &GroupName, age: Duration) -> Option<Arc<GroupDescription>> {
        let then = self.now.saturating_sub(age);
        if !age.is_zero()
            && let Some((_, old)) = self.past.get(name).and_then(|past| past.iter().find(|(until, _)| *until > then))
        {
            return old.clone();
        }
        self.groups.get(name).map(|g| self.shown(g))
    }

    fn shown(&self, group: &GroupState) -> Arc<GroupDescription> {
        group.shown.borrow_mut().get_or_insert_with(|| Arc::new(self.describe(group))).clone()
    }

    /// Names of the groups that a read of any age may show.
    pub(super) fn shown_names(&self) -> BTreeSet<GroupName> {
        let mut names: BTreeSet<_> = self.groups.keys().cloned().collect();
        if !self.stale.is_zero() {
            names.extend(self.past.keys().cloned());
        }
        names
    }

    /// How old this read is.
    pub(super) fn age(&mut self) -> Duration {
        if self.stale.is_zero() {
            return Duration::ZERO;
        }
        // Most reads are fresh; the old ones are spread over the bound.
        if self.rng.random_bool(0.5) { Duration::ZERO } else { self.stale.mul_f64(self.rng.random()) }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Reconcile(group) => self.reconcile(&group),
            Event::Rebalance(group) => self.rebalance(&group),
            Event::RefreshStep(group) => self.refresh_step(&group),
            Event::Scheduled(group, name, serial) => self.scheduled_due(&group, &name, serial),
            Event::Booted(id) => self.booted(&id),
            Event::ServiceUp(id, generation) => self.service_up(&id, generation),
            Event::CheckHealth(id) => self.check_health(&id),
            Event::HookTimeout(id, token, serial) => self.hook_timeout(&id, &token, serial),
            Event::Deregistered(id) => self.deregistered(&id),
            Event::Ended(id) => self.ended(&id),
            Event::Forget(id) => self.forget(&id),
            Event::Purge(id) => {
                self.instances.remove(&id);
            }
            Event::SpotEnd(id) => self.spot_end(&id),
            Event::CrashLoop(id, generation) => self.crash_loop(&id, generation),
            Event::Submit(queue, application, length) => self.submit(&queue, &application, length),
            Event::Finish(execution, run) => self.finish(execution, run),
            Event::Redeliver(execution) => self.redeliver(execution),
            Event::StopGrace(id, generation) => self.stop_grace_over(&id, generation),
            Event::Incident(i) => self.incident_due(i),
        }
    }
}
