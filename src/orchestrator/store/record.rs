//! Executions as hash fields, under Orca's names, and back. *Pure*.
//!
//! Numbers and booleans are texts; `context`, `outputs`, `tasks`, `trigger`, `authentication`, `paused` … are JSON; what is not set has no field.
//! Ours, which Orca ignores: fields that begin with `bellrock:`, and `attempt` and `due` in a task's JSON.
//!
//! What must stay true: reading what was written gives the same execution; a change is written as that change, so fields that are not ours to know
//! stay as they are. Fails with [`StoreError::Unreadable`] on a status or a form of a newer version, never by guessing.

mod tasks;

use std::collections::HashMap;
use std::collections::HashSet;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Field;
use super::Listing;
use super::Record;
use super::StoreError;
use crate::model::Timestamp;
use crate::orchestrator::engine::execution::Authentication;
use crate::orchestrator::engine::execution::Changes;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::ExecutionType;
use crate::orchestrator::engine::execution::Head;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::execution::Part;
use crate::orchestrator::engine::execution::Stage;
use crate::orchestrator::engine::execution::StageChanges;
use crate::orchestrator::engine::execution::StageId;
use crate::orchestrator::engine::execution::Summary;
use crate::orchestrator::engine::execution::Synthetic;
use crate::orchestrator::engine::status::Status;

/// Says whether it is a pipeline; Orca has that in the key alone.
pub const TYPE: &str = "bellrock:type";
const APPLICATION: &str = "application";
const NOTIFIED: &str = "bellrock:notified";
const TEMPLATE_VARIABLES: &str = "bellrock:templateVariables";
/// Requisites as JSON, where one of them has a comma or no letter at all, so that joining them would lose something.
const REQUISITES: &str = "bellrock:requisiteStageRefIds";

/// Changes as a store takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldChanges {
    /// Fields to set.
    pub set: Vec<Field>,
    /// Fields to remove: they are there, but for some of those of a stage that went.
    pub remove: Vec<String>,
    /// The ids of the stages in order, when they changed.
    pub stage_index: Option<Vec<String>>,
}

/// All of an execution.
pub fn encode(execution: &Execution) -> Record {
    let mut fields = FieldChanges::default();
    fields.summary(execution.summary(), None);
    for stage in execution.stages() {
        fields.stage(stage, &Part::ALL, None);
    }
    Record { fields: fields.set, stage_index: stage_index(execution) }
}

/// What changed of it.
pub fn encode_changes(execution: &Execution, changes: &Changes) -> FieldChanges {
    let mut fields = FieldChanges::default();
    if changes.summary {
        fields.summary(execution.summary(), changes.summary_was.as_deref());
    }
    for id in &changes.removed {
        fields.remove.extend(STAGE_FIELDS.iter().map(|name| stage_field(id, name)));
    }
    for StageChanges { at, parts, head_was } in &changes.stages {
        fields.stage(execution.stage(*at), parts, head_was.as_deref());
    }
    if !changes.removed.is_empty() {
        // A stage of the same id may have come in the place of one that went.
        let set: HashSet<&str> = fields.set.iter().map(|(name, _)| name.as_str()).collect();
        fields.remove.retain(|name| !set.contains(name.as_str()));
    }
    fields.stage_index = changes.order.then(|| stage_index(execution));
    fields
}

/// What lists and indexes are to know of it.
pub fn listing(execution: &Execution) -> Listing {
    let summary = execution.summary();
    Listing {
        id: execution.id.clone(),
        kind: summary.kind,
        application: summary.application.clone(),
        name: summary.name.clone(),
        pipeline_config_id: summary.pipeline_config_id.clone(),
        status: summary.status,
        build_time: summary.build_time,
        start_time: summary.start_time,
        end_time: summary.end_time,
    }
}

/// An execution of these fields. `kind` is what the key says, where it says so; otherwise the record itself does.
///
/// # Errors
/// [`StoreError::Unreadable`], with the field.
pub fn decode(id: &ExecutionId, kind: Option<ExecutionType>, record: &Record) -> Result<Execution, StoreError> {
    let mut own = Fields::default();
    let mut stages: HashMap<&str, Fields<'_>> = HashMap::with_capacity(record.stage_index.len());
    let mut found = Vec::new();
    for (name, text) in &record.fields {
        match name.strip_prefix("stage.").and_then(|rest| rest.rsplit_once('.')) {
            None => own.0.push((name, text)),
            Some((stage, field)) => {
                let fields = stages.entry(stage).or_insert_with(|| {
                    found.push(stage);
                    Fields::default()
                });
                fields.0.push((field, text));
            }
        }
    }
    // Without an index the stages are those that have fields, as Orca's reader finds them.
    let order: Vec<&str> = if record.stage_index.is_empty() { found } else { record.stage_index.iter().map(String::as_str).collect() };
    let stages = order
        .into_iter()
        .map(|stage| stages.get(stage).unwrap_or(&Fields::default()).stage(stage))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|why| unreadable(id, &why))?;
    let summary = own.summary(kind).map_err(|why| unreadable(id, &why))?;
    Ok(Execution::from_parts(id.clone(), summary, stages))
}

/// Kind and application of a record, without reading the rest of it. What a newer version calls by another word passes for a pipeline.
pub fn belongs(record: &Record) -> (ExecutionType, String) {
    let text = |name: &str| record.fields.iter().find(|(field, _)| field == name).map(|(_, text)| text.as_str());
    let kind = match text(TYPE) {
        Some(word) if word == ExecutionType::Orchestration.word() => ExecutionType::Orchestration,
        Some(_) | None => ExecutionType::Pipeline,
    };
    (kind, text(APPLICATION).unwrap_or_default().to_owned())
}

fn unreadable(id: &ExecutionId, why: &str) -> StoreError {
    StoreError::Unreadable(format!("execution {id}: {why}"))
}

fn stage_index(execution: &Execution) -> Vec<String> {
    execution.stages().iter().map(|s| s.id.0.clone()).collect()
}

fn stage_field(id: &StageId, name: &str) -> String {
    // Of every field of every stage: put together at a third of what `format!` takes.
    let mut field = String::with_capacity(7 + id.0.len() + name.len());
    for part in ["stage.", id.as_str(), ".", name] {
        field.push_str(part);
    }
    field
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("keys are texts, and nothing here refuses to be written")
}

fn number(time: Timestamp) -> String {
    time.0.to_string()
}

/// Fields of a stage, all that this version writes.
const STAGE_FIELDS: [&str; 16] = [
    "refId",
    "type",
    "name",
    "status",
    "startTime",
    "endTime",
    "startTimeExpiry",
    "scheduledTime",
    "syntheticStageOwner",
    "parentStageId",
    "requisiteStageRefIds",
    REQUISITES,
    "lastModified",
    "context",
    "outputs",
    "tasks",
];

/// One field of a part that changes field by field.
struct FieldOf<T> {
    name: &'static str,
    same: fn(&T, &T) -> bool,
    /// `None` = no such field is written.
    text: fn(&T) -> Option<String>,
}

macro_rules! field {
    ($name:expr, $field:ident, $text:expr) => {
        FieldOf { name: $name, same: |a, b| a.$field == b.$field, text: $text }
    };
}

/// Of [`Summary`]. An execution's kind never changes, so that no field has to be looked at on its account.
const SUMMARY: [FieldOf<Summary>; 26] = [
    field!(APPLICATION, application, |s| Some(s.application.clone())),
    field!("name", name, |s| (is_pipeline(s) || !s.name.is_empty()).then(|| s.name.clone())),
    field!("pipelineConfigId", pipeline_config_id, |s| s.pipeline_config_id.clone()),
    field!("status", status, |s| Some(s.status.word().to_owned())),
    field!("buildTime", build_time, |s| Some(number(s.build_time))),
    field!("startTime", start_time, |s| s.start_time.map(number)),
    field!("endTime", end_time, |s| s.end_time.map(number)),
    field!("startTimeExpiry", start_time_expiry, |s| s.start_time_expiry.map(number)),
    field!("canceled", canceled, |s| Some(s.canceled.to_string())),
    field!("canceledBy", canceled_by, |s| s.canceled_by.clone()),
    field!("cancellationReason", cancellation_reason, |s| s.cancellation_reason.clone()),
    field!("limitConcurrent", limit_concurrent, |s| Some(s.limit_concurrent.to_string())),
    field!("maxConcurrentExecutions", max_concurrent_executions, |s| Some(s.max_concurrent_executions.to_string())),
    field!("keepWaitingPipelines", keep_waiting_pipelines, |s| Some(s.keep_waiting_pipelines.to_string())),
    field!("paused", paused, |s| s.paused.as_ref().map(json)),
    field!("authentication", authentication, |s| Some(json(&s.authentication))),
    field!("trigger", trigger, |s| Some(json(&s.trigger))),
    field!("origin", origin, |s| s.origin.clone()),
    field!("spelEvaluator", spel_evaluator, |s| s.spel_evaluator.clone()),
    field!("description", description, |s| s.description.clone()),
    // Orca's reader of a pipeline takes these two for granted.
    field!("notifications", notifications, |s| (is_pipeline(s) || !s.notifications.is_empty()).then(|| json(&s.notifications))),
    field!("initialConfig", initial_config, |s| (is_pipeline(s) || !s.initial_config.is_empty()).then(|| json(&s.initial_config))),
    field!("source", source, |s| object(&s.source)),
    field!(TYPE, kind, |s| Some(s.kind.word().to_owned())),
    field!(TEMPLATE_VARIABLES, template_variables, |s| object(&s.template_variables)),
    field!(NOTIFIED, notified, |s| (s.notified > 0).then(|| s.notified.to_string())),
];

/// Of [`Head`].
const HEAD: [FieldOf<Head>; 13] = [
    field!("refId", ref_id, |h| Some(h.ref_id.clone())),
    field!("type", kind, |h| Some(h.kind.clone())),
    field!("name", name, |h| Some(h.name.clone())),
    field!("status", status, |h| Some(h.status.word().to_owned())),
    field!("startTime", start_time, |h| h.start_time.map(number)),
    field!("endTime", end_time, |h| h.end_time.map(number)),
    field!("startTimeExpiry", start_time_expiry, |h| h.start_time_expiry.map(number)),
    field!("scheduledTime", scheduled_time, |h| h.scheduled_time.map(number)),
    field!("syntheticStageOwner", synthetic_stage_owner, |h| h.synthetic_stage_owner.map(|owner| owner_word(owner).to_owned())),
    field!("parentStageId", parent_stage_id, |h| h.parent_stage_id.as_ref().map(|p| p.0.clone())),
    field!("requisiteStageRefIds", requisite_stage_ref_ids, |h| {
        (!h.requisite_stage_ref_ids.is_empty()).then(|| h.requisite_stage_ref_ids.join(","))
    }),
    field!(REQUISITES, requisite_stage_ref_ids, |h| {
        let joins = h.requisite_stage_ref_ids.iter().all(|r| !r.is_empty() && !r.contains(','));
        (!joins).then(|| json(&h.requisite_stage_ref_ids))
    }),
    field!("lastModified", last_modified, |h| h.last_modified.as_ref().map(json)),
];

fn is_pipeline(summary: &Summary) -> bool {
    summary.kind == ExecutionType::Pipeline
}

fn object(object: &Object) -> Option<String> {
    (!object.is_empty()).then(|| json(object))
}

impl FieldChanges {
    /// What of these fields is not as it was; all of them when they are new.
    fn compare<T>(&mut self, fields: &[FieldOf<T>], now: &T, was: Option<&T>, full_name: impl Fn(&'static str) -> String) {
        for FieldOf { name, same, text } in fields {
            if was.is_some_and(|was| same(was, now)) {
                continue;
            }
            match text(now) {
                Some(text) => self.set.push((full_name(name), text)),
                None if was.and_then(text).is_some() => self.remove.push(full_name(name)),
                None => {}
            }
        }
    }

    fn summary(&mut self, now: &Summary, was: Option<&Summary>) {
        self.compare(&SUMMARY, now, was, str::to_owned);
    }

    fn stage(&mut self, stage: &Stage, parts: &[Part], head_was: Option<&Head>) {
        for part in parts {
            match part {
                Part::Head => self.compare(&HEAD, stage.head(), head_was, |name| stage_field(&stage.id, name)),
                Part::Context => self.set.push((stage_field(&stage.id, "context"), json(stage.context()))),
                Part::Outputs => self.set.push((stage_field(&stage.id, "outputs"), json(stage.outputs()))),
                Part::Tasks => self.set.push((stage_field(&stage.id, "tasks"), tasks::tasks(stage.tasks()))),
            }
        }
    }
}

fn owner_word(owner: Synthetic) -> &'static str {
    match owner {
        Synthetic::StageBefore => "STAGE_BEFORE",
        Synthetic::StageAfter => "STAGE_AFTER",
    }
}

/// Fields as they were read: few, so that looking through them is the fastest way. Errors are for people.
#[derive(Default)]
struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl Fields<'_> {
    /// The text of a field; the literal `null` is what Orca leaves of an object that is not set.
    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
    }

    fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    fn parse<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        self.text(name).map(|text| text.parse().map_err(|_| format!("{name} is {:?}", clip(text)))).transpose()
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, String> {
        Ok(self.parse(name)?.map(Timestamp))
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, String> {
        match self.text(name) {
            None | Some("null" | "") => Ok(None),
            Some(text) => serde_json::from_str(text).map(Some).map_err(|e| format!("{name}: {e}")),
        }
    }

    fn or_default<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, String> {
        Ok(self.json(name)?.unwrap_or_default())
    }

    fn status(&self) -> Result<Status, String> {
        match self.text("status") {
            None => Ok(Status::default()),
            Some(word) => Status::from_word(word).ok_or_else(|| format!("status {:?} is of a newer version", clip(word))),
        }
    }

    fn kind(&self, key: Option<ExecutionType>) -> Result<ExecutionType, String> {
        match (key, self.text(TYPE)) {
            (Some(kind), _) => Ok(kind),
            (None, Some("orchestration")) => Ok(ExecutionType::Orchestration),
            (None, Some("pipeline") | None) => Ok(ExecutionType::Pipeline),
            (None, Some(word)) => Err(format!("type {:?} is of a newer version", clip(word))),
        }
    }

    fn summary(&self, key: Option<ExecutionType>) -> Result<Summary, String> {
        Ok(Summary {
            kind: self.kind(key)?,
            application: self.owned(APPLICATION).unwrap_or_default(),
            name: self.owned("name").unwrap_or_default(),
            pipeline_config_id: self.owned("pipelineConfigId"),
            status: self.status()?,
            build_time: self.time("buildTime")?.unwrap_or_default(),
            start_time: self.time("startTime")?,
            end_time: self.time("endTime")?,
            start_time_expiry: self.time("startTimeExpiry")?,
            canceled: self.parse("canceled")?.unwrap_or_default(),
            canceled_by: self.owned("canceledBy"),
            cancellation_reason: self.owned("cancellationReason"),
            limit_concurrent: self.parse("limitConcurrent")?.unwrap_or_default(),
            max_concurrent_executions: self.parse("maxConcurrentExecutions")?.unwrap_or_default(),
            keep_waiting_pipelines: self.parse("keepWaitingPipelines")?.unwrap_or_default(),
            paused: self.json("paused")?,
            authentication: self.or_default::<Authentication>("authentication")?,
            trigger: self.or_default("trigger")?,
            origin: self.owned("origin"),
            spel_evaluator: self.owned("spelEvaluator"),
            description: self.owned("description"),
            notifications: self.or_default("notifications")?,
            initial_config: self.or_default("initialConfig")?,
            source: self.or_default("source")?,
            template_variables: self.or_default(TEMPLATE_VARIABLES)?,
            notified: self.parse(NOTIFIED)?.unwrap_or_default(),
        })
    }

    fn stage(&self, id: &str) -> Result<Stage, String> {
        let within = |why: String| format!("stage {id}: {why}");
        let head = self.head().map_err(within)?;
        let context = self.or_default("context").map_err(within)?;
        let outputs = self.or_default("outputs").map_err(within)?;
        let tasks = self.or_default("tasks").map_err(within)?;
        Ok(Stage::from_parts(StageId::from(id), head, context, outputs, tasks))
    }

    fn head(&self) -> Result<Head, String> {
        let joined = self.text("requisiteStageRefIds").filter(|text| !text.is_empty());
        let requisites = match self.json(REQUISITES)? {
            Some(list) => list,
            None => joined.map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default(),
        };
        let owner = match self.text("syntheticStageOwner") {
            None => None,
            Some("STAGE_BEFORE") => Some(Synthetic::StageBefore),
            Some("STAGE_AFTER") => Some(Synthetic::StageAfter),
            Some(word) => return Err(format!("syntheticStageOwner {:?} is of a newer version", clip(word))),
        };
        Ok(Head {
            ref_id: self.owned("refId").unwrap_or_default(),
            kind: self.owned("type").unwrap_or_default(),
            name: self.owned("name").unwrap_or_default(),
            status: self.status()?,
            start_time: self.time("startTime")?,
            end_time: self.time("endTime")?,
            start_time_expiry: self.time("startTimeExpiry")?,
            scheduled_time: self.time("scheduledTime")?,
            synthetic_stage_owner: owner,
            parent_stage_id: self.text("parentStageId").map(StageId::from),
            requisite_stage_ref_ids: requisites,
            last_modified: self.json("lastModified")?,
        })
    }
}

/// The beginning of a text that may be of any length.
fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(60)]
}

#[cfg(test)]
mod tests;
