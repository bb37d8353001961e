//! The simulated region: Auto Scaling, EC2, load balancers of both generations, instance metadata, and the orchestrators on its instances.
//!
//! A pure core ([`Region`]: virtual time and seed in, answers and [`Truth`] out) with two fronts over it: [`Sim`] behind our own traits,
//! and AWS's wire protocol. Each typed method is one API action; a front makes it through [`Region::call`], which decides what happens to the
//! call on its way. What the region does on its own — boots, checks, hooks, timers, scaling — happens in [`Region::advance`].
//!
//! What must stay true: the same seed with the same calls at the same times gives the same truth. Rules of AWS's carry the place they
//! come from; where AWS is undocumented the region is one way or the other by seed ([`Undocumented`]).
//!
//! Known to differ from AWS: one subnet per zone, and a launch that fails for its zone is tried in no other; each type has the vCPUs of its size; weights, warm pools, mixed instances and lifecycle policies do not exist; tags are
//! not propagated; reads of load balancers are never stale.

mod api;
mod balancer;
mod describe;
mod ec2;
mod endpoints;
mod group;
mod hooks;
mod instance;
mod local;
mod membership;
mod orchestrator;
mod reconcile;
mod refresh;
mod region;
mod scenario;
mod schedule;
pub mod serve;
mod span;
mod spec;
mod supply;
mod trouble;
mod truth;
mod undocumented;

#[cfg(test)]
mod tests;

pub use api::Admission;
pub use api::Answer;
pub use api::ApiError;
pub use api::ApiResult;
pub use balancer::ClassicDescription;
pub use balancer::ClassicState;
pub use balancer::Listener;
pub use balancer::LoadBalancer;
pub use balancer::TargetGroupDescription;
pub use describe::Attachment;
pub use describe::Policy;
pub use describe::TagDescription;
pub use describe::TagFilter;
pub use ec2::InstanceDescription;
pub use ec2::TemplateDescription;
pub use ec2::TemplateVersion;
pub use endpoints::HttpAnswer;
pub use endpoints::Look;
pub use endpoints::OrchestratorReply;
pub use group::Activity;
pub use group::GroupDescription;
pub use hooks::ActionRef;
pub use hooks::Hook;
pub use instance::Ec2State;
pub use instance::Instance;
pub use instance::InstanceMetadata;
pub use instance::MaintenanceEvent;
pub use instance::Notices;
pub use local::CALL_LIMIT;
pub use local::Sim;
pub use local::SimCloud;
pub use local::SimMetadata;
pub use local::SimOrchestrator;
pub use membership::PROCESSES;
pub use refresh::InstanceRefresh;
pub use region::ACCOUNT;
pub use region::REGION;
pub use region::Region;
pub use region::SCENARIO;
pub use schedule::Scheduled;
pub use span::Span;
pub use spec::Behaviour;
pub use spec::Boot;
pub use spec::ClassicSpec;
pub use spec::Endpoint;
pub use spec::Era;
pub use spec::GroupSpec;
pub use spec::HookSpec;
pub use spec::Incident;
pub use spec::Lie;
pub use spec::LoadBalancerSpec;
pub use spec::Pace;
pub use spec::Pick;
pub use spec::Scenario;
pub use spec::ScheduledSpec;
pub use spec::Switch;
pub use spec::TargetGroupSpec;
pub use spec::TemplateSpec;
pub use spec::Timed;
pub use spec::Transition;
pub use spec::VersionSpec;
pub use spec::WorkSpec;
pub use spec::Works;
pub use trouble::Bucket;
pub use trouble::Trouble;
pub use trouble::TroubleKind;
pub use truth::Call;
pub use truth::CapacityChange;
pub use truth::Decrement;
pub use truth::Execution;
pub use truth::IntakeChange;
pub use truth::Outcome;
pub use truth::Run;
pub use truth::RunEnd;
pub use truth::StateChange;
pub use truth::Termination;
pub use truth::Truth;
pub use truth::Why;
pub use undocumented::SecondTerminate;
pub use undocumented::Undocumented;

/// Virtual time: since the scenario's start.
pub type SimTime = std::time::Duration;
