//! The store as a value in memory: what [`Store`] promises, said in the plainest way. The contract is checked against it, and tests and drills run on it.
//!
//! What must stay true: it does no I/O and leaves nothing to chance, so a run with a virtual clock comes out the same each time; whatever a real
//! store does differently is a fault of one of the two. It forgets everything with the process.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::Admission;
use super::Claimed;
use super::Created;
use super::DEFINITIONS_MARK;
use super::DefinitionVersion;
use super::InstanceActivity;
use super::Lease;
use super::Listing;
use super::NewExecution;
use super::Outgoing;
use super::Query;
use super::Record;
use super::Retention;
use super::SaveError;
use super::Session;
use super::Store;
use super::StoreError;
use super::Then;
use super::Write;
use super::WriteError;
use super::mark_of;
use super::moves_ended;
use super::overtaken;
use super::overtaken_write;
use super::plain_names;
use crate::model::Clock;
use crate::model::Timestamp;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::ExecutionId;

/// Messages one inbox holds at most: a sender in a loop is refused before it fills the memory.
pub(super) const INBOX_MAX: usize = 1_000;
/// Most messages, listings, executions in one answer, as the trait gives them.
pub(super) const INBOX_PAGE: usize = 100;
pub(super) const LIST_PAGE: usize = 1_000;
pub(super) const CLAIM_PAGE: usize = 500;

/// The store in memory.
pub struct ModelStore {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Counts what may interest somebody who waits.
    news: AtomicU64,
    /// Wakes those who wait in the order in which they came; a watch channel would wake them by chance.
    bell: Notify,
}

impl fmt::Debug for ModelStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelStore").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    executions: BTreeMap<ExecutionId, Entry>,
    due: BTreeSet<(Timestamp, ExecutionId)>,
    owned: BTreeMap<Session, BTreeSet<ExecutionId>>,
    sessions: BTreeMap<Session, Lived>,
    waits: BTreeMap<Session, Seen>,
    gates: BTreeMap<String, Gate>,
    definitions: BTreeMap<String, Vec<DefinitionVersion>>,
    roles: BTreeMap<String, (Session, Timestamp)>,
    marks: BTreeMap<String, String>,
    outbox: BTreeMap<String, (Timestamp, Outgoing)>,
}

struct Entry {
    listing: Listing,
    fields: BTreeMap<String, String>,
    stage_index: Vec<String>,
    correlation_id: Option<String>,
    place: Place,
    epoch: u64,
    /// The epoch that last gave it back by a write: such a write may come again.
    given_back: u64,
    /// Its owner went without giving it back.
    orphan: bool,
    inbox: BTreeMap<u64, Message>,
    last_message: u64,
    last_notice: u64,
    /// The number of this ownership's last write.
    last_write: u32,
}

enum Place {
    Due(Timestamp),
    Waiting,
    Owned(Session),
    Ended,
}

#[derive(Default)]
struct Gate {
    holders: BTreeSet<ExecutionId>,
    waiting: Vec<ExecutionId>,
}

impl Gate {
    fn enter(&mut self, id: &ExecutionId, limit: u32) -> Admission {
        if self.holders.contains(id) {
            return Admission::Go;
        }
        if self.waiting.contains(id) {
            return Admission::Wait;
        }
        if self.waiting.is_empty() && self.holders.len() < limit as usize {
            self.holders.insert(id.clone());
            return Admission::Go;
        }
        self.waiting.push(id.clone());
        Admission::Wait
    }
}

/// How long a session's lease has held without a break, holds, and how long it is.
#[derive(Clone, Copy)]
struct Lived {
    since: Timestamp,
    until: Timestamp,
    lease: Duration,
}

/// What a session was told by its last wait.
#[derive(Clone, Copy)]
struct Seen {
    news: u64,
    until: Timestamp,
}

impl Entry {
    fn has_mail(&self) -> bool {
        !self.inbox.is_empty()
    }

    fn record(&self) -> Record {
        Record { fields: self.fields.iter().map(|(k, v)| (k.clone(), v.clone())).collect(), stage_index: self.stage_index.clone() }
    }

    fn page_of_inbox(&self, after: u64) -> Vec<(u64, Message)> {
        self.inbox.range(after.saturating_add(1)..).take(INBOX_PAGE).map(|(n, m)| (*n, m.clone())).collect()
    }

    fn is_owned_under(&self, lease: &Lease) -> bool {
        self.epoch == lease.epoch && matches!(&self.place, Place::Owned(session) if *session == lease.session)
    }

    fn is_ended(&self) -> bool {
        matches!(self.place, Place::Ended)
    }
}

impl State {
    /// Moves an execution, with the indexes that say where it is.
    fn place(&mut self, id: &ExecutionId, to: Place) {
        let Some(entry) = self.executions.get_mut(id) else { return };
        match &to {
            Place::Due(at) => drop(self.due.insert((*at, id.clone()))),
            Place::Owned(session) => drop(self.owned.entry(session.clone()).or_default().insert(id.clone())),
            Place::Waiting | Place::Ended => {}
        }
        match std::mem::replace(&mut entry.place, to) {
            Place::Due(at) if !matches!(entry.place, Place::Due(now) if now == at) => drop(self.due.remove(&(at, id.clone()))),
            Place::Owned(session) if !matches!(&entry.place, Place::Owned(now) if *now == session) => {
                if let Some(owned) = self.owned.get_mut(&session) {
                    owned.remove(id);
                    if owned.is_empty() {
                        self.owned.remove(&session);
                    }
                }
            }
            Place::Due(_) | Place::Owned(_) | Place::Waiting | Place::Ended => {}
        }
    }

    fn is_live(&self, session: &Session, now: Timestamp) -> bool {
        self.sessions.get(session).is_some_and(|lived| lived.until > now)
    }

    /// `session` may take what `gone` owns, whose lease ran out.
    fn may_adopt(&self, session: &Session, gone: &Session, now: Timestamp) -> bool {
        let Some(gone) = self.sessions.get(gone) else { return true };
        let heard = |lived: &Lived| gone.until >= lived.since || now >= lived.since.plus(lived.lease);
        gone.until <= now && self.sessions.get(session).is_some_and(heard)
    }

    fn take(&mut self, id: &ExecutionId, session: &Session) -> Option<Claimed> {
        let entry = self.executions.get_mut(id)?;
        entry.epoch += 1;
        entry.last_write = 0;
        let adopted = std::mem::take(&mut entry.orphan) || matches!(entry.place, Place::Owned(_));
        let claimed = Claimed {
            lease: Lease { execution: id.clone(), session: session.clone(), epoch: entry.epoch },
            record: entry.record(),
            inbox: entry.page_of_inbox(0),
            adopted,
        };
        self.place(id, Place::Owned(session.clone()));
        Some(claimed)
    }

    fn deliver(&mut self, id: &ExecutionId, message: Message, now: Timestamp) -> Result<bool, StoreError> {
        let Some(entry) = self.executions.get_mut(id) else { return Ok(false) };
        if entry.is_ended() && !moves_ended(&message) {
            return Ok(false);
        }
        if entry.inbox.len() >= INBOX_MAX {
            return Err(StoreError::Refused(format!("the inbox of {id} holds {INBOX_MAX} messages that nobody took")));
        }
        entry.last_message += 1;
        entry.inbox.insert(entry.last_message, message);
        if !matches!(&entry.place, Place::Owned(_)) && !matches!(&entry.place, Place::Due(at) if *at <= now) {
            self.place(id, Place::Due(now));
        }
        Ok(true)
    }

    fn leave_gate(&mut self, id: &ExecutionId) {
        self.gates.retain(|_, gate| {
            gate.holders.remove(id);
            gate.waiting.retain(|w| w != id);
            !gate.holders.is_empty() || !gate.waiting.is_empty()
        });
    }

    fn write(&mut self, write: Write, now: Timestamp) -> Result<(), WriteError> {
        let id = write.lease.execution.clone();
        let entry = self.executions.get_mut(&id).ok_or(WriteError::Fenced)?;
        if !entry.is_owned_under(&write.lease) {
            let repeated = write.then != Then::Keep && entry.epoch == write.lease.epoch && entry.given_back == write.lease.epoch;
            return if repeated { Ok(()) } else { Err(WriteError::Fenced) };
        }
        if write.number < entry.last_write {
            return Err(overtaken_write().into());
        }
        entry.last_write = write.number;
        for name in &write.remove {
            entry.fields.remove(name);
        }
        entry.fields.extend(write.set);
        if let Some(order) = write.stage_index {
            entry.stage_index = order;
        }
        if let Some(listing) = write.listing {
            entry.listing = listing;
        }
        entry.inbox = entry.inbox.split_off(&write.taken.saturating_add(1));
        for notice in write.notices {
            if notice.number > entry.last_notice {
                entry.last_notice = notice.number;
                let out = Outgoing { id: format!("{id}:{}", notice.number), listing: entry.listing.clone(), notice, tries: 0 };
                self.outbox.insert(out.id.clone(), (now, out));
            }
        }
        match write.then {
            Then::Keep => {}
            Then::Park { due } => {
                entry.given_back = entry.epoch;
                let due = if entry.has_mail() { Some(now) } else { due };
                self.place(&id, due.map_or(Place::Waiting, Place::Due));
            }
            Then::Finish => {
                entry.given_back = entry.epoch;
                let reopened = entry.inbox.values().any(moves_ended);
                entry.inbox.retain(|_, message| moves_ended(message));
                self.place(&id, if reopened { Place::Due(now) } else { Place::Ended });
                self.leave_gate(&id);
            }
        }
        Ok(())
    }

    fn start_waiting(&mut self, definition: &str, limit: u32, keep: bool, now: Timestamp) -> Result<(), StoreError> {
        let Some(gate) = self.gates.get_mut(definition) else { return Ok(()) };
        let free = (limit as usize).saturating_sub(gate.holders.len()).min(gate.waiting.len());
        if free == 0 {
            return Ok(());
        }
        let started = if keep { gate.waiting.drain(..free).collect() } else { gate.waiting.split_off(gate.waiting.len() - free) };
        let called_off = if keep { Vec::new() } else { std::mem::take(&mut gate.waiting) };
        gate.holders.extend(started.iter().cloned());
        for id in started {
            self.deliver(&id, Message::Admitted, now)?;
        }
        for id in called_off {
            self.deliver(&id, overtaken(), now)?;
        }
        Ok(())
    }

    fn newest(&self) -> impl Iterator<Item = &DefinitionVersion> {
        self.definitions.values().filter_map(|versions| versions.last()).filter(|d| !d.deleted)
    }

    /// The first time after `until` at which something comes due, a session with executions runs out, or this one may adopt from all that did.
    fn next_event(&self, session: &Session, until: Timestamp) -> Option<Timestamp> {
        let due = self.due.range((Timestamp(until.0.saturating_add(1)), ExecutionId::default())..).next().map(|(at, _)| *at);
        let ends = self.owned.keys().filter_map(|s| self.sessions.get(s)).map(|lived| lived.until);
        let heard = self.sessions.get(session).map(|lived| lived.since.plus(lived.lease));
        due.into_iter().chain(ends.chain(heard).filter(|at| *at > until)).min()
    }
}

impl ModelStore {
    /// An empty store on this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default(), news: AtomicU64::new(0), bell: Notify::new() }
    }

    /// Makes those that wait look again: for a clock that was moved by hand.
    pub fn wake(&self) {
        self.news.fetch_add(1, Ordering::Relaxed);
        self.bell.notify_waiters();
    }

    /// The state and the time. A test that panicked while it held the lock leaves a state that is whole.
    fn look(&self) -> (MutexGuard<'_, State>, Timestamp) {
        (self.state.lock().unwrap_or_else(PoisonError::into_inner), self.clock.now().wall)
    }
}

#[async_trait]
impl Store for ModelStore {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.now().wall)
    }

    async fn beat(&self, session: &Session, lease: Duration) -> Result<bool, StoreError> {
        let (mut guard, now) = self.look();
        let state = &mut *guard;
        if state.sessions.iter().any(|(s, lived)| s.instance == session.instance && s.process != session.process && lived.until > now) {
            return Ok(false);
        }
        let unbroken = state.sessions.get(session).filter(|lived| lived.until > now);
        let since = unbroken.map_or(now, |lived| lived.since);
        state.sessions.insert(session.clone(), Lived { since, until: now.plus(lease), lease });
        let State { sessions, owned, waits, .. } = state;
        sessions.retain(|s, lived| lived.until > now || owned.contains_key(s));
        waits.retain(|s, _| sessions.contains_key(s));
        Ok(true)
    }

    async fn end_session(&self, session: &Session) -> Result<(), StoreError> {
        let (mut state, now) = self.look();
        for id in state.owned.get(session).cloned().unwrap_or_default() {
            if let Some(entry) = state.executions.get_mut(&id) {
                entry.orphan = true;
            }
            state.place(&id, Place::Due(now));
        }
        state.sessions.remove(session);
        state.waits.remove(session);
        state.roles.retain(|_, (holder, _)| holder != session);
        self.wake();
        Ok(())
    }

    async fn create(&self, new: NewExecution) -> Result<Created, StoreError> {
        let (mut state, _) = self.look();
        let id = new.listing.id.clone();
        if state.executions.contains_key(&id) {
            return Ok(Created::Existing(id));
        }
        let same = |e: &&Entry| e.correlation_id.is_some() && e.correlation_id == new.correlation_id && !e.is_ended();
        if let Some(entry) = state.executions.values().find(same) {
            return Ok(Created::Existing(entry.listing.id.clone()));
        }
        if let (Some(limit), Some(config)) = (new.limit, &new.listing.pipeline_config_id) {
            state.gates.entry(config.clone()).or_default().enter(&id, limit);
        }
        let entry = Entry {
            listing: new.listing,
            fields: new.record.fields.into_iter().collect(),
            stage_index: new.record.stage_index,
            correlation_id: new.correlation_id,
            place: Place::Waiting,
            epoch: 0,
            given_back: 0,
            orphan: false,
            inbox: BTreeMap::new(),
            last_message: 0,
            last_notice: 0,
            last_write: 0,
        };
        state.executions.insert(id.clone(), entry);
        state.place(&id, Place::Due(new.due));
        self.wake();
        Ok(Created::New)
    }

    async fn claim(&self, session: &Session, max: usize) -> Result<Vec<Claimed>, StoreError> {
        let (mut state, now) = self.look();
        if !state.is_live(session, now) {
            return Ok(Vec::new());
        }
        let overdue = state.owned.iter().filter(|(s, _)| state.may_adopt(session, s, now)).flat_map(|(_, ids)| ids);
        let due = state.due.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| id);
        let ids: Vec<ExecutionId> = overdue.chain(due).take(max.clamp(1, CLAIM_PAGE)).cloned().collect();
        Ok(ids.iter().filter_map(|id| state.take(id, session)).collect())
    }

    async fn claim_one(&self, session: &Session, id: &ExecutionId) -> Result<Option<Claimed>, StoreError> {
        let (mut state, now) = self.look();
        let free = match state.executions.get(id).map(|e| &e.place) {
            Some(Place::Due(_) | Place::Waiting) => true,
            Some(Place::Owned(owner)) => owner == session || state.may_adopt(session, owner, now),
            Some(Place::Ended) | None => false,
        };
        Ok(if free && state.is_live(session, now) { state.take(id, session) } else { None })
    }

    async fn write(&self, write: Write) -> Result<(), WriteError> {
        let (mut state, now) = self.look();
        let gives_back = write.then != Then::Keep;
        state.write(write, now)?;
        if gives_back {
            self.wake();
        }
        Ok(())
    }

    async fn inbox(&self, lease: &Lease, after: u64) -> Result<Vec<(u64, Message)>, StoreError> {
        let (state, _) = self.look();
        let entry = state.executions.get(&lease.execution).filter(|e| e.is_owned_under(lease));
        Ok(entry.map(|e| e.page_of_inbox(after)).unwrap_or_default())
    }

    async fn post(&self, id: &ExecutionId, message: &Message) -> Result<bool, StoreError> {
        let (mut state, now) = self.look();
        let taken = state.deliver(id, message.clone(), now)?;
        self.wake();
        Ok(taken)
    }

    async fn admit(&self, lease: &Lease, pipeline_config_id: &str, limit: u32) -> Result<Admission, StoreError> {
        let (mut state, _) = self.look();
        let id = &lease.execution;
        if !state.executions.get(id).is_some_and(|e| e.is_owned_under(lease)) {
            return Err(StoreError::Refused("another session owns this execution now".to_owned()));
        }
        let gate = state.gates.entry(pipeline_config_id.to_owned()).or_default();
        Ok(gate.enter(id, limit))
    }

    async fn start_waiting(&self, pipeline_config_id: &str, limit: u32, keep: bool) -> Result<(), StoreError> {
        let (mut state, now) = self.look();
        state.start_waiting(pipeline_config_id, limit, keep, now)?;
        self.wake();
        Ok(())
    }

    async fn owned(&self, session: &Session, after: Option<&ExecutionId>, limit: usize) -> Result<Vec<ExecutionId>, StoreError> {
        let (state, _) = self.look();
        let owned = state.owned.get(session).into_iter().flatten();
        Ok(owned.filter(|id| after.is_none_or(|after| *id > after)).take(limit.clamp(1, LIST_PAGE)).cloned().collect())
    }

    async fn wait(&self, session: &Session, at_most: Duration) {
        let woken = async {
            loop {
                // From here on no ring is missed.
                let rung = self.bell.notified();
                let sleep = {
                    let (mut state, now) = self.look();
                    let number = self.news.load(Ordering::Relaxed);
                    let seen = state.waits.get(session).copied().unwrap_or(Seen { news: 0, until: Timestamp(i64::MIN) });
                    let next = state.next_event(session, seen.until);
                    let told = seen.news != number || next.is_some_and(|at| at <= now);
                    state.waits.insert(session.clone(), Seen { news: number, until: now });
                    if told {
                        return;
                    }
                    next.map(|at| at.since(now))
                };
                tokio::select! {
                    biased;
                    () = rung => {}
                    () = tokio::time::sleep(sleep.unwrap_or(at_most)) => {}
                }
            }
        };
        let _ = tokio::time::timeout(at_most, woken).await;
    }

    async fn with_messages(&self, session: &Session) -> Result<Vec<ExecutionId>, StoreError> {
        let (state, _) = self.look();
        let owned = state.owned.get(session).into_iter().flatten();
        let has_mail = |id: &&ExecutionId| state.executions.get(*id).is_some_and(Entry::has_mail);
        Ok(owned.filter(has_mail).take(LIST_PAGE).cloned().collect())
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.look().0.due.first().map(|(at, _)| *at))
    }

    async fn load(&self, id: &ExecutionId) -> Result<Option<Record>, StoreError> {
        Ok(self.look().0.executions.get(id).map(Entry::record))
    }

    async fn list(&self, query: &Query) -> Result<Vec<Listing>, StoreError> {
        let (state, _) = self.look();
        let fits = |l: &&Listing| {
            query.kind.is_none_or(|kind| kind == l.kind)
                && query.application.as_ref().is_none_or(|a| *a == l.application)
                && query.pipeline_config_id.as_ref().is_none_or(|p| l.pipeline_config_id.as_ref() == Some(p))
                && (query.statuses.is_empty() || query.statuses.contains(&l.status))
                && query.before.as_ref().is_none_or(|before| l.id < *before)
        };
        let newest_first = state.executions.values().rev().map(|e| &e.listing);
        Ok(newest_first.filter(fits).take(query.limit.clamp(1, LIST_PAGE)).cloned().collect())
    }

    async fn active_by_instance(&self) -> Result<Vec<InstanceActivity>, StoreError> {
        let (state, now) = self.look();
        let activity = |(session, ids): (&Session, &BTreeSet<ExecutionId>)| InstanceActivity {
            instance: session.instance.clone(),
            overdue: !state.is_live(session, now),
            executions: ids.iter().filter_map(|id| state.executions.get(id)).take(LIST_PAGE).map(|e| e.listing.clone()).collect(),
            count: ids.len() as u64,
        };
        Ok(state.owned.iter().map(activity).collect())
    }

    async fn remove(&self, id: &ExecutionId) -> Result<bool, StoreError> {
        let (mut state, _) = self.look();
        let ended = state.executions.get(id).is_some_and(Entry::is_ended);
        if ended {
            state.executions.remove(id);
        }
        Ok(ended)
    }

    async fn expire(&self, retention: Retention) -> Result<usize, StoreError> {
        let (mut state, _) = self.look();
        let mut kept: BTreeMap<(bool, String), usize> = BTreeMap::new();
        let mut old: Vec<(Timestamp, ExecutionId)> = Vec::new();
        for entry in state.executions.values().rev().filter(|e| e.is_ended()) {
            let of = &entry.listing;
            let group = of.pipeline_config_id.clone().map_or((false, of.application.clone()), |config| (true, config));
            let newer = kept.entry(group).or_default();
            *newer += 1;
            let ended = of.end_time.unwrap_or(of.build_time);
            if *newer > retention.keep && ended < retention.older_than {
                old.push((ended, of.id.clone()));
            }
        }
        old.sort();
        old.truncate(retention.step);
        for (_, id) in &old {
            state.executions.remove(id);
        }
        Ok(old.len())
    }

    async fn save_definition(&self, mut definition: DefinitionVersion, expected: Option<u64>) -> Result<DefinitionVersion, SaveError> {
        plain_names(&definition)?;
        let (mut state, now) = self.look();
        let version = state.definitions.get(&definition.id).map_or(0, |versions| versions.len() as u64);
        if expected.is_some_and(|expected| expected != version) {
            return Err(SaveError::Conflict(version));
        }
        let same_name =
            |d: &&DefinitionVersion| d.application == definition.application && d.name == definition.name && d.id != definition.id;
        if !definition.deleted
            && let Some(other) = state.newest().find(same_name)
        {
            return Err(SaveError::NameTaken(other.id.clone()));
        }
        definition.version = version + 1;
        definition.at = now;
        state.definitions.entry(definition.id.clone()).or_default().push(definition.clone());
        state.marks.insert(DEFINITIONS_MARK.to_owned(), mark_of(&definition));
        Ok(definition)
    }

    async fn definition(&self, id: &str, version: Option<u64>) -> Result<Option<DefinitionVersion>, StoreError> {
        let (state, _) = self.look();
        let versions = state.definitions.get(id).map(Vec::as_slice).unwrap_or_default();
        Ok(match version {
            Some(version) => versions.iter().find(|d| d.version == version).cloned(),
            None => versions.last().cloned(),
        })
    }

    async fn definition_named(&self, application: &str, name: &str) -> Result<Option<DefinitionVersion>, StoreError> {
        let (state, _) = self.look();
        Ok(state.newest().find(|d| d.application == application && d.name == name).cloned())
    }

    async fn definitions(
        &self,
        application: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DefinitionVersion>, StoreError> {
        let (state, _) = self.look();
        let by_name = |d: &DefinitionVersion| (d.application.clone(), d.name.clone(), d.id.clone());
        let start = match after.map(|id| state.definitions.get(id).and_then(|versions| versions.last())) {
            None => None,
            Some(None) => return Ok(Vec::new()),
            Some(Some(last)) => Some(by_name(last)),
        };
        let of_application = |d: &&DefinitionVersion| application.is_none_or(|a| a == d.application);
        let behind = |d: &&DefinitionVersion| start.as_ref().is_none_or(|start| by_name(d) > *start);
        let mut all: Vec<DefinitionVersion> = state.newest().filter(of_application).filter(behind).cloned().collect();
        all.sort_by_key(by_name);
        all.truncate(limit.clamp(1, LIST_PAGE));
        Ok(all)
    }

    async fn definition_history(&self, id: &str, limit: usize) -> Result<Vec<DefinitionVersion>, StoreError> {
        let (state, _) = self.look();
        let mut versions = state.definitions.get(id).cloned().unwrap_or_default();
        versions.sort_by_key(|d| Reverse(d.version));
        versions.truncate(limit.clamp(1, LIST_PAGE));
        Ok(versions)
    }

    async fn take_role(&self, role: &str, session: &Session, lease: Duration) -> Result<bool, StoreError> {
        let (mut state, now) = self.look();
        if state.roles.get(role).is_some_and(|(holder, until)| holder != session && *until > now) {
            return Ok(false);
        }
        state.roles.insert(role.to_owned(), (session.clone(), now.plus(lease)));
        Ok(true)
    }

    async fn set_mark(&self, name: &str, text: &str) -> Result<(), StoreError> {
        self.look().0.marks.insert(name.to_owned(), text.to_owned());
        Ok(())
    }

    async fn mark(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(self.look().0.marks.get(name).cloned())
    }

    async fn outbox(&self, max: usize, lease: Duration) -> Result<Vec<Outgoing>, StoreError> {
        let (mut state, now) = self.look();
        let mut ready: Vec<&mut (Timestamp, Outgoing)> = state.outbox.values_mut().filter(|(at, _)| *at <= now).collect();
        ready.sort_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
        ready.truncate(max.clamp(1, LIST_PAGE));
        let hand_out = |(at, out): &mut (Timestamp, Outgoing)| {
            let handed = out.clone();
            *at = now.plus(lease);
            out.tries += 1;
            handed
        };
        Ok(ready.into_iter().map(hand_out).collect())
    }

    async fn outbox_done(&self, id: &str) -> Result<(), StoreError> {
        self.look().0.outbox.remove(id);
        Ok(())
    }

    async fn outbox_again(&self, id: &str, at: Timestamp) -> Result<(), StoreError> {
        if let Some((due, _)) = self.look().0.outbox.get_mut(id) {
            *due = at;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
