//! Whether the server still has what it acknowledged to this client, and over which connection this client speaks.
//!
//! Every script that writes counts in a hash of this client's, and is told the last number that was answered: a server that was restarted with less, or
//! failed over to a copy that lagged, stands below it. It then does nothing and says so, and from then on takes nothing any more that comes over the
//! same connection: whatever was under way was made by somebody who did not know. The hash also remembers the newest connection, so that a script
//! that was given up with its connection, and arrives late, does nothing.
//!
//! What must stay true: a session that began before a loss changes nothing after it, since what it would change is not what it knows. It is told so,
//! every time, until it is ended; a session that begins afterwards takes up what is there.
//!
//! What can be lost stands in `runbooks/store-lost-data.md`. A client that was silent for 30 days is told of a loss that was none.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tracing::error;

use super::super::StoreError;

/// What a script answers that came over a connection this client gave up. The same number stands in `prelude.lua`; a double holds it.
const LATE: i64 = -(1 << 53);

/// What this client knows of its number, and of its sessions.
#[derive(Default)]
pub(super) struct Guard(Mutex<State>);

#[derive(Default)]
struct State {
    known: Known,
    /// The life of the data in which each session began. A process has one session, and for a moment two.
    sessions: HashMap<String, u64>,
}

/// Numbers of one life of the data.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// How many losses this client was told of.
    pub(super) life: u64,
    /// The highest number that was answered.
    pub(super) answered: i64,
}

impl Guard {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a script is to be told.
    pub(super) fn known(&self) -> Known {
        self.state().known
    }

    /// The same for what a session asks, which begins with its first question.
    ///
    /// # Errors
    /// [`StoreError::LostData`] for one that began before a loss.
    pub(super) fn known_to(&self, session: &str) -> Result<Known, StoreError> {
        let mut state = self.state();
        let known = state.known;
        let life = match state.sessions.get(session) {
            Some(life) => *life,
            None => *state.sessions.entry(session.to_owned()).or_insert(known.life),
        };
        if life == known.life { Ok(known) } else { Err(over()) }
    }

    /// The session is ended.
    pub(super) fn forget(&self, session: &str) {
        self.state().sessions.remove(session);
    }

    /// Takes what a script said that was told this.
    ///
    /// # Errors
    /// Nothing was done. [`StoreError::LostData`] to the first that is told of a loss; to others under way at that time, and to those that came late,
    /// [`StoreError::Unavailable`]. Afterwards its connection is of no use any more.
    pub(super) fn note(&self, told: Known, said: i64) -> Result<(), StoreError> {
        let mut state = self.state();
        let known = &mut state.known;
        if said == LATE {
            return Err(StoreError::Unavailable("it was asked over a connection that was given up".to_owned()));
        }
        if known.life != told.life {
            return if said < 0 { Err(StoreError::Unavailable("its data was lost a moment ago".to_owned())) } else { Ok(()) };
        }
        if said >= 0 {
            known.answered = known.answered.max(said);
            return Ok(());
        }
        let why = format!("{} scripts of this process were acknowledged, it knows of {}", known.answered, -said - 1);
        *known = Known { life: known.life + 1, answered: -said };
        error!(%why, "the store lost data it had acknowledged: executions may be older than they were, or gone (runbooks/store-lost-data.md)");
        Err(StoreError::LostData(why))
    }
}

/// What a session is told that began before a loss.
pub(super) fn over() -> StoreError {
    StoreError::LostData("this session began before that; it is over".to_owned())
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
        assert!(matches!(guard.note(guard.known(), LATE), Err(StoreError::Unavailable(_))), "came late");
        assert_eq!(guard.note(told, 900), Ok(()), "an answer from before");
        assert_eq!(guard.known().answered, 2, "does not count for what is now");
        assert_eq!(guard.note(guard.known(), 4), Ok(()));
    }

    #[test]
    fn a_session_is_over_with_the_data_it_began_on() {
        let guard = Guard::default();
        guard.note(guard.known_to("before").unwrap(), 5).unwrap();
        guard.note(guard.known(), -2).unwrap_err();
        for _ in 0..2 {
            assert!(matches!(guard.known_to("before"), Err(StoreError::LostData(_))));
        }
        assert_eq!(guard.known_to("after").unwrap().answered, 2);
        guard.forget("before");
        assert!(guard.known_to("before").is_ok(), "a name that is used again is another session");
    }
}
