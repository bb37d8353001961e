//! What would fight a rollback is suspended while it works, and goes on afterwards exactly as it was found (F58, S12).

use super::Look;
use super::Next;
use super::Progress;
use super::Step;
use super::Watch;
use crate::model::Capacity;
use crate::model::Process;

impl Progress {
    pub(super) fn freeze_steps(&self, look: &Look<'_>) -> Vec<Step> {
        let mut steps = Vec::new();
        for planned in look.plan.groups() {
            let Some(known) = self.watches.get(&planned.name).map(Watch::known) else { continue };
            let processes: Vec<Process> = planned.frozen.iter().filter(|p| !known.suspended.contains(p)).cloned().collect();
            if !processes.is_empty() {
                steps.push(Step::Suspend { group: planned.name.clone(), processes });
            }
        }
        steps
    }

    /// Side by side the restoring follows at once: its instances take longest.
    pub(super) fn freeze(&mut self, look: &Look<'_>) -> Option<Next> {
        let mut steps = self.freeze_steps(look);
        if steps.is_empty() {
            return None;
        }
        if !look.plan.singleton {
            steps.extend(self.restore_steps(look));
        }
        Some(Next::Do(steps))
    }

    pub(super) fn unpin(&mut self, look: &Look<'_>) -> Option<Next> {
        let planned = &look.plan.restore;
        let known = self.watches.get(&planned.name).map(Watch::known)?.capacity;
        let to = Capacity { min: planned.after.capacity.min, ..known };
        let mut steps = Vec::new();
        if known != to {
            steps.push(Step::Resize { group: planned.name.clone(), from: known, to });
        }
        steps.extend(self.thaw_steps(look));
        (!steps.is_empty()).then_some(Next::Do(steps))
    }

    pub(super) fn thaw_steps(&self, look: &Look<'_>) -> Vec<Step> {
        let mut steps = Vec::new();
        for planned in look.plan.groups() {
            let Some(known) = self.watches.get(&planned.name).map(Watch::known) else { continue };
            let processes: Vec<Process> = planned.frozen.iter().filter(|p| known.suspended.contains(p)).cloned().collect();
            if !processes.is_empty() {
                steps.push(Step::Resume { group: planned.name.clone(), processes });
            }
        }
        steps
    }
}
