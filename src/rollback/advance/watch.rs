//! One group under watch: what we know it to be, what it may still look like to a stale read, and what is somebody else's doing (F59).
//!
//! What must stay true: each look is measured against what the last write promised; a write that AWS acknowledged and that is not to be seen once
//! reads cannot be stale any more was undone by somebody, and is not sent again: two writers that correct each other never end.

use std::collections::BTreeSet;

use super::super::plan::Difference;
use super::super::plan::GroupPlan;
use super::super::plan::Setup;
use super::super::plan::Shape;
use super::STALE;
use crate::model::Capacity;
use crate::model::Group;
use crate::model::Moment;
use crate::model::Process;

/// What a look tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// As known, or as it was a moment ago: go on.
    Steady,
    /// A write with an unknown outcome is not to be seen either way yet.
    Unsettled,
    /// Expected and found, field by field.
    Changed(Vec<Difference>),
}

/// Which changes by others are no surprise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Policies may raise desired; agents that have not seen the hold yet may lower desired, and min before it.
    Restored {
        /// The bound within which agents see the hold has not passed.
        agents_may_act: bool,
    },
    /// Desired is free until it is set to nothing; agents of a disabled one may lower min before it as well.
    Retired {
        /// The bound within which agents see the hold has not passed.
        agents_may_act: bool,
    },
}

/// What we know of one group.
#[derive(Clone, Debug)]
pub struct Watch {
    known: Shape,
    /// What nobody here ever changes.
    setup: Setup,
    /// Sizes and sets of suspended processes that this plan leads to: an earlier run of it wrote them, and the plan's facts were too old to show it.
    /// An excuse for as long as reads may be stale after the first look.
    own: (Vec<Capacity>, Vec<BTreeSet<Process>>),
    first_look: Option<Moment>,
    /// Shapes from before our writes, and until when a read may still show them.
    past: Vec<(Shape, Moment)>,
    /// The last write's outcome is unknown: the shape it leads to.
    unsure: bool,
    touched: bool,
}

impl Watch {
    pub fn new(planned: &GroupPlan, canary: Option<Capacity>) -> Self {
        let frozen = |shape: &Shape| shape.suspended.iter().chain(&planned.frozen).cloned().collect::<BTreeSet<_>>();
        let suspended = vec![planned.after.suspended.clone(), frozen(&planned.after), frozen(&planned.before)];
        let own = ([planned.during, planned.after.capacity].into_iter().chain(canary).collect(), suspended);
        let (known, setup) = (planned.before.clone(), planned.setup.clone());
        Self { known, setup, own, first_look: None, past: Vec::new(), unsure: false, touched: false }
    }

    pub fn known(&self) -> &Shape {
        &self.known
    }

    pub fn is_as_known(&self, group: &Group) -> bool {
        Shape::of(group) == self.known
    }

    /// We wrote, or may have.
    pub fn wrote(&mut self, at: Moment, sure: bool, change: impl FnOnce(&mut Shape)) {
        self.past.push((self.known.clone(), at));
        change(&mut self.known);
        self.unsure = !sure;
        self.touched = true;
    }

    pub fn look(&mut self, group: &Group, role: Role, at: Moment) -> Seen {
        let seen = Shape::of(group);
        let first_look = *self.first_look.get_or_insert(at);
        let setup = Setup::of(group);
        if setup != self.setup {
            return Seen::Changed(self.setup.differences(&setup));
        }
        let fresh = |when: &Moment| at.since(*when) < STALE;
        if seen == self.known {
            // Where an earlier write is being taken back, a read that is older than it shows the same as one that is newer than both.
            if self.unsure && self.past.iter().any(|(past, when)| *past == seen && fresh(when)) {
                return Seen::Unsettled;
            }
            self.unsure = false;
            self.past.retain(|(_, when)| fresh(when));
            return Seen::Steady;
        }
        let capacities = self.past.iter().any(|(past, _)| past.capacity == seen.capacity) || seen.capacity == self.known.capacity;
        let processes = self.past.iter().any(|(past, _)| past.suspended == seen.suspended) || seen.suspended == self.known.suspended;
        let newest_write = self.past.last().map(|(_, when)| *when);
        if capacities && processes {
            match newest_write {
                Some(when) if fresh(&when) && self.unsure => return Seen::Unsettled,
                Some(when) if fresh(&when) => return Seen::Steady,
                // The write was lost: the group is as it was, and the step is due again.
                Some(_) if self.unsure => {
                    self.accept(seen);
                    return Seen::Steady;
                }
                Some(_) | None => {}
            }
        }
        if self.is_no_surprise(&seen, role, at.since(first_look) < STALE) {
            self.accept(seen);
            return Seen::Steady;
        }
        Seen::Changed(self.known.differences(&seen))
    }

    fn accept(&mut self, seen: Shape) {
        self.known = seen;
        self.past.clear();
        self.unsure = false;
    }

    fn is_no_surprise(&self, seen: &Shape, role: Role, is_early: bool) -> bool {
        let (sizes, suspended) = &self.own;
        let ours = suspended.contains(&seen.suspended);
        let by_earlier_run = (sizes.contains(&seen.capacity) && (ours || seen.suspended == self.known.suspended))
            || (ours && seen.capacity == self.known.capacity);
        if is_early && by_earlier_run {
            return true;
        }
        let past = self.past.iter().map(|(shape, _)| shape);
        past.chain([&self.known]).any(|shape| {
            let (from, to) = (shape.capacity, seen.capacity);
            let same_rest = shape.suspended == seen.suspended && from.max == to.max;
            same_rest
                && match role {
                    Role::Restored { agents_may_act: true } => to.min <= from.min,
                    Role::Restored { agents_may_act: false } => to.min == from.min && to.desired >= from.desired,
                    Role::Retired { agents_may_act } => !self.touched && (to.min == from.min || (agents_may_act && to.min < from.min)),
                }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Timestamp;
    use crate::model::testing::disabled;
    use crate::model::testing::group;
    use crate::rollback::facts::sort_out;
    use crate::rollback::plan::Request;
    use crate::rollback::plan::plan;

    fn at(seconds: u64) -> Moment {
        let mono = Duration::from_secs(seconds);
        Moment { mono, wall: Timestamp(1_800_000_000_000).plus(mono) }
    }

    /// The newest group as it was found, and with a process suspended; suspended at 1 s, and resumed at 3 s. `sure`: AWS answered that.
    fn resumed(sure: bool) -> (Watch, Group, Group) {
        let found = group("spin-ha-v024", 2, (3, 3, 6), (0..3).map(|n| format!("i-{n}")));
        let old = disabled(group("spin-ha-v023", 1, (3, 3, 6), (3..6).map(|n| format!("i-{n}"))));
        let plan = plan(&Request::of("spin", "ann@laptop"), &sort_out(vec![old, found.clone()], "spin"), at(0).wall).unwrap();
        let mut frozen = found.clone();
        frozen.suspended.insert(Process::AZRebalance, String::new());
        let mut watch = Watch::new(&plan.clusters[0].retire[0], None);
        watch.wrote(at(1), true, |shape| assert!(shape.suspended.insert(Process::AZRebalance)));
        assert_eq!(look(&mut watch, &frozen, 2), Seen::Steady);
        watch.wrote(at(3), sure, |shape| assert!(shape.suspended.remove(&Process::AZRebalance)));
        (watch, found, frozen)
    }

    fn look(watch: &mut Watch, group: &Group, seconds: u64) -> Seen {
        watch.look(group, Role::Retired { agents_may_act: false }, at(seconds))
    }

    #[test]
    fn a_read_from_before_a_write_does_not_prove_that_it_was_taken_back() {
        let (mut watch, found, frozen) = resumed(false);
        assert_eq!(look(&mut watch, &found, 4), Seen::Unsettled, "as old as before it was suspended, or resumed");
        assert_eq!(look(&mut watch, &frozen, 12), Seen::Unsettled, "as old as before it was resumed, or not resumed");
        assert_eq!(look(&mut watch, &frozen, 14), Seen::Steady);
        assert!(!watch.is_as_known(&found) && watch.is_as_known(&frozen), "the call was lost, and is due again");
    }

    #[test]
    fn what_was_taken_back_is_believed_once_no_read_can_be_from_before() {
        let (mut watch, found, _) = resumed(false);
        assert_eq!(look(&mut watch, &found, 10), Seen::Unsettled);
        assert_eq!(look(&mut watch, &found, 11), Seen::Steady);
        assert!(watch.is_as_known(&found));
    }

    #[test]
    fn what_aws_answered_is_waited_for_no_longer() {
        let (mut watch, found, frozen) = resumed(true);
        assert_eq!(look(&mut watch, &found, 4), Seen::Steady);
        assert_eq!(look(&mut watch, &frozen, 5), Seen::Steady, "an old read");
        assert!(watch.is_as_known(&found));
    }
}
