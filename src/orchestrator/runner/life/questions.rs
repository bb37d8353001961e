//! What a session asks of the store, and what it makes of the answers.
//!
//! What must stay true: at most one question of a kind is under way; a store that does not answer is asked less and less often, and is told of once.

use std::collections::BTreeSet;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;

use tracing::error;
use tracing::info;
use tracing::warn;

use super::LOOK_EVERY;
use super::Life;
use crate::model::Moment;
use crate::model::Timestamp;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::runner::Beat;
use crate::orchestrator::runner::pace::STARTING_AGAIN;
use crate::orchestrator::runner::pause::Pause;
use crate::orchestrator::store::Claimed;
use crate::orchestrator::store::Session;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::StoreError;

/// Ids of what we own, read at once.
const OWNED_PAGE: usize = 1_000;
/// The store's clock as it is known here is ahead of it by no more, unless the store is slow.
const CLOCKS_DIFFER: Duration = Duration::from_millis(50);

/// Questions to the store that are under way, at most one of each kind.
#[derive(Default)]
pub(super) struct Asking {
    pub(super) beat: bool,
    pub(super) claim: bool,
    pub(super) strays: bool,
    pub(super) messages: bool,
    pub(super) news: bool,
    pub(super) due: bool,
}

/// What is to be asked next.
pub(super) struct Look {
    pub(super) due: bool,
    pub(super) messages: bool,
    /// A claim went unanswered: the store may have given us what we do not know of.
    pub(super) strays: bool,
}

/// What the store said.
pub(super) enum Answer {
    /// To what was asked then.
    Beat(Moment, Result<(bool, Moment, Timestamp), StoreError>),
    Claimed {
        /// So many were asked for.
        max: usize,
        /// When, by the store's clock as far as it is known here.
        at: Timestamp,
        claimed: Result<Vec<Claimed>, StoreError>,
    },
    /// What has work under way on this host: what was claimed, what is left to be asked for, and why.
    First(Vec<Claimed>, BTreeSet<ExecutionId>, Result<(), StoreError>),
    Strays(Result<Strays, StoreError>),
    Messages(Result<Vec<ExecutionId>, StoreError>),
    NextDue(Result<Option<Timestamp>, StoreError>),
    /// There may be something to do.
    News,
    /// Something was done that brings no news.
    Nothing,
}

/// The store does not answer.
#[derive(Default)]
pub(super) struct Trouble {
    pub(super) pause: Option<Pause>,
    /// No claim before this, by the local clock.
    not_before: Option<Moment>,
}

impl Life<'_> {
    pub(super) fn beat(&mut self) {
        if std::mem::replace(&mut self.asking.beat, true) {
            return;
        }
        let (shared, session, lease) = (Arc::clone(self.shared), self.session.clone(), self.settings.lease);
        self.asked.push(Box::pin(async move {
            let asked = shared.clock.local();
            let beat = shared.store.beat(&session, lease).await;
            let before = shared.clock.local();
            let now = shared.store.now().await;
            Answer::Beat(asked, beat.and_then(|ours| now.map(|now| (ours, before, now))))
        }));
    }

    pub(super) fn claim(&mut self) {
        if !self.look.due || !self.may_claim() {
            return;
        }
        let max = self.places().min(self.shared.pace.room());
        self.look.due = false;
        self.asking.claim = true;
        let (store, session, at) = (Arc::clone(&self.shared.store), self.session.clone(), self.shared.clock.now());
        self.asked.push(Box::pin(async move { Answer::Claimed { max, at, claimed: store.claim(&session, max).await } }));
    }

    /// Places that nobody has.
    fn places(&self) -> usize {
        self.settings.owned.saturating_sub(self.owners.len())
    }

    /// Questions wait, since the store did not answer the last one.
    fn is_held(&self) -> bool {
        self.trouble.not_before.is_some_and(|at| self.shared.clock.local().mono < at.mono)
    }

    /// A claim now would be made, and no other one could bring the same execution.
    pub(super) fn may_claim(&self) -> bool {
        let worth = self.places() > 0 && self.shared.pace.room() >= STARTING_AGAIN;
        worth && !self.is_held() && !self.asking.claim && !self.asking.strays && self.shared.clock.is_set()
    }

    /// What is due then was not given to us by the last claim, so asking at once would not bring it either.
    pub(super) fn was_refused(&self, due: Timestamp) -> bool {
        self.empty_at.is_some_and(|at| due.plus(CLOCKS_DIFFER) < at)
    }

    pub(super) fn ask_messages(&mut self) {
        if !self.look.messages || self.asking.messages || self.owners.is_empty() {
            return;
        }
        self.look.messages = false;
        self.asking.messages = true;
        let (store, session) = (Arc::clone(&self.shared.store), self.session.clone());
        self.asked.push(Box::pin(async move { Answer::Messages(store.with_messages(&session).await) }));
    }

    /// Claims what has work under way on this host, once the session exists.
    pub(super) fn ask_first(&mut self) {
        if self.first.is_empty() || self.asking.strays || self.asking.claim || self.is_held() || !self.shared.clock.is_set() {
            return;
        }
        self.asking.strays = true;
        let (store, session, ids) = (Arc::clone(&self.shared.store), self.session.clone(), self.first.clone());
        self.asked.push(Box::pin(async move {
            let (claimed, left, done) = claim_each(&*store, &session, ids).await;
            Answer::First(claimed, left, done)
        }));
    }

    /// After an unanswered claim, takes up what the store gave us and nobody here knows of.
    pub(super) fn ask_strays(&mut self) {
        if !self.look.strays || self.asking.strays || self.asking.claim || self.is_held() {
            return;
        }
        self.look.strays = false;
        self.asking.strays = true;
        let known: HashSet<ExecutionId> = self.owned.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        let (store, session) = (Arc::clone(&self.shared.store), self.session.clone());
        self.asked.push(Box::pin(async move { Answer::Strays(strays(&*store, &session, &known).await) }));
    }

    pub(super) fn ask_next_due(&mut self) {
        if std::mem::replace(&mut self.asking.due, true) {
            return;
        }
        let store = Arc::clone(&self.shared.store);
        self.asked.push(Box::pin(async move { Answer::NextDue(store.next_due().await) }));
    }

    pub(super) fn wait_for_news(&mut self) {
        let held = self.trouble.pause.is_some();
        if held || std::mem::replace(&mut self.asking.news, true) {
            return;
        }
        let (store, session) = (Arc::clone(&self.shared.store), self.session.clone());
        self.asked.push(Box::pin(async move {
            store.wait(&session, LOOK_EVERY * 10).await;
            Answer::News
        }));
    }

    pub(super) fn hear(&mut self, answer: Answer) {
        match answer {
            Answer::Beat(asked, beat) => {
                self.asking.beat = false;
                let came = beat.as_ref().map(|_| ()).map_err(ToString::to_string);
                self.state.send_if_modified(|state| {
                    let changed = state.beat.as_ref().map(|beat| &beat.came) != Some(&came);
                    state.beat = Some(Beat { asked, came });
                    changed
                });
                self.shared.counts.renewals.add(match &beat {
                    Ok((true, ..)) => "ok",
                    Ok((false, ..)) => "refused",
                    Err(_) => "failed",
                });
                if let Some((ours, before, now)) = self.heard(beat) {
                    self.shared.clock.set(before, now);
                    if !ours {
                        error!(
                            instance = self.session.instance,
                            "another process runs the engine under this instance's name; nothing is claimed (runbooks/instance-name-taken.md)"
                        );
                    }
                }
            }
            Answer::Claimed { max, at, claimed } => {
                self.asking.claim = false;
                self.look.strays |= claimed.is_err();
                if let Some(claimed) = self.heard(claimed) {
                    self.look.due |= claimed.len() >= max;
                    self.empty_at = claimed.is_empty().then_some(at);
                    for claimed in claimed {
                        self.take(claimed);
                    }
                }
            }
            Answer::First(claimed, left, done) => {
                self.asking.strays = false;
                self.first = left;
                self.heard(done);
                claimed.into_iter().for_each(|first| self.take(first));
            }
            Answer::Strays(strays) => {
                self.asking.strays = false;
                self.look.strays |= strays.as_ref().map_or(true, |strays| strays.more);
                let strays = self.heard(strays).unwrap_or_default();
                strays.got.into_iter().for_each(|stray| self.take(stray));
            }
            Answer::Messages(messages) => {
                self.asking.messages = false;
                if let Some(ids) = self.heard(messages) {
                    let owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
                    ids.iter().filter_map(|id| owned.get(id)).for_each(|owned| owned.mail.messages());
                }
            }
            Answer::NextDue(due) => {
                self.asking.due = false;
                if let Some(due) = self.heard(due).flatten() {
                    self.due_at(due);
                }
            }
            Answer::News => {
                self.asking.news = false;
                (self.look.due, self.look.messages) = (true, true);
            }
            Answer::Nothing => {}
        }
    }

    /// Keeps account of whether the store answers; one line when it stops and one when it is back.
    fn heard<T>(&mut self, answer: Result<T, StoreError>) -> Option<T> {
        match answer {
            Ok(answer) => {
                if self.trouble.pause.take().is_some() {
                    self.trouble.not_before = None;
                    (self.look.due, self.look.messages) = (true, true);
                    info!("the store answers again");
                }
                Some(answer)
            }
            Err(StoreError::LostData(why)) => {
                self.lose(&why);
                None
            }
            Err(error) => {
                let pause = self.trouble.pause.get_or_insert_with(|| {
                    warn!(%error, "the store does not answer; what is under way goes on, nothing new begins until it does (runbooks/store-unavailable.md)");
                    Pause::new(0)
                });
                self.trouble.not_before = Some(self.shared.clock.local().plus(pause.next()));
                self.look.due = true;
                None
            }
        }
    }

    /// This session is over: its owners go, and the next session takes up what the store holds.
    pub(super) fn lose(&mut self, why: &str) {
        if !std::mem::replace(&mut self.lost, true) {
            error!(
                why,
                executions = self.owners.len(),
                "the store lost data it had acknowledged; what was under way here is left, and a new session takes up what the store holds \
                 (runbooks/store-lost-data.md)"
            );
        }
    }
}

/// What the store holds to be ours and nobody here works on.
#[derive(Default)]
pub(super) struct Strays {
    got: Vec<Claimed>,
    /// There are more, which could not be had.
    more: bool,
}

async fn strays(store: &dyn Store, session: &Session, known: &HashSet<ExecutionId>) -> Result<Strays, StoreError> {
    let mut unknown = Vec::new();
    let mut last: Option<ExecutionId> = None;
    loop {
        let page = store.owned(session, last.as_ref(), OWNED_PAGE).await?;
        let full = page.len() >= OWNED_PAGE;
        last = page.last().cloned();
        unknown.extend(page.into_iter().filter(|id| !known.contains(id)));
        if !full {
            break;
        }
    }
    let mut strays = Strays::default();
    for id in unknown {
        match store.claim_one(session, &id).await {
            Ok(claimed) => strays.got.extend(claimed),
            Err(error) if strays.got.is_empty() => return Err(error),
            // What was got is worked on; the rest is looked for again.
            Err(_) => {
                strays.more = true;
                break;
            }
        }
    }
    Ok(strays)
}

/// What came to be owned, what was not asked for any more, and why.
async fn claim_each(
    store: &dyn Store,
    session: &Session,
    mut ids: BTreeSet<ExecutionId>,
) -> (Vec<Claimed>, BTreeSet<ExecutionId>, Result<(), StoreError>) {
    let mut all = Vec::new();
    while let Some(id) = ids.first() {
        match store.claim_one(session, id).await {
            Ok(claimed) => all.extend(claimed),
            Err(error) => return (all, ids, Err(error)),
        }
        ids.pop_first();
    }
    (all, ids, Ok(()))
}
