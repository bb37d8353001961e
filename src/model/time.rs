//! Time as a value. The one thing that reads a real clock is [`crate::host::clock`]; everything else is handed a [`Moment`].

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

/// Wall time: milliseconds since the Unix epoch. For records, tags and comparisons with AWS; never for measuring how long something took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This time, `by` later. Stops at the end of time instead of wrapping.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads RFC 3339, as AWS writes its times.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds, as AWS and the journal write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// One instant as both clocks show it. `mono` is time since an origin that is fixed for the life of the process and does not jump
/// (F31: every timer is monotonic); `wall` is what the host believes the time of day to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Since the origin of this process; not comparable across a restart or a reboot (F43).
    pub mono: Duration,
    /// The wall clock.
    pub wall: Timestamp,
}

impl Moment {
    /// How long after `earlier` this is by the clock that does not jump; zero when it is not after it.
    pub fn since(self, earlier: Moment) -> Duration {
        self.mono.saturating_sub(earlier.mono)
    }

    /// The moment `by` later.
    pub fn plus(self, by: Duration) -> Self {
        Self { mono: self.mono.saturating_add(by), wall: self.wall.plus(by) }
    }
}

/// Where moments come from: the system's clocks, or a simulation's.
pub trait Clock: Send + Sync + 'static {
    /// This instant.
    fn now(&self) -> Moment;
}
