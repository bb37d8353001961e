//! What a server answered, and what its code means.

use std::time::Duration;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::super::fields;
use crate::orchestrator::engine::execution::Object;

/// Most tries that a stage may ask for by code.
const MAX_ATTEMPTS: u64 = 1000;

/// Longest pause a server may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// Most characters of an answer that are quoted in an error.
const QUOTED: usize = 500;

pub struct Answer<'a> {
    pub status: u16,
    /// Names in lower case.
    pub headers: &'a [(String, String)],
    pub body: &'a Value,
}

/// What a code means.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// 2xx or 3xx.
    Good,
    /// Not now. `attempts` counts tries by code where the stage limits them.
    Again { attempts: Value, pause: Option<Duration> },
    /// It failed: why.
    Bad(String),
}

impl Answer<'_> {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// As it is kept in the context.
    pub fn fields(&self) -> Map<String, Value> {
        let shown = self.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("set-cookie"));
        let headers: Map<String, Value> = shown.map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let fields = json!({"statusCode": name(self.status), "statusCodeValue": self.status, "body": self.body, "headers": headers});
        fields.as_object().cloned().unwrap_or_default()
    }

    /// Code and body, for an error.
    pub fn words(&self) -> String {
        let body: String = fields::shown(self.body).chars().take(QUOTED).collect();
        let body = if self.body.is_null() || body.trim().is_empty() { String::new() } else { format!(": {body}") };
        format!("the server answered {} {}{body}", self.status, name(self.status))
    }

    /// What the code means for this stage: `failFastStatusCodes` (these, when absent) outrank `retries`, which outrank the codes that say "not now".
    pub fn verdict(&self, context: &Object, fail_fast: &[u64]) -> Verdict {
        let code = u64::from(self.status);
        let listed = context.get("failFastStatusCodes").map(|_| codes(context, "failFastStatusCodes"));
        let fail_fast = listed.as_deref().unwrap_or(fail_fast);
        if fail_fast.contains(&code) {
            return Verdict::Bad(format!("{}; the stage fails at once on this code", self.words()));
        }
        if (200..400).contains(&code) {
            return Verdict::Good;
        }
        // The context is the author's to write: what is no count of tries counts none.
        let kept = fields::object(context, "webhook").and_then(|kept| kept.get("attempts")?.as_object());
        let mut attempts = Value::Object(kept.cloned().unwrap_or_default());
        if let Some(retry) = fields::object(context, "retries").and_then(|retries| retries.get(&code.to_string())) {
            let field = |key| retry.as_object().and_then(|fields| fields::number(fields, key));
            let most = retry.as_u64().or_else(|| field("maxAttempts")).unwrap_or(0).min(MAX_ATTEMPTS);
            let made = attempts.get(code.to_string()).and_then(Value::as_u64).unwrap_or(0).saturating_add(1);
            if made >= most {
                return Verdict::Bad(format!("{}; tried {made} times", self.words()));
            }
            attempts[code.to_string()] = made.into();
            return Verdict::Again { attempts, pause: field("backoffInMs").map(Duration::from_millis).map(|pause| pause.min(MAX_PAUSE)) };
        }
        let not_now = code == 429
            || code >= 500
            || ["retryStatusCodes", "webhookRetryStatusCodes"].iter().any(|key| codes(context, key).contains(&code));
        if !not_now {
            return Verdict::Bad(self.words());
        }
        let asked = self.header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        Verdict::Again { attempts, pause: asked.map(|pause| pause.clamp(Duration::from_secs(1), MAX_PAUSE)) }
    }
}

/// A status code, as a number or a text.
pub fn code(value: &Value) -> Option<u64> {
    let code = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())?;
    (100..600).contains(&code).then_some(code)
}

fn codes(context: &Object, key: &str) -> Vec<u64> {
    fields::texts(context, key).iter().filter_map(|text| text.parse().ok()).collect()
}

/// The name of a code, as Orca stores it.
fn name(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "CREATED",
        202 => "ACCEPTED",
        204 => "NO_CONTENT",
        301 => "MOVED_PERMANENTLY",
        302 => "FOUND",
        303 => "SEE_OTHER",
        304 => "NOT_MODIFIED",
        307 => "TEMPORARY_REDIRECT",
        308 => "PERMANENT_REDIRECT",
        400 => "BAD_REQUEST",
        401 => "UNAUTHORIZED",
        403 => "FORBIDDEN",
        404 => "NOT_FOUND",
        405 => "METHOD_NOT_ALLOWED",
        408 => "REQUEST_TIMEOUT",
        409 => "CONFLICT",
        410 => "GONE",
        413 => "PAYLOAD_TOO_LARGE",
        415 => "UNSUPPORTED_MEDIA_TYPE",
        422 => "UNPROCESSABLE_ENTITY",
        429 => "TOO_MANY_REQUESTS",
        500 => "INTERNAL_SERVER_ERROR",
        501 => "NOT_IMPLEMENTED",
        502 => "BAD_GATEWAY",
        503 => "SERVICE_UNAVAILABLE",
        504 => "GATEWAY_TIMEOUT",
        other => match other / 100 {
            2 => "SUCCESSFUL",
            3 => "REDIRECTION",
            4 => "CLIENT_ERROR",
            _ => "SERVER_ERROR",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_that_are_no_counts_count_as_none() {
        let context = json!({"retries": {"503": 3}, "webhook": {"attempts": "many"}});
        let answer = Answer { status: 503, headers: &[], body: &Value::Null };
        let verdict = answer.verdict(context.as_object().expect("an object"), &[]);
        assert_eq!(verdict, Verdict::Again { attempts: json!({"503": 1}), pause: None });
    }
}
