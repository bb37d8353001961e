//! What is worked on, and how it comes into the store.

use std::time::Duration;
use std::time::Instant;

use bellrock::host::clock::SystemClock;
use bellrock::model::Clock;
use bellrock::orchestrator::engine::definition::Definition;
use bellrock::orchestrator::engine::status::Status;
use bellrock::orchestrator::runner::start;
use bellrock::orchestrator::store::Query;
use bellrock::orchestrator::store::Store;
use futures::StreamExt;
use futures::stream;
use serde_json::Value;
use serde_json::json;

use crate::GIVE_UP;
use crate::LOOK;
use crate::Result;

/// Tasks of an execution of the chain.
pub(crate) const TASKS: u32 = 5;
/// Calls under way at once.
pub(crate) const AT_ONCE: usize = 250;

/// Five tasks that do nothing, one after the other.
pub(crate) fn chain() -> Definition {
    pipeline(json!([{"type": "noop", "name": "five", "tasks": TASKS}]))
}

/// A pipeline of these stages.
pub(crate) fn pipeline(stages: Value) -> Definition {
    let document = json!({"name": "bench", "application": "bench", "stages": stages});
    let Value::Object(document) = document else { unreachable!("it is written as an object above") };
    Definition::from_document(document)
}

/// Starts one.
pub(crate) async fn submit(store: &dyn Store, definition: &Definition, clock: &SystemClock) -> Result<String> {
    let now = clock.now().wall;
    let order = start::Order { id: start::new_id(now), ..start::Order::default() };
    Ok(start::start(store, definition, order, now).await?.id.0)
}

/// Starts so many at once.
pub(crate) async fn submit_all(store: &dyn Store, definition: &Definition, executions: usize) -> Result<()> {
    let clock = SystemClock::start();
    let mut submitted = stream::iter(0..executions).map(|_| submit(store, definition, &clock)).buffer_unordered(AT_ONCE);
    while let Some(done) = submitted.next().await {
        done?;
    }
    Ok(())
}

/// Waits until none has yet to end.
pub(crate) async fn until_ended(store: &dyn Store) -> Result<()> {
    let open = Query { statuses: vec![Status::NotStarted, Status::Running], limit: 1, ..Query::default() };
    until("all executions to end", async || Ok(store.list(&open).await?.is_empty())).await
}

/// Executions that somebody owns.
pub(crate) async fn owned(store: &dyn Store) -> Result<u64> {
    Ok(store.active_by_instance().await?.iter().map(|activity| activity.count).sum())
}

/// Looks again and again until it is so.
pub(crate) async fn until(what: &str, so: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !so().await? {
        if began.elapsed() > GIVE_UP {
            return Err(format!("waited {} s for {what}", GIVE_UP.as_secs()).into());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Milliseconds, to be printed.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The middle one.
pub(crate) fn median<T: Copy + PartialOrd>(of: &[T]) -> T {
    let mut sorted = of.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    sorted[sorted.len() / 2]
}
