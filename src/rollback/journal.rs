//! What a rollback changed, a JSON line before each change and one after it, on disk before anything happens (S17).
//!
//! A rerun does not need it: it makes its plan from the facts. People do, the morning after.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;

use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use super::advance::Step;
use crate::cloud;
use crate::cloud::Receipt;
use crate::model::Timestamp;

/// An append-only file of JSON lines, or nothing where nobody wants one.
#[derive(Debug, Default)]
pub struct Journal(Option<Mutex<File>>);

impl Journal {
    /// Keeps nothing: for rehearsals.
    pub fn none() -> Self {
        Self(None)
    }

    /// Appends to this file, made with its folders if need be.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(Self(Some(Mutex::new(OpenOptions::new().create(true).append(true).open(path)?))))
    }

    /// Something that concerns the whole run: the plan, the end.
    ///
    /// # Errors
    /// The system's; nothing may be changed then.
    pub fn note(&self, at: Timestamp, event: &str, what: &impl Serialize) -> io::Result<()> {
        self.write(&json!({ "at": at.to_string(), "event": event, event: what }))
    }

    /// A step is about to be sent.
    ///
    /// # Errors
    /// The system's; the step must not be sent then.
    pub fn intend(&self, at: Timestamp, cluster: &str, step: &Step) -> io::Result<()> {
        self.write(&json!({ "at": at.to_string(), "event": "intent", "cluster": cluster, "does": step.to_string(), "intent": step }))
    }

    /// What became of it, and AWS's id of the request.
    ///
    /// # Errors
    /// The system's.
    pub fn result(&self, at: Timestamp, cluster: &str, step: &Step, result: &cloud::Result<Receipt>) -> io::Result<()> {
        let (outcome, error) = match result {
            Ok(_) => ("done", None),
            Err(error) if error.outcome_unknown() => ("unknown", Some(error.to_string())),
            Err(error) => ("failed", Some(error.to_string())),
        };
        self.write(&json!({
            "at": at.to_string(), "event": "result", "cluster": cluster, "does": step.to_string(), "outcome": outcome, "error": error,
            "request_id": request_id(result),
        }))
    }

    fn write(&self, line: &Value) -> io::Result<()> {
        let Some(file) = &self.0 else { return Ok(()) };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_data()
    }
}

/// AWS's id of the request, whether it did what was asked or not.
pub fn request_id(result: &cloud::Result<Receipt>) -> Option<&str> {
    match result {
        Ok(receipt) => receipt.request_id.as_deref(),
        Err(error) => error.request_id.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GroupName;
    use crate::rollback::advance::CapacityTag;

    #[test]
    fn each_change_leaves_an_intent_and_a_result() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/rollback.jsonl");
        let journal = Journal::open(&path).unwrap();
        let step = Step::Release { group: GroupName::from("app-v001"), capacity: CapacityTag::Kept, unkept: false };
        journal.intend(Timestamp(0), "app", &step).unwrap();
        journal.result(Timestamp(1), "app", &step, &Ok(Receipt { request_id: Some("r-1".to_owned()) })).unwrap();
        let lines: Vec<Value> = std::fs::read_to_string(&path).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!((&lines[0]["event"], &lines[1]["event"], &lines[1]["outcome"]), (&json!("intent"), &json!("result"), &json!("done")));
        assert_eq!((&lines[0]["intent"]["group"], &lines[1]["request_id"]), (&json!("app-v001"), &json!("r-1")));
    }
}
