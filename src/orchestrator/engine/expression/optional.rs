//! `stageEnabled`: whether a stage runs at all.
//!
//! Only what evaluates to true lets a stage run, and only what evaluates to false skips it silently. Anything else skips it as well, as in Orca: a condition
//! that cannot be answered must not start a deployment. That is said, and kept in the summary.

use serde_json::Value;

use super::Scope;
use super::Unknown;
use super::render;
use super::summary::Summary;
use super::template;
use super::template::Part;

/// What a condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There is none: the stage runs.
    None,
    /// It runs.
    Run,
    /// It is skipped.
    Skip,
    /// It is skipped because the condition has no answer.
    Unclear {
        /// What it gave instead, or its own text.
        result: String,
        /// Why.
        summary: Summary,
    },
    /// Pages have to be fetched first.
    Needs(Vec<String>),
}

impl Condition {
    /// The stage runs.
    pub fn runs(&self) -> bool {
        match self {
            Self::None | Self::Run => true,
            Self::Skip | Self::Unclear { .. } | Self::Needs(_) => false,
        }
    }
}

/// The expression of a `stageEnabled`; `None` when it makes nothing optional. A synthetic stage without one takes its parent's: that is the caller's to find.
///
/// A boolean counts as a condition: `${foo == true}` has become one when the context was resolved before the stage started.
pub fn expression(stage_enabled: Option<&Value>) -> Option<String> {
    let object = stage_enabled?.as_object()?;
    if object.get("type")?.as_str()? != "expression" {
        return None;
    }
    match object.get("expression")? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Bool(b) => Some(b.to_string()),
        Value::Null | Value::String(_) => None,
        // A number or a list is no answer, but somebody meant a condition.
        other @ (Value::Number(_) | Value::Array(_) | Value::Object(_)) => Some(other.to_string()),
    }
}

/// Evaluates a `stageEnabled` against the stage.
pub fn condition(stage_enabled: Option<&Value>, scope: &dyn Scope) -> Condition {
    let Some(expression) = expression(stage_enabled) else { return Condition::None };
    let source = match filled(&expression, scope) {
        Ok(source) => source,
        Err(answer) => return answer,
    };
    let text = Value::String(format!("${{{source}}}"));
    let rendered = render::render(&text, scope, Unknown::Null);
    if !rendered.needs.is_empty() {
        return Condition::Needs(rendered.needs);
    }
    let result = match rendered.value.as_ref() {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match result.to_lowercase().as_str() {
        "true" => Condition::Run,
        "false" => Condition::Skip,
        _ => Condition::Unclear { result, summary: rendered.summary },
    }
}

/// The condition as one expression: without a `${…}` round the whole, since authors write either. Of several `${…}` within it each gives a plain word; what
/// could be anything else in an expression than the word it is, such as a quote or an operator, gives no answer. `Err` = that, or pages.
fn filled(expression: &str, scope: &dyn Scope) -> Result<String, Condition> {
    let parts = match template::parts(expression.trim()) {
        Ok(parts) if parts.iter().any(|part| matches!(part, Part::Code { .. })) => parts,
        Ok(_) | Err(_) => return Ok(expression.to_owned()),
    };
    if let [Part::Code { source, .. }] = parts.as_slice() {
        return Ok((*source).to_owned());
    }
    let mut filled = String::new();
    for part in parts {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::Code { source, .. } => {
                let code = Value::String(format!("${{{source}}}"));
                let rendered = render::render(&code, scope, Unknown::Null);
                if !rendered.needs.is_empty() {
                    return Err(Condition::Needs(rendered.needs));
                }
                let word = rendered.value.as_str().map_or_else(|| rendered.value.to_string(), str::to_owned);
                if !word.chars().all(|c| c.is_alphanumeric() || "_.:/@+,-".contains(c)) {
                    return Err(Condition::Unclear { result: expression.to_owned(), summary: rendered.summary });
                }
                filled.push_str(&word);
            }
        }
    }
    Ok(filled)
}
