//! The drill: the real agent, with its engine, and the real rollback against the simulated region, in virtual time, with a verdict.
//!
//! [`scenario`] says what is played, [`stage`] plays it, [`verdict`] judges it by what really happened. [`fleet`] is what embedded engines share.
//! The same seed gives the same play.

mod book;
mod fleet;
mod hooked;
pub mod scenario;
pub mod stage;
mod station;
pub mod verdict;

#[cfg(test)]
mod plants;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;

use serde::Serialize;

pub use fleet::Counts;
pub use scenario::Piece;
pub use scenario::Runs;
pub use scenario::Scenario;
pub use stage::Nobody;
pub use stage::Plant;
pub use stage::Watcher;
pub use station::Station;
pub use station::Stations;
pub use verdict::Figures;
pub use verdict::Invariant;

use scenario::Play;

/// One play, judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was played.
    #[serde(flatten)]
    pub piece: Piece,
    /// With which seed.
    pub seed: u64,
    /// Every invariant was kept.
    #[serde(rename = "verdict", serialize_with = "pass_or_fail")]
    pub passed: bool,
    /// Each that applies.
    pub invariants: Vec<Invariant>,
    /// Numbers.
    pub figures: Figures,
}

/// Many plays, judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// What was played.
    #[serde(flatten)]
    pub piece: Piece,
    /// How many plays.
    pub seeds: u64,
    /// How many kept every invariant.
    pub passed: u64,
    /// Seeds of those that did not.
    pub failed: Vec<u64>,
    /// Sums and maxima.
    pub figures: Figures,
}

fn pass_or_fail<S: serde::Serializer>(passed: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *passed { "pass" } else { "fail" })
}

/// Plays one drill on the runtime that this is called in, whose clock has to be paused or paced.
pub async fn run(piece: impl Into<Piece>, seed: u64, watcher: &mut dyn Watcher, plant: Plant) -> Report {
    let piece = piece.into();
    run_play(&scenario::play(piece, seed), piece, seed, watcher, plant).await
}

/// Plays this play of a piece.
async fn run_play(play: &Play, piece: Piece, seed: u64, watcher: &mut dyn Watcher, plant: Plant) -> Report {
    let after = stage::perform(play, seed, watcher, plant).await;
    let (invariants, figures) = verdict::judge(play, &after);
    Report { piece, seed, passed: invariants.iter().all(|i| i.held), invariants, figures }
}

/// Plays one drill in virtual time, on a runtime of its own.
///
/// # Errors
/// The runtime cannot be built.
pub fn run_alone(piece: impl Into<Piece>, seed: u64, plant: Plant) -> std::io::Result<Report> {
    Ok(alone()?.block_on(run(piece, seed, &mut Nobody, plant)))
}

fn alone() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
}

/// Plays each of these pieces with each of these seeds, in virtual time, on all cores. `told` hears of each play as it ends, in no order.
///
/// # Errors
/// A runtime cannot be built.
pub fn run_many(pieces: &[Piece], seeds: &Range<u64>, told: &(dyn Fn(&Report) + Sync)) -> std::io::Result<Vec<Summary>> {
    let next = Mutex::new(seeds.clone().flat_map(|seed| (0..pieces.len()).map(move |piece| (piece, seed))));
    let summaries = Mutex::new(pieces.iter().map(|piece| Summary::of(*piece)).collect::<Vec<_>>());
    let work = || -> std::io::Result<()> {
        loop {
            let Some((piece, seed)) = next.lock().unwrap_or_else(PoisonError::into_inner).next() else { return Ok(()) };
            let report = run_alone(pieces[piece], seed, Plant::default())?;
            told(&report);
            summaries.lock().unwrap_or_else(PoisonError::into_inner)[piece].add(report);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|threads| {
        let workers: Vec<_> = (0..cores).map(|_| threads.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(std::io::Error::other("a play broke off"))))
    })?;
    let mut summaries = summaries.into_inner().unwrap_or_else(PoisonError::into_inner);
    summaries.iter_mut().for_each(|summary| summary.failed.sort_unstable());
    Ok(summaries)
}

impl Summary {
    fn of(piece: Piece) -> Self {
        Self { piece, seeds: 0, passed: 0, failed: Vec::new(), figures: Figures::default() }
    }

    fn add(&mut self, report: Report) {
        self.seeds += 1;
        if report.passed {
            self.passed += 1;
        } else {
            self.failed.push(report.seed);
        }
        self.figures.add(report.figures);
    }
}

impl Figures {
    fn add(&mut self, other: Figures) {
        self.executions.started += other.executions.started;
        self.executions.finished += other.executions.finished;
        self.executions.lost += other.executions.lost;
        self.executions.lost_to_agents += other.executions.lost_to_agents;
        self.instances_retired += other.instances_retired;
        self.decrements += other.decrements;
        self.longest_drain_s = self.longest_drain_s.max(other.longest_drain_s);
        self.agent_crashes += other.agent_crashes;
        self.effects += other.effects;
        self.adopted += other.adopted;
        self.lost_jobs += other.lost_jobs;
        self.machines_fallen += other.machines_fallen;
        self.virtual_s += other.virtual_s;
        merge(&mut self.calls, other.calls);
        self.restarts += other.restarts;
        self.restarts_at_once = self.restarts_at_once.max(other.restarts_at_once);
        self.permits += other.permits;
        self.permits_at_once = self.permits_at_once.max(other.permits_at_once);
        merge(&mut self.heal_held, other.heal_held);
        merge(&mut self.held, other.held);
    }
}

fn merge<K: Ord, N: std::ops::AddAssign + Default>(into: &mut BTreeMap<K, N>, from: BTreeMap<K, N>) {
    for (key, count) in from {
        *into.entry(key).or_default() += count;
    }
}
