//! Executions as hash fields, under Orca's names, and back. *Pure*.
//!
//! Numbers and booleans are texts; `context`, `outputs`, `tasks`, `trigger`, `authentication`, `paused` … are JSON; what is not set has no field.
//! Ours, which Orca ignores: fields that begin with `bellrock:`, and `attempt` and `due` in a task's JSON.
//!
//! What must stay true: reading what was written gives the same execution; a change is written as that change, so fields that are not ours to know
//! stay as they are. Fails with [`StoreError::Unreadable`] on a status or a form of a newer version, never by guessing.

use std::collections::HashMap;

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
use crate::orchestrator::engine::execution::StageId;
use crate::orchestrator::engine::execution::Summary;
use crate::orchestrator::engine::execution::Synthetic;
use crate::orchestrator::engine::status::Status;

/// Says whether it is a pipeline; Orca has that in the key alone.
pub const TYPE: &str = "bellrock:type";
const NOTIFIED: &str = "bellrock:notified";
const TEMPLATE_VARIABLES: &str = "bellrock:templateVariables";
/// Requisites as JSON, where one of them has a comma or no letter at all, so that joining them would lose something.
const REQUISITES: &str = "bellrock:requisiteStageRefIds";

/// Changes as a store takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldChanges {
    /// Fields to set.
    pub set: Vec<Field>,
    /// Fields to remove; most of them are not there.
    pub remove: Vec<String>,
    /// The ids of the stages in order, when they changed.
    pub stage_index: Option<Vec<String>>,
}

/// All of an execution.
pub fn encode(execution: &Execution) -> Record {
    let mut fields = FieldChanges::default();
    fields.summary(execution.summary());
    for stage in execution.stages() {
        fields.stage(stage, &Part::ALL);
    }
    Record { fields: fields.set, stage_index: stage_index(execution) }
}

/// What changed of it.
pub fn encode_changes(execution: &Execution, changes: &Changes) -> FieldChanges {
    let mut fields = FieldChanges::default();
    if changes.summary {
        fields.summary(execution.summary());
    }
    for (at, parts) in &changes.stages {
        fields.stage(execution.stage(*at), parts);
    }
    for id in &changes.removed {
        // A stage of the same id may have come in its place.
        if execution.place(id).is_none() {
            fields.remove.extend(STAGE_FIELDS.iter().map(|name| stage_field(id, name)));
        }
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

fn unreadable(id: &ExecutionId, why: &str) -> StoreError {
    StoreError::Unreadable(format!("execution {id}: {why}"))
}

fn stage_index(execution: &Execution) -> Vec<String> {
    execution.stages().iter().map(|s| s.id.0.clone()).collect()
}

fn stage_field(id: &StageId, name: &str) -> String {
    format!("stage.{id}.{name}")
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

impl FieldChanges {
    fn put(&mut self, name: String, text: Option<String>) {
        match text {
            Some(text) => self.set.push((name, text)),
            None => self.remove.push(name),
        }
    }

    fn summary(&mut self, s: &Summary) {
        let pipeline = s.kind == ExecutionType::Pipeline;
        let object = |o: &Object| (!o.is_empty()).then(|| json(o));
        let fields = [
            ("application", Some(s.application.clone())),
            ("name", (pipeline || !s.name.is_empty()).then(|| s.name.clone())),
            ("pipelineConfigId", s.pipeline_config_id.clone()),
            ("status", Some(s.status.word().to_owned())),
            ("buildTime", Some(number(s.build_time))),
            ("startTime", s.start_time.map(number)),
            ("endTime", s.end_time.map(number)),
            ("startTimeExpiry", s.start_time_expiry.map(number)),
            ("canceled", Some(s.canceled.to_string())),
            ("canceledBy", s.canceled_by.clone()),
            ("cancellationReason", s.cancellation_reason.clone()),
            ("limitConcurrent", Some(s.limit_concurrent.to_string())),
            ("maxConcurrentExecutions", Some(s.max_concurrent_executions.to_string())),
            ("keepWaitingPipelines", Some(s.keep_waiting_pipelines.to_string())),
            ("paused", s.paused.as_ref().map(json)),
            ("authentication", Some(json(&s.authentication))),
            ("trigger", Some(json(&s.trigger))),
            ("origin", s.origin.clone()),
            ("spelEvaluator", s.spel_evaluator.clone()),
            ("description", s.description.clone()),
            // Orca's reader of a pipeline takes these two for granted.
            ("notifications", (pipeline || !s.notifications.is_empty()).then(|| json(&s.notifications))),
            ("initialConfig", if pipeline { Some(json(&s.initial_config)) } else { object(&s.initial_config) }),
            ("source", object(&s.source)),
            (TYPE, Some(s.kind.word().to_owned())),
            (TEMPLATE_VARIABLES, object(&s.template_variables)),
            (NOTIFIED, (s.notified > 0).then(|| s.notified.to_string())),
        ];
        for (name, text) in fields {
            self.put(name.to_owned(), text);
        }
    }

    fn stage(&mut self, stage: &Stage, parts: &[Part]) {
        for part in parts {
            match part {
                Part::Head => self.head(&stage.id, stage.head()),
                Part::Context => self.set.push((stage_field(&stage.id, "context"), json(stage.context()))),
                Part::Outputs => self.set.push((stage_field(&stage.id, "outputs"), json(stage.outputs()))),
                Part::Tasks => self.set.push((stage_field(&stage.id, "tasks"), json(&stage.tasks()))),
            }
        }
    }

    fn head(&mut self, id: &StageId, head: &Head) {
        let requisites = &head.requisite_stage_ref_ids;
        let joins = requisites.iter().all(|r| !r.is_empty() && !r.contains(','));
        let fields = [
            ("refId", Some(head.ref_id.clone())),
            ("type", Some(head.kind.clone())),
            ("name", Some(head.name.clone())),
            ("status", Some(head.status.word().to_owned())),
            ("startTime", head.start_time.map(number)),
            ("endTime", head.end_time.map(number)),
            ("startTimeExpiry", head.start_time_expiry.map(number)),
            ("scheduledTime", head.scheduled_time.map(number)),
            ("syntheticStageOwner", head.synthetic_stage_owner.map(|owner| owner_word(owner).to_owned())),
            ("parentStageId", head.parent_stage_id.as_ref().map(|p| p.0.clone())),
            ("requisiteStageRefIds", (!requisites.is_empty()).then(|| requisites.join(","))),
            (REQUISITES, (!joins).then(|| json(requisites))),
            ("lastModified", head.last_modified.as_ref().map(json)),
        ];
        for (name, text) in fields {
            self.put(stage_field(id, name), text);
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
            application: self.owned("application").unwrap_or_default(),
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
