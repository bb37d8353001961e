//! The stages of a cluster, and the order in which each way goes through them.

use serde::Serialize;

use super::super::plan::ClusterPlan;
use super::super::plan::Way;

/// Where a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Tags on all groups.
    Hold,
    /// For a singleton, until its agent has had time to see the hold: it must not take the newest group's leaving for a reason to poll again.
    Settle,
    /// What would fight is suspended.
    Freeze,
    /// Processes, sizes.
    Restore,
    /// Until one restored instance serves; the others are launched then.
    Canary,
    /// Until enough instances serve, and agents have had time to see the hold.
    Await,
    /// Out of the load balancers, down to nothing.
    Close,
    /// Until what was closed serves no more; for a singleton, until it is gone.
    Gone,
    /// Facts against promises.
    Verify,
    /// Until what was verified has stayed true for long enough.
    Bake,
    /// All groups as they were found.
    PutBack,
    /// The pinned min goes back to what the plan says, what was frozen goes on, and then the tags go.
    Release,
    /// Done.
    Done,
}

const SIDE_BY_SIDE: [Stage; 11] = [
    Stage::Hold,
    Stage::Freeze,
    Stage::Restore,
    Stage::Canary,
    Stage::Await,
    Stage::Close,
    Stage::Gone,
    Stage::Verify,
    Stage::Bake,
    Stage::Release,
    Stage::Done,
];
const HANDED_OVER: [Stage; 11] = [
    Stage::Hold,
    Stage::Settle,
    Stage::Freeze,
    Stage::Close,
    Stage::Gone,
    Stage::Restore,
    Stage::Await,
    Stage::Verify,
    Stage::Bake,
    Stage::Release,
    Stage::Done,
];
const PUT_BACK: [Stage; 4] = [Stage::Hold, Stage::PutBack, Stage::Release, Stage::Done];

/// The stages of this plan, first to last.
pub(super) fn stages(plan: &ClusterPlan) -> &'static [Stage] {
    match plan.way {
        Way::PutBack => &PUT_BACK,
        Way::Rollback | Way::Forward if plan.singleton => &HANDED_OVER,
        Way::Rollback | Way::Forward => &SIDE_BY_SIDE,
    }
}
