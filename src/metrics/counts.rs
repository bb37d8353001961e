//! What the loop did, counted as it does it. The loop adds, metrics read; nothing is decided on it.

use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::family::MetricConstructor;
use prometheus_client::metrics::histogram::Histogram;

use crate::decide::Answer;
use crate::decide::Drain;
use crate::decide::Progress;
use crate::decide::Receipt;
use crate::model::Activity;
use crate::model::Moment;
use crate::model::PermitAnswer;
use crate::model::Tally;
use crate::model::Timestamp;

/// Upper bounds of the buckets of a drain's length, in seconds: from a drain that hands its work on to AWS's longest wait for a hook, 48 h.
const DRAIN_BUCKETS_S: [f64; 13] =
    [15.0, 30.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0, 129_600.0, 172_800.0];

/// Outcomes of a write.
const OK: &str = "ok";
const FAILED: &str = "failed";

/// Drains by how they went out, as a family of histograms.
pub(super) type Drains = Family<[(&'static str, &'static str); 1], Histogram, Buckets>;

/// Makes the histogram of a drain's length.
#[derive(Clone, Debug)]
pub(super) struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(DRAIN_BUCKETS_S)
    }
}

/// Counts since the agent began.
#[derive(Debug)]
pub struct Counts {
    pub(super) moves: Tally<&'static str>,
    pub(super) holds: Tally<&'static str>,
    pub(super) terminations: Tally<&'static str>,
    pub(super) drains: Drains,
    pub(super) samples: Tally<&'static str>,
    pub(super) looks: Tally<(&'static str, &'static str)>,
    pub(super) deeds: Tally<(&'static str, &'static str)>,
    pub(super) decisions: Tally<String>,
    pub(super) permits: Tally<&'static str>,
    pub(super) journal: Tally<&'static str>,
    turned_ms: AtomicI64,
    lag_us: AtomicU64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            moves: Tally::default(),
            holds: Tally::default(),
            terminations: Tally::default(),
            drains: Drains::new_with_constructor(Buckets),
            samples: Tally::default(),
            looks: Tally::default(),
            deeds: Tally::default(),
            decisions: Tally::default(),
            permits: Tally::default(),
            // Zero from the first scrape on, so that the first failure is an increase.
            journal: Tally::of([OK, FAILED]),
            turned_ms: AtomicI64::new(0),
            lag_us: AtomicU64::new(0),
        }
    }
}

impl Counts {
    /// The loop begins a turn.
    pub fn turned(&self, now: Moment) {
        self.turned_ms.store(now.wall.0, Ordering::Relaxed);
    }

    /// The loop woke up so much later than it had wanted to.
    pub fn woke_late(&self, by: Duration) {
        self.lag_us.store(u64::try_from(by.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The protocol came to this phase, with this code when it holds.
    pub fn moved(&self, from: &'static str, to: &'static str, held: Option<&'static str>) {
        if from != to {
            self.moves.add(to);
        }
        if let Some(code) = held {
            self.holds.add(code);
        }
    }

    /// A step made one drain of the other: it may have come to an end, accepted or called off.
    pub fn drained(&self, before: Option<&Drain>, after: Option<&Drain>, now: Timestamp) {
        let Some(drain) = after else { return };
        let was = before.map(|before| &before.progress);
        let outcome = match &drain.progress {
            Progress::Accepted { .. } if !matches!(was, Some(Progress::Accepted { .. })) => {
                self.terminations.add(drain.reason.word());
                "accepted"
            }
            Progress::Cancelled { .. } if !matches!(was, Some(Progress::Cancelled { .. })) => "called_off",
            Progress::Accepted { .. }
            | Progress::Cancelled { .. }
            | Progress::Draining
            | Progress::Stopping
            | Progress::Stopped
            | Progress::Intent { .. } => return,
        };
        self.drains.get_or_create(&[("outcome", outcome)]).observe(now.since(drain.started).as_secs_f64());
    }

    /// A look or a deed, by its word, was answered.
    pub fn answered(&self, word: &'static str, answer: &Answer) {
        let outcome = answer.outcome();
        match answer {
            Answer::Done(result) => {
                self.deeds.add((word, outcome));
                match result {
                    Ok(Receipt::Permit(PermitAnswer::Granted)) => self.permits.add("granted"),
                    Ok(Receipt::Permit(PermitAnswer::Refused { .. })) => self.permits.add("refused"),
                    Ok(Receipt::Done | Receipt::Activity(_) | Receipt::Task(_)) | Err(_) => {}
                }
            }
            Answer::Orchestrator { sample, .. } => {
                self.looks.add((word, outcome));
                self.samples.add(activity(&sample.activity));
            }
            Answer::TargetState(_)
            | Answer::Notices(_)
            | Answer::Hook(_)
            | Answer::Own(_)
            | Answer::Group(_)
            | Answer::Cluster(_)
            | Answer::Probe(..)
            | Answer::Vitals(_)
            | Answer::Task(_)
            | Answer::OwnTask(_) => self.looks.add((word, outcome)),
        }
    }

    /// Healing decided.
    pub fn decided(&self, what: &str) {
        self.decisions.add(what.to_owned());
    }

    /// The journal was to be written.
    pub fn saved(&self, written: bool) {
        self.journal.add(if written { OK } else { FAILED });
    }

    /// When the loop last began a turn; zero before the first.
    pub(super) fn turn(&self) -> Timestamp {
        Timestamp(self.turned_ms.load(Ordering::Relaxed))
    }

    pub(super) fn lag(&self) -> Duration {
        Duration::from_micros(self.lag_us.load(Ordering::Relaxed))
    }
}

/// The word of an activity.
pub(super) fn activity(activity: &Activity) -> &'static str {
    match activity {
        Activity::Idle => "idle",
        Activity::Busy { .. } => "busy",
        Activity::Unknown { .. } => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Reason;
    use crate::metrics::Format;
    use crate::metrics::page::Page;

    fn drain(progress: Progress) -> Drain {
        Drain {
            reason: Reason::TargetTerminated,
            started: Timestamp(1_000),
            generation: 0,
            forced: false,
            unproven: false,
            progress,
            doomed: None,
        }
    }

    fn accepted() -> Progress {
        Progress::Accepted { reference: String::new(), task: false, stopped: false }
    }

    /// Count and sum of the drains that went out so, as they are scraped.
    fn lengths(counts: &Counts, outcome: &str) -> Vec<String> {
        let mut page = Page::default();
        page.drains(counts.drains.clone());
        let text = page.text(Format::Text);
        let of = |line: &&str| line.contains(&format!("{{outcome=\"{outcome}\"}}"));
        text.lines().filter(of).filter_map(|line| line.split_once(' ')).map(|(_, figure)| figure.to_owned()).collect()
    }

    #[test]
    fn a_drain_is_measured_once_when_its_end_is_accepted() {
        let counts = Counts::default();
        let (working, ending) = (drain(Progress::Draining), drain(accepted()));
        counts.drained(None, Some(&working), Timestamp(1_000));
        counts.drained(Some(&working), Some(&ending), Timestamp(61_000));
        counts.drained(Some(&ending), Some(&ending), Timestamp(90_000));
        assert_eq!(lengths(&counts, "accepted"), ["60.0", "1"]);
        assert_eq!(counts.terminations.counts().get("target_terminated"), Some(&1));
    }

    #[test]
    fn a_drain_that_is_called_off_is_no_termination() {
        let counts = Counts::default();
        let off = drain(Progress::Cancelled { why: String::new(), stopped: false });
        counts.drained(Some(&drain(Progress::Draining)), Some(&off), Timestamp(11_000));
        counts.drained(Some(&off), None, Timestamp(12_000));
        assert_eq!((lengths(&counts, "called_off"), lengths(&counts, "accepted")), (vec!["10.0".to_owned(), "1".to_owned()], vec![]));
        assert!(counts.terminations.counts().is_empty());
    }
}
