//! `bellrock config check | show`: what is wrong with the configuration, or what is in force and why.

use std::fmt::Write;

use serde_json::json;

use super::Context;
use super::Exit;
use super::Failure;
use crate::config::Setting;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bellrock config check --config /etc/bellrock/bellrock.toml\n  \
    BELLROCK_DRAIN_QUIET=1m bellrock config show\n  \
    bellrock config show --output json")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List every problem with its line; exit 2 if there is one.
    Check,
    /// Print every key with its value and where it came from.
    Show,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let config = context.load_config()?;
    match args.what {
        What::Check => context.print(|| "configuration: in order".into(), &json!({ "problems": [] }))?,
        What::Show => context.print(|| show(config.effective()), &config.effective())?,
    }
    Ok(Exit::Done)
}

/// The settings as a TOML text that would give the same, with the origin of each value behind it.
fn show(settings: &[Setting]) -> String {
    let lines: Vec<(&str, String, &Setting)> = settings
        .iter()
        .map(|setting| {
            let (section, name) = setting.key.rsplit_once('.').unwrap_or(("", setting.key));
            let line = match &setting.value {
                Some(value) => format!("{name} = {value}"),
                None => format!("# {name} is not set"),
            };
            (section, line, setting)
        })
        .collect();
    let width = lines.iter().map(|(_, line, _)| line.chars().count()).max().unwrap_or(0).min(60);
    let mut text = String::new();
    let mut current = "";
    for (section, line, setting) in lines {
        if section != current {
            let _ = writeln!(text, "{}[{section}]", if current.is_empty() { "" } else { "\n" });
            current = section;
        }
        let _ = writeln!(text, "{line:width$}  # {}", setting.from);
    }
    text
}
