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

mod finish;
mod flight;
mod write;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::StreamExt;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tracing::error;
use tracing::info;
use tracing::warn;

use super::Shared;
use super::ending;
use super::mail::Mail;
use super::pace::Starting;
use crate::model::Timestamp;
use crate::orchestrator::engine::advance::World;
use crate::orchestrator::engine::advance::advance;
use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::event::Command;
use crate::orchestrator::engine::event::Event;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::Task;
use crate::orchestrator::engine::status::Status;
use crate::orchestrator::store::Claimed;
use crate::orchestrator::store::Lease;
use crate::orchestrator::store::StoreError;
use crate::orchestrator::store::Then;
use crate::orchestrator::store::Write;
use crate::orchestrator::store::WriteError;
use crate::orchestrator::store::moves_ended;
use crate::orchestrator::store::record;
use finish::END_WITHIN;
use finish::finished;
use finish::over;
use flight::Brake;
use flight::Flight;
use flight::Report;
use write::Written;

/// What is to come so soon is waited for: giving an execution back and claiming it again costs more.
const KEEP: Duration = Duration::from_millis(50);
/// An execution this version cannot take on is looked at again after so long, by whoever is there then.
const SET_ASIDE: Duration = Duration::from_secs(60);
/// An execution whose job may still run on its last owner's host is left to that host for so long after it was adopted.
const HOST_FIRST: Duration = Duration::from_secs(2);

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
    /// The store lost what it had acknowledged: what this owner knows is not what is there. Left as at the end of a process.
    Lost,
    /// The store refuses for good what is to be written, and that the execution has ended as well.
    Refused,
}

/// Takes an execution as far as this instance can. One that a defect of ours breaks off is set aside like one that cannot be read.
pub(super) async fn own(shared: Arc<Shared>, claimed: Claimed, mail: Arc<Mail>, starting: Starting) -> Exit {
    let lease = claimed.lease.clone();
    // Nothing that a panic left half done outlives it: the owner is dropped, and the store holds whole writes.
    match AssertUnwindSafe(work(Arc::clone(&shared), claimed, Arc::clone(&mail), starting)).catch_unwind().await {
        Ok(exit) => exit,
        Err(_) => {
            error!(execution = %lease.execution, "the owner of this execution broke off; it is set aside (runbooks/engine-defect.md)");
            set_aside(&shared, &mail, lease).await
        }
    }
}

async fn work(shared: Arc<Shared>, claimed: Claimed, mail: Arc<Mail>, starting: Starting) -> Exit {
    let Claimed { lease, record, inbox, adopted } = claimed;
    let execution = match record::decode(&lease.execution, None, &record) {
        Ok(execution) => execution,
        Err(error) => {
            error!(execution = %lease.execution, %error, "this execution cannot be read; it is set aside (runbooks/unreadable-execution.md)");
            drop(starting);
            return set_aside(&shared, &mail, lease).await;
        }
    };
    let mut owner = Owner {
        writes: 0,
        seen: 0,
        acknowledged: 0,
        flight: Flight::new(),
        brakes: HashMap::new(),
        undoing: BTreeMap::new(),
        reports: VecDeque::new(),
        events: VecDeque::new(),
        wake: None,
        turn: 0,
        unreadable: false,
        ask_again: None,
        told: false,
        left: false,
        ends: None,
        condemned: false,
        starting: Some(starting),
        shared,
        lease,
        execution,
        mail,
    };
    match owner.run(inbox, adopted).await {
        Ok(exit) => exit,
        Err(Exit::Refused) => {
            error!(execution = %owner.execution.id, "the store keeps nothing of this execution any more; it is set aside (runbooks/record-refused.md)");
            owner.stop_all().await;
            set_aside(&owner.shared, &owner.mail, owner.lease).await
        }
        Err(exit) => {
            // An owner that has a successor in this very process only lets go: what it would stop is what that one attaches to.
            if exit == Exit::Fenced && !owner.mail.orders().abandon {
                owner.stop_all().await;
            }
            exit
        }
    }
}

/// Holds what this version cannot take on for a while, so that it is not claimed again at once, then gives it back.
async fn set_aside(shared: &Shared, mail: &Mail, lease: Lease) -> Exit {
    tokio::select! {
        biased;
        () = tokio::time::sleep(SET_ASIDE) => {}
        () = mail.wait_for(|orders| orders.hand_back) => {}
    }
    let due = Some(shared.clock.now().plus(SET_ASIDE));
    let write = Write {
        lease,
        // Behind all that were written before it broke off.
        number: u32::MAX,
        set: vec![],
        remove: vec![],
        stage_index: None,
        listing: None,
        taken: 0,
        notices: vec![],
        then: Then::Park { due },
    };
    match shared.store.write(write).await {
        Ok(()) => Exit::Parked(due),
        Err(WriteError::Fenced) => Exit::Fenced,
        Err(WriteError::Store(StoreError::LostData(_))) => Exit::Lost,
        Err(WriteError::Store(_)) => Exit::Abandoned,
    }
}

struct Owner {
    shared: Arc<Shared>,
    lease: Lease,
    /// How many writes this ownership made.
    writes: u32,
    execution: Execution,
    mail: Arc<Mail>,
    /// Messages up to this number are in `events` or behind it.
    seen: u64,
    /// Messages up to this number were taken with a write.
    acknowledged: u64,
    flight: Flight,
    /// Of attempts under way.
    brakes: HashMap<AttemptKey, Brake>,
    /// Undoings under way; each is left to the next owner when it is told to.
    undoing: BTreeMap<AttemptKey, CancellationToken>,
    reports: VecDeque<Report>,
    events: VecDeque<Event>,
    wake: Option<Timestamp>,
    turn: u64,
    /// A message to it could not be read; that was said.
    unreadable: bool,
    /// When to ask for a slot again; `Some` = it was asked for, and there was none.
    ask_again: Option<Timestamp>,
    /// It had ended before this ownership, and all who wait for that have heard of it.
    told: bool,
    /// Something of it is for the next instance to begin, now: what was stopped here, or not begun.
    left: bool,
    /// It has ended: what is still under way then is waited for so long.
    ends: Option<Pin<Box<Sleep>>>,
    /// The store refused a write for good, and the execution is to end for it.
    condemned: bool,
    /// It has not come to rest since it was claimed.
    starting: Option<Starting>,
}

impl Owner {
    /// `Err` = it can go on no further here.
    async fn run(&mut self, inbox: Vec<(u64, Message)>, adopted: bool) -> Result<Exit, Exit> {
        let lost_attempts = self.attempts_elsewhere();
        if adopted && lost_attempts == Elsewhere::Job {
            return self.give_back(Some(self.shared.clock.now().plus(HOST_FIRST))).await;
        }
        let over = self.execution.status().is_complete();
        // Only these outlive a finish; what an owner left untold brings it back as adopted, or with other messages, or none.
        self.told = over && !adopted && !inbox.is_empty() && inbox.iter().all(|(_, message)| moves_ended(message));
        if !over || !inbox.is_empty() || lost_attempts != Elsewhere::None {
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
        let before = self.execution.status();
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
            if let Some(kind) = advanced.waits_for_type {
                let execution = &self.execution.id;
                warn!(%execution, kind, "a stage waits for an instance that knows its type; this version does not (runbooks/unknown-stage-type.md)");
            }
            self.wake = advanced.wake;
            commands.extend(advanced.commands);
        }
        self.tell_of_a_move(before);
        commands
    }

    /// One line for each change of status. A write that is refused afterwards is a line of its own.
    fn tell_of_a_move(&self, before: Status) {
        let (summary, status) = (self.execution.summary(), self.execution.status());
        if status != before {
            let (application, pipeline, reason) = (&summary.application, &summary.name, &summary.cancellation_reason);
            info!(execution = %self.execution.id, application, pipeline, from = %before, %status, reason, "execution moved");
        }
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
                Command::Reopened { .. } => {
                    self.told = false;
                    begin.push(command);
                }
                Command::Ended { .. } => {}
                // It waits already: asking in this ownership gives the same answer.
                Command::Admit { .. } if self.ask_again.is_some() => {}
                Command::Admit { .. } | Command::Perform { .. } | Command::Abort { .. } | Command::Undo { .. } => begin.push(command),
            }
        }
        let hand_back = self.mail.orders().hand_back;
        if hand_back {
            begin.retain(|command| match command {
                // Asking what became of a job is no new work; and a job that is alive here must not be taken for lost elsewhere.
                Command::Perform { effect: Effect::AttachJob { .. }, .. } => true,
                Command::Perform { key, .. } => {
                    self.recall(key);
                    false
                }
                Command::Admit { .. } => {
                    self.left = true;
                    false
                }
                Command::Abort { .. } | Command::Undo { .. } | Command::Notify(_) | Command::Ended { .. } | Command::Reopened { .. } => {
                    true
                }
            });
        }
        let begins = begin.iter().any(|command| !matches!(command, Command::Abort { .. }));
        let quiet = self.flight.is_empty() && self.reports.is_empty() && !begins;
        let then = match ended {
            true if quiet && self.left => Then::Park { due: Some(self.shared.clock.now()) },
            true if quiet && (self.told || ending::concerns_nobody(&self.execution, &self.shared)) => Then::Finish,
            false if quiet => self.park(),
            true | false => Then::Keep,
        };
        let tells = !notices.is_empty();
        if self.write(notices, then.clone()).await? == Written::Refused {
            return Ok(None);
        }
        if tells {
            self.shared.bell.notify_one();
        }
        match then {
            Then::Finish => {
                finished(&self.shared, &self.execution).await;
                return Ok(Some(Exit::Finished));
            }
            Then::Park { due } => return Ok(Some(Exit::Parked(due))),
            Then::Keep => {}
        }
        for command in begin {
            self.begin(command);
        }
        if ended && self.flight.is_empty() && self.reports.is_empty() && self.events.is_empty() {
            return self.end().await.map(Some);
        }
        if ended && self.ends.is_none() {
            self.ends = Some(Box::pin(tokio::time::sleep(END_WITHIN)));
        }
        Ok(None)
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
            if self.starting.is_some() {
                // What is there already is no rest.
                if let Some(Some(report)) = self.flight.next().now_or_never() {
                    self.reports.push_back(report);
                    continue;
                }
                self.starting = None;
            }
            let timer = self.wake.map(|wake| wake.since(self.shared.clock.now()));
            // Safe to cancel: a report that is not taken stays in the flight, and orders stay until they are read.
            tokio::select! {
                biased;
                Some(report) = self.flight.next(), if !self.flight.is_empty() => self.reports.push_back(report),
                () = self.mail.rung() => {}
                () = over(&mut self.ends) => self.cut_off(),
                () = tokio::time::sleep(timer.unwrap_or_default()), if timer.is_some() => {
                    self.wake = None;
                    self.events.push_back(Event::Tick);
                }
            }
        }
        Ok(())
    }

    fn attempts_elsewhere(&self) -> Elsewhere {
        let undoes = |task: &Task| task.undoing.is_some();
        let undoing = self.execution.stages().iter().any(|stage| stage.tasks().iter().any(undoes));
        let attempts = self.execution.stages().iter().filter(|s| !s.status().is_complete()).flat_map(|s| s.tasks());
        let mut found = if undoing { Elsewhere::Some } else { Elsewhere::None };
        for attempt in attempts.filter_map(|task| task.attempt.as_ref()).filter(|attempt| attempt.in_flight) {
            let job = matches!(attempt.effect.as_str(), "job" | "attachJob");
            if job && attempt.instance != self.lease.session.instance {
                return Elsewhere::Job;
            }
            found = Elsewhere::Some;
        }
        found
    }
}

/// Attempts and undoings in flight of an owner before us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Elsewhere {
    None,
    Some,
    /// A job among them, on another instance.
    Job,
}
