//! What an agent is asked from elsewhere and tells elsewhere, with real processes: its network port, its notices.
//!
//! Every wait is a poll with a deadline.

#[path = "fleet/host.rs"]
#[allow(dead_code, reason = "the engine's tests use the rest")]
mod host;
#[path = "fleet/process.rs"]
#[allow(dead_code, reason = "the fleet's tests use the rest")]
mod process;
#[path = "fleet/sim.rs"]
#[allow(dead_code, reason = "the fleet's tests use the rest")]
mod sim;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use host::Host;
use host::SOON;
use process::bellrock;
use process::until;
use serde_json::Value;
use serde_json::json;
use sim::Sim;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Looks are exact, so the shortest quiet that [`process::Agent::start`] sets is enough.
const CONFIG: &str = "[orchestrator.activity]\nsample_max_age = \"1s\"\n";
const GROUP: &str = "shop-main-v001";

fn region() -> Value {
    json!({
        "templates": [{"name": "shop", "versions": [{}]}],
        "target_groups": [{"name": "shop-main"}],
        "groups": [{"name": GROUP, "min": 1, "max": 4, "desired": 2, "template": "shop", "version": "1", "settled": true, "target_groups": ["shop-main"]}],
    })
}

/// The agent of an instance, with more of a configuration and of an environment.
async fn start(sim: &Sim, dir: &Path, config: &str, env: &[(&str, String)]) -> Host {
    let instance = sim.instances(GROUP).await.remove(0);
    Host::start_with(sim, &instance, dir, &format!("{CONFIG}{config}"), env).await
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a directory of our own");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("a file of our own");
}

/// A new certificate and key for localhost.
fn write_pair(dir: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    write(&dir.join("cert.pem"), &made.cert.pem());
    write(&dir.join("key.pem"), &made.signing_key.serialize_pem());
}

/// Exit code, stdout, stderr.
async fn run(args: &[&str]) -> (i32, String, String) {
    let out = bellrock(args, &[]).output().await.expect("the program that was built for this test");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().expect("it ends by itself"), text(&out.stdout), text(&out.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_machine_asks_over_tls_with_a_token_and_a_renewed_certificate_is_picked_up() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| dir.path().join(name).display().to_string();
    write_pair(dir.path());
    let tokens = at("tokens.toml");
    let mut secrets = Vec::new();
    for (name, role) in [("dashboard", "read"), ("ci", "admin")] {
        let (code, said, error) = run(&["token", "new", "--name", name, "--role", role, "--add-to", &tokens]).await;
        assert_eq!((code, error.as_str()), (0, ""), "{said}");
        let file = dir.path().join(format!("{name}.token"));
        write(&file, &said);
        secrets.push(file.display().to_string());
    }
    let sim = Sim::start(dir.path(), &region(), 41).await;
    let config =
        format!("[http.network]\nlisten = \"127.0.0.1:0\"\ncertificate_file = \"{}\"\nkey_file = \"{}\"\n", at("cert.pem"), at("key.pem"));
    let host = start(&sim, dir.path(), &config, &[("BELLROCK_HTTP_TOKENS_FILE", tokens)]).await;
    let address = until("the network port", SOON, async || host.agent.said("answering over HTTPS")).await;
    let port = address["address"].as_str().and_then(|address| address.rsplit(':').next()).expect("a port").to_owned();
    let url = format!("https://localhost:{port}");
    let ask = async |what: &[&str], token: Option<&str>, ca: &str| {
        let mut args = vec!["pipeline"];
        args.extend(what);
        args.extend(["--url", url.as_str(), "--ca-file", ca]);
        args.extend(token.into_iter().flat_map(|token| ["--token-file", token]));
        run(&args).await
    };

    let smoke = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/smoke-test.json");
    let (code, said, error) = ask(&["save", smoke], Some(&secrets[1]), &at("cert.pem")).await;
    assert_eq!(code, 0, "{said}{error}");
    let (code, said, error) = ask(&["list", "--output", "json"], Some(&secrets[0]), &at("cert.pem")).await;
    assert_eq!(code, 0, "{said}{error}");
    let saved: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(saved[0]["lastModifiedBy"], "ci", "{saved}");
    let (code, _, error) = ask(&["save", smoke], Some(&secrets[0]), &at("cert.pem")).await;
    assert!(code == 2 && error.contains("needs the role admin"), "{error}");
    let (code, _, error) = ask(&["list"], None, &at("cert.pem")).await;
    assert!(code == 2 && error.contains("needs a token"), "{error}");

    std::fs::copy(at("cert.pem"), at("old.pem")).expect("a directory of our own");
    write_pair(dir.path());
    host.agent.reload();
    until("the renewed certificate", SOON, async || (ask(&["list"], Some(&secrets[0]), &at("cert.pem")).await.0 == 0).then_some(())).await;
    let (code, _, error) = ask(&["list"], Some(&secrets[0]), &at("old.pem")).await;
    assert!(code == 1 && error.contains("does not answer"), "{error}");
}

/// Takes messages, one connection at a time.
async fn mail_server(listener: TcpListener, heard: mpsc::Sender<String>) {
    while let Ok((stream, _)) = listener.accept().await {
        let mut stream = BufReader::new(stream);
        let (mut said, mut line, mut in_data) = (String::new(), String::new(), false);
        stream.write_all(b"220 test\r\n").await.expect("a client");
        while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
            said.push_str(&line);
            let reply = match (in_data, line.trim_end()) {
                (true, ".") => {
                    in_data = false;
                    "250 taken\r\n"
                }
                (true, _) => "",
                (false, "DATA") => {
                    in_data = true;
                    "354 go on\r\n"
                }
                (false, "QUIT") => "221 bye\r\n",
                (false, _) => "250 ok\r\n",
            };
            if stream.write_all(reply.as_bytes()).await.is_err() {
                break;
            }
            line.clear();
        }
        heard.send(said).await.expect("the test listens");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_to_be_told_of_an_end_is_told_by_mail_and_by_webhook() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut servers = JoinSet::new();
    let (mails, mut mail) = mpsc::channel(10);
    let smtp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let smtp_port = smtp.local_addr().expect("a port").port();
    servers.spawn(mail_server(smtp, mails));
    let (hooks, mut hook) = mpsc::channel(10);
    let web = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/hook", web.local_addr().expect("a port"));
    let take = async move |headers: HeaderMap, body: Bytes| hooks.send((headers, body)).await.expect("the test listens");
    servers.spawn(async move { axum::serve(web, Router::new().route("/hook", post(take))).await.expect("it serves") });

    write(&dir.path().join("token"), "t0ken\n");
    let config = format!(
        "[orchestrator.notifications]\nlink = \"https://bellrock.example\"\n\
         [orchestrator.notifications.email]\nserver = \"127.0.0.1\"\nport = {smtp_port}\nsecurity = \"none\"\nfrom = \"b@example.com\"\n\
         [orchestrator.notifications.webhook]\nurl = \"{url}\"\ntoken_file = \"{}\"\n",
        dir.path().join("token").display()
    );
    let sim = Sim::start(dir.path(), &region(), 42).await;
    let host = start(&sim, dir.path(), &config, &[]).await;
    let when = ["pipeline.complete"];
    let pipeline = json!({"application": "shop", "name": "told", "stages": [{"refId": "1", "type": "wait", "name": "Wait", "waitTime": 1}],
    "notifications": [
        {"type": "email", "address": "ada@example.com", "when": when},
        {"type": "webhook", "team": "blue", "when": when},
        {"type": "slack", "address": "#ops", "when": when},
    ]});
    let (code, saved) = host.door.post("/pipelines", &pipeline).await;
    assert_eq!(code, 200, "{saved}");
    let execution = host.door.start("told", json!({})).await;
    host.door.reaches(&execution, "SUCCEEDED").await;

    let said = tokio::time::timeout(SOON, mail.recv()).await.expect("a mail in time").expect("a mail");
    for wanted in ["MAIL FROM:<b@example.com>", "RCPT TO:<ada@example.com>", "Subject: shop: told: succeeded"] {
        assert!(said.contains(wanted), "{wanted} in {said}");
    }
    // Lines of a mail are broken and escaped; the link is in it all the same.
    assert!(said.replace("=\r\n", "").contains(&format!("https://bellrock.example{execution}")), "{said}");
    let (headers, body) = tokio::time::timeout(SOON, hook.recv()).await.expect("a call in time").expect("a call");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((&body["event"], &body["to"]["team"]), (&json!("pipeline.complete"), &json!("blue")), "{body}");
    assert_eq!(headers["authorization"], "Bearer t0ken");
    let left = "notifications of this type are not set up here; they wait for an instance where they are (runbooks/notice-given-up.md)";
    let line = until("a word about slack", SOON, async || host.agent.said(left)).await;
    assert_eq!((&line["kind"], &line["pipeline"]), (&json!("slack"), &json!("told")), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelines_in_files_run_follow_each_other_and_are_saved_by_nobody() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let files = dir.path().join("pipelines");
    std::fs::create_dir(&files).expect("a directory of our own");
    let put = |file: &str, text: &str| {
        let fresh = dir.path().join("fresh");
        write(&fresh, text);
        std::fs::rename(&fresh, files.join(file)).expect("a directory of our own");
    };
    put("first.yaml", "application: shop\nname: first\nid: first-id\nstages:\n- {refId: '1', type: wait, waitTime: 1}\n");
    let follows = json!({"application": "shop", "name": "second", "stages": [{"refId": "1", "type": "wait", "waitTime": 1}],
        "triggers": [{"type": "pipeline", "enabled": true, "application": "shop", "pipeline": "first-id", "status": ["successful"]}]});
    put("second.json", &follows.to_string());
    put("broken.json", r#"{"application": "shop", "name": "third", "stages": [{"refId": "1", "type": "what"}]}"#);
    let sim = Sim::start(dir.path(), &region(), 43).await;
    let env = [("BELLROCK_ORCHESTRATOR_DEFINITIONS", files.display().to_string())];
    let host = start(&sim, dir.path(), "", &env).await;

    let names = async || {
        let all = host.door.get("/pipelineConfigs").await;
        all.as_array().expect("a list").iter().map(|found| found["name"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["first", "second"]);
    let source = host.door.get("/admin/definitions").await;
    let problem = &source["problems"][0];
    assert_eq!((&problem["file"], &problem["path"], &problem["kept"]), (&json!("broken.json"), &json!("/stages/0/type"), &json!(false)));
    let mut saved = follows.clone();
    saved["name"] = "other".into();
    let (code, refused) = host.door.post("/pipelines", &saved).await;
    assert_eq!((code, &refused["code"]), (409, &json!("read_only")), "{refused}");

    let execution = host.door.start("first", json!({})).await;
    host.door.reaches(&execution, "SUCCEEDED").await;
    let followed = until("the pipeline that follows", SOON, async || {
        let all = host.door.get("/applications/shop/pipelines?limit=10").await;
        let found = all.as_array()?.iter().find(|found| found["name"] == "second")?;
        Some(format!("/pipelines/{}", found["id"].as_str()?))
    })
    .await;
    host.door.reaches(&followed, "SUCCEEDED").await;

    put("broken.json", r#"{"application": "shop", "name": "third", "stages": [{"refId": "1", "type": "wait", "waitTime": 1}]}"#);
    host.agent.reload();
    until("the mended file", SOON, async || (names().await == ["first", "second", "third"]).then_some(())).await;
    let done = host.door.start("third", json!({})).await;
    host.door.reaches(&done, "SUCCEEDED").await;

    put("first.yaml", "application: shop\nname: [\n");
    until("the broken file", SOON, async || {
        let source = host.door.get("/admin/definitions").await;
        (source["problems"][0]["kept"] == true).then_some(())
    })
    .await;
    assert_eq!(names().await.len(), 3, "what it held before is in force");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_has_one_line_for_each_move_of_a_drain_and_of_an_execution() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let sim = Sim::start(dir.path(), &region(), 43).await;
    let host = start(&sim, dir.path(), "", &[]).await;
    let wait = |id: &str, after: Value| json!({"refId": id, "requisiteStageRefIds": after, "type": "wait", "waitTime": 1});
    // Between its first wait and its second its status stays, and nothing is to be said.
    let stages = [wait("1", json!([])), wait("2", json!(["1"]))];
    host.door.save(&json!({"application": "shop", "name": "one", "stages": stages})).await;
    let execution = host.door.start("one", json!({})).await;
    host.door.reaches(&execution, "SUCCEEDED").await;
    let moves: Vec<Value> = host.agent.all_said("execution moved");
    let id = execution.rsplit('/').next().expect("an id");
    let told: Vec<[&str; 5]> = moves
        .iter()
        .map(|line| ["execution", "application", "pipeline", "from", "status"].map(|key| line[key].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(told, [[id, "shop", "one", "NOT_STARTED", "RUNNING"], [id, "shop", "one", "RUNNING", "SUCCEEDED"]]);

    let (code, answer) = host.door.post("/drain", &json!({"reason": "new kernel"})).await;
    assert_eq!(code, 200, "{answer}");
    let at_its_end = |line: &Value| line["phase"] == "ending";
    until("the drain to end", SOON, async || host.agent.said("drain protocol moved").filter(at_its_end)).await;
    let told = host.agent.all_said("drain protocol moved");
    let mut phase = "working".to_owned();
    for line in &told {
        assert_eq!(line["from"], phase, "{told:#?}");
        assert!(line["reason"].as_str().is_some_and(|reason| reason.contains("new kernel")), "{line}");
        phase = line["phase"].as_str().expect("a phase").to_owned();
    }
    let audit = std::fs::read_to_string(dir.path().join(&host.agent.id).join("state/audit.jsonl")).expect("the audit log");
    let events = audit.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")).filter(|event| event["event"] == "phase");
    let recorded: Vec<Value> = events.map(|event| event["to"].clone()).take(told.len()).collect();
    assert_eq!(told.iter().map(|line| line["phase"].clone()).collect::<Vec<_>>(), recorded);
}
