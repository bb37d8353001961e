//! `expression` and `optional_stage`: what Orca makes of texts with expressions in them.

use std::borrow::Cow;

use bellrock::model::Timestamp;
use bellrock::orchestrator::engine::expression;
use bellrock::orchestrator::engine::expression::Problem;
use bellrock::orchestrator::engine::expression::Unknown;
use bellrock::orchestrator::engine::expression::facts::Facts;
use bellrock::orchestrator::engine::expression::optional;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::Answer;
use super::Refusal;

fn facts(input: &Value) -> Facts {
    let object = |key: &str| input[key].as_object().cloned().unwrap_or_default();
    let mut context = object("context");
    context.extend(object("stageContext"));
    let mut execution = object("execution");
    for key in ["stages", "trigger", "authentication"] {
        if let Some(value) = input.get(key) {
            execution.insert(key.to_owned(), value.clone());
        }
    }
    if let Some(parameters) = input.get("trigger.parameters") {
        execution.insert("trigger".to_owned(), json!({ "type": "manual", "parameters": parameters }));
    }
    if let Some(user) = input["user"].as_str() {
        execution.insert("authentication".to_owned(), json!({ "user": user }));
    }
    let current = ["currentStageId", "currentStage"].into_iter().find_map(|key| input[key].as_str()).map(str::to_owned);
    Facts { context, execution: Value::Object(execution), current, now: Timestamp(1_700_000_000_000), ..Facts::default() }
}

fn unknown(input: &Value) -> Unknown {
    if input["allowUnknownKeys"] == false { Unknown::Refused } else { Unknown::Null }
}

/// Our answer; `None` for a form nothing here reads.
pub fn answer(input: &Value) -> Option<Answer> {
    let facts = facts(input);
    if let Some(call) = input["call"].as_str() {
        return Some(called(call, &facts));
    }
    if let Some(source) = input.get("source") {
        return Some(Ok(text(source, &facts, unknown(input))));
    }
    if let Some(map) = input["sourceMap"].as_object() {
        let rendered = expression::render_object(map, &facts, unknown(input));
        return Some(Ok(json!({ "valueMap": *rendered.value })));
    }
    if let Some(context) = input["stageContext"].as_object() {
        return Some(Ok(seen_by_a_task(context, &facts)));
    }
    input["stages"].as_array().map(|stages| Ok(stage_by_stage(stages, &facts)))
}

fn called(call: &str, facts: &Facts) -> Answer {
    let value = expression::evaluate(call, facts, Unknown::Null).map_err(|error| {
        let kind = if matches!(error.problem, Problem::Function { .. }) { "SpelHelperFunction" } else { "SpelEvaluation" };
        Refusal { kind, message: error.to_string() }
    })?;
    let field = |key: &str| value.get(key).cloned().unwrap_or_default();
    let context = field("context");
    let mut answer = Map::new();
    answer.extend(context.as_object().cloned().unwrap_or_default());
    answer.insert("stageName".to_owned(), field("name"));
    answer.insert("stageId".to_owned(), field("id"));
    answer.insert("status".to_owned(), field("status"));
    answer.insert("value".to_owned(), value);
    Ok(Value::Object(answer))
}

fn text(source: &Value, facts: &Facts, unknown: Unknown) -> Value {
    let map: Map<String, Value> = [("test".to_owned(), source.clone())].into_iter().collect();
    let rendered = expression::render_object(&map, facts, unknown);
    let first = rendered.summary.entries().values().next().and_then(|entries| entries.first());
    json!({
        "value": rendered.value["test"],
        "summaryEntries": rendered.summary.entries().len(),
        "level": first.map(|entry| entry.level),
        "exceptionType": first.and_then(|entry| entry.exception_type.clone()),
        "description": first.map(|entry| entry.description.clone()),
        "needs": rendered.needs,
    })
}

/// A task sees the stage's context with its expressions resolved, one or all of them asked for.
fn seen_by_a_task(context: &Map<String, Value>, facts: &Facts) -> Value {
    let rendered = expression::render_object(context, facts, Unknown::Null);
    let mut answer: Map<String, Value> = rendered.value.iter().map(|(key, value)| (format!("taskSees.{key}"), value.clone())).collect();
    if let [only] = rendered.value.values().collect::<Vec<_>>().as_slice() {
        answer.insert("taskSees".to_owned(), (*only).clone());
    }
    Value::Object(answer)
}

/// The contexts of all stages, each resolved as its own: `{type}.{key}`, `{name}.{key}`, `{refId}.{key}`, and `{key}` alone.
fn stage_by_stage(stages: &[Value], facts: &Facts) -> Value {
    let mut answer = Map::new();
    for stage in stages {
        let Some(context) = stage["context"].as_object() else { continue };
        let mut names = outputs_above(stages, stage);
        names.extend(context.clone());
        let own = Facts { context: names, ..facts.clone() };
        let rendered: Cow<'_, Map<String, Value>> = expression::render_object(context, &own, Unknown::Null).value;
        answer.extend(rendered.iter().map(|(key, value)| (key.clone(), value.clone())));
        for label in ["type", "name", "refId"].into_iter().filter_map(|key| stage[key].as_str()) {
            answer.extend(rendered.iter().map(|(key, value)| (format!("{label}.{key}"), value.clone())));
        }
    }
    Value::Object(answer)
}

/// The outputs of the stages it waits for and of those above them, the nearest on top.
fn outputs_above(stages: &[Value], stage: &Value) -> Map<String, Value> {
    let mut found = Map::new();
    let waits_for = |id: &str| stage["requisiteStageRefIds"].as_array().is_some_and(|ids| ids.iter().any(|one| one == id));
    for above in stages.iter().filter(|other| other["refId"].as_str().is_some_and(waits_for)) {
        found.extend(outputs_above(stages, above));
        found.extend(above["outputs"].as_object().cloned().unwrap_or_default());
    }
    found
}

/// Our answer to a row of `optional_stage`.
pub fn optional_stage(input: &Value) -> Option<Answer> {
    let condition = optional::condition(input.get("stageEnabled"), &facts(input));
    Some(Ok(json!({ "skipped": !condition.runs() })))
}
