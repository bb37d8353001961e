//! What is no reason to refuse a rollback and may still spoil it: all of it at once, before anything is changed. Pure.
//!
//! What must stay true: a finding changes no plan; each has a code with a page in `runbooks/`, and says what to do. What makes a rollback
//! impossible or dangerous is a [`Refusal`](super::Refusal) instead.

use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;

use super::super::facts::Backend;
use super::super::facts::Facts;
use super::super::facts::backends_of;
use super::ClusterPlan;
use super::Request;
use super::Way;
use super::alive;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::HealthCheckType;
use crate::model::InstanceHealth;
use crate::model::InstanceId;
use crate::model::Process;
use crate::model::Timestamp;

/// Tags by which the operator services that own Auto Scaling groups mark them; each may undo a rollback at any time.
const OWNERS: [(&str, &str); 4] = [
    ("aws:cloudformation:stack-name", "CloudFormation"),
    ("elasticbeanstalk:environment-name", "Elastic Beanstalk"),
    ("eks:nodegroup-name", "EKS"),
    ("AmazonECSManaged", "ECS"),
];

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Note,
    /// May spoil the rollback, or what comes after it.
    Warning,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
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
        alive: usize,
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
            | Self::ManagedByAnother { .. } => Severity::Warning,
            Self::ScheduledActionDue { .. }
            | Self::ScheduledActionsUnknown { .. }
            | Self::Ec2ChecksOnly { .. }
            | Self::NoLoadBalancer { .. }
            | Self::NoCapacityRecord { .. }
            | Self::NoServiceUrl => Severity::Note,
        }
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

/// All findings about these clusters, the worst first.
pub fn examine(request: &Request, facts: &Facts, clusters: &[ClusterPlan], now: Timestamp) -> Vec<Finding> {
    let mut found = Vec::new();
    let ahead = clusters.iter().filter(|c| c.way != Way::PutBack);
    for cluster in ahead {
        if let Some(group) = facts.group(&cluster.restore.name) {
            restored(cluster, facts, group, &mut found);
        }
        for group in cluster.groups().filter_map(|g| facts.group(&g.name)) {
            let owner = OWNERS.into_iter().find(|(tag, _)| group.tags.contains_key(*tag));
            found.extend(owner.map(|(tag, by)| Finding::ManagedByAnother { group: group.name.clone(), by, tag }));
            let goes = group.name != cluster.restore.name;
            scheduled(request, facts, &group.name, goes, now, &mut found);
        }
    }
    if request.service_urls.is_empty() && !request.undo {
        found.push(Finding::NoServiceUrl);
    }
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity()));
    found
}

fn restored(cluster: &ClusterPlan, facts: &Facts, group: &Group, found: &mut Vec<Finding>) {
    let name = || group.name.clone();
    let backends = backends_of(group);
    if backends.is_empty() {
        found.push(Finding::NoLoadBalancer { group: name() });
    } else if group.health_check_type == HealthCheckType::Ec2 {
        found.push(Finding::Ec2ChecksOnly { group: name() });
    }
    let unused = |b: &&Backend| facts.backends.get(b).is_some_and(|f| !f.listened);
    found.extend(backends.iter().filter(unused).map(|b| Finding::NoListener { group: name(), load_balancer: b.to_string() }));
    if group.suspended.contains_key(&Process::HealthCheck) {
        found.push(Finding::HealthCheckSuspended { group: name() });
    }
    let unhealthy: Vec<InstanceId> = alive(group).filter(|i| i.health == InstanceHealth::Unhealthy).map(|i| i.id.clone()).collect();
    if !unhealthy.is_empty() && cluster.resume.contains(&Process::Terminate) {
        found.push(Finding::UnhealthyMembers { group: name(), instances: unhealthy });
    }
    let living = alive(group).count();
    if group.launch.is_none() && living < usize::try_from(cluster.count).unwrap_or(usize::MAX) {
        found.push(Finding::NoLaunchSource { group: name(), alive: living, count: cluster.count });
    }
    if cluster.is_guess {
        found.push(Finding::NoCapacityRecord { group: name(), count: cluster.count });
    }
}

fn scheduled(request: &Request, facts: &Facts, group: &GroupName, goes: bool, now: Timestamp, found: &mut Vec<Finding>) {
    match facts.scheduled.get(group) {
        Some(Ok(actions)) => {
            let end = now.plus(request.timeout);
            for action in actions {
                let (group, name) = (group.clone(), action.name.clone());
                match action.due {
                    _ if goes => found.push(Finding::ScheduledActionOnRetired { group, action: name }),
                    Some(due) if due <= end => found.push(Finding::ScheduledActionDue { group, action: name, due: due.to_string() }),
                    Some(_) | None => {}
                }
            }
        }
        Some(Err(problem)) => found.push(Finding::ScheduledActionsUnknown { group: group.clone(), problem: problem.clone() }),
        None => {}
    }
}

fn ids(instances: &[InstanceId]) -> String {
    instances.iter().map(InstanceId::as_str).collect::<Vec<_>>().join(", ")
}
