//! What changed of an execution since it was last asked, so that a write carries just that.

use super::Execution;
use super::Head;
use super::Part;
use super::StageId;
use super::Summary;

/// What changed of an execution since it was last asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// The summary did.
    pub summary: bool,
    /// The summary as it was; `None` when all of it is new, or nothing of it changed.
    pub summary_was: Option<Box<Summary>>,
    /// The list of stages did.
    pub order: bool,
    /// These stages did, in the order of [`Execution::stages`].
    pub stages: Vec<StageChanges>,
    /// These stages are no more.
    pub removed: Vec<StageId>,
}

/// What changed of one stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageChanges {
    /// Place in [`Execution::stages`].
    pub at: usize,
    /// These parts, in [`Part::ALL`]'s order.
    pub parts: Vec<Part>,
    /// The head as it was; `None` when all of it is new, or nothing of it changed.
    pub head_was: Option<Box<Head>>,
}

impl Changes {
    /// True when there is nothing to write.
    pub fn is_empty(&self) -> bool {
        !self.summary && !self.order && self.stages.is_empty() && self.removed.is_empty()
    }
}

impl Execution {
    /// What changed since this was last called.
    pub fn take_changes(&mut self) -> Changes {
        let mut stages = Vec::with_capacity(self.touched.len());
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for at in touched {
            let stage = &mut self.stages[at];
            let parts: Vec<Part> = Part::ALL.into_iter().filter(|p| stage.is_changed(*p)).collect();
            stage.changed = 0;
            let head_was = stage.was.take();
            if !parts.is_empty() {
                stages.push(StageChanges { at, parts, head_was });
            }
        }
        Changes {
            summary: std::mem::take(&mut self.changed),
            summary_was: self.was.take(),
            order: std::mem::take(&mut self.reordered),
            stages,
            removed: std::mem::take(&mut self.removed),
        }
    }
}
