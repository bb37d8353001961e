//! What a rollback of several clusters is to do with each of them, as words in the tags of all: whoever goes on knows of those that were never begun. Pure.
//!
//! What must stay true: as many are named as the group has room for, its own cluster first and then the next ones, round the ring, and how many
//! there are is always said; nothing is guessed from what cannot be read.

use serde::Serialize;

use super::words;

/// Named in one cluster's tags at most: more never fit into [`WISHES_TAGS`](super::wishes::WISHES_TAGS).
const LISTED_MOST: usize = 64;
const UNDOES: &str = "undoes";
const SINGLETON: &str = "singleton";

/// What is to become of one cluster, as its first plan had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// `app-stack-detail`.
    pub cluster: String,
    /// `vNNN` of the group that comes back.
    pub restore: String,
    /// `vNNN` of the newest group of the cluster then.
    pub newest: String,
    /// Of the holds that were to be put.
    pub generation: u64,
    /// Instances the restored group is to have.
    pub count: u32,
    /// The rollback undoes an earlier one.
    pub undoes: bool,
    /// Handed over, never two at once.
    pub singleton: bool,
}

/// The shares that one cluster's groups tell of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shares {
    /// How many clusters there are in all, this one among them; zero where an older version has written nothing of it.
    pub of: u32,
    /// As many of them as there is room for, this one first.
    pub listed: Vec<Share>,
}

impl Shares {
    /// Those of the `at`th cluster of these.
    pub fn from(all: &[Share], at: usize) -> Self {
        let ring = all[at..].iter().chain(&all[..at]);
        Self { of: u32::try_from(all.len()).unwrap_or(u32::MAX), listed: ring.take(LISTED_MOST).cloned().collect() }
    }

    /// The first of them, as many as so many characters take.
    pub fn within(mut self, mut room: usize) -> Self {
        let fit = self.listed.iter().take_while(|share| {
            let length = share.word().len() + "share= ".len();
            let fits = length <= room;
            room = room.saturating_sub(length);
            fits
        });
        let fit = fit.count();
        self.listed.truncate(fit);
        self
    }
}

impl Share {
    /// As one word.
    pub fn word(&self) -> String {
        let Self { cluster, restore, newest, generation, count, undoes, singleton } = self;
        let mut word = format!("{}:{restore}:{newest}:{generation}:{count}", words::escape(cluster));
        for flag in [undoes.then_some(UNDOES), singleton.then_some(SINGLETON)].into_iter().flatten() {
            word.push(':');
            word.push_str(flag);
        }
        word
    }

    /// The share that a word tells of; `None` when it makes no sense to this version.
    pub fn parse(word: &str) -> Option<Self> {
        let mut parts = word.split(':');
        let mut next = || parts.next();
        let mut share = Self {
            cluster: words::unescape(next()?)?,
            restore: next()?.to_owned(),
            newest: next()?.to_owned(),
            generation: next()?.parse().ok()?,
            count: next()?.parse().ok()?,
            undoes: false,
            singleton: false,
        };
        for flag in parts {
            match flag {
                UNDOES => share.undoes = true,
                SINGLETON => share.singleton = true,
                _ => return None,
            }
        }
        Some(share)
    }
}
