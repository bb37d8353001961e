//! Moves an execution on: the rules of the stage graph.
//!
//! One call takes one event as far as it goes without anything from outside. Inside it is a list of moves, each of which looks whether it still fits
//! where the execution stands; moves add moves until none is left. Joins are looked at when one of their branches ends, so nothing is asked again
//! and again, and nothing here waits.
//!
//! What must stay true: an event that comes twice or late changes nothing; no task of a stage runs once the stage has ended; an execution in which
//! nothing is under way and nothing may start has ended; `Ended` is said once. It cannot fail: what does not fit is refused or ignored.

mod control;
mod execution;
mod notify;
mod resolve;
mod restart;
pub mod rules;
mod stage;
mod survey;
mod task;
#[cfg(test)]
mod tests;
pub mod time;

use std::collections::VecDeque;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::Value;

use super::context::Pages;
use super::event::Advance;
use super::event::Event;
use super::event::Message;
use super::event::WAITS_FOR_TYPE;
use super::execution::Execution;
use super::execution::Object;
use super::stage::Registry;
use super::stage::StageKind;
use super::stage::TaskKind;
use super::stage::TaskView;
use super::stage::View;
use super::status::Status;
use crate::model::Timestamp;

/// When an execution with a stage type that is not known here is looked at again, by an instance that may know it.
const UNKNOWN_TYPE_WAIT: Duration = Duration::from_secs(30);

/// What the engine is told of the world outside the execution.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// Stage types.
    pub registry: &'a Registry,
    /// Now.
    pub now: Timestamp,
    /// Zone of the server, for execution windows and crons.
    pub zone: &'a TimeZone,
    /// This instance: attempts carry its name.
    pub instance: &'a str,
    /// Seed of what is random (jitter): the same for the same event of the same execution.
    pub seed: u64,
}

/// Takes an execution through one event, as far as it goes without anything from outside.
pub fn advance(execution: &mut Execution, event: Event, world: &World<'_>) -> Advance {
    execution.ensure_indexed();
    let mut run = Run {
        execution,
        world,
        todo: VecDeque::new(),
        out: Advance::default(),
        pages: Pages::new(),
        no_pages: None,
        fetches: 0,
        redirects: 0,
        moves: 0,
    };
    run.take(event);
    run.drain();
    run.finish()
}

/// One thing to be looked into. Each asks anew whether it still fits.
#[derive(Clone, Copy, Debug)]
enum Move {
    StartStage(usize),
    /// What comes next in a stage: its first stages before, a task, its end.
    GoOn(usize),
    StartTask(usize, usize),
    /// Look at the task under way.
    Look(usize),
    CompleteStage(usize),
    CompleteExecution,
}

/// One event on its way through an execution.
struct Run<'a, 'w> {
    execution: &'a mut Execution,
    world: &'a World<'w>,
    todo: VecDeque<Move>,
    out: Advance,
    /// Pages that this event brought, for expressions.
    pages: Pages,
    /// Why this event brought none.
    no_pages: Option<String>,
    /// Number of the attempt that brought them: the next one for the same stage counts on.
    fetches: u32,
    /// Loops begun again within this event.
    redirects: u32,
    /// Moves made; what the tests of cost count.
    moves: u64,
}

impl<'w> Run<'_, 'w> {
    fn take(&mut self, event: Event) {
        let adopted = event == Event::Adopted;
        if adopted || (!self.execution.graph().surveyed && self.execution.status() == Status::Running) {
            self.survey(adopted);
        }
        match event {
            Event::Tick | Event::Adopted => self.tick(),
            Event::Done { key, outcome } => self.done(&key, &outcome),
            Event::Undone { key, failed } => self.undone(&key, failed),
            Event::Unkept { why } => self.unkept(&why),
            Event::Message(message) => self.message(message),
        }
    }

    fn tick(&mut self) {
        match self.execution.status() {
            Status::NotStarted | Status::Buffered => self.ask_to_start(),
            Status::Running => {
                while let Some(at) = self.execution.graph_mut().take_due(self.world.now) {
                    if self.execution.stage(at).status() == Status::NotStarted {
                        self.push(Move::StartStage(at));
                    } else if self.execution.graph().nodes[at].stopping {
                        self.stop_now(at);
                    } else {
                        self.push(Move::Look(at));
                    }
                }
            }
            Status::Paused
            | Status::Suspended
            | Status::Redirect
            | Status::Succeeded
            | Status::FailedContinue
            | Status::Terminal
            | Status::Canceled
            | Status::Stopped
            | Status::Skipped => {}
        }
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Admitted => self.admitted(),
            Message::Cancel { by, reason } => self.cancel(by, reason),
            Message::Pause { by } => self.pause(by),
            Message::Resume { by } => self.resume(by),
            Message::Patch { stage, by, roles, admin, allowed_accounts, context } => {
                self.patch(&stage, control::Patch { by, roles, admin, allowed_accounts, context });
            }
            Message::Restart { stage, by, body } => self.restart(&stage, &by, &body),
            Message::ChildEnded { execution } => self.child_ended(&execution),
        }
    }

    fn drain(&mut self) {
        loop {
            while let Some(next) = self.todo.pop_front() {
                self.moves += 1;
                match next {
                    Move::StartStage(at) => self.start_stage(at),
                    Move::GoOn(at) => self.go_on(at),
                    Move::StartTask(at, task) => self.start_task(at, task),
                    Move::Look(at) => self.look(at),
                    Move::CompleteStage(at) => self.complete_stage(at),
                    Move::CompleteExecution => self.complete_execution(),
                }
            }
            let top = self.execution.graph().top;
            // What is ready in an execution that was called off does not start any more.
            let may_start = top.ready > 0 && !self.execution.summary().canceled;
            if self.execution.status() != Status::Running || top.active > 0 || may_start {
                return;
            }
            // Nothing is under way and nothing may start: it has ended, however it came to this.
            self.push(Move::CompleteExecution);
        }
    }

    fn finish(mut self) -> Advance {
        self.out.wake = match self.execution.status() {
            // One that is run again has started once: its expiry has no say any more.
            Status::NotStarted | Status::Buffered if self.execution.summary().start_time.is_some() => None,
            Status::NotStarted | Status::Buffered => self.execution.summary().start_time_expiry.map(|t| t.plus(Duration::from_millis(1))),
            Status::Running => self.execution.graph().next_wake(),
            _ => None,
        };
        self.execution.tidy();
        self.execution.graph_mut().moves += self.moves;
        self.out
    }

    fn push(&mut self, next: Move) {
        self.todo.push_back(next);
    }

    fn refuse(&mut self, why: impl Into<String>) {
        self.out.refusal = Some(why.into());
    }

    /// Waits with a stage for an instance that knows its type. Its context says so, so that nobody takes it for a hang.
    fn wait_for_type(&mut self, at: usize) {
        let stage = self.execution.stage_mut(at);
        let kind = stage.head().kind.clone();
        if stage.context().get(WAITS_FOR_TYPE).and_then(Value::as_str) != Some(kind.as_str()) {
            stage.merge_context(Object::from_iter([(WAITS_FOR_TYPE.to_owned(), kind.as_str().into())]));
            self.out.waits_for_type.get_or_insert(kind);
        }
        self.execution.graph_mut().set_wake(at, Some(self.world.now.plus(UNKNOWN_TYPE_WAIT)));
    }

    /// The type is known here.
    fn waits_no_more(&mut self, at: usize) {
        if self.execution.stage(at).context().contains_key(WAITS_FOR_TYPE) {
            self.execution.stage_mut(at).context_mut().remove(WAITS_FOR_TYPE);
        }
    }

    fn kind(&self, at: usize) -> Option<&'w dyn StageKind> {
        self.world.registry.kind(&self.execution.stage(at).head().kind).map(AsRef::as_ref)
    }

    fn task_kind(&self, at: usize, task: usize) -> Option<&'w dyn TaskKind> {
        self.kind(at)?.task(&self.execution.stage(at).tasks()[task].implementing_class)
    }

    fn view(&self, at: usize) -> View<'_> {
        View { execution: self.execution, at, context: self.execution.stage(at).context(), now: self.world.now, zone: self.world.zone }
    }

    fn task_view(&self, at: usize, task: usize) -> TaskView<'_> {
        TaskView { stage: self.view(at), task_at: task }
    }
}
