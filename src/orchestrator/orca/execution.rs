//! An execution as Orca's API writes it and its Redis holds it, as far as it tells whether anybody works on it. *Pure*.
//!
//! What must stay true: what is missing or not understood is absent, never a guess; contexts and outputs, which are large and hold secrets, are not kept.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::model::Timestamp;

/// Stages that are named in evidence. More tell a person nothing.
const MOST_NAMED: usize = 5;

/// Orca's two types of execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Of a pipeline.
    Pipeline,
    /// A task of an application, such as a resize that somebody asked for.
    Orchestration,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Pipeline, Self::Orchestration];

    /// As Redis keys have it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Orchestration => "orchestration",
        }
    }

    /// As `ExecutionType` is written in queries.
    pub fn query(self) -> &'static str {
        match self {
            Self::Pipeline => "PIPELINE",
            Self::Orchestration => "ORCHESTRATION",
        }
    }

    /// The collection of Orca's API that has it.
    pub fn collection(self) -> &'static str {
        match self {
            Self::Pipeline => "pipelines",
            Self::Orchestration => "tasks",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// A running execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Execution {
    /// Its id.
    pub id: String,
    /// Its type.
    pub kind: Kind,
    /// Its application.
    pub application: String,
    /// Name of its pipeline.
    pub name: Option<String>,
    /// Which Orca of those that share a database it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// The newest time in its record: of its start, or of a stage or a task.
    #[serde(skip)]
    pub last: Option<Timestamp>,
    /// Where it stands, for people.
    #[serde(skip)]
    pub stands: Vec<String>,
}

/// What is read of an execution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Document {
    /// Its application.
    pub application: String,
    /// Name of its pipeline.
    pub name: Option<String>,
    /// One of Orca's twelve, or what another version adds.
    pub status: String,
    /// Absent where no database is shared.
    pub partition: Option<String>,
    /// Milliseconds since the epoch, as all times here.
    pub build_time: Option<i64>,
    /// When it was started.
    pub start_time: Option<i64>,
    /// In no particular order.
    pub stages: Vec<Stage>,
}

/// What is read of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stage {
    /// Its name.
    pub name: Option<String>,
    /// Its type.
    pub r#type: Option<String>,
    /// Its status.
    pub status: Option<String>,
    /// When it was started.
    pub start_time: Option<i64>,
    /// When it ended.
    pub end_time: Option<i64>,
    /// In order.
    pub tasks: Vec<Task>,
}

/// What is read of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Task {
    /// Its name.
    pub name: Option<String>,
    /// Its status.
    pub status: Option<String>,
    /// When it was started.
    pub start_time: Option<i64>,
    /// When it ended.
    pub end_time: Option<i64>,
}

impl Document {
    /// Reads what `GET /pipelines/{id}` and `GET /tasks/{id}` answer; the latter has the execution itself under `execution`. The error is for people.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let mut answer: Value = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        let inner = answer.get_mut("execution").filter(|inner| inner.is_object()).map(Value::take);
        let document: Self = serde_json::from_value(inner.unwrap_or(answer)).map_err(|e| e.to_string())?;
        if document.status.is_empty() { Err("an execution without a status".to_owned()) } else { Ok(document) }
    }

    /// Whether Orca has it as running.
    pub fn is_running(&self) -> bool {
        self.status == RUNNING
    }

    /// What a look keeps of it.
    pub fn execution(self, id: &str, kind: Kind) -> Execution {
        let Self { application, name, status: _, partition, build_time, start_time, stages } = self;
        let of_stages = stages.iter().flat_map(|stage| {
            let of_tasks = stage.tasks.iter().flat_map(|task| [task.start_time, task.end_time]);
            [stage.start_time, stage.end_time].into_iter().chain(of_tasks)
        });
        // 0 is Orca's word for no build time.
        let last = [build_time, start_time].into_iter().chain(of_stages).flatten().filter(|ms| *ms > 0).max().map(Timestamp);
        let stands = stages.iter().filter(|stage| stage.status.as_deref() == Some(RUNNING)).take(MOST_NAMED).map(Stage::stands).collect();
        Execution { id: id.to_owned(), kind, application, name, partition: partition.filter(|name| !name.is_empty()), last, stands }
    }
}

pub(super) const RUNNING: &str = "RUNNING";

impl Stage {
    fn stands(&self) -> String {
        let name = self.name.as_deref().or(self.r#type.as_deref()).unwrap_or("without a name");
        let kind = self.r#type.as_deref().filter(|kind| *kind != name).map(|kind| format!(" ({kind})")).unwrap_or_default();
        let task = self.tasks.iter().find(|task| task.status.as_deref() == Some(RUNNING));
        match task {
            Some(task) => format!("stage {name:?}{kind}: task {} is RUNNING", task.name.as_deref().unwrap_or("without a name")),
            None => format!("stage {name:?}{kind} is RUNNING, none of its tasks is"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_time_of_its_parts_is_its_last_sign_of_life() {
        let body =
            br#"{"type":"PIPELINE","id":"01A","application":"shop","name":"release","status":"RUNNING","buildTime":100,"startTime":200,
            "partition":"blue","trigger":{"type":"manual"},"stages":[
            {"name":"bake","type":"bake","status":"SUCCEEDED","startTime":210,"endTime":300,"tasks":[]},
            {"name":"to prod","type":"deploy","status":"RUNNING","startTime":310,"context":{"secret":"x"},"tasks":[
                {"id":"1","name":"createServerGroup","status":"SUCCEEDED","startTime":311,"endTime":320},
                {"id":"2","name":"monitorDeploy","status":"RUNNING","startTime":321}]}]}"#;
        let execution = Document::read(body).unwrap().execution("01A", Kind::Pipeline);
        assert_eq!((execution.last, execution.partition.as_deref()), (Some(Timestamp(321)), Some("blue")));
        assert_eq!(execution.stands, ["stage \"to prod\" (deploy): task monitorDeploy is RUNNING"]);
        assert_eq!((execution.application.as_str(), execution.name.as_deref()), ("shop", Some("release")));
    }

    #[test]
    fn a_tasks_answer_has_its_execution_inside() {
        let body = br#"{"id":"01B","status":"RUNNING","steps":[],"execution":{"application":"shop","status":"SUCCEEDED","startTime":5,"stages":[]}}"#;
        let document = Document::read(body).unwrap();
        assert!(!document.is_running() && document.start_time == Some(5));
        assert!(Document::read(br#"{"id":"01B","application":"shop","status":"RUNNING","startTime":5}"#).unwrap().is_running());
    }

    #[test]
    fn what_is_no_execution_is_an_error() {
        for body in ["", "[]", "{}", "null", "{\"status\":1}", "<html>", "{\"execution\":{}}", "{\"status\":\"RUNNING\",\"stages\":7}"] {
            assert!(Document::read(body.as_bytes()).is_err(), "{body}");
        }
        let timeless = Document::read(br#"{"status":"RUNNING","buildTime":0,"name":null}"#).unwrap().execution("x", Kind::Orchestration);
        assert_eq!(timeless.last, None);
    }
}
