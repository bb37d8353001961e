//! Auto Scaling's API behind [`AutoScaling`].

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_sdk_autoscaling::config;
use aws_sdk_autoscaling::types::Filter;
use aws_sdk_autoscaling::types::Tag;
use futures::future::try_join_all;

use super::Aws;
use super::call::nonsense;
use super::call::pages;
use super::convert;
use crate::cloud::AutoScaling;
use crate::cloud::GroupFilter;
use crate::cloud::OwnInstance;
use crate::cloud::Receipt;
use crate::cloud::Refresh;
use crate::cloud::Resize;
use crate::cloud::Result;
use crate::cloud::ScalingActivity;
use crate::cloud::ScheduledAction;
use crate::model::Group;
use crate::model::GroupInstance;
use crate::model::GroupName;
use crate::model::Hook;
use crate::model::HookResult;
use crate::model::InstanceId;
use crate::model::Process;

/// Names that one describe takes (draining.md §4.6).
const NAMES_PER_CALL: usize = 50;

/// Instances that one change of their protection takes (draining.md §4.3).
const PROTECTED_PER_CALL: usize = 50;

/// Instances that one call sends into standby (draining.md §4.9).
const STANDBY_PER_CALL: usize = 20;

/// Largest page of AWS's lists; the default is 50.
const PAGE: i32 = 100;

const DESCRIBE_GROUPS: &str = "DescribeAutoScalingGroups";

impl Aws {
    /// One describe of groups, all its pages.
    async fn describe_groups(&self, names: Option<Vec<String>>, filters: Option<Vec<Filter>>) -> Result<Vec<Group>> {
        pages(DESCRIBE_GROUPS, usize::MAX, async |token| {
            let call = self.autoscaling.describe_auto_scaling_groups().max_records(PAGE);
            let call = call.set_auto_scaling_group_names(names.clone()).set_filters(filters.clone()).set_next_token(token);
            let answer = self.gate.pass(DESCRIBE_GROUPS, call.send()).await?;
            let groups = answer.auto_scaling_groups().iter().map(|group| convert::group(DESCRIBE_GROUPS, group)).collect::<Result<_>>()?;
            Ok((groups, answer.next_token))
        })
        .await
    }
}

#[async_trait]
impl AutoScaling for Aws {
    fn clock_ahead_ms(&self) -> Option<i64> {
        self.traffic.ahead_ms()
    }

    async fn groups(&self, names: &[GroupName]) -> Result<Vec<Group>> {
        let batch = |names: &[GroupName]| names.iter().map(|name| name.as_str().to_owned()).collect();
        let found = try_join_all(names.chunks(NAMES_PER_CALL).map(|names| self.describe_groups(Some(batch(names)), None))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn find_groups(&self, filter: &GroupFilter) -> Result<Vec<Group>> {
        let filters = match filter {
            GroupFilter::All => None,
            GroupFilter::Tag { key, value } => Some(vec![Filter::builder().name(format!("tag:{key}")).values(value).build()]),
        };
        self.describe_groups(None, filters).await
    }

    async fn instance(&self, id: &InstanceId) -> Result<Option<GroupInstance>> {
        const ACTION: &str = "DescribeAutoScalingInstances";
        let found = pages(ACTION, usize::MAX, async |token| {
            let call = self.autoscaling.describe_auto_scaling_instances().instance_ids(id.as_str()).set_next_token(token);
            let answer = self.gate.pass(ACTION, call.send()).await?;
            let ours = answer.auto_scaling_instances().iter().filter(|instance| instance.instance_id() == Some(id.as_str()));
            Ok((ours.map(|instance| convert::instance(ACTION, instance)).collect::<Result<_>>()?, answer.next_token))
        });
        Ok(found.await?.pop())
    }

    async fn activities(&self, group: &GroupName, limit: u32) -> Result<Vec<ScalingActivity>> {
        const ACTION: &str = "DescribeScalingActivities";
        let limit = limit.clamp(1, 100);
        pages(ACTION, limit as usize, async |token| {
            let call = self.autoscaling.describe_scaling_activities().auto_scaling_group_name(group.as_str());
            let call = call.max_records(i32::try_from(limit).unwrap_or(PAGE)).set_next_token(token);
            let answer = self.gate.pass(ACTION, call.send()).await?;
            let found = answer.activities().iter().map(|activity| convert::activity(ACTION, activity)).collect::<Result<_>>()?;
            Ok((found, answer.next_token))
        })
        .await
    }

    async fn scheduled_actions(&self, group: &GroupName) -> Result<Vec<ScheduledAction>> {
        const ACTION: &str = "DescribeScheduledActions";
        pages(ACTION, usize::MAX, async |token| {
            let call = self.autoscaling.describe_scheduled_actions().auto_scaling_group_name(group.as_str());
            let answer = self.gate.pass(ACTION, call.max_records(PAGE).set_next_token(token).send()).await?;
            let found = answer.scheduled_update_group_actions().iter();
            Ok((found.map(|one| convert::scheduled_action(ACTION, one)).collect::<Result<_>>()?, answer.next_token))
        })
        .await
    }

    async fn policies(&self, group: &GroupName) -> Result<Vec<String>> {
        const ACTION: &str = "DescribePolicies";
        pages(ACTION, usize::MAX, async |token| {
            let call = self.autoscaling.describe_policies().auto_scaling_group_name(group.as_str());
            let answer = self.gate.pass(ACTION, call.max_records(PAGE).set_next_token(token).send()).await?;
            let on = answer.scaling_policies().iter().filter(|policy| policy.enabled() != Some(false));
            Ok((on.filter_map(|policy| policy.policy_name()).map(str::to_owned).collect(), answer.next_token))
        })
        .await
    }

    async fn running_refreshes(&self, group: &GroupName) -> Result<Vec<Refresh>> {
        const ACTION: &str = "DescribeInstanceRefreshes";
        pages(ACTION, usize::MAX, async |token| {
            let call = self.autoscaling.describe_instance_refreshes().auto_scaling_group_name(group.as_str());
            let answer = self.gate.pass(ACTION, call.max_records(PAGE).set_next_token(token).send()).await?;
            let found = answer.instance_refreshes().iter();
            let running = found.filter_map(|one| convert::running_refresh(ACTION, one).transpose()).collect::<Result<_>>()?;
            Ok((running, answer.next_token))
        })
        .await
    }

    /// Waits in no line: the look that justifies it would grow old.
    async fn terminate_own(&self, own: &OwnInstance, decrement: bool) -> Result<ScalingActivity> {
        const ACTION: &str = "TerminateInstanceInAutoScalingGroup";
        let call = self.autoscaling.terminate_instance_in_auto_scaling_group();
        let call = call.instance_id(own.id().as_str()).should_decrement_desired_capacity(decrement);
        let answer = self.gate.answered(ACTION, call.customize().config_override(once()).send()).await?;
        let activity = answer.activity().ok_or_else(|| nonsense(ACTION, "the answer lacks Activity"))?;
        convert::activity(ACTION, activity)
    }

    async fn hook(&self, group: &GroupName, name: &str) -> Result<Option<Hook>> {
        const ACTION: &str = "DescribeLifecycleHooks";
        let call = self.autoscaling.describe_lifecycle_hooks().auto_scaling_group_name(group.as_str()).lifecycle_hook_names(name);
        let answer = self.gate.pass(ACTION, call.send()).await?;
        let ours = answer.lifecycle_hooks().iter().find(|hook| hook.lifecycle_hook_name() == Some(name));
        ours.map(|hook| convert::hook(ACTION, hook)).transpose()
    }

    async fn heartbeat(&self, group: &GroupName, hook: &str, own: &OwnInstance) -> Result<Receipt> {
        const ACTION: &str = "RecordLifecycleActionHeartbeat";
        let call = self.autoscaling.record_lifecycle_action_heartbeat().auto_scaling_group_name(group.as_str());
        let call = call.lifecycle_hook_name(hook).instance_id(own.id().as_str());
        self.gate.pass(ACTION, call.send()).await.map(|answer| convert::receipt(&answer))
    }

    async fn complete(&self, group: &GroupName, hook: &str, own: &OwnInstance, result: HookResult) -> Result<Receipt> {
        const ACTION: &str = "CompleteLifecycleAction";
        let call = self.autoscaling.complete_lifecycle_action().auto_scaling_group_name(group.as_str());
        let call = call.lifecycle_hook_name(hook).instance_id(own.id().as_str()).lifecycle_action_result(result.as_str());
        self.gate.pass(ACTION, call.send()).await.map(|answer| convert::receipt(&answer))
    }

    async fn lower_min(&self, group: &GroupName, to: u32) -> Result<()> {
        const ACTION: &str = "UpdateAutoScalingGroup";
        let call = self.autoscaling.update_auto_scaling_group().auto_scaling_group_name(group.as_str());
        let call = call.min_size(i32::try_from(to).unwrap_or(i32::MAX));
        self.gate.answered(ACTION, call.customize().config_override(once()).send()).await.map(drop)
    }

    async fn resize(&self, group: &GroupName, change: Resize) -> Result<Receipt> {
        const ACTION: &str = "UpdateAutoScalingGroup";
        if change == Resize::default() {
            return Ok(Receipt::default());
        }
        let size = |value: Option<u32>| value.map(|value| i32::try_from(value).unwrap_or(i32::MAX));
        let call = self.autoscaling.update_auto_scaling_group().auto_scaling_group_name(group.as_str());
        let call = call.set_min_size(size(change.min)).set_max_size(size(change.max)).set_desired_capacity(size(change.desired));
        self.gate.pass(ACTION, call.send()).await.map(|answer| convert::receipt(&answer))
    }

    async fn suspend(&self, group: &GroupName, processes: &[Process]) -> Result<Receipt> {
        const ACTION: &str = "SuspendProcesses";
        if processes.is_empty() {
            return Ok(Receipt::default());
        }
        let call = self.autoscaling.suspend_processes().auto_scaling_group_name(group.as_str());
        let call = call.set_scaling_processes(Some(words(processes)));
        self.gate.pass(ACTION, call.send()).await.map(|answer| convert::receipt(&answer))
    }

    async fn resume(&self, group: &GroupName, processes: &[Process]) -> Result<Receipt> {
        const ACTION: &str = "ResumeProcesses";
        if processes.is_empty() {
            return Ok(Receipt::default());
        }
        let call = self.autoscaling.resume_processes().auto_scaling_group_name(group.as_str());
        let call = call.set_scaling_processes(Some(words(processes)));
        self.gate.pass(ACTION, call.send()).await.map(|answer| convert::receipt(&answer))
    }

    async fn protect(&self, group: &GroupName, instances: &[InstanceId], protected: bool) -> Result<Receipt> {
        const ACTION: &str = "SetInstanceProtection";
        let mut receipt = Receipt::default();
        for instances in instances.chunks(PROTECTED_PER_CALL) {
            let call = self.autoscaling.set_instance_protection().auto_scaling_group_name(group.as_str());
            let call = call.set_instance_ids(Some(instances.iter().map(|id| id.as_str().to_owned()).collect()));
            receipt = convert::receipt(&self.gate.pass(ACTION, call.protected_from_scale_in(protected).send()).await?);
        }
        Ok(receipt)
    }

    async fn enter_standby(&self, group: &GroupName, instances: &[InstanceId]) -> Result<Receipt> {
        const ACTION: &str = "EnterStandby";
        let mut receipt = Receipt::default();
        for instances in instances.chunks(STANDBY_PER_CALL) {
            let call = self.autoscaling.enter_standby().auto_scaling_group_name(group.as_str());
            let call = call.set_instance_ids(Some(instances.iter().map(|id| id.as_str().to_owned()).collect()));
            receipt = convert::receipt(&self.gate.pass(ACTION, call.should_decrement_desired_capacity(true).send()).await?);
        }
        Ok(receipt)
    }

    async fn put_tags(&self, group: &GroupName, tags: &[(String, String)]) -> Result<Receipt> {
        const ACTION: &str = "CreateOrUpdateTags";
        if tags.is_empty() {
            return Ok(Receipt::default());
        }
        let tags = tags.iter().map(|(key, value)| tag(group, key).value(value).propagate_at_launch(false).build()).collect();
        self.gate
            .pass(ACTION, self.autoscaling.create_or_update_tags().set_tags(Some(tags)).send())
            .await
            .map(|answer| convert::receipt(&answer))
    }

    async fn delete_tags(&self, group: &GroupName, keys: &[String]) -> Result<Receipt> {
        const ACTION: &str = "DeleteTags";
        if keys.is_empty() {
            return Ok(Receipt::default());
        }
        let tags = keys.iter().map(|key| tag(group, key).build()).collect();
        self.gate.pass(ACTION, self.autoscaling.delete_tags().set_tags(Some(tags)).send()).await.map(|answer| convert::receipt(&answer))
    }
}

/// No second attempt: nobody knows what came of the first.
fn once() -> config::Builder {
    config::Builder::new().retry_config(RetryConfig::standard().with_max_attempts(1))
}

fn words(processes: &[Process]) -> Vec<String> {
    processes.iter().map(|process| process.as_str().to_owned()).collect()
}

fn tag(group: &GroupName, key: &str) -> aws_sdk_autoscaling::types::builders::TagBuilder {
    Tag::builder().resource_id(group.as_str()).resource_type("auto-scaling-group").key(key)
}
