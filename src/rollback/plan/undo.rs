//! The plan that puts a cluster back as an unfinished rollback found it: nothing has ended yet that cannot come back. Pure.
//!
//! What must stay true: of the groups that were to go nothing but frozen processes and load balancers had been changed, so that their sizes stay
//! as they are, whoever set them; the restored group gets its own sizes again, and loses nobody but those that were added. Where the record does not
//! say who those are, desired stays.

use super::super::facts::Facts;
use super::super::facts::backends_of;
use super::super::record::Record;
use super::super::record::Role;
use super::super::share::Shares;
use super::Choice;
use super::ClusterPlan;
use super::GroupPlan;
use super::Request;
use super::Setup;
use super::Shape;
use super::frozen;
use super::generation_of;
use super::keep;
use super::record;
use super::unfrozen;
use crate::model::Capacity;
use crate::model::Group;
use crate::model::Timestamp;

pub(super) fn put_back(request: &Request, facts: &Facts, choice: &Choice<'_>, now: Timestamp) -> ClusterPlan {
    let restore = &choice.restore.group;
    let earlier = Record::parse(&restore.tags).ok().flatten();
    let count = earlier.as_ref().map_or(0, |record| record.count);
    let is_known = earlier.as_ref().is_none_or(|record| record.members.is_some());
    let found = earlier.map_or_else(|| Shape::of(restore), |record| record.found);
    let (current, then) = (restore.capacity, found.capacity);
    let desired = if is_known { then.desired } else { then.desired.max(current.desired) };
    let after = Shape { capacity: Capacity { desired, max: then.max.max(desired), ..then }, ..found };
    let group = |group: &Group, role: Role, after: Shape| GroupPlan {
        name: group.name.clone(),
        before: Shape::of(group),
        setup: Setup::of(group),
        members: group.instances.len(),
        during: after.capacity,
        after,
        frozen: frozen(group),
        record: record(group, role, choice, count),
        kept: Vec::new(),
    };
    let retire = choice.retire.iter().map(|v| &v.group);
    let retire = retire.map(|g| group(g, Role::Retire, Shape { capacity: keep::min_back(g), suspended: unfrozen(g) })).collect();
    let backends = backends_of(restore);
    let mut notes = vec!["undone: every group goes back to what the rollback found".to_owned()];
    if current.desired > desired {
        notes.push(format!(
            "{}: {} instances become {desired} again; those that were found are protected from scale-in meanwhile, so that those that were added end",
            restore.name, current.desired
        ));
    } else if desired > then.desired {
        notes.push(format!(
            "{}: desired stays {desired} and does not become {} again: which instances were added is not on record, and none that works is to end",
            restore.name, then.desired
        ));
    }
    ClusterPlan {
        cluster: choice.cluster.to_owned(),
        way: choice.way,
        singleton: choice.singleton.is_some(),
        restore: group(restore, Role::Restore, after),
        retire,
        bystanders: choice.bystanders.iter().map(|v| v.group.name.clone()).collect(),
        versions: choice.versions.iter().map(|v| v.group.name.clone()).collect(),
        share: None,
        shares: Shares::default(),
        count,
        is_guess: false,
        generation: generation_of(request, choice, now).0,
        resume: Vec::new(),
        canary: None,
        first_health: backends.iter().filter_map(|b| facts.backends.get(b)).map(|f| f.first_health).max().unwrap_or_default(),
        backends,
        notes,
    }
}
