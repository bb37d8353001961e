//! `restrictExecutionDuringTimeWindow`: the synthetic stage before a restricted one. It waits until the window is open, and then a while longer when
//! the window asks for jitter.
//!
//! What must stay true: the window is asked anew at each look, so a patched window or zone counts at once; the time that is shown is the time at which
//! it opens. A window that cannot open fails the stage with the reason.

use std::time::Duration;

use serde_json::Value;

use super::Failure;
use super::StageKind;
use super::Step;
use super::TaskKind;
use super::TaskResult;
use super::TaskSpec;
use super::TaskView;
use super::View;
use super::fields;
use crate::model::Timestamp;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::problem::Problem;
use crate::orchestrator::engine::seed;
use crate::orchestrator::engine::status::Status;
use crate::orchestrator::engine::window;
use crate::orchestrator::engine::window::Opening;
use crate::orchestrator::engine::window::Window;

/// Type of the stage.
pub const NAME: &str = "restrictExecutionDuringTimeWindow";

/// The stage.
#[derive(Debug)]
pub struct RestrictExecutionDuringTimeWindow;

impl StageKind for RestrictExecutionDuringTimeWindow {
    fn name(&self) -> &'static str {
        NAME
    }

    fn tasks(&self, view: &View<'_>) -> Vec<TaskSpec> {
        let open = TaskSpec::new("suspendExecutionDuringTimeWindow", "suspendExecutionDuringTimeWindow");
        let jitter = jitter(view).map(|_| TaskSpec::new("waitForJitter", "waitForJitter"));
        [Some(open), jitter].into_iter().flatten().collect()
    }

    fn task(&self, class: &str) -> Option<&dyn TaskKind> {
        match class {
            "suspendExecutionDuringTimeWindow" => Some(&UntilOpen),
            "waitForJitter" => Some(&UntilJittered),
            _ => None,
        }
    }

    fn prepare_restart(&self, context: &mut Object, _: &Object) {
        context.remove("skipRemainingWait");
    }

    fn can_be_skipped(&self) -> bool {
        true
    }

    fn check(&self, stage: &Object) -> Vec<(String, String)> {
        let window = Window::parse(stage.get("restrictedExecutionWindow").unwrap_or(&Value::Null));
        let told = |problem: Problem| (format!("/restrictedExecutionWindow{}", problem.path), problem.message);
        window.err().into_iter().flatten().map(told).collect()
    }
}

/// Seconds of jitter: the context's own `waitTime`, or chosen by the id of the stage.
fn jitter(view: &View<'_>) -> Option<u64> {
    let window = Window::parse(view.context.get("restrictedExecutionWindow")?).ok()?;
    let manual = fields::text(&view.execution.summary().trigger, "type").is_none_or(|kind| kind == "manual");
    let chosen = window.delay_s(seed::of(view.stage().id.as_str()), manual)?;
    Some(fields::number(view.context, "waitTime").unwrap_or(chosen))
}

#[derive(Debug)]
struct UntilOpen;

impl TaskKind for UntilOpen {
    fn step(&self, view: &TaskView<'_>, _: Option<&Outcome>) -> Step {
        match window::look(view.stage.context, view.stage.now, view.stage.zone) {
            Ok(Opening::Now) => Step::Finish(TaskResult::of(Status::Succeeded)),
            Ok(Opening::At(time)) => {
                Step::Wait { result: TaskResult { scheduled_time: Some(time), ..TaskResult::default() }, until: Some(time) }
            }
            Err(problems) => {
                let errors: Vec<String> = problems.iter().map(ToString::to_string).collect();
                let context = [("failureReason".to_owned(), Value::String(errors.join("; ")))].into_iter().collect();
                Step::Fail(Failure { kind: "IncorrectTimeWindowsException".to_owned(), errors, context })
            }
        }
    }
}

#[derive(Debug)]
struct UntilJittered;

impl TaskKind for UntilJittered {
    fn step(&self, view: &TaskView<'_>, _: Option<&Outcome>) -> Step {
        let seconds = jitter(&view.stage).filter(|_| !fields::truth(view.stage.context, "skipRemainingWait", false)).unwrap_or(0);
        let start: Timestamp = view.task().start_time.unwrap_or(view.stage.now);
        let end = start.plus(Duration::from_secs(seconds));
        if end <= view.stage.now {
            return Step::Finish(TaskResult::of(Status::Succeeded));
        }
        let result = TaskResult { scheduled_time: Some(end), ..TaskResult::default() }.with("waitTime", seconds);
        Step::Wait { result, until: Some(end) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::rig::Rig;
    use super::*;

    /// Every rig starts on a Tuesday, 2023-11-14, at 22:13:20 UTC.
    fn context(window: Value) -> Value {
        json!({"restrictedExecutionWindow": window})
    }

    fn night() -> Value {
        json!({"whitelist": [{"startHour": 23, "startMin": 0, "endHour": 23, "endMin": 30}], "timezone": "UTC"})
    }

    #[test]
    fn shows_and_sleeps_until_the_true_opening() {
        let mut rig = Rig::new(RestrictExecutionDuringTimeWindow, context(night()));
        let opens = rig.at_ms((46 * 60 + 40) * 1000);
        let Step::Wait { result, until } = rig.go(None) else { panic!() };
        assert_eq!((result.scheduled_time, until), (Some(opens), Some(opens)));
        rig.now = opens;
        assert_eq!(rig.status(None), Status::Succeeded);
        assert_eq!(rig.tasks().len(), 1, "no jitter, no second task");
    }

    #[test]
    fn a_person_skips_the_rest_and_a_window_that_never_opens_fails() {
        let mut rig = Rig::new(RestrictExecutionDuringTimeWindow, context(night()));
        rig.set("skipRemainingWait", true);
        assert_eq!(rig.status(None), Status::Succeeded);
        let mut rig = Rig::new(RestrictExecutionDuringTimeWindow, json!({}));
        assert_eq!(rig.failure(None).0, "IncorrectTimeWindowsException");
        assert!(rig.context()["failureReason"].as_str().is_some_and(|reason| !reason.is_empty()));
    }

    #[test]
    fn jitter_is_chosen_once_within_its_bounds_and_counts_from_the_opening() {
        let mut window = night();
        window["jitter"] = json!({"enabled": true, "minDelay": 100, "maxDelay": 200, "skipManual": true});
        assert_eq!(
            Rig::new(RestrictExecutionDuringTimeWindow, context(window.clone())).tasks().len(),
            1,
            "a person does not wait for jitter"
        );
        let mut rig = Rig::new(RestrictExecutionDuringTimeWindow, context(window));
        rig.execution.summary_mut().trigger.insert("type".to_owned(), "cron".into());
        rig.pass(Duration::from_secs(3600));
        rig.start(1);
        let chosen = rig.pause(None).unwrap();
        assert!((100..=200).contains(&chosen.as_secs()), "{chosen:?}");
        assert_eq!(rig.pause(None), Some(chosen));
        rig.set("waitTime", 7);
        assert_eq!(rig.pause(None), Some(Duration::from_secs(7)), "a time in the context wins");
        rig.pass(Duration::from_secs(7));
        assert_eq!(rig.status(None), Status::Succeeded);
    }
}
