//! Whether the restored groups could launch what they need (F54). Pure.
//!
//! What must stay true: only what AWS says is gone counts as gone; something that is in the way of some launches alone, or of none that is
//! needed now, is a warning and no more.

use std::collections::BTreeSet;

use super::super::ClusterPlan;
use super::super::Way;
use super::super::alive;
use super::Finding;
use super::Launches;
use crate::model::Group;
use crate::model::LaunchSource;
use crate::model::weight;
use crate::rollback::facts::Facts;
use crate::rollback::facts::supply::Look;
use crate::rollback::facts::supply::Supply;
use crate::rollback::facts::supply::is_standard;
use crate::rollback::facts::supply::sources;

/// AWS's word for an image that launches.
const AVAILABLE: &str = "available";

/// What is in the way of this group's launches.
pub(super) fn launches(cluster: &ClusterPlan, facts: &Facts, group: &Group, found: &mut Vec<Finding>) {
    let needed = needed(cluster, group);
    let all: BTreeSet<&LaunchSource> = sources(group).collect();
    for source in &all {
        let launches = Launches { needed, all: all.len() == 1 };
        match facts.supply.blueprints.get(*source) {
            Some(Look::There(_)) => named(group, source, &facts.supply, launches, found),
            Some(Look::Gone(words)) => found.push(Finding::LaunchSourceGone {
                group: group.name.clone(),
                source_name: (*source).clone(),
                words: words.clone(),
                launches,
            }),
            None => {}
        }
    }
    places(group, &facts.supply, needed, found);
    types(group, &facts.supply, needed, found);
}

/// Instances (or weights) that have to be launched: what is wanted, without those that live and those that wait in a warm pool.
fn needed(cluster: &ClusterPlan, group: &Group) -> u32 {
    let living = weight(alive(group));
    let warm = group.warm_pool.as_ref().map_or(0, |pool| pool.size);
    cluster.count.saturating_sub(living).saturating_sub(warm)
}

/// What the launch source names.
fn named(group: &Group, source: &LaunchSource, supply: &Supply, launches: Launches, found: &mut Vec<Finding>) {
    let Some(Look::There(blueprint)) = supply.blueprints.get(source) else { return };
    let of = || (group.name.clone(), source.clone());
    if let Some(image) = &blueprint.image {
        let state = match supply.images.get(image) {
            Some(Look::There(image)) => Some(image.state.clone()).filter(|state| state != AVAILABLE),
            Some(Look::Gone(_)) => Some("gone".to_owned()),
            None => None,
        };
        let (group, source_name) = of();
        found.extend(state.map(|state| Finding::ImageUnusable { group, source_name, image: image.clone(), state, launches }));
    }
    if let Some(key_pair) = blueprint.key_pair.as_ref().filter(|name| matches!(supply.key_pairs.get(*name), Some(Look::Gone(_)))) {
        let (group, source_name) = of();
        found.push(Finding::KeyPairGone { group, source_name, key_pair: key_pair.clone(), launches });
    }
    let gone = |id: &&String| matches!(supply.security_groups.get(*id), Some(Look::Gone(_)));
    let security_groups: Vec<String> = blueprint.security_groups.iter().filter(gone).cloned().collect();
    if !security_groups.is_empty() {
        let (group, source_name) = of();
        found.push(Finding::SecurityGroupGone { group, source_name, security_groups, launches });
    }
}

/// Where they would go.
fn places(group: &Group, supply: &Supply, needed: u32, found: &mut Vec<Finding>) {
    let looks: Vec<(&String, &Look<_>)> = group.subnets.iter().filter_map(|id| Some((id, supply.subnets.get(id)?))).collect();
    let gone: Vec<String> = looks.iter().filter(|(_, look)| matches!(look, Look::Gone(_))).map(|(id, _)| (*id).clone()).collect();
    let all_known = looks.len() == group.subnets.len();
    if !gone.is_empty() {
        let launches = Launches { needed, all: all_known && gone.len() == looks.len() };
        found.push(Finding::SubnetGone { group: group.name.clone(), subnets: gone.clone(), launches });
    }
    if !all_known || looks.len() == gone.len() {
        return;
    }
    let free = looks.iter().map(|(_, look)| match look {
        Look::There(subnet) => subnet.free_addresses,
        Look::Gone(_) => 0,
    });
    let free = free.fold(0, u32::saturating_add);
    // With weights fewer instances than the number says are needed: then nothing but none at all is certainly too few.
    let least = if group.is_weighted() { needed.min(1) } else { needed };
    if free < least.max(1) {
        found.push(Finding::SubnetsFull { group: group.name.clone(), free, launches: Launches { needed, all: true } });
    }
}

/// Whether what they would be can be had there.
fn types(group: &Group, supply: &Supply, needed: u32, found: &mut Vec<Finding>) {
    let types = supply.types_of(group);
    // Where nobody could say, it may be.
    let may_be_had = |zone: &&String| types.is_empty() || types.iter().any(|one| supply.is_offered(one, zone) != Some(false));
    let without: Vec<String> = group.availability_zones.iter().filter(|zone| !may_be_had(zone)).cloned().collect();
    if !without.is_empty() {
        let launches = Launches { needed, all: without.len() == group.availability_zones.len() };
        let types = types.into_iter().cloned().collect();
        found.push(Finding::TypeNotOffered { group: group.name.clone(), types, zones: without, launches });
    }
}

/// Whether the account may have what all clusters launch together. Only for what is certainly on-demand and of one size: of a mixed instances
/// policy nobody can say.
pub(super) fn quota(facts: &Facts, clusters: &[ClusterPlan]) -> Option<Finding> {
    let supply = &facts.supply;
    let (quota, used) = (supply.quota?, supply.vcpus_in_use()?);
    let of = |cluster: &ClusterPlan| {
        let group = facts.group(&cluster.restore.name).filter(|group| group.mixed.is_none())?;
        let one = *supply.types_of(group).first().filter(|one| is_standard(one))?;
        Some(needed(cluster, group).saturating_mul(*supply.vcpus.get(one)?))
    };
    let needed: u32 = clusters.iter().filter(|cluster| cluster.way != Way::PutBack).filter_map(of).sum();
    let free = quota.saturating_sub(used);
    (needed > free).then_some(Finding::QuotaShort { needed, free, quota })
}
