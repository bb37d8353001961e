//! A stage of one kind that runs, for the tests of the kinds: they are looked at without the engine round them.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::Value;

use super::StageKind;
use super::Step;
use super::TaskKind;
use super::TaskResult;
use super::TaskSpec;
use super::TaskView;
use super::View;
use crate::model::Timestamp;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::Head;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::execution::Stage;
use crate::orchestrator::engine::execution::Summary;
use crate::orchestrator::engine::execution::Task;
use crate::orchestrator::engine::status::Status;

/// When every rig starts.
pub const START: Timestamp = Timestamp(1_700_000_000_000);

/// One running stage, the last of its execution, at its first task.
pub struct Rig {
    kind: Box<dyn StageKind>,
    pub execution: Execution,
    pub now: Timestamp,
    pub zone: TimeZone,
    at: usize,
    task_at: usize,
}

impl Rig {
    pub fn new(kind: impl StageKind + 'static, context: Value) -> Self {
        Self::after(kind, context, Vec::new())
    }

    /// With these stages before it.
    pub fn after(kind: impl StageKind + 'static, context: Value, mut stages: Vec<Stage>) -> Self {
        let head = Head {
            ref_id: "this".to_owned(),
            kind: kind.name().to_owned(),
            name: "This".to_owned(),
            status: Status::Running,
            start_time: Some(START),
            requisite_stage_ref_ids: stages.iter().map(|s| s.head().ref_id.clone()).collect(),
            ..Head::default()
        };
        stages.push(Stage::new("E-this".into(), head, context.as_object().expect("a context is an object").clone()));
        let at = stages.len() - 1;
        let summary = Summary { application: "app".to_owned(), name: "pipe".to_owned(), ..Summary::default() };
        let execution = Execution::new("E".into(), summary, stages);
        let mut rig = Self { kind: Box::new(kind), execution, now: START, zone: TimeZone::UTC, at, task_at: 0 };
        rig.start(0);
        rig
    }

    /// Plans the tasks anew and starts the one at this place.
    pub fn start(&mut self, task_at: usize) {
        self.task_at = task_at;
        let started = |place| (place == task_at).then_some(self.now);
        let task = |(place, spec): (usize, TaskSpec)| Task {
            id: (place + 1).to_string(),
            name: spec.name.to_owned(),
            implementing_class: spec.class.to_owned(),
            start_time: started(place),
            ..Task::default()
        };
        let tasks = self.tasks().into_iter().enumerate().map(task).collect();
        *self.execution.stage_mut(self.at).tasks_mut() = tasks;
    }

    pub fn stage_mut(&mut self) -> &mut Stage {
        self.execution.stage_mut(self.at)
    }

    pub fn context(&mut self) -> &mut Object {
        self.stage_mut().context_mut()
    }

    pub fn stage_context(&self) -> &Object {
        self.execution.stage(self.at).context()
    }

    pub fn stage_outputs(&self) -> &Object {
        self.execution.stage(self.at).outputs()
    }

    /// Sets a key of the context, as a patch does.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.context().insert(key.to_owned(), value.into());
    }

    pub fn pass(&mut self, by: Duration) {
        self.now = self.now.plus(by);
    }

    /// So long after the start.
    pub fn at_ms(&self, ms: u64) -> Timestamp {
        START.plus(Duration::from_millis(ms))
    }

    pub fn view(&self) -> View<'_> {
        View { execution: &self.execution, at: self.at, context: self.execution.stage(self.at).context(), now: self.now, zone: &self.zone }
    }

    pub fn tasks(&self) -> Vec<TaskSpec> {
        self.kind.tasks(&self.view())
    }

    fn task(&self) -> (TaskView<'_>, &dyn TaskKind) {
        let view = self.task_view();
        let kind = self.kind.task(&view.task().implementing_class).expect("each class of a spec has a kind");
        (view, kind)
    }

    pub fn task_view(&self) -> TaskView<'_> {
        TaskView { stage: self.view(), task_at: self.task_at }
    }

    pub fn step(&self, outcome: Option<&Outcome>) -> Step {
        let (view, kind) = self.task();
        kind.step(&view, outcome)
    }

    /// Looks, merges what came of it as the engine does, and gives it back.
    pub fn go(&mut self, outcome: Option<&Outcome>) -> Step {
        let step = self.step(outcome);
        let context = match &step {
            Step::Finish(result) | Step::Wait { result, .. } | Step::Perform { result, .. } => {
                self.stage_mut().outputs_mut().extend(result.outputs.clone());
                result.context.clone()
            }
            Step::Fail(failure) => failure.context.clone(),
        };
        self.context().extend(context);
        step
    }

    /// Where the task stands after a look.
    pub fn status(&self, outcome: Option<&Outcome>) -> Status {
        match self.step(outcome) {
            Step::Finish(result) => result.status,
            Step::Wait { .. } | Step::Perform { .. } => Status::Running,
            Step::Fail(_) => Status::Terminal,
        }
    }

    /// What it finished with.
    pub fn finish(&mut self, outcome: Option<&Outcome>) -> TaskResult {
        match self.go(outcome) {
            Step::Finish(result) => result,
            other => panic!("not finished: {other:?}"),
        }
    }

    /// What it wants done.
    pub fn effect(&mut self, outcome: Option<&Outcome>) -> Effect {
        match self.go(outcome) {
            Step::Perform { effect, .. } => effect,
            other => panic!("nothing to do: {other:?}"),
        }
    }

    /// What it failed with: class, and the errors as one text.
    pub fn failure(&mut self, outcome: Option<&Outcome>) -> (String, String) {
        match self.go(outcome) {
            Step::Fail(failure) => (failure.kind, failure.errors.join("; ")),
            other => panic!("not failed: {other:?}"),
        }
    }

    /// How long until the next look; `None` when no time is named.
    pub fn pause(&mut self, outcome: Option<&Outcome>) -> Option<Duration> {
        match self.go(outcome) {
            Step::Wait { until, .. } => until.map(|t| t.since(self.now)),
            other => panic!("does not wait: {other:?}"),
        }
    }

    pub fn timeout(&self) -> Option<Duration> {
        let (view, kind) = self.task();
        kind.timeout(&view)
    }

    pub fn on_cancel(&self) -> Option<Effect> {
        let (view, kind) = self.task();
        kind.on_cancel(&view)
    }

    pub fn lost(&self) -> super::Lost {
        let (view, kind) = self.task();
        kind.lost(&view)
    }
}
