//! Which instances of the newest group are kept for the post-mortem, and what a person should know of it. Pure.

use super::super::facts::Facts;
use super::super::kept;
use super::super::record::Record;
use super::Choice;
use super::GroupPlan;
use super::Request;
use super::Way;
use crate::model::Capacity;
use crate::model::Group;
use crate::model::InstanceId;

/// An earlier run's choice, which the group's tag tells, or a new one. Nobody of a singleton: the kept one could go on polling. Nobody besides those that
/// an earlier rollback keeps.
pub(super) fn kept(request: &Request, facts: &Facts, choice: &Choice<'_>, group: &Group, record: &Record) -> Vec<InstanceId> {
    let newest = choice.retire.last().is_some_and(|newest| newest.group.name == group.name);
    if record.keeps {
        kept::named(group)
    } else if choice.way == Way::Rollback && newest && choice.singleton.is_none() && kept::in_standby(group).next().is_none() {
        kept::choose(facts, group, request.keep_bad)
    } else {
        Vec::new()
    }
}

pub(super) fn notes(request: &Request, choice: &Choice<'_>, retire: &[GroupPlan]) -> Vec<String> {
    let mut notes = Vec::new();
    for group in retire.iter().filter(|g| !g.kept.is_empty()) {
        notes.push(format!(
            "{}: {} {} kept for the post-mortem, in standby: no traffic, not counted, not checked, not replaced; its agent closes intake, and without one \
             it goes on taking work",
            group.name,
            kept::text(&group.kept).replace(' ', ", "),
            if group.kept.len() == 1 { "is" } else { "are" },
        ));
    }
    let Some(newest) = choice.retire.last().filter(|_| request.keep_bad > 0 && notes.is_empty() && choice.way == Way::Rollback) else {
        return notes;
    };
    let name = &newest.group.name;
    let earlier: Vec<InstanceId> = kept::in_standby(&newest.group).map(|i| i.id.clone()).collect();
    notes.push(if choice.singleton.is_some() {
        format!("{name}: nobody is kept, since a kept poller could go on polling; get what the post-mortem needs before")
    } else if earlier.is_empty() {
        format!("{name}: nobody is in service, so that nobody is kept")
    } else {
        format!("{name}: an earlier rollback keeps {} already, and nobody else is", kept::text(&earlier).replace(' ', ", "))
    });
    notes
}

/// The sizes of a group that was to go when it is left as it was after all: min had to give way for those that were to be kept.
pub(super) fn min_back(group: &Group) -> Capacity {
    let found = Record::parse(&group.tags).ok().flatten().filter(|record| record.keeps).map(|record| record.found.capacity);
    let min = found.map_or(group.capacity.min, |found| found.min.max(group.capacity.min));
    Capacity { min, desired: group.capacity.desired.max(min), ..group.capacity }
}
