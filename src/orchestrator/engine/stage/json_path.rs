//! JSON paths, the part of them that webhook stages use: `$.a.b`, `$['a']`, `$.list[0]`, `[-1]`, `[*]`, `.*`, `..name` and `[?(@.type == 'Ready')]`.
//!
//! What must stay true: the length of a path, the number of values it looks at and the depth it goes are bounded. A path that may give many values
//! gives a list; a list of one counts as that one, because a filter is the usual way to name a single thing.

use std::fmt;

use serde_json::Value;

/// Longest path, characters.
const MAX_LENGTH: usize = 1000;

/// Most values looked at for one path: an answer of 1 MiB has fewer.
const MAX_LOOKS: usize = 200_000;

/// Why a path gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("the path {path} cannot be read at character {at}: {what}")]
    Syntax {
        /// The path.
        path: String,
        /// From 1.
        at: usize,
        /// What was expected.
        what: &'static str,
    },
    /// Nothing is there.
    #[error("there is nothing at {0}")]
    Missing(String),
    /// It looks at too much.
    #[error("the path {0} looks at too many values; name the place more exactly")]
    TooMuch(String),
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Index(i64),
    All,
    Below(String),
    Filter { keys: Vec<String>, test: Option<(Compare, Value)> },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Compare {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// A path that can be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    text: String,
    steps: Vec<Step>,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Path {
    /// Reads it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let chars: Vec<char> = text.trim().chars().take(MAX_LENGTH + 1).collect();
        let mut reader = Reader { chars: &chars, at: 0 };
        let steps = reader.path().map_err(|what| Error::Syntax { path: text.to_owned(), at: reader.at + 1, what })?;
        Ok(Self { text: text.trim().to_owned(), steps })
    }

    /// The value at this path.
    pub fn find(&self, root: &Value) -> Result<Value, Error> {
        let (mut found, mut looks) = (vec![root], 0_usize);
        for step in &self.steps {
            let mut next = Vec::new();
            for value in found {
                looks += step.take(value, &mut next);
                if looks > MAX_LOOKS {
                    return Err(Error::TooMuch(self.text.clone()));
                }
            }
            found = next;
        }
        match found.as_slice() {
            [] => Err(Error::Missing(self.text.clone())),
            [one] => Ok((*one).clone()),
            many => Ok(many.iter().map(|value| (*value).clone()).collect()),
        }
    }
}

impl Step {
    /// Adds what this step leads to, and says how many values it looked at.
    fn take<'v>(&self, value: &'v Value, into: &mut Vec<&'v Value>) -> usize {
        let before = into.len();
        match (self, value) {
            (Self::Key(key), Value::Object(object)) => into.extend(object.get(key)),
            (Self::Index(index), Value::Array(list)) => {
                let place = if *index < 0 {
                    list.len().checked_sub(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX))
                } else {
                    usize::try_from(*index).ok()
                };
                into.extend(place.and_then(|place| list.get(place)));
            }
            (Self::All, _) => into.extend(children(value)),
            (Self::Below(key), _) => return below(key, value, into),
            (Self::Filter { keys, test }, Value::Array(_)) => {
                into.extend(children(value).filter(|entry| holds(entry, keys, test.as_ref())));
                return children(value).count() + 1;
            }
            (Self::Key(_) | Self::Index(_) | Self::Filter { .. }, _) => {}
        }
        into.len() - before + 1
    }
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(list) => Box::new(list.iter()),
        Value::Object(object) => Box::new(object.values()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Box::new(std::iter::empty()),
    }
}

fn below<'v>(key: &str, value: &'v Value, into: &mut Vec<&'v Value>) -> usize {
    let (mut open, mut looks) = (vec![value], 0);
    while let Some(value) = open.pop() {
        looks += 1;
        into.extend(value.get(key));
        let from = open.len();
        open.extend(children(value));
        open[from..].reverse();
    }
    looks
}

fn holds(entry: &Value, keys: &[String], test: Option<&(Compare, Value)>) -> bool {
    let value = keys.iter().try_fold(entry, |value, key| value.get(key));
    let (Some(value), Some((compare, wanted))) = (value, test) else { return value.is_some() };
    let order = match (value, wanted) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b)),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => (value == wanted).then_some(std::cmp::Ordering::Equal),
    };
    match compare {
        Compare::Equal => order.is_some_and(|o| o.is_eq()),
        Compare::Unequal => !order.is_some_and(|o| o.is_eq()),
        Compare::Less => order.is_some_and(|o| o.is_lt()),
        Compare::AtMost => order.is_some_and(|o| o.is_le()),
        Compare::More => order.is_some_and(|o| o.is_gt()),
        Compare::AtLeast => order.is_some_and(|o| o.is_ge()),
    }
}

struct Reader<'a> {
    chars: &'a [char],
    at: usize,
}

impl Reader<'_> {
    fn path(&mut self) -> Result<Vec<Step>, &'static str> {
        if self.chars.len() > MAX_LENGTH {
            return Err("it is longer than 1000 characters");
        }
        if !self.eat("$") {
            return Err("a path begins with $");
        }
        let mut steps = Vec::new();
        while self.at < self.chars.len() {
            steps.push(self.step()?);
        }
        Ok(steps)
    }

    fn step(&mut self) -> Result<Step, &'static str> {
        if self.eat("..") {
            return Ok(Step::Below(self.name()?));
        }
        if self.eat(".*") || self.eat("[*]") {
            return Ok(Step::All);
        }
        if self.eat(".") {
            return Ok(Step::Key(self.name()?));
        }
        if self.eat("[?(@") {
            let step = self.filter()?;
            return if self.eat(")]") { Ok(step) } else { Err("expected )] after the filter") };
        }
        if self.eat("[") {
            let step = match self.peek() {
                Some('\'' | '"') => Step::Key(self.quoted()?),
                _ => Step::Index(self.number().ok_or("expected a number or a quoted name")?),
            };
            return if self.eat("]") { Ok(step) } else { Err("expected ]") };
        }
        Err("expected . or [")
    }

    fn filter(&mut self) -> Result<Step, &'static str> {
        let mut keys = Vec::new();
        while self.eat(".") {
            keys.push(self.name()?);
        }
        self.blanks();
        let words = [
            ("==", Compare::Equal),
            ("!=", Compare::Unequal),
            ("<=", Compare::AtMost),
            (">=", Compare::AtLeast),
            ("<", Compare::Less),
            (">", Compare::More),
        ];
        let Some((_, compare)) = words.into_iter().find(|(word, _)| self.eat(word)) else { return Ok(Step::Filter { keys, test: None }) };
        self.blanks();
        let wanted = match self.peek() {
            Some('\'' | '"') => Value::String(self.quoted()?),
            _ => {
                let from = self.at;
                while self.peek().is_some_and(|c| c.is_alphanumeric() || matches!(c, '-' | '+' | '.')) {
                    self.at += 1;
                }
                let text: String = self.chars[from..self.at].iter().collect();
                serde_json::from_str(&text).map_err(|_| "expected a quoted text, a number, true, false or null")?
            }
        };
        self.blanks();
        Ok(Step::Filter { keys, test: Some((compare, wanted)) })
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn eat(&mut self, word: &str) -> bool {
        let length = word.chars().count();
        let found = self.chars[self.at..].iter().take(length).copied().eq(word.chars());
        self.at += if found { length } else { 0 };
        found
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn name(&mut self) -> Result<String, &'static str> {
        let from = self.at;
        while self.peek().is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | ':')) {
            self.at += 1;
        }
        if self.at == from { Err("expected a name") } else { Ok(self.chars[from..self.at].iter().collect()) }
    }

    fn quoted(&mut self) -> Result<String, &'static str> {
        let quote = self.peek();
        let from = self.at + 1;
        let Some(length) = self.chars[from..].iter().position(|c| Some(*c) == quote) else { return Err("the quoted text does not end") };
        self.at = from + length + 1;
        Ok(self.chars[from..from + length].iter().collect())
    }

    fn number(&mut self) -> Option<i64> {
        let from = self.at;
        while self.peek().is_some_and(|c| c == '-' || c.is_ascii_digit()) {
            self.at += 1;
        }
        self.chars[from..self.at].iter().collect::<String>().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn find(path: &str) -> Result<Value, Error> {
        let root = json!({
            "status": "DONE",
            "a b": {"c": [10, 20, 30]},
            "conditions": [{"type": "Ready", "status": "True", "n": 1}, {"type": "Old", "status": "False", "n": 5}],
        });
        Path::parse(path)?.find(&root)
    }

    #[test]
    fn names_places_lists_and_filters() {
        for (path, wanted) in [
            ("$.status", json!("DONE")),
            ("$['a b'].c[1]", json!(20)),
            ("$['a b']['c'][-1]", json!(30)),
            ("$.conditions[*].type", json!(["Ready", "Old"])),
            ("$..type", json!(["Ready", "Old"])),
            ("$.conditions[?(@.type == 'Ready')].status", json!("True")),
            ("$.conditions[?(@.n > 1)].type", json!("Old")),
            ("$.conditions[?(@.type)].n", json!([1, 5])),
        ] {
            assert_eq!(find(path).unwrap(), wanted, "{path}");
        }
        assert_eq!(Path::parse("$").unwrap().find(&json!(7)).unwrap(), 7);
    }

    #[test]
    fn what_is_not_there_and_what_cannot_be_read_are_told_apart() {
        for path in ["$.gone", "$.status.x", "$['a b'].c[3]", "$['a b'].c[-4]", "$.conditions[?(@.n > 9)]"] {
            assert_eq!(find(path), Err(Error::Missing(path.to_owned())));
        }
        for path in ["status", "$.", "$[", "$[']", "$[x]", "$.a[?(@.b == c)]", "$.a[?(@.b == 1]", &format!("$.{}", "a".repeat(2000))] {
            assert!(matches!(find(path), Err(Error::Syntax { .. })), "{path}");
        }
    }

    #[test]
    fn a_path_that_multiplies_is_stopped() {
        let wide: Value = (0..1000).map(|_| json!([vec![0; 300]])).collect();
        assert!(matches!(Path::parse("$[*][*][*]").unwrap().find(&wide), Err(Error::TooMuch(_))));
    }
}
