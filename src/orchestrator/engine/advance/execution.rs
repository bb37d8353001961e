//! The execution as a whole: its start, through the gate or not, and its end.

use super::Run;
use super::rules;
use super::rules::Branches;
use crate::orchestrator::engine::event::Command;
use crate::orchestrator::engine::status::Status;

/// Who cancels what nobody cancelled.
const SYSTEM: &str = "spinnaker";

impl Run<'_, '_> {
    /// An execution that has not started: at once, or after the gate has let it in.
    pub(super) fn ask_to_start(&mut self) {
        if !self.may_start() {
            return;
        }
        let summary = self.execution.summary();
        match (&summary.pipeline_config_id, summary.limit()) {
            (Some(id), Some(limit)) => {
                let pipeline_config_id = id.clone();
                self.out.commands.push(Command::Admit { pipeline_config_id, limit });
            }
            _ => self.start(),
        }
    }

    /// The gate let it in.
    pub(super) fn admitted(&mut self) {
        if matches!(self.execution.status(), Status::NotStarted | Status::Buffered) && self.may_start() {
            self.start();
        }
    }

    fn may_start(&mut self) -> bool {
        let summary = self.execution.summary();
        if summary.canceled {
            self.end(Status::Canceled);
            return false;
        }
        if summary.start_time.is_none() && summary.start_time_expiry.is_some_and(|expiry| expiry < self.world.now) {
            self.cancel(SYSTEM.to_owned(), Some("could not begin execution before its start time expiry".to_owned()));
            return false;
        }
        true
    }

    fn start(&mut self) {
        let now = self.world.now;
        let summary = self.execution.summary_mut();
        (summary.status, summary.canceled) = (Status::Running, false);
        let restarted = summary.start_time.replace(now).is_some();
        if !restarted {
            self.notify_execution("starting");
        }
        let initial = |at: &usize| {
            let stage = self.execution.stage(*at);
            self.execution.graph().nodes[*at].parent.is_none() && stage.head().requisite_stage_ref_ids.is_empty()
        };
        if !(0..self.execution.stages().len()).any(|at| initial(&at)) {
            self.end(Status::Terminal);
            return;
        }
        self.survey(false);
    }

    /// Ends the execution if its stages say so; calls off those that still run when it failed.
    pub(super) fn complete_execution(&mut self) {
        if !matches!(self.execution.status(), Status::Running | Status::Paused) {
            return;
        }
        let top = self.execution.graph().top;
        let branches = Branches {
            all: top.all,
            passed: top.passed,
            terminal: top.terminal,
            canceled: top.canceled,
            stopped: top.stopped,
            open: top.active + top.ready,
        };
        let stages = self.execution.stages();
        let fails_at_the_end = || stages.iter().any(|s| s.status() == Status::Stopped && rules::fails_at_the_end(s.context()));
        let mut status = rules::execution_status(branches, fails_at_the_end);
        if self.execution.summary().canceled && status != Some(Status::Terminal) {
            status = Some(Status::Canceled);
        }
        let Some(status) = status else { return };
        if status != Status::Succeeded && top.active > 0 {
            self.stop_all();
            if self.execution.graph().top.active > 0 {
                return;
            }
        }
        self.end(status);
    }

    /// Calls off every stage under way. Those with an attempt in flight end when it does.
    pub(super) fn stop_all(&mut self) {
        let active: Vec<usize> = self.execution.graph().active.iter().copied().collect();
        for at in active {
            if self.execution.graph().nodes[at].parent.is_none() {
                self.stop_stage(at);
            }
        }
    }

    pub(super) fn end(&mut self, status: Status) {
        if self.execution.status().is_complete() {
            return;
        }
        let now = self.world.now;
        let summary = self.execution.summary_mut();
        summary.status = status;
        // What never started has no end either, as in Orca's records.
        summary.end_time = summary.start_time.map(|_| now);
        self.notify_execution(if status.is_successful() { "complete" } else { "failed" });
        self.out.commands.push(Command::Ended { status });
    }
}
