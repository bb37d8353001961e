//! An orchestrator that this agent runs as a process: any command, under a *keeper* that outlives the agent.
//!
//! ```text
//!   agent ── order.json, locked lock ──▶ keeper (own session, adopts orphans) ──▶ command (own process group)
//!     ▲                                     │ run.json: who runs since when, how it ended   │
//!     └──── looks at lock and run ──────────┘ ◀────────── `output`, a named pipe ───────────┘
//! ```
//!
//! The keeper is this very binary, `bellrock orchestrator-keeper FOLDER`. It owns the command's output and its exit status, and decides nothing: the
//! agent starts, stops and starts again. An agent that is stopped, upgraded or killed leaves both as they are; the next one finds them in the folder.
//!
//! What must stay true:
//! * There is never a second command beside a living one. The folder's lock tells a living keeper; without one, the process on record (pid and start),
//!   its session and a mark in the environment tell whether anything of it lives; what lives is taken up, never replaced.
//! * A record names a process by pid, start and boot, so that a pid used again is nobody.
//! * The output never holds the command up, and takes bounded room: see [`output`].
//! * The agent's own environment is not the command's: it gets what is configured.
//!
//! How it fails:
//! * A keeper that is killed alone leaves the command running, with its output in the pipe (64 KiB, then it waits): the agent hears of it at once and
//!   starts a keeper that takes it up. The exit status is lost then, since the command is no child of the new one, and lines that the dead one had read
//!   and not yet written.
//! * A command that goes to the background (exit code 0, and a process left outside its process group) is followed there: the oldest that is left counts
//!   as the command. Whatever else outlives the command is ended with it.
//! * A keeper without room for its record starts nothing.
//!
//! A scope of its own in systemd's tree was weighed and left: it takes rights over D-Bus that the hardened unit does not have, and a second place that
//! says who lives. With `KillMode=process` the unit's own control group does: nothing in it but the agent is ended. `systemctl stop bellrock` leaves
//! the orchestrator running, as it leaves jobs; a shutdown of the host ends all of it by SIGTERM, which the keeper passes on.

pub mod keeper;
mod lines;
mod look;
mod output;
mod record;
mod settings;

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::Signal;
use tokio::process::Command;
use tracing::warn;

pub use settings::Settings;
pub use settings::StopSignal;
pub use settings::Variables;

use super::Error;
use super::engine::seed;
use super::supervised::Charge;
use super::supervised::Exit;
use super::supervised::Stand;
use crate::host::boot;
use crate::host::folder;
use crate::host::process;
use crate::host::process::Process;
use look::Seen;
use record::Order;
use record::Stop;

/// The hidden command that is the keeper.
pub const KEEPER: &str = "orchestrator-keeper";

/// Between two looks at a keeper that begins or ends: at first, and at most.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_secs(1);
/// Beyond the command's grace, for the keeper to kill what is left and to record the end.
const SPARE: Duration = Duration::from_secs(15);

/// One command and its folder.
#[derive(Debug)]
pub struct Kept {
    settings: Settings,
    folder: PathBuf,
    program: PathBuf,
    /// The environment of the agent, of which the command gets what is configured.
    env: Vec<(String, String)>,
    /// The agent's standard error is the journal's.
    journal: bool,
    boot: String,
}

impl Kept {
    /// `folder` is its own; `program` is this very binary; `env` the agent's environment; with `journal`, output goes to the agent's standard error.
    ///
    /// # Errors
    /// The kernel does not name this boot.
    pub fn new(settings: Settings, folder: PathBuf, program: PathBuf, env: Vec<(String, String)>, journal: bool) -> io::Result<Self> {
        Ok(Self { settings, folder, program, env, journal, boot: boot::id()? })
    }

    fn start(&self) -> io::Result<()> {
        folder::make(&self.folder)?;
        let take_up = match look::look(&self.folder, &self.boot)? {
            Seen::Kept(_) | Seen::Between(_) => return Ok(()),
            Seen::Unkept { .. } => true,
            Seen::Gone(_) => false,
        };
        let env = if take_up { Vec::new() } else { self.settings.environment(&self.env)? };
        let lock = folder::lock(&self.folder)?;
        folder::remove(&self.folder, record::STOP)?;
        if !take_up {
            folder::remove(&self.folder, record::RUN)?;
        }
        let order = Order {
            argv: self.settings.command.clone(),
            digest: self.digest(),
            directory: self.settings.directory.clone(),
            signal: self.settings.stop_signal.0.as_raw(),
            grace_ms: u64::try_from(self.settings.grace.as_millis()).unwrap_or(u64::MAX),
            take_up,
            journal: self.journal,
            lines_per_second: self.settings.lines_per_second,
        };
        folder::write(&self.folder, record::ORDER, &order)?;
        let mut command = Command::new(&self.program);
        command.arg(KEEPER).arg(&self.folder).env_clear().envs(env).env(record::MARK, &self.folder).current_dir("/");
        let stderr = if self.journal { Stdio::inherit() } else { Stdio::null() };
        // The lock goes with the file: it is held until the keeper's copy of it is closed, and this process's copy goes with the command. Who is our
        // child is waited for in the background; the folder tells of its end.
        command.stdin(Stdio::from(lock)).stdout(Stdio::null()).stderr(stderr).spawn().map(drop)
    }

    /// What tells one configured command from another.
    fn digest(&self) -> String {
        let Settings { command, directory, .. } = &self.settings;
        format!("{:016x}", seed::of(&format!("{command:?} {directory:?}")))
    }

    fn stand(&self) -> io::Result<Stand> {
        Ok(match look::look(&self.folder, &self.boot)? {
            Seen::Kept(run) => Stand::Up {
                process: run.main,
                since: Some(run.since),
                dropped_lines: run.dropped_lines,
                note: (run.digest != self.digest())
                    .then(|| "it runs an earlier command than the configured one, which takes effect with its next start".to_owned()),
            },
            Seen::Between(run) if run.as_ref().is_some_and(|run| run.main.is_some() || run.ended.is_some()) => Stand::Moving("stopping"),
            Seen::Between(_) => Stand::Moving("starting"),
            Seen::Unkept { main } => Stand::Unkept { process: main },
            Seen::Gone(Some(run)) => Stand::Down { run: Some(run.name()), exit: run.ended },
            // The order outlives a keeper that came to nothing.
            Seen::Gone(None) => match folder::modified(&self.folder, record::ORDER)? {
                Some(at) => Stand::Down { run: Some(format!("order {}", at.0)), exit: Some(came_to_nothing(at)) },
                None => Stand::Down { run: None, exit: None },
            },
        })
    }

    /// Has the keeper end it, and waits until nothing is left.
    async fn stop(&self, grace: Duration) -> io::Result<()> {
        let stop = Stop { grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX) };
        let mut pause = FIRST_LOOK;
        let mut ordered = false;
        loop {
            match look::look(&self.folder, &self.boot)? {
                Seen::Gone(_) => return Ok(()),
                Seen::Unkept { .. } => {
                    warn!("the orchestrator has no keeper; it is ended without (runbooks/orchestrator-keeper.md)");
                    let kin = look::kin(&self.folder, &self.boot)?;
                    if !kin.end(self.settings.stop_signal.0, grace).await? {
                        return Err(io::Error::other("what is left of it cannot be ended"));
                    }
                }
                Seen::Kept(run) | Seen::Between(Some(run)) => {
                    if !std::mem::replace(&mut ordered, true) {
                        folder::write(&self.folder, record::STOP, &stop)?;
                    }
                    // Told again at each look: it hears the first, and minds no further one.
                    process::signal(run.keeper, Signal::TERM)?;
                }
                // It begins, and has not said its pid yet.
                Seen::Between(None) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_LOOK / 2);
        }
    }
}

fn came_to_nothing(at: crate::model::Timestamp) -> Exit {
    let error = "its keeper could not begin it (runbooks/orchestrator-keeper.md)";
    Exit { at, error: Some(error.to_owned()), ..Exit::default() }
}

#[async_trait]
impl Charge for Kept {
    fn kind(&self) -> &'static str {
        "process"
    }

    async fn look(&self) -> Stand {
        self.stand().unwrap_or_else(|e| Stand::Unknown(format!("{} cannot be read: {e}", self.folder.display())))
    }

    async fn begin(&self) -> Result<(), Error> {
        self.start().map_err(|e| Error::Refused(format!("its keeper cannot be started: {e}")))
    }

    async fn end(&self, grace: Duration) -> Result<(), Error> {
        match tokio::time::timeout(grace.saturating_add(SPARE), self.stop(grace)).await {
            Ok(done) => done.map_err(|e| Error::NoAnswer(format!("it could not be stopped: {e}"))),
            Err(_) => Err(Error::NoAnswer(format!("it still runs {} s after it was told to stop", (grace + SPARE).as_secs()))),
        }
    }

    async fn news(&self, stand: &Stand) {
        match stand {
            Stand::Up { process: Some(process), .. } => {
                let keeper = folder::read::<record::Run>(&self.folder, record::RUN).ok().flatten().map(|run| run.keeper);
                let keeper_gone = async {
                    match keeper {
                        Some(keeper) => process::gone(keeper).await,
                        None => std::future::pending().await,
                    }
                };
                // Both only look.
                tokio::select! {
                    () = process::gone(*process) => {}
                    () = keeper_gone => {}
                }
            }
            Stand::Moving(_) => {
                let mut pause = FIRST_LOOK;
                while self.look().await == *stand {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_LOOK);
                }
            }
            Stand::Up { process: None, .. } | Stand::Unkept { .. } | Stand::Down { .. } | Stand::Rest(_) | Stand::Unknown(_) => {
                std::future::pending().await
            }
        }
    }
}

/// The process that runs now, for whoever has to tell one from the next.
pub(super) fn main_process(folder: &Path) -> io::Result<Process> {
    look::main(folder, &boot::id()?)?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it does not run"))
}
