//! Prometheus' text format, as much of it as one gauge needs.
//!
//! What must stay true: no series, a value that is no count, or a line for our metric that we cannot read is an error, never zero (F2).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::model::Activity;
use crate::model::Generation;
use crate::model::Timestamp;

use super::activity::Reading;

/// Which series: a metric and the labels that have to match; others may be there too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// Metric name as the page writes it.
    pub name: String,
    /// Labels that must have exactly these values.
    pub labels: BTreeMap<String, String>,
}

/// Not a series as [`Series::from_str`] reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a series, such as threadpool_activeCount{{id=\"messageHandlerPool\"}}")]
pub struct BadSeries(pub String);

impl FromStr for Series {
    type Err = BadSeries;

    /// Reads `name` or `name{label="value",…}`.
    fn from_str(text: &str) -> Result<Self, BadSeries> {
        let bad = || BadSeries(text.to_owned());
        let trimmed = text.trim();
        let end = trimmed.find('{').unwrap_or(trimmed.len());
        let (name, rest) = trimmed.split_at(end);
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.')) {
            return Err(bad());
        }
        let (labels, rest) = labels(rest).ok_or_else(bad)?;
        if rest.is_empty() { Ok(Self { name: name.to_owned(), labels }) } else { Err(bad()) }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.labels.is_empty() {
            return Ok(());
        }
        let labels: Vec<String> = self.labels.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
        write!(f, "{{{}}}", labels.join(","))
    }
}

/// The sum of the matching series of a page, and what the page says of its time and its process.
#[derive(Clone, Debug, PartialEq)]
pub struct Gauge {
    /// Sum of the values; finite, not negative.
    pub value: f64,
    /// The oldest timestamp among them, where there is one.
    pub measured: Option<Timestamp>,
    /// `process_start_time_seconds` of the process behind the page, as it is written there.
    pub process_start: Option<String>,
}

/// Reads a gauge off a page; the error is for people.
pub fn gauge(page: &[u8], series: &Series) -> Result<Gauge, String> {
    let page = std::str::from_utf8(page).map_err(|_| "the page is not UTF-8".to_owned())?;
    let mut sum = None;
    let mut measured: Option<Timestamp> = None;
    for line in page.lines() {
        let Some(line) = sample(line, &series.name) else { continue };
        let (labels, value, at) = line.ok_or_else(|| format!("a line of {} cannot be read", series.name))?;
        if !series.labels.iter().all(|(label, value)| labels.get(label) == Some(value)) {
            continue;
        }
        if !value.is_finite() || value < 0.0 {
            return Err(format!("{series} is {value}"));
        }
        sum = Some(sum.unwrap_or(0.0) + value);
        measured = measured.into_iter().chain(at).min();
    }
    let value = sum.ok_or_else(|| format!("no series matches {series}"))?;
    Ok(Gauge { value, measured, process_start: process_start(page) })
}

/// What a gauge of running work says of activity.
pub fn read(page: &[u8], series: &Series) -> Reading {
    match gauge(page, series) {
        Err(why) => Reading::unknown(why),
        Ok(gauge) => Reading {
            activity: if gauge.value > 0.0 {
                // Saturates; a fraction of work is work.
                Activity::Busy { count: gauge.value.ceil() as u64, executions: Vec::new() }
            } else {
                Activity::Idle
            },
            measured: gauge.measured,
            generation: gauge.process_start.map(|at| Generation(format!("started {at}"))),
        },
    }
}

/// Several processes behind one page cannot be told apart, so only one value counts.
fn process_start(page: &str) -> Option<String> {
    const NAME: &str = "process_start_time_seconds";
    let mut found = None;
    for line in page.lines().filter(|line| sample(line, NAME).is_some_and(|sample| sample.is_some())) {
        let value = line.rsplit_once('}').map_or(line.strip_prefix(NAME)?, |(_, rest)| rest).split_whitespace().next()?;
        if found.replace(value).is_some_and(|before| before != value) {
            return None;
        }
    }
    found.map(str::to_owned)
}

type Sample = (BTreeMap<String, String>, f64, Option<Timestamp>);

/// `None` = another metric's line; `Some(None)` = ours, and not readable.
fn sample(line: &str, name: &str) -> Option<Option<Sample>> {
    let rest = line.strip_prefix(name)?;
    if !rest.is_empty() && !rest.starts_with(['{', ' ', '\t']) {
        return None;
    }
    Some(parse(rest.trim_start()))
}

fn parse(rest: &str) -> Option<Sample> {
    let (labels, rest) = labels(rest)?;
    // OpenMetrics puts exemplars behind a hash.
    let rest = rest.split(" # ").next()?;
    let mut fields = rest.split_whitespace();
    let value = fields.next()?.parse().ok()?;
    let at = match fields.next() {
        Some(text) => Some(timestamp(text)?),
        None => None,
    };
    fields.next().is_none().then_some((labels, value, at))
}

/// Prometheus writes whole milliseconds, OpenMetrics seconds; no page is from before 1973 in the one or after 5138 in the other.
fn timestamp(text: &str) -> Option<Timestamp> {
    const FIRST_MILLISECOND: f64 = 1e11;
    let number: f64 = text.parse().ok().filter(|n: &f64| n.is_finite())?;
    Some(Timestamp(if number.abs() >= FIRST_MILLISECOND { number } else { number * 1000.0 } as i64))
}

/// Reads `{label="value",…}` off the start, when there is one, and returns what follows.
fn labels(text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    let Some(mut rest) = text.strip_prefix('{') else { return Some((labels, text)) };
    loop {
        rest = rest.trim_start();
        if let Some(end) = rest.strip_prefix('}') {
            return Some((labels, end));
        }
        let (label, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start())?;
        let label = label.trim();
        let is_name = !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
        if !is_name || labels.insert(label.to_owned(), value).is_some() {
            return None;
        }
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(next) => next,
            None if rest.starts_with('}') => rest,
            None => return None,
        };
    }
}

/// Reads a quoted value with its three escapes.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.strip_prefix('"')?.char_indices();
    let body = &text[1..];
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &body[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: &str = r#"# HELP threadpool_activeCount the threads
# TYPE threadpool_activeCount gauge
process_start_time_seconds 1.7E9
threadpool_activeCount{id="messageHandlerPool",} 3.0
threadpool_activeCount{id="taskExecutor"} 9.0
threadpool_activeCountOther{id="messageHandlerPool"} 50
handlers_active{app="orca",zone="a"} 1 1700000000500
handlers_active{app="orca",zone="b"} 2.5 1700000000400
idle_pool{id="a \"b\" \\ {},#"} 0
bad_pool{id="a"} NaN
worse_pool{id="a" 0
# EOF
"#;

    fn series(text: &str) -> Series {
        text.parse().unwrap()
    }

    fn busy(count: u64) -> Activity {
        Activity::Busy { count, executions: Vec::new() }
    }

    #[test]
    fn adds_up_the_series_that_match() {
        for (name, activity) in [
            (r#"threadpool_activeCount{id="messageHandlerPool"}"#, busy(3)),
            ("threadpool_activeCount", busy(12)),
            ("handlers_active", busy(4)),
            (r#"handlers_active{zone="b", app="orca"}"#, busy(3)),
            (r#"idle_pool{id="a \"b\" \\ {},#"}"#, Activity::Idle),
        ] {
            assert_eq!(read(PAGE.as_bytes(), &series(name)).activity, activity, "{name}");
        }
    }

    #[test]
    fn carries_the_process_and_the_oldest_timestamp() {
        let reading = read(PAGE.as_bytes(), &series("handlers_active"));
        assert_eq!(reading.measured, Some(Timestamp(1_700_000_000_400)));
        assert_eq!(reading.generation, Some(Generation("started 1.7E9".to_owned())));
        let two = "process_start_time_seconds{i=\"1\"} 5\nprocess_start_time_seconds{i=\"2\"} 6\npool 0\n";
        assert_eq!(read(two.as_bytes(), &series("pool")).generation, None, "two processes behind one page");
        let open_metrics = read(b"pool 0 1700000000.5\n", &series("pool"));
        assert_eq!(open_metrics.measured, Some(Timestamp(1_700_000_000_500)));
        assert_eq!(read(b"pool 0 # {id=\"x\"} 1\n", &series("pool")).activity, Activity::Idle);
    }

    #[test]
    fn no_series_and_no_count_are_unknown() {
        for (page, name) in [
            ("", "pool"),
            ("<html>pool 0</html>", "pool"),
            ("# pool 0", "pool"),
            ("pool", "pool"),
            ("pool x", "pool"),
            ("pool NaN", "pool"),
            ("pool +Inf", "pool"),
            ("pool -1", "pool"),
            ("pool 0 soon", "pool"),
            ("pool 0 1 2", "pool"),
            ("pool{} NaN\npool 0", "pool"),
            ("pool{id=\"a\"} 0\npool{id=\"b 0", "pool"),
            ("pool{id=\"a\",id=\"b\"} 0", "pool"),
            ("pool{id=\"a\"} 0", "pool{id=\"b\"}"),
            ("Pool 0", "pool"),
            ("pool 0 NaN", "pool"),
            (PAGE, "bad_pool"),
            (PAGE, "worse_pool"),
            (PAGE, "threadpool"),
        ] {
            let activity = read(page.as_bytes(), &series(name)).activity;
            assert!(matches!(activity, Activity::Unknown { .. }), "{name} of {page:?}: {activity:?}");
        }
        assert!(matches!(read(b"pool 0\n\xff", &series("pool")).activity, Activity::Unknown { .. }));
    }

    #[test]
    fn a_series_is_written_as_it_is_read() {
        for text in ["pool", r#"pool{id="a"}"#, r#"a:b{x="1",y="\"2\""}"#] {
            assert_eq!(series(text).to_string(), text);
        }
        for text in ["", "{}", "a b", "pool{", "pool{id=a}", "pool{id=\"a\"} 0", "pool{id=\"a\",id=\"b\"}", "pö"] {
            assert!(text.parse::<Series>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_never_idle(page in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_ne!(read(&page, &series("pool")).activity, Activity::Idle);
        }

        #[test]
        fn garbage_after_the_name_never_panics(rest in "\\PC{0,60}") {
            let _ = read(format!("pool{rest}\n").as_bytes(), &series("pool"));
            let _ = rest.parse::<Series>();
        }
    }
}
