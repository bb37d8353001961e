//! Self-healing: what is wrong with this instance's orchestrator, and what is done about it.
//!
//! [`evidence`] is what was seen over time, [`ladder`] what it comes to, [`siblings`] and [`permit`] what the group allows. It is part of the same
//! [`step`](super::step) as the drain, so that the two can never disagree: nothing is healed while a drain is under way, and a replacement is a drain.
//!
//! What must stay true: a restart is in [`Healed`], synced, before the orchestrator is stopped, so that its budget holds over crashes of the agent and a
//! start that is owed is made up for, also where healing is off by then; one deed at a time, the drain's and the healing's together; off means that nothing
//! is begun.

mod evidence;
mod ladder;
mod permit;
mod policy;
mod siblings;
mod view;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

pub use permit::restart_limit;
pub use policy::HealPolicy;
pub use policy::Level;
pub use policy::Limits;
pub use policy::ProbeRules;
pub use siblings::HEAL_TAG;
pub use siblings::justify;
pub use view::HealStatus;
pub use view::STATES;

use super::action::Deed;
use super::action::Key;
use super::drain::Step;
use super::observation::Fault;
use super::observation::Receipt;
use super::policy::Policy;
use super::state::Drain;
use super::state::HeldWhy;
use super::state::Phase;
use super::state::Progress;
use super::state::Reason;
use super::state::State;
use crate::model::Generation;
use crate::model::Moment;
use crate::model::Timestamp;
use evidence::Evidence;
use ladder::Facts;
use ladder::Next;

/// Decisions that `status` shows.
const DECISIONS_KEPT: usize = 8;
/// The longest time for which an operator may switch healing off: what is forgotten is on again in a week.
const OFF_LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Restarts that the journal keeps: more than any budget that can be set.
const RESTARTS_KEPT: usize = 32;

/// What healing has to know over a crash of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Healed {
    /// The orchestrator was ready once since the host started.
    pub ready: bool,
    /// When it was restarted, oldest first.
    pub restarts: Vec<Timestamp>,
    /// A restart is under way: it is stopped, or about to be, and has to be started.
    pub under_way: bool,
    /// An operator switched healing off.
    pub off: Option<Off>,
    /// The number of the last permit that was asked for.
    pub permit: u64,
}

/// An operator's no to healing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Off {
    /// Who.
    pub by: String,
    /// From then on it means nothing.
    pub until: Timestamp,
}

/// Why nothing more is done about a sick orchestrator until somebody looks. Each has a page in `runbooks/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Its store does not answer, or nobody can say whether it does: not its fault.
    StoreDown,
    /// Most of its siblings are not well either: a cause that they share.
    FleetSick,
    /// The group cannot be read.
    Blind,
    /// It should be restarted, and there is no way to.
    NoRestart,
    /// Restarting does not help, or did not, and the level allows no more.
    BeyondRestart,
    /// Nobody can say whether siblings are well.
    SiblingsUnseen,
    /// Nothing would take the place of an instance that ends.
    LaunchSuspended,
    /// Whoever gives the group's permits does not answer, or takes no writes.
    NoPermit,
}

impl Hold {
    /// All of them.
    pub const ALL: [Hold; 8] = [
        Self::StoreDown,
        Self::FleetSick,
        Self::Blind,
        Self::NoRestart,
        Self::BeyondRestart,
        Self::SiblingsUnseen,
        Self::LaunchSuspended,
        Self::NoPermit,
    ];

    /// The code, as `status` prints it and the runbook's file is called.
    pub fn code(self) -> &'static str {
        match self {
            Self::StoreDown => "heal_store_down",
            Self::FleetSick => "heal_fleet_sick",
            Self::Blind => "heal_blind",
            Self::NoRestart => "heal_no_restart",
            Self::BeyondRestart => "heal_beyond_restart",
            Self::SiblingsUnseen => "heal_siblings_unseen",
            Self::LaunchSuspended => "heal_launch_suspended",
            Self::NoPermit => "heal_no_permit",
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What healing came to, for the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// One word: `well`, `rest`, `would`, `hold`, `restart`, `restarted`, `restart_failed`, `replace`, `off`, `on`.
    pub what: String,
    /// For people.
    pub why: String,
    /// A code with a page in `runbooks/`, when it holds.
    pub held: Option<Hold>,
}

/// Everything healing remembers; only [`Healed`] is put on disk.
#[derive(Clone, Debug)]
pub struct Heal {
    evidence: Evidence,
    /// Nothing was seen before.
    begun: Moment,
    /// The deed under way is ours.
    order: Option<Key>,
    /// When the last restart was over.
    restarted: Option<Moment>,
    /// Restarts of this life: what the wall clock says of them may jump.
    restarts: VecDeque<Moment>,
    next: Next,
    since: Moment,
    /// When `next` was found.
    asked: Moment,
    /// The last decision that was recorded, in a form that does not change while it stands.
    told: Option<(String, Option<Hold>)>,
    decisions: VecDeque<Decision>,
    /// Reads of the group that were asked for from here on are wanted.
    read_from: Option<Moment>,
    /// There is a way to stop and start the orchestrator.
    restartable: bool,
    permit: permit::Held,
}

impl Heal {
    /// Nothing seen yet. After a restart that is not long ago the orchestrator is given its time once more.
    pub(super) fn new(healed: &Healed, policy: &Policy, now: Moment) -> Self {
        let lately = healed.restarts_since(now.wall, policy.heal.window) > 0;
        Self {
            evidence: Evidence::default(),
            begun: now,
            order: None,
            restarted: lately.then_some(now),
            restarts: VecDeque::new(),
            next: Next::Unproven,
            since: now,
            asked: now,
            told: None,
            decisions: VecDeque::new(),
            read_from: None,
            restartable: false,
            permit: permit::Held::after_a_crash(healed.permit, policy, now),
        }
    }

    /// What was seen, for [`Step::answered`].
    pub(super) fn evidence(&mut self) -> &mut Evidence {
        &mut self.evidence
    }

    /// Reads of the group from here on are wanted.
    pub(super) fn read_from(&self) -> Option<Moment> {
        self.read_from
    }

    /// A restart is under way.
    pub(super) fn restarts_now(&self) -> bool {
        self.order.is_some()
    }

    /// When time alone changes something.
    pub(super) fn timer(&self, state: &State, policy: &Policy) -> Option<Duration> {
        let until = match &self.next {
            Next::Wait { until, .. } => Some(until.mono),
            _ => None,
        };
        let graced = self.restarted.map(|over| over.mono + policy.heal.start_grace).filter(|_| matches!(self.next, Next::Watch(_)));
        // What was due when this was asked has been answered; and while an order is under way, its answer brings the next step.
        until.into_iter().chain(graced).filter(|due| *due > self.asked.mono && state.order.is_none()).min()
    }
}

impl State {
    /// Why the instance may not end yet to be replaced; `None` when it may.
    pub(super) fn replacement_waits(&self, policy: &Policy, now: Moment) -> Option<(String, Timestamp)> {
        let heal = &policy.heal;
        let is_sick = self.heal.evidence.finding(heal, now).asks_for_a_deed();
        if !is_sick && now.since(self.heal.begun) < heal.limits_over {
            // What condemned it was seen by the agent before.
            let why = "the agent has begun anew, and has not seen yet whether the instance is still sick".to_owned();
            return Some((why, self.heal.begun.plus(heal.limits_over).wall));
        }
        self.heal.permit.forbids_the_end(policy, now)
    }

    /// A restart was cut short by the end of its agent.
    fn owes_a_start(&self) -> bool {
        self.durable.healed.under_way && !self.heal.restarts_now()
    }

    /// Says whether there is a way to stop and start the orchestrator.
    pub fn set_restartable(&mut self, restartable: bool) {
        self.heal.restartable = restartable;
    }
}

impl Step<'_> {
    /// What healing comes to, after everything else that this step brought.
    pub fn heal(&mut self) {
        self.find_what_is_next();
        self.see_to_the_permit();
    }

    fn find_what_is_next(&mut self) {
        self.recall_replacement();
        self.unproven_again();
        if self.state.owes_a_start() {
            self.make_up_for_the_start();
        }
        if self.state.owes_a_start() && self.policy.dry_run && self.state.silence().is_some() {
            self.conclude(Next::Would("would start the orchestrator: a restart of it was cut short; drain.dry_run is set".to_owned()));
            return;
        }
        if !self.policy.heal.sees() {
            self.state.heal.next = Next::Unproven;
            self.state.heal.read_from = None;
            return;
        }
        if !self.state.durable.healed.ready && self.state.heal.evidence.is_ready(&self.policy.heal) {
            self.state.durable.healed.ready = true;
            self.touch();
        }
        self.state.heal.asked = self.now;
        // What is seen while it stops and starts tells nothing.
        if self.state.heal.restarts_now() {
            return;
        }
        let next = self.facts().next();
        self.conclude(next);
    }

    /// Which process answered a look at its activity.
    pub(super) fn heal_runs(&mut self, asked: Moment, generation: Option<&Generation>) {
        let group = self.state.group.as_ref();
        let shared = group.is_some_and(|(_, group)| siblings::shared_cause(group, &self.state.own).is_some());
        self.state.heal.evidence.runs(&self.policy.heal, generation, asked, shared);
    }

    /// The orchestrator says what it executes: a drain that was not to wait because nobody could say waits as any other from here on.
    pub(super) fn heal_known(&mut self) {
        let Some(drain) = self.state.durable.drain.as_mut().filter(|drain| drain.unproven) else { return };
        (drain.forced, drain.unproven) = (false, false);
        self.touch();
        if let Phase::Waiting { .. } | Phase::Validating | Phase::LastLook = self.state.phase {
            self.enter(Phase::Confirming);
        }
    }

    /// It answered once and is silent again, for as long as it takes to believe that: what `end_unproven` says holds anew.
    fn unproven_again(&mut self) {
        let heal = &self.policy.heal;
        let silent = self.state.unknown_since.is_some_and(|since| self.now.since(since) >= heal.limits_over);
        if !heal.end_unproven || !silent || !self.state.heal.evidence.is_silent() {
            return;
        }
        let waits =
            |drain: &&mut Drain| !drain.forced && drain.progress == Progress::Draining && matches!(drain.reason, Reason::Unhealthy { .. });
        if let Some(drain) = self.state.durable.drain.as_mut().filter(waits) {
            (drain.forced, drain.unproven) = (true, true);
            self.touch();
            if let Phase::Confirming = self.state.phase {
                self.enter(Phase::Validating);
            }
        }
    }

    fn facts(&self) -> Facts<'_> {
        let heal = &self.state.heal;
        let lately = heal.restarts.iter().filter(|at| self.now.since(**at) < self.policy.heal.window).count();
        let blind = self.state.fault_of.is_some_and(|kind| matches!(kind, super::Kind::Group | super::Kind::Cluster));
        Facts {
            policy: self.policy,
            own: &self.state.own,
            evidence: &heal.evidence,
            healed: &self.state.durable.healed,
            restarts: lately,
            restarted: heal.restarted,
            group: self.state.group.as_ref(),
            blind: self.state.fault.as_deref().filter(|_| blind),
            drains: !self.is_free(),
            restartable: heal.restartable,
            permit: &heal.permit,
            sample: self.state.sample.as_ref(),
            now: self.now,
        }
    }

    /// No drain is under way, or one was called off and waits for an orchestrator that does not answer.
    fn is_free(&self) -> bool {
        match (&self.state.phase, &self.state.durable.drain) {
            (Phase::Working, None) => true,
            (Phase::Held { why: HeldWhy::IntakeStuck, .. }, Some(drain)) => matches!(drain.progress, Progress::Cancelled { .. }),
            _ => false,
        }
    }

    fn conclude(&mut self, next: Next) {
        if std::mem::discriminant(&next) != std::mem::discriminant(&self.state.heal.next) {
            self.state.heal.since = self.now;
        }
        self.state.heal.read_from = match (&next, self.state.heal.read_from) {
            (Next::Read(_), Some(from)) if self.state.group.as_ref().is_none_or(|(asked, _)| asked.mono < from.mono) => Some(from),
            (Next::Read(_), _) => Some(self.now),
            _ => None,
        };
        self.state.heal.next = next.clone();
        match next {
            Next::Unproven | Next::Watch(_) | Next::Wait { .. } | Next::Read(_) | Next::Ask(_) => {}
            Next::Well => {
                // That it is well is worth a line only when something else was.
                if self.state.heal.told.as_ref().is_some_and(|(what, _)| what != "well") {
                    self.tell("well", "the orchestrator is well again".to_owned(), None);
                }
            }
            Next::Rest(why) => self.tell("rest", why, None),
            Next::Would(why) => self.tell("would", why, None),
            Next::Hold(hold, why) => self.tell("hold", why, Some(hold)),
            Next::Restart(why) if self.state.order.is_none() && !self.state.durable.healed.under_way => self.restart(why),
            Next::Replace { why, forced } if self.state.order.is_none() => {
                self.tell("replace", why.clone(), None);
                self.start(Reason::Unhealthy { why }, forced);
            }
            // What is under way is answered, or lost, and then this is asked again.
            Next::Restart(_) | Next::Replace { .. } => {}
        }
    }

    fn restart(&mut self, why: String) {
        let healed = &mut self.state.durable.healed;
        healed.restarts.push(self.now.wall);
        let old = healed.restarts.len().saturating_sub(RESTARTS_KEPT);
        healed.restarts.drain(..old);
        healed.under_way = true;
        self.state.heal.restarts.push_back(self.now);
        let window = self.policy.heal.window;
        let now = self.now;
        self.state.heal.restarts.retain(|at| now.since(*at) < window);
        self.touch();
        self.tell("restart", why.clone(), None);
        self.order(Deed::RestartOrchestrator { grace: self.policy.heal.stop_grace }, why);
    }

    /// The agent fell in the middle of a restart: the orchestrator may be stopped. Where healing is off by now it is started all the same: it was ours
    /// to stop it, and nobody else would.
    fn make_up_for_the_start(&mut self) {
        let stopped_for_good = self.state.durable.drain.as_ref().is_some_and(|drain| drain.progress.is_stopped());
        if stopped_for_good {
            self.state.durable.healed.under_way = false;
            self.touch();
        } else if self.state.order.is_none() && !self.policy.dry_run {
            self.order(Deed::StartOrchestrator, "a restart of it was cut short".to_owned());
        }
    }

    fn order(&mut self, deed: Deed, why: String) {
        self.deed_because(deed, why);
        self.state.heal.order = self.state.order.map(|order| order.key);
    }

    /// What came of our deed; `false` when it was not ours.
    pub(super) fn heal_done(&mut self, key: Key, result: &Result<Receipt, Fault>) -> bool {
        if self.state.heal.order != Some(key) {
            return false;
        }
        self.restart_over(result.as_ref().err().map(|fault| fault.text.clone()));
        true
    }

    /// Our deed was never answered.
    pub(super) fn heal_lost(&mut self) {
        if self.state.heal.restarts_now() {
            self.restart_over(Some("it was never answered".to_owned()));
        }
    }

    fn restart_over(&mut self, fault: Option<String>) {
        self.state.heal.order = None;
        self.state.heal.restarted = Some(self.now);
        self.state.heal.permit.keep(self.policy, self.now);
        self.state.heal.evidence.restarted();
        self.state.durable.healed.under_way = false;
        self.touch();
        match fault {
            None => self.tell("restarted", "the orchestrator was stopped and started".to_owned(), None),
            Some(text) => self.tell("restart_failed", text, None),
        }
    }

    /// The restart was not sent: the journal could not be written.
    pub(super) fn heal_unsent(&mut self) {
        self.permit_unsent();
        let Some(order) = self.state.order.filter(|order| Some(order.key) == self.state.heal.order) else { return };
        if order.at.mono == self.now.mono {
            (self.state.order, self.state.heal.order) = (None, None);
            self.state.durable.healed.under_way = false;
            self.state.heal.restarted = Some(self.now);
            self.tell("restart_failed", "the journal cannot be written".to_owned(), None);
        }
    }

    /// A replacement that is not needed any more.
    fn recall_replacement(&mut self) {
        let unhealthy = matches!(self.reason(), Some(Reason::Unhealthy { .. }));
        let open = matches!(self.progress(), Some(Progress::Draining | Progress::Stopping | Progress::Stopped));
        if !unhealthy || !open {
            return;
        }
        let off = self.state.durable.healed.off.as_ref().filter(|off| self.now.wall < off.until);
        let why = match off {
            Some(off) => format!("{} switched healing off", off.by),
            None if self.policy.heal.level < Level::Replace => format!("heal.level is {}", self.policy.heal.level.as_str()),
            None if self.well_again() => "the orchestrator is well again".to_owned(),
            None => return,
        };
        self.cancel(why);
    }

    /// While it is being drained its intake is closed, which may make it unready; it is its life that counts. It takes as long to be believed as it took to be
    /// condemned, so that an agent that has just begun, and has seen nothing yet, acquits nobody. A crash loop is no proof of health where it ends because no
    /// work comes in.
    fn well_again(&self) -> bool {
        let (heal, evidence) = (&self.policy.heal, &self.state.heal.evidence);
        if self.now.since(self.state.heal.begun) < heal.limits_over || !evidence.is_within_limits(heal, self.now) {
            return false;
        }
        let finding = evidence.finding(heal, self.now);
        finding != evidence::Finding::Unproven
            && !finding.asks_for_a_deed()
            && evidence.is_alive(heal)
            && !evidence.has_looped(heal, self.now)
    }

    /// An operator switches healing off for so long.
    pub(super) fn heal_off(&mut self, by: String, time: Duration) -> Result<(), String> {
        if time.is_zero() || time > OFF_LONGEST {
            return Err(format!(
                "healing can be switched off for up to {} days; for longer set heal.level = \"off\"",
                OFF_LONGEST.as_secs() / 86_400
            ));
        }
        let until = self.now.wall.plus(time);
        self.state.durable.healed.off = Some(Off { by: by.clone(), until });
        self.touch();
        self.tell("off", format!("{by} switched healing off until {until}"), None);
        Ok(())
    }

    /// An operator switches it on again.
    pub(super) fn heal_on(&mut self, by: &str) {
        if self.state.durable.healed.off.take().is_some() {
            self.touch();
            self.tell("on", format!("{by} switched healing on again"), None);
        }
    }

    /// Records a decision, once as long as it stands.
    fn tell(&mut self, what: &str, why: String, held: Option<Hold>) {
        let same = self.state.heal.told.as_ref().is_some_and(|(told, hold)| told == what && *hold == held);
        if same && !matches!(what, "restart" | "restarted" | "restart_failed" | "replace" | "off" | "on") {
            return;
        }
        self.state.heal.told = Some((what.to_owned(), held));
        let decision = Decision { at: self.now.wall, what: what.to_owned(), why, held };
        self.state.heal.decisions.push_back(decision.clone());
        if self.state.heal.decisions.len() > DECISIONS_KEPT {
            self.state.heal.decisions.pop_front();
        }
        self.out.decisions.push(decision);
    }
}

#[cfg(test)]
mod tests;
