//! What an owned execution has under way: attempts, questions to the store, undoing; and what came of them.
//!
//! What must stay true: an attempt has a brake as long as it is under way; what is stopped so that it may begin anew elsewhere gives no outcome.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;
use tracing::error;
use tracing::warn;

use super::Owner;
use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::event::Command;
use crate::orchestrator::engine::event::Event;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::seed;
use crate::orchestrator::engine::stage::TaskView;
use crate::orchestrator::engine::stage::View;
use crate::orchestrator::runner::Shared;
use crate::orchestrator::runner::counts;
use crate::orchestrator::runner::ending;
use crate::orchestrator::runner::pause::Pause;
use crate::orchestrator::runner::pause::spread;
use crate::orchestrator::store::Admission;
use crate::orchestrator::store::StoreError;

/// An undoing outside that keeps failing is given up after so long, and the stage says so.
const UNDO_WITHIN: Duration = Duration::from_secs(45);
/// An execution that waits for a slot asks again after this, and up to twice it: an owner may have died between freeing a slot and handing it on.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// After the store did not say whether a slot is free.
const ASK_AFTER_ERROR: Duration = Duration::from_secs(1);

/// What came of something under way.
pub(super) enum Report {
    Outcome {
        key: AttemptKey,
        outcome: Outcome,
    },
    /// Stopped so that another instance can begin it anew.
    Left(AttemptKey),
    Undone {
        key: AttemptKey,
        failed: Option<String>,
    },
    /// Others were told of a restart.
    Told,
    Admission(Result<Admission, StoreError>),
    Inbox(Result<Vec<(u64, Message)>, StoreError>),
}

pub(super) type Flight = FuturesUnordered<Pin<Box<dyn Future<Output = Report> + Send>>>;

/// Stops an attempt, for one of two reasons.
#[derive(Clone, Default)]
pub(super) struct Brake {
    pub(super) stop: CancellationToken,
    leave: CancellationToken,
}

impl Owner {
    pub(super) fn begin(&mut self, command: Command) {
        match command {
            Command::Perform { key, effect } => self.perform(key, effect),
            Command::Abort { key } => {
                if let Some(brake) = self.brakes.get(&key) {
                    brake.stop.cancel();
                }
            }
            Command::Undo { key, effect } => {
                let brake = Brake::default();
                self.undoing.insert(key.clone(), brake.leave.clone());
                let shared = Arc::clone(&self.shared);
                self.flight.push(Box::pin(async move {
                    // Safe to cancel: it is still recorded as to be done, and is done again by the next owner.
                    tokio::select! {
                        biased;
                        failed = undo(&shared, &key, effect) => Report::Undone { key, failed },
                        () = brake.leave.cancelled() => Report::Left(key),
                    }
                }));
            }
            Command::Admit { pipeline_config_id, limit } => {
                let shared = Arc::clone(&self.shared);
                let lease = self.lease.clone();
                let keep = self.execution.summary().keep_waiting_pipelines;
                self.flight.push(Box::pin(async move {
                    let admission = match shared.store.admit(&lease, &pipeline_config_id, limit).await {
                        // A slot that was freed and never handed on would stay free for ever: who waits hands it on.
                        Ok(Admission::Wait) => shared.store.start_waiting(&pipeline_config_id, limit, keep).await.map(|()| Admission::Wait),
                        Ok(Admission::Go) => Ok(Admission::Go),
                        Err(error) => Err(error),
                    };
                    Report::Admission(admission)
                }));
            }
            Command::Reopened { by } => {
                let Some((parent, stage)) = ending::parent_stage(&self.execution) else { return };
                let shared = Arc::clone(&self.shared);
                self.flight.push(Box::pin(async move {
                    let mut pause = Pause::new(seed::of(parent.as_str()));
                    while let Err(error) = ending::run_again(&parent, &stage, &by, &shared).await {
                        if !error.may_pass() {
                            warn!(execution = %parent, %stage, %error, "the stage that started this execution could not be run again with it");
                            break;
                        }
                        pause.wait().await;
                    }
                    Report::Told
                }));
            }
            Command::Notify(_) | Command::Ended { .. } => {}
        }
    }

    fn perform(&mut self, key: AttemptKey, effect: Effect) {
        let brake = Brake::default();
        self.brakes.insert(key.clone(), brake.clone());
        let shared = Arc::clone(&self.shared);
        self.flight.push(Box::pin(async move {
            let word = effect.word();
            let outcome = shared.performer.perform(&key, effect, &brake.stop).await;
            let left = brake.leave.is_cancelled();
            shared.counts.attempts.add((word, if left { "left" } else { counts::outcome(&outcome) }));
            if left { Report::Left(key) } else { Report::Outcome { key, outcome } }
        }));
    }

    /// Takes what else is there already, so that one write serves it all.
    pub(super) fn hear_ready(&mut self) {
        while let Some(report) = self.reports.pop_front().or_else(|| self.flight.next().now_or_never().flatten()) {
            self.hear(report);
        }
    }

    pub(super) fn hear(&mut self, report: Report) {
        match report {
            Report::Outcome { key, outcome } => {
                self.brakes.remove(&key);
                self.events.push_back(Event::Done { key, outcome });
            }
            Report::Left(key) => {
                self.brakes.remove(&key);
                self.undoing.remove(&key);
                self.left = true;
            }
            Report::Undone { key, failed } => {
                self.undoing.remove(&key);
                self.events.push_back(Event::Undone { key, failed });
            }
            Report::Told => {}
            Report::Admission(Ok(Admission::Go)) => {
                self.ask_again = None;
                self.events.push_back(Event::Message(Message::Admitted));
            }
            Report::Admission(Ok(Admission::Wait)) => {
                let pause = spread(ASK_AGAIN, seed::of(self.execution.id.as_str()) ^ self.lease.epoch);
                self.ask_again = Some(self.shared.clock.now().plus(pause));
            }
            Report::Admission(Err(error)) => {
                warn!(execution = %self.execution.id, %error, "the store did not say whether a slot is free; it is asked again");
                // Given back meanwhile: if it was refused because another session owns it, that write learns so.
                self.ask_again = Some(self.shared.clock.now().plus(ASK_AFTER_ERROR));
            }
            Report::Inbox(Ok(messages)) => self.take_messages(messages),
            Report::Inbox(Err(StoreError::Unreadable(why))) => {
                // What it says may be to hold: nothing new is begun, and whoever claims it next finds the message before anything else. Said once.
                if !self.unreadable {
                    self.unreadable = true;
                    warn!(execution = %self.execution.id, why, "a message to this execution cannot be read; it goes to an instance that can (runbooks/unreadable-execution.md)");
                }
                self.mail.hand_back();
            }
            Report::Inbox(Err(error)) => {
                // The runner rings again as long as messages wait.
                warn!(execution = %self.execution.id, %error, "the inbox could not be read; it is read again");
            }
        }
    }

    pub(super) fn ask_inbox(&mut self) {
        let shared = Arc::clone(&self.shared);
        let (lease, after) = (self.lease.clone(), self.seen);
        self.flight.push(Box::pin(async move { Report::Inbox(shared.store.inbox(&lease, after).await) }));
    }

    /// Stops the attempts that may begin anew elsewhere, and undoing.
    pub(super) fn leave_movable(&self) {
        self.undoing.values().for_each(CancellationToken::cancel);
        for (key, brake) in &self.brakes {
            if !brake.leave.is_cancelled() && self.may_move(key) {
                brake.leave.cancel();
                brake.stop.cancel();
            }
        }
    }

    fn may_move(&self, key: &AttemptKey) -> bool {
        let Some(at) = self.execution.place(&key.stage) else { return true };
        let stage = self.execution.stage(at);
        let Some(task_at) = stage.tasks().iter().position(|task| task.id == key.task) else { return true };
        let view = View { execution: &self.execution, at, context: stage.context(), now: self.shared.clock.now(), zone: &self.shared.zone };
        let kind = self.shared.registry.kind(&stage.head().kind);
        let task = kind.and_then(|kind| kind.task(&stage.tasks()[task_at].implementing_class));
        task.is_some_and(|task| task.may_move(&TaskView { stage: view, task_at }))
    }

    /// Takes back an attempt that was asked for and is not going to begin here.
    pub(super) fn recall(&mut self, key: &AttemptKey) {
        let now = self.shared.clock.now();
        let Some(at) = self.execution.place(&key.stage) else { return };
        let task = self.execution.stage_mut(at).tasks_mut().iter_mut().find(|task| task.id == key.task);
        if let Some(task) = task
            && let Some(attempt) = task.attempt.as_mut().filter(|attempt| attempt.number == key.number)
        {
            attempt.in_flight = false;
            task.due = Some(now);
        }
        self.left = true;
    }
}

/// At least once; why it was given up.
async fn undo(shared: &Shared, key: &AttemptKey, effect: Effect) -> Option<String> {
    // What only the store has to do is done as soon as it answers.
    let limit = if matches!(effect, Effect::CancelExecution { .. }) { Duration::MAX } else { UNDO_WITHIN };
    let mut last = String::new();
    let tries = async {
        let mut pause = Pause::new(seed::of(key.execution.as_str()));
        let never = CancellationToken::new();
        loop {
            let Outcome::Failed { error, retryable } = shared.performer.perform(key, effect.clone(), &never).await else { return None };
            if !retryable {
                return Some(error);
            }
            if pause.is_first() {
                warn!(execution = %key.execution, stage = %key.stage, error, "what a cancelled stage wants undone failed; it is tried again");
            }
            last = error;
            pause.wait().await;
        }
    };
    let failed = tokio::time::timeout(limit, tries).await;
    let given_up = failed.unwrap_or_else(|_| Some(if last.is_empty() { "it did not end in time".to_owned() } else { last }));
    if let Some(error) = &given_up {
        error!(execution = %key.execution, stage = %key.stage, error, "what a cancelled stage wants undone is given up; see the stage's undoError (runbooks/undo-given-up.md)");
    }
    given_up
}
