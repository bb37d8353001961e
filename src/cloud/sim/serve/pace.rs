//! How fast the region's time passes: real time by a factor, and jumps on request.

use std::time::Duration;

/// Largest factor: a day in a little less than a second.
pub const MAX_SPEED: f64 = 100_000.0;

/// Virtual time as a function of real time. Never goes back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Virtual time at `since`.
    base: Duration,
    /// Real time at which the base was fixed.
    since: Duration,
    speed: f64,
}

impl Pace {
    /// Starts at virtual zero; a `speed` of 0 stands still but for jumps, one out of range is brought into it.
    pub(super) fn new(speed: f64, real: Duration) -> Self {
        Self { base: Duration::ZERO, since: real, speed: in_range(speed) }
    }

    /// Virtual time since the start.
    pub(super) fn at(&self, real: Duration) -> Duration {
        self.base.saturating_add(real.saturating_sub(self.since).mul_f64(self.speed))
    }

    /// Goes `by` further at once.
    pub(super) fn jump(&mut self, by: Duration) {
        self.base = self.base.saturating_add(by);
    }

    /// Passes at another speed from now on.
    pub(super) fn set_speed(&mut self, speed: f64, real: Duration) {
        *self = Self { base: self.at(real), since: real, speed: in_range(speed) };
    }

    /// Begins at virtual zero again, at the same speed.
    pub(super) fn restart(&mut self, real: Duration) {
        *self = Self::new(self.speed, real);
    }

    /// Virtual seconds per real second.
    pub(super) fn speed(&self) -> f64 {
        self.speed
    }
}

fn in_range(speed: f64) -> f64 {
    if speed.is_nan() { 1.0 } else { speed.clamp(0.0, MAX_SPEED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn time_follows_the_real_clock_by_its_factor_and_jumps_add_to_it() {
        let mut pace = Pace::new(60.0, S(5));
        assert_eq!(pace.at(S(6)), S(60));
        pace.jump(S(100));
        assert_eq!(pace.at(S(6)), S(160));
        pace.set_speed(0.0, S(6));
        assert_eq!(pace.at(S(1000)), S(160), "stands still");
        pace.jump(S(1));
        pace.set_speed(1.0, S(1000));
        assert_eq!(pace.at(S(1001)), S(162));
    }

    #[test]
    fn time_never_goes_back_whatever_the_speed() {
        let mut pace = Pace::new(f64::NAN, S(0));
        assert_eq!(pace.speed(), 1.0);
        pace.set_speed(-5.0, S(10));
        assert_eq!(pace.at(S(20)), S(10));
        assert_eq!(pace.at(S(0)), S(10), "a real clock that is behind");
        pace.set_speed(f64::INFINITY, S(20));
        assert_eq!(pace.speed(), MAX_SPEED);
    }
}
