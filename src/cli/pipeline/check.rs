//! `bellrock pipeline check`: every problem of every file, and the picture of those without errors.

use std::fmt::Write;
use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use super::Standpoint;
use super::document;
use super::document::Windowed;
use crate::cli::Context;
use crate::cli::Exit;
use crate::cli::Failure;
use crate::orchestrator::engine::definition::graph::Graph;
use crate::orchestrator::engine::problem::Problem;
use crate::orchestrator::engine::problem::Severity;
use crate::orchestrator::runner::definitions::folder;

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 no errors (there may be warnings), 2 a file has an error.\n\n\
    Examples:\n  \
    bellrock pipeline check deploy.json\n  \
    bellrock pipeline check /etc/bellrock/pipelines\n  \
    bellrock pipeline check pipelines/*.json --output json | jq '.[] | select(.problems != [])'")]
pub(super) struct Args {
    /// Pipelines as JSON or, by their ending, YAML, one a file; or directories of them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    standpoint: Standpoint,
}

/// What is to be said about a file.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    problems: Vec<Problem>,
    windows: Vec<Windowed>,
    /// Reference ids by level; empty when the file has errors.
    levels: Vec<Vec<String>>,
    #[serde(skip)]
    picture: String,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let files: Vec<PathBuf> = args.files.iter().map(|file| under(file)).collect::<Result<Vec<_>, _>>()?.concat();
    let reports: Vec<Report> = files.iter().map(|file| report(file, &args.standpoint)).collect();
    context.print(|| reports.iter().map(text).collect::<Vec<_>>().join("\n"), &reports)?;
    let sound = reports.iter().all(|report| !report.problems.iter().any(Problem::is_error));
    Ok(if sound { Exit::Done } else { Exit::Refused })
}

/// The pipelines of a directory, or the file itself.
fn under(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |e| Failure::refused("pipeline-wrong", format!("{} cannot be read", path.display())).because(&e);
    let mut files = folder::files(path).map_err(failed)?;
    files.sort();
    Ok(files)
}

fn report(file: &Path, standpoint: &Standpoint) -> Report {
    let checked = document::check(file);
    let windows = checked.definition.as_ref().map(|definition| document::windows(definition, standpoint)).unwrap_or_default();
    let graph = checked.definition.as_ref().and_then(|definition| definition.graph().ok());
    let levels = |graph: &Graph| {
        let ids = |level: &Vec<usize>| level.iter().map(|at| graph.nodes()[*at].ref_id.clone()).collect();
        graph.levels().iter().map(ids).collect()
    };
    let remark = |at: usize| {
        let window = windows.binary_search_by_key(&at, |window| window.at).ok();
        window.map(|found| format!("window: {}", windows[found].text()))
    };
    Report {
        file: file.display().to_string(),
        levels: graph.as_ref().map(levels).unwrap_or_default(),
        picture: graph.as_ref().map(|graph| graph.text(remark)).unwrap_or_default(),
        problems: checked.problems,
        windows,
    }
}

fn text(report: &Report) -> String {
    let count = |severity: Severity| report.problems.iter().filter(|problem| problem.severity == severity).count();
    let counted = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let verdict = match (count(Severity::Error), count(Severity::Warning)) {
        (0, 0) => "in order".to_owned(),
        (0, warnings) => counted(warnings, "warning"),
        (errors, 0) => counted(errors, "error"),
        (errors, warnings) => format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")),
    };
    let mut text = format!("{}: {verdict}\n", report.file);
    for problem in &report.problems {
        let word = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let _ = writeln!(text, "  {word:<7} {problem}");
    }
    text.push_str(&report.picture);
    text
}
