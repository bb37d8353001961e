//! Help as clap prints it, but for examples: a line that is broken to fit the terminal is not the command that was meant when it is pasted.
//!
//! What must stay true: what is printed has none of the marks that keep a line whole.

use std::io::Write;

use clap::Command;
use clap::CommandFactory;

use super::Cli;

/// Stands for a blank where clap must not break the line. No help has one of its own.
const WHOLE: char = '\u{a0}';

/// The command line, with examples that stay whole.
pub(super) fn command() -> Command {
    marked(Cli::command())
}

/// Marks the lines below texts that are set in: examples, and tables.
fn marked(command: Command) -> Command {
    let whole = |line: &str| if line.starts_with("  ") { line.replace(' ', WHOLE.encode_utf8(&mut [0; 4])) } else { line.to_owned() };
    let text = command.get_after_help().map(|help| help.to_string().lines().map(whole).collect::<Vec<_>>().join("\n"));
    let command = match text {
        Some(text) => command.after_help(text),
        None => command,
    };
    command.mut_subcommands(marked)
}

/// Prints help, a version, or what is wrong with a command line, each where it belongs.
pub(super) fn print(answer: &clap::Error) {
    let text = answer.render().ansi().to_string().replace(WHOLE, " ");
    // When nobody can read it the exit code is all that is left to say.
    let _ = if answer.use_stderr() { anstream::stderr().write_all(text.as_bytes()) } else { anstream::stdout().write_all(text.as_bytes()) };
}
