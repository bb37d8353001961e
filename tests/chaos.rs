//! Five agents on one Redis, hundreds of executions, and everything that can happen to processes and networks: nothing is lost, nothing is done twice.
//!
//! ```text
//!   agent ── network of its own ──▶ Redis (append-only file, every write synced)       one test each: a steady Redis, one that is killed and
//!   agents are killed, rebooted, replaced, stopped, frozen, cut off, deafened          started again, a failover behind three Sentinels
//! ```
//!
//! Pipelines come from a seed: chains, forks, waits, judgments, preconditions, child pipelines, jobs, all failure policies, some one at a time, some called
//! off. What must become of each is computed from its document. Jobs put lines in a ledger. At the end:
//!
//! * every start that was answered is there, every execution has ended, with the status its document says, and so has every stage of it;
//! * a job that is not marked idempotent began once at most, and once exactly when its stage went well; none began before what it follows had ended, none whose
//!   stage did not start;
//! * a stage has one child at most; pipelines that run one at a time did not overlap; waits lasted; no agent ended by itself.
//!
//! What may differ: a job that is not idempotent may be *lost* with its host. Then its stage fails and says so, and the execution ends as that failure
//! has it; it has to be an instance that was in trouble then. With `appendfsync always` and, behind Sentinels, `min-replicas-to-write 1` nothing
//! acknowledged is lost: the tests demand that. With `everysec` a second of it can be; agents then report it (`LostData`).
//!
//! `BELLROCK_CHAOS_SEED` is printed and can be set (processes and networks still race as they like); `BELLROCK_CHAOS_S` is how long it lasts: 500 executions in 180 s, fewer
//! in less. `BELLROCK_CHAOS_KEEP=DIR` keeps logs, ledger and executions there.

#[path = "chaos/fleet.rs"]
mod fleet;
#[path = "fleet/host.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod host;
#[path = "chaos/network.rs"]
mod network;
#[path = "chaos/plan.rs"]
mod plan;
#[path = "fleet/process.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod process;
#[path = "../src/orchestrator/store/redis/tests/server.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the store's tests use the rest")]
mod server;
#[path = "fleet/sim.rs"]
#[allow(dead_code, reason = "the fleet's tests use the rest")]
mod sim;
#[path = "chaos/store.rs"]
mod store;
#[path = "chaos/trouble.rs"]
mod trouble;
#[path = "chaos/verdict.rs"]
mod verdict;

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use rand::SeedableRng;
use rand_pcg::Pcg64;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use fleet::AGENTS;
use server::Server;
use sim::Sim;
use store::Store;
use trouble::Place;
use trouble::Scene;
use trouble::Way;
use verdict::Verdict;

const GROUP: &str = "shop-main-v001";
/// As long as in `tests/run`, and what belongs to the length that is asked for by hand.
const LASTS_S: u64 = 20;
const FULL_S: u64 = 180;
const FULL_EXECUTIONS: u64 = 500;
const LEAST_EXECUTIONS: u64 = 100;
/// From the end of all trouble until everything has ended: a queue of those that run one by one, on a busy machine.
const SETTLES_WITHIN: Duration = Duration::from_secs(120);
/// Faults that are printed.
const SHOWN: usize = 30;

#[expect(clippy::disallowed_methods, reason = "a test has no main to hand it the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(name: &str) -> Option<u64> {
    variable(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Agents with spare instances, on this store.
async fn set(dir: &Path, seed: u64, way: Way) -> (Scene, Vec<Place>) {
    let instances = 3 * AGENTS;
    let region = json!({
        "templates": [{"name": "shop", "versions": [{}]}],
        "target_groups": [{"name": "shop-main"}],
        "groups": [{"name": GROUP, "min": 1, "max": instances, "desired": instances, "template": "shop", "version": "1", "settled": true, "target_groups": ["shop-main"]}],
    });
    let sim = Sim::start(dir, &region, seed).await;
    let instances = sim.instances(GROUP).await;
    Scene::set(sim, instances, AGENTS, dir.to_owned(), way).await
}

/// Plays it all on a store, and holds the verdict.
async fn play(name: &str, store: Store, way: Way) {
    let seed = number("BELLROCK_CHAOS_SEED").unwrap_or_else(rand_seed);
    let lasts = number("BELLROCK_CHAOS_S").unwrap_or(LASTS_S);
    let count = (LEAST_EXECUTIONS + FULL_EXECUTIONS * lasts / FULL_S).min(FULL_EXECUTIONS);
    println!("{name}: BELLROCK_CHAOS_SEED={seed} BELLROCK_CHAOS_S={lasts}");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ledger = dir.path().join("ledger");
    std::fs::write(&ledger, "").expect("a directory of our own");
    let plans = plan::plans(&mut Pcg64::seed_from_u64(seed));
    let (scene, places) = set(dir.path(), seed, way).await;
    fleet::save(&scene.doors, &plans, &ledger.display().to_string()).await;

    let (lasts, over, begun) = (Duration::from_secs(lasts), CancellationToken::new(), Cell::new(false));
    let suffering = join_all(places.into_iter().map(|place| place.suffer(&scene, seed, &over)));
    let store = store.suffer(&scene, seed, &over);
    let count = u32::try_from(count).expect("few");
    let starting = async {
        let started = fleet::start(&scene.doors, seed, &plans, count, lasts * 3 / 4).await;
        begun.set(true);
        started
    };
    let judging = fleet::judge(&scene.doors, seed, &plans, || begun.get());
    let ending = async {
        tokio::time::sleep(lasts).await;
        over.cancel();
    };
    let whole = async { tokio::join!(starting, judging, suffering, store, ending) };
    // Not dropped when it is late, since the agents end with it: they are asked what has not ended.
    tokio::pin!(whole);
    let ended = tokio::time::timeout(lasts + SETTLES_WITHIN, &mut whole).await;
    keep(dir.path());
    let Ok((started, messages, _places, _store, ())) = ended else {
        let mut rng = Pcg64::seed_from_u64(seed);
        let open = tokio::time::timeout(SETTLES_WITHIN / 4, scene.doors.unended(&mut rng, SHOWN)).await.unwrap_or_default();
        let (figures, refusal) = (scene.record.figures(), scene.doors.last_refusal());
        panic!("{name}: executions have not ended:\n{}\n{figures}; the last refusal: {refusal}", open.join("\n"));
    };
    let executions = scene.doors.executions(&mut Pcg64::seed_from_u64(seed)).await;
    let ledger = std::fs::read_to_string(&ledger).expect("it was made");
    if let Some(to) = variable("BELLROCK_CHAOS_KEEP") {
        std::fs::write(Path::new(&to).join("executions.json"), serde_json::to_vec_pretty(&executions).expect("JSON")).expect("a directory");
    }
    let (figures, wrong) = Verdict::of(&plans, &executions, &started, &ledger, &scene.record);
    println!("{name}: {figures}; {messages} messages; {}", scene.record.figures());
    assert!(wrong.is_empty(), "{name}: {} faults:\n{}", wrong.len(), wrong[..wrong.len().min(SHOWN)].join("\n"));
}

fn keep(dir: &Path) {
    if let Some(to) = variable("BELLROCK_CHAOS_KEEP") {
        std::fs::create_dir_all(&to).expect("a place to keep it");
        let copied = std::process::Command::new("cp").arg("-r").arg(dir).arg(&to).status();
        assert!(copied.is_ok_and(|status| status.success()), "{to} cannot be written");
    }
}

/// Different for every run.
fn rand_seed() -> u64 {
    use std::hash::BuildHasher;
    std::hash::RandomState::new().hash_one(0) % 1_000_000
}

fn through(server: &Server) -> Way {
    Way::Through(SocketAddr::from(([127, 0, 0, 1], server.port)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_agents_in_trouble_lose_nothing_and_do_nothing_twice() {
    let server = store::synced();
    let way = through(&server);
    play("steady Redis", Store::Steady(server), way).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nor_do_they_on_a_redis_that_is_killed_and_started_again() {
    let server = store::synced();
    let way = through(&server);
    play("Redis restarts", Store::Restarts(server), way).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nor_do_they_while_sentinels_fail_over() {
    let watched = store::Watched::start().await;
    let way = Way::At(watched.url());
    play("Sentinels", Store::FailsOver(watched), way).await;
}
