//! `bellrock drain`: asks the agent on this host to drain and retire its instance.

use std::path::PathBuf;

use super::Context;
use super::Exit;
use super::Failure;
use super::agent_client::Agent;
use super::status;
use crate::host::clock::SystemClock;
use crate::http::views;

#[derive(Debug, clap::Args)]
#[command(after_help = "The agent closes intake, waits until nothing executes, and ends the instance; the group shrinks by one.\n\
    `bellrock undrain` calls it off until then.\n\n\
    Examples:\n  \
    bellrock drain --reason 'kernel update'\n  \
    bellrock drain --reason 'host is broken' --force")]
pub(super) struct Args {
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// End the instance although work is in flight: what it executes is lost.
    #[arg(long)]
    force: bool,
    /// The agent's socket [default: http.socket of the configuration].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    super::runtime()?.block_on(async {
        let agent = Agent::connect(args.socket, context).await?;
        let after = agent.order("drain", &views::Drain { reason: args.reason, force: args.force }).await?;
        status::print(&after, context, &SystemClock::start())?;
        Ok(Exit::Done)
    })
}
