//! Why a cluster stops before its end, and what its code and its page in `runbooks/` are.

use std::time::Duration;

use serde::Serialize;
use serde::ser::SerializeMap;

use super::super::plan::Difference;
use crate::cloud;
use crate::model::GroupName;

/// Why a cluster stops before its end. A rerun goes on from there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// Asked to, by a signal.
    #[error("interrupted")]
    Interrupted,
    /// The time allowed ran out.
    #[error("out of time while waiting: {waiting}")]
    OutOfTime {
        /// For what.
        waiting: String,
    },
    /// A group is as nobody here made it.
    #[error("{group} was changed by somebody else: {}{}", list(.differences), last(.activity.as_deref()))]
    ChangedByAnother {
        /// The group.
        group: GroupName,
        /// Expected and found, field by field.
        differences: Vec<Difference>,
        /// The newest scaling activity of the group, whose cause may say who: its start, its cause. Unknown until the shell has asked.
        activity: Option<String>,
    },
    /// Another rollback took the group.
    #[error("{group} is held by {owner} now")]
    HoldLost {
        /// The group.
        group: GroupName,
        /// By whom.
        owner: String,
    },
    /// The group is not to be seen any more.
    #[error("{group} is gone, or is being deleted")]
    GroupGone {
        /// The group.
        group: GroupName,
    },
    /// The credentials may not.
    #[error("not allowed: {error}")]
    Denied {
        /// AWS's words.
        error: cloud::Error,
    },
    /// AWS said no, several times, to a step that follows from the facts.
    #[error("refused: {error}")]
    Refused {
        /// AWS's words.
        error: cloud::Error,
    },
    /// An older version against a store that a newer one has used, perhaps; the newest group is untouched.
    #[error(
        "{group}: no restored instance serves after {} s ({problem}); nothing was taken from the newest group: go on once it is mended, or take \
         it back with --undo",
        .within.as_secs()
    )]
    CanaryUnhealthy {
        /// The restored group.
        group: GroupName,
        /// How long it had.
        within: Duration,
        /// What is wrong with its members.
        problem: String,
    },
    /// Everything stands, but the service does not answer.
    #[error("the service does not answer: {problem}")]
    ServiceSilent {
        /// What came instead.
        problem: String,
    },
    /// All stood, and then it did not any more.
    #[error("worse again during the bake: {problem}; go on once it is mended, or take it back with --undo")]
    Regressed {
        /// What is not as it was verified.
        problem: String,
    },
    /// An interrupted run was asked for it and never began it, and whoever went on has left it alone.
    #[error("asked for, and never begun: {why}; to roll it back: {next}")]
    NotBegun {
        /// Why it was left alone.
        why: String,
        /// The command.
        next: String,
    },
    /// The journal cannot be written, so nothing more may be changed.
    #[error("the journal cannot be written: {problem}")]
    Journal {
        /// The system's words.
        problem: String,
    },
}

impl Stop {
    /// For programs, and the name of the page in `runbooks/`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Interrupted => "rollback-interrupted",
            Self::OutOfTime { .. } => "rollback-out-of-time",
            Self::ChangedByAnother { .. } => "rollback-changed-by-another",
            Self::HoldLost { .. } => "rollback-hold-lost",
            Self::GroupGone { .. } => "rollback-group-gone",
            Self::Denied { .. } => "rollback-denied",
            Self::Refused { .. } => "rollback-refused-by-aws",
            Self::CanaryUnhealthy { .. } => "rollback-canary-unhealthy",
            Self::ServiceSilent { .. } => "rollback-service-silent",
            Self::Regressed { .. } => "rollback-regressed",
            Self::NotBegun { .. } => "rollback-not-begun",
            Self::Journal { .. } => "rollback-journal",
        }
    }

    /// True when the same command goes on once the obstacle is gone by itself; false when a person has to mend something first.
    pub fn is_pause(&self) -> bool {
        match self {
            Self::Interrupted | Self::OutOfTime { .. } | Self::ChangedByAnother { .. } | Self::HoldLost { .. } => true,
            Self::GroupGone { .. }
            | Self::Denied { .. }
            | Self::Refused { .. }
            | Self::CanaryUnhealthy { .. }
            | Self::ServiceSilent { .. }
            | Self::Regressed { .. }
            | Self::NotBegun { .. }
            | Self::Journal { .. } => false,
        }
    }
}

impl Serialize for Stop {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", self.code())?;
        map.serialize_entry("message", &self.to_string())?;
        if let Self::ChangedByAnother { group, differences, activity } = self {
            map.serialize_entry("group", group)?;
            map.serialize_entry("differences", differences)?;
            map.serialize_entry("last_activity", activity)?;
        }
        map.end()
    }
}

fn list(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn last(activity: Option<&str>) -> String {
    activity.map(|text| format!("; AWS's last activity there: {text}")).unwrap_or_default()
}
