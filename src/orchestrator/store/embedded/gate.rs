//! The concurrency gate: who holds a slot of a definition, and who waits for one.

use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::params;

use super::super::Admission;
use super::super::Lease;
use super::super::StoreError;
use super::super::overtaken;
use super::file::Fault;
use super::file::prepare;
use super::records;
use super::writer::Tx;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::ExecutionId;

fn held(tx: &Tx<'_>, config: &str) -> Result<i64, Fault> {
    let mut count = prepare(tx.connection, "SELECT count(*) FROM slot WHERE config = ?1 AND holds = 1")?;
    Ok(count.query_row([config], |row| row.get(0))?)
}

pub(super) fn admit(tx: &Tx<'_>, lease: &Lease, config: &str, limit: u32) -> Result<Admission, Fault> {
    let n =
        records::owned(tx.connection, lease)?.ok_or_else(|| StoreError::Refused("another session owns this execution now".to_owned()))?;
    let answer = |holds| if holds { Admission::Go } else { Admission::Wait };
    let mut find = prepare(tx.connection, "SELECT holds FROM slot WHERE n = ?1 AND config = ?2")?;
    if let Some(holds) = find.query_row(params![n, config], |row| row.get(0)).optional()? {
        return Ok(answer(holds));
    }
    Ok(answer(enter(tx, n, config, limit)?))
}

/// Takes a slot, or the last place among those that wait. True: a slot.
pub(super) fn enter(tx: &Tx<'_>, n: i64, config: &str, limit: u32) -> Result<bool, Fault> {
    let somebody_waits = prepare(tx.connection, "SELECT 1 FROM slot WHERE config = ?1 AND holds = 0")?.exists([config])?;
    let holds = !somebody_waits && held(tx, config)? < i64::from(limit);
    prepare(tx.connection, "INSERT INTO slot (config, n, holds) VALUES (?1, ?2, ?3)")?.execute(params![config, n, holds])?;
    Ok(holds)
}

/// Frees its slots and its places in queues.
pub(super) fn leave(tx: &Tx<'_>, n: i64) -> Result<(), Fault> {
    prepare(tx.connection, "DELETE FROM slot WHERE n = ?1")?.execute([n])?;
    Ok(())
}

pub(super) fn start_waiting(tx: &Tx<'_>, config: &str, limit: u32, keep: bool) -> Result<(), Fault> {
    let free = i64::from(limit) - held(tx, config)?;
    if free <= 0 {
        return Ok(());
    }
    let waiting = |sql: &str, limit: i64| -> Result<Vec<(i64, ExecutionId)>, Fault> {
        let place = |row: &Row<'_>| Ok((row.get(0)?, ExecutionId(row.get(1)?)));
        Ok(prepare(tx.connection, sql)?.query_map(params![config, limit], place)?.collect::<Result<_, _>>()?)
    };
    let oldest = "SELECT place, id FROM slot JOIN execution USING (n) WHERE slot.config = ?1 AND holds = 0 ORDER BY place LIMIT ?2";
    let newest = "SELECT place, id FROM slot JOIN execution USING (n) WHERE slot.config = ?1 AND holds = 0 ORDER BY place DESC LIMIT ?2";
    for (place, id) in waiting(if keep { oldest } else { newest }, free)? {
        prepare(tx.connection, "UPDATE slot SET holds = 1 WHERE place = ?1")?.execute([place])?;
        records::post(tx, &id, &Message::Admitted)?;
    }
    if !keep {
        for (place, id) in waiting(oldest, i64::MAX)? {
            prepare(tx.connection, "DELETE FROM slot WHERE place = ?1")?.execute([place])?;
            records::post(tx, &id, &overtaken())?;
        }
    }
    Ok(())
}
