//! An orchestrator that something else runs: looked at and switched over HTTP, Redis or commands.

pub mod active_by_instance;
pub mod activity;
pub mod entry;
pub mod json;
pub mod metrics;
mod settings;

pub use metrics::Series;
pub use settings::GenerationFrom;
pub use settings::Hand;
pub use settings::Key;
pub use settings::PollAge;
pub use settings::ReadBack;
pub use settings::Redis;
pub use settings::Request;
pub use settings::Settings;
pub use settings::Source;
pub use settings::Switch;
