//! Which process is it: a pid alone is used again, a pid and its start are not.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;

/// A process of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    let stat = std::fs::read(format!("/proc/{pid}/stat"))?;
    let (state, start_ticks) =
        parse_stat(&stat).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/…/stat makes no sense"))?;
    if matches!(state, b'Z' | b'X') { Err(io::ErrorKind::NotFound.into()) } else { Ok(Process { pid, start_ticks }) }
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

/// Fields 3 and 22 of `/proc/PID/stat`. The command name before them may hold anything, brackets and blanks too.
fn parse_stat(stat: &[u8]) -> Option<(u8, u64)> {
    let end = stat.iter().rposition(|b| *b == b')')?;
    let mut fields = std::str::from_utf8(&stat[end + 1..]).ok()?.split_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let stat = b"12 (a) R 1 (b) S 1 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 9 9 9";
        assert_eq!(parse_stat(stat), Some((b'S', 777)));
        assert_eq!(parse_stat(b"12 (a"), None);
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
