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

    /// Side by side the restoring comes in the same breath, and first: its instances take longest, and its pinned min holds already.
    pub(super) fn freeze(&mut self, look: &Look<'_>) -> Option<Next> {
        let freeze = self.freeze_steps(look);
        if freeze.is_empty() {
            return None;
        }
        let mut steps = if look.plan.singleton { Vec::new() } else { self.restore_steps(look) };
        steps.extend(freeze);
        Some(Next::Do(steps))
    }

    /// The pinned min goes back, and what was frozen goes on.
    pub(super) fn thaw_steps(&self, look: &Look<'_>) -> Vec<Step> {
        let mut steps = Vec::new();
        if let Some(known) = self.watches.get(&look.plan.restore.name).map(|watch| watch.known().capacity) {
            let planned = &look.plan.restore;
            let to = Capacity { min: planned.after.capacity.min, ..known };
            if known != to {
                steps.push(Step::Resize { group: planned.name.clone(), from: known, to });
            }
        }
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
