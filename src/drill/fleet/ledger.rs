//! What tasks really did: each effect that was begun, where, by which life of which process, and how far it came.

use std::sync::Mutex;

use crate::cloud::sim::SimTime;
use crate::drill::station::open;
use crate::model::InstanceId;
use crate::orchestrator::engine::effect::AttemptKey;

/// One effect that was begun.
#[derive(Clone, Debug)]
pub(in crate::drill) struct Entry {
    /// The attempt it was begun for.
    pub(in crate::drill) key: AttemptKey,
    /// It must not be done twice.
    pub(in crate::drill) once: bool,
    /// A job, which outlives the process that began it; a call does not.
    pub(in crate::drill) job: bool,
    /// Where.
    pub(in crate::drill) on: InstanceId,
    pub(in crate::drill) begun: SimTime,
    /// When it is done, unless it is cut off before.
    pub(in crate::drill) ends: SimTime,
    /// When it was cut off: stopped, or its host or its process fell.
    pub(in crate::drill) cut: Option<SimTime>,
}

impl Entry {
    /// When it came to its own end.
    pub(in crate::drill) fn ended(&self) -> Option<SimTime> {
        self.cut.is_none().then_some(self.ends)
    }

    /// When it was over, one way or the other.
    pub(in crate::drill) fn over(&self) -> SimTime {
        self.cut.unwrap_or(self.ends)
    }

    pub(in crate::drill) fn is_under_way(&self, at: SimTime) -> bool {
        self.begun <= at && at < self.over()
    }
}

/// The ledger of a play.
#[derive(Debug, Default)]
pub(in crate::drill) struct Ledger {
    entries: Mutex<Vec<Entry>>,
}

impl Ledger {
    /// Writes that an effect begins; its number.
    pub(super) fn begin(&self, entry: Entry) -> usize {
        let mut entries = open(&self.entries);
        entries.push(entry);
        entries.len() - 1
    }

    /// Writes that it was cut off, unless it was over before.
    pub(super) fn cut(&self, number: usize, at: SimTime) {
        if let Some(entry) = open(&self.entries).get_mut(number).filter(|entry| entry.over() > at) {
            entry.cut = Some(at);
        }
    }

    pub(in crate::drill) fn entries(&self) -> Vec<Entry> {
        open(&self.entries).clone()
    }

    pub(super) fn count(&self) -> usize {
        open(&self.entries).len()
    }

    /// What is under way on an instance.
    pub(in crate::drill) fn under_way(&self, on: &InstanceId, at: SimTime) -> Vec<String> {
        open(&self.entries).iter().filter(|e| &e.on == on && e.is_under_way(at)).map(|e| e.key.to_string()).collect()
    }
}
