//! How often an orchestrator that does not stay up is started again.
//!
//! What must stay true: never more than the budget's starts in any window, however the agent is restarted between; and a clock that was set back or
//! forward lengthens no wait beyond the window.

use std::time::Duration;

use crate::model::Timestamp;

/// Between the first two starts; doubled with each further one in the window.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait within the budget.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// So many starts in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How many.
    pub starts: u32,
    /// In any stretch of this length.
    pub window: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { starts: 5, window: Duration::from_secs(600) }
    }
}

/// When the next start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once.
    Now,
    /// After this pause.
    Wait(Duration),
    /// The budget is spent; after this there is room for one.
    Held(Duration),
}

impl Budget {
    /// What comes after these starts, the oldest first. `jitter`: 0 to 999, so that a fleet that fell together does not rise together.
    pub fn next(&self, starts: &[Timestamp], now: Timestamp, jitter: u64) -> Next {
        // One from the future is from before the clock was set back: it counts, from now on.
        let ago = |start: &Timestamp| now.since(*start);
        let recent: Vec<Duration> = starts.iter().map(ago).filter(|ago| *ago < self.window).collect();
        let Some(last) = recent.last() else { return Next::Now };
        let budget = usize::try_from(self.starts.max(1)).unwrap_or(usize::MAX);
        if recent.len() >= budget {
            return Next::Held(self.window - recent[recent.len() - budget]);
        }
        let doublings = u32::try_from(recent.len() - 1).unwrap_or(u32::MAX).min(10);
        let wait = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
        // In whole milliseconds, as times of day are: a part of one would pass by no clock.
        let wait = wait + Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(0) / 4 * jitter.min(999) / 1000);
        if *last >= wait { Next::Now } else { Next::Wait(wait - *last) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp(s * 1000)
    }

    #[test]
    fn it_waits_longer_each_time_and_then_for_the_window() {
        let budget = Budget { starts: 4, window: Duration::from_secs(600) };
        let seconds = Duration::from_secs;
        assert_eq!(budget.next(&[], at(1000), 0), Next::Now);
        assert_eq!(budget.next(&[at(1000)], at(1000), 0), Next::Wait(seconds(1)));
        assert_eq!(budget.next(&[at(1000)], at(1001), 0), Next::Now, "it ran for longer than it would have to wait");
        assert_eq!(budget.next(&[at(1000), at(1001)], at(1001), 0), Next::Wait(seconds(2)));
        assert_eq!(budget.next(&[at(1000), at(1001), at(1003)], at(1004), 0), Next::Wait(seconds(3)));
        let all = [at(1000), at(1001), at(1003), at(1007)];
        assert_eq!(budget.next(&all, at(1010), 0), Next::Held(seconds(590)));
        assert_eq!(budget.next(&all, at(1600), 0), Next::Now, "the first has left the window, and the pause is long over");
    }

    proptest! {
        #[test]
        fn no_window_has_more_starts_than_the_budget(
            lives in prop::collection::vec(0u64..400, 1..60), budget in 1u32..8, window in 10u64..2000, jitter in 0u64..1000,
        ) {
            let budget = Budget { starts: budget, window: Duration::from_secs(window) };
            let (mut now, mut starts) = (at(1_000_000), Vec::new());
            for life in lives {
                loop {
                    match budget.next(&starts, now, jitter) {
                        Next::Now => break,
                        Next::Wait(wait) | Next::Held(wait) => {
                            prop_assert!(wait > Duration::ZERO && wait <= budget.window.max(LONGEST_WAIT * 5 / 4));
                            now = now.plus(wait);
                        }
                    }
                }
                starts.push(now);
                let in_window = starts.iter().filter(|start| now.since(**start) < budget.window).count();
                prop_assert!(in_window <= usize::try_from(budget.starts).unwrap(), "{in_window} starts");
                now = now.plus(Duration::from_secs(life));
            }
        }

        #[test]
        fn a_clock_that_jumps_an_hour_never_stops_it_for_longer_than_the_window(
            ago in prop::collection::vec(-3600i64..3600, 0..30), jitter in 0u64..1000,
        ) {
            let (budget, now) = (Budget::default(), at(1_000_000));
            let starts: Vec<Timestamp> = ago.iter().map(|ago| at(1_000_000 - ago)).collect();
            match budget.next(&starts, now, jitter) {
                Next::Now => {}
                Next::Wait(wait) | Next::Held(wait) => prop_assert!(wait <= budget.window),
            }
        }
    }
}
