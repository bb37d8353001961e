//! What a superseded group had before it was drained, in a tag of the group: a rollback restores it to that (F53). Only a tag; sizes are others' business.
//!
//! What must stay true: in the life of a superseded group it holds the most that any agent saw when it first saw the group so, since those who come
//! late see what others have lowered; never written on a read that is older than the staleness bound, nor while a rollback holds it; taken off once it serves again, so that one that
//! stands is of this life and no earlier one; one that cannot be read stays as it is. That it could not be written, or is not answered, never stops a drain: nothing waits for it.

use std::time::Duration;

use crate::model::CAPACITY_TAG;
use crate::model::Capacity;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::LifecycleState;
use crate::model::Moment;
use crate::model::RECORD_TAG;
use crate::model::capacity_text;
use crate::model::generation;
use crate::model::recorded_by_agents;
use crate::model::recorded_capacity;

use super::action::Deed;
use super::action::Key;
use super::drain::Step;
use super::justify;
use super::state::Order;
use super::state::Phase;

/// Tries, each only when a read shows that the one before came to nothing: a tag that is missing costs a rollback a guess, and no more.
const TRIES: u32 = 3;
/// Reads in a row that show the group enabled before its record is taken for one of an earlier life.
const ENABLED_READS: u32 = 2;
/// Without an answer for so long, a try came to nothing.
const LOST: Duration = Duration::from_secs(60);

/// What is known of the record.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// What the group had when it was first seen superseded, and by whom.
    found: Option<(Capacity, GroupName)>,
    tries: u32,
    order: Option<Order>,
    last: Option<Moment>,
    enabled: u32,
}

impl Step<'_> {
    /// Superseded, as enough reads agree, and no drain was under way.
    pub(super) fn note_capacity(&mut self, by: &GroupName) {
        let sizes = self.state.group.as_ref().map(|(_, group)| group.capacity);
        let order = self.state.recording.order;
        self.state.recording = Recording { found: sizes.map(|sizes| (sizes, by.clone())), order, ..Recording::default() };
    }

    /// A read of our group.
    pub(super) fn see_recording(&mut self, group: &Group) {
        let serves = !group.is_disabled() && !self.policy.retired && self.state.durable.drain.is_none();
        match (serves, self.state.recording.enabled) {
            (true, 0) => self.state.recording = Recording { enabled: 1, order: self.state.recording.order, ..Recording::default() },
            (true, reads) => self.state.recording.enabled = reads.saturating_add(1),
            (false, _) => self.state.recording.enabled = 0,
        }
    }

    /// Writes it, or takes it off.
    pub(super) fn record_capacity(&mut self) {
        self.state.recording.order = self.state.recording.order.filter(|order| self.now.since(order.at) < LOST);
        let Some(text) = self.capacity_due() else { return };
        self.state.recording.tries += 1;
        self.state.recording.last = Some(self.now);
        let reason = if text.is_some() { "a rollback restores the group to that" } else { "the group serves again" };
        self.state.recording.order = Some(self.send(Deed::RecordCapacity { text }, reason.to_owned()));
    }

    /// False when the key is of something else. What came of it, the next read shows.
    pub(super) fn recording_done(&mut self, key: Key) -> bool {
        self.state.recording.order.take_if(|order| order.key == key).is_some()
    }

    fn capacity_due(&self) -> Option<Option<String>> {
        let recording = &self.state.recording;
        if self.policy.dry_run || recording.order.is_some() || recording.tries >= TRIES {
            return None;
        }
        let (asked, group) = self.state.group.as_ref()?;
        if self.now.since(*asked) > self.policy.stale_bound {
            return None;
        }
        let told = |last: Moment| asked.mono >= last.mono + self.policy.stale_bound * 2;
        if !recording.last.is_none_or(told) || justify::hold_on(group, self.now.wall).is_some() {
            return None;
        }
        let recorded = recorded_by_agents(&group.tags);
        // One of another form is a newer version's: what it holds is not ours to lose.
        let known = !group.tags.contains_key(CAPACITY_TAG) || recorded_capacity(&group.tags).is_some();
        // Of this very drain: a group that serves again, or that a rollback has had in hand since, or still has, is not ours to describe.
        let drain = self.state.durable.drain.as_ref().map(|drain| drain.generation);
        let stays = group.is_disabled() && drain == Some(generation(&group.tags)) && !group.tags.contains_key(RECORD_TAG);
        match &self.state.phase {
            // A group that is retired in place is never disabled, so nobody could tell its record from one of an earlier life.
            Phase::Confirming | Phase::Validating | Phase::Waiting { .. } | Phase::Lowering | Phase::Stopping | Phase::LastLook
                if self.is_superseded() && !self.policy.retired && stays =>
            {
                let (sizes, by) = recording.found.as_ref()?;
                let version = by.moniker()?.push()?.to_owned();
                let is_less = |of: Capacity| of.min <= sizes.min && of.desired <= sizes.desired && of.max <= sizes.max && of != *sizes;
                let put_right = recorded.is_some_and(|by| by == version) && recorded_capacity(&group.tags).is_some_and(is_less);
                (known && (recorded.is_none() || put_right)).then(|| Some(capacity_text(*sizes, &version)))
            }
            Phase::Working if recorded.is_some() && known && recording.enabled >= ENABLED_READS => {
                let in_service = group.instance(&self.state.own).is_some_and(|i| i.state == LifecycleState::InService);
                (in_service && group.capacity.desired > 0).then_some(None)
            }
            _ => None,
        }
    }
}
