//! The region behind Bellrock's own traits, in one process: what the drill and the tests run on.
//!
//! Time is the clock's that is handed in: before each call the region advances to it. Under a paused tokio runtime that is virtual time.
//! Every call ends: one that hangs gives up after [`CALL_LIMIT`].

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;

use super::Region;
use super::api::Answer;
use super::api::ApiResult;
use super::describe::TagFilter;
use super::endpoints::Look;
use super::hooks::ActionRef;
use super::spec::Endpoint;
use super::spec::VersionSpec;
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
use crate::cloud::Identity;
use crate::cloud::Image;
use crate::cloud::LoadBalancing;
use crate::cloud::Metadata;
use crate::cloud::Offer;
use crate::cloud::OwnInstance;
use crate::cloud::Receipt;
use crate::cloud::Refresh;
use crate::cloud::Resize;
use crate::cloud::Result;
use crate::cloud::ScalingActivity;
use crate::cloud::ScheduledAction;
use crate::cloud::Subnet;
use crate::cloud::TargetGroup;
use crate::cloud::TargetHealth;
use crate::cloud::TargetId;
use crate::cloud::Verdict;
use crate::model::Activity;
use crate::model::Clock;
use crate::model::Generation;
use crate::model::Group;
use crate::model::GroupInstance;
use crate::model::GroupName;
use crate::model::Hook;
use crate::model::HookResult;
use crate::model::InstanceId;
use crate::model::Intake;
use crate::model::Interruption;
use crate::model::LaunchSource;
use crate::model::LifecycleState;
use crate::model::Maintenance;
use crate::model::Notices;
use crate::model::Process;
use crate::model::Sample;
use crate::model::TargetGroupArn;
use crate::orchestrator;
use crate::orchestrator::Abilities;
use crate::orchestrator::Orchestrator;

/// How long a call waits for an answer that never comes.
pub const CALL_LIMIT: Duration = Duration::from_secs(10);

/// How long a look at an orchestrator or at instance metadata waits.
const LOCAL_LIMIT: Duration = Duration::from_secs(2);

/// A region that several callers share, and the clock that drives it.
#[derive(Clone)]
pub struct Sim {
    region: Arc<Mutex<Region>>,
    clock: Arc<dyn Clock>,
    origin: Duration,
}

impl Sim {
    /// Shares a region; its time goes on from where it stands, as the clock goes.
    pub fn new(region: Region, clock: Arc<dyn Clock>) -> Self {
        let origin = clock.now().mono.saturating_sub(region.now());
        Self { region: Arc::new(Mutex::new(region)), clock, origin }
    }

    /// Looks at the region, or changes it, as of now.
    pub fn with<T>(&self, look: impl FnOnce(&mut Region) -> T) -> T {
        let mut region = self.lock();
        region.advance(self.clock.now().mono.saturating_sub(self.origin));
        look(&mut region)
    }

    /// The region behind Auto Scaling's and the load balancers' traits, for one caller.
    pub fn cloud(&self, caller: &str) -> SimCloud {
        SimCloud { sim: self.clone(), caller: caller.into() }
    }

    /// Instance metadata of one instance.
    pub fn metadata(&self, id: &InstanceId) -> SimMetadata {
        SimMetadata { sim: self.clone(), id: id.clone() }
    }

    /// The orchestrator on one instance.
    pub fn orchestrator(&self, id: &InstanceId) -> SimOrchestrator {
        SimOrchestrator { sim: self.clone(), id: id.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Region> {
        // A panic in one caller's test must not hide what the region knows from the others.
        self.region.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Auto Scaling, load balancers and STS of a simulated region, as one caller.
#[derive(Clone)]
pub struct SimCloud {
    sim: Sim,
    caller: Arc<str>,
}

impl SimCloud {
    async fn call<T>(&self, action: &'static str, typed: impl FnOnce(&mut Region) -> ApiResult<T>) -> Result<T> {
        let lost = |code, what: &str| Error::classify(action, code, 0, what, None);
        let half = self.sim.with(|r| r.latency(&self.caller, action)) / 2;
        if half * 2 > CALL_LIMIT {
            // Too slow to be waited for, and carried out all the same.
            tokio::time::sleep(CALL_LIMIT).await;
            drop(self.sim.with(|r| r.call(&self.caller, action, typed)));
            return Err(lost("Timeout", "no answer within the limit"));
        }
        tokio::time::sleep(half).await;
        let answer = self.sim.with(|r| r.call(&self.caller, action, typed));
        match answer {
            Answer::Reply(reply) => {
                tokio::time::sleep(half).await;
                reply.map_err(|e| e.classified(action))
            }
            Answer::Reset => {
                tokio::time::sleep(half).await;
                Err(lost("ConnectionReset", "the connection was reset"))
            }
            Answer::Hang => {
                tokio::time::sleep(CALL_LIMIT.saturating_sub(half)).await;
                Err(lost("Timeout", "no answer within the limit"))
            }
        }
    }
}

#[async_trait]
impl AutoScaling for SimCloud {
    async fn groups(&self, names: &[GroupName]) -> Result<Vec<Group>> {
        let mut groups = Vec::with_capacity(names.len());
        for page in names.chunks(50) {
            let shown = self.call("DescribeAutoScalingGroups", |r| r.describe_auto_scaling_groups(page, &[])).await?;
            groups.extend(shown.iter().map(|d| d.group.clone()));
        }
        Ok(groups)
    }

    async fn find_groups(&self, filter: &GroupFilter) -> Result<Vec<Group>> {
        let filters = match filter {
            GroupFilter::All => Vec::new(),
            GroupFilter::Tag { key, value } => vec![TagFilter::Tag(key.clone(), vec![value.clone()])],
        };
        let shown = self.call("DescribeAutoScalingGroups", |r| r.describe_auto_scaling_groups(&[], &filters)).await?;
        Ok(shown.iter().map(|d| d.group.clone()).collect())
    }

    async fn instance(&self, id: &InstanceId) -> Result<Option<GroupInstance>> {
        let found = self.call("DescribeAutoScalingInstances", |r| r.describe_auto_scaling_instances(std::slice::from_ref(id))).await?;
        Ok(found.into_iter().next())
    }

    async fn activities(&self, group: &GroupName, limit: u32) -> Result<Vec<ScalingActivity>> {
        let found = self.call("DescribeScalingActivities", |r| r.describe_scaling_activities(Some(group), &[])).await?;
        Ok(found.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).map(scaling_activity).collect())
    }

    async fn scheduled_actions(&self, group: &GroupName) -> Result<Vec<ScheduledAction>> {
        self.call("DescribeScheduledActions", |r| {
            let found = r.describe_scheduled_actions(Some(group))?;
            Ok(found.into_iter().map(|s| ScheduledAction { name: s.name, due: Some(r.wall_at(s.due)) }).collect())
        })
        .await
    }

    async fn policies(&self, group: &GroupName) -> Result<Vec<String>> {
        let found = self.call("DescribePolicies", |r| r.describe_policies(Some(group))).await?;
        Ok(found.into_iter().map(|policy| policy.name.to_owned()).collect())
    }

    async fn running_refreshes(&self, group: &GroupName) -> Result<Vec<Refresh>> {
        let found = self.call("DescribeInstanceRefreshes", |r| r.describe_instance_refreshes(group)).await?;
        Ok(found.into_iter().filter(|f| f.ended.is_none()).map(|f| Refresh { id: f.id, status: f.status.to_owned() }).collect())
    }

    async fn terminate_own(&self, own: &OwnInstance, decrement: bool) -> Result<ScalingActivity> {
        let action = "TerminateInstanceInAutoScalingGroup";
        self.call(action, |r| r.terminate_instance_in_auto_scaling_group(own.id(), decrement)).await.map(scaling_activity)
    }

    async fn hook(&self, group: &GroupName, name: &str) -> Result<Option<Hook>> {
        let found = self.call("DescribeLifecycleHooks", |r| r.describe_lifecycle_hooks(group, &[name.to_owned()])).await?;
        let ours = |hook: super::Hook| Hook {
            name: hook.name,
            heartbeat: Duration::from_secs(hook.heartbeat_s.into()),
            limit: Duration::from_secs(hook.global_s),
        };
        Ok(found.into_iter().next().map(ours))
    }

    async fn heartbeat(&self, group: &GroupName, hook: &str, own: &OwnInstance) -> Result<Receipt> {
        let action = ActionRef::Instance(own.id());
        self.call("RecordLifecycleActionHeartbeat", |r| r.record_lifecycle_action_heartbeat(group, hook, action))
            .await
            .map(|()| Receipt::default())
    }

    async fn complete(&self, group: &GroupName, hook: &str, own: &OwnInstance, result: HookResult) -> Result<Receipt> {
        let action = ActionRef::Instance(own.id());
        self.call("CompleteLifecycleAction", |r| r.complete_lifecycle_action(group, hook, action, result))
            .await
            .map(|()| Receipt::default())
    }

    async fn lower_min(&self, group: &GroupName, to: u32) -> Result<()> {
        self.resize(group, Resize { min: Some(to), ..Resize::default() }).await.map(drop)
    }

    async fn resize(&self, group: &GroupName, change: Resize) -> Result<Receipt> {
        self.call("UpdateAutoScalingGroup", |r| r.update_auto_scaling_group(group, change)).await.map(|_| Receipt::default())
    }

    async fn suspend(&self, group: &GroupName, processes: &[Process]) -> Result<Receipt> {
        if processes.is_empty() {
            return Ok(Receipt::default());
        }
        self.call("SuspendProcesses", |r| r.suspend_processes(group, processes)).await.map(|_| Receipt::default())
    }

    async fn resume(&self, group: &GroupName, processes: &[Process]) -> Result<Receipt> {
        if processes.is_empty() {
            return Ok(Receipt::default());
        }
        self.call("ResumeProcesses", |r| r.resume_processes(group, processes)).await.map(|_| Receipt::default())
    }

    async fn protect(&self, group: &GroupName, instances: &[InstanceId], protected: bool) -> Result<Receipt> {
        for page in instances.chunks(50) {
            self.call("SetInstanceProtection", |r| r.set_instance_protection(group, page, protected)).await?;
        }
        Ok(Receipt::default())
    }

    async fn enter_standby(&self, group: &GroupName, instances: &[InstanceId]) -> Result<Receipt> {
        for page in instances.chunks(20) {
            self.call("EnterStandby", |r| r.enter_standby(group, page, true)).await?;
        }
        Ok(Receipt::default())
    }

    async fn put_tags(&self, group: &GroupName, tags: &[(String, String)]) -> Result<Receipt> {
        self.call("CreateOrUpdateTags", |r| r.create_or_update_tags(group, tags)).await.map(|_| Receipt::default())
    }

    async fn delete_tags(&self, group: &GroupName, keys: &[String]) -> Result<Receipt> {
        self.call("DeleteTags", |r| r.delete_tags(group, keys)).await.map(|_| Receipt::default())
    }
}

#[async_trait]
impl LoadBalancing for SimCloud {
    async fn target_groups(&self, arns: &[TargetGroupArn]) -> Result<Vec<TargetGroup>> {
        if arns.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.call("DescribeTargetGroups", |r| r.describe_target_groups(arns, &[])).await?;
        let ours = found.into_iter().map(|t| TargetGroup {
            arn: t.arn,
            name: t.spec.name,
            port: Some(t.spec.port),
            load_balancers: t.load_balancers,
            health_interval_s: t.spec.interval_s,
            healthy_threshold: t.spec.healthy_threshold,
        });
        Ok(ours.collect())
    }

    async fn target_health(&self, arn: &TargetGroupArn) -> Result<Vec<TargetHealth>> {
        self.call("DescribeTargetHealth", |r| r.describe_target_health(arn, &[])).await
    }

    async fn register_targets(&self, arn: &TargetGroupArn, targets: &[TargetId]) -> Result<Receipt> {
        self.call("RegisterTargets", |r| r.register_targets(arn, targets)).await.map(|_| Receipt::default())
    }

    async fn deregister_targets(&self, arn: &TargetGroupArn, targets: &[TargetId]) -> Result<Receipt> {
        self.call("DeregisterTargets", |r| r.deregister_targets(arn, targets)).await.map(|_| Receipt::default())
    }

    async fn classic_health(&self, name: &str) -> Result<Vec<ClassicHealth>> {
        let found = self.call("DescribeInstanceHealth", |r| r.describe_instance_health(name, &[])).await?;
        let ours = |s: super::ClassicState| ClassicHealth {
            in_service: s.state == "InService",
            instance: s.instance,
            reason: s.reason.to_owned(),
        };
        Ok(found.into_iter().map(ours).collect())
    }

    async fn register_classic(&self, name: &str, instances: &[InstanceId]) -> Result<Receipt> {
        self.call("RegisterInstancesWithLoadBalancer", |r| r.register_instances(name, instances)).await.map(|_| Receipt::default())
    }

    async fn deregister_classic(&self, name: &str, instances: &[InstanceId]) -> Result<Receipt> {
        self.call("DeregisterInstancesFromLoadBalancer", |r| r.deregister_instances(name, instances)).await.map(|_| Receipt::default())
    }
}

#[async_trait]
impl Compute for SimCloud {
    async fn blueprint(&self, source: &LaunchSource) -> Result<Blueprint> {
        let versions = [source.version.clone().unwrap_or_default()];
        let found = self.call("DescribeLaunchTemplateVersions", |r| r.describe_launch_template_versions(&source.name, &versions)).await?;
        let ours = |spec: VersionSpec| Blueprint {
            image: Some(spec.image),
            instance_type: Some(spec.instance_type),
            key_pair: spec.key_pair,
            security_groups: spec.security_groups,
        };
        Ok(found.into_iter().next().map(|version| ours(version.spec)).unwrap_or_default())
    }

    async fn images(&self, ids: &[String]) -> Result<Vec<Image>> {
        let found = self.call("DescribeImages", |r| r.describe_images(ids)).await?;
        Ok(found.into_iter().map(|id| Image { id, state: "available".to_owned() }).collect())
    }

    async fn key_pairs(&self, names: &[String]) -> Result<()> {
        self.call("DescribeKeyPairs", |r| r.describe_key_pairs(names)).await.map(drop)
    }

    async fn security_groups(&self, ids: &[String]) -> Result<()> {
        self.call("DescribeSecurityGroups", |r| r.describe_security_groups(ids)).await.map(drop)
    }

    async fn subnets(&self, ids: &[String]) -> Result<Vec<Subnet>> {
        self.call("DescribeSubnets", |r| r.describe_subnets(ids)).await
    }

    async fn offers(&self, types: &[String], zones: &[String]) -> Result<BTreeSet<Offer>> {
        let found = self.call("DescribeInstanceTypeOfferings", |r| r.describe_instance_type_offerings(types, zones)).await?;
        Ok(found.into_iter().collect())
    }

    async fn vcpus(&self, types: &[String]) -> Result<BTreeMap<String, u32>> {
        Ok(self.call("DescribeInstanceTypes", |r| r.describe_instance_types(types)).await?.into_iter().collect())
    }

    async fn running(&self) -> Result<BTreeMap<String, u32>> {
        let mut by_type = BTreeMap::new();
        for instance in self.call("DescribeInstances", |r| r.describe_instances(&[])).await? {
            if !instance.state.is_over() {
                *by_type.entry(instance.instance_type).or_default() += 1;
            }
        }
        Ok(by_type)
    }

    async fn vcpu_quota(&self) -> Result<u32> {
        self.call("GetServiceQuota", Region::get_vcpu_quota).await
    }
}

#[async_trait]
impl Caller for SimCloud {
    async fn caller(&self) -> Result<CallerIdentity> {
        self.call("GetCallerIdentity", Region::get_caller_identity).await
    }

    async fn verdicts(&self, ask: &Ask) -> Result<BTreeMap<String, Verdict>> {
        let actions: Vec<String> = ask.actions.iter().map(|action| (*action).to_owned()).collect();
        let denied = self.call("SimulatePrincipalPolicy", |r| r.simulate_principal_policy(&actions)).await?;
        let verdict = |action: &String| if denied.contains(action) { Verdict::Denied } else { Verdict::Allowed };
        Ok(actions.iter().map(|action| (action.clone(), verdict(action))).collect())
    }
}

fn scaling_activity(a: super::Activity) -> ScalingActivity {
    ScalingActivity {
        id: a.id,
        description: a.description,
        cause: a.cause,
        status: match a.status {
            "Successful" => ActivityStatus::Successful,
            "Failed" | "Cancelled" => ActivityStatus::Failed,
            _ => ActivityStatus::Underway,
        },
        status_code: a.status.to_owned(),
        progress: a.progress,
        started: a.started,
        message: a.message,
    }
}

/// Instance metadata of one instance of a simulated region. Costs no API call.
#[derive(Clone)]
pub struct SimMetadata {
    sim: Sim,
    id: InstanceId,
}

impl SimMetadata {
    async fn ask(&self) -> Result<super::InstanceMetadata> {
        match self.sim.with(|r| r.metadata(&self.id)) {
            Some(metadata) => Ok(metadata),
            None => {
                tokio::time::sleep(LOCAL_LIMIT).await;
                Err(Error::classify("metadata", "NoMetadata", 0, "the machine is not up", None))
            }
        }
    }
}

#[async_trait]
impl Metadata for SimMetadata {
    async fn identity(&self) -> Result<Identity> {
        let m = self.ask().await?;
        Ok(Identity { own: OwnInstance(m.instance), region: m.region, zone: m.zone, account: m.account, image: m.image })
    }

    async fn target_state(&self) -> Result<Option<LifecycleState>> {
        Ok(self.ask().await?.notices.target_state)
    }

    async fn notices(&self) -> Result<Notices> {
        let notices = self.ask().await?.notices;
        let maintenance = notices.maintenance.into_iter();
        Ok(Notices {
            interruption: notices.spot.map(|(action, at)| Interruption { action, at }),
            rebalance: notices.rebalance,
            maintenance: maintenance.map(|e| Maintenance { id: e.id, code: e.code, not_before: e.not_before.to_string() }).collect(),
        })
    }
}

/// The orchestrator on one instance, looked at through two sources: `activeByInstance`, and the gauge of its handler pool. It is idle when
/// both say so; where they disagree the busy one is believed (F4), and where one says nothing nobody can say.
#[derive(Clone)]
pub struct SimOrchestrator {
    sim: Sim,
    id: InstanceId,
}

#[async_trait]
impl Orchestrator for SimOrchestrator {
    async fn activity(&self) -> Sample {
        let asked = self.sim.clock.now();
        let (looks, generation, wall) = self.sim.with(|r| {
            let looks = [Endpoint::ActiveByInstance, Endpoint::Metrics].map(|e| r.look(&self.id, e));
            let generation = r.process(&self.id).map(|(n, at)| Generation(format!("{n}@{}", r.wall_at(at))));
            (looks, generation, r.wall_at(Duration::ZERO))
        });
        if looks.contains(&Look::Hang) {
            tokio::time::sleep(LOCAL_LIMIT).await;
        }
        let mut oldest = None;
        let mut busiest = (0, Vec::new());
        let mut silent = None;
        for look in looks {
            match look {
                Look::Count { count, executions, as_of } => {
                    oldest = Some(oldest.map_or(as_of, |o: Duration| o.min(as_of)));
                    let names = if executions.is_empty() { std::mem::take(&mut busiest.1) } else { executions };
                    busiest = (busiest.0.max(count), names);
                }
                Look::Nothing(why) => silent = Some(why),
                Look::Hang => silent = Some("no answer within the limit".into()),
                Look::Refused => silent = Some("connection refused".into()),
            }
        }
        let activity = match (busiest, silent) {
            ((0, _), None) => Activity::Idle,
            ((0, _), Some(why)) => Activity::Unknown { why },
            ((count, executions), _) => Activity::Busy { count, executions },
        };
        Sample { activity, asked, measured: oldest.map(|at| wall.plus(at)), generation }
    }

    async fn intake(&self) -> Intake {
        match self.sim.with(|r| r.read_intake(&self.id)) {
            Some(true) => Intake::Open,
            Some(false) => Intake::Closed,
            None => {
                tokio::time::sleep(LOCAL_LIMIT).await;
                Intake::Unknown { why: "the switch cannot be read".into() }
            }
        }
    }

    async fn set_intake(&self, open: bool) -> std::result::Result<(), orchestrator::Error> {
        let answered = self.sim.with(|r| r.answers(&self.id).then(|| r.turn_switch(&self.id, open)));
        match answered {
            Some(true) => Ok(()),
            Some(false) => Err(orchestrator::Error::Refused("400".into())),
            None => {
                tokio::time::sleep(LOCAL_LIMIT).await;
                Err(orchestrator::Error::NoAnswer("no answer within the limit".into()))
            }
        }
    }

    async fn stop(&self, grace: Duration) -> std::result::Result<(), orchestrator::Error> {
        self.sim.with(|r| r.stop_orchestrator(&self.id, grace));
        let mut left = grace + Duration::from_secs(1);
        while self.sim.with(|r| r.orchestrator_runs(&self.id)) {
            if left.is_zero() {
                return Err(orchestrator::Error::NoAnswer("it still runs after its grace".into()));
            }
            let step = left.min(Duration::from_secs(1));
            tokio::time::sleep(step).await;
            left -= step;
        }
        Ok(())
    }

    async fn start(&self) -> std::result::Result<(), orchestrator::Error> {
        self.sim.with(|r| r.start_orchestrator(&self.id));
        Ok(())
    }

    fn abilities(&self) -> Abilities {
        Abilities { intake: true, stop: true, start: true }
    }
}
