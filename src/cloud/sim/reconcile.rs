//! Auto Scaling on its own: towards desired, even over zones, unhealthy ones replaced.
//!
//! Whom a scale-in picks has nothing to do with who is busy (F25): zones first, then the oldest template version, then the oldest.

use std::collections::BTreeMap;

use super::Region;
use super::group::GroupState;
use super::instance::Ec2State;
use super::instance::Instance;
use super::instance::stamp;
use super::region::Event;
use super::truth::Why;
use crate::model::GroupName;
use crate::model::HealthCheckType;
use crate::model::InstanceHealth;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Process;

impl Region {
    pub(super) fn reconcile(&mut self, name: &GroupName) {
        let Some(group) = self.groups.get(name) else { return };
        let (desired, now) = (usize::try_from(group.capacity.desired).unwrap_or(usize::MAX), self.now);
        let (launches, ends) = (group.runs(&Process::Launch) && now >= group.backoff, group.runs(&Process::Terminate));
        if ends && group.runs(&Process::ReplaceUnhealthy) {
            self.replace_unhealthy(name);
        }
        let count = self.counted(name).len();
        if count < desired && launches {
            let reason = self.groups.get_mut(name).and_then(|g| g.reason.take());
            for n in count..desired {
                let Some(zone) = self.emptiest_zone(name) else { break };
                let cause = self.launch_cause(reason.as_deref(), n, desired);
                if self.launch(name, &zone, false, false, cause).is_none() {
                    break;
                }
            }
        } else if count == desired {
            if let Some(group) = self.groups.get_mut(name) {
                group.reason = None;
            }
        } else if count > desired && ends {
            let reason = self.groups.get_mut(name).and_then(|g| g.reason.take());
            for n in (desired..count).rev() {
                let Some((victim, rebalanced)) = self.victim(name) else { break };
                let (why, cause) = if rebalanced {
                    (Why::Rebalance, "to aid in balancing the group's zones".to_owned())
                } else {
                    let said = reason.as_deref().map(|r| format!("{r} ")).unwrap_or_default();
                    let words = format!(
                        "{said}in response to a difference between desired and actual capacity, shrinking the capacity from {} to {n}",
                        n + 1
                    );
                    (Why::ScaleIn, words)
                };
                self.begin_termination(&victim, false, why, cause);
                if rebalanced {
                    self.nobody_is_extra(name);
                }
            }
        }
        self.consider_rebalance(name);
    }

    fn launch_cause(&self, reason: Option<&str>, from: usize, to: usize) -> String {
        let at = stamp(self.wall());
        let said = reason.map(|r| format!("At {at} {r}  ")).unwrap_or_default();
        format!(
            "{said}At {at} an instance was started in response to a difference between desired and actual capacity, increasing the capacity from {from} to {to}."
        )
    }

    /// Members that count towards desired.
    fn counted(&self, name: &GroupName) -> Vec<&Instance> {
        let counts = |i: &&Instance| match &i.state {
            LifecycleState::Pending | LifecycleState::PendingWait | LifecycleState::PendingProceed => !i.extra,
            LifecycleState::InService => true,
            _ => false,
        };
        let members = self.groups.get(name).map(|g| g.members.as_slice()).unwrap_or_default();
        members.iter().filter_map(|id| self.instances.get(id)).filter(counts).collect()
    }

    fn zone_counts(&self, name: &GroupName) -> BTreeMap<String, usize> {
        let zones = self.groups.get(name).map(|g| g.zones.clone()).unwrap_or_default();
        let mut counts: BTreeMap<_, _> = zones.into_iter().map(|z| (z, 0)).collect();
        for i in self.counted(name) {
            *counts.entry(i.zone.clone()).or_default() += 1;
        }
        counts
    }

    pub(super) fn emptiest_zone(&self, name: &GroupName) -> Option<String> {
        self.zone_counts(name).into_iter().min_by_key(|(_, n)| *n).map(|(zone, _)| zone)
    }

    /// Whom scale-in ends next; protected ones are spared. True with it when an instance launched for balance stands ready in its place.
    fn victim(&self, name: &GroupName) -> Option<(InstanceId, bool)> {
        let policy = self.groups.get(name).and_then(|g| g.policies.first().cloned()).unwrap_or_default();
        let counted = self.counted(name);
        let rebalanced = counted.iter().any(|i| i.extra);
        let zones = self.zone_counts(name);
        let open: Vec<_> = counted.into_iter().filter(|i| !i.protected).collect();
        // Zones come first under every policy: the fullest one that has anybody to give.
        let fullest = open.iter().map(|i| zones.get(&i.zone).copied().unwrap_or_default()).max()?;
        let open = open.into_iter().filter(|i| zones.get(&i.zone).copied().unwrap_or_default() == fullest);
        let victim = match policy.as_str() {
            "NewestInstance" => open.max_by_key(|i| (i.launched, i.id.clone())),
            "OldestInstance" => open.min_by_key(|i| (i.launched, i.id.clone())),
            _ => open.min_by_key(|i| (i.version, i.launched, i.id.clone())),
        };
        victim.map(|i| (i.id.clone(), rebalanced))
    }

    fn replace_unhealthy(&mut self, name: &GroupName) {
        let sick: Vec<_> = self
            .counted(name)
            .into_iter()
            .filter(|i| i.health == InstanceHealth::Unhealthy)
            .map(|i| (i.id.clone(), i.ec2.is_over()))
            .collect();
        for (id, dead) in sick {
            let cause = if dead { "an EC2 health check indicating it has been terminated or stopped" } else { "a health check failure" };
            self.begin_termination(&id, false, Why::Unhealthy, format!("in response to {cause}"));
            if dead && let Some(i) = self.instances.get(&id).filter(|i| i.ec2 == Ec2State::Terminated) {
                let id = i.id.clone();
                self.close_dead(&id);
            }
        }
    }

    /// A machine that was dead before Auto Scaling noticed has nothing left to end but its entry.
    fn close_dead(&mut self, id: &InstanceId) {
        let Some(i) = self.instances.get(id) else { return };
        let (group, activity) = (i.group.clone(), i.activity.clone());
        self.enter(id, LifecycleState::Terminated);
        self.drop_targets(id);
        if let Some(group) = group {
            self.end_activity(&group, &activity, "Successful", None);
            self.forget(id);
            self.steer(&group);
        }
    }

    /// Uneven by more than one: AZRebalance will act, after a while.
    pub(super) fn consider_rebalance(&mut self, name: &GroupName) {
        if self.uneven(name) {
            let delay = self.pace.rebalance.draw(&mut self.rng);
            self.after(delay, Event::Rebalance(name.clone()));
        }
    }

    fn uneven(&self, name: &GroupName) -> bool {
        let Some(group) = self.groups.get(name).filter(|g| may_rebalance(g)) else { return false };
        let counts = self.zone_counts(name);
        let spread = counts.values().max().zip(counts.values().min()).is_some_and(|(most, least)| most - least > 1);
        // Only the fullest zone's unprotected members can be moved.
        let most = counts.values().max().copied().unwrap_or_default();
        let movable = self.counted(name).iter().any(|i| !i.protected && counts.get(&i.zone) == Some(&most));
        spread && movable && self.counted(name).len() == usize::try_from(group.capacity.desired).unwrap_or(usize::MAX)
    }

    /// Launches ahead of the ending; the scale-in that follows takes one from the fullest zone.
    pub(super) fn rebalance(&mut self, name: &GroupName) {
        let launching = |r: &Self| {
            r.groups
                .get(name)
                .is_some_and(|g| g.members.iter().filter_map(|id| r.instances.get(id)).any(|i| i.extra && i.in_service.is_none()))
        };
        if !self.uneven(name) || launching(self) {
            return;
        }
        let counts = self.zone_counts(name);
        let Some((zone, _)) = counts.iter().min_by_key(|(_, n)| **n) else { return };
        let zones: Vec<_> = counts.keys().map(String::as_str).collect();
        let sizes: Vec<_> = counts.values().map(usize::to_string).collect();
        let cause = format!(
            "At {} availability zones {} had {} instances respectively. An instance was launched to aid in balancing the group's zones.",
            stamp(self.wall()),
            zones.join(" "),
            sizes.join(" ")
        );
        let zone = zone.clone();
        self.nobody_is_extra(name);
        self.launch(name, &zone, true, false, cause);
    }

    fn nobody_is_extra(&mut self, name: &GroupName) {
        for id in self.groups.get(name).map(|g| g.members.as_slice()).unwrap_or_default() {
            if let Some(i) = self.instances.get_mut(id) {
                i.extra = false;
            }
        }
    }

    /// Looks at the instance's checks once they could have failed: after its grace, or after the checks' own patience.
    pub(super) fn watch_health(&mut self, id: &InstanceId) {
        let Some((group, i)) = self.instances.get(id).and_then(|i| Some((self.groups.get(i.group.as_ref()?)?, i))) else { return };
        let spared = i.in_service.unwrap_or(self.now) + std::time::Duration::from_secs(u64::from(group.grace_s));
        let at = spared.max(self.now + self.patience(group));
        self.at(at, Event::CheckHealth(id.clone()));
    }

    pub(super) fn check_health(&mut self, id: &InstanceId) {
        let Some((group, i)) = self.instances.get(id).and_then(|i| Some((self.groups.get(i.group.as_ref()?)?, i))) else { return };
        if i.state != LifecycleState::InService || !group.runs(&Process::HealthCheck) {
            return;
        }
        let spared = i.in_service.unwrap_or_default() + std::time::Duration::from_secs(u64::from(group.grace_s));
        let dead = i.ec2.is_over();
        let failing = group.health_check_type == HealthCheckType::Elb && self.now >= spared && self.fails_behind_a_balancer(i);
        if (dead || failing) && i.health == InstanceHealth::Healthy {
            let name = group.name.clone();
            if let Some(i) = self.instance_mut(id) {
                i.health = InstanceHealth::Unhealthy;
            }
            self.steer(&name);
        }
    }
}

fn may_rebalance(group: &GroupState) -> bool {
    group.zones.len() > 1
        && !group.deleting
        && group.runs(&Process::AZRebalance)
        && group.runs(&Process::Launch)
        && (group.runs(&Process::Terminate) || group.capacity.desired < group.capacity.max + group.capacity.max.div_ceil(10))
}
