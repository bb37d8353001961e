//! Lifecycle hooks: actions that wait, their timers, their answers (draining.md §4.7).

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::Region;
use super::SimTime;
use super::api::ApiError;
use super::api::ApiResult;
use super::region::Event;
use super::spec::HookSpec;
use super::spec::Transition;
use super::truth::Why;
use crate::model::GroupName;
use crate::model::HookResult;
use crate::model::InstanceId;
use crate::model::LifecycleState;

/// Nothing waits longer than this, nor than a hundred heartbeats.
const GLOBAL_LIMIT: Duration = Duration::from_secs(48 * 3600);

/// A hook as `DescribeLifecycleHooks` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: GroupName,
    /// When it runs.
    pub transition: Transition,
    /// Heartbeat timeout.
    pub heartbeat_s: u32,
    /// The longest it can wait: min(48 h, 100 heartbeats).
    pub global_s: u64,
    /// What silence means.
    pub default_result: HookResult,
}

/// An action that waits for an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wait {
    hook: String,
    token: String,
    transition: Transition,
    heartbeat: Duration,
    default: HookResult,
    since: SimTime,
    limit: SimTime,
    serial: u64,
}

/// How a caller names an action: its token, or the instance (that suffices).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionRef<'a> {
    /// `LifecycleActionToken`.
    Token(&'a str),
    /// `InstanceId`.
    Instance(&'a InstanceId),
}

impl Region {
    /// `DescribeLifecycleHooks`; no names = all.
    pub fn describe_lifecycle_hooks(&mut self, name: &GroupName, hooks: &[String]) -> ApiResult<Vec<Hook>> {
        let group = self.known_group(name)?;
        Ok(group.hooks.values().filter(|h| hooks.is_empty() || hooks.contains(&h.name)).cloned().collect())
    }

    /// `PutLifecycleHook`. Actions that wait already keep their timers.
    pub fn put_lifecycle_hook(&mut self, name: &GroupName, spec: &HookSpec) -> ApiResult<()> {
        let args = json!({"AutoScalingGroupName": name, "Hook": spec});
        self.mutate("PutLifecycleHook", args, |r| r.put_hook(name, spec))
    }

    pub(super) fn put_hook(&mut self, name: &GroupName, spec: &HookSpec) -> ApiResult<()> {
        let group = self.changeable(name)?;
        if !(30..=7200).contains(&spec.heartbeat_s) {
            return Err(ApiError::validation("HeartbeatTimeout must be between 30 and 7200 seconds."));
        }
        if group.hooks.len() >= 50 && !group.hooks.contains_key(&spec.name) {
            return Err(ApiError::new("LimitExceeded", "You have reached the limit of lifecycle hooks per AutoScalingGroup (50)."));
        }
        let hook = Hook {
            name: spec.name.clone(),
            group: name.clone(),
            transition: spec.transition,
            heartbeat_s: spec.heartbeat_s,
            global_s: GLOBAL_LIMIT.as_secs().min(u64::from(spec.heartbeat_s) * 100),
            default_result: spec.default_result,
        };
        if let Some(group) = self.groups.get_mut(name) {
            group.hooks.insert(hook.name.clone(), hook);
        }
        Ok(())
    }

    /// `DeleteLifecycleHook`. Outstanding actions are completed: CONTINUE for ending instances, ABANDON for launching ones (F66).
    pub fn delete_lifecycle_hook(&mut self, name: &GroupName, hook: &str) -> ApiResult<()> {
        self.mutate("DeleteLifecycleHook", json!({"AutoScalingGroupName": name, "LifecycleHookName": hook}), |r| {
            let group = r.known_group(name)?;
            if !group.hooks.contains_key(hook) {
                return Err(ApiError::validation(format!("No Lifecycle Hook found with name: {hook}")));
            }
            let members = group.members.clone();
            if let Some(group) = r.groups.get_mut(name) {
                group.hooks.remove(hook);
            }
            for id in members {
                let Some(wait) = r.instances.get(&id).and_then(|i| i.waits.iter().find(|w| w.hook == hook)) else { continue };
                let (token, result) = (
                    wait.token.clone(),
                    match wait.transition {
                        Transition::Launching => HookResult::Abandon,
                        Transition::Terminating => HookResult::Continue,
                    },
                );
                r.complete(&id, &token, result);
            }
            Ok(())
        })
    }

    /// `RecordLifecycleActionHeartbeat`: restarts the heartbeat timer, never the global one.
    pub fn record_lifecycle_action_heartbeat(&mut self, name: &GroupName, hook: &str, action: ActionRef<'_>) -> ApiResult<()> {
        self.mutate("RecordLifecycleActionHeartbeat", named(name, hook, action, None), |r| {
            let (id, token) = r.find_action(name, hook, action)?;
            let now = r.now;
            let wait = r.instances.get_mut(&id).and_then(|i| i.waits.iter_mut().find(|w| w.token == token));
            let Some(wait) = wait else { return Err(no_action(action)) };
            wait.serial += 1;
            let (due, serial) = ((now + wait.heartbeat).min(wait.limit), wait.serial);
            r.at(due, Event::HookTimeout(id, token, serial));
            Ok(())
        })
    }

    /// `CompleteLifecycleAction`.
    pub fn complete_lifecycle_action(&mut self, name: &GroupName, hook: &str, action: ActionRef<'_>, result: HookResult) -> ApiResult<()> {
        self.mutate("CompleteLifecycleAction", named(name, hook, action, Some(result)), |r| {
            let (id, token) = r.find_action(name, hook, action)?;
            r.complete(&id, &token, result);
            Ok(())
        })
    }

    /// The token of the action that waits, for tests and for what a notification would carry.
    pub fn lifecycle_action_token(&self, id: &InstanceId, hook: &str) -> Option<String> {
        self.instances.get(id)?.waits.iter().find(|w| w.hook == hook).map(|w| w.token.clone())
    }

    fn find_action(&self, name: &GroupName, hook: &str, action: ActionRef<'_>) -> ApiResult<(InstanceId, String)> {
        let group = self.known_group(name)?;
        if !group.hooks.contains_key(hook) {
            return Err(ApiError::validation(format!("No Lifecycle Hook found with name: {hook}")));
        }
        let visible = |w: &&Wait| self.now >= w.since + self.undocumented.hook_invisible;
        for id in &group.members {
            let Some(i) = self.instances.get(id) else { continue };
            for wait in i.waits.iter().filter(|w| w.hook == hook).filter(visible) {
                let named = match action {
                    ActionRef::Token(token) => wait.token == token,
                    ActionRef::Instance(instance) => id == instance,
                };
                if named {
                    return Ok((id.clone(), wait.token.clone()));
                }
            }
        }
        Err(no_action(action))
    }

    /// Puts every hook of this transition in front of the instance; false when there is none.
    pub(super) fn begin_waits(&mut self, id: &InstanceId, transition: Transition) -> bool {
        let group = self.instances.get(id).and_then(|i| i.group.clone());
        let hooks: Vec<Hook> = group
            .and_then(|g| self.groups.get(&g))
            .map(|g| g.hooks.values().filter(|h| h.transition == transition).cloned().collect())
            .unwrap_or_default();
        for hook in &hooks {
            let token = self.uuid();
            let heartbeat = Duration::from_secs(u64::from(hook.heartbeat_s));
            let wait = Wait {
                hook: hook.name.clone(),
                token: token.clone(),
                transition,
                heartbeat,
                default: hook.default_result,
                since: self.now,
                limit: self.now + Duration::from_secs(hook.global_s),
                serial: 0,
            };
            self.after(heartbeat, Event::HookTimeout(id.clone(), token, 0));
            if let Some(i) = self.instance_mut(id) {
                i.waits.push(wait);
            }
        }
        !hooks.is_empty()
    }

    pub(super) fn hook_timeout(&mut self, id: &InstanceId, token: &str, serial: u64) {
        let wait = self.instances.get(id).and_then(|i| i.waits.iter().find(|w| w.token == token && w.serial == serial));
        let Some(result) = wait.map(|w| w.default) else { return };
        self.complete(id, token, result);
    }

    fn retains(&self, id: &InstanceId) -> bool {
        let group = self.instances.get(id).and_then(|i| i.group.as_ref()).and_then(|name| self.groups.get(name));
        group.is_some_and(|group| group.retains_abandoned)
    }

    fn complete(&mut self, id: &InstanceId, token: &str, result: HookResult) {
        let Some(i) = self.instance_mut(id) else { return };
        let Some(at) = i.waits.iter().position(|w| w.token == token) else { return };
        let transition = i.waits.remove(at).transition;
        if result == HookResult::Abandon {
            i.waits.clear();
        }
        if !i.waits.is_empty() {
            return;
        }
        match (transition, result) {
            (Transition::Launching, HookResult::Continue) => {
                self.enter(id, LifecycleState::PendingProceed);
                self.put_in_service(id);
            }
            (Transition::Launching, HookResult::Abandon) => {
                let group = self.instances.get(id).and_then(|i| i.group.clone());
                self.begin_termination(id, false, Why::LaunchAbandoned, "because a lifecycle action was abandoned".into());
                if let Some(group) = group {
                    self.steer(&group);
                }
            }
            // By an explicit ABANDON or by silence with that default; only a terminate call ends it then (draining.md §4.1, §4.7).
            (Transition::Terminating, HookResult::Abandon) if self.retains(id) => self.enter(id, LifecycleState::TerminatingRetained),
            (Transition::Terminating, HookResult::Continue | HookResult::Abandon) => {
                self.enter(id, LifecycleState::TerminatingProceed);
                self.stop_machine(id);
            }
        }
    }
}

fn named(name: &GroupName, hook: &str, action: ActionRef<'_>, result: Option<HookResult>) -> serde_json::Value {
    let (token, instance) = match action {
        ActionRef::Token(token) => (Some(token), None),
        ActionRef::Instance(id) => (None, Some(id)),
    };
    json!({"AutoScalingGroupName": name, "LifecycleHookName": hook, "LifecycleActionToken": token, "InstanceId": instance,
        "LifecycleActionResult": result})
}

fn no_action(action: ActionRef<'_>) -> ApiError {
    ApiError::validation(match action {
        ActionRef::Token(token) => format!("No active Lifecycle Action found with token {token}"),
        ActionRef::Instance(id) => format!("No active Lifecycle Action found with instance ID {id}"),
    })
}
