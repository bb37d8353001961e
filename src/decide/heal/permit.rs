//! The permit of the group without which nothing is restarted or replaced, where a store that the fleet shares keeps a book of them.
//!
//! It is on top of the turns that AWS's count gives: both have to allow. So instances whose clocks or reads of AWS disagree are no more at once than the
//! budget, and one that drains, which AWS shows in service still, counts. One way for every store: without a permit that is in force nothing is done,
//! also when nobody answers. Turns alone would be as safe as they are where there is no such store; but whose store is down is not at fault and not
//! helped, and half a fleet that sees its store beside half that does not is when a fallback would be wrong.
//!
//! What must stay true: a permit is in force for a lease from the moment at which it was asked for, by our own clock that does not jump; a restart begins
//! only while it is in force for longer than a restart is waited for, so that it is over, or lost, before somebody else can have the place; each intent
//! has a number that grows, synced before the question; what may stand in the book is given back; another's is struck out only on a read of the group,
//! asked for a staleness bound after the book first named the holder, that does not list it. A permit is kept until the orchestrator serves again, within
//! bounds; a replacement that is held has none, and asks for another before the instance ends.

use std::collections::BTreeMap;
use std::time::Duration;

use super::evidence::Finding;
use super::siblings;
use crate::decide::action::Deed;
use crate::decide::action::Key;
use crate::decide::drain::ORDER_LOST;
use crate::decide::drain::Step;
use crate::decide::heal::ladder::Next;
use crate::decide::look::jittered;
use crate::decide::observation::Fault;
use crate::decide::observation::Receipt;
use crate::decide::policy::Policy;
use crate::decide::state::Order;
use crate::decide::state::Phase;
use crate::decide::state::Progress;
use crate::decide::state::Reason;
use crate::decide::state::State;
use crate::model::Group;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Moment;
use crate::model::Permit;
use crate::model::PermitAnswer;
use crate::model::PermitRequest;
use crate::model::Timestamp;

/// Without an answer for so long, the question is asked again; twice is once. Whoever asks has a shorter limit of its own.
const LOST: Duration = Duration::from_secs(30);
/// Between two tries, after a refusal or a fault; jittered.
const AGAIN: Duration = Duration::from_secs(15);
/// Beyond a restart's own limit, so that it need not begin at the very moment of the grant. Half of it is left when a permit is renewed.
const SLACK: Duration = Duration::from_secs(60);
/// Holders named in why one has to wait.
const NAMED: usize = 3;

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Question,
    GivingBack,
}

/// Others hold the places, or the book is closed.
#[derive(Clone, Debug)]
struct Refusal {
    at: Moment,
    again: Moment,
    held: Vec<(Permit, Duration)>,
    closed: Option<Duration>,
}

/// What is known of ours.
#[derive(Clone, Debug, Default)]
pub struct Held {
    order: Option<(Order, Sent)>,
    /// When the one that was granted was asked for.
    granted: Option<Moment>,
    /// Until then the book may hold it, whatever was heard.
    listed: Option<Moment>,
    /// It is being given back: what is asked for next is another one.
    left: bool,
    refusal: Option<Refusal>,
    /// When the book first named each of those that it named last.
    named: BTreeMap<Permit, Moment>,
    /// The last question may still arrive.
    unanswered: bool,
    /// Until then it is kept for an orchestrator that was restarted and does not serve yet.
    kept: Option<Moment>,
    fault: Option<String>,
    /// Nothing is sent before.
    not_before: Duration,
    draws: u32,
}

/// Whether something may be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permitted {
    /// A permit is in force, or none is needed.
    Yes,
    /// It is asked for.
    Asked,
    /// Not before this.
    Refused(String, Moment),
    /// Nobody answers.
    Nobody(String),
}

/// How long a restart is waited for.
pub fn restart_limit(policy: &Policy) -> Duration {
    ORDER_LOST.max(policy.heal.stop_grace * 2 + ORDER_LOST / 2)
}

/// How long a permit is in force.
fn lease(policy: &Policy) -> Duration {
    restart_limit(policy) + SLACK
}

impl Held {
    /// After a crash the book may hold one, or have again one that was given back: what is asked for next is another one.
    pub fn after_a_crash(number: u64, policy: &Policy, now: Moment) -> Self {
        let listed = (number > 0).then(|| now.plus(lease(policy)));
        Self { listed, left: true, unanswered: true, ..Self::default() }
    }

    /// What is in force is kept until the orchestrator serves again, but not for longer than it is given for that.
    pub fn keep(&mut self, policy: &Policy, now: Moment) {
        self.kept = self.granted.map(|_| now.plus(policy.heal.start_grace));
    }

    /// One is in force, for so much longer at least.
    fn covers(&self, policy: &Policy, now: Moment, time: Duration) -> bool {
        self.granted.is_some_and(|asked| now.mono + time <= asked.mono + lease(policy))
    }

    /// Whether a restart or a replacement may begin.
    pub fn permits(&self, policy: &Policy, now: Moment) -> Permitted {
        if !policy.heal.permits || self.covers(policy, now, restart_limit(policy)) {
            return Permitted::Yes;
        }
        match (&self.refusal, &self.fault) {
            (Some(refusal), _) if now.mono < refusal.again.mono => Permitted::Refused(refusal.explain(), refusal.again),
            (_, Some(fault)) => Permitted::Nobody(fault.clone()),
            (Some(_) | None, None) => Permitted::Asked,
        }
    }

    /// Why the instance may not end yet; `None` when it may.
    pub fn forbids_the_end(&self, policy: &Policy, now: Moment) -> Option<(String, Timestamp)> {
        if !policy.heal.permits || self.covers(policy, now, ORDER_LOST) {
            return None;
        }
        let why = match (&self.refusal, &self.fault) {
            (_, Some(fault)) => format!("no permit of the group: {fault}"),
            (Some(refusal), None) => refusal.explain(),
            (None, None) => "the permit of the group is asked for".to_owned(),
        };
        Some((why, now.wall.plus(AGAIN * 2)))
    }

    /// For people. What was refused counts only while one is wanted.
    pub fn explain(&self, policy: &Policy, now: Moment, wanted: bool) -> Option<String> {
        if !policy.heal.permits {
            return None;
        }
        let left = self.granted.map(|asked| (asked.mono + lease(policy)).saturating_sub(now.mono)).filter(|left| !left.is_zero());
        Some(match (left, self.refusal.as_ref().filter(|_| wanted), &self.fault) {
            (Some(left), _, None) => format!("held, for {} s unless renewed", left.as_secs()),
            (Some(left), _, Some(fault)) => format!("held, for {} s, and not renewed: {fault}", left.as_secs()),
            (None, _, Some(fault)) => format!("none, and nobody answers: {fault}"),
            (None, Some(refusal), None) => refusal.explain(),
            (None, None, None) if self.order.is_some() => "asked for".to_owned(),
            (None, None, None) => "none, and none is needed".to_owned(),
        })
    }

    /// Those whose holders AWS does not list any more.
    fn gone(&self, policy: &Policy, own: &InstanceId, (asked, group): (Moment, &Group)) -> Vec<Permit> {
        let is_gone = |holder: &InstanceId| group.instance(holder).is_none_or(|entry| entry.state == LifecycleState::Terminated);
        let others = self.named.iter().filter(|(permit, first)| permit.holder != *own && asked.mono >= first.mono + policy.stale_bound);
        others.map(|(permit, _)| permit).filter(|permit| is_gone(&permit.holder)).cloned().collect()
    }
}

impl Refusal {
    fn explain(&self) -> String {
        if let Some(closed) = self.closed {
            return format!(
                "the store changed servers, or is new, and may have lost permits: it gives none for {} s from {}",
                closed.as_secs(),
                self.at.wall
            );
        }
        let named = self.held.iter().take(NAMED).map(|(permit, left)| format!("{} ({} s)", permit.holder, left.as_secs()));
        format!("{} permits of the group are held: {}", self.held.len(), named.collect::<Vec<_>>().join(", "))
    }
}

impl State {
    /// What it is for is under way, or about to be.
    fn needs_permit(&self) -> bool {
        let replaced =
            self.durable.drain.as_ref().is_some_and(|drain| {
                matches!(drain.reason, Reason::Unhealthy { .. }) && !matches!(drain.progress, Progress::Cancelled { .. })
            });
        let next = matches!(self.heal.next, Next::Ask(_) | Next::Restart(_) | Next::Replace { .. } | Next::Hold(super::Hold::NoPermit, _));
        // One that is held may be so for days: others need its place, and before the instance ends a permit is asked for again.
        let replaces = replaced && self.phase != Phase::Gone && self.phase.held().is_none();
        self.durable.healed.under_way || replaces || next || self.keeps_permit()
    }

    /// What it was for is done, and the orchestrator does not serve yet. None is asked for anew for that.
    fn keeps_permit(&self) -> bool {
        let held = &self.heal.permit;
        let stopped = self.durable.drain.as_ref().is_some_and(|drain| drain.progress.is_stopped());
        let reopens = stopped && matches!(self.phase, Phase::Reopening { .. });
        held.granted.is_some() && (held.kept.is_some() || reopens)
    }

    /// How it stands with the permit, for people; `None` where there are none.
    pub(super) fn permit_status(&self, policy: &Policy, now: Moment) -> Option<String> {
        let wanted = self.needs_permit() || matches!(self.heal.next, Next::Wait { .. });
        self.heal.permit.explain(policy, now, wanted)
    }

    /// When the next question or giving back is due; `None` when neither is wanted.
    fn permit_due(&self, policy: &Policy) -> Option<(Sent, Duration)> {
        let held = &self.heal.permit;
        if self.needs_permit() {
            self.group.as_ref()?;
            let due = match (held.granted, &self.heal.next) {
                (Some(asked), next) if !matches!(next, Next::Ask(_)) => asked.mono + (lease(policy) / 3).min(SLACK / 2),
                _ => Duration::ZERO,
            };
            let refused = held.refusal.as_ref().map_or(Duration::ZERO, |refusal| refusal.again.mono);
            return Some((Sent::Question, due.max(refused).max(held.not_before)));
        }
        held.listed.filter(|_| self.group_name.is_some()).map(|_| (Sent::GivingBack, held.not_before))
    }

    /// When time alone changes something of it.
    pub(in crate::decide) fn permit_timer(&self, policy: &Policy) -> Option<Duration> {
        if !policy.heal.permits {
            return None;
        }
        match self.heal.permit.order {
            Some((order, _)) => Some(order.at.mono + LOST),
            None => {
                let due = self.permit_due(policy).filter(|(sent, _)| *sent == Sent::GivingBack || !policy.dry_run).map(|(_, due)| due);
                due.into_iter().chain(self.heal.permit.kept.map(|until| until.mono)).min()
            }
        }
    }
}

impl Step<'_> {
    /// Sends the question, or the giving back, that is due.
    pub(super) fn see_to_the_permit(&mut self) {
        if !self.policy.heal.permits {
            return;
        }
        let serves = matches!(self.state.heal.evidence.finding(&self.policy.heal, self.now), Finding::Well);
        let held = &mut self.state.heal.permit;
        held.granted = held.granted.filter(|asked| self.now.mono < asked.mono + lease(self.policy));
        held.kept = held.kept.filter(|until| !serves && self.now.mono < until.mono);
        if let Some((order, _)) = held.order.filter(|(order, _)| self.now.since(order.at) >= LOST) {
            held.order = None;
            held.fault = Some(format!("not answered within {} s", self.now.since(order.at).as_secs()));
        }
        held.listed = held.listed.filter(|until| self.now.mono < until.mono);
        if held.order.is_some() {
            return;
        }
        match self.state.permit_due(self.policy) {
            Some((_, due)) if self.now.mono < due => {}
            Some((Sent::Question, _)) if !self.policy.dry_run => self.ask_for_the_permit(),
            Some((Sent::GivingBack, _)) => self.give_the_permit_back(),
            Some((Sent::Question, _)) | None => {}
        }
        if !self.state.needs_permit() {
            self.state.heal.permit.fault = None;
        }
    }

    fn ask_for_the_permit(&mut self) {
        let Some((asked, group)) = &self.state.group else { return };
        let own = self.state.own.clone();
        let gone = self.state.heal.permit.gone(self.policy, &own, (*asked, group));
        let places = u32::try_from(siblings::budget(self.policy, group)).unwrap_or(u32::MAX);
        let group = group.name.clone();
        let held = &mut self.state.heal.permit;
        let keeps = held.covers(self.policy, self.now, Duration::ZERO);
        let is_new = held.listed.is_none() || held.left;
        (held.left, held.refusal, held.unanswered) = (false, None, true);
        let until = self.now.plus(lease(self.policy) + LOST);
        held.listed = Some(until);
        if is_new {
            self.state.durable.healed.permit += 1;
            self.touch();
        }
        let permit = Permit { holder: own, number: self.state.durable.healed.permit };
        let lease = lease(self.policy);
        let request = PermitRequest { group, permit, places, lease, keeps, gone };
        let order = self.send(Deed::TakePermit(request), "healing is about to restart or replace, or does".to_owned());
        self.state.heal.permit.order = Some((order, Sent::Question));
    }

    fn give_the_permit_back(&mut self) {
        let Some(group) = self.state.group_name.clone() else { return };
        let permit = Permit { holder: self.state.own.clone(), number: self.state.durable.healed.permit };
        let order = self.send(Deed::GivePermit { group, permit }, "it is not needed any more".to_owned());
        let held = &mut self.state.heal.permit;
        (held.order, held.granted, held.left) = (Some((order, Sent::GivingBack)), None, true);
    }

    /// False when the key is of something else.
    pub(in crate::decide) fn permit_done(&mut self, key: Key, result: &Result<Receipt, Fault>) -> bool {
        let Some((order, sent)) = self.state.heal.permit.order.filter(|(order, _)| order.key == key) else { return false };
        let (own, now) = (self.state.own.clone(), self.now);
        let held = &mut self.state.heal.permit;
        held.order = None;
        held.draws = held.draws.wrapping_add(1);
        let again = now.plus(jittered(AGAIN, &own, held.draws));
        match (sent, result) {
            (Sent::Question, Ok(Receipt::Permit(PermitAnswer::Granted))) => {
                (held.granted, held.fault, held.unanswered) = (Some(order.at), None, false);
                held.named.clear();
            }
            (Sent::Question, Ok(Receipt::Permit(PermitAnswer::Refused { held: others, closed }))) => {
                // What the book does not hold any more is not in force, whatever is left of its time.
                (held.granted, held.listed, held.fault, held.unanswered) = (None, None, None, false);
                let first = |permit: &Permit| held.named.get(permit).copied().unwrap_or(now);
                held.named = others.iter().map(|(permit, _)| (permit.clone(), first(permit))).collect();
                held.refusal = Some(Refusal { at: now, again, held: others.clone(), closed: *closed });
            }
            // A question that arrives after this would take a place that nobody uses: as long as it may, it is given back again.
            (Sent::GivingBack, Ok(_)) if held.unanswered => (held.not_before, held.fault) = (again.mono, None),
            (Sent::GivingBack, Ok(_)) => (held.listed, held.fault) = (None, None),
            (Sent::Question, Ok(Receipt::Done | Receipt::Activity(_) | Receipt::Task(_))) => {
                (held.fault, held.not_before) = (Some("an answer that makes no sense".to_owned()), again.mono);
            }
            (Sent::Question | Sent::GivingBack, Err(fault)) => {
                // A lost answer is not a no: the book may hold it, so it stays listed.
                held.not_before = again.mono;
                if sent == Sent::Question {
                    held.fault = Some(fault.text.clone());
                }
            }
        }
        true
    }

    /// The question was not sent: the journal could not be written.
    pub(super) fn permit_unsent(&mut self) {
        let held = &mut self.state.heal.permit;
        if held.order.is_some_and(|(order, sent)| sent == Sent::Question && order.at.mono == self.now.mono) {
            held.order = None;
            // Its number is not on disk: the next question has another.
            held.left = true;
            held.fault = Some("the journal cannot be written".to_owned());
            held.not_before = self.now.mono + AGAIN;
        }
    }
}
