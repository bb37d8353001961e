//! A step as a call to the cloud; two where a tag has to be put back before others go.

use super::super::World;
use super::super::advance::CapacityTag;
use super::super::advance::Step;
use super::super::facts::Backend;
use super::super::kept;
use super::super::kept::KEPT_TAG;
use super::super::record;
use super::super::record::Record;
use super::super::wishes::WISHES_TAGS;
use crate::cloud;
use crate::cloud::Receipt;
use crate::cloud::Resize;
use crate::cloud::TargetId;
use crate::model::CAPACITY_TAG;
use crate::model::HOLD_TAG;
use crate::model::InstanceId;

pub(super) async fn carry_out(world: &World<'_>, step: &Step) -> cloud::Result<Receipt> {
    let targets = |list: &[(InstanceId, Option<u16>)]| -> Vec<TargetId> {
        list.iter().map(|(instance, port)| TargetId { instance: instance.clone(), port: *port }).collect()
    };
    let ids = |list: &[(InstanceId, Option<u16>)]| -> Vec<InstanceId> { list.iter().map(|(instance, _)| instance.clone()).collect() };
    match step {
        Step::Hold { group, hold, record, asked, capacity, kept } => {
            let mut tags = hold.to_tags().to_vec();
            tags.extend(record.iter().flat_map(Record::to_tags));
            tags.extend(asked.iter().flat_map(|asked| asked.to_tags()));
            tags.extend((!kept.is_empty()).then(|| (KEPT_TAG.to_owned(), kept::text(kept))));
            tags.extend(capacity.map(|capacity| (CAPACITY_TAG.to_owned(), capacity.to_string())));
            world.scaling.put_tags(group, &tags).await
        }
        // Min raises desired by itself. An absolute number from a look that was too old would end instances that came since (S13).
        Step::Resize { group, from, to } => {
            let by_min = to.desired > from.desired && to.min >= to.desired;
            let desired = (to.desired != from.desired && !by_min).then_some(to.desired);
            world.scaling.resize(group, Resize { min: Some(to.min), max: Some(to.max), desired }).await
        }
        Step::Protect { group, instances, protected } => world.scaling.protect(group, instances, *protected).await,
        Step::Standby { group, instances, .. } => world.scaling.enter_standby(group, instances).await,
        Step::Suspend { group, processes } => world.scaling.suspend(group, processes).await,
        Step::Resume { group, processes } => world.scaling.resume(group, processes).await,
        Step::Register { backend, targets: who } => match backend {
            Backend::TargetGroup(arn) => world.balancing.register_targets(arn, &targets(who)).await,
            Backend::Classic(name) => world.balancing.register_classic(name, &ids(who)).await,
        },
        Step::Deregister { backend, targets: who } => match backend {
            Backend::TargetGroup(arn) => world.balancing.deregister_targets(arn, &targets(who)).await,
            Backend::Classic(name) => world.balancing.deregister_classic(name, &ids(who)).await,
        },
        Step::Release { group, capacity, unkept } => {
            let mut keys: Vec<String> = record::keys().chain(WISHES_TAGS.map(str::to_owned)).chain([HOLD_TAG.to_owned()]).collect();
            keys.extend(unkept.then(|| KEPT_TAG.to_owned()));
            match capacity {
                CapacityTag::Kept => {}
                CapacityTag::Deleted => keys.push(CAPACITY_TAG.to_owned()),
                CapacityTag::Set(text) => drop(world.scaling.put_tags(group, &[(CAPACITY_TAG.to_owned(), text.clone())]).await?),
            }
            world.scaling.delete_tags(group, &keys).await
        }
    }
}
