//! Leaving in order: a drain, and a stop.

use std::collections::HashSet;
use std::time::Duration;

use bellrock::host::clock::SystemClock;
use bellrock::model::Clock;
use bellrock::orchestrator::engine::status::Status;
use bellrock::orchestrator::store::Query;
use serde_json::Value;
use serde_json::json;

use crate::Arguments;
use crate::Result;
use crate::place;
use crate::place::Place;
use crate::submit;
use crate::submit::ms;
use crate::workers::Options;
use crate::workers::Worker;

/// A task of the drained instance: none is to be stopped half way.
const TASK: Duration = Duration::from_millis(300);
/// What the stopped ones wait for.
const TEN_MINUTES: Duration = Duration::from_secs(600);
/// After the next process is there, so long is listened for tasks that it begins.
const LISTEN: Duration = Duration::from_secs(2);

/// Of an instance that owns all of them.
pub(crate) async fn drain(arguments: &Arguments, executions: usize) -> Result<()> {
    println!(
        "| owned | owns nothing after the order, ms | and after its last attempt ended, ms | succeeded in the end |\n|---|---|---|---|"
    );
    for _ in 0..arguments.rounds {
        let place = Place::new(arguments)?;
        let (store, background) = place::open(place.kind, &place.address, "submitter").await?;
        let such = |name| Options::new(&place, name).telling(1).taking(TASK);
        let work = async {
            let mut drains = Worker::start(arguments, place.kind, &such("drains"))?;
            drains.ready().await?;
            submit::submit_all(&*store, &submit::chain(), executions).await?;
            let mut running = HashSet::new();
            while running.len() < executions {
                running.extend(drains.next().await?.1.strip_prefix("ran ").and_then(|ran| ran.split(' ').next()).map(str::to_owned));
            }
            let owned = submit::owned(&*store).await?;
            drains.tell("drain")?;
            let (order, last) = loop {
                let (_, line) = drains.next().await?;
                if let Some((order, last)) = line.strip_prefix("empty ").and_then(|times| times.split_once(' ')) {
                    break (order.to_owned(), last.to_owned());
                }
            };
            let left = submit::owned(&*store).await?;
            if left > 0 {
                return Err(format!("it says that it owns nothing, and the store that somebody owns {left}").into());
            }
            let mut takes_over = Worker::start(arguments, place.kind, &such("takes-over"))?;
            takes_over.ready().await?;
            submit::until_ended(&*store).await?;
            let succeeded = Query { statuses: vec![Status::Succeeded], limit: executions, ..Query::default() };
            println!("| {owned} | {order} | {last} | {} |", store.list(&succeeded).await?.len());
            Result::Ok(())
        };
        place::beside_background(background, work).await??;
    }
    Ok(())
}

/// Each kind of wait, as a stage, and whether a task is under way meanwhile.
fn waits() -> Vec<(&'static str, Value, bool)> {
    let seconds = TEN_MINUTES.as_secs();
    // Days are counted from Sunday = 1: the window is open in three days.
    let today = SystemClock::start().now().wall.0.div_euclid(86_400_000) + 4;
    let day = (today + 3).rem_euclid(7) + 1;
    vec![
        ("wait", json!({"type": "wait", "name": "x", "refId": "2", "requisiteStageRefIds": ["1"], "waitTime": seconds}), false),
        ("judgment", json!({"type": "manualJudgment", "name": "x", "refId": "2", "requisiteStageRefIds": ["1"]}), false),
        (
            "closed window",
            json!({"type": "noop", "name": "x", "refId": "2", "requisiteStageRefIds": ["1"], "restrictExecutionDuringTimeWindow": true,
                "restrictedExecutionWindow": {"days": [day], "whitelist": []}}),
            false,
        ),
        ("a task that sleeps", json!({"type": "noop", "name": "x", "refId": "2"}), true),
    ]
}

/// Of a worker whose executions wait.
pub(crate) async fn stop(arguments: &Arguments, executions: usize) -> Result<()> {
    println!("| waits as | executions | process gone after, ms | tasks begun again by the next process | lost |\n|---|---|---|---|---|");
    for _ in 0..arguments.rounds {
        for (kind, stage, sleeps) in waits() {
            let place = Place::new(arguments)?;
            let (store, background) = place::open(place.kind, &place.address, "submitter").await?;
            let stages = if sleeps { json!([stage]) } else { json!([{"type": "noop", "name": "before", "refId": "1"}, stage]) };
            let such = |name| Options::new(&place, name).telling(1).taking(if sleeps { TEN_MINUTES } else { Duration::ZERO });
            let work = async {
                let mut stops = Worker::start(arguments, place.kind, &such("stops"))?;
                stops.ready().await?;
                submit::submit_all(&*store, &submit::pipeline(stages), executions).await?;
                for _ in 0..executions {
                    stops.next().await?;
                }
                let owned = if sleeps { executions as u64 } else { 0 };
                submit::until("all of them to wait", async || Ok(submit::owned(&*store).await? == owned)).await?;
                let gone = stops.stop().await?;
                let mut next = Worker::start(arguments, place.kind, &such("next"))?;
                next.ready().await?;
                tokio::time::sleep(LISTEN).await;
                let again = next.heard().len();
                let open = Query { limit: 1_000, ..Query::default() };
                let there = store.list(&open).await?.iter().filter(|listing| !listing.status.is_complete()).count();
                println!("| {kind} | {executions} | {:.0} | {again} | {} |", ms(gone), executions - there);
                Result::Ok(())
            };
            place::beside_background(background, work).await??;
        }
    }
    Ok(())
}
