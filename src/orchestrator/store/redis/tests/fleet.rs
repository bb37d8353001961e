//! The same promises behind Sentinels and on a Cluster, and a failover under load. Servers cost seconds, so the promises share them, each under
//! its own prefix.

use std::sync::atomic::AtomicBool;
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
struct Watched {
    master: Server,
    replica: Server,
    sentinels: Vec<Server>,
}

impl Watched {
    async fn start() -> Self {
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

    fn url(&self) -> String {
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
async fn every_promise_is_kept_on_a_cluster() {
    let nodes: Vec<Server> = (0..3)
        .map(|_| {
            // The bus has a port of its own.
            Server::start(&["--cluster-enabled", "yes", "--cluster-port", &free_port().to_string(), "--cluster-node-timeout", "5000"])
        })
        .collect();
    for (n, node) in nodes.iter().enumerate() {
        let (first, last) = (n * 16_384 / 3, (n + 1) * 16_384 / 3 - 1);
        redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(first).arg(last).exec(&mut node.connection()).unwrap();
        redis::cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(n + 1).exec(&mut node.connection()).unwrap();
    }
    for node in &nodes[1..] {
        let bus: String =
            redis::cmd("CONFIG").arg("GET").arg("cluster-port").query::<Vec<String>>(&mut node.connection()).unwrap()[1].clone();
        let mut meet = redis::cmd("CLUSTER");
        meet.arg("MEET").arg("127.0.0.1").arg(node.port).arg(bus).exec(&mut nodes[0].connection()).unwrap();
    }
    let whole = |node: &Server| {
        let info: String = redis::cmd("CLUSTER").arg("INFO").query(&mut node.connection()).unwrap();
        info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3") && info.contains("cluster_size:3")
    };
    until("the Cluster is whole", || nodes.iter().all(whole)).await;
    let hosts: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    promises! { all_on, &format!("redis+cluster://{}", hosts.join(",")) }
}
