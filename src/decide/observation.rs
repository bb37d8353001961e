//! Everything that can be seen. Each observation carries its time; answers carry the key of the action they belong to.

use serde::Serialize;

use super::action::Key;
use super::status::Command;
use crate::model::Group;
use crate::model::GroupInstance;
use crate::model::Hook;
use crate::model::Intake;
use crate::model::LifecycleState;
use crate::model::Moment;
use crate::model::Notices;
use crate::model::PermitAnswer;
use crate::model::Probe;
use crate::model::Probed;
use crate::model::Sample;
use crate::model::Vitals;

/// One observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When it reached us.
    pub at: Moment,
    /// What it is.
    pub seen: Seen,
}

/// What can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Time passed.
    Tick,
    /// The answer to an action. One that belongs to no pending action is ignored.
    Answer {
        /// Of the action.
        key: Key,
        /// What came back.
        answer: Box<Answer>,
    },
    /// An operator asks for something.
    Asked(Command),
    /// The state before the last step's deeds could not be put on disk; the deeds were not done (F46).
    JournalLost(String),
    /// The agent is being stopped, which is no drain: what it set for the time it runs is to be taken back.
    Stopping,
}

/// What came back from an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`super::Look::TargetState`].
    TargetState(Result<Option<LifecycleState>, Fault>),
    /// To [`super::Look::Notices`].
    Notices(Result<Notices, Fault>),
    /// To [`super::Look::Hook`]; `None` when the group has none of that name.
    Hook(Result<Option<Hook>, Fault>),
    /// To [`super::Look::Own`]: our entry in Auto Scaling's book, and whether an activity that ends us is under way or done.
    Own(Result<OwnRead, Fault>),
    /// To [`super::Look::Group`]: our group; `None` when AWS does not list it.
    Group(Result<Option<Group>, Fault>),
    /// To [`super::Look::Cluster`]: our group and every other of the cluster, as far as the describe lists them.
    Cluster(Result<Vec<Group>, Fault>),
    /// To [`super::Look::Orchestrator`]: the intake switch, read before the sample was taken, and the sample.
    Orchestrator {
        /// The switch.
        intake: Intake,
        /// The activity.
        sample: Sample,
    },
    /// To [`super::Look::Probe`].
    Probe(Probe, Probed),
    /// To [`super::Look::Vitals`].
    Vitals(Vitals),
    /// To [`super::Look::Task`].
    Task(Result<TaskRead, Fault>),
    /// To [`super::Look::OwnTask`]: the task that ends us or did; `None` when there is none that could.
    OwnTask(Result<Option<String>, Fault>),
    /// To a [`super::Deed`].
    Done(Result<Receipt, Fault>),
}

/// Our own entry in Auto Scaling's book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OwnRead {
    /// `None` when Auto Scaling does not list us.
    pub entry: Option<GroupInstance>,
    /// The newest activity that names us as an instance to end, where one was asked for.
    pub ending: Option<EndingActivity>,
}

/// An activity that ends our instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndingActivity {
    /// AWS's id.
    pub id: String,
    /// `true` when it failed or was cancelled.
    pub failed: bool,
    /// Status and message, for people.
    pub text: String,
}

/// How a task in Spinnaker stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskRead {
    /// Not ended.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended otherwise; Spinnaker's words.
    Failed(String),
}

/// What a deed gave back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Receipt {
    /// Nothing but success.
    Done,
    /// The terminate call was accepted; the activity's id.
    Activity(String),
    /// A task in Spinnaker was accepted; its reference.
    Task(String),
    /// The question for a permit was answered.
    Permit(PermitAnswer),
}

/// What went wrong, as far as a decision depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What can be done about it.
    pub what: FaultKind,
    /// For people: action, code and message.
    pub text: String,
}

/// What can be done about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The service said "not now"; nothing was done.
    NotNow,
    /// Nobody can say whether it was done.
    OutcomeUnknown,
    /// Not allowed, or no credentials: a person has to act.
    Denied,
    /// Understood and refused: reading anew tells why.
    Refused,
    /// There is no way to do it with this configuration, or it broke: a person has to act.
    Broken,
}
