//! Everything that can be done. A look reads; a deed has an effect outside. Each carries a key, so that a late answer is known for what it is.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::model::GroupName;
use crate::model::HookResult;
use crate::model::Permit;
use crate::model::PermitRequest;
use crate::model::Probe;
use crate::model::Timestamp;

/// Names one action in the life of this process; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Key(pub u64);

/// One thing to do. Its answer comes back as an observation with the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Of this action.
    pub key: Key,
    /// What to do.
    pub what: What,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Read something.
    Look(Look),
    /// Change something; `reason` goes into the record.
    Deed {
        /// The change.
        deed: Deed,
        /// Why.
        reason: String,
    },
}

/// Something to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Look {
    /// The target lifecycle state, from instance metadata.
    TargetState,
    /// What AWS says of our future beside it, from instance metadata.
    Notices,
    /// The lifecycle hook of this name of our group.
    Hook(String),
    /// Our entry in Auto Scaling's book; with activities when `activities`.
    Own {
        /// Also look for an activity that ends us.
        activities: bool,
    },
    /// Our group.
    Group,
    /// Our group and its siblings.
    Cluster,
    /// The orchestrator's intake and activity.
    Orchestrator,
    /// Whether the orchestrator, or its store, is as it should be.
    Probe(Probe),
    /// Figures of the orchestrator's process and of this host.
    Vitals,
    /// A task in Spinnaker.
    Task(String),
    /// Whether a task in Spinnaker ends us, whoever submitted it.
    OwnTask {
        /// When the drain began: older tasks are of no interest.
        drain: Timestamp,
    },
}

/// A change outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Switch the orchestrator's intake.
    SetIntake {
        /// To open.
        open: bool,
    },
    /// Stop the orchestrator gracefully.
    StopOrchestrator {
        /// Time it may take.
        grace: Duration,
        /// AWS takes the instance back whatever we do: nothing has to be remembered of it, so it goes out also when nothing can be (F46).
        doomed: bool,
    },
    /// Start the orchestrator again after a drain was called off.
    StartOrchestrator,
    /// Stop the orchestrator and start it again, to heal it.
    RestartOrchestrator {
        /// Time that its stop may take.
        grace: Duration,
    },
    /// Set our group's min, and nothing else of it (S7).
    LowerMin {
        /// Always desired − 1 as last read.
        to: u32,
    },
    /// Write down, in a tag of our group, what it is to have again when it is restored; `None` takes that off.
    RecordCapacity {
        /// The tag's value.
        text: Option<String>,
    },
    /// Terminate our own instance. Carries no id: whoever acts knows only its own (S5).
    TerminateOwn {
        /// The group shrinks by one; else Auto Scaling launches another in its place.
        decrement: bool,
        /// When the drain began: names the intent, the same in every try of it.
        drain: Timestamp,
        /// Whoever else carries it out may lower min for it: the group is superseded, and its owner lets us.
        lower_min: bool,
        /// So many others of the group may be on their way out by tasks that AWS does not show yet (S9).
        others: usize,
    },
    /// Call off the task in Spinnaker that is to end us.
    CancelTask {
        /// The task.
        task: String,
    },
    /// Have AWS wait on for this hook's answer.
    Heartbeat {
        /// The hook's name.
        hook: String,
    },
    /// Answer this hook, and no other (F40).
    CompleteHook {
        /// The hook's name.
        hook: String,
        /// The answer.
        result: HookResult,
    },
    /// Take one of the group's permits, or renew it.
    TakePermit(PermitRequest),
    /// Give it back.
    GivePermit {
        /// Of this group.
        group: GroupName,
        /// The one.
        permit: Permit,
    },
    /// Protect our own instance from scale-in, or take that off it.
    Protect {
        /// To protect.
        on: bool,
    },
}

impl Deed {
    /// Whether the intent has to be on disk before. All that cannot be undone or that a restart must know of.
    pub fn needs_journal(&self) -> bool {
        match self {
            Self::StopOrchestrator { doomed, .. } => !doomed,
            Self::RestartOrchestrator { .. } | Self::LowerMin { .. } | Self::TerminateOwn { .. } | Self::CompleteHook { .. } => true,
            // Its number is never used for another intent.
            Self::TakePermit(_) => true,
            Self::Protect { on } => *on,
            Self::SetIntake { .. }
            | Self::StartOrchestrator
            | Self::CancelTask { .. }
            | Self::Heartbeat { .. }
            | Self::RecordCapacity { .. }
            | Self::GivePermit { .. } => false,
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetIntake { open: true } => f.write_str("open intake"),
            Self::SetIntake { open: false } => f.write_str("close intake"),
            Self::StopOrchestrator { grace, .. } => write!(f, "stop the orchestrator within {} s", grace.as_secs()),
            Self::StartOrchestrator => f.write_str("start the orchestrator"),
            Self::RestartOrchestrator { grace } => write!(f, "restart the orchestrator, stopping it within {} s", grace.as_secs()),
            Self::RecordCapacity { text: Some(text) } => write!(f, "record the group's sizes: {text}"),
            Self::RecordCapacity { text: None } => f.write_str("record the group's sizes no more"),
            Self::LowerMin { to } => write!(f, "lower the group's min to {to}"),
            Self::TerminateOwn { decrement: true, .. } => f.write_str("terminate this instance with decrement"),
            Self::TerminateOwn { decrement: false, .. } => f.write_str("terminate this instance without decrement"),
            Self::CancelTask { task } => write!(f, "call off Spinnaker's task {task}"),
            Self::Heartbeat { hook } => write!(f, "have AWS wait on for the lifecycle hook {hook}"),
            Self::CompleteHook { hook, result } => write!(f, "answer the lifecycle hook {hook} with {}", result.as_str()),
            Self::TakePermit(PermitRequest { group, permit, places, keeps: false, gone, .. }) => {
                write!(f, "take one of {places} permits of {group}, number {}", permit.number)?;
                gone.iter().try_for_each(|gone| write!(f, "; {} is gone, and its permit taken over", gone.holder))
            }
            Self::TakePermit(PermitRequest { group, permit, keeps: true, .. }) => {
                write!(f, "renew the permit of {group}, number {}", permit.number)
            }
            Self::GivePermit { group, permit } => write!(f, "give back the permit of {group}, number {}", permit.number),
            Self::Protect { on: true } => f.write_str("protect this instance from scale-in"),
            Self::Protect { on: false } => f.write_str("take the protection from scale-in off this instance"),
        }
    }
}
