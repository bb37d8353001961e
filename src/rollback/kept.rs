//! Instances of the newest group that are left alive for the post-mortem (`--keep-bad`): in standby, and named by a tag of the group.
//!
//! Why standby: AWS takes such an instance out of the load balancers, counts it towards no size, checks its health no more and chooses it for no
//! scale-in, so that the group goes to 0/0/0 like any other and nothing has to be suspended that somebody would have to resume. It stays a member
//! that the console shows, unlike a detached one, which nobody would find again. Its agent closes intake and ends nothing (`decide`).
//!
//! What must stay true: the tag is written with the hold, before the switch, and names whoever may be in standby because of us; a member in standby
//! that it does not name is somebody else's.

use std::collections::BTreeSet;

use super::facts::Facts;
use crate::model::Group;
use crate::model::GroupInstance;
use crate::model::InstanceId;
use crate::model::LifecycleState;

/// The group tag with the ids of the kept.
pub const KEPT_TAG: &str = "bellrock:kept";
/// Most that are kept: as many as fit into the tag, with room to spare. A post-mortem needs one or two.
pub const KEPT_MOST: u32 = 10;

/// Those that the group's tag names.
pub fn named(group: &Group) -> Vec<InstanceId> {
    let text = group.tags.get(KEPT_TAG).map_or("", String::as_str);
    text.split_whitespace().map(InstanceId::from).collect()
}

/// The tag's value.
pub fn text(kept: &[InstanceId]) -> String {
    kept.iter().map(InstanceId::as_str).collect::<Vec<_>>().join(" ")
}

/// Members that are in standby because a rollback keeps them.
pub fn in_standby(group: &Group) -> impl Iterator<Item = &GroupInstance> {
    let named = named(group);
    group.instances.iter().filter(move |i| is_standby(&i.state) && named.contains(&i.id))
}

/// In standby, or on the way there.
pub fn is_standby(state: &LifecycleState) -> bool {
    matches!(state, LifecycleState::Standby | LifecycleState::EnteringStandby)
}

/// Whom to keep: members in service, those that do not serve first, since they are the evidence.
pub fn choose(facts: &Facts, group: &Group, count: u32) -> Vec<InstanceId> {
    let serving: BTreeSet<&InstanceId> = facts.serving(group).map(|i| &i.id).collect();
    let mut members: Vec<&InstanceId> = group.instances.iter().filter(|i| i.state == LifecycleState::InService).map(|i| &i.id).collect();
    members.sort_by_key(|id| (serving.contains(id), *id));
    members.into_iter().take(usize::try_from(count).unwrap_or(usize::MAX)).cloned().collect()
}

/// Who is kept, and the commands that let them go; `None` when nobody is. Nothing is launched in their place: the group wants nobody.
pub fn account(group: &Group) -> Option<String> {
    let kept: Vec<&GroupInstance> = in_standby(group).collect();
    let ids: Vec<&str> = kept.iter().map(|i| i.id.as_str()).collect();
    let command = |id: &&str| {
        format!("aws autoscaling terminate-instance-in-auto-scaling-group --no-should-decrement-desired-capacity --instance-id {id}")
    };
    let commands: Vec<String> = ids.iter().map(command).collect();
    (!kept.is_empty())
        .then(|| format!("{}: {} in standby for the post-mortem; let go with: {}", group.name, ids.join(", "), commands.join("; ")))
}
