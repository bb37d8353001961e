//! What an execution costs in the embedded engine, over Redis or over a file of this machine:
//! `cargo run --profile bench --example engine -- chain` (`latency`, `store`, `idle`; `--help`).
//!
//! Every figure is printed beside the floor taken in the same run (one script call a task, of the same size, pipelined): a machine's mood moves both, so
//! that the ratio can be compared and the absolute figure cannot. Servers and workers are processes of their own and end with this one.
#![expect(clippy::disallowed_methods, reason = "real time and real processes are what is measured, and there is no loop to supervise")]

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use async_trait::async_trait;
use bellrock::host::clock::SystemClock;
use bellrock::model::Clock;
use bellrock::model::Timestamp;
use bellrock::orchestrator::engine::advance::World;
use bellrock::orchestrator::engine::advance::advance;
use bellrock::orchestrator::engine::definition::Definition;
use bellrock::orchestrator::engine::effect::AttemptKey;
use bellrock::orchestrator::engine::effect::Effect;
use bellrock::orchestrator::engine::effect::Outcome;
use bellrock::orchestrator::engine::event::Command as EngineCommand;
use bellrock::orchestrator::engine::event::Event;
use bellrock::orchestrator::engine::stage::Registry;
use bellrock::orchestrator::engine::stage::noop::Noop;
use bellrock::orchestrator::engine::status::Status;
use bellrock::orchestrator::runner::Memory;
use bellrock::orchestrator::runner::Parts;
use bellrock::orchestrator::runner::Runner;
use bellrock::orchestrator::runner::Settings;
use bellrock::orchestrator::runner::Wish;
use bellrock::orchestrator::runner::effects::Performer;
use bellrock::orchestrator::runner::effects::Performers;
use bellrock::orchestrator::runner::start;
use bellrock::orchestrator::store::Query;
use bellrock::orchestrator::store::Session;
use bellrock::orchestrator::store::Store;
use bellrock::orchestrator::store::Then;
use bellrock::orchestrator::store::Write;
use bellrock::orchestrator::store::embedded::EmbeddedStore;
use bellrock::orchestrator::store::record;
use bellrock::orchestrator::store::redis as fleet;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;
use futures::StreamExt;
use futures::stream;
use serde_json::Value;
use serde_json::json;
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Tasks of an execution.
const TASKS: u32 = 5;
/// Submissions under way at once, and executions that a worker of the floor has under way.
const AT_ONCE: usize = 250;
/// Between looks at whether all have ended.
const LOOK: Duration = Duration::from_millis(5);
/// What a task carries in the floor.
const CARGO: usize = 300;

/// One hop of the floor: result k and attempt k + 1 of an execution, fenced by its owner.
const HOP: &str = "if redis.call('HGET', KEYS[1], '_owner') ~= ARGV[1] then return 0 end \
    redis.call('HSET', KEYS[1], ARGV[2], ARGV[3], 'status', ARGV[4]) return 1";

#[derive(Parser)]
#[command(about = "Measures the embedded engine")]
struct Arguments {
    /// Where the executions are.
    #[arg(long, value_enum, default_value = "redis", global = true)]
    store: Kind,
    /// The Redis server to run, with an append-only file written every second.
    #[arg(long, default_value = "redis-server", global = true)]
    redis_server: String,
    /// Threads of a worker.
    #[arg(long, default_value_t = 1, global = true)]
    threads: usize,
    /// Processes that work.
    #[arg(long, default_value_t = 2, global = true)]
    workers: usize,
    /// Every measurement is repeated so often; the rows are in the order they were taken.
    #[arg(long, default_value_t = 3, global = true)]
    rounds: u32,
    /// Another system to be measured in each round: NAME=COMMAND. The command is given REDIS_URL and EXECUTIONS and prints how many tasks it did in a second.
    #[arg(long = "beside", global = true)]
    beside: Vec<String>,
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Redis,
    Embedded,
}

#[derive(Subcommand)]
enum What {
    /// Executions of five tasks, all submitted at once, over the workers; beside it the floor.
    Chain {
        /// How many executions.
        #[arg(default_values_t = [2_000, 20_000])]
        executions: Vec<usize>,
    },
    /// Each kind of call to the store by itself, with what it costs this process and Redis.
    Store {
        /// How many executions.
        #[arg(default_value_t = 2_000)]
        executions: usize,
    },
    /// One execution at a time on an idle system: from its submission until its fifth task ran.
    Latency {
        /// How many.
        #[arg(default_value_t = 200)]
        samples: usize,
    },
    /// Idle workers: what they cost in this many seconds.
    Idle {
        /// How long.
        #[arg(default_value_t = 20)]
        seconds: u64,
    },
    /// One worker, until its input ends.
    #[command(hide = true)]
    Worker {
        /// Redis address, or the file.
        place: String,
        /// Its instance name.
        name: String,
        /// Say when the last task of an execution has run.
        #[arg(long)]
        tell: bool,
    },
    /// One worker of the floor.
    #[command(hide = true)]
    Floor {
        /// Redis address.
        place: String,
        /// The first of its executions.
        from: usize,
        /// Its next one is so many further on: how many workers there are.
        of: usize,
        /// How many there are.
        executions: usize,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut builder =
        if arguments.threads < 2 { tokio::runtime::Builder::new_current_thread() } else { tokio::runtime::Builder::new_multi_thread() };
    builder.worker_threads(arguments.threads.max(1)).enable_all().build()?.block_on(run(&arguments))
}

async fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        What::Worker { place, name, tell } => work(arguments.store, place, name, *tell).await,
        What::Floor { place, from, of, executions } => floor_worker(place, *from, *of, *executions).await,
        What::Chain { executions } => {
            println!(
                "| system | executions | tasks/s | of the floor | Redis calls a task, from clients | with those inside scripts | worker CPU µs a task | Redis CPU µs a task | submitter CPU µs a task |"
            );
            println!("|---|---|---|---|---|---|---|---|---|");
            for round in 0..arguments.rounds {
                for count in executions {
                    let floor = match arguments.store {
                        Kind::Redis => Some(floor(arguments, *count).await?),
                        Kind::Embedded => None,
                    };
                    let rate = floor.as_ref().map(Sample::rate);
                    if let Some(floor) = &floor {
                        floor.print("floor", rate);
                    }
                    let sample = chain(arguments, *count).await?;
                    sample.print("Bellrock", rate);
                    if round == 0 {
                        eprint!("{}", sample.commands);
                    }
                    for other in &arguments.beside {
                        beside(arguments, other, *count, rate)?;
                    }
                }
            }
            Ok(())
        }
        What::Store { executions } => phases(arguments, *executions).await,
        What::Latency { samples } => latency(arguments, *samples).await,
        What::Idle { seconds } => idle(arguments, *seconds).await,
    }
}

/// The place of the executions, and the server that holds it.
struct Place {
    kind: Kind,
    address: String,
    server: Option<Running>,
    _folder: tempfile::TempDir,
}

/// A process that does not outlive us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have gone by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Place {
    fn new(arguments: &Arguments) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        if arguments.store == Kind::Embedded {
            let address = folder.path().join("engine.db").display().to_string();
            return Ok(Self { kind: Kind::Embedded, address, server: None, _folder: folder });
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut child = Command::new(&arguments.redis_server)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "everysec"])
            .args(["--port", &port.to_string()])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let log = BufReader::new(child.stdout.take().ok_or("no output of the server")?);
        log.lines().map_while(|line| line.ok()).find(|line| line.contains("Ready to accept")).ok_or("Redis did not come up")?;
        Ok(Self { kind: Kind::Redis, address: format!("redis://127.0.0.1:{port}/"), server: Some(Running(child)), _folder: folder })
    }

    async fn redis(&self) -> Result<redis::aio::MultiplexedConnection> {
        Ok(redis::Client::open(self.address.as_str())?.get_multiplexed_async_connection().await?)
    }

    /// CPU of the server so far.
    fn server_cpu(&self) -> Duration {
        self.server.as_ref().map(|server| cpu_of(server.0.id())).unwrap_or_default()
    }

    /// Calls by command so far; none without Redis.
    async fn calls(&self) -> Result<Vec<(String, u64, u64)>> {
        if self.kind == Kind::Embedded {
            return Ok(vec![]);
        }
        let info: String = redis::cmd("INFO").arg("commandstats").query_async(&mut self.redis().await?).await?;
        let line = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let (calls, rest) = rest.split_once(",usec=")?;
            Some((name.to_owned(), calls.parse().ok()?, rest.split(',').next()?.parse().ok()?))
        };
        Ok(info.lines().filter_map(line).collect())
    }
}

/// Nanoseconds on a processor of all threads of a process that are there now.
fn cpu_of(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let time = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok();
    Duration::from_nanos(threads.filter_map(time).sum())
}

/// The store at this place, and what it needs to run.
async fn open(kind: Kind, place: &str, client: &str) -> Result<(Arc<dyn Store>, Option<fleet::Background>)> {
    match kind {
        Kind::Embedded => Ok((Arc::new(EmbeddedStore::open(Path::new(place), Arc::new(SystemClock::start())).await?), None)),
        Kind::Redis => {
            let settings = fleet::Settings { url: place.to_owned(), read: None, prefix: String::new(), timeout: Duration::from_secs(2) };
            let (store, background) = fleet::RedisStore::open(settings, client)?;
            Ok((Arc::new(store), Some(background)))
        }
    }
}

/// Runs work beside what the store does in the background.
async fn beside_background<T>(background: Option<fleet::Background>, work: impl Future<Output = T>) -> Result<T> {
    match background {
        None => Ok(work.await),
        Some(background) => tokio::select! {
            () = background.run() => Err("the store's background ended".into()),
            done = work => Ok(done),
        },
    }
}

/// A task's body: nothing, but that the last of an execution may be told.
struct Body {
    tell: bool,
}

#[async_trait]
impl Performer for Body {
    async fn perform(&self, key: &AttemptKey, _: Effect, _: &CancellationToken) -> Outcome {
        if self.tell && key.task.parse() == Ok(TASKS) {
            println!("{}", key.execution);
        }
        Outcome::Done { output: Value::Null }
    }
}

async fn work(kind: Kind, place: &str, name: &str, tell: bool) -> Result<()> {
    let (store, background) = open(kind, place, name).await?;
    let parts = Parts {
        store,
        registry: Arc::new(Registry::standard().with(Noop)),
        performer: Arc::new(Performers::default().with_call("noop", Arc::new(Body { tell }))),
        clock: Arc::new(SystemClock::start()),
        memory: Memory::none(),
        channels: vec![],
    };
    let (runner, handle) = Runner::new(parts, Settings::new(name), Wish { intake: true, run: true });
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    // Ends with our input, which the process that measures holds.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        stopper.cancel();
    });
    let ready = async {
        handle.until(|state| state.session.is_some() && state.connected).await;
        println!("ready");
        std::future::pending::<()>().await;
    };
    let runs = async {
        tokio::select! {
            ended = runner.run(stop) => ended,
            () = ready => Ok(()),
        }
    };
    Ok(beside_background(background, runs).await??)
}

/// The processes that work.
struct Workers {
    processes: Vec<Running>,
    inputs: Vec<ChildStdin>,
    outputs: Vec<BufReader<ChildStdout>>,
}

impl Workers {
    fn start(arguments: &Arguments, place: &Place, tell: bool) -> Result<Self> {
        let mut workers = Self { processes: vec![], inputs: vec![], outputs: vec![] };
        for n in 0..arguments.workers {
            let mut command = Command::new(own_path()?);
            command.args([
                "--threads",
                &arguments.threads.to_string(),
                "--store",
                if place.kind == Kind::Redis { "redis" } else { "embedded" },
            ]);
            command.args(["worker", &place.address, &format!("worker-{n}")]);
            if tell {
                command.arg("--tell");
            }
            workers.add(command)?;
        }
        for output in &mut workers.outputs {
            output.read_line(&mut String::new())?;
        }
        Ok(workers)
    }

    fn add(&mut self, mut command: Command) -> Result<()> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        self.inputs.push(child.stdin.take().ok_or("no input")?);
        self.outputs.push(BufReader::new(child.stdout.take().ok_or("no output")?));
        self.processes.push(Running(child));
        Ok(())
    }

    fn cpu(&self) -> Duration {
        self.processes.iter().map(|process| cpu_of(process.0.id())).sum()
    }
}

fn own_path() -> Result<PathBuf> {
    Ok(std::env::current_exe()?)
}

/// What one measurement gave.
struct Sample {
    executions: usize,
    took: Duration,
    workers: Duration,
    server: Duration,
    submitter: Duration,
    /// Of clients, and with those inside scripts.
    calls: (u64, u64),
    /// Calls of each command, for people.
    commands: String,
}

/// What stood before it.
struct Before {
    at: Instant,
    workers: Duration,
    server: Duration,
    submitter: Duration,
    calls: Vec<(String, u64, u64)>,
}

impl Before {
    async fn look(place: &Place, workers: &Workers) -> Result<Self> {
        let calls = place.calls().await?;
        Ok(Self { workers: workers.cpu(), server: place.server_cpu(), submitter: cpu_of(std::process::id()), calls, at: Instant::now() })
    }

    async fn after(self, place: &Place, workers: &Workers, executions: usize) -> Result<Sample> {
        let took = self.at.elapsed();
        let (busy, server) = (workers.cpu() - self.workers, place.server_cpu() - self.server);
        let submitter = cpu_of(std::process::id()) - self.submitter;
        let tasks = tasks(executions);
        let (mut calls, mut commands) = ((0, 0), String::new());
        for (name, count, time) in place.calls().await? {
            let before = self.calls.iter().find(|(old, ..)| *old == name).map_or((0, 0), |(_, count, time)| (*count, *time));
            let (count, time) = (count - before.0, time - before.1);
            calls.1 += count;
            if matches!(name.as_str(), "evalsha" | "eval" | "ping" | "subscribe" | "script|load") {
                calls.0 += count;
            }
            if count as f64 > tasks / 100.0 {
                let _ =
                    writeln!(commands, "  {name:<18} {:>7.3} a task, {:>6.2} µs each", count as f64 / tasks, time as f64 / count as f64);
            }
        }
        Ok(Sample { executions, took, workers: busy, server, submitter, calls, commands })
    }
}

fn tasks(executions: usize) -> f64 {
    executions as f64 * f64::from(TASKS)
}

impl Sample {
    fn rate(&self) -> f64 {
        tasks(self.executions) / self.took.as_secs_f64()
    }

    fn print(&self, name: &str, floor: Option<f64>) {
        let tasks = tasks(self.executions);
        let each = |time: Duration| time.as_secs_f64() * 1e6 / tasks;
        println!(
            "| {name} | {} | {:.0} | {} | {:.2} | {:.2} | {:.1} | {:.1} | {:.1} |",
            self.executions,
            self.rate(),
            ratio(self.rate(), floor),
            self.calls.0 as f64 / tasks,
            self.calls.1 as f64 / tasks,
            each(self.workers),
            each(self.server),
            each(self.submitter),
        );
        let _ = std::io::stdout().flush();
    }
}

fn ratio(rate: f64, floor: Option<f64>) -> String {
    floor.map(|floor| format!("{:.2}", rate / floor)).unwrap_or_default()
}

/// Submits executions, and waits until all have ended.
async fn chain(arguments: &Arguments, executions: usize) -> Result<Sample> {
    let place = Place::new(arguments)?;
    let workers = Workers::start(arguments, &place, false)?;
    let (store, background) = open(place.kind, &place.address, "submitter").await?;
    let definition = definition();
    let clock = SystemClock::start();
    let work = async {
        let before = Before::look(&place, &workers).await?;
        let submit = |_| async { submit(&*store, &definition, clock.now().wall).await };
        let mut submitted = stream::iter(0..executions).map(submit).buffer_unordered(AT_ONCE);
        while let Some(done) = submitted.next().await {
            done?;
        }
        let open = Query { statuses: vec![Status::NotStarted, Status::Running], limit: 1, ..Query::default() };
        while !store.list(&open).await?.is_empty() {
            tokio::time::sleep(LOOK).await;
        }
        before.after(&place, &workers, executions).await
    };
    beside_background(background, work).await?
}

fn definition() -> Definition {
    let document = json!({"name": "chain", "application": "bench", "stages": [{"type": "noop", "name": "five", "tasks": TASKS}]});
    let Value::Object(document) = document else { unreachable!("it is written as an object above") };
    Definition::from_document(document)
}

async fn submit(store: &dyn Store, definition: &Definition, now: Timestamp) -> Result<String> {
    let order = start::Order { id: start::new_id(now), ..start::Order::default() };
    Ok(start::start(store, definition, order, now).await?.id.0)
}

/// The life of executions call by call: all of them are taken through each before the next begins.
async fn phases(arguments: &Arguments, executions: usize) -> Result<()> {
    let place = Place::new(arguments)?;
    let (store, background) = open(place.kind, &place.address, "phases").await?;
    let (registry, zone, clock) = (Registry::standard().with(Noop), jiff::tz::TimeZone::UTC, SystemClock::start());
    let session = Session { instance: "bench".into(), process: "1".into() };
    let definition = definition();
    let work = async {
        println!("| phase | this process, µs an execution | Redis CPU, µs an execution | bytes of fields |\n|---|---|---|---|");
        let mut phase = Phase::new(&place);
        let mut submitted = stream::iter(0..executions).map(|_| submit(&*store, &definition, clock.now().wall)).buffer_unordered(AT_ONCE);
        while let Some(done) = submitted.next().await {
            done?;
        }
        phase.ends("create", executions, 0);
        if !store.beat(&session, Duration::from_secs(60)).await? {
            return Err("the session is another's".into());
        }
        let mut owned = Vec::with_capacity(executions);
        while owned.len() < executions {
            owned.extend(store.claim(&session, AT_ONCE).await?);
        }
        phase.ends("claim", executions, 0);
        let mut running = Vec::with_capacity(executions);
        for claimed in owned {
            running.push((record::decode(&claimed.lease.execution, None, &claimed.record)?, claimed.lease, Event::Tick));
        }
        phase.ends("decode", executions, 0);
        for step in 0..=TASKS {
            let mut writes = Vec::with_capacity(executions);
            for (execution, lease, event) in &mut running {
                let world = World { registry: &registry, now: clock.now().wall, zone: &zone, instance: "bench", seed: 0 };
                let advanced = advance(execution, std::mem::replace(event, Event::Tick), &world);
                for command in advanced.commands {
                    if let EngineCommand::Perform { key, .. } = command {
                        *event = Event::Done { key, outcome: Outcome::Done { output: Value::Null } };
                    } else if let EngineCommand::Admit { .. } = command {
                        return Err("the chain waits for a slot".into());
                    }
                }
                writes.push(lease.clone());
            }
            phase.ends(&format!("advance {step}"), executions, 0);
            let mut made = Vec::with_capacity(executions);
            let mut bytes = 0;
            for ((execution, ..), lease) in running.iter_mut().zip(writes) {
                let changes = execution.take_changes();
                let record::FieldChanges { set, remove, stage_index } = record::encode_changes(execution, &changes);
                bytes += set.iter().map(|(name, text)| name.len() + text.len()).sum::<usize>();
                let listing = changes.summary.then(|| record::listing(execution));
                let then = if step == TASKS { Then::Finish } else { Then::Keep };
                made.push(Write { lease, number: step + 1, set, remove, stage_index, listing, taken: 0, notices: vec![], then });
            }
            phase.ends(&format!("encode {step}"), executions, bytes);
            let mut written = stream::iter(made).map(|write| store.write(write)).buffer_unordered(AT_ONCE);
            while let Some(done) = written.next().await {
                done?;
            }
            phase.ends(&format!("write {step}"), executions, bytes);
        }
        Result::Ok(())
    };
    beside_background(background, work).await?
}

/// CPU used since the last phase ended.
struct Phase<'a> {
    place: &'a Place,
    own: Duration,
    server: Duration,
}

impl<'a> Phase<'a> {
    fn new(place: &'a Place) -> Self {
        Self { place, own: cpu_of(std::process::id()), server: place.server_cpu() }
    }

    fn ends(&mut self, name: &str, executions: usize, bytes: usize) {
        let now = Self::new(self.place);
        let each = |time: Duration| time.as_secs_f64() * 1e6 / executions as f64;
        println!("| {name} | {:.1} | {:.1} | {} |", each(now.own - self.own), each(now.server - self.server), bytes / executions);
        *self = now;
    }
}

/// The floor: executions are keys, a task is one call of a script, ten executions of a worker are under way at once, nobody claims or finishes.
async fn floor(arguments: &Arguments, executions: usize) -> Result<Sample> {
    let place = Place::new(arguments)?;
    let mut workers = Workers { processes: vec![], inputs: vec![], outputs: vec![] };
    for n in 0..arguments.workers {
        let mut command = Command::new(own_path()?);
        command.args(["floor", &place.address, &n.to_string(), &arguments.workers.to_string(), &executions.to_string()]);
        workers.add(command)?;
    }
    for output in &mut workers.outputs {
        output.read_line(&mut String::new())?;
    }
    let before = Before::look(&place, &workers).await?;
    for input in &mut workers.inputs {
        writeln!(input)?;
    }
    for output in &mut workers.outputs {
        output.read_line(&mut String::new())?;
    }
    before.after(&place, &workers, executions).await
}

async fn floor_worker(place: &str, from: usize, of: usize, executions: usize) -> Result<()> {
    let connection = redis::Client::open(place)?.get_multiplexed_async_connection().await?;
    let hop = redis::Script::new(HOP);
    redis::cmd("SCRIPT").arg("LOAD").arg(HOP).exec_async(&mut connection.clone()).await?;
    println!("ready");
    std::io::stdin().read_line(&mut String::new())?;
    let cargo = "x".repeat(CARGO);
    let one = |n: usize| {
        let (mut connection, hop, cargo) = (connection.clone(), &hop, &cargo);
        async move {
            let key = format!("pipeline:{n}");
            redis::cmd("HSET").arg(&key).arg("_owner").arg("me").arg("payload").arg(cargo).exec_async(&mut connection).await?;
            for task in 0..TASKS {
                let mut call = redis::cmd("EVALSHA");
                call.arg(hop.get_hash()).arg(1).arg(&key).arg("me").arg(format!("task.{task}")).arg(cargo).arg("RUNNING");
                call.exec_async(&mut connection).await?;
            }
            redis::RedisResult::Ok(())
        }
    };
    let mut all = stream::iter((from..executions).step_by(of)).map(one).buffer_unordered(10);
    while let Some(done) = all.next().await {
        done?;
    }
    println!("done");
    // What was measured of this process is read while it is there.
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// Another system.
fn beside(arguments: &Arguments, other: &str, executions: usize, floor: Option<f64>) -> Result<()> {
    let (name, command) = other.split_once('=').ok_or("--beside NAME=COMMAND")?;
    let place = Place::new(arguments)?;
    let output =
        Command::new("sh").args(["-c", command]).env("REDIS_URL", &place.address).env("EXECUTIONS", executions.to_string()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rate: f64 = text.split_whitespace().last().ok_or("it printed nothing")?.parse()?;
    println!(
        "| {name} | {executions} | {rate:.0} | {} | | | | {:.1} | |",
        ratio(rate, floor),
        place.server_cpu().as_secs_f64() * 1e6 / tasks(executions)
    );
    Ok(())
}

async fn latency(arguments: &Arguments, samples: usize) -> Result<()> {
    let place = Place::new(arguments)?;
    let mut workers = Workers::start(arguments, &place, true)?;
    let (store, background) = open(place.kind, &place.address, "submitter").await?;
    let (ended, mut ends) = tokio::sync::mpsc::channel::<(String, Instant)>(samples.max(1));
    for mut output in std::mem::take(&mut workers.outputs) {
        let ended = ended.clone();
        std::thread::spawn(move || {
            let mut line = String::new();
            while output.read_line(&mut line).is_ok_and(|read| read > 0) {
                if ended.blocking_send((line.trim().to_owned(), Instant::now())).is_err() {
                    return;
                }
                line.clear();
            }
        });
    }
    let definition = definition();
    let clock = SystemClock::start();
    let work = async {
        let mut times = Vec::with_capacity(samples);
        // The first ones load scripts.
        for n in 0..samples + 20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let began = Instant::now();
            let id = submit(&*store, &definition, clock.now().wall).await?;
            let (told, at) = tokio::time::timeout(Duration::from_secs(5), ends.recv()).await?.ok_or("the workers are gone")?;
            if told != id {
                return Err(format!("{told} ended, not {id}").into());
            }
            if n >= 20 {
                times.push(at - began);
            }
        }
        Result::Ok(times)
    };
    let mut times = beside_background(background, work).await??;
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    println!(
        "one execution of {TASKS} tasks, idle: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, {samples} samples",
        at(0.5),
        at(0.9),
        at(0.99)
    );
    Ok(())
}

async fn idle(arguments: &Arguments, seconds: u64) -> Result<()> {
    let place = Place::new(arguments)?;
    let workers = Workers::start(arguments, &place, false)?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = (workers.cpu(), place.server_cpu());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let share = |time: Duration| time.as_secs_f64() * 100.0 / seconds as f64;
    println!(
        "idle: {:.2} % of a core a worker, {:.2} % Redis",
        share(workers.cpu() - before.0) / arguments.workers as f64,
        share(place.server_cpu() - before.1)
    );
    Ok(())
}
