//! One pipeline execution: start, look, cancel, pause, resume, judge, skip, restart.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Admin;
use super::Answer;
use super::Api;
use super::ApiState;
use super::Body;
use super::Failure;
use super::MaybeBody;
use super::Operator;
use super::Path;
use super::Query;
use super::Reader;
use super::Start;
use super::What;
use super::auth::Caller;
use super::auth::Role;
use super::not_found;
use super::views::CancelQuery;
use super::views::ExpressionQuery;
use super::views::Problem;
use super::views::Reference;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::ExecutionType;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::execution::StageId;
use crate::orchestrator::engine::nesting::DEEPEST;
use crate::orchestrator::engine::status::Status;

const PIPELINE: ExecutionType = ExecutionType::Pipeline;
/// Word of a start that is only to be shown.
const PLAN: &str = "plan";
/// What an operator may put into a stage. Whoever may change anything there may run any command, and judge for any role.
const PATCHED: [&str; 4] = ["judgmentStatus", "judgmentInput", "skipRemainingWait", "manualSkip"];

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(get))
        .routes(routes!(remove))
        .routes(routes!(start_document))
        .routes(routes!(start))
        .routes(routes!(cancel))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(patch))
        .routes(routes!(restart))
        .routes(routes!(evaluate))
}

/// An execution with its stages.
#[utoipa::path(get, path = "/pipelines/{id}", tag = "executions", params(("id" = String, Path)),
    responses((status = 200, body = Object), (status = 404, body = Problem)))]
async fn get(State(api): ApiState, _: Reader, Path(id): Path<String>) -> Answer<Json<Value>> {
    let execution = api.execution(&id, PIPELINE).await?;
    Ok(Json(serde_json::to_value(&execution).expect("an execution is JSON")))
}

/// Removes an ended execution.
#[utoipa::path(delete, path = "/pipelines/{id}", tag = "executions", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn remove(State(api): ApiState, _: Admin, Path(id): Path<String>) -> Answer<StatusCode> {
    discard(&api, &id, PIPELINE).await
}

/// Starts a pipeline from its document, once, without storing the document. A `trigger` in it becomes the trigger. With `plan: true` nothing is
/// started, and the answer is the execution that would begin. For administrators: a document may run any command.
#[utoipa::path(post, path = "/pipelines/start", tag = "executions", request_body = Object,
    responses((status = 202, body = Reference), (status = 200, body = Object, description = "a plan"), (status = 400, body = Problem)))]
async fn start_document(State(api): ApiState, Admin(caller): Admin, Body(mut document): Body<Object>) -> Answer<Response> {
    let mut trigger = trigger(document.remove("trigger"))?;
    for word in [PLAN, "dryRun"] {
        trigger.extend(document.remove_entry(word));
    }
    begin(&api, What::Document(Value::Object(document)), trigger, &caller).await
}

/// Starts a stored pipeline. The body, if there is one, is its trigger: `parameters`, `correlationId`, … With `plan: true` nothing is started, and
/// the answer is the execution that would begin.
#[utoipa::path(post, path = "/pipelines/{application}/{pipeline}", tag = "executions", request_body(content = Option<Object>),
    params(("application" = String, Path), ("pipeline" = String, Path, description = "id or name")),
    responses((status = 202, body = Reference), (status = 200, body = Object, description = "a plan"), (status = 400, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn start(
    State(api): ApiState,
    Operator(caller): Operator,
    Path((application, pipeline)): Path<(String, String)>,
    MaybeBody(trigger): MaybeBody<Object>,
) -> Answer<Response> {
    begin(&api, What::Stored { application, pipeline }, trigger, &caller).await
}

async fn begin(api: &Api, what: What, mut trigger: Object, caller: &Caller) -> Answer<Response> {
    let plan = match trigger.remove(PLAN) {
        None | Some(Value::Null) => false,
        Some(Value::Bool(plan)) => plan,
        Some(_) => return Err(Failure::bad("plan is true or false")),
    };
    // Who started it is who was let in, whatever the trigger says.
    trigger.insert("user".to_owned(), caller.user.as_str().into());
    let start = Start { what, trigger, authentication: caller.authentication() };
    if plan {
        return Ok(Json(api.engine.plan(start).await?).into_response());
    }
    Ok(started(PIPELINE, api.engine.start(start).await?)?.into_response())
}

/// Calls an execution off.
#[utoipa::path(put, path = "/pipelines/{id}/cancel", tag = "executions", params(("id" = String, Path), CancelQuery),
    responses((status = 202), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn cancel(
    State(api): ApiState,
    Operator(caller): Operator,
    Path(id): Path<String>,
    Query(query): Query<CancelQuery>,
) -> Answer<StatusCode> {
    tell(&api, &id, PIPELINE, Message::Cancel { by: caller.user, reason: query.reason }).await
}

/// Holds an execution.
#[utoipa::path(put, path = "/pipelines/{id}/pause", tag = "executions", params(("id" = String, Path)),
    responses((status = 202), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn pause(State(api): ApiState, Operator(caller): Operator, Path(id): Path<String>) -> Answer<StatusCode> {
    expect(&api, &id, &[Status::Running], "only a running execution can be paused").await?;
    tell(&api, &id, PIPELINE, Message::Pause { by: caller.user }).await
}

/// Lets an execution go on.
#[utoipa::path(put, path = "/pipelines/{id}/resume", tag = "executions", params(("id" = String, Path)),
    responses((status = 202), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn resume(State(api): ApiState, Operator(caller): Operator, Path(id): Path<String>) -> Answer<StatusCode> {
    expect(&api, &id, &[Status::Paused], "only a paused execution can be resumed").await?;
    tell(&api, &id, PIPELINE, Message::Resume { by: caller.user }).await
}

/// Merges keys into a stage's context: `judgmentStatus`, `judgmentInput`, `skipRemainingWait`, `manualSkip`. Others are for administrators.
#[utoipa::path(patch, path = "/pipelines/{id}/stages/{stage}", tag = "executions", request_body = Object,
    params(("id" = String, Path), ("stage" = String, Path, description = "id of the stage")),
    responses((status = 202), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn patch(
    State(api): ApiState,
    Operator(caller): Operator,
    Path((id, stage)): Path<(String, String)>,
    Body(context): Body<Object>,
) -> Answer<StatusCode> {
    let admin = caller.role == Role::Admin;
    if let Some(key) = context.keys().find(|key| !admin && !PATCHED.contains(&key.as_str())) {
        let message = format!("{key} is set by administrators only; anybody who operates sets {}", PATCHED.join(", "));
        return Err(Failure::new(StatusCode::FORBIDDEN, "not_yours", message));
    }
    let stage = stage_of(&api, &id, stage).await?;
    let message = Message::Patch { stage, by: caller.user, roles: caller.roles, admin, allowed_accounts: Vec::new(), context };
    tell(&api, &id, PIPELINE, message).await
}

/// Runs a stage again, and what is downstream of it. The body, if there is one, goes into the stage's context where its type allows that.
#[utoipa::path(put, path = "/pipelines/{id}/stages/{stage}/restart", tag = "executions", request_body(content = Option<Object>),
    params(("id" = String, Path), ("stage" = String, Path, description = "id of the stage")),
    responses((status = 202), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn restart(
    State(api): ApiState,
    Operator(caller): Operator,
    Path((id, stage)): Path<(String, String)>,
    MaybeBody(body): MaybeBody<Object>,
) -> Answer<StatusCode> {
    let stage = stage_of(&api, &id, stage).await?;
    tell(&api, &id, PIPELINE, Message::Restart { stage, by: caller.user, body }).await
}

/// The value of an expression in an execution.
#[utoipa::path(get, path = "/pipelines/{id}/evaluateExpression", tag = "executions", params(("id" = String, Path), ExpressionQuery),
    responses((status = 200, body = Object), (status = 404, body = Problem)))]
async fn evaluate(State(api): ApiState, _: Reader, Path(id): Path<String>, Query(query): Query<ExpressionQuery>) -> Answer<Json<Value>> {
    let execution = api.execution(&id, PIPELINE).await?;
    Ok(Json(match api.engine.evaluate(&execution, &query.expression) {
        Ok(result) => serde_json::json!({ "result": result, "detail": {} }),
        Err(error) => {
            serde_json::json!({ "result": query.expression, "detail": { query.expression.clone(): [{ "level": "ERROR", "description": error }] } })
        }
    }))
}

/// A `trigger` of a document.
fn trigger(value: Option<Value>) -> Answer<Object> {
    match value {
        None | Some(Value::Null) => Ok(Object::new()),
        Some(Value::Object(trigger)) => Ok(trigger),
        Some(_) => Err(Failure::bad("trigger is not an object")),
    }
}

pub(super) fn started(kind: ExecutionType, id: ExecutionId) -> Answer<(StatusCode, Json<Reference>)> {
    Ok((StatusCode::ACCEPTED, Json(Reference { reference: super::url(kind, &id) })))
}

/// Gives a message to an execution of this kind.
pub(super) async fn tell(api: &Api, id: &str, kind: ExecutionType, message: Message) -> Answer<StatusCode> {
    if message.is_too_deep() {
        return Err(Failure::new(StatusCode::BAD_REQUEST, "too_deep", format!("the body nests more than {DEEPEST} levels deep")));
    }
    let execution = api.execution(id, kind).await?;
    if api.store.post(&execution.id, &message).await? {
        Ok(StatusCode::ACCEPTED)
    } else {
        Err(Failure::new(StatusCode::CONFLICT, "ended", format!("{id} has ended: {}", execution.status())))
    }
}

/// Removes an ended execution of this kind.
pub(super) async fn discard(api: &Api, id: &str, kind: ExecutionType) -> Answer<StatusCode> {
    let execution = api.execution(id, kind).await?;
    if api.store.remove(&execution.id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Failure::new(StatusCode::CONFLICT, "not_ended", format!("{id} has not ended: cancel it first")))
    }
}

async fn expect(api: &Api, id: &str, statuses: &[Status], otherwise: &str) -> Answer<()> {
    let status = api.execution(id, PIPELINE).await?.status();
    if statuses.contains(&status) {
        Ok(())
    } else {
        Err(Failure::new(StatusCode::CONFLICT, "wrong_status", format!("{otherwise}; {id} is {status}")))
    }
}

async fn stage_of(api: &Api, id: &str, stage: String) -> Answer<StageId> {
    let stage = StageId(stage);
    match api.execution(id, PIPELINE).await?.place(&stage) {
        Some(_) => Ok(stage),
        None => Err(Failure::new(StatusCode::NOT_FOUND, "not_found", format!("{id} has no stage {stage}"))),
    }
}

/// The execution of this id, whatever its kind, for calls that serve both.
pub(super) fn missing(id: &str) -> Failure {
    not_found(PIPELINE, &ExecutionId::from(id))
}
