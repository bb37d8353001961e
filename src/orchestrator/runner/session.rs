//! What makes one life of an agent process a session: the memory of the one before it on this host, and the store's time.

use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;

use crate::model::Clock;
use crate::model::Moment;
use crate::model::Timestamp;
use crate::orchestrator::store::Session;

/// No time of any store.
const UNSET: i64 = i64::MIN;

/// The store's time, carried from one answer of it to the next by this host's clock that does not jump.
#[derive(Clone)]
pub(super) struct StoreClock {
    local: Arc<dyn Clock>,
    /// The store's time at the origin of the local clock, epoch ms.
    origin: Arc<AtomicI64>,
}

impl StoreClock {
    pub(super) fn new(local: Arc<dyn Clock>) -> Self {
        Self { local, origin: Arc::new(AtomicI64::new(UNSET)) }
    }

    /// The store said `theirs` at `ours`, or a little later.
    pub(super) fn set(&self, ours: Moment, theirs: Timestamp) {
        self.origin.store(theirs.0.saturating_sub(millis(ours)), Ordering::Relaxed);
    }

    /// The store told its time at least once.
    pub(super) fn is_set(&self) -> bool {
        self.origin.load(Ordering::Relaxed) != UNSET
    }

    /// The store's time; this host's before the store told.
    pub(super) fn now(&self) -> Timestamp {
        let local = self.local();
        match self.origin.load(Ordering::Relaxed) {
            UNSET => local.wall,
            origin => Timestamp(origin.saturating_add(millis(local))),
        }
    }

    /// This host's time.
    pub(super) fn local(&self) -> Moment {
        self.local.now()
    }
}

fn millis(at: Moment) -> i64 {
    i64::try_from(at.mono.as_millis()).unwrap_or(i64::MAX)
}

/// Remembers, over a crash, which session this host's process has. One process at a time holds it.
#[derive(Debug)]
pub struct Memory {
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Nothing is remembered: a one-off process whose name is its own.
    Nowhere,
    /// In this file, under this lock.
    Disk { path: PathBuf, _lock: File },
    /// With a simulated host, which outlives its processes.
    Host(Arc<Mutex<Option<Session>>>),
}

impl Memory {
    /// Remembers nothing.
    pub fn none() -> Self {
        Self { place: Place::Nowhere }
    }

    /// The memory in this directory, which is made when it is not there.
    ///
    /// # Errors
    /// The directory cannot be used, or another process holds the memory ([`io::ErrorKind::WouldBlock`]).
    pub fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let lock = File::create(folder.join("engine.lock"))?;
        lock.try_lock()?;
        Ok(Self { place: Place::Disk { path: folder.join("engine-session.json"), _lock: lock } })
    }

    /// The memory of a simulated host. That it has one process at a time is for whoever simulates it to keep.
    pub fn of_host(host: Arc<Mutex<Option<Session>>>) -> Self {
        Self { place: Place::Host(host) }
    }

    /// The session of the last process, unless it was ended. What cannot be understood is no session: its lease ends it.
    pub(super) fn recall(&self) -> io::Result<Option<Session>> {
        let path = match &self.place {
            Place::Nowhere => return Ok(None),
            Place::Host(host) => return Ok(host.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            Place::Disk { path, .. } => path,
        };
        match std::fs::read(path) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a session, or none, in the place of the last one. It is on disk when this returns.
    pub(super) fn remember(&self, session: Option<&Session>) -> io::Result<()> {
        let path = match &self.place {
            Place::Nowhere => return Ok(()),
            Place::Host(host) => {
                *host.lock().unwrap_or_else(PoisonError::into_inner) = session.cloned();
                return Ok(());
            }
            Place::Disk { path, .. } => path,
        };
        let fresh = path.with_extension("new");
        let file = File::create(&fresh)?;
        serde_json::to_writer(&file, &session)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_process_knows_the_session_of_the_one_before_and_only_one_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let session = Session { instance: "i-1".into(), process: "p1".into() };
        let memory = Memory::open(folder.path()).unwrap();
        assert_eq!(memory.recall().unwrap(), None);
        memory.remember(Some(&session)).unwrap();
        assert_eq!(Memory::open(folder.path()).err().map(|e| e.kind()), Some(io::ErrorKind::WouldBlock), "another process holds it");
        drop(memory);
        let memory = Memory::open(folder.path()).unwrap();
        assert_eq!(memory.recall().unwrap(), Some(session));
        memory.remember(None).unwrap();
        assert_eq!(memory.recall().unwrap(), None, "it was ended in order");
    }
}
