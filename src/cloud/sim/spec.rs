//! What a scenario is made of, as documents and as builder arguments: the same types.
//! Times are seconds; times of day do not occur, everything is relative to the scenario's start.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use super::SimTime;
use super::span::Span;
use super::span::opt_secs;
use super::span::secs;
use super::supply::SECURITY_GROUP;
use super::trouble::Bucket;
use super::trouble::Trouble;
use super::undocumented::Undocumented;
use crate::model::HealthCheckType;
use crate::model::HookResult;
use crate::model::InstanceHealth;
use crate::model::InstanceId;
use crate::model::Process;

/// A whole scenario. [`Region::load`](super::Region::load) takes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// What the undocumented parts are like; `None` = drawn from the seed.
    pub undocumented: Option<Undocumented>,
    /// How fast AWS is.
    pub pace: Option<Pace>,
    /// Launch templates with their versions; the images, key pairs and security groups that they name come into being with them.
    pub templates: Vec<TemplateSpec>,
    /// Target groups.
    pub target_groups: Vec<TargetGroupSpec>,
    /// Load balancers of the second generation, whose listeners use target groups.
    pub load_balancers: Vec<LoadBalancerSpec>,
    /// Classic load balancers.
    pub classic_load_balancers: Vec<ClassicSpec>,
    /// Auto Scaling groups.
    pub groups: Vec<GroupSpec>,
    /// Rules of trouble.
    pub trouble: Vec<Trouble>,
    /// vCPUs that the account may have; `None` = plenty.
    pub vcpu_quota: Option<u32>,
    /// The account's request bucket.
    pub bucket: Option<Bucket>,
    /// How old a read may be, in seconds.
    #[serde(with = "secs")]
    pub stale_bound: Duration,
    /// What happens when.
    pub incidents: Vec<Timed>,
}

/// How fast AWS is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pace {
    /// One call, there and back.
    pub latency: Span,
    /// From a change of sizes or processes to Auto Scaling's acting on it.
    pub react: Span,
    /// From the end of the hooks to `Terminated`.
    pub end: Span,
    /// How long a terminated instance stays in its group's describe, where it lingers.
    pub linger: Span,
    /// From an uneven spread to AZRebalance's acting on it.
    pub rebalance: Span,
    /// From a dead machine to Auto Scaling's noticing.
    pub notice: Span,
    /// How often a launch that fails is tried again.
    pub retry: Span,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            latency: Span { min: Duration::from_millis(20), max: Duration::from_millis(200) },
            react: Span::between(1, 5),
            end: Span::between(15, 45),
            linger: Span::between(5, 30),
            rebalance: Span::between(60, 300),
            notice: Span::between(10, 60),
            retry: Span::between(30, 90),
        }
    }
}

/// A launch template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateSpec {
    /// Its name.
    pub name: String,
    /// Versions 1, 2, …
    pub versions: Vec<VersionSpec>,
    /// Number of the default version.
    #[serde(default = "first")]
    pub default_version: u64,
}

fn first() -> u64 {
    1
}

/// One version of a launch template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VersionSpec {
    /// AMI id.
    pub image: String,
    /// EC2 instance type.
    pub instance_type: String,
    /// Name of a key pair.
    pub key_pair: Option<String>,
    /// Ids of security groups.
    pub security_groups: Vec<String>,
    /// How it boots.
    pub boot: Boot,
    /// The orchestrator it runs; `None` = it only answers its health checks.
    pub orchestrator: Option<Behaviour>,
}

impl Default for VersionSpec {
    fn default() -> Self {
        Self {
            image: "ami-0123456789abcdef0".into(),
            instance_type: "m5.large".into(),
            key_pair: None,
            security_groups: vec![SECURITY_GROUP.into()],
            boot: Boot::default(),
            orchestrator: Some(Behaviour::default()),
        }
    }
}

/// How an instance boots.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Boot {
    /// From the launch to EC2's `running`.
    pub pending: Span,
    /// From `running` to the first passing health check.
    pub service: Span,
    /// Part of the launches that fail, 0 to 1.
    pub failure: f64,
}

impl Default for Boot {
    fn default() -> Self {
        Self { pending: Span::between(15, 40), service: Span::between(20, 60), failure: 0.0 }
    }
}

/// How the orchestrator of an image behaves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Executions it runs at once.
    pub slots: usize,
    /// From the claim of a message to its showing up as busy (F1, F4).
    pub busy_lag: Span,
    /// What its intake switch does.
    pub switch: Switch,
    /// Shape of its `activeByInstance`.
    pub era: Era,
    /// Whether it works at all.
    pub works: Works,
    /// From a crash to the next process.
    pub restart: Span,
    /// From a crash to the queue's delivering the interrupted work again.
    pub redelivery: Span,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            slots: 20,
            busy_lag: Span { min: Duration::ZERO, max: Duration::from_secs(2) },
            switch: Switch::Forgets,
            era: Era::C,
            works: Works::Yes,
            restart: Span::between(5, 20),
            redelivery: Span::secs(60),
        }
    }
}

/// What an intake switch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// Obeys, also over a restart.
    Obeys,
    /// Obeys, and is open again after a restart (F5); what a switch in memory does.
    Forgets,
    /// Accepts and changes nothing; reads back the truth (F11).
    Ignores,
    /// Accepts, changes nothing, and reads back what it was told.
    Lies,
    /// Answers 400 (F11).
    Refuses,
}

/// Shape of `activeByInstance` (spinnaker.md §1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Era {
    /// A number per instance.
    A,
    /// An object per instance; an empty list may be left out.
    B,
    /// An object per instance.
    C,
}

/// Whether an image's orchestrator works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Works {
    /// It does.
    Yes,
    /// It runs, but its health check never passes and it takes no work.
    NeverHealthy,
    /// It crashes some seconds after each start.
    CrashLoops,
}

/// A target group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TargetGroupSpec {
    /// Its name.
    pub name: String,
    /// Default port.
    pub port: u16,
    /// `HTTP`, `HTTPS`, `TCP`.
    pub protocol: String,
    /// Seconds between health checks.
    pub interval_s: u32,
    /// Good checks that make a target healthy.
    pub healthy_threshold: u32,
    /// Bad checks that make it unhealthy.
    pub unhealthy_threshold: u32,
    /// Seconds that a deregistered target drains.
    pub deregistration_delay_s: u32,
}

impl Default for TargetGroupSpec {
    fn default() -> Self {
        Self {
            name: "targets".into(),
            port: 8083,
            protocol: "HTTP".into(),
            interval_s: 10,
            healthy_threshold: 3,
            unhealthy_threshold: 2,
            deregistration_delay_s: 30,
        }
    }
}

/// A load balancer of the second generation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancerSpec {
    /// Its name.
    pub name: String,
    /// Internal, not internet-facing.
    #[serde(default)]
    pub internal: bool,
    /// Port and target group name of each listener.
    pub listeners: Vec<(u16, String)>,
}

/// A classic load balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassicSpec {
    /// Its name.
    pub name: String,
    /// Internal, not internet-facing.
    pub internal: bool,
    /// Seconds between health checks.
    pub interval_s: u32,
    /// Good checks that put an instance in service.
    pub healthy_threshold: u32,
    /// Bad checks that take it out.
    pub unhealthy_threshold: u32,
    /// Seconds of connection draining; 0 = off.
    pub draining_s: u32,
}

impl Default for ClassicSpec {
    fn default() -> Self {
        Self { name: "classic".into(), internal: false, interval_s: 10, healthy_threshold: 2, unhealthy_threshold: 2, draining_s: 0 }
    }
}

/// An Auto Scaling group; also the arguments of `CreateAutoScalingGroup`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupSpec {
    /// Its name.
    pub name: String,
    /// `MinSize`.
    pub min: u32,
    /// `MaxSize`.
    pub max: u32,
    /// `DesiredCapacity`; `None` = min.
    pub desired: Option<u32>,
    /// Launch template name or id.
    pub template: String,
    /// Template version: a number, `$Latest`, `$Default`.
    pub version: String,
    /// Zones.
    pub zones: Vec<String>,
    /// Target groups, by name or ARN.
    pub target_groups: Vec<String>,
    /// Classic load balancers, by name.
    pub classic_load_balancers: Vec<String>,
    /// Group tags.
    pub tags: BTreeMap<String, String>,
    /// Processes suspended from the start.
    pub suspended: Vec<Process>,
    /// Which checks mark an instance unhealthy.
    pub health_check_type: HealthCheckType,
    /// Seconds a new instance is spared.
    pub health_check_grace_s: u32,
    /// Lifecycle hooks.
    pub hooks: Vec<HookSpec>,
    /// `Default`, `OldestInstance`, `NewestInstance`, `OldestLaunchTemplate`; the first one counts.
    pub termination_policies: Vec<String>,
    /// New instances are protected from scale-in.
    pub new_instances_protected: bool,
    /// The instance lifecycle policy keeps an instance whose terminating hook is abandoned.
    pub retains_abandoned: bool,
    /// Seconds of the default cooldown.
    pub cooldown_s: u32,
    /// The queue its orchestrators take work from; `None` = the name without its `-vNNN`.
    pub queue: Option<String>,
    /// Its instances are up and in service from the start of the scenario, instead of being launched.
    pub settled: bool,
}

impl Default for GroupSpec {
    fn default() -> Self {
        Self {
            name: "orca-main-v000".into(),
            min: 0,
            max: 10,
            desired: None,
            template: "orca".into(),
            version: "$Default".into(),
            zones: vec!["us-east-1a".into(), "us-east-1b".into()],
            target_groups: Vec::new(),
            classic_load_balancers: Vec::new(),
            tags: BTreeMap::new(),
            suspended: Vec::new(),
            health_check_type: HealthCheckType::Ec2,
            health_check_grace_s: 300,
            hooks: Vec::new(),
            termination_policies: vec!["Default".into()],
            new_instances_protected: false,
            retains_abandoned: false,
            cooldown_s: 300,
            queue: None,
            settled: false,
        }
    }
}

/// A lifecycle hook; also the arguments of `PutLifecycleHook`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookSpec {
    /// Its name.
    pub name: String,
    /// When it runs.
    pub transition: Transition,
    /// Seconds without a heartbeat until the default result; 30 to 7200.
    #[serde(default = "hour")]
    pub heartbeat_s: u32,
    /// What silence means.
    #[serde(default = "abandon")]
    pub default_result: HookResult,
}

fn hour() -> u32 {
    3600
}

fn abandon() -> HookResult {
    HookResult::Abandon
}

/// When a lifecycle hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transition {
    /// Before `InService`.
    #[serde(rename = "autoscaling:EC2_INSTANCE_LAUNCHING")]
    Launching,
    /// Before the end.
    #[serde(rename = "autoscaling:EC2_INSTANCE_TERMINATING")]
    Terminating,
}

impl Transition {
    /// AWS's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Launching => "autoscaling:EC2_INSTANCE_LAUNCHING",
            Self::Terminating => "autoscaling:EC2_INSTANCE_TERMINATING",
        }
    }
}

/// An incident and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// Seconds after the start.
    #[serde(with = "secs")]
    pub at: SimTime,
    /// What happens.
    pub what: Incident,
}

/// Which instance an incident hits. One that does not exist (any more) when the time comes is passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Pick {
    /// This one.
    Id(InstanceId),
    /// The n-th living member of a group, oldest first, from 0.
    Nth {
        /// Group name.
        group: String,
        /// Which.
        nth: usize,
    },
}

impl From<&InstanceId> for Pick {
    fn from(id: &InstanceId) -> Self {
        Self::Id(id.clone())
    }
}

/// What can happen to a region without anybody's calling its API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Incident {
    /// Work comes in.
    Work(WorkSpec),
    /// An orchestrator's process dies and is started again.
    Crash(Pick),
    /// It answers nothing for a while; its work goes on.
    HangOrchestrator {
        /// Where.
        on: Pick,
        /// How long.
        r#for: Span,
    },
    /// It answers nothing until its process ends; its work goes on.
    Deadlock(Pick),
    /// Somebody, or a check, marks an instance for Auto Scaling.
    Mark {
        /// Where.
        on: Pick,
        /// As what.
        health: InstanceHealth,
    },
    /// It lies for a while.
    Lie {
        /// Where.
        on: Pick,
        /// How.
        lie: Lie,
        /// Of which endpoint; `None` = all that tell of activity.
        #[serde(default)]
        endpoint: Option<Endpoint>,
        /// How long.
        r#for: Span,
    },
    /// Spot interruption: two minutes' notice in the metadata, then the end.
    Spot(Pick),
    /// A rebalance recommendation appears in the metadata.
    RebalanceRecommendation(Pick),
    /// A maintenance event appears in the metadata.
    Maintenance {
        /// Where.
        on: Pick,
        /// `system-reboot`, `instance-retirement`, …
        code: String,
        /// From now to its beginning.
        r#in: Span,
    },
    /// The machine dies, or somebody ends it past Auto Scaling.
    Kill(Pick),
    /// A group comes into being.
    AddGroup(GroupSpec),
    /// What Spinnaker does to disable a server group: three processes suspended, everything deregistered.
    Disable(String),
    /// What Spinnaker does to enable it again.
    Enable(String),
    /// An alarm's policy sets desired, unless `AlarmNotification` is suspended; it stays in alarm and acts again on resume.
    Alarm {
        /// Group name.
        group: String,
        /// What its policy wants desired to be.
        desired: u32,
    },
    /// The alarm is over.
    AlarmOver(String),
    /// An instance refresh of this group is started.
    Refresh(String),
    /// An image is deregistered: launches from it fail (F54).
    RemoveImage(String),
    /// A key pair is deleted: launches with it fail.
    RemoveKeyPair(String),
    /// A security group is deleted, by id: launches with it fail.
    RemoveSecurityGroup(String),
    /// A launch template is deleted.
    RemoveTemplate(String),
    /// The subnet of this zone is deleted: launches there fail.
    RemoveSubnet(String),
    /// The subnet of a zone has few addresses left.
    FillSubnet {
        /// Zone name.
        zone: String,
        /// How many.
        free: u32,
    },
    /// A type cannot be had in a zone any more.
    WithdrawType {
        /// EC2 type.
        instance_type: String,
        /// Zone name.
        zone: String,
    },
    /// A rule of trouble begins.
    Trouble(Trouble),
    /// All rules of trouble end.
    NoTrouble,
}

/// Work that comes in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkSpec {
    /// The queue.
    pub queue: String,
    /// Spinnaker application.
    #[serde(default = "application")]
    pub application: String,
    /// How many executions.
    pub count: u32,
    /// How long each one runs.
    pub length: Span,
    /// Over how many seconds they come in, evenly; 0 = at once.
    #[serde(default, with = "secs")]
    pub over: Duration,
}

fn application() -> String {
    "shop".into()
}

/// How an orchestrator lies about its activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// Count 0 whatever runs.
    Zero,
    /// Its own key is missing (F2).
    MissingKey,
    /// A body that is not what it should be.
    Malformed,
    /// 404.
    NotFound,
    /// What was true this many seconds ago (F3); says so where the format can.
    Old(u32),
    /// 500.
    ServerError,
    /// No answer.
    Hang,
}

/// An endpoint of an orchestrator that tells of activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `GET /executions/activeByInstance`.
    ActiveByInstance,
    /// `GET /metrics`.
    Metrics,
}

/// A scheduled action; also the arguments of `PutScheduledUpdateGroupAction`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduledSpec {
    /// Its name.
    pub name: String,
    /// When.
    #[serde(with = "secs")]
    pub at: SimTime,
    /// Again after this long; `None` = once.
    #[serde(default, with = "opt_secs")]
    pub every: Option<Duration>,
    /// `MinSize`.
    #[serde(default)]
    pub min: Option<u32>,
    /// `MaxSize`.
    #[serde(default)]
    pub max: Option<u32>,
    /// `DesiredCapacity`.
    #[serde(default)]
    pub desired: Option<u32>,
}
