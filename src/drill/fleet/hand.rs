//! Who does the effects of a play: jobs that outlive the process that began them, calls that do not, each with a line in the ledger.
//!
//! A job is known on its host by its key for as long as the machine is up, as the real one's folder is; a second start finds the first.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::host::Host;
use super::host::Spot;
use super::ledger::Entry;
use super::ledger::Ledger;
use crate::cloud::sim::SimTime;
use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::seed;
use crate::orchestrator::runner::effects::Performer;

/// First word of a command, or last of a path, whose effect must not be done twice.
pub(super) const ONCE: &str = "once";
/// The same for one that may.
pub(super) const AGAIN: &str = "again";

/// The hand of one process.
pub(in crate::drill) struct Hand {
    pub(in crate::drill) host: Arc<Host>,
    pub(in crate::drill) ledger: Arc<Ledger>,
}

/// Cuts a call off when nobody waits for it any more.
struct Waits<'a>(&'a Hand, usize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.ledger.cut(self.1, self.0.host.now());
    }
}

impl Hand {
    fn begin(&self, key: &AttemptKey, once: bool, job: bool, length: Duration) -> (usize, SimTime) {
        let begun = self.host.now();
        let ends = begun + length;
        (self.ledger.begin(Entry { key: key.clone(), once, job, on: self.host.id.clone(), begun, ends, cut: None }), ends)
    }

    /// Executions of which the machine has such a job.
    fn executions(&self, such: impl Fn(&Entry) -> bool) -> BTreeSet<ExecutionId> {
        let entries = self.ledger.entries();
        let jobs = self.host.jobs().into_iter().filter_map(|number| entries.get(number));
        jobs.filter(|job| such(job)).map(|job| job.key.execution.clone()).collect()
    }

    async fn job(&self, key: &AttemptKey, argv: &[String], once: bool, stop: &CancellationToken) -> Outcome {
        let id = key.idempotency_key();
        let longest_s = argv.get(1).and_then(|word| word.parse().ok()).unwrap_or(1);
        let (_, ends) = self.host.job(&id, || self.begin(key, once, true, length(&id, longest_s)));
        self.host.pass(Spot::Begun).await;
        self.follow(&id, ends, stop).await
    }

    async fn follow(&self, id: &str, ends: SimTime, stop: &CancellationToken) -> Outcome {
        let left = ends.saturating_sub(self.host.now());
        let blow = self.host.midway();
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                self.host.stop_job(id);
                Outcome::JobLost
            }
            () = self.host.falls_in(left / 2, blow.unwrap_or(super::host::Falls::Process)), if blow.is_some() => Outcome::JobLost,
            () = tokio::time::sleep(left) => {
                Outcome::Job { code: Some(0), signal: None, timed_out: false, stdout: String::new(), stderr: String::new(), dropped_bytes: 0 }
            }
        }
    }

    async fn call(&self, key: &AttemptKey, url: &str, stop: &CancellationToken) -> Outcome {
        let time = length(&key.to_string(), CALL_LONGEST_S);
        let (number, _) = self.begin(key, url.ends_with(ONCE), false, time);
        let _waits = Waits(self, number);
        self.host.pass(Spot::Begun).await;
        let blow = self.host.midway();
        tokio::select! {
            biased;
            () = stop.cancelled() => Outcome::Failed { error: "it was stopped".to_owned(), retryable: true },
            () = self.host.falls_in(time / 2, blow.unwrap_or(super::host::Falls::Process)), if blow.is_some() => Outcome::JobLost,
            () = tokio::time::sleep(time) => Outcome::Http { status: 200, headers: Vec::new(), body: Value::Null },
        }
    }
}

/// Calls take up to this, seconds.
const CALL_LONGEST_S: u64 = 3;

/// A tenth of the longest to the longest, by the key.
fn length(key: &str, longest_s: u64) -> Duration {
    Duration::from_millis(seed::within(seed::of(key), longest_s * 100, longest_s * 1000))
}

#[async_trait]
impl Performer for Hand {
    async fn perform(&self, key: &AttemptKey, effect: Effect, stop: &CancellationToken) -> Outcome {
        match effect {
            Effect::Job { argv, idempotent, .. } => self.job(key, &argv, !idempotent, stop).await,
            Effect::StopJob {} => {
                self.host.stop_job(&key.idempotency_key());
                Outcome::Done { output: Value::Null }
            }
            Effect::AttachJob { .. } => {
                let id = key.idempotency_key();
                match self.host.known_job(&id) {
                    Some((_, ends)) => self.follow(&id, ends, stop).await,
                    None => Outcome::JobLost,
                }
            }
            Effect::Http { url, .. } => self.call(key, &url, stop).await,
            other => Outcome::Failed { error: format!("{} is not done here", other.word()), retryable: false },
        }
    }

    fn outlived(&self) -> BTreeSet<ExecutionId> {
        self.executions(|_| true)
    }

    fn running(&self) -> BTreeSet<ExecutionId> {
        let now = self.host.now();
        self.executions(|job| job.is_under_way(now))
    }
}
