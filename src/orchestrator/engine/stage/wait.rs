//! `wait`: does nothing for `waitTime` seconds, or until somebody sets `skipRemainingWait`.

use std::time::Duration;

use super::Failure;
use super::StageKind;
use super::Step;
use super::TaskKind;
use super::TaskResult;
use super::TaskSpec;
use super::TaskView;
use super::View;
use super::fields;
use super::fields::Check;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::status::Status;

/// The stage.
#[derive(Debug)]
pub struct Wait;

impl StageKind for Wait {
    fn name(&self) -> &'static str {
        "wait"
    }

    fn tasks(&self, _: &View<'_>) -> Vec<TaskSpec> {
        vec![TaskSpec::new("wait", "wait")]
    }

    fn task(&self, class: &str) -> Option<&dyn TaskKind> {
        (class == "wait").then_some(&UntilWaited)
    }

    fn prepare_restart(&self, context: &mut Object, _: &Object) {
        context.remove("skipRemainingWait");
    }

    fn can_be_skipped(&self) -> bool {
        true
    }

    fn check(&self, stage: &Object) -> Vec<(String, String)> {
        Check::of(stage).required("waitTime", "say how many seconds to wait").numbers(&["waitTime"]).flags(&["skipRemainingWait"]).done()
    }
}

/// Waits from the start of the stage, so that a patched `waitTime` counts from there too.
#[derive(Debug)]
pub(super) struct UntilWaited;

impl TaskKind for UntilWaited {
    fn step(&self, view: &TaskView<'_>, _: Option<&Outcome>) -> Step {
        let context = view.stage.context;
        if fields::truth(context, "skipRemainingWait", false) {
            return Step::Finish(TaskResult::of(Status::Succeeded));
        }
        let Some(seconds) = fields::number(context, "waitTime") else {
            let given = context.get("waitTime").map_or_else(|| "missing".to_owned(), fields::shown);
            return Step::Fail(Failure::new("ConfigurationException", format!("waitTime is {given}; it must be a number of seconds")));
        };
        let start = view.stage.stage().head().start_time.unwrap_or(view.stage.now);
        let end = start.plus(Duration::from_secs(seconds));
        if end < view.stage.now {
            return Step::Finish(TaskResult::of(Status::Succeeded));
        }
        Step::Wait { result: TaskResult::default(), until: Some(end.plus(Duration::from_millis(1))) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::rig::Rig;
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn is_over_just_after_its_time_and_sleeps_until_then() {
        let mut rig = Rig::new(Wait, json!({"waitTime": "5"}));
        assert_eq!(rig.step(None), Step::Wait { result: TaskResult::default(), until: Some(rig.at_ms(5001)) });
        rig.pass(Duration::from_millis(5001));
        assert_eq!(rig.status(None), Status::Succeeded);
    }

    #[test]
    fn a_person_ends_it_early_and_a_restart_forgets_that() {
        let mut rig = Rig::new(Wait, json!({"waitTime": 1_000_000, "skipRemainingWait": true}));
        assert_eq!(rig.status(None), Status::Succeeded);
        Wait.prepare_restart(rig.context(), &Object::new());
        assert_eq!(rig.status(None), Status::Running);
    }

    #[test]
    fn the_longest_wait_does_not_wrap_round() {
        let rig = Rig::new(Wait, json!({"waitTime": u64::MAX}));
        assert_eq!(rig.step(None), Step::Wait { result: TaskResult::default(), until: Some(Timestamp(i64::MAX)) });
    }

    #[test]
    fn no_time_is_an_error_that_says_what_to_write() {
        let Step::Fail(failure) = Rig::new(Wait, json!({"waitTime": "soon"})).step(None) else { panic!() };
        assert_eq!(failure.errors, ["waitTime is soon; it must be a number of seconds"]);
        assert_eq!(Wait.check(&Object::new()).len(), 1);
    }
}
