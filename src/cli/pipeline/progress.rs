//! Tells an execution's steps: lines for people, one JSON object a line for programs.
//!
//! What must stay true: a step is told once however often the execution is looked at; steps that were missed between two looks are told by where
//! they led, in the order of time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::orders;
use crate::cli::Context;
use crate::cli::Failure;
use crate::cli::Output;
use crate::config::show_duration;
use crate::model::Timestamp;
use crate::orchestrator::engine::event::WAITS_FOR_TYPE;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::Stage;
use crate::orchestrator::engine::stage::judgment;
use crate::orchestrator::engine::status::Status;

/// Characters of a text from outside that are told on a line.
const LINE: usize = 300;

/// Tells what is new.
pub(super) struct Narrator<'a> {
    context: &'a Context,
    /// Put behind commands that are shown to people; `None` = this process asks them itself.
    options: Option<String>,
    /// What was told last, by id.
    told: BTreeMap<String, Standing>,
    /// Executions that are to end before this one begins.
    ahead: Vec<String>,
}

/// Where an execution or a stage stands, and whether it waits for an instance that knows its type.
type Standing = (Status, bool);

fn standing(stage: &Stage) -> Standing {
    (stage.status(), stage.context().contains_key(WAITS_FOR_TYPE))
}

impl<'a> Narrator<'a> {
    /// For an execution elsewhere; commands that are shown to people end with `options`.
    pub(super) fn new(context: &'a Context, options: String) -> Self {
        Self { context, options: Some(options), told: BTreeMap::new(), ahead: Vec::new() }
    }

    /// For an execution in this process, which asks for judgments itself.
    pub(super) fn here(context: &'a Context) -> Self {
        Self { context, options: None, told: BTreeMap::new(), ahead: Vec::new() }
    }

    /// True when this was told.
    pub(super) fn knows(&self, id: &str, status: &str) -> bool {
        self.told.get(id).is_some_and(|(told, _)| told.word() == status)
    }

    /// What the execution waits for before it begins: told with its next line.
    pub(super) fn waits_for(&mut self, ahead: Vec<String>) {
        self.ahead = ahead;
    }

    /// Tells what was not told yet; true when there was something.
    pub(super) fn tell(&mut self, execution: &Execution) -> Result<bool, Failure> {
        let id = execution.id.as_str();
        let whole = self.is_news(id, (execution.status(), false));
        if whole && !execution.status().is_complete() {
            self.line(execution, None)?;
        }
        let stands = |stage: &&Stage| standing(stage) != (Status::NotStarted, false);
        let news = execution.stages().iter().filter(stands).filter(|stage| self.is_news(stage.id.as_str(), standing(stage)));
        let mut news: Vec<&Stage> = news.collect();
        let any = whole || !news.is_empty();
        news.sort_by_key(|stage| stage.head().end_time.or(stage.head().start_time));
        for stage in news {
            self.line(execution, Some(stage))?;
            self.told.insert(stage.id.to_string(), standing(stage));
        }
        if whole && execution.status().is_complete() {
            self.line(execution, None)?;
        }
        self.told.insert(id.to_owned(), (execution.status(), false));
        Ok(any)
    }

    fn is_news(&self, id: &str, standing: Standing) -> bool {
        self.told.get(id) != Some(&standing)
    }

    fn line(&self, execution: &Execution, stage: Option<&Stage>) -> Result<(), Failure> {
        let mut step = Step::of(execution, stage);
        if stage.is_none() && !self.ahead.is_empty() {
            let key = if execution.summary().limit_concurrent { "limitConcurrent" } else { "maxConcurrentExecutions" };
            step.details.push(format!("waits for {} to end, by {key}", self.ahead.join(", ")));
        }
        if self.context.output == Output::Json {
            return self.context.print_line(String::new, &step.json());
        }
        let mut lines = vec![step.text()];
        lines.extend(step.details.iter().map(|detail| format!("{:23}{detail}", "")));
        if let (Some(stage), Some(options)) = (stage.filter(|stage| asks(stage)), &self.options) {
            let input = if orders::inputs(stage).is_empty() { "" } else { " --input INPUT" };
            let judge = format!("bellrock pipeline judge {} {} continue{input}{options}", execution.id, stage.head().ref_id);
            lines.push(format!("{:23}answer with: {judge}", ""));
        }
        self.context.print_line(|| lines.join("\n"), &())
    }
}

/// True for a judgment that waits for a person.
pub(super) fn asks(stage: &Stage) -> bool {
    stage.head().kind == judgment::NAME && stage.status() == Status::Running
}

/// One step.
struct Step {
    at: Option<Timestamp>,
    status: Status,
    /// What it is, for people.
    title: String,
    took: Option<Duration>,
    /// What a person wants to know beside it.
    details: Vec<String>,
    what: Value,
}

impl Step {
    fn of(execution: &Execution, stage: Option<&Stage>) -> Self {
        let Some(stage) = stage else {
            let summary = execution.summary();
            let cancelled = summary.canceled_by.as_ref().filter(|_| summary.canceled).map(|by| {
                let reason = summary.cancellation_reason.as_ref().map(|reason| format!(": {}", short(reason))).unwrap_or_default();
                format!("called off by {by}{reason}")
            });
            return Self {
                at: summary.end_time.or(summary.start_time).or(Some(summary.build_time)),
                status: summary.status,
                title: format!("{}/{} {}", summary.application, summary.name, execution.id),
                took: took(summary.start_time, summary.end_time),
                details: cancelled.into_iter().collect(),
                what: json!({ "what": "execution", "id": execution.id, "name": summary.name, "application": summary.application }),
            };
        };
        let head = stage.head();
        Self {
            at: head.end_time.or(head.start_time),
            status: head.status,
            title: format!(
                "[{}] {}{}",
                head.ref_id,
                head.name,
                if head.name == head.kind { String::new() } else { format!(" ({})", head.kind) }
            ),
            took: took(head.start_time, head.end_time),
            details: details(stage),
            what: json!({ "what": "stage", "id": stage.id, "refId": head.ref_id, "name": head.name, "type": head.kind }),
        }
    }

    fn text(&self) -> String {
        let time = self.at.map(|at| at.to_string()).and_then(|text| Some(text.split_once('T')?.1.get(..8)?.to_owned()));
        let took = self.took.map(|took| format!(", {}", show_duration(rounded(took)))).unwrap_or_default();
        format!("{:8}  {}{:11}\x1b[0m  {}{took}", time.unwrap_or_default(), colour(self.status), self.status.word(), self.title)
    }

    fn json(&self) -> Value {
        let mut step = self.what.clone();
        step["status"] = self.status.word().into();
        step["time"] = self.at.map(|at| at.to_string()).into();
        if let Some(took) = self.took {
            step["tookMs"] = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).into();
        }
        if !self.details.is_empty() {
            step["details"] = self.details.clone().into();
        }
        step
    }
}

/// Why a stage failed, what it waits for or asks, what its command said.
fn details(stage: &Stage) -> Vec<String> {
    let context = stage.context();
    let text = |key: &str| context.get(key).and_then(Value::as_str).map(short).filter(|text| !text.is_empty());
    let mut details = Vec::new();
    if let Some(kind) = text(WAITS_FOR_TYPE) {
        details.push(format!("waits for an instance that knows the stage type {kind} (runbooks/unknown-stage-type.md)"));
    }
    if asks(stage) {
        details.extend(text("instructions"));
        let inputs = orders::inputs(stage);
        if !inputs.is_empty() {
            details.push(format!("inputs: {}", inputs.join(", ")));
        }
        details.extend(text("judgmentRefused").map(|why| format!("an answer was refused: {why}")));
    }
    if stage.status() == Status::Running {
        let until = stage.head().scheduled_time.or_else(|| stage.tasks().iter().find_map(|task| task.due));
        details.extend(until.filter(|_| !asks(stage)).map(|until| format!("until {until}")));
    }
    if stage.status().is_complete() {
        let said = context.get("lastLine").or_else(|| stage.outputs().get("lastLine")).and_then(Value::as_str).map(short);
        details.extend(said.filter(|said| !said.is_empty()).map(|said| format!("> {said}")));
        details.extend(text("judgmentInput").map(|input| format!("answer: {input}")));
    }
    if stage.status().is_failure() {
        details.extend(errors(stage));
    }
    details
}

/// What went wrong, in the words of the stage or of the task that failed.
fn errors(stage: &Stage) -> Vec<String> {
    let of_tasks = stage.tasks().iter().filter_map(|task| task.task_exception_details.get("exception"));
    let exceptions = stage.context().get("exception").into_iter().chain(of_tasks);
    let told = |exception: &Value| -> Vec<String> {
        let details = &exception["details"];
        let errors = details["errors"].as_array().filter(|errors| !errors.is_empty()).cloned();
        let errors = errors.unwrap_or_else(|| vec![details["error"].clone()]);
        errors.iter().filter_map(Value::as_str).map(|error| format!("error: {}", short(error))).collect()
    };
    // The stage's own exception repeats that of its task.
    exceptions.map(told).find(|told| !told.is_empty()).unwrap_or_default()
}

/// One line, not too long, and nothing in it that steers a terminal: commands and servers may say anything.
fn short(text: &str) -> String {
    let line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(LINE + 1).collect();
    if line.chars().count() > LINE { format!("{}…", line.chars().take(LINE).collect::<String>()) } else { line }
}

fn took(start: Option<Timestamp>, end: Option<Timestamp>) -> Option<Duration> {
    Some(end?.since(start?))
}

/// To whole seconds, once there are some.
fn rounded(took: Duration) -> Duration {
    if took < Duration::from_secs(1) { took } else { Duration::from_secs(took.as_secs()) }
}

fn colour(status: Status) -> &'static str {
    match status {
        Status::Succeeded => "\x1b[32m",
        Status::Terminal | Status::Stopped | Status::FailedContinue => "\x1b[31m",
        Status::Canceled | Status::Paused | Status::Suspended | Status::Buffered => "\x1b[33m",
        Status::Running | Status::Redirect => "\x1b[36m",
        Status::NotStarted | Status::Skipped => "\x1b[2m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::engine::execution::Head;
    use crate::orchestrator::engine::execution::Object;
    use crate::orchestrator::engine::execution::StageId;

    fn stage(kind: &str, status: Status, context: Value) -> Stage {
        let (start_time, end_time) = (Some(Timestamp(0)), status.is_complete().then_some(Timestamp(61_500)));
        let head = Head { ref_id: "1".into(), kind: kind.into(), name: "Look".into(), status, start_time, end_time, ..Head::default() };
        let context = context.as_object().cloned().unwrap_or_else(Object::new);
        Stage::new(StageId("E-1".into()), head, context)
    }

    #[test]
    fn a_failed_stage_says_why_on_one_line_that_steers_no_terminal() {
        let exception = json!({ "details": { "error": "a", "errors": ["no\n\x1b[2Jroute", "late"] } });
        let step = Step::of(&Execution::default(), Some(&stage("webhook", Status::Terminal, json!({ "exception": exception }))));
        assert_eq!(step.details, ["error: no  [2Jroute", "error: late"]);
        assert_eq!(anstream::adapter::strip_str(&step.text()).to_string(), "00:01:01  TERMINAL     [1] Look (webhook), 1m1s");
        assert_eq!((&step.json()["tookMs"], &step.json()["refId"]), (&json!(61_500), &json!("1")));
    }

    #[test]
    fn a_judgment_says_what_it_asks_and_offers() {
        let context = json!({ "instructions": "Go?", "judgmentInputs": [{ "value": "yes" }, { "value": "later" }] });
        assert_eq!(details(&stage("manualJudgment", Status::Running, context)), ["Go?", "inputs: yes, later"]);
    }

    #[test]
    fn a_stage_of_an_unknown_type_says_what_it_waits_for() {
        let said = details(&stage("newer", Status::NotStarted, json!({ "waitsForType": "newer" })));
        assert!(matches!(said.as_slice(), [line] if line.contains("knows the stage type newer")), "{said:?}");
    }

    #[test]
    fn what_comes_from_outside_is_cut() {
        assert_eq!(short(&"x".repeat(1000)).chars().count(), LINE + 1);
        assert_eq!(short(" a\tb "), "a b");
    }
}
