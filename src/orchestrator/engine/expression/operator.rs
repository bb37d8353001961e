//! Operators between two values. Numbers are whole (64 bits) or real, as in JSON; one real one makes the result real.

use std::cmp::Ordering;

use super::Datum;
use super::datum::Style;
use super::error::Problem;
use super::eval::Machine;
use super::java::Thing;
use super::pattern;
use super::syntax::Binary;

/// A number for arithmetic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// Whole.
    Int(i64),
    /// Real.
    Real(f64),
}

impl Figure {
    /// As a real number.
    pub fn real(self) -> f64 {
        match self {
            Self::Int(n) => n as f64,
            Self::Real(n) => n,
        }
    }
}

/// The number a value is.
pub fn number(value: &Datum<'_>) -> Result<Figure, Problem> {
    let n = value.as_number().ok_or_else(|| Problem::unfit(format!("{} is no number", value.kind())))?;
    Ok(n.as_i64().map_or_else(|| Figure::Real(n.as_f64().unwrap_or(f64::NAN)), Figure::Int))
}

/// `-x`.
pub fn negate(value: &Datum<'_>) -> Result<Datum<'static>, Problem> {
    match number(value)? {
        Figure::Int(n) => whole(n.checked_neg()),
        Figure::Real(n) => Datum::real(-n),
    }
}

/// A whole result, unless it overflowed.
pub fn whole(n: Option<i64>) -> Result<Datum<'static>, Problem> {
    n.map(Datum::from).ok_or_else(|| Problem::unfit("the number is too large, or divided by zero"))
}

/// All operators but `and` and `or`, which do not always look at their right side.
pub fn apply<'a>(machine: &Machine<'a, '_>, left: &Datum<'a>, op: Binary, right: &Datum<'a>) -> Result<Datum<'a>, Problem> {
    match op {
        Binary::Or => Ok((left.truth()? || right.truth()?).into()),
        Binary::And => Ok((left.truth()? && right.truth()?).into()),
        Binary::Equal => equal(machine, left, right).map(Datum::from),
        Binary::NotEqual => equal(machine, left, right).map(|same| (!same).into()),
        Binary::Less => compare(machine, left, right).map(|o| o.is_lt().into()),
        Binary::LessOrEqual => compare(machine, left, right).map(|o| o.is_le().into()),
        Binary::Greater => compare(machine, left, right).map(|o| o.is_gt().into()),
        Binary::GreaterOrEqual => compare(machine, left, right).map(|o| o.is_ge().into()),
        Binary::Matches => match (left.as_str(), right.as_str()) {
            (Some(text), Some(source)) => pattern::matches(machine.budget, text, source).map(Datum::from),
            _ => Err(Problem::unfit("'matches' stands between a text and a regular expression")),
        },
        Binary::Between => match right.items().as_deref() {
            Some([low, high]) => Ok((compare(machine, left, low)?.is_ge() && compare(machine, left, high)?.is_le()).into()),
            _ => Err(Problem::unfit("'between' needs a list of two values on its right")),
        },
        Binary::InstanceOf => match right {
            Datum::Thing(thing) => match thing.as_ref() {
                Thing::Type(class) => Ok(class.has(left).into()),
                _ => Err(Problem::unfit("'instanceof' needs a type on its right")),
            },
            _ => Err(Problem::unfit("'instanceof' needs a type on its right")),
        },
        Binary::Add => add(machine, left, right),
        Binary::Subtract => arithmetic(left, right, i64::checked_sub, |a, b| a - b),
        Binary::Multiply => match (left.as_str(), right.as_i64()) {
            (Some(text), Some(times)) => repeat(machine, text, times),
            _ => arithmetic(left, right, i64::checked_mul, |a, b| a * b),
        },
        Binary::Divide => arithmetic(left, right, i64::checked_div, |a, b| a / b),
        Binary::Remainder => arithmetic(left, right, i64::checked_rem, |a, b| a % b),
        Binary::Power => match (number(left)?, number(right)?) {
            (Figure::Int(a), Figure::Int(b)) if b >= 0 => whole(u32::try_from(b).ok().and_then(|b| a.checked_pow(b))),
            (a, b) => Datum::real(a.real().powf(b.real())),
        },
    }
}

fn arithmetic(
    left: &Datum<'_>,
    right: &Datum<'_>,
    int: fn(i64, i64) -> Option<i64>,
    real: fn(f64, f64) -> f64,
) -> Result<Datum<'static>, Problem> {
    match (number(left)?, number(right)?) {
        (Figure::Int(a), Figure::Int(b)) => whole(int(a, b)),
        (a, b) => Datum::real(real(a.real(), b.real())),
    }
}

fn add<'a>(machine: &Machine<'a, '_>, left: &Datum<'a>, right: &Datum<'a>) -> Result<Datum<'a>, Problem> {
    if left.as_str().is_none() && right.as_str().is_none() {
        return arithmetic(left, right, i64::checked_add, |a, b| a + b);
    }
    let mut whole = String::new();
    for side in [left, right] {
        let style = if side.is_map() { Style::Java } else { Style::Joined };
        match side.as_str() {
            Some(text) => {
                machine.budget.room(text.len())?;
                whole.push_str(text);
            }
            None => whole.push_str(&machine.text(side, style)?),
        }
    }
    Ok(whole.into())
}

/// A text over and over.
pub fn repeat(machine: &Machine<'_, '_>, text: &str, times: i64) -> Result<Datum<'static>, Problem> {
    let times = usize::try_from(times).map_err(|_| Problem::unfit("a text cannot be repeated less than no times"))?;
    machine.budget.room(text.len().saturating_mul(times))?;
    Ok(text.repeat(times).into())
}

/// Equal: numbers by value, texts by their characters; values of different kinds are not.
pub fn equal<'a>(machine: &Machine<'a, '_>, left: &Datum<'a>, right: &Datum<'a>) -> Result<bool, Problem> {
    machine.budget.work(1)?;
    if let (Ok(a), Ok(b)) = (number(left), number(right)) {
        return Ok(match (a, b) {
            (Figure::Int(a), Figure::Int(b)) => a == b,
            (a, b) => a.real() == b.real(),
        });
    }
    if let (Some(a), Some(b)) = (left.as_str(), right.as_str()) {
        machine.budget.work(a.len().min(b.len()) / 64)?;
        return Ok(a == b);
    }
    if let (Datum::Thing(a), Datum::Thing(b)) = (left, right) {
        return Ok(a.order(b) == Some(Ordering::Equal));
    }
    if left.is_list() && right.is_list() {
        return same_items(machine, left, right);
    }
    if left.is_map() && right.is_map() {
        return same_entries(machine, left, right);
    }
    Ok(left.value().is_some_and(|a| right.value() == Some(a)))
}

fn same_items<'a>(machine: &Machine<'a, '_>, left: &Datum<'a>, right: &Datum<'a>) -> Result<bool, Problem> {
    if left.len() != right.len() {
        return Ok(false);
    }
    let (Some(left), Some(right)) = (left.items(), right.items()) else { return Ok(false) };
    for (a, b) in left.iter().zip(&right) {
        if !equal(machine, a, b)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn same_entries<'a>(machine: &Machine<'a, '_>, left: &Datum<'a>, right: &Datum<'a>) -> Result<bool, Problem> {
    let (Some(left), Some(right)) = (left.entries(), right.entries()) else { return Ok(false) };
    if left.len() != right.len() {
        return Ok(false);
    }
    let right: std::collections::BTreeMap<_, _> = right.into_iter().collect();
    for (key, a) in &left {
        let Some(b) = right.get(key) else { return Ok(false) };
        if !equal(machine, a, b)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Order: of numbers, of texts, of dates; null comes first.
pub fn compare(machine: &Machine<'_, '_>, left: &Datum<'_>, right: &Datum<'_>) -> Result<Ordering, Problem> {
    let order = match (left.is_null(), right.is_null()) {
        (true, true) => Some(Ordering::Equal),
        (true, false) => Some(Ordering::Less),
        (false, true) => Some(Ordering::Greater),
        (false, false) => match (number(left), number(right)) {
            (Ok(Figure::Int(a)), Ok(Figure::Int(b))) => Some(a.cmp(&b)),
            (Ok(a), Ok(b)) => a.real().partial_cmp(&b.real()),
            _ => match (left, right) {
                (Datum::Thing(a), Datum::Thing(b)) => a.order(b),
                _ => match (left.as_str(), right.as_str()) {
                    (Some(a), Some(b)) => {
                        machine.budget.work(a.len().min(b.len()) / 64)?;
                        Some(a.cmp(b))
                    }
                    _ => None,
                },
            },
        },
    };
    order.ok_or_else(|| Problem::unfit(format!("{} cannot be compared with {}", left.kind(), right.kind())))
}
