//! `bellrock drill`: the main job, seen on a simulated region. Needs no AWS and no Redis.

mod live;

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anstream::eprintln;

use super::Context;
use super::Exit;
use super::Failure;
use super::Output;
use crate::drill;
use crate::drill::Figures;
use crate::drill::Nobody;
use crate::drill::Piece;
use crate::drill::Plant;
use crate::drill::Report;
use crate::drill::Scenario;
use crate::drill::Summary;
use crate::host::clock::SystemClock;
use crate::model::Clock;

/// Without a terminal, between two words of how far many plays have come.
const SAID_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bellrock drill redeploy                           watch a redeploy, a virtual minute a second\n  \
    bellrock drill redeploy --orchestrator endpoint   the same where another orchestrator runs the work\n  \
    bellrock drill crash --seed 7 --speed 0           as fast as it goes\n  \
    bellrock drill storm --seeds 0..1000 --output json\n  \
    bellrock drill --seeds 0..100                     every scenario, on every orchestrator it is for\n\n\
    Exit codes: 0 every invariant was kept in every play, 1 not.")]
pub(super) struct Args {
    /// What to play; see --list [default: redeploy, or all of them with --seeds].
    scenario: Option<String>,
    /// Who runs the work: embedded, the agent's own engine; endpoint, another orchestrator beside it [default: what the scenario is for].
    #[arg(long, value_name = "KIND", value_parser = ["embedded", "endpoint"])]
    orchestrator: Option<String>,
    /// Seed of one play.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Many plays, in virtual time, on all cores: from A up to, not including, B. Without a scenario, each seed plays all of them.
    #[arg(long, value_name = "A..B", value_parser = range, conflicts_with_all = ["seed", "speed"])]
    seeds: Option<Range<u64>>,
    /// Virtual seconds per real second; 0 = as fast as it goes [default: 60 in a terminal, else 0].
    #[arg(long, value_name = "FACTOR")]
    speed: Option<f64>,
    /// List the scenarios.
    #[arg(long)]
    list: bool,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let wanted = || "wanted a range such as 0..1000".to_owned();
    let (from, to) = text.split_once("..").ok_or_else(wanted)?;
    let range = from.trim().parse().map_err(|_| wanted())?..to.trim().parse().map_err(|_| wanted())?;
    if range.is_empty() { Err("the range is empty".to_owned()) } else { Ok(range) }
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    if args.list {
        let on = |s: &Scenario| s.orchestrators().iter().map(|o| o.name()).collect::<Vec<_>>();
        let list: Vec<_> =
            Scenario::ALL.iter().map(|(s, what)| serde_json::json!({ "name": s.name(), "shows": what, "orchestrators": on(s) })).collect();
        let text = || Scenario::ALL.iter().fold(String::new(), |all, (s, what)| all + &format!("{:<18}{what}\n", s.name()));
        context.print(text, &list)?;
        return Ok(Exit::Done);
    }
    if context.env.get("RUST_LOG").is_some_and(|filter| !filter.is_empty()) {
        context.start_log(crate::config::Log { level: crate::config::Level::Info, format: crate::config::Format::Text });
    }
    let named = args.scenario.as_deref().map(scenario).transpose()?;
    match (args.seeds, named) {
        (Some(seeds), None) => {
            let kept = |piece: &Piece| args.orchestrator.as_deref().is_none_or(|name| piece.orchestrator.name() == name);
            let pieces: Vec<Piece> = Piece::all().into_iter().filter(kept).collect();
            let summaries = many(&pieces, &seeds)?;
            let passed = summaries.iter().all(|summary| summary.failed.is_empty());
            let text = || summaries.iter().map(total).collect::<String>();
            context.print(text, &serde_json::json!({ "verdict": if passed { "pass" } else { "fail" }, "scenarios": summaries }))?;
            Ok(if passed { Exit::Done } else { Exit::Failed })
        }
        (Some(seeds), Some(scenario)) => {
            let piece = piece(scenario, args.orchestrator.as_deref())?;
            let summary = many(&[piece], &seeds)?.remove(0);
            context.print(|| summary_text(&summary), &summary)?;
            Ok(if summary.failed.is_empty() { Exit::Done } else { Exit::Failed })
        }
        (None, named) => {
            let piece = piece(named.unwrap_or(Scenario::Redeploy), args.orchestrator.as_deref())?;
            one(piece, args.seed, args.speed, context)
        }
    }
}

fn scenario(name: &str) -> Result<Scenario, Failure> {
    Scenario::of(name).ok_or_else(|| {
        let names: Vec<&str> = Scenario::ALL.iter().map(|(s, _)| s.name()).collect();
        Failure::refused("drill-scenario", format!("there is no scenario {name:?}")).help(format!("one of: {}", names.join(", ")))
    })
}

fn piece(scenario: Scenario, orchestrator: Option<&str>) -> Result<Piece, Failure> {
    let Some(name) = orchestrator else { return Ok(Piece::from(scenario)) };
    let on = scenario.orchestrators();
    let piece = on.iter().find(|o| o.name() == name).and_then(|o| Piece::on(scenario, *o));
    piece.ok_or_else(|| {
        let names: Vec<&str> = on.iter().map(|o| o.name()).collect();
        Failure::refused("drill-scenario", format!("{} is not played on an {name} orchestrator", scenario.name()))
            .help(format!("leave --orchestrator out, or give one of: {}", names.join(", ")))
    })
}

fn one(piece: Piece, seed: u64, speed: Option<f64>, context: &Context) -> Result<Exit, Failure> {
    let report = if context.output == Output::Json {
        runtime()?.block_on(drill::run(piece, seed, &mut Nobody, Plant::default()))
    } else {
        let mut live = live::Live::new(piece.scenario, seed, speed);
        let report = runtime()?.block_on(drill::run(piece, seed, &mut live, Plant::default()));
        live.end();
        report
    };
    context.print(|| text(&report), &report)?;
    Ok(if report.passed { Exit::Done } else { Exit::Failed })
}

fn many(pieces: &[Piece], seeds: &Range<u64>) -> Result<Vec<Summary>, Failure> {
    let bar = indicatif::ProgressBar::new((seeds.end - seeds.start).saturating_mul(pieces.len() as u64));
    // Where there is no terminal to show a bar on, a line now and then: a night of all scenarios takes an hour.
    let (clock, said) = (SystemClock::start(), Mutex::new(Duration::ZERO));
    let told = |report: &Report| {
        bar.inc(1);
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.now().mono;
        if bar.is_hidden() && now - *said >= SAID_EVERY {
            *said = now;
            eprintln!("{} of {} plays", bar.position(), bar.length().unwrap_or_default());
        }
        drop(said);
        let Piece { scenario, orchestrator } = report.piece;
        for broken in report.invariants.iter().filter(|i| !i.held) {
            let trace = broken.trace.as_deref().unwrap_or_default();
            bar.suspend(|| eprintln!("{}, {}, seed {}: {} broken: {trace}", scenario.name(), orchestrator.name(), report.seed, broken.id));
        }
    };
    let summaries = drill::run_many(pieces, seeds, &told).map_err(|e| Failure::new("runtime", "a play could not be run").because(&e))?;
    bar.finish_and_clear();
    Ok(summaries)
}

/// A runtime whose clock moves when there is nothing left to do at its time.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|e| Failure::new("runtime", "the process cannot get the threads or file descriptors it needs").because(&e))
}

fn text(report: &Report) -> String {
    let mut text = String::from("\n");
    for invariant in &report.invariants {
        let mark = if invariant.held { "held  " } else { "BROKEN" };
        let _ = writeln!(text, "  {mark}  {:<4}{}", invariant.id, invariant.promise);
        if let Some(trace) = &invariant.trace {
            let _ = writeln!(text, "              {trace}");
        }
    }
    text.push('\n');
    figures(&mut text, &report.figures);
    let verdict = if report.passed { "pass" } else { "fail" };
    let _ = writeln!(
        text,
        "verdict: {verdict}   (scenario {}, {} orchestrator, seed {})",
        report.piece.scenario.name(),
        report.piece.orchestrator.name(),
        report.seed
    );
    text
}

fn summary_text(summary: &Summary) -> String {
    let mut text = String::new();
    figures(&mut text, &summary.figures);
    text + &total(summary)
}

/// What came of all plays of a piece, and how those that failed are seen again.
fn total(summary: &Summary) -> String {
    let mut text = String::new();
    let Piece { scenario, orchestrator } = summary.piece;
    let Summary { seeds, passed, failed, figures, .. } = summary;
    let _ =
        write!(text, "{}, {} orchestrator: {seeds} seeds, {passed} passed, {} failed", scenario.name(), orchestrator.name(), failed.len());
    if matches!(scenario, Scenario::SickOrchestrator | Scenario::SickFleet | Scenario::SickStore) {
        let _ = write!(text, "; {} restarts, at most {} of a group at once", figures.restarts, figures.restarts_at_once);
    }
    text.push('\n');
    for seed in &summary.failed {
        let _ = writeln!(text, "  bellrock drill {} --orchestrator {} --seed {seed}", scenario.name(), orchestrator.name());
    }
    text
}

fn figures(text: &mut String, figures: &Figures) {
    let e = &figures.executions;
    let _ = writeln!(
        text,
        "executions          {} started, {} finished, {} lost ({} to agents)",
        e.started, e.finished, e.lost, e.lost_to_agents
    );
    let _ = writeln!(
        text,
        "instances retired   {}, with {} decrements; longest drain {}",
        figures.instances_retired,
        figures.decrements,
        minutes(figures.longest_drain_s)
    );
    if figures.effects > 0 {
        let _ = writeln!(
            text,
            "effects             {} begun; {} executions taken over from an owner that was gone, {} jobs lost with a machine",
            figures.effects, figures.adopted, figures.lost_jobs
        );
    }
    if figures.machines_fallen > 0 {
        let _ = writeln!(text, "machines fallen     {}", figures.machines_fallen);
    }
    if figures.agent_crashes > 0 {
        let _ = writeln!(text, "agent crashes       {}", figures.agent_crashes);
    }
    if figures.restarts > 0 {
        let _ = writeln!(
            text,
            "restarts            {} of orchestrators, at most {} of a group at once",
            figures.restarts, figures.restarts_at_once
        );
    }
    if figures.permits > 0 {
        let _ = writeln!(text, "permits to heal     {} granted, at most {} of a group at once", figures.permits, figures.permits_at_once);
    }
    for (code, count) in &figures.heal_held {
        let _ = writeln!(text, "healing held        {count} × {code} (runbooks/{code}.md)");
    }
    for (code, count) in &figures.held {
        let _ = writeln!(text, "held at the end     {count} × {code} (runbooks/{code}.md)");
    }
    if let Some(rollback) = &figures.rollback {
        let _ = writeln!(text, "rollback            {rollback}");
    }
    let _ = writeln!(text, "virtual time        {}", minutes(figures.virtual_s));
    let calls: Vec<String> = figures.calls.iter().map(|(action, count)| format!("{action} {count}")).collect();
    let _ = writeln!(text, "AWS calls           {}", calls.join("\n                    "));
}

fn minutes(seconds: u64) -> String {
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}
