use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use serde_json::json;
use tokio::sync::watch;
use tower::ServiceExt;

use super::super::Api;
use super::super::auth::Door;
use super::*;
use crate::host::clock::VirtualClock;
use crate::model::Timestamp;
use crate::orchestrator::runner::Memory;
use crate::orchestrator::runner::Parts;
use crate::orchestrator::runner::Runner;
use crate::orchestrator::runner::Settings;
use crate::orchestrator::runner::Wish;
use crate::orchestrator::runner::effects::Performers;
use crate::orchestrator::store::DefinitionVersion;
use crate::orchestrator::store::Query;
use crate::orchestrator::store::model::ModelStore;

const START: Timestamp = Timestamp(1_700_000_000_000);

/// The API over an engine that never runs, on a host whose clock is an hour ahead of the store's.
struct Rig {
    store: Arc<ModelStore>,
    router: Router,
}

impl Rig {
    async fn new(document: Value) -> Self {
        let ahead: Arc<dyn Clock> = Arc::new(VirtualClock::start(Timestamp(START.0 + 3_600_000)));
        let store = Arc::new(ModelStore::new(Arc::new(VirtualClock::start(START))));
        let registry = Arc::new(Registry::standard());
        let parts = Parts {
            store: store.clone(),
            registry: Arc::clone(&registry),
            performer: Arc::new(Performers::default()),
            clock: Arc::clone(&ahead),
            memory: Memory::none(),
            channels: Vec::new(),
        };
        let (_, runner) = Runner::new(parts, Settings::new("i-1"), Wish { intake: true, run: true });
        let desk = Desk { store: store.clone(), registry, runner, clock: Arc::clone(&ahead), zone: TimeZone::UTC, folder: None };
        let version = DefinitionVersion {
            id: "c".into(),
            application: "shop".into(),
            name: "deploy".into(),
            version: 0,
            by: "me".into(),
            at: START,
            deleted: false,
            document,
        };
        store.save_definition(version, None).await.unwrap();
        let router = Api::new(store.clone(), Arc::new(desk), watch::channel(Arc::default()).1, ahead).router();
        Self { store, router }
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::post(path).header(CONTENT_TYPE, "application/json").extension(Door::Socket("ada".into()));
        let response = self.router.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
        let status = response.status();
        (status, serde_json::from_slice(&axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap_or(Value::Null))
    }

    async fn count(&self) -> usize {
        self.store.list(&Query { limit: 100, ..Query::default() }).await.unwrap().len()
    }
}

fn pipeline() -> Value {
    json!({ "name": "deploy", "application": "shop", "parameterConfig": [{ "name": "version", "required": true }],
        "stages": [{ "type": "wait", "waitTime": "${ parameters.seconds ?: 5 }", "name": "rest" }] })
}

#[tokio::test(start_paused = true)]
async fn what_is_started_is_due_by_the_clock_of_the_store() {
    let rig = Rig::new(pipeline()).await;
    assert_eq!(rig.post("/pipelines/shop/deploy", json!({ "parameters": { "version": "1" } })).await.0, StatusCode::ACCEPTED);
    assert_eq!(rig.post("/tasks", json!({ "application": "shop", "job": [{ "type": "wait", "waitTime": 1 }] })).await.0, StatusCode::OK);
    for listing in rig.store.list(&Query { limit: 100, ..Query::default() }).await.unwrap() {
        assert_eq!(listing.build_time, START, "{listing:?}");
    }
    assert!(rig.store.next_due().await.unwrap().unwrap() <= START, "at once, and not when the store's clock comes to the host's time");
}

#[tokio::test(start_paused = true)]
async fn jobs_of_types_that_are_not_there_are_refused_and_named() {
    let rig = Rig::new(pipeline()).await;
    let job = json!([{ "type": "wait", "waitTime": 1 }, { "type": "terminateInstanceAndDecrementServerGroup", "instance": "i-0abc" }, {}]);
    let (status, body) = rig.post("/tasks", json!({ "application": "shop", "job": job })).await;
    assert_eq!((status, &body["code"]), (StatusCode::BAD_REQUEST, &json!("invalid")));
    let paths: Vec<&str> = body["problems"].as_array().unwrap().iter().map(|p| p["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/job/1/type", "/job/2/type"]);
    assert_eq!(rig.count().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_is_refused_and_runs_nothing() {
    let rig = Rig::new(pipeline()).await;
    let (status, body) = rig.post("/pipelines/shop/deploy", json!({ "parameters": { "version": "1" }, "dryRun": true })).await;
    assert_eq!((status, &body["problems"][0]["path"]), (StatusCode::BAD_REQUEST, &json!("/dryRun")));
    let mut document = pipeline();
    document["trigger"] = json!({ "parameters": { "version": "1" }, "dryRun": "true" });
    assert_eq!(rig.post("/pipelines/start", document).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(rig.count().await, 0);
    let wet = json!({ "parameters": { "version": "1" }, "dryRun": false });
    assert_eq!(rig.post("/pipelines/shop/deploy", wet).await.0, StatusCode::ACCEPTED);
}

#[tokio::test(start_paused = true)]
async fn a_plan_shows_what_would_begin_and_begins_nothing() {
    let rig = Rig::new(pipeline()).await;
    let (status, plan) = rig.post("/pipelines/shop/deploy", json!({ "parameters": { "version": "1", "seconds": 7 }, "plan": true })).await;
    assert_eq!((status, &plan["status"], &plan["trigger"]["parameters"]["version"]), (StatusCode::OK, &json!("NOT_STARTED"), &json!("1")));
    assert_eq!((&plan["stages"][0]["name"], &plan["stages"][0]["context"]["waitTime"]), (&json!("rest"), &json!(7)));
    let mut document = pipeline();
    document["plan"] = json!(true);
    let (status, body) = rig.post("/pipelines/start", document).await;
    assert_eq!((status, &body["problems"][0]["path"]), (StatusCode::BAD_REQUEST, &json!("/parameters/version")), "with all that is wrong");
    assert_eq!(rig.count().await, 0);
}
