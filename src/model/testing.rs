//! Server groups for tests.

use std::collections::BTreeMap;

use super::group::Capacity;
use super::group::Group;
use super::group::GroupInstance;
use super::group::HealthCheckType;
use super::group::InstanceHealth;
use super::group::LifecycleState;
use super::group::Process;
use super::identity::GroupName;
use super::identity::InstanceId;
use super::time::Timestamp;

/// A member in service and healthy.
pub fn member(group: &str, id: impl Into<String>) -> GroupInstance {
    GroupInstance {
        id: InstanceId::new(id.into()),
        group: GroupName::from(group),
        zone: "a".to_owned(),
        state: LifecycleState::InService,
        health: InstanceHealth::Healthy,
        protected: false,
        launch: None,
        weight: 1,
    }
}

/// An enabled group of `(min, desired, max)` with these members, behind no load balancer.
pub fn group<I: Into<String>>(name: &str, created: i64, sizes: (u32, u32, u32), members: impl IntoIterator<Item = I>) -> Group {
    let (min, desired, max) = sizes;
    Group {
        name: GroupName::from(name),
        arn: String::new(),
        created: Timestamp(created),
        capacity: Capacity { min, max, desired },
        instances: members.into_iter().map(|id| member(name, id)).collect(),
        suspended: BTreeMap::new(),
        tags: BTreeMap::new(),
        target_groups: Vec::new(),
        classic_load_balancers: Vec::new(),
        status: None,
        health_check_type: HealthCheckType::Ec2,
        health_check_grace_s: 0,
        launch: None,
        availability_zones: Vec::new(),
        subnets: Vec::new(),
        mixed: None,
        warm_pool: None,
        deletion_protection: None,
        retains_abandoned: false,
    }
}

/// The group as Spinnaker disables it.
pub fn disabled(mut group: Group) -> Group {
    group.suspended = Process::DISABLING.into_iter().map(|p| (p, String::new())).collect();
    group
}
