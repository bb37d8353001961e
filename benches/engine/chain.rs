//! The chain workload, the floor below it, and other systems beside it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use futures::StreamExt;
use futures::stream;

use crate::Arguments;
use crate::Kind;
use crate::Result;
use crate::own_path;
use crate::place;
use crate::place::Place;
use crate::submit;
use crate::submit::TASKS;
use crate::workers;
use crate::workers::Worker;

/// What a task carries in the floor.
const CARGO: usize = 300;
/// Executions that a worker of the floor has under way.
const FLOOR_AT_ONCE: usize = 10;

/// One hop of the floor: result k and attempt k + 1 of an execution, fenced by its owner.
const HOP: &str = "if redis.call('HGET', KEYS[1], '_owner') ~= ARGV[1] then return 0 end \
    redis.call('HSET', KEYS[1], ARGV[2], ARGV[3], 'status', ARGV[4]) return 1";

/// All systems, in each round one after the other.
pub(crate) async fn compare(arguments: &Arguments, executions: &[usize], others: &[String]) -> Result<()> {
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
            for other in others {
                beside(arguments, other, *count, rate).await?;
            }
        }
    }
    Ok(())
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
    async fn look(place: &Place, workers: &[Worker]) -> Result<Self> {
        let calls = place.calls().await?;
        Ok(Self {
            workers: workers::cpu(workers),
            server: place.server_cpu(),
            submitter: place::cpu_of(std::process::id()),
            calls,
            at: Instant::now(),
        })
    }

    async fn after(self, place: &Place, workers: &[Worker], executions: usize) -> Result<Sample> {
        let took = self.at.elapsed();
        let (busy, server) = (workers::cpu(workers) - self.workers, place.server_cpu() - self.server);
        let submitter = place::cpu_of(std::process::id()) - self.submitter;
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
    let workers = workers::start_all(arguments, &place, |options| options).await?;
    let (store, background) = place::open(place.kind, &place.address, "submitter").await?;
    let work = async {
        let before = Before::look(&place, &workers).await?;
        submit::submit_all(&*store, &submit::chain(), executions).await?;
        submit::until_ended(&*store).await?;
        before.after(&place, &workers, executions).await
    };
    place::beside_background(background, work).await?
}

/// The floor: executions are keys, a task is one call of a script, ten executions of a worker are under way at once, nobody claims or finishes.
async fn floor(arguments: &Arguments, executions: usize) -> Result<Sample> {
    let place = Place::new(arguments)?;
    let mut workers = Vec::new();
    for n in 0..arguments.workers {
        let mut command = Command::new(own_path()?);
        command.args(["floor", &place.address, &n.to_string(), &arguments.workers.to_string(), &executions.to_string()]);
        workers.push(Worker::run(command)?);
    }
    for worker in &mut workers {
        worker.ready().await?;
    }
    let before = Before::look(&place, &workers).await?;
    for worker in &mut workers {
        worker.tell("begin")?;
    }
    for worker in &mut workers {
        worker.next().await?;
    }
    before.after(&place, &workers, executions).await
}

/// One worker of it.
pub(crate) async fn floor_worker(place: &str, from: usize, of: usize, executions: usize) -> Result<()> {
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
    let mut all = stream::iter((from..executions).step_by(of)).map(one).buffer_unordered(FLOOR_AT_ONCE);
    while let Some(done) = all.next().await {
        done?;
    }
    println!("done");
    // What was measured of this process is read while it is there.
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// Another system.
async fn beside(arguments: &Arguments, other: &str, executions: usize, floor: Option<f64>) -> Result<()> {
    let (name, command) = other.split_once('=').ok_or("--beside NAME=COMMAND")?;
    let place = Place::new(arguments)?;
    let calls = async || Result::Ok(place.calls().await?.iter().map(|(_, count, _)| count).sum::<u64>());
    let before = calls().await?;
    let output = Command::new("sh")
        .args(["-c", command])
        .env("REDIS_URL", &place.address)
        .env("EXECUTIONS", executions.to_string())
        .env("WORKERS", arguments.workers.to_string())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.lines().last().unwrap_or_default().split_whitespace().map(str::parse::<f64>);
    let Some(Ok(rate)) = numbers.next() else {
        return Err(format!("{name} printed no rate: {text}{}", String::from_utf8_lossy(&output.stderr)).into());
    };
    let cpu = numbers.next().transpose()?.map(|cpu| format!("{cpu:.1}")).unwrap_or_default();
    println!(
        "| {name} | {executions} | {rate:.0} | {} | | {:.2} | {cpu} | {:.1} | |",
        ratio(rate, floor),
        (calls().await? - before) as f64 / tasks(executions),
        place.server_cpu().as_secs_f64() * 1e6 / tasks(executions)
    );
    Ok(())
}
