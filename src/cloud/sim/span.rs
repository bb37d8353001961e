//! Durations as a scenario writes them: seconds, or a pair of seconds to draw from.

use std::time::Duration;

use rand::Rng;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

/// A length of time, or a range to draw one from. Written as seconds: `30` or `[20, 40]`; fractions are fine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Shortest.
    pub min: Duration,
    /// Longest.
    pub max: Duration,
}

impl Span {
    /// Always this many seconds.
    pub const fn secs(s: u64) -> Self {
        Self { min: Duration::from_secs(s), max: Duration::from_secs(s) }
    }

    /// Between these many seconds.
    pub const fn between(min: u64, max: u64) -> Self {
        Self { min: Duration::from_secs(min), max: Duration::from_secs(max) }
    }

    /// Always this many milliseconds.
    pub const fn millis(ms: u64) -> Self {
        Self { min: Duration::from_millis(ms), max: Duration::from_millis(ms) }
    }

    pub(super) fn draw(self, rng: &mut impl Rng) -> Duration {
        let (low, high) = (millis(self.min), millis(self.max));
        Duration::from_millis(if high > low { rng.random_range(low..=high) } else { low })
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    One(f64),
    Pair(f64, f64),
}

fn seconds<E: serde::de::Error>(s: f64) -> Result<Duration, E> {
    Duration::try_from_secs_f64(s).map_err(|e| E::custom(format!("{s} s: {e}")))
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let (min, max) = match Written::deserialize(d)? {
            Written::One(s) => (s, s),
            Written::Pair(a, b) => (a, b),
        };
        let span = Self { min: seconds(min)?, max: seconds(max)? };
        if span.max < span.min {
            Err(serde::de::Error::custom(format!("[{min}, {max}]: the first has to be the smaller")))
        } else {
            Ok(span)
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.min == self.max {
            s.serialize_f64(self.min.as_secs_f64())
        } else {
            Written::Pair(self.min.as_secs_f64(), self.max.as_secs_f64()).serialize(s)
        }
    }
}

/// `#[serde(with = "secs")]`: a duration as seconds.
pub(super) mod secs {
    use super::*;

    pub fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(d.as_secs_f64())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        seconds(f64::deserialize(d)?)
    }
}

/// `#[serde(with = "opt_secs")]`: the same, where it may be absent.
pub(super) mod opt_secs {
    use super::*;

    pub fn serialize<S: Serializer>(d: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        d.map(|d| d.as_secs_f64()).serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(d)?.map(seconds).transpose()
    }
}
