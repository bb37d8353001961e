//! A whole answer, byte for byte: what an AWS client will read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Service;
use super::autoscaling;
use super::find;
use crate::cloud::sim::GroupDescription;
use crate::model::Capacity;
use crate::model::Group;
use crate::model::GroupInstance;
use crate::model::HealthCheckType;
use crate::model::InstanceHealth;
use crate::model::LaunchSource;
use crate::model::LifecycleState;
use crate::model::Process;
use crate::model::Timestamp;

fn description() -> Arc<GroupDescription> {
    let launch = |version: &str| Some(LaunchSource { name: "orca".into(), version: Some(version.into()) });
    let group = Group {
        name: "orca-main-v023".into(),
        arn: "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:u:autoScalingGroupName/orca-main-v023".into(),
        created: Timestamp(1_700_000_000_123),
        capacity: Capacity { min: 1, max: 4, desired: 1 },
        instances: vec![GroupInstance {
            id: "i-1".into(),
            group: "orca-main-v023".into(),
            zone: "us-east-1a".into(),
            state: LifecycleState::TerminatingWait,
            health: InstanceHealth::Healthy,
            protected: true,
            launch: launch("3"),
            weight: 1,
        }],
        suspended: BTreeMap::from([(Process::AddToLoadBalancer, "User suspended at …".to_owned())]),
        tags: BTreeMap::from([("bellrock:hold".to_owned(), "1 & <2>".to_owned())]),
        target_groups: vec!["arn:tg".into()],
        classic_load_balancers: Vec::new(),
        status: None,
        health_check_type: HealthCheckType::Ec2,
        health_check_grace_s: 300,
        launch: launch("$Default"),
        availability_zones: vec!["us-east-1a".into(), "us-east-1b".into()],
        subnets: Vec::new(),
        mixed: None,
        warm_pool: None,
        deletion_protection: None,
        retains_abandoned: false,
    };
    Arc::new(GroupDescription {
        group,
        template_id: "lt-1".into(),
        cooldown_s: 300,
        termination_policies: vec!["Default".into()],
        new_instances_protected: false,
        instance_types: BTreeMap::from([("i-1".into(), "m5.large".to_owned())]),
    })
}

#[test]
fn a_described_group_is_written_as_aws_writes_it() {
    let mut x = Service::AutoScaling.xml();
    x.list("AutoScalingGroups", [&description()], autoscaling::group);
    let wanted = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<DescribeAutoScalingGroupsResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"><DescribeAutoScalingGroupsResult>\
<AutoScalingGroups><member><AutoScalingGroupName>orca-main-v023</AutoScalingGroupName>\
<AutoScalingGroupARN>arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:u:autoScalingGroupName/orca-main-v023</AutoScalingGroupARN>\
<LaunchTemplate><LaunchTemplateId>lt-1</LaunchTemplateId><LaunchTemplateName>orca</LaunchTemplateName><Version>$Default</Version></LaunchTemplate>\
<MinSize>1</MinSize><MaxSize>4</MaxSize><DesiredCapacity>1</DesiredCapacity><DefaultCooldown>300</DefaultCooldown>\
<AvailabilityZones><member>us-east-1a</member><member>us-east-1b</member></AvailabilityZones>\
<LoadBalancerNames></LoadBalancerNames><TargetGroupARNs><member>arn:tg</member></TargetGroupARNs>\
<HealthCheckType>EC2</HealthCheckType><HealthCheckGracePeriod>300</HealthCheckGracePeriod>\
<Instances><member><InstanceId>i-1</InstanceId><InstanceType>m5.large</InstanceType><AvailabilityZone>us-east-1a</AvailabilityZone>\
<LifecycleState>Terminating:Wait</LifecycleState><HealthStatus>Healthy</HealthStatus>\
<LaunchTemplate><LaunchTemplateId>lt-1</LaunchTemplateId><LaunchTemplateName>orca</LaunchTemplateName><Version>3</Version></LaunchTemplate>\
<ProtectedFromScaleIn>true</ProtectedFromScaleIn></member></Instances>\
<CreatedTime>2023-11-14T22:13:20.123Z</CreatedTime>\
<SuspendedProcesses><member><ProcessName>AddToLoadBalancer</ProcessName><SuspensionReason>User suspended at …</SuspensionReason></member></SuspendedProcesses>\
<EnabledMetrics></EnabledMetrics>\
<Tags><member><ResourceId>orca-main-v023</ResourceId><ResourceType>auto-scaling-group</ResourceType><Key>bellrock:hold</Key>\
<Value>1 &amp; &lt;2&gt;</Value><PropagateAtLaunch>false</PropagateAtLaunch></member></Tags>\
<TerminationPolicies><member>Default</member></TerminationPolicies>\
<NewInstancesProtectedFromScaleIn>false</NewInstancesProtectedFromScaleIn><CapacityRebalance>false</CapacityRebalance>\
<ServiceLinkedRoleARN>arn:aws:iam::123456789012:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling</ServiceLinkedRoleARN>\
</member></AutoScalingGroups></DescribeAutoScalingGroupsResult>\
<ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></DescribeAutoScalingGroupsResponse>";
    assert_eq!(Service::AutoScaling.answer("DescribeAutoScalingGroups", "r-1", &x), wanted);
}

#[test]
fn the_version_tells_the_service_and_a_name_that_two_services_share_is_never_mixed_up() {
    let asked = |version: &str| find(vec![("Action".into(), "DescribeLoadBalancers".into()), ("Version".into(), version.into())]);
    for (version, service) in [("2011-01-01", Service::AutoScaling), ("2015-12-01", Service::ElbV2), ("2012-06-01", Service::Elb)] {
        assert_eq!(asked(version).expect("known").0, service);
    }
    assert_eq!(asked("2016-11-15").unwrap_err().1.code, "InvalidAction");
    assert_eq!(asked("1999-01-01").unwrap_err().1.code, "NoSuchVersion");
}
