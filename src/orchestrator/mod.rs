//! The orchestrator on this instance, whoever runs it: is it busy, does it take new work, stop it gracefully.
//!
//! What must stay true: nothing here judges. An answer that is not understood is [`Activity::Unknown`](crate::model::Activity::Unknown),
//! never idle (F2), and a switch is only closed when a read said so (F11). Every call is bounded in time by its implementation.

pub mod bystander;
pub mod endpoint;
pub mod engine;
pub mod gate;
pub mod orca;
pub mod permits;
pub mod probe;
pub mod process;
pub mod runner;
pub mod store;
pub mod supervised;
mod systemd;
pub mod unit;
pub mod web;

#[cfg(test)]
mod test_server;

use std::time::Duration;

use async_trait::async_trait;

use crate::model::Intake;
use crate::model::Sample;

/// One orchestrator.
#[async_trait]
pub trait Orchestrator: Send + Sync + 'static {
    /// Looks at what it executes now. Never fails: what cannot be learnt is unknown.
    async fn activity(&self) -> Sample;

    /// Reads the intake switch.
    async fn intake(&self) -> Intake;

    /// Sets the intake switch. Success means that the orchestrator accepted it, not that it is so: read it back.
    async fn set_intake(&self, open: bool) -> Result<(), Error>;

    /// Stops the orchestrator gracefully within `grace`. `Ok` means that it no longer runs.
    async fn stop(&self, grace: Duration) -> Result<(), Error>;

    /// Starts it again, after a drain was called off. `Ok` means that the start was accepted.
    async fn start(&self) -> Result<(), Error>;

    /// Stops it within `grace` and starts it again. One that did not stop is not started, since there might be two; it is still wanted to run.
    async fn restart(&self, grace: Duration) -> Result<(), Error> {
        self.stop(grace).await?;
        self.start().await
    }

    /// What this orchestrator can be asked for.
    fn abilities(&self) -> Abilities;
}

/// What an orchestrator can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// There is an intake switch.
    pub intake: bool,
    /// There is a way to stop it.
    pub stop: bool,
    /// There is a way to start it again.
    pub start: bool,
}

/// Why an orchestrator could not be told something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It answered, and the answer was no.
    #[error("the orchestrator refused: {0}")]
    Refused(String),
    /// No answer within the limit, or none that makes sense.
    #[error("the orchestrator did not answer: {0}")]
    NoAnswer(String),
    /// The configuration gives no way to do this.
    #[error("the configuration gives no way to {0}")]
    Unable(&'static str),
}
