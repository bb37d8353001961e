//! Answers of the scripts, read.

mod packed;

use redis::Value;

use super::super::DefinitionVersion;
use super::super::Listing;
use super::super::Outgoing;
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
        let packed = match self.next()? {
            Value::BulkString(bytes) => bytes,
            other => return Err(unreadable(format!("a packed record was expected from Redis, not {}", short(&other)))),
        };
        let mut fields = packed::pairs(&packed)?;
        fields.retain(|(name, _)| !name.starts_with('_'));
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

/// Version, time and document.
pub(super) fn version(text: &str) -> Result<DefinitionVersion, StoreError> {
    let read = || {
        let mut parts = text.splitn(3, ' ');
        let (version, at) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let saved: DefinitionVersion = serde_json::from_str(parts.next()?).ok()?;
        Some(DefinitionVersion { version, at: Timestamp(at), ..saved })
    };
    read().ok_or_else(|| {
        let begin: String = text.chars().take(80).collect();
        unreadable(format!("a pipeline definition is damaged, or of a newer version: {begin:?}"))
    })
}

/// An execution that is there, or is not.
pub(super) fn record(mut answer: Parts) -> Result<Option<Record>, StoreError> {
    if answer.is_empty() {
        return Ok(None);
    }
    let kind = answer.kind()?;
    answer.record(kind).map(Some)
}

/// A notice on its way: its name, the row of the list and itself, how often it was tried.
pub(super) fn outgoing(mut parts: Parts) -> Result<Outgoing, StoreError> {
    let id = parts.text()?;
    let text = parts.text()?;
    let damaged = || unreadable(format!("notice {id} is damaged, or of a newer version"));
    let (row, notice) = text.split_once('\n').ok_or_else(damaged)?;
    let row: [Option<String>; 9] = serde_json::from_str(row).map_err(|_| damaged())?;
    let [execution, kind, application, name, config, status, build, start, end] = row;
    let kind = if kind.as_deref() == Some("orchestration") { ExecutionType::Orchestration } else { ExecutionType::Pipeline };
    let fields = [application, name, config, status, build, start, end];
    Ok(Outgoing {
        listing: listing(ExecutionId(execution.unwrap_or_default()), kind, fields)?,
        notice: serde_json::from_str(notice).map_err(|_| damaged())?,
        tries: parts.number()?,
        id,
    })
}

/// A score: an integer, unless it is beyond what a double holds.
#[expect(clippy::cast_possible_truncation, reason = "what is beyond the range stops at its end")]
pub(super) fn score(text: &str) -> Option<Timestamp> {
    text.parse::<i64>().ok().or_else(|| text.parse::<f64>().ok().map(|f| f as i64)).map(Timestamp)
}

fn short(value: &Value) -> String {
    format!("{value:?}").chars().take(60).collect()
}
