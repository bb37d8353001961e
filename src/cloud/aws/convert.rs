//! AWS's answers as our facts. A word that we do not know survives; a field without which nothing may be decided is demanded.

use std::time::Duration;

use aws_sdk_autoscaling::primitives::DateTime;
use aws_sdk_autoscaling::types as asg;
use aws_sdk_elasticloadbalancing::types as elb;
use aws_sdk_elasticloadbalancingv2::types as elbv2;

use super::call::nonsense;
use aws_sdk_autoscaling::operation::RequestId;

use crate::cloud::ActivityStatus;
use crate::cloud::ClassicHealth;
use crate::cloud::Receipt;
use crate::cloud::Refresh;
use crate::cloud::Result;
use crate::cloud::ScalingActivity;
use crate::cloud::ScheduledAction;
use crate::cloud::TargetGroup;
use crate::cloud::TargetHealth;
use crate::cloud::TargetId;
use crate::cloud::TargetState;
use crate::model::Capacity;
use crate::model::Group;
use crate::model::GroupInstance;
use crate::model::GroupName;
use crate::model::HealthCheckType;
use crate::model::Hook;
use crate::model::InstanceHealth;
use crate::model::InstanceId;
use crate::model::LaunchSource;
use crate::model::LifecycleState;
use crate::model::Override;
use crate::model::Process;
use crate::model::TargetGroupArn;
use crate::model::Timestamp;
use crate::model::WarmPool;

/// What AWS acknowledged, found again by the id of the request.
pub(super) fn receipt(answer: &impl RequestId) -> Receipt {
    Receipt { request_id: answer.request_id().map(str::to_owned) }
}

/// A field that AWS always fills.
pub(super) fn required<T>(action: &'static str, field: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| nonsense(action, format!("the answer lacks {field}")))
}

/// A number that AWS never lets go below zero.
fn count<T: TryFrom<i32>>(action: &'static str, field: &str, value: i32) -> Result<T> {
    T::try_from(value).map_err(|_| nonsense(action, format!("{field} is {value}")))
}

pub(super) fn group(action: &'static str, from: &asg::AutoScalingGroup) -> Result<Group> {
    let name = GroupName::new(required(action, "AutoScalingGroupName", from.auto_scaling_group_name())?);
    let size = |field, value: Option<i32>| count(action, field, required(action, field, value)?);
    let attached = |kind: &'static str| {
        from.traffic_sources().iter().filter(move |source| source.r#type() == Some(kind)).filter_map(|source| source.identifier())
    };
    Ok(Group {
        arn: from.auto_scaling_group_arn().unwrap_or_default().to_owned(),
        created: timestamp(required(action, "CreatedTime", from.created_time())?),
        capacity: Capacity {
            min: size("MinSize", from.min_size())?,
            max: size("MaxSize", from.max_size())?,
            desired: size("DesiredCapacity", from.desired_capacity())?,
        },
        instances: from.instances().iter().map(|instance| member(action, &name, instance)).collect::<Result<_>>()?,
        suspended: from
            .suspended_processes()
            .iter()
            .filter_map(|one| Some((Process::from(one.process_name()?), one.suspension_reason().unwrap_or_default().to_owned())))
            .collect(),
        tags: from.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()))).collect(),
        target_groups: union(from.target_group_arns(), attached("elbv2")).map(TargetGroupArn::new).collect(),
        classic_load_balancers: union(from.load_balancer_names(), attached("elb")).collect(),
        status: from.status().filter(|status| !status.is_empty()).map(str::to_owned),
        health_check_type: HealthCheckType::from(from.health_check_type().unwrap_or_default()),
        health_check_grace_s: count(action, "HealthCheckGracePeriod", from.health_check_grace_period().unwrap_or(0))?,
        launch: launch(
            from.launch_template().or_else(|| from.mixed_instances_policy()?.launch_template()?.launch_template_specification()),
            from.launch_configuration_name(),
        ),
        availability_zones: from.availability_zones().to_vec(),
        subnets: from
            .vpc_zone_identifier()
            .into_iter()
            .flat_map(|ids| ids.split(','))
            .map(str::trim)
            .filter(|id| !id.is_empty())
            .map(str::to_owned)
            .collect(),
        mixed: from.mixed_instances_policy().map(|policy| overrides(action, policy)).transpose()?,
        warm_pool: from.warm_pool_configuration().map(|pool| warm_pool(action, pool, from.warm_pool_size())).transpose()?,
        deletion_protection: from.deletion_protection().map(|word| word.as_str()).filter(|word| *word != "none").map(str::to_owned),
        retains_abandoned: from
            .instance_lifecycle_policy()
            .and_then(|policy| policy.retention_triggers())
            .and_then(|triggers| triggers.terminate_hook_abandon())
            .is_some_and(|word| *word == asg::RetentionAction::Retain),
        name,
    })
}

fn overrides(action: &'static str, from: &asg::MixedInstancesPolicy) -> Result<Vec<Override>> {
    let choice = |one: &asg::LaunchTemplateOverrides| {
        Ok(Override {
            instance_type: one.instance_type().map(str::to_owned),
            weight: one.weighted_capacity().map(|weight| weight_of(action, weight)).transpose()?,
            launch: launch(one.launch_template_specification(), None),
        })
    };
    from.launch_template().map(|template| template.overrides()).unwrap_or_default().iter().map(choice).collect()
}

fn weight_of(action: &'static str, text: &str) -> Result<u32> {
    text.parse().map_err(|_| nonsense(action, format!("WeightedCapacity is {text}")))
}

fn warm_pool(action: &'static str, from: &asg::WarmPoolConfiguration, size: Option<i32>) -> Result<WarmPool> {
    Ok(WarmPool {
        state: from.pool_state().map_or("Stopped", |state| state.as_str()).to_owned(),
        min: count(action, "MinSize", from.min_size().unwrap_or(0))?,
        size: count(action, "WarmPoolSize", size.unwrap_or(0))?,
    })
}

/// What is attached by the older fields and by traffic sources, each once.
fn union<'a>(older: &'a [String], newer: impl Iterator<Item = &'a str> + 'a) -> impl Iterator<Item = String> + 'a {
    older.iter().cloned().chain(newer.filter(|one| !older.iter().any(|known| known == one)).map(str::to_owned))
}

fn member(action: &'static str, group: &GroupName, from: &asg::Instance) -> Result<GroupInstance> {
    Ok(GroupInstance {
        id: InstanceId::new(required(action, "InstanceId", from.instance_id())?),
        group: group.clone(),
        zone: from.availability_zone().unwrap_or_default().to_owned(),
        state: LifecycleState::from(required(action, "LifecycleState", from.lifecycle_state())?.as_str()),
        health: health(from.health_status()),
        protected: from.protected_from_scale_in().unwrap_or(false),
        launch: launch(from.launch_template(), from.launch_configuration_name()),
        weight: from.weighted_capacity().map_or(Ok(1), |weight| weight_of(action, weight))?,
    })
}

pub(super) fn instance(action: &'static str, from: &asg::AutoScalingInstanceDetails) -> Result<GroupInstance> {
    Ok(GroupInstance {
        id: InstanceId::new(required(action, "InstanceId", from.instance_id())?),
        group: GroupName::new(required(action, "AutoScalingGroupName", from.auto_scaling_group_name())?),
        zone: from.availability_zone().unwrap_or_default().to_owned(),
        state: LifecycleState::from(required(action, "LifecycleState", from.lifecycle_state())?),
        health: health(from.health_status()),
        protected: from.protected_from_scale_in().unwrap_or(false),
        launch: launch(from.launch_template(), from.launch_configuration_name()),
        weight: from.weighted_capacity().map_or(Ok(1), |weight| weight_of(action, weight))?,
    })
}

/// `DescribeAutoScalingInstances` shouts (`HEALTHY`) where `DescribeAutoScalingGroups` speaks (`Healthy`).
fn health(word: Option<&str>) -> InstanceHealth {
    let word = word.unwrap_or_default();
    [InstanceHealth::Healthy, InstanceHealth::Unhealthy]
        .into_iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(word))
        .unwrap_or_else(|| InstanceHealth::from(word))
}

fn launch(template: Option<&asg::LaunchTemplateSpecification>, configuration: Option<&str>) -> Option<LaunchSource> {
    let template = template.and_then(|template| {
        let name = template.launch_template_name().or(template.launch_template_id())?.to_owned();
        Some(LaunchSource { name, version: Some(template.version().unwrap_or("$Default").to_owned()) })
    });
    template.or_else(|| Some(LaunchSource { name: configuration?.to_owned(), version: None }))
}

pub(super) fn activity(action: &'static str, from: &asg::Activity) -> Result<ScalingActivity> {
    let status_code = required(action, "StatusCode", from.status_code())?.as_str().to_owned();
    Ok(ScalingActivity {
        id: required(action, "ActivityId", from.activity_id())?.to_owned(),
        description: from.description().unwrap_or_default().to_owned(),
        cause: from.cause().unwrap_or_default().to_owned(),
        status: match status_code.as_str() {
            "Successful" => ActivityStatus::Successful,
            "Failed" | "Cancelled" => ActivityStatus::Failed,
            _ => ActivityStatus::Underway,
        },
        status_code,
        progress: u8::try_from(from.progress().unwrap_or(0).clamp(0, 100)).unwrap_or(0),
        started: timestamp(required(action, "StartTime", from.start_time())?),
        message: from.status_message().filter(|message| !message.is_empty()).map(str::to_owned),
    })
}

/// AWS shows both times in whole seconds.
pub(super) fn hook(action: &'static str, from: &asg::LifecycleHook) -> Result<Hook> {
    let seconds = |field, value: Option<i32>| {
        required(action, field, value).and_then(|s| u64::try_from(s).map_err(|error| nonsense(action, format!("{field}: {error}"))))
    };
    Ok(Hook {
        name: required(action, "LifecycleHookName", from.lifecycle_hook_name())?.to_owned(),
        heartbeat: Duration::from_secs(seconds("HeartbeatTimeout", from.heartbeat_timeout())?),
        limit: Duration::from_secs(seconds("GlobalTimeout", from.global_timeout())?),
    })
}

pub(super) fn scheduled_action(action: &'static str, from: &asg::ScheduledUpdateGroupAction) -> Result<ScheduledAction> {
    Ok(ScheduledAction {
        name: required(action, "ScheduledActionName", from.scheduled_action_name())?.to_owned(),
        due: from.start_time().map(timestamp),
    })
}

/// `None` for a refresh that has ended. A status that we do not know counts as running: nobody may resize under it.
pub(super) fn running_refresh(action: &'static str, from: &asg::InstanceRefresh) -> Result<Option<Refresh>> {
    let status = required(action, "Status", from.status())?.as_str();
    if matches!(status, "Successful" | "Failed" | "Cancelled" | "RollbackFailed" | "RollbackSuccessful") {
        return Ok(None);
    }
    let id = required(action, "InstanceRefreshId", from.instance_refresh_id())?.to_owned();
    Ok(Some(Refresh { id, status: status.to_owned() }))
}

pub(super) fn target_group(action: &'static str, from: &elbv2::TargetGroup) -> Result<TargetGroup> {
    let number = |field, value: Option<i32>| count(action, field, value.unwrap_or(0));
    Ok(TargetGroup {
        arn: TargetGroupArn::new(required(action, "TargetGroupArn", from.target_group_arn())?),
        name: from.target_group_name().unwrap_or_default().to_owned(),
        port: from.port().map(|port| count(action, "Port", port)).transpose()?,
        load_balancers: from.load_balancer_arns().to_vec(),
        health_interval_s: number("HealthCheckIntervalSeconds", from.health_check_interval_seconds())?,
        healthy_threshold: number("HealthyThresholdCount", from.healthy_threshold_count())?,
    })
}

pub(super) fn target_health(action: &'static str, from: &elbv2::TargetHealthDescription) -> Result<TargetHealth> {
    use elbv2::TargetHealthStateEnum as State;
    let target = required(action, "Target", from.target())?;
    let health = required(action, "TargetHealth", from.target_health())?;
    Ok(TargetHealth {
        target: TargetId {
            instance: InstanceId::new(required(action, "Target.Id", target.id())?),
            port: target.port().map(|port| count(action, "Target.Port", port)).transpose()?,
        },
        state: match required(action, "TargetHealth.State", health.state())? {
            State::Initial => TargetState::Initial,
            State::Healthy => TargetState::Healthy,
            State::Unhealthy => TargetState::Unhealthy,
            State::Unused => TargetState::Unused,
            State::Draining | State::UnhealthyDraining => TargetState::Draining,
            _ => TargetState::Unavailable,
        },
        reason: health.reason().map(|reason| reason.as_str().to_owned()),
    })
}

pub(super) fn target(from: &TargetId) -> elbv2::TargetDescription {
    elbv2::TargetDescription::builder().id(from.instance.as_str()).set_port(from.port.map(i32::from)).build()
}

pub(super) fn classic_health(action: &'static str, from: &elb::InstanceState) -> Result<ClassicHealth> {
    Ok(ClassicHealth {
        instance: InstanceId::new(required(action, "InstanceId", from.instance_id())?),
        in_service: from.state() == Some("InService"),
        reason: from.reason_code().unwrap_or("N/A").to_owned(),
    })
}

pub(super) fn classic_instance(id: &InstanceId) -> elb::Instance {
    elb::Instance::builder().instance_id(id.as_str()).build()
}

fn timestamp(from: &DateTime) -> Timestamp {
    Timestamp(from.to_millis().unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described() -> asg::builders::AutoScalingGroupBuilder {
        asg::AutoScalingGroup::builder()
            .auto_scaling_group_name("app-v001")
            .created_time(DateTime::from_millis(1_000))
            .min_size(0)
            .max_size(2)
            .desired_capacity(1)
    }

    #[test]
    fn words_that_we_do_not_know_survive() {
        let member = asg::Instance::builder().instance_id("i-1").lifecycle_state(asg::LifecycleState::from("Quarantined"));
        let suspended = asg::SuspendedProcess::builder().process_name("NewProcess").suspension_reason("by AWS");
        let group = described().instances(member.health_status("Odd").build()).suspended_processes(suspended.build());
        let group = super::group("Any", &group.health_check_type("EC2,EBS").build()).expect("a group");
        assert_eq!(group.instances[0].state, LifecycleState::Other("Quarantined".into()));
        assert_eq!(group.instances[0].health, InstanceHealth::Other("Odd".into()));
        assert_eq!(group.suspended[&Process::Other("NewProcess".into())], "by AWS");
        assert_eq!(group.health_check_type, HealthCheckType::Other("EC2,EBS".into()));
    }

    #[test]
    fn a_group_without_sizes_or_birth_is_not_believed() {
        assert!(group("Any", &described().build()).is_ok());
        assert!(group("Any", &described().set_desired_capacity(None).build()).is_err());
        assert!(group("Any", &described().set_created_time(None).build()).is_err());
        assert!(group("Any", &described().min_size(-1).build()).is_err());
    }

    #[test]
    fn attachments_count_once_whichever_way_they_are_shown() {
        let source = |kind: &str, id: &str| asg::TrafficSourceIdentifier::builder().r#type(kind).identifier(id).build();
        let group = described().target_group_arns("arn:1").load_balancer_names("front");
        let group = group.traffic_sources(source("elbv2", "arn:1")).traffic_sources(source("elbv2", "arn:2"));
        let group = group.traffic_sources(source("elb", "back")).traffic_sources(source("vpc-lattice", "arn:3")).build();
        let group = super::group("Any", &group).expect("a group");
        assert_eq!(group.target_groups, ["arn:1", "arn:2"].map(TargetGroupArn::from));
        assert_eq!(group.classic_load_balancers, ["front", "back"]);
    }

    #[test]
    fn health_is_the_same_in_capitals() {
        let details = asg::AutoScalingInstanceDetails::builder().instance_id("i-1").auto_scaling_group_name("g");
        let instance = instance("Any", &details.lifecycle_state("InService").health_status("HEALTHY").build()).expect("an instance");
        assert_eq!(instance.health, InstanceHealth::Healthy);
    }

    #[test]
    fn a_refresh_runs_until_it_has_ended() {
        let running = |status: &str| {
            let refresh = asg::InstanceRefresh::builder().instance_refresh_id("r").status(asg::InstanceRefreshStatus::from(status));
            running_refresh("Any", &refresh.build()).expect("a refresh").is_some()
        };
        assert!(["Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking", "Novelty"].into_iter().all(running));
        assert!(!["Successful", "Failed", "Cancelled", "RollbackFailed", "RollbackSuccessful"].into_iter().any(running));
    }

    #[test]
    fn a_template_behind_a_policy_is_still_where_instances_come_from() {
        let template = asg::LaunchTemplateSpecification::builder().launch_template_name("lt").version("7").build();
        let policy = asg::MixedInstancesPolicy::builder()
            .launch_template(asg::LaunchTemplate::builder().launch_template_specification(template).build())
            .build();
        let group = super::group("Any", &described().mixed_instances_policy(policy).build()).expect("a group");
        assert_eq!(group.launch, Some(LaunchSource { name: "lt".into(), version: Some("7".into()) }));
    }

    #[test]
    fn what_a_launch_may_choose_from_is_read_and_a_weight_that_is_none_is_not_believed() {
        let group = |weight: &str| {
            let choice = asg::LaunchTemplateOverrides::builder().instance_type("m5.xlarge").weighted_capacity(weight).build();
            let policy = asg::MixedInstancesPolicy::builder().launch_template(asg::LaunchTemplate::builder().overrides(choice).build());
            let member =
                asg::Instance::builder().instance_id("i-1").lifecycle_state(asg::LifecycleState::InService).weighted_capacity(weight);
            let pool = asg::WarmPoolConfiguration::builder().min_size(1).pool_state(asg::WarmPoolState::Running).build();
            let group = described().mixed_instances_policy(policy.build()).instances(member.build()).warm_pool_configuration(pool);
            let group = group
                .warm_pool_size(3)
                .vpc_zone_identifier("subnet-1, subnet-2")
                .deletion_protection(asg::DeletionProtection::from("prevent-all-deletion"));
            super::group("Any", &group.build())
        };
        let found = group("4").expect("a group");
        assert!(found.is_weighted() && found.instances[0].weight == 4);
        assert_eq!(found.mixed, Some(vec![Override { instance_type: Some("m5.xlarge".into()), weight: Some(4), launch: None }]));
        assert_eq!(found.warm_pool, Some(WarmPool { state: "Running".into(), min: 1, size: 3 }));
        assert_eq!(
            (found.subnets.as_slice(), found.deletion_protection.as_deref()),
            (&["subnet-1".to_owned(), "subnet-2".to_owned()][..], Some("prevent-all-deletion"))
        );
        assert!(group("much").is_err());
        let plain = super::group("Any", &described().deletion_protection(asg::DeletionProtection::from("none")).build()).expect("a group");
        assert!(!plain.is_weighted() && plain.mixed.is_none() && plain.deletion_protection.is_none() && plain.subnets.is_empty());
    }

    #[test]
    fn a_target_keeps_its_port_and_an_unhealthy_draining_one_is_leaving() {
        let port = elbv2::TargetDescription::builder().id("i-1").port(8080).build();
        let state = elbv2::TargetHealth::builder().state(elbv2::TargetHealthStateEnum::UnhealthyDraining).build();
        let health = elbv2::TargetHealthDescription::builder().target(port).target_health(state).build();
        let health = target_health("Any", &health).expect("a target");
        assert_eq!((health.target.port, health.state), (Some(8080), TargetState::Draining));
        assert_eq!(target(&health.target).port(), Some(8080));
    }
}
