//! One change to the cloud, as a value.

use serde::Serialize;

use super::super::facts::Backend;
use super::super::record::Record;
use super::super::wishes::Wishes;
use crate::model::Capacity;
use crate::model::GroupName;
use crate::model::Hold;
use crate::model::InstanceId;
use crate::model::Process;

/// One change to the cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// Put or refresh the hold, with what a rerun or an undoing needs to know; `capacity` is for whoever restores this group next.
    Hold {
        /// The group.
        group: GroupName,
        /// What agents read.
        hold: Hold,
        /// As the group was found; none for one that is only held.
        record: Option<Record>,
        /// How the rollback was asked to go; none where that is on record already.
        asked: Option<Box<Wishes>>,
        /// Goes into the capacity tag.
        capacity: Option<Capacity>,
        /// Go into the tag of the kept.
        kept: Vec<InstanceId>,
    },
    /// Suspend these processes.
    Suspend {
        /// The group.
        group: GroupName,
        /// None else.
        processes: Vec<Process>,
    },
    /// Protect members from scale-in, or take that off them.
    Protect {
        /// The group.
        group: GroupName,
        /// None else.
        instances: Vec<InstanceId>,
        /// To be.
        protected: bool,
    },
    /// Send members into standby: desired goes down with them.
    Standby {
        /// The group.
        group: GroupName,
        /// None else.
        instances: Vec<InstanceId>,
        /// By so much: the sum of their weights.
        decrement: u32,
    },
    /// Set the sizes.
    Resize {
        /// The group.
        group: GroupName,
        /// As known.
        from: Capacity,
        /// To be.
        to: Capacity,
    },
    /// Resume these processes.
    Resume {
        /// The group.
        group: GroupName,
        /// None else.
        processes: Vec<Process>,
    },
    /// Put instances behind a load balancer.
    Register {
        /// Where.
        backend: Backend,
        /// Who, with which port.
        targets: Vec<(InstanceId, Option<u16>)>,
    },
    /// Take instances out of a load balancer.
    Deregister {
        /// Where.
        backend: Backend,
        /// Who, with which port.
        targets: Vec<(InstanceId, Option<u16>)>,
    },
    /// Take the hold off, and the record with it.
    Release {
        /// The group.
        group: GroupName,
        /// What becomes of the capacity tag.
        capacity: CapacityTag,
        /// The tag of the kept goes too: nobody was.
        unkept: bool,
    },
}

/// What becomes of a group's capacity tag when its hold goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CapacityTag {
    /// Left for whoever restores the group next.
    Kept,
    /// Deleted: the group has these sizes.
    Deleted,
    /// As it was found.
    Set(String),
}

impl Step {
    /// True when the two may be sent at once: they are of one kind, and neither prepares the other.
    pub fn may_go_with(&self, other: &Self) -> bool {
        match self {
            Self::Hold { .. } => matches!(other, Self::Hold { .. }),
            Self::Resize { .. } => matches!(other, Self::Resize { .. }),
            Self::Register { .. } => matches!(other, Self::Register { .. }),
            Self::Deregister { .. } => matches!(other, Self::Deregister { .. }),
            Self::Suspend { .. } => matches!(other, Self::Suspend { .. }),
            Self::Protect { .. } => matches!(other, Self::Protect { .. }),
            Self::Standby { .. } => matches!(other, Self::Standby { .. }),
            Self::Resume { group, .. } => matches!(other, Self::Resume { group: another, .. } if another != group),
            Self::Release { .. } => false,
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hold { group, hold, .. } => write!(f, "hold {group} (generation {}, until {})", hold.generation, hold.expires),
            Self::Resize { group, from, to } => write!(f, "resize {group} from {from} to {to} (min/desired/max)"),
            Self::Protect { group, instances, protected: true } => write!(f, "protect {} of {group} from scale-in", members(instances)),
            Self::Protect { group, instances, protected: false } => write!(f, "protect {} of {group} no more", members(instances)),
            Self::Standby { group, instances, .. } => write!(f, "send {} of {group} into standby", members(instances)),
            Self::Suspend { group, processes } => write!(f, "suspend {} on {group}", names(processes)),
            Self::Resume { group, processes } => write!(f, "resume {} on {group}", names(processes)),
            Self::Register { backend, targets } => write!(f, "register {} with {backend}", ids(targets)),
            Self::Deregister { backend, targets } => write!(f, "deregister {} from {backend}", ids(targets)),
            Self::Release { group, .. } => write!(f, "release {group}"),
        }
    }
}

fn names(processes: &[Process]) -> String {
    processes.iter().map(Process::as_str).collect::<Vec<_>>().join(", ")
}

fn members(instances: &[InstanceId]) -> String {
    instances.iter().map(InstanceId::as_str).collect::<Vec<_>>().join(", ")
}

fn ids(targets: &[(InstanceId, Option<u16>)]) -> String {
    targets.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(", ")
}
