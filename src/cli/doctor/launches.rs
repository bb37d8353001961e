//! What the groups that would be restored are launched from, on a day on which all of it may be there.

use serde::Serialize;

use crate::model::Group;
use crate::model::GroupName;
use crate::rollback::facts::Supply;
use crate::rollback::facts::supply::Look;
use crate::rollback::facts::supply::sources;

/// What was seen for one group. What could not be seen is in no list; the plan's notes say why.
#[derive(Debug, Serialize)]
pub(super) struct Launches {
    group: GroupName,
    /// Launch templates with versions, or launch configurations.
    from: Vec<String>,
    /// Images, and how they are.
    images: Vec<(String, String)>,
    key_pairs: Vec<String>,
    security_groups: Vec<String>,
    /// Types it may be, and the zones that offer each.
    types: Vec<(String, Vec<String>)>,
    subnets: Vec<String>,
    free_addresses: u32,
}

/// vCPUs of the account, as far as a quota bounds them.
#[derive(Debug, Serialize)]
pub(super) struct Vcpus {
    in_use: u32,
    quota: u32,
}

impl Launches {
    pub(super) fn of(group: &Group, supply: &Supply) -> Self {
        let blueprints = || {
            sources(group).filter_map(|source| match supply.blueprints.get(source) {
                Some(Look::There(blueprint)) => Some(blueprint),
                Some(Look::Gone(_)) | None => None,
            })
        };
        let image = |id: &String| match supply.images.get(id) {
            Some(Look::There(image)) => Some((id.clone(), image.state.clone())),
            Some(Look::Gone(_)) => Some((id.clone(), "gone".to_owned())),
            None => None,
        };
        let offered =
            |one: &String| group.availability_zones.iter().filter(|zone| supply.is_offered(one, zone) == Some(true)).cloned().collect();
        let subnets = || {
            group.subnets.iter().filter_map(|id| match supply.subnets.get(id) {
                Some(Look::There(subnet)) => Some(subnet),
                Some(Look::Gone(_)) | None => None,
            })
        };
        Self {
            group: group.name.clone(),
            from: sources(group).map(ToString::to_string).collect(),
            images: blueprints().filter_map(|blueprint| image(blueprint.image.as_ref()?)).collect(),
            key_pairs: blueprints()
                .filter_map(|blueprint| blueprint.key_pair.clone())
                .filter(|key| is_there(supply.key_pairs.get(key)))
                .collect(),
            security_groups: blueprints()
                .flat_map(|blueprint| &blueprint.security_groups)
                .filter(|id| is_there(supply.security_groups.get(*id)))
                .cloned()
                .collect(),
            types: supply.types_of(group).into_iter().map(|one| (one.clone(), offered(one))).collect(),
            subnets: subnets().map(|subnet| subnet.id.clone()).collect(),
            free_addresses: subnets().map(|subnet| subnet.free_addresses).fold(0, u32::saturating_add),
        }
    }
}

fn is_there<T>(look: Option<&Look<T>>) -> bool {
    matches!(look, Some(Look::There(_)))
}

impl Vcpus {
    pub(super) fn of(supply: &Supply) -> Option<Self> {
        Some(Self { in_use: supply.vcpus_in_use()?, quota: supply.quota? })
    }
}

impl std::fmt::Display for Launches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { group, .. } = self;
        if self.from.is_empty() {
            return write!(f, "{group}: AWS does not say what it launches");
        }
        write!(f, "{group} launches {}", self.from.join(", "))?;
        for (id, state) in &self.images {
            write!(f, "; {id} is {state}")?;
        }
        for key_pair in &self.key_pairs {
            write!(f, "; key pair {key_pair} is there")?;
        }
        if !self.security_groups.is_empty() {
            write!(f, "; {} there", self.security_groups.join(", "))?;
        }
        for (one, zones) in self.types.iter().filter(|(_, zones)| !zones.is_empty()) {
            write!(f, "; {one} in {}", zones.join(", "))?;
        }
        if !self.subnets.is_empty() {
            write!(f, "; {} free addresses in {}", self.free_addresses, self.subnets.join(", "))?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Vcpus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} vCPUs of standard on-demand instances are in use", self.in_use, self.quota)
    }
}
