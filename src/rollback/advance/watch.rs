//! One group under watch: what we know it to be, what it may still look like to a stale read, and what is somebody else's doing (F59).

use std::collections::BTreeSet;

use super::super::plan::GroupPlan;
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
    /// Expected and found, for people.
    Changed(String),
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
    /// Sizes and sets of suspended processes that this plan leads to: an earlier run of it wrote them, and the plan's facts were too old to show it.
    own: (Vec<Capacity>, Vec<BTreeSet<Process>>),
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
        Self { known: planned.before.clone(), own, past: Vec::new(), unsure: false, touched: false }
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
        let fresh = |when: &Moment| at.since(*when) < STALE;
        if seen == self.known {
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
                Some(_) | None => {}
            }
            self.accept(seen);
            return Seen::Steady;
        }
        if self.is_no_surprise(&seen, role) {
            self.accept(seen);
            return Seen::Steady;
        }
        Seen::Changed(diff(&self.known, &seen))
    }

    fn accept(&mut self, seen: Shape) {
        self.known = seen;
        self.past.clear();
        self.unsure = false;
    }

    fn is_no_surprise(&self, seen: &Shape, role: Role) -> bool {
        let (sizes, suspended) = &self.own;
        let ours = suspended.contains(&seen.suspended);
        if (sizes.contains(&seen.capacity) && (ours || seen.suspended == self.known.suspended))
            || (ours && seen.capacity == self.known.capacity)
        {
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

fn diff(known: &Shape, seen: &Shape) -> String {
    let mut parts = Vec::new();
    if known.capacity != seen.capacity {
        parts.push(format!("min/desired/max {} expected, {} found", known.capacity, seen.capacity));
    }
    let names =
        |shape: &Shape, other: &Shape| shape.suspended.difference(&other.suspended).map(|p| p.as_str().to_owned()).collect::<Vec<_>>();
    let (resumed, suspended) = (names(known, seen), names(seen, known));
    if !resumed.is_empty() {
        parts.push(format!("{} resumed", resumed.join(", ")));
    }
    if !suspended.is_empty() {
        parts.push(format!("{} suspended", suspended.join(", ")));
    }
    parts.join("; ")
}
