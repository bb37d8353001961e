//! What a group looks like to a rollback: what it may change, what nobody may change meanwhile, and how two looks differ. Pure.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::model::Capacity;
use crate::model::Group;
use crate::model::HealthCheckType;
use crate::model::LaunchSource;
use crate::model::Process;
use crate::model::TargetGroupArn;
use crate::model::Timestamp;

/// What a rollback may change of a group, and watches for changes by others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Sizes.
    pub capacity: Capacity,
    /// Suspended processes.
    pub suspended: BTreeSet<Process>,
}

impl Shape {
    /// The shape of a group as it was read.
    pub fn of(group: &Group) -> Self {
        Self { capacity: group.capacity, suspended: group.suspended.keys().cloned().collect() }
    }

    /// What is otherwise in the other.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let sizes = Difference::between("min/desired/max", &self.capacity, &other.capacity);
        let names = |list: &BTreeSet<Process>| list_of(list.iter().map(Process::as_str));
        let suspended = Difference::between("suspended processes", &names(&self.suspended), &names(&other.suspended));
        [sizes, suspended].into_iter().flatten().collect()
    }
}

/// What a rollback never changes of a group and relies on: whoever changes it meanwhile makes the plan another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setup {
    /// Tells a group from a later one of the same name.
    pub created: Timestamp,
    /// Where new instances come from.
    pub launch: Option<LaunchSource>,
    /// Target groups it is attached to.
    pub target_groups: BTreeSet<TargetGroupArn>,
    /// Classic load balancers it is attached to.
    pub classic_load_balancers: BTreeSet<String>,
    /// Which checks mark an instance unhealthy.
    pub health_check_type: HealthCheckType,
}

impl Setup {
    /// That of a group as it was read.
    pub fn of(group: &Group) -> Self {
        Self {
            created: group.created,
            launch: group.launch.clone(),
            target_groups: group.target_groups.iter().cloned().collect(),
            classic_load_balancers: group.classic_load_balancers.iter().cloned().collect(),
            health_check_type: group.health_check_type.clone(),
        }
    }

    /// What is otherwise in the other.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let launch = |setup: &Self| {
            let source = setup.launch.as_ref();
            source.map_or_else(|| NONE.to_owned(), |l| list_of([l.name.as_str()].into_iter().chain(l.version.as_deref())))
        };
        let targets = |setup: &Self| list_of(setup.target_groups.iter().map(TargetGroupArn::as_str));
        let classic = |setup: &Self| list_of(setup.classic_load_balancers.iter().map(String::as_str));
        let differences = [
            Difference::between("created", &self.created, &other.created),
            Difference::between("launched from", &launch(self), &launch(other)),
            Difference::between("target groups", &targets(self), &targets(other)),
            Difference::between("classic load balancers", &classic(self), &classic(other)),
            Difference::between("health check type", &self.health_check_type, &other.health_check_type),
        ];
        differences.into_iter().flatten().collect()
    }
}

/// One field of a group that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What people call it.
    pub field: &'static str,
    /// As it was, or as it was written.
    pub expected: String,
    /// As the look shows it.
    pub found: String,
}

impl Difference {
    fn between<T: fmt::Display + PartialEq>(field: &'static str, expected: &T, found: &T) -> Option<Self> {
        (expected != found).then(|| Self { field, expected: expected.to_string(), found: found.to_string() })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} expected, {} found", self.field, self.expected, self.found)
    }
}

const NONE: &str = "none";

fn list_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { NONE.to_owned() } else { names.join(" ") }
}
