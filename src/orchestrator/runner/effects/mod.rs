//! Who carries out what tasks want done outside: one performer for each kind of effect.
//!
//! What must stay true: an effect begins only after its attempt is in the store; its outcome is a value whatever happens; it ends within its own
//! limit, and soon after it is told to stop. Dropping the future of [`Performer::perform`] means that nobody waits any more: a request is given up,
//! a job runs on and can be attached to again.

pub mod clusters;
pub mod executions;
pub mod http;
pub mod job;
pub mod pages;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::execution::ExecutionId;

/// Carries out effects of some kind.
#[async_trait]
pub trait Performer: Send + Sync + 'static {
    /// Carries it out under this key. When `stop` is cancelled it ends what it began (a job: signal, then kill) and says what came of it.
    async fn perform(&self, key: &AttemptKey, effect: Effect, stop: &CancellationToken) -> Outcome;

    /// Executions of which an effect is still under way on this host, or has ended unheard, since a process before this one. Looks at the disk.
    fn outlived(&self) -> BTreeSet<ExecutionId> {
        BTreeSet::new()
    }

    /// Executions of which a job runs on this host now, whoever began it and whoever owns the execution; one that cannot be looked at counts. Looks at
    /// the disk.
    fn running(&self) -> BTreeSet<ExecutionId> {
        BTreeSet::new()
    }
}

/// A performer for each kind of effect. A kind without one fails for good, and says so.
#[derive(Clone, Default)]
pub struct Performers {
    by_word: BTreeMap<&'static str, Arc<dyn Performer>>,
    calls: BTreeMap<String, Arc<dyn Performer>>,
}

impl fmt::Debug for Performers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_word.keys()).entries(self.calls.keys()).finish()
    }
}

impl Performers {
    /// Has effects of these words ([`Effect::word`]) carried out by this one.
    #[must_use]
    pub fn with(mut self, words: &[&'static str], performer: Arc<dyn Performer>) -> Self {
        self.by_word.extend(words.iter().map(|word| (*word, Arc::clone(&performer))));
        self
    }

    /// Has [`Effect::Call`]s of this name carried out by this one.
    #[must_use]
    pub fn with_call(mut self, name: impl Into<String>, performer: Arc<dyn Performer>) -> Self {
        self.calls.insert(name.into(), performer);
        self
    }

    /// Each of them once, however many kinds of effects it carries out.
    fn each(&self) -> impl Iterator<Item = &dyn Performer> {
        let mut seen: Vec<*const ()> = Vec::new();
        let all = self.by_word.values().chain(self.calls.values());
        all.filter(move |performer| {
            let at = Arc::as_ptr(performer).cast::<()>();
            let is_new = !seen.contains(&at);
            seen.push(at);
            is_new
        })
        .map(|performer| &**performer)
    }

    fn of(&self, effect: &Effect) -> Option<&Arc<dyn Performer>> {
        match effect {
            Effect::Call { name, .. } => self.calls.get(name),
            Effect::Http { .. }
            | Effect::Fetch { .. }
            | Effect::Job { .. }
            | Effect::AttachJob { .. }
            | Effect::StopJob {}
            | Effect::StartPipeline { .. }
            | Effect::ReadExecution { .. }
            | Effect::CancelExecution { .. }
            | Effect::ClusterSize { .. } => self.by_word.get(effect.word()),
        }
    }
}

#[async_trait]
impl Performer for Performers {
    async fn perform(&self, key: &AttemptKey, effect: Effect, stop: &CancellationToken) -> Outcome {
        match self.of(&effect) {
            Some(performer) => performer.perform(key, effect, stop).await,
            None => Outcome::Failed { error: format!("this instance is not set up for {}", name(&effect)), retryable: false },
        }
    }

    fn outlived(&self) -> BTreeSet<ExecutionId> {
        self.each().flat_map(Performer::outlived).collect()
    }

    fn running(&self) -> BTreeSet<ExecutionId> {
        self.each().flat_map(Performer::running).collect()
    }
}

fn name(effect: &Effect) -> String {
    match effect {
        Effect::Call { name, .. } => format!("calls of {name}"),
        Effect::ClusterSize { .. } => "looking at clusters".to_owned(),
        Effect::Http { .. }
        | Effect::Fetch { .. }
        | Effect::Job { .. }
        | Effect::AttachJob { .. }
        | Effect::StopJob {}
        | Effect::StartPipeline { .. }
        | Effect::ReadExecution { .. }
        | Effect::CancelExecution { .. } => effect.word().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering;

    use super::*;

    /// Has left one execution at work, and counts how often it was asked.
    struct Left(ExecutionId, AtomicU32);

    #[async_trait]
    impl Performer for Left {
        async fn perform(&self, _: &AttemptKey, _: Effect, _: &CancellationToken) -> Outcome {
            unreachable!("nothing is done here")
        }

        fn running(&self) -> BTreeSet<ExecutionId> {
            self.1.fetch_add(1, Ordering::Relaxed);
            BTreeSet::from([self.0.clone()])
        }
    }

    #[test]
    fn each_performer_is_asked_once_what_it_left_at_work_and_none_is_left_out() {
        let left = ["a", "b", "c"].map(|id| Arc::new(Left(ExecutionId::from(id), AtomicU32::new(0))));
        let [jobs, http, call] = left.clone();
        let all = Performers::default().with(&["job", "attach_job", "stop_job"], jobs).with(&["http"], http).with_call("c", call);
        assert_eq!(all.running().len(), 3);
        assert!(left.iter().all(|one| one.1.load(Ordering::Relaxed) == 1));
    }
}
