//! A systemd unit as `systemctl` shows, stops and starts it.

use std::time::Duration;

use crate::host::command;
use crate::model::Generation;

/// What systemd says of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unit {
    load: String,
    active: String,
    main_pid: u64,
    started_monotonic_us: u64,
}

impl Unit {
    /// Neither running nor on its way up or down.
    pub(super) fn is_stopped(&self) -> bool {
        self.load == "loaded" && matches!(self.active.as_str(), "inactive" | "failed")
    }

    /// For messages.
    pub(super) fn describe(&self) -> String {
        if self.load == "loaded" { self.active.clone() } else { self.load.clone() }
    }

    /// The main process, when there is one.
    pub(super) fn generation(&self) -> Option<Generation> {
        (self.main_pid > 0).then(|| Generation(format!("pid {} started {} us after boot", self.main_pid, self.started_monotonic_us)))
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
        let argv = self.argv(&["show", "--property=LoadState,ActiveState,MainPID,ExecMainStartTimestampMonotonic", "--", unit]);
        let ended = command::output(&argv, limit).await.map_err(|e| e.to_string())?;
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
        let text = b"MainPID=812\nExecMainStartTimestampMonotonic=55\nLoadState=loaded\nActiveState=active\n";
        let unit = parse(text).unwrap();
        assert!(!unit.is_stopped());
        assert_eq!(unit.generation(), Some(Generation("pid 812 started 55 us after boot".to_owned())));
        for (text, stopped) in [
            ("MainPID=0\nLoadState=loaded\nActiveState=inactive", true),
            ("MainPID=0\nLoadState=loaded\nActiveState=failed", true),
            ("MainPID=0\nLoadState=loaded\nActiveState=deactivating", false),
            ("MainPID=0\nLoadState=not-found\nActiveState=inactive", false),
        ] {
            let unit = parse(text.as_bytes()).unwrap();
            assert_eq!((unit.is_stopped(), unit.generation()), (stopped, None), "{text}");
        }
        for text in ["", "nonsense", "MainPID=x\nLoadState=loaded\nActiveState=active"] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
