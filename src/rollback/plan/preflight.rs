//! What is no reason to refuse a rollback and may still spoil it: all of it at once, before anything is changed. Pure.
//!
//! What must stay true: a finding changes no plan; each has a code with a page in `runbooks/`, and says what to do. What makes a rollback
//! impossible or dangerous is a [`Refusal`](super::Refusal) instead.

mod finding;
mod supply;

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
use crate::model::weight;

pub use finding::Finding;
pub use finding::Launches;
pub use finding::Severity;

/// Tags by which the operator services that own Auto Scaling groups mark them; each may undo a rollback at any time.
const OWNERS: [(&str, &str); 4] = [
    ("aws:cloudformation:stack-name", "CloudFormation"),
    ("elasticbeanstalk:environment-name", "Elastic Beanstalk"),
    ("eks:nodegroup-name", "EKS"),
    ("AmazonECSManaged", "ECS"),
];

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
            besides(group, goes, &mut found);
            scheduled(request, facts, &group.name, goes, now, &mut found);
        }
    }
    found.extend(supply::quota(facts, clusters));
    if !facts.supply.forbidden.is_empty() {
        found.push(Finding::PermissionMissing { actions: facts.supply.forbidden.clone() });
    }
    let unread = facts.supply.unread.iter().map(|unread| Finding::CouldNotLook {
        what: unread.what,
        permission: unread.permission,
        denied: unread.denied,
        problem: unread.problem.clone(),
    });
    found.extend(unread);
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
    let living = weight(alive(group));
    if group.launch.is_none() && living < cluster.count {
        found.push(Finding::NoLaunchSource { group: name(), alive: living, count: cluster.count });
    }
    supply::launches(cluster, facts, group, found);
    if let Some(policies) = facts.policies.get(&group.name).filter(|policies| !policies.is_empty()) {
        found.push(Finding::ScalingPolicies { group: name(), policies: policies.clone() });
    }
    if group.is_weighted() {
        found.push(Finding::WeightedCapacity { group: name(), count: cluster.count });
    }
    if cluster.is_guess {
        found.push(Finding::NoCapacityRecord { group: name(), count: cluster.count });
    }
}

/// What AWS keeps beside the group's sizes, or holds against its end.
fn besides(group: &Group, goes: bool, found: &mut Vec<Finding>) {
    if let Some(pool) = &group.warm_pool {
        let (state, size, min) = (pool.state.clone(), pool.size, pool.min);
        found.push(Finding::WarmPool { group: group.name.clone(), state, size, min, goes });
    }
    if let Some(protection) = group.deletion_protection.as_ref().filter(|_| goes) {
        found.push(Finding::DeletionProtection { group: group.name.clone(), protection: protection.clone() });
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
