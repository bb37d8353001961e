//! Who carries out what tasks want done outside: one performer for each kind of effect.
//!
//! What must stay true: an effect begins only after its attempt is in the store; its outcome is a value whatever happens; it ends within its own
//! limit, and soon after it is told to stop. Dropping the future of [`Performer::perform`] means that nobody waits any more: a request is given up,
//! a job runs on and can be attached to again.

pub mod http;
pub mod job;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;

/// Carries out effects of some kind.
#[async_trait]
pub trait Performer: Send + Sync + 'static {
    /// Carries it out under this key. When `stop` is cancelled it ends what it began (a job: signal, then kill) and says what came of it.
    async fn perform(&self, key: &AttemptKey, effect: Effect, stop: &CancellationToken) -> Outcome;
}
