//! `evaluateVariables`: each of `variables: [{key, value}]` is resolved and becomes an output of the stage.
//!
//! What must stay true: they are resolved in order, one a look, and a later one sees the earlier ones. So the list keeps its expressions; the one whose
//! turn it is stands under `evaluating` in the context, where the engine resolves it like any other key. One that cannot be resolved stays as it was written,
//! and the expression summary says why.

use serde_json::Value;
use serde_json::json;

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

/// Most variables of one stage: each costs a look and a write.
const MAX_VARIABLES: usize = 500;

/// Where the one whose turn it is stands: `{at, value}`.
const EVALUATING: &str = "evaluating";

/// Names of those that were put into the stage's own context, for those behind them.
const EVALUATED: &str = "evaluated";

/// The stage.
#[derive(Debug)]
pub struct EvaluateVariables;

impl StageKind for EvaluateVariables {
    fn name(&self) -> &'static str {
        "evaluateVariables"
    }

    fn tasks(&self, _: &View<'_>) -> Vec<TaskSpec> {
        vec![TaskSpec::new("evaluateVariables", "evaluateVariables")]
    }

    fn task(&self, class: &str) -> Option<&dyn TaskKind> {
        (class == "evaluateVariables").then_some(&Evaluate)
    }

    fn prepare_restart(&self, context: &mut Object, _: &Object) {
        let set = context.remove(EVALUATED);
        context.remove(EVALUATING);
        for key in set.iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str) {
            context.remove(key);
        }
    }

    fn keeps_expressions(&self) -> &'static [&'static str] {
        &["variables"]
    }

    fn own_words(&self) -> &'static [&'static str] {
        &[EVALUATING]
    }

    fn check(&self, stage: &Object) -> Vec<(String, String)> {
        let mut check = Check::of(stage);
        check.required("variables", "list the variables, each with a key and a value");
        if stage.get("variables").and_then(Value::as_array).is_some_and(|list| list.len() > MAX_VARIABLES) {
            check.problem("/variables", format!("has more than {MAX_VARIABLES} entries"));
        }
        check.entries("variables", |_, entry| Check::of(entry).required("key", "name the variable").texts(&["key"]).done()).done()
    }
}

#[derive(Debug)]
struct Evaluate;

impl TaskKind for Evaluate {
    fn step(&self, view: &TaskView<'_>, _: Option<&Outcome>) -> Step {
        let context = view.stage.context;
        // As they were written: the engine leaves them alone.
        let list = view.stage.stage().context().get("variables").and_then(Value::as_array);
        let Some(list) = list.filter(|list| list.len() <= MAX_VARIABLES) else {
            let what = format!("variables must be a list of at most {MAX_VARIABLES} entries, each with a key and a value");
            return Step::Fail(Failure::new("ConfigurationException", what));
        };
        let turn = fields::object(context, EVALUATING);
        let at = turn.and_then(|turn| fields::number(turn, "at")).and_then(|at| usize::try_from(at).ok());
        let resolved = turn.and_then(|turn| turn.get("value")).cloned().unwrap_or_default();
        let mut result = TaskResult::of(Status::Succeeded);
        if let Some(key) = at.and_then(|at| list.get(at)).and_then(|entry| entry.get("key")).and_then(Value::as_str) {
            let mut set = context.get(EVALUATED).and_then(Value::as_array).cloned().unwrap_or_default();
            // A key that means something to the stage itself is not overwritten by a variable of that name.
            if !context.contains_key(key) || set.iter().any(|name| name == key) {
                set.push(key.into());
                result = result.with(key, resolved.clone()).with(EVALUATED, set);
            }
            result = result.giving(key, resolved);
        }
        let next = at.map_or(0, |at| at + 1);
        let Some(entry) = list.get(next) else {
            return Step::Finish(result.with(EVALUATING, Value::Null));
        };
        if entry.get("key").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Step::Fail(Failure::new("ConfigurationException", format!("variable {} has no key; name it", next + 1)));
        }
        let turn = json!({"at": next, "value": entry.get("value").cloned().unwrap_or_default()});
        Step::Wait { result: result.with(EVALUATING, turn), until: Some(view.stage.now) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rig::Rig;
    use super::*;

    /// Looks until it ends; `resolve` stands for the engine's expressions.
    fn run(rig: &mut Rig, resolve: impl Fn(&Object, &str) -> Value) -> TaskResult {
        for _ in 0..20 {
            match rig.go(None) {
                Step::Finish(result) => return result,
                Step::Wait { until, .. } => assert_eq!(until, Some(rig.now)),
                other => panic!("{other:?}"),
            }
            let text = rig.context()[EVALUATING]["value"].as_str().map(str::to_owned);
            if let Some(text) = text {
                let value = resolve(rig.stage_context(), &text);
                rig.context()[EVALUATING]["value"] = value;
            }
        }
        panic!("does not end")
    }

    fn sum(context: &Object, text: &str) -> Value {
        text.strip_prefix("+").map_or_else(|| text.into(), |key| (context[key].as_i64().unwrap() + 1).into())
    }

    #[test]
    fn a_later_variable_sees_the_earlier_ones_and_all_are_outputs() {
        let variables =
            json!([{"key": "a", "value": 1}, {"key": "b", "value": "+a"}, {"key": "c", "value": "+b"}, {"key": "text", "value": "x"}]);
        let mut rig = Rig::new(EvaluateVariables, json!({"variables": variables}));
        assert_eq!(run(&mut rig, sum).status, Status::Succeeded);
        assert_eq!(Value::Object(rig.stage_outputs().clone()), json!({"a": 1, "b": 2, "c": 3, "text": "x"}));
        EvaluateVariables.prepare_restart(rig.context(), &Object::new());
        assert_eq!(Value::Object(rig.context().clone()), json!({"variables": variables}));
    }

    #[test]
    fn a_variable_named_like_a_field_of_the_stage_is_an_output_only() {
        let mut rig = Rig::new(EvaluateVariables, json!({"failPipeline": false, "variables": [{"key": "failPipeline", "value": "x"}]}));
        let _ = run(&mut rig, sum);
        assert_eq!((&rig.stage_outputs()["failPipeline"], &rig.stage_context()["failPipeline"]), (&json!("x"), &json!(false)));
    }

    #[test]
    fn what_is_no_list_of_variables_fails_and_is_refused_at_save() {
        for bad in [json!({}), json!({"variables": {"a": 1}}), json!({"variables": [{"value": 1}]})] {
            assert_eq!(Rig::new(EvaluateVariables, bad.clone()).failure(None).0, "ConfigurationException", "{bad}");
            assert!(!EvaluateVariables.check(bad.as_object().unwrap()).is_empty(), "{bad}");
        }
    }
}
