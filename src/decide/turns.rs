//! Whose turn is it, without a coordinator: members are ranked by id, time is cut into slots, and in each slot the next ranks may act.
//!
//! What must stay true: who acts does so in the first half of a slot, and on a read that was asked for in that slot. So what was done in the slot
//! before is over, or shows in the read, when half a slot is as long as that takes (F47).

use std::time::Duration;

use crate::model::Group;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Timestamp;

/// The shortest half of a slot: a clock that is off by less than this does no harm.
const HALF_LEAST_MS: u64 = 500;

/// A stretch of time in which the same ranks may act.
pub struct Slot {
    number: u64,
    /// It is not half over.
    pub first_half: bool,
    length_ms: u64,
    /// When it began.
    pub start: Timestamp,
    /// When the next one begins.
    pub next: Timestamp,
}

/// An answer to one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Now.
    Now,
    /// Now, once a read of this slot is there.
    AfterARead,
    /// Not before.
    At(Timestamp),
}

impl Slot {
    /// The slot that `now` is in, when half a slot is this long.
    pub fn at(half: Duration, now: Timestamp) -> Self {
        let half_ms = u64::try_from(half.as_millis()).unwrap_or(u64::MAX / 4).max(HALF_LEAST_MS);
        let now_ms = u64::try_from(now.0).unwrap_or(0);
        let length = half_ms * 2;
        let number = now_ms / length;
        let at = |number: u64| Timestamp(i64::try_from(number * length).unwrap_or(i64::MAX));
        Self { number, first_half: now_ms % length < half_ms, length_ms: length, start: at(number), next: at(number + 1) }
    }

    /// Whether the member of this rank may act when so many `places` are free, on a read that was asked for at `asked`.
    pub fn turn(&self, rank: usize, members: usize, places: usize, asked: Timestamp) -> Turn {
        if self.place(rank, members) >= places || !self.first_half {
            Turn::At(self.next_turn(rank, members, places))
        } else if asked < self.start {
            Turn::AfterARead
        } else {
            Turn::Now
        }
    }

    /// Place of a rank in this slot; 0 is the leader. Every rank leads once in as many slots as there are members.
    pub fn place(&self, rank: usize, members: usize) -> usize {
        let members = members.max(1);
        (usize::try_from(self.number % members as u64).unwrap_or(0) + rank) % members
    }

    /// The start of the next slot in which this rank has one of the first places.
    pub fn next_turn(&self, rank: usize, members: usize, places: usize) -> Timestamp {
        let members = members.max(1);
        let ahead = (1..=members).find(|n| (self.place(rank, members) + n) % members < places).unwrap_or(1);
        let wait = self.length_ms.saturating_mul(ahead as u64 - 1);
        self.next.plus(Duration::from_millis(wait))
    }
}

/// On its way out, and not gone yet. One that AWS retains is out of the group for good, for as long as somebody likes.
pub fn leaves(state: &LifecycleState) -> bool {
    state.is_ending() && !matches!(state, LifecycleState::Terminated | LifecycleState::TerminatingRetained)
}

/// Those in service and those on their way out, by id.
pub fn members(group: &Group) -> Vec<&InstanceId> {
    let member = |state: &LifecycleState| *state == LifecycleState::InService || leaves(state);
    let mut members: Vec<&InstanceId> = group.instances.iter().filter(|i| member(&i.state)).map(|i| &i.id).collect();
    members.sort();
    members
}
