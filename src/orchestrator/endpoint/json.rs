//! One value of a JSON document as activity.
//!
//! What must stay true: a document in which a key comes twice has no one value, so it says nothing (F2).

use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_json::Value;

use crate::model::Activity;

/// What the value at `pointer` says: a number of executions, the length of an array or object, or whether it is busy.
pub fn read(body: &[u8], pointer: &str) -> Activity {
    match at(body, pointer).and_then(|value| count(&value)) {
        Err(why) => Activity::Unknown { why: format!("at {pointer:?}: {why}") },
        Ok(0) => Activity::Idle,
        Ok(count) => Activity::Busy { count, executions: Vec::new() },
    }
}

/// The value at an RFC 6901 pointer; the error is for people.
pub fn at(body: &[u8], pointer: &str) -> Result<Value, String> {
    let Unambiguous(mut document) = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    document.pointer_mut(pointer).map(Value::take).ok_or_else(|| "nothing is there".to_owned())
}

fn count(value: &Value) -> Result<u64, String> {
    match value {
        Value::Bool(busy) => Ok(u64::from(*busy)),
        Value::Array(items) => Ok(items.len() as u64),
        Value::Object(members) => Ok(members.len() as u64),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(count), _) => Ok(count),
            // A fraction of work is work.
            (None, Some(count)) if count.is_finite() && count >= 0.0 => Ok(count.ceil() as u64),
            (None, _) => Err(format!("{number} is no count")),
        },
        Value::Null => Err("null".to_owned()),
        Value::String(_) => Err("a text, where a number, an array, an object or a boolean was expected".to_owned()),
    }
}

/// A document without a key that comes twice.
struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Strict).map(Self)
    }
}

struct Strict;

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Unambiguous(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = serde_json::Map::new();
        while let Some((key, Unambiguous(member))) = members.next_entry::<String, _>()? {
            if object.contains_key(&key) {
                return Err(Error::custom(format_args!("{key:?} comes twice")));
            }
            object.insert(key, member);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn busy(count: u64) -> Activity {
        Activity::Busy { count, executions: Vec::new() }
    }

    #[test]
    fn counts_what_is_there() {
        for (body, pointer, activity) in [
            ("0", "", Activity::Idle),
            ("3", "", busy(3)),
            ("0.0", "", Activity::Idle),
            ("0.2", "", busy(1)),
            (r#"{"running":[]}"#, "/running", Activity::Idle),
            (r#"{"running":[{},{}]}"#, "/running", busy(2)),
            (r#"{"by":{"a":1}}"#, "/by", busy(1)),
            (r#"{"busy":true}"#, "/busy", busy(1)),
            (r#"{"busy":false}"#, "/busy", Activity::Idle),
            (r#"{"a/b":{"m~n":[7]}}"#, "/a~1b/m~0n/0", busy(7)),
        ] {
            assert_eq!(read(body.as_bytes(), pointer), activity, "{body} at {pointer}");
        }
    }

    #[test]
    fn what_is_missing_or_no_count_is_unknown() {
        let deep = "[".repeat(100_000);
        for (body, pointer) in [
            ("", ""),
            ("null", ""),
            ("{}", "/running"),
            (r#"{"running":null}"#, "/running"),
            (r#"{"running":"0"}"#, "/running"),
            ("-1", ""),
            ("-0.5", ""),
            ("0 0", ""),
            (r#"{"running":3,"running":0}"#, "/running"),
            (r#"{"a":1,"a":2,"running":0}"#, "/running"),
            (r#"{"running":0}"#, "running"),
            ("[0]", "/1"),
            ("<html>", ""),
            (&deep, ""),
        ] {
            let activity = read(body.as_bytes(), pointer);
            assert!(matches!(activity, Activity::Unknown { .. }), "{} at {pointer}: {activity:?}", &body[..body.len().min(40)]);
        }
        assert!(matches!(read(b"{\"running\":0,\"x\":\"\xff\"}", "/running"), Activity::Unknown { .. }));
    }

    proptest! {
        #[test]
        fn garbage_is_never_idle(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_ne!(read(&body, "/running"), Activity::Idle);
        }
    }
}
