//! The engine as the orchestrator of this instance: what it owns is what is busy, claiming is its intake, and a drain hands back.
//!
//! What must stay true: a runner that is gone is unknown, not idle; an intake is closed only when no claim is under way any more.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Handle;
use crate::model::Activity;
use crate::model::Clock;
use crate::model::ExecutionRef;
use crate::model::Generation;
use crate::model::Intake;
use crate::model::Sample;
use crate::orchestrator::Abilities;
use crate::orchestrator::Error;
use crate::orchestrator::Orchestrator;
use crate::orchestrator::engine::execution::ExecutionType;

/// Executions that an activity names; the count is of all.
const NAMED: usize = 100;
const GONE: &str = "the engine of this process has ended";

/// The engine that runs in this process.
pub struct Embedded {
    runner: Handle,
    clock: Arc<dyn Clock>,
}

impl Embedded {
    /// The orchestrator behind this handle.
    pub fn new(runner: Handle, clock: Arc<dyn Clock>) -> Self {
        Self { runner, clock }
    }
}

#[async_trait]
impl Orchestrator for Embedded {
    async fn activity(&self) -> Sample {
        let asked = self.clock.now();
        let Some(state) = self.runner.state() else {
            return Sample { activity: Activity::Unknown { why: GONE.to_owned() }, asked, measured: None, generation: None };
        };
        let (count, some) = self.runner.owned(NAMED);
        let named = some.into_iter().map(|(id, owned)| {
            let list = match owned.kind {
                ExecutionType::Pipeline => "pipelines",
                ExecutionType::Orchestration => "tasks",
            };
            ExecutionRef { application: owned.application, url: format!("/{list}/{id}") }
        });
        let activity = if count == 0 { Activity::Idle } else { Activity::Busy { count: count as u64, executions: named.collect() } };
        Sample { activity, asked, measured: None, generation: state.session.map(|session| Generation(session.process)) }
    }

    async fn intake(&self) -> Intake {
        match self.runner.state() {
            None => Intake::Unknown { why: GONE.to_owned() },
            Some(state) if state.claims => Intake::Open,
            // Opened, and not begun yet.
            Some(_) if self.runner.wished().intake && self.runner.wished().run => Intake::Open,
            Some(_) => Intake::Closed,
        }
    }

    async fn set_intake(&self, open: bool) -> Result<(), Error> {
        self.runner.state().ok_or_else(|| Error::NoAnswer(GONE.to_owned()))?;
        self.runner.wish(|wish| wish.intake = open);
        Ok(())
    }

    async fn stop(&self, grace: Duration) -> Result<(), Error> {
        self.runner.wish(|wish| wish.run = false);
        match tokio::time::timeout(grace, self.runner.until(|state| state.session.is_none())).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Error::NoAnswer(format!("the engine still gives back what it owns after {} s", grace.as_secs()))),
        }
    }

    async fn start(&self) -> Result<(), Error> {
        self.runner.state().ok_or_else(|| Error::NoAnswer(GONE.to_owned()))?;
        self.runner.wish(|wish| wish.run = true);
        Ok(())
    }

    fn abilities(&self) -> Abilities {
        Abilities { intake: true, stop: true, start: true }
    }
}
