//! The place of the executions, and the server that holds it; what processes use.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bellrock::host::clock::SystemClock;
use bellrock::orchestrator::store::Store;
use bellrock::orchestrator::store::embedded::EmbeddedStore;
use bellrock::orchestrator::store::redis as fleet;

use crate::Arguments;
use crate::Kind;
use crate::Result;

/// The place of the executions, and the server that holds it.
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) address: String,
    server: Option<Running>,
    folder: tempfile::TempDir,
}

/// A process that does not outlive us.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have gone by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Place {
    pub(crate) fn new(arguments: &Arguments) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        if arguments.store == Kind::Embedded {
            let address = folder.path().join("engine.db").display().to_string();
            return Ok(Self { kind: Kind::Embedded, address, server: None, folder });
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut child = Command::new(&arguments.redis_server)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "everysec"])
            .args(["--port", &port.to_string()])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let log = BufReader::new(child.stdout.take().ok_or("no output of the server")?);
        log.lines().map_while(|line| line.ok()).find(|line| line.contains("Ready to accept")).ok_or("Redis did not come up")?;
        Ok(Self { kind: Kind::Redis, address: format!("redis://127.0.0.1:{port}/"), server: Some(Running(child)), folder })
    }

    pub(crate) async fn redis(&self) -> Result<redis::aio::MultiplexedConnection> {
        Ok(redis::Client::open(self.address.as_str())?.get_multiplexed_async_connection().await?)
    }

    /// For what belongs to a host: removed with the place.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// CPU of the server so far.
    pub(crate) fn server_cpu(&self) -> Duration {
        self.server.as_ref().map(|server| cpu_of(server.0.id())).unwrap_or_default()
    }

    /// Calls by command so far; none without Redis.
    pub(crate) async fn calls(&self) -> Result<Vec<(String, u64, u64)>> {
        if self.kind == Kind::Embedded {
            return Ok(vec![]);
        }
        let info: String = redis::cmd("INFO").arg("commandstats").query_async(&mut self.redis().await?).await?;
        let line = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let (calls, rest) = rest.split_once(",usec=")?;
            Some((name.to_owned(), calls.parse().ok()?, rest.split(',').next()?.parse().ok()?))
        };
        Ok(info.lines().filter_map(line).collect())
    }
}

/// Nanoseconds on a processor of all threads of a process that are there now.
pub(crate) fn cpu_of(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let time = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok();
    Duration::from_nanos(threads.filter_map(time).sum())
}

/// Memory that a process has in use now, bytes.
pub(crate) fn memory_of(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// The store at this place, and what it needs to run.
pub(crate) async fn open(kind: Kind, place: &str, client: &str) -> Result<(Arc<dyn Store>, Option<fleet::Background>)> {
    match kind {
        Kind::Embedded => Ok((Arc::new(EmbeddedStore::open(Path::new(place), Arc::new(SystemClock::start())).await?), None)),
        Kind::Redis => {
            let settings = fleet::Settings { url: place.to_owned(), read: None, prefix: String::new(), timeout: Duration::from_secs(2) };
            let (store, background) = fleet::RedisStore::open(settings, client)?;
            Ok((Arc::new(store), Some(background)))
        }
    }
}

/// Runs work beside what the store does in the background.
pub(crate) async fn beside_background<T>(background: Option<fleet::Background>, work: impl Future<Output = T>) -> Result<T> {
    match background {
        None => Ok(work.await),
        Some(background) => tokio::select! {
            () = background.run() => Err("the store's background ended".into()),
            done = work => Ok(done),
        },
    }
}
