//! The shell round the engine: comes to own executions, takes them through [`advance`](super::engine::advance::advance), writes, and carries
//! out what they ask for. Any number of instances do so on one store.
//!
//! ```text
//!   store.wait ─▶ claim ─▶ owner (one future an execution) ─▶ parked, finished, fenced
//!      beat ─▶ the lease of all that is owned          │
//!                                                      └─▶ effects
//! ```
//!
//! What must stay true:
//! * Waiting costs nobody: an execution with nothing under way and nothing to come within a moment is owned by no instance. So what is owned is what
//!   is busy, and a drain gives it back as soon as the attempts under way have ended.
//! * At most so many executions are owned at once, and no more are claimed while many have yet to come to rest ([`pace`]); at most one of each kind of question to the store is under way; without news the store is asked once
//!   a second, and is never polled faster.
//! * Engine time is the store's: instances whose clocks differ do not hand an execution to and fro.
//! * A process that starts ends the session its predecessor on this host left behind, so that what that one owned is due at once; what has a job on this
//!   host it keeps from others until it has claimed it.
//! * What runs on this host is work of this host, whoever owns its execution by now; and until a session has begun nobody knows what that is. Nothing of
//!   it passes for idle.
//! * While the store does not answer nothing new begins, what is under way goes on, and nothing is given up: a fence decides whose it is afterwards.

pub mod counts;
pub mod definitions;
pub mod effects;
pub mod embedded;
mod ending;
mod janitor;
mod life;
mod mail;
pub mod notify;
mod owner;
mod pace;
mod pause;
mod predecessor;
pub mod scheduler;
mod session;
pub mod start;
pub mod webhooks;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::model::Clock;
use crate::model::Moment;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::ExecutionType;
use crate::orchestrator::engine::stage::Registry;
use crate::orchestrator::engine::window;
use crate::orchestrator::store::Session;
use crate::orchestrator::store::Store;
use crate::supervise::Ended;
use counts::Counts;
use definitions::Definitions;
use effects::Performer;
use life::Life;
use mail::Mail;
use notify::Channel;
use pace::Pace;
pub use session::Memory;
use session::StoreClock;

/// However long the lease is, the store is written to so often: how it is must be known before an orchestrator's silence is believed, which takes seconds.
const BEAT_MOST: Duration = Duration::from_secs(2);

/// At a stop, what is done beside executions has so long to come to a halt.
const CHORES_WITHIN: Duration = Duration::from_secs(1);

/// How the runner behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What `activeByInstance` calls this instance.
    pub instance: String,
    /// An instance that is not heard of for so long loses what it owns. It is heard of three times as often, at least.
    pub lease: Duration,
    /// Most executions owned at once.
    pub owned: usize,
    /// Hand executions back on a drain; else those that are owned are run on until they wait or end.
    pub handoff: bool,
    /// On a hand-off, attempts under way have so long before those that may begin anew elsewhere are stopped.
    pub handoff_grace: Duration,
    /// A stop of the process takes so long at most; attempts that cannot move are waited for until shortly before.
    pub stop_within: Duration,
    /// Zone of cron triggers and execution windows that name none.
    pub zone: TimeZone,
    /// More cron triggers than this that are late at once wait for a person.
    pub safeguard: usize,
    /// What the janitor leaves; `None` = everything, and there is none.
    pub history: Option<History>,
    /// Fire cron triggers, when elected.
    pub schedules: bool,
}

impl Settings {
    /// The usual ones for an instance of this name.
    pub fn new(instance: impl Into<String>) -> Self {
        Self {
            instance: instance.into(),
            lease: Duration::from_secs(6),
            owned: 1000,
            handoff: true,
            handoff_grace: Duration::from_millis(500),
            stop_within: Duration::from_secs(10),
            zone: window::default_zone(),
            safeguard: 50,
            history: Some(History { age: Duration::from_secs(14 * 86_400), keep: 10 }),
            schedules: true,
        }
    }
}

impl Settings {
    /// The session's lease is renewed so often.
    fn beat_every(&self) -> Duration {
        (self.lease / 3).min(BEAT_MOST)
    }
}

/// How much of the past is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Executions that ended longer ago than this are removed …
    pub age: Duration,
    /// … but for so many of each pipeline.
    pub keep: usize,
}

/// What the runner works with.
pub struct Parts {
    /// Where executions live.
    pub store: Arc<dyn Store>,
    /// Stage types.
    pub registry: Arc<Registry>,
    /// Carries out effects.
    pub performer: Arc<dyn Performer>,
    /// This host's clocks.
    pub clock: Arc<dyn Clock>,
    /// What this host remembers of the last process.
    pub memory: Memory,
    /// Ways to people. What none of them serves stays in the outbox for those who do.
    pub channels: Vec<Arc<dyn Channel>>,
}

/// What others want of the runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Claim executions.
    pub intake: bool,
    /// Be there at all. Without, everything is given back and the session ends.
    pub run: bool,
}

/// How the runner stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The session, once it began; its process part tells one life of the runner from the next.
    pub session: Option<Session>,
    /// It may claim: the intake is open, or a claim is still under way.
    pub claims: bool,
    /// The last renewal of the session's lease. `None`: there was none yet.
    pub beat: Option<Beat>,
}

/// A renewal of a session's lease: a write, so that it shows how the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// When the store was asked.
    pub asked: Moment,
    /// What came of it: `Err` has the store's words.
    pub came: Result<(), String>,
}

/// An execution this instance owns.
#[derive(Clone, Debug)]
pub struct Owned {
    /// Its application.
    pub application: String,
    /// Pipeline or orchestration.
    pub kind: ExecutionType,
    mail: Arc<Mail>,
}

/// How the store stands, by what the engine has asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreStands {
    /// It answers.
    Answers,
    /// It does not, in these words.
    Fails(String),
    /// Its last answer was to a question so long ago; either it hangs, or the engine does.
    SilentFor(Duration),
    /// It was not asked, for this reason.
    NotAsked(&'static str),
}

/// Executions with a job that ran on this host when a session began or ended: the session that follows may come to own them or not.
type Outlived = Arc<Mutex<BTreeSet<ExecutionId>>>;

/// The ends of the runner that others hold.
#[derive(Clone)]
pub struct Handle {
    wish: Arc<watch::Sender<Wish>>,
    state: watch::Receiver<State>,
    owned: Arc<Mutex<BTreeMap<ExecutionId, Owned>>>,
    outlived: Outlived,
    performer: Arc<dyn Performer>,
    pace: Arc<Pace>,
    counts: Counts,
    store: Arc<dyn Store>,
    clock: StoreClock,
    /// The session's lease is renewed so often.
    beat_every: Duration,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("wish", &self.wished()).field("state", &self.state()).finish_non_exhaustive()
    }
}

/// Renewals of the lease, one of which is due while a good answer to one is believed: of the next one the answer may be on its way.
const BEATS_BELIEVED: u32 = 2;

impl Handle {
    /// Changes what is wanted.
    pub fn wish(&self, change: impl FnOnce(&mut Wish)) {
        self.wish.send_modify(change);
    }

    /// What is wanted.
    pub fn wished(&self) -> Wish {
        *self.wish.borrow()
    }

    /// How the runner stands; `None` when it is gone.
    pub fn state(&self) -> Option<State> {
        self.state.has_changed().is_ok().then(|| self.state.borrow().clone())
    }

    /// How many executions are owned, and some of them by id.
    pub fn owned(&self, most: usize) -> (usize, Vec<(ExecutionId, Owned)>) {
        let owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
        (owned.len(), owned.iter().take(most).map(|(id, o)| (id.clone(), o.clone())).collect())
    }

    /// How many of those that are owned have yet to come to their first rest: the engine's own queue.
    pub fn starting(&self) -> usize {
        self.pace.starting()
    }

    /// What the runner did.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether the store answers the engine, as far as the engine has asked.
    ///
    /// An answer to a renewal of the lease is believed for two of them from when it was asked, a failure until there is an answer.
    pub fn store(&self) -> StoreStands {
        let Some(State { session, beat, .. }) = self.state() else { return StoreStands::NotAsked("the engine of this process has ended") };
        if session.is_none() {
            // Between its being wanted and its session lie moments, unless the session of the process before cannot be ended.
            return match self.wished().run {
                true => StoreStands::Fails("it cannot begin a session".to_owned()),
                false => StoreStands::NotAsked("the engine is stopped, as it was asked to be"),
            };
        }
        let Some(Beat { asked, came }) = beat else { return StoreStands::NotAsked("the engine has had no answer of it yet") };
        let age = self.clock.local().since(asked);
        match came {
            Err(why) => StoreStands::Fails(why),
            Ok(()) if age > self.beat_every * BEATS_BELIEVED => StoreStands::SilentFor(age),
            Ok(()) => StoreStands::Answers,
        }
    }

    /// Asks the store past the engine's own loop, which may hang; for as long as the engine believes an answer.
    pub(super) async fn ask_store(&self) -> Result<(), String> {
        let within = self.beat_every * BEATS_BELIEVED;
        match tokio::time::timeout(within, self.store.next_due()).await {
            Ok(answer) => answer.map(|_| ()).map_err(|e| e.to_string()),
            Err(_) => Err(format!("no answer within {} s", within.as_secs())),
        }
    }

    /// Waits until the state is such, or the runner is gone.
    pub async fn until(&self, such: impl FnMut(&State) -> bool) {
        // An error means that the runner is gone.
        let mut state = self.state.clone();
        let _gone = state.wait_for(such).await;
    }
}

/// What every owner has at hand.
struct Shared {
    store: Arc<dyn Store>,
    registry: Arc<Registry>,
    performer: Arc<dyn Performer>,
    clock: StoreClock,
    zone: TimeZone,
    definitions: Definitions,
    /// Rings when a notice was put in the outbox.
    bell: Arc<Notify>,
    pace: Arc<Pace>,
    counts: Counts,
}

/// Claims and runs executions until it is stopped.
pub struct Runner {
    settings: Settings,
    shared: Arc<Shared>,
    memory: Memory,
    channels: Vec<Arc<dyn Channel>>,
    wish: watch::Receiver<Wish>,
    state: watch::Sender<State>,
    owned: Arc<Mutex<BTreeMap<ExecutionId, Owned>>>,
    outlived: Outlived,
    /// Sessions begun by this runner.
    lives: u32,
}

impl Runner {
    /// A runner, and its handle. `wish` is what is wanted at first.
    pub fn new(parts: Parts, settings: Settings, wish: Wish) -> (Self, Handle) {
        let (wishes, wish) = watch::channel(wish);
        let (state, states) = watch::channel(State::default());
        let owned = Arc::new(Mutex::new(BTreeMap::new()));
        let outlived = Outlived::default();
        let clock = StoreClock::new(parts.clock);
        let shared = Shared {
            definitions: Definitions::new(Arc::clone(&parts.store), clock.clone()),
            store: parts.store,
            registry: parts.registry,
            performer: parts.performer,
            clock,
            zone: settings.zone.clone(),
            bell: Arc::default(),
            pace: Arc::default(),
            counts: Counts::default(),
        };
        let handle = Handle {
            wish: Arc::new(wishes),
            state: states,
            owned: Arc::clone(&owned),
            outlived: Arc::clone(&outlived),
            performer: Arc::clone(&shared.performer),
            pace: Arc::clone(&shared.pace),
            counts: shared.counts.clone(),
            store: Arc::clone(&shared.store),
            clock: shared.clock.clone(),
            beat_every: settings.beat_every(),
        };
        let (memory, channels) = (parts.memory, parts.channels);
        (Self { settings, shared: Arc::new(shared), memory, channels, wish, state, owned, outlived, lives: 0 }, handle)
    }

    /// Runs until `stop`; then what is owned is given back within [`Settings::stop_within`].
    ///
    /// # Errors
    /// The memory of this host's sessions cannot be written: a crash would cost a lease instead of a moment, and two processes could be one instance.
    pub async fn run(mut self, stop: CancellationToken) -> Ended {
        let over = CancellationToken::new();
        let work = self.chores(over.clone());
        let chores = async {
            tokio::pin!(work);
            // Safe to cancel: the chores go on below.
            tokio::select! {
                biased;
                () = &mut work => return,
                () = over.cancelled() => {}
            }
            if tokio::time::timeout(CHORES_WITHIN, work).await.is_err() {
                warn!(
                    limit_s = CHORES_WITHIN.as_secs(),
                    "schedules, notices or the removal of the past did not stop in time; each goes on elsewhere from the store"
                );
            }
        };
        let lives = async {
            let ended = self.lives(&stop).await;
            over.cancel();
            ended
        };
        tokio::join!(lives, chores).0
    }

    /// What is done beside executions: schedules, notices, removal of the past.
    fn chores(&mut self, over: CancellationToken) -> impl Future<Output = ()> + use<> {
        let (shared, state, settings) = (Arc::clone(&self.shared), self.state.subscribe(), self.settings.clone());
        let channels = std::mem::take(&mut self.channels);
        async move {
            let bell = Arc::clone(&shared.bell);
            let schedules = async {
                if settings.schedules {
                    scheduler::run(Arc::clone(&shared), state.clone(), settings.safeguard, over.clone()).await;
                }
            };
            let history = async {
                if let Some(history) = settings.history {
                    janitor::run(Arc::clone(&shared), state.clone(), history, over.clone()).await;
                }
            };
            let notices = notify::run(Arc::clone(&shared), channels, settings.instance.clone(), bell, over.clone());
            tokio::join!(schedules, history, notices);
        }
    }

    async fn lives(&mut self, stop: &CancellationToken) -> Ended {
        while !stop.is_cancelled() {
            // Safe to cancel: a change of the wish that is not seen now is seen later.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                wished = self.wish.wait_for(|wish| wish.run) => if wished.is_err() { break },
            }
            self.lives += 1;
            let process = format!("{}.{}.{}", std::process::id(), self.shared.clock.local().wall.0, self.lives);
            let session = Session { instance: self.settings.instance.clone(), process };
            let first = predecessor::bury(&self.shared, &self.memory, self.settings.lease, stop).await?;
            if stop.is_cancelled() {
                break;
            }
            self.memory.remember(Some(&session)).map_err(|error| format!("the session cannot be remembered: {error}"))?;
            self.look_for_jobs();
            self.state.send_modify(|state| {
                state.session = Some(session.clone());
                // Before anybody sees the session without what it is about to claim.
                state.claims = !first.is_empty();
            });
            let ended = Life::new(self, &session, first).run(stop).await;
            self.look_for_jobs();
            self.state.send_modify(|state| {
                state.session = None;
                state.claims = false;
                state.beat = None;
            });
            if ended {
                self.memory.remember(None).map_err(|error| format!("the session cannot be forgotten: {error}"))?;
            }
            if self.wish.has_changed().is_err() {
                // Nobody holds a handle: what was wished last would be wished for ever.
                break;
            }
        }
        Ok(())
    }

    /// Between two sessions nobody here follows a job: what runs then may not come to be owned here again.
    fn look_for_jobs(&self) {
        *self.outlived.lock().unwrap_or_else(PoisonError::into_inner) = self.shared.performer.running();
    }
}

#[cfg(test)]
mod tests;
