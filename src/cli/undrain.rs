//! `bellrock undrain`: asks the agent on this host to call its drain off and take work again.

use std::path::PathBuf;

use super::Context;
use super::Exit;
use super::Failure;
use super::agent_client::Agent;
use super::status;
use crate::host::clock::SystemClock;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  bellrock undrain\n  bellrock undrain --output json")]
pub(super) struct Args {
    /// The agent's socket [default: http.socket of the configuration].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    super::runtime()?.block_on(async {
        let agent = Agent::connect(args.socket, context).await?;
        let after = agent.order("undrain", &serde_json::json!({})).await?;
        status::print(&after, context, &SystemClock::start())?;
        Ok(Exit::Done)
    })
}
