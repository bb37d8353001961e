//! Every metric there is: what it is called, what it says, and what bounds its labels. `docs/metrics.md` is this table, held to it by a test.

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process ends.
    Counter,
    /// A level.
    Gauge,
    /// Observations by size.
    Histogram,
}

/// What a metric measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things, or none.
    None,
    /// Seconds; of a `timestamp`, since the Unix epoch.
    Seconds,
    /// Bytes.
    Bytes,
}

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Without prefix, unit and `_total`.
    pub(super) stem: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What it measures.
    pub unit: Unit,
    /// Names of its labels, and what bounds their values.
    pub labels: &'static [(&'static str, &'static str)],
    /// What it says.
    pub help: &'static str,
}

impl Metric {
    /// The name that it is queried by; of a histogram, without `_bucket`, `_sum` and `_count`.
    pub fn name(&self) -> String {
        let unit = match self.unit {
            Unit::None => "",
            Unit::Seconds => "_seconds",
            Unit::Bytes => "_bytes",
        };
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{PREFIX}_{}{unit}{total}", self.stem)
    }
}

/// Begins every name.
pub(super) const PREFIX: &str = "bellrock";

const fn gauge(stem: &'static str, labels: &'static [(&'static str, &'static str)], help: &'static str) -> Metric {
    Metric { stem, kind: Kind::Gauge, unit: Unit::None, labels, help }
}

const fn seconds(stem: &'static str, help: &'static str) -> Metric {
    Metric { stem, kind: Kind::Gauge, unit: Unit::Seconds, labels: &[], help }
}

const fn bytes(stem: &'static str, help: &'static str) -> Metric {
    Metric { stem, kind: Kind::Gauge, unit: Unit::Bytes, labels: &[], help }
}

const fn counter(stem: &'static str, labels: &'static [(&'static str, &'static str)], help: &'static str) -> Metric {
    Metric { stem, kind: Kind::Counter, unit: Unit::None, labels, help }
}

macro_rules! metrics {
    ($($name:ident = $metric:expr;)*) => {
        $(pub(super) const $name: &Metric = &$metric;)*

        /// All of them, in the order of a scrape.
        pub const ALL: &[&Metric] = &[$($name),*];
    };
}

metrics! {
    BUILD = gauge("build_info", &[("version", "this build's"), ("commit", "this build's")], "Always 1; the build of this agent. `commit` is `unknown` unless `BELLROCK_COMMIT` was set when it was built.");
    INSTANCE = gauge("instance_info", &[("instance_id", "our own"), ("server_group", "our own"), ("application", "our own"), ("cluster", "our own"), ("region", "our own"), ("account", "our own")], "Always 1; where the agent is, as far as it knows. Join with it, by your scrape's `instance` and `job`, to have other metrics by server group.");
    STARTED = seconds("agent_start_timestamp", "When this agent started.");
    READY = gauge("ready", &[], "1 once the agent has seen its instance, its group and its orchestrator.");
    TURN = seconds("loop_turn_timestamp", "When the agent's loop last began a turn; it does every 5 s at the latest.");
    LAG = seconds("loop_lag", "How much later than it had wanted the loop last woke up.");
    ORDERS = gauge("orders_waiting", &[], "Orders of operators that wait for the loop, of 8 that can.");
    PHASE = gauge("phase", &[("phase", "the 15 phases of a drain")], "1 for the phase of the drain protocol that the agent is in, 0 for the others.");
    PHASE_SINCE = seconds("phase_since_timestamp", "Since when it is in this phase.");
    MOVES = counter("phase_moves", &[("phase", "the 15 phases of a drain")], "Moves into a phase.");
    HELD = gauge("held", &[("code", "the 17 codes of a hold, each with its page in runbooks/")], "1 for the code under which the drain holds for somebody, 0 for the others.");
    HOLDS = counter("holds", &[("code", "the 17 codes of a hold")], "Holds entered.");
    DRAIN = gauge("drain", &[("reason", "the 8 reasons of a drain")], "1 for the reason of the drain under way, 0 for the others.");
    DRAIN_STARTED = seconds("drain_start_timestamp", "When the drain under way began; absent when there is none.");
    DRAIN_LENGTH = Metric { stem: "drain_duration", kind: Kind::Histogram, unit: Unit::Seconds, labels: &[("outcome", "accepted, called_off")], help: "From the begin of a drain until its end was accepted by AWS or Spinnaker, or until it was called off. An instance that ends takes its last scrape with it: what alerts need is in bellrock_drain_start_timestamp_seconds." };
    TERMINATIONS = counter("terminations", &[("reason", "the 8 reasons of a drain")], "Ends of this instance that AWS or Spinnaker accepted, or AWS decided.");
    ACTIVITY = gauge("activity", &[("activity", "idle, busy, unknown")], "1 for the orchestrator's activity as last seen, 0 for the others. Unknown counts as busy.");
    ACTIVE = gauge("active_executions", &[], "Executions in flight on this instance as last seen; absent while unknown.");
    UNKNOWN_SINCE = seconds("activity_unknown_since_timestamp", "Since when nobody can say whether work is in flight; absent while somebody can.");
    SAMPLES = counter("activity_samples", &[("activity", "idle, busy, unknown")], "Looks at the orchestrator's activity, by what they showed.");
    INTAKE = gauge("intake", &[("intake", "open, closed, no_switch, unknown")], "1 for the orchestrator's intake as last read, 0 for the others.");
    LOOKS = counter("looks", &[("look", "the 10 kinds of look"), ("outcome", "ok, not_now, outcome_unknown, denied, refused, broken")], "Reads of AWS, metadata, orchestrator, probes and Spinnaker, by what came of them.");
    DEEDS = counter("deeds", &[("deed", "the 15 kinds of deed"), ("outcome", "ok, not_now, outcome_unknown, denied, refused, broken")], "Changes outside that the agent ordered, by what came of them.");
    HOOK_STARTED = seconds("hook_wait_start_timestamp", "Since when AWS waits for our answer to a lifecycle hook; absent when it does not.");
    HOOK_LIMIT = seconds("hook_wait_limit", "AWS waits no longer than this, whatever heartbeats come: min(48 h, 100 heartbeat timeouts).");
    HOOK_HEARTBEAT = seconds("hook_heartbeat_timeout", "Without a heartbeat for so long AWS waits no more.");
    HOOK_ACCEPTED = seconds("hook_heartbeat_accepted_timestamp", "When AWS took the last heartbeat of this wait.");
    INTERRUPTION = seconds("interruption_timestamp", "When AWS takes this instance back; absent unless it has said so (spot).");
    PROTECTED = gauge("scale_in_protected", &[], "1 while the agent has its instance protected from scale-in, or is about to.");
    HEAL = gauge("heal_state", &[("state", "the 12 states of healing")], "1 for what healing comes to, 0 for the others.");
    HEAL_HELD = gauge("heal_held", &[("code", "the 8 codes of a hold of healing, each with its page in runbooks/")], "1 for the code under which healing holds for somebody, 0 for the others.");
    DECISIONS = counter("heal_decisions", &[("decision", "the 10 words of a decision")], "Decisions of healing.");
    RESTARTS = gauge("heal_restarts", &[], "Restarts of the orchestrator by healing within `heal.window`.");
    RESTARTS_MOST = gauge("heal_restarts_limit", &[], "How many there may be.");
    PERMITS = counter("permit_answers", &[("answer", "granted, refused")], "Answers to questions for a permit of the group, renewals among them; absent unless a store gives permits.");
    PROCESS = gauge("orchestrator_process", &[("state", "running, unkept, starting, stopping, down, stopped, crash-loop, unknown")], "1 for the state of the orchestrator's process, 0 for the others; absent unless the agent looks after it (kind `process` or `unit`).");
    PROCESS_STARTED = seconds("orchestrator_start_timestamp", "Since when the orchestrator's process runs.");
    PROCESS_RESTARTS = counter("orchestrator_restarts", &[], "Times that the orchestrator was started again after an end that nobody had asked for; counted on disk, over restarts of the agent.");
    PROCESS_DROPPED = counter("orchestrator_dropped_lines", &[], "Lines of the orchestrator's output that were not kept; begins anew with its process.");
    JOURNAL = counter("journal_writes", &[("outcome", "ok, failed")], "Writes of the agent's journal, synced. While they fail nothing is done that rests on them.");
    DISK_FREE = bytes("state_disk_free", "Free on the disk that `fleet.state_dir` is on; absent when the kernel does not say within a second.");
    DISK_SIZE = bytes("state_disk_size", "Size of that disk.");
    CLOCK = seconds("clock_offset", "By how much AWS's clock was ahead of this host's in its newest answer; absent before the first. AWS shows whole seconds.");
    AWS_CALLS = counter("aws_calls", &[("action", "API actions that this code can call"), ("outcome", "ok, throttled, unavailable, timed_out, gone, denied, conflict, refused, bug, crowded")], "Calls to AWS's control plane, retries within a call not counted. Crowded: nothing was sent, as too many were under way.");
    AWS_REQUESTS = counter("aws_requests", &[("action", "API actions that this code can call")], "Requests to AWS's control plane, each attempt counted: what the account's request bucket was charged.");
    AWS_THROTTLES = counter("aws_throttles", &[("action", "API actions that this code can call")], "Requests that AWS answered with a throttle; most are repeated, and their call succeeds.");
    ENGINE_STORE = gauge("engine_store_up", &[], "1 while the embedded engine's store answers; absent while the engine asks it nothing, as when a drain has stopped it. All of `engine` is absent where something else runs pipelines.");
    ENGINE_OWNED = gauge("engine_owned_executions", &[], "Executions that this instance owns: those with work to do now. What waits belongs to no instance.");
    ENGINE_STARTING = gauge("engine_starting_executions", &[], "Those of them that have yet to come to their first rest, of 64 that may be: the engine's own queue.");
    ENGINE_CLAIMS = counter("engine_claims", &[("how", "due, adopted")], "Executions that came to be owned here; adopted: from an instance that was not heard of any more.");
    ENGINE_LET_GO = counter("engine_let_go", &[("how", "parked, finished, fenced, abandoned, lost, refused")], "Ends of an ownership.");
    ENGINE_ENDED = counter("engine_executions_ended", &[("status", "the 6 statuses of an end")], "Executions that ended on this instance.");
    ENGINE_ATTEMPTS = counter("engine_attempts", &[("effect", "the 10 effects of tasks"), ("outcome", "ok, failed, lost, left")], "Attempts of tasks that came to an end on this instance.");
    ENGINE_RENEWALS = counter("engine_lease_renewals", &[("outcome", "ok, refused, failed")], "Renewals of this instance's lease. Refused: another process holds its name.");
    ENGINE_NOTICES = counter("engine_notices", &[("outcome", "delivered, put_off, given_up")], "Notices to people.");
    ENGINE_LATE = gauge("engine_late_triggers", &[], "Cron triggers that are late and wait for a person; of the instance that is the scheduler, 0 on the others.");
}
