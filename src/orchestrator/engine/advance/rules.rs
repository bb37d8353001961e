//! The tables of the stage graph, as functions of statuses alone.

use serde_json::Value;

use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::status::Status;

/// A switch of the failure policy. A text that names a boolean is read as that: documents saved here cannot hold one, executions of Orca's can.
fn policy(context: &Object, key: &str) -> Option<bool> {
    match context.get(key) {
        Some(Value::Bool(on)) => Some(*on),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Some(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// What a failure of a stage of this context comes to; `otherwise` when its policy is the usual one.
pub fn failure_status(context: &Object, otherwise: Status) -> Status {
    if policy(context, "continuePipeline") == Some(true) {
        Status::FailedContinue
    } else if policy(context, "failPipeline").unwrap_or(true) {
        otherwise
    } else {
        Status::Stopped
    }
}

/// A stage that stopped its branch fails the pipeline once the other branches have ended.
pub fn fails_at_the_end(context: &Object) -> bool {
    policy(context, "completeOtherBranchesThenFail") == Some(true)
}

/// A task ended its stage: it was the last, or it failed. `original` is what the task said before the stage's failure policy was asked: a task that
/// itself says `FAILED_CONTINUE` goes on to the next one, one whose failure was forgiven does not.
pub fn task_ends_stage(last: bool, status: Status, original: Status) -> bool {
    last || status.is_halt() || (status == Status::FailedContinue && original != Status::FailedContinue)
}

/// What a stage comes to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts {
    seen: u16,
    after_waits: bool,
}

impl Parts {
    /// Counts a task, a synthetic stage, or a failed planning (as `TERMINAL`).
    pub fn add(&mut self, status: Status) {
        self.seen |= 1 << status as u16;
    }

    /// Counts a synthetic stage after the tasks.
    pub fn add_after(&mut self, status: Status) {
        self.add(status);
        self.after_waits |= status == Status::NotStarted;
    }

    /// The status these add up to; `failed` when one of them is `TERMINAL`. `NOT_STARTED` = there is nothing in the stage; `RUNNING` = its stages
    /// after have yet to run.
    pub fn status(self, failed: Status) -> Status {
        let has = |status: Status| self.seen & (1 << status as u16) != 0;
        let good = 1 << Status::Succeeded as u16 | 1 << Status::Skipped as u16;
        if self.seen == 0 {
            Status::NotStarted
        } else if has(Status::Terminal) {
            failed
        } else if let Some(first) = [Status::Stopped, Status::Canceled, Status::FailedContinue].into_iter().find(|s| has(*s)) {
            first
        } else if self.seen & !good == 0 {
            Status::Succeeded
        } else if self.after_waits {
            Status::Running
        } else {
            Status::Terminal
        }
    }
}

/// Top-level stages of an execution, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Branches {
    /// All of them.
    pub all: usize,
    /// Those that let what is downstream start.
    pub passed: usize,
    /// Those in `TERMINAL`.
    pub terminal: usize,
    /// Those in `CANCELED`.
    pub canceled: usize,
    /// Those in `STOPPED`.
    pub stopped: usize,
    /// Those under way, and those not started that nothing holds back.
    pub open: usize,
}

/// What an execution comes to; `None` = other branches go on. `fails_at_the_end` is asked when branches were stopped.
pub fn execution_status(of: Branches, fails_at_the_end: impl FnOnce() -> bool) -> Option<Status> {
    if of.passed == of.all {
        Some(Status::Succeeded)
    } else if of.terminal > 0 {
        Some(Status::Terminal)
    } else if of.canceled > 0 {
        Some(Status::Canceled)
    } else if of.open > 0 {
        None
    } else if of.stopped > 0 && !fails_at_the_end() {
        Some(Status::Succeeded)
    } else {
        // Stopped and to fail at the end; or nothing failed, nothing runs and nothing can start: stages wait for each other.
        Some(Status::Terminal)
    }
}
