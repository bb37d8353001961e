//! A listener whose connections are few, and live only while they are answered: a client that holds on to one, sends a byte a minute or does not
//! take what it asked for costs little and not for long.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::time::Sleep;

/// Life of a connection from its beginning or the last byte of an answer: longer than any answer takes, and than a stream of events is silent.
const LIFE: Duration = Duration::from_secs(30);

pub(super) struct Bounded<L> {
    listener: L,
    places: Arc<Semaphore>,
}

impl<L> Bounded<L> {
    /// With so many connections at a time; further ones wait in the kernel's queue.
    pub(super) fn new(listener: L, connections: usize) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(connections)) }
    }
}

impl<L: Listener> Listener for Bounded<L> {
    type Io = Connection<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let place = self.places.clone().acquire_owned().await.expect("nobody closes this semaphore");
        let (io, address) = self.listener.accept().await;
        (Connection { io, end: Box::pin(tokio::time::sleep(LIFE)), _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that fails once its life is over.
pub(super) struct Connection<Io> {
    io: Io,
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl<Io> Connection<Io> {
    pub(super) fn get(&self) -> &Io {
        &self.io
    }

    fn over<T>(&mut self, cx: &mut Context<'_>) -> Option<Poll<io::Result<T>>> {
        self.end.as_mut().poll(cx).is_ready().then(|| Poll::Ready(Err(io::ErrorKind::TimedOut.into())))
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Connection<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.over(cx) {
            Some(over) => over,
            None => Pin::new(&mut self.io).poll_read(cx, buf),
        }
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Connection<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(over) = self.over(cx) {
            return over;
        }
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        if matches!(written, Poll::Ready(Ok(_))) {
            self.end.as_mut().reset(tokio::time::sleep(LIFE).deadline());
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.over(cx) {
            Some(over) => over,
            None => Pin::new(&mut self.io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures::FutureExt;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn no_more_than_so_many_are_let_in_and_one_who_leaves_makes_room() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut door = Bounded::new(listener, 1);
        let _callers = (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
        let (first, _) = door.accept().await;
        assert!(door.accept().now_or_never().is_none(), "there is one place");
        drop(first);
        door.accept().await;
    }

    #[tokio::test]
    async fn a_caller_who_dribbles_is_let_go_and_one_who_is_answered_is_not() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut door = Bounded::new(listener, 2);
        let (mut slow, mut served) = (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
        let (mut to_slow, _) = door.accept().await;
        let (mut to_served, _) = door.accept().await;
        tokio::time::pause();
        for _ in 0..2 {
            tokio::time::advance(LIFE * 2 / 3).await;
            slow.write_all(b"G").await.unwrap();
            to_served.write_all(b"event\n").await.unwrap();
        }
        assert_eq!(to_slow.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        served.write_all(b"G").await.unwrap();
        assert_eq!(to_served.read_u8().await.unwrap(), b'G');
    }
}
