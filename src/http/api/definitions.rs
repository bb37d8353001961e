//! Pipeline definitions: save, look, history, remove. Each save is a version.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use utoipa::IntoParams;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Admin;
use super::Answer;
use super::Api;
use super::ApiState;
use super::Body;
use super::Failure;
use super::Path;
use super::Query;
use super::Reader;
use super::views::Problem as ProblemView;
use crate::model::Timestamp;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::runner::definitions;
use crate::orchestrator::store::DefinitionVersion;
use crate::orchestrator::store::SaveError;

/// Definitions in one answer.
const PAGE: usize = 500;
/// Longest id, application and name, in bytes.
const NAME_LIMIT: usize = 256;
/// Versions in one answer.
const VERSIONS: usize = 100;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(all))
        .routes(routes!(of_application))
        .routes(routes!(get))
        .routes(routes!(history))
        .routes(routes!(save))
        .routes(routes!(remove))
        .routes(routes!(source))
}

#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct AfterQuery {
    /// Only definitions after the one of this id: the last of the page before.
    after: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct VersionQuery {
    /// That version; the newest unless said.
    version: Option<u64>,
}

/// All definitions, by application and name; 500 to a page.
#[utoipa::path(get, path = "/pipelineConfigs", tag = "definitions", params(AfterQuery), responses((status = 200, body = Vec<Object>)))]
async fn all(State(api): ApiState, _: Reader, Query(query): Query<AfterQuery>) -> Answer<Json<Vec<Value>>> {
    let found = api.store.definitions(None, query.after.as_deref(), PAGE).await?;
    Ok(Json(found.into_iter().map(shown).collect()))
}

/// Definitions of an application.
#[utoipa::path(get, path = "/applications/{application}/pipelineConfigs", tag = "definitions",
    params(("application" = String, Path), AfterQuery), responses((status = 200, body = Vec<Object>)))]
async fn of_application(
    State(api): ApiState,
    _: Reader,
    Path(application): Path<String>,
    Query(query): Query<AfterQuery>,
) -> Answer<Json<Vec<Value>>> {
    let found = api.store.definitions(Some(&application), query.after.as_deref(), PAGE).await?;
    Ok(Json(found.into_iter().map(shown).collect()))
}

/// A definition.
#[utoipa::path(get, path = "/pipelineConfigs/{id}", tag = "definitions", params(("id" = String, Path), VersionQuery),
    responses((status = 200, body = Object), (status = 404, body = ProblemView)))]
async fn get(State(api): ApiState, _: Reader, Path(id): Path<String>, Query(query): Query<VersionQuery>) -> Answer<Json<Value>> {
    let found = api.store.definition(&id, query.version).await?;
    found.filter(|d| !d.deleted || query.version.is_some()).map(|d| Json(shown(d))).ok_or_else(|| missing(&id))
}

/// Versions of a definition, newest first: who saved what, and when.
#[utoipa::path(get, path = "/pipelineConfigs/{id}/history", tag = "definitions", params(("id" = String, Path)),
    responses((status = 200, body = Vec<Object>), (status = 404, body = ProblemView)))]
async fn history(State(api): ApiState, _: Reader, Path(id): Path<String>) -> Answer<Json<Vec<DefinitionVersion>>> {
    let versions = api.store.definition_history(&id, VERSIONS).await?;
    if versions.is_empty() { Err(missing(&id)) } else { Ok(Json(versions)) }
}

/// Saves a definition. One without an `id` is new, or takes the place of the one of its application and name. With a `version`, it is saved only
/// if that is the version there is.
#[utoipa::path(post, path = "/pipelines", tag = "definitions", request_body = Object,
    responses((status = 200, body = Object), (status = 400, body = ProblemView), (status = 409, body = ProblemView)))]
async fn save(State(api): ApiState, Admin(caller): Admin, Body(mut document): Body<Object>) -> Answer<Json<Value>> {
    let expected = match document.remove("version") {
        None | Some(Value::Null) => None,
        Some(version) => Some(version.as_u64().ok_or_else(|| Failure::bad("version is a number"))?),
    };
    let text = |key: &str| document.get(key).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned);
    let application = text("application").ok_or_else(|| Failure::bad("the pipeline names no application"))?;
    let name = text("name").ok_or_else(|| Failure::bad("the pipeline has no name"))?;
    let id = match text("id") {
        Some(id) => id,
        None => match api.store.definition_named(&application, &name).await? {
            Some(there) => there.id,
            None => ulid::Ulid::from_parts(millis(api.clock.now().wall), rand::random()).to_string(),
        },
    };
    for (what, text) in [("id", &id), ("application", &application), ("name", &name)] {
        named(what, text)?;
    }
    document.insert("id".to_owned(), Value::from(id.clone()));
    let document = Value::Object(document);
    let problems = api.engine.check(&document);
    if problems.iter().any(|p| p.is_error()) {
        let errors = problems.iter().filter(|p| p.is_error()).count();
        return Err(Failure {
            problems,
            ..Failure::new(StatusCode::BAD_REQUEST, "invalid", format!("{errors} errors in the pipeline; it was not saved"))
        });
    }
    let definition =
        DefinitionVersion { id, application, name, version: 0, by: caller.user, at: Timestamp::default(), deleted: false, document };
    Ok(Json(shown(definitions::save(&*api.store, definition, expected).await?)))
}

/// Removes a definition; its versions stay readable.
#[utoipa::path(delete, path = "/pipelines/{application}/{pipeline}", tag = "definitions",
    params(("application" = String, Path), ("pipeline" = String, Path, description = "id or name")),
    responses((status = 204), (status = 404, body = ProblemView)))]
async fn remove(State(api): ApiState, Admin(caller): Admin, Path((application, pipeline)): Path<(String, String)>) -> Answer<StatusCode> {
    let found = match api.store.definition(&pipeline, None).await? {
        Some(found) => Some(found),
        None => api.store.definition_named(&application, &pipeline).await?,
    };
    let found = found.filter(|d| !d.deleted && d.application == application).ok_or_else(|| missing(&pipeline))?;
    let expected = Some(found.version);
    definitions::save(&*api.store, DefinitionVersion { deleted: true, by: caller.user, ..found }, expected).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where definitions come from.
#[derive(Debug, Serialize, ToSchema)]
struct Source {
    /// The directory whose files they are; none where they are saved by this API.
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
    /// What is wrong with files: `file`, `path`, `message`, maybe `help`, and `kept` where what the file held before is in force.
    problems: Vec<Object>,
}

/// Where definitions come from, and which files are not in order.
#[utoipa::path(get, path = "/admin/definitions", tag = "definitions", responses((status = 200, body = Source)))]
async fn source(State(api): ApiState, _: Reader) -> Json<Source> {
    let Some(folder) = api.engine.folder() else { return Json(Source { directory: None, problems: Vec::new() }) };
    let shown = |problem| serde_json::to_value(problem).ok().and_then(|problem| problem.as_object().cloned());
    let problems = folder.found().problems.iter().filter_map(shown).collect();
    Json(Source { directory: Some(folder.path().display().to_string()), problems })
}

/// A definition as Gate shows it: the document with its id, and who saved it last.
fn shown(version: DefinitionVersion) -> Value {
    let DefinitionVersion { id, version, by, at, mut document, .. } = version;
    if let Some(document) = document.as_object_mut() {
        document.insert("id".to_owned(), Value::from(id));
        document.insert("version".to_owned(), Value::from(version));
        document.insert("lastModifiedBy".to_owned(), Value::from(by));
        document.insert("updateTs".to_owned(), Value::from(at.0.to_string()));
    }
    document
}

/// It goes into keys, log lines and terminals.
fn named(what: &str, text: &str) -> Result<(), Failure> {
    if text.len() > NAME_LIMIT || text.chars().any(char::is_control) {
        return Err(Failure::bad(format!("the {what} of a pipeline is one line of 1 to {NAME_LIMIT} bytes")));
    }
    Ok(())
}

fn missing(id: &str) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "not_found", format!("there is no pipeline {}", ExecutionId::from(id)))
}

fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.0).unwrap_or(0)
}

impl From<SaveError> for Failure {
    fn from(error: SaveError) -> Self {
        let message = error.to_string();
        match error {
            SaveError::Conflict(_) => Self::new(StatusCode::CONFLICT, "conflict", format!("{message}; read it again and save anew")),
            SaveError::ReadOnly(_) => Self::new(StatusCode::CONFLICT, "read_only", message),
            SaveError::NameTaken(_) => Self::new(StatusCode::CONFLICT, "name_taken", message),
            SaveError::Store(store) => store.into(),
        }
    }
}
