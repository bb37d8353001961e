//! Hosts and a Redis in network namespaces of their own, on cables that can be pulled.
//!
//! What must stay true: a namespace, and with it its cables, goes with the process that holds it, however a test ends.

use std::io::BufRead;
use std::io::BufReader;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use tokio::runtime::Handle;
use tokio::runtime::Runtime;

use super::link;
use super::server::Server;

/// Redis's own: the namespace is its alone.
const PORT: u16 = 6379;
/// A host's end of its cable, and the store's end of the cable to the host of a number.
const UP: &str = "up";

fn down(host: u8) -> String {
    format!("down{host}")
}

/// A network namespace, for as long as it is held.
struct Namespace {
    hold: Child,
}

impl Namespace {
    fn new() -> Self {
        let mut hold = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare of util-linux");
        let said = BufReader::new(hold.stdout.take().expect("a pipe")).lines().next();
        assert_eq!(said.expect("a line").expect("text"), "ready", "a network namespace takes root, and iproute2");
        Self { hold }
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.hold.id()))
    }

    /// `ip` of iproute2, in here.
    fn ip(&self, words: &str) {
        let path = self.path();
        let ran = link::within(&path, || Command::new("ip").args(words.split(' ')).output()).expect("it is ours").expect("iproute2");
        assert!(ran.status.success(), "ip {words}: {}", String::from_utf8_lossy(&ran.stderr));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It may have ended by itself, and is gone either way.
        let _ = self.hold.kill();
        let _ = self.hold.wait();
    }
}

/// Which end of a cable is pulled: a host whose own is knows at once that it is alone, the other one waits for answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Hosts,
    Stores,
}

/// One host: what its runtime polls is done in its network.
pub struct Host {
    namespace: Namespace,
    number: u8,
    runtime: Option<Runtime>,
}

impl Host {
    /// For what is to be done on this host.
    pub fn handle(&self) -> &Handle {
        self.runtime.as_ref().expect("there until it is dropped").handle()
    }

    /// Where the store is, from here.
    pub fn url(&self) -> String {
        format!("redis://{}:{PORT}/", Ipv4Addr::new(10, 99, self.number, 1))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Not waited for: a test that drops it may be a future itself.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A Redis, and a cable from it to each of its hosts.
pub struct Network {
    _redis: Server,
    store: Namespace,
    pub hosts: Vec<Host>,
}

impl Network {
    pub fn of(hosts: u8) -> Self {
        let store = Namespace::new();
        let start = || Server::start_at(PORT, &["--bind", "0.0.0.0", "--protected-mode", "no"]);
        let redis = link::within(&store.path(), start).expect("it is ours");
        let hosts = (0..hosts).map(|number| {
            let (namespace, down) = (Namespace::new(), down(number));
            store.ip(&format!("link add {down} type veth peer name {UP} netns {}", namespace.hold.id()));
            for (at, end, last) in [(&store, down.as_str(), 1), (&namespace, UP, 2)] {
                at.ip(&format!("address add 10.99.{number}.{last}/30 dev {end}"));
                at.ip(&format!("link set dev {end} up"));
            }
            let path = namespace.path();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .on_thread_start(move || link::enter(&path).expect("it is ours"))
                .build();
            Host { namespace, number, runtime: Some(runtime.expect("threads")) }
        });
        let hosts = hosts.collect();
        Self { _redis: redis, store, hosts }
    }

    /// Pulls a host's cable, or plugs it in again.
    pub fn plug(&self, host: usize, end: End, up: bool) {
        let (host, word) = (&self.hosts[host], if up { "up" } else { "down" });
        match end {
            End::Hosts => host.namespace.ip(&format!("link set dev {UP} {word}")),
            End::Stores => self.store.ip(&format!("link set dev {} {word}", down(host.number))),
        }
    }
}
