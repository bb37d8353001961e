//! A handful of groups behind one target group and one classic load balancer, on tokio's clock. Small on purpose: what AWS is like is the
//! simulated region's matter; this one serves to put a fault at an exact call and to see a broken promise at the very change that breaks it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;

use crate::cloud;
use crate::cloud::ActivityStatus;
use crate::cloud::Ask;
use crate::cloud::AutoScaling;
use crate::cloud::Blueprint;
use crate::cloud::Caller;
use crate::cloud::CallerIdentity;
use crate::cloud::ClassicHealth;
use crate::cloud::Compute;
use crate::cloud::Error;
use crate::cloud::GroupFilter;
use crate::cloud::Image;
use crate::cloud::Kind;
use crate::cloud::LoadBalancing;
use crate::cloud::Offer;
use crate::cloud::OwnInstance;
use crate::cloud::Receipt;
use crate::cloud::Refresh;
use crate::cloud::Resize;
use crate::cloud::ScalingActivity;
use crate::cloud::ScheduledAction;
use crate::cloud::Subnet;
use crate::cloud::TargetGroup;
use crate::cloud::TargetHealth;
use crate::cloud::TargetId;
use crate::cloud::TargetState;
use crate::cloud::Verdict;
use crate::host::clock::VirtualClock;
use crate::model::Capacity;
use crate::model::Clock;
use crate::model::Group;
use crate::model::GroupInstance;
use crate::model::GroupName;
use crate::model::HOLD_TAG;
use crate::model::Hook;
use crate::model::HookResult;
use crate::model::InstanceId;
use crate::model::LaunchSource;
use crate::model::LifecycleState;
use crate::model::Override;
use crate::model::Process;
use crate::model::TargetGroupArn;
use crate::model::Timestamp;
use crate::model::testing;
use crate::model::weight;

/// From launch to in service.
pub const BOOT: Duration = Duration::from_secs(40);
/// From registration to healthy.
pub const CHECKS: Duration = Duration::from_secs(20);
/// From the end's beginning to gone.
pub const ENDING: Duration = Duration::from_secs(15);
const LATENCY: Duration = Duration::from_millis(30);

/// What goes wrong at one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Carried out, and the answer lost.
    ReplyLost,
    /// Neither.
    RequestLost,
    /// Not carried out, and said so.
    Fails(Kind),
    /// The process dies after it is carried out: the call never returns.
    Dies,
}

#[derive(Default)]
pub(super) struct State {
    groups: BTreeMap<GroupName, Group>,
    launched: BTreeMap<InstanceId, Duration>,
    ending: BTreeMap<InstanceId, Duration>,
    registered: BTreeMap<(String, InstanceId), Duration>,
    leaving: BTreeMap<(String, InstanceId), Duration>,
    history: Vec<(Duration, BTreeMap<GroupName, Group>)>,
    faults: BTreeMap<usize, Fault>,
    changes: usize,
    reads: usize,
    launches: u32,
    hidden: BTreeMap<GroupName, Duration>,
    broken: Vec<String>,
    mute: Option<(&'static str, Kind)>,
    sickened: Option<&'static str>,
    /// Some member of the group with a canary has served by now.
    canary_served: bool,
}

/// See the module.
pub struct Fleet {
    pub(super) clock: VirtualClock,
    pub(super) state: Mutex<State>,
    /// Instances of this group never pass a check.
    pub sick: Option<&'static str>,
    /// The target group was deleted.
    pub no_targets: bool,
    /// Nobody may ask for instance refreshes.
    pub no_refreshes: bool,
    /// AWS cannot launch anything, and says why.
    pub no_launch: Option<&'static str>,
    /// What AWS says of each group's last activity.
    pub activity: Option<&'static str>,
    /// The restored group may get smaller again.
    pub undone: bool,
    /// Reads show the groups as they were so long ago, every second time.
    pub stale: Duration,
    /// Every read does, also those that look for groups.
    pub always: bool,
    /// Serving instances of the restored group that must be there before anything is taken away (S13); by cluster without `-vNNN`.
    pub floors: BTreeMap<&'static str, (&'static str, usize)>,
    /// Members that this group may have at most until one of them serves.
    pub canary: Option<(&'static str, usize)>,
    /// Clusters that never have two living instances that poll: of enabled groups, and of disabled ones whose agents see neither a
    /// successor nor a hold (S14).
    pub singletons: Vec<&'static str>,
}

pub const TARGETS: &str = "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/gate/1";
pub const CLASSIC: &str = "gate-internal";

impl Fleet {
    pub fn new() -> Self {
        let clock = VirtualClock::start(Timestamp(1_800_000_000_000));
        Self {
            clock,
            state: Mutex::default(),
            sick: None,
            no_targets: false,
            no_refreshes: false,
            no_launch: None,
            activity: None,
            undone: false,
            stale: Duration::ZERO,
            always: false,
            floors: BTreeMap::new(),
            canary: None,
            singletons: Vec::new(),
        }
    }

    pub fn clock(&self) -> VirtualClock {
        self.clock
    }

    /// Adds a group whose instances are up; those of an enabled one are registered, and healthy unless sick.
    pub fn with(self, name: &str, sizes: (u32, u32, u32), disabled: bool) -> Self {
        self.appear(name, sizes, disabled);
        self
    }

    /// A group that is suddenly there.
    pub fn appear(&self, name: &str, sizes: (u32, u32, u32), disabled: bool) {
        let mut state = self.state.lock().unwrap();
        let created = i64::try_from(state.groups.len()).unwrap();
        let bare = testing::group(name, created, sizes, [""; 0]);
        let bare = if disabled { testing::disabled(bare) } else { bare };
        let group = Group { target_groups: vec![TargetGroupArn::from(TARGETS)], classic_load_balancers: vec![CLASSIC.to_owned()], ..bare };
        state.groups.insert(group.name.clone(), group);
        for _ in 0..sizes.1 {
            let id = state.launch(&GroupName::from(name), Duration::ZERO, LifecycleState::InService);
            if !disabled {
                state.register(&id, Duration::ZERO);
            }
        }
    }

    /// Each member of the group counts for so much of its sizes, which were meant in instances.
    pub fn weigh(&self, name: &str, weight: u32) {
        self.meddle(name, |g| {
            g.mixed = Some(vec![Override { instance_type: Some("m5.xlarge".to_owned()), weight: Some(weight), launch: None }]);
            g.instances.iter_mut().for_each(|i| i.weight = weight);
            let Capacity { min, desired, max } = g.capacity;
            g.capacity = Capacity { min: min * weight, desired: desired * weight, max: max * weight };
        });
    }

    pub fn fault(&self, at_change: usize, fault: Fault) {
        self.state.lock().unwrap().faults.insert(at_change, fault);
    }

    pub fn changes(&self) -> usize {
        self.state.lock().unwrap().changes
    }

    pub fn reads(&self) -> usize {
        self.state.lock().unwrap().reads
    }

    pub fn broken(&self) -> Vec<String> {
        self.state.lock().unwrap().broken.clone()
    }

    pub fn group(&self, name: &str) -> Group {
        self.settle();
        self.state.lock().unwrap().groups[&GroupName::from(name)].clone()
    }

    /// Reads do not show the group for so long.
    pub fn hide(&self, name: &str, time: Duration) {
        self.state.lock().unwrap().hidden.insert(GroupName::from(name), self.clock.now().mono + time);
    }

    pub fn meddle(&self, name: &str, change: impl FnOnce(&mut Group)) {
        change(self.state.lock().unwrap().groups.get_mut(&GroupName::from(name)).unwrap());
    }

    /// From now on instances of this group fail their checks; of no group any more with `None`.
    pub fn sicken(&self, name: Option<&'static str>) {
        self.state.lock().unwrap().sickened = name;
    }

    /// From now on whatever concerns the group or the load balancer of this name cannot be read.
    pub fn mute(&self, name: &'static str, kind: Kind) {
        self.state.lock().unwrap().mute = Some((name, kind));
    }

    fn muted<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> cloud::Result<()> {
        let mute = self.state.lock().unwrap().mute;
        match mute.filter(|(mute, _)| names.into_iter().any(|name| name == *mute)) {
            Some((_, kind)) => Err(error(kind)),
            None => Ok(()),
        }
    }

    /// Lets time have passed.
    fn settle(&self) {
        let now = self.clock.now().mono;
        let mut guard = self.state.lock().unwrap();
        let state = &mut *guard;
        for group in state.groups.values_mut() {
            group.instances.retain(|i| state.ending.get(&i.id).is_none_or(|since| now < *since + ENDING));
            for instance in &mut group.instances {
                if instance.state == LifecycleState::Pending && now >= state.launched[&instance.id] + BOOT {
                    instance.state = LifecycleState::InService;
                    if !group.suspended.contains_key(&Process::AddToLoadBalancer) {
                        for backend in [TARGETS, CLASSIC] {
                            state.registered.insert((backend.to_owned(), instance.id.clone()), state.launched[&instance.id] + BOOT);
                        }
                    }
                }
            }
        }
        let names: Vec<GroupName> = state.groups.keys().cloned().collect();
        for name in names {
            state.steer(&name, now, self.no_launch.is_none());
        }
        if let Some((name, alone)) = self.canary {
            let members = &state.groups[&GroupName::from(name)].instances;
            let served = members.iter().any(|i| [TARGETS, CLASSIC].iter().all(|b| self.healthy(state, b, &i.id, now)));
            let members = members.len();
            state.canary_served |= served;
            if !state.canary_served && members > alone {
                state.broken.push(format!("{members} of {name} before one serves, at {now:?}"));
            }
        }
        for cluster in &self.singletons {
            let lives = |g: &Group| g.instances.iter().filter(|i| i.state != LifecycleState::Terminated).count();
            let versions: Vec<&Group> = state.groups.values().filter(|g| g.name.as_str().starts_with(cluster)).collect();
            let superseded = |g: &Group| versions.iter().any(|v| v.created > g.created && !v.is_disabled() && v.healthy_in_service() > 0);
            let polls = |g: &&&Group| !g.is_disabled() || !(g.tags.contains_key(HOLD_TAG) || superseded(g));
            let alive: usize = versions.iter().filter(polls).map(|g| lives(g)).sum();
            if alive > 1 {
                state.broken.push(format!("S14: {alive} of {cluster} at {now:?}"));
            }
        }
        let shown = state.groups.clone();
        if state.history.last().is_none_or(|(_, last)| *last != shown) {
            state.history.push((now, shown));
        }
    }

    fn serving(&self, name: &str) -> usize {
        let now = self.clock.now().mono;
        let state = self.state.lock().unwrap();
        let group = &state.groups[&GroupName::from(name)];
        let up = group.instances.iter().filter(|i| i.state == LifecycleState::InService);
        up.filter(|i| [TARGETS, CLASSIC].iter().all(|b| self.healthy(&state, b, &i.id, now))).count()
    }

    fn healthy(&self, state: &State, backend: &str, id: &InstanceId, now: Duration) -> bool {
        let sick = self.sick.is_some_and(|sick| id.as_str().contains(sick));
        let since = state.registered.get(&(backend.to_owned(), id.clone()));
        let sickened = state.sickened.is_some_and(|sick| id.as_str().contains(sick));
        !sick && !sickened && since.is_some_and(|since| now >= *since + CHECKS || *since == Duration::ZERO)
    }

    async fn read(&self) {
        tokio::time::sleep(LATENCY).await;
        self.settle();
        self.state.lock().unwrap().reads += 1;
    }

    async fn change(&self, taken_from: Option<&str>, apply: impl FnOnce(&mut State, Duration)) -> cloud::Result<()> {
        tokio::time::sleep(LATENCY).await;
        self.settle();
        if let Some((restored, floor)) =
            taken_from.and_then(|name| self.floors.iter().find(|(newest, _)| **newest == name)).map(|(_, f)| *f)
        {
            let serving = self.serving(restored);
            if serving < floor {
                self.state.lock().unwrap().broken.push(format!("S13: {taken_from:?} touched while {serving} of {restored} serve"));
            }
        }
        let fault = {
            let mut state = self.state.lock().unwrap();
            state.changes += 1;
            let number = state.changes;
            let fault = state.faults.remove(&number);
            if matches!(fault, None | Some(Fault::ReplyLost | Fault::Dies)) {
                apply(&mut state, self.clock.now().mono);
            }
            fault
        };
        self.settle();
        match fault {
            None => Ok(()),
            Some(Fault::Fails(kind)) => Err(error(kind)),
            Some(Fault::ReplyLost | Fault::RequestLost) => Err(error(Kind::TimedOut)),
            Some(Fault::Dies) => std::future::pending().await,
        }
    }
}

/// For how much of its sizes a member of this group counts.
fn weight_of(group: &Group) -> u32 {
    group.mixed.iter().flatten().find_map(|choice| choice.weight).unwrap_or(1)
}

fn error(kind: Kind) -> Error {
    Error { kind, action: "Any", code: "Fault".to_owned(), message: "as told".to_owned(), request_id: None }
}

impl State {
    /// The groups as reads of then saw them.
    fn shown(&self, then: Duration) -> &BTreeMap<GroupName, Group> {
        self.history.iter().rfind(|(at, _)| *at <= then).map_or(&self.groups, |(_, groups)| groups)
    }

    fn launch(&mut self, group: &GroupName, now: Duration, state: LifecycleState) -> InstanceId {
        self.launches += 1;
        let id = InstanceId::new(format!("i-{group}-{}", self.launches));
        self.launched.insert(id.clone(), now);
        let weight = weight_of(&self.groups[group]);
        let instance = GroupInstance { state, weight, ..testing::member(group.as_str(), id.as_str()) };
        self.groups.get_mut(group).unwrap().instances.push(instance);
        id
    }

    fn register(&mut self, id: &InstanceId, now: Duration) {
        for backend in [TARGETS, CLASSIC] {
            self.registered.insert((backend.to_owned(), id.clone()), now);
        }
    }

    fn steer(&mut self, name: &GroupName, now: Duration, launches: bool) {
        let group = &self.groups[name];
        let counts = |i: &&GroupInstance| !i.state.is_ending() && i.state != LifecycleState::Standby;
        let counted = weight(group.instances.iter().filter(counts));
        let (desired, each) = (group.capacity.desired, weight_of(group));
        if launches && counted < desired && !group.suspended.contains_key(&Process::Launch) {
            (counted..desired).step_by(usize::try_from(each).unwrap()).for_each(|_| {
                self.launch(name, now, LifecycleState::Pending);
            });
        } else if counted > desired && !group.suspended.contains_key(&Process::Terminate) {
            let free = group.instances.iter().filter(counts).filter(|i| !i.protected).map(|i| i.id.clone());
            let surplus: Vec<InstanceId> = free.take(usize::try_from((counted - desired) / each).unwrap()).collect();
            for id in &surplus {
                self.end(name, id, now);
            }
        }
    }

    pub fn end(&mut self, name: &GroupName, id: &InstanceId, now: Duration) {
        self.ending.insert(id.clone(), now);
        for instance in &mut self.groups.get_mut(name).unwrap().instances {
            if &instance.id == id {
                instance.state = LifecycleState::Terminating;
            }
        }
        for backend in [TARGETS, CLASSIC] {
            self.leave(backend, id, now);
        }
    }

    fn leave(&mut self, backend: &str, id: &InstanceId, now: Duration) {
        if self.registered.remove(&(backend.to_owned(), id.clone())).is_some() && backend == TARGETS {
            self.leaving.insert((backend.to_owned(), id.clone()), now);
        }
    }
}

#[async_trait]
impl AutoScaling for Fleet {
    async fn groups(&self, names: &[GroupName]) -> cloud::Result<Vec<Group>> {
        self.read().await;
        self.muted(names.iter().map(GroupName::as_str))?;
        let now = self.clock.now().mono;
        let state = self.state.lock().unwrap();
        let then = if self.always || state.reads.is_multiple_of(2) { now.saturating_sub(self.stale) } else { now };
        let shown = state.shown(then);
        let hidden = |name: &&GroupName| state.hidden.get(*name).is_some_and(|until| now < *until);
        Ok(names.iter().filter(|name| !hidden(name)).filter_map(|name| shown.get(name).cloned()).collect())
    }

    async fn find_groups(&self, _: &GroupFilter) -> cloud::Result<Vec<Group>> {
        self.read().await;
        let state = self.state.lock().unwrap();
        let then = if self.always { self.clock.now().mono.saturating_sub(self.stale) } else { Duration::MAX };
        Ok(state.shown(then).values().cloned().collect())
    }

    async fn instance(&self, _: &InstanceId) -> cloud::Result<Option<GroupInstance>> {
        unreachable!("a rollback asks for groups")
    }

    async fn activities(&self, group: &GroupName, _: u32) -> cloud::Result<Vec<ScalingActivity>> {
        self.read().await;
        let failed = |message: &str| ScalingActivity {
            id: "1".to_owned(),
            description: "Launching a new EC2 instance".to_owned(),
            cause: format!("an increase of {group}"),
            status: ActivityStatus::Failed,
            status_code: "Failed".to_owned(),
            progress: 100,
            started: self.clock.now().wall,
            message: Some(message.to_owned()),
        };
        let other =
            self.activity.map(|cause| ScalingActivity { cause: cause.to_owned(), status: ActivityStatus::Successful, ..failed("") });
        Ok(self.no_launch.map(failed).into_iter().chain(other).collect())
    }

    async fn hook(&self, _: &GroupName, _: &str) -> cloud::Result<Option<Hook>> {
        unreachable!("a rollback answers no hooks")
    }

    async fn heartbeat(&self, _: &GroupName, _: &str, _: &OwnInstance) -> cloud::Result<Receipt> {
        unreachable!("a rollback answers no hooks")
    }

    async fn complete(&self, _: &GroupName, _: &str, _: &OwnInstance, _: HookResult) -> cloud::Result<Receipt> {
        unreachable!("a rollback answers no hooks")
    }

    async fn scheduled_actions(&self, _: &GroupName) -> cloud::Result<Vec<ScheduledAction>> {
        Ok(Vec::new())
    }

    async fn running_refreshes(&self, _: &GroupName) -> cloud::Result<Vec<Refresh>> {
        self.read().await;
        if self.no_refreshes { Err(error(Kind::Denied)) } else { Ok(Vec::new()) }
    }

    async fn policies(&self, _: &GroupName) -> cloud::Result<Vec<String>> {
        self.read().await;
        Ok(Vec::new())
    }

    async fn terminate_own(&self, _: &OwnInstance, _: bool) -> cloud::Result<ScalingActivity> {
        unreachable!("a rollback terminates nobody")
    }

    async fn lower_min(&self, _: &GroupName, _: u32) -> cloud::Result<()> {
        unreachable!("an agent's call")
    }

    async fn resize(&self, group: &GroupName, change: Resize) -> cloud::Result<Receipt> {
        let emptied = (change.desired == Some(0)).then_some(group.as_str());
        self.change(emptied, |state, _| {
            let capacity = &mut state.groups.get_mut(group).unwrap().capacity;
            let (min, max) = (change.min.unwrap_or(capacity.min), change.max.unwrap_or(capacity.max));
            let to = Capacity { min, max, desired: change.desired.unwrap_or(capacity.desired.clamp(min, max)) };
            let shrinks = to.desired < capacity.desired;
            *capacity = to;
            if shrinks && to.desired > 0 && !self.undone {
                state.broken.push(format!("S13: {group} made smaller"));
            }
        })
        .await
        .map(|()| Receipt::default())
    }

    async fn suspend(&self, group: &GroupName, processes: &[Process]) -> cloud::Result<Receipt> {
        let suspended = processes.iter().map(|p| (p.clone(), "User suspended".to_owned()));
        self.change(None, |state, _| state.groups.get_mut(group).unwrap().suspended.extend(suspended)).await.map(|()| Receipt::default())
    }

    async fn resume(&self, group: &GroupName, processes: &[Process]) -> cloud::Result<Receipt> {
        self.change(None, |state, _| state.groups.get_mut(group).unwrap().suspended.retain(|p, _| !processes.contains(p)))
            .await
            .map(|()| Receipt::default())
    }

    async fn protect(&self, group: &GroupName, instances: &[InstanceId], protected: bool) -> cloud::Result<Receipt> {
        let in_service = |i: &GroupInstance| i.state == LifecycleState::InService;
        if !instances.iter().all(|id| self.group(group.as_str()).instance(id).is_some_and(in_service)) {
            return Err(error(Kind::Refused));
        }
        let change = |state: &mut State, _| {
            let members = &mut state.groups.get_mut(group).unwrap().instances;
            members.iter_mut().filter(|i| instances.contains(&i.id)).for_each(|i| i.protected = protected);
        };
        self.change(None, change).await.map(|()| Receipt::default())
    }

    async fn enter_standby(&self, group: &GroupName, instances: &[InstanceId]) -> cloud::Result<Receipt> {
        let now = self.group(group.as_str());
        let in_service = |i: &GroupInstance| i.state == LifecycleState::InService;
        let decrement = weight(now.instances.iter().filter(|i| instances.contains(&i.id)));
        let room = now.capacity.desired.checked_sub(decrement).is_some_and(|left| left >= now.capacity.min);
        if !room || !instances.iter().all(|id| now.instance(id).is_some_and(in_service)) {
            return Err(error(Kind::Refused));
        }
        let change = |state: &mut State, at| {
            let group = state.groups.get_mut(group).unwrap();
            group.capacity.desired -= decrement;
            let kept = group.instances.iter_mut().filter(|i| instances.contains(&i.id));
            kept.for_each(|i| i.state = LifecycleState::Standby);
            for (backend, id) in [TARGETS, CLASSIC].into_iter().flat_map(|b| instances.iter().map(move |id| (b, id))) {
                state.leave(backend, id, at);
            }
        };
        self.change(Some(group.as_str()), change).await.map(|()| Receipt::default())
    }

    async fn put_tags(&self, group: &GroupName, tags: &[(String, String)]) -> cloud::Result<Receipt> {
        self.change(None, |state, _| state.groups.get_mut(group).unwrap().tags.extend(tags.iter().cloned()))
            .await
            .map(|()| Receipt::default())
    }

    async fn delete_tags(&self, group: &GroupName, keys: &[String]) -> cloud::Result<Receipt> {
        self.change(None, |state, _| state.groups.get_mut(group).unwrap().tags.retain(|k, _| !keys.contains(k)))
            .await
            .map(|()| Receipt::default())
    }
}

#[async_trait]
impl Caller for Fleet {
    async fn caller(&self) -> cloud::Result<CallerIdentity> {
        Ok(CallerIdentity { account: "1".to_owned(), arn: "arn:aws:iam::1:user/ann".to_owned() })
    }

    async fn verdicts(&self, _: &Ask) -> cloud::Result<BTreeMap<String, Verdict>> {
        Ok(BTreeMap::new())
    }
}

/// Nothing that launches need is ever lacking; groups name no launch source, so that nobody asks.
#[async_trait]
impl Compute for Fleet {
    async fn blueprint(&self, _: &LaunchSource) -> cloud::Result<Blueprint> {
        Ok(Blueprint::default())
    }

    async fn images(&self, _: &[String]) -> cloud::Result<Vec<Image>> {
        Ok(Vec::new())
    }

    async fn key_pairs(&self, _: &[String]) -> cloud::Result<()> {
        Ok(())
    }

    async fn security_groups(&self, _: &[String]) -> cloud::Result<()> {
        Ok(())
    }

    async fn subnets(&self, _: &[String]) -> cloud::Result<Vec<Subnet>> {
        Ok(Vec::new())
    }

    async fn offers(&self, _: &[String], _: &[String]) -> cloud::Result<BTreeSet<Offer>> {
        Ok(BTreeSet::new())
    }

    async fn vcpus(&self, _: &[String]) -> cloud::Result<BTreeMap<String, u32>> {
        Ok(BTreeMap::new())
    }

    async fn running(&self) -> cloud::Result<BTreeMap<String, u32>> {
        Ok(BTreeMap::new())
    }

    async fn vcpu_quota(&self) -> cloud::Result<u32> {
        Ok(0)
    }
}

#[async_trait]
impl LoadBalancing for Fleet {
    async fn target_groups(&self, arns: &[TargetGroupArn]) -> cloud::Result<Vec<TargetGroup>> {
        self.read().await;
        if self.no_targets {
            return Err(error(Kind::Gone));
        }
        let facts = |arn: &TargetGroupArn| TargetGroup {
            arn: arn.clone(),
            name: "gate".to_owned(),
            port: Some(8084),
            load_balancers: vec!["lb".to_owned()],
            health_interval_s: 10,
            healthy_threshold: 2,
        };
        Ok(arns.iter().map(facts).collect())
    }

    async fn target_health(&self, arn: &TargetGroupArn) -> cloud::Result<Vec<TargetHealth>> {
        self.read().await;
        if self.no_targets {
            return Err(error(Kind::Gone));
        }
        let now = self.clock.now().mono;
        let state = self.state.lock().unwrap();
        let target =
            |id: &InstanceId, state| TargetHealth { target: TargetId { instance: id.clone(), port: Some(8084) }, state, reason: None };
        let registered = state
            .registered
            .keys()
            .filter(|(b, _)| b == arn.as_str())
            .map(|(b, id)| target(id, if self.healthy(&state, b, id, now) { TargetState::Healthy } else { TargetState::Initial }));
        let leaving = state.leaving.iter().filter(|((b, id), since)| {
            b == arn.as_str() && now < **since + ENDING && !state.registered.contains_key(&(b.clone(), id.clone()))
        });
        Ok(registered.chain(leaving.map(|((_, id), _)| target(id, TargetState::Draining))).collect())
    }

    async fn register_targets(&self, arn: &TargetGroupArn, targets: &[TargetId]) -> cloud::Result<Receipt> {
        self.change(None, |state, now| {
            for target in targets {
                assert_eq!(target.port, Some(8084), "the port is part of a target's identity (F57)");
                state.registered.entry((arn.to_string(), target.instance.clone())).or_insert(now);
            }
        })
        .await
        .map(|()| Receipt::default())
    }

    async fn deregister_targets(&self, arn: &TargetGroupArn, targets: &[TargetId]) -> cloud::Result<Receipt> {
        let of = targets.first().and_then(|t| t.instance.as_str().strip_prefix("i-")?.rsplit_once('-')).map(|(group, _)| group.to_owned());
        self.change(of.as_deref(), |state, now| targets.iter().for_each(|t| state.leave(arn.as_str(), &t.instance, now)))
            .await
            .map(|()| Receipt::default())
    }

    async fn classic_health(&self, name: &str) -> cloud::Result<Vec<ClassicHealth>> {
        self.read().await;
        self.muted([name])?;
        let now = self.clock.now().mono;
        let state = self.state.lock().unwrap();
        let members = state.registered.keys().filter(|(b, _)| b == name);
        let health = |(b, id): &(String, InstanceId)| ClassicHealth {
            instance: id.clone(),
            in_service: self.healthy(&state, b, id, now),
            reason: "N/A".to_owned(),
        };
        Ok(members.map(health).collect())
    }

    async fn register_classic(&self, name: &str, instances: &[InstanceId]) -> cloud::Result<Receipt> {
        self.change(None, |state, now| {
            for id in instances {
                state.registered.entry((name.to_owned(), id.clone())).or_insert(now);
            }
        })
        .await
        .map(|()| Receipt::default())
    }

    async fn deregister_classic(&self, name: &str, instances: &[InstanceId]) -> cloud::Result<Receipt> {
        let of = instances.first().and_then(|id| id.as_str().strip_prefix("i-")?.rsplit_once('-')).map(|(group, _)| group.to_owned());
        self.change(of.as_deref(), |state, now| instances.iter().for_each(|id| state.leave(name, id, now)))
            .await
            .map(|()| Receipt::default())
    }
}
