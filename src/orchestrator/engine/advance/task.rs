//! A task: its start, its looks and attempts, its end.

use serde_json::Value;
use serde_json::json;

use super::Move;
use super::Run;
use super::resolve::PAGES;
use super::rules;
use crate::model::Timestamp;
use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::event::Command;
use crate::orchestrator::engine::execution::Attempt;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::execution::Task;
use crate::orchestrator::engine::nesting::DEEPEST;
use crate::orchestrator::engine::nesting::is_object_too_deep;
use crate::orchestrator::engine::stage::Failure;
use crate::orchestrator::engine::stage::Step;
use crate::orchestrator::engine::stage::TaskKind;
use crate::orchestrator::engine::stage::TaskResult;
use crate::orchestrator::engine::status::Status;

/// Loops that begin again within one event before the next one has to wait: a loop that never waits must not hold the instance.
const MAX_REDIRECTS: u32 = 64;

impl Run<'_, '_> {
    pub(super) fn start_task(&mut self, at: usize, task: usize) {
        let stage = self.execution.stage(at);
        let fits = stage.status() == Status::Running && self.execution.status() == Status::Running;
        if !fits || self.execution.graph().nodes[at].stopping || stage.tasks().get(task).is_none_or(|t| t.status != Status::NotStarted) {
            return;
        }
        let now = self.world.now;
        let task = &mut self.execution.stage_mut(at).tasks_mut()[task];
        (task.status, task.start_time) = (Status::Running, Some(now));
        self.look(at);
    }

    /// Place of the task under way.
    pub(super) fn current_task(&self, at: usize) -> Option<usize> {
        self.execution.stage(at).tasks().iter().position(|t| t.status == Status::Running)
    }

    /// Looks at the task under way, if its time has come.
    pub(super) fn look(&mut self, at: usize) {
        if self.execution.stage(at).status() != Status::Running || self.execution.status() != Status::Running {
            return;
        }
        let Some(task) = self.current_task(at) else { return };
        if self.execution.stage(at).tasks()[task].implementing_class == PAGES {
            if self.key_in_flight(at, task).is_none() {
                self.after_pages(at, task);
            }
            return;
        }
        let Some(kind) = self.task_kind(at, task) else {
            self.wait_for_type(at);
            return;
        };
        self.waits_no_more(at);
        if let Some(limit) = self.limit(at, task, kind)
            && limit < self.world.now
            && !self.is_waited_for(at, task, kind)
        {
            self.time_out(at, task, kind);
            return;
        }
        let state = &self.execution.stage(at).tasks()[task];
        if state.attempt.as_ref().is_some_and(|a| a.in_flight) || state.due.is_some_and(|due| due > self.world.now) {
            self.set_timer(at, task);
            return;
        }
        if !self.resolve(at) {
            return;
        }
        let step = kind.step(&self.task_view(at, task), None);
        self.follow(at, task, step);
    }

    /// Looks at the task under way now, whenever it is due: something it may wait for has happened.
    pub(super) fn poke(&mut self, at: usize) {
        let Some(task) = self.current_task(at) else { return };
        let state = &self.execution.stage(at).tasks()[task];
        if state.attempt.as_ref().is_some_and(|a| a.in_flight) {
            self.execution.graph_mut().nodes[at].poked = true;
        } else {
            if state.due.is_some() {
                self.execution.stage_mut(at).tasks_mut()[task].due = None;
            }
            self.push(Move::Look(at));
        }
    }

    /// An attempt ended.
    pub(super) fn done(&mut self, key: &AttemptKey, outcome: &Outcome) {
        let Some((at, task)) = self.place_of(key) else { return };
        if self.execution.stage(at).tasks()[task].attempt.as_ref().is_some_and(|a| a.effect == PAGES) {
            self.land(at, task);
            self.fetched(at, task, outcome);
            return;
        }
        let Some(kind) = self.task_kind(at, task) else {
            self.wait_for_type(at);
            return;
        };
        self.land(at, task);
        let step = kind.step(&self.task_view(at, task), Some(outcome));
        if self.execution.stage(at).tasks()[task].status == Status::Canceled {
            self.learn(at, step);
            self.stop_now(at);
        } else {
            self.follow(at, task, step);
        }
    }

    /// Where the attempt of this key is in flight; `None` for a late or repeated outcome.
    fn place_of(&self, key: &AttemptKey) -> Option<(usize, usize)> {
        let at = self.execution.place(&key.stage).filter(|_| key.execution == self.execution.id)?;
        let stage = self.execution.stage(at);
        let started = stage.head().start_time.map_or(0, |t| t.0);
        if started != key.started || stage.status().is_complete() {
            return None;
        }
        let in_flight = |a: &Attempt| a.in_flight && a.number == key.number;
        let task = stage.tasks().iter().position(|t| t.id == key.task && t.attempt.as_ref().is_some_and(in_flight))?;
        Some((at, task))
    }

    /// What a task that was called off still tells: it is kept, and nothing else comes of it.
    fn learn(&mut self, at: usize, step: Step) {
        match step {
            Step::Finish(result) | Step::Wait { result, .. } | Step::Perform { result, .. } if is_too_deep(&result) => {}
            Step::Finish(result) | Step::Wait { result, .. } | Step::Perform { result, .. } => self.merge(at, result),
            Step::Fail(failure) if is_object_too_deep(&failure.context) => {}
            Step::Fail(failure) => self.execution.stage_mut(at).merge_told(failure.context, &[]),
        }
    }

    fn follow(&mut self, at: usize, task: usize, step: Step) {
        match step {
            Step::Finish(result) | Step::Wait { result, .. } | Step::Perform { result, .. } if is_too_deep(&result) => {
                self.fail(at, task, too_deep("what the task came to"));
            }
            Step::Finish(result) => self.finish_with(at, task, result),
            Step::Wait { result, until } => {
                self.merge(at, result);
                let poked = std::mem::take(&mut self.execution.graph_mut().nodes[at].poked);
                let due = until.filter(|_| !poked);
                if self.execution.stage(at).tasks()[task].due != due {
                    self.execution.stage_mut(at).tasks_mut()[task].due = due;
                }
                if poked {
                    self.push(Move::Look(at));
                } else {
                    self.set_timer(at, task);
                }
            }
            Step::Perform { result, effect } => {
                self.merge(at, result);
                self.perform(at, task, effect);
            }
            Step::Fail(failure) => self.fail(at, task, failure),
        }
    }

    pub(super) fn finish_with(&mut self, at: usize, task: usize, result: TaskResult) {
        let said = result.status;
        self.merge(at, result);
        self.finish_task(at, task, said);
    }

    fn merge(&mut self, at: usize, result: TaskResult) {
        let TaskResult { status: _, context, mut outputs, notices, scheduled_time } = result;
        let own = self.kind(at).map(|kind| kind.own_words()).unwrap_or_default();
        let stage = self.execution.stage_mut(at);
        stage.merge_told(context, own);
        outputs.remove("stageTimeoutMs");
        if !outputs.is_empty() {
            stage.outputs_mut().extend(outputs);
        }
        if scheduled_time.is_some() && stage.head().scheduled_time != scheduled_time {
            stage.head_mut().scheduled_time = scheduled_time;
        }
        for notice in notices {
            self.notify(notice.event, notice.to, Some(at), notice.details);
        }
    }

    /// Records an attempt, then asks for its effect.
    pub(super) fn perform(&mut self, at: usize, task: usize, effect: Effect) {
        self.perform_as(at, task, effect.word(), effect);
    }

    /// The same, with another word for what the effect is for.
    pub(super) fn perform_as(&mut self, at: usize, task: usize, word: &str, effect: Effect) {
        let (now, instance) = (self.world.now, self.world.instance);
        let state = &mut self.execution.stage_mut(at).tasks_mut()[task];
        state.due = None;
        let attempt = state.attempt.get_or_insert_with(Attempt::default);
        attempt.number += 1;
        (attempt.started, attempt.in_flight) = (now, true);
        if attempt.effect != word {
            attempt.effect = word.to_owned();
        }
        // Whoever asks for a job does not become its host.
        if attempt.instance != instance && !matches!(effect, Effect::AttachJob { .. }) {
            attempt.instance = instance.to_owned();
        }
        self.set_timer(at, task);
        let key = self.key_in_flight(at, task).expect("the attempt was put in flight above");
        self.out.commands.push(Command::Perform { key, effect });
    }

    /// An attempt is in flight whose outcome has to be known, late as it is.
    fn is_waited_for(&self, at: usize, task: usize, kind: &dyn TaskKind) -> bool {
        self.key_in_flight(at, task).is_some() && kind.is_waited_for(&self.task_view(at, task))
    }

    /// Notes when the task is to be looked at next.
    fn set_timer(&mut self, at: usize, task: usize) {
        let kind = self.task_kind(at, task).filter(|kind| !self.is_waited_for(at, task, *kind));
        let limit = kind.and_then(|kind| self.limit(at, task, kind)).map(after);
        let due = self.execution.stage(at).tasks()[task].due;
        let wake = limit.into_iter().chain(due).min();
        self.execution.graph_mut().set_wake(at, wake);
    }

    /// The task said how it ended.
    fn finish_task(&mut self, at: usize, task: usize, said: Status) {
        match said {
            Status::Succeeded | Status::Skipped | Status::FailedContinue | Status::Stopped => self.complete_task(at, task, said, said),
            Status::Terminal => self.fail_task(at, task, Status::Terminal),
            Status::Canceled => {
                self.undo(at, task);
                self.fail_task(at, task, Status::Canceled);
            }
            Status::Redirect => self.redirect(at, task),
            // Not an end: the task is looked at again soon.
            Status::NotStarted | Status::Running | Status::Paused | Status::Suspended | Status::Buffered => {
                let soon = self.world.now.plus(super::time::MIN_POLL);
                self.execution.stage_mut(at).tasks_mut()[task].due = Some(soon);
                self.set_timer(at, task);
            }
        }
    }

    fn fail_task(&mut self, at: usize, task: usize, said: Status) {
        let status = rules::failure_status(self.execution.stage(at).context(), said);
        self.complete_task(at, task, status, said);
    }

    /// The task failed with an error.
    pub(super) fn fail(&mut self, at: usize, task: usize, failure: Failure) {
        let exception = self.record_failure(at, failure);
        self.execution.stage_mut(at).tasks_mut()[task].task_exception_details.insert("exception".to_owned(), exception);
        self.fail_task(at, task, Status::Terminal);
    }

    /// Puts what went wrong into the stage's context, in Orca's form, and gives it back.
    pub(super) fn record_failure(&mut self, at: usize, failure: Failure) -> Value {
        let error = failure.errors.first().cloned().unwrap_or_else(|| failure.kind.clone());
        let exception = json!({
            "timestamp": self.world.now,
            "exceptionType": failure.kind,
            "operation": self.execution.stage(at).head().kind,
            "details": { "error": error, "errors": failure.errors },
            "shouldRetry": false,
        });
        let mut context = Some(failure.context).filter(|context| !is_object_too_deep(context)).unwrap_or_default();
        context.insert("exception".to_owned(), exception.clone());
        self.execution.stage_mut(at).merge_told(context, &[]);
        exception
    }

    /// The task ended in this status; `said` is what it was before the failure policy was asked.
    pub(super) fn complete_task(&mut self, at: usize, task: usize, status: Status, said: Status) {
        let now = self.world.now;
        let tasks = self.execution.stage_mut(at).tasks_mut();
        let last = task + 1 == tasks.len();
        let state = &mut tasks[task];
        (state.status, state.end_time, state.due) = (status, Some(now), None);
        let graph = self.execution.graph_mut();
        graph.set_wake(at, None);
        graph.nodes[at].poked = false;
        if rules::task_ends_stage(last, status, said) {
            self.push(Move::CompleteStage(at));
        } else {
            self.push(Move::StartTask(at, task + 1));
        }
    }

    /// Begins the loop again.
    fn redirect(&mut self, at: usize, task: usize) {
        self.redirects += 1;
        let wait = self.redirects > MAX_REDIRECTS;
        let now = self.world.now;
        let tasks = self.execution.stage_mut(at).tasks_mut();
        let first = tasks[..=task].iter().position(|t| t.loop_start).unwrap_or(task);
        let last = tasks.iter().rposition(|t| t.loop_end).unwrap_or(task).max(task);
        for state in &mut tasks[first..=last] {
            (state.status, state.start_time, state.end_time, state.due) = (Status::NotStarted, None, None, None);
        }
        self.execution.graph_mut().set_wake(at, None);
        if wait {
            let state = &mut self.execution.stage_mut(at).tasks_mut()[first];
            (state.status, state.start_time, state.due) = (Status::Running, Some(now), Some(now.plus(super::time::MIN_POLL)));
            self.set_timer(at, first);
        } else {
            self.push(Move::StartTask(at, first));
        }
    }

    /// What the task wants undone outside, now that it is called off. It is recorded first, as an attempt is.
    pub(super) fn undo(&mut self, at: usize, task: usize) {
        let state = &self.execution.stage(at).tasks()[task];
        let number = state.attempt.as_ref().map_or(0, |a| a.number) + 1;
        if state.undoing.is_none() && self.ask_to_undo(at, task, number) {
            self.execution.stage_mut(at).tasks_mut()[task].undoing = Some(number);
        }
    }

    /// False when there is nothing to be undone.
    pub(super) fn ask_to_undo(&mut self, at: usize, task: usize, number: u32) -> bool {
        let Some(effect) = self.task_kind(at, task).and_then(|kind| kind.on_cancel(&self.task_view(at, task))) else { return false };
        let stage = self.execution.stage(at);
        let key = AttemptKey {
            execution: self.execution.id.clone(),
            stage: stage.id.clone(),
            started: stage.head().start_time.map_or(0, |t| t.0),
            task: stage.tasks()[task].id.clone(),
            number,
        };
        self.out.commands.push(Command::Undo { key, effect });
        true
    }

    /// An undoing ended, or was given up: then the stage says so.
    pub(super) fn undone(&mut self, key: &AttemptKey, failed: Option<String>) {
        let Some(at) = self.execution.place(&key.stage).filter(|_| key.execution == self.execution.id) else { return };
        let stage = self.execution.stage_mut(at);
        let same = |task: &Task| task.id == key.task && task.undoing == Some(key.number);
        let Some(task) = stage.tasks().iter().position(same) else { return };
        stage.tasks_mut()[task].undoing = None;
        if let Some(error) = failed {
            stage.merge_told(Object::from_iter([("undoError".to_owned(), error.into())]), &[]);
        }
    }
}

fn is_too_deep(result: &TaskResult) -> bool {
    is_object_too_deep(&result.context) || is_object_too_deep(&result.outputs)
}

/// The failure of a task that came to what cannot be kept.
pub(super) fn too_deep(what: &str) -> Failure {
    Failure::new("NestingException", format!("{what} nests more than {DEEPEST} levels deep; return less of it, or a text"))
}

/// The first moment past a limit: limits are strict.
fn after(limit: Timestamp) -> Timestamp {
    Timestamp(limit.0.saturating_add(1))
}
