//! Which processes of this machine belong together: by descent, by session, or by a mark in their environment.
//!
//! What must stay true: a process that merely got a pid used before is never taken for one of a family. The mark tells for those that run as our user,
//! whoever became their parent; the session for those of other users, whose environment we may not read: its number is not given away as a pid as
//! long as one of its processes lives. What left the session, cleared its environment and lost its parents is nobody's.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::Signal;

use super::process;
use super::process::Process;

/// Between two looks at those that were told to end: each reads all of `/proc`.
const LOOK: Duration = Duration::from_millis(100);
/// After they were killed: the kernel needs moments, unless one is stuck in it.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// A living process and where it stands among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub process: Process,
    /// Its parent's pid.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
}

/// What makes a process one of a family; any of these does.
#[derive(Clone, Debug, Default)]
pub struct Kin {
    /// `NAME=value` in its environment.
    pub mark: Option<String>,
    /// Its session is the one this process began, which may be dead.
    pub session: Option<Process>,
    /// It descends from this one, which lives.
    pub ancestor: Option<u32>,
}

impl Kin {
    /// Those that live, the oldest first; never the caller or the ancestor.
    pub fn members(&self) -> io::Result<Vec<Member>> {
        let all = all()?;
        let marked = match &self.mark {
            Some(mark) => marked(&all, mark, |pid| fs::read(format!("/proc/{pid}/environ")))?,
            None => BTreeSet::new(),
        };
        Ok(select(&all, self, std::process::id(), |member| marked.contains(&member.process.pid)))
    }

    /// Asks all of them to end, and after the grace makes them. True when none is left.
    pub async fn end(&self, signal: Signal, grace: Duration) -> io::Result<bool> {
        if self.leave_after(signal, grace).await? {
            return Ok(true);
        }
        self.kill().await
    }

    /// Kills them until none is left: one may be born while the others die.
    pub async fn kill(&self) -> io::Result<bool> {
        let killing = async {
            loop {
                let members = self.members()?;
                if members.is_empty() {
                    return Ok(());
                }
                for member in members {
                    // One that ended by itself is what was wanted; one that may not be told is still there at the end.
                    let _ = process::signal(member.process, Signal::KILL);
                }
                tokio::time::sleep(LOOK / 4).await;
            }
        };
        tokio::time::timeout(GONE_WITHIN, killing).await.map_or(Ok(false), |gone| gone.map(|()| true))
    }

    /// Sends each a signal and waits. True when none is left.
    async fn leave_after(&self, signal: Signal, within: Duration) -> io::Result<bool> {
        for member in self.members()? {
            let _ = process::signal(member.process, signal);
        }
        self.gone_within(within).await
    }

    /// Tells nobody anything, and waits. True when none is left.
    pub async fn gone_within(&self, within: Duration) -> io::Result<bool> {
        let leaving = async {
            while !self.members()?.is_empty() {
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        tokio::time::timeout(within, leaving).await.map_or(Ok(false), |gone| gone.map(|()| true))
    }
}

/// Of all processes, those of a family.
fn select(all: &[Member], kin: &Kin, own: u32, marked: impl Fn(&Member) -> bool) -> Vec<Member> {
    // A session is another's when its number is a living process that is not its founder.
    let session = kin.session.filter(|founder| all.iter().all(|m| m.process.pid != founder.pid || m.process == *founder));
    let mut descends: BTreeSet<u32> = kin.ancestor.into_iter().collect();
    // A child may stand before its parent, so again until nothing is added.
    loop {
        let before = descends.len();
        let children: Vec<u32> = all.iter().filter(|m| descends.contains(&m.parent)).map(|m| m.process.pid).collect();
        descends.extend(children);
        if descends.len() == before {
            break;
        }
    }
    let of_session = |m: &Member| session.is_some_and(|founder| m.session == founder.pid && m.process.start_ticks >= founder.start_ticks);
    let belongs = |m: &&Member| {
        let founder = session.is_some_and(|founder| founder == m.process);
        let outside = m.process.pid == own || Some(m.process.pid) == kin.ancestor || founder;
        !outside && (descends.contains(&m.process.pid) || of_session(m) || marked(m))
    };
    let mut members: Vec<Member> = all.iter().filter(belongs).copied().collect();
    members.sort_by_key(|m| (m.process.start_ticks, m.process.pid));
    members
}

/// Every living process.
fn all() -> io::Result<Vec<Member>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        all.extend(unless_hidden(process::member(pid))?);
    }
    Ok(all)
}

/// Those with this mark in their environment.
fn marked(all: &[Member], mark: &str, environ: impl Fn(u32) -> io::Result<Vec<u8>>) -> io::Result<BTreeSet<u32>> {
    let mut marked = BTreeSet::new();
    for member in all {
        let environ = unless_hidden(environ(member.process.pid))?.unwrap_or_default();
        if environ.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            marked.insert(member.process.pid);
        }
    }
    Ok(marked)
}

/// `None` for one that just ended, and for another user's that may not be looked at. Any other failure says nothing about anybody: who took it for an
/// end would find a family dead that lives.
fn unless_hidden<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(e) if process::is_gone(&e) || e.kind() == io::ErrorKind::PermissionDenied => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn member(pid: u32, parent: u32, session: u32) -> Member {
        Member { process: Process { pid, start_ticks: u64::from(pid) }, parent, group: pid, session }
    }

    fn pids(kin: &Kin, all: &[Member], marked: &[u32]) -> Vec<u32> {
        select(all, kin, 99, |m| marked.contains(&m.process.pid)).iter().map(|m| m.process.pid).collect()
    }

    #[test]
    fn a_family_is_told_by_descent_by_session_and_by_mark() {
        let all = [member(5, 4, 5), member(4, 3, 4), member(3, 1, 3), member(7, 1, 3), member(8, 1, 8), member(99, 3, 3)];
        assert_eq!(pids(&Kin { ancestor: Some(3), ..Kin::default() }, &all, &[]), [4, 5]);
        let session = Some(Process { pid: 3, start_ticks: 3 });
        assert_eq!(pids(&Kin { session, ..Kin::default() }, &all, &[]), [7]);
        assert_eq!(pids(&Kin::default(), &all, &[8]), [8]);
        assert_eq!(pids(&Kin { session, ancestor: Some(3), mark: None }, &all, &[8]), [4, 5, 7, 8]);
        assert_eq!(pids(&Kin::default(), &all, &[]), [0u32; 0]);
    }

    #[test]
    fn a_family_that_cannot_be_looked_at_is_not_taken_for_dead() {
        let all = [member(5, 1, 5), member(6, 1, 6), member(7, 1, 7)];
        let environ = |error: Option<Errno>| {
            move |pid: u32| match (pid, error) {
                (5, Some(error)) => Err(error.into()),
                (6, _) => Ok(b"A=1\0KEPT=here\0".to_vec()),
                _ => Ok(b"KEPT=hereabouts\0".to_vec()),
            }
        };
        for hidden in [None, Some(Errno::NOENT), Some(Errno::SRCH), Some(Errno::ACCESS), Some(Errno::PERM)] {
            assert_eq!(marked(&all, "KEPT=here", environ(hidden)).unwrap(), BTreeSet::from([6]), "{hidden:?}");
        }
        for unsaid in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
            assert!(marked(&all, "KEPT=here", environ(Some(unsaid))).is_err(), "{unsaid}");
        }
    }

    #[test]
    fn a_session_whose_number_is_another_process_by_now_is_not_ours() {
        let all = [member(3, 1, 3), member(7, 3, 3)];
        let dead = Some(Process { pid: 3, start_ticks: 2 });
        assert_eq!(pids(&Kin { session: dead, ..Kin::default() }, &all, &[]), [0u32; 0]);
        let left = [member(7, 1, 3)];
        assert_eq!(pids(&Kin { session: dead, ..Kin::default() }, &left, &[]), [7], "its founder is dead");
    }
}
