//! The rollback: the previous server groups come back, are seen to serve, and only then the bad ones go. Works when the orchestrator does
//! not: all it needs is Auto Scaling and the load balancers.
//!
//! ```text
//! facts ──▶ plan (pure; printed, agreed to) ──▶ advance (pure: what next?) ──▶ execute (one step) ──▶ facts …
//! ```
//!
//! What must stay true: S12 (all is left as the plan says), S13 (the newest is touched only when the restored one serves), S14 (a
//! singleton never runs twice), L6 (done, refused with nothing changed, or stopped and finished by a rerun). There is no state between
//! runs but the groups and their tags, so any machine can finish what another began, or put it back.

pub mod advance;
pub mod execute;
pub mod facts;
pub mod journal;
pub mod kept;
pub mod markdown;
pub mod plan;
pub mod record;
pub mod report;
pub mod share;
pub mod show;
#[cfg(test)]
mod tests;
pub mod wait;
pub mod wishes;
mod words;

use std::time::Duration;

use async_trait::async_trait;
use rand::SeedableRng;
use rand_pcg::Pcg32;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::cloud;
use crate::cloud::AutoScaling;
use crate::cloud::Caller;
use crate::cloud::Compute;
use crate::cloud::LoadBalancing;
use crate::model::Clock;
use crate::model::Group;

pub use execute::execute;
pub use facts::Facts;
pub use facts::IN_FLIGHT;

use facts::supply::Ahead;

pub use journal::Journal;
pub use plan::Canary;
pub use plan::Finding;
pub use plan::Plan;
pub use plan::Refusal;
pub use plan::Refused;
pub use plan::Request;
pub use plan::Severity;
pub use plan::Wanted;
pub use plan::preflight;
pub use report::Event;
pub use report::Report;
pub use report::Silent;
pub use report::Sink;

/// How long agents may take to see a hold, unless the person says otherwise: they read their group every 30 s while they drain, a quarter
/// more with jitter, the read may be stale by 5 s, and the terminate call takes its time (S11). Too short, and instances that are about to
/// end count as capacity; it runs while instances boot, so that longer seldom costs anything.
pub const SETTLE: Duration = Duration::from_secs(45);
/// How long a canary may take to serve, unless the person says otherwise: a boot of two minutes with a JVM in it, the checks, and as much again twice
/// over. Shorter, and a slow image stops a good rollback; longer, and nobody hears that the old version does not work either.
pub const CANARY_WITHIN: Duration = Duration::from_secs(600);
/// For a whole run, unless the person says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(1800);
/// Tries to read the facts before the plan, when the cloud is in a bad way.
const SURVEYS: u32 = 6;

/// Everything outside that a rollback speaks to.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// Groups.
    pub scaling: &'a dyn AutoScaling,
    /// What launches need.
    pub compute: &'a dyn Compute,
    /// Who asks, and what they may do.
    pub caller: &'a dyn Caller,
    /// Load balancers.
    pub balancing: &'a dyn LoadBalancing,
    /// The service that users reach.
    pub service: &'a dyn Service,
    /// Time.
    pub clock: &'a dyn Clock,
    /// The record.
    pub journal: &'a Journal,
    /// Who watches.
    pub sink: &'a dyn Sink,
    /// Asks to stop after the call in flight.
    pub cancel: &'a CancellationToken,
    /// Of the jitter.
    pub seed: u64,
}

/// Whether a URL answers.
#[async_trait]
pub trait Service: Send + Sync {
    /// `Ok` for 2xx and 3xx; what came instead otherwise.
    async fn ask(&self, url: &str) -> Result<(), String>;
}

/// How a rollback has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All promises were seen to hold.
    Done(Report),
    /// Nothing was changed.
    Refused(Refused),
    /// Stopped at something that passes; the same command goes on.
    Paused(Report),
    /// Stopped at something a person has to mend first; then the same command goes on.
    Failed(Report),
    /// The facts could not be read; nothing was changed.
    Blind(cloud::Error),
}

impl Outcome {
    /// The command's exit code: 0 done, 1 failed, 2 refused, 3 paused.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Done(_) => 0,
            Self::Failed(_) | Self::Blind(_) => 1,
            Self::Refused(_) => 2,
            Self::Paused(_) => 3,
        }
    }
}

impl From<Report> for Outcome {
    fn from(report: Report) -> Self {
        let mut stops = report.clusters.iter().filter_map(|c| c.stop.as_ref()).peekable();
        if stops.peek().is_none() {
            Self::Done(report)
        } else if stops.all(advance::Stop::is_pause) {
            Self::Paused(report)
        } else {
            Self::Failed(report)
        }
    }
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPlan {
    /// There should be none.
    Refused(Refused),
    /// The facts could not be read.
    Blind(cloud::Error),
}

impl From<NoPlan> for Outcome {
    fn from(none: NoPlan) -> Self {
        match none {
            NoPlan::Refused(refused) => Self::Refused(refused),
            NoPlan::Blind(error) => Self::Blind(error),
        }
    }
}

/// Reads the facts and makes the plan. Changes nothing.
///
/// # Errors
/// See [`NoPlan`].
pub async fn prepare(world: &World<'_>, request: &Request) -> Result<(Plan, Facts), NoPlan> {
    let facts = look(world, request).await.map_err(NoPlan::Blind)?;
    let plan = plan::plan(request, &facts, world.clock.now().wall).map_err(NoPlan::Refused)?;
    Ok((plan, facts))
}

/// Reads the facts that a plan is made from.
///
/// # Errors
/// The cloud's, once the tries are used up.
pub async fn look(world: &World<'_>, request: &Request) -> cloud::Result<Facts> {
    let mut jitter = Pcg32::seed_from_u64(world.seed);
    let mut tries = 0;
    loop {
        tries += 1;
        match read(world, request).await {
            Ok(facts) => return Ok(facts),
            Err(error) if error.is_retryable() && tries < SURVEYS && !world.cancel.is_cancelled() => {
                world.sink.tell(&Event::Trouble { text: error.to_string() });
                sleep(execute::pause(tries, &mut jitter)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Prepares and carries out, without asking anybody.
pub async fn run(world: &World<'_>, request: &Request) -> Outcome {
    match prepare(world, request).await {
        Ok((plan, facts)) => execute(world, &plan, facts).await.into(),
        Err(none) => none.into(),
    }
}

async fn read(world: &World<'_>, request: &Request) -> cloud::Result<Facts> {
    let asked = world.clock.now();
    let mut facts = facts::survey(world.scaling, &request.application, world.seed).await?;
    facts.surveyed = Some(asked);
    let involved = plan::involved(request, &facts);
    let restored = plan::restored(request, &facts);
    let held: Vec<Group> = involved.iter().filter_map(|name| facts.group(name)).cloned().collect();
    let ahead = Ahead { scaling: world.scaling, compute: world.compute, caller: world.caller };
    let (closer, (policies, supply)) = futures::join!(
        facts::look_closer(world.scaling, world.balancing, &mut facts, &involved, world.seed),
        facts::supply::look_ahead(ahead, &restored, &held, world.seed)
    );
    closer?;
    (facts.policies, facts.supply) = (policies, supply);
    Ok(facts)
}
