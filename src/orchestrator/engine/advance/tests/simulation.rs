//! Random pipelines, random outcomes, messages, crashes and repeats. The seed is in the message of what fails.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::json;

use super::harness::Rig;
use super::harness::START;
use super::harness::stage;
use crate::model::Timestamp;
use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::event::Command;
use crate::orchestrator::engine::event::Event;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::execution::Stage;
use crate::orchestrator::engine::execution::StageChanges;
use crate::orchestrator::engine::execution::StageId;
use crate::orchestrator::engine::execution::Summary;
use crate::orchestrator::engine::status::Status;

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

fn context(dice: &mut Dice, depth: u64) -> Value {
    const WORDS: [&str; 12] =
        ["call", "call", "call", "poll", "wait", "SUCCEEDED", "SKIPPED", "hold", "FAILED_CONTINUE", "fail", "TERMINAL", "STOPPED"];
    let tasks: Vec<&str> = (0..dice.below(4)).map(|_| dice.pick(&WORDS)).collect();
    let mut context = json!({ "tasks": tasks });
    for (key, odds) in [("continuePipeline", 6), ("completeOtherBranchesThenFail", 8), ("undo", 2), ("planningFails", 40)] {
        if dice.one_in(odds) {
            context[key] = json!(true);
        }
    }
    if dice.one_in(6) {
        context["failPipeline"] = json!(false);
    }
    if dice.one_in(12) {
        context["restrictExecutionDuringTimeWindow"] = json!(true);
    }
    if dice.one_in(8) {
        context["stageEnabled"] = json!({ "type": "expression", "expression": dice.pick(&["true", "false", "last == '1'", "nonsense("]) });
    }
    if dice.one_in(8) {
        context["text"] = json!(dice.pick(&["${ 1 + 1 }", "${ last }", "${ #fromUrl('http://x.example/') }", "${ nothing }"]));
    }
    if dice.one_in(8) {
        context["stageTimeoutMs"] = json!(dice.below(20_000));
    }
    context["lost"] = json!(dice.pick(&["repeat", "ask", "fail"]));
    if depth > 0 {
        for key in ["before", "after", "onFailure"] {
            if dice.one_in(4) {
                let children: Vec<Value> = (0..=dice.below(3))
                    .map(|n| {
                        let mut child = self::context(dice, depth - 1);
                        child["name"] = json!(format!("{key}{n}"));
                        child["linear"] = json!(dice.one_in(2));
                        child
                    })
                    .collect();
                context[key] = json!(children);
            }
        }
    }
    context
}

/// What a store would hold: parts as they were written.
#[derive(Default)]
struct Shadow {
    summary: Summary,
    order: Vec<String>,
    stages: BTreeMap<String, Stage>,
}

impl Shadow {
    fn take(&mut self, execution: &mut Execution) -> bool {
        let changes = execution.take_changes();
        if changes.summary {
            self.summary = execution.summary().clone();
        }
        for id in &changes.removed {
            self.stages.remove(id.as_str());
        }
        if changes.order {
            self.order = execution.stages().iter().map(|s| s.id.0.clone()).collect();
        }
        for StageChanges { at, parts, .. } in &changes.stages {
            let now = execution.stage(*at);
            let old = self.stages.remove(now.id.as_str()).unwrap_or_default();
            let has = |part| parts.contains(&part);
            use crate::orchestrator::engine::execution::Part;
            let made = Stage::from_parts(
                now.id.clone(),
                if has(Part::Head) { now.head().clone() } else { old.head().clone() },
                if has(Part::Context) { now.context().clone() } else { old.context().clone() },
                if has(Part::Outputs) { now.outputs().clone() } else { old.outputs().clone() },
                if has(Part::Tasks) { now.tasks().to_vec() } else { old.tasks().to_vec() },
            );
            self.stages.insert(now.id.0.clone(), made);
        }
        !changes.is_empty()
    }

    fn load(&self, execution: &Execution) -> Execution {
        let stages = self.order.iter().map(|id| self.stages[id].clone()).collect();
        Execution::from_parts(execution.id.clone(), self.summary.clone(), stages)
    }
}

struct Run {
    rig: Rig,
    dice: Dice,
    shadow: Shadow,
    told: Vec<(AttemptKey, Outcome)>,
    trace: Vec<String>,
    seed: u64,
    restarts: usize,
    /// What was to be undone and was not said to be.
    owed: Vec<AttemptKey>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let count = 1 + dice.below(9) as usize;
        let names: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        let stages = (0..count)
            .map(|n| {
                let ups: Vec<&str> = (0..n).filter(|_| dice.one_in(3)).map(|up| names[up].as_str()).collect();
                stage(&names[n], &ups, context(&mut dice, 2))
            })
            .collect();
        let mut rig = Rig::new(stages);
        let mut shadow = Shadow::default();
        shadow.take(&mut rig.execution);
        Self { rig, dice, shadow, told: Vec::new(), trace: Vec::new(), seed, restarts: 0, owed: Vec::new() }
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{what}\nseed {}\n{}\n{:#?}", self.seed, self.trace.join("\n"), self.rig.statuses());
    }

    fn check(&self, ok: bool, what: &str) {
        if !ok {
            self.fail(what);
        }
    }

    /// Tells an event, and looks whether all that must stay true still is.
    fn tell(&mut self, event: Event) -> bool {
        self.trace.push(format!("{} {event:?}", self.rig.now.0 - START.0));
        let restart = matches!(event, Event::Message(Message::Restart { .. }));
        let before: BTreeMap<String, Status> = self.rig.execution.stages().iter().map(|s| (s.id.0.clone(), s.status())).collect();
        let was = self.rig.execution.status();
        let ended = self.rig.ended().len();
        self.rig.tell(event);
        let commands = self.rig.last.commands.len();
        self.rig
            .in_flight
            .retain(|key| !self.rig.last.commands.iter().any(|c| matches!(c, Command::Abort { key: aborted } if aborted == key)));
        let aborted: Vec<AttemptKey> =
            self.rig.last.commands.iter().filter_map(|c| if let Command::Abort { key } = c { Some(key.clone()) } else { None }).collect();
        self.rig.in_flight.extend(aborted);
        if restart {
            self.owed.clear();
        }
        for command in &self.rig.last.commands {
            if let Command::Undo { key, .. } = command
                && !self.owed.contains(key)
            {
                self.owed.push(key.clone());
            }
        }
        let changed = self.shadow.take(&mut self.rig.execution);
        let execution = &self.rig.execution;
        let now = execution.status();
        self.check(!was.is_complete() || now == was || restart, "an execution that had ended moved");
        let ends = self.rig.ended().len() - ended;
        self.check(ends == usize::from(now.is_complete() && (!was.is_complete() || restart && commands > 0)), "Ended is said once");
        for (at, stage) in execution.stages().iter().enumerate() {
            let id = &stage.head().ref_id;
            let old = before.get(stage.id.as_str()).copied().unwrap_or_default();
            let status = stage.status();
            if !restart {
                self.check(!old.is_complete() || old == status, &format!("stage {id} left {old} for {status}"));
            }
            if old == Status::NotStarted && status != old && !restart {
                let ups = stage.head().requisite_stage_ref_ids.iter().filter_map(|r| execution.place_of_ref(r));
                let all = ups.into_iter().all(|up| execution.stage(up).status().lets_downstream_start());
                // A skip by hand and a parent's end reach stages that never started.
                self.check(all || status == Status::Skipped, &format!("stage {id} started too early"));
            }
            if status.is_complete() {
                let runs = stage
                    .tasks()
                    .iter()
                    .any(|t| matches!(t.status, Status::Running | Status::Paused) || t.attempt.as_ref().is_some_and(|a| a.in_flight));
                self.check(!runs, &format!("a task of stage {id} runs on after its end"));
                let children = execution.stages().iter().filter(|s| s.head().parent_stage_id.as_ref() == Some(&stage.id));
                for child in children {
                    let active = child.status() != Status::NotStarted && !child.status().is_complete();
                    self.check(!active, &format!("a stage of {id} runs on after its end"));
                }
            }
            self.check(execution.place(&stage.id) == Some(at), "ids lead to their stages");
        }
        let (kept, fresh) = (execution.graph(), self.shadow.load(execution));
        self.check(kept.same_counts(fresh.graph()), "the counts kept are those of the stages");
        let json = |e: &Execution| serde_json::to_value(e).expect("JSON");
        self.check(json(execution) == json(&fresh), "what was written is what there is");
        if now.is_complete() {
            self.check(self.rig.last.wake.is_none(), "an ended execution is not looked at again");
            self.check(
                execution.stages().iter().all(|s| s.status() == Status::NotStarted || s.status().is_complete()),
                "an ended execution has a stage under way",
            );
        }
        if now == Status::Running && self.rig.last.wake.is_none() {
            let holds = execution.stages().iter().flat_map(Stage::tasks).any(|t| t.status == Status::Running && t.due.is_none());
            let flies = execution.stages().iter().flat_map(Stage::tasks).any(|t| t.attempt.as_ref().is_some_and(|a| a.in_flight));
            self.check(holds || flies, "nothing will ever move it");
        }
        changed || commands > 0
    }

    fn outcome(&mut self) -> Outcome {
        let words =
            ["SUCCEEDED", "SUCCEEDED", "SUCCEEDED", "SUCCEEDED", "TERMINAL", "CANCELED", "STOPPED", "FAILED_CONTINUE", "SKIPPED", "?"];
        match self.dice.below(12) {
            0 => Outcome::Failed { error: "scripted".to_owned(), retryable: false },
            1 => Outcome::Fetched { pages: vec![("http://x.example/".to_owned(), Ok("page".to_owned()))] },
            _ => Outcome::Done { output: json!(self.dice.pick(&words)) },
        }
    }

    fn land_one(&mut self) {
        if self.rig.in_flight.is_empty() {
            return;
        }
        let at = self.dice.below(self.rig.in_flight.len() as u64) as usize;
        let key = self.rig.in_flight.remove(at);
        let outcome = self.outcome();
        self.told.push((key.clone(), outcome.clone()));
        self.tell(Event::Done { key: key.clone(), outcome: outcome.clone() });
        let again = self.tell(Event::Done { key, outcome });
        self.check(!again, "an outcome told twice does nothing");
    }

    fn crash(&mut self) {
        self.trace.push("crash".to_owned());
        self.rig.execution = self.shadow.load(&self.rig.execution);
        let lost = std::mem::take(&mut self.rig.in_flight);
        let owed = self.owed.clone();
        self.tell(Event::Adopted);
        for key in owed {
            let again = self.rig.last.commands.iter().any(|c| matches!(c, Command::Undo { key: asked, .. } if *asked == key));
            self.check(again, "what was to be undone is asked for again");
        }
        for key in lost {
            if self.dice.one_in(2) {
                let late = self.rig.execution.place(&key.stage).is_some_and(|at| {
                    self.rig
                        .execution
                        .stage(at)
                        .tasks()
                        .iter()
                        .any(|t| t.id == key.task && t.attempt.as_ref().is_some_and(|a| a.number == key.number && a.in_flight))
                });
                let outcome = self.outcome();
                let moved = self.tell(Event::Done { key, outcome });
                self.check(late || !moved, "the outcome of a lost attempt does nothing");
            }
        }
    }

    fn step(&mut self) {
        let some_stage = {
            let n = self.rig.execution.stages().len() as u64;
            self.rig.execution.stage(self.dice.below(n) as usize).id.clone()
        };
        let by = "me".to_owned();
        match self.dice.below(40) {
            0..=19 => self.land_one(),
            20..=25 => {
                self.rig.now = Timestamp(self.rig.now.0 + self.dice.below(20_000) as i64);
                self.tell(Event::Tick);
                let again = self.tell(Event::Tick);
                let admits = self.rig.execution.status() == Status::NotStarted;
                self.check(!again || admits, "a second look at the same time does nothing");
            }
            26 => self.crash(),
            27 if self.owed.is_empty() => self.crash(),
            27 if !self.owed.is_empty() => {
                let key = self.owed.remove(0);
                let failed = self.dice.one_in(2).then(|| "scripted".to_owned());
                self.tell(Event::Undone { key: key.clone(), failed: failed.clone() });
                let again = self.tell(Event::Undone { key, failed });
                self.check(!again, "an undoing told twice does nothing");
            }
            28 => drop(self.tell(Event::Message(Message::Pause { by }))),
            29..=31 => drop(self.tell(Event::Message(Message::Resume { by }))),
            32..=34 => {
                let answer = self.dice.pick(&["SUCCEEDED", "TERMINAL"]);
                self.tell(patch(some_stage, by, "answer", json!(answer)));
            }
            35 if self.dice.one_in(4) => drop(self.tell(patch(some_stage, by, "manualSkip", json!(true)))),
            36 if self.dice.one_in(6) => drop(self.tell(Event::Message(Message::Cancel { by, reason: None }))),
            37 => {
                if let Some((key, outcome)) = self.told.last().cloned() {
                    let moved = self.tell(Event::Done { key, outcome });
                    self.check(!moved, "a late outcome does nothing");
                }
            }
            38 if self.restarts < 3 && self.rig.execution.status().is_complete() => {
                self.restarts += 1;
                self.tell(Event::Message(Message::Restart { stage: some_stage, by, body: Object::new() }));
            }
            _ => drop(self.tell(Event::Message(Message::Admitted))),
        }
    }

    /// Cancelled, it ends: when what is in flight has landed, or after the grace.
    fn end(&mut self) {
        let by = "me".to_owned();
        if self.dice.one_in(2) {
            for _ in 0..400 {
                if self.rig.execution.status().is_complete() {
                    return;
                }
                self.step();
            }
        }
        if self.dice.one_in(4) {
            self.tell(Event::Unkept { why: "scripted".to_owned() });
            self.check(self.rig.execution.status().is_complete(), "an execution that cannot be kept ends");
            return;
        }
        self.tell(Event::Message(Message::Cancel { by: by.clone(), reason: None }));
        match self.dice.below(3) {
            0 => {
                self.rig.now = Timestamp(self.rig.now.0 + 30_000);
                self.tell(Event::Tick);
            }
            1 => drop(self.tell(Event::Message(Message::Cancel { by, reason: None }))),
            _ => {
                for _ in 0..self.rig.in_flight.len() {
                    self.land_one();
                }
            }
        }
        self.check(self.rig.execution.status().is_complete(), "a cancelled execution ends");
    }
}

#[test]
fn whatever_happens_every_rule_holds_and_a_cancel_ends() {
    let from: u64 = option_env!("BELLROCK_SEED").and_then(|seed| seed.parse().ok()).unwrap_or(1);
    for seed in from..from + 120 {
        let mut run = Run::new(seed);
        run.tell(Event::Tick);
        for _ in 0..run.dice.below(80) {
            run.step();
        }
        run.end();
    }
}

fn patch(stage: StageId, by: String, key: &str, value: Value) -> Event {
    let context = Object::from_iter([(key.to_owned(), value)]);
    Event::Message(Message::Patch { stage, by, roles: vec![], admin: false, allowed_accounts: vec![], context })
}
