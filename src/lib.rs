//! Bellrock keeps an orchestrator fleet on EC2 alive through its own redeployments.

pub mod cli;
pub mod cloud;
pub mod config;
pub mod decide;
pub mod drill;
pub mod host;
pub mod http;
pub mod model;
pub mod orchestrator;
pub mod rollback;
pub mod supervise;
