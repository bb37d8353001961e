//! Stages: judgments, waits, preconditions and child pipelines.

use std::time::Duration;

use bellrock::model::Timestamp;
use bellrock::orchestrator::engine::effect::Outcome;
use bellrock::orchestrator::engine::execution::Execution;
use bellrock::orchestrator::engine::execution::Head;
use bellrock::orchestrator::engine::execution::LastModified;
use bellrock::orchestrator::engine::execution::Object;
use bellrock::orchestrator::engine::execution::Stage;
use bellrock::orchestrator::engine::execution::StageId;
use bellrock::orchestrator::engine::execution::Summary;
use bellrock::orchestrator::engine::execution::Synthetic;
use bellrock::orchestrator::engine::execution::Task;
use bellrock::orchestrator::engine::expression::Unknown;
use bellrock::orchestrator::engine::expression::facts::Facts;
use bellrock::orchestrator::engine::expression::render_object;
use bellrock::orchestrator::engine::stage::Failure;
use bellrock::orchestrator::engine::stage::Registry;
use bellrock::orchestrator::engine::stage::Step;
use bellrock::orchestrator::engine::stage::TaskResult;
use bellrock::orchestrator::engine::stage::TaskView;
use bellrock::orchestrator::engine::stage::View;
use bellrock::orchestrator::engine::stage::judgment;
use bellrock::orchestrator::engine::status::Status;
use serde_json::Value;
use serde_json::json;

use super::Answer;
use super::Refusal;
use crate::Row;

const START: Timestamp = Timestamp(1_424_000_000_000);

/// Our answer to a row of one of these areas.
pub fn answer(row: &Row) -> Option<Answer> {
    let (input, known): (_, &[&str]) = (
        &row.input,
        match row.area.as_str() {
            "judgment" => &["status", "notified", "shouldNotify"],
            "wait" => &["status"],
            "precondition" => &["status", "expressionResult", "error"],
            _ => &["status", "outputs"],
        },
    );
    if !row.expected.as_object()?.keys().all(|key| known.contains(&key.as_str())) {
        return None;
    }
    match row.area.as_str() {
        "judgment" if input.get("state").is_some() => Some(reminder(input)),
        "judgment" => Some(judged(input)),
        "wait" => Some(wait(input)),
        "precondition" => precondition(input),
        "child_pipeline" => child(input),
        _ => None,
    }
}

/// A stage under way at its task of this place, and what the task says.
struct Scene {
    execution: Execution,
    now: Timestamp,
}

impl Scene {
    fn new(kind: &str, context: Value, mut before: Vec<Stage>) -> Self {
        let head = Head { kind: kind.to_owned(), status: Status::Running, start_time: Some(START), ..Head::default() };
        before.push(Stage::new("this".into(), head, context.as_object().cloned().unwrap_or_default()));
        Self { execution: Execution::new("E".into(), Summary::default(), before), now: START }
    }

    fn at(&self) -> usize {
        self.execution.stages().len() - 1
    }

    fn head(&mut self) -> &mut Head {
        let at = self.at();
        self.execution.stage_mut(at).head_mut()
    }

    /// Looks at the last task of the stage.
    fn step(&mut self, outcome: Option<&Outcome>) -> Option<Step> {
        let registry = Registry::standard();
        let (at, now, zone) = (self.at(), self.now, jiff::tz::TimeZone::UTC);
        let kind = registry.kind(&self.execution.stage(at).head().kind)?;
        let view = View { execution: &self.execution, at, context: self.execution.stage(at).context(), now, zone: &zone };
        let specs = kind.tasks(&view);
        let class = specs.last()?.class;
        let task = |class: &str| Task { implementing_class: class.to_owned(), start_time: Some(START), ..Task::default() };
        *self.execution.stage_mut(at).tasks_mut() = specs.iter().map(|spec| task(spec.class)).collect();
        let view = View { execution: &self.execution, at, context: self.execution.stage(at).context(), now, zone: &zone };
        Some(kind.task(class)?.step(&TaskView { stage: view, task_at: specs.len() - 1 }, outcome))
    }
}

fn result(step: Step) -> TaskResult {
    match step {
        Step::Finish(result) => result,
        Step::Wait { result, .. } | Step::Perform { result, .. } => TaskResult { status: Status::Running, ..result },
        Step::Fail(Failure { context, .. }) => TaskResult { status: Status::Terminal, context, ..TaskResult::default() },
    }
}

fn judged(input: &Value) -> Answer {
    let block = json!({"type": "email", "when": input["when"]});
    let mut context = input.as_object().cloned().unwrap_or_default();
    context.insert("notifications".to_owned(), if input["when"].is_array() { json!([block]) } else { json!([]) });
    let mut scene = Scene::new("manualJudgment", Value::Object(context), Vec::new());
    let roles = input["userRoles"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let admin = input["admin"] == true;
    scene.head().last_modified = Some(LastModified { user: "judge".to_owned(), roles, admin, ..LastModified::default() });
    let result = result(scene.step(None).ok_or_else(nothing)?);
    Ok(json!({"status": result.status, "notified": !result.notices.is_empty()}))
}

/// A time that is not a number is any time after the last notice.
fn reminder(input: &Value) -> Answer {
    let block = input.as_object().cloned().unwrap_or_default();
    let state = input["state"].as_str().unwrap_or_default();
    let last = input["lastNotifiedMs"].get(state).and_then(Value::as_i64).map(Timestamp);
    let now = input["nowMs"].as_i64().map_or(START, Timestamp);
    Ok(json!({"shouldNotify": judgment::should_notify(&block, state, last, now)}))
}

fn wait(input: &Value) -> Answer {
    let mut scene = Scene::new("wait", input.clone(), Vec::new());
    scene.now = START.plus(Duration::from_millis((input["elapsedSeconds"].as_f64().unwrap_or(0.0) * 1000.0) as u64));
    Ok(json!({"status": result(scene.step(None).ok_or_else(nothing)?).status}))
}

/// The stage of one precondition, its expressions resolved as the engine would.
fn precondition(input: &Value) -> Option<Answer> {
    let mut inner = Object::new();
    let (mut context, mut trigger) = (Object::new(), Object::new());
    for (key, value) in input.as_object()? {
        if let Some(key) = key.strip_prefix("stage.context.") {
            context.insert(key.to_owned(), value.clone());
        } else if let Some(key) = key.strip_prefix("trigger.") {
            trigger.insert(key.to_owned(), value.clone());
        } else if !["type", "stages"].contains(&key.as_str()) {
            inner.insert(key.clone(), value.clone());
        }
    }
    let kind = input["type"].as_str()?;
    context.insert("preconditions".to_owned(), json!([{"type": kind, "context": inner}]));
    let parent = Scene::new("checkPreconditions", Value::Object(context), Vec::new());
    let (registry, zone) = (Registry::standard(), jiff::tz::TimeZone::UTC);
    let view = View { execution: &parent.execution, at: 0, context: parent.execution.stage(0).context(), now: START, zone: &zone };
    let spec = registry.kind("checkPreconditions")?.synthetic(&view, Synthetic::StageBefore).ok()?.pop()?;
    let facts = Facts { context: spec.context.clone(), execution: json!({ "trigger": trigger }), ..Facts::default() };
    let context = render_object(&spec.context, &facts, Unknown::Null).value.into_owned();
    let stage = |stage: &Value| {
        let status = stage["status"].as_str().and_then(Status::from_word).unwrap_or_default();
        let name = stage["name"].as_str().unwrap_or_default().to_owned();
        Stage::new(StageId(name.clone()), Head { ref_id: name.clone(), name, status, ..Head::default() }, Object::new())
    };
    let before = input["stages"].as_array().into_iter().flatten().map(stage).collect();
    let mut scene = Scene::new("checkPreconditions", Value::Object(context), before);
    scene.head().parent_stage_id = Some("parent".into());
    let step = match scene.step(None)? {
        // What a row says of the sizes of clusters is not known here.
        Step::Perform { .. } => return None,
        step => step,
    };
    if let Step::Fail(failure) = &step
        && kind != "expression"
    {
        let kind = if failure.kind == "ConfigurationException" { "Configuration" } else { "PreconditionFailure" };
        return Some(Err(Refusal { kind, message: failure.errors.join("; ") }));
    }
    let result = result(step);
    Some(Ok(json!({"status": result.status, "expressionResult": result.context.get("context").map(|inner| &inner["expressionResult"])})))
}

fn child(input: &Value) -> Option<Answer> {
    let status = Status::from_word(input["childStatus"].as_str()?)?;
    let outputs = input["childStageOutputs"].as_object().cloned().unwrap_or_default();
    let context = json!({"executionId": "C", "skipDownstreamOutput": input["skipDownstreamOutput"] == true});
    let seen = Outcome::Execution { status, outputs, failed: None, name: "Child".to_owned() };
    let result = result(Scene::new("pipeline", context, Vec::new()).step(Some(&seen))?);
    Some(Ok(json!({"status": result.status, "outputs": result.outputs})))
}

fn nothing() -> Refusal {
    Refusal { kind: "Configuration", message: "the stage has no task".to_owned() }
}
