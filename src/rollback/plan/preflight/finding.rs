//! What may spoil a rollback, in words: each finding has a code with a page in `runbooks/`, says how bad it is, and what to do.

use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;

use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::LaunchSource;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Note,
    /// May spoil the rollback, or what comes after it.
    Warning,
    /// The rollback would not come to its end: one that has not begun yet is refused.
    Blocker,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Blocker => "blocker",
        })
    }
}

/// Something that may spoil a rollback.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// It would fire meanwhile, and is suspended; afterwards it is not made up for.
    #[error("{group}: the scheduled action {action} is due at {due}; it is suspended meanwhile, and what falls due then is left out")]
    ScheduledActionDue {
        /// The group.
        group: GroupName,
        /// Its name.
        action: String,
        /// When.
        due: String,
    },
    /// It would scale what a rollback has retired.
    #[error("{group}: the scheduled action {action} will set sizes again after it was retired")]
    ScheduledActionOnRetired {
        /// The group.
        group: GroupName,
        /// Its name.
        action: String,
    },
    /// Scheduled actions could not be read.
    #[error("{group}: whether a scheduled action is due cannot be known: {problem}")]
    ScheduledActionsUnknown {
        /// The group.
        group: GroupName,
        /// AWS's words.
        problem: String,
    },
    /// Dead members look alive to Auto Scaling (F56).
    #[error("{group}: HealthCheck is suspended, and stays so: Auto Scaling does not see which of its instances are dead")]
    HealthCheckSuspended {
        /// The group.
        group: GroupName,
    },
    /// They are replaced as soon as Terminate goes on.
    #[error("{group}: Auto Scaling calls {} unhealthy and will replace them once Terminate is resumed", ids(.instances))]
    UnhealthyMembers {
        /// The group.
        group: GroupName,
        /// Which.
        instances: Vec<InstanceId>,
    },
    /// Whoever fails its load balancer's checks stays.
    #[error("{group}: only EC2's checks replace instances; one that fails its load balancer's checks stays and never counts")]
    Ec2ChecksOnly {
        /// The group.
        group: GroupName,
    },
    /// New instances have nothing to come from.
    #[error("{group}: AWS names neither launch template nor configuration; it has {alive} of {count} instances, and may launch none")]
    NoLaunchSource {
        /// The group.
        group: GroupName,
        /// Members that live.
        alive: u32,
        /// How many there shall be.
        count: u32,
    },
    /// Health cannot be had there.
    #[error("{group}: no listener uses {load_balancer}")]
    NoListener {
        /// The group to restore.
        group: GroupName,
        /// Which.
        load_balancer: String,
    },
    /// Nothing outside says whether it works.
    #[error("{group} is behind no load balancer: in service is all that can be checked")]
    NoLoadBalancer {
        /// The group to restore.
        group: GroupName,
    },
    /// Some other service owns it.
    #[error("{group} is managed by {by} ({tag}), which may set its sizes again")]
    ManagedByAnother {
        /// The group.
        group: GroupName,
        /// Whose.
        by: &'static str,
        /// The tag that says so.
        tag: &'static str,
    },
    /// The number of instances is a guess.
    #[error(
        "{group}: no record of what it had before it was drained; {count} instances as the newest group has, or as few as there may be"
    )]
    NoCapacityRecord {
        /// The group to restore.
        group: GroupName,
        /// How many there shall be.
        count: u32,
    },
    /// Nothing can be launched from it (F54).
    #[error("{group}: {source_name} is gone{launches}: {words}")]
    LaunchSourceGone {
        /// The group to restore.
        group: GroupName,
        /// Launch template and version, or launch configuration.
        source_name: LaunchSource,
        /// AWS's words.
        words: String,
        /// What the launches depend on it.
        launches: Launches,
    },
    /// Nothing can be launched from it (F54).
    #[error("{group}: the image {image} of {source_name} is {state}{launches}")]
    ImageUnusable {
        /// The group to restore.
        group: GroupName,
        /// Launch template and version, or launch configuration.
        source_name: LaunchSource,
        /// AMI id.
        image: String,
        /// AWS's word, or `gone`.
        state: String,
        /// What the launches depend on it.
        launches: Launches,
    },
    /// Launches name it, and fail (F54).
    #[error("{group}: the key pair {key_pair} of {source_name} is gone{launches}")]
    KeyPairGone {
        /// The group to restore.
        group: GroupName,
        /// Launch template and version, or launch configuration.
        source_name: LaunchSource,
        /// Its name.
        key_pair: String,
        /// What the launches depend on it.
        launches: Launches,
    },
    /// Launches name them, and fail (F54).
    #[error("{group}: security groups of {source_name} are gone: {}{launches}", .security_groups.join(", "))]
    SecurityGroupGone {
        /// The group to restore.
        group: GroupName,
        /// Launch template and version, or launch configuration.
        source_name: LaunchSource,
        /// Their ids.
        security_groups: Vec<String>,
        /// What the launches depend on it.
        launches: Launches,
    },
    /// Launches there fail.
    #[error("{group}: subnets are gone: {}{launches}", .subnets.join(", "))]
    SubnetGone {
        /// The group to restore.
        group: GroupName,
        /// Their ids.
        subnets: Vec<String>,
        /// What the launches depend on it.
        launches: Launches,
    },
    /// More would be launched than there are addresses.
    #[error("{group}: its subnets have {free} free addresses{launches}")]
    SubnetsFull {
        /// The group to restore.
        group: GroupName,
        /// In all of its subnets together.
        free: u32,
        /// What the launches depend on it.
        launches: Launches,
    },
    /// Launches there fail.
    #[error("{group}: {} cannot be had in {}{launches}", .types.join(", "), .zones.join(", "))]
    TypeNotOffered {
        /// The group to restore.
        group: GroupName,
        /// EC2 types.
        types: Vec<String>,
        /// Zones where none of them is offered.
        zones: Vec<String>,
        /// What the launches depend on it.
        launches: Launches,
    },
    /// The account may not have so many.
    #[error("{needed} vCPUs would be launched and the account has {free} of {quota} left")]
    QuotaShort {
        /// For all clusters together.
        needed: u32,
        /// Left of the quota.
        free: u32,
        /// The quota.
        quota: u32,
    },
    /// Instances outside of the group's sizes.
    #[error("{group} has a warm pool ({state}, {size} now, at least {min}): {}", if *.goes { "its instances stay when the group is retired" } else { "new instances come from it first" })]
    WarmPool {
        /// The group.
        group: GroupName,
        /// `Stopped`, `Running`, `Hibernated`.
        state: String,
        /// How many there are.
        size: u32,
        /// How many are always kept.
        min: u32,
        /// The group is retired.
        goes: bool,
    },
    /// Sizes are no numbers of instances.
    #[error("{group}: its mixed instances policy weighs instances: {count} is a sum of weights, and so is every size here")]
    WeightedCapacity {
        /// The group to restore.
        group: GroupName,
        /// How much there shall be.
        count: u32,
    },
    /// Whoever cleans up meets it.
    #[error("{group} has deletion protection ({protection}): the rollback empties it, and it cannot be deleted afterwards")]
    DeletionProtection {
        /// The group that is retired.
        group: GroupName,
        /// AWS's word.
        protection: String,
    },
    /// They act again at the end.
    #[error("{group}: scaling policies go on after the rollback: {}", .policies.join(", "))]
    ScalingPolicies {
        /// The group to restore.
        group: GroupName,
        /// Their names.
        policies: Vec<String>,
    },
    /// It would be denied in the middle.
    #[error("IAM says that these credentials may not do what a rollback does: {}", .actions.join(", "))]
    PermissionMissing {
        /// As IAM names them.
        actions: Vec<String>,
    },
    /// Nobody knows.
    #[error("could not look at {what}: {problem}")]
    CouldNotLook {
        /// At what.
        what: &'static str,
        /// What it takes.
        permission: &'static str,
        /// It is not allowed; otherwise it may work the next time.
        denied: bool,
        /// AWS's words.
        problem: String,
    },
    /// The last word is the load balancers'.
    #[error("no --service-url: that users are served is not checked")]
    NoServiceUrl,
}

impl Finding {
    /// For programs, and the name of the page in `runbooks/`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ScheduledActionDue { .. } => "preflight-scheduled-action-due",
            Self::ScheduledActionOnRetired { .. } => "preflight-scheduled-action-on-retired",
            Self::ScheduledActionsUnknown { .. } => "preflight-scheduled-actions-unknown",
            Self::HealthCheckSuspended { .. } => "preflight-health-check-suspended",
            Self::UnhealthyMembers { .. } => "preflight-unhealthy-members",
            Self::Ec2ChecksOnly { .. } => "preflight-ec2-checks-only",
            Self::NoLaunchSource { .. } => "preflight-no-launch-source",
            Self::NoListener { .. } => "preflight-no-listener",
            Self::NoLoadBalancer { .. } => "preflight-no-load-balancer",
            Self::ManagedByAnother { .. } => "preflight-managed-by-another",
            Self::NoCapacityRecord { .. } => "preflight-no-capacity-record",
            Self::LaunchSourceGone { .. } => "preflight-launch-source-gone",
            Self::ImageUnusable { .. } => "preflight-image-unusable",
            Self::KeyPairGone { .. } => "preflight-key-pair-gone",
            Self::SecurityGroupGone { .. } => "preflight-security-group-gone",
            Self::SubnetGone { .. } => "preflight-subnet-gone",
            Self::SubnetsFull { .. } => "preflight-subnets-full",
            Self::TypeNotOffered { .. } => "preflight-type-not-offered",
            Self::QuotaShort { .. } => "preflight-quota-short",
            Self::WarmPool { .. } => "preflight-warm-pool",
            Self::WeightedCapacity { .. } => "preflight-weighted-capacity",
            Self::DeletionProtection { .. } => "preflight-deletion-protection",
            Self::ScalingPolicies { .. } => "preflight-scaling-policies",
            Self::PermissionMissing { .. } => "preflight-permission-missing",
            Self::CouldNotLook { .. } => "preflight-could-not-look",
            Self::NoServiceUrl => "preflight-no-service-url",
        }
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::ScheduledActionOnRetired { .. }
            | Self::HealthCheckSuspended { .. }
            | Self::UnhealthyMembers { .. }
            | Self::NoLaunchSource { .. }
            | Self::NoListener { .. }
            | Self::ManagedByAnother { .. }
            | Self::QuotaShort { .. }
            | Self::PermissionMissing { .. }
            | Self::WarmPool { goes: true, .. } => Severity::Warning,
            Self::LaunchSourceGone { launches, .. }
            | Self::ImageUnusable { launches, .. }
            | Self::KeyPairGone { launches, .. }
            | Self::SecurityGroupGone { launches, .. }
            | Self::SubnetGone { launches, .. }
            | Self::SubnetsFull { launches, .. }
            | Self::TypeNotOffered { launches, .. } => launches.severity(),
            Self::ScheduledActionDue { .. }
            | Self::ScheduledActionsUnknown { .. }
            | Self::Ec2ChecksOnly { .. }
            | Self::NoLoadBalancer { .. }
            | Self::NoCapacityRecord { .. }
            | Self::WarmPool { goes: false, .. }
            | Self::WeightedCapacity { .. }
            | Self::DeletionProtection { .. }
            | Self::ScalingPolicies { .. }
            | Self::CouldNotLook { .. }
            | Self::NoServiceUrl => Severity::Note,
        }
    }

    /// It would keep this group from being restored.
    pub fn blocks(&self, restored: &GroupName) -> bool {
        let group = match self {
            Self::LaunchSourceGone { group, .. }
            | Self::ImageUnusable { group, .. }
            | Self::KeyPairGone { group, .. }
            | Self::SecurityGroupGone { group, .. }
            | Self::SubnetGone { group, .. }
            | Self::SubnetsFull { group, .. }
            | Self::TypeNotOffered { group, .. } => group,
            _ => return false,
        };
        group == restored && self.severity() == Severity::Blocker
    }

    /// What the person can do.
    pub fn next_step(&self) -> String {
        match self {
            Self::ScheduledActionDue { group, action, .. } => format!("afterwards look whether {group} has the sizes that {action} sets"),
            Self::ScheduledActionOnRetired { group, action } => {
                format!("aws autoscaling delete-scheduled-action --auto-scaling-group-name {group} --scheduled-action-name {action}")
            }
            Self::ScheduledActionsUnknown { .. } => "allow autoscaling:DescribeScheduledActions".to_owned(),
            Self::HealthCheckSuspended { group } => {
                format!(
                    "find out who suspended it; afterwards: aws autoscaling resume-processes --auto-scaling-group-name {group} --scaling-processes HealthCheck"
                )
            }
            Self::UnhealthyMembers { .. } => "if one of them still works on something, wait for it first".to_owned(),
            Self::Ec2ChecksOnly { .. } => "if it waits for an instance that never gets healthy, end that one by hand".to_owned(),
            Self::NoLaunchSource { .. } => {
                "restore another version with --to, or no more instances than live, with --cluster NAME=COUNT".to_owned()
            }
            Self::NoListener { load_balancer, .. } => format!("point a listener's rule at {load_balancer}, or know why there is none"),
            Self::NoLoadBalancer { .. } => "pass --service-url, so that something outside is asked".to_owned(),
            Self::ManagedByAnother { by, .. } => format!("make the same change in {by}, or pause it"),
            Self::NoCapacityRecord { .. } => "say how many with --cluster NAME=COUNT".to_owned(),
            Self::LaunchSourceGone { .. } => elsewhere("make it again"),
            Self::ImageUnusable { image, .. } => elsewhere(&format!("bring {image} back (aws ec2 list-images-in-recycle-bin --image-ids {image}), or enable it")),
            Self::KeyPairGone { key_pair, .. } => elsewhere(&format!("make a key pair {key_pair} again (aws ec2 import-key-pair)")),
            Self::SecurityGroupGone { source_name, .. } => elsewhere(&format!("point {} at groups that are there, with a new version", source_name.name)),
            Self::SubnetGone { group, .. } => elsewhere(&format!(
                "give {group} subnets that are there: aws autoscaling update-auto-scaling-group --auto-scaling-group-name {group} --vpc-zone-identifier SUBNETS"
            )),
            Self::SubnetsFull { .. } => elsewhere("free addresses, or add a subnet"),
            Self::TypeNotOffered { .. } => elsewhere("give the group zones where it is offered"),
            Self::QuotaShort { .. } => {
                "raise it: aws service-quotas request-service-quota-increase --service-code ec2 --quota-code L-1216C47A --desired-value N; or restore less with --cluster NAME=COUNT".to_owned()
            }
            Self::WarmPool { group, goes: true, .. } => {
                format!("afterwards: aws autoscaling delete-warm-pool --auto-scaling-group-name {group}")
            }
            Self::WarmPool { .. } => "know that its instances were started earlier than now".to_owned(),
            Self::WeightedCapacity { .. } => "where a number is asked for, give weights: --cluster NAME=COUNT".to_owned(),
            Self::DeletionProtection { .. } => "take the protection off before somebody, or a pipeline, deletes it".to_owned(),
            Self::ScalingPolicies { group, .. } => format!("afterwards look whether they leave {group} as large as it has to be"),
            Self::PermissionMissing { .. } => "take other credentials (--profile, --role-arn), or have them allowed".to_owned(),
            Self::CouldNotLook { permission, denied: true, .. } => format!("allow {permission}, or look by hand"),
            Self::CouldNotLook { .. } => "ask again, or look by hand; the rollback does not need it".to_owned(),
            Self::NoServiceUrl => "pass --service-url with what users reach".to_owned(),
        }
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("severity", &self.severity())?;
        map.serialize_entry("code", self.code())?;
        map.serialize_entry("message", &self.to_string())?;
        map.serialize_entry("next", &self.next_step())?;
        map.end()
    }
}

fn ids(instances: &[InstanceId]) -> String {
    instances.iter().map(InstanceId::as_str).collect::<Vec<_>>().join(", ")
}

/// How much a rollback depends on launches that something is in the way of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launches {
    /// Instances (or weights) that have to be launched; 0 when all that is needed lives.
    pub needed: u32,
    /// There is no other way to launch them.
    pub all: bool,
}

impl Launches {
    fn severity(self) -> Severity {
        if self.needed > 0 && self.all { Severity::Blocker } else { Severity::Warning }
    }
}

impl std::fmt::Display for Launches {
    /// The end of a sentence about what is in the way.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self { needed: 0, .. } => f.write_str("; nothing has to be launched now, and nothing that is lost can be replaced"),
            Self { needed, all: true } => write!(f, "; {needed} would have to be launched, and none can be"),
            Self { needed, all: false } => write!(f, "; {needed} would have to be launched, from what is left"),
        }
    }
}

fn elsewhere(mend: &str) -> String {
    format!("{mend}; or restore another version with --to, or no more than lives with --cluster NAME=COUNT")
}
