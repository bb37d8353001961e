mod fleet;
mod mirror;
mod permits;
mod server;
mod trouble;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::*;
use crate::orchestrator::store::contract::Ground;
use crate::orchestrator::store::contract::contract;
use server::Server;

const LIMIT: Duration = Duration::from_secs(5);

/// A handle as a process of its own would have it.
pub(super) fn handle(url: &str, prefix: &str, client: &str, tasks: &mut JoinSet<()>) -> Arc<RedisStore> {
    let settings = Settings { url: url.to_owned(), read: None, prefix: prefix.to_owned(), timeout: LIMIT };
    let (store, background) = RedisStore::open(settings, client).unwrap();
    tasks.spawn(background.run());
    Arc::new(store)
}

/// An empty store under this prefix.
pub(super) fn lay(url: &str, prefix: &str, keep: Box<dyn std::any::Any + Send + Sync>) -> Ground {
    let mut tasks = JoinSet::new();
    let store = handle(url, prefix, "one", &mut tasks);
    let other = handle(url, prefix, "two", &mut tasks);
    let clock = store.clone();
    let pass = Box::new(move |time| -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let clock = clock.clone();
        Box::pin(async move {
            let end = clock.now().await.unwrap().plus(time);
            while let left = end.since(clock.now().await.unwrap())
                && !left.is_zero()
            {
                tokio::time::sleep(left).await;
            }
        })
    });
    Ground { store, other, pass, _keep: Box::new((tasks, keep)) }
}

async fn ground() -> Ground {
    let server = Server::start(&[]);
    lay(&server.url(), "", Box::new(server))
}

contract!(ground);
