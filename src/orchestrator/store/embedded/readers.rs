//! Connections that read, beside the one that writes: a read sees one moment of the file and holds nobody up.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use rusqlite::Connection;
use rusqlite::TransactionBehavior;
use tokio::sync::Semaphore;
use tokio::task;

use super::super::StoreError;
use super::file;
use super::file::Fault;
use super::writer::LIMIT;

/// Connections at most. Reads are short; more would only share the same disk.
const MOST: usize = 4;

/// A few connections, opened when they are first needed.
pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    places: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Arc::default(), places: Arc::new(Semaphore::new(MOST)) }
    }

    /// Reads in one transaction, off the runtime.
    pub(super) async fn read<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let gone = |_| StoreError::Unavailable("reading was broken off".to_owned());
        let (path, idle) = (self.path.clone(), Arc::clone(&self.idle));
        let answered = async {
            let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| StoreError::Unavailable("no reader".to_owned()))?;
            let work = move || {
                let _place = place;
                let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let mut connection = kept.map_or_else(|| file::open_reader(&path), Ok)?;
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
                let found = read(&transaction)?;
                transaction.finish()?;
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
                Ok(found)
            };
            task::spawn_blocking(work).await.map_err(gone)?.map_err(|fault: Fault| fault.at(&self.path))
        };
        let late = |_| StoreError::Unavailable(format!("no answer within {} s", LIMIT.as_secs()));
        tokio::time::timeout(LIMIT, answered).await.map_err(late)?
    }
}
