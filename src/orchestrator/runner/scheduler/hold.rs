//! Late triggers that wait for a person, as the store remembers them: any instance shows them and takes the decision, the scheduler follows it.
//!
//! What must stay true: a decision counts for the hold it was made on. One that more triggers came to is another hold.

use serde::Deserialize;
use serde::Serialize;

use crate::model::Timestamp;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::StoreError;

const HELD: &str = "scheduler/held";
const DECISION: &str = "scheduler/decision";
/// Triggers of a hold that are named.
pub(super) const NAMED: usize = 20;

/// Late triggers that wait for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Names this hold in a decision.
    pub since: Timestamp,
    /// How many triggers are late.
    pub count: usize,
    /// `application/pipeline` of some of them.
    pub some: Vec<String>,
}

/// What is to become of late triggers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Each fires once.
    Fire,
    /// None fires; the next time counts.
    Drop,
}

/// Late triggers that wait for a person, if there are any.
///
/// # Errors
/// The store does not answer.
pub async fn held(store: &dyn Store) -> Result<Option<Held>, StoreError> {
    Ok(store.mark(HELD).await?.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Decides on the late triggers of this hold.
///
/// # Errors
/// The store does not answer.
pub async fn decide(store: &dyn Store, held: &Held, decision: Decision) -> Result<(), StoreError> {
    store.set_mark(DECISION, &serde_json::json!({"since": held.since, "decision": decision}).to_string()).await
}

#[derive(Deserialize)]
struct Decided {
    since: Timestamp,
    decision: Decision,
}

/// What was decided on this hold.
pub(super) async fn decided(store: &dyn Store, held: &Held) -> Result<Option<Decision>, StoreError> {
    let decided: Option<Decided> = store.mark(DECISION).await?.and_then(|text| serde_json::from_str(&text).ok());
    Ok(decided.filter(|decided| decided.since == held.since).map(|decided| decided.decision))
}

/// Puts this hold, or none, in the place of the last one.
pub(super) async fn set(store: &dyn Store, held: Option<&Held>) -> Result<(), StoreError> {
    let text = held.and_then(|held| serde_json::to_string(held).ok()).unwrap_or_default();
    store.set_mark(HELD, &text).await
}
