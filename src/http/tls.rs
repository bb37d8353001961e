//! A port that speaks TLS and nothing else.
//!
//! What must stay true: a caller who does not shake hands, or does not in time, costs nobody else anything: the handshake is made by the task of its
//! connection, not by the one that accepts. A certificate that was renewed is used from the next connection on.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Sleep;
use tokio_rustls::Accept;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// From a connection to the end of its handshake: two round trips and a signature.
pub(super) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

pub(super) struct Tls {
    listener: TcpListener,
    config: watch::Receiver<Option<Arc<ServerConfig>>>,
}

impl Tls {
    pub(super) fn new(listener: TcpListener, config: watch::Receiver<Option<Arc<ServerConfig>>>) -> Self {
        Self { listener, config }
    }
}

impl Listener for Tls {
    type Io = Secured;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Secured, SocketAddr) {
        loop {
            let (io, address) = Listener::accept(&mut self.listener).await;
            let config = self.config.borrow().clone();
            // Without a certificate there is nothing to say; the connection is closed.
            if let Some(config) = config {
                return (Secured::new(TlsAcceptor::from(config).accept(io)), address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection, from its first byte.
pub(super) struct Secured(State);

enum State {
    Handshake(Box<Accept<TcpStream>>, Pin<Box<Sleep>>),
    Open(Box<TlsStream<TcpStream>>),
    Failed,
}

impl Secured {
    fn new(accept: Accept<TcpStream>) -> Self {
        Self(State::Handshake(Box::new(accept), Box::pin(tokio::time::sleep(HANDSHAKE_WITHIN))))
    }

    fn open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut TlsStream<TcpStream>>>> {
        if let State::Handshake(accept, end) = &mut self.0 {
            let shaken = match Pin::new(accept.as_mut()).poll(cx) {
                Poll::Ready(shaken) => shaken,
                Poll::Pending => {
                    ready!(end.as_mut().poll(cx));
                    Err(io::ErrorKind::TimedOut.into())
                }
            };
            match shaken {
                Ok(stream) => self.0 = State::Open(Box::new(stream)),
                Err(e) => {
                    self.0 = State::Failed;
                    return Poll::Ready(Err(e));
                }
            }
        }
        Poll::Ready(match &mut self.0 {
            State::Open(stream) => Ok(Pin::new(stream.as_mut())),
            State::Handshake(..) | State::Failed => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.open(cx))?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.open(cx))?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.open(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            State::Open(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            // Dropping it closes the connection, and there is nothing to say before.
            State::Handshake(..) | State::Failed => Poll::Ready(Ok(())),
        }
    }
}
