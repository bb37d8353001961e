//! EC2 and Service Quotas behind [`Compute`], by hand-written calls; launch configurations by Auto Scaling's own.
//!
//! What must stay true: an answer that lacks what AWS always gives is nonsense and never "nothing there"; who asks for ids asks for each once
//! and in batches, so that no call grows past AWS's limits.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use async_trait::async_trait;
use futures::future::try_join_all;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::Aws;
use super::call::nonsense;
use super::call::pages;
use super::signed::Service;
use crate::cloud::Blueprint;
use crate::cloud::Compute;
use crate::cloud::Error;
use crate::cloud::Image;
use crate::cloud::Kind;
use crate::cloud::Offer;
use crate::cloud::Result;
use crate::cloud::Subnet;
use crate::model::LaunchSource;

/// Of EC2's Query API.
const VERSION: &str = "2016-11-15";

/// Ids or filter values that one describe is given. Filters take 200, types 100; fewer would be more calls.
const BATCH: usize = 100;

/// Page of the lists that have one; AWS's largest.
const PAGE: &str = "1000";

/// Instances that are counted before we give up: ten pages. An account with more has larger limits than a rollback can reach.
const MOST_INSTANCES: usize = 10_000;

/// "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", in vCPUs (Service Quotas console, read 2026-11).
const STANDARD_QUOTA: &str = "L-1216C47A";

/// How a template says that its image is kept in Systems Manager.
const ALIAS: &str = "resolve:ssm:";

/// EC2's lists hold `item`s; an empty one is an empty element.
#[derive(Debug, Deserialize)]
struct List<T> {
    #[serde(rename = "item", default = "Vec::new")]
    items: Vec<T>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    launch_template_version_set: List<Version>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    launch_template_data: Data,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    image_id: Option<String>,
    instance_type: Option<String>,
    key_name: Option<String>,
    #[serde(default)]
    security_group_id_set: List<String>,
    #[serde(default)]
    network_interface_set: List<Interface>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Interface {
    #[serde(default)]
    group_set: InterfaceGroups,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InterfaceGroups {
    /// This one list does not hold `item`s.
    #[serde(default)]
    group_id: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Images {
    images_set: List<ImageItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageItem {
    image_id: String,
    image_state: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyPairs {
    key_set: List<KeyPair>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyPair {
    key_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecurityGroups {
    security_group_info: List<SecurityGroup>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecurityGroup {
    group_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subnets {
    subnet_set: List<SubnetItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SubnetItem {
    subnet_id: String,
    availability_zone: String,
    available_ip_address_count: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Offerings {
    instance_type_offering_set: List<Offering>,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Offering {
    instance_type: String,
    location: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Types {
    instance_type_set: List<TypeItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypeItem {
    instance_type: String,
    v_cpu_info: Processors,
}

#[derive(Debug, Deserialize)]
struct Processors {
    #[serde(rename = "defaultVCpus")]
    default: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reservations {
    reservation_set: List<Reservation>,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reservation {
    instances_set: List<Instance>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Instance {
    instance_type: String,
    /// `spot`, `scheduled`, `capacity-block`; on-demand ones have none.
    instance_lifecycle: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QuotaAnswer {
    quota: Quota,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Quota {
    value: f64,
}

/// `Name.1`, `Name.2`, …
fn list<'a>(name: &str, values: impl IntoIterator<Item = &'a String>) -> Vec<(String, String)> {
    values.into_iter().zip(1..).map(|(value, n)| (format!("{name}.{n}"), value.clone())).collect()
}

fn field(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

fn filter<'a>(n: u32, name: &str, values: impl IntoIterator<Item = &'a String>) -> Vec<(String, String)> {
    let mut fields = list(&format!("Filter.{n}.Value"), values);
    fields.push(field(&format!("Filter.{n}.Name"), name));
    fields
}

/// The document, as far as we know it; elements that we do not know are passed over.
fn read<T: DeserializeOwned>(action: &'static str, document: &str) -> Result<T> {
    quick_xml::de::from_str(document).map_err(|error| nonsense(action, error.to_string()))
}

/// EC2 answers about each id that it was asked for, or fails. One that it leaves out is no proof that the thing is gone.
fn all_there<'a>(action: &'static str, asked: &[String], answered: impl Iterator<Item = &'a String>) -> Result<()> {
    let answered: BTreeSet<&String> = answered.collect();
    match asked.iter().find(|id| !answered.contains(id)) {
        Some(id) => Err(nonsense(action, format!("the answer says nothing of {id}"))),
        None => Ok(()),
    }
}

impl Aws {
    async fn ec2<T: DeserializeOwned>(&self, action: &'static str, fields: &[(String, String)]) -> Result<T> {
        let document = self.gate.pass(action, self.signed.query(Service::Ec2, VERSION, action, fields)).await?;
        read(action, &document)
    }

    async fn template_version(&self, source: &LaunchSource, version: &str, resolve: bool) -> Result<Data> {
        const ACTION: &str = "DescribeLaunchTemplateVersions";
        let by = if source.name.starts_with("lt-") { "LaunchTemplateId" } else { "LaunchTemplateName" };
        let mut fields = vec![field(by, &source.name), field("LaunchTemplateVersion.1", version)];
        fields.extend(resolve.then(|| field("ResolveAlias", "true")));
        let found: Versions = self.ec2(ACTION, &fields).await?;
        let gone = || Error {
            kind: Kind::Gone,
            action: ACTION,
            code: "InvalidLaunchTemplateId.VersionNotFound".to_owned(),
            message: format!("no version {version} of launch template {}", source.name),
            request_id: None,
        };
        found.launch_template_version_set.items.into_iter().next().map(|version| version.launch_template_data).ok_or_else(gone)
    }

    async fn launch_configuration(&self, name: &str) -> Result<Blueprint> {
        const ACTION: &str = "DescribeLaunchConfigurations";
        let answer =
            self.gate.pass(ACTION, self.autoscaling.describe_launch_configurations().launch_configuration_names(name).send()).await?;
        let known = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let found = answer.launch_configurations().iter().find(|one| one.launch_configuration_name() == Some(name));
        let found = found.map(|one| Blueprint {
            image: known(one.image_id()),
            instance_type: known(one.instance_type()),
            key_pair: known(one.key_name()),
            security_groups: one.security_groups().iter().filter(|group| group.starts_with("sg-")).cloned().collect(),
        });
        found.ok_or_else(|| Error {
            kind: Kind::Gone,
            action: ACTION,
            code: "ValidationError".to_owned(),
            message: format!("Launch configuration name not found - {name}"),
            request_id: None,
        })
    }
}

#[async_trait]
impl Compute for Aws {
    async fn blueprint(&self, source: &LaunchSource) -> Result<Blueprint> {
        let Some(version) = &source.version else { return self.launch_configuration(&source.name).await };
        let mut data = self.template_version(source, version, false).await?;
        if data.image_id.as_ref().is_some_and(|image| image.starts_with(ALIAS)) {
            data = self.template_version(source, version, true).await?;
        }
        let of_interfaces = data.network_interface_set.items.into_iter().flat_map(|interface| interface.group_set.group_id);
        Ok(Blueprint {
            image: data.image_id,
            instance_type: data.instance_type,
            key_pair: data.key_name,
            security_groups: data.security_group_id_set.items.into_iter().chain(of_interfaces).collect(),
        })
    }

    /// Deprecated ones launch; disabled ones do not, and are told from those that are gone.
    async fn images(&self, ids: &[String]) -> Result<Vec<Image>> {
        const ACTION: &str = "DescribeImages";
        let one = async |ids: &[String]| {
            let mut fields = list("ImageId", ids);
            fields.extend([field("IncludeDeprecated", "true"), field("IncludeDisabled", "true")]);
            let found = self.ec2::<Images>(ACTION, &fields).await?.images_set.items;
            all_there(ACTION, ids, found.iter().map(|image| &image.image_id))?;
            Ok(found)
        };
        let found: Vec<Vec<ImageItem>> = try_join_all(ids.chunks(BATCH).map(one)).await?;
        Ok(found.into_iter().flatten().map(|image| Image { id: image.image_id, state: image.image_state }).collect())
    }

    async fn key_pairs(&self, names: &[String]) -> Result<()> {
        const ACTION: &str = "DescribeKeyPairs";
        let one = async |names: &[String]| {
            let found = self.ec2::<KeyPairs>(ACTION, &list("KeyName", names)).await?.key_set.items;
            all_there(ACTION, names, found.iter().map(|key| &key.key_name))
        };
        try_join_all(names.chunks(BATCH).map(one)).await.map(drop)
    }

    async fn security_groups(&self, ids: &[String]) -> Result<()> {
        const ACTION: &str = "DescribeSecurityGroups";
        let one = async |ids: &[String]| {
            let found = self.ec2::<SecurityGroups>(ACTION, &list("GroupId", ids)).await?.security_group_info.items;
            all_there(ACTION, ids, found.iter().map(|group| &group.group_id))
        };
        try_join_all(ids.chunks(BATCH).map(one)).await.map(drop)
    }

    async fn subnets(&self, ids: &[String]) -> Result<Vec<Subnet>> {
        const ACTION: &str = "DescribeSubnets";
        let one = async |ids: &[String]| {
            let found = self.ec2::<Subnets>(ACTION, &list("SubnetId", ids)).await?.subnet_set.items;
            all_there(ACTION, ids, found.iter().map(|subnet| &subnet.subnet_id))?;
            Ok(found)
        };
        let found: Vec<Vec<SubnetItem>> = try_join_all(ids.chunks(BATCH).map(one)).await?;
        let ours = |subnet: SubnetItem| Subnet {
            id: subnet.subnet_id,
            zone: subnet.availability_zone,
            free_addresses: subnet.available_ip_address_count,
        };
        Ok(found.into_iter().flatten().map(ours).collect())
    }

    async fn offers(&self, types: &[String], zones: &[String]) -> Result<BTreeSet<Offer>> {
        const ACTION: &str = "DescribeInstanceTypeOfferings";
        let one = async |types: &[String]| {
            pages(ACTION, usize::MAX, async |token| {
                let mut fields = [filter(1, "instance-type", types), filter(2, "location", zones)].concat();
                fields.extend([field("LocationType", "availability-zone"), field("MaxResults", PAGE)]);
                fields.extend(token.map(|token| field("NextToken", token)));
                let answer: Offerings = self.ec2(ACTION, &fields).await?;
                Ok((answer.instance_type_offering_set.items, answer.next_token))
            })
            .await
        };
        let found: Vec<Vec<Offering>> = try_join_all(types.chunks(BATCH).map(one)).await?;
        Ok(found.into_iter().flatten().map(|offer| Offer { instance_type: offer.instance_type, zone: offer.location }).collect())
    }

    async fn vcpus(&self, types: &[String]) -> Result<BTreeMap<String, u32>> {
        const ACTION: &str = "DescribeInstanceTypes";
        let one = async |types: &[String]| {
            let found = self.ec2::<Types>(ACTION, &list("InstanceType", types)).await?.instance_type_set.items;
            all_there(ACTION, types, found.iter().map(|one| &one.instance_type))?;
            Ok(found)
        };
        let found: Vec<Vec<TypeItem>> = try_join_all(types.chunks(BATCH).map(one)).await?;
        Ok(found.into_iter().flatten().map(|one| (one.instance_type, one.v_cpu_info.default)).collect())
    }

    async fn running(&self) -> Result<BTreeMap<String, u32>> {
        const ACTION: &str = "DescribeInstances";
        let states = ["pending", "running"].map(str::to_owned);
        let found = pages(ACTION, MOST_INSTANCES, async |token| {
            let mut fields = filter(1, "instance-state-name", &states);
            fields.push(field("MaxResults", PAGE));
            fields.extend(token.map(|token| field("NextToken", token)));
            let answer: Reservations = self.ec2(ACTION, &fields).await?;
            let instances = answer.reservation_set.items.into_iter().flat_map(|reservation| reservation.instances_set.items);
            Ok((instances.collect(), answer.next_token))
        });
        let found: Vec<Instance> = found.await?;
        if found.len() >= MOST_INSTANCES {
            return Err(nonsense(ACTION, format!("more than {MOST_INSTANCES} instances are running: not counted")));
        }
        let mut by_type = BTreeMap::new();
        for instance in found.into_iter().filter(|instance| instance.instance_lifecycle.is_none()) {
            *by_type.entry(instance.instance_type).or_default() += 1;
        }
        Ok(by_type)
    }

    async fn vcpu_quota(&self) -> Result<u32> {
        const ACTION: &str = "GetServiceQuota";
        let body = json!({ "ServiceCode": "ec2", "QuotaCode": STANDARD_QUOTA });
        let call = self.signed.json(Service::Quotas, "ServiceQuotasV20190624", ACTION, &body);
        let document = self.gate.pass(ACTION, call).await?;
        let answer: QuotaAnswer = serde_json::from_str(&document).map_err(|error| nonsense(ACTION, error.to_string()))?;
        let value = answer.quota.value;
        if !(0.0..=f64::from(u32::MAX)).contains(&value) {
            return Err(nonsense(ACTION, format!("a quota of {value}")));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range, as just checked")]
        Ok(value as u32)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

    #[test]
    fn a_template_version_is_read_with_the_groups_of_its_interfaces_and_past_what_we_do_not_know() {
        let document = format!(
            "{HEAD}<DescribeLaunchTemplateVersionsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r</requestId>\
             <launchTemplateVersionSet><item><launchTemplateId>lt-1</launchTemplateId><launchTemplateData><novelty><item>1</item></novelty>\
             <imageId>ami-1</imageId><keyName>ops</keyName><networkInterfaceSet><item><deviceIndex>0</deviceIndex><groupSet>\
             <groupId>sg-1</groupId><groupId>sg-2</groupId></groupSet></item></networkInterfaceSet><securityGroupIdSet/>\
             </launchTemplateData></item></launchTemplateVersionSet></DescribeLaunchTemplateVersionsResponse>"
        );
        let found: Versions = read("Any", &document).expect("a version");
        let data = &found.launch_template_version_set.items[0].launch_template_data;
        assert_eq!((data.image_id.as_deref(), data.key_name.as_deref(), data.instance_type.as_deref()), (Some("ami-1"), Some("ops"), None));
        assert_eq!(data.network_interface_set.items[0].group_set.group_id, ["sg-1", "sg-2"]);
        assert!(data.security_group_id_set.items.is_empty());
    }

    #[test]
    fn an_answer_that_leaves_out_what_was_asked_for_proves_nothing() {
        let asked = ["ami-1", "ami-2"].map(str::to_owned);
        let error = all_there("DescribeImages", &asked, asked[..1].iter()).expect_err("one is missing");
        assert_eq!(error.kind, Kind::Bug, "{error}");
        assert!(all_there("DescribeImages", &asked, asked.iter()).is_ok());
        for strange in ["", "<DescribeImagesResponse/>", "<html/>", "<a><imagesSet><item><imageId>ami-1</imageId></item></imagesSet></a>"] {
            assert_eq!(read::<Images>("DescribeImages", strange).expect_err(strange).kind, Kind::Bug);
        }
        let full = "<a><subnetSet><item><subnetId>s</subnetId><availabilityZone>a</availabilityZone>\
                    <availableIpAddressCount>-1</availableIpAddressCount></item></subnetSet></a>";
        assert!(read::<Subnets>("DescribeSubnets", full).is_err(), "no count is below nothing");
    }

    #[test]
    fn lists_and_filters_are_numbered_as_ec2_writes_them() {
        let values = ["x", "y"].map(str::to_owned);
        assert_eq!(list("ImageId", &values), [field("ImageId.1", "x"), field("ImageId.2", "y")]);
        assert_eq!(filter(2, "location", &values[..1]), [field("Filter.2.Value.1", "x"), field("Filter.2.Name", "location")]);
    }

    proptest! {
        #[test]
        fn no_answer_whatever_makes_the_reader_panic(text in "(<|>|/|imagesSet|item|imageId|&|;|a|\"| ){0,80}") {
            let _ = read::<Images>("Any", &text);
            let _ = read::<Reservations>("Any", &text);
            let _ = read::<Versions>("Any", &format!("<a><launchTemplateVersionSet>{text}</launchTemplateVersionSet></a>"));
        }
    }
}
