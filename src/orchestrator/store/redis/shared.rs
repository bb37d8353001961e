//! One call of a script, and what every call has at hand: the connection, what is known of the data, the news.
//!
//! What must stay true: a call is told what was known when it was decided on, and what it answers of the data's life is noted before anything else of it
//! is believed; after an answer that shows a loss the connection is not used again. What only shows may come from the replica; nothing is decided by it.

use std::time::Duration;

use redis::Cmd;

use super::super::StoreError;
use super::guard::Guard;
use super::guard::Known;
use super::link::Link;
use super::news;
use super::news::News;
use super::reply;
use super::reply::Parts;
use super::script;
use super::script::Script;
use crate::model::Timestamp;

/// How much there is to be in a call: one of a hundred writes would move again and again while it grows.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub(super) arguments: usize,
    pub(super) bytes: usize,
}

/// As much as most calls hold, and what every call begins with.
pub(super) const SMALL: Room = Room { arguments: 8, bytes: 256 };

/// What all calls have at hand.
pub(super) struct Shared {
    pub(super) link: Link,
    pub(super) read: Option<Link>,
    pub(super) prefix: String,
    pub(super) client: String,
    pub(super) timeout: Duration,
    pub(super) guard: Guard,
    pub(super) news: News,
}

impl Shared {
    /// `told`: what the caller knew when it decided to ask.
    pub(super) async fn call(&self, told: Known, script: &Script, args: impl FnOnce(&mut Cmd)) -> Result<Parts, StoreError> {
        self.call_with(told, script, SMALL, args).await
    }

    /// The same for a call whose size is known.
    pub(super) async fn call_with(
        &self,
        told: Known,
        script: &Script,
        room: Room,
        args: impl FnOnce(&mut Cmd),
    ) -> Result<Parts, StoreError> {
        let live = self.link.live().await?;
        let mut cmd = self.command(script, told.answered, live.number, room);
        args(&mut cmd);
        let mut answer = Parts::of(self.link.script(&live, script, &cmd).await?)?;
        match answer.number()? {
            0 => {}
            said => {
                if let Err(error) = self.guard.note(told, said) {
                    self.link.give_up(&live).await;
                    return Err(error);
                }
            }
        }
        Ok(answer)
    }

    /// From the replica, where there is one and it answers.
    pub(super) async fn read(&self, script: &Script, args: impl Fn(&mut Cmd)) -> Result<Parts, StoreError> {
        if let Some(link) = &self.read {
            let mut cmd = self.command(script, 0, 0, SMALL);
            args(&mut cmd);
            let asked = async { link.script(&link.live().await?, script, &cmd).await };
            if let Ok(value) = asked.await {
                let mut answer = Parts::of(value)?;
                answer.number::<i64>()?;
                if !answer.is_empty() {
                    return Ok(answer);
                }
            }
        }
        self.call(self.guard.known(), script, args).await
    }

    /// What every call begins with, and room for the rest.
    pub(super) fn command(&self, script: &Script, answered: i64, connection: u64, room: Room) -> Cmd {
        let mut cmd = Cmd::with_capacity(SMALL.arguments + room.arguments, SMALL.bytes + room.bytes);
        cmd.arg("EVALSHA").arg(&script.sha).arg(1).arg(format!("{}bellrock:due", self.prefix));
        cmd.arg(&self.prefix).arg(&self.client).arg(format!("{answered} {connection}"));
        cmd
    }

    /// Waits for news, or for a time after which there is something new.
    pub(super) async fn wait(&self, session: &str) {
        loop {
            let mut bell = self.news.bell();
            if self.news.is_told(session) {
                return;
            }
            let until = self.news.until(session);
            let Ok((now, next)) = self.horizon(session, until).await else {
                tokio::time::sleep(news::DEAF).await;
                return;
            };
            self.news.set_until(session, now);
            let sleep = next.map_or(Duration::MAX, |at| at.since(now));
            if sleep.is_zero() {
                return;
            }
            if !self.news.is_heard() {
                tokio::time::sleep(sleep.min(news::DEAF)).await;
                return;
            }
            // A channel whose sender is gone cannot be: it is this one's own.
            let _ = tokio::time::timeout(sleep, bell.changed()).await;
        }
    }

    /// The server's clock, and the first time after `since` at which something is due, a session runs out, or this one may adopt from all that did.
    async fn horizon(&self, session: &str, since: Timestamp) -> Result<(Timestamp, Option<Timestamp>), StoreError> {
        let mut answer = self.call(self.guard.known(), &script::HORIZON, |cmd| _ = cmd.arg(since.0).arg(session)).await?;
        let now = Timestamp(answer.number()?);
        let times = [answer.text()?, answer.text()?, answer.text()?];
        Ok((now, times.iter().filter_map(|text| reply::score(text)).min()))
    }
}
