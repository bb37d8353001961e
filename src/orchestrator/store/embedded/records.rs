//! Executions as they are stored: create, fenced write, inbox, removal; and what reads them.

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::params;

use super::super::Created;
use super::super::Lease;
use super::super::Listing;
use super::super::NewExecution;
use super::super::Record;
use super::super::StoreError;
use super::super::Then;
use super::super::Write;
use super::super::WriteError;
use super::super::model::INBOX_MAX;
use super::super::model::INBOX_PAGE;
use super::super::moves_ended;
use super::super::overtaken_write;
use super::file::Fault;
use super::file::int;
use super::file::prepare;
use super::file::uint;
use super::gate;
use super::writer::Tx;
use crate::model::Timestamp;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::ExecutionType;
use crate::orchestrator::engine::status::Status;

/// Bytes of fields in one write or creation: several times the largest context the engine takes (10 MB), so that only a mistake meets it.
const WRITE_BYTES: usize = 64 << 20;
/// The field that holds the ids of the stages. Orca keeps them in a list of its own.
const STAGE_INDEX: &str = "";

/// Columns of a listing, in the order [`listing`] reads them.
pub(super) const LISTING: &str = "id, kind, application, name, config, status, build_time, start_time, end_time";

pub(super) fn listing(row: &Row<'_>) -> Result<Listing, Fault> {
    let (id, kind, status): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(5)?);
    let unknown = |what: &str, word: String| StoreError::Unreadable(format!("execution {id}: {what} {word} is of a newer version"));
    Ok(Listing {
        kind: [ExecutionType::Pipeline, ExecutionType::Orchestration]
            .into_iter()
            .find(|k| k.word() == kind)
            .ok_or_else(|| unknown("the kind", kind))?,
        application: row.get(2)?,
        name: row.get(3)?,
        pipeline_config_id: row.get(4)?,
        status: Status::from_word(&status).ok_or_else(|| unknown("the status", status))?,
        build_time: Timestamp(row.get(6)?),
        start_time: row.get::<_, Option<i64>>(7)?.map(Timestamp),
        end_time: row.get::<_, Option<i64>>(8)?.map(Timestamp),
        id: ExecutionId(id),
    })
}

/// The fields of an execution.
pub(super) fn record(connection: &Connection, n: i64) -> Result<Record, Fault> {
    let mut record = Record::default();
    let mut all = prepare(connection, "SELECT name, value FROM field WHERE n = ?1")?;
    let mut rows = all.query([n])?;
    while let Some(row) = rows.next()? {
        let (name, value): (String, String) = (row.get(0)?, row.get(1)?);
        if name == STAGE_INDEX {
            record.stage_index = serde_json::from_str(&value)?;
        } else {
            record.fields.push((name, value));
        }
    }
    Ok(record)
}

pub(super) fn load(connection: &Connection, id: &ExecutionId) -> Result<Option<Record>, Fault> {
    let mut find = prepare(connection, "SELECT n FROM execution WHERE id = ?1")?;
    let n = find.query_row([&id.0], |row| row.get(0)).optional()?;
    n.map(|n| record(connection, n)).transpose()
}

/// A page of messages with numbers above this one.
pub(super) fn inbox(connection: &Connection, n: i64, after: u64) -> Result<Vec<(u64, Message)>, Fault> {
    let mut page = prepare(connection, "SELECT number, body FROM message WHERE n = ?1 AND number > ?2 ORDER BY number LIMIT ?3")?;
    let mut rows = page.query(params![n, int(after), int(INBOX_PAGE as u64)])?;
    let mut messages = Vec::new();
    while let Some(row) = rows.next()? {
        let body = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        messages.push((uint(row, 0)?, serde_json::from_str(body)?));
    }
    Ok(messages)
}

/// The inbox of an execution that is owned under this lease; empty otherwise.
pub(super) fn inbox_of(connection: &Connection, lease: &Lease, after: u64) -> Result<Vec<(u64, Message)>, Fault> {
    match fence(connection, lease)? {
        Some(row) if row.owned => inbox(connection, row.n, after),
        Some(_) | None => Ok(Vec::new()),
    }
}

/// What the fence needs to know of an execution.
struct Fence {
    n: i64,
    /// The lease holds.
    owned: bool,
    /// The lease was the last, and ended with a write.
    given_back: bool,
    mail: bool,
    last_notice: u64,
    last_write: u64,
}

fn fence(connection: &Connection, lease: &Lease) -> Result<Option<Fence>, Fault> {
    let mut find = prepare(
        connection,
        "SELECT n, epoch = ?2 AND instance IS ?3 AND process IS ?4, epoch = ?2 AND given_back = ?2, mail, last_notice, last_write
         FROM execution LEFT JOIN session ON s = owner WHERE id = ?1",
    )?;
    let of = params![lease.execution.0, int(lease.epoch), lease.session.instance, lease.session.process];
    let read = |row: &Row<'_>| {
        Ok(Fence {
            n: row.get(0)?,
            owned: row.get(1)?,
            given_back: row.get(2)?,
            mail: row.get(3)?,
            last_notice: uint(row, 4)?,
            last_write: uint(row, 5)?,
        })
    };
    Ok(find.query_row(of, read).optional()?)
}

/// The number of an execution that is owned under this lease.
pub(super) fn owned(connection: &Connection, lease: &Lease) -> Result<Option<i64>, Fault> {
    Ok(fence(connection, lease)?.filter(|row| row.owned).map(|row| row.n))
}

fn small_enough<'f>(fields: impl IntoIterator<Item = &'f (String, String)>) -> Result<(), StoreError> {
    let bytes: usize = fields.into_iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > WRITE_BYTES {
        return Err(StoreError::Refused(format!("{bytes} bytes in one write; at most {WRITE_BYTES} go")));
    }
    Ok(())
}

fn set_fields<'f>(tx: &Tx<'_>, n: i64, fields: impl IntoIterator<Item = &'f (String, String)>) -> Result<(), Fault> {
    let mut set = prepare(
        tx.connection,
        "INSERT INTO field (n, name, value) VALUES (?1, ?2, ?3) ON CONFLICT (n, name) DO UPDATE SET value = excluded.value",
    )?;
    for (name, value) in fields {
        set.execute(params![n, name, value])?;
    }
    Ok(())
}

fn set_order(tx: &Tx<'_>, n: i64, order: &[String]) -> Result<(), Fault> {
    set_fields(tx, n, [&(STAGE_INDEX.to_owned(), serde_json::to_string(order)?)])
}

pub(super) fn create(tx: &Tx<'_>, new: &NewExecution) -> Result<Created, Fault> {
    small_enough(&new.record.fields)?;
    let id = &new.listing.id;
    if prepare(tx.connection, "SELECT 1 FROM execution WHERE id = ?1")?.exists([&id.0])? {
        return Ok(Created::Existing(id.clone()));
    }
    if let Some(correlation) = &new.correlation_id {
        let mut find = prepare(tx.connection, "SELECT id FROM execution WHERE correlation = ?1 AND ended IS NULL")?;
        if let Some(same) = find.query_row([correlation], |row| row.get(0)).optional()? {
            return Ok(Created::Existing(ExecutionId(same)));
        }
    }
    let of = &new.listing;
    prepare(
        tx.connection,
        "INSERT INTO execution (id, kind, application, name, config, status, build_time, start_time, end_time, correlation, due)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        of.id.0,
        of.kind.word(),
        of.application,
        of.name,
        of.pipeline_config_id,
        of.status.word(),
        of.build_time.0,
        of.start_time.map(|t| t.0),
        of.end_time.map(|t| t.0),
        new.correlation_id,
        new.due.0,
    ])?;
    let n = tx.connection.last_insert_rowid();
    set_fields(tx, n, &new.record.fields)?;
    set_order(tx, n, &new.record.stage_index)?;
    if let (Some(limit), Some(config)) = (new.limit, &of.pipeline_config_id) {
        gate::enter(tx, n, config, limit)?;
    }
    tx.tell();
    Ok(Created::New)
}

/// A fenced write. The inner result is what the caller is told: nothing was changed when it is an error.
pub(super) fn write(tx: &Tx<'_>, write: &Write) -> Result<Result<(), WriteError>, Fault> {
    small_enough(&write.set)?;
    let Some(row) = fence(tx.connection, &write.lease)? else { return Ok(Err(WriteError::Fenced)) };
    if !row.owned {
        let repeated = write.then != Then::Keep && row.given_back;
        return Ok(if repeated { Ok(()) } else { Err(WriteError::Fenced) });
    }
    if u64::from(write.number) < row.last_write {
        return Ok(Err(overtaken_write().into()));
    }
    let n = row.n;
    if u64::from(write.number) > row.last_write {
        prepare(tx.connection, "UPDATE execution SET last_write = ?2 WHERE n = ?1")?.execute(params![n, write.number])?;
    }
    let mut remove = prepare(tx.connection, "DELETE FROM field WHERE n = ?1 AND name = ?2")?;
    for name in &write.remove {
        remove.execute(params![n, name])?;
    }
    set_fields(tx, n, &write.set)?;
    if let Some(order) = &write.stage_index {
        set_order(tx, n, order)?;
    }
    if let Some(of) = &write.listing {
        prepare(
            tx.connection,
            "UPDATE execution SET kind = ?2, application = ?3, name = ?4, config = ?5, status = ?6, build_time = ?7, start_time = ?8, end_time = ?9
             WHERE n = ?1",
        )?
        .execute(params![
            n,
            of.kind.word(),
            of.application,
            of.name,
            of.pipeline_config_id,
            of.status.word(),
            of.build_time.0,
            of.start_time.map(|t| t.0),
            of.end_time.map(|t| t.0),
        ])?;
    }
    give_notice(tx, &row, write)?;
    let mail = row.mail && (write.taken == 0 || take_messages(tx, n, write.taken)?);
    match &write.then {
        Then::Keep => {}
        Then::Park { due } => {
            let due = if mail { Some(tx.now) } else { *due };
            prepare(tx.connection, "UPDATE execution SET owner = NULL, due = ?2, given_back = epoch WHERE n = ?1")?
                .execute(params![n, due.map(|t| t.0)])?;
            tx.tell();
        }
        Then::Finish => finish(tx, n, mail)?,
    }
    Ok(Ok(()))
}

fn give_notice(tx: &Tx<'_>, row: &Fence, write: &Write) -> Result<(), Fault> {
    let mut highest = row.last_notice;
    if write.notices.iter().all(|notice| notice.number <= highest) {
        return Ok(());
    }
    let mut find = prepare(tx.connection, &format!("SELECT {LISTING} FROM execution WHERE n = ?1"))?;
    let of = serde_json::to_string(&find.query_row([row.n], |row| Ok(listing(row)))??)?;
    for notice in write.notices.iter() {
        if notice.number > highest {
            highest = notice.number;
            let id = format!("{}:{}", write.lease.execution, notice.number);
            prepare(tx.connection, "INSERT OR IGNORE INTO outbox (id, due, tries, listing, notice) VALUES (?1, ?2, 0, ?3, ?4)")?
                .execute(params![id, tx.now.0, of, serde_json::to_string(notice)?])?;
        }
    }
    prepare(tx.connection, "UPDATE execution SET last_notice = ?2 WHERE n = ?1")?.execute(params![row.n, int(highest)])?;
    Ok(())
}

/// Removes messages up to this number; true when there are more.
fn take_messages(tx: &Tx<'_>, n: i64, taken: u64) -> Result<bool, Fault> {
    prepare(tx.connection, "DELETE FROM message WHERE n = ?1 AND number <= ?2")?.execute(params![n, int(taken)])?;
    let more = prepare(tx.connection, "SELECT 1 FROM message WHERE n = ?1")?.exists([n])?;
    if !more {
        prepare(tx.connection, "UPDATE execution SET mail = 0 WHERE n = ?1")?.execute([n])?;
    }
    Ok(more)
}

fn finish(tx: &Tx<'_>, n: i64, mail: bool) -> Result<(), Fault> {
    let mut reopened = false;
    if mail {
        let mut all = prepare(tx.connection, "SELECT number, body FROM message WHERE n = ?1")?;
        let mut rows = all.query([n])?;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            let body = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            // What this version cannot read stays for one that can.
            if serde_json::from_str(body).map_or(true, |message| moves_ended(&message)) {
                reopened = true;
            } else {
                prepare(tx.connection, "DELETE FROM message WHERE n = ?1 AND number = ?2")?.execute([n, number])?;
            }
        }
    }
    let due = reopened.then_some(tx.now.0);
    prepare(
        tx.connection,
        "UPDATE execution SET owner = NULL, due = ?2, mail = ?2 IS NOT NULL, given_back = epoch,
         ended = iif(?2 IS NULL, coalesce(end_time, build_time), NULL) WHERE n = ?1",
    )?
    .execute(params![n, due])?;
    if reopened {
        tx.tell();
    }
    gate::leave(tx, n)
}

/// Puts a message in an inbox. `false`: there is no such execution, or it ended and this message cannot move it.
pub(super) fn post(tx: &Tx<'_>, id: &ExecutionId, message: &Message) -> Result<bool, Fault> {
    let mut find = prepare(tx.connection, "SELECT n, ended IS NOT NULL, last_message FROM execution WHERE id = ?1")?;
    let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?, uint(row, 2)?));
    let Some((n, ended, last)) = find.query_row([&id.0], read).optional()? else { return Ok(false) };
    if ended && !moves_ended(message) {
        return Ok(false);
    }
    let count: i64 = prepare(tx.connection, "SELECT count(*) FROM message WHERE n = ?1")?.query_row([n], |row| row.get(0))?;
    if count >= int(INBOX_MAX as u64) {
        return Err(StoreError::Refused(format!("the inbox of {id} holds {INBOX_MAX} messages that nobody took")).into());
    }
    prepare(tx.connection, "INSERT INTO message (n, number, body) VALUES (?1, ?2, ?3)")?.execute(params![
        n,
        int(last + 1),
        serde_json::to_string(message)?
    ])?;
    prepare(
        tx.connection,
        "UPDATE execution SET last_message = ?2, mail = 1, ended = NULL, due = iif(owner IS NULL, min(coalesce(due, ?3), ?3), NULL) WHERE n = ?1",
    )?
    .execute(params![n, int(last + 1), tx.now.0])?;
    tx.tell();
    Ok(true)
}

/// Removes an ended execution.
pub(super) fn remove(tx: &Tx<'_>, id: &ExecutionId) -> Result<bool, Fault> {
    Ok(prepare(tx.connection, "DELETE FROM execution WHERE id = ?1 AND ended IS NOT NULL")?.execute([&id.0])? > 0)
}
