//! What AWS says of our future in instance metadata, and what follows: a spot interruption is a drain without quiet time that ends nothing itself
//! (F41); a rebalance recommendation closes intake where the owner wants it, and ends nothing (F42); maintenance is told.

use crate::model::Moment;
use crate::model::Notices;

use super::drain::Step;
use super::hook::Launch;
use super::policy::OnRebalance;
use super::state::Age;
use super::state::Phase;
use super::state::Progress;
use super::state::Reason;
use super::state::State;

/// Reads in a row that have to say nothing of an interruption before it counts as called off.
const WITHDRAWN_READS: u32 = 2;

impl Step<'_> {
    pub(super) fn notices(&mut self, notices: Notices) {
        let rebalance = notices.rebalance;
        let interruption = notices.interruption.clone();
        self.state.notices = notices;
        self.state.uninterrupted = if interruption.is_some() { 0 } else { self.state.uninterrupted.saturating_add(1) };
        if let Some(notice) = interruption {
            self.overrule(Reason::Interrupted { action: notice.action, at: notice.at });
        } else if matches!(self.reason(), Some(Reason::Interrupted { .. })) && self.state.uninterrupted >= WITHDRAWN_READS {
            self.is_spared("AWS speaks of an interruption no more".to_owned());
        }
        let Some(noticed) = rebalance else { return };
        let news = self.state.durable.rebalance != Some(noticed);
        if news && self.policy.on_rebalance == OnRebalance::CloseIntake && self.state.durable.drain.is_none() && !self.policy.dry_run {
            self.state.durable.rebalance = Some(noticed);
            self.start(Reason::Rebalance, false);
        }
    }

    /// AWS ends the instance: whatever else a drain was for, that is its reason now, and nothing that held it does any longer.
    pub(super) fn overrule(&mut self, reason: Reason) {
        let doomed = self.is_doomed();
        let now = self.now;
        let came_to_nothing = self.end_came_to_nothing();
        match self.state.durable.drain.as_mut() {
            None => self.start(reason, false),
            Some(drain) if !doomed => {
                match drain.progress {
                    Progress::Draining | Progress::Stopping | Progress::Stopped => {}
                    Progress::Intent { .. } => return,
                    Progress::Accepted { .. } if !came_to_nothing => return,
                    // Whether it runs again already, the first look tells.
                    Progress::Cancelled { stopped, .. } | Progress::Accepted { stopped, .. } => {
                        drain.progress = if stopped { Progress::Stopping } else { Progress::Draining };
                    }
                }
                // What may be forced ends nothing then, and was not meant for this.
                drain.forced &= matches!(drain.reason, Reason::Superseded { .. } | Reason::Operator { .. } | Reason::Unhealthy { .. });
                drain.reason = reason;
                drain.doomed = Some(now.wall);
                self.state.doomed_age = Some(Age::from(now));
                self.touch();
                if let Phase::Held { .. } | Phase::Waiting { .. } | Phase::Validating | Phase::Reopening { .. } | Phase::Ending { .. } =
                    self.state.phase
                {
                    self.enter(Phase::Closing { orders: 0, again: now });
                }
            }
            Some(_) => return,
        }
        if let Some(Reason::TargetTerminated) = self.reason() {
            self.state.launch = Launch::Over;
        }
        self.state.begin_wait();
    }
}

impl State {
    /// The notices as last read.
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// The notices, for people.
    pub(super) fn explain_notices(&self, now: Moment) -> Vec<String> {
        let interruption = self.notices.interruption.iter().map(|notice| {
            format!("AWS is to {} this instance at {}, in {} s (spot)", notice.action, notice.at, notice.at.since(now.wall).as_secs())
        });
        let rebalance = self.notices.rebalance.iter().map(|at| format!("AWS recommends to move away since {at} (rebalance)"));
        let maintenance =
            self.notices.maintenance.iter().map(|m| format!("AWS announces {} not before {} ({})", m.code, m.not_before, m.id));
        interruption.chain(rebalance).chain(maintenance).collect()
    }
}
