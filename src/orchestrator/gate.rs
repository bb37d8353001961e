//! Spinnaker as the hand that retires an instance: one task in the application's Tasks, submitted once and followed to its end.

use super::web;

/// Which Spinnaker, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Gate's base URL, with or without a slash at the end.
    pub base: String,
    /// Sent as `X-SPINNAKER-USER` and as the task's `user`.
    pub user: String,
    /// Spinnaker's name of the AWS account, the task's `credentials`.
    pub account: String,
    /// Limits of every call.
    pub limits: web::Limits,
    /// Credentials of every call.
    pub auth: web::Auth,
}
