//! The file: where it may lie, how it is opened, and what SQLite's errors mean to those who call the store.
//!
//! What must stay true: nobody but its owner may write it; a file of a newer layout, or of another program, is refused before anything is
//! changed; every connection has the same settings.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::CachedStatement;
use rusqlite::Connection;
use rusqlite::ErrorCode;
use rusqlite::OpenFlags;
use rusqlite::Row;
use rusqlite::TransactionBehavior;

use super::super::StoreError;
use super::schema::APPLICATION_ID;
use super::schema::MIGRATIONS;

/// How long a connection waits for a lock that another process holds. Longer than any transaction of ours; shorter than a lease (6 s).
const BUSY: Duration = Duration::from_secs(5);
/// Statements kept compiled for each connection: there are about seventy.
const STATEMENTS: usize = 128;
/// Pages in the log before it is copied into the file: 16 MiB. Fewer copies cost less; more make the log longer to read after a crash.
const CHECKPOINT_PAGES: u32 = 4_000;
/// The log is cut back to this size when it was longer, bytes.
const LOG_BYTES: u32 = 64 << 20;
/// Page cache of a connection, KiB.
const CACHE_KIB: i32 = 16 << 10;

/// Filesystems whose locks do not hold between machines, by `statfs` type (`linux/magic.h`): NFS (EFS too), SMB, CIFS, SMB 2, Ceph, AFS.
const NETWORK: [u64; 6] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x00c3_6400, 0x5346_414f];

/// What went wrong inside the store, before it has a text for people.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite said so.
    Sql(rusqlite::Error),
    /// We did.
    Store(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Store(StoreError::Unreadable(error.to_string()))
    }
}

impl Fault {
    /// What the caller is told, with what to do about it.
    pub(super) fn at(self, path: &Path) -> StoreError {
        let file = path.display();
        let error = match self {
            Self::Store(error) => return error,
            Self::Sql(error) => error,
        };
        let code = match &error {
            rusqlite::Error::SqliteFailure(code, _) => code,
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..) => {
                return StoreError::Unreadable(format!("{file}: {error}; was it written by a newer version?"));
            }
            _ => return StoreError::Refused(error.to_string()),
        };
        match code.code {
            ErrorCode::DiskFull => {
                StoreError::Full(format!("no room for {file}: make room on its disk, or keep less history; nothing was changed"))
            }
            ErrorCode::SystemIoFailure if code.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE => {
                StoreError::Full(format!("no room for the index of {file}'s log: make room on its disk; nothing was changed"))
            }
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => StoreError::Full(format!(
                "{file} cannot be written: is its filesystem mounted read-only, does it belong to this user? ({error})"
            )),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Unreadable(format!(
                "{file} is damaged ({error}): stop Bellrock, keep a copy of it with its -wal and -shm, then put a backup in its place or save what \
                 can be read with `sqlite3 {file} .recover`"
            )),
            ErrorCode::TooBig => StoreError::Refused(format!("a value is larger than the store takes ({error})")),
            ErrorCode::ConstraintViolation => StoreError::Refused(error.to_string()),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                StoreError::Unavailable(format!("another process has kept {file} locked for {} s", BUSY.as_secs()))
            }
            _ => StoreError::Unavailable(format!("{file}: {error}")),
        }
    }
}

/// What can be read of a list ([`super::super::readable`]).
pub(super) fn readable<T>(one: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match one {
        Err(Fault::Store(error)) => Ok(super::super::readable(Err(error))?),
        other => other.map(Some),
    }
}

/// Compiles a statement, or takes the one compiled before.
pub(super) fn prepare<'c>(connection: &'c Connection, sql: &str) -> rusqlite::Result<CachedStatement<'c>> {
    #[cfg(test)]
    super::tests::note(sql);
    connection.prepare_cached(sql)
}

/// A number of ours as SQLite holds it.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of ours in a row.
pub(super) fn uint(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// Which file a path led to: inode and device.
pub(super) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|m| (m.ino(), m.dev()))
}

/// Makes sure that there is a file only its owner can write, in a directory only trusted people can write, on a disk of this machine.
pub(super) fn secure(path: &Path) -> Result<(), StoreError> {
    let refused = |what: String| StoreError::Refused(format!("{}: {what}", path.display()));
    let io = |what: &str, e: io::Error| refused(format!("{what}: {e}"));
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|e| io("its directory cannot be made", e))?;
    let mode = fs::metadata(directory).map_err(|e| io("its directory cannot be looked at", e))?.mode();
    if mode & 0o002 != 0 && mode & 0o1000 == 0 {
        return Err(refused("anybody may write its directory: take that right away (chmod o-w)".to_owned()));
    }
    let kind = rustix::fs::statfs(directory).map_err(|e| io("its filesystem cannot be looked at", e.into()))?.f_type;
    // The field's type differs between platforms; the magic numbers are of 32 bits.
    if NETWORK.contains(&(kind as u64 & 0xffff_ffff)) {
        return Err(refused(
            "it lies on a network filesystem, whose locks cannot be trusted: use a disk of this machine, or Redis".to_owned(),
        ));
    }
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(io("it cannot be made", e)),
    }
    let file = fs::metadata(path).map_err(|e| io("it cannot be looked at", e))?;
    if !file.is_file() {
        return Err(refused("it is not a file".to_owned()));
    }
    if file.mode() & 0o002 != 0 {
        return Err(refused("anybody may write it: take that right away (chmod o-w)".to_owned()));
    }
    Ok(())
}

/// A connection that may write. Brings the layout up to date.
pub(super) fn open_writer(path: &Path) -> Result<Connection, Fault> {
    let mut connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    check_layout(&connection)?;
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        let why = format!("{}: its filesystem cannot hold a write-ahead log (mode {mode}): use a local disk", path.display());
        return Err(StoreError::Refused(why).into());
    }
    settle(&connection)?;
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}; PRAGMA journal_size_limit = {LOG_BYTES}"
    ))?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// A connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Fault> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    settle(&connection)?;
    connection.execute_batch("PRAGMA query_only = ON")?;
    Ok(connection)
}

fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch(&format!("PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{CACHE_KIB}"))
}

/// The layout's number. An empty file has 0.
fn check_layout(connection: &Connection) -> Result<usize, Fault> {
    let number = |pragma: &str| connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0));
    let file = connection.path().map(PathBuf::from).unwrap_or_default();
    // First: whoever makes the file puts tables and marks into it in one step, so that marks read after tables were seen are there if the file is ours.
    let empty: bool = connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?;
    let (ours, layout) = (number("application_id")?, number("user_version")?);
    let unmarked = empty && ours == 0;
    if !unmarked && ours != i64::from(APPLICATION_ID) {
        return Err(StoreError::Unreadable(format!("{} belongs to another program: name another file", file.display())).into());
    }
    match usize::try_from(layout) {
        Ok(layout) if layout <= MIGRATIONS.len() => Ok(layout),
        Ok(_) | Err(_) => Err(StoreError::Unreadable(format!(
            "{} was written by a newer Bellrock (layout {layout}; this one knows up to {}): run that version, or a newer one",
            file.display(),
            MIGRATIONS.len()
        ))
        .into()),
    }
}

/// One transaction: two processes that open an old file at once do not both migrate it, and a crash leaves the old layout.
fn migrate(connection: &mut Connection) -> Result<(), Fault> {
    if check_layout(connection)? == MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let layout = check_layout(&transaction)?;
    for step in &MIGRATIONS[layout..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    transaction.commit()?;
    Ok(())
}
