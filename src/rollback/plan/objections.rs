//! What stands in the way of rolling a cluster back. Pure.

use super::super::facts::Backend;
use super::super::facts::Facts;
use super::super::facts::backends_of;
use super::Choice;
use super::Finding;
use super::Refusal;
use super::Request;
use super::Way;
use super::alive;
use super::ending_resumed;
use super::is_recorded;
use crate::model::Group;
use crate::model::GroupInstance;
use crate::model::Hold;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Process;
use crate::model::Timestamp;

pub(super) fn objections(request: &Request, facts: &Facts, choice: &Choice<'_>, now: Timestamp) -> Vec<Refusal> {
    let mut found = Vec::new();
    let cluster = choice.cluster.to_owned();
    for version in choice.retire.iter().chain([&choice.restore]) {
        let group = &version.group;
        if let Some(status) = &group.status {
            found.push(Refusal::GroupBeingDeleted { group: group.name.clone(), status: status.clone() });
        }
        if let Some(status) = facts.refreshing.get(&group.name).filter(|_| choice.way != Way::PutBack) {
            found.push(Refusal::RefreshInProgress { group: group.name.clone(), status: status.clone() });
        }
    }
    for group in choice.held().map(|v| &v.group) {
        match Hold::parse(&group.tags) {
            Ok(Some(hold)) if hold.is_live(now) && hold.owner != request.owner => {
                found.push(Refusal::Held { group: group.name.clone(), owner: hold.owner, expires: hold.expires.to_string() });
            }
            // What is dead is gone on with only when somebody says so.
            Ok(Some(hold)) if hold.owner != request.owner && is_recorded(group) && !request.resume && !request.undo => {
                found.push(Refusal::Unfinished { group: group.name.clone(), owner: hold.owner, expired: hold.expires.to_string() });
            }
            Ok(_) => {}
            Err(problem) => {
                found.push(Refusal::Held { group: group.name.clone(), owner: problem.to_string(), expires: "an unknown time".to_owned() });
            }
        }
    }
    if choice.way == Way::PutBack {
        return found;
    }
    for group in choice.retire.iter().map(|v| &v.group) {
        found.extend(cannot_end(group));
    }
    let gone = |b: &Backend| facts.backends.get(b).is_some_and(|f| f.gone);
    for backend in backends_of(&choice.restore.group).into_iter().filter(gone) {
        found.push(Refusal::LoadBalancerGone { group: choice.restore.group.name.clone(), load_balancer: backend.to_string() });
    }
    let newest_disabled = choice.retire.last().is_none_or(|newest| newest.group.is_disabled());
    if choice.restore.group.is_disabled() && newest_disabled {
        let groups = choice.retire.last().into_iter().chain([&choice.restore]).map(|v| v.group.name.clone()).collect();
        found.push(Refusal::BothDisabled { cluster: cluster.clone(), groups });
    }
    let desired = choice.restore.group.capacity.desired;
    if choice.singleton.is_some() && desired > 1 {
        found.push(Refusal::SingletonHasMany { cluster: cluster.clone(), group: choice.restore.group.name.clone(), desired });
    }
    if let Some(count) = choice.count.filter(|count| choice.singleton.is_some() && *count != 1) {
        found.push(Refusal::SingletonCount { cluster, count });
    }
    found
}

/// Why members of a group that is set to nothing would live on, and work on.
fn cannot_end(group: &Group) -> Option<Refusal> {
    let list =
        |which: &dyn Fn(&GroupInstance) -> bool| -> Vec<InstanceId> { alive(group).filter(|i| which(i)).map(|i| i.id.clone()).collect() };
    let name = || group.name.clone();
    let standby = list(&|i| matches!(i.state, LifecycleState::Standby | LifecycleState::EnteringStandby));
    let protected = list(&|i| i.protected);
    if !standby.is_empty() {
        return Some(Refusal::InStandby { group: name(), instances: standby });
    }
    if !protected.is_empty() {
        return Some(Refusal::Protected { group: name(), instances: protected });
    }
    let stuck = group.suspended.contains_key(&Process::Terminate) && alive(group).next().is_some() && ending_resumed(group).is_none();
    stuck.then(|| Refusal::TerminateSuspended { group: name() })
}

/// Why waiting for the restored group would come to nothing. One that has begun goes on: it has groups to put in order, and may be undone.
pub(super) fn cannot_launch(choice: &Choice<'_>, findings: &[Finding]) -> Option<Refusal> {
    let group = &choice.restore.group.name;
    let causes: Vec<Finding> = findings.iter().filter(|finding| finding.blocks(group)).cloned().collect();
    let is_fresh = choice.held().all(|version| !is_recorded(&version.group));
    (is_fresh && !causes.is_empty()).then(|| Refusal::CannotLaunch { group: group.clone(), causes })
}
