//! A stage runs again, and what is downstream of it.

use std::collections::BTreeSet;

use serde_json::json;

use super::Run;
use crate::orchestrator::engine::event::Command;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::execution::StageId;
use crate::orchestrator::engine::stage::SKIP;
use crate::orchestrator::engine::status::Status;

impl Run<'_, '_> {
    /// Runs a stage again. A synthetic one means its top-level stage.
    pub(super) fn restart(&mut self, id: &StageId, by: &str, body: &Object) {
        let Some(at) = self.execution.place(id) else {
            self.refuse("there is no such stage");
            return;
        };
        let at = self.ancestors(at).last().unwrap_or(at);
        let again = self.downstream(at);
        if !self.fits(at, &again) {
            return;
        }
        let by = if by.is_empty() { "anonymous" } else { by };
        let stage = self.execution.stage_mut(at).context_mut();
        let previous = stage.remove("exception");
        let mut details = json!({ "restartedBy": by, "restartTime": self.world.now });
        if let Some(previous) = previous {
            details["previousException"] = previous;
        }
        stage.insert("restartDetails".to_owned(), details);
        // Whoever restarts a stage that was skipped wants it to run. Those downstream that are told so are skipped again.
        stage.remove(SKIP);
        self.reset(at, body);
        for down in again {
            self.reset(down, &Object::new());
        }
        let gone: BTreeSet<StageId> = self.orphans();
        self.execution.remove_stages(|stage| gone.contains(&stage.id));
        if self.execution.status().is_complete() {
            let summary = self.execution.summary_mut();
            (summary.status, summary.end_time, summary.canceled) = (Status::NotStarted, None, false);
            (summary.canceled_by, summary.cancellation_reason) = (None, None);
            self.out.commands.push(Command::Reopened { by: by.to_owned() });
            self.ask_to_start();
        } else if self.execution.status() == Status::Running {
            self.survey(false);
        }
    }

    /// All that is downstream of a top-level stage, in no order.
    fn downstream(&self, at: usize) -> BTreeSet<usize> {
        let (mut found, mut open) = (BTreeSet::new(), vec![at]);
        while let Some(next) = open.pop() {
            open.extend(self.execution.graph().nodes[next].downstream.iter().copied().filter(|down| found.insert(*down)));
        }
        found.remove(&at);
        found
    }

    fn fits(&mut self, at: usize, again: &BTreeSet<usize>) -> bool {
        let status = self.execution.stage(at).status();
        if !status.is_complete() && status != Status::NotStarted {
            self.refuse(format!("the stage is {status}"));
            return false;
        }
        if again.iter().any(|down| self.execution.graph().active.contains(down)) {
            self.refuse("stages downstream of it are still under way");
            return false;
        }
        if status == Status::NotStarted && matches!(self.execution.status(), Status::NotStarted | Status::Buffered) {
            self.refuse("the execution has not started");
            return false;
        }
        true
    }

    fn reset(&mut self, at: usize, body: &Object) {
        if !self.execution.stage(at).status().is_complete() {
            return;
        }
        let kind = self.kind(at);
        let stage = self.execution.stage_mut(at);
        (stage.head_mut().start_time, stage.head_mut().end_time) = (None, None);
        if !stage.tasks().is_empty() {
            stage.tasks_mut().clear();
        }
        stage.context_mut().remove("beforeStagePlanningFailed");
        if let Some(kind) = kind {
            kind.prepare_restart(stage.context_mut(), body);
        }
        self.execution.set_stage_status(at, Status::NotStarted);
    }

    /// Synthetic stages of stages that are to be planned anew.
    fn orphans(&self) -> BTreeSet<StageId> {
        let renewed = |at: usize| self.ancestors(at).last().is_some_and(|top| self.execution.stage(top).status() == Status::NotStarted);
        (0..self.execution.stages().len()).filter(|at| renewed(*at)).map(|at| self.execution.stage(at).id.clone()).collect()
    }
}
