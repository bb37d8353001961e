//! Three agents' ways to one Redis, and all that befalls ways and servers: permits to heal, and ownership of executions, while the network is cut, late and
//! deaf, the server hangs, pauses or is full.
//!
//! What is held against it, by the agents' own clock that does not jump:
//! * no more permits are in force at once than there are places;
//! * of one epoch of an execution's ownership, writes of one session alone are acknowledged, and none that was sent after somebody came to own it under a
//!   higher one;
//! * when the trouble is over everybody gets a permit, and an execution, again.
//!
//! Network namespaces would need root; the ways are proxies, which cut, hold back and deliver late. `BELLROCK_TROUBLE_SEED` is printed and can be set
//! (processes and networks still race as they like). Pauses are the pace of the play; what is waited for is polled.

#[path = "chaos/network.rs"]
mod network;
#[path = "../src/orchestrator/store/redis/tests/server.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the store's tests use the rest")]
mod server;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;
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
use futures::future::join_all;
use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg64;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use network::Network;
use server::Server;

const AGENTS: usize = 3;
/// Places of the group.
const PLACES: u32 = 1;
/// Of a permit, and of a session.
const LEASE: Duration = Duration::from_millis(900);
/// Of every call.
const LIMIT: Duration = Duration::from_millis(300);
/// How long there is trouble.
const TROUBLE: Duration = Duration::from_secs(8);
/// For what has to come about by itself when it is over.
const SOON: Duration = Duration::from_secs(60);
const EXECUTIONS: usize = 4;

#[expect(clippy::disallowed_methods, reason = "a test has no main to hand it the environment")]
fn seed() -> u64 {
    let set = std::env::var("BELLROCK_TROUBLE_SEED").ok().and_then(|text| text.parse().ok());
    let seed = set.unwrap_or_else(|| rand::rng().random());
    println!("BELLROCK_TROUBLE_SEED={seed}");
    seed
}

/// What all agents did.
struct Account {
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
    fn new() -> Self {
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

    fn now(&self) -> Duration {
        self.clock.now().mono
    }

    fn count(&self, what: &'static str) {
        *self.counts.lock().expect("no test has panicked").entry(what).or_default() += 1;
    }

    fn served(&self, what: &'static str, agent: usize) {
        self.served.lock().expect("no test has panicked").insert((what, agent));
    }

    /// Most permits in force at one moment.
    fn most(&self) -> usize {
        let all = self.in_force.lock().expect("no test has panicked");
        all.iter().map(|one| all.iter().filter(|other| other.0 <= one.0 && one.0 < other.1).count()).max().unwrap_or(0)
    }
}

async fn pause(rng: &mut Pcg64, most_ms: u64) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(1..=most_ms))).await;
}

fn settings(port: u16) -> RedisSettings {
    RedisSettings { url: format!("redis://127.0.0.1:{port}/"), read: None, prefix: String::new(), timeout: LIMIT }
}

/// Takes permits, holds them for a while or to their end, renews some, gives most back, and falls at times: then its next life knows nothing.
async fn heals(agent: usize, port: u16, account: &Account, mut rng: Pcg64, over: &CancellationToken) {
    let home = Home { region: "eu-west-1".to_owned(), account: "123456789012".to_owned() };
    let permits = RedisPermits::open(settings(port), home).expect("an address");
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
async fn owns(agent: usize, port: u16, account: &Account, mut rng: Pcg64, over: &CancellationToken) {
    let (store, background) = RedisStore::open(settings(port), &format!("client-{agent}")).expect("an address");
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

fn new(n: usize) -> NewExecution {
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

/// Plays this trouble to its end.
async fn play(options: &[&str], trouble: impl AsyncFn(&Server, &[Network], &mut Pcg64)) {
    let seed = seed();
    let server = Server::start(options);
    let address: SocketAddr = ([127, 0, 0, 1], server.port).into();
    let networks = join_all((0..AGENTS).map(|_| Network::to(address))).await;
    let (store, background) = RedisStore::open(settings(server.port), "maker").expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(background.run());
    for n in 0..EXECUTIONS {
        store.create(new(n)).await.expect("a server that is well");
    }
    let (account, over) = (Account::new(), CancellationToken::new());
    let (kept, ends) = (&account, &over);
    let agents = networks.iter().enumerate().map(|(n, network)| async move {
        let rng = |salt: u64| Pcg64::seed_from_u64(seed ^ ((n as u64 + 1) << 8) ^ salt);
        tokio::join!(heals(n, network.port, kept, rng(1), ends), owns(n, network.port, kept, rng(2), ends));
    });
    let everybody = || {
        let served = account.served.lock().expect("no test has panicked");
        served.iter().filter(|(what, _)| *what == "permit").count() == AGENTS && served.iter().any(|(what, _)| *what == "execution")
    };
    let director = async {
        let mut rng = Pcg64::seed_from_u64(seed);
        let from = account.now();
        while account.now() < from + TROUBLE {
            trouble(&server, &networks, &mut rng).await;
            pause(&mut rng, 400).await;
        }
        account.served.lock().expect("no test has panicked").clear();
        let ended = account.now();
        let back = tokio::time::timeout(SOON, async {
            while !everybody() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let back = back.await.map(|()| account.now() - ended);
        over.cancel();
        back
    };
    let (back, _) = tokio::join!(director, join_all(agents));
    let counts = account.counts.lock().expect("no test has panicked").clone();
    println!("at most {} of {PLACES} permits in force at once; {counts:?}; all served again after {back:?}", account.most());
    assert_eq!(*account.broken.lock().expect("no test has panicked"), [] as [String; 0]);
    assert!(account.most() <= PLACES as usize, "{} permits were in force at once", account.most());
    assert!(back.is_ok(), "somebody got nothing within {SOON:?} after the trouble was over");
    let count = |what: &str| counts.get(what).copied().unwrap_or_default();
    let felt = count("questions without an answer") + count("questions to a full server");
    assert!(felt > 0 && count("permits granted or renewed") > 0 && count("writes acknowledged") > 0, "nothing much happened: {counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_ways_are_cut_deaf_and_late_nobody_is_doubled() {
    play(&[], async |_: &Server, networks: &[Network], rng: &mut Pcg64| {
        let network = &networks[rng.random_range(0..AGENTS)];
        let (kind, reset) = (rng.random_range(0..3), rng.random_bool(0.3));
        network.turn(|weather| match kind {
            0 => weather.requests_held = true,
            1 => weather.answers_held = true,
            _ => weather.refused = true,
        });
        pause(rng, 1_800).await;
        // What was held back is delivered now, late as it is, unless it is lost.
        network.turn(|weather| {
            weather.resets += u32::from(reset);
            (weather.requests_held, weather.answers_held, weather.refused) = (false, false, false);
        });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_hangs_pauses_or_is_slow_nobody_is_doubled() {
    play(&["--enable-debug-command", "local"], async |server: &Server, _: &[Network], rng: &mut Pcg64| match rng.random_range(0..3) {
        0 => {
            kill_process(Pid::from_child(&server.child), Signal::STOP).expect("our own child");
            pause(rng, 1_500).await;
            kill_process(Pid::from_child(&server.child), Signal::CONT).expect("our own child");
        }
        1 => {
            let ms = rng.random_range(100..1_500_u64);
            redis::cmd("CLIENT").arg("PAUSE").arg(ms).arg("ALL").exec(&mut server.connection()).expect("it answers this");
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        _ => {
            // It does nothing else meanwhile.
            let (server, s) = (server.url(), rng.random_range(0.1..1.2_f64));
            let slept = tokio::task::spawn_blocking(move || {
                let mut connection = redis::Client::open(server).expect("an address").get_connection().expect("it answers");
                redis::cmd("DEBUG").arg("SLEEP").arg(s).exec(&mut connection)
            });
            slept.await.expect("it does not panic").expect("DEBUG is allowed from this host");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_is_full_nobody_is_doubled() {
    play(&[], async |server: &Server, _: &[Network], rng: &mut Pcg64| {
        let (name, no, yes) = match rng.random_range(0..3) {
            0 => ("maxmemory", "1", "0"),
            1 => ("min-replicas-to-write", "1", "0"),
            _ => {
                // A snapshot that failed: its name is a folder's.
                let dump = server.dir().join("dump.rdb");
                std::fs::create_dir_all(&dump).expect("a folder of our own");
                std::fs::write(dump.join("full"), "").expect("a folder of our own");
                let _ = redis::cmd("BGSAVE").exec(&mut server.connection());
                ("save", "3600 1", "")
            }
        };
        let set = |value: &str| redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(&mut server.connection()).expect("it answers");
        set(no);
        pause(rng, 1_500).await;
        set(yes);
    })
    .await;
}
