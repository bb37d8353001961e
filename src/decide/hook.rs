//! Lifecycle hooks that are ours to answer: heartbeats while there is work, the answer when there is none; and, of a launching instance, the
//! answer when its orchestrator is ready (draining.md §4.7).
//!
//! What must stay true: only the hook that the owner named is answered (F40). CONTINUE to a terminating one goes out only when the instance was
//! confirmed idle, or its deadline or AWS's own limit forced it, never because the agent was stopped or started (S10, F39). Heartbeats come from
//! steps of this protocol, so that they end when it does (F37). A refusal tells nothing by itself: the action may be over, or not visible yet;
//! our own entry tells which (F67).

use std::time::Duration;

use crate::model::Activity;
use crate::model::Hook;
use crate::model::HookResult;
use crate::model::Intake;
use crate::model::LifecycleState;
use crate::model::Moment;
use crate::model::Timestamp;

use super::action::Deed;
use super::drain::Step;
use super::look::Kind;
use super::observation::Fault;
use super::observation::FaultKind;
use super::observation::Receipt;
use super::policy::AtDeadline;
use super::policy::Policy;
use super::state::HeldWhy;
use super::state::Order;
use super::state::Phase;
use super::state::Progress;
use super::state::Reason;
use super::state::State;
use super::status::HookStatus;

/// The shortest timeout a hook can have: what is assumed of one that was not read yet.
const SHORTEST: Duration = Duration::from_secs(30);
/// Between two tries of what was refused or failed, and between looks at our own entry meanwhile.
pub const AGAIN: Duration = Duration::from_secs(5);
/// A heartbeat that was not answered for so long is sent anew; twice is once.
const LOST: Duration = Duration::from_secs(30);
/// Reads in a row without us before AWS counts as waiting no more: one absence proves nothing (F15).
const ABSENT_READS: u32 = 2;

/// AWS waits for the answer to a hook.
#[derive(Clone, Debug, Default)]
pub struct Wait {
    /// As read; `None` = not read yet, or there is none of that name.
    hook: Option<Hook>,
    order: Option<Order>,
    /// Not before.
    next: Duration,
    /// The last heartbeat that AWS accepted.
    accepted: Option<Moment>,
    /// Since when AWS has refused: our own entry is read until it tells why.
    pub(super) refused: Option<Moment>,
    absent: u32,
    /// AWS waits no more.
    over: bool,
    fault: Option<String>,
}

/// How far the launch of this instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launch {
    /// Our own entry was not read yet.
    Unknown,
    /// AWS waits for the launch hook's answer.
    Waiting(Moment),
    /// In service, or beyond.
    Over,
}

/// The hook that AWS waits for now, when it is ours to answer.
pub fn waited_for<'a>(state: &State, policy: &'a Policy) -> Option<&'a str> {
    if state.wait.over {
        return None;
    }
    match (&state.durable.drain, state.launch) {
        (Some(drain), _) if drain.reason == Reason::TargetTerminated => {
            let before = matches!(drain.progress, Progress::Draining | Progress::Stopping | Progress::Stopped);
            policy.hooks.terminating.as_deref().filter(|_| before)
        }
        // One that is to drain is not kept waiting, nor said to be ready: AWS goes by the hook's default result.
        (None, Launch::Waiting(_)) => policy.hooks.launching.as_deref(),
        (_, Launch::Waiting(_) | Launch::Unknown | Launch::Over) => None,
    }
}

/// Our own entry is read to see whether we are still launching.
pub fn watches_the_launch(state: &State, policy: &Policy) -> bool {
    policy.hooks.launching.is_some() && state.launch != Launch::Over
}

/// When something is to be sent.
pub fn timer(state: &State, policy: &Policy) -> Option<Duration> {
    waited_for(state, policy)?;
    if state.group_name.is_none() || (policy.dry_run && state.wait.accepted.is_none()) {
        return None;
    }
    Some(state.wait.order.map_or(state.wait.next, |order| order.at.mono + LOST))
}

/// The name of the hook that is to be read now.
pub fn unread<'a>(state: &State, policy: &'a Policy) -> Option<&'a str> {
    waited_for(state, policy).filter(|_| state.wait.hook.is_none() && state.group_name.is_some())
}

impl State {
    /// A drain, or a launch, begins to be waited for.
    pub(super) fn begin_wait(&mut self) {
        self.wait = Wait::default();
    }

    /// When AWS ends the instance whatever we say, as today's wall clock has it. A hook's limit counts from the wait's begin, which comes after we
    /// heard of the end.
    pub(super) fn ends_at(&self, now: Moment) -> Option<Timestamp> {
        let drain = self.durable.drain.as_ref()?;
        let noticed = self.notices.interruption.as_ref().map(|notice| notice.at);
        let limit = match &drain.reason {
            Reason::Interrupted { at, .. } => Some(*at),
            Reason::TargetTerminated => {
                let hook = self.wait.hook.as_ref().filter(|_| !self.wait.over);
                hook.map(|hook| now.wall.plus(hook.limit.saturating_sub(self.waited(now))))
            }
            Reason::Superseded { .. }
            | Reason::Operator { .. }
            | Reason::Rebalance
            | Reason::Warmed
            | Reason::Standby
            | Reason::Unhealthy { .. } => None,
        };
        limit.into_iter().chain(noticed).min()
    }

    /// How long ago we heard that AWS ends the instance.
    fn waited(&self, now: Moment) -> Duration {
        self.doomed_age.or(self.age).map_or(Duration::ZERO, |age| age.at(now))
    }

    /// The wait, in figures.
    pub(super) fn hook_status(&self, policy: &Policy) -> Option<HookStatus> {
        waited_for(self, policy)?;
        let started = match (&self.durable.drain, self.launch) {
            (Some(drain), _) if drain.reason == Reason::TargetTerminated => drain.doomed.unwrap_or(drain.started),
            (_, Launch::Waiting(since)) => since.wall,
            (_, Launch::Unknown | Launch::Over) => return None,
        };
        let hook = self.wait.hook.as_ref();
        Some(HookStatus {
            started,
            limit: hook.map(|hook| hook.limit),
            heartbeat: hook.map(|hook| hook.heartbeat),
            accepted: self.wait.accepted.map(|at| at.wall),
        })
    }

    /// What is known of the wait, for people.
    pub(super) fn explain_wait(&self, policy: &Policy, now: Moment) -> Vec<String> {
        let Some(name) = waited_for(self, policy) else { return Vec::new() };
        let mut said = Vec::new();
        let last = self.wait.accepted.map(|at| format!("last heartbeat accepted {} s ago", now.since(at).as_secs()));
        said.push(format!("AWS waits for the lifecycle hook {name}; {}", last.unwrap_or_else(|| "no heartbeat accepted yet".to_owned())));
        if let Some(hook) = &self.wait.hook {
            let silent = self.wait.accepted.map_or(Duration::ZERO, |at| now.since(at));
            if silent * 2 >= hook.heartbeat {
                said.push(format!(
                    "no heartbeat was accepted for {} s of {} (runbooks/lifecycle-hook.md)",
                    silent.as_secs(),
                    hook.heartbeat.as_secs()
                ));
            }
            if let (Some(at), Some(drain)) = (self.ends_at(now), &self.durable.drain)
                && drain.reason == Reason::TargetTerminated
                && self.waited(now) >= hook.limit * 4 / 5
            {
                said.push(format!(
                    "AWS waits for nobody after {at}: four fifths of the hook's limit are over (runbooks/lifecycle-hook.md)"
                ));
            }
        }
        said.extend(self.wait.fault.as_ref().map(|fault| format!("last answer of the hook: {fault}")));
        said
    }
}

impl Step<'_> {
    /// Sends what is due: a heartbeat, or a launch hook's answer.
    pub(super) fn keep_waiting(&mut self) {
        let Some(name) = waited_for(self.state, self.policy).map(str::to_owned) else { return };
        if !self.may_send() || self.state.group_name.is_none() {
            return;
        }
        // What is kept waiting already is kept so, whatever is set since; nothing new is begun.
        if self.policy.dry_run && self.state.wait.accepted.is_none() {
            return;
        }
        let answer = match self.state.launch {
            Launch::Waiting(since) if self.state.durable.drain.is_none() && !self.policy.dry_run => self.readiness(since),
            Launch::Waiting(_) | Launch::Unknown | Launch::Over => None,
        };
        let (deed, reason) = match answer {
            Some((result, why)) => {
                self.touch();
                (Deed::CompleteHook { hook: name, result }, why)
            }
            None => (Deed::Heartbeat { hook: name }, self.reason().map_or_else(|| "launching".to_owned(), ToString::to_string)),
        };
        self.state.wait.order = Some(self.send(deed, reason));
    }

    /// Nothing of the hook is under way, or what was is lost, and the next is due.
    fn may_send(&mut self) -> bool {
        let wait = &mut self.state.wait;
        wait.order = wait.order.filter(|order| self.now.since(order.at) < LOST);
        wait.order.is_none() && self.now.mono >= wait.next
    }

    /// What a launch hook is to be told, once that is known.
    fn readiness(&self, since: Moment) -> Option<(HookResult, String)> {
        let activity = self.state.sample.as_ref().map(|sample| &sample.activity);
        let answers = activity.is_some_and(|activity| !matches!(activity, Activity::Unknown { .. }));
        if answers && matches!(self.state.intake, Some(Intake::Open | Intake::NoSwitch)) {
            return Some((HookResult::Continue, "the orchestrator is ready".to_owned()));
        }
        let waited = self.now.since(since);
        let works = matches!(activity, Some(Activity::Busy { .. }));
        (waited >= self.policy.ready_within && !works)
            .then(|| (HookResult::Abandon, format!("the orchestrator was not ready within {} s", self.policy.ready_within.as_secs())))
    }

    /// The answer to a heartbeat, or to a launch hook's answer. False when the key is of something else.
    pub(super) fn hook_done(&mut self, key: super::Key, result: &Result<Receipt, Fault>) -> bool {
        if self.state.wait.order.is_none_or(|order| order.key != key) {
            return false;
        }
        self.state.wait.order = None;
        let every = self.state.wait.hook.as_ref().map_or(SHORTEST, |hook| hook.heartbeat) / 3;
        match result {
            Ok(_) => {
                self.state.wait.accepted = Some(self.now);
                (self.state.wait.refused, self.state.wait.fault) = (None, None);
                self.state.wait.next = self.now.mono + every;
                // A launch's wait is short, and its answer is not to wait for the next heartbeat.
                if let Launch::Waiting(_) = self.state.launch {
                    self.state.wait.next = self.now.mono + AGAIN.min(every);
                }
            }
            Err(fault) => self.hook_refused(fault),
        }
        true
    }

    fn hook_refused(&mut self, fault: &Fault) {
        self.state.wait.fault = Some(fault.text.clone());
        self.state.wait.next = self.now.mono + AGAIN;
        if fault.what == FaultKind::Refused {
            self.state.wait.refused.get_or_insert(self.now);
            self.state.looks.hurry(Kind::Own);
        }
    }

    pub(super) fn hook_read(&mut self, hook: Option<Hook>) {
        let Some(name) = waited_for(self.state, self.policy) else { return };
        // One that was asked for before the wait changed is of no use.
        if hook.as_ref().is_some_and(|hook| hook.name != name) {
            return;
        }
        if hook.is_none() {
            self.state.wait.fault = Some(format!("the group has no lifecycle hook {name}"));
        }
        self.state.wait.hook = hook;
    }

    /// Our own entry tells how far a launch is, and whether AWS still waits.
    pub(super) fn hook_seen(&mut self, entry: Option<&LifecycleState>) {
        if self.state.launch != Launch::Over {
            match entry {
                Some(LifecycleState::PendingWait) if self.state.launch == Launch::Unknown => {
                    self.state.launch = Launch::Waiting(self.now);
                    self.state.begin_wait();
                }
                None | Some(LifecycleState::Pending | LifecycleState::PendingWait) => {}
                Some(_) => self.state.launch = Launch::Over,
            }
        }
        if self.state.wait.refused.is_none() || waited_for(self.state, self.policy).is_none() || self.state.durable.drain.is_none() {
            return;
        }
        self.state.wait.absent = if entry.is_none() { self.state.wait.absent + 1 } else { 0 };
        let beyond =
            matches!(entry, Some(LifecycleState::TerminatingProceed | LifecycleState::TerminatingRetained | LifecycleState::Terminated));
        if beyond || self.state.wait.absent >= ABSENT_READS {
            self.state.wait.over = true;
            self.ending_by_itself();
        }
    }

    /// Answers the terminating hook: the instance is idle, or is to wait for its work no longer.
    pub(super) fn answer_hook(&mut self, hook: String) {
        if !self.may_act() {
            return;
        }
        let result = if self.abandons() { HookResult::Abandon } else { HookResult::Continue };
        self.touch();
        self.deed(Deed::CompleteHook { hook, result });
        self.enter(Phase::Answering);
    }

    pub(super) fn hook_answered(&mut self, result: Result<Receipt, Fault>) {
        match result {
            Ok(_) => {
                self.state.wait.over = true;
                self.ending_by_itself();
            }
            Err(fault) if matches!(fault.what, FaultKind::Denied | FaultKind::Broken) => self.hold(HeldWhy::Denied, fault.text),
            Err(fault) => {
                self.hook_refused(&fault);
                self.answer_later(fault.text);
            }
        }
    }

    /// Our own end, which rested on idleness or was forced, waits for the hook that is ours: nobody else answers it.
    pub(super) fn release(&mut self) {
        let Some(hook) = self.policy.hooks.terminating.clone() else { return };
        if self.policy.dry_run || !self.may_send() {
            return;
        }
        self.touch();
        let reason = self.reason().map(ToString::to_string).unwrap_or_default();
        self.state.wait.order = Some(self.send(Deed::CompleteHook { hook, result: HookResult::Continue }, reason));
    }

    /// All evidence is asked for again before the answer is: meanwhile an orchestrator may have come back.
    pub(super) fn answer_later(&mut self, why: String) {
        self.enter(Phase::Waiting { why, until: self.now.plus(AGAIN) });
    }

    /// The owner's deadline can be met by leaving the instance to AWS's keeping.
    pub(super) fn may_abandon(&self) -> bool {
        let retains = self.state.group.as_ref().is_some_and(|(_, group)| group.retains_abandoned);
        retains && waited_for(self.state, self.policy).is_some()
    }

    /// The instance is given up by AWS with its work on it, and kept: better than to cut the work short, where the group's policy does so.
    pub(super) fn abandons(&self) -> bool {
        let idle = self.state.quiet.is_confirmed(self.policy) || self.is_stopped();
        self.is_forced() && !idle && self.policy.at_deadline != AtDeadline::Force && self.may_abandon()
    }
}
