//! What an orchestrator says of itself: is it busy, does it take new work, which process is it.
//!
//! Busy has three values. Unknown is its own value and never idle (F2, S2).

use serde::Deserialize;
use serde::Serialize;

use super::time::Moment;
use super::time::Timestamp;

/// Whether work is in flight on this instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Activity {
    /// The source said, in a form we understand, that this instance executes nothing.
    Idle,
    /// `count` executions (or handlers) are in flight; `executions` names them where the source can.
    Busy {
        /// At least one.
        count: u64,
        /// May be shorter than `count`; many sources only count.
        executions: Vec<ExecutionRef>,
    },
    /// Nobody can say. Treated as busy everywhere.
    Unknown {
        /// For people: what was asked and what came back.
        why: String,
    },
}

/// An execution as `activeByInstance` names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExecutionRef {
    /// Spinnaker application.
    pub application: String,
    /// `/pipelines/{id}` or `/tasks/{id}`.
    pub url: String,
}

/// Which process of the orchestrator answered: changes with every restart (F5). Any text that does so: start time, pid and start time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub String);

/// One look at the orchestrator's activity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// What it said.
    pub activity: Activity,
    /// When the look began, by our clock. An answer tells of no earlier time than this, unless `measured` says so.
    pub asked: Moment,
    /// When the figure was really measured, where the source says (F3): a metric's own timestamp, a keepalive's age.
    pub measured: Option<Timestamp>,
    /// The process that answered, where the source can tell.
    pub generation: Option<Generation>,
}

/// Whether the orchestrator takes new work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Intake {
    /// It polls for work.
    Open,
    /// Read back: it does not poll for work.
    Closed,
    /// The configuration says that this orchestrator has no switch, and that its owner accepts the risk.
    NoSwitch,
    /// Nobody can say.
    Unknown {
        /// For people: what was asked and what came back.
        why: String,
    },
}
