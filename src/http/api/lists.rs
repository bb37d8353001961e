//! Lists of executions, newest first, in pages.
//!
//! What must stay true: one answer costs at most so many listings and so many whole executions, however it is asked for; a record that this version
//! cannot read hides no other.

use axum::Json;
use axum::extract::State;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use super::Api;
use super::ApiState;
use super::Failure;
use super::Path;
use super::Query;
use super::Reader;
use super::views::ListQuery;
use super::views::Problem;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::ExecutionType;
use crate::orchestrator::engine::status::Status;
use crate::orchestrator::store;
use crate::orchestrator::store::Listing;
use crate::orchestrator::store::record;

/// Executions in a list that does not say how many it wants.
const LIMIT: usize = 20;
/// Most of them: what Orca lists when nobody says, and what its clients therefore ask for.
const LIMIT_MAX: usize = 3500;
/// Listings looked through for one answer, those of the pages before included.
const LISTED_MAX: usize = 10_000;
/// Listings in one answer of the store.
const STORE_PAGE: usize = 1000;
/// Executions with their stages in one answer, and bytes of them: a context alone can have 10 MB. The rest are listings.
const WHOLE_MAX: usize = 1000;
const ANSWER_MAX: usize = 32 * 1024 * 1024;
/// Definitions asked for at a time.
const DEFINITIONS_MAX: usize = 50;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(pipelines)).routes(routes!(executions)).routes(routes!(of_definitions))
}

/// Pipeline executions of an application, newest first.
#[utoipa::path(get, path = "/applications/{application}/pipelines", tag = "executions", params(("application" = String, Path), ListQuery),
    responses((status = 200, body = Vec<Object>), (status = 400, body = Problem)))]
async fn pipelines(
    State(api): ApiState,
    _: Reader,
    Path(application): Path<String>,
    Query(query): Query<ListQuery>,
) -> Answer<Json<Vec<Value>>> {
    of(&api, application, query, Some(ExecutionType::Pipeline)).await
}

/// Executions of an application, of pipelines and tasks, newest first.
#[utoipa::path(get, path = "/applications/{application}/executions", tag = "executions", params(("application" = String, Path), ListQuery),
    responses((status = 200, body = Vec<Object>), (status = 400, body = Problem)))]
async fn executions(
    State(api): ApiState,
    _: Reader,
    Path(application): Path<String>,
    Query(query): Query<ListQuery>,
) -> Answer<Json<Vec<Value>>> {
    of(&api, application, query, None).await
}

async fn of(api: &Api, application: String, query: ListQuery, kind: Option<ExecutionType>) -> Answer<Json<Vec<Value>>> {
    let expand = query.expand != Some(false);
    let mut wanted = Wanted::read(&query, kind)?;
    wanted.of.application = Some(application);
    shown(api, wanted.find(api).await?, expand).await.map(Json)
}

/// Executions of pipeline definitions, newest first. `limit` and `page` are each definition's own.
#[utoipa::path(get, path = "/executions", tag = "executions", params(ListQuery),
    responses((status = 200, body = Vec<Object>), (status = 400, body = Problem)))]
async fn of_definitions(State(api): ApiState, _: Reader, Query(query): Query<ListQuery>) -> Answer<Json<Vec<Value>>> {
    let ids = query.pipeline_config_ids.as_deref().unwrap_or_default();
    let ids: Vec<&str> = ids.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
    let (wanted, expand) = (Wanted::read(&query, Some(ExecutionType::Pipeline))?, query.expand != Some(false));
    if ids.is_empty() {
        return shown(&api, wanted.find(&api).await?, expand).await.map(Json);
    }
    if ids.len() > DEFINITIONS_MAX || ids.len() * wanted.page * wanted.of.limit > LISTED_MAX {
        let most = format!("at most {DEFINITIONS_MAX} pipelineConfigIds at a time, and {LISTED_MAX} executions of all of them");
        return Err(Failure::bad(most));
    }
    let mut all = Vec::new();
    for id in ids {
        let mut wanted = wanted.clone();
        wanted.of.pipeline_config_id = Some(id.to_owned());
        all.extend(wanted.find(&api).await?);
    }
    all.sort_by(|a, b| b.id.cmp(&a.id));
    all.dedup_by(|a, b| a.id == b.id);
    shown(&api, all, expand).await.map(Json)
}

/// What a list query asks for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Which executions, with the limit of a page.
    pub(super) of: store::Query,
    /// From 1.
    page: usize,
}

impl Wanted {
    pub(super) fn read(query: &ListQuery, kind: Option<ExecutionType>) -> Answer<Self> {
        let words = query.statuses.as_deref().unwrap_or_default().split(',').map(str::trim).filter(|w| !w.is_empty());
        let statuses = words
            .map(|word| Status::from_word(&word.to_ascii_uppercase()).ok_or_else(|| Failure::bad(format!("there is no status {word}"))))
            .collect::<Answer<Vec<_>>>()?;
        let (limit, page) = (query.limit.unwrap_or(LIMIT), query.page.unwrap_or(1));
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Failure::bad(format!("limit is 1 to {LIMIT_MAX}")));
        }
        if page == 0 || page.saturating_mul(limit) > LISTED_MAX {
            let most =
                format!("pages count from 1 and reach {LISTED_MAX} executions back; before={{id of the last one}} goes on from there");
            return Err(Failure::bad(most));
        }
        if page > 1 && query.before.is_some() {
            return Err(Failure::bad("page and before are two ways to say where a page begins; send one of them"));
        }
        let before = query.before.as_deref().map(ExecutionId::from);
        Ok(Self { of: store::Query { kind, statuses, before, limit, ..store::Query::default() }, page })
    }

    pub(super) async fn find(&self, api: &Api) -> Answer<Vec<Listing>> {
        let (first, end) = ((self.page - 1) * self.of.limit, self.page * self.of.limit);
        let (mut found, mut before, mut passed) = (Vec::new(), self.of.before.clone(), 0);
        while passed < end {
            let limit = (end - passed).min(STORE_PAGE);
            let part = api.store.list(&store::Query { before, limit, ..self.of.clone() }).await?;
            let none = part.is_empty();
            before = part.last().map(|listing| listing.id.clone());
            let skipped = first.saturating_sub(passed).min(part.len());
            passed += part.len();
            found.extend(part.into_iter().skip(skipped));
            // A short page is not the last one: what this version cannot read is left out of it.
            if none {
                break;
            }
        }
        Ok(found)
    }
}

/// The executions behind listings, one after the other, as long as an answer has room for whole ones. Those that are gone meanwhile are left out.
pub(super) struct Whole {
    left: usize,
    bytes: usize,
}

impl Whole {
    pub(super) fn new() -> Self {
        Self { left: WHOLE_MAX, bytes: 0 }
    }

    /// `Ok(Some(None))`: it is there and is not shown whole, for want of room or because a newer version wrote it.
    pub(super) async fn next(&mut self, api: &Api, listing: &Listing) -> Answer<Option<Option<Execution>>> {
        if self.left == 0 || self.bytes > ANSWER_MAX {
            return Ok(Some(None));
        }
        let Some(found) = api.store.show(&listing.id).await? else { return Ok(None) };
        self.left -= 1;
        self.bytes += found.fields.iter().map(|(_, value)| value.len()).sum::<usize>();
        Ok(Some(record::decode(&listing.id, Some(listing.kind), &found).ok()))
    }
}

/// These executions as JSON, whole ones or listings.
async fn shown(api: &Api, listings: Vec<Listing>, expand: bool) -> Answer<Vec<Value>> {
    let mut whole = Whole::new();
    let mut shown = Vec::with_capacity(listings.len());
    for listing in listings {
        let execution = if expand { whole.next(api, &listing).await? } else { Some(None) };
        shown.extend(execution.map(|execution| match execution {
            Some(execution) => serde_json::to_value(&execution).expect("an execution is JSON"),
            None => serde_json::to_value(&listing).expect("a listing is JSON"),
        }));
    }
    Ok(shown)
}
