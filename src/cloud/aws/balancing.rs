//! ELBv2's and classic ELB's APIs behind [`LoadBalancing`].

use async_trait::async_trait;
use futures::future::try_join_all;

use super::Aws;
use super::call::pages;
use super::convert;
use crate::cloud::ClassicHealth;
use crate::cloud::LoadBalancing;
use crate::cloud::Receipt;
use crate::cloud::Result;
use crate::cloud::TargetGroup;
use crate::cloud::TargetHealth;
use crate::cloud::TargetId;
use crate::model::InstanceId;
use crate::model::TargetGroupArn;

/// ARNs that one describe takes.
const ARNS_PER_CALL: usize = 20;

#[async_trait]
impl LoadBalancing for Aws {
    async fn target_groups(&self, arns: &[TargetGroupArn]) -> Result<Vec<TargetGroup>> {
        const ACTION: &str = "DescribeTargetGroups";
        let describe = async |arns: &[TargetGroupArn]| {
            pages(ACTION, usize::MAX, async |marker| {
                let arns = arns.iter().map(|arn| arn.as_str().to_owned()).collect();
                let call = self.elbv2.describe_target_groups().set_target_group_arns(Some(arns)).set_marker(marker);
                let answer = self.gate.pass(ACTION, call.send()).await?;
                let found = answer.target_groups().iter().map(|group| convert::target_group(ACTION, group)).collect::<Result<_>>()?;
                Ok((found, answer.next_marker))
            })
            .await
        };
        let found: Vec<Vec<TargetGroup>> = try_join_all(arns.chunks(ARNS_PER_CALL).map(describe)).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn target_health(&self, arn: &TargetGroupArn) -> Result<Vec<TargetHealth>> {
        const ACTION: &str = "DescribeTargetHealth";
        let answer = self.gate.pass(ACTION, self.elbv2.describe_target_health().target_group_arn(arn.as_str()).send()).await?;
        answer.target_health_descriptions().iter().map(|target| convert::target_health(ACTION, target)).collect()
    }

    async fn register_targets(&self, arn: &TargetGroupArn, targets: &[TargetId]) -> Result<Receipt> {
        const ACTION: &str = "RegisterTargets";
        if targets.is_empty() {
            return Ok(Receipt::default());
        }
        let call = self.elbv2.register_targets().target_group_arn(arn.as_str());
        let call = call.set_targets(Some(targets.iter().map(convert::target).collect()));
        self.gate.pass(ACTION, call.send()).await.map(|answer| convert::receipt(&answer))
    }

    async fn deregister_targets(&self, arn: &TargetGroupArn, targets: &[TargetId]) -> Result<Receipt> {
        const ACTION: &str = "DeregisterTargets";
        if targets.is_empty() {
            return Ok(Receipt::default());
        }
        let call = self.elbv2.deregister_targets().target_group_arn(arn.as_str());
        let call = call.set_targets(Some(targets.iter().map(convert::target).collect()));
        self.gate.pass(ACTION, call.send()).await.map(|answer| convert::receipt(&answer))
    }

    /// Asked without instance ids: one unknown id among them would fail the whole call (draining.md §4.10).
    async fn classic_health(&self, name: &str) -> Result<Vec<ClassicHealth>> {
        const ACTION: &str = "DescribeInstanceHealth";
        let answer = self.gate.pass(ACTION, self.elb.describe_instance_health().load_balancer_name(name).send()).await?;
        answer.instance_states().iter().map(|state| convert::classic_health(ACTION, state)).collect()
    }

    async fn register_classic(&self, name: &str, instances: &[InstanceId]) -> Result<Receipt> {
        const ACTION: &str = "RegisterInstancesWithLoadBalancer";
        if instances.is_empty() {
            return Ok(Receipt::default());
        }
        let call = self.elb.register_instances_with_load_balancer().load_balancer_name(name);
        let call = call.set_instances(Some(instances.iter().map(convert::classic_instance).collect()));
        self.gate.pass(ACTION, call.send()).await.map(|answer| convert::receipt(&answer))
    }

    async fn deregister_classic(&self, name: &str, instances: &[InstanceId]) -> Result<Receipt> {
        const ACTION: &str = "DeregisterInstancesFromLoadBalancer";
        if instances.is_empty() {
            return Ok(Receipt::default());
        }
        let call = self.elb.deregister_instances_from_load_balancer().load_balancer_name(name);
        let call = call.set_instances(Some(instances.iter().map(convert::classic_instance).collect()));
        self.gate.pass(ACTION, call.send()).await.map(|answer| convert::receipt(&answer))
    }
}
