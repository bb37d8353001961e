//! An execution: a pipeline on its way, with its stages and their tasks. JSON field names are Orca's.
//!
//! What must stay true: every change of a stage or of the execution goes through an accessor that notes it, so that a write to the store
//! carries exactly what changed ([`Execution::take_changes`]) and no 10 MB context is written again because a status moved.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use super::graph::Graph;
use super::status::Status;
use crate::model::Timestamp;

/// JSON object: a context, outputs, a trigger.
pub type Object = Map<String, Value>;

/// Which of Orca's two kinds an execution is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ExecutionType {
    /// Started from a pipeline definition.
    #[default]
    Pipeline,
    /// A list of jobs sent to `/tasks`.
    Orchestration,
}

impl ExecutionType {
    /// As it stands in keys: `pipeline`, `orchestration`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Orchestration => "orchestration",
        }
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

id!(
    /// Id of an execution: a ULID, so that ids sort by the time they were made.
    ExecutionId
);
id!(
    /// Id of a stage: `{execution id}-{number in the order of planning}`; anything in records of Orca's.
    StageId
);

/// Who started it, and what that person may touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Authentication {
    /// User name; `[anonymous]` when nobody said.
    pub user: String,
    /// Accounts that user may use.
    pub allowed_accounts: Vec<String>,
    /// Roles that user has; ours, for judgments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

/// The last pause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Paused {
    /// Who paused.
    pub paused_by: String,
    /// When.
    pub pause_time: Option<Timestamp>,
    /// Who resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed_by: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume_time: Option<Timestamp>,
    /// Pauses before this one, oldest first: when each began and ended. Orca forgets them; timeouts here do not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<(Timestamp, Timestamp)>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
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
}

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
    /// When it is to be looked at again, while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
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

/// The small fields of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Head {
    /// Names it within its pipeline; synthetic ones have `{parent}<n` or `{parent}>n`.
    pub ref_id: String,
    /// Resolves its [`StageKind`](super::stage::StageKind).
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

/// A stage of an execution.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stage {
    /// Unique within the execution.
    pub id: StageId,
    #[serde(flatten)]
    head: Head,
    context: Object,
    outputs: Object,
    tasks: Vec<Task>,
    #[serde(skip)]
    changed: u8,
    /// The head as it was before it changed; `None` also while all of it is new.
    #[serde(skip)]
    was: Option<Box<Head>>,
    #[serde(skip)]
    expressions: Expressions,
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

    /// An expression may be in its context: looked for once and remembered until the context changes.
    pub fn has_expressions(&mut self) -> bool {
        if matches!(self.expressions, Expressions::Unknown) {
            self.expressions = if object_has_expression(&self.context) { Expressions::Some } else { Expressions::None };
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

/// The fields of an execution itself. `null` fields are not written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    /// Pipeline or orchestration.
    #[serde(rename = "type")]
    pub kind: ExecutionType,
    /// Spinnaker application.
    pub application: String,
    /// Name of the pipeline; for people.
    pub name: String,
    /// Id of the definition it was started from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_config_id: Option<String>,
    /// Where it stands.
    pub status: Status,
    /// When it was asked for.
    pub build_time: Timestamp,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    /// Not to start after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time_expiry: Option<Timestamp>,
    /// Somebody called it off.
    pub canceled: bool,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceled_by: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancellation_reason: Option<String>,
    /// At most one of its definition runs.
    pub limit_concurrent: bool,
    /// At most so many of its definition run; 0 = any number. Only read when `limit_concurrent` is not set.
    pub max_concurrent_executions: u32,
    /// When a slot is free: true = the oldest waiting one starts; false = the newest, and the others are cancelled.
    pub keep_waiting_pipelines: bool,
    /// The last pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Who started it.
    pub authentication: Authentication,
    /// What started it, with parameters.
    pub trigger: Object,
    /// `api`, `ui`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// `v3` or `v4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spel_evaluator: Option<String>,
    /// Of an orchestration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who is told what.
    pub notifications: Vec<Value>,
    /// The part of the definition that starts may override.
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub initial_config: Object,
    /// Template it came from.
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub source: Object,
    /// Variables of the template.
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub template_variables: Object,
    /// Ours: notifications were given to the outbox up to this many.
    #[serde(skip_serializing_if = "is_zero")]
    pub notified: u64,
}

impl Summary {
    /// So many of its definition may run at once, itself among them; `None` = any number.
    pub fn limit(&self) -> Option<u32> {
        match self.max_concurrent_executions {
            _ if self.limit_concurrent => Some(1),
            0 => None,
            most => Some(most),
        }
    }
}

/// A pipeline on its way.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Execution {
    /// Its id.
    pub id: ExecutionId,
    #[serde(flatten)]
    summary: Summary,
    stages: Vec<Stage>,
    #[serde(skip)]
    changed: bool,
    /// The summary as it was before it changed; `None` also while all of it is new.
    #[serde(skip)]
    was: Option<Box<Summary>>,
    /// Stages were added or removed: their order has to be written.
    #[serde(skip)]
    reordered: bool,
    /// Stages changed since the changes were last taken, without looking at all of them.
    #[serde(skip)]
    touched: Vec<usize>,
    #[serde(skip)]
    removed: Vec<StageId>,
    #[serde(skip)]
    by_ref: HashMap<String, usize>,
    #[serde(skip)]
    by_id: HashMap<StageId, usize>,
    #[serde(skip)]
    graph: Graph,
    /// Number of the next stage to be planned; 0 = not known yet.
    #[serde(skip)]
    next_stage: u64,
}

/// What changed of an execution since it was last asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// The summary did.
    pub summary: bool,
    /// The summary as it was; `None` when all of it is new, or nothing of it changed.
    pub summary_was: Option<Box<Summary>>,
    /// The list of stages did.
    pub order: bool,
    /// These stages did, in the order of [`Execution::stages`].
    pub stages: Vec<StageChanges>,
    /// These stages are no more.
    pub removed: Vec<StageId>,
}

/// What changed of one stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageChanges {
    /// Place in [`Execution::stages`].
    pub at: usize,
    /// These parts, in [`Part::ALL`]'s order.
    pub parts: Vec<Part>,
    /// The head as it was; `None` when all of it is new, or nothing of it changed.
    pub head_was: Option<Box<Head>>,
}

impl Changes {
    /// True when there is nothing to write.
    pub fn is_empty(&self) -> bool {
        !self.summary && !self.order && self.stages.is_empty() && self.removed.is_empty()
    }
}

impl Execution {
    /// An execution as it was read: nothing counts as changed. Stages in the order of the index.
    pub fn from_parts(id: ExecutionId, summary: Summary, stages: Vec<Stage>) -> Self {
        let mut execution = Self { id, summary, stages, ..Self::default() };
        execution.reindex();
        execution
    }

    /// A new execution: all of it counts as changed.
    pub fn new(id: ExecutionId, summary: Summary, stages: Vec<Stage>) -> Self {
        let mut execution = Self::from_parts(id, summary, stages);
        execution.changed = true;
        execution.reordered = true;
        execution.touched = (0..execution.stages.len()).collect();
        execution
    }

    /// Its own fields.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Its own fields, to be changed.
    pub fn summary_mut(&mut self) -> &mut Summary {
        if !std::mem::replace(&mut self.changed, true) {
            self.was = Some(Box::new(self.summary.clone()));
        }
        &mut self.summary
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.summary.status
    }

    /// Its stages, synthetic ones beside their parents.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The stage at this place. Panics when there is none, as indexing does.
    pub fn stage(&self, at: usize) -> &Stage {
        &self.stages[at]
    }

    /// The stage at this place, to be changed.
    pub fn stage_mut(&mut self, at: usize) -> &mut Stage {
        let stage = &mut self.stages[at];
        if stage.changed == 0 {
            self.touched.push(at);
        }
        stage
    }

    /// Place of the stage with this id.
    pub fn place(&self, id: &StageId) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// Place of the stage with this reference id.
    pub fn place_of_ref(&self, ref_id: &str) -> Option<usize> {
        self.by_ref.get(ref_id).copied()
    }

    /// How the stages hang together.
    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// How the stages hang together, to be changed.
    pub(super) fn graph_mut(&mut self) -> &mut Graph {
        &mut self.graph
    }

    /// Moves a stage to a status. The only way while the engine is at work: what waits for the stage counts on it.
    pub fn set_stage_status(&mut self, at: usize, status: Status) {
        self.stage_mut(at).head_mut().status = status;
        self.graph.note(at, status);
    }

    /// An id that no stage of this execution has or had since it was read.
    pub(super) fn new_stage_id(&mut self) -> StageId {
        if self.next_stage == 0 {
            let prefix = format!("{}-", self.id);
            let numbers = self.stages.iter().filter_map(|s| s.id.as_str().strip_prefix(&prefix)?.parse::<u64>().ok());
            self.next_stage = numbers.max().map_or(self.stages.len() as u64, |n| n + 1).max(1);
        }
        let id = StageId(format!("{}-{}", self.id, self.next_stage));
        self.next_stage += 1;
        id
    }

    /// Adds a stage behind all others: places stay as they are. [`Self::tidy`] brings it to where people look for it.
    pub(super) fn push_stage(&mut self, stage: Stage) -> usize {
        let at = self.stages.len();
        self.by_ref.insert(stage.head.ref_id.clone(), at);
        self.by_id.insert(stage.id.clone(), at);
        self.stages.push(stage);
        self.touched.push(at);
        self.reordered = true;
        self.graph.push(&self.stages, &self.by_ref, &self.by_id);
        at
    }

    /// Takes stages that never ran out of their parent's list now, and out of the execution with [`Self::tidy`].
    pub(super) fn drop_stages(&mut self, gone: Vec<usize>) {
        self.reordered |= !gone.is_empty();
        self.graph.forget(&gone);
    }

    /// After an event: dropped stages go, added ones stand beside their parents. Linear in the number of stages when there are any, else free; places
    /// change.
    pub(super) fn tidy(&mut self) {
        if !self.reordered {
            return;
        }
        let Some(order) = self.graph.display_order() else { return };
        let mut new_place = vec![None; self.stages.len()];
        for (place, old) in order.iter().enumerate() {
            new_place[*old] = Some(place);
        }
        let mut stages: Vec<Option<Stage>> = std::mem::take(&mut self.stages).into_iter().map(Some).collect();
        self.stages = order.iter().filter_map(|old| stages[*old].take()).collect();
        self.removed.extend(stages.into_iter().flatten().map(|gone| gone.id));
        let moved = |at: &mut usize| new_place[*at].map(|new| *at = new).is_some();
        self.by_ref.retain(|_, at| moved(at));
        self.by_id.retain(|_, at| moved(at));
        self.touched.retain_mut(|at| moved(at));
        self.graph.renumber(&new_place);
    }

    /// Makes what is derived, when the execution came from where it is not made.
    pub(super) fn ensure_indexed(&mut self) {
        if self.graph.nodes.len() != self.stages.len() {
            self.reindex();
        }
    }

    /// Puts stages in at this place; those behind move up. Linear in the number of stages: add those of one parent together.
    pub fn insert_stages(&mut self, at: usize, stages: Vec<Stage>) {
        if stages.is_empty() {
            return;
        }
        self.stages.splice(at..at, stages);
        self.reordered = true;
        self.reindex();
    }

    /// Takes stages out. Linear in the number of stages.
    pub fn remove_stages(&mut self, mut which: impl FnMut(&Stage) -> bool) {
        let before = self.stages.len();
        let (gone, kept): (Vec<Stage>, Vec<Stage>) = std::mem::take(&mut self.stages).into_iter().partition(|s| which(s));
        self.stages = kept;
        if self.stages.len() != before {
            self.removed.extend(gone.into_iter().map(|s| s.id));
            self.reordered = true;
            self.reindex();
        }
    }

    /// What changed since this was last called.
    pub fn take_changes(&mut self) -> Changes {
        let mut stages = Vec::with_capacity(self.touched.len());
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for at in touched {
            let stage = &mut self.stages[at];
            let parts: Vec<Part> = Part::ALL.into_iter().filter(|p| stage.is_changed(*p)).collect();
            stage.changed = 0;
            let head_was = stage.was.take();
            if !parts.is_empty() {
                stages.push(StageChanges { at, parts, head_was });
            }
        }
        Changes {
            summary: std::mem::take(&mut self.changed),
            summary_was: self.was.take(),
            order: std::mem::take(&mut self.reordered),
            stages,
            removed: std::mem::take(&mut self.removed),
        }
    }

    fn reindex(&mut self) {
        self.by_ref = self.stages.iter().enumerate().map(|(at, s)| (s.head.ref_id.clone(), at)).collect();
        self.by_id = self.stages.iter().enumerate().map(|(at, s)| (s.id.clone(), at)).collect();
        self.touched = self.stages.iter().enumerate().filter(|(_, s)| s.changed != 0).map(|(at, _)| at).collect();
        let moves = self.graph.moves;
        self.graph = Graph::new(&self.stages, &self.by_ref, &self.by_id);
        self.graph.moves = moves;
    }
}
