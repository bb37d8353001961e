//! What the engine is told, and what it asks for: the two ends of `advance`.

use serde::Deserialize;
use serde::Serialize;

use super::effect::AttemptKey;
use super::effect::Effect;
use super::effect::Outcome;
use super::execution::Object;
use super::execution::StageId;
use super::nesting;
use super::status::Status;
use crate::model::Timestamp;

/// Something happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Look at what is due. Also the first event of a new execution, which then asks for admission.
    Tick,
    /// This execution was adopted from an owner that is gone: attempts in flight have no known outcome.
    Adopted,
    /// An attempt ended.
    Done {
        /// Which. One that is not the task's current attempt is ignored.
        key: AttemptKey,
        /// What came of it.
        outcome: Outcome,
    },
    /// What a task that was called off wanted undone is undone, or given up.
    Undone {
        /// As [`Command::Undo`] named it.
        key: AttemptKey,
        /// Why it was given up.
        failed: Option<String>,
    },
    /// The store refuses for good to keep what the execution came to: it is to end here.
    Unkept {
        /// What the store said.
        why: String,
    },
    /// A message from the inbox.
    Message(Message),
}

/// What others tell an execution, through its inbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Message {
    /// The concurrency gate let it in.
    Admitted,
    /// Call it off.
    Cancel {
        /// Who.
        by: String,
        /// Why.
        reason: Option<String>,
    },
    /// Hold it.
    Pause {
        /// Who.
        by: String,
    },
    /// Let it go on.
    Resume {
        /// Who.
        by: String,
    },
    /// Merge these keys into a stage's context: a judgment, a skip.
    Patch {
        /// Which stage.
        stage: StageId,
        /// Who.
        by: String,
        /// Roles of that person, for judgments.
        #[serde(default)]
        roles: Vec<String>,
        /// That person may do anything.
        #[serde(default)]
        admin: bool,
        /// Accounts that person may use.
        #[serde(default)]
        allowed_accounts: Vec<String>,
        /// The keys.
        context: Object,
    },
    /// Run a stage again, and what is downstream of it.
    Restart {
        /// Which stage.
        stage: StageId,
        /// Who.
        by: String,
        /// Merged into the context of stage types that allow it.
        #[serde(default)]
        body: Object,
    },
    /// A child pipeline ended: look at it now.
    ChildEnded {
        /// The child.
        execution: super::execution::ExecutionId,
    },
}

impl Message {
    /// It carries what nests deeper than may be kept ([`nesting::DEEPEST`]): not to be put into any inbox, which could not be read then.
    pub fn is_too_deep(&self) -> bool {
        match self {
            Self::Patch { context: carried, .. } | Self::Restart { body: carried, .. } => nesting::is_object_too_deep(carried),
            Self::Admitted | Self::Cancel { .. } | Self::Pause { .. } | Self::Resume { .. } | Self::ChildEnded { .. } => false,
        }
    }
}

/// What the runner is asked to do, after the changes are written.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Ask the concurrency gate; answer with [`Message::Admitted`] now or later.
    Admit {
        /// Executions of this definition share the gate.
        pipeline_config_id: String,
        /// So many may run.
        limit: u32,
    },
    /// Carry this out, then [`Event::Done`].
    Perform {
        /// Under this key.
        key: AttemptKey,
        /// What.
        effect: Effect,
    },
    /// Stop carrying this out. Its outcome is still reported.
    Abort {
        /// Which.
        key: AttemptKey,
    },
    /// Carry this out, at least once, then [`Event::Undone`]: what a cancelled stage wants undone outside.
    Undo {
        /// Under this key.
        key: AttemptKey,
        /// What.
        effect: Effect,
    },
    /// Give this to the outbox, with the write that made it due.
    Notify(Notice),
    /// The execution ended. The runner frees its slot, wakes those that wait for it, tells its parent and starts the pipelines it triggers.
    Ended {
        /// How.
        status: Status,
    },
    /// It runs again after it had ended (a restart): its slot is taken anew through [`Command::Admit`]; the runner has the stage that started it run again
    /// too, if that one's execution has ended.
    Reopened {
        /// Who restarted it.
        by: String,
    },
}

/// One thing to tell people about, before it is split by recipient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Unique within the execution: a notice written twice is told once.
    pub number: u64,
    /// `pipeline.starting`, `stage.failed`, `manualJudgment`, …
    pub event: String,
    /// The notification block of the pipeline or stage: type, address, cc, message.
    pub to: Object,
    /// Stage it is about.
    pub stage: Option<StageId>,
    /// For the text: names, status, instructions, inputs.
    pub details: Object,
}

/// Key in the context of a stage that waits for an instance that knows its type: the type.
pub const WAITS_FOR_TYPE: &str = "waitsForType";

/// What came of an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advance {
    /// To be carried out in order, once the changes are in the store.
    pub commands: Vec<Command>,
    /// When to look again; `None` when only an outcome or a message can move it.
    pub wake: Option<Timestamp>,
    /// A message that does not fit where the execution stands: why it was not followed, for its sender.
    pub refusal: Option<String>,
    /// A stage type that this build does not know and that a stage came to wait for just now: the execution is given back, for an instance that
    /// knows it. `wake` says when to look again; the stage's context says [`WAITS_FOR_TYPE`] until then.
    pub waits_for_type: Option<String>,
}
