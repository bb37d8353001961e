//! A stage: its start, what comes next in it, its end.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::Move;
use super::Run;
use super::rules;
use crate::orchestrator::engine::execution::Head;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::execution::Stage;
use crate::orchestrator::engine::execution::Synthetic;
use crate::orchestrator::engine::execution::Task;
use crate::orchestrator::engine::expression::SUMMARY_KEY;
use crate::orchestrator::engine::expression::optional::Condition;
use crate::orchestrator::engine::stage::Failure;
use crate::orchestrator::engine::stage::SKIP;
use crate::orchestrator::engine::stage::StageSpec;
use crate::orchestrator::engine::stage::TaskSpec;
use crate::orchestrator::engine::stage::flag;
use crate::orchestrator::engine::status::Status;

/// The type of stage that waits for an execution window to open.
pub(super) const WINDOW: &str = "restrictExecutionDuringTimeWindow";

/// Synthetic stages within synthetic stages; more is a stage type that plans itself for ever.
const MAX_DEPTH: usize = 16;

/// Stages of one execution, synthetic ones included: twice what the largest pipeline may bring.
const MAX_STAGES: usize = 20_000;

/// How long the outcome of an attempt that was called off is waited for.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(30);

impl Run<'_, '_> {
    pub(super) fn start_stage(&mut self, at: usize) {
        let (stage, node) = (self.execution.stage(at), &self.execution.graph().nodes[at]);
        if stage.status() != Status::NotStarted || node.unmet > 0 || !self.may_begin(node.parent) {
            return;
        }
        if self.skipped_by_hand(at) {
            return;
        }
        if self.kind(at).is_none() {
            self.wait_for_type(at);
            return;
        }
        self.waits_no_more(at);
        let (stage, now) = (self.execution.stage(at), self.world.now);
        if stage.head().start_time_expiry.is_some_and(|expiry| expiry < now) {
            self.skip_stage(at);
            return;
        }
        self.execution.stage_mut(at).head_mut().start_time = Some(now);
        self.execution.set_stage_status(at, Status::Running);
        self.execution.graph_mut().set_wake(at, None);
        self.begin(at);
    }

    /// Asks whether the stage is to run, resolves its context, plans it. Comes back here when that takes pages.
    pub(super) fn begin(&mut self, at: usize) {
        match self.condition(at) {
            Err(urls) => {
                self.fetch(at, urls);
                return;
            }
            Ok(Condition::None | Condition::Run) => {}
            Ok(skip @ (Condition::Skip | Condition::Unclear { .. } | Condition::Needs(_))) => {
                if let Condition::Unclear { summary, .. } = skip {
                    let summary = serde_json::to_value(&summary).unwrap_or_default();
                    self.execution.stage_mut(at).merge_context(Object::from_iter([(SUMMARY_KEY.to_owned(), summary)]));
                }
                self.execution.stage_mut(at).head_mut().start_time = None;
                self.skip_stage(at);
                return;
            }
        }
        // Resolved, it may say that it is to be skipped.
        if self.resolve(at) && !self.skipped_by_hand(at) {
            self.notify_stage(at, "starting");
            self.plan(at);
        }
    }

    /// Passes over a stage that is told so, by a person before its turn came or by its pipeline; with one that its top-level stage planned, all of that.
    /// What a stage is of has no say here: its pipeline may skip any, and a person is refused those that cannot be when saying so.
    fn skipped_by_hand(&mut self, at: usize) -> bool {
        let told = |at: &usize| flag(self.execution.stage(*at).context(), SKIP);
        if !std::iter::once(at).chain(self.ancestors(at)).any(|at| told(&at)) {
            return false;
        }
        if self.execution.stage(at).head().start_time.is_some() {
            self.execution.stage_mut(at).head_mut().start_time = None;
        }
        self.skip_by_hand(at);
        true
    }

    /// The execution, and the parent of a synthetic stage, are where stages may start.
    fn may_begin(&self, parent: Option<(usize, Synthetic)>) -> bool {
        if self.execution.status() != Status::Running || self.execution.summary().canceled {
            return false;
        }
        let Some((parent, side)) = parent else { return true };
        let node = &self.execution.graph().nodes[parent];
        let spoilt = side == Synthetic::StageBefore && node.before_forgiven > 0;
        self.execution.stage(parent).status() == Status::Running && !node.doomed && !node.stopping && !spoilt
    }

    fn plan(&mut self, at: usize) {
        let Some(kind) = self.kind(at) else { return };
        let planned = kind.synthetic(&self.view(at), Synthetic::StageBefore).and_then(|specs| {
            let window = self.window(at);
            self.add_children(at, Synthetic::StageBefore, specs, window)
        });
        if let Err(failure) = planned {
            self.fail_planning(at, failure);
            return;
        }
        let specs = kind.tasks(&self.view(at));
        if !specs.is_empty() {
            *self.execution.stage_mut(at).tasks_mut() = tasks(&specs);
        }
        self.push(Move::GoOn(at));
    }

    /// The stage fails before it has any task.
    pub(super) fn fail_planning(&mut self, at: usize, failure: Failure) {
        self.record_failure(at, failure);
        self.execution.stage_mut(at).context_mut().insert("beforeStagePlanningFailed".to_owned(), Value::Bool(true));
        self.push(Move::CompleteStage(at));
    }

    /// The context of the window stage, when the stage is to wait for one.
    fn window(&self, at: usize) -> Option<Object> {
        let stage = self.execution.stage(at);
        if !flag(stage.context(), WINDOW) || stage.head().kind == WINDOW {
            return None;
        }
        let mut context = stage.context().clone();
        for key in [WINDOW, "stageTimeoutMs", "alias"] {
            context.remove(key);
        }
        Some(context)
    }

    /// Adds synthetic stages; with a window, that one comes first.
    fn add_children(&mut self, at: usize, side: Synthetic, specs: Vec<StageSpec>, window: Option<Object>) -> Result<(), Failure> {
        if specs.is_empty() && window.is_none() {
            return Ok(());
        }
        if self.ancestors(at).count() >= MAX_DEPTH || self.execution.stages().len() + specs.len() >= MAX_STAGES {
            return Err(Failure::new("IllegalStateException", "the stage plans more stages than an execution may have"));
        }
        let (mark, planned) = match side {
            Synthetic::StageBefore => ('<', self.execution.graph().nodes[at].before.len()),
            Synthetic::StageAfter => ('>', self.execution.graph().nodes[at].after.len()),
        };
        let parent = self.execution.stage(at).head().ref_id.clone();
        let parent_id = self.execution.stage(at).id.clone();
        let mut add = |ref_id: &str, kind: String, name: String, requisites: Vec<String>, context: Object| {
            let head = Head {
                ref_id: ref_id.to_owned(),
                kind,
                name,
                synthetic_stage_owner: Some(side),
                parent_stage_id: Some(parent_id.clone()),
                requisite_stage_ref_ids: requisites,
                ..Head::default()
            };
            let id = self.execution.new_stage_id();
            self.execution.push_stage(Stage::new(id, head, context));
        };
        let mut first = None;
        if let Some(context) = window {
            let ref_id = format!("{parent}{mark}0");
            add(&ref_id, WINDOW.to_owned(), WINDOW.to_owned(), Vec::new(), context);
            first = Some(ref_id);
        }
        let mut previous: Option<String> = None;
        for (number, mut spec) in (planned + 1..).zip(specs) {
            let ref_id = format!("{parent}{mark}{number}");
            let requisite = previous.take().filter(|_| spec.after_previous).or_else(|| first.clone());
            spec.context.remove(WINDOW);
            add(&ref_id, spec.kind, spec.name, requisite.into_iter().collect(), spec.context);
            previous = Some(ref_id);
        }
        Ok(())
    }

    /// The stage's parent, its parent's parent, …; at most [`MAX_DEPTH`] of them, so that a damaged record cannot lead in a circle.
    pub(super) fn ancestors(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        let parent = |at: &usize| self.execution.graph().nodes[*at].parent.map(|(parent, _)| parent);
        std::iter::successors(parent(&at), move |at| parent(at)).take(MAX_DEPTH)
    }

    /// What comes next in a stage under way. Everything it starts is looked at anew, so that it may be asked at any time.
    pub(super) fn go_on(&mut self, at: usize) {
        if self.execution.stage(at).status() != Status::Running || self.execution.status() != Status::Running {
            return;
        }
        let node = &self.execution.graph().nodes[at];
        if node.stopping {
            return;
        }
        if node.children_halted > 0 || (node.before_forgiven > 0 && node.children_active == 0) {
            self.push(Move::CompleteStage(at));
        } else if node.before_unmet > 0 {
            for child in node.before.clone() {
                self.push(Move::StartStage(child));
            }
        } else if node.before_forgiven == 0 {
            self.next_task(at);
        }
    }

    fn next_task(&mut self, at: usize) {
        let tasks = self.execution.stage(at).tasks();
        let next = tasks.iter().position(|t| !t.status.is_complete() || t.status.is_halt());
        match next {
            Some(task) if tasks[task].status == Status::NotStarted => self.push(Move::StartTask(at, task)),
            Some(task) if tasks[task].attempt.as_ref().is_some_and(|a| a.in_flight) && tasks[task].status == Status::Canceled => {
                let until = self.world.now.plus(STOP_GRACE);
                self.execution.graph_mut().nodes[at].stopping = true;
                self.execution.graph_mut().set_wake(at, Some(until));
            }
            Some(task) if !tasks[task].status.is_complete() => {
                if tasks[task].status != Status::Running {
                    self.execution.stage_mut(at).tasks_mut()[task].status = Status::Running;
                }
                self.push(Move::Look(at));
            }
            Some(_) | None => self.push(Move::CompleteStage(at)),
        }
    }

    pub(super) fn complete_stage(&mut self, at: usize) {
        if !matches!(self.execution.stage(at).status(), Status::Running | Status::Paused) {
            return;
        }
        if self.children_run_on(at) {
            return;
        }
        let mut status = self.status_of(at);
        if status == Status::NotStarted || status == Status::Running || (status.is_complete() && !status.is_halt()) {
            match self.start_after(at) {
                Ok(true) => return,
                Ok(false) => {}
                Err(failure) => {
                    self.record_failure(at, failure);
                    status = Status::Terminal;
                }
            }
        }
        if status.is_failure() && self.start_on_failure(at) {
            return;
        }
        self.close_stage(at, if status == Status::NotStarted { Status::Skipped } else { status });
    }

    /// True while synthetic stages run that the end of this one has to wait for. When one of them halted, the others are called off.
    fn children_run_on(&mut self, at: usize) -> bool {
        let node = &mut self.execution.graph_mut().nodes[at];
        if node.children_active == 0 {
            node.doomed = false;
            return false;
        }
        if node.children_halted > 0 && !node.doomed {
            node.doomed = true;
            let children: Vec<usize> = node.before.iter().chain(&node.after).copied().collect();
            for child in children {
                self.stop_stage(child);
            }
        }
        self.execution.graph().nodes[at].children_active > 0
    }

    /// What the parts of a stage add up to.
    fn status_of(&self, at: usize) -> Status {
        let (stage, node) = (self.execution.stage(at), &self.execution.graph().nodes[at]);
        let mut parts = rules::Parts::default();
        node.before.iter().for_each(|child| parts.add(self.execution.stage(*child).status()));
        stage.tasks().iter().for_each(|task| parts.add(task.status));
        node.after.iter().for_each(|child| parts.add_after(self.execution.stage(*child).status()));
        if flag(stage.context(), "beforeStagePlanningFailed") {
            parts.add(Status::Terminal);
        }
        let status = parts.status(rules::failure_status(stage.context(), Status::Terminal));
        if flag(stage.context(), "failOnFailedExpressions") && has_failed_expressions(stage.context()) {
            return Status::Terminal;
        }
        status
    }

    /// Plans and starts the stages after the tasks. `Ok(false)` = there are none to wait for.
    fn start_after(&mut self, at: usize) -> Result<bool, Failure> {
        let Some(kind) = self.kind(at) else {
            self.wait_for_type(at);
            return Ok(true);
        };
        if self.execution.graph().nodes[at].after.is_empty() {
            let specs = kind.synthetic(&self.view(at), Synthetic::StageAfter)?;
            self.add_children(at, Synthetic::StageAfter, specs, None)?;
        }
        Ok(self.start_waiting_after(at))
    }

    fn start_waiting_after(&mut self, at: usize) -> bool {
        let graph = self.execution.graph();
        let can_start = |child: &usize| self.execution.stage(*child).status() == Status::NotStarted && graph.nodes[*child].unmet == 0;
        let waiting: Vec<usize> = graph.nodes[at].after.iter().copied().filter(can_start).collect();
        waiting.iter().for_each(|child| self.push(Move::StartStage(*child)));
        !waiting.is_empty()
    }

    /// Plans and starts the stages for a failure, once. False = there are none, or they have run.
    fn start_on_failure(&mut self, at: usize) -> bool {
        let Some(kind) = self.kind(at) else { return false };
        let specs = match kind.on_failure(&self.view(at)) {
            Ok(specs) => specs,
            Err(failure) => {
                self.record_failure(at, failure);
                return false;
            }
        };
        let after = &self.execution.graph().nodes[at].after;
        let planned = |spec: &StageSpec| after.iter().any(|child| self.execution.stage(*child).head().name == spec.name);
        if specs.is_empty() || specs.iter().any(planned) || self.execution.summary().canceled {
            return false;
        }
        let waiting: Vec<usize> = self.execution.graph().nodes[at].before.iter().chain(after).copied().collect();
        self.execution
            .drop_stages(waiting.into_iter().filter(|child| self.execution.stage(*child).status() == Status::NotStarted).collect());
        let linear = specs.into_iter().map(|spec| StageSpec { after_previous: true, ..spec }).collect();
        match self.add_children(at, Synthetic::StageAfter, linear, None) {
            Ok(()) => self.start_waiting_after(at),
            Err(failure) => {
                self.record_failure(at, failure);
                false
            }
        }
    }

    /// The stage has ended: what is downstream, or its parent, or the execution goes on.
    pub(super) fn close_stage(&mut self, at: usize, status: Status) {
        let now = self.world.now;
        self.keep_expression_errors(at);
        self.execution.stage_mut(at).head_mut().end_time = Some(now);
        self.execution.set_stage_status(at, status);
        self.notify_stage(at, if status.is_successful() && status != Status::Stopped { "complete" } else { "failed" });
        self.after_stage(at);
    }

    fn after_stage(&mut self, at: usize) {
        let (status, node) = (self.execution.stage(at).status(), &self.execution.graph().nodes[at]);
        let (parent, downstream) = (node.parent, node.downstream.len());
        if status.lets_downstream_start() {
            for i in 0..downstream {
                let down = self.execution.graph().nodes[at].downstream[i];
                if self.execution.graph().nodes[down].unmet == 0 {
                    self.push(Move::StartStage(down));
                }
            }
        }
        match parent {
            Some((parent, side)) => {
                let node = &self.execution.graph().nodes[parent];
                let ended = match side {
                    Synthetic::StageBefore => node.before_forgiven > 0,
                    Synthetic::StageAfter => node.after_open == 0,
                };
                if node.stopping {
                    self.stopped_if_idle(parent);
                } else if ended || status.is_halt() {
                    self.push(Move::CompleteStage(parent));
                } else if side == Synthetic::StageBefore && node.before_unmet == 0 {
                    self.push(Move::GoOn(parent));
                }
            }
            None if status.is_halt() || downstream == 0 => self.push(Move::CompleteExecution),
            None => {}
        }
    }

    /// The stage does not run: by its condition, because it is too late, or because a person said so.
    pub(super) fn skip_stage(&mut self, at: usize) {
        let now = self.world.now;
        self.execution.stage_mut(at).head_mut().end_time = Some(now);
        self.execution.set_stage_status(at, Status::Skipped);
        self.execution.graph_mut().set_wake(at, None);
        self.after_stage(at);
    }

    /// Shows the failures of expressions among the stage's errors.
    fn keep_expression_errors(&mut self, at: usize) {
        let Some(errors) = expression_errors(self.execution.stage(at).context()) else { return };
        let context = self.execution.stage_mut(at).context_mut();
        let exception = context.entry("exception").or_insert_with(|| json!({}));
        if let Some(details) = exception.as_object_mut().map(|e| e.entry("details").or_insert_with(|| json!({})))
            && let Some(list) = details.as_object_mut().map(|d| d.entry("errors").or_insert_with(|| json!([])))
            && let Some(list) = list.as_array_mut()
        {
            list.extend(errors.into_iter().filter(|e| !list.contains(e)).collect::<Vec<_>>());
        }
    }
}

/// Tasks to be, numbered.
fn tasks(specs: &[TaskSpec]) -> Vec<Task> {
    let last = specs.len() - 1;
    let task = |(at, spec): (usize, &TaskSpec)| Task {
        id: (at + 1).to_string(),
        implementing_class: spec.class.to_owned(),
        name: spec.name.to_owned(),
        stage_start: at == 0,
        stage_end: at == last,
        loop_start: spec.loop_start,
        loop_end: spec.loop_end,
        ..Task::default()
    };
    specs.iter().enumerate().map(task).collect()
}

fn summary_entries(context: &Object) -> impl Iterator<Item = &Value> {
    let summary = context.get(SUMMARY_KEY).and_then(Value::as_object);
    summary.into_iter().flat_map(|s| s.values()).filter_map(Value::as_array).flatten()
}

fn has_failed_expressions(context: &Object) -> bool {
    summary_entries(context).any(|entry| entry.get("level").and_then(Value::as_str) == Some("ERROR"))
}

fn expression_errors(context: &Object) -> Option<Vec<Value>> {
    context.get(SUMMARY_KEY)?;
    let errors: Vec<Value> = summary_entries(context).filter_map(|entry| entry.get("description").cloned()).collect();
    (!errors.is_empty()).then_some(errors)
}
