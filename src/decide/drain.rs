//! The protocol of a drain: detect → close intake, read it back → settle → idle over the quiet time → justified by fresh reads → (min,
//! stop) → last look → intent on disk → one terminate call → follow it. Each arrow is a method here; each phase says when it looks again.

use std::time::Duration;

use crate::model::Group;
use crate::model::Intake;
use crate::model::LifecycleState;
use crate::model::Moment;
use crate::model::Sample;
use crate::model::generation;

use super::Outcome;
use super::action::Action;
use super::action::Deed;
use super::action::Key;
use super::action::Look;
use super::action::What;
use super::justify;
use super::justify::Justification;
use super::look;
use super::look::Kind;
use super::observation::Answer;
use super::observation::Fault;
use super::observation::FaultKind;
use super::observation::OwnRead;
use super::observation::Receipt;
use super::observation::TaskRead;
use super::policy::AtDeadline;
use super::policy::Policy;
use super::quiet::Finding;
use super::schedule::followed_task;
use super::schedule::wanted;
use super::state::Drain;
use super::state::HeldWhy;
use super::state::Phase;
use super::state::Progress;
use super::state::Reason;
use super::state::State;
use super::state::Veto;
use super::status::Command;
use super::superseded;

/// Between two orders to the intake switch, and between looks for their effect.
const INTAKE_AGAIN: Duration = Duration::from_secs(10);
/// Orders to close intake without a read-back before the agent holds (F11).
const INTAKE_ORDERS: u32 = 3;
/// First and longest time between two tries of a held drain (L7).
const HELD_FIRST: Duration = Duration::from_secs(30);
const HELD_LONGEST: Duration = Duration::from_secs(600);
/// Between reads of our own entry while AWS ends us.
pub const FOLLOW_EVERY: Duration = Duration::from_secs(10);
/// Reads in a row that must show us alive before a terminate call of unknown outcome counts as not done.
const ALIVE_READS: u32 = 2;
/// An order whose answer never came is taken for one of unknown outcome after this long; the daemon's own limits are shorter.
pub const ORDER_LOST: Duration = Duration::from_secs(180);

/// One step in the making.
pub struct Step<'a> {
    state: &'a mut State,
    policy: &'a Policy,
    now: Moment,
    out: Outcome,
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
                Kind::Own => Look::Own { activities: matches!(self.state.phase, Phase::Ending | Phase::Uncertain { .. }) },
                Kind::Group => Look::Group,
                Kind::Cluster => Look::Cluster,
                Kind::Orchestrator => Look::Orchestrator,
                Kind::Task => match followed_task(self.state) {
                    Some(task) => Look::Task(task.to_owned()),
                    None => continue,
                },
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
            Answer::Own(read) => {
                if let Some((asked, own)) = self.read(Kind::Own, key, read) {
                    self.own(asked, own);
                }
            }
            Answer::Group(read) => {
                if let Some((asked, Some(group))) = self.read(Kind::Group, key, read) {
                    self.groups(asked, vec![group], false);
                }
            }
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
            Answer::Task(read) => {
                if let Some((_, task)) = self.read(Kind::Task, key, read) {
                    self.task(task);
                }
            }
            Answer::Done(result) => self.done(key, result),
        }
    }

    /// An operator asks.
    pub fn asked(&mut self, command: Command) {
        match command {
            Command::Drain { by, reason, force } => self.drain_asked(by, reason, force),
            Command::Undrain { by } => self.undrain_asked(by),
        }
    }

    /// The daemon could not write the journal: the deeds of the last step were not done (F46).
    pub fn journal_lost(&mut self, why: String) {
        let undone = match &self.state.phase {
            Phase::Terminating { .. } | Phase::Stopping { .. } | Phase::Lowering { .. } => true,
            Phase::Closing { .. }
            | Phase::Confirming
            | Phase::Validating
            | Phase::Waiting { .. }
            | Phase::LastLook
            | Phase::Held { .. } => self.state.durable.drain.is_some(),
            Phase::Working | Phase::Uncertain { .. } | Phase::Ending | Phase::Gone | Phase::Reopening { .. } => false,
        };
        if !undone {
            self.state.fault = Some(format!("journal: {why}"));
            return;
        }
        self.not_sent();
        self.hold(HeldWhy::Journal, why);
    }

    /// What time alone brings about.
    pub fn timers(&mut self) {
        self.deadline();
        match self.state.phase.clone() {
            Phase::Closing { order, orders, again } if self.now.mono >= again.mono => self.close_intake(order, orders),
            Phase::Waiting { until, .. } if self.now.mono >= until.mono => self.enter_confirmed(),
            Phase::Held { until, .. } if self.now.mono >= until.mono => self.try_again(),
            Phase::Reopening { order, again, start } if self.now.mono >= again.mono => self.reopen(order, start),
            Phase::Terminating { .. } if self.since() >= ORDER_LOST => self.uncertain(),
            Phase::Lowering { .. } if self.since() >= ORDER_LOST => self.enter(Phase::Validating),
            Phase::Stopping { .. } if self.since() >= ORDER_LOST.max(self.policy.stop_grace.unwrap_or_default() * 2) => {
                self.hold(HeldWhy::StopFailed, "the stop was never answered".to_owned());
            }
            Phase::Working
            | Phase::Closing { .. }
            | Phase::Confirming
            | Phase::Validating
            | Phase::Waiting { .. }
            | Phase::Lowering { .. }
            | Phase::Stopping { .. }
            | Phase::LastLook
            | Phase::Terminating { .. }
            | Phase::Uncertain { .. }
            | Phase::Ending
            | Phase::Gone
            | Phase::Held { .. }
            | Phase::Reopening { .. } => {}
        }
    }

    fn target(&mut self, target: Option<LifecycleState>) {
        let draining_for_it = matches!(self.reason(), Some(Reason::TargetTerminated));
        if target == Some(LifecycleState::Terminated) {
            self.state.target_changed = 0;
            match self.state.durable.drain.as_mut() {
                None => self.start(Reason::TargetTerminated, false),
                Some(drain)
                    if drain.reason != Reason::TargetTerminated && matches!(drain.progress, Progress::Draining | Progress::Stopped) =>
                {
                    drain.reason = Reason::TargetTerminated;
                    self.touch();
                }
                Some(_) => {}
            }
        } else if draining_for_it && !matches!(self.state.phase, Phase::Gone | Phase::Reopening { .. }) {
            self.state.target_changed += 1;
            if self.state.target_changed >= 2 && target == Some(LifecycleState::InService) {
                self.cancel("the target lifecycle state is InService again".to_owned());
            }
        }
        self.state.target = target;
    }

    fn own(&mut self, asked: Moment, read: OwnRead) {
        if let Some(entry) = &read.entry {
            self.state.group_name = Some(entry.group.clone());
        }
        let ending = read.entry.as_ref().is_some_and(|e| e.state.is_ending());
        let gone = read.entry.as_ref().is_none_or(|e| e.state == LifecycleState::Terminated);
        if let Phase::Ending = self.state.phase {
            let failed = read.ending.as_ref().filter(|a| a.failed && !ending);
            if gone {
                self.enter(Phase::Gone);
            } else if let Some(failed) = failed {
                let text = failed.text.clone();
                self.set_progress(Progress::Draining);
                self.hold(HeldWhy::EndingFailed, text);
            } else {
                let state = read.entry.map(|e| e.state.to_string());
                self.state.finding = Some([state, read.ending.map(|a| a.text)].into_iter().flatten().collect::<Vec<_>>().join("; "));
            }
        } else if let Phase::Uncertain { from, alive_reads } = self.state.phase {
            let activity = read.ending.filter(|a| !a.failed).map(|a| a.id);
            if ending || gone || activity.is_some() {
                self.accepted(activity.unwrap_or_default(), false);
            } else if asked.mono >= from.mono && alive_reads + 1 < ALIVE_READS {
                self.state.phase = Phase::Uncertain { from, alive_reads: alive_reads + 1 };
            } else if asked.mono >= from.mono {
                self.not_sent();
                self.state.finding = Some("the terminate call was not carried out".to_owned());
                self.enter(Phase::Confirming);
            }
        }
    }

    fn groups(&mut self, asked: Moment, groups: Vec<Group>, whole_cluster: bool) {
        let Some(name) = self.state.group_name.clone() else { return };
        if let Some(ours) = groups.iter().find(|g| g.name == name) {
            self.state.group = Some((asked, ours.clone()));
        }
        let mut over = false;
        if whole_cluster {
            let verdict = superseded::judge(self.policy, &name, &groups);
            over = matches!(verdict, superseded::Verdict::No(_));
            let by = self.state.agreement.read(self.policy, asked, &verdict);
            self.state.cluster = Some((asked, groups));
            if let Some(by) = by {
                self.superseded(by);
            }
        } else if self.state.group.as_ref().is_some_and(|(_, g)| !g.is_disabled()) && !self.policy.retired {
            over = true;
            self.state.agreement.forget();
        }
        if over && self.state.durable.veto.take().is_some() {
            self.touch();
        }
        if let Phase::Validating = self.state.phase {
            if asked.mono >= self.state.since.mono {
                self.judge();
            }
        } else if let Phase::Closing { .. } | Phase::Confirming | Phase::Waiting { .. } | Phase::Held { .. } = self.state.phase {
            self.watch_for_cancel();
        }
    }

    fn superseded(&mut self, by: crate::model::GroupName) {
        let held = self.state.group.as_ref().is_none_or(|(_, g)| justify::hold_on(g, self.now.wall).is_some());
        let vetoed = self.state.durable.veto.as_ref().is_some_and(|v| v.successor.as_ref().is_none_or(|s| *s == by));
        if self.state.durable.drain.is_none() && !held && !vetoed {
            self.start(Reason::Superseded { by }, false);
        }
    }

    /// A hold, a newer generation or the end of the reason calls a drain off at any time before the terminate call, not only at the end.
    fn watch_for_cancel(&mut self) {
        match self.justification() {
            Some(Justification::Cancel(why)) => self.cancel(why),
            Some(Justification::Anew) => self.anew(),
            Some(Justification::Ending) => self.ending_by_itself(),
            Some(Justification::Hold(HeldWhy::Rollback, held)) => {
                if self.state.phase.held() != Some(HeldWhy::Rollback) {
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
        match justification {
            Justification::Go if self.must_stop() => self.stop(),
            Justification::Go if self.is_forced() => self.terminate(),
            Justification::Go => self.enter(Phase::LastLook),
            Justification::LowerMin { to } => {
                let order = self.deed(Deed::LowerMin { to });
                self.touch();
                self.enter(Phase::Lowering { order });
            }
            Justification::Wait { why, until } => {
                let wait = until.since(self.now.wall).max(Duration::from_millis(50));
                self.enter(Phase::Waiting { why, until: self.later(wait) });
            }
            Justification::Hold(why, text) => self.hold(why, text),
            Justification::Cancel(why) => self.cancel(why),
            Justification::Anew => self.anew(),
            Justification::Ending => self.ending_by_itself(),
            Justification::NoAnswer(why) => {
                let until = self.later(self.policy.stale_bound * 2);
                self.enter(Phase::Waiting { why, until });
            }
        }
    }

    fn justification(&self) -> Option<Justification> {
        let (drain, name) = (self.state.durable.drain.as_ref()?, self.state.group_name.as_ref()?);
        if drain.reason == Reason::TargetTerminated {
            return Some(Justification::Go);
        }
        let superseded = matches!(drain.reason, Reason::Superseded { .. });
        let groups = match (&self.state.cluster, &self.state.group) {
            (Some((_, cluster)), _) if superseded => cluster.as_slice(),
            (_, Some((_, group))) => std::slice::from_ref(group),
            _ => return None,
        };
        Some(justify::justify(self.policy, drain, &self.state.own, name, groups, self.now.wall))
    }

    fn orchestrator(&mut self, asked: Moment, intake: Intake, sample: Sample) {
        let unknown = matches!(sample.activity, crate::model::Activity::Unknown { .. });
        self.state.unknown_since = if unknown { self.state.unknown_since.or(Some(asked)) } else { None };
        let silent = unknown && matches!(intake, Intake::Unknown { .. } | Intake::NoSwitch);
        let finding = self.state.quiet.look(self.policy, asked, &intake, &sample);
        self.state.intake = Some(intake.clone());
        self.state.sample = Some(sample);
        match self.state.phase.clone() {
            Phase::Reopening { .. } if matches!(intake, Intake::Open | Intake::NoSwitch) => self.reopened(),
            Phase::Closing { .. } if matches!(intake, Intake::Closed | Intake::NoSwitch) => self.enter_confirmed(),
            Phase::Closing { .. }
            | Phase::Confirming
            | Phase::Waiting { .. }
            | Phase::Validating
            | Phase::LastLook
            | Phase::Held { .. }
                if self.is_stopped() =>
            {
                if !silent {
                    self.set_progress(Progress::Draining);
                    self.enter(Phase::Confirming);
                } else if matches!(self.state.phase, Phase::Closing { .. } | Phase::Confirming) {
                    self.state.finding = Some("the orchestrator was stopped when it had been idle".to_owned());
                    self.enter_confirmed();
                } else if matches!(self.state.phase, Phase::LastLook) && asked.mono >= self.state.since.mono {
                    self.last_look_passed();
                }
            }
            Phase::Confirming | Phase::Waiting { .. } | Phase::Validating | Phase::LastLook | Phase::Held { .. } => {
                self.found(asked, finding)
            }
            Phase::Working
            | Phase::Closing { .. }
            | Phase::Lowering { .. }
            | Phase::Stopping { .. }
            | Phase::Terminating { .. }
            | Phase::Uncertain { .. }
            | Phase::Ending
            | Phase::Gone
            | Phase::Reopening { .. } => {}
        }
    }

    fn found(&mut self, asked: Moment, finding: Finding) {
        if self.state.durable.drain.is_none() {
            return;
        }
        let held = matches!(self.state.phase, Phase::Held { .. });
        match finding {
            Finding::IntakeOpen => {
                self.state.finding = Some("intake is open, or a new process answered: closing it again".to_owned());
                if !held {
                    self.enter(Phase::Closing { order: None, orders: 0, again: self.now });
                }
            }
            Finding::Nothing(why) => self.not_idle(why),
            Finding::Busy(what) => self.not_idle(what),
            Finding::Idle { quiet, samples } => {
                self.state.finding = Some(format!("idle for {} s over {samples} samples", quiet.as_secs()));
                let confirmed = self.state.quiet.is_confirmed(self.policy);
                if let Phase::Confirming = self.state.phase
                    && confirmed
                {
                    self.enter(Phase::Validating);
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

    fn not_idle(&mut self, what: String) {
        self.state.finding = Some(what);
        let forced = self.is_forced();
        if matches!(self.state.phase, Phase::Waiting { .. } | Phase::Validating | Phase::LastLook) && !forced {
            self.enter(Phase::Confirming);
        }
    }

    /// The reads that justified this are as old as the last look was long: beyond the staleness bound they are asked for again (F49).
    fn last_look_passed(&mut self) {
        if self.since() > self.policy.stale_bound {
            self.enter(Phase::Validating);
            return;
        }
        match self.justification() {
            Some(Justification::Go) => self.terminate(),
            Some(
                Justification::LowerMin { .. }
                | Justification::Wait { .. }
                | Justification::Hold(..)
                | Justification::Cancel(_)
                | Justification::Anew
                | Justification::Ending
                | Justification::NoAnswer(_),
            )
            | None => self.judge(),
        }
    }

    fn terminate(&mut self) {
        if matches!(self.reason(), Some(Reason::TargetTerminated)) {
            self.ending_by_itself();
            return;
        }
        let stopped = self.is_stopped();
        let drain = self.state.durable.drain.as_ref().map(|d| d.started).unwrap_or_default();
        self.set_progress(Progress::Intent { at: self.now.wall, stopped });
        let order = self.deed(Deed::TerminateOwn { drain });
        self.enter(Phase::Terminating { order });
    }

    fn stop(&mut self) {
        self.touch();
        let order = self.deed(Deed::StopOrchestrator { grace: self.policy.stop_grace.unwrap_or_default() });
        self.enter(Phase::Stopping { order });
    }

    fn done(&mut self, key: Key, result: Result<Receipt, Fault>) {
        if let Err(fault) = &result {
            self.state.fault = Some(fault.text.clone());
        }
        match self.state.phase {
            Phase::Closing { ref mut order, .. } if *order == Some(key) => {
                *order = None;
                self.state.looks.hurry(Kind::Orchestrator);
            }
            Phase::Reopening { ref mut order, ref mut start, .. } if *order == Some(key) => {
                *order = None;
                *start = *start && result.is_err();
                self.state.looks.hurry(Kind::Orchestrator);
            }
            Phase::Lowering { order } if order == key => match result {
                Ok(_) => self.enter(Phase::Validating),
                Err(fault) => self.failed(fault, HeldWhy::MinSize),
            },
            Phase::Stopping { order } if order == key => match result {
                Ok(_) => {
                    self.set_progress(Progress::Stopped);
                    self.enter(Phase::Validating);
                }
                Err(fault) => self.hold(HeldWhy::StopFailed, fault.text),
            },
            Phase::Terminating { order } if order == key => self.terminated(result),
            // The answer to an order that this phase did not give: too late to mean anything.
            _ => {}
        }
    }

    fn terminated(&mut self, result: Result<Receipt, Fault>) {
        match result {
            Ok(Receipt::Task(task)) => self.accepted(task, true),
            Ok(Receipt::Activity(activity)) => self.accepted(activity, false),
            Ok(Receipt::Done) => self.accepted(String::new(), false),
            Err(fault) if fault.what == FaultKind::OutcomeUnknown => self.uncertain(),
            Err(fault) => {
                self.not_sent();
                let suspended = self.state.group.as_ref().is_some_and(|(_, g)| justify::terminate_suspended(g));
                let at_min = self.state.group.as_ref().is_some_and(|(_, g)| g.capacity.desired <= g.capacity.min + 1);
                let refused = match (suspended, at_min) {
                    (_, true) if fault.text.to_ascii_lowercase().contains("min size") => HeldWhy::MinSize,
                    (true, _) => HeldWhy::TerminateSuspended,
                    (false, _) => HeldWhy::TerminateRefused,
                };
                self.failed(fault, refused);
            }
        }
    }

    /// A deed that was not done: wait and start over from the evidence, or hold when only somebody else can help.
    fn failed(&mut self, fault: Fault, refused: HeldWhy) {
        match fault.what {
            FaultKind::NotNow | FaultKind::OutcomeUnknown => {
                self.state.held_count = self.state.held_count.saturating_add(1);
                let until = self.later(look::jittered(self.policy.stale_bound * 2, &self.state.own, self.state.held_count));
                self.enter(Phase::Waiting { why: fault.text, until });
            }
            FaultKind::Denied => self.hold(HeldWhy::Denied, fault.text),
            FaultKind::Refused | FaultKind::Broken => self.hold(refused, fault.text),
        }
    }

    fn task(&mut self, task: TaskRead) {
        if !matches!(self.state.phase, Phase::Ending) {
            return;
        }
        match task {
            TaskRead::Running => self.state.finding = Some("Spinnaker's task is running".to_owned()),
            TaskRead::Succeeded => self.state.finding = Some("Spinnaker's task succeeded".to_owned()),
            TaskRead::Failed(why) => {
                self.set_progress(Progress::Draining);
                self.hold(HeldWhy::EndingFailed, why);
            }
        }
    }

    fn accepted(&mut self, reference: String, task: bool) {
        self.set_progress(Progress::Accepted { reference, task });
        self.enter(Phase::Ending);
    }

    /// AWS ends the instance without our asking: nothing more is asked of it (F33).
    fn ending_by_itself(&mut self) {
        self.accepted(String::new(), false);
    }

    fn uncertain(&mut self) {
        let from = self.later(justify::settling_of_an_unknown(self.policy));
        self.enter(Phase::Uncertain { from, alive_reads: 0 });
    }

    fn deadline(&mut self) {
        let Some(deadline) = self.policy.deadline else { return };
        let Some(drain) = &self.state.durable.drain else { return };
        if drain.forced
            || self.now.wall.since(drain.started) < deadline
            || !matches!(self.state.phase, Phase::Confirming | Phase::Closing { .. })
        {
            return;
        }
        match self.policy.at_deadline {
            AtDeadline::Force => {
                if let Some(drain) = self.state.durable.drain.as_mut() {
                    drain.forced = true;
                }
                self.touch();
                self.enter(Phase::Validating);
            }
            AtDeadline::Hold => {
                let text = self.state.finding.clone().unwrap_or_else(|| "nothing is known of its work".to_owned());
                self.hold(HeldWhy::Deadline, text);
            }
        }
    }

    fn drain_asked(&mut self, by: String, reason: String, force: bool) {
        if self.policy.dry_run {
            self.out.refusal = Some("dry_run is set: this agent changes nothing".to_owned());
            return;
        }
        let Some((_, group)) = &self.state.group else {
            self.out.refusal = Some("the agent has not seen its group yet; see `bellrock status`".to_owned());
            return;
        };
        if let Some(why) = justify::preflight(group, &self.state.own, self.now.wall) {
            self.out.refusal = Some(why);
            return;
        }
        match &mut self.state.durable.drain {
            None => {
                self.state.durable.veto = None;
                self.start(Reason::Operator { by, why: reason }, force);
            }
            Some(Drain { progress: Progress::Draining | Progress::Stopped, forced, .. }) if force && !*forced => {
                *forced = true;
                self.touch();
                self.enter(Phase::Validating);
            }
            Some(_) => {}
        }
    }

    fn undrain_asked(&mut self, by: String) {
        let successor = match self.reason() {
            Some(Reason::Superseded { by }) => Some(by.clone()),
            Some(Reason::Operator { .. }) => None,
            Some(Reason::TargetTerminated) => {
                self.out.refusal = Some("Auto Scaling is ending this instance; that cannot be called off from here".to_owned());
                return;
            }
            None => {
                self.out.refusal = Some("no drain is under way".to_owned());
                return;
            }
        };
        match self.progress() {
            Some(Progress::Draining | Progress::Stopped) => {
                self.state.durable.veto = successor.map(|s| Veto { by: by.clone(), successor: Some(s) });
                self.cancel(format!("{by} called it off"));
            }
            Some(Progress::Cancelled { .. }) | None => {}
            Some(Progress::Intent { .. } | Progress::Accepted { .. }) => {
                self.out.refusal = Some("the terminate call is out; it cannot be called back".to_owned());
            }
        }
    }

    fn start(&mut self, reason: Reason, forced: bool) {
        if self.policy.dry_run {
            self.state.finding = Some(format!("dry run: would drain, {reason}"));
            return;
        }
        let generation = self.state.group.as_ref().map(|(_, g)| generation(&g.tags)).unwrap_or_default();
        self.state.durable.drain = Some(Drain { reason, started: self.now.wall, generation, forced, progress: Progress::Draining });
        self.touch();
        self.state.quiet = Default::default();
        self.state.held_count = 0;
        self.enter(Phase::Closing { order: None, orders: 0, again: self.now });
    }

    /// The same drain from its beginning, under the group's new generation; soak and deadline count anew.
    fn anew(&mut self) {
        if let Some(Progress::Draining) = self.progress()
            && let Some(reason) = self.reason().cloned()
        {
            self.start(reason, false);
        } else {
            self.cancel("a rollback came and went while the orchestrator was stopped".to_owned());
        }
    }

    fn cancel(&mut self, why: String) {
        let before_the_call = matches!(self.progress(), Some(Progress::Draining | Progress::Stopped));
        if !before_the_call {
            return;
        }
        let stopped = self.is_stopped() || matches!(self.state.phase, Phase::Stopping { .. });
        self.set_progress(Progress::Cancelled { why, stopped });
        self.state.quiet = Default::default();
        self.enter(Phase::Reopening { order: None, again: self.now, start: stopped });
    }

    fn reopened(&mut self) {
        self.state.durable.drain = None;
        self.touch();
        self.state.agreement.forget();
        self.enter(Phase::Working);
    }

    fn close_intake(&mut self, pending: Option<Key>, orders: u32) {
        if matches!(self.state.intake, Some(Intake::NoSwitch)) {
            self.enter(Phase::Confirming);
            return;
        }
        if pending.is_none() && orders >= INTAKE_ORDERS {
            let text = match (&self.state.intake, &self.state.fault) {
                (Some(Intake::Unknown { why }), _) => format!("told {orders} times; it cannot be read back: {why}"),
                (_, Some(fault)) => format!("told {orders} times; still open: {fault}"),
                _ => format!("told {orders} times; still open"),
            };
            if self.is_forced() {
                self.enter(Phase::Validating);
            } else {
                self.hold(HeldWhy::IntakeUnstoppable, text);
            }
            return;
        }
        let order = self.deed(Deed::SetIntake { open: false });
        self.state.phase = Phase::Closing { order: Some(order), orders: orders + 1, again: self.later(INTAKE_AGAIN) };
    }

    fn reopen(&mut self, _pending: Option<Key>, start: bool) {
        let deed = if start { Deed::StartOrchestrator } else { Deed::SetIntake { open: true } };
        let order = self.deed(deed);
        self.state.phase = Phase::Reopening { order: Some(order), again: self.later(INTAKE_AGAIN), start };
    }

    /// From a hold: the evidence has to be complete again before anything is asked anew.
    fn try_again(&mut self) {
        self.enter(Phase::Closing { order: None, orders: 0, again: self.later(INTAKE_AGAIN) });
        self.state.looks.hurry(Kind::Orchestrator);
    }

    /// A terminate call that was intended did nothing: the drain stands where it stood before.
    fn not_sent(&mut self) {
        if let Some(Progress::Intent { stopped, .. }) = self.progress() {
            self.set_progress(if stopped { Progress::Stopped } else { Progress::Draining });
        }
    }

    /// Idle was confirmed before; if it still is, the next question, else the evidence first.
    fn enter_confirmed(&mut self) {
        if self.state.quiet.is_confirmed(self.policy) || self.is_forced() || self.is_stopped() {
            self.enter(Phase::Validating);
        } else {
            self.enter(Phase::Confirming);
        }
    }

    fn hold(&mut self, why: HeldWhy, text: String) {
        let stretch = 1_u32 << self.state.held_count.min(5);
        self.state.held_count = self.state.held_count.saturating_add(1);
        let wait = look::jittered((HELD_FIRST * stretch).min(HELD_LONGEST), &self.state.own, self.state.held_count);
        self.enter(Phase::Held { why, text, until: self.later(wait) });
    }

    fn must_stop(&self) -> bool {
        self.policy.stop_grace.is_some() && !self.is_stopped()
    }

    fn is_stopped(&self) -> bool {
        matches!(self.state.durable.drain.as_ref().map(|d| &d.progress), Some(Progress::Stopped | Progress::Intent { stopped: true, .. }))
    }

    fn is_forced(&self) -> bool {
        self.state.durable.drain.as_ref().is_some_and(|d| d.forced)
    }

    fn reason(&self) -> Option<&Reason> {
        self.state.durable.drain.as_ref().map(|d| &d.reason)
    }

    fn progress(&self) -> Option<Progress> {
        self.state.durable.drain.as_ref().map(|d| d.progress.clone())
    }

    fn set_progress(&mut self, progress: Progress) {
        if let Some(drain) = self.state.durable.drain.as_mut() {
            drain.progress = progress;
        }
        self.touch();
    }

    /// The durable part changed: the daemon writes it before it acts.
    fn touch(&mut self) {
        self.state.durable.version += 1;
    }

    fn enter(&mut self, phase: Phase) {
        self.state.phase = phase;
        self.state.since = self.now;
    }

    fn since(&self) -> Duration {
        self.now.since(self.state.since)
    }

    fn later(&self, by: Duration) -> Moment {
        self.now.plus(by)
    }

    fn deed(&mut self, deed: Deed) -> Key {
        let key = self.key();
        let reason = self.reason().map(Reason::to_string).unwrap_or_default();
        self.out.actions.push(Action { key, what: What::Deed { deed, reason } });
        key
    }

    fn key(&mut self) -> Key {
        self.state.next_key += 1;
        Key(self.state.next_key)
    }

    fn read<T>(&mut self, kind: Kind, key: Key, read: Result<T, Fault>) -> Option<(Moment, T)> {
        let asked = self.state.looks.answered(kind, key, read.is_ok())?;
        match read {
            Ok(value) => {
                self.state.fault = None;
                Some((asked, value))
            }
            Err(fault) => {
                self.state.fault = Some(fault.text);
                None
            }
        }
    }
}
