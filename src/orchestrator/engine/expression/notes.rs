//! What in a context is not to be evaluated, remembered in the context itself under [`KEY`].
//!
//! Only a pipeline's own words are evaluated, and each of them once. What an expression gave, and what tasks, people and servers put into a context,
//! may be anybody's text: with a `${` in it, it is noted here by JSON pointer, with the text that stood there, and left alone by every later pass. A
//! place that holds another text than the noted one is the pipeline's again. A key is noted by the pointer of its entry. `true` covers all there is at
//! a place and below it: many texts are covered together, so that notes stay small beside what they are of.

use serde_json::Map;
use serde_json::Value;

use super::SUMMARY_KEY;
use super::limit;
use super::template;

/// The key of a context that holds its notes.
pub const KEY: &str = "notEvaluated";

/// Most texts of one value that are noted one by one.
const ONE_BY_ONE: usize = 32;

type Object = Map<String, Value>;

/// The notes of a context.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes(Object);

impl Notes {
    pub(super) fn of(context: &Object) -> Self {
        Self(context.get(KEY).and_then(Value::as_object).cloned().unwrap_or_default())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// All there is at this place is left alone.
    pub(super) fn cover(&self, path: &[String]) -> bool {
        !self.is_empty() && self.0.get(&pointer(path)) == Some(&Value::Bool(true))
    }

    /// This text at this place is left alone.
    pub(super) fn hold(&self, path: &[String], text: &str) -> bool {
        !self.is_empty() && self.0.get(&pointer(path)).and_then(Value::as_str) == Some(text)
    }

    /// The key of the entry at this place is left alone.
    pub(super) fn name(&self, path: &[String]) -> bool {
        !self.is_empty() && self.0.contains_key(&pointer(path))
    }

    /// Forgets a text that stands at this place no longer.
    pub(super) fn drop_text(&mut self, path: &[String]) {
        if !self.is_empty() && self.0.get(&pointer(path)).is_some_and(Value::is_string) {
            self.0.remove(&pointer(path));
        }
    }

    /// Notes one text.
    pub(super) fn add_text(&mut self, path: &[String], text: &str) {
        self.0.insert(pointer(path), text.into());
    }

    /// Notes the key of the entry at this place.
    pub(super) fn add_key(&mut self, path: &[String]) {
        self.0.insert(pointer(path), Value::Null);
    }

    /// Notes every text and key with an expression in this value.
    pub(super) fn add(&mut self, path: &mut Vec<String>, value: &Value) {
        self.add_new(path, value, None);
    }

    /// The same, but for texts that stood there before, to be evaluated.
    fn add_new(&mut self, path: &mut Vec<String>, value: &Value, before: Option<(&Value, &Self)>) {
        if count(value, 0) > ONE_BY_ONE {
            self.0.insert(pointer(path), Value::Bool(true));
            return;
        }
        self.walk(path, value, before);
    }

    fn walk(&mut self, path: &mut Vec<String>, value: &Value, before: Option<(&Value, &Self)>) {
        match value {
            Value::String(text) if is_expression(text) => {
                let own = before.is_some_and(|(old, notes)| old == value && !notes.hold(path, text) && !notes.cover_any(path));
                if !own {
                    self.add_text(path, text);
                }
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    path.push(at.to_string());
                    self.walk(path, item, before.and_then(|(old, notes)| Some((old.get(at)?, notes))));
                    path.pop();
                }
            }
            Value::Object(map) => {
                for (key, item) in map {
                    path.push(escaped(key));
                    if is_expression(key) {
                        self.0.insert(pointer(path), Value::Null);
                    }
                    self.walk(path, item, before.and_then(|(old, notes)| Some((old.get(key)?, notes))));
                    path.pop();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn cover_any(&self, path: &[String]) -> bool {
        (1..=path.len()).any(|end| self.cover(&path[..end]))
    }

    /// Forgets all that is at this key of the context and below it.
    fn forget(&mut self, key: &str) {
        let at = pointer(&[escaped(key)]);
        let below = format!("{at}/");
        self.0.retain(|pointer, _| *pointer != at && !pointer.starts_with(&below));
    }
}

/// Merges into a context what its stage's tasks, people or servers say, as text that is not to be evaluated; but for the keys of `own`, into which tasks put
/// the pipeline's own words.
pub fn merge_told(context: &mut Object, mut told: Object, own: &[&str]) {
    told.remove(KEY);
    let before = Notes::of(context);
    let mut notes = before.clone();
    for (key, value) in &told {
        notes.forget(key);
        if own.contains(&key.as_str()) || key == SUMMARY_KEY {
            continue;
        }
        let mut path = vec![escaped(key)];
        if is_expression(key) {
            notes.0.insert(pointer(&path), Value::Null);
        }
        notes.add_new(&mut path, value, context.get(key).map(|old| (old, &before)));
    }
    context.extend(told);
    if !notes.is_empty() {
        context.insert(KEY.to_owned(), notes.into_value());
    } else {
        context.remove(KEY);
    }
}

/// There may be something to evaluate in a context.
pub fn has_open(context: &Object) -> bool {
    let notes = Notes::of(context);
    let mut path = Vec::new();
    context.iter().filter(|(key, _)| *key != KEY).any(|(key, value)| is_open(&notes, &mut path, key, value, 1))
}

fn is_open(notes: &Notes, path: &mut Vec<String>, key: &str, value: &Value, depth: usize) -> bool {
    path.push(escaped(key));
    let open = (is_expression(key) && !notes.name(path)) || is_open_value(notes, path, value, depth);
    path.pop();
    open
}

fn is_open_value(notes: &Notes, path: &mut Vec<String>, value: &Value, depth: usize) -> bool {
    match value {
        Value::String(text) => is_expression(text) && !notes.hold(path, text),
        Value::Array(_) | Value::Object(_) if depth > limit::CONTEXT_DEPTH || notes.cover(path) => false,
        Value::Array(items) => items.iter().enumerate().any(|(at, item)| {
            path.push(at.to_string());
            let open = is_open_value(notes, path, item, depth + 1);
            path.pop();
            open
        }),
        Value::Object(map) => map.iter().any(|(key, value)| is_open(notes, path, key, value, depth + 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

pub(super) fn is_expression(text: &str) -> bool {
    text.contains(template::OPEN)
}

/// A key as a part of a JSON pointer.
pub(super) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn pointer(path: &[String]) -> String {
    path.iter().flat_map(|part| ["/", part.as_str()]).collect()
}

/// Texts and keys with an expression; stops counting past [`ONE_BY_ONE`]. What is nested too deep to be evaluated does not count.
fn count(value: &Value, depth: usize) -> usize {
    match value {
        Value::String(text) => usize::from(is_expression(text)),
        Value::Array(_) | Value::Object(_) if depth > limit::CONTEXT_DEPTH => 0,
        Value::Array(items) => {
            let mut found = 0;
            for item in items {
                found += count(item, depth + 1);
                if found > ONE_BY_ONE {
                    break;
                }
            }
            found
        }
        Value::Object(map) => {
            let mut found = 0;
            for (key, item) in map {
                found += usize::from(is_expression(key)) + count(item, depth + 1);
                if found > ONE_BY_ONE {
                    break;
                }
            }
            found
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
