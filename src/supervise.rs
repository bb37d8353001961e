//! Spawned tasks: each has a name, and a policy for its end. The only place that spawns.
//!
//! What must stay true: an essential task that ends takes the process with it (a daemon without a brain must not look alive); any other is
//! started again, at a bounded rate; every handle is awaited; the stop has a deadline and says what it waits for.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;
use tracing::info;
use tracing::warn;

/// First and longest time before a task that ended is started again.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_LONGEST: Duration = Duration::from_secs(60);
/// While stopping, what is waited for is logged so often.
const STILL_EVERY: Duration = Duration::from_secs(5);

/// What a task says at its end.
pub type Ended = Result<(), String>;
type Task = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// The tasks of a process.
#[derive(Debug)]
pub struct Supervisor {
    stop: CancellationToken,
    tasks: JoinSet<(&'static str, bool, Ended)>,
    names: Vec<&'static str>,
}

impl Supervisor {
    /// No tasks yet; cancelling `stop` stops them all.
    pub fn new(stop: CancellationToken) -> Self {
        Self { stop, tasks: JoinSet::new(), names: Vec::new() }
    }

    /// Runs a task without which the process must not go on.
    pub fn essential(&mut self, name: &'static str, task: impl Future<Output = Ended> + Send + 'static) {
        self.names.push(name);
        self.tasks.spawn(async move { (name, true, task.await) });
    }

    /// Runs a task that is started again when it ends; `start` makes it anew each time.
    pub fn restarted(&mut self, name: &'static str, start: impl Fn() -> Task + Send + 'static) {
        let stop = self.stop.clone();
        self.names.push(name);
        self.tasks.spawn(async move {
            let mut wait = AGAIN_FIRST;
            loop {
                let ended = start().await;
                if stop.is_cancelled() {
                    return (name, false, ended);
                }
                warn!(task = name, why = ended.err(), wait_s = wait.as_secs(), "a task ended and is started again");
                tokio::select! {
                    () = stop.cancelled() => return (name, false, Ok(())),
                    () = tokio::time::sleep(wait) => {}
                }
                wait = (wait * 2).min(AGAIN_LONGEST);
            }
        });
    }

    /// Waits until an essential task ends or a stop is asked for, then stops the rest within `limit`.
    ///
    /// # Errors
    /// Names the essential task that ended by itself, or those that did not stop in time.
    pub async fn run(mut self, limit: Duration) -> Result<(), String> {
        let mut first = Ok(());
        while !self.stop.is_cancelled() {
            tokio::select! {
                () = self.stop.cancelled() => {}
                joined = self.tasks.join_next() => match joined {
                    Some(joined) => first = self.ended(joined),
                    None => break,
                },
            }
        }
        self.stop.cancel();
        let stopped = tokio::time::timeout(limit, async {
            let mut still = tokio::time::interval(STILL_EVERY);
            still.tick().await;
            while !self.tasks.is_empty() {
                tokio::select! {
                    Some(joined) = self.tasks.join_next() => {
                        let _recorded = self.ended(joined);
                    }
                    _ = still.tick() => info!(tasks = ?self.names, "stopping; these are still at work"),
                }
            }
        });
        if stopped.await.is_err() {
            self.tasks.abort_all();
            error!(tasks = ?self.names, limit_s = limit.as_secs(), "these did not stop in time and are cut off");
            return first.and(Err(format!("{} did not stop within {} s", self.names.join(", "), limit.as_secs())));
        }
        first
    }

    fn ended(&mut self, joined: Result<(&'static str, bool, Ended), tokio::task::JoinError>) -> Result<(), String> {
        let (name, essential, ended) = match joined {
            Ok(ended) => ended,
            Err(error) => {
                self.stop.cancel();
                return Err(format!("a task broke off: {error}"));
            }
        };
        self.names.retain(|n| *n != name);
        if !essential || self.stop.is_cancelled() {
            return ended.map_err(|why| format!("{name}: {why}"));
        }
        self.stop.cancel();
        Err(format!("{name} ended: {}", ended.err().unwrap_or_else(|| "without being asked".to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_essential_task_takes_the_process_with_it() {
        let stop = CancellationToken::new();
        let mut tasks = Supervisor::new(stop.clone());
        tasks.essential("loop", async { Err("no journal".to_owned()) });
        let other = stop.clone();
        tasks.essential("server", async move {
            other.cancelled().await;
            Ok(())
        });
        assert_eq!(tasks.run(Duration::from_secs(5)).await, Err("loop ended: no journal".to_owned()));
        assert!(stop.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn any_other_is_started_again_at_a_bounded_rate() {
        let stop = CancellationToken::new();
        let starts = Arc::new(AtomicU32::new(0));
        let mut tasks = Supervisor::new(stop.clone());
        let counted = starts.clone();
        tasks.restarted("http", move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Err("port taken".to_owned()) })
        });
        let hour = stop.clone();
        tasks.essential("clock", async move {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            hour.cancel();
            Ok(())
        });
        assert_eq!(tasks.run(Duration::from_secs(5)).await, Ok(()));
        assert!((60..80).contains(&starts.load(Ordering::Relaxed)), "{starts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_has_a_deadline_and_names_who_missed_it() {
        let stop = CancellationToken::new();
        let mut tasks = Supervisor::new(stop.clone());
        tasks.essential("deaf", std::future::pending());
        stop.cancel();
        assert_eq!(tasks.run(Duration::from_secs(5)).await, Err("deaf did not stop within 5 s".to_owned()));
    }
}
