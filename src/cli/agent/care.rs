//! An orchestrator whose process the agent looks after: put together from the configuration, with what runs beside the loop for it.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::chain;
use crate::host::journal;
use crate::model::Clock;
use crate::model::InstanceId;
use crate::orchestrator::Orchestrator;
use crate::orchestrator::endpoint;
use crate::orchestrator::endpoint::Endpoint;
use crate::orchestrator::process;
use crate::orchestrator::process::Kept;
use crate::orchestrator::supervised;
use crate::orchestrator::supervised::Budget;
use crate::orchestrator::supervised::Charge;
use crate::orchestrator::supervised::Report;
use crate::orchestrator::supervised::Supervised;
use crate::orchestrator::unit;
use crate::orchestrator::unit::Unit;

/// Where it is looked after.
pub(super) struct Care<'a> {
    /// Seeds the jitter.
    pub(super) own: &'a InstanceId,
    /// The agent's directory.
    pub(super) state_dir: &'a Path,
    /// The agent's environment.
    pub(super) env: &'a BTreeMap<String, String>,
    pub(super) clock: Arc<dyn Clock>,
    /// What `status` shows.
    pub(super) report: watch::Sender<Option<Report>>,
    /// Counts reloads: what waits is tried at once.
    pub(super) again: watch::Receiver<u64>,
    /// Ends the care, and nothing else.
    pub(super) stop: CancellationToken,
}

/// What runs beside the loop.
pub(super) type Upkeep = Pin<Box<dyn Future<Output = ()> + Send>>;
type Tended = (Arc<dyn Orchestrator>, Upkeep);

/// A command under its keeper.
///
/// # Errors
/// What cannot work on this host; for people.
pub(super) fn process(settings: &process::Settings, care: Care<'_>) -> Result<Tended, String> {
    let program = std::env::current_exe().map_err(|e| format!("this program cannot find itself: {e}"))?;
    let env: Vec<_> = care.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let to_journal = journal::is_stderr(care.env.get("JOURNAL_STREAM").map(String::as_str));
    let folder = supervised::folder(care.state_dir);
    let kept = Kept::new(settings.clone(), folder, program, env, to_journal).map_err(|e| chain(&e))?;
    let endpoint = reach(&settings.endpoint, &care)?;
    Ok(tend(endpoint, kept, settings.budget, care))
}

/// A unit of systemd's.
///
/// # Errors
/// What cannot work on this host; for people.
pub(super) fn unit(settings: &unit::Settings, care: Care<'_>) -> Result<Tended, String> {
    let endpoint = reach(&settings.endpoint, &care)?;
    let unit = Unit::new(settings.unit.clone(), endpoint.clone(), settings.endpoint.command_timeout, care.clock.clone());
    Ok(tend(endpoint, unit, settings.budget, care))
}

fn reach(settings: &endpoint::Settings, care: &Care<'_>) -> Result<Arc<Endpoint>, String> {
    Endpoint::new(settings.clone(), care.own, care.clock.clone()).map(Arc::new).map_err(|e| e.to_string())
}

fn tend(endpoint: Arc<Endpoint>, charge: impl Charge, budget: Budget, care: Care<'_>) -> Tended {
    let Care { own, state_dir, clock, report, again, stop, .. } = care;
    let folder = supervised::folder(state_dir);
    let supervised = Arc::new(Supervised::new(endpoint, charge, budget, folder, own.as_str(), clock, report));
    let tended = supervised.clone();
    (supervised, Box::pin(async move { tended.run(stop, again).await }))
}
