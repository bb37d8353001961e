//! `bellrock heal`: what healing does on this host, and its off switch.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::Context;
use super::Exit;
use super::Failure;
use super::agent_client::Agent;
use super::status::heal_line;
use crate::config::parse_duration;
use crate::http::views;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is probed, and how far healing may go, is in [heal] of the configuration. The switch is kept over restarts of the \
    agent, and expires. For a whole group: the tag bellrock:heal = off.\n\n\
    Examples:\n  \
    bellrock heal status\n  \
    bellrock heal off --for 1h\n  \
    bellrock heal on"
)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    /// The agent's socket [default: http.socket of the configuration].
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show level, evidence, last decisions and the next step.
    #[command(after_help = "Example:\n  bellrock heal status --output json")]
    Status,
    /// Switch it off, for a time.
    #[command(after_help = "Example:\n  bellrock heal off --for 1h")]
    Off {
        /// For how long: 30m, 2h, 1d; 7 days at most.
        #[arg(long = "for", value_name = "TIME", value_parser = time)]
        time: Duration,
    },
    /// Switch it on again.
    #[command(after_help = "Example:\n  bellrock heal on")]
    On,
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).filter(|time| !time.is_zero()).ok_or_else(|| "wanted a time such as 30m, 1h or 1h30m".to_owned())
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    super::runtime()?.block_on(async {
        let agent = Agent::connect(args.socket, context).await?;
        let status = match args.what {
            What::Status => agent.status().await?,
            What::Off { time } => {
                let for_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                agent.order("heal/off", &views::HealOff { for_ms }).await?
            }
            What::On => agent.order("heal/on", &serde_json::json!({})).await?,
        };
        context.print(|| text(status.heal.as_ref()), &status.heal)?;
        Ok(Exit::Done)
    })
}

fn text(heal: Option<&views::Heal>) -> String {
    let Some(heal) = heal else { return "the agent is still starting, or is one that does not heal".to_owned() };
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<10} {value}");
    };
    line("level", heal.level.as_str());
    if let Some(off) = &heal.off {
        line("off by", off);
    }
    line("state", &heal_line(heal));
    line("since", &heal.since);
    if let Some(permit) = &heal.permit {
        line("permit", permit);
    }
    line("restarts", &format!("{} of {}", heal.restarts, heal.restarts_most));
    for (i, evidence) in heal.evidence.iter().enumerate() {
        line(if i == 0 { "evidence" } else { "" }, evidence);
    }
    for (i, decision) in heal.decisions.iter().enumerate() {
        line(if i == 0 { "decisions" } else { "" }, &format!("{} {}: {}", decision.at, decision.what, decision.why));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::heal::Level;

    #[test]
    fn a_hold_says_why_what_it_rests_on_and_where_to_read_on() {
        let at = "2026-01-02T03:04:05.000Z".to_owned();
        let why = "liveness: no answer in time, 3 in a row; its store: nobody is there".to_owned();
        let heal = views::Heal {
            level: Level::Restart,
            off: None,
            state: "hold".into(),
            since: at.clone(),
            next: Some(why.clone()),
            held: Some(views::Held { code: "heal_store_down".into(), runbook: "runbooks/heal_store_down.md".into() }),
            evidence: vec!["liveness: no answer in time".into(), "store: nobody is there".into()],
            decisions: vec![views::Decision { at, what: "hold".into(), why }],
            restarts: 1,
            restarts_most: 3,
            permit: Some("none, and none is needed".into()),
        };
        assert_eq!(
            text(Some(&heal)),
            "level      restart\n\
             state      hold: liveness: no answer in time, 3 in a row; its store: nobody is there (heal_store_down, see runbooks/heal_store_down.md)\n\
             since      2026-01-02T03:04:05.000Z\n\
             permit     none, and none is needed\n\
             restarts   1 of 3\n\
             evidence   liveness: no answer in time\n           store: nobody is there\n\
             decisions  2026-01-02T03:04:05.000Z hold: liveness: no answer in time, 3 in a row; its store: nobody is there\n"
        );
    }

    #[test]
    fn a_time_is_one_with_a_unit() {
        assert_eq!(time("1h"), Ok(Duration::from_secs(3600)));
        assert!(time("0s").is_err() && time("60").is_err());
    }
}
