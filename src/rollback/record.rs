//! What a group was like when a rollback laid hands on it, as a tag of the group itself: any machine can go on, or put it back.
//!
//! What must stay true: it is written by the same call as the hold, before anything else is changed, and goes by the same call as the hold.
//! A rerun copies what it finds and never writes over it with what it sees; one that cannot be read stops everything. Members stand in tags of
//! their own, by name: an undoing has to know which were added. A word that this build does not know may mean
//! something that must not be left out: it stops everything too.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::plan::Shape;
use super::wishes::WISHES_TAGS;
use crate::model::Capacity;
use crate::model::InstanceId;
use crate::model::Process;
use crate::model::RECORD_TAG;
use crate::model::TAG_VALUE_MAX;

/// The group tags with the members of a [`Record`], from 1 on.
const MEMBERS_TAG: &str = "bellrock:found-members-";
/// Whether the cluster is a singleton. A tag of its own: the record's has no room for it when all processes were suspended.
const SINGLETON_TAG: &str = "bellrock:found-singleton";
/// How every key of ours begins.
const OURS: &str = "bellrock:";
/// So many of them at most: AWS takes 50 tags on a group, and most of these are other people's. Each has room for twelve instances.
const MEMBERS_TAGS_MAX: usize = 10;
/// Tags that AWS takes on one group.
const TAGS_MAX: usize = 50;
/// The tags of a hold, of a record, of a capacity, of who is kept, and of wishes.
const OTHER_TAGS: usize = 6 + WISHES_TAGS.len();
/// Behind a member that somebody else had protected from scale-in.
const PROTECTED: &str = "/p";
/// Between processes; AWS takes it in a tag's value everywhere, and no process has it in its name.
const AND: char = '+';
const NONE: &str = "-";
const YES: &str = "yes";
const NO: &str = "no";

/// The words of a record.
const WORDS: [&str; 10] = ["role", "undoes", "count", "sizes", "suspended", "alive", "recorded", "members", "protects", "keeps"];

/// A group as an unfinished rollback found it, and what that rollback is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// What becomes of the group.
    pub role: Role,
    /// The rollback undoes an earlier one.
    pub undoes: bool,
    /// Its cluster is handed over, never two at once; `None` where an older version has not written it.
    pub singleton: Option<bool>,
    /// Instances the restored group of its cluster is to have.
    pub count: u32,
    /// Sizes and suspended processes as found.
    pub found: Shape,
    /// Members that were alive.
    pub alive: u32,
    /// The capacity tag as found.
    pub capacity_tag: Option<String>,
    /// Who these members were, of a group that comes back; `None` when it has too many for its tags, or an older build has written this.
    pub members: Option<Vec<Member>>,
    /// An undoing may have protected those that were not.
    pub protects: bool,
    /// Members of a group that goes are kept, those that [`KEPT_TAG`](super::kept::KEPT_TAG) names.
    pub keeps: bool,
}

/// A member as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Which.
    pub id: InstanceId,
    /// Somebody else had protected it from scale-in.
    pub protected: bool,
}

/// These members, when the tags of a group that has these already have room for them.
pub fn listed(members: Vec<Member>, tags: &BTreeMap<String, String>) -> Option<Vec<Member>> {
    let ours = |key: &&String| key.starts_with(MEMBERS_TAG);
    let room = TAGS_MAX.saturating_sub(OTHER_TAGS + tags.keys().filter(|key| !ours(key)).count());
    (pages(&members).len() <= room.min(MEMBERS_TAGS_MAX)).then_some(members)
}

/// How many tags a group that has these already, and gets this record, has left for wishes.
pub fn room_for_wishes(tags: &BTreeMap<String, String>, record: &Record) -> usize {
    let others = tags.keys().filter(|key| !key.starts_with(OURS)).count();
    let members = pages(record.members.as_deref().unwrap_or_default()).len();
    TAGS_MAX.saturating_sub(others + OTHER_TAGS - WISHES_TAGS.len() + members).min(WISHES_TAGS.len())
}

/// The keys of every tag that a record may have.
pub fn keys() -> impl Iterator<Item = String> {
    [RECORD_TAG, SINGLETON_TAG].map(str::to_owned).into_iter().chain(members_keys())
}

fn members_keys() -> impl Iterator<Item = String> {
    (1..=MEMBERS_TAGS_MAX).map(|n| format!("{MEMBERS_TAG}{n}"))
}

/// Members in words, as many to a tag as it takes.
fn pages(members: &[Member]) -> Vec<String> {
    let mut pages: Vec<String> = Vec::new();
    for member in members {
        let word = format!("{}{}", member.id, if member.protected { PROTECTED } else { "" });
        match pages.last_mut().filter(|page| page.len() + 1 + word.len() <= TAG_VALUE_MAX) {
            Some(page) => *page += &format!(" {word}"),
            None => pages.push(word),
        }
    }
    pages
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
#[error("the tag {tag} is not intelligible: {text:?}: {problem}")]
pub struct RecordError {
    /// The tag's key.
    pub tag: &'static str,
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
            // A newer version may have meant something by it that an older one must not leave out.
            if words.keys().any(|key| !WORDS.contains(key)) {
                return Err("a word that this version does not know");
            }
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
                singleton: match tags.get(SINGLETON_TAG).map(String::as_str) {
                    Some(YES) => Some(true),
                    Some(NO) => Some(false),
                    Some(_) => return Err("singleton is neither yes nor no"),
                    None => None,
                },
                count: number("count").ok_or("no count")?,
                found: Shape { capacity, suspended },
                alive: number("alive").ok_or("no number of members")?,
                capacity_tag: word("recorded").map(str::to_owned),
                members: number("members").map(|count| members(tags, count)).transpose()?,
                protects: word("protects").is_some(),
                keeps: word("keeps").is_some(),
            })
        };
        read().map(Some).map_err(|problem| RecordError { tag: RECORD_TAG, text: text.clone(), problem })
    }

    /// The group tags that carry it.
    pub fn to_tags(&self) -> Vec<(String, String)> {
        let singleton = self.singleton.map(|is| (SINGLETON_TAG.to_owned(), (if is { YES } else { NO }).to_owned()));
        let members = pages(self.members.as_deref().unwrap_or_default());
        let tags = [(RECORD_TAG.to_owned(), self.to_string())].into_iter().chain(singleton);
        tags.chain(members_keys().zip(members)).collect()
    }
}

impl fmt::Display for Record {
    /// The main tag's value.
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
        if let Some(members) = &self.members {
            write!(f, " members={}", members.len())?;
        }
        if self.protects {
            f.write_str(" protects=y")?;
        }
        if self.keeps {
            f.write_str(" keeps=y")?;
        }
        if self.undoes { f.write_str(" undoes=yes") } else { Ok(()) }
    }
}

/// The members that the tags name, which have to be so many.
fn members(tags: &BTreeMap<String, String>, count: u32) -> Result<Vec<Member>, &'static str> {
    let member = |word: &str| match word.strip_suffix(PROTECTED) {
        Some(id) => Member { id: InstanceId::from(id), protected: true },
        None => Member { id: InstanceId::from(word), protected: false },
    };
    let pages = members_keys().map_while(|key| tags.get(&key));
    let found: Vec<Member> = pages.flat_map(|page| page.split_whitespace()).map(member).collect();
    if u32::try_from(found.len()) == Ok(count) { Ok(found) } else { Err("not all of its members are there") }
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

    fn tag(text: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(RECORD_TAG.to_owned(), text.to_owned())])
    }

    proptest! {
        #[test]
        fn a_record_survives_its_tag(
            sizes in (0_u32..10_000, 0_u32..10_000, 0_u32..10_000),
            suspended in proptest::sample::subsequence(PROCESSES.to_vec(), 0..=PROCESSES.len()),
            (count, alive, restore, undoes, recorded) in (0_u32..10_000, 0_u32..10_000, any::<bool>(), any::<bool>(), any::<bool>()),
            members in proptest::option::of(proptest::collection::vec((any::<u64>(), any::<bool>()), 0..100)),
            (protects, keeps) in (any::<bool>(), any::<bool>()),
        ) {
            let member = |(id, protected)| Member { id: InstanceId::new(format!("i-0{id:016x}")), protected };
            let record = Record {
                role: if restore { Role::Restore } else { Role::Retire },
                undoes,
                singleton: Some(!undoes),
                count,
                found: Shape { capacity: Capacity { min: sizes.0, desired: sizes.1, max: sizes.2 }, suspended: suspended.into_iter().collect() },
                alive,
                capacity_tag: recorded.then(|| "9999/9999/9999@v999".to_owned()),
                members: members.filter(|_| restore).map(|members| members.into_iter().map(member).collect()),
                protects: protects && restore,
                keeps: keeps && !restore,
            };
            let tags: BTreeMap<String, String> = record.to_tags().into_iter().collect();
            for (key, value) in &tags {
                prop_assert!(value.len() <= TAG_VALUE_MAX && keys().any(|known| known == *key), "{} characters in {}", value.len(), key);
            }
            prop_assert_eq!(Record::parse(&tags), Ok(Some(record)));
        }
    }

    #[test]
    fn members_are_listed_as_long_as_the_group_has_tags_to_spare() {
        let members = |count: u64| (0..count).map(|n| Member { id: InstanceId::new(format!("i-0{n:016x}")), protected: false }).collect();
        let tags = |count: usize| (0..count).map(|n| (format!("team-{n}"), String::new())).collect::<BTreeMap<_, _>>();
        let room_for = |pages: usize| tags(TAGS_MAX - OTHER_TAGS - pages);
        assert!(listed(members(120), &room_for(10)).is_some());
        assert_eq!((listed(members(121), &tags(0)), listed(members(13), &room_for(1))), (None, None));
        assert_eq!(listed(members(12), &room_for(1)).map(|listed| listed.len()), Some(12));
    }

    #[test]
    fn wishes_get_the_tags_that_other_people_and_the_members_leave() {
        let record = |count: u64| Record {
            role: Role::Restore,
            undoes: false,
            singleton: Some(false),
            count: 3,
            found: Shape { capacity: Capacity::default(), suspended: BTreeSet::new() },
            alive: 3,
            capacity_tag: None,
            members: Some((0..count).map(|n| Member { id: InstanceId::new(format!("i-0{n:016x}")), protected: false }).collect()),
            protects: false,
            keeps: false,
        };
        let tags = |others: usize| {
            let ours = record(24).to_tags().into_iter().map(|(key, _)| key);
            (0..others).map(|n| format!("team-{n}")).chain(ours).map(|key| (key, String::new())).collect::<BTreeMap<_, _>>()
        };
        let room = |others: usize, members: u64| room_for_wishes(&tags(others), &record(members));
        assert_eq!((room(0, 0), room(36, 0), room(36, 24), room(43, 0), room(44, 0), room(50, 24)), (8, 8, 6, 1, 0, 0));
    }

    #[test]
    fn a_record_of_an_older_build_names_no_members_and_one_that_lost_some_is_an_error() {
        let older = "role=restore count=1 sizes=1/1/1 alive=1 suspended=-";
        assert_eq!(Record::parse(&tag(older)).unwrap().unwrap().members, None);
        assert!(Record::parse(&tag(&format!("{older} members=1"))).is_err());
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
