//! Configuration: what was written becomes what is meant.
//!
//! One TOML file, every key of it overridable by an environment variable: `drain.quiet` by `BELLROCK_DRAIN_QUIET`. The environment
//! comes in as a map. What must stay true: a [`Config`] that exists is in order; everything that is wrong is reported at once, with its
//! place, but for a text that is no TOML, of which only that is told; nothing unknown is passed over; and what is in force can be shown, key by key, with where it came from.

mod engine;
mod heal;
mod keys;
mod kind;
mod notifications;
mod orca;
mod orchestrator;
mod process;
mod report;
mod sheet;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;

pub use engine::Engine;
pub use engine::Store;
pub use kind::parse_duration;
pub use kind::show_duration;
pub use notifications::Notifications;
pub use orchestrator::KINDS;
pub use report::Place;
pub use report::Problem;
pub use report::Problems;
pub use report::Setting;
pub use sheet::nearest;

use crate::cloud::aws;
use crate::decide::Policy;
use crate::orchestrator::endpoint;
use crate::orchestrator::gate;
use crate::orchestrator::orca as mended;
use crate::orchestrator::probe;
use crate::orchestrator::probe::Whose;
use crate::orchestrator::process as process_kind;
use crate::orchestrator::store::RedisSettings;
use crate::orchestrator::unit;

/// Read when `--config` does not name another; it may be absent, then the defaults and the environment are all.
pub const DEFAULT_PATH: &str = "/etc/bellrock/bellrock.toml";

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// This host and its fleet.
    pub fleet: Fleet,
    /// How AWS is called.
    pub aws: aws::Settings,
    /// Who runs the orchestrator, and how.
    pub orchestrator: Orchestrator,
    /// How a person mends it, where it is an Orca; `None` = the agent runs pipelines itself.
    pub orca: Option<mended::Settings>,
    /// What is probed and measured, for healing.
    pub probes: probe::Settings,
    /// Where the fleet's permits to heal are; `Some` exactly when `policy.heal.permits` says so.
    pub permits: Option<RedisSettings>,
    /// What `decide` may know.
    pub policy: Policy,
    /// The Spinnaker that retires instances; `Some` exactly when `policy.via` says so.
    pub gate: Option<gate::Settings>,
    /// Where the agent can be asked.
    pub http: Http,
    /// Holds the URL that is told of a rollback.
    pub notify_url_file: Option<PathBuf>,
    /// What it says, and how.
    pub log: Log,
    settings: Vec<Setting>,
}

/// Who runs the orchestrator.
#[derive(Clone, Debug)]
pub enum Orchestrator {
    /// The agent does.
    Embedded(Box<Engine>),
    /// Something else does; this is how it is looked at and switched.
    Endpoint(Box<endpoint::Settings>),
    /// The agent does, as a process.
    Process(Box<process_kind::Settings>),
    /// systemd does, and the agent sees to it.
    Unit(Box<unit::Settings>),
}

/// This host and its fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// Journal and audit log live here.
    pub state_dir: PathBuf,
}

/// Where the agent can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Loopback address for reads.
    pub listen: SocketAddr,
    /// Unix socket for reads and for `drain` and `undrain`.
    pub socket: PathBuf,
    /// Lists the tokens of callers from elsewhere, and of those on loopback that do more than look.
    pub tokens_file: Option<PathBuf>,
    /// A port for other machines. There is none without tokens.
    pub network: Option<Network>,
}

/// A port for other machines, over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Where it listens.
    pub listen: SocketAddr,
    /// PEM file of its certificate and those that vouch for it.
    pub certificate_file: PathBuf,
    /// PEM file of its private key.
    pub key_file: PathBuf,
}

/// What the agent writes to stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important line that is still written.
    pub level: Level,
    /// For people or for programs.
    pub format: Format,
}

/// Importance of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Someone must look.
    Error,
    /// Degraded.
    Warn,
    /// Each change of state.
    Info,
    /// For developers.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// As a filter directive.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With fields to systemd's journal where standard error goes there, else [`Text`](Self::Text).
    Auto,
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It can, and is not in order.
    #[error(transparent)]
    Wrong(#[from] Problems),
}

impl Config {
    /// Reads `file`, or [`DEFAULT_PATH`] if that is there, and the environment over it.
    pub fn load(file: Option<&Path>, env: &BTreeMap<String, String>) -> Result<Self, Error> {
        let path = file.unwrap_or(Path::new(DEFAULT_PATH));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if file.is_none() && e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(Error::Unreadable { path: path.to_owned(), source }),
        };
        Ok(Self::parse(path, &text, env)?)
    }

    /// Checks a text and the environment over it; `path` is for messages.
    pub fn parse(path: &Path, text: &str, env: &BTreeMap<String, String>) -> Result<Self, Problems> {
        let mut sheet = sheet::Sheet::new(path, text, env);
        let mut policy = Policy::default();
        let fleet = keys::fleet(&mut sheet, &mut policy);
        let aws = keys::aws(&mut sheet);
        let (orchestrator, orca) = orchestrator::orchestrator(&mut sheet, &mut policy, &fleet);
        keys::drain(&mut sheet, &mut policy);
        keys::heed(&mut sheet, &mut policy);
        let gate = keys::terminate(&mut sheet, &mut policy);
        let heal::Healing { policy: heal, probes, permits } = heal::heal(&mut sheet, process(&orchestrator), embedded(&orchestrator));
        policy.heal = heal;
        let http = keys::http(&mut sheet);
        let notify_url_file = sheet.optional::<PathBuf>("notify.url_file");
        let log = keys::log(&mut sheet);
        let sources = match &orchestrator {
            Orchestrator::Endpoint(settings) => settings.sources.as_slice(),
            Orchestrator::Process(settings) => settings.endpoint.sources.as_slice(),
            Orchestrator::Unit(settings) => settings.endpoint.sources.as_slice(),
            Orchestrator::Embedded(_) => &[],
        };
        keys::combinations(&mut sheet, &policy, sources, &aws);
        let (settings, problems) = sheet.finish();
        if problems.is_empty() {
            Ok(Self { fleet, aws, orchestrator, orca, probes, permits, policy, gate, http, notify_url_file, log, settings })
        } else {
            Err(Problems(problems))
        }
    }

    /// Keys that differ in `new` and that a running agent cannot take over: they shape what it is made of, not what it decides.
    pub fn needs_restart(&self, new: &Config) -> Vec<&'static str> {
        let differs = |(old, new): (&Setting, &Setting)| {
            let of_commands = new.key.starts_with("notify.") || new.key.starts_with("orchestrator.orca.");
            let is_the_agents = !keys::is_policy(new.key) && !of_commands;
            (old.exact != new.exact && (old.used || new.used) && is_the_agents).then_some(new.key)
        };
        self.settings.iter().zip(&new.settings).filter_map(differs).collect()
    }

    /// Whether somebody has chosen a value for this key, in the file or the environment.
    pub fn is_written(&self, key: &str) -> bool {
        self.settings.iter().any(|setting| setting.key == key && setting.from != Place::Default)
    }

    /// Every key with the value in force and where it came from, in the order of the sample.
    pub fn effective(&self) -> &[Setting] {
        &self.settings
    }
}

/// Where the engine's executions live, when the agent runs it.
fn embedded(orchestrator: &Orchestrator) -> Option<&Store> {
    match orchestrator {
        Orchestrator::Embedded(engine) => Some(&engine.store),
        Orchestrator::Process(_) | Orchestrator::Unit(_) | Orchestrator::Endpoint(_) => None,
    }
}

/// The orchestrator's process, where the configuration tells.
fn process(orchestrator: &Orchestrator) -> Option<Whose> {
    match orchestrator {
        // A restart of the engine gives no memory back: it is the agent's.
        Orchestrator::Embedded(_) => None,
        Orchestrator::Process(settings) => generation(&settings.endpoint),
        Orchestrator::Unit(settings) => Some(Whose::Unit(settings.unit.clone())),
        Orchestrator::Endpoint(settings) => generation(settings),
    }
}

fn generation(settings: &endpoint::Settings) -> Option<Whose> {
    match settings.generation.as_ref()? {
        endpoint::GenerationFrom::PidFile(path) => Some(Whose::PidFile(path.clone())),
        endpoint::GenerationFrom::Unit(unit) => Some(Whose::Unit(unit.clone())),
        endpoint::GenerationFrom::Kept(folder) => Some(Whose::Kept(folder.clone())),
    }
}

#[cfg(test)]
mod tests;
