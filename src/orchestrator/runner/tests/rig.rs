//! A fleet on the model store in virtual time: instances that crash, networks that are cut, and a ledger of what tasks really did.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Poll;

use async_trait::async_trait;
use serde_json::Value;
use serde_json::json;
use tokio::task::JoinSet;

use super::super::effects::Performers;
use super::super::effects::executions;
use super::super::effects::executions::Executions;
use super::super::effects::job;
use super::super::start;
use super::super::*;
use super::jobs::AllJobs;
use super::jobs::HostJobs;
use crate::host::clock::VirtualClock;
use crate::model::Timestamp;
use crate::orchestrator::engine::definition::Definition;
use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::stage::Failure;
use crate::orchestrator::engine::stage::Lost;
use crate::orchestrator::engine::stage::StageKind;
use crate::orchestrator::engine::stage::Step;
use crate::orchestrator::engine::stage::TaskKind;
use crate::orchestrator::engine::stage::TaskResult;
use crate::orchestrator::engine::stage::TaskSpec;
use crate::orchestrator::engine::stage::TaskView;
use crate::orchestrator::engine::stage::View;
use crate::orchestrator::engine::stage::noop::Noop;
use crate::orchestrator::engine::status::Status;
use crate::orchestrator::store::Claimed;
use crate::orchestrator::store::Created;
use crate::orchestrator::store::DefinitionVersion;
use crate::orchestrator::store::Listing;
use crate::orchestrator::store::NewExecution;
use crate::orchestrator::store::Query;
use crate::orchestrator::store::StoreError;
use crate::orchestrator::store::Write;
use crate::orchestrator::store::WriteError;
use crate::orchestrator::store::calls;
use crate::orchestrator::store::model::ModelStore;
use crate::orchestrator::store::record;

pub(super) const START: Timestamp = Timestamp(1_700_000_000_000);

/// What tasks really did: each attempt with the instance that began it, and whether it came to its end.
#[derive(Default)]
pub(super) struct Ledger {
    entries: Mutex<Vec<Entry>>,
    turn: AtomicU64,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: AttemptKey,
    pub(super) instance: String,
    pub(super) ended: bool,
}

impl Ledger {
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap().clone()
    }

    /// Attempts that began more than once: a fence that did not hold.
    pub(super) fn twice(&self) -> Vec<AttemptKey> {
        let mut count: BTreeMap<AttemptKey, u32> = BTreeMap::new();
        self.entries().into_iter().for_each(|entry| *count.entry(entry.key).or_default() += 1);
        count.into_iter().filter(|(_, n)| *n > 1).map(|(key, _)| key).collect()
    }

    /// Tasks that came to their end, by how often.
    pub(super) fn ended(&self) -> BTreeMap<String, u32> {
        let mut count: BTreeMap<String, u32> = BTreeMap::new();
        self.entries().into_iter().filter(|e| e.ended).for_each(|e| *count.entry(e.key.idempotency_key()).or_default() += 1);
        count
    }
}

/// Writes what it does into the ledger, and takes the time it is told (`longest_ms` of the fleet, by chance).
struct Hand {
    ledger: Arc<Ledger>,
    instance: String,
    longest: Duration,
}

#[async_trait]
impl Performer for Hand {
    async fn perform(&self, key: &AttemptKey, _: Effect, stop: &CancellationToken) -> Outcome {
        let nth = {
            let mut entries = self.ledger.entries.lock().unwrap();
            entries.push(Entry { key: key.clone(), instance: self.instance.clone(), ended: false });
            entries.len() - 1
        };
        let turn = self.ledger.turn.fetch_add(1, Ordering::Relaxed);
        let time = self.longest.mul_f64((pause::mix(turn + 1) >> 54) as f64 / 1024.0);
        tokio::select! {
            () = tokio::time::sleep(time), if !time.is_zero() => {}
            () = stop.cancelled() => return Outcome::Failed { error: "stopped".into(), retryable: true },
            () = std::future::ready(()), if time.is_zero() => {}
        }
        self.ledger.entries.lock().unwrap()[nth].ended = true;
        Outcome::Done { output: Value::Null }
    }
}

/// A stage of one task that must not be done twice: an attempt whose owner is gone fails it.
#[derive(Debug)]
struct Once;

impl StageKind for Once {
    fn name(&self) -> &'static str {
        "once"
    }

    fn tasks(&self, _: &View<'_>) -> Vec<TaskSpec> {
        vec![TaskSpec::new("once", "once")]
    }

    fn task(&self, _: &str) -> Option<&dyn TaskKind> {
        Some(self)
    }
}

impl TaskKind for Once {
    fn step(&self, _: &TaskView<'_>, outcome: Option<&Outcome>) -> Step {
        match outcome {
            None => Step::Perform { result: TaskResult::default(), effect: Effect::Call { name: "noop".to_owned(), input: Value::Null } },
            Some(Outcome::Done { .. }) => Step::Finish(TaskResult::of(Status::Succeeded)),
            Some(other) => Step::Fail(Failure::new("Stopped", format!("{other:?}"))),
        }
    }

    fn lost(&self, _: &TaskView<'_>) -> Lost {
        Lost::Fail(Failure::new("Lost", "nobody knows whether it was done"))
    }
}

/// A stage whose task comes to something big.
#[derive(Debug)]
struct Bulky;

/// Bytes of it.
pub(super) const BULK: usize = 100_000;

impl StageKind for Bulky {
    fn name(&self) -> &'static str {
        "bulky"
    }

    fn tasks(&self, _: &View<'_>) -> Vec<TaskSpec> {
        vec![TaskSpec::new("bulky", "bulky")]
    }

    fn task(&self, _: &str) -> Option<&dyn TaskKind> {
        Some(self)
    }
}

impl TaskKind for Bulky {
    fn step(&self, _: &TaskView<'_>, outcome: Option<&Outcome>) -> Step {
        match outcome {
            None => Step::Perform { result: TaskResult::default(), effect: Effect::Call { name: "noop".to_owned(), input: Value::Null } },
            Some(_) => Step::Finish(TaskResult::of(Status::Succeeded).with("bulk", "x".repeat(BULK))),
        }
    }
}

/// A stage whose task comes to something that nests as deep as its context says.
#[derive(Debug)]
struct Deep;

impl StageKind for Deep {
    fn name(&self) -> &'static str {
        "deep"
    }

    fn tasks(&self, _: &View<'_>) -> Vec<TaskSpec> {
        vec![TaskSpec::new("deep", "deep")]
    }

    fn task(&self, _: &str) -> Option<&dyn TaskKind> {
        Some(self)
    }
}

impl TaskKind for Deep {
    fn step(&self, view: &TaskView<'_>, _: Option<&Outcome>) -> Step {
        let levels = view.stage.context["levels"].as_u64().unwrap();
        let deep = (0..levels).fold(json!(1), |value, _| json!([value]));
        Step::Finish(TaskResult::of(Status::Succeeded).with("deep", deep))
    }
}

/// A stage whose task panics: a defect of ours.
#[derive(Debug)]
struct Broken;

impl StageKind for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn tasks(&self, _: &View<'_>) -> Vec<TaskSpec> {
        vec![TaskSpec::new("broken", "broken")]
    }

    fn task(&self, _: &str) -> Option<&dyn TaskKind> {
        Some(self)
    }
}

impl TaskKind for Broken {
    fn step(&self, _: &TaskView<'_>, _: Option<&Outcome>) -> Step {
        panic!("a defect")
    }
}

pub(super) fn registry() -> Registry {
    Registry::standard().with(Noop).with(Once).with(Bulky).with(Deep).with(Broken)
}

/// One instance's way to the store. A cut one gets no answers; a lossy one loses some answers after the store did as asked.
pub(super) struct Net {
    pub(super) store: Arc<ModelStore>,
    cut: AtomicBool,
    lossy: AtomicBool,
    lost: AtomicBool,
    hangs: AtomicBool,
    endless: AtomicBool,
    turn: AtomicU64,
    calls: Mutex<BTreeMap<&'static str, u64>>,
    /// Most bytes of one write; more is refused for good.
    pub(super) largest: AtomicUsize,
    /// Fields and bytes of all writes.
    pub(super) written: Mutex<(usize, usize)>,
    /// Most executions that one claim brought.
    pub(super) most_claimed: AtomicUsize,
    /// Executions of this name are refused for good.
    pub(super) unwanted: Mutex<Option<&'static str>>,
}

impl Net {
    fn gone() -> StoreError {
        StoreError::Unavailable("cut".into())
    }

    /// True when the answer to what was done gets lost.
    fn loses(&self) -> bool {
        self.lossy.load(Ordering::Relaxed) && pause::mix(self.turn.fetch_add(1, Ordering::Relaxed)).is_multiple_of(8)
    }

    /// How often the store was asked this.
    pub(super) fn calls(&self, name: &str) -> u64 {
        self.calls.lock().unwrap().get(name).copied().unwrap_or_default()
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    async fn through<T, E: From<StoreError>>(&self, name: &'static str, asked: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        *self.calls.lock().unwrap().entry(name).or_default() += 1;
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.is_cut() || (name == "end_session" && self.endless.load(Ordering::Relaxed)) {
            return Err(Self::gone().into());
        }
        if self.lost.load(Ordering::Relaxed) && name != "end_session" {
            return Err(StoreError::LostData("of this session".into()).into());
        }
        self.lost.store(false, Ordering::Relaxed);
        let answer = asked.await;
        if self.is_cut() || self.loses() { Err(Self::gone().into()) } else { answer }
    }
}

macro_rules! through {
    (
        {}
        ownership { $($own:tt)* }
        definitions { $($of:ident($($d:ident: $dt:ty),*) -> $da:ty;)* }
        others { $($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)* }
    ) => {
        #[async_trait]
        impl Store for Net {
            $(async fn $of(&self, $($d: $dt),*) -> $da {
                self.through(stringify!($of), self.store.$of($($d),*)).await
            })*

            $(async fn $name(&self, $($arg: $type),*) -> $answer {
                self.through(stringify!($name), self.store.$name($($arg),*)).await
            })*

            async fn claim(&self, session: &Session, max: usize) -> Result<Vec<Claimed>, StoreError> {
                let claimed = self.through("claim", self.store.claim(session, max)).await?;
                self.most_claimed.fetch_max(claimed.len(), Ordering::Relaxed);
                Ok(claimed)
            }

            async fn claim_one(&self, session: &Session, id: &ExecutionId) -> Result<Option<Claimed>, StoreError> {
                self.through("claim_one", self.store.claim_one(session, id)).await
            }

            async fn end_session(&self, session: &Session) -> Result<(), StoreError> {
                self.through("end_session", self.store.end_session(session)).await
            }

            async fn write(&self, write: Write) -> Result<(), WriteError> {
                let bytes: usize = write.set.iter().map(|(name, value)| name.len() + value.len()).sum();
                {
                    let mut written = self.written.lock().unwrap();
                    *written = (written.0 + write.set.len(), written.1 + bytes);
                }
                if bytes > self.largest.load(Ordering::Relaxed) {
                    return Err(StoreError::Refused(format!("{bytes} bytes")).into());
                }
                self.through("write", self.store.write(write)).await
            }

            async fn create(&self, new: NewExecution) -> Result<Created, StoreError> {
                if *self.unwanted.lock().unwrap() == Some(new.listing.name.as_str()) {
                    return Err(StoreError::Refused("unwanted".into()));
                }
                self.through("create", self.store.create(new)).await
            }

            async fn wait(&self, session: &Session, at_most: Duration) {
                if self.is_cut() {
                    return tokio::time::sleep(at_most).await;
                }
                self.store.wait(session, at_most).await;
            }
        }
    };
}

calls!(through {});

/// A process on an instance.
pub(super) struct Instance {
    pub(super) handle: Handle,
    pub(super) net: Arc<Net>,
    stop: CancellationToken,
    process: JoinSet<Ended>,
    frozen: Arc<AtomicBool>,
}

impl Instance {
    /// The engine's loop does nothing any more, for ever.
    pub(super) fn freeze(&self) {
        self.frozen.store(true, Ordering::Relaxed);
    }

    /// The process dies at once.
    pub(super) async fn kill(mut self) {
        self.process.shutdown().await;
    }

    /// SIGTERM, and its end.
    pub(super) async fn stop(mut self) -> Ended {
        self.stop.cancel();
        self.process.join_next().await.unwrap().unwrap()
    }

    /// Nobody wishes for anything any more; its end.
    pub(super) async fn forsake(mut self) -> Ended {
        drop(self.handle);
        self.process.join_next().await.unwrap().unwrap()
    }

    pub(super) fn cut(&self, cut: bool) {
        self.net.cut.store(cut, Ordering::Relaxed);
    }

    pub(super) fn lossy(&self, lossy: bool) {
        self.net.lossy.store(lossy, Ordering::Relaxed);
    }

    /// The store lost data: to this session it says so until it is ended.
    pub(super) fn lose(&self) {
        self.net.lost.store(true, Ordering::Relaxed);
    }

    /// No session can be ended.
    pub(super) fn endless(&self, endless: bool) {
        self.net.endless.store(endless, Ordering::Relaxed);
    }

    /// The store takes calls and gives no answer.
    pub(super) fn hang(&self, hang: bool) {
        self.net.hangs.store(hang, Ordering::Relaxed);
    }

    pub(super) fn owned(&self) -> usize {
        self.handle.owned(0).0
    }
}

/// Everything is wanted of an engine.
const ALL: Wish = Wish { intake: true, run: true };

/// Instances and hosts on one store.
pub(super) struct Fleet {
    pub(super) store: Arc<ModelStore>,
    pub(super) clock: Arc<VirtualClock>,
    pub(super) ledger: Arc<Ledger>,
    /// Longest time of an effect.
    pub(super) longest: Duration,
    /// Commands of all hosts.
    pub(super) jobs: Arc<Mutex<AllJobs>>,
    hosts: tempfile::TempDir,
}

impl Fleet {
    pub(super) fn new(longest: Duration) -> Self {
        let clock = Arc::new(VirtualClock::start(START));
        let store = Arc::new(ModelStore::new(clock.clone()));
        Self { store, clock, ledger: Arc::default(), longest, jobs: Arc::default(), hosts: tempfile::tempdir().unwrap() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now().wall
    }

    /// Starts the process of this host.
    pub(super) fn boot(&self, name: &str) -> Instance {
        self.boot_with(name, |settings| settings)
    }

    pub(super) fn boot_with(&self, name: &str, change: impl FnOnce(Settings) -> Settings) -> Instance {
        self.launch(change(Settings::new(name)), vec![], ALL)
    }

    pub(super) fn boot_telling(&self, name: &str, channel: Arc<dyn Channel>) -> Instance {
        self.launch(Settings::new(name), vec![channel], ALL)
    }

    /// As an agent does that comes back in the middle of a drain which had stopped its engine.
    pub(super) fn boot_stopped(&self, name: &str) -> Instance {
        self.launch(Settings::new(name), vec![], Wish { intake: false, run: false })
    }

    fn launch(&self, settings: Settings, channels: Vec<Arc<dyn Channel>>, wish: Wish) -> Instance {
        let name = settings.instance.as_str();
        let net = Arc::new(Net {
            store: self.store.clone(),
            cut: false.into(),
            lossy: false.into(),
            lost: false.into(),
            hangs: false.into(),
            endless: false.into(),
            turn: 0.into(),
            calls: Mutex::default(),
            largest: usize::MAX.into(),
            written: Mutex::default(),
            most_claimed: 0.into(),
            unwanted: Mutex::default(),
        });
        let hand = Arc::new(Hand { ledger: self.ledger.clone(), instance: name.to_owned(), longest: self.longest });
        let jobs = Arc::new(HostJobs { host: name.to_owned(), all: self.jobs.clone(), clock: self.clock.clone() });
        let others = Arc::new(Executions::new(net.clone()));
        let parts = Parts {
            store: net.clone(),
            registry: Arc::new(registry()),
            performer: Arc::new(Performers::default().with_call("noop", hand).with(&executions::WORDS, others).with(&job::WORDS, jobs)),
            clock: self.clock.clone(),
            memory: Memory::open(&self.hosts.path().join(name)).unwrap(),
            channels,
        };
        let (runner, handle) = Runner::new(parts, settings, wish);
        let stop = CancellationToken::new();
        let mut process = JoinSet::new();
        let frozen = Arc::new(AtomicBool::new(false));
        let (stopped, mut running) = (Arc::clone(&frozen), Box::pin(runner.run(stop.clone())));
        process.spawn(std::future::poll_fn(move |context| match stopped.load(Ordering::Relaxed) {
            true => Poll::Pending,
            false => running.as_mut().poll(context),
        }));
        Instance { handle, net, stop, process, frozen }
    }

    /// Starts a document, as a person would.
    pub(super) async fn start(&self, document: Value) -> ExecutionId {
        let Value::Object(document) = document else { panic!("an object") };
        let order = start::Order { id: start::new_id(self.now()), ..Default::default() };
        start::start(&*self.store, &Definition::from_document(document), order, self.now()).await.unwrap().id
    }

    /// Saves a definition.
    pub(super) async fn save(&self, id: &str, document: Value) {
        let version = DefinitionVersion {
            id: id.into(),
            application: "app".into(),
            name: id.into(),
            version: 0,
            by: "me".into(),
            at: START,
            deleted: false,
            document,
        };
        definitions::save(&*self.store, version, None).await.unwrap();
    }

    pub(super) async fn load(&self, id: &ExecutionId) -> Execution {
        record::decode(id, None, &self.store.load(id).await.unwrap().unwrap()).unwrap()
    }

    pub(super) async fn status(&self, id: &ExecutionId) -> Status {
        self.load(id).await.status()
    }

    /// Lets time pass until this many executions of the store have ended, with a limit.
    pub(super) async fn until_ended(&self, count: usize, limit: Duration) -> Vec<Listing> {
        let deadline = self.now().plus(limit);
        loop {
            let all = self.all().await;
            if all.iter().filter(|l| l.status.is_complete()).count() >= count {
                return all;
            }
            assert!(
                self.now() < deadline,
                "not ended within {limit:?}: {:?}",
                all.iter().filter(|l| !l.status.is_complete()).take(3).collect::<Vec<_>>()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) async fn all(&self) -> Vec<Listing> {
        let mut all: Vec<Listing> = Vec::new();
        loop {
            let query = Query { limit: 1000, before: all.last().map(|l| l.id.clone()), ..Query::default() };
            let page = self.store.list(&query).await.unwrap();
            let full = page.len() == 1000;
            all.extend(page);
            if !full {
                return all;
            }
        }
    }
}

/// A chain of one stage with so many tasks.
pub(super) fn chain(tasks: u32) -> Value {
    json!({"name": "chain", "application": "app", "stages": [{"type": "noop", "tasks": tasks}]})
}
