//! The one way into the store: a fenced write, sent until the store says yes or no.
//!
//! What must stay true: while it is under way, what else is under way goes on, and nothing new begins.

use std::future::Future;
use std::sync::Arc;

use futures::StreamExt;
use tracing::error;
use tracing::warn;

use super::Exit;
use super::Owner;
use crate::model::Timestamp;
use crate::orchestrator::engine::event::Event;
use crate::orchestrator::engine::event::Notice;
use crate::orchestrator::runner::pause::Pause;
use crate::orchestrator::runner::start::MOST_BYTES;
use crate::orchestrator::store::StoreError;
use crate::orchestrator::store::Then;
use crate::orchestrator::store::Write;
use crate::orchestrator::store::WriteError;
use crate::orchestrator::store::record;

/// What became of a write that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is in the store, or there was nothing to write.
    Kept,
    /// The store refuses it for good. The execution is what the store holds of it again, and is told to end.
    Refused,
}

impl Owner {
    /// One fenced write of all that changed, sent until the store says yes or no.
    pub(super) async fn write(&mut self, notices: Vec<Notice>, then: Then) -> Result<Written, Exit> {
        let changes = self.execution.take_changes();
        if changes.is_empty() && notices.is_empty() && self.seen == self.acknowledged && then == Then::Keep {
            return Ok(Written::Kept);
        }
        self.writes += 1;
        let (number, taken) = (self.writes, self.seen);
        let mut pause = Pause::new(self.lease.epoch ^ self.turn);
        loop {
            let store = Arc::clone(&self.shared.store);
            // Made for every try, from what does not change meanwhile: a copy kept for the next try, which hardly ever comes, costs every write.
            let fields = record::encode_changes(&self.execution, &changes);
            let bytes: usize = fields.set.iter().map(|(name, value)| name.len() + value.len()).sum();
            if bytes > MOST_BYTES {
                return self.condemn(format!("{bytes} bytes in one write; at most {MOST_BYTES} go")).await;
            }
            let write = Write {
                lease: self.lease.clone(),
                number,
                set: fields.set,
                remove: fields.remove,
                stage_index: fields.stage_index,
                listing: changes.summary.then(|| record::listing(&self.execution)),
                taken,
                notices: notices.clone(),
                then: then.clone(),
            };
            match self.meanwhile(store.write(write)).await {
                Ok(()) => {
                    self.acknowledged = taken;
                    return Ok(Written::Kept);
                }
                Err(WriteError::Fenced) => {
                    warn!(execution = %self.execution.id, epoch = self.lease.epoch, "another session owns this execution now; all work on it stops here");
                    return Err(Exit::Fenced);
                }
                Err(WriteError::Store(StoreError::LostData(_))) => return Err(Exit::Lost),
                Err(WriteError::Store(StoreError::Refused(why))) => return self.condemn(why).await,
                Err(WriteError::Store(error @ (StoreError::Unavailable(_) | StoreError::Full(_) | StoreError::Unreadable(_)))) => {
                    if pause.is_first() {
                        warn!(execution = %self.execution.id, %error, "a write did not reach the store; the execution is held until it does");
                    }
                }
            }
            self.rest(&mut pause).await?;
        }
    }

    /// A write that will never be kept: goes back to what the store holds, and has the execution end with the reason. Its effects were recorded before, so
    /// what is under way is told to stop as in a cancel.
    async fn condemn(&mut self, why: String) -> Result<Written, Exit> {
        if std::mem::replace(&mut self.condemned, true) {
            return Err(Exit::Refused);
        }
        error!(execution = %self.execution.id, why, "the store refuses for good to keep what this execution came to; it ends TERMINAL (runbooks/record-refused.md)");
        let mut pause = Pause::new(self.lease.epoch ^ self.turn);
        let record = loop {
            let store = Arc::clone(&self.shared.store);
            let id = self.execution.id.clone();
            match self.meanwhile(store.load(&id)).await {
                Ok(Some(record)) => break record,
                Ok(None) => return Err(Exit::Fenced),
                Err(StoreError::LostData(_)) => return Err(Exit::Lost),
                Err(_of_a_store_that_is_asked_again) => self.rest(&mut pause).await?,
            }
        };
        self.execution = record::decode(&self.execution.id, None, &record).map_err(|_| Exit::Refused)?;
        self.events.clear();
        self.events.push_back(Event::Unkept { why: format!("the store refuses to keep what the execution came to: {why}") });
        // Messages taken with it were not: they are read again.
        self.seen = self.acknowledged;
        self.mail.messages();
        Ok(Written::Refused)
    }

    /// A pause between two tries; less when the owner is to go without a word.
    async fn rest(&mut self, pause: &mut Pause) -> Result<(), Exit> {
        self.starting = None;
        if self.mail.orders().abandon {
            return Err(Exit::Abandoned);
        }
        let mail = Arc::clone(&self.mail);
        self.meanwhile(async {
            // Safe to cancel: neither holds anything.
            tokio::select! {
                biased;
                () = pause.wait() => {}
                () = mail.wait_for(|orders| orders.abandon) => {}
            }
        })
        .await;
        Ok(())
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

    pub(super) async fn give_back(&mut self, due: Option<Timestamp>) -> Result<Exit, Exit> {
        match self.write(vec![], Then::Park { due }).await? {
            Written::Kept => Ok(Exit::Parked(due)),
            Written::Refused => Err(Exit::Refused),
        }
    }
}
