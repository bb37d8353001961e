//! The pipeline document: read from JSON as users bring it, checked with every problem at once, kept untouched.
//!
//! What must stay true: checking is linear in the size of the document and never panics; a document with an error is not saved; fields that
//! nobody here knows are carried as they are. Reading is lenient where checking is strict, because an execution of a document from elsewhere,
//! or from a newer version, still has to go on.
//!
//! Decisions where Orca looks away:
//!
//! * a text where a boolean or a number belongs is an error, unless it holds an expression;
//! * a text that is no expression (`${VAR:-x}` of a shell) is a warning, since it is left as it is; it is an error where a decision hangs on it:
//!   `stageEnabled`, preconditions, and stages with `failOnFailedExpressions`;
//! * triggers and notifications of types that are not served here are warnings.
//!
//! `timezone`, on the pipeline or in a window, is ours: an IANA name. So is a cron trigger's `missed`, `skip` or `run-once`.

mod check;
mod expressions;
pub mod graph;
pub mod parameters;
pub mod triggers;

use jiff::tz::TimeZone;
use serde_json::Value;

use self::graph::Node;
use super::execution::Object;
use super::expression;
use super::problem::Problem;
use super::stage::Registry;
use super::window;
use crate::model::Timestamp;

/// Largest document, bytes: what the store and the API take.
pub const MAX_BYTES: usize = 10 * 1024 * 1024;

/// Most stages: what a person can have meant, and what one record in the store can hold.
pub const MAX_STAGES: usize = 10_000;

/// Most problems told; a document with more is wrong in some other way.
const MAX_PROBLEMS: usize = 1_000;

/// What is known of stage types where the document is to run.
pub trait Types {
    /// There is such a type.
    fn known(&self, kind: &str) -> bool;
    /// Problems of a stage's own fields; paths begin at the stage.
    fn check(&self, kind: &str, stage: &Object) -> Vec<Problem>;
    /// All names, for the error.
    fn names(&self) -> Vec<String>;
}

impl Types for Registry {
    fn known(&self, kind: &str) -> bool {
        self.kind(kind).is_some()
    }

    fn check(&self, kind: &str, stage: &Object) -> Vec<Problem> {
        let problems = self.kind(kind).map(|kind| kind.check(stage)).unwrap_or_default();
        problems.into_iter().map(|(path, message)| Problem::error(path, message)).collect()
    }

    fn names(&self) -> Vec<String> {
        Registry::names(self).map(str::to_owned).collect()
    }
}

/// What a document is checked against.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// Stage types.
    pub types: &'a dyn Types,
    /// What is wrong with the expressions in a text with `${…}`.
    pub expression: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Rules<'a> {
    /// These types, and the expressions of this build.
    pub fn of(types: &'a dyn Types) -> Self {
        Self { types, expression: &fault }
    }
}

fn fault(text: &str) -> Option<String> {
    expression::check_text(text).err().map(|e| e.to_string())
}

/// A document after its check.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The definition, when no problem is an error.
    pub definition: Option<Definition>,
    /// All problems, in the order of the document as far as it has one.
    pub problems: Vec<Problem>,
}

/// Reads and checks a document.
pub fn check(bytes: &[u8], rules: Rules<'_>) -> Checked {
    let document = match read(bytes) {
        Ok(document) => document,
        Err(problem) => return Checked { definition: None, problems: vec![problem] },
    };
    let mut problems = check::document(&document, rules);
    let sound = !problems.iter().any(Problem::is_error);
    if problems.len() > MAX_PROBLEMS {
        let more = problems.len() - MAX_PROBLEMS;
        problems.sort_by_key(|problem| problem.severity);
        problems.truncate(MAX_PROBLEMS);
        problems.push(Problem::warning("", format!("{more} more problems are not shown")));
    }
    Checked { definition: sound.then_some(Definition { document }), problems }
}

/// Reads a document without a look at what it says.
fn read(bytes: &[u8]) -> Result<Object, Problem> {
    if bytes.len() > MAX_BYTES {
        return Err(Problem::error("", format!("has {} bytes, more than {MAX_BYTES}", bytes.len())));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| Problem::error("", format!("is not UTF-8 from byte {} on", e.valid_up_to())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match serde_json::from_str(text) {
        Ok(Value::Object(document)) => Ok(document),
        Ok(_) => Err(Problem::error("", "is not a JSON object").help("a pipeline is {\"name\": …, \"stages\": […]}")),
        Err(e) => Err(Problem::error("", format!("is not JSON: {e}"))),
    }
}

/// A pipeline document.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    document: Object,
}

/// A stage as an execution begins with it.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedStage {
    /// Names it in the pipeline.
    pub ref_id: String,
    /// Its type.
    pub kind: String,
    /// For people; the type when it has no name.
    pub name: String,
    /// Stages it waits for.
    pub requisites: Vec<String>,
    /// Not to start after this.
    pub start_time_expiry: Option<Timestamp>,
    /// Everything else it says.
    pub context: Object,
}

impl Definition {
    /// A document that was checked when it was saved, or that has to be taken as it is.
    pub fn from_document(document: Object) -> Self {
        Self { document }
    }

    /// As it was written.
    pub fn document(&self) -> &Object {
        &self.document
    }

    /// Its id; it becomes the executions' `pipelineConfigId`.
    pub fn id(&self) -> Option<&str> {
        self.text("id")
    }

    /// Its application.
    pub fn application(&self) -> Option<&str> {
        self.text("application")
    }

    /// Its name.
    pub fn name(&self) -> Option<&str> {
        self.text("name")
    }

    /// It must not be started.
    pub fn is_disabled(&self) -> bool {
        self.flag("disabled")
    }

    /// `limitConcurrent`: at most one of its executions runs.
    pub fn limit_concurrent(&self) -> bool {
        self.flag("limitConcurrent")
    }

    /// `maxConcurrentExecutions`; 0 is any number. Not read when [`Self::limit_concurrent`].
    pub fn max_concurrent_executions(&self) -> u32 {
        self.document.get("maxConcurrentExecutions").and_then(Value::as_u64).map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX))
    }

    /// `keepWaitingPipelines`: all that wait will run, the oldest first.
    pub fn keep_waiting(&self) -> bool {
        self.flag("keepWaitingPipelines")
    }

    /// Not to start after this.
    pub fn start_time_expiry(&self) -> Option<Timestamp> {
        expiry(&self.document)
    }

    /// `v3` or `v4`, when it says.
    pub fn spel_evaluator(&self) -> Option<&str> {
        self.text("spelEvaluator")
    }

    /// Its own time zone.
    pub fn zone(&self) -> Option<TimeZone> {
        self.text("timezone").and_then(|name| window::zone(name).ok())
    }

    /// Its parameters.
    pub fn parameters(&self) -> Vec<parameters::Parameter> {
        parameters::read(&self.document, &mut Vec::new())
    }

    /// Its triggers that are served here, enabled or not.
    pub fn triggers(&self) -> Vec<triggers::Trigger> {
        triggers::read(&self.document, &mut Vec::new())
    }

    /// Whom it tells what.
    pub fn notifications(&self) -> &[Value] {
        self.document.get("notifications").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Its stages, as an execution begins with them. When none has a reference id they are numbered from 0 and follow one another. Windows
    /// without a zone get the pipeline's.
    pub fn stages(&self) -> Vec<PlannedStage> {
        let nodes = nodes(&self.document);
        let stages = self.document.get("stages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut planned = Vec::with_capacity(nodes.len());
        for (node, stage) in nodes.into_iter().zip(stages.iter().filter_map(Value::as_object)) {
            let mut context = stage.clone();
            for taken in ["type", "name", "refId", "requisiteStageRefIds", "startTimeExpiry"] {
                context.remove(taken);
            }
            if let Some(zone) = self.document.get("timezone")
                && let Some(Value::Object(window)) = context.get_mut("restrictedExecutionWindow")
            {
                window.entry("timezone").or_insert_with(|| zone.clone());
            }
            let Node { ref_id, kind, name, requisites } = node;
            planned.push(PlannedStage { ref_id, kind, name, requisites, start_time_expiry: expiry(stage), context });
        }
        planned
    }

    /// How its stages follow one another.
    pub fn graph(&self) -> Result<graph::Graph, Vec<graph::Fault>> {
        graph::Graph::new(nodes(&self.document))
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.document.get(key).and_then(Value::as_str)
    }

    fn flag(&self, key: &str) -> bool {
        self.document.get(key) == Some(&Value::Bool(true))
    }
}

fn expiry(object: &Object) -> Option<Timestamp> {
    object.get("startTimeExpiry").and_then(Value::as_i64).map(Timestamp)
}

/// The stages that are objects, as nodes of the graph, numbered when none has a reference id.
fn nodes(document: &Object) -> Vec<Node> {
    let stages = document.get("stages").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
    let numbered = stages.clone().all(|stage| stage.get("refId").is_none_or(Value::is_null));
    let text = |stage: &Object, key: &str| stage.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let node = |(at, stage): (usize, &Object)| {
        let kind = text(stage, "type");
        let name = stage.get("name").and_then(Value::as_str).unwrap_or(&kind).to_owned();
        let listed = stage.get("requisiteStageRefIds").and_then(Value::as_array).into_iter().flatten();
        let (ref_id, requisites) = if numbered {
            (at.to_string(), at.checked_sub(1).map(|before| before.to_string()).into_iter().collect())
        } else {
            (text(stage, "refId"), listed.filter_map(Value::as_str).map(str::to_owned).collect())
        };
        Node { ref_id, kind, name, requisites }
    };
    stages.enumerate().map(node).collect()
}

#[cfg(test)]
mod tests;
