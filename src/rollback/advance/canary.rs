//! The canary: one restored instance has to serve before the others are launched. What an older version does with a store that a newer one has
//! migrated is seen on one instance, not on twenty.
//!
//! What must stay true: until a look shows that a restored instance serves, the group wants no more than the plan's canary does; who was a member
//! before is never ended for it. One that does not serve in time stops the cluster with the newest group untouched.

use super::super::facts::backends_of;
use super::AGREE;
use super::Look;
use super::Next;
use super::Progress;
use super::Stop;
use crate::model::Capacity;
use crate::model::Group;
use crate::model::GroupInstance;

/// Members that a stop names with what is wrong with them: enough to look at, few enough for a line.
const NAMED: usize = 3;

impl Progress {
    /// Sizes that the restored group is to have now.
    pub(super) fn wanted(&self, look: &Look<'_>) -> Capacity {
        match &look.plan.canary {
            Some(canary) if !self.canary_serves => canary.sizes,
            Some(_) | None => look.plan.restore.during,
        }
    }

    pub(super) fn canary(&mut self, look: &Look<'_>) -> Option<Next> {
        let canary = look.plan.canary.as_ref().filter(|_| !self.canary_serves)?;
        let group = match look.group(&look.plan.restore.name) {
            Ok(group) => group,
            Err(next) => return Some(next),
        };
        let steps = self.steps_to_serve(look, group);
        if !steps.is_empty() {
            return Some(Next::Do(steps));
        }
        let since = *self.canary_since.get_or_insert(look.at);
        self.up = if group.healthy_in_service() > 0 { self.up.or(Some(look.at)) } else { None };
        if look.facts.serving(group).next().is_some() {
            self.agreeing += 1;
            if self.agreeing < AGREE {
                return Some(Next::Agree(format!("a second look to agree that the canary of {} serves", group.name)));
            }
            (self.canary_serves, self.up) = (true, None);
            return None;
        }
        self.agreeing = 0;
        let problem = problem(look, group);
        if look.at.since(since) >= canary.within {
            return Some(Next::Stop(Stop::CanaryUnhealthy { group: group.name.clone(), within: canary.within, problem }));
        }
        Some(Next::Wait(format!("the canary of {}: {problem}", group.name)))
    }
}

/// What is wrong with the members there are, in Auto Scaling's and the load balancers' words.
fn problem(look: &Look<'_>, group: &Group) -> String {
    let backends = backends_of(group);
    let of = |instance: &GroupInstance| {
        let facts = backends.iter().filter_map(|b| Some((b, look.facts.backends.get(b)?))).filter(|(_, facts)| !facts.serves(&instance.id));
        let behind = facts.map(|(backend, facts)| {
            let reason = facts.members.get(&instance.id).into_iter().flatten().find_map(|m| m.reason.as_deref());
            format!("{backend}: {}", reason.unwrap_or("not healthy yet"))
        });
        let all: Vec<String> = std::iter::once(format!("{:?}", instance.state)).chain(behind).collect();
        format!("{} is {}", instance.id, all.join(", "))
    };
    let members: Vec<String> = group.instances.iter().take(NAMED).map(of).collect();
    let members = if members.is_empty() { "not launched yet".to_owned() } else { members.join("; ") };
    let failure = look.facts.launch_failures.get(&group.name).map(|why| format!("; AWS could not launch: {why}")).unwrap_or_default();
    members + &failure
}
