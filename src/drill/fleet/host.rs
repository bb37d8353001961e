//! One machine of the fleet: its line to the store, the jobs on it, what it remembers over its processes, and the blows that wait for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use tokio::sync::Notify;

use super::ledger::Ledger;
use super::passage::Hooks;
use crate::cloud::sim::Incident;
use crate::cloud::sim::Pick;
use crate::cloud::sim::Sim;
use crate::cloud::sim::SimTime;
use crate::drill::station::open;
use crate::model::Clock;
use crate::model::InstanceId;
use crate::orchestrator::runner::Handle;
use crate::orchestrator::store::Session;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::StoreError;

/// One way to the store and back takes at most this.
pub(in crate::drill) const WAY: Duration = Duration::from_millis(5);
/// A call without an answer is given up after this, as the limit of a client is.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where a blow falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::drill) enum Spot {
    /// At once.
    Now,
    /// A write is on its way and has not reached the store.
    WriteSent,
    /// A write was carried out, and what it justifies has not begun.
    WriteDone,
    /// An effect has just begun.
    Begun,
    /// An effect is half done.
    Midway,
}

/// What falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::drill) enum Falls {
    /// The machine, with everything on it.
    Machine,
    /// The agent's process; jobs go on.
    Process,
}

/// One life of the agent's process.
#[derive(Clone, Debug)]
pub(in crate::drill) struct Life {
    pub(in crate::drill) from: SimTime,
    pub(in crate::drill) to: Option<SimTime>,
}

/// What is known of a machine.
#[derive(Clone, Debug, Default)]
pub(in crate::drill) struct Facts {
    pub(in crate::drill) lives: Vec<Life>,
    /// What its engine was told of its intake, and when.
    pub(in crate::drill) intake: Vec<(SimTime, bool)>,
    /// When its line was cut or lost calls.
    pub(in crate::drill) troubled: Vec<(SimTime, SimTime)>,
    /// When the machine went down.
    pub(in crate::drill) down: Option<SimTime>,
    /// When machine or process fell to a blow.
    pub(in crate::drill) falls: Vec<(SimTime, Falls)>,
    cut_until: SimTime,
    lossy_until: SimTime,
    waits: Option<(Spot, Falls)>,
    /// Jobs by idempotency key: number in the ledger, and when they end.
    jobs: BTreeMap<String, (usize, SimTime)>,
}

impl Facts {
    /// Its line was sound from one time to the other, and for a while before.
    pub(in crate::drill) fn is_sound(&self, from: SimTime, to: SimTime) -> bool {
        self.troubled.iter().all(|(begun, over)| to < *begun || *over + SOUND_AGAIN < from)
    }
}

/// After trouble: the longest pause between two tries, and a try.
pub(in crate::drill) const SOUND_AGAIN: Duration = Duration::from_secs(4);

/// A machine.
pub(in crate::drill) struct Host {
    pub(in crate::drill) id: InstanceId,
    pub(in crate::drill) facts: Mutex<Facts>,
    /// What it remembers of its last process.
    pub(in crate::drill) memory: Arc<Mutex<Option<Session>>>,
    /// The engine on it.
    pub(in crate::drill) runner: Mutex<Option<Handle>>,
    crash: Arc<Notify>,
    ledger: Arc<Ledger>,
    sim: Sim,
    clock: Arc<dyn Clock>,
    rng: Mutex<Pcg64Mcg>,
}

impl Host {
    pub(super) fn new(id: InstanceId, crash: Arc<Notify>, ledger: Arc<Ledger>, sim: Sim, clock: Arc<dyn Clock>, seed: u64) -> Self {
        Self {
            id,
            facts: Mutex::default(),
            memory: Arc::default(),
            runner: Mutex::default(),
            crash,
            ledger,
            sim,
            clock,
            rng: Mutex::new(Pcg64Mcg::seed_from_u64(seed)),
        }
    }

    pub(in crate::drill) fn now(&self) -> SimTime {
        self.clock.now().mono
    }

    /// A process begins; its life lasts as long as what is given back.
    pub(in crate::drill) fn live(self: &Arc<Self>, intake: bool) -> Alive {
        let now = self.now();
        let mut facts = open(&self.facts);
        facts.lives.push(Life { from: now, to: None });
        facts.intake.push((now, intake));
        Alive(self.clone())
    }

    /// There is a process on it.
    pub(super) fn is_alive(&self) -> bool {
        let facts = open(&self.facts);
        facts.down.is_none() && facts.lives.last().is_some_and(|life| life.to.is_none())
    }

    /// Its engine has a session, so it may own something.
    pub(in crate::drill) fn has_session(&self) -> bool {
        open(&self.runner).as_ref().and_then(Handle::state).is_some_and(|state| state.session.is_some())
    }

    /// Its engine was told not to take work.
    pub(super) fn is_closed(&self) -> bool {
        open(&self.facts).intake.last().is_some_and(|(_, open)| !open)
    }

    /// The machine is off now, whoever turned it off.
    pub(in crate::drill) fn goes_down(&self) {
        let now = self.now();
        let jobs = {
            let mut facts = open(&self.facts);
            facts.down.get_or_insert(now);
            std::mem::take(&mut facts.jobs)
        };
        jobs.into_values().for_each(|(number, _)| self.ledger.cut(number, now));
    }

    /// A blow waits for this spot.
    pub(super) fn await_blow(&self, spot: Spot, falls: Falls) {
        if spot == Spot::Now { self.fall(falls) } else { open(&self.facts).waits = Some((spot, falls)) }
    }

    /// What still waits falls now.
    pub(super) fn strike(&self) {
        let waiting = open(&self.facts).waits.take();
        if let Some((_, falls)) = waiting {
            self.fall(falls);
        }
    }

    fn takes(&self, spot: Spot) -> Option<Falls> {
        open(&self.facts).waits.take_if(|(at, _)| *at == spot).map(|(_, falls)| falls)
    }

    fn fall(&self, falls: Falls) {
        open(&self.facts).falls.push((self.now(), falls));
        self.crash.notify_one();
        if falls == Falls::Machine {
            self.goes_down();
            self.sim.with(|r| r.strike(&Incident::Kill(Pick::Id(self.id.clone()))));
        }
    }

    /// Passes a spot; does not come back when a blow was waiting there.
    pub(super) async fn pass(&self, spot: Spot) {
        if let Some(falls) = self.takes(spot) {
            self.fall(falls);
            std::future::pending::<()>().await;
        }
    }

    /// A blow waits for the middle of an effect, and is taken by this one.
    pub(super) fn midway(&self) -> Option<Falls> {
        self.takes(Spot::Midway)
    }

    pub(super) async fn falls_in(&self, time: Duration, falls: Falls) {
        tokio::time::sleep(time).await;
        self.fall(falls);
        std::future::pending::<()>().await;
    }

    /// Nothing gets through for so long.
    pub(super) fn cut_off(&self, time: Duration) {
        let now = self.now();
        let mut facts = open(&self.facts);
        facts.cut_until = now + time;
        facts.troubled.push((now, now + time));
    }

    /// One call in six is lost on its way, or its answer, for so long.
    pub(super) fn lose_calls(&self, time: Duration) {
        let now = self.now();
        let mut facts = open(&self.facts);
        facts.lossy_until = now + time;
        facts.troubled.push((now, now + time));
    }

    /// The job of this key, begun now unless there is one: its number in the ledger, and when it ends.
    pub(super) fn job(&self, key: &str, begin: impl FnOnce() -> (usize, SimTime)) -> (usize, SimTime) {
        *open(&self.facts).jobs.entry(key.to_owned()).or_insert_with(begin)
    }

    pub(super) fn known_job(&self, key: &str) -> Option<(usize, SimTime)> {
        open(&self.facts).jobs.get(key).copied()
    }

    /// Jobs that run or ended here, by number in the ledger.
    pub(super) fn jobs(&self) -> Vec<usize> {
        open(&self.facts).jobs.values().map(|(number, _)| *number).collect()
    }

    /// A job of it has so long to go.
    pub(super) fn works_for(&self, time: Duration) -> bool {
        let until = self.now() + time;
        open(&self.facts).jobs.values().any(|(_, ends)| *ends >= until)
    }

    pub(super) fn stop_job(&self, key: &str) {
        let job = open(&self.facts).jobs.remove(key);
        if let Some((number, _)) = job {
            self.ledger.cut(number, self.now());
        }
    }

    /// The line lets a packet through.
    async fn way(&self) -> Result<(), StoreError> {
        let (time, lost) = {
            let mut rng = open(&self.rng);
            (WAY.mul_f64(rng.random_range(0.2..1.0)), rng.random_bool(1.0 / 12.0))
        };
        tokio::time::sleep(time).await;
        let now = self.now();
        let (cut, lossy) = {
            let facts = open(&self.facts);
            (now < facts.cut_until, now < facts.lossy_until)
        };
        if cut || (lossy && lost) {
            tokio::time::sleep(PATIENCE).await;
            return Err(StoreError::Unavailable("no answer within the limit".to_owned()));
        }
        Ok(())
    }
}

/// A process that lives.
pub(in crate::drill) struct Alive(Arc<Host>);

impl Drop for Alive {
    fn drop(&mut self) {
        let now = self.0.now();
        if let Some(life) = open(&self.0.facts).lives.last_mut() {
            life.to = Some(now);
        }
        *open(&self.0.runner) = None;
    }
}

/// The line from a host to the store.
pub(in crate::drill) struct Line(pub(in crate::drill) Arc<Host>);

#[async_trait]
impl Hooks for Line {
    async fn going(&self, call: &'static str) -> Result<(), StoreError> {
        if call == "write" {
            self.0.pass(Spot::WriteSent).await;
        }
        self.0.way().await
    }

    async fn coming(&self, call: &'static str) -> Result<(), StoreError> {
        if call == "write" {
            self.0.pass(Spot::WriteDone).await;
        }
        self.0.way().await
    }

    async fn wait(&self, store: &dyn Store, session: &Session, at_most: Duration) {
        let cut = self.0.now() < open(&self.0.facts).cut_until;
        if cut {
            return tokio::time::sleep(at_most).await;
        }
        store.wait(session, at_most).await;
    }
}
