//! Healing in words and figures, for people and programs that ask.

use serde::Deserialize;
use serde::Serialize;

use super::Decision;
use super::Level;
use super::ladder::Next;
use crate::decide::policy::Policy;
use crate::decide::state::State;
use crate::model::Moment;
use crate::model::Timestamp;

/// Healing, now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealStatus {
    /// `heal.level` of the configuration.
    pub level: Level,
    /// Until when an operator switched it off, and who.
    pub off: Option<String>,
    /// One word: `off`, `unproven`, `well`, `watch`, `rest`, `would`, `wait`, `read`, `ask`, `hold`, `restarting`, `replacing`.
    pub state: String,
    /// Since when.
    pub since: Timestamp,
    /// What it comes to, and what happens next, for people.
    pub next: Option<String>,
    /// A code for why it holds; there is a page in `runbooks/` for each.
    pub held: Option<String>,
    /// What it rests on, a line each.
    pub evidence: Vec<String>,
    /// The last decisions, oldest first.
    pub decisions: Vec<Decision>,
    /// Restarts within the window, and how many there may be.
    pub restarts: usize,
    /// See `restarts`.
    pub restarts_most: u32,
    /// How it stands with the permit of the group, where there are any.
    #[serde(default)]
    pub permit: Option<String>,
}

/// Every word of [`HealStatus::state`].
pub const STATES: [&str; 12] =
    ["off", "unproven", "well", "watch", "rest", "would", "wait", "read", "ask", "hold", "restarting", "replacing"];

impl State {
    /// What `bellrock heal status` shows.
    pub fn heal_status(&self, policy: &Policy, now: Moment) -> HealStatus {
        let heal = &self.heal;
        let healed = &self.durable.healed;
        let off = healed.off.as_ref().filter(|off| now.wall < off.until);
        let (state, next, held) = match &heal.next {
            _ if heal.restarts_now() => ("restarting", Some("the orchestrator is stopped and started".to_owned()), None),
            // Also where healing is off: a start that is owed, in a dry run.
            Next::Would(what) => ("would", Some(what.clone()), None),
            _ if policy.heal.level == Level::Off => ("off", None, None),
            Next::Unproven if !policy.heal.sees() => ("off", Some("no probe and no limit is configured".to_owned()), None),
            Next::Unproven => ("unproven", None, None),
            Next::Well => ("well", None, None),
            Next::Watch(what) => ("watch", Some(what.clone()), None),
            Next::Rest(why) => ("rest", Some(why.clone()), None),
            Next::Wait { why, until } => ("wait", Some(format!("{why}; asked again at {}", until.wall)), None),
            Next::Read(why) => ("read", Some(format!("{why}; the group is read")), None),
            Next::Ask(why) => ("ask", Some(format!("{why}; a permit of the group is asked for")), None),
            Next::Hold(hold, why) => ("hold", Some(why.clone()), Some(hold.code().to_owned())),
            Next::Restart(why) => ("restarting", Some(why.clone()), None),
            Next::Replace { why, .. } => ("replacing", Some(why.clone()), None),
        };
        HealStatus {
            level: policy.heal.level,
            off: off.map(|off| format!("{} until {}", off.by, off.until)),
            state: state.to_owned(),
            since: heal.since.wall,
            next,
            held,
            evidence: heal.evidence.explain(&policy.heal, now),
            decisions: heal.decisions.iter().cloned().collect(),
            restarts: healed.restarts_since(now.wall, policy.heal.window),
            restarts_most: policy.heal.restarts,
            permit: self.permit_status(policy, now),
        }
    }
}
