//! Pipeline documents in files: read within bounds, checked against this build, and the windows in them looked at.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;

use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use super::Standpoint;
use crate::cli::Failure;
use crate::host::clock::SystemClock;
use crate::model::Clock;
use crate::model::Timestamp;
use crate::orchestrator::engine::definition;
use crate::orchestrator::engine::definition::Checked;
use crate::orchestrator::engine::definition::Definition;
use crate::orchestrator::engine::definition::Rules;
use crate::orchestrator::engine::problem::Problem;
use crate::orchestrator::engine::stage::Registry;
use crate::orchestrator::engine::window::Opening;
use crate::orchestrator::engine::window::Window;
use crate::orchestrator::runner::definitions::folder;

/// A stage that waits for its window.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Windowed {
    /// Place of the stage in the document.
    #[serde(skip)]
    pub at: usize,
    /// Its reference id.
    pub ref_id: String,
    /// Its name.
    pub name: String,
    /// Zone that the window is read in.
    pub zone: String,
    /// It is open.
    pub open: bool,
    /// First instant at which it is, RFC 3339 with the zone's offset; `null` when only a run will tell.
    pub opens: Option<String>,
    #[serde(skip)]
    shown: String,
}

impl Windowed {
    /// For people: when it opens.
    pub(super) fn text(&self) -> String {
        format!("{} ({})", self.shown, self.zone)
    }
}

/// Reads a document and checks it against this build.
pub(super) fn check(path: &Path) -> Checked {
    match read(path) {
        Ok(bytes) => checked(path, bytes),
        Err(e) => Checked { definition: None, problems: vec![Problem::error("", format!("cannot be read: {e}"))] },
    }
}

fn checked(path: &Path, bytes: Vec<u8>) -> Checked {
    match folder::as_json(path, bytes) {
        Ok(bytes) => definition::check(&bytes, Rules::of(&Registry::standard())),
        Err(problem) => Checked { definition: None, problems: vec![problem] },
    }
}

/// Reads a file, or stdin for `-`.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let source: Box<dyn Read> = if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that too much is noticed.
    source.take(definition::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a file that cannot be done without.
fn readable(path: &Path) -> Result<Vec<u8>, Failure> {
    read(path).map_err(|e| {
        Failure::refused("pipeline-wrong", format!("{} cannot be read", path.display())).because(&e).help("name a file, or - for stdin")
    })
}

/// A definition that may run, or everything that forbids it.
pub(super) fn sound(path: &Path) -> Result<Definition, Failure> {
    let checked = checked(path, readable(path)?);
    checked.definition.ok_or_else(|| {
        let what = format!("{} is no pipeline that could run", path.display());
        let mut failure = Failure::refused("pipeline-wrong", what).help("`bellrock pipeline check` lists the warnings too");
        failure.causes = checked.problems.iter().filter(|problem| problem.is_error()).map(Problem::to_string).collect();
        failure
    })
}

/// Any JSON object, within the same bounds.
pub(super) fn object(path: &Path) -> Result<Map<String, Value>, Failure> {
    let what = || Failure::refused("pipeline-wrong", format!("{} cannot be used", path.display()));
    let bytes = readable(path)?;
    if bytes.len() > definition::MAX_BYTES {
        return Err(what().help(format!("it has more than {} bytes", definition::MAX_BYTES)));
    }
    let bytes = folder::as_json(path, bytes).map_err(|problem| what().help(problem.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|e| what().because(&e).help("it must hold one JSON object"))
}

/// The windows of a definition, and when they open.
pub(super) fn windows(definition: &Definition, standpoint: &Standpoint) -> Vec<Windowed> {
    let now = standpoint.at.unwrap_or_else(|| SystemClock::start().now().wall);
    let mut windows = Vec::new();
    for (at, stage) in definition.stages().into_iter().enumerate() {
        if stage.context.get("restrictExecutionDuringTimeWindow") != Some(&Value::Bool(true)) {
            continue;
        }
        let window = stage.context.get("restrictedExecutionWindow").map(Window::parse);
        // What does not parse holds expressions: the definition was checked.
        let window = window.and_then(Result::ok);
        let zone = window.as_ref().map_or(&standpoint.tz, |window| window.zone(&standpoint.tz)).clone();
        let opening = window.and_then(|window| window.next_opening(now, &zone).ok());
        let time = opening.and_then(|opening| zoned(opening.time(now), &zone));
        let shown = match (opening, &time) {
            (Some(Opening::Now), _) => "open now".to_owned(),
            (Some(Opening::At(_)), Some(time)) => time.strftime("opens %a %F %H:%M:%S %:z").to_string(),
            (Some(Opening::At(_)) | None, _) => "depends on expressions".to_owned(),
        };
        windows.push(Windowed {
            at,
            ref_id: stage.ref_id,
            name: stage.name,
            zone: zone.iana_name().unwrap_or("UTC").to_owned(),
            open: opening == Some(Opening::Now),
            opens: time.map(|time| time.strftime("%FT%T%:z").to_string()),
            shown,
        });
    }
    windows
}

fn zoned(time: Timestamp, zone: &jiff::tz::TimeZone) -> Option<jiff::Zoned> {
    jiff::Timestamp::from_millisecond(time.0).ok().map(|time| time.to_zoned(zone.clone()))
}
