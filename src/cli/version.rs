//! `bellrock version`.

use serde::Serialize;

use super::Context;
use super::Exit;
use super::Failure;
use crate::config;
use crate::journal;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bellrock version\n  \
    bellrock version --verbose --output json")]
pub(super) struct Args {
    /// How it was built, what it runs, and which formats it reads and writes.
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    build: Option<Build>,
}

/// How this program came to be. Of the build, see `build.rs`.
#[derive(Serialize)]
struct Build {
    /// Of its source; none where it was built from no repository and nobody said.
    commit: Option<&'static str>,
    /// `release` or `debug`.
    profile: &'static str,
    target: &'static str,
    rustc: &'static str,
    /// Values of `orchestrator.kind`.
    orchestrator_kinds: &'static [&'static str],
    /// Of the records it writes, and the only one it reads.
    journal_format: u32,
}

const THIS: Build = Build {
    commit: option_env!("BELLROCK_COMMIT"),
    profile: env!("BELLROCK_PROFILE"),
    target: env!("BELLROCK_TARGET"),
    rustc: env!("BELLROCK_RUSTC"),
    orchestrator_kinds: config::KINDS,
    journal_format: journal::FORMAT,
};

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let version = Version { name: "bellrock", version: env!("CARGO_PKG_VERSION"), build: args.verbose.then_some(THIS) };
    context.print(|| text(&version), &version)?;
    Ok(Exit::Done)
}

fn text(version: &Version) -> String {
    let mut lines = vec![format!("{} {}", version.name, version.version)];
    if let Some(build) = &version.build {
        lines.push(format!("commit              {}", build.commit.unwrap_or("not known: built outside a release, or from no repository")));
        lines.push(format!("profile             {}", build.profile));
        lines.push(format!("target              {}", build.target));
        lines.push(format!("rustc               {}", build.rustc));
        lines.push(format!("orchestrator kinds  {}", build.orchestrator_kinds.join(", ")));
        lines.push(format!("journal format      {}", build.journal_format));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_built_is_told_only_to_who_asks() {
        let short = Version { name: "bellrock", version: "1.2.3", build: None };
        assert_eq!(
            (text(&short), serde_json::to_value(&short).unwrap()),
            ("bellrock 1.2.3".to_owned(), serde_json::json!({"name": "bellrock", "version": "1.2.3"}))
        );
        let long = Version { build: Some(THIS), ..short };
        let told = text(&long);
        assert!(
            told.contains(std::env::consts::ARCH) && told.contains("rustc 1.") && told.contains("embedded, endpoint, process, unit"),
            "{told}"
        );
        assert_eq!(serde_json::to_value(&long).unwrap()["journal_format"], journal::FORMAT);
    }
}
