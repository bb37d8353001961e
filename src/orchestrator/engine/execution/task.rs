//! A task of a stage, and its last try.

use serde::Deserialize;
use serde::Serialize;

use super::Object;
use crate::model::Timestamp;
use crate::orchestrator::engine::status::Status;

/// One step of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Task {
    /// "1", "2", … in order.
    pub id: String,
    /// The kind of task, by name; Java class names of Orca's records are kept as they are.
    pub implementing_class: String,
    /// For people.
    pub name: String,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    /// Where it stands.
    pub status: Status,
    /// First of its stage.
    pub stage_start: bool,
    /// Last of its stage.
    pub stage_end: bool,
    /// First of a loop.
    pub loop_start: bool,
    /// Last of a loop.
    pub loop_end: bool,
    /// What went wrong, in Orca's form.
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub task_exception_details: Object,
    /// The last try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// Number of the attempt that is to undo it outside and has not ended: whoever owns the execution next repeats it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undoing: Option<u32>,
    /// When it is to be looked at again, while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// What a newer version keeps here: written again as it was found.
    #[serde(flatten)]
    pub other: Object,
}

/// One try of a task at an effect. It is in the store before the effect begins, so that whoever adopts the execution knows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Counts from 1, over the life of the task, restarts of the instance included.
    pub number: u32,
    /// When it began.
    pub started: Timestamp,
    /// The effect was asked for and its outcome is not known yet.
    pub in_flight: bool,
    /// Which effect, as a word, for people (`http`, `job`).
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub effect: String,
    /// The instance that carries it out: a job can only be re-attached there.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub instance: String,
    /// What a newer version keeps here: written again as it was found.
    #[serde(flatten)]
    pub other: Object,
}
