//! The engine as the orchestrator of this instance: what it owns is what is busy, claiming is its intake, and a drain hands back. It knows by itself
//! how its store is, and need not be probed for that.
//!
//! What must stay true: a runner that is gone is unknown, not idle, and so is one that has yet to begin its session: the jobs of the process before it may
//! run. A job that runs here is work, also when another instance has taken over its execution: it would be cut in the middle. An intake is closed only
//! when no claim is under way any more; that the store is well is told of the moment at which it was asked, and not for longer than the next question and
//! its answer take. An engine that hangs must not pass for a store that does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;

use super::Handle;
use super::StoreStands;
use crate::model::Activity;
use crate::model::Clock;
use crate::model::ExecutionRef;
use crate::model::Generation;
use crate::model::Intake;
use crate::model::Probe;
use crate::model::Probed;
use crate::model::Sample;
use crate::model::Vitals;
use crate::orchestrator::Abilities;
use crate::orchestrator::Error;
use crate::orchestrator::Orchestrator;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::ExecutionType;
use crate::orchestrator::probe::Probes;

/// Executions that an activity names; the count is of all.
const NAMED: usize = 100;
const GONE: &str = "the engine of this process has ended";
/// A look waits so long for a process that has just started to begin its session: it is a moment's matter where the store answers, and whoever looks comes
/// again only after a minute.
const BEGINS_WITHIN: Duration = Duration::from_secs(1);
const UNSEEN: &str = "what the process before this one left at work on this host is not known yet: the engine has no session, and begins one once its store \
                      answers (runbooks/store-unavailable.md)";

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

    /// Why nobody can tell what is under way on this host; `None` = what is owned, and [`Self::jobs_of_others`], is all.
    ///
    /// Until a session has begun what the one before it owned is not settled, and its jobs outlive it. An engine that is not wished to run was stopped by
    /// somebody who saw to that.
    fn unseen(&self) -> Option<String> {
        let waits = self.runner.wished().run && self.runner.state().is_some_and(|state| state.session.is_none());
        waits.then(|| UNSEEN.to_owned())
    }

    /// Executions that are not owned here, of which a job still runs on this host. Looks at the disk, if there may be any.
    fn jobs_of_others(&self) -> BTreeSet<ExecutionId> {
        let mut outlived = self.runner.outlived.lock().unwrap_or_else(PoisonError::into_inner);
        if outlived.is_empty() {
            return BTreeSet::new();
        }
        let running = self.runner.performer.running();
        outlived.retain(|id| running.contains(id));
        let owned = self.runner.owned.lock().unwrap_or_else(PoisonError::into_inner);
        outlived.iter().filter(|id| !owned.contains_key(*id)).cloned().collect()
    }
}

/// Probes of an engine's agent: what the engine meets at its store counts before what a probe of it says.
///
/// Of an engine that asks nothing any more, or does not hear the answer, nobody can tell from here that its store is well: the store is asked past it.
pub struct KnowsItsStore<P> {
    runner: Handle,
    probes: P,
    /// The store is probed besides.
    probed: bool,
}

impl<P> KnowsItsStore<P> {
    /// Before these probes, of which one is the store's where `probed`.
    pub fn new(runner: Handle, probes: P, probed: bool) -> Self {
        Self { runner, probes, probed }
    }
}

#[async_trait]
impl<P: Probes> Probes for KnowsItsStore<P> {
    async fn probe(&self, probe: Probe) -> Probed {
        if probe != Probe::Store {
            return self.probes.probe(probe).await;
        }
        match self.runner.store() {
            StoreStands::Fails(why) => return Probed::Failed { why: format!("the engine: {why}") },
            StoreStands::NotAsked(why) => return Probed::Unable { why: why.to_owned() },
            StoreStands::SilentFor(age) => {
                if let Err(why) = self.runner.ask_store().await {
                    let said = format!(
                        "what the engine asked of it {} s ago was answered, and nothing since; asked past the engine: {why}",
                        age.as_secs()
                    );
                    return Probed::Unable { why: said };
                }
            }
            StoreStands::Answers => {}
        }
        if self.probed { self.probes.probe(probe).await } else { Probed::Passed }
    }

    async fn vitals(&self) -> Vitals {
        self.probes.vitals().await
    }
}

#[async_trait]
impl Orchestrator for Embedded {
    async fn activity(&self) -> Sample {
        let asked = self.clock.now();
        if self.unseen().is_some() {
            let _late = tokio::time::timeout(BEGINS_WITHIN, self.runner.until(|state| state.session.is_some())).await;
        }
        let Some(state) = self.runner.state() else {
            return Sample { activity: Activity::Unknown { why: GONE.to_owned() }, asked, measured: None, generation: None };
        };
        if let Some(why) = self.unseen() {
            return Sample { activity: Activity::Unknown { why }, asked, measured: None, generation: None };
        }
        // In this order: what comes to be owned in between is counted twice, and not never.
        let others = self.jobs_of_others();
        let (owned, some) = self.runner.owned(NAMED);
        let count = owned + others.len();
        let named = some.into_iter().map(|(id, owned)| {
            let list = match owned.kind {
                ExecutionType::Pipeline => "pipelines",
                ExecutionType::Orchestration => "tasks",
            };
            ExecutionRef { application: owned.application, url: format!("/{list}/{id}") }
        });
        // Of another instance's execution nothing but the id is known here.
        let left = others.into_iter().map(|id| ExecutionRef { application: String::new(), url: format!("/pipelines/{id}") });
        let executions = || named.chain(left).take(NAMED).collect();
        let activity = if count == 0 { Activity::Idle } else { Activity::Busy { count: count as u64, executions: executions() } };
        Sample { activity, asked, measured: None, generation: state.session.map(|session| Generation(session.process)) }
    }

    async fn intake(&self) -> Intake {
        match self.runner.state() {
            None => Intake::Unknown { why: GONE.to_owned() },
            Some(state) if state.claims => Intake::Open,
            // Opened, and not begun yet.
            Some(_) if self.runner.wished().intake && self.runner.wished().run => Intake::Open,
            // A session may begin by claiming what the one before it had under way.
            Some(_) => self.unseen().map_or(Intake::Closed, |why| Intake::Unknown { why }),
        }
    }

    async fn set_intake(&self, open: bool) -> Result<(), Error> {
        self.runner.state().ok_or_else(|| Error::NoAnswer(GONE.to_owned()))?;
        self.runner.wish(|wish| wish.intake = open);
        Ok(())
    }

    async fn stop(&self, grace: Duration) -> Result<(), Error> {
        // There is nothing to stop, and whoever asks would take that for everything having ended in order.
        if let Some(why) = self.unseen() {
            return Err(Error::Refused(why));
        }
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
