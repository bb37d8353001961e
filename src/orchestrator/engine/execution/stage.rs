//! A stage of an execution.
//!
//! What must stay true: a part that was handed out to be changed counts as changed, and no other does.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use super::Object;
use super::StageId;
use super::Task;
use crate::model::Timestamp;
use crate::orchestrator::engine::expression;
use crate::orchestrator::engine::status::Status;

/// A stage of an execution.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stage {
    /// Unique within the execution.
    pub id: StageId,
    #[serde(flatten)]
    pub(super) head: Head,
    context: Object,
    outputs: Object,
    tasks: Vec<Task>,
    #[serde(skip)]
    pub(super) changed: u8,
    /// The head as it was before it changed; `None` also while all of it is new.
    #[serde(skip)]
    pub(super) was: Option<Box<Head>>,
    #[serde(skip)]
    expressions: Expressions,
}

/// The small fields of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Head {
    /// Names it within its pipeline; synthetic ones have `{parent}<n` or `{parent}>n`.
    pub ref_id: String,
    /// Resolves its [`StageKind`](crate::orchestrator::engine::stage::StageKind).
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub name: String,
    /// Where it stands.
    pub status: Status,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    /// Not to start after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time_expiry: Option<Timestamp>,
    /// When its execution window opens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_time: Option<Timestamp>,
    /// Set on synthetic stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synthetic_stage_owner: Option<Synthetic>,
    /// Set on synthetic stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_stage_id: Option<StageId>,
    /// Reference ids of the stages it waits for.
    pub requisite_stage_ref_ids: Vec<String>,
    /// Who last patched it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<LastModified>,
}

/// Parts of a stage that are stored apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// Status, times, names: the small fields.
    Head = 1,
    /// The context.
    Context = 2,
    /// The outputs.
    Outputs = 4,
    /// The tasks.
    Tasks = 8,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Head, Self::Context, Self::Outputs, Self::Tasks];
}

/// Whether a synthetic stage runs before or after its parent's own tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Synthetic {
    /// Before.
    StageBefore,
    /// After, or on failure.
    StageAfter,
}

/// Who last patched a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LastModified {
    /// User name.
    pub user: String,
    /// Accounts that user may use.
    pub allowed_accounts: Vec<String>,
    /// Roles of that user; ours, for judgments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// That user may do anything; ours.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub admin: bool,
    /// When.
    pub last_modified_time: Timestamp,
    /// What a newer version keeps here: written again as it was found.
    #[serde(flatten)]
    pub other: Object,
}

/// Whether there is an expression in a stage's context, as far as it is known. Says nothing about the stage that the context does not: equal to any other.
#[derive(Clone, Copy, Debug, Default)]
enum Expressions {
    #[default]
    Unknown,
    None,
    Some,
}

impl PartialEq for Expressions {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// An expression may be in this value, at any depth.
pub fn has_expression(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(has_expression),
        Value::Object(object) => object_has_expression(object),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn object_has_expression(object: &Object) -> bool {
    object.iter().any(|(key, value)| key.contains("${") || has_expression(value))
}

impl Stage {
    /// A stage of these parts; nothing of it counts as changed.
    pub fn from_parts(id: StageId, head: Head, context: Object, outputs: Object, tasks: Vec<Task>) -> Self {
        Self { id, head, context, outputs, tasks, changed: 0, was: None, expressions: Expressions::Unknown }
    }

    /// A new stage: all of it counts as changed.
    pub fn new(id: StageId, head: Head, context: Object) -> Self {
        Self { id, head, context, changed: Part::ALL.into_iter().fold(0, |all, part| all | part as u8), ..Self::default() }
    }

    /// The small fields.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The small fields, to be changed.
    pub fn head_mut(&mut self) -> &mut Head {
        if !self.is_changed(Part::Head) {
            self.changed |= Part::Head as u8;
            self.was = Some(Box::new(self.head.clone()));
        }
        &mut self.head
    }

    /// Its own context, expressions as they were written or as they were resolved.
    pub fn context(&self) -> &Object {
        &self.context
    }

    /// Its own context, to be changed.
    pub fn context_mut(&mut self) -> &mut Object {
        self.changed |= Part::Context as u8;
        self.expressions = Expressions::Unknown;
        &mut self.context
    }

    /// Merges these keys into its own context. Costs what is merged, whatever the context holds.
    pub fn merge_context(&mut self, more: Object) {
        if more.is_empty() {
            return;
        }
        self.changed |= Part::Context as u8;
        if matches!(self.expressions, Expressions::None) && object_has_expression(&more) {
            self.expressions = Expressions::Some;
        }
        self.context.extend(more);
    }

    /// Merges what tasks, people or servers say: text that is never evaluated, but for the keys of `own`.
    pub fn merge_told(&mut self, told: Object, own: &[&str]) {
        if told.is_empty() {
            return;
        }
        if !self.context.contains_key(expression::NOTES_KEY) && !object_has_expression(&told) && !told.contains_key(expression::NOTES_KEY) {
            self.merge_context(told);
            return;
        }
        expression::merge_told(self.context_mut(), told, own);
    }

    /// An expression may be in its context: looked for once and remembered until the context changes.
    pub fn has_expressions(&mut self) -> bool {
        if matches!(self.expressions, Expressions::Unknown) {
            self.expressions = if expression::has_open(&self.context) { Expressions::Some } else { Expressions::None };
        }
        matches!(self.expressions, Expressions::Some)
    }

    /// What it gave to those downstream.
    pub fn outputs(&self) -> &Object {
        &self.outputs
    }

    /// What it gives to those downstream, to be changed.
    pub fn outputs_mut(&mut self) -> &mut Object {
        self.changed |= Part::Outputs as u8;
        &mut self.outputs
    }

    /// Its tasks in order.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// Its tasks, to be changed.
    pub fn tasks_mut(&mut self) -> &mut Vec<Task> {
        self.changed |= Part::Tasks as u8;
        &mut self.tasks
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.head.status
    }

    /// True when this part changed since the changes were last taken.
    pub fn is_changed(&self, part: Part) -> bool {
        self.changed & part as u8 != 0
    }
}
