//! Spinnaker's own cases, run against the functions that implement them.
//!
//! `tests/conformance/spinnaker.json` holds rows of `{area, source, input, expected, note}`; they are facts about Spinnaker, gathered from its
//! specifications. Each area is mapped to a function here, or listed as not covered: never as passed. Where a row expects an accident that is
//! repaired here, it is listed as a deviation with the reason. `BELLROCK_CASES=FILE` runs another file
//! of the same form. To see the report: `cargo test --test conformance -- --nocapture`.

mod areas;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use areas::Answer;

/// One case.
#[derive(Debug, Deserialize)]
pub struct Row {
    /// What it is about.
    pub area: String,
    /// Where it was read.
    pub source: String,
    /// What is given.
    pub input: Value,
    /// What is to come out.
    pub expected: Value,
    /// For people; says so when the expectation is an accident of Spinnaker's.
    #[serde(default)]
    pub note: String,
}

#[derive(Default)]
struct Tally {
    rows: usize,
    passed: usize,
    failed: Vec<String>,
    deviating: Vec<String>,
    uncovered: Vec<String>,
}

/// Compares an answer with what a row expects: `error` with the refusal's kind or text, every other key with the answer's value of that name.
fn judge(expected: &Value, answer: &Answer) -> Result<(), String> {
    let wanted = expected.get("error").filter(|e| **e != Value::Bool(false));
    match (wanted, answer) {
        (None, Err(refusal)) => Err(format!("refused: {} ({})", refusal.message, refusal.kind)),
        (Some(_), Ok(value)) => Err(format!("answered {value}")),
        (Some(Value::String(word)), Err(refusal)) => {
            let kind = word.trim_end_matches("Exception");
            if kind == refusal.kind || refusal.message.contains(word.as_str()) {
                Ok(())
            } else {
                Err(format!("refused as {}: {}", refusal.kind, refusal.message))
            }
        }
        (Some(_), Err(_)) => Ok(()),
        (None, Ok(value)) => {
            let Some(fields) = expected.as_object() else {
                return if expected == value { Ok(()) } else { Err(format!("answered {value}")) };
            };
            let wrong = fields.iter().filter(|(key, _)| *key != "error").find(|(key, wanted)| value.get(key) != Some(wanted));
            wrong.map_or(Ok(()), |(key, _)| Err(format!("{key} is {}", value.get(key).unwrap_or(&Value::String("missing".into())))))
        }
    }
}

fn run(rows: &[Row]) -> BTreeMap<&str, Tally> {
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for row in rows {
        let tally = tallies.entry(&row.area).or_default();
        tally.rows += 1;
        let case = format!("{} -> {} [{}] {}", row.input, row.expected, row.source, row.note);
        match areas::answer(row) {
            None => tally.uncovered.push(case),
            Some(answer) => match judge(&row.expected, &answer) {
                Ok(()) => tally.passed += 1,
                Err(why) => match areas::deviation(row, &answer) {
                    Some(reason) => tally.deviating.push(format!("{case}\n    {why}: {reason}")),
                    None => tally.failed.push(format!("{case}\n    {why}")),
                },
            },
        }
    }
    tallies
}

fn report(tallies: &BTreeMap<&str, Tally>) -> String {
    let mut text =
        format!("{:<20} {:>5} {:>5} {:>7} {:>7} {:>9} {:>12}\n", "area", "rows", "run", "passed", "failed", "deviating", "not covered");
    for (area, tally) in tallies {
        let (failed, deviating, uncovered) = (tally.failed.len(), tally.deviating.len(), tally.uncovered.len());
        let run = tally.passed + failed + deviating;
        let _ = writeln!(text, "{area:<20} {:>5} {run:>5} {:>7} {failed:>7} {deviating:>9} {uncovered:>12}", tally.rows, tally.passed);
    }
    for (area, tally) in tallies {
        // An area that nobody implements yet is said once, in the table; a row left out of an area that is implemented is named.
        let named = if tally.passed > 0 { tally.uncovered.as_slice() } else { &[] };
        for (what, cases) in [("FAILED", tally.failed.as_slice()), ("deviates in", tally.deviating.as_slice()), ("not covered", named)] {
            for case in cases {
                let _ = writeln!(text, "{what} {area}: {case}");
            }
        }
    }
    text
}

fn own_cases() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/spinnaker.json")
}

#[expect(clippy::disallowed_methods, reason = "a test has no main to hand it the environment")]
fn chosen_cases() -> PathBuf {
    std::env::var_os("BELLROCK_CASES").map_or_else(own_cases, PathBuf::from)
}

fn read(path: &PathBuf) -> Vec<Row> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn every_row_that_is_run_passes() {
    let rows = read(&chosen_cases());
    let tallies = run(&rows);
    let report = report(&tallies);
    println!("\n{report}");
    assert!(tallies.values().all(|tally| tally.failed.is_empty()), "{report}");
}

#[test]
fn no_row_of_an_implemented_area_is_left_out() {
    let rows = read(&own_cases());
    let tallies = run(&rows);
    for area in [
        "backoff",
        "cancel",
        "child_pipeline",
        "complete_execution",
        "context",
        "expression",
        "graph",
        "judgment",
        "naming",
        "naming_next",
        "optional_stage",
        "precondition",
        "target",
        "timeout",
        "wait",
        "window",
        "window_quirk",
    ] {
        let tally = &tallies[area];
        assert!(tally.rows > 0 && tally.uncovered.is_empty(), "{area}: {:?}", tally.uncovered);
    }
}

#[test]
fn a_wrong_answer_is_caught() {
    let row = |input: &str, expected: &str| Row {
        area: "naming".into(),
        source: String::new(),
        input: serde_json::from_str(input).unwrap(),
        expected: serde_json::from_str(expected).unwrap(),
        note: String::new(),
    };
    let rows = [
        row(r#"{"name":"a-v001"}"#, r#"{"sequence":2}"#),
        row(r#"{"name":"a-v001"}"#, r#"{"colour":null}"#),
        row(r#"{"name":"a-v001"}"#, r#"{"error":true}"#),
        row(r#"{"name":"a%","strict":true}"#, r#"{"error":"NotFound"}"#),
        row(r#"{"name":"a%","strict":true}"#, r#"{"app":null}"#),
    ];
    assert_eq!(run(&rows)["naming"].failed.len(), rows.len());
}
