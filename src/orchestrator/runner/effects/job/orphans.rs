//! Processes of a job whose supervisor was killed: nobody bounds their time, reads their output or hears their end.
//!
//! They are told by the job's key in their environment, so that a process that got a PID used before is never taken for one of them.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::KEY;
use super::folder;
use crate::host::family::Kin;

/// Those of the job in this folder.
pub(super) fn of(at: &Path) -> io::Result<Kin> {
    Ok(Kin { mark: folder::key(at)?.map(|key| format!("{KEY}={key}")), ..Kin::default() })
}

/// Asks them to end, and after the grace makes them. True when none is left.
pub(super) async fn end(at: &Path, grace: Duration) -> io::Result<bool> {
    of(at)?.end(Signal::TERM, grace).await
}
