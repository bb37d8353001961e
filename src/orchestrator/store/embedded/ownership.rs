//! Sessions, and who comes to own what: beat, claim, give back.

use std::time::Duration;

use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::params;
use tracing::warn;

use super::super::Claimed;
use super::super::Lease;
use super::super::Session;
use super::super::StoreError;
use super::file::Fault;
use super::file::int;
use super::file::prepare;
use super::file::uint;
use super::records;
use super::writer::Tx;
use crate::orchestrator::engine::execution::ExecutionId;

/// A claim stops once it has read so many bytes of records, so that five hundred large ones do not fill the memory; the rest stay due.
const CLAIM_BYTES: usize = 64 << 20;
/// An execution whose record or inbox this version cannot read is looked at again after this time: by then a newer version may run.
const UNREADABLE_AGAIN: Duration = Duration::from_secs(60);

/// The number of a session, if its lease has not run out.
fn live(tx: &Tx<'_>, session: &Session) -> Result<Option<i64>, Fault> {
    let mut find = prepare(tx.connection, "SELECT s FROM session WHERE instance = ?1 AND process = ?2 AND until > ?3")?;
    Ok(find.query_row(params![session.instance, session.process, tx.now.0], |row| row.get(0)).optional()?)
}

pub(super) fn beat(tx: &Tx<'_>, session: &Session, lease: Duration) -> Result<bool, Fault> {
    let mut other = prepare(tx.connection, "SELECT 1 FROM session WHERE instance = ?1 AND process <> ?2 AND until > ?3")?;
    if other.exists(params![session.instance, session.process, tx.now.0])? {
        return Ok(false);
    }
    prepare(
        tx.connection,
        "INSERT INTO session (instance, process, until, since, heard) VALUES (?1, ?2, ?3, ?4, ?3) ON CONFLICT (instance, process) DO UPDATE SET
             until = excluded.until, since = iif(until > ?4, since, excluded.since), heard = iif(until > ?4, since + ?5, excluded.heard)",
    )?
    .execute(params![session.instance, session.process, tx.now.plus(lease).0, tx.now.0, int(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX))])?;
    prepare(tx.connection, "DELETE FROM session WHERE until <= ?1 AND NOT EXISTS (SELECT 1 FROM execution WHERE owner = session.s)")?
        .execute([tx.now.0])?;
    Ok(true)
}

pub(super) fn end_session(tx: &Tx<'_>, session: &Session) -> Result<(), Fault> {
    let mut find = prepare(tx.connection, "SELECT s FROM session WHERE instance = ?1 AND process = ?2")?;
    let number: Option<i64> = find.query_row(params![session.instance, session.process], |row| row.get(0)).optional()?;
    if let Some(number) = number {
        prepare(tx.connection, "UPDATE execution SET owner = NULL, orphan = 1, due = ?2 WHERE owner = ?1")?
            .execute(params![number, tx.now.0])?;
        prepare(tx.connection, "DELETE FROM session WHERE s = ?1")?.execute([number])?;
        tx.tell();
    }
    prepare(tx.connection, "DELETE FROM role WHERE instance = ?1 AND process = ?2")?.execute([&session.instance, &session.process])?;
    Ok(())
}

/// An execution that may be claimed.
struct Free {
    n: i64,
    id: ExecutionId,
    epoch: u64,
    adopted: bool,
    mail: bool,
}

fn free(row: &Row<'_>) -> rusqlite::Result<Free> {
    Ok(Free { n: row.get(0)?, id: ExecutionId(row.get(1)?), epoch: uint(row, 2)?, adopted: row.get(3)?, mail: row.get(4)? })
}

pub(super) fn claim(tx: &Tx<'_>, session: &Session, max: usize) -> Result<Vec<Claimed>, Fault> {
    let Some(owner) = live(tx, session)? else { return Ok(Vec::new()) };
    let max = int(max as u64);
    let mut candidates: Vec<Free> = Vec::new();
    let left = |candidates: &Vec<Free>| max - candidates.len() as i64;
    let mut gone = prepare(
        tx.connection,
        "SELECT gone.s FROM session AS gone, session AS heir WHERE gone.until <= ?1 AND heir.s = ?2 AND (gone.until >= heir.since OR heir.heard <= ?1)
         ORDER BY gone.instance, gone.process",
    )?;
    for gone in gone.query_map([tx.now.0, owner], |row| row.get::<_, i64>(0))? {
        let mut owned = prepare(tx.connection, "SELECT n, id, epoch, 1, mail FROM execution WHERE owner = ?1 ORDER BY id LIMIT ?2")?;
        for candidate in owned.query_map([gone?, left(&candidates)], free)? {
            candidates.push(candidate?);
        }
    }
    let mut due = prepare(tx.connection, "SELECT n, id, epoch, orphan, mail FROM execution WHERE due <= ?1 ORDER BY due, id LIMIT ?2")?;
    for candidate in due.query_map(params![tx.now.0, left(&candidates)], free)? {
        candidates.push(candidate?);
    }
    let (mut claimed, mut bytes) = (Vec::with_capacity(candidates.len()), 0);
    for candidate in candidates {
        if let Some(one) = take(tx, session, owner, candidate)? {
            bytes += one.record.fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
            claimed.push(one);
        }
        if bytes > CLAIM_BYTES {
            break;
        }
    }
    Ok(claimed)
}

pub(super) fn claim_one(tx: &Tx<'_>, session: &Session, id: &ExecutionId) -> Result<Option<Claimed>, Fault> {
    let Some(owner) = live(tx, session)? else { return Ok(None) };
    let mut find = prepare(
        tx.connection,
        "SELECT n, id, epoch, orphan OR owner IS NOT NULL, mail FROM execution LEFT JOIN session AS gone ON gone.s = owner JOIN session AS heir ON heir.s = ?3
         WHERE id = ?1 AND ended IS NULL
             AND (owner IS NULL OR owner = ?3 OR gone.until <= ?2 AND (gone.until >= heir.since OR heir.heard <= ?2))",
    )?;
    match find.query_row(params![id.0, tx.now.0, owner], free).optional()? {
        Some(one) => take(tx, session, owner, one),
        None => Ok(None),
    }
}

/// Makes it the session's. `None`: this version cannot read it, and it is put off.
fn take(tx: &Tx<'_>, session: &Session, owner: i64, free: Free) -> Result<Option<Claimed>, Fault> {
    let inbox = if free.mail { records::inbox(tx.connection, free.n, 0) } else { Ok(Vec::new()) };
    let record = records::record(tx.connection, free.n);
    let (inbox, record) = match (inbox, record) {
        (Ok(inbox), Ok(record)) => (inbox, record),
        (Err(Fault::Store(StoreError::Unreadable(why))), _) | (_, Err(Fault::Store(StoreError::Unreadable(why)))) => {
            warn!(execution = %free.id, why, "an execution holds what this version cannot read; it waits for one that can (runbooks/unreadable-execution.md)");
            prepare(tx.connection, "UPDATE execution SET owner = NULL, orphan = ?3, due = ?2 WHERE n = ?1")?.execute(params![
                free.n,
                tx.now.plus(UNREADABLE_AGAIN).0,
                free.adopted
            ])?;
            return Ok(None);
        }
        (Err(fault), _) | (_, Err(fault)) => return Err(fault),
    };
    let epoch = free.epoch + 1;
    prepare(tx.connection, "UPDATE execution SET owner = ?2, epoch = ?3, due = NULL, orphan = 0, last_write = 0 WHERE n = ?1")?
        .execute(params![free.n, owner, int(epoch)])?;
    let lease = Lease { execution: free.id, session: session.clone(), epoch };
    Ok(Some(Claimed { lease, record, inbox, adopted: free.adopted }))
}

/// Gives back, due now, what was claimed for a caller that had gone. Nothing was begun on it, but of an adopted one that is not known any more.
pub(super) fn give_back(tx: &Tx<'_>, leases: &[Lease]) -> Result<(), Fault> {
    for lease in leases {
        prepare(
            tx.connection,
            "UPDATE execution SET owner = NULL, orphan = 1, due = ?3 WHERE id = ?1 AND epoch = ?2 AND owner IS NOT NULL",
        )?
        .execute(params![lease.execution.0, int(lease.epoch), tx.now.0])?;
        tx.tell();
    }
    Ok(())
}
