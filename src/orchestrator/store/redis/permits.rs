//! The book of permits in Redis: one hash a group, `bellrock:permits:<region>:<account>:<group>`, with the number and the end of each holder's permit. A
//! group's name holds no colon (Auto Scaling, `CreateAutoScalingGroup`, read 2026-11-28), so no two groups share a book.
//!
//! Agents of the version before keep theirs in `bellrock:permits:<group>`, which nobody reads here, and which is gone soon after the last of them. While a
//! roll-out has both, each kind holds the budget among its own, and turns alone keep the two kinds apart.
//!
//! What can be lost: a replica that takes over may lack grants that its master acknowledged, and have again what was given back; a server without files
//! starts with nothing. Both show as another replication id, and the book then gives nothing new, not even to whom it lists, for the longest lease that
//! it heard of, after which whatever was lost has run out. So the bound holds over a failover. It does not:
//! * while two masters answer at once, one of them cut off from its Sentinels: each side of the cut may give as many as there are places, until the cut
//!   is mended; `min-replicas-to-write 1` closes that too;
//! * when the server's clock is set forward: every permit ends by so much too early. Set back, a permit lasts for a lease from then at most;
//! * where its user may not call `INFO`, and a failover loses grants;
//! * where the server evicts keys: books have a time to live and are taken first. `maxmemory-policy` has to be `noeviction`, as for all of a store.
//!
//! Agents take turns by AWS's count besides, whatever the book says.
//!
//! It fails with what the server said, in the store's words; a call that was given up may have been carried out.

use std::time::Duration;

use async_trait::async_trait;
use redis::Cmd;

use super::super::StoreError;
use super::RedisStore;
use super::Settings;
use super::guard::Guard;
use super::link::Link;
use super::millis;
use super::news::News;
use super::script;
use super::shared::Shared;
use crate::model::GroupName;
use crate::model::Permit;
use crate::model::PermitAnswer;
use crate::model::PermitRequest;
use crate::orchestrator::permits::Home;
use crate::orchestrator::permits::Permits;

/// The book, over a connection of its own, which is made when it is first needed.
pub struct RedisPermits {
    shared: Shared,
    home: Home,
}

impl RedisPermits {
    /// A book at this place, of the groups that are at home there; what [`Settings`] say of a replica is not looked at.
    ///
    /// # Errors
    /// As [`RedisStore::open`].
    pub fn open(settings: Settings, home: Home) -> Result<Self, StoreError> {
        let link = Self::link(&settings)?;
        let (prefix, timeout) = (settings.prefix, settings.timeout);
        // No script of the book counts: its numbers tell what came late.
        let shared = Shared { link, read: None, prefix, client: String::new(), timeout, guard: Guard::default(), news: News::new() };
        Ok(Self { shared, home })
    }

    /// Whether a book can be at this place, as far as that shows without asking.
    ///
    /// # Errors
    /// As [`RedisStore::open`].
    pub fn check(settings: &Settings) -> Result<(), StoreError> {
        Self::link(settings).map(drop)
    }

    fn link(settings: &Settings) -> Result<Link, StoreError> {
        let link = Link::open(&settings.url, settings.timeout)?;
        RedisStore::check_prefix(&link, &settings.prefix)?;
        Ok(link)
    }

    /// The group's whole name.
    fn whole(&self, group: &GroupName) -> String {
        format!("{}:{}:{group}", self.home.region, self.home.account)
    }
}

#[async_trait]
impl Permits for RedisPermits {
    async fn take(&self, request: &PermitRequest) -> Result<PermitAnswer, StoreError> {
        let PermitRequest { group, permit, places, lease, keeps, gone } = request;
        let args = |cmd: &mut Cmd| {
            cmd.arg(self.whole(group))
                .arg(permit.holder.as_str())
                .arg(permit.number)
                .arg(*places)
                .arg(millis(*lease))
                .arg(u8::from(*keeps));
            gone.iter().for_each(|gone| _ = cmd.arg(gone.holder.as_str()).arg(gone.number));
        };
        let mut answer = self.shared.call(self.shared.guard.known(), &script::TAKE_PERMIT, args).await?;
        if answer.number::<i64>()? == 1 {
            return Ok(PermitAnswer::Granted);
        }
        let mut held = Vec::new();
        for mut row in answer.list()?.lists()? {
            let permit = Permit { holder: row.text()?.as_str().into(), number: row.number()? };
            held.push((permit, Duration::from_millis(row.number()?)));
        }
        let closed = Duration::from_millis(answer.number()?);
        Ok(PermitAnswer::Refused { held, closed: (!closed.is_zero()).then_some(closed) })
    }

    async fn give(&self, group: &GroupName, permit: &Permit) -> Result<(), StoreError> {
        let args = |cmd: &mut Cmd| _ = cmd.arg(self.whole(group)).arg(permit.holder.as_str()).arg(permit.number);
        self.shared.call(self.shared.guard.known(), &script::GIVE_PERMIT, args).await.map(drop)
    }
}
