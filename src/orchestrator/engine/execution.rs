//! An execution: a pipeline on its way, with its stages and their tasks. JSON field names are Orca's.
//!
//! What must stay true: every change of a stage or of the execution goes through an accessor that notes it, so that a write to the store
//! carries exactly what changed ([`Execution::take_changes`]) and no 10 MB context is written again because a status moved.

mod changes;
mod stage;
mod summary;
mod task;

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use super::graph::Graph;
use super::status::Status;
pub use changes::Changes;
pub use changes::StageChanges;
pub use stage::Head;
pub use stage::LastModified;
pub use stage::Part;
pub use stage::Stage;
pub use stage::Synthetic;
pub use stage::has_expression;
pub use summary::Authentication;
pub use summary::ExecutionType;
pub use summary::Paused;
pub use summary::Summary;
pub use task::Attempt;
pub use task::Task;

/// JSON object: a context, outputs, a trigger.
pub type Object = Map<String, Value>;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

id!(
    /// Id of an execution: a ULID, so that ids sort by the time they were made.
    ExecutionId
);
id!(
    /// Id of a stage: `{execution id}-{number in the order of planning}`; anything in records of Orca's.
    StageId
);

/// A pipeline on its way.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Execution {
    /// Its id.
    pub id: ExecutionId,
    #[serde(flatten)]
    summary: Summary,
    stages: Vec<Stage>,
    #[serde(skip)]
    changed: bool,
    /// The summary as it was before it changed; `None` also while all of it is new.
    #[serde(skip)]
    was: Option<Box<Summary>>,
    /// Stages were added or removed: their order has to be written.
    #[serde(skip)]
    reordered: bool,
    /// Stages changed since the changes were last taken, without looking at all of them.
    #[serde(skip)]
    touched: Vec<usize>,
    #[serde(skip)]
    removed: Vec<StageId>,
    #[serde(skip)]
    by_ref: HashMap<String, usize>,
    #[serde(skip)]
    by_id: HashMap<StageId, usize>,
    #[serde(skip)]
    graph: Graph,
    /// Number of the next stage to be planned; 0 = not known yet.
    #[serde(skip)]
    next_stage: u64,
}

impl Execution {
    /// An execution as it was read: nothing counts as changed. Stages in the order of the index.
    pub fn from_parts(id: ExecutionId, summary: Summary, stages: Vec<Stage>) -> Self {
        let mut execution = Self { id, summary, stages, ..Self::default() };
        execution.reindex();
        execution
    }

    /// A new execution: all of it counts as changed.
    pub fn new(id: ExecutionId, summary: Summary, stages: Vec<Stage>) -> Self {
        let mut execution = Self::from_parts(id, summary, stages);
        execution.changed = true;
        execution.reordered = true;
        execution.touched = (0..execution.stages.len()).collect();
        execution
    }

    /// Its own fields.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Its own fields, to be changed.
    pub fn summary_mut(&mut self) -> &mut Summary {
        if !std::mem::replace(&mut self.changed, true) {
            self.was = Some(Box::new(self.summary.clone()));
        }
        &mut self.summary
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.summary.status
    }

    /// Its stages, synthetic ones beside their parents.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The stage at this place. Panics when there is none, as indexing does.
    pub fn stage(&self, at: usize) -> &Stage {
        &self.stages[at]
    }

    /// The stage at this place, to be changed.
    pub fn stage_mut(&mut self, at: usize) -> &mut Stage {
        let stage = &mut self.stages[at];
        if stage.changed == 0 {
            self.touched.push(at);
        }
        stage
    }

    /// Place of the stage with this id.
    pub fn place(&self, id: &StageId) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// Place of the stage with this reference id.
    pub fn place_of_ref(&self, ref_id: &str) -> Option<usize> {
        self.by_ref.get(ref_id).copied()
    }

    /// How the stages hang together.
    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// How the stages hang together, to be changed.
    pub(super) fn graph_mut(&mut self) -> &mut Graph {
        &mut self.graph
    }

    /// Moves a stage to a status. The only way while the engine is at work: what waits for the stage counts on it.
    pub fn set_stage_status(&mut self, at: usize, status: Status) {
        self.stage_mut(at).head_mut().status = status;
        self.graph.note(at, status);
    }

    /// An id that no stage of this execution has or had since it was read.
    pub(super) fn new_stage_id(&mut self) -> StageId {
        if self.next_stage == 0 {
            let prefix = format!("{}-", self.id);
            let numbers = self.stages.iter().filter_map(|s| s.id.as_str().strip_prefix(&prefix)?.parse::<u64>().ok());
            self.next_stage = numbers.max().map_or(self.stages.len() as u64, |n| n + 1).max(1);
        }
        let id = StageId(format!("{}-{}", self.id, self.next_stage));
        self.next_stage += 1;
        id
    }

    /// Adds a stage behind all others: places stay as they are. [`Self::tidy`] brings it to where people look for it.
    pub(super) fn push_stage(&mut self, stage: Stage) -> usize {
        let at = self.stages.len();
        self.by_ref.insert(stage.head.ref_id.clone(), at);
        self.by_id.insert(stage.id.clone(), at);
        self.stages.push(stage);
        self.touched.push(at);
        self.reordered = true;
        self.graph.push(&self.stages, &self.by_ref, &self.by_id);
        at
    }

    /// Takes stages that never ran out of their parent's list now, and out of the execution with [`Self::tidy`].
    pub(super) fn drop_stages(&mut self, gone: Vec<usize>) {
        self.reordered |= !gone.is_empty();
        self.graph.forget(&gone);
    }

    /// After an event: dropped stages go, added ones stand beside their parents. Linear in the number of stages when there are any, else free; places
    /// change.
    pub(super) fn tidy(&mut self) {
        if !self.reordered {
            return;
        }
        let Some(order) = self.graph.display_order() else { return };
        let mut new_place = vec![None; self.stages.len()];
        for (place, old) in order.iter().enumerate() {
            new_place[*old] = Some(place);
        }
        let mut stages: Vec<Option<Stage>> = std::mem::take(&mut self.stages).into_iter().map(Some).collect();
        self.stages = order.iter().filter_map(|old| stages[*old].take()).collect();
        self.removed.extend(stages.into_iter().flatten().map(|gone| gone.id));
        let moved = |at: &mut usize| new_place[*at].map(|new| *at = new).is_some();
        self.by_ref.retain(|_, at| moved(at));
        self.by_id.retain(|_, at| moved(at));
        self.touched.retain_mut(|at| moved(at));
        self.graph.renumber(&new_place);
    }

    /// Makes what is derived, when the execution came from where it is not made.
    pub(super) fn ensure_indexed(&mut self) {
        if self.graph.nodes.len() != self.stages.len() {
            self.reindex();
        }
    }

    /// Puts stages in at this place; those behind move up. Linear in the number of stages: add those of one parent together.
    pub fn insert_stages(&mut self, at: usize, stages: Vec<Stage>) {
        if stages.is_empty() {
            return;
        }
        self.stages.splice(at..at, stages);
        self.reordered = true;
        self.reindex();
    }

    /// Takes stages out. Linear in the number of stages.
    pub fn remove_stages(&mut self, mut which: impl FnMut(&Stage) -> bool) {
        let before = self.stages.len();
        let (gone, kept): (Vec<Stage>, Vec<Stage>) = std::mem::take(&mut self.stages).into_iter().partition(|s| which(s));
        self.stages = kept;
        if self.stages.len() != before {
            self.removed.extend(gone.into_iter().map(|s| s.id));
            self.reordered = true;
            self.reindex();
        }
    }

    fn reindex(&mut self) {
        self.by_ref = self.stages.iter().enumerate().map(|(at, s)| (s.head.ref_id.clone(), at)).collect();
        self.by_id = self.stages.iter().enumerate().map(|(at, s)| (s.id.clone(), at)).collect();
        self.touched = self.stages.iter().enumerate().filter(|(_, s)| s.changed != 0).map(|(at, _)| at).collect();
        let moves = self.graph.moves;
        self.graph = Graph::new(&self.stages, &self.by_ref, &self.by_id);
        self.graph.moves = moves;
    }
}
