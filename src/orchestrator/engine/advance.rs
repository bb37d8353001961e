//! Moves an execution on: the rules of the stage graph.

use jiff::tz::TimeZone;

use super::event::Advance;
use super::event::Event;
use super::execution::Execution;
use super::stage::Registry;
use crate::model::Timestamp;

/// What the engine is told of the world outside the execution.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// Stage types.
    pub registry: &'a Registry,
    /// Now.
    pub now: Timestamp,
    /// Zone of the server, for execution windows and crons.
    pub zone: &'a TimeZone,
    /// This instance: attempts carry its name.
    pub instance: &'a str,
    /// Seed of what is random (jitter): the same for the same event of the same execution.
    pub seed: u64,
}

/// Takes an execution through one event, as far as it goes without anything from outside.
pub fn advance(execution: &mut Execution, event: Event, world: &World<'_>) -> Advance {
    let (_, _, _) = (execution, event, world);
    Advance::default()
}
