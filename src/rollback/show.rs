//! Plan and outcome as text for people.

use std::fmt::Write;

use comfy_table::ContentArrangement;
use comfy_table::Table;
use comfy_table::presets;

use super::Outcome;
use super::plan::ClusterPlan;
use super::plan::Finding;
use super::plan::GroupPlan;
use super::plan::Plan;
use super::plan::Refusal;
use super::plan::Way;
use super::report::Report;
use crate::cloud;
use crate::cloud::Kind;
use crate::cloud::NO_CREDENTIALS_NOW;
use crate::model::Process;

/// A table as people see it: as wide as the terminal where there is one, else as wide as it is.
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    table
}

/// The plan: each group before → after, then what a person should know.
pub fn plan(plan: &Plan) -> String {
    let mut table = table(["cluster", "server group", "", "min/desired/max", "suspended", "instances"]);
    table.add_rows(rows(plan));
    let mut text = format!("Rollback of {} by {}\n{table}\n", plan.request.application, plan.request.owner);
    for cluster in &plan.clusters {
        let order = match cluster.way {
            Way::PutBack => "put back as it was found",
            Way::Rollback | Way::Forward if cluster.singleton => "retired first, then restored",
            Way::Rollback | Way::Forward => "restored and healthy first, then retired",
        };
        let _ = writeln!(text, "{}: {order}; generation {}", cluster.cluster, cluster.generation);
        for note in &cluster.notes {
            let _ = writeln!(text, "  {note}");
        }
        let frozen: std::collections::BTreeSet<&Process> = cluster.groups().flat_map(|g| &g.frozen).collect();
        if !frozen.is_empty() && cluster.way != Way::PutBack {
            let names: Vec<&str> = frozen.into_iter().map(Process::as_str).collect();
            let _ = writeln!(text, "  {} suspended meanwhile, and then as found", names.join(", "));
        }
        if cluster.restore.during != cluster.restore.after.capacity {
            let _ = writeln!(
                text,
                "  min is pinned to {} while restoring, {} afterwards",
                cluster.restore.during.min, cluster.restore.after.capacity.min
            );
        }
        if !cluster.backends.is_empty() {
            let names: Vec<String> = cluster.backends.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "  healthy behind {}", names.join(", "));
        }
    }
    for url in &plan.request.service_urls {
        let _ = writeln!(text, "{url} has to answer in the end");
    }
    for note in &plan.notes {
        let _ = writeln!(text, "{note}");
    }
    text + &findings(&plan.findings)
}

/// What may spoil it, and what to do about each.
pub fn findings(findings: &[Finding]) -> String {
    let of = |finding: &Finding| {
        let (code, severity) = (finding.code(), finding.severity());
        format!("{severity}: [{code}] {finding}\n  next: {} (runbooks/{code}.md)\n", finding.next_step())
    };
    findings.iter().map(of).collect()
}

/// Each group before → after: cluster, server group, what, sizes, suspended processes, instances.
pub fn rows(plan: &Plan) -> Vec<[String; 6]> {
    let of = |cluster: &ClusterPlan| {
        let goes = if cluster.way == Way::PutBack { "keep" } else { "retire" };
        let retired = cluster.retire.iter().map(|group| row(cluster, group, goes));
        std::iter::once(row(cluster, &cluster.restore, "restore")).chain(retired).collect::<Vec<_>>()
    };
    plan.clusters.iter().flat_map(of).collect()
}

fn row(cluster: &ClusterPlan, group: &GroupPlan, what: &str) -> [String; 6] {
    let (before, after) = (&group.before, &group.after);
    let suspended = |list: &std::collections::BTreeSet<Process>| match list.len() {
        0 => "-".to_owned(),
        _ => list.iter().map(Process::as_str).collect::<Vec<_>>().join(" "),
    };
    let arrow = |from: String, to: String| if from == to { from } else { format!("{from} → {to}") };
    [
        cluster.cluster.clone(),
        group.name.to_string(),
        what.to_owned(),
        arrow(before.capacity.to_string(), after.capacity.to_string()),
        arrow(suspended(&before.suspended), suspended(&after.suspended)),
        group.members.to_string(),
    ]
}

/// Why nothing was done.
pub fn refusals(refusals: &[Refusal]) -> String {
    let mut text = "Refused; nothing was changed.\n".to_owned();
    for refusal in refusals {
        let code = refusal.code();
        let _ = writeln!(text, "[{code}] {refusal}\n  next: {} (runbooks/{code}.md)", refusal.next_step());
    }
    text
}

/// How a run has ended, and the command that continues it.
pub fn outcome(outcome: &Outcome, again: &str) -> String {
    match outcome {
        Outcome::Done(report) => format!("Done{}", report_text(report)),
        Outcome::Refused(refused) => refusals(&refused.refusals) + &findings(&refused.findings),
        Outcome::Paused(report) => format!("Paused{}To go on: {again}\n", report_text(report)),
        Outcome::Failed(report) => format!("Failed{}When that is mended: {again}\n", report_text(report)),
        Outcome::Blind(error) => {
            format!("The facts could not be read; nothing was changed.\n{}", blind(error))
        }
    }
}

/// What the cloud did not tell, and what to do about it.
pub fn blind(error: &cloud::Error) -> String {
    format!("[rollback-blind] {error}\n  next: {} (runbooks/rollback-blind.md)\n", blind_next(error))
}

/// What the person can do next about facts that could not be read.
pub fn blind_next(error: &cloud::Error) -> &'static str {
    match (error.code.as_str(), error.kind) {
        ("NoRegion", _) => "name one with --region, or with --profile a profile that has one",
        ("NoCredentials", _) => "log in (`aws sso login`), or name a profile that has credentials with --profile",
        _ if error.message.starts_with(NO_CREDENTIALS_NOW) => {
            "log in anew (`aws sso login`, with the --profile that is used here), or try again where a role is attached"
        }
        (_, Kind::Denied) => "log in anew (`aws sso login`), choose another --profile, or let the role make this call",
        (_, Kind::Throttled | Kind::Unavailable | Kind::TimedOut | Kind::Conflict) => "try again; check --region and --endpoint",
        (_, Kind::Gone | Kind::Refused | Kind::Bug) => "check --region and --endpoint; what AWS says is above",
    }
}

fn report_text(report: &Report) -> String {
    let mut text = format!(" after {:.0} s and {} changes.\n", report.took.as_secs_f64(), report.changes);
    for line in &report.verified {
        let _ = writeln!(text, "  verified: {line}");
    }
    for cluster in &report.clusters {
        let Some(stop) = &cluster.stop else { continue };
        let code = stop.code();
        let _ = writeln!(text, "[{code}] {}: {stop} (runbooks/{code}.md)", cluster.cluster);
        for line in &cluster.left {
            let _ = writeln!(text, "  left: {line}");
        }
    }
    text
}
