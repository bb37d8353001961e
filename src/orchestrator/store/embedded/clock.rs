//! The store's clock: the wall clock, kept from going back.
//!
//! What must stay true: no time is earlier than one this process or the file has seen; and the clock never stands still, or a lease would last for
//! ever after the wall clock had once been far ahead.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::model::Clock;
use crate::model::Moment;
use crate::model::Timestamp;

/// While the wall clock is behind what was seen, the store's clock runs at this fraction of the monotonic one, until the wall clock has caught up.
const SLOWED: u32 = 2;

/// A clock that only goes forward.
pub(super) struct StoreClock {
    clock: Arc<dyn Clock>,
    /// The greatest time seen, and when it was seen.
    seen: Mutex<Moment>,
}

impl StoreClock {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let seen = Mutex::new(clock.now());
        Self { clock, seen }
    }

    /// Now.
    pub(super) fn now(&self) -> Timestamp {
        self.not_before(Timestamp(i64::MIN))
    }

    /// Now, which is not before this time that the file has seen.
    pub(super) fn not_before(&self, file: Timestamp) -> Timestamp {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let moment = self.clock.now();
        let held = seen.wall.plus(moment.since(*seen) / SLOWED);
        if moment.wall.max(file) >= held {
            *seen = Moment { wall: moment.wall.max(file), ..moment };
            return seen.wall;
        }
        held
    }
}
