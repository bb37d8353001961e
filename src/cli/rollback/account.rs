//! How a run has ended, for the shell, for programs, for the incident's document and for whoever is notified.

use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::args;
use super::args::Args;
use super::timeline::Timeline;
use crate::cli::Context;
use crate::cli::Exit;
use crate::cli::Failure;
use crate::model::Capacity;
use crate::model::GroupName;
use crate::model::Timestamp;
use crate::rollback::Outcome;
use crate::rollback::Plan;
use crate::rollback::Refusal;
use crate::rollback::Report;
use crate::rollback::Request;
use crate::rollback::advance::Stop;
use crate::rollback::markdown;
use crate::rollback::show;

/// One region of a run.
pub(super) struct Part<'a> {
    pub(super) region: String,
    pub(super) plan: Option<Plan>,
    /// `None` when it was not begun.
    pub(super) outcome: Option<Outcome>,
    /// Changes may have been made.
    pub(super) begun: bool,
    pub(super) journal: Option<PathBuf>,
    pub(super) timeline: Arc<Timeline<'a>>,
}

/// How far a run came as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing was changed, because there was no plan.
    NoPlan,
    /// Nothing was changed, because that was asked.
    DryRun,
    /// At least one region was begun.
    Ran,
}

/// What is left to do once all was said here.
pub(super) struct Told {
    pub(super) exit: Exit,
    /// For those elsewhere: the event, and a text.
    pub(super) notice: Option<(&'static str, String)>,
}

/// What is told in the end, and the file it is appended to.
pub(super) struct Account<'a> {
    request: &'a Request,
    again: String,
    /// Shows what taking it back would do.
    back: Option<String>,
    begun: Timestamp,
    report: Option<File>,
}

impl<'a> Account<'a> {
    pub(super) fn open(args: &Args, request: &'a Request, begun: Timestamp) -> Result<Self, Failure> {
        let report = args.report.as_ref().map(|path| {
            OpenOptions::new().create(true).append(true).open(path).map_err(|e| {
                Failure::refused("rollback-report", format!("cannot write {}; nothing was changed", path.display()))
                    .because(&e)
                    .help("name another file with --report FILE, or leave it out")
            })
        });
        Ok(Self { request, again: args::again(args, request), back: args::back(args, request), begun, report: report.transpose()? })
    }

    pub(super) fn tell(&self, context: &Context, ending: Ending, parts: &[Part<'_>], ended: Timestamp) -> Result<Told, Failure> {
        let (word, exit) = match ending {
            Ending::DryRun => ("dry_run", Exit::Done),
            Ending::NoPlan | Ending::Ran => verdict(ending, parts),
        };
        let goes_on = self.goes_on(parts);
        let again = (ending == Ending::Ran && exit != Exit::Done).then_some(goes_on.as_str());
        if ending != Ending::DryRun {
            self.write(parts, ended);
        }
        context.print(|| self.text(ending, parts), &document(word, parts, again))?;
        let notice = (ending == Ending::Ran).then(|| match again {
            None => ("end", format!("Rollback of {} by {} is done. {}", self.request.application, self.request.owner, lines(parts))),
            Some(again) => {
                ("pause", format!("Rollback of {} has stopped: {word}. {} To go on: {again}", self.request.application, lines(parts)))
            }
        });
        Ok(Told { exit, notice })
    }

    /// The command that does what is left to do.
    fn goes_on(&self, parts: &[Part<'_>]) -> String {
        let reports = parts.iter().filter_map(|part| match &part.outcome {
            Some(Outcome::Paused(report) | Outcome::Failed(report)) => Some(report),
            Some(Outcome::Done(_) | Outcome::Refused(_) | Outcome::Blind(_)) | None => None,
        });
        let stops: Vec<&Stop> = reports.flat_map(|report| &report.clusters).filter_map(|cluster| cluster.stop.as_ref()).collect();
        let next = |stop: &&Stop| if let Stop::NotBegun { next, .. } = stop { Some(next.clone()) } else { None };
        // What goes on with the unfinished finds nothing where nothing is.
        stops
            .iter()
            .map(next)
            .collect::<Option<Vec<_>>>()
            .filter(|all| !all.is_empty())
            .map_or_else(|| self.again.clone(), |all| all.join(" && "))
    }

    fn text(&self, ending: Ending, parts: &[Part<'_>]) -> String {
        let again = self.goes_on(parts);
        let of = |part: &Part<'_>| match (&part.outcome, &part.plan) {
            (Some(outcome), _) => show::outcome(outcome, &again),
            (None, Some(plan)) if ending == Ending::DryRun => show::plan(plan),
            (None, _) => format!("Not begun. To go on: {}\n", self.again),
        };
        let mut text = match parts {
            [part] => of(part),
            parts => parts.iter().map(|part| format!("{}\n{}", part.region, of(part))).collect(),
        };
        let stopped = parts.iter().any(|part| part.begun && matches!(part.outcome, Some(Outcome::Paused(_) | Outcome::Failed(_))));
        if let Some(back) = self.back.as_ref().filter(|_| stopped) {
            text.push_str(&format!("To take it back: {back} (without --dry-run once you have read the plan)\n"));
        }
        if ending == Ending::DryRun {
            text.push_str("\nDry run; nothing was changed.\n");
        }
        text
    }

    /// What was done is done: that it cannot be written down is said, and changes nothing.
    fn write(&self, parts: &[Part<'_>], ended: Timestamp) {
        let Some(mut file) = self.report.as_ref() else { return };
        let again = self.goes_on(parts);
        let timelines: Vec<_> = parts.iter().map(|part| part.timeline.events()).collect();
        let parts = parts.iter().zip(&timelines).map(|(part, timeline)| markdown::Part {
            region: &part.region,
            plan: part.plan.as_ref(),
            outcome: part.outcome.as_ref(),
            timeline,
            journal: part.journal.as_ref().map(|path| path.display().to_string()),
        });
        let (application, owner) = (self.request.application.as_str(), self.request.owner.as_str());
        let account = markdown::Account { application, owner, begun: self.begun, ended, parts: parts.collect(), again: &again };
        let text = markdown::document(&account) + "\n";
        if let Err(e) = file.write_all(text.as_bytes()).and_then(|()| file.sync_data()) {
            let _ = writeln!(anstream::stderr(), "[rollback-report] the report cannot be written: {e} (runbooks/rollback-report.md)");
        }
    }
}

/// A region without a plan stops all, but for one that has nothing to do beside others: an earlier run may have finished it.
pub(super) fn has_no_plan(parts: &[Part<'_>]) -> bool {
    parts.iter().all(|part| part.plan.is_none()) || parts.iter().filter_map(|part| part.outcome.as_ref()).any(|outcome| !is_idle(outcome))
}

/// There is nothing to roll back, to go on with or to undo, or not any more.
pub(super) fn is_idle(outcome: &Outcome) -> bool {
    let nothing = |r: &Refusal| matches!(r, Refusal::NothingToDo { .. } | Refusal::NothingToResume { .. } | Refusal::NothingToUndo { .. });
    matches!(outcome, Outcome::Refused(why) if why.refusals.iter().all(nothing))
}

/// What will be done, region by region.
pub(super) fn plans(parts: &[Part<'_>]) -> String {
    let of = |part: &Part<'_>| part.plan.as_ref().map_or_else(|| "nothing to do\n".to_owned(), show::plan);
    match parts {
        [part] => of(part),
        parts => parts.iter().map(|part| format!("{}\n{}\n", part.region, of(part))).collect(),
    }
}

/// Which groups get which sizes: what a person agreed to.
pub(super) fn targets(plan: &Plan) -> Vec<(GroupName, Capacity)> {
    plan.clusters.iter().flat_map(|c| std::iter::once(&c.restore).chain(&c.retire)).map(|g| (g.name.clone(), g.after.capacity)).collect()
}

/// The run was dropped: what was begun has stopped somewhere.
pub(super) fn dropped(parts: &mut [Part<'_>]) {
    for part in parts.iter_mut().filter(|part| part.begun && part.outcome.is_none()) {
        part.outcome = Some(Outcome::Paused(Report { clusters: Vec::new(), took: Duration::ZERO, changes: 0, verified: Vec::new() }));
    }
}

/// For those elsewhere, before the first change.
pub(super) fn begins(request: &Request, parts: &[Part<'_>]) -> String {
    let of = |part: &Part<'_>| {
        let clusters = part.plan.iter().flat_map(|plan| &plan.clusters);
        let each = clusters.map(|c| format!("{} comes back with {}", c.restore.name, c.count)).collect::<Vec<_>>().join(", ");
        format!("{}: {each}.", part.region)
    };
    let all: Vec<String> = parts.iter().filter(|part| part.plan.is_some()).map(of).collect();
    format!("Rollback of {} by {} begins. {}", request.application, request.owner, all.join(" "))
}

/// A sentence a region.
fn lines(parts: &[Part<'_>]) -> String {
    let of = |part: &Part<'_>| match &part.outcome {
        Some(Outcome::Done(report)) => format!("{}: {}.", part.region, report.verified.join("; ")),
        Some(Outcome::Paused(report) | Outcome::Failed(report)) => {
            let stops =
                report.clusters.iter().filter_map(|c| Some(format!("{} [{}] {}", c.cluster, c.stop.as_ref()?.code(), c.stop.as_ref()?)));
            format!("{}: {}.", part.region, stops.collect::<Vec<_>>().join("; "))
        }
        Some(Outcome::Refused(why)) => {
            format!("{}: refused: {}.", part.region, why.refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
        Some(Outcome::Blind(error)) => format!("{}: {error}.", part.region),
        None => format!("{}: not begun.", part.region),
    };
    parts.iter().map(of).collect::<Vec<_>>().join(" ")
}

/// The worst that has happened: its word, and the exit code.
fn verdict(ending: Ending, parts: &[Part<'_>]) -> (&'static str, Exit) {
    let any = |is: fn(&Outcome) -> bool| parts.iter().filter_map(|part| part.outcome.as_ref()).any(is);
    if any(|o| matches!(o, Outcome::Failed(_))) {
        ("failed", Exit::Failed)
    } else if any(|o| matches!(o, Outcome::Blind(_))) {
        ("blind", Exit::Failed)
    } else if ending == Ending::NoPlan {
        ("refused", Exit::Refused)
    } else if any(|o| matches!(o, Outcome::Paused(_))) || parts.iter().any(|part| part.plan.is_some() && !part.begun) {
        ("paused", Exit::Paused)
    } else {
        ("done", Exit::Done)
    }
}

fn outcome_word(part: &Part<'_>) -> &'static str {
    match part.outcome {
        None => "not_begun",
        Some(Outcome::Done(_)) => "done",
        Some(Outcome::Refused(_)) => "refused",
        Some(Outcome::Paused(_)) => "paused",
        Some(Outcome::Failed(_)) => "failed",
        Some(Outcome::Blind(_)) => "blind",
    }
}

/// For programs: the one region's facts, or a list of them.
fn document(word: &str, parts: &[Part<'_>], again: Option<&str>) -> Value {
    let of = |part: &Part<'_>| {
        let (report, reasons) = match &part.outcome {
            Some(Outcome::Done(report) | Outcome::Failed(report) | Outcome::Paused(report)) => (Some(report), Value::Null),
            Some(Outcome::Refused(refused)) => (None, json!(refused.refusals)),
            Some(Outcome::Blind(error)) => {
                (None, json!([{ "code": "rollback-blind", "message": error.to_string(), "next": show::blind_next(error) }]))
            }
            None => (None, Value::Null),
        };
        let mut region = json!({ "region": part.region, "plan": part.plan, "report": report, "reasons": reasons, "journal": part.journal });
        if let Some(Outcome::Refused(refused)) = &part.outcome {
            region["findings"] = json!(refused.findings);
        }
        region
    };
    let mut document = match parts {
        [part] => of(part),
        parts => {
            let regions = parts.iter().map(|part| {
                let mut region = of(part);
                region["outcome"] = outcome_word(part).into();
                region
            });
            json!({ "regions": regions.collect::<Vec<_>>() })
        }
    };
    document["outcome"] = word.into();
    document["continue"] = again.into();
    document
}
