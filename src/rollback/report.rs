//! What a rollback tells: while it runs, and in the end.

use std::time::Duration;

use serde::Serialize;

use super::advance::Stage;
use super::advance::Stop;

/// Something a person watching wants to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// A cluster has come to another stage.
    Stage {
        /// Which.
        cluster: String,
        /// Where it is now.
        stage: Stage,
    },
    /// A change was made, or failed.
    Step {
        /// For which cluster.
        cluster: String,
        /// What.
        step: String,
        /// Why not.
        error: Option<String>,
        /// AWS's id of the request.
        request_id: Option<String>,
    },
    /// A look has shown that there is something to wait for.
    Waiting {
        /// Which cluster waits.
        cluster: String,
        /// Where it is.
        stage: Stage,
        /// Restored instances that serve.
        serving: u32,
        /// How many have to.
        count: u32,
        /// For what.
        text: String,
        /// How long that usually takes, by the settings of AWS that are known.
        #[serde(rename = "usual_s", serialize_with = "maybe_seconds", skip_serializing_if = "Option::is_none")]
        usual: Option<Duration>,
        /// What to look at when it takes longer: a command.
        look_at: String,
    },
    /// A cluster cannot go on.
    Stopped {
        /// Which.
        cluster: String,
        /// The runbook's page.
        code: &'static str,
        /// Why.
        text: String,
    },
    /// A look failed, or the service did not answer; it is tried again.
    Trouble {
        /// What.
        text: String,
    },
}

/// Where events go.
pub trait Sink: Send + Sync {
    /// Takes one; must not block.
    fn tell(&self, event: &Event);
}

/// Hears and forgets.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Sink for Silent {
    fn tell(&self, _: &Event) {}
}

/// How a run that was begun has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Each cluster of the plan.
    pub clusters: Vec<ClusterReport>,
    /// From the first look to the last.
    #[serde(rename = "took_s", serialize_with = "seconds")]
    pub took: Duration,
    /// Changes that AWS has acknowledged.
    pub changes: usize,
    /// What was seen to be true in the end, a line each.
    pub verified: Vec<String>,
}

/// How one cluster has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterReport {
    /// Its name.
    pub cluster: String,
    /// How far it came.
    pub stage: Stage,
    /// Why no further; `None` when done.
    pub stop: Option<Stop>,
    /// What a rerun has still to do, a line each.
    pub left: Vec<String>,
}

fn maybe_seconds<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    seconds(&time.unwrap_or_default(), serializer)
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
