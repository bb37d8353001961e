//! How many of the executions that were claimed have yet to come to their first rest: to wait for something outside, or to end.
//!
//! Work that never rests is best done a few executions at a time. A thousand that are taken step by step side by side are each out of the processor's
//! cache when their turn comes, which made every step of the engine and of the store half as dear again (docs/performance.md); and what one instance
//! holds without working on it, an idle one cannot claim. Those that rest cost nothing, so that any number of them may be owned.
//!
//! What must stay true: whoever waits for more than the store's answer to a write does not count, or what cannot go on would keep others from being claimed.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;

/// So many at once: two or three calls' worth of writes, and about as many executions as a core's own cache holds.
pub(super) const STARTING_MOST: usize = 64;
/// So many make a claim worth its call.
pub(super) const STARTING_AGAIN: usize = STARTING_MOST / 2;

/// The count.
#[derive(Debug, Default)]
pub(super) struct Pace {
    starting: AtomicUsize,
    bell: Notify,
}

impl Pace {
    /// Counts one that was claimed, until this is dropped.
    pub(super) fn start(self: &Arc<Self>) -> Starting {
        self.starting.fetch_add(1, Ordering::Relaxed);
        Starting(Arc::clone(self))
    }

    /// How many there are now.
    pub(super) fn starting(&self) -> usize {
        self.starting.load(Ordering::Relaxed)
    }

    /// So many more may be claimed.
    pub(super) fn room(&self) -> usize {
        STARTING_MOST.saturating_sub(self.starting())
    }

    /// Waits until there is room for [`STARTING_AGAIN`] again. A moment before the call is not missed.
    pub(super) async fn eased(&self) {
        self.bell.notified().await;
    }
}

/// One that has not come to rest.
#[derive(Debug)]
pub(super) struct Starting(Arc<Pace>);

impl Drop for Starting {
    fn drop(&mut self) {
        if self.0.starting.fetch_sub(1, Ordering::Relaxed) == STARTING_MOST - STARTING_AGAIN + 1 {
            self.0.bell.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn the_bell_rings_when_a_claim_is_worth_its_call_again() {
        let pace = Arc::<Pace>::default();
        let mut starting: Vec<Starting> = (0..STARTING_MOST + 3).map(|_| pace.start()).collect();
        assert_eq!(pace.room(), 0);
        while pace.room() < STARTING_AGAIN {
            assert!(pace.eased().now_or_never().is_none(), "{}", pace.room());
            starting.pop();
        }
        assert!(pace.eased().now_or_never().is_some());
        starting.clear();
        assert_eq!(pace.room(), STARTING_MOST);
        assert!(pace.eased().now_or_never().is_none(), "once is enough: whoever heard it claims until nothing is due");
    }
}
