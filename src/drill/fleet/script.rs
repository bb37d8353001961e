//! What a play has its engines do, and what befalls them: all drawn from the seed.

use std::time::Duration;

use rand::Rng;
use rand_pcg::Pcg64Mcg;
use serde_json::Value;
use serde_json::json;

use super::hand::AGAIN;
use super::hand::ONCE;
use super::host::Falls;
use super::host::Spot;
use crate::cloud::sim::SimTime;
use crate::drill::scenario::APPLICATION;
use crate::orchestrator::engine::status::Status;

/// What comes in, and what goes wrong.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Pipelines that are started, in the order of time.
    pub(super) arrivals: Vec<Arrival>,
    /// What befalls the machines, in the order of time.
    pub(super) blows: Vec<Blow>,
    /// What waits for a machine that drains and is at a long job.
    pub(in crate::drill) ambushes: Ambushes,
}

impl Script {
    /// Nothing befalls anybody.
    pub(in crate::drill) fn is_calm(&self) -> bool {
        self.blows.is_empty() && self.ambushes.cuts.is_empty()
    }
}

#[cfg(test)]
impl Script {
    /// Machines fall around the begin of an effect.
    pub(in crate::drill) fn falls_at_effects(&self) -> usize {
        let at = |blow: &&Blow| matches!(blow.what, What::Falls(Falls::Machine, Spot::Begun | Spot::Midway | Spot::WriteDone));
        self.blows.iter().filter(at).count()
    }

    /// For how long the line of a machine is cut at most.
    pub(in crate::drill) fn longest_cut(&self) -> Duration {
        let cut = |blow: &Blow| if let What::Cut(time) = blow.what { Some(time) } else { None };
        self.blows.iter().filter_map(cut).max().unwrap_or_default()
    }
}

/// The pipelines people start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::drill) enum Pipeline {
    /// A job, a wait, a job.
    Wait,
    /// A call, a judgment that says continue, a job.
    Judged,
    /// A judgment that says stop.
    Refused,
    /// Six short jobs in a row; others follow its end.
    Chain,
    /// A job, four branches, a job.
    Fork,
    /// Starts another pipeline and waits for it.
    Parent,
    /// A job and a call that must not be done twice.
    Deploy,
}

/// The pipeline that [`Pipeline::Parent`] starts, the one that is followed, the one that follows.
pub(in crate::drill) const CHILD: &str = "child";
pub(in crate::drill) const CHAIN: &str = "chain";
pub(in crate::drill) const FOLLOWER: &str = "follower";

const ALL: [Pipeline; 7] =
    [Pipeline::Wait, Pipeline::Judged, Pipeline::Refused, Pipeline::Chain, Pipeline::Fork, Pipeline::Parent, Pipeline::Deploy];

/// One start.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) at: SimTime,
    pub(super) pipeline: Pipeline,
    /// How long it waits, or until it is judged.
    pub(super) waits: Duration,
}

/// One thing that befalls a machine.
#[derive(Clone, Debug)]
pub(super) struct Blow {
    pub(super) at: SimTime,
    pub(super) what: What,
    /// Which of those that fit.
    pub(super) nth: usize,
    /// One that drains, when there is one; else one with work.
    pub(super) draining: bool,
}

/// Agents of machines that drain with a long job fall, and come back to a line that is cut.
#[derive(Clone, Debug, Default)]
pub(in crate::drill) struct Ambushes {
    /// For how long the line of each is cut: longer than a lease, and than an idle engine has to be idle for.
    pub(in crate::drill) cuts: Vec<Duration>,
    /// Pipelines that are started besides, in the order of time.
    pub(super) work: Vec<Arrival>,
}

/// What befalls it.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Falls(Falls, Spot),
    /// Its line to the store is cut.
    Cut(Duration),
    /// Its line to the store loses calls and answers.
    Loses(Duration),
}

impl Pipeline {
    pub(in crate::drill) fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Judged => "judged",
            Self::Refused => "refused",
            Self::Chain => CHAIN,
            Self::Fork => "fork",
            Self::Parent => "parent",
            Self::Deploy => "deploy",
        }
    }

    /// How an execution of this name has to end.
    pub(in crate::drill) fn ends(name: &str) -> Status {
        if name == Self::Refused.name() { Status::Terminal } else { Status::Succeeded }
    }

    pub(super) fn is_judged(self) -> bool {
        matches!(self, Self::Judged | Self::Refused)
    }

    pub(super) fn document(self, waits: Duration) -> Value {
        let stages = match self {
            Self::Wait => chain(vec![job(AGAIN, 20), json!({"type": "wait", "waitTime": waits.as_secs()}), job(AGAIN, 20)]),
            Self::Judged | Self::Refused => chain(vec![call(AGAIN), json!({"type": "manualJudgment"}), job(AGAIN, 20)]),
            Self::Chain => chain(vec![job(AGAIN, 4); 6]),
            Self::Fork => fork(vec![job(AGAIN, 60), call(AGAIN), job(AGAIN, 10), job(ONCE, 20)]),
            Self::Parent => {
                chain(vec![call(AGAIN), json!({"type": "pipeline", "application": APPLICATION, "pipeline": CHILD}), job(AGAIN, 5)])
            }
            Self::Deploy => chain(vec![job(ONCE, 40), call(ONCE), job(AGAIN, 10)]),
        };
        json!({"name": self.name(), "application": APPLICATION, "stages": stages})
    }
}

/// Those that are saved, because others start them or follow them.
pub(super) fn saved() -> Vec<(&'static str, Value)> {
    let follows = json!([{"type": "pipeline", "enabled": true, "application": APPLICATION, "pipeline": CHAIN, "status": ["successful"], "id": "after-chain"}]);
    vec![
        (CHILD, json!({"name": CHILD, "application": APPLICATION, "stages": chain(vec![job(AGAIN, 30), job(AGAIN, 30)])})),
        (CHAIN, Pipeline::Chain.document(Duration::ZERO)),
        (FOLLOWER, json!({"name": FOLLOWER, "application": APPLICATION, "triggers": follows, "stages": chain(vec![job(AGAIN, 20)])})),
    ]
}

/// A job of up to so many seconds.
fn job(word: &str, longest_s: u64) -> Value {
    json!({"type": "runJob", "command": [word, longest_s.to_string()], "idempotent": word == AGAIN})
}

fn call(word: &str) -> Value {
    json!({"type": "webhook", "url": format!("https://hooks.example/{word}"), "method": "POST", "idempotent": word == AGAIN})
}

fn chain(stages: Vec<Value>) -> Vec<Value> {
    let named = |(at, mut stage): (usize, Value)| {
        stage["refId"] = at.to_string().into();
        stage["name"] = format!("{} {at}", stage["type"].as_str().unwrap_or_default()).into();
        stage["requisiteStageRefIds"] = at.checked_sub(1).map_or(json!([]), |before| json!([before.to_string()]));
        stage
    };
    stages.into_iter().enumerate().map(named).collect()
}

fn fork(branches: Vec<Value>) -> Vec<Value> {
    let ends: Vec<String> = (1..=branches.len()).map(|at| at.to_string()).collect();
    let mut stages = chain([vec![job(AGAIN, 10)], branches, vec![job(AGAIN, 10)]].concat());
    let last = stages.len() - 1;
    for stage in &mut stages[1..last] {
        stage["requisiteStageRefIds"] = json!(["0"]);
    }
    stages[last]["requisiteStageRefIds"] = json!(ends);
    stages
}

/// Forty pipelines that are under way when the deploy begins, and some that come later.
pub fn redeploy(rng: &mut Pcg64Mcg) -> Script {
    let mut arrivals: Vec<Arrival> = Vec::new();
    for n in 0..40_usize {
        let at = Duration::from_millis(rng.random_range(1_000..50_000));
        let waits = Duration::from_secs(rng.random_range(60..900));
        arrivals.push(Arrival { at, pipeline: ALL[n % ALL.len()], waits });
    }
    for _ in 0..20 {
        let at = Duration::from_millis(rng.random_range(60_000..900_000));
        let waits = Duration::from_secs(rng.random_range(20..300));
        arrivals.push(Arrival { at, pipeline: ALL[rng.random_range(0..ALL.len())], waits });
    }
    arrivals.sort_by_key(|arrival| arrival.at);
    Script { arrivals, ..Script::default() }
}

/// The same, with machines and processes that fall and lines that are cut.
pub fn crash(rng: &mut Pcg64Mcg) -> Script {
    let mut script = redeploy(rng);
    let spots = [Spot::Now, Spot::WriteSent, Spot::WriteDone, Spot::Begun, Spot::Midway];
    let mut blow = |rng: &mut Pcg64Mcg, what: What| {
        let at = Duration::from_millis(rng.random_range(10_000..900_000));
        script.blows.push(Blow { at, what, nth: rng.random_range(0..16), draining: rng.random_bool(0.3) });
    };
    for (falls, count) in [(Falls::Machine, rng.random_range(3..=6)), (Falls::Process, rng.random_range(3..=8))] {
        for _ in 0..count {
            let spot = spots[rng.random_range(0..spots.len())];
            blow(rng, What::Falls(falls, spot));
        }
    }
    for _ in 0..rng.random_range(0..=3) {
        let time = Duration::from_secs(rng.random_range(2..30));
        blow(rng, What::Cut(time));
    }
    for _ in 0..rng.random_range(0..=2) {
        let time = Duration::from_secs(rng.random_range(10..120));
        blow(rng, What::Loses(time));
    }
    script.blows.sort_by_key(|blow| blow.at);
    script
}

/// Agents of a crash that fall at the worst of times, and long jobs for their machines to be at.
pub(in crate::drill) fn ambushes(rng: &mut Pcg64Mcg) -> Ambushes {
    let cuts: Vec<Duration> = (0..rng.random_range(0..=3)).map(|_| Duration::from_secs(rng.random_range(10..45))).collect();
    let long = if cuts.is_empty() { 0..0 } else { 0..16 };
    let mut work: Vec<Arrival> = long
        .map(|_| Arrival { at: Duration::from_millis(rng.random_range(90_000..240_000)), pipeline: Pipeline::Fork, waits: Duration::ZERO })
        .collect();
    work.sort_by_key(|arrival| arrival.at);
    Ambushes { cuts, work }
}
