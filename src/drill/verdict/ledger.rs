//! Questions to the region's record: what was written when, who was there.

use std::time::Duration;

use serde_json::Value;

use super::Judge;
use crate::cloud::sim::CALL_LIMIT;
use crate::cloud::sim::Call;
use crate::cloud::sim::CapacityChange;
use crate::cloud::sim::Outcome;
use crate::cloud::sim::SimTime;
use crate::drill::scenario::START_MS;
use crate::model::Capacity;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::HOLD_TAG;
use crate::model::HOLD_TTL;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Moniker;
use crate::model::Timestamp;

impl Judge<'_> {
    /// Mutating calls about a group that were carried out, up to a time.
    fn applied<'a>(&'a self, group: &'a GroupName, at: SimTime) -> impl DoubleEndedIterator<Item = &'a Call> {
        let about =
            move |c: &&Call| ["AutoScalingGroupName", "ResourceId"].iter().any(|k| c.args.get(k) == Some(&Value::from(group.as_str())));
        self.after.truth.calls.iter().filter(move |c| c.at <= at && c.outcome == Outcome::Applied).filter(about)
    }

    /// How long the newest unbroken hold on a group has been there; zero when there is none that lives.
    pub(super) fn held_for(&self, group: &GroupName, at: SimTime) -> Duration {
        let mut since = None;
        let mut put = SimTime::ZERO;
        for call in self.applied(group, at).filter(|c| tags(c, HOLD_TAG)) {
            match call.action {
                "CreateOrUpdateTags" => (since, put) = (since.or(Some(call.at)), call.at),
                "DeleteTags" => since = None,
                _ => {}
            }
        }
        since.filter(|_| at < put + HOLD_TTL).map_or(Duration::ZERO, |since| at - since)
    }

    /// How long ago a group's hold or generation was written last.
    pub(super) fn tagged_for(&self, group: &GroupName, at: SimTime) -> Duration {
        at - self.applied(group, at).rfind(|c| c.action == "CreateOrUpdateTags" && tags(c, HOLD_TAG)).map_or(SimTime::ZERO, |c| c.at)
    }

    /// How long ago processes of a group were resumed; the whole time when they never were.
    pub(super) fn enabled_for(&self, group: &GroupName, at: SimTime) -> Duration {
        at - self.applied(group, at).rfind(|c| c.action == "ResumeProcesses").map_or(SimTime::ZERO, |c| c.at)
    }

    /// Each change of sizes, with the sizes before it.
    pub(super) fn resizes(&self) -> impl Iterator<Item = (&CapacityChange, Capacity)> {
        let changes = &self.after.truth.capacity;
        let before = |i: usize| changes[..i].iter().rfind(|c| c.group == changes[i].group).map(|c| c.capacity);
        (0..changes.len()).filter_map(move |i| Some((&changes[i], before(i)?)))
    }

    /// What desired was when a read that a call at this time rests on may have been made.
    pub(super) fn desired_lately(&self, group: &GroupName, at: SimTime) -> Vec<u32> {
        let from = at.saturating_sub(self.policy.stale_bound + CALL_LIMIT);
        let changes = self.after.truth.capacity.iter().filter(|c| &c.group == group && c.at <= at);
        let (old, new): (Vec<_>, Vec<_>) = changes.partition(|c| c.at < from);
        old.last().into_iter().chain(&new).map(|c| c.capacity.desired).collect()
    }

    /// The cluster that an instance was launched into.
    pub(super) fn belongs(&self, instance: &InstanceId, cluster: &str) -> bool {
        let group = self.after.truth.states.iter().find(|s| &s.instance == instance).and_then(|s| s.group.as_ref());
        group.and_then(|g| Moniker::parse(g.as_str())).is_some_and(|m| m.cluster() == cluster)
    }

    /// Its machine was off by then.
    pub(super) fn is_stopped(&self, instance: &InstanceId, at: SimTime) -> bool {
        self.after.truth.terminations.iter().any(|t| &t.instance == instance && t.stopped.is_some_and(|stopped| stopped <= at))
    }
}

/// A call that writes or deletes this tag: `[[key, value], …]` or `[key, …]`.
fn tags(call: &Call, key: &str) -> bool {
    let named = |tag: &Value| tag.get(0).unwrap_or(tag) == key;
    call.args.get("Tags").and_then(Value::as_array).is_some_and(|tags| tags.iter().any(named))
}

/// The group that an instance is in.
pub(super) fn group_of<'a>(groups: &'a [Group], id: &InstanceId) -> Option<&'a Group> {
    groups.iter().find(|g| g.instance(id).is_some())
}

/// Newer, enabled groups of the same cluster.
pub(super) fn successors<'a>(groups: &'a [Group], group: &'a Group) -> impl Iterator<Item = &'a Group> {
    let cluster = |g: &Group| Moniker::parse(g.name.as_str()).map(|m| m.cluster().to_owned());
    groups.iter().filter(move |g| g.created > group.created && !g.is_disabled() && cluster(g) == cluster(group))
}

/// On its way out, and not yet gone.
pub(super) fn is_leaving(state: &LifecycleState) -> bool {
    state.is_ending() && *state != LifecycleState::Terminated
}

/// By name.
pub(super) fn find<'a>(groups: &'a [Group], name: &str) -> Option<&'a Group> {
    groups.iter().find(|g| g.name.as_str() == name)
}

/// Time of day.
pub(super) fn wall(at: SimTime) -> Timestamp {
    Timestamp(START_MS).plus(at)
}

/// For people.
pub(super) fn secs(at: SimTime) -> String {
    format!("{:.1} s", at.as_secs_f64())
}
