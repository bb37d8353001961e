//! Cron triggers: fired by one instance among those with intake, once for each time.
//!
//! What must stay true: the id of what a trigger starts comes from the trigger and its time, so two schedulers that both believe in their turn start one
//! execution; a trigger's last time is in the store before the next one is looked for, so a change of scheduler misses none; a new trigger fires for no
//! time before it was seen. When more than [`Settings::safeguard`](super::Settings) of them are late at once (an outage is over), those wait for a
//! person ([`decide`]): fifty pipelines that deploy at the same moment are seldom what anybody wants.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;
use tracing::info;
use tracing::warn;

use super::Shared;
use super::State;
use super::definitions::Index;
use super::definitions::Triggered;
use super::definitions::definition;
use super::ending;
use super::start;
use crate::model::Timestamp;
use crate::orchestrator::engine::cron::Missed;
use crate::orchestrator::engine::cron::MissedPolicy;
use crate::orchestrator::engine::cron::Schedule;
use crate::orchestrator::engine::definition::triggers::On;
use crate::orchestrator::engine::definition::triggers::Trigger;
use crate::orchestrator::engine::seed;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::StoreError;

/// Crons are as fine as a second.
const EVERY: Duration = Duration::from_secs(1);
/// A scheduler that is not heard of for so long is replaced.
const ROLE_LEASE: Duration = Duration::from_secs(5);
const ROLE: &str = "scheduler";
/// A time that went by longer ago than this was missed; a change of scheduler takes less.
const LATE: Duration = Duration::from_secs(30);
/// Missed times that are looked at; of more, the last is not the last.
const MISSED: usize = 1000;
const HELD: &str = "scheduler/held";
const DECISION: &str = "scheduler/decision";

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

/// One cron trigger.
struct Cron {
    schedule: Schedule,
    zone: TimeZone,
    missed: MissedPolicy,
    /// Fired, or given up, up to this time.
    after: Timestamp,
    next: Option<Timestamp>,
    /// Name of its mark.
    mark: String,
    /// Place in the index.
    place: (usize, usize),
}

/// Fires cron triggers while it is this instance's turn.
pub(super) async fn run(shared: Arc<Shared>, state: watch::Receiver<State>, safeguard: usize, stop: CancellationToken) {
    let mut scheduler = Scheduler { shared, safeguard, crons: HashMap::new(), index: None };
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut failing = false;
    loop {
        // Safe to cancel: a tick that is not taken comes again.
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let session = state.borrow().session.clone().filter(|_| state.borrow().claims);
        let turn = match &session {
            Some(session) => scheduler.shared.store.take_role(ROLE, session, ROLE_LEASE).await,
            None => Ok(false),
        };
        let done = match turn {
            Ok(true) => scheduler.tick().await,
            Ok(false) => {
                scheduler.forget();
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &done
            && !failing
        {
            warn!(%error, "cron triggers wait for the store; none is lost");
        }
        failing = done.is_err();
    }
}

struct Scheduler {
    shared: Arc<Shared>,
    safeguard: usize,
    /// By the name of the mark.
    crons: HashMap<String, Cron>,
    index: Option<Arc<Index>>,
}

impl Scheduler {
    /// Another instance's turn: what it fires is read from the store when it is ours again.
    fn forget(&mut self) {
        self.crons.clear();
        self.index = None;
    }

    async fn tick(&mut self) -> Result<(), StoreError> {
        let index = self.shared.definitions.current().await?;
        if self.index.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &index)) {
            self.learn(&index).await?;
            self.index = Some(Arc::clone(&index));
        }
        let now = self.shared.clock.now();
        let mut late: Vec<(String, Missed)> = Vec::new();
        let mut due: Vec<(String, Timestamp)> = Vec::new();
        let mut skipped: Vec<String> = Vec::new();
        for (name, cron) in self.crons.iter().filter(|(_, cron)| cron.next.is_some_and(|next| next <= now)) {
            let mut missed = cron.schedule.missed(cron.after, now, &cron.zone, MISSED);
            let in_time = missed.times.iter().position(|time| now.since(*time) <= LATE).unwrap_or(missed.times.len());
            let times = missed.times.split_off(in_time);
            if cron.missed.due(&missed).is_some() {
                late.push((name.clone(), missed));
            } else if times.is_empty() {
                skipped.push(name.clone());
            } else {
                due.extend(times.into_iter().map(|time| (name.clone(), time)));
            }
        }
        due.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        for (name, time) in due {
            self.fire(&index, &name, time).await?;
        }
        for name in skipped {
            self.advance(&name, now).await?;
        }
        self.catch_up(&index, late, now).await
    }

    /// Takes over the triggers of an index; those that were known go on where they were.
    async fn learn(&mut self, index: &Index) -> Result<(), StoreError> {
        let now = self.shared.clock.now();
        let mut crons = HashMap::new();
        for (at, triggered) in index.all.iter().enumerate() {
            for (nth, trigger) in triggered.triggers.iter().enumerate() {
                let On::Cron { expression, missed } = &trigger.on else { continue };
                let Ok(schedule) = Schedule::parse(expression, &trigger.id) else { continue };
                let mark = format!("cron/{}/{}/{:x}", triggered.id, trigger.id, seed::of(expression));
                let after = match self.crons.get(&mark) {
                    Some(known) => known.after,
                    None => self.last(&mark, now).await?,
                };
                let zone = triggered.zone.clone().unwrap_or_else(|| self.shared.zone.clone());
                let next = schedule.next_after(after, &zone);
                let cron = Cron { schedule, zone, missed: *missed, after, next, mark: mark.clone(), place: (at, nth) };
                crons.insert(mark, cron);
            }
        }
        // A trigger that comes back one day is new then.
        for gone in self.crons.keys().filter(|mark| !crons.contains_key(*mark)) {
            self.shared.store.set_mark(gone, "").await?;
        }
        self.crons = crons;
        Ok(())
    }

    /// When a trigger last fired; a new one starts now.
    async fn last(&self, mark: &str, now: Timestamp) -> Result<Timestamp, StoreError> {
        if let Some(at) = self.shared.store.mark(mark).await?.and_then(|text| text.parse().ok()) {
            return Ok(Timestamp(at));
        }
        self.shared.store.set_mark(mark, &now.0.to_string()).await?;
        Ok(now)
    }

    /// Late triggers fire once each, unless there are so many that a person has to say so.
    async fn catch_up(&mut self, index: &Index, late: Vec<(String, Missed)>, now: Timestamp) -> Result<(), StoreError> {
        if late.is_empty() {
            return Ok(());
        }
        let mut decision = Decision::Fire;
        if late.len() > self.safeguard {
            match self.ask(index, &late, now).await? {
                Some(decided) => decision = decided,
                None => return Ok(()),
            }
        }
        for (name, missed) in late {
            let policy = self.crons.get(&name).map(|cron| cron.missed);
            match policy.and_then(|policy| policy.due(&missed)).filter(|_| decision == Decision::Fire) {
                Some(time) => self.fire(index, &name, time).await?,
                None => self.advance(&name, now).await?,
            }
        }
        Ok(())
    }

    /// `None` while nobody has decided.
    async fn ask(&mut self, index: &Index, late: &[(String, Missed)], now: Timestamp) -> Result<Option<Decision>, StoreError> {
        let store = &self.shared.store;
        let Some(held) = held(&**store).await? else {
            let name = |name: &String| self.crons.get(name).map(|c| &index.all[c.place.0]).map(|t| format!("{}/{}", t.application, t.name));
            let some: Vec<String> = late.iter().filter_map(|(mark, _)| name(mark)).take(20).collect();
            error!(
                late = late.len(),
                limit = self.safeguard,
                ?some,
                "more triggers are late than may fire at once; they wait for a person (runbooks/triggers-held.md)"
            );
            let held = Held { since: now, count: late.len(), some };
            store.set_mark(HELD, &serde_json::to_string(&held).unwrap_or_default()).await?;
            return Ok(None);
        };
        let decided: Option<Decided> = store.mark(DECISION).await?.and_then(|text| serde_json::from_str(&text).ok());
        let Some(decided) = decided.filter(|decided| decided.since == held.since) else { return Ok(None) };
        info!(late = late.len(), decision = ?decided.decision, "it was decided on the late triggers");
        store.set_mark(HELD, "").await?;
        Ok(Some(decided.decision))
    }

    async fn fire(&mut self, index: &Index, name: &str, time: Timestamp) -> Result<(), StoreError> {
        let Some(cron) = self.crons.get(name) else { return Ok(()) };
        let triggered = &index.all[cron.place.0];
        let trigger = &triggered.triggers[cron.place.1];
        match start_for(&self.shared, triggered, trigger, time).await {
            // Trying again would not help, and the others must not wait for it.
            Err(error) if !error.may_pass() => {
                error!(application = triggered.application, pipeline = triggered.name, time = %time, %error,
                    "a cron trigger cannot start its pipeline at this time, and it does not fire for it (runbooks/record-refused.md)");
            }
            started => started?,
        }
        self.advance(name, time).await
    }

    async fn advance(&mut self, name: &str, time: Timestamp) -> Result<(), StoreError> {
        let Some(cron) = self.crons.get_mut(name) else { return Ok(()) };
        self.shared.store.set_mark(&cron.mark, &time.0.to_string()).await?;
        cron.after = time;
        cron.next = cron.schedule.next_after(time, &cron.zone);
        Ok(())
    }
}

async fn start_for(shared: &Shared, of: &Triggered, trigger: &Trigger, time: Timestamp) -> Result<(), StoreError> {
    let Some(version) = shared.store.definition(&of.id, None).await?.filter(|version| !version.deleted) else { return Ok(()) };
    let mut document = trigger.document.clone();
    document.insert("parameters".to_owned(), Value::Object(trigger.parameters.clone()));
    if let Some(user) = &trigger.run_as_user {
        document.insert("user".to_owned(), user.as_str().into());
    }
    let event = format!("cron/{}/{}/{}", of.id, trigger.id, time.0);
    document.insert("correlationId".to_owned(), event.as_str().into());
    let order =
        start::Order { id: start::id_of(&event, time), trigger: document, origin: Some("cron".to_owned()), ..start::Order::default() };
    ending::fire(&definition(&version), order, of, &*shared.store, shared.clock.now()).await.map(drop)
}
