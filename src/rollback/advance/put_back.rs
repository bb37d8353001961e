//! The way back before the switch: load balancers, sizes and processes as they were found.
//!
//! What must stay true: the restored group loses the members that were added and nobody else; Terminate is suspended again only once AWS has begun
//! to end those; nothing counts as put back before a look shows it that cannot be older than the last write of a run that died a moment ago.

use super::AGREE;
use super::Look;
use super::Next;
use super::Progress;
use super::STALE;
use super::Step;
use super::Watch;
use super::protect::Guard;
use super::protect::surplus;
use crate::model::Capacity;
use crate::model::Process;

impl Progress {
    pub(super) fn put_back(&mut self, look: &Look<'_>) -> Option<Next> {
        let planned = &look.plan.restore;
        let restored = match look.group(&planned.name) {
            Ok(group) => group,
            Err(next) => return Some(next),
        };
        let surplus = surplus(planned, restored) > 0;
        let mut steps = self.processes_back(look, surplus);
        if planned.after.suspended.contains(&Process::AddToLoadBalancer) {
            steps.extend(self.departures(look, &[restored]));
        }
        for group in look.plan.retire.iter().filter_map(|g| look.facts.group(&g.name)) {
            steps.extend(self.registrations(look, group));
        }
        for kept in look.plan.retire.iter().filter(|g| g.after.capacity.min != g.before.capacity.min) {
            let Some(known) = self.watches.get(&kept.name).map(|watch| watch.known().capacity) else { continue };
            if known.min != kept.after.capacity.min {
                let to = Capacity { min: kept.after.capacity.min, desired: known.desired.max(kept.after.capacity.min), ..known };
                steps.push(Step::Resize { group: kept.name.clone(), from: known, to });
            }
        }
        let known = self.watches.get(&planned.name).map(Watch::known)?;
        let shrinks = surplus || known.capacity.desired > planned.after.capacity.desired;
        let awaited = match if shrinks { self.guard_found(look, restored) } else { Guard::Stands } {
            Guard::Stands => None,
            Guard::Steps(protect) => {
                steps.extend(protect);
                None
            }
            Guard::Awaits(early) => Some(early),
        };
        if awaited.is_none() && known.capacity != planned.after.capacity {
            steps.push(Step::Resize { group: planned.name.clone(), from: known.capacity, to: planned.after.capacity });
        }
        if awaited.is_none() && surplus && known.suspended.contains(&Process::Terminate) {
            steps.push(Step::Resume { group: planned.name.clone(), processes: vec![Process::Terminate] });
        }
        if !steps.is_empty() {
            self.agreeing = 0;
            return Some(Next::Do(steps));
        }
        if let Some(early) = awaited {
            return Some(self.not_yet(format!("{early} to come into service: it was there before, and cannot be protected until then")));
        }
        if surplus {
            return Some(self.not_yet(format!("AWS to begin to end what was added to {}", restored.name)));
        }
        let (read, held) = (look.facts.described.unwrap_or(look.at), self.held_since.unwrap_or(look.at));
        if read.since(held) < STALE {
            return Some(self.not_yet("reads that cannot be older than what the run before this one wrote".to_owned()));
        }
        let shown = |name| look.facts.group(name).is_some_and(|g| self.watches.get(name).is_some_and(|w| w.is_as_known(g)));
        if let Some(unseen) = look.plan.groups().map(|g| &g.name).find(|name| !shown(name)) {
            return Some(self.not_yet(format!("AWS to show what was written to {unseen}")));
        }
        self.agreeing += 1;
        (self.agreeing < AGREE).then(|| Next::Agree("a second look to agree that all is as it was found".to_owned()))
    }

    /// Suspended again what was suspended, so that nothing more is launched or registered; resumed what was not.
    fn processes_back(&self, look: &Look<'_>, surplus: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut resumed = Vec::new();
        for planned in look.plan.groups() {
            let Some(known) = self.watches.get(&planned.name).map(Watch::known) else { continue };
            let stays = |p: &&Process| **p == Process::Terminate && surplus && planned.name == look.plan.restore.name;
            let suspend: Vec<Process> = planned.after.suspended.difference(&known.suspended).filter(|p| !stays(p)).cloned().collect();
            let resume: Vec<Process> = known.suspended.difference(&planned.after.suspended).cloned().collect();
            if !suspend.is_empty() {
                steps.push(Step::Suspend { group: planned.name.clone(), processes: suspend });
            }
            if !resume.is_empty() {
                resumed.push(Step::Resume { group: planned.name.clone(), processes: resume });
            }
        }
        steps.extend(resumed);
        steps
    }
}
