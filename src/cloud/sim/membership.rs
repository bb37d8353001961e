//! Calls about members and processes: protection, health, standby, attach and detach, suspend and resume (draining.md §4.3, §4.4, §4.8, §4.9).

use serde_json::json;

use super::Region;
use super::api::ApiError;
use super::api::ApiResult;
use super::group::Activity;
use super::region::Event;
use crate::model::Capacity;
use crate::model::GroupName;
use crate::model::InstanceHealth;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Process;

/// The processes that can be suspended.
pub const PROCESSES: [Process; 9] = [
    Process::Launch,
    Process::Terminate,
    Process::AddToLoadBalancer,
    Process::AlarmNotification,
    Process::AZRebalance,
    Process::HealthCheck,
    Process::ReplaceUnhealthy,
    Process::InstanceRefresh,
    Process::ScheduledActions,
];

impl Region {
    /// `SetInstanceProtection`, at most 50 ids; success means that no scale-in had picked them (draining.md §4.3).
    pub fn set_instance_protection(&mut self, name: &GroupName, ids: &[InstanceId], protected: bool) -> ApiResult<()> {
        let args = json!({"AutoScalingGroupName": name, "InstanceIds": ids, "ProtectedFromScaleIn": protected});
        self.mutate("SetInstanceProtection", args, |r| {
            r.members_in(name, ids, 50, &[LifecycleState::InService, LifecycleState::EnteringStandby, LifecycleState::Standby])?;
            for id in ids {
                if let Some(i) = r.instance_mut(id) {
                    i.protected = protected;
                }
            }
            if !protected {
                r.steer(name);
            }
            Ok(())
        })
    }

    /// `SetInstanceHealth`. Within its grace an instance is spared, when `respect_grace` says so; AWS's answer is a success all the same.
    pub fn set_instance_health(&mut self, id: &InstanceId, health: InstanceHealth, respect_grace: bool) -> ApiResult<()> {
        let args = json!({"InstanceId": id, "HealthStatus": health, "ShouldRespectGracePeriod": respect_grace});
        self.mutate("SetInstanceHealth", args, |r| {
            let found = r.instances.get(id).and_then(|i| Some((i, i.group.clone()?)));
            let Some((i, name)) = found else { return Err(ApiError::no_managed_instance(id.as_str())) };
            if matches!(health, InstanceHealth::Other(_)) {
                return Err(ApiError::validation("HealthStatus must be one of Healthy, Unhealthy."));
            }
            let grace = r.groups.get(&name).map_or(0, |g| g.grace_s);
            let spared = i.in_service.is_none_or(|since| r.now < since + std::time::Duration::from_secs(u64::from(grace)));
            if health == InstanceHealth::Unhealthy && respect_grace && spared && grace > 0 {
                return Ok(());
            }
            if let Some(i) = r.instance_mut(id) {
                i.health = health;
            }
            r.steer(&name);
            Ok(())
        })
    }

    /// `SuspendProcesses`; no names = all nine, as AWS takes it.
    pub fn suspend_processes(&mut self, name: &GroupName, processes: &[Process]) -> ApiResult<()> {
        self.mutate("SuspendProcesses", json!({"AutoScalingGroupName": name, "ScalingProcesses": processes}), |r| {
            let processes = named(processes)?;
            r.changeable(name)?;
            let why = format!("User suspended at {}", super::instance::stamp(r.wall()));
            if let Some(group) = r.group_mut(name) {
                for process in processes {
                    group.suspended.entry(process).or_insert_with(|| why.clone());
                }
            }
            Ok(())
        })
    }

    /// `ResumeProcesses`; no names = all. What was held back happens at once (F28), except registration: that is not made up for (F57).
    pub fn resume_processes(&mut self, name: &GroupName, processes: &[Process]) -> ApiResult<()> {
        self.mutate("ResumeProcesses", json!({"AutoScalingGroupName": name, "ScalingProcesses": processes}), |r| {
            let processes = named(processes)?;
            r.changeable(name)?;
            if let Some(group) = r.group_mut(name) {
                group.suspended.retain(|p, _| !processes.contains(p));
                group.backoff = super::SimTime::ZERO;
            }
            if processes.contains(&Process::HealthCheck) {
                for id in r.groups.get(name).map(|g| g.members.clone()).unwrap_or_default() {
                    let delay = r.pace.react.draw(&mut r.rng);
                    r.after(delay, Event::CheckHealth(id));
                }
            }
            if processes.contains(&Process::AlarmNotification) {
                r.alarm_acts(name);
            }
            if processes.contains(&Process::InstanceRefresh) {
                r.after(r.pace.react.min, Event::RefreshStep(name.clone()));
            }
            r.steer(name);
            Ok(())
        })
    }

    /// `EnterStandby`, at most 20 ids. They leave the load balancers and live on, uncounted and unchecked.
    pub fn enter_standby(&mut self, name: &GroupName, ids: &[InstanceId], decrement: bool) -> ApiResult<Vec<Activity>> {
        let args = json!({"AutoScalingGroupName": name, "InstanceIds": ids, "ShouldDecrementDesiredCapacity": decrement});
        self.mutate("EnterStandby", args, |r| {
            r.members_in(name, ids, 20, &[LifecycleState::InService])?;
            r.room_to_shrink(name, ids.len(), decrement)?;
            let mut activities = Vec::new();
            for id in ids {
                r.deregister_member(id);
                r.enter(id, LifecycleState::Standby);
                if let Some(i) = r.instance_mut(id) {
                    i.notices.target_state = Some(LifecycleState::Standby);
                }
                if decrement {
                    r.decrement(name, id);
                }
                activities.extend(r.done(name, id, "Moving EC2 instance to Standby", "moved to standby"));
            }
            r.steer(name);
            Ok(activities)
        })
    }

    /// `ExitStandby`, at most 20 ids: desired goes up with them. Blocked while `Launch` is suspended.
    pub fn exit_standby(&mut self, name: &GroupName, ids: &[InstanceId]) -> ApiResult<Vec<Activity>> {
        self.mutate("ExitStandby", json!({"AutoScalingGroupName": name, "InstanceIds": ids}), |r| {
            r.members_in(name, ids, 20, &[LifecycleState::Standby])?;
            r.room_to_grow(name, ids.len())?;
            let mut activities = Vec::new();
            for id in ids {
                activities.extend(r.done(name, id, "Moving EC2 instance out of Standby", "moved out of standby"));
                r.put_in_service(id);
            }
            Ok(activities)
        })
    }

    /// `DetachInstances`, at most 20 ids: no hook runs, the machines live on without a group.
    pub fn detach_instances(&mut self, name: &GroupName, ids: &[InstanceId], decrement: bool) -> ApiResult<Vec<Activity>> {
        let args = json!({"AutoScalingGroupName": name, "InstanceIds": ids, "ShouldDecrementDesiredCapacity": decrement});
        self.mutate("DetachInstances", args, |r| {
            r.members_in(name, ids, 20, &[LifecycleState::InService, LifecycleState::Standby])?;
            r.room_to_shrink(name, ids.len(), decrement)?;
            let mut activities = Vec::new();
            for id in ids {
                r.deregister_member(id);
                if decrement {
                    r.decrement(name, id);
                }
                activities.extend(r.done(name, id, "Detaching EC2 instance", "detached"));
                r.enter(id, LifecycleState::Detached);
                r.leave_group(id);
                if let Some(i) = r.instances.get_mut(id) {
                    i.protected = false;
                    i.notices.target_state = Some(LifecycleState::Detached);
                }
            }
            r.steer(name);
            Ok(activities)
        })
    }

    /// `AttachInstances`, at most 20 ids: desired goes up with them. Blocked while `Launch` is suspended.
    pub fn attach_instances(&mut self, name: &GroupName, ids: &[InstanceId]) -> ApiResult<()> {
        self.mutate("AttachInstances", json!({"AutoScalingGroupName": name, "InstanceIds": ids}), |r| {
            r.changeable(name)?;
            for id in ids {
                let instance = r.instances.get(id).filter(|i| !i.ec2.is_over());
                let Some(instance) = instance else { return Err(ApiError::validation(format!("Invalid Instance ID: {id}"))) };
                if let Some(owner) = &instance.group {
                    return Err(ApiError::validation(format!("Instance {id} is already part of AutoScalingGroup:{owner}")));
                }
            }
            r.room_to_grow(name, ids.len())?;
            for id in ids {
                if let Some(group) = r.group_mut(name) {
                    group.members.push(id.clone());
                }
                if let Some(i) = r.instances.get_mut(id) {
                    i.group = Some(name.clone());
                    i.health = InstanceHealth::Healthy;
                }
                r.done(name, id, "Attaching an existing EC2 instance", "attached");
                r.put_in_service(id);
            }
            Ok(())
        })
    }

    fn members_in(&self, name: &GroupName, ids: &[InstanceId], most: usize, states: &[LifecycleState]) -> ApiResult<()> {
        let group = self.changeable(name)?;
        if ids.is_empty() || ids.len() > most {
            return Err(ApiError::validation(format!("The number of instance ids must be between 1 and {most}.")));
        }
        for id in ids {
            let instance = self.instances.get(id).filter(|_| group.members.contains(id));
            let Some(instance) = instance else {
                return Err(ApiError::validation(format!("The instance {id} is not part of Auto Scaling group {name}.")));
            };
            if !states.contains(&instance.state) {
                let words: Vec<_> = states.iter().map(LifecycleState::as_str).collect();
                return Err(ApiError::validation(format!("The instance {id} is not in {}.", words.join(" or "))));
            }
        }
        Ok(())
    }

    fn room_to_shrink(&self, name: &GroupName, n: usize, decrement: bool) -> ApiResult<()> {
        let capacity = self.known_group(name)?.capacity;
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        if decrement && capacity.desired.saturating_sub(n) < capacity.min {
            return Err(ApiError::validation(format!(
                "AutoScalingGroup '{name}' has min-size={}, max-size={}, and desired-size={}. To place into standby or detach {n} instance(s), please lower the min-size first.",
                capacity.min, capacity.max, capacity.desired
            )));
        }
        Ok(())
    }

    /// Room for `n` more, taken at once.
    fn room_to_grow(&mut self, name: &GroupName, n: usize) -> ApiResult<()> {
        let group = self.known_group(name)?;
        let (capacity, n) = (group.capacity, u32::try_from(n).unwrap_or(u32::MAX));
        if !group.runs(&Process::Launch) {
            return Err(ApiError::validation(format!("The Launch process is suspended for AutoScalingGroup {name}.")));
        }
        let desired = capacity.desired.saturating_add(n);
        if desired > capacity.max {
            let words = format!(
                "AutoScalingGroup '{name}' has max-size={}, and desired-size={}: there is no room for {n} more.",
                capacity.max, capacity.desired
            );
            return Err(ApiError::validation(words));
        }
        self.set_capacity(name, Capacity { desired, ..capacity }, None);
        Ok(())
    }

    fn done(&mut self, name: &GroupName, id: &InstanceId, what: &str, how: &str) -> Option<Activity> {
        let zone = self.instances.get(id).map(|i| i.zone.clone()).unwrap_or_default();
        let cause = format!("At {} instance {id} was {how} in response to a user request.", super::instance::stamp(self.wall()));
        let activity = self.begin_activity(name, format!("{what}: {id}"), cause, "InProgress", &zone);
        self.end_activity(name, &activity, "Successful", None);
        if let Some(i) = self.instance_mut(id) {
            i.activity = activity.clone();
        }
        self.groups.get(name)?.activities.iter().rev().find(|a| a.id == activity).cloned()
    }
}

/// The processes meant; an empty list is all of them, an unknown name is refused.
fn named(processes: &[Process]) -> ApiResult<Vec<Process>> {
    if let Some(Process::Other(word)) = processes.iter().find(|p| matches!(p, Process::Other(_))) {
        return Err(ApiError::validation(format!("{word} is not a valid process type.")));
    }
    Ok(if processes.is_empty() { PROCESSES.to_vec() } else { processes.to_vec() })
}
