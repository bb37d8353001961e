//! BullMQ's own Rust library in step style: one job an execution, whose data says after each step how far it is.

use std::future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bullmq::Job;
use bullmq::Queue;
use bullmq::QueueOptions;
use bullmq::Worker;
use bullmq::WorkerOptions;
use bullmq::options::RedisConnectionOptions;
use bullmq::queue::BulkJob;
use serde_json::Value;
use serde_json::json;

use crate::CARGO;
use crate::Result;
use crate::STEPS;

const QUEUE: &str = "chain";
const CONCURRENCY: usize = 10;
const BATCH: usize = 250;

fn connection(redis: &str) -> RedisConnectionOptions {
    RedisConnectionOptions { url: redis.to_owned(), ..RedisConnectionOptions::default() }
}

pub(crate) async fn submit(redis: &str, executions: usize) -> Result<()> {
    let queue = Queue::with_options(QUEUE, QueueOptions { connection: connection(redis), ..QueueOptions::default() }).await?;
    let cargo = "x".repeat(CARGO);
    for from in (0..executions).step_by(BATCH) {
        let jobs = (from..executions.min(from + BATCH)).map(|_| BulkJob::new("chain", json!({"step": 0, "cargo": cargo})));
        queue.add_bulk(jobs.collect()).await?;
    }
    Ok(())
}

pub(crate) async fn work(redis: &str, ended: Arc<AtomicUsize>) -> Result<()> {
    let options = WorkerOptions { connection: connection(redis), concurrency: CONCURRENCY, ..WorkerOptions::default() };
    let cargo: Arc<str> = "x".repeat(CARGO).into();
    let process = move |mut job: Job, _| {
        let (cargo, ended) = (Arc::clone(&cargo), Arc::clone(&ended));
        async move {
            let step = job.data()["step"].as_u64().unwrap_or(0);
            for step in step as usize..STEPS {
                job.update_data(json!({"step": step + 1, "cargo": &*cargo})).await?;
            }
            ended.fetch_add(1, Ordering::Relaxed);
            Ok(Value::Null)
        }
    };
    let _worker = Worker::with_options(QUEUE, process, options).await?;
    future::pending().await
}
