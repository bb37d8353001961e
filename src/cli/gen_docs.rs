//! `bellrock gen`: man pages and shell completions, made from the command line's own definition when a package is built.
//!
//! What must stay true: the same program writes the same bytes, so that packages can be rebuilt and compared.

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use clap::CommandFactory;
use clap::ValueEnum;

use super::Cli;
use super::Context;
use super::Exit;
use super::Failure;
use super::complete;

/// Shells, and the names by which each looks for its script.
const SHELLS: [(&str, &str); 3] = [("bash", "bellrock.bash"), ("zsh", "_bellrock"), ("fish", "bellrock.fish")];

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bellrock gen man target/man\n  \
    bellrock gen completions target/completions\n  \
    bellrock gen completions bash > /etc/bash_completion.d/bellrock")]
pub(super) struct Args {
    /// What is written.
    what: What,
    /// Directory to write to; made when it is not there. For completions also the name of a shell (bash, zsh, fish): its script goes to stdout.
    #[arg(value_name = "DIR|SHELL")]
    into: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// A page of section 1 for each command.
    Man,
    /// For bash, zsh and fish.
    Completions,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    if args.what == What::Completions
        && let Some((shell, _)) = SHELLS.iter().find(|(shell, _)| args.into == Path::new(shell))
    {
        return printed(shell);
    }
    let written = std::fs::create_dir_all(&args.into).and_then(|()| match args.what {
        What::Man => man(&args.into),
        What::Completions => completions(&args.into),
    });
    let files = written.map_err(|e| {
        Failure::new("output", format!("{} cannot be written", args.into.display()))
            .because(&e)
            .help("name a directory that can be made or written")
    })?;
    context
        .print(|| format!("{} files in {}", files, args.into.display()), &serde_json::json!({ "files": files, "directory": args.into }))?;
    Ok(Exit::Done)
}

/// The script of one shell on stdout.
fn printed(shell: &str) -> Result<Exit, Failure> {
    let mut text = Vec::new();
    let written = complete::script(shell, &mut text).and_then(|()| match std::io::stdout().write_all(&text) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e),
        Ok(()) | Err(_) => Ok(()),
    });
    written.map(|()| Exit::Done).map_err(|e| Failure::new("output", format!("the script for {shell} cannot be written")).because(&e))
}

fn man(into: &Path) -> std::io::Result<usize> {
    clap_mangen::generate_to(Cli::command(), into)?;
    Ok(std::fs::read_dir(into)?.count())
}

/// Scripts that ask the program.
fn completions(into: &Path) -> std::io::Result<usize> {
    for (shell, name) in SHELLS {
        let mut text = Vec::new();
        complete::script(shell, &mut text)?;
        std::fs::write(into.join(name), text)?;
    }
    Ok(SHELLS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_help_shows_has_a_page_and_the_same_bytes_come_again() {
        let (once, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(man(once.path()).unwrap(), man(again.path()).unwrap());
        for page in std::fs::read_dir(once.path()).unwrap() {
            let page = page.unwrap();
            assert_eq!(std::fs::read(page.path()).unwrap(), std::fs::read(again.path().join(page.file_name())).unwrap(), "{page:?}");
        }
        for command in Cli::command().get_subcommands() {
            let page = once.path().join(format!("bellrock-{}.1", command.get_name()));
            assert_eq!(page.exists(), !command.is_hide_set(), "{}", page.display());
        }
        let text = std::fs::read_to_string(once.path().join("bellrock-drain.1")).unwrap();
        assert!(text.contains("\\-\\-reason") && text.contains("Examples:"), "{text}");
    }

    #[test]
    fn each_shell_has_a_script_that_asks_this_program() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(completions(dir.path()).unwrap(), 3);
        for name in ["bellrock.bash", "_bellrock", "bellrock.fish"] {
            let text = std::fs::read_to_string(dir.path().join(name)).unwrap();
            assert!(text.contains("BELLROCK_COMPLETE") && !text.contains(env!("CARGO_MANIFEST_DIR")), "{name}: {text}");
        }
    }
}
