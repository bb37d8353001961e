//! A worker that is killed, with work on it.

use std::collections::HashMap;
use std::collections::HashSet;
use std::time::Duration;
use std::time::Instant;

use bellrock::orchestrator::store::Store;

use crate::Arguments;
use crate::Result;
use crate::place;
use crate::place::Place;
use crate::submit;
use crate::submit::TASKS;
use crate::workers::Options;
use crate::workers::Worker;

/// A task that does not end while it is looked at.
const LONG: Duration = Duration::from_secs(3_600);
/// The lease of the goal for adoption.
const LEASE: Duration = Duration::from_secs(10);
/// As the other systems were measured.
const TWO_SECONDS: Duration = Duration::from_secs(2);
const TEN: usize = 10;

/// All of them run, on this worker.
async fn until_all_run(worker: &mut Worker, executions: usize) -> Result<(Instant, Instant)> {
    let (mut ids, mut first) = (HashSet::new(), None);
    loop {
        let (at, line) = worker.next().await?;
        let Some((execution, _)) = line.strip_prefix("ran ").and_then(|ran| ran.split_once(' ')) else { continue };
        let first = *first.get_or_insert(at);
        ids.insert(execution.to_owned());
        if ids.len() >= executions {
            return Ok((first, at));
        }
    }
}

/// The host of an instance is gone: until all it owned runs on another one.
pub(crate) async fn adopt(arguments: &Arguments, executions: usize) -> Result<()> {
    println!("| lease s | owned | first runs elsewhere, s | all run elsewhere, s |\n|---|---|---|---|");
    for _ in 0..arguments.rounds {
        let place = Place::new(arguments)?;
        let (store, background) = place::open(place.kind, &place.address, "submitter").await?;
        let such = |name| Options::new(&place, name).telling(1).taking(LONG).with_lease(LEASE);
        let mut dies = Worker::start(arguments, place.kind, &such("dies"))?;
        dies.ready().await?;
        let work = async {
            submit::submit_all(&*store, &submit::chain(), executions).await?;
            until_all_run(&mut dies, executions).await?;
            let mut adopts = Worker::start(arguments, place.kind, &such("adopts"))?;
            adopts.ready().await?;
            let killed = Instant::now();
            drop(dies);
            let (first, last) = until_all_run(&mut adopts, executions).await?;
            let since = |at: Instant| (at - killed).as_secs_f64();
            println!("| {} | {executions} | {:.2} | {:.2} |", LEASE.as_secs(), since(first), since(last));
            Result::Ok(())
        };
        place::beside_background(background, work).await??;
    }
    Ok(())
}

/// A process crashes on a host that lives, and one whose host is gone.
pub(crate) async fn kill(arguments: &Arguments) -> Result<()> {
    println!(
        "| what takes over | first task resumed after, s | all done after, s | tasks begun twice | never done |\n|---|---|---|---|---|"
    );
    for _ in 0..arguments.rounds {
        for own in [true, false] {
            let place = Place::new(arguments)?;
            let (store, background) = place::open(place.kind, &place.address, "submitter").await?;
            place::beside_background(background, kill_once(arguments, &place, &*store, own)).await??;
        }
    }
    Ok(())
}

/// How often each task was begun.
#[derive(Default)]
struct Begun(HashMap<String, u32>);

impl Begun {
    /// True when the line tells of a task.
    fn note(&mut self, line: &str) -> bool {
        let Some(task) = line.strip_prefix("ran ") else { return false };
        *self.0.entry(task.to_owned()).or_default() += 1;
        true
    }
}

async fn kill_once(arguments: &Arguments, place: &Place, store: &dyn Store, own: bool) -> Result<()> {
    let start = |name: &str| {
        let options = Options::new(place, name).telling(1).taking(TWO_SECONDS).remembering(place.folder().join(name));
        Worker::start(arguments, place.kind, &options)
    };
    let mut dies = start("dies")?;
    dies.ready().await?;
    submit::submit_all(store, &submit::chain(), TEN).await?;
    let mut begun = Begun::default();
    // The first task of each is done, and the second under way.
    for _ in 0..2 * TEN {
        begun.note(&dies.next().await?.1);
    }
    let mut other = None;
    if !own {
        other.insert(start("lives")?).ready().await?;
    }
    let killed = Instant::now();
    drop(dies);
    let mut takes_over = other.map_or_else(|| start("dies"), Ok)?;
    let first = loop {
        let (at, line) = takes_over.next().await?;
        if begun.note(&line) {
            break at - killed;
        }
    };
    submit::until_ended(store).await?;
    let done = killed.elapsed();
    for (_, line) in takes_over.heard() {
        begun.note(&line);
    }
    let twice = begun.0.values().filter(|times| **times > 1).count();
    let never = TEN * TASKS as usize - begun.0.len();
    let what = if own { "its own restart" } else { "another host" };
    println!("| {what} | {:.2} | {:.2} | {twice} | {never} |", first.as_secs_f64(), done.as_secs_f64());
    Ok(())
}
