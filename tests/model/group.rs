//! Server groups as a describe shows them.

use std::collections::BTreeMap;

use bellrock::model::Capacity;
use bellrock::model::Group;
use bellrock::model::GroupInstance;
use bellrock::model::GroupName;
use bellrock::model::HealthCheckType;
use bellrock::model::InstanceHealth;
use bellrock::model::InstanceId;
use bellrock::model::LifecycleState;
use bellrock::model::Timestamp;

/// A member of a group.
pub fn member(group: &str, id: InstanceId, state: LifecycleState, health: InstanceHealth) -> GroupInstance {
    let zone = "a".to_owned();
    GroupInstance { id, group: GroupName::new(group), zone, state, health, protected: false, launch: None, weight: 1 }
}

/// A group behind a load balancer, of two at most unless it wants more.
pub fn group(name: &str, created: i64, min: u8, desired: u8, instances: Vec<GroupInstance>) -> Group {
    Group {
        name: GroupName::new(name),
        arn: String::new(),
        created: Timestamp(created),
        capacity: Capacity { min: u32::from(min), max: u32::from(desired.max(2)), desired: u32::from(desired) },
        instances,
        suspended: BTreeMap::new(),
        tags: BTreeMap::new(),
        target_groups: Vec::new(),
        classic_load_balancers: Vec::new(),
        status: None,
        health_check_type: HealthCheckType::Elb,
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
