//! Values on their way through an evaluation. What stands in the scope is borrowed; only what is made is owned.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

use serde_json::Map;
use serde_json::Number;
use serde_json::Value;

use super::budget::Budget;
use super::error::Problem;
use super::java::Thing;

/// Something with fields that is looked into without being made into JSON first: an execution, a stage.
pub trait Record {
    /// The field of this name; `None` when there is none.
    fn field(&self, name: &str) -> Option<Datum<'_>>;

    /// All of it.
    fn to_value(&self) -> Value;
}

/// A value in an evaluation.
#[derive(Clone)]
pub enum Datum<'a> {
    /// JSON.
    Value(Cow<'a, Value>),
    /// A JSON object that stands on its own: a context, outputs.
    Object(&'a Map<String, Value>),
    /// A list of such values.
    List(Rc<Vec<Datum<'a>>>),
    /// Something with fields.
    Record(&'a dyn Record),
    /// A type, a date and other things of Java's that JSON has no form for.
    #[doc(hidden)]
    Thing(Rc<Thing>),
}

impl fmt::Debug for Datum<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => write!(f, "{value}"),
            Self::Object(map) => write!(f, "{map:?}"),
            Self::List(items) => write!(f, "{items:?}"),
            Self::Record(_) => f.write_str("record"),
            Self::Thing(thing) => write!(f, "{thing:?}"),
        }
    }
}

impl From<Value> for Datum<'_> {
    fn from(value: Value) -> Self {
        Self::Value(Cow::Owned(value))
    }
}

impl<'a> From<&'a Value> for Datum<'a> {
    fn from(value: &'a Value) -> Self {
        Self::Value(Cow::Borrowed(value))
    }
}

impl From<String> for Datum<'_> {
    fn from(text: String) -> Self {
        Value::String(text).into()
    }
}

impl From<&str> for Datum<'_> {
    fn from(text: &str) -> Self {
        Value::String(text.to_owned()).into()
    }
}

impl From<bool> for Datum<'_> {
    fn from(b: bool) -> Self {
        Value::Bool(b).into()
    }
}

impl From<i64> for Datum<'_> {
    fn from(n: i64) -> Self {
        Value::from(n).into()
    }
}

impl<'a> From<Vec<Datum<'a>>> for Datum<'a> {
    fn from(items: Vec<Datum<'a>>) -> Self {
        Self::List(Rc::new(items))
    }
}

impl From<Thing> for Datum<'_> {
    fn from(thing: Thing) -> Self {
        Self::Thing(Rc::new(thing))
    }
}

/// How a value is written as a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Within a text round expressions: a list is its elements with commas between; a map has no form.
    Joined,
    /// Java's `toString`: `[a, b]`, `{k=v}`.
    Java,
}

impl<'a> Datum<'a> {
    pub(super) const NULL: Datum<'static> = Datum::Value(Cow::Owned(Value::Null));

    /// A number that is not whole; an error when it is no number.
    pub(super) fn real(n: f64) -> Result<Self, Problem> {
        Number::from_f64(n).map(|n| Value::Number(n).into()).ok_or_else(|| Problem::unfit("the result is not a number"))
    }

    /// JSON, when that is what it is.
    pub(super) fn value(&self) -> Option<&Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Object(_) | Self::List(_) | Self::Record(_) | Self::Thing(_) => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        self.value().is_some_and(Value::is_null)
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        self.value()?.as_str()
    }

    pub(super) fn as_i64(&self) -> Option<i64> {
        self.value()?.as_i64()
    }

    pub(super) fn as_number(&self) -> Option<&Number> {
        self.value()?.as_number()
    }

    /// The word for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Value(value) => match value.as_ref() {
                Value::Null => "null",
                Value::Bool(_) => "a boolean",
                Value::Number(_) => "a number",
                Value::String(_) => "a text",
                Value::Array(_) => "a list",
                Value::Object(_) => "a map",
            },
            Self::Object(_) | Self::Record(_) => "a map",
            Self::List(_) => "a list",
            Self::Thing(thing) => thing.kind(),
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::List(_)) || self.value().is_some_and(Value::is_array)
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self, Self::Object(_) | Self::Record(_)) || self.value().is_some_and(Value::is_object)
    }

    /// Number of elements or entries.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Self::Value(value) => value.as_array().map(Vec::len).or_else(|| value.as_object().map(Map::len)),
            Self::Object(map) => Some(map.len()),
            Self::List(items) => Some(items.len()),
            Self::Record(record) => record.to_value().as_object().map(Map::len),
            Self::Thing(_) => None,
        }
    }

    /// The entry of this name, of a map.
    pub(super) fn field(&self, name: &str) -> Option<Datum<'a>> {
        match self {
            Self::Value(Cow::Borrowed(value)) => value.get(name).map(Datum::from),
            Self::Value(Cow::Owned(value)) => value.get(name).cloned().map(Datum::from),
            Self::Object(map) => map.get(name).map(Datum::from),
            Self::Record(record) => record.field(name),
            Self::List(_) | Self::Thing(_) => None,
        }
    }

    /// The element at this place, of a list.
    pub(super) fn element(&self, at: usize) -> Option<Datum<'a>> {
        match self {
            Self::Value(Cow::Borrowed(value)) => value.get(at).map(Datum::from),
            Self::Value(Cow::Owned(value)) => value.get(at).cloned().map(Datum::from),
            Self::List(items) => items.get(at).cloned(),
            Self::Object(_) | Self::Record(_) | Self::Thing(_) => None,
        }
    }

    /// The elements of a list.
    pub(super) fn items(&self) -> Option<Vec<Datum<'a>>> {
        match self {
            Self::Value(Cow::Borrowed(value)) => value.as_array().map(|items| items.iter().map(Datum::from).collect()),
            Self::Value(Cow::Owned(value)) => value.as_array().map(|items| items.iter().cloned().map(Datum::from).collect()),
            Self::List(items) => Some(items.as_ref().clone()),
            Self::Object(_) | Self::Record(_) | Self::Thing(_) => None,
        }
    }

    /// The entries of a map.
    pub(super) fn entries(&self) -> Option<Vec<(String, Datum<'a>)>> {
        fn borrowed<'m>(map: &'m Map<String, Value>) -> Vec<(String, Datum<'m>)> {
            map.iter().map(|(key, value)| (key.clone(), Datum::from(value))).collect()
        }
        match self {
            Self::Value(Cow::Borrowed(value)) => value.as_object().map(borrowed),
            Self::Object(map) => Some(borrowed(map)),
            Self::Value(Cow::Owned(value)) => owned(value.clone()),
            Self::Record(record) => owned(record.to_value()),
            Self::List(_) | Self::Thing(_) => None,
        }
    }

    /// As a condition: Spring's conversion of texts included.
    pub(super) fn truth(&self) -> Result<bool, Problem> {
        let word = match self.value() {
            Some(Value::Bool(b)) => return Ok(*b),
            Some(Value::String(text)) => text.trim().to_ascii_lowercase(),
            _ => return Err(Problem::unfit(format!("{} is neither true nor false", self.kind()))),
        };
        match word.as_str() {
            "true" | "on" | "yes" | "1" => Ok(true),
            "false" | "off" | "no" | "0" => Ok(false),
            _ => Err(Problem::unfit("a text that is neither 'true' nor 'false' is no condition")),
        }
    }

    /// As a text. `None` for what has none in this style.
    pub(super) fn text(&self, style: Style) -> Option<Cow<'_, str>> {
        match self {
            Self::Value(value) => json_text(value, style),
            Self::Object(map) => map_text(map.iter().map(|(k, v)| (k.as_str(), v)), style),
            Self::List(items) => list_text(items.iter().map(|item| item.text(style)), style),
            Self::Record(record) => json_text(&record.to_value(), style).map(|text| text.into_owned().into()),
            Self::Thing(thing) => Some(thing.to_string().into()),
        }
    }

    /// Bytes a copy of it would take, about. Shared and borrowed parts count as if they were copied.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Value(value) => weight(value),
            Self::Object(map) => map_weight(map),
            Self::List(items) => items.iter().map(Datum::weight).fold(NODE, usize::saturating_add),
            Self::Record(record) => weight(&record.to_value()),
            Self::Thing(_) => NODE,
        }
    }

    /// What it costs to hold it: nothing when it is borrowed.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Value(Cow::Owned(value)) => weight(value),
            Self::List(items) => NODE.saturating_mul(items.len()),
            Self::Value(Cow::Borrowed(_)) | Self::Object(_) | Self::Record(_) | Self::Thing(_) => 0,
        }
    }

    /// As JSON. What is copied for it is paid for first.
    pub(super) fn into_value(self, budget: &Budget) -> Result<Value, Problem> {
        match self {
            Self::Value(Cow::Owned(value)) => Ok(value),
            Self::Value(Cow::Borrowed(value)) => budget.room(weight(value)).map(|()| value.clone()),
            Self::Object(map) => budget.room(map_weight(map)).map(|()| Value::Object(map.clone())),
            Self::List(items) => items.iter().map(|item| item.clone().into_value(budget)).collect::<Result<_, _>>().map(Value::Array),
            Self::Record(record) => {
                let value = record.to_value();
                budget.room(weight(&value)).map(|()| value)
            }
            Self::Thing(thing) => Ok(thing.to_json()),
        }
    }
}

fn owned<'a>(value: Value) -> Option<Vec<(String, Datum<'a>)>> {
    match value {
        Value::Object(map) => Some(map.into_iter().map(|(key, value)| (key, value.into())).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

/// Bytes of a JSON node without its text.
const NODE: usize = 32;

fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => NODE,
        Value::String(text) => NODE + text.len(),
        Value::Array(items) => items.iter().map(weight).fold(NODE, usize::saturating_add),
        Value::Object(map) => map_weight(map),
    }
}

fn map_weight(map: &Map<String, Value>) -> usize {
    map.iter().map(|(key, value)| NODE + key.len() + weight(value)).fold(NODE, usize::saturating_add)
}

fn json_text(value: &Value, style: Style) -> Option<Cow<'_, str>> {
    match value {
        Value::Null => Some("null".into()),
        Value::Bool(b) => Some(if *b { "true" } else { "false" }.into()),
        Value::Number(n) => Some(number_text(n).into()),
        Value::String(text) => Some(text.into()),
        Value::Array(items) => list_text(items.iter().map(|item| json_text(item, style)), style),
        Value::Object(map) => map_text(map.iter().map(|(k, v)| (k.as_str(), v)), style),
    }
}

fn list_text<'t>(items: impl Iterator<Item = Option<Cow<'t, str>>>, style: Style) -> Option<Cow<'static, str>> {
    let items: Vec<_> = items.collect::<Option<_>>()?;
    Some(match style {
        Style::Joined => items.join(",").into(),
        Style::Java => format!("[{}]", items.join(", ")).into(),
    })
}

fn map_text<'t>(entries: impl Iterator<Item = (&'t str, &'t Value)>, style: Style) -> Option<Cow<'static, str>> {
    match style {
        Style::Joined => None,
        Style::Java => {
            let entry = |(key, value)| Some(format!("{key}={}", json_text(value, style)?));
            let entries: Vec<String> = entries.map(entry).collect::<Option<_>>()?;
            Some(format!("{{{}}}", entries.join(", ")).into())
        }
    }
}

/// As Java writes it: `7`, `7.0`, `1.0E10`.
pub(super) fn number_text(n: &Number) -> String {
    match n.as_f64() {
        Some(real) if n.is_f64() => real_text(real),
        Some(_) | None => n.to_string(),
    }
}

fn real_text(n: f64) -> String {
    if n == 0.0 || (1e-3..1e7).contains(&n.abs()) {
        return format!("{n:?}");
    }
    let text = format!("{n:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        Some(_) | None => text,
    }
}
