//! Words for a server group that is meant without naming it (`current`, `ancestor`, …), and the server group a deploy takes after.
//!
//! What must stay true: "newest" is always by creation time, ties by number with wrap (F16); a word never resolves to a server group outside
//! the place asked for; where nothing fits the answer is [`NotFound`], never the next best.

use std::str::FromStr;

use super::group::Group;
use super::moniker::sort_by_age;
use super::time::Timestamp;

/// Which server group of a cluster is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The newest.
    Current,
    /// The second newest: the one to roll back to.
    Previous,
    /// The oldest.
    Oldest,
    /// The one with most instances, of equals the newest.
    Largest,
    /// The only one; more than one is an error.
    Fail,
}

impl FromStr for Target {
    type Err = NotFound;

    /// Reads `current` or `newest`, `previous` or `ancestor`, `oldest`, `largest`, `fail`, in any case, with or without the suffixes
    /// `_asg` and `_asg_dynamic` of older pipelines.
    fn from_str(text: &str) -> Result<Self, NotFound> {
        let word = text.to_ascii_lowercase();
        let word = word.strip_suffix("_dynamic").filter(|w| w.ends_with("_asg")).unwrap_or(&word);
        match word.strip_suffix("_asg").unwrap_or(word) {
            "current" | "newest" => Ok(Self::Current),
            "previous" | "ancestor" => Ok(Self::Previous),
            "oldest" => Ok(Self::Oldest),
            "largest" => Ok(Self::Largest),
            "fail" => Ok(Self::Fail),
            _ => Err(NotFound::Word(text.to_owned())),
        }
    }
}

/// Why no server group is meant. Spinnaker answers 404 to each of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// The word is not one of the words.
    #[error("Target not found (target: {0})")]
    Word(String),
    /// The cluster has no server group there that may be chosen.
    #[error("No server groups found (scope: {0})")]
    Empty(String),
    /// Only one server group is there, where the word needs two.
    #[error("only one server group in {scope}: {only}")]
    Alone {
        /// The region or zone.
        scope: String,
        /// Its name.
        only: String,
    },
    /// More than one server group is there, where the word allows one.
    #[error("More than one target found (scope: {scope}, serverGroups: {})", names.join(", "))]
    Ambiguous {
        /// The region or zone.
        scope: String,
        /// Their names, newest first.
        names: Vec<String>,
    },
}

/// A server group as far as choosing one goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub region: String,
    /// The zones it spans.
    pub zones: Vec<String>,
    /// When it was made; `None` when nobody knows, and then no word means it.
    pub created: Option<Timestamp>,
    /// Spinnaker's "disabled".
    pub disabled: bool,
    /// How many instances it has, of any state.
    pub instances: usize,
}

impl Candidate {
    /// A group of this region.
    pub fn of(group: &Group, region: &str) -> Self {
        Self {
            name: group.name.to_string(),
            region: region.to_owned(),
            zones: group.availability_zones.clone(),
            created: Some(group.created),
            disabled: group.is_disabled(),
            instances: group.instances.len(),
        }
    }

    fn is_in(&self, scope: &str) -> bool {
        self.region == scope || self.zones.iter().any(|zone| zone == scope)
    }
}

/// How to look for a [`Target`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// A region or a zone.
    pub place: &'a str,
    /// Leave disabled server groups out.
    pub only_enabled: bool,
    /// `oldest` needs a second server group to be older than. Spinnaker's default is yes.
    pub validate_oldest: bool,
}

/// The server group of a cluster that the word means.
pub fn resolve<'a>(target: Target, scope: Scope<'_>, cluster: &'a [Candidate]) -> Result<&'a Candidate, NotFound> {
    let mut found: Vec<&Candidate> =
        cluster.iter().filter(|c| c.is_in(scope.place) && c.created.is_some() && !(scope.only_enabled && c.disabled)).collect();
    by_age(&mut found);
    let (Some(oldest), Some(newest)) = (found.first().copied(), found.last().copied()) else {
        return Err(NotFound::Empty(scope.place.to_owned()));
    };
    let alone = || NotFound::Alone { scope: scope.place.to_owned(), only: newest.name.clone() };
    match target {
        Target::Current => Ok(newest),
        Target::Previous => found.iter().rev().nth(1).copied().ok_or_else(alone),
        Target::Oldest if scope.validate_oldest && found.len() == 1 => Err(alone()),
        Target::Oldest => Ok(oldest),
        Target::Largest => Ok(largest(&found, Tie::Newest).unwrap_or(newest)),
        Target::Fail if found.len() > 1 => {
            Err(NotFound::Ambiguous { scope: scope.place.to_owned(), names: found.iter().rev().map(|c| c.name.clone()).collect() })
        }
        Target::Fail => Ok(newest),
    }
}

/// Which of equally large server groups is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tie {
    /// The newest: what runs now.
    #[default]
    Newest,
    /// The oldest: what Orca does for a source with `useSourceCapacity`. An accident of its sorting, kept only so that its answer can be reproduced.
    Oldest,
}

/// How to look for the server group a deploy takes its settings after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// The region deployed to; a zone will not do.
    pub region: &'a str,
    /// A word that decides by itself.
    pub target: Option<Target>,
    /// Take the one with most instances instead of the newest.
    pub use_source_capacity: bool,
    /// Among equals, with `use_source_capacity`.
    pub tie: Tie,
}

/// The server group a deploy takes after; `None` where there is nothing to take after, as in a new cluster. Enabled ones go before disabled
/// ones, a disabled one before none. A source that the stage names itself needs no look-up and so never comes here.
pub fn source_for<'a>(source: Source<'_>, cluster: &'a [Candidate]) -> Result<Option<&'a Candidate>, NotFound> {
    if let Some(target) = source.target {
        return resolve(target, Scope { place: source.region, only_enabled: false, validate_oldest: true }, cluster).map(Some);
    }
    let mut regional: Vec<&Candidate> = cluster.iter().filter(|c| c.region == source.region).collect();
    if regional.iter().any(|c| !c.disabled) {
        regional.retain(|c| !c.disabled);
    }
    by_age(&mut regional);
    Ok(if source.use_source_capacity { largest(&regional, source.tie) } else { regional.last().copied() })
}

fn by_age(candidates: &mut [&Candidate]) {
    sort_by_age(candidates, |c| c.created.unwrap_or_default(), |c| &c.name);
}

/// Of candidates in order of age.
fn largest<'a>(candidates: &[&'a Candidate], tie: Tie) -> Option<&'a Candidate> {
    match tie {
        Tie::Newest => candidates.iter().max_by_key(|c| c.instances).copied(),
        Tie::Oldest => candidates.iter().rev().max_by_key(|c| c.instances).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, created: i64, disabled: bool, instances: usize) -> Candidate {
        Candidate {
            name: name.into(),
            region: "r".into(),
            zones: vec!["ra".into()],
            created: Some(Timestamp(created)),
            disabled,
            instances,
        }
    }

    fn name(target: Target, scope: Scope<'_>, cluster: &[Candidate]) -> Result<String, NotFound> {
        resolve(target, scope, cluster).map(|c| c.name.clone())
    }

    const ALL: Scope<'static> = Scope { place: "r", only_enabled: false, validate_oldest: true };

    #[test]
    fn every_word_is_read_in_its_old_forms_and_no_other() {
        let words = [
            ("current", Target::Current),
            ("newest", Target::Current),
            ("ancestor", Target::Previous),
            ("previous", Target::Previous),
            ("oldest", Target::Oldest),
            ("largest", Target::Largest),
            ("fail", Target::Fail),
        ];
        for (word, target) in words {
            for form in [word.to_owned(), word.to_uppercase(), format!("{word}_asg"), format!("{word}_ASG_dynamic")] {
                assert_eq!(form.parse(), Ok(target), "{form}");
            }
        }
        for word in ["", "biggest", "current_dynamic", "current_asg_asg", "_asg", "current_asg_dynamic_asg"] {
            assert_eq!(word.parse::<Target>(), Err(NotFound::Word(word.into())));
        }
    }

    #[test]
    fn the_number_does_not_make_a_server_group_newer() {
        let cluster = [candidate("a-v000", 20, false, 1), candidate("a-v999", 10, false, 1)];
        assert_eq!(name(Target::Current, ALL, &cluster), Ok("a-v000".into()));
        assert_eq!(name(Target::Previous, ALL, &cluster), Ok("a-v999".into()));
    }

    #[test]
    fn a_word_that_needs_two_refuses_one() {
        let cluster = [candidate("a-v001", 1, false, 1)];
        for target in [Target::Previous, Target::Oldest] {
            assert!(matches!(name(target, ALL, &cluster), Err(NotFound::Alone { .. })));
        }
        assert_eq!(name(Target::Oldest, Scope { validate_oldest: false, ..ALL }, &cluster), Ok("a-v001".into()));
        assert_eq!(name(Target::Fail, ALL, &cluster), Ok("a-v001".into()));
    }

    #[test]
    fn a_group_of_unknown_age_or_elsewhere_is_not_meant() {
        let mut unknown = candidate("a-v001", 1, false, 1);
        unknown.created = None;
        assert_eq!(name(Target::Current, ALL, &[unknown]), Err(NotFound::Empty("r".into())));
        assert!(name(Target::Current, Scope { place: "s", ..ALL }, &[candidate("a-v001", 1, false, 1)]).is_err());
        assert!(name(Target::Current, Scope { place: "ra", ..ALL }, &[candidate("a-v001", 1, false, 1)]).is_ok());
        assert!(name(Target::Current, Scope { only_enabled: true, ..ALL }, &[candidate("a-v001", 1, true, 1)]).is_err());
    }

    #[test]
    fn the_largest_of_equals_is_the_newest() {
        let cluster = [candidate("a-v001", 1, false, 2), candidate("a-v002", 2, false, 2), candidate("a-v003", 3, false, 1)];
        assert_eq!(name(Target::Largest, ALL, &cluster), Ok("a-v002".into()));
    }

    #[test]
    fn a_source_is_enabled_before_new_and_new_before_none() {
        let cluster = [candidate("a-v001", 1, false, 2), candidate("a-v002", 2, false, 2), candidate("a-v003", 3, true, 9)];
        let plain = Source { region: "r", target: None, use_source_capacity: false, tie: Tie::Newest };
        let chosen = |source, cluster: &[Candidate]| source_for(source, cluster).map(|c| c.map(|c| c.name.clone()));
        assert_eq!(chosen(plain, &cluster), Ok(Some("a-v002".into())));
        assert_eq!(chosen(plain, &cluster[2..]), Ok(Some("a-v003".into())));
        assert_eq!(chosen(Source { region: "s", ..plain }, &cluster), Ok(None));
        let largest = Source { use_source_capacity: true, ..plain };
        assert_eq!(chosen(largest, &cluster), Ok(Some("a-v002".into())));
        assert_eq!(chosen(Source { tie: Tie::Oldest, ..largest }, &cluster), Ok(Some("a-v001".into())));
        assert_eq!(chosen(Source { target: Some(Target::Largest), ..plain }, &cluster), Ok(Some("a-v003".into())));
    }
}
