//! An orchestrator that is a systemd unit of the owner's: systemd runs it, this agent sees to it that it does.
//!
//! What must stay true: systemd's own `Restart=` comes first; only a unit that systemd has given up (`failed`), or that was never begun since the host
//! started, is begun here. One that somebody else stopped (`inactive`) stays so until somebody starts it; one that this agent stopped is begun again when it
//! is wanted (see [`super::supervised`]). systemd forgets a unit that is stopped and that no other asks for; whether one was begun is remembered here too.
//!
//! `systemctl` is called, each call with a limit, not D-Bus: two verbs and one `show` do not weigh a bus client and its thirty crates, and what is done here
//! can be repeated by hand. The end of its main process is heard from the kernel; `show` is asked then, and every quarter of a minute besides.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use super::Orchestrator;
use super::endpoint::Endpoint;
use super::supervised::Budget;
use super::supervised::Charge;
use super::supervised::Exit;
use super::supervised::Stand;
use super::systemd::Systemctl;
use super::systemd::Unit as Shown;
use crate::host::process;
use crate::model::Clock;

/// Between two looks at a unit of which nothing was heard: a call of `systemctl` takes some ten milliseconds of a core.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Between two looks at one that is on its way, or that systemd is about to start again.
const MOVING_EVERY: Duration = Duration::from_millis(500);

/// What the owner says about it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How it is looked at, switched, begun and ended.
    pub endpoint: super::endpoint::Settings,
    /// Its name, e.g. `orca.service`.
    pub unit: String,
    /// How often it is started when systemd has given up.
    pub budget: Budget,
}

impl Settings {
    /// Why it cannot be started, or looked after, on this machine, in words; empty = it can.
    pub async fn problems_here(&self) -> Vec<String> {
        self.problems_by(&Systemctl::default()).await
    }

    async fn problems_by(&self, systemctl: &Systemctl) -> Vec<String> {
        match systemctl.show(&self.unit, self.endpoint.command_timeout).await {
            Ok(shown) if shown.is_loaded() && shown.forgets_failures() => {
                vec![format!(
                    "{} has CollectMode=inactive-or-failed: once it failed, it looks as if somebody had stopped it, and is left so",
                    self.unit
                )]
            }
            Ok(shown) if shown.is_loaded() => Vec::new(),
            Ok(shown) => vec![format!("systemd has no usable unit {}: {}", self.unit, shown.describe())],
            Err(why) => vec![format!("systemd does not say how {} is: {why}", self.unit)],
        }
    }
}

/// One unit.
pub struct Unit {
    name: String,
    limit: Duration,
    endpoint: Arc<Endpoint>,
    systemctl: Systemctl,
    clock: Arc<dyn Clock>,
}

impl Unit {
    /// `endpoint` is how it is begun and ended; `limit` bounds a look.
    pub fn new(name: String, endpoint: Arc<Endpoint>, limit: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { name, limit, endpoint, systemctl: Systemctl::default(), clock }
    }

    fn stand(&self, shown: &Shown) -> Stand {
        match shown.state() {
            _ if !shown.is_loaded() => Stand::Unknown(format!(
                "systemd has no usable unit {}: {} (runbooks/orchestrator-not-runnable.md)",
                self.name,
                shown.describe()
            )),
            "active" | "reloading" => {
                let process = shown.main_pid().and_then(|pid| process::find(pid).ok());
                let since = shown.active_for().map(|age| {
                    let now = self.clock.now().wall;
                    crate::model::Timestamp(now.0.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)))
                });
                Stand::Up { process, since, dropped_lines: 0, note: None }
            }
            "deactivating" => Stand::Moving("stopping"),
            "activating" => Stand::Moving("starting"),
            "failed" => Stand::Down { run: Some(shown.invocation()), exit: Some(self.exit(shown)) },
            _ if !shown.was_begun() => Stand::Down { run: None, exit: None },
            _ => Stand::Rest(format!("{} is {}: somebody stopped it, or it ended by itself; it is left so", self.name, shown.describe())),
        }
    }

    fn exit(&self, shown: &Shown) -> Exit {
        let (code, signal) = shown.ended();
        Exit {
            at: self.clock.now().wall,
            code,
            signal,
            asked: false,
            error: shown.gave_up().map(|why| format!("systemd gave it up: {why}")),
        }
    }
}

#[async_trait]
impl Charge for Unit {
    fn kind(&self) -> &'static str {
        "unit"
    }

    async fn look(&self) -> Stand {
        match self.systemctl.show(&self.name, self.limit).await {
            Ok(shown) => self.stand(&shown),
            Err(why) => Stand::Unknown(format!("systemd does not say how {} is: {why}", self.name)),
        }
    }

    async fn begin(&self) -> Result<(), Error> {
        self.endpoint.start().await
    }

    async fn end(&self, grace: Duration) -> Result<(), Error> {
        self.endpoint.stop(grace).await
    }

    /// systemd keeps no unit that is inactive and that nothing refers to (`CollectMode=` in systemd.unit(5)).
    fn forgets(&self) -> bool {
        true
    }

    async fn news(&self, stand: &Stand) {
        match stand {
            Stand::Up { process: Some(process), .. } => {
                let _ = tokio::time::timeout(LOOK_EVERY, process::gone(*process)).await;
            }
            Stand::Moving(_) => tokio::time::sleep(MOVING_EVERY).await,
            Stand::Up { process: None, .. } | Stand::Unkept { .. } | Stand::Down { .. } | Stand::Rest(_) | Stand::Unknown(_) => {
                tokio::time::sleep(LOOK_EVERY).await
            }
        }
    }
}

#[cfg(test)]
mod tests;
