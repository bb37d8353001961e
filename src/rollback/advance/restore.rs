//! The restored group: its sizes and processes, its members behind the load balancers, and the wait until enough of them serve.
//!
//! What must stay true: it is never made smaller (S13); sizes come before processes; nothing counts as serving on one look alone.

use super::super::facts::Backend;
use super::super::facts::backends_of;
use super::AGREE;
use super::Look;
use super::Next;
use super::Progress;
use super::Step;
use super::Watch;
use crate::model::Capacity;
use crate::model::Group;
use crate::model::InstanceHealth;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Process;

impl Progress {
    /// Sizes first, processes after: a Terminate resumed on a group that wants fewer than it has would end some at once (F28).
    pub(super) fn restore_steps(&self, look: &Look<'_>) -> Vec<Step> {
        let planned = &look.plan.restore;
        let Some(known) = self.watches.get(&planned.name).map(Watch::known) else { return Vec::new() };
        let raised = if look.plan.singleton { 0 } else { known.capacity.desired };
        let wanted = self.wanted(look);
        let desired = wanted.desired.max(raised);
        let to = Capacity { desired, max: wanted.max.max(desired), ..wanted };
        let mut steps = Vec::new();
        if known.capacity != to {
            steps.push(Step::Resize { group: planned.name.clone(), from: known.capacity, to });
        }
        // Not before: an undoing that was given up may have left it wanting fewer than it has.
        steps.extend(self.unprotect_steps(look));
        let processes: Vec<Process> = look.plan.resume.iter().filter(|p| known.suspended.contains(p)).cloned().collect();
        if !processes.is_empty() {
            steps.push(Step::Resume { group: planned.name.clone(), processes });
        }
        steps
    }

    /// All that the restored group still wants before it is only waited for.
    pub(super) fn steps_to_serve(&self, look: &Look<'_>, group: &Group) -> Vec<Step> {
        let mut steps = self.freeze_steps(look);
        steps.extend(self.restore_steps(look));
        steps.extend(self.registrations(look, group));
        steps
    }

    pub(super) fn restore(&mut self, look: &Look<'_>) -> Option<Next> {
        let steps = self.restore_steps(look);
        (!steps.is_empty()).then_some(Next::Do(steps))
    }

    pub(super) fn until_it_serves(&mut self, look: &Look<'_>) -> Option<Next> {
        let group = match look.group(&look.plan.restore.name) {
            Ok(group) => group,
            Err(next) => return Some(next),
        };
        let steps = self.steps_to_serve(look, group);
        if !steps.is_empty() {
            return Some(Next::Do(steps));
        }
        self.up = if group.healthy_weight() >= look.plan.count { self.up.or(Some(look.at)) } else { None };
        let (enough, serving) = look.serves(group);
        let settled = self.is_settled(look);
        if enough && settled {
            self.agreeing += 1;
            if self.agreeing >= AGREE {
                return None;
            }
            return Some(Next::Agree(format!("a second look to agree that {} serves", group.name)));
        }
        self.agreeing = 0;
        if enough {
            return Some(Next::Wait("agents to see the hold".to_owned()));
        }
        let (up, count) = (group.healthy_weight(), look.plan.count);
        let usual = match look.plan.first_health.as_secs() {
            0 => String::new(),
            seconds => format!(" (checks take {seconds} s)"),
        };
        let failure = look.facts.launch_failures.get(&group.name).map(|why| format!("; AWS could not launch: {why}")).unwrap_or_default();
        Some(Next::Wait(format!("{}: {serving} of {count} serve, {up} in service{usual}{failure}", group.name)))
    }

    /// AddToLoadBalancer is not retroactive: those that came while it was suspended, and those that were taken out, are put in by hand (F57).
    pub(super) fn registrations(&self, look: &Look<'_>, group: &Group) -> Vec<Step> {
        let known = self.watches.get(&group.name).map(Watch::known);
        if known.is_none_or(|shape| shape.suspended.contains(&Process::AddToLoadBalancer)) {
            return Vec::new();
        }
        let up: Vec<&InstanceId> = group
            .instances
            .iter()
            .filter(|i| i.state == LifecycleState::InService && i.health == InstanceHealth::Healthy)
            .map(|i| &i.id)
            .collect();
        let absent = |backend: &Backend, id: &InstanceId| {
            look.facts.backends.get(backend).is_some_and(|f| !f.has(id)) && !self.asked_lately(backend, id, true, look.at)
        };
        let mut steps = Vec::new();
        for backend in &backends_of(group) {
            let port = look.facts.backends.get(backend).and_then(|f| f.port_of_siblings(&up));
            let targets: Vec<_> = up.iter().filter(|id| absent(backend, id)).map(|id| ((*id).clone(), port)).collect();
            if !targets.is_empty() {
                steps.push(Step::Register { backend: backend.clone(), targets });
            }
        }
        steps
    }
}
