//! What people do to an execution under way: call it off, hold it, let it go on, answer a stage, skip one.

use serde_json::Value;
use serde_json::json;

use super::Move;
use super::Run;
use super::stage::STOP_GRACE;
use crate::orchestrator::engine::event::Command;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::LastModified;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::execution::Paused;
use crate::orchestrator::engine::execution::StageId;
use crate::orchestrator::engine::execution::Task;
use crate::orchestrator::engine::nesting::DEEPEST;
use crate::orchestrator::engine::nesting::is_object_too_deep;
use crate::orchestrator::engine::stage::REFUSED;
use crate::orchestrator::engine::stage::SKIP;
use crate::orchestrator::engine::status::Status;

/// Pauses remembered beside the last one. When there are more, the two oldest become one of their length together.
const MAX_PAUSES: usize = 100;

/// Keys merged into a stage's context by a person.
pub(super) struct Patch {
    pub by: String,
    pub roles: Vec<String>,
    pub admin: bool,
    pub allowed_accounts: Vec<String>,
    pub context: Object,
}

impl Run<'_, '_> {
    /// Calls the execution off. It ends in this step, unless attempts are in flight: they are aborted, what they came to is learnt (a child pipeline
    /// that was just started can only be called off by its id), and then it ends, at the latest after [`STOP_GRACE`]. A second cancel does not wait.
    pub(super) fn cancel(&mut self, by: String, reason: Option<String>) {
        if self.execution.status().is_complete() {
            self.refuse("the execution has ended");
            return;
        }
        let again = self.execution.summary().canceled;
        if !again {
            let summary = self.execution.summary_mut();
            (summary.canceled, summary.canceled_by, summary.cancellation_reason) = (true, Some(by), reason);
        }
        if matches!(self.execution.status(), Status::NotStarted | Status::Buffered) {
            self.end(Status::Canceled);
            return;
        }
        self.release();
        self.stop_all();
        if again {
            for at in self.execution.graph().active.iter().copied().collect::<Vec<_>>() {
                self.stop_now(at);
            }
        }
        self.push(Move::CompleteExecution);
    }

    /// Calls a stage off, and its synthetic stages. It ends now, or when its attempts in flight do.
    pub(super) fn stop_stage(&mut self, at: usize) {
        let node = &mut self.execution.graph_mut().nodes[at];
        let children: Vec<usize> = node.before.iter().chain(&node.after).copied().collect();
        if self.execution.stage(at).status().is_complete() || self.execution.stage(at).status() == Status::NotStarted {
            return;
        }
        self.execution.graph_mut().nodes[at].stopping = true;
        for child in children {
            self.stop_stage(child);
        }
        let waits = |s: Status| matches!(s, Status::Running | Status::Paused | Status::Suspended);
        let now = self.world.now;
        if let Some(task) = self.execution.stage(at).tasks().iter().position(|t| waits(t.status)) {
            let key = self.key_in_flight(at, task);
            if key.is_none() {
                self.undo(at, task);
            }
            let state = &mut self.execution.stage_mut(at).tasks_mut()[task];
            (state.status, state.end_time, state.due) = (Status::Canceled, Some(now), None);
            if let Some(key) = key {
                self.execution.graph_mut().set_wake(at, Some(now.plus(STOP_GRACE)));
                self.out.commands.push(Command::Abort { key });
            }
        }
        self.stopped_if_idle(at);
    }

    /// Ends a stage that was called off, if nothing of it is under way.
    pub(super) fn stopped_if_idle(&mut self, at: usize) {
        let stage = self.execution.stage(at);
        let in_flight = stage.tasks().iter().any(|t| t.attempt.as_ref().is_some_and(|a| a.in_flight));
        if !in_flight && self.execution.graph().nodes[at].children_active == 0 && !stage.status().is_complete() {
            self.close_stage(at, Status::Canceled);
        }
    }

    /// The attempt of a task that was called off has ended, or is waited for no longer.
    pub(super) fn stop_now(&mut self, at: usize) {
        let canceled = |t: &Task| t.status == Status::Canceled;
        if let Some(task) = self.execution.stage(at).tasks().iter().rposition(canceled) {
            self.land(at, task);
            self.undo(at, task);
        }
        self.execution.graph_mut().nodes[at].stopping = true;
        self.stopped_if_idle(at);
    }

    /// Ends the execution where it stands: nothing more of it can be kept. The reason is put where little has to be written for it.
    pub(super) fn unkept(&mut self, why: &str) {
        if self.execution.status().is_complete() {
            return;
        }
        self.execution.summary_mut().cancellation_reason = Some(why.to_owned());
        if matches!(self.execution.status(), Status::NotStarted | Status::Buffered) {
            self.end(Status::Terminal);
            return;
        }
        self.release();
        let active: Vec<usize> = self.execution.graph().active.iter().copied().collect();
        for at in &active {
            if let Some(task) = self.current_task(*at) {
                let exception = json!({"exceptionType": "RecordRefusedException", "details": {"error": why, "errors": [why]}});
                self.execution.stage_mut(*at).tasks_mut()[task].task_exception_details.insert("exception".to_owned(), exception);
            }
        }
        self.stop_all();
        for at in active {
            if !self.execution.stage(at).status().is_complete() {
                self.stop_now(at);
            }
        }
        self.end(Status::Terminal);
    }

    pub(super) fn pause(&mut self, by: String) {
        if self.execution.status() != Status::Running {
            self.refuse(format!("an execution can only be paused while it is RUNNING; it is {}", self.execution.status()));
            return;
        }
        let now = self.world.now;
        let summary = self.execution.summary_mut();
        let mut earlier = Vec::new();
        if let Some(last) = summary.paused.take() {
            earlier = last.earlier;
            earlier.extend(last.pause_time.zip(last.resume_time));
        }
        if earlier.len() > MAX_PAUSES {
            let (from, to) = earlier.remove(0);
            earlier[0] = (from, from.plus(to.since(from)).plus(earlier[0].1.since(earlier[0].0)));
        }
        summary.paused = Some(Paused { paused_by: by, pause_time: Some(now), earlier, ..Paused::default() });
        summary.status = Status::Paused;
        self.turn_active(Status::Running, Status::Paused);
    }

    pub(super) fn resume(&mut self, by: String) {
        if self.execution.status() != Status::Paused {
            self.refuse(format!("an execution can only be resumed while it is PAUSED; it is {}", self.execution.status()));
            return;
        }
        self.release();
        if let Some(paused) = &mut self.execution.summary_mut().paused {
            paused.resumed_by = Some(by);
        }
        self.survey(false);
    }

    /// Ends a pause, without looking at what comes next.
    fn release(&mut self) {
        if self.execution.status() != Status::Paused {
            return;
        }
        let now = self.world.now;
        let summary = self.execution.summary_mut();
        summary.status = Status::Running;
        if let Some(paused) = &mut summary.paused {
            paused.resume_time = Some(now);
        }
        self.turn_active(Status::Paused, Status::Running);
    }

    /// Turns stages and tasks under way from one status into another.
    fn turn_active(&mut self, from: Status, to: Status) {
        for at in self.execution.graph().active.iter().copied().collect::<Vec<_>>() {
            if self.execution.stage(at).status() == from {
                self.execution.set_stage_status(at, to);
            }
            if self.execution.stage(at).tasks().iter().any(|t| t.status == from) {
                self.execution.stage_mut(at).tasks_mut().iter_mut().filter(|t| t.status == from).for_each(|t| t.status = to);
            }
        }
    }

    pub(super) fn patch(&mut self, id: &StageId, patch: Patch) {
        let Some(at) = self.execution.place(id) else {
            self.refuse("there is no such stage");
            return;
        };
        if self.execution.stage(at).status().is_complete() {
            self.refuse(format!("the stage has ended: {}", self.execution.stage(at).status()));
            return;
        }
        if self.execution.summary().canceled {
            self.refuse("the execution was called off");
            return;
        }
        if is_object_too_deep(&patch.context) {
            self.refuse(format!("the keys nest more than {DEEPEST} levels deep"));
            return;
        }
        let skip = patch.context.get(SKIP) == Some(&Value::Bool(true));
        if skip && !self.kind(at).is_some_and(|kind| kind.can_be_skipped()) {
            self.refuse(format!("stages of type {} cannot be skipped", self.execution.stage(at).head().kind));
            return;
        }
        let mut context = patch.context;
        let by = LastModified {
            user: patch.by,
            allowed_accounts: patch.allowed_accounts,
            roles: patch.roles,
            admin: patch.admin,
            last_modified_time: self.world.now,
            ..LastModified::default()
        };
        let kind = self.kind(at);
        let decisive = kind.map(|kind| kind.decisive()).unwrap_or_default();
        let decides = decisive.iter().any(|key| context.contains_key(*key));
        if let Some(why) = kind.filter(|_| decides).and_then(|kind| kind.objection(&self.view(at), &by)) {
            let told = Object::from_iter([(REFUSED.to_owned(), why.as_str().into())]);
            self.execution.stage_mut(at).merge_told(told, &[]);
            self.refuse(why);
            return;
        }
        context.insert("lastModifiedBy".to_owned(), json!(by.user));
        let stage = self.execution.stage_mut(at);
        stage.merge_told(context, &[]);
        if decides || decisive.is_empty() {
            stage.head_mut().last_modified = Some(by);
        }
        if skip && self.execution.stage(at).status() != Status::NotStarted {
            self.skip_by_hand(at);
        } else {
            self.poke(at);
        }
    }

    /// Skips a stage that is under way or whose turn has come: its top-level stage ends, with all of its synthetic stages.
    pub(super) fn skip_by_hand(&mut self, at: usize) {
        let top = self.ancestors(at).last().unwrap_or(at);
        self.skip_below(top);
        self.skip_stage(top);
    }

    fn skip_below(&mut self, at: usize) {
        let now = self.world.now;
        if let Some(task) = self.execution.stage(at).tasks().iter().position(|t| matches!(t.status, Status::Running | Status::Paused)) {
            self.abort(at, task);
            let state = &mut self.execution.stage_mut(at).tasks_mut()[task];
            (state.status, state.end_time, state.due) = (Status::Skipped, Some(now), None);
        }
        let node = &self.execution.graph().nodes[at];
        for child in node.before.iter().chain(&node.after).copied().collect::<Vec<_>>() {
            self.skip_below(child);
            if !self.execution.stage(child).status().is_complete() {
                self.execution.stage_mut(child).head_mut().end_time = Some(now);
                self.execution.set_stage_status(child, Status::Skipped);
            }
        }
    }

    pub(super) fn child_ended(&mut self, child: &ExecutionId) {
        for at in self.execution.graph().active.iter().copied().collect::<Vec<_>>() {
            if self.execution.stage(at).context().get("executionId").and_then(Value::as_str) == Some(child.as_str()) {
                self.poke(at);
            }
        }
    }
}
