//! The fields of an execution itself, stages aside.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use super::Object;
use crate::model::Timestamp;
use crate::orchestrator::engine::status::Status;

/// Which of Orca's two kinds an execution is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ExecutionType {
    /// Started from a pipeline definition.
    #[default]
    Pipeline,
    /// A list of jobs sent to `/tasks`.
    Orchestration,
}

impl ExecutionType {
    /// As it stands in keys: `pipeline`, `orchestration`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Orchestration => "orchestration",
        }
    }
}

/// Who started it, and what that person may touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Authentication {
    /// User name; `[anonymous]` when nobody said.
    pub user: String,
    /// Accounts that user may use.
    pub allowed_accounts: Vec<String>,
    /// Roles that user has; ours, for judgments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// What a newer version keeps here: written again as it was found.
    #[serde(flatten)]
    pub other: Object,
}

/// The last pause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Paused {
    /// Who paused.
    pub paused_by: String,
    /// When.
    pub pause_time: Option<Timestamp>,
    /// Who resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed_by: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume_time: Option<Timestamp>,
    /// Pauses before this one, oldest first: when each began and ended. Orca forgets them; timeouts here do not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<(Timestamp, Timestamp)>,
    /// What a newer version keeps here: written again as it was found.
    #[serde(flatten)]
    pub other: Object,
}

/// The fields of an execution itself. `null` fields are not written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    /// Pipeline or orchestration.
    #[serde(rename = "type")]
    pub kind: ExecutionType,
    /// Spinnaker application.
    pub application: String,
    /// Name of the pipeline; for people.
    pub name: String,
    /// Id of the definition it was started from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_config_id: Option<String>,
    /// Where it stands.
    pub status: Status,
    /// When it was asked for.
    pub build_time: Timestamp,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    /// Not to start after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time_expiry: Option<Timestamp>,
    /// Somebody called it off.
    pub canceled: bool,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceled_by: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancellation_reason: Option<String>,
    /// At most one of its definition runs.
    pub limit_concurrent: bool,
    /// At most so many of its definition run; 0 = any number. Only read when `limit_concurrent` is not set.
    pub max_concurrent_executions: u32,
    /// When a slot is free: true = the oldest waiting one starts; false = the newest, and the others are cancelled.
    pub keep_waiting_pipelines: bool,
    /// The last pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Who started it.
    pub authentication: Authentication,
    /// What started it, with parameters.
    pub trigger: Object,
    /// `api`, `ui`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// `v3` or `v4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spel_evaluator: Option<String>,
    /// Of an orchestration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who is told what.
    pub notifications: Vec<Value>,
    /// The part of the definition that starts may override.
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub initial_config: Object,
    /// Template it came from.
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub source: Object,
    /// Variables of the template.
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub template_variables: Object,
    /// Ours: notifications were given to the outbox up to this many.
    #[serde(skip_serializing_if = "is_zero")]
    pub notified: u64,
}

impl Summary {
    /// So many of its definition may run at once, itself among them; `None` = any number.
    pub fn limit(&self) -> Option<u32> {
        match self.max_concurrent_executions {
            _ if self.limit_concurrent => Some(1),
            0 => None,
            most => Some(most),
        }
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}
