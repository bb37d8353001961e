//! Elastic Load Balancing, the second generation.

use super::Actions;
use super::query::Paging;
use super::query::Params;
use super::query::Xml;
use crate::cloud::TargetId;
use crate::cloud::TargetState;
use crate::cloud::sim::ApiError;
use crate::cloud::sim::ApiResult;
use crate::cloud::sim::Region;
use crate::cloud::sim::supply::SECURITY_GROUP;
use crate::cloud::sim::supply::VPC;
use crate::cloud::sim::supply::ZONES;
use crate::cloud::sim::supply::subnet_of;
use crate::model::InstanceId;
use crate::model::TargetGroupArn;

pub(super) const ACTIONS: Actions = &[
    ("DescribeTargetGroups", describe_target_groups),
    ("DescribeTargetGroupAttributes", describe_attributes),
    ("DescribeTargetHealth", describe_health),
    ("DescribeLoadBalancers", describe_load_balancers),
    ("DescribeListeners", describe_listeners),
    ("RegisterTargets", register),
    ("DeregisterTargets", deregister),
];

fn arn(p: &Params) -> ApiResult<TargetGroupArn> {
    p.required("TargetGroupArn").map(TargetGroupArn::from)
}

fn targets(p: &Params) -> ApiResult<Vec<TargetId>> {
    let target = |t: &Params| Ok(TargetId { instance: InstanceId::from(t.required("Id")?), port: t.number("Port")? });
    p.list("Targets").into_iter().map(target).collect()
}

fn describe_target_groups(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let arns: Vec<TargetGroupArn> = p.texts("TargetGroupArns").into_iter().map(TargetGroupArn::from).collect();
    let mut groups = r.describe_target_groups(&arns, &p.owned("Names"))?;
    if let Some(balancer) = p.text("LoadBalancerArn") {
        groups.retain(|g| g.load_balancers.iter().any(|b| b == balancer));
    }
    let page = Paging::MARKER.cut(p, groups)?;
    x.list("TargetGroups", &page.items, |x, g| {
        let (s, http) = (&g.spec, g.spec.protocol.starts_with("HTTP"));
        x.text("TargetGroupArn", &g.arn)
            .text("TargetGroupName", &s.name)
            .text("Protocol", &s.protocol)
            .text("Port", s.port)
            .text("VpcId", VPC);
        x.text("HealthCheckProtocol", &s.protocol).text("HealthCheckPort", "traffic-port").text("HealthCheckEnabled", true);
        x.text("HealthCheckIntervalSeconds", s.interval_s).text("HealthCheckTimeoutSeconds", 5.min(s.interval_s));
        x.text("HealthyThresholdCount", s.healthy_threshold).text("UnhealthyThresholdCount", s.unhealthy_threshold);
        if http {
            x.text("HealthCheckPath", "/health").text("ProtocolVersion", "HTTP1");
            x.nest("Matcher", |x| {
                x.text("HttpCode", 200);
            });
        }
        x.texts("LoadBalancerArns", &g.load_balancers).text("TargetType", "instance").text("IpAddressType", "ipv4");
    });
    x.maybe("NextMarker", page.next);
    Ok(())
}

fn describe_attributes(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let attributes = r.describe_target_group_attributes(&arn(p)?)?;
    x.list("Attributes", &attributes, |x, (key, value)| {
        x.text("Key", key).text("Value", value);
    });
    Ok(())
}

fn describe_health(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let arn = arn(p)?;
    let port = r.describe_target_groups(std::slice::from_ref(&arn), &[])?.first().map(|g| g.spec.port);
    let health = r.describe_target_health(&arn, &targets(p)?)?;
    x.list("TargetHealthDescriptions", &health, |x, h| {
        let port = h.target.port.or(port);
        x.nest("Target", |x| {
            x.text("Id", &h.target.instance).maybe("Port", port);
        });
        x.maybe("HealthCheckPort", port);
        x.nest("TargetHealth", |x| {
            x.text("State", word(h.state)).maybe("Reason", h.reason.as_ref());
        });
    });
    Ok(())
}

fn word(state: TargetState) -> &'static str {
    match state {
        TargetState::Initial => "initial",
        TargetState::Healthy => "healthy",
        TargetState::Unhealthy => "unhealthy",
        TargetState::Unused => "unused",
        TargetState::Draining => "draining",
        TargetState::Unavailable => "unavailable",
    }
}

fn describe_load_balancers(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let balancers = r.describe_load_balancers_v2(&p.owned("LoadBalancerArns"), &p.owned("Names"))?;
    let page = Paging::MARKER.cut(p, balancers)?;
    x.list("LoadBalancers", &page.items, |x, b| {
        x.text("LoadBalancerArn", &b.arn).text("DNSName", &b.dns_name).text("CanonicalHostedZoneId", "Z35SXDOTRQ7X7K");
        x.text("CreatedTime", b.created).text("LoadBalancerName", &b.name).text("Scheme", b.scheme).text("VpcId", VPC);
        x.nest("State", |x| {
            x.text("Code", "active");
        });
        x.text("Type", "application").list("AvailabilityZones", ZONES, |x, zone| {
            x.text("ZoneName", zone).text("SubnetId", subnet_of(zone));
        });
        x.texts("SecurityGroups", [SECURITY_GROUP]).text("IpAddressType", "ipv4");
    });
    x.maybe("NextMarker", page.next);
    Ok(())
}

fn describe_listeners(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let wanted = p.texts("ListenerArns");
    let listeners = match p.text("LoadBalancerArn") {
        Some(balancer) => r.describe_listeners(balancer)?,
        None if wanted.is_empty() => return Err(ApiError::validation("You must specify either listener ARNs or a load balancer ARN")),
        None => {
            let all = r.describe_load_balancers_v2(&[], &[])?.into_iter().flat_map(|b| b.listeners);
            all.filter(|l| wanted.contains(&l.arn.as_str())).collect()
        }
    };
    let page = Paging::MARKER.cut(p, listeners)?;
    x.list("Listeners", &page.items, |x, l| {
        x.text("ListenerArn", &l.arn).text("LoadBalancerArn", &l.load_balancer).text("Port", l.port).text("Protocol", "HTTP");
        x.list("DefaultActions", [&l.target_group], |x, arn| {
            x.text("Type", "forward").text("TargetGroupArn", arn);
        });
    });
    x.maybe("NextMarker", page.next);
    Ok(())
}

fn register(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    r.register_targets(&arn(p)?, &targets(p)?)
}

fn deregister(r: &mut Region, p: &Params, _: &mut Xml) -> ApiResult<()> {
    r.deregister_targets(&arn(p)?, &targets(p)?)
}
