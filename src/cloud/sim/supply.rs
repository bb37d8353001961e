//! What launches are made from, and how it can be lacking: images, key pairs, security groups, subnets, types, templates, vCPUs (F54).
//!
//! What must stay true: what a describe says is what the next launch meets. All zones offer all types, and subnets have room, until a scenario
//! takes something away.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::Region;
use super::api::ApiError;
use super::api::ApiResult;
use super::spec::VersionSpec;
use crate::cloud::Offer;
use crate::cloud::Subnet;

/// The one network.
pub(super) const VPC: &str = "vpc-0123456789abcdef0";
/// The security group that everybody has who names none.
pub(super) const SECURITY_GROUP: &str = "sg-0123456789abcdef0";
/// Zones with a subnet.
pub(super) const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];

/// Addresses of a /20, but for the five that AWS keeps: the size of a default subnet.
const ADDRESSES: u32 = 4091;
/// vCPUs that an account may have where no scenario says otherwise: more than any scenario launches.
const PLENTY: u32 = 1_000_000;

/// One subnet to a zone.
pub(super) fn subnet_of(zone: &str) -> String {
    format!("subnet-{:017x}", zone.bytes().fold(0u64, |n, b| n.wrapping_mul(131).wrapping_add(u64::from(b))))
}

#[derive(Debug, Default)]
pub(super) struct Supply {
    images: BTreeSet<String>,
    key_pairs: BTreeSet<String>,
    security_groups: BTreeSet<String>,
    /// By zone.
    lost_subnets: BTreeSet<String>,
    /// Addresses left by zone, where a scenario says.
    room: BTreeMap<String, u32>,
    withdrawn: BTreeSet<Offer>,
    quota: Option<u32>,
}

impl Region {
    /// An image comes into being.
    pub fn add_image(&mut self, id: &str) {
        self.supply.images.insert(id.to_owned());
    }

    /// An image is deregistered: launches from it fail from now on (F54).
    pub fn remove_image(&mut self, id: &str) {
        self.supply.images.remove(id);
    }

    /// What this version names comes into being.
    pub(super) fn stock(&mut self, version: &VersionSpec) {
        self.supply.images.insert(version.image.clone());
        self.supply.key_pairs.extend(version.key_pair.clone());
        self.supply.security_groups.extend(version.security_groups.iter().cloned());
    }

    /// A key pair is deleted.
    pub fn remove_key_pair(&mut self, name: &str) {
        self.supply.key_pairs.remove(name);
    }

    /// A security group is deleted.
    pub fn remove_security_group(&mut self, id: &str) {
        self.supply.security_groups.remove(id);
    }

    /// The subnet of a zone is deleted.
    pub fn remove_subnet(&mut self, zone: &str) {
        self.supply.lost_subnets.insert(zone.to_owned());
    }

    /// The subnet of a zone has so many addresses left, and each launch takes one.
    pub fn fill_subnet(&mut self, zone: &str, free: u32) {
        self.supply.room.insert(zone.to_owned(), self.addresses_taken(zone) + free);
    }

    /// A type cannot be had in a zone any more.
    pub fn withdraw_type(&mut self, instance_type: &str, zone: &str) {
        self.supply.withdrawn.insert(Offer { instance_type: instance_type.to_owned(), zone: zone.to_owned() });
    }

    /// vCPUs that the account may have; `None` = plenty.
    pub fn set_vcpu_quota(&mut self, quota: Option<u32>) {
        self.supply.quota = quota;
    }

    /// `DescribeImages` by id: those that exist; one that does not makes the call fail. None = all.
    pub fn describe_images(&mut self, ids: &[String]) -> ApiResult<Vec<String>> {
        let message = |id: &str| format!("The image id '[{id}]' does not exist");
        known(&self.supply.images, ids, "InvalidAMIID.NotFound", message)
    }

    /// `DescribeKeyPairs` by name, in the same way.
    pub fn describe_key_pairs(&mut self, names: &[String]) -> ApiResult<Vec<String>> {
        let message = |name: &str| format!("The key pair '{name}' does not exist");
        known(&self.supply.key_pairs, names, "InvalidKeyPair.NotFound", message)
    }

    /// `DescribeSecurityGroups` by id, in the same way.
    pub fn describe_security_groups(&mut self, ids: &[String]) -> ApiResult<Vec<String>> {
        let message = |id: &str| format!("The security group '{id}' does not exist");
        known(&self.supply.security_groups, ids, "InvalidGroup.NotFound", message)
    }

    /// `DescribeSubnets` by id, in the same way.
    pub fn describe_subnets(&mut self, ids: &[String]) -> ApiResult<Vec<Subnet>> {
        let by_id: BTreeMap<String, &str> =
            self.zones().filter(|zone| !self.supply.lost_subnets.contains(*zone)).map(|zone| (subnet_of(zone), zone)).collect();
        let message = |id: &str| format!("The subnet ID '{id}' does not exist");
        let ids = known(&by_id.keys().cloned().collect(), ids, "InvalidSubnetID.NotFound", message)?;
        let shown = |id: String| {
            let zone = by_id.get(&id).copied().unwrap_or_default();
            Subnet { id, zone: zone.to_owned(), free_addresses: self.addresses_left(zone) }
        };
        Ok(ids.into_iter().map(shown).collect())
    }

    /// `DescribeInstanceTypeOfferings` by zone.
    pub fn describe_instance_type_offerings(&mut self, types: &[String], zones: &[String]) -> ApiResult<Vec<Offer>> {
        let all: BTreeSet<&str> = self.zones().collect();
        let pairs = types.iter().flat_map(|one| zones.iter().filter(|zone| all.contains(zone.as_str())).map(move |zone| (one, zone)));
        let offers =
            pairs.filter(|(one, _)| vcpus_of(one).is_some()).map(|(one, zone)| Offer { instance_type: one.clone(), zone: zone.clone() });
        Ok(offers.filter(|offer| !self.supply.withdrawn.contains(offer)).collect())
    }

    /// `DescribeInstanceTypes`: vCPUs of each.
    pub fn describe_instance_types(&mut self, types: &[String]) -> ApiResult<Vec<(String, u32)>> {
        let one = |name: &String| {
            let unknown = || ApiError::new("InvalidInstanceType", format!("The following supplied instance types do not exist: [{name}]"));
            Ok((name.clone(), vcpus_of(name).ok_or_else(unknown)?))
        };
        types.iter().map(one).collect()
    }

    /// `servicequotas:GetServiceQuota` of the standard on-demand vCPUs.
    pub fn get_vcpu_quota(&mut self) -> ApiResult<u32> {
        Ok(self.supply.quota.unwrap_or(PLENTY))
    }

    /// Why EC2 would launch nothing of this version in this zone, in its words.
    pub(super) fn lacking(&self, version: &VersionSpec, zone: &str) -> Option<String> {
        let (supply, wanted) = (&self.supply, Offer { instance_type: version.instance_type.clone(), zone: zone.to_owned() });
        let what = if !supply.images.contains(&version.image) {
            format!("The image id '[{}]' does not exist.", version.image)
        } else if let Some(key) = version.key_pair.as_ref().filter(|key| !supply.key_pairs.contains(*key)) {
            format!("The key pair '{key}' does not exist.")
        } else if let Some(group) = version.security_groups.iter().find(|group| !supply.security_groups.contains(*group)) {
            format!("The security group '{group}' does not exist.")
        } else if supply.lost_subnets.contains(zone) {
            format!("The subnet ID '{}' does not exist.", subnet_of(zone))
        } else if supply.room.contains_key(zone) && self.addresses_left(zone) == 0 {
            format!("There are not enough free addresses in subnet '{}' to satisfy the requested number of instances.", subnet_of(zone))
        } else if supply.withdrawn.contains(&wanted) {
            format!(
                "Your requested instance type ({}) is not supported in your requested Availability Zone ({zone}).",
                wanted.instance_type
            )
        } else {
            let quota = supply.quota?;
            let living = self.instances.values().filter(|i| !i.ec2.is_over()).filter_map(|i| vcpus_of(&i.instance_type));
            let used = living.sum::<u32>() + vcpus_of(&version.instance_type).unwrap_or_default();
            if used <= quota {
                return None;
            }
            format!(
                "You have requested more vCPU capacity than your current vCPU limit of {quota} allows for the instance bucket that the specified instance type belongs to."
            )
        };
        Some(format!("{what} Launching EC2 instance failed."))
    }

    fn zones(&self) -> impl Iterator<Item = &str> {
        let others = self.groups.values().flat_map(|g| &g.zones).map(String::as_str).filter(|zone| !ZONES.contains(zone));
        ZONES.into_iter().chain(others)
    }

    fn addresses_taken(&self, zone: &str) -> u32 {
        u32::try_from(self.instances.values().filter(|i| i.zone == zone && !i.ec2.is_over()).count()).unwrap_or(u32::MAX)
    }

    fn addresses_left(&self, zone: &str) -> u32 {
        self.supply.room.get(zone).copied().unwrap_or(ADDRESSES).saturating_sub(self.addresses_taken(zone))
    }
}

/// Those that are asked for, or all; one that is not there makes the call fail.
fn known(all: &BTreeSet<String>, asked: &[String], code: &'static str, message: impl Fn(&str) -> String) -> ApiResult<Vec<String>> {
    if let Some(gone) = asked.iter().find(|id| !all.contains(*id)) {
        return Err(ApiError::new(code, message(gone)));
    }
    Ok(if asked.is_empty() { all.iter().cloned().collect() } else { asked.to_vec() })
}

/// What the size in a type's name means for most families; `None` for what is no size.
fn vcpus_of(instance_type: &str) -> Option<u32> {
    let (_family, size) = instance_type.split_once('.')?;
    match size {
        "nano" | "micro" | "small" | "medium" | "large" => Some(2),
        "xlarge" => Some(4),
        _ => size.strip_suffix("xlarge")?.parse::<u32>().ok()?.checked_mul(4),
    }
}
