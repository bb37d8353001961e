//! EC2, as far as a person on call looks at it: describes, and the one way past Auto Scaling to end an instance.

use super::Actions;
use super::query::Paging;
use super::query::Params;
use super::query::Xml;
use crate::cloud::sim::ACCOUNT;
use crate::cloud::sim::ApiError;
use crate::cloud::sim::ApiResult;
use crate::cloud::sim::Ec2State;
use crate::cloud::sim::Instance;
use crate::cloud::sim::REGION;
use crate::cloud::sim::Region;
use crate::cloud::sim::SimTime;
use crate::cloud::sim::supply::VPC;
use crate::cloud::sim::supply::subnet_of;
use crate::model::InstanceId;

pub(super) const ACTIONS: Actions = &[
    ("DescribeInstances", describe_instances),
    ("DescribeInstanceStatus", describe_status),
    ("DescribeImages", describe_images),
    ("DescribeKeyPairs", describe_key_pairs),
    ("DescribeSecurityGroups", describe_security_groups),
    ("DescribeSubnets", describe_subnets),
    ("DescribeInstanceTypeOfferings", describe_offerings),
    ("DescribeInstanceTypes", describe_types),
    ("DescribeLaunchTemplates", describe_templates),
    ("DescribeLaunchTemplateVersions", describe_versions),
    ("TerminateInstances", terminate),
];

/// Who made the templates.
const ROOT: &str = "arn:aws:iam::123456789012:root";

/// The instances that are asked for. An id that EC2 does not know fails the whole call.
fn chosen<'r>(r: &'r Region, p: &Params) -> ApiResult<Vec<&'r Instance>> {
    let ids: Vec<InstanceId> = p.texts("InstanceId").into_iter().map(InstanceId::from).collect();
    if let Some(unknown) = ids.iter().find(|id| r.instance(id).is_none()) {
        return Err(ApiError::new("InvalidInstanceID.NotFound", format!("The instance ID '{unknown}' does not exist")));
    }
    let mut instances: Vec<&Instance> = r.instances().filter(|i| ids.is_empty() || ids.contains(&i.id)).collect();
    for filter in p.list("Filter") {
        let (name, values) = (filter.required("Name")?, filter.texts("Value"));
        let has = |v: &str| values.contains(&v);
        match name {
            "instance-id" => instances.retain(|i| has(i.id.as_str())),
            "instance-state-name" => instances.retain(|i| has(i.ec2.as_str())),
            "instance-state-code" => instances.retain(|i| has(&i.ec2.code().to_string())),
            "image-id" => instances.retain(|i| has(&i.image)),
            "availability-zone" => instances.retain(|i| has(&i.zone)),
            "private-ip-address" => instances.retain(|i| has(&i.private_ip)),
            "tag:aws:autoscaling:groupName" => instances.retain(|i| i.group.as_ref().is_some_and(|g| has(g.as_str()))),
            _ => return Err(ApiError::new("InvalidParameterValue", format!("The filter '{name}' is invalid"))),
        }
    }
    Ok(instances)
}

fn describe_instances(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let page = Paging::RESULTS.cut(p, chosen(r, p)?)?;
    // Auto Scaling launches one at a time here, so each has its own reservation.
    x.list("reservationSet", &page.items, |x, i| {
        x.text("reservationId", format_args!("r-{}", i.id.as_str().trim_start_matches("i-"))).text("ownerId", ACCOUNT);
        x.texts("groupSet", [""; 0]).list("instancesSet", [i], |x, i| instance(x, r, i));
    });
    x.maybe("nextToken", page.next);
    Ok(())
}

fn instance(x: &mut Xml, r: &Region, i: &Instance) {
    let host = format!("ip-{}.ec2.internal", i.private_ip.replace('.', "-"));
    x.text("instanceId", &i.id).text("imageId", &i.image);
    state(x, "instanceState", i.ec2);
    x.text("privateDnsName", host).text("dnsName", "").text("reason", "").text("amiLaunchIndex", 0).texts("productCodes", [""; 0]);
    x.text("instanceType", &i.instance_type).text("launchTime", r.wall_at(i.launched));
    x.nest("placement", |x| {
        x.text("availabilityZone", &i.zone).text("groupName", "").text("tenancy", "default");
    });
    x.nest("monitoring", |x| {
        x.text("state", "disabled");
    });
    x.text("subnetId", subnet_of(&i.zone)).text("vpcId", VPC).text("privateIpAddress", &i.private_ip).text("sourceDestCheck", true);
    x.text("architecture", "x86_64").text("rootDeviceType", "ebs").text("rootDeviceName", "/dev/xvda").texts("blockDeviceMapping", [""; 0]);
    x.text("virtualizationType", "hvm").text("hypervisor", "xen").text("ebsOptimized", false).texts("networkInterfaceSet", [""; 0]);
    x.texts("groupSet", [""; 0]);
    x.nest("metadataOptions", |x| {
        x.text("state", "applied").text("httpTokens", "required").text("httpPutResponseHopLimit", 1).text("httpEndpoint", "enabled");
        x.text("httpProtocolIpv6", "disabled").text("instanceMetadataTags", "disabled");
    });
    let launch = i.launch.as_ref();
    let version = launch.and_then(|l| l.version.as_deref()).map(|v| ("aws:ec2launchtemplate:version", v));
    let group = i.group.as_ref().map(|g| ("aws:autoscaling:groupName", g.as_str()));
    x.list("tagSet", group.into_iter().chain(version), |x, (key, value)| {
        x.text("key", key).text("value", value);
    });
}

fn state(x: &mut Xml, name: &str, state: Ec2State) {
    x.nest(name, |x| {
        x.text("code", state.code()).text("name", state.as_str());
    });
}

fn describe_status(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let all = p.flag("IncludeAllInstances")?.unwrap_or(false);
    let mut instances = chosen(r, p)?;
    instances.retain(|i| all || i.ec2 == Ec2State::Running);
    let page = Paging::RESULTS.cut(p, instances)?;
    x.list("instanceStatusSet", &page.items, |x, i| {
        x.text("instanceId", &i.id).text("availabilityZone", &i.zone);
        state(x, "instanceState", i.ec2);
        let (status, detail) = if i.ec2 == Ec2State::Running { ("ok", "passed") } else { ("not-applicable", "insufficient-data") };
        for which in ["systemStatus", "instanceStatus"] {
            x.nest(which, |x| {
                x.text("status", status).list("details", [detail], |x, detail| {
                    x.text("name", "reachability").text("status", detail);
                });
            });
        }
        // Left out, not empty, where nothing is planned.
        let events = &i.notices.maintenance;
        if events.is_empty() {
            return;
        }
        x.list("eventsSet", events, |x, e| {
            x.text("instanceEventId", &e.id).text("code", &e.code).text("notBefore", e.not_before);
        });
    });
    x.maybe("nextToken", page.next);
    Ok(())
}

fn terminate(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let ids: Vec<InstanceId> = p.texts("InstanceId").into_iter().map(InstanceId::from).collect();
    if ids.is_empty() {
        return Err(ApiError::new("MissingParameter", "The request must contain the parameter InstanceId"));
    }
    let changes = r.terminate_instances(&ids)?;
    x.list("instancesSet", &changes, |x, (id, was, is)| {
        x.text("instanceId", id);
        state(x, "currentState", *is);
        state(x, "previousState", *was);
    });
    Ok(())
}

fn describe_images(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let page = Paging::RESULTS.cut(p, r.describe_images(&p.owned("ImageId"))?)?;
    let made = r.wall_at(SimTime::ZERO);
    x.list("imagesSet", &page.items, |x, id| {
        x.text("imageId", id)
            .text("imageLocation", format_args!("{ACCOUNT}/{id}"))
            .text("imageState", "available")
            .text("imageOwnerId", ACCOUNT);
        x.text("creationDate", made).text("isPublic", false).text("architecture", "x86_64").text("imageType", "machine").text("name", id);
        x.text("rootDeviceType", "ebs").text("rootDeviceName", "/dev/xvda").text("virtualizationType", "hvm").text("hypervisor", "xen");
        x.texts("productCodes", [""; 0]).texts("blockDeviceMapping", [""; 0]).texts("tagSet", [""; 0]);
    });
    x.maybe("nextToken", page.next);
    Ok(())
}

fn describe_key_pairs(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let names = r.describe_key_pairs(&p.owned("KeyName"))?;
    let made = r.wall_at(SimTime::ZERO);
    x.list("keySet", names, |x, name| {
        x.text("keyPairId", format_args!("key-{:017x}", number(&name))).text("keyName", &name).text("keyType", "rsa");
        x.text("keyFingerprint", "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff").text("createTime", made).texts("tagSet", [""; 0]);
    });
    Ok(())
}

/// The same for the same name.
fn number(name: &str) -> u64 {
    name.bytes().fold(0, |n, b| n.wrapping_mul(131).wrapping_add(u64::from(b)))
}

fn describe_security_groups(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let page = Paging::RESULTS.cut(p, r.describe_security_groups(&p.owned("GroupId"))?)?;
    x.list("securityGroupInfo", &page.items, |x, id| {
        x.text("ownerId", ACCOUNT).text("groupId", id).text("groupName", "default").text("groupDescription", "default VPC security group");
        x.text("vpcId", VPC).texts("ipPermissions", [""; 0]).texts("ipPermissionsEgress", [""; 0]).texts("tagSet", [""; 0]);
        x.text("securityGroupArn", format_args!("arn:aws:ec2:{REGION}:{ACCOUNT}:security-group/{id}"));
    });
    x.maybe("nextToken", page.next);
    Ok(())
}

fn describe_subnets(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let page = Paging::RESULTS.cut(p, r.describe_subnets(&p.owned("SubnetId"))?)?;
    x.list("subnetSet", &page.items, |x, subnet| {
        x.text("subnetId", &subnet.id).text("subnetArn", format_args!("arn:aws:ec2:{REGION}:{ACCOUNT}:subnet/{}", subnet.id));
        x.text("state", "available").text("ownerId", ACCOUNT).text("vpcId", VPC).text("cidrBlock", "172.31.0.0/20");
        x.texts("ipv6CidrBlockAssociationSet", [""; 0]).text("assignIpv6AddressOnCreation", false);
        x.text("availableIpAddressCount", subnet.free_addresses).text("availabilityZone", &subnet.zone);
        x.text("defaultForAz", true).text("mapPublicIpOnLaunch", false).texts("tagSet", [""; 0]);
    });
    x.maybe("nextToken", page.next);
    Ok(())
}

fn describe_offerings(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    if p.text("LocationType") != Some("availability-zone") {
        return Err(ApiError::new("InvalidParameterValue", "The simulated region knows offerings by availability-zone alone"));
    }
    let (mut types, mut zones) = (Vec::new(), Vec::new());
    for filter in p.list("Filter") {
        match filter.required("Name")? {
            "instance-type" => types = filter.owned("Value"),
            "location" => zones = filter.owned("Value"),
            name => return Err(ApiError::new("InvalidParameterValue", format!("The filter '{name}' is invalid"))),
        }
    }
    let page = Paging::RESULTS.cut(p, r.describe_instance_type_offerings(&types, &zones)?)?;
    x.list("instanceTypeOfferingSet", &page.items, |x, offer| {
        x.text("instanceType", &offer.instance_type).text("locationType", "availability-zone").text("location", &offer.zone);
    });
    x.maybe("nextToken", page.next);
    Ok(())
}

fn describe_types(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let page = Paging::RESULTS.cut(p, r.describe_instance_types(&p.owned("InstanceType"))?)?;
    x.list("instanceTypeSet", &page.items, |x, (name, vcpus)| {
        x.text("instanceType", name).text("currentGeneration", true).nest("vCpuInfo", |x| {
            x.text("defaultVCpus", vcpus).text("defaultCores", vcpus / 2).text("defaultThreadsPerCore", 2);
        });
    });
    x.maybe("nextToken", page.next);
    Ok(())
}

fn describe_templates(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let mut names = p.owned("LaunchTemplateName");
    names.extend(p.owned("LaunchTemplateId"));
    let page = Paging::RESULTS.cut(p, r.describe_launch_templates(&names)?)?;
    let made = r.wall_at(SimTime::ZERO);
    x.list("launchTemplates", &page.items, |x, t| {
        x.text("launchTemplateId", &t.id).text("launchTemplateName", &t.name).text("createTime", made).text("createdBy", ROOT);
        x.text("defaultVersionNumber", t.default_version).text("latestVersionNumber", t.latest_version).texts("tagSet", [""; 0]);
    });
    x.maybe("nextToken", page.next);
    Ok(())
}

fn describe_versions(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let name = p.text("LaunchTemplateName").or_else(|| p.text("LaunchTemplateId"));
    let name = name.ok_or_else(|| ApiError::new("MissingParameter", "You must specify a launch template"))?;
    let page = Paging::RESULTS.cut(p, r.describe_launch_template_versions(name, &p.owned("LaunchTemplateVersion"))?)?;
    let made = r.wall_at(SimTime::ZERO);
    x.list("launchTemplateVersionSet", &page.items, |x, v| {
        x.text("launchTemplateId", &v.id).text("launchTemplateName", &v.name).text("versionNumber", v.version).text("createTime", made);
        x.text("createdBy", ROOT).text("defaultVersion", v.is_default).nest("launchTemplateData", |x| {
            x.text("imageId", &v.spec.image).text("instanceType", &v.spec.instance_type).maybe("keyName", v.spec.key_pair.as_ref());
            if !v.spec.security_groups.is_empty() {
                x.texts("securityGroupIdSet", &v.spec.security_groups);
            }
        });
    });
    x.maybe("nextToken", page.next);
    Ok(())
}
