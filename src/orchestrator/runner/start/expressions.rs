//! Expressions of the pipeline's own level, resolved once when it starts: with the trigger, its parameters and the template variables, and nothing else.
//! *Pure*.
//!
//! What must stay true: a name that nobody knows here is an error, so its text stays, even before `?:`: a stage may know it later. Of the trigger only the
//! parameters are the pipeline's own words, and of those not what a webhook's caller or a parent gave; what a stranger sent along with it is never resolved here. What asks for a page stays whole, since a start
//! waits for nobody. Stages are left out under `v4`; without it they are tried now and again later.

use std::collections::BTreeSet;

use serde_json::Map;
use serde_json::Value;

use crate::model::Timestamp;
use crate::orchestrator::engine::definition::Definition;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::expression::Unknown;
use crate::orchestrator::engine::expression::facts::Facts;
use crate::orchestrator::engine::expression::render;
use crate::orchestrator::engine::expression::render_object;
use crate::orchestrator::engine::seed;

/// What describes other starts than this one: templates of triggers and parameters, already read.
const NOT_OURS: [&str; 3] = ["triggers", "parameterConfig", "expectedArtifacts"];

/// The definition with its expressions resolved, and the trigger's parameters with theirs, but for those of `told`.
pub(super) fn resolve(definition: &Definition, trigger: &mut Object, told: &BTreeSet<String>, now: Timestamp) -> Definition {
    let v4 = definition.spel_evaluator() == Some("v4");
    let mut facts = Facts { now, seed: seed::of(&format!("{}/{}", definition.id().unwrap_or_default(), now.0)), ..Facts::default() };
    facts.context.insert("trigger".to_owned(), Value::Object(trigger.clone()));
    if let Some(Value::Object(parameters)) = trigger.get_mut("parameters") {
        for (_, value) in parameters.iter_mut().filter(|(name, _)| !told.contains(*name)) {
            *value = resolved(value, &facts);
        }
    }
    facts.context.insert("trigger".to_owned(), Value::Object(trigger.clone()));
    if let Some(variables) = definition.document().get("templateVariables") {
        facts.context.insert("templateVariables".to_owned(), resolved(variables, &facts));
    }
    let field = |(key, value): (&String, &Value)| {
        let value = match (key.as_str(), value) {
            ("stages", Value::Array(stages)) if !v4 => stages.iter().map(|stage| resolved_stage(stage, &facts)).collect(),
            ("stages", _) => value.clone(),
            (key, _) if NOT_OURS.contains(&key) => value.clone(),
            (_, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) => {
                resolved(value, &facts)
            }
        };
        (key.clone(), value)
    };
    Definition::from_document(definition.document().iter().map(field).collect::<Map<_, _>>())
}

fn resolved(value: &Value, facts: &Facts) -> Value {
    let made = render(value, facts, Unknown::Refused);
    if made.needs.is_empty() { made.value.into_owned() } else { value.clone() }
}

/// A stage remembers what is not to be evaluated, as it does later.
fn resolved_stage(stage: &Value, facts: &Facts) -> Value {
    let Value::Object(fields) = stage else { return stage.clone() };
    let made = render_object(fields, facts, Unknown::Refused);
    if made.needs.is_empty() { Value::Object(made.value.into_owned()) } else { stage.clone() }
}
