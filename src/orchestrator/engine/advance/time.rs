//! Limits of stages and tasks, without the time that was not theirs; and how long to wait between two looks.

use std::time::Duration;

use serde_json::Value;

use super::Run;
use super::stage::WINDOW;
use crate::model::Timestamp;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::execution::Paused;
use crate::orchestrator::engine::stage::Failure;
use crate::orchestrator::engine::stage::TaskKind;
use crate::orchestrator::engine::stage::TaskView;
use crate::orchestrator::engine::status::Status;

/// Between two looks at a task that says no time of its own.
pub const MIN_POLL: Duration = Duration::from_secs(1);

/// How long to wait before the next look: the longest of what task, server, stage, provider and account ask for, and no more than the shortest of the caps.
pub fn backoff(asked: impl IntoIterator<Item = Duration>, caps: impl IntoIterator<Item = Duration>) -> Duration {
    let asked = asked.into_iter().max().unwrap_or(MIN_POLL);
    caps.into_iter().min().map_or(asked, |cap| asked.min(cap))
}

/// When to look at a task again that asks for this period: a stage's `backoffPeriodMs` makes it longer, never shorter.
pub fn next_look(view: &TaskView<'_>, period: Duration) -> Timestamp {
    view.stage.now.plus(backoff([Some(period), millis(view.stage.context, "backoffPeriodMs")].into_iter().flatten(), []))
}

/// A number of milliseconds in a context. A text is none.
fn millis(context: &Object, key: &str) -> Option<Duration> {
    match context.get(key) {
        Some(Value::Number(n)) => {
            let ms = n.as_u64().or_else(|| n.as_f64().filter(|f| *f >= 0.0).map(|f| f as u64))?;
            Some(Duration::from_millis(ms))
        }
        _ => None,
    }
}

/// How long an execution was held in pauses that began at this time or later, as seen at `now`.
pub fn paused_since(paused: Option<&Paused>, since: Timestamp, now: Timestamp) -> Duration {
    let Some(paused) = paused else { return Duration::ZERO };
    let last = paused.pause_time.map(|from| (from, paused.resume_time.unwrap_or(now)));
    let pauses = paused.earlier.iter().copied().chain(last);
    pauses.filter(|(from, _)| *from >= since).map(|(from, to)| to.since(from)).sum()
}

/// How long a stage waited for its execution window.
fn window_time(execution: &Execution, at: usize, now: Timestamp) -> Duration {
    let before = execution.graph().nodes[at].before.first().map(|child| execution.stage(*child).head());
    let window = before.filter(|head| head.kind == WINDOW);
    window.and_then(|head| Some(head.end_time.unwrap_or(now).since(head.start_time?))).unwrap_or_default()
}

impl Run<'_, '_> {
    /// The last moment at which the task may still run; `None` = no limit.
    pub(super) fn limit(&self, at: usize, task: usize, kind: &dyn TaskKind) -> Option<Timestamp> {
        let stage = self.execution.stage(at);
        if stage.head().kind == WINDOW {
            return None;
        }
        let now = self.world.now;
        let pauses = |since| paused_since(self.execution.summary().paused.as_ref(), since, now);
        let owner = std::iter::once(at)
            .chain(self.ancestors(at))
            .find_map(|at| millis(self.execution.stage(at).context(), "stageTimeoutMs").map(|limit| (at, limit)));
        let of_stage = owner.and_then(|(owner, limit)| {
            let start = self.execution.stage(owner).head().start_time?;
            Some(start.plus(limit).plus(pauses(start)).plus(window_time(self.execution, owner, now)))
        });
        let own = kind.timeout(&self.task_view(at, task));
        let overridden = owner.filter(|_| kind.timeout_is_overridable()).map(|(_, limit)| limit);
        let of_task = overridden.or(own).and_then(|limit| {
            let start = stage.tasks()[task].start_time?;
            Some(start.plus(limit).plus(pauses(start)))
        });
        of_stage.into_iter().chain(of_task).min()
    }

    /// The task's time is up.
    pub(super) fn time_out(&mut self, at: usize, task: usize, kind: &dyn TaskKind) {
        self.abort(at, task);
        let result = kind.on_timeout(&self.task_view(at, task)).filter(|result| result.status.is_complete());
        let good = self.execution.stage(at).context().get("markSuccessfulOnTimeout") == Some(&Value::Bool(true));
        if result.as_ref().map_or(!good, |result| !result.status.is_successful()) {
            // Nobody waits for what it began any more: a child would run on, and a restart would begin a second one beside it.
            self.undo(at, task);
        }
        match result {
            Some(result) => self.finish_with(at, task, result),
            None if good => self.complete_task(at, task, Status::Succeeded, Status::Succeeded),
            None => {
                let name = self.execution.stage(at).tasks()[task].name.clone();
                let last = kind.last_error(&self.task_view(at, task)).map_or_else(String::new, |error| format!("; its last try: {error}"));
                self.fail(at, task, Failure::new("TimeoutException", format!("the task {name} has run for longer than it may{last}")));
            }
        }
    }
}
