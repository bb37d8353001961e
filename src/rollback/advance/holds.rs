//! The hold on all groups of a cluster: put, kept alive, and how long agents have had to see it, and taken off in the end.

use std::time::Duration;

use super::super::plan::Way;
use super::super::record;
use super::super::wishes::Wishes;
use super::CapacityTag;
use super::Look;
use super::Next;
use super::Progress;
use super::STALE;
use super::Stage;
use super::Step;
use crate::model::GroupName;
use crate::model::HOLD_TTL;
use crate::model::Hold;
use crate::model::Moment;

/// A tag shows at the latest so long after the time it was made out for: the wait for a place among the calls in flight, and the call.
const WRITTEN_WITHIN: Duration = Duration::from_secs(40);

impl Progress {
    fn hold_step(look: &Look<'_>, group: &GroupName) -> Step {
        let hold = Hold { generation: look.plan.generation, owner: look.request.owner.clone(), expires: look.at.wall.plus(HOLD_TTL) };
        let plan = look.plan;
        let planned = plan.groups().find(|g| &g.name == group);
        let capacity = match plan.way {
            Way::PutBack => None,
            Way::Rollback | Way::Forward if *group == plan.restore.name => Some(plan.restore.after.capacity),
            // Whoever is kept has gone from these sizes by the time a rerun reads them.
            Way::Rollback | Way::Forward => planned
                .filter(|g| g.before.capacity.desired > 0)
                .map(|g| if g.record.keeps { g.record.found.capacity } else { g.before.capacity }),
        };
        let kept = planned.map(|g| g.kept.clone()).unwrap_or_default();
        // An undoing that stops may be thought better of: then the rollback goes on as it was begun.
        let asked = planned.filter(|_| plan.way != Way::PutBack).map(|planned| {
            let room = look.facts.group(group).map_or(0, |group| record::room_for_wishes(&group.tags, &planned.record));
            Box::new(Wishes::of(look.request).among(plan.shares.clone(), room))
        });
        Step::Hold { group: group.clone(), hold, record: planned.map(|g| g.record.clone()), asked, capacity, kept }
    }

    /// A hold that we put and that is not to be seen any more, or has expired while this machine slept: agents may have gone on meanwhile,
    /// so all begins again with the hold. Every step may be repeated.
    pub(super) fn hold_anew_what_lapsed(&mut self, look: &Look<'_>) {
        if self.stage() >= Stage::Release {
            return;
        }
        let is_live = |name: &GroupName| {
            let hold = look.facts.group(name).and_then(|g| Hold::parse(&g.tags).ok().flatten());
            hold.is_some_and(|hold| hold.is_live(look.at.wall))
        };
        let lapsed = |name: &&GroupName| self.holds.get(*name).is_some_and(|put| age(*put, look.at) >= STALE) && !is_live(name);
        let lapsed: Vec<GroupName> = look.there().filter(lapsed).cloned().collect();
        if !lapsed.is_empty() {
            self.holds.retain(|name, _| !lapsed.contains(name));
            self.held_since = None;
            self.held_before = Duration::ZERO;
            self.agreeing = 0;
            self.at = 0;
        }
    }

    /// Holds that we put and that have used up half their life.
    pub(super) fn overdue_holds(&self, look: &Look<'_>) -> Vec<Step> {
        let overdue = |g: &&GroupName| {
            let put = self.holds.get(*g).filter(|_| !self.released.contains(*g) && self.stage() < Stage::Release);
            put.is_some_and(|put| age(*put, look.at) > HOLD_TTL / 2)
        };
        look.there().filter(overdue).map(|g| Self::hold_step(look, g)).collect()
    }

    pub(super) fn hold(&mut self, look: &Look<'_>) -> Option<Next> {
        if !look.is_surveyed() {
            return Some(Next::Survey);
        }
        if self.holds.is_empty() {
            self.held_before = held_before(look);
        }
        let missing: Vec<Step> = look.there().filter(|g| !self.holds.contains_key(*g)).map(|g| Self::hold_step(look, g)).collect();
        if !missing.is_empty() {
            return Some(Next::Do(missing));
        }
        self.held_since.get_or_insert(look.at);
        None
    }

    /// How long agents have had to see the hold; zero until all groups are held.
    pub(super) fn held_for(&self, at: Moment) -> Duration {
        self.held_since.map_or(Duration::ZERO, |since| self.held_before + at.since(since))
    }

    pub(super) fn is_settled(&self, look: &Look<'_>) -> bool {
        self.held_since.is_some() && self.held_for(look.at) >= look.request.settle
    }

    pub(super) fn settle(&mut self, look: &Look<'_>) -> Option<Next> {
        (!self.is_settled(look)).then(|| Next::Wait("agents to see the hold".to_owned()))
    }

    /// The restored group last: as long as it is held, a rerun knows that work is left.
    pub(super) fn release(&mut self, look: &Look<'_>) -> Option<Next> {
        let restored = &look.plan.restore.name;
        let others = look.there().filter(|g| *g != restored);
        let order = others.chain([restored]).filter(|g| !self.released.contains(*g));
        let capacity = |group: &GroupName| match look.plan.way {
            Way::PutBack => look.plan.groups().find(|g| &g.name == group).map_or(CapacityTag::Kept, |g| match &g.record.capacity_tag {
                Some(text) => CapacityTag::Set(text.clone()),
                None => CapacityTag::Deleted,
            }),
            Way::Rollback | Way::Forward if group == restored => CapacityTag::Deleted,
            Way::Rollback | Way::Forward => CapacityTag::Kept,
        };
        // In one breath, stopping at the first that fails: no tag goes before what it stands for is undone.
        let mut steps = if look.plan.way == Way::PutBack { self.unprotect_steps(look) } else { self.thaw_steps(look) };
        let unkept = |group: &GroupName| {
            look.plan.way == Way::PutBack && look.plan.retire.iter().any(|planned| &planned.name == group && planned.record.keeps)
        };
        steps.extend(order.map(|g| Step::Release { group: g.clone(), capacity: capacity(g), unkept: unkept(g) }));
        (!steps.is_empty()).then_some(Next::Do(steps))
    }
}

/// How long all groups have been held already by an interrupted run that this one takes up: agents that had that time need not be given
/// it again. A tag tells when it was last written, by the clock of the machine that wrote it: that of another machine proves nothing here.
/// Nor does a hold that is not live, or of another generation: agents may have gone on meanwhile.
fn held_before(look: &Look<'_>) -> Duration {
    let age = |name: &GroupName| {
        let hold = look.facts.group(name).and_then(|g| Hold::parse(&g.tags).ok().flatten())?;
        let ours = hold.is_live(look.at.wall) && hold.owner == look.request.owner && hold.generation == look.plan.generation;
        ours.then(|| HOLD_TTL.saturating_sub(hold.expires.since(look.at.wall) + WRITTEN_WITHIN))
    };
    if look.request.taken_over {
        return Duration::ZERO;
    }
    look.there().map(|name| age(name).unwrap_or_default()).min().unwrap_or_default()
}

/// By the clock that shows more: the one that does not jump stands still while a laptop sleeps.
fn age(earlier: Moment, at: Moment) -> Duration {
    let wall = u64::try_from(at.wall.0.saturating_sub(earlier.wall.0)).unwrap_or(0);
    at.since(earlier).max(Duration::from_millis(wall))
}
