//! `pipeline`: starts another pipeline, and waits for its end unless `waitForCompletion` is false.
//!
//! What must stay true: one child per start of the stage, however often the start is repeated after a crash (its key is the attempt's); the child's
//! end is looked at when the child says so, and now and then in case that was lost; a parent that is called off, or whose time is up, calls its child off.
//!
//! | child | stage |
//! |---|---|
//! | `SUCCEEDED` | `SUCCEEDED` |
//! | `CANCELED` | `CANCELED` |
//! | `TERMINAL`, `STOPPED` | `TERMINAL`, with what failed in the child |
//! | anything else | `RUNNING` |
//!
//! Outputs: `executionId`, `executionName`, and those of the child once it is complete, unless `skipDownstreamOutput`.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::Failure;
use super::LAST_ERROR;
use super::StageKind;
use super::Step;
use super::TaskKind;
use super::TaskResult;
use super::TaskSpec;
use super::TaskView;
use super::View;
use super::fields;
use super::fields::Check;
use super::judgment;
use super::unexpected;
use crate::orchestrator::engine::advance::time::next_look;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::status::Status;

/// How long it waits for the child when `stageTimeoutMs` does not say.
const TIMEOUT: Duration = Duration::from_secs(12 * 60 * 60);

/// Looks at a child that has not said that it ended. Rare: ten thousand waiting parents are to cost the store 33 reads a second.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// Tries again what the store could not do.
const TRY_AGAIN: Duration = Duration::from_secs(15);

/// In the body of a restart: the child runs again already. Orca's word.
pub const SKIP_RESTART: &str = "_skipPipelineRestart";

/// The stage.
#[derive(Debug)]
pub struct Pipeline;

impl StageKind for Pipeline {
    fn name(&self) -> &'static str {
        "pipeline"
    }

    fn tasks(&self, view: &View<'_>) -> Vec<TaskSpec> {
        let start = fields::text(view.context, "executionId").is_none().then(|| TaskSpec::new("startPipeline", "startPipeline"));
        let waits = fields::truth(view.context, "waitForCompletion", true);
        start.into_iter().chain(waits.then(|| TaskSpec::new("monitorPipeline", "monitorPipeline"))).collect()
    }

    fn task(&self, class: &str) -> Option<&dyn TaskKind> {
        match class {
            "startPipeline" => Some(&Start),
            "monitorPipeline" => Some(&Monitor),
            _ => None,
        }
    }

    fn prepare_restart(&self, context: &mut Object, body: &Object) {
        context.remove("status");
        // Said when it is the child that was restarted: then it is watched again, not started again. In the context in executions of Orca's.
        let said = |value: Option<&Value>| value == Some(&Value::Bool(true));
        let in_context = said(context.remove(SKIP_RESTART).as_ref());
        if !in_context && !said(body.get(SKIP_RESTART)) {
            context.remove("executionId");
            context.remove("executionName");
        }
    }

    fn check(&self, stage: &Object) -> Vec<(String, String)> {
        let mut check = Check::of(stage);
        check.required("pipeline", "give the id or the name of the pipeline to start");
        check.texts(&["pipeline", "application", "pipelineApplication"]).objects(&["pipelineParameters"]);
        check.flags(&["waitForCompletion", "skipDownstreamOutput"]).done()
    }
}

/// What the trigger of an execution says of the one that started it. That one's own parent is left out: along a chain of triggers each would nest
/// in the next, until the record is deeper than JSON may be.
pub fn parent_summary(parent: &Execution) -> Object {
    let summary = parent.summary();
    let mut trigger = summary.trigger.clone();
    trigger.remove("parentExecution");
    let facts = json!({
        "id": parent.id,
        "type": summary.kind,
        "application": summary.application,
        "name": summary.name,
        "pipelineConfigId": summary.pipeline_config_id,
        "status": summary.status,
        "canceled": summary.canceled,
        "buildTime": summary.build_time,
        "startTime": summary.start_time,
        "endTime": summary.end_time,
        "authentication": summary.authentication,
        "trigger": trigger,
    });
    let Value::Object(facts) = facts else { unreachable!("it was written as an object") };
    facts
}

/// Most bytes of stages and outputs that a child is told of its parent.
const TOLD_BYTES: usize = 64 << 10;

/// The same with its stages and their outputs, for a child. Contexts of stages are left out; so are outputs, and then stages, beyond a bound, and how many
/// were is said: a parent of a thousand children would else be written a thousand times over.
pub fn parent_execution(parent: &Execution) -> Value {
    let (mut stages, mut left, mut outputs_left_out) = (Vec::new(), TOLD_BYTES, 0);
    for stage in parent.stages() {
        let head = stage.head();
        let mut told = json!({"id": stage.id, "refId": head.ref_id, "type": head.kind, "name": head.name, "status": stage.status()});
        let Some(rest) = left.checked_sub(size(&told, left)) else { break };
        left = rest;
        match left.checked_sub(object_size(stage.outputs(), left)) {
            Some(rest) => {
                left = rest;
                told["outputs"] = Value::Object(stage.outputs().clone());
            }
            None => outputs_left_out += 1,
        }
        stages.push(told);
    }
    let mut facts = parent_summary(parent);
    for (key, count) in [("stagesLeftOut", parent.stages().len() - stages.len()), ("outputsLeftOut", outputs_left_out)] {
        if count > 0 {
            facts.insert(key.to_owned(), count.into());
        }
    }
    facts.insert("stages".to_owned(), Value::Array(stages));
    Value::Object(facts)
}

/// About how many bytes a value takes as JSON; looks no further once it is more than `most`.
fn size(value: &Value, most: usize) -> usize {
    let mut sum = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(_) | Value::Object(_) => 2,
    };
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        Value::Array(items) => {
            for item in items {
                if sum > most {
                    break;
                }
                sum += size(item, most - sum) + 1;
            }
        }
        Value::Object(object) => sum = object_size(object, most),
    }
    sum
}

fn object_size(object: &Object, most: usize) -> usize {
    let mut sum = 2;
    for (key, value) in object {
        if sum > most {
            break;
        }
        sum += key.len() + 4;
        sum += size(value, most.saturating_sub(sum));
    }
    sum
}

#[derive(Debug)]
struct Start;

impl Start {
    fn effect(view: View<'_>) -> Result<Effect, Failure> {
        let context = view.context;
        let Some(pipeline) = fields::text(context, "pipeline") else {
            return Err(Failure::new("ConfigurationException", "pipeline is missing; give the id or the name of the pipeline to start"));
        };
        let summary = view.execution.summary();
        let named = fields::text(context, "pipelineApplication").or_else(|| fields::text(context, "application"));
        let user = judgment::acting(view.execution, view.at);
        let mut trigger = json!({
            "type": "pipeline",
            "user": user.user,
            "authentication": user,
            "parameters": context.get("pipelineParameters").filter(|p| p.is_object()).cloned().unwrap_or_else(|| json!({})),
            "parentPipelineId": view.execution.id,
            "parentPipelineApplication": summary.application,
            "parentPipelineStageId": view.stage().id,
            "parentExecution": parent_execution(view.execution),
        });
        for (from, to) in [("pipelineArtifacts", "artifacts"), ("pipelineTemplateVariables", "templateVariables")] {
            if let (Some(value), Some(trigger)) = (context.get(from), trigger.as_object_mut()) {
                trigger.insert(to.to_owned(), value.clone());
            }
        }
        let trigger = trigger.as_object().cloned().unwrap_or_default();
        Ok(Effect::StartPipeline { application: named.unwrap_or(&summary.application).to_owned(), pipeline: pipeline.to_owned(), trigger })
    }
}

impl TaskKind for Start {
    fn step(&self, view: &TaskView<'_>, outcome: Option<&Outcome>) -> Step {
        match outcome {
            None => match Self::effect(view.stage) {
                Ok(effect) => Step::Perform { result: TaskResult::default(), effect },
                Err(failure) => Step::Fail(failure),
            },
            Some(Outcome::Started { execution, name }) => {
                let ids = [("executionId".to_owned(), execution.as_str().into()), ("executionName".to_owned(), name.as_str().into())];
                let ids: Object = ids.into_iter().collect();
                let mut context = ids.clone();
                context.insert(LAST_ERROR.to_owned(), Value::Null);
                Step::Finish(TaskResult { status: Status::Succeeded, context, outputs: ids, ..TaskResult::default() })
            }
            Some(Outcome::NotFound { what }) => {
                let help = "check the fields pipeline and application of the stage, and that the pipeline is saved";
                Step::Fail(Failure::new("NotFoundException", format!("there is no such pipeline: {what}; {help}")))
            }
            Some(Outcome::Failed { error, retryable: true }) => {
                let result = TaskResult::default().with(LAST_ERROR, error.as_str());
                Step::Wait { result, until: Some(next_look(view, TRY_AGAIN)) }
            }
            Some(other) => Step::Fail(unexpected("the pipeline could not be started", other)),
        }
    }

    /// A child whose start was under way when the parent was called off is known once that start is answered.
    fn on_cancel(&self, view: &TaskView<'_>) -> Option<Effect> {
        call_off(view)
    }

    fn is_waited_for(&self, _: &TaskView<'_>) -> bool {
        true
    }
}

#[derive(Debug)]
struct Monitor;

fn child(view: &View<'_>) -> Option<ExecutionId> {
    fields::text(view.context, "executionId").map(ExecutionId::from)
}

impl TaskKind for Monitor {
    fn step(&self, view: &TaskView<'_>, outcome: Option<&Outcome>) -> Step {
        let Some(execution) = child(&view.stage) else {
            return Step::Fail(Failure::new("IllegalStateException", "the stage knows no executionId to wait for; restart the stage"));
        };
        match outcome {
            None => Step::Perform { result: TaskResult::default(), effect: Effect::ReadExecution { execution } },
            Some(Outcome::Execution { status, outputs, failed, name }) => match ended(*status) {
                None => {
                    let result = TaskResult::default().with("status", status.word()).with(LAST_ERROR, Value::Null);
                    Step::Wait { result, until: Some(next_look(view, LOOK_AGAIN)) }
                }
                Some(own) => {
                    let mut result = TaskResult { status: own, ..TaskResult::default() }.with("status", status.word());
                    if !fields::truth(view.stage.context, "skipDownstreamOutput", false) {
                        result.outputs = outputs.clone();
                    }
                    if own == Status::Terminal {
                        result = result.with("exception", exception(&execution, name, *status, failed.as_ref()));
                    }
                    Step::Finish(result)
                }
            },
            Some(Outcome::NotFound { .. }) => Step::Fail(Failure::new(
                "ExecutionNotFoundException",
                format!("the child execution {execution} is no longer in the store; its end is not known"),
            )),
            Some(Outcome::Failed { error, retryable: true }) => {
                let result = TaskResult::default().with(LAST_ERROR, error.as_str());
                Step::Wait { result, until: Some(next_look(view, TRY_AGAIN)) }
            }
            Some(other) => Step::Fail(unexpected("the child execution could not be read", other)),
        }
    }

    fn timeout(&self, _: &TaskView<'_>) -> Option<Duration> {
        Some(TIMEOUT)
    }

    fn timeout_is_overridable(&self) -> bool {
        true
    }

    fn on_cancel(&self, view: &TaskView<'_>) -> Option<Effect> {
        call_off(view)
    }
}

fn call_off(view: &TaskView<'_>) -> Option<Effect> {
    let execution = child(&view.stage)?;
    let summary = view.stage.execution.summary();
    let by = summary.canceled_by.clone().unwrap_or_else(|| "system".to_owned());
    let reason = if summary.canceled {
        let why = summary.cancellation_reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
        format!("the parent pipeline {} was called off{why}", summary.name)
    } else {
        let stage = &view.stage.stage().head().name;
        format!("the stage {stage} of the parent pipeline {} ended without waiting for it any longer", summary.name)
    };
    Some(Effect::CancelExecution { execution, by, reason })
}

/// What a child's status makes of the stage; `None` = it runs on.
fn ended(child: Status) -> Option<Status> {
    match child {
        Status::Succeeded => Some(Status::Succeeded),
        Status::Canceled => Some(Status::Canceled),
        Status::Terminal | Status::Stopped => Some(Status::Terminal),
        Status::NotStarted
        | Status::Running
        | Status::Paused
        | Status::Suspended
        | Status::FailedContinue
        | Status::Redirect
        | Status::Skipped
        | Status::Buffered => None,
    }
}

/// What failed in the child, in Orca's form. `failed` is its first stage that halted: `stageId`, `stageName`, `stageIndex`, `exception`.
fn exception(execution: &ExecutionId, name: &str, status: Status, failed: Option<&Value>) -> Value {
    let field = |key: &str| failed.and_then(|stage| stage.get(key)).cloned().unwrap_or_default();
    let stage = field("stageName").as_str().map_or_else(|| name.to_owned(), |stage| format!("{name}, stage {stage}"));
    let details = field("exception").get("details").cloned().unwrap_or_default();
    let errors = details.get("errors").and_then(Value::as_array).filter(|errors| !errors.is_empty()).cloned();
    let errors = errors.unwrap_or_else(|| details.get("error").cloned().into_iter().collect());
    let mut told: Vec<String> = errors.iter().map(|error| format!("{stage}: {}", fields::shown(error))).collect();
    if told.is_empty() {
        told.push(format!("{stage}: ended {status}; see execution {execution}"));
    }
    json!({
        "exceptionType": "ChildPipelineFailure",
        "details": {"error": told[0], "errors": told},
        "source": {
            "executionId": execution,
            "stageId": field("stageId"),
            "stageName": field("stageName"),
            "stageIndex": field("stageIndex"),
        },
    })
}

#[cfg(test)]
mod tests;
