//! A look at every stage: what the engine does when it meets an execution for the first time, starts it, or takes it over.
//!
//! It finds from the statuses alone what is to come next, so that an execution goes on from wherever its last owner left it.

use super::Move;
use super::Run;
use super::resolve::PAGES;
use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::event::Command;
use crate::orchestrator::engine::execution::Attempt;
use crate::orchestrator::engine::execution::Task;
use crate::orchestrator::engine::stage::Lost;
use crate::orchestrator::engine::status::Status;

impl Run<'_, '_> {
    /// Looks at every stage. `adopted`: the outcomes of attempts in flight are lost.
    pub(super) fn survey(&mut self, adopted: bool) {
        self.execution.graph_mut().surveyed = true;
        if adopted {
            self.undo_again();
            self.recover_attempts();
        }
        if self.execution.status() != Status::Running {
            return;
        }
        for at in 0..self.execution.stages().len() {
            let node = &self.execution.graph().nodes[at];
            match self.execution.stage(at).status() {
                Status::NotStarted if node.parent.is_none() && node.unmet == 0 => self.push(Move::StartStage(at)),
                Status::Running => self.push(Move::GoOn(at)),
                // A record that was cut between the pause of a stage and that of its execution, or one of an old engine's words.
                Status::Paused | Status::Suspended | Status::Redirect | Status::Buffered => {
                    self.execution.set_stage_status(at, Status::Running);
                    self.push(Move::GoOn(at));
                }
                Status::NotStarted
                | Status::Succeeded
                | Status::FailedContinue
                | Status::Terminal
                | Status::Canceled
                | Status::Stopped
                | Status::Skipped => {}
            }
        }
    }

    /// Asks anew for what the last owner was to undo and did not say that it had, in an execution that has ended as well.
    fn undo_again(&mut self) {
        for at in 0..self.execution.stages().len() {
            for task in 0..self.execution.stage(at).tasks().len() {
                let Some(number) = self.execution.stage(at).tasks()[task].undoing else { continue };
                if !self.ask_to_undo(at, task, number) {
                    self.execution.stage_mut(at).tasks_mut()[task].undoing = None;
                }
            }
        }
    }

    /// Asks every kind of task what becomes of its attempt whose owner is gone.
    fn recover_attempts(&mut self) {
        let active: Vec<usize> = self.execution.graph().active.iter().copied().collect();
        for at in active {
            let in_flight = |t: &Task| t.attempt.as_ref().is_some_and(|a| a.in_flight);
            let Some(task) = self.execution.stage(at).tasks().iter().position(in_flight) else { continue };
            self.lose(at, task);
        }
    }

    fn lose(&mut self, at: usize, task: usize) {
        if self.execution.stage(at).tasks()[task].status == Status::Canceled {
            self.stop_now(at);
            return;
        }
        if self.execution.stage(at).tasks()[task].attempt.as_ref().is_some_and(|a| a.effect == PAGES) {
            self.land(at, task);
            return;
        }
        let Some(kind) = self.task_kind(at, task) else {
            self.wait_for_type(at);
            return;
        };
        match kind.lost(&self.task_view(at, task)) {
            Lost::Repeat => {
                self.land(at, task);
            }
            Lost::Ask(effect) => {
                self.land(at, task);
                self.perform(at, task, effect);
            }
            Lost::Fail(failure) => {
                self.land(at, task);
                self.fail(at, task, failure);
            }
        }
    }

    /// The attempt is in flight no more.
    pub(super) fn land(&mut self, at: usize, task: usize) -> Option<Attempt> {
        let attempt = self.execution.stage_mut(at).tasks_mut()[task].attempt.as_mut().filter(|a| a.in_flight)?;
        attempt.in_flight = false;
        Some(attempt.clone())
    }

    /// The key of the attempt in flight, if there is one.
    pub(super) fn key_in_flight(&self, at: usize, task: usize) -> Option<AttemptKey> {
        let stage = self.execution.stage(at);
        let attempt = stage.tasks()[task].attempt.as_ref().filter(|a| a.in_flight)?;
        Some(AttemptKey {
            execution: self.execution.id.clone(),
            stage: stage.id.clone(),
            started: stage.head().start_time.map_or(0, |t| t.0),
            task: stage.tasks()[task].id.clone(),
            number: attempt.number,
        })
    }

    /// Calls the attempt in flight off, if there is one; its outcome is not waited for.
    pub(super) fn abort(&mut self, at: usize, task: usize) {
        if let Some(key) = self.key_in_flight(at, task) {
            self.land(at, task);
            self.out.commands.push(Command::Abort { key });
        }
    }
}
