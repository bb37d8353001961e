//! Pipelines that are made from a seed, as documents for the API, and what must become of them by their documents alone.

use std::collections::BTreeSet;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_pcg::Pcg64;
use serde_json::Value;
use serde_json::json;

/// Pipelines that others start; the rest start them.
pub const CHILDREN: usize = 12;
/// Pipelines that the test starts: after the children, in order.
pub const PARENTS: usize = 40;

/// Statuses in which an execution can end.
pub fn word(status: &str) -> &'static str {
    let all = ["SUCCEEDED", "TERMINAL", "CANCELED"];
    all.into_iter().find(|word| *word == status).unwrap_or("in no status that is an end")
}

/// What a stage does.
#[derive(Clone, Debug)]
pub enum Work {
    Wait { s: u32 },
    Say,
    Check { holds: bool },
    Judge { go: bool },
    Job { code: u8, idempotent: bool, ms: u32 },
    Child { of: usize },
}

/// What a failure of a stage comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Failure {
    Fails,
    Continues,
    StopsBranch,
    FailsAtTheEnd,
}

/// A stage; its place in the list is its reference id.
#[derive(Clone, Debug)]
pub struct Step {
    pub after: Vec<usize>,
    pub work: Work,
    pub failure: Failure,
}

/// How many of a pipeline's executions run at once, and what ends them from outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    Usual,
    /// One at a time, the others wait for their turn.
    OneByOne,
    /// Somebody calls it off at its judgment.
    CalledOff,
}

/// A pipeline.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: String,
    pub manner: Manner,
    pub steps: Vec<Step>,
}

/// All pipelines of a run; a child's place in the list is what [`Work::Child`] names.
pub fn plans(rng: &mut Pcg64) -> Vec<Plan> {
    let mut plans = Vec::new();
    for at in 0..CHILDREN {
        let steps = if at % 3 == 0 { chain(rng, 2, 0) } else { fork(rng, 1, 2, 0) };
        plans.push(Plan { name: format!("child-{at}"), manner: Manner::Usual, steps });
    }
    for at in 0..PARENTS {
        let (name, manner, steps) = match at % 10 {
            0..=2 => ("chain", Manner::Usual, chain(rng, 5, CHILDREN)),
            3..=7 => ("fork", Manner::Usual, fork(rng, 3, 3, CHILDREN)),
            8 => ("single", Manner::OneByOne, vec![step(vec![], Work::Job { code: 0, idempotent: false, ms: 300 })]),
            _ => {
                let judge = step(vec![0], Work::Judge { go: true });
                ("held", Manner::CalledOff, vec![step(vec![], Work::Say), judge, step(vec![1], Work::Say)])
            }
        };
        plans.push(Plan { name: format!("{name}-{at}"), manner, steps });
    }
    plans
}

fn step(after: Vec<usize>, work: Work) -> Step {
    Step { after, work, failure: Failure::Fails }
}

fn chain(rng: &mut Pcg64, length: usize, children: usize) -> Vec<Step> {
    (0..length).map(|at| any(rng, at.checked_sub(1).into_iter().collect(), children)).collect()
}

/// So many branches of up to so many stages behind one stage, and one that joins them.
fn fork(rng: &mut Pcg64, branches: usize, longest: usize, children: usize) -> Vec<Step> {
    let mut steps = vec![any(rng, vec![], children)];
    let mut ends = Vec::new();
    for _ in 0..branches + 1 {
        let mut last = 0;
        for _ in 0..rng.random_range(1..=longest) {
            let next = any(rng, vec![last], children);
            last = steps.len();
            steps.push(next);
        }
        ends.push(last);
    }
    steps.push(any(rng, ends, 0));
    steps
}

fn any(rng: &mut Pcg64, after: Vec<usize>, children: usize) -> Step {
    let job = |rng: &mut Pcg64| {
        let code = if rng.random_bool(0.1) { 3 } else { 0 };
        Work::Job { code, idempotent: rng.random_bool(0.5), ms: rng.random_range(0..2_500) }
    };
    let work = match rng.random_range(0..100) {
        0..22 => Work::Wait { s: rng.random_range(1..=6) },
        22..42 => Work::Say,
        42..52 => Work::Check { holds: rng.random_bool(0.8) },
        52..64 => Work::Judge { go: rng.random_bool(0.8) },
        64..90 => job(rng),
        _ if children > 0 => Work::Child { of: rng.random_range(0..children) },
        _ => job(rng),
    };
    let all = [Failure::Fails, Failure::Continues, Failure::StopsBranch, Failure::FailsAtTheEnd];
    Step { after, work, failure: *all.choose(rng).expect("there are some") }
}

impl Plan {
    /// The document. A job puts a line in the ledger when it begins and one when it ends: word, execution, stage, key.
    pub fn document(&self, id: &str, child: impl Fn(usize) -> String, ledger: &str) -> Value {
        let stages: Vec<Value> = self.steps.iter().enumerate().map(|(at, step)| step.document(at, &child, ledger)).collect();
        let single = self.manner == Manner::OneByOne;
        json!({
            "id": id, "application": "shop", "name": self.name, "stages": stages,
            "limitConcurrent": single, "keepWaitingPipelines": single,
        })
    }

    /// What every stage and the execution come to: `None` = the stage does not start. `lost`: jobs that nobody may run again after their host was lost.
    /// `child`: what became of the child of a stage.
    pub fn ends(&self, lost: &BTreeSet<usize>, child: impl Fn(usize) -> &'static str) -> (Vec<Option<&'static str>>, &'static str) {
        if self.manner == Manner::CalledOff {
            return (vec![Some("SUCCEEDED"), Some("CANCELED"), None], "CANCELED");
        }
        let mut stages: Vec<Option<&'static str>> = Vec::new();
        let (mut fails, mut canceled, mut fails_at_the_end) = (false, false, false);
        for (at, step) in self.steps.iter().enumerate() {
            let starts = step.after.iter().all(|before| matches!(stages[*before], Some("SUCCEEDED" | "FAILED_CONTINUE")));
            let of_itself = match &step.work {
                Work::Wait { .. } | Work::Say => "SUCCEEDED",
                Work::Check { holds: good } | Work::Judge { go: good } => {
                    if *good {
                        "SUCCEEDED"
                    } else {
                        "TERMINAL"
                    }
                }
                Work::Job { code, .. } => {
                    if *code == 0 && !lost.contains(&at) {
                        "SUCCEEDED"
                    } else {
                        "TERMINAL"
                    }
                }
                Work::Child { .. } => {
                    if starts {
                        child(at)
                    } else {
                        "SUCCEEDED"
                    }
                }
            };
            let status = match (of_itself, step.failure) {
                ("TERMINAL", Failure::Continues) => "FAILED_CONTINUE",
                ("TERMINAL", Failure::StopsBranch | Failure::FailsAtTheEnd) => "STOPPED",
                (other, _) => other,
            };
            if starts {
                fails |= status == "TERMINAL";
                canceled |= status == "CANCELED";
                fails_at_the_end |= status == "STOPPED" && step.failure == Failure::FailsAtTheEnd;
            }
            stages.push(starts.then_some(status));
        }
        let status = if fails || (fails_at_the_end && !canceled) {
            "TERMINAL"
        } else if canceled {
            "CANCELED"
        } else {
            "SUCCEEDED"
        };
        (stages, status)
    }

    /// The answers to its judgments, by stage.
    pub fn judgments(&self) -> impl Iterator<Item = (usize, bool)> {
        let judgment = |(at, step): (usize, &Step)| match step.work {
            Work::Judge { go } => Some((at, go)),
            Work::Wait { .. } | Work::Say | Work::Check { .. } | Work::Job { .. } | Work::Child { .. } => None,
        };
        self.steps.iter().enumerate().filter_map(judgment)
    }

    /// The stage comes, directly or not, after that other one.
    pub fn follows(&self, at: usize, earlier: usize) -> bool {
        self.steps[at].after.iter().any(|before| *before == earlier || self.follows(*before, earlier))
    }
}

impl Step {
    fn document(&self, at: usize, child: impl Fn(usize) -> String, ledger: &str) -> Value {
        let mut stage = match &self.work {
            Work::Wait { s } => json!({"type": "wait", "waitTime": s}),
            Work::Say => json!({"type": "evaluateVariables", "variables": [{"key": format!("said{at}"), "value": "${execution.id}"}]}),
            Work::Check { holds } => json!({
                "type": "checkPreconditions",
                "preconditions": [{"type": "expression", "context": {"expression": holds.to_string()}}],
            }),
            Work::Judge { .. } => json!({"type": "manualJudgment", "instructions": "Go on?"}),
            Work::Job { code, idempotent, ms } => {
                let line = |word: &str| format!("echo {word} $BELLROCK_EXECUTION_ID {at} $BELLROCK_IDEMPOTENCY_KEY >> {ledger}");
                let script = format!("{}; sleep {}.{:03}; {}; exit {code}", line("begin"), ms / 1000, ms % 1000, line("end"));
                json!({"type": "runJob", "command": ["sh", "-c", script], "idempotent": idempotent, "stageTimeoutMs": 600_000})
            }
            Work::Child { of } => json!({"type": "pipeline", "application": "shop", "pipeline": child(*of), "waitForCompletion": true}),
        };
        stage["refId"] = at.to_string().into();
        stage["name"] = format!("Stage {at}").into();
        stage["requisiteStageRefIds"] = self.after.iter().map(ToString::to_string).collect();
        let (fails, continues, at_the_end) = match self.failure {
            Failure::Fails => (true, false, false),
            Failure::Continues => (false, true, false),
            Failure::StopsBranch => (false, false, false),
            Failure::FailsAtTheEnd => (false, false, true),
        };
        stage["failPipeline"] = fails.into();
        stage["continuePipeline"] = continues.into();
        stage["completeOtherBranchesThenFail"] = at_the_end.into();
        stage
    }
}
