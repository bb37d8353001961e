//! A systemd unit as `systemctl` shows, stops and starts it.

use std::time::Duration;

use crate::host::command;
use crate::host::process;
use crate::model::Generation;

/// What is asked of a unit: systemd(1), `org.freedesktop.systemd1(5)`.
const PROPERTIES: &str = "--property=LoadState,ActiveState,MainPID,ExecMainStartTimestampMonotonic,InvocationID,Result,ExecMainCode,\
     ExecMainStatus,ActiveEnterTimestampMonotonic,CollectMode";

/// What systemd says of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unit {
    load: String,
    active: String,
    main_pid: u32,
    started_monotonic_us: u64,
    active_monotonic_us: u64,
    invocation: String,
    result: String,
    ended_code: i32,
    ended_status: i32,
    collect: String,
}

impl Unit {
    /// Neither running nor on its way up or down.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_loaded() && matches!(self.active.as_str(), "inactive" | "failed")
    }

    /// systemd has read it and can start it.
    pub(super) fn is_loaded(&self) -> bool {
        self.load == "loaded"
    }

    /// systemd's word for it.
    pub(super) fn state(&self) -> &str {
        &self.active
    }

    /// For messages.
    pub(super) fn describe(&self) -> String {
        if self.is_loaded() { self.active.clone() } else { self.load.clone() }
    }

    /// Its main process, where there is one.
    pub(super) fn main_pid(&self) -> Option<u32> {
        (self.main_pid > 0).then_some(self.main_pid)
    }

    /// Names this life of it; empty before the first.
    pub(super) fn invocation(&self) -> String {
        self.invocation.clone()
    }

    /// It was begun since the host started.
    pub(super) fn was_begun(&self) -> bool {
        self.started_monotonic_us > 0 || !self.invocation.is_empty()
    }

    /// For how long it has been active.
    pub(super) fn active_for(&self) -> Option<Duration> {
        let now = process::since_boot().ok()?;
        (self.active_monotonic_us > 0).then(|| now.saturating_sub(Duration::from_micros(self.active_monotonic_us)))
    }

    /// Exit code and signal of its last main process, by `ExecMainCode`: 1 is `CLD_EXITED`, 2 and 3 are killed and dumped.
    pub(super) fn ended(&self) -> (Option<i32>, Option<i32>) {
        match self.ended_code {
            1 => (Some(self.ended_status), None),
            2 | 3 => (None, Some(self.ended_status)),
            _ => (None, None),
        }
    }

    /// systemd drops its record once it failed, and it looks then as if somebody had stopped it: systemd.unit(5), `CollectMode`.
    pub(super) fn forgets_failures(&self) -> bool {
        self.collect == "inactive-or-failed"
    }

    /// Why systemd does not start it again, where that is not how its process ended.
    pub(super) fn gave_up(&self) -> Option<&str> {
        (!matches!(self.result.as_str(), "" | "success" | "exit-code" | "signal" | "core-dump")).then_some(self.result.as_str())
    }

    /// The main process of this life of it, when there is one.
    pub(super) fn generation(&self) -> Option<Generation> {
        let Self { main_pid, started_monotonic_us, invocation, .. } = self;
        (*main_pid > 0).then(|| Generation(format!("pid {main_pid} started {started_monotonic_us} us after boot, invocation {invocation}")))
    }
}

/// The program that speaks to systemd: `systemctl`, or a stand-in for tests.
#[derive(Clone, Debug)]
pub(super) struct Systemctl(pub(super) Vec<String>);

impl Default for Systemctl {
    fn default() -> Self {
        Self(vec!["systemctl".to_owned()])
    }
}

impl Systemctl {
    /// What systemd says of the unit; the error is for people.
    pub(super) async fn show(&self, unit: &str, limit: Duration) -> Result<Unit, String> {
        let ended = command::output(&self.argv(&["show", PROPERTIES, "--", unit]), limit).await.map_err(|e| e.to_string())?;
        if !ended.status.success() {
            return Err(ended.describe());
        }
        parse(&ended.stdout).ok_or_else(|| "systemctl show cannot be read".to_owned())
    }

    /// `systemctl VERB UNIT`: returns when systemd is done with it.
    pub(super) async fn ask(&self, verb: &str, unit: &str, limit: Duration) -> Result<command::Ended, command::Error> {
        command::output(&self.argv(&[verb, "--", unit]), limit).await
    }

    fn argv(&self, arguments: &[&str]) -> Vec<String> {
        self.0.iter().map(String::as_str).chain(arguments.iter().copied()).map(str::to_owned).collect()
    }
}

fn parse(text: &[u8]) -> Option<Unit> {
    let mut unit = Unit::default();
    for line in std::str::from_utf8(text).ok()?.lines() {
        match line.split_once('=')? {
            ("LoadState", word) => unit.load = word.to_owned(),
            ("ActiveState", word) => unit.active = word.to_owned(),
            ("MainPID", number) => unit.main_pid = number.parse().ok()?,
            ("ExecMainStartTimestampMonotonic", number) => unit.started_monotonic_us = number.parse().ok()?,
            ("ActiveEnterTimestampMonotonic", number) => unit.active_monotonic_us = number.parse().ok()?,
            ("InvocationID", word) => unit.invocation = word.to_owned(),
            ("Result", word) => unit.result = word.to_owned(),
            ("ExecMainCode", number) => unit.ended_code = number.parse().ok()?,
            ("ExecMainStatus", number) => unit.ended_status = number.parse().ok()?,
            ("CollectMode", word) => unit.collect = word.to_owned(),
            _ => {}
        }
    }
    (!unit.load.is_empty() && !unit.active.is_empty()).then_some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_systemctl_shows() {
        let text = b"MainPID=812\nExecMainStartTimestampMonotonic=55\nLoadState=loaded\nActiveState=active\nInvocationID=ab\n";
        let unit = parse(text).unwrap();
        assert!(!unit.is_stopped() && unit.was_begun());
        assert_eq!(unit.generation(), Some(Generation("pid 812 started 55 us after boot, invocation ab".to_owned())));
        for (text, stopped) in [
            ("MainPID=0\nLoadState=loaded\nActiveState=inactive", true),
            ("MainPID=0\nLoadState=loaded\nActiveState=failed", true),
            ("MainPID=0\nLoadState=loaded\nActiveState=deactivating", false),
            ("MainPID=0\nLoadState=not-found\nActiveState=inactive", false),
        ] {
            let unit = parse(text.as_bytes()).unwrap();
            assert_eq!((unit.is_stopped(), unit.generation(), unit.was_begun()), (stopped, None, false), "{text}");
        }
        for text in ["", "nonsense", "MainPID=x\nLoadState=loaded\nActiveState=active"] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn tells_how_it_ended() {
        let ended = |text: &str| parse(format!("LoadState=loaded\nActiveState=failed\n{text}").as_bytes()).unwrap();
        let exit = ended("Result=exit-code\nExecMainCode=1\nExecMainStatus=3");
        assert_eq!((exit.ended(), exit.gave_up()), ((Some(3), None), None));
        let killed = ended("Result=start-limit-hit\nExecMainCode=2\nExecMainStatus=9");
        assert_eq!((killed.ended(), killed.gave_up()), ((None, Some(9)), Some("start-limit-hit")));
    }
}
