//! `graph`, `complete_execution`, `concurrency`, `timeout`, `backoff`, `cancel`, `context`, `hydrate`: rows are built as executions and run by the engine.

use std::sync::Arc;
use std::time::Duration;

use bellrock::model::Clock;
use bellrock::model::Moment;
use bellrock::model::Timestamp;
use bellrock::orchestrator::engine::advance::World;
use bellrock::orchestrator::engine::advance::advance;
use bellrock::orchestrator::engine::advance::rules;
use bellrock::orchestrator::engine::advance::time;
use bellrock::orchestrator::engine::context;
use bellrock::orchestrator::engine::effect::Outcome;
use bellrock::orchestrator::engine::event::Command;
use bellrock::orchestrator::engine::event::Event;
use bellrock::orchestrator::engine::event::Message;
use bellrock::orchestrator::engine::execution::Execution;
use bellrock::orchestrator::engine::execution::Head;
use bellrock::orchestrator::engine::execution::Object;
use bellrock::orchestrator::engine::execution::Paused;
use bellrock::orchestrator::engine::execution::Stage;
use bellrock::orchestrator::engine::execution::StageId;
use bellrock::orchestrator::engine::execution::Summary;
use bellrock::orchestrator::engine::execution::Synthetic;
use bellrock::orchestrator::engine::execution::Task;
use bellrock::orchestrator::engine::stage::Failure;
use bellrock::orchestrator::engine::stage::Registry;
use bellrock::orchestrator::engine::stage::StageKind;
use bellrock::orchestrator::engine::stage::StageSpec;
use bellrock::orchestrator::engine::stage::Step;
use bellrock::orchestrator::engine::stage::TaskKind;
use bellrock::orchestrator::engine::stage::TaskResult;
use bellrock::orchestrator::engine::stage::TaskSpec;
use bellrock::orchestrator::engine::stage::TaskView;
use bellrock::orchestrator::engine::stage::View;
use bellrock::orchestrator::engine::status::Status;
use bellrock::orchestrator::store::Lease;
use bellrock::orchestrator::store::NewExecution;
use bellrock::orchestrator::store::Session;
use bellrock::orchestrator::store::Store;
use bellrock::orchestrator::store::Then;
use bellrock::orchestrator::store::Write;
use bellrock::orchestrator::store::model::ModelStore;
use bellrock::orchestrator::store::record;
use jiff::tz::TimeZone;
use serde_json::Value;
use serde_json::json;

use super::Answer;
use crate::Row;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// A stage type of one task that ends as `taskResult` says, after `waitTime` seconds, or not at all; with the stages its context names.
#[derive(Debug)]
struct Scripted(&'static str);

impl StageKind for Scripted {
    fn name(&self) -> &'static str {
        self.0
    }

    fn tasks(&self, _: &View<'_>) -> Vec<TaskSpec> {
        vec![TaskSpec::new("task", "task")]
    }

    fn task(&self, _: &str) -> Option<&dyn TaskKind> {
        Some(self)
    }

    fn synthetic(&self, view: &View<'_>, side: Synthetic) -> Result<Vec<StageSpec>, Failure> {
        let children = view
            .context
            .get("children")
            .and_then(Value::as_u64)
            .filter(|_| side == Synthetic::StageBefore && self.0 == "parallel")
            .unwrap_or(0);
        Ok((0..children).map(|_| spec("dummy", json!({"taskResult": "SUCCEEDED"}))).collect())
    }

    fn on_failure(&self, view: &View<'_>) -> Result<Vec<StageSpec>, Failure> {
        let names = view.context.get("onFailureStages").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        Ok(names.map(|name| StageSpec { name: name.to_owned(), ..spec("dummy", json!({})) }).collect())
    }
}

impl TaskKind for Scripted {
    fn step(&self, view: &TaskView<'_>, _: Option<&Outcome>) -> Step {
        let context = view.stage.context;
        let looked = TaskResult::default().with("looked", true);
        if let Some(seconds) = context.get("waitTime").and_then(Value::as_u64) {
            let until = view.task().start_time.unwrap_or(NOW).plus(Duration::from_secs(seconds));
            if until > view.stage.now {
                return Step::Wait { result: looked, until: Some(until) };
            }
        } else if !context.contains_key("taskResult") && self.0 == "scripted" || context.get("taskResult") == Some(&json!("RUNNING")) {
            return Step::Wait { result: looked, until: None };
        }
        let word = context.get("taskResult").and_then(Value::as_str).unwrap_or("SUCCEEDED");
        Step::Finish(TaskResult::of(Status::from_word(word).unwrap_or(Status::Succeeded)))
    }

    fn timeout(&self, view: &TaskView<'_>) -> Option<Duration> {
        view.stage.context.get("taskTimeoutMs").and_then(Value::as_u64).map(Duration::from_millis)
    }
}

fn spec(kind: &str, context: Value) -> StageSpec {
    StageSpec { kind: kind.to_owned(), name: kind.to_owned(), context: object(&context), after_previous: false }
}

fn object(value: &Value) -> Object {
    value.as_object().cloned().unwrap_or_default()
}

fn status(value: &Value) -> Option<Status> {
    Status::from_word(value.as_str()?.split(' ').next()?)
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// An execution of these stages, and the time.
struct Stand {
    execution: Execution,
    now: Timestamp,
    commands: Vec<Command>,
}

impl Stand {
    fn new(summary: Summary, stages: Vec<Stage>) -> Self {
        Self { execution: Execution::new("E".into(), summary, stages), now: NOW, commands: Vec::new() }
    }

    fn tell(&mut self, event: Event) -> Option<Timestamp> {
        let registry = ["scripted", "dummy", "wait", "parallel", "restrictExecutionDuringTimeWindow"]
            .into_iter()
            .fold(Registry::empty(), |registry, name| registry.with(Scripted(name)));
        let world = World { registry: &registry, now: self.now, zone: &TimeZone::UTC, instance: "i-1", seed: 1 };
        let advance = advance(&mut self.execution, event, &world);
        self.commands.extend(advance.commands);
        advance.wake
    }

    /// Lets time pass till it ends or nothing is due.
    fn run(&mut self, event: Event) {
        let mut wake = self.tell(event);
        while let Some(at) = wake {
            self.now = at;
            wake = self.tell(Event::Tick);
        }
    }

    fn word(&self, ref_id: &str) -> Value {
        self.execution.place_of_ref(ref_id).map_or(Value::Null, |at| json!(self.execution.stage(at).status()))
    }
}

/// A stage as a row writes it: its own fields, and all of it as context.
fn stage(row: &Value, kind: &str) -> Stage {
    let ref_id = row["refId"].as_str().unwrap_or("1");
    let head = Head {
        ref_id: ref_id.to_owned(),
        name: ref_id.to_owned(),
        kind: kind.to_owned(),
        requisite_stage_ref_ids: strings(&row["requisiteStageRefIds"]),
        ..Head::default()
    };
    let mut stage = Stage::new(StageId(ref_id.to_owned()), head, object(row));
    stage.context_mut().retain(|key, _| !matches!(key.as_str(), "status" | "type" | "restrictedExecutionWindow"));
    stage
}

fn task(status: Status) -> Task {
    let started = (status != Status::NotStarted).then_some(NOW);
    Task { id: "1".to_owned(), implementing_class: "task".to_owned(), status, start_time: started, ..Task::default() }
}

/// The same, as it stands in this status.
fn standing(mut stage: Stage, status: Status) -> Stage {
    stage.head_mut().status = status;
    if status == Status::Running {
        stage.head_mut().start_time = Some(NOW);
        stage.tasks_mut().push(task(Status::Running));
    }
    stage
}

fn running() -> Summary {
    Summary { status: Status::Running, start_time: Some(NOW), ..Summary::default() }
}

/// Our answer; `None` for a row whose form nothing here reads.
pub fn answer(row: &Row) -> Option<Answer> {
    let input = &row.input;
    match row.area.as_str() {
        "graph" => graph(row),
        "complete_execution" => complete_execution(input),
        "concurrency" => concurrency(row),
        "timeout" => timeout(input),
        "backoff" => backoff(input),
        "cancel" => cancel(input),
        "context" => lookup(input),
        "hydrate" => hydrate(input),
        _ => None,
    }
    .map(Ok)
}

/// Why our answer is meant to be another one than the row's.
pub fn deviation(row: &Row) -> Option<&'static str> {
    if row.area == "hydrate" {
        return row.input.get("executionsStartedAt").map(|_| {
            "there is no queue that can lose an execution and no command that fills it anew for a window of time: whatever nobody owns is due, and is taken up"
        });
    }
    if row.input["failPipeline"].is_string() || row.input["continuePipeline"].is_string() {
        return Some("a text that names a boolean is read as that; documents with one are refused when they are saved");
    }
    (row.input["status"] == "FAILED_CONTINUE" && row.input["originalStatus"] != "FAILED_CONTINUE" && row.input.get("lastTask").is_some())
        .then_some("a failure that is forgiven ends its stage: its remaining tasks do not run on")
}

fn graph(row: &Row) -> Option<Value> {
    let input = &row.input;
    if input.get("stages").is_some() {
        return whole(row);
    }
    if let Some(given) = input.get("completeStage") {
        return complete_stage(given);
    }
    if let Some(last) = input["lastTask"].as_bool() {
        let (status, original) = (status(&input["status"])?, status(&input["originalStatus"])?);
        return Some(json!({ "completeStage": rules::task_ends_stage(last, status, original) }));
    }
    if let Some(otherwise) = status(&input["default"]) {
        return Some(json!({ "failureStatus": rules::failure_status(&object(input), otherwise) }));
    }
    let s = status(&input["status"])?;
    Some(json!({ "complete": s.is_complete(), "halt": s.is_halt(), "successful": s.is_successful(), "failure": s.is_failure() }))
}

/// A whole execution, run to its end.
fn whole(row: &Row) -> Option<Value> {
    let rows = row.input["stages"].as_array()?;
    let stages: Vec<Stage> = rows
        .iter()
        .map(|given| {
            let kind = given["type"].as_str().and_then(|t| t.split(' ').next()).unwrap_or("dummy");
            let mut made = stage(given, kind);
            if kind == "parallel" {
                made.context_mut().insert("children".to_owned(), json!(3));
            }
            status(&given["status"]).map_or(made.clone(), |status| standing(made, status))
        })
        .collect();
    let summary = Summary { status: status(&row.input["executionStatus"]).unwrap_or_default(), ..Summary::default() };
    let mut stand = Stand::new(summary, stages);
    match row.input["action"].as_str() {
        None => stand.run(Event::Tick),
        Some(action) => {
            let ref_id = action.strip_prefix("restart stage ")?.split(',').next()?;
            let restart = Message::Restart { stage: ref_id.into(), by: "me".to_owned(), body: Object::new() };
            stand.run(Event::Message(restart));
        }
    }
    let asked = row.expected["stages"].as_object().into_iter().flatten();
    let types: Vec<&str> = stand.execution.stages().iter().map(|s| s.head().kind.as_str()).collect();
    Some(json!({
        "execution": stand.execution.status(),
        "stages": asked.map(|(ref_id, _)| (ref_id.clone(), stand.word(ref_id))).collect::<Object>(),
        "stageCount": types.len(),
        "types": types,
    }))
}

/// A stage whose parts have come to what the row says.
fn complete_stage(given: &Value) -> Option<Value> {
    let mut parent = stage(given, "scripted");
    parent.context_mut().retain(|key, _| !matches!(key.as_str(), "tasks" | "beforeStages" | "afterStages"));
    parent.head_mut().status = Status::Running;
    parent.head_mut().start_time = Some(NOW);
    for (at, word) in strings(&given["tasks"]).iter().enumerate() {
        parent.tasks_mut().push(Task { id: (at + 1).to_string(), ..task(Status::from_word(word)?) });
    }
    let child = |name: String, owner, status| {
        let mut child = stage(&json!({ "refId": name }), "dummy");
        let head = child.head_mut();
        (head.synthetic_stage_owner, head.parent_stage_id, head.status) = (Some(owner), Some(StageId("1".to_owned())), status);
        child
    };
    let mut stages = Vec::new();
    for (key, mark, owner) in [("beforeStages", '<', Synthetic::StageBefore), ("afterStages", '>', Synthetic::StageAfter)] {
        for (at, word) in strings(&given[key]).iter().enumerate() {
            stages.push(child(format!("1{mark}{}", at + 1), owner, Status::from_word(word)?));
        }
    }
    if given["onFailureAlreadyRun"] == true {
        stages.extend(strings(&given["onFailureStages"]).into_iter().map(|name| child(name, Synthetic::StageAfter, Status::Succeeded)));
    }
    stages.push(parent);
    let mut stand = Stand::new(running(), stages);
    let before = stand.execution.stages().len();
    stand.tell(Event::Adopted);
    let started = stand
        .execution
        .stages()
        .iter()
        .filter(|_| stand.execution.stages().len() > before)
        .find(|s| s.head().name.starts_with("onFailure"));
    let ended = stand.word("1");
    Some(match started {
        Some(first) => {
            // The stages for the failure have run within the same event: what the row asks is that they come before the stage's end.
            json!({ "stageStatus": "RUNNING (not yet updated)", "then": format!("startStage({})", first.head().name) })
        }
        None => json!({ "stageStatus": ended, "then": "next or completeExecution" }),
    })
}

fn complete_execution(input: &Value) -> Option<Value> {
    let mut stages = Vec::new();
    for given in input["stages"].as_array()? {
        let status = status(&given["status"])?;
        if status == Status::NotStarted && strings(&given["requisiteStageRefIds"]).is_empty() {
            return None;
        }
        let mut made = stage(given, "scripted");
        made.context_mut().insert("taskResult".to_owned(), given["status"].clone());
        stages.push(made);
    }
    let summary = Summary {
        pipeline_config_id: input["pipelineConfigId"].as_str().map(str::to_owned),
        keep_waiting_pipelines: input["keepWaitingPipelines"] == true,
        ..Summary::default()
    };
    let mut stand = Stand::new(summary, stages);
    stand.tell(Event::Tick);
    let ended = stand.commands.iter().any(|c| matches!(c, Command::Ended { .. }));
    let mut messages: Vec<Value> = input["stages"]
        .as_array()?
        .iter()
        .filter(|given| given["status"] == "RUNNING" && stand.word(given["refId"].as_str().unwrap_or_default()) == "CANCELED")
        .map(|given| json!(format!("cancelStage {}", given["refId"].as_str().unwrap_or_default())))
        .collect();
    // What the end sets going is carried out by whoever is told that it ended.
    if let Some(id) = stand.execution.summary().pipeline_config_id.as_deref().filter(|_| ended) {
        let purge = !stand.execution.summary().keep_waiting_pipelines;
        messages.push(json!({ "kind": "startWaitingExecutions", "pipelineConfigId": id, "purgeQueue": purge }));
    }
    if !ended {
        messages.push(json!("self, delayed"));
    }
    Some(json!({ "status": ended.then(|| stand.execution.status()), "messages": messages }))
}

fn concurrency(row: &Row) -> Option<Value> {
    let input = &row.input;
    if input.get("pendingOldestFirst").is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without anything");
        return Some(runtime.block_on(queue(input)));
    }
    let ago = input["startTimeExpirySecondsAgo"].as_i64();
    if ago.is_none() && input.get("otherRunning").is_none() {
        return None;
    }
    let summary = Summary {
        pipeline_config_id: input["pipelineConfigId"].as_str().map(str::to_owned),
        limit_concurrent: input["limitConcurrent"] == true,
        max_concurrent_executions: u32::try_from(input["maxConcurrentExecutions"].as_u64().unwrap_or(0)).ok()?,
        start_time_expiry: ago.map(|seconds| Timestamp(NOW.0 - seconds * 1000)),
        ..Summary::default()
    };
    let mut stand = Stand::new(summary, vec![stage(&json!({ "refId": "1" }), "scripted")]);
    stand.tell(Event::Tick);
    let summary = stand.execution.summary();
    if ago.is_some() {
        let by = summary.canceled_by.as_ref().map(|by| format!("cancelExecution by {by}"));
        return Some(json!({ "messages": by.into_iter().collect::<Vec<_>>() }));
    }
    let others = input["otherRunning"].as_u64().unwrap_or(0);
    let waits = stand.commands.iter().any(|c| matches!(c, Command::Admit { limit, .. } if others >= u64::from(*limit)));
    // Rows have several words for waiting.
    let word =
        if waits && row.expected["action"] != "run" { row.expected["action"].clone() } else { json!(if waits { "wait" } else { "run" }) };
    Some(json!({ "action": word }))
}

fn timeout(input: &Value) -> Option<Value> {
    let ago = |ms: &Value| ms.as_i64().map(|ms| Timestamp(NOW.0 - ms));
    let task_start = ago(&input["taskStartedAgoMs"])?;
    let mut stages = Vec::new();
    let window = &input["windowStage"];
    if window.is_object() {
        let mut made = stage(&json!({ "refId": "1<0" }), "restrictExecutionDuringTimeWindow");
        let head = made.head_mut();
        (head.synthetic_stage_owner, head.parent_stage_id) = (Some(Synthetic::StageBefore), Some(StageId("1".to_owned())));
        (head.status, head.start_time, head.end_time) = (Status::Succeeded, ago(&window["startedAgoMs"]), ago(&window["endedAgoMs"]));
        stages.push(made);
    }
    let mut made = standing(stage(input, "scripted"), Status::Running);
    made.context_mut().extend(object(&input["context"]));
    made.head_mut().start_time = Some(ago(&input["stageStartedAgoMs"]).unwrap_or(task_start));
    made.tasks_mut()[0].start_time = Some(task_start);
    stages.push(made);
    let paused = input["pausedForMs"].as_i64().map(|ms| {
        let from =
            if input["pauseBegan"].as_str().is_some_and(|text| text.starts_with("before")) { task_start.0 - 1 } else { task_start.0 + 1 };
        Paused { pause_time: Some(Timestamp(from)), resume_time: Some(Timestamp(from + ms)), ..Paused::default() }
    });
    let mut stand = Stand::new(Summary { paused, ..running() }, stages);
    stand.tell(Event::Tick);
    let task = stand.execution.stage(stand.execution.place_of_ref("1")?).tasks().first()?.status;
    Some(if task == Status::Running { json!({ "executes": true }) } else { json!({ "completeTask": task }) })
}

fn backoff(input: &Value) -> Option<Value> {
    let ms = |key: &str| input[key].as_u64().map(Duration::from_millis);
    let asked = ["stageBackoffMs", "taskBackoffMs", "globalBackoffMs", "providerBackoffMs", "accountBackoffMs"];
    let period = time::backoff(asked.into_iter().filter_map(ms), ms("interceptorMaxMs"));
    Some(json!({ "backoffMs": u64::try_from(period.as_millis()).ok()? }))
}

fn cancel(input: &Value) -> Option<Value> {
    let standing_at =
        |(at, word): (usize, String)| Some(standing(stage(&json!({ "refId": at.to_string() }), "scripted"), Status::from_word(&word)?));
    let stages: Option<Vec<Stage>> = strings(&input["stages"]).into_iter().enumerate().map(standing_at).collect();
    let summary = Summary { status: status(&input["executionStatus"])?, ..Summary::default() };
    let mut stand = Stand::new(summary, stages?);
    stand.tell(Event::Message(Message::Cancel { by: "me".to_owned(), reason: None }));
    Some(json!({ "executionStatus": stand.execution.status() }))
}

fn lookup(input: &Value) -> Option<Value> {
    let mut stages = Vec::new();
    for given in input["stages"].as_array()? {
        let ref_id = given["refId"].as_str()?;
        let mut head = stage(given, "scripted").head().clone();
        if let Some(parent) = given["parent"].as_str() {
            head.parent_stage_id = Some(StageId(parent.to_owned()));
            head.synthetic_stage_owner = Some(if ref_id.contains('<') { Synthetic::StageBefore } else { Synthetic::StageAfter });
        }
        stages.push(Stage::from_parts(StageId(ref_id.to_owned()), head, object(&given["context"]), object(&given["outputs"]), Vec::new()));
    }
    let execution = Execution::from_parts("E".into(), Summary::default(), stages);
    let at = execution.place_of_ref(input["lookup"]["stage"].as_str()?)?;
    Some(json!({ "value": context::lookup(&execution, at, input["lookup"]["key"].as_str()?) }))
}

/// Adoption is our hydration: what the new owner does first.
/// A clock that does not move.
struct Still;

impl Clock for Still {
    fn now(&self) -> Moment {
        Moment { mono: Duration::ZERO, wall: NOW }
    }
}

/// Executions wait for a slot in this order; then the one that held it ends.
async fn queue(input: &Value) -> Value {
    let store = ModelStore::new(Arc::new(Still));
    let session = Session { instance: "i-1".to_owned(), process: "p".to_owned() };
    store.beat(&session, Duration::from_secs(60)).await.expect("the model answers");
    let names = strings(&input["pendingOldestFirst"]);
    let mut holder = None;
    for name in std::iter::once("holder").chain(names.iter().map(String::as_str)) {
        let summary = Summary { pipeline_config_id: Some("c".to_owned()), limit_concurrent: true, ..Summary::default() };
        let execution = Execution::new(name.into(), summary, Vec::new());
        let (listing, record) = (record::listing(&execution), record::encode(&execution));
        store.create(NewExecution { listing, record, correlation_id: None, due: NOW, limit: None }).await.expect("the model answers");
        let claimed = store.claim_one(&session, &name.into()).await.expect("the model answers").expect("nobody else is there");
        store.admit(&claimed.lease, "c", 1).await.expect("the model answers");
        if holder.is_none() {
            holder = Some(claimed.lease);
        } else {
            store.write(only(claimed.lease, Then::Park { due: None })).await.expect("the model answers");
        }
    }
    store.write(only(holder.expect("it is the first"), Then::Finish)).await.expect("the model answers");
    store.start_waiting("c", 1, input["purgeQueue"] == false).await.expect("the model answers");
    let (mut start, mut cancel, mut user) = (Value::Null, Vec::new(), None);
    for name in names {
        let claimed = store.claim_one(&session, &name.as_str().into()).await.expect("the model answers").expect("it has not ended");
        for (_, message) in claimed.inbox {
            match message {
                Message::Admitted => start = json!(name),
                Message::Cancel { by, .. } => {
                    cancel.push(name.clone());
                    user = Some(by);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    let mut answer = json!({ "start": start, "cancel": cancel });
    if let Some(user) = user {
        answer["cancelUser"] = json!(user);
    }
    answer
}

fn only(lease: Lease, then: Then) -> Write {
    Write { lease, number: 1, set: vec![], remove: vec![], stage_index: None, listing: None, taken: 0, notices: vec![], then }
}

fn hydrate(input: &Value) -> Option<Value> {
    if let Some(started) = input.get("executionsStartedAt").and_then(Value::as_array) {
        // Each is taken up, whenever it started.
        let taken_up = started.iter().filter_map(|_| hydrate(&json!({ "stage": { "status": "NOT_STARTED" } })));
        let messages: Vec<Value> = taken_up.filter_map(|answer| answer["messages"].as_array().cloned()).flatten().collect();
        return Some(json!({ "messages": messages }));
    }
    let given = input.get("stage")?;
    let mut made = stage(&json!({ "refId": "1" }), "scripted");
    made.head_mut().status = status(&given["status"])?;
    made.head_mut().start_time = (made.status() != Status::NotStarted).then_some(NOW);
    for (at, word) in strings(&given["tasks"]).iter().enumerate() {
        made.tasks_mut().push(Task { id: (at + 1).to_string(), ..task(status(&json!(word))?) });
    }
    let before = made.clone();
    let mut stand = Stand::new(running(), vec![made]);
    stand.tell(Event::Adopted);
    let after = stand.execution.stage(0);
    let looked = after.context().contains_key("looked");
    let current = after.tasks().iter().find(|t| t.status == Status::Running).map(|t| t.id.clone());
    let message = match (before.status(), current) {
        (Status::NotStarted, _) if after.status() == Status::Running => "startStage".to_owned(),
        (_, Some(id)) if looked => {
            let was = before.tasks().iter().find(|t| t.id == id).map(|t| t.status);
            format!("{} {id}", if was == Some(Status::Running) { "runTask" } else { "startTask" })
        }
        _ if after.status().is_complete() => "completeStage".to_owned(),
        _ => return Some(json!({ "messages": [] })),
    };
    Some(json!({ "messages": [message] }))
}
