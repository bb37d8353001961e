//! The API of the embedded engine: Gate's calls where Gate has them, so that what people already use goes on working.
//!
//! What must stay true: nobody does more than their [`Role`]; every request has a size, a time and a rate; a call that changes an
//! execution goes to its inbox and is answered when it is there, since its owner may be another instance; lists have pages.
//!
//! The document of all calls is at `/openapi.json`, made from these types.

pub mod auth;
mod definitions;
pub mod desk;
mod events;
mod executions;
mod instance;
mod limit;
mod lists;
mod tasks;
pub mod tokens;
pub mod triggers;
pub mod views;
mod webhooks;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::extract::FromRequest;
use axum::extract::FromRequestParts;
use axum::extract::Request;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::extract::rejection::PathRejection;
use axum::extract::rejection::QueryRejection;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::http::request::Parts as RequestParts;
use axum::middleware::Next;
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use utoipa::OpenApi;
use utoipa::openapi::ContentBuilder;
use utoipa::openapi::OpenApi as OpenApiDocument;
use utoipa::openapi::Ref;
use utoipa::openapi::RefOr;
use utoipa::openapi::ResponseBuilder;
use utoipa_axum::router::OpenApiRouter;

use crate::model::Clock;
use crate::orchestrator::engine::execution::Authentication;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::ExecutionType;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::problem::Problem;
use crate::orchestrator::runner::definitions::folder::Folder;
use crate::orchestrator::runner::webhooks::Webhooks;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::StoreError;
use crate::orchestrator::store::record;
use auth::Caller;
use auth::Denied;
use auth::Door;
use auth::Role;
use limit::Limits;
use tokens::Tokens;

/// Largest body: a pipeline document.
const BODY_LIMIT: usize = 10 * 1024 * 1024;
/// From the head of a request to its answer, or to the beginning of a stream.
const REQUEST_WITHIN: Duration = Duration::from_secs(20);

/// What the API asks of the engine, beside the store.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Starts a pipeline, or a list of jobs.
    async fn start(&self, start: Start) -> Result<ExecutionId, StartError>;

    /// The execution that a start would make. Nothing begins, and nothing is stored.
    async fn plan(&self, start: Start) -> Result<Execution, StartError>;

    /// What is wrong with a pipeline document.
    fn check(&self, document: &Value) -> Vec<Problem>;

    /// The value of an expression, as the last stage that began would see it; or why it has none.
    fn evaluate(&self, execution: &Execution, expression: &str) -> Result<Value, String>;

    /// This instance claims executions.
    fn is_enabled(&self) -> bool;

    /// Sets that.
    fn enable(&self, enabled: bool);

    /// The directory that definitions are read from, where they are.
    fn folder(&self) -> Option<&Folder> {
        None
    }
}

/// What to start.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The pipeline.
    pub what: What,
    /// Becomes the trigger; `user` and `type` are filled in.
    pub trigger: Object,
    /// Who starts it.
    pub authentication: Authentication,
}

/// Which pipeline to start.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A stored one, by id or by name.
    Stored {
        /// Its application.
        application: String,
        /// Its id or name.
        pipeline: String,
    },
    /// This document, once.
    Document(Value),
    /// These jobs, one after the other.
    Jobs {
        /// The application.
        application: String,
        /// What people call it.
        description: String,
        /// Stages without reference ids.
        jobs: Vec<Object>,
    },
}

/// Why nothing was started.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StartError {
    /// There is no such pipeline.
    #[error("there is no pipeline {0}")]
    NotFound(String),
    /// It is disabled.
    #[error("the pipeline {0} is disabled")]
    Disabled(String),
    /// The document or the parameters are wrong.
    #[error("{} wrong with what is to be started", problems.len())]
    Invalid {
        /// All of it.
        problems: Vec<Problem>,
    },
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is behind the routes.
#[derive(Clone)]
pub struct Api {
    store: Arc<dyn Store>,
    engine: Arc<dyn Engine>,
    tokens: watch::Receiver<Arc<Tokens>>,
    clock: Arc<dyn Clock>,
    limits: Arc<Mutex<Limits>>,
    webhooks: Arc<Webhooks>,
    watched: Arc<events::Watched>,
}

impl Api {
    /// An API over these. Tokens are those that were received last.
    pub fn new(store: Arc<dyn Store>, engine: Arc<dyn Engine>, tokens: watch::Receiver<Arc<Tokens>>, clock: Arc<dyn Clock>) -> Self {
        let webhooks = Arc::new(Webhooks::new(Arc::clone(&store), Arc::clone(&clock)));
        Self { store, engine, tokens, clock, limits: Arc::default(), webhooks, watched: Arc::default() }
    }

    /// Its routes, for requests that carry their [`Door`] as an extension.
    pub fn router(self) -> Router {
        let (routes, document) = routes().split_for_parts();
        let document = Arc::new(told_of_problems(document));
        routes
            .route("/openapi.json", axum::routing::get(move || async move { Json((*document).clone()) }))
            .fallback(|| async { Failure::new(StatusCode::NOT_FOUND, "no_such_call", "there is no such call; see /openapi.json") })
            .method_not_allowed_fallback(|| async {
                Failure::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_call", "this path has no such method; see /openapi.json")
            })
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .layer(from_fn(in_time))
            .with_state(self)
    }

    /// Who asks, if they may and have not asked too often.
    fn admit(&self, parts: &RequestParts, needed: Role) -> Result<Caller, Failure> {
        let door = parts.extensions.get::<Door>().unwrap_or(&Door::Network);
        let caller = auth::caller(&self.tokens.borrow(), door, &parts.headers, needed).map_err(|denied| match denied {
            Denied::Unknown => {
                Failure::new(StatusCode::UNAUTHORIZED, "who_are_you", format!("this call needs a token of role {}", needed.word()))
            }
            Denied::Forbidden => Failure::new(StatusCode::FORBIDDEN, "not_yours", format!("this call needs the role {}", needed.word())),
        })?;
        self.take_turn(&caller.user)?;
        Ok(caller)
    }

    /// Counts a request of this caller.
    fn take_turn(&self, caller: &str) -> Result<(), Failure> {
        let now = self.clock.now().mono;
        let taken = self.limits.lock().unwrap_or_else(PoisonError::into_inner).take(caller, now);
        taken.map_err(|wait| Failure {
            retry_after: Some(wait),
            ..Failure::new(StatusCode::TOO_MANY_REQUESTS, "too_often", "ask less often")
        })
    }

    /// An execution of this kind.
    async fn execution(&self, id: &str, kind: ExecutionType) -> Result<Execution, Failure> {
        let id = ExecutionId::from(id);
        let record = self.store.load(&id).await?.ok_or_else(|| not_found(kind, &id))?;
        let execution = record::decode(&id, None, &record)?;
        if execution.summary().kind == kind { Ok(execution) } else { Err(not_found(kind, &id)) }
    }
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Bellrock",
    description = "Pipelines and tasks of the embedded engine. Paths and bodies are those of Spinnaker's Gate where it has the call."
))]
struct Document;

/// Says of each call what every call has in common: whatever else is answered is a problem.
fn told_of_problems(mut document: OpenApiDocument) -> OpenApiDocument {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let problem = ResponseBuilder::new().description("Why there is no other answer").content("application/json", content).build();
    for item in document.paths.paths.values_mut() {
        let calls = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for call in calls.into_iter().flatten() {
            call.responses.responses.entry("default".to_owned()).or_insert_with(|| RefOr::T(problem.clone()));
        }
    }
    document
}

fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(executions::routes())
        .merge(lists::routes())
        .merge(definitions::routes())
        .merge(tasks::routes())
        .merge(triggers::routes())
        .merge(events::routes())
        .merge(instance::routes())
        .merge(webhooks::routes())
}

/// The OpenAPI document as text, for people and for tests.
pub fn openapi() -> String {
    told_of_problems(routes().into_openapi()).to_pretty_json().expect("the document is JSON")
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::new(StatusCode::SERVICE_UNAVAILABLE, "too_slow", "the request took too long; it may have been carried out")
            .into_response(),
    }
}

/// `/pipelines/{id}` or `/tasks/{id}`.
fn url(kind: ExecutionType, id: &ExecutionId) -> String {
    match kind {
        ExecutionType::Pipeline => format!("/pipelines/{id}"),
        ExecutionType::Orchestration => format!("/tasks/{id}"),
    }
}

fn not_found(kind: ExecutionType, id: &ExecutionId) -> Failure {
    let what = match kind {
        ExecutionType::Pipeline => "pipeline execution",
        ExecutionType::Orchestration => "task",
    };
    Failure::new(StatusCode::NOT_FOUND, "not_found", format!("there is no {what} {id}"))
}

/// An answer that is none.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
    problems: Vec<Problem>,
    retry_after: Option<Duration>,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), problems: Vec::new(), retry_after: None }
    }

    fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let problems = self.problems.iter().map(|p| serde_json::to_value(p).expect("a problem is JSON")).collect();
        let body = views::Problem { code: self.code.to_owned(), message: self.message, problems };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
        }
        response
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (status, code) = match &error {
            StoreError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable"),
            StoreError::Full(_) => (StatusCode::INSUFFICIENT_STORAGE, "store_full"),
            StoreError::Unreadable(_) => (StatusCode::CONFLICT, "unreadable"),
            StoreError::LostData(_) => (StatusCode::SERVICE_UNAVAILABLE, "store_lost_data"),
            StoreError::Refused(_) => (StatusCode::BAD_REQUEST, "refused"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let message = error.to_string();
        match error {
            StartError::NotFound(_) => Self::new(StatusCode::NOT_FOUND, "not_found", message),
            StartError::Disabled(_) => Self::new(StatusCode::CONFLICT, "disabled", message),
            StartError::Invalid { problems } => Self { problems, ..Self::new(StatusCode::BAD_REQUEST, "invalid", message) },
            StartError::Store(store) => store.into(),
        }
    }
}

/// A caller who may look.
struct Reader;
/// A caller who may start, stop and judge.
struct Operator(Caller);
/// A caller who may do anything.
struct Admin(Caller);

impl FromRequestParts<Api> for Reader {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut RequestParts, api: &Api) -> Result<Self, Failure> {
        api.admit(parts, Role::Read).map(|_| Self)
    }
}

macro_rules! needs {
    ($name:ident, $role:expr) => {
        impl FromRequestParts<Api> for $name {
            type Rejection = Failure;

            async fn from_request_parts(parts: &mut RequestParts, api: &Api) -> Result<Self, Failure> {
                api.admit(parts, $role).map(Self)
            }
        }
    };
}

needs!(Operator, Role::Operate);
needs!(Admin, Role::Admin);

/// A JSON body; what is wrong with it is told in our own form.
struct Body<T>(T);

impl<T: DeserializeOwned> FromRequest<Api> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Failure> {
        match Json::<T>::from_request(request, api).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(JsonRejection::BytesRejection(e)) => Err(Failure::new(e.status(), "too_large", e.body_text())),
            Err(JsonRejection::MissingJsonContentType(e)) => Err(Failure::new(e.status(), "not_json", e.body_text())),
            Err(e) => Err(Failure::bad(e.body_text())),
        }
    }
}

/// A JSON body that may be missing.
struct MaybeBody<T>(T);

impl<T: DeserializeOwned + Default> FromRequest<Api> for MaybeBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Failure> {
        let (head, body) = request.into_parts();
        let body = Bytes::from_request(Request::from_parts(head.clone(), body), api).await;
        let body = body.map_err(|e| Failure::new(e.status(), "too_large", e.body_text()))?;
        if body.is_empty() {
            return Ok(Self(T::default()));
        }
        Body::from_request(Request::from_parts(head, body.into()), api).await.map(|Body(body)| Self(body))
    }
}

/// Parts of the path.
struct Path<T>(T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut RequestParts, api: &Api) -> Result<Self, Failure> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, api).await;
        path.map(|axum::extract::Path(path)| Self(path)).map_err(|e: PathRejection| Failure::bad(e.body_text()))
    }
}

/// The query.
struct Query<T>(T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut RequestParts, api: &Api) -> Result<Self, Failure> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, api).await;
        query.map(|axum::extract::Query(query)| Self(query)).map_err(|e: QueryRejection| Failure::bad(e.body_text()))
    }
}

impl Caller {
    fn authentication(&self) -> Authentication {
        Authentication { user: self.user.clone(), allowed_accounts: Vec::new(), roles: self.roles.clone(), ..Authentication::default() }
    }
}

type Answer<T> = Result<T, Failure>;
type ApiState = State<Api>;

#[cfg(test)]
mod tests;
