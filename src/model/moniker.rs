//! Server-group names by Frigga's rules: `app[-stack][-detail][-vNNN]`.
//!
//! What must stay true: a name that the rules do not cover has no [`Moniker`] at all, rather than a guessed one, so that a foreign group is
//! never taken for a sibling; the cluster of two groups is compared as text, exactly (F16). Parsing never panics, whatever AWS lists.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

use super::identity::GroupName;
use super::time::Timestamp;

/// Numbers a cluster has before they wrap: `v000` to `v999`. Source: Spinnaker's name resolver.
pub const SEQUENCES: u32 = 1000;

/// How many more numbers are tried when a live read finds the chosen name in use. Source: Spinnaker's default for AWS.
pub const EXTRA_ATTEMPTS: u32 = 5;

/// A name taken apart. It keeps the name as it was written, so showing it gives back every character.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moniker {
    name: String,
    /// Length of the cluster part of `name`.
    cluster: usize,
    app: String,
    stack: Option<String>,
    detail: Option<String>,
    sequence: Option<u32>,
}

impl Moniker {
    /// Takes a name apart; `None` when it does not follow the rules.
    ///
    /// Only the first two hyphens separate, the rest belongs to the detail. `-vNNN` at the end is the push when it has three to six
    /// digits; with fewer or more it is an ordinary part. A hyphen before nothing stays in the cluster's name: `app--v003` is of cluster `app-`.
    pub fn parse(name: &str) -> Option<Self> {
        let (cluster, sequence) = match split_push(name) {
            Some((cluster, sequence)) => (cluster, Some(sequence)),
            None => (name, None),
        };
        let mut parts = cluster.splitn(3, '-');
        let app = parts.next().filter(|app| !app.is_empty() && app.chars().all(is_plain))?;
        let stack = parts.next().unwrap_or_default();
        let detail = parts.next().unwrap_or_default();
        (stack.chars().all(is_plain) && detail.chars().all(is_loose)).then(|| Self {
            name: name.to_owned(),
            cluster: cluster.len(),
            app: app.to_owned(),
            stack: non_empty(stack),
            detail: non_empty(detail),
            sequence,
        })
    }

    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The application.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The stack; `None` when absent or empty.
    pub fn stack(&self) -> Option<&str> {
        self.stack.as_deref()
    }

    /// The detail; `None` when absent or empty.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// The name without its push part: what all versions of a cluster share.
    pub fn cluster(&self) -> &str {
        self.name.get(..self.cluster).unwrap_or(&self.name)
    }

    /// `vNNN` as it was written.
    pub fn push(&self) -> Option<&str> {
        self.sequence?;
        self.name.get(self.cluster + 1..)
    }

    /// The number of the push.
    pub fn sequence(&self) -> Option<u32> {
        self.sequence
    }

    /// The value behind one of Frigga's labels (`c` countries, `d` development phase, `h` hardware, `p` partners, `r` revision, `u` used by,
    /// `w` red/black swap, `z` zone), written `-c0value` anywhere in the cluster. It stays part of the stack or detail all the same.
    pub fn label(&self, key: char) -> Option<&str> {
        let mark = format!("-{key}0");
        self.cluster().match_indices(&mark).find_map(|(at, _)| {
            let value = self.cluster().get(at + mark.len()..)?;
            let end = value.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(value.len());
            value.get(..end).filter(|value| !value.is_empty())
        })
    }

    /// Whether both names are versions of one cluster.
    pub fn is_sibling_of(&self, other: &Self) -> bool {
        self.cluster() == other.cluster()
    }
}

impl fmt::Display for Moniker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl FromStr for Moniker {
    type Err = Error;

    /// Strict: a name that does not follow the rules is an error. (Frigga's own strict parse lets through a name with a push whose rest makes no
    /// sense, and answers with nothing; that is not copied.)
    fn from_str(name: &str) -> Result<Self, Error> {
        Self::parse(name).ok_or_else(|| Error::Name { name: name.to_owned() })
    }
}

impl TryFrom<String> for Moniker {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        name.parse()
    }
}

impl From<Moniker> for String {
    fn from(moniker: Moniker) -> Self {
        moniker.name
    }
}

impl GroupName {
    /// This name taken apart; `None` for one that does not follow the rules.
    pub fn moniker(&self) -> Option<Moniker> {
        Moniker::parse(self.as_str())
    }
}

fn split_push(name: &str) -> Option<(&str, u32)> {
    let (cluster, digits) = name.rsplit_once("-v")?;
    let is_push = (3..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    is_push.then(|| digits.parse().ok().map(|sequence| (cluster, sequence))).flatten()
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_')
}

fn is_loose(c: char) -> bool {
    is_plain(c) || matches!(c, '-' | '~' | '^')
}

fn non_empty(part: &str) -> Option<String> {
    (!part.is_empty()).then(|| part.to_owned())
}

/// Why there is no such name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name that does not follow the rules.
    #[error("Invalid name '{name}'")]
    Name {
        /// As it was written.
        name: String,
    },
    /// A part that would make a name nobody can take apart again.
    #[error("Invalid {part} {text}, {part} may only contain {allowed}")]
    Part {
        /// `app`, `stack` or `detail`.
        part: &'static str,
        /// As it was written.
        text: String,
        /// The characters that may stand there.
        allowed: &'static str,
    },
    /// A number that does not fit `v000` to `v999`.
    #[error("sequence {sequence} is not between 0 and 999")]
    Sequence {
        /// As it was given.
        sequence: u32,
    },
    /// Every number of the cluster, or every one that was tried, is in use.
    #[error("All server group names for cluster {cluster} are taken.")]
    AllTaken {
        /// The cluster.
        cluster: String,
    },
}

/// A cluster to name server groups of: its parts, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster(String);

impl Cluster {
    /// Puts a cluster's name together. An empty stack or detail counts as none; a detail without a stack gives `app--detail`. A part that
    /// looks like a push is let through, as Spinnaker does, so that old clusters keep working.
    pub fn new(app: &str, stack: Option<&str>, detail: Option<&str>) -> Result<Self, Error> {
        let stack = stack.unwrap_or_default();
        let detail = detail.unwrap_or_default();
        check("app", app, is_plain, PLAIN)?;
        check("stack", stack, is_plain, PLAIN)?;
        check("detail", detail, is_loose, LOOSE)?;
        if app.is_empty() {
            return Err(Error::Part { part: "app", text: String::new(), allowed: PLAIN });
        }
        Ok(Self(match (stack, detail) {
            ("", "") => app.to_owned(),
            (stack, "") => format!("{app}-{stack}"),
            (stack, detail) => format!("{app}-{stack}-{detail}"),
        }))
    }

    /// The cluster's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of its server group with this number, 0 to 999.
    pub fn version(&self, sequence: u32) -> Result<String, Error> {
        if sequence >= SEQUENCES {
            return Err(Error::Sequence { sequence });
        }
        Ok(format!("{}-v{sequence:03}", self.0))
    }

    /// The name for the next server group: one more than that of the newest, past those that are taken, from 999 on to 000. A cluster with no
    /// server group starts at 000, one whose newest has no number at 001.
    ///
    /// `taken` are the server groups of this cluster in one region that a live read still finds. Fails when all thousand numbers are taken.
    pub fn next(&self, taken: &[Slot]) -> Result<String, Error> {
        let start = match ancestor(taken) {
            None => 0,
            Some(newest) => (sequence_of(&newest.name).unwrap_or(0) + 1) % SEQUENCES,
        };
        let used: Vec<u32> = taken.iter().filter_map(|slot| sequence_of(&slot.name)).collect();
        let free = (0..SEQUENCES).map(|step| (start + step) % SEQUENCES).find(|sequence| !used.contains(sequence));
        self.version(free.ok_or_else(|| self.all_taken())?)
    }

    /// [`Cluster::next`], checked against a live read: while `exists` says that the chosen name is in use, the following number is tried, at most
    /// `extra` more times ([`EXTRA_ATTEMPTS`]).
    pub fn next_free(&self, taken: &[Slot], extra: u32, mut exists: impl FnMut(&str) -> bool) -> Result<String, Error> {
        let mut name = self.next(taken)?;
        for _ in 0..extra {
            if !exists(&name) {
                return Ok(name);
            }
            name = self.version((sequence_of(&name).unwrap_or(0) + 1) % SEQUENCES)?;
        }
        if exists(&name) { Err(self.all_taken()) } else { Ok(name) }
    }

    fn all_taken(&self) -> Error {
        Error::AllTaken { cluster: self.0.clone() }
    }
}

const PLAIN: &str = "a-zA-Z0-9._";
const LOOSE: &str = r"-a-zA-Z0-9._~\^";

fn check(part: &'static str, text: &str, allow: fn(char) -> bool, allowed: &'static str) -> Result<(), Error> {
    if text.chars().all(allow) { Ok(()) } else { Err(Error::Part { part, text: text.to_owned(), allowed }) }
}

fn sequence_of(name: &str) -> Option<u32> {
    Moniker::parse(name)?.sequence()
}

/// A server group as far as naming its successor goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// When AWS made it.
    pub created: Timestamp,
}

/// The newest of these: by creation time, not by number, which wraps (F16).
pub fn ancestor(slots: &[Slot]) -> Option<&Slot> {
    let mut slots: Vec<&Slot> = slots.iter().collect();
    sort_by_age(&mut slots, |slot| slot.created, |slot| &slot.name);
    slots.last().copied()
}

/// Sorts versions of one cluster, oldest first: by creation time; of those made in the same moment, by number, where 000 follows 999 (F16).
///
/// Numbers on a circle have no first one by themselves: the largest stretch of unused numbers is taken for the cut. A name without a number
/// counts as older than one with; names that still tie are in the order of their text.
pub fn sort_by_age<T>(versions: &mut [T], created: impl Fn(&T) -> Timestamp, name: impl Fn(&T) -> &str) {
    versions.sort_by(|a, b| {
        let key = |v: &T| (created(v), sequence_of(name(v)));
        key(a).cmp(&key(b)).then_with(|| name(a).cmp(name(b)))
    });
    for tied in versions.chunk_by_mut(|a, b| created(a) == created(b)) {
        let numbered = tied.iter().position(|v| sequence_of(name(v)).is_some()).unwrap_or(tied.len());
        let Some(numbered) = tied.get_mut(numbered..) else { continue };
        let sequences: Vec<u32> = numbered.iter().filter_map(|v| sequence_of(name(v))).collect();
        numbered.rotate_left(first_on_the_circle(&sequences));
    }
}

/// Index of the oldest of these ascending numbers.
fn first_on_the_circle(sequences: &[u32]) -> usize {
    let (Some(first), Some(last)) = (sequences.first(), sequences.last()) else { return 0 };
    if *last >= SEQUENCES {
        return 0;
    }
    let mut oldest = 0;
    let mut widest = first + SEQUENCES - last;
    for (index, pair) in sequences.windows(2).enumerate() {
        let [before, after] = pair else { continue };
        if after - before > widest {
            widest = after - before;
            oldest = index + 1;
        }
    }
    oldest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn age_order(names: &[&str]) -> Vec<String> {
        let mut names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        sort_by_age(&mut names, |_| Timestamp(0), |n| n);
        names
    }

    #[test]
    fn a_polling_group_is_its_own_cluster() {
        let m = Moniker::parse("armoryspinnaker-ha-polling-v023").unwrap();
        assert_eq!(
            (m.app(), m.stack(), m.detail(), m.push(), m.sequence()),
            ("armoryspinnaker", Some("ha"), Some("polling"), Some("v023"), Some(23))
        );
        assert_eq!(m.cluster(), "armoryspinnaker-ha-polling");
        assert!(!m.is_sibling_of(&Moniker::parse("armoryspinnaker-ha-v023").unwrap()));
    }

    #[test]
    fn foreign_names_have_no_moniker() {
        for name in ["", " ", "-v003", "-", "-stack", "a b", "api-^test-A-v004", "api-~test", "nccp-movie%27", "é-v001", "app-v٠٠١"] {
            assert_eq!(Moniker::parse(name), None, "{name:?}");
            assert!(name.parse::<Moniker>().is_err());
        }
    }

    #[test]
    fn only_the_last_push_counts() {
        let m = Moniker::parse("foo-v001-v002").unwrap();
        assert_eq!((m.cluster(), m.stack(), m.sequence()), ("foo-v001", Some("v001"), Some(2)));
    }

    #[test]
    fn labels_are_read_out_of_stack_and_detail() {
        let m = Moniker::parse("cass-c0northamerica-d0prod-r027-z0-z0useast1a-v003").unwrap();
        assert_eq!((m.label('c'), m.label('d'), m.label('r')), (Some("northamerica"), Some("prod"), Some("27")));
        assert_eq!((m.label('z'), m.label('h')), (Some("useast1a"), None));
        assert_eq!(m.stack(), Some("c0northamerica"));
    }

    #[test]
    fn a_part_with_a_foreign_character_is_named_in_the_error() {
        let error = Cluster::new("foo", Some("bar"), Some("east!")).unwrap_err();
        assert_eq!(error.to_string(), r"Invalid detail east!, detail may only contain -a-zA-Z0-9._~\^");
        assert!(Cluster::new("foo", Some("a-b"), None).is_err());
        assert!(Cluster::new("", None, None).is_err());
    }

    #[test]
    fn every_number_taken_is_an_error_and_one_free_is_found() {
        let cluster = Cluster::new("app", Some("dev"), None).unwrap();
        let mut slots: Vec<Slot> = (0..1000).map(|i| Slot { name: format!("app-dev-v{i:03}"), created: Timestamp(i64::from(i)) }).collect();
        assert_eq!(cluster.next(&slots), Err(Error::AllTaken { cluster: "app-dev".into() }));
        slots.remove(500);
        assert_eq!(cluster.next(&slots), Ok("app-dev-v500".into()));
    }

    #[test]
    fn a_live_read_moves_the_choice_on_a_bounded_number_of_times() {
        let cluster = Cluster::new("app", None, None).unwrap();
        let mut asked = Vec::new();
        let chosen = cluster.next_free(&[], EXTRA_ATTEMPTS, |name| {
            asked.push(name.to_owned());
            asked.len() < 6
        });
        assert_eq!(chosen, Ok("app-v005".into()));
        let mut asked = 0;
        let never = cluster.next_free(&[], EXTRA_ATTEMPTS, |_| {
            asked += 1;
            true
        });
        assert!(never.is_err());
        assert_eq!(asked, 6);
    }

    #[test]
    fn the_newest_is_the_last_created_not_the_highest_number() {
        let slots = [Slot { name: "a-v999".into(), created: Timestamp(1) }, Slot { name: "a-v000".into(), created: Timestamp(2) }];
        assert_eq!(ancestor(&slots).unwrap().name, "a-v000");
    }

    #[test]
    fn numbers_of_one_moment_wrap_from_999_to_000() {
        assert_eq!(age_order(&["a-v000", "a-v999", "a-v001", "a-v998"]), ["a-v998", "a-v999", "a-v000", "a-v001"]);
        assert_eq!(age_order(&["a-v002", "a-v001", "a"]), ["a", "a-v001", "a-v002"]);
        assert_eq!(age_order(&["a-v2000", "a-v001"]), ["a-v001", "a-v2000"]);
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_keeps_every_character(name in "\\PC{0,40}|[-a-zA-Z0-9._~^v]{0,30}") {
            if let Some(moniker) = Moniker::parse(&name) {
                prop_assert_eq!(moniker.to_string(), &*name);
                let push = moniker.push().map(|p| format!("-{p}")).unwrap_or_default();
                prop_assert_eq!(format!("{}{push}", moniker.cluster()), name);
            }
        }

        #[test]
        fn what_is_put_together_comes_apart_the_same(
            app in "[a-zA-Z0-9._]{1,8}", stack in proptest::option::of("[a-zA-Z0-9._]{1,8}"),
            detail in proptest::option::of("[-a-zA-Z0-9._~^]{1,12}"), sequence in 0u32..1000,
        ) {
            let cluster = Cluster::new(&app, stack.as_deref(), detail.as_deref()).unwrap();
            let moniker = Moniker::parse(&cluster.version(sequence).unwrap()).unwrap();
            prop_assert_eq!(moniker.cluster(), cluster.as_str());
            prop_assert_eq!((moniker.app(), moniker.stack(), moniker.detail()), (&*app, stack.as_deref(), detail.as_deref()));
            prop_assert_eq!(moniker.sequence(), Some(sequence));
        }

        #[test]
        fn the_next_name_is_never_taken(taken in proptest::collection::vec((0u32..1000, 0i64..4), 0..40)) {
            let cluster = Cluster::new("app", None, None).unwrap();
            let slots: Vec<Slot> =
                taken.iter().map(|(n, t)| Slot { name: cluster.version(*n).unwrap(), created: Timestamp(*t) }).collect();
            let next = cluster.next(&slots).unwrap();
            prop_assert!(slots.iter().all(|slot| slot.name != next));
        }

        #[test]
        fn order_of_age_does_not_depend_on_the_order_of_reading(mut names in proptest::collection::vec(0u32..1000, 0..12)) {
            let build = |n: &[u32]| n.iter().map(|n| format!("a-v{n:03}")).collect::<Vec<_>>();
            let mut forward = build(&names);
            sort_by_age(&mut forward, |_| Timestamp(0), |n| n);
            names.reverse();
            let mut backward = build(&names);
            sort_by_age(&mut backward, |_| Timestamp(0), |n| n);
            prop_assert_eq!(forward, backward);
        }
    }
}
