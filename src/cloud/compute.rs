//! EC2, as much of it as says whether a launch could come to anything. Reads only.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use async_trait::async_trait;
use serde::Serialize;

use super::Result;
use crate::model::LaunchSource;

/// What launches need. Everything that is asked for by its id is there, or the whole call fails as [`Gone`](super::Kind::Gone): EC2 names
/// what is missing, and absence from a list is no proof of anything (F15).
#[async_trait]
pub trait Compute: Send + Sync + 'static {
    /// What a launch from this template version, or launch configuration, would ask for; aliases in it are resolved.
    async fn blueprint(&self, source: &LaunchSource) -> Result<Blueprint>;

    /// These images.
    async fn images(&self, ids: &[String]) -> Result<Vec<Image>>;

    /// That these key pairs are there, by name.
    async fn key_pairs(&self, names: &[String]) -> Result<()>;

    /// That these security groups are there, by id.
    async fn security_groups(&self, ids: &[String]) -> Result<()>;

    /// These subnets.
    async fn subnets(&self, ids: &[String]) -> Result<Vec<Subnet>>;

    /// In which of these zones which of these types can be had. Here absence counts: a type that AWS does not know is offered nowhere.
    async fn offers(&self, types: &[String], zones: &[String]) -> Result<BTreeSet<Offer>>;

    /// vCPUs of an instance of each of these types.
    async fn vcpus(&self, types: &[String]) -> Result<BTreeMap<String, u32>>;

    /// On-demand instances of the account in this region that are starting or running, by type.
    async fn running(&self) -> Result<BTreeMap<String, u32>>;

    /// vCPUs that the account's running on-demand instances of the standard families (A, C, D, H, I, M, R, T, Z) may have together.
    async fn vcpu_quota(&self) -> Result<u32>;
}

/// What a launch asks EC2 for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Blueprint {
    /// AMI id.
    pub image: Option<String>,
    /// EC2 type; `None` where the group says it, or AWS chooses.
    pub instance_type: Option<String>,
    /// Name of a key pair.
    pub key_pair: Option<String>,
    /// Ids of security groups, those of network interfaces too. Groups given by name are left out: they exist in default VPCs alone.
    pub security_groups: Vec<String>,
}

/// An AMI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// AWS's word; nothing but `available` launches.
    pub state: String,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subnet {
    /// Its id.
    pub id: String,
    /// Name of its zone.
    pub zone: String,
    /// IPv4 addresses that nobody has.
    pub free_addresses: u32,
}

/// A type that can be had in a zone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Offer {
    /// EC2 type.
    pub instance_type: String,
    /// Zone name.
    pub zone: String,
}
