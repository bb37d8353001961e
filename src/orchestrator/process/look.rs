//! Where the process of a folder stands, told from the folder and from `/proc` alone.

use std::io;
use std::path::Path;

use super::record;
use super::record::Run;
use crate::host::family::Kin;
use crate::host::folder;
use crate::host::process;
use crate::host::process::Process;

/// Where it stands.
#[derive(Debug)]
pub(super) enum Seen {
    /// It runs, and a keeper looks after it.
    Kept(Run),
    /// A keeper lives; its command is not there yet, or not any more.
    Between(Option<Run>),
    /// No keeper lives, and something of it does.
    Unkept {
        /// The command, where it lives.
        main: Option<Process>,
    },
    /// Nothing of it lives.
    Gone(Option<Run>),
}

pub(super) fn look(at: &Path, boot: &str) -> io::Result<Seen> {
    // The lock first: a keeper may end between the two looks, but what it recorded stays.
    let is_kept = folder::is_locked(at)? == Some(true);
    let run = folder::read::<Run>(at, record::RUN)?;
    let main = run.as_ref().map_or(Ok(None), |run| living(run, boot))?;
    // A record of the host's last life is not this keeper's; one that takes a command up holds the lock before it is on record.
    let is_its_own = match &run {
        Some(run) if is_kept && run.boot == boot => process::lives(run.keeper)?,
        Some(_) | None => false,
    };
    Ok(match (is_kept, run) {
        (true, Some(run)) if main.is_some() && run.ended.is_none() && is_its_own => Seen::Kept(run),
        (true, run) => Seen::Between(run.filter(|_| is_its_own)),
        (false, run) => match main {
            Some(main) => Seen::Unkept { main: Some(main) },
            None if kin(at, boot)?.members()?.is_empty() => Seen::Gone(run),
            None => Seen::Unkept { main: None },
        },
    })
}

/// The command, if it lives.
pub(super) fn main(at: &Path, boot: &str) -> io::Result<Option<Process>> {
    folder::read::<Run>(at, record::RUN)?.map_or(Ok(None), |run| living(&run, boot))
}

/// What makes a process one of this folder's.
pub(super) fn kin(at: &Path, boot: &str) -> io::Result<Kin> {
    let session = folder::read::<Run>(at, record::RUN)?.filter(|run| run.boot == boot).map(|run| run.founder);
    Ok(Kin { mark: Some(format!("{}={}", record::MARK, at.display())), session, ancestor: None })
}

fn living(run: &Run, boot: &str) -> io::Result<Option<Process>> {
    match run.main {
        Some(main) if run.boot == boot => Ok(process::lives(main)?.then_some(main)),
        Some(_) | None => Ok(None),
    }
}
