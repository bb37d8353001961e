//! Removes the past, a little at a time, on one instance.
//!
//! What must stay true: a step is small enough that nobody notices it; what is missed now is removed later.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing::warn;

use super::History;
use super::Shared;
use super::State;
use crate::model::Timestamp;
use crate::orchestrator::store::Retention;
use crate::orchestrator::store::StoreError;

/// Between rounds, and between the steps of one.
const EVERY: Duration = Duration::from_secs(60);
const BETWEEN: Duration = Duration::from_secs(1);
/// Executions of one step.
const STEP: usize = 100;
/// Steps of one round; the rest is for the next.
const STEPS: usize = 50;
const ROLE: &str = "janitor";

pub(super) async fn run(shared: Arc<Shared>, state: watch::Receiver<State>, history: History, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        // Safe to cancel: a round that is cut off goes on another time.
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let session = state.borrow().session.clone();
        let Some(session) = session else { continue };
        let round = async {
            if !shared.store.take_role(ROLE, &session, EVERY * 2).await? {
                return Ok(0);
            }
            remove(&shared, &history).await
        };
        let removed: Result<usize, StoreError> = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            removed = round => removed,
        };
        match removed {
            Ok(0) => {}
            Ok(removed) => info!(removed, "old executions were removed"),
            Err(error) => warn!(%error, "old executions could not be removed; another time"),
        }
    }
}

async fn remove(shared: &Shared, history: &History) -> Result<usize, StoreError> {
    let age = i64::try_from(history.age.as_millis()).unwrap_or(i64::MAX);
    let older_than = Timestamp(shared.clock.now().0.saturating_sub(age));
    let mut removed = 0;
    for _ in 0..STEPS {
        let step = shared.store.expire(Retention { older_than, keep: history.keep, step: STEP }).await?;
        removed += step;
        if step < STEP {
            break;
        }
        tokio::time::sleep(BETWEEN).await;
    }
    Ok(removed)
}
