//! Figures of a process and of this host, as the kernel shows them: only those that are asked for are read.
//!
//! What must stay true: nothing here waits on anything but the kernel; whoever calls it bounds that, since a mount whose server is gone can hold a
//! caller for ever.

use std::fs;
use std::path::PathBuf;

use sysinfo::Pid;
use sysinfo::ProcessRefreshKind;
use sysinfo::ProcessesToUpdate;
use sysinfo::System;

use crate::model::Vitals;

/// What is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of the process: resident memory and processor time.
    pub usage: bool,
    /// Of the process: threads.
    pub threads: bool,
    /// Of the process: open files.
    pub files: bool,
    /// Mounts whose free space and inodes are read.
    pub mounts: Vec<PathBuf>,
    /// Load average.
    pub load: bool,
    /// Kills for want of memory.
    pub oom_kills: bool,
}

/// Reads what is wanted, of this process where one is named. Which process that is, only whoever names it can tell.
pub fn read(wanted: &Wanted, pid: Option<u32>) -> Vitals {
    let mut vitals = Vitals::default();
    if let Some(pid) = pid {
        process(wanted, pid, &mut vitals);
    }
    for mount in &wanted.mounts {
        let Ok(of) = rustix::fs::statvfs(mount) else { continue };
        let name = mount.display().to_string();
        if let Some(percent) = percent(of.f_bavail, of.f_blocks.saturating_sub(of.f_bfree).saturating_add(of.f_bavail)) {
            vitals.disk_free_percent.insert(name.clone(), percent);
        }
        if let Some(percent) = percent(of.f_favail, of.f_files) {
            vitals.inodes_free_percent.insert(name, percent);
        }
    }
    if wanted.load {
        vitals.load_percent = load();
    }
    if wanted.oom_kills {
        vitals.oom_kills = fs::read_to_string("/proc/vmstat").ok().and_then(|text| oom_kills(&text));
    }
    vitals
}

fn process(wanted: &Wanted, pid: u32, vitals: &mut Vitals) {
    if (wanted.usage || wanted.files)
        && let Ok(mut system) = System::new()
    {
        let kind = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
        let pid = Pid::from_u32(pid);
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, kind);
        if let Some(process) = system.process(pid) {
            if wanted.usage {
                (vitals.memory_bytes, vitals.cpu_ms) = (Some(process.memory()), Some(process.accumulated_cpu_time()));
            }
            if wanted.files {
                vitals.files = process.open_files().and_then(|files| u32::try_from(files).ok());
            }
        }
    }
    if wanted.threads {
        vitals.threads = fs::read_to_string(format!("/proc/{pid}/status")).ok().and_then(|text| threads(&text));
    }
}

fn load() -> Option<u32> {
    let one = System::load_average().ok()?.one;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Far above any load that a machine lives through, and far below what the type holds.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "clamped")]
    Some((one * 100.0 / cores as f64).clamp(0.0, 1e9) as u32)
}

fn percent(part: u64, whole: u64) -> Option<u32> {
    u32::try_from(u128::from(part) * 100 / u128::from((whole > 0).then_some(whole)?)).ok()
}

/// Threads, of `/proc/PID/status`.
pub fn threads(text: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse().ok()
}

/// Kills for want of memory since boot, of `/proc/vmstat`.
pub fn oom_kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_figures_and_only_those_that_are_wanted() {
        let own = std::process::id();
        let wanted = Wanted {
            usage: true,
            threads: true,
            files: true,
            mounts: vec![PathBuf::from("/proc"), PathBuf::from("/")],
            load: true,
            oom_kills: true,
        };
        let all = read(&wanted, Some(own));
        assert!(all.memory_bytes.is_some_and(|bytes| bytes > 1 << 20), "{all:?}");
        assert!(all.cpu_ms.is_some() && all.threads.is_some_and(|n| n >= 1) && all.files.is_some_and(|n| n >= 3), "{all:?}");
        assert!(all.disk_free_percent.get("/").is_some_and(|percent| *percent <= 100), "{all:?}");
        assert!(!all.inodes_free_percent.contains_key("/proc") && all.load_percent.is_some(), "{all:?}");
        assert_eq!(read(&Wanted::default(), Some(own)), Vitals::default());
    }

    #[test]
    fn a_process_that_is_gone_has_none() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(read(&Wanted { usage: true, threads: true, files: true, ..Wanted::default() }, Some(pid)), Vitals::default());
    }

    #[test]
    fn what_the_kernel_writes_is_understood() {
        assert_eq!(threads("Name:\tjava\nThreads:\t212\n"), Some(212));
        assert_eq!(threads("Threads:\tmany"), None);
        assert_eq!(oom_kills("nr_free_pages 12\noom_kill 3\n"), Some(3));
        assert_eq!(oom_kills(""), None);
        assert_eq!((percent(1, 3), percent(1, 0), percent(u64::MAX, u64::MAX)), (Some(33), None, Some(100)));
    }
}
