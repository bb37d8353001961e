//! Decisions, pure: what was observed and what the owner wants in, actions out. No I/O, no clock, no log.
//!
//! [`step`] is total: it cannot fail, and what makes no sense becomes a state that is visible. The protocol of a drain is in [`drain`],
//! the evidence of idleness in [`quiet`], the judgement of the cluster in [`superseded`], the last question before the end in [`justify`].
//!
//! What must stay true:
//! * Unknown is busy; an unread switch is open (S2, S3).
//! * A deed that cannot be undone goes out only in the step that put its intent into [`Durable`], which the daemon syncs first (S5).
//! * A terminate call whose outcome is unknown is never repeated before reads have shown, over the staleness bound, that it did nothing (S4).
//! * An answer to an old key changes nothing. The same observation twice gives no second deed.
//! * A drain is called off only before the terminate call (S15).

mod action;
mod capacity;
mod drain;
mod ending;
pub mod heal;
mod hook;
mod justify;
mod look;
mod notices;
mod observation;
mod operator;
mod policy;
mod protect;
mod quiet;
mod schedule;
mod state;
mod status;
mod superseded;
mod turns;
mod view;
mod words;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use action::Action;
pub use action::Deed;
pub use action::Key;
pub use action::Look;
pub use action::What;
pub use observation::Answer;
pub use observation::EndingActivity;
pub use observation::Fault;
pub use observation::FaultKind;
pub use observation::Observation;
pub use observation::OwnRead;
pub use observation::Receipt;
pub use observation::Seen;
pub use observation::TaskRead;
pub use policy::AtDeadline;
pub use policy::HookNames;
pub use policy::MinSize;
pub use policy::OnRebalance;
pub use policy::Policy;
pub use policy::Siblings;
pub use policy::Via;
pub use state::Drain;
pub use state::Durable;
pub use state::HeldWhy;
pub use state::Phase;
pub use state::Progress;
pub use state::Reason;
pub use state::State;
pub use state::Veto;
pub use status::Command;
pub use status::DrainStatus;
pub use status::HookStatus;
pub use status::Status;

use drain::Step;
use look::Kind;

/// What one step gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// To be done, in this order, once [`State::durable`] is on disk when its version changed.
    pub actions: Vec<Action>,
    /// What healing decided, for the record.
    pub decisions: Vec<heal::Decision>,
    /// Why an operator's request was refused; `None` for any other observation, and when it was accepted.
    pub refusal: Option<String>,
}

/// One observation in, actions out.
pub fn step(state: &mut State, policy: &Policy, observation: Observation) -> Outcome {
    let mut step = Step::new(state, policy, observation.at);
    match observation.seen {
        Seen::Tick => {}
        Seen::Answer { key, answer } => step.answered(key, *answer),
        Seen::Asked(command) => step.asked(command),
        Seen::JournalLost(why) => step.journal_lost(why),
        Seen::Stopping => step.unprotect(),
    }
    step.timers();
    step.heal();
    step.finish()
}

/// When [`step`] wants a tick at the latest, on the monotonic clock.
pub fn wake_at(state: &State, policy: &Policy) -> Duration {
    let looks = Kind::ALL.into_iter().filter_map(|kind| state.looks.due(kind, schedule::wanted(state, policy, kind), &state.own));
    looks.chain(schedule::timer(state, policy)).min().unwrap_or(Duration::MAX)
}
