//! One word for each phase, reason, look, deed and fault, from sets that are closed: what log lines and metrics count by.

use super::action::Deed;
use super::action::Look;
use super::observation::Answer;
use super::observation::FaultKind;
use super::state::Phase;
use super::state::Reason;

impl Phase {
    /// Every word that [`Phase::word`] says.
    pub const WORDS: [&str; 15] = [
        "working",
        "closing_intake",
        "confirming_idle",
        "validating",
        "waiting",
        "lowering_min",
        "stopping_orchestrator",
        "last_look",
        "answering_hook",
        "terminating",
        "outcome_unknown",
        "ending",
        "gone",
        "held",
        "reopening_intake",
    ];
}

impl Reason {
    /// Every word that [`Reason::word`] says.
    pub const WORDS: [&str; 8] =
        ["superseded", "operator", "target_terminated", "interrupted", "rebalance", "warmed", "standby", "unhealthy"];

    /// One word, without who, what and when.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Superseded { .. } => "superseded",
            Self::Operator { .. } => "operator",
            Self::TargetTerminated => "target_terminated",
            Self::Interrupted { .. } => "interrupted",
            Self::Rebalance => "rebalance",
            Self::Warmed => "warmed",
            Self::Standby => "standby",
            Self::Unhealthy { .. } => "unhealthy",
        }
    }
}

impl Look {
    /// One word, without what is looked for.
    pub fn word(&self) -> &'static str {
        match self {
            Self::TargetState => "target_state",
            Self::Notices => "notices",
            Self::Hook(_) => "hook",
            Self::Own { .. } => "own",
            Self::Group => "group",
            Self::Cluster => "cluster",
            Self::Orchestrator => "orchestrator",
            Self::Probe(_) => "probe",
            Self::Vitals => "vitals",
            Self::Task(_) | Self::OwnTask { .. } => "task",
        }
    }
}

impl Deed {
    /// One word, without its particulars.
    pub fn word(&self) -> &'static str {
        match self {
            Self::SetIntake { open: true } => "open_intake",
            Self::SetIntake { open: false } => "close_intake",
            Self::StopOrchestrator { .. } => "stop_orchestrator",
            Self::StartOrchestrator => "start_orchestrator",
            Self::RestartOrchestrator { .. } => "restart_orchestrator",
            Self::LowerMin { .. } => "lower_min",
            Self::RecordCapacity { .. } => "record_capacity",
            Self::TerminateOwn { .. } => "terminate",
            Self::CancelTask { .. } => "cancel_task",
            Self::Heartbeat { .. } => "heartbeat",
            Self::CompleteHook { .. } => "complete_hook",
            Self::TakePermit(_) => "take_permit",
            Self::GivePermit { .. } => "give_permit",
            Self::Protect { on: true } => "protect",
            Self::Protect { on: false } => "unprotect",
        }
    }
}

impl FaultKind {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotNow => "not_now",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Broken => "broken",
        }
    }
}

impl Answer {
    /// `ok`, or what went wrong in one word. What an orchestrator or a probe says of its own state is an answer like any other.
    pub fn outcome(&self) -> &'static str {
        let fault = match self {
            Self::TargetState(Err(fault))
            | Self::Notices(Err(fault))
            | Self::Hook(Err(fault))
            | Self::Own(Err(fault))
            | Self::Group(Err(fault))
            | Self::Cluster(Err(fault))
            | Self::Task(Err(fault))
            | Self::OwnTask(Err(fault))
            | Self::Done(Err(fault)) => fault,
            Self::TargetState(Ok(_))
            | Self::Notices(Ok(_))
            | Self::Hook(Ok(_))
            | Self::Own(Ok(_))
            | Self::Group(Ok(_))
            | Self::Cluster(Ok(_))
            | Self::Task(Ok(_))
            | Self::OwnTask(Ok(_))
            | Self::Done(Ok(_))
            | Self::Orchestrator { .. }
            | Self::Probe(..)
            | Self::Vitals(_) => return "ok",
        };
        fault.what.word()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::HeldWhy;
    use crate::model::Moment;
    use crate::model::Timestamp;

    #[test]
    fn the_words_are_all_that_are_said() {
        let now = Moment::default();
        let phases = [
            Phase::Working,
            Phase::Closing { orders: 0, again: now },
            Phase::Confirming,
            Phase::Validating,
            Phase::Waiting { why: String::new(), until: now },
            Phase::Lowering,
            Phase::Stopping,
            Phase::LastLook,
            Phase::Answering,
            Phase::Terminating,
            Phase::Uncertain { from: now, alive_reads: 0, absent_reads: 0, searched: false },
            Phase::Ending { absent: 0, alive: 0 },
            Phase::Gone,
            Phase::Held { why: HeldWhy::MinSize, text: String::new(), until: now },
            Phase::Reopening { orders: 0, again: now, start: false },
        ];
        assert_eq!(phases.each_ref().map(Phase::word), Phase::WORDS);
        let reasons = [
            Reason::Superseded { by: "a-v001".into() },
            Reason::Operator { by: String::new(), why: String::new() },
            Reason::TargetTerminated,
            Reason::Interrupted { action: String::new(), at: Timestamp(0) },
            Reason::Rebalance,
            Reason::Warmed,
            Reason::Standby,
            Reason::Unhealthy { why: String::new() },
        ];
        assert_eq!(reasons.each_ref().map(Reason::word), Reason::WORDS);
    }
}
