//! The same promises behind Sentinels and on a Cluster, and a failover under load. Servers cost seconds, so the promises share them, each under
//! its own prefix.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use redis::Commands;

use super::server::Server;
use super::server::free_port;
use super::trouble::execution;
use super::trouble::new;
use super::trouble::session;
use super::trouble::set;
use super::*;
use crate::orchestrator::store::contract::promises;

macro_rules! all_on {
    (($url:expr) $($module:ident :: $promise:ident,)*) => {
        $({
            let ground = lay($url, concat!("{", stringify!($promise), "}"), Box::new(()));
            let tried = std::panic::AssertUnwindSafe(crate::orchestrator::store::contract::$module::$promise(&ground));
            if futures::FutureExt::catch_unwind(tried).await.is_err() {
                panic!("{}::{} is not kept", stringify!($module), stringify!($promise));
            }
        })*
    };
}

/// Asks until it is so; the server's own limits bound it.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within 30 s: {what}");
}

/// A master, its replica and three Sentinels.
pub struct Watched {
    pub master: Server,
    pub replica: Server,
    sentinels: Vec<Server>,
}

impl Watched {
    pub async fn start() -> Self {
        let master = Server::start(&[]);
        let replica = Server::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
        let linked = |server: &Server| {
            redis::cmd("INFO").arg("replication").query::<String>(&mut server.connection()).unwrap().contains("master_link_status:up")
        };
        until("the replica follows", || linked(&replica)).await;
        let config = format!(
            "sentinel monitor main 127.0.0.1 {} 2\nsentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n",
            master.port
        );
        let sentinels: Vec<Server> = (0..3).map(|_| Server::sentinel(&config)).collect();
        let knows = |server: &Server| {
            let main: std::collections::HashMap<String, String> =
                redis::cmd("SENTINEL").arg("MASTER").arg("main").query(&mut server.connection()).unwrap();
            main["num-other-sentinels"] == "2" && main["num-slaves"] == "1"
        };
        until("the Sentinels know each other", || sentinels.iter().all(knows)).await;
        Self { master, replica, sentinels }
    }

    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|s| format!("127.0.0.1:{}", s.port)).collect();
        format!("redis+sentinel://{}/main/0", hosts.join(","))
    }
}

#[tokio::test]
async fn every_promise_is_kept_behind_sentinels() {
    let servers = Watched::start().await;
    promises! { all_on, &servers.url() }
}

#[tokio::test]
async fn a_failover_under_load_loses_nothing_that_had_reached_the_replica() {
    let mut servers = Watched::start().await;
    let mut tasks = JoinSet::new();
    let settings = Settings { url: servers.url(), read: None, prefix: String::new(), timeout: Duration::from_millis(500) };
    let (store, background) = RedisStore::open(settings, "one").unwrap();
    tasks.spawn(background.run());
    assert!(store.beat(&session(), Duration::from_secs(600)).await.unwrap());
    for n in 0..20 {
        store.create(new(&execution(n))).await.unwrap();
    }
    let leases: Vec<Lease> = store.claim(&session(), 20).await.unwrap().into_iter().map(|c| c.lease).collect();
    let synced: i64 = redis::cmd("WAIT").arg(1).arg(5_000).query(&mut servers.master.connection()).unwrap();
    assert_eq!(synced, 1);

    // Every write that was not answered is sent again, as a runner does; those that were count up.
    let (over, failed) = (AtomicBool::new(false), AtomicBool::new(false));
    let writer = async |lease: &Lease| {
        let mut written = 0_u32;
        while !over.load(Ordering::Relaxed) {
            match store.write(set(lease, &written.to_string())).await {
                Ok(()) => written += 1,
                Err(WriteError::Fenced) => panic!("the owner stays the owner"),
                Err(WriteError::Store(_)) => {
                    failed.store(true, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        written
    };
    let trouble = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        servers.master.kill();
        let replica = &servers.replica;
        let is_master = || {
            let role: Vec<redis::Value> = redis::cmd("ROLE").query(&mut replica.connection()).unwrap();
            role[0] == redis::Value::BulkString(b"master".to_vec())
        };
        until("the replica is the master", is_master).await;
        until_written(&store, &leases[0]).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        over.store(true, Ordering::Relaxed);
    };
    let (written, ()) = tokio::join!(futures::future::join_all(leases.iter().map(&writer)), trouble);
    assert!(failed.load(Ordering::Relaxed), "the failover was felt");
    let mut replica = servers.replica.connection();
    for (lease, written) in leases.iter().zip(written) {
        let last: u32 = replica.hget(format!("pipeline:{}", lease.execution), "x").unwrap();
        assert_eq!(last + 1, written, "the last acknowledged write is there");
    }
}

/// Returns once a write is acknowledged again.
async fn until_written(store: &RedisStore, lease: &Lease) {
    for _ in 0..300 {
        if store.beat(&lease.session, Duration::from_secs(600)).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no master within 15 s");
}

#[tokio::test]
async fn a_failover_that_loses_writes_is_said_and_a_new_session_takes_up_what_is_there() {
    let mut servers = Watched::start().await;
    let mut tasks = JoinSet::new();
    let mut open = |client| {
        let settings = Settings { url: servers.url(), read: None, prefix: String::new(), timeout: Duration::from_millis(500) };
        let (store, background) = RedisStore::open(settings, client).unwrap();
        tasks.spawn(background.run());
        store
    };
    let (store, bystander) = (open("one"), open("two"));
    let theirs = Session { instance: "i-2".to_owned(), process: "1".to_owned() };
    for (store, session) in [(&store, session()), (&bystander, theirs.clone())] {
        assert!(store.beat(&session, Duration::from_secs(600)).await.unwrap());
    }
    for n in 0..20 {
        store.create(new(&execution(n))).await.unwrap();
    }
    let leases: Vec<Lease> = store.claim(&session(), 20).await.unwrap().into_iter().map(|c| c.lease).collect();
    let synced: i64 = redis::cmd("WAIT").arg(1).arg(5_000).query(&mut servers.master.connection()).unwrap();
    assert_eq!(synced, 1);
    // From here on nothing reaches the replica: it is cut off, and its master does not take it back.
    redis::cmd("CONFIG").arg("SET").arg("masterauth").arg("wrong").exec(&mut servers.replica.connection()).unwrap();
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("replica").exec(&mut servers.master.connection()).unwrap();

    let acknowledged = AtomicUsize::new(0);
    let writer = async |lease: &Lease| {
        let mut number = 1;
        loop {
            match store.write(Write { number, ..set(lease, &number.to_string()) }).await {
                Ok(()) => {
                    number += 1;
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Err(WriteError::Fenced) => panic!("the owner stays the owner"),
                Err(WriteError::Store(StoreError::LostData(_))) => return,
                Err(WriteError::Store(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let trouble = async {
        until("writes are acknowledged", || acknowledged.load(Ordering::Relaxed) > 400).await;
        servers.master.kill();
    };
    let told = async { tokio::join!(futures::future::join_all(leases.iter().map(&writer)), trouble) };
    tokio::time::timeout(Duration::from_secs(60), told).await.expect("every owner is told of the loss");

    let next = Session { process: "2".to_owned(), ..session() };
    assert!(matches!(store.beat(&session(), Duration::from_secs(600)).await, Err(StoreError::LostData(_))));
    store.end_session(&session()).await.unwrap();
    assert!(store.beat(&next, Duration::from_secs(600)).await.unwrap());
    let claimed = store.claim(&next, 100).await.unwrap();
    assert_eq!(claimed.len(), 20);
    for one in &claimed {
        assert!(one.adopted && one.lease.epoch == 2);
        let wrote = one.record.fields.iter().find(|(name, _)| name == "x");
        assert_eq!(wrote, None, "what was acknowledged and lost is not there, and nothing was written on top of it");
        store.write(set(&one.lease, "after")).await.unwrap();
    }
    assert_eq!(store.write(set(&leases[0], "late")).await, Err(WriteError::Fenced));
    // A process of which nothing was lost goes on as it is.
    let goes_on = loop {
        match bystander.beat(&theirs, Duration::from_secs(600)).await {
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            other => break other,
        }
    };
    assert_eq!(goes_on, Ok(true));
}

/// A Cluster of three masters, each with a replica.
pub struct Ring {
    masters: Vec<Server>,
    replicas: Vec<Server>,
}

impl Ring {
    /// A master that is silent for `node_timeout_ms` is replaced.
    pub async fn start(node_timeout_ms: u32) -> Self {
        let node = || {
            // The bus has a port of its own.
            let (bus, limit) = (free_port().to_string(), node_timeout_ms.to_string());
            Server::start(&["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", &limit])
        };
        let masters: Vec<Server> = (0..3).map(|_| node()).collect();
        let replicas: Vec<Server> = (0..3).map(|_| node()).collect();
        let ask = |server: &Server, words: &[&str]| -> String { redis::cmd("CLUSTER").arg(words).query(&mut server.connection()).unwrap() };
        for (n, master) in masters.iter().enumerate() {
            let (first, last) = (n * 16_384 / 3, (n + 1) * 16_384 / 3 - 1);
            ask(master, &["ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            ask(master, &["SET-CONFIG-EPOCH", &(n + 1).to_string()]);
        }
        for other in masters[1..].iter().chain(&replicas) {
            let bus: Vec<String> = redis::cmd("CONFIG").arg("GET").arg("cluster-port").query(&mut other.connection()).unwrap();
            ask(&masters[0], &["MEET", "127.0.0.1", &other.port.to_string(), &bus[1]]);
        }
        let whole = |server: &Server| {
            let info = ask(server, &["INFO"]);
            ["cluster_state:ok", "cluster_known_nodes:6", "cluster_size:3"].iter().all(|line| info.contains(line))
        };
        until("the Cluster is whole", || masters.iter().chain(&replicas).all(whole)).await;
        for (master, replica) in masters.iter().zip(&replicas) {
            ask(replica, &["REPLICATE", &ask(master, &["MYID"])]);
        }
        let follows = |server: &Server| {
            redis::cmd("INFO").arg("replication").query::<String>(&mut server.connection()).unwrap().contains("master_link_status:up")
        };
        until("the replicas follow", || replicas.iter().all(follows)).await;
        Self { masters, replicas }
    }

    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.masters.iter().chain(&self.replicas).map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }
}

#[tokio::test]
async fn every_promise_is_kept_on_a_cluster() {
    let ring = Ring::start(5_000).await;
    promises! { all_on, &ring.url() }
}

#[tokio::test]
async fn a_cluster_whose_master_dies_goes_on_with_its_replica() {
    let (mut ring, mut tasks) = (Ring::start(2_000).await, JoinSet::new());
    let settings = Settings { url: ring.url(), read: None, prefix: "{b}:".to_owned(), timeout: Duration::from_secs(1) };
    let (store, background) = RedisStore::open(settings, "one").unwrap();
    tasks.spawn(background.run());
    assert!(store.beat(&session(), Duration::from_secs(600)).await.unwrap());
    store.create(new(&execution(1))).await.unwrap();
    let lease = store.claim(&session(), 1).await.unwrap().remove(0).lease;
    store.write(set(&lease, "before")).await.unwrap();
    let slot: usize = redis::cmd("CLUSTER").arg("KEYSLOT").arg("{b}:").query(&mut ring.masters[0].connection()).unwrap();
    let master = (0..3).find(|n| slot < (n + 1) * 16_384 / 3).unwrap();
    let mut raw = ring.masters[master].connection();
    assert_eq!(redis::cmd("WAIT").arg(1).arg(5_000).query::<i64>(&mut raw).unwrap(), 1);
    ring.masters[master].kill();
    let after = Write { number: 2, ..set(&lease, "after") };
    let mut outcome = store.write(after.clone()).await;
    let felt = outcome.is_err();
    for _ in 0..300 {
        if !matches!(outcome, Err(WriteError::Store(StoreError::Unavailable(_)))) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        outcome = store.write(after.clone()).await;
    }
    assert_eq!(outcome, Ok(()));
    assert!(felt, "the failover was felt");
    let record = store.load(&lease.execution).await.unwrap().unwrap();
    assert!(record.fields.iter().any(|(name, text)| name == "x" && text == "after"));
    assert_eq!(store.write(Write { lease: Lease { epoch: 7, ..lease.clone() }, ..after.clone() }).await, Err(WriteError::Fenced));
    assert_eq!(store.owned(&session(), None, 10).await.unwrap(), [lease.execution]);
}
