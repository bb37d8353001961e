//! The contract, with two processes' handles on one file.

use std::pin::Pin;

use super::*;
use crate::orchestrator::store::contract::Ground;
use crate::orchestrator::store::contract::contract;

async fn ground() -> Ground {
    let (directory, path) = directory();
    let pass = Box::new(|time| -> Pin<Box<dyn Future<Output = ()> + Send>> { Box::pin(tokio::time::sleep(time)) });
    Ground { store: Arc::new(open(&path).await), other: Arc::new(open(&path).await), pass, _keep: Box::new(directory) }
}

contract!(ground);
