//! What `activeByInstance` says of one instance, from its JSON or from the Redis keys behind it, and what follows from that.

use serde::Deserialize;

use crate::model::Activity;
use crate::model::ExecutionRef;

/// Names beyond these are counted, not kept: a status page shows no more.
const MOST_NAMED: usize = 100;

/// One instance in `activeByInstance`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its heartbeat is late: nobody knows what it does now.
    pub overdue: bool,
    /// What it says it executes.
    pub count: u64,
    /// Which ones, where it says.
    pub executions: Vec<ExecutionRef>,
}

impl Entry {
    /// Silent and without work: Orca takes it for drained and gone. For a process that is meant to be alive it is no answer.
    pub fn is_gone(&self) -> bool {
        self.overdue && self.count == 0 && self.executions.is_empty()
    }

    /// What it says of activity now. A silent instance says nothing, whatever it said last.
    pub fn activity(mut self) -> Activity {
        let count = self.count.max(self.executions.len() as u64);
        if self.overdue {
            let last = match self.executions.first() {
                Some(execution) => format!("it died or hangs holding {count}, {} among them", execution.url),
                None => format!("it last said {count}"),
            };
            return Activity::Unknown { why: format!("the instance is silent; {last}") };
        }
        if count == 0 {
            return Activity::Idle;
        }
        self.executions.truncate(MOST_NAMED);
        Activity::Busy { count, executions: self.executions }
    }
}

/// What several entries of one host say together. One that is gone is passed over when another is there: a process before this one.
pub fn together(mut entries: Vec<Entry>) -> Activity {
    if entries.iter().any(|entry| !entry.is_gone()) {
        entries.retain(|entry| !entry.is_gone());
    }
    match entries.len() {
        0 => Activity::Unknown { why: "no entry for this instance".to_owned() },
        _ => super::activity::combine(entries.into_iter().map(Entry::activity)),
    }
}

/// A member of `active_executions:{id}:executions` that is not `application:type:id`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not application:type:id")]
pub struct BadRecord(pub String);

/// Reads a member of `active_executions:{id}:executions`: exactly three parts.
pub fn record(text: &str) -> Result<ExecutionRef, BadRecord> {
    let parts: Vec<&str> = text.splitn(4, ':').collect();
    let [application, kind, id] = parts[..] else { return Err(BadRecord(text.chars().take(80).collect())) };
    // Orca's two types; another one is named by its own word.
    let place = match kind {
        "pipeline" => "pipelines",
        "task" | "orchestration" => "tasks",
        other => other,
    };
    Ok(ExecutionRef { application: application.to_owned(), url: format!("/{place}/{id}") })
}

/// Era A's plain count, or the object of the eras after it. Absent fields read as Orca's clients always read them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Wire {
    Count(u64),
    Entry {
        #[serde(default)]
        overdue: bool,
        count: Option<u64>,
        #[serde(default)]
        executions: Vec<ExecutionRef>,
    },
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Wire::deserialize(deserializer)? {
            Wire::Count(count) => Ok(Self { count, ..Self::default() }),
            Wire::Entry { overdue, count: Some(count), executions } => Ok(Self { overdue, count, executions }),
            Wire::Entry { overdue, count: None, executions } if !executions.is_empty() => {
                Ok(Self { overdue, count: executions.len() as u64, executions })
            }
            Wire::Entry { count: None, .. } => Err(serde::de::Error::custom("neither a count nor executions")),
        }
    }
}
