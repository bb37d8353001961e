//! What is demanded at the end. Executions are held against their documents, and the ledger of what jobs really did against both.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;

use serde_json::Value;

use super::fleet::definition_id;
use super::fleet::plan_of;
use super::plan;
use super::plan::Failure;
use super::plan::Manner;
use super::plan::Plan;
use super::plan::Work;
use super::trouble::Record;

/// Lines of the ledger about one job: where each stands among all.
#[derive(Default)]
struct Entries {
    begins: Vec<usize>,
    ends: Vec<usize>,
}

/// The ledger by execution and stage; keys that began, each with how often.
struct Ledger {
    jobs: HashMap<(String, usize), Entries>,
    keys: HashMap<String, usize>,
}

/// What was seen, for people.
#[derive(Default)]
pub struct Figures {
    by_status: BTreeMap<String, usize>,
    stages: usize,
    jobs: usize,
    jobs_again: usize,
    jobs_lost: usize,
}

/// Checks everything; answers the figures and all that is wrong.
pub struct Verdict<'a> {
    plans: &'a [Plan],
    record: &'a Record,
    ledger: Ledger,
    executions: HashMap<String, &'a Value>,
    /// Executions by the stage that started them: parent, stage id.
    children: HashMap<(String, String), Vec<&'a Value>>,
    wrong: Vec<String>,
    figures: Figures,
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

impl Ledger {
    fn read(text: &str) -> Self {
        let mut ledger = Self { jobs: HashMap::new(), keys: HashMap::new() };
        for (line, words) in text.lines().enumerate() {
            let words: Vec<&str> = words.split(' ').collect();
            let [word, execution, stage, key] = words[..] else { panic!("not a line of ours: {words:?}") };
            let job = ledger.jobs.entry((execution.to_owned(), stage.parse().expect("a place"))).or_default();
            if word == "begin" {
                job.begins.push(line);
                *ledger.keys.entry(key.to_owned()).or_default() += 1;
            } else {
                job.ends.push(line);
            }
        }
        ledger
    }
}

impl<'a> Verdict<'a> {
    pub fn of(
        plans: &'a [Plan],
        executions: &'a [Value],
        started: &BTreeSet<String>,
        ledger: &str,
        record: &'a Record,
    ) -> (String, Vec<String>) {
        let mut children: HashMap<_, Vec<_>> = HashMap::new();
        for execution in executions {
            let trigger = &execution["trigger"];
            if let Some(parent) = trigger["parentExecution"]["id"].as_str() {
                children.entry((parent.to_owned(), text(trigger, "parentPipelineStageId").to_owned())).or_default().push(execution);
            }
        }
        let by_id = executions.iter().map(|execution| (text(execution, "id").to_owned(), execution)).collect();
        let mut verdict = Self {
            plans,
            record,
            ledger: Ledger::read(ledger),
            executions: by_id,
            children,
            wrong: Vec::new(),
            figures: Figures::default(),
        };
        for id in started {
            if !verdict.executions.contains_key(id) {
                verdict.wrong.push(format!("{id} was started, and is lost"));
            }
        }
        for execution in executions {
            verdict.execution(execution);
        }
        verdict.no_work_of_nobody();
        verdict.one_by_one(executions);
        let Figures { by_status, stages, jobs, jobs_again, jobs_lost } = &verdict.figures;
        let figures = format!(
            "{} executions {by_status:?}, {stages} stages, {jobs} jobs, of them begun more than once since they may {jobs_again}, lost with their host {jobs_lost}",
            executions.len()
        );
        (figures, verdict.wrong)
    }

    fn fault(&mut self, execution: &Value, what: impl std::fmt::Display) {
        let (id, name) = (text(execution, "id"), text(execution, "name"));
        self.wrong.push(format!("{id} ({name}): {what}"));
    }

    /// An execution came to what its document says.
    fn execution(&mut self, execution: &'a Value) {
        let plan = &self.plans[plan_of(execution)];
        let id = text(execution, "id").to_owned();
        let all = execution["stages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut stages = Vec::new();
        for at in 0..plan.steps.len() {
            let Some(stage) = all.iter().find(|stage| text(stage, "refId") == at.to_string().as_str()) else {
                return self.fault(execution, format_args!("stage {at} is gone"));
            };
            stages.push(stage);
        }
        let lost: BTreeSet<usize> = stages.iter().enumerate().filter(|(_, stage)| is_lost(stage)).map(|(at, _)| at).collect();
        let child = |at: usize| self.child(&id, stages[at]).map_or("TERMINAL", |child| plan::word(text(child, "status")));
        let (wanted, status) = plan.ends(&lost, child);
        let seen = text(execution, "status");
        // The end of a parent calls its children off, unless they were quicker.
        let called_off = seen == "CANCELED" && execution["trigger"]["parentExecution"].is_object();
        *self.figures.by_status.entry(seen.to_owned()).or_default() += 1;
        if called_off {
            let parent = self.executions.get(text(&execution["trigger"]["parentExecution"], "id"));
            if parent.is_none_or(|parent| text(parent, "status") == "SUCCEEDED") {
                self.fault(execution, "is called off, and its parent went well");
            }
        } else if seen != status {
            self.fault(execution, format_args!("is {seen}, its document says {status}"));
        }
        let whole = seen == "SUCCEEDED" && status == seen;
        for (at, (stage, wanted)) in stages.iter().zip(&wanted).enumerate() {
            let (seen, wanted) = (text(stage, "status"), wanted.unwrap_or("NOT_STARTED"));
            self.figures.stages += 1;
            // What ends early stops what it has under way and begins nothing more.
            if seen != wanted && (whole || !matches!(seen, "CANCELED" | "NOT_STARTED")) {
                self.fault(execution, format_args!("stage {at} is {seen}, its document says {wanted}"));
            }
            match &plan.steps[at].work {
                Work::Job { idempotent, .. } => self.job(execution, at, stage, *idempotent),
                Work::Wait { s } if seen == "SUCCEEDED" => {
                    let waited = stage["endTime"].as_i64().unwrap_or(0) - stage["startTime"].as_i64().unwrap_or(0);
                    if waited < i64::from(*s) * 1000 {
                        self.fault(execution, format_args!("stage {at} waited {waited} ms instead of {s} s"));
                    }
                }
                Work::Child { of } => {
                    let children = self.children.get(&(id.clone(), text(stage, "id").to_owned())).map_or(&[][..], Vec::as_slice);
                    let strange = children.iter().any(|child| text(child, "pipelineConfigId") != definition_id(*of));
                    let count = children.len();
                    if count > 1 || strange || (count == 0 && seen == "SUCCEEDED") {
                        self.fault(execution, format_args!("stage {at} has {count} children, strangers among them: {strange}"));
                    }
                }
                Work::Wait { .. } | Work::Say | Work::Check { .. } | Work::Judge { .. } => {}
            }
        }
        self.order(execution, plan, &stages);
    }

    fn child(&self, parent: &str, stage: &Value) -> Option<&'a Value> {
        self.children.get(&(parent.to_owned(), text(stage, "id").to_owned()))?.first().copied()
    }

    /// A job did what its stage says: once, unless it may be repeated.
    fn job(&mut self, execution: &Value, at: usize, stage: &Value, idempotent: bool) {
        let entries = self.ledger.jobs.get(&(text(execution, "id").to_owned(), at));
        let (begins, ends) = entries.map_or((0, 0), |entries| (entries.begins.len(), entries.ends.len()));
        self.figures.jobs += usize::from(begins > 0);
        self.figures.jobs_again += usize::from(begins > 1);
        let status = text(stage, "status");
        let mut wrong = Vec::new();
        if !idempotent && begins > 1 {
            wrong.push(format!("began {begins} times and is not marked idempotent"));
        }
        if status == "NOT_STARTED" && begins > 0 {
            wrong.push("began, and its stage never did".to_owned());
        }
        if is_lost(stage) {
            self.figures.jobs_lost += 1;
            if idempotent {
                wrong.push("counts as lost, and may be repeated".to_owned());
            }
            let (from, to) = (stage["startTime"].as_i64().unwrap_or(0), stage["endTime"].as_i64().unwrap_or(i64::MAX));
            let said = stage.to_string();
            let host = said
                .split("lost with instance ")
                .nth(1)
                .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '-').collect());
            let host: String = host.unwrap_or_default();
            if !self.record.excuses(&host, from, to) {
                wrong.push(format!("counts as lost with {host:?}, which was well"));
            }
        } else if matches!(status, "SUCCEEDED" | "TERMINAL" | "FAILED_CONTINUE" | "STOPPED") && (begins == 0 || ends == 0) {
            wrong.push(format!("is {status}, and began {begins} times and ended {ends} times"));
        }
        for what in wrong {
            self.fault(execution, format_args!("the job of stage {at} {what}"));
        }
    }

    /// No job began before those upstream of it that went well had ended, by the ledger.
    fn order(&mut self, execution: &Value, plan: &Plan, stages: &[&Value]) {
        let id = text(execution, "id");
        let jobs = |at: &usize| self.ledger.jobs.get(&(id.to_owned(), *at));
        let mut wrong = Vec::new();
        for later in 0..stages.len() {
            let Some(first) = jobs(&later).and_then(|entries| entries.begins.first()) else { continue };
            for (earlier, before) in stages[..later].iter().enumerate() {
                // One that may be repeated ends once more on a host that was cut off.
                if !plan.follows(later, earlier) || text(before, "status") != "SUCCEEDED" {
                    continue;
                }
                if let Some(end) = jobs(&earlier).and_then(|entries| entries.ends.first())
                    && end > first
                {
                    wrong.push(format!("the job of stage {later} began before that of stage {earlier} had ended"));
                }
            }
        }
        for what in wrong {
            self.fault(execution, what);
        }
    }

    /// Every line of the ledger belongs to an execution, and keys that may not be repeated are there once.
    fn no_work_of_nobody(&mut self) {
        let strangers: Vec<String> = self
            .ledger
            .jobs
            .keys()
            .filter(|(id, _)| !self.executions.contains_key(id))
            .map(|(id, at)| format!("{id} stage {at}"))
            .collect();
        self.wrong.extend(strangers.into_iter().map(|who| format!("{who} is in the ledger, and there is no such execution")));
        let parts = self.ledger.jobs.values().map(|entries| entries.begins.len()).sum::<usize>();
        let keys = self.ledger.keys.values().sum::<usize>();
        if parts != keys {
            self.wrong.push(format!("{keys} entries by key, {parts} by stage"));
        }
    }

    /// Executions of a pipeline that runs one at a time did not overlap.
    fn one_by_one(&mut self, executions: &'a [Value]) {
        for (at, _) in self.plans.iter().enumerate().filter(|(_, plan)| plan.manner == Manner::OneByOne) {
            let times = |e: &&Value| Some((e["startTime"].as_i64()?, e["endTime"].as_i64()?));
            let mut runs: Vec<_> = executions
                .iter()
                .filter(|e| plan_of(e) == at)
                .filter_map(|e| times(&e).map(|(from, to)| (from, to, text(e, "id"))))
                .collect();
            runs.sort_unstable();
            for pair in runs.windows(2) {
                if pair[1].0 < pair[0].1 {
                    self.wrong.push(format!("{} began {} ms before {} had ended", pair[1].2, pair[0].1 - pair[1].0, pair[0].2));
                }
            }
        }
    }
}

fn is_lost(stage: &Value) -> bool {
    stage["context"]["exception"]["exceptionType"] == "JobLostException"
}

#[test]
fn the_verdict_sees_a_job_that_ran_twice_one_that_is_missing_and_a_wrong_end() {
    use super::plan::Step;
    let step = |after, idempotent| Step { after, work: Work::Job { code: 0, idempotent, ms: 0 }, failure: Failure::Fails };
    let plans = [Plan { name: "p".to_owned(), manner: Manner::Usual, steps: vec![step(vec![], false), step(vec![0], true)] }];
    let stage = |at: usize| serde_json::json!({"id": format!("E-{at}"), "refId": at.to_string(), "status": "SUCCEEDED", "context": {}});
    let execution = |status: &str| serde_json::json!({"id": "E", "name": "p", "pipelineConfigId": "plan-0", "status": status, "stages": [stage(0), stage(1)], "trigger": {}});
    let judge = |status: &str, ledger: &str| {
        let executions = [execution(status)];
        Verdict::of(&plans, &executions, &BTreeSet::from(["E".to_owned()]), ledger, &Record::default()).1
    };
    let good = "begin E 0 k0\nend E 0 k0\nbegin E 1 k1\nbegin E 1 k1\nend E 1 k1\n";
    assert_eq!(judge("SUCCEEDED", good), Vec::<String>::new());
    for (status, ledger, what) in [
        ("TERMINAL", good, "is TERMINAL, its document says SUCCEEDED"),
        ("SUCCEEDED", "begin E 0 k0\nbegin E 0 k0\nend E 0 k0\nbegin E 1 k1\nend E 1 k1\n", "began 2 times"),
        ("SUCCEEDED", "begin E 0 k0\nend E 0 k0\n", "began 0 times"),
        ("SUCCEEDED", "begin E 1 k1\nbegin E 0 k0\nend E 0 k0\nend E 1 k1\n", "began before"),
        ("SUCCEEDED", "begin E 0 k0\nend E 0 k0\nbegin E 1 k1\nend E 1 k1\nbegin F 1 k\n", "there is no such execution"),
    ] {
        let wrong = judge(status, ledger);
        assert!(wrong.iter().any(|wrong| wrong.contains(what)), "{what}: {wrong:?}");
    }
}
