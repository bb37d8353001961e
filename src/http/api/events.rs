//! An execution's progress as server-sent events.
//!
//! An event is told when a stage or the execution has come to another status, a wait has another end, or a stage waits for an instance that knows its
//! type; the stream ends with the execution. Its owner may be another instance, so the store is read: once for all who listen to the same execution, at
//! most twice a second, and less often when it is large. Listeners are counted; there is room for so many.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::Event;
use axum::response::sse::KeepAlive;
use axum::response::sse::Sse;
use futures::Stream;
use futures::stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use super::Api;
use super::ApiState;
use super::Failure;
use super::Path;
use super::Reader;
use super::executions::missing;
use super::views::Problem;
use crate::model::Clock;
use crate::orchestrator::engine::event::WAITS_FOR_TYPE;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::Stage;
use crate::orchestrator::engine::status::Status;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::StoreError;
use crate::orchestrator::store::record;

/// Between looks at an execution, at least, and at most.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(5);
/// Bytes of a record that a look may cost each time; one of twice as many is looked at half as often.
const LOOK_BYTES: usize = 1024 * 1024;
/// Life of one stream. A client that wants more asks again, as browsers do by themselves.
const LIFE: Duration = Duration::from_secs(3600);
/// Streams of this instance. Each costs a connection and a few kilobytes; the executions behind them are what the store is asked for.
pub(super) const STREAMS: usize = 100;
/// When to ask again for a stream that there was no room for.
const FULL_FOR: Duration = Duration::from_secs(4);

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
    /// When what the stage waits for is to come, epoch milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_time: Option<i64>,
    /// The stage's type, which no instance that looked at it knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for_type: Option<String>,
}

/// An event of the stream.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it is what the document says; axum writes the lines")]
struct Step {
    /// `execution` or `stage`.
    event: String,
    /// A JSON object: `what`, `id`, `name`, `status`, and of a stage `refId`, `type`, `scheduledTime` and `waitsForType`.
    data: String,
}

/// Tells an execution's steps until it ends: an event each.
#[utoipa::path(get, path = "/pipelines/{id}/events", tag = "executions", params(("id" = String, Path)),
    responses((status = 200, content_type = "text/event-stream", body = Step), (status = 404, body = Problem),
        (status = 503, body = Problem, description = "too many listen already")))]
async fn events(State(api): ApiState, _: Reader, Path(id): Path<String>) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let place = Arc::clone(&api.watched.streams).try_acquire_owned().map_err(|_| Failure {
        retry_after: Some(FULL_FOR),
        ..Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_listeners",
            format!("{STREAMS} listen here already; ask again, or elsewhere"),
        )
    })?;
    let id = ExecutionId(id);
    let watched = api.watched.of(&id);
    match watched.look(&*api.store, &*api.clock).await.found {
        Found::Steps { .. } => {}
        Found::Nothing => return Err(missing(id.as_str())),
        Found::NoAnswer(error) => return Err(error.into()),
    }
    let until = api.clock.now().mono + LIFE;
    let listener = Listener { api, watched, told: BTreeMap::new(), until, first: true, ended: false, _place: place };
    let steps = stream::unfold(listener, |mut listener| async move {
        let steps = listener.next().await?;
        Some((stream::iter(steps.into_iter().map(Ok)), listener))
    });
    Ok(Sse::new(futures::StreamExt::flatten(steps)).keep_alive(KeepAlive::default()))
}

/// Executions that somebody listens to.
pub(super) struct Watched {
    by_id: Mutex<HashMap<ExecutionId, Weak<One>>>,
    streams: Arc<Semaphore>,
}

impl Default for Watched {
    fn default() -> Self {
        Self { by_id: Mutex::default(), streams: Arc::new(Semaphore::new(STREAMS)) }
    }
}

impl Watched {
    /// The one of this id, the same for all who ask as long as one of them keeps it.
    pub(super) fn of(&self, id: &ExecutionId) -> Arc<One> {
        let mut by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = by_id.get(id).and_then(Weak::upgrade) {
            return one;
        }
        by_id.retain(|_, one| one.strong_count() > 0);
        let one = Arc::new(One { id: id.clone(), last: tokio::sync::Mutex::default() });
        by_id.insert(id.clone(), Arc::downgrade(&one));
        one
    }
}

/// An execution that somebody listens to.
pub(super) struct One {
    id: ExecutionId,
    /// Held while the store is asked: one asks, the others take what it found.
    last: tokio::sync::Mutex<Option<Look>>,
}

/// A look at an execution.
#[derive(Clone)]
pub(super) struct Look {
    at: Duration,
    /// To be taken for the truth for so long.
    good_for: Duration,
    pub(super) found: Found,
}

/// What there was to see.
#[derive(Clone)]
pub(super) enum Found {
    /// The execution, and those of its stages that there is something to say of.
    Steps { steps: Arc<Vec<Progress>>, ended: bool },
    /// It is gone, or of a newer version: there is nothing more to tell.
    Nothing,
    /// The store did not say.
    NoAnswer(StoreError),
}

impl One {
    /// How the execution stands, by a look that is as new as its size allows.
    pub(super) async fn look(&self, store: &dyn Store, clock: &dyn Clock) -> Look {
        let mut last = self.last.lock().await;
        let now = clock.now().mono;
        if let Some(look) = last.as_ref().filter(|look| now.saturating_sub(look.at) < look.good_for) {
            return look.clone();
        }
        // A copy may not have heard yet of what began a moment ago.
        let shown = match store.show(&self.id).await {
            Ok(None) => store.load(&self.id).await,
            shown => shown,
        };
        let (found, bytes) = match shown {
            Err(error) => (Found::NoAnswer(error), 0),
            Ok(None) => (Found::Nothing, 0),
            Ok(Some(record)) => {
                let bytes = record.fields.iter().map(|(_, value)| value.len()).sum::<usize>();
                let found = record::decode(&self.id, None, &record).map_or(Found::Nothing, |execution| Found::Steps {
                    steps: Arc::new(steps(&execution)),
                    ended: execution.status().is_complete(),
                });
                (found, bytes)
            }
        };
        let times = u32::try_from(1 + bytes / LOOK_BYTES).unwrap_or(u32::MAX);
        let look = Look { at: clock.now().mono, good_for: LOOK_EVERY.saturating_mul(times).min(LOOK_AT_LEAST_EVERY), found };
        *last = Some(look.clone());
        look
    }
}

/// Somebody who listens.
struct Listener {
    api: Api,
    watched: Arc<One>,
    /// What was told last, by id.
    told: BTreeMap<String, Progress>,
    until: Duration,
    first: bool,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// The next events; `None` when there are no more to come.
    async fn next(&mut self) -> Option<Vec<Event>> {
        loop {
            if self.ended || self.api.clock.now().mono >= self.until {
                return None;
            }
            if !std::mem::take(&mut self.first) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let (steps, ended) = match self.watched.look(&*self.api.store, &*self.api.clock).await.found {
                Found::Steps { steps, ended } => (steps, ended),
                Found::Nothing => return None,
                // It may answer at the next look.
                Found::NoAnswer(_) => continue,
            };
            self.ended = ended;
            let news: Vec<&Progress> = steps.iter().filter(|step| self.told.get(&step.id) != Some(*step)).collect();
            if !news.is_empty() {
                let events = news.iter().filter_map(|step| Event::default().event(step.what).json_data(step).ok()).collect();
                self.told = steps.iter().map(|step| (step.id.clone(), step.clone())).collect();
                return Some(events);
            }
        }
    }
}

/// Everything there is to say of an execution.
fn steps(execution: &Execution) -> Vec<Progress> {
    let stages = execution.stages().iter().map(stage);
    let whole = Progress {
        what: "execution",
        id: execution.id.to_string(),
        ref_id: None,
        name: execution.summary().name.clone(),
        kind: None,
        status: execution.status().to_string(),
        scheduled_time: None,
        waits_for_type: None,
    };
    let said = |step: &Progress| step.status != Status::NotStarted.word() || step.waits_for_type.is_some();
    stages.filter(said).chain([whole]).collect()
}

fn stage(stage: &Stage) -> Progress {
    let head = stage.head();
    Progress {
        what: "stage",
        id: stage.id.to_string(),
        ref_id: Some(head.ref_id.clone()),
        name: head.name.clone(),
        kind: Some(head.kind.clone()),
        status: stage.status().to_string(),
        scheduled_time: head.scheduled_time.map(|time| time.0),
        waits_for_type: stage.context().get(WAITS_FOR_TYPE).and_then(|kind| kind.as_str()).map(str::to_owned),
    }
}
