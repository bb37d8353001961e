//! The end of an ownership that is the end of its execution, or that somebody else put an end to.

use std::pin::Pin;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::Sleep;
use tracing::warn;

use super::Exit;
use super::Owner;
use super::flight::Flight;
use super::write::Written;
use crate::orchestrator::engine::event::Event;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::runner::Shared;
use crate::orchestrator::runner::ending;
use crate::orchestrator::runner::pause::Pause;
use crate::orchestrator::store::Then;

/// How long what a cancelled execution wants stopped or undone may take before the execution ends without it.
pub(super) const END_WITHIN: Duration = Duration::from_secs(60);

impl Owner {
    /// Tells those that wait for the end, then gives the execution up. All of it may be done again by another owner after a crash.
    pub(super) async fn end(&mut self) -> Result<Exit, Exit> {
        let mut pause = Pause::new(self.lease.epoch);
        while !self.told
            && let Err(error) = ending::tell(&self.execution, &self.shared).await
        {
            if self.mail.orders().hand_back {
                return self.give_back(Some(self.shared.clock.now())).await;
            }
            warn!(execution = %self.execution.id, %error, "those that wait for the end of an execution could not be told; again soon");
            self.starting = None;
            pause.wait().await;
        }
        if self.write(vec![], Then::Finish).await? == Written::Refused {
            return Err(Exit::Refused);
        }
        finished(&self.shared, &self.execution).await;
        Ok(Exit::Finished)
    }

    /// What an execution that ended has under way still did not stop. What it is to undo is left to another try.
    pub(super) fn cut_off(&mut self) {
        warn!(execution = %self.execution.id, limit_s = END_WITHIN.as_secs(), "what the ended execution had under way did not stop in time");
        self.left |= !self.undoing.is_empty();
        self.ends = None;
        self.flight = Flight::new();
        self.brakes.clear();
        self.undoing.clear();
        self.events.push_back(Event::Tick);
    }

    /// Stops what is under way and waits, for a while, until it has stopped.
    pub(super) async fn stop_all(&mut self) {
        self.starting = None;
        for brake in self.brakes.values() {
            brake.stop.cancel();
        }
        let stopped = async { while self.flight.next().await.is_some() {} };
        if tokio::time::timeout(END_WITHIN, stopped).await.is_err() {
            warn!(execution = %self.execution.id, "what was under way did not stop in time");
        }
    }
}

/// The end of a time that may not run: then never.
pub(super) async fn over(time: &mut Option<Pin<Box<Sleep>>>) {
    match time {
        Some(time) => time.await,
        None => std::future::pending().await,
    }
}

/// An execution was given up as ended. Its slot is free: the next one of its definition is told.
pub(super) async fn finished(shared: &Shared, execution: &Execution) {
    shared.counts.ended.add(execution.status());
    let summary = execution.summary();
    let (Some(config), Some(limit)) = (&summary.pipeline_config_id, summary.limit()) else { return };
    if let Err(error) = shared.store.start_waiting(config, limit, summary.keep_waiting_pipelines).await {
        // Those that wait ask again by themselves.
        warn!(execution = %execution.id, %error, "the next execution of this pipeline could not be told that a slot is free");
    }
}
