//! Processes that work: each is this program again, with a runner of the engine in it.
//!
//! A worker says `ready`, then `ran EXECUTION TASK` for each task it begins when that is asked for. It takes `drain` from its input and says
//! `empty ORDER LAST`: how long after the order it owned nothing, and how long after its last attempt had ended, ms. It stops when its input ends.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdin;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use async_trait::async_trait;
use bellrock::host::clock::SystemClock;
use bellrock::orchestrator::engine::effect::AttemptKey;
use bellrock::orchestrator::engine::effect::Effect;
use bellrock::orchestrator::engine::effect::Outcome;
use bellrock::orchestrator::engine::stage::Registry;
use bellrock::orchestrator::engine::stage::noop::Noop;
use bellrock::orchestrator::runner::Handle;
use bellrock::orchestrator::runner::Memory;
use bellrock::orchestrator::runner::Parts;
use bellrock::orchestrator::runner::Runner;
use bellrock::orchestrator::runner::Settings;
use bellrock::orchestrator::runner::Wish;
use bellrock::orchestrator::runner::effects::Performer;
use bellrock::orchestrator::runner::effects::Performers;
use clap::Args;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Arguments;
use crate::GIVE_UP;
use crate::Kind;
use crate::Result;
use crate::own_path;
use crate::place;
use crate::place::Place;
use crate::place::Running;

/// How a worker is to be.
#[derive(Args, Clone)]
pub(crate) struct Options {
    /// Redis address, or the file.
    place: String,
    /// Its instance name.
    name: String,
    /// Say of each task from this one on that it runs.
    #[arg(long)]
    tell_from: Option<u32>,
    /// How long a task takes, ms.
    #[arg(long, default_value_t = 0)]
    task_ms: u64,
    /// The lease, s; without, the usual one.
    #[arg(long)]
    lease_s: Option<u64>,
    /// Where this host remembers its sessions.
    #[arg(long)]
    memory: Option<PathBuf>,
}

impl Options {
    pub(crate) fn new(place: &Place, name: impl Into<String>) -> Self {
        Self { place: place.address.clone(), name: name.into(), tell_from: None, task_ms: 0, lease_s: None, memory: None }
    }

    pub(crate) fn telling(mut self, from: u32) -> Self {
        self.tell_from = Some(from);
        self
    }

    pub(crate) fn taking(mut self, task: Duration) -> Self {
        self.task_ms = u64::try_from(task.as_millis()).unwrap_or(u64::MAX);
        self
    }

    pub(crate) fn with_lease(mut self, lease: Duration) -> Self {
        self.lease_s = Some(lease.as_secs());
        self
    }

    pub(crate) fn remembering(mut self, folder: PathBuf) -> Self {
        self.memory = Some(folder);
        self
    }
}

/// A task's body: nothing, but for its time.
struct Body {
    tell_from: Option<u32>,
    time: Duration,
    /// When the last one ended.
    ended: Arc<Mutex<Instant>>,
}

#[async_trait]
impl Performer for Body {
    async fn perform(&self, key: &AttemptKey, _: Effect, stop: &CancellationToken) -> Outcome {
        if let Some(from) = self.tell_from
            && key.task.parse().is_ok_and(|task: u32| task >= from)
        {
            println!("ran {} {}", key.execution, key.task);
        }
        if !self.time.is_zero() {
            // Safe to cancel: nothing was begun.
            tokio::select! {
                () = tokio::time::sleep(self.time) => {}
                () = stop.cancelled() => return Outcome::Failed { error: "stopped".to_owned(), retryable: true },
            }
            *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        Outcome::Done { output: Value::Null }
    }
}

/// Works until the input ends.
pub(crate) async fn work(kind: Kind, options: &Options) -> Result<()> {
    let (store, background) = place::open(kind, &options.place, &format!("{}.{}", options.name, std::process::id())).await?;
    let ended = Arc::new(Mutex::new(Instant::now()));
    let body = Body { tell_from: options.tell_from, time: Duration::from_millis(options.task_ms), ended: Arc::clone(&ended) };
    let parts = Parts {
        store,
        registry: Arc::new(Registry::standard().with(Noop)),
        performer: Arc::new(Performers::default().with_call("noop", Arc::new(body))),
        clock: Arc::new(SystemClock::start()),
        memory: options.memory.as_deref().map_or_else(|| Ok(Memory::none()), Memory::open)?,
        channels: vec![],
    };
    let mut settings = Settings::new(options.name.as_str());
    settings.lease = options.lease_s.map_or(settings.lease, Duration::from_secs);
    let (runner, handle) = Runner::new(parts, settings, Wish { intake: true, run: true });
    let stop = CancellationToken::new();
    let (orders, mut drains) = mpsc::channel(1);
    let stopper = stop.clone();
    // Ends with our input, which the process that measures holds.
    std::thread::spawn(move || {
        for _drain in std::io::stdin().lines().map_while(|line| line.ok()) {
            let _ = orders.blocking_send(Instant::now());
        }
        stopper.cancel();
    });
    let speaks = async {
        handle.until(|state| state.beat.as_ref().is_some_and(|beat| beat.came.is_ok())).await;
        println!("ready");
        while let Some(ordered) = drains.recv().await {
            drain(&handle, ordered, &ended).await;
        }
        std::future::pending::<()>().await;
    };
    let runs = async {
        tokio::select! {
            ended = runner.run(stop) => ended,
            () = speaks => Ok(()),
        }
    };
    Ok(place::beside_background(background, runs).await??)
}

async fn drain(handle: &Handle, ordered: Instant, ended: &Mutex<Instant>) {
    handle.wish(|wish| wish.intake = false);
    while handle.state().is_some_and(|state| state.claims) || handle.owned(0).0 > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let last = ended.lock().unwrap_or_else(PoisonError::into_inner).max(ordered);
    println!("empty {} {}", ordered.elapsed().as_millis(), last.elapsed().as_millis());
}

/// A worker's process, as the one that measures sees it.
pub(crate) struct Worker {
    process: Running,
    /// `None` = it was told to stop.
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<(Instant, String)>,
}

impl Worker {
    /// Starts one.
    pub(crate) fn start(arguments: &Arguments, kind: Kind, options: &Options) -> Result<Self> {
        let mut command = Command::new(own_path()?);
        command.args(["--threads", &arguments.threads.to_string()]);
        command.args(["--store", if kind == Kind::Redis { "redis" } else { "embedded" }]);
        command.args(["worker", &options.place, &options.name, "--task-ms", &options.task_ms.to_string()]);
        if let Some(from) = options.tell_from {
            command.args(["--tell-from", &from.to_string()]);
        }
        if let Some(lease) = options.lease_s {
            command.args(["--lease-s", &lease.to_string()]);
        }
        if let Some(folder) = &options.memory {
            command.arg("--memory").arg(folder);
        }
        Self::run(command)
    }

    /// Any process that speaks a line at a time.
    pub(crate) fn run(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        Ok(Self { lines: said(&mut child)?, process: Running(child), input: Some(input) })
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        while self.next().await?.1 != "ready" {}
        Ok(())
    }

    /// What it said next, and when.
    pub(crate) async fn next(&mut self) -> Result<(Instant, String)> {
        tokio::time::timeout(GIVE_UP, self.lines.recv()).await?.ok_or_else(|| "a worker is gone".into())
    }

    /// What it said since the last look.
    pub(crate) fn heard(&mut self) -> Vec<(Instant, String)> {
        std::iter::from_fn(|| self.lines.try_recv().ok()).collect()
    }

    /// Gives it a line.
    pub(crate) fn tell(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.input.as_mut().ok_or("it was told to stop")?, "{line}")?)
    }

    /// Stops it in order; how long that took.
    pub(crate) async fn stop(mut self) -> Result<Duration> {
        let began = Instant::now();
        self.input = None;
        while self.process.0.try_wait()?.is_none() {
            if began.elapsed() > GIVE_UP {
                return Err("a worker does not stop".into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(began.elapsed())
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// Processor time so far.
    pub(crate) fn cpu(&self) -> Duration {
        place::cpu_of(self.id())
    }
}

/// The lines of a process, each with the time it was read at.
fn said(child: &mut Child) -> Result<mpsc::Receiver<(Instant, String)>> {
    let output = BufReader::new(child.stdout.take().ok_or("no output")?);
    // More than all tasks of any of our measurements; a worker that is not heard waits.
    let (lines, heard) = mpsc::channel(100_000);
    std::thread::spawn(move || {
        for line in output.lines().map_while(|line| line.ok()) {
            if lines.blocking_send((Instant::now(), line)).is_err() {
                return;
            }
        }
    });
    Ok(heard)
}

/// Starts as many workers as were asked for, and waits until all are ready.
pub(crate) async fn start_all(arguments: &Arguments, place: &Place, such: impl Fn(Options) -> Options) -> Result<Vec<Worker>> {
    let start = |n| Worker::start(arguments, place.kind, &such(Options::new(place, format!("worker-{n}"))));
    let mut workers = (0..arguments.workers).map(start).collect::<Result<Vec<_>>>()?;
    for worker in &mut workers {
        worker.ready().await?;
    }
    Ok(workers)
}

/// Processor time of all of them so far.
pub(crate) fn cpu(workers: &[Worker]) -> Duration {
    workers.iter().map(Worker::cpu).sum()
}
