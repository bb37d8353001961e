//! One session of a runner: the loop that beats, claims, hears of messages and gives back.
//!
//! What must stay true: at most one question of a kind is under way, none of them holds the loop up, and none is asked in a spin: the store says when
//! there is news, and is looked at once a second besides. A claim that is under way when the intake closes still counts as taking new work.

mod questions;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use futures::FutureExt;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use tracing::error;
use tracing::info;
use tracing::warn;

use super::Owned;
use super::Runner;
use super::Settings;
use super::Shared;
use super::State;
use super::Wish;
use super::mail::Mail;
use super::owner;
use super::owner::Exit;
use crate::model::Timestamp;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::store::Claimed;
use crate::orchestrator::store::Session;
use crate::orchestrator::store::record;
use questions::Answer;
use questions::Asking;
use questions::Look;
use questions::Trouble;

/// Without news, the store is looked at so often: the bound of what a lost notification costs.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is due is taken a moment later rather than too early.
const LEAST_WAIT: Duration = Duration::from_millis(1);
/// Ending a session at a stop is tried for so long; after it, the lease runs out by itself.
const END_SESSION_WITHIN: Duration = Duration::from_secs(2);

/// One session.
pub(super) struct Life<'a> {
    settings: &'a Settings,
    shared: &'a Arc<Shared>,
    wish: &'a mut watch::Receiver<Wish>,
    state: &'a watch::Sender<State>,
    owned: &'a Mutex<BTreeMap<ExecutionId, Owned>>,
    session: &'a Session,
    owners: JoinSet<(ExecutionId, Arc<Mail>, Exit)>,
    asked: FuturesUnordered<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    asking: Asking,
    look: Look,
    /// To be claimed before anything else, with the intake closed as well: work of theirs is under way on this host.
    first: BTreeSet<ExecutionId>,
    /// When something is due that nobody will tell of.
    next_due: Option<Timestamp>,
    /// The last claim was made then, and brought nothing.
    empty_at: Option<Timestamp>,
    trouble: Trouble,
    /// What is owned is to be given back, and what a claim under way brings too.
    hands_back: bool,
    /// The store lost what it had acknowledged: this session is over, and nothing that it knows may be written any more.
    lost: bool,
}

impl<'a> Life<'a> {
    pub(super) fn new(runner: &'a mut Runner, session: &'a Session, first: BTreeSet<ExecutionId>) -> Self {
        Self {
            settings: &runner.settings,
            shared: &runner.shared,
            wish: &mut runner.wish,
            state: &runner.state,
            owned: &runner.owned,
            session,
            owners: JoinSet::new(),
            asked: FuturesUnordered::new(),
            asking: Asking::default(),
            look: Look { due: true, messages: false, strays: false },
            first,
            next_due: None,
            empty_at: None,
            trouble: Trouble::default(),
            hands_back: false,
            lost: false,
        }
    }

    /// Runs until `stop`, until nobody wants it to be there, or until the store lost what this session builds on. True when the session was ended in the store.
    pub(super) async fn run(mut self, stop: &CancellationToken) -> bool {
        info!(instance = self.session.instance, process = self.session.process, lease_s = self.settings.lease.as_secs(), "the engine runs");
        let mut beat = tokio::time::interval(self.settings.beat_every());
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // A session exists before it claims.
        self.beat();
        beat.tick().await;
        loop {
            let wish = *self.wish.borrow_and_update();
            if stop.is_cancelled() || !wish.run || self.lost {
                break;
            }
            self.ask_first();
            self.ask_strays();
            if wish.intake {
                self.hands_back = false;
                self.claim();
            } else if self.settings.handoff && !self.hands_back {
                self.hands_back = true;
                self.order(Mail::hand_back);
                self.leave_later();
            }
            self.tell(wish.intake || self.asking.claim || !self.first.is_empty());
            self.ask_messages();
            self.wait_for_news();
            let timer = self
                .next_due
                .filter(|due| wish.intake && self.may_claim() && !self.was_refused(*due))
                .map(|due| due.since(self.shared.clock.now()).max(LEAST_WAIT));
            // Safe to cancel: answers and ends that are not taken stay where they are, and a timer is made anew.
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                changed = self.wish.changed() => if changed.is_err() { break },
                _ = beat.tick() => self.beat(),
                Some(answer) = self.asked.next(), if !self.asked.is_empty() => self.hear(answer),
                () = self.shared.pace.eased(), if wish.intake => {}
                Some(ended) = self.owners.join_next(), if !self.owners.is_empty() => {
                    self.gone(ended);
                    while let Some(ended) = self.owners.try_join_next() {
                        self.gone(ended);
                    }
                }
                () = tokio::time::sleep(timer.unwrap_or_default()), if timer.is_some() => {
                    self.next_due = None;
                    self.look.due = true;
                    self.ask_next_due();
                }
                _ = look.tick() => {
                    (self.look.due, self.look.messages) = (true, true);
                    self.ask_next_due();
                }
            }
        }
        self.leave().await
    }

    /// Gives everything back and ends the session.
    async fn leave(mut self) -> bool {
        self.hands_back = true;
        self.order(if self.lost { Mail::abandon } else { Mail::hand_back });
        // What is left of the time is for the end of the session.
        let within = self.settings.stop_within - END_SESSION_WITHIN.min(self.settings.stop_within / 4);
        let deadline = tokio::time::sleep(within);
        let grace = tokio::time::sleep(self.settings.handoff_grace.min(within));
        tokio::pin!(deadline, grace);
        let mut left = false;
        let mut beat = tokio::time::interval(self.settings.beat_every());
        while !self.owners.is_empty() || self.asking.claim {
            // Safe to cancel, as above.
            tokio::select! {
                biased;
                Some(ended) = self.owners.join_next(), if !self.owners.is_empty() => self.gone(ended),
                Some(answer) = self.asked.next(), if !self.asked.is_empty() => {
                    self.hear(answer);
                    self.order(if self.lost { Mail::abandon } else if left { Mail::leave } else { Mail::hand_back });
                }
                _ = beat.tick() => self.beat(),
                () = &mut grace, if !left => {
                    left = true;
                    self.order(Mail::leave);
                }
                () = &mut deadline => return self.cut_off().await,
            }
        }
        self.end_session().await
    }

    /// Drops the owners that did not come to an end in time. When jobs of theirs run on, the session is left to this host's next process, which attaches to them.
    async fn cut_off(mut self) -> bool {
        warn!(
            executions = self.owners.len(),
            limit_s = self.settings.stop_within.as_secs(),
            "attempts under way did not end in time; jobs run on, whoever takes the executions treats the rest as lost"
        );
        self.owners.shutdown().await;
        self.owned.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if self.lost || self.shared.performer.outlived().is_empty() {
            return self.end_session().await;
        }
        info!(lease_s = self.settings.lease.as_secs(), "the session is left to this host's next process, for its lease");
        false
    }

    async fn end_session(self) -> bool {
        match tokio::time::timeout(END_SESSION_WITHIN.min(self.settings.stop_within / 4), self.shared.store.end_session(self.session)).await
        {
            Ok(Ok(())) => {
                info!("the engine's session is ended");
                true
            }
            Ok(Err(_)) | Err(_) => {
                warn!(
                    lease_s = self.settings.lease.as_secs(),
                    "the session could not be ended; it ends with its lease, or when this host's next process starts"
                );
                false
            }
        }
    }

    /// After the grace, has attempts stopped that may begin anew elsewhere.
    fn leave_later(&mut self) {
        let mails: Vec<Arc<Mail>> = self.mails();
        let grace = self.settings.handoff_grace;
        self.asked.push(Box::pin(async move {
            tokio::time::sleep(grace).await;
            mails.iter().for_each(|mail| mail.leave());
            Answer::Nothing
        }));
    }

    fn mails(&self) -> Vec<Arc<Mail>> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner).values().map(|owned| Arc::clone(&owned.mail)).collect()
    }

    fn order(&self, order: fn(&Mail)) {
        self.mails().iter().for_each(|mail| order(mail));
    }

    fn tell(&self, claims: bool) {
        self.state.send_if_modified(|state| std::mem::replace(&mut state.claims, claims) != claims);
    }

    fn take(&mut self, claimed: Claimed) {
        let mail = Arc::new(Mail::default());
        if self.hands_back {
            mail.hand_back();
        }
        let (kind, application) = record::belongs(&claimed.record);
        let owned = Owned { application, kind, mail: Arc::clone(&mail) };
        let id = claimed.lease.execution.clone();
        let before = self.owned.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), owned);
        if let Some(before) = before {
            // We lost it and got it back before its first owner noticed: its fence will tell it.
            before.mail.abandon();
        }
        self.shared.counts.claims.add(if claimed.adopted { "adopted" } else { "due" });
        debug!(execution = %id, epoch = claimed.lease.epoch, adopted = claimed.adopted, "claimed");
        let shared = Arc::clone(self.shared);
        let owner = owner::own(shared, claimed, Arc::clone(&mail), self.shared.pace.start());
        self.owners.spawn(owner.map(move |exit| (id, mail, exit)));
    }

    fn gone(&mut self, ended: Result<(ExecutionId, Arc<Mail>, Exit), tokio::task::JoinError>) {
        let (id, mail, exit) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // An owner sets aside what it breaks off at; only a defect in that comes here, and then the lease goes on with ours.
                error!(%error, "an execution could not be set aside; it stands still until this process ends (runbooks/engine-defect.md)");
                return;
            }
        };
        let mut owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
        // We may have come to own it again before its first owner was fenced.
        if owned.get(&id).is_some_and(|now| Arc::ptr_eq(&now.mail, &mail)) {
            owned.remove(&id);
        }
        drop(owned);
        self.shared.counts.let_go.add(exit.word());
        match exit {
            Exit::Parked(Some(due)) => self.due_at(due),
            // The store still holds it to be ours.
            Exit::Abandoned => self.look.strays = true,
            Exit::Lost => self.lose("a write was refused"),
            Exit::Parked(None) | Exit::Finished | Exit::Fenced | Exit::Refused => {}
        }
    }

    fn due_at(&mut self, due: Timestamp) {
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
    }
}
