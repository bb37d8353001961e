//! Methods of texts, lists, maps, numbers and booleans: those of Java's that pipelines use and that change nothing.
//!
//! Places in a text count characters, not UTF-16 units; they differ only beyond the basic plane.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::json;

use super::Datum;
use super::budget::Budget;
use super::datum::Style;
use super::error::Problem;
use super::error::cut;
use super::eval::Machine;
use super::java;
use super::limit;
use super::operator;
use super::pattern;

/// A count as a value.
pub fn count(n: usize) -> Datum<'static> {
    i64::try_from(n).unwrap_or(i64::MAX).into()
}

/// `{key, value}`: an entry of a map, for selections and projections.
pub fn entry<'a>(key: String, value: Datum<'a>, budget: &Budget) -> Result<Datum<'a>, Problem> {
    value.into_value(budget).map(|value| json!({ "key": key, "value": value }).into())
}

/// Calls a method; an error when there is none of this name for so many arguments.
pub fn call<'a>(machine: &Machine<'a, '_>, target: &Datum<'a>, name: &str, arguments: &[Datum<'a>]) -> Result<Datum<'a>, Problem> {
    let answer = match (name, arguments) {
        ("toString", []) if !target.is_null() => Some(machine.text(target, Style::Java)?.into()),
        ("equals", [other]) if !target.is_null() => Some(operator::equal(machine, target, other)?.into()),
        ("compareTo", [other]) => Some((operator::compare(machine, target, other)? as i64).into()),
        _ => match target.value() {
            Some(Value::String(_)) => of_text(machine, target.as_str().unwrap_or_default(), name, arguments)?,
            Some(Value::Number(_)) => of_number(target, name, arguments)?,
            Some(Value::Bool(b)) if name == "booleanValue" && arguments.is_empty() => Some((*b).into()),
            _ if target.is_list() => of_list(machine, target, name, arguments)?,
            _ if target.is_map() => of_map(machine, target, name, arguments)?,
            _ => None,
        },
    };
    answer.ok_or_else(|| Problem::NoMethod { name: cut(name, limit::QUOTE).to_owned(), arguments: arguments.len(), on: target.kind() })
}

fn of_number(target: &Datum<'_>, name: &str, arguments: &[Datum<'_>]) -> Result<Option<Datum<'static>>, Problem> {
    let n = operator::number(target)?;
    Ok(match (name, arguments) {
        ("intValue" | "longValue", []) => Some((n.real() as i64).into()),
        ("doubleValue" | "floatValue", []) => Some(Datum::real(n.real())?),
        _ => None,
    })
}

/// An argument that has to be a text. A number is taken for its text, as Spring does.
fn text<'d>(argument: &'d Datum<'_>) -> Result<Cow<'d, str>, Problem> {
    match argument.value() {
        Some(Value::String(_) | Value::Number(_) | Value::Bool(_)) => argument.text(Style::Java),
        _ => None,
    }
    .ok_or_else(|| Problem::unfit(format!("a text is needed, not {}", argument.kind())))
}

/// An argument that has to be a whole number. A text that is one will do, as Spring has it.
pub fn whole(argument: &Datum<'_>) -> Result<i64, Problem> {
    let n = argument.as_i64().or_else(|| argument.as_str()?.trim().parse().ok());
    n.ok_or_else(|| Problem::unfit(format!("a whole number is needed, not {}", argument.kind())))
}

/// Bytes of a text before its character number `n`.
fn byte(text: &str, n: i64) -> Result<usize, Problem> {
    let place = usize::try_from(n).ok().and_then(|n| text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(n));
    place.ok_or_else(|| Problem::unfit(format!("the text has no character {n}")))
}

/// Character number of a byte; -1 for none.
fn place(text: &str, at: Option<usize>) -> Datum<'static> {
    at.map_or_else(|| (-1).into(), |at| count(text[..at].chars().count()))
}

fn of_text<'a>(machine: &Machine<'a, '_>, s: &str, name: &str, arguments: &[Datum<'a>]) -> Result<Option<Datum<'a>>, Problem> {
    let budget = machine.budget;
    budget.work(s.len() / 64)?;
    // What stays within a few times the text's own size is paid here; what can grow is paid where it grows.
    budget.room(s.len())?;
    Ok(Some(match (name, arguments) {
        ("length", []) => count(s.chars().count()),
        ("isEmpty", []) => s.is_empty().into(),
        ("isBlank", []) => s.trim().is_empty().into(),
        ("name" | "intern", []) => s.into(),
        ("trim" | "strip", []) => s.trim().into(),
        ("stripLeading", []) => s.trim_start().into(),
        ("stripTrailing", []) => s.trim_end().into(),
        ("toUpperCase", []) => s.to_uppercase().into(),
        ("toLowerCase", []) => s.to_lowercase().into(),
        ("substring", [from]) => s[byte(s, whole(from)?)?..].into(),
        ("substring" | "subSequence", [from, to]) => {
            let (from, to) = (byte(s, whole(from)?)?, byte(s, whole(to)?)?);
            s.get(from..to).ok_or_else(|| Problem::unfit("the end is before the start"))?.into()
        }
        ("charAt", [at]) => {
            let rest = &s[byte(s, whole(at)?)?..];
            rest.chars().next().ok_or_else(|| Problem::unfit("the text is shorter"))?.to_string().into()
        }
        ("contains", [part]) => s.contains(&*text(part)?).into(),
        ("startsWith", [part]) => s.starts_with(&*text(part)?).into(),
        ("startsWith", [part, from]) => s[byte(s, whole(from)?)?..].starts_with(&*text(part)?).into(),
        ("endsWith", [part]) => s.ends_with(&*text(part)?).into(),
        ("indexOf", [part]) => place(s, s.find(&*text(part)?)),
        ("indexOf", [part, from]) => {
            let from = byte(s, whole(from)?.max(0)).unwrap_or(s.len());
            place(s, s[from..].find(&*text(part)?).map(|at| from + at))
        }
        ("lastIndexOf", [part]) => place(s, s.rfind(&*text(part)?)),
        ("equalsIgnoreCase", [other]) => other.as_str().is_some_and(|o| s.to_lowercase() == o.to_lowercase()).into(),
        ("compareToIgnoreCase", [other]) => (s.to_lowercase().cmp(&text(other)?.to_lowercase()) as i64).into(),
        ("concat", [other]) => {
            let other = text(other)?;
            budget.room(other.len())?;
            format!("{s}{other}").into()
        }
        ("repeat", [times]) => operator::repeat(machine, s, whole(times)?)?,
        ("replace", [from, to]) => {
            let (from, to) = (text(from)?, text(to)?);
            budget.room(s.matches(&*from).count().saturating_mul(to.len()))?;
            s.replace(&*from, &to).into()
        }
        ("replaceAll", [regex, to]) => pattern::replace(budget, s, &text(regex)?, &text(to)?, true)?.into(),
        ("replaceFirst", [regex, to]) => pattern::replace(budget, s, &text(regex)?, &text(to)?, false)?.into(),
        ("matches", [regex]) => pattern::matches(budget, s, &text(regex)?)?.into(),
        ("split", [regex]) => json!(pattern::split(budget, s, &text(regex)?, 0)?).into(),
        ("split", [regex, most]) => json!(pattern::split(budget, s, &text(regex)?, whole(most)?)?).into(),
        ("format" | "formatted", values) => java::format(machine, s, values)?.into(),
        _ => return Ok(None),
    }))
}

/// The element, with what it costs to have copied it.
fn paid<'a>(machine: &Machine<'a, '_>, datum: Datum<'a>) -> Result<Datum<'a>, Problem> {
    machine.budget.room(datum.held())?;
    Ok(datum)
}

fn position<'a>(machine: &Machine<'a, '_>, items: &[Datum<'a>], wanted: &Datum<'a>) -> Result<Option<usize>, Problem> {
    for (at, item) in items.iter().enumerate() {
        if operator::equal(machine, item, wanted)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

fn of_list<'a>(machine: &Machine<'a, '_>, list: &Datum<'a>, name: &str, arguments: &[Datum<'a>]) -> Result<Option<Datum<'a>>, Problem> {
    let n = list.len().unwrap_or_default();
    let items = || {
        machine.budget.work(n)?;
        machine.budget.room(list.held())?;
        Ok(list.items().unwrap_or_default())
    };
    let index = |at: Option<usize>| at.map_or_else(|| (-1).into(), count);
    Ok(Some(match (name, arguments) {
        ("size" | "length", []) => count(n),
        ("isEmpty", []) => (n == 0).into(),
        ("toArray" | "toList", []) => list.clone(),
        ("get", [at]) => {
            let at = whole(at)?;
            let element = usize::try_from(at).ok().and_then(|at| list.element(at));
            paid(machine, element.ok_or_else(|| Problem::unfit(format!("the list has no element {at}")))?)?
        }
        ("contains", [wanted]) => position(machine, &items()?, wanted)?.is_some().into(),
        ("indexOf", [wanted]) => index(position(machine, &items()?, wanted)?),
        ("lastIndexOf", [wanted]) => {
            let mut reversed = items()?;
            reversed.reverse();
            index(position(machine, &reversed, wanted)?.map(|at| n - 1 - at))
        }
        ("containsAll", [wanted]) => {
            let items = items()?;
            let wanted = wanted.items().ok_or_else(|| Problem::unfit("a list is needed"))?;
            let mut all = true;
            for one in &wanted {
                all = all && position(machine, &items, one)?.is_some();
            }
            all.into()
        }
        ("subList", [from, to]) => {
            let range = usize::try_from(whole(from)?).ok().zip(usize::try_from(whole(to)?).ok());
            let part = range.and_then(|(from, to)| items().map(|all: Vec<Datum<'a>>| all.get(from..to).map(<[_]>::to_vec)).transpose());
            part.ok_or_else(|| Problem::unfit("the list is shorter"))??.into()
        }
        _ => return Ok(None),
    }))
}

fn of_map<'a>(machine: &Machine<'a, '_>, map: &Datum<'a>, name: &str, arguments: &[Datum<'a>]) -> Result<Option<Datum<'a>>, Problem> {
    let entries = || {
        machine.budget.work(map.len().unwrap_or_default())?;
        machine.budget.room(map.held())?;
        Ok(map.entries().unwrap_or_default())
    };
    Ok(Some(match (name, arguments) {
        ("size", []) => count(map.len().unwrap_or_default()),
        ("isEmpty", []) => (map.len() == Some(0)).into(),
        ("get", [key]) => paid(machine, map.field(&text(key)?).unwrap_or(Datum::NULL))?,
        ("getOrDefault", [key, other]) => paid(machine, map.field(&text(key)?).unwrap_or_else(|| other.clone()))?,
        ("containsKey", [key]) => map.field(&text(key)?).is_some().into(),
        ("containsValue", [wanted]) => {
            let values: Vec<Datum<'a>> = entries()?.into_iter().map(|(_, value)| value).collect();
            position(machine, &values, wanted)?.is_some().into()
        }
        ("keySet", []) => entries()?.into_iter().map(|(key, _)| key.into()).collect::<Vec<_>>().into(),
        ("values", []) => entries()?.into_iter().map(|(_, value)| value).collect::<Vec<_>>().into(),
        ("entrySet", []) => {
            let list: Vec<_> = entries()?.into_iter().map(|(key, value)| entry(key, value, machine.budget)).collect::<Result<_, _>>()?;
            list.into()
        }
        _ => return Ok(None),
    }))
}
