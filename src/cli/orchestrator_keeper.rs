//! `bellrock orchestrator-keeper`: the process between the agent and an orchestrator of kind `process`. Started by the agent, never by people.

use std::path::PathBuf;

use super::Context;
use super::Exit;
use super::Failure;
use crate::orchestrator::process::keeper;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of the orchestrator.
    folder: PathBuf,
}

pub(super) fn run(args: &Args, _: &Context) -> Result<Exit, Failure> {
    // It lives as long as the orchestrator and does little: one thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new("runtime", "the keeper cannot get the file descriptors it needs").because(&e))?;
    let kept = runtime.block_on(keeper::run(&args.folder));
    // A journal that stands still must not hold the process.
    runtime.shutdown_background();
    kept.map(|()| Exit::Done).map_err(|e| Failure::new("orchestrator-keeper", "the orchestrator could not be looked after").because(&e))
}
