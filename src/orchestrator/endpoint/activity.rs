//! What one source says, and what several say together.

use crate::model::Activity;
use crate::model::Generation;
use crate::model::Timestamp;

/// What one source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Busy, idle or unknown.
    pub activity: Activity,
    /// When it was measured, where the source says.
    pub measured: Option<Timestamp>,
    /// Which process it is from, where the source says.
    pub generation: Option<Generation>,
}

impl Reading {
    /// Nobody can say, for this reason.
    pub fn unknown(why: impl Into<String>) -> Self {
        Self { activity: Activity::Unknown { why: why.into() }, measured: None, generation: None }
    }
}
