//! Decisions, pure: what was observed and what the owner wants in, actions out. No I/O, no clock, no log.

mod policy;
mod status;

pub use policy::AtDeadline;
pub use policy::MinSize;
pub use policy::Policy;
pub use policy::Siblings;
pub use policy::Via;
pub use status::Command;
pub use status::Status;
