//! How the orchestrator, its store and this host are: probes over HTTP, TCP and by command, and figures of process and host.
//!
//! What must stay true: every probe ends within its own time, whatever it asks: one that hangs, floods or forks is cut off; one that could not be made is
//! no failure. A look at the host that the kernel does not answer holds one thread, never a second.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::process as kept;
use super::web;
use super::web::Web;
use crate::host::command;
use crate::host::process;
use crate::host::vitals;
pub use crate::host::vitals::Wanted;
use crate::model::Generation;
use crate::model::Probe;
use crate::model::Probed;
use crate::model::Vitals;

/// The longest page that a probe reads, in bytes: a health page is far below it.
const LONGEST_PAGE: usize = 1 << 20;
/// For a look at process and host; the kernel answers in microseconds, unless a mount hangs.
const VITALS_WITHIN: Duration = Duration::from_secs(5);

/// How the orchestrator, its store and this host are.
#[async_trait]
pub trait Probes: Send + Sync + 'static {
    /// Makes one probe, within its own limit.
    async fn probe(&self, probe: Probe) -> Probed;

    /// Reads the figures that are looked at.
    async fn vitals(&self) -> Vitals;
}

/// Nothing is probed.
pub struct Nothing;

#[async_trait]
impl Probes for Nothing {
    async fn probe(&self, probe: Probe) -> Probed {
        Probed::Unable { why: format!("no probe of {} is configured", probe.as_str()) }
    }

    async fn vitals(&self) -> Vitals {
        Vitals::default()
    }
}

/// What one probe does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// What is asked.
    pub asks: Asks,
    /// To its answer.
    pub timeout: Duration,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asks {
    /// A page: a status of 200 to 299 is well. No redirect is followed: a login page is no answer.
    Http(String),
    /// A connection to `host:port`.
    Tcp(String),
    /// A program: exit code 0 is well.
    Command(Vec<String>),
}

/// Which process the figures are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The one that a file names.
    PidFile(PathBuf),
    /// The main process of a systemd unit.
    Unit(String),
    /// The process that a keeper of this folder runs.
    Kept(PathBuf),
}

/// Everything that is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Of the orchestrator's life.
    pub liveness: Option<Definition>,
    /// Of its readiness.
    pub readiness: Option<Definition>,
    /// Of its store.
    pub store: Option<Definition>,
    /// Figures.
    pub wanted: Wanted,
    /// Whose they are.
    pub whose: Option<Whose>,
}

/// The probes of an agent.
pub struct Prober {
    settings: Settings,
    webs: [Option<Web>; 3],
    reading: Arc<AtomicBool>,
}

impl Prober {
    /// Connects to nothing.
    ///
    /// # Errors
    /// An HTTP client cannot be set up.
    pub fn new(settings: Settings) -> Result<Self, web::SetupError> {
        let web = |definition: &Option<Definition>| match definition {
            Some(Definition { asks: Asks::Http(url), timeout }) => {
                web::check_url(url)?;
                let limits = web::Limits { connect: *timeout, total: *timeout, body: LONGEST_PAGE };
                Web::new(limits, web::Auth::None).map(Some)
            }
            Some(Definition { asks: Asks::Tcp(_) | Asks::Command(_), .. }) | None => Ok(None),
        };
        let webs = [web(&settings.liveness)?, web(&settings.readiness)?, web(&settings.store)?];
        Ok(Self { settings, webs, reading: Arc::default() })
    }

    fn definition(&self, probe: Probe) -> (Option<&Definition>, Option<&Web>) {
        let [liveness, readiness, store] = &self.webs;
        match probe {
            Probe::Liveness => (self.settings.liveness.as_ref(), liveness.as_ref()),
            Probe::Readiness => (self.settings.readiness.as_ref(), readiness.as_ref()),
            Probe::Store => (self.settings.store.as_ref(), store.as_ref()),
        }
    }
}

#[async_trait]
impl Probes for Prober {
    async fn probe(&self, probe: Probe) -> Probed {
        match self.definition(probe) {
            (Some(Definition { asks: Asks::Http(url), .. }), Some(web)) => http(web, url).await,
            (Some(Definition { asks: Asks::Tcp(address), timeout }), _) => tcp(address, *timeout).await,
            (Some(Definition { asks: Asks::Command(argv), timeout }), _) => program(argv, *timeout).await,
            (Some(Definition { asks: Asks::Http(_), .. }), None) | (None, _) => {
                Probed::Unable { why: format!("no probe of {} is configured", probe.as_str()) }
            }
        }
    }

    async fn vitals(&self) -> Vitals {
        let process = match &self.settings.whose {
            Some(whose) => whose.find().await,
            None => None,
        };
        let wanted = self.settings.wanted.clone();
        let pid = process.map(|process| process.pid);
        if self.reading.swap(true, Ordering::AcqRel) {
            return Vitals::default();
        }
        let reading = self.reading.clone();
        let read = tokio::task::spawn_blocking(move || {
            let figures = vitals::read(&wanted, pid);
            reading.store(false, Ordering::Release);
            figures
        });
        let Ok(Ok(vitals)) = timeout(VITALS_WITHIN, read).await else { return Vitals::default() };
        let generation = process.map(|process| Generation(format!("pid {} started at tick {}", process.pid, process.start_ticks)));
        Vitals { generation, ..vitals }
    }
}

impl Whose {
    async fn find(&self) -> Option<process::Process> {
        match self {
            Self::PidFile(path) => process::find_by_pid_file(path).ok(),
            Self::Kept(folder) => kept::main_process(folder).ok(),
            Self::Unit(unit) => {
                let argv = ["systemctl", "show", "--property=MainPID", "--value", "--", unit].map(str::to_owned);
                let shown = command::output(&argv, VITALS_WITHIN).await.ok()?;
                process::find(std::str::from_utf8(&shown.stdout).ok()?.trim().parse().ok()?).ok()
            }
        }
    }
}

async fn http(web: &Web, url: &str) -> Probed {
    match web.get(url).await {
        Ok(answer) if answer.status.is_success() => Probed::Passed,
        Ok(answer) => Probed::Failed { why: format!("HTTP {}: {}", answer.status.as_u16(), web::excerpt(&answer.body)) },
        Err(error @ web::Error::NotSent { .. }) => Probed::Absent { why: error.to_string() },
        Err(error @ web::Error::NoAnswer { .. }) => Probed::Silent { why: error.to_string() },
        Err(error @ web::Error::TooLong { .. }) => Probed::Failed { why: error.to_string() },
        Err(error @ web::Error::Credential { .. }) => Probed::Unable { why: error.to_string() },
    }
}

async fn tcp(address: &str, limit: Duration) -> Probed {
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Probed::Passed,
        Ok(Err(error)) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset) => {
            Probed::Absent { why: format!("{address}: {error}") }
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Probed::Silent { why: format!("{address}: {error}") },
        // A name that is not found, no route, no descriptors: what it says is of us, not of them.
        Ok(Err(error)) => Probed::Unable { why: format!("{address}: {error}") },
        Err(_) => Probed::Silent { why: format!("{address}: no connection within {} s", limit.as_secs_f32()) },
    }
}

async fn program(argv: &[String], limit: Duration) -> Probed {
    match command::alone(argv, limit).await {
        Ok(ended) if ended.status.success() => Probed::Passed,
        Ok(ended) => Probed::Failed { why: ended.describe() },
        Err(error @ command::Error::TimedOut { .. }) => Probed::Silent { why: error.to_string() },
        Err(error @ command::Error::TooLong { .. }) => Probed::Failed { why: error.to_string() },
        Err(error @ (command::Error::Empty | command::Error::Start { .. })) => Probed::Unable { why: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    const SHORT: Duration = Duration::from_millis(700);
    const LONG: Duration = Duration::from_secs(30);

    async fn probe(asks: Asks, limit: Duration) -> Probed {
        let liveness = Some(Definition { asks, timeout: limit });
        Prober::new(Settings { liveness, ..Settings::default() }).unwrap().probe(Probe::Liveness).await
    }

    fn sh(script: &str) -> Asks {
        Asks::Command(["sh", "-c", script].map(str::to_owned).to_vec())
    }

    /// A server that takes one connection and answers with this, and then with zeros without end where `floods`; the address.
    async fn server(answer: Option<&'static str>, floods: bool) -> (String, tokio::task::JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1024];
            let _ = stream.read(&mut asked).await;
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                None => std::future::pending().await,
            }
            while floods && stream.write_all(&[b'0'; 1 << 16]).await.is_ok() {}
        });
        (address, serving)
    }

    #[tokio::test]
    async fn a_page_is_well_with_2xx_alone() {
        for (answer, well) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", true),
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
            ("HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n", false),
            ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\ndown", false),
        ] {
            let (address, _serving) = server(Some(answer), false).await;
            let probed = probe(Asks::Http(format!("http://{address}/health")), LONG).await;
            assert_eq!(probed == Probed::Passed, well, "{answer}: {probed:?}");
            assert!(well || matches!(probed, Probed::Failed { .. }), "{probed:?}");
        }
    }

    #[tokio::test]
    async fn a_page_without_an_answer_is_silent_and_one_without_an_end_is_cut_off() {
        let (address, _serving) = server(None, false).await;
        assert!(matches!(probe(Asks::Http(format!("http://{address}/")), SHORT).await, Probed::Silent { .. }));
        let (address, _serving) = server(Some("HTTP/1.1 200 OK\r\n\r\n"), true).await;
        let probed = probe(Asks::Http(format!("http://{address}/")), LONG).await;
        assert!(matches!(&probed, Probed::Failed { why } if why.contains("longer than")), "{probed:?}");
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_absent_and_a_name_that_is_none_proves_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(probe(Asks::Tcp(address.clone()), LONG).await, Probed::Passed);
        drop(listener);
        assert!(matches!(probe(Asks::Tcp(address.clone()), LONG).await, Probed::Absent { .. }));
        assert!(matches!(probe(Asks::Http(format!("http://{address}/")), LONG).await, Probed::Absent { .. }));
        assert!(matches!(probe(Asks::Tcp("no port".to_owned()), LONG).await, Probed::Unable { .. }));
    }

    #[tokio::test]
    async fn a_program_is_well_with_exit_code_0_alone_and_bounded_in_time_and_output() {
        assert_eq!(probe(sh("exit 0"), LONG).await, Probed::Passed);
        let failed = probe(sh("echo too bad >&2; exit 2"), LONG).await;
        assert!(matches!(&failed, Probed::Failed { why } if why.contains("too bad")), "{failed:?}");
        assert!(matches!(probe(sh("sleep 600"), SHORT).await, Probed::Silent { .. }));
        assert!(matches!(probe(sh("yes"), LONG).await, Probed::Failed { .. }));
        assert!(matches!(probe(Asks::Command(vec!["/no/such/program".to_owned()]), LONG).await, Probed::Unable { .. }));
    }

    #[tokio::test]
    async fn what_a_probe_leaves_running_is_killed_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("alive");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let mut alive = tokio::net::unix::pipe::OpenOptions::new().open_receiver(&fifo).unwrap();
        // Its child keeps the fifo open, and neither of its streams.
        let script = format!("exec 3>{}; echo >&3; sleep 600 >/dev/null 2>&1 & exit 0", fifo.display());
        assert_eq!(probe(sh(&script), LONG).await, Probed::Passed);
        let mut said = Vec::new();
        timeout(LONG, alive.read_to_end(&mut said)).await.expect("what it forked still holds the pipe").unwrap();
        assert_eq!(said, b"\n");
    }

    #[tokio::test]
    async fn figures_are_of_the_process_that_is_named() {
        let wanted = Wanted { usage: true, ..Wanted::default() };
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        std::fs::write(&pid_file, std::process::id().to_string()).unwrap();
        let settings = Settings { wanted, whose: Some(Whose::PidFile(pid_file)), ..Settings::default() };
        let seen = Prober::new(settings).unwrap().vitals().await;
        assert!(seen.memory_bytes.is_some() && seen.generation.is_some_and(|g| g.0.starts_with(&format!("pid {} ", std::process::id()))));
        let gone = Settings { whose: Some(Whose::PidFile("/no/such/file".into())), ..Settings::default() };
        assert_eq!(Prober::new(gone).unwrap().vitals().await, Vitals::default());
    }
}
