//! Java's types, as far as pipelines use them: `T(java.lang.Math)`, `new java.util.Date()`, `LocalDate.now()`. A closed list; nothing is looked up.
//!
//! "Now" and chance come from the [`Scope`](super::Scope), so a pass that is run again gives the same.

mod format;
mod time;

use std::cmp::Ordering;
use std::fmt;

use jiff::civil;
use serde_json::Value;

use super::Datum;
use super::datum::Style;
use super::error::Problem;
use super::error::cut;
use super::eval::Machine;
use super::limit;
use super::method;
use super::operator;
use super::operator::Figure;

pub use self::format::format;

/// The types there are. Orca allows a few more that have no use without the rest of Java.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `java.lang.String`.
    String,
    /// `java.lang.Integer`, `Long` and `Byte`: one kind of whole number here.
    Integer,
    /// `java.lang.Double`.
    Double,
    /// `java.lang.Boolean`.
    Boolean,
    /// `java.lang.Math`.
    Math,
    /// `java.util.Date`.
    Date,
    /// `java.text.SimpleDateFormat`.
    SimpleDateFormat,
    /// `java.util.Random`.
    Random,
    /// `java.util.UUID`.
    Uuid,
    /// `java.net.URLEncoder`.
    UrlEncoder,
    /// `java.time.LocalDate`.
    LocalDate,
    /// `java.time.LocalDateTime`.
    LocalDateTime,
    /// `java.time.DayOfWeek`.
    DayOfWeek,
    /// `java.time.Instant`.
    Instant,
    /// `java.time.temporal.ChronoUnit`.
    ChronoUnit,
}

impl Class {
    /// The type of this name; `java.lang.` may be left out.
    pub fn named(name: &str) -> Result<Self, Problem> {
        Ok(match name.strip_prefix("java.lang.").unwrap_or(name) {
            "String" => Self::String,
            "Integer" | "Long" | "Byte" => Self::Integer,
            "Double" => Self::Double,
            "Boolean" => Self::Boolean,
            "Math" => Self::Math,
            "java.util.Date" => Self::Date,
            "java.text.SimpleDateFormat" => Self::SimpleDateFormat,
            "java.util.Random" => Self::Random,
            "java.util.UUID" => Self::Uuid,
            "java.net.URLEncoder" => Self::UrlEncoder,
            "java.time.LocalDate" => Self::LocalDate,
            "java.time.LocalDateTime" => Self::LocalDateTime,
            "java.time.DayOfWeek" => Self::DayOfWeek,
            "java.time.Instant" => Self::Instant,
            "java.time.temporal.ChronoUnit" => Self::ChronoUnit,
            _ => return Err(Problem::Refused(format!("the type {}", cut(name, limit::QUOTE)))),
        })
    }

    /// `value instanceof T(…)`.
    pub fn has(self, value: &Datum<'_>) -> bool {
        match self {
            Self::String => value.as_str().is_some(),
            Self::Integer => value.as_i64().is_some(),
            Self::Double => value.as_number().is_some_and(serde_json::Number::is_f64),
            Self::Boolean => value.value().is_some_and(Value::is_boolean),
            Self::Date | Self::LocalDate | Self::LocalDateTime | Self::Instant => match value {
                Datum::Thing(thing) => thing.class() == Some(self),
                Datum::Value(_) | Datum::Object(_) | Datum::List(_) | Datum::Record(_) => false,
            },
            Self::Math | Self::SimpleDateFormat | Self::Random | Self::Uuid | Self::UrlEncoder | Self::DayOfWeek | Self::ChronoUnit => {
                false
            }
        }
    }
}

/// A value JSON has no form for.
#[derive(Clone, Debug)]
pub enum Thing {
    /// The scope itself, `#root`.
    Root,
    /// A type.
    Type(Class),
    /// A moment: `java.util.Date`.
    Date(jiff::Timestamp),
    /// A moment: `java.time.Instant`.
    Instant(jiff::Timestamp),
    /// A day.
    LocalDate(civil::Date),
    /// A day and a time.
    LocalDateTime(civil::DateTime),
    /// A date's form.
    Format(String),
    /// A source of chance.
    Random,
    /// A unit of time, by Java's name.
    Unit(time::Unit),
    /// A text that is not to be evaluated again.
    Literal(String),
}

impl Thing {
    /// The word for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Root => "the context",
            Self::Type(_) => "a type",
            Self::Date(_) | Self::Instant(_) | Self::LocalDate(_) | Self::LocalDateTime(_) => "a date",
            Self::Format(_) => "a date format",
            Self::Random => "a random source",
            Self::Unit(_) => "a unit of time",
            Self::Literal(_) => "a text",
        }
    }

    fn class(&self) -> Option<Class> {
        match self {
            Self::Date(_) => Some(Class::Date),
            Self::Instant(_) => Some(Class::Instant),
            Self::LocalDate(_) => Some(Class::LocalDate),
            Self::LocalDateTime(_) => Some(Class::LocalDateTime),
            Self::Root | Self::Type(_) | Self::Format(_) | Self::Random | Self::Unit(_) | Self::Literal(_) => None,
        }
    }

    /// Order of two dates of the same kind; of other things only whether they are the same.
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Date(a), Self::Date(b)) | (Self::Instant(a), Self::Instant(b)) => Some(a.cmp(b)),
            (Self::LocalDate(a), Self::LocalDate(b)) => Some(a.cmp(b)),
            (Self::LocalDateTime(a), Self::LocalDateTime(b)) => Some(a.cmp(b)),
            (Self::Type(a), Self::Type(b)) => (a == b).then_some(Ordering::Equal),
            (Self::Unit(a), Self::Unit(b)) => (a == b).then_some(Ordering::Equal),
            (Self::Literal(a), Self::Literal(b)) => (a == b).then_some(Ordering::Equal),
            _ => None,
        }
    }

    /// As it stands in a context: a date of the old kind is its epoch milliseconds, as Jackson writes it, all else its text.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Root | Self::Type(_) | Self::Format(_) | Self::Random => Value::Null,
            Self::Date(at) => at.as_millisecond().into(),
            Self::Instant(_) | Self::LocalDate(_) | Self::LocalDateTime(_) | Self::Unit(_) | Self::Literal(_) => self.to_string().into(),
        }
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Date(at) | Self::Instant(at) => write!(f, "{at}"),
            Self::LocalDate(day) => write!(f, "{day}"),
            Self::LocalDateTime(at) => write!(f, "{at}"),
            Self::Unit(unit) => f.write_str(unit.word()),
            Self::Literal(text) | Self::Format(text) => f.write_str(text),
            Self::Root | Self::Type(_) | Self::Random => f.write_str(self.kind()),
        }
    }
}

/// A field: constants of types, parts of dates.
pub fn property(thing: &Thing, name: &str) -> Option<Datum<'static>> {
    match thing {
        Thing::Type(Class::Math) if name == "PI" => Datum::real(std::f64::consts::PI).ok(),
        Thing::Type(Class::Math) if name == "E" => Datum::real(std::f64::consts::E).ok(),
        Thing::Type(Class::Integer) if name == "MAX_VALUE" => Some(i64::from(i32::MAX).into()),
        Thing::Type(Class::Integer) if name == "MIN_VALUE" => Some(i64::from(i32::MIN).into()),
        Thing::Type(Class::ChronoUnit) => time::Unit::named(name).map(|unit| Thing::Unit(unit).into()),
        Thing::Type(Class::DayOfWeek) => time::is_day(name).then(|| name.into()),
        Thing::LocalDate(_) | Thing::LocalDateTime(_) => time::part(thing, name),
        Thing::Root
        | Thing::Type(_)
        | Thing::Date(_)
        | Thing::Instant(_)
        | Thing::Format(_)
        | Thing::Random
        | Thing::Unit(_)
        | Thing::Literal(_) => None,
    }
}

/// `new Name(…)`.
pub fn construct<'a>(machine: &Machine<'a, '_>, name: &str, arguments: &[Datum<'a>]) -> Result<Datum<'a>, Problem> {
    let class = Class::named(name)?;
    Ok(match (class, arguments) {
        (Class::Date, []) => Thing::Date(time::now(machine)).into(),
        (Class::Date, [ms]) => Thing::Date(time::from_ms(method::whole(ms)?)?).into(),
        (Class::SimpleDateFormat, [pattern]) => Thing::Format(machine.text(pattern, Style::Java)?).into(),
        (Class::Random, [] | [_]) => Thing::Random.into(),
        (Class::String, []) => "".into(),
        (Class::String | Class::Integer | Class::Double | Class::Boolean, [_]) => {
            let name = if class == Class::Boolean { "parseBoolean" } else { "valueOf" };
            of_type(machine, class, name, arguments)?.ok_or_else(|| Problem::Refused("this constructor".into()))?
        }
        _ => return Err(Problem::Refused(format!("new {}", cut(name, limit::QUOTE)))),
    })
}

/// Calls a method of a type, a date, …
pub fn call<'a>(machine: &Machine<'a, '_>, thing: &Thing, name: &str, arguments: &[Datum<'a>]) -> Result<Datum<'a>, Problem> {
    let found = match (thing, name, arguments) {
        (_, "toString", []) => Some(thing.to_string().into()),
        (Thing::Type(class), ..) => of_type(machine, *class, name, arguments)?,
        (Thing::Random, "nextInt", [bound]) => {
            let bound = u64::try_from(method::whole(bound)?).ok().filter(|bound| *bound > 0);
            let bound = bound.ok_or_else(|| Problem::unfit("the bound has to be above 0"))?;
            Some((machine.draw() % bound).cast_signed().into())
        }
        (Thing::Random, "nextInt", []) => Some(((machine.draw() >> 32) as i64 - (1 << 31)).into()),
        (Thing::Random, "nextBoolean", []) => Some((machine.draw() & 1 == 1).into()),
        (Thing::Random, "nextDouble", []) => Some(Datum::real(fraction(machine))?),
        (Thing::Literal(text), ..) => return method::call(machine, &text.as_str().into(), name, arguments),
        _ => time::call(machine, thing, name, arguments)?,
    };
    found.ok_or_else(|| Problem::NoMethod { name: cut(name, limit::QUOTE).to_owned(), arguments: arguments.len(), on: thing.kind() })
}

/// From 0 up to, not including, 1.
fn fraction(machine: &Machine<'_, '_>) -> f64 {
    (machine.draw() >> 11) as f64 / (1_u64 << 53) as f64
}

fn parsed(machine: &Machine<'_, '_>, value: &Datum<'_>, radix: u32) -> Result<i64, Problem> {
    let text = machine.text(value, Style::Java)?;
    i64::from_str_radix(&text, radix).map_err(|_| Problem::unfit(format!("'{}' is no whole number", cut(&text, limit::QUOTE))))
}

/// A real number from its text.
pub fn real(machine: &Machine<'_, '_>, value: &Datum<'_>) -> Result<f64, Problem> {
    let text = machine.text(value, Style::Java)?;
    text.trim().parse().map_err(|_| Problem::unfit(format!("'{}' is no number", cut(&text, limit::QUOTE))))
}

fn of_type<'a>(machine: &Machine<'a, '_>, class: Class, name: &str, arguments: &[Datum<'a>]) -> Result<Option<Datum<'a>>, Problem> {
    Ok(Some(match (class, name, arguments) {
        (Class::String, "valueOf" | "copyValueOf", [value]) => machine.text(value, Style::Java)?.into(),
        (Class::String, "format", [pattern, values @ ..]) => format(machine, &machine.text(pattern, Style::Java)?, values)?.into(),
        (Class::String, "join", [between, parts @ ..]) => {
            let list = match parts {
                [one] if one.is_list() => one.items().unwrap_or_default(),
                parts => parts.to_vec(),
            };
            machine.budget.room(between.weight().saturating_mul(list.len()))?;
            let list: Vec<String> = list.iter().map(|part| machine.text(part, Style::Java)).collect::<Result<_, _>>()?;
            list.join(&between.text(Style::Java).unwrap_or_default()).into()
        }
        (Class::Integer, "parseInt" | "parseLong" | "valueOf" | "parseByte", [value]) => parsed(machine, value, 10)?.into(),
        (Class::Integer, "parseInt" | "parseLong" | "valueOf", [value, radix]) => {
            let radix = u32::try_from(method::whole(radix)?).ok().filter(|radix| (2..=36).contains(radix));
            parsed(machine, value, radix.ok_or_else(|| Problem::unfit("a radix is from 2 to 36"))?)?.into()
        }
        (Class::Integer | Class::Double | Class::Boolean, "toString", [value]) => machine.text(value, Style::Java)?.into(),
        (Class::Integer | Class::Double, "compare", [a, b]) => (operator::compare(machine, a, b)? as i64).into(),
        (Class::Integer | Class::Double, "max" | "min" | "sum", [_, _]) | (Class::Math, _, _) => return math(machine, name, arguments),
        (Class::Double, "parseDouble" | "valueOf", [value]) => Datum::real(real(machine, value)?)?,
        (Class::Boolean, "parseBoolean" | "valueOf", [value]) => {
            value.text(Style::Java).is_some_and(|text| text.eq_ignore_ascii_case("true")).into()
        }
        (Class::Uuid, "randomUUID", []) => uuid(machine.draw(), machine.draw()).into(),
        (Class::UrlEncoder, "encode", [text] | [text, _]) => encode(machine, &machine.text(text, Style::Java)?)?.into(),
        (Class::LocalDate | Class::LocalDateTime | Class::Instant | Class::ChronoUnit | Class::DayOfWeek | Class::Date, ..) => {
            return time::of_type(machine, class, name, arguments);
        }
        _ => return Ok(None),
    }))
}

fn math(machine: &Machine<'_, '_>, name: &str, arguments: &[Datum<'_>]) -> Result<Option<Datum<'static>>, Problem> {
    let figures: Vec<Figure> = arguments.iter().map(operator::number).collect::<Result<_, _>>()?;
    Ok(Some(match (name, figures.as_slice()) {
        ("abs", [Figure::Int(n)]) => operator::whole(n.checked_abs())?,
        ("abs", [n]) => Datum::real(n.real().abs())?,
        ("max", [Figure::Int(a), Figure::Int(b)]) => (*a.max(b)).into(),
        ("max", [a, b]) => Datum::real(a.real().max(b.real()))?,
        ("min", [Figure::Int(a), Figure::Int(b)]) => (*a.min(b)).into(),
        ("min", [a, b]) => Datum::real(a.real().min(b.real()))?,
        ("sum", [Figure::Int(a), Figure::Int(b)]) => operator::whole(a.checked_add(*b))?,
        // Java rounds halves up, also below zero.
        ("round", [n]) => ((n.real() + 0.5).floor() as i64).into(),
        ("floor", [n]) => Datum::real(n.real().floor())?,
        ("ceil", [n]) => Datum::real(n.real().ceil())?,
        ("rint", [n]) => Datum::real(n.real().round_ties_even())?,
        ("sqrt", [n]) => Datum::real(n.real().sqrt())?,
        ("pow", [a, b]) => Datum::real(a.real().powf(b.real()))?,
        ("log", [n]) => Datum::real(n.real().ln())?,
        ("log10", [n]) => Datum::real(n.real().log10())?,
        ("signum", [n]) => Datum::real(if n.real() == 0.0 { 0.0 } else { n.real().signum() })?,
        ("floorDiv", [Figure::Int(a), Figure::Int(b)]) => {
            let floored = a.checked_div(*b).map(|q| if a.wrapping_rem(*b) != 0 && (a ^ b) < 0 { q - 1 } else { q });
            operator::whole(floored)?
        }
        ("floorMod", [Figure::Int(a), Figure::Int(b)]) => {
            operator::whole(a.checked_rem(*b).map(|r| if r != 0 && (r ^ b) < 0 { r + b } else { r }))?
        }
        ("random", []) => Datum::real(fraction(machine))?,
        _ => return Ok(None),
    }))
}

/// A version 4 UUID of 128 random bits.
fn uuid(high: u64, low: u64) -> String {
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xffff, high & 0xffff, low >> 48, low & 0xffff_ffff_ffff)
}

/// As a browser encodes a form: letters, digits and `.-*_` stay, a blank is `+`.
fn encode(machine: &Machine<'_, '_>, text: &str) -> Result<String, Problem> {
    machine.budget.room(text.len().saturating_mul(3))?;
    let mut made = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => made.push(char::from(byte)),
            b' ' => made.push('+'),
            other => made.push_str(&format!("%{other:02X}")),
        }
    }
    Ok(made)
}
