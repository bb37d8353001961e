//! The state of the agent as people and programs read it: `bellrock status`, `/status`, the log line of a transition.

use serde::Deserialize;
use serde::Serialize;

use super::heal::HealStatus;
use crate::model::Activity;
use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::Intake;
use crate::model::Timestamp;

/// One agent, now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Our instance; `None` until instance metadata answered.
    pub instance: Option<InstanceId>,
    /// Our Auto Scaling group; `None` until a describe showed it.
    pub group: Option<GroupName>,
    /// One word: the phase of the drain protocol (`working`, `closing_intake`, `confirming_idle`, …, `held`, `gone`).
    pub phase: String,
    /// Since when.
    pub since: Timestamp,
    /// Why a drain is under way, in the words of its record; `None` while working.
    pub reason: Option<String>,
    /// What the decision rests on, a line each: reads that agree, samples counted, the last error.
    pub evidence: Vec<String>,
    /// What the agent is waiting for, for people; `None` when it waits for nothing.
    pub waits_for: Option<String>,
    /// A code for why it holds, e.g. `min_size`; there is a page in `runbooks/` for each.
    pub held: Option<String>,
    /// The orchestrator's activity as last seen.
    pub activity: Option<Activity>,
    /// The intake switch as last read.
    pub intake: Option<Intake>,
    /// Healing; `None` until the loop runs.
    #[serde(default)]
    pub heal: Option<HealStatus>,
    /// True once the agent has seen its instance, its group and its orchestrator.
    pub ready: bool,
}

/// What an operator may ask of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
pub enum Command {
    /// Drain and retire this instance.
    Drain {
        /// Who asks: user name or uid, for the record.
        by: String,
        /// Why, for the record.
        reason: String,
        /// Terminate although work is in flight.
        force: bool,
    },
    /// Switch healing off.
    HealOff {
        /// Who asks.
        by: String,
        /// For so long, in milliseconds.
        for_ms: u64,
    },
    /// Switch healing on again.
    HealOn {
        /// Who asks.
        by: String,
    },
    /// Call the drain off and take new work again.
    Undrain {
        /// Who asks.
        by: String,
    },
}
