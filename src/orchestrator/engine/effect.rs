//! What a task wants done outside, as data, and what came of it. The engine decides, the runner carries out.
//!
//! What must stay true: an effect carries all that its performer needs; it may be carried out again after a crash under the same key, and
//! every outcome is a value, never a panic.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use super::execution::ExecutionId;
use super::execution::Object;
use super::execution::StageId;
use super::status::Status;

/// Names one attempt, everywhere and for ever: the idempotency key that goes with its effect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptKey {
    /// The execution.
    pub execution: ExecutionId,
    /// The stage.
    pub stage: StageId,
    /// When the stage started, epoch ms: a restart of the stage is new work.
    pub started: i64,
    /// Id of the task.
    pub task: String,
    /// Number of the attempt, from 1.
    pub number: u32,
}

impl AttemptKey {
    /// The same for every attempt of one task: what a server that honours idempotency keys is given, so that a repeat is recognised.
    pub fn idempotency_key(&self) -> String {
        format!("{}-{}-{}-{}", self.execution, self.stage, self.started, self.task)
    }
}

impl fmt::Display for AttemptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.idempotency_key(), self.number)
    }
}

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "effect")]
pub enum Effect {
    /// One HTTP request. `body` is sent as JSON unless it is a text and a content type says otherwise.
    Http {
        /// Upper case.
        method: String,
        /// Absolute.
        url: String,
        /// Names and values.
        headers: Vec<(String, String)>,
        /// JSON to send.
        body: Option<Value>,
        /// Limit of the whole exchange, milliseconds.
        timeout_ms: u64,
    },
    /// Pages that expressions ask for (`#fromUrl` and its kin), under the allow-list.
    Fetch {
        /// Absolute.
        urls: Vec<String>,
    },
    /// A command on this instance. Re-attached when a job of the same key already runs here.
    Job {
        /// Program and arguments; no shell.
        argv: Vec<String>,
        /// Added to the environment.
        env: Vec<(String, String)>,
        /// Working directory.
        directory: Option<String>,
        /// Limit, milliseconds.
        timeout_ms: u64,
        /// Most bytes kept of each of its two outputs: their ends.
        keep_bytes: u64,
        /// It may be begun anew when an earlier try under the same key was lost.
        idempotent: bool,
    },
    /// Ask what became of a job of the same key; starts nothing.
    AttachJob {
        /// Limit, milliseconds, from the job's own start.
        timeout_ms: u64,
        /// Most bytes kept of each of its two outputs.
        keep_bytes: u64,
    },
    /// End the job of the same key if it still runs here: signal, then kill.
    StopJob {},
    /// Start a stored pipeline. Repeated under the same key it gives the same execution.
    StartPipeline {
        /// Application of the definition.
        application: String,
        /// Id or name of the definition.
        pipeline: String,
        /// Becomes the trigger.
        trigger: Object,
    },
    /// Read how another execution stands.
    ReadExecution {
        /// Which.
        execution: ExecutionId,
    },
    /// Call another execution off.
    CancelExecution {
        /// Which.
        execution: ExecutionId,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Count the server groups of a cluster in each region.
    ClusterSize {
        /// `app-stack-detail`.
        cluster: String,
        /// AWS regions.
        regions: Vec<String>,
        /// Account, as the pipeline names it.
        credentials: Option<String>,
        /// Disabled ones do not count.
        only_enabled: bool,
    },
    /// Something that a registered performer of this name does.
    Call {
        /// Its name.
        name: String,
        /// For it.
        input: Value,
    },
}

impl Effect {
    /// The word for records and people.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Http { .. } => "http",
            Self::Fetch { .. } => "fetch",
            Self::Job { .. } => "job",
            Self::AttachJob { .. } => "attachJob",
            Self::StopJob {} => "stopJob",
            Self::StartPipeline { .. } => "startPipeline",
            Self::ReadExecution { .. } => "readExecution",
            Self::CancelExecution { .. } => "cancelExecution",
            Self::ClusterSize { .. } => "clusterSize",
            Self::Call { .. } => "call",
        }
    }
}

/// What came of an effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub enum Outcome {
    /// The server answered, whatever it said.
    Http {
        /// Status code.
        status: u16,
        /// Names in lower case.
        headers: Vec<(String, String)>,
        /// JSON, or a text; bounded by the performer.
        body: Value,
    },
    /// Pages by address: text, or why not.
    Fetched {
        /// In the order asked.
        pages: Vec<(String, Result<String, String>)>,
    },
    /// The command ended.
    Job {
        /// Exit code; `None` when a signal ended it.
        code: Option<i32>,
        /// The signal.
        signal: Option<i32>,
        /// It was ended because its time was up.
        timed_out: bool,
        /// End of its standard output.
        stdout: String,
        /// End of its standard error.
        stderr: String,
        /// Bytes of output that were not kept.
        dropped_bytes: u64,
    },
    /// No job of this key is known here, or it left no result: it was lost with its host or its process.
    JobLost,
    /// The pipeline was started, now or by an earlier try.
    Started {
        /// Which execution.
        execution: ExecutionId,
        /// Its name.
        name: String,
    },
    /// How an execution stands.
    Execution {
        /// Status.
        status: Status,
        /// Merged outputs of its stages; empty until it is complete.
        outputs: Object,
        /// Its first stage that halted: stage id, name, place, exception.
        failed: Option<Value>,
        /// Name of the pipeline.
        name: String,
    },
    /// There is no such thing: execution, definition, cluster.
    NotFound {
        /// For people.
        what: String,
    },
    /// Server groups by region.
    Sizes {
        /// Region and count.
        regions: Vec<(String, u32)>,
    },
    /// Done; a performer's own answer.
    Done {
        /// Its answer.
        output: Value,
    },
    /// It was not done, or nobody knows: `retryable` says that a repeat may help and does no harm.
    Failed {
        /// For people.
        error: String,
        /// A repeat may help.
        retryable: bool,
    },
}
