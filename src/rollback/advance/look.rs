//! One look at the world: the questions that every stage asks of it.

use super::super::facts::Facts;
use super::super::plan::ClusterPlan;
use super::super::plan::Difference;
use super::super::plan::Request;
use super::GONE;
use super::Next;
use super::SURVEY_FRESH;
use super::Stop;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::Hold;
use crate::model::Moment;

/// One look at the world.
pub struct Look<'a> {
    pub plan: &'a ClusterPlan,
    pub facts: &'a Facts,
    pub request: &'a Request,
    pub service: bool,
    pub at: Moment,
}

impl<'a> Look<'a> {
    pub fn group(&self, name: &GroupName) -> Result<&'a Group, Next> {
        let gone = || Next::Stop(Stop::GroupGone { group: name.clone() });
        match self.facts.absent.get(name) {
            Some(looks) if *looks >= GONE => Err(gone()),
            Some(_) => Err(Next::Wait(format!("AWS to show {name} again"))),
            None => self.facts.group(name).filter(|g| g.status.is_none()).ok_or_else(gone),
        }
    }

    /// The groups to hold; a bystander that somebody has deleted needs no hold.
    pub fn there(&self) -> impl Iterator<Item = &'a GroupName> {
        let (plan, facts) = (self.plan, self.facts);
        let is_there = move |name: &GroupName| {
            facts.absent.get(name).is_none_or(|looks| *looks < GONE) && facts.group(name).is_some_and(|g| g.status.is_none())
        };
        plan.held().filter(move |name| !plan.bystanders.contains(name) || is_there(name))
    }

    /// The versions of the cluster were read a moment ago.
    pub fn is_surveyed(&self) -> bool {
        self.facts.surveyed.is_some_and(|when| self.at.since(when) < SURVEY_FRESH)
    }

    /// No other version, no other rollback.
    pub fn nobody_else(&self) -> Result<(), Next> {
        let cluster = self.facts.clusters.get(&self.plan.cluster);
        if let Some(other) = cluster.into_iter().flat_map(|c| &c.versions).find(|v| !self.plan.versions.contains(&v.group.name)) {
            let found = format!("{}, which the plan does not know", other.group.capacity);
            let differences = vec![Difference { field: "server group", expected: "none".to_owned(), found }];
            return Err(Next::Stop(Stop::ChangedByAnother { group: other.group.name.clone(), differences, activity: None }));
        }
        for group in self.there().filter_map(|name| self.facts.group(name)) {
            let lost = |owner: String| Err(Next::Stop(Stop::HoldLost { group: group.name.clone(), owner }));
            match Hold::parse(&group.tags) {
                Ok(Some(hold))
                    if hold.is_live(self.at.wall) && (hold.owner != self.request.owner || hold.generation > self.plan.generation) =>
                {
                    return lost(hold.owner);
                }
                Ok(_) => {}
                Err(problem) => return lost(problem.to_string()),
            }
        }
        Ok(())
    }

    /// Enough of the restored group serves; how much of its sizes does is told too.
    pub fn serves(&self, restored: &Group) -> (bool, u32) {
        let serving = self.facts.serving_weight(restored);
        (serving >= self.plan.count, serving)
    }
}
