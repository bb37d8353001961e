//! Triggers of a pipeline that are served here: on a schedule, after another pipeline, by a call. `manual` needs no entry.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;

use super::super::cron::MissedPolicy;
use super::super::cron::Schedule;
use super::super::seed;
use super::super::status::Status;
use super::Object;
use super::Problem;

/// One trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// Its `id`, or its place in the list when it has none, as in documents that were not saved through [`name_them`]: what `H` is picked by, what its
    /// last firing is remembered under, and part of the name of each event.
    pub id: String,
    /// It fires.
    pub enabled: bool,
    /// Who the executions run as.
    pub run_as_user: Option<String>,
    /// Parameters it brings.
    pub parameters: Object,
    /// When.
    pub on: On,
    /// As it was written.
    pub document: Object,
}

/// What fires a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum On {
    /// Time, by a schedule in the pipeline's zone.
    Cron {
        /// For [`Schedule::parse`].
        expression: String,
        /// What to do about times that nobody was there for.
        missed: MissedPolicy,
    },
    /// The end of an execution of another pipeline.
    Pipeline {
        /// Id of its definition.
        pipeline: String,
        /// How it has to end; at least one.
        ends: Vec<End>,
    },
    /// A call to `/webhooks/webhook/{source}`.
    Webhook {
        /// Last part of the path.
        source: String,
    },
}

/// How an execution ended, in the words of triggers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `successful`
    Successful,
    /// `failed`
    Failed,
    /// `canceled`
    Canceled,
}

impl End {
    /// The word of an execution's status: everything but success and cancellation is failure. Call it with a complete status.
    pub fn of(status: Status) -> Self {
        match status {
            Status::Succeeded => Self::Successful,
            Status::Canceled => Self::Canceled,
            Status::NotStarted
            | Status::Running
            | Status::Paused
            | Status::Suspended
            | Status::FailedContinue
            | Status::Terminal
            | Status::Redirect
            | Status::Stopped
            | Status::Skipped
            | Status::Buffered => Self::Failed,
        }
    }

    fn read(word: &str) -> Option<Self> {
        Some(match word {
            "successful" => Self::Successful,
            "failed" => Self::Failed,
            "canceled" => Self::Canceled,
            _ => return None,
        })
    }
}

/// Gives an id to each trigger that is served here and has none: the same for the same trigger wherever it stands in the list and however often it is
/// saved, so that it keeps what `H` picked for it and what is remembered of it.
pub fn name_them(document: &mut Object) {
    let Some(Value::Array(entries)) = document.get_mut("triggers") else { return };
    let mut taken: BTreeSet<String> = entries.iter().filter_map(id).collect();
    let mut alike: BTreeMap<String, u32> = BTreeMap::new();
    for entry in entries.iter_mut().filter(|entry| id(entry).is_none_or(|id| id.is_empty())) {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let heard = match text("type") {
            "cron" => text("cronExpression"),
            "pipeline" => text("pipeline"),
            "webhook" => text("source"),
            _ => continue,
        };
        let base = format!("{}/{heard}", text("type"));
        let nth = alike.entry(base.clone()).or_default();
        let name = loop {
            let name = format!("{:016x}", seed::of(&format!("{base}/{nth}")));
            *nth += 1;
            if taken.insert(name.clone()) {
                break name;
            }
        };
        if let Some(entry) = entry.as_object_mut() {
            entry.insert("id".to_owned(), name.into());
        }
    }
}

fn id(entry: &Value) -> Option<String> {
    entry.get("id").filter(|id| !id.is_null()).map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned))
}

/// The triggers of a document; what is wrong with them goes to `problems`.
pub(super) fn read(document: &Object, problems: &mut Vec<Problem>) -> Vec<Trigger> {
    let mut triggers = Vec::new();
    let mut ids: BTreeMap<String, usize> = BTreeMap::new();
    for (at, entry) in super::check::list(document, "triggers", "", problems).unwrap_or_default().iter().enumerate() {
        let path = format!("/triggers/{at}");
        let Some(entry) = entry.as_object() else {
            problems.push(Problem::error(path, "must be an object with a `type`"));
            continue;
        };
        super::check::booleans(entry, &["enabled"], &path, problems);
        let own = match entry.get("id") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(id.clone()).filter(|id| !id.is_empty()),
            Some(other) => {
                problems.push(Problem::error(format!("{path}/id"), format!("{other} must be a text")).help(format!("write \"{other}\"")));
                None
            }
        };
        let id = own.clone().unwrap_or_else(|| at.to_string());
        let Some(on) = on(entry, &id, &path, problems) else { continue };
        if let Some(first) = own.and_then(|id| ids.insert(id, at)) {
            // What is remembered of the one would be taken for the other's, and the one of the two would never start anything.
            let problem = Problem::error(format!("{path}/id"), format!("trigger {first} of the list has the id {id:?} too"));
            problems.push(problem.help("leave it out, and it gets one of its own"));
        }
        triggers.push(Trigger {
            id,
            // Echo fires what does not say that it is enabled no more than what says that it is not.
            enabled: entry.get("enabled") == Some(&Value::Bool(true)),
            run_as_user: entry.get("runAsUser").and_then(Value::as_str).map(str::to_owned),
            parameters: entry.get("parameters").and_then(Value::as_object).cloned().unwrap_or_default(),
            on,
            document: entry.clone(),
        });
    }
    triggers
}

fn on(entry: &Object, id: &str, path: &str, problems: &mut Vec<Problem>) -> Option<On> {
    let mut text = |key: &str, what: &str| {
        let text = entry.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        if text.is_none() {
            problems.push(Problem::error(format!("{path}/{key}"), what));
        }
        text.map(str::to_owned)
    };
    match text("type", "a trigger needs a type")?.as_str() {
        "cron" => {
            let expression = text("cronExpression", "a cron trigger needs an expression")?;
            if let Err(e) = Schedule::parse(&expression, id) {
                problems.push(Problem::error(format!("{path}/cronExpression"), e.to_string()));
            }
            let missed = match entry.get("missed") {
                None | Some(Value::Null) => MissedPolicy::default(),
                Some(given) => serde_json::from_value(given.clone()).unwrap_or_else(|_| {
                    problems.push(Problem::error(format!("{path}/missed"), format!("{given} is neither \"skip\" nor \"run-once\"")));
                    MissedPolicy::default()
                }),
            };
            Some(On::Cron { expression, missed })
        }
        "pipeline" => {
            let pipeline = text("pipeline", "a pipeline trigger needs the id of the pipeline it follows")?;
            let mut ends = Vec::new();
            for (nth, word) in super::check::list(entry, "status", path, problems).unwrap_or_default().iter().enumerate() {
                match word.as_str().and_then(End::read) {
                    Some(end) => ends.push(end),
                    None => {
                        let what = format!("{word} is none of successful, failed, canceled");
                        problems.push(Problem::error(format!("{path}/status/{nth}"), what));
                    }
                }
            }
            if ends.is_empty() {
                let problem = Problem::warning(format!("{path}/status"), "lists no status, so it never fires");
                problems.push(problem.help("list successful, failed or canceled"));
            }
            Some(On::Pipeline { pipeline, ends })
        }
        "webhook" => Some(On::Webhook { source: text("source", "a webhook trigger needs a source, the last part of its address")? }),
        "manual" => None,
        other => {
            let problem = Problem::warning(format!("{path}/type"), format!("triggers of type {other:?} are not served here"));
            problems.push(problem.help("cron, pipeline and webhook are; the rest of the pipeline works without it"));
            None
        }
    }
}
