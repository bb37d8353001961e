//! Instances: from the launch to the end, and what stands in their metadata.
//!
//! The way out (draining.md §4.1, §4.7): `Terminating`, deregistered and drained, then the hooks, then the machine stops. Work that runs
//! when the machine stops is lost.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::Region;
use super::SimTime;
use super::api::ApiError;
use super::api::ApiResult;
use super::group::Activity;
use super::hooks::Wait;
use super::orchestrator::Daemon;
use super::region::ACCOUNT;
use super::region::AUTOSCALING;
use super::region::Event;
use super::region::REGION;
use super::spec::Boot;
use super::spec::Transition;
use super::truth::CapacityChange;
use super::truth::Decrement;
use super::truth::StateChange;
use super::truth::Termination;
use super::truth::Why;
use super::undocumented::SecondTerminate;
use crate::model::GroupName;
use crate::model::InstanceHealth;
use crate::model::InstanceId;
use crate::model::LaunchSource;
use crate::model::LifecycleState;
use crate::model::Process;
use crate::model::Timestamp;

/// How long EC2 shows a terminated instance.
const EC2_LINGER: Duration = Duration::from_secs(3600);

/// EC2's state of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ec2State {
    /// Starting.
    Pending,
    /// Up.
    Running,
    /// On its way down; nothing runs on it any more.
    ShuttingDown,
    /// Gone.
    Terminated,
}

impl Ec2State {
    /// AWS's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
        }
    }

    /// AWS's code.
    pub fn code(self) -> u16 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
        }
    }

    /// Nothing runs on it any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated)
    }
}

/// One instance as it really is.
#[derive(Debug)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// The group that owns it.
    pub group: Option<GroupName>,
    /// Zone name.
    pub zone: String,
    /// AMI id.
    pub image: String,
    /// EC2 type.
    pub instance_type: String,
    /// Private address.
    pub private_ip: String,
    /// Template and the version number that it was really launched from.
    pub launch: Option<LaunchSource>,
    /// Changes with every boot; what `/proc/sys/kernel/random/boot_id` says.
    pub boot_id: String,
    /// When it was launched.
    pub launched: SimTime,
    /// EC2's view.
    pub ec2: Ec2State,
    /// Auto Scaling's view.
    pub state: LifecycleState,
    /// Auto Scaling's opinion.
    pub health: InstanceHealth,
    /// Protected from scale-in.
    pub protected: bool,
    /// What its metadata says, beyond its identity.
    pub notices: Notices,
    pub(super) version: u64,
    pub(super) boot: Boot,
    pub(super) in_service: Option<SimTime>,
    pub(super) waits: Vec<Wait>,
    pub(super) service: Service,
    pub(super) daemon: Option<Daemon>,
    pub(super) queue: String,
    /// Launched ahead of an ending, to even the zones out; not counted until it serves.
    pub(super) extra: bool,
    pub(super) activity: String,
    pub(super) termination: Option<usize>,
}

/// What stands in an instance's metadata, beyond its identity (draining.md §4.13).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Notices {
    /// `autoscaling/target-lifecycle-state`; `None` = 404.
    pub target_state: Option<LifecycleState>,
    /// `spot/instance-action`: the action and its time.
    pub spot: Option<(String, Timestamp)>,
    /// `events/recommendations/rebalance`: when it was noticed.
    pub rebalance: Option<Timestamp>,
    /// `events/maintenance/scheduled`.
    pub maintenance: Vec<MaintenanceEvent>,
}

/// A scheduled maintenance event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MaintenanceEvent {
    /// Its id.
    pub id: String,
    /// `system-reboot`, …
    pub code: String,
    /// Not before.
    pub not_before: Timestamp,
}

/// Whether the health checks of an instance would pass, over time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Service {
    pub(super) up: Option<SimTime>,
    pub(super) last_up: Option<SimTime>,
    pub(super) last_down: Option<SimTime>,
}

/// Everything that instance metadata tells of one instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceMetadata {
    /// `instance-id`.
    pub instance: InstanceId,
    /// Region name.
    pub region: String,
    /// `placement/availability-zone`.
    pub zone: String,
    /// Twelve digits.
    pub account: String,
    /// `ami-id`.
    pub image: String,
    /// `instance-type`.
    pub instance_type: String,
    /// `local-ipv4`.
    pub private_ip: String,
    /// Launch time, for the identity document.
    pub pending_time: Timestamp,
    /// The rest.
    pub notices: Notices,
}

impl InstanceMetadata {
    /// `dynamic/instance-identity/document`.
    pub fn identity_document(&self) -> serde_json::Value {
        json!({
            "accountId": self.account, "architecture": "x86_64", "availabilityZone": self.zone, "imageId": self.image,
            "instanceId": self.instance, "instanceType": self.instance_type, "pendingTime": self.pending_time.to_string(),
            "privateIp": self.private_ip, "region": self.region, "version": "2017-09-30",
        })
    }
}

impl Region {
    /// What instance metadata answers on this instance; `None` when the machine is not up, so that nobody could ask.
    pub fn metadata(&self, id: &InstanceId) -> Option<InstanceMetadata> {
        let i = self.instances.get(id).filter(|i| i.ec2 == Ec2State::Running)?;
        Some(InstanceMetadata {
            instance: i.id.clone(),
            region: REGION.into(),
            zone: i.zone.clone(),
            account: ACCOUNT.into(),
            image: i.image.clone(),
            instance_type: i.instance_type.clone(),
            private_ip: i.private_ip.clone(),
            pending_time: self.wall_at(i.launched),
            notices: i.notices.clone(),
        })
    }

    /// `TerminateInstanceInAutoScalingGroup`. Protection does not stop it (draining.md §4.1, §4.3).
    pub fn terminate_instance_in_auto_scaling_group(&mut self, id: &InstanceId, decrement: bool) -> ApiResult<Activity> {
        let args = json!({"InstanceId": id, "ShouldDecrementDesiredCapacity": decrement});
        self.mutate("TerminateInstanceInAutoScalingGroup", args, |r| {
            let not_found = || ApiError::no_managed_instance(id.as_str());
            let instance = r.instances.get(id).ok_or_else(not_found)?;
            let name = instance.group.clone().ok_or_else(not_found)?;
            let (ending, gone) = (instance.state.is_ending(), instance.state == LifecycleState::Terminated);
            let group = r.changeable(&name)?;
            let sizes = group.capacity;
            if gone && !r.undocumented.terminated_lingers {
                return Err(not_found());
            }
            if instance.state == LifecycleState::TerminatingRetained {
                r.enter(id, LifecycleState::TerminatingProceed);
                r.stop_machine(id);
                return r.activity_of(id).ok_or_else(not_found);
            }
            if ending {
                return match r.undocumented.second_terminate {
                    SecondTerminate::Refused => Err(not_found()),
                    SecondTerminate::Accepted => r.activity_of(id).ok_or_else(not_found),
                    SecondTerminate::DecrementsAgain => {
                        if decrement && sizes.desired > sizes.min {
                            r.decrement(&name, id);
                        }
                        r.activity_of(id).ok_or_else(not_found)
                    }
                };
            }
            if !group.runs(&Process::Terminate) && !r.undocumented.terminate_while_suspended {
                return Err(ApiError::validation(format!("The Terminate process is suspended for AutoScalingGroup {name}.")));
            }
            if decrement && sizes.desired <= sizes.min {
                return Err(ApiError::validation(format!(
                    "Currently, desiredSize equals minSize ({}). Terminating instance without replacement will violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size.",
                    sizes.min
                )));
            }
            let cause = if decrement {
                r.decrement(&name, id);
                format!("in response to a user request, shrinking the capacity from {} to {}", sizes.desired, sizes.desired - 1)
            } else {
                "in response to a user request".to_owned()
            };
            r.begin_termination(id, decrement, Why::Request, cause);
            if !decrement {
                r.steer(&name);
            }
            r.activity_of(id).ok_or_else(not_found)
        })
    }

    /// One less desired, on account of this instance.
    pub(super) fn decrement(&mut self, name: &GroupName, id: &InstanceId) {
        let (at, by) = (self.now, self.who());
        let Some(group) = self.group_mut(name) else { return };
        group.capacity.desired = group.capacity.desired.saturating_sub(1);
        let capacity = group.capacity;
        self.truth.capacity.push(CapacityChange { at, group: name.clone(), capacity, by: by.clone() });
        self.truth.decrements.push(Decrement { at, instance: id.clone(), group: name.clone(), by });
        if self.undocumented.decrement_fails_refresh {
            self.fail_refresh(name, "An instance was taken out of the group while the refresh was in progress.");
        }
        self.consider_rebalance(name);
    }

    pub(super) fn activity_of(&self, id: &InstanceId) -> Option<Activity> {
        let i = self.instances.get(id)?;
        self.groups.get(i.group.as_ref()?)?.activities.iter().rev().find(|a| a.id == i.activity).cloned()
    }

    /// Launches one instance of the group in this zone. `settled` skips the boot: it is in service, and has been.
    pub(super) fn launch(&mut self, name: &GroupName, zone: &str, extra: bool, settled: bool, cause: String) -> Option<InstanceId> {
        let group = self.groups.get(name)?;
        let (template, version_text, queue, protected) =
            (group.template.clone(), group.version.clone(), group.queue.clone(), group.new_protected);
        let found = self.resolve_version(&template, &version_text).map(|(n, v)| (n, v.clone()));
        let (version, spec) = match found {
            Ok((n, spec)) => match self.lacking(&spec, zone) {
                None => (n, spec),
                Some(message) => {
                    self.failed_launch(name, cause, message);
                    return None;
                }
            },
            Err(e) => {
                self.failed_launch(name, cause, e.message);
                return None;
            }
        };
        let id = InstanceId::new(format!("i-{}", self.hex(17)));
        let activity = self.begin_activity(name, format!("Launching a new EC2 instance: {id}"), cause, "PreInService", zone);
        let boot_id = self.uuid();
        let n = self.instances.len();
        self.group_mut(name)?.members.push(id.clone());
        let instance = Instance {
            id: id.clone(),
            group: Some(name.clone()),
            zone: zone.to_owned(),
            image: spec.image.clone(),
            instance_type: spec.instance_type.clone(),
            private_ip: format!("10.0.{}.{}", (n / 250) % 250, n % 250 + 4),
            launch: Some(LaunchSource { name: template, version: Some(version.to_string()) }),
            boot_id,
            launched: self.now,
            ec2: Ec2State::Pending,
            state: LifecycleState::Pending,
            health: InstanceHealth::Healthy,
            protected,
            notices: Notices::default(),
            version,
            boot: spec.boot,
            in_service: None,
            waits: Vec::new(),
            service: Service::default(),
            daemon: spec.orchestrator.map(Daemon::new),
            queue,
            extra,
            activity,
            termination: None,
        };
        self.instances.insert(id.clone(), instance);
        self.enter(&id, LifecycleState::Pending);
        if settled {
            self.running(&id);
            self.service_up(&id, 0);
            // It has been behind its load balancers for long: no check is pending.
            if let Some(i) = self.instance_mut(&id) {
                i.extra = false;
            }
            self.put_in_service(&id);
            self.backdate_registrations(&id);
        } else {
            let pending = spec.boot.pending.draw(&mut self.rng);
            self.after(pending, Event::Booted(id.clone()));
        }
        Some(id)
    }

    fn failed_launch(&mut self, name: &GroupName, cause: String, message: String) {
        let activity = self.begin_activity(name, "Launching a new EC2 instance".into(), cause, "InProgress", "");
        self.end_activity(name, &activity, "Failed", Some(message));
        self.back_off(name);
    }

    fn back_off(&mut self, name: &GroupName) {
        let until = self.now + self.pace.retry.draw(&mut self.rng);
        if let Some(group) = self.group_mut(name) {
            group.backoff = until;
        }
        self.at(until, Event::Reconcile(name.clone()));
    }

    pub(super) fn booted(&mut self, id: &InstanceId) {
        use rand::Rng;
        let Some(i) = self.instances.get(id).filter(|i| i.ec2 == Ec2State::Pending) else { return };
        let (failure, group, activity) = (i.boot.failure, i.group.clone(), i.activity.clone());
        if failure > 0.0 && self.rng.random::<f64>() < failure {
            if let Some(i) = self.instance_mut(id) {
                i.ec2 = Ec2State::Terminated;
            }
            self.enter(id, LifecycleState::Terminated);
            if let Some(group) = group {
                let message = "Instance failed to start: Server.InternalError: Internal error on launch.".to_owned();
                self.end_activity(&group, &activity, "Failed", Some(message));
                self.leave_group(id);
                self.back_off(&group);
            }
            self.after(EC2_LINGER, Event::Purge(id.clone()));
            return;
        }
        self.running(id);
        if self.instances.get(id).is_some_and(|i| i.state == LifecycleState::Pending) {
            if self.begin_waits(id, Transition::Launching) {
                self.enter(id, LifecycleState::PendingWait);
                self.note_activity(id, "MidLifecycleAction");
            } else {
                self.put_in_service(id);
            }
        }
    }

    fn running(&mut self, id: &InstanceId) {
        let Some(i) = self.instance_mut(id) else { return };
        i.ec2 = Ec2State::Running;
        let span = i.boot.service;
        let delay = span.draw(&mut self.rng);
        self.after(delay, Event::ServiceUp(id.clone(), 0));
    }

    /// Counted and in use: registered wherever its group is, unless `AddToLoadBalancer` is suspended (§4.4).
    pub(super) fn put_in_service(&mut self, id: &InstanceId) {
        let now = self.now;
        let Some(i) = self.instance_mut(id) else { return };
        i.in_service = Some(now);
        i.notices.target_state = Some(LifecycleState::InService);
        let (group, activity) = (i.group.clone(), i.activity.clone());
        self.enter(id, LifecycleState::InService);
        let Some(group) = group else { return };
        self.end_activity(&group, &activity, "Successful", None);
        self.register_member(id);
        self.watch_health(id);
        self.steer(&group);
        self.consider_rebalance(&group);
    }

    /// The instance begins to end: deregistered first, hooks next, the machine last.
    pub(super) fn begin_termination(&mut self, id: &InstanceId, decremented: bool, why: Why, cause: String) {
        let Some(i) = self.instances.get(id).filter(|i| !i.state.is_ending()) else { return };
        let (group, zone) = (i.group.clone(), i.zone.clone());
        let executing = i.daemon.as_ref().map(Daemon::running).unwrap_or_default();
        let by = if why == Why::Spot {
            "spot".to_owned()
        } else {
            self.context.as_ref().map_or_else(|| AUTOSCALING.to_owned(), |c| c.caller.clone())
        };
        // A machine that died by itself is in the ledger already.
        let n = self.instances.get(id).and_then(|i| i.termination).unwrap_or_else(|| {
            self.truth.terminations.push(Termination {
                at: self.now,
                instance: id.clone(),
                group: group.clone(),
                by,
                why,
                decremented,
                executing,
                stopped: None,
                lost: Vec::new(),
            });
            self.truth.terminations.len() - 1
        });
        let pending = self.instances.get(id).is_some_and(|i| matches!(i.state, LifecycleState::Pending | LifecycleState::PendingWait));
        if pending && let Some(i) = self.instances.get(id) {
            let (launching, group) = (i.activity.clone(), i.group.clone());
            if let Some(group) = group {
                self.end_activity(&group, &launching, "Cancelled", None);
            }
        }
        let activity = match &group {
            Some(group) => {
                let cause = format!("At {} instance {id} was taken out of service {cause}.", stamp(self.wall()));
                self.begin_activity(group, format!("Terminating EC2 instance: {id}"), cause, "InProgress", &zone)
            }
            None => String::new(),
        };
        if let Some(i) = self.instance_mut(id) {
            i.activity = activity;
            i.termination = Some(n);
            i.waits.clear();
            i.notices.target_state = Some(LifecycleState::Terminated);
        }
        self.enter(id, LifecycleState::Terminating);
        let delay = self.deregister_member(id);
        if why == Why::GroupDeleted {
            return self.stop_machine(id);
        }
        if delay.is_zero() {
            self.deregistered(id);
        } else {
            self.note_activity(id, "WaitingForELBConnectionDraining");
            self.after(delay, Event::Deregistered(id.clone()));
        }
    }

    pub(super) fn deregistered(&mut self, id: &InstanceId) {
        let Some(i) = self.instances.get(id).filter(|i| i.state == LifecycleState::Terminating) else { return };
        if i.ec2.is_over() {
            return;
        }
        if self.begin_waits(id, Transition::Terminating) {
            self.enter(id, LifecycleState::TerminatingWait);
            self.note_activity(id, "MidLifecycleAction");
        } else {
            self.stop_machine(id);
        }
    }

    /// The machine goes down now; what runs on it is lost.
    pub(super) fn stop_machine(&mut self, id: &InstanceId) {
        let Some(i) = self.instance_mut(id).filter(|i| !i.ec2.is_over()) else { return };
        i.ec2 = Ec2State::ShuttingDown;
        i.waits.clear();
        let termination = i.termination;
        let (at, lost) = (self.now, self.lose_work(id));
        if let Some(t) = termination.and_then(|n| self.truth.terminations.get_mut(n)) {
            t.stopped = Some(at);
            t.lost = lost;
        }
        let delay = self.pace.end.draw(&mut self.rng);
        self.after(delay, Event::Ended(id.clone()));
    }

    pub(super) fn ended(&mut self, id: &InstanceId) {
        let Some(i) = self.instance_mut(id).filter(|i| i.ec2 != Ec2State::Terminated) else { return };
        i.ec2 = Ec2State::Terminated;
        let (group, activity, ending) = (i.group.clone(), i.activity.clone(), i.state.is_ending());
        self.drop_targets(id);
        self.after(EC2_LINGER, Event::Purge(id.clone()));
        if !ending {
            return;
        }
        self.enter(id, LifecycleState::Terminated);
        let Some(group) = group else { return };
        self.end_activity(&group, &activity, "Successful", None);
        if self.undocumented.terminated_lingers {
            let linger = self.pace.linger.draw(&mut self.rng);
            self.after(linger, Event::Forget(id.clone()));
        } else {
            self.forget(id);
        }
        self.steer(&group);
    }

    pub(super) fn forget(&mut self, id: &InstanceId) {
        let group = self.leave_group(id);
        let Some(group) = group else { return };
        if self.groups.get(&group).is_some_and(|g| g.deleting && g.members.is_empty()) {
            self.remember(&group);
            self.groups.remove(&group);
        }
    }

    /// Out of the group's book; the machine is another matter.
    pub(super) fn leave_group(&mut self, id: &InstanceId) -> Option<GroupName> {
        let name = self.instance_mut(id)?.group.take()?;
        if let Some(group) = self.group_mut(&name) {
            group.members.retain(|m| m != id);
        }
        Some(name)
    }

    /// Writes a lifecycle state, and the ledger's line of it.
    pub(super) fn enter(&mut self, id: &InstanceId, state: LifecycleState) {
        let at = self.now;
        let Some(i) = self.instance_mut(id) else { return };
        i.state = state.clone();
        let group = i.group.clone();
        self.truth.states.push(StateChange { at, instance: id.clone(), group, state });
    }

    pub(super) fn begin_activity(
        &mut self,
        name: &GroupName,
        description: String,
        cause: String,
        status: &'static str,
        zone: &str,
    ) -> String {
        let (id, started) = (self.uuid(), self.wall());
        let details = json!({"Availability Zone": zone}).to_string();
        let activity = Activity {
            id: id.clone(),
            group: name.clone(),
            description,
            cause,
            status,
            message: None,
            progress: 0,
            started,
            ended: None,
            details,
        };
        if let Some(group) = self.groups.get_mut(name) {
            group.activities.push(activity);
        }
        id
    }

    pub(super) fn end_activity(&mut self, name: &GroupName, id: &str, status: &'static str, message: Option<String>) {
        let ended = self.wall();
        let Some(a) = self.groups.get_mut(name).and_then(|g| g.activities.iter_mut().rev().find(|a| a.id == id && a.ended.is_none()))
        else {
            return;
        };
        (a.status, a.message, a.progress, a.ended) = (status, message, 100, Some(ended));
    }

    pub(super) fn note_activity(&mut self, id: &InstanceId, status: &'static str) {
        let Some(i) = self.instances.get(id) else { return };
        let Some(group) = i.group.as_ref().and_then(|g| self.groups.get_mut(g)) else { return };
        if let Some(a) = group.activities.iter_mut().rev().find(|a| a.id == i.activity && a.ended.is_none()) {
            (a.status, a.progress) = (status, 60);
        }
    }
}

/// As AWS writes a time inside a cause: whole seconds, `Z`.
pub(super) fn stamp(t: Timestamp) -> String {
    let text = t.to_string();
    text.split_once('.').map_or_else(|| text.clone(), |(whole, _)| format!("{whole}Z"))
}
