//! Facts every room shares: identities, server groups, instances, activity, time. No I/O, no decisions about the fleet.
//!
//! What must stay true: a value that AWS or an orchestrator may extend one day (a lifecycle state, a process name) keeps the word it
//! does not know (`Other`), so that it can be shown and put back exactly, and is never taken for a known one.

mod activity;
mod group;
mod health;
mod hold;
mod identity;
pub mod moniker;
mod notice;
mod permit;
mod tally;
pub mod target;
#[cfg(test)]
pub mod testing;
mod time;

pub use activity::Activity;
pub use activity::ExecutionRef;
pub use activity::Generation;
pub use activity::Intake;
pub use activity::Sample;
pub use group::Capacity;
pub use group::Group;
pub use group::GroupInstance;
pub use group::HealthCheckType;
pub use group::InstanceHealth;
pub use group::LaunchSource;
pub use group::LifecycleState;
pub use group::Override;
pub use group::Process;
pub use group::WarmPool;
pub use group::weight;
pub use health::Probe;
pub use health::Probed;
pub use health::Vitals;
pub use hold::CAPACITY_TAG;
pub use hold::GENERATION_TAG;
pub use hold::HOLD_TAG;
pub use hold::HOLD_TTL;
pub use hold::Hold;
pub use hold::HoldError;
pub use hold::RECORD_TAG;
pub use hold::TAG_VALUE_MAX;
pub use hold::capacity_text;
pub use hold::generation;
pub use hold::recorded_by_agents;
pub use hold::recorded_capacity;
pub use hold::strange_generation;
pub use identity::GroupName;
pub use identity::InstanceId;
pub use identity::TargetGroupArn;
pub use moniker::Cluster;
pub use moniker::Moniker;
pub use moniker::sort_by_age;
pub use notice::Hook;
pub use notice::HookResult;
pub use notice::Interruption;
pub use notice::Maintenance;
pub use notice::Notices;
pub use permit::Permit;
pub use permit::PermitAnswer;
pub use permit::PermitRequest;
pub use tally::Tally;
pub use target::Target;
pub use time::Clock;
pub use time::Moment;
pub use time::Timestamp;
