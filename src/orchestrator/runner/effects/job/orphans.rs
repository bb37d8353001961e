//! Processes of a job whose supervisor was killed: nobody bounds their time, reads their output or hears their end.
//!
//! They are told by the job's key in their environment, so that a process that got a PID used before is never taken for one of them.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;

use super::KEY;
use super::folder;

/// Between two looks at those that were told to end.
const LOOK: Duration = Duration::from_millis(50);
/// After they were killed.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// Processes of the job in this folder.
pub(super) fn of(folder: &Path) -> io::Result<Vec<Pid>> {
    let Some(key) = folder::key(folder)? else { return Ok(Vec::new()) };
    let mark = format!("{KEY}={key}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else { continue };
        // Those of others cannot be read, and are none of ours; one that just ended is gone.
        let Ok(environ) = fs::read(entry.path().join("environ")) else { continue };
        if environ.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Asks them to end, and after the grace makes them. True when none is left.
pub(super) async fn end(folder: &Path, grace: Duration) -> io::Result<bool> {
    for (signal, time) in [(Signal::TERM, grace), (Signal::KILL, GONE_WITHIN)] {
        for pid in of(folder)? {
            let _ = kill_process(pid, signal);
        }
        let gone = async {
            loop {
                if of(folder)?.is_empty() {
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        // Out of time: the next signal, or some are left.
        if let Ok(gone) = tokio::time::timeout(time, gone).await {
            return gone.map(|()| true);
        }
    }
    Ok(false)
}
