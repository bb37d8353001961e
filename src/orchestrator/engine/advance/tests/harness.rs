//! A stage type whose tasks do what their context says, and a world in which to run it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::Value;
use serde_json::json;

use crate::model::Timestamp;
use crate::orchestrator::engine::advance::World;
use crate::orchestrator::engine::advance::advance;
use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::event::Advance;
use crate::orchestrator::engine::event::Command;
use crate::orchestrator::engine::event::Event;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::Head;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::execution::Stage;
use crate::orchestrator::engine::execution::Summary;
use crate::orchestrator::engine::execution::Synthetic;
use crate::orchestrator::engine::stage::Failure;
use crate::orchestrator::engine::stage::Lost;
use crate::orchestrator::engine::stage::Registry;
use crate::orchestrator::engine::stage::StageKind;
use crate::orchestrator::engine::stage::StageSpec;
use crate::orchestrator::engine::stage::Step;
use crate::orchestrator::engine::stage::TaskKind;
use crate::orchestrator::engine::stage::TaskResult;
use crate::orchestrator::engine::stage::TaskSpec;
use crate::orchestrator::engine::stage::TaskView;
use crate::orchestrator::engine::stage::View;
use crate::orchestrator::engine::status::Status;

pub const START: Timestamp = Timestamp(1_700_000_000_000);

/// Tasks by `context.tasks`: each entry is a status (ends at once so), `call` (an effect whose outcome says the status), `wait` (for `waitMs`),
/// `poll` (a call, again and again until its outcome says a status), `hold` (for a message), `fail`. Its other names plan no synthetic stages; `firm` cannot be skipped by a person.
#[derive(Debug)]
pub struct Script(pub &'static str);

#[derive(Debug)]
struct ScriptTask;

fn text<'a>(context: &'a Object, key: &str) -> Option<&'a str> {
    context.get(key).and_then(Value::as_str)
}

fn specs(context: &Object, key: &str) -> Vec<StageSpec> {
    let list = context.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let spec = |value: Value| StageSpec {
        kind: value["type"].as_str().unwrap_or("script").to_owned(),
        name: value["name"].as_str().unwrap_or("child").to_owned(),
        after_previous: value["linear"] == true,
        context: value.as_object().cloned().unwrap_or_default(),
    };
    list.into_iter().map(spec).collect()
}

impl StageKind for Script {
    fn name(&self) -> &'static str {
        self.0
    }

    fn tasks(&self, view: &View<'_>) -> Vec<TaskSpec> {
        let list = view.context.get("tasks").and_then(Value::as_array).map_or(0, Vec::len);
        let of_loop = view.context.get("loop") == Some(&Value::Bool(true));
        (0..list)
            .map(|at| TaskSpec { loop_start: of_loop && at == 0, loop_end: of_loop && at + 1 == list, ..TaskSpec::new("task", "script") })
            .collect()
    }

    fn task(&self, class: &str) -> Option<&dyn TaskKind> {
        (class == "script").then_some(&ScriptTask)
    }

    fn synthetic(&self, view: &View<'_>, side: Synthetic) -> Result<Vec<StageSpec>, Failure> {
        if view.context.contains_key("planningFails") {
            return Err(Failure::new("IllegalStateException", "no plan"));
        }
        if self.0 != "script" {
            return Ok(Vec::new());
        }
        Ok(specs(view.context, if side == Synthetic::StageBefore { "before" } else { "after" }))
    }

    fn on_failure(&self, view: &View<'_>) -> Result<Vec<StageSpec>, Failure> {
        Ok(specs(view.context, "onFailure"))
    }

    fn can_be_skipped(&self) -> bool {
        self.0 != "firm"
    }
}

impl TaskKind for ScriptTask {
    fn step(&self, view: &TaskView<'_>, outcome: Option<&Outcome>) -> Step {
        let context = view.stage.context;
        let word = context["tasks"][view.task_at].as_str().unwrap_or("SUCCEEDED");
        let told = match outcome {
            Some(Outcome::Done { output }) => output.as_str().and_then(Status::from_word),
            Some(Outcome::Failed { error, .. }) => return Step::Fail(Failure::new("ScriptException", error.clone())),
            _ => None,
        };
        let mut result = TaskResult::of(told.unwrap_or_default());
        if outcome.is_some() {
            result.context.insert(format!("ran{}", view.task_at), json!(true));
            result.outputs.insert("last".to_owned(), json!(view.stage.stage().head().ref_id));
        }
        let call = || Effect::Call { name: "script".to_owned(), input: Value::Null };
        match (word, told) {
            ("call" | "poll", Some(_)) => Step::Finish(result),
            ("poll", None) if outcome.is_some() => Step::Wait { result, until: Some(view.stage.now.plus(Duration::from_secs(15))) },
            ("call" | "poll", None) => Step::Perform { result, effect: call() },
            ("hold", _) => match text(context, "answer").and_then(Status::from_word) {
                Some(status) => Step::Finish(TaskResult::of(status)),
                None => Step::Wait { result, until: None },
            },
            ("wait", _) => {
                let wait = Duration::from_millis(context.get("waitMs").and_then(Value::as_u64).unwrap_or(1000));
                let until = view.task().start_time.expect("a task that is looked at has started").plus(wait);
                if until <= view.stage.now {
                    Step::Finish(TaskResult::of(Status::Succeeded))
                } else {
                    Step::Wait { result, until: Some(until) }
                }
            }
            ("fail", _) => Step::Fail(Failure::new("ScriptException", "it is scripted")),
            (word, _) => Step::Finish(TaskResult::of(Status::from_word(word).expect("a status"))),
        }
    }

    fn timeout(&self, view: &TaskView<'_>) -> Option<Duration> {
        view.stage.context.get("taskTimeoutMs").and_then(Value::as_u64).map(Duration::from_millis)
    }

    fn on_cancel(&self, view: &TaskView<'_>) -> Option<Effect> {
        view.stage.context.contains_key("undo").then(|| Effect::Call { name: "undo".to_owned(), input: Value::Null })
    }

    fn is_waited_for(&self, view: &TaskView<'_>) -> bool {
        view.stage.context.contains_key("waitedFor")
    }

    fn lost(&self, view: &TaskView<'_>) -> Lost {
        match text(view.stage.context, "lost") {
            Some("ask") => Lost::Ask(Effect::Call { name: "ask".to_owned(), input: Value::Null }),
            Some("fail") => Lost::Fail(Failure::new("LostException", "its owner is gone")),
            _ => Lost::Repeat,
        }
    }
}

/// A stage: reference id, those it waits for, context.
pub fn stage(ref_id: &str, requisites: &[&str], context: Value) -> (Head, Object) {
    let head = Head {
        ref_id: ref_id.to_owned(),
        kind: context["type"].as_str().unwrap_or("script").to_owned(),
        name: ref_id.to_owned(),
        requisite_stage_ref_ids: requisites.iter().map(|r| (*r).to_owned()).collect(),
        ..Head::default()
    };
    (head, context.as_object().cloned().unwrap_or_default())
}

/// A stage of one task that calls out.
pub fn call(ref_id: &str, requisites: &[&str]) -> (Head, Object) {
    stage(ref_id, requisites, json!({ "tasks": ["call"] }))
}

/// An execution, and the attempts asked of the world.
pub struct Rig {
    pub execution: Execution,
    pub registry: Registry,
    pub now: Timestamp,
    /// Who takes the execution on.
    pub instance: &'static str,
    pub in_flight: Vec<AttemptKey>,
    pub commands: Vec<Command>,
    pub last: Advance,
}

impl Rig {
    pub fn new(stages: Vec<(Head, Object)>) -> Self {
        Self::with(Summary::default(), stages)
    }

    pub fn with(summary: Summary, stages: Vec<(Head, Object)>) -> Self {
        let stages = (0..).zip(stages).map(|(n, (head, context))| Stage::new(format!("E-{n}").as_str().into(), head, context)).collect();
        let registry = Registry::empty().with(Script("script")).with(Script("firm")).with(Script("restrictExecutionDuringTimeWindow"));
        let execution = Execution::new("E".into(), summary, stages);
        Self { execution, registry, now: START, instance: "i-1", in_flight: Vec::new(), commands: Vec::new(), last: Advance::default() }
    }

    pub fn tell(&mut self, event: Event) -> &Advance {
        let world = World { registry: &self.registry, now: self.now, zone: &TimeZone::UTC, instance: self.instance, seed: 7 };
        self.last = advance(&mut self.execution, event, &world);
        for command in &self.last.commands {
            if let Command::Perform { key, .. } = command {
                self.in_flight.push(key.clone());
            }
        }
        self.commands.extend(self.last.commands.clone());
        &self.last
    }

    pub fn tick(&mut self) -> &Advance {
        self.tell(Event::Tick)
    }

    pub fn at(&mut self, ms: i64) -> &Advance {
        self.now = Timestamp(START.0 + ms);
        self.tick()
    }

    pub fn say(&mut self, message: Message) -> &Advance {
        self.tell(Event::Message(message))
    }

    pub fn cancel(&mut self) -> &Advance {
        self.say(Message::Cancel { by: "me".to_owned(), reason: None })
    }

    /// The oldest attempt of this stage in flight ends with this status.
    pub fn done(&mut self, ref_id: &str, status: &str) -> &Advance {
        let id = self.execution.stage(self.place(ref_id)).id.clone();
        let at = self.in_flight.iter().position(|key| key.stage == id).expect("an attempt of the stage is in flight");
        let key = self.in_flight.remove(at);
        self.tell(Event::Done { key, outcome: Outcome::Done { output: json!(status) } })
    }

    /// Every attempt ends well, till none is asked for.
    pub fn run_out(&mut self) {
        while !self.in_flight.is_empty() {
            let key = self.in_flight.remove(0);
            self.tell(Event::Done { key, outcome: Outcome::Done { output: json!("SUCCEEDED") } });
        }
    }

    pub fn place(&self, ref_id: &str) -> usize {
        self.execution.place_of_ref(ref_id).expect("there is such a stage")
    }

    pub fn stage(&self, ref_id: &str) -> &Stage {
        self.execution.stage(self.place(ref_id))
    }

    pub fn status(&self, ref_id: &str) -> Status {
        self.stage(ref_id).status()
    }

    pub fn statuses(&self) -> BTreeMap<&str, &str> {
        self.execution.stages().iter().map(|s| (s.head().ref_id.as_str(), s.status().word())).collect()
    }

    pub fn ended(&self) -> Vec<Status> {
        self.commands.iter().filter_map(|c| if let Command::Ended { status } = c { Some(*status) } else { None }).collect()
    }
}
