//! Execution windows: when a stage may begin, on which days and between which times of day.
//!
//! What must stay true: the window is open at an instant exactly when the wall clock of its zone shows a listed day and a time in one of its
//! spans, to the end of the last minute. The next opening is the first such instant: what is shown to people is what will happen. A clock that
//! jumps is followed, not reasoned about:
//!
//! * spring forward: a span that begins inside the gap opens when the clock has jumped; one that lies wholly inside it does not open that day;
//! * fall back: times that come twice are open both times.
//!
//! A span that ends before it begins runs over midnight; each half belongs to the day the wall clock shows, as in Orca.
//!
//! Orca's accidents, repaired: it shows a time one day late when days had to be skipped, and adds the milliseconds of the moment it was asked;
//! it compares only hours when it looks for spans over midnight, so that 10:30–10:15 never opens.
//!
//! The zone is the window's own `timezone` (an IANA name; ours, Orca has one zone for the whole installation), else the pipeline's, else the
//! server's.

use jiff::ToSpan;
use jiff::Zoned;
use jiff::civil;
use jiff::tz::TimeZone;
use serde_json::Map;
use serde_json::Value;

use super::problem::Problem;
use super::seed;
use crate::model::Timestamp;

/// The zone of a server that names none: Orca's.
pub const DEFAULT_ZONE: &str = "America/Los_Angeles";

/// [`DEFAULT_ZONE`].
pub fn default_zone() -> TimeZone {
    TimeZone::get(DEFAULT_ZONE).expect("the database of zones is part of this program")
}

/// Most spans in one window; more is a mistake, and would be searched each time somebody asks.
const MAX_SPANS: usize = 200;

/// Days searched for an opening: every weekday comes twice, so that a weekly span that a clock jump swallows is found a week later.
const HORIZON_DAYS: i32 = 15;

/// When a stage may begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    days: Days,
    spans: Vec<Span>,
    jitter: Option<Jitter>,
    zone: Option<TimeZone>,
}

/// Weekdays, one bit each: bit 1 is Sunday, bit 7 Saturday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Days(u8);

/// From minute to minute of a day, both included; never over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    start: u16,
    end: u16,
}

/// A pause after the window opened, so that not all that waited begins at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jitter {
    /// Shortest, seconds.
    pub min_s: u64,
    /// Longest, seconds.
    pub max_s: u64,
    /// Not for executions that a person started.
    pub skip_manual: bool,
}

/// Where a window stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It is open.
    Now,
    /// It opens then.
    At(Timestamp),
}

impl Opening {
    /// The first instant, at or after `now`, at which the window is open.
    pub fn time(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Now => now,
            Self::At(time) => time,
        }
    }
}

/// No instant within two weeks is in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the execution window does not open within two weeks")]
pub struct NeverOpens;

/// The zone of this IANA name.
pub fn zone(name: &str) -> Result<TimeZone, UnknownZone> {
    TimeZone::get(name).map_err(|_| UnknownZone(name.to_owned()))
}

/// A name that is no zone's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time zone; write an IANA name such as \"Europe/Berlin\" or \"UTC\"")]
pub struct UnknownZone(String);

/// Where the window of a stage stands, by the stage's context: [`Opening::Now`] when it is not restricted or a person skips the rest of the
/// wait. `fallback` is the zone of the pipeline or the server.
pub fn look(context: &Map<String, Value>, at: Timestamp, fallback: &TimeZone) -> Result<Opening, Vec<Problem>> {
    if context.get("skipRemainingWait").is_some_and(is_true) {
        return Ok(Opening::Now);
    }
    let window = Window::parse(context.get("restrictedExecutionWindow").unwrap_or(&Value::Null))?;
    window.next_opening(at, window.zone(fallback)).map_err(|e| vec![Problem::error("", e.to_string())])
}

fn is_true(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("true")))
}

impl Window {
    /// Reads a `restrictedExecutionWindow`; paths of problems begin there.
    pub fn parse(value: &Value) -> Result<Self, Vec<Problem>> {
        let Some(fields) = value.as_object() else {
            return Err(vec![Problem::error("", "there is no execution window").help("give it `days`, a `whitelist` of hours, or both")]);
        };
        let mut problems = Vec::new();
        let days = days(&fields.get("days").cloned().unwrap_or_default(), &mut problems);
        let spans = spans(fields.get("whitelist").unwrap_or(&Value::Null), &mut problems);
        let jitter = fields.get("jitter").and_then(|jitter| Jitter::parse(jitter, &mut problems));
        let zone = match fields.get("timezone") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => zone(name).map_err(|e| problems.push(Problem::error("/timezone", e.to_string()))).ok(),
            Some(_) => {
                problems.push(Problem::error("/timezone", "must be the name of a time zone"));
                None
            }
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        let spans = match (spans.is_empty(), days) {
            (false, _) => spans,
            (true, Some(_)) => vec![Span { start: 0, end: LAST_MINUTE }],
            (true, None) => {
                return Err(vec![
                    Problem::error("", "the execution window lists neither hours nor days, so it would never open")
                        .help("list weekdays in `days` or hours in `whitelist`"),
                ]);
            }
        };
        Ok(Self { days: days.unwrap_or(Days::ALL), spans, jitter, zone })
    }

    /// The window's own zone, or else `fallback`.
    pub fn zone<'a>(&'a self, fallback: &'a TimeZone) -> &'a TimeZone {
        self.zone.as_ref().unwrap_or(fallback)
    }

    /// The first instant from `at` on at which the window is open.
    pub fn next_opening(&self, at: Timestamp, zone: &TimeZone) -> Result<Opening, NeverOpens> {
        let now = jiff::Timestamp::from_millisecond(at.0).map_err(|_| NeverOpens)?.to_zoned(zone.clone());
        if self.is_open(&now) {
            return Ok(Opening::Now);
        }
        // The window can only open where the wall clock reaches the start of a span, or where it jumps. Yesterday's starts are looked at too:
        // a clock that falls back at midnight shows them again.
        let mut candidates: Vec<jiff::Timestamp> = Vec::new();
        for step in -1..=HORIZON_DAYS {
            let Ok(date) = now.date().checked_add(step.days()) else { continue };
            candidates.extend(self.spans.iter().flat_map(|span| instants(zone, span.starts_on(date))));
        }
        let horizon = now.timestamp().saturating_add((HORIZON_DAYS * 24).hours()).map_err(|_| NeverOpens)?;
        candidates.extend(zone.following(now.timestamp()).map(|jump| jump.timestamp()).take_while(|jump| *jump <= horizon));
        let opens = |instant: &jiff::Timestamp| *instant > now.timestamp() && self.is_open(&instant.to_zoned(zone.clone()));
        let first = candidates.into_iter().filter(opens).min().ok_or(NeverOpens)?;
        Ok(Opening::At(Timestamp(first.as_millisecond())))
    }

    /// How long to wait after the opening, in seconds, chosen by `seed` once for the life of the stage; `None` when not at all.
    pub fn delay_s(&self, seed: u64, manual: bool) -> Option<u64> {
        let jitter = self.jitter.filter(|jitter| jitter.max_s > 0 && !(jitter.skip_manual && manual))?;
        Some(seed::within(seed, jitter.min_s, jitter.max_s))
    }

    fn is_open(&self, wall: &Zoned) -> bool {
        let minute = u16::try_from(i32::from(wall.hour()) * 60 + i32::from(wall.minute())).expect("a time of day");
        self.days.has(wall.date()) && self.spans.iter().any(|span| span.start <= minute && minute <= span.end)
    }
}

/// The instants at which the clock of this zone shows this: one, two where it falls back, none where it jumps over it.
fn instants(zone: &TimeZone, wall: civil::DateTime) -> Vec<jiff::Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(wall);
    let found = match ambiguous.offset() {
        jiff::tz::AmbiguousOffset::Gap { .. } => [None, None],
        jiff::tz::AmbiguousOffset::Unambiguous { .. } | jiff::tz::AmbiguousOffset::Fold { .. } => {
            [ambiguous.earlier().ok(), ambiguous.later().ok()]
        }
    };
    found.into_iter().flatten().collect()
}

const LAST_MINUTE: u16 = 24 * 60 - 1;

impl Days {
    const ALL: Self = Self(0b1111_1110);

    fn has(self, date: civil::Date) -> bool {
        self.0 & (1 << date.weekday().to_sunday_one_offset()) != 0
    }
}

impl Span {
    fn starts_on(self, date: civil::Date) -> civil::DateTime {
        let part = |n: u16| i8::try_from(n).expect("hours and minutes are below 60");
        date.at(part(self.start / 60), part(self.start % 60), 0, 0)
    }
}

/// The listed days; `None` when none is listed, which means all of them.
fn days(value: &Value, problems: &mut Vec<Problem>) -> Option<Days> {
    let list = match value {
        Value::Null => return None,
        Value::Array(list) => list,
        _ => {
            problems.push(Problem::error("/days", "must be a list of numbers from 1 (Sunday) to 7 (Saturday)"));
            return None;
        }
    };
    let mut days = Days(0);
    for (at, day) in list.iter().enumerate() {
        match number(day).filter(|day| (1..=7).contains(day)) {
            Some(day) => days.0 |= 1 << day,
            None => problems.push(Problem::error(format!("/days/{at}"), format!("{day} is no day")).help("1 is Sunday, 7 is Saturday")),
        }
    }
    (!list.is_empty()).then_some(days)
}

fn spans(value: &Value, problems: &mut Vec<Problem>) -> Vec<Span> {
    let list = match value {
        Value::Null => return Vec::new(),
        Value::Array(list) if list.len() <= MAX_SPANS => list,
        Value::Array(_) => {
            problems.push(Problem::error("/whitelist", format!("has more than {MAX_SPANS} entries")));
            return Vec::new();
        }
        _ => {
            problems.push(Problem::error("/whitelist", "must be a list of {startHour, startMin, endHour, endMin}"));
            return Vec::new();
        }
    };
    let mut spans = Vec::new();
    for (at, entry) in list.iter().enumerate() {
        let path = format!("/whitelist/{at}");
        let Some(entry) = entry.as_object() else {
            problems.push(Problem::error(path, "must be {startHour, startMin, endHour, endMin}"));
            continue;
        };
        let mut part = |key: &str, max: u16| {
            let value = entry.get(key).unwrap_or(&Value::Null);
            let number = if value.is_null() { Some(0) } else { number(value) };
            let number = number.filter(|n| *n <= u64::from(max)).and_then(|n| u16::try_from(n).ok());
            if number.is_none() {
                problems.push(Problem::error(format!("{path}/{key}"), format!("{value} is not a number from 0 to {max}")));
            }
            number
        };
        let times = [part("startHour", 23), part("startMin", 59), part("endHour", 23), part("endMin", 59)];
        let [Some(start_hour), Some(start_min), Some(end_hour), Some(end_min)] = times else { continue };
        let (start, end) = (start_hour * 60 + start_min, end_hour * 60 + end_min);
        if start <= end {
            spans.push(Span { start, end });
        } else {
            spans.extend([Span { start, end: LAST_MINUTE }, Span { start: 0, end }]);
        }
    }
    spans
}

/// A whole number, or a text that is one: expressions may have been resolved to texts.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..1e9).contains(n)).map(|n| n as u64)).or_else(|| {
        let text = value.as_str()?.trim();
        text.parse().ok()
    })
}

impl Jitter {
    fn parse(value: &Value, problems: &mut Vec<Problem>) -> Option<Self> {
        if value.is_null() || !value.get("enabled").is_some_and(is_true) {
            return None;
        }
        let mut seconds = |key: &str| match value.get(key) {
            None | Some(Value::Null) => 0,
            Some(given) => number(given).unwrap_or_else(|| {
                problems.push(Problem::error(format!("/jitter/{key}"), format!("{given} is not a number of seconds")));
                0
            }),
        };
        let (min_s, max_s) = (seconds("minDelay"), seconds("maxDelay"));
        if min_s > max_s {
            problems.push(Problem::error("/jitter/minDelay", format!("{min_s} s is more than maxDelay, {max_s} s")));
        }
        Some(Self { min_s, max_s, skip_manual: value.get("skipManual").is_some_and(is_true) })
    }
}

#[cfg(test)]
mod tests;
