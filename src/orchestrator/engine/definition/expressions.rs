//! Expressions in a document: every text with `${`, keys and values alike.

use serde_json::Value;

use super::super::problem::Severity;
use super::super::problem::escaped;
use super::Problem;
use super::Rules;

/// True when some text in it holds an expression, so that its value is not known yet.
pub(super) fn has_any(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(list) => list.iter().any(has_any),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains("${") || has_any(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Looks at every text of this entry of the object at `path`. The depth is bounded by the reader of JSON.
pub(super) fn check(key: &str, value: &Value, path: &str, severity: Severity, rules: Rules<'_>, problems: &mut Vec<Problem>) {
    let mut walk = Walk { path: path.to_owned(), severity, rules, problems };
    walk.entry(key, value);
}

struct Walk<'a> {
    path: String,
    severity: Severity,
    rules: Rules<'a>,
    problems: &'a mut Vec<Problem>,
}

impl Walk<'_> {
    fn entry(&mut self, key: &str, value: &Value) {
        self.below(&escaped(key), |walk| {
            walk.text(key);
            walk.value(value);
        });
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(list) => list.iter().enumerate().for_each(|(at, entry)| self.below(&at.to_string(), |walk| walk.value(entry))),
            Value::Object(map) => map.iter().for_each(|(key, value)| self.entry(key, value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn below(&mut self, step: &str, look: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push('/');
        self.path.push_str(step);
        look(self);
        self.path.truncate(length);
    }

    fn text(&mut self, text: &str) {
        if !text.contains("${") {
            return;
        }
        let Some(fault) = (self.rules.expression)(text) else { return };
        self.problems.push(match self.severity {
            Severity::Error => Problem::error(&self.path, fault),
            Severity::Warning => Problem::warning(&self.path, format!("{fault}; the text is left as it is")),
        });
    }
}
