//! Instance refreshes: minimal, with real states. One instance after the other, ended first, replaced then (draining.md §4.11).

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::Region;
use super::SimTime;
use super::api::ApiError;
use super::api::ApiResult;
use super::region::Event;
use super::truth::Why;
use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Process;
use crate::model::Timestamp;

/// Between two looks at a refresh.
const STEP: Duration = Duration::from_secs(15);

/// How long a protected instance is waited for before the refresh fails (draining.md §4.3).
const PROTECTED_PATIENCE: Duration = Duration::from_secs(3600);

/// An instance refresh as `DescribeInstanceRefreshes` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceRefresh {
    /// Its id.
    pub id: String,
    /// Its group.
    pub group: GroupName,
    /// `Pending`, `InProgress`, `Successful`, `Failed`, `Cancelling`, `Cancelled`.
    pub status: &'static str,
    /// Why it is as it is.
    pub reason: Option<String>,
    /// 0 to 100.
    pub percent: u32,
    /// Start.
    pub started: Timestamp,
    /// End.
    pub ended: Option<Timestamp>,
    /// How many are still to be replaced.
    pub left: usize,
}

#[derive(Clone, Debug)]
pub(super) struct RefreshState {
    shown: InstanceRefresh,
    todo: Vec<InstanceId>,
    total: usize,
    waiting_since: SimTime,
}

impl Region {
    /// `StartInstanceRefresh`; answers its id.
    pub fn start_instance_refresh(&mut self, name: &GroupName) -> ApiResult<String> {
        self.mutate("StartInstanceRefresh", json!({"AutoScalingGroupName": name}), |r| {
            let group = r.changeable(name)?;
            if group.refreshes.iter().any(|f| f.shown.ended.is_none()) {
                return Err(ApiError::new(
                    "InstanceRefreshInProgress",
                    "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.",
                ));
            }
            let todo: Vec<_> = group.members.clone();
            let (id, started, now) = (r.uuid(), r.wall(), r.now);
            let shown = InstanceRefresh {
                id: id.clone(),
                group: name.clone(),
                status: "Pending",
                reason: None,
                percent: 0,
                started,
                ended: None,
                left: todo.len(),
            };
            if let Some(group) = r.groups.get_mut(name) {
                group.refreshes.push(RefreshState { shown, total: todo.len(), todo, waiting_since: now });
            }
            let delay = r.pace.react.draw(&mut r.rng);
            r.after(delay, Event::RefreshStep(name.clone()));
            Ok(id)
        })
    }

    /// `CancelInstanceRefresh`; answers its id. What it replaced stays replaced.
    pub fn cancel_instance_refresh(&mut self, name: &GroupName) -> ApiResult<String> {
        self.mutate("CancelInstanceRefresh", json!({"AutoScalingGroupName": name}), |r| {
            r.known_group(name)?;
            let running = r.groups.get_mut(name).and_then(|g| g.refreshes.iter_mut().find(|f| f.shown.ended.is_none()));
            let Some(refresh) = running else {
                return Err(ApiError::new(
                    "ActiveInstanceRefreshNotFound",
                    format!("No in progress or pending Instance Refresh found for Auto Scaling group {name}"),
                ));
            };
            refresh.shown.status = "Cancelling";
            Ok(refresh.shown.id.clone())
        })
    }

    /// `DescribeInstanceRefreshes`, newest first.
    pub fn describe_instance_refreshes(&mut self, name: &GroupName) -> ApiResult<Vec<InstanceRefresh>> {
        Ok(self.known_group(name)?.refreshes.iter().rev().map(|f| f.shown.clone()).collect())
    }

    pub(super) fn refresh_step(&mut self, name: &GroupName) {
        let Some(group) = self.groups.get(name) else { return };
        let Some(at) = group.refreshes.iter().position(|f| f.shown.ended.is_none()) else { return };
        let mut refresh = group.refreshes[at].clone();
        let desired = usize::try_from(group.capacity.desired).unwrap_or(usize::MAX);
        let serving = group.members.iter().filter_map(|id| self.instances.get(id)).filter(|i| i.state == LifecycleState::InService).count();
        let suspended = !group.runs(&Process::InstanceRefresh);
        refresh.todo.retain(|id| self.instances.get(id).is_some_and(|i| i.group.as_ref() == Some(name) && !i.state.is_ending()));
        refresh.shown.left = refresh.todo.len();
        let done = refresh.total - refresh.todo.len();
        refresh.shown.percent = u32::try_from(done * 100 / refresh.total.max(1)).unwrap_or(100);
        let mut victim = None;
        if refresh.shown.status == "Cancelling" {
            (refresh.shown.status, refresh.shown.ended) = ("Cancelled", Some(self.wall()));
        } else if !suspended && serving >= desired {
            refresh.shown.status = "InProgress";
            if refresh.todo.is_empty() {
                (refresh.shown.status, refresh.shown.ended, refresh.shown.percent) = ("Successful", Some(self.wall()), 100);
            } else if let Some(next) = refresh.todo.iter().find(|id| self.instances.get(id).is_some_and(|i| !i.protected)) {
                victim = Some(next.clone());
                refresh.waiting_since = self.now;
            } else if self.now >= refresh.waiting_since + PROTECTED_PATIENCE {
                (refresh.shown.status, refresh.shown.ended) = ("Failed", Some(self.wall()));
                refresh.shown.reason = Some("Instances that are protected from scale-in were waited for, in vain.".into());
            }
        }
        if refresh.shown.ended.is_none() {
            self.after(STEP, Event::RefreshStep(name.clone()));
        }
        if let Some(group) = self.groups.get_mut(name) {
            group.refreshes[at] = refresh;
        }
        if let Some(id) = victim {
            self.begin_termination(&id, false, Why::Refresh, "in response to an instance refresh".into());
            self.steer(name);
        }
    }

    pub(super) fn fail_refresh(&mut self, name: &GroupName, why: &str) {
        let ended = self.wall();
        if let Some(f) = self.groups.get_mut(name).and_then(|g| g.refreshes.iter_mut().find(|f| f.shown.ended.is_none())) {
            (f.shown.status, f.shown.ended, f.shown.reason) = ("Failed", Some(ended), Some(why.to_owned()));
        }
    }
}
