//! Tasks: lists of jobs that run one after the other, Orca's orchestrations.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Admin;
use super::Answer;
use super::Api;
use super::ApiState;
use super::Body;
use super::Failure;
use super::Operator;
use super::Path;
use super::Query;
use super::Reader;
use super::Start;
use super::What;
use super::auth::Caller;
use super::executions::discard;
use super::executions::started;
use super::executions::tell;
use super::lists::Wanted;
use super::lists::Whole;
use super::views::CancelManyQuery;
use super::views::CancelQuery;
use super::views::ListQuery;
use super::views::NewTask;
use super::views::Problem;
use super::views::Reference;
use super::views::TaskView;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::ExecutionType;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::problem;

const TASK: ExecutionType = ExecutionType::Orchestration;
/// Most jobs of one task.
const JOBS: usize = 1000;
/// Most tasks called off with one call.
const CANCELLED: usize = 100;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(start))
        .routes(routes!(start_in))
        .routes(routes!(get))
        .routes(routes!(remove))
        .routes(routes!(cancel))
        .routes(routes!(cancel_many))
        .routes(routes!(of_application))
}

/// Starts a task. For administrators: a job may run any command.
#[utoipa::path(post, path = "/tasks", tag = "tasks", request_body = NewTask,
    responses((status = 200, body = Reference), (status = 400, body = Problem)))]
async fn start(State(api): ApiState, Admin(caller): Admin, Body(task): Body<NewTask>) -> Answer<Json<Reference>> {
    begin(&api, caller, None, task).await
}

/// Starts a task of an application. For administrators.
#[utoipa::path(post, path = "/applications/{application}/tasks", tag = "tasks", request_body = NewTask, params(("application" = String, Path)),
    responses((status = 200, body = Reference), (status = 400, body = Problem)))]
async fn start_in(
    State(api): ApiState,
    Admin(caller): Admin,
    Path(application): Path<String>,
    Body(task): Body<NewTask>,
) -> Answer<Json<Reference>> {
    begin(&api, caller, Some(application), task).await
}

async fn begin(api: &Api, caller: Caller, application: Option<String>, task: NewTask) -> Answer<Json<Reference>> {
    let application =
        application.or(task.application).filter(|a| !a.is_empty()).ok_or_else(|| Failure::bad("a task needs an application"))?;
    if task.job.is_empty() || task.job.len() > JOBS {
        return Err(Failure::bad(format!("a task has 1 to {JOBS} jobs")));
    }
    let description = task.description.unwrap_or_else(|| "unnamed task".to_owned());
    let what = What::Jobs { application, description, jobs: task.job };
    let id = api.engine.start(Start { what, trigger: Object::new(), authentication: caller.authentication() }).await?;
    // Gate answers 200 here, and 202 for pipelines.
    started(TASK, id).map(|(_, reference)| reference)
}

/// A task.
#[utoipa::path(get, path = "/tasks/{id}", tag = "tasks", params(("id" = String, Path)),
    responses((status = 200, body = TaskView), (status = 404, body = Problem)))]
async fn get(State(api): ApiState, _: Reader, Path(id): Path<String>) -> Answer<Json<TaskView>> {
    Ok(Json(TaskView::from(&api.execution(&id, TASK).await?)))
}

/// Removes an ended task.
#[utoipa::path(delete, path = "/tasks/{id}", tag = "tasks", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn remove(State(api): ApiState, _: Admin, Path(id): Path<String>) -> Answer<StatusCode> {
    discard(&api, &id, TASK).await
}

/// Calls a task off.
#[utoipa::path(put, path = "/tasks/{id}/cancel", tag = "tasks", params(("id" = String, Path), CancelQuery),
    responses((status = 202), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn cancel(
    State(api): ApiState,
    Operator(caller): Operator,
    Path(id): Path<String>,
    Query(query): Query<CancelQuery>,
) -> Answer<StatusCode> {
    tell(&api, &id, TASK, Message::Cancel { by: caller.user, reason: query.reason }).await
}

/// Calls several tasks off. One that cannot be called off keeps no other from it; all of those are named in the answer.
#[utoipa::path(put, path = "/tasks/cancel", tag = "tasks", params(CancelManyQuery),
    responses((status = 202), (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn cancel_many(State(api): ApiState, Operator(caller): Operator, Query(query): Query<CancelManyQuery>) -> Answer<StatusCode> {
    let ids: Vec<&str> = query.ids.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
    if ids.is_empty() || ids.len() > CANCELLED {
        return Err(Failure::bad(format!("ids are 1 to {CANCELLED} ids of tasks, with commas between")));
    }
    let mut failed: Option<Failure> = None;
    for id in &ids {
        let message = Message::Cancel { by: caller.user.clone(), reason: query.reason.clone() };
        let Err(failure) = tell(&api, id, TASK, message).await else { continue };
        // The status is that of the first; what is wrong with the others is told with it.
        let all = failed.get_or_insert_with(|| Failure::new(failure.status, failure.code, "not all of these tasks could be called off"));
        all.problems.push(problem::Problem::error(*id, failure.message));
    }
    failed.map_or(Ok(StatusCode::ACCEPTED), Err)
}

/// Tasks of an application, newest first.
#[utoipa::path(get, path = "/applications/{application}/tasks", tag = "tasks", params(("application" = String, Path), ListQuery),
    responses((status = 200, body = Vec<TaskView>), (status = 400, body = Problem)))]
async fn of_application(
    State(api): ApiState,
    _: Reader,
    Path(application): Path<String>,
    Query(query): Query<ListQuery>,
) -> Answer<Json<Vec<TaskView>>> {
    if query.expand == Some(false) {
        return Err(Failure::bad("a list of tasks is always expanded"));
    }
    let mut wanted = Wanted::read(&query, Some(TASK))?;
    wanted.of.application = Some(application);
    let (mut whole, mut shown) = (Whole::new(), Vec::new());
    for listing in wanted.find(&api).await? {
        let execution = whole.next(&api, &listing).await?;
        shown.extend(execution.map(|execution| execution.map_or_else(|| TaskView::from(&listing), |execution| TaskView::from(&execution))));
    }
    Ok(Json(shown))
}
