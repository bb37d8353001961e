use serde_json::json;

use super::*;
use crate::host::clock::VirtualClock;
use crate::orchestrator::store::DefinitionVersion;
use crate::orchestrator::store::Listing;
use crate::orchestrator::store::Query;
use crate::orchestrator::store::model::ModelStore;
use crate::orchestrator::store::record;

/// 50 minutes past an hour.
const START: Timestamp = Timestamp(1_700_002_200_000);
const MINUTE: Duration = Duration::from_secs(60);

struct Rig {
    store: Arc<ModelStore>,
    hooks: Webhooks,
}

impl Rig {
    async fn new(triggers: Value) -> Self {
        let clock = Arc::new(VirtualClock::start(START));
        let store = Arc::new(ModelStore::new(clock.clone()));
        let document = json!({"name": "p", "triggers": triggers, "parameterConfig": [{"name": "version", "default": "1"}],
            "stages": [{"type": "wait", "waitTime": 1}]});
        let version = DefinitionVersion {
            id: "c".into(),
            application: "app".into(),
            name: "p".into(),
            version: 0,
            by: "me".into(),
            at: START,
            deleted: false,
            document,
        };
        store.save_definition(version, None).await.unwrap();
        Self { hooks: Webhooks::new(store.clone(), clock), store }
    }

    async fn call(&self, token: Option<&str>, event: Option<&str>, payload: Value) -> Result<Vec<ExecutionId>, Refused> {
        let Value::Object(payload) = payload else { panic!("an object") };
        self.hooks.fire(Delivery { source: "build", token, trusted: false, event, payload: &payload }).await
    }

    async fn all(&self) -> Vec<Listing> {
        self.store.list(&Query { limit: 100, ..Query::default() }).await.unwrap()
    }
}

fn hook(more: Value) -> Value {
    let mut hook = json!({"type": "webhook", "enabled": true, "id": "t", "source": "build", "token": "open sesame"});
    hook.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!([hook])
}

#[tokio::test(start_paused = true)]
async fn the_token_opens_and_stays_out_of_the_execution() {
    let rig = Rig::new(hook(json!({"parameters": {"version": "2", "from": "hook"}}))).await;
    for wrong in [None, Some(""), Some("open sesam"), Some("open sesame ")] {
        assert_eq!(rig.call(wrong, None, json!({})).await, Err(Refused::WrongToken), "{wrong:?}");
    }
    let id = rig.call(Some("open sesame"), None, json!({"sha": "f00", "parameters": {"version": "3"}})).await.unwrap().remove(0);
    let execution = record::decode(&id, None, &rig.store.load(&id).await.unwrap().unwrap()).unwrap();
    let trigger = &execution.summary().trigger;
    assert_eq!(trigger["payload"]["sha"], "f00");
    assert_eq!(trigger["parameters"], json!({"version": "3", "from": "hook"}));
    assert!(!json!(trigger).to_string().contains("sesame"));
    assert_eq!(execution.summary().origin.as_deref(), Some("webhook"));
}

#[tokio::test(start_paused = true)]
async fn a_token_may_be_kept_as_its_digest() {
    // SHA-256 of "open sesame".
    let digest: String = digest::digest(&digest::SHA256, b"open sesame").as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    let rig = Rig::new(hook(json!({"token": format!("sha256:{digest}")}))).await;
    assert_eq!(rig.call(Some(&format!("sha256:{digest}")), None, json!({})).await, Err(Refused::WrongToken));
    assert_eq!(rig.call(Some("open sesame"), None, json!({})).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_token_only_those_who_may_start_pipelines_are_heard() {
    let rig = Rig::new(hook(json!({"token": null}))).await;
    assert_eq!(rig.call(Some("any"), None, json!({})).await, Err(Refused::WrongToken));
    let trusted = Delivery { source: "build", token: None, trusted: true, event: None, payload: &Object::new() };
    assert_eq!(rig.hooks.fire(trusted).await.unwrap().len(), 1);
    let stranger = Delivery { source: "elsewhere", ..trusted };
    assert_eq!(rig.hooks.fire(stranger).await, Err(Refused::NobodyListens("elsewhere".into())));
}

#[tokio::test(start_paused = true)]
async fn a_payload_has_to_be_what_the_trigger_wants_as_a_whole() {
    let rig = Rig::new(hook(json!({"payloadConstraints": {"branch": "main|release-.*", "number": "7"}}))).await;
    let call = |payload: Value| rig.call(Some("open sesame"), None, payload);
    for unwanted in [json!({}), json!({"branch": "main"}), json!({"branch": "mainline", "number": 7}), json!({"branch": null, "number": 7})]
    {
        assert_eq!(call(unwanted.clone()).await, Ok(vec![]), "{unwanted}");
    }
    assert_eq!(call(json!({"branch": "release-9", "number": 7})).await.unwrap().len(), 1);
    let broken = Rig::new(hook(json!({"payloadConstraints": {"branch": "("}}))).await;
    assert_eq!(broken.call(Some("open sesame"), None, json!({"branch": "("})).await, Ok(vec![]), "a pattern that is none matches nothing");
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_comes_again_starts_nothing_again() {
    let rig = Rig::new(hook(json!({}))).await;
    let call = |event: Option<&'static str>| rig.call(Some("open sesame"), event, json!({}));
    let first = call(Some("e-1")).await.unwrap();
    assert_eq!(first.len(), 1);
    // The next span of ids begins in ten minutes.
    for pause in [MINUTE, 15 * MINUTE, 20 * 60 * MINUTE] {
        tokio::time::advance(pause).await;
        assert_eq!(call(Some("e-1")).await.unwrap(), first);
    }
    assert_eq!(rig.all().await.len(), 1);
    assert_ne!(call(Some("e-2")).await.unwrap(), first);
    call(None).await.unwrap();
    call(None).await.unwrap();
    assert_eq!(rig.all().await.len(), 4, "without a name each call is an event");
}
