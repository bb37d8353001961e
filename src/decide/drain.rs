//! The protocol of a drain up to the last look: detect → close intake, read it back → settle → idle over the quiet time → justified by fresh
//! reads → (min, stop) → last look. What comes after is in [`super::ending`]; what operators may ask in [`super::operator`].
//!
//! What must stay true: one deed at a time; the next waits until the last was answered or is lost.

use std::time::Duration;

use crate::model::Activity;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::Intake;
use crate::model::LifecycleState;
use crate::model::Moment;
use crate::model::Probe;
use crate::model::Sample;
use crate::model::generation;

use super::Outcome;
use super::action::Action;
use super::action::Deed;
use super::action::Key;
use super::action::Look;
use super::action::What;
use super::ending::STILL_ALIVE_READS;
use super::hook;
use super::justify;
use super::justify::Justification;
use super::look;
use super::look::Kind;
use super::observation::Answer;
use super::observation::Fault;
use super::observation::FaultKind;
use super::observation::Receipt;
use super::policy::AtDeadline;
use super::policy::Policy;
use super::quiet::Finding;
use super::quiet::Quiet;
use super::schedule::followed_task;
use super::schedule::order_limit;
use super::schedule::wanted;
use super::state::Age;
use super::state::Drain;
use super::state::HeldWhy;
use super::state::Order;
use super::state::Phase;
use super::state::Progress;
use super::state::Reason;
use super::state::State;
use super::superseded;

/// Between two orders to the intake switch.
pub const INTAKE_AGAIN: Duration = Duration::from_secs(10);
/// Orders to the intake switch without the read-back they are for, before the agent holds (F11).
pub const INTAKE_ORDERS: u32 = 3;
/// First and longest time between two tries of a held drain (L7).
const HELD_FIRST: Duration = Duration::from_secs(30);
const HELD_LONGEST: Duration = Duration::from_secs(600);
/// Reads of the target lifecycle state in a row that say InService before an end counts as called off (F18).
const BACK_READS: u32 = 2;
/// Reads in a row that came too late to act on, before the agent holds.
const SLOW_READS: u32 = 8;
/// An order whose answer has not come after this long is lost: its outcome is unknown. What acts has shorter limits of its own.
pub const ORDER_LOST: Duration = Duration::from_secs(180);

/// One step in the making.
pub struct Step<'a> {
    pub(super) state: &'a mut State,
    pub(super) policy: &'a Policy,
    pub(super) now: Moment,
    pub(super) out: Outcome,
}

impl<'a> Step<'a> {
    pub fn new(state: &'a mut State, policy: &'a Policy, now: Moment) -> Self {
        Self { state, policy, now, out: Outcome::default() }
    }

    /// Sends out the looks that are due and closes the step.
    pub fn finish(mut self) -> Outcome {
        for kind in Kind::ALL {
            let due = self.state.looks.due(kind, wanted(self.state, self.policy, kind), &self.state.own);
            if due.is_none_or(|due| due > self.now.mono) {
                continue;
            }
            let look = match kind {
                Kind::TargetState => Look::TargetState,
                Kind::Notices => Look::Notices,
                Kind::Hook => match hook::unread(self.state, self.policy) {
                    Some(name) => Look::Hook(name.to_owned()),
                    None => continue,
                },
                Kind::Own => Look::Own { activities: matches!(self.state.phase, Phase::Ending { .. } | Phase::Uncertain { .. }) },
                Kind::Group => Look::Group,
                Kind::Cluster => Look::Cluster,
                Kind::Orchestrator => Look::Orchestrator,
                Kind::Task => match (followed_task(self.state), &self.state.durable.drain) {
                    (Some(task), _) => Look::Task(task.to_owned()),
                    (None, Some(drain)) => Look::OwnTask { drain: drain.started },
                    (None, None) => continue,
                },
                Kind::Liveness => Look::Probe(Probe::Liveness),
                Kind::Readiness => Look::Probe(Probe::Readiness),
                Kind::Store => Look::Probe(Probe::Store),
                Kind::Vitals => Look::Vitals,
            };
            let key = self.key();
            self.state.looks.ask(kind, key, self.now);
            self.out.actions.push(Action { key, what: What::Look(look) });
        }
        self.out
    }

    /// An answer to an action of ours, or to one long forgotten.
    pub fn answered(&mut self, key: Key, answer: Answer) {
        match answer {
            Answer::TargetState(read) => {
                if let Some((_, target)) = self.read(Kind::TargetState, key, read) {
                    self.target(target);
                }
            }
            Answer::Notices(read) => {
                if let Some((_, notices)) = self.read(Kind::Notices, key, read) {
                    self.notices(notices);
                }
            }
            Answer::Hook(read) => {
                if let Some((_, hook)) = self.read(Kind::Hook, key, read) {
                    self.hook_read(hook);
                }
            }
            Answer::Own(read) => {
                if let Some((asked, own)) = self.read(Kind::Own, key, read) {
                    self.own(asked, own);
                }
            }
            Answer::Group(read) => match self.read(Kind::Group, key, read) {
                Some((asked, Some(group))) => self.groups(asked, vec![group], false),
                Some((_, None)) if matches!(self.state.phase, Phase::Validating) => {
                    let name = self.state.group_name.as_ref().map_or("", GroupName::as_str);
                    self.again(format!("{name} is absent from the describe"));
                }
                Some((_, None)) | None => {}
            },
            Answer::Cluster(read) => {
                if let Some((asked, groups)) = self.read(Kind::Cluster, key, read) {
                    self.groups(asked, groups, true);
                }
            }
            Answer::Orchestrator { intake, sample } => {
                if let Some(asked) = self.state.looks.answered(Kind::Orchestrator, key, true) {
                    self.orchestrator(asked, intake, sample);
                }
            }
            Answer::Probe(probe, probed) => {
                let rules = self.policy.heal.rules(probe);
                if let (Some(asked), Some(rules)) = (self.state.looks.answered(Kind::of(probe), key, true), rules) {
                    self.state.heal.evidence().probed(rules, probe, asked, probed);
                }
            }
            Answer::Vitals(vitals) => {
                if let Some(asked) = self.state.looks.answered(Kind::Vitals, key, true) {
                    self.state.heal.evidence().saw(&self.policy.heal, asked, vitals);
                }
            }
            Answer::Task(read) => {
                if let Some((asked, task)) = self.read(Kind::Task, key, read) {
                    self.task(asked, task);
                }
            }
            Answer::OwnTask(read) => {
                if let Some((asked, task)) = self.read(Kind::Task, key, read) {
                    self.own_task(asked, task);
                }
            }
            Answer::Done(result) => self.done(key, result),
        }
    }

    /// The daemon could not write the journal: the deeds of the last step that need it were not done (F46).
    pub fn journal_lost(&mut self, why: String) {
        self.heal_unsent();
        // One that went out earlier is out, and is answered.
        let unsent = self.state.order.is_none_or(|order| order.at.mono == self.now.mono);
        let doomed = matches!(self.reason(), Some(Reason::Interrupted { .. }));
        match self.state.phase {
            // The stop went out all the same (F46).
            Phase::Stopping if doomed => {
                self.state.fault = Some(format!("journal: {why}"));
                return;
            }
            Phase::Terminating | Phase::Stopping | Phase::Lowering | Phase::Answering if unsent => {
                self.state.order = None;
                self.not_sent();
            }
            _ => {}
        }
        let waits = matches!(self.progress(), Some(Progress::Draining | Progress::Stopping | Progress::Stopped));
        if waits && !doomed && self.state.phase.held() != Some(HeldWhy::Journal) {
            self.hold(HeldWhy::Journal, why);
        } else {
            self.state.fault = Some(format!("journal: {why}"));
        }
    }

    /// What time alone brings about.
    pub fn timers(&mut self) {
        if self.state.order.is_some_and(|order| self.now.since(order.at) >= order_limit(self.state, self.policy)) {
            self.state.order = None;
            self.heal_lost();
            match self.state.phase {
                Phase::Terminating => self.uncertain(),
                Phase::Stopping => self.not_stopped("the stop was never answered".to_owned()),
                Phase::Lowering => self.enter(Phase::Validating),
                Phase::Answering => self.answer_later("the answer to the lifecycle hook was never answered".to_owned()),
                _ => {}
            }
        }
        self.deadline();
        match self.state.phase {
            Phase::Closing { orders, again } if self.now.mono >= again.mono && self.state.order.is_none() => self.close_intake(orders),
            Phase::Waiting { until, .. } if self.now.mono >= until.mono => self.enter_confirmed(),
            // What AWS ends waits for no read that would judge it anew.
            Phase::Validating if self.is_doomed() && self.state.order.is_none() => self.judge(),
            Phase::Held { until, .. } if self.now.mono >= until.mono => self.try_again(),
            Phase::Reopening { orders, again, start } if self.now.mono >= again.mono && self.state.order.is_none() => {
                self.reopen(orders, start)
            }
            _ => {}
        }
        self.keep_waiting();
        self.protect();
        self.record_capacity();
    }

    fn groups(&mut self, asked: Moment, groups: Vec<Group>, whole_cluster: bool) {
        let Some(name) = self.state.group_name.clone() else { return };
        if let Some(ours) = groups.iter().find(|g| g.name == name) {
            self.state.group = Some((asked, ours.clone()));
            self.see_recording(ours);
            if !ours.is_disabled() && !self.policy.retired {
                self.state.agreement.forget();
                if self.state.durable.veto.take().is_some() {
                    self.touch();
                }
            }
        }
        if whole_cluster {
            let verdict = superseded::judge(self.policy, &name, &groups);
            let by = self.state.agreement.read(self.policy, asked, &verdict);
            self.state.cluster = Some((asked, groups));
            if let Some(by) = by {
                self.superseded(by);
            }
        }
        if let Phase::Validating = self.state.phase {
            if asked.mono >= self.state.since.mono {
                self.judge();
            }
        } else if let Phase::Closing { .. } | Phase::Confirming | Phase::Waiting { .. } | Phase::Held { .. } = self.state.phase {
            self.watch_for_cancel();
        } else if let Phase::Ending { .. } = self.state.phase {
            self.watch_the_task();
        }
    }

    fn superseded(&mut self, by: GroupName) {
        let held = match &self.state.group {
            Some((_, group)) => justify::hold_on(group, self.now.wall),
            None => Some("the group has not been read yet".to_owned()),
        };
        let vetoed = self.state.durable.veto.as_ref().is_some_and(|v| v.successor == by);
        let moved_away = matches!(self.reason(), Some(Reason::Rebalance)) && matches!(self.progress(), Some(Progress::Draining));
        if (self.state.durable.drain.is_none() || moved_away) && !vetoed {
            match held {
                None => {
                    self.note_capacity(&by);
                    self.start(Reason::Superseded { by }, false);
                }
                Some(held) => self.state.finding = Some(format!("superseded by {by}, and no drain begins: {held}")),
            }
        }
    }

    /// A hold, a newer generation or the end of the reason stops a drain at any time before the terminate call, not only at the end.
    fn watch_for_cancel(&mut self) {
        match self.justification() {
            Some(Justification::Cancel(why)) => self.cancel(why),
            Some(Justification::Anew) => self.anew(),
            Some(Justification::Ending) => self.ending_by_itself(),
            Some(Justification::Hold(HeldWhy::Rollback, held)) => {
                let before_the_call = matches!(self.progress(), Some(Progress::Draining | Progress::Stopping | Progress::Stopped));
                if before_the_call && self.state.phase.held() != Some(HeldWhy::Rollback) {
                    self.hold(HeldWhy::Rollback, held);
                }
            }
            Some(
                Justification::Go
                | Justification::LowerMin { .. }
                | Justification::Wait { .. }
                | Justification::Hold(..)
                | Justification::NoAnswer(_),
            )
            | None => {}
        }
    }

    fn judge(&mut self) {
        let Some(justification) = self.justification() else { return };
        if !self.is_doomed() && self.read_age() > self.policy.stale_bound {
            self.too_old();
            return;
        }
        self.state.slow_reads = 0;
        match justification {
            Justification::Go if self.must_stop() => self.stop(),
            Justification::Go if self.is_forced() => self.terminate(),
            Justification::Go => self.enter(Phase::LastLook),
            Justification::LowerMin { to } => self.lower_min(to),
            Justification::Wait { why, until } => {
                let wait = until.since(self.now.wall).max(Duration::from_millis(50));
                self.enter(Phase::Waiting { why, until: self.now.plus(wait) });
            }
            Justification::Hold(why, text) => self.hold(why, text),
            Justification::Cancel(why) => self.cancel(why),
            Justification::Anew => self.anew(),
            Justification::Ending => self.ending_by_itself(),
            Justification::NoAnswer(why) => self.again(why),
        }
    }

    pub(super) fn justification(&self) -> Option<Justification> {
        let drain = self.state.durable.drain.as_ref()?;
        match &drain.reason {
            Reason::TargetTerminated | Reason::Interrupted { .. } => return Some(Justification::Go),
            Reason::Warmed => {
                let text = "the instance returns to the warm pool: it takes no work, and is not ended".to_owned();
                return Some(Justification::Hold(HeldWhy::LifecycleState, text));
            }
            Reason::Superseded { .. } | Reason::Operator { .. } | Reason::Rebalance | Reason::Standby | Reason::Unhealthy { .. } => {}
        }
        let name = self.state.group_name.as_ref()?;
        let (asked, groups) = self.reads()?;
        let judged = justify::justify(self.policy, drain, &self.state.own, name, groups, asked.wall, self.now.wall);
        Some(match (&drain.reason, judged) {
            (Reason::Unhealthy { .. }, Justification::Go) => match self.state.replacement_waits(self.policy, self.now) {
                Some((why, until)) => Justification::Wait { why, until },
                None => Justification::Go,
            },
            (_, judged) => judged,
        })
    }

    /// What the justification rests on, and when it was asked for.
    pub(super) fn reads(&self) -> Option<(Moment, &[Group])> {
        match (&self.state.cluster, &self.state.group) {
            (Some((asked, cluster)), _) if self.is_superseded() => Some((*asked, cluster)),
            (_, Some((asked, group))) => Some((*asked, std::slice::from_ref(group))),
            _ => None,
        }
    }

    /// How long ago the read was asked for that the justification rests on. What it shows may be older still by the staleness bound.
    fn read_age(&self) -> Duration {
        self.reads().map_or(Duration::MAX, |(asked, _)| self.now.since(asked))
    }

    /// The reads took longer than the staleness bound: nothing may rest on them (F49).
    fn too_old(&mut self) {
        self.state.slow_reads += 1;
        let text = format!("describes take longer than the staleness bound of {} s", self.policy.stale_bound.as_secs_f32());
        if self.state.slow_reads >= SLOW_READS {
            self.hold(HeldWhy::SlowReads, text);
        } else {
            let until = self.now.plus(Duration::from_secs(1) * self.state.slow_reads);
            self.enter(Phase::Waiting { why: text, until });
        }
    }

    fn orchestrator(&mut self, asked: Moment, intake: Intake, sample: Sample) {
        let silent = matches!(sample.activity, Activity::Unknown { .. });
        self.state.answered |= !silent;
        self.state.unknown_since = if silent { self.state.unknown_since.or(Some(asked)) } else { None };
        let other = self.state.quiet.is_another(&sample);
        self.heal_runs(asked, sample.generation.as_ref());
        let runs = matches!(intake, Intake::Open) || matches!(sample.activity, Activity::Busy { .. }) || other;
        let finding = self.state.quiet.look(self.policy, asked, &intake, &sample);
        self.protection_seen(asked, &sample.activity);
        let opened = matches!(intake, Intake::Open | Intake::NoSwitch);
        let closed = matches!(intake, Intake::Closed | Intake::NoSwitch);
        let doomed = self.is_doomed();
        let settled = self.state.order.is_none() && asked.mono >= self.state.since.mono;
        (self.state.intake, self.state.sample) = (Some(intake), Some(sample));
        if !silent {
            self.heal_known();
        }
        match (&mut self.state.phase, self.state.durable.drain.as_ref().map(|d| &d.progress)) {
            // While its stop is under way it may answer, and is as good as stopped all the same.
            (Phase::Reopening { start: start @ true, .. }, _) if !silent && settled => *start = false,
            (Phase::Reopening { start: false, .. }, Some(Progress::Cancelled { .. })) if opened && settled => self.reopened(),
            // One that has no switch is open also while it does not run.
            (Phase::Held { .. }, Some(Progress::Cancelled { stopped, .. })) if opened && settled && !(*stopped && silent) => {
                self.reopened()
            }
            (
                Phase::Closing { .. }
                | Phase::Confirming
                | Phase::Waiting { .. }
                | Phase::Validating
                | Phase::LastLook
                | Phase::Held { .. },
                Some(progress @ (Progress::Stopping | Progress::Stopped)),
            ) => {
                let alive = runs || (*progress == Progress::Stopping && !silent);
                self.stopped_looked(asked, alive);
            }
            (Phase::Closing { .. }, _) if closed => self.enter_confirmed(),
            (Phase::Held { why: HeldWhy::IntakeUnstoppable, .. }, Some(Progress::Draining)) if closed => self.enter_confirmed(),
            // AWS does not wait until a hold is over: an orchestrator that comes up late, or back, takes work at once (F5, F41).
            (Phase::Held { why: HeldWhy::IntakeUnstoppable, .. }, Some(Progress::Draining)) if doomed => self.close_again(),
            // Its end did not come about, and it may live on for long: what was restarted takes work (S14).
            (Phase::Held { .. }, Some(Progress::Accepted { .. })) if finding == Finding::IntakeOpen => self.found_open(),
            (
                Phase::Confirming | Phase::Waiting { .. } | Phase::Validating | Phase::LastLook | Phase::Held { .. },
                Some(Progress::Draining),
            ) => {
                self.found(asked, finding);
            }
            _ => {}
        }
    }

    /// A look at an orchestrator that was told to stop when it had been idle: silence is what is expected of it.
    fn stopped_looked(&mut self, asked: Moment, alive: bool) {
        if alive && self.state.phase.held() == Some(HeldWhy::StopFailed) {
            // It may be stopping still. Whether it is, and whether it has to be told again, is looked at when the hold is over.
            if let Some(Intake::Open) = self.state.intake {
                self.close_again();
            }
            return;
        }
        if alive {
            self.set_progress(Progress::Draining);
            self.state.finding = Some("the orchestrator was stopped and runs again".to_owned());
            self.enter(Phase::Closing { orders: 0, again: self.now });
            return;
        }
        self.state.finding = Some("the orchestrator was stopped when it had been idle".to_owned());
        match self.state.phase {
            Phase::Closing { .. } | Phase::Confirming => self.validate(),
            Phase::LastLook if asked.mono >= self.state.since.mono => self.last_look_passed(),
            _ => {}
        }
    }

    fn found(&mut self, asked: Moment, finding: Finding) {
        match finding {
            Finding::IntakeOpen => self.found_open(),
            Finding::Nothing(what) | Finding::Busy(what) => {
                self.state.finding = Some(what);
                if matches!(self.state.phase, Phase::Waiting { .. } | Phase::Validating | Phase::LastLook) && !self.is_forced() {
                    self.enter(Phase::Confirming);
                }
            }
            Finding::Idle { quiet, samples } => {
                self.state.finding = Some(format!("idle for {} s over {samples} samples", quiet.as_secs()));
                let confirmed = self.state.quiet.is_confirmed(self.policy);
                if let Phase::Confirming = self.state.phase
                    && confirmed
                {
                    self.validate();
                } else if let Phase::LastLook = self.state.phase {
                    if !confirmed {
                        self.enter(Phase::Confirming);
                    } else if asked.mono >= self.state.since.mono {
                        self.last_look_passed();
                    }
                }
            }
        }
    }

    /// A restart opened it again (F5). A drain that holds keeps it closed too: a poller that came back must not poll beside another (S14).
    fn found_open(&mut self) {
        self.state.finding = Some("intake is open, or a new process answered: closing it again".to_owned());
        match self.state.phase.held() {
            None => self.enter(Phase::Closing { orders: 0, again: self.now }),
            Some(HeldWhy::IntakeUnstoppable) => {}
            Some(_) => self.close_again(),
        }
    }

    /// In a hold, which goes on.
    fn close_again(&mut self) {
        if self.may_act() && self.state.ordered.is_none_or(|at| self.now.since(at) >= INTAKE_AGAIN) {
            self.deed(Deed::SetIntake { open: false });
        }
    }

    fn last_look_passed(&mut self) {
        if !self.is_doomed() && self.read_age() > self.policy.stale_bound {
            self.too_old();
            return;
        }
        match self.justification() {
            Some(Justification::Go) => self.terminate(),
            Some(_) => self.judge(),
            None => {}
        }
    }

    fn lower_min(&mut self, to: u32) {
        if self.may_act() {
            self.touch();
            self.deed(Deed::LowerMin { to });
            self.enter(Phase::Lowering);
        }
    }

    fn stop(&mut self) {
        if self.may_act() {
            self.set_progress(Progress::Stopping);
            let grace = self.policy.stop_grace.unwrap_or(HELD_FIRST);
            let left = self.state.ends_at(self.now).map_or(grace, |at| at.since(self.now.wall).saturating_sub(self.policy.margin));
            let doomed = self.state.notices.interruption.is_some();
            self.deed(Deed::StopOrchestrator { grace: grace.min(left), doomed });
            self.enter(Phase::Stopping);
        }
    }

    /// Who said not to wait for work does not wait for a stop either: that is tried once.
    fn not_stopped(&mut self, why: String) {
        if self.is_forced() {
            self.state.unstopped = true;
            self.validate();
        } else {
            self.hold(HeldWhy::StopFailed, why);
        }
    }

    fn done(&mut self, key: Key, result: Result<Receipt, Fault>) {
        let beside = self.hook_done(key, &result)
            || self.protection_done(key, &result)
            || self.permit_done(key, &result)
            || self.recording_done(key);
        if beside || self.state.order.is_none_or(|order| order.key != key) {
            return;
        }
        self.state.order = None;
        self.state.deed_fault = result.as_ref().err().map(|fault| fault.text.clone());
        if self.heal_done(key, &result) {
            self.state.looks.hurry(Kind::Orchestrator);
            return;
        }
        match &mut self.state.phase {
            Phase::Lowering => match result {
                Ok(_) => self.enter(Phase::Validating),
                Err(fault) => self.failed(fault, HeldWhy::MinSize),
            },
            Phase::Stopping => match result {
                Ok(_) => {
                    self.set_progress(Progress::Stopped);
                    self.validate();
                }
                Err(fault) => self.not_stopped(fault.text),
            },
            Phase::Terminating => self.terminated(result),
            Phase::Answering => self.hook_answered(result),
            // The stop that was under way when the drain was called off: only now is there something to start.
            Phase::Reopening { orders: 0, start: true, .. } => {
                self.enter(Phase::Reopening { orders: 0, again: self.now, start: true });
            }
            Phase::Reopening { start, .. } if *start => *start = result.is_err(),
            _ => {}
        }
        self.state.looks.hurry(Kind::Orchestrator);
    }

    /// A deed that was not done: start over from the evidence after a while, or hold when only somebody else can help.
    pub(super) fn failed(&mut self, fault: Fault, refused: HeldWhy) {
        match fault.what {
            FaultKind::NotNow | FaultKind::OutcomeUnknown => self.again(fault.text),
            FaultKind::Denied => self.hold(HeldWhy::Denied, fault.text),
            FaultKind::Refused | FaultKind::Broken => self.hold(refused, fault.text),
        }
    }

    /// What AWS ends at a time of its own is cut short a stop's grace and a margin before.
    fn deadline(&mut self) {
        let spare = self.policy.margin + self.policy.stop_grace.unwrap_or_default();
        let over = self.state.ends_at(self.now).is_some_and(|at| self.now.wall.plus(spare) >= at);
        let before = matches!(self.progress(), Some(Progress::Draining | Progress::Stopping))
            && !matches!(self.state.phase, Phase::Stopping | Phase::Answering);
        if over && before && !self.is_forced() {
            self.force();
            return;
        }
        let Some(deadline) = self.policy.deadline else { return };
        let past = self.state.age.is_some_and(|age| age.at(self.now) >= deadline);
        // Idle at last, it is not held up: the next look is on its way.
        let waits = matches!(self.state.phase, Phase::Confirming | Phase::Closing { .. }) && !self.state.quiet.is_confirmed(self.policy);
        if !past || !waits || self.is_forced() {
            return;
        }
        match self.policy.at_deadline {
            AtDeadline::Force => self.force(),
            AtDeadline::Retain if self.may_abandon() => self.force(),
            AtDeadline::Retain | AtDeadline::Hold => {
                let text = self.state.finding.clone().unwrap_or_else(|| "nothing is known of its work".to_owned());
                self.hold(HeldWhy::Deadline, text);
            }
        }
    }

    /// What is still in flight is waited for no longer.
    fn force(&mut self) {
        if let Some(drain) = self.state.durable.drain.as_mut() {
            drain.forced = true;
        }
        self.touch();
        self.validate();
    }

    /// Asks fresh reads whether the instance may end; what AWS ends needs none.
    fn validate(&mut self) {
        self.enter(Phase::Validating);
        if self.is_doomed() {
            self.judge();
        }
    }

    pub(super) fn start(&mut self, reason: Reason, forced: bool) {
        if self.policy.dry_run {
            self.state.finding = Some(format!("dry run: would drain, {reason}"));
            return;
        }
        let generation = self.state.group.as_ref().map(|(_, g)| generation(&g.tags)).unwrap_or_default();
        let doomed = matches!(reason, Reason::TargetTerminated | Reason::Interrupted { .. }).then_some(self.now.wall);
        let progress = Progress::Draining;
        let unproven = forced && matches!(reason, Reason::Unhealthy { .. });
        self.state.durable.drain = Some(Drain { reason, started: self.now.wall, generation, forced, unproven, progress, doomed });
        self.state.age = Some(Age::from(self.now));
        self.state.doomed_age = doomed.and(self.state.age);
        self.touch();
        self.state.quiet = Quiet::default();
        self.state.held_count = 0;
        self.state.unstopped = false;
        self.enter(Phase::Closing { orders: 0, again: self.now });
    }

    /// The same drain from its beginning, under the group's new generation; soak and deadline count anew.
    fn anew(&mut self) {
        match (self.progress(), self.reason().cloned()) {
            (Some(Progress::Draining), Some(reason)) => {
                if let Reason::Superseded { by } = &reason {
                    self.note_capacity(by);
                }
                self.start(reason, false);
            }
            _ => self.cancel("a rollback came and went while the orchestrator was stopped".to_owned()),
        }
    }

    fn close_intake(&mut self, orders: u32) {
        if !self.may_act() {
            return;
        }
        if matches!(self.state.intake, Some(Intake::NoSwitch)) {
            self.enter_confirmed();
        } else if orders < INTAKE_ORDERS {
            self.deed(Deed::SetIntake { open: false });
            self.state.phase = Phase::Closing { orders: orders + 1, again: self.now.plus(INTAKE_AGAIN) };
        } else if self.is_forced() {
            self.validate();
        } else {
            let text = match (&self.state.intake, &self.state.deed_fault) {
                (Some(Intake::Unknown { why }), _) => format!("told {orders} times; it cannot be read back: {why}"),
                (_, Some(fault)) => format!("told {orders} times; still open: {fault}"),
                _ => format!("told {orders} times; still open"),
            };
            self.hold(HeldWhy::IntakeUnstoppable, text);
        }
    }

    /// From a hold: the evidence has to be complete again before anything is asked anew.
    fn try_again(&mut self) {
        if let (Some(HeldWhy::Rollback), Some(Justification::Hold(HeldWhy::Rollback, text))) =
            (self.state.phase.held(), self.justification())
        {
            self.hold(HeldWhy::Rollback, text);
            return;
        }
        match self.progress() {
            Some(Progress::Cancelled { stopped, .. }) => self.enter(Phase::Reopening { orders: 0, again: self.now, start: stopped }),
            Some(Progress::Accepted { .. }) => self.enter(Phase::Ending { absent: 0, alive: STILL_ALIVE_READS - 1 }),
            Some(Progress::Draining | Progress::Stopping | Progress::Stopped | Progress::Intent { .. }) | None => {
                self.enter(Phase::Closing { orders: 0, again: self.now.plus(INTAKE_AGAIN) });
                self.state.looks.hurry(Kind::Orchestrator);
            }
        }
    }

    /// Idle was confirmed before; if it still is, the next question, else the evidence first.
    fn enter_confirmed(&mut self) {
        let stopped = matches!(self.progress(), Some(Progress::Stopping | Progress::Stopped));
        if self.state.quiet.is_confirmed(self.policy) || self.is_forced() || stopped {
            self.validate();
        } else {
            self.enter(Phase::Confirming);
        }
    }

    /// Waits, longer each time, and asks anew.
    pub(super) fn again(&mut self, why: String) {
        self.state.held_count = self.state.held_count.saturating_add(1);
        let wait = self.policy.stale_bound * 2 * (1_u32 << self.state.held_count.min(6));
        let wait = look::jittered(wait.min(HELD_LONGEST), &self.state.own, self.state.held_count);
        self.enter(Phase::Waiting { why, until: self.now.plus(wait) });
    }

    pub(super) fn hold(&mut self, why: HeldWhy, text: String) {
        if self.state.held_before != Some(why) {
            self.state.held_count = 0;
        }
        self.state.held_before = Some(why);
        let wait = HELD_FIRST * (1_u32 << self.state.held_count.min(5));
        self.state.held_count = self.state.held_count.saturating_add(1);
        let wait = look::jittered(wait.min(HELD_LONGEST), &self.state.own, self.state.held_count);
        self.enter(Phase::Held { why, text, until: self.now.plus(wait) });
    }

    /// True when a deed may go out: none is under way, and the owner allows any. Holds when the owner does not.
    pub(super) fn may_act(&mut self) -> bool {
        if self.policy.dry_run {
            if self.state.phase.held() != Some(HeldWhy::DryRun) {
                self.hold(HeldWhy::DryRun, "dry_run was set while a drain was under way".to_owned());
            }
            return false;
        }
        self.state.order.is_none()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state.durable.drain.as_ref().is_some_and(|d| d.progress.is_stopped())
    }

    fn must_stop(&self) -> bool {
        let unstopped = self.state.unstopped && self.is_forced();
        match self.progress() {
            Some(Progress::Stopping) => !unstopped,
            Some(Progress::Draining) => self.policy.stop_grace.is_some() && !unstopped && !self.abandons(),
            Some(Progress::Stopped | Progress::Intent { .. } | Progress::Accepted { .. } | Progress::Cancelled { .. }) | None => false,
        }
    }

    pub(super) fn is_forced(&self) -> bool {
        self.state.durable.drain.as_ref().is_some_and(|d| d.forced)
    }

    /// AWS ends the instance, whatever we do.
    pub(super) fn is_doomed(&self) -> bool {
        matches!(self.reason(), Some(Reason::TargetTerminated | Reason::Interrupted { .. }))
    }

    pub(super) fn is_superseded(&self) -> bool {
        matches!(self.reason(), Some(Reason::Superseded { .. }))
    }

    pub(super) fn reason(&self) -> Option<&Reason> {
        self.state.durable.drain.as_ref().map(|d| &d.reason)
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        self.state.durable.drain.as_ref().map(|d| d.progress.clone())
    }

    pub(super) fn set_progress(&mut self, progress: Progress) {
        if let Some(drain) = self.state.durable.drain.as_mut() {
            drain.progress = progress;
        }
        self.touch();
    }

    /// The durable part changed: the daemon writes it before it acts.
    pub(super) fn touch(&mut self) {
        self.state.durable.version += 1;
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.state.phase = phase;
        self.state.since = self.now;
    }

    pub(super) fn deed(&mut self, deed: Deed) {
        let reason = self.reason().map(Reason::to_string).unwrap_or_default();
        self.deed_because(deed, reason);
    }

    pub(super) fn deed_because(&mut self, deed: Deed, reason: String) {
        self.state.order = Some(self.send(deed, reason));
        self.state.ordered = Some(self.now);
    }

    /// Sends a deed that is not the drain's own: it may be under way beside one.
    pub(super) fn send(&mut self, deed: Deed, reason: String) -> Order {
        let key = self.key();
        self.out.actions.push(Action { key, what: What::Deed { deed, reason } });
        Order { key, at: self.now }
    }

    fn key(&mut self) -> Key {
        self.state.next_key += 1;
        Key(self.state.next_key)
    }

    fn read<T>(&mut self, kind: Kind, key: Key, read: Result<T, Fault>) -> Option<(Moment, T)> {
        let asked = self.state.looks.answered(kind, key, read.is_ok())?;
        match read {
            Ok(value) => {
                if self.state.fault_of == Some(kind) {
                    (self.state.fault, self.state.fault_of) = (None, None);
                }
                Some((asked, value))
            }
            Err(fault) => {
                let needed = matches!((kind, &self.state.phase), (Kind::Group | Kind::Cluster, Phase::Validating));
                if needed && fault.what == FaultKind::Denied {
                    self.hold(HeldWhy::Denied, fault.text.clone());
                }
                (self.state.fault, self.state.fault_of) = (Some(fault.text), Some(kind));
                None
            }
        }
    }

    fn target(&mut self, target: Option<LifecycleState>) {
        let back = if target == Some(LifecycleState::InService) { self.state.target_back.saturating_add(1) } else { 0 };
        self.state.target_back = back;
        self.state.target = target;
        let works = self.state.durable.drain.is_none();
        match (&self.state.target, self.reason()) {
            (Some(LifecycleState::Terminated), _) => self.overrule(Reason::TargetTerminated),
            (Some(LifecycleState::Standby), _) if works => self.start(Reason::Standby, false),
            (Some(target), _) if works && target.is_warmed() => self.start(Reason::Warmed, false),
            (_, Some(Reason::TargetTerminated | Reason::Warmed)) if back >= BACK_READS => {
                self.is_spared("the target lifecycle state is InService again".to_owned());
            }
            _ => {}
        }
    }
}
