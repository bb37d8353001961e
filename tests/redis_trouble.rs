//! Three agents' ways to one Redis, and all that befalls ways and servers: permits to heal, and ownership of executions, while the network is cut, late and
//! deaf, the server hangs, pauses or is full.
//!
//! What is held against it, by the agents' own clock that does not jump:
//! * no more permits are in force at once than there are places;
//! * of one epoch of an execution's ownership, writes of one session alone are acknowledged, and none that was sent after somebody came to own it under a
//!   higher one;
//! * when the trouble is over everybody gets a permit, and an execution, again.
//!
//! What is shown, and what is not: the client is the store's own (`RedisStore`, `RedisPermits`), with its scripts on a real server. Who calls it is played
//! here, more wildly than any agent behaves, in the place of the engine's owner and of healing: that those two ask as they should is for `src/orchestrator/runner`'s and
//! `decide::heal`'s own tests, `tests/chaos.rs` and `tests/model_permits.rs`.
//!
//! The ways are proxies, which cut, hold back and deliver late; on networks of the kernel's, which takes root, the same callers are in `tests/machine.rs`. `BELLROCK_TROUBLE_SEED` is printed and can be set
//! (processes and networks still race as they like). Pauses are the pace of the play; what is waited for is polled.

#[path = "chaos/network.rs"]
mod network;
#[path = "trouble/players.rs"]
mod players;
#[path = "../src/orchestrator/store/redis/tests/server.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the store's tests use the rest")]
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use bellrock::orchestrator::store::RedisStore;
use bellrock::orchestrator::store::Store;
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
use players::Account;
use players::heals;
use players::new;
use players::owns;
use players::pause;
use players::seed;
use players::settings;
use server::Server;

const AGENTS: usize = 3;
/// How long there is trouble.
const TROUBLE: Duration = Duration::from_secs(8);
/// For what has to come about by itself when it is over.
const SOON: Duration = Duration::from_secs(60);
const EXECUTIONS: usize = 4;

/// Plays this trouble to its end.
async fn play(options: &[&str], trouble: impl AsyncFn(&Server, &[Network], &mut Pcg64)) {
    let seed = seed();
    let server = Server::start(options);
    let address: SocketAddr = ([127, 0, 0, 1], server.port).into();
    let networks = join_all((0..AGENTS).map(|_| Network::to(address))).await;
    let (store, background) = RedisStore::open(settings(&server.url()), "maker").expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(background.run());
    for n in 0..EXECUTIONS {
        store.create(new(n)).await.expect("a server that is well");
    }
    let (account, over) = (Account::new(), CancellationToken::new());
    let (kept, ends) = (&account, &over);
    let agents = networks.iter().enumerate().map(|(n, network)| async move {
        let rng = |salt: u64| Pcg64::seed_from_u64(seed ^ ((n as u64 + 1) << 8) ^ salt);
        let url = format!("redis://127.0.0.1:{}/", network.port);
        tokio::join!(heals(n, &url, kept, rng(1), ends), owns(n, &url, kept, rng(2), ends));
    });
    let everybody = || (0..AGENTS).all(|n| account.has_served("permit", n)) && (0..AGENTS).any(|n| account.has_served("execution", n));
    let director = async {
        let mut rng = Pcg64::seed_from_u64(seed);
        let from = account.now();
        while account.now() < from + TROUBLE {
            trouble(&server, &networks, &mut rng).await;
            pause(&mut rng, 400).await;
        }
        account.forget();
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
    let figures = account.verdict();
    println!("{figures}; all served again after {back:?}");
    assert!(back.is_ok(), "somebody got nothing within {SOON:?} after the trouble was over");
    let felt = account.times("questions without an answer") + account.times("questions to a full server");
    let much = felt > 0 && account.times("permits granted or renewed") > 0 && account.times("writes acknowledged") > 0;
    assert!(much, "nothing much happened: {figures}");
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
