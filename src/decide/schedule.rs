//! What is read in which phase, how often, and when time alone changes something.

use std::time::Duration;

use super::drain::ORDER_LOST;
use super::ending::FOLLOW_EVERY;
use super::ending::GONE_EVERY;
use super::heal::restart_limit;
use super::hook;
use super::look::Kind;
use super::look::Wanted;
use super::policy::Policy;
use super::policy::Via;
use super::protect;
use super::state::HeldWhy;
use super::state::Phase;
use super::state::Progress;
use super::state::Reason;
use super::state::State;
use crate::model::Probe;

/// Least time between two looks at the orchestrator, however soon its quiet time is over.
const LEAST: Duration = Duration::from_millis(50);

/// Between reads of the group while a drain is under way, at most: a hold is seen within it, and the rollback waits that long.
const DRAINING_EVERY: Duration = Duration::from_secs(30);

/// Between tries to read a hook.
const HOOK_EVERY: Duration = Duration::from_secs(30);
/// Between looks at the orchestrator, at most, where a busy instance is to protect itself.
const PROTECTING_EVERY: Duration = Duration::from_secs(15);

/// The task in Spinnaker that ends us, when there is one.
pub fn followed_task(state: &State) -> Option<&str> {
    match state.durable.drain.as_ref().map(|d| &d.progress) {
        Some(Progress::Accepted { reference, task: true, .. }) => Some(reference),
        Some(
            Progress::Accepted { .. }
            | Progress::Draining
            | Progress::Stopping
            | Progress::Stopped
            | Progress::Intent { .. }
            | Progress::Cancelled { .. },
        )
        | None => None,
    }
}

/// What is to be read in this phase, and how often.
pub fn wanted(state: &State, policy: &Policy, kind: Kind) -> Wanted {
    let draining = state.durable.drain.is_some();
    let gone = matches!(state.phase, Phase::Gone);
    let spinnaker = policy.via == Via::Spinnaker;
    // What was asked of AWS cannot be called back. A task can be, as long as it has not ended.
    let past_recall = match state.phase {
        Phase::Ending { .. } => !spinnaker || state.task_ended || followed_task(state).is_none(),
        Phase::Gone | Phase::Uncertain { .. } | Phase::Terminating => true,
        _ => false,
    };
    let cluster = match state.durable.drain.as_ref().map(|d| &d.reason) {
        Some(Reason::Superseded { .. }) => true,
        Some(
            Reason::Operator { .. }
            | Reason::TargetTerminated
            | Reason::Interrupted { .. }
            | Reason::Warmed
            | Reason::Standby
            | Reason::Unhealthy { .. },
        ) => false,
        Some(Reason::Rebalance) | None => policy.retired || state.group.as_ref().is_some_and(|(_, g)| g.is_disabled()),
    };
    let fresh = |every| match (&state.phase, state.heal.read_from()) {
        (Phase::Validating, _) => Wanted::Since(state.since, every),
        (_, Some(from)) => Wanted::Since(from, every),
        (_, None) => Wanted::Every(every),
    };
    let describe = match state.phase {
        Phase::Validating => policy.stale_bound,
        // The rollback counts on it that its restored group takes work again soon (F55).
        Phase::Held { why: HeldWhy::Rollback, .. } => policy.stale_bound * 2,
        _ if state.heal.read_from().is_some() => policy.stale_bound,
        _ if draining => policy.describe_every.min(DRAINING_EVERY),
        _ => policy.describe_every,
    };
    // Jitter adds up to a quarter; the owner's interval is the longest.
    let activity_every = policy.activity_every * 4 / 5;
    match kind {
        Kind::TargetState | Kind::Notices if !gone => Wanted::Every(policy.metadata_every),
        Kind::Hook if hook::unread(state, policy).is_some() => Wanted::Every(HOOK_EVERY),
        Kind::Own if gone => Wanted::Every(GONE_EVERY),
        Kind::Own if hook::watches_the_launch(state, policy) || (draining && state.wait.refused.is_some()) => Wanted::Every(hook::AGAIN),
        Kind::Own if state.group_name.is_none() => Wanted::Every(policy.describe_every / 3),
        Kind::Own => match state.phase {
            Phase::Ending { .. } => Wanted::Every(FOLLOW_EVERY),
            Phase::Uncertain { .. } => Wanted::Every(policy.stale_bound),
            _ => Wanted::No,
        },
        Kind::Group | Kind::Cluster if state.group_name.is_none() || past_recall => Wanted::No,
        Kind::Group if !cluster => fresh(describe),
        Kind::Cluster if cluster && !draining && state.durable.veto.is_none() => {
            Wanted::Every((policy.agree_over / policy.agree_reads.max(1)).clamp(Duration::from_secs(1), policy.describe_every))
        }
        Kind::Cluster if cluster => fresh(describe),
        Kind::Orchestrator => match state.phase {
            Phase::Working if hook::waited_for(state, policy).is_some() => Wanted::Every(activity_every),
            Phase::Working if policy.protect => Wanted::Every(policy.activity_every_idle.min(PROTECTING_EVERY)),
            Phase::Working => Wanted::Every(policy.activity_every_idle),
            Phase::LastLook => Wanted::Since(state.since, activity_every),
            Phase::Confirming => match state.quiet.left(policy) {
                Some(left) if left < activity_every => Wanted::In(left.max(LEAST)),
                Some(_) | None => Wanted::Every(activity_every),
            },
            Phase::Closing { .. } | Phase::Validating | Phase::Waiting { .. } | Phase::Held { .. } | Phase::Reopening { .. } => {
                Wanted::Every(activity_every)
            }
            Phase::Lowering
            | Phase::Stopping
            | Phase::Answering
            | Phase::Terminating
            | Phase::Uncertain { .. }
            | Phase::Ending { .. }
            | Phase::Gone => Wanted::No,
        },
        Kind::Task if spinnaker => match state.phase {
            Phase::Ending { .. } if followed_task(state).is_some() => Wanted::Every(policy.activity_every),
            Phase::Uncertain { .. } => Wanted::Every(policy.stale_bound),
            _ => Wanted::No,
        },
        Kind::Liveness => probed(state, policy, Probe::Liveness),
        Kind::Readiness => probed(state, policy, Probe::Readiness),
        Kind::Store => probed(state, policy, Probe::Store),
        Kind::Vitals if gone || !policy.heal.sees() || policy.heal.limits.is_empty() => Wanted::No,
        Kind::Vitals => Wanted::Every(policy.heal.vitals_every),
        Kind::TargetState | Kind::Notices | Kind::Hook | Kind::Group | Kind::Cluster | Kind::Task => Wanted::No,
    }
}

/// A probe is made as long as the instance is there. Jitter adds up to a quarter; the owner's interval is the longest.
fn probed(state: &State, policy: &Policy, probe: Probe) -> Wanted {
    let gone = matches!(state.phase, Phase::Gone);
    match policy.heal.rules(probe).filter(|_| !gone && policy.heal.sees()) {
        Some(rules) => Wanted::Every(rules.every * 4 / 5),
        None => Wanted::No,
    }
}

/// When time alone changes something.
pub fn timer(state: &State, policy: &Policy) -> Option<Duration> {
    let phase = match &state.phase {
        // The next order waits for the answer to the last.
        Phase::Closing { again, .. } | Phase::Reopening { again, .. } => state.order.is_none().then_some(again.mono),
        Phase::Waiting { until, .. } | Phase::Held { until, .. } => Some(until.mono),
        Phase::Working
        | Phase::Confirming
        | Phase::Validating
        | Phase::Lowering
        | Phase::Stopping
        | Phase::LastLook
        | Phase::Answering
        | Phase::Terminating
        | Phase::Uncertain { .. }
        | Phase::Ending { .. }
        | Phase::Gone => None,
    };
    let lost = state.order.map(|order| order.at.mono + order_limit(state, policy));
    let others = hook::timer(state, policy).into_iter().chain(protect::timer(state, policy)).chain(state.heal.timer(state, policy));
    phase.into_iter().chain(lost).chain(others).chain(state.permit_timer(policy)).min()
}

/// When an order that was not answered is lost.
pub fn order_limit(state: &State, policy: &Policy) -> Duration {
    match state.phase {
        _ if state.heal.restarts_now() => restart_limit(policy),
        Phase::Stopping => ORDER_LOST.max(policy.stop_grace.unwrap_or_default() * 2),
        _ => ORDER_LOST,
    }
}
