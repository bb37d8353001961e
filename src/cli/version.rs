//! `bellrock version`.

use super::Context;
use super::Exit;
use super::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: Args, context: &Context) -> Result<Exit, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    context.print(|| format!("bellrock {version}"), &serde_json::json!({ "name": "bellrock", "version": version }))?;
    Ok(Exit::Done)
}
