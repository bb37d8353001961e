//! `runJob`: a command on the instance that owns the execution. No shell: `command` is a list of the program and its arguments.
//!
//! ```text
//! {"type": "runJob", "command": ["make", "deploy"], "env": {"STAGE": "prod"}, "directory": "/srv/app", "stageTimeoutMs": 600000, "idempotent": true}
//! ```
//!
//! What must stay true: a job whose instance crashed is found again while it runs, by its key; a job that was lost is begun anew only when it is
//! marked `idempotent`, else the stage fails and says that nobody knows how far it came.
//!
//! What comes of it: `exitCode`, `stdout`, `stderr` (their ends) and `lastLine` in the context. When the last line of the output, or all of it, is a JSON
//! object, its keys are the stage's outputs. An exit code that is not 0 fails the stage.

use std::time::Duration;

use serde_json::Value;

use super::Failure;
use super::LAST_ERROR;
use super::Lost;
use super::StageKind;
use super::Step;
use super::TaskKind;
use super::TaskResult;
use super::TaskSpec;
use super::TaskView;
use super::View;
use super::fields;
use super::fields::Check;
use super::judgment;
use super::unexpected;
use crate::orchestrator::engine::advance::time::next_look;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::status::Status;

/// How long a job runs when `stageTimeoutMs` does not say.
const TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// Left for the job's own end to be reported, before the engine gives the task up.
const GRACE: Duration = Duration::from_secs(30);

/// Before a job that could not be started, for want of processes or memory, is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(15);

/// Most bytes kept of each of a job's two outputs. It is written to the store with the stage.
const KEEP_BYTES: u64 = 64 * 1024;

/// Variable that tells a job who acts: whoever started the execution, or the judge who took over.
const USER: &str = "BELLROCK_USER";

/// Lines of the error output that are quoted in an error.
const QUOTED_LINES: usize = 5;

/// The stage.
#[derive(Debug)]
pub struct RunJob;

impl StageKind for RunJob {
    fn name(&self) -> &'static str {
        "runJob"
    }

    fn tasks(&self, _: &View<'_>) -> Vec<TaskSpec> {
        vec![TaskSpec::new("runJob", "runJob")]
    }

    fn task(&self, class: &str) -> Option<&dyn TaskKind> {
        (class == "runJob").then_some(&Run)
    }

    fn prepare_restart(&self, context: &mut Object, _: &Object) {
        for key in ["exitCode", "stdout", "stderr", "lastLine", "droppedBytes", LAST_ERROR] {
            context.remove(key);
        }
    }

    fn check(&self, stage: &Object) -> Vec<(String, String)> {
        let mut check = Check::of(stage);
        check.required("command", "list the program and its arguments, such as [\"make\", \"deploy\"]");
        match check.known("command") {
            None => {}
            Some(Value::String(_)) => {
                check.problem("/command", "must be a list; for a shell's command line write [\"sh\", \"-c\", \"…\"]");
            }
            Some(_) => {
                check.lists(&["command"]);
            }
        }
        check.objects(&["env"]).texts(&["directory"]).flags(&["idempotent"]);
        if let Some(env) = fields::object(stage, "env") {
            for (name, value) in env {
                if !is_variable(name) {
                    check.problem("/env", format!("{name:?} is no name of a variable"));
                }
                if value.is_object() || value.is_array() {
                    check.problem("/env", format!("{name} must be a text"));
                }
            }
        }
        check.done()
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

#[derive(Debug)]
struct Run;

fn limit(context: &Object) -> Duration {
    context.get("stageTimeoutMs").and_then(Value::as_u64).map_or(TIMEOUT, Duration::from_millis)
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn is_idempotent(view: &TaskView<'_>) -> bool {
    fields::truth(view.stage.context, "idempotent", false)
}

fn effect(view: View<'_>) -> Result<Effect, Failure> {
    let context = view.context;
    let wrong = |what: String| Failure::new("ConfigurationException", what);
    let list = context.get("command").and_then(Value::as_array).filter(|list| !list.is_empty());
    let Some(list) = list else {
        return Err(wrong(
            "command must be a list of the program and its arguments; for a shell's command line write [\"sh\", \"-c\", \"…\"]".to_owned(),
        ));
    };
    let argv: Vec<String> = list.iter().map(fields::shown).collect();
    let own = fields::object(context, "env").into_iter().flatten().filter(|(name, _)| *name != USER);
    let mut env: Vec<(String, String)> = own.map(|(name, value)| (name.clone(), fields::shown(value))).collect();
    env.push((USER.to_owned(), judgment::acting_user(view.execution, view.at).to_owned()));
    if argv[0].is_empty() || argv.iter().any(|word| word.contains('\0')) {
        return Err(wrong("the program's name is empty, or there is a zero byte in the command".to_owned()));
    }
    if let Some((name, _)) = env.iter().find(|(name, value)| !is_variable(name) || value.contains('\0')) {
        return Err(wrong(format!("{name:?} and its value cannot stand in an environment")));
    }
    let directory = fields::text(context, "directory").map(str::to_owned);
    let idempotent = fields::truth(context, "idempotent", false);
    Ok(Effect::Job { argv, env, directory, timeout_ms: ms(limit(context)), keep_bytes: KEEP_BYTES, idempotent })
}

impl TaskKind for Run {
    fn step(&self, view: &TaskView<'_>, outcome: Option<&Outcome>) -> Step {
        let begin = || match effect(view.stage) {
            Ok(effect) => Step::Perform { result: TaskResult::default(), effect },
            Err(failure) => Step::Fail(failure),
        };
        match outcome {
            None => begin(),
            Some(Outcome::JobLost) if is_idempotent(view) => begin(),
            Some(Outcome::JobLost) => Step::Fail(lost(view)),
            Some(Outcome::Job { code, signal, timed_out, stdout, stderr, dropped_bytes }) => {
                let ended = Ended { code: *code, signal: *signal, timed_out: *timed_out, stdout, stderr, dropped_bytes: *dropped_bytes };
                ended.step(view.stage.context)
            }
            Some(Outcome::Failed { error, retryable: true }) => {
                let result = TaskResult::default().with(LAST_ERROR, error.as_str());
                Step::Wait { result, until: Some(next_look(view, TRY_AGAIN)) }
            }
            Some(other) => Step::Fail(unexpected("the job could not be run", other)),
        }
    }

    fn timeout(&self, view: &TaskView<'_>) -> Option<Duration> {
        Some(limit(view.stage.context).saturating_add(GRACE))
    }

    fn lost(&self, view: &TaskView<'_>) -> Lost {
        Lost::Ask(Effect::AttachJob { timeout_ms: ms(limit(view.stage.context)), keep_bytes: KEEP_BYTES })
    }

    fn may_move(&self, view: &TaskView<'_>) -> bool {
        is_idempotent(view)
    }

    /// Also when nobody follows the job any more: its owner may have died with the execution already called off.
    fn on_cancel(&self, view: &TaskView<'_>) -> Option<Effect> {
        view.attempt().map(|_| Effect::StopJob {})
    }
}

fn lost(view: &TaskView<'_>) -> Failure {
    let place = view.attempt().map(|attempt| attempt.instance.as_str()).filter(|instance| !instance.is_empty());
    let place = place.map_or_else(|| "its instance".to_owned(), |instance| format!("instance {instance}"));
    let why = format!(
        "the job was lost with {place}, and how far it came is not known; it is not run again because it is not marked idempotent: true. \
         Look at what it did, then restart the stage"
    );
    Failure::new("JobLostException", why)
}

/// A job that ended.
struct Ended<'a> {
    code: Option<i32>,
    signal: Option<i32>,
    timed_out: bool,
    stdout: &'a str,
    stderr: &'a str,
    dropped_bytes: u64,
}

impl Ended<'_> {
    fn step(&self, context: &Object) -> Step {
        let mut result =
            TaskResult::of(Status::Succeeded).with("exitCode", self.code).with("stdout", self.stdout).with("stderr", self.stderr);
        let last = self.stdout.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        result = result.with("lastLine", last.trim());
        if self.dropped_bytes > 0 {
            result = result.with("droppedBytes", self.dropped_bytes);
        }
        if let Some(error) = self.error(context) {
            return Step::Fail(Failure { context: result.context, ..Failure::new("JobFailedException", error) });
        }
        let object = |text: &str| serde_json::from_str::<Object>(text.trim()).ok();
        result.outputs = object(last).or_else(|| object(self.stdout)).unwrap_or_default();
        Step::Finish(result)
    }

    fn error(&self, context: &Object) -> Option<String> {
        let program = context.get("command").and_then(|command| command.get(0)).map(fields::shown).unwrap_or_default();
        let what = match (self.timed_out, self.code, self.signal) {
            (true, _, _) => format!("was ended because it ran longer than {} s, its stageTimeoutMs", limit(context).as_secs()),
            (false, Some(0), _) => return None,
            (false, Some(code), _) => format!("ended with exit code {code}"),
            (false, None, Some(signal)) => format!("was ended by signal {signal}"),
            (false, None, None) => "ended, and nobody knows how".to_owned(),
        };
        let lines: Vec<&str> = self.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
        let quoted = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n");
        Some(if quoted.is_empty() { format!("{program} {what}") } else { format!("{program} {what}; it said: {quoted}") })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::rig::Rig;
    use super::*;

    fn job(code: Option<i32>, stdout: &str, stderr: &str) -> Outcome {
        let signal = code.is_none().then_some(9);
        Outcome::Job { code, signal, timed_out: false, stdout: stdout.to_owned(), stderr: stderr.to_owned(), dropped_bytes: 0 }
    }

    fn rig() -> Rig {
        Rig::new(RunJob, json!({"command": ["make", 5], "env": {"N": 1}, "stageTimeoutMs": 60_000}))
    }

    #[test]
    fn runs_the_program_with_its_arguments_and_limits() {
        let mut rig = rig();
        rig.execution.summary_mut().authentication.user = "ann".to_owned();
        rig.context()["env"]["BELLROCK_USER"] = json!("somebody else");
        let Effect::Job { argv, env, timeout_ms, .. } = rig.effect(None) else { panic!() };
        let env: Vec<String> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!((argv, timeout_ms), (vec!["make".to_owned(), "5".to_owned()], 60_000));
        assert_eq!(env, ["N=1", "BELLROCK_USER=ann"], "who acts is not the stage's to say");
        assert_eq!(rig.timeout(), Some(Duration::from_secs(90)), "the job's own end is heard first");
    }

    #[test]
    fn a_json_object_at_the_end_of_the_output_is_the_stages_outputs() {
        for (stdout, wanted) in [
            ("building\n{\"version\": 3}\n\n", json!({"version": 3})),
            ("{\n\"a\": 1\n}", json!({"a": 1})),
            ("done 7", json!({})),
            ("[1]", json!({})),
        ] {
            let result = rig().finish(Some(&job(Some(0), stdout, "")));
            assert_eq!((result.status, Value::Object(result.outputs)), (Status::Succeeded, wanted), "{stdout}");
        }
        assert_eq!(rig().finish(Some(&job(Some(0), "x\n done 7 \n", ""))).context["lastLine"], "done 7");
    }

    #[test]
    fn a_failed_job_says_how_it_ended_and_its_last_words() {
        let mut failed = rig();
        let (_, error) = failed.failure(Some(&job(Some(2), "", "a\nb\n\nno rule\n")));
        assert_eq!(error, "make ended with exit code 2; it said: a\nb\nno rule");
        assert_eq!(failed.context()["exitCode"], 2);
        assert_eq!(rig().failure(Some(&job(None, "", ""))).1, "make was ended by signal 9");
        let late =
            Outcome::Job { code: None, signal: Some(15), timed_out: true, stdout: String::new(), stderr: String::new(), dropped_bytes: 3 };
        assert_eq!(rig().failure(Some(&late)).1, "make was ended because it ran longer than 60 s, its stageTimeoutMs");
    }

    #[test]
    fn a_lost_job_is_asked_for_and_begun_anew_only_when_it_is_idempotent() {
        let mut rig = rig();
        assert!(matches!(rig.lost(), Lost::Ask(Effect::AttachJob { timeout_ms: 60_000, .. })));
        let (kind, error) = rig.failure(Some(&Outcome::JobLost));
        assert!(kind == "JobLostException" && error.contains("idempotent: true"), "{error}");
        rig.set("idempotent", true);
        assert!(matches!(rig.effect(Some(&Outcome::JobLost)), Effect::Job { .. }));
    }

    #[test]
    fn what_cannot_be_a_command_is_refused_with_what_to_write() {
        for bad in [
            json!({}),
            json!({"command": []}),
            json!({"command": "make all"}),
            json!({"command": [""]}),
            json!({"command": ["a"], "env": {"": "x"}}),
        ] {
            assert_eq!(Rig::new(RunJob, bad.clone()).failure(None).0, "ConfigurationException", "{bad}");
        }
        let bad = json!({"command": "make all", "env": {"a=b": []}, "idempotent": "true"});
        let problems = RunJob.check(bad.as_object().unwrap());
        assert!(problems.len() == 4 && problems[0].1.contains("sh"), "{problems:?}");
    }
}
