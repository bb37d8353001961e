//! What an execution costs in the embedded engine, over Redis or over a file of this machine:
//! `cargo run --profile bench --example engine -- chain` (`--help` names the others).
//!
//! Where speed is measured, every figure is printed beside the floor taken in the same run (one script call a task, of the same size, pipelined): a
//! machine's mood moves both, so that the ratio can be compared and the absolute figure cannot. Processor time is of the processes measured alone.
//! Servers and workers are processes of their own and end with this one.
#![expect(clippy::disallowed_methods, reason = "real time and real processes are what is measured, and there is no loop to supervise")]

mod calls;
mod chain;
mod death;
mod growth;
mod idle;
mod leave;
mod place;
mod shapes;
mod submit;
mod workers;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Between looks at whether something has come about.
const LOOK: Duration = Duration::from_millis(5);
/// What has not come about after so long never will.
const GIVE_UP: Duration = Duration::from_secs(600);

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
        /// Another system to be measured in each round: NAME=COMMAND. The command is given REDIS_URL, EXECUTIONS and WORKERS, and prints how many tasks
        /// it did in a second, then, if it can, the processor time its workers took, µs a task.
        #[arg(long = "beside")]
        beside: Vec<String>,
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
    /// What the calls of an execution's life cost with few and with many stored ones, in two stores side by side.
    Growth {
        /// Stored executions: few, many.
        #[arg(num_args = 2, default_values_t = [1_000, 1_000_000])]
        stored: Vec<usize>,
    },
    /// Memory of a worker whose executions park and return all the time.
    Parked {
        /// How many.
        #[arg(default_value_t = 10_000)]
        executions: usize,
        /// Length of each of their waits, seconds.
        #[arg(long, default_value_t = 20)]
        wait: u64,
    },
    /// An instance that owns all of them is killed, and its host does not come back: until all run elsewhere.
    Adopt {
        /// How many it owns.
        #[arg(default_value_t = 1_000)]
        executions: usize,
    },
    /// A worker is killed with ten executions of 2-second tasks under way: its own restart takes them up, and in another run another host.
    Kill,
    /// An instance is told to drain: until it owns nothing, after its last attempt under way has ended.
    Drain {
        /// How many it owns.
        #[arg(default_value_t = 1_000)]
        executions: usize,
    },
    /// A worker is stopped in order while its executions wait for ten minutes: until it is gone, for each kind of wait.
    Stop {
        /// How many of each kind.
        #[arg(default_value_t = 100)]
        executions: usize,
    },
    /// Long and wide pipelines: what a stage costs with many beside it, against one of few.
    Wide,
    /// One worker, until its input ends.
    #[command(hide = true)]
    Worker(workers::Options),
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
        What::Worker(options) => workers::work(arguments.store, options).await,
        What::Floor { place, from, of, executions } => chain::floor_worker(place, *from, *of, *executions).await,
        What::Chain { executions, beside } => chain::compare(arguments, executions, beside).await,
        What::Store { executions } => calls::phases(arguments, *executions).await,
        What::Latency { samples } => idle::latency(arguments, *samples).await,
        What::Idle { seconds } => idle::idle(arguments, *seconds).await,
        What::Growth { stored } => growth::growth(arguments, stored[0], stored[1]).await,
        What::Parked { executions, wait } => growth::parked(arguments, *executions, *wait).await,
        What::Adopt { executions } => death::adopt(arguments, *executions).await,
        What::Kill => death::kill(arguments).await,
        What::Drain { executions } => leave::drain(arguments, *executions).await,
        What::Stop { executions } => leave::stop(arguments, *executions).await,
        What::Wide => shapes::all(arguments).await,
    }
}

fn own_path() -> Result<PathBuf> {
    Ok(std::env::current_exe()?)
}
