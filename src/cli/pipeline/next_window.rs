//! `bellrock pipeline next-window`: when the stages of a pipeline that have an execution window may begin.

use std::fmt::Write;
use std::path::PathBuf;

use super::Standpoint;
use super::document;
use super::document::Windowed;
use crate::cli::Context;
use crate::cli::Exit;
use crate::cli::Failure;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The time is the first at which the window is open by the clock of its zone, over days that are not listed and over \
    clocks that jump. The zone is the window's `timezone`, else the pipeline's, else --tz.\n\n\
    Examples:\n  \
    bellrock pipeline next-window examples/nightly.json\n  \
    bellrock pipeline next-window deploy.json --at 2026-03-29T00:30:00Z --tz Europe/Berlin"
)]
pub(super) struct Args {
    /// A pipeline as JSON.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    standpoint: Standpoint,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let definition = document::sound(&args.file)?;
    let windows = document::windows(&definition, &args.standpoint);
    context.print(|| text(&windows), &windows)?;
    Ok(Exit::Done)
}

fn text(windows: &[Windowed]) -> String {
    if windows.is_empty() {
        return "no stage has an execution window".into();
    }
    let mut text = String::new();
    for window in windows {
        let _ = writeln!(text, "[{}] {}: {}", window.ref_id, window.name, window.text());
    }
    text
}
