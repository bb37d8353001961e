//! The hold: how a rollback tells agents, through group tags alone, to keep their hands off a group (F55, S11).
//!
//! What must stay true: a hold that cannot be read counts as a hold, never as none; a reader ignores keys it does not know, so that an
//! older agent obeys a newer rollback. A tag value has at most [`TAG_VALUE_MAX`] characters and only those that AWS takes everywhere.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use super::group::Capacity;
use super::time::Timestamp;

/// The group tag that carries a [`Hold`].
pub const HOLD_TAG: &str = "bellrock:hold";
/// The group tag that counts rollbacks. It stays when the hold is released: a drain begun under an older number is off (S11).
pub const GENERATION_TAG: &str = "bellrock:generation";
/// The group tag with the sizes a group had before it was drained or retired, as `min/desired/max` (F53). Agents write the version that took over behind
/// it, as in `1/3/6@v024`, when they first see that, and take it off when the group serves again; a rollback writes the sizes alone.
pub const CAPACITY_TAG: &str = "bellrock:capacity";
/// The group tag with how a rollback found a group: as long as it stands, that rollback has not ended.
pub const RECORD_TAG: &str = "bellrock:found";
/// Characters AWS allows in a tag value.
pub const TAG_VALUE_MAX: usize = 256;
/// How long a hold lives without being refreshed. Too short and a slow laptop loses it in the middle; too long and a dead one blocks
/// agents and the next person for that time.
pub const HOLD_TTL: Duration = Duration::from_secs(600);

/// A group is in the hands of a rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Which rollback of this group, counting from 1.
    pub generation: u64,
    /// `user@host` of the person at it.
    pub owner: String,
    /// From then on the hold means nothing.
    pub expires: Timestamp,
}

/// A hold tag is there and makes no sense to us. Whoever meets it treats the group as held.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tag {HOLD_TAG} is not intelligible: {text:?}: {problem}")]
pub struct HoldError {
    /// The tag's value.
    pub text: String,
    /// What is missing or wrong.
    pub problem: String,
}

impl Hold {
    /// The hold that these group tags carry, expired or not.
    ///
    /// # Errors
    /// There is one and it cannot be read: held, by nobody knows whom.
    pub fn parse(tags: &BTreeMap<String, String>) -> Result<Option<Self>, HoldError> {
        let Some(text) = tags.get(HOLD_TAG) else { return Ok(None) };
        let fail = |problem: String| HoldError { text: text.clone(), problem };
        let fields: BTreeMap<&str, &str> = text.split_whitespace().filter_map(|word| word.split_once('=')).collect();
        let field = |key: &str| fields.get(key).copied().ok_or_else(|| fail(format!("no {key}=")));
        let generation = field("generation")?.parse().map_err(|e| fail(format!("generation: {e}")))?;
        let expires = Timestamp::parse(field("expires")?).ok_or_else(|| fail("expires is no RFC 3339 time".to_owned()))?;
        Ok(Some(Self { generation, owner: field("owner")?.to_owned(), expires }))
    }

    /// The tags that say so: the hold itself and the generation.
    pub fn to_tags(&self) -> [(String, String); 2] {
        let fixed = format!("generation={} expires={} owner=", self.generation, self.expires);
        let room = TAG_VALUE_MAX.saturating_sub(fixed.len());
        let owner: String = self.owner.chars().map(|c| if is_plain(c) { c } else { '_' }).take(room).collect();
        [(HOLD_TAG.to_owned(), fixed + &owner), (GENERATION_TAG.to_owned(), self.generation.to_string())]
    }

    /// True before it expires.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires
    }
}

/// How many rollbacks this group has seen; 0 without a tag, or with one that is no number ([`strange_generation`]).
pub fn generation(tags: &BTreeMap<String, String>) -> u64 {
    let counted = tags.get(GENERATION_TAG).and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let held = Hold::parse(tags).ok().flatten().map_or(0, |hold| hold.generation);
    counted.max(held)
}

/// The text of a generation tag that is no number: whether a rollback has been there since, nobody can tell.
pub fn strange_generation(tags: &BTreeMap<String, String>) -> Option<&str> {
    let text = tags.get(GENERATION_TAG)?;
    text.trim().parse::<u64>().is_err().then_some(text)
}

/// What agents write of a group when they first see it superseded.
pub fn capacity_text(sizes: Capacity, superseded_by: &str) -> String {
    format!("{sizes}{BY}{superseded_by}")
}

/// The version that had taken over when agents recorded the group's sizes, as `vNNN`; `None` when they have not.
pub fn recorded_by_agents(tags: &BTreeMap<String, String>) -> Option<&str> {
    tags.get(CAPACITY_TAG)?.split_once(BY).map(|(_, version)| version)
}

/// The sizes recorded before the group was drained or retired; `None` without a tag, or with one that makes no sense.
pub fn recorded_capacity(tags: &BTreeMap<String, String>) -> Option<Capacity> {
    let mut sizes = tags.get(CAPACITY_TAG)?.split(BY).next()?.split('/').map(|part| part.trim().parse::<u32>());
    let (min, desired, max) = (sizes.next()?.ok()?, sizes.next()?.ok()?, sizes.next()?.ok()?);
    (sizes.next().is_none() && min <= desired && desired <= max).then_some(Capacity { min, max, desired })
}

/// Between sizes and version.
const BY: char = '@';

/// Letters, digits and marks that AWS takes in tag values everywhere.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+-=._:/@".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(owner: &str) -> Hold {
        Hold { generation: 7, owner: owner.to_owned(), expires: Timestamp(1_000_000) }
    }

    #[test]
    fn a_hold_survives_its_tags() {
        let tags = BTreeMap::from(hold("ann@laptop").to_tags());
        assert_eq!(Hold::parse(&tags), Ok(Some(hold("ann@laptop"))));
        assert_eq!(generation(&tags), 7);
    }

    #[test]
    fn a_strange_owner_stays_one_word_that_aws_takes() {
        let tags = BTreeMap::from(hold(&"änn o'brien@".repeat(40)).to_tags());
        let read = Hold::parse(&tags).unwrap().unwrap();
        assert!(tags[HOLD_TAG].len() <= TAG_VALUE_MAX && read.owner.starts_with("_nn_o_brien@"), "{tags:?}");
    }

    #[test]
    fn an_unintelligible_hold_is_an_error_and_never_none() {
        for text in
            ["", "yes", "generation=x expires=1970-01-01T00:00:00Z owner=a", "generation=1 owner=a", "generation=1 expires=soon owner=a"]
        {
            assert!(Hold::parse(&BTreeMap::from([(HOLD_TAG.to_owned(), text.to_owned())])).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_newer_word_in_the_tag_is_ignored() {
        let tags = BTreeMap::from([(HOLD_TAG.to_owned(), "generation=2 expires=1970-01-01T00:16:40Z owner=ann why=night".to_owned())]);
        assert_eq!(Hold::parse(&tags).unwrap().map(|h| h.generation), Some(2));
    }

    #[test]
    fn a_hold_ends_when_it_says() {
        assert!(hold("a").is_live(Timestamp(999_999)) && !hold("a").is_live(Timestamp(1_000_000)));
    }

    #[test]
    fn recorded_sizes_are_read_only_when_they_make_sense() {
        let read = |text: &str| recorded_capacity(&BTreeMap::from([(CAPACITY_TAG.to_owned(), text.to_owned())]));
        assert_eq!(read("1/3/5"), Some(Capacity { min: 1, desired: 3, max: 5 }));
        assert_eq!(read(&capacity_text(Capacity { min: 1, desired: 3, max: 5 }, "v024")), Some(Capacity { min: 1, desired: 3, max: 5 }));
        assert_eq!((read("3/1/5"), read("1/3"), read("1/3/5/7"), read("many")), (None, None, None, None));
    }
}
