//! Loading scenarios, and what happens in them without anybody's calling the API.

use std::time::Duration;

use super::Region;
use super::api::ApiError;
use super::api::ApiResult;
use super::instance::MaintenanceEvent;
use super::region::Event;
use super::region::SCENARIO;
use super::spec::GroupSpec;
use super::spec::Incident;
use super::spec::Pick;
use super::spec::Scenario;
use super::spec::Timed;
use super::truth::Why;
use crate::cloud::TargetId;
use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Process;

/// The notice before a spot interruption.
const SPOT_NOTICE: Duration = Duration::from_secs(120);

impl Region {
    /// Puts everything of a scenario into the region. Stops at the first thing that AWS would not accept, and says which.
    pub fn load(&mut self, scenario: &Scenario) -> ApiResult<()> {
        if let Some(undocumented) = scenario.undocumented {
            self.undocumented = undocumented;
        }
        if let Some(pace) = scenario.pace {
            self.pace = pace;
        }
        for template in &scenario.templates {
            self.add_template(template.clone());
        }
        for target_group in &scenario.target_groups {
            self.add_target_group(target_group.clone());
        }
        for balancer in &scenario.load_balancers {
            self.add_load_balancer(balancer)?;
        }
        for classic in &scenario.classic_load_balancers {
            self.add_classic_load_balancer(classic.clone());
        }
        for group in &scenario.groups {
            self.add_group(group)?;
        }
        // What is there from the start is there whatever may be launched from now on.
        self.set_vcpu_quota(scenario.vcpu_quota);
        self.stale = scenario.stale_bound;
        self.set_bucket(scenario.bucket);
        for rule in &scenario.trouble {
            self.trouble(rule.clone());
        }
        for timed in &scenario.incidents {
            self.schedule(timed.clone());
        }
        let now = self.now;
        self.advance(now);
        Ok(())
    }

    /// A group comes into being; a `settled` one with its instances in service. Answers their ids.
    pub fn add_group(&mut self, spec: &GroupSpec) -> ApiResult<Vec<InstanceId>> {
        self.create_auto_scaling_group(spec)?;
        let name = GroupName::from(spec.name.as_str());
        if spec.settled {
            for _ in 0..spec.desired.unwrap_or(spec.min) {
                let Some(zone) = self.emptiest_zone(&name) else { break };
                self.launch(&name, &zone, false, true, "The scenario begins with this instance.".into());
            }
        }
        Ok(self.members(&name))
    }

    /// Something will happen.
    pub fn schedule(&mut self, timed: Timed) {
        self.incidents.push(timed.what);
        let n = self.incidents.len() - 1;
        self.at(timed.at, Event::Incident(n));
    }

    pub(super) fn incident_due(&mut self, n: usize) {
        if let Some(incident) = self.incidents.get(n).cloned() {
            self.strike(&incident);
        }
    }

    /// Something happens now. What is aimed at something that is not there is passed over.
    pub fn strike(&mut self, incident: &Incident) {
        // What the script does with groups is done by the script, whoever's call is under way.
        let before = self.context.replace(super::region::Context { caller: SCENARIO.into(), reply_lost: false });
        match incident {
            Incident::Work(work) => self.submit_work(work),
            Incident::Crash(on) => self.on(on, Self::crash_orchestrator),
            Incident::HangOrchestrator { on, r#for } => {
                let how_long = r#for.draw(&mut self.rng);
                self.on(on, |r, id| r.hang_orchestrator(id, how_long));
            }
            Incident::Deadlock(on) => self.on(on, Self::deadlock_orchestrator),
            Incident::Mark { on, health } => self.on(on, |r, id| {
                if let Some(i) = r.instance_mut(id) {
                    i.health = health.clone();
                }
            }),
            Incident::Lie { on, lie, endpoint, r#for } => {
                let how_long = r#for.draw(&mut self.rng);
                self.on(on, |r, id| r.lie(id, *lie, *endpoint, how_long));
            }
            Incident::Spot(on) => self.on(on, |r, id| {
                let at = r.wall_at(r.now + SPOT_NOTICE);
                if let Some(i) = r.instances.get_mut(id) {
                    i.notices.spot = Some(("terminate".into(), at));
                }
                r.after(SPOT_NOTICE, Event::SpotEnd(id.clone()));
            }),
            Incident::RebalanceRecommendation(on) => self.on(on, |r, id| {
                let at = r.wall();
                if let Some(i) = r.instances.get_mut(id) {
                    i.notices.rebalance = Some(at);
                }
            }),
            Incident::Maintenance { on, code, r#in } => {
                let lead = r#in.draw(&mut self.rng);
                let event = MaintenanceEvent {
                    id: format!("instance-event-{}", self.hex(17)),
                    code: code.clone(),
                    not_before: self.wall_at(self.now + lead),
                };
                self.on(on, |r, id| {
                    if let Some(i) = r.instances.get_mut(id) {
                        i.notices.maintenance.push(event.clone());
                    }
                });
            }
            Incident::Kill(on) => self.on(on, |r, id| r.kill(id, Why::Ec2Request, SCENARIO.into())),
            Incident::AddGroup(spec) => self.tried(|r| r.add_group(spec).map(drop)),
            Incident::Disable(group) => self.tried(|r| r.disable(&GroupName::from(group.as_str()))),
            Incident::Enable(group) => self.tried(|r| r.enable(&GroupName::from(group.as_str()))),
            Incident::Refresh(group) => self.tried(|r| r.start_instance_refresh(&GroupName::from(group.as_str())).map(drop)),
            Incident::Alarm { group, desired } => {
                let name = GroupName::from(group.as_str());
                if let Some(group) = self.groups.get_mut(&name) {
                    group.alarm = Some(*desired);
                }
                self.context = None;
                self.alarm_acts(&name);
            }
            Incident::AlarmOver(group) => {
                if let Some(group) = self.groups.get_mut(&GroupName::from(group.as_str())) {
                    group.alarm = None;
                }
            }
            Incident::RemoveImage(image) => self.remove_image(image),
            Incident::RemoveKeyPair(name) => self.remove_key_pair(name),
            Incident::RemoveSecurityGroup(id) => self.remove_security_group(id),
            Incident::RemoveTemplate(name) => self.remove_template(name),
            Incident::RemoveSubnet(zone) => self.remove_subnet(zone),
            Incident::FillSubnet { zone, free } => self.fill_subnet(zone, *free),
            Incident::WithdrawType { instance_type, zone } => self.withdraw_type(instance_type, zone),
            Incident::Trouble(rule) => self.trouble(rule.clone()),
            Incident::NoTrouble => self.no_trouble(),
        }
        self.context = before;
    }

    /// What Spinnaker does to disable a server group: the three processes suspended, `InService` and `Pending` members deregistered.
    /// A queue-driven orchestrator goes on taking work (draining.md §4.4).
    pub fn disable(&mut self, name: &GroupName) -> ApiResult<()> {
        self.suspend_processes(name, &Process::DISABLING)?;
        self.each_registration(
            name,
            |r, arn, targets| r.deregister_targets(arn, targets),
            |r, lb, ids| r.deregister_instances(lb, ids).map(drop),
        )
    }

    /// What Spinnaker does to enable it again: the three resumed, `InService` members registered.
    pub fn enable(&mut self, name: &GroupName) -> ApiResult<()> {
        self.resume_processes(name, &Process::DISABLING)?;
        self.each_registration(
            name,
            |r, arn, targets| r.register_targets(arn, targets),
            |r, lb, ids| r.register_instances(lb, ids).map(drop),
        )
    }

    fn each_registration(
        &mut self,
        name: &GroupName,
        v2: impl Fn(&mut Self, &crate::model::TargetGroupArn, &[TargetId]) -> ApiResult<()>,
        classic: impl Fn(&mut Self, &str, &[InstanceId]) -> ApiResult<()>,
    ) -> ApiResult<()> {
        let group = self.known_group(name)?;
        let serving = |id: &&InstanceId| self.instances.get(id).is_some_and(|i| i.state == LifecycleState::InService && !i.ec2.is_over());
        let ids: Vec<InstanceId> = group.members.iter().filter(serving).cloned().collect();
        let (arns, names) = (group.target_groups.clone(), group.classics.clone());
        let targets: Vec<TargetId> = ids.iter().map(|id| TargetId { instance: id.clone(), port: None }).collect();
        for arn in &arns {
            v2(self, arn, &targets)?;
        }
        for lb in &names {
            classic(self, lb, &ids)?;
        }
        Ok(())
    }

    fn on(&mut self, pick: &Pick, act: impl FnOnce(&mut Self, &InstanceId)) {
        let id = match pick {
            Pick::Id(id) => Some(id.clone()),
            Pick::Nth { group, nth } => self.members(&GroupName::from(group.as_str())).into_iter().nth(*nth),
        };
        if let Some(id) = id.filter(|id| self.instances.contains_key(id)) {
            act(self, &id);
        }
    }

    /// A scripted call that AWS refuses is in the ledger; the script goes on.
    fn tried(&mut self, act: impl FnOnce(&mut Self) -> Result<(), ApiError>) {
        drop(act(self));
    }
}
