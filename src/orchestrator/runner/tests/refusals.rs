//! What the store refuses for good ends with a reason, and holds nothing else up.

use std::sync::atomic::Ordering;

use serde_json::Value;
use serde_json::json;

use super::super::*;
use super::SECOND;
use super::rig::BULK;
use super::rig::Fleet;
use super::rig::chain;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::status::Status;

fn bulky() -> Value {
    json!({"name": "b", "application": "app", "stages": [{"refId": "1", "type": "bulky"}, {"refId": "2", "type": "wait", "waitTime": 6000}]})
}

#[tokio::test(start_paused = true)]
async fn a_record_the_store_refuses_ends_its_execution_with_the_reason() {
    let fleet = Fleet::new(Duration::ZERO);
    let one = fleet.boot("i-1");
    one.net.largest.store(BULK, Ordering::Relaxed);
    let id = fleet.start(bulky()).await;
    fleet.until_ended(1, 10 * SECOND).await;
    let ended = fleet.load(&id).await;
    assert_eq!(ended.status(), Status::Terminal);
    let why = ended.summary().cancellation_reason.clone().unwrap_or_default();
    assert!(why.contains("the store refuses") && why.contains("bytes"), "{why}");
    let told = &ended.stage(0).tasks()[0].task_exception_details["exception"]["details"]["error"];
    assert_eq!(told, why.as_str());
    tokio::time::sleep(SECOND).await;
    assert_eq!(one.owned(), 0);
    assert_eq!(fleet.ledger.entries().len(), 1, "what was done is not done again");
}

#[tokio::test(start_paused = true)]
async fn an_execution_of_which_the_store_keeps_nothing_is_set_aside_and_a_cancel_ends_it_once_it_does() {
    let fleet = Fleet::new(Duration::ZERO);
    let one = fleet.boot("i-1");
    one.net.largest.store(10, Ordering::Relaxed);
    let id = fleet.start(bulky()).await;
    let other = fleet.start(json!({"name": "o", "application": "app", "stages": []})).await;
    tokio::time::sleep(3 * SECOND).await;
    assert!(one.net.calls("load") < 20, "it is not tried again and again");
    assert_eq!(fleet.status(&id).await, Status::NotStarted);
    assert!(fleet.store.post(&id, &Message::Cancel { by: "me".into(), reason: None }).await.unwrap());
    one.net.largest.store(usize::MAX, Ordering::Relaxed);
    fleet.until_ended(2, 130 * SECOND).await;
    assert_eq!(fleet.status(&id).await, Status::Canceled);
    assert!(fleet.status(&other).await.is_complete());
}

#[tokio::test(start_paused = true)]
async fn a_cron_or_a_follower_that_cannot_be_started_stops_no_other() {
    let fleet = Fleet::new(Duration::ZERO);
    let cron = json!({"type": "cron", "enabled": true, "id": "t", "cronExpression": "0 * * * * ?"});
    let after =
        json!({"type": "pipeline", "enabled": true, "id": "f", "application": "app", "pipeline": "first", "status": ["successful"]});
    for name in ["a", "b", "c"] {
        fleet.save(name, json!({"name": name, "stages": [{"type": "noop"}], "triggers": [cron, after]})).await;
    }
    let one = fleet.boot("i-1");
    *one.net.unwanted.lock().unwrap() = Some("b");
    tokio::time::sleep(125 * SECOND).await;
    let count = |all: &[crate::orchestrator::store::Listing], name: &str| all.iter().filter(|listing| listing.name == name).count();
    let all = fleet.all().await;
    assert_eq!(["a", "b", "c"].map(|name| count(&all, name)), [2, 0, 2]);
    fleet.start(json!({"name": "first", "id": "first", "application": "app", "stages": [{"type": "noop"}]})).await;
    tokio::time::sleep(5 * SECOND).await;
    let all = fleet.all().await;
    assert_eq!(["a", "b", "c"].map(|name| count(&all, name)), [3, 0, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_takes_no_longer_than_it_may_though_the_store_is_gone() {
    let fleet = Fleet::new(600 * SECOND);
    let one = fleet.boot_with("i-1", |settings| Settings { stop_within: 4 * SECOND, ..settings });
    fleet.start(json!({"name": "o", "application": "app", "stages": [{"type": "once"}]})).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(one.owned(), 1);
    one.hang(true);
    let before = fleet.now();
    assert_eq!(one.stop().await, Ok(()));
    let took = fleet.now().since(before);
    assert!(took <= 5 * SECOND, "{took:?}: 4 s, and one for what is done beside executions");
}

#[tokio::test(start_paused = true)]
async fn what_nests_too_deep_to_be_read_again_is_refused_and_said_so() {
    let fleet = Fleet::new(Duration::ZERO);
    let _one = fleet.boot("i-1");
    let deep = |levels: u64| json!({"name": "d", "application": "app", "stages": [{"type": "deep", "levels": levels}]});
    let (fits, does_not) = (fleet.start(deep(63)).await, fleet.start(deep(200)).await);
    fleet.until_ended(2, 10 * SECOND).await;
    assert_eq!(fleet.status(&fits).await, Status::Succeeded);
    let ended = fleet.load(&does_not).await;
    assert_eq!(ended.status(), Status::Terminal);
    let error = &ended.stage(0).context()["exception"]["details"]["error"];
    assert!(error.as_str().unwrap_or_default().contains("64 levels"), "{error}");
    let given = (0..100).fold(json!(1), |value, _| json!([value]));
    let trigger = json!({"payload": given}).as_object().cloned().unwrap();
    let definition = crate::orchestrator::engine::definition::Definition::from_document(chain(1).as_object().cloned().unwrap());
    let order = start::Order { id: start::new_id(fleet.now()), trigger, ..Default::default() };
    let refused = start::start(&*fleet.store, &definition, order.clone(), fleet.now()).await;
    assert!(matches!(&refused, Err(start::Error::Wrong(problems)) if problems[0].path == "/trigger/payload"), "{refused:?}");
    let failed = start::plan_failed(&definition, order, &refused.unwrap_err(), fleet.now());
    let id = start::put(&*fleet.store, &failed, None, fleet.now()).await.unwrap().id;
    assert_eq!(fleet.status(&id).await, Status::Terminal, "and it can be read");
}

#[tokio::test(start_paused = true)]
async fn a_context_of_ten_megabytes_is_written_once_and_one_of_forty_is_refused() {
    let fleet = Fleet::new(Duration::ZERO);
    let one = fleet.boot("i-1");
    let of = |megabytes: usize| {
        let mut document = chain(3);
        document["stages"][0]["text"] = "x".repeat(megabytes << 20).into();
        document
    };
    let id = fleet.start(of(10)).await;
    fleet.until_ended(1, 10 * SECOND).await;
    assert_eq!(fleet.status(&id).await, Status::Succeeded);
    let (fields, bytes) = *one.net.written.lock().unwrap();
    assert!(fields < 50 && bytes < 100_000, "{fields} fields, {bytes} bytes: a status moved, the context did not");
    let definition = crate::orchestrator::engine::definition::Definition::from_document(of(40).as_object().cloned().unwrap());
    let order = start::Order { id: start::new_id(fleet.now()), ..Default::default() };
    let refused = start::start(&*fleet.store, &definition, order, fleet.now()).await;
    assert!(matches!(refused, Err(start::Error::Store(crate::orchestrator::store::StoreError::Refused(_)))));
}

/// What a pipeline costs the store grows with its stages: counted in fields and bytes written, and in calls.
#[tokio::test(start_paused = true)]
async fn four_times_the_stages_write_four_times_the_fields() {
    let chain = |n: usize| -> Vec<Value> {
        (0..n).map(|at| json!({"refId": at.to_string(), "type": "noop", "requisiteStageRefIds": (at > 0).then(|| (at - 1).to_string()).into_iter().collect::<Vec<_>>()})).collect()
    };
    let fork = |n: usize| -> Vec<Value> {
        let names: Vec<String> = (0..n).map(|at| format!("b{at}")).collect();
        let mut stages = vec![json!({"refId": "first", "type": "noop"})];
        stages.extend(names.iter().map(|name| json!({"refId": name, "type": "noop", "requisiteStageRefIds": ["first"]})));
        stages.push(json!({"refId": "join", "type": "noop", "requisiteStageRefIds": names}));
        stages
    };
    for shape in [&chain as &dyn Fn(usize) -> Vec<Value>, &fork] {
        let mut costs = Vec::new();
        for n in [500, 2000] {
            let fleet = Fleet::new(Duration::ZERO);
            let one = fleet.boot("i-1");
            let id = fleet.start(json!({"name": "w", "application": "app", "stages": shape(n)})).await;
            fleet.until_ended(1, 600 * SECOND).await;
            assert_eq!(fleet.status(&id).await, Status::Succeeded);
            let (fields, bytes) = *one.net.written.lock().unwrap();
            costs.push([fields, bytes, usize::try_from(one.net.calls("write")).unwrap()]);
        }
        for (small, large) in costs[0].iter().zip(costs[1]) {
            assert!(large <= small * 9 / 2 + 50, "{costs:?}");
        }
    }
}
