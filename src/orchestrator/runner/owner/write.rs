//! The one way into the store: a fenced write, sent until the store says yes or no.
//!
//! What must stay true: while it is under way, what else is under way goes on, and nothing new begins.

use std::future::Future;
use std::sync::Arc;

use futures::StreamExt;
use tracing::warn;

use super::Exit;
use super::Owner;
use crate::model::Timestamp;
use crate::orchestrator::engine::event::Notice;
use crate::orchestrator::runner::pause::Pause;
use crate::orchestrator::store::StoreError;
use crate::orchestrator::store::Then;
use crate::orchestrator::store::Write;
use crate::orchestrator::store::WriteError;
use crate::orchestrator::store::record;

impl Owner {
    /// One fenced write of all that changed, sent until the store says yes or no.
    pub(super) async fn write(&mut self, notices: Vec<Notice>, then: Then) -> Result<(), Exit> {
        let changes = self.execution.take_changes();
        if changes.is_empty() && notices.is_empty() && self.seen == self.acknowledged && then == Then::Keep {
            return Ok(());
        }
        let fields = record::encode_changes(&self.execution, &changes);
        self.writes += 1;
        let write = Write {
            lease: self.lease.clone(),
            number: self.writes,
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
                Err(WriteError::Store(StoreError::LostData(_))) => return Err(Exit::Lost),
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

    pub(super) async fn give_back(&mut self, due: Option<Timestamp>) -> Result<Exit, Exit> {
        self.write(vec![], Then::Park { due }).await?;
        Ok(Exit::Parked(due))
    }
}
