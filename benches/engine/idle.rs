//! An idle system: what one execution takes, and what waiting costs.

use std::time::Duration;
use std::time::Instant;

use bellrock::host::clock::SystemClock;
use tokio::time::sleep;

use crate::Arguments;
use crate::Result;
use crate::place;
use crate::place::Place;
use crate::submit;
use crate::submit::TASKS;
use crate::submit::ms;
use crate::workers;

/// Between samples.
const APART: Duration = Duration::from_millis(20);
/// The first executions load scripts and make connections.
const NOT_COUNTED: usize = 20;

/// From the submission of an execution until its last task ran.
pub(crate) async fn latency(arguments: &Arguments, samples: usize) -> Result<()> {
    let place = Place::new(arguments)?;
    let mut workers = workers::start_all(arguments, &place, |options| options.telling(TASKS)).await?;
    let (store, background) = place::open(place.kind, &place.address, "submitter").await?;
    let definition = submit::chain();
    let clock = SystemClock::start();
    let work = async {
        let mut times = Vec::with_capacity(samples);
        for n in 0..samples + NOT_COUNTED {
            sleep(APART).await;
            let began = Instant::now();
            let id = submit::submit(&*store, &definition, &clock).await?;
            let next = workers.iter_mut().map(|worker| Box::pin(worker.next()));
            let (at, told) = futures::future::select_all(next).await.0?;
            if told.split(' ').nth(1) != Some(&id) {
                return Err(format!("{told}, not {id}").into());
            }
            if n >= NOT_COUNTED {
                times.push(at - began);
            }
        }
        Result::Ok(times)
    };
    let mut times = place::beside_background(background, work).await??;
    times.sort_unstable();
    let at = |share: f64| ms(times[((times.len() - 1) as f64 * share).round() as usize]);
    println!(
        "one execution of {TASKS} tasks, idle: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, {samples} samples",
        at(0.5),
        at(0.9),
        at(0.99)
    );
    Ok(())
}

/// What workers with nothing to do cost.
pub(crate) async fn idle(arguments: &Arguments, seconds: u64) -> Result<()> {
    let place = Place::new(arguments)?;
    let workers = workers::start_all(arguments, &place, |options| options).await?;
    sleep(Duration::from_secs(2)).await;
    let before = (workers::cpu(&workers), place.server_cpu());
    sleep(Duration::from_secs(seconds)).await;
    let share = |time: Duration| time.as_secs_f64() * 100.0 / seconds as f64;
    println!(
        "idle: {:.2} % of a core a worker, {:.2} % Redis",
        share(workers::cpu(&workers) - before.0) / arguments.workers as f64,
        share(place.server_cpu() - before.1)
    );
    Ok(())
}
