//! A run for the incident's document, in Markdown: what was planned, when what was changed under which AWS request, what was seen to be true. *Pure.*
//!
//! What must stay true: it says nothing that the journal and the report do not; text from outside cannot break out of its cell.

use std::fmt::Write;

use super::Outcome;
use super::advance::Stage;
use super::plan::Finding;
use super::plan::Plan;
use super::report::Event;
use super::show;
use crate::model::Timestamp;

/// One run, of one region or of several.
#[derive(Clone, Debug)]
pub struct Account<'a> {
    /// What was rolled back.
    pub application: &'a str,
    /// By whom.
    pub owner: &'a str,
    /// When the run began.
    pub begun: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Each region, in the order in which they were gone through.
    pub parts: Vec<Part<'a>>,
    /// The command that goes on.
    pub again: &'a str,
}

/// What happened in one region.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// The region's name, where it is known.
    pub region: &'a str,
    /// The plan, if there was one.
    pub plan: Option<&'a Plan>,
    /// How it ended; `None` when it was not begun.
    pub outcome: Option<&'a Outcome>,
    /// What was told on the way, oldest first.
    pub timeline: &'a [(Timestamp, Event)],
    /// Where its journal is.
    pub journal: Option<String>,
}

/// The account as a document of its own.
pub fn document(account: &Account<'_>) -> String {
    let mut text = format!("# Rollback of {}\n\n| | |\n|---|---|\n", cell(account.application));
    row(&mut text, &["by", account.owner]);
    row(&mut text, &["begun", &account.begun.to_string()]);
    row(&mut text, &["ended", &account.ended.to_string()]);
    for part in &account.parts {
        row(&mut text, &["outcome", &format!("{}: {}", part.region, outcome_word(part.outcome))]);
        if let Some(journal) = &part.journal {
            row(&mut text, &["journal", journal]);
        }
    }
    for part in &account.parts {
        tell(&mut text, part, account.again);
    }
    text
}

fn tell(text: &mut String, part: &Part<'_>, again: &str) {
    let _ = writeln!(text, "\n## {}: {}", part.region, outcome_word(part.outcome));
    match part.outcome {
        Some(Outcome::Refused(refused)) => {
            text.push('\n');
            refused.refusals.iter().for_each(|r| item(text, &format!("`{}` {r}; next: {}", r.code(), r.next_step())));
            found(text, &refused.findings);
        }
        Some(Outcome::Blind(error)) => item(text, &format!("`rollback-blind` {error}")),
        Some(Outcome::Done(_) | Outcome::Paused(_) | Outcome::Failed(_)) | None => {}
    }
    if let Some(plan) = part.plan {
        planned(text, plan);
    }
    if !part.timeline.is_empty() {
        text.push_str("\n### Timeline\n\n| time | cluster | what | AWS request |\n|---|---|---|---|\n");
        part.timeline.iter().for_each(|(at, event)| moment(text, *at, event));
    }
    let (report, open) = match part.outcome {
        Some(Outcome::Done(report)) => (report, false),
        Some(Outcome::Paused(report) | Outcome::Failed(report)) => (report, true),
        Some(Outcome::Refused(_) | Outcome::Blind(_)) | None => return,
    };
    text.push_str("\n### Verified\n\n");
    match report.verified.is_empty() {
        true => text.push_str("Nothing yet.\n"),
        false => report.verified.iter().for_each(|line| item(text, line)),
    }
    if !open {
        return;
    }
    text.push_str("\n### Left to do\n\n");
    for cluster in &report.clusters {
        let Some(stop) = &cluster.stop else { continue };
        item(text, &format!("{}: `{}` {stop}", cluster.cluster, stop.code()));
        cluster.left.iter().for_each(|line| item(text, line));
    }
    let _ = writeln!(text, "\nTo go on:\n\n    {}", one_line(again));
}

fn planned(text: &mut String, plan: &Plan) {
    text.push_str("\n### Plan\n\n| cluster | server group | | min/desired/max | suspended | instances |\n|---|---|---|---|---|---|\n");
    for cells in show::rows(plan) {
        row(text, &cells.each_ref().map(String::as_str));
    }
    text.push('\n');
    for cluster in &plan.clusters {
        cluster.notes.iter().for_each(|note| item(text, &format!("{}: {note}", cluster.cluster)));
    }
    plan.notes.iter().for_each(|note| item(text, note));
    found(text, &plan.findings);
}

fn found(text: &mut String, findings: &[Finding]) {
    findings.iter().for_each(|f| item(text, &format!("{}: `{}` {f}; next: {}", f.severity(), f.code(), f.next_step())));
}

fn moment(text: &mut String, at: Timestamp, event: &Event) {
    let at = at.to_string();
    match event {
        Event::Stage { cluster, stage: Stage::Done } => row(text, &[&at, cluster, "done", ""]),
        Event::Stage { cluster, stage } => row(text, &[&at, cluster, &format!("stage {}", word(*stage)), ""]),
        Event::Step { cluster, step, error, request_id } => {
            let what = error.as_ref().map_or_else(|| step.clone(), |error| format!("{step}: failed: {error}"));
            row(text, &[&at, cluster, &what, request_id.as_deref().unwrap_or_default()]);
        }
        Event::Waiting { cluster, text: what, .. } => row(text, &[&at, cluster, &format!("waiting for {what}"), ""]),
        Event::Stopped { cluster, code, text: why } => row(text, &[&at, cluster, &format!("stopped: {code}: {why}"), ""]),
        Event::Trouble { text: what } => row(text, &[&at, "", what, ""]),
    }
}

/// As it is in JSON.
fn word(stage: Stage) -> String {
    serde_json::to_value(stage).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

fn outcome_word(outcome: Option<&Outcome>) -> String {
    match outcome {
        None => "not begun".to_owned(),
        Some(Outcome::Refused(_)) => "refused, nothing was changed".to_owned(),
        Some(Outcome::Blind(_)) => "the facts could not be read, nothing was changed".to_owned(),
        Some(Outcome::Done(report) | Outcome::Paused(report) | Outcome::Failed(report)) => {
            let how = match outcome {
                Some(Outcome::Done(_)) => "done",
                Some(Outcome::Paused(_)) => "paused",
                Some(Outcome::Failed(_) | Outcome::Refused(_) | Outcome::Blind(_)) | None => "failed",
            };
            format!("{how} after {:.0} s and {} changes", report.took.as_secs_f64(), report.changes)
        }
    }
}

fn row(text: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|text| cell(text)).collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn item(text: &mut String, what: &str) {
    let _ = writeln!(text, "- {}", one_line(what));
}

fn cell(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
