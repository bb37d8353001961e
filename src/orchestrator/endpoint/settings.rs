//! What the owner says about an orchestrator that something else runs, as checked values. Configuration becomes this.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::orchestrator::web;

use super::metrics::Series;

/// Everything [`Endpoint`](super::Endpoint) may know of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Asked at every look, side by side. Busy if one says busy, else unknown if one is unknown, idle only when all are (F4).
    /// Without any, activity is always unknown.
    pub sources: Vec<Source>,
    /// How intake is closed, opened and read.
    pub intake: Switch,
    /// How the orchestrator is stopped; `None` = it cannot be.
    pub stop: Option<Hand>,
    /// How it is started again; `None` = it cannot be.
    pub start: Option<Hand>,
    /// Which process is it (F5)? `None` = a `metrics` source may still tell by `process_start_time_seconds`.
    pub generation: Option<GenerationFrom>,
    /// Limits of every HTTP and Redis call.
    pub limits: web::Limits,
    /// Credentials of every HTTP call to the orchestrator.
    pub auth: web::Auth,
    /// How long a command that reads or switches may take. Default 5 s. Stop has its own grace.
    pub command_timeout: Duration,
    /// How long a start may take. Default 90 s, systemd's own.
    pub start_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            intake: Switch::None,
            stop: None,
            start: None,
            generation: None,
            limits: web::Limits::default(),
            auth: web::Auth::None,
            command_timeout: Duration::from_secs(5),
            start_timeout: Duration::from_secs(90),
        }
    }
}

impl Settings {
    /// Everything that can never work, in words, all together; empty = usable.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for source in &self.sources {
            match source {
                Source::ActiveByInstance { base: url, .. } | Source::Metrics { url, .. } => web_address(url, &mut problems),
                Source::Json { url, pointer } => {
                    web_address(url, &mut problems);
                    json_pointer(pointer, &mut problems);
                }
                Source::Redis(redis) => {
                    problems.extend(redis::Client::open(redis.url.as_str()).err().map(|e| format!("Redis URL: {e}")));
                }
                Source::Command { argv } => program("activity", argv, &mut problems),
            }
        }
        match &self.intake {
            Switch::SpinnakerAdmin { base, poll_age } => {
                web_address(base, &mut problems);
                poll_age.iter().for_each(|poll_age| web_address(&poll_age.url, &mut problems));
            }
            Switch::Http { close, open, read } => {
                for Request { method, url, .. } in [close, open] {
                    web_address(url, &mut problems);
                    problems.extend(reqwest::Method::from_bytes(method.as_bytes()).err().map(|_| format!("{method:?} is no HTTP method")));
                }
                web_address(&read.url, &mut problems);
                read.pointer.iter().for_each(|pointer| json_pointer(pointer, &mut problems));
                if read.open.as_ref() == Some(&read.closed) {
                    problems.push("the intake switch reads the same open and closed".to_owned());
                }
            }
            Switch::Command { close, open, read } => {
                [close, open, read].into_iter().for_each(|argv| program("intake", argv, &mut problems));
            }
            Switch::None => {}
        }
        for (what, hand) in [("stop", &self.stop), ("start", &self.start)] {
            match hand {
                Some(Hand::Command(argv)) => program(what, argv, &mut problems),
                Some(Hand::Unit(_)) | None => {}
            }
        }
        problems
    }
}

fn web_address(url: &str, problems: &mut Vec<String>) {
    problems.extend(web::check_url(url).err().map(|e| e.to_string()));
}

fn json_pointer(pointer: &str, problems: &mut Vec<String>) {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        problems.push(format!("{pointer:?} is no JSON pointer: it starts with a slash or is empty"));
    }
}

fn program(what: &str, argv: &[String], problems: &mut Vec<String>) {
    if argv.first().is_none_or(String::is_empty) {
        problems.push(format!("the {what} command names no program"));
    }
}

/// Where activity is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// `GET {base}/executions/activeByInstance`, of any era.
    ActiveByInstance {
        /// Base URL of the orchestrator or of Gate, with or without a slash at the end.
        base: String,
        /// Which entry is ours.
        key: Key,
        /// The counts are up to this old, and do not say how old.
        refreshed: Duration,
    },
    /// A page of metrics in Prometheus' text format; the values of all series that match are added up.
    Metrics {
        /// The page.
        url: String,
        /// Name and labels, e.g. `threadpool_activeCount{id="messageHandlerPool"}`.
        series: Series,
    },
    /// A JSON document: a number, the length of an array or object, or a boolean.
    Json {
        /// The document.
        url: String,
        /// RFC 6901; empty = the whole document.
        pointer: String,
    },
    /// The keys in Redis that stand behind `activeByInstance`.
    Redis(Redis),
    /// A program that exits with 0 and prints one whole number. No shell is involved.
    Command {
        /// Program and arguments; not empty.
        argv: Vec<String>,
    },
}

/// Orca's Redis.
#[derive(Clone, PartialEq)]
pub struct Redis {
    /// `redis://` or `rediss://`.
    pub url: String,
    /// Which member of `active_instances` is ours.
    pub key: Key,
    /// What the heartbeat gives the token to live; the sample's age is what is gone of it. Default 300 s; 1800 s in the first era.
    pub expiry: Duration,
}

impl fmt::Debug for Redis {
    /// Leaves the URL out: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("key", &self.key).field("expiry", &self.expiry).finish_non_exhaustive()
    }
}

/// Which entry of a map by instance is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// Our own instance id.
    Own,
    /// Exactly this.
    Exact(String),
    /// `pid@host` with this host and any pid, as an orchestrator without discovery names itself. Several processes are judged together.
    Host(String),
}

/// How intake is closed and opened, and how one knows.
#[derive(Clone, Debug, PartialEq)]
pub enum Switch {
    /// `POST {base}/admin/instance/enabled`, read back with a GET where that exists, else by the age of the last poll.
    SpinnakerAdmin {
        /// Base URL of the orchestrator on this instance.
        base: String,
        /// How to read it back where the GET is not there.
        poll_age: Option<PollAge>,
    },
    /// Any HTTP requests.
    Http {
        /// Closes intake.
        close: Request,
        /// Opens intake.
        open: Request,
        /// Tells which.
        read: ReadBack,
    },
    /// Programs; exit code 0 is success. `read` prints `open` or `closed`. No shell is involved.
    Command {
        /// Closes intake.
        close: Vec<String>,
        /// Opens intake.
        open: Vec<String>,
        /// Tells which.
        read: Vec<String>,
    },
    /// There is no switch, and the owner accepts what that means: work may arrive until the last moment (F1).
    None,
}

/// `queue.last.poll.age`: it grows without bound once polling has stopped, so it proves that intake is closed.
#[derive(Clone, Debug, PartialEq)]
pub struct PollAge {
    /// The page of metrics.
    pub url: String,
    /// The gauge, in milliseconds, e.g. `queue_last_poll_age`.
    pub series: Series,
    /// Polling has stopped when the age is at least this and still rising. Default 5 s; the queue is polled every 50 ms.
    pub closed_at: Duration,
    /// Between the two reads that show the rise. Default 1 s.
    pub spacing: Duration,
}

impl PollAge {
    /// The defaults for this page and gauge.
    pub fn new(url: impl Into<String>, series: Series) -> Self {
        Self { url: url.into(), series, closed_at: Duration::from_secs(5), spacing: Duration::from_secs(1) }
    }
}

/// One HTTP request; any 2xx is success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `POST`, `PUT`, …; checked when the endpoint is built.
    pub method: String,
    /// Where to.
    pub url: String,
    /// Sent as `application/json` when given.
    pub body: Option<String>,
}

/// Reads the state of a switch.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadBack {
    /// Fetched with GET.
    pub url: String,
    /// RFC 6901 into a JSON document; `None` = the whole body, as text without blanks round it.
    pub pointer: Option<String>,
    /// What is found there while intake is closed.
    pub closed: serde_json::Value,
    /// What is found there while intake is open. Anything else is unknown. `None` = the other boolean, when `closed` is one.
    pub open: Option<serde_json::Value>,
}

/// How the orchestrator's process is stopped or started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hand {
    /// A program; exit code 0 is success. No shell is involved.
    Command(Vec<String>),
    /// A systemd unit.
    Unit(String),
}

/// How to tell one process of the orchestrator from the next (F5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GenerationFrom {
    /// A file that holds its pid; the pid's start time is part of the generation.
    PidFile(PathBuf),
    /// A systemd unit's main process.
    Unit(String),
    /// The process that a keeper of this folder runs.
    Kept(PathBuf),
}
