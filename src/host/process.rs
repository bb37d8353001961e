//! Which process is it: a pid alone is used again, a pid and its start are not.
//!
//! What must stay true: dead is only who the kernel says is not there. A read that fails for another reason, as without file descriptors or memory, says
//! nothing: whoever took it for an end would begin a second one beside a living one. Where `/proc` is mounted so that it hides other users' processes
//! (`ProtectProc=` of a unit, `hidepid=`), what is not to be seen is looked for by a signal that does nothing.

use std::fs::File;
use std::io;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;
use rustix::process::pidfd_open;
use rustix::process::pidfd_send_signal;
use rustix::process::test_kill_process;
use serde::Deserialize;
use serde::Serialize;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::family::Member;

/// Between two looks at a process whose end the kernel does not tell.
const LOOK: Duration = Duration::from_millis(250);

/// A process of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Its pid.
    pub pid: u32,
    /// When it started, in clock ticks (usually 10 ms) since boot. Taken from the kernel as it is: a start as time of day, which sysinfo
    /// gives, moves with every correction of the clock and would look like a restart.
    pub start_ticks: u64,
}

/// A pid file is a line.
const LONGEST_PID_FILE: u64 = 64;

/// The process with this pid; `NotFound` when there is none, or when it is dead and only waits for its parent.
pub fn find(pid: u32) -> io::Result<Process> {
    member(pid).map(|member| member.process)
}

/// The same, with where it stands among the others.
pub fn member(pid: u32) -> io::Result<Member> {
    let Stat { member, is_dead } = stat(pid)?;
    if is_dead { Err(io::ErrorKind::NotFound.into()) } else { Ok(member) }
}

/// The process with this pid, also when it is dead and waits for its parent, who alone can be sure of the pid then.
pub fn find_child(pid: u32) -> io::Result<Process> {
    stat(pid).map(|stat| stat.member.process)
}

/// Whether this very process lives.
///
/// # Errors
/// Nobody can say.
pub fn lives(process: Process) -> io::Result<bool> {
    is_it(process, find(process.pid))
}

fn is_it(process: Process, found: io::Result<Process>) -> io::Result<bool> {
    match found {
        Ok(found) => Ok(found == process),
        Err(e) if is_gone(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

/// The kernel says that it is not there, if only since the file about it was opened.
pub fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || Errno::from_io_error(error) == Some(Errno::SRCH)
}

/// Sends a signal to this very process. False: it is gone.
pub fn signal(process: Process, signal: Signal) -> io::Result<bool> {
    // Opened first and compared then: what is told is what was compared, whoever has its pid by now.
    let Some(handle) = handle(process)? else { return Ok(false) };
    match pidfd_send_signal(handle, signal) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Returns once this process has ended, whoever its parent is. Wakes for nothing else. Cancel-safe: it only looks.
pub async fn gone(process: Process) {
    while lives(process).unwrap_or(true) {
        match handle(process).ok().flatten().and_then(watched) {
            // It is told once, and then it is so; an error is looked into like an end.
            Some(handle) => drop(handle.readable().await.map(drop)),
            None => tokio::time::sleep(LOOK).await,
        }
    }
}

/// What the kernel answers to a signal for this pid that does nothing.
fn told(pid: u32) -> Result<(), Errno> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).map_or(Err(Errno::SRCH), test_kill_process)
}

/// What is not in `/proc` and can be told something is hidden, not gone.
fn unless_there(unseen: io::Error, told: Result<(), Errno>) -> io::Error {
    match told {
        Ok(()) | Err(Errno::PERM) if unseen.kind() == io::ErrorKind::NotFound => io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is there, and hidden from us (ProtectProc= of the unit, or how /proc is mounted)",
        ),
        Ok(()) | Err(_) => unseen,
    }
}

#[expect(deprecated, reason = "unsound only for what lets go of its file: an owned one is open as long as it is registered")]
fn watched(handle: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(handle, Interest::READABLE).ok()
}

/// `None`: it is gone.
fn handle(process: Process) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(Errno::SRCH) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    Ok(lives(process)?.then_some(handle))
}

/// How long this host has been up, by the clock that does not stop for anything but a suspended host, as systemd's monotonic times.
pub fn since_boot() -> io::Result<Duration> {
    let text = std::fs::read_to_string("/proc/uptime")?;
    let seconds = text.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
    let sound = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    sound.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/uptime makes no sense"))
}

/// The process that a pid file names.
pub fn find_by_pid_file(path: &Path) -> io::Result<Process> {
    let mut text = Vec::new();
    File::open(path)?.take(LONGEST_PID_FILE).read_to_end(&mut text)?;
    find(parse_pid(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the file holds no pid"))?)
}

fn parse_pid(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.split_whitespace().next()?.parse().ok().filter(|pid| *pid > 0)
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The process, and what it belongs to.
    pub member: Member,
    /// It has ended, and nobody has asked how.
    pub is_dead: bool,
}

fn stat(pid: u32) -> io::Result<Stat> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).map_err(|unseen| unless_there(unseen, told(pid)))?;
    parse_stat(pid, &text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/…/stat makes no sense"))
}

/// Fields 3 to 6, 20 and 22 of `/proc/PID/stat`. The command name before them may hold anything, brackets and blanks too.
pub fn parse_stat(pid: u32, stat: &[u8]) -> Option<Stat> {
    let end = stat.iter().rposition(|b| *b == b')')?;
    let fields: Vec<&str> = std::str::from_utf8(&stat[end + 1..]).ok()?.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let pids = |field: usize| number(field).and_then(|n| u32::try_from(n).ok());
    let state = *fields.first()?.as_bytes().first()?;
    let process = Process { pid, start_ticks: number(22)? };
    // Only its first thread has ended when there are others: the process lives.
    let is_dead = matches!(state, b'Z' | b'X') && number(20)? <= 1;
    // Kernel threads have no group, and a session of 0.
    let member = Member { process, parent: pids(4)?, group: pids(5).unwrap_or(0), session: pids(6).unwrap_or(0) };
    Some(Stat { member, is_dead })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_hides_is_not_gone() {
        let unseen = |told| unless_there(io::ErrorKind::NotFound.into(), told);
        assert!(is_gone(&unseen(Err(Errno::SRCH))));
        for there in [Ok(()), Err(Errno::PERM)] {
            assert_eq!((unseen(there).kind(), is_gone(&unseen(there))), (io::ErrorKind::PermissionDenied, false), "{there:?}");
        }
        assert!(is_gone(&unless_there(Errno::SRCH.into(), Ok(()))), "it ended while it was read");
        assert_eq!(told(std::process::id()), Ok(()));
        assert!(told(1) != Err(Errno::SRCH) && told(u32::MAX) == Err(Errno::SRCH));
    }

    #[test]
    fn a_process_keeps_its_start_and_another_has_its_own_pid() {
        let me = find(std::process::id()).unwrap();
        assert_eq!(me, find(std::process::id()).unwrap());
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let other = find(child.id()).unwrap();
        child.kill().unwrap();
        assert!(other.start_ticks >= me.start_ticks && other != me);
        child.wait().unwrap();
        assert_eq!(find(other.pid).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn only_who_is_not_there_is_dead() {
        let process = Process { pid: 12, start_ticks: 777 };
        let another = Process { start_ticks: 778, ..process };
        assert!(is_it(process, Ok(process)).unwrap() && !is_it(process, Ok(another)).unwrap());
        for gone in [Errno::NOENT, Errno::SRCH] {
            assert!(!is_it(process, Err(gone.into())).unwrap());
        }
        for unsaid in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ACCESS, Errno::IO] {
            assert!(is_it(process, Err(unsaid.into())).is_err(), "{unsaid}");
        }
    }

    #[test]
    fn a_zombie_is_no_process() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        rustix::process::waitid(
            rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child)),
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
        )
        .unwrap();
        assert_eq!(find(pid).unwrap_err().kind(), io::ErrorKind::NotFound);
        child.wait().unwrap();
    }

    #[test]
    fn reads_past_a_name_that_looks_like_fields() {
        let stat = b"12 (a) R 1 (b) S 1 10 11 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 9 9 9";
        let read = parse_stat(12, stat).unwrap();
        let expected = Member { process: Process { pid: 12, start_ticks: 777 }, parent: 1, group: 10, session: 11 };
        assert_eq!((read.member, read.is_dead), (expected, false));
        assert!(parse_stat(12, b"12 (a").is_none());
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_lives() {
        let stat = |threads: u32| format!("12 (a) Z 1 10 11 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 {threads} 0 777 9 9 9");
        assert!(!parse_stat(12, stat(2).as_bytes()).unwrap().is_dead);
        assert!(parse_stat(12, stat(1).as_bytes()).unwrap().is_dead);
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_told_and_a_pid_used_again_gets_no_signal() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let process = find(child.id()).unwrap();
        let another = Process { start_ticks: process.start_ticks + 1, ..process };
        gone(another).await;
        assert!(!signal(another, Signal::KILL).unwrap());
        let ending = async { assert!(signal(process, Signal::KILL).unwrap()) };
        tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(gone(process), ending) }).await.expect("nobody told");
        assert!(!signal(process, Signal::KILL).unwrap(), "it is dead, if not waited for");
        child.wait().unwrap();
    }

    #[test]
    fn a_pid_file_holds_one_positive_number() {
        for (text, pid) in
            [("42\n", Some(42)), (" 42 java\n", Some(42)), ("", None), ("0", None), ("-1", None), ("x", None), ("99999999999", None)]
        {
            assert_eq!(parse_pid(text.as_bytes()), pid, "{text:?}");
        }
    }
}
