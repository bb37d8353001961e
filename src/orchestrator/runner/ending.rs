//! What an execution owes others when it ends: its parent hears of it, and the pipelines that follow its pipeline are started.
//!
//! What must stay true: the end is in the store before anybody hears of it, and everybody has heard of it before the execution is given up. An owner
//! that dies in between leaves an ended execution that is still owned; whoever adopts it tells all of them again, and each of them takes a second
//! telling for the first: a follower's id comes from the end it follows. One follower that the store refuses for good holds up no other.

use serde_json::Value;
use tracing::error;
use tracing::info;
use tracing::warn;

use super::Shared;
use super::definitions::Triggered;
use super::definitions::definition;
use super::start;
use crate::model::Timestamp;
use crate::orchestrator::engine::definition::Definition;
use crate::orchestrator::engine::definition::triggers::End;
use crate::orchestrator::engine::definition::triggers::On;
use crate::orchestrator::engine::definition::triggers::Trigger;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::execution::StageId;
use crate::orchestrator::engine::stage::child::SKIP_RESTART;
use crate::orchestrator::engine::stage::child::parent_summary;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::StoreError;
use crate::orchestrator::store::record;

/// True when nobody is known to wait for the end: then it is one write.
pub(super) fn concerns_nobody(execution: &Execution, shared: &Shared) -> bool {
    let followed = execution.summary().pipeline_config_id.as_deref().is_some_and(|id| {
        // What is not known for sure may be somebody.
        shared.definitions.peek().is_none_or(|index| index.followers(id).next().is_some())
    });
    !followed && parent(execution).is_none()
}

/// Tells everybody.
pub(super) async fn tell(execution: &Execution, shared: &Shared) -> Result<(), StoreError> {
    if let Some(parent) = parent(execution) {
        // A parent that is gone or has ended need not know.
        let _taken = shared.store.post(&parent, &Message::ChildEnded { execution: execution.id.clone() }).await?;
    }
    let Some(pipeline) = &execution.summary().pipeline_config_id else { return Ok(()) };
    let end = End::of(execution.status());
    for (follower, trigger) in shared.definitions.current().await?.followers(pipeline) {
        if matches!(&trigger.on, On::Pipeline { ends, .. } if ends.contains(&end)) {
            match follow(execution, follower, trigger, shared).await {
                Err(error) if !error.may_pass() => {
                    error!(execution = %execution.id, application = follower.application, pipeline = follower.name, %error,
                        "a pipeline that follows this one cannot be started; the others are (runbooks/record-refused.md)");
                }
                followed => followed?,
            }
        }
    }
    Ok(())
}

/// The execution whose `pipeline` stage started this one.
fn parent(execution: &Execution) -> Option<ExecutionId> {
    parent_stage(execution).map(|(parent, _)| parent)
}

/// The same, and the stage.
pub(super) fn parent_stage(execution: &Execution) -> Option<(ExecutionId, StageId)> {
    let trigger = &execution.summary().trigger;
    let stage = trigger.get("parentPipelineStageId")?.as_str()?;
    Some((trigger.get("parentExecution")?.get("id")?.as_str()?.into(), stage.into()))
}

/// A child that had ended runs again: the stage that started it does too, so that it watches it, if its execution has ended.
pub(super) async fn run_again(parent: &ExecutionId, stage: &StageId, by: &str, shared: &Shared) -> Result<(), StoreError> {
    let Some(record) = shared.store.load(parent).await? else { return Ok(()) };
    if !record::decode(parent, None, &record)?.status().is_complete() {
        return Ok(());
    }
    let body = Object::from_iter([(SKIP_RESTART.to_owned(), true.into())]);
    let restart = Message::Restart { stage: stage.clone(), by: by.to_owned(), body };
    // One that was removed since need not know.
    let _taken = shared.store.post(parent, &restart).await?;
    Ok(())
}

async fn follow(ended: &Execution, follower: &Triggered, trigger: &Trigger, shared: &Shared) -> Result<(), StoreError> {
    let Some(version) = shared.store.definition(&follower.id, None).await?.filter(|version| !version.deleted) else { return Ok(()) };
    let summary = ended.summary();
    let at = summary.end_time.unwrap_or(summary.build_time);
    let mut document = trigger.document.clone();
    document.insert("parameters".to_owned(), Value::Object(trigger.parameters.clone()));
    document.insert("user".to_owned(), trigger.run_as_user.as_deref().unwrap_or(&summary.authentication.user).into());
    document.insert("parentExecution".to_owned(), Value::Object(parent_summary(ended)));
    let event = format!("pipeline/{}/{}/{}/{}", ended.id, at.0, follower.id, trigger.id);
    let started_at = summary.start_time.unwrap_or(summary.build_time).0;
    document.insert("correlationId".to_owned(), format!("{}_{}_{}_{started_at}", ended.id, trigger.id, follower.id).into());
    let order = start::Order { id: start::id_of(&event, at), trigger: document, ..start::Order::default() };
    fire(&definition(&version), order, follower, &*shared.store, shared.clock.now()).await.map(drop)
}

/// Starts a pipeline that a trigger asks for; the execution. What is wrong with the start is kept as an execution that failed.
pub(super) async fn fire(
    definition: &Definition,
    order: start::Order,
    of: &Triggered,
    store: &dyn Store,
    now: Timestamp,
) -> Result<Option<ExecutionId>, StoreError> {
    match start::start(store, definition, order.clone(), now).await {
        Ok(started) => {
            info!(application = of.application, pipeline = of.name, execution = %started.id, existed = started.existed, "a trigger fired");
            Ok(Some(started.id))
        }
        Err(start::Error::Store(error)) => Err(error),
        // Disabled between the look at the triggers and the start.
        Err(start::Error::Disabled(_)) => Ok(None),
        Err(why @ start::Error::Wrong(_)) => {
            warn!(application = of.application, pipeline = of.name, %why, "a trigger fired and the pipeline could not be started");
            let failed = start::plan_failed(definition, order, &why, now);
            start::put(store, &failed, None, now).await.map(|started| Some(started.id))
        }
    }
}
