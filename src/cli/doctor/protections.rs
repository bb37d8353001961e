//! Members that are protected from scale-in where nothing of a rollback stands: a busy agent's (`heed.protect`), or left behind by one that is gone.
//!
//! What AWS shows does not tell which: a person looks. Left behind, they keep a group from shrinking for ever.

use std::fmt;

use serde::Serialize;

use crate::model::Group;
use crate::model::GroupName;
use crate::model::HOLD_TAG;
use crate::model::InstanceId;
use crate::model::RECORD_TAG;

/// Instances that are named; the rest is counted.
const MOST_NAMED: usize = 10;

/// The protected members of one group.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Protections {
    group: GroupName,
    instances: Vec<InstanceId>,
}

impl Protections {
    /// `None` where there are none, or where a rollback holds the group or has not ended: it protects members itself.
    pub(super) fn of(group: &Group) -> Option<Self> {
        let is_a_rollbacks = [HOLD_TAG, RECORD_TAG].iter().any(|tag| group.tags.contains_key(*tag));
        let instances: Vec<InstanceId> = group.instances.iter().filter(|i| i.protected).map(|i| i.id.clone()).collect();
        (!is_a_rollbacks && !instances.is_empty()).then(|| Self { group: group.name.clone(), instances })
    }
}

impl fmt::Display for Protections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, instances } = self;
        let named: Vec<&str> = instances.iter().take(MOST_NAMED).map(InstanceId::as_str).collect();
        let more = instances.len() - named.len();
        let and = if more > 0 { format!(" and {more} more") } else { String::new() };
        writeln!(f, "[protection-left] {group}: protected from scale-in, and by no rollback: {}{and}", named.join(" "))?;
        write!(
            f,
            "  next: where `bellrock status` there says idle, or nobody answers: aws autoscaling set-instance-protection --auto-scaling-group-name {group} \
             --no-protected-from-scale-in --instance-ids {} (runbooks/protection-left.md)",
            named.join(" ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing;

    fn group(protected: &[bool], tag: Option<&str>) -> Group {
        let mut group = testing::group("shop-main-v001", 0, (1, 3, 20), (0..protected.len()).map(|n| format!("i-{n}")));
        for (instance, protected) in group.instances.iter_mut().zip(protected) {
            instance.protected = *protected;
        }
        group.tags.extend(tag.map(|tag| (tag.to_owned(), "x".to_owned())));
        group
    }

    #[test]
    fn protected_members_are_named_unless_a_rollback_protects_them() {
        let found = Protections::of(&group(&[true, false, true], None)).unwrap();
        assert_eq!(found.instances.len(), 2);
        let said = found.to_string();
        assert!(said.starts_with("[protection-left] shop-main-v001: protected from scale-in, and by no rollback: i-"), "{said}");
        assert!(said.contains("--no-protected-from-scale-in --instance-ids i-"), "{said}");
        assert_eq!(Protections::of(&group(&[false, false], None)), None);
        for tag in [HOLD_TAG, RECORD_TAG] {
            assert_eq!(Protections::of(&group(&[true], Some(tag))), None, "{tag}");
        }
        assert!(Protections::of(&group(&[true; 12], None)).unwrap().to_string().contains("and 2 more"));
    }
}
