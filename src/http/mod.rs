//! How the agent is asked: `/health`, `/status` and `/metrics` on a loopback port, these and `/drain`, `/undrain`, `/heal/off` and `/heal/on` on a unix
//! socket, `/health` and, with a token, `/status` and `/metrics` on a port for other machines; and on all of them the [`api`] of the embedded engine, where
//! there is one.
//!
//! What must stay true: nobody orders a drain over TCP; on the socket its mode says who may, and the kernel, not the caller, says who did. What others
//! can reach speaks TLS and wants a token for all but `/health`, webhooks and the API's own document. Every request, answer, connection and stop is bounded. A failure here never stops a drain:
//! the daemon goes on without being asked.

pub mod api;
pub mod keyring;
mod listener;
mod routes;
mod tls;
pub mod views;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::decide::Command;
use crate::decide::Status;
use crate::metrics::Metrics;
use crate::orchestrator::supervised::Report;
use api::tokens::Tokens;
use keyring::Keyring;
use listener::Bounded;
use tls::Tls;

/// Connections at a time on this machine: health checks and a few people need a handful.
const CONNECTIONS: usize = 32;
/// Connections at a time from elsewhere: each takes some 50 KiB, and who follows an execution holds one.
const NETWORK_CONNECTIONS: usize = 256;

/// How long the daemon may take over a command. It answers from its loop, which waits for one round of observation at most.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long requests under way may take to end once the agent stops.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// What is behind the routes.
#[derive(Clone, Debug)]
pub struct Surface {
    /// The daemon's state; a dropped sender means that the daemon has ended.
    pub status: watch::Receiver<Status>,
    /// How the orchestrator's process is; `None` where the agent does not look after it.
    pub process: watch::Receiver<Option<Report>>,
    /// Its inbox. A full one is answered with 503.
    pub commands: mpsc::Sender<Asked>,
    /// The [`api`] of the engine in this process, once it runs; `None` where something else runs the orchestrator.
    pub api: Option<Arc<OnceLock<Router>>>,
    /// Who may ask from elsewhere.
    pub tokens: watch::Receiver<Arc<Tokens>>,
    /// What scrapers are shown.
    pub metrics: Arc<Metrics>,
}

/// A command, and where the daemon puts its answer: the status after it, or why it is refused.
#[derive(Debug)]
pub struct Asked {
    /// What is asked, and by whom.
    pub command: Command,
    /// Dropping it is answered with 503.
    pub answer: oneshot::Sender<Result<Status, String>>,
}

/// Why the agent cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another agent listens on this socket.
    #[error("another process already listens on {0}")]
    InUse(PathBuf),
    /// Something else than a socket is in its place; it is left alone.
    #[error("{0} is no socket")]
    NotASocket(PathBuf),
    /// The port or socket cannot be had.
    #[error("cannot listen on {at}")]
    Bind {
        /// Address or path.
        at: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server broke.
    #[error("the server of {at} ended")]
    Serve {
        /// Address or path.
        at: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A loopback port to serve on.
#[derive(Debug)]
pub struct Port {
    listener: TcpListener,
    address: SocketAddr,
}

impl Port {
    /// Listens on `address`; port 0 takes a free one.
    pub async fn bind(address: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::Bind { at: address.to_string(), source };
        if !address.ip().is_loopback() {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a loopback address")));
        }
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A port for other machines, which speaks TLS.
#[derive(Debug)]
pub struct NetworkPort {
    listener: TcpListener,
    address: SocketAddr,
    tls: watch::Receiver<Option<Arc<ServerConfig>>>,
}

impl NetworkPort {
    /// Waits for a certificate, then listens on `address`; port 0 takes a free one. `None`: `stop` came first.
    pub async fn bind(address: SocketAddr, keyring: &Keyring, stop: &CancellationToken) -> Result<Option<Self>, Error> {
        let failed = |source| Error::Bind { at: address.to_string(), source };
        let mut tls = keyring.tls();
        let there = tokio::select! {
            () = stop.cancelled() => false,
            // An error means that the process ends.
            there = tls.wait_for(Option::is_some) => there.is_ok(),
        };
        if !there {
            return Ok(None);
        }
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Some(Self { listener, address, tls }))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A unix socket to serve on; its file is removed when it is dropped, unless another agent has put its own in the place.
#[derive(Debug)]
pub struct Socket {
    listener: Option<UnixListener>,
    path: PathBuf,
    file: (u64, u64),
}

impl Socket {
    /// Listens on `path`, mode 0660. A file that a dead agent left is replaced; a living agent's is not.
    pub async fn bind(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Bind { at: path.display().to_string(), source };
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => return Err(Error::NotASocket(path.to_owned())),
            Ok(_) if UnixStream::connect(path).await.is_ok() => return Err(Error::InUse(path.to_owned())),
            Ok(_) | Err(_) => {}
        }
        // Bound under another name and renamed, so that nobody can connect before the mode is set.
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(format!(".{}", std::process::id()));
        let fresh = PathBuf::from(fresh);
        match std::fs::remove_file(&fresh) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&fresh).map_err(failed)?;
        let placed = std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o660))
            .and_then(|()| std::fs::symlink_metadata(&fresh))
            .and_then(|found| std::fs::rename(&fresh, path).map(|()| (found.dev(), found.ino())));
        match placed {
            Ok(file) => Ok(Self { listener: Some(listener), path: path.to_owned(), file }),
            Err(e) => {
                let _ = std::fs::remove_file(&fresh);
                Err(failed(e))
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.file) {
            // A file that stays behind is replaced by the next agent.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Serves reads on a loopback port until `stop`.
pub async fn serve_tcp(port: Port, surface: Surface, stop: CancellationToken) -> Result<(), Error> {
    let at = port.address.to_string();
    let served = axum::serve(Bounded::new(port.listener, CONNECTIONS), routes::reads(surface))
        .with_graceful_shutdown(stop.clone().cancelled_owned());
    ended(at, served.into_future(), stop).await
}

/// Serves those who have a token, over TLS, until `stop`.
pub async fn serve_network(port: NetworkPort, surface: Surface, stop: CancellationToken) -> Result<(), Error> {
    let at = port.address.to_string();
    let listener = Bounded::new(Tls::new(port.listener, port.tls), NETWORK_CONNECTIONS);
    let served = axum::serve(listener, routes::network(surface)).with_graceful_shutdown(stop.clone().cancelled_owned());
    ended(at, served.into_future(), stop).await
}

/// Serves reads and commands on a unix socket until `stop`.
pub async fn serve_unix(mut socket: Socket, surface: Surface, stop: CancellationToken) -> Result<(), Error> {
    let Some(listener) = socket.listener.take() else { return Ok(()) };
    let at = socket.path.display().to_string();
    let service = routes::all(surface).into_make_service_with_connect_info::<routes::Peer>();
    let served = axum::serve(Bounded::new(listener, CONNECTIONS), service).with_graceful_shutdown(stop.clone().cancelled_owned());
    ended(at, served.into_future(), stop).await
}

async fn ended(at: String, served: impl Future<Output = io::Result<()>>, stop: CancellationToken) -> Result<(), Error> {
    let too_long = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_WITHIN).await;
    };
    tokio::select! {
        result = served => result.map_err(|source| Error::Serve { at, source }),
        // Dropping the server drops nothing but requests whose callers were given their time.
        () = too_long => Ok(()),
    }
}

#[cfg(test)]
mod tests;
