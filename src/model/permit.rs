//! Permits of a group: so many of its instances may be away at once by healing's own doing.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use super::GroupName;
use super::InstanceId;

/// One permit: whose, and for which of its intents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Permit {
    /// The instance.
    pub holder: InstanceId,
    /// Which of the instance's intents: grows with each, also over restarts of its agent. What is said under a lower one came late.
    pub number: u64,
}

/// A question for a permit. The same one again renews it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermitRequest {
    /// Of this group.
    pub group: GroupName,
    /// The one that is asked for.
    pub permit: Permit,
    /// Permits that the group has.
    pub places: u32,
    /// It runs out after so long, by the clock of whoever keeps the book.
    pub lease: Duration,
    /// It was granted before, and what it is for is under way.
    pub keeps: bool,
    /// Others whose holders are gone: they are struck out first.
    pub gone: Vec<Permit>,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PermitAnswer {
    /// It is ours from now on for a lease.
    Granted,
    /// It is not ours.
    Refused {
        /// Who holds those that there are, and for how much longer.
        held: Vec<(Permit, Duration)>,
        /// The book may have lost what it held before, so it gives nothing new for so long.
        closed: Option<Duration>,
    },
}
