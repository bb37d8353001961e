//! `bellrock config check | show`: what is wrong with the configuration, or what is in force and why.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use super::Context;
use super::Exit;
use super::Failure;
use super::Output;
use crate::config;
use crate::config::Config;
use crate::config::Place;
use crate::config::Problem;
use crate::config::Problems;
use crate::config::Setting;
use crate::http::keyring::Files;
use crate::http::keyring::Pair;
use crate::http::keyring::Part;
use crate::orchestrator::engine::stage::Registry;
use crate::orchestrator::runner::definitions::folder;

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
    /// List every problem with its line, also of the files it names; exit 2 if there is one.
    #[command(
        after_help = "With --output json the answer is on stdout, whether there are problems or not: {\"problems\": [{file, line, column or \
        variable, key, message}, …]}.\n\n\
        Examples:\n  \
        bellrock config check --config /etc/bellrock/bellrock.toml\n  \
        bellrock config check --output json | jq -r '.problems[].message'"
    )]
    Check,
    /// Print every key with its value and where it came from.
    #[command(after_help = "Example:\n  BELLROCK_DRAIN_QUIET=1m bellrock config show --output json")]
    Show,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    match args.what {
        What::Check => check(context),
        What::Show => {
            let config = context.load_config()?;
            context.print(|| show(config.effective()), &config.effective())?;
            Ok(Exit::Done)
        }
    }
}

/// The answer is the problems: for programs always on stdout, for people on stderr as any error, where there are some.
fn check(context: &Context) -> Result<Exit, Failure> {
    let problems = match Config::load(context.config.as_deref(), &context.env) {
        Ok(config) => files(&config, context),
        Err(config::Error::Wrong(problems)) => problems.0,
        Err(unreadable @ config::Error::Unreadable { .. }) => return Err(unreadable.into()),
    };
    let source = source(context);
    if context.output == Output::Json || problems.is_empty() {
        let told: Vec<Value> = problems.iter().map(told).collect();
        context.print(|| format!("configuration: in order ({source})"), &json!({ "problems": told }))?;
        return Ok(if problems.is_empty() { Exit::Done } else { Exit::Refused });
    }
    let (count, plural) = (problems.len(), if problems.len() == 1 { "" } else { "s" });
    // Of a text that is no TOML nothing else was looked at.
    let is_no_toml = problems.iter().any(|problem| problem.key.is_empty() && matches!(problem.place, Place::File { .. }));
    let help =
        if is_no_toml { "mend this and check again: the rest is looked at once the file is TOML" } else { "mend them and check again" };
    Err(Failure::refused("config-wrong", format!("the configuration has {count} problem{plural} ({source})"))
        .because(&Problems(problems))
        .help(help))
}

/// What was read, for people.
fn source(context: &Context) -> String {
    match &context.config {
        Some(file) => format!("read: {}", file.display()),
        None if Path::new(config::DEFAULT_PATH).exists() => format!("read: {}", config::DEFAULT_PATH),
        None => format!("there is no {}; defaults hold, and what the environment says", config::DEFAULT_PATH),
    }
}

/// A problem for programs.
fn told(problem: &Problem) -> Value {
    let mut told = match &problem.place {
        Place::File { path, line, column } => json!({ "file": path, "line": line, "column": column }),
        Place::Environment { variable } => json!({ "variable": variable }),
        Place::Default => json!({}),
    };
    told["key"] = problem.key.as_str().into();
    told["message"] = problem.message().into();
    told
}

/// Where callers from elsewhere are told one from another.
pub(super) fn keyring_files(http: &config::Http) -> Files {
    let pair = http.network.as_ref().map(|network| Pair { certificate: network.certificate_file.clone(), key: network.key_file.clone() });
    Files { tokens: http.tokens_file.clone(), pair }
}

/// What is wrong with the files that the configuration names.
fn files(config: &Config, context: &Context) -> Vec<Problem> {
    let at = |key: &'static str, wrong: String| {
        let place = config.effective().iter().find(|setting| setting.key == key).map_or(Place::Default, |setting| setting.from.clone());
        Problem { place, key: key.to_owned(), wrong, allowed: String::new() }
    };
    let told = |(part, wrong): (Part, String)| match part {
        Part::Tokens => at("http.tokens_file", wrong),
        Part::Certificate => at("http.network.certificate_file", wrong),
    };
    let keyring = keyring_files(&config.http).problems().into_iter().map(told);
    let named = match &config.orchestrator {
        config::Orchestrator::Embedded(engine) => {
            let pipelines = engine.definitions.as_deref().map_or_else(Vec::new, broken);
            pipelines.into_iter().map(|wrong| at("orchestrator.definitions", wrong)).collect()
        }
        config::Orchestrator::Process(process) => {
            let env: Vec<_> = context.env.clone().into_iter().collect();
            process.problems_here(&env).into_iter().map(|wrong| at("orchestrator.process.command", wrong)).collect()
        }
        config::Orchestrator::Endpoint(_) | config::Orchestrator::Unit(_) => Vec::new(),
    };
    keyring.chain(named).collect()
}

/// What is wrong with pipelines in files.
fn broken(directory: &Path) -> Vec<String> {
    match folder::problems(directory, &Arc::new(Registry::standard())) {
        Ok(problems) => problems.iter().map(ToString::to_string).collect(),
        Err(error) => vec![format!("{} cannot be read: {error}", directory.display())],
    }
}

/// The settings as a TOML text that would give the same, with the origin of each value behind it.
fn show(settings: &[Setting]) -> String {
    let lines: Vec<(&str, String, &Setting)> = settings
        .iter()
        .map(|setting| {
            let (section, name) = setting.key.rsplit_once('.').unwrap_or(("", setting.key));
            let line = match &setting.value {
                Some(value) if setting.used => format!("{name} = {value}"),
                Some(value) => format!("# {name} = {value}"),
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
        let note = if setting.used { "" } else { ", not in use" };
        let _ = writeln!(text, "{line:width$}  # {}{note}", setting.from);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn show_is_a_file_that_means_the_same_with_the_origin_of_each_value() {
        let env = BTreeMap::from([("BELLROCK_HTTP_LISTEN".to_owned(), "127.0.0.1:80".to_owned())]);
        let text = "[fleet]\nsiblings = \"by-tag\"\nsibling_tag = \"a \\\"b\\\"\"\n[log]\n  level = \"warn\"\n";
        let config = Config::parse(Path::new("/b.toml"), text, &env).unwrap();
        let shown = show(config.effective());
        let narrow = shown
            .lines()
            .map(|l| l.split_once("  ").map_or(l.into(), |(a, b)| format!("{a}  {}", b.trim_start())))
            .collect::<Vec<String>>();
        let narrow = narrow.join("\n");
        for line in [
            "siblings = \"by-tag\"  # /b.toml:2:12",
            "sibling_tag = 'a \"b\"'  # /b.toml:3:15",
            "# token_file is not set  # default, not in use",
            "grace = \"1m30s\"  # default, not in use",
            "[http]\nlisten = \"127.0.0.1:80\"  # environment BELLROCK_HTTP_LISTEN",
            "\n\n[log]\nlevel = \"warn\"  # /b.toml:5:11\nformat = \"auto\"  # default",
        ] {
            assert!(narrow.contains(line), "{line}\nis not in\n{narrow}");
        }
        let again = Config::parse(Path::new("/shown"), &shown, &BTreeMap::new()).unwrap_or_else(|problems| panic!("{problems}"));
        let values = |config: &Config| config.effective().iter().map(|s| (s.key, s.value.clone(), s.used)).collect::<Vec<_>>();
        assert_eq!(values(&again), values(&config));
    }
}
