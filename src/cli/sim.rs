//! `bellrock sim`: the simulated region as a server on this machine, for anything that speaks AWS's protocol.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use super::Context;
use super::Exit;
use super::Failure;
use super::runtime;
use crate::cloud::sim::Region;
use crate::cloud::sim::Scenario;
use crate::cloud::sim::serve::Server;
use crate::cloud::sim::serve::scenario;
use crate::config::Format;
use crate::config::Level;
use crate::config::Log;
use crate::host::clock::SystemClock;
use crate::model::Clock;

#[derive(Debug, clap::Args)]
#[command(after_help = "Prints one line of JSON with its address once it is ready, and runs until SIGTERM or Ctrl-C.\n\n\
    Examples:\n  \
    bellrock sim --listen 127.0.0.1:4500 --speed 10\n  \
    AWS_ENDPOINT_URL=http://127.0.0.1:4500 aws autoscaling describe-auto-scaling-groups\n  \
    curl -s 127.0.0.1:4500/control | jq .instances\n  \
    AWS_ENDPOINT_URL=http://127.0.0.1:4500 AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:4500/imds/i-… \\\n    \
    BELLROCK_ORCHESTRATOR_KIND=endpoint BELLROCK_ORCHESTRATOR_URL=http://127.0.0.1:4500/orchestrators/i-… \\\n    \
    BELLROCK_FLEET_STATE_DIR=/tmp/b BELLROCK_HTTP_SOCKET=/tmp/b/agent.sock bellrock agent")]
pub(super) struct Args {
    /// Address to listen on; port 0 takes a free one. Loopback only: nothing is authenticated.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS", value_parser = loopback)]
    listen: SocketAddr,
    /// Scenario to begin with: a JSON file, or a name (GET /control/scenarios lists them).
    #[arg(long, default_value = scenario::DEFAULT, value_name = "FILE|NAME")]
    scenario: String,
    /// Seed of everything random in the region.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Virtual seconds per real second; at 0 time moves by POST /control/advance alone.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    speed: f64,
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "wanted an address and a port, like 127.0.0.1:4500".to_owned())?;
    if address.ip().is_loopback() { Ok(address) } else { Err("not a loopback address".into()) }
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    context.start_log(Log { level: Level::Info, format: Format::Text });
    let scenario = read(&args.scenario)?;
    let mut region = Region::new(args.seed, SystemClock::start().now().wall);
    region
        .load(&scenario)
        .map_err(|e| Failure::refused("sim-scenario", format!("the scenario {} cannot be built", args.scenario)).because(&e))?;
    runtime()?.block_on(async {
        let server = Server::bind(args.listen, region, args.speed).await.map_err(|e| {
            Failure::refused("sim-listen", format!("cannot listen on {}", args.listen)).because(&e).help("name a free port with --listen")
        })?;
        let stop = stop().map_err(|e| Failure::new("sim-signals", "the process cannot watch for signals").because(&e))?;
        let at = server.endpoint();
        let ready = json!({ "endpoint": at, "control": format!("{at}/control"), "scenario": args.scenario, "seed": args.seed, "speed": args.speed });
        // Whoever started us may not care for the address; the server serves all the same.
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{ready}").and_then(|()| out.flush());
        drop(out);
        server.run(stop).await.map_err(|e| Failure::new("sim-serve", "the server stopped on its own").because(&e))?;
        Ok(Exit::Done)
    })
}

fn read(name: &str) -> Result<Scenario, Failure> {
    if let Some(scenario) = scenario::named(name) {
        return Ok(scenario);
    }
    let text = std::fs::read_to_string(Path::new(name)).map_err(|e| {
        Failure::refused("sim-scenario", format!("cannot read the scenario {name}"))
            .because(&e)
            .help(format!("name a file, or one of: {}", scenario::NAMES.join(", ")))
    })?;
    serde_json::from_str(&text).map_err(|e| Failure::refused("sim-scenario", format!("{name} is no scenario")).because(&e))
}

/// Resolves at the first SIGTERM or SIGINT.
fn stop() -> std::io::Result<impl Future<Output = ()>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}
