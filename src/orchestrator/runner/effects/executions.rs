//! Effects on other executions: a child is started, looked at, called off.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Performer;
use crate::model::Timestamp;
use crate::orchestrator::engine::context::merged_outputs;
use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::runner::definitions::definition;
use crate::orchestrator::runner::start;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::StoreError;
use crate::orchestrator::store::record;

/// The words of the effects this carries out.
pub const WORDS: [&str; 3] = ["startPipeline", "readExecution", "cancelExecution"];

/// Carries out effects on other executions of the same store.
pub struct Executions {
    store: Arc<dyn Store>,
}

impl Executions {
    /// On this store, whose clock gives new executions their time.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    async fn start(&self, key: &AttemptKey, application: &str, pipeline: &str, mut trigger: Object) -> Result<Outcome, StoreError> {
        let id = start::id_of(&key.idempotency_key(), Timestamp(key.started));
        let found = match self.store.definition(pipeline, None).await? {
            Some(found) if !found.deleted => Some(found),
            Some(_) | None => self.store.definition_named(application, pipeline).await?,
        };
        let Some(found) = found else { return Ok(Outcome::NotFound { what: format!("no pipeline {pipeline} in {application}") }) };
        trigger.entry("type").or_insert_with(|| "pipeline".into());
        trigger.entry("parentExecution").or_insert_with(|| json!({"id": key.execution}));
        trigger.entry("parentPipelineId").or_insert_with(|| key.execution.as_str().into());
        trigger.entry("parentPipelineStageId").or_insert_with(|| key.stage.as_str().into());
        // The parent has resolved them: what is left in them is text.
        let told = trigger.get("parameters").and_then(Value::as_object).into_iter().flat_map(|p| p.keys().cloned()).collect();
        let order = start::Order { id: id.clone(), trigger, told, ..start::Order::default() };
        let definition = definition(&found);
        let now = self.store.now().await?;
        Ok(match start::start(&*self.store, &definition, order, now).await {
            Ok(started) => Outcome::Started { execution: started.id, name: found.name },
            Err(start::Error::Store(error)) => return Err(error),
            // An earlier try may have started it before it was disabled or changed.
            Err(start::Error::Disabled(_) | start::Error::Wrong(_)) if self.store.load(&id).await?.is_some() => {
                Outcome::Started { execution: id, name: found.name }
            }
            Err(refused @ (start::Error::Disabled(_) | start::Error::Wrong(_))) => {
                Outcome::Failed { error: refused.to_string(), retryable: false }
            }
        })
    }

    async fn read(&self, id: &ExecutionId) -> Result<Outcome, StoreError> {
        let Some(record) = self.store.load(id).await? else { return Ok(Outcome::NotFound { what: format!("no execution {id}") }) };
        Ok(stand(&record::decode(id, None, &record)?))
    }

    async fn cancel(&self, id: &ExecutionId, by: String, reason: String) -> Result<Outcome, StoreError> {
        // One that has ended needs no calling off.
        let taken = self.store.post(id, &Message::Cancel { by, reason: Some(reason) }).await?;
        Ok(Outcome::Done { output: taken.into() })
    }
}

/// How an execution stands, for the stage that waits for it.
fn stand(execution: &Execution) -> Outcome {
    let status = execution.status();
    let outputs = if status.is_complete() { merged_outputs(execution) } else { Object::new() };
    let failed = execution.stages().iter().enumerate().find(|(_, stage)| stage.status().is_halt()).map(|(at, stage)| {
        json!({"stageId": stage.id, "stageName": stage.head().name, "stageIndex": at, "exception": stage.context().get("exception")})
    });
    Outcome::Execution { status, outputs, failed, name: execution.summary().name.clone() }
}

#[async_trait]
impl Performer for Executions {
    async fn perform(&self, key: &AttemptKey, effect: Effect, stop: &CancellationToken) -> Outcome {
        // A child that was started and not named could not be called off: its start is not stopped, and is as long as a few calls to the store.
        let stoppable = !matches!(effect, Effect::StartPipeline { .. });
        let work = async {
            match effect {
                Effect::StartPipeline { application, pipeline, trigger } => self.start(key, &application, &pipeline, trigger).await,
                Effect::ReadExecution { execution } => self.read(&execution).await,
                Effect::CancelExecution { execution, by, reason } => self.cancel(&execution, by, reason).await,
                other @ (Effect::Http { .. }
                | Effect::Fetch { .. }
                | Effect::Job { .. }
                | Effect::AttachJob { .. }
                | Effect::StopJob {}
                | Effect::ClusterSize { .. }
                | Effect::Call { .. }) => Ok(Outcome::Failed { error: format!("{} is not done here", other.word()), retryable: false }),
            }
        };
        // Safe to cancel: each is one call to the store, or is repeated under the same id.
        tokio::select! {
            biased;
            outcome = work => outcome.unwrap_or_else(|error| {
                let unreadable = matches!(error, StoreError::Unreadable(_));
                Outcome::Failed { error: error.to_string(), retryable: !unreadable }
            }),
            () = stop.cancelled(), if stoppable => Outcome::Failed { error: "it was stopped".to_owned(), retryable: true },
        }
    }
}
