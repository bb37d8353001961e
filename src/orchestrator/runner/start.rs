//! Starting: a definition and a trigger become an execution in the store. The one way in for people, triggers, parents and the command line.
//!
//! What must stay true: what is wrong with a start is said at once and all together, and then nothing is started; a start that is repeated under the same
//! id, or under the correlation id of an execution that has not ended, gives that execution and no second one.

mod expressions;

use std::collections::BTreeSet;

use serde_json::Value;
use ulid::Ulid;

use crate::model::Timestamp;
use crate::orchestrator::engine::definition::Definition;
use crate::orchestrator::engine::definition::PlannedStage;
use crate::orchestrator::engine::definition::parameters;
use crate::orchestrator::engine::execution::Authentication;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::ExecutionType;
use crate::orchestrator::engine::execution::Head;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::execution::Stage;
use crate::orchestrator::engine::execution::StageId;
use crate::orchestrator::engine::execution::Summary;
use crate::orchestrator::engine::nesting::DEEPEST;
use crate::orchestrator::engine::nesting::is_too_deep;
use crate::orchestrator::engine::problem::Problem;
use crate::orchestrator::engine::problem::escaped;
use crate::orchestrator::engine::seed;
use crate::orchestrator::engine::status::Status;
use crate::orchestrator::store::Created;
use crate::orchestrator::store::NewExecution;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::StoreError;
use crate::orchestrator::store::record;

/// Who started it when nobody says.
const ANONYMOUS: &str = "[anonymous]";

/// What a start brings beside the definition.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// Of the new execution: [`new_id`], or [`id_of`] the event it is started for.
    pub id: ExecutionId,
    /// Becomes the execution's trigger. `type`, `user` and `parameters` are filled in when they are missing.
    pub trigger: Object,
    /// Who starts it. The trigger's `user` is taken when this has none.
    pub authentication: Authentication,
    /// `api`, `ui`, `cron`, …
    pub origin: Option<String>,
    /// Names of parameters that neither the pipeline nor a person who may start it gave: their values are text, whatever they look like.
    pub told: BTreeSet<String>,
}

/// What came of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The execution.
    pub id: ExecutionId,
    /// It was there before: started under this id or correlation id.
    pub existed: bool,
}

/// Why nothing was started.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The definition is disabled.
    #[error("pipeline {0} is disabled")]
    Disabled(String),
    /// Parameters, or expressions of the pipeline's own level.
    #[error("the start is not in order: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Wrong(Vec<Problem>),
    /// The store did not take it, or may not have.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Most bytes that are given to the store at once: what cannot be moved to and fro in a moment holds everybody up. Three times the largest context that is
/// meant to work, 10 MB.
pub(super) const MOST_BYTES: usize = 32 << 20;

/// An id nobody else has.
pub fn new_id(now: Timestamp) -> ExecutionId {
    ulid(now, Ulid::new().random())
}

/// The id of the execution that is started for this event: the same for every try.
pub fn id_of(event: &str, at: Timestamp) -> ExecutionId {
    let half = |salt: &str| u128::from(seed::of(&format!("{event}{salt}")));
    ulid(at, half("/1") << 64 | half("/2"))
}

fn ulid(at: Timestamp, random: u128) -> ExecutionId {
    ExecutionId(Ulid::from_parts(u64::try_from(at.0).unwrap_or(0), random).to_string())
}

/// Starts a pipeline.
///
/// # Errors
/// What is wrong with the start, or with the store; see [`Error`].
pub async fn start(store: &dyn Store, definition: &Definition, order: Order, now: Timestamp) -> Result<Started, Error> {
    let correlation_id = order.trigger.get("correlationId").and_then(Value::as_str).map(str::to_owned);
    let execution = plan(definition, order, now)?;
    Ok(put(store, &execution, correlation_id, now).await?)
}

/// Puts an execution into the store, due now.
///
/// # Errors
/// The store did not take it, or may not have: the same call may be made again.
pub async fn put(store: &dyn Store, execution: &Execution, correlation_id: Option<String>, now: Timestamp) -> Result<Started, StoreError> {
    let record = record::encode(execution);
    let bytes: usize = record.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MOST_BYTES {
        return Err(StoreError::Refused(format!("the execution has {bytes} bytes; at most {MOST_BYTES} go")));
    }
    let new = NewExecution { listing: record::listing(execution), record, correlation_id, due: now, limit: execution.summary().limit() };
    Ok(match store.create(new).await? {
        Created::New => Started { id: execution.id.clone(), existed: false },
        Created::Existing(id) => Started { id, existed: true },
    })
}

/// The execution that a definition and a trigger make.
///
/// # Errors
/// The definition is disabled, or what the trigger brings does not fit.
pub fn plan(definition: &Definition, order: Order, now: Timestamp) -> Result<Execution, Error> {
    let name = definition.name().unwrap_or_default().to_owned();
    if definition.is_disabled() && object(definition, "initialConfig").get("enabled") != Some(&Value::Bool(true)) {
        return Err(Error::Disabled(name));
    }
    let problems = too_deep(definition, &order.trigger);
    if !problems.is_empty() {
        return Err(Error::Wrong(problems));
    }
    let (mut trigger, authentication) = trigger(order.trigger, order.authentication);
    if trigger.get("dryRun").is_some_and(|wanted| !matches!(wanted, Value::Null | Value::Bool(false))) {
        // Taken for a start like any other it would do for real what somebody only wanted to try.
        let problem = Problem::error("/dryRun", "dry runs are not served here, and this would have been a real run");
        return Err(Error::Wrong(vec![problem.help("send plan: true to see what would begin")]));
    }
    let given = trigger.get("parameters").and_then(Value::as_object).cloned().unwrap_or_default();
    let parameters = parameters::resolve(&definition.parameters(), &given).map_err(Error::Wrong)?;
    trigger.insert("parameters".to_owned(), parameters.into());
    let definition = &expressions::resolve(definition, &mut trigger, &order.told, now);
    let text = |key: &str| definition.document().get(key).and_then(Value::as_str).map(str::to_owned);
    let summary = Summary {
        kind: ExecutionType::Pipeline,
        application: definition.application().unwrap_or_default().to_owned(),
        name: definition.name().unwrap_or_default().to_owned(),
        pipeline_config_id: definition.id().map(str::to_owned),
        build_time: now,
        start_time_expiry: definition.start_time_expiry(),
        limit_concurrent: definition.limit_concurrent(),
        max_concurrent_executions: definition.max_concurrent_executions(),
        keep_waiting_pipelines: definition.keep_waiting(),
        authentication,
        trigger,
        origin: order.origin,
        spel_evaluator: definition.spel_evaluator().map(str::to_owned),
        description: text("description"),
        notifications: definition.notifications().to_vec(),
        initial_config: object(definition, "initialConfig"),
        source: object(definition, "source"),
        template_variables: object(definition, "templateVariables"),
        ..Summary::default()
    };
    Ok(execution(order.id, summary, definition.stages()))
}

/// What nests too deep to be read again, of a definition's stages and of what the trigger brings. What it tells of a parent is ours, and was judged there.
fn too_deep(definition: &Definition, trigger: &Object) -> Vec<Problem> {
    let message = || format!("nests more than {DEEPEST} levels deep");
    let brought = trigger.iter().filter(|(key, value)| *key != "parentExecution" && is_too_deep(value));
    let brought = brought.map(|(key, _)| Problem::error(format!("/trigger/{}", escaped(key)), message()));
    let stages = definition.document().get("stages").and_then(Value::as_array).into_iter().flatten().enumerate();
    let planned = stages.filter(|(_, stage)| is_too_deep(stage)).map(|(at, _)| Problem::error(format!("/stages/{at}"), message()));
    brought.chain(planned).collect()
}

/// An execution of jobs sent to `/tasks`: one stage each, one after the other.
pub fn plan_tasks(
    id: ExecutionId,
    application: &str,
    description: &str,
    jobs: Vec<Value>,
    by: Authentication,
    now: Timestamp,
) -> Execution {
    let mut document = Object::new();
    document.insert("stages".to_owned(), Value::Array(jobs));
    let (trigger, authentication) = trigger(Object::new(), by);
    let summary = Summary {
        kind: ExecutionType::Orchestration,
        application: application.to_owned(),
        name: description.to_owned(),
        build_time: now,
        authentication,
        trigger,
        description: Some(description.to_owned()),
        ..Summary::default()
    };
    execution(id, summary, Definition::from_document(document).stages())
}

/// A start that failed for good is kept as an execution that failed, so that whoever waits for it sees why.
pub fn plan_failed(definition: &Definition, order: Order, why: &Error, now: Timestamp) -> Execution {
    let (mut trigger, authentication) = trigger(order.trigger, order.authentication);
    // It has to be readable, whatever was wrong with it.
    trigger.retain(|_, value| !is_too_deep(value));
    let summary = Summary {
        kind: ExecutionType::Pipeline,
        application: definition.application().unwrap_or_default().to_owned(),
        name: definition.name().unwrap_or_default().to_owned(),
        pipeline_config_id: definition.id().map(str::to_owned),
        status: Status::Terminal,
        build_time: now,
        end_time: Some(now),
        canceled: true,
        canceled_by: Some("system".to_owned()),
        cancellation_reason: Some(format!("Failed on startup: {why}")),
        authentication,
        trigger,
        origin: order.origin,
        ..Summary::default()
    };
    execution(order.id, summary, Vec::new())
}

fn execution(id: ExecutionId, summary: Summary, planned: Vec<PlannedStage>) -> Execution {
    let stage = |(at, planned): (usize, PlannedStage)| {
        let head = Head {
            ref_id: planned.ref_id,
            kind: planned.kind,
            name: planned.name,
            requisite_stage_ref_ids: planned.requisites,
            start_time_expiry: planned.start_time_expiry,
            ..Head::default()
        };
        Stage::new(StageId(format!("{id}-{at}")), head, planned.context)
    };
    let stages = planned.into_iter().enumerate().map(stage).collect();
    Execution::new(id.clone(), summary, stages)
}

/// The trigger with what it lacks, and who starts the execution.
fn trigger(mut trigger: Object, mut by: Authentication) -> (Object, Authentication) {
    trigger.entry("type").or_insert_with(|| "manual".into());
    if by.user.is_empty() {
        by.user = trigger.get("user").and_then(Value::as_str).unwrap_or(ANONYMOUS).to_owned();
    }
    trigger.entry("user").or_insert_with(|| by.user.clone().into());
    (trigger, by)
}

fn object(definition: &Definition, key: &str) -> Object {
    definition.document().get(key).and_then(Value::as_object).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests;
