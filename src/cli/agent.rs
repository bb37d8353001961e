//! `bellrock agent`: puts the agent together from the configuration and keeps it running until it is told to stop.
//!
//! What must stay true: one agent to a host (a lock in the state directory); a port that cannot be had does not stop a drain; a reload that
//! cannot take effect whole changes nothing.

mod care;
mod engine;
mod regions;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;
use tracing::info;
use tracing::warn;

use super::Context;
use super::Exit;
use super::Failure;
use crate::act::Hands;
use crate::cloud::Identity;
use crate::cloud::aws;
use crate::cloud::aws::Aws;
use crate::cloud::aws::Imds;
use crate::config;
use crate::config::Config;
use crate::daemon;
use crate::daemon::Lines;
use crate::daemon::Parts;
use crate::decide::Policy;
use crate::decide::Status;
use crate::host::boot;
use crate::host::clock::SystemClock;
use crate::host::notify::ServiceManager;
use crate::host::notify::Systemd;
use crate::host::signals::Request;
use crate::host::signals::Signals;
use crate::http;
use crate::http::Surface;
use crate::http::api::tokens::Tokens;
use crate::http::keyring::Keyring;
use crate::journal::FileAudit;
use crate::journal::FileJournal;
use crate::metrics::Metrics;
use crate::model::Clock;
use crate::observe::Eyes;
use crate::orchestrator::Orchestrator;
use crate::orchestrator::bystander;
use crate::orchestrator::bystander::Guarded;
use crate::orchestrator::endpoint::Endpoint;
use crate::orchestrator::gate;
use crate::orchestrator::permits::Home;
use crate::orchestrator::permits::Permits;
use crate::orchestrator::probe::Prober;
use crate::orchestrator::probe::Probes;
use crate::orchestrator::runner::embedded::KnowsItsStore;
use crate::orchestrator::store::RedisPermits;
use crate::orchestrator::supervised::Report;
use crate::supervise::Ended;
use crate::supervise::Supervisor;
use care::Care;
use care::Upkeep;
use engine::Engine;
use engine::Place;

/// The daemon's own limit for the deed under way, the engine's for giving back what it owns, and some air; below systemd's `TimeoutStopSec`.
const STOP_WITHIN: Duration = daemon::STOP_WITHIN.saturating_add(Duration::from_secs(15));
/// The first try to take the socket; a directory that hangs must not hold up the rest.
const SOCKET_WITHIN: Duration = Duration::from_secs(5);
/// Commands that wait for the loop; further ones are turned away. A person asks one at a time.
const COMMANDS: usize = 8;

#[derive(Debug, clap::Args)]
#[command(after_help = "Runs until SIGTERM, which stops it without draining; SIGHUP reads the configuration again.\n\n\
    Examples:\n  \
    bellrock agent\n  \
    BELLROCK_DRAIN_DRY_RUN=true BELLROCK_LOG_LEVEL=debug bellrock agent --config bellrock.toml")]
pub(super) struct Args {}

pub(super) fn run(_: Args, context: &Context) -> Result<Exit, Failure> {
    let config = context.load_config()?;
    context.start_log(config.log);
    let _lock = lock(&config.fleet.state_dir)?;
    let runtime = super::runtime()?;
    let ended = runtime.block_on(serve(config, context));
    // A name lookup that hangs must not hold the process.
    runtime.shutdown_background();
    ended.map(|()| Exit::Done)
}

/// Held for the life of the process: two agents of one instance would each follow a protocol of their own.
fn lock(state_dir: &Path) -> Result<File, Failure> {
    let path = state_dir.join("agent.lock");
    let file = std::fs::create_dir_all(state_dir).and_then(|()| File::create(&path)).map_err(|e| {
        Failure::new("state-dir", format!("{} cannot be used", state_dir.display()))
            .because(&e)
            .help("the agent keeps its journal there: make it writable, or name another with fleet.state_dir")
    })?;
    file.try_lock().map_err(|e| {
        Failure::refused("agent-already-running", format!("another agent holds {}", path.display()))
            .because(&e)
            .help("`bellrock status` asks that one; for a second agent on one host set fleet.state_dir, http.listen and http.socket")
    })?;
    Ok(file)
}

async fn serve(config: Config, context: &Context) -> Result<(), Failure> {
    let signals = Signals::install().map_err(|e| Failure::new("runtime", "signals cannot be taken over").because(&e))?;
    let boot = boot::id().map_err(|e| Failure::new("runtime", "the kernel does not name this boot").because(&e))?;
    let manager = Arc::new(Systemd::from_env(|name| context.env.get(name).cloned()));
    let stop = CancellationToken::new();
    let (policy, policies) = watch::channel(config.policy.clone());
    let (status, statuses) = watch::channel(Status::default());
    let (asked, commands) = mpsc::channel(COMMANDS);
    let api = match &config.orchestrator {
        config::Orchestrator::Embedded(_) => Some(Arc::new(OnceLock::new())),
        config::Orchestrator::Endpoint(_) | config::Orchestrator::Process(_) | config::Orchestrator::Unit(_) => None,
    };
    let keyring = Arc::new(Keyring::new(super::config::keyring_files(&config.http)));
    let (report, process) = watch::channel(None);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let metrics = Arc::new(Metrics::new(clock.now().wall, config.fleet.state_dir.clone(), config.aws.traffic.clone()));
    let surface = Surface {
        status: statuses.clone(),
        process,
        commands: asked,
        api: api.clone(),
        tokens: keyring.tokens(),
        metrics: metrics.clone(),
    };
    let (again, agains) = watch::channel(0);

    let mut tasks = Supervisor::new(stop.clone());
    let (listen, over_tcp, stopped) = (config.http.listen, surface.clone(), stop.clone());
    tasks.restarted("http", move || Box::pin(tcp(listen, over_tcp.clone(), stopped.clone())));
    let (ring, looks, stopped) = (keyring.clone(), agains.clone(), stop.clone());
    tasks.restarted("keyring", move || {
        let (ring, looks, stopped) = (ring.clone(), looks.clone(), stopped.clone());
        Box::pin(async move {
            ring.keep(looks, stopped).await;
            Ok(())
        })
    });
    if let Some(listen) = config.http.network.as_ref().map(|network| network.listen) {
        let (over_tls, ring, stopped) = (surface.clone(), keyring.clone(), stop.clone());
        tasks.restarted("network", move || Box::pin(network(listen, over_tls.clone(), ring.clone(), stopped.clone())));
    }
    let (path, stopped) = (config.http.socket.clone(), stop.clone());
    let (tried, mut first_try) = watch::channel(false);
    tasks.restarted("socket", move || Box::pin(unix(path.clone(), surface.clone(), tried.clone(), stopped.clone())));
    let reader = Reader { config: config.clone(), file: context.config.clone(), env: context.env.clone(), policy, again };
    tasks.essential("signals", listen_to(signals, reader, manager.clone(), stop.clone()));
    let beat = manager.clone();
    // The loop may end before the rest is asked to stop: when the engine beside it does.
    let beat_every = manager.ping_every().map_or(daemon::BEAT_EVERY, |every| every.min(daemon::BEAT_EVERY));
    let lines = Lines {
        policy: policies,
        commands,
        stop: stop.child_token(),
        status,
        beat: Box::new(move || beat.ping()),
        beat_every,
        counts: metrics.counts(),
    };
    let env = context.env.clone();
    let told = tell(manager.clone(), statuses);
    let entrance = Entrance { routes: api, tokens: keyring.tokens(), report, again: agains, metrics };
    tasks.essential("agent", async move { tokio::join!(work(config, env, boot, clock, lines, entrance), told).0 });

    // Whoever waited for us may give orders at once. A socket that cannot be had stops no drain: only its first try is waited for.
    let _ = tokio::time::timeout(SOCKET_WITHIN, first_try.wait_for(|tried| *tried)).await;
    manager.ready();
    let ended = tasks.run(STOP_WITHIN).await;
    manager.stopping();
    ended.map_err(|why| {
        Failure::new("agent-ended", why).help("the service manager starts it again; it goes on from its journal where it was")
    })
}

/// What the orchestrator is given of the doors.
struct Entrance {
    /// For an engine's routes, once it is there.
    routes: Option<Arc<OnceLock<axum::Router>>>,
    /// Who may take them from elsewhere.
    tokens: watch::Receiver<Arc<Tokens>>,
    /// How its process is, where the agent looks after it.
    report: watch::Sender<Option<Report>>,
    /// Asks it to read its files again, or to try again.
    again: watch::Receiver<u64>,
    /// Shows an engine's figures.
    metrics: Arc<Metrics>,
}

/// Learns who we are, puts the parts together, runs the loop, and the engine beside it.
async fn work(
    config: Config,
    env: std::collections::BTreeMap<String, String>,
    boot: String,
    clock: Arc<dyn Clock>,
    mut lines: Lines,
    entrance: Entrance,
) -> Ended {
    let metadata = Arc::new(Imds::new());
    let Some(identity) = daemon::identify(&*metadata, &mut lines).await else { return Ok(()) };
    let mut journal = Box::new(FileJournal::new(config.fleet.state_dir.join("journal")));
    let own = identity.own.id();
    let Entrance { routes, tokens, report, again, metrics } = entrance;
    metrics.set_place(&identity.region, &identity.account);
    let care = |report, again| {
        let (state_dir, stop) = (config.fleet.state_dir.as_path(), lines.stop.clone());
        Care { own, state_dir, env: &env, clock: clock.clone(), report, again, stop }
    };
    let mut upkeep: Upkeep = Box::pin(std::future::ready(()));
    let (orchestrator, engine): (Arc<dyn Orchestrator>, Option<Engine>) = match &config.orchestrator {
        config::Orchestrator::Endpoint(settings) => {
            let endpoint = Endpoint::new((**settings).clone(), own, clock.clone()).map_err(|e| e.to_string())?;
            (Arc::new(endpoint), None)
        }
        config::Orchestrator::Process(settings) => {
            let orchestrator;
            (orchestrator, upkeep) = care::process(settings, care(report, again))?;
            (orchestrator, None)
        }
        config::Orchestrator::Unit(settings) => {
            let orchestrator;
            (orchestrator, upkeep) = care::unit(settings, care(report, again))?;
            (orchestrator, None)
        }
        config::Orchestrator::Embedded(settings) => {
            let wish = daemon::engine::wish(&mut *journal, own, &boot);
            let Some(routes) = routes else { return Err("the engine has no door".to_owned()) };
            let place = Place { instance: own.as_str(), state_dir: &config.fleet.state_dir, env: &env, wish, again, aws: &config.aws };
            let engine = Engine::start(settings, place, tokens, clock.clone()).await?;
            // Set once: this is the only place, and it is passed once.
            let _ = routes.set(engine.api.clone());
            metrics.set_engine(engine.runner());
            let orchestrator: Arc<dyn Orchestrator> = match config.is_written("orchestrator.kind") {
                true => engine.orchestrator.clone(),
                false => Arc::new(Guarded::new(engine.orchestrator.clone(), bystander::USUAL).map_err(|e| e.to_string())?),
            };
            (orchestrator, Some(engine))
        }
    };
    let prober = Prober::new(config.probes.clone()).map_err(|e| e.to_string())?;
    let probes: Arc<dyn Probes> = match &engine {
        Some(engine) => Arc::new(KnowsItsStore::new(engine.runner(), prober, config.probes.store.is_some())),
        None => Arc::new(prober),
    };
    let (eyes, hands) = adapters(&config, &identity, metadata, orchestrator, probes).await?;
    let audit = Box::new(FileAudit::new(config.fleet.state_dir.join("audit.jsonl")));
    let end_loop = lines.stop.clone();
    let looping = daemon::run(Parts { identity, eyes, hands, clock, journal, audit, boot }, lines);
    match engine {
        Some(engine) => engine.beside(looping, end_loop).await,
        None => {
            tokio::join!(looping, upkeep);
            Ok(())
        }
    }
}

async fn adapters(
    config: &Config,
    identity: &Identity,
    metadata: Arc<Imds>,
    orchestrator: Arc<dyn Orchestrator>,
    probes: Arc<dyn Probes>,
) -> Result<(Eyes, Hands), String> {
    // Our group is where we are; looking for a region elsewhere could only find another one.
    let region = config.aws.region.clone().or_else(|| Some(identity.region.clone()));
    let aws = Aws::connect(&aws::Settings { region, ..config.aws.clone() }).await.map_err(|e| e.to_string())?;
    let autoscaling = Arc::new(aws);
    let tasks = match &config.gate {
        Some(settings) => Some(Arc::new(gate::Gate::new(settings.clone()).map_err(|e| e.to_string())?) as Arc<dyn gate::Tasks>),
        None => None,
    };
    let eyes = Eyes { autoscaling: autoscaling.clone(), metadata, orchestrator: orchestrator.clone(), tasks: tasks.clone(), probes };
    let permits = match &config.permits {
        Some(settings) => {
            // As instance metadata has it: the same for all of a group, wherever else AWS is looked for.
            let home = Home { region: identity.region.clone(), account: identity.account.clone() };
            Some(Arc::new(RedisPermits::open(settings.clone(), home).map_err(|e| e.to_string())?) as Arc<dyn Permits>)
        }
        None => None,
    };
    Ok((eyes, Hands { autoscaling, orchestrator, tasks, permits }))
}

async fn tcp(listen: std::net::SocketAddr, surface: Surface, stop: CancellationToken) -> Ended {
    let port = http::Port::bind(listen).await.map_err(|e| chain(&e))?;
    info!(address = %port.address(), "answering over HTTP");
    http::serve_tcp(port, surface, stop).await.map_err(|e| chain(&e))
}

async fn network(listen: std::net::SocketAddr, surface: Surface, keyring: Arc<Keyring>, stop: CancellationToken) -> Ended {
    let Some(port) = http::NetworkPort::bind(listen, &keyring, &stop).await.map_err(|e| chain(&e))? else { return Ok(()) };
    info!(address = %port.address(), "answering over HTTPS");
    http::serve_network(port, surface, stop).await.map_err(|e| chain(&e))
}

async fn unix(path: std::path::PathBuf, surface: Surface, tried: watch::Sender<bool>, stop: CancellationToken) -> Ended {
    let bound = http::Socket::bind(&path).await;
    if bound.is_ok() {
        info!(socket = %path.display(), "taking orders");
    }
    tried.send_replace(true);
    http::serve_unix(bound.map_err(|e| chain(&e))?, surface, stop).await.map_err(|e| chain(&e))
}

fn chain(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// Shows each change of phase to `systemctl status`; ends with the loop.
async fn tell(manager: Arc<Systemd>, mut statuses: watch::Receiver<Status>) {
    let mut last = String::new();
    while statuses.changed().await.is_ok() {
        let line = {
            let status = statuses.borrow_and_update();
            status.waits_for.as_ref().map_or_else(|| status.phase.clone(), |what| format!("{}, waits for {what}", status.phase))
        };
        if line != last {
            manager.status(&line);
            last = line;
        }
    }
}

/// What a reload needs.
struct Reader {
    config: Config,
    file: Option<std::path::PathBuf>,
    env: std::collections::BTreeMap<String, String>,
    policy: watch::Sender<Policy>,
    /// Counts reloads, for those who read files of their own.
    again: watch::Sender<u64>,
}

async fn listen_to(mut signals: Signals, mut reader: Reader, manager: Arc<Systemd>, stop: CancellationToken) -> Ended {
    loop {
        // Safe to cancel: a signal that is not taken stays.
        let signal = tokio::select! {
            signal = signals.next() => signal,
            () = stop.cancelled() => return Ok(()),
        };
        info!(%signal, "a signal came");
        match signal.request {
            Request::Stop => {
                stop.cancel();
                return Ok(());
            }
            Request::Reload => {
                manager.reloading();
                reader.reload();
                manager.ready();
            }
        }
    }
}

impl Reader {
    fn reload(&mut self) {
        // Whatever becomes of the configuration: a renewed certificate has nothing to do with it.
        self.again.send_modify(|count| *count += 1);
        let config = match Config::load(self.file.as_deref(), &self.env) {
            Ok(config) => config,
            Err(e) => {
                return error!(
                    problems = chain(&e),
                    "the configuration was not taken over; what was in force stays (runbooks/config-wrong.md)"
                );
            }
        };
        let cold = self.config.needs_restart(&config);
        if !cold.is_empty() {
            return warn!(
                keys = cold.join(", "),
                "the configuration was not taken over: these keys want a restart, which is safe at any time"
            );
        }
        let changed = self.policy.send_if_modified(|policy| {
            let changed = *policy != config.policy;
            policy.clone_from(&config.policy);
            changed
        });
        self.config = config;
        info!(changed, "the configuration was read again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = include_str!("../../systemd/bellrock.service");

    fn seconds(key: &str) -> Duration {
        let value = UNIT.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_else(|| panic!("no {key}"));
        Duration::from_secs(value.parse().unwrap())
    }

    #[test]
    fn the_units_limits_have_room_for_the_agents_own() {
        // Cut off by systemd, it would leave a deed unanswered and its socket behind; it has to come to its own end, and to say so.
        let spare = Duration::from_secs(4);
        let own = STOP_WITHIN.max(daemon::STOP_WITHIN + Duration::from_secs(15));
        assert!(seconds("TimeoutStopSec") >= own + spare, "{own:?}");
        assert!(
            seconds("TimeoutStartSec") > SOCKET_WITHIN * 10,
            "metadata and journal are waited for after it is ready, the socket before"
        );
        assert!(seconds("WatchdogSec") >= daemon::BEAT_EVERY * 6, "a loop that is late once or twice does not hang");
        let config = Config::parse(Path::new("none"), "", &std::collections::BTreeMap::new()).unwrap();
        let config::Orchestrator::Embedded(engine) = config.orchestrator else { panic!("the engine is embedded") };
        assert!(seconds("RestartSec") * 3 <= engine.lease, "the next agent of this host is there before others take its work");
    }
}
