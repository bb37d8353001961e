//! Runs commands on this instance, so that they outlive the agent: each under a supervisor of its own, found again by its key.
//!
//! ```text
//!   agent ── job.json, locked lock ──▶ supervisor (own session of signals) ──▶ command (own process group)
//!     ▲                                   │ ends of both outputs, result.json (synced, renamed into place)
//!     └──── looks at lock and result ─────┘
//! ```
//!
//! What must stay true:
//! * A directory whose lock is held has a living supervisor. The lock is taken before the supervisor starts and handed to it, so there is no moment between.
//! * A command has begun, as far as anybody can know, once the supervisor's PID is in the directory; before that nothing ran, and only then may a start be
//!   repeated without asking whether the job is idempotent.
//! * A key has one job: a second start attaches to the first. One that began and left no result is begun anew only when it is marked idempotent.
//! * A job is stopped by the last one here who follows it: an owner that was fenced must not end what its successor attached to.
//!
//! How it fails: a host that goes down loses the job, and whoever asks is told so. A supervisor that is killed alone leaves its command to whoever looks
//! next: it is found by the key in its environment, ended, and counts as lost. A service manager that ends the whole control group ends jobs too,
//! `mixed` as well: the unit has to say `KillMode=process`.

mod folder;
mod orphans;
mod record;
pub mod supervisor;

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::process::Child;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::folder::State;
use self::record::Job;
use super::Performer;
use crate::host;
use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::execution::ExecutionId;

/// The words of the effects this carries out.
pub const WORDS: [&str; 3] = ["job", "attachJob", "stopJob"];

/// The hidden command that is the supervisor.
pub const SUPERVISOR: &str = "job-supervisor";

/// Between two looks at a job that is not this process's child: at first, and at most.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_millis(500);

/// Added to a job's own limits before its supervisor is given up.
const SPARE: Duration = Duration::from_secs(30);

/// Directories of ended jobs that are kept: their outcome is in the store by then, and somebody may want to look.
const KEPT_JOBS: usize = 200;

/// What the environment of every command carries: its key, and the execution it belongs to.
const KEY: &str = "BELLROCK_IDEMPOTENCY_KEY";
const EXECUTION: &str = "BELLROCK_EXECUTION_ID";

/// Runs jobs under one directory.
#[derive(Clone, Debug)]
pub struct Jobs {
    directory: PathBuf,
    program: PathBuf,
    env: Vec<(String, String)>,
    followers: Arc<Followers>,
}

impl Jobs {
    /// `directory` holds one folder for each job; `program` is this very binary; `env` is what every command inherits (`PATH`, `HOME`, …): nothing
    /// else of the agent's environment, which may hold secrets.
    pub fn new(directory: PathBuf, program: PathBuf, env: Vec<(String, String)>) -> Self {
        Self { directory, program, env, followers: Arc::default() }
    }

    /// The folder of a key's job. The same for every attempt of one task.
    fn folder(&self, key: &AttemptKey) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
        let text = key.idempotency_key();
        let name: String = text.chars().map(plain).take(150).collect();
        // Ids that are no ULIDs may differ only in what was replaced or cut.
        self.directory.join(format!("{name}-{:016x}", crate::orchestrator::engine::seed::of(&text)))
    }

    /// Starts the job, unless it runs or ended already. `Err` = nothing was begun, by this start or by one before it.
    async fn start(&self, key: &AttemptKey, job: Job, idempotent: bool, stop: &CancellationToken) -> io::Result<Outcome> {
        let folder = self.folder(key);
        let following = Followers::join(&self.followers, &folder);
        let limit = job.limit();
        match folder::state(&folder)? {
            State::Ended { outcome, stopped: false } => return Ok(outcome),
            State::Running => return Ok(follow(&folder, limit, None, &following, stop).await),
            State::Ended { stopped: true, .. } | State::Lost if !idempotent => return Ok(Outcome::JobLost),
            State::Orphaned => {
                if !orphans::end(&folder, supervisor::GRACE).await? {
                    return Err(io::Error::other("the command of an earlier try could not be ended"));
                }
                if !idempotent {
                    return Ok(Outcome::JobLost);
                }
            }
            State::Ended { stopped: true, .. } | State::Lost | State::NotBegun => {}
        }
        let child = self.begin(&folder, &job)?;
        // From here on a command may run: no error of ours may lead to a second one.
        self.sweep();
        Ok(follow(&folder, limit, Some(child), &following, stop).await)
    }

    fn begin(&self, folder: &Path, job: &Job) -> io::Result<Child> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        host::folder::make(folder)?;
        let lock = host::folder::lock(folder)?;
        host::folder::write(folder, record::JOB, job)?;
        let mut command = Command::new(&self.program);
        command.arg(SUPERVISOR).arg(folder).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        // The lock goes with the file: it is held until the supervisor's copy of it is closed, and this process's copy goes with the command.
        command.stdin(Stdio::from(lock)).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn()
    }

    async fn attach(&self, key: &AttemptKey, limit: Duration, stop: &CancellationToken) -> Outcome {
        let folder = self.folder(key);
        let following = Followers::join(&self.followers, &folder);
        match folder::state(&folder) {
            // Nobody here knows it.
            Ok(State::NotBegun) => Outcome::JobLost,
            Ok(_) | Err(_) => follow(&folder, limit, None, &following, stop).await,
        }
    }

    /// Ends the job if it runs here. Done as well when there is none.
    async fn stop(&self, key: &AttemptKey) -> io::Result<Outcome> {
        let folder = self.folder(key);
        let _following = Followers::join(&self.followers, &folder);
        let stopped = Outcome::Done { output: Value::Null };
        match folder::state(&folder)? {
            State::Running => Ok(terminate(&folder, &mut None).await.map_or_else(
                || Outcome::Failed { error: "the job did not end when it was told to".to_owned(), retryable: true },
                |_| stopped,
            )),
            State::Orphaned if !orphans::end(&folder, supervisor::GRACE).await? => Err(io::Error::other("the command could not be ended")),
            State::Orphaned | State::Ended { .. } | State::Lost | State::NotBegun => Ok(stopped),
        }
    }

    /// Removes the oldest folders of ended jobs, beyond those that are kept. What cannot be removed is left for the next time.
    fn sweep(&self) {
        let result = |folder: &Path| fs::metadata(folder.join(record::RESULT)).and_then(|meta| meta.modified()).ok();
        let mut ended: Vec<_> = self.folders().filter_map(|folder| Some((result(&folder)?, folder))).collect();
        ended.sort();
        let surplus = ended.len().saturating_sub(KEPT_JOBS);
        for (_, folder) in ended.into_iter().take(surplus) {
            let _ = fs::remove_dir_all(folder);
        }
    }

    fn folders(&self) -> impl Iterator<Item = PathBuf> + use<> {
        fs::read_dir(&self.directory).into_iter().flatten().flatten().map(|entry| entry.path())
    }

    /// Executions with a job in such a state.
    fn executions(&self, such: impl Fn(io::Result<State>) -> bool) -> BTreeSet<ExecutionId> {
        self.folders().filter(|folder| such(folder::state(folder))).filter_map(|folder| folder::execution(&folder)).collect()
    }
}

/// Waits for the end of a job. When told to stop, has its supervisor end it, unless somebody else here follows it by now. It has begun: an error while
/// looking is no answer, and the look is repeated.
async fn follow(folder: &Path, limit: Duration, mut child: Option<Child>, following: &Following, stop: &CancellationToken) -> Outcome {
    let patience = limit.saturating_add(supervisor::GRACE).saturating_add(SPARE);
    // Nothing is lost when an arm is dropped: all of them only look.
    let ended = tokio::select! {
        ended = tokio::time::timeout(patience, ended(folder, &mut child)) => ended.ok(),
        () = stop.cancelled() => {
            if !following.is_last() {
                return Outcome::JobLost;
            }
            return terminate(folder, &mut child).await.map_or(Outcome::JobLost, |state| outcome(state, true));
        }
    };
    match ended {
        Some(State::Orphaned) => {
            warn!(folder = %folder.display(), "the supervisor of a job is gone and its command runs on; it is ended (runbooks/job-supervisor.md)");
            if let Ok(false) | Err(_) = orphans::end(folder, supervisor::GRACE).await {
                warn!(folder = %folder.display(), "a command whose supervisor is gone could not be ended (runbooks/job-supervisor.md)");
            }
            Outcome::JobLost
        }
        Some(state) => outcome(state, false),
        None => {
            warn!(folder = %folder.display(), "a job outlived its limit, and so did its supervisor; it is ended (runbooks/job-supervisor.md)");
            terminate(folder, &mut child).await.map_or(Outcome::JobLost, |state| outcome(state, false))
        }
    }
}

/// What is said of a job that runs no more. `asked`: by the one who had it stopped; for all others its end is nobody's result.
fn outcome(state: State, asked: bool) -> Outcome {
    match state {
        State::Ended { outcome, stopped } if asked || !stopped => outcome,
        // Not a lost one: whatever kept the supervisor from it, the command was not begun.
        State::NotBegun if !asked => Outcome::Failed {
            error: "the supervisor of the job did not come to begin it (runbooks/job-supervisor.md)".to_owned(),
            retryable: true,
        },
        State::Ended { .. } | State::NotBegun | State::Lost | State::Orphaned | State::Running => Outcome::JobLost,
    }
}

/// The end of a job, whoever its parent is.
async fn ended(folder: &Path, child: &mut Option<Child>) -> State {
    let mut pause = FIRST_LOOK;
    let mut told = false;
    loop {
        match folder::state(folder) {
            Ok(State::Running) => {}
            Ok(state) => return state,
            Err(error) if !std::mem::replace(&mut told, true) => {
                warn!(folder = %folder.display(), %error, "a job could not be looked at; it is looked at again");
            }
            Err(_) => {}
        }
        rest(child, pause).await;
        pause = (pause * 2).min(LAST_LOOK);
    }
}

/// Lets a pause pass; less when the supervisor, as our child, ends in it.
async fn rest(child: &mut Option<Child>, pause: Duration) {
    let Some(waited) = child else { return tokio::time::sleep(pause).await };
    // Waiting again after a dropped wait gives the same status; the status says nothing that the result does not.
    if let Ok(_status) = tokio::time::timeout(pause, waited.wait()).await {
        *child = None;
    }
}

/// Has the supervisor end its job, asking again at each look: it may not have said its PID yet. `None` = it did not end in time.
async fn terminate(folder: &Path, child: &mut Option<Child>) -> Option<State> {
    let ending = async {
        loop {
            match folder::state(folder) {
                Ok(State::Running) => folder::terminate(folder, child.as_ref().and_then(Child::id)),
                Ok(state) => return state,
                // It is looked at again.
                Err(_) => {}
            }
            rest(child, FIRST_LOOK * 2).await;
        }
    };
    let state = tokio::time::timeout(supervisor::GRACE + SPARE, ending).await.ok()?;
    if matches!(state, State::Orphaned) {
        return orphans::end(folder, supervisor::GRACE).await.ok()?.then_some(State::Lost);
    }
    Some(state)
}

/// Who follows which job in this process: the last one may stop it.
#[derive(Debug, Default)]
struct Followers {
    last: Mutex<HashMap<PathBuf, u64>>,
}

/// One that follows a job, until it is dropped.
struct Following {
    followers: Arc<Followers>,
    folder: PathBuf,
    turn: u64,
}

impl Followers {
    fn join(followers: &Arc<Self>, folder: &Path) -> Following {
        let mut last = followers.last.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = last.get(folder).map_or(0, |turn| turn + 1);
        last.insert(folder.to_owned(), turn);
        Following { followers: Arc::clone(followers), folder: folder.to_owned(), turn }
    }
}

impl Following {
    fn is_last(&self) -> bool {
        self.followers.last.lock().unwrap_or_else(PoisonError::into_inner).get(&self.folder) == Some(&self.turn)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut last = self.followers.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.get(&self.folder) == Some(&self.turn) {
            last.remove(&self.folder);
        }
    }
}

#[async_trait]
impl Performer for Jobs {
    async fn perform(&self, key: &AttemptKey, effect: Effect, stop: &CancellationToken) -> Outcome {
        let done = match effect {
            Effect::Job { argv, mut env, directory, timeout_ms, keep_bytes, idempotent } => {
                env.push((KEY.to_owned(), key.idempotency_key()));
                env.push((EXECUTION.to_owned(), key.execution.to_string()));
                self.start(key, Job { argv, env, directory, timeout_ms, keep_bytes }, idempotent, stop).await
            }
            Effect::AttachJob { timeout_ms, .. } => Ok(self.attach(key, Duration::from_millis(timeout_ms), stop).await),
            Effect::StopJob {} => self.stop(key).await,
            other => return Outcome::Failed { error: format!("{} is no effect on jobs", other.word()), retryable: false },
        };
        // A file that could not be written or a process that could not be begun: nothing ran, and nothing was stopped.
        done.unwrap_or_else(|e| Outcome::Failed { error: format!("the job could not be begun or stopped: {e}"), retryable: true })
    }

    fn outlived(&self) -> BTreeSet<ExecutionId> {
        self.executions(|state| matches!(state, Ok(State::Running | State::Ended { .. } | State::Orphaned) | Err(_)))
    }

    fn running(&self) -> BTreeSet<ExecutionId> {
        self.executions(|state| matches!(state, Ok(State::Running | State::Orphaned) | Err(_)))
    }
}
