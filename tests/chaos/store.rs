//! The fleet's Redis and what happens to it: nothing, kill -9 and a restart over its append-only file, the loss of one master after the other.

use std::collections::HashMap;
use std::time::Duration;

use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg64;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use super::host::SOON;
use super::process::until;
use super::server::Server;
use super::trouble::Scene;
use super::trouble::lasts;

/// Every write is on disk before it is acknowledged.
const SYNCED: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];
/// A master that no replica follows acknowledges nothing.
const FOLLOWED: [&str; 4] = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"];
const MASTER: &str = "main";

/// A Redis that loses nothing it acknowledged.
pub fn synced() -> Server {
    Server::start(&SYNCED)
}

/// One master, two replicas, three Sentinels.
pub struct Watched {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
}

impl Watched {
    pub async fn start() -> Self {
        let options: Vec<&str> = SYNCED.into_iter().chain(FOLLOWED).collect();
        let master = Server::start(&options);
        let of = master.port.to_string();
        let replica = || Server::start(&[&options[..], &["--replicaof", "127.0.0.1", &of]].concat());
        let servers = vec![replica(), replica(), master];
        let config = format!(
            "sentinel monitor {MASTER} 127.0.0.1 {of} 2\nsentinel down-after-milliseconds {MASTER} 1500\n\
             sentinel failover-timeout {MASTER} 5000\n"
        );
        let sentinels = (0..3).map(|_| Server::sentinel(&config)).collect();
        let watched = Self { servers, sentinels };
        watched.whole().await;
        watched
    }

    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|s| format!("127.0.0.1:{}", s.port)).collect();
        format!("redis+sentinel://{}/{MASTER}/0", hosts.join(","))
    }

    /// Where the master is, as all Sentinels that know each other say.
    fn master(&self) -> Option<usize> {
        let mut named = self.sentinels.iter().map(|sentinel| {
            let main: HashMap<String, String> = ask(sentinel, "SENTINEL MASTER main")?;
            let port: u16 = main.get("port")?.parse().ok()?;
            (main.get("num-other-sentinels")? == "2").then_some(port)
        });
        let first = named.next()??;
        let port = named.all(|port| port == Some(first)).then_some(first)?;
        self.servers.iter().position(|server| server.port == port)
    }

    /// Waits until there is a master that both others follow; answers which.
    async fn whole(&self) -> usize {
        until("a master that two replicas follow", SOON, async || {
            block_in_place(|| {
                let master = self.master()?;
                let said: String = ask(&self.servers[master], "INFO replication")?;
                (said.contains("role:master") && said.matches("state=online").count() == 2).then_some(master)
            })
        })
        .await
    }
}

fn ask<T: redis::FromRedisValue>(server: &Server, command: &str) -> Option<T> {
    let client = redis::Client::open(server.url()).expect("an address");
    let mut connection = client.get_connection_with_timeout(Duration::from_millis(500)).ok()?;
    connection.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
    let mut words = command.split(' ');
    let mut cmd = redis::cmd(words.next()?);
    words.for_each(|word| {
        cmd.arg(word);
    });
    cmd.query(&mut connection).ok()
}

/// What becomes of the store.
pub enum Store {
    Steady(#[expect(dead_code, reason = "held, so that it runs")] Server),
    Restarts(Server),
    FailsOver(Watched),
}

impl Store {
    /// Lets trouble happen to it until the time is over, then sees it well again.
    pub async fn suffer(mut self, scene: &Scene, seed: u64, over: &CancellationToken) -> Self {
        let mut rng = Pcg64::seed_from_u64(seed ^ 0xD15C);
        loop {
            tokio::select! {
                () = over.cancelled() => return self,
                () = lasts(&mut rng, 3_000..9_000) => {}
            }
            match &mut self {
                Self::Steady(_) => {}
                Self::Restarts(server) => {
                    let from = scene.now();
                    block_in_place(|| server.kill());
                    lasts(&mut rng, 0..6_000).await;
                    block_in_place(|| server.restart());
                    scene.store_was_down("Redis killed", from);
                }
                Self::FailsOver(watched) => {
                    let (from, old) = (scene.now(), watched.whole().await);
                    if rng.random_bool(0.5) {
                        block_in_place(|| watched.servers[old].kill());
                        succeeds(watched, old).await;
                        block_in_place(|| watched.servers[old].restart());
                        scene.store_was_down("master killed", from);
                    } else {
                        // It comes back believing that it is the master.
                        signal(&watched.servers[old], Signal::STOP);
                        succeeds(watched, old).await;
                        signal(&watched.servers[old], Signal::CONT);
                        scene.store_was_down("master frozen", from);
                    }
                    watched.whole().await;
                }
            }
        }
    }
}

/// Waits until another one is the master.
async fn succeeds(watched: &Watched, old: usize) {
    until("a failover", SOON, async || block_in_place(|| watched.master().filter(|master| *master != old))).await;
}

fn signal(server: &Server, signal: Signal) {
    let pid = i32::try_from(server.child.id()).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, signal).expect("it is ours");
}
