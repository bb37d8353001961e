//! Answers of the scripts, read.

use redis::Value;

use super::super::Listing;
use super::super::Record;
use super::super::StoreError;
use super::super::record;
use crate::model::Timestamp;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::ExecutionType;
use crate::orchestrator::engine::status::Status;

type Read<T> = Result<T, StoreError>;

pub(super) fn unreadable(what: impl Into<String>) -> StoreError {
    StoreError::Unreadable(what.into())
}

/// The parts of an answer, taken one after the other.
pub(super) struct Parts(std::vec::IntoIter<Value>);

impl Parts {
    pub(super) fn of(value: Value) -> Read<Self> {
        match value {
            Value::Array(list) => Ok(Self(list.into_iter())),
            other => Err(unreadable(format!("a list was expected from Redis, not {}", short(&other)))),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    fn next(&mut self) -> Read<Value> {
        self.0.next().ok_or_else(|| unreadable("an answer of Redis is too short"))
    }

    pub(super) fn list(&mut self) -> Read<Parts> {
        Self::of(self.next()?)
    }

    pub(super) fn value(&mut self) -> Read<Value> {
        self.next()
    }

    pub(super) fn text(&mut self) -> Read<String> {
        text(self.next()?)
    }

    pub(super) fn number<T: std::str::FromStr + TryFrom<i64>>(&mut self) -> Read<T> {
        number(self.next()?)
    }

    /// All that is left.
    pub(super) fn texts(self) -> Read<Vec<String>> {
        self.0.map(text).collect()
    }

    pub(super) fn lists(self) -> Read<Vec<Parts>> {
        self.0.map(Self::of).collect()
    }

    pub(super) fn kind(&mut self) -> Read<ExecutionType> {
        match self.text()?.as_str() {
            "orchestration" => Ok(ExecutionType::Orchestration),
            _ => Ok(ExecutionType::Pipeline),
        }
    }

    /// Fields of the hash and the index of stages, without what the store keeps for itself. The key's kind is added where the record does not have it.
    pub(super) fn record(&mut self, kind: ExecutionType) -> Read<Record> {
        let mut pairs = self.list()?;
        let mut fields = Vec::with_capacity(pairs.0.len() / 2 + 1);
        while !pairs.is_empty() {
            let (name, value) = (pairs.text()?, pairs.text()?);
            if !name.starts_with('_') {
                fields.push((name, value));
            }
        }
        if !fields.iter().any(|(name, _)| name == record::TYPE) {
            fields.push((record::TYPE.to_owned(), kind.word().to_owned()));
        }
        Ok(Record { fields, stage_index: self.list()?.texts()? })
    }

    /// Number, mark and JSON of each message.
    pub(super) fn inbox(&mut self) -> Read<Vec<(u64, Message)>> {
        self.list()?.texts()?.iter().map(|text| message(text)).collect()
    }

    /// A row of a list: id, kind, then what `LISTED` in the prelude names.
    pub(super) fn listing(mut self) -> Read<Listing> {
        let (id, kind) = (ExecutionId(self.text()?), self.kind()?);
        let mut field = || {
            Ok(match self.next()? {
                Value::Nil | Value::Boolean(false) => None,
                value => Some(text(value)?),
            })
        };
        listing(id, kind, [field()?, field()?, field()?, field()?, field()?, field()?, field()?])
    }
}

/// A listing of these fields: application, name, definition, status, times of building, start and end.
pub(super) fn listing(id: ExecutionId, kind: ExecutionType, fields: [Option<String>; 7]) -> Read<Listing> {
    let [application, name, pipeline_config_id, status, build, start, end] = fields;
    let time = |text: Option<String>| text.and_then(|text| text.parse().ok()).map(Timestamp);
    let word = status.unwrap_or_default();
    let status = Status::from_word(&word).ok_or_else(|| unreadable(format!("execution {id}: status {word:?} is of a newer version")))?;
    Ok(Listing {
        id,
        kind,
        application: application.unwrap_or_default(),
        name: name.unwrap_or_default(),
        pipeline_config_id,
        status,
        build_time: time(build).unwrap_or_default(),
        start_time: time(start),
        end_time: time(end),
    })
}

fn message(text: &str) -> Read<(u64, Message)> {
    let damaged = || unreadable("a message in an inbox is damaged, or of a newer version");
    let at = text.find([' ', '!']).ok_or_else(damaged)?;
    let number = text[..at].parse().map_err(|_| damaged())?;
    Ok((number, serde_json::from_str(&text[at + 1..]).map_err(|_| damaged())?))
}

pub(super) fn text(value: Value) -> Read<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| unreadable("Redis holds what is not UTF-8")),
        Value::SimpleString(text) => Ok(text),
        Value::Int(n) => Ok(n.to_string()),
        Value::Okay => Ok("OK".to_owned()),
        other => Err(unreadable(format!("a text was expected from Redis, not {}", short(&other)))),
    }
}

pub(super) fn number<T: std::str::FromStr + TryFrom<i64>>(value: Value) -> Read<T> {
    match value {
        Value::Int(n) => T::try_from(n).map_err(|_| unreadable(format!("{n} is out of range"))),
        other => {
            let text = text(other)?;
            text.parse().map_err(|_| unreadable(format!("a number was expected from Redis, not {text:?}")))
        }
    }
}

/// A score: an integer, unless it is beyond what a double holds.
#[expect(clippy::cast_possible_truncation, reason = "what is beyond the range stops at its end")]
pub(super) fn score(text: &str) -> Option<Timestamp> {
    text.parse::<i64>().ok().or_else(|| text.parse::<f64>().ok().map(|f| f as i64)).map(Timestamp)
}

fn short(value: &Value) -> String {
    format!("{value:?}").chars().take(60).collect()
}
