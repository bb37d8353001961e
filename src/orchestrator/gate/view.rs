//! A task as Gate shows it, read leniently where it is for people and strictly where it is a fact.

use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;

use crate::model::Timestamp;
use crate::orchestrator::web;

use super::Ends;
use super::Found;
use super::Search;
use super::TaskId;
use super::TaskState;

/// The stage that takes one instance out of its group for good.
pub(super) const STAGE: &str = "terminateInstanceAndDecrementServerGroup";

/// An orchestration as Gate shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskView {
    id: String,
    status: String,
    build_time: Option<i64>,
    #[serde(default)]
    variables: Vec<Variable>,
    #[serde(default)]
    execution: Execution,
}

#[derive(Debug, Deserialize)]
struct Variable {
    key: String,
    #[serde(default)]
    value: Value,
}

#[derive(Debug, Default, Deserialize)]
struct Execution {
    #[serde(default)]
    stages: Vec<Stage>,
}

#[derive(Debug, Deserialize)]
struct Stage {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    context: Map<String, Value>,
}

/// Reads the answer to a submission.
pub(super) fn submitted(body: &[u8]) -> Option<TaskId> {
    #[derive(Deserialize)]
    struct Submitted {
        r#ref: String,
    }
    let Submitted { r#ref } = serde_json::from_slice(body).ok()?;
    TaskId::parse(&r#ref)
}

/// Reads one task; the error is for people.
pub(super) fn task(body: &[u8]) -> Result<TaskView, String> {
    serde_json::from_slice(body).map_err(|e| format!("the task cannot be read: {e}"))
}

/// Reads a page of tasks. One that cannot be read fails the page: it might be the one that is looked for.
pub(super) fn tasks(body: &[u8]) -> Result<Vec<TaskView>, String> {
    serde_json::from_slice(body).map_err(|e| format!("the tasks cannot be read: {e}"))
}

impl TaskView {
    pub(super) fn is(&self, task: &TaskId) -> bool {
        self.id == task.as_str()
    }

    pub(super) fn built(&self) -> Option<Timestamp> {
        self.build_time.map(Timestamp)
    }

    pub(super) fn state(&self) -> TaskState {
        match self.status.as_str() {
            "NOT_STARTED" | "RUNNING" | "PAUSED" | "SUSPENDED" | "BUFFERED" | "REDIRECT" => TaskState::Running,
            "SUCCEEDED" => TaskState::Succeeded,
            status @ ("TERMINAL" | "CANCELED" | "STOPPED" | "FAILED_CONTINUE" | "SKIPPED") => {
                TaskState::Failed { status: status.to_owned(), message: self.message() }
            }
            other => TaskState::Unknown { why: format!("the task's status is {}", web::excerpt(other.as_bytes())) },
        }
    }

    /// This task, when it ends the instance or another one of its group.
    pub(super) fn found(&self, search: &Search) -> Option<Found> {
        let (own, group) = (search.own.as_str(), search.group.as_str());
        let ends = |get: &dyn Fn(&str) -> Option<Value>| {
            let us = get("instance").is_some_and(|instance| instance == own)
                || get("instanceIds").and_then(|ids| ids.as_array().cloned()).is_some_and(|ids| ids.iter().any(|id| id == own));
            let sibling = || ["serverGroupName", "asgName"].iter().any(|key| get(key).is_some_and(|name| name == group));
            if us { Some(Ends::Us) } else { sibling().then_some(Ends::Sibling) }
        };
        let stages = &self.execution.stages;
        let ending = || stages.iter().filter(|stage| matches!(stage.kind.as_str(), STAGE | "terminateInstances"));
        let ends = match stages.is_empty() {
            // A task without stages does not say what it does to the group.
            true => ends(&|key| self.variable(key).cloned()).filter(|ends| *ends == Ends::Us)?,
            false => {
                let all: Vec<Ends> = ending().filter_map(|stage| ends(&|key| stage.context.get(key).cloned())).collect();
                if all.contains(&Ends::Us) { Ends::Us } else { *all.first()? }
            }
        };
        let marks = stages.iter().filter_map(|stage| stage.context.get("bellrock")).chain(self.variable("bellrock"));
        let ours = marks.into_iter().any(|mark| mark.get("key").is_some_and(|key| *key == *search.key));
        Some(Found { task: TaskId::parse(&self.id)?, state: self.state(), ours, ends })
    }

    fn variable(&self, key: &str) -> Option<&Value> {
        self.variables.iter().find(|variable| variable.key == key).map(|variable| &variable.value)
    }

    /// What went wrong: the cloud driver's word first, for it is the cause, then the stage's.
    fn message(&self) -> Option<String> {
        let contexts = || self.execution.stages.iter().rev().map(|stage| &stage.context);
        let last_kato = |tasks: &Value| tasks.as_array()?.last()?.pointer("/exception/message")?.as_str().map(str::to_owned);
        let details = |exception: &Value| {
            let details = exception.get("details")?;
            let errors = details.get("errors").and_then(Value::as_array).into_iter().flatten();
            let errors: Vec<&str> = errors.filter_map(Value::as_str).collect();
            if errors.is_empty() { details.get("error")?.as_str().map(str::to_owned) } else { Some(errors.join("; ")) }
        };
        contexts()
            .find_map(|context| context.get("kato.tasks").and_then(last_kato))
            .or_else(|| self.variable("kato.tasks").and_then(last_kato))
            .or_else(|| contexts().find_map(|context| context.get("exception").and_then(details)))
            .or_else(|| self.variable("exception").and_then(details))
            .map(|message| message.chars().take(500).collect())
    }
}
