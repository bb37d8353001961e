//! This instance and its siblings: who executes what, and whether this one takes more.

use axum::Json;
use axum::extract::State;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Admin;
use super::Answer;
use super::Api;
use super::ApiState;
use super::Body;
use super::Failure;
use super::Query;
use super::Reader;
use super::views::Active;
use super::views::Enabled;
use super::views::Problem;
use super::views::ShapeQuery;
use crate::orchestrator::engine::execution::Object;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(active_by_instance)).routes(routes!(enabled)).routes(routes!(enable))
}

/// What each instance executes. With `shape=count`, only how many.
#[utoipa::path(get, path = "/executions/activeByInstance", tag = "instance", params(ShapeQuery),
    responses((status = 200, body = std::collections::BTreeMap<String, Active>), (status = 400, body = Problem)))]
async fn active_by_instance(State(api): ApiState, _: Reader, Query(query): Query<ShapeQuery>) -> Answer<Json<Value>> {
    let active = api.store.active_by_instance().await?.into_iter().map(|a| (a.instance.clone(), Active::from(a)));
    let answer: Object = match query.shape.as_deref() {
        None => active.map(|(id, a)| (id, serde_json::to_value(a).expect("an activity is JSON"))).collect(),
        Some("count") => active.map(|(id, a)| (id, Value::from(a.count))).collect(),
        Some(other) => return Err(Failure::bad(format!("there is no shape {other}; leave it out, or say count"))),
    };
    Ok(Json(Value::Object(answer)))
}

/// Whether this instance claims executions.
#[utoipa::path(get, path = "/admin/instance/enabled", tag = "instance", responses((status = 200, body = Enabled)))]
async fn enabled(State(api): ApiState, _: Reader) -> Json<Enabled> {
    Json(Enabled { enabled: api.engine.is_enabled() })
}

/// Makes this instance claim executions, or stop claiming them. `enabled` is a boolean, or a text that says it, as in Orca.
#[utoipa::path(post, path = "/admin/instance/enabled", tag = "instance", request_body = Object,
    responses((status = 200, body = Enabled), (status = 400, body = Problem)))]
async fn enable(State(api): ApiState, _: Admin, Body(body): Body<Object>) -> Answer<Json<Enabled>> {
    let enabled = match body.get("enabled") {
        Some(Value::Bool(enabled)) => *enabled,
        Some(Value::String(word)) if word.eq_ignore_ascii_case("true") => true,
        Some(Value::String(word)) if word.eq_ignore_ascii_case("false") => false,
        _ => return Err(Failure::bad("enabled is true or false")),
    };
    api.engine.enable(enabled);
    Ok(Json(Enabled { enabled: api.engine.is_enabled() }))
}
