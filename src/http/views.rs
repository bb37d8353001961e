//! What goes over the wire, as JSON. These types are the interface: they change by addition only, since an agent and the command line
//! that asks it may be of different versions.

use serde::Deserialize;
use serde::Serialize;

use crate::decide;
use crate::decide::heal::HealStatus;
use crate::decide::heal::Level;
use crate::model::Activity;
use crate::model::Intake;
use crate::orchestrator::supervised::Report;

/// `GET /status`, and the answer to a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// EC2 instance id, once known.
    pub instance: Option<String>,
    /// Auto Scaling group, once known.
    pub group: Option<String>,
    /// One word: the phase of the drain protocol.
    pub phase: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Why a drain is under way.
    pub reason: Option<String>,
    /// What the agent is waiting for.
    pub waits_for: Option<String>,
    /// Why it holds.
    pub held: Option<Held>,
    /// The orchestrator's activity as last seen.
    pub activity: Option<Activity>,
    /// The intake switch as last read.
    pub intake: Option<Intake>,
    /// What the decision rests on.
    pub evidence: Vec<String>,
    /// Healing: level, evidence, last decisions, what is next; absent until the agent's loop runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heal: Option<Heal>,
    /// Whether the agent has seen its instance, group and orchestrator.
    pub ready: bool,
    /// The orchestrator's process, where the agent looks after it.
    pub process: Option<Process>,
}

/// The orchestrator's process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// `process` or `unit`.
    pub kind: String,
    /// `running`, `unkept`, `starting`, `stopping`, `down`, `stopped`, `crash-loop` or `unknown`.
    pub state: String,
    /// Of its main process.
    pub pid: Option<u32>,
    /// Since when it runs, RFC 3339.
    pub since: Option<String>,
    /// How often it was started again after an end that nobody had asked for.
    pub restarts: u64,
    /// How it ended last.
    pub last_exit: Option<LastExit>,
    /// When it is started next, RFC 3339.
    pub next_start: Option<String>,
    /// Lines of its output that were not kept.
    pub dropped_lines: u64,
    /// What people should know.
    pub note: Option<String>,
    /// The page that says what to do, where something is to be done.
    pub runbook: Option<String>,
}

/// How a process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastExit {
    /// When, RFC 3339.
    pub at: String,
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// It was told to.
    pub asked: bool,
    /// In words.
    pub how: String,
}

/// Why a drain holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// A word.
    pub code: String,
    /// The page that says what to do.
    pub runbook: String,
}

/// Healing: what it found, did and will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heal {
    /// `off`, `observe`, `restart` or `replace`, by the configuration.
    pub level: Level,
    /// Who switched it off, and until when.
    pub off: Option<String>,
    /// One word: `off`, `unproven`, `well`, `watch`, `rest`, `would`, `wait`, `read`, `ask`, `hold`, `restarting`, `replacing`.
    pub state: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// What it comes to, and what happens next.
    pub next: Option<String>,
    /// Why it holds.
    pub held: Option<Held>,
    /// What it rests on.
    pub evidence: Vec<String>,
    /// The last decisions, oldest first.
    pub decisions: Vec<Decision>,
    /// Restarts within `heal.window`.
    pub restarts: usize,
    /// How many there may be.
    pub restarts_most: u32,
    /// How it stands with the permit of the group, where a store that the fleet shares gives them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit: Option<String>,
}

/// A decision of healing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// When, RFC 3339.
    pub at: String,
    /// One word, such as `restart`, `restarted`, `replace`, `hold`, `rest`, `would`, `well`, `off`, `on`.
    pub what: String,
    /// Why.
    pub why: String,
}

/// `POST /heal/off`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealOff {
    /// For how long, in milliseconds.
    pub for_ms: u64,
}

impl Held {
    fn of(code: String) -> Self {
        Self { runbook: format!("runbooks/{code}.md"), code }
    }
}

/// `GET /health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// As in the status code: 200 or 503.
    pub ready: bool,
    /// What is missing.
    pub why: Option<String>,
}

/// `POST /drain`. Who asks is not in it: the kernel says that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// For the record.
    pub reason: Option<String>,
    /// Terminate although work is in flight.
    pub force: bool,
}

/// Why there is no other answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A word.
    pub code: String,
    /// A sentence.
    pub message: String,
}

impl From<decide::Status> for Status {
    fn from(status: decide::Status) -> Self {
        Self {
            instance: status.instance.map(|id| id.to_string()),
            group: status.group.map(|name| name.to_string()),
            phase: status.phase,
            since: status.since.to_string(),
            reason: status.reason,
            waits_for: status.waits_for,
            held: status.held.map(Held::of),
            activity: status.activity,
            intake: status.intake,
            evidence: status.evidence,
            heal: status.heal.map(Heal::from),
            ready: status.ready,
            process: None,
        }
    }
}

impl From<Report> for Process {
    fn from(report: Report) -> Self {
        let runbook = match report.state.as_str() {
            "crash-loop" => Some("runbooks/orchestrator-crash-loop.md"),
            "unkept" | "unknown" => Some("runbooks/orchestrator-keeper.md"),
            _ => None,
        };
        let last_exit = report.last_exit.map(|exit| LastExit {
            how: exit.describe(),
            at: exit.at.to_string(),
            code: exit.code,
            signal: exit.signal,
            asked: exit.asked,
        });
        Self {
            kind: report.kind,
            state: report.state,
            pid: report.pid,
            since: report.since.map(|at| at.to_string()),
            restarts: report.restarts,
            last_exit,
            next_start: report.next_start.map(|at| at.to_string()),
            dropped_lines: report.dropped_lines,
            note: report.note,
            runbook: runbook.map(str::to_owned),
        }
    }
}

impl From<HealStatus> for Heal {
    fn from(heal: HealStatus) -> Self {
        let decisions = heal.decisions.into_iter().map(|d| Decision { at: d.at.to_string(), what: d.what, why: d.why });
        Self {
            level: heal.level,
            off: heal.off,
            state: heal.state,
            since: heal.since.to_string(),
            next: heal.next,
            held: heal.held.map(Held::of),
            evidence: heal.evidence,
            decisions: decisions.collect(),
            restarts: heal.restarts,
            restarts_most: heal.restarts_most,
            permit: heal.permit,
        }
    }
}

impl From<&decide::Status> for Health {
    fn from(status: &decide::Status) -> Self {
        let why = if status.ready {
            None
        } else if status.instance.is_none() {
            Some("instance metadata has not answered yet".to_owned())
        } else if status.group.is_none() {
            Some("no read has shown the instance's Auto Scaling group yet".to_owned())
        } else {
            match &status.activity {
                Some(Activity::Unknown { why }) => Some(format!("the orchestrator's activity is unknown: {why}")),
                Some(Activity::Idle | Activity::Busy { .. }) | None => Some("the orchestrator has not been seen yet".to_owned()),
            }
        };
        Self { ready: status.ready, why }
    }
}
