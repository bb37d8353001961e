//! What can go wrong with a call to the cloud, classified once, here.

use std::fmt;

/// An error of the cloud: what a caller can do about it ([`Kind`]) and AWS's own words, kept verbatim for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{action}: {kind}: {code}: {message}{}", self.request_id.as_deref().map(|id| format!(" (request {id})")).unwrap_or_default())]
pub struct Error {
    /// What a caller can do about it.
    pub kind: Kind,
    /// The API action, e.g. `DescribeAutoScalingGroups`.
    pub action: &'static str,
    /// AWS's code (`ValidationError`, `Throttling`), or ours for what never reached AWS (`Timeout`, `NoCredentials`, `NoMetadata`).
    pub code: String,
    /// AWS's message, verbatim.
    pub message: String,
    /// For AWS support.
    pub request_id: Option<String>,
}

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The account's request bucket is empty: slow down, then try again.
    Throttled,
    /// 5xx, connection refused: nothing was done as far as anybody can tell from a read; for a mutation the outcome is unknown.
    Unavailable,
    /// No answer in time, or the connection broke: the outcome is unknown.
    TimedOut,
    /// The thing is not there (any more).
    Gone,
    /// Not allowed, no or expired credentials, clock skew: a person has to act.
    Denied,
    /// Another change is under way (`ScalingActivityInProgress`, `ResourceContention`): try again later, after reading anew.
    Conflict,
    /// AWS understood and said no (`ValidationError` and its like): reading anew tells why.
    Refused,
    /// The answer makes no sense, or the request did not: a defect here or there.
    Bug,
}

impl Error {
    /// True when a mutation that failed so may have been carried out all the same (F21). A read never cares.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::TimedOut | Kind::Bug)
    }

    /// True when the same call may succeed later without anybody doing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, Kind::Throttled | Kind::Unavailable | Kind::TimedOut | Kind::Conflict)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "no answer",
            Self::Gone => "gone",
            Self::Denied => "denied",
            Self::Conflict => "another change is under way",
            Self::Refused => "refused",
            Self::Bug => "unintelligible",
        })
    }
}
