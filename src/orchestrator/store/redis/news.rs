//! Who waits, and what wakes them: one channel of news, heard over a connection of its own.
//!
//! What must stay true: news that came between a look and a wait are not missed, because both are counted; while nobody hears the channel, waits are
//! short instead of long.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use super::link::Link;
use crate::model::Timestamp;

/// Between looks while the channel is not heard.
pub(super) const DEAF: Duration = Duration::from_millis(250);
/// Silence after which the connection is tried.
const SILENCE: Duration = Duration::from_secs(5);
/// Before the channel is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// What this process heard.
pub(super) struct News {
    state: Mutex<State>,
    bell: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    heard: bool,
    /// News for everybody.
    all: u64,
    /// By session, of those that ever waited here: a few.
    sessions: HashMap<String, Waiter>,
}

/// A session that waits here.
#[derive(Clone, Copy, Default)]
struct Waiter {
    mail: u64,
    /// What its last wait knew of `all` and `mail`, once it had one.
    seen: Option<(u64, u64)>,
    until: Option<Timestamp>,
}

impl News {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), bell: watch::Sender::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings from now on.
    pub(super) fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// True when there was news since the session's last wait, which it now knows of.
    pub(super) fn is_told(&self, session: &str) -> bool {
        let mut state = self.state();
        let all = state.all;
        let waiter = state.sessions.entry(session.to_owned()).or_default();
        let now = Some((all, waiter.mail));
        std::mem::replace(&mut waiter.seen, now) != now
    }

    /// Up to which time the session knows what came due.
    pub(super) fn until(&self, session: &str) -> Timestamp {
        self.state().sessions.get(session).and_then(|w| w.until).unwrap_or(Timestamp(i64::MIN))
    }

    pub(super) fn set_until(&self, session: &str, until: Timestamp) {
        self.state().sessions.entry(session.to_owned()).or_default().until = Some(until);
    }

    pub(super) fn forget(&self, session: &str) {
        self.state().sessions.remove(session);
    }

    pub(super) fn is_heard(&self) -> bool {
        self.state().heard
    }

    fn heard(&self, heard: bool) {
        let mut state = self.state();
        state.heard = heard;
        // What was said meanwhile is not known.
        state.all += 1;
        drop(state);
        self.ring();
    }

    fn take(&self, session: &str) {
        let mut state = self.state();
        if session.is_empty() {
            state.all += 1;
        } else if let Some(waiter) = state.sessions.get_mut(session) {
            waiter.mail += 1;
        } else {
            return;
        }
        drop(state);
        self.ring();
    }

    fn ring(&self) {
        self.bell.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Hears the channel for ever.
    pub(super) async fn hear(&self, link: &Link, channel: &str, limit: Duration) {
        for turn in 0.. {
            if let Err(error) = self.hear_once(link, channel, limit, turn).await {
                warn!(%error, "news of the store are not heard; waits are short until they are");
            }
            if self.is_heard() {
                self.heard(false);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn hear_once(&self, link: &Link, channel: &str, limit: Duration, turn: usize) -> redis::RedisResult<()> {
        let mut connection = link.listen(turn).await?;
        let late = |_| redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        timeout(limit, connection.subscribe(channel)).await.map_err(late)??;
        let (mut sink, mut stream) = connection.split();
        self.heard(true);
        loop {
            match timeout(SILENCE, stream.next()).await {
                Ok(Some(message)) => self.take(&message.get_payload::<String>()?),
                Ok(None) => return Ok(()),
                Err(_) => timeout(limit, sink.ping::<redis::Value>()).await.map(drop).map_err(late)?,
            }
        }
    }
}
