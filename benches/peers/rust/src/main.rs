//! Other systems on the chain workload of Bellrock's benchmark: executions of five tasks one after the other, each durable.
//!
//! `peers bullmq|apalis` with REDIS_URL, EXECUTIONS and WORKERS in the environment prints tasks a second and the workers' processor time, µs a task.
//! It starts its workers as processes of their own, as Bellrock's are. A worker says how many executions it has ended.

mod apalis_chain;
mod bullmq_chain;

use std::env;
use std::error::Error;
use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::Command;
use tokio::sync::mpsc;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Tasks of an execution.
const STEPS: usize = 5;
/// What a task carries.
const CARGO: usize = 300;
/// Between two words of a worker: one an execution would be measured too.
const TELL: Duration = Duration::from_millis(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let system = arguments.next().ok_or("usage: peers bullmq|apalis")?;
    let redis = env::var("REDIS_URL")?;
    if let Some(name) = arguments.next() {
        return work(&system, &redis, &name).await;
    }
    let (executions, workers): (usize, usize) = (env::var("EXECUTIONS")?.parse()?, env::var("WORKERS")?.parse()?);
    let (counts, mut counted) = mpsc::channel(1_000);
    let mut processes = Vec::new();
    for n in 0..workers {
        processes.push(start(&system, n, counts.clone())?);
    }
    let mut ended = vec![None; workers];
    while ended.contains(&None) {
        let (n, count) = counted.recv().await.ok_or("the workers are gone")?;
        ended[n] = Some(count);
    }
    let began = Instant::now();
    let before: Duration = processes.iter().map(cpu_of).sum();
    match system.as_str() {
        "bullmq" => bullmq_chain::submit(&redis, executions).await?,
        _ => apalis_chain::submit(&redis, executions).await?,
    }
    while ended.iter().flatten().sum::<usize>() < executions {
        let (n, count) = counted.recv().await.ok_or("the workers are gone")?;
        ended[n] = Some(count);
    }
    let took = began.elapsed();
    let busy = processes.iter().map(cpu_of).sum::<Duration>() - before;
    let tasks = (executions * STEPS) as f64;
    println!("{:.0} {:.1}", tasks / took.as_secs_f64(), busy.as_secs_f64() * 1e6 / tasks);
    Ok(())
}

fn start(system: &str, n: usize, counts: mpsc::Sender<(usize, usize)>) -> Result<Child> {
    let mut process =
        Command::new(env::current_exe()?).args([system, &format!("worker-{n}")]).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut lines = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let Ok(count) = line.parse() else { continue };
            if counts.send((n, count)).await.is_err() {
                return;
            }
        }
    });
    Ok(process)
}

async fn work(system: &str, redis: &str, name: &str) -> Result<()> {
    let ended = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ended);
    let tells = async {
        let mut told = usize::MAX;
        loop {
            let now = counter.load(Ordering::Relaxed);
            if now != told {
                told = now;
                println!("{now}");
            }
            tokio::time::sleep(TELL).await;
        }
    };
    let works = async {
        match system {
            "bullmq" => bullmq_chain::work(redis, ended).await,
            "apalis" => apalis_chain::work(redis, name, ended).await,
            other => Err(format!("nothing is known of {other}").into()),
        }
    };
    tokio::select! {
        worked = works => worked,
        () = tells => Ok(()),
    }
}

/// Nanoseconds on a processor of all threads of a process that are there now.
fn cpu_of(process: &Child) -> Duration {
    let threads = process.id().and_then(|id| fs::read_dir(format!("/proc/{id}/task")).ok()).into_iter().flatten().flatten();
    let time = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok();
    Duration::from_nanos(threads.filter_map(time).sum())
}
