//! One instance of a play: a real agent on it, with a memory that outlives its crashes, and a record of what it did.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::act::Hands;
use crate::cloud;
use crate::cloud::AutoScaling;
use crate::cloud::Metadata;
use crate::cloud::OwnInstance;
use crate::cloud::ScalingActivity;
use crate::cloud::sim::Sim;
use crate::cloud::sim::SimTime;
use crate::daemon;
use crate::daemon::Lines;
use crate::daemon::Parts;
use crate::daemon::engine::Engine;
use crate::decide::Durable;
use crate::decide::Policy;
use crate::decide::Progress;
use crate::decide::Status;
use crate::http::Asked;
use crate::journal::Audit;
use crate::journal::Event;
use crate::journal::Journal;
use crate::model::Clock;
use crate::model::Group;
use crate::model::InstanceId;
use crate::model::Intake;
use crate::model::Probe;
use crate::model::Probed;
use crate::model::Sample;
use crate::model::Timestamp;
use crate::model::Vitals;
use crate::observe::Eyes;
use crate::orchestrator;
use crate::orchestrator::Abilities;
use crate::orchestrator::Orchestrator;
use crate::orchestrator::permits::Permits;
use crate::orchestrator::probe::Nothing;
use crate::orchestrator::probe::Probes;
use crate::orchestrator::runner::Wish;

use super::fleet::Alive;
use super::fleet::Fleet;
use super::fleet::Host;
use super::hooked::Hooked;
use super::hooked::Hooks;
use super::scenario::Sickness;

/// What one agent left behind.
#[derive(Debug, Default)]
pub struct Record {
    /// Every state its journal held, with its time.
    pub journal: Vec<(Timestamp, Durable)>,
    /// Its audit log.
    pub audit: Vec<Event>,
    /// What was true in the region whenever a terminate call of its went out.
    pub calls: Vec<Arc<AtCall>>,
    /// What its orchestrator said, with the time that it was asked.
    pub heard: Vec<(SimTime, Said)>,
    /// How often it crashed.
    pub crashes: u32,
}

/// What was true in the region when a terminate call went out.
#[derive(Clone, Debug)]
pub struct AtCall {
    /// When.
    pub at: SimTime,
    /// The instance's group and its siblings.
    pub groups: Vec<Group>,
    /// The generation under which its drain began and whether the orchestrator was stopped before, when its journal said that it would.
    pub intent: Option<(u64, bool)>,
    /// What the orchestrator was really executing, by name.
    pub executing: Vec<String>,
    /// The orchestrator's process was there.
    pub runs: bool,
}

/// What an orchestrator said, before anything that a test has planted got hold of it.
#[derive(Clone, Debug)]
pub enum Said {
    /// Of its intake.
    Intake(Intake),
    /// Of its activity.
    Activity(Sample),
}

/// One instance and the agent on it.
pub struct Station {
    /// The instance.
    pub id: InstanceId,
    /// What its agent left behind so far.
    pub record: Arc<Mutex<Record>>,
    /// What `status` would show.
    pub status: watch::Receiver<Status>,
    status_out: watch::Sender<Status>,
    sim: Sim,
    clock: Arc<dyn Clock>,
    seed: u64,
    crash_at_call: f64,
    crash: Arc<Notify>,
    /// The machine as one of a fleet of engines; `None` = the region simulates its orchestrator.
    engine: Option<(Arc<Fleet>, Arc<Host>)>,
    /// What its probes are to find.
    pub(super) sickness: Option<Sickness>,
    /// Its disk is full from then on.
    pub(super) full_from: Option<SimTime>,
    /// The book of permits, where there is one.
    pub(super) permits: Option<Arc<dyn Permits>>,
    #[cfg(test)]
    pub(super) plant: Option<super::plants::Plant>,
}

/// What an agent works with, and what a test may spoil.
pub(super) struct Gear {
    pub(super) autoscaling: Arc<dyn AutoScaling>,
    pub(super) orchestrator: Arc<dyn Orchestrator>,
    pub(super) probes: Arc<dyn Probes>,
    pub(super) permits: Option<Arc<dyn Permits>>,
    pub(super) journal: Box<dyn Journal>,
    pub(super) audit: Box<dyn Audit>,
    pub(super) policy: Policy,
}

/// Locks a record; a panic elsewhere must not hide it from the verdict.
pub fn open<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Station {
    /// A station whose agent has not been started yet.
    pub(super) fn new(id: InstanceId, sim: Sim, clock: Arc<dyn Clock>, seed: u64, crash_at_call: f64, fleet: Option<&Arc<Fleet>>) -> Self {
        let (status_out, status) = watch::channel(Status::default());
        let crash = Arc::new(Notify::new());
        let engine = fleet.map(|fleet| (fleet.clone(), fleet.host(&id, crash.clone(), seed)));
        Self {
            id,
            record: Arc::default(),
            status,
            status_out,
            sim,
            clock,
            seed,
            crash_at_call,
            crash,
            engine,
            sickness: None,
            full_from: None,
            permits: None,
            #[cfg(test)]
            plant: None,
        }
    }

    /// The agent's life from a start to the next crash: everything in memory is lost then, the journal is not.
    pub async fn live(&self, policy: Policy, stop: CancellationToken) {
        let life = open(&self.record).crashes;
        let autoscaling: Arc<dyn AutoScaling> = Arc::new(Hooked {
            cloud: Arc::new(self.sim.cloud(&format!("agent:{}", self.id))),
            hooks: Crashing {
                sim: self.sim.clone(),
                record: self.record.clone(),
                crash: self.crash.clone(),
                chance: self.crash_at_call,
                rng: Mutex::new(Pcg64Mcg::seed_from_u64(self.seed ^ (u64::from(life) << 32))),
                engine: self.engine.clone(),
            },
        });
        let metadata: Arc<dyn Metadata> = Arc::new(self.sim.metadata(&self.id));
        let boot = self.sim.with(|r| r.instance(&self.id).map(|i| i.boot_id.clone())).unwrap_or_default();
        let (policy_out, policies) = watch::channel(policy.clone());
        let (_commands_in, commands) = mpsc::channel::<Asked>(1);
        let mut lines = Lines {
            policy: policies,
            commands,
            stop,
            status: self.status_out.clone(),
            beat: Box::new(|| {}),
            beat_every: daemon::BEAT_EVERY,
            counts: Arc::default(),
        };
        let life = async {
            let Some(identity) = daemon::identify(&*metadata, &mut lines).await else { return };
            let mut journal: Box<dyn Journal> = Box::new(Memory { record: self.record.clone() });
            let engine =
                self.engine.as_ref().map(|(fleet, host)| self.begin(fleet, host, daemon::engine::wish(&mut *journal, &self.id, &boot)));
            let inner: Arc<dyn Orchestrator> = match &engine {
                Some((engine, _)) => engine.orchestrator.clone(),
                None => Arc::new(self.sim.orchestrator(&self.id)),
            };
            let host = self.engine.as_ref().map(|(_, host)| host.clone());
            let orchestrator: Arc<dyn Orchestrator> =
                Arc::new(Overheard { orchestrator: inner, sim: self.sim.clone(), record: self.record.clone(), host });
            let audit: Box<dyn Audit> = Box::new(Memory { record: self.record.clone() });
            let probes: Arc<dyn Probes> = match &self.sickness {
                Some(sickness) => {
                    Arc::new(Probing { sim: self.sim.clone(), id: self.id.clone(), sickness: sickness.clone(), full_from: self.full_from })
                }
                None => Arc::new(Nothing),
            };
            let gear = Gear { autoscaling, orchestrator, probes, permits: self.permits.clone(), journal, audit, policy };
            #[cfg(test)]
            let gear = super::plants::plant(self.plant, gear);
            let Gear { autoscaling, orchestrator, probes, permits, journal, audit, policy } = gear;
            policy_out.send_replace(policy);
            let parts = Parts {
                identity,
                eyes: Eyes { autoscaling: autoscaling.clone(), metadata, orchestrator: orchestrator.clone(), tasks: None, probes },
                hands: Hands { autoscaling, orchestrator, tasks: None, permits },
                clock: self.clock.clone(),
                journal,
                audit,
                boot,
            };
            let end_loop = lines.stop.clone();
            let looping = daemon::run(parts, lines);
            match engine {
                // One that ends by itself ends the agent, and systemd starts the next.
                Some((engine, _alive)) => drop(engine.beside(looping, end_loop).await),
                None => looping.await,
            }
        };
        // Safe to cancel: that is what a crash is. It comes first: nothing is done any more at the moment of the fall.
        tokio::select! {
            biased;
            () = self.crash.notified() => {}
            () = life => {}
        }
        open(&self.record).crashes += 1;
    }

    /// The engine of this life, as the agent puts it together.
    fn begin(&self, fleet: &Fleet, host: &Arc<Host>, wish: Wish) -> (Engine, Alive) {
        let organs = fleet.organs(host);
        #[cfg(test)]
        let organs = super::plants::spoil(self.plant, organs);
        let alive = host.live(wish.intake);
        let engine = Engine::start(fleet.parts(host, &organs), organs.settings, wish);
        *open(&host.runner) = Some(engine.runner.clone());
        (engine, alive)
    }

    /// The machine is off.
    pub(super) fn goes_down(&self) {
        if let Some((_, host)) = &self.engine {
            host.goes_down();
        }
    }

    /// What is to be seen of an embedded engine: whether it takes work, and how many executions it owns. `None` = there is none here.
    pub fn engine(&self) -> Option<(Option<bool>, usize)> {
        let (_, host) = self.engine.as_ref()?;
        let runner = open(&host.runner);
        Some((
            runner.as_ref().map(|runner| runner.wished().intake && runner.wished().run),
            runner.as_ref().map_or(0, |runner| runner.owned(0).0),
        ))
    }

    /// The agent's process dies now.
    pub fn kill(&self) {
        self.crash.notify_one();
    }
}

struct Memory {
    record: Arc<Mutex<Record>>,
}

impl Journal for Memory {
    fn load(&mut self, _own: &InstanceId, _boot: &str) -> io::Result<Option<(Durable, bool)>> {
        Ok(open(&self.record).journal.last().map(|(_, durable)| (durable.clone(), true)))
    }

    fn save(&mut self, _own: &InstanceId, _boot: &str, at: Timestamp, durable: &Durable) -> io::Result<()> {
        open(&self.record).journal.push((at, durable.clone()));
        Ok(())
    }
}

impl Audit for Memory {
    fn write(&mut self, event: &Event) {
        open(&self.record).audit.push(event.clone());
    }
}

/// What a probe that hangs takes.
const PROBE_WITHIN: Duration = Duration::from_secs(3);

/// Probes of a simulated orchestrator, and of a store that is said to be down at times.
struct Probing {
    sim: Sim,
    id: InstanceId,
    sickness: Sickness,
    full_from: Option<SimTime>,
}

#[async_trait]
impl Probes for Probing {
    async fn probe(&self, probe: Probe) -> Probed {
        let (now, runs, answers) = self.sim.with(|r| (r.now(), r.orchestrator_runs(&self.id), r.answers(&self.id)));
        match probe {
            Probe::Store if self.sickness.store_answers(now) => Probed::Passed,
            Probe::Store => Probed::Absent { why: "connection refused".to_owned() },
            Probe::Liveness | Probe::Readiness if !runs => Probed::Absent { why: "connection refused".to_owned() },
            Probe::Liveness | Probe::Readiness if answers => Probed::Passed,
            Probe::Liveness | Probe::Readiness => {
                tokio::time::sleep(PROBE_WITHIN).await;
                Probed::Silent { why: format!("no answer within {} s", PROBE_WITHIN.as_secs()) }
            }
        }
    }

    async fn vitals(&self) -> Vitals {
        let full = self.full_from.is_some_and(|from| self.sim.with(|r| r.now()) >= from);
        let free = if full { 1 } else { 60 };
        Vitals { disk_free_percent: std::iter::once(("/".to_owned(), free)).collect(), ..Vitals::default() }
    }
}

/// The orchestrator, with a note of what it says.
struct Overheard {
    orchestrator: Arc<dyn Orchestrator>,
    sim: Sim,
    record: Arc<Mutex<Record>>,
    host: Option<Arc<Host>>,
}

impl Overheard {
    fn told(&self, intake: bool) {
        if let Some(host) = &self.host {
            open(&host.facts).intake.push((host.now(), intake));
        }
    }
}

#[async_trait]
impl Orchestrator for Overheard {
    async fn activity(&self) -> Sample {
        let at = self.sim.with(|r| r.now());
        let sample = self.orchestrator.activity().await;
        open(&self.record).heard.push((at, Said::Activity(sample.clone())));
        sample
    }

    async fn intake(&self) -> Intake {
        let at = self.sim.with(|r| r.now());
        let intake = self.orchestrator.intake().await;
        open(&self.record).heard.push((at, Said::Intake(intake.clone())));
        intake
    }

    async fn set_intake(&self, open: bool) -> Result<(), orchestrator::Error> {
        self.told(open);
        self.orchestrator.set_intake(open).await
    }

    async fn stop(&self, grace: Duration) -> Result<(), orchestrator::Error> {
        self.told(false);
        self.orchestrator.stop(grace).await
    }

    async fn start(&self) -> Result<(), orchestrator::Error> {
        self.orchestrator.start().await
    }

    fn abilities(&self) -> Abilities {
        self.orchestrator.abilities()
    }
}

/// An agent that may crash around its terminate call, and a note of what was true when it was made.
struct Crashing {
    sim: Sim,
    record: Arc<Mutex<Record>>,
    crash: Arc<Notify>,
    chance: f64,
    rng: Mutex<Pcg64Mcg>,
    engine: Option<(Arc<Fleet>, Arc<Host>)>,
}

impl Crashing {
    async fn perhaps(&self, chance: f64) {
        if open(&self.rng).random_bool(chance) {
            self.crash.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Hooks for Crashing {
    async fn terminate_own(&self, cloud: &dyn AutoScaling, own: &OwnInstance, decrement: bool) -> cloud::Result<ScalingActivity> {
        self.perhaps(self.chance / 2.0).await;
        let (at, groups, simulated, runs) = self.sim.with(|r| {
            let groups = r.group_names().iter().filter_map(|name| r.group_now(name)).map(|d| d.group).collect();
            (r.now(), groups, r.executing(own.id()), r.orchestrator_runs(own.id()))
        });
        let (executing, runs) = match &self.engine {
            None => (simulated.iter().map(u64::to_string).collect(), runs),
            Some((fleet, host)) => (fleet.executing(own.id()), host.has_session()),
        };
        {
            let mut record = open(&self.record);
            let intent = record.journal.last().and_then(|(_, durable)| durable.drain.as_ref()).and_then(|d| match d.progress {
                Progress::Intent { stopped, .. } => Some((d.generation, stopped)),
                Progress::Draining | Progress::Stopping | Progress::Stopped | Progress::Accepted { .. } | Progress::Cancelled { .. } => {
                    None
                }
            });
            record.calls.push(Arc::new(AtCall { at, groups, intent, executing, runs }));
        }
        let answer = cloud.terminate_own(own, decrement).await;
        self.perhaps(self.chance / 2.0).await;
        answer
    }
}

/// Stations by instance.
pub type Stations = BTreeMap<InstanceId, Arc<Station>>;
