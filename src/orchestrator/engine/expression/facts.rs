//! A [`Scope`] over plain JSON: for checking an expression against a context that somebody hands in, without an execution.

use std::collections::BTreeMap;

use serde_json::Map;
use serde_json::Value;

use super::Datum;
use super::Scope;
use crate::model::Timestamp;

/// JSON that stands for an execution and one of its stages.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The context of the stage; its keys are plain names. An `execution` in it stands for the one below.
    pub context: Map<String, Value>,
    /// The execution: `{stages: […], trigger: {…}, authentication: {user}, …}`.
    pub execution: Value,
    /// Id, reference id or name of the current stage.
    pub current: Option<String>,
    /// Now.
    pub now: Timestamp,
    /// Chance.
    pub seed: u64,
    /// Pages by address, or why they could not be had.
    pub pages: BTreeMap<String, Result<String, String>>,
}

impl Facts {
    /// The execution; a context that was written down whole carries it along.
    fn execution(&self) -> Option<&Value> {
        self.context.get("execution").or((!self.execution.is_null()).then_some(&self.execution))
    }

    fn list(&self) -> &[Value] {
        self.execution().and_then(|e| e.get("stages")).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }
}

impl Scope for Facts {
    fn root(&self, name: &str) -> Option<Datum<'_>> {
        let found = self.context.get(name).or_else(|| match name {
            "execution" => self.execution(),
            "trigger" | "templateVariables" => self.execution()?.get(name),
            _ => None,
        });
        found.map(Datum::from)
    }

    fn stages(&self) -> Vec<Datum<'_>> {
        self.list().iter().map(Datum::from).collect()
    }

    fn current_stage(&self) -> Option<Datum<'_>> {
        let current = self.current.as_deref()?;
        let is = |stage: &&Value| ["id", "refId", "name"].iter().any(|key| stage[key] == current);
        self.list().iter().find(is).map(Datum::from)
    }

    fn user(&self) -> Option<&str> {
        self.execution()?.pointer("/authentication/user")?.as_str()
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn fetched(&self, url: &str) -> Option<Result<&str, &str>> {
        self.pages.get(url).map(|page| page.as_deref().map_err(String::as_str))
    }
}
