//! What the owner of a fleet wants, as checked values. Configuration becomes this; [`super::step`] reads nothing else of it.

use std::time::Duration;

use serde::Serialize;

use super::heal::HealPolicy;

/// Everything `step` may know of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Between reads of our own group when nothing happens; jittered ±25 % per instance. 60–120 s keeps an account's request bucket
    /// free (draining.md §4.12). During a drain the group is read when the protocol needs it.
    pub describe_every: Duration,
    /// Between reads of the target lifecycle state from instance metadata; AWS's examples poll every 5 s.
    pub metadata_every: Duration,
    /// Between looks at the orchestrator's activity during a drain.
    pub activity_every: Duration,
    /// Between looks at it when no drain is under way; feeds `status` only.
    pub activity_every_idle: Duration,
    /// After intake was read back as closed: how long work already taken may need to show up as busy (F1). Orca writes what is behind
    /// `activeByInstance` every 60 s, so work may run for that long before it shows.
    pub settle: Duration,
    /// How long every sample has to be idle, with intake closed, in one process generation (F1, F3, S3).
    pub quiet: Duration,
    /// A sample that was measured longer ago than this proves nothing (F3).
    pub sample_max_age: Duration,
    /// Unknown for longer than this is worth an alert (F2).
    pub unknown_alert: Duration,
    /// Healthy instances that a newer, enabled server group must have before we count as superseded (F13).
    pub successor_floor: u32,
    /// Agreeing reads in a row that make us superseded (F13), spread over at least `agree_over`.
    pub agree_reads: u32,
    /// See `agree_reads`.
    pub agree_over: Duration,
    /// Rollback window: time between being superseded and the first termination (F14). Intake is closed at once, the instance stays.
    pub soak: Duration,
    /// Never take a superseded group below this many instances (F47).
    pub keep: u32,
    /// At most max(1, this percentage) of the group's instances end at once (F47).
    pub budget_percent: u8,
    /// An upper bound on how stale a describe may be. Turns of the budget are two of these long; a cancel becomes visible within one (S11).
    pub stale_bound: Duration,
    /// From the start of a drain; `None` = no deadline.
    pub deadline: Option<Duration>,
    /// What happens when the deadline passes.
    pub at_deadline: AtDeadline,
    /// When desired equals min (draining.md §4.2).
    pub min_size: MinSize,
    /// This group is to be drained even though nobody disabled it: its owner says it is retired. A healthy successor is still demanded.
    pub retired: bool,
    /// Stop the orchestrator gracefully before the terminate call, within this grace; `None` = leave it to the operating system.
    pub stop_grace: Option<Duration>,
    /// Which hand asks for the termination; the decrement has one owner (F22).
    pub via: Via,
    /// Names and tags that tell which groups are siblings.
    pub siblings: Siblings,
    /// Lifecycle hooks that are ours to answer.
    pub hooks: HookNames,
    /// A launching instance whose orchestrator is not ready after so long is given up.
    pub ready_within: Duration,
    /// So long before AWS ends the instance by itself all work is to be off it: what is still in flight when this and the stop's grace are left is
    /// cut short (F38, F41).
    pub margin: Duration,
    /// What a rebalance recommendation brings about.
    pub on_rebalance: OnRebalance,
    /// A busy instance is protected from scale-in until it has been idle for a while (F25).
    pub protect: bool,
    /// Report what would be done and change nothing: no intake, no mutation.
    pub dry_run: bool,
    /// Of healing.
    pub heal: HealPolicy,
}

/// What happens at the deadline of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AtDeadline {
    /// Hold, name the executions, tell people (F8).
    Hold,
    /// Terminate although work is in flight, and say so in the record.
    Force,
    /// While AWS waits for our lifecycle hook, and the group's lifecycle policy keeps what is abandoned: abandon, so that the instance stays, out of the
    /// group, with its work. Otherwise hold.
    Retain,
}

/// Names of lifecycle hooks; one that is not named is never answered (F40).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HookNames {
    /// Answered when the orchestrator is ready.
    pub launching: Option<String>,
    /// Answered when the instance is idle.
    pub terminating: Option<String>,
}

/// What a rebalance recommendation brings about. Nothing is ended for one in any case: AWS does that, if it will, once a replacement serves (F42).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRebalance {
    /// It is told.
    Note,
    /// Intake is closed, and stays so.
    CloseIntake,
}

/// What to do when the decrement would take the group below its min.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MinSize {
    /// Lower min to desired − 1 first, for a superseded group that no rollback holds.
    Lower,
    /// Hold until whoever owns min lowers it.
    Hold,
}

/// Which hand asks for the termination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// Auto Scaling's API, with the instance's own role.
    Aws,
    /// A task in Spinnaker, which leaves its record in the application.
    Spinnaker,
}

/// How siblings are found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Siblings {
    /// List the region's groups and compare names: one call per hundred groups.
    ByName,
    /// List the groups that carry the same value of this tag as ours.
    ByTag(String),
}

/// How long an engine may take to give back what it owns.
const HAND_BACK: Duration = Duration::from_secs(30);

impl Policy {
    /// The same where the agent runs the work itself: what its engine says of itself is exact and new, so nothing has to settle and two looks are
    /// enough; it gives back what it owns, and ends its session, before the instance ends.
    #[must_use]
    pub fn embedded(self) -> Self {
        let second = Duration::from_secs(1);
        Self { activity_every: second, sample_max_age: 2 * second, settle: second, quiet: 4 * second, stop_grace: Some(HAND_BACK), ..self }
    }
}

impl Default for Policy {
    /// The shipped defaults; each one is in the sample configuration.
    fn default() -> Self {
        Self {
            describe_every: Duration::from_secs(90),
            metadata_every: Duration::from_secs(5),
            activity_every: Duration::from_secs(5),
            activity_every_idle: Duration::from_secs(60),
            settle: Duration::from_secs(75),
            quiet: Duration::from_secs(30),
            sample_max_age: Duration::from_secs(15),
            unknown_alert: Duration::from_secs(300),
            successor_floor: 1,
            agree_reads: 3,
            agree_over: Duration::from_secs(60),
            soak: Duration::ZERO,
            keep: 0,
            budget_percent: 25,
            stale_bound: Duration::from_secs(5),
            deadline: None,
            at_deadline: AtDeadline::Hold,
            min_size: MinSize::Lower,
            retired: false,
            stop_grace: None,
            via: Via::Aws,
            siblings: Siblings::ByName,
            hooks: HookNames::default(),
            ready_within: Duration::from_secs(900),
            margin: Duration::from_secs(10),
            on_rebalance: OnRebalance::Note,
            protect: false,
            dry_run: false,
            heal: HealPolicy::default(),
        }
    }
}
