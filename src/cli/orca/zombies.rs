//! What a look for zombies found, for people and for programs; `bellrock doctor` shows it too.

use std::fmt::Write;

use serde_json::Value;
use serde_json::json;

use crate::orchestrator::orca::Findings;
use crate::orchestrator::orca::execution::Execution;

/// What was found, or why nothing was.
pub(in crate::cli) struct Report {
    pub(super) found: Result<Findings, String>,
    /// `--config FILE ` of this command, for those it names.
    pub(super) options: String,
}

impl Report {
    /// All was looked at, and each execution is worked on.
    pub(super) fn is_clean(&self) -> bool {
        self.found.as_ref().is_ok_and(|found| found.zombies.is_empty() && found.unsure.is_empty() && found.notes.is_empty())
    }

    /// For people.
    pub(in crate::cli) fn text(&self) -> String {
        let found = match &self.found {
            Ok(found) => found,
            Err(problem) => return format!("[orca-unseen] {problem} (runbooks/orca-unseen.md)\n"),
        };
        let Findings { running, messages, zombies, unsure, notes } = found;
        let mut text = format!("Orca: executions running {running}, messages in its queue {messages}, zombies {}\n", zombies.len());
        for zombie in zombies {
            let _ = writeln!(text, "[orca-zombies] {}: nobody works on it (runbooks/orca-zombies.md)", whom(&zombie.execution));
            for line in &zombie.evidence {
                let _ = writeln!(text, "  {line}");
            }
            let [rehydrate, cancel] = self.mend(&zombie.execution);
            let _ = writeln!(text, "  to have it go on:   {rehydrate}\n  to end it for good: {cancel}");
        }
        for of in unsure {
            let _ = writeln!(
                text,
                "[orca-unseen] {}: nobody knows whether it is worked on: {} (runbooks/orca-unseen.md)",
                whom(&of.execution),
                of.why
            );
        }
        for note in notes {
            let _ = writeln!(text, "[orca-unseen] {note} (runbooks/orca-unseen.md)");
        }
        text
    }

    /// For programs.
    pub(in crate::cli) fn json(&self) -> Value {
        match &self.found {
            Err(problem) => json!({ "problem": problem }),
            Ok(found) => {
                let mut value = json!(found);
                for (shown, zombie) in value["zombies"].as_array_mut().into_iter().flatten().zip(&found.zombies) {
                    shown["mend"] = json!(self.mend(&zombie.execution));
                }
                value
            }
        }
    }

    fn mend(&self, execution: &Execution) -> [String; 2] {
        ["rehydrate", "force-cancel"].map(|how| format!("bellrock orca {how} {}{}", self.options, execution.id))
    }
}

/// An execution as people name it.
pub(super) fn whom(execution: &Execution) -> String {
    let Execution { id, kind, application, name, .. } = execution;
    let name = name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
    format!("{kind} {id} of {}{name}", if application.is_empty() { "no application" } else { application })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::orca::execution::Kind;
    use crate::orchestrator::orca::zombie::Unsure;
    use crate::orchestrator::orca::zombie::Zombie;

    fn execution(id: &str) -> Execution {
        Execution {
            id: id.to_owned(),
            kind: Kind::Pipeline,
            application: "shop".to_owned(),
            name: Some("release".to_owned()),
            partition: None,
            last: None,
            stands: Vec::new(),
        }
    }

    #[test]
    fn a_zombie_is_told_with_its_evidence_and_the_commands_that_mend_it() {
        let zombie = Zombie {
            execution: execution("01A"),
            since: "2026-01-02T03:04:05.000Z".to_owned(),
            evidence: vec!["no message of it".to_owned()],
        };
        let unsure = Unsure { execution: execution("01B"), why: "its record has no time".to_owned() };
        let found = Findings { running: 2, messages: 7, zombies: vec![zombie], unsure: vec![unsure], notes: Vec::new() };
        let report = Report { found: Ok(found), options: "--config /o.toml ".to_owned() };
        assert_eq!(
            report.text(),
            "Orca: executions running 2, messages in its queue 7, zombies 1\n\
             [orca-zombies] pipeline 01A of shop \"release\": nobody works on it (runbooks/orca-zombies.md)\n  \
             no message of it\n  \
             to have it go on:   bellrock orca rehydrate --config /o.toml 01A\n  \
             to end it for good: bellrock orca force-cancel --config /o.toml 01A\n\
             [orca-unseen] pipeline 01B of shop \"release\": nobody knows whether it is worked on: its record has no time (runbooks/orca-unseen.md)\n"
        );
        let json = report.json();
        assert_eq!(json["zombies"][0]["mend"][0], "bellrock orca rehydrate --config /o.toml 01A");
        assert_eq!((&json["zombies"][0]["id"], &json["zombies"][0]["kind"]), (&json!("01A"), &json!("pipeline")));
        assert!(!report.is_clean());
    }

    #[test]
    fn what_was_not_looked_at_is_not_clean() {
        let report = |found| Report { found, options: String::new() };
        assert!(report(Ok(Findings::default())).is_clean());
        assert!(!report(Ok(Findings { notes: vec!["cut".to_owned()], ..Findings::default() })).is_clean());
        let blind = report(Err("Orca's store was not read: refused".to_owned()));
        assert!(!blind.is_clean() && blind.text().starts_with("[orca-unseen] Orca's store was not read"));
    }
}
