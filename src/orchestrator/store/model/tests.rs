use std::any::Any;
use std::sync::Arc;

use super::ModelStore;
use crate::host::clock::VirtualClock;
use crate::model::Timestamp;
use crate::orchestrator::store::contract::Ground;
use crate::orchestrator::store::contract::contract;

async fn ground() -> Ground {
    tokio::time::pause();
    let store = Arc::new(ModelStore::new(Arc::new(VirtualClock::start(Timestamp(1_763_000_000_000)))));
    let pass = Box::new(|time| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> { Box::pin(tokio::time::sleep(time)) });
    Ground { store: store.clone(), other: store, pass, _keep: Box::new(()) as Box<dyn Any + Send + Sync> }
}

contract!(ground);
