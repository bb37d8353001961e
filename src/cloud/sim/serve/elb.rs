//! Elastic Load Balancing, the first generation: classic load balancers.

use super::Actions;
use super::query::Paging;
use super::query::Params;
use super::query::Xml;
use crate::cloud::sim::ACCOUNT;
use crate::cloud::sim::ApiResult;
use crate::cloud::sim::Region;
use crate::cloud::sim::supply::SECURITY_GROUP;
use crate::cloud::sim::supply::VPC;
use crate::cloud::sim::supply::ZONES;
use crate::cloud::sim::supply::subnet_of;
use crate::model::InstanceId;

pub(super) const ACTIONS: Actions = &[
    ("DescribeLoadBalancers", describe_load_balancers),
    ("DescribeInstanceHealth", describe_health),
    ("RegisterInstancesWithLoadBalancer", register),
    ("DeregisterInstancesFromLoadBalancer", deregister),
];

/// Port of an orchestrator; the same as in the target groups' defaults.
const PORT: u16 = 8083;

fn instances(p: &Params) -> ApiResult<Vec<InstanceId>> {
    p.list("Instances").into_iter().map(|i| i.required("InstanceId").map(InstanceId::from)).collect()
}

fn describe_load_balancers(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let balancers = r.describe_load_balancers_classic(&p.owned("LoadBalancerNames"))?;
    let page = Paging::MARKER.cut(p, balancers)?;
    x.list("LoadBalancerDescriptions", &page.items, |x, b| {
        let s = &b.spec;
        x.text("LoadBalancerName", &s.name).text("DNSName", &b.dns_name).text("CanonicalHostedZoneName", &b.dns_name);
        x.text("CanonicalHostedZoneNameID", "Z35SXDOTRQ7X7K").list("ListenerDescriptions", [80], |x, port| {
            x.nest("Listener", |x| {
                x.text("Protocol", "HTTP").text("LoadBalancerPort", port).text("InstanceProtocol", "HTTP").text("InstancePort", PORT);
            });
            x.texts("PolicyNames", [""; 0]);
        });
        x.nest("Policies", |x| {
            x.texts("AppCookieStickinessPolicies", [""; 0]).texts("LBCookieStickinessPolicies", [""; 0]).texts("OtherPolicies", [""; 0]);
        });
        x.texts("BackendServerDescriptions", [""; 0])
            .texts("AvailabilityZones", ZONES)
            .texts("Subnets", ZONES.map(subnet_of))
            .text("VPCId", VPC);
        x.list("Instances", &b.instances, |x, id| {
            x.text("InstanceId", id);
        });
        x.nest("HealthCheck", |x| {
            x.text("Target", format_args!("HTTP:{PORT}/health")).text("Interval", s.interval_s).text("Timeout", 5.min(s.interval_s));
            x.text("UnhealthyThreshold", s.unhealthy_threshold).text("HealthyThreshold", s.healthy_threshold);
        });
        x.nest("SourceSecurityGroup", |x| {
            x.text("OwnerAlias", ACCOUNT).text("GroupName", "default");
        });
        x.texts("SecurityGroups", [SECURITY_GROUP]).text("CreatedTime", b.created);
        x.text("Scheme", if s.internal { "internal" } else { "internet-facing" });
    });
    x.maybe("NextMarker", page.next);
    Ok(())
}

fn describe_health(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let states = r.describe_instance_health(p.required("LoadBalancerName")?, &instances(p)?)?;
    x.list("InstanceStates", &states, |x, s| {
        x.text("InstanceId", &s.instance).text("State", s.state).text("ReasonCode", s.reason).text("Description", s.description);
    });
    Ok(())
}

fn register(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let left = r.register_instances(p.required("LoadBalancerName")?, &instances(p)?)?;
    behind(x, &left);
    Ok(())
}

fn deregister(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let left = r.deregister_instances(p.required("LoadBalancerName")?, &instances(p)?)?;
    behind(x, &left);
    Ok(())
}

fn behind(x: &mut Xml, instances: &[InstanceId]) {
    x.list("Instances", instances, |x, id| {
        x.text("InstanceId", id);
    });
}
