//! When is what read? At most one look of a kind is under way; failures stretch the interval; every interval is jittered per instance, so
//! that a fleet that was started together does not ask together (draining.md §4.12).

use std::time::Duration;

use crate::model::InstanceId;
use crate::model::Moment;
use crate::model::Probe;

use super::action::Key;

/// A look whose answer has not come for so long is given up; whatever performs looks has its own, shorter limits.
const LOST_AFTER: Duration = Duration::from_secs(60);
/// Failures stretch an interval up to so many times: enough to leave a throttled account alone, and little enough that a bad hour of AWS
/// does not cost an agent another one (drill storm seed 305: sixteen times let a superseded instance work on for an hour).
const MOST_STRETCH: u32 = 4;

/// What can be read, one entry a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`super::Look::TargetState`]
    TargetState,
    /// [`super::Look::Notices`]
    Notices,
    /// [`super::Look::Hook`]
    Hook,
    /// [`super::Look::Own`]
    Own,
    /// [`super::Look::Group`]
    Group,
    /// [`super::Look::Cluster`]
    Cluster,
    /// [`super::Look::Orchestrator`]
    Orchestrator,
    /// [`super::Look::Task`], [`super::Look::OwnTask`]
    Task,
    /// [`super::Look::Probe`] of the orchestrator's life.
    Liveness,
    /// [`super::Look::Probe`] of its readiness.
    Readiness,
    /// [`super::Look::Probe`] of its store.
    Store,
    /// [`super::Look::Vitals`]
    Vitals,
}

impl Kind {
    pub(super) const ALL: [Kind; 12] = [
        Self::TargetState,
        Self::Notices,
        Self::Hook,
        Self::Own,
        Self::Group,
        Self::Cluster,
        Self::Orchestrator,
        Self::Task,
        Self::Liveness,
        Self::Readiness,
        Self::Store,
        Self::Vitals,
    ];

    /// The look of a probe.
    pub(super) fn of(probe: Probe) -> Self {
        match probe {
            Probe::Liveness => Self::Liveness,
            Probe::Readiness => Self::Readiness,
            Probe::Store => Self::Store,
        }
    }
}

/// When a look of a kind is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Not at all.
    No,
    /// Every so often.
    Every(Duration),
    /// One that was asked at this moment or later; then every so often.
    Since(Moment, Duration),
    /// Exactly so long after the last one: the moment itself decides something, so that no jitter may move it.
    In(Duration),
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    pending: Option<(Key, Moment)>,
    asked: Option<Moment>,
    failures: u32,
    draws: u32,
}

/// The book of looks.
#[derive(Clone, Debug, Default)]
pub struct Looks {
    entries: [Entry; Kind::ALL.len()],
}

impl Looks {
    /// When the next look of this kind is due; `None` while one is under way or none is wanted.
    pub fn due(&self, kind: Kind, wanted: Wanted, own: &InstanceId) -> Option<Duration> {
        let entry = self.entry(kind);
        let every = match wanted {
            Wanted::No => return None,
            _ if entry.pending.is_some() => return entry.pending.map(|(_, asked)| asked.mono + LOST_AFTER),
            Wanted::In(after) => return Some(entry.asked.map_or(Duration::ZERO, |asked| asked.mono + after)),
            Wanted::Since(since, _) if entry.failures == 0 && entry.asked.is_none_or(|asked| asked.mono < since.mono) => {
                return Some(since.mono);
            }
            Wanted::Since(_, every) | Wanted::Every(every) => every,
        };
        let stretch = 1_u32 << entry.failures.min(MOST_STRETCH.ilog2());
        let interval = jittered(every.saturating_mul(stretch), own, entry.draws);
        Some(entry.asked.map_or(Duration::ZERO, |asked| asked.mono + interval))
    }

    /// A look of this kind goes out now.
    pub fn ask(&mut self, kind: Kind, key: Key, now: Moment) {
        let entry = self.entry_mut(kind);
        entry.pending = Some((key, now));
        entry.asked = Some(now);
        entry.draws = entry.draws.wrapping_add(1);
    }

    /// An answer came: when its look was asked, or `None` when it is not the one we wait for.
    pub fn answered(&mut self, kind: Kind, key: Key, ok: bool) -> Option<Moment> {
        let entry = self.entry_mut(kind);
        let (pending, asked) = entry.pending?;
        if pending != key {
            return None;
        }
        entry.pending = None;
        entry.failures = if ok { 0 } else { entry.failures.saturating_add(1) };
        Some(asked)
    }

    /// The next look of this kind is due at once, unless one is under way.
    pub fn hurry(&mut self, kind: Kind) {
        let entry = self.entry_mut(kind);
        entry.asked = None;
        entry.failures = 0;
    }

    fn entry(&self, kind: Kind) -> Entry {
        self.entries.get(kind as usize).copied().unwrap_or_default()
    }

    fn entry_mut(&mut self, kind: Kind) -> &mut Entry {
        &mut self.entries[kind as usize]
    }
}

/// `every` ± 25 %, the same for the same instance and draw.
pub fn jittered(every: Duration, own: &InstanceId, draw: u32) -> Duration {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ u64::from(draw).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in own.as_str().bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let permille = 750 + u32::try_from((hash >> 33) % 501).unwrap_or(0);
    every.saturating_mul(permille) / 1000
}
