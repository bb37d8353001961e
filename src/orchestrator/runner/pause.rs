//! Pauses between tries that grow and differ from one waiter to the next, and chance without a source of it.

use std::time::Duration;

/// The first pause and the longest one.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// Pauses between tries of one thing.
#[derive(Debug)]
pub(super) struct Pause {
    seed: u64,
    tries: u32,
}

impl Pause {
    /// Different seeds spread the tries of different waiters.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, tries: 0 }
    }

    /// No pause was made yet.
    pub(super) fn is_first(&self) -> bool {
        self.tries == 0
    }

    /// Lets the next pause pass.
    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.next()).await;
    }

    /// The next pause: half to all of a time that doubles up to two seconds.
    pub(super) fn next(&mut self) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.tries.min(6)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        whole / 2 + share(whole / 2, self.seed.wrapping_add(u64::from(self.tries)))
    }
}

/// `least` to twice of it, by the seed.
pub(super) fn spread(least: Duration, seed: u64) -> Duration {
    least + share(least, seed)
}

fn share(of: Duration, seed: u64) -> Duration {
    // The top ten bits of splitmix64's finaliser: 0 to 1023.
    of.mul_f64((mix(seed) >> 54) as f64 / 1024.0)
}

/// Spreads neighbouring numbers over all of them (splitmix64's finaliser).
pub(super) fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}
