//! Parameters: what a pipeline asks for, and what a start brings.
//!
//! Unlike Orca, which leaves it to the user interface, a start is checked against `required` and `options`, all errors at once; and a value that
//! was given stays, also an empty or false one: only an absent one (or `null`) becomes the default.

use std::collections::HashSet;

use serde_json::Value;

use super::super::problem::escaped;
use super::Object;
use super::Problem;

/// One parameter of `parameterConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name in `parameters`.
    pub name: String,
    /// For people.
    pub label: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// A start has to bring it, unless it has a default or its condition does not hold.
    pub required: bool,
    /// Taken when a start does not bring it.
    pub default: Option<Value>,
    /// The values it may have; empty when any.
    pub options: Vec<Value>,
    /// It matters only when this holds.
    pub conditional: Option<Conditional>,
}

/// A comparison with another parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditional {
    /// The other one.
    pub parameter: String,
    /// How.
    pub comparator: Comparator,
    /// With what.
    pub value: Value,
}

/// How two values are compared: as numbers when both are, else as texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparator {
    /// `=`
    Is,
    /// `!=`
    IsNot,
    /// `<`
    Less,
    /// `<=`
    LessOrIs,
    /// `>`
    More,
    /// `>=`
    MoreOrIs,
}

impl Comparator {
    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "=" | "==" => Self::Is,
            "!=" => Self::IsNot,
            "<" => Self::Less,
            "<=" => Self::LessOrIs,
            ">" => Self::More,
            ">=" => Self::MoreOrIs,
            _ => return None,
        })
    }

    fn holds(self, left: &Value, right: &Value) -> bool {
        let (left, right) = (text(left), text(right));
        let numbers = left.trim().parse::<f64>().ok().zip(right.trim().parse::<f64>().ok());
        let order = numbers.map_or_else(|| Some(left.cmp(&right)), |(left, right)| left.partial_cmp(&right));
        order.is_some_and(|order| match self {
            Self::Is => order.is_eq(),
            Self::IsNot => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrIs => order.is_le(),
            Self::More => order.is_gt(),
            Self::MoreOrIs => order.is_ge(),
        })
    }
}

/// A value as people write it into a form.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn is_blank(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(str::is_empty)
}

/// The parameters of a document; what is wrong with them goes to `problems`.
pub(super) fn read(document: &Object, problems: &mut Vec<Problem>) -> Vec<Parameter> {
    let mut parameters: Vec<Parameter> = Vec::new();
    let Some(list) = super::check::list(document, "parameterConfig", "", problems) else { return parameters };
    let mut names = HashSet::new();
    for (at, entry) in list.iter().enumerate() {
        let path = format!("/parameterConfig/{at}");
        let Some(entry) = entry.as_object() else {
            problems.push(Problem::error(path, "must be an object with a `name`"));
            continue;
        };
        let Some(name) = entry.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()) else {
            problems.push(Problem::error(format!("{path}/name"), "a parameter needs a name"));
            continue;
        };
        if !names.insert(name) {
            problems.push(Problem::error(format!("{path}/name"), format!("there is another parameter {name:?}")));
        }
        parameters.push(parameter(name, entry, &path, problems));
    }
    for (at, parameter) in parameters.iter().enumerate() {
        if let Some(conditional) = &parameter.conditional
            && !names.contains(conditional.parameter.as_str())
        {
            let what = format!("there is no parameter {:?}", conditional.parameter);
            problems.push(Problem::error(format!("/parameterConfig/{at}/conditional/parameter"), what));
        }
    }
    parameters
}

fn parameter(name: &str, entry: &Object, path: &str, problems: &mut Vec<Problem>) -> Parameter {
    super::check::booleans(entry, &["required", "pinned", "hasOptions"], path, problems);
    let said = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut options = Vec::new();
    for (at, option) in super::check::list(entry, "options", path, problems).unwrap_or_default().iter().enumerate() {
        match option.get("value") {
            Some(value) => options.push(value.clone()),
            None => problems.push(Problem::error(format!("{path}/options/{at}"), "must be {\"value\": …}")),
        }
    }
    if entry.get("hasOptions") != Some(&Value::Bool(true)) {
        options.clear();
    }
    let default = entry.get("default").filter(|default| !default.is_null()).cloned();
    if let Some(default) = default.as_ref().filter(|default| !is_blank(default) && !options.is_empty() && !is_option(&options, default)) {
        problems.push(Problem::error(format!("{path}/default"), format!("{default} is none of the options")));
    }
    let conditional = entry.get("conditional").filter(|conditional| !conditional.is_null()).and_then(|conditional| {
        let read = Conditional::read(conditional);
        if read.is_none() {
            let what = "must be {\"parameter\", \"comparator\" (=, !=, <, <=, >, >=), \"comparatorValue\"}";
            problems.push(Problem::error(format!("{path}/conditional"), what));
        }
        read
    });
    Parameter {
        name: name.to_owned(),
        label: said("label"),
        description: said("description"),
        required: entry.get("required") == Some(&Value::Bool(true)),
        default,
        options,
        conditional,
    }
}

impl Conditional {
    fn read(value: &Value) -> Option<Self> {
        Some(Self {
            parameter: value.get("parameter")?.as_str()?.to_owned(),
            comparator: Comparator::read(value.get("comparator")?.as_str()?)?,
            value: value.get("comparatorValue")?.clone(),
        })
    }
}

fn is_option(options: &[Value], value: &Value) -> bool {
    options.iter().any(|option| text(option) == text(value))
}

/// The parameters of a start: what was given, defaults for the rest; what was given beyond those asked for is carried. Paths of problems are
/// below the start's own body (`/parameters/NAME`).
pub fn resolve(parameters: &[Parameter], given: &Object) -> Result<Object, Vec<Problem>> {
    let mut values = given.clone();
    for parameter in parameters {
        let absent = values.get(&parameter.name).is_none_or(Value::is_null);
        if absent && let Some(default) = &parameter.default {
            values.insert(parameter.name.clone(), default.clone());
        }
    }
    let applies = |conditional: &Conditional| {
        conditional.comparator.holds(values.get(&conditional.parameter).unwrap_or(&Value::String(String::new())), &conditional.value)
    };
    let mut problems = Vec::new();
    for parameter in parameters {
        let path = format!("/parameters/{}", escaped(&parameter.name));
        let value = values.get(&parameter.name).filter(|value| !is_blank(value));
        match value {
            None if parameter.required && parameter.conditional.as_ref().is_none_or(applies) => {
                let help = parameter.description.clone().or_else(|| parameter.label.clone()).filter(|help| !help.is_empty());
                let problem = Problem::error(path, "is required");
                problems.push(help.into_iter().fold(problem, Problem::help));
            }
            Some(value) if !parameter.options.is_empty() && !is_option(&parameter.options, value) => {
                let options = parameter.options.iter().map(text).collect::<Vec<_>>().join(", ");
                problems.push(Problem::error(path, format!("{value} is none of the options")).help(format!("one of: {options}")));
            }
            None | Some(_) => {}
        }
    }
    if problems.is_empty() { Ok(values) } else { Err(problems) }
}
