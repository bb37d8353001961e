//! Commands that the owner configured: run without a shell, bounded in time and output.
//!
//! What must stay true: a command that does not end in time is killed with everything it started (its process group), also when the
//! caller stops waiting; what it left running on purpose after it ended is left alone.

use std::io;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::process::Child;
use tokio::process::Command;
use tokio::time::timeout;

/// The longest output that is read of each stream, in bytes. A number, a word or a message is far below it.
pub const LONGEST_OUTPUT: usize = 64 << 10;

/// How long output may stay open after the command ended: somebody else holds the pipe then, and what was written is there already.
const LINGER: Duration = Duration::from_millis(250);

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Both were read to their end.
    pub complete: bool,
}

impl Ended {
    /// For a message: how it ended and what it said last.
    pub fn describe(&self) -> String {
        let said = String::from_utf8_lossy(&self.stderr);
        match said.trim().lines().next_back() {
            Some(line) => format!("{}: {}", self.status, line.chars().filter(|c| !c.is_control()).take(200).collect::<String>()),
            None => self.status.to_string(),
        }
    }
}

/// Why a command did not end by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration names no program.
    #[error("no program given")]
    Empty,
    /// It could not be started.
    #[error("cannot run {program}: {source}")]
    Start {
        /// The first word.
        program: String,
        /// The system's reason.
        source: io::Error,
    },
    /// It ran longer than the limit and was killed.
    #[error("{program} was killed after {} s", limit.as_secs_f32())]
    TimedOut {
        /// The first word.
        program: String,
        /// The limit.
        limit: Duration,
    },
    /// It wrote more than [`LONGEST_OUTPUT`] and was killed.
    #[error("{program} wrote more than {LONGEST_OUTPUT} bytes")]
    TooLong {
        /// The first word.
        program: String,
    },
}

/// Runs a command to its end and returns what it wrote.
pub async fn output(argv: &[String], limit: Duration) -> Result<Ended, Error> {
    collected(argv, limit, false).await
}

async fn collected(argv: &[String], limit: Duration, alone: bool) -> Result<Ended, Error> {
    let (program, mut running) = Running::start(argv, Stdio::piped, Stdio::piped)?;
    running.alone = alone;
    let mut stdout = Stream { pipe: running.child.stdout.take(), bytes: Vec::new() };
    let mut stderr = Stream { pipe: running.child.stderr.take(), bytes: Vec::new() };
    let to_the_end = async {
        let flood = async {
            match tokio::try_join!(stdout.fill(), stderr.fill()) {
                Ok(_) => std::future::pending().await,
                Err(flood) => flood,
            }
        };
        let status = tokio::select! {
            // Both arms are cancel-safe: `wait` by its contract, `fill` because what it has read is in the stream.
            status = running.wait(program) => status?,
            Flood = flood => return Err(Error::TooLong { program: program.clone() }),
        };
        match timeout(LINGER, async { tokio::try_join!(stdout.fill(), stderr.fill()) }).await {
            Ok(Err(Flood)) => Err(Error::TooLong { program: program.clone() }),
            Ok(Ok(_)) => Ok((status, true)),
            Err(_) => Ok((status, false)),
        }
    };
    let (status, complete) = timeout(limit, to_the_end).await.map_err(|_| Error::TimedOut { program: program.clone(), limit })??;
    Ok(Ended { status, stdout: stdout.bytes, stderr: stderr.bytes, complete })
}

/// As [`output`], and what it left running in its process group ends with it: for a command that is run again and again, so that what each run leaves
/// behind cannot add up.
pub async fn alone(argv: &[String], limit: Duration) -> Result<Ended, Error> {
    collected(argv, limit, true).await
}

/// Runs a command to its end. Its errors go where ours go; its output goes nowhere, so that a daemon it starts may keep it open.
pub async fn status(argv: &[String], limit: Duration) -> Result<ExitStatus, Error> {
    let (program, mut running) = Running::start(argv, Stdio::null, Stdio::inherit)?;
    timeout(limit, running.wait(program)).await.map_err(|_| Error::TimedOut { program: program.clone(), limit })?
}

/// A started command; dropped before its end, its process group is killed.
struct Running {
    child: Child,
    group: Option<Pid>,
    /// Its group ends with it.
    alone: bool,
}

impl Running {
    fn start(argv: &[String], stdout: fn() -> Stdio, stderr: fn() -> Stdio) -> Result<(&String, Self), Error> {
        let (program, arguments) = argv.split_first().ok_or(Error::Empty)?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(stdout())
            .stderr(stderr())
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Start { program: program.clone(), source })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok((program, Self { child, group, alone: false }))
    }

    async fn wait(&mut self, program: &str) -> Result<ExitStatus, Error> {
        let status = self.child.wait().await.map_err(|source| Error::Start { program: program.to_owned(), source })?;
        // The number of a group is not given out again as long as somebody is in it, and where nobody is this fails.
        if !self.alone {
            self.group = None;
        }
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // Fails only when it has just ended by itself.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

/// More than [`LONGEST_OUTPUT`].
struct Flood;

struct Stream<R> {
    pipe: Option<R>,
    bytes: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Stream<R> {
    /// Reads to the end; called again, goes on where it was.
    async fn fill(&mut self) -> Result<(), Flood> {
        while let Some(pipe) = &mut self.pipe {
            match pipe.read_buf(&mut self.bytes).await {
                Ok(0) | Err(_) => self.pipe = None,
                Ok(_) if self.bytes.len() > LONGEST_OUTPUT => return Err(Flood),
                Ok(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn sh(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn returns_what_was_written_and_how_it_ended() {
        let ended = output(&sh("echo 7; echo trouble >&2; exit 3"), LONG).await.unwrap();
        assert_eq!((ended.stdout.as_slice(), ended.status.code(), ended.complete), (b"7\n".as_slice(), Some(3), true));
        assert!(ended.describe().ends_with("3: trouble"), "{}", ended.describe());
    }

    #[tokio::test]
    async fn kills_the_whole_group_when_time_is_up() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("alive");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let mut alive = tokio::net::unix::pipe::OpenOptions::new().open_receiver(&fifo).unwrap();
        let script = format!("exec 3>{}; echo >&3; sleep 600 & wait", fifo.display());
        assert!(matches!(output(&sh(&script), Duration::from_millis(500)).await, Err(Error::TimedOut { .. })));
        let mut said = Vec::new();
        timeout(LONG, alive.read_to_end(&mut said)).await.expect("the grandchild still holds the pipe").unwrap();
        assert_eq!(said, b"\n");
    }

    #[tokio::test]
    async fn refuses_a_flood_at_once() {
        assert!(matches!(output(&sh("yes"), LONG).await, Err(Error::TooLong { .. })));
    }

    #[tokio::test]
    async fn does_not_wait_for_a_daemon_that_keeps_the_pipe_open() {
        let ended = output(&sh("sleep 30 & echo $!"), LONG).await.unwrap();
        assert!(!ended.complete);
        let daemon: i32 = String::from_utf8(ended.stdout).unwrap().trim().parse().unwrap();
        rustix::process::kill_process(Pid::from_raw(daemon).unwrap(), Signal::KILL).expect("the daemon was left alone");
    }

    #[tokio::test]
    async fn names_the_program_that_is_not_there() {
        let error = output(&["/no/such/program".to_owned()], LONG).await.unwrap_err();
        assert!(error.to_string().starts_with("cannot run /no/such/program: "), "{error}");
        assert!(matches!(output(&[], LONG).await, Err(Error::Empty)));
    }
}
