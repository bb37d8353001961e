//! `bellrock pipeline …` as a shell sees it, against the real API on a store in memory: what it prints, what it asks for, how it ends.

use std::path::PathBuf;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use axum::Extension;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use axum::response::Response;
use bellrock::host::clock::SystemClock;
use bellrock::http::api::Api;
use bellrock::http::api::Engine;
use bellrock::http::api::Start;
use bellrock::http::api::StartError;
use bellrock::http::api::What;
use bellrock::http::api::auth::Door;
use bellrock::model::Clock;
use bellrock::model::Timestamp;
use bellrock::orchestrator::engine::definition;
use bellrock::orchestrator::engine::definition::Rules;
use bellrock::orchestrator::engine::event::Message;
use bellrock::orchestrator::engine::execution::Execution;
use bellrock::orchestrator::engine::execution::ExecutionId;
use bellrock::orchestrator::engine::execution::Head;
use bellrock::orchestrator::engine::execution::Stage;
use bellrock::orchestrator::engine::execution::StageId;
use bellrock::orchestrator::engine::execution::Summary;
use bellrock::orchestrator::engine::problem::Problem;
use bellrock::orchestrator::engine::stage::Registry;
use bellrock::orchestrator::engine::status::Status;
use bellrock::orchestrator::store::Lease;
use bellrock::orchestrator::store::NewExecution;
use bellrock::orchestrator::store::Session;
use bellrock::orchestrator::store::Store;
use bellrock::orchestrator::store::Then;
use bellrock::orchestrator::store::Write;
use bellrock::orchestrator::store::model::ModelStore;
use bellrock::orchestrator::store::record;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio::net::UnixListener;
use tokio::process::Child;
use tokio::process::ChildStdout;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a process may take for what takes it a moment.
const LIMIT: Duration = Duration::from_secs(60);

/// Starts executions of two stages, `1` (a job) and `go` (a judgment), and runs nothing.
struct Fake(Arc<ModelStore>);

#[async_trait]
impl Engine for Fake {
    async fn start(&self, start: Start) -> Result<ExecutionId, StartError> {
        let execution = self.plan(start).await?;
        let listing = record::listing(&execution);
        let new = NewExecution { listing, record: record::encode(&execution), correlation_id: None, due: Timestamp(0), limit: None };
        self.0.create(new).await?;
        Ok(execution.id)
    }

    async fn plan(&self, start: Start) -> Result<Execution, StartError> {
        let What::Stored { application, pipeline } = start.what else { panic!("only stored pipelines are started here") };
        let found = self.0.definition_named(&application, &pipeline).await?.ok_or(StartError::NotFound(pipeline))?;
        let stage = |ref_id: &str, kind: &str, context: Value| {
            let head = Head { ref_id: ref_id.into(), kind: kind.into(), name: format!("Stage {ref_id}"), ..Head::default() };
            Stage::new(StageId(format!("E1-{ref_id}")), head, context.as_object().cloned().expect("an object"))
        };
        let asks = json!({ "instructions": "Release?", "judgmentInputs": [{ "value": "all" }, { "value": "few" }] });
        let stages = vec![stage("1", "runJob", json!({})), stage("go", "manualJudgment", asks)];
        let summary = Summary { application, name: found.name, trigger: start.trigger, status: Status::Running, ..Summary::default() };
        Ok(Execution::new(ExecutionId::from("E1"), summary, stages))
    }

    fn check(&self, document: &Value) -> Vec<Problem> {
        definition::check(document.to_string().as_bytes(), Rules::of(&Registry::standard())).problems
    }

    fn evaluate(&self, _: &Execution, _: &str) -> Result<Value, String> {
        Err("not here".to_owned())
    }

    fn is_enabled(&self) -> bool {
        true
    }

    fn enable(&self, _: bool) {}
}

struct Rig {
    store: Arc<ModelStore>,
    dir: tempfile::TempDir,
    /// So many streams of events are broken before one is served.
    trouble: Arc<AtomicU32>,
    _server: JoinSet<std::io::Result<()>>,
}

impl Rig {
    async fn start() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let store = Arc::new(ModelStore::new(Arc::clone(&clock)));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let trouble = Arc::new(AtomicU32::new(0));
        let left = Arc::clone(&trouble);
        let cut = move |request: Request, next: Next| {
            let broken = broken(&left, &request);
            async move {
                match broken {
                    Some(response) => response,
                    None => next.run(request).await,
                }
            }
        };
        let (_, tokens) = watch::channel(Arc::default());
        let router = Api::new(Arc::clone(&store) as Arc<dyn Store>, Arc::new(Fake(Arc::clone(&store))), tokens, clock).router();
        let router = router.layer(Extension(Door::Socket("ada".into()))).layer(from_fn(cut));
        let listener = UnixListener::bind(dir.path().join("agent.sock")).expect("a socket of our own");
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await });
        Self { store, dir, trouble, _server: server }
    }

    fn file(&self, name: &str, document: &Value) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, document.to_string()).expect("a directory of our own");
        path.to_str().expect("UTF-8").to_owned()
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("agent.sock")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellrock"));
        command.arg("pipeline").args(args).arg("--socket").arg(self.socket()).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn ask(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let ended = tokio::time::timeout(LIMIT, self.command(args).output()).await.expect("ends in time").expect("runs");
        said(&ended)
    }

    async fn json(&self, args: &[&str]) -> (Option<i32>, Value) {
        let (code, out, error) = self.ask(&[args, &["--output", "json"]].concat()).await;
        (code, serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{error}")))
    }

    /// Saves and starts the pipeline, and comes to own its execution.
    async fn started(&self) -> Play<'_> {
        let document = json!({ "application": "shop", "name": "release", "stages": [{ "type": "wait", "waitTime": 1 }] });
        let file = self.file("release.json", &document);
        assert_eq!(self.ask(&["save", &file]).await.0, Some(0));
        let (code, answer) = self.json(&["start", "shop", "release", "--param", "version=1.2", "--param", "note=a=b"]).await;
        assert_eq!((code, &answer["id"]), (Some(0), &json!("E1")));
        let session = Session { instance: "i-0a".into(), process: "p".into() };
        assert!(self.store.beat(&session, Duration::from_secs(3600)).await.expect("a store in memory"));
        let claimed = self.store.claim(&session, 1).await.expect("a store in memory").remove(0);
        let execution = record::decode(&claimed.lease.execution, None, &claimed.record).expect("our own record");
        Play { store: &self.store, lease: claimed.lease, execution }
    }
}

/// The first streams of events end at once, or are no streams.
fn broken(left: &AtomicU32, request: &Request) -> Option<Response> {
    let taken = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    match request.uri().path().ends_with("/events").then(taken)? {
        Ok(n) if n % 2 == 0 => Some(StatusCode::SERVICE_UNAVAILABLE.into_response()),
        Ok(_) => Some("data: {\"id\"".into_response()),
        Err(_) => None,
    }
}

/// The owner of an execution, by hand.
struct Play<'a> {
    store: &'a ModelStore,
    lease: Lease,
    execution: Execution,
}

impl Play<'_> {
    async fn write(&mut self, then: Then) {
        let changes = self.execution.take_changes();
        let record::FieldChanges { set, remove, stage_index } = record::encode_changes(&self.execution, &changes);
        let listing = Some(record::listing(&self.execution));
        let lease = self.lease.clone();
        let write = Write { lease, number: 1, set, remove, stage_index, listing, taken: 0, notices: Vec::new(), then };
        self.store.write(write).await.expect("ours");
    }

    async fn stage(&mut self, at: usize, status: Status) {
        self.execution.stage_mut(at).head_mut().status = status;
        self.write(Then::Keep).await;
    }

    async fn end(&mut self, status: Status) {
        self.execution.summary_mut().status = status;
        self.write(Then::Finish).await;
    }

    async fn inbox(&self) -> Vec<Message> {
        self.store.inbox(&self.lease, 0).await.expect("ours").into_iter().map(|(_, message)| message).collect()
    }
}

fn said(ended: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (ended.status.code(), text(&ended.stdout), text(&ended.stderr))
}

/// A command that runs, and what it prints.
struct Running {
    child: Child,
    lines: tokio::io::Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().expect("runs");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    /// Reads up to a line with these words.
    async fn until(&mut self, words: &str) -> String {
        let found = async {
            while let Some(line) = self.lines.next_line().await.expect("text") {
                if line.contains(words) {
                    return line;
                }
            }
            panic!("it ended before: {words}")
        };
        tokio::time::timeout(LIMIT, found).await.unwrap_or_else(|_| panic!("not in time: {words}"))
    }

    async fn ended(self) -> (Option<i32>, String, String) {
        said(&tokio::time::timeout(LIMIT, self.child.wait_with_output()).await.expect("ends in time").expect("runs"))
    }
}

#[tokio::test]
async fn definitions_are_saved_compared_and_taken_back() {
    let rig = Rig::start().await;
    let document = |wait: u64| json!({ "application": "shop", "name": "a b", "stages": [{ "type": "wait", "waitTime": wait }] });
    for (wait, version) in [(1, 1), (2, 2)] {
        let (code, saved) = rig.json(&["save", &rig.file("p.json", &document(wait))]).await;
        assert_eq!((code, &saved["version"], &saved["lastModifiedBy"]), (Some(0), &json!(version), &json!("ada")));
    }
    let (code, _, error) = rig.ask(&["save", &rig.file("p.json", &document(3)), "--version", "1"]).await;
    assert!(code == Some(2) && error.contains("pipeline-conflict") && error.contains("version 2"), "{error}");
    let wrong = json!({ "application": "shop", "name": "a b", "stages": [{ "type": "none" }, { "type": "wait", "waitTime": [] }] });
    let (code, out, error) = rig.ask(&["save", &rig.file("p.json", &wrong)]).await;
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(error.contains("/stages/0/type") && error.contains("pipeline-wrong"), "{error}");

    let (_, list, _) = rig.ask(&["list"]).await;
    assert!(list.contains("a b") && list.contains("ada"), "{list}");
    assert_eq!(rig.json(&["list", "other"]).await, (Some(0), json!([])));
    let (_, history) = rig.json(&["history", "shop", "a b"]).await;
    assert_eq!(history.as_array().map(Vec::len), Some(2));
    let (code, diff, _) = rig.ask(&["diff", "shop", "a b"]).await;
    assert!(code == Some(0) && diff.contains("--- version 1 by ada\n+++ version 2 by ada\n"), "{diff}");
    assert!(diff.contains("-      \"waitTime\": 1\n+      \"waitTime\": 2\n"), "{diff}");
    let (code, reverted) = rig.json(&["revert", "shop", "a b", "1"]).await;
    assert_eq!((code, &reverted["version"], &reverted["stages"][0]["waitTime"]), (Some(0), &json!(3), &json!(1)));
    assert_eq!(rig.json(&["diff", "shop", "a b", "1", "3"]).await.1["same"], json!(true));
    let (code, _, error) = rig.ask(&["history", "shop", "gone"]).await;
    assert!(code == Some(2) && error.contains("pipeline-not-found"), "{error}");
}

#[tokio::test]
async fn a_watch_tells_each_step_once_over_broken_streams_and_ends_as_the_execution_does() {
    let rig = Rig::start().await;
    let mut play = rig.started().await;
    assert_eq!(play.execution.summary().trigger["parameters"], json!({ "version": "1.2", "note": "a=b" }));
    rig.trouble.store(4, Ordering::Relaxed);
    let mut watch = Running::spawn(rig.command(&["watch", "E1"]));
    watch.until("shop/release E1").await;
    play.stage(0, Status::Running).await;
    watch.until("RUNNING      [1] Stage 1 (runJob)").await;
    play.stage(0, Status::Succeeded).await;
    play.stage(1, Status::Running).await;
    watch.until("SUCCEEDED    [1] Stage 1").await;
    watch.until("RUNNING      [go]").await;
    let asked = [watch.until("Release?").await, watch.until("inputs").await, watch.until("answer with").await].concat();
    assert!(asked.contains("all, few") && asked.contains("judge E1 go continue --input INPUT --socket"), "{asked}");
    let error = json!({ "details": { "errors": ["it was said: stop"] } });
    play.execution.stage_mut(1).context_mut().insert("exception".into(), error);
    play.stage(1, Status::Terminal).await;
    play.end(Status::Terminal).await;
    watch.until("TERMINAL     [go]").await;
    watch.until("error: it was said: stop").await;
    let (code, rest, error) = watch.ended().await;
    assert_eq!(code, Some(4), "{error}");
    assert!(rest.is_empty() && error.contains("trying again"), "{rest}{error}");

    let (code, again, _) = rig.ask(&["watch", "E1", "--output", "json"]).await;
    let steps: Vec<Value> = again.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let last = steps.last().expect("some steps");
    assert_eq!((code, steps.len(), &last["status"], &last["what"]), (Some(4), 3, &json!("TERMINAL"), &json!("execution")));
}

#[tokio::test]
async fn each_end_has_its_exit_code() {
    for (status, code) in [(Status::Succeeded, 0), (Status::Terminal, 4), (Status::Canceled, 5), (Status::Stopped, 6)] {
        let rig = Rig::start().await;
        rig.started().await.end(status).await;
        assert_eq!(rig.ask(&["watch", "E1"]).await.0, Some(code), "{status}");
    }
}

#[tokio::test]
async fn whoever_leaves_a_watch_leaves_the_execution_running_and_knows_the_way_back() {
    let rig = Rig::start().await;
    let play = rig.started().await;
    let mut watch = Running::spawn(rig.command(&["watch", "E1"]));
    watch.until("shop/release E1").await;
    kill_process(Pid::from_raw(watch.child.id().expect("it runs").cast_signed()).expect("not 0"), Signal::INT).expect("our own child");
    let (code, _, error) = watch.ended().await;
    assert_eq!(code, Some(3));
    assert!(error.contains("bellrock pipeline watch E1 --socket") && error.contains("cancel E1"), "{error}");
    assert!(play.inbox().await.is_empty(), "nothing was asked of it");
}

#[tokio::test]
async fn orders_reach_the_inbox_and_those_without_effect_are_refused() {
    let rig = Rig::start().await;
    let mut play = rig.started().await;
    play.stage(1, Status::Running).await;
    let refused = [
        (&["judge", "E1", "1", "continue"][..], "asks nobody"),
        (&["judge", "E1", "go", "continue", "--input", "none"], "all, few"),
        (&["judge", "E1", "go", "continue"], "--input INPUT; it offers: all, few"),
        (&["judge", "E1", "gone", "stop"], "[go] Stage go"),
        (&["resume", "E1"], "paused"),
        (&["cancel", "E2"], "E2"),
        (&["start", "shop", "gone"], "gone"),
    ];
    for (args, why) in refused {
        let (code, out, error) = rig.ask(args).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}");
        assert!(error.contains(why), "{args:?}: {error}");
    }
    assert!(play.inbox().await.is_empty(), "what was refused was not sent");
    let (code, answer) = rig.json(&["judge", "E1", "Stage go", "continue", "--input", "few"]).await;
    assert_eq!((code, &answer["order"]), (Some(0), &json!("judge")));
    for args in [&["skip", "E1", "1"][..], &["pause", "E1"], &["restart", "E1", "E1-1"], &["cancel", "E1", "--reason", "too late"]] {
        assert_eq!(rig.ask(args).await.0, Some(0), "{args:?}");
    }
    let inbox = play.inbox().await;
    let context = json!({ "judgmentStatus": "continue", "judgmentInput": "few" });
    assert!(matches!(&inbox[0], Message::Patch { stage, context: c, .. } if stage.as_str() == "E1-go" && json!(c) == context), "{inbox:?}");
    assert!(matches!(&inbox[1], Message::Patch { stage, context: c, .. } if stage.as_str() == "E1-1" && c["manualSkip"] == true));
    assert!(matches!(&inbox[2], Message::Pause { by } if by == "ada"));
    assert!(matches!(&inbox[3], Message::Restart { stage, .. } if stage.as_str() == "E1-1"));
    assert_eq!(inbox[4], Message::Cancel { by: "ada".into(), reason: Some("too late".into()) });
}

#[tokio::test]
async fn a_judgment_is_answered_only_once_it_is_asked() {
    let rig = Rig::start().await;
    let mut play = rig.started().await;
    for answer in [&["judge", "E1", "go", "continue", "--input", "few"][..], &["judge", "E1", "go", "stop"]] {
        let (code, out, error) = rig.ask(answer).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{answer:?}");
        assert!(error.contains("pipeline-conflict") && error.contains("has not begun"), "{error}");
    }
    assert!(play.inbox().await.is_empty(), "nothing was said");
    play.end(Status::Terminal).await;
    let (code, _, error) = rig.ask(&["judge", "E1", "go", "stop"]).await;
    assert!(code == Some(2) && error.contains("the execution has ended: TERMINAL"), "{error}");
}

#[tokio::test]
async fn a_parameter_that_the_pipeline_does_not_declare_is_refused_with_what_was_meant() {
    let rig = Rig::start().await;
    let document = |config: Value| json!({ "application": "shop", "name": "release", "id": "r", "parameterConfig": config, "stages": [{ "type": "wait", "waitTime": 1 }] });
    let declared = json!([{ "name": "version" }, { "name": "depth", "default": "full" }]);
    assert_eq!(rig.ask(&["save", &rig.file("release.json", &document(declared))]).await.0, Some(0));
    for (more, name) in [(&["--plan"][..], "release"), (&[], "release"), (&[], "r")] {
        let start = [&["start", "shop", name, "--param", "verison=2", "--param", "depth=1", "--param", "x=1"], more].concat();
        let (code, out, error) = rig.ask(&start).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{start:?}");
        assert!(error.contains("pipeline-wrong") && error.contains("did you mean version?"), "{error}");
        assert!(error.contains("/parameters/x") && error.contains("depth, version") && !error.contains("/parameters/depth"), "{error}");
    }
    assert_eq!(rig.store.load(&"E1".into()).await.expect("a store in memory"), None);
    assert_eq!(rig.ask(&["save", &rig.file("release.json", &document(json!([])))]).await.0, Some(0));
    assert_eq!(rig.ask(&["start", "shop", "release", "--param", "verison=2"]).await.0, Some(0), "none is declared, so any may come");
}

#[tokio::test]
async fn a_watch_of_what_is_not_there_says_where_to_look_and_not_that_it_goes_on() {
    let rig = Rig::start().await;
    let (code, out, error) = rig.ask(&["watch", "E9"]).await;
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(error.contains("pipeline-not-found") && error.contains("bellrock pipeline list") && !error.contains("goes on"), "{error}");
}

#[tokio::test]
async fn a_watch_names_whom_an_execution_waits_for_once() {
    let rig = Rig::start().await;
    let waits = |id: &str, status: Status| {
        let summary = Summary {
            application: "shop".into(),
            name: "release".into(),
            pipeline_config_id: Some("r".into()),
            limit_concurrent: true,
            status,
            ..Summary::default()
        };
        Execution::new(ExecutionId::from(id), summary, Vec::new())
    };
    for execution in [waits("E7", Status::Running), waits("E8", Status::NotStarted)] {
        let (listing, record) = (record::listing(&execution), record::encode(&execution));
        let new = NewExecution { listing, record, correlation_id: None, due: Timestamp(0), limit: None };
        rig.store.create(new).await.expect("a store in memory");
    }
    let mut watch = Running::spawn(rig.command(&["watch", "E8"]));
    watch.until("NOT_STARTED  shop/release E8").await;
    let line = watch.until("waits for").await;
    assert!(line.contains("E7") && line.contains("limitConcurrent"), "{line}");
}

#[tokio::test]
async fn a_plan_is_shown_and_nothing_begins() {
    let rig = Rig::start().await;
    let document = json!({ "application": "shop", "name": "release", "stages": [{ "type": "wait", "waitTime": 1 }] });
    assert_eq!(rig.ask(&["save", &rig.file("release.json", &document)]).await.0, Some(0));
    let start = ["start", "shop", "release", "--param", "version=1.2", "--plan"];
    let (code, out, error) = rig.ask(&start).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("nothing is started") && out.contains("version = 1.2") && out.contains("[go] Stage go (manualJudgment)"), "{out}");
    assert_eq!(rig.json(&start).await.1["trigger"]["parameters"], json!({ "version": "1.2" }));
    assert_eq!(rig.store.load(&"E1".into()).await.expect("a store in memory"), None);
}

#[tokio::test]
async fn late_triggers_are_shown_and_decided_on() {
    let rig = Rig::start().await;
    assert_eq!(rig.ask(&["triggers"]).await.1.trim(), "no trigger waits for a decision");
    assert_eq!(rig.ask(&["triggers", "fire"]).await.0, Some(2), "there is nothing to decide on");
    let held = json!({ "since": 7, "count": 60, "some": ["shop/nightly"] }).to_string();
    rig.store.set_mark("scheduler/held", &held).await.expect("a store in memory");
    let (code, out, _) = rig.ask(&["triggers"]).await;
    assert!(code == Some(0) && out.contains("60 cron triggers") && out.contains("shop/nightly"), "{out}");
    let (code, answer) = rig.json(&["triggers", "drop"]).await;
    assert_eq!((code, &answer["decision"], &answer["count"]), (Some(0), &json!("drop"), &json!(60)));
    let decision = rig.store.mark("scheduler/decision").await.expect("a store in memory");
    assert_eq!(decision, Some(json!({ "since": 7, "decision": "drop" }).to_string()));
}
