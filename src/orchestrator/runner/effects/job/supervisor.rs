//! The process between the agent and a command: it outlives the agent, keeps the ends of the command's outputs, and leaves its exit code.
//!
//! What must stay true: the room for the result is taken and its own PID is in place before the command is begun; the result is in place before the lock on
//! its standard input is let go of; the command's whole process group is gone by then.
//! The outputs take at most twice what is kept of them: each is two files, and the older is thrown away when the newer is full.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;

use futures::FutureExt;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process_group;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::process::Child;
use tokio::process::Command;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use super::record;
use super::record::Ended;
use super::record::Job;
use crate::host::folder;
use crate::host::tail::Tail;

/// From the request to end until the command is killed.
pub const GRACE: Duration = Duration::from_secs(10);

/// How long outputs are read after the command ended: what it left behind may hold them open for ever.
const DRAIN: Duration = Duration::from_millis(500);

/// Runs the job of this folder to its end.
pub async fn run(at: &Path) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let job: Job = folder::read(at, record::JOB)?.ok_or_else(|| io::Error::other("there is no job in this folder"))?;
    let blank = Ended { code: None, signal: None, timed_out: false, bytes: 0, keep_bytes: job.keep_bytes, stopped: false, error: None };
    record::reserve(at)?;
    folder::write(at, record::PID, &std::process::id())?;
    if terminate.recv().now_or_never().is_some() {
        let error = Some("the job was called off before its command was begun".to_owned());
        return record::finish(at, &Ended { stopped: true, error, ..blank });
    }
    let mut child = match begin(&job) {
        Ok(child) => child,
        Err(e) => {
            let error = Some(format!("{} could not be started: {e}", job.argv.first().map_or("the command", String::as_str)));
            return record::finish(at, &Ended { error, ..blank });
        }
    };
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let mut outputs = tokio::task::JoinSet::new();
    if let Some(out) = child.stdout.take() {
        outputs.spawn(keep(out, Tail::new(at.join("stdout"), job.keep_bytes)));
    }
    if let Some(out) = child.stderr.take() {
        outputs.spawn(keep(out, Tail::new(at.join("stderr"), job.keep_bytes)));
    }
    let (mut timed_out, mut stopped) = (false, false);
    let status = tokio::select! {
        // Waiting again after a dropped wait gives the same status.
        status = child.wait() => status?,
        () = tokio::time::sleep(job.limit()) => {
            timed_out = true;
            end(&mut child, group).await?
        }
        _ = terminate.recv() => {
            stopped = true;
            end(&mut child, group).await?
        }
    };
    signal_group(group, Signal::KILL);
    let mut bytes = 0;
    // Those that have not ended by then are given up with the process.
    let _ = tokio::time::timeout(DRAIN, async {
        while let Some(read) = outputs.join_next().await {
            bytes += read.unwrap_or(0);
        }
    })
    .await;
    record::finish(at, &Ended { code: status.code(), signal: status.signal(), timed_out, bytes, stopped, ..blank })
}

fn begin(job: &Job) -> io::Result<Child> {
    let (program, arguments) = job.argv.split_first().ok_or_else(|| io::Error::other("the command is empty"))?;
    let mut command = Command::new(program);
    command.args(arguments).envs(job.env.iter().map(|(name, value)| (name, value)));
    if let Some(directory) = &job.directory {
        command.current_dir(directory);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()
}

/// Asks the command to end, then makes it.
async fn end(child: &mut Child, group: Option<Pid>) -> io::Result<ExitStatus> {
    signal_group(group, Signal::TERM);
    if let Ok(status) = tokio::time::timeout(GRACE, child.wait()).await {
        return status;
    }
    signal_group(group, Signal::KILL);
    child.wait().await
}

/// A group that is gone needs no signal.
fn signal_group(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        let _ = kill_process_group(group, signal);
    }
}

/// Reads an output to its end and gives the number of its bytes. A full disk loses the output, not the job.
async fn keep(mut out: impl AsyncRead + Unpin, mut kept: Tail) -> u64 {
    let (mut buffer, mut bytes) = (vec![0; 16 * 1024], 0);
    while let Ok(read @ 1..) = out.read(&mut buffer).await {
        bytes += read as u64;
        let _ = kept.write(&buffer[..read]);
    }
    bytes
}
