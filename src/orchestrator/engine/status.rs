//! The twelve statuses of an execution, a stage and a task, as Orca names them.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

/// Where an execution, a stage or a task stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Nothing was done yet.
    #[default]
    NotStarted,
    /// Under way.
    Running,
    /// Held by a person.
    Paused,
    /// Held, in records of old engines.
    Suspended,
    /// Done well.
    Succeeded,
    /// Failed, and the flow goes on.
    FailedContinue,
    /// Failed, and the flow stops.
    Terminal,
    /// Called off.
    Canceled,
    /// A task asks for its loop to be run again.
    Redirect,
    /// This branch stops; the pipeline may still succeed.
    Stopped,
    /// Not run, by condition or by a person; counts as success.
    Skipped,
    /// Held back before its start.
    Buffered,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::NotStarted,
        Self::Running,
        Self::Paused,
        Self::Suspended,
        Self::Succeeded,
        Self::FailedContinue,
        Self::Terminal,
        Self::Canceled,
        Self::Redirect,
        Self::Stopped,
        Self::Skipped,
        Self::Buffered,
    ];

    /// It will not run again unless somebody restarts it.
    pub fn is_complete(self) -> bool {
        match self {
            Self::Succeeded | Self::FailedContinue | Self::Terminal | Self::Canceled | Self::Stopped | Self::Skipped => true,
            Self::NotStarted | Self::Running | Self::Paused | Self::Suspended | Self::Redirect | Self::Buffered => false,
        }
    }

    /// What is downstream must not start.
    pub fn is_halt(self) -> bool {
        matches!(self, Self::Terminal | Self::Canceled | Self::Stopped)
    }

    /// Counts as success. [`Status::Stopped`] counts as both success and failure.
    pub fn is_successful(self) -> bool {
        matches!(self, Self::Succeeded | Self::Stopped | Self::Skipped)
    }

    /// Counts as failure. [`Status::Canceled`] does not.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::FailedContinue | Self::Terminal | Self::Stopped)
    }

    /// What comes after it may start.
    pub fn lets_downstream_start(self) -> bool {
        matches!(self, Self::Succeeded | Self::FailedContinue | Self::Skipped)
    }

    /// The word, as it is stored and shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotStarted => "NOT_STARTED",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Suspended => "SUSPENDED",
            Self::Succeeded => "SUCCEEDED",
            Self::FailedContinue => "FAILED_CONTINUE",
            Self::Terminal => "TERMINAL",
            Self::Canceled => "CANCELED",
            Self::Redirect => "REDIRECT",
            Self::Stopped => "STOPPED",
            Self::Skipped => "SKIPPED",
            Self::Buffered => "BUFFERED",
        }
    }

    /// Reads the word; `None` for one of a newer version.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.word() == word)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
