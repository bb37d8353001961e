//! The ledger of what really happened: what no describe shows and a verdict is judged by.
//!
//! What must stay true: the region alone writes it, in the order of virtual time; it never forgets. Reads are counted, mutations are kept.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::SimTime;
use super::api::ApiError;
use super::span::opt_secs;
use super::span::secs;
use crate::model::Capacity;
use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::LifecycleState;

/// Everything that happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Truth {
    /// Mutating calls that reached the region, refused ones too, oldest first.
    pub calls: Vec<Call>,
    /// Calls by caller and action, reads and failures included.
    pub counts: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// Every instance that began to end, oldest first.
    pub terminations: Vec<Termination>,
    /// Every reduction of a group's desired capacity that came with one instance's leaving (S4).
    pub decrements: Vec<Decrement>,
    /// Sizes of every group over time: each change, the first included.
    pub capacity: Vec<CapacityChange>,
    /// Every piece of work, in the order it was submitted.
    pub executions: Vec<Execution>,
    /// Whether each orchestrator took new work, over time: the effect, not what it says.
    pub intake: Vec<IntakeChange>,
    /// Lifecycle state of each instance over time.
    pub states: Vec<StateChange>,
}

/// One mutating call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Call {
    /// When it took effect or was refused.
    #[serde(with = "secs")]
    pub at: SimTime,
    /// Who, as the front named it; `scenario` for the script itself.
    pub caller: String,
    /// API action.
    pub action: &'static str,
    /// Its arguments, in AWS's names.
    pub args: Value,
    /// What came of it.
    pub outcome: Outcome,
    /// The caller never got the answer.
    pub reply_lost: bool,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Carried out.
    Applied,
    /// Answered with an error; nothing changed.
    Refused(ApiError),
    /// Lost on the way in; nothing changed.
    NeverArrived,
}

/// An instance's end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Termination {
    /// When it was decided.
    #[serde(with = "secs")]
    pub at: SimTime,
    /// Which.
    pub instance: InstanceId,
    /// Its group, when it has one.
    pub group: Option<GroupName>,
    /// Who caused it: the caller, or `autoscaling`, `spot`.
    pub by: String,
    /// Why.
    pub why: Why,
    /// Whether desired went down with it.
    pub decremented: bool,
    /// What it was executing when it was decided: work claimed, whether or not it already showed up (S1).
    pub executing: Vec<u64>,
    /// When the machine really stopped; `None` = not yet.
    #[serde(with = "opt_secs")]
    pub stopped: Option<SimTime>,
    /// Work that was lost when it stopped.
    pub lost: Vec<u64>,
}

/// Why an instance ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// `TerminateInstanceInAutoScalingGroup`.
    Request,
    /// Actual above desired: AWS picked the victim (F25).
    ScaleIn,
    /// Marked unhealthy.
    Unhealthy,
    /// An uneven zone: the launch before went elsewhere (F34).
    Rebalance,
    /// An instance refresh.
    Refresh,
    /// A launch hook was abandoned.
    LaunchAbandoned,
    /// `ec2:TerminateInstances`, past Auto Scaling.
    Ec2Request,
    /// Spot interruption.
    Spot,
    /// The group is being deleted.
    GroupDeleted,
}

/// A decrement that belongs to one instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decrement {
    /// When.
    #[serde(with = "secs")]
    pub at: SimTime,
    /// Whose leaving it came with.
    pub instance: InstanceId,
    /// Of which group.
    pub group: GroupName,
    /// Who asked.
    pub by: String,
}

/// A group's sizes from now on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CapacityChange {
    /// When.
    #[serde(with = "secs")]
    pub at: SimTime,
    /// Which group.
    pub group: GroupName,
    /// The sizes.
    pub capacity: Capacity,
    /// Who: the caller, or `autoscaling`.
    pub by: String,
}

/// A piece of work and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Execution {
    /// Its number: its place in [`Truth::executions`].
    pub id: u64,
    /// The queue it was submitted to.
    pub queue: String,
    /// Spinnaker application.
    pub application: String,
    /// When it was submitted.
    #[serde(with = "secs")]
    pub submitted: SimTime,
    /// How long it runs undisturbed.
    #[serde(with = "secs")]
    pub length: SimTime,
    /// Where and when it ran; more than one after a crash and a redelivery.
    pub runs: Vec<Run>,
}

impl Execution {
    /// It was cut off by its instance's end.
    pub fn is_lost(&self) -> bool {
        self.runs.last().is_some_and(|r| r.end == Some(RunEnd::Lost))
    }

    /// It ran to its end.
    pub fn is_finished(&self) -> bool {
        self.runs.last().is_some_and(|r| r.end == Some(RunEnd::Finished))
    }
}

/// One run of an execution.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// Where.
    pub instance: InstanceId,
    /// Claimed.
    #[serde(with = "secs")]
    pub claimed: SimTime,
    /// Ended.
    #[serde(with = "opt_secs")]
    pub ended: Option<SimTime>,
    /// How; `None` while it runs.
    pub end: Option<RunEnd>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// Done.
    Finished,
    /// Cut off by the end of its instance, or by a stop of the orchestrator.
    Lost,
    /// Cut off by a crash of the orchestrator's own; the queue delivers it again.
    Interrupted,
}

/// Whether an orchestrator takes new work from now on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IntakeChange {
    /// When.
    #[serde(with = "secs")]
    pub at: SimTime,
    /// Where.
    pub instance: InstanceId,
    /// It really takes new work.
    pub open: bool,
    /// The process it is true of; 0 is the first.
    pub generation: u32,
}

/// An instance's lifecycle state from now on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StateChange {
    /// When.
    #[serde(with = "secs")]
    pub at: SimTime,
    /// Which.
    pub instance: InstanceId,
    /// Its group.
    pub group: Option<GroupName>,
    /// The state.
    pub state: LifecycleState,
}

impl Truth {
    /// How often an action was called, by anybody.
    pub fn count(&self, action: &str) -> u64 {
        self.counts.values().filter_map(|by| by.get(action)).sum()
    }

    /// Work that was cut off by the end of its instance.
    pub fn lost(&self) -> impl Iterator<Item = &Execution> {
        self.executions.iter().filter(|e| e.is_lost())
    }

    /// How often desired went down on account of this instance.
    pub fn decrements_of(&self, instance: &InstanceId) -> usize {
        self.decrements.iter().filter(|d| &d.instance == instance).count()
    }

    pub(super) fn tally(&mut self, caller: &str, action: &'static str) {
        if !self.counts.contains_key(caller) {
            self.counts.insert(caller.to_owned(), BTreeMap::new());
        }
        if let Some(by) = self.counts.get_mut(caller) {
            *by.entry(action).or_default() += 1;
        }
    }
}
