//! Auto Scaling groups and their instances as facts, in our own words, whichever side they come from.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::Serialize;

use super::identity::GroupName;
use super::identity::InstanceId;
use super::identity::TargetGroupArn;
use super::time::Timestamp;

/// One Auto Scaling group as a describe shows it. A describe may be stale (draining.md §4.6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// `app-stack-detail-vNNN`, or any name.
    pub name: GroupName,
    /// For error messages and IAM.
    pub arn: String,
    /// Orders the versions of a cluster (F16).
    pub created: Timestamp,
    /// Sizes as configured, in instances (or weights).
    pub capacity: Capacity,
    /// Members of any lifecycle state, as AWS lists them.
    pub instances: Vec<GroupInstance>,
    /// Suspended process and the reason AWS shows.
    pub suspended: BTreeMap<Process, String>,
    /// Group tags.
    pub tags: BTreeMap<String, String>,
    /// ELBv2 target groups attached to the group.
    pub target_groups: Vec<TargetGroupArn>,
    /// Classic load balancers attached to the group.
    pub classic_load_balancers: Vec<String>,
    /// `Some` while the group is being deleted; AWS's words.
    pub status: Option<String>,
    /// Which checks mark an instance unhealthy.
    pub health_check_type: HealthCheckType,
    /// Seconds a new instance is spared.
    pub health_check_grace_s: u32,
    /// Where new instances come from.
    pub launch: Option<LaunchSource>,
    /// Names of the zones.
    pub availability_zones: Vec<String>,
    /// Subnets that instances are launched into; empty where the zones' default subnets are meant.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// What a mixed instances policy may launch instead of the launch source's own type, best first; `None` without such a policy.
    #[serde(default)]
    pub mixed: Option<Vec<Override>>,
    /// Instances kept ready beside the group.
    #[serde(default)]
    pub warm_pool: Option<WarmPool>,
    /// What AWS refuses to delete, in AWS's word (`prevent-force-deletion`, `prevent-all-deletion`); `None` where it refuses nothing.
    #[serde(default)]
    pub deletion_protection: Option<String>,
    /// The group's instance lifecycle policy keeps an instance whose terminating hook is abandoned: `Terminating:Retained`, running and billed, counted no
    /// more (draining.md §4.7).
    #[serde(default)]
    pub retains_abandoned: bool,
}

impl Group {
    /// Spinnaker's "disabled": `AddToLoadBalancer` is suspended (spinnaker.md, draining.md §4.4).
    pub fn is_disabled(&self) -> bool {
        self.suspended.contains_key(&Process::AddToLoadBalancer)
    }

    /// Members in service and healthy by Auto Scaling's own book. Says nothing of load balancers, nor of intake (F56).
    pub fn healthy_in_service(&self) -> usize {
        self.instances.iter().filter(|i| i.state == LifecycleState::InService && i.health == InstanceHealth::Healthy).count()
    }

    /// How much of the group's sizes those members count for: their number, unless the group weighs them.
    pub fn healthy_weight(&self) -> u32 {
        weight(self.instances.iter().filter(|i| i.state == LifecycleState::InService && i.health == InstanceHealth::Healthy))
    }

    /// A mixed instances policy lets instances count for more than 1 of the sizes.
    pub fn is_weighted(&self) -> bool {
        self.mixed.iter().flatten().any(|choice| choice.weight.is_some_and(|weight| weight != 1))
    }

    /// The member with this id, in any state.
    pub fn instance(&self, id: &InstanceId) -> Option<&GroupInstance> {
        self.instances.iter().find(|i| &i.id == id)
    }
}

impl fmt::Display for LaunchSource {
    /// `name:version`, or the name of a launch configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}:{version}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Group sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// AWS refuses to go below it.
    pub min: u32,
    /// AWS refuses to go above it.
    pub max: u32,
    /// What AWS steers towards.
    pub desired: u32,
}

impl fmt::Display for Capacity {
    /// `min/desired/max`, the order people say it in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.min, self.desired, self.max)
    }
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupInstance {
    /// The instance.
    pub id: InstanceId,
    /// The group it belongs to.
    pub group: GroupName,
    /// Zone name.
    pub zone: String,
    /// Where it is in its life.
    pub state: LifecycleState,
    /// Auto Scaling's opinion.
    pub health: InstanceHealth,
    /// Protected from scale-in (not from a terminate call, draining.md §4.3).
    pub protected: bool,
    /// What it was launched from.
    pub launch: Option<LaunchSource>,
    /// How much of the group's sizes it counts for: 1, unless a mixed instances policy weighs its type otherwise.
    #[serde(default = "one")]
    pub weight: u32,
}

/// How much of a group's sizes these members count for.
pub fn weight<'a>(members: impl Iterator<Item = &'a GroupInstance>) -> u32 {
    members.map(|member| member.weight).fold(0, u32::saturating_add)
}

fn one() -> u32 {
    1
}

/// One choice of a mixed instances policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// EC2 type; `None` where AWS chooses by requirements.
    pub instance_type: Option<String>,
    /// How much of the group's sizes an instance of it counts for, where that is said.
    pub weight: Option<u32>,
    /// Its own launch template, where it has one.
    pub launch: Option<LaunchSource>,
}

/// Instances that are kept ready beside a group and are none of its members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmPool {
    /// How they are kept, in AWS's word: `Stopped`, `Running`, `Hibernated`.
    pub state: String,
    /// Fewest of them; kept however small the group is.
    pub min: u32,
    /// How many there are now.
    pub size: u32,
}

/// Launch template (or configuration) and version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LaunchSource {
    /// Template or configuration name.
    pub name: String,
    /// Template version: a number, `$Latest` or `$Default`; `None` for a launch configuration.
    pub version: Option<String>,
}

macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
            /// A word of AWS's that this build does not know; kept as it was written.
            Other(String),
        }

        impl $name {
            /// AWS's own word.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($text => Self::$variant,)+
                    _ => Self::Other(word.to_owned()),
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                Self::from(word.as_str())
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

open_enum!(
    /// Auto Scaling's lifecycle state of an instance; open-ended (draining.md §4.6), an unknown one is never actionable.
    LifecycleState {
        /// Launching.
        Pending = "Pending",
        /// A launch hook is waiting.
        PendingWait = "Pending:Wait",
        /// A launch hook was answered.
        PendingProceed = "Pending:Proceed",
        /// Counted and in use.
        InService = "InService",
        /// Ending.
        Terminating = "Terminating",
        /// A termination hook is waiting.
        TerminatingWait = "Terminating:Wait",
        /// A termination hook was answered.
        TerminatingProceed = "Terminating:Proceed",
        /// Parked by an instance lifecycle policy.
        TerminatingRetained = "Terminating:Retained",
        /// Gone; may linger in describes.
        Terminated = "Terminated",
        /// Leaving the group alive.
        Detaching = "Detaching",
        /// Left the group alive.
        Detached = "Detached",
        /// On its way to standby.
        EnteringStandby = "EnteringStandby",
        /// Owned, not counted, no health checks.
        Standby = "Standby",
    }
);

impl LifecycleState {
    /// In the group's warm pool, or on the way there; `Warmed:Stopped`, `Warmed:Pending:Wait`, … (F19).
    pub fn is_warmed(&self) -> bool {
        self.as_str().starts_with("Warmed:")
    }

    /// On the way out for good: nothing more is to be asked of AWS for this instance.
    pub fn is_ending(&self) -> bool {
        matches!(self, Self::Terminating | Self::TerminatingWait | Self::TerminatingProceed | Self::TerminatingRetained | Self::Terminated)
    }
}

open_enum!(
    /// A process of Auto Scaling that can be suspended (draining.md §4.4).
    Process {
        /// New instances.
        Launch = "Launch",
        /// Ending of instances.
        Terminate = "Terminate",
        /// Registration of new instances; its suspension is Spinnaker's mark of a disabled group.
        AddToLoadBalancer = "AddToLoadBalancer",
        /// Alarms reach policies.
        AlarmNotification = "AlarmNotification",
        /// Zones are kept even.
        AZRebalance = "AZRebalance",
        /// Checks mark instances unhealthy.
        HealthCheck = "HealthCheck",
        /// Unhealthy instances are replaced.
        ReplaceUnhealthy = "ReplaceUnhealthy",
        /// Instance refreshes advance.
        InstanceRefresh = "InstanceRefresh",
        /// Scheduled actions fire.
        ScheduledActions = "ScheduledActions",
    }
);

impl Process {
    /// The three that Spinnaker suspends when it disables a server group, and resumes when it enables one.
    pub const DISABLING: [Process; 3] = [Process::Launch, Process::Terminate, Process::AddToLoadBalancer];
}

open_enum!(
    /// Auto Scaling's opinion of an instance.
    InstanceHealth {
        /// Kept.
        Healthy = "Healthy",
        /// To be replaced.
        Unhealthy = "Unhealthy",
    }
);

open_enum!(
    /// Which checks can mark an instance unhealthy.
    HealthCheckType {
        /// EC2 status checks alone.
        Ec2 = "EC2",
        /// Load balancer checks too.
        Elb = "ELB",
    }
);
