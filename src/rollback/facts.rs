//! What a rollback knows: the application's server groups by cluster and version, and who stands how behind which load balancer.
//!
//! What must stay true: reading costs one describe per fifty groups and one health call per load balancer, whatever the number of
//! instances; facts hold what was read and judge nothing. A read may be stale (draining.md §4.6); whoever decides allows for it.

pub mod supply;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use futures::StreamExt;
use futures::TryStreamExt;
use futures::stream;
use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg32;
use serde::Serialize;

use crate::cloud;
use crate::cloud::ActivityStatus;
use crate::cloud::AutoScaling;
use crate::cloud::GroupFilter;
use crate::cloud::Kind;
use crate::cloud::LoadBalancing;
use crate::cloud::ScheduledAction;
use crate::cloud::TargetGroup;
use crate::cloud::TargetState;
use crate::model::Group;
use crate::model::GroupInstance;
use crate::model::GroupName;
use crate::model::InstanceHealth;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Moment;
use crate::model::TargetGroupArn;
use crate::model::sort_by_age;
use crate::model::weight;

pub use supply::Supply;

use supply::Policies;

/// Calls in flight at once; enough to hide latency, few enough for an account's request bucket (draining.md §4.12).
pub const IN_FLIGHT: usize = 16;

/// Attempts of one read; a look is made of many, and one that was throttled must not spoil the rest.
const ATTEMPTS: u32 = 4;
/// Longest pause before the second attempt; doubles.
const PAUSE: Duration = Duration::from_millis(400);

/// Activities of a group that are read to learn why its instances do not come; a launch that fails is tried again every few minutes.
const LAST_ACTIVITIES: u32 = 10;
/// How AWS begins to describe a launch.
const LAUNCHING: &str = "Launching";

/// Everything the plan is made from and measured against.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Clusters of the application by name (`app-stack-detail`).
    pub clusters: BTreeMap<String, Cluster>,
    /// Load balancers of the groups a rollback would touch.
    pub backends: BTreeMap<Backend, BackendFacts>,
    /// Groups with an instance refresh under way, and its status.
    pub refreshing: BTreeMap<GroupName, String>,
    /// Groups of which nobody may tell us whether a refresh is under way, and AWS's words.
    pub refreshes_unknown: BTreeMap<GroupName, String>,
    /// Scheduled actions of the groups a rollback would touch, or why they cannot be read.
    pub scheduled: BTreeMap<GroupName, Result<Vec<ScheduledAction>, String>>,
    /// Scaling policies of the groups to be restored, those that are switched on.
    pub policies: Policies,
    /// What launches of the groups to be restored need.
    pub supply: Supply,
    /// Why AWS's last try to launch an instance of a group came to nothing; only of groups that wait for instances.
    pub launch_failures: BTreeMap<GroupName, String>,
    /// Groups that begin like the application and are named by nobody's rules.
    pub strange: Vec<GroupName>,
    /// Groups that were asked for and not answered, and in how many looks in a row: one alone may be a stale read (F15).
    #[serde(skip)]
    pub absent: BTreeMap<GroupName, u32>,
    /// When the last reading of the involved groups was begun: what they show is no newer for certain, however long the rest of the look took.
    #[serde(skip)]
    pub described: Option<Moment>,
    /// When all groups were last read.
    #[serde(skip)]
    pub surveyed: Option<Moment>,
}

/// One cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// The last named part of the name: the detail, or the stack where there is none. `polling` marks a singleton.
    pub role: Option<String>,
    /// Its server groups, oldest first.
    pub versions: Vec<Version>,
    /// Groups of the cluster without a version in their name: nobody can say which they follow.
    pub unversioned: Vec<GroupName>,
}

/// One server group with its place in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    /// `vNNN` as it is written in the name.
    pub push: String,
    /// Its number: 0–999 and then 0 again.
    pub sequence: u32,
    /// The group.
    pub group: Group,
}

/// A load balancer as a group is attached to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// An ELBv2 target group.
    TargetGroup(TargetGroupArn),
    /// A classic load balancer, by name.
    Classic(String),
}

impl fmt::Display for Backend {
    /// The short name people know it by.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TargetGroup(arn) => f.write_str(arn.as_str().split('/').nth(1).unwrap_or(arn.as_str())),
            Self::Classic(name) => f.write_str(name),
        }
    }
}

/// What a load balancer says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BackendFacts {
    /// A target's port where none is given; `None` for classic ones, which know no other.
    pub port: Option<u16>,
    /// False when no listener uses the target group: its targets show `unused`, and health cannot be had.
    pub listened: bool,
    /// AWS does not know it any more, although groups are attached to it.
    pub gone: bool,
    /// Time its checks need to call a good target healthy: interval × threshold. Zero when unknown.
    pub first_health: Duration,
    /// Who is registered; the same instance may be so under several ports.
    pub members: BTreeMap<InstanceId, Vec<Member>>,
}

/// One registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// The port it is registered with; part of its identity.
    pub port: Option<u16>,
    /// How it stands.
    pub standing: Standing,
    /// The load balancer's reason, for people.
    pub reason: Option<String>,
}

/// How a registered instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Gets traffic.
    Healthy,
    /// Not checked yet, or checked and failing, or not known.
    NotHealthy,
    /// Registered with a target group that nothing listens to.
    Unused,
    /// On its way out.
    Leaving,
}

impl BackendFacts {
    /// Every registration of this instance that is not leaving is good; and there is one.
    pub fn serves(&self, id: &InstanceId) -> bool {
        let good = |m: &&Member| m.standing == Standing::Healthy || (!self.listened && m.standing == Standing::Unused);
        let staying: Vec<&Member> = self.staying(id).collect();
        !staying.is_empty() && staying.iter().all(good)
    }

    /// The instance is registered and not leaving.
    pub fn has(&self, id: &InstanceId) -> bool {
        self.staying(id).next().is_some()
    }

    /// Some registration of this instance gets traffic.
    pub fn gets_traffic(&self, id: &InstanceId) -> bool {
        self.staying(id).any(|m| m.standing == Standing::Healthy)
    }

    /// The port to register with: the one that every registered one of these has, or else the default.
    pub fn port_of_siblings(&self, siblings: &[&InstanceId]) -> Option<u16> {
        let mut ports = siblings.iter().filter_map(|id| self.members.get(*id)).flatten().map(|m| m.port);
        let first = ports.next().filter(|first| ports.all(|port| port == *first));
        first.unwrap_or(self.port)
    }

    fn staying(&self, id: &InstanceId) -> impl Iterator<Item = &Member> {
        self.members.get(id).into_iter().flatten().filter(|m| m.standing != Standing::Leaving)
    }
}

impl Facts {
    /// The group of this name, in whichever cluster.
    pub fn group(&self, name: &GroupName) -> Option<&Group> {
        self.clusters.values().flat_map(|c| &c.versions).map(|v| &v.group).find(|g| &g.name == name)
    }

    /// Members of the group that Auto Scaling has in service and calls healthy, and that every one of its load balancers serves (F56).
    pub fn serving<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = &'a GroupInstance> {
        let backends = backends_of(group);
        let in_service = |i: &&GroupInstance| i.state == LifecycleState::InService && i.health == InstanceHealth::Healthy;
        group
            .instances
            .iter()
            .filter(in_service)
            .filter(move |i| backends.iter().all(|b| self.backends.get(b).is_some_and(|facts| facts.serves(&i.id))))
    }
}

impl Facts {
    /// How much of the group's sizes those count for that [serve](Self::serving): their number, unless the group weighs them.
    pub fn serving_weight(&self, group: &Group) -> u32 {
        weight(self.serving(group))
    }
}

/// The load balancers a group is attached to.
pub fn backends_of(group: &Group) -> Vec<Backend> {
    let targets = group.target_groups.iter().cloned().map(Backend::TargetGroup);
    targets.chain(group.classic_load_balancers.iter().cloned().map(Backend::Classic)).collect()
}

/// One read, repeated after jittered pauses when that may help.
async fn patiently<T, F: Future<Output = cloud::Result<T>>>(seed: u64, read: impl Fn() -> F) -> cloud::Result<T> {
    let mut jitter = Pcg32::seed_from_u64(seed);
    for attempt in 0..ATTEMPTS - 1 {
        match read().await {
            Err(error) if error.is_retryable() => {
                tokio::time::sleep((PAUSE * (1 << attempt)).mul_f64(jitter.random_range(0.3..=1.0))).await
            }
            other => return other,
        }
    }
    read().await
}

/// Reads the region's groups and sorts out those of the application.
///
/// # Errors
/// The cloud's.
pub async fn survey(scaling: &dyn AutoScaling, application: &str, seed: u64) -> cloud::Result<Facts> {
    let groups = patiently(seed, || scaling.find_groups(&GroupFilter::All)).await?;
    Ok(sort_out(groups, application))
}

/// Reads the region's groups again and adds those that were not there before.
///
/// # Errors
/// The cloud's.
pub async fn resurvey(scaling: &dyn AutoScaling, facts: &mut Facts, application: &str, seed: u64, at: Moment) -> cloud::Result<()> {
    for (name, cluster) in survey(scaling, application, seed).await?.clusters {
        let known = facts.clusters.entry(name).or_default();
        let newcomers = cluster.versions.into_iter().filter(|v| known.versions.iter().all(|k| k.group.name != v.group.name));
        known.versions.extend(newcomers.collect::<Vec<_>>());
    }
    facts.surveyed = Some(at);
    Ok(())
}

/// Reads what the survey left open about these groups: refreshes under way, scheduled actions, and their load balancers' settings and health.
///
/// # Errors
/// The cloud's.
pub async fn look_closer(
    scaling: &dyn AutoScaling,
    balancing: &dyn LoadBalancing,
    facts: &mut Facts,
    names: &BTreeSet<GroupName>,
    seed: u64,
) -> cloud::Result<()> {
    let refreshes = stream::iter(names.iter().cloned())
        .map(|name| async move {
            match patiently(seed, || scaling.running_refreshes(&name)).await {
                Err(error) if error.kind == Kind::Denied => Ok((name, Err(error.to_string()))),
                other => other.map(|found| (name, Ok(found))),
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<Vec<_>>();
    let scheduled = stream::iter(names.iter().cloned())
        .map(|name| async move {
            match patiently(seed, || scaling.scheduled_actions(&name)).await {
                Err(error) if error.kind == Kind::Denied => Ok((name, Err(error.to_string()))),
                other => other.map(|found| (name, Ok(found))),
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<BTreeMap<_, _>>();
    let backends: BTreeSet<Backend> = names.iter().filter_map(|n| facts.group(n)).flat_map(backends_of).collect();
    let arns: Vec<TargetGroupArn> = backends
        .iter()
        .filter_map(|b| match b {
            Backend::TargetGroup(arn) => Some(arn.clone()),
            Backend::Classic(_) => None,
        })
        .collect();
    let health = async { Ok(health(balancing, &backends, seed).await) };
    let settings = settings(balancing, &arns, seed);
    let (refreshes, scheduled, settings, health) = futures::try_join!(refreshes, scheduled, settings, health)?;
    facts.scheduled = scheduled;
    for (name, found) in refreshes {
        match found {
            Ok(found) => facts.refreshing.extend(found.into_iter().next().map(|refresh| (name, refresh.status))),
            Err(error) => drop(facts.refreshes_unknown.insert(name, error)),
        }
    }
    facts.backends = backends.into_iter().map(|b| (b, BackendFacts { listened: true, ..BackendFacts::default() })).collect();
    for target_group in settings {
        if let Some(known) = facts.backends.get_mut(&Backend::TargetGroup(target_group.arn)) {
            known.port = target_group.port;
            known.listened = !target_group.load_balancers.is_empty();
            known.first_health = Duration::from_secs(u64::from(target_group.health_interval_s) * u64::from(target_group.healthy_threshold));
        }
    }
    for (backend, members) in health {
        facts.take_health(backend, members?);
    }
    Ok(())
}

/// Reads these groups anew.
///
/// # Errors
/// The cloud's.
pub async fn reread_groups(scaling: &dyn AutoScaling, facts: &mut Facts, names: &[GroupName], seed: u64) -> cloud::Result<()> {
    let mut found: BTreeMap<GroupName, Group> =
        patiently(seed, || scaling.groups(names)).await?.into_iter().map(|g| (g.name.clone(), g)).collect();
    for name in names {
        match found.contains_key(name) {
            true => drop(facts.absent.remove(name)),
            false => *facts.absent.entry(name.clone()).or_default() += 1,
        }
    }
    for version in facts.clusters.values_mut().flat_map(|c| &mut c.versions) {
        if let Some(group) = found.remove(&version.group.name) {
            version.group = group;
        }
    }
    Ok(())
}

/// Reads the health behind these load balancers anew; those that could not be read, each with the cloud's words, are left as they were.
pub async fn reread_health(
    balancing: &dyn LoadBalancing,
    facts: &mut Facts,
    backends: &BTreeSet<Backend>,
    seed: u64,
) -> BTreeMap<Backend, cloud::Error> {
    let mut unread = BTreeMap::new();
    for (backend, members) in health(balancing, backends, seed).await {
        match members {
            Ok(members) => facts.take_health(backend, members),
            Err(error) => drop(unread.insert(backend, error)),
        }
    }
    unread
}

/// Reads why instances of these groups do not come. What cannot be read is left out: the answer is for people alone.
pub async fn reread_launches(scaling: &dyn AutoScaling, facts: &mut Facts, names: &BTreeSet<GroupName>) {
    let read = |name: GroupName| async move { scaling.activities(&name, LAST_ACTIVITIES).await.ok().map(|found| (name, found)) };
    let read: Vec<_> = stream::iter(names.iter().cloned()).map(read).buffer_unordered(IN_FLIGHT).collect().await;
    for (name, activities) in read.into_iter().flatten() {
        let newest = activities.into_iter().filter(|a| a.description.starts_with(LAUNCHING)).max_by_key(|a| a.started);
        let failed = newest.filter(|a| a.status == ActivityStatus::Failed).and_then(|a| a.message);
        match failed {
            Some(message) => drop(facts.launch_failures.insert(name, message)),
            None => drop(facts.launch_failures.remove(&name)),
        }
    }
}

/// The newest scaling activity of a group: when it began, and AWS's words about who asked for it. For people alone: `None` where it cannot be read.
pub async fn newest_activity(scaling: &dyn AutoScaling, group: &GroupName) -> Option<String> {
    let activities = scaling.activities(group, LAST_ACTIVITIES).await.ok()?;
    activities.into_iter().max_by_key(|a| a.started).map(|a| format!("{}: {}", a.started, a.cause))
}

/// One target group that was deleted spoils the answer about all: then each is asked for by itself.
async fn settings(balancing: &dyn LoadBalancing, arns: &[TargetGroupArn], seed: u64) -> cloud::Result<Vec<TargetGroup>> {
    match patiently(seed, || balancing.target_groups(arns)).await {
        Err(error) if error.kind == Kind::Gone => {}
        other => return other,
    }
    let each = stream::iter(arns.iter().cloned()).map(|arn| async move {
        let one = [arn];
        unless_gone(patiently(seed, || balancing.target_groups(&one)).await)
    });
    let found: Vec<Option<Vec<TargetGroup>>> = each.buffer_unordered(IN_FLIGHT).try_collect().await?;
    Ok(found.into_iter().flatten().flatten().collect())
}

/// `None` for what is not there any more.
fn unless_gone<T>(answer: cloud::Result<T>) -> cloud::Result<Option<T>> {
    match answer {
        Err(error) if error.kind == Kind::Gone => Ok(None),
        other => other.map(Some),
    }
}

type Members = BTreeMap<InstanceId, Vec<Member>>;

async fn health(balancing: &dyn LoadBalancing, backends: &BTreeSet<Backend>, seed: u64) -> Vec<(Backend, cloud::Result<Option<Members>>)> {
    let each = |backend: Backend| async move {
        let members = members(balancing, &backend, seed).await;
        (backend, members)
    };
    stream::iter(backends.iter().cloned()).map(each).buffer_unordered(IN_FLIGHT).collect().await
}

/// `None` for a load balancer that is gone: a matter of the cluster behind it, not of all.
async fn members(balancing: &dyn LoadBalancing, backend: &Backend, seed: u64) -> cloud::Result<Option<Members>> {
    let mut members = Members::new();
    match backend {
        Backend::TargetGroup(arn) => {
            let Some(targets) = unless_gone(patiently(seed, || balancing.target_health(arn)).await)? else { return Ok(None) };
            for target in targets {
                let member = Member { port: target.target.port, standing: standing(target.state), reason: target.reason };
                members.entry(target.target.instance).or_default().push(member);
            }
        }
        Backend::Classic(name) => {
            let Some(instances) = unless_gone(patiently(seed, || balancing.classic_health(name)).await)? else { return Ok(None) };
            for instance in instances {
                let standing = if instance.in_service { Standing::Healthy } else { Standing::NotHealthy };
                members.entry(instance.instance).or_default().push(Member { port: None, standing, reason: Some(instance.reason) });
            }
        }
    }
    Ok(Some(members))
}

impl Facts {
    fn take_health(&mut self, backend: Backend, members: Option<Members>) {
        let known = self.backends.entry(backend).or_default();
        known.gone = members.is_none();
        known.members = members.unwrap_or_default();
    }
}

fn standing(state: TargetState) -> Standing {
    match state {
        TargetState::Healthy => Standing::Healthy,
        TargetState::Initial | TargetState::Unhealthy | TargetState::Unavailable => Standing::NotHealthy,
        TargetState::Unused => Standing::Unused,
        TargetState::Draining => Standing::Leaving,
    }
}

pub(super) fn sort_out(groups: Vec<Group>, application: &str) -> Facts {
    let mut facts = Facts::default();
    for group in groups {
        let Some(moniker) = group.name.moniker() else {
            if group.name.as_str().starts_with(application) {
                facts.strange.push(group.name);
            }
            continue;
        };
        if moniker.app() != application {
            continue;
        }
        let cluster = facts.clusters.entry(moniker.cluster().to_owned()).or_default();
        cluster.role = moniker.detail().or(moniker.stack()).map(str::to_owned);
        match (moniker.push(), moniker.sequence()) {
            (Some(push), Some(sequence)) => cluster.versions.push(Version { push: push.to_owned(), sequence, group }),
            (None, _) | (_, None) => cluster.unversioned.push(group.name),
        }
    }
    for cluster in facts.clusters.values_mut() {
        sort_by_age(&mut cluster.versions, |v| v.group.created, |v| v.group.name.as_str());
    }
    facts
}
