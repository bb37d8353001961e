//! Tells people: notices leave the outbox by email, to a Slack-compatible webhook, or to a webhook of anybody's.
//!
//! What must stay true: an execution never waits for this; a notice is told at least once, or given up with a line in the log; every delivery is
//! bounded, and those that fail come again later and later. A notice of a type that is not set up here is left for an instance that has it; that
//! it lies there is said once for each type.

pub mod mail;
pub mod slack;
pub mod webhook;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use reqwest::Method;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::error;
use tracing::info;
use tracing::warn;

use super::Shared;
use super::pause::spread;
use crate::orchestrator::engine::execution::ExecutionType;
use crate::orchestrator::engine::seed;
use crate::orchestrator::store::Outgoing;
use crate::orchestrator::store::StoreError;
use crate::orchestrator::web;
use crate::orchestrator::web::Limits;
use crate::orchestrator::web::Web;

/// Without a ring, the outbox is looked at after this to twice of this: for what other instances left behind. No two of them keep step, or one would
/// always come first, and what it cannot tell would never be told.
const EVERY: Duration = Duration::from_secs(10);
/// Notices taken at once, and under way at once.
const AT_ONCE: usize = 8;
/// A notice that is taken comes back after this, should we die.
const LEASE: Duration = Duration::from_secs(120);
/// One delivery.
const WITHIN: Duration = Duration::from_secs(30);
/// The first pause before another try, and the longest; each is drawn from itself to twice itself.
const AGAIN_FIRST: Duration = Duration::from_secs(5);
const AGAIN_LONGEST: Duration = Duration::from_secs(600);
/// Tries before a notice is given up: about half a day.
const TRIES: u32 = 50;
/// Types that are remembered as not set up; what they are called is for authors of pipelines to say, so they could be many.
const REMEMBERED: usize = 64;

/// Why a notice was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NotTold {
    /// For people.
    pub why: String,
    /// Another try may help.
    pub again: bool,
}

/// A way to people.
#[async_trait]
pub trait Channel: Send + Sync + 'static {
    /// The `type` of notification blocks it serves, in lower case.
    fn serves(&self) -> &'static str;

    /// Delivers a notice.
    async fn tell(&self, notice: &Outgoing) -> Result<(), NotTold>;
}

/// Subject and text of a notice, for people.
pub fn text(out: &Outgoing) -> (String, String) {
    let detail = |key: &str| out.notice.details.get(key).and_then(Value::as_str);
    let status = detail("status").unwrap_or_else(|| out.listing.status.word()).to_lowercase().replace('_', " ");
    let subject = match detail("stage") {
        Some(stage) => format!("{}: {} / {stage}: {}", out.listing.application, out.listing.name, what(&out.notice.event, &status)),
        None => format!("{}: {}: {}", out.listing.application, out.listing.name, what(&out.notice.event, &status)),
    };
    // A text for this event, or one for all of them.
    let message = out.notice.to.get("message");
    let own = message.and_then(|message| message.get(&out.notice.event)?.get("text")?.as_str()).or(message.and_then(Value::as_str));
    let mut lines: Vec<String> = own.into_iter().map(str::to_owned).collect();
    lines.extend(detail("instructions").map(str::to_owned));
    let inputs = out.notice.details.get("judgmentInputs").and_then(Value::as_array).into_iter().flatten();
    let inputs: Vec<&str> = inputs.filter_map(|input| input.get("value")?.as_str()).collect();
    if !inputs.is_empty() {
        lines.push(format!("answers: {}", inputs.join(", ")));
    }
    lines.push(format!("execution {}", out.listing.id));
    (subject, lines.join("\n\n"))
}

/// Where people see the execution.
fn link(out: &Outgoing, base: Option<&str>) -> Option<String> {
    let list = match out.listing.kind {
        ExecutionType::Pipeline => "pipelines",
        ExecutionType::Orchestration => "tasks",
    };
    base.map(|base| web::join(base, &format!("{list}/{}", out.listing.id)))
}

/// Subject and text, with the link at the end.
fn letter(out: &Outgoing, base: Option<&str>) -> (String, String) {
    let (subject, text) = text(out);
    match link(out, base) {
        Some(link) => (subject, format!("{text}\n\n{link}")),
        None => (subject, text),
    }
}

/// A text of the notification block; empty when it has none.
fn field<'o>(out: &'o Outgoing, key: &str) -> &'o str {
    out.notice.to.get(key).and_then(Value::as_str).unwrap_or_default().trim()
}

/// An id that is fit for a header.
fn plain(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// Those of a call to a webhook: its answer says no more than its status does.
fn limits() -> Limits {
    Limits { total: Duration::from_secs(20), body: 64 << 10, ..Limits::default() }
}

/// Posts JSON; what is answered. The URL may be a secret: it is in no message.
async fn post(web: &Web, url: &str, body: &Value, headers: &[(&'static str, String)]) -> Result<Vec<u8>, NotTold> {
    let (why, again) = match web.call(Method::POST, url, Some(body.to_string()), headers).await {
        Ok(answer) if answer.status.is_success() => return Ok(answer.body),
        Ok(answer) => {
            let status = answer.status;
            let again = status.is_server_error() || matches!(status.as_u16(), 401 | 408 | 425 | 429);
            (format!("the webhook answered {status}: {}", web::excerpt(&answer.body)), again)
        }
        Err(web::Error::NotSent { cause, .. }) => (format!("no connection to the webhook: {cause}"), true),
        Err(web::Error::NoAnswer { cause, .. }) => (format!("no answer from the webhook: {cause}"), true),
        Err(web::Error::TooLong { limit, .. }) => (format!("the webhook answered more than {limit} bytes"), false),
        Err(error @ web::Error::Credential { .. }) => (error.to_string(), true),
    };
    Err(NotTold { why, again })
}

fn what(event: &str, status: &str) -> String {
    match event {
        "manualJudgment" => "waits for a judgment".to_owned(),
        "manualJudgmentContinue" => "was judged: continue".to_owned(),
        "manualJudgmentStop" => "was judged: stop".to_owned(),
        _ => match event.rsplit('.').next() {
            Some("starting") => "started".to_owned(),
            Some(_) | None => status.to_owned(),
        },
    }
}

/// Delivers notices until it is stopped.
pub(super) async fn run(
    shared: Arc<Shared>,
    channels: Vec<Arc<dyn Channel>>,
    instance: String,
    bell: Arc<Notify>,
    stop: CancellationToken,
) {
    let mut turn = seed::of(&instance);
    let teller = Teller { shared, channels, absent: Mutex::default() };
    let mut failing = false;
    loop {
        // Safe to cancel: what was taken and not told comes back by its lease.
        let round = tokio::select! {
            () = stop.cancelled() => return,
            round = teller.round() => round,
        };
        match round {
            Ok(true) => continue,
            Ok(false) => failing = false,
            Err(error) if !failing => {
                failing = true;
                warn!(%error, "the outbox cannot be read; notices wait");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = bell.notified() => {}
            () = tokio::time::sleep(spread(EVERY, turn)) => turn = turn.wrapping_add(1),
        }
    }
}

struct Teller {
    shared: Arc<Shared>,
    channels: Vec<Arc<dyn Channel>>,
    /// Types that were said not to be set up here.
    absent: Mutex<BTreeSet<String>>,
}

impl Teller {
    /// True when there may be more.
    async fn round(&self) -> Result<bool, StoreError> {
        let taken = self.shared.store.outbox(AT_ONCE, LEASE).await?;
        let full = taken.len() >= AT_ONCE;
        let deliveries = taken.into_iter().map(|out| self.deliver(out));
        let done: Vec<Result<(), StoreError>> = futures::stream::iter(deliveries).buffer_unordered(AT_ONCE).collect().await;
        done.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(full)
    }

    async fn deliver(&self, out: Outgoing) -> Result<(), StoreError> {
        let kind = out.notice.to.get("type").and_then(Value::as_str).unwrap_or_default().to_lowercase();
        let told = match self.channels.iter().find(|channel| channel.serves() == kind) {
            Some(channel) => match tokio::time::timeout(WITHIN, channel.tell(&out)).await {
                Ok(told) => told,
                Err(_) => Err(NotTold { why: format!("no answer within {} s", WITHIN.as_secs()), again: true }),
            },
            None if out.tries < TRIES => return self.leave(&out, &kind).await,
            None => Err(NotTold { why: format!("notifications of type {kind:?} are set up nowhere"), again: false }),
        };
        let again = |told: &NotTold| told.again && out.tries < TRIES;
        self.shared.counts.notices.add(match &told {
            Ok(()) => "delivered",
            Err(told) if again(told) => "put_off",
            Err(_) => "given_up",
        });
        match told {
            Ok(()) => {
                info!(notice = out.id, event = out.notice.event, kind, "told");
                self.shared.store.outbox_done(&out.id).await
            }
            Err(NotTold { why, again }) if again && out.tries < TRIES => {
                warn!(
                    notice = out.id,
                    event = out.notice.event,
                    kind,
                    why,
                    tries = out.tries + 1,
                    "a notice was not delivered; again later"
                );
                self.put_off(&out).await
            }
            Err(NotTold { why, .. }) => {
                error!(notice = out.id, event = out.notice.event, kind, why, "a notice is given up (runbooks/notice-given-up.md)");
                self.shared.store.outbox_done(&out.id).await
            }
        }
    }

    /// Another instance may have what this one lacks, or this one after its next start.
    async fn leave(&self, out: &Outgoing, kind: &str) -> Result<(), StoreError> {
        let fresh = {
            let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
            absent.len() < REMEMBERED && absent.insert(kind.to_owned())
        };
        if fresh {
            error!(
                kind,
                notice = out.id,
                application = out.listing.application,
                pipeline = out.listing.name,
                "notifications of this type are not set up here; they wait for an instance where they are (runbooks/notice-given-up.md)"
            );
        }
        self.put_off(out).await
    }

    async fn put_off(&self, out: &Outgoing) -> Result<(), StoreError> {
        let pause = AGAIN_FIRST.saturating_mul(1 << out.tries.min(10)).min(AGAIN_LONGEST);
        let at = self.shared.clock.now().plus(spread(pause, seed::of(&out.id) ^ u64::from(out.tries)));
        self.shared.store.outbox_again(&out.id, at).await
    }
}

#[cfg(test)]
mod tests;
