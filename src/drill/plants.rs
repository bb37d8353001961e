//! Bugs to plant in the agents of a play, each the bug that an invariant is there to catch. They exist in test builds alone.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::fleet;
use super::fleet::Behind;
use super::fleet::Organs;
use super::hooked::Hooked;
use super::hooked::Hooks;
use super::station::Gear;
use super::station::open;
use crate::cloud;
use crate::cloud::AutoScaling;
use crate::cloud::OwnInstance;
use crate::cloud::Receipt;
use crate::cloud::Resize;
use crate::cloud::ScalingActivity;
use crate::decide::Durable;
use crate::decide::heal::Level;
use crate::journal::Audit;
use crate::journal::Event;
use crate::journal::Journal;
use crate::journal::What;
use crate::model::Activity;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::HOLD_TAG;
use crate::model::HookResult;
use crate::model::InstanceHealth;
use crate::model::InstanceId;
use crate::model::Intake;
use crate::model::LifecycleState;
use crate::model::Permit;
use crate::model::PermitAnswer;
use crate::model::PermitRequest;
use crate::model::Probe;
use crate::model::Probed;
use crate::model::Process;
use crate::model::RECORD_TAG;
use crate::model::Sample;
use crate::model::Timestamp;
use crate::model::Vitals;
use crate::orchestrator;
use crate::orchestrator::Abilities;
use crate::orchestrator::Orchestrator;
use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::permits::Permits;
use crate::orchestrator::probe::Probes;
use crate::orchestrator::runner::effects::Performer;
use crate::orchestrator::store::Claimed;
use crate::orchestrator::store::Created;
use crate::orchestrator::store::NewExecution;
use crate::orchestrator::store::Session;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::StoreError;
use crate::orchestrator::store::Then;
use crate::orchestrator::store::Write;
use crate::orchestrator::store::WriteError;
use crate::rollback::Canary;
use crate::rollback::Request;

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Once idle was seen with intake closed, later looks are answered from memory: there is no last look.
    NoLastLook,
    /// What cannot be learnt counts as idle.
    UnknownIsIdle,
    /// A terminate call whose answer was lost is sent again at once.
    RetryBlindly,
    /// Intake is said to be closed although nobody closed it.
    IntakeNeverClosed,
    /// Hold tags are not seen.
    HoldUnseen,
    /// Suspended processes of a group are made up: everybody thinks that its group is disabled.
    AlwaysDisabled,
    /// No quiet time.
    NoQuiet,
    /// Everybody may end at once.
    NoBudget,
    /// The journal is lost with the process.
    NoJournal,
    /// Nothing is written to the journal.
    Unwritten,
    /// desired is written together with min.
    WritesDesired,
    /// The audit log has no line of what came of a deed.
    NoOutcomes,
    /// Turns are many times longer than reads are stale.
    LongTurns,
    /// Heartbeats of a lifecycle hook are said to be accepted, and never sent.
    NoHeartbeats,
    /// A lifecycle hook is answered when it is to be kept waiting.
    AnswersAtOnce,
    /// A protection from scale-in is said to be taken off, and never is.
    StaysProtected,
    /// An effect is begun before the write that tells of it has reached the store.
    BeginsEarly,
    /// A write that was refused since somebody else owns the execution is taken for done.
    FenceIgnored,
    /// A job that nobody knows of is begun anew, whatever its kind.
    JobsAgain,
    /// A machine does not know its jobs any more once its agent fell.
    JobsForgotten,
    /// What is taken over from an owner that is gone is put aside.
    AdoptionForgotten,
    /// An engine that does not know yet what runs on its host says that nothing does.
    UnseenIsIdle,
    /// A job whose execution another instance took over is not seen.
    JobsOfOthersUnseen,
    /// The lease is ten times as long as is promised.
    LongLease,
    /// With its intake closed an engine runs on what it owns.
    NoHandoff,
    /// What is to be given back is held for a while.
    SlowHandback,
    /// Each start of one execution by another makes two.
    StartsTwice,
    /// A rollback does not write down how it found a group.
    RecordForgotten,
    /// A rollback resumes nothing of what it froze.
    NeverThaws,
    /// An undoing protects nobody who was there before.
    ProtectsNobody,
    /// An undoing takes no protection off again.
    ProtectsForGood,
    /// A rollback's restored group seems to have everybody in service, and it believes that.
    SeesWhatItWants,
    /// A rollback launches all restored instances at once, canary or not.
    AllAtOnce,
    /// Everybody restarts when it likes.
    RestartsAtOnce,
    /// Restarts have no budget, and nobody waits to see whether one helped.
    RestartsForEver,
    /// A store that does not answer is not seen.
    StoreUnseen,
    /// That siblings are not well is not seen.
    SiblingsUnseen,
    /// A sick orchestrator is left alone.
    NeverHeals,
    /// Turns are over long before what is done in them.
    ShortTurns,
    /// The same, and the book has a permit for everybody.
    PermitsForAll,
    /// A rollback keeps nobody for the post-mortem.
    KeepsNobody,
}

/// Plants a bug, or none.
pub fn plant(plant: Option<Plant>, gear: Gear) -> Gear {
    let Some(plant) = plant else { return gear };
    let Gear { autoscaling, orchestrator, mut probes, mut permits, mut journal, mut audit, mut policy } = gear;
    match plant {
        Plant::NoQuiet => (policy.quiet, policy.settle) = (Duration::ZERO, Duration::ZERO),
        Plant::NoBudget => policy.budget_percent = 100,
        Plant::LongTurns => policy.stale_bound = Duration::from_secs(300),
        Plant::NoJournal | Plant::Unwritten => journal = Box::new(Forgets { journal, writes: plant == Plant::NoJournal }),
        Plant::RestartsAtOnce => policy.heal.budget_percent = 100,
        Plant::RestartsForEver => {
            (policy.heal.restarts, policy.heal.backoff, policy.heal.start_grace) = (20, Duration::from_secs(1), Duration::from_secs(10));
        }
        Plant::ShortTurns => policy.heal.turn = Duration::from_secs(1),
        Plant::PermitsForAll => {
            policy.heal.turn = Duration::from_secs(1);
            permits = permits.map(|book| Arc::new(Generous(book)) as Arc<dyn Permits>);
        }
        Plant::NeverHeals => policy.heal.level = Level::Observe,
        Plant::StoreUnseen => probes = Arc::new(BlindToTheStore(probes)),
        Plant::NoOutcomes => audit = Box::new(Mute(audit)),
        Plant::NoLastLook
        | Plant::UnknownIsIdle
        | Plant::RetryBlindly
        | Plant::IntakeNeverClosed
        | Plant::HoldUnseen
        | Plant::AlwaysDisabled
        | Plant::WritesDesired
        | Plant::NoHeartbeats
        | Plant::AnswersAtOnce
        | Plant::StaysProtected
        | Plant::BeginsEarly
        | Plant::FenceIgnored
        | Plant::JobsAgain
        | Plant::JobsForgotten
        | Plant::AdoptionForgotten
        | Plant::UnseenIsIdle
        | Plant::JobsOfOthersUnseen
        | Plant::LongLease
        | Plant::NoHandoff
        | Plant::SlowHandback
        | Plant::StartsTwice
        | Plant::RecordForgotten
        | Plant::NeverThaws
        | Plant::KeepsNobody
        | Plant::ProtectsNobody
        | Plant::ProtectsForGood
        | Plant::SeesWhatItWants
        | Plant::SiblingsUnseen
        | Plant::AllAtOnce => {}
    }
    Gear {
        autoscaling: Arc::new(Hooked { cloud: autoscaling, hooks: BadCloud(plant) }),
        orchestrator: Arc::new(BadEyes { orchestrator, plant, idle: Mutex::default() }),
        probes,
        permits,
        journal,
        audit,
        policy,
    }
}

/// Asks for more places than the budget has.
struct Generous(Arc<dyn Permits>);

#[async_trait]
impl Permits for Generous {
    async fn take(&self, request: &PermitRequest) -> Result<PermitAnswer, StoreError> {
        self.0.take(&PermitRequest { places: u32::MAX, ..request.clone() }).await
    }

    async fn give(&self, group: &GroupName, permit: &Permit) -> Result<(), StoreError> {
        self.0.give(group, permit).await
    }
}

struct BlindToTheStore(Arc<dyn Probes>);

#[async_trait]
impl Probes for BlindToTheStore {
    async fn probe(&self, probe: Probe) -> Probed {
        if probe == Probe::Store { Probed::Passed } else { self.0.probe(probe).await }
    }

    async fn vitals(&self) -> Vitals {
        self.0.vitals().await
    }
}

/// Plants a bug in a rollback, or none.
pub fn mislead(plant: Option<Plant>, cloud: Arc<dyn AutoScaling>) -> Arc<dyn AutoScaling> {
    match plant {
        Some(plant) => Arc::new(Hooked { cloud, hooks: BadPlan(plant) }),
        None => cloud,
    }
}

/// Plants a bug in what a rollback is asked for, or none.
pub fn misunderstand(plant: Option<Plant>, request: Request) -> Request {
    match plant {
        Some(Plant::AllAtOnce) => Request { canary: Canary::Never, ..request },
        Some(Plant::KeepsNobody) => Request { keep_bad: 0, ..request },
        _ => request,
    }
}

struct BadPlan(Plant);

impl Hooks for BadPlan {
    fn shown(&self, mut groups: Vec<Group>) -> Vec<Group> {
        let held = groups.iter_mut().filter(|g| g.tags.contains_key(HOLD_TAG) && self.0 == Plant::SeesWhatItWants);
        for group in held {
            // Without load balancers nobody contradicts.
            group.target_groups.clear();
            group.classic_load_balancers.clear();
            group.instances.iter_mut().for_each(|i| i.state = LifecycleState::InService);
        }
        groups
    }

    fn tagged(&self, tags: &[(String, String)]) -> Vec<(String, String)> {
        tags.iter().filter(|(key, _)| self.0 != Plant::RecordForgotten || key != RECORD_TAG).cloned().collect()
    }

    fn resumed(&self, processes: &[Process]) -> Vec<Process> {
        processes.iter().filter(|p| self.0 != Plant::NeverThaws || Process::DISABLING.contains(p)).cloned().collect()
    }

    fn protected(&self, instances: &[InstanceId], protected: bool) -> Vec<InstanceId> {
        let lost = if protected { Plant::ProtectsNobody } else { Plant::ProtectsForGood };
        if self.0 == lost { Vec::new() } else { instances.to_vec() }
    }
}

/// Plants a bug in an engine, or none.
pub fn spoil(plant: Option<Plant>, organs: Organs) -> Organs {
    let Some(plant) = plant else { return organs };
    let Organs { store, performer, mut settings } = organs;
    match plant {
        Plant::LongLease => settings.lease *= 10,
        Plant::NoHandoff => settings.handoff = false,
        _ => {}
    }
    let hooks = BadStore { plant, pending: Mutex::default() };
    Organs { store: Arc::new(Behind { store, hooks }), performer: Arc::new(BadHand { performer, plant }), settings }
}

struct BadStore {
    plant: Plant,
    /// Writes that were said to be done.
    pending: Mutex<Vec<Write>>,
}

impl BadStore {
    async fn flush(&self, store: &dyn Store) {
        let pending = std::mem::take(&mut *open(&self.pending));
        for write in pending {
            let _too_late = store.write(write).await;
        }
    }
}

#[async_trait]
impl fleet::Hooks for BadStore {
    async fn claim(&self, store: &dyn Store, session: &Session, max: usize) -> Result<Vec<Claimed>, StoreError> {
        self.flush(store).await;
        let mut claimed = store.claim(session, max).await?;
        if self.plant == Plant::AdoptionForgotten {
            claimed.retain(|claimed| !claimed.adopted);
        }
        Ok(claimed)
    }

    async fn write(&self, store: &dyn Store, write: Write) -> Result<(), WriteError> {
        match (self.plant, &write.then) {
            (Plant::BeginsEarly, Then::Keep) => {
                open(&self.pending).push(write);
                return Ok(());
            }
            (Plant::SlowHandback, Then::Park { .. }) => tokio::time::sleep(Duration::from_secs(5)).await,
            _ => {}
        }
        self.flush(store).await;
        match store.write(write).await {
            Err(WriteError::Fenced) if self.plant == Plant::FenceIgnored => Ok(()),
            came => came,
        }
    }

    async fn create(&self, store: &dyn Store, new: NewExecution) -> Result<Created, StoreError> {
        let started = new.record.fields.iter().any(|(name, value)| name == "trigger" && value.contains("parentExecution"));
        if self.plant == Plant::StartsTwice && started {
            let mut twin = new.clone();
            twin.correlation_id = None;
            twin.listing.id = ExecutionId(format!("{}Z", &new.listing.id.as_str()[..25]));
            store.create(twin).await?;
        }
        store.create(new).await
    }
}

struct BadHand {
    performer: Arc<dyn Performer>,
    plant: Plant,
}

#[async_trait]
impl Performer for BadHand {
    async fn perform(&self, key: &AttemptKey, effect: Effect, stop: &CancellationToken) -> Outcome {
        let asks = matches!(effect, Effect::AttachJob { .. });
        if asks && self.plant == Plant::JobsForgotten {
            return Outcome::JobLost;
        }
        let outcome = self.performer.perform(key, effect, stop).await;
        if asks && outcome == Outcome::JobLost && self.plant == Plant::JobsAgain {
            let argv = vec!["again".to_owned(), "10".to_owned()];
            let job = Effect::Job { argv, env: Vec::new(), directory: None, timeout_ms: 60_000, keep_bytes: 0, idempotent: true };
            return self.performer.perform(key, job, stop).await;
        }
        outcome
    }

    fn outlived(&self) -> BTreeSet<ExecutionId> {
        if self.plant == Plant::JobsForgotten { BTreeSet::new() } else { self.performer.outlived() }
    }

    fn running(&self) -> BTreeSet<ExecutionId> {
        if self.plant == Plant::JobsOfOthersUnseen { BTreeSet::new() } else { self.performer.running() }
    }
}

/// Keeps what came of a deed to itself.
struct Mute(Box<dyn Audit>);

impl Audit for Mute {
    fn write(&mut self, event: &Event) {
        if !matches!(event.what, What::Outcome { .. }) {
            self.0.write(event);
        }
    }
}

struct Forgets {
    journal: Box<dyn Journal>,
    writes: bool,
}

impl Journal for Forgets {
    fn load(&mut self, _own: &InstanceId, _boot: &str) -> io::Result<Option<(Durable, bool)>> {
        Ok(None)
    }

    fn save(&mut self, own: &InstanceId, boot: &str, at: Timestamp, durable: &Durable) -> io::Result<()> {
        if self.writes { self.journal.save(own, boot, at, durable) } else { Ok(()) }
    }
}

struct BadEyes {
    orchestrator: Arc<dyn Orchestrator>,
    plant: Plant,
    idle: Mutex<bool>,
}

#[async_trait]
impl Orchestrator for BadEyes {
    async fn activity(&self) -> Sample {
        let mut sample = self.orchestrator.activity().await;
        match self.plant {
            Plant::NoLastLook => {
                let closed = self.orchestrator.intake().await == Intake::Closed;
                let mut idle = open(&self.idle);
                *idle |= closed && sample.activity == Activity::Idle;
                if *idle {
                    sample = Sample { activity: Activity::Idle, measured: None, generation: None, ..sample };
                }
            }
            Plant::UnknownIsIdle | Plant::UnseenIsIdle if matches!(sample.activity, Activity::Unknown { .. }) => {
                (sample.activity, sample.measured) = (Activity::Idle, None);
            }
            _ => {}
        }
        sample
    }

    async fn intake(&self) -> Intake {
        match self.plant {
            Plant::IntakeNeverClosed => Intake::Closed,
            Plant::NoLastLook if *open(&self.idle) => Intake::Closed,
            Plant::UnknownIsIdle | Plant::UnseenIsIdle => match self.orchestrator.intake().await {
                Intake::Unknown { .. } => Intake::Closed,
                known => known,
            },
            _ => self.orchestrator.intake().await,
        }
    }

    async fn set_intake(&self, open: bool) -> Result<(), orchestrator::Error> {
        if self.plant == Plant::IntakeNeverClosed { Ok(()) } else { self.orchestrator.set_intake(open).await }
    }

    async fn stop(&self, grace: Duration) -> Result<(), orchestrator::Error> {
        match self.orchestrator.stop(grace).await {
            Err(orchestrator::Error::Refused(_)) if self.plant == Plant::UnseenIsIdle => Ok(()),
            answer => answer,
        }
    }

    async fn start(&self) -> Result<(), orchestrator::Error> {
        self.orchestrator.start().await
    }

    fn abilities(&self) -> Abilities {
        self.orchestrator.abilities()
    }
}

struct BadCloud(Plant);

/// Groups that a play begins with are made before this.
const GROUPS_OLDEST: i64 = super::scenario::START_MS + 1000;

#[async_trait]
impl Hooks for BadCloud {
    async fn terminate_own(&self, cloud: &dyn AutoScaling, own: &OwnInstance, decrement: bool) -> cloud::Result<ScalingActivity> {
        match cloud.terminate_own(own, decrement).await {
            Err(error) if self.0 == Plant::RetryBlindly && error.outcome_unknown() => cloud.terminate_own(own, decrement).await,
            answer => answer,
        }
    }

    fn shown(&self, mut groups: Vec<Group>) -> Vec<Group> {
        for group in &mut groups {
            match self.0 {
                Plant::HoldUnseen => group.tags.clear(),
                Plant::SiblingsUnseen => group.instances.iter_mut().for_each(|i| i.health = InstanceHealth::Healthy),
                Plant::AlwaysDisabled if group.created.0 < GROUPS_OLDEST => {
                    group.suspended.insert(Process::AddToLoadBalancer, String::new());
                }
                _ => {}
            }
        }
        groups
    }

    async fn heartbeat(&self, cloud: &dyn AutoScaling, group: &GroupName, hook: &str, own: &OwnInstance) -> cloud::Result<Receipt> {
        match self.0 {
            Plant::NoHeartbeats => Ok(Receipt::default()),
            Plant::AnswersAtOnce => cloud.complete(group, hook, own, HookResult::Continue).await,
            _ => cloud.heartbeat(group, hook, own).await,
        }
    }

    fn protected(&self, instances: &[InstanceId], protected: bool) -> Vec<InstanceId> {
        if self.0 == Plant::StaysProtected && !protected { Vec::new() } else { instances.to_vec() }
    }

    fn sent(&self, change: Resize) -> Resize {
        if self.0 == Plant::WritesDesired { Resize { desired: change.min, ..change } } else { change }
    }
}
