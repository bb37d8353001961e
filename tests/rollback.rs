//! Named states of an application, each with the plan or the refusals it leads to. `tests/rollback/plans.txt` is what a person has read and agreed to;
//! where this build says something else, the whole of what it says is left in `target/tmp/plans.txt`, to be read before it is taken over.

#[path = "rollback/states.rs"]
mod states;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use bellrock::model::Timestamp;
use bellrock::rollback::Facts;
use bellrock::rollback::Refusal;
use bellrock::rollback::Request;
use bellrock::rollback::plan::plan;

/// `== name`, then the lines of its plan.
fn read(text: &str) -> BTreeMap<String, String> {
    let parts = text.split("== ").skip(1).filter_map(|part| part.split_once('\n'));
    parts.map(|(name, lines)| (name.to_owned(), lines.trim().to_owned())).collect()
}

/// The judgement alone, without its words: who, from what to what, and which codes.
fn said(request: &Request, facts: &Facts, now: Timestamp) -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| writeln!(text, "{words}").expect("a string takes it");
    let findings = match plan(request, facts, now) {
        Ok(plan) => {
            for cluster in &plan.clusters {
                let way = serde_json::to_value(cluster.way).expect("a word");
                let singleton = if cluster.singleton { " singleton" } else { "" };
                line(format_args!("{}: {}{singleton}, generation {}", cluster.cluster, way.as_str().unwrap_or("?"), cluster.generation));
                for group in cluster.groups() {
                    let role = if group.name == cluster.restore.name { "restore" } else { "retire" };
                    let names = |list: &mut dyn Iterator<Item = &bellrock::model::Process>| {
                        let names = list.map(|p| p.as_str()).collect::<Vec<_>>().join("+");
                        if names.is_empty() { "-".to_owned() } else { names }
                    };
                    let (before, after) = (&group.before, &group.after);
                    let sizes = format!("{} > {} > {}", before.capacity, group.during, after.capacity);
                    let suspended = format!("{} > {}", names(&mut before.suspended.iter()), names(&mut after.suspended.iter()));
                    line(format_args!("  {role} {}: {sizes}; {suspended}; freezes {}", group.name, names(&mut group.frozen.iter())));
                    if !group.kept.is_empty() {
                        line(format_args!("  keep {}", bellrock::rollback::kept::text(&group.kept)));
                    }
                }
                if let Some(canary) = &cluster.canary {
                    line(format_args!("  canary: {} for {} s at most", canary.sizes, canary.within.as_secs()));
                }
                for group in &cluster.bystanders {
                    line(format_args!("  hold {group}"));
                }
            }
            plan.findings
        }
        Err(refused) => {
            for refusal in &refused.refusals {
                line(format_args!("refused: {}", refusal.code()));
                if let Refusal::CannotLaunch { causes, .. } = &refusal {
                    let codes: Vec<&str> = causes.iter().map(|cause| cause.code().trim_start_matches("preflight-")).collect();
                    line(format_args!("  causes: {}", codes.join(", ")));
                }
            }
            refused.findings
        }
    };
    if !findings.is_empty() {
        let codes: Vec<&str> = findings.iter().map(|f| f.code().trim_start_matches("preflight-")).collect();
        line(format_args!("  findings: {}", codes.join(", ")));
    }
    text.trim().to_owned()
}

#[test]
fn every_state_leads_to_the_plan_that_was_agreed_to() {
    let states = states::all();
    assert!(states.len() >= 60, "{} states", states.len());
    let agreed =
        read(&std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rollback/plans.txt")).expect("it is there"));
    let (mut all, mut wrong) = (String::new(), Vec::new());
    for state in &states {
        let said = said(&state.request, &state.facts, states::NOW);
        writeln!(all, "== {}\n{said}\n", state.name).expect("a string takes it");
        match agreed.get(state.name) {
            Some(lines) if *lines == said => {}
            Some(lines) => wrong.push(format!("{}\nagreed:\n{lines}\nsaid:\n{said}\n", state.name)),
            None => wrong.push(format!("{} is agreed nowhere; said:\n{said}\n", state.name)),
        }
    }
    let names: Vec<&str> = states.iter().map(|s| s.name).collect();
    wrong.extend(agreed.keys().filter(|name| !names.contains(&name.as_str())).map(|name| format!("{name}: no such state")));
    if !wrong.is_empty() {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plans.txt");
        std::fs::write(&path, all).expect("it can be written");
        panic!("{} states are planned otherwise than agreed; all of them are in {}\n{}", wrong.len(), path.display(), wrong.join("\n"));
    }
}

#[test]
fn what_is_planned_anew_in_the_middle_leads_to_the_same_end() {
    for state in states::all() {
        let Ok(first) = plan(&state.request, &state.facts, states::NOW) else { continue };
        let mut facts = state.facts.clone();
        for cluster in &first.clusters {
            for group in cluster.groups() {
                states::change(&mut facts, &group.name, |g| {
                    states::hold(g, &state.request, cluster.generation, group);
                    g.capacity = group.during;
                    g.suspended.extend(group.frozen.iter().map(|p| (p.clone(), String::new())));
                });
            }
        }
        let again = plan(&state.request, &facts, states::NOW).unwrap_or_else(|refused| panic!("{}: {refused:?}", state.name));
        for (one, other) in first.clusters.iter().zip(&again.clusters) {
            // A singleton's newest group that has gone cannot be put back any more: its undoing is a rollback by then.
            if one.way != other.way {
                continue;
            }
            let ends =
                |c: &bellrock::rollback::plan::ClusterPlan| c.groups().map(|g| (g.name.clone(), g.after.clone())).collect::<Vec<_>>();
            assert_eq!(ends(one), ends(other), "{}", state.name);
            assert_eq!((one.count, one.generation), (other.count, other.generation), "{}", state.name);
        }
    }
}
