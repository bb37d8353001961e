//! Late triggers that wait for a person: which they are, and what is to become of them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use super::Api;
use super::ApiState;
use super::Body;
use super::Failure;
use super::Operator;
use super::Reader;
use super::views::Problem;
use crate::orchestrator::runner::scheduler;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(held)).routes(routes!(decide))
}

/// Cron triggers that are late and wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldTriggers {
    /// How many; 0 when none waits.
    pub count: usize,
    /// `application/pipeline` of some of them.
    pub some: Vec<String>,
    /// Since when, epoch milliseconds; it names this hold in a decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
}

/// What is to become of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TriggerDecision {
    /// Each fires once, or none does and its next time counts.
    pub decision: Word,
    /// The `since` of the hold that was looked at.
    pub since: i64,
}

/// Fire or drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// Each fires once.
    Fire,
    /// None fires.
    Drop,
}

/// Cron triggers that are late after an outage and wait for a decision, because they are more than may fire at once.
#[utoipa::path(get, path = "/admin/triggers/held", tag = "instance", responses((status = 200, body = HeldTriggers)))]
async fn held(State(api): ApiState, _: Reader) -> Answer<Json<HeldTriggers>> {
    let held = scheduler::held(&*api.store).await?;
    Ok(Json(held.map(|held| HeldTriggers { count: held.count, some: held.some, since: Some(held.since.0) }).unwrap_or_default()))
}

/// Decides on them. The instance that schedules follows within seconds.
#[utoipa::path(post, path = "/admin/triggers/held", tag = "instance", request_body = TriggerDecision,
    responses((status = 202), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn decide(State(api): ApiState, _: Operator, Body(body): Body<TriggerDecision>) -> Answer<StatusCode> {
    let conflict = |code, message: &str| Failure::new(StatusCode::CONFLICT, code, message);
    let held = scheduler::held(&*api.store).await?.ok_or_else(|| conflict("nothing_held", "no trigger waits for a decision"))?;
    if held.since.0 != body.since {
        return Err(conflict("another_hold", "others wait now than those that were looked at; look again, then decide"));
    }
    let decision = match body.decision {
        Word::Fire => scheduler::Decision::Fire,
        Word::Drop => scheduler::Decision::Drop,
    };
    scheduler::decide(&*api.store, &held, decision).await?;
    Ok(StatusCode::ACCEPTED)
}
