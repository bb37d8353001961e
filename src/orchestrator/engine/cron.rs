//! Cron schedules as Quartz writes them: seconds first, 1 is Sunday, `?`, `L`, `W`, `#`, an optional year; and `H`, a value that is picked by
//! the trigger's id and stays.
//!
//! The fields are read here, so that an error names its field and column; the search through the calendar is croner's. What must stay true:
//! [`Schedule::next_after`] is after the time it was given, and a schedule that cannot fire is refused when it is read.
//!
//! A clock that jumps:
//!
//! * listed times (`0 30 2,14 * * ?`) fire once a day: one in the spring gap when the clock has jumped, one that comes twice in autumn the
//!   first time;
//! * times by `*`, step or range (`0 0/15 * * * ?`) follow the wall clock: they skip the gap, and fire both times in autumn.
//!
//! More than Quartz takes: `*` in both day fields, the wrapped ranges in every field but the year, and lists of `L`, `W` and `#`.

mod field;

use std::fmt;

use croner::Cron;
use croner::parser::CronParser;
use croner::parser::Seconds;
use croner::parser::Year;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::Serialize;

use crate::model::Timestamp;

/// Times listed in one schedule that are each searched for: more are treated as a range would be.
const MAX_LISTED: usize = 48;

/// Longest expression, bytes: each special day in it is a search of its own.
const MAX_LENGTH: usize = 256;

/// A schedule that fires.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Fires when one of them does.
    patterns: Vec<Cron>,
}

/// Part of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// 0–59.
    Seconds,
    /// 0–59.
    Minutes,
    /// 0–23.
    Hours,
    /// 1–31.
    DayOfMonth,
    /// 1–12 or JAN–DEC.
    Month,
    /// 1 (Sunday) – 7, or SUN–SAT.
    DayOfWeek,
    /// 1970–2099.
    Year,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seconds => "seconds",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
            Self::Year => "year",
        })
    }
}

/// Why an expression is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not of human making.
    #[error("is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// It has not six or seven fields.
    #[error("has {0} fields, not six or seven: seconds, minutes, hours, day of month, month, day of week and perhaps year")]
    Fields(usize),
    /// A field is wrong.
    #[error("column {column}, {field}: {what}")]
    Field {
        /// Which.
        field: Field,
        /// Where it begins, in characters from 1.
        column: usize,
        /// What is wrong with it.
        what: String,
    },
    /// Both day fields restrict the day, which Quartz refuses.
    #[error("restricts both the day of month and the day of week; put ? in one of them")]
    BothDays,
    /// No day is like that.
    #[error("never fires: there is no such date up to the year 2099")]
    NeverFires,
}

/// What to do about times at which nobody was there to fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissedPolicy {
    /// Nothing: wait for the next time. What Echo does.
    #[default]
    Skip,
    /// Fire once for all of them.
    RunOnce,
}

/// Times that went by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// In order, as many as were asked for.
    pub times: Vec<Timestamp>,
    /// There were more.
    pub more: bool,
}

impl Schedule {
    /// Reads an expression; `H` becomes what `trigger_id` picks.
    pub fn parse(expression: &str, trigger_id: &str) -> Result<Self, Error> {
        let patterns = field::patterns(expression, trigger_id)?;
        let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Required).build();
        let patterns: Vec<Cron> = patterns
            .iter()
            .map(|pattern| parser.parse(pattern).expect("a pattern of numbers in their ranges, written by us"))
            .filter(|cron| cron.find_next_occurrence(&jiff::civil::date(1969, 12, 31).at(0, 0, 0, 0), false).is_ok())
            .collect();
        if patterns.is_empty() { Err(Error::NeverFires) } else { Ok(Self { patterns }) }
    }

    /// The first time after `at`; `None` when there is none before the year 2100.
    pub fn next_after(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let from = jiff::Timestamp::from_millisecond(at.0).ok()?.to_zoned(zone.clone());
        let next = |cron: &Cron| cron.find_next_occurrence(&from, false).ok().map(|time| Timestamp(time.timestamp().as_millisecond()));
        self.patterns.iter().filter_map(next).filter(|time| *time > at).min()
    }

    /// The first `most` times after `after`, up to and with `until`.
    pub fn missed(&self, after: Timestamp, until: Timestamp, zone: &TimeZone, most: usize) -> Missed {
        let mut missed = Missed::default();
        let mut at = after;
        while let Some(time) = self.next_after(at, zone).filter(|time| *time <= until) {
            if missed.times.len() == most {
                missed.more = true;
                break;
            }
            missed.times.push(time);
            at = time;
        }
        missed
    }

    /// The last time after `after`, up to and with `until`: as cheap for a year of seconds as for a minute.
    pub fn last(&self, after: Timestamp, until: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let next = |at: Timestamp| self.next_after(at, zone).filter(|time| *time <= until);
        let mut last = next(after)?;
        // There is nothing after `end`, and `last` is a time.
        let mut end = until;
        while last < end {
            let middle = Timestamp(last.0 + (end.0 - last.0) / 2);
            match next(middle) {
                Some(later) => last = later,
                None => end = middle,
            }
        }
        Some(last)
    }
}

#[cfg(test)]
mod tests;
