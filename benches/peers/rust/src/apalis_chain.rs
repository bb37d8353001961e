//! apalis on Redis: each task, when it is done, pushes its successor. Batches and concurrency are the best of what was tried.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use apalis::prelude::*;
use apalis_redis::Config;
use apalis_redis::RedisStorage;
use serde::Deserialize;
use serde::Serialize;

use crate::CARGO;
use crate::Result;
use crate::STEPS;

const QUEUE: &str = "chain";
const BATCH: usize = 500;
const CONCURRENCY: usize = 1_000;

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Step {
    step: usize,
    cargo: String,
}

async fn storage(redis: &str) -> Result<RedisStorage<Step>> {
    let connection = apalis_redis::connect(redis).await?;
    Ok(RedisStorage::new(connection).with_config(Config::default().queue(QUEUE).batch_size(BATCH)))
}

pub(crate) async fn submit(redis: &str, executions: usize) -> Result<()> {
    let mut storage = storage(redis).await?;
    for from in (0..executions).step_by(BATCH) {
        let step = |_| Step { step: 1, cargo: "x".repeat(CARGO) };
        storage.push_bulk((from..executions.min(from + BATCH)).map(step).collect()).await?;
    }
    Ok(())
}

pub(crate) async fn work(redis: &str, name: &str, ended: Arc<AtomicUsize>) -> Result<()> {
    let storage = storage(redis).await?;
    let next = storage.clone();
    let step = move |Step { step, cargo }: Step| {
        let (mut next, ended) = (next.clone(), Arc::clone(&ended));
        async move {
            if step == STEPS {
                ended.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            next.push(Step { step: step + 1, cargo }).await.map_err(|e| BoxDynError::from(e.to_string()))
        }
    };
    WorkerBuilder::new(name).backend(storage).concurrency(CONCURRENCY).build(step).run().await?;
    Ok(())
}
