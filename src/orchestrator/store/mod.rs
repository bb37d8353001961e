//! Where executions and definitions are kept, and who owns which execution. A trait, with one contract suite for all that implement it.
//!
//! ```text
//!   create ──▶ due ──claim──▶ owned (session, epoch) ──write──▶ owned ──write, park──▶ due at a time, or waiting for a message
//!                ▲                     │                                    │
//!                │                     └── session expired: adopted, epoch + 1
//!                └──────────── post: a message in the inbox makes it due ───┘
//! ```
//!
//! What must stay true:
//! * At most one session owns an execution; each ownership has an epoch higher than the one before; a write under an older one changes nothing ([`WriteError::Fenced`]).
//! * A claim, a write, a message, an admission is one step: all of it is seen, or none. Leases are measured by the store's clock alone.
//! * A write may be repeated as it is: the outcome of a lost answer is settled by sending it again. Also one that gave the execution back, until somebody
//!   else comes to own it. One that a later write of the same ownership overtook changes nothing, however late it arrives.
//! * A store that lost what it had acknowledged says so before it takes a change that builds on it. Sessions begun before are over: what they own is
//!   taken up by a new one, from what is there ([`StoreError::LostData`]).
//! * A session whose lease ran out comes to own nothing until it beats again; what it owned and nobody adopted yet it may still write.
//! * Silence is only held against a session by one that was heard all the while: it adopts what a lease left that ran out after its own began to hold
//!   without a break, or once its own has held that way for its whole length. After an outage of the store, of which all leases run out, everybody gets
//!   as long to come back as a lease is; who comes back first does not take the work of those who are as well as it is.
//! * Every list has a page or a bound, and answers about what runs come from indexes, never from a look at every execution.

mod calls;
#[cfg(test)]
pub(crate) mod contract;
pub mod embedded;
pub mod model;
pub mod record;
pub mod redis;

pub(crate) use calls::calls;
pub use redis::RedisPermits;
pub use redis::RedisStore;
pub use redis::Settings as RedisSettings;

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use tracing::warn;

use super::engine::event::Message;
use super::engine::event::Notice;
use super::engine::execution::ExecutionId;
use super::engine::execution::ExecutionType;
use super::engine::status::Status;
use crate::model::Timestamp;

/// One field of a record: name, value. The names are those of Orca's hash (`status`, `stage.<id>.context`).
pub type Field = (String, String);

/// An execution as it is stored: Orca's hash fields, and the ids of its stages in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Fields in any order, without Bellrock's own bookkeeping.
    pub fields: Vec<Field>,
    /// Ids of the stages in order.
    pub stage_index: Vec<String>,
}

/// What lists and indexes know of an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// Its id.
    pub id: ExecutionId,
    /// Pipeline or orchestration.
    #[serde(rename = "type")]
    pub kind: ExecutionType,
    /// Its application.
    pub application: String,
    /// Its name.
    pub name: String,
    /// The definition it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_config_id: Option<String>,
    /// Where it stands.
    pub status: Status,
    /// When it was asked for.
    pub build_time: Timestamp,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
}

/// A session: one life of one agent process. Its lease is the lease of all it owns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Session {
    /// The instance, as `activeByInstance` names it.
    pub instance: String,
    /// Different for every process.
    pub process: String,
}

/// Ownership of one execution by one session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Which execution.
    pub execution: ExecutionId,
    /// Whose.
    pub session: Session,
    /// Grows with every change of owner.
    pub epoch: u64,
}

/// An execution somebody just came to own.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The ownership.
    pub lease: Lease,
    /// The execution.
    pub record: Record,
    /// Messages not yet taken, oldest first, each with its number. A number grows within an execution and is never used twice.
    pub inbox: Vec<(u64, Message)>,
    /// It was taken from a session that is gone: attempts in flight have no known outcome.
    pub adopted: bool,
}

/// An execution to be.
#[derive(Clone, Debug, PartialEq)]
pub struct NewExecution {
    /// What indexes know of it.
    pub listing: Listing,
    /// Its fields.
    pub record: Record,
    /// An incomplete execution of the same correlation id is taken instead.
    pub correlation_id: Option<String>,
    /// When it is to be looked at first.
    pub due: Timestamp,
    /// At most so many of its definition run at once: it takes a slot, or its place among those that wait, as it is created. So the order of
    /// creation is the order of the gate, whoever comes to own which of them first.
    pub limit: Option<u32>,
}

/// What came of a [`Store::create`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is new, and due.
    New,
    /// One of the same id or correlation id was there.
    Existing(ExecutionId),
}

/// What becomes of an execution with a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// It stays owned.
    Keep,
    /// It is given back: due at that time, or with the next message. A message not yet taken makes it due at once.
    Park {
        /// When it is due.
        due: Option<Timestamp>,
    },
    /// It ended: no owner, nothing due; its slot in the concurrency gate is free. Messages not yet taken are dropped, unless one of them moves
    /// executions that ended ([`moves_ended`]): then those stay, and it is due at once.
    Finish,
}

/// One fenced write.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Under this ownership.
    pub lease: Lease,
    /// Which write of this ownership it is: grows from write to write, and is the same when one is repeated.
    pub number: u32,
    /// Fields to set.
    pub set: Vec<Field>,
    /// Fields to remove.
    pub remove: Vec<String>,
    /// The ids of the stages in order, when they changed.
    pub stage_index: Option<Vec<String>>,
    /// What indexes know of it, when that changed.
    pub listing: Option<Listing>,
    /// Messages up to this number were taken; 0 = none.
    pub taken: u64,
    /// For the outbox, numbers growing. One of a number not above the highest written before is dropped.
    pub notices: Vec<Notice>,
    /// What becomes of the execution.
    pub then: Then,
}

/// Why a write did not happen, or may not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Somebody else owns it now, or nobody: stop all work on it, nothing was changed.
    #[error("another session owns this execution now")]
    Fenced,
    /// No answer, or an error that may pass: the same write may be sent again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the store did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Not reachable, not in time, failing over: it may or may not have done what was asked.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// It answers and takes no writes: out of memory, out of disk, read-only. Nothing was changed.
    #[error("the store takes no writes: {0}")]
    Full(String),
    /// What was read is not ours to understand: written by a newer version, or damaged.
    #[error("the store holds what this version cannot read: {0}")]
    Unreadable(String),
    /// It lost what it had acknowledged: restarted with less, or failed over to a copy that lagged. Nothing was changed. Said to every session that
    /// began before: it is over, and all its leases with it. End it and begin another one, which comes to own what is there (`runbooks/store-lost-data.md`).
    #[error("the store lost data it had acknowledged: {0}")]
    LostData(String),
    /// The request cannot be right: too big, a key of the wrong type.
    #[error("the store refused: {0}")]
    Refused(String),
}

impl StoreError {
    /// The same request may do better later. `false`: the request is wrong, or what it meets; not the moment.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Full(_) | Self::LostData(_) => true,
            Self::Unreadable(_) | Self::Refused(_) => false,
        }
    }
}

/// What the concurrency gate said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// A slot is taken.
    Go,
    /// It waits; [`Message::Admitted`] comes when a slot is free.
    Wait,
}

/// Which executions a list is to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Pipelines or orchestrations.
    pub kind: Option<ExecutionType>,
    /// Of this application.
    pub application: Option<String>,
    /// Of this definition.
    pub pipeline_config_id: Option<String>,
    /// In one of these; empty = in any.
    pub statuses: Vec<Status>,
    /// Older than this one (the last of the page before).
    pub before: Option<ExecutionId>,
    /// At most so many; 1 to 1000.
    pub limit: usize,
}

/// Executions of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceActivity {
    /// The instance.
    pub instance: String,
    /// Its session is past its lease: what it owns waits to be adopted.
    pub overdue: bool,
    /// What it owns, at most 1000 of them.
    pub executions: Vec<Listing>,
    /// How many it owns.
    pub count: u64,
}

/// A version of a pipeline definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DefinitionVersion {
    /// Id of the definition.
    pub id: String,
    /// Its application.
    pub application: String,
    /// Its name, unique within the application.
    pub name: String,
    /// Counts from 1.
    pub version: u64,
    /// Who saved it.
    pub by: String,
    /// When, by the store's clock.
    pub at: Timestamp,
    /// It was removed with this version.
    #[serde(default)]
    pub deleted: bool,
    /// The document as it was given.
    pub document: Value,
}

/// Why a definition was not saved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaveError {
    /// Somebody saved in between; the version now.
    #[error("it is at version {0} now")]
    Conflict(u64),
    /// Definitions are read from files in this directory.
    #[error("pipelines are read from files in {0}; change the file, and agents take it within seconds")]
    ReadOnly(String),
    /// Another definition of the application has this name; its id.
    #[error("the name is taken by {0}")]
    NameTaken(String),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A notice on its way to people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outgoing {
    /// Names it in the outbox.
    pub id: String,
    /// The execution it is about.
    pub listing: Listing,
    /// What to tell.
    pub notice: Notice,
    /// How often it was handed out before.
    pub tries: u32,
}

/// True for messages that reach an execution after its end: a restart.
pub fn moves_ended(message: &Message) -> bool {
    match message {
        Message::Restart { .. } => true,
        Message::Admitted
        | Message::Cancel { .. }
        | Message::Pause { .. }
        | Message::Resume { .. }
        | Message::Patch { .. }
        | Message::ChildEnded { .. } => false,
    }
}

/// What a waiting execution is told when a newer one of its definition takes the slot ([`Store::start_waiting`] without `keep`).
/// The user is the one Orca names.
pub fn overtaken() -> Message {
    Message::Cancel {
        by: "spinnaker".to_owned(),
        reason: Some("a newer execution of this pipeline took its place in the queue".to_owned()),
    }
}

/// What a write is told that a later one of its ownership overtook.
fn overtaken_write() -> StoreError {
    StoreError::Refused("a later write of this ownership was carried out before".to_owned())
}

/// Names of a definition are parts of keys, of sorted indexes and of log lines.
fn plain_names(definition: &DefinitionVersion) -> Result<(), StoreError> {
    for (what, name) in [("id", &definition.id), ("application", &definition.application), ("name", &definition.name)] {
        if name.contains(char::is_control) {
            return Err(StoreError::Refused(format!("the {what} {name:?} of a pipeline holds a control character: take it out")));
        }
    }
    Ok(())
}

/// The mark that each save of a definition changes, in the same step.
pub const DEFINITIONS_MARK: &str = "definitions";

/// What [`DEFINITIONS_MARK`] says after this save: never the same twice.
fn mark_of(saved: &DefinitionVersion) -> String {
    format!("{}@{}/{}", saved.id, saved.version, saved.at.0)
}

/// What can be read of a list: one that a newer version wrote, or that is damaged, does not hide the others.
fn readable<T>(one: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match one {
        Err(StoreError::Unreadable(why)) => {
            warn!(why, "a list leaves out what this version cannot read (runbooks/unreadable-execution.md)");
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// How much of the past is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Ended executions older than this go …
    pub older_than: Timestamp,
    /// … but so many of each definition (of each application, for orchestrations) stay.
    pub keep: usize,
    /// At most so many in one step.
    pub step: usize,
}

/// The store.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The store's clock.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// Begins a session, or renews its lease. `Ok(false)`: another process holds this instance's name, and its lease has not run out.
    async fn beat(&self, session: &Session, lease: Duration) -> Result<bool, StoreError>;

    /// Ends a session: what it still owns is due now, for anybody. Also for the session of a process that is known to be dead.
    async fn end_session(&self, session: &Session) -> Result<(), StoreError>;

    /// Adds an execution.
    async fn create(&self, new: NewExecution) -> Result<Created, StoreError>;

    /// Comes to own what is due, oldest due first, and what sessions past their lease own, if this one was heard meanwhile (above). At most `max`, 1 to 500.
    async fn claim(&self, session: &Session, max: usize) -> Result<Vec<Claimed>, StoreError>;

    /// Comes to own this one, if it is due or only waits, or this session owns it already (the answer that said so was lost): then under a new epoch, as
    /// adopted. `None` when another session owns it, one past its lease included that this one may not adopt from yet, or it ended.
    async fn claim_one(&self, session: &Session, id: &ExecutionId) -> Result<Option<Claimed>, StoreError>;

    /// Writes under a fence. Writes that are under way together may reach the store together. Refused: one of a lower [`Write::number`] than the last.
    async fn write(&self, write: Write) -> Result<(), WriteError>;

    /// Messages that came since this number, oldest first; at most 100.
    async fn inbox(&self, lease: &Lease, after: u64) -> Result<Vec<(u64, Message)>, StoreError>;

    /// Puts a message in an inbox and makes the execution due. `Ok(false)`: there is no such execution, or it ended and this message cannot move it.
    async fn post(&self, id: &ExecutionId, message: &Message) -> Result<bool, StoreError>;

    /// Asks for a slot: at most `limit` executions of the definition hold one, and nobody passes those that wait. Asking again, or after a creation with
    /// a limit, gives the answer that was given then. Refused without the ownership.
    async fn admit(&self, lease: &Lease, pipeline_config_id: &str, limit: u32) -> Result<Admission, StoreError>;

    /// Hands free slots of a definition to those that wait: with `keep`, the oldest; else the newest, and the others are told to cancel.
    async fn start_waiting(&self, pipeline_config_id: &str, limit: u32, keep: bool) -> Result<(), StoreError>;

    /// What this session owns, by id, after this one; at most `limit`, 1 to 1000. A claim that was given up before this was asked brings nothing any more.
    async fn owned(&self, session: &Session, after: Option<&ExecutionId>, limit: usize) -> Result<Vec<ExecutionId>, StoreError>;

    /// Waits until something became due, an owned execution got a message, a session ran out, this one may adopt from all that did, or the time is over,
    /// whatever came first since this session's last wait: what is left lying is not told twice, so that an agent that takes no new work does not spin. Notified, not polled,
    /// where the store can.
    async fn wait(&self, session: &Session, at_most: Duration);

    /// Executions owned by this session that have messages waiting; at most 1000.
    async fn with_messages(&self, session: &Session) -> Result<Vec<ExecutionId>, StoreError>;

    /// When the next execution is due; `None` = nothing waits for a time.
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Reads an execution, owned or not, as it is now: for whoever decides something by it.
    async fn load(&self, id: &ExecutionId) -> Result<Option<Record>, StoreError>;

    /// Reads an execution to show it: perhaps as it was a moment ago, from a copy.
    async fn show(&self, id: &ExecutionId) -> Result<Option<Record>, StoreError> {
        self.load(id).await
    }

    /// Lists executions, newest first, to show them: perhaps as they were a moment ago. What this version cannot read is left out.
    async fn list(&self, query: &Query) -> Result<Vec<Listing>, StoreError>;

    /// Who owns what.
    async fn active_by_instance(&self) -> Result<Vec<InstanceActivity>, StoreError>;

    /// Removes an ended execution. `Ok(false)`: there is none, or it has not ended.
    async fn remove(&self, id: &ExecutionId) -> Result<bool, StoreError>;

    /// Removes a step's worth of the past; how many went.
    async fn expire(&self, retention: Retention) -> Result<usize, StoreError>;

    /// Saves a definition, and changes [`DEFINITIONS_MARK`]. `expected`: the version it was made from; 0 = it is new; `None` = whatever is there.
    async fn save_definition(&self, definition: DefinitionVersion, expected: Option<u64>) -> Result<DefinitionVersion, SaveError>;

    /// A definition: its newest version, or that one.
    async fn definition(&self, id: &str, version: Option<u64>) -> Result<Option<DefinitionVersion>, StoreError>;

    /// A definition by name: its newest version.
    async fn definition_named(&self, application: &str, name: &str) -> Result<Option<DefinitionVersion>, StoreError>;

    /// Newest versions of all definitions (of one application), by application and name, removed ones left out; at most `limit` after this id.
    async fn definitions(&self, application: Option<&str>, after: Option<&str>, limit: usize)
    -> Result<Vec<DefinitionVersion>, StoreError>;

    /// Versions of a definition, newest first, at most `limit`.
    async fn definition_history(&self, id: &str, limit: usize) -> Result<Vec<DefinitionVersion>, StoreError>;

    /// Takes a role (the scheduler's, the janitor's) for this long, or keeps it. `Ok(false)`: another session holds it.
    async fn take_role(&self, role: &str, session: &Session, lease: Duration) -> Result<bool, StoreError>;

    /// Remembers a small text under a name: when a cron last fired.
    async fn set_mark(&self, name: &str, text: &str) -> Result<(), StoreError>;

    /// Reads it.
    async fn mark(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Takes notices that are due from the outbox; each comes back after `lease` unless it is done or put off.
    async fn outbox(&self, max: usize, lease: Duration) -> Result<Vec<Outgoing>, StoreError>;

    /// A notice was delivered, or given up.
    async fn outbox_done(&self, id: &str) -> Result<(), StoreError>;

    /// A notice was not delivered: again at this time.
    async fn outbox_again(&self, id: &str, at: Timestamp) -> Result<(), StoreError>;
}
