//! Long and wide pipelines.

use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use crate::Arguments;
use crate::Result;
use crate::place;
use crate::place::Place;
use crate::submit;
use crate::submit::median;
use crate::workers::Options;
use crate::workers::Worker;

/// Stages of all executions of one measurement together, about.
const STAGES: usize = 4_000;

/// One behind the other.
fn long(stages: usize) -> Value {
    let stage = |n: usize| {
        let before: Vec<String> = (n > 1).then(|| (n - 1).to_string()).into_iter().collect();
        json!({"type": "noop", "name": format!("stage {n}"), "refId": n.to_string(), "requisiteStageRefIds": before})
    };
    (1..=stages).map(stage).collect()
}

/// One, then all of them at once, then one that waits for all.
fn wide(branches: usize) -> Value {
    let branch =
        |n: usize| json!({"type": "noop", "name": format!("branch {n}"), "refId": n.to_string(), "requisiteStageRefIds": ["first"]});
    let first = json!({"type": "noop", "name": "first", "refId": "first"});
    let all: Vec<String> = (1..=branches).map(|n| n.to_string()).collect();
    let last = json!({"type": "noop", "name": "last", "refId": "last", "requisiteStageRefIds": all});
    std::iter::once(first).chain((1..=branches).map(branch)).chain([last]).collect()
}

/// What a stage costs with many beside it.
pub(crate) async fn all(arguments: &Arguments) -> Result<()> {
    println!(
        "| shape | stages | worker CPU µs a stage | Redis CPU µs a stage | µs a stage from start to end | CPU against 50 |\n|---|---|---|---|---|---|"
    );
    for (name, shape, sizes) in [("chain", long as fn(usize) -> Value, [50, 491]), ("fork and join", wide, [50, 2_000])] {
        let mut costs = [vec![], vec![]];
        for _ in 0..arguments.rounds {
            for (size, costs) in sizes.into_iter().zip(&mut costs) {
                costs.push(one(arguments, shape, size).await?);
            }
        }
        let of = |costs: &[[f64; 3]], which: usize| median(&costs.iter().map(|cost| cost[which]).collect::<Vec<_>>());
        let few = of(&costs[0], 0) + of(&costs[0], 1);
        for (size, costs) in sizes.into_iter().zip(&costs) {
            let (worker, server) = (of(costs, 0), of(costs, 1));
            println!("| {name} | {size} | {worker:.0} | {server:.0} | {:.0} | {:.2} |", of(costs, 2), (worker + server) / few);
        }
    }
    Ok(())
}

/// Microseconds a stage: of the worker, of Redis, on the clock.
async fn one(arguments: &Arguments, shape: fn(usize) -> Value, size: usize) -> Result<[f64; 3]> {
    let place = Place::new(arguments)?;
    let (store, background) = place::open(place.kind, &place.address, "submitter").await?;
    let executions = (STAGES / size).max(1);
    let stages = (executions * size) as f64;
    let work = async {
        let definition = submit::pipeline(shape(size));
        submit::submit_all(&*store, &definition, executions).await?;
        let server = place.server_cpu();
        let began = Instant::now();
        let mut worker = Worker::start(arguments, place.kind, &Options::new(&place, "worker"))?;
        worker.ready().await?;
        submit::until_ended(&*store).await?;
        let took = began.elapsed();
        let each = |time: Duration| time.as_secs_f64() * 1e6 / stages;
        Result::Ok([each(worker.cpu()), each(place.server_cpu() - server), each(took)])
    };
    place::beside_background(background, work).await?
}
