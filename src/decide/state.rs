//! The state of one agent: what it knows, where it is in the drain protocol, and the part of it that has to survive a crash.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::model::Activity;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::Intake;
use crate::model::LifecycleState;
use crate::model::Moment;
use crate::model::Notices;
use crate::model::Sample;
use crate::model::Timestamp;

use super::action::Key;
use super::capacity::Recording;
use super::heal::Heal;
use super::heal::Healed;
use super::hook::Launch;
use super::hook::Wait;
use super::justify::settling_of_an_unknown;
use super::look::Kind;
use super::look::Looks;
use super::policy::Policy;
use super::policy::Via;
use super::protect::Protection;
use super::quiet::Quiet;
use super::superseded::Agreement;

/// Everything `step` remembers. Only [`Durable`] is put on disk; the rest is observed anew after a restart.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) durable: Durable,
    pub(super) next_key: u64,
    pub(super) own: InstanceId,
    pub(super) group: Option<(Moment, Group)>,
    pub(super) group_name: Option<GroupName>,
    pub(super) cluster: Option<(Moment, Vec<Group>)>,
    pub(super) target: Option<LifecycleState>,
    /// Reads in a row that say InService.
    pub(super) target_back: u32,
    pub(super) notices: Notices,
    /// Reads of the notices in a row that say nothing of an interruption.
    pub(super) uninterrupted: u32,
    pub(super) wait: Wait,
    pub(super) launch: Launch,
    pub(super) protection: Protection,
    pub(super) intake: Option<Intake>,
    pub(super) sample: Option<Sample>,
    pub(super) unknown_since: Option<Moment>,
    /// The orchestrator has said once what it executes.
    pub(super) answered: bool,
    pub(super) agreement: Agreement,
    pub(super) quiet: Quiet,
    pub(super) looks: Looks,
    pub(super) phase: Phase,
    pub(super) since: Moment,
    pub(super) finding: Option<String>,
    pub(super) fault: Option<String>,
    pub(super) fault_of: Option<Kind>,
    pub(super) deed_fault: Option<String>,
    pub(super) order: Option<Order>,
    pub(super) ordered: Option<Moment>,
    /// The orchestrator did not stop, in a drain that waits for nothing.
    pub(super) unstopped: bool,
    pub(super) slow_reads: u32,
    pub(super) task_ended: bool,
    pub(super) task_read: Option<Moment>,
    /// Of the drain, and of AWS's own end: a wall clock that is set shortens and lengthens neither (F31).
    pub(super) age: Option<Age>,
    pub(super) doomed_age: Option<Age>,
    pub(super) held_count: u32,
    pub(super) held_before: Option<HeldWhy>,
    pub(super) heal: Heal,
    pub(super) recording: Recording,
}

/// The one deed that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) key: Key,
    pub(super) at: Moment,
}

/// How long something has gone on, by the clock that does not jump, as far as this process has seen it; what was before, the wall clock told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Age {
    seen: Moment,
    before: Duration,
}

impl Age {
    /// Of what begins now.
    pub(super) fn from(now: Moment) -> Self {
        Self { seen: now, before: Duration::ZERO }
    }

    /// Of what began then, in the life of another process.
    fn since(then: Timestamp, now: Moment) -> Self {
        Self { seen: now, before: now.wall.since(then) }
    }

    pub(super) fn at(self, now: Moment) -> Duration {
        self.before.saturating_add(now.since(self.seen))
    }
}

/// What has to survive a crash: written to the journal, and synced, before any deed that rests on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durable {
    /// Raised with every change; tells the daemon when to write.
    pub version: u64,
    /// The drain under way.
    pub drain: Option<Drain>,
    /// An operator called a drain off; until the cause is another one, none is started by itself.
    pub veto: Option<Veto>,
    /// The rebalance recommendation that was heeded last, so that an operator's no to it lasts.
    #[serde(default)]
    pub rebalance: Option<Timestamp>,
    /// We protect ourselves from scale-in, or were about to: whoever set it takes it off (S16, F26).
    #[serde(default)]
    pub protected: bool,
    /// What was done to heal.
    #[serde(default)]
    pub healed: Healed,
}

/// One drain, from its justification on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Why.
    pub reason: Reason,
    /// Wall time at its start: soak and deadline count from here, also across a restart.
    pub started: Timestamp,
    /// The group's rollback generation at the start; another one calls the drain off (S6).
    pub generation: u64,
    /// Do not wait for work to end; somebody with the right to say so did.
    pub forced: bool,
    /// It is forced for no other reason than that nobody can say what the orchestrator executes, and for as long as that is so.
    #[serde(default)]
    pub unproven: bool,
    /// How far it has gone outside.
    pub progress: Progress,
    /// When AWS was heard to end the instance by itself: a hook's limit counts from here.
    #[serde(default)]
    pub doomed: Option<Timestamp>,
}

/// What a restart has to know of the deeds of a drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Progress {
    /// Nothing that cannot be undone.
    Draining,
    /// The orchestrator is about to be told to stop, or was: it was idle then.
    Stopping,
    /// The orchestrator has stopped.
    Stopped,
    /// A terminate call is about to be sent, or was: its outcome is unknown until read.
    Intent {
        /// Wall time of the intent.
        at: Timestamp,
        /// The orchestrator was stopped before.
        stopped: bool,
    },
    /// The terminate call was accepted, or AWS is ending the instance by itself. Nothing is asked of AWS any more.
    Accepted {
        /// The activity, or the task in Spinnaker; empty when AWS decided.
        reference: String,
        /// The reference is a task in Spinnaker.
        task: bool,
        /// The orchestrator was stopped before.
        #[serde(default)]
        stopped: bool,
    },
    /// Called off; intake is being opened again.
    Cancelled {
        /// Why.
        why: String,
        /// The orchestrator was stopped and has to be started.
        stopped: bool,
    },
}

impl Progress {
    /// The orchestrator was told to stop, and would have to be started if the drain came to nothing.
    pub fn is_stopped(&self) -> bool {
        match self {
            Self::Draining => false,
            Self::Stopping | Self::Stopped => true,
            Self::Intent { stopped, .. } | Self::Accepted { stopped, .. } | Self::Cancelled { stopped, .. } => *stopped,
        }
    }
}

/// Why a drain is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Reason {
    /// A newer server group took over.
    Superseded {
        /// Its name.
        by: GroupName,
    },
    /// An operator asked.
    Operator {
        /// Who.
        by: String,
        /// Their words.
        why: String,
    },
    /// AWS set the target lifecycle state to Terminated: scale-in, refresh, or somebody's terminate call.
    TargetTerminated,
    /// AWS takes the instance back: a spot interruption. No quiet time, no end of our own; what is in flight shortly before is cut short (F41).
    Interrupted {
        /// AWS's word for what it does: `terminate`, `stop`, `hibernate`.
        action: String,
        /// When.
        at: Timestamp,
    },
    /// AWS recommends to move away; nothing is ended for it.
    Rebalance,
    /// The instance returns to the group's warm pool, where it is to take no work; nothing is ended for it (F19).
    Warmed,
    /// Somebody sent the instance into standby, where it has no traffic and is to take no work either; nothing is ended for it.
    Standby,
    /// The orchestrator is sick beyond what a restart helps: the instance ends without decrement, so that Auto Scaling launches another.
    Unhealthy {
        /// What is wrong.
        why: String,
    },
}

/// An operator's no to a drain that would otherwise start by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veto {
    /// Who.
    pub by: String,
    /// The successor it speaks of; another successor is another cause.
    pub successor: GroupName,
}

/// Where the drain protocol is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No drain.
    Working,
    /// Intake is being closed and read back.
    Closing {
        /// Orders sent so far.
        orders: u32,
        /// Not before.
        again: Moment,
    },
    /// Gathering evidence of idleness, settle time first.
    Confirming,
    /// Idle; fresh reads are asked whether it may end now.
    Validating,
    /// Idle; waiting for the time to ask again.
    Waiting {
        /// For people.
        why: String,
        /// When.
        until: Moment,
    },
    /// Min is being lowered.
    Lowering,
    /// The orchestrator is being stopped.
    Stopping,
    /// Justified; one more look at the orchestrator decides.
    LastLook,
    /// The intent is on disk, and the answer to the lifecycle hook is out.
    Answering,
    /// The intent is on disk and the terminate call is out.
    Terminating,
    /// A terminate call's outcome is unknown; reads will tell.
    Uncertain {
        /// Reads from here on can tell.
        from: Moment,
        /// Reads in a row that showed us in service with nothing ending us.
        alive_reads: u32,
        /// Reads in a row without us.
        absent_reads: u32,
        /// No task in Spinnaker ends us, as a search from there on has shown; where AWS was asked there is none to look for.
        searched: bool,
    },
    /// AWS is ending the instance.
    Ending {
        /// Reads in a row without us.
        absent: u32,
        /// Reads in a row that showed us alive.
        alive: u32,
    },
    /// AWS does not list the instance any more, or says Terminated.
    Gone,
    /// Not going on, for a reason that only something outside can lift; asked again at a bounded rate.
    Held {
        /// Code.
        why: HeldWhy,
        /// For people.
        text: String,
        /// When it is asked again.
        until: Moment,
    },
    /// Called off; intake is being opened and read back.
    Reopening {
        /// Orders sent so far.
        orders: u32,
        /// Not before.
        again: Moment,
        /// The orchestrator has to be started first.
        start: bool,
    },
}

impl Phase {
    /// Nobody knows what came of the terminate call.
    pub(super) fn uncertain(policy: &Policy, now: Moment) -> Self {
        let from = now.plus(settling_of_an_unknown(policy));
        Self::Uncertain { from, alive_reads: 0, absent_reads: 0, searched: policy.via == Via::Aws }
    }

    /// Why it holds, when it does.
    pub fn held(&self) -> Option<HeldWhy> {
        if let Self::Held { why, .. } = self { Some(*why) } else { None }
    }

    /// One word, for status, log and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Closing { .. } => "closing_intake",
            Self::Confirming => "confirming_idle",
            Self::Validating => "validating",
            Self::Waiting { .. } => "waiting",
            Self::Lowering => "lowering_min",
            Self::Stopping => "stopping_orchestrator",
            Self::LastLook => "last_look",
            Self::Answering => "answering_hook",
            Self::Terminating => "terminating",
            Self::Uncertain { .. } => "outcome_unknown",
            Self::Ending { .. } => "ending",
            Self::Gone => "gone",
            Self::Held { .. } => "held",
            Self::Reopening { .. } => "reopening_intake",
        }
    }
}

/// Why the agent holds. Each has a page in `runbooks/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldWhy {
    /// A rollback holds the group; intake stays closed until the group is enabled again, nothing is ended (S11, S14).
    Rollback,
    /// Intake could not be closed, or not be read back as closed (F11).
    IntakeUnstoppable,
    /// desired equals min, and min is not ours to lower (F24).
    MinSize,
    /// AWS refused while `Terminate` is suspended on the group (F27).
    TerminateSuspended,
    /// AWS refused for a reason we do not know.
    TerminateRefused,
    /// AWS or Spinnaker denied the call, or there are no credentials (F31).
    Denied,
    /// The group would fall below the instances to be kept.
    KeepFloor,
    /// The instance is in a state that is not to be ended by decrement (F18).
    LifecycleState,
    /// The deadline passed while work was in flight, or nobody could say (F8).
    Deadline,
    /// The orchestrator did not stop.
    StopFailed,
    /// The journal cannot be written, so nothing is done that rests on it (F46).
    Journal,
    /// The ending that was accepted failed or was cancelled, or the instance lives on all the same (F33).
    EndingFailed,
    /// Describes take longer than the staleness bound, so nothing may rest on them (F49).
    SlowReads,
    /// A drain was called off, and intake does not open, or the orchestrator does not start.
    IntakeStuck,
    /// `dry_run` was set while a drain was under way.
    DryRun,
    /// AWS recommended to move away; intake stays closed, nothing is ended (F42).
    Rebalance,
    /// The hook was abandoned so that AWS keeps the instance, out of the group, with its work (F38).
    Retained,
}

impl HeldWhy {
    /// All of them, for the test that each has a runbook.
    pub const ALL: [HeldWhy; 17] = [
        Self::Rollback,
        Self::IntakeUnstoppable,
        Self::MinSize,
        Self::TerminateSuspended,
        Self::TerminateRefused,
        Self::Denied,
        Self::KeepFloor,
        Self::LifecycleState,
        Self::Deadline,
        Self::StopFailed,
        Self::Journal,
        Self::EndingFailed,
        Self::SlowReads,
        Self::IntakeStuck,
        Self::DryRun,
        Self::Rebalance,
        Self::Retained,
    ];

    /// The code, as `status` prints it and the runbook's file is called.
    pub fn code(self) -> &'static str {
        match self {
            Self::Rollback => "held_by_rollback",
            Self::IntakeUnstoppable => "intake_unstoppable",
            Self::MinSize => "min_size",
            Self::TerminateSuspended => "terminate_suspended",
            Self::TerminateRefused => "terminate_refused",
            Self::Denied => "denied",
            Self::KeepFloor => "keep_floor",
            Self::LifecycleState => "lifecycle_state",
            Self::Deadline => "deadline",
            Self::StopFailed => "stop_failed",
            Self::Journal => "journal",
            Self::EndingFailed => "ending_failed",
            Self::SlowReads => "slow_reads",
            Self::IntakeStuck => "intake_stuck",
            Self::DryRun => "dry_run",
            Self::Rebalance => "rebalance_recommended",
            Self::Retained => "retained",
        }
    }
}

impl fmt::Display for HeldWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superseded { by } => write!(f, "superseded by {by}"),
            Self::Operator { by, why } => write!(f, "{by} asked: {why}"),
            Self::TargetTerminated => f.write_str("Auto Scaling is ending this instance"),
            Self::Interrupted { action, at } => write!(f, "spot interruption: AWS is to {action} this instance at {at}"),
            Self::Rebalance => f.write_str("AWS recommends to move away from this instance"),
            Self::Warmed => f.write_str("the instance returns to the warm pool"),
            Self::Standby => f.write_str("the instance is in standby"),
            Self::Unhealthy { why } => write!(f, "to be replaced: {why}"),
        }
    }
}

impl State {
    /// A state that knows our instance id and what a journal kept; `Durable::default()` when there was none.
    ///
    /// `same_boot` is false when the host was booted since: an orchestrator that was stopped then may run now, so its stop counts for
    /// nothing (F44).
    pub fn new(own: InstanceId, mut durable: Durable, same_boot: bool, policy: &Policy, now: Moment) -> Self {
        if let Some(drain) = durable.drain.as_mut().filter(|_| !same_boot) {
            match &mut drain.progress {
                Progress::Stopping | Progress::Stopped => drain.progress = Progress::Draining,
                Progress::Intent { stopped, .. } | Progress::Cancelled { stopped, .. } => *stopped = false,
                // A host that was to end and has booted again is no proof of either (F19, F44).
                Progress::Accepted { .. } => drain.progress = Progress::Intent { at: now.wall, stopped: false },
                Progress::Draining => {}
            }
        }
        if !same_boot {
            // Nothing that was started then runs now.
            (durable.healed.ready, durable.healed.under_way) = (false, false);
        }
        let mut state = Self {
            heal: Heal::new(&durable.healed, policy, now),
            durable,
            next_key: 0,
            own,
            group: None,
            group_name: None,
            cluster: None,
            target: None,
            target_back: 0,
            notices: Notices::default(),
            uninterrupted: 0,
            wait: Wait::default(),
            launch: Launch::Unknown,
            protection: Protection::default(),
            intake: None,
            sample: None,
            unknown_since: None,
            answered: false,
            agreement: Agreement::default(),
            quiet: Quiet::default(),
            looks: Looks::default(),
            phase: Phase::Working,
            since: now,
            finding: None,
            fault: None,
            fault_of: None,
            deed_fault: None,
            order: None,
            ordered: None,
            unstopped: false,
            slow_reads: 0,
            task_ended: false,
            task_read: None,
            age: None,
            doomed_age: None,
            held_count: 0,
            held_before: None,
            recording: Recording::default(),
        };
        if let Some(drain) = &state.durable.drain {
            (state.age, state.doomed_age) = (Some(Age::since(drain.started, now)), drain.doomed.map(|then| Age::since(then, now)));
        }
        state.phase = match state.durable.drain.as_ref().map(|d| &d.progress) {
            None => Phase::Working,
            Some(Progress::Draining) => Phase::Closing { orders: 0, again: now },
            // The first look tells whether it runs, before anything is ordered.
            Some(Progress::Stopping | Progress::Stopped) => Phase::Confirming,
            Some(Progress::Intent { .. }) => Phase::uncertain(policy, now),
            Some(Progress::Accepted { .. }) => Phase::Ending { absent: 0, alive: 0 },
            Some(Progress::Cancelled { stopped, .. }) => Phase::Reopening { orders: 0, again: now, start: *stopped },
        };
        state
    }

    /// The part that has to be on disk before the deeds of the last step are done.
    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    /// Why the orchestrator does not say what it executes, when it does not and no stop or restart of ours is why.
    pub fn unknown(&self) -> Option<&str> {
        let stopped = self.durable.drain.as_ref().is_some_and(|drain| drain.progress.is_stopped());
        if stopped || self.durable.healed.under_way {
            return None;
        }
        self.silence()
    }

    /// Why the orchestrator did not say what it executes when it was looked at last; `None` too when it never was.
    pub(super) fn silence(&self) -> Option<&str> {
        match &self.sample.as_ref()?.activity {
            Activity::Unknown { why } => Some(why),
            Activity::Idle | Activity::Busy { .. } => None,
        }
    }

    /// What went wrong with the last look of its kind that failed; `None` once that kind succeeds again.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Our group as last read.
    pub fn group(&self) -> Option<&Group> {
        self.group.as_ref().map(|(_, group)| group)
    }

    /// Our group's name, once Auto Scaling listed us.
    pub fn group_name(&self) -> Option<&GroupName> {
        self.group_name.as_ref()
    }

    /// Where the protocol is.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }
}
