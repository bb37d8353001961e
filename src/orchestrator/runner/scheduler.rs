//! Cron triggers: fired by one instance among those with intake, once for each time.
//!
//! What must stay true: the id of what a trigger starts comes from the trigger and its time, so two schedulers that both believe in their turn start one
//! execution; a trigger's last time is in the store before the next one is looked for, so a change of scheduler misses none; a new trigger fires for no
//! time before it was seen; what is missed for good is told. Of the times a `run-once` trigger missed the last one is owed, and that is in the store too.
//! When more than [`Settings::safeguard`](super::Settings) triggers owe one (an outage is over), these wait for a person ([`decide`]), and all times that
//! are in time fire meanwhile: fifty pipelines that deploy at the same moment are seldom what anybody wants.

mod hold;

pub use hold::Decision;
pub use hold::Held;
pub use hold::decide;
pub use hold::held;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::TryStreamExt;
use futures::stream;
use jiff::tz::TimeZone;
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
use crate::orchestrator::engine::cron::MissedPolicy;
use crate::orchestrator::engine::cron::Schedule;
use crate::orchestrator::engine::definition::triggers::On;
use crate::orchestrator::engine::definition::triggers::Trigger;
use crate::orchestrator::engine::seed;
use crate::orchestrator::store::StoreError;

/// Crons are as fine as a second.
const EVERY: Duration = Duration::from_secs(1);
/// A scheduler that is not heard of for so long is replaced.
const ROLE_LEASE: Duration = Duration::from_secs(5);
const ROLE: &str = "scheduler";
/// A time that went by longer ago than this was missed; a change of scheduler takes less. Milliseconds.
const LATE_MS: i64 = 30_000;
/// Times of one trigger that can be in time at once: one a second, and both borders.
const IN_TIME: usize = 32;
/// Missed times that are counted; of more it is said that there were more.
const COUNTED: usize = 1000;
/// Questions to the store about marks that are under way at once: ten thousand of them take far less than [`ROLE_LEASE`].
const MARKS_AT_ONCE: usize = 64;
/// Triggers that make up for missed times within one tick, so that those in time do not wait for them.
const MADE_UP_AT_ONCE: usize = 100;

/// One cron trigger.
struct Cron {
    schedule: Schedule,
    zone: TimeZone,
    missed: MissedPolicy,
    last: Last,
    next: Option<Timestamp>,
    /// Place in the index.
    place: (usize, usize),
}

/// How far a trigger has come; what its mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Last {
    /// Fired, given up, or owed, up to this time.
    after: Timestamp,
    /// The last of the times that were missed and are to be made up for.
    owed: Option<Timestamp>,
}

impl Last {
    fn read(text: &str) -> Option<Self> {
        let mut times = text.split(' ').map(|time| time.parse().map(Timestamp));
        let after = times.next()?.ok()?;
        Some(Self { after, owed: times.next().and_then(Result::ok) })
    }

    fn text(self) -> String {
        let owed = self.owed.map(|owed| format!(" {}", owed.0)).unwrap_or_default();
        format!("{}{owed}", self.after.0)
    }
}

/// Fires cron triggers while it is this instance's turn.
pub(super) async fn run(shared: Arc<Shared>, state: watch::Receiver<State>, safeguard: usize, stop: CancellationToken) {
    let mut scheduler = Scheduler { shared, safeguard, crons: HashMap::new(), index: None, held: None };
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut failing = false;
    loop {
        // Safe to cancel: a tick that is not taken comes again.
        tokio::select! {
            biased;
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
        scheduler.shared.counts.set_late_triggers(scheduler.held.as_ref().map_or(0, |held| held.count));
        if let Err(error) = &done
            && !failing
        {
            let late_s = LATE_MS / 1000;
            warn!(%error, late_s, "cron triggers wait for the store; of times that are late by then each trigger's `missed` says what becomes");
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
    /// Late triggers that wait for a person. Only the scheduler says so in the store.
    held: Option<Held>,
}

/// A trigger that missed times.
struct Missed {
    name: String,
    last: Timestamp,
}

impl Scheduler {
    /// Another instance's turn: what it fires is read from the store when it is ours again.
    fn forget(&mut self) {
        self.crons.clear();
        self.index = None;
        self.held = None;
    }

    async fn tick(&mut self) -> Result<(), StoreError> {
        let index = self.shared.definitions.current().await?;
        if self.index.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &index)) {
            if self.index.is_none() {
                self.held = hold::held(&*self.shared.store).await?;
            }
            self.learn(&index).await?;
            self.index = Some(Arc::clone(&index));
        }
        let now = self.shared.clock.now();
        let late = Timestamp(now.0 - LATE_MS - 1);
        let mut missed: Vec<Missed> = Vec::new();
        let mut due: Vec<(String, Timestamp)> = Vec::new();
        for (name, cron) in self.crons.iter().filter(|(_, cron)| cron.next.is_some_and(|next| next <= now)) {
            let last = cron.schedule.last(cron.last.after, late, &cron.zone);
            missed.extend(last.map(|last| Missed { name: name.clone(), last }));
            let in_time = cron.schedule.missed(cron.last.after.max(late), now, &cron.zone, IN_TIME);
            due.extend(in_time.times.into_iter().map(|time| (name.clone(), time)));
        }
        self.miss(&index, missed).await?;
        due.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        for (name, time) in due {
            self.fire(&index, &name, time).await?;
            let owed = self.crons.get(&name).and_then(|cron| cron.last.owed);
            self.remember(vec![(name, Last { after: time, owed })]).await?;
        }
        self.make_up(&index, now).await
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
                let zone = triggered.zone.clone().unwrap_or_else(|| self.shared.zone.clone());
                crons.insert(mark, (schedule, zone, *missed, (at, nth)));
            }
        }
        let store = &self.shared.store;
        let unknown = crons.keys().filter(|mark| !self.crons.contains_key(*mark)).cloned().collect::<Vec<_>>();
        let read = |mark: String| async move {
            let last = store.mark(&mark).await?.and_then(|text| Last::read(&text));
            if last.is_none() {
                // A new one starts now.
                store.set_mark(&mark, &Last { after: now, owed: None }.text()).await?;
            }
            Ok::<_, StoreError>((mark, last.unwrap_or(Last { after: now, owed: None })))
        };
        let lasts: HashMap<String, Last> = stream::iter(unknown).map(read).buffer_unordered(MARKS_AT_ONCE).try_collect().await?;
        // A trigger that comes back one day is new then.
        let gone = self.crons.keys().filter(|mark| !crons.contains_key(*mark)).cloned().collect::<Vec<_>>();
        let forget = |mark: String| async move { store.set_mark(&mark, "").await };
        stream::iter(gone).map(forget).buffer_unordered(MARKS_AT_ONCE).try_collect::<()>().await?;
        let known = |mark: &String| self.crons.get(mark).map(|cron| cron.last);
        let crons = crons.into_iter().map(|(mark, (schedule, zone, missed, place))| {
            let last = lasts.get(&mark).copied().or_else(|| known(&mark)).unwrap_or(Last { after: now, owed: None });
            let next = schedule.next_after(last.after, &zone);
            (mark, Cron { schedule, zone, missed, last, next, place })
        });
        self.crons = crons.collect();
        Ok(())
    }

    /// Times that nobody was there for: given up and told, or owed.
    async fn miss(&mut self, index: &Index, missed: Vec<Missed>) -> Result<(), StoreError> {
        let mut lasts = Vec::with_capacity(missed.len());
        let mut given_up = Vec::new();
        for Missed { name, last } in missed {
            let Some(cron) = self.crons.get(&name) else { continue };
            let owed = match cron.missed {
                MissedPolicy::RunOnce => Some(last),
                MissedPolicy::Skip => {
                    given_up.push((cron, last));
                    cron.last.owed
                }
            };
            lasts.push((name, Last { after: last, owed }));
        }
        for (cron, last) in given_up.iter().take(hold::NAMED) {
            let of = &index.all[cron.place.0];
            let count = cron.schedule.missed(cron.last.after, *last, &cron.zone, COUNTED);
            let (application, pipeline, times, more) = (&of.application, &of.name, count.times.len(), count.more);
            warn!(application, pipeline, %last, times, more, "a cron trigger missed its time and does not make up for it: nobody was there (runbooks/trigger-missed.md)");
        }
        if let Some(more) = given_up.len().checked_sub(hold::NAMED).filter(|more| *more > 0) {
            warn!(more, "as many more cron triggers missed their times and do not make up for them (runbooks/trigger-missed.md)");
        }
        self.remember(lasts).await
    }

    /// Triggers that owe a time fire once each, unless there are so many that a person has to say so.
    async fn make_up(&mut self, index: &Index, now: Timestamp) -> Result<(), StoreError> {
        let owes = |(name, cron): (&String, &Cron)| cron.last.owed.map(|owed| (owed, name.clone()));
        let mut owed: Vec<(Timestamp, String)> = self.crons.iter().filter_map(owes).collect();
        owed.sort();
        if owed.is_empty() && self.held.is_none() {
            return Ok(());
        }
        let Some(decision) = self.decision(index, &owed, now).await? else { return Ok(()) };
        let all = owed.len() <= MADE_UP_AT_ONCE;
        for (time, name) in owed.into_iter().take(MADE_UP_AT_ONCE) {
            if decision == Decision::Fire {
                self.fire(index, &name, time).await?;
            }
            let Some(after) = self.crons.get(&name).map(|cron| cron.last.after) else { continue };
            self.remember(vec![(name, Last { after, owed: None })]).await?;
        }
        if all && self.held.is_some() {
            hold::set(&*self.shared.store, None).await?;
            self.held = None;
        }
        Ok(())
    }

    /// `None` while nobody has decided.
    async fn decision(&mut self, index: &Index, owed: &[(Timestamp, String)], now: Timestamp) -> Result<Option<Decision>, StoreError> {
        let store = &self.shared.store;
        if let Some(held) = &self.held
            && let Some(decision) = hold::decided(&**store, held).await?
        {
            info!(late = owed.len(), ?decision, "it was decided on the late triggers");
            return Ok(Some(decision));
        }
        if owed.len() <= self.safeguard {
            return Ok(Some(Decision::Fire));
        }
        let since = match &self.held {
            Some(held) if held.count == owed.len() => return Ok(None),
            Some(held) if held.count > owed.len() => held.since,
            Some(_) | None => now,
        };
        let of = |name: &String| self.crons.get(name).map(|cron| &index.all[cron.place.0]);
        let some = owed.iter().filter_map(|(_, name)| of(name)).map(|of| format!("{}/{}", of.application, of.name));
        let held = Held { since, count: owed.len(), some: some.take(hold::NAMED).collect() };
        hold::set(&**store, Some(&held)).await?;
        if since == now {
            let some = &held.some;
            error!(
                late = held.count,
                limit = self.safeguard,
                ?some,
                "more triggers are late than may fire at once; they wait for a person (runbooks/triggers-held.md)"
            );
        }
        self.held = Some(held);
        Ok(None)
    }

    async fn fire(&self, index: &Index, name: &str, time: Timestamp) -> Result<(), StoreError> {
        let Some(cron) = self.crons.get(name) else { return Ok(()) };
        let triggered = &index.all[cron.place.0];
        match start_for(&self.shared, triggered, &triggered.triggers[cron.place.1], time).await {
            // Trying again would not help, and the others must not wait for it.
            Err(error) if !error.may_pass() => {
                error!(application = triggered.application, pipeline = triggered.name, time = %time, %error,
                    "a cron trigger cannot start its pipeline at this time, and it does not fire for it (runbooks/record-refused.md)");
                Ok(())
            }
            started => started,
        }
    }

    /// Says in the store how far triggers have come, then here.
    async fn remember(&mut self, lasts: Vec<(String, Last)>) -> Result<(), StoreError> {
        let store = &self.shared.store;
        let write = |(name, last): &(String, Last)| {
            let (name, text) = (name.clone(), last.text());
            async move { store.set_mark(&name, &text).await }
        };
        let writes: Vec<_> = lasts.iter().map(write).collect();
        stream::iter(writes).buffer_unordered(MARKS_AT_ONCE).try_collect::<()>().await?;
        for (name, last) in lasts {
            if let Some(cron) = self.crons.get_mut(&name) {
                cron.next = cron.schedule.next_after(last.after, &cron.zone);
                cron.last = last;
            }
        }
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
