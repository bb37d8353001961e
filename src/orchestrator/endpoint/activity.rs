//! What one source says, and what several say together.

use crate::model::Activity;
use crate::model::Generation;
use crate::model::Timestamp;

/// What one source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Busy, idle or unknown.
    pub activity: Activity,
    /// When it was measured, where the source says.
    pub measured: Option<Timestamp>,
    /// Which process it is from, where the source says.
    pub generation: Option<Generation>,
}

impl Reading {
    /// Nobody can say, for this reason.
    pub fn unknown(why: impl Into<String>) -> Self {
        Activity::Unknown { why: why.into() }.into()
    }

    /// What several sources say together: activity as [`combine`] has it, of the oldest measurement, from all the processes named.
    pub fn together(readings: Vec<Reading>) -> Self {
        let measured = readings.iter().filter_map(|reading| reading.measured).min();
        let generations: Vec<&str> = readings.iter().filter_map(|reading| reading.generation.as_ref()).map(|g| g.0.as_str()).collect();
        let generation = (!generations.is_empty()).then(|| Generation(generations.join(", ")));
        Self { measured, generation, activity: combine(readings.into_iter().map(|reading| reading.activity)) }
    }
}

impl From<Activity> for Reading {
    fn from(activity: Activity) -> Self {
        Self { activity, measured: None, generation: None }
    }
}

/// Busy if one is busy; else unknown if one is unknown, or nobody was asked; idle only when all are (F4). The same work seen by two
/// sources is not added up: the largest count stands.
pub fn combine(activities: impl IntoIterator<Item = Activity>) -> Activity {
    activities.into_iter().reduce(both).unwrap_or_else(|| Activity::Unknown { why: "no source of activity is configured".to_owned() })
}

fn both(one: Activity, other: Activity) -> Activity {
    match (one, other) {
        (Activity::Busy { count: a, executions: named }, Activity::Busy { count: b, executions: others }) => {
            Activity::Busy { count: a.max(b), executions: if named.len() >= others.len() { named } else { others } }
        }
        (busy @ Activity::Busy { .. }, Activity::Idle | Activity::Unknown { .. }) => busy,
        (Activity::Idle | Activity::Unknown { .. }, busy @ Activity::Busy { .. }) => busy,
        (Activity::Unknown { why: one }, Activity::Unknown { why: other }) => Activity::Unknown { why: format!("{one}; {other}") },
        (unknown @ Activity::Unknown { .. }, Activity::Idle) | (Activity::Idle, unknown @ Activity::Unknown { .. }) => unknown,
        (Activity::Idle, Activity::Idle) => Activity::Idle,
    }
}

/// What a command that counts says: exit code 0 and one whole number on standard output, read to its end.
pub fn read_command(ended: &crate::host::command::Ended) -> Activity {
    let unknown = |why: String| Activity::Unknown { why };
    if !ended.status.success() {
        return unknown(ended.describe());
    }
    if !ended.complete {
        return unknown("something it started keeps its output open".to_owned());
    }
    match std::str::from_utf8(&ended.stdout).ok().map(str::trim).and_then(count) {
        Some(0) => Activity::Idle,
        Some(count) => Activity::Busy { count, executions: Vec::new() },
        None => unknown(format!("it printed {:?}, where a whole number was expected", crate::orchestrator::web::excerpt(&ended.stdout))),
    }
}

/// Digits alone: a sign or a unit is somebody else's format.
fn count(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use proptest::prelude::*;

    use super::*;
    use crate::host::command::Ended;

    fn busy(count: u64) -> Activity {
        Activity::Busy { count, executions: Vec::new() }
    }

    fn unknown(why: &str) -> Activity {
        Activity::Unknown { why: why.to_owned() }
    }

    #[test]
    fn idle_only_when_every_source_is() {
        let idle = Activity::Idle;
        for (sources, together) in [
            (vec![], unknown("no source of activity is configured")),
            (vec![idle.clone(), idle.clone()], idle.clone()),
            (vec![idle.clone(), unknown("a")], unknown("a")),
            (vec![unknown("a"), idle.clone()], unknown("a")),
            (vec![unknown("a"), idle.clone(), unknown("b")], unknown("a; b")),
            (vec![unknown("a"), busy(2), idle.clone()], busy(2)),
            (vec![busy(2), unknown("a"), busy(3)], busy(3)),
        ] {
            assert_eq!(combine(sources.clone()), together, "{sources:?}");
        }
    }

    #[test]
    fn the_oldest_measurement_dates_the_whole() {
        let at = |t| Reading { activity: Activity::Idle, measured: Some(Timestamp(t)), generation: Some(Generation(format!("p{t}"))) };
        let together = Reading::together(vec![at(9), Reading::from(Activity::Idle), at(5)]);
        assert_eq!((together.measured, together.generation), (Some(Timestamp(5)), Some(Generation("p9, p5".to_owned()))));
    }

    fn ended(code: i32, stdout: &[u8]) -> Ended {
        Ended { status: ExitStatus::from_raw(code << 8), stdout: stdout.to_vec(), stderr: Vec::new(), complete: true }
    }

    #[test]
    fn a_command_counts_with_one_number_and_success() {
        assert_eq!(read_command(&ended(0, b"0\n")), Activity::Idle);
        assert_eq!(read_command(&ended(0, b" 12 \n")), busy(12));
        for (code, stdout) in [
            (1, b"0\n".as_slice()),
            (0, b""),
            (0, b"\n"),
            (0, b"0 executions"),
            (0, b"-1"),
            (0, b"+0"),
            (0, b"0.0"),
            (0, b"0\n0\n"),
            (0, b"\xff"),
            (0, b"99999999999999999999999"),
        ] {
            let activity = read_command(&ended(code, stdout));
            assert!(matches!(activity, Activity::Unknown { .. }), "{code} {stdout:?}: {activity:?}");
        }
        assert!(matches!(read_command(&Ended { complete: false, ..ended(0, b"0\n") }), Activity::Unknown { .. }));
    }

    proptest! {
        #[test]
        fn a_command_that_prints_no_zero_is_never_idle(stdout in proptest::collection::vec(any::<u8>(), 0..40)) {
            let zero = std::str::from_utf8(&stdout).is_ok_and(|text| !text.trim().is_empty() && text.trim().bytes().all(|b| b == b'0'));
            prop_assert_eq!(read_command(&ended(0, &stdout)) == Activity::Idle, zero);
        }
    }
}
