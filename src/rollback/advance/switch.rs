//! The switch: out of the load balancers, down to nothing, and the wait until it is so.
//!
//! What must stay true: nothing is taken away on a survey that is old, nor while the restored group does not serve, except for a singleton's (S13);
//! a singleton counts as gone only when no member is left, in looks that agree (S14).

use std::collections::BTreeMap;

use super::super::facts::Backend;
use super::super::facts::Standing;
use super::super::facts::backends_of;
use super::super::plan::alive;
use super::AGREE;
use super::Look;
use super::Next;
use super::Progress;
use super::STALE;
use super::Step;
use super::Watch;
use crate::model::Group;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Moment;
use crate::model::Process;

impl Progress {
    /// The members of these groups that are behind their load balancers and not on their way out.
    pub(super) fn departures(&self, look: &Look<'_>, groups: &[&Group]) -> Vec<Step> {
        let mut leave: BTreeMap<Backend, Vec<(InstanceId, Option<u16>)>> = BTreeMap::new();
        for group in groups {
            for backend in backends_of(group) {
                let Some(facts) = look.facts.backends.get(&backend) else { continue };
                let members = group.instances.iter().flat_map(|i| facts.members.get(&i.id).into_iter().flatten().map(move |m| (&i.id, m)));
                let staying = members.filter(|(id, m)| m.standing != Standing::Leaving && !self.asked_lately(&backend, id, false, look.at));
                let targets: Vec<_> = staying.map(|(id, m)| (id.clone(), m.port)).collect();
                if !targets.is_empty() {
                    leave.entry(backend.clone()).or_default().extend(targets);
                }
            }
        }
        leave.into_iter().map(|(backend, targets)| Step::Deregister { backend, targets }).collect()
    }

    pub(super) fn asked_lately(&self, backend: &Backend, id: &InstanceId, join: bool, at: Moment) -> bool {
        self.asked.get(&(backend.clone(), id.clone(), join)).is_some_and(|asked| at.since(*asked) < STALE)
    }

    pub(super) fn close_steps(&self, look: &Look<'_>) -> Vec<Step> {
        let (mut shrink, mut resume) = (Vec::new(), Vec::new());
        for planned in &look.plan.retire {
            if let Some(known) = self.watches.get(&planned.name).map(Watch::known).filter(|known| known.capacity != planned.after.capacity)
            {
                let (keep, from) = self.keep_steps(look, planned, known.capacity);
                shrink.extend(keep);
                shrink.push(Step::Resize { group: planned.name.clone(), from, to: planned.after.capacity });
            }
            if let Some(known) = self.watches.get(&planned.name).map(Watch::known) {
                let ended = known.suspended.difference(&planned.after.suspended);
                let processes: Vec<Process> = ended.filter(|p| !planned.frozen.contains(p)).cloned().collect();
                if !processes.is_empty() {
                    resume.push(Step::Resume { group: planned.name.clone(), processes });
                }
            }
        }
        let groups: Vec<&Group> = look.plan.retire.iter().filter_map(|g| look.facts.group(&g.name)).collect();
        self.departures(look, &groups).into_iter().chain(shrink).chain(resume).collect()
    }

    pub(super) fn close(&mut self, look: &Look<'_>) -> Option<Next> {
        let zeroed = look.plan.retire.iter().all(|g| self.watches.get(&g.name).is_some_and(|w| w.known().capacity == g.after.capacity));
        if !zeroed && !look.is_surveyed() {
            return Some(Next::Survey);
        }
        if !look.plan.singleton {
            let group = match look.group(&look.plan.restore.name) {
                Ok(group) => group,
                Err(next) => return Some(next),
            };
            if !zeroed && !look.serves(group).0 {
                self.at -= 1;
                self.agreeing = 0;
                return Some(Next::Wait(format!("{} to serve again", group.name)));
            }
        }
        let steps = self.close_steps(look);
        (!steps.is_empty()).then_some(Next::Do(steps))
    }

    pub(super) fn until_gone(&mut self, look: &Look<'_>) -> Option<Next> {
        let steps = self.close_steps(look);
        if !steps.is_empty() {
            return Some(Next::Do(steps));
        }
        for planned in &look.plan.retire {
            let group = match look.group(&planned.name) {
                Ok(group) => group,
                Err(next) => return Some(next),
            };
            if group.capacity != planned.after.capacity {
                return Some(self.not_yet(format!("{} to show {}", group.name, planned.after.capacity)));
            }
            let healthy = |i: &InstanceId| backends_of(group).iter().any(|b| look.facts.backends.get(b).is_some_and(|f| f.gets_traffic(i)));
            let serving = group.instances.iter().filter(|i| healthy(&i.id)).count();
            if serving > 0 {
                return Some(self.not_yet(format!("{}: {serving} still get traffic", group.name)));
            }
            if look.plan.singleton && left(group) > 0 {
                return Some(self.not_yet(format!(
                    "{}: {} to be gone before {} may start",
                    group.name,
                    left(group),
                    look.plan.restore.name
                )));
            }
            if alive(group).next().is_some() {
                return Some(self.not_yet(format!("AWS to begin to end {} of {}", alive(group).count(), group.name)));
            }
        }
        self.agreeing += 1;
        if look.plan.singleton && self.agreeing < AGREE {
            return Some(Next::Agree("a second look to agree that nothing polls any more".to_owned()));
        }
        None
    }

    pub(super) fn not_yet(&mut self, text: String) -> Next {
        self.agreeing = 0;
        Next::Wait(text)
    }
}

/// Members that are not gone.
fn left(group: &Group) -> usize {
    group.instances.iter().filter(|i| i.state != LifecycleState::Terminated).count()
}
