//! Reading fields of a stage's context, and checking them in a document. A value may have come out of an expression as a text: `"5"` is a number here.
//!
//! What must stay true: a field that holds an expression is not judged before the expression is resolved.

use serde_json::Value;

use crate::orchestrator::engine::execution::Object;

/// A text that is not blank.
pub(super) fn text<'a>(fields: &'a Object, key: &str) -> Option<&'a str> {
    fields.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
}

/// A whole number of at least zero; of a fraction the whole part.
pub(super) fn number(fields: &Object, key: &str) -> Option<u64> {
    whole(fields.get(key)?)
}

fn whole(value: &Value) -> Option<u64> {
    let number = match value {
        Value::Number(number) => return number.as_u64().or_else(|| number.as_f64().and_then(floor)),
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    floor(number)
}

fn floor(number: f64) -> Option<u64> {
    // Above 2^53 a float no longer says which whole number it is.
    (0.0..9.0e15).contains(&number).then_some(number as u64)
}

/// A boolean; a text that names one counts, as executions of other origin have it.
pub(super) fn truth(fields: &Object, key: &str, default: bool) -> bool {
    match fields.get(key) {
        Some(Value::Bool(is)) => *is,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => true,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => false,
        Some(_) | None => default,
    }
}

/// Texts of a list, or of one text with commas. Numbers in a list count as texts.
pub(super) fn texts(fields: &Object, key: &str) -> Vec<String> {
    let trimmed = |text: &str| Some(text.trim().to_owned()).filter(|t| !t.is_empty());
    match fields.get(key) {
        Some(Value::Array(list)) => list.iter().filter_map(|entry| entry.as_str().map_or_else(|| plain(entry), trimmed)).collect(),
        Some(Value::String(text)) => text.split(',').filter_map(trimmed).collect(),
        Some(_) | None => Vec::new(),
    }
}

fn plain(value: &Value) -> Option<String> {
    matches!(value, Value::Number(_) | Value::Bool(_)).then(|| value.to_string())
}

/// A value as people read it: a text without its quotes.
pub(super) fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// An object, or nothing.
pub(super) fn object<'a>(fields: &'a Object, key: &str) -> Option<&'a Object> {
    fields.get(key).and_then(Value::as_object)
}

/// Collects what is wrong with a stage's part of a document.
pub(super) struct Check<'a> {
    fields: &'a Object,
    problems: Vec<(String, String)>,
}

impl<'a> Check<'a> {
    /// Of these fields.
    pub fn of(fields: &'a Object) -> Self {
        Self { fields, problems: Vec::new() }
    }

    /// Adds a problem at a JSON pointer below the stage.
    pub fn problem(&mut self, path: &str, what: impl Into<String>) -> &mut Self {
        self.problems.push((path.to_owned(), what.into()));
        self
    }

    /// The value, unless it is absent or an expression whose value nobody knows yet.
    pub fn known(&self, key: &str) -> Option<&'a Value> {
        self.fields.get(key).filter(|value| !value.is_null() && !is_expression(value))
    }

    /// There has to be something: `what` says what, and what for.
    pub fn required(&mut self, key: &str, what: &str) -> &mut Self {
        let missing = match self.fields.get(key) {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => text.trim().is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => false,
        };
        if missing { self.problem(&format!("/{key}"), format!("is missing; {what}")) } else { self }
    }

    /// Each is a text.
    pub fn texts(&mut self, keys: &[&str]) -> &mut Self {
        self.each(keys, Value::is_string, "must be a text")
    }

    /// Each is a JSON boolean: a text would be read as something else by Orca.
    pub fn flags(&mut self, keys: &[&str]) -> &mut Self {
        self.each(keys, Value::is_boolean, "must be true or false, without quotes")
    }

    /// Each is a whole number of at least zero.
    pub fn numbers(&mut self, keys: &[&str]) -> &mut Self {
        self.each(keys, |value| whole(value).is_some(), "must be a number of at least 0")
    }

    /// Each is an object.
    pub fn objects(&mut self, keys: &[&str]) -> &mut Self {
        self.each(keys, Value::is_object, "must be an object")
    }

    /// Each is a list of texts.
    pub fn lists(&mut self, keys: &[&str]) -> &mut Self {
        let fits = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
        self.each(keys, fits, "must be a list of texts")
    }

    fn each(&mut self, keys: &[&str], fits: impl Fn(&Value) -> bool, what: &str) -> &mut Self {
        for key in keys {
            if self.known(key).is_some_and(|value| !fits(value)) {
                self.problem(&format!("/{key}"), what);
            }
        }
        self
    }

    /// One of these words, in any case.
    pub fn word(&mut self, key: &str, words: &[&str]) -> &mut Self {
        if self.known(key).is_some_and(|value| !value.as_str().is_some_and(|text| words.iter().any(|w| w.eq_ignore_ascii_case(text)))) {
            self.problem(&format!("/{key}"), format!("must be one of {}", words.join(", ")));
        }
        self
    }

    /// A list of objects: looks at each with the JSON pointer of its place.
    pub fn entries(&mut self, key: &str, mut look: impl FnMut(&str, &'a Object) -> Vec<(String, String)>) -> &mut Self {
        let Some(value) = self.known(key) else { return self };
        let Some(list) = value.as_array() else { return self.problem(&format!("/{key}"), "must be a list") };
        for (at, entry) in list.iter().enumerate() {
            let path = format!("/{key}/{at}");
            match entry.as_object() {
                Some(fields) => self.problems.extend(look(&path, fields).into_iter().map(|(below, what)| (format!("{path}{below}"), what))),
                None if is_expression(entry) => {}
                None => self.problems.push((path, "must be an object".to_owned())),
            }
        }
        self
    }

    /// What was found.
    pub fn done(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.problems)
    }
}

/// True for a text with an expression in it.
pub(super) fn is_expression(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("${"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_value_that_an_expression_left_as_a_text_is_read_as_what_it_names() {
        let of = fields(json!({"n": "5", "f": 2.9, "bad": "-1", "t": "TRUE", "list": "a, b,,", "mixed": ["x", 7, null]}));
        assert_eq!((number(&of, "n"), number(&of, "f"), number(&of, "bad")), (Some(5), Some(2), None));
        assert!(truth(&of, "t", false) && truth(&of, "absent", true));
        assert_eq!((texts(&of, "list"), texts(&of, "mixed")), (vec!["a".to_owned(), "b".to_owned()], vec!["x".to_owned(), "7".to_owned()]));
    }

    #[test]
    fn a_check_names_each_place_and_leaves_expressions_alone() {
        let of = fields(json!({"flag": "true", "n": "${parameters.n}", "list": [{"a": 1}, 2], "w": "other"}));
        let mut check = Check::of(&of);
        let inner = |_: &str, entry: &Object| vec![("/a".to_owned(), entry["a"].to_string())];
        let problems = check.flags(&["flag"]).numbers(&["n"]).required("gone", "say it").entries("list", inner).word("w", &["this"]).done();
        let paths: Vec<&str> = problems.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["/flag", "/gone", "/list/0/a", "/list/1", "/w"], "{problems:?}");
    }
}
