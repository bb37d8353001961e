//! Has a newer, enabled, healthy server group of our cluster taken over?
//!
//! What must stay true: a single read never decides (F13); an absent group or a failed read changes nothing (F15); nobody drains when no
//! enabled successor is healthy (F17); other stacks and details are other clusters, exactly (F16).

use crate::model::Group;
use crate::model::GroupName;
use crate::model::LifecycleState;
use crate::model::Moment;
use crate::model::Moniker;
use crate::model::moniker::sort_by_age;

use super::policy::Policy;

/// What one read of the cluster says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The read cannot answer; nothing changes.
    NoAnswer(String),
    /// Not superseded, and why.
    No(String),
    /// Superseded by this group.
    By(GroupName),
}

/// Judges one read of the cluster: every group AWS lists, ours among them.
pub fn judge(policy: &Policy, own: &GroupName, groups: &[Group]) -> Verdict {
    let Some(ours) = groups.iter().find(|g| &g.name == own) else {
        return Verdict::NoAnswer(format!("{own} is absent from the describe"));
    };
    if !ours.is_disabled() && !policy.retired {
        return Verdict::No(format!("{own} is enabled"));
    }
    let Some(newer) = newer(own, groups) else {
        return Verdict::No(format!("{own} is not a server-group name, so its successor cannot be known"));
    };
    let enabled = newer.iter().filter(|g| !g.is_disabled() && g.status.is_none());
    let best = enabled.map(|g| (g.healthy_in_service(), *g)).max_by_key(|(healthy, _)| *healthy);
    match best {
        Some((healthy, group)) if healthy >= policy.successor_floor as usize => Verdict::By(group.name.clone()),
        Some((healthy, group)) => {
            Verdict::No(format!("{} has {healthy} healthy instances, fewer than the floor of {}", group.name, policy.successor_floor))
        }
        None if newer.is_empty() => Verdict::No("no newer server group in the cluster".to_owned()),
        None => Verdict::No("no newer server group in the cluster is enabled".to_owned()),
    }
}

/// A newer server group of our cluster that has or wants instances, whatever state they are in: each may take work until it is gone.
pub fn alive_newer<'a>(own: &GroupName, groups: &'a [Group]) -> Option<&'a Group> {
    let alive = |g: &&Group| g.capacity.desired > 0 || g.instances.iter().any(|i| i.state != LifecycleState::Terminated);
    newer(own, groups)?.into_iter().find(alive)
}

/// The younger server groups of our cluster; `None` when our own name is not one of a server group, or is absent.
fn newer<'a>(own: &GroupName, groups: &'a [Group]) -> Option<Vec<&'a Group>> {
    let moniker = Moniker::parse(own.as_str())?;
    let mut cluster: Vec<&Group> = groups.iter().filter(|g| is_sibling(&moniker, g)).collect();
    sort_by_age(&mut cluster, |g| g.created, |g| g.name.as_str());
    let at = cluster.iter().position(|g| g.name == *own)?;
    Some(cluster.split_off(at + 1))
}

fn is_sibling(ours: &Moniker, group: &Group) -> bool {
    Moniker::parse(group.name.as_str()).is_some_and(|other| ours.is_sibling_of(&other))
}

/// Agreeing reads in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    by: Option<GroupName>,
    first: Option<Moment>,
    reads: u32,
    last: Option<String>,
}

impl Agreement {
    /// Takes one read into account; the successor's name once enough reads agree over enough time.
    pub fn read(&mut self, policy: &Policy, asked: Moment, verdict: &Verdict) -> Option<GroupName> {
        match verdict {
            Verdict::NoAnswer(why) => {
                self.last = Some(why.clone());
                None
            }
            Verdict::No(why) => {
                *self = Self { last: Some(why.clone()), ..Self::default() };
                None
            }
            Verdict::By(by) => {
                if self.by.as_ref() != Some(by) {
                    *self = Self { by: Some(by.clone()), first: Some(asked), ..Self::default() };
                }
                self.reads = self.reads.saturating_add(1);
                let over = self.first.map(|first| asked.since(first)).unwrap_or_default();
                self.last = Some(format!("superseded by {by}: {} agreeing reads over {} s", self.reads, over.as_secs()));
                (self.reads >= policy.agree_reads && over >= policy.agree_over).then(|| by.clone())
            }
        }
    }

    /// Nothing is known.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Who took over, by the reads that agree so far.
    pub fn by(&self) -> Option<&GroupName> {
        self.by.as_ref()
    }

    /// The last finding, for people.
    pub fn explain(&self) -> Option<&str> {
        self.last.as_deref()
    }
}
