//! What fights back: scheduled actions and an alarm's policy (draining.md §4.14).

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::Region;
use super::SimTime;
use super::api::ApiError;
use super::api::ApiResult;
use super::region::Event;
use super::span::opt_secs;
use super::span::secs;
use super::spec::ScheduledSpec;
use crate::model::Capacity;
use crate::model::GroupName;
use crate::model::Process;

/// A scheduled action as `DescribeScheduledActions` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scheduled {
    /// Its group.
    pub group: GroupName,
    /// Its name.
    pub name: String,
    /// When it is due next.
    #[serde(with = "secs")]
    pub due: SimTime,
    /// Again after this long.
    #[serde(with = "opt_secs")]
    pub every: Option<Duration>,
    /// `MinSize`.
    pub min: Option<u32>,
    /// `MaxSize`.
    pub max: Option<u32>,
    /// `DesiredCapacity`.
    pub desired: Option<u32>,
    serial: u64,
}

impl Region {
    /// `PutScheduledUpdateGroupAction`.
    pub fn put_scheduled_update_group_action(&mut self, name: &GroupName, spec: &ScheduledSpec) -> ApiResult<()> {
        self.mutate("PutScheduledUpdateGroupAction", json!({"AutoScalingGroupName": name, "Action": spec}), |r| {
            let old = r.changeable(name)?.scheduled.get(&spec.name).map_or(0, |s| s.serial);
            if spec.at < r.now {
                return Err(ApiError::validation("Given start time is in the past"));
            }
            if spec.min.is_none() && spec.max.is_none() && spec.desired.is_none() {
                return Err(ApiError::validation("At least one of MinSize, MaxSize and DesiredCapacity has to be given."));
            }
            let serial = old + 1;
            let scheduled = Scheduled {
                group: name.clone(),
                name: spec.name.clone(),
                due: spec.at,
                every: spec.every.filter(|every| !every.is_zero()),
                min: spec.min,
                max: spec.max,
                desired: spec.desired,
                serial,
            };
            if let Some(group) = r.groups.get_mut(name) {
                group.scheduled.insert(spec.name.clone(), scheduled);
            }
            r.at(spec.at, Event::Scheduled(name.clone(), spec.name.clone(), serial));
            Ok(())
        })
    }

    /// `DeleteScheduledAction`.
    pub fn delete_scheduled_action(&mut self, name: &GroupName, action: &str) -> ApiResult<()> {
        self.mutate("DeleteScheduledAction", json!({"AutoScalingGroupName": name, "ScheduledActionName": action}), |r| {
            r.known_group(name)?;
            let removed = r.groups.get_mut(name).and_then(|g| g.scheduled.remove(action));
            removed.map(drop).ok_or_else(|| ApiError::validation(format!("Scheduled action name not found - {action}")))
        })
    }

    /// `DescribeScheduledActions`; no group = all groups.
    pub fn describe_scheduled_actions(&mut self, name: Option<&GroupName>) -> ApiResult<Vec<Scheduled>> {
        let groups = self.groups.values().filter(|g| name.is_none_or(|n| &g.name == n));
        Ok(groups.flat_map(|g| g.scheduled.values().cloned()).collect())
    }

    pub(super) fn scheduled_due(&mut self, name: &GroupName, action: &str, serial: u64) {
        let Some(group) = self.groups.get_mut(name) else { return };
        let Some(due) = group.scheduled.get(action).filter(|s| s.serial == serial).cloned() else { return };
        match due.every {
            Some(every) => {
                if let Some(s) = group.scheduled.get_mut(action) {
                    s.due += every;
                }
                self.at(due.due + every, Event::Scheduled(name.clone(), action.to_owned(), serial));
            }
            None => {
                group.scheduled.remove(action);
            }
        }
        // One that comes due while the process is suspended is skipped, not put off (§4.4).
        let Some(group) = self.groups.get(name).filter(|g| g.runs(&Process::ScheduledActions) && !g.deleting) else { return };
        let old = group.capacity;
        let max = due.max.unwrap_or(old.max);
        let min = due.min.unwrap_or(old.min).min(max);
        let desired = due.desired.unwrap_or(old.desired).clamp(min, max);
        let reason = format!(
            "a scheduled action update of AutoScalingGroup constraints to min: {min}, max: {max}, desired: {desired} changing the desired capacity from {} to {desired}.",
            old.desired
        );
        self.set_capacity(name, Capacity { min, max, desired }, Some(reason));
    }

    /// The alarm's policy acts, when it is in alarm and may.
    pub(super) fn alarm_acts(&mut self, name: &GroupName) {
        let Some(group) = self.groups.get(name).filter(|g| g.runs(&Process::AlarmNotification) && !g.deleting) else { return };
        let (Some(wanted), old) = (group.alarm, group.capacity) else { return };
        let desired = wanted.clamp(old.min, old.max);
        if desired != old.desired {
            let reason = format!(
                "a monitor alarm in state ALARM triggered policy fights-back changing the desired capacity from {} to {desired}.",
                old.desired
            );
            self.set_capacity(name, Capacity { desired, ..old }, Some(reason));
        }
    }
}
