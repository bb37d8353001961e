//! Webhook triggers: somebody calls, and the pipelines that listen to that source start.
//!
//! A trigger says `source`, and may say `token` (as it is, or `sha256:` and the digest in hexadecimal) and `payloadConstraints`: regular expressions by
//! key of the payload, each of which has to match its whole value. What the payload has under `parameters` goes before the trigger's own.
//!
//! What must stay true: a trigger with a token fires for that token and for nothing else, and how long the comparison takes says nothing of it; one
//! without a token fires for callers who may start pipelines anyway; the token is in no execution. A delivery that names its event starts a pipeline
//! once within [`AGAIN_WITHIN`], however often it comes: its id is made of the event, and the store takes an id once.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use futures::future::try_join_all;
use regex::RegexBuilder;
use serde_json::Value;

use super::definitions::Definitions;
use super::definitions::Index;
use super::definitions::Triggered;
use super::definitions::definition;
use super::ending;
use super::session::StoreClock;
use super::start;
use crate::model::Clock;
use crate::model::Timestamp;
use crate::orchestrator::engine::definition::triggers::Trigger;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::StoreError;

/// A second delivery of an event is known for one that was taken up to this long ago.
pub const AGAIN_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// Ids of one event carry the beginning of such a span, so that what was started for it before is found without a search.
const SPAN_MS: i64 = 3_600_000;
/// Largest compiled constraint, bytes.
const PATTERN_BYTES: usize = 256 * 1024;

/// A call.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Last part of its address.
    pub source: &'a str,
    /// The token it carries.
    pub token: Option<&'a str>,
    /// Its caller may start pipelines without one.
    pub trusted: bool,
    /// What its sender calls the event: the same for every try. Without, each call is an event of its own.
    pub event: Option<&'a str>,
    /// What it brings.
    pub payload: &'a Object,
}

/// Why nothing fired.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No enabled trigger listens to this source.
    #[error("no pipeline listens to {0}")]
    NobodyListens(String),
    /// Some do, and none of them takes this token, or none.
    #[error("the token is not the one of this source")]
    WrongToken,
    /// The store did not answer, or not in the middle of it: the same delivery may come again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Triggers by source.
pub struct Webhooks {
    store: Arc<dyn Store>,
    definitions: Definitions,
}

impl Webhooks {
    /// The webhook triggers of the definitions in this store. Reads nothing yet.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { definitions: Definitions::new(Arc::clone(&store), StoreClock::new(clock)), store }
    }

    /// Starts what listens; the executions that are there for it now, whether they began with this call or with an earlier one of the same event.
    /// Empty when the payload is not what any of them wants.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn fire(&self, delivery: Delivery<'_>) -> Result<Vec<ExecutionId>, Refused> {
        let index = self.definitions.current().await?;
        let open = heard(&index, &delivery)?;
        let now = self.store.now().await?;
        let mut started = Vec::new();
        for (triggered, trigger) in open {
            if !wants(trigger, delivery.payload) {
                continue;
            }
            started.extend(self.start(triggered, trigger, &delivery, now).await?);
        }
        Ok(started)
    }

    async fn start(
        &self,
        of: &Triggered,
        trigger: &Trigger,
        delivery: &Delivery<'_>,
        now: Timestamp,
    ) -> Result<Option<ExecutionId>, StoreError> {
        let mut document = trigger.document.clone();
        document.remove("token");
        let id = match delivery.event {
            Some(event) => {
                let event = format!("webhook/{}/{}/{}/{event}", delivery.source, of.id, trigger.id);
                let at = Timestamp(now.0 - now.0.rem_euclid(SPAN_MS));
                if let Some(there) = self.started_for(&event, at).await? {
                    return Ok(Some(there));
                }
                let id = start::id_of(&event, at);
                // Two deliveries at the border of a span: the first one's execution is there, under another id.
                document.insert("correlationId".to_owned(), event.into());
                id
            }
            None => start::new_id(now),
        };
        let Some(version) = self.store.definition(&of.id, None).await?.filter(|version| !version.deleted) else { return Ok(None) };
        let mut parameters = trigger.parameters.clone();
        let told = delivery.payload.get("parameters").and_then(Value::as_object).cloned().unwrap_or_default();
        let names = told.keys().cloned().collect();
        parameters.extend(told);
        document.insert("parameters".to_owned(), Value::Object(parameters));
        document.insert("payload".to_owned(), Value::Object(delivery.payload.clone()));
        if let Some(user) = &trigger.run_as_user {
            document.insert("user".to_owned(), user.as_str().into());
        }
        let order = start::Order { id, trigger: document, origin: Some("webhook".to_owned()), told: names, ..start::Order::default() };
        ending::fire(&definition(&version), order, of, &*self.store, now).await
    }

    /// What an earlier delivery of the event started in an earlier span.
    async fn started_for(&self, event: &str, at: Timestamp) -> Result<Option<ExecutionId>, StoreError> {
        let spans = i64::try_from(AGAIN_WITHIN.as_millis()).unwrap_or(0) / SPAN_MS;
        let ids = (1..=spans).map(|back| start::id_of(event, Timestamp(at.0 - back * SPAN_MS)));
        let found = try_join_all(ids.map(|id| async move { Ok::<_, StoreError>(self.store.load(&id).await?.map(|_| id)) })).await?;
        Ok(found.into_iter().flatten().next())
    }
}

/// The triggers that listen and that the delivery opens.
fn heard<'i>(index: &'i Index, delivery: &Delivery<'_>) -> Result<Vec<(&'i Triggered, &'i Trigger)>, Refused> {
    let mut heard = index.listeners(delivery.source).peekable();
    if heard.peek().is_none() {
        return Err(Refused::NobodyListens(delivery.source.to_owned()));
    }
    let open: Vec<_> = heard.filter(|(_, trigger)| opens(trigger, delivery)).collect();
    if open.is_empty() { Err(Refused::WrongToken) } else { Ok(open) }
}

fn opens(trigger: &Trigger, delivery: &Delivery<'_>) -> bool {
    let Some(wanted) = trigger.document.get("token").filter(|token| !token.is_null()) else { return delivery.trusted };
    // A token that is no text opens to nobody.
    let (Some(wanted), Some(given)) = (wanted.as_str().filter(|token| !token.is_empty()), delivery.token) else { return false };
    let digest = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
    let given = digest(given);
    match wanted.strip_prefix("sha256:") {
        Some(hex) => {
            let given: String = given.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            verify_slices_are_equal(hex.to_ascii_lowercase().as_bytes(), given.as_bytes()).is_ok()
        }
        None => verify_slices_are_equal(digest(wanted).as_ref(), given.as_ref()).is_ok(),
    }
}

fn wants(trigger: &Trigger, payload: &Object) -> bool {
    let Some(constraints) = trigger.document.get("payloadConstraints").filter(|constraints| !constraints.is_null()) else { return true };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    constraints.as_object().is_some_and(|constraints| {
        constraints.iter().all(|(key, wanted)| {
            let Some(given) = payload.get(key).filter(|given| !given.is_null()) else { return false };
            // A pattern that is none matches nothing: rather no start than a wrong one.
            let pattern = RegexBuilder::new(&format!(r"\A(?:{})\z", text(wanted))).size_limit(PATTERN_BYTES).build();
            pattern.is_ok_and(|pattern| pattern.is_match(&text(given)))
        })
    })
}

#[cfg(test)]
mod tests;
