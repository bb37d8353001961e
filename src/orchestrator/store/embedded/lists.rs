//! What is read of many executions: lists, activity, what is due, what is old. Each answer comes from an index; `tests.rs` looks at SQLite's plans.

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::Params;
use rusqlite::ToSql;
use rusqlite::params;

use super::super::InstanceActivity;
use super::super::Listing;
use super::super::Query;
use super::super::Retention;
use super::super::Session;
use super::super::model::LIST_PAGE;
use super::file::Fault;
use super::file::int;
use super::file::prepare;
use super::file::readable;
use super::file::uint;
use super::records::LISTING;
use super::records::listing;
use super::writer::Tx;
use crate::model::Timestamp;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::ExecutionType;
use crate::orchestrator::engine::status::Status;

/// Pages given back to the filesystem with each step of removal: 1 MiB. Pages that are left are used again by what comes.
const VACUUM_PAGES: u32 = 256;
/// Sorts behind every id.
const LAST: &str = "\u{10ffff}";

/// Rows of one question, those left out that cannot be read.
struct Page {
    found: Vec<Listing>,
    rows: usize,
    /// The id of the last row.
    last: Option<ExecutionId>,
}

fn page(connection: &Connection, sql: &str, of: impl Params) -> Result<Page, Fault> {
    let mut find = prepare(connection, sql)?;
    let mut rows = find.query(of)?;
    let mut page = Page { found: Vec::new(), rows: 0, last: None };
    while let Some(row) = rows.next()? {
        page.rows += 1;
        page.last = Some(ExecutionId(row.get(0)?));
        page.found.extend(readable(listing(row))?);
    }
    Ok(page)
}

/// Newest first. A page is full but for the last one, whatever had to be left out of it.
pub(super) fn list(connection: &Connection, query: &Query) -> Result<Vec<Listing>, Fault> {
    let limit = query.limit.clamp(1, LIST_PAGE);
    let (mut found, mut before) = (Vec::new(), query.before.clone());
    loop {
        let asked = limit - found.len();
        let page = list_before(connection, query, before.as_ref(), asked)?;
        found.extend(page.found);
        if page.rows < asked || found.len() == limit {
            return Ok(found);
        }
        before = page.last;
    }
}

/// Each kind and status is a range of an index in the order of ids; SQLite merges the ranges and stops at the limit.
fn list_before(connection: &Connection, query: &Query, before: Option<&ExecutionId>, limit: usize) -> Result<Page, Fault> {
    let before = before.map_or(LAST, ExecutionId::as_str);
    let limit = int(limit as u64);
    let mut of: Vec<&dyn ToSql> = vec![&before, &limit];
    let mut scope = String::new();
    for (column, value) in [("config", &query.pipeline_config_id), ("application", &query.application)] {
        if let Some(value) = value {
            of.push(value);
            // Of two scopes the definition is the narrower one; the plus keeps SQLite from taking the other's index.
            let plus = if of.len() > 3 { "+" } else { "" };
            scope.push_str(&format!(" AND {plus}{column} = ?{}", of.len()));
        }
    }
    if scope.is_empty() && query.kind.is_none() && query.statuses.is_empty() {
        return page(connection, &format!("SELECT {LISTING} FROM execution WHERE id < ?1 ORDER BY id DESC LIMIT ?2"), of.as_slice());
    }
    let kinds = query.kind.map_or(vec![ExecutionType::Pipeline, ExecutionType::Orchestration], |kind| vec![kind]);
    let mut statuses = if query.statuses.is_empty() { Status::ALL.to_vec() } else { query.statuses.clone() };
    statuses.sort_unstable();
    statuses.dedup();
    let ranges: Vec<String> = kinds
        .iter()
        .flat_map(|kind| statuses.iter().map(move |status| (kind.word(), status.word())))
        .map(|(kind, status)| format!("SELECT {LISTING} FROM execution WHERE kind = '{kind}' AND status = '{status}'{scope} AND id < ?1"))
        .collect();
    page(connection, &format!("{} ORDER BY id DESC LIMIT ?2", ranges.join(" UNION ALL ")), of.as_slice())
}

pub(super) fn active_by_instance(connection: &Connection, now: Timestamp) -> Result<Vec<InstanceActivity>, Fault> {
    let mut owners = prepare(
        connection,
        "SELECT s, instance, until <= ?1, (SELECT count(*) FROM execution WHERE owner = s) FROM session ORDER BY instance, process",
    )?;
    let mut rows = owners.query([now.0])?;
    let mut active = Vec::new();
    while let Some(row) = rows.next()? {
        let (owner, count): (i64, u64) = (row.get(0)?, uint(row, 3)?);
        if count > 0 {
            let sql = format!("SELECT {LISTING} FROM execution WHERE owner = ?1 ORDER BY id LIMIT ?2");
            let executions = page(connection, &sql, params![owner, int(LIST_PAGE as u64)])?.found;
            active.push(InstanceActivity { instance: row.get(1)?, overdue: row.get(2)?, executions, count });
        }
    }
    Ok(active)
}

pub(super) fn with_messages(connection: &Connection, session: &Session) -> Result<Vec<ExecutionId>, Fault> {
    let mut find = prepare(
        connection,
        "SELECT id FROM session JOIN execution ON owner = s WHERE instance = ?1 AND process = ?2 AND mail = 1 ORDER BY id LIMIT ?3",
    )?;
    let found = find.query_map(params![session.instance, session.process, int(LIST_PAGE as u64)], |row| row.get(0).map(ExecutionId))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Behind every claim that was asked for before, since it waits its turn with the writer.
pub(super) fn owned(tx: &Tx<'_>, session: &Session, after: Option<&ExecutionId>, limit: usize) -> Result<Vec<ExecutionId>, Fault> {
    let mut find = prepare(
        tx.connection,
        "SELECT id FROM session JOIN execution ON owner = s WHERE instance = ?1 AND process = ?2 AND id > ?3 ORDER BY id LIMIT ?4",
    )?;
    let after = after.map_or("", ExecutionId::as_str);
    let of = params![session.instance, session.process, after, int(limit.clamp(1, LIST_PAGE) as u64)];
    Ok(find.query_map(of, |row| row.get(0).map(ExecutionId))?.collect::<Result<_, _>>()?)
}

pub(super) fn next_due(connection: &Connection) -> Result<Option<Timestamp>, Fault> {
    let due: Option<i64> = prepare(connection, "SELECT min(due) FROM execution WHERE due IS NOT NULL")?.query_row([], |row| row.get(0))?;
    Ok(due.map(Timestamp))
}

/// The first time after `until` at which something comes due, a session that owns executions runs out, or this one may adopt from all that did.
pub(super) fn next_event(connection: &Connection, session: &Session, until: Timestamp) -> Result<Option<Timestamp>, Fault> {
    let first = |sql: &str| -> Result<Option<i64>, Fault> { Ok(prepare(connection, sql)?.query_row([until.0], |row| row.get(0))?) };
    let due = first("SELECT min(due) FROM execution WHERE due > ?1")?;
    let ends = first("SELECT min(until) FROM session WHERE until > ?1 AND EXISTS (SELECT 1 FROM execution WHERE owner = s)")?;
    let mut heard = prepare(connection, "SELECT heard FROM session WHERE instance = ?1 AND process = ?2 AND heard > ?3")?;
    let heard: Option<i64> = heard.query_row(params![session.instance, session.process, until.0], |row| row.get(0)).optional()?;
    Ok(due.into_iter().chain(ends).chain(heard).min().map(Timestamp))
}

/// Ended executions that may go, oldest first.
pub(super) fn old(connection: &Connection, retention: Retention) -> Result<Vec<ExecutionId>, Fault> {
    let mut find = prepare(
        connection,
        "SELECT id FROM execution AS old WHERE ended < ?1 AND ?2 <= (
             SELECT count(*) FROM (
                 SELECT 1 FROM execution AS newer
                 WHERE coalesce('c' || newer.config, 'a' || newer.application) = coalesce('c' || old.config, 'a' || old.application)
                     AND newer.id > old.id AND newer.ended IS NOT NULL
                 LIMIT ?2))
         ORDER BY ended, id LIMIT ?3",
    )?;
    let of = params![retention.older_than.0, int(retention.keep as u64), int(retention.step as u64)];
    let found = find.query_map(of, |row| row.get(0).map(ExecutionId))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Gives room that removals freed back to the filesystem, a step's worth.
pub(super) fn vacuum(tx: &Tx<'_>) -> Result<(), Fault> {
    let mut step = prepare(tx.connection, &format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    let mut rows = step.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}
