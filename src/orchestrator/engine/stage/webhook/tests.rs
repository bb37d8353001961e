use serde_json::json;

use super::super::rig::Rig;
use super::*;

const URL: &str = "https://ci.example/jobs?x=1";

fn said(status: u16, headers: &[(&str, &str)], body: Value) -> Outcome {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Outcome::Http { status, headers, body }
}

fn answer(status: u16) -> Outcome {
    said(status, &[], json!({"state": "DONE"}))
}

fn create(mut context: Value) -> Rig {
    context.as_object_mut().unwrap().entry("url").or_insert_with(|| URL.into());
    Rig::new(Webhook, context)
}

/// At its monitor.
fn monitor(mut context: Value) -> Rig {
    context["waitForCompletion"] = true.into();
    context["monitorOnly"] = true.into();
    create(context)
}

#[test]
fn the_first_request_has_the_stages_method_headers_and_payload() {
    let mut rig = create(json!({"payload": {"a": 1}, "customHeaders": {"X-A": "1", "X-B": ["2", 3]}}));
    let Effect::Http { method, url, headers, body, .. } = rig.effect(None) else { panic!() };
    assert_eq!((method.as_str(), url.as_str(), body), ("POST", URL, Some(json!({"a": 1}))));
    assert_eq!(headers.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(), ["X-A=1", "X-B=2", "X-B=3"]);
    let Effect::Http { method, body, .. } = create(json!({"method": "get", "payload": 1})).effect(None) else { panic!() };
    assert_eq!((method.as_str(), body), ("GET", None));
    for bad in [json!({"url": "ftp://a"}), json!({"url": ""}), json!({"method": "FETCH"})] {
        assert_eq!(create(bad.clone()).failure(None).0, "ConfigurationException", "{bad}");
    }
}

#[test]
fn codes_decide_what_becomes_of_the_first_request() {
    for (context, code, status) in [
        (json!({}), 200, Status::Succeeded),
        (json!({}), 302, Status::Succeeded),
        (json!({}), 400, Status::Terminal),
        (json!({}), 429, Status::Running),
        (json!({}), 503, Status::Running),
        (json!({}), 504, Status::Terminal),
        (json!({"failFastStatusCodes": [503]}), 503, Status::Terminal),
        (json!({"failFastStatusCodes": ["503"]}), 504, Status::Running),
        (json!({"retryStatusCodes": [404]}), 404, Status::Running),
        (json!({"webhookRetryStatusCodes": [409]}), 409, Status::Running),
    ] {
        assert_eq!(create(context.clone()).status(Some(&answer(code))), status, "{context} {code}");
    }
    assert_eq!(create(json!({})).pause(Some(&answer(500))), Some(CREATE_AGAIN));
    assert_eq!(create(json!({})).pause(Some(&said(429, &[("retry-after", "77")], Value::Null))), Some(Duration::from_secs(77)));
    let (_, error) = create(json!({})).failure(Some(&said(403, &[], json!("no entry"))));
    assert_eq!(error, "the server answered 403 FORBIDDEN: no entry");
}

#[test]
fn retries_by_code_are_counted() {
    let mut rig = create(json!({"retries": {"404": {"maxAttempts": 3, "backoffInMs": 2000}, "401": 1}}));
    assert_eq!(rig.pause(Some(&answer(404))), Some(Duration::from_secs(2)));
    assert_eq!(rig.pause(Some(&answer(404))), Some(Duration::from_secs(2)));
    assert!(rig.failure(Some(&answer(404))).1.contains("tried 3 times"));
    assert_eq!(create(json!({"retries": {"401": 1}})).status(Some(&answer(401))), Status::Terminal);
}

#[test]
fn what_was_answered_is_kept_without_cookies_and_without_old_errors() {
    let mut rig = create(json!({}));
    let _ = rig.go(Some(&answer(500)));
    assert!(rig.context()["webhook"].get("error").is_some());
    let result = rig.finish(Some(&said(201, &[("set-cookie", "secret"), ("x-id", "7")], json!({"id": 7}))));
    let wanted = json!({"statusCode": "CREATED", "statusCodeValue": 201, "body": {"id": 7}, "headers": {"x-id": "7"}});
    assert_eq!(result.context["webhook"], wanted);
}

#[test]
fn the_address_to_monitor_is_found_three_ways() {
    let resolved = |context: Value, outcome: Outcome| {
        let mut context = context;
        context["waitForCompletion"] = true.into();
        create(context).finish(Some(&outcome)).context["statusEndpoint"].clone()
    };
    assert_eq!(resolved(json!({}), answer(200)), URL);
    assert_eq!(
        resolved(json!({"statusUrlResolution": "locationHeader"}), said(202, &[("location", "/jobs/7")], Value::Null)),
        "https://ci.example/jobs/7"
    );
    let in_body = json!({"statusUrlResolution": "webhookResponse", "statusUrlJsonPath": "$.links.status"});
    assert_eq!(resolved(in_body.clone(), said(200, &[], json!({"links": {"status": "https://other/7"}}))), "https://other/7");
    for context in [json!({"statusUrlResolution": "locationHeader"}), in_body, json!({"statusUrlResolution": "magic"})] {
        let mut context = context;
        context["waitForCompletion"] = true.into();
        assert_eq!(create(context.clone()).failure(Some(&answer(200))).0, "WebhookException", "{context}");
    }
}

#[test]
fn an_address_in_an_answer_is_read_as_a_browser_would() {
    for (to, wanted) in [("http://b/c", "http://b/c"), ("//b/c", "https://b/c"), ("/c", "https://a/c"), ("c", "https://a/x/c")] {
        assert_eq!(beside("https://a/x/y?q=/z", to), wanted);
    }
    assert_eq!((beside("https://a", "c"), beside("https://a?q", "/c")), ("https://a/c".to_owned(), "https://a/c".to_owned()));
}

#[test]
fn the_monitor_reads_a_word_or_a_percentage() {
    let lists =
        json!({"statusJsonPath": "$.state", "successStatuses": "done, OK", "canceledStatuses": "STOPPED", "terminalStatuses": "FAILED"});
    for (state, status) in [
        (json!("DONE"), Status::Succeeded),
        (json!("ok"), Status::Succeeded),
        (json!("stopped"), Status::Canceled),
        (json!("Failed"), Status::Terminal),
        (json!("BUILDING"), Status::Running),
        (json!(100), Status::Succeeded),
        (json!(99.5), Status::Running),
        (json!(null), Status::Terminal),
        (json!(["DONE", "DONE"]), Status::Terminal),
    ] {
        assert_eq!(monitor(lists.clone()).status(Some(&said(200, &[], json!({"state": state})))), status, "{state}");
    }
    assert_eq!(monitor(lists).status(Some(&said(200, &[], json!({})))), Status::Terminal, "a path that leads nowhere is a mistake");
    assert_eq!(monitor(json!({})).status(Some(&answer(200))), Status::Succeeded, "without a path any good answer is the end");
}

#[test]
fn progress_is_shown_and_kept_under_the_monitor() {
    let mut rig = monitor(json!({"statusJsonPath": "$.n", "progressJsonPath": "$.step"}));
    let _ = rig.go(Some(&said(200, &[], json!({"n": 40, "step": "copying"}))));
    let kept = &rig.context()["webhook"]["monitor"];
    assert_eq!(
        (&kept["progressMessage"], &kept["percentComplete"], &kept["statusCodeValue"]),
        (&json!("copying"), &json!(40), &json!(200))
    );
}

#[test]
fn the_monitor_asks_each_second_for_a_minute_and_then_every_quarter() {
    let mut rig = monitor(json!({"statusJsonPath": "$.state"}));
    assert_eq!(rig.pause(Some(&answer(200))), Some(Duration::from_secs(1)));
    assert_eq!(rig.pause(Some(&answer(504))), Some(Duration::from_secs(1)), "a gateway's timeout is no end of the work");
    rig.pass(Duration::from_secs(61));
    assert_eq!(rig.pause(Some(&answer(503))), Some(Duration::from_secs(15)));
    rig.set("backoffPeriodMs", 20_000);
    assert_eq!(rig.pause(Some(&answer(200))), Some(Duration::from_secs(20)));
    assert_eq!(rig.status(Some(&answer(404))), Status::Terminal);
    assert_eq!(rig.timeout(), Some(Duration::from_secs(3600)));
}

#[test]
fn a_cancel_calls_the_cancel_endpoint() {
    assert_eq!(monitor(json!({})).on_cancel(), None);
    let rig = monitor(json!({"cancelEndpoint": "https://ci.example/7", "cancelMethod": "delete", "cancelPayload": {"why": 1}}));
    let Some(Effect::Http { method, url, body, .. }) = rig.on_cancel() else { panic!() };
    assert_eq!((method.as_str(), url.as_str(), body), ("DELETE", "https://ci.example/7", Some(json!({"why": 1}))));
}

#[test]
fn a_cancel_before_the_first_look_calls_it_too() {
    let mut rig = create(json!({"waitForCompletion": true, "waitBeforeMonitor": 5, "cancelEndpoint": "https://ci.example/7"}));
    assert_eq!(rig.on_cancel(), None, "nothing was begun");
    rig.start(1);
    assert!(matches!(rig.on_cancel(), Some(Effect::Http { url, .. }) if url == "https://ci.example/7"));
}

#[test]
fn the_tasks_follow_from_waiting_and_monitoring() {
    let names = |context: Value| create(context).tasks().iter().map(|task| task.name).collect::<Vec<_>>();
    assert_eq!(names(json!({})), ["createWebhook"]);
    let all = ["createWebhook", "waitBeforeMonitorWebhook", "monitorWebhook"];
    assert_eq!(names(json!({"waitForCompletion": true, "waitBeforeMonitor": "5"})), all);
    assert_eq!(names(json!({"waitForCompletion": "true", "monitorOnly": true})), ["monitorWebhook"]);
    let wrong = create(json!({"monitorOnly": true, "waitForCompletion": false}));
    assert!(Webhook.synthetic(&wrong.view(), Synthetic::StageBefore).is_err());
    let mut rig = create(json!({"waitForCompletion": true, "waitBeforeMonitor": 5}));
    rig.start(1);
    assert_eq!(rig.pause(None), Some(Duration::from_secs(5)));
}

#[test]
fn a_request_whose_instance_was_lost_is_repeated_unless_that_is_forbidden() {
    assert_eq!(create(json!({})).lost(), Lost::Repeat);
    assert!(matches!(create(json!({"idempotent": false})).lost(), Lost::Fail(_)));
    assert_eq!(create(json!({"idempotent": false, "method": "GET"})).lost(), Lost::Repeat);
}

#[test]
fn the_check_names_what_orca_would_find_at_run_time() {
    let bad = json!({
        "url": "ftp://x", "method": "FETCH", "waitForCompletion": "yes", "retryStatusCodes": [99], "statusJsonPath": "state",
        "statusUrlResolution": "webhookResponse", "monitorOnly": true,
    });
    let paths: Vec<String> = Webhook.check(bad.as_object().unwrap()).into_iter().map(|(path, _)| path).collect();
    let wanted = ["/url", "/method", "/waitForCompletion", "/retryStatusCodes", "/statusJsonPath", "/statusUrlJsonPath", "/monitorOnly"];
    assert_eq!(paths, wanted);
    let fine = json!({"url": "${parameters.url}", "waitForCompletion": "${parameters.wait}", "monitorOnly": true});
    assert!(Webhook.check(fine.as_object().unwrap()).is_empty());
}
