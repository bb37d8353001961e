//! The embedded engine beside the loop: begun with the agent, ended after it.
//!
//! What must stay true: the engine ends after the loop, so that what the loop asked of it last is done; one that ends by itself takes the agent with it;
//! an agent that comes back in the middle of a drain claims nothing, from its first moment on, and starts no engine that the drain had stopped.

use std::future::Future;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::decide::Progress;
use crate::journal::Journal;
use crate::model::InstanceId;
use crate::orchestrator::runner::Handle;
use crate::orchestrator::runner::Parts;
use crate::orchestrator::runner::Runner;
use crate::orchestrator::runner::Settings;
use crate::orchestrator::runner::Wish;
use crate::orchestrator::runner::embedded::Embedded;
use crate::supervise::Ended;

/// An engine at work.
pub struct Engine {
    /// For the loop.
    pub orchestrator: Arc<Embedded>,
    /// For whoever asks about it, or tells it something.
    pub runner: Handle,
    /// Ends it.
    stop: CancellationToken,
    running: JoinSet<Ended>,
}

impl Engine {
    /// Begins to run it, as [`wish`] has it. Dropped, it ends as a process does that is killed.
    pub fn start(parts: Parts, settings: Settings, wish: Wish) -> Self {
        let clock = Arc::clone(&parts.clock);
        let (runner, handle) = Runner::new(parts, settings, wish);
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(runner.run(stop.clone()));
        Self { orchestrator: Arc::new(Embedded::new(handle.clone(), clock)), runner: handle, stop, running }
    }

    /// Runs beside the loop, which `end_loop` ends, and after it until everything owned is given back.
    ///
    /// # Errors
    /// The engine ended before the loop did.
    pub async fn beside(mut self, work: impl Future<Output = ()>, end_loop: CancellationToken) -> Ended {
        let working = async {
            work.await;
            self.stop.cancel();
        };
        let running = async {
            let ended = match self.running.join_next().await {
                Some(Ok(ended)) => ended,
                Some(Err(broken)) => Err(format!("the engine broke off: {broken}")),
                None => Ok(()),
            };
            let early = !self.stop.is_cancelled();
            end_loop.cancel();
            if early { ended.and(Err("the engine ended by itself".to_owned())) } else { ended }
        };
        let ((), ended) = tokio::join!(working, running);
        ended
    }
}

/// What is wanted of the engine of a process that starts, by what the one before it wrote down.
///
/// In a drain it claims nothing, and what the drain has stopped stays so: the proof of its idleness is that it was stopped (S2). A journal that cannot be
/// read may be of a drain; it holds the loop, which tells.
pub fn wish(journal: &mut dyn Journal, own: &InstanceId, boot: &str) -> Wish {
    let Ok(found) = journal.load(own, boot) else { return Wish { intake: false, run: true } };
    let drain = found.and_then(|(durable, same_boot)| Some((durable.drain?.progress, same_boot)));
    let run = match &drain {
        Some((Progress::Stopped, same_boot)) => !same_boot,
        Some((Progress::Intent { stopped, .. } | Progress::Accepted { stopped, .. }, same_boot)) => !(*stopped && *same_boot),
        // Whether it ended in order is not known, or it is to work again.
        None | Some((Progress::Draining | Progress::Stopping | Progress::Cancelled { .. }, _)) => true,
    };
    Wish { intake: drain.is_none(), run }
}
