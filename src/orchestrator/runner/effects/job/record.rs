//! What a job's folder holds.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::host::folder;
use crate::host::tail;
use crate::orchestrator::engine::effect::Outcome;

/// What to run.
pub const JOB: &str = "job.json";
/// Of the supervisor. It is written last before the command is begun.
pub const PID: &str = "pid";
/// How it ended.
pub const RESULT: &str = "result.json";
/// Kept free for the result before the command is begun, so that a full disk cannot lose it. Bytes.
const RESERVED: usize = 4096;

/// What to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub directory: Option<String>,
    pub timeout_ms: u64,
    pub keep_bytes: u64,
}

impl Job {
    pub fn limit(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// How it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ended {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub timed_out: bool,
    /// Bytes of both outputs together.
    pub bytes: u64,
    pub keep_bytes: u64,
    /// On request, or because the host went down.
    #[serde(default)]
    pub stopped: bool,
    /// Why it could not be begun at all.
    pub error: Option<String>,
}

/// Takes the room for a result.
pub fn reserve(at: &Path) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(at.join(folder::draft(RESULT)))?;
    file.write_all(&[b' '; RESERVED])?;
    file.sync_all()
}

/// Writes the result into the room that was taken for it, and then into its place.
pub fn finish(at: &Path, ended: &Ended) -> io::Result<()> {
    let mut text = serde_json::to_vec(ended).map_err(io::Error::other)?;
    // What is left of the room is blanks, which JSON does not mind.
    text.resize(text.len().max(RESERVED), b' ');
    let mut file = fs::OpenOptions::new().write(true).open(at.join(folder::draft(RESULT)))?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(at.join(folder::draft(RESULT)), at.join(RESULT))?;
    File::open(at)?.sync_all()
}

/// How the job of this folder ended, and whether it was stopped; `None` when it left no result.
pub fn outcome(at: &Path) -> io::Result<Option<(Outcome, bool)>> {
    let Some(ended) = folder::read::<Ended>(at, RESULT)? else { return Ok(None) };
    let stopped = ended.stopped;
    if let Some(error) = ended.error {
        return Ok(Some((Outcome::Failed { error, retryable: false }, stopped)));
    }
    let (stdout, stderr) = (tail::read(&at.join("stdout"), ended.keep_bytes)?, tail::read(&at.join("stderr"), ended.keep_bytes)?);
    let kept = stdout.len() as u64 + stderr.len() as u64;
    let outcome = Outcome::Job {
        code: ended.code,
        signal: ended.signal,
        timed_out: ended.timed_out,
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        dropped_bytes: ended.bytes.saturating_sub(kept),
    };
    Ok(Some((outcome, stopped)))
}
