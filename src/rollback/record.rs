//! What a group was like when a rollback laid hands on it, as a tag of the group itself: any machine can go on, or put it back.
//!
//! What must stay true: it is written by the same call as the hold, before anything else is changed, and goes by the same call as the hold.
//! A rerun copies what it finds and never writes over it with what it sees; one that cannot be read stops everything.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::plan::Shape;
use crate::model::Capacity;
use crate::model::Process;

/// The group tag that carries a [`Record`].
pub const RECORD_TAG: &str = "bellrock:found";
/// Between processes; AWS takes it in a tag's value everywhere, and no process has it in its name.
const AND: char = '+';
const NONE: &str = "-";

/// A group as an unfinished rollback found it, and what that rollback is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// What becomes of the group.
    pub role: Role,
    /// The rollback undoes an earlier one.
    pub undoes: bool,
    /// Instances the restored group of its cluster is to have.
    pub count: u32,
    /// Sizes and suspended processes as found.
    pub found: Shape,
    /// Members that were alive.
    pub alive: u32,
    /// The capacity tag as found.
    pub capacity_tag: Option<String>,
}

/// What becomes of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It comes back.
    Restore,
    /// It goes.
    Retire,
}

/// A record is there and makes no sense to us.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tag {RECORD_TAG} is not intelligible: {text:?}: {problem}")]
pub struct RecordError {
    /// The tag's value.
    pub text: String,
    /// What is missing or wrong.
    pub problem: &'static str,
}

impl Record {
    /// The record that these group tags carry.
    ///
    /// # Errors
    /// There is one and it cannot be read.
    pub fn parse(tags: &BTreeMap<String, String>) -> Result<Option<Self>, RecordError> {
        let Some(text) = tags.get(RECORD_TAG) else { return Ok(None) };
        let read = || {
            let words: BTreeMap<&str, &str> = text.split_whitespace().filter_map(|word| word.split_once('=')).collect();
            let word = |key: &'static str| words.get(key).copied();
            let number = |key: &'static str| word(key).and_then(|text| text.parse().ok());
            let role = match word("role") {
                Some("restore") => Role::Restore,
                Some("retire") => Role::Retire,
                Some(_) | None => return Err("no role"),
            };
            let suspended = match word("suspended").ok_or("no suspended processes")? {
                NONE => BTreeSet::new(),
                list => list.split(AND).map(Process::from).collect(),
            };
            let capacity = word("sizes").and_then(sizes).ok_or("no sizes")?;
            Ok(Self {
                role,
                undoes: word("undoes").is_some(),
                count: number("count").ok_or("no count")?,
                found: Shape { capacity, suspended },
                alive: number("alive").ok_or("no number of members")?,
                capacity_tag: word("recorded").map(str::to_owned),
            })
        };
        read().map(Some).map_err(|problem| RecordError { text: text.clone(), problem })
    }
}

impl fmt::Display for Record {
    /// The tag's value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Restore => "restore",
            Role::Retire => "retire",
        };
        let processes: Vec<&str> = self.found.suspended.iter().map(Process::as_str).collect();
        let suspended = if processes.is_empty() { NONE.to_owned() } else { processes.join(&AND.to_string()) };
        write!(f, "role={role} count={} sizes={} alive={} suspended={suspended}", self.count, self.found.capacity, self.alive)?;
        if let Some(tag) = &self.capacity_tag {
            write!(f, " recorded={tag}")?;
        }
        if self.undoes { f.write_str(" undoes=yes") } else { Ok(()) }
    }
}

fn sizes(text: &str) -> Option<Capacity> {
    let mut parts = text.split('/').map(|part| part.parse().ok());
    let (min, desired, max) = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(Capacity { min, max, desired })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cloud::sim::PROCESSES;
    use crate::model::TAG_VALUE_MAX;

    fn tag(text: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(RECORD_TAG.to_owned(), text.to_owned())])
    }

    proptest! {
        #[test]
        fn a_record_survives_its_tag(
            sizes in (0_u32..10_000, 0_u32..10_000, 0_u32..10_000),
            suspended in proptest::sample::subsequence(PROCESSES.to_vec(), 0..=PROCESSES.len()),
            (count, alive, restore, undoes, recorded) in (0_u32..10_000, 0_u32..10_000, any::<bool>(), any::<bool>(), any::<bool>()),
        ) {
            let record = Record {
                role: if restore { Role::Restore } else { Role::Retire },
                undoes,
                count,
                found: Shape { capacity: Capacity { min: sizes.0, desired: sizes.1, max: sizes.2 }, suspended: suspended.into_iter().collect() },
                alive,
                capacity_tag: recorded.then(|| "1/3/6".to_owned()),
            };
            let text = record.to_string();
            prop_assert!(text.len() <= TAG_VALUE_MAX, "{} characters", text.len());
            prop_assert_eq!(Record::parse(&tag(&text)), Ok(Some(record)));
        }
    }

    #[test]
    fn what_is_not_intelligible_is_an_error_and_never_none() {
        for text in
            ["", "role=restore", "role=other count=1 sizes=1/1/1 alive=1 suspended=-", "role=retire count=1 sizes=1/1 alive=1 suspended=-"]
        {
            assert!(Record::parse(&tag(text)).is_err(), "{text:?}");
        }
        assert_eq!(Record::parse(&BTreeMap::new()), Ok(None));
    }
}
