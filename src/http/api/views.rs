//! What the API says, as JSON. Names are those of Orca and Gate where they have the call; these types change by addition only.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use utoipa::IntoParams;
use utoipa::ToSchema;

use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::store::InstanceActivity;
use crate::orchestrator::store::Listing;

/// Why there is no other answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A word.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// Everything that is wrong with what was sent, by place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub problems: Vec<Value>,
}

/// Where to look for what was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reference {
    /// `/pipelines/{id}` or `/tasks/{id}`.
    #[serde(rename = "ref")]
    pub reference: String,
}

/// What an instance executes: the form of Orca's last version of the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Active {
    /// The instance is not heard of; what it holds waits to be adopted.
    pub overdue: bool,
    /// How many.
    pub count: u64,
    /// Which, at most 1000.
    pub executions: Vec<ActiveExecution>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct ActiveExecution {
    /// Its application.
    pub application: String,
    /// `/pipelines/{id}` or `/tasks/{id}`.
    pub url: String,
}

impl From<InstanceActivity> for Active {
    fn from(activity: InstanceActivity) -> Self {
        let mut executions: Vec<ActiveExecution> = activity.executions.iter().map(ActiveExecution::from).collect();
        executions.sort();
        Self { overdue: activity.overdue, count: activity.count, executions }
    }
}

impl From<&Listing> for ActiveExecution {
    fn from(listing: &Listing) -> Self {
        Self { application: listing.application.clone(), url: super::url(listing.kind, &listing.id) }
    }
}

/// The intake of this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Enabled {
    /// It claims executions.
    pub enabled: bool,
}

/// A task, as Gate shows an orchestration.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskView {
    /// Its id.
    pub id: String,
    /// Its description.
    pub name: String,
    /// Its application.
    pub application: String,
    /// Where it stands.
    pub status: String,
    /// Merged outputs and contexts of its stages.
    #[schema(value_type = Vec<Object>)]
    pub variables: Vec<Value>,
    /// Tasks of all stages.
    #[schema(value_type = Vec<Object>)]
    pub steps: Vec<Value>,
    /// When it was asked for, epoch milliseconds.
    pub build_time: i64,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<i64>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<i64>,
    /// The whole of it.
    #[schema(value_type = Object)]
    pub execution: Value,
}

impl From<&Execution> for TaskView {
    fn from(execution: &Execution) -> Self {
        let summary = execution.summary();
        let mut variables = Object::new();
        for stage in execution.stages() {
            variables.extend(stage.context().iter().chain(stage.outputs()).map(|(k, v)| (k.clone(), v.clone())));
        }
        let tasks = execution.stages().iter().flat_map(|s| s.tasks());
        Self {
            id: execution.id.to_string(),
            name: summary.description.clone().unwrap_or_else(|| summary.name.clone()),
            application: summary.application.clone(),
            status: summary.status.to_string(),
            variables: variables.into_iter().map(|(key, value)| serde_json::json!({ "key": key, "value": value })).collect(),
            steps: tasks.map(|t| serde_json::to_value(t).expect("a task is JSON")).collect(),
            build_time: summary.build_time.0,
            start_time: summary.start_time.map(|t| t.0),
            end_time: summary.end_time.map(|t| t.0),
            execution: serde_json::to_value(execution).expect("an execution is JSON"),
        }
    }
}

impl From<&Listing> for TaskView {
    /// Of a task that is not shown whole.
    fn from(listing: &Listing) -> Self {
        Self {
            id: listing.id.to_string(),
            name: listing.name.clone(),
            application: listing.application.clone(),
            status: listing.status.to_string(),
            variables: Vec::new(),
            steps: Vec::new(),
            build_time: listing.build_time.0,
            start_time: listing.start_time.map(|t| t.0),
            end_time: listing.end_time.map(|t| t.0),
            execution: serde_json::to_value(listing).expect("a listing is JSON"),
        }
    }
}

/// A list of jobs, as Gate's `/tasks` takes it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct NewTask {
    /// Its application; the one in the path wins.
    #[serde(default)]
    pub application: Option<String>,
    /// What people call it.
    #[serde(default)]
    pub description: Option<String>,
    /// Stages, run one after the other.
    #[schema(value_type = Vec<Object>)]
    pub job: Vec<Object>,
}

/// Which executions to list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// At most so many, 1 to 3500; 20 unless said.
    #[param(minimum = 1, maximum = 3500)]
    pub limit: Option<usize>,
    /// The page of this number, from 1, as far as 10 000 executions back. What begins or goes meanwhile moves the pages; `before` is exact.
    #[param(minimum = 1)]
    pub page: Option<usize>,
    /// Statuses, with commas between.
    pub statuses: Option<String>,
    /// Only what is older than this execution: the last of the page before.
    pub before: Option<String>,
    /// Ids of definitions, with commas between; only of `/executions`.
    pub pipeline_config_ids: Option<String>,
    /// With stages (the default), or only their listings. An answer holds at most 1000 whole ones, and 32 MB of them; the rest are listings.
    pub expand: Option<bool>,
}

/// Why an execution is called off.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct CancelQuery {
    /// For the record.
    pub reason: Option<String>,
    /// Gate's parameter: cancelling always ends an execution here, so it changes nothing.
    pub force: Option<bool>,
}

/// Which tasks are called off, and why.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CancelManyQuery {
    /// Their ids, with commas between; at most 100.
    pub ids: String,
    /// For the record.
    #[serde(default)]
    pub reason: Option<String>,
}

/// An expression to try.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ExpressionQuery {
    /// With or without `${ }`.
    pub expression: String,
}

/// How `activeByInstance` answers.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ShapeQuery {
    /// `count`: only the number, as Orca's first version of the call.
    pub shape: Option<String>,
}
