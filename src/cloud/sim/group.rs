//! Auto Scaling groups: what one is, and the calls that make, resize, tag and delete it (draining.md §4.5, §4.6).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use super::Region;
use super::SimTime;
use super::api::ApiError;
use super::api::ApiResult;
use super::hooks::Hook;
use super::refresh::RefreshState;
use super::region::ACCOUNT;
use super::region::AUTOSCALING;
use super::region::Event;
use super::region::REGION;
use super::schedule::Scheduled;
use super::spec::GroupSpec;
use super::supply::subnet_of;
use super::truth::CapacityChange;
use super::truth::Why;
use crate::cloud::Resize;
use crate::model::Capacity;
use crate::model::Group;
use crate::model::GroupInstance;
use crate::model::GroupName;
use crate::model::HealthCheckType;
use crate::model::InstanceId;
use crate::model::LaunchSource;
use crate::model::LifecycleState;
use crate::model::Process;
use crate::model::TargetGroupArn;
use crate::model::Timestamp;

/// A group as `DescribeAutoScalingGroups` shows it: the facts of the model, and what only the wire needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupDescription {
    /// The facts.
    pub group: Group,
    /// Launch template id.
    pub template_id: String,
    /// Seconds of the default cooldown.
    pub cooldown_s: u32,
    /// Termination policies in order.
    pub termination_policies: Vec<String>,
    /// New instances are protected from scale-in.
    pub new_instances_protected: bool,
    /// EC2 type of each instance.
    pub instance_types: BTreeMap<InstanceId, String>,
}

/// A scaling activity with all its fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// Its id.
    pub id: String,
    /// Its group.
    pub group: GroupName,
    /// What it does; names the instance.
    pub description: String,
    /// Why; names who asked.
    pub cause: String,
    /// AWS's status word: `PreInService`, `InProgress`, `MidLifecycleAction`, `WaitingForELBConnectionDraining`, `Successful`, `Failed`, ….
    pub status: &'static str,
    /// What went wrong.
    pub message: Option<String>,
    /// 0 to 100.
    pub progress: u8,
    /// Start.
    pub started: Timestamp,
    /// End.
    pub ended: Option<Timestamp>,
    /// `{"Subnet ID": …, "Availability Zone": …}`.
    pub details: String,
}

#[derive(Debug)]
pub(super) struct GroupState {
    pub(super) name: GroupName,
    pub(super) arn: String,
    pub(super) created: SimTime,
    pub(super) capacity: Capacity,
    pub(super) members: Vec<InstanceId>,
    pub(super) suspended: BTreeMap<Process, String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) target_groups: Vec<TargetGroupArn>,
    pub(super) classics: Vec<String>,
    pub(super) deleting: bool,
    pub(super) health_check_type: HealthCheckType,
    pub(super) grace_s: u32,
    pub(super) template: String,
    pub(super) version: String,
    pub(super) zones: Vec<String>,
    pub(super) hooks: BTreeMap<String, Hook>,
    pub(super) policies: Vec<String>,
    pub(super) new_protected: bool,
    /// Its instance lifecycle policy keeps an instance whose terminating hook is abandoned.
    pub(super) retains_abandoned: bool,
    pub(super) cooldown_s: u32,
    pub(super) cooldown_until: SimTime,
    pub(super) queue: String,
    /// Newest last.
    pub(super) activities: Vec<Activity>,
    pub(super) scheduled: BTreeMap<String, Scheduled>,
    pub(super) refreshes: Vec<RefreshState>,
    /// What an alarm in alarm wants desired to be.
    pub(super) alarm: Option<u32>,
    /// Why the next launches or endings happen, in AWS's words.
    pub(super) reason: Option<String>,
    /// No launch before this: the last one failed.
    pub(super) backoff: SimTime,
    pub(super) shown: RefCell<Option<Arc<GroupDescription>>>,
}

impl GroupState {
    pub(super) fn runs(&self, process: &Process) -> bool {
        !self.suspended.contains_key(process)
    }
}

impl Region {
    /// `CreateAutoScalingGroup`.
    pub fn create_auto_scaling_group(&mut self, spec: &GroupSpec) -> ApiResult<()> {
        let args = serde_json::to_value(spec).unwrap_or_default();
        self.mutate("CreateAutoScalingGroup", args, |r| r.create_group(spec))
    }

    fn create_group(&mut self, spec: &GroupSpec) -> ApiResult<()> {
        let name = GroupName::from(spec.name.as_str());
        if let Some(old) = self.groups.get(&name) {
            let pending = if old.deleting { " and is pending delete" } else { "" };
            return Err(ApiError::new(
                "AlreadyExists",
                format!("AutoScalingGroup by this name already exists - A group with the name {} already exists{pending}", spec.name),
            ));
        }
        let capacity = Capacity { min: spec.min, max: spec.max, desired: spec.desired.unwrap_or(spec.min) };
        check(capacity)?;
        let template = self.template(&spec.template)?.name.clone();
        self.resolve_version(&template, &spec.version)?;
        let target_groups = spec.target_groups.iter().map(|t| self.target_group_arn(t)).collect::<ApiResult<Vec<_>>>()?;
        if let Some(unknown) = spec.classic_load_balancers.iter().find(|c| !self.classics.contains_key(*c)) {
            return Err(ApiError::validation(format!(
                "Provided Load Balancers may not be valid. Please ensure they exist and try again. ({unknown})"
            )));
        }
        if spec.zones.is_empty() {
            return Err(ApiError::validation("At least one Availability Zone or VPC Subnet is required."));
        }
        let arn = format!("arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:{}:autoScalingGroupName/{}", self.uuid(), spec.name);
        let why = "User suspended at ".to_owned() + &self.wall().to_string();
        self.remember(&name);
        self.groups.insert(
            name.clone(),
            GroupState {
                name: name.clone(),
                arn,
                created: self.now,
                capacity,
                members: Vec::new(),
                suspended: spec.suspended.iter().map(|p| (p.clone(), why.clone())).collect(),
                tags: spec.tags.clone(),
                target_groups,
                classics: spec.classic_load_balancers.clone(),
                deleting: false,
                health_check_type: spec.health_check_type.clone(),
                grace_s: spec.health_check_grace_s,
                template,
                version: spec.version.clone(),
                zones: spec.zones.clone(),
                hooks: BTreeMap::new(),
                policies: spec.termination_policies.clone(),
                new_protected: spec.new_instances_protected,
                retains_abandoned: spec.retains_abandoned,
                cooldown_s: spec.cooldown_s,
                cooldown_until: SimTime::ZERO,
                queue: spec.queue.clone().unwrap_or_else(|| queue_of(&spec.name)),
                activities: Vec::new(),
                scheduled: BTreeMap::new(),
                refreshes: Vec::new(),
                alarm: None,
                reason: Some(format!(
                    "a user request created an AutoScalingGroup changing the desired capacity from 0 to {}.",
                    capacity.desired
                )),
                backoff: SimTime::ZERO,
                shown: RefCell::new(None),
            },
        );
        for hook in &spec.hooks {
            self.put_hook(&name, hook)?;
        }
        let by = self.who();
        self.truth.capacity.push(CapacityChange { at: self.now, group: name.clone(), capacity, by });
        self.steer(&name);
        Ok(())
    }

    /// `UpdateAutoScalingGroup`, the sizes: checked as the merged result; min raised above desired raises it, max lowered below lowers it.
    pub fn update_auto_scaling_group(&mut self, name: &GroupName, change: Resize) -> ApiResult<()> {
        let args = json!({"AutoScalingGroupName": name, "MinSize": change.min, "MaxSize": change.max, "DesiredCapacity": change.desired});
        self.mutate("UpdateAutoScalingGroup", args, |r| {
            let group = r.changeable(name)?;
            let old = group.capacity;
            let (min, max) = (change.min.unwrap_or(old.min), change.max.unwrap_or(old.max));
            // A desired that is given has to fit; one that is not is moved into the bounds.
            let desired = change.desired.unwrap_or_else(|| if min > max { old.desired } else { old.desired.clamp(min, max) });
            let new = Capacity { min, max, desired };
            check(new)?;
            let reason = format!(
                "a user request update of AutoScalingGroup constraints to min: {min}, max: {max}, desired: {desired} changing the desired capacity from {} to {desired}.",
                old.desired
            );
            r.set_capacity(name, new, Some(reason));
            Ok(())
        })
    }

    /// `UpdateAutoScalingGroup`, the launch template: what the next launches start from.
    pub fn update_launch_template(&mut self, name: &GroupName, template: &str, version: &str) -> ApiResult<()> {
        let args = json!({"AutoScalingGroupName": name, "LaunchTemplate": {"LaunchTemplateName": template, "Version": version}});
        self.mutate("UpdateAutoScalingGroup", args, |r| {
            r.changeable(name)?;
            let template = r.template(template)?.name.clone();
            r.resolve_version(&template, version)?;
            if let Some(group) = r.group_mut(name) {
                (group.template, group.version) = (template, version.to_owned());
            }
            Ok(())
        })
    }

    /// `SetDesiredCapacity`.
    pub fn set_desired_capacity(&mut self, name: &GroupName, desired: u32, honor_cooldown: bool) -> ApiResult<()> {
        let args = json!({"AutoScalingGroupName": name, "DesiredCapacity": desired, "HonorCooldown": honor_cooldown});
        self.mutate("SetDesiredCapacity", args, |r| {
            let now = r.now;
            let group = r.changeable(name)?;
            let old = group.capacity;
            if desired > old.max {
                let words = format!("New SetDesiredCapacity value {desired} is above max value {} for the AutoScalingGroup.", old.max);
                return Err(ApiError::validation(words));
            }
            if desired < old.min {
                let words = format!("New SetDesiredCapacity value {desired} is below min value {} for the AutoScalingGroup.", old.min);
                return Err(ApiError::validation(words));
            }
            if honor_cooldown && now < group.cooldown_until {
                return Err(ApiError::in_progress(name.as_str()));
            }
            let reason = format!(
                "a user request explicitly set group desired capacity changing the desired capacity from {} to {desired}.",
                old.desired
            );
            r.set_capacity(name, Capacity { desired, ..old }, Some(reason));
            Ok(())
        })
    }

    /// `DeleteAutoScalingGroup`. Without force the group has to be empty; with it its instances end without hooks.
    pub fn delete_auto_scaling_group(&mut self, name: &GroupName, force: bool) -> ApiResult<()> {
        let args = json!({"AutoScalingGroupName": name, "ForceDelete": force});
        self.mutate("DeleteAutoScalingGroup", args, |r| {
            let group = r.known_group(name)?;
            let members = group.members.clone();
            if !force && !members.is_empty() {
                return Err(ApiError::new("ResourceInUse", "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group."));
            }
            if !force && group.activities.iter().any(|a| a.ended.is_none()) {
                return Err(ApiError::in_progress(name.as_str()));
            }
            if members.is_empty() {
                r.remember(name);
                r.groups.remove(name);
                return Ok(());
            }
            if let Some(group) = r.group_mut(name) {
                group.deleting = true;
            }
            r.set_capacity(name, Capacity::default(), None);
            for id in members {
                r.begin_termination(&id, false, Why::GroupDeleted, "a user request to delete the AutoScalingGroup".into());
            }
            Ok(())
        })
    }

    /// `CreateOrUpdateTags`.
    pub fn create_or_update_tags(&mut self, name: &GroupName, tags: &[(String, String)]) -> ApiResult<()> {
        self.mutate("CreateOrUpdateTags", json!({"ResourceId": name, "Tags": tags}), |r| {
            r.known_group(name)?;
            if let Some((key, _)) = tags.iter().find(|(key, value)| key.is_empty() || key.len() > 128 || value.len() > 256) {
                return Err(ApiError::validation(format!("Tag '{key}' is too long, or its key is empty.")));
            }
            if let Some(group) = r.group_mut(name) {
                group.tags.extend(tags.iter().cloned());
            }
            Ok(())
        })
    }

    /// `DeleteTags`; absent ones are fine.
    pub fn delete_tags(&mut self, name: &GroupName, keys: &[String]) -> ApiResult<()> {
        self.mutate("DeleteTags", json!({"ResourceId": name, "Tags": keys}), |r| {
            r.known_group(name)?;
            if let Some(group) = r.group_mut(name) {
                group.tags.retain(|key, _| !keys.contains(key));
            }
            Ok(())
        })
    }

    /// A group that exists and is not being deleted.
    pub(super) fn changeable(&self, name: &GroupName) -> ApiResult<&GroupState> {
        let group = self.known_group(name)?;
        if group.deleting { Err(ApiError::validation(format!("AutoScalingGroup '{name}' is pending delete."))) } else { Ok(group) }
    }

    /// Writes new sizes, and lets Auto Scaling act on them.
    pub(super) fn set_capacity(&mut self, name: &GroupName, capacity: Capacity, reason: Option<String>) {
        let by = self.context.as_ref().map_or_else(|| AUTOSCALING.to_owned(), |c| c.caller.clone());
        let now = self.now;
        let Some(group) = self.group_mut(name) else { return };
        group.cooldown_until = now + std::time::Duration::from_secs(u64::from(group.cooldown_s));
        if reason.is_some() {
            group.reason = reason;
        }
        if group.capacity != capacity {
            group.capacity = capacity;
            self.truth.capacity.push(CapacityChange { at: now, group: name.clone(), capacity, by });
        }
        self.steer(name);
    }

    /// Auto Scaling looks at the group, a little later.
    pub(super) fn steer(&mut self, name: &GroupName) {
        let delay = self.pace.react.draw(&mut self.rng);
        self.after(delay, Event::Reconcile(name.clone()));
    }

    pub(super) fn describe(&self, g: &GroupState) -> GroupDescription {
        let members = g.members.iter().filter_map(|id| self.instances.get(id));
        let template_id = self.templates.get(&g.template).map(|t| t.id.clone()).unwrap_or_default();
        GroupDescription {
            instance_types: members.clone().map(|i| (i.id.clone(), i.instance_type.clone())).collect(),
            group: Group {
                name: g.name.clone(),
                arn: g.arn.clone(),
                created: self.wall_at(g.created),
                capacity: g.capacity,
                instances: members
                    .filter(|i| i.state != LifecycleState::Terminated || self.undocumented.terminated_lingers)
                    .map(|i| GroupInstance {
                        id: i.id.clone(),
                        group: g.name.clone(),
                        zone: i.zone.clone(),
                        state: i.state.clone(),
                        health: i.health.clone(),
                        protected: i.protected,
                        launch: i.launch.clone(),
                        weight: 1,
                    })
                    .collect(),
                suspended: g.suspended.clone(),
                tags: g.tags.clone(),
                target_groups: g.target_groups.clone(),
                classic_load_balancers: g.classics.clone(),
                status: g.deleting.then(|| "Delete in progress".to_owned()),
                health_check_type: g.health_check_type.clone(),
                health_check_grace_s: g.grace_s,
                launch: Some(LaunchSource { name: g.template.clone(), version: Some(g.version.clone()) }),
                availability_zones: g.zones.clone(),
                subnets: g.zones.iter().map(|zone| subnet_of(zone)).collect(),
                mixed: None,
                warm_pool: None,
                deletion_protection: None,
                retains_abandoned: g.retains_abandoned,
            },
            template_id,
            cooldown_s: g.cooldown_s,
            termination_policies: g.policies.clone(),
            new_instances_protected: g.new_protected,
        }
    }
}

/// AWS checks the merged result.
pub(super) fn check(c: Capacity) -> ApiResult<()> {
    if c.min > c.max {
        return Err(ApiError::validation(format!("Max bound, {}, must be greater than or equal to min bound, {}", c.max, c.min)));
    }
    if c.desired < c.min || c.desired > c.max {
        let words = format!("Desired capacity:{} must be between the specified min size:{} and max size:{}", c.desired, c.min, c.max);
        return Err(ApiError::validation(words));
    }
    Ok(())
}

/// All server groups of a cluster share its queue: the name without `-vNNN`.
fn queue_of(group: &str) -> String {
    match group.rsplit_once("-v") {
        Some((cluster, n)) if n.len() >= 3 && n.bytes().all(|b| b.is_ascii_digit()) => cluster.to_owned(),
        Some(_) | None => group.to_owned(),
    }
}
