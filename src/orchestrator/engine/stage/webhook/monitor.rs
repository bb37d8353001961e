//! Asks how the work ended that a webhook began.

use std::time::Duration;

use serde_json::Map;
use serde_json::Value;

use super::answer::Answer;
use super::answer::Verdict;
use super::*;
use crate::orchestrator::engine::advance::time::next_look;

/// How long it is asked when `stageTimeoutMs` does not say.
const TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// Asked every second in the first minute, then every 15 seconds.
const SOON: Duration = Duration::from_secs(1);
const SOON_FOR: Duration = Duration::from_secs(60);
const LATER: Duration = Duration::from_secs(15);

/// Waits `waitBeforeMonitor` seconds, from the end of the first request.
#[derive(Debug)]
pub struct Pause;

impl TaskKind for Pause {
    fn step(&self, view: &TaskView<'_>, _: Option<&Outcome>) -> Step {
        let seconds = fields::number(view.stage.context, "waitBeforeMonitor").unwrap_or(0);
        let end = view.task().start_time.unwrap_or(view.stage.now).plus(Duration::from_secs(seconds));
        if end <= view.stage.now {
            return Step::Finish(TaskResult::of(Status::Succeeded));
        }
        Step::Wait { result: TaskResult::default(), until: Some(end) }
    }

    fn on_cancel(&self, view: &TaskView<'_>) -> Option<Effect> {
        call_off(view)
    }
}

#[derive(Debug)]
pub struct Monitor;

impl TaskKind for Monitor {
    fn step(&self, view: &TaskView<'_>, outcome: Option<&Outcome>) -> Step {
        let context = view.stage.context;
        let period = if view.elapsed() > SOON_FOR { LATER } else { SOON };
        match outcome {
            None => {
                let key = if fields::text(context, "statusEndpoint").is_some() { "statusEndpoint" } else { "url" };
                match address(context, key) {
                    Ok(url) => Step::Perform { result: TaskResult::default(), effect: request(context, "GET", url, None) },
                    Err(failure) => Step::Fail(failure),
                }
            }
            Some(Outcome::Http { status, headers, body }) => {
                let answer = Answer { status: *status, headers, body };
                let mut said = answer.fields();
                match answer.verdict(context, &[]) {
                    Verdict::Good => {
                        let verdict = judge(context, &answer, &mut said);
                        finish(view, said, verdict, period)
                    }
                    Verdict::Again { attempts, pause } => {
                        said.insert("error".to_owned(), answer.words().into());
                        wait(view, said, Some(attempts), pause.unwrap_or(period))
                    }
                    Verdict::Bad(why) => finish(view, said, Err(why), period),
                }
            }
            Some(Outcome::Failed { error, retryable: true }) => {
                let said = [("error".to_owned(), error.as_str().into())].into_iter().collect();
                wait(view, said, None, period)
            }
            Some(other) => Step::Fail(unexpected("the status of the webhook could not be asked for", other)),
        }
    }

    fn timeout(&self, _: &TaskView<'_>) -> Option<Duration> {
        Some(TIMEOUT)
    }

    fn timeout_is_overridable(&self) -> bool {
        true
    }

    fn last_error(&self, view: &TaskView<'_>) -> Option<String> {
        let said = fields::object(fields::object(view.stage.context, "webhook")?, "monitor")?;
        fields::text(said, "error").map(str::to_owned)
    }

    fn on_cancel(&self, view: &TaskView<'_>) -> Option<Effect> {
        call_off(view)
    }
}

/// The request that calls the work off, when the stage has an address for it.
fn call_off(view: &TaskView<'_>) -> Option<Effect> {
    let context = view.stage.context;
    let url = address(context, "cancelEndpoint").ok()?;
    let method = method(context, "cancelMethod").ok()?;
    let body = context.get("cancelPayload").filter(|payload| !payload.is_null() && !is_safe(&method)).cloned();
    Some(request(context, &method, url, body))
}

fn monitored(context: &Object, said: Map<String, Value>, attempts: Option<Value>) -> Object {
    let attempts = attempts.map(|attempts| ("attempts".to_owned(), attempts));
    kept(context, [("monitor".to_owned(), Value::Object(said))].into_iter().chain(attempts).collect())
}

fn wait(view: &TaskView<'_>, said: Map<String, Value>, attempts: Option<Value>, period: Duration) -> Step {
    let result = TaskResult { context: monitored(view.stage.context, said, attempts), ..TaskResult::default() };
    Step::Wait { result, until: Some(next_look(view, period)) }
}

fn finish(view: &TaskView<'_>, mut said: Map<String, Value>, verdict: Result<Status, String>, period: Duration) -> Step {
    match verdict {
        Ok(Status::Running) => wait(view, said, None, period),
        Ok(status) => Step::Finish(TaskResult { status, context: monitored(view.stage.context, said, None), ..TaskResult::default() }),
        Err(why) => {
            said.insert("error".to_owned(), why.clone().into());
            Step::Fail(Failure { context: monitored(view.stage.context, said, None), ..Failure::new("WebhookException", why) })
        }
    }
}

/// What a good answer says of the work; adds progress to what is kept.
fn judge(context: &Object, answer: &Answer<'_>, said: &mut Map<String, Value>) -> Result<Status, String> {
    if let Some(path) = fields::text(context, "progressJsonPath") {
        let progress = plain(path, answer.body).map_err(|e| format!("progressJsonPath: {e}"))?;
        said.insert("progressMessage".to_owned(), fields::shown(&progress).into());
    }
    let Some(path) = fields::text(context, "statusJsonPath") else { return Ok(Status::Succeeded) };
    let value = plain(path, answer.body).map_err(|e| format!("statusJsonPath: {e}"))?;
    if let Some(percent) = value.as_f64() {
        said.insert("percentComplete".to_owned(), value);
        return Ok(if percent == 100.0 { Status::Succeeded } else { Status::Running });
    }
    let word = fields::shown(&value);
    let listed = |key| fields::texts(context, key).iter().any(|status| status.eq_ignore_ascii_case(word.trim()));
    if listed("successStatuses") {
        return Ok(Status::Succeeded);
    }
    if listed("canceledStatuses") {
        return Ok(Status::Canceled);
    }
    if listed("terminalStatuses") {
        return Err(format!("the work ended as {word}, which terminalStatuses lists"));
    }
    Ok(Status::Running)
}

/// The text, number or boolean at a path.
fn plain(path: &str, body: &Value) -> Result<Value, String> {
    let found = Path::parse(path).and_then(|path| path.find(body)).map_err(|e| e.to_string())?;
    match found {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => Ok(found),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(format!("{path} has to lead to one text or number, and leads to {}", short(&found)))
        }
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(100).collect()
}
