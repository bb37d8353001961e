//! What AWS tells an instance of its own future: in its metadata, and through a lifecycle hook.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use super::time::Timestamp;

/// The notices in an instance's metadata (draining.md §4.13).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notices {
    /// `spot/instance-action`: AWS takes the instance back, two minutes ahead where it can.
    pub interruption: Option<Interruption>,
    /// `events/recommendations/rebalance`: when AWS said that an interruption is more likely now. No interruption yet (F42).
    pub rebalance: Option<Timestamp>,
    /// `events/maintenance/scheduled`: what is still to come.
    pub maintenance: Vec<Maintenance>,
}

/// A spot interruption.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interruption {
    /// `terminate`, `stop` or `hibernate`.
    pub action: String,
    /// When it happens; AWS does not promise to wait so long.
    pub at: Timestamp,
}

/// A scheduled maintenance event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// AWS's id of the event.
    pub id: String,
    /// `system-reboot`, `instance-stop`, `instance-retirement`, …
    pub code: String,
    /// In AWS's own way to write a time, e.g. `21 Jan 2027 09:00:43 GMT`.
    pub not_before: String,
}

/// A lifecycle hook of our group, as far as whoever answers it has to know it (draining.md §4.7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// Without an answer or a heartbeat for so long, AWS takes the default result.
    pub heartbeat: Duration,
    /// No heartbeat makes AWS wait longer than this: min(48 h, 100 heartbeats).
    pub limit: Duration,
}

/// How a lifecycle action is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HookResult {
    /// Go on.
    Continue,
    /// Give up: a launching instance is ended, of a terminating one the remaining hooks are cut off, and where the group's lifecycle policy says
    /// so it is kept, out of service.
    Abandon,
}

impl HookResult {
    /// AWS's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "CONTINUE",
            Self::Abandon => "ABANDON",
        }
    }
}
