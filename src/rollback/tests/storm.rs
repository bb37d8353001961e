//! Whole runs on the simulated region in bad weather, by seed.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Answers;
use super::request;
use crate::cloud::sim::Region;
use crate::cloud::sim::Scenario;
use crate::cloud::sim::Sim;
use crate::cloud::sim::Trouble;
use crate::cloud::sim::TroubleKind;
use crate::host::clock::VirtualClock;
use crate::model::GroupName;
use crate::model::HOLD_TAG;
use crate::model::Timestamp;
use crate::rollback::Journal;
use crate::rollback::Outcome;
use crate::rollback::Request;
use crate::rollback::Silent;
use crate::rollback::World;
use crate::rollback::run;

const BROKEN: &str = include_str!("../../cloud/sim/serve/scenarios/broken.json");

/// Runs until it is done, at most this often: a run may pause in such weather, and the next one goes on.
const RUNS: u32 = 3;

async fn weather(seed: u64, troubles: &[Trouble], stale: Duration) -> (Sim, Vec<Outcome>) {
    let start = Timestamp(1_800_000_000_000);
    let clock = VirtualClock::start(start);
    let mut region = Region::new(seed, start);
    let mut scenario: Scenario = serde_json::from_str(BROKEN).unwrap();
    scenario.stale_bound = stale;
    region.load(&scenario).unwrap();
    let sim = Sim::new(region, Arc::new(clock));
    tokio::time::sleep(Duration::from_secs(150)).await;
    sim.with(|region| troubles.iter().for_each(|t| region.trouble(t.clone())));
    let cloud = sim.cloud("ann");
    let (journal, cancel) = (Journal::none(), CancellationToken::new());
    let request = Request { application: "spinnaker".to_owned(), ..request(1200) };
    let mut outcomes = Vec::new();
    for _ in 0..RUNS {
        let world = World {
            scaling: &cloud,
            compute: &cloud,
            caller: &cloud,
            balancing: &cloud,
            service: &Answers(true),
            clock: &clock,
            journal: &journal,
            sink: &Silent,
            cancel: &cancel,
            seed,
        };
        let outcome = run(&world, &request).await;
        let ended = matches!(outcome, Outcome::Done(_) | Outcome::Refused(_));
        outcomes.push(outcome);
        if ended {
            break;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    (sim, outcomes)
}

fn assert_restored(sim: &Sim, seed: u64, outcomes: &[Outcome]) {
    let expected = [
        ("spinnaker-main-v023", "3/3/10"),
        ("spinnaker-main-v024", "0/0/0"),
        ("spinnaker-polling-v023", "1/1/1"),
        ("spinnaker-polling-v024", "0/0/0"),
    ];
    assert!(matches!(outcomes.last(), Some(Outcome::Done(_))), "seed {seed}: {outcomes:#?}");
    for (name, sizes) in expected {
        let group = sim.with(|region| region.group_now(&GroupName::from(name))).unwrap().group;
        assert_eq!(group.capacity.to_string(), sizes, "seed {seed}: {name}");
        assert!(!group.tags.contains_key(HOLD_TAG) && group.suspended.is_empty(), "seed {seed}: {group:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn on_a_calm_day_one_run_does_it() {
    let (sim, outcomes) = weather(1, &[], Duration::ZERO).await;
    assert_eq!(outcomes.len(), 1);
    assert_restored(&sim, 1, &outcomes);
}

#[tokio::test(start_paused = true)]
async fn in_bad_weather_every_seed_ends_restored() {
    let part = |kind: TroubleKind, p: f64| Trouble::always(kind).with_probability(p);
    let troubles = [
        part(TroubleKind::Throttle, 0.1),
        part(TroubleKind::ServerError, 0.03),
        part(TroubleKind::Reset, 0.03),
        part(TroubleKind::LoseReply, 0.06),
        part(TroubleKind::ResourceContention, 0.03),
        part(TroubleKind::ScalingActivityInProgress, 0.03),
        part(TroubleKind::Hang, 0.01),
    ];
    let mut reruns = 0;
    for seed in 0..30 {
        let (sim, outcomes) = weather(seed, &troubles, Duration::from_secs(5)).await;
        assert_restored(&sim, seed, &outcomes);
        reruns += outcomes.len() - 1;
    }
    assert!(reruns <= 3, "bad weather alone seldom stops a run: {reruns} of 30 did");
}
