//! Protection from scale-in: an instance protects itself while it is busy, so that AWS picks another (F25).
//!
//! What must stay true: who set it takes it off, when idle for a while and when the agent is stopped (S16, F26); one call a change, and none
//! once AWS ends the instance. It is no guard against a terminate call, a spot interruption or a failed health check (draining.md §4.3).

use std::time::Duration;

use crate::model::Activity;
use crate::model::Moment;

use super::action::Deed;
use super::action::Key;
use super::drain::Step;
use super::observation::Fault;
use super::observation::FaultKind;
use super::observation::Receipt;
use super::policy::Policy;
use super::state::Order;
use super::state::Phase;
use super::state::State;

/// Idle for so long before the protection is taken off: work that comes and goes costs no call each time.
const IDLE_FOR: Duration = Duration::from_secs(120);
/// Between two tries.
const AGAIN: Duration = Duration::from_secs(60);
/// Without an answer for so long, it is asked for again; twice is once.
const LOST: Duration = Duration::from_secs(60);

/// What is known of it.
#[derive(Clone, Debug, Default)]
pub struct Protection {
    change: Option<Change>,
    /// Not before.
    next: Duration,
    idle_since: Option<Moment>,
    /// What AWS accepted last; `None` = nobody knows.
    set: Option<bool>,
    /// The agent stops: nobody would watch a protection that is set now.
    stopping: bool,
    fault: Option<String>,
}

/// A change that is under way.
#[derive(Clone, Copy, Debug)]
struct Change {
    order: Order,
    on: bool,
    /// Whether it counted as set before.
    before: bool,
}

/// When time alone changes something.
pub fn timer(state: &State, policy: &Policy) -> Option<Duration> {
    wanted(state, policy, Duration::MAX)?;
    let idle = state.protection.idle_since.filter(|_| policy.protect).map_or(Duration::ZERO, |since| since.mono + IDLE_FOR);
    Some(state.protection.change.map_or(state.protection.next.max(idle), |change| change.order.at.mono + LOST))
}

/// What is to be changed, as things stand at this time of the monotonic clock.
fn wanted(state: &State, policy: &Policy, now: Duration) -> Option<bool> {
    let ends = matches!(state.phase, Phase::Terminating | Phase::Uncertain { .. } | Phase::Answering | Phase::Ending { .. } | Phase::Gone);
    if ends || policy.dry_run || state.group_name.is_none() || state.protection.stopping {
        return None;
    }
    if !policy.protect {
        return state.durable.protected.then_some(false);
    }
    match state.sample.as_ref().map(|sample| &sample.activity)? {
        Activity::Busy { .. } => (state.protection.set != Some(true)).then_some(true),
        Activity::Idle => {
            let long = state.protection.idle_since.is_some_and(|since| now.saturating_sub(since.mono) >= IDLE_FOR);
            (state.durable.protected && long).then_some(false)
        }
        Activity::Unknown { .. } => None,
    }
}

impl Step<'_> {
    /// Takes a look at the orchestrator into account.
    pub(super) fn protection_seen(&mut self, asked: Moment, activity: &Activity) {
        match activity {
            Activity::Idle => _ = self.state.protection.idle_since.get_or_insert(asked),
            Activity::Busy { .. } | Activity::Unknown { .. } => self.state.protection.idle_since = None,
        }
    }

    /// Sends the change that is due.
    pub(super) fn protect(&mut self) {
        if self.state.protection.change.is_some_and(|change| self.now.since(change.order.at) >= LOST) {
            self.state.protection.change = None;
        }
        if self.state.protection.change.is_some() || self.now.mono < self.state.protection.next {
            return;
        }
        if let Some(on) = wanted(self.state, self.policy, self.now.mono) {
            self.change_protection(on);
        }
    }

    /// The agent stops: nobody would take it off.
    pub(super) fn unprotect(&mut self) {
        self.state.protection.stopping = true;
        // One that is being set may come to be after one that takes it off: the next start takes it off.
        let setting = self.state.protection.change.is_some_and(|change| change.on);
        if self.state.durable.protected && !setting && !self.policy.dry_run {
            self.change_protection(false);
        }
    }

    fn change_protection(&mut self, on: bool) {
        let before = self.state.durable.protected;
        if on {
            self.state.durable.protected = true;
            self.touch();
        }
        let reason = if on { "work is in flight" } else { "no work is in flight any more, or nobody watches it" };
        let order = self.send(Deed::Protect { on }, reason.to_owned());
        self.state.protection.change = Some(Change { order, on, before });
    }

    /// False when the key is of something else.
    pub(super) fn protection_done(&mut self, key: Key, result: &Result<Receipt, Fault>) -> bool {
        let Some(Change { on, before, .. }) = self.state.protection.change.filter(|change| change.order.key == key) else { return false };
        self.state.protection.change = None;
        self.state.protection.fault = result.as_ref().err().map(|fault| fault.text.clone());
        match result {
            Ok(_) => {
                self.state.protection.set = Some(on);
                self.state.durable.protected = on;
                self.touch();
            }
            Err(fault) => {
                self.state.protection.set = None;
                self.state.protection.next = self.now.mono + AGAIN;
                // What may have been done, now or by the process before, counts as set until it was taken off.
                if on && !before && fault.what != FaultKind::OutcomeUnknown {
                    self.state.durable.protected = false;
                    self.touch();
                }
            }
        }
        true
    }
}

impl State {
    /// For people.
    pub(super) fn explain_protection(&self) -> Option<String> {
        let fault = self.protection.fault.as_ref().map(|fault| format!("protection from scale-in: {fault}"));
        fault.or_else(|| self.durable.protected.then(|| "protected from scale-in while busy".to_owned()))
    }
}
