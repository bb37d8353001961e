//! What the roles that Bellrock works with have to be allowed. *Pure*.
//!
//! What must stay true: whatever the code can call is here, under whoever calls it, and nothing else is. `tests/iam.rs` holds these tables to the code
//! of `cloud::aws` and of its callers, and the policies in `docs/iam` to these tables. Instance metadata and `sts:GetCallerIdentity` need no leave.

use std::collections::BTreeMap;

use super::Told;
use crate::model::Group;

/// An action, and when it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// As IAM names it: `autoscaling:SuspendProcesses`.
    pub action: &'static str,
    /// What it is done to.
    pub on: On,
    /// Without what it is not needed.
    pub need: Need,
}

/// What an action is done to, as far as IAM can tell one from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    /// Reads that IAM cannot limit to a resource.
    All,
    /// A server group.
    Group,
    /// A target group.
    TargetGroup,
    /// A classic load balancer.
    Classic,
    /// A role, or a user.
    Principal,
}

/// When an action is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Whatever is set.
    Always,
    /// With this setting, or this option of the command.
    With(&'static str),
    /// To be told beforehand; where it is not allowed, that is a note.
    Ahead,
}

const fn always(action: &'static str, on: On) -> Permission {
    Permission { action, on, need: Need::Always }
}

const fn with(action: &'static str, on: On, setting: &'static str) -> Permission {
    Permission { action, on, need: Need::With(setting) }
}

const fn ahead(action: &'static str, on: On) -> Permission {
    Permission { action, on, need: Need::Ahead }
}

/// What the role of the instances needs.
pub const AGENT: [Permission; 11] = [
    always("autoscaling:DescribeAutoScalingGroups", On::All),
    always("autoscaling:DescribeAutoScalingInstances", On::All),
    always("autoscaling:DescribeScalingActivities", On::All),
    always("autoscaling:CreateOrUpdateTags", On::Group),
    always("autoscaling:DeleteTags", On::Group),
    with("autoscaling:TerminateInstanceInAutoScalingGroup", On::Group, "terminate.via = \"aws\""),
    with("autoscaling:UpdateAutoScalingGroup", On::Group, "terminate.min_size = \"lower\""),
    with("autoscaling:DescribeLifecycleHooks", On::All, HOOK),
    with("autoscaling:RecordLifecycleActionHeartbeat", On::Group, HOOK),
    with("autoscaling:CompleteLifecycleAction", On::Group, HOOK),
    with("autoscaling:SetInstanceProtection", On::Group, "heed.protect"),
];

const HOOK: &str = "heed.terminating_hook or heed.launching_hook";

/// What the person who rolls back needs, and who asks `bellrock doctor` before.
pub const ROLLBACK: [Permission; 32] = [
    always("autoscaling:DescribeAutoScalingGroups", On::All),
    always("autoscaling:DescribeInstanceRefreshes", On::All),
    always("autoscaling:DescribeScalingActivities", On::All),
    always("autoscaling:DescribeScheduledActions", On::All),
    always("autoscaling:UpdateAutoScalingGroup", On::Group),
    always("autoscaling:SuspendProcesses", On::Group),
    always("autoscaling:ResumeProcesses", On::Group),
    always("autoscaling:SetInstanceProtection", On::Group),
    always("autoscaling:CreateOrUpdateTags", On::Group),
    always("autoscaling:DeleteTags", On::Group),
    with("autoscaling:EnterStandby", On::Group, "--keep-bad"),
    always("elasticloadbalancing:DescribeTargetGroups", On::All),
    always("elasticloadbalancing:DescribeTargetHealth", On::All),
    always("elasticloadbalancing:DescribeInstanceHealth", On::All),
    always("elasticloadbalancing:RegisterTargets", On::TargetGroup),
    always("elasticloadbalancing:DeregisterTargets", On::TargetGroup),
    always("elasticloadbalancing:RegisterInstancesWithLoadBalancer", On::Classic),
    always("elasticloadbalancing:DeregisterInstancesFromLoadBalancer", On::Classic),
    with("sts:AssumeRole", On::Principal, "--role-arn"),
    ahead("autoscaling:DescribePolicies", On::All),
    ahead("autoscaling:DescribeLaunchConfigurations", On::All),
    ahead("ec2:DescribeLaunchTemplateVersions", On::All),
    ahead("ec2:DescribeImages", On::All),
    ahead("ec2:DescribeKeyPairs", On::All),
    ahead("ec2:DescribeSecurityGroups", On::All),
    ahead("ec2:DescribeSubnets", On::All),
    ahead("ec2:DescribeInstanceTypeOfferings", On::All),
    ahead("ec2:DescribeInstanceTypes", On::All),
    ahead("ec2:DescribeInstances", On::All),
    ahead("servicequotas:GetServiceQuota", On::All),
    ahead("iam:SimulatePrincipalPolicy", On::Principal),
    ahead("iam:GetRole", On::Principal),
];

/// What a role of Bellrock's must not be allowed: each of these does to a fleet what nothing here ever asks for.
pub const NEVER: [&str; 7] = [
    "autoscaling:CreateAutoScalingGroup",
    "autoscaling:DeleteAutoScalingGroup",
    "autoscaling:DetachInstances",
    "ec2:RunInstances",
    "ec2:TerminateInstances",
    "iam:PassRole",
    "iam:PutRolePolicy",
];

/// The ARN of a classic load balancer in the account and region of a group.
pub fn classic_arn(group: &str, name: &str) -> Option<String> {
    let parts: Vec<&str> = group.split(':').collect();
    let (partition, region, account) = (parts.get(1)?, parts.get(3)?, parts.get(4)?);
    Some(format!("arn:{partition}:elasticloadbalancing:{region}:{account}:loadbalancer/{name}"))
}

/// What a simulation is told of these groups: the tags that all of them have, under both names that policies know them by.
pub fn told_of(groups: &[Group]) -> BTreeMap<String, Told> {
    let Some((first, others)) = groups.split_first() else { return BTreeMap::new() };
    let common = first.tags.iter().filter(|(key, value)| others.iter().all(|group| group.tags.get(*key) == Some(*value)));
    let keys =
        |(key, value): (&String, &String)| ["autoscaling", "aws"].map(|of| (format!("{of}:ResourceTag/{key}"), Told::Text(value.clone())));
    common.flat_map(keys).collect()
}
