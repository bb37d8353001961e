//! Bellrock keeps an orchestrator fleet on EC2 alive through its own redeployments.

pub mod act;
pub mod cli;
pub mod cloud;
pub mod config;
pub mod daemon;
pub mod decide;
pub mod drill;
pub mod host;
pub mod http;
pub mod journal;
pub mod model;
pub mod observe;
pub mod orchestrator;
pub mod rollback;
pub mod supervise;
