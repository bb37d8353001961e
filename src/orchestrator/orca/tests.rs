//! Orca's admin calls against a server that answers what it is told to: what is asked, and what becomes of each kind of answer.

use super::*;
use crate::host::clock::SystemClock;
use crate::orchestrator::test_server::Reply;
use crate::orchestrator::test_server::Server;

const ID: &str = "01CS076X85RX6MWBTQ0VGBF8VX";
const DRY: &str = "POST /admin/queue/hydrate?dryRun=true&executionId=01CS076X85RX6MWBTQ0VGBF8VX";
const WET: &str = "POST /admin/queue/hydrate?dryRun=false&executionId=01CS076X85RX6MWBTQ0VGBF8VX";

fn orca(base: &str) -> Orca {
    let limits = web::Limits { connect: Duration::from_secs(2), total: Duration::from_millis(500), body: 4096 };
    let settings = Settings { base: base.to_owned(), auth: web::Auth::None, limits, store: None };
    Orca::new(&settings, Arc::new(SystemClock::start())).unwrap()
}

/// What Orca answers of an execution with one branch that can go on, and with `stuck` one that cannot.
fn answer(dry_run: bool, stuck: bool) -> String {
    let mut actions = vec![serde_json::json!({
        "description": "Task is running and is retryable",
        "message": { "kind": "runTask", "executionType": "PIPELINE", "executionId": ID, "application": "shop", "stageId": "s", "taskId": "1",
            "taskType": "com.netflix.spinnaker.orca.echo.pipeline.ManualJudgmentStage$WaitForManualJudgmentTask", "attributes": [], "ackTimeoutMs": 600_000 },
        "context": { "stageId": "s", "stageType": "manualJudgment", "stageStartTime": 5, "taskId": "1", "taskType": "waitForJudgment" },
    })];
    if stuck {
        actions.push(
            serde_json::json!({ "description": "Task is running but is not retryable", "context": { "stageType": "createProperty" } }),
        );
    }
    let of = serde_json::json!({ "startTime": 4, "actions": actions, "canApply": !stuck });
    serde_json::json!({ "dryRun": dry_run, "executions": { ID: of } }).to_string()
}

#[tokio::test]
async fn hydration_is_asked_for_one_execution_and_says_what_it_does() {
    let server = Server::start().await;
    server.says(DRY, answer(true, true)).says(WET, answer(false, false));
    let orca = orca(&server.base);
    let plan = orca.rehydrate(ID, true).await.unwrap().unwrap();
    assert!(!plan.can_apply);
    assert_eq!(plan.actions[0].message, Some(HydrationMessage { kind: "runTask".to_owned() }));
    assert_eq!(plan.actions[0].context.task_type.as_deref(), Some("waitForJudgment"));
    assert_eq!(plan.actions[1].message, None);
    assert!(orca.rehydrate(ID, false).await.unwrap().unwrap().can_apply);
    let asked: Vec<String> = server.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(asked, [DRY, WET]);
    server.says(DRY, r#"{"dryRun":true,"executions":{}}"#);
    assert_eq!(orca.rehydrate(ID, true).await.unwrap(), None, "no longer running");
}

#[tokio::test]
async fn a_no_is_told_from_an_answer_that_was_lost_or_makes_no_sense() {
    let server = Server::start().await;
    let orca = orca(&server.base);
    for status in [400, 401, 403, 404, 405] {
        server.on(DRY, Reply::Now(status, b"<html>".to_vec()));
        let error = orca.rehydrate(ID, true).await.unwrap_err();
        assert!(matches!(&error, Error::Refused(said) if said.contains(&status.to_string())), "{status}: {error}");
    }
    let too_long = [b" ".repeat(5000), answer(true, false).into_bytes()].concat();
    for (reply, why) in [
        (Reply::Now(500, b"Zombie management is unavailable".to_vec()), "a server error"),
        (Reply::Now(302, Vec::new()), "a login page"),
        (Reply::Never, "no answer"),
        (Reply::Now(200, b"<html>login</html>".to_vec()), "no JSON"),
        (Reply::Now(200, b"{\"foo\":\"bar\"}".to_vec()), "another answer"),
        (Reply::Now(200, b"{\"dryRun\":true,\"executions\":[]}".to_vec()), "another shape"),
        (Reply::Now(200, answer(false, false).into_bytes()), "it was no dry run"),
        (Reply::Now(200, too_long), "more than is read"),
    ] {
        server.on(DRY, reply);
        let error = orca.rehydrate(ID, true).await.unwrap_err();
        assert!(matches!(error, Error::NoAnswer(_)), "{why}: {error}");
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = super::tests::orca(&format!("http://{nobody}")).rehydrate(ID, true).await.unwrap_err();
    assert!(matches!(error, Error::NotSent(_)), "{error}");
}

#[tokio::test]
async fn a_cancel_names_the_type_that_the_execution_was_found_under() {
    let server = Server::start().await;
    let of_a_task = r#"{"id":"x","status":"RUNNING","execution":{"application":"shop","status":"RUNNING","startTime":7}}"#;
    server.says(&format!("GET /tasks/{ID}"), of_a_task);
    let cancel = format!("PUT /admin/forceCancelExecution?executionId={ID}&executionType=ORCHESTRATION&canceledBy=ann%40host+%26+co");
    server.says(&cancel, "");
    let orca = orca(&format!("{}/", server.base));
    let (document, kind) = orca.execution(ID).await.unwrap().unwrap();
    assert_eq!((document.is_running(), kind), (true, Kind::Orchestration));
    orca.force_cancel(ID, kind, "ann@host & co").await.unwrap();
    let last = server.asked().pop().unwrap();
    assert_eq!((last.line, last.body.as_str()), (cancel, ""));
    assert!(orca.execution("01B").await.unwrap().is_none());
}

#[tokio::test]
async fn without_a_queue_to_look_at_nobody_is_called_a_zombie() {
    let server = Server::start().await;
    assert!(matches!(orca(&server.base).zombies(None).await, Err(Error::NoStore)));
    assert!(server.asked().is_empty());
}

#[test]
fn an_id_is_letters_and_digits_only() {
    for id in [ID, "a", "b1e4c5d2-0000-4000-8000-000000000000"] {
        assert!(is_execution_id(id), "{id}");
    }
    for id in ["", "a/b", "a?dryRun=false", "a&b", "a b", "ä", "..", "a:b", &"a".repeat(65)] {
        assert!(!is_execution_id(id), "{id}");
    }
}
