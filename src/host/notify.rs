//! What the service manager is told: ready, how it goes, that we still live.
//!
//! What must stay true: without a service manager everything here does nothing, and a message that cannot be sent never stops the work.
//! The watchdog is fed by the loop that does the work, never by a timer of its own: a hung loop has to be seen.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// Whoever started us and wants to know.
pub trait ServiceManager: Send + Sync + 'static {
    /// We do our work from now on.
    fn ready(&self);

    /// One line for people, shown by `systemctl status`.
    fn status(&self, text: &str);

    /// The configuration is being read again; [`ServiceManager::ready`] says when that is done.
    fn reloading(&self);

    /// We are ending.
    fn stopping(&self);

    /// We still live; due at least every [`ServiceManager::ping_every`].
    fn ping(&self);

    /// How often it wants to hear from us; `None` = it does not.
    fn ping_every(&self) -> Option<Duration>;
}

/// systemd, where it is there.
#[derive(Clone, Debug)]
pub struct Systemd {
    listens: bool,
    watchdog: Option<Duration>,
}

impl Systemd {
    /// Takes `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` from the environment that `main` read.
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> Self {
        let listens = variable("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty());
        let for_us = variable("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        let limit = variable("WATCHDOG_USEC").and_then(|text| text.parse().ok()).filter(|us| *us > 0).map(Duration::from_micros);
        Self { listens, watchdog: limit.filter(|_| listens && for_us) }
    }

    fn tell(&self, state: &[NotifyState]) {
        if self.listens
            && let Err(error) = sd_notify::notify(state)
        {
            warn!(%error, "systemd could not be told");
        }
    }
}

impl ServiceManager for Systemd {
    fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    fn status(&self, text: &str) {
        // A line break would start another message.
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.tell(&[NotifyState::Status(&line)]);
    }

    fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    fn ping(&self) {
        if self.watchdog.is_some() {
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    fn ping_every(&self) -> Option<Duration> {
        // Half of the limit, as sd_watchdog_enabled(3) recommends.
        self.watchdog.map(|limit| limit / 2)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn systemd(variables: &[(&str, &str)]) -> Systemd {
        Systemd::from_env(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_watchdog_is_ours_only_when_systemd_says_so() {
        let us = std::process::id().to_string();
        let socket = ("NOTIFY_SOCKET", "/run/x");
        let seconds = |variables: &[(&str, &str)]| systemd(variables).ping_every().map(|every| every.as_secs());
        assert_eq!(seconds(&[socket, ("WATCHDOG_USEC", "30000000")]), Some(15));
        assert_eq!(seconds(&[socket, ("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", &us)]), Some(15));
        assert_eq!(seconds(&[socket, ("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "1")]), None);
        assert_eq!(seconds(&[("WATCHDOG_USEC", "30000000")]), None);
        assert_eq!(seconds(&[socket, ("WATCHDOG_USEC", "0")]), None);
        assert_eq!(seconds(&[socket, ("WATCHDOG_USEC", "soon")]), None);
    }

    /// The child side; without a socket it shows that nobody to tell is no trouble.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the environment is what is tested")]
    fn tells_whoever_listens() {
        let systemd = Systemd::from_env(|name| std::env::var(name).ok());
        systemd.ready();
        systemd.status("draining\nREADY=0");
        systemd.reloading();
        systemd.ping();
        systemd.stopping();
    }

    #[test]
    fn speaks_systemds_protocol() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "host::notify::tests::tells_whoever_listens"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "1000000")
            .env_remove("WATCHDOG_PID")
            .output()
            .unwrap();
        assert!(child.status.success());
        let heard = || {
            let mut buffer = [0; 512];
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        assert_eq!(heard(), "READY=1\n");
        assert_eq!(heard(), "STATUS=draining READY=0\n");
        assert!(heard().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        assert_eq!(heard(), "WATCHDOG=1\n");
        assert_eq!(heard(), "STOPPING=1\n");
    }
}
