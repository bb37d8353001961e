//! What launches of the groups to be restored need, and whether it is there (F54).
//!
//! What must stay true: nothing here stops a rollback: what could not be read is kept as unread, with AWS's words, and judged by nobody as
//! gone; two rounds of reads side by side, each within [`ROUND`], whatever the number of groups. *Gone* is only what AWS says is gone.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use futures::future::try_join_all;
use futures::stream;
use serde::Serialize;
use tokio::time::timeout;

use super::IN_FLIGHT;
use super::patiently;
use crate::cloud;
use crate::cloud::Ask;
use crate::cloud::AutoScaling;
use crate::cloud::Blueprint;
use crate::cloud::Caller;
use crate::cloud::Compute;
use crate::cloud::Error;
use crate::cloud::Image;
use crate::cloud::Kind;
use crate::cloud::Offer;
use crate::cloud::Subnet;
use crate::cloud::Verdict;
use crate::cloud::permission::Need;
use crate::cloud::permission::On;
use crate::cloud::permission::ROLLBACK;
use crate::cloud::permission::classic_arn;
use crate::cloud::permission::told_of;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::LaunchSource;

/// Bound of each of the two rounds. EC2 answers in tenths of a second; who waits for a rollback does not wait longer for what it may do without.
const ROUND: Duration = Duration::from_secs(5);

/// Whom a look ahead asks.
#[derive(Clone, Copy)]
pub struct Ahead<'a> {
    /// Scaling policies.
    pub scaling: &'a dyn AutoScaling,
    /// What launches need.
    pub compute: &'a dyn Compute,
    /// What may be done.
    pub caller: &'a dyn Caller,
}

/// Resources that one ask names. Policies tell groups apart by application, seldom by more: what holds for so many holds for the rest.
const RESOURCES: usize = 50;

/// What a rollback would do to these groups, and to their load balancers.
fn asks(groups: &[Group]) -> Vec<Ask> {
    let arns = groups.iter().map(|group| group.arn.clone()).filter(|arn| !arn.is_empty()).take(RESOURCES).collect();
    let targets: BTreeSet<String> = groups.iter().flat_map(|group| &group.target_groups).map(|arn| arn.as_str().to_owned()).collect();
    let classics = groups.iter().flat_map(|group| group.classic_load_balancers.iter().filter_map(|name| classic_arn(&group.arn, name)));
    let about = |on: On, resources: Vec<String>| {
        let needed = ROLLBACK.iter().filter(|permission| permission.on == on && permission.need == Need::Always);
        let context = if on == On::Group { told_of(groups) } else { BTreeMap::new() };
        Ask { actions: needed.map(|permission| permission.action).collect(), resources, context, principal: None }
    };
    let all = [
        about(On::Group, arns),
        about(On::TargetGroup, targets.into_iter().take(RESOURCES).collect()),
        about(On::Classic, classics.collect::<BTreeSet<_>>().into_iter().take(RESOURCES).collect()),
    ];
    all.into_iter().filter(|ask| !ask.resources.is_empty()).collect()
}

/// Of all that is asked, what the credentials may plainly not do.
async fn forbidden(caller: &dyn Caller, asks: &[Ask]) -> cloud::Result<Vec<String>> {
    let found = try_join_all(asks.iter().map(|ask| caller.verdicts(ask))).await?;
    let denied = found.into_iter().flatten().filter(|(_, verdict)| *verdict == Verdict::Denied);
    Ok(denied.map(|(action, _)| action).collect::<BTreeSet<_>>().into_iter().collect())
}

/// What may fight the rollback once it has ended, and what launches need, of the groups that would be restored. Never fails.
pub async fn look_ahead(ahead: Ahead<'_>, restored: &[Group], held: &[Group], seed: u64) -> (Policies, Supply) {
    let Ahead { scaling, compute, caller } = ahead;
    let names: Vec<GroupName> = restored.iter().map(|group| group.name.clone()).collect();
    let policies = stream::iter(names).map(|name| async move {
        let found = bounded("DescribePolicies", patiently(seed, || scaling.policies(&name))).await;
        (name, found)
    });
    let policies = policies.buffer_unordered(IN_FLIGHT).collect::<Vec<_>>();
    let asks = asks(held);
    let forbidden = async {
        let found = bounded("SimulatePrincipalPolicy", patiently(seed, || forbidden(caller, &asks)));
        if asks.is_empty() { None } else { Some(found.await) }
    };
    let (policies, mut supply, forbidden) = futures::join!(policies, read(compute, restored, seed), forbidden);
    let forbidden = forbidden.and_then(|found| supply.answered("what these credentials may do", "iam:SimulatePrincipalPolicy", found));
    supply.forbidden = forbidden.unwrap_or_default();
    let mut by_group = Policies::new();
    for (name, found) in policies {
        let found = supply.answered("scaling policies", "autoscaling:DescribePolicies", found);
        by_group.extend(found.map(|policies| (name, policies)));
    }
    supply.unread.sort();
    supply.unread.dedup_by(|one, other| one.what == other.what);
    (by_group, supply)
}

/// Names of scaling policies by group.
pub type Policies = BTreeMap<GroupName, Vec<String>>;

/// Families that share the quota of standard on-demand instances, by the letters before their generation (EC2 User Guide, "On-Demand
/// Instance quotas", read 2026-11).
const STANDARD: [&str; 11] = ["a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"];

/// Whether instances of this type count against the quota of the standard families.
pub fn is_standard(instance_type: &str) -> bool {
    let letters = instance_type.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(0);
    STANDARD.contains(&&instance_type[..letters])
}

/// What was found of what launches need. What is in no map was not asked for, or is told of in `unread`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Supply {
    /// Launch templates' versions, and launch configurations.
    pub blueprints: BTreeMap<LaunchSource, Look<Blueprint>>,
    /// Images by id.
    pub images: BTreeMap<String, Look<Image>>,
    /// Key pairs by name.
    pub key_pairs: BTreeMap<String, Look<()>>,
    /// Security groups by id.
    pub security_groups: BTreeMap<String, Look<()>>,
    /// Subnets by id.
    pub subnets: BTreeMap<String, Look<Subnet>>,
    /// Which types can be had where; `None` when nobody could say.
    pub offers: Option<BTreeSet<Offer>>,
    /// vCPUs of each type that runs or would be launched.
    pub vcpus: BTreeMap<String, u32>,
    /// The account's on-demand instances that run, by type.
    pub running: Option<BTreeMap<String, u32>>,
    /// vCPUs that those of the standard families may have together.
    pub quota: Option<u32>,
    /// What IAM says that these credentials may not do, of all that a rollback does.
    pub forbidden: Vec<String>,
    /// What could not be read, here and of scaling policies.
    pub unread: Vec<Unread>,
}

/// What was found of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Look<T> {
    /// It is there.
    There(T),
    /// AWS says that it is not; its words.
    Gone(String),
}

/// A read that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Unread {
    /// Of what, for people.
    pub what: &'static str,
    /// The permission that it takes.
    pub permission: &'static str,
    /// Not allowed; otherwise it may work the next time.
    pub denied: bool,
    /// AWS's words.
    pub problem: String,
}

/// Where instances of this group may come from: its launch source, and those of single choices of a mixed instances policy.
pub fn sources(group: &Group) -> impl Iterator<Item = &LaunchSource> {
    group.launch.iter().chain(group.mixed.iter().flatten().filter_map(|choice| choice.launch.as_ref()))
}

impl Supply {
    /// Types that a launch of this group may choose from; empty where nobody could say, or where AWS chooses by requirements.
    pub fn types_of<'a>(&'a self, group: &'a Group) -> BTreeSet<&'a String> {
        let chosen: BTreeSet<&String> = group.mixed.iter().flatten().filter_map(|choice| choice.instance_type.as_ref()).collect();
        if !chosen.is_empty() {
            return chosen;
        }
        sources(group)
            .filter_map(|source| match self.blueprints.get(source) {
                Some(Look::There(blueprint)) => blueprint.instance_type.as_ref(),
                Some(Look::Gone(_)) | None => None,
            })
            .collect()
    }

    /// vCPUs that the account's on-demand instances of the standard families have; `None` when nobody could say.
    pub fn vcpus_in_use(&self) -> Option<u32> {
        let standard = self.running.as_ref()?.iter().filter(|(one, _)| is_standard(one));
        let each = standard.map(|(one, count)| Some(count.saturating_mul(*self.vcpus.get(one)?)));
        each.reduce(|sum, one| Some(sum?.saturating_add(one?))).unwrap_or(Some(0))
    }

    /// Whether this type can be had in this zone; `None` when nobody could say.
    pub fn is_offered(&self, instance_type: &str, zone: &str) -> Option<bool> {
        let offer = Offer { instance_type: instance_type.to_owned(), zone: zone.to_owned() };
        self.offers.as_ref().map(|offers| offers.contains(&offer))
    }

    fn blueprint_parts<'a>(&'a self, part: impl Fn(&'a Blueprint) -> Vec<&'a String>) -> BTreeSet<String> {
        let there = self.blueprints.values().filter_map(|look| match look {
            Look::There(blueprint) => Some(blueprint),
            Look::Gone(_) => None,
        });
        there.flat_map(part).cloned().collect()
    }
}

async fn read(compute: &dyn Compute, groups: &[Group], seed: u64) -> Supply {
    let mut supply = Supply::default();
    let all: BTreeSet<LaunchSource> = groups.iter().flat_map(sources).cloned().collect();
    if all.is_empty() {
        return supply;
    }
    let blueprints = stream::iter(all).map(|source| async move {
        let found = bounded("DescribeLaunchTemplateVersions", patiently(seed, || compute.blueprint(&source))).await;
        (source, found)
    });
    let blueprints = blueprints.buffer_unordered(IN_FLIGHT).collect::<Vec<_>>();
    let running = bounded("DescribeInstances", patiently(seed, || compute.running()));
    let quota = bounded("GetServiceQuota", patiently(seed, || compute.vcpu_quota()));
    let (blueprints, running, quota) = futures::join!(blueprints, running, quota);
    for (source, found) in blueprints {
        let permission = match source.version {
            Some(_) => "ec2:DescribeLaunchTemplateVersions",
            None => "autoscaling:DescribeLaunchConfigurations",
        };
        supply.keep("what instances are launched from", permission, found, |supply, look| drop(supply.blueprints.insert(source, look)));
    }
    supply.running = supply.answered("how many vCPUs are in use", "ec2:DescribeInstances", running);
    supply.quota = supply.answered("the account's vCPU quota", "servicequotas:GetServiceQuota", quota);

    let images = supply.blueprint_parts(|blueprint| blueprint.image.iter().collect());
    let key_pairs = supply.blueprint_parts(|blueprint| blueprint.key_pair.iter().collect());
    let security_groups = supply.blueprint_parts(|blueprint| blueprint.security_groups.iter().collect());
    let subnets: BTreeSet<String> = groups.iter().flat_map(|group| &group.subnets).cloned().collect();
    let types: Vec<String> = groups.iter().flat_map(|group| supply.types_of(group)).cloned().collect::<BTreeSet<_>>().into_iter().collect();
    let zones: Vec<String> =
        groups.iter().flat_map(|group| &group.availability_zones).cloned().collect::<BTreeSet<_>>().into_iter().collect();
    let sized: Vec<String> =
        supply.running.iter().flat_map(BTreeMap::keys).chain(&types).cloned().collect::<BTreeSet<_>>().into_iter().collect();

    let named = |ids: Vec<String>| ids.into_iter().map(|id| (id, ())).collect::<Vec<_>>();
    let images = each("DescribeImages", images, |ids| async move {
        Ok(patiently(seed, || compute.images(&ids)).await?.into_iter().map(|image| (image.id.clone(), image)).collect())
    });
    let key_pairs =
        each(
            "DescribeKeyPairs",
            key_pairs,
            |names| async move { patiently(seed, || compute.key_pairs(&names)).await.map(|()| named(names)) },
        );
    let security_groups = each("DescribeSecurityGroups", security_groups, |ids| async move {
        patiently(seed, || compute.security_groups(&ids)).await.map(|()| named(ids))
    });
    let subnets = each("DescribeSubnets", subnets, |ids| async move {
        Ok(patiently(seed, || compute.subnets(&ids)).await?.into_iter().map(|subnet| (subnet.id.clone(), subnet)).collect())
    });
    let offers = async {
        let ask = patiently(seed, || compute.offers(&types, &zones));
        if types.is_empty() { None } else { Some(bounded("DescribeInstanceTypeOfferings", ask).await) }
    };
    let vcpus = async {
        let ask = patiently(seed, || compute.vcpus(&sized));
        if sized.is_empty() { None } else { Some(bounded("DescribeInstanceTypes", ask).await) }
    };
    let (images, key_pairs, security_groups, subnets, offers, vcpus) =
        futures::join!(images, key_pairs, security_groups, subnets, offers, vcpus);
    supply.images = supply.all("images", "ec2:DescribeImages", images);
    supply.key_pairs = supply.all("key pairs", "ec2:DescribeKeyPairs", key_pairs);
    supply.security_groups = supply.all("security groups", "ec2:DescribeSecurityGroups", security_groups);
    supply.subnets = supply.all("subnets", "ec2:DescribeSubnets", subnets);
    supply.offers =
        offers.and_then(|found| supply.answered("where instance types are offered", "ec2:DescribeInstanceTypeOfferings", found));
    let vcpus = vcpus.and_then(|found| supply.answered("how many vCPUs instance types have", "ec2:DescribeInstanceTypes", found));
    supply.vcpus = vcpus.unwrap_or_default();
    supply
}

type Found<T> = Vec<(Vec<String>, cloud::Result<Vec<(String, T)>>)>;

/// Asks for all at once; when AWS says that one of them is gone, for each by itself.
async fn each<T, F: Future<Output = cloud::Result<Vec<(String, T)>>>>(
    action: &'static str,
    ids: BTreeSet<String>,
    ask: impl Fn(Vec<String>) -> F,
) -> Found<T> {
    let ids: Vec<String> = ids.into_iter().collect();
    if ids.is_empty() {
        return Vec::new();
    }
    match bounded(action, ask(ids.clone())).await {
        Err(error) if error.kind == Kind::Gone && ids.len() > 1 => {}
        other => return vec![(ids, other)],
    }
    let asked = ids.into_iter().map(|id| {
        let found = ask(vec![id.clone()]);
        async move { (vec![id], bounded(action, found).await) }
    });
    stream::iter(asked.collect::<Vec<_>>()).buffer_unordered(IN_FLIGHT).collect().await
}

async fn bounded<T>(action: &'static str, read: impl Future<Output = cloud::Result<T>>) -> cloud::Result<T> {
    let late = |_| Error::classify(action, "Timeout", 0, "no answer in time; not waited for any longer", None);
    timeout(ROUND, read).await.map_err(late)?
}

impl Supply {
    fn keep<T>(&mut self, what: &'static str, permission: &'static str, found: cloud::Result<T>, keep: impl FnOnce(&mut Self, Look<T>)) {
        match found {
            Ok(found) => keep(self, Look::There(found)),
            Err(error) if error.kind == Kind::Gone => keep(self, Look::Gone(error.message)),
            Err(error) => self.unread.push(Unread { what, permission, denied: error.kind == Kind::Denied, problem: error.to_string() }),
        }
    }

    fn answered<T>(&mut self, what: &'static str, permission: &'static str, found: cloud::Result<T>) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(error) => {
                self.unread.push(Unread { what, permission, denied: error.kind == Kind::Denied, problem: error.to_string() });
                None
            }
        }
    }

    fn all<T>(&mut self, what: &'static str, permission: &'static str, found: Found<T>) -> BTreeMap<String, Look<T>> {
        let mut all = BTreeMap::new();
        for (asked, found) in found {
            match found {
                Ok(found) => all.extend(found.into_iter().map(|(id, one)| (id, Look::There(one)))),
                Err(error) if error.kind == Kind::Gone => all.extend(asked.into_iter().map(|id| (id, Look::Gone(error.message.clone())))),
                Err(error) => {
                    self.unread.push(Unread { what, permission, denied: error.kind == Kind::Denied, problem: error.to_string() });
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_families_are_told_from_those_with_quotas_of_their_own() {
        assert!(
            ["m5.large", "c7gn.xlarge", "t3.micro", "im4gn.large", "i4i.large", "r6i.2xlarge", "z1d.large"].into_iter().all(is_standard)
        );
        let others =
            ["inf1.xlarge", "trn1.2xlarge", "dl1.24xlarge", "hpc6a.48xlarge", "mac1.metal", "g5.xlarge", "u-6tb1.metal", "x1.32xlarge", ""];
        assert!(!others.into_iter().any(is_standard));
    }

    #[test]
    fn vcpus_of_a_type_that_nobody_knows_make_the_sum_unknown_and_other_families_do_not_count() {
        let running = |types: &[&str]| Some(types.iter().map(|one| ((*one).to_owned(), 3)).collect());
        let vcpus = BTreeMap::from([("m5.large".to_owned(), 2), ("c5.xlarge".to_owned(), 4)]);
        let supply = |types: &[&str]| Supply { running: running(types), vcpus: vcpus.clone(), ..Supply::default() };
        assert_eq!(supply(&["m5.large", "c5.xlarge", "g5.xlarge"]).vcpus_in_use(), Some(18));
        assert_eq!(supply(&["m5.large", "m9.large"]).vcpus_in_use(), None);
        assert_eq!(supply(&[]).vcpus_in_use(), Some(0));
        assert_eq!(Supply::default().vcpus_in_use(), None);
    }
}
