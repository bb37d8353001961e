//! `bellrock pipeline …`: what authors of pipelines do with them. One file per subcommand; those that need no engine are here first.
//!
//! To add one: a file here, a line in [`What`], a line in [`run`].

mod check;
mod document;
mod eval;
mod next_window;

use jiff::tz::TimeZone;

use super::Context;
use super::Exit;
use super::Failure;
use crate::model::Timestamp;
use crate::orchestrator::engine::window;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bellrock pipeline check examples/*.json\n  \
    bellrock pipeline next-window examples/nightly.json --at 2026-11-23T12:00:00Z\n  \
    bellrock pipeline eval 'replicas * 2' --context values.json")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List everything that is wrong with pipelines, and draw those that are sound; exit 2 if one is not.
    Check(check::Args),
    /// Say when the stages with an execution window may begin.
    NextWindow(next_window::Args),
    /// Evaluate an expression over an execution or any JSON.
    Eval(eval::Args),
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    match args.what {
        What::Check(args) => check::run(args, context),
        What::NextWindow(args) => next_window::run(args, context),
        What::Eval(args) => eval::run(args, context),
    }
}

/// When and where to look at execution windows from.
#[derive(Debug, clap::Args)]
struct Standpoint {
    /// Look from this time instead of now (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,
    /// Time zone of windows and pipelines that name none.
    #[arg(long, value_name = "ZONE", default_value = window::DEFAULT_ZONE, value_parser = zone)]
    tz: TimeZone,
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "write a time such as 2026-11-22T16:00:00+01:00".into())
}

fn zone(name: &str) -> Result<TimeZone, String> {
    window::zone(name).map_err(|e| e.to_string())
}
