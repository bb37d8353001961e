//! The fleet's store: Redis 6.2 or later, alone, behind Sentinels, or a Cluster.
//!
//! Executions stand where Orca puts them (`pipeline:<id>`, `:stageIndex`, `allJobs:*`, `*:app:*`, `pipeline:executions:*`, `correlation:*`,
//! `orca.pipeline.queue.*`); fields that begin with `_` are this store's, keys of its own begin with `bellrock:`:
//!
//! | key | what |
//! |---|---|
//! | `due` | executions by the time they are due |
//! | `sessions`, `instances` | sessions by the end of their lease; the session that holds an instance's name |
//! | `owned:<session>`, `mail:<session>` | what it owns; what of it has messages |
//! | `inbox:<id>` | messages by number |
//! | `gate:<definition>` | who holds a slot (who waits stands in Orca's list) |
//! | `all:*`, `open:*` | by kind, application and definition: all; what has not ended |
//! | `ended:<scope>`, `scopes` | what ended, by definition or application, by time: for retention |
//! | `permits:<group>`, `permits` | who may be away to be healed; which life of the server wrote that ([`permits`]) |
//! | `definition:<id>`, `definitions*`, `roles`, `marks`, `outbox*`, `sequence:<client>` | what their names say |
//!
//! Everything an instance owns is behind one lease, its session's: a beat is one call whatever it owns, and adoption moves what it owned in steps.
//!
//! All keys have one prefix. In a Cluster that is a hash tag: a script may touch the keys of one slot only, and a claim touches those of any
//! execution. The store then lives on one node of the Cluster, whose others it leaves to others; what it gains is the Cluster's failover.
//!
//! What must stay true: every change is one script, so it is whole, and may be repeated; time is the server's; every call has a limit, which has to be
//! shorter than the lease. A script that writes counts first: a server out of memory refuses that, and the whole with it. What can be lost, and how it
//! is noticed, stands in [`guard`].

mod guard;
mod link;
mod news;
mod permits;
mod reply;
mod script;
mod shared;
mod writer;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use redis::Cmd;
use tracing::warn;

use super::Admission;
use super::Claimed;
use super::Created;
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
use super::Write;
use super::WriteError;
use super::model::CLAIM_PAGE;
use super::model::INBOX_MAX;
use super::model::LIST_PAGE;
use super::moves_ended;
use super::overtaken;
use super::plain_names;
use super::readable;
use crate::model::Timestamp;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::ExecutionType;

pub use permits::RedisPermits;

use guard::Guard;
use link::Link;
use news::News;
use reply::Parts;
use script::Script;
use shared::Shared;
use writer::Queue;
use writer::Writer;

/// Members of an index looked at in one call, while those that do not fit are passed over.
const LOOK_AT: usize = 2_000;

/// A claim takes no more once it has so many bytes of records, so that five hundred large ones do not fill the memory; the rest stay due. The server
/// gives them in steps of 4 MiB (`claim.lua`).
const CLAIM_BYTES: usize = 64 << 20;
/// An execution whose record or inbox this version cannot read is looked at again after this time: by then a newer version may run.
const UNREADABLE_AGAIN: Duration = Duration::from_secs(60);

/// Where the store is and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `redis://`, `rediss://`, `redis+sentinel://host:port,…/name/db`, `redis+cluster://host:port,…`; with TLS `rediss+…`.
    pub url: String,
    /// A replica, for reading what is listed and shown; its lag shows there, and decides nothing.
    pub read: Option<String>,
    /// Before every key: empty = Orca's own names. A Cluster needs a hash tag: `{bellrock}:`.
    pub prefix: String,
    /// Limit of every call; shorter than the lease.
    pub timeout: Duration,
}

/// The store. What it needs beside its calls is done by [`Background`], which has to run.
pub struct RedisStore {
    shared: Arc<Shared>,
    writer: Writer,
    creator: Writer,
    /// Ownerships of what this version cannot read, on their way back: at most a claim's worth, since the next claim waits for them.
    unreadable: Mutex<Vec<Unreadable>>,
}

/// An execution that was claimed and cannot be read.
#[derive(Clone, PartialEq, Eq)]
struct Unreadable {
    lease: Lease,
    adopted: bool,
}

/// Sends the writes and hears the news of a [`RedisStore`].
pub struct Background {
    shared: Arc<Shared>,
    writes: Queue,
    creations: Queue,
}

impl Background {
    /// Works for ever: the runtime ends it.
    pub async fn run(mut self) {
        let channel = format!("{}bellrock:news", self.shared.prefix);
        let (writes, creations) = (self.writes.send(&self.shared), self.creations.send(&self.shared));
        tokio::join!(writes, creations, self.shared.news.hear(&self.shared.link, &channel, self.shared.timeout));
    }
}

impl RedisStore {
    /// A store of these settings. Connects to nothing yet. `client` names this process's life, different for every one.
    ///
    /// # Errors
    /// [`StoreError::Refused`]: an address that is none; a Cluster without a hash tag.
    pub fn open(settings: Settings, client: &str) -> Result<(Self, Background), StoreError> {
        let link = Link::open(&settings.url, settings.timeout)?;
        Self::check_prefix(&link, &settings.prefix)?;
        let read = settings.read.as_deref().map(|url| Link::open(url, settings.timeout)).transpose()?;
        let shared = Arc::new(Shared {
            link,
            read,
            prefix: settings.prefix,
            client: client.to_owned(),
            timeout: settings.timeout,
            guard: Guard::default(),
            news: News::new(),
        });
        let (writer, writes) = Writer::new(&script::WRITE);
        let (creator, creations) = Writer::new(&script::CREATE);
        let store = Self { shared: shared.clone(), writer, creator, unreadable: Mutex::default() };
        Ok((store, Background { shared, writes, creations }))
    }

    fn check_prefix(link: &Link, prefix: &str) -> Result<(), StoreError> {
        let tag = prefix.find('{').is_some_and(|at| prefix[at..].find('}').is_some_and(|end| end > 1));
        if link.is_cluster() && !tag {
            return Err(StoreError::Refused(
                "in a Redis Cluster the prefix of all keys has to hold a hash tag, such as {bellrock}:".to_owned(),
            ));
        }
        Ok(())
    }

    async fn call(&self, script: &Script, args: impl FnOnce(&mut Cmd)) -> Result<Parts, StoreError> {
        self.shared.call(self.shared.guard.known(), script, args).await
    }

    /// Asked by a session.
    async fn call_of(&self, session: &str, script: &Script, args: impl FnOnce(&mut Cmd)) -> Result<Parts, StoreError> {
        self.shared.call(self.shared.guard.known_to(session)?, script, args).await
    }

    /// One that was just handed to this session. `None`: this version cannot read it, and it is to go back.
    fn claimed(&self, mut parts: Parts, session: &Session) -> Result<Option<Claimed>, StoreError> {
        let execution = ExecutionId(parts.text()?);
        let kind = parts.kind()?;
        let lease = Lease { execution, session: session.clone(), epoch: parts.number()? };
        let adopted = parts.number::<i64>()? == 1;
        let read = parts.record(kind).and_then(|record| Ok((record, parts.inbox()?)));
        match read {
            Ok((record, inbox)) => Ok(Some(Claimed { lease, adopted, record, inbox })),
            Err(StoreError::Unreadable(why)) => {
                warn!(execution = %lease.execution, why, "an execution holds what this version cannot read; it waits for one that can (runbooks/unreadable-execution.md)");
                self.unreadable().push(Unreadable { lease, adopted });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn unreadable(&self) -> MutexGuard<'_, Vec<Unreadable>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back what cannot be read, due later.
    async fn put_off(&self) -> Result<(), StoreError> {
        loop {
            let Some(one) = self.unreadable().last().cloned() else { return Ok(()) };
            let args = |cmd: &mut Cmd| {
                cmd.arg(&one.lease.execution.0).arg(owner(&one.lease)).arg(u8::from(one.adopted)).arg(millis(UNREADABLE_AGAIN));
            };
            self.call(&script::PUT_OFF, args).await?;
            self.unreadable().retain(|other| *other != one);
        }
    }

    /// Versions of a definition, by the place of its list.
    async fn versions(&self, by: &str, which: &str, first: i64, last: i64) -> Result<Vec<DefinitionVersion>, StoreError> {
        let mut answer = self.call(&script::DEFINITION, |cmd| _ = cmd.arg(by).arg(which).arg(first).arg(last)).await?;
        answer.list()?.texts()?.iter().map(|text| reply::version(text)).collect()
    }

    /// A page of one kind.
    async fn list_kind(&self, kind: ExecutionType, query: &Query, limit: usize) -> Result<Vec<Listing>, StoreError> {
        let open = !query.statuses.is_empty() && query.statuses.iter().all(|s| !s.is_complete());
        let mut index = format!("bellrock:{}:{}", if open { "open" } else { "all" }, kind.word());
        let mut application = "";
        match (&query.pipeline_config_id, &query.application) {
            (Some(config), of) => {
                index.push_str(&format!(":config:{config}"));
                application = of.as_deref().unwrap_or_default();
            }
            (None, Some(of)) => index.push_str(&format!(":app:{of}")),
            (None, None) => {}
        }
        let mut before = query.before.as_ref().map(|id| id.0.clone()).unwrap_or_default();
        let mut found = Vec::new();
        loop {
            let args = |cmd: &mut Cmd| {
                cmd.arg(kind.word()).arg(&index).arg(&before).arg(limit - found.len()).arg(LOOK_AT).arg(application);
                query.statuses.iter().for_each(|s| _ = cmd.arg(s.word()));
            };
            let mut answer = self.shared.read(&script::LIST, args).await?;
            before = answer.text()?;
            for row in answer.list()?.lists()? {
                found.extend(readable(row.listing())?);
            }
            if before.is_empty() || found.len() >= limit {
                return Ok(found);
            }
        }
    }
}

/// A session as it stands in keys. The process comes first, so that where it ends is plain.
fn token(session: &Session) -> String {
    let mut token = String::with_capacity(session.process.len() + 1 + session.instance.len());
    if session.process.contains(['%', '/']) {
        token.push_str(&session.process.replace('%', "%25").replace('/', "%2F"));
    } else {
        token.push_str(&session.process);
    }
    token.push('/');
    token.push_str(&session.instance);
    token
}

fn instance_of(token: &str) -> &str {
    token.split_once('/').map_or(token, |(_, instance)| instance)
}

fn owner(lease: &Lease) -> String {
    format!("{} {}", lease.epoch, token(&lease.session))
}

fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Refused(e.to_string()))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Store for RedisStore {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(Timestamp(self.call(&script::NOW, |_| {}).await?.number()?))
    }

    async fn beat(&self, session: &Session, lease: Duration) -> Result<bool, StoreError> {
        let token = token(session);
        let args = |cmd: &mut Cmd| _ = cmd.arg(&token).arg(&session.instance).arg(millis(lease));
        Ok(self.call_of(&token, &script::BEAT, args).await?.number::<i64>()? == 1)
    }

    async fn end_session(&self, session: &Session) -> Result<(), StoreError> {
        let args = |cmd: &mut Cmd| _ = cmd.arg(token(session));
        while self.call(&script::END_SESSION, args).await?.number::<i64>()? == 1 {}
        self.shared.news.forget(&token(session));
        self.shared.guard.forget(&token(session));
        Ok(())
    }

    async fn create(&self, new: NewExecution) -> Result<Created, StoreError> {
        match self.creator.send(None, writer::create(&new), self.shared.timeout * 2).await? {
            redis::Value::Int(_) => Ok(Created::New),
            other => Ok(Created::Existing(ExecutionId(reply::text(other)?))),
        }
    }

    async fn claim(&self, session: &Session, max: usize) -> Result<Vec<Claimed>, StoreError> {
        let (token, max) = (token(session), max.clamp(1, CLAIM_PAGE));
        self.put_off().await?;
        let (mut all, mut taken, mut bytes) = (Vec::new(), 0, 0);
        loop {
            let mut answer = self.call_of(&token, &script::CLAIM, |cmd| _ = cmd.arg(&token).arg(max - taken)).await?;
            let more = answer.number::<i64>()? == 1;
            let rows = answer.list()?.lists()?;
            taken += rows.len();
            for row in rows {
                all.extend(self.claimed(row, session)?);
            }
            bytes += answer.number::<usize>()?;
            if !more || taken >= max || bytes > CLAIM_BYTES {
                break;
            }
        }
        // What cannot go back now goes back before the next claim; the others are there.
        if let Err(error) = self.put_off().await {
            warn!(%error, "what this version cannot read is given back a little later");
        }
        Ok(all)
    }

    async fn claim_one(&self, session: &Session, id: &ExecutionId) -> Result<Option<Claimed>, StoreError> {
        let token = token(session);
        let mut answer = self.call_of(&token, &script::CLAIM_ONE, |cmd| _ = cmd.arg(&token).arg(&id.0)).await?;
        if answer.is_empty() {
            return Ok(None);
        }
        let claimed = self.claimed(answer.list()?, session)?;
        self.put_off().await?;
        Ok(claimed)
    }

    async fn write(&self, write: Write) -> Result<(), WriteError> {
        let session = token(&write.lease.session);
        let began = self.shared.guard.known_to(&session)?;
        let arguments = writer::write(&write, &session)?;
        // Waiting in the queue and the call behind another one.
        match self.writer.send(Some(began.life), arguments, self.shared.timeout * 2).await? {
            redis::Value::Int(1) => Ok(()),
            _ => Err(WriteError::Fenced),
        }
    }

    async fn inbox(&self, lease: &Lease, after: u64) -> Result<Vec<(u64, Message)>, StoreError> {
        let args = |cmd: &mut Cmd| _ = cmd.arg(&lease.execution.0).arg(owner(lease)).arg(after);
        self.call_of(&token(&lease.session), &script::INBOX, args).await?.inbox()
    }

    async fn post(&self, id: &ExecutionId, message: &Message) -> Result<bool, StoreError> {
        let text = json(message)?;
        let args = |cmd: &mut Cmd| _ = cmd.arg(&id.0).arg(if moves_ended(message) { "!" } else { " " }).arg(text).arg(INBOX_MAX);
        match self.call(&script::POST, args).await?.number::<i64>()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(StoreError::Refused(format!("the inbox of {id} holds {INBOX_MAX} messages that nobody took"))),
        }
    }

    async fn admit(&self, lease: &Lease, pipeline_config_id: &str, limit: u32) -> Result<Admission, StoreError> {
        let args = |cmd: &mut Cmd| _ = cmd.arg(&lease.execution.0).arg(owner(lease)).arg(pipeline_config_id).arg(limit);
        match self.call_of(&token(&lease.session), &script::ADMIT, args).await?.number::<i64>()? {
            1 => Ok(Admission::Go),
            0 => Ok(Admission::Wait),
            _ => Err(StoreError::Refused("another session owns this execution now".to_owned())),
        }
    }

    async fn start_waiting(&self, pipeline_config_id: &str, limit: u32, keep: bool) -> Result<(), StoreError> {
        let (admitted, called_off) = (json(&Message::Admitted)?, json(&overtaken())?);
        let args = |cmd: &mut Cmd| _ = cmd.arg(pipeline_config_id).arg(limit).arg(u8::from(keep)).arg(&admitted).arg(&called_off);
        while self.call(&script::START_WAITING, args).await?.number::<i64>()? == 1 {}
        Ok(())
    }

    async fn owned(&self, session: &Session, after: Option<&ExecutionId>, limit: usize) -> Result<Vec<ExecutionId>, StoreError> {
        let token = token(session);
        let from = after.map_or("-".to_owned(), |after| format!("({after}"));
        let args = |cmd: &mut Cmd| {
            cmd.arg("ZRANGEBYLEX").arg(format!("bellrock:owned:{token}")).arg(from).arg("+");
            cmd.arg("LIMIT").arg(0).arg(limit.clamp(1, LIST_PAGE));
        };
        // Counted like a change: it is told of a loss, and closes the way for claims over connections before this one.
        let owned = self.call_of(&token, &script::PLAIN, args).await?.list()?.texts()?;
        Ok(owned.into_iter().map(ExecutionId).collect())
    }

    async fn wait(&self, session: &Session, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.shared.wait(&token(session))).await;
    }

    async fn with_messages(&self, session: &Session) -> Result<Vec<ExecutionId>, StoreError> {
        let key = format!("bellrock:mail:{}", token(session));
        let mut answer = self.call(&script::READ, |cmd| _ = cmd.arg("SRANDMEMBER").arg(key).arg(LIST_PAGE)).await?;
        Ok(answer.list()?.texts()?.into_iter().map(ExecutionId).collect())
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let args = |cmd: &mut Cmd| _ = cmd.arg("ZRANGE").arg("bellrock:due").arg(0).arg(0).arg("WITHSCORES");
        let found = self.call(&script::READ, args).await?.list()?.texts()?;
        Ok(found.get(1).and_then(|text| reply::score(text)))
    }

    async fn load(&self, id: &ExecutionId) -> Result<Option<Record>, StoreError> {
        reply::record(self.call(&script::LOAD, |cmd| _ = cmd.arg(&id.0)).await?)
    }

    async fn show(&self, id: &ExecutionId) -> Result<Option<Record>, StoreError> {
        reply::record(self.shared.read(&script::LOAD, |cmd| _ = cmd.arg(&id.0)).await?)
    }

    async fn list(&self, query: &Query) -> Result<Vec<Listing>, StoreError> {
        let limit = query.limit.clamp(1, LIST_PAGE);
        if let Some(kind) = query.kind {
            return self.list_kind(kind, query, limit).await;
        }
        let mut found = self.list_kind(ExecutionType::Pipeline, query, limit).await?;
        found.extend(self.list_kind(ExecutionType::Orchestration, query, limit).await?);
        found.sort_by(|a, b| b.id.cmp(&a.id));
        found.truncate(limit);
        Ok(found)
    }

    async fn active_by_instance(&self) -> Result<Vec<InstanceActivity>, StoreError> {
        let sessions = self.call(&script::ACTIVE, |cmd| _ = cmd.arg("")).await?.list()?.texts()?;
        let mut active = Vec::new();
        for session in sessions {
            let mut answer = self.call(&script::ACTIVE, |cmd| _ = cmd.arg(&session)).await?;
            let (overdue, count) = (answer.number::<i64>()? == 1, answer.number()?);
            let mut executions = Vec::new();
            for row in answer.list()?.lists()? {
                executions.extend(readable(row.listing())?);
            }
            if count > 0 {
                active.push(InstanceActivity { instance: instance_of(&session).to_owned(), overdue, executions, count });
            }
        }
        active.sort_by(|a, b| a.instance.cmp(&b.instance));
        Ok(active)
    }

    async fn remove(&self, id: &ExecutionId) -> Result<bool, StoreError> {
        Ok(self.call(&script::REMOVE, |cmd| _ = cmd.arg(&id.0)).await?.number::<i64>()? == 1)
    }

    async fn expire(&self, retention: Retention) -> Result<usize, StoreError> {
        let (mut went, mut from) = (0, String::new());
        loop {
            let args = |cmd: &mut Cmd| {
                cmd.arg(retention.older_than.0).arg(retention.keep).arg(retention.step - went).arg(&from);
            };
            let mut answer = self.call(&script::EXPIRE, args).await?;
            went += answer.number::<usize>()?;
            from = answer.text()?;
            if from.is_empty() || went >= retention.step {
                return Ok(went);
            }
        }
    }

    async fn save_definition(&self, definition: DefinitionVersion, expected: Option<u64>) -> Result<DefinitionVersion, SaveError> {
        plain_names(&definition)?;
        let (text, named) = (json(&definition)?, named(&definition.application, &definition.name));
        let args = |cmd: &mut Cmd| {
            cmd.arg(&definition.id).arg(expected.map(|n| n.to_string()).unwrap_or_default());
            cmd.arg(named).arg(u8::from(definition.deleted)).arg(text);
        };
        let mut answer = self.call(&script::SAVE_DEFINITION, args).await?;
        match answer.text()?.as_str() {
            "conflict" => Err(SaveError::Conflict(answer.number()?)),
            "taken" => Err(SaveError::NameTaken(answer.text()?)),
            _ => Ok(DefinitionVersion { version: answer.number()?, at: Timestamp(answer.number()?), ..definition }),
        }
    }

    async fn definition(&self, id: &str, version: Option<u64>) -> Result<Option<DefinitionVersion>, StoreError> {
        let at = match version {
            None => -1,
            Some(0) => return Ok(None),
            Some(version) => i64::try_from(version - 1).unwrap_or(i64::MAX),
        };
        Ok(self.versions("id", id, at, at).await?.pop())
    }

    async fn definition_named(&self, application: &str, name: &str) -> Result<Option<DefinitionVersion>, StoreError> {
        Ok(self.versions("name", &named(application, name), -1, -1).await?.pop())
    }

    async fn definitions(
        &self,
        application: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DefinitionVersion>, StoreError> {
        let (from, to) = application.map(|a| (format!("{a}\0"), format!("{a}\u{1}"))).unwrap_or_default();
        let (limit, mut after) = (limit.clamp(1, LIST_PAGE), after.unwrap_or_default().to_owned());
        let mut found = Vec::new();
        // A page is full but for the last one, whatever had to be left out of it.
        while found.len() < limit {
            let asked = limit - found.len();
            let mut answer = self.call(&script::DEFINITIONS, |cmd| _ = cmd.arg(&from).arg(&to).arg(&after).arg(asked)).await?;
            after = answer.text()?;
            for text in answer.list()?.texts()? {
                found.extend(readable(reply::version(&text))?);
            }
            if after.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    async fn definition_history(&self, id: &str, limit: usize) -> Result<Vec<DefinitionVersion>, StoreError> {
        let first = -i64::try_from(limit.clamp(1, LIST_PAGE)).unwrap_or(i64::MAX);
        let mut history = self.versions("id", id, first, -1).await?;
        history.reverse();
        Ok(history)
    }

    async fn take_role(&self, role: &str, session: &Session, lease: Duration) -> Result<bool, StoreError> {
        let args = |cmd: &mut Cmd| _ = cmd.arg(role).arg(token(session)).arg(millis(lease));
        Ok(self.call(&script::TAKE_ROLE, args).await?.number::<i64>()? == 1)
    }

    async fn set_mark(&self, name: &str, text: &str) -> Result<(), StoreError> {
        self.call(&script::PLAIN, |cmd| _ = cmd.arg("HSET").arg("bellrock:marks").arg(name).arg(text)).await.map(drop)
    }

    async fn mark(&self, name: &str) -> Result<Option<String>, StoreError> {
        let mut answer = self.call(&script::READ, |cmd| _ = cmd.arg("HGET").arg("bellrock:marks").arg(name)).await?;
        match answer.value()? {
            redis::Value::Nil | redis::Value::Boolean(false) => Ok(None),
            value => reply::text(value).map(Some),
        }
    }

    async fn outbox(&self, max: usize, lease: Duration) -> Result<Vec<Outgoing>, StoreError> {
        let mut answer = self.call(&script::OUTBOX, |cmd| _ = cmd.arg(max.clamp(1, LIST_PAGE)).arg(millis(lease))).await?;
        let mut notices = Vec::new();
        for row in answer.list()?.lists()? {
            // One that cannot be read comes back too: by then a newer version may run.
            notices.extend(readable(reply::outgoing(row))?);
        }
        Ok(notices)
    }

    async fn outbox_done(&self, id: &str) -> Result<(), StoreError> {
        self.call(&script::OUTBOX_DONE, |cmd| _ = cmd.arg(id)).await.map(drop)
    }

    async fn outbox_again(&self, id: &str, at: Timestamp) -> Result<(), StoreError> {
        self.call(&script::PLAIN, |cmd| _ = cmd.arg("ZADD").arg("bellrock:outbox").arg("XX").arg(at.0).arg(id)).await.map(drop)
    }
}

/// Application and name, as definitions are sorted and found by them.
fn named(application: &str, name: &str) -> String {
    format!("{application}\0{name}")
}

#[cfg(test)]
mod tests;
