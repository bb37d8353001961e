//! Stage types: what a stage of each type consists of, and how its tasks proceed. A registry, open for more.
//!
//! What must stay true: a kind of stage is pure. It looks at the execution and the time and says what comes next; what is to be done outside is an
//! [`Effect`], and comes back as an [`Outcome`]. A type that is not registered is refused at save and waits, when it is met in an execution.

pub mod child;
mod fields;
pub mod job;
pub mod json_path;
pub mod judgment;
pub mod noop;
pub mod precondition;
#[cfg(test)]
mod rig;
pub mod variables;
pub mod wait;
pub mod webhook;
pub mod window;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::effect::Effect;
use super::effect::Outcome;
use super::execution::Attempt;
use super::execution::Execution;
use super::execution::LastModified;
use super::execution::Object;
use super::execution::Stage;
use super::execution::Synthetic;
use super::execution::Task;
use super::status::Status;
use crate::model::Timestamp;

/// What a stage or a task may look at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The whole execution.
    pub execution: &'a Execution,
    /// Place of the stage.
    pub at: usize,
    /// Its context with expressions resolved, as far as they can be now.
    pub context: &'a Object,
    /// Now.
    pub now: Timestamp,
    /// Of the server; a stage or a pipeline may name its own.
    pub zone: &'a jiff::tz::TimeZone,
}

impl<'a> View<'a> {
    /// The stage.
    pub fn stage(&self) -> &'a Stage {
        self.execution.stage(self.at)
    }
}

/// What a task may look at.
#[derive(Clone, Copy, Debug)]
pub struct TaskView<'a> {
    /// Its stage.
    pub stage: View<'a>,
    /// Place of the task among the stage's tasks.
    pub task_at: usize,
}

impl<'a> TaskView<'a> {
    /// The task.
    pub fn task(&self) -> &'a Task {
        &self.stage.stage().tasks()[self.task_at]
    }

    /// Its last try, whatever came of it.
    pub fn attempt(&self) -> Option<&'a Attempt> {
        self.task().attempt.as_ref()
    }

    /// How long the task has been running, pauses included.
    pub fn elapsed(&self) -> Duration {
        self.task().start_time.map(|t| self.stage.now.since(t)).unwrap_or_default()
    }
}

/// What came of a step, merged into the stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskResult {
    /// Where the task stands now.
    pub status: Status,
    /// Merged into the stage's own context.
    pub context: Object,
    /// Merged into the stage's outputs.
    pub outputs: Object,
    /// To be told to people.
    pub notices: Vec<StageNotice>,
    /// When what the stage waits for is due, as it is shown to people.
    pub scheduled_time: Option<Timestamp>,
}

/// A notice about a stage, before the engine numbers it.
#[derive(Clone, Debug, PartialEq)]
pub struct StageNotice {
    /// `manualJudgment`, `manualJudgmentContinue`, …
    pub event: String,
    /// The notification block it goes to: type, address, cc, message.
    pub to: Object,
    /// For the text.
    pub details: Object,
}

impl TaskResult {
    /// Nothing but a status.
    pub fn of(status: Status) -> Self {
        Self { status, ..Self::default() }
    }

    /// The same, with this in the stage's own context.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.context.insert(key.to_owned(), value.into());
        self
    }

    /// The same, with this among the stage's outputs.
    #[must_use]
    pub fn giving(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.outputs.insert(key.to_owned(), value.into());
        self
    }
}

/// What a task says when it is looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It ended, or asks for its loop again (`REDIRECT`).
    Finish(TaskResult),
    /// It cannot go on before that time, a message or a change of its context. `None`: no time will help.
    Wait {
        /// Merged as it is; its status is not read.
        result: TaskResult,
        /// When to look again.
        until: Option<Timestamp>,
    },
    /// Do this; the outcome comes with the next look.
    Perform {
        /// Merged before the effect begins.
        result: TaskResult,
        /// What to do.
        effect: Effect,
    },
    /// It failed with an error: what the stage's failure policy is for.
    Fail(Failure),
}

/// Why a task failed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Failure {
    /// Class of error for records (`ConfigurationException`, `PreconditionFailureException`).
    pub kind: String,
    /// What went wrong, one entry a problem.
    pub errors: Vec<String>,
    /// Merged into the stage's own context all the same.
    pub context: Object,
}

impl Failure {
    /// One problem of this class.
    pub fn new(kind: &str, error: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), errors: vec![error.into()], context: Object::new() }
    }
}

/// What becomes of an attempt whose owner is gone.
#[derive(Clone, Debug, PartialEq)]
pub enum Lost {
    /// It does no harm to do it again under the same key.
    Repeat,
    /// Ask first, with this effect.
    Ask(Effect),
    /// It is not known to be harmless: fail, and say so.
    Fail(Failure),
}

/// One kind of task.
pub trait TaskKind: Send + Sync + fmt::Debug {
    /// Looks at it: for the first time, when its time has come, after a message, or with the outcome of its last effect.
    fn step(&self, view: &TaskView<'_>, outcome: Option<&Outcome>) -> Step;

    /// The task's own limit; `None` = no limit of its own.
    fn timeout(&self, view: &TaskView<'_>) -> Option<Duration> {
        let _ = view;
        None
    }

    /// A stage's `stageTimeoutMs` replaces the task's own limit.
    fn timeout_is_overridable(&self) -> bool {
        false
    }

    /// What a timeout comes to, when it is more than a failure.
    fn on_timeout(&self, view: &TaskView<'_>) -> Option<TaskResult> {
        let _ = view;
        None
    }

    /// What its last try came to, when that was no success: a failure for want of time says so.
    fn last_error(&self, view: &TaskView<'_>) -> Option<String> {
        fields::text(view.stage.context, LAST_ERROR).map(str::to_owned)
    }

    /// What is to be undone outside when the task is cancelled, or fails because its time is up.
    fn on_cancel(&self, view: &TaskView<'_>) -> Option<Effect> {
        let _ = view;
        None
    }

    /// An attempt under way is waited for even when the time of its task is up: what it began is known, and can be undone, only by its outcome. Its
    /// effect ends within a limit of its own.
    fn is_waited_for(&self, view: &TaskView<'_>) -> bool {
        let _ = view;
        false
    }

    /// What becomes of an attempt whose owner is gone. Repeating is right for reads and for what honours the key.
    fn lost(&self, view: &TaskView<'_>) -> Lost {
        let _ = view;
        Lost::Repeat
    }

    /// A draining instance may stop the attempt under way and leave it to another one to begin anew. Else it waits for its end.
    fn may_move(&self, view: &TaskView<'_>) -> bool {
        matches!(self.lost(view), Lost::Repeat)
    }
}

/// A task to be, of a stage that starts.
#[derive(Clone, Debug)]
pub struct TaskSpec {
    /// For people and records.
    pub name: &'static str,
    /// Resolves the kind again after a restart of the instance: unique in the stage type.
    pub class: &'static str,
    /// First of a loop.
    pub loop_start: bool,
    /// Last of a loop.
    pub loop_end: bool,
}

impl TaskSpec {
    /// A task outside of any loop.
    pub const fn new(name: &'static str, class: &'static str) -> Self {
        Self { name, class, loop_start: false, loop_end: false }
    }
}

/// A synthetic stage to be.
#[derive(Clone, Debug, PartialEq)]
pub struct StageSpec {
    /// Resolves its kind.
    pub kind: String,
    /// For people.
    pub name: String,
    /// Its context.
    pub context: Object,
    /// Waits for the one before it in the list; else it runs beside it.
    pub after_previous: bool,
}

/// One type of stage.
pub trait StageKind: Send + Sync + fmt::Debug {
    /// Its name in pipeline documents.
    fn name(&self) -> &'static str;

    /// Other names of it.
    fn aliases(&self) -> &'static [&'static str] {
        &[]
    }

    /// Its tasks in order, for this context.
    fn tasks(&self, view: &View<'_>) -> Vec<TaskSpec>;

    /// The kind behind a [`TaskSpec::class`].
    fn task(&self, class: &str) -> Option<&dyn TaskKind>;

    /// Synthetic stages before or after its tasks.
    fn synthetic(&self, view: &View<'_>, side: Synthetic) -> Result<Vec<StageSpec>, Failure> {
        let (_, _) = (view, side);
        Ok(Vec::new())
    }

    /// Synthetic stages that run when it failed.
    fn on_failure(&self, view: &View<'_>) -> Result<Vec<StageSpec>, Failure> {
        let _ = view;
        Ok(Vec::new())
    }

    /// Takes out of a context what must not survive a restart of the stage; `body` is what the restart brought.
    fn prepare_restart(&self, context: &mut Object, body: &Object) {
        let (_, _) = (context, body);
    }

    /// A person may skip it while it runs.
    fn can_be_skipped(&self) -> bool {
        false
    }

    /// Context keys by which people decide something. Whoever patched one of them last stays the one who modified the stage, whatever others patch after.
    fn decisive(&self) -> &'static [&'static str] {
        &[]
    }

    /// Why this person may not patch the decisive keys: said under [`REFUSED`] in the context, and nothing else is changed.
    fn objection(&self, view: &View<'_>, by: &LastModified) -> Option<String> {
        let (_, _) = (view, by);
        None
    }

    /// Context keys whose expressions are resolved by the tasks themselves, when they run.
    fn keeps_expressions(&self) -> &'static [&'static str] {
        &[]
    }

    /// Context keys into which its tasks put words of the pipeline, to be resolved. All else that tasks say is text.
    fn own_words(&self) -> &'static [&'static str] {
        &[]
    }

    /// Problems of its part of a pipeline document: path below the stage, and what is wrong.
    fn check(&self, stage: &Object) -> Vec<(String, String)> {
        let _ = stage;
        Vec::new()
    }
}

/// The context key by which a person skips a stage.
pub const SKIP: &str = "manualSkip";

/// Where a context says why the answer of a person was refused.
pub const REFUSED: &str = "judgmentRefused";

/// Stage types by name.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, Arc<dyn StageKind>>,
}

impl Registry {
    /// None at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The types that pipelines may use.
    pub fn standard() -> Self {
        Self::empty()
            .with(wait::Wait)
            .with(judgment::ManualJudgment)
            .with(precondition::CheckPreconditions)
            .with(child::Pipeline)
            .with(webhook::Webhook)
            .with(job::RunJob)
            .with(variables::EvaluateVariables)
            .with(window::RestrictExecutionDuringTimeWindow)
    }

    /// Adds a type under its name and its aliases.
    #[must_use]
    pub fn with(mut self, kind: impl StageKind + 'static) -> Self {
        let kind: Arc<dyn StageKind> = Arc::new(kind);
        for name in kind.aliases().iter().copied().chain([kind.name()]) {
            self.kinds.insert(name, Arc::clone(&kind));
        }
        self
    }

    /// The type of this name.
    pub fn kind(&self, name: &str) -> Option<&Arc<dyn StageKind>> {
        self.kinds.get(name)
    }

    /// All names, aliases included, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.kinds.keys().copied()
    }
}

/// Where tasks keep what their last try came to.
const LAST_ERROR: &str = "lastError";

/// The failure for an outcome that no task can go on from: `what` was not done.
fn unexpected(what: &str, outcome: &Outcome) -> Failure {
    let why = match outcome {
        Outcome::Failed { error, .. } => error.clone(),
        Outcome::NotFound { what } => format!("there is no {what}"),
        Outcome::JobLost => "its job was lost".to_owned(),
        Outcome::Http { status, .. } => format!("the answer was HTTP {status}"),
        Outcome::Fetched { .. }
        | Outcome::Job { .. }
        | Outcome::Started { .. }
        | Outcome::Execution { .. }
        | Outcome::Sizes { .. }
        | Outcome::Done { .. } => "an outcome came back that belongs to something else; this is a fault of the engine".to_owned(),
    };
    Failure::new("EffectException", format!("{what}: {why}"))
}

/// A context value as a boolean: only a JSON boolean is one (a text where a boolean belongs is refused when a pipeline is checked).
pub fn flag(context: &Object, key: &str) -> bool {
    matches!(context.get(key), Some(Value::Bool(true)))
}
