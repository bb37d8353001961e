//! How an orchestrator is, as somebody who asks from outside finds it: probes of it and of its store, figures of its process and of its host.
//!
//! A probe that could not be made is its own value, and neither well nor sick.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use super::activity::Generation;

/// What may be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// The orchestrator works. Failing is what it is restarted for.
    Liveness,
    /// The orchestrator is ready. Failing is told; nothing is done for it.
    Readiness,
    /// The orchestrator's store answers. While it does not, nothing is the orchestrator's fault.
    Store,
}

impl Probe {
    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
            Self::Store => "store",
        }
    }
}

/// What came of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Probed {
    /// As it should be.
    Passed,
    /// Nobody is there: the connection was refused.
    Absent {
        /// For people.
        why: String,
    },
    /// No answer in time.
    Silent {
        /// For people.
        why: String,
    },
    /// An answer, and a bad one.
    Failed {
        /// For people.
        why: String,
    },
    /// The probe could not be made. Nothing is known.
    Unable {
        /// For people.
        why: String,
    },
}

/// Figures of the orchestrator's process and of its host; `None` where one is not looked at, or could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vitals {
    /// The process they are of.
    pub generation: Option<Generation>,
    /// Resident memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Processor time since its start, in milliseconds.
    pub cpu_ms: Option<u64>,
    /// Threads.
    pub threads: Option<u32>,
    /// Open files.
    pub files: Option<u32>,
    /// Free space by mount, in percent.
    pub disk_free_percent: BTreeMap<String, u32>,
    /// Free inodes by mount, in percent.
    pub inodes_free_percent: BTreeMap<String, u32>,
    /// Load average of a minute, in percent of the cores.
    pub load_percent: Option<u32>,
    /// Processes that the kernel killed for want of memory, since boot.
    pub oom_kills: Option<u64>,
    /// By how much AWS's clock is ahead of this host's, in milliseconds, as its last answer had it; within a second and the time of that answer.
    pub clock_ahead_ms: Option<i64>,
}
