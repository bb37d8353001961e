//! Calls from outside that start pipelines. Who may is said by the trigger's token, in `X-Webhook-Token` (or GitLab's `X-Gitlab-Token`); a trigger without
//! one needs a caller who may start pipelines. The sender's name of the event, in `X-Event-Id` or in the headers of GitHub, GitLab and CloudEvents, makes a
//! second delivery start nothing again.

use axum::Extension;
use axum::Json;
use axum::extract::DefaultBodyLimit;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use super::Api;
use super::ApiState;
use super::Body;
use super::Failure;
use super::Path;
use super::auth;
use super::auth::Door;
use super::auth::Role;
use super::url;
use super::views::Problem;
use crate::orchestrator::engine::execution::ExecutionType;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::runner::webhooks::Delivery;
use crate::orchestrator::runner::webhooks::Refused;

/// Largest payload, bytes: it becomes a part of the execution.
const PAYLOAD_LIMIT: usize = 1024 * 1024;
/// Longest name of an event, bytes.
const EVENT_LIMIT: usize = 256;
const TOKENS: [&str; 2] = ["x-webhook-token", "x-gitlab-token"];
const EVENTS: [&str; 4] = ["x-event-id", "x-github-delivery", "x-gitlab-event-uuid", "ce-id"];

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(fire)).layer(DefaultBodyLimit::max(PAYLOAD_LIMIT))
}

/// What a call started.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Fired {
    /// It was taken, whether or not a pipeline wanted it.
    event_processed: bool,
    /// The sender's name of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    /// Paths of the executions that are there for it.
    executions: Vec<String>,
}

/// Starts the pipelines whose webhook triggers listen to this source and want this payload.
#[utoipa::path(post, path = "/webhooks/webhook/{source}", tag = "webhooks", params(("source" = String, Path)), request_body = Object,
    responses((status = 200, body = Fired), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem)))]
async fn fire(
    State(api): ApiState,
    door: Option<Extension<Door>>,
    Path(source): Path<String>,
    headers: HeaderMap,
    Body(payload): Body<Object>,
) -> Answer<Json<Fired>> {
    let door = door.map_or(Door::Network, |Extension(door)| door);
    let caller = auth::caller(&api.tokens.borrow(), &door, &headers, Role::Operate);
    // Strangers share one bucket: a name of their own choice would be a fresh one each time.
    api.take_turn(caller.as_ref().map_or("[webhook]", |caller| caller.user.as_str()))?;
    let header = |names: &[&str]| names.iter().find_map(|name| headers.get(*name)?.to_str().ok()).map(str::to_owned);
    let event = header(&EVENTS).or_else(|| named(&payload)).filter(|event| !event.is_empty());
    if event.as_ref().is_some_and(|event| event.len() > EVENT_LIMIT) {
        return Err(Failure::bad(format!("the name of the event is longer than {EVENT_LIMIT} bytes")));
    }
    let token = header(&TOKENS);
    let delivery =
        Delivery { source: &source, token: token.as_deref(), trusted: caller.is_ok(), event: event.as_deref(), payload: &payload };
    match api.webhooks.fire(delivery).await {
        Ok(started) => {
            let executions = started.iter().map(|id| url(ExecutionType::Pipeline, id)).collect();
            Ok(Json(Fired { event_processed: true, event_id: event, executions }))
        }
        Err(error @ Refused::NobodyListens(_)) => Err(Failure::new(StatusCode::NOT_FOUND, "not_found", error.to_string())),
        Err(error @ Refused::WrongToken) => Err(Failure::new(StatusCode::UNAUTHORIZED, "who_are_you", error.to_string())),
        Err(Refused::Store(error)) => Err(error.into()),
    }
}

/// The name of the event in the payload: `eventId`, or the `id` of a CloudEvent. Another `id` may be anything's.
fn named(payload: &Object) -> Option<String> {
    let key = if payload.contains_key("specversion") { "id" } else { "eventId" };
    payload.get(key).and_then(Value::as_str).map(str::to_owned)
}
