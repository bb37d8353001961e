//! The way of one agent to Redis: a TCP proxy that can be cut, fall silent in one direction or both, and mend.

use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// How the network stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// What the agent says does not arrive yet. It is delivered once this is over, late as it is, unless the connection is reset.
    pub requests_held: bool,
    /// The same for what the server says: done, and the agent does not know.
    pub answers_held: bool,
    /// New connections are closed at once.
    pub refused: bool,
    /// Grows whenever all connections are reset.
    pub resets: u32,
}

/// A proxy on a port of its own.
pub struct Network {
    pub port: u16,
    weather: watch::Sender<Weather>,
    _carrier: JoinSet<()>,
}

impl Network {
    /// A way to this server.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let port = listener.local_addr().expect("it is bound").port();
        let (weather, seen) = watch::channel(Weather::default());
        let mut carrier = JoinSet::new();
        carrier.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let accepted = listener.accept().await;
                while connections.try_join_next().is_some() {}
                let Ok((agent, _)) = accepted else { continue };
                if !seen.borrow().refused {
                    connections.spawn(carry(agent, server, seen.clone()));
                }
            }
        });
        Self { port, weather, _carrier: carrier }
    }

    /// Changes the weather.
    pub fn turn(&self, change: impl FnOnce(&mut Weather)) {
        self.weather.send_modify(change);
    }
}

/// One connection, until either side ends it or it is reset.
async fn carry(agent: TcpStream, server: SocketAddr, mut weather: watch::Receiver<Weather>) {
    let born = weather.borrow().resets;
    let Ok(server) = TcpStream::connect(server).await else { return };
    for stream in [&agent, &server] {
        let _ = stream.set_nodelay(true);
    }
    let ((from_agent, to_agent), (from_server, to_server)) = (agent.into_split(), server.into_split());
    let requests = pump(from_agent, to_server, weather.clone(), |now| now.requests_held);
    let answers = pump(from_server, to_agent, weather.clone(), |now| now.answers_held);
    // What is under way when it is reset is lost, as it is on a real network.
    tokio::select! {
        () = requests => {}
        () = answers => {}
        _ = weather.wait_for(|now| now.refused || now.resets != born) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut weather: watch::Receiver<Weather>, held: fn(&Weather) -> bool) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let Ok(count @ 1..) = from.read(&mut chunk).await else { return };
        let blows = weather.wait_for(|now| !held(now)).await.is_err();
        if blows || to.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
}
