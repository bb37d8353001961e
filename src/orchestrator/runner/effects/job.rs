//! Runs commands on this instance, so that they outlive the agent: each under a supervisor of its own, found again by its key.
//!
//! ```text
//!   agent ── job.json, locked lock ──▶ supervisor (own session of signals) ──▶ command (own process group)
//!     ▲                                   │ ends of both outputs, result.json (synced, renamed into place)
//!     └──── looks at lock and result ─────┘
//! ```
//!
//! What must stay true: a directory whose lock is held has a living supervisor; one with a result has ended; one with neither was lost. The lock is taken
//! before the supervisor starts and handed to it, so there is no moment between. A key has one job: a second start attaches to the first.
//!
//! How it fails: a host that goes down loses the job, and whoever asks is told so. A service manager that ends the whole control group ends jobs
//! too, `mixed` as well: the unit has to say `KillMode=process`.

mod record;
pub mod supervisor;

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use self::record::Job;
use super::Performer;
use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;

/// The words of the effects this carries out.
pub const WORDS: [&str; 2] = ["job", "attachJob"];

/// The hidden command that is the supervisor.
pub const SUPERVISOR: &str = "job-supervisor";

/// Between two looks at a job that is not this process's child: at first, and at most.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_millis(500);

/// Added to a job's own limits before its supervisor is given up.
const SPARE: Duration = Duration::from_secs(30);

/// Directories of ended jobs that are kept: their outcome is in the store by then, and somebody may want to look.
const KEPT_JOBS: usize = 200;

/// Runs jobs under one directory.
#[derive(Clone, Debug)]
pub struct Jobs {
    directory: PathBuf,
    program: PathBuf,
    env: Vec<(String, String)>,
}

/// Where a job stands.
enum State {
    /// Nobody knows it, or it left no result.
    Lost,
    Running,
    Ended(Outcome),
}

impl Jobs {
    /// `directory` holds one folder for each job; `program` is this very binary; `env` is what every command inherits (`PATH`, `HOME`, …): nothing
    /// else of the agent's environment, which may hold secrets.
    pub fn new(directory: PathBuf, program: PathBuf, env: Vec<(String, String)>) -> Self {
        Self { directory, program, env }
    }

    /// The folder of a key's job. The same for every attempt of one task.
    fn folder(&self, key: &AttemptKey) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
        let text = key.idempotency_key();
        let name: String = text.chars().map(plain).take(150).collect();
        // Ids that are no ULIDs may differ only in what was replaced or cut.
        self.directory.join(format!("{name}-{:016x}", crate::orchestrator::engine::seed::of(&text)))
    }

    /// Starts the job, unless it runs or ended already.
    async fn start(&self, key: &AttemptKey, job: Job, stop: &CancellationToken) -> io::Result<Outcome> {
        let folder = self.folder(key);
        match state(&folder)? {
            State::Ended(outcome) => return Ok(outcome),
            State::Running => return self.follow(&folder, job.limit(), None, stop).await,
            State::Lost => {}
        }
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        record::private_directory(&folder)?;
        let lock = File::create(folder.join(record::LOCK))?;
        lock.try_lock()?;
        record::write(&folder, record::JOB, &job)?;
        let mut command = Command::new(&self.program);
        command.arg(SUPERVISOR).arg(&folder).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        // The lock goes with the file: it is held until the supervisor's copy of it is closed.
        let child = command.stdin(Stdio::from(lock)).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn()?;
        // Dropped only now: the supervisor has its own copy, and this process must not hold the lock for it.
        drop(command);
        self.sweep();
        self.follow(&folder, job.limit(), Some(child), stop).await
    }

    async fn attach(&self, key: &AttemptKey, limit: Duration, stop: &CancellationToken) -> io::Result<Outcome> {
        let folder = self.folder(key);
        match state(&folder)? {
            State::Ended(outcome) => Ok(outcome),
            State::Lost => Ok(Outcome::JobLost),
            State::Running => self.follow(&folder, limit, None, stop).await,
        }
    }

    /// Waits for the end of a job. When told to stop, has its supervisor end it, and marks it so that nobody takes its end for its own.
    async fn follow(
        &self,
        folder: &Path,
        limit: Duration,
        mut child: Option<tokio::process::Child>,
        stop: &CancellationToken,
    ) -> io::Result<Outcome> {
        let patience = limit.saturating_add(supervisor::GRACE).saturating_add(SPARE);
        let stopped = tokio::select! {
            // Nothing is lost when an arm is dropped: all of them only look.
            ended = tokio::time::timeout(patience, ended(folder, &mut child)) => {
                let outcome = ended.unwrap_or(Ok(Outcome::JobLost));
                return if folder.join(record::STOPPED).exists() { Ok(Outcome::JobLost) } else { outcome };
            }
            () = stop.cancelled() => record::write(folder, record::STOPPED, &true),
        };
        stopped?;
        terminate(folder);
        let ended = tokio::time::timeout(supervisor::GRACE + SPARE, ended(folder, &mut child)).await;
        ended.unwrap_or(Ok(Outcome::JobLost))
    }

    /// Removes the oldest folders of ended jobs, beyond those that are kept. What cannot be removed is left for the next time.
    fn sweep(&self) {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let result = |folder: &Path| fs::metadata(folder.join(record::RESULT)).and_then(|meta| meta.modified()).ok();
        let mut ended: Vec<_> = entries.filter_map(|entry| Some((result(&entry.path())?, entry.path()))).collect();
        ended.sort();
        let surplus = ended.len().saturating_sub(KEPT_JOBS);
        for (_, folder) in ended.into_iter().take(surplus) {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Where the job of this folder stands.
fn state(folder: &Path) -> io::Result<State> {
    // A running job is told by its lock before its result is looked for: it may end between the two looks, but never begin.
    let running = match File::open(folder.join(record::LOCK)) {
        Ok(lock) => lock.try_lock_shared().is_err(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(State::Lost),
        Err(e) => return Err(e),
    };
    if running {
        return Ok(State::Running);
    }
    if folder.join(record::STOPPED).exists() {
        return Ok(State::Lost);
    }
    Ok(record::outcome(folder)?.map_or(State::Lost, State::Ended))
}

/// The end of a job, whoever its parent is.
async fn ended(folder: &Path, child: &mut Option<tokio::process::Child>) -> io::Result<Outcome> {
    if let Some(child) = child {
        // The exit code says nothing that the result does not; that it ended is what is waited for.
        child.wait().await?;
    }
    let mut pause = FIRST_LOOK;
    loop {
        let lock = File::open(folder.join(record::LOCK))?;
        if lock.try_lock_shared().is_ok() {
            return Ok(record::outcome(folder)?.unwrap_or(Outcome::JobLost));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_LOOK);
    }
}

/// Asks the supervisor to end its job. A supervisor that is gone needs no asking.
fn terminate(folder: &Path) {
    let pid = record::read::<i32>(folder, record::PID).ok().flatten().and_then(Pid::from_raw);
    if let (Some(pid), Ok(State::Running)) = (pid, state(folder)) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

#[async_trait]
impl Performer for Jobs {
    async fn perform(&self, key: &AttemptKey, effect: Effect, stop: &CancellationToken) -> Outcome {
        let done = match effect {
            Effect::Job { argv, mut env, directory, timeout_ms, keep_bytes } => {
                env.push(("BELLROCK_IDEMPOTENCY_KEY".to_owned(), key.idempotency_key()));
                env.push(("BELLROCK_EXECUTION_ID".to_owned(), key.execution.to_string()));
                self.start(key, Job { argv, env, directory, timeout_ms, keep_bytes }, stop).await
            }
            Effect::AttachJob { timeout_ms, .. } => self.attach(key, Duration::from_millis(timeout_ms), stop).await,
            other => return Outcome::Failed { error: format!("{} is no effect on jobs", other.word()), retryable: false },
        };
        // A file that could not be written or a process that could not be begun: nothing ran.
        done.unwrap_or_else(|e| Outcome::Failed { error: format!("the job could not be begun or looked at: {e}"), retryable: true })
    }
}
