//! `bellrock pipeline …`: what people do with pipelines. Those that need no engine (`check`, `next-window`, `eval`) have a file each; `run`
//! brings its own; those that ask an agent's engine are together by subject: definitions, starting and watching, orders to an execution.
//!
//! To add one: a line in [`What`], a line in [`run()`], and its `Args` where its subject is.

mod api;
mod check;
mod definitions;
mod document;
mod eval;
mod next_window;
mod orders;
mod parameters;
mod progress;
mod run;
mod triggers;
mod watch;

use std::io::Write;

use jiff::tz::TimeZone;

use super::Context;
use super::Exit;
use super::Failure;
use crate::model::Timestamp;
use crate::orchestrator::engine::window;

/// Help of commands that end as their pipeline does.
macro_rules! with_statuses {
    ($help:literal) => {
        concat!(
            "Exit codes: 0 SUCCEEDED, 4 TERMINAL, 5 CANCELED, 6 STOPPED, 7 FAILED_CONTINUE; 3 it goes on and was only left; ",
            "1 it could not be followed, 2 refused.\n\n",
            $help
        )
    };
}
use with_statuses;

#[derive(Debug, clap::Args)]
#[command(after_help = with_statuses!("Examples:\n  \
    bellrock pipeline check examples/*.json\n  \
    bellrock pipeline run examples/smoke-test.json\n  \
    bellrock pipeline save examples/release.json\n  \
    bellrock pipeline start shop release --param version=1.2.0 --wait"))]
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
    /// Run a pipeline here and now, without an agent.
    Run(run::Args),
    /// Save a pipeline in the agent's store.
    Save(definitions::SaveArgs),
    /// List the pipelines in the store.
    List(definitions::ListArgs),
    /// List the versions of a pipeline: who saved what, and when.
    History(definitions::HistoryArgs),
    /// Show what changed between two versions of a pipeline.
    Diff(definitions::DiffArgs),
    /// Go back to an earlier version of a pipeline.
    Revert(definitions::RevertArgs),
    /// Start a stored pipeline.
    Start(watch::StartArgs),
    /// Follow an execution to its end.
    Watch(watch::WatchArgs),
    /// Answer a manual judgment.
    Judge(orders::JudgeArgs),
    /// Call an execution off.
    Cancel(orders::CancelArgs),
    /// Hold an execution.
    Pause(orders::PauseArgs),
    /// Let a held execution go on.
    Resume(orders::ResumeArgs),
    /// Run a stage again, and what is downstream of it.
    Restart(orders::RestartArgs),
    /// Skip a stage that has not ended.
    Skip(orders::SkipArgs),
    /// Show cron triggers that are late and wait for a person, or decide on them.
    Triggers(triggers::TriggersArgs),
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    match args.what {
        What::Check(args) => check::run(args, context),
        What::NextWindow(args) => next_window::run(args, context),
        What::Eval(args) => eval::run(args, context),
        What::Run(args) => run::run(args, context),
        What::Save(args) => wait(definitions::save(args, context)),
        What::List(args) => wait(definitions::list(args, context)),
        What::History(args) => wait(definitions::history(args, context)),
        What::Diff(args) => wait(definitions::diff(args, context)),
        What::Revert(args) => wait(definitions::revert(args, context)),
        What::Start(args) => wait(watch::start(args, context)),
        What::Watch(args) => wait(watch::watch(args, context)),
        What::Judge(args) => wait(orders::judge(args, context)),
        What::Cancel(args) => wait(orders::cancel(args, context)),
        What::Pause(args) => wait(orders::pause(args, context)),
        What::Resume(args) => wait(orders::resume(args, context)),
        What::Restart(args) => wait(orders::restart(args, context)),
        What::Skip(args) => wait(orders::skip(args, context)),
        What::Triggers(args) => wait(triggers::triggers(args, context)),
    }
}

fn wait(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    super::runtime()?.block_on(work)
}

/// Tells a person something beside the answer.
fn say(text: &str) {
    // When stderr is gone there is nobody to tell.
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("write NAME=VALUE".to_owned()),
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
