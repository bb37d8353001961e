//! `GET /executions/activeByInstance`, as every era of Orca answered it: `{"i-1": 2}` and `{"i-1": {"overdue", "count", "executions"}}`.
//!
//! What must stay true: an answer without our key, or one not understood to its last byte, is unknown (F2).

use std::fmt;

use serde::Deserializer;
use serde::de::DeserializeSeed;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::Visitor;

use crate::model::Activity;

use super::entry;
use super::entry::Entry;

/// Which entry of the map is ours, once our instance is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// Exactly this.
    Exact(String),
    /// `pid@host` with this host.
    Host(String),
}

impl Name {
    /// Whether a key of the map is meant. Host names are the same in any case.
    pub fn matches(&self, key: &str) -> bool {
        match self {
            Self::Exact(name) => key == name,
            Self::Host(host) => key.split_once('@').is_some_and(|(_, at)| at.eq_ignore_ascii_case(host)),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Host(host) => write!(f, "(pid)@{host}"),
        }
    }
}

/// What the answer says of us.
pub fn read(body: &[u8], name: &Name) -> Activity {
    let entries = std::str::from_utf8(body).map_err(|e| e.to_string()).and_then(|text| {
        let mut json = serde_json::Deserializer::from_str(text);
        let entries = Entries(name).deserialize(&mut json).map_err(|e| e.to_string())?;
        json.end().map_err(|e| e.to_string())?;
        Ok(entries)
    });
    match entries {
        Err(why) => Activity::Unknown { why: format!("activeByInstance cannot be read: {why}") },
        Ok(entries) if entries.is_empty() => Activity::Unknown { why: format!("activeByInstance does not list {name}") },
        Ok(entries) => entry::together(entries),
    }
}

/// Collects the entries that are ours, every one of them: JSON lets a key come twice, and the last one is not the truer one.
struct Entries<'a>(&'a Name);

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = Vec<Entry>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Entry>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = Vec<Entry>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map by instance")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Entry>, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if self.0.matches(&key) {
                entries.push(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::ExecutionRef;

    fn own() -> Name {
        Name::Exact("i-1".to_owned())
    }

    fn busy(count: u64, urls: &[&str]) -> Activity {
        let executions = urls.iter().map(|url| ExecutionRef { application: "foo".to_owned(), url: (*url).to_owned() }).collect();
        Activity::Busy { count, executions }
    }

    #[test]
    fn every_era_is_understood() {
        for (body, activity) in [
            (r#"{"i-1":0}"#, Activity::Idle),
            (r#"{"i-2":0,"i-1":12}"#, busy(12, &[])),
            (r#"{"i-1":{"count":0}}"#, Activity::Idle),
            (r#"{"i-1":{"overdue":false,"count":0,"executions":[]}}"#, Activity::Idle),
            (r#"{"i-1":{"overdue":false,"count":3,"executions":[]}}"#, busy(3, &[])),
            (r#"{"i-1":{"count":1,"executions":[{"application":"foo","url":"/pipelines/01F"}]},"i-2":0}"#, busy(1, &["/pipelines/01F"])),
            (r#"{"i-1":{"executions":[{"application":"foo","url":"/tasks/01G"}]}}"#, busy(1, &["/tasks/01G"])),
            (r#"{"i-1":{"count":0,"executions":[{"application":"foo","url":"/tasks/01G"}]}}"#, busy(1, &["/tasks/01G"])),
            (r#"{"i-1":{"count":0,"since":"later eras may say more"}}"#, Activity::Idle),
        ] {
            assert_eq!(read(body.as_bytes(), &own()), activity, "{body}");
        }
    }

    #[test]
    fn what_is_missing_silent_or_malformed_is_unknown() {
        let deep = format!(r#"{{"i-1":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let deep_elsewhere = format!(r#"{{"i-1":0,"i-2":{}"#, "[".repeat(100_000));
        for body in [
            "",
            "null",
            "[]",
            "0",
            "{}",
            "<html>",
            r#""i-1""#,
            r#"{"i-2":0}"#,
            r#"{"I-1":0}"#,
            r#"{"i-1":0"#,
            r#"{"i-1":0}}"#,
            r#"{"i-1":0} 0"#,
            r#"{"i-1":null}"#,
            r#"{"i-1":-1}"#,
            r#"{"i-1":0.0}"#,
            r#"{"i-1":-0}"#,
            r#"{"i-1":1e400}"#,
            r#"{"i-1":"0"}"#,
            r#"{"i-1":false}"#,
            r#"{"i-1":[]}"#,
            r#"{"i-1":{}}"#,
            r#"{"i-1":{"count":null}}"#,
            r#"{"i-1":{"cuont":0}}"#,
            r#"{"i-1":{"count":"0"}}"#,
            r#"{"i-1":{"executions":[]}}"#,
            r#"{"i-1":{"overdue":null,"count":0}}"#,
            r#"{"i-1":{"count":0,"executions":null}}"#,
            r#"{"i-1":{"count":0,"executions":[1]}}"#,
            r#"{"i-1":{"count":2,"count":0}}"#,
            r#"{"i-1":{"overdue":true,"count":0,"executions":[]}}"#,
            r#"{"i-1":{"overdue":true,"count":1,"executions":[{"application":"foo","url":"/pipelines/4"}]}}"#,
            &deep,
            &deep_elsewhere,
        ] {
            let activity = read(body.as_bytes(), &own());
            assert!(matches!(activity, Activity::Unknown { .. }), "{}: {activity:?}", &body[..body.len().min(80)]);
        }
        assert!(matches!(read(b"{\"i-1\":0,\"\xff\":0}", &own()), Activity::Unknown { .. }));
    }

    #[test]
    fn a_key_that_comes_twice_is_busy_if_either_is() {
        assert_eq!(read(br#"{"i-1":2,"i-1":0}"#, &own()), busy(2, &[]));
        assert_eq!(read(br#"{"i-1":0,"i-1":2}"#, &own()), busy(2, &[]));
    }

    #[test]
    fn processes_of_one_host_are_judged_together() {
        let name = Name::Host("orca-1".to_owned());
        assert_eq!(read(br#"{"12@orca-1":0,"9@other":4}"#, &name), Activity::Idle);
        assert_eq!(read(br#"{"12@orca-1":0,"13@ORCA-1":4}"#, &name), busy(4, &[]));
        let gone_before = br#"{"11@orca-1":{"overdue":true,"count":0},"12@orca-1":{"count":0}}"#;
        assert_eq!(read(gone_before, &name), Activity::Idle);
        let died_holding = br#"{"11@orca-1":{"overdue":true,"count":1},"12@orca-1":{"count":0}}"#;
        assert!(matches!(read(died_holding, &name), Activity::Unknown { .. }));
        assert!(matches!(read(br#"{"orca-1":0}"#, &name), Activity::Unknown { .. }));
    }

    #[test]
    fn names_no_more_executions_than_a_page_shows() {
        let one = r#"{"application":"foo","url":"/tasks/1"}"#;
        let body = format!(r#"{{"i-1":{{"count":500,"executions":[{}]}}}}"#, vec![one; 500].join(","));
        let Activity::Busy { count, executions } = read(body.as_bytes(), &own()) else { panic!("busy") };
        assert_eq!((count, executions.len()), (500, 100));
    }

    proptest! {
        #[test]
        fn garbage_is_never_idle(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_ne!(read(&body, &own()), Activity::Idle);
        }

        /// Idle only when the very answer says 0 and nothing else is wrong with it.
        #[test]
        fn a_damaged_busy_answer_is_never_idle(at in 0usize..90, byte in any::<u8>()) {
            let mut body = br#"{"i-1":{"overdue":false,"count":2,"executions":[{"application":"foo","url":"/tasks/1"}]}}"#.to_vec();
            let at = at % body.len();
            body[at] = byte;
            prop_assert_ne!(read(&body, &own()), Activity::Idle);
        }
    }
}
