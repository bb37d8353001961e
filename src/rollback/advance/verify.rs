//! What was promised, measured in one look.

use super::super::plan::GroupPlan;
use super::super::plan::alive;
use super::Look;
use super::Next;
use super::Progress;

impl Progress {
    /// The promises, measured in one look: sizes and processes as planned, enough restored instances behind every load balancer, nothing
    /// of the others, and the service's answer.
    pub(super) fn verify(&mut self, look: &Look<'_>) -> Option<Next> {
        let group = match look.group(&look.plan.restore.name) {
            Ok(group) => group,
            Err(next) => return Some(next),
        };
        let mut steps = self.restore_steps(look);
        steps.extend(self.close_steps(look));
        if !steps.is_empty() {
            return Some(Next::Do(steps));
        }
        let unseen = |g: &&GroupPlan| {
            let watch = self.watches.get(&g.name);
            look.facts.group(&g.name).is_none_or(|group| watch.is_none_or(|w| !w.is_as_known(group)))
        };
        if let Some(unseen) = look.plan.groups().find(unseen) {
            return Some(Next::Wait(format!("AWS to show what was written to {}", unseen.name)));
        }
        if let Some(group) = look.plan.retire.iter().filter_map(|g| look.facts.group(&g.name)).find(|g| alive(g).next().is_some()) {
            return Some(Next::Wait(format!("AWS to begin to end {} of {}", alive(group).count(), group.name)));
        }
        if let Some(id) = look.plan.retire.iter().find_map(|g| self.not_kept(look, g)) {
            return Some(Next::Wait(format!("AWS to show {id} in standby")));
        }
        let (enough, serving) = look.serves(group);
        if !enough {
            return Some(Next::Wait(format!("{}: {serving} of {} serve", group.name, look.plan.count)));
        }
        (!look.service).then_some(Next::AskService)
    }
}
