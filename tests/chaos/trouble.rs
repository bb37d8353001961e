//! What happens to the agents and to their store: drawn from a seed, put on record, and mended at the end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use bellrock::host::clock::SystemClock;
use bellrock::model::Clock;
use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg64;
use rustix::process::Signal;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::fleet::Doors;
use super::host::Host;
use super::host::SOON;
use super::network::Network;
use super::sim::Sim;

/// An instance that is not heard of for so long loses what it owns.
pub const LEASE: Duration = Duration::from_secs(4);

/// What can happen to an agent.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Kill -9 of the process, its jobs go on, its own restart.
    Killed,
    /// The same with its jobs, as a host that reboots.
    Rebooted,
    /// The same, and another instance comes in its place.
    Replaced,
    /// SIGTERM, and a restart.
    Stopped,
    /// SIGSTOP and SIGCONT.
    Frozen,
    /// Its connections are reset and no new ones are let through.
    Cut,
    /// Nothing gets through in either direction.
    Silent,
    /// Requests get through, answers do not.
    Deaf,
}

const KINDS: [Kind; 8] = [Kind::Killed, Kind::Rebooted, Kind::Replaced, Kind::Stopped, Kind::Frozen, Kind::Cut, Kind::Silent, Kind::Deaf];

/// Who was in trouble, and when: from and to, epoch ms. `*` is the store.
#[derive(Clone, Default)]
pub struct Record(Arc<Mutex<Vec<(String, i64, i64)>>>, Arc<Mutex<BTreeMap<String, u32>>>);

impl Record {
    fn note(&self, who: &str, what: String, from: i64, to: i64) {
        self.0.lock().expect("nobody panicked with it").push((who.to_owned(), from, to));
        *self.1.lock().expect("nobody panicked with it").entry(what).or_default() += 1;
    }

    /// Somebody of this name, or the store, was in trouble between these times.
    pub fn excuses(&self, who: &str, from: i64, to: i64) -> bool {
        self.0.lock().expect("nobody panicked with it").iter().any(|(w, f, t)| (w == who || w == "*") && *f <= to && *t >= from)
    }

    /// What happened how often.
    pub fn figures(&self) -> String {
        let figures = self.1.lock().expect("nobody panicked with it");
        figures.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
    }
}

/// What all places share.
pub struct Scene {
    pub sim: Sim,
    pub dir: PathBuf,
    pub doors: Doors,
    pub record: Record,
    /// Instances that have no agent yet.
    spare: Mutex<Vec<Value>>,
    /// The server behind every agent's own network, or an address that all use as it is.
    store: Way,
    clock: SystemClock,
}

/// How agents reach the store.
pub enum Way {
    /// Through a network of their own.
    Through(SocketAddr),
    /// At this address.
    At(String),
}

/// One of the places of the fleet: an agent, its network, what becomes of them.
pub struct Place {
    at: usize,
    host: Host,
    network: Option<Network>,
}

impl Scene {
    /// An agent on each of the first instances; the others are spare.
    pub async fn set(sim: Sim, instances: Vec<Value>, agents: usize, dir: PathBuf, store: Way) -> (Self, Vec<Place>) {
        let socket = |instance: &Value| dir.join(instance["id"].as_str().expect("text")).join("sock");
        let doors = Doors::new(instances[..agents].iter().map(socket));
        let spare = Mutex::new(instances[agents..].to_vec());
        let scene = Self { sim, dir, doors, record: Record::default(), spare, store, clock: SystemClock::start() };
        let mut places = Vec::new();
        for (at, instance) in instances[..agents].iter().enumerate() {
            let network = match scene.store {
                Way::Through(server) => Some(Network::to(server).await),
                Way::At(_) => None,
            };
            let host = scene.host(instance, network.as_ref()).await;
            places.push(Place { at, host, network });
        }
        (scene, places)
    }

    async fn host(&self, instance: &Value, network: Option<&Network>) -> Host {
        let url = match (&self.store, network) {
            (Way::At(url), _) => url.clone(),
            (Way::Through(server), network) => format!("redis://127.0.0.1:{}/", network.map_or(server.port(), |network| network.port)),
        };
        let config = format!(
            "[orchestrator]\nredis = \"{url}\"\nlease = \"{}s\"\n[orchestrator.activity]\nsample_max_age = \"1s\"\n",
            LEASE.as_secs()
        );
        Host::start(&self.sim, instance, &self.dir, &config).await
    }

    pub fn now(&self) -> i64 {
        self.clock.now().wall.0
    }

    fn instance(&self) -> Option<Value> {
        self.spare.lock().expect("nobody panicked with it").pop()
    }

    /// Puts trouble of the store on record.
    pub fn store_was_down(&self, what: &str, from: i64) {
        self.record.note("*", what.to_owned(), from, self.now() + millis(LEASE));
    }
}

impl Place {
    /// Lets trouble happen to it until the time is over, then sees it well again.
    pub async fn suffer(mut self, scene: &Scene, seed: u64, over: &CancellationToken) -> Self {
        let mut rng = Pcg64::seed_from_u64(seed ^ 0xBAD ^ (self.at as u64) << 40);
        loop {
            tokio::select! {
                () = over.cancelled() => break,
                // How long a place is left in peace is part of what is drawn.
                () = lasts(&mut rng, 1_000..7_000) => {}
            }
            assert!(!self.host.agent.has_ended(), "an agent ended by itself:\n{}", self.host.agent.tail());
            let of = if self.network.is_some() { KINDS.len() } else { KINDS.len() - 3 };
            let kind = KINDS[rng.random_range(0..of)];
            let (id, from) = (self.host.agent.id.clone(), scene.now());
            self.happens(kind, scene, &mut rng).await;
            scene.record.note(&id, format!("{kind:?}"), from, scene.now() + millis(LEASE));
        }
        self.host.is_up().await;
        self
    }

    async fn happens(&mut self, kind: Kind, scene: &Scene, rng: &mut Pcg64) {
        // Half of them are over before the lease is.
        let long = if rng.random_bool(0.5) { 0..LEASE.as_millis() as u64 } else { 0..3 * LEASE.as_millis() as u64 };
        match kind {
            Kind::Killed | Kind::Rebooted => {
                self.host.agent.kill("").await;
                if matches!(kind, Kind::Rebooted) {
                    self.host.agent.kill_jobs();
                }
                lasts(rng, if matches!(kind, Kind::Killed) { 0..300 } else { long }).await;
                self.host.agent.restart();
                self.host.is_up().await;
            }
            Kind::Replaced => {
                let Some(instance) = scene.instance() else { return };
                self.host.agent.kill("").await;
                self.host.agent.kill_jobs();
                self.host = scene.host(&instance, self.network.as_ref()).await;
                scene.doors.replace(self.at, self.host.door.socket.clone());
            }
            Kind::Stopped => {
                self.host.agent.signal(Signal::TERM);
                let ended = self.host.agent.ends(SOON).await;
                assert!(ended.success(), "a stop ends well: {ended}\n{}", self.host.agent.tail());
                self.host.agent.restart();
                self.host.is_up().await;
            }
            Kind::Frozen => {
                self.host.agent.signal(Signal::STOP);
                lasts(rng, long).await;
                self.host.agent.signal(Signal::CONT);
            }
            Kind::Cut | Kind::Silent | Kind::Deaf => {
                let network = self.network.as_ref().expect("only where there is one");
                network.turn(|now| match kind {
                    Kind::Cut => now.refused = true,
                    Kind::Deaf => now.answers_held = true,
                    _ => (now.requests_held, now.answers_held) = (true, true),
                });
                lasts(rng, long).await;
                // What was held arrives late, or never.
                let reset = rng.random_bool(0.5);
                network.turn(|now| {
                    now.resets += u32::from(reset);
                    (now.requests_held, now.answers_held, now.refused) = (false, false, false);
                });
            }
        }
    }
}

/// Lets a time pass that is drawn from these milliseconds: the trouble itself, not a wait for anything.
pub async fn lasts(rng: &mut Pcg64, ms: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(ms))).await;
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).expect("short")
}
