//! Signals: TERM and INT stop us cleanly, HUP reads the configuration again, a second TERM or INT ends us at once.
//!
//! What must stay true: the second one works whatever the program does, for it is answered inside the signal handler. Equal signals that
//! come close together may be one, and their order is not kept.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures::StreamExt;
use signal_hook::consts::SIGHUP;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;
use signal_hook::flag;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook_tokio::SignalsInfo;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Stop cleanly, without draining.
    Stop,
    /// Read the configuration again.
    Reload,
}

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// What it asks for.
    pub request: Request,
    /// Who sent it; `None` = the kernel, for a terminal's key among others.
    pub by: Option<Sender>,
}

/// Who sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its process.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.request {
            Request::Stop => "stop",
            Request::Reload => "reload",
        })?;
        match self.by {
            Some(Sender { pid, uid }) => write!(f, ", sent by pid {pid} of uid {uid}"),
            None => Ok(()),
        }
    }
}

/// The signals that come from now on.
pub struct Signals(SignalsInfo<WithOrigin>);

impl Signals {
    /// Takes over TERM, INT and HUP, for the life of the process. To be called once, inside the runtime and before anything is spawned.
    pub fn install() -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // First this one: the first signal must find the flag down.
            flag::register_conditional_shutdown(signal, 128 + signal, stopping.clone())?;
            flag::register(signal, stopping.clone())?;
        }
        Ok(Self(SignalsInfo::with_exfiltrator([SIGTERM, SIGINT, SIGHUP], WithOrigin::default())?))
    }

    /// The next one. Cancel-safe: one that is not taken stays.
    pub async fn next(&mut self) -> Signal {
        loop {
            let Some(origin) = self.0.next().await else { std::future::pending().await };
            let by = origin.process.map(|process| Sender { pid: process.pid, uid: process.uid });
            match origin.signal {
                SIGTERM | SIGINT => return Signal { request: Request::Stop, by },
                SIGHUP => return Signal { request: Request::Reload, by },
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::io::BufReader;
    use std::process::Command;
    use std::process::Stdio;

    use rustix::process::Pid;
    use rustix::process::Signal as Kill;
    use rustix::process::kill_process;

    use super::*;

    struct Ended(std::process::Child);

    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.kill();
        }
    }

    const CHILD: &str = "BELLROCK_TEST_SIGNALS";

    /// The child side: says what comes until it is ended from outside. Does nothing in an ordinary run.
    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the parent side asks by the environment")]
    async fn says_what_comes() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        let mut signals = Signals::install().unwrap();
        println!("\nhears");
        loop {
            println!("\nhears {}", signals.next().await);
        }
    }

    #[test]
    fn the_first_stop_is_told_and_the_second_ends_at_once() {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "host::signals::tests::says_what_comes", "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut child = Ended(child);
        let pid = Pid::from_child(&child.0);
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let mut hears = || lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("hears"));
        let sent_by_us = format!("sent by pid {} of uid {}", std::process::id(), rustix::process::getuid().as_raw());
        assert_eq!(hears().as_deref(), Some("hears"));
        for (signal, told) in [(Kill::HUP, "reload"), (Kill::HUP, "reload"), (Kill::TERM, "stop")] {
            kill_process(pid, signal).unwrap();
            assert_eq!(hears(), Some(format!("hears {told}, {sent_by_us}")));
        }
        kill_process(pid, Kill::INT).unwrap();
        assert_eq!(hears(), None, "nobody is left to be told of the second one");
        assert_eq!(child.0.wait().unwrap().code(), Some(130));
    }
}
