use axum::body::Body;
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use futures::StreamExt;
use serde_json::json;
use tower::ServiceExt;

use super::*;
use crate::host::clock::VirtualClock;
use crate::model::Timestamp;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::Head;
use crate::orchestrator::engine::execution::Stage;
use crate::orchestrator::engine::execution::StageId;
use crate::orchestrator::engine::execution::Summary;
use crate::orchestrator::engine::status::Status;
use crate::orchestrator::store::Claimed;
use crate::orchestrator::store::NewExecution;
use crate::orchestrator::store::Session;
use crate::orchestrator::store::Then;
use crate::orchestrator::store::Write;
use crate::orchestrator::store::model::ModelStore;

#[derive(Default)]
struct FakeEngine {
    started: Mutex<Vec<Start>>,
    enabled: Mutex<bool>,
}

#[async_trait]
impl Engine for FakeEngine {
    async fn start(&self, start: Start) -> Result<ExecutionId, StartError> {
        match &start.what {
            What::Stored { pipeline, .. } if pipeline == "gone" => return Err(StartError::NotFound("gone".into())),
            What::Stored { pipeline, .. } if pipeline == "off" => return Err(StartError::Disabled("off".into())),
            What::Stored { .. } | What::Document(_) | What::Jobs { .. } => {}
        }
        self.started.lock().unwrap().push(start);
        Ok(ExecutionId::from("NEW"))
    }

    async fn plan(&self, _: Start) -> Result<Execution, StartError> {
        Ok(Execution::default())
    }

    fn check(&self, document: &Value) -> Vec<Problem> {
        if document["stages"].is_array() { Vec::new() } else { vec![Problem::error("/stages", "is missing")] }
    }

    fn evaluate(&self, _: &Execution, expression: &str) -> Result<Value, String> {
        if expression == "1 + 1" { Ok(json!(2)) } else { Err("no".to_owned()) }
    }

    fn is_enabled(&self) -> bool {
        *self.enabled.lock().unwrap()
    }

    fn enable(&self, enabled: bool) {
        *self.enabled.lock().unwrap() = enabled;
    }
}

struct Rig {
    store: Arc<ModelStore>,
    engine: Arc<FakeEngine>,
    router: Router,
}

impl Rig {
    fn new() -> Self {
        Self::with("")
    }

    /// With this token file, in which `SUM` stands for the digest of the token "t".
    fn with(file: &str) -> Self {
        let tokens = Tokens::parse(&file.replace("SUM", &tokens::digest("t"))).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::start(Timestamp(1_700_000_000_000)));
        let store = Arc::new(ModelStore::new(Arc::clone(&clock)));
        let engine = Arc::new(FakeEngine::default());
        let router = Api::new(store.clone(), engine.clone(), watch::channel(Arc::new(tokens)).1, clock).router();
        Self { store, engine, router }
    }

    async fn ask_from(&self, door: Door, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json").extension(door);
        self.answer(request, body).await
    }

    async fn answer(&self, request: axum::http::request::Builder, body: Option<Value>) -> (StatusCode, Value) {
        let request = request.body(body.map_or_else(Body::empty, |b| Body::from(b.to_string()))).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), BODY_LIMIT).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn ask_as(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json").extension(Door::Network);
        self.answer(request.header("authorization", format!("Bearer {token}")), body).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        self.ask_from(Door::Socket("ada".into()), method, path, body).await
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.ask(Method::GET, path, None).await
    }

    async fn execution(&self, id: &str, kind: ExecutionType, status: Status) {
        let id = ExecutionId::from(id);
        let summary = Summary { kind, application: "shop".into(), name: "deploy".into(), status, ..Summary::default() };
        let head = Head { ref_id: "1".into(), kind: "wait".into(), name: "pause".into(), ..Head::default() };
        let stage = Stage::new(StageId(format!("{id}-1")), head, Object::new());
        self.put(Execution::new(id.clone(), summary, vec![stage])).await;
    }

    async fn execution_of(&self, id: &str, definition: &str) {
        let summary = Summary { application: "shop".into(), pipeline_config_id: Some(definition.into()), ..Summary::default() };
        self.put(Execution::new(id.into(), summary, vec![])).await;
    }

    async fn put(&self, execution: Execution) {
        let new = NewExecution {
            listing: record::listing(&execution),
            record: record::encode(&execution),
            correlation_id: None,
            due: Timestamp(0),
            limit: None,
        };
        self.store.create(new).await.unwrap();
    }

    async fn listen(&self, id: &str) -> Result<axum::body::BodyDataStream, StatusCode> {
        let request = Request::get(format!("/pipelines/{id}/events")).extension(Door::Socket("ada".into())).body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        if response.status() == StatusCode::OK { Ok(response.into_body().into_data_stream()) } else { Err(response.status()) }
    }

    async fn write(&self, claimed: &Claimed, number: u32, execution: &mut Execution, then: Then) {
        let changes = execution.take_changes();
        let record::FieldChanges { set, remove, stage_index } = record::encode_changes(execution, &changes);
        let (lease, listing) = (claimed.lease.clone(), Some(record::listing(execution)));
        let write = Write { lease, number, set, remove, stage_index, listing, taken: 0, notices: Vec::new(), then };
        self.store.write(write).await.unwrap();
    }

    /// Makes of an execution one that this version cannot read.
    async fn spoil(&self, id: &str) {
        let session = Session { instance: "i-newer".into(), process: "p".into() };
        self.store.beat(&session, Duration::from_secs(60)).await.unwrap();
        let claimed = self.store.claim_one(&session, &id.into()).await.unwrap().unwrap();
        let set = vec![("status".to_owned(), "HIBERNATING".to_owned())];
        let (lease, then) = (claimed.lease, Then::Park { due: None });
        let write = Write { lease, number: 1, set, remove: vec![], stage_index: None, listing: None, taken: 0, notices: vec![], then };
        self.store.write(write).await.unwrap();
    }

    async fn claim(&self) -> Claimed {
        let session = Session { instance: "i-0a".into(), process: "p".into() };
        self.store.beat(&session, Duration::from_secs(60)).await.unwrap();
        self.store.claim(&session, 1).await.unwrap().remove(0)
    }
}

const PIPELINE: ExecutionType = ExecutionType::Pipeline;

#[tokio::test(start_paused = true)]
async fn an_execution_is_shown_as_orca_shows_it() {
    let rig = Rig::new();
    rig.execution("E1", PIPELINE, Status::Running).await;
    let (status, body) = rig.get("/pipelines/E1").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&body["id"], &body["type"], &body["status"]), (&json!("E1"), &json!("PIPELINE"), &json!("RUNNING")));
    assert_eq!((&body["stages"][0]["refId"], &body["stages"][0]["type"]), (&json!("1"), &json!("wait")));
    assert_eq!(rig.get("/pipelines/none").await.0, StatusCode::NOT_FOUND);
    assert_eq!(rig.get("/tasks/E1").await.0, StatusCode::NOT_FOUND, "a pipeline is no task");
}

#[tokio::test(start_paused = true)]
async fn what_changes_an_execution_goes_to_its_inbox_with_the_name_of_the_caller() {
    let rig = Rig::new();
    rig.execution("E1", PIPELINE, Status::Running).await;
    let put = Method::PUT;
    assert_eq!(rig.ask(put.clone(), "/pipelines/E1/cancel?reason=late", None).await.0, StatusCode::ACCEPTED);
    assert_eq!(rig.ask(put.clone(), "/pipelines/E1/pause", None).await.0, StatusCode::ACCEPTED);
    assert_eq!(rig.ask(put.clone(), "/pipelines/E1/resume", None).await.0, StatusCode::CONFLICT, "it is not paused");
    assert_eq!(rig.ask(put.clone(), "/pipelines/E1/stages/E1-1/restart", Some(json!({}))).await.0, StatusCode::ACCEPTED);
    let judged = rig.ask(Method::PATCH, "/pipelines/E1/stages/E1-1", Some(json!({ "judgmentStatus": "continue" }))).await;
    assert_eq!(judged.0, StatusCode::ACCEPTED);
    assert_eq!(rig.ask(Method::PATCH, "/pipelines/E1/stages/none", Some(json!({}))).await.0, StatusCode::NOT_FOUND);
    let inbox: Vec<Message> = rig.claim().await.inbox.into_iter().map(|(_, m)| m).collect();
    assert_eq!(inbox[0], Message::Cancel { by: "ada".into(), reason: Some("late".into()) });
    assert_eq!(inbox[1], Message::Pause { by: "ada".into() });
    assert!(matches!(&inbox[2], Message::Restart { by, .. } if by == "ada"));
    assert!(matches!(&inbox[3], Message::Patch { by, context, .. } if by == "ada" && context["judgmentStatus"] == "continue"));
    assert_eq!(inbox.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_loopback_caller_without_a_token_may_look_and_nothing_else() {
    let rig = Rig::new();
    rig.execution("E1", PIPELINE, Status::Running).await;
    assert_eq!(rig.ask_from(Door::Loopback, Method::GET, "/pipelines/E1", None).await.0, StatusCode::OK);
    for (method, path) in [
        (Method::PUT, "/pipelines/E1/cancel"),
        (Method::POST, "/pipelines/shop/deploy"),
        (Method::POST, "/pipelines"),
        (Method::POST, "/tasks"),
        (Method::POST, "/admin/instance/enabled"),
        (Method::DELETE, "/pipelines/E1"),
    ] {
        let (status, _) = rig.ask_from(Door::Loopback, method.clone(), path, Some(json!({}))).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
    }
    assert_eq!(rig.ask_from(Door::Network, Method::GET, "/pipelines/E1", None).await.0, StatusCode::UNAUTHORIZED);
    assert!(rig.engine.started.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stored_pipeline_is_started_with_its_trigger() {
    let rig = Rig::new();
    let (status, body) = rig.ask(Method::POST, "/pipelines/shop/deploy", Some(json!({ "parameters": { "v": 2 } }))).await;
    assert_eq!((status, &body["ref"]), (StatusCode::ACCEPTED, &json!("/pipelines/NEW")));
    let started = rig.engine.started.lock().unwrap().remove(0);
    assert_eq!(started.what, What::Stored { application: "shop".into(), pipeline: "deploy".into() });
    assert_eq!((started.trigger["parameters"]["v"].clone(), started.authentication.user), (json!(2), "ada".to_owned()));
    assert_eq!(rig.ask(Method::POST, "/pipelines/shop/gone", Some(json!({}))).await.0, StatusCode::NOT_FOUND);
    assert_eq!(rig.ask(Method::POST, "/pipelines/shop/off", Some(json!({}))).await.0, StatusCode::CONFLICT);
}

#[tokio::test(start_paused = true)]
async fn tasks_are_lists_of_jobs_of_an_application() {
    let rig = Rig::new();
    let job = json!({ "application": "shop", "description": "wait", "job": [{ "type": "wait", "waitTime": 1 }] });
    let (status, body) = rig.ask(Method::POST, "/tasks", Some(job)).await;
    assert_eq!((status, &body["ref"]), (StatusCode::OK, &json!("/tasks/NEW")));
    assert_eq!(rig.ask(Method::POST, "/tasks", Some(json!({ "job": [{}] }))).await.0, StatusCode::BAD_REQUEST, "no application");
    assert_eq!(rig.ask(Method::POST, "/applications/shop/tasks", Some(json!({ "job": [] }))).await.0, StatusCode::BAD_REQUEST, "no job");
    rig.execution("T1", ExecutionType::Orchestration, Status::Running).await;
    let (_, view) = rig.get("/tasks/T1").await;
    assert_eq!((&view["status"], &view["execution"]["stages"][0]["refId"]), (&json!("RUNNING"), &json!("1")));
    assert_eq!(rig.get("/applications/shop/tasks?statuses=running").await.1.as_array().unwrap().len(), 1);
    assert_eq!(rig.get("/applications/shop/tasks?statuses=CANCELED").await.1.as_array().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn definitions_have_versions_and_a_save_on_an_old_one_is_refused() {
    let rig = Rig::new();
    let document = |limit: bool| json!({ "application": "shop", "name": "deploy", "stages": [], "limitConcurrent": limit });
    let (status, first) = rig.ask(Method::POST, "/pipelines", Some(document(true))).await;
    assert_eq!((status, &first["version"], &first["lastModifiedBy"]), (StatusCode::OK, &json!(1), &json!("ada")));
    let (_, second) = rig.ask(Method::POST, "/pipelines", Some(document(false))).await;
    assert_eq!((&second["id"], &second["version"]), (&first["id"], &json!(2)), "the same name is the same pipeline");
    let mut stale = first.clone();
    stale.as_object_mut().unwrap().retain(|key, _| !["lastModifiedBy", "updateTs"].contains(&key.as_str()));
    assert_eq!(rig.ask(Method::POST, "/pipelines", Some(stale)).await.0, StatusCode::CONFLICT);
    let id = first["id"].as_str().unwrap();
    assert_eq!(rig.get(&format!("/pipelineConfigs/{id}/history")).await.1.as_array().unwrap().len(), 2);
    assert_eq!(rig.get(&format!("/pipelineConfigs/{id}?version=1")).await.1["limitConcurrent"], json!(true));
    assert_eq!(rig.ask(Method::DELETE, "/pipelines/shop/deploy", None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(rig.get(&format!("/pipelineConfigs/{id}")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(rig.get("/pipelineConfigs").await.1, json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_definition_is_refused_with_all_that_is_wrong() {
    let rig = Rig::new();
    let (status, body) = rig.ask(Method::POST, "/pipelines", Some(json!({ "application": "shop", "name": "deploy" }))).await;
    assert_eq!((status, &body["problems"][0]["path"]), (StatusCode::BAD_REQUEST, &json!("/stages")));
    assert_eq!(rig.ask(Method::POST, "/pipelines", Some(json!({ "name": "deploy" }))).await.0, StatusCode::BAD_REQUEST);
    for key in ["id", "application", "name"] {
        for odd in ["a\nb", "a\u{0}", "\u{1b}[2J", &"x".repeat(257)] {
            let mut document = json!({ "id": "i", "application": "shop", "name": "deploy", "stages": [] });
            document[key] = odd.into();
            let (status, body) = rig.ask(Method::POST, "/pipelines", Some(document)).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{key} {odd:?}");
            assert!(body["message"].as_str().unwrap().contains(key), "{body}");
        }
    }
    assert_eq!(rig.get("/pipelineConfigs").await.1, json!([]));
}

#[tokio::test(start_paused = true)]
async fn who_executes_what_has_both_shapes() {
    let rig = Rig::new();
    rig.execution("E1", PIPELINE, Status::Running).await;
    rig.claim().await;
    let one = json!({ "i-0a": { "overdue": false, "count": 1, "executions": [{ "application": "shop", "url": "/pipelines/E1" }] } });
    assert_eq!(rig.get("/executions/activeByInstance").await.1, one);
    assert_eq!(rig.get("/executions/activeByInstance?shape=count").await.1, json!({ "i-0a": 1 }));
    assert_eq!(rig.get("/executions/activeByInstance?shape=round").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn intake_is_set_by_a_boolean_or_the_text_orca_takes() {
    let rig = Rig::new();
    for (said, enabled) in [(json!(true), true), (json!("false"), false), (json!("True"), true)] {
        let (status, body) = rig.ask(Method::POST, "/admin/instance/enabled", Some(json!({ "enabled": said }))).await;
        assert_eq!((status, body["enabled"].clone()), (StatusCode::OK, json!(enabled)));
    }
    assert_eq!(rig.ask(Method::POST, "/admin/instance/enabled", Some(json!({}))).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn an_operator_judges_and_skips_and_changes_nothing_else() {
    let rig = Rig::with("[[token]]\nname = \"bot\"\nrole = \"operate\"\nsha256 = \"SUM\"");
    rig.execution("E1", PIPELINE, Status::Running).await;
    let patch = |body: Value| rig.ask_as("t", Method::PATCH, "/pipelines/E1/stages/E1-1", Some(body));
    assert_eq!(patch(json!({ "judgmentStatus": "stop", "judgmentInput": "no" })).await.0, StatusCode::ACCEPTED);
    for key in ["command", "selectedStageRoles", "requiredJudgmentRoles"] {
        assert_eq!(patch(json!({ key: [], "judgmentStatus": "continue" })).await.0, StatusCode::FORBIDDEN, "{key}");
    }
    for path in ["/tasks", "/applications/shop/tasks", "/pipelines/start", "/pipelines"] {
        let body = json!({ "application": "shop", "name": "n", "stages": [], "job": [{ "type": "runJob" }] });
        assert_eq!(rig.ask_as("t", Method::POST, path, Some(body)).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(rig.claim().await.inbox.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn lists_have_pages_and_refuse_what_they_do_not_know() {
    let rig = Rig::new();
    for id in ["E1", "E2", "E3"] {
        rig.execution(id, PIPELINE, Status::Running).await;
    }
    let ids = |body: &Value| body.as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&rig.get("/applications/shop/pipelines?limit=2").await.1), ["E3", "E2"]);
    assert_eq!(ids(&rig.get("/applications/shop/pipelines?limit=2&before=E2&expand=false").await.1), ["E1"]);
    for wrong in ["limit=0", "limit=3501", "limit=3501&expand=false", "limit=x", "statuses=odd", "page=0", "page=2&before=E1", "page=501"] {
        assert_eq!(rig.get(&format!("/applications/shop/pipelines?{wrong}")).await.0, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_expression_that_fails_is_an_answer_and_no_error() {
    let rig = Rig::new();
    rig.execution("E1", PIPELINE, Status::Running).await;
    assert_eq!(rig.get("/pipelines/E1/evaluateExpression?expression=1%20%2B%201").await.1["result"], json!(2));
    let (status, body) = rig.get("/pipelines/E1/evaluateExpression?expression=x").await;
    assert_eq!((status, &body["detail"]["x"][0]["level"]), (StatusCode::OK, &json!("ERROR")));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_asks_too_often_is_told_when_to_come_back() {
    let rig = Rig::new();
    let mut last = (StatusCode::OK, Value::Null);
    for _ in 0..300 {
        last = rig.get("/admin/instance/enabled").await;
    }
    assert_eq!((last.0, &last.1["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("too_often")));
}

#[tokio::test(start_paused = true)]
async fn broken_bodies_and_unknown_calls_are_told_in_the_same_form() {
    let rig = Rig::new();
    let request = Request::post("/tasks").header(CONTENT_TYPE, "application/json").extension(Door::Socket("ada".into()));
    let response = rig.router.clone().oneshot(request.body(Body::from("{\"job\": [")).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(rig.get("/nothing/here").await.1["code"], json!("no_such_call"));
}

#[tokio::test(start_paused = true)]
async fn progress_is_told_step_by_step_until_the_end() {
    let rig = Rig::new();
    rig.execution("E1", PIPELINE, Status::Running).await;
    let claimed = rig.claim().await;
    let mut stream = rig.listen("E1").await.unwrap();
    let first = String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(first.contains("\"status\":\"RUNNING\"") && first.starts_with("event: execution"), "{first}");
    let mut execution = record::decode(&claimed.lease.execution, None, &claimed.record).unwrap();
    execution.stage_mut(0).head_mut().status = Status::Succeeded;
    execution.summary_mut().status = Status::Succeeded;
    rig.write(&claimed, 1, &mut execution, Then::Finish).await;
    let mut rest = String::new();
    while let Some(part) = stream.next().await {
        rest.push_str(&String::from_utf8_lossy(&part.unwrap()));
    }
    assert!(rest.contains("event: stage") && rest.contains("\"status\":\"SUCCEEDED\""), "{rest}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_has_another_end_is_told() {
    let rig = Rig::new();
    rig.execution("E1", PIPELINE, Status::Running).await;
    let claimed = rig.claim().await;
    let mut execution = record::decode(&claimed.lease.execution, None, &claimed.record).unwrap();
    let mut stream = rig.listen("E1").await.unwrap();
    stream.next().await.unwrap().unwrap();
    for (number, end) in [(1, 1_700_000_060_000_i64), (2, 1_700_000_120_000)] {
        execution.stage_mut(0).head_mut().status = Status::Running;
        execution.stage_mut(0).head_mut().scheduled_time = Some(Timestamp(end));
        rig.write(&claimed, number, &mut execution, Then::Keep).await;
        let told = tokio::time::timeout(Duration::from_secs(60), stream.next()).await.expect("it is told").unwrap().unwrap();
        let told = String::from_utf8(told.to_vec()).unwrap();
        assert!(told.contains(&format!("\"scheduledTime\":{end}")), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_who_listen_to_an_execution_share_one_look_at_it() {
    let rig = Rig::new();
    rig.execution("E1", PIPELINE, Status::Running).await;
    let (watched, clock) = (events::Watched::default(), VirtualClock::start(Timestamp(0)));
    let (one, two) = (watched.of(&"E1".into()), watched.of(&"E1".into()));
    let look = async |one: &events::One| match one.look(&*rig.store, &clock).await.found {
        events::Found::Steps { steps, .. } => steps,
        events::Found::Nothing | events::Found::NoAnswer(_) => panic!("it is there"),
    };
    let first = look(&one).await;
    assert!(Arc::ptr_eq(&first, &look(&two).await), "the store is not asked again");
    tokio::time::sleep(events::LOOK_EVERY).await;
    assert!(!Arc::ptr_eq(&first, &look(&two).await));
}

#[tokio::test(start_paused = true)]
async fn there_is_room_for_so_many_listeners_and_whoever_leaves_makes_room() {
    let rig = Rig::new();
    rig.execution("E1", PIPELINE, Status::Running).await;
    let mut streams = Vec::new();
    for _ in 0..events::STREAMS {
        streams.push(rig.listen("E1").await.unwrap());
    }
    assert_eq!(rig.listen("E1").await.err(), Some(StatusCode::SERVICE_UNAVAILABLE));
    streams.pop();
    assert!(rig.listen("E1").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_decision_on_held_triggers_counts_for_those_that_were_looked_at() {
    use crate::orchestrator::runner::scheduler;
    let rig = Rig::new();
    let path = "/admin/triggers/held";
    assert_eq!(rig.get(path).await.1, json!({ "count": 0, "some": [] }));
    let fire = |since: i64| rig.ask(Method::POST, path, Some(json!({ "decision": "fire", "since": since })));
    assert_eq!(fire(7).await.0, StatusCode::CONFLICT, "nothing is held");
    let held = scheduler::Held { since: Timestamp(7), count: 60, some: vec!["shop/nightly".into()] };
    rig.store.set_mark("scheduler/held", &serde_json::to_string(&held).unwrap()).await.unwrap();
    assert_eq!(rig.get(path).await.1, json!({ "count": 60, "some": ["shop/nightly"], "since": 7 }));
    assert_eq!(fire(6).await.0, StatusCode::CONFLICT, "others are held");
    assert_eq!(rig.ask(Method::POST, path, Some(json!({ "decision": "perhaps", "since": 7 }))).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(rig.ask_from(Door::Loopback, Method::POST, path, Some(json!({}))).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(rig.store.mark("scheduler/decision").await.unwrap(), None);
    assert_eq!(fire(7).await.0, StatusCode::ACCEPTED);
    assert_eq!(rig.store.mark("scheduler/decision").await.unwrap(), Some(json!({ "since": 7, "decision": "fire" }).to_string()));
}

#[test]
fn the_document_names_every_call_and_what_it_needs() {
    let document: Value = serde_json::from_str(&openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    for path in ["/pipelines/{id}", "/pipelines/{id}/stages/{stage}", "/tasks", "/executions/activeByInstance", "/pipelineConfigs"] {
        assert!(paths.contains_key(path), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_webhook_starts_what_listens_once_for_each_event_if_its_token_is_right() {
    let rig = Rig::new();
    let hook = json!({"type": "webhook", "enabled": true, "source": "build", "token": "secret"});
    let pipeline = json!({"application": "shop", "name": "deploy", "id": "c-1", "stages": [], "triggers": [hook]});
    assert_eq!(rig.ask(Method::POST, "/pipelines", Some(pipeline)).await.0, StatusCode::OK);
    let call = async |source: &str, token: &str| {
        let request =
            Request::post(format!("/webhooks/webhook/{source}")).header(CONTENT_TYPE, "application/json").extension(Door::Network);
        let request = request.header("x-webhook-token", token).header("x-github-delivery", "e-1").body(Body::from("{}")).unwrap();
        let response = rig.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), BODY_LIMIT).await.unwrap();
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    assert_eq!(call("build", "guess").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(call("other", "secret").await.0, StatusCode::NOT_FOUND);
    let (status, fired) = call("build", "secret").await;
    assert_eq!((status, &fired["eventId"]), (StatusCode::OK, &json!("e-1")));
    assert_eq!(fired["executions"].as_array().unwrap().len(), 1);
    assert_eq!(call("build", "secret").await.1, fired);
}

#[tokio::test(start_paused = true)]
async fn a_start_needs_no_body_and_names_who_was_let_in_whatever_the_body_says() {
    let rig = Rig::with("[[token]]\nname = \"bot\"\nrole = \"operate\"\nsha256 = \"SUM\"");
    let request = Request::post("/pipelines/shop/deploy").extension(Door::Socket("ada".into()));
    assert_eq!(rig.answer(request, None).await.0, StatusCode::ACCEPTED);
    let forged = json!({ "user": "grace", "parameters": { "v": 1 } });
    assert_eq!(rig.ask_as("t", Method::POST, "/pipelines/shop/deploy", Some(forged.clone())).await.0, StatusCode::ACCEPTED);
    let document = json!({ "application": "shop", "name": "n", "stages": [], "trigger": forged });
    assert_eq!(rig.ask(Method::POST, "/pipelines/start", Some(document)).await.0, StatusCode::ACCEPTED);
    let started = rig.engine.started.lock().unwrap();
    assert_eq!(started.iter().map(|s| s.trigger["user"].as_str().unwrap_or("nobody")).collect::<Vec<_>>(), ["ada", "bot", "ada"]);
}

#[tokio::test(start_paused = true)]
async fn executions_of_an_application_are_of_both_kinds_and_have_pages_by_number() {
    let rig = Rig::new();
    for (id, kind) in [("E1", PIPELINE), ("E2", ExecutionType::Orchestration), ("E3", PIPELINE), ("E4", PIPELINE)] {
        rig.execution(id, kind, Status::Running).await;
    }
    let ids = |body: &Value| body.as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&rig.get("/applications/shop/executions").await.1), ["E4", "E3", "E2", "E1"]);
    assert_eq!(ids(&rig.get("/applications/shop/executions?page=2&limit=3").await.1), ["E1"]);
    assert_eq!(ids(&rig.get("/applications/shop/pipelines?page=2&limit=2").await.1), ["E1"]);
    assert_eq!(ids(&rig.get("/applications/shop/tasks?page=2&limit=1").await.1), Vec::<String>::new());
    assert_eq!(rig.get("/applications/shop/pipelines?limit=3500").await.0, StatusCode::OK, "what Orca takes when nobody says");
}

#[tokio::test(start_paused = true)]
async fn each_definition_has_a_limit_of_its_own_and_all_are_newest_first() {
    let rig = Rig::new();
    for (id, of) in [("E1", "a"), ("E2", "b"), ("E3", "a"), ("E4", "a"), ("E5", "b")] {
        rig.execution_of(id, of).await;
    }
    let ids = |body: &Value| body.as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&rig.get("/executions?pipelineConfigIds=a,b&limit=2").await.1), ["E5", "E4", "E3", "E2"]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_hides_no_other() {
    let rig = Rig::new();
    for id in ["T1", "T2"] {
        rig.execution(id, ExecutionType::Orchestration, Status::Running).await;
    }
    rig.spoil("T2").await;
    let (status, body) = rig.get("/applications/shop/tasks").await;
    assert_eq!(
        (status, &body[0]["id"], &body[0]["status"], &body[1]["id"]),
        (StatusCode::OK, &json!("T2"), &json!("RUNNING"), &json!("T1"))
    );
}

#[tokio::test(start_paused = true)]
async fn several_tasks_are_called_off_at_once_and_those_that_cannot_be_are_named() {
    let rig = Rig::new();
    for id in ["T1", "T2"] {
        rig.execution(id, ExecutionType::Orchestration, Status::Running).await;
    }
    let (status, body) = rig.ask(Method::PUT, "/tasks/cancel?ids=T1,none,T2", None).await;
    assert_eq!((status, &body["problems"][0]["path"]), (StatusCode::NOT_FOUND, &json!("none")));
    for _ in 0..2 {
        assert!(matches!(rig.claim().await.inbox.as_slice(), [(_, Message::Cancel { by, .. })] if by == "ada"));
    }
    assert_eq!(rig.ask(Method::PUT, "/tasks/cancel?ids=T1,T2&reason=late", None).await.0, StatusCode::ACCEPTED);
    assert_eq!(rig.ask(Method::PUT, "/tasks/cancel?ids=", None).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn triggers_get_ids_when_they_are_saved_and_keep_them() {
    let rig = Rig::new();
    let cron = |expression: &str| json!({ "type": "cron", "enabled": true, "cronExpression": expression });
    let save = async |triggers: Value| {
        let document = json!({ "application": "shop", "name": "deploy", "stages": [], "triggers": triggers });
        let (status, saved) = rig.ask(Method::POST, "/pipelines", Some(document)).await;
        assert_eq!(status, StatusCode::OK, "{saved}");
        saved["triggers"].as_array().unwrap().iter().map(|t| t["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = save(json!([cron("0 0 2 * * ?"), cron("H H 3 * * ?")])).await;
    assert_eq!(first.len(), 2);
    let second = save(json!([{ "type": "manual", "id": "mine" }, cron("H H 3 * * ?"), cron("0 0 2 * * ?")])).await;
    assert_eq!(second, ["mine".to_owned(), first[1].clone(), first[0].clone()], "whatever their places");
}
