//! `bellrock pipeline triggers`: cron triggers that are late after an outage and wait for a person.

use reqwest::Method;
use serde_json::json;

use super::api::Api;
use super::api::Target;
use crate::cli::Context;
use crate::cli::Exit;
use crate::cli::Failure;
use crate::http::api::triggers::HeldTriggers;
use crate::http::api::triggers::TriggerDecision;
use crate::http::api::triggers::Word;
use crate::model::Timestamp;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "After an outage, more late triggers than orchestrator.polling_safeguard wait until somebody decides; those in time fire \
    meanwhile.\n\n\
    Examples:\n  \
    bellrock pipeline triggers\n  \
    bellrock pipeline triggers fire\n  \
    bellrock pipeline triggers drop --output json"
)]
pub(super) struct TriggersArgs {
    /// Decide: each fires once, or none does and its next time counts. Without it, those that wait are shown.
    #[arg(value_enum)]
    decision: Option<Answer>,
    #[command(flatten)]
    target: Target,
}

/// What a person decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Answer {
    Fire,
    Drop,
}

pub(super) async fn triggers(args: TriggersArgs, context: &Context) -> Result<Exit, Failure> {
    let api = Api::connect(&args.target, context).await?;
    let path = ["admin", "triggers", "held"];
    let held: HeldTriggers = api.get(&path, &[]).await?;
    let Some(answer) = args.decision else {
        let decide = format!("bellrock pipeline triggers fire|drop{}", args.target.options());
        context.print(|| shown(&held, &decide), &held)?;
        return Ok(Exit::Done);
    };
    let Some(since) = held.since else {
        return Err(Failure::refused("pipeline-conflict", "no trigger waits for a decision"));
    };
    let (decision, what) = match answer {
        Answer::Fire => (Word::Fire, "fire once each"),
        Answer::Drop => (Word::Drop, "are dropped; their next times count"),
    };
    // Refused when others wait by now than those that were looked at.
    api.send(Method::POST, &path, &[], &json!(TriggerDecision { decision, since })).await?;
    let answer = json!({ "decision": decision, "count": held.count, "some": held.some, "since": since });
    context.print(|| format!("{} late triggers {what}", held.count), &answer)?;
    Ok(Exit::Done)
}

fn shown(held: &HeldTriggers, decide: &str) -> String {
    let Some(since) = held.since else { return "no trigger waits for a decision".to_owned() };
    let mut lines = vec![format!("{} cron triggers are late and wait for a decision since {}:", held.count, Timestamp(since))];
    lines.extend(held.some.iter().map(|name| format!("  {name}")));
    if held.count > held.some.len() {
        lines.push(format!("  and {} more", held.count - held.some.len()));
    }
    lines.push(format!("decide with: {decide}"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_wait_are_shown_with_what_to_do() {
        let held = HeldTriggers { count: 60, some: vec!["shop/nightly".into()], since: Some(0) };
        let text = shown(&held, "bellrock pipeline triggers fire|drop");
        assert!(text.starts_with("60 cron triggers are late") && text.contains("\n  shop/nightly\n  and 59 more\n"), "{text}");
        assert!(text.ends_with("decide with: bellrock pipeline triggers fire|drop"), "{text}");
        assert_eq!(shown(&HeldTriggers::default(), ""), "no trigger waits for a decision");
    }
}
