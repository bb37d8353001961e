//! A stage of `tasks` tasks (default 1), each of which performs a call named `noop`: for tests and benchmarks. No part of
//! [`Registry::standard`](super::Registry::standard), so that no pipeline uses it by accident.

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
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::status::Status;

/// Most tasks of one stage.
const MAX_TASKS: u64 = 1000;

/// The stage.
#[derive(Debug)]
pub struct Noop;

impl StageKind for Noop {
    fn name(&self) -> &'static str {
        "noop"
    }

    fn tasks(&self, view: &View<'_>) -> Vec<TaskSpec> {
        let count = fields::number(view.context, "tasks").unwrap_or(1).min(MAX_TASKS);
        (0..count).map(|_| TaskSpec::new("noop", "noop")).collect()
    }

    fn task(&self, class: &str) -> Option<&dyn TaskKind> {
        (class == "noop").then_some(&Call)
    }
}

#[derive(Debug)]
struct Call;

impl TaskKind for Call {
    fn step(&self, _: &TaskView<'_>, outcome: Option<&Outcome>) -> Step {
        match outcome {
            None => Step::Perform { result: TaskResult::default(), effect: Effect::Call { name: "noop".to_owned(), input: Value::Null } },
            Some(Outcome::Done { .. }) => Step::Finish(TaskResult::of(Status::Succeeded)),
            Some(other) => Step::Fail(Failure::new("EffectException", format!("the call was not done: {other:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::rig::Rig;
    use super::*;

    #[test]
    fn each_of_its_tasks_calls_once() {
        let rig = Rig::new(Noop, json!({"tasks": 5}));
        assert_eq!(rig.tasks().len(), 5);
        assert!(matches!(rig.step(None), Step::Perform { effect: Effect::Call { .. }, .. }));
        assert_eq!(rig.status(Some(&Outcome::Done { output: Value::Null })), Status::Succeeded);
        let Step::Fail(_) = rig.step(Some(&Outcome::JobLost)) else { panic!() };
    }
}
