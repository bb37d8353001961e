//! The embedded engines of a play: one to a machine, all on one store, and what is needed to know afterwards what they really did.
//!
//! ```text
//!   client ─────────────────────────────────┐
//!   engine ─▶ line (cut, slow, lossy) ─▶ witness ─▶ store in memory
//!      └────▶ hand ─▶ ledger                          (a line and a hand to each machine; blows fall on both)
//! ```
//!
//! What must stay true: the engines are the agent's own, put together as the agent does; what the verdict knows comes from the witness and the ledger,
//! which stand where things happen, and not from what an engine says of itself.

mod client;
mod fate;
mod hand;
mod host;
mod ledger;
mod passage;
pub mod script;
mod witness;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::cloud::sim::Sim;
use crate::cloud::sim::SimTime;
use crate::model::Clock;
use crate::model::InstanceId;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::stage::Registry;
use crate::orchestrator::runner::Memory;
use crate::orchestrator::runner::Parts;
use crate::orchestrator::runner::Settings;
use crate::orchestrator::runner::effects::Performer;
use crate::orchestrator::runner::effects::Performers;
use crate::orchestrator::runner::effects::executions;
use crate::orchestrator::runner::effects::executions::Executions;
use crate::orchestrator::runner::effects::http;
use crate::orchestrator::runner::effects::job;
use crate::orchestrator::store::Listing;
use crate::orchestrator::store::Query;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::model::ModelStore;
use crate::orchestrator::store::record;

use super::station::open;
use hand::Hand;
pub(super) use host::Alive;
pub(super) use host::Facts;
pub(super) use host::Falls;
pub(super) use host::Host;
pub(super) use host::Life;
use host::Line;
pub(super) use host::WAY;
pub(super) use ledger::Entry;
use ledger::Ledger;
#[cfg(test)]
pub(super) use passage::Hooks;
#[cfg(test)]
pub(super) use passage::Passage as Behind;
use passage::Passage;
use script::Script;
pub(super) use witness::Left;
pub(super) use witness::Ownership;
pub(super) use witness::Seen;
use witness::Witness;

/// Executions of one answer.
const PAGE: usize = 500;

/// The engines of a play.
pub(super) struct Fleet {
    /// The store, before the witness.
    store: Arc<dyn Store>,
    seen: Arc<Mutex<Seen>>,
    ledger: Arc<Ledger>,
    hosts: Mutex<BTreeMap<InstanceId, Arc<Host>>>,
    registry: Arc<Registry>,
    sim: Sim,
    clock: Arc<dyn Clock>,
    seed: u64,
    /// All that was to come in came in, and all that was to be judged was.
    served: AtomicBool,
}

/// What an engine works with, and what a test may spoil.
pub(super) struct Organs {
    pub(super) store: Arc<dyn Store>,
    pub(super) performer: Arc<dyn Performer>,
    pub(super) settings: Settings,
}

/// What is left of the fleet when the play is over.
pub(super) struct Remains {
    /// Every execution at the end, oldest first.
    pub(super) executions: Vec<Execution>,
    pub(super) seen: Seen,
    pub(super) ledger: Vec<Entry>,
    pub(super) hosts: BTreeMap<InstanceId, Facts>,
    /// Everything of the script came to pass.
    pub(super) served: bool,
}

/// How many executions there are, and how many of them ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Started.
    pub started: usize,
    /// Ended, in whatever way.
    pub ended: usize,
}

impl Fleet {
    pub(super) fn new(sim: Sim, clock: Arc<dyn Clock>, seed: u64) -> Arc<Self> {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let witness = Witness { clock: clock.clone(), seen: seen.clone() };
        Arc::new(Self {
            store: Arc::new(Passage { store: Arc::new(ModelStore::new(clock.clone())), hooks: witness }),
            seen,
            ledger: Arc::default(),
            hosts: Mutex::default(),
            registry: Arc::new(Registry::standard()),
            sim,
            clock,
            seed,
            served: AtomicBool::new(false),
        })
    }

    /// The people who start and judge, and the fate that befalls machines; both last as long as `tasks`.
    pub(super) fn begin(self: &Arc<Self>, script: &Script, tasks: &mut JoinSet<()>) {
        let mut arrivals: Vec<_> = script.arrivals.iter().chain(&script.ambushes.work).cloned().enumerate().collect();
        arrivals.sort_by_key(|(_, arrival)| arrival.at);
        tasks.spawn(client::serve(self.clone(), arrivals));
        tasks.spawn(fate::befall(self.clone(), script.blows.clone()));
        tasks.spawn(fate::lie_in_wait(self.clone(), script.ambushes.cuts.clone()));
    }

    /// A machine comes up; `crash` is rung when its process is to fall.
    pub(super) fn host(&self, id: &InstanceId, crash: Arc<Notify>, seed: u64) -> Arc<Host> {
        let host = Arc::new(Host::new(id.clone(), crash, self.ledger.clone(), self.sim.clone(), self.clock.clone(), seed));
        open(&self.hosts).insert(id.clone(), host.clone());
        host
    }

    /// What the engine on a machine works with.
    pub(super) fn organs(&self, host: &Arc<Host>) -> Organs {
        let store: Arc<dyn Store> = Arc::new(Passage { store: self.store.clone(), hooks: Line(host.clone()) });
        let hand = Arc::new(Hand { host: host.clone(), ledger: self.ledger.clone() });
        let performers = Performers::default()
            .with(&http::WORDS, hand.clone())
            .with(&job::WORDS, hand)
            .with(&executions::WORDS, Arc::new(Executions::new(store.clone())));
        Organs { store, performer: Arc::new(performers), settings: Settings::new(host.id.as_str()) }
    }

    /// The same as the runner takes it.
    pub(super) fn parts(&self, host: &Host, organs: &Organs) -> Parts {
        Parts {
            store: organs.store.clone(),
            registry: self.registry.clone(),
            performer: organs.performer.clone(),
            clock: self.clock.clone(),
            memory: Memory::of_host(host.memory.clone()),
            channels: Vec::new(),
        }
    }

    /// What an instance has in hand: effects under way, by attempt, and executions it owns.
    pub(super) fn executing(&self, id: &InstanceId) -> Vec<String> {
        let mut all = self.ledger.under_way(id, self.now());
        all.extend(open(&self.seen).owned_by(id.as_str()));
        all
    }

    /// An instance owns something.
    fn is_busy(&self, id: &InstanceId) -> bool {
        open(&self.seen).owned_by(id.as_str()).next().is_some()
    }

    /// A measure of how far the play has come.
    pub(super) fn happenings(&self) -> usize {
        let owned: usize = open(&self.seen).owned.values().map(Vec::len).sum();
        owned + self.ledger.count()
    }

    /// Everything that was to come in came in.
    pub(super) fn is_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    pub(super) async fn counts(&self) -> Counts {
        let all = self.listings().await;
        Counts { started: all.len(), ended: all.iter().filter(|listing| listing.status.is_complete()).count() }
    }

    pub(super) async fn remains(&self) -> Remains {
        Remains {
            executions: self.executions().await,
            seen: open(&self.seen).clone(),
            ledger: self.ledger.entries(),
            hosts: open(&self.hosts).iter().map(|(id, host)| (id.clone(), open(&host.facts).clone())).collect(),
            served: self.served.load(Ordering::Relaxed),
        }
    }

    /// Newest first.
    async fn listings(&self) -> Vec<Listing> {
        let mut all: Vec<Listing> = Vec::new();
        loop {
            let query = Query { limit: PAGE, before: all.last().map(|last| last.id.clone()), ..Query::default() };
            let page = self.store.list(&query).await.unwrap_or_default();
            let full = page.len() == PAGE;
            all.extend(page);
            if !full {
                return all;
            }
        }
    }

    async fn executions(&self) -> Vec<Execution> {
        let mut executions = Vec::new();
        for listing in self.listings().await.iter().rev() {
            executions.extend(self.execution(&listing.id).await);
        }
        executions
    }

    async fn execution(&self, id: &ExecutionId) -> Option<Execution> {
        let found = self.store.load(id).await.ok().flatten()?;
        record::decode(id, None, &found).ok()
    }

    fn now(&self) -> SimTime {
        self.clock.now().mono
    }
}
