//! What the person asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::super::CANARY_WITHIN;
use super::super::SETTLE;
use super::super::TIMEOUT;
use super::super::wishes::Wish;

/// What the person asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Spinnaker application.
    pub application: String,
    /// Clusters to roll back; empty means all of the application.
    pub clusters: Vec<Wanted>,
    /// Only clusters whose names begin so.
    pub prefix: Option<String>,
    /// Restore this version instead of the previous one.
    pub to: Option<u32>,
    /// Clusters that must never have two instances at once.
    pub polling: Vec<String>,
    /// Clusters that are no singletons although their detail says `polling`.
    pub not_polling: Vec<String>,
    /// How long agents may take to see the hold before what is left of a group counts as capacity (F55).
    pub settle: Duration,
    /// For the whole run, but for the bake.
    pub timeout: Duration,
    /// How long all that was verified has to stay true before the pinned min and the holds go.
    pub bake: Duration,
    /// Whether one restored instance has to serve before the others are launched.
    pub canary: Canary,
    /// How long that one may take.
    pub canary_within: Duration,
    /// Somebody elsewhere is told of it.
    pub notifies: bool,
    /// What the person has said now. What is not said is taken from the groups where an unfinished rollback is gone on with.
    pub said: BTreeSet<Wish>,
    /// Must answer 2xx or 3xx in the end.
    pub service_urls: Vec<String>,
    /// `user@host`; a live hold of the same owner is taken up again.
    pub owner: String,
    /// The owner is not who runs this: the hold may have been put by another machine, with another clock.
    pub taken_over: bool,
    /// Go on with what is unfinished, and with nothing else, whoever began it; the groups' records say what that is.
    pub resume: bool,
    /// Instances of each newest group to keep for the post-mortem, in standby.
    pub keep_bad: u32,
    /// Put back what an unfinished rollback has changed; where the newest has gone already, roll back to it.
    pub undo: bool,
}

impl Request {
    /// All clusters of an application, with nothing said otherwise.
    pub fn of(application: impl Into<String>, owner: impl Into<String>) -> Self {
        Self {
            application: application.into(),
            clusters: Vec::new(),
            prefix: None,
            to: None,
            polling: Vec::new(),
            not_polling: Vec::new(),
            settle: SETTLE,
            timeout: TIMEOUT,
            bake: Duration::ZERO,
            canary: Canary::ForMany,
            canary_within: CANARY_WITHIN,
            notifies: false,
            said: BTreeSet::new(),
            service_urls: Vec::new(),
            owner: owner.into(),
            taken_over: false,
            resume: false,
            keep_bad: 0,
            undo: false,
        }
    }
}

/// Whether one restored instance has to serve before the others are launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Canary {
    /// Where the restored group is to have more than [`CANARY_ABOVE`](super::CANARY_ABOVE).
    ForMany,
    /// Wherever more than one is to come.
    Always,
    /// Nowhere.
    Never,
}

/// A cluster that was asked for by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// `app-stack-detail`.
    pub name: String,
    /// Instances the restored group shall have.
    pub count: Option<u32>,
}
