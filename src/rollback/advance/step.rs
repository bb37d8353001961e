//! One change to the cloud, as a value.

use serde::Serialize;

use super::super::facts::Backend;
use crate::model::Capacity;
use crate::model::GroupName;
use crate::model::Hold;
use crate::model::InstanceId;
use crate::model::Process;

/// One change to the cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// Put or refresh the hold; `record` leaves sizes behind for whoever restores this group next.
    Hold {
        /// The group.
        group: GroupName,
        /// What agents read.
        hold: Hold,
        /// Goes into the capacity tag.
        record: Option<Capacity>,
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
    /// Take the hold off.
    Release {
        /// The group.
        group: GroupName,
        /// The record of its sizes goes as well.
        forget: bool,
    },
}

impl Step {
    /// True when the two may be sent at once: they are of one kind, and neither prepares the other.
    pub fn may_go_with(&self, other: &Self) -> bool {
        match self {
            Self::Hold { .. } => matches!(other, Self::Hold { .. }),
            Self::Resize { .. } => matches!(other, Self::Resize { .. }),
            Self::Register { .. } => matches!(other, Self::Register { .. }),
            Self::Deregister { .. } => matches!(other, Self::Deregister { .. }),
            Self::Resume { .. } | Self::Release { .. } => false,
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hold { group, hold, .. } => write!(f, "hold {group} (generation {}, until {})", hold.generation, hold.expires),
            Self::Resize { group, from, to } => write!(f, "resize {group} from {from} to {to} (min/desired/max)"),
            Self::Resume { group, processes } => {
                write!(f, "resume {} on {group}", processes.iter().map(Process::as_str).collect::<Vec<_>>().join(", "))
            }
            Self::Register { backend, targets } => write!(f, "register {} with {backend}", ids(targets)),
            Self::Deregister { backend, targets } => write!(f, "deregister {} from {backend}", ids(targets)),
            Self::Release { group, .. } => write!(f, "release {group}"),
        }
    }
}

fn ids(targets: &[(InstanceId, Option<u16>)]) -> String {
    targets.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(", ")
}
