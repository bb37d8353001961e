//! `active_by_instance`: what Orca's reader makes of its keys in Redis.

use bellrock::orchestrator::endpoint::active_executions::Keys;
use bellrock::orchestrator::endpoint::entry;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::Answer;
use super::Refusal;

fn refusal(message: String) -> Refusal {
    Refusal { kind: "IllegalArgument", message }
}

/// Our answer; `None` for what a heartbeat writes, which only an engine does.
pub fn answer(input: &Value) -> Option<Answer> {
    if let Some(record) = input["record"].as_str() {
        return Some(entry::record(record).map(|execution| json!(execution)).map_err(|e| refusal(e.to_string())));
    }
    let ids: Vec<&str> = input["active_instances"].as_array()?.iter().filter_map(Value::as_str).collect();
    Some(entries(input, &ids))
}

fn entries(input: &Value, ids: &[&str]) -> Answer {
    let mut answer = Map::new();
    let mut gone = Vec::new();
    for id in ids {
        let executions: Vec<String> =
            input["executions"][id].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        let token = input["token"][id].as_str().map(str::to_owned);
        let keys = Keys { token, size: executions.len() as u64, executions, ..Keys::default() };
        let entry = keys.entry().map_err(refusal)?;
        if entry.is_gone() {
            gone.push(*id);
        }
        answer.insert((*id).to_owned(), json!({ "overdue": entry.overdue, "count": entry.count }));
    }
    answer.insert("removedFromSet".to_owned(), json!(gone));
    Ok(answer.into())
}
