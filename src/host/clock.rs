//! The one place that reads a clock.
//!
//! Both clocks take their monotonic part from tokio, so a paused runtime pauses them too: the same code runs a night in milliseconds.

use std::time::SystemTime;

use crate::model::Clock;
use crate::model::Moment;
use crate::model::Timestamp;

/// The clocks of this machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: tokio::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic origin is now.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub fn start() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    fn now(&self) -> Moment {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Moment { mono: self.origin.elapsed(), wall: Timestamp(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)) }
    }
}

/// A clock that starts at a given time of day and moves with tokio's: real in a real runtime, virtual in a paused one.
#[derive(Clone, Copy, Debug)]
pub struct VirtualClock {
    origin: tokio::time::Instant,
    wall: Timestamp,
}

impl VirtualClock {
    /// A clock that shows `wall` now.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub fn start(wall: Timestamp) -> Self {
        Self { origin: tokio::time::Instant::now(), wall }
    }
}

impl Clock for VirtualClock {
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    fn now(&self) -> Moment {
        let mono = tokio::time::Instant::now().duration_since(self.origin);
        Moment { mono, wall: self.wall.plus(mono) }
    }
}

/// Stops this thread for so long: a play that is watched is held up, and nothing else runs on its thread.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn stand_still(time: std::time::Duration) {
    std::thread::sleep(time);
}
