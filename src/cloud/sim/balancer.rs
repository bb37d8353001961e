//! Load balancers of both generations: who is registered, and what its checks say over time (draining.md §4.10).
//!
//! Health is worked out from times when it is asked for; nothing ticks.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::Region;
use super::SimTime;
use super::api::ApiError;
use super::api::ApiResult;
use super::group::GroupState;
use super::instance::Instance;
use super::instance::Service;
use super::region::ACCOUNT;
use super::region::REGION;
use super::spec::ClassicSpec;
use super::spec::LoadBalancerSpec;
use super::spec::TargetGroupSpec;
use crate::cloud::TargetHealth;
use crate::cloud::TargetId;
use crate::cloud::TargetState;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Process;
use crate::model::TargetGroupArn;
use crate::model::Timestamp;

#[derive(Clone, Debug)]
pub(super) struct TargetGroupState {
    arn: TargetGroupArn,
    spec: TargetGroupSpec,
    targets: BTreeMap<TargetId, Target>,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    since: SimTime,
    /// When it is gone for good, once it is leaving.
    leaves: Option<SimTime>,
}

#[derive(Clone, Debug)]
pub(super) struct Balancer {
    shown: LoadBalancer,
}

#[derive(Clone, Debug)]
pub(super) struct Classic {
    spec: ClassicSpec,
    created: SimTime,
    instances: BTreeMap<InstanceId, SimTime>,
}

/// A target group as `DescribeTargetGroups` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetGroupDescription {
    /// Its ARN.
    pub arn: TargetGroupArn,
    /// Its settings.
    pub spec: TargetGroupSpec,
    /// ARNs of the load balancers whose listeners use it.
    pub load_balancers: Vec<String>,
}

/// A load balancer as `DescribeLoadBalancers` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadBalancer {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// Its DNS name.
    pub dns_name: String,
    /// `internal` or `internet-facing`.
    pub scheme: &'static str,
    /// Creation.
    pub created: Timestamp,
    /// Its listeners.
    pub listeners: Vec<Listener>,
}

/// A listener that forwards to one target group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// Its ARN.
    pub arn: String,
    /// Its load balancer's ARN.
    pub load_balancer: String,
    /// Port.
    pub port: u16,
    /// Where it forwards to.
    pub target_group: TargetGroupArn,
}

/// A classic load balancer as `DescribeLoadBalancers` (2012-06-01) shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassicDescription {
    /// Its settings.
    pub spec: ClassicSpec,
    /// Its DNS name.
    pub dns_name: String,
    /// Creation.
    pub created: Timestamp,
    /// Who is registered.
    pub instances: Vec<InstanceId>,
}

/// Health of one instance behind a classic load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassicState {
    /// Who.
    pub instance: InstanceId,
    /// `InService`, `OutOfService` or `Unknown`.
    pub state: &'static str,
    /// `ELB`, `Instance` or `N/A`.
    pub reason: &'static str,
    /// For people.
    pub description: &'static str,
}

impl Region {
    /// A target group comes into being; answers its ARN.
    pub fn add_target_group(&mut self, spec: TargetGroupSpec) -> TargetGroupArn {
        let arn = format!("arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/{}/{}", spec.name, self.hex(16));
        let arn = TargetGroupArn::new(arn);
        self.target_groups.insert(arn.clone(), TargetGroupState { arn: arn.clone(), spec, targets: BTreeMap::new() });
        arn
    }

    /// A load balancer with its listeners comes into being; answers its ARN.
    pub fn add_load_balancer(&mut self, spec: &LoadBalancerSpec) -> ApiResult<String> {
        let key = format!("app/{}/{}", spec.name, self.hex(16));
        let arn = format!("arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/{key}");
        let mut listeners = Vec::new();
        for (port, target_group) in &spec.listeners {
            let target_group = self.target_group_arn(target_group)?;
            let listener = format!("arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:listener/{key}/{}", self.hex(16));
            listeners.push(Listener { arn: listener, load_balancer: arn.clone(), port: *port, target_group });
        }
        let shown = LoadBalancer {
            name: spec.name.clone(),
            arn: arn.clone(),
            dns_name: format!("{}-1234567890.{REGION}.elb.amazonaws.com", spec.name),
            scheme: if spec.internal { "internal" } else { "internet-facing" },
            created: self.wall(),
            listeners,
        };
        self.balancers.insert(arn.clone(), Balancer { shown });
        Ok(arn)
    }

    /// A classic load balancer comes into being.
    pub fn add_classic_load_balancer(&mut self, spec: ClassicSpec) {
        let classic = Classic { created: self.now, instances: BTreeMap::new(), spec };
        self.classics.insert(classic.spec.name.clone(), classic);
    }

    /// ARN of the target group of this name (or ARN).
    pub fn target_group_arn(&self, name: &str) -> ApiResult<TargetGroupArn> {
        let found = self.target_groups.values().find(|t| t.spec.name == name || t.arn.as_str() == name);
        found.map(|t| t.arn.clone()).ok_or_else(|| ApiError::new("TargetGroupNotFound", format!("Target groups '{name}' not found")))
    }

    /// elbv2 `DescribeTargetGroups`; nothing named = all.
    pub fn describe_target_groups(&mut self, arns: &[TargetGroupArn], names: &[String]) -> ApiResult<Vec<TargetGroupDescription>> {
        for arn in arns {
            self.target_group(arn)?;
        }
        for name in names {
            self.target_group_arn(name)?;
        }
        let meant = |t: &&TargetGroupState| (arns.is_empty() && names.is_empty()) || arns.contains(&t.arn) || names.contains(&t.spec.name);
        let shown = self.target_groups.values().filter(meant);
        Ok(shown
            .map(|t| TargetGroupDescription { arn: t.arn.clone(), spec: t.spec.clone(), load_balancers: self.users_of(&t.arn) })
            .collect())
    }

    /// elbv2 `DescribeTargetGroupAttributes`: key and value.
    pub fn describe_target_group_attributes(&mut self, arn: &TargetGroupArn) -> ApiResult<Vec<(String, String)>> {
        let delay = self.target_group(arn)?.spec.deregistration_delay_s.to_string();
        let attributes = [
            ("deregistration_delay.timeout_seconds", delay.as_str()),
            ("slow_start.duration_seconds", "0"),
            ("stickiness.enabled", "false"),
        ];
        Ok(attributes.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec())
    }

    /// elbv2 `DescribeTargetHealth`; no targets = all that are registered or leaving. One asked for that is not there is `unused`.
    pub fn describe_target_health(&mut self, arn: &TargetGroupArn, targets: &[TargetId]) -> ApiResult<Vec<TargetHealth>> {
        let group = self.target_group(arn)?;
        let used = !self.users_of(arn).is_empty();
        if targets.is_empty() {
            let present = group.targets.iter().filter(|(_, t)| t.leaves.is_none_or(|at| self.now < at));
            return Ok(present.map(|(id, t)| self.target_health(group, used, id, *t)).collect());
        }
        let one = |id: &TargetId| {
            let id = TargetId { instance: id.instance.clone(), port: id.port.or(Some(group.spec.port)) };
            match group.targets.get(&id).filter(|t| t.leaves.is_none_or(|at| self.now < at)) {
                Some(t) => self.target_health(group, used, &id, *t),
                None => health(&id, TargetState::Unused, Some("Target.NotRegistered")),
            }
        };
        Ok(targets.iter().map(one).collect())
    }

    fn target_health(&self, group: &TargetGroupState, used: bool, id: &TargetId, target: Target) -> TargetHealth {
        if target.leaves.is_some() {
            return health(id, TargetState::Draining, Some("Target.DeregistrationInProgress"));
        }
        if !used {
            return health(id, TargetState::Unused, Some("Target.NotInUse"));
        }
        let Some(i) = self.instances.get(&id.instance).filter(|i| !i.ec2.is_over()) else {
            return health(id, TargetState::Unused, Some("Target.InvalidState"));
        };
        let spec = &group.spec;
        match i.service.checked(self.now, target.since, spec.interval_s, spec.healthy_threshold, spec.unhealthy_threshold) {
            Checked::Passing => health(id, TargetState::Healthy, None),
            Checked::Failing => health(id, TargetState::Unhealthy, Some("Target.FailedHealthChecks")),
            Checked::NotYet => health(id, TargetState::Initial, Some("Elb.RegistrationInProgress")),
        }
    }

    /// elbv2 `RegisterTargets`; one that is there already is fine, one that is leaving comes back as new.
    pub fn register_targets(&mut self, arn: &TargetGroupArn, targets: &[TargetId]) -> ApiResult<()> {
        self.mutate("RegisterTargets", json!({"TargetGroupArn": arn, "Targets": targets}), |r| {
            r.target_group(arn)?;
            for t in targets {
                if r.instances.get(&t.instance).is_none_or(|i| i.ec2.is_over()) {
                    return Err(ApiError::new(
                        "InvalidTarget",
                        format!("The following targets are not in a running state and cannot be registered: '{}'", t.instance),
                    ));
                }
            }
            for t in targets {
                r.put_target(arn, &t.instance, t.port);
            }
            Ok(())
        })
    }

    /// elbv2 `DeregisterTargets`; an absent one is fine. Without a port all of the instance's ports leave, as AWS does it.
    pub fn deregister_targets(&mut self, arn: &TargetGroupArn, targets: &[TargetId]) -> ApiResult<()> {
        self.mutate("DeregisterTargets", json!({"TargetGroupArn": arn, "Targets": targets}), |r| {
            r.target_group(arn)?;
            for t in targets {
                r.drain_target(arn, &t.instance, t.port);
            }
            Ok(())
        })
    }

    /// elbv2 `DescribeLoadBalancers`; nothing named = all.
    pub fn describe_load_balancers_v2(&mut self, arns: &[String], names: &[String]) -> ApiResult<Vec<LoadBalancer>> {
        let unknown = arns.iter().find(|a| !self.balancers.contains_key(*a));
        let unknown = unknown.or_else(|| names.iter().find(|n| !self.balancers.values().any(|b| &b.shown.name == *n)));
        if let Some(unknown) = unknown {
            return Err(ApiError::new("LoadBalancerNotFound", format!("Load balancers '[{unknown}]' not found")));
        }
        let meant = |b: &&Balancer| (arns.is_empty() && names.is_empty()) || arns.contains(&b.shown.arn) || names.contains(&b.shown.name);
        Ok(self.balancers.values().filter(meant).map(|b| b.shown.clone()).collect())
    }

    /// elbv2 `DescribeListeners` of one load balancer.
    pub fn describe_listeners(&mut self, load_balancer: &str) -> ApiResult<Vec<Listener>> {
        let found = self.balancers.get(load_balancer).map(|b| b.shown.listeners.clone());
        found.ok_or_else(|| ApiError::new("LoadBalancerNotFound", format!("Load balancers '[{load_balancer}]' not found")))
    }

    /// Classic `DescribeLoadBalancers`; no names = all.
    pub fn describe_load_balancers_classic(&mut self, names: &[String]) -> ApiResult<Vec<ClassicDescription>> {
        for name in names {
            self.classic(name)?;
        }
        let meant = self.classics.values().filter(|c| names.is_empty() || names.contains(&c.spec.name));
        let shown = |c: &Classic| ClassicDescription {
            spec: c.spec.clone(),
            dns_name: format!("{}-1234567890.{REGION}.elb.amazonaws.com", c.spec.name),
            created: self.wall_at(c.created),
            instances: c.instances.keys().cloned().collect(),
        };
        Ok(meant.map(shown).collect())
    }

    /// Classic `DescribeInstanceHealth`; no ids = all.
    pub fn describe_instance_health(&mut self, name: &str, ids: &[InstanceId]) -> ApiResult<Vec<ClassicState>> {
        let classic = self.classic(name)?;
        let stranger = ids.iter().find(|id| !classic.instances.contains_key(*id));
        if let Some(id) = stranger.filter(|_| self.undocumented.unknown_instance_fails_call) {
            return Err(ApiError::new("InvalidInstance", format!("Could not find EC2 instance {id}.")));
        }
        let asked: Vec<_> = if ids.is_empty() { classic.instances.keys().cloned().collect() } else { ids.to_vec() };
        Ok(asked.into_iter().map(|id| self.classic_state(classic, id)).collect())
    }

    fn classic_state(&self, classic: &Classic, id: InstanceId) -> ClassicState {
        let told = |state, reason, description| ClassicState { instance: id.clone(), state, reason, description };
        let Some(since) = classic.instances.get(&id) else { return told("Unknown", "N/A", "Instance is not registered.") };
        let Some(i) = self.instances.get(&id).filter(|i| !i.ec2.is_over()) else {
            return told("OutOfService", "Instance", "Instance is in stopped state.");
        };
        let s = &classic.spec;
        match i.service.checked(self.now, *since, s.interval_s, s.healthy_threshold, s.unhealthy_threshold) {
            Checked::Passing => told("InService", "N/A", "N/A"),
            Checked::Failing => told(
                "OutOfService",
                "Instance",
                "Instance has failed at least the UnhealthyThreshold number of health checks consecutively.",
            ),
            Checked::NotYet => told("OutOfService", "ELB", "Instance registration is still in progress."),
        }
    }

    /// Classic `RegisterInstancesWithLoadBalancer`; answers who is registered.
    pub fn register_instances(&mut self, name: &str, ids: &[InstanceId]) -> ApiResult<Vec<InstanceId>> {
        self.mutate("RegisterInstancesWithLoadBalancer", json!({"LoadBalancerName": name, "Instances": ids}), |r| {
            r.classic(name)?;
            if let Some(id) = ids.iter().find(|id| r.instances.get(id).is_none_or(|i| i.ec2.is_over())) {
                return Err(ApiError::new("InvalidInstance", format!("Could not find EC2 instance {id}.")));
            }
            let now = r.now;
            if let Some(c) = r.classics.get_mut(name) {
                for id in ids {
                    c.instances.entry(id.clone()).or_insert(now);
                }
            }
            Ok(r.classic(name)?.instances.keys().cloned().collect())
        })
    }

    /// Classic `DeregisterInstancesFromLoadBalancer`; an absent one is fine. Answers who is left.
    pub fn deregister_instances(&mut self, name: &str, ids: &[InstanceId]) -> ApiResult<Vec<InstanceId>> {
        self.mutate("DeregisterInstancesFromLoadBalancer", json!({"LoadBalancerName": name, "Instances": ids}), |r| {
            r.classic(name)?;
            if let Some(c) = r.classics.get_mut(name) {
                c.instances.retain(|id, _| !ids.contains(id));
            }
            Ok(r.classic(name)?.instances.keys().cloned().collect())
        })
    }

    /// Registers a member wherever its group is, unless `AddToLoadBalancer` is suspended.
    pub(super) fn register_member(&mut self, id: &InstanceId) {
        let Some(group) = self.instances.get(id).and_then(|i| i.group.as_ref()).and_then(|g| self.groups.get(g)) else { return };
        if !group.runs(&Process::AddToLoadBalancer) {
            return;
        }
        let (arns, names, now) = (group.target_groups.clone(), group.classics.clone(), self.now);
        for arn in arns {
            self.put_target(&arn, id, None);
        }
        for name in names {
            if let Some(c) = self.classics.get_mut(&name) {
                c.instances.entry(id.clone()).or_insert(now);
            }
        }
    }

    /// Takes a member out of wherever its group is; answers how long that drains.
    pub(super) fn deregister_member(&mut self, id: &InstanceId) -> Duration {
        let Some(group) = self.instances.get(id).and_then(|i| i.group.as_ref()).and_then(|g| self.groups.get(g)) else {
            return Duration::ZERO;
        };
        let (arns, names) = (group.target_groups.clone(), group.classics.clone());
        let mut longest = Duration::ZERO;
        for arn in arns {
            longest = longest.max(self.drain_target(&arn, id, None));
        }
        for name in names {
            let Some(c) = self.classics.get_mut(&name) else { continue };
            if c.instances.remove(id).is_some() {
                longest = longest.max(Duration::from_secs(u64::from(c.spec.draining_s)));
            }
        }
        longest
    }

    /// The machine is gone: nobody registers it any more.
    pub(super) fn drop_targets(&mut self, id: &InstanceId) {
        for t in self.target_groups.values_mut() {
            t.targets.retain(|target, _| &target.instance != id);
        }
    }

    /// Registered for so long that every check has passed.
    pub(super) fn backdate_registrations(&mut self, id: &InstanceId) {
        for t in self.target_groups.values_mut() {
            for (_, target) in t.targets.iter_mut().filter(|(t, _)| &t.instance == id) {
                target.since = SimTime::ZERO;
            }
        }
    }

    fn put_target(&mut self, arn: &TargetGroupArn, id: &InstanceId, port: Option<u16>) {
        let now = self.now;
        let Some(group) = self.target_groups.get_mut(arn) else { return };
        let target = TargetId { instance: id.clone(), port: port.or(Some(group.spec.port)) };
        let entry = group.targets.entry(target).or_insert(Target { since: now, leaves: None });
        if entry.leaves.take().is_some() {
            entry.since = now;
        }
    }

    fn drain_target(&mut self, arn: &TargetGroupArn, id: &InstanceId, port: Option<u16>) -> Duration {
        let now = self.now;
        let used = !self.users_of(arn).is_empty();
        let Some(group) = self.target_groups.get_mut(arn) else { return Duration::ZERO };
        // A target that got no traffic has no connections to drain.
        let delay = if used { Duration::from_secs(u64::from(group.spec.deregistration_delay_s)) } else { Duration::ZERO };
        let mut drains = Duration::ZERO;
        group.targets.retain(|_, t| t.leaves.is_none_or(|at| now < at));
        for (_, t) in group.targets.iter_mut().filter(|(t, _)| &t.instance == id && port.is_none_or(|p| t.port == Some(p))) {
            let leaves = *t.leaves.get_or_insert(now + delay);
            drains = drains.max(leaves.saturating_sub(now));
        }
        drains
    }

    fn users_of(&self, arn: &TargetGroupArn) -> Vec<String> {
        let uses = |b: &&Balancer| b.shown.listeners.iter().any(|l| &l.target_group == arn);
        self.balancers.values().filter(uses).map(|b| b.shown.arn.clone()).collect()
    }

    fn target_group(&self, arn: &TargetGroupArn) -> ApiResult<&TargetGroupState> {
        self.target_groups.get(arn).ok_or_else(|| ApiError::new("TargetGroupNotFound", format!("Target groups '{arn}' not found")))
    }

    fn classic(&self, name: &str) -> ApiResult<&Classic> {
        self.classics
            .get(name)
            .ok_or_else(|| ApiError::new("LoadBalancerNotFound", format!("There is no ACTIVE Load Balancer named '{name}'")))
    }

    /// Some balancer of the instance's group says unhealthy.
    pub(super) fn fails_behind_a_balancer(&self, i: &Instance) -> bool {
        let Some(group) = i.group.as_ref().and_then(|g| self.groups.get(g)) else { return false };
        let behind_target_group = group.target_groups.iter().filter_map(|arn| self.target_groups.get(arn)).any(|tg| {
            let used = !self.users_of(&tg.arn).is_empty();
            let mine = tg.targets.iter().filter(|(t, _)| t.instance == i.id);
            mine.into_iter().any(|(id, t)| self.target_health(tg, used, id, *t).state == TargetState::Unhealthy)
        });
        let behind_classic = group
            .classics
            .iter()
            .filter_map(|n| self.classics.get(n))
            .any(|c| c.instances.contains_key(&i.id) && self.classic_state(c, i.id.clone()).reason == "Instance");
        i.state == LifecycleState::InService && (behind_target_group || behind_classic)
    }

    /// How long the group's balancers take until they call a failing instance unhealthy.
    pub(super) fn patience(&self, group: &GroupState) -> Duration {
        let v2 =
            group.target_groups.iter().filter_map(|a| self.target_groups.get(a)).map(|t| t.spec.interval_s * t.spec.unhealthy_threshold);
        let classic = group.classics.iter().filter_map(|n| self.classics.get(n)).map(|c| c.spec.interval_s * c.spec.unhealthy_threshold);
        Duration::from_secs(u64::from(v2.chain(classic).max().unwrap_or_default()))
    }
}

fn health(id: &TargetId, state: TargetState, reason: Option<&str>) -> TargetHealth {
    TargetHealth { target: id.clone(), state, reason: reason.map(str::to_owned) }
}

pub(super) enum Checked {
    Passing,
    Failing,
    NotYet,
}

impl Service {
    /// What checks at this interval, begun at `since`, say now.
    pub(super) fn checked(&self, now: SimTime, since: SimTime, interval_s: u32, good: u32, bad: u32) -> Checked {
        let after = |n: u32| Duration::from_secs(u64::from(interval_s) * u64::from(n));
        let passed = |up: SimTime, at: SimTime| at >= up.max(since) + after(good);
        let was_passing = self.last_up.zip(self.last_down).is_some_and(|(up, down)| down > since && passed(up, down));
        match (self.up, self.last_down) {
            (Some(up), _) if passed(up, now) || up.is_zero() && since.is_zero() => Checked::Passing,
            (Some(up), Some(down)) if was_passing && up < down + after(bad) => Checked::Passing,
            (Some(_), Some(down)) if down > since => Checked::Failing,
            (Some(_), _) => Checked::NotYet,
            (None, Some(down)) if was_passing && now < down + after(bad) => Checked::Passing,
            (None, _) if !was_passing && now < since + after(bad) => Checked::NotYet,
            (None, _) => Checked::Failing,
        }
    }
}
