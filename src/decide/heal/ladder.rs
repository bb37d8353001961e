//! The ladder: nothing, a restart of the orchestrator, a replacement of the instance, a person. One question, answered from facts alone.
//!
//! What must stay true: the reasons to do nothing are asked first, and whatever is unknown is one of them; what a restart could have helped is not
//! replaced before its restarts are spent; a rung that the level does not allow is told, not taken.

use std::time::Duration;

use super::Healed;
use super::Hold;
use super::evidence::Evidence;
use super::evidence::Finding;
use super::evidence::Remedy;
use super::evidence::Sick;
use super::permit::Held;
use super::permit::Permitted;
use super::policy::Level;
use super::siblings;
use crate::decide::justify::hold_on;
use crate::decide::look::jittered;
use crate::decide::policy::Policy;
use crate::decide::turns::Turn;
use crate::model::Activity;
use crate::model::Group;
use crate::model::InstanceId;
use crate::model::Moment;
use crate::model::Sample;
use crate::model::Timestamp;

/// A read of the group that was asked for longer ago than this many staleness bounds is asked for anew before anything is done.
const FRESH_BOUNDS: u32 = 2;
/// Executions named in what a restart would interrupt.
const NAMED: usize = 5;

/// Everything that is asked.
pub struct Facts<'a> {
    pub policy: &'a Policy,
    pub own: &'a InstanceId,
    pub evidence: &'a Evidence,
    pub healed: &'a Healed,
    /// Restarts of this process' life that are not older than the window, and when the last one was over.
    pub restarts: usize,
    pub restarted: Option<Moment>,
    pub group: Option<&'a (Moment, Group)>,
    /// Why the last read of the group failed, when it did.
    pub blind: Option<&'a str>,
    /// A drain is under way, or being called off.
    pub drains: bool,
    /// There is a way to stop and start the orchestrator.
    pub restartable: bool,
    pub sample: Option<&'a Sample>,
    pub permit: &'a Held,
    pub now: Moment,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing is known yet.
    Unproven,
    /// Nothing: it is well.
    Well,
    /// Nothing yet: it may be sick.
    Watch(String),
    /// Nothing, for a reason that is somebody's will.
    Rest(String),
    /// Something, which the level does not allow.
    Would(String),
    /// Something, a little later.
    Wait {
        /// For people.
        why: String,
        /// When it is asked again.
        until: Moment,
    },
    /// Something, once the group has been read anew.
    Read(String),
    /// Something, once a permit of the group is ours.
    Ask(String),
    /// Nothing that would help, or could be done: somebody has to look.
    Hold(Hold, String),
    /// Restart the orchestrator.
    Restart(String),
    /// Drain this instance and have it replaced; `forced` where nobody can say what it executes, and the owner accepts that.
    Replace {
        /// What is wrong.
        why: String,
        /// Do not wait for an idleness that nobody can tell of.
        forced: bool,
    },
}

impl Facts<'_> {
    /// What is to be done now.
    pub fn next(&self) -> Next {
        let sick = match self.evidence.finding(&self.policy.heal, self.now) {
            Finding::Unproven => return Next::Unproven,
            Finding::Well => return Next::Well,
            Finding::Suspect(what) => return Next::Watch(what),
            Finding::Sick(sick) => sick,
        };
        if let Some(nothing) = self.at_rest(&sick) {
            return nothing;
        }
        self.climb(&sick)
    }

    /// The level in force, and who lowered it.
    fn level(&self) -> (Level, String) {
        let level = self.policy.heal.level;
        if let Some(off) = self.healed.off.as_ref().filter(|off| self.now.wall < off.until) {
            return (Level::Off, format!("{} switched healing off until {}", off.by, off.until));
        }
        if let Some(why) = self.group.and_then(|(_, group)| siblings::switched_off(group)) {
            return (Level::Off, why);
        }
        if self.policy.dry_run {
            return (level.min(Level::Observe), "drain.dry_run is set".to_owned());
        }
        (level, format!("heal.level is {}", level.as_str()))
    }

    /// A reason to do nothing, whatever could be done.
    fn at_rest(&self, sick: &Sick) -> Option<Next> {
        let (level, by) = self.level();
        if level == Level::Off {
            return Some(Next::Rest(format!("{}; {by}", sick.text)));
        }
        if self.drains {
            return Some(Next::Rest(format!("{}; a drain is under way", sick.text)));
        }
        if !self.healed.ready {
            return Some(Next::Rest(format!("{}; it has not been ready yet since this host started", sick.text)));
        }
        if let Some(over) = self.restarted.filter(|over| self.now.since(*over) < self.policy.heal.start_grace) {
            return Some(Next::Watch(format!("{}; restarted {} s ago", sick.text, self.now.since(over).as_secs())));
        }
        if sick.remedy == Remedy::Tell {
            return Some(Next::Watch(sick.text.clone()));
        }
        if let Err(why) = self.evidence.store(&self.policy.heal, sick.since) {
            return Some(Next::Hold(Hold::StoreDown, format!("{}; its store: {why}", sick.text)));
        }
        if let Some(why) = self.blind {
            return Some(Next::Hold(Hold::Blind, format!("{}; the group cannot be read: {why}", sick.text)));
        }
        let Some((_, group)) = self.group else {
            return Some(Next::Hold(Hold::Blind, format!("{}; the group has not been read yet", sick.text)));
        };
        if let Some(held) = hold_on(group, self.now.wall) {
            return Some(Next::Rest(format!("{}; the group is {held}", sick.text)));
        }
        siblings::shared_cause(group, self.own).map(|shared| Next::Hold(Hold::FleetSick, format!("{}; {shared}", sick.text)))
    }

    fn climb(&self, sick: &Sick) -> Next {
        let heal = &self.policy.heal;
        let (level, by) = self.level();
        let spent = self.restarts.max(self.healed.restarts_since(self.now.wall, heal.window));
        let helps = matches!(sick.remedy, Remedy::Restart | Remedy::RestartWhenIdle);
        let left = spent < heal.restarts as usize;
        if helps && left && (self.restartable || level < Level::Replace) {
            return self.restart(sick, level, &by, spent);
        }
        let why = match (helps, left) {
            (true, false) => format!("{}; {spent} restarts within {} s did not help", sick.text, heal.window.as_secs()),
            (true, true) => format!("{}; there is no way to restart it", sick.text),
            (false, _) => format!("{}; a restart does not help", sick.text),
        };
        if level == Level::Observe {
            return Next::Would(format!("would have the instance replaced: {why}; {by}"));
        }
        if level < Level::Replace {
            return Next::Hold(Hold::BeyondRestart, format!("{why}; {by}"));
        }
        self.replace(why)
    }

    fn restart(&self, sick: &Sick, level: Level, by: &str, spent: usize) -> Next {
        let heal = &self.policy.heal;
        let why = format!("{}{}", sick.text, self.interrupts());
        if level == Level::Observe {
            return Next::Would(format!("would restart the orchestrator: {why}; {by}"));
        }
        if !self.restartable {
            let text = format!("would restart the orchestrator: {why}; the configuration gives no way to stop and start it");
            return Next::Hold(Hold::NoRestart, text);
        }
        if let Some(over) = self.restarted {
            let wait = heal.backoff.saturating_mul(1 << spent.saturating_sub(1).min(6));
            let until = over.plus(jittered(wait, self.own, u32::try_from(spent).unwrap_or(u32::MAX)));
            if self.now.mono < until.mono {
                return Next::Wait { why: format!("{why}; restart {} of {} is backed off", spent + 1, heal.restarts), until };
            }
        }
        let idle = self.sample.is_some_and(|sample| sample.activity == Activity::Idle);
        if sick.remedy == Remedy::RestartWhenIdle && !idle {
            return Next::Watch(format!("would restart the orchestrator once it is idle: {why}"));
        }
        self.in_turn(why, Next::Restart)
    }

    fn replace(&self, why: String) -> Next {
        let Some((_, group)) = self.group else { return Next::Read(why) };
        if group.is_disabled() {
            return Next::Rest(format!("{why}; the group is disabled: what is superseded is not replaced"));
        }
        if let Err((hold, text)) = siblings::replaceable(self.policy, group, self.own) {
            return Next::Hold(hold, format!("{why}; {text}"));
        }
        let forced = self.policy.heal.end_unproven && self.evidence.is_silent();
        // Whose turn it is to end, the drain asks when it has come so far; whoever begins to drain is away from then on.
        self.in_turn(why, |why| Next::Replace { why, forced })
    }

    /// Does it when our turn has come, on a read of this turn, with a permit where there are any.
    fn in_turn(&self, why: String, act: impl FnOnce(String) -> Next) -> Next {
        let Some((asked, group)) = self.group else { return Next::Read(why) };
        match siblings::turn(self.policy, group, self.own, asked.wall, self.now.wall) {
            Ok(()) if self.now.since(*asked) <= self.policy.stale_bound * FRESH_BOUNDS => {
                match self.permit.permits(self.policy, self.now) {
                    Permitted::Yes => act(why),
                    Permitted::Asked => Next::Ask(why),
                    Permitted::Refused(whose, until) => Next::Wait { why: format!("{why}; {whose}"), until },
                    Permitted::Nobody(fault) => Next::Hold(Hold::NoPermit, format!("{why}; no permit of the group: {fault}")),
                }
            }
            Ok(()) | Err((_, Turn::AfterARead | Turn::Now)) => Next::Read(why),
            Err((whose, Turn::At(until))) => {
                let wait = until.since(self.now.wall).max(Duration::from_millis(50));
                Next::Wait { why: format!("{why}; {whose}"), until: self.now.plus(wait) }
            }
        }
    }

    /// What a restart would interrupt, as far as it is known.
    fn interrupts(&self) -> String {
        match self.sample.map(|sample| &sample.activity) {
            Some(Activity::Idle) => String::new(),
            Some(Activity::Busy { count, executions }) => {
                let named: Vec<&str> = executions.iter().take(NAMED).map(|e| e.url.as_str()).collect();
                let named = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
                format!("; interrupts {count} in flight{named}")
            }
            Some(Activity::Unknown { .. }) | None => "; nobody can say what it interrupts".to_owned(),
        }
    }
}

impl Healed {
    /// Restarts that are not older than the window. One of the future, after the clock was set back, counts too.
    pub fn restarts_since(&self, now: Timestamp, window: Duration) -> usize {
        self.restarts.iter().filter(|at| now.since(**at) < window).count()
    }
}
