//! `bellrock job-supervisor`: the process between the agent and a command of a `runJob` stage. Started by the agent, never by people.

use std::path::PathBuf;

use super::Context;
use super::Exit;
use super::Failure;
use crate::orchestrator::runner::effects::job::supervisor;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of the job.
    folder: PathBuf,
}

pub(super) fn run(args: &Args, _: &Context) -> Result<Exit, Failure> {
    let ran = super::runtime()?.block_on(supervisor::run(&args.folder));
    ran.map(|()| Exit::Done).map_err(|e| Failure::new("job-supervisor", "the job could not be supervised").because(&e))
}
