//! What operators may ask for, and how a drain is called off.
//!
//! What must stay true: a request that cannot be met is refused with its reason, before anything is changed (F24); after the terminate call
//! no cancel is claimed (S15); what was called off takes work again, or says why not (L3).

use std::time::Duration;

use super::action::Deed;
use super::drain::INTAKE_AGAIN;
use super::drain::INTAKE_ORDERS;
use super::drain::Step;
use super::justify;
use super::quiet::Quiet;
use super::state::HeldWhy;
use super::state::Phase;
use super::state::Progress;
use super::state::Reason;
use super::state::Veto;
use super::status::Command;

impl Step<'_> {
    /// An operator asks.
    pub fn asked(&mut self, command: Command) {
        let refused = match command {
            Command::Drain { by, reason, force } => self.drain_asked(by, reason, force),
            Command::Undrain { by } => self.undrain_asked(&by),
            Command::HealOff { by, for_ms } => self.heal_off(by, Duration::from_millis(for_ms)),
            Command::HealOn { by } => {
                self.heal_on(&by);
                Ok(())
            }
        };
        self.out.refusal = refused.err();
    }

    fn drain_asked(&mut self, by: String, reason: String, force: bool) -> Result<(), String> {
        if self.policy.dry_run {
            return Err("dry_run is set: this agent changes nothing".to_owned());
        }
        match self.progress() {
            None => {
                let seen = self.state.group.as_ref();
                let (_, group) = seen.ok_or("the agent has not seen its group yet; see `bellrock status`")?;
                if let Some(why) = justify::preflight(group, &self.state.own, self.now.wall) {
                    return Err(why);
                }
                self.state.durable.veto = None;
                self.start(Reason::Operator { by, why: reason }, force);
            }
            Some(Progress::Draining) if self.reason() == Some(&Reason::Rebalance) => {
                let seen = self.state.group.as_ref();
                if let Some(why) = seen.and_then(|(_, group)| justify::preflight(group, &self.state.own, self.now.wall)) {
                    return Err(why);
                }
                self.start(Reason::Operator { by, why: reason }, force);
            }
            Some(_) if matches!(self.reason(), Some(Reason::Standby | Reason::Warmed)) => {
                return Err("the instance is in standby or in the warm pool, where nothing is ended with decrement".to_owned());
            }
            Some(Progress::Draining | Progress::Stopping | Progress::Stopped) => {
                if let Some(drain) = self.state.durable.drain.as_mut().filter(|d| force && (!d.forced || d.unproven)) {
                    (drain.forced, drain.unproven) = (true, false);
                    self.touch();
                    self.enter(Phase::Validating);
                }
            }
            Some(Progress::Cancelled { .. }) => {
                return Err("a drain is just being called off; ask again once `bellrock status` says working".to_owned());
            }
            Some(Progress::Accepted { .. }) if self.state.phase.held() == Some(HeldWhy::EndingFailed) => {
                self.set_progress(if self.is_stopped() { Progress::Stopped } else { Progress::Draining });
                self.enter(Phase::Closing { orders: 0, again: self.now });
            }
            Some(Progress::Accepted { .. } | Progress::Intent { .. }) => {}
        }
        Ok(())
    }

    fn undrain_asked(&mut self, by: &str) -> Result<(), String> {
        if matches!(self.reason(), Some(Reason::TargetTerminated)) {
            return Err("Auto Scaling is ending this instance; that cannot be called off from here".to_owned());
        }
        let why = format!("{by} called it off");
        match self.progress() {
            None => return Err("no drain is under way".to_owned()),
            Some(Progress::Draining | Progress::Stopping | Progress::Stopped) => {
                let successor = match self.reason() {
                    Some(Reason::Superseded { by }) => Some(by.clone()),
                    Some(Reason::Interrupted { at, .. }) => {
                        return Err(format!("AWS takes this instance back at {at}; that cannot be called off"));
                    }
                    Some(
                        Reason::Operator { .. }
                        | Reason::TargetTerminated
                        | Reason::Rebalance
                        | Reason::Warmed
                        | Reason::Standby
                        | Reason::Unhealthy { .. },
                    )
                    | None => self.state.agreement.by().cloned(),
                };
                self.state.durable.veto = successor.map(|successor| Veto { by: by.to_owned(), successor });
                self.cancel(why);
            }
            Some(Progress::Accepted { .. }) if self.state.phase.held() == Some(HeldWhy::EndingFailed) => {
                self.cancel_whatever(why);
            }
            Some(Progress::Cancelled { .. }) => {}
            Some(Progress::Intent { .. } | Progress::Accepted { .. }) => {
                return Err("the terminate call is out; it cannot be called back".to_owned());
            }
        }
        Ok(())
    }

    /// Calls the drain off, unless the terminate call is out.
    pub(super) fn cancel(&mut self, why: String) {
        match self.progress() {
            Some(Progress::Draining | Progress::Stopping | Progress::Stopped) => self.cancel_whatever(why),
            Some(Progress::Intent { .. } | Progress::Accepted { .. } | Progress::Cancelled { .. }) | None => {}
        }
    }

    pub(super) fn cancel_whatever(&mut self, why: String) {
        // One that did not stop in time may do so yet.
        let stopped = self.is_stopped() || self.state.unstopped;
        self.set_progress(Progress::Cancelled { why, stopped });
        self.state.quiet = Quiet::default();
        self.enter(Phase::Reopening { orders: 0, again: self.now, start: stopped });
    }

    pub(super) fn reopen(&mut self, orders: u32, start: bool) {
        if !self.may_act() {
            return;
        }
        if orders >= INTAKE_ORDERS * 2 {
            let what = if start { "the orchestrator does not start" } else { "intake does not read back as open" };
            let fault = self.state.deed_fault.as_ref().map(|fault| format!(": {fault}")).unwrap_or_default();
            self.hold(HeldWhy::IntakeStuck, format!("{what}{fault}"));
            return;
        }
        self.deed(if start { Deed::StartOrchestrator } else { Deed::SetIntake { open: true } });
        self.state.phase = Phase::Reopening { orders: orders + 1, again: self.now.plus(INTAKE_AGAIN), start };
    }

    pub(super) fn reopened(&mut self) {
        self.state.durable.drain = None;
        self.touch();
        self.state.agreement.forget();
        self.state.held_before = None;
        self.enter(Phase::Working);
    }
}
