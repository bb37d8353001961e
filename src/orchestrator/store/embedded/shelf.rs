//! What is kept beside executions: definitions and their versions, roles, marks, the outbox.

use std::time::Duration;

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::Params;
use rusqlite::Row;
use rusqlite::params;

use super::super::DEFINITIONS_MARK;
use super::super::DefinitionVersion;
use super::super::Outgoing;
use super::super::SaveError;
use super::super::Session;
use super::super::StoreError;
use super::super::mark_of;
use super::super::model::LIST_PAGE;
use super::super::plain_names;
use super::file::Fault;
use super::file::int;
use super::file::prepare;
use super::file::readable;
use super::file::uint;
use super::writer::Tx;
use crate::model::Timestamp;

const DEFINITION: &str = "SELECT id, version, application, name, by, at, deleted, document FROM definition";

fn definition_in(row: &Row<'_>) -> Result<DefinitionVersion, Fault> {
    let id: String = row.get(0)?;
    Ok(DefinitionVersion {
        version: uint(row, 1)?,
        application: row.get(2)?,
        name: row.get(3)?,
        by: row.get(4)?,
        at: Timestamp(row.get(5)?),
        deleted: row.get(6)?,
        document: serde_json::from_str(row.get_ref(7)?.as_str().map_err(rusqlite::Error::from)?)
            .map_err(|error| StoreError::Unreadable(format!("pipeline definition {id}: {error}")))?,
        id,
    })
}

fn all(connection: &Connection, which: &str, of: impl Params) -> Result<Vec<DefinitionVersion>, Fault> {
    let mut find = prepare(connection, &format!("{DEFINITION} {which}"))?;
    let mut rows = find.query(of)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(definition_in(row)?);
    }
    Ok(found)
}

pub(super) fn save(tx: &Tx<'_>, mut new: DefinitionVersion, expected: Option<u64>) -> Result<Result<DefinitionVersion, SaveError>, Fault> {
    plain_names(&new)?;
    let mut current = prepare(tx.connection, "SELECT version FROM definition WHERE id = ?1 ORDER BY version DESC LIMIT 1")?;
    let version = current.query_row([&new.id], |row| uint(row, 0)).optional()?.unwrap_or(0);
    if expected.is_some_and(|expected| expected != version) {
        return Ok(Err(SaveError::Conflict(version)));
    }
    if !new.deleted {
        let mut same_name = prepare(
            tx.connection,
            "SELECT id FROM definition WHERE application = ?1 AND name = ?2 AND newest = 1 AND deleted = 0 AND id <> ?3",
        )?;
        let of = params![new.application, new.name, new.id];
        if let Some(other) = same_name.query_row(of, |row| row.get(0)).optional()? {
            return Ok(Err(SaveError::NameTaken(other)));
        }
    }
    new.version = version + 1;
    new.at = tx.now;
    prepare(tx.connection, "UPDATE definition SET newest = 0 WHERE id = ?1 AND version = ?2")?.execute(params![new.id, int(version)])?;
    prepare(
        tx.connection,
        "INSERT INTO definition (id, version, application, name, by, at, deleted, document, newest) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1)",
    )?
    .execute(params![
        new.id,
        int(new.version),
        new.application,
        new.name,
        new.by,
        new.at.0,
        new.deleted,
        serde_json::to_string(&new.document)?
    ])?;
    set_mark(tx, DEFINITIONS_MARK, &mark_of(&new))?;
    Ok(Ok(new))
}

pub(super) fn definition(connection: &Connection, id: &str, version: Option<u64>) -> Result<Option<DefinitionVersion>, Fault> {
    let found = match version {
        Some(version) => all(connection, "WHERE id = ?1 AND version = ?2", params![id, int(version)])?,
        None => all(connection, "WHERE id = ?1 ORDER BY version DESC LIMIT 1", [id])?,
    };
    Ok(found.into_iter().next())
}

pub(super) fn definition_named(connection: &Connection, application: &str, name: &str) -> Result<Option<DefinitionVersion>, Fault> {
    let found = all(connection, "WHERE application = ?1 AND name = ?2 AND newest = 1 AND deleted = 0", [application, name])?;
    Ok(found.into_iter().next())
}

pub(super) fn definitions(
    connection: &Connection,
    application: Option<&str>,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<DefinitionVersion>, Fault> {
    let mut start = (application.unwrap_or_default().to_owned(), String::new(), String::new());
    if let Some(after) = after {
        let Some(last) = definition(connection, after, None)? else { return Ok(Vec::new()) };
        start = start.max((last.application, last.name, last.id));
    }
    let limit = limit.clamp(1, LIST_PAGE);
    let behind = "newest = 1 AND deleted = 0 AND (application, name, id) > (?1, ?2, ?3) ORDER BY application, name, id";
    let mut find = match application {
        Some(_) => prepare(connection, &format!("{DEFINITION} WHERE application = ?4 AND {behind}"))?,
        None => prepare(connection, &format!("{DEFINITION} WHERE {behind}"))?,
    };
    let mut rows = match application {
        Some(of) => find.query(params![start.0, start.1, start.2, of])?,
        None => find.query(params![start.0, start.1, start.2])?,
    };
    let mut found = Vec::new();
    // A page is full but for the last one, whatever had to be left out of it.
    while found.len() < limit
        && let Some(row) = rows.next()?
    {
        found.extend(readable(definition_in(row))?);
    }
    Ok(found)
}

pub(super) fn definition_history(connection: &Connection, id: &str, limit: usize) -> Result<Vec<DefinitionVersion>, Fault> {
    all(connection, "WHERE id = ?1 ORDER BY version DESC LIMIT ?2", params![id, int(limit.clamp(1, LIST_PAGE) as u64)])
}

pub(super) fn take_role(tx: &Tx<'_>, role: &str, session: &Session, lease: Duration) -> Result<bool, Fault> {
    let mut take = prepare(
        tx.connection,
        "INSERT INTO role (name, instance, process, until) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (name) DO UPDATE SET instance = excluded.instance, process = excluded.process, until = excluded.until
         WHERE until <= ?5 OR (instance = excluded.instance AND process = excluded.process)",
    )?;
    Ok(take.execute(params![role, session.instance, session.process, tx.now.plus(lease).0, tx.now.0])? > 0)
}

pub(super) fn set_mark(tx: &Tx<'_>, name: &str, text: &str) -> Result<(), Fault> {
    let mut set =
        prepare(tx.connection, "INSERT INTO mark (name, text) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET text = excluded.text")?;
    set.execute([name, text])?;
    Ok(())
}

pub(super) fn mark(connection: &Connection, name: &str) -> Result<Option<String>, Fault> {
    Ok(prepare(connection, "SELECT text FROM mark WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()?)
}

pub(super) fn outbox(tx: &Tx<'_>, max: usize, lease: Duration) -> Result<Vec<Outgoing>, Fault> {
    let (mut taken, mut ready) = (Vec::new(), Vec::new());
    {
        let mut find = prepare(tx.connection, "SELECT id, listing, notice, tries FROM outbox WHERE due <= ?1 ORDER BY due, id LIMIT ?2")?;
        let mut rows = find.query(params![tx.now.0, int(max.clamp(1, LIST_PAGE) as u64)])?;
        while let Some(row) = rows.next()? {
            taken.push(row.get::<_, String>(0)?);
            ready.extend(readable(outgoing(row))?);
        }
    }
    let mut hand_out = prepare(tx.connection, "UPDATE outbox SET due = ?2, tries = tries + 1 WHERE id = ?1")?;
    // One that cannot be read comes back too: by then a newer version may run.
    for id in &taken {
        hand_out.execute(params![id, tx.now.plus(lease).0])?;
    }
    Ok(ready)
}

fn outgoing(row: &Row<'_>) -> Result<Outgoing, Fault> {
    let id: String = row.get(0)?;
    let unreadable = |error: serde_json::Error| StoreError::Unreadable(format!("notice {id}: {error}"));
    Ok(Outgoing {
        listing: serde_json::from_str(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?).map_err(unreadable)?,
        notice: serde_json::from_str(row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?).map_err(unreadable)?,
        tries: row.get(3)?,
        id,
    })
}

pub(super) fn outbox_done(tx: &Tx<'_>, id: &str) -> Result<(), Fault> {
    prepare(tx.connection, "DELETE FROM outbox WHERE id = ?1")?.execute([id])?;
    Ok(())
}

pub(super) fn outbox_again(tx: &Tx<'_>, id: &str, at: Timestamp) -> Result<(), Fault> {
    prepare(tx.connection, "UPDATE outbox SET due = ?2 WHERE id = ?1")?.execute(params![id, at.0])?;
    Ok(())
}
