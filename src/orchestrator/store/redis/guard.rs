//! Whether the server still has what it acknowledged to this client.
//!
//! Every script that writes counts in a key of this client's, and is told the last number that was answered: a server that was restarted empty, or
//! failed over to a copy that lagged, stands below it. It then does nothing and says so, once; the client takes the new number and goes on.
//!
//! What can be lost: with `appendfsync always` nothing at a restart; with `everysec` about the last second; without append-only file all since the
//! last snapshot. At a failover what had not reached the replica, whatever the file says; `min-replicas-to-write 1` with `min-replicas-max-lag` bounds
//! how long a master that is cut off goes on to acknowledge. A client that was silent for 30 days is told of a loss that was none.

use std::sync::Mutex;
use std::sync::PoisonError;

use tracing::error;

use super::super::StoreError;

/// What this client knows of its number.
#[derive(Default)]
pub(super) struct Guard(Mutex<Known>);

/// Numbers of one life of the data.
#[derive(Clone, Copy, Default)]
pub(super) struct Known {
    life: u64,
    pub(super) answered: i64,
}

impl Guard {
    /// What a script is to be told.
    pub(super) fn known(&self) -> Known {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a script said that was told this.
    ///
    /// # Errors
    /// [`StoreError::LostData`] to the first that is told of a loss; to others under way at that time [`StoreError::Unavailable`]: theirs was not done either.
    pub(super) fn note(&self, told: Known, said: i64) -> Result<(), StoreError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.life != told.life {
            return if said < 0 { Err(StoreError::Unavailable("its data was lost a moment ago".to_owned())) } else { Ok(()) };
        }
        if said >= 0 {
            known.answered = known.answered.max(said);
            return Ok(());
        }
        let why = format!("{} writes of this process were acknowledged, it knows of {}", known.answered, -said - 1);
        *known = Known { life: known.life + 1, answered: -said };
        error!(%why, "the store lost data it had acknowledged: executions may be older than they were, or gone");
        Err(StoreError::LostData(why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_went_back_is_told_once() {
        let guard = Guard::default();
        for said in [1, 3, 2] {
            guard.note(guard.known(), said).unwrap();
        }
        let told = guard.known();
        assert_eq!(told.answered, 3);
        assert!(matches!(guard.note(told, -2), Err(StoreError::LostData(why)) if why.contains('3')));
        assert!(matches!(guard.note(told, -3), Err(StoreError::Unavailable(_))), "under way at that time");
        assert_eq!(guard.note(told, 900), Ok(()), "an answer from before");
        assert_eq!(guard.known().answered, 2, "does not count for what is now");
        assert_eq!(guard.note(guard.known(), 4), Ok(()));
    }
}
