//! The intake switch: closed and opened by one call, believed only when a read says so (F11).

use std::time::Duration;

use reqwest::Method;
use reqwest::StatusCode;
use serde_json::Value;

use crate::host::command;
use crate::model::Intake;
use crate::orchestrator::Error;
use crate::orchestrator::web;
use crate::orchestrator::web::Answer;
use crate::orchestrator::web::Web;

use super::json;
use super::metrics;
use super::settings::PollAge;
use super::settings::ReadBack;
use super::settings::Request;
use super::settings::Switch;

/// Reads the switch.
pub(super) async fn read(switch: &Switch, web: &Web, limit: Duration) -> Intake {
    let read = match switch {
        Switch::SpinnakerAdmin { base, poll_age } => read_admin(base, poll_age.as_ref(), web).await,
        Switch::Http { read, .. } => fetch(web, &read.url).await.and_then(|body| judge(&body, read)),
        Switch::Command { read, .. } => match command::output(read, limit).await {
            Ok(ended) if ended.status.success() => judge_word(&ended.stdout),
            Ok(ended) => Err(ended.describe()),
            Err(error) => Err(error.to_string()),
        },
        Switch::None => Ok(Intake::NoSwitch),
    };
    read.unwrap_or_else(|why| Intake::Unknown { why })
}

/// Sets the switch.
pub(super) async fn set(switch: &Switch, open: bool, web: &Web, limit: Duration) -> Result<(), Error> {
    match switch {
        Switch::SpinnakerAdmin { base, .. } => {
            let body = serde_json::json!({ "enabled": open }).to_string();
            judge_admin(&send(web, Method::POST, &web::join(base, ADMIN), Some(body)).await?)
        }
        Switch::Http { close, open: opens, .. } => {
            let Request { method, url, body } = if open { opens } else { close };
            let method = Method::from_bytes(method.as_bytes()).map_err(|e| Error::Refused(format!("{method:?}: {e}")))?;
            accepted(&send(web, method, url, body.clone()).await?)
        }
        Switch::Command { close, open: opens, .. } => match command::output(if open { opens } else { close }, limit).await {
            Ok(ended) if ended.status.success() => Ok(()),
            Ok(ended) => Err(Error::Refused(ended.describe())),
            Err(error) => Err(Error::NoAnswer(error.to_string())),
        },
        Switch::None => Err(Error::Unable("switch its intake")),
    }
}

const ADMIN: &str = "admin/instance/enabled";

async fn send(web: &Web, method: Method, url: &str, body: Option<String>) -> Result<Answer, Error> {
    web.call(method, url, body, &[]).await.map_err(|e| Error::NoAnswer(e.to_string()))
}

async fn fetch(web: &Web, url: &str) -> Result<Vec<u8>, String> {
    let answer = web.get(url).await.map_err(|e| e.to_string())?;
    if answer.status == StatusCode::OK { Ok(answer.body) } else { Err(describe(&answer)) }
}

pub(super) fn describe(answer: &Answer) -> String {
    format!("HTTP {}: {}", answer.status.as_u16(), web::excerpt(&answer.body))
}

/// A no is a 4xx; a 5xx is no answer.
fn accepted(answer: &Answer) -> Result<(), Error> {
    match answer.status {
        status if status.is_success() => Ok(()),
        status if status.is_server_error() => Err(Error::NoAnswer(describe(answer))),
        _ => Err(Error::Refused(describe(answer))),
    }
}

/// Orca answers 400 with a `discovery` attribute when discovery owns the switch: the call changed nothing, whatever Halyard made of it.
fn judge_admin(answer: &Answer) -> Result<(), Error> {
    let discovery = (answer.status == StatusCode::BAD_REQUEST).then(|| json::at(&answer.body, "/discovery").ok()).flatten();
    match discovery {
        Some(discovery) => Err(Error::Refused(format!(
            "intake of this Orca follows discovery ({}), not the admin call: set the instance OUT_OF_SERVICE there, by a command switch",
            web::excerpt(discovery.to_string().as_bytes())
        ))),
        None => accepted(answer),
    }
}

async fn read_admin(base: &str, poll_age: Option<&PollAge>, web: &Web) -> Result<Intake, String> {
    let answer = web.get(&web::join(base, ADMIN)).await.map_err(|e| e.to_string())?;
    if answer.status == StatusCode::OK {
        return judge_enabled(&answer.body);
    }
    let absent = matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
    match poll_age {
        Some(poll_age) if absent => read_poll_age(poll_age, web).await,
        Some(_) => Err(describe(&answer)),
        None if absent => Err(format!("{}; name the poll age metric to read the switch by", describe(&answer))),
        None => Err(describe(&answer)),
    }
}

/// Two reads: an age that is high and stands still is a page that is not alive.
async fn read_poll_age(poll_age: &PollAge, web: &Web) -> Result<Intake, String> {
    let first = metrics::gauge(&fetch(web, &poll_age.url).await?, &poll_age.series)?;
    tokio::time::sleep(poll_age.spacing).await;
    let second = metrics::gauge(&fetch(web, &poll_age.url).await?, &poll_age.series)?;
    judge_ages(first.value, second.value, poll_age.closed_at)
}

fn judge_ages(first_ms: f64, second_ms: f64, closed_at: Duration) -> Result<Intake, String> {
    let closed_at = closed_at.as_secs_f64() * 1000.0;
    if second_ms < closed_at {
        Ok(Intake::Open)
    } else if first_ms >= closed_at && second_ms > first_ms {
        Ok(Intake::Closed)
    } else {
        Err(format!("the age of the last poll went from {first_ms} to {second_ms} ms, which proves neither"))
    }
}

/// `{"enabled": …}` or the bare value; a boolean, or its word as text.
fn judge_enabled(body: &[u8]) -> Result<Intake, String> {
    let document = json::at(body, "")?;
    match document.get("enabled").unwrap_or(&document) {
        Value::Bool(true) => Ok(Intake::Open),
        Value::Bool(false) => Ok(Intake::Closed),
        Value::String(word) if word == "true" => Ok(Intake::Open),
        Value::String(word) if word == "false" => Ok(Intake::Closed),
        _ => Err(format!("{ADMIN} says {}", web::excerpt(body))),
    }
}

fn judge(body: &[u8], read: &ReadBack) -> Result<Intake, String> {
    let found = match &read.pointer {
        Some(pointer) => json::at(body, pointer).map_err(|why| format!("at {pointer:?}: {why}"))?,
        None => Value::String(std::str::from_utf8(body).map_err(|_| "the answer is not UTF-8".to_owned())?.trim().to_owned()),
    };
    let open = read.open.clone().or_else(|| read.closed.as_bool().map(|closed| Value::Bool(!closed)));
    if found == read.closed {
        Ok(Intake::Closed)
    } else if open.as_ref() == Some(&found) {
        Ok(Intake::Open)
    } else {
        Err(format!("the switch reads {}", web::excerpt(found.to_string().as_bytes())))
    }
}

fn judge_word(stdout: &[u8]) -> Result<Intake, String> {
    match stdout.trim_ascii() {
        b"open" => Ok(Intake::Open),
        b"closed" => Ok(Intake::Closed),
        _ => Err(format!("it printed {:?}, where open or closed was expected", web::excerpt(stdout))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_of_enabled_is_read_and_nothing_else() {
        for (body, intake) in [
            (r#"{"enabled":true}"#, Some(Intake::Open)),
            (r#"{"enabled":"false"}"#, Some(Intake::Closed)),
            ("false", Some(Intake::Closed)),
            (r#""true""#, Some(Intake::Open)),
            ("", None),
            ("{}", None),
            (r#"{"enabled":null}"#, None),
            (r#"{"enabled":0}"#, None),
            (r#"{"enabled":true,"enabled":false}"#, None),
            ("<html>false</html>", None),
        ] {
            assert_eq!(judge_enabled(body.as_bytes()).ok(), intake, "{body}");
        }
    }

    #[test]
    fn a_poll_age_proves_closed_only_while_it_rises() {
        let at = Duration::from_secs(5);
        for (first, second, intake) in [
            (20.0, 40.0, Some(Intake::Open)),
            (9_000.0, 30.0, Some(Intake::Open)),
            (6_000.0, 7_000.0, Some(Intake::Closed)),
            (6_000.0, 6_000.0, None),
            (7_000.0, 6_000.0, None),
            (4_900.0, 5_900.0, None),
        ] {
            assert_eq!(judge_ages(first, second, at).ok(), intake, "{first} {second}");
        }
    }

    #[test]
    fn discovery_is_a_refusal_that_says_so() {
        let answer = |status, body: &str| Answer { status, body: body.as_bytes().to_vec() };
        let refused = judge_admin(&answer(StatusCode::BAD_REQUEST, r#"{"discovery":"EurekaStatusSubscriber"}"#)).unwrap_err();
        assert!(refused.to_string().contains("follows discovery"), "{refused}");
        assert!(matches!(judge_admin(&answer(StatusCode::BAD_REQUEST, "no")), Err(Error::Refused(_))));
        assert!(matches!(judge_admin(&answer(StatusCode::FOUND, "")), Err(Error::Refused(_))));
        assert!(matches!(judge_admin(&answer(StatusCode::BAD_GATEWAY, "")), Err(Error::NoAnswer(_))));
        assert_eq!(judge_admin(&answer(StatusCode::NO_CONTENT, "")), Ok(()));
    }

    #[test]
    fn a_read_back_that_is_neither_value_is_unknown() {
        let read = |pointer: Option<&str>, closed, open| ReadBack { url: String::new(), pointer: pointer.map(str::to_owned), closed, open };
        let by_bool = read(Some("/paused"), json!(true), None);
        let by_word = read(Some("/state"), json!("paused"), Some(json!("running")));
        let by_text = read(None, json!("OUT"), Some(json!("UP")));
        for (body, read, intake) in [
            (r#"{"paused":true}"#, &by_bool, Some(Intake::Closed)),
            (r#"{"paused":false}"#, &by_bool, Some(Intake::Open)),
            (r#"{"paused":"true"}"#, &by_bool, None),
            ("{}", &by_bool, None),
            (r#"{"state":"paused"}"#, &by_word, Some(Intake::Closed)),
            (r#"{"state":"running"}"#, &by_word, Some(Intake::Open)),
            (r#"{"state":"pausing"}"#, &by_word, None),
            ("OUT\n", &by_text, Some(Intake::Closed)),
            ("UP", &by_text, Some(Intake::Open)),
            ("", &by_text, None),
        ] {
            assert_eq!(judge(body.as_bytes(), read).ok(), intake, "{body}");
        }
        assert_eq!(judge_word(b" closed\n"), Ok(Intake::Closed));
        assert!(judge_word(b"closed or so").is_err());
    }
}
