//! What a call to the region answers: AWS's codes and messages (draining.md §4, emulators.md §1.2), before any wire format.

use std::time::Duration;

use crate::cloud::Error;

/// An error as AWS would answer it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[error("{code} ({status}): {message}")]
pub struct ApiError {
    /// AWS's code.
    pub code: &'static str,
    /// AWS's message.
    pub message: String,
    /// HTTP status.
    pub status: u16,
}

/// Result of an API action.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// An error with this code, a client error of status 400.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), status: 400 }
    }

    /// `ValidationError`, the code Auto Scaling uses for nearly everything.
    pub fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationError", message)
    }

    /// The account's request bucket is empty.
    pub fn throttling() -> Self {
        Self::new("Throttling", "Rate exceeded")
    }

    /// A broken front: 500.
    pub fn internal() -> Self {
        Self { code: "InternalFailure", message: "An internal error has occurred".into(), status: 500 }
    }

    /// 503.
    pub fn unavailable() -> Self {
        Self { code: "ServiceUnavailable", message: "Service is unable to handle request.".into(), status: 503 }
    }

    /// The caller may not; EC2 has a word of its own for it, `UnauthorizedOperation`, which means the same.
    pub fn denied(caller: &str, action: &str) -> Self {
        Self { code: "AccessDenied", message: format!("User: {caller} is not authorized to perform: {action}"), status: 403 }
    }

    /// Another change holds the group's lock; a 500 that is not a broken server.
    pub fn contention() -> Self {
        Self {
            code: "ResourceContention",
            message: "You already have a pending update to an Amazon EC2 Auto Scaling resource.".into(),
            status: 500,
        }
    }

    /// A scaling activity is under way.
    pub fn in_progress(group: &str) -> Self {
        Self::new(
            "ScalingActivityInProgress",
            format!("Scaling activity is in progress for AutoScalingGroup {group} and blocks this action."),
        )
    }

    pub(super) fn no_group(name: &str) -> Self {
        Self::validation(format!("AutoScalingGroup name not found - {name}"))
    }

    pub(super) fn no_managed_instance(id: &str) -> Self {
        Self::validation(format!("No managed instance found for instance ID: {id}"))
    }

    /// The same error as the agent's cloud room sees it.
    pub fn classified(&self, action: &'static str) -> Error {
        Error::classify(action, self.code, self.status, &self.message, None)
    }
}

/// What comes back over a call, or does not.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer<T> {
    /// AWS's reply.
    Reply(ApiResult<T>),
    /// Nothing ever comes back. The call may have been carried out (F21).
    Hang,
    /// The connection breaks. The call may have been carried out (F21).
    Reset,
}

/// What the front does with a call before it reaches the region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Carry it out and answer.
    Go,
    /// Carry it out; the answer is lost: the connection breaks (`hang` = nothing comes at all).
    GoButLoseReply {
        /// Nothing comes, instead of a broken connection.
        hang: bool,
    },
    /// Do not carry it out; answer this.
    Fail(ApiError),
    /// Do not carry it out; nothing comes back.
    Hang,
    /// Do not carry it out; the connection breaks.
    Reset,
}

/// Longest latency that a rule may ask for: a front never waits longer than this before it answers.
pub(super) const LATENCY_MAX: Duration = Duration::from_secs(600);
