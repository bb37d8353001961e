//! The state of the agent as people and programs read it: `bellrock status`, `/status`, the log line of a transition.

use std::time::Duration;

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
    /// Since when nobody can say whether work is in flight; `None` while somebody can.
    #[serde(default)]
    pub unknown_since: Option<Timestamp>,
    /// The drain under way.
    #[serde(default)]
    pub drain: Option<DrainStatus>,
    /// AWS waits for our answer to a lifecycle hook.
    #[serde(default)]
    pub hook: Option<HookStatus>,
    /// When AWS takes the instance back, where it has said so (spot).
    #[serde(default)]
    pub interruption: Option<Timestamp>,
    /// We protect this instance from scale-in, or were about to.
    #[serde(default)]
    pub protected: bool,
    /// True once the agent has seen its instance, its group and its orchestrator.
    pub ready: bool,
}

/// A drain under way, in figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// Why, in one word of [`Reason::WORDS`](super::Reason::WORDS).
    pub reason: String,
    /// When it began.
    pub started: Timestamp,
}

/// A wait of AWS for our answer to a lifecycle hook, in figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookStatus {
    /// When we heard that AWS waits.
    pub started: Timestamp,
    /// No heartbeat makes AWS wait longer than this; `None` until the hook was read.
    pub limit: Option<Duration>,
    /// Without a heartbeat for so long AWS waits no more; `None` until the hook was read.
    pub heartbeat: Option<Duration>,
    /// When AWS took the last heartbeat.
    pub accepted: Option<Timestamp>,
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
