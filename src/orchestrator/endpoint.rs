//! An orchestrator that something else runs: looked at and switched over HTTP, Redis or commands.
//!
//! What must stay true: an answer counts for one process only. Where the process can be told, it is looked up before and after the
//! sources are asked, and a look that two processes had a part in is unknown (F5). Fails by saying unknown, never by waiting: every
//! source, switch and command has its limit.

pub mod active_by_instance;
pub mod active_executions;
pub mod activity;
pub mod entry;
mod intake;
pub mod json;
pub mod metrics;
mod settings;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use reqwest::StatusCode;

pub use metrics::Series;
pub use settings::GenerationFrom;
pub use settings::Hand;
pub use settings::Key;
pub use settings::PollAge;
pub use settings::ReadBack;
pub use settings::Redis;
pub use settings::Request;
pub use settings::Settings;
pub use settings::Source;
pub use settings::Switch;

use crate::host::command;
use crate::host::process;
use crate::model::Activity;
use crate::model::Clock;
use crate::model::Generation;
use crate::model::InstanceId;
use crate::model::Intake;
use crate::model::Sample;
use crate::model::Timestamp;
use crate::orchestrator::Abilities;
use crate::orchestrator::Error;
use crate::orchestrator::Orchestrator;
use crate::orchestrator::process as kept;
use crate::orchestrator::systemd::Systemctl;
use crate::orchestrator::web;
use crate::orchestrator::web::Web;

use active_by_instance::Name;
use activity::Reading;

/// Between looks at whether a process that was told to stop is gone.
const STOP_POLL: Duration = Duration::from_millis(200);
/// Beyond the grace, for systemd to kill what is left and to say so.
const STOP_SPARE: Duration = Duration::from_secs(15);

/// An orchestrator that something else runs.
pub struct Endpoint {
    settings: Settings,
    probes: Vec<Probe>,
    web: Web,
    systemctl: Systemctl,
    clock: Arc<dyn Clock>,
}

/// A source, ready to be asked.
enum Probe {
    ActiveByInstance { url: String, name: Name },
    Metrics { url: String, series: Series },
    Json { url: String, pointer: String },
    Redis(Box<active_executions::Source>),
    Command { argv: Vec<String> },
}

impl Endpoint {
    /// Builds the adapter for the orchestrator on instance `own`. Connects to nothing; fails on what [`Settings::problems`] lists.
    pub fn new(settings: Settings, own: &InstanceId, clock: Arc<dyn Clock>) -> Result<Self, web::SetupError> {
        let problems = settings.problems();
        if !problems.is_empty() {
            return Err(web::SetupError(problems.join("; ")));
        }
        let web = Web::new(settings.limits, settings.auth.clone())?;
        let probes = settings.sources.iter().map(|source| Probe::new(source, own, settings.limits)).collect::<Result<_, _>>()?;
        Ok(Self { settings, probes, web, systemctl: Systemctl::default(), clock })
    }

    async fn ask(&self, probe: &Probe, now: Timestamp) -> Reading {
        match probe {
            Probe::ActiveByInstance { url, name } => self.page(url, |body| active_by_instance::read(body, name).into()).await,
            Probe::Metrics { url, series } => self.page(url, |body| metrics::read(body, series)).await,
            Probe::Json { url, pointer } => self.page(url, |body| json::read(body, pointer).into()).await,
            Probe::Redis(source) => source.read(now).await,
            Probe::Command { argv } => match command::output(argv, self.settings.command_timeout).await {
                Ok(ended) => activity::read_command(&ended).into(),
                Err(error) => Reading::unknown(error.to_string()),
            },
        }
    }

    async fn page(&self, url: &str, read: impl FnOnce(&[u8]) -> Reading) -> Reading {
        match self.web.get(url).await {
            Ok(answer) if answer.status == StatusCode::OK => read(&answer.body),
            Ok(answer) => Reading::unknown(intake::describe(&answer)),
            Err(error) => Reading::unknown(error.to_string()),
        }
    }

    /// The process that runs now; `None` when the configuration names no way to tell. The error is for people.
    async fn generation(&self) -> Result<Option<Generation>, String> {
        match &self.settings.generation {
            None => Ok(None),
            Some(GenerationFrom::PidFile(path)) => match process::find_by_pid_file(path) {
                Ok(process) => Ok(Some(of_process(process))),
                Err(error) => Err(format!("the process of {} cannot be told: {error}", path.display())),
            },
            Some(GenerationFrom::Kept(folder)) => match kept::main_process(folder) {
                Ok(process) => Ok(Some(of_process(process))),
                Err(error) => Err(format!("the orchestrator's process cannot be told: {error}")),
            },
            Some(GenerationFrom::Unit(unit)) => {
                let shown = self.systemctl.show(unit, self.settings.command_timeout).await?;
                shown.generation().map(Some).ok_or_else(|| format!("{unit} has no main process: {}", shown.describe()))
            }
        }
    }

    async fn stop_by_command(&self, argv: &[String]) -> Result<(), Error> {
        let before = match self.recorded() {
            Some(found) => seen(found).map_err(|e| Error::NoAnswer(format!("nobody could tell when it is gone: {e}")))?,
            None => self.generation().await.ok().flatten(),
        };
        let status = command::status(argv, Duration::MAX).await.map_err(|e| Error::NoAnswer(e.to_string()))?;
        if !status.success() {
            return Err(Error::Refused(format!("the stop command ended with {status}")));
        }
        // Success of a command such as `kill` says that it was told, not that it is gone.
        if let Some(process) = before {
            while self.may_run(&process).await {
                tokio::time::sleep(STOP_POLL).await;
            }
        }
        Ok(())
    }

    /// Whether this process is still there; a service manager that does not answer has not said that it is gone.
    async fn may_run(&self, process: &Generation) -> bool {
        match &self.settings.generation {
            Some(GenerationFrom::Unit(unit)) => {
                let shown = self.systemctl.show(unit, self.settings.command_timeout).await;
                shown.map_or(true, |shown| shown.generation().as_ref() == Some(process))
            }
            Some(GenerationFrom::PidFile(_) | GenerationFrom::Kept(_)) | None => match self.recorded().map(seen) {
                Some(Err(_)) => true,
                Some(Ok(now)) => now.as_ref() == Some(process),
                None => false,
            },
        }
    }

    /// The process that a file names, where one does.
    fn recorded(&self) -> Option<io::Result<process::Process>> {
        match &self.settings.generation {
            Some(GenerationFrom::PidFile(path)) => Some(process::find_by_pid_file(path)),
            Some(GenerationFrom::Kept(folder)) => Some(kept::main_process(folder)),
            Some(GenerationFrom::Unit(_)) | None => None,
        }
    }
}

/// `None`: it is gone. What is hidden from us is not: it may still be at work.
fn seen(found: io::Result<process::Process>) -> io::Result<Option<Generation>> {
    match found {
        Ok(process) => Ok(Some(of_process(process))),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        Err(_) => Ok(None),
    }
}

fn of_process(process: process::Process) -> Generation {
    Generation(format!("pid {} started {} ticks after boot", process.pid, process.start_ticks))
}

impl Probe {
    fn new(source: &Source, own: &InstanceId, limits: web::Limits) -> Result<Self, web::SetupError> {
        let name = |key: &Key| match key {
            Key::Own => Name::Exact(own.as_str().to_owned()),
            Key::Exact(name) => Name::Exact(name.clone()),
            Key::Host(host) => Name::Host(host.clone()),
        };
        Ok(match source {
            Source::ActiveByInstance { base, key, .. } => {
                Self::ActiveByInstance { url: web::join(base, "executions/activeByInstance"), name: name(key) }
            }
            Source::Metrics { url, series } => Self::Metrics { url: url.clone(), series: series.clone() },
            Source::Json { url, pointer } => Self::Json { url: url.clone(), pointer: pointer.clone() },
            Source::Redis(Redis { url, key, expiry }) => {
                let client = redis::Client::open(url.as_str()).map_err(|e| web::SetupError(format!("Redis URL: {e}")))?;
                Self::Redis(Box::new(active_executions::Source::new(client, name(key), *expiry, limits)))
            }
            Source::Command { argv } => Self::Command { argv: argv.clone() },
        })
    }
}

#[async_trait]
impl Orchestrator for Endpoint {
    async fn activity(&self) -> Sample {
        let asked = self.clock.now();
        let before = self.generation().await;
        let Reading { activity, measured, generation } =
            Reading::together(join_all(self.probes.iter().map(|probe| self.ask(probe, asked.wall))).await);
        match (before, self.generation().await) {
            (Ok(before), Ok(after)) if before == after => Sample { activity, asked, measured, generation: after.or(generation) },
            (Ok(_), Ok(_)) => {
                let why = "the orchestrator was restarted while it was looked at".to_owned();
                Sample { activity: Activity::Unknown { why }, asked, measured, generation: None }
            }
            (Err(why), _) | (Ok(_), Err(why)) => {
                Sample { activity: activity::combine([activity, Activity::Unknown { why }]), asked, measured, generation: None }
            }
        }
    }

    async fn intake(&self) -> Intake {
        intake::read(&self.settings.intake, &self.web, self.settings.command_timeout).await
    }

    async fn set_intake(&self, open: bool) -> Result<(), Error> {
        intake::set(&self.settings.intake, open, &self.web, self.settings.command_timeout).await
    }

    async fn stop(&self, grace: Duration) -> Result<(), Error> {
        let still = |_| Error::NoAnswer(format!("it still stops after {} s", grace.as_secs()));
        match &self.settings.stop {
            None => Err(Error::Unable("stop it")),
            Some(Hand::Command(argv)) => tokio::time::timeout(grace, self.stop_by_command(argv)).await.map_err(still)?,
            Some(Hand::Unit(unit)) => {
                let ended =
                    self.systemctl.ask("stop", unit, grace.saturating_add(STOP_SPARE)).await.map_err(|e| Error::NoAnswer(e.to_string()))?;
                if !ended.status.success() {
                    return Err(Error::Refused(ended.describe()));
                }
                let shown = self.systemctl.show(unit, self.settings.command_timeout).await.map_err(Error::NoAnswer)?;
                if shown.is_stopped() { Ok(()) } else { Err(Error::Refused(format!("{unit} is {} after its stop", shown.describe()))) }
            }
        }
    }

    async fn start(&self) -> Result<(), Error> {
        let limit = self.settings.start_timeout;
        let no_answer = |e: command::Error| Error::NoAnswer(e.to_string());
        match &self.settings.start {
            None => Err(Error::Unable("start it")),
            Some(Hand::Command(argv)) => match command::status(argv, limit).await.map_err(no_answer)? {
                status if status.success() => Ok(()),
                status => Err(Error::Refused(format!("the start command ended with {status}"))),
            },
            Some(Hand::Unit(unit)) => match self.systemctl.ask("start", unit, limit).await.map_err(no_answer)? {
                ended if ended.status.success() => Ok(()),
                ended => Err(Error::Refused(ended.describe())),
            },
        }
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            intake: !matches!(self.settings.intake, Switch::None),
            stop: self.settings.stop.is_some(),
            start: self.settings.start.is_some(),
        }
    }
}

#[cfg(test)]
mod tests;
