//! The fields of an expression: Quartz's text in, numeric patterns for croner out.
//!
//! A schedule may need several patterns: one for each special day (`L`, `15W`, `6#3`), because croner reads some of them differently in
//! company; one for each listed time, because that is how croner knows times that have to survive a clock jump.

use std::collections::BTreeSet;

use super::super::seed;
use super::Error;
use super::Field;
use super::MAX_LENGTH;
use super::MAX_LISTED;

const FIELDS: [Field; 7] = [Field::Seconds, Field::Minutes, Field::Hours, Field::DayOfMonth, Field::Month, Field::DayOfWeek, Field::Year];

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

type Values = BTreeSet<u16>;

impl Field {
    fn range(self) -> (u16, u16) {
        match self {
            Self::Seconds | Self::Minutes => (0, 59),
            Self::Hours => (0, 23),
            Self::DayOfMonth => (1, 31),
            Self::Month => (1, 12),
            Self::DayOfWeek => (1, 7),
            Self::Year => (1970, 2099),
        }
    }

    fn all(self) -> Values {
        (self.range().0..=self.range().1).collect()
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Month => &MONTHS,
            Self::DayOfWeek => &WEEKDAYS,
            Self::Seconds | Self::Minutes | Self::Hours | Self::DayOfMonth | Self::Year => &[],
        }
    }
}

/// A day that numbers do not say.
#[derive(Clone, Copy, Debug)]
enum Special {
    /// So many days before the last of the month.
    BeforeLast(u16),
    /// The last day from Monday to Friday.
    LastWorkday,
    /// The day from Monday to Friday nearest to this one, in the same month.
    Workday(u16),
    /// The last such weekday; 1 is Sunday.
    LastOf(u16),
    /// The nth such weekday.
    NthOf(u16, u16),
}

/// What a field says.
#[derive(Debug, Default)]
struct Spec {
    values: Values,
    specials: Vec<Special>,
    /// `*` or `?`.
    open: bool,
    /// Only single values, by themselves.
    listed: bool,
}

/// Croner's patterns, seven numeric fields each, that together are this expression.
pub(super) fn patterns(expression: &str, trigger_id: &str) -> Result<Vec<String>, Error> {
    if expression.len() > MAX_LENGTH {
        return Err(Error::TooLong);
    }
    let words = words(expression);
    if !(6..=7).contains(&words.len()) {
        return Err(Error::Fields(words.len()));
    }
    let mut specs = Vec::with_capacity(7);
    for (field, (column, word)) in FIELDS.into_iter().zip(&words) {
        let reader = Reader { field, column: *column, trigger_id };
        specs.push(reader.spec(&word.to_uppercase())?);
    }
    if specs.len() == 6 {
        specs.push(Spec { values: Field::Year.all(), open: true, ..Spec::default() });
    }
    let [seconds, minutes, hours, days, months, weekdays, years] = <[Spec; 7]>::try_from(specs).expect("seven were read");
    if !days.open && !weekdays.open {
        return Err(Error::BothDays);
    }
    if words[3].1 == "?" && words[5].1 == "?" {
        return Err(Error::BothDays);
    }
    let dates = dates(&days, &months.values, &weekdays, &years.values);
    let times = times([&seconds, &minutes, &hours]);
    Ok(times.iter().flat_map(|time| dates.iter().map(move |date| format!("{time} {date}"))).collect())
}

/// The words with their columns, in characters from 1.
fn words(text: &str) -> Vec<(usize, String)> {
    let mut words: Vec<(usize, String)> = Vec::new();
    let mut within = false;
    for (at, c) in text.chars().enumerate() {
        if c.is_whitespace() {
            within = false;
        } else if within {
            words.last_mut().expect("a word was begun").1.push(c);
        } else {
            words.push((at + 1, c.to_string()));
            within = true;
        }
    }
    words
}

/// `seconds minutes hours` of the patterns: one for each time when all are listed, else one.
fn times(fields: [&Spec; 3]) -> Vec<String> {
    let listed = fields.iter().all(|spec| spec.listed);
    let count: usize = fields.iter().map(|spec| spec.values.len()).product();
    if !listed || count > MAX_LISTED {
        return vec![fields.map(|spec| list(&spec.values)).join(" ")];
    }
    let [seconds, minutes, hours] = fields.map(|spec| &spec.values);
    let mut times = Vec::with_capacity(count);
    for hour in hours {
        for minute in minutes {
            times.extend(seconds.iter().map(|second| format!("{second} {minute} {hour}")));
        }
    }
    times
}

/// `day month weekday year` of the patterns; weekdays count from 0 here.
fn dates(days: &Spec, months: &Values, weekdays: &Spec, years: &Values) -> Vec<String> {
    let date = |day: &str, months: &Values, weekday: &str, years: &Values| format!("{day} {} {weekday} {}", list(months), list(years));
    if days.open && weekdays.open {
        return vec![date("*", months, "*", years)];
    }
    let mut dates = Vec::new();
    let spec = if days.open { weekdays } else { days };
    if !spec.values.is_empty() {
        let posix = || list(&weekdays.values.iter().map(|day| day - 1).collect());
        dates.push(if days.open { date("*", months, &posix(), years) } else { date(&list(&days.values), months, "*", years) });
    }
    for special in &spec.specials {
        match special {
            Special::BeforeLast(0) => dates.push(date("L", months, "*", years)),
            Special::BeforeLast(back) => {
                for (months, years, length) in by_length(months, years) {
                    if let Some(day) = length.checked_sub(*back).filter(|day| *day > 0 && !months.is_empty() && !years.is_empty()) {
                        dates.push(date(&day.to_string(), &months, "*", &years));
                    }
                }
            }
            Special::LastWorkday => dates.push(date("LW", months, "*", years)),
            Special::Workday(day) => dates.push(date(&format!("{day}W"), months, "*", years)),
            Special::LastOf(day) => dates.push(date("*", months, &format!("{}#L", day - 1), years)),
            Special::NthOf(day, nth) => dates.push(date("*", months, &format!("{}#{nth}", day - 1), years)),
        }
    }
    dates
}

/// The months and years, apart by the length of the month.
fn by_length(months: &Values, years: &Values) -> [(Values, Values, u16); 4] {
    let of = |wanted: &[u16]| -> Values { months.iter().copied().filter(|month| wanted.contains(month)).collect() };
    let (leap, common): (Values, Values) = years.iter().partition(|year| *year % 4 == 0 && (*year % 100 != 0 || *year % 400 == 0));
    [
        (of(&[1, 3, 5, 7, 8, 10, 12]), years.clone(), 31),
        (of(&[4, 6, 9, 11]), years.clone(), 30),
        (of(&[2]), leap, 29),
        (of(&[2]), common, 28),
    ]
}

fn list(values: &Values) -> String {
    values.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

/// Reads one field.
struct Reader<'a> {
    field: Field,
    column: usize,
    trigger_id: &'a str,
}

impl Reader<'_> {
    fn spec(&self, text: &str) -> Result<Spec, Error> {
        let open = text == "*" || text == "?";
        if text.contains('?') && (text != "?" || !matches!(self.field, Field::DayOfMonth | Field::DayOfWeek)) {
            return Err(self.wrong("? stands alone, and only for a day".into()));
        }
        if open {
            return Ok(Spec { values: self.field.all(), open, ..Spec::default() });
        }
        let mut spec = Spec { listed: true, ..Spec::default() };
        for item in text.split(',') {
            if let Some(special) = self.special(item)? {
                spec.specials.push(special);
            } else {
                let (values, single) = self.values(item)?;
                spec.listed &= single;
                spec.values.extend(values);
            }
        }
        Ok(spec)
    }

    fn special(&self, item: &str) -> Result<Option<Special>, Error> {
        let special = match self.field {
            Field::DayOfMonth => match item {
                "L" => Some(Special::BeforeLast(0)),
                "LW" | "WL" => Some(Special::LastWorkday),
                _ if item.starts_with("L-") => {
                    let back = item[2..].parse().ok().filter(|back| *back <= 30);
                    Some(Special::BeforeLast(back.ok_or_else(|| self.wrong(format!("{item:?}: after L- comes a number from 0 to 30")))?))
                }
                _ => match item.strip_suffix('W') {
                    Some(day) => Some(Special::Workday(self.value(day)?)),
                    None => None,
                },
            },
            Field::DayOfWeek => match (item.strip_suffix('L'), item.split_once('#')) {
                // As in Quartz: the last day of a week is Saturday.
                (Some(""), _) => return Ok(None),
                (Some(day), _) => Some(Special::LastOf(self.value(day)?)),
                (None, Some((day, nth))) => {
                    let nth = nth.parse().ok().filter(|nth| (1..=5).contains(nth));
                    let nth = nth.ok_or_else(|| self.wrong(format!("{item:?}: after # comes a number from 1 to 5")))?;
                    Some(Special::NthOf(self.value(day)?, nth))
                }
                (None, None) => None,
            },
            Field::Seconds | Field::Minutes | Field::Hours | Field::Month | Field::Year => None,
        };
        Ok(special)
    }

    /// The values of one item of a list, and whether it is a single one.
    fn values(&self, item: &str) -> Result<(Values, bool), Error> {
        let (min, max) = self.field.range();
        let (base, step) = match item.split_once('/') {
            None => (item, None),
            Some((base, step)) => {
                let step = step.parse::<u16>().ok().filter(|step| (1..=max).contains(step));
                (base, Some(step.ok_or_else(|| self.wrong(format!("{item:?}: a step is a number from 1 to {max}")))?))
            }
        };
        if base.starts_with('H') {
            return self.hashed(base, step);
        }
        let (from, to) = match base.split_once('-') {
            _ if base == "*" || (base.is_empty() && step.is_some()) => (min, max),
            Some((from, to)) => (self.value(from)?, self.value(to)?),
            None if step.is_some() => (self.value(base)?, max),
            None if base == "L" && self.field == Field::DayOfWeek => return Ok((Values::from([7]), true)),
            None => return Ok((Values::from([self.value(base)?]), true)),
        };
        let every = usize::from(step.unwrap_or(1));
        if from <= to {
            return Ok(((from..=to).step_by(every).collect(), false));
        }
        if self.field == Field::Year {
            return Err(self.wrong(format!("{item:?} runs backwards")));
        }
        Ok(((from..=max).chain(min..=to).step_by(every).collect(), false))
    }

    /// `H`, `H(a-b)` and either with a step, as Jenkins reads them: with a step, the first is picked and the others follow.
    fn hashed(&self, base: &str, step: Option<u16>) -> Result<(Values, bool), Error> {
        let (min, max) = match self.field {
            // Every month has these.
            Field::DayOfMonth => (1, 28),
            Field::Year => return Err(self.wrong("H is not for years".into())),
            Field::Seconds | Field::Minutes | Field::Hours | Field::Month | Field::DayOfWeek => self.field.range(),
        };
        let (from, to) = match base {
            "H" => (min, max),
            _ => {
                let inner = base.strip_prefix("H(").and_then(|rest| rest.strip_suffix(')')).and_then(|range| range.split_once('-'));
                let (from, to) = inner.ok_or_else(|| self.wrong(format!("{base:?}: write H or H(from-to)")))?;
                let (from, to) = (self.value(from)?, self.value(to)?);
                if from > to {
                    return Err(self.wrong(format!("{base:?} runs backwards")));
                }
                (from, to)
            }
        };
        let seed = seed::of(&format!("{}/{}", self.trigger_id, self.field));
        let pick = |to: u16| u16::try_from(seed::within(seed, from.into(), to.into())).expect("at most the end of the range");
        Ok(match step {
            None => (Values::from([pick(to)]), true),
            Some(step) => ((pick(to.min(from.saturating_add(step - 1)))..=to).step_by(step.into()).collect(), false),
        })
    }

    fn value(&self, text: &str) -> Result<u16, Error> {
        let (min, max) = self.field.range();
        let named = self.field.names().iter().position(|name| *name == text).and_then(|at| u16::try_from(at + 1).ok());
        let number = || text.parse().ok().filter(|n| (min..=max).contains(n) && text.bytes().all(|b| b.is_ascii_digit()));
        named.or_else(number).ok_or_else(|| {
            let or = self.field.names().first().zip(self.field.names().last());
            let or = or.map(|(first, last)| format!(" or {first} to {last}")).unwrap_or_default();
            self.wrong(format!("{text:?} is not a number from {min} to {max}{or}"))
        })
    }

    fn wrong(&self, what: String) -> Error {
        Error::Field { field: self.field, column: self.column, what }
    }
}
