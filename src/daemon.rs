//! The agent: one loop that owns the state. It takes one observation, steps, puts the durable state on disk, then has the actions done.
//!
//! What must stay true: the loop awaits nothing outside but the journal, which is bounded; looks and deeds run beside it, at most one look of
//! a kind and one deed at a time by the rules of `decide`; no deed goes out on a state that is not on disk. A stop waits for the deed under
//! way, so that its outcome is recorded, and for nothing else: the journal brings the drain back.

pub mod engine;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;
use tracing::info;
use tracing::warn;

use crate::act::Hands;
use crate::cloud::Identity;
use crate::cloud::Metadata;
use crate::decide;
use crate::decide::Action;
use crate::decide::Answer;
use crate::decide::Durable;
use crate::decide::Key;
use crate::decide::Observation;
use crate::decide::Policy;
use crate::decide::Seen;
use crate::decide::Siblings;
use crate::decide::State;
use crate::decide::Status;
use crate::decide::heal::Decision;
use crate::http::Asked;
use crate::journal::Audit;
use crate::journal::Event;
use crate::journal::Journal;
use crate::journal::What;
use crate::metrics::Counts;
use crate::model::Clock;
use crate::model::InstanceId;
use crate::observe::Eyes;
use crate::observe::Place;
use crate::orchestrator::Abilities;

/// First and longest time between two tries to learn what the loop cannot begin without.
const AGAIN_FIRST: Duration = Duration::from_secs(2);
const AGAIN_LONGEST: Duration = Duration::from_secs(60);
/// A stop waits for the deed under way no longer than this; a terminate call is bounded well below it.
pub const STOP_WITHIN: Duration = Duration::from_secs(25);
/// The loop wakes at least so often, so that a watchdog sees it alive; oftener where the watchdog wants it.
pub const BEAT_EVERY: Duration = Duration::from_secs(5);

/// What the agent works with.
pub struct Parts {
    /// Who we are.
    pub identity: Identity,
    /// To see.
    pub eyes: Eyes,
    /// To act.
    pub hands: Hands,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Memory.
    pub journal: Box<dyn Journal>,
    /// Record.
    pub audit: Box<dyn Audit>,
    /// Names this boot of the host.
    pub boot: String,
}

/// What reaches the agent from outside, and where it shows itself.
pub struct Lines {
    /// The owner's wishes; a new value takes effect with the next step.
    pub policy: watch::Receiver<Policy>,
    /// Operators.
    pub commands: mpsc::Receiver<Asked>,
    /// Cancelled = stop without draining.
    pub stop: CancellationToken,
    /// What `status` shows.
    pub status: watch::Sender<Status>,
    /// Called once per turn of the loop; the watchdog hangs on it.
    pub beat: Box<dyn Fn() + Send + Sync>,
    /// Longest time between two turns.
    pub beat_every: Duration,
    /// Where what is done is counted.
    pub counts: Arc<Counts>,
}

/// Runs the agent until it is told to stop.
pub async fn run(mut parts: Parts, mut lines: Lines) {
    let own = parts.identity.own.id().clone();
    let Some(found) = remember(&mut parts, &mut lines).await else { return };
    let now = parts.clock.now();
    let same_boot = found.as_ref().is_some_and(|(_, same)| *same);
    let event = What::Started { found: found.as_ref().map(|(durable, _)| durable.clone()), same_boot };
    parts.audit.write(&Event { at: now.wall, instance: own.clone(), what: event });
    let policy = lines.policy.borrow_and_update().clone();
    let durable = found.map(|(durable, _)| durable).unwrap_or_default();
    info!(instance = %own, region = %parts.identity.region, drain = ?durable.drain.as_ref().map(|d| d.reason.to_string()), dry_run = policy.dry_run, "agent started");
    let mut agent = Agent {
        state: State::new(own.clone(), durable.clone(), same_boot, &policy, now),
        saved: durable.version,
        hands: Arc::new(parts.hands),
        eyes: parts.eyes,
        identity: Arc::new(parts.identity),
        clock: parts.clock,
        journal: parts.journal,
        audit: parts.audit,
        boot: parts.boot,
        own,
        policy,
        working: JoinSet::new(),
        deeds: 0,
        stopping: false,
        status: lines.status,
        counts: lines.counts,
    };
    let Abilities { stop, start, .. } = agent.hands.orchestrator.abilities();
    agent.state.set_restartable(stop && start);
    agent.tick();
    loop {
        (lines.beat)();
        let begun = agent.clock.now();
        agent.counts.turned(begun);
        let wait = decide::wake_at(&agent.state, &agent.policy).saturating_sub(begun.mono).min(lines.beat_every);
        // Every arm is safe to cancel: `join_next`, `recv`, `changed` and the sleep lose nothing when another arm wins. Their order is written down, so
        // that a rehearsal comes out the same each time: what is known first, then what is wanted, then the time.
        tokio::select! {
            biased;
            () = lines.stop.cancelled() => break,
            Some(done) = agent.working.join_next() => agent.answered(done),
            Some(asked) = lines.commands.recv() => agent.asked(asked),
            Ok(()) = lines.policy.changed() => agent.policy = lines.policy.borrow_and_update().clone(),
            () = tokio::time::sleep(wait) => {
                agent.counts.woke_late(agent.clock.now().mono.saturating_sub(begun.mono).saturating_sub(wait));
                agent.tick();
            }
        }
    }
    agent.stop().await;
}

/// Asks the metadata service who we are until it answers; `None` when the agent is stopped before (F32).
pub async fn identify(metadata: &dyn Metadata, lines: &mut Lines) -> Option<Identity> {
    let mut wait = AGAIN_FIRST;
    loop {
        let asked = tokio::select! {
            () = lines.stop.cancelled() => return None,
            asked = metadata.identity() => asked,
        };
        let error = match asked {
            Ok(identity) => return Some(identity),
            Err(error) => error,
        };
        warn!(%error, wait_s = wait.as_secs(), "instance metadata does not say who we are; nothing is done until it does");
        lines.status.send_modify(|status| {
            "working".clone_into(&mut status.phase);
            status.waits_for = Some("instance metadata".to_owned());
            status.evidence = vec![format!("last error: {error} (runbooks/no_metadata.md)")];
        });
        nap(lines, wait, "the agent does not know its instance id yet").await?;
        wait = (wait * 2).min(AGAIN_LONGEST);
    }
}

/// Reads the journal until it can be read: without it nobody knows what was done before, so nothing may be done (F46).
async fn remember(parts: &mut Parts, lines: &mut Lines) -> Option<Option<(Durable, bool)>> {
    let mut wait = AGAIN_FIRST;
    loop {
        let error = match parts.journal.load(parts.identity.own.id(), &parts.boot) {
            Ok(found) => return Some(found),
            Err(error) => error,
        };
        error!(%error, wait_s = wait.as_secs(), "the journal cannot be read; nothing is done until it can (runbooks/journal.md)");
        lines.status.send_modify(|status| {
            status.instance = Some(parts.identity.own.id().clone());
            "held".clone_into(&mut status.phase);
            status.held = Some(decide::HeldWhy::Journal.code().to_owned());
            status.waits_for = Some(format!("the journal to be readable: {error}"));
        });
        nap(lines, wait, "the agent cannot read its journal").await?;
        wait = (wait * 2).min(AGAIN_LONGEST);
    }
}

/// Lets time pass before the loop runs: the watchdog sees us alive, operators are refused. `None` when the agent is stopped.
async fn nap(lines: &mut Lines, time: Duration, refusal: &str) -> Option<()> {
    let over = tokio::time::sleep(time);
    let mut beat = tokio::time::interval(lines.beat_every);
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = lines.stop.cancelled() => return None,
            () = &mut over => return Some(()),
            Some(asked) = lines.commands.recv() => refuse(asked, refusal),
            _ = beat.tick() => (lines.beat)(),
        }
    }
}

struct Agent {
    state: State,
    saved: u64,
    hands: Arc<Hands>,
    eyes: Eyes,
    identity: Arc<Identity>,
    clock: Arc<dyn Clock>,
    journal: Box<dyn Journal>,
    audit: Box<dyn Audit>,
    boot: String,
    own: InstanceId,
    policy: Policy,
    working: JoinSet<Answered>,
    deeds: usize,
    /// Nothing is begun any more.
    stopping: bool,
    status: watch::Sender<Status>,
    counts: Arc<Counts>,
}

/// A look or a deed that came to its end.
struct Answered {
    key: Key,
    /// Of its kind, for the count.
    word: &'static str,
    deed: bool,
    answer: Answer,
}

impl Agent {
    fn tick(&mut self) {
        let _only_commands_are_refused = self.observe(Seen::Tick);
    }

    /// Why an operator's command was refused, when one was.
    fn observe(&mut self, seen: Seen) -> Option<String> {
        let before = self.state.phase().word();
        let held_before = self.held();
        let trouble_before = self.state.fault().map(str::to_owned);
        let known_before = self.state.unknown().is_none();
        let notices_before = self.state.notices().clone();
        let drain_before = self.state.durable().drain.clone();
        let now = self.clock.now();
        let mut outcome = decide::step(&mut self.state, &self.policy, Observation { at: now, seen });
        if self.state.durable().version != self.saved
            && let Err(error) = self.save()
        {
            self.counts.saved(false);
            error!(%error, "the journal cannot be written; nothing is done that rests on it (runbooks/journal.md)");
            outcome.actions.retain(may_go_unrecorded);
            let lost = decide::step(&mut self.state, &self.policy, Observation { at: now, seen: Seen::JournalLost(error.to_string()) });
            outcome.actions.extend(lost.actions.into_iter().filter(may_go_unrecorded));
            outcome.decisions.extend(lost.decisions);
        }
        let after = self.state.phase().word();
        if before != after || held_before != self.held() {
            self.moved(before, after);
        }
        self.counts.drained(drain_before.as_ref(), self.state.durable().drain.as_ref(), now.wall);
        if notices_before != *self.state.notices() {
            let notices = self.state.notices().clone();
            warn!(?notices, "AWS says something of this instance's future (runbooks/notices.md)");
            self.record(What::Notices(notices));
        }
        match (trouble_before.as_deref(), self.state.fault()) {
            (before, Some(trouble)) if before != Some(trouble) => {
                warn!(trouble, "a look failed; it is repeated, and what it cannot show counts as unknown (runbooks/agent-blind.md)");
            }
            (Some(_), None) => info!("looks succeed again"),
            _ => {}
        }
        match (known_before, self.state.unknown()) {
            (true, Some(why)) => {
                warn!(why, "the orchestrator does not say what it executes, which counts as busy (runbooks/activity_unknown.md)")
            }
            (false, None) => info!("the orchestrator says what it executes"),
            _ => {}
        }
        for decision in std::mem::take(&mut outcome.decisions) {
            self.decided(decision);
        }
        for action in outcome.actions {
            if !self.stopping {
                self.begin(action);
            }
        }
        if self.status.receiver_count() > 0 {
            self.status.send_replace(self.state.status(&self.policy, now));
        }
        outcome.refusal
    }

    fn decided(&mut self, decision: Decision) {
        self.counts.decided(&decision.what);
        match decision.held {
            Some(hold) => {
                warn!(what = decision.what, reason = decision.why, held = hold.code(), "healing holds (runbooks/{}.md)", hold.code())
            }
            None => info!(what = decision.what, reason = decision.why, "healing decided"),
        }
        self.record(What::Heal(decision));
    }

    fn save(&mut self) -> std::io::Result<()> {
        let durable: &Durable = self.state.durable();
        self.journal.save(&self.own, &self.boot, self.clock.now().wall, durable)?;
        self.saved = durable.version;
        self.counts.saved(true);
        Ok(())
    }

    fn held(&self) -> Option<&'static str> {
        self.state.phase().held().map(decide::HeldWhy::code)
    }

    fn moved(&mut self, from: &'static str, to: &'static str) {
        self.counts.moved(from, to, self.held());
        let status = self.state.status(&self.policy, self.clock.now());
        info!(from, phase = to, reason = status.reason, held = status.held, waits_for = status.waits_for, "drain protocol moved");
        self.record(What::Phase { from, to, reason: status.reason, evidence: status.evidence, held: status.held });
    }

    fn begin(&mut self, action: Action) {
        let key = action.key;
        match action.what {
            decide::What::Look(look) => {
                let eyes = self.eyes.clone();
                let siblings = self.policy.siblings.clone();
                let place = self.place();
                let word = look.word();
                self.working.spawn(async move { Answered { key, word, deed: false, answer: eyes.look(look, siblings, place).await } });
            }
            decide::What::Deed { deed, reason } => {
                info!(key = key.0, %deed, reason, "acting");
                self.record(What::Deed { key: key.0, deed: deed.to_string(), reason: reason.clone() });
                let hands = self.hands.clone();
                let identity = self.identity.clone();
                let group = self.place().group;
                let policy = self.policy.clone();
                self.deeds += 1;
                let word = deed.word();
                self.working.spawn(async move {
                    let answer = Answer::Done(hands.act(deed, &reason, &identity, group.as_ref(), &policy).await);
                    Answered { key, word, deed: true, answer }
                });
            }
        }
    }

    fn place(&self) -> Place {
        let group = self.state.group();
        let tag_value = match &self.policy.siblings {
            Siblings::ByTag(key) => group.and_then(|g| g.tags.get(key)).cloned(),
            Siblings::ByName => None,
        };
        Place { own: self.own.clone(), group: self.state.group_name().cloned(), tag_value }
    }

    fn answered(&mut self, done: Result<Answered, tokio::task::JoinError>) {
        let Answered { key, word, deed, answer } = match done {
            Ok(done) => done,
            Err(error) => {
                // A look or deed that panicked is a defect; `decide` gives up on its answer after a while.
                error!(%error, "a look or a deed broke off");
                return;
            }
        };
        if deed {
            self.deeds -= 1;
        }
        self.counts.answered(word, &answer);
        if let Answer::Done(result) = &answer {
            let (ok, text) = match result {
                Ok(receipt) => (true, format!("{receipt:?}")),
                Err(fault) => (false, fault.text.clone()),
            };
            if ok {
                info!(key = key.0, text, "done")
            } else {
                warn!(key = key.0, text, "not done")
            }
            self.record(What::Outcome { key: key.0, ok, text });
        }
        let _only_commands_are_refused = self.observe(Seen::Answer { key, answer: Box::new(answer) });
    }

    fn asked(&mut self, asked: Asked) {
        let refused = self.observe(Seen::Asked(asked.command.clone()));
        info!(command = ?asked.command, refused, "an operator asked");
        self.record(What::Asked { command: asked.command, refused: refused.clone() });
        let answer = match refused {
            Some(why) => Err(why),
            None => Ok(self.state.status(&self.policy, self.clock.now())),
        };
        // Whoever asked may have gone; the command stands.
        let _gone = asked.answer.send(answer);
    }

    fn record(&mut self, what: What) {
        let at = self.clock.now().wall;
        self.audit.write(&Event { at, instance: self.own.clone(), what });
    }

    /// Waits for the deed under way and records its outcome; looks are dropped.
    async fn stop(mut self) {
        let _only_commands_are_refused = self.observe(Seen::Stopping);
        self.stopping = true;
        let deadline = tokio::time::sleep(STOP_WITHIN);
        tokio::pin!(deadline);
        // A deed that panicked has no answer to count it off: once nothing runs any more, nothing is waited for.
        while self.deeds > 0 && !self.working.is_empty() {
            tokio::select! {
                Some(done) = self.working.join_next() => self.answered(done),
                () = &mut deadline => {
                    warn!("a deed is unanswered; the journal says so, and the next start reads what came of it");
                    break;
                }
            }
        }
        self.working.shutdown().await;
        self.record(What::Stopped);
        info!("agent stopped");
    }
}

/// What does no harm when a restart knows nothing of it.
fn may_go_unrecorded(action: &Action) -> bool {
    match &action.what {
        decide::What::Look(_) => true,
        decide::What::Deed { deed, .. } => !deed.needs_journal(),
    }
}

fn refuse(asked: Asked, why: &str) {
    let _gone = asked.answer.send(Err(why.to_owned()));
}
