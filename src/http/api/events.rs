//! An execution's progress as server-sent events.
//!
//! An event is told when a stage or the execution has come to another status, or a wait has another end; the stream ends with the execution. Its
//! owner may be another instance, so the store is read, at most twice a second for each listener.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::Event;
use axum::response::sse::KeepAlive;
use axum::response::sse::Sse;
use futures::Stream;
use futures::stream;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use super::Api;
use super::ApiState;
use super::Path;
use super::Reader;
use super::executions::missing;
use super::views::Problem;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::status::Status;
use crate::orchestrator::store::record;

/// Between looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks of one stream: an hour. A client that wants more asks again, as browsers do by themselves.
const LOOKS: u32 = 7200;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(events))
}

/// A step of an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// `execution` or `stage`.
    pub what: &'static str,
    /// Id of the stage, or of the execution.
    pub id: String,
    /// Reference id of the stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ref_id: Option<String>,
    /// For people.
    pub name: String,
    /// Type of the stage.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Where it stands now.
    pub status: String,
}

/// An event of the stream.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it is what the document says; axum writes the lines")]
struct Step {
    /// `execution` or `stage`.
    event: String,
    /// A JSON object: `what`, `id`, `name`, `status`, and of a stage `refId` and `type`.
    data: String,
}

/// Tells an execution's steps until it ends: an event each.
#[utoipa::path(get, path = "/pipelines/{id}/events", tag = "executions", params(("id" = String, Path)),
    responses((status = 200, content_type = "text/event-stream", body = Step), (status = 404, body = Problem)))]
async fn events(State(api): ApiState, _: Reader, Path(id): Path<String>) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let id = ExecutionId(id);
    if api.store.load(&id).await?.is_none() {
        return Err(missing(id.as_str()));
    }
    let watch = Watch { api, id, told: BTreeMap::new(), looks: 0, ended: false };
    let steps = stream::unfold(watch, |mut watch| async move {
        let steps = watch.next().await?;
        Some((stream::iter(steps.into_iter().map(Ok)), watch))
    });
    Ok(Sse::new(futures::StreamExt::flatten(steps)).keep_alive(KeepAlive::default()))
}

struct Watch {
    api: Api,
    id: ExecutionId,
    /// Status last told, by id.
    told: BTreeMap<String, Status>,
    looks: u32,
    ended: bool,
}

impl Watch {
    /// The next events; `None` when there are no more to come.
    async fn next(&mut self) -> Option<Vec<Event>> {
        loop {
            if self.ended || self.looks >= LOOKS {
                return None;
            }
            if self.looks > 0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            self.looks += 1;
            // A store that does not answer now may at the next look; an execution that is gone has nothing more to tell.
            let Ok(found) = self.api.store.show(&self.id).await else { continue };
            let Ok(execution) = record::decode(&self.id, None, &found?) else { return None };
            self.ended = execution.status().is_complete();
            let steps = self.news(&execution);
            if !steps.is_empty() {
                return Some(steps.into_iter().filter_map(|p| Event::default().event(p.what).json_data(&p).ok()).collect());
            }
        }
    }

    /// What was not told yet.
    fn news(&mut self, execution: &Execution) -> Vec<Progress> {
        let stages = execution.stages().iter().filter(|s| s.status() != Status::NotStarted).map(|s| Progress {
            what: "stage",
            id: s.id.to_string(),
            ref_id: Some(s.head().ref_id.clone()),
            name: s.head().name.clone(),
            kind: Some(s.head().kind.clone()),
            status: s.status().to_string(),
        });
        let whole = Progress {
            what: "execution",
            id: execution.id.to_string(),
            ref_id: None,
            name: execution.summary().name.clone(),
            kind: None,
            status: execution.status().to_string(),
        };
        let statuses =
            execution.stages().iter().map(|s| (s.id.to_string(), s.status())).chain([(execution.id.to_string(), execution.status())]);
        let now: BTreeMap<String, Status> = statuses.collect();
        let steps = stages.chain([whole]).filter(|p| self.told.get(&p.id) != now.get(&p.id)).collect();
        self.told = now;
        steps
    }
}
