//! Those of the newest group that are kept go into standby before the rest ends.
//!
//! What must stay true: the group is set to nothing only once each of the kept is in standby or gone; standby takes desired down, and so needs room
//! above min.

use super::super::kept::is_standby;
use super::super::plan::GroupPlan;
use super::Look;
use super::Progress;
use super::STALE;
use super::Step;
use crate::model::Capacity;
use crate::model::GroupInstance;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Moment;
use crate::model::weight;

impl Progress {
    /// What comes before the group is set to nothing, and its sizes after that.
    pub(super) fn keep_steps(&self, look: &Look<'_>, planned: &GroupPlan, known: Capacity) -> (Vec<Step>, Capacity) {
        let name = || planned.name.clone();
        let members = planned.kept.iter().filter_map(|id| look.facts.group(&planned.name)?.instance(id));
        let open: Vec<&GroupInstance> =
            members.filter(|i| i.state == LifecycleState::InService && !self.sent_to_standby(&i.id, look.at)).collect();
        let decrement = weight(open.iter().copied());
        if open.is_empty() || decrement > known.desired {
            return (Vec::new(), known);
        }
        let room = known.desired - decrement;
        let mut steps = Vec::new();
        let lowered = Capacity { min: known.min.min(room), ..known };
        if lowered != known {
            steps.push(Step::Resize { group: name(), from: known, to: lowered });
        }
        steps.push(Step::Standby { group: name(), instances: open.iter().map(|i| i.id.clone()).collect(), decrement });
        (steps, Capacity { desired: room, ..lowered })
    }

    fn sent_to_standby(&self, id: &InstanceId, at: Moment) -> bool {
        self.standby.get(id).is_some_and(|sent| at.since(*sent) < STALE)
    }

    /// One of the kept that works on.
    pub(super) fn not_kept<'p>(&self, look: &Look<'_>, planned: &'p GroupPlan) -> Option<&'p InstanceId> {
        let group = look.facts.group(&planned.name)?;
        planned.kept.iter().find(|id| group.instance(id).is_some_and(|i| !is_standby(&i.state) && !i.state.is_ending()))
    }
}
