//! Measures what the README's table of figures promises, and prints that table: `benches/run`.
//!
//! What is of this machine (memory, processor time, seeds per minute) is measured on the release binary in real time; what is of the protocol
//! (waits, calls) in virtual time, where a figure is exact and the same on every machine. Exits with 1 when a goal is missed.
#![expect(clippy::disallowed_methods, reason = "real time and the environment are what is measured, and there is no loop to supervise")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use async_trait::async_trait;
use bellrock::act::Hands;
use bellrock::cloud::TargetState;
use bellrock::cloud::sim::Region;
use bellrock::cloud::sim::Scenario;
use bellrock::cloud::sim::Sim;
use bellrock::daemon;
use bellrock::daemon::Lines;
use bellrock::daemon::Parts;
use bellrock::decide::Durable;
use bellrock::decide::Policy;
use bellrock::decide::Status;
use bellrock::host::clock::VirtualClock;
use bellrock::journal::Audit;
use bellrock::journal::Event;
use bellrock::journal::Journal;
use bellrock::model::GroupName;
use bellrock::model::InstanceId;
use bellrock::model::Timestamp;
use bellrock::observe::Eyes;
use bellrock::orchestrator::probe::Nothing;
use bellrock::rollback;
use bellrock::rollback::Canary;
use bellrock::rollback::Outcome;
use bellrock::rollback::Request;
use bellrock::rollback::Service;
use bellrock::rollback::Silent;
use bellrock::rollback::World;
use serde_json::Value;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Real seconds before and during the look at an idle agent.
const WARM_UP: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_secs(60);
/// Storms that are timed.
const STORMS: u32 = 400;
/// Simulated time of one call, there and back: what AWS takes in its own region on a good day.
const LATENCY_S: f64 = 0.03;
/// The call that ends an instance.
const TERMINATE: &str = "TerminateInstanceInAutoScalingGroup";
/// When the simulated days begin.
const START: Timestamp = Timestamp(1_800_000_000_000);

/// One line of the table.
struct Figure {
    what: String,
    goal: String,
    measured: String,
    met: bool,
}

fn figure(what: impl Into<String>, goal: impl Into<String>, measured: impl Into<String>, met: bool) -> Figure {
    Figure { what: what.into(), goal: goal.into(), measured: measured.into(), met }
}

fn main() -> ExitCode {
    let parts = ["idle", "calls", "look", "plan", "restore", "storm"];
    let wanted: Vec<String> = std::env::args().skip(2).collect();
    let (Some(binary), true) = (std::env::args().nth(1), wanted.iter().all(|part| parts.contains(&part.as_str()))) else {
        eprintln!("usage: figures PATH-OF-THE-BELLROCK-BINARY [{}]…; benches/run builds and runs it", parts.join("|"));
        return ExitCode::from(2);
    };
    let binary = Path::new(&binary);
    println!("| | goal | measured |\n|---|---|---|");
    let work: [&dyn Fn() -> Result<Vec<Figure>>; 6] = [
        &|| idle(binary),
        &|| in_virtual_time(calls_of_an_idle_hour()),
        &|| in_virtual_time(last_look()),
        &|| first_plan(binary),
        &|| in_virtual_time(restore()),
        &|| storms(binary),
    ];
    let mut all_met = true;
    for (_, work) in parts.iter().zip(work).filter(|(part, _)| wanted.is_empty() || wanted.iter().any(|wanted| wanted == *part)) {
        match work() {
            Ok(figures) => figures.iter().for_each(|f| {
                println!("| {} | {} | {}{} |", f.what, f.goal, f.measured, if f.met { "" } else { " **missed**" });
                all_met &= f.met;
            }),
            Err(error) => {
                eprintln!("figures: {error}");
                all_met = false;
            }
        }
    }
    if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn in_virtual_time<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(work)
}

/// A child that does not outlive us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _already_reaped = self.0.wait();
    }
}

/// An agent on an instance that nothing happens to: as it is shipped, and with everything looked at that can be.
fn idle(binary: &Path) -> Result<Vec<Figure>> {
    let (shipped, probing) = (idle_agent(binary, false)?, idle_agent(binary, true)?);
    let memory = |idle: &Idle| format!("{:.1} MiB (peak {:.1}), {:.1} its own", idle.resident, idle.peak, idle.own);
    let percent = |idle: &Idle| format!("{:.2} % over {} s", idle.percent, IDLE.as_secs());
    Ok(vec![
        figure("idle agent, resident memory", "≤ 20 MiB", memory(&shipped), shipped.peak <= 20.0),
        figure("idle agent, one core", "≤ 0.2 %", percent(&shipped), shipped.percent <= 0.2),
        figure("idle agent with all probes, resident memory", "≤ 25 MiB", memory(&probing), probing.peak <= 25.0),
        figure("idle agent with all probes, one core", "≤ 0.3 %", percent(&probing), probing.percent <= 0.3),
        figure("idle agent with all probes, wake-ups", "≤ 6 a second", format!("{:.1} a second", probing.wakes), probing.wakes <= 6.0),
    ])
}

/// How an agent idles; memory in MiB.
struct Idle {
    resident: f64,
    peak: f64,
    /// What is not the program's file.
    own: f64,
    percent: f64,
    /// Of all its threads, in a second.
    wakes: f64,
}

fn idle_agent(binary: &Path, probing: bool) -> Result<Idle> {
    let folder = std::env::temp_dir().join(format!("bellrock-figures-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let scenario = folder.join("idle.json");
    fs::write(&scenario, fleet(1, 3, false).to_string())?;
    let quiet = |command: &mut Command| command.stderr(Stdio::null()).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map(Running);

    let mut sim = quiet(Command::new(binary).arg("sim").arg("--scenario").arg(&scenario))?;
    let mut ready = String::new();
    BufReader::new(sim.0.stdout.take().ok_or("no pipe")?).read_line(&mut ready)?;
    let ready: Value = serde_json::from_str(&ready)?;
    let endpoint = ready["endpoint"].as_str().ok_or("the sim names no endpoint")?;
    let id = instance_of(&fleet(1, 3, false))?;
    let config = folder.join("bellrock.toml");
    fs::write(&config, if probing { all_probes(endpoint, &id, sim.0.id(), &folder)? } else { String::new() })?;
    let agent = quiet(
        Command::new(binary)
            .arg("agent")
            .arg("--config")
            .arg(&config)
            .env_clear()
            .env("AWS_ENDPOINT_URL", endpoint)
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("{endpoint}/imds/{id}"))
            .env("BELLROCK_ORCHESTRATOR_KIND", "endpoint")
            .env("BELLROCK_ORCHESTRATOR_URL", format!("{endpoint}/orchestrators/{id}"))
            .env("BELLROCK_FLEET_STATE_DIR", &folder)
            .env("BELLROCK_HTTP_SOCKET", folder.join("agent.sock"))
            .env("BELLROCK_HTTP_LISTEN", "127.0.0.1:0"),
    )?;
    let pid = agent.0.id();

    thread::sleep(WARM_UP);
    let (ticks_before, wakes_before, began) = (processor_ticks(pid)?, wake_ups(pid)?, Instant::now());
    thread::sleep(IDLE);
    let (ticks, wakes, took) = (processor_ticks(pid)? - ticks_before, wake_ups(pid)? - wakes_before, began.elapsed().as_secs_f64());
    let idle = Idle {
        resident: status_mib(pid, "VmRSS:")?,
        peak: status_mib(pid, "VmHWM:")?,
        own: status_mib(pid, "RssAnon:")?,
        percent: f64::from(u32::try_from(ticks)?) / TICKS_PER_SECOND / took * 100.0,
        wakes: f64::from(u32::try_from(wakes)?) / took,
    };
    drop((agent, sim));
    fs::remove_dir_all(&folder)?;
    Ok(idle)
}

/// Settings with every probe and every limit; the simulated region stands for the orchestrator's process and for its store.
fn all_probes(endpoint: &str, id: &InstanceId, orchestrator: u32, folder: &Path) -> Result<String> {
    let pid_file = folder.join("orchestrator.pid");
    fs::write(&pid_file, orchestrator.to_string())?;
    let store = endpoint.trim_start_matches("http://");
    let health = format!("{endpoint}/orchestrators/{id}/health");
    Ok(format!(
        "[heal.liveness]\nurl = {health:?}\n[heal.readiness]\nurl = {health:?}\n[heal.store]\nconnect = {store:?}\n\
         [heal.limits]\npid_file = {pid_file:?}\nmounts = [\"/\"]\ndisk_free_percent = 1\ninodes_free_percent = 1\nmemory_mib = 6144\n\
         memory_growth_mib_per_h = 512\ncpu_percent = 97\nthreads = 2000\nfiles = 50000\nload_percent = 10000\noom_kills = true\nclock_offset = \"5s\"\n"
    ))
}

/// From the start of `bellrock rollback --dry-run` to its end, with the plan of twenty clusters, against a served region.
fn first_plan(binary: &Path) -> Result<Vec<Figure>> {
    const RUNS: usize = 9;
    const GOAL: Duration = Duration::from_millis(300);
    let folder = std::env::temp_dir().join(format!("bellrock-plan-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let scenario = folder.join("redeployed.json");
    fs::write(&scenario, fleet(20, 3, true).to_string())?;
    let sim = Command::new(binary).arg("sim").arg("--scenario").arg(&scenario).stderr(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut sim = sim.map(Running)?;
    let mut ready = String::new();
    BufReader::new(sim.0.stdout.take().ok_or("no pipe")?).read_line(&mut ready)?;
    let ready: Value = serde_json::from_str(&ready)?;
    let mut took = Vec::new();
    for _ in 0..RUNS {
        let mut rollback = Command::new(binary);
        rollback.args(["rollback", "shop", "--dry-run", "--output", "json", "--endpoint"]).arg(ready["endpoint"].as_str().ok_or("none")?);
        rollback.env_clear().envs([("AWS_ACCESS_KEY_ID", "ann"), ("AWS_SECRET_ACCESS_KEY", "none"), ("AWS_REGION", "us-east-1")]);
        rollback.env("XDG_STATE_HOME", &folder).env("HOME", &folder).stderr(Stdio::null());
        let began = Instant::now();
        let ended = rollback.output()?;
        took.push(began.elapsed());
        let said: Value = serde_json::from_slice(&ended.stdout)?;
        if said["plan"]["clusters"].as_array().map(Vec::len) != Some(20) {
            return Err(format!("the plan is another: {said}").into());
        }
    }
    drop(sim);
    fs::remove_dir_all(&folder)?;
    took.sort();
    let (middle, longest) = (took[RUNS / 2], took[RUNS - 1]);
    Ok(vec![figure(
        "rollback of 20 clusters: start of the process to the plan, preflight included",
        format!("≤ {} ms", GOAL.as_millis()),
        format!(
            "{} ms in the middle, {} ms at most, of {RUNS}; a call takes {:.0} ms",
            middle.as_millis(),
            longest.as_millis(),
            LATENCY_S * 1e3
        ),
        middle <= GOAL,
    )])
}

/// The same seed and document give the same ids in every process.
fn instance_of(document: &Value) -> Result<InstanceId> {
    let mut region = Region::new(0, START);
    region.load(&serde_json::from_value::<Scenario>(document.clone())?).map_err(|e| e.to_string())?;
    Ok(region.instances().next().ok_or("no instance")?.id.clone())
}

/// Linux's unit of `/proc/PID/stat`, the same on every architecture Rust's standard library runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of all threads, those that ended too.
fn processor_ticks(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|_| "the agent ended")?;
    let (_, after_name) = stat.rsplit_once(") ").ok_or("no stat")?;
    let fields: Vec<&str> = after_name.split(' ').collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

/// How often its threads have been given a processor after they waited for something.
fn wake_ups(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        let line = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:")).ok_or("no such line")?;
        sum += line.trim().parse::<u64>()?;
    }
    Ok(sum)
}

fn status_mib(pid: u32, key: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix(key)).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// Clusters `shop-c00-v001`, with `v002` beside each when `redeployed`; everybody behind the cluster's own target group.
fn fleet(clusters: u32, instances: u32, redeployed: bool) -> Value {
    let names: Vec<String> = (0..clusters).map(|n| format!("shop-c{n:02}")).collect();
    let group = |name: &str, push: &str, size: u32, suspended: &[&str]| {
        json!({ "name": format!("{name}-{push}"), "min": size, "max": instances, "desired": size, "template": "shop", "target_groups": [name],
                "suspended": suspended, "settled": true })
    };
    let disabling = ["Launch", "Terminate", "AddToLoadBalancer"];
    let groups: Vec<Value> = names
        .iter()
        .flat_map(|name| match redeployed {
            true => vec![group(name, "v001", 0, &disabling), group(name, "v002", instances, &[])],
            false => vec![group(name, "v001", instances, &[])],
        })
        .collect();
    let listeners: Vec<Value> = names.iter().enumerate().map(|(n, name)| json!([8000 + n, name])).collect();
    json!({
        "pace": { "latency": LATENCY_S, "react": 1 },
        "templates": [{ "name": "shop", "versions": [{ "boot": { "pending": 30, "service": 30 } }] }],
        "target_groups": names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
        "load_balancers": [{ "name": "shop", "listeners": listeners }],
        "groups": groups,
    })
}

fn simulate(seed: u64, document: Value) -> Result<(Sim, VirtualClock)> {
    let scenario: Scenario = serde_json::from_value(document)?;
    let mut region = Region::new(seed, START);
    region.load(&scenario).map_err(|e| e.to_string())?;
    let clock = VirtualClock::start(START);
    Ok((Sim::new(region, Arc::new(clock)), clock))
}

/// Remembers and forgets nothing: no restart is measured here.
struct Memory;

impl Journal for Memory {
    fn load(&mut self, _: &InstanceId, _: &str) -> std::io::Result<Option<(Durable, bool)>> {
        Ok(None)
    }

    fn save(&mut self, _: &InstanceId, _: &str, _: Timestamp, _: &Durable) -> std::io::Result<()> {
        Ok(())
    }
}

impl Audit for Memory {
    fn write(&mut self, _: &Event) {}
}

/// The agent of one instance, with the shipped defaults, for as long as it is polled.
async fn agent(sim: &Sim, clock: VirtualClock, id: &InstanceId) -> Result<()> {
    let (cloud, orchestrator) = (Arc::new(sim.cloud(id.as_str())), Arc::new(sim.orchestrator(id)));
    let probes = Arc::new(Nothing);
    let metadata = Arc::new(sim.metadata(id));
    let eyes = Eyes { autoscaling: cloud.clone(), metadata, orchestrator: orchestrator.clone(), tasks: None, probes };
    let hands = Hands { autoscaling: cloud, orchestrator, tasks: None, permits: None };
    let (journal, audit, boot) = (Box::new(Memory), Box::new(Memory), "boot".to_owned());
    let (_policy, policy) = watch::channel(Policy::default());
    let (_asked, commands) = mpsc::channel(1);
    let (status, _statuses) = watch::channel(Status::default());
    let identity = eyes.metadata.identity().await?;
    let lines = Lines {
        policy,
        commands,
        stop: CancellationToken::new(),
        status,
        beat: Box::new(|| {}),
        beat_every: daemon::BEAT_EVERY,
        counts: Arc::default(),
    };
    daemon::run(Parts { identity, eyes, hands, clock: Arc::new(clock), journal, audit, boot }, lines).await;
    Ok(())
}

async fn calls_of_an_idle_hour() -> Result<Vec<Figure>> {
    let document = fleet(1, 3, false);
    let id = instance_of(&document)?;
    let (sim, clock) = simulate(0, document)?;
    let calls = || sim.with(|r| r.truth().counts.get(id.as_str()).map_or(0, |by| by.values().sum::<u64>()));
    let hour = async {
        sleep(Duration::from_secs(3600)).await;
        let before = calls();
        sleep(Duration::from_secs(3600)).await;
        calls() - before
    };
    let count = tokio::select! {
        ended = agent(&sim, clock, &id) => return Err(format!("the agent ended: {ended:?}").into()),
        count = hour => count,
    };
    let every = Policy::default().describe_every.as_secs();
    let designed = 3600 / every;
    // Jitter of a quarter either way.
    let met = count * 4 <= designed * 5;
    Ok(vec![figure("idle agent, AWS calls in an hour", format!("{designed} (one each {every} s)"), count.to_string(), met)])
}

/// From the end of an instance's last execution to the call that ends the instance.
async fn last_look() -> Result<Vec<Figure>> {
    const SEEDS: u64 = 40;
    let policy = Policy::default();
    let bound = policy.activity_every + policy.quiet + Duration::from_millis(100);
    let mut waits = Vec::new();
    for seed in 0..SEEDS {
        waits.push(one_last_look(seed).await?);
    }
    waits.sort();
    let (middle, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    Ok(vec![figure(
        "from the last execution's end to the terminate call, AWS's own time left out",
        format!("≤ {:.1} s (a poll, the quiet time, 100 ms)", bound.as_secs_f64()),
        format!("{:.1} s at most, {:.1} s in the middle, of {SEEDS}", longest.as_secs_f64(), middle.as_secs_f64()),
        longest <= bound,
    )])
}

async fn one_last_look(seed: u64) -> Result<Duration> {
    let mut document = fleet(1, 1, true);
    // How fast AWS answers is AWS's, but an answer always takes time.
    document["pace"]["latency"] = json!(0.002);
    // The old group takes work, then is disabled; its work goes on for long after.
    document["groups"][0]["suspended"] = json!([]);
    for size in ["min", "desired"] {
        document["groups"][0][size] = json!(1);
    }
    document["incidents"] = json!([
        { "at": 0, "what": { "work": { "queue": "shop-c00", "count": 6, "length": [300, 600], "over": 20 } } },
        { "at": 40, "what": { "disable": "shop-c00-v001" } },
    ]);
    let (sim, clock) = simulate(seed, document)?;
    let old = GroupName::from("shop-c00-v001");
    let id = sim.with(|r| r.instances().find(|i| i.group.as_ref() == Some(&old)).map(|i| i.id.clone())).ok_or("no old instance")?;
    // The call counts, refused or not: some regions refuse it while Terminate is suspended.
    let asked = |r: &mut Region| r.truth().calls.iter().find(|c| c.action == TERMINATE && c.caller == id.as_str()).map(|c| c.at);
    let ended = async {
        loop {
            sleep(Duration::from_secs(5)).await;
            let found = sim.with(asked);
            if found.is_some() || sim.with(|r| r.now()) > Duration::from_secs(3600) {
                break found;
            }
        }
    };
    let at = tokio::select! {
        ended = agent(&sim, clock, &id) => return Err(format!("the agent ended: {ended:?}").into()),
        at = ended => at.ok_or("an instance was never drained")?,
    };
    let last = sim.with(|r| {
        let runs = r.truth().executions.iter().flat_map(|e| &e.runs).filter(|run| run.instance == id);
        runs.filter_map(|run| run.ended).max()
    });
    Ok(at - last.ok_or("it never ran anything")?)
}

struct Answers;

#[async_trait]
impl Service for Answers {
    async fn ask(&self, _: &str) -> std::result::Result<(), String> {
        Ok(())
    }
}

/// What a rollback of twenty clusters, and of two hundred, all instances at once, adds to what AWS itself takes, and what its waiting costs. A
/// canary would be one boot more, which is AWS's.
async fn restore() -> Result<Vec<Figure>> {
    let began = Instant::now();
    let small = one_restore(20, 2).await?;
    let large = one_restore(20, 20).await?;
    let real = began.elapsed();
    let added = large.took - large.aws;
    let began = Instant::now();
    let huge = one_restore(200, 20).await?;
    let huge_real = began.elapsed();
    let huge_added = huge.took - huge.aws;
    Ok(vec![
        figure(
            "rollback of 20 clusters of 20: time above AWS's own (launch, boot, health checks, ends begun)",
            "≤ 2 s",
            format!("{:.2} s of {:.1} s ({:.1} s real)", added.as_secs_f64(), large.took.as_secs_f64(), real.as_secs_f64()),
            added <= Duration::from_secs(2),
        ),
        figure(
            "rollback of 200 clusters of 20: the same",
            "≤ 10 s",
            format!("{:.2} s of {:.1} s ({:.1} s real)", huge_added.as_secs_f64(), huge.took.as_secs_f64(), huge_real.as_secs_f64()),
            huge_added <= Duration::from_secs(10),
        ),
        figure(
            "rollback of 20 clusters: AWS calls per poll, at 2 and at 20 instances each",
            "the same",
            format!("{:.1} and {:.1}", small.per_poll, large.per_poll),
            (small.per_poll - large.per_poll).abs() < 0.05,
        ),
    ])
}

struct Restored {
    took: Duration,
    /// From the first restored group's new size to the moment all instances passed their checks, and from the last retired group's to the moment
    /// all of its instances began to end.
    aws: Duration,
    per_poll: f64,
}

async fn one_restore(clusters: u32, instances: u32) -> Result<Restored> {
    let (sim, clock) = simulate(1, fleet(clusters, instances, true))?;
    let cloud = sim.cloud("ann");
    let (journal, cancel) = (rollback::Journal::none(), CancellationToken::new());
    let service_urls = vec!["https://shop.example/health".to_owned()];
    let request = Request { service_urls, canary: Canary::Never, ..Request::of("shop", "ann@laptop") };
    let world = World {
        scaling: &cloud,
        compute: &cloud,
        caller: &cloud,
        balancing: &cloud,
        service: &Answers,
        clock: &clock,
        journal: &journal,
        sink: &Silent,
        cancel: &cancel,
        seed: 1,
    };
    let counts = || sim.with(|r| r.truth().counts.get("ann").cloned().unwrap_or_default());
    let began = sim.with(|r| r.now());
    let watched = async {
        // Well inside the boot.
        sleep(Duration::from_secs(15)).await;
        let before = counts();
        sleep(Duration::from_secs(30)).await;
        let after = counts();
        let healthy = loop {
            sleep(Duration::from_millis(20)).await;
            if all_healthy(&sim, instances)? {
                break sim.with(|r| r.now());
            }
            if sim.with(|r| r.now()) > Duration::from_secs(600) {
                return Err("the restored groups never got healthy".into());
            }
        };
        Ok::<_, Box<dyn Error>>((per_poll(&before, &after), healthy))
    };
    let run = async {
        let outcome = rollback::run(&world, &request).await;
        (outcome, sim.with(|r| r.now()))
    };
    let ((outcome, ended), watched) = tokio::join!(run, watched);
    let (per_poll, healthy) = watched?;
    if !matches!(outcome, Outcome::Done(_)) {
        return Err(format!("the rollback ended otherwise: {outcome:?}").into());
    }
    let (restored, closed, leaving) = sim.with(|r| {
        let truth = r.truth();
        let resized = |to: u32| truth.capacity.iter().filter(move |c| c.by == "ann" && c.capacity.desired == to).map(|c| c.at);
        (resized(instances).min(), resized(0).max(), truth.terminations.iter().map(|t| t.at).max())
    });
    let restored = restored.ok_or("nothing was restored")?;
    let (closed, leaving) = closed.zip(leaving).ok_or("nothing was retired")?;
    Ok(Restored { took: ended - began, aws: (healthy - restored) + (leaving - closed), per_poll })
}

fn all_healthy(sim: &Sim, instances: u32) -> Result<bool> {
    sim.with(|r| {
        for name in r.group_names().into_iter().filter(|name| name.as_str().ends_with("v001")) {
            let group = r.group_now(&name).ok_or("a group is gone")?.group;
            let health = r.describe_target_health(&group.target_groups[0], &[]).map_err(|e| e.to_string())?;
            let good = |i: &InstanceId| health.iter().any(|h| &h.target.instance == i && h.state == TargetState::Healthy);
            if group.instances.iter().filter(|i| good(&i.id)).count() < instances as usize {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// A poll begins with one describe of all groups.
fn per_poll(before: &BTreeMap<&'static str, u64>, after: &BTreeMap<&'static str, u64>) -> f64 {
    let since = |action: &str| after.get(action).unwrap_or(&0) - before.get(action).unwrap_or(&0);
    let all: u64 = after.keys().map(|action| since(action)).sum();
    f64::from(u32::try_from(all).unwrap_or(u32::MAX)) / f64::from(u32::try_from(since("DescribeAutoScalingGroups")).unwrap_or(1).max(1))
}

fn storms(binary: &Path) -> Result<Vec<Figure>> {
    let began = Instant::now();
    let seeds = format!("0..{STORMS}");
    let run = Command::new(binary).args(["drill", "storm", "--seeds", &seeds, "--output", "json"]).stderr(Stdio::null()).output()?;
    let took = began.elapsed();
    let answer: Value = serde_json::from_slice(&run.stdout).map_err(|e| format!("drill storm: {e}"))?;
    let per_minute = f64::from(STORMS) / took.as_secs_f64() * 60.0;
    let measured = format!("{per_minute:.0} ({} of {STORMS} passed, {:.1} s)", answer["passed"], took.as_secs_f64());
    Ok(vec![figure("storm seeds in a minute", "≥ 200", measured, per_minute >= 200.0 && run.status.success())])
}
