//! Counts of what happened, by a key that has few values: what metrics are made of.
//!
//! What must stay true: a key comes from a closed set (an enum, a word of ours, an API action), never from outside, so that a tally has a bound.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Counts since the process began. Clones share them.
#[derive(Debug)]
pub struct Tally<K>(Arc<Mutex<BTreeMap<K, u64>>>);

impl<K: Ord + Clone> Tally<K> {
    /// None of these has happened yet: they count as zero, where others are absent until they do.
    pub fn of(keys: impl IntoIterator<Item = K>) -> Self {
        Self(Arc::new(Mutex::new(keys.into_iter().map(|key| (key, 0)).collect())))
    }

    /// It happened once more.
    pub fn add(&self, key: K) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(key).or_default() += 1;
    }

    /// How often each has happened, by key; what never did is absent, unless it was named at first.
    pub fn counts(&self) -> BTreeMap<K, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K> Clone for Tally<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
