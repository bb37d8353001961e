//! What a job's folder holds.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::orchestrator::engine::effect::Outcome;

/// What to run.
pub const JOB: &str = "job.json";
/// Held by the supervisor as long as it lives.
pub const LOCK: &str = "lock";
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

/// Makes a folder that only this user can look into: a job's environment may hold secrets.
pub fn private_directory(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Writes a file so that after a crash it is there whole or not at all.
pub fn write(folder: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(value).map_err(io::Error::other)?;
    let draft = folder.join(draft(name));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&draft, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// Reads it; `None` when it is not there.
pub fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> io::Result<Option<T>> {
    match fs::read(folder.join(name)) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::other),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Takes the room for a result.
pub fn reserve(folder: &Path) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(folder.join(draft(RESULT)))?;
    file.write_all(&[b' '; RESERVED])?;
    file.sync_all()
}

/// Writes the result into the room that was taken for it, and then into its place.
pub fn finish(folder: &Path, ended: &Ended) -> io::Result<()> {
    let mut text = serde_json::to_vec(ended).map_err(io::Error::other)?;
    // What is left of the room is blanks, which JSON does not mind.
    text.resize(text.len().max(RESERVED), b' ');
    let mut file = fs::OpenOptions::new().write(true).open(folder.join(draft(RESULT)))?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(folder.join(draft(RESULT)), folder.join(RESULT))?;
    File::open(folder)?.sync_all()
}

fn draft(name: &str) -> String {
    format!("{name}.new")
}

/// How the job of this folder ended, and whether it was stopped; `None` when it left no result.
pub fn outcome(folder: &Path) -> io::Result<Option<(Outcome, bool)>> {
    let Some(ended) = read::<Ended>(folder, RESULT)? else { return Ok(None) };
    let stopped = ended.stopped;
    if let Some(error) = ended.error {
        return Ok(Some((Outcome::Failed { error, retryable: false }, stopped)));
    }
    let (stdout, stderr) = (tail(folder, "stdout", ended.keep_bytes)?, tail(folder, "stderr", ended.keep_bytes)?);
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

/// Name of the older half of an output: see [`super::supervisor`].
pub fn older(name: &str) -> String {
    format!("{name}.old")
}

/// The last bytes of an output.
fn tail(folder: &Path, name: &str, keep: u64) -> io::Result<Vec<u8>> {
    let newer = last(&folder.join(name), keep)?;
    let mut bytes = last(&folder.join(older(name)), keep - newer.len() as u64)?;
    bytes.extend(newer);
    Ok(bytes)
}

fn last(path: &Path, keep: u64) -> io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let from = file.metadata()?.len().saturating_sub(keep);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(keep).read_to_end(&mut bytes)?;
    Ok(bytes)
}
