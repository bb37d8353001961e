//! The store in a file of this machine: SQLite, shared by the daemon and the command line. The default of a fresh install.
//!
//! ```text
//!   create, claim, write, post … ──▶ one thread ── a group ──▶ one transaction, one fsync ──▶ all of the group are answered
//!   load, list, active …         ──▶ a few connections that only read, off the runtime
//!   wait ◀── news ── after each commit of ours; of other processes' commits SQLite's counter tells, looked at when they ring and once a second
//! ```
//!
//! What must stay true: what was acknowledged is on the disk (`synchronous = FULL`) and outlives kill -9 and a power cut; two processes may use the
//! file at once, and a claim or a write of one is whole for the other; costs do not grow with the past: every question has its index.
//!
//! How it fails: a full disk, a read-only or a damaged file is said with what to do ([`StoreError`]); a file of a newer layout is refused
//! untouched; a file that was removed while in use is noticed at the next write; another process that keeps the file locked costs five seconds, then
//! [`StoreError::Unavailable`]. Without a disk that keeps what it acknowledged to fsync no promise holds.

mod bell;
mod clock;
mod file;
mod gate;
mod lists;
mod ownership;
mod readers;
mod records;
mod schema;
mod shelf;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::ErrorCode;
use tokio::sync::watch;
use tokio::task;

use self::bell::Bell;
use self::clock::StoreClock;
use self::file::Fault;
use self::readers::Readers;
use self::writer::Shared;
use self::writer::Writer;
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
use crate::model::Clock;
use crate::model::Timestamp;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::ExecutionId;

/// Other processes' commits are looked for this often, by those that wait, if they cannot ring: a counter in shared memory, about 10 µs.
const FOREIGN_EVERY: Duration = Duration::from_millis(150);
/// And if they can: an older version does not ring.
const FOREIGN_SILENT: Duration = Duration::from_secs(1);
/// Two processes that make a file at once get in each other's way, which SQLite does not wait out: tried again so often, after so long.
const OPEN_TRIES: u32 = 100;
const OPEN_PAUSE: Duration = Duration::from_millis(50);
/// Executions removed in one transaction: one of a thousand stages is about 20 000 rows.
const REMOVED_AT_ONCE: usize = 20;

/// The store in a file.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    writer: Writer,
    readers: Readers,
    bell: Option<Bell>,
    waits: Mutex<BTreeMap<Session, Seen>>,
}

/// What a session was told by its last wait.
#[derive(Clone, Copy)]
struct Seen {
    news: i64,
    until: Timestamp,
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

/// Ownerships on their way to their claimer. When he is gone before they reach him they go back: nobody else would know of them.
struct Handed {
    claimed: Vec<Claimed>,
    /// The transaction that gave them is on the disk: before that there is nothing to give back, and afterwards the same epoch may be another's.
    committed: bool,
    shared: Arc<Shared>,
}

impl Handed {
    fn commit(&mut self) {
        self.committed = true;
    }

    fn accept(mut self) -> Vec<Claimed> {
        std::mem::take(&mut self.claimed)
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if self.committed && !self.claimed.is_empty() {
            let leases = self.claimed.drain(..).map(|c| c.lease);
            self.shared.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).extend(leases);
        }
    }
}

impl EmbeddedStore {
    /// Opens the file, makes it if there is none (mode 0600), and brings an older layout up to date.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a place that is not safe (others may write it, network filesystem), [`StoreError::Unreadable`] for a file that
    /// is damaged, not ours or of a newer layout, [`StoreError::Full`] and [`StoreError::Unavailable`] as everywhere.
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let mut tries = 1;
        let (connection, identity) = loop {
            let file = path.to_owned();
            let opened = task::spawn_blocking(move || {
                file::secure(&file)?;
                let identity = file::identity(&file).map_err(|e: io::Error| StoreError::Unavailable(e.to_string()))?;
                Ok((file::open_writer(&file)?, identity))
            });
            match opened.await.map_err(|_| StoreError::Unavailable("opening was broken off".to_owned()))? {
                Ok(opened) => break opened,
                Err(Fault::Sql(error)) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && tries < OPEN_TRIES => {
                    tries += 1;
                    tokio::time::sleep(OPEN_PAUSE).await;
                }
                Err(fault) => return Err(fault.at(path)),
            }
        };
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            clock: StoreClock::new(clock),
            news: watch::Sender::new(0),
            unclaimed: Mutex::default(),
        });
        let writer = Writer::start(connection, identity, Arc::clone(&shared))?;
        let store = Self { shared, writer, readers: Readers::new(path.to_owned()), bell: Bell::hang(path), waits: Mutex::default() };
        store.writer.call(|_| Ok(())).await?;
        Ok(store)
    }

    async fn hand(
        &self,
        claim: impl FnOnce(&writer::Tx<'_>) -> Result<Vec<Claimed>, Fault> + Send + 'static,
    ) -> Result<Vec<Claimed>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let work = move |tx: &writer::Tx<'_>| Ok(Handed { claimed: claim(tx)?, committed: false, shared });
        let handed = self.writer.call_then(work, Handed::commit).await;
        handed.map(Handed::accept)
    }

    async fn until_news(&self, session: &Session) {
        let mut news = self.shared.news.subscribe();
        loop {
            let number = *news.borrow_and_update();
            let nothing = Seen { news: 0, until: Timestamp(i64::MIN) };
            let seen = self.waits().get(session).copied().unwrap_or(nothing);
            let of = session.clone();
            let next = self.readers.read(move |c| lists::next_event(c, &of, seen.until)).await;
            let now = self.shared.clock.now();
            self.waits().insert(session.clone(), Seen { news: number, until: now });
            // A store that cannot be read is asked again at the caller's pace.
            let Ok(next) = next else { return std::future::pending().await };
            if seen.news != number || next.is_some_and(|at| at <= now) {
                return;
            }
            let timer = async {
                match next {
                    Some(at) => tokio::time::sleep(at.since(now)).await,
                    None => std::future::pending().await,
                }
            };
            let others = async {
                loop {
                    match &self.bell {
                        Some(bell) => drop(tokio::time::timeout(FOREIGN_SILENT, bell.heard()).await),
                        None => tokio::time::sleep(FOREIGN_EVERY).await,
                    }
                    self.writer.look();
                }
            };
            tokio::select! {
                _ = news.changed() => {}
                () = timer => {}
                () = others => {}
            }
        }
    }

    fn waits(&self) -> std::sync::MutexGuard<'_, BTreeMap<Session, Seen>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.shared.clock.now())
    }

    async fn beat(&self, session: &Session, lease: Duration) -> Result<bool, StoreError> {
        let session = session.clone();
        self.writer.call(move |tx| ownership::beat(tx, &session, lease)).await
    }

    async fn end_session(&self, session: &Session) -> Result<(), StoreError> {
        self.waits().remove(session);
        let session = session.clone();
        self.writer.call(move |tx| ownership::end_session(tx, &session)).await
    }

    async fn create(&self, new: NewExecution) -> Result<Created, StoreError> {
        self.writer.call(move |tx| records::create(tx, &new)).await
    }

    async fn claim(&self, session: &Session, max: usize) -> Result<Vec<Claimed>, StoreError> {
        let session = session.clone();
        self.hand(move |tx| ownership::claim(tx, &session, max.clamp(1, CLAIM_PAGE))).await
    }

    async fn claim_one(&self, session: &Session, id: &ExecutionId) -> Result<Option<Claimed>, StoreError> {
        let (session, id) = (session.clone(), id.clone());
        let claimed = self.hand(move |tx| Ok(ownership::claim_one(tx, &session, &id)?.into_iter().collect())).await?;
        Ok(claimed.into_iter().next())
    }

    async fn write(&self, write: Write) -> Result<(), WriteError> {
        self.writer.call(move |tx| records::write(tx, &write)).await?
    }

    async fn inbox(&self, lease: &Lease, after: u64) -> Result<Vec<(u64, Message)>, StoreError> {
        let lease = lease.clone();
        self.readers.read(move |c| records::inbox_of(c, &lease, after)).await
    }

    async fn post(&self, id: &ExecutionId, message: &Message) -> Result<bool, StoreError> {
        let (id, message) = (id.clone(), message.clone());
        self.writer.call(move |tx| records::post(tx, &id, &message)).await
    }

    async fn admit(&self, lease: &Lease, pipeline_config_id: &str, limit: u32) -> Result<Admission, StoreError> {
        let (lease, config) = (lease.clone(), pipeline_config_id.to_owned());
        self.writer.call(move |tx| gate::admit(tx, &lease, &config, limit)).await
    }

    async fn start_waiting(&self, pipeline_config_id: &str, limit: u32, keep: bool) -> Result<(), StoreError> {
        let config = pipeline_config_id.to_owned();
        self.writer.call(move |tx| gate::start_waiting(tx, &config, limit, keep)).await
    }

    async fn owned(&self, session: &Session, after: Option<&ExecutionId>, limit: usize) -> Result<Vec<ExecutionId>, StoreError> {
        let (session, after) = (session.clone(), after.cloned());
        self.writer.call(move |tx| lists::owned(tx, &session, after.as_ref(), limit)).await
    }

    async fn wait(&self, session: &Session, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.until_news(session)).await;
    }

    async fn with_messages(&self, session: &Session) -> Result<Vec<ExecutionId>, StoreError> {
        let session = session.clone();
        self.readers.read(move |c| lists::with_messages(c, &session)).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.readers.read(lists::next_due).await
    }

    async fn load(&self, id: &ExecutionId) -> Result<Option<Record>, StoreError> {
        let id = id.clone();
        self.readers.read(move |c| records::load(c, &id)).await
    }

    async fn list(&self, query: &Query) -> Result<Vec<Listing>, StoreError> {
        let query = query.clone();
        self.readers.read(move |c| lists::list(c, &query)).await
    }

    async fn active_by_instance(&self) -> Result<Vec<InstanceActivity>, StoreError> {
        let now = self.shared.clock.now();
        self.readers.read(move |c| lists::active_by_instance(c, now)).await
    }

    async fn remove(&self, id: &ExecutionId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.writer.call(move |tx| records::remove(tx, &id)).await
    }

    async fn expire(&self, retention: Retention) -> Result<usize, StoreError> {
        let old = self.readers.read(move |c| lists::old(c, retention)).await?;
        let mut gone = 0;
        for some in old.chunks(REMOVED_AT_ONCE) {
            let some = some.to_vec();
            gone += self
                .writer
                .call(move |tx| {
                    let mut gone = 0;
                    for id in &some {
                        gone += usize::from(records::remove(tx, id)?);
                    }
                    lists::vacuum(tx)?;
                    Ok(gone)
                })
                .await?;
        }
        Ok(gone)
    }

    async fn save_definition(&self, definition: DefinitionVersion, expected: Option<u64>) -> Result<DefinitionVersion, SaveError> {
        self.writer.call(move |tx| shelf::save(tx, definition, expected)).await?
    }

    async fn definition(&self, id: &str, version: Option<u64>) -> Result<Option<DefinitionVersion>, StoreError> {
        let id = id.to_owned();
        self.readers.read(move |c| shelf::definition(c, &id, version)).await
    }

    async fn definition_named(&self, application: &str, name: &str) -> Result<Option<DefinitionVersion>, StoreError> {
        let (application, name) = (application.to_owned(), name.to_owned());
        self.readers.read(move |c| shelf::definition_named(c, &application, &name)).await
    }

    async fn definitions(
        &self,
        application: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DefinitionVersion>, StoreError> {
        let (application, after) = (application.map(str::to_owned), after.map(str::to_owned));
        self.readers.read(move |c| shelf::definitions(c, application.as_deref(), after.as_deref(), limit)).await
    }

    async fn definition_history(&self, id: &str, limit: usize) -> Result<Vec<DefinitionVersion>, StoreError> {
        let id = id.to_owned();
        self.readers.read(move |c| shelf::definition_history(c, &id, limit)).await
    }

    async fn take_role(&self, role: &str, session: &Session, lease: Duration) -> Result<bool, StoreError> {
        let (role, session) = (role.to_owned(), session.clone());
        self.writer.call(move |tx| shelf::take_role(tx, &role, &session, lease)).await
    }

    async fn set_mark(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let (name, text) = (name.to_owned(), text.to_owned());
        self.writer.call(move |tx| shelf::set_mark(tx, &name, &text)).await
    }

    async fn mark(&self, name: &str) -> Result<Option<String>, StoreError> {
        let name = name.to_owned();
        self.readers.read(move |c| shelf::mark(c, &name)).await
    }

    async fn outbox(&self, max: usize, lease: Duration) -> Result<Vec<Outgoing>, StoreError> {
        self.writer.call(move |tx| shelf::outbox(tx, max, lease)).await
    }

    async fn outbox_done(&self, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.writer.call(move |tx| shelf::outbox_done(tx, &id)).await
    }

    async fn outbox_again(&self, id: &str, at: Timestamp) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.writer.call(move |tx| shelf::outbox_again(tx, &id, at)).await
    }
}
