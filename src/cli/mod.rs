//! The command line: one file per command, each with its `Args` and a `run` that prints and says how it ended.
//!
//! What must stay true: stdout belongs to the answer of the command, stderr to logs and errors; `--output json` prints the same facts
//! for programs; exit codes mean the same in every command ([`Exit`]). To add a command: a file here, a line in [`Command`], a line in
//! [`run`].

mod agent;
mod agent_client;
mod complete;
mod config;
mod doctor;
mod drain;
mod drill;
mod failure;
mod gen_docs;
mod heal;
mod help;
mod job_supervisor;
mod log;
mod orca;
mod orchestrator_keeper;
mod pipeline;
mod rollback;
mod sim;
mod status;
mod token;
mod undrain;
mod version;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::FromArgMatches;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;
use serde::Serialize;

pub use failure::Failure;

use crate::config::Config;
use crate::orchestrator::engine::status::Status;

/// Keeps an orchestrator fleet on EC2 alive through its own redeployments.
#[derive(Debug, Parser)]
#[command(
    name = "bellrock",
    version,
    max_term_width = 110,
    after_help = "Exit codes: 0 done, 1 failed, 2 refused or wrong usage (nothing was changed), 3 paused and resumable; 4 to 7 how \
                  a pipeline ended that was waited for (`bellrock pipeline --help`).\n\
                  Keys of the configuration are overridden by the environment: drain.quiet by BELLROCK_DRAIN_QUIET."
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Clone, Debug, clap::Args)]
struct Common {
    /// Configuration file [default: /etc/bellrock/bellrock.toml, if it is there].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// `text` for people or `json` for programs.
    #[arg(long, global = true, value_enum, default_value_t, hide_possible_values = true, value_name = "FORM")]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look after the orchestrator on this instance: drain and retire it when its time has come.
    Agent(agent::Args),
    /// Show what the agent on this host does, and why.
    Status(status::Args),
    /// Drain and retire this instance.
    Drain(drain::Args),
    /// Call the drain of this instance off.
    Undrain(undrain::Args),
    /// Show what healing does, or switch it off for a while.
    Heal(heal::Args),
    /// Check pipelines, and what authors do with them.
    Pipeline(pipeline::Args),
    /// Say what would stop a rollback, before one is needed; changes nothing.
    Doctor(doctor::Args),
    /// Find executions of an Orca that nobody works on, and mend them.
    Orca(orca::Args),
    /// Restore the previous server groups, see them serve, retire the bad ones.
    Rollback(Box<rollback::Args>),
    /// Serve a simulated AWS region on this machine.
    Sim(sim::Args),
    /// Play a redeploy, a rollback or a storm on a simulated region, and judge it.
    Drill(drill::Args),
    /// Check the configuration, or show what is in force and where it comes from.
    Config(config::Args),
    /// Make tokens for callers from elsewhere.
    Token(token::Args),
    /// Run the command of one job, and leave its result where the agent looks for it.
    #[command(hide = true)]
    JobSupervisor(job_supervisor::Args),
    /// Look after the orchestrator's process, whatever becomes of the agent.
    #[command(hide = true)]
    OrchestratorKeeper(orchestrator_keeper::Args),
    /// Write man pages or shell completions of all this, as the package does.
    #[command(hide = true)]
    Gen(gen_docs::Args),
    /// Print the version, and with --verbose how it was built.
    Version(version::Args),
}

/// Form of the answer on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Done,
    /// It tried and did not succeed; what is left to do was said.
    Failed,
    /// Wrong usage, or not in a state in which it may be done. Nothing was changed.
    Refused,
    /// It stopped on the way and can be resumed.
    Paused,
    /// The pipeline it followed ended so.
    Ended(Status),
}

impl Exit {
    /// The code that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Refused => 2,
            Self::Paused => 3,
            Self::Ended(status) => match status {
                Status::Succeeded | Status::Skipped => 0,
                Status::Terminal => 4,
                Status::Canceled => 5,
                Status::Stopped => 6,
                Status::FailedContinue => 7,
                Status::NotStarted | Status::Running | Status::Paused | Status::Suspended | Status::Redirect | Status::Buffered => 3,
            },
        }
    }
}

/// What a command gets beside its own arguments.
#[derive(Debug)]
pub struct Context {
    /// Form of the answer.
    pub output: Output,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// The environment of the process.
    pub env: BTreeMap<String, String>,
}

impl Context {
    /// The checked configuration, or a failure that lists everything that is wrong with it.
    pub fn load_config(&self) -> Result<Config, Failure> {
        Config::load(self.config.as_deref(), &self.env).map_err(Failure::from)
    }

    /// Logs to stderr or the journal from here on. `RUST_LOG` wins over `log`.
    pub fn start_log(&self, log: crate::config::Log) {
        let told = |name: &str| self.env.get(name).map(String::as_str);
        log::start(log, log::Told { filter: told("RUST_LOG"), journal_stream: told("JOURNAL_STREAM") });
    }

    /// Prints the answer: `text` for people or `value` for programs. A reader that has gone away is no failure.
    pub fn print(&self, text: impl FnOnce() -> String, value: &impl Serialize) -> Result<(), Failure> {
        let mut answer = match self.output {
            Output::Text => text(),
            Output::Json => serde_json::to_string_pretty(value)
                .map_err(|e| Failure::new("output", "the answer cannot be written as JSON").because(&e))?,
        };
        if !answer.ends_with('\n') {
            answer.push('\n');
        }
        write_out(&answer)
    }

    /// Prints one of many: a line of text for people, or `value` as one line for programs.
    pub fn print_line(&self, text: impl FnOnce() -> String, value: &impl Serialize) -> Result<(), Failure> {
        let mut line = match self.output {
            Output::Text => text(),
            Output::Json => {
                serde_json::to_string(value).map_err(|e| Failure::new("output", "the answer cannot be written as JSON").because(&e))?
            }
        };
        line.push('\n');
        write_out(&line)
    }
}

fn write_out(answer: &str) -> Result<(), Failure> {
    match anstream::stdout().write_all(answer.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new("output", "the answer cannot be written").because(&e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The runtime of commands that wait for something: the agent's own, with two workers.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::new("runtime", "the process cannot get the threads or file descriptors it needs").because(&e))
}

/// Parses the arguments, runs the command, prints what went wrong.
pub fn main(args: impl Iterator<Item = OsString>, env: BTreeMap<String, String>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let asked = complete::answer(&args).and_then(|answered| if answered { Ok(None) } else { parse(args).map(Some) });
    let cli = match asked {
        Ok(Some(cli)) => cli,
        Ok(None) => return ExitCode::SUCCESS,
        Err(e) => {
            // Help and version are answers too.
            help::print(&e);
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    let context = Context { output: cli.common.output, config: cli.common.config, env };
    let exit = run(cli.command, &context).unwrap_or_else(|failure| failure.print(context.output));
    ExitCode::from(exit.code())
}

fn parse(args: Vec<OsString>) -> clap::error::Result<Cli> {
    let mut command = help::command();
    let mut matches = command.try_get_matches_from_mut(args)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|e| e.format(&mut command))
}

fn run(command: Command, context: &Context) -> Result<Exit, Failure> {
    match command {
        Command::Agent(args) => agent::run(args, context),
        Command::Status(args) => status::run(args, context),
        Command::Drain(args) => drain::run(args, context),
        Command::Undrain(args) => undrain::run(args, context),
        Command::Heal(args) => heal::run(args, context),
        Command::Pipeline(args) => pipeline::run(args, context),
        Command::Doctor(args) => doctor::run(args, context),
        Command::Orca(args) => orca::run(args, context),
        Command::Rollback(args) => rollback::run(*args, context),
        Command::Sim(args) => sim::run(args, context),
        Command::Drill(args) => drill::run(args, context),
        Command::Config(args) => config::run(args, context),
        Command::Token(args) => token::run(args, context),
        Command::JobSupervisor(args) => job_supervisor::run(&args, context),
        Command::OrchestratorKeeper(args) => orchestrator_keeper::run(&args, context),
        Command::Gen(args) => gen_docs::run(&args, context),
        Command::Version(args) => version::run(&args, context),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_is_well_formed_and_has_help() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{} says nothing", command.get_name());
        }
    }
}
