//! Clusters that an unfinished rollback was to take along and has never touched: its other groups' tags tell of them. Pure.
//!
//! What must stay true: what was never begun is begun by whoever goes on only where its cluster is as it was when it was asked for; where it is not, or
//! its name is not on record, that is said, and the run does not end as done.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::facts::Cluster;
use super::super::facts::Facts;
use super::super::facts::Version;
use super::super::share::Share;
use super::super::wishes::Wishes;
use super::Request;
use super::choice::is_open;
use super::choice::was_rolled_back;
use crate::model::generation;

/// Names that a line gives at most.
const NAMED_MOST: usize = 5;

/// A cluster that was asked for, that nothing was done with, and that is left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its name, or the application where nobody can say which.
    pub cluster: String,
    /// Why it is left alone.
    pub why: String,
    /// The command that rolls it back.
    pub next: String,
}

/// What the unfinished of these clusters say of all that were asked for together.
#[derive(Debug, Default)]
pub(super) struct Asked {
    shares: BTreeMap<String, Share>,
    of: usize,
}

impl Asked {
    /// Where a rollback and its undoing tell of the same cluster, the undoing is the later one. What cannot be read is refused elsewhere.
    pub fn find<'a>(clusters: impl Iterator<Item = &'a Cluster>) -> Self {
        let mut asked = Self::default();
        for group in clusters.filter(|cluster| is_open(cluster)).flat_map(|c| &c.versions).map(|v| &v.group) {
            let Ok(Some(wishes)) = Wishes::parse(&group.tags) else { continue };
            asked.of = asked.of.max(usize::try_from(wishes.shares.of).unwrap_or(usize::MAX));
            for share in wishes.shares.listed {
                let later = |known: &Share| (share.generation, share.undoes) > (known.generation, known.undoes);
                if asked.shares.get(&share.cluster).is_none_or(later) {
                    asked.shares.insert(share.cluster.clone(), share);
                }
            }
        }
        asked
    }

    pub fn share(&self, cluster: &str) -> Option<&Share> {
        self.shares.get(cluster)
    }

    /// Nobody has put a hold on any group of it, and everything that decides on its plan is as it was.
    pub fn may_begin(&self, name: &str, cluster: &Cluster) -> bool {
        self.share(name).is_some_and(|share| is_unbegun(cluster, share) && changed(Some(cluster), share).is_none())
    }

    /// What is left alone, of the clusters that are selected.
    pub fn left_out(&self, request: &Request, facts: &Facts, selected: impl Fn(&str) -> bool) -> Vec<LeftOut> {
        let application = &request.application;
        let one = |share: &Share| {
            let cluster = facts.clusters.get(&share.cluster);
            let why = changed(cluster, share).filter(|_| cluster.is_none_or(|cluster| is_unbegun(cluster, share)))?;
            let next = format!("bellrock rollback {application} --cluster {}", share.cluster);
            Some(LeftOut { cluster: share.cluster.clone(), why, next })
        };
        let mut left_out: Vec<LeftOut> = self.shares.values().filter(|share| selected(&share.cluster)).filter_map(one).collect();
        let is_known = |name: &str, cluster: &Cluster| self.shares.contains_key(name) || is_open(cluster);
        let known = facts.clusters.iter().filter(|(name, cluster)| is_known(name, cluster)).count();
        let finished = |cluster: &Cluster| cluster.versions.last().is_none_or(was_rolled_back);
        let perhaps = facts.clusters.iter().filter(|(name, c)| selected(name) && !is_known(name, c) && !finished(c));
        let perhaps: Vec<&str> = perhaps.map(|(name, _)| name.as_str()).collect();
        let unnamed = self.of.saturating_sub(known).min(perhaps.len());
        if unnamed > 0 && request.clusters.is_empty() {
            let (few, more) = (&perhaps[..perhaps.len().min(NAMED_MOST)], perhaps.len().saturating_sub(NAMED_MOST));
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            left_out.push(LeftOut {
                cluster: application.clone(),
                why: format!(
                    "{unnamed} of the {} clusters that were asked for are named by no tag, and may never have been begun: of {}{more}",
                    self.of,
                    few.join(", ")
                ),
                next: format!("bellrock rollback {application}"),
            });
        }
        left_out
    }
}

/// No hold of that generation has ever been on it.
fn is_unbegun(cluster: &Cluster, share: &Share) -> bool {
    !is_open(cluster) && cluster.versions.iter().all(|version| generation(&version.group.tags) < share.generation)
}

/// Why the plan of then is none any more.
fn changed(cluster: Option<&Cluster>, share: &Share) -> Option<String> {
    let Some(cluster) = cluster else { return Some("it has no server group any more".to_owned()) };
    let newest = cluster.versions.last().map_or("none", |version| version.push.as_str());
    let (was, restore) = (&share.newest, &share.restore);
    if newest != was {
        Some(format!("its newest version was {was}, and is {newest} now"))
    } else if version(cluster, restore).is_none() {
        Some(format!("{restore}, which was to come back, is gone"))
    } else if share.undoes && !cluster.versions.last().is_some_and(was_rolled_back) {
        Some(format!("its rollback was to be undone, and {was} is not at nothing any more"))
    } else {
        None
    }
}

/// The version of this name, the newest such.
pub(super) fn version<'a>(cluster: &'a Cluster, push: &str) -> Option<&'a Version> {
    cluster.versions.iter().rfind(|version| version.push == push)
}
