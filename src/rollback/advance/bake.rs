//! The bake: what was verified is measured again and again, for as long as was asked for, with everything still pinned and held.

use std::time::Duration;

use super::Look;
use super::Next;
use super::Progress;
use super::Stop;

/// A look that shows less than was verified may be stale, and a check that fails may pass the next time; for so long they are borne.
const WORSE_FOR: Duration = Duration::from_secs(15);

impl Progress {
    /// Whether the service's answer counts now.
    pub fn is_baking(&self) -> bool {
        self.baking.is_some() && self.stage() == super::Stage::Bake
    }

    pub(super) fn bake(&mut self, look: &Look<'_>) -> Option<Next> {
        if look.request.bake.is_zero() {
            return None;
        }
        let group = match look.group(&look.plan.restore.name) {
            Ok(group) => group,
            Err(next) => return Some(next),
        };
        let since = *self.baking.get_or_insert(look.at);
        let (enough, serving) = look.serves(group);
        let problem = match (enough, look.service) {
            (false, _) => Some(format!("{serving} of {} of {} serve", look.plan.count, group.name)),
            (true, false) => Some("the service does not answer".to_owned()),
            (true, true) => None,
        };
        let Some(problem) = problem else {
            self.worse = None;
            let baked = look.at.since(since);
            let left = look.request.bake.saturating_sub(baked);
            return (!left.is_zero()).then(|| Next::Wait(format!("the bake: {} s to go", left.as_secs())));
        };
        let worse = *self.worse.get_or_insert(look.at);
        if look.at.since(worse) >= WORSE_FOR {
            return Some(Next::Stop(Stop::Regressed { problem }));
        }
        Some(Next::Wait(format!("{problem}: the bake does not pass so")))
    }
}
