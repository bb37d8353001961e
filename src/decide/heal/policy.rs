//! What the owner wants of healing, as checked values.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::model::Probe;

/// How far healing may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing is looked at, and nothing begun: what a restart of before had stopped is still started.
    Off,
    /// What would be done is told, and nothing is done.
    Observe,
    /// The orchestrator is restarted.
    Restart,
    /// Where restarting does not help, the instance is drained and replaced.
    Replace,
}

impl Level {
    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Restart => "restart",
            Self::Replace => "replace",
        }
    }
}

/// When a probe is made, and how often in a row it has to come out the same before that is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ProbeRules {
    /// Between two of them, at most.
    pub every: Duration,
    /// Failures in a row that make it failing.
    pub failures: u32,
    /// Successes in a row that make it well.
    pub successes: u32,
}

/// Bounds of what the process and its host may use; `None` = not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Resident memory of the process, in bytes.
    pub memory_bytes: Option<u64>,
    /// Growth of it, in bytes an hour.
    pub memory_growth_bytes_per_h: Option<u64>,
    /// Processor time of the process, in percent of one core.
    pub cpu_percent: Option<u32>,
    /// Its threads.
    pub threads: Option<u32>,
    /// Its open files.
    pub files: Option<u32>,
    /// Least free space of each mount that is looked at, in percent.
    pub disk_free_percent: Option<u32>,
    /// Least free inodes of each of them, in percent.
    pub inodes_free_percent: Option<u32>,
    /// Load average of a minute, in percent of the host's cores.
    pub load_percent: Option<u32>,
    /// Processes that the kernel killed for want of memory, since the last look.
    pub oom_kills: bool,
    /// Most that this host's clock may differ from AWS's.
    pub clock_offset: Option<Duration>,
}

impl Limits {
    /// Nothing is looked at.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Everything healing may know of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealPolicy {
    /// How far it may go.
    pub level: Level,
    /// Probe of the orchestrator's life; without one nothing is restarted but for a limit.
    pub liveness: Option<ProbeRules>,
    /// Probe of its readiness; without one the first success of the other counts.
    pub readiness: Option<ProbeRules>,
    /// Probe of its store.
    pub store: Option<ProbeRules>,
    /// See [`Limits`].
    pub limits: Limits,
    /// Between looks at process and host.
    pub vitals_every: Duration,
    /// How long a limit has to be passed without a break before that is believed.
    pub limits_over: Duration,
    /// Starts of the orchestrator that we had no hand in, within `window`, that make a crash loop.
    pub crash_loop: u32,
    /// Restarts within `window`, at most.
    pub restarts: u32,
    /// See `restarts` and `crash_loop`.
    pub window: Duration,
    /// From one restart to the next; doubled with each within `window`.
    pub backoff: Duration,
    /// Time that the orchestrator has to stop.
    pub stop_grace: Duration,
    /// Time after a start in which nothing is held against it.
    pub start_grace: Duration,
    /// Longest time that a restart, or the beginning of a replacement, keeps an instance away: half of a turn among the group's instances.
    pub turn: Duration,
    /// At most max(1, this percentage) of the group is away at once.
    pub budget_percent: u8,
    /// A store that the fleet shares keeps a book of permits, and nothing is restarted or replaced without one.
    pub permits: bool,
    /// End an instance that is to be replaced although its orchestrator is dead or hangs, so that nobody can say what it executes.
    pub end_unproven: bool,
    /// Replace although the group has EC2 checks only, which do not tell whether siblings' orchestrators are well.
    pub trust_ec2_checks: bool,
}

impl Default for HealPolicy {
    /// The shipped defaults; each one is in the sample configuration.
    fn default() -> Self {
        Self {
            level: Level::Restart,
            liveness: None,
            readiness: None,
            store: None,
            limits: Limits::default(),
            vitals_every: Duration::from_secs(30),
            limits_over: Duration::from_secs(300),
            crash_loop: 5,
            restarts: 3,
            window: Duration::from_secs(3600),
            backoff: Duration::from_secs(60),
            stop_grace: Duration::from_secs(90),
            start_grace: Duration::from_secs(180),
            turn: Duration::from_secs(120),
            budget_percent: 25,
            permits: false,
            end_unproven: false,
            trust_ec2_checks: false,
        }
    }
}

impl HealPolicy {
    /// The rules of a probe, when there is one.
    pub fn rules(&self, probe: Probe) -> Option<ProbeRules> {
        match probe {
            Probe::Liveness => self.liveness,
            Probe::Readiness => self.readiness,
            Probe::Store => self.store,
        }
    }

    /// Something is looked at.
    pub fn sees(&self) -> bool {
        self.level > Level::Off && (self.liveness.is_some() || self.readiness.is_some() || !self.limits.is_empty())
    }
}
