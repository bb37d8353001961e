//! A folder in the state directory through which the agent and a process that outlives it know of each other.
//!
//! What must stay true: only this user can look into it, since what is run may carry secrets; a file of it is there whole or not at all, also after a
//! crash; a folder whose lock is held has a living owner. The lock is an open file, taken before the process starts and handed to it as its
//! standard input, so there is no moment between; the kernel lets go of it when that process ends, however it ends.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::Timestamp;

/// Held by the process the folder belongs to, as long as it lives.
const LOCK: &str = "lock";

/// Makes a folder that only this user can look into.
pub fn make(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Writes a file so that after a crash it is there whole or not at all.
pub fn write(folder: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(value).map_err(io::Error::other)?;
    let draft = folder.join(draft(name));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&draft, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// Reads it; `None` when it is not there.
pub fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> io::Result<Option<T>> {
    match fs::read(folder.join(name)) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::other),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Removes it, if it is there.
pub fn remove(folder: &Path, name: &str) -> io::Result<()> {
    match fs::remove_file(folder.join(name)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// When it was written last; `None` when it is not there.
pub fn modified(folder: &Path, name: &str) -> io::Result<Option<Timestamp>> {
    match fs::metadata(folder.join(name)).and_then(|meta| meta.modified()) {
        Ok(at) => {
            let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Ok(Some(Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// What a file is called while it is written.
pub fn draft(name: &str) -> String {
    format!("{name}.new")
}

/// Takes the lock, to be handed to the process that is about to start. Fails where one lives.
pub fn lock(folder: &Path) -> io::Result<File> {
    let lock = File::create(folder.join(LOCK))?;
    lock.try_lock()?;
    Ok(lock)
}

/// Whether somebody holds the lock; `None` when nobody ever did.
pub fn is_locked(folder: &Path) -> io::Result<Option<bool>> {
    match File::open(folder.join(LOCK)) {
        Ok(lock) => Ok(Some(lock.try_lock_shared().is_err())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
