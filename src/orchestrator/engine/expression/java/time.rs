//! Dates.

use jiff::Span;
use jiff::civil;
use jiff::tz::TimeZone;

use super::super::Datum;
use super::super::datum::Style;
use super::super::error::Problem;
use super::super::eval::Machine;
use super::super::method;
use super::Class;
use super::Thing;
use super::format;

/// Units of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `MILLIS`.
    Millis,
    /// `SECONDS`.
    Seconds,
    /// `MINUTES`.
    Minutes,
    /// `HOURS`.
    Hours,
    /// `DAYS`.
    Days,
    /// `WEEKS`.
    Weeks,
    /// `MONTHS`.
    Months,
    /// `YEARS`.
    Years,
}

impl Unit {
    const ALL: [Self; 8] = [Self::Millis, Self::Seconds, Self::Minutes, Self::Hours, Self::Days, Self::Weeks, Self::Months, Self::Years];

    /// By Java's name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.word() == name)
    }

    /// Java's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Millis => "MILLIS",
            Self::Seconds => "SECONDS",
            Self::Minutes => "MINUTES",
            Self::Hours => "HOURS",
            Self::Days => "DAYS",
            Self::Weeks => "WEEKS",
            Self::Months => "MONTHS",
            Self::Years => "YEARS",
        }
    }

    fn span(self, n: i64) -> Option<Span> {
        let span = Span::new();
        match self {
            Self::Millis => span.try_milliseconds(n),
            Self::Seconds => span.try_seconds(n),
            Self::Minutes => span.try_minutes(n),
            Self::Hours => span.try_hours(n),
            Self::Days => span.try_days(n),
            Self::Weeks => span.try_weeks(n),
            Self::Months => span.try_months(n),
            Self::Years => span.try_years(n),
        }
        .ok()
    }

    fn jiff(self) -> jiff::Unit {
        match self {
            Self::Millis => jiff::Unit::Millisecond,
            Self::Seconds => jiff::Unit::Second,
            Self::Minutes => jiff::Unit::Minute,
            Self::Hours => jiff::Unit::Hour,
            Self::Days => jiff::Unit::Day,
            Self::Weeks => jiff::Unit::Week,
            Self::Months => jiff::Unit::Month,
            Self::Years => jiff::Unit::Year,
        }
    }
}

const DAYS: [&str; 7] = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"];
const MONTHS: [&str; 12] =
    ["JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE", "JULY", "AUGUST", "SEPTEMBER", "OCTOBER", "NOVEMBER", "DECEMBER"];

/// A name of `java.time.DayOfWeek`.
pub fn is_day(name: &str) -> bool {
    DAYS.contains(&name)
}

/// What the scope says the time is.
pub fn now(machine: &Machine<'_, '_>) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(machine.scope.now().0).unwrap_or_default()
}

/// A moment from epoch milliseconds.
pub fn from_ms(ms: i64) -> Result<jiff::Timestamp, Problem> {
    jiff::Timestamp::from_millisecond(ms).map_err(|_| out_of_range())
}

fn out_of_range() -> Problem {
    Problem::unfit("the date is out of range")
}

fn local(machine: &Machine<'_, '_>, at: jiff::Timestamp) -> civil::DateTime {
    at.to_zoned(machine.scope.zone()).datetime()
}

/// Static methods.
pub fn of_type(machine: &Machine<'_, '_>, class: Class, name: &str, arguments: &[Datum<'_>]) -> Result<Option<Datum<'static>>, Problem> {
    let unread = |text: &str| Problem::unfit(format!("'{}' is no date", super::super::error::cut(text, super::super::limit::QUOTE)));
    let zone = |zone: &Datum<'_>| {
        let name = zone.as_str().unwrap_or_default();
        TimeZone::get(name).map_err(|_| Problem::unfit("the time zone is not known"))
    };
    let small = |n: &Datum<'_>| method::whole(n).and_then(|n| i8::try_from(n).map_err(|_| out_of_range()));
    Ok(Some(match (class, name, arguments) {
        (Class::LocalDate, "now", []) => Thing::LocalDate(local(machine, now(machine)).date()).into(),
        (Class::LocalDateTime, "now", []) => Thing::LocalDateTime(local(machine, now(machine))).into(),
        (Class::LocalDate, "now", [in_zone]) => Thing::LocalDate(now(machine).to_zoned(zone(in_zone)?).date()).into(),
        (Class::LocalDateTime, "now", [in_zone]) => Thing::LocalDateTime(now(machine).to_zoned(zone(in_zone)?).datetime()).into(),
        (Class::Instant, "now", []) => Thing::Instant(now(machine)).into(),
        (Class::Instant, "ofEpochMilli", [ms]) => Thing::Instant(from_ms(method::whole(ms)?)?).into(),
        (Class::Instant, "ofEpochSecond", [s]) => {
            Thing::Instant(jiff::Timestamp::from_second(method::whole(s)?).map_err(|_| out_of_range())?).into()
        }
        (Class::LocalDate | Class::LocalDateTime | Class::Instant, "parse", [text]) => {
            let text = machine.text(text, Style::Java)?;
            match class {
                Class::LocalDate => Thing::LocalDate(text.parse().map_err(|_| unread(&text))?),
                Class::LocalDateTime => Thing::LocalDateTime(text.parse().map_err(|_| unread(&text))?),
                _ => Thing::Instant(text.parse().map_err(|_| unread(&text))?),
            }
            .into()
        }
        (Class::LocalDate, "of", [year, month, day]) => {
            let year = i16::try_from(method::whole(year)?).map_err(|_| out_of_range())?;
            Thing::LocalDate(civil::Date::new(year, small(month)?, small(day)?).map_err(|_| out_of_range())?).into()
        }
        (Class::DayOfWeek, "of", [n]) => {
            let day = usize::try_from(method::whole(n)?).ok().and_then(|n| DAYS.get(n.checked_sub(1)?));
            (*day.ok_or_else(out_of_range)?).into()
        }
        (Class::DayOfWeek | Class::ChronoUnit, "valueOf", [name]) => {
            let name = machine.text(name, Style::Java)?;
            return Ok(super::property(&Thing::Type(class), &name));
        }
        _ => return Ok(None),
    }))
}

/// Methods of dates, formats and units.
pub fn call<'a>(machine: &Machine<'a, '_>, thing: &Thing, name: &str, arguments: &[Datum<'a>]) -> Result<Option<Datum<'a>>, Problem> {
    let other = |datum: &Datum<'a>| match datum {
        Datum::Thing(thing) => Some(thing.clone()),
        Datum::Value(_) | Datum::Object(_) | Datum::List(_) | Datum::Record(_) => None,
    };
    Ok(match (thing, name, arguments) {
        (_, "equals", [value]) => Some(other(value).is_some_and(|o| thing.order(&o).is_some_and(|o| o.is_eq())).into()),
        (_, "isBefore" | "before" | "isAfter" | "after" | "isEqual" | "compareTo", [value]) => {
            let order = other(value).and_then(|o| thing.order(&o));
            let order = order.ok_or_else(|| Problem::unfit("only two dates of the same kind can be compared"))?;
            Some(match name {
                "isBefore" | "before" => order.is_lt().into(),
                "isAfter" | "after" => order.is_gt().into(),
                "isEqual" => order.is_eq().into(),
                _ => (order as i64).into(),
            })
        }
        (Thing::Date(at), "getTime", []) | (Thing::Instant(at), "toEpochMilli", []) => Some(at.as_millisecond().into()),
        (Thing::Instant(at), "getEpochSecond", []) => Some(at.as_second().into()),
        (Thing::Date(at), "toInstant", []) => Some(Thing::Instant(*at).into()),
        (Thing::LocalDateTime(at), "toLocalDate", []) => Some(Thing::LocalDate(at.date()).into()),
        (Thing::LocalDate(day), "atStartOfDay", []) => Some(Thing::LocalDateTime(day.to_datetime(civil::Time::midnight())).into()),
        (Thing::LocalDate(day), "toEpochDay", []) => {
            let days = day.duration_since(civil::Date::constant(1970, 1, 1)).as_hours() / 24;
            Some(days.into())
        }
        (Thing::Format(pattern), "format", [value]) => {
            let at = match other(value).as_deref() {
                Some(Thing::Date(at)) => *at,
                _ => from_ms(method::whole(value)?)?,
            };
            Some(format::date(machine, pattern, at)?.into())
        }
        (Thing::Unit(unit), "between", [from, to]) => match (other(from).as_deref(), other(to).as_deref()) {
            (Some(from), Some(to)) => Some(between(*unit, from, to)?.into()),
            _ => None,
        },
        (_, "plus" | "minus", [n, unit]) => match other(unit).as_deref() {
            Some(Thing::Unit(unit)) => shifted(thing, *unit, method::whole(n)?, name == "minus")?,
            _ => None,
        },
        (_, _, [n]) => {
            let word = name.strip_prefix("plus").map(|w| (w, false)).or_else(|| name.strip_prefix("minus").map(|w| (w, true)));
            match word.and_then(|(word, back)| Some((Unit::named(&word.to_ascii_uppercase())?, back))) {
                Some((unit, back)) => shifted(thing, unit, method::whole(n)?, back)?,
                None => with(thing, name, method::whole(n))?,
            }
        }
        (_, _, []) => {
            let property = name.strip_prefix("get").map(|rest| {
                let mut letters = rest.chars();
                letters.next().map(|c| c.to_ascii_lowercase()).into_iter().chain(letters).collect::<String>()
            });
            property.and_then(|property| part(thing, &property))
        }
        _ => None,
    })
}

fn shifted(thing: &Thing, unit: Unit, n: i64, back: bool) -> Result<Option<Datum<'static>>, Problem> {
    let span = unit.span(n).map(|span| if back { -span } else { span }).ok_or_else(out_of_range)?;
    let lost = |_| out_of_range();
    let timed = matches!(unit, Unit::Millis | Unit::Seconds | Unit::Minutes | Unit::Hours);
    Ok(match thing {
        Thing::LocalDate(day) if !timed => Some(Thing::LocalDate(day.checked_add(span).map_err(lost)?).into()),
        Thing::LocalDateTime(at) => Some(Thing::LocalDateTime(at.checked_add(span).map_err(lost)?).into()),
        Thing::Instant(at) if timed => Some(Thing::Instant(at.checked_add(span).map_err(lost)?).into()),
        Thing::Instant(at) if unit == Unit::Days => {
            let span = Unit::Hours.span(n.saturating_mul(24)).map(|span| if back { -span } else { span }).ok_or_else(out_of_range)?;
            Some(Thing::Instant(at.checked_add(span).map_err(lost)?).into())
        }
        Thing::Root
        | Thing::Type(_)
        | Thing::Date(_)
        | Thing::LocalDate(_)
        | Thing::Instant(_)
        | Thing::Format(_)
        | Thing::Random
        | Thing::Unit(_)
        | Thing::Literal(_) => None,
    })
}

/// `withDayOfMonth(1)` and its kin.
fn with(thing: &Thing, name: &str, n: Result<i64, Problem>) -> Result<Option<Datum<'static>>, Problem> {
    let day = match thing {
        Thing::LocalDate(day) => *day,
        Thing::LocalDateTime(at) => at.date(),
        _ => return Ok(None),
    };
    let changed = match name {
        "withDayOfMonth" => day.with().day(i8::try_from(n?).unwrap_or(-1)).build(),
        "withMonth" => day.with().month(i8::try_from(n?).unwrap_or(-1)).build(),
        "withYear" => day.with().year(i16::try_from(n?).unwrap_or(i16::MIN)).build(),
        _ => return Ok(None),
    };
    let day = changed.map_err(|_| out_of_range())?;
    Ok(Some(match thing {
        Thing::LocalDateTime(at) => Thing::LocalDateTime(day.to_datetime(at.time())).into(),
        _ => Thing::LocalDate(day).into(),
    }))
}

/// Whole units from one date to the other.
fn between(unit: Unit, from: &Thing, to: &Thing) -> Result<i64, Problem> {
    let span = match (from, to) {
        (Thing::LocalDate(a), Thing::LocalDate(b)) => a.until((unit.jiff(), *b)),
        (Thing::LocalDateTime(a), Thing::LocalDateTime(b)) => a.until((unit.jiff(), *b)),
        (Thing::Instant(a), Thing::Instant(b)) => {
            let ms = b.as_millisecond().saturating_sub(a.as_millisecond());
            return Ok(ms / millis(unit).ok_or_else(|| Problem::unfit("an instant knows no calendar"))?);
        }
        _ => return Err(Problem::unfit("two dates of the same kind are needed")),
    };
    let span = span.map_err(|_| Problem::unfit("these dates have no such unit"))?;
    Ok(match unit {
        Unit::Millis => span.get_milliseconds(),
        Unit::Seconds => span.get_seconds(),
        Unit::Minutes => span.get_minutes(),
        Unit::Hours => span.get_hours().into(),
        Unit::Days => span.get_days().into(),
        Unit::Weeks => span.get_weeks().into(),
        Unit::Months => span.get_months().into(),
        Unit::Years => span.get_years().into(),
    })
}

fn millis(unit: Unit) -> Option<i64> {
    match unit {
        Unit::Millis => Some(1),
        Unit::Seconds => Some(1_000),
        Unit::Minutes => Some(60_000),
        Unit::Hours => Some(3_600_000),
        Unit::Days => Some(86_400_000),
        Unit::Weeks | Unit::Months | Unit::Years => None,
    }
}

/// A part of a date, by the name of its property.
pub fn part(thing: &Thing, name: &str) -> Option<Datum<'static>> {
    let (day, time) = match thing {
        Thing::LocalDate(day) => (*day, None),
        Thing::LocalDateTime(at) => (at.date(), Some(at.time())),
        _ => return None,
    };
    Some(match name {
        "year" => i64::from(day.year()).into(),
        "monthValue" => i64::from(day.month()).into(),
        "month" => MONTHS[usize::from(day.month().unsigned_abs()) - 1].into(),
        "dayOfMonth" => i64::from(day.day()).into(),
        "dayOfYear" => i64::from(day.day_of_year()).into(),
        "dayOfWeek" => DAYS[usize::from(day.weekday().to_monday_zero_offset().unsigned_abs())].into(),
        "hour" => i64::from(time?.hour()).into(),
        "minute" => i64::from(time?.minute()).into(),
        "second" => i64::from(time?.second()).into(),
        _ => return None,
    })
}
