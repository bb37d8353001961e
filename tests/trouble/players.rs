//! Callers of one Redis that ask for permits and own executions, as wildly as they can, and the account of what they were told.
//!
//! What must stay true: everything is judged by the callers' own clock that does not jump, and by what was acknowledged to them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use bellrock::host::clock::SystemClock;
use bellrock::model::Clock;
use bellrock::model::GroupName;
use bellrock::model::Permit;
use bellrock::model::PermitAnswer;
use bellrock::model::PermitRequest;
use bellrock::model::Timestamp;
use bellrock::orchestrator::engine::execution::ExecutionId;
use bellrock::orchestrator::engine::execution::ExecutionType;
use bellrock::orchestrator::engine::status::Status;
use bellrock::orchestrator::permits::Home;
use bellrock::orchestrator::permits::Permits;
use bellrock::orchestrator::store::Claimed;
use bellrock::orchestrator::store::Lease;
use bellrock::orchestrator::store::Listing;
use bellrock::orchestrator::store::NewExecution;
use bellrock::orchestrator::store::Record;
use bellrock::orchestrator::store::RedisPermits;
use bellrock::orchestrator::store::RedisSettings;
use bellrock::orchestrator::store::RedisStore;
use bellrock::orchestrator::store::Session;
use bellrock::orchestrator::store::Store;
use bellrock::orchestrator::store::StoreError;
use bellrock::orchestrator::store::Then;
use bellrock::orchestrator::store::Write;
use bellrock::orchestrator::store::WriteError;
use rand::Rng;
use rand_pcg::Pcg64;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Places of the group.
pub const PLACES: u32 = 1;
/// Of a permit, and of a session.
pub const LEASE: Duration = Duration::from_millis(900);
/// Of every call.
pub const LIMIT: Duration = Duration::from_millis(300);

/// Of this play: printed, and set by `BELLROCK_TROUBLE_SEED`.
#[expect(clippy::disallowed_methods, reason = "a test has no main to hand it the environment")]
pub fn seed() -> u64 {
    let set = std::env::var("BELLROCK_TROUBLE_SEED").ok().and_then(|text| text.parse().ok());
    let seed = set.unwrap_or_else(|| rand::rng().random());
    println!("BELLROCK_TROUBLE_SEED={seed}");
    seed
}

/// What all agents did.
pub struct Account {
    clock: SystemClock,
    /// Permits in force: from, until.
    in_force: Mutex<Vec<(Duration, Duration)>>,
    /// The sessions whose writes were acknowledged, by execution and epoch.
    wrote: Mutex<BTreeMap<(String, u64), BTreeSet<String>>>,
    /// The highest epoch that anybody came to own.
    owned: Mutex<BTreeMap<String, u64>>,
    broken: Mutex<Vec<String>>,
    counts: Mutex<BTreeMap<&'static str, usize>>,
    /// Who had one since this was emptied.
    served: Mutex<BTreeSet<(&'static str, usize)>>,
}

impl Account {
    pub fn new() -> Self {
        Self {
            clock: SystemClock::start(),
            in_force: Mutex::default(),
            wrote: Mutex::default(),
            owned: Mutex::default(),
            broken: Mutex::default(),
            counts: Mutex::default(),
            served: Mutex::default(),
        }
    }

    /// By the clock that everything is judged by.
    pub fn now(&self) -> Duration {
        self.clock.now().mono
    }

    fn count(&self, what: &'static str) {
        *self.counts.lock().expect("no test has panicked").entry(what).or_default() += 1;
    }

    fn served(&self, what: &'static str, agent: usize) {
        self.served.lock().expect("no test has panicked").insert((what, agent));
    }

    /// Whether this agent had one since the last [`Account::forget`]: `permit`, or `execution`.
    pub fn has_served(&self, what: &'static str, agent: usize) -> bool {
        self.served.lock().expect("no test has panicked").contains(&(what, agent))
    }

    /// Counts anew who had one.
    pub fn forget(&self) {
        self.served.lock().expect("no test has panicked").clear();
    }

    /// How often that happened.
    pub fn times(&self, what: &str) -> usize {
        self.counts.lock().expect("no test has panicked").get(what).copied().unwrap_or_default()
    }

    /// Panics when a promise was broken; else what there was of everything.
    pub fn verdict(&self) -> String {
        let (most, counts) = (self.most(), self.counts.lock().expect("no test has panicked"));
        assert_eq!(*self.broken.lock().expect("no test has panicked"), [] as [String; 0], "{counts:?}");
        assert!(most <= PLACES as usize, "{most} permits were in force at once: {counts:?}");
        format!("at most {most} of {PLACES} permits in force at once; {counts:?}")
    }

    /// Most permits in force at one moment.
    fn most(&self) -> usize {
        let all = self.in_force.lock().expect("no test has panicked");
        all.iter().map(|one| all.iter().filter(|other| other.0 <= one.0 && one.0 < other.1).count()).max().unwrap_or(0)
    }
}

pub async fn pause(rng: &mut Pcg64, most_ms: u64) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(1..=most_ms))).await;
}

pub fn settings(url: &str) -> RedisSettings {
    RedisSettings { url: url.to_owned(), read: None, prefix: String::new(), timeout: LIMIT }
}

/// Takes permits, holds them for a while or to their end, renews some, gives most back, and falls at times: then its next life knows nothing.
pub async fn heals(agent: usize, url: &str, account: &Account, mut rng: Pcg64, over: &CancellationToken) {
    let home = Home { region: "eu-west-1".to_owned(), account: "123456789012".to_owned() };
    let permits = RedisPermits::open(settings(url), home).expect("an address");
    let (group, mut number) = (GroupName::from("app-v001"), 0);
    while !over.is_cancelled() {
        number += 1;
        let permit = Permit { holder: format!("i-{agent}").as_str().into(), number };
        let mut request = PermitRequest { group: group.clone(), permit, places: PLACES, lease: LEASE, keeps: false, gone: Vec::new() };
        // Since when it is in force, and until when.
        let (mut since, mut until) = (None, None);
        loop {
            let asked = account.now();
            match permits.take(&request).await {
                Ok(PermitAnswer::Granted) if account.now() < asked + LEASE => {
                    account.count("permits granted or renewed");
                    account.served("permit", agent);
                    since.get_or_insert_with(|| account.now());
                    until = Some(asked + LEASE);
                    request.keeps = true;
                    tokio::time::sleep(LEASE.mul_f64(rng.random_range(0.05..0.5))).await;
                    if rng.random_bool(0.6) {
                        break;
                    }
                }
                Ok(PermitAnswer::Granted) => account.count("grants that came too late"),
                Ok(PermitAnswer::Refused { .. }) => {
                    account.count("permits refused");
                    break;
                }
                Err(StoreError::Unavailable(_)) => account.count("questions without an answer"),
                Err(StoreError::Full(_)) => account.count("questions to a full server"),
                Err(error) => account.broken.lock().expect("no test has panicked").push(error.to_string()),
            }
            if until.is_some_and(|until| account.now() >= until) || rng.random_bool(0.1) {
                break;
            }
            pause(&mut rng, 20).await;
        }
        // It falls at times: then what it began goes on to the end of its time, and nobody gives it back.
        let falls = rng.random_bool(0.1);
        if let Some((since, until)) = since.zip(until) {
            let end = if falls { until } else { account.now().min(until) };
            account.in_force.lock().expect("no test has panicked").push((since, end));
        }
        if falls {
            tokio::time::sleep(until.unwrap_or_default().saturating_sub(account.now())).await;
        } else {
            let _lost = permits.give(&group, &request.permit).await;
        }
        pause(&mut rng, 60).await;
    }
}

async fn take_up(store: &RedisStore, session: &Session) -> Result<Vec<Claimed>, StoreError> {
    let mut all = Vec::new();
    for id in store.owned(session, None, 10).await? {
        all.extend(store.claim_one(session, &id).await?);
    }
    Ok(all)
}

fn write(lease: &Lease, number: u32, then: Then) -> Write {
    Write {
        lease: lease.clone(),
        number,
        set: vec![("x".to_owned(), format!("{}/{number}", lease.epoch))],
        remove: Vec::new(),
        stage_index: None,
        listing: None,
        taken: 0,
        notices: Vec::new(),
        then,
    }
}

/// Claims what is due or left, writes a little, and gives it back.
pub async fn owns(agent: usize, url: &str, account: &Account, mut rng: Pcg64, over: &CancellationToken) {
    let (store, background) = RedisStore::open(settings(url), &format!("client-{agent}")).expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(background.run());
    let session = Session { instance: format!("i-{agent}"), process: "1".to_owned() };
    while !over.is_cancelled() {
        match store.beat(&session, LEASE).await {
            Ok(_) => account.count("beats"),
            Err(_) => account.count("beats without an answer"),
        }
        let mut claimed = store.claim(&session, 1).await;
        if claimed.is_err() {
            // What a lost answer gave is taken up, as a runner does.
            claimed = take_up(&store, &session).await;
        }
        for claimed in claimed.unwrap_or_default() {
            let lease = claimed.lease;
            let id = lease.execution.0.clone();
            {
                let mut owned = account.owned.lock().expect("no test has panicked");
                let highest = owned.entry(id.clone()).or_default();
                *highest = lease.epoch.max(*highest);
            }
            account.count(if claimed.adopted { "executions adopted" } else { "executions claimed" });
            for number in 1..6 {
                let then = if number == 5 { Then::Park { due: Some(Timestamp(1)) } } else { Then::Keep };
                let (highest, answer) = loop {
                    let highest = account.owned.lock().expect("no test has panicked").get(&id).copied().unwrap_or_default();
                    match store.write(write(&lease, number, then.clone())).await {
                        // It is sent again until it is settled.
                        Err(WriteError::Store(error)) if error.may_pass() && !over.is_cancelled() => {
                            account.count("writes without an answer");
                            let _beat = store.beat(&session, LEASE).await;
                            pause(&mut rng, 40).await;
                        }
                        answer => break (highest, answer),
                    }
                };
                match answer {
                    Ok(()) => {
                        account.count("writes acknowledged");
                        account.served("execution", agent);
                        let mut wrote = account.wrote.lock().expect("no test has panicked");
                        let sessions = wrote.entry((id.clone(), lease.epoch)).or_default();
                        sessions.insert(session.instance.clone());
                        if sessions.len() > 1 || highest > lease.epoch {
                            let what = format!("{id}, epoch {} of {highest}: written by {sessions:?}", lease.epoch);
                            account.broken.lock().expect("no test has panicked").push(what);
                        }
                    }
                    Err(WriteError::Fenced) => {
                        account.count("writes fenced");
                        break;
                    }
                    Err(WriteError::Store(error)) if over.is_cancelled() && error.may_pass() => break,
                    Err(error) => account.broken.lock().expect("no test has panicked").push(error.to_string()),
                }
                pause(&mut rng, 80).await;
            }
            let _beat = store.beat(&session, LEASE).await;
        }
        pause(&mut rng, 40).await;
    }
}

pub fn new(n: usize) -> NewExecution {
    let id = ExecutionId(format!("01KC{n:022}"));
    let listing = Listing {
        id: id.clone(),
        kind: ExecutionType::Pipeline,
        application: "app".to_owned(),
        name: "p".to_owned(),
        pipeline_config_id: None,
        status: Status::Running,
        build_time: Timestamp(1),
        start_time: None,
        end_time: None,
    };
    let fields = vec![("status".to_owned(), "RUNNING".to_owned()), ("application".to_owned(), "app".to_owned())];
    NewExecution { listing, record: Record { fields, stage_index: Vec::new() }, correlation_id: None, due: Timestamp(1), limit: None }
}
