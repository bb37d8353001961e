//! One owned execution: events in, `advance`, one fenced write, then what it asked for.
//!
//! ```text
//!   claimed ─▶ events ─▶ advance ─▶ write ─▶ effects, admission, undoing ─▶ reports ─▶ events …
//!                                     │
//!                                     ├─▶ parked: nothing under way, and nothing to come within a moment
//!                                     └─▶ ended: who waits for it is told, then it is given up
//! ```
//!
//! What must stay true:
//! * Nothing begins outside before the write that tells of it was acknowledged; the result of one attempt and the next attempt are one write.
//! * A fenced write ends everything: what is under way is told to stop, what came of it is thrown away.
//! * While the store does not answer, the same write is sent again and again, what is under way goes on, and nothing new begins.
//! * What is handed back carries no attempt that never began: whoever takes it next would have to treat it as lost.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;
use tracing::error;
use tracing::info;
use tracing::warn;

use super::Shared;
use super::ending;
use super::mail::Mail;
use super::pause::Pause;
use super::pause::spread;
use crate::model::Timestamp;
use crate::orchestrator::engine::advance::World;
use crate::orchestrator::engine::advance::advance;
use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::event::Command;
use crate::orchestrator::engine::event::Event;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::event::Notice;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::seed;
use crate::orchestrator::engine::stage::TaskView;
use crate::orchestrator::engine::stage::View;
use crate::orchestrator::engine::status::Status;
use crate::orchestrator::store::Admission;
use crate::orchestrator::store::Claimed;
use crate::orchestrator::store::Lease;
use crate::orchestrator::store::StoreError;
use crate::orchestrator::store::Then;
use crate::orchestrator::store::Write;
use crate::orchestrator::store::WriteError;
use crate::orchestrator::store::moves_ended;
use crate::orchestrator::store::record;

/// What is to come so soon is waited for: giving an execution back and claiming it again costs more.
const KEEP: Duration = Duration::from_millis(50);
/// How long what a cancelled execution wants stopped or undone may take before the execution ends without it.
const END_WITHIN: Duration = Duration::from_secs(60);
/// An undoing is tried so often.
const UNDO_TRIES: u32 = 5;
/// An execution this version cannot take on is looked at again after so long, by whoever is there then.
const SET_ASIDE: Duration = Duration::from_secs(60);
/// An execution whose job may still run on its last owner's host is left to that host for so long after it was adopted.
const HOST_FIRST: Duration = Duration::from_secs(2);
/// An execution that waits for a slot asks again after this, and up to twice it: an owner may have died between freeing a slot and handing it on.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// After the store did not say whether a slot is free.
const ASK_AFTER_ERROR: Duration = Duration::from_secs(1);

/// How an ownership came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Given back, to be looked at then.
    Parked(Option<Timestamp>),
    /// It ended.
    Finished,
    /// Another session owns it now.
    Fenced,
    /// Left without a word, since the process ends and the store does not answer.
    Abandoned,
}

/// What came of something under way.
enum Report {
    Outcome {
        key: AttemptKey,
        outcome: Outcome,
    },
    /// Stopped so that another instance can begin it anew.
    Left(AttemptKey),
    Undone,
    Admission(Result<Admission, StoreError>),
    Inbox(Result<Vec<(u64, Message)>, StoreError>),
}

type Flight = FuturesUnordered<Pin<Box<dyn Future<Output = Report> + Send>>>;

/// Stops an attempt, for one of two reasons.
#[derive(Clone, Default)]
struct Brake {
    stop: CancellationToken,
    leave: CancellationToken,
}

/// Takes an execution as far as this instance can. One that a defect of ours breaks off is set aside like one that cannot be read.
pub(super) async fn own(shared: Arc<Shared>, claimed: Claimed, mail: Arc<Mail>) -> Exit {
    let lease = claimed.lease.clone();
    // Nothing that a panic left half done outlives it: the owner is dropped, and the store holds whole writes.
    match AssertUnwindSafe(work(Arc::clone(&shared), claimed, Arc::clone(&mail))).catch_unwind().await {
        Ok(exit) => exit,
        Err(_) => {
            error!(execution = %lease.execution, "the owner of this execution broke off; it is set aside (runbooks/engine-defect.md)");
            set_aside(&shared, &mail, lease).await
        }
    }
}

async fn work(shared: Arc<Shared>, claimed: Claimed, mail: Arc<Mail>) -> Exit {
    let Claimed { lease, record, inbox, adopted } = claimed;
    let execution = match record::decode(&lease.execution, None, &record) {
        Ok(execution) => execution,
        Err(error) => {
            error!(execution = %lease.execution, %error, "this execution cannot be read; it is set aside (runbooks/unreadable-execution.md)");
            return set_aside(&shared, &mail, lease).await;
        }
    };
    let mut owner = Owner {
        seen: 0,
        acknowledged: 0,
        flight: Flight::new(),
        brakes: HashMap::new(),
        reports: VecDeque::new(),
        events: VecDeque::new(),
        wake: None,
        turn: 0,
        ask_again: None,
        told: false,
        left: false,
        shared,
        lease,
        execution,
        mail,
    };
    match owner.run(inbox, adopted).await {
        Ok(exit) => exit,
        Err(exit) => {
            if exit == Exit::Fenced {
                owner.stop_all().await;
            }
            exit
        }
    }
}

/// Holds what this version cannot take on for a while, so that it is not claimed again at once, then gives it back.
async fn set_aside(shared: &Shared, mail: &Mail, lease: Lease) -> Exit {
    tokio::select! {
        () = tokio::time::sleep(SET_ASIDE) => {}
        () = mail.wait_for(|orders| orders.hand_back) => {}
    }
    let due = Some(shared.clock.now().plus(SET_ASIDE));
    let write =
        Write { lease, set: vec![], remove: vec![], stage_index: None, listing: None, taken: 0, notices: vec![], then: Then::Park { due } };
    match shared.store.write(write).await {
        Ok(()) => Exit::Parked(due),
        Err(WriteError::Fenced) => Exit::Fenced,
        Err(WriteError::Store(_)) => Exit::Abandoned,
    }
}

struct Owner {
    shared: Arc<Shared>,
    lease: Lease,
    execution: Execution,
    mail: Arc<Mail>,
    /// Messages up to this number are in `events` or behind it.
    seen: u64,
    /// Messages up to this number were taken with a write.
    acknowledged: u64,
    flight: Flight,
    brakes: HashMap<AttemptKey, Brake>,
    reports: VecDeque<Report>,
    events: VecDeque<Event>,
    wake: Option<Timestamp>,
    turn: u64,
    /// When to ask for a slot again; `Some` = it was asked for, and there was none.
    ask_again: Option<Timestamp>,
    /// It had ended before this ownership, and all who wait for that have heard of it.
    told: bool,
    /// Something of it is for the next instance to begin, now: what was stopped here, or not begun.
    left: bool,
}

impl Owner {
    /// `Err` = lost: stop everything.
    async fn run(&mut self, inbox: Vec<(u64, Message)>, adopted: bool) -> Result<Exit, Exit> {
        let lost_attempts = self.attempts_elsewhere();
        if adopted && lost_attempts == Elsewhere::Job {
            return self.give_back(Some(self.shared.clock.now().plus(HOST_FIRST))).await;
        }
        let over = self.execution.status().is_complete();
        // Only these outlive a finish; what an owner left untold brings it back as adopted, or with other messages, or none.
        self.told = over && !adopted && !inbox.is_empty() && inbox.iter().all(|(_, message)| moves_ended(message));
        if !over || !inbox.is_empty() {
            self.events.push_back(if adopted || lost_attempts != Elsewhere::None { Event::Adopted } else { Event::Tick });
            self.take_messages(inbox);
        } else {
            return self.end().await;
        }
        loop {
            let asked = self.take_events();
            if let Some(exit) = self.settle(asked).await? {
                return Ok(exit);
            }
            self.next().await?;
        }
    }

    fn take_messages(&mut self, messages: Vec<(u64, Message)>) {
        for (number, message) in messages {
            if number > self.seen {
                self.seen = number;
                self.events.push_back(Event::Message(message));
            }
        }
    }

    /// Takes the execution through all that happened.
    fn take_events(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        while let Some(event) = self.events.pop_front() {
            self.turn += 1;
            let world = World {
                registry: &self.shared.registry,
                now: self.shared.clock.now(),
                zone: &self.shared.zone,
                instance: &self.lease.session.instance,
                seed: self.lease.epoch.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(self.turn),
            };
            let advanced = advance(&mut self.execution, event, &world);
            if let Some(why) = advanced.refusal {
                info!(execution = %self.execution.id, why, "a message was not followed");
            }
            self.wake = advanced.wake;
            commands.extend(advanced.commands);
        }
        commands
    }

    /// Writes what changed, then has done what was asked for. `Some`: the ownership is over.
    async fn settle(&mut self, commands: Vec<Command>) -> Result<Option<Exit>, Exit> {
        let mut notices = Vec::new();
        let mut begin = Vec::new();
        // Also one whose last owner wrote the end and died before it told anybody.
        let ended = self.execution.status().is_complete();
        if self.execution.status() != Status::NotStarted && self.execution.status() != Status::Buffered {
            self.ask_again = None;
        }
        for command in commands {
            match command {
                Command::Notify(notice) => notices.push(notice),
                Command::Reopened => self.told = false,
                Command::Ended { .. } => {}
                // It waits already: asking in this ownership gives the same answer.
                Command::Admit { .. } if self.ask_again.is_some() => {}
                Command::Admit { .. } | Command::Perform { .. } | Command::Abort { .. } | Command::Undo { .. } => begin.push(command),
            }
        }
        let hand_back = self.mail.orders().hand_back;
        if hand_back {
            begin.retain(|command| match command {
                Command::Perform { key, effect } => {
                    self.recall(key, effect);
                    false
                }
                Command::Admit { .. } => {
                    self.left = true;
                    false
                }
                Command::Abort { .. } | Command::Undo { .. } | Command::Notify(_) | Command::Ended { .. } | Command::Reopened => true,
            });
        }
        let begins = begin.iter().any(|command| !matches!(command, Command::Abort { .. }));
        let quiet = self.flight.is_empty() && self.reports.is_empty() && !begins;
        let then = match ended {
            true if quiet && (self.told || ending::concerns_nobody(&self.execution, &self.shared)) => Then::Finish,
            false if quiet => self.park(),
            true | false => Then::Keep,
        };
        let tells = !notices.is_empty();
        self.write(notices, then.clone()).await?;
        if tells {
            self.shared.bell.notify_one();
        }
        match then {
            Then::Finish => {
                hand_on_slot(&self.shared, &self.execution).await;
                return Ok(Some(Exit::Finished));
            }
            Then::Park { due } => return Ok(Some(Exit::Parked(due))),
            Then::Keep => {}
        }
        for command in begin {
            self.begin(command);
        }
        if ended { self.end().await.map(Some) } else { Ok(None) }
    }

    /// What becomes of an execution with nothing under way.
    fn park(&self) -> Then {
        let now = self.shared.clock.now();
        let due = match self.wake {
            _ if self.left => Some(now),
            Some(wake) if wake <= now.plus(KEEP) && !self.mail.orders().hand_back => return Then::Keep,
            Some(_) | None => self.wake.into_iter().chain(self.ask_again).min(),
        };
        Then::Park { due }
    }

    fn begin(&mut self, command: Command) {
        match command {
            Command::Perform { key, effect } => self.perform(key, effect),
            Command::Abort { key } => {
                if let Some(brake) = self.brakes.get(&key) {
                    brake.stop.cancel();
                }
            }
            Command::Undo { key, effect } => {
                let shared = Arc::clone(&self.shared);
                self.flight.push(Box::pin(async move {
                    undo(&shared, &key, effect).await;
                    Report::Undone
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
            Command::Notify(_) | Command::Ended { .. } | Command::Reopened => {}
        }
    }

    fn perform(&mut self, key: AttemptKey, effect: Effect) {
        let brake = Brake::default();
        self.brakes.insert(key.clone(), brake.clone());
        let performer = Arc::clone(&self.shared.performer);
        self.flight.push(Box::pin(async move {
            let outcome = performer.perform(&key, effect, &brake.stop).await;
            if brake.leave.is_cancelled() { Report::Left(key) } else { Report::Outcome { key, outcome } }
        }));
    }

    /// Waits until there is an event.
    async fn next(&mut self) -> Result<(), Exit> {
        while self.events.is_empty() {
            let orders = self.mail.orders();
            if orders.abandon {
                return Err(Exit::Abandoned);
            }
            if orders.messages {
                self.mail.take_messages();
                self.ask_inbox();
            }
            if orders.leave {
                self.leave_movable();
            }
            if let Some(report) = self.reports.pop_front() {
                self.hear(report);
                self.hear_ready();
                continue;
            }
            if self.flight.is_empty() && self.wake.is_none_or(|wake| orders.hand_back || wake > self.shared.clock.now().plus(KEEP)) {
                // What was under way came to nothing that is an event: look again, and be parked.
                self.events.push_back(Event::Tick);
                break;
            }
            let timer = self.wake.map(|wake| wake.since(self.shared.clock.now()));
            // Safe to cancel: a report that is not taken stays in the flight, and orders stay until they are read.
            tokio::select! {
                Some(report) = self.flight.next(), if !self.flight.is_empty() => self.reports.push_back(report),
                () = self.mail.rung() => {}
                () = tokio::time::sleep(timer.unwrap_or_default()), if timer.is_some() => {
                    self.wake = None;
                    self.events.push_back(Event::Tick);
                }
            }
        }
        Ok(())
    }

    /// Takes what else is there already, so that one write serves it all.
    fn hear_ready(&mut self) {
        while let Some(report) = self.reports.pop_front().or_else(|| self.flight.next().now_or_never().flatten()) {
            self.hear(report);
        }
    }

    fn hear(&mut self, report: Report) {
        match report {
            Report::Outcome { key, outcome } => {
                self.brakes.remove(&key);
                self.events.push_back(Event::Done { key, outcome });
            }
            Report::Left(key) => {
                self.brakes.remove(&key);
                self.left = true;
            }
            Report::Undone => {}
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
            Report::Inbox(Err(error)) => {
                // The runner rings again as long as messages wait.
                warn!(execution = %self.execution.id, %error, "the inbox could not be read; it is read again");
            }
        }
    }

    fn ask_inbox(&mut self) {
        let shared = Arc::clone(&self.shared);
        let (lease, after) = (self.lease.clone(), self.seen);
        self.flight.push(Box::pin(async move { Report::Inbox(shared.store.inbox(&lease, after).await) }));
    }

    /// Stops the attempts that may begin anew elsewhere.
    fn leave_movable(&self) {
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
    fn recall(&mut self, key: &AttemptKey, effect: &Effect) {
        let now = self.shared.clock.now();
        let Some(at) = self.execution.place(&key.stage) else { return };
        let task = self.execution.stage_mut(at).tasks_mut().iter_mut().find(|task| task.id == key.task);
        if let Some(task) = task
            && let Some(attempt) = task.attempt.as_mut().filter(|attempt| attempt.number == key.number)
        {
            // One that asks for a job stays lost: begun without asking, the job would run a second time.
            attempt.in_flight = matches!(effect, Effect::AttachJob { .. });
            task.due = Some(now);
        }
        self.left = true;
    }

    fn attempts_elsewhere(&self) -> Elsewhere {
        let attempts = self.execution.stages().iter().filter(|s| !s.status().is_complete()).flat_map(|s| s.tasks());
        let mut found = Elsewhere::None;
        for attempt in attempts.filter_map(|task| task.attempt.as_ref()).filter(|attempt| attempt.in_flight) {
            let job = matches!(attempt.effect.as_str(), "job" | "attachJob");
            if job && attempt.instance != self.lease.session.instance {
                return Elsewhere::Job;
            }
            found = Elsewhere::Some;
        }
        found
    }

    /// Tells those that wait for the end, then gives the execution up. All of it may be done again by another owner after a crash.
    async fn end(&mut self) -> Result<Exit, Exit> {
        let deadline = tokio::time::sleep(END_WITHIN);
        tokio::pin!(deadline);
        while !self.flight.is_empty() {
            // Safe to cancel: what is still under way is dropped with the ownership.
            tokio::select! {
                Some(_of_no_use_any_more) = self.flight.next() => {}
                () = &mut deadline => {
                    warn!(execution = %self.execution.id, limit_s = END_WITHIN.as_secs(), "what the ended execution had under way did not stop in time");
                    break;
                }
            }
        }
        let mut pause = Pause::new(self.lease.epoch);
        while !self.told
            && let Err(error) = ending::tell(&self.execution, &self.shared).await
        {
            if self.mail.orders().hand_back {
                return self.give_back(Some(self.shared.clock.now())).await;
            }
            warn!(execution = %self.execution.id, %error, "those that wait for the end of an execution could not be told; again soon");
            pause.wait().await;
        }
        self.write(vec![], Then::Finish).await?;
        hand_on_slot(&self.shared, &self.execution).await;
        Ok(Exit::Finished)
    }

    async fn give_back(&mut self, due: Option<Timestamp>) -> Result<Exit, Exit> {
        self.write(vec![], Then::Park { due }).await?;
        Ok(Exit::Parked(due))
    }

    /// One fenced write of all that changed, sent until the store says yes or no.
    async fn write(&mut self, notices: Vec<Notice>, then: Then) -> Result<(), Exit> {
        let changes = self.execution.take_changes();
        if changes.is_empty() && notices.is_empty() && self.seen == self.acknowledged && then == Then::Keep {
            return Ok(());
        }
        let fields = record::encode_changes(&self.execution, &changes);
        let write = Write {
            lease: self.lease.clone(),
            set: fields.set,
            remove: fields.remove,
            stage_index: fields.stage_index,
            listing: changes.summary.then(|| record::listing(&self.execution)),
            taken: self.seen,
            notices,
            then,
        };
        let mut pause = Pause::new(self.lease.epoch ^ self.turn);
        loop {
            let store = Arc::clone(&self.shared.store);
            match self.meanwhile(store.write(write.clone())).await {
                Ok(()) => {
                    self.acknowledged = self.seen;
                    return Ok(());
                }
                Err(WriteError::Fenced) => {
                    warn!(execution = %self.execution.id, epoch = self.lease.epoch, "another session owns this execution now; all work on it stops here");
                    return Err(Exit::Fenced);
                }
                Err(WriteError::Store(error)) => {
                    if pause.is_first() {
                        warn!(execution = %self.execution.id, %error, "a write did not reach the store; the execution is held until it does");
                    }
                }
            }
            if self.mail.orders().abandon {
                return Err(Exit::Abandoned);
            }
            let mail = Arc::clone(&self.mail);
            self.meanwhile(async {
                // Safe to cancel: neither holds anything.
                tokio::select! {
                    () = pause.wait() => {}
                    () = mail.wait_for(|orders| orders.abandon) => {}
                }
            })
            .await;
        }
    }

    /// Waits for something while what is under way goes on.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> T {
        tokio::pin!(what);
        loop {
            // Safe to cancel: a report that is not taken stays in the flight.
            tokio::select! {
                biased;
                done = &mut what => return done,
                Some(report) = self.flight.next(), if !self.flight.is_empty() => self.reports.push_back(report),
            }
        }
    }

    /// Stops what is under way and waits, for a while, until it has stopped.
    async fn stop_all(&mut self) {
        for brake in self.brakes.values() {
            brake.stop.cancel();
        }
        let stopped = async { while self.flight.next().await.is_some() {} };
        if tokio::time::timeout(END_WITHIN, stopped).await.is_err() {
            warn!(execution = %self.execution.id, "what was under way did not stop in time");
        }
    }
}

/// Attempts in flight of an owner before us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Elsewhere {
    None,
    Some,
    /// A job among them, on another instance.
    Job,
}

/// The slot of an execution that ended is free: the next one of its definition is told.
async fn hand_on_slot(shared: &Shared, execution: &Execution) {
    let summary = execution.summary();
    let (Some(config), Some(limit)) = (&summary.pipeline_config_id, summary.limit()) else { return };
    if let Err(error) = shared.store.start_waiting(config, limit, summary.keep_waiting_pipelines).await {
        // Those that wait ask again by themselves.
        warn!(execution = %execution.id, %error, "the next execution of this pipeline could not be told that a slot is free");
    }
}

/// At least once, unless it keeps failing.
async fn undo(shared: &Shared, key: &AttemptKey, effect: Effect) {
    let mut pause = Pause::new(0);
    let never = CancellationToken::new();
    for _ in 0..UNDO_TRIES {
        match shared.performer.perform(key, effect.clone(), &never).await {
            Outcome::Failed { error, retryable } => {
                warn!(execution = %key.execution, stage = %key.stage, error, retryable, "what a cancelled stage wants undone failed");
                if !retryable {
                    return;
                }
            }
            Outcome::Http { .. }
            | Outcome::Fetched { .. }
            | Outcome::Job { .. }
            | Outcome::JobLost
            | Outcome::Started { .. }
            | Outcome::Execution { .. }
            | Outcome::NotFound { .. }
            | Outcome::Sizes { .. }
            | Outcome::Done { .. } => return,
        }
        pause.wait().await;
    }
}
