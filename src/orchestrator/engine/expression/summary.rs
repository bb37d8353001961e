//! What came of the expressions of a context: `expressionEvaluationSummary`, in Orca's form.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use super::error::Error;
use super::limit;
use crate::model::Timestamp;

/// The key of a stage's context under which its summary is kept.
pub const SUMMARY_KEY: &str = "expressionEvaluationSummary";

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// A name that nobody knows; its text was left.
    Info,
    /// It failed.
    Error,
}

/// What came of one expression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// How bad it is.
    pub level: Level,
    /// For people.
    pub description: String,
    /// Class of error that Orca would have named; `None` when nothing was thrown.
    pub exception_type: Option<String>,
    /// When, epoch milliseconds.
    pub timestamp: Timestamp,
}

/// What came of the expressions that did not go well, by expression: its text without `${` and `}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Summary {
    entries: BTreeMap<String, Vec<Entry>>,
}

impl Summary {
    /// By expression.
    pub fn entries(&self) -> &BTreeMap<String, Vec<Entry>> {
        &self.entries
    }

    /// Everything went well.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Something failed, which `failOnFailedExpressions` asks for.
    pub fn has_errors(&self) -> bool {
        self.entries.values().flatten().any(|entry| entry.level == Level::Error)
    }

    /// An expression failed. `field` is the key of the map that holds its text.
    pub(super) fn failed(&mut self, source: &str, field: &str, error: &Error, now: Timestamp) {
        let description = format!("Failed to evaluate [{field}] {} (position {})", error.problem, error.at);
        self.add(source, Level::Error, &description, Some(error.problem.exception_type()), now);
    }

    /// An expression gave nothing.
    pub(super) fn unresolved(&mut self, source: &str, field: &str, now: Timestamp) {
        let description = format!("Failed to evaluate [{field}] : {} not found", source.trim());
        self.add(source, Level::Info, &description, None, now);
    }

    fn add(&mut self, source: &str, level: Level, description: &str, exception_type: Option<&str>, timestamp: Timestamp) {
        // What is stored must not be an expression itself: the next pass would evaluate it.
        let plain = |text: &str| text.replace('$', "");
        let entry = Entry { level, description: plain(description), exception_type: exception_type.map(str::to_owned), timestamp };
        let key = plain(source.trim());
        if self.entries.len() >= limit::SUMMARY_ENTRIES && !self.entries.contains_key(&key) {
            return;
        }
        let entries = self.entries.entry(key).or_default();
        if entries.len() < limit::SUMMARY_ENTRIES && !entries.iter().any(|e| e.description == entry.description) {
            entries.push(entry);
        }
    }
}
