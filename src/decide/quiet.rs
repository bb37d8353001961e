//! Evidence that the orchestrator is idle, gathered over time.
//!
//! What must stay true: the quiet time grows only from samples that were idle, measured after intake was closed and settled, by one process
//! generation, without a gap (S2, S3, F3, F5). Anything else — busy, unknown, stale, another generation, an open switch — starts it over.

use std::time::Duration;

use crate::model::Activity;
use crate::model::Generation;
use crate::model::Intake;
use crate::model::Moment;
use crate::model::Sample;

use super::policy::Policy;

/// What has been gathered so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quiet {
    closed_since: Option<Moment>,
    generation: Option<Generation>,
    idle_since: Option<Moment>,
    idle_until: Option<Moment>,
    samples: u32,
}

/// What one more look means for the drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Intake is not closed, or a new process answered: the switch has to be set again (F5, F11).
    IntakeOpen,
    /// Nothing can be concluded; the reason is for people.
    Nothing(String),
    /// Work is in flight.
    Busy(String),
    /// Idle, since the given time, over so many samples.
    Idle {
        /// Length of the unbroken idle time.
        quiet: Duration,
        /// Samples in it.
        samples: u32,
    },
}

impl Quiet {
    /// Takes one look into account. `asked` is when the look began; the switch was read before the sample was taken.
    pub fn look(&mut self, policy: &Policy, asked: Moment, intake: &Intake, sample: &Sample) -> Finding {
        match intake {
            Intake::Open => {
                *self = Self::default();
                return Finding::IntakeOpen;
            }
            Intake::Unknown { why } => {
                *self = Self::default();
                return Finding::Nothing(format!("intake unknown: {why}"));
            }
            Intake::Closed | Intake::NoSwitch => {}
        }
        if self.is_another(sample) {
            *self = Self::default();
            return Finding::IntakeOpen;
        }
        let closed_since = *self.closed_since.get_or_insert(asked);
        if sample.generation.is_some() {
            self.generation.clone_from(&sample.generation);
        }
        match &sample.activity {
            Activity::Unknown { why } => {
                self.start_over();
                Finding::Nothing(why.clone())
            }
            Activity::Busy { count, executions } => {
                self.start_over();
                let named: Vec<&str> = executions.iter().take(5).map(|e| e.url.as_str()).collect();
                let names = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
                Finding::Busy(format!("{count} in flight{names}"))
            }
            Activity::Idle => self.idle(policy, asked, closed_since, sample),
        }
    }

    /// Another process answered than the one whose quiet time this is, as far as both are known (F5).
    pub fn is_another(&self, sample: &Sample) -> bool {
        self.closed_since.is_some() && sample.generation.is_some() && self.generation.is_some() && sample.generation != self.generation
    }

    /// The unbroken idle time so far.
    pub fn length(&self) -> Duration {
        match (self.idle_since, self.idle_until) {
            (Some(since), Some(until)) => until.since(since),
            _ => Duration::ZERO,
        }
    }

    /// What is missing from the quiet time; `None` while it is not even idle.
    pub fn left(&self, policy: &Policy) -> Option<Duration> {
        self.idle_since.map(|_| policy.quiet.saturating_sub(self.length()))
    }

    /// Idle over the whole quiet time.
    pub fn is_confirmed(&self, policy: &Policy) -> bool {
        self.idle_until.is_some() && self.length() >= policy.quiet && (self.samples >= 2 || policy.quiet.is_zero())
    }

    fn idle(&mut self, policy: &Policy, asked: Moment, closed_since: Moment, sample: &Sample) -> Finding {
        let age = sample.measured.map_or(Duration::ZERO, |measured| sample.asked.wall.since(measured));
        if age > policy.sample_max_age {
            self.start_over();
            return Finding::Nothing(format!(
                "idle {} s ago, and a sample older than {} s proves nothing",
                age.as_secs(),
                policy.sample_max_age.as_secs()
            ));
        }
        let measured = Moment { mono: asked.mono.saturating_sub(age), wall: sample.measured.unwrap_or(asked.wall) };
        if measured.mono < closed_since.mono + policy.settle {
            return Finding::Nothing(format!("intake closed {} s ago, settling", asked.since(closed_since).as_secs()));
        }
        let gap = self.idle_until.map(|until| measured.since(until));
        if gap.is_some_and(|gap| gap > policy.activity_every.saturating_mul(3).max(policy.sample_max_age)) {
            self.start_over();
        }
        self.idle_since.get_or_insert(measured);
        self.idle_until = Some(measured);
        self.samples = self.samples.saturating_add(1);
        Finding::Idle { quiet: self.length(), samples: self.samples }
    }

    fn start_over(&mut self) {
        self.idle_since = None;
        self.idle_until = None;
        self.samples = 0;
    }
}
