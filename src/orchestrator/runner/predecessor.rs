//! What a process that starts makes of the session that the one before it on this host left behind.
//!
//! What must stay true: an execution with a job that outlived that process is due for nobody else until this process had time to claim it: elsewhere the
//! job would count as lost, here it is attached to. All else that session owned is due at once, for anybody.
//!
//! How it fails: a process that does not come back before its lease ends loses that claim; then the execution is adopted by whoever comes first. Over a line
//! that loses calls it tries again, and what keeps the jobs' executions for it keeps all else from others meanwhile: better late than a job lost.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing::warn;

use super::Memory;
use super::Shared;
use super::pause::Pause;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::store::Session;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::StoreError;
use crate::orchestrator::store::Then;
use crate::orchestrator::store::Write;
use crate::orchestrator::store::WriteError;

/// What is kept for this host is due for others after so long: time enough to begin a session and claim.
const KEPT: Duration = Duration::from_secs(10);

/// What the store tells at once of what a session owns.
const OWNED_PAGE: usize = 1_000;

/// Ends the last session of this host. What is to be claimed first; nothing when told to stop.
///
/// # Errors
/// The memory of sessions cannot be read.
pub(super) async fn bury(
    shared: &Shared,
    memory: &Memory,
    lease: Duration,
    stop: &CancellationToken,
) -> Result<BTreeSet<ExecutionId>, String> {
    let mut first = BTreeSet::new();
    let Some(session) = memory.recall().map_err(|error| format!("the last session cannot be read: {error}"))? else { return Ok(first) };
    let outlived = shared.performer.outlived();
    let mut pause = Pause::new(0);
    while let Err(error) = settle(&*shared.store, &session, &outlived, lease, &mut first).await {
        if pause.is_first() {
            warn!(%error, process = session.process, "the store does not answer; the session of the last process cannot be ended yet");
        }
        // Safe to cancel: all of it may be done again.
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(BTreeSet::new()),
            () = pause.wait() => {}
        }
    }
    info!(process = session.process, kept = first.len(), "the session of the last process on this host is ended; what it owned is due");
    Ok(first)
}

/// Keeps for this host what outlived the session's process, then ends the session. `kept` grows also when it fails halfway.
async fn settle(
    store: &dyn Store,
    session: &Session,
    outlived: &BTreeSet<ExecutionId>,
    lease: Duration,
    kept: &mut BTreeSet<ExecutionId>,
) -> Result<(), StoreError> {
    match keep_ours(store, session, outlived, lease, kept).await {
        // What it owned is not as it was; what was kept before that may be.
        Ok(()) | Err(StoreError::LostData(_)) => store.end_session(session).await,
        Err(error) => Err(error),
    }
}

async fn keep_ours(
    store: &dyn Store,
    session: &Session,
    outlived: &BTreeSet<ExecutionId>,
    lease: Duration,
    kept: &mut BTreeSet<ExecutionId>,
) -> Result<(), StoreError> {
    if !outlived.is_empty() {
        let ours: Vec<ExecutionId> = owned(store, session).await?.into_iter().filter(|id| outlived.contains(id)).collect();
        // Only a session that is alive comes to own, be it what it owns already.
        if !ours.is_empty() && store.beat(session, lease).await? {
            for id in ours {
                if keep(store, session, &id).await? {
                    kept.insert(id);
                }
            }
        }
    }
    Ok(())
}

async fn owned(store: &dyn Store, session: &Session) -> Result<Vec<ExecutionId>, StoreError> {
    let mut all: Vec<ExecutionId> = Vec::new();
    loop {
        let page = store.owned(session, all.last(), OWNED_PAGE).await?;
        let full = page.len() >= OWNED_PAGE;
        all.extend(page);
        if !full {
            return Ok(all);
        }
    }
}

/// Gives it back so that it is due for others a little later. False when somebody else owns it by now.
async fn keep(store: &dyn Store, session: &Session, id: &ExecutionId) -> Result<bool, StoreError> {
    let Some(claimed) = store.claim_one(session, id).await? else { return Ok(false) };
    let then = Then::Park { due: Some(store.now().await?.plus(KEPT)) };
    let write = Write {
        lease: claimed.lease,
        number: 1,
        set: vec![],
        remove: vec![],
        stage_index: None,
        listing: None,
        taken: 0,
        notices: vec![],
        then,
    };
    match store.write(write).await {
        Ok(()) => Ok(true),
        Err(WriteError::Fenced) => Ok(false),
        Err(WriteError::Store(error)) => Err(error),
    }
}
