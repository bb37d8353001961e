//! Which group of each cluster comes back, which go, and which way: a rollback, its continuation, or its undoing. Pure.
//!
//! What must stay true: an unfinished rollback's own choice, which its groups' records tell, comes before any rule; until something of
//! the newest has ended an undoing puts everything back, afterwards it is a rollback to the newest.

use std::collections::BTreeSet;

use super::super::facts::Cluster;
use super::super::facts::Facts;
use super::super::facts::Version;
use super::super::kept;
use super::super::record::Record;
use super::super::record::Role;
use super::super::share::Share;
use super::super::wishes::Wishes;
use super::Refusal;
use super::Request;
use super::Shape;
use super::Way;
use super::unbegun;
use super::unbegun::Asked;
use super::unbegun::LeftOut;
use crate::model::Capacity;
use crate::model::GroupInstance;
use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Process;
use crate::model::generation;
use crate::model::recorded_capacity;

/// The detail (or the stack, where there is no detail) that marks a cluster as the one that polls for triggers; two of them fire every trigger twice.
const POLLING: &str = "polling";

pub(super) struct Choice<'a> {
    pub cluster: &'a str,
    pub way: Way,
    pub count: Option<u32>,
    pub singleton: Option<&'static str>,
    pub restore: &'a Version,
    pub retire: Vec<&'a Version>,
    pub bystanders: Vec<&'a Version>,
    pub versions: &'a [Version],
    /// As the interrupted run had it that is gone on with.
    pub share: Option<Share>,
}

/// What is chosen, why some cannot be, and what is left alone although it was asked for.
pub(super) struct Chosen<'a> {
    pub choices: Vec<Choice<'a>>,
    pub refusals: Vec<Refusal>,
    pub left_out: Vec<LeftOut>,
}

impl<'a> Choice<'a> {
    pub fn held(&self) -> impl Iterator<Item = &'a Version> {
        self.retire.iter().chain(&self.bystanders).copied().chain([self.restore])
    }
}

pub(super) fn choose<'a>(request: &'a Request, facts: &'a Facts) -> Chosen<'a> {
    let application = request.application.clone();
    let mut refusals: Vec<Refusal> = Vec::new();
    let named = request.clusters.iter().map(|w| &w.name).chain(&request.polling).chain(&request.not_polling);
    let unknown: BTreeSet<&String> = named.filter(|name| !facts.clusters.contains_key(*name)).collect();
    if facts.clusters.is_empty() {
        refusals.push(match facts.strange.as_slice() {
            [] => Refusal::NoSuchApplication { application },
            strange => Refusal::NamesNotSpinnakers { cluster: application, groups: strange.to_vec() },
        });
        return Chosen { choices: Vec::new(), refusals, left_out: Vec::new() };
    }
    refusals.extend(
        unknown.into_iter().map(|c| Refusal::NoSuchCluster { cluster: c.clone(), known: facts.clusters.keys().cloned().collect() }),
    );
    refusals.extend(contradictions(request).into_iter().map(|what| Refusal::Contradiction { what }));
    let mut choices = Vec::new();
    let (mut seen, mut passed) = (false, false);
    let any_open = facts.clusters.iter().any(|(name, cluster)| selected(request, name) && is_open(cluster));
    let asked = if request.resume { Asked::find(facts.clusters.values()) } else { Asked::default() };
    for (name, cluster) in facts.clusters.iter().filter(|(name, _)| selected(request, name)) {
        let wanted = request.clusters.iter().find(|w| &w.name == name);
        if cluster.versions.is_empty() && wanted.is_none() {
            continue;
        }
        if is_passed_by(request, cluster, wanted.is_some(), any_open) && !asked.may_begin(name, cluster) {
            passed = true;
            continue;
        }
        seen = true;
        match choose_one(request, name, cluster, wanted.and_then(|w| w.count), asked.share(name)) {
            Ok(choice) => choices.push(choice),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if !seen && passed && refusals.is_empty() {
        let cluster = application.clone();
        refusals.push(if request.undo { Refusal::NothingToUndo { cluster } } else { Refusal::NothingToResume { application } });
    } else if !seen && refusals.is_empty() {
        let groups: Vec<GroupName> =
            facts.clusters.iter().filter(|(n, _)| selected(request, n)).flat_map(|(_, c)| c.unversioned.clone()).collect();
        refusals.push(match request.prefix.clone().filter(|_| groups.is_empty()) {
            Some(prefix) => Refusal::NoSuchCluster { cluster: format!("{prefix}*"), known: facts.clusters.keys().cloned().collect() },
            None => Refusal::NamesNotSpinnakers { cluster: application, groups },
        });
    }
    let left_out = if any_open { asked.left_out(request, facts, |name| selected(request, name)) } else { Vec::new() };
    Chosen { choices, refusals, left_out }
}

/// Going on and undoing concern what is unfinished. Where nothing is, a finished rollback can be undone.
fn is_passed_by(request: &Request, cluster: &Cluster, named: bool, any_open: bool) -> bool {
    if is_open(cluster) || (!request.resume && !request.undo) {
        return false;
    }
    request.resume || any_open || (!named && !cluster.versions.last().is_some_and(was_rolled_back))
}

fn contradictions(request: &Request) -> Vec<String> {
    let names: Vec<&str> = request.clusters.iter().map(|w| w.name.as_str()).collect();
    let twice = names.iter().enumerate().filter(|(i, name)| names[..*i].contains(name)).map(|(_, name)| format!("--cluster {name} twice"));
    let both = request.polling.iter().filter(|c| request.not_polling.contains(c)).map(|c| format!("{c} is --polling and --not-polling"));
    let idle = request.polling.iter().chain(&request.not_polling).filter(|c| !selected(request, c));
    let excess = Some(Wishes::of(request).excess()).filter(|excess| *excess > 0);
    let long = excess.map(|n| format!("the URLs of --service-url are {n} characters longer than the groups' tags take"));
    twice.chain(both).chain(long).chain(idle.map(|c| format!("{c} is said to be polling or not, and is not selected"))).collect()
}

fn selected(request: &Request, name: &str) -> bool {
    let asked = request.clusters.is_empty() || request.clusters.iter().any(|w| w.name == name);
    asked && request.prefix.as_deref().is_none_or(|prefix| name.starts_with(prefix))
}

fn choose_one<'a>(
    request: &Request,
    name: &'a str,
    cluster: &'a Cluster,
    count: Option<u32>,
    share: Option<&Share>,
) -> Result<Choice<'a>, Refusal> {
    let owned = || name.to_owned();
    if !cluster.unversioned.is_empty() {
        return Err(Refusal::NamesNotSpinnakers { cluster: owned(), groups: cluster.unversioned.clone() });
    }
    let [older @ .., newest] = cluster.versions.as_slice() else {
        return Err(Refusal::OneGroup { cluster: owned(), groups: Vec::new() });
    };
    let open = Open::find(cluster)?;
    let previous = || {
        Ok(match request.to {
            Some(to) if newest.sequence == to => {
                return Err(Refusal::VersionIsNewest { cluster: owned(), newest: newest.group.name.clone() });
            }
            Some(to) => older.iter().rfind(|v| v.sequence == to).ok_or_else(|| Refusal::NoSuchVersion {
                cluster: owned(),
                version: to,
                known: older.iter().map(|v| v.push.clone()).collect(),
            })?,
            // Of what was asked, before the record of what comes back was written.
            None if let Some(restore) = share.filter(|share| !share.undoes).and_then(|share| unbegun::version(cluster, &share.restore)) => {
                restore
            }
            None => older.last().ok_or_else(|| Refusal::OneGroup { cluster: owned(), groups: vec![newest.group.name.clone()] })?,
        })
    };
    let another = |open: &Open<'a>| Refusal::AnotherUnfinished { cluster: owned(), restores: open.restore.group.name.clone() };
    let (way, restore) = match open.as_ref() {
        Some(open) if open.undoes && !request.resume && !request.undo => return Err(another(open)),
        Some(open) if request.to.is_some_and(|to| to != open.restore.sequence) => return Err(another(open)),
        Some(open) if open.undoes => (Way::Forward, open.restore),
        Some(_) if request.undo && is_switched(cluster) => (Way::Forward, newest),
        // Its neighbours were marked as undone already.
        Some(_) if request.resume && share.is_some_and(|share| share.undoes) && is_switched(cluster) => (Way::Forward, newest),
        Some(open) if request.undo => (Way::PutBack, open.restore),
        Some(open) => (Way::Rollback, open.restore),
        // Holds without the restored group's record: the first write of all was under way, and nothing else had been changed.
        None if request.undo && records(cluster).next().is_some() => (Way::PutBack, previous()?),
        None if request.undo && was_rolled_back(newest) => (Way::Forward, newest),
        None if request.undo => return Err(Refusal::NothingToUndo { cluster: owned() }),
        None if share.is_some_and(|share| share.undoes) => (Way::Forward, newest),
        None => (Way::Rollback, previous()?),
    };
    let recorded = records(cluster).find_map(|(_, record)| record.singleton).or(share.map(|share| share.singleton));
    let singleton = if request.polling.iter().any(|p| p == name) {
        Some("named by --polling")
    } else if let Some(recorded) = recorded.filter(|_| !request.not_polling.iter().any(|p| p == name)) {
        recorded.then_some("the unfinished rollback has it so")
    } else {
        let by_detail = cluster.role.as_deref() == Some(POLLING) && !request.not_polling.iter().any(|p| p == name);
        by_detail.then_some("its name says `polling`; --not-polling says otherwise")
    };
    let position = cluster.versions.iter().position(|v| v.group.name == restore.group.name).unwrap_or(0);
    let others = cluster.versions.iter().enumerate().filter(|(i, _)| *i != position);
    let (retire, left): (Vec<_>, Vec<_>) = others.partition(|(i, v)| {
        let kept: Vec<&InstanceId> = kept::in_standby(&v.group).map(|i| &i.id).collect();
        let lives = |i: &GroupInstance| i.state != LifecycleState::Terminated && !kept.contains(&&i.id);
        let runs = v.group.capacity.desired > 0 || v.group.instances.iter().any(lives);
        let recorded = matches!(Record::parse(&v.group.tags), Ok(Some(_)));
        recorded
            || match way {
                // Disabled or not: what lives and is newer, or polls, would work again once the newest is at nothing.
                Way::Rollback => {
                    *i + 1 == cluster.versions.len() || (*i > position && (runs || !v.group.is_disabled())) || (singleton.is_some() && runs)
                }
                Way::Forward => runs && (!v.group.is_disabled() || singleton.is_some()),
                Way::PutBack => false,
            }
    });
    let strip = |versions: Vec<(usize, &'a Version)>| versions.into_iter().map(|(_, v)| v).collect::<Vec<_>>();
    let bystanders = strip(left).into_iter().filter(|v| v.group.capacity.desired > 0 || !v.group.instances.is_empty()).collect();
    let share = share.filter(|share| share.undoes == (way == Way::Forward)).cloned();
    Ok(Choice { cluster: name, way, count, singleton, restore, retire: strip(retire), bystanders, versions: &cluster.versions, share })
}

/// A rollback that was begun and has not ended, as the groups' records tell.
struct Open<'a> {
    restore: &'a Version,
    undoes: bool,
}

impl<'a> Open<'a> {
    fn find(cluster: &'a Cluster) -> Result<Option<Self>, Refusal> {
        if let Some((group, problem)) = cluster.versions.iter().find_map(|v| Some((&v.group.name, Record::parse(&v.group.tags).err()?))) {
            return Err(Refusal::RecordUnreadable { group: group.clone(), problem: problem.to_string() });
        }
        let restores = records(cluster).filter(|(_, record)| record.role == Role::Restore);
        // An undoing that has not yet written all of its own records stands beside what it undoes.
        let open = restores.map(|(restore, record)| Self { restore, undoes: record.undoes }).max_by_key(|open| open.undoes);
        let marked = records(cluster).any(|(_, record)| record.undoes) && open.as_ref().is_none_or(|open| !open.undoes);
        let undoing = if marked { comes_back_again(cluster).map(|restore| Self { restore, undoes: true }) } else { None };
        Ok(undoing.or(open))
    }
}

/// What an undoing restores that has marked nothing yet but what it takes away: the newest of those that the rollback took away.
fn comes_back_again(cluster: &Cluster) -> Option<&Version> {
    cluster.versions.iter().rfind(|version| match Record::parse(&version.group.tags) {
        Ok(Some(record)) => record.role == Role::Retire && !record.undoes,
        Ok(None) => version.group.capacity == Capacity::default(),
        Err(_) => false,
    })
}

fn records(cluster: &Cluster) -> impl Iterator<Item = (&Version, Record)> {
    cluster.versions.iter().filter_map(|v| Some((v, Record::parse(&v.group.tags).ok()??)))
}

/// An unfinished rollback of the cluster is there to be gone on with.
pub(super) fn is_open(cluster: &Cluster) -> bool {
    cluster.versions.iter().any(|v| !matches!(Record::parse(&v.group.tags), Ok(None)))
}

/// Something of what was to go has been set to nothing, or into standby.
fn is_switched(cluster: &Cluster) -> bool {
    let zeroed = |v: &Version, r: &Record| v.group.capacity == Capacity::default() && r.found.capacity != Capacity::default();
    let kept = |v: &Version, r: &Record| r.keeps && kept::in_standby(&v.group).next().is_some();
    let gone = |(version, record): (&Version, Record)| record.role == Role::Retire && (zeroed(version, &record) || kept(version, &record));
    records(cluster).any(gone) || is_being_released(cluster)
}

/// The restored group alone is still recorded, it is not as it was found, and the newest is at nothing: the end of a rollback that had done everything
/// else. At the end of an undoing the newest has what it had; what somebody else has changed of the restored one meanwhile says nothing.
fn is_being_released(cluster: &Cluster) -> bool {
    let [(version, record)] = &records(cluster).collect::<Vec<_>>()[..] else { return false };
    let now = Shape::of(&version.group);
    let disabling =
        |shape: &Shape| shape.suspended.iter().filter(|p| Process::DISABLING.contains(p)).cloned().collect::<BTreeSet<Process>>();
    let is_changed = now.capacity != record.found.capacity || disabling(&now) != disabling(&record.found);
    let newest_is_gone = cluster.versions.last().is_some_and(|newest| newest.group.capacity == Capacity::default());
    record.role == Role::Restore && is_changed && newest_is_gone
}

/// A finished rollback has left it at nothing, with what it had on record.
pub(super) fn was_rolled_back(newest: &Version) -> bool {
    let group = &newest.group;
    group.capacity == Capacity::default() && generation(&group.tags) > 0 && recorded_capacity(&group.tags).is_some()
}

/// Lines about clusters that a run over the whole application passes by.
pub(super) fn skipped(request: &Request, facts: &Facts) -> Vec<String> {
    let unversioned = facts.clusters.iter().filter(|(name, c)| c.versions.is_empty() && selected(request, name));
    let mut lines: Vec<String> = unversioned.map(|(name, _)| format!("{name}: no version in its name: left alone")).collect();
    if request.undo && facts.clusters.iter().any(|(name, cluster)| selected(request, name) && is_open(cluster)) {
        let finished = |c: &Cluster| !is_open(c) && c.versions.last().is_some_and(was_rolled_back);
        let finished = facts.clusters.iter().filter(|(name, c)| selected(request, name) && finished(c));
        lines.extend(finished.map(|(name, _)| format!("{name}: a rollback of it has ended and stays; undo it by itself afterwards")));
    }
    lines.extend(facts.strange.iter().map(|name| format!("{name}: not a name of Spinnaker's: left alone")));
    lines
}
