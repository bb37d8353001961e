//! What follows from the stages of an execution, kept at hand: who waits for whom, how many are still to come, which run, what is due when.
//!
//! Nothing of it is stored. It is made when an execution is read and kept up to date with each change of a status, so that one event costs what it
//! moves and not what the pipeline holds.
//!
//! What must stay true: a stage's status changes through [`Execution::set_stage_status`](super::execution::Execution::set_stage_status) alone once
//! the graph is made; a place names the same stage until stages are sorted in or taken out.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;

use super::execution::Stage;
use super::execution::StageId;
use super::execution::Synthetic;
use super::stage::flag;
use super::status::Status;
use crate::model::Timestamp;

/// One stage among the others.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// Those that wait for this one.
    pub downstream: Vec<usize>,
    /// How many of those it waits for do not let it start yet. Names that no stage has do not count.
    pub unmet: usize,
    /// Its parent, and on which side of it this one runs.
    pub parent: Option<(usize, Synthetic)>,
    /// Its synthetic stages before and after its tasks, in the order of planning.
    pub before: Vec<usize>,
    /// See `before`.
    pub after: Vec<usize>,
    /// How many of `before` do not let its tasks start yet.
    pub before_unmet: usize,
    /// How many of `before` failed in a way that goes on, but not with this stage.
    pub before_forgiven: usize,
    /// How many of `after` are not complete.
    pub after_open: usize,
    /// How many synthetic stages are under way.
    pub children_active: usize,
    /// How many synthetic stages have halted.
    pub children_halted: usize,
    /// A synthetic stage halted: those beside it were called off.
    pub doomed: bool,
    /// It was called off and ends when its attempts in flight do.
    pub stopping: bool,
    /// Something happened while its attempt was in flight: look again after.
    pub poked: bool,
    /// When it is to be looked at.
    wake: Option<Timestamp>,
    counted: Status,
    forgiving: bool,
}

/// Counts of top-level stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Top {
    /// All of them.
    pub all: usize,
    /// Those that let what is downstream start.
    pub passed: usize,
    /// Those in `TERMINAL`.
    pub terminal: usize,
    /// Those in `CANCELED`.
    pub canceled: usize,
    /// Those in `STOPPED`.
    pub stopped: usize,
    /// Those under way.
    pub active: usize,
    /// Those that may start.
    pub ready: usize,
}

/// The stages of an execution and how they hang together.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    /// By place.
    pub nodes: Vec<Node>,
    /// Top-level stages, counted.
    pub top: Top,
    /// Stages under way, synthetic ones included.
    pub active: BTreeSet<usize>,
    /// Every stage was looked at since this was made.
    pub surveyed: bool,
    /// Moves made so far: what the tests of cost count.
    pub moves: u64,
    /// Taken out when the event is over; till then places stay as they are.
    pub dropped: Vec<usize>,
    timers: BTreeSet<(Timestamp, usize)>,
}

fn is_active(status: Status) -> bool {
    status != Status::NotStarted && !status.is_complete()
}

impl Graph {
    /// The graph of these stages. `by_ref` and `by_id` give places.
    pub fn new(stages: &[Stage], by_ref: &HashMap<String, usize>, by_id: &HashMap<StageId, usize>) -> Self {
        let mut graph = Self { nodes: Vec::with_capacity(stages.len()), ..Self::default() };
        for _ in stages {
            graph.nodes.push(Node::default());
        }
        for at in 0..stages.len() {
            graph.link(stages, at, by_ref, by_id);
        }
        graph
    }

    /// Adds the stage at the end of the list, whose requisites and parent are in it.
    pub fn push(&mut self, stages: &[Stage], by_ref: &HashMap<String, usize>, by_id: &HashMap<StageId, usize>) {
        self.nodes.push(Node::default());
        self.link(stages, stages.len() - 1, by_ref, by_id);
    }

    fn link(&mut self, stages: &[Stage], at: usize, by_ref: &HashMap<String, usize>, by_id: &HashMap<StageId, usize>) {
        let head = stages[at].head();
        let mut unmet = 0;
        let mut seen = BTreeSet::new();
        for name in &head.requisite_stage_ref_ids {
            let Some(up) = by_ref.get(name).copied().filter(|up| seen.insert(*up)) else { continue };
            self.nodes[up].downstream.push(at);
            unmet += usize::from(!stages[up].status().lets_downstream_start());
        }
        let parent = head.parent_stage_id.as_ref().and_then(|id| by_id.get(id)).copied().filter(|p| *p != at);
        let side = head.synthetic_stage_owner.unwrap_or(Synthetic::StageBefore);
        if let Some(parent) = parent {
            let node = &mut self.nodes[parent];
            match side {
                Synthetic::StageBefore => {
                    node.before.push(at);
                    node.before_unmet += 1;
                }
                Synthetic::StageAfter => {
                    node.after.push(at);
                    node.after_open += 1;
                }
            }
        } else {
            self.top.all += 1;
            self.top.ready += usize::from(unmet == 0);
        }
        let node = &mut self.nodes[at];
        node.unmet = unmet;
        node.parent = parent.map(|p| (p, side));
        node.forgiving = flag(stages[at].context(), "allowSiblingStagesToContinueOnFailure");
        let status = stages[at].status();
        if status != Status::NotStarted {
            self.count(at, status);
        }
    }

    /// Counts a stage under its new status, and tells those downstream.
    pub fn note(&mut self, at: usize, status: Status) {
        let passed = self.nodes[at].counted.lets_downstream_start();
        self.count(at, status);
        if passed == status.lets_downstream_start() {
            return;
        }
        for i in 0..self.nodes[at].downstream.len() {
            let down = self.nodes[at].downstream[i];
            let node = &mut self.nodes[down];
            let was_ready = node.unmet == 0;
            node.unmet = if passed { node.unmet + 1 } else { node.unmet - 1 };
            if node.parent.is_none() && node.counted == Status::NotStarted {
                self.top.ready = self.top.ready + usize::from(node.unmet == 0) - usize::from(was_ready);
            }
        }
    }

    fn count(&mut self, at: usize, status: Status) {
        let node = &mut self.nodes[at];
        let old = std::mem::replace(&mut node.counted, status);
        if old == status {
            return;
        }
        let (ready, forgiving, parent) = (node.unmet == 0, node.forgiving, node.parent);
        let shift = |count: &mut usize, of: &dyn Fn(Status) -> bool| *count = *count + usize::from(of(status)) - usize::from(of(old));
        match parent {
            None => {
                let top = &mut self.top;
                shift(&mut top.passed, &Status::lets_downstream_start);
                shift(&mut top.terminal, &|s| s == Status::Terminal);
                shift(&mut top.canceled, &|s| s == Status::Canceled);
                shift(&mut top.stopped, &|s| s == Status::Stopped);
                shift(&mut top.active, &is_active);
                shift(&mut top.ready, &|s| ready && s == Status::NotStarted);
            }
            Some((parent, side)) => {
                let parent = &mut self.nodes[parent];
                match side {
                    Synthetic::StageBefore => {
                        shift(&mut parent.before_unmet, &|s| !s.lets_downstream_start());
                        shift(&mut parent.before_forgiven, &|s| s == Status::FailedContinue && !forgiving);
                    }
                    Synthetic::StageAfter => shift(&mut parent.after_open, &|s| !s.is_complete()),
                }
                shift(&mut parent.children_active, &is_active);
                shift(&mut parent.children_halted, &Status::is_halt);
            }
        }
        match (is_active(old), is_active(status)) {
            (false, true) => {
                self.active.insert(at);
            }
            (true, false) => {
                self.active.remove(&at);
                self.set_wake(at, None);
                let node = &mut self.nodes[at];
                (node.doomed, node.stopping, node.poked) = (false, false, false);
            }
            (true, true) | (false, false) => {}
        }
    }

    /// Takes stages that have not started out of their parents' lists.
    pub fn forget(&mut self, gone: &[usize]) {
        for at in gone {
            let Some((parent, side)) = self.nodes[*at].parent else { continue };
            let node = &mut self.nodes[parent];
            match side {
                Synthetic::StageBefore => {
                    node.before.retain(|child| child != at);
                    node.before_unmet -= 1;
                }
                Synthetic::StageAfter => {
                    node.after.retain(|child| child != at);
                    node.after_open -= 1;
                }
            }
        }
        self.dropped.extend(gone);
    }

    /// Looks at a stage at this time; replaces the time it had.
    pub fn set_wake(&mut self, at: usize, wake: Option<Timestamp>) {
        let old = std::mem::replace(&mut self.nodes[at].wake, wake);
        if old == wake {
            return;
        }
        if let Some(old) = old {
            self.timers.remove(&(old, at));
        }
        if let Some(wake) = wake {
            self.timers.insert((wake, at));
        }
    }

    /// When the next stage is to be looked at.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.timers.first().map(|(time, _)| *time)
    }

    /// Takes the next stage whose time has come.
    pub fn take_due(&mut self, now: Timestamp) -> Option<usize> {
        let (_, at) = self.timers.first().copied().filter(|(time, _)| *time <= now)?;
        self.set_wake(at, None);
        Some(at)
    }

    /// Both count the same; what only one event knows (timers, pokes) is not compared.
    #[cfg(test)]
    pub fn same_counts(&self, other: &Self) -> bool {
        let counts = |n: &Node| {
            (n.unmet, n.parent, n.before_unmet, n.before_forgiven, n.after_open, n.children_active, n.children_halted, n.counted)
        };
        let same = |(a, b): (&Node, &Node)| counts(a) == counts(b) && a.before == b.before && a.after == b.after;
        self.nodes.len() == other.nodes.len()
            && self.nodes.iter().zip(&other.nodes).all(same)
            && self.top == other.top
            && self.active == other.active
    }

    /// The order in which people see stages: those before their parent, the parent, those after it; without dropped ones. `None` = they stand so.
    pub fn display_order(&mut self) -> Option<Vec<usize>> {
        let dropped: BTreeSet<usize> = std::mem::take(&mut self.dropped).into_iter().collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut open: Vec<(usize, bool)> = Vec::new();
        for top in (0..self.nodes.len()).filter(|at| self.nodes[*at].parent.is_none()) {
            open.push((top, false));
            while let Some((at, opened)) = open.pop() {
                let node = &self.nodes[at];
                if opened || (node.before.is_empty() && node.after.is_empty()) {
                    order.push(at);
                } else {
                    open.extend(node.after.iter().rev().map(|child| (*child, false)));
                    open.push((at, true));
                    open.extend(node.before.iter().rev().map(|child| (*child, false)));
                }
            }
        }
        // Stages that are their own ancestors are in no list of children that is reached.
        if order.len() < self.nodes.len() {
            let reached: BTreeSet<usize> = order.iter().copied().collect();
            order.extend((0..self.nodes.len()).filter(|at| !reached.contains(at) && !dropped.contains(at)));
        }
        let sorted = dropped.is_empty() && order.iter().enumerate().all(|(place, at)| place == *at);
        (!sorted).then_some(order)
    }

    /// Follows stages to their new places: `new_place[old]`, `None` for those that are gone.
    pub fn renumber(&mut self, new_place: &[Option<usize>]) {
        let mut nodes: BTreeMap<usize, Node> = BTreeMap::new();
        for (old, mut node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            let Some(place) = new_place[old] else { continue };
            for list in [&mut node.downstream, &mut node.before, &mut node.after] {
                *list = list.iter().filter_map(|at| new_place[*at]).collect();
            }
            node.parent = node.parent.and_then(|(parent, side)| Some((new_place[parent]?, side)));
            nodes.insert(place, node);
        }
        self.nodes = nodes.into_values().collect();
        self.active = self.active.iter().filter_map(|at| new_place[*at]).collect();
        self.timers = self.timers.iter().filter_map(|(time, at)| Some((*time, new_place[*at]?))).collect();
    }
}
