//! The one thread that writes, and the group commit: what is asked for while a commit is under way shares the next one.
//!
//! What must stay true: nobody is answered before the transaction that holds his change is on the disk; a piece of work that fails is undone alone,
//! and the others of its group are not harmed; a transaction that changed nothing is not committed, so an idle store writes nothing.
//! When SQLite had to give up the whole transaction, all of its group get the same error, and nothing of theirs was changed.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::params;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tracing::warn;

use super::super::Lease;
use super::super::StoreError;
use super::bell;
use super::clock::StoreClock;
use super::file;
use super::file::Fault;
use super::file::prepare;
use super::ownership;
use crate::model::Timestamp;

/// Pieces of work waiting for the writer. Each belongs to a caller that waits for its answer; more callers wait for a place.
const QUEUE: usize = 1_024;
/// Pieces of work in one transaction: the last of them waits about 20 ms for the first.
const GROUP: usize = 512;
/// Limit of one call, the wait for a place in the queue and for locks of other processes included.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// A transaction under way, as work sees it.
pub(super) struct Tx<'c> {
    /// The connection.
    pub(super) connection: &'c Connection,
    /// The store's clock; the same for the whole transaction.
    pub(super) now: Timestamp,
    news: Cell<bool>,
}

impl Tx<'_> {
    /// Something came due, or a message came: those that wait are woken, in this process and in others.
    pub(super) fn tell(&self) {
        self.news.set(true);
    }
}

/// A piece of work and its caller.
trait Job: Send {
    fn run(&mut self, tx: &Tx<'_>) -> Result<(), Fault>;
    /// `failed`: why nothing of it was kept.
    fn answer(self: Box<Self>, failed: Option<StoreError>);
}

struct Call<F, T> {
    work: Option<F>,
    done: Option<T>,
    /// Told to what was done once it is on the disk.
    committed: fn(&mut T),
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Job for Call<F, T>
where
    F: FnOnce(&Tx<'_>) -> Result<T, Fault> + Send,
    T: Send,
{
    fn run(&mut self, tx: &Tx<'_>) -> Result<(), Fault> {
        if let Some(work) = self.work.take() {
            self.done = Some(work(tx)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, failed: Option<StoreError>) {
        let answer = match (failed, self.done) {
            (Some(error), _) => Err(error),
            (None, Some(mut done)) => {
                (self.committed)(&mut done);
                Ok(done)
            }
            (None, None) => Err(StoreError::Unavailable("the work was not begun".to_owned())),
        };
        // A caller that no longer listens has lost its answer, as over any wire.
        drop(self.reply.send(answer));
    }
}

enum Order {
    Work(Box<dyn Job>),
    /// See whether another process changed something.
    Look,
}

/// What the writer and its callers share.
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) clock: StoreClock,
    /// The number of news, as the file counts them.
    pub(super) news: watch::Sender<i64>,
    /// Ownerships whose claimer went away before it got them; the next transaction gives them back.
    pub(super) unclaimed: Mutex<Vec<Lease>>,
}

/// The way to the thread that writes. It ends when the last of these is gone.
#[derive(Clone)]
pub(super) struct Writer {
    orders: mpsc::Sender<Order>,
}

impl Writer {
    /// Starts the thread. `inode`: which file the connection has open.
    pub(super) fn start(connection: Connection, identity: (u64, u64), shared: Arc<Shared>) -> Result<Self, StoreError> {
        let (orders, queue) = mpsc::channel(QUEUE);
        let thread = Thread { connection, identity, shared, data_version: 0 };
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                // Without it nothing is kept any more: a defect here ends the process, and the service manager begins another.
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| thread.run(queue))).is_err() {
                    std::process::abort();
                }
            })
            .map_err(|e| StoreError::Unavailable(format!("the thread that writes could not be started: {e}")))?;
        Ok(Self { orders })
    }

    /// Has work done in a transaction, and waits until it is on the disk.
    pub(super) async fn call<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, Fault> + Send + 'static,
    {
        self.call_then(work, |_| {}).await
    }

    /// The same, and tells what was done as soon as it is there.
    pub(super) async fn call_then<T, F>(&self, work: F, committed: fn(&mut T)) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, Fault> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let gone = || StoreError::Unavailable("the thread that writes has ended".to_owned());
        let answered = async {
            let job = Box::new(Call { work: Some(work), done: None, committed, reply });
            self.orders.send(Order::Work(job)).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        let late = |_| StoreError::Unavailable(format!("no answer within {} s", LIMIT.as_secs()));
        tokio::time::timeout(LIMIT, answered).await.map_err(late)?
    }

    /// Has the thread see whether another process changed something. A full queue means that it is about to, anyway.
    pub(super) fn look(&self) {
        drop(self.orders.try_send(Order::Look));
    }
}

struct Thread {
    connection: Connection,
    identity: (u64, u64),
    shared: Arc<Shared>,
    /// SQLite's count of other connections' commits, as it was last seen.
    data_version: i64,
}

impl Thread {
    fn run(mut self, mut queue: mpsc::Receiver<Order>) {
        while let Some(order) = queue.blocking_recv() {
            match order {
                Order::Look => self.look(),
                Order::Work(job) => {
                    let mut group = vec![job];
                    let outcome = self.transaction(&mut group, &mut queue);
                    let (failed, kept) = match outcome {
                        Ok(failed) => (failed, None),
                        Err(fault) => (Vec::new(), Some(fault.at(&self.shared.path))),
                    };
                    let mut failed = failed.into_iter().peekable();
                    for (at, job) in group.into_iter().enumerate() {
                        let own = failed.next_if(|(which, _)| *which == at).map(|(_, error)| error);
                        job.answer(own.or_else(|| kept.clone()));
                    }
                }
            }
        }
    }

    /// Runs a group in one transaction. Gives back which of it failed by itself; an error means that nothing of the group was kept.
    fn transaction(&mut self, group: &mut Vec<Box<dyn Job>>, queue: &mut mpsc::Receiver<Order>) -> Result<Vec<(usize, StoreError)>, Fault> {
        self.still_there()?;
        let connection = &self.connection;
        prepare(connection, "BEGIN IMMEDIATE")?.execute([])?;
        let undo = Undo(connection);
        let changes = connection.total_changes();
        let (time, mut news) = meta(connection)?;
        let tx = Tx { connection, now: self.shared.clock.not_before(time), news: Cell::new(false) };
        let unclaimed = self.shared.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ownership::give_back(&tx, &unclaimed)?;
        let mut failed = Vec::new();
        let mut next = 0;
        while next < group.len() {
            prepare(connection, "SAVEPOINT work")?.execute([])?;
            if let Err(fault) = group[next].run(&tx) {
                if connection.is_autocommit() {
                    return Err(fault);
                }
                prepare(connection, "ROLLBACK TO work")?.execute([])?;
                failed.push((next, fault.at(&self.shared.path)));
            }
            prepare(connection, "RELEASE work")?.execute([])?;
            next += 1;
            while group.len() < GROUP
                && let Ok(order) = queue.try_recv()
            {
                match order {
                    Order::Work(job) => group.push(job),
                    Order::Look => {}
                }
            }
        }
        if connection.total_changes() != changes {
            news += i64::from(tx.news.get());
            prepare(connection, "UPDATE meta SET time = ?1, news = ?2")?.execute(params![tx.now.0, news])?;
            prepare(connection, "COMMIT")?.execute([])?;
            if tx.news.get() {
                bell::ring(&self.shared.path);
            }
        }
        drop(undo);
        self.shared.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).drain(..unclaimed.len());
        self.publish(news);
        Ok(failed)
    }

    fn look(&mut self) {
        let looked = self.connection.query_row("PRAGMA data_version", [], |row| row.get(0)).and_then(|version| {
            if version == self.data_version {
                return Ok(None);
            }
            self.data_version = version;
            meta(&self.connection).map(Some)
        });
        match looked {
            Ok(None) => {}
            Ok(Some((time, news))) => {
                self.shared.clock.not_before(time);
                self.publish(news);
            }
            Err(error) => warn!(%error, file = %self.shared.path.display(), "cannot see whether another process changed the store"),
        }
    }

    fn publish(&self, news: i64) {
        self.shared.news.send_if_modified(|n| std::mem::replace(n, news) != news);
    }

    /// A file that was removed or replaced is still open here: what is written to it would be gone with this process.
    fn still_there(&self) -> Result<(), StoreError> {
        if file::identity(&self.shared.path).ok() == Some(self.identity) {
            return Ok(());
        }
        Err(StoreError::LostData(format!("{} was removed or replaced while it was in use: restart Bellrock", self.shared.path.display())))
    }
}

/// Ends a transaction that was not committed.
struct Undo<'c>(&'c Connection);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit()
            && let Err(error) = self.0.execute_batch("ROLLBACK")
        {
            warn!(%error, "a transaction could not be rolled back");
        }
    }
}

fn meta(connection: &Connection) -> rusqlite::Result<(Timestamp, i64)> {
    prepare(connection, "SELECT time, news FROM meta")?.query_row([], |row| Ok((Timestamp(row.get(0)?), row.get(1)?)))
}
