//! EC2 Auto Scaling: parameters in, the region's typed call, fields out.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Actions;
use super::query::Paging;
use super::query::Params;
use super::query::Xml;
use crate::cloud::Resize;
use crate::cloud::sim::ACCOUNT;
use crate::cloud::sim::ActionRef;
use crate::cloud::sim::Activity;
use crate::cloud::sim::ApiError;
use crate::cloud::sim::ApiResult;
use crate::cloud::sim::GroupDescription;
use crate::cloud::sim::GroupSpec;
use crate::cloud::sim::HookSpec;
use crate::cloud::sim::PROCESSES;
use crate::cloud::sim::REGION;
use crate::cloud::sim::Region;
use crate::cloud::sim::ScheduledSpec;
use crate::cloud::sim::TagFilter;
use crate::cloud::sim::Transition;
use crate::model::GroupName;
use crate::model::HealthCheckType;
use crate::model::HookResult;
use crate::model::InstanceHealth;
use crate::model::InstanceId;
use crate::model::LaunchSource;
use crate::model::Process;
use crate::model::Timestamp;

pub(super) const ACTIONS: Actions = &[
    ("DescribeAutoScalingGroups", describe_groups),
    ("DescribeAutoScalingInstances", describe_instances),
    ("DescribeScalingActivities", describe_activities),
    ("DescribeTags", describe_tags),
    ("DescribeScheduledActions", describe_scheduled),
    ("DescribeInstanceRefreshes", describe_refreshes),
    ("DescribeLifecycleHooks", describe_hooks),
    ("DescribeLoadBalancers", describe_load_balancers),
    ("DescribeLoadBalancerTargetGroups", describe_target_groups),
    ("DescribeTrafficSources", describe_traffic_sources),
    ("DescribePolicies", describe_policies),
    ("DescribeScalingProcessTypes", describe_process_types),
    ("CreateAutoScalingGroup", create_group),
    ("UpdateAutoScalingGroup", update_group),
    ("DeleteAutoScalingGroup", delete_group),
    ("SetDesiredCapacity", set_desired),
    ("TerminateInstanceInAutoScalingGroup", terminate),
    ("SuspendProcesses", suspend),
    ("ResumeProcesses", resume),
    ("CreateOrUpdateTags", put_tags),
    ("DeleteTags", delete_tags),
    ("SetInstanceProtection", set_protection),
    ("SetInstanceHealth", set_health),
    ("EnterStandby", enter_standby),
    ("ExitStandby", exit_standby),
    ("AttachInstances", attach),
    ("DetachInstances", detach),
    ("PutLifecycleHook", put_hook),
    ("DeleteLifecycleHook", delete_hook),
    ("CompleteLifecycleAction", complete_action),
    ("RecordLifecycleActionHeartbeat", heartbeat),
    ("PutScheduledUpdateGroupAction", put_scheduled),
    ("DeleteScheduledAction", delete_scheduled),
    ("StartInstanceRefresh", start_refresh),
    ("CancelInstanceRefresh", cancel_refresh),
];

fn group_name(p: &Params) -> ApiResult<GroupName> {
    p.required("AutoScalingGroupName").map(GroupName::from)
}

fn instance_ids(p: &Params) -> Vec<InstanceId> {
    p.texts("InstanceIds").into_iter().map(InstanceId::from).collect()
}

fn describe_groups(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let names: Vec<GroupName> = p.texts("AutoScalingGroupNames").into_iter().map(GroupName::from).collect();
    let filters = p.list("Filters").into_iter().map(filter).collect::<ApiResult<Vec<_>>>()?;
    let page = Paging::RECORDS.cut(p, r.describe_auto_scaling_groups(&names, &filters)?)?;
    x.list("AutoScalingGroups", &page.items, group).maybe("NextToken", page.next);
    Ok(())
}

fn filter(p: &Params) -> ApiResult<TagFilter> {
    let (name, values) = (p.required("Name")?, p.owned("Values"));
    match name {
        "tag-key" => Ok(TagFilter::Key(values)),
        "tag-value" => Ok(TagFilter::Value(values)),
        _ => match name.strip_prefix("tag:") {
            Some(key) => Ok(TagFilter::Tag(key.to_owned(), values)),
            None => Err(ApiError::validation(format!("The filter '{name}' is not valid"))),
        },
    }
}

pub(super) fn group(x: &mut Xml, d: &Arc<GroupDescription>) {
    let g = &d.group;
    x.text("AutoScalingGroupName", &g.name).text("AutoScalingGroupARN", &g.arn);
    launch(x, g.launch.as_ref(), &d.template_id);
    x.text("MinSize", g.capacity.min).text("MaxSize", g.capacity.max).text("DesiredCapacity", g.capacity.desired);
    x.text("DefaultCooldown", d.cooldown_s).texts("AvailabilityZones", &g.availability_zones);
    x.maybe("VPCZoneIdentifier", Some(g.subnets.join(",")).filter(|ids| !ids.is_empty()));
    x.texts("LoadBalancerNames", &g.classic_load_balancers).texts("TargetGroupARNs", &g.target_groups);
    x.text("HealthCheckType", &g.health_check_type).text("HealthCheckGracePeriod", g.health_check_grace_s);
    x.list("Instances", &g.instances, |x, i| {
        x.text("InstanceId", &i.id).maybe("InstanceType", d.instance_types.get(&i.id)).text("AvailabilityZone", &i.zone);
        x.text("LifecycleState", &i.state).text("HealthStatus", &i.health);
        launch(x, i.launch.as_ref(), &d.template_id);
        x.text("ProtectedFromScaleIn", i.protected);
    });
    x.text("CreatedTime", g.created);
    x.list("SuspendedProcesses", &g.suspended, |x, (process, reason)| {
        x.text("ProcessName", process).text("SuspensionReason", reason);
    });
    x.texts("EnabledMetrics", [""; 0]).maybe("Status", g.status.as_ref());
    x.list("Tags", &g.tags, |x, (key, value)| tag(x, &g.name, key, value));
    x.texts("TerminationPolicies", &d.termination_policies);
    x.text("NewInstancesProtectedFromScaleIn", d.new_instances_protected).text("CapacityRebalance", false);
    if g.retains_abandoned {
        x.nest("InstanceLifecyclePolicy", |x| {
            x.nest("RetentionTriggers", |x| {
                x.text("TerminateHookAbandon", "retain");
            });
        });
    }
    x.text("ServiceLinkedRoleARN", format_args!("arn:aws:iam::{}:role/{SERVICE_ROLE}", ACCOUNT));
}

const SERVICE_ROLE: &str = "aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling";

fn launch(x: &mut Xml, launch: Option<&LaunchSource>, template_id: &str) {
    if let Some(l) = launch {
        x.nest("LaunchTemplate", |x| {
            x.text("LaunchTemplateId", template_id).text("LaunchTemplateName", &l.name).maybe("Version", l.version.as_ref());
        });
    }
}

fn tag(x: &mut Xml, group: &GroupName, key: &str, value: &str) {
    x.text("ResourceId", group).text("ResourceType", "auto-scaling-group");
    x.text("Key", key).text("Value", value).text("PropagateAtLaunch", false);
}

fn describe_instances(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let entries = r.describe_auto_scaling_instances(&instance_ids(p))?;
    let page = Paging { max: 50, ..Paging::RECORDS }.cut(p, entries)?;
    let templates: BTreeMap<String, String> = r.describe_launch_templates(&[])?.into_iter().map(|t| (t.name, t.id)).collect();
    x.list("AutoScalingInstances", &page.items, |x, i| {
        x.text("InstanceId", &i.id)
            .maybe("InstanceType", r.instance(&i.id).map(|i| &i.instance_type))
            .text("AutoScalingGroupName", &i.group);
        // This call shouts where DescribeAutoScalingGroups speaks.
        x.text("AvailabilityZone", &i.zone).text("LifecycleState", &i.state).text("HealthStatus", i.health.as_str().to_uppercase());
        let template = i.launch.as_ref().and_then(|l| templates.get(&l.name));
        launch(x, i.launch.as_ref(), template.map_or("", String::as_str));
        x.text("ProtectedFromScaleIn", i.protected);
    });
    x.maybe("NextToken", page.next);
    Ok(())
}

fn describe_activities(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let group = p.text("AutoScalingGroupName").map(GroupName::from);
    let activities = r.describe_scaling_activities(group.as_ref(), &p.owned("ActivityIds"))?;
    let page = Paging { default: 100, ..Paging::RECORDS }.cut(p, activities)?;
    x.list("Activities", &page.items, activity).maybe("NextToken", page.next);
    Ok(())
}

fn activity(x: &mut Xml, a: &Activity) {
    x.text("ActivityId", &a.id).text("AutoScalingGroupName", &a.group).text("Description", &a.description).text("Cause", &a.cause);
    x.text("StartTime", a.started).maybe("EndTime", a.ended).text("StatusCode", a.status).maybe("StatusMessage", a.message.as_ref());
    x.text("Progress", a.progress).text("Details", &a.details);
}

fn describe_tags(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let mut tags = r.describe_tags()?;
    for filter in p.list("Filters") {
        let (name, values) = (filter.required("Name")?, filter.texts("Values"));
        match name {
            "auto-scaling-group" => tags.retain(|t| values.contains(&t.group.as_str())),
            "key" => tags.retain(|t| values.contains(&t.key.as_str())),
            "value" => tags.retain(|t| values.contains(&t.value.as_str())),
            "propagate-at-launch" => tags.retain(|_| values.contains(&"false")),
            _ => return Err(ApiError::validation(format!("The filter '{name}' is not valid"))),
        }
    }
    let page = Paging::RECORDS.cut(p, tags)?;
    x.list("Tags", &page.items, |x, t| tag(x, &t.group, &t.key, &t.value)).maybe("NextToken", page.next);
    Ok(())
}

fn describe_scheduled(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let names = p.texts("ScheduledActionNames");
    let group = p.text("AutoScalingGroupName").map(GroupName::from);
    let mut actions = r.describe_scheduled_actions(group.as_ref())?;
    actions.retain(|a| names.is_empty() || names.contains(&a.name.as_str()));
    let page = Paging::RECORDS.cut(p, actions)?;
    x.list("ScheduledUpdateGroupActions", &page.items, |x, a| {
        let due = r.wall_at(a.due);
        let arn = format!("arn:aws:autoscaling:{REGION}:{ACCOUNT}:scheduledUpdateGroupAction:0:autoScalingGroupName/{}", a.group);
        x.text("AutoScalingGroupName", &a.group).text("ScheduledActionName", &a.name);
        x.text("ScheduledActionARN", format_args!("{arn}:scheduledActionName/{}", a.name)).text("Time", due).text("StartTime", due);
        x.maybe("MinSize", a.min).maybe("MaxSize", a.max).maybe("DesiredCapacity", a.desired);
    });
    x.maybe("NextToken", page.next);
    Ok(())
}

fn describe_refreshes(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let name = group_name(p)?;
    let ids = p.texts("InstanceRefreshIds");
    let mut refreshes = r.describe_instance_refreshes(&name)?;
    refreshes.retain(|f| ids.is_empty() || ids.contains(&f.id.as_str()));
    let page = Paging::RECORDS.cut(p, refreshes)?;
    x.list("InstanceRefreshes", &page.items, |x, f| {
        x.text("InstanceRefreshId", &f.id)
            .text("AutoScalingGroupName", &name)
            .text("Status", f.status)
            .maybe("StatusReason", f.reason.as_ref());
        x.text("StartTime", f.started).maybe("EndTime", f.ended).text("PercentageComplete", f.percent).text("InstancesToUpdate", f.left);
    });
    x.maybe("NextToken", page.next);
    Ok(())
}

fn describe_hooks(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let hooks = r.describe_lifecycle_hooks(&group_name(p)?, &p.owned("LifecycleHookNames"))?;
    x.list("LifecycleHooks", &hooks, |x, h| {
        x.text("LifecycleHookName", &h.name).text("AutoScalingGroupName", &h.group).text("LifecycleTransition", h.transition.as_str());
        x.text("HeartbeatTimeout", h.heartbeat_s).text("GlobalTimeout", h.global_s).text("DefaultResult", h.default_result.as_str());
    });
    Ok(())
}

fn describe_load_balancers(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let page = Paging::RECORDS.cut(p, r.describe_group_load_balancers(&group_name(p)?)?)?;
    x.list("LoadBalancers", &page.items, |x, a| {
        x.text("LoadBalancerName", &a.source).text("State", a.state);
    });
    x.maybe("NextToken", page.next);
    Ok(())
}

fn describe_target_groups(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let page = Paging::RECORDS.cut(p, r.describe_load_balancer_target_groups(&group_name(p)?)?)?;
    x.list("LoadBalancerTargetGroups", &page.items, |x, a| {
        x.text("LoadBalancerTargetGroupARN", &a.source).text("State", a.state);
    });
    x.maybe("NextToken", page.next);
    Ok(())
}

fn describe_traffic_sources(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let mut sources = r.describe_traffic_sources(&group_name(p)?)?;
    sources.retain(|a| p.text("TrafficSourceType").is_none_or(|kind| a.kind == kind));
    let page = Paging::RECORDS.cut(p, sources)?;
    x.list("TrafficSources", &page.items, |x, a| {
        x.text("Identifier", &a.source).text("TrafficSource", &a.source).text("Type", a.kind).text("State", a.state);
    });
    x.maybe("NextToken", page.next);
    Ok(())
}

fn describe_policies(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let group = p.text("AutoScalingGroupName").map(GroupName::from);
    let page = Paging::RECORDS.cut(p, r.describe_policies(group.as_ref())?)?;
    x.list("ScalingPolicies", &page.items, |x, policy| {
        x.text("AutoScalingGroupName", &policy.group).text("PolicyName", policy.name).text("PolicyType", "SimpleScaling");
        x.text("AdjustmentType", "ExactCapacity").text("ScalingAdjustment", policy.desired).text("Enabled", true).texts("Alarms", [""; 0]);
    });
    x.maybe("NextToken", page.next);
    Ok(())
}

fn describe_process_types(_: &mut Region, _: &Params, x: &mut Xml) -> ApiResult<()> {
    x.list("Processes", PROCESSES, |x, process| {
        x.text("ProcessName", process);
    });
    Ok(())
}

fn create_group(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    let (template, version) = launch_template(p)?.ok_or_else(|| {
        ApiError::validation(
            "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or MixedInstancesPolicy parameter.",
        )
    })?;
    let number = |name: &str| p.required(name).and_then(|_| Ok(p.number::<u32>(name)?.unwrap_or_default()));
    let usual = GroupSpec::default();
    let policies = p.owned("TerminationPolicies");
    let tags = p.list("Tags").into_iter().map(|t| Ok((t.required("Key")?.to_owned(), t.text("Value").unwrap_or_default().to_owned())));
    r.create_auto_scaling_group(&GroupSpec {
        name: group_name(p)?.to_string(),
        min: number("MinSize")?,
        max: number("MaxSize")?,
        desired: p.number("DesiredCapacity")?,
        template,
        version,
        zones: p.owned("AvailabilityZones"),
        target_groups: p.owned("TargetGroupARNs"),
        classic_load_balancers: p.owned("LoadBalancerNames"),
        tags: tags.collect::<ApiResult<_>>()?,
        health_check_type: p.text("HealthCheckType").map_or(usual.health_check_type, HealthCheckType::from),
        health_check_grace_s: p.number("HealthCheckGracePeriod")?.unwrap_or(0),
        hooks: p.list("LifecycleHookSpecificationList").into_iter().map(hook).collect::<ApiResult<_>>()?,
        termination_policies: if policies.is_empty() { usual.termination_policies } else { policies },
        new_instances_protected: p.flag("NewInstancesProtectedFromScaleIn")?.unwrap_or(false),
        retains_abandoned: p.text("InstanceLifecyclePolicy.RetentionTriggers.TerminateHookAbandon") == Some("retain"),
        cooldown_s: p.number("DefaultCooldown")?.unwrap_or(usual.cooldown_s),
        ..GroupSpec::default()
    })
}

/// Name or id, and version.
fn launch_template(p: &Params) -> ApiResult<Option<(String, String)>> {
    let Some(l) = p.below("LaunchTemplate") else { return Ok(None) };
    let name = l.text("LaunchTemplateName").or_else(|| l.text("LaunchTemplateId"));
    let name = name.ok_or_else(|| ApiError::validation("Valid requests must contain either launchTemplateId or LaunchTemplateName"))?;
    Ok(Some((name.to_owned(), l.text("Version").unwrap_or("$Default").to_owned())))
}

fn update_group(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    let name = group_name(p)?;
    let change = Resize { min: p.number("MinSize")?, max: p.number("MaxSize")?, desired: p.number("DesiredCapacity")? };
    r.update_auto_scaling_group(&name, change)?;
    match launch_template(p)? {
        Some((template, version)) => r.update_launch_template(&name, &template, &version),
        None => Ok(()),
    }
}

fn delete_group(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    r.delete_auto_scaling_group(&group_name(p)?, p.flag("ForceDelete")?.unwrap_or(false))
}

fn set_desired(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    let name = group_name(p)?;
    p.required("DesiredCapacity")?;
    r.set_desired_capacity(&name, p.number("DesiredCapacity")?.unwrap_or_default(), p.flag("HonorCooldown")?.unwrap_or(false))
}

fn terminate(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let id = InstanceId::from(p.required("InstanceId")?);
    let a = r.terminate_instance_in_auto_scaling_group(&id, decided(p, "ShouldDecrementDesiredCapacity")?)?;
    x.nest("Activity", |x| activity(x, &a));
    Ok(())
}

/// None named means all of them, to AWS and to the region (draining.md §4.4).
fn processes(p: &Params) -> Vec<Process> {
    p.texts("ScalingProcesses").into_iter().map(Process::from).collect()
}

fn suspend(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    r.suspend_processes(&group_name(p)?, &processes(p))
}

fn resume(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    r.resume_processes(&group_name(p)?, &processes(p))
}

/// Keys and values by the group they are for.
fn tags(p: &Params) -> ApiResult<BTreeMap<GroupName, Vec<(String, String)>>> {
    let mut by_group = BTreeMap::<_, Vec<_>>::new();
    for t in p.list("Tags") {
        let pair = (t.required("Key")?.to_owned(), t.text("Value").unwrap_or_default().to_owned());
        by_group.entry(GroupName::from(t.required("ResourceId")?)).or_default().push(pair);
    }
    Ok(by_group)
}

fn put_tags(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    tags(p)?.iter().try_for_each(|(group, tags)| r.create_or_update_tags(group, tags))
}

fn delete_tags(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    tags(p)?.into_iter().try_for_each(|(group, tags)| {
        let keys: Vec<String> = tags.into_iter().map(|(key, _)| key).collect();
        r.delete_tags(&group, &keys)
    })
}

/// A flag that AWS has no default for.
fn decided(p: &Params, name: &str) -> ApiResult<bool> {
    p.required(name)?;
    Ok(p.flag(name)?.unwrap_or_default())
}

fn set_protection(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    r.set_instance_protection(&group_name(p)?, &instance_ids(p), decided(p, "ProtectedFromScaleIn")?)
}

fn set_health(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    let health = InstanceHealth::from(p.required("HealthStatus")?);
    let respect_grace = p.flag("ShouldRespectGracePeriod")?.unwrap_or(true);
    r.set_instance_health(&InstanceId::from(p.required("InstanceId")?), health, respect_grace)
}

fn enter_standby(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let activities = r.enter_standby(&group_name(p)?, &instance_ids(p), decided(p, "ShouldDecrementDesiredCapacity")?)?;
    x.list("Activities", &activities, activity);
    Ok(())
}

fn exit_standby(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let activities = r.exit_standby(&group_name(p)?, &instance_ids(p))?;
    x.list("Activities", &activities, activity);
    Ok(())
}

fn detach(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let activities = r.detach_instances(&group_name(p)?, &instance_ids(p), decided(p, "ShouldDecrementDesiredCapacity")?)?;
    x.list("Activities", &activities, activity);
    Ok(())
}

fn attach(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    r.attach_instances(&group_name(p)?, &instance_ids(p))
}

fn hook(p: &Params) -> ApiResult<HookSpec> {
    let transition = match p.required("LifecycleTransition")? {
        "autoscaling:EC2_INSTANCE_LAUNCHING" => Transition::Launching,
        "autoscaling:EC2_INSTANCE_TERMINATING" => Transition::Terminating,
        other => return Err(ApiError::validation(format!("Invalid lifecycle transition: {other}"))),
    };
    let default_result = p.text("DefaultResult").map_or(Ok(HookResult::Abandon), hook_result)?;
    let heartbeat_s = p.number("HeartbeatTimeout")?.unwrap_or(3600);
    Ok(HookSpec { name: p.required("LifecycleHookName")?.to_owned(), transition, heartbeat_s, default_result })
}

fn hook_result(word: &str) -> ApiResult<HookResult> {
    match word {
        "CONTINUE" => Ok(HookResult::Continue),
        "ABANDON" => Ok(HookResult::Abandon),
        _ => Err(ApiError::validation(format!("Lifecycle action result {word} is not valid: CONTINUE or ABANDON"))),
    }
}

fn put_hook(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    r.put_lifecycle_hook(&group_name(p)?, &hook(p)?)
}

fn delete_hook(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    r.delete_lifecycle_hook(&group_name(p)?, p.required("LifecycleHookName")?)
}

/// Hands the action that the call names on: by its token, or by the instance.
fn with_action(p: &Params, then: impl FnOnce(&GroupName, &str, ActionRef<'_>) -> ApiResult<()>) -> ApiResult<()> {
    let (group, hook) = (group_name(p)?, p.required("LifecycleHookName")?);
    match p.text("LifecycleActionToken") {
        Some(token) => then(&group, hook, ActionRef::Token(token)),
        None => then(&group, hook, ActionRef::Instance(&InstanceId::from(p.required("InstanceId")?))),
    }
}

fn complete_action(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    let result = hook_result(p.required("LifecycleActionResult")?)?;
    with_action(p, |group, hook, action| r.complete_lifecycle_action(group, hook, action, result))
}

fn heartbeat(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    with_action(p, |group, hook, action| r.record_lifecycle_action_heartbeat(group, hook, action))
}

fn put_scheduled(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    let start = p.text("StartTime").or_else(|| p.text("Time"));
    let start = start.and_then(Timestamp::parse).ok_or_else(|| ApiError::validation("The simulated region needs a StartTime"))?;
    if p.text("Recurrence").is_some() {
        return Err(ApiError::validation("The simulated region knows no recurrence over this call; a scenario does"));
    }
    let at = r.now() + start.since(r.wall());
    let (min, max, desired) = (p.number("MinSize")?, p.number("MaxSize")?, p.number("DesiredCapacity")?);
    let name = p.required("ScheduledActionName")?.to_owned();
    r.put_scheduled_update_group_action(&group_name(p)?, &ScheduledSpec { name, at, every: None, min, max, desired })
}

fn delete_scheduled(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    r.delete_scheduled_action(&group_name(p)?, p.required("ScheduledActionName")?)
}

fn start_refresh(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let id = r.start_instance_refresh(&group_name(p)?)?;
    x.text("InstanceRefreshId", id);
    Ok(())
}

fn cancel_refresh(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let id = r.cancel_instance_refresh(&group_name(p)?)?;
    x.text("InstanceRefreshId", id);
    Ok(())
}
