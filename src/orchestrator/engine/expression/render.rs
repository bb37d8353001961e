//! Contexts with `${…}` in them: every text of a value, and every key, is resolved.
//!
//! A text that is one expression becomes what the expression gives, a number or a map included; text round expressions becomes text. A part that fails, or
//! gives null, stays as it stood. A value without any expression costs the scan and nothing else.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Map;
use serde_json::Value;

use super::Scope;
use super::Unknown;
use super::budget::Budget;
use super::datum::Datum;
use super::datum::Style;
use super::error::Error;
use super::error::Problem;
use super::eval;
use super::limit;
use super::notes;
use super::notes::Notes;
use super::notes::escaped;
use super::notes::is_expression;
use super::summary::Summary;
use super::template;
use super::template::Part;

/// A value with its expressions resolved.
#[derive(Clone, Debug)]
pub struct Rendered<T> {
    /// Borrowed when there was no expression in it.
    pub value: T,
    /// What did not go well.
    pub summary: Summary,
    /// Pages to fetch; then render the same value again with them in the scope. While there are any, the value is not to be used.
    pub needs: Vec<String>,
}

/// Resolves one value.
pub fn render<'v>(value: &'v Value, scope: &dyn Scope, unknown: Unknown) -> Rendered<Cow<'v, Value>> {
    if !has_expression(value, 0) {
        return Rendered { value: Cow::Borrowed(value), summary: Summary::default(), needs: Vec::new() };
    }
    let mut pass = Pass::new(scope, unknown, Notes::default());
    let value = pass.value(value, "value", 0);
    pass.finish(Cow::Owned(value))
}

/// Resolves a context. It remembers what expressions gave that looks like another one, so that later passes leave that alone.
pub fn render_object<'v>(object: &'v Map<String, Value>, scope: &dyn Scope, unknown: Unknown) -> Rendered<Cow<'v, Map<String, Value>>> {
    if !notes::has_open(object) {
        return Rendered { value: Cow::Borrowed(object), summary: Summary::default(), needs: Vec::new() };
    }
    let mut pass = Pass::new(scope, unknown, Notes::of(object));
    let mut made = pass.object(object, 1);
    if !pass.kept.is_empty() {
        made.insert(notes::KEY.to_owned(), std::mem::take(&mut pass.kept).into_value());
    }
    pass.finish(Cow::Owned(made))
}

fn has_expression(value: &Value, depth: usize) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => is_expression(text),
        Value::Array(_) | Value::Object(_) if depth > limit::CONTEXT_DEPTH => false,
        Value::Array(items) => items.iter().any(|item| has_expression(item, depth + 1)),
        Value::Object(map) => map.iter().any(|(key, value)| is_expression(key) || has_expression(value, depth + 1)),
    }
}

/// How many expressions a text opens.
fn opened(text: &str) -> usize {
    text.matches(template::OPEN).count()
}

struct Pass<'s> {
    scope: &'s dyn Scope,
    unknown: Unknown,
    budget: Budget,
    summary: Summary,
    needs: BTreeSet<String>,
    /// Where the pass is.
    path: Vec<String>,
    /// What is left alone: noted before, and by this pass.
    kept: Notes,
}

impl<'s> Pass<'s> {
    fn new(scope: &'s dyn Scope, unknown: Unknown, kept: Notes) -> Self {
        Self { scope, unknown, budget: Budget::for_pass(), summary: Summary::default(), needs: BTreeSet::new(), path: Vec::new(), kept }
    }

    fn finish<T>(self, value: T) -> Rendered<T> {
        Rendered { value, summary: self.summary, needs: self.needs.into_iter().collect() }
    }

    fn value(&mut self, value: &Value, field: &str, depth: usize) -> Value {
        match value {
            Value::String(text) if is_expression(text) => self.text(text, field),
            Value::Array(_) | Value::Object(_) if self.kept.cover(&self.path) => value.clone(),
            Value::Array(items) if depth <= limit::CONTEXT_DEPTH => {
                let mut made = Vec::with_capacity(items.len());
                for (at, item) in items.iter().enumerate() {
                    self.path.push(at.to_string());
                    made.push(self.value(item, field, depth + 1));
                    self.path.pop();
                }
                Value::Array(made)
            }
            Value::Object(map) if depth <= limit::CONTEXT_DEPTH => Value::Object(self.object(map, depth)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => value.clone(),
        }
    }

    fn object(&mut self, map: &Map<String, Value>, depth: usize) -> Map<String, Value> {
        let mut made = Map::new();
        for (key, value) in map {
            if depth <= 1 && key == notes::KEY {
                continue;
            }
            let name = if is_expression(key) { self.key(key) } else { key.clone() };
            self.path.push(escaped(&name));
            let value = self.value(value, key, depth + 1);
            self.path.pop();
            made.insert(name, value);
        }
        made
    }

    fn key(&mut self, key: &str) -> String {
        self.path.push(escaped(key));
        let noted = self.kept.name(&self.path);
        let name = if noted { key.to_owned() } else { self.new_key(key) };
        self.path.pop();
        name
    }

    fn new_key(&mut self, key: &str) -> String {
        let found: Datum<'_> = self.text(key, key).into();
        let name = found.text(Style::Java).map_or_else(|| key.to_owned(), |text| text.into_owned());
        if name != key && is_expression(&name) {
            let at = self.path.len() - 1;
            self.path[at] = escaped(&name);
            self.kept.add_key(&self.path);
        }
        name
    }

    fn text(&mut self, text: &str, field: &str) -> Value {
        if self.kept.hold(&self.path, text) || self.kept.cover(&self.path) {
            return text.into();
        }
        self.kept.drop_text(&self.path);
        match template::parts(text) {
            Err(error) => {
                self.summary.failed(inner(text), field, &error, self.scope.now());
                text.into()
            }
            Ok(parts) => match parts.as_slice() {
                [Part::Code { source, at }] => self.whole(text, source, *at, field),
                parts => self.composed(text, parts, field),
            },
        }
    }

    /// A text that is one expression.
    fn whole(&mut self, text: &str, source: &str, at: usize, field: &str) -> Value {
        let found = eval::run(source, self.scope, self.unknown, &self.budget, |datum, budget| datum.into_value(budget));
        match found {
            Ok(Value::Null) => {
                self.summary.unresolved(source, field, self.scope.now());
                text.into()
            }
            Ok(value) => {
                self.kept.add(&mut self.path, &value);
                value
            }
            Err(error) => {
                self.failed(source, field, error.moved(at));
                text.into()
            }
        }
    }

    /// Text round expressions.
    fn composed(&mut self, text: &str, parts: &[Part<'_>], field: &str) -> Value {
        let mut made = String::with_capacity(text.len());
        let mut own = 0;
        let mut worst: Option<Error> = None;
        let mut unresolved = false;
        for part in parts {
            let (source, at) = match part {
                Part::Text(text) => {
                    made.push_str(text);
                    own += opened(text);
                    continue;
                }
                Part::Code { source, at } => (*source, *at),
            };
            let unchanged = &text[at - template::OPEN.len()..=at + source.len()];
            let found = eval::run(source, self.scope, self.unknown, &self.budget, |datum, budget| {
                if datum.is_null() {
                    return Ok(None);
                }
                budget.room(datum.weight())?;
                let text = datum.text(Style::Joined).map(|text| text.into_owned());
                text.map(Some).ok_or_else(|| Problem::unfit("a map has no text: use #toJson"))
            });
            match found {
                Ok(Some(found)) => made.push_str(&found),
                Ok(None) => {
                    unresolved = true;
                    made.push_str(unchanged);
                    own += opened(unchanged);
                }
                Err(error) => {
                    made.push_str(unchanged);
                    own += opened(unchanged);
                    worst = worst.or(Some(error.moved(at)));
                }
            }
        }
        // One entry for the whole text, as Orca keeps it: its key is the text without the signs.
        let key: String = parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text,
                Part::Code { source, .. } => source.trim(),
            })
            .collect();
        match worst {
            Some(error) => self.failed(&key, field, error),
            None if unresolved => self.summary.unresolved(&key, field, self.scope.now()),
            None => {}
        }
        // More than what was left of the pipeline's own words: results brought it, or made it where they meet.
        if opened(&made) != own {
            self.kept.add_text(&self.path, &made);
        }
        made.into()
    }

    fn failed(&mut self, source: &str, field: &str, error: Error) {
        match error.problem {
            Problem::Needs(url) if self.needs.len() < limit::NEEDS || self.needs.contains(&url) => {
                self.needs.insert(url);
            }
            _ => self.summary.failed(source, field, &error, self.scope.now()),
        }
    }
}

/// A text without the signs round it.
fn inner(text: &str) -> &str {
    text.strip_prefix(template::OPEN).and_then(|rest| rest.strip_suffix('}')).unwrap_or(text)
}
