//! What really came to pass in the store: who owned what, from when to when, and who asked for more.
//!
//! It stands right before the store, behind all lines: what is noted was carried out, whether or not anybody heard of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;

use super::passage::Hooks;
use crate::cloud::sim::SimTime;
use crate::drill::station::open;
use crate::model::Clock;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::store::Claimed;
use crate::orchestrator::store::Created;
use crate::orchestrator::store::NewExecution;
use crate::orchestrator::store::Session;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::StoreError;
use crate::orchestrator::store::Then;
use crate::orchestrator::store::Write;
use crate::orchestrator::store::WriteError;

/// How an ownership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::drill) enum Left {
    /// Given back by its owner, or finished.
    GaveBack,
    /// Its owner's session was ended, or somebody else came to own it.
    Taken,
}

/// One session's ownership of one execution.
#[derive(Clone, Debug)]
pub(in crate::drill) struct Ownership {
    pub(in crate::drill) session: Session,
    pub(in crate::drill) from: SimTime,
    /// `None` = it still stands.
    pub(in crate::drill) to: Option<(SimTime, Left)>,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(in crate::drill) struct Seen {
    /// Ownerships of each execution, in the order of time.
    pub(in crate::drill) owned: BTreeMap<ExecutionId, Vec<Ownership>>,
    /// When each instance asked for more work.
    pub(in crate::drill) asked: BTreeMap<String, Vec<SimTime>>,
}

impl Seen {
    fn took(&mut self, claimed: &Claimed, at: SimTime) {
        let owned = self.owned.entry(claimed.lease.execution.clone()).or_default();
        if let Some(last) = owned.last_mut() {
            last.to.get_or_insert((at, Left::Taken));
        }
        owned.push(Ownership { session: claimed.lease.session.clone(), from: at, to: None });
    }

    fn asked(&mut self, session: &Session, at: SimTime) {
        self.asked.entry(session.instance.clone()).or_default().push(at);
    }

    /// What an instance owns now.
    pub(in crate::drill) fn owned_by(&self, instance: &str) -> impl Iterator<Item = String> {
        let now = move |owned: &Vec<Ownership>| owned.last().is_some_and(|o| o.to.is_none() && o.session.instance == instance);
        self.owned.iter().filter(move |(_, owned)| now(owned)).map(|(id, _)| id.to_string())
    }
}

/// The witness.
pub(in crate::drill) struct Witness {
    pub(in crate::drill) clock: Arc<dyn Clock>,
    pub(in crate::drill) seen: Arc<Mutex<Seen>>,
}

#[async_trait]
impl Hooks for Witness {
    async fn claim(&self, store: &dyn Store, session: &Session, max: usize) -> Result<Vec<Claimed>, StoreError> {
        let claimed = store.claim(session, max).await;
        let (mut seen, at) = (open(&self.seen), self.clock.now().mono);
        seen.asked(session, at);
        claimed.iter().flatten().for_each(|claimed| seen.took(claimed, at));
        claimed
    }

    async fn claim_one(&self, store: &dyn Store, session: &Session, id: &ExecutionId) -> Result<Option<Claimed>, StoreError> {
        let claimed = store.claim_one(session, id).await;
        let (mut seen, at) = (open(&self.seen), self.clock.now().mono);
        claimed.iter().flatten().for_each(|claimed| seen.took(claimed, at));
        claimed
    }

    async fn write(&self, store: &dyn Store, write: Write) -> Result<(), WriteError> {
        let (execution, gives_back) = (write.lease.execution.clone(), write.then != Then::Keep);
        let came = store.write(write).await;
        if gives_back
            && came.is_ok()
            && let Some(last) = open(&self.seen).owned.get_mut(&execution).and_then(|owned| owned.last_mut())
        {
            last.to.get_or_insert((self.clock.now().mono, Left::GaveBack));
        }
        came
    }

    async fn create(&self, store: &dyn Store, new: NewExecution) -> Result<Created, StoreError> {
        let id = new.listing.id.clone();
        let created = store.create(new).await;
        if created == Ok(Created::New) {
            open(&self.seen).owned.entry(id).or_default();
        }
        created
    }

    async fn end_session(&self, store: &dyn Store, session: &Session) -> Result<(), StoreError> {
        let ended = store.end_session(session).await;
        let (mut seen, at) = (open(&self.seen), self.clock.now().mono);
        for last in seen.owned.values_mut().filter_map(|owned| owned.last_mut()).filter(|last| &last.session == session) {
            last.to.get_or_insert((at, Left::Taken));
        }
        ended
    }
}
