use std::path::PathBuf;

use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::TcpListener;

use super::mail::Mail;
use super::mail::Security;
use super::slack::Slack;
use super::webhook::Webhook;
use super::*;
use crate::model::Timestamp;
use crate::orchestrator::engine::event::Notice;
use crate::orchestrator::engine::execution::ExecutionType;
use crate::orchestrator::engine::status::Status;
use crate::orchestrator::store::Listing;
use crate::orchestrator::test_server::Reply;
use crate::orchestrator::test_server::Server;
use crate::orchestrator::web::Auth;

fn notice(to: Value) -> Outgoing {
    let object = |value: Value| value.as_object().cloned().unwrap();
    let details = json!({"status": "RUNNING", "stage": "Ask", "instructions": "Is <it> well?\nLook first.",
        "judgmentInputs": [{"value": "yes"}, {"value": "no"}]});
    let listing = Listing {
        id: "01".into(),
        kind: ExecutionType::Pipeline,
        application: "shop".into(),
        name: "deploy\r\nBcc: eve@example.com".into(),
        pipeline_config_id: None,
        status: Status::Running,
        build_time: Timestamp(0),
        start_time: None,
        end_time: None,
    };
    let notice = Notice { number: 1, event: "manualJudgment".into(), to: object(to), stage: None, details: object(details) };
    Outgoing { id: "01/1".into(), listing, notice, tries: 0 }
}

/// Takes one message; `answer` is what it says to the recipient.
async fn smtp(listener: TcpListener, answer: &str) -> String {
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 test\r\n").await.unwrap();
    let (mut heard, mut in_data) = (String::new(), false);
    let mut line = String::new();
    while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
        heard.push_str(&line);
        let word: String = line.chars().take(4).collect();
        let reply = match (in_data, word.as_str()) {
            (true, _) if line == ".\r\n" => {
                in_data = false;
                "250 taken"
            }
            (true, _) => "",
            (false, "RCPT") => answer,
            (false, "DATA") => {
                in_data = true;
                "354 go on"
            }
            (false, "QUIT") => break,
            (false, _) => "250 ok",
        };
        if !reply.is_empty() {
            stream.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
        }
        line.clear();
    }
    heard
}

fn settings(port: u16) -> mail::Settings {
    let link_base = Some("https://bellrock.example/".to_owned());
    let from = "Bellrock <bellrock@example.com>".to_owned();
    mail::Settings { host: "127.0.0.1".into(), port, security: Security::None, from, user: None, link_base }
}

#[tokio::test]
async fn an_email_says_what_is_asked_and_no_name_becomes_a_header() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mail = Mail::new(settings(listener.local_addr().unwrap().port())).unwrap();
    let notice = notice(json!({"type": "email", "address": "ada@example.com, Grace <grace@example.com>", "cc": "ops@example.com"}));
    let (heard, told) = tokio::join!(smtp(listener, "250 ok"), async {
        let told = mail.tell(&notice).await;
        drop(mail);
        told
    });
    assert_eq!(told, Ok(()));
    for wanted in ["RCPT TO:<ada@", "RCPT TO:<grace@", "RCPT TO:<ops@", "waits for a judgment", "Look first.", "yes, no", "/pipelines/01"] {
        assert!(heard.contains(wanted), "{wanted} in {heard}");
    }
    assert!(!heard.contains("\nBcc:"), "{heard}");
}

#[tokio::test]
async fn what_a_mail_server_refuses_for_good_is_not_tried_again_and_what_it_puts_off_is() {
    for (answer, again) in [("550 no such user", false), ("451 busy", true), ("530 who are you", true)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mail = Mail::new(settings(listener.local_addr().unwrap().port())).unwrap();
        let notice = notice(json!({"address": "ada@example.com"}));
        let (_, told) = tokio::join!(smtp(listener, answer), mail.tell(&notice));
        assert_eq!(told.unwrap_err().again, again, "{answer}");
    }
    let gone = Mail::new(settings(1)).unwrap();
    assert!(gone.tell(&notice(json!({"address": "ada@example.com"}))).await.unwrap_err().again);
    for address in [json!({}), json!({"address": "nobody"}), json!({"address": "a@example.com,".repeat(51)})] {
        assert!(!gone.tell(&notice(address)).await.unwrap_err().again);
    }
    assert!(Mail::new(mail::Settings { user: Some(("u".into(), PathBuf::new())), ..settings(1) }).is_err(), "a password over an open line");
}

#[tokio::test]
async fn slack_is_told_in_its_form_and_its_address_stays_secret() {
    let server = Server::start().await;
    server.says("POST /services/T0/secret", "ok");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    std::fs::write(&file, server.url("/services/T0/secret\n")).unwrap();
    let by = slack::By::Webhook { url_file: file.clone() };
    let slack = Slack::new(slack::Settings { by, link_base: None }).unwrap();
    assert_eq!(slack.tell(&notice(json!({"address": "#ops"}))).await, Ok(()));
    let body: Value = serde_json::from_str(&server.asked()[0].body).unwrap();
    assert_eq!(body["channel"], "#ops");
    assert!(body["text"].as_str().unwrap().contains("Is &lt;it&gt; well?"), "{body}");
    for (path, again) in [("/services/T0/gone", false), ("/services/T0/busy", true)] {
        server.on("POST /services/T0/busy", Reply::Now(429, vec![]));
        std::fs::write(&file, server.url(path)).unwrap();
        let not_told = slack.tell(&notice(json!({}))).await.unwrap_err();
        assert_eq!(not_told.again, again);
        assert!(!not_told.why.contains("T0"), "{not_told}");
    }
    std::fs::write(&file, "http://127.0.0.1:1/services/T0/secret").unwrap();
    let not_told = slack.tell(&notice(json!({}))).await.unwrap_err();
    assert!(not_told.again && !not_told.why.contains("T0"), "{not_told}");
}

#[tokio::test]
async fn a_bot_tells_its_channel_and_a_refusal_that_looks_well_is_one() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "xoxb-hush\n").unwrap();
    let by = slack::By::Bot { token_file, api: server.url("/api/") };
    let slack = Slack::new(slack::Settings { by, link_base: None }).unwrap();
    server.says("POST /api/chat.postMessage", r#"{"ok": true}"#);
    assert_eq!(slack.tell(&notice(json!({"address": "#ops"}))).await, Ok(()));
    let asked = server.asked().remove(0);
    assert_eq!(asked.headers["authorization"], "Bearer xoxb-hush");
    assert_eq!(serde_json::from_str::<Value>(&asked.body).unwrap()["channel"], "#ops");
    for (said, again) in [
        (r#"{"ok": false, "error": "channel_not_found"}"#, false),
        (r#"{"ok": false, "error": "invalid_auth"}"#, true),
        (r#"{"ok": false, "error": "ratelimited"}"#, true),
        ("<html>", true),
    ] {
        server.says("POST /api/chat.postMessage", said);
        let not_told = slack.tell(&notice(json!({"address": "#ops"}))).await.unwrap_err();
        assert!(not_told.again == again && !not_told.why.contains("hush"), "{said}: {not_told}");
    }
    assert!(!slack.tell(&notice(json!({}))).await.unwrap_err().again, "a bot has no channel of its own");
}

#[tokio::test]
async fn a_webhook_gets_the_whole_notice_and_its_id() {
    let server = Server::start().await;
    server.on("POST /hook", Reply::InTurn(vec![(500, String::new()), (204, String::new())]));
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "t0ken").unwrap();
    let link_base = Some("https://bellrock.example".to_owned());
    let auth = Auth::Bearer(token.clone());
    let hook = Webhook::new(webhook::Settings { url: server.url("/hook"), auth, link_base }).unwrap();
    let notice = notice(json!({"type": "webhook", "team": "blue"}));
    assert!(hook.tell(&notice).await.unwrap_err().again);
    assert_eq!(hook.tell(&notice).await, Ok(()));
    let asked = &server.asked()[1];
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!((&body["event"], &body["execution"]["id"], &body["to"]["team"]), (&json!("manualJudgment"), &json!("01"), &json!("blue")));
    assert_eq!(body["link"], "https://bellrock.example/pipelines/01");
    assert_eq!(
        (&asked.headers["authorization"], &asked.headers["idempotency-key"]),
        (&"Bearer t0ken".parse().unwrap(), &"01-1".parse().unwrap())
    );
    let auth = Auth::Header { name: "x-api-key".parse().unwrap(), file: token };
    let keyed = Webhook::new(webhook::Settings { url: server.url("/hook"), auth, link_base: None }).unwrap();
    assert_eq!(keyed.tell(&notice).await, Ok(()));
    let asked = &server.asked()[2];
    assert_eq!((&asked.headers["x-api-key"], asked.headers.get("authorization")), (&"t0ken".parse().unwrap(), None));
    assert!(Webhook::new(webhook::Settings { url: "ftp://x".into(), auth: Auth::None, link_base: None }).is_err());
}
