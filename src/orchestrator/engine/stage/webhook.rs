//! `webhook`: one request, and with `waitForCompletion` a second address that is asked until it says how the work ended.
//!
//! What must stay true: a code that says "not now" (429, 5xx, and those listed) is tried again, within the task's time; a code listed to fail fast and
//! every other one fails, with the code and the answer's words. What the other side says is kept under `webhook` in the context, without its cookies.
//!
//! The first request is repeated after its instance was lost, under the same `Idempotency-Key`: at least once, as in Orca. A stage whose request
//! must not come twice says `idempotent: false` (ours) and fails in that case instead.

mod answer;
mod monitor;

use std::time::Duration;

use serde_json::Map;
use serde_json::Value;

use super::Failure;
use super::Lost;
use super::StageKind;
use super::StageSpec;
use super::Step;
use super::TaskKind;
use super::TaskResult;
use super::TaskSpec;
use super::TaskView;
use super::View;
use super::fields;
use super::fields::Check;
use super::json_path;
use super::json_path::Path;
use super::unexpected;
use crate::orchestrator::engine::advance::time::next_look;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::execution::Synthetic;
use crate::orchestrator::engine::status::Status;
use answer::Answer;
use answer::Verdict;

/// Between two tries of the first request, and for how long it is tried.
const CREATE_AGAIN: Duration = Duration::from_secs(10);
const CREATE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Codes at which the first request fails at once when the stage lists none: after a gateway's timeout nobody knows whether the call went through.
const FAIL_FAST: &[u64] = &[504];

/// Limit of one exchange.
const EXCHANGE: Duration = Duration::from_secs(30);

/// The stage.
#[derive(Debug)]
pub struct Webhook;

impl StageKind for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn tasks(&self, view: &View<'_>) -> Vec<TaskSpec> {
        let context = view.context;
        let create = (!fields::truth(context, "monitorOnly", false)).then(|| TaskSpec::new("createWebhook", "createWebhook"));
        let monitors = fields::truth(context, "waitForCompletion", false);
        let pauses = monitors && fields::number(context, "waitBeforeMonitor").is_some_and(|seconds| seconds > 0);
        let pause = pauses.then(|| TaskSpec::new("waitBeforeMonitorWebhook", "waitBeforeMonitorWebhook"));
        let monitor = monitors.then(|| TaskSpec::new("monitorWebhook", "monitorWebhook"));
        [create, pause, monitor].into_iter().flatten().collect()
    }

    fn task(&self, class: &str) -> Option<&dyn TaskKind> {
        match class {
            "createWebhook" => Some(&Create),
            "waitBeforeMonitorWebhook" => Some(&monitor::Pause),
            "monitorWebhook" => Some(&monitor::Monitor),
            _ => None,
        }
    }

    fn synthetic(&self, view: &View<'_>, _: Synthetic) -> Result<Vec<StageSpec>, Failure> {
        let watches_nothing = fields::truth(view.context, "monitorOnly", false) && !fields::truth(view.context, "waitForCompletion", false);
        if watches_nothing { Err(Failure::new("ConfigurationException", MONITOR_ONLY)) } else { Ok(Vec::new()) }
    }

    fn prepare_restart(&self, context: &mut Object, _: &Object) {
        for key in ["webhook", "statusEndpoint", "lastError"] {
            context.remove(key);
        }
    }

    fn check(&self, stage: &Object) -> Vec<(String, String)> {
        let mut check = Check::of(stage);
        check.required("url", "give the address to call").texts(&[
            "url",
            "cancelEndpoint",
            "successStatuses",
            "canceledStatuses",
            "terminalStatuses",
        ]);
        if check.known("url").and_then(Value::as_str).is_some_and(|url| !is_web(url)) {
            check.problem("/url", "must begin with http:// or https://");
        }
        check
            .word("method", METHODS)
            .word("cancelMethod", METHODS)
            .word("statusUrlResolution", &["getMethod", "locationHeader", "webhookResponse"]);
        check.flags(&["waitForCompletion", "monitorOnly", "idempotent"]).objects(&["customHeaders", "retries"]);
        check.numbers(&["waitBeforeMonitor"]);
        for key in ["failFastStatusCodes", "retryStatusCodes", "webhookRetryStatusCodes"] {
            let codes = check.known(key).and_then(Value::as_array);
            let fit = codes.is_some_and(|list| list.iter().all(|code| answer::code(code).is_some() || fields::is_expression(code)));
            if check.known(key).is_some() && !fit {
                check.problem(&format!("/{key}"), "must be a list of HTTP status codes");
            }
        }
        for key in ["statusJsonPath", "progressJsonPath", "statusUrlJsonPath"] {
            if let Some(Err(error)) = check.known(key).and_then(Value::as_str).filter(|path| !path.trim().is_empty()).map(Path::parse) {
                check.problem(&format!("/{key}"), error.to_string());
            }
        }
        if fields::text(stage, "statusUrlResolution") == Some("webhookResponse") {
            check.required("statusUrlJsonPath", "say where in the answer the address to monitor stands, such as $.links.status");
        }
        let watches =
            check.known("waitForCompletion").is_none_or(|waits| waits == &Value::Bool(true)) && stage.contains_key("waitForCompletion");
        if fields::truth(stage, "monitorOnly", false) && !watches {
            check.problem("/monitorOnly", MONITOR_ONLY);
        }
        check.done()
    }
}

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

const MONITOR_ONLY: &str = "monitorOnly needs waitForCompletion: true, or there is nothing to do";

fn is_web(url: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| url.trim().get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

/// A request of this stage, with its custom headers.
fn request(context: &Object, method: &str, url: &str, body: Option<Value>) -> Effect {
    let headers = fields::object(context, "customHeaders").into_iter().flatten().flat_map(|(name, value)| {
        let values = value.as_array().map_or_else(|| vec![fields::shown(value)], |list| list.iter().map(fields::shown).collect());
        values.into_iter().map(move |value| (name.clone(), value))
    });
    let timeout_ms = u64::try_from(EXCHANGE.as_millis()).unwrap_or(u64::MAX);
    Effect::Http { method: method.to_owned(), url: url.trim().to_owned(), headers: headers.collect(), body, timeout_ms }
}

fn method(context: &Object, key: &str) -> Result<String, Failure> {
    let method = fields::text(context, key).unwrap_or("POST").trim().to_ascii_uppercase();
    if METHODS.contains(&method.as_str()) {
        return Ok(method);
    }
    Err(Failure::new("ConfigurationException", format!("{key} is {method}; it must be one of {}", METHODS.join(", "))))
}

fn address<'a>(context: &'a Object, key: &str) -> Result<&'a str, Failure> {
    match fields::text(context, key) {
        Some(url) if is_web(url) => Ok(url),
        Some(url) => Err(Failure::new("ConfigurationException", format!("{key} is {url}; it must begin with http:// or https://"))),
        None => Err(Failure::new("ConfigurationException", format!("{key} is missing; give the address to call"))),
    }
}

/// What is kept under `webhook`, with these fields over what is there. Errors and counts of tries are those of the last answer.
fn kept(context: &Object, more: Map<String, Value>) -> Object {
    let mut kept = fields::object(context, "webhook").cloned().unwrap_or_default();
    kept.retain(|key, _| key != "error" && key != "attempts");
    kept.extend(more);
    [("webhook".to_owned(), Value::Object(kept))].into_iter().collect()
}

/// Merges into `webhook` what went wrong, and says so.
fn failed(context: &Object, mut more: Map<String, Value>, error: String) -> Failure {
    more.insert("error".to_owned(), error.clone().into());
    Failure { context: kept(context, more), ..Failure::new("WebhookException", error) }
}

#[derive(Debug)]
struct Create;

impl Create {
    fn effect(context: &Object) -> Result<Effect, Failure> {
        let method = method(context, "method")?;
        let url = address(context, "url")?;
        let body = context.get("payload").filter(|payload| !payload.is_null() && !is_safe(&method)).cloned();
        Ok(request(context, &method, url, body))
    }

    fn answered(view: &TaskView<'_>, answer: &Answer<'_>) -> Step {
        let context = view.stage.context;
        let mut said = answer.fields();
        match answer.verdict(context, FAIL_FAST) {
            Verdict::Good => {}
            Verdict::Again { attempts, pause } => {
                said.insert("attempts".to_owned(), attempts);
                said.insert("error".to_owned(), answer.words().into());
                let result = TaskResult { context: kept(context, said), ..TaskResult::default() };
                return Step::Wait { result, until: Some(next_look(view, pause.unwrap_or(CREATE_AGAIN))) };
            }
            Verdict::Bad(why) => return Step::Fail(failed(context, said, why)),
        }
        let mut result = TaskResult::of(Status::Succeeded);
        if fields::truth(context, "waitForCompletion", false) {
            match status_url(context, answer) {
                Ok(url) => {
                    said.insert("statusEndpoint".to_owned(), url.clone().into());
                    result = result.with("statusEndpoint", url);
                }
                Err(why) => return Step::Fail(failed(context, said, why)),
            }
        }
        result.context.extend(kept(context, said));
        Step::Finish(result)
    }
}

fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD")
}

/// Where the end of the work is to be asked for.
fn status_url(context: &Object, answer: &Answer<'_>) -> Result<String, String> {
    let url = fields::text(context, "url").unwrap_or_default();
    match fields::text(context, "statusUrlResolution").unwrap_or("getMethod") {
        "getMethod" => Ok(url.to_owned()),
        "locationHeader" => answer
            .header("location")
            .map(|to| beside(url, to))
            .ok_or("the answer has no Location header to monitor; use another statusUrlResolution".to_owned()),
        "webhookResponse" => {
            let path = fields::text(context, "statusUrlJsonPath")
                .ok_or("statusUrlJsonPath is missing; say where the address to monitor stands")?;
            let found = Path::parse(path)
                .and_then(|path| path.find(answer.body))
                .map_err(|e: json_path::Error| format!("statusUrlJsonPath: {e}"))?;
            found.as_str().map(|to| beside(url, to)).ok_or_else(|| format!("there is no address at statusUrlJsonPath {path} but {found}"))
        }
        other => Err(format!("statusUrlResolution is {other}; it must be getMethod, locationHeader or webhookResponse")),
    }
}

/// An address as it stands in an answer to `url`: absolute, or a path on the same server.
fn beside(url: &str, to: &str) -> String {
    let to = to.trim();
    if is_web(to) {
        return to.to_owned();
    }
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let path_at = url[after_scheme..].find(['/', '?', '#']).map_or(url.len(), |at| after_scheme + at);
    if to.starts_with("//") {
        return format!("{}{to}", &url[..after_scheme.saturating_sub(2)]);
    }
    if to.starts_with('/') {
        return format!("{}{to}", &url[..path_at]);
    }
    let path_end = url[path_at..].find(['?', '#']).map_or(url.len(), |at| path_at + at);
    let folder = url[path_at..path_end].rfind('/').map_or(path_at, |at| path_at + at);
    format!("{}/{to}", &url[..folder])
}

impl TaskKind for Create {
    fn step(&self, view: &TaskView<'_>, outcome: Option<&Outcome>) -> Step {
        let context = view.stage.context;
        match outcome {
            None => match Self::effect(context) {
                Ok(effect) => Step::Perform { result: TaskResult::default(), effect },
                Err(failure) => Step::Fail(failure),
            },
            Some(Outcome::Http { status, headers, body }) => Self::answered(view, &Answer { status: *status, headers, body }),
            Some(Outcome::Failed { error, retryable: true }) => {
                let said = [("error".to_owned(), error.as_str().into())].into_iter().collect();
                let result = TaskResult { context: kept(context, said), ..TaskResult::default() };
                Step::Wait { result, until: Some(next_look(view, CREATE_AGAIN)) }
            }
            Some(other) => Step::Fail(unexpected("the webhook could not be called", other)),
        }
    }

    fn timeout(&self, _: &TaskView<'_>) -> Option<Duration> {
        Some(CREATE_TIMEOUT)
    }

    fn last_error(&self, view: &TaskView<'_>) -> Option<String> {
        let said = fields::object(view.stage.context, "webhook")?;
        fields::text(said, "error").map(str::to_owned)
    }

    fn lost(&self, view: &TaskView<'_>) -> Lost {
        if fields::truth(view.stage.context, "idempotent", true) || self.may_move(view) {
            return Lost::Repeat;
        }
        let why = "the instance that called the webhook was lost, and whether the call arrived is not known; it is not repeated because the stage says idempotent: false. Look at the other side, then restart the stage";
        Lost::Fail(Failure::new("AttemptLostException", why))
    }

    fn may_move(&self, view: &TaskView<'_>) -> bool {
        method(view.stage.context, "method").is_ok_and(|method| is_safe(&method))
    }
}

#[cfg(test)]
mod tests;
