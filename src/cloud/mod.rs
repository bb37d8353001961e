//! The cloud, as narrow traits in our own types. [`aws`] is the real one, [`sim`] the simulated region; no SDK type leaves this room.
//!
//! What must stay true: the only way to end an instance is [`AutoScaling::terminate_own`], and it takes an [`OwnInstance`], which only an
//! implementation of [`Metadata`] can make: no other id can be terminated, whatever the rest of the program does (S5).
//! A call whose answer was lost has an unknown outcome ([`Error::outcome_unknown`]); nobody repeats such a mutation before reading anew (F21).

pub mod aws;
pub mod sim;

mod compute;
mod error;
pub mod permission;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Serialize;

pub use compute::Blueprint;
pub use compute::Compute;
pub use compute::Image;
pub use compute::Offer;
pub use compute::Subnet;
pub use error::Error;
pub use error::Kind;
pub use error::NO_CREDENTIALS_NOW;

use crate::model::Group;
use crate::model::GroupInstance;
use crate::model::GroupName;
use crate::model::Hook;
use crate::model::HookResult;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Notices;
use crate::model::Process;
use crate::model::TargetGroupArn;
use crate::model::Timestamp;

/// Result of a call to the cloud.
pub type Result<T> = std::result::Result<T, Error>;

/// AWS's acknowledgement of a change: what its support, and CloudTrail, find it by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// AWS's id of the request; `None` where nothing had to be sent, and in a simulated region.
    pub request_id: Option<String>,
}

/// Auto Scaling, as much of it as Bellrock uses. Reads are paged and batched inside; every call is bounded in time.
#[async_trait]
pub trait AutoScaling: Send + Sync + 'static {
    /// The groups of these names. A name that AWS does not know is absent from the answer (F15: absence is no proof of anything).
    async fn groups(&self, names: &[GroupName]) -> Result<Vec<Group>>;

    /// Every group of the region that the filter lets through.
    async fn find_groups(&self, filter: &GroupFilter) -> Result<Vec<Group>>;

    /// The book entry of one instance; `None` when Auto Scaling does not manage it, or not visibly so.
    async fn instance(&self, id: &InstanceId) -> Result<Option<GroupInstance>>;

    /// The newest activities of a group, newest first, at most `limit` (1–100).
    async fn activities(&self, group: &GroupName, limit: u32) -> Result<Vec<ScalingActivity>>;

    /// Pending scheduled actions of a group.
    async fn scheduled_actions(&self, group: &GroupName) -> Result<Vec<ScheduledAction>>;

    /// Names of a group's scaling policies that are switched on.
    async fn policies(&self, group: &GroupName) -> Result<Vec<String>>;

    /// Instance refreshes of a group that have not ended.
    async fn running_refreshes(&self, group: &GroupName) -> Result<Vec<Refresh>>;

    /// `TerminateInstanceInAutoScalingGroup` for our own instance. Sent once, never retried inside: there is no client token, so a lost
    /// answer leaves the outcome unknown (draining.md §4.1).
    async fn terminate_own(&self, own: &OwnInstance, decrement: bool) -> Result<ScalingActivity>;

    /// The hook of this name; `None` when the group has none of that name.
    async fn hook(&self, group: &GroupName, name: &str) -> Result<Option<Hook>>;

    /// `RecordLifecycleActionHeartbeat` for our own instance. Refused when no action of the hook waits for it: it is over, or not visible yet (F67).
    async fn heartbeat(&self, group: &GroupName, hook: &str, own: &OwnInstance) -> Result<Receipt>;

    /// `CompleteLifecycleAction` for our own instance and this hook alone (F40). Refused as a heartbeat is; a second one does nothing.
    async fn complete(&self, group: &GroupName, hook: &str, own: &OwnInstance, result: HookResult) -> Result<Receipt>;

    /// `UpdateAutoScalingGroup` with a smaller min and nothing else. Sent once and at once, like the termination it makes room for: a repetition
    /// that arrives after a sibling has ended would find min above desired, and AWS would raise desired to it (S7).
    async fn lower_min(&self, group: &GroupName, to: u32) -> Result<()>;

    /// `UpdateAutoScalingGroup` with the sizes that are given. Absolute values, so a repeat is harmless while nobody else writes sizes.
    async fn resize(&self, group: &GroupName, change: Resize) -> Result<Receipt>;

    /// Suspends these processes; an empty list is a no-op (AWS would take it for "all").
    async fn suspend(&self, group: &GroupName, processes: &[Process]) -> Result<Receipt>;

    /// Resumes these processes; an empty list is a no-op.
    async fn resume(&self, group: &GroupName, processes: &[Process]) -> Result<Receipt>;

    /// Protects members from scale-in, or takes that off them; 50 to a call, one call after the other. AWS refuses all of a call when one of its
    /// members is neither in service nor in standby: it has been chosen to end, or is still launching (draining.md §4.3). Twice is once.
    async fn protect(&self, group: &GroupName, instances: &[InstanceId], protected: bool) -> Result<Receipt>;

    /// `EnterStandby` with decrement, 20 to a call: out of the load balancers, counted and checked no more, alive. AWS refuses all of a call when one
    /// is not in service, so that none is decremented twice, and when desired would fall below min (draining.md §4.9).
    async fn enter_standby(&self, group: &GroupName, instances: &[InstanceId]) -> Result<Receipt>;

    /// Creates or overwrites group tags (not propagated at launch).
    async fn put_tags(&self, group: &GroupName, tags: &[(String, String)]) -> Result<Receipt>;

    /// Deletes group tags by key; absent ones are fine.
    async fn delete_tags(&self, group: &GroupName, keys: &[String]) -> Result<Receipt>;

    /// By how many milliseconds the cloud's clock was ahead of ours in its newest answer, within a second; `None` before the first, or where none has a time.
    fn clock_ahead_ms(&self) -> Option<i64> {
        None
    }
}

/// Load balancers of both generations.
#[async_trait]
pub trait LoadBalancing: Send + Sync + 'static {
    /// Facts about these target groups, including whether any load balancer uses them.
    async fn target_groups(&self, arns: &[TargetGroupArn]) -> Result<Vec<TargetGroup>>;

    /// Health of every registered target of one target group.
    async fn target_health(&self, arn: &TargetGroupArn) -> Result<Vec<TargetHealth>>;

    /// Registers targets; one that is there already is fine.
    async fn register_targets(&self, arn: &TargetGroupArn, targets: &[TargetId]) -> Result<Receipt>;

    /// Deregisters targets; an absent one is fine.
    async fn deregister_targets(&self, arn: &TargetGroupArn, targets: &[TargetId]) -> Result<Receipt>;

    /// Health of every instance behind one classic load balancer.
    async fn classic_health(&self, name: &str) -> Result<Vec<ClassicHealth>>;

    /// Registers instances with a classic load balancer; one that is there already is fine.
    async fn register_classic(&self, name: &str, instances: &[InstanceId]) -> Result<Receipt>;

    /// Takes instances out of a classic load balancer; an absent one is fine.
    async fn deregister_classic(&self, name: &str, instances: &[InstanceId]) -> Result<Receipt>;
}

/// Instance metadata, version 2 only, of the instance we run on.
#[async_trait]
pub trait Metadata: Send + Sync + 'static {
    /// Who we are.
    async fn identity(&self) -> Result<Identity>;

    /// `autoscaling/target-lifecycle-state`; `None` while AWS has not set one (404). Tells the target only.
    async fn target_state(&self) -> Result<Option<LifecycleState>>;

    /// What AWS says of our future beside it: spot interruption, rebalance recommendation, maintenance. A path that is absent (404) says nothing.
    async fn notices(&self) -> Result<Notices>;
}

/// Who asks for a call on a person's behalf: the caller identity of the credentials in use.
#[async_trait]
pub trait Caller: Send + Sync + 'static {
    /// Account and ARN of the credentials (`sts:GetCallerIdentity`).
    async fn caller(&self) -> Result<CallerIdentity>;

    /// What IAM says of these actions (`iam:SimulatePrincipalPolicy`), of several resources the worst.
    async fn verdicts(&self, ask: &Ask) -> Result<BTreeMap<String, Verdict>>;
}

/// What somebody wants to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Role or user that wants it; `None`: the credentials in use.
    pub principal: Option<String>,
    /// As IAM names them: `autoscaling:SuspendProcesses`.
    pub actions: Vec<&'static str>,
    /// ARNs; none: whatever there is.
    pub resources: Vec<String>,
    /// What IAM is told besides, by condition key: tags of the resources, what the request names.
    pub context: BTreeMap<String, Told>,
}

/// The value of a condition key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// One text.
    Text(String),
    /// One number.
    Number(u32),
    /// Several texts.
    Texts(Vec<String>),
}

/// Whether somebody may, the better first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Yes.
    Allowed,
    /// It depends on a condition that IAM was not told of, or IAM's word is not known: nobody can say.
    Unclear,
    /// A plain no.
    Denied,
}

/// Account and ARN behind a set of credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallerIdentity {
    /// Twelve digits.
    pub account: String,
    /// User or role session.
    pub arn: String,
}

/// Our own instance id, read from instance metadata. The fields are closed: only this room can make one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct OwnInstance(InstanceId);

impl OwnInstance {
    /// The id.
    pub fn id(&self) -> &InstanceId {
        &self.0
    }

    /// An instance that exists in no cloud, for unit tests.
    #[cfg(test)]
    pub(crate) fn in_test(id: &str) -> Self {
        Self(InstanceId::from(id))
    }
}

/// The instance identity document, as far as we need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// This instance.
    pub own: OwnInstance,
    /// Region name.
    pub region: String,
    /// Zone name.
    pub zone: String,
    /// Twelve digits.
    pub account: String,
    /// What this instance was baked from.
    pub image: String,
}

/// Which groups to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupFilter {
    /// All groups of the region; 100 to a page.
    All,
    /// Groups with this tag and value; AWS filters.
    Tag {
        /// Tag key.
        key: String,
        /// Tag value.
        value: String,
    },
}

/// Sizes to change; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resize {
    /// `MinSize`.
    pub min: Option<u32>,
    /// `MaxSize`.
    pub max: Option<u32>,
    /// `DesiredCapacity`.
    pub desired: Option<u32>,
}

/// A scaling activity (draining.md §4.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScalingActivity {
    /// AWS's id of the activity.
    pub id: String,
    /// What it does, for people; names the instance.
    pub description: String,
    /// Why, for people; names who asked.
    pub cause: String,
    /// How far it is.
    pub status: ActivityStatus,
    /// AWS's own status word.
    pub status_code: String,
    /// Of `progress`, 0–100.
    pub progress: u8,
    /// Start.
    pub started: Timestamp,
    /// What went wrong, when something did.
    pub message: Option<String>,
}

impl ScalingActivity {
    /// Whether the activity speaks of this instance.
    pub fn concerns(&self, id: &InstanceId) -> bool {
        self.description.contains(id.as_str())
    }
}

/// Status of an activity, as far as a caller can do something different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivityStatus {
    /// Not ended yet, or a word we do not know.
    Underway,
    /// `Successful`.
    Successful,
    /// `Failed` or `Cancelled`.
    Failed,
}

/// A scheduled change of sizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScheduledAction {
    /// Its name.
    pub name: String,
    /// When it is due next, where AWS says.
    pub due: Option<Timestamp>,
}

/// An instance refresh that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refresh {
    /// Its id.
    pub id: String,
    /// AWS's status word.
    pub status: String,
}

/// A target group's facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetGroup {
    /// Its ARN.
    pub arn: TargetGroupArn,
    /// Its name.
    pub name: String,
    /// Default port of a target.
    pub port: Option<u16>,
    /// ARNs of the load balancers whose listeners use it; empty = targets show `unused` (draining.md §4.10).
    pub load_balancers: Vec<String>,
    /// Seconds between health checks.
    pub health_interval_s: u32,
    /// Good checks in a row that make a target healthy.
    pub healthy_threshold: u32,
}

/// A target's identity: the port override is part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TargetId {
    /// The instance.
    pub instance: InstanceId,
    /// Port; `None` = the group's default.
    pub port: Option<u16>,
}

/// Health of one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetHealth {
    /// Who.
    pub target: TargetId,
    /// How.
    pub state: TargetState,
    /// AWS's reason code, e.g. `Elb.RegistrationInProgress`.
    pub reason: Option<String>,
}

/// `DescribeTargetHealth` states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    /// Checks have not passed yet.
    Initial,
    /// Gets traffic.
    Healthy,
    /// Checks fail.
    Unhealthy,
    /// On no listener, or the zone is off.
    Unused,
    /// Leaving.
    Draining,
    /// No checks configured, or a word we do not know.
    Unavailable,
}

/// Health of one instance behind a classic load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassicHealth {
    /// Who.
    pub instance: InstanceId,
    /// `InService`.
    pub in_service: bool,
    /// `ELB`, `Instance` or `N/A`.
    pub reason: String,
}
