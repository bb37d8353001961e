//! Owners in trouble: a gate that is full, predecessors that died halfway, defects of our own.

use std::sync::atomic::Ordering;

use serde_json::Value;
use serde_json::json;

use super::super::effects::executions::Executions;
use super::super::pace::STARTING_MOST;
use super::super::*;
use super::MOMENT;
use super::SECOND;
use super::rig::Fleet;
use super::rig::START;
use super::rig::chain;
use super::rig::registry;
use crate::orchestrator::engine::advance::World;
use crate::orchestrator::engine::advance::advance;
use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::event::Event;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::Summary;
use crate::orchestrator::engine::status::Status;
use crate::orchestrator::store::Admission;
use crate::orchestrator::store::Claimed;
use crate::orchestrator::store::NewExecution;
use crate::orchestrator::store::Then;
use crate::orchestrator::store::Write;
use crate::orchestrator::store::record;

/// One at a time, others wait their turn.
fn one_at_a_time() -> Value {
    json!({"id": "p", "name": "p", "application": "app", "limitConcurrent": true, "keepWaitingPipelines": true,
        "stages": [{"type": "wait", "waitTime": 300}]})
}

/// A session of a process that the test plays, and what it claimed.
async fn claim_as_another(fleet: &Fleet) -> (Session, Claimed) {
    let session = Session { instance: "i-0".into(), process: "p".into() };
    assert!(fleet.store.beat(&session, 3600 * SECOND).await.unwrap());
    let claimed = fleet.store.claim(&session, 1).await.unwrap().remove(0);
    (session, claimed)
}

fn write(claimed: &Claimed, then: Then) -> Write {
    Write {
        lease: claimed.lease.clone(),
        number: 1,
        set: vec![],
        remove: vec![],
        stage_index: None,
        listing: None,
        taken: 0,
        notices: vec![],
        then,
    }
}

/// Plays an owner that claims this execution, takes it through a message, writes what came of it, and dies before it does what was asked for.
pub(super) async fn write_as_another(fleet: &Fleet, id: &ExecutionId, execution: &mut Execution, message: Message) {
    let session = Session { instance: "i-0".into(), process: "p".into() };
    assert!(fleet.store.beat(&session, 3600 * SECOND).await.unwrap());
    let claimed = fleet.store.claim_one(&session, id).await.unwrap().unwrap();
    let registry = registry();
    let world = World { registry: &registry, now: fleet.now(), zone: &TimeZone::UTC, instance: "i-0", seed: 7 };
    advance(execution, Event::Message(message), &world);
    let changes = execution.take_changes();
    let fields = record::encode_changes(execution, &changes);
    let listing = Some(record::listing(execution));
    let all = Write { set: fields.set, remove: fields.remove, stage_index: fields.stage_index, listing, ..write(&claimed, Then::Keep) };
    fleet.store.write(all).await.unwrap();
    fleet.store.end_session(&session).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_slot_costs_no_ownership_and_few_calls() {
    let fleet = Fleet::new(Duration::ZERO);
    let one = fleet.boot("i-1");
    let first = fleet.start(one_at_a_time()).await;
    tokio::time::sleep(MOMENT).await;
    let second = fleet.start(one_at_a_time()).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!((fleet.status(&first).await, fleet.status(&second).await), (Status::Running, Status::NotStarted));
    assert_eq!(one.owned(), 0);
    assert_eq!(one.net.calls("admit"), 2);
    fleet.until_ended(2, 610 * SECOND).await;
    assert!(one.net.calls("admit") < 10, "it asks again once a minute or two");
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_its_holder_freed_and_handed_to_nobody_is_taken_by_who_waits() {
    let fleet = Fleet::new(Duration::ZERO);
    fleet.start(one_at_a_time()).await;
    let (_session, holder) = claim_as_another(&fleet).await;
    assert_eq!(fleet.store.admit(&holder.lease, "p", 1).await, Ok(Admission::Go));
    let _one = fleet.boot("i-1");
    let waits = fleet.start(one_at_a_time()).await;
    tokio::time::sleep(SECOND).await;
    fleet.store.write(write(&holder, Then::Finish)).await.unwrap();
    tokio::time::sleep(125 * SECOND).await;
    assert_eq!(fleet.status(&waits).await, Status::Running);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_was_written_and_told_to_nobody_is_told_though_a_message_waits() {
    let fleet = Fleet::new(Duration::ZERO);
    fleet
        .save(
            "rollback",
            json!({"name": "rollback", "stages": [{"type": "noop"}],
                "triggers": [{"type": "pipeline", "enabled": true, "id": "t", "application": "app", "pipeline": "deploy", "status": ["failed"]}]}),
        )
        .await;
    let ended = fleet.start(json!({"name": "deploy", "id": "deploy", "application": "app", "stages": [{"type": "noop"}]})).await;
    let (session, claimed) = claim_as_another(&fleet).await;
    assert!(fleet.store.post(&ended, &Message::Pause { by: "me".into() }).await.unwrap());
    let mut execution = fleet.load(&ended).await;
    execution.summary_mut().status = Status::Terminal;
    let end = Write {
        set: vec![("status".into(), "TERMINAL".into())],
        listing: Some(record::listing(&execution)),
        ..write(&claimed, Then::Keep)
    };
    fleet.store.write(end).await.unwrap();
    fleet.store.end_session(&session).await.unwrap();
    let one = fleet.boot("i-1");
    let all = fleet.until_ended(2, 2 * SECOND).await;
    assert!(all.iter().any(|listing| listing.name == "rollback"));
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!((fleet.all().await.len(), one.owned()), (2, 0), "once, and then it is finished");
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_breaks_its_owner_is_set_aside_and_holds_no_drain_up() {
    let fleet = Fleet::new(Duration::ZERO);
    let one = fleet.boot("i-1");
    fleet.start(json!({"name": "b", "application": "app", "stages": [{"type": "broken"}]})).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(one.owned(), 1);
    one.handle.wish(|wish| wish.intake = false);
    tokio::time::sleep(MOMENT).await;
    assert_eq!(one.owned(), 0);
    assert!(fleet.store.active_by_instance().await.unwrap().is_empty());
}

/// One that no version can read yet.
async fn start_unreadable(fleet: &Fleet) {
    let id = start::new_id(fleet.now());
    let execution = Execution::new(id, Summary { application: "app".into(), ..Summary::default() }, vec![]);
    let mut record = record::encode(&execution);
    record.fields.iter_mut().filter(|(name, _)| name == "status").for_each(|(_, text)| *text = "DREAMING".into());
    let new = NewExecution { listing: record::listing(&execution), record, correlation_id: None, due: fleet.now(), limit: None };
    fleet.store.create(new).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn any_number_that_is_set_aside_keeps_no_other_from_being_claimed() {
    let fleet = Fleet::new(Duration::ZERO);
    let one = fleet.boot("i-1");
    for _ in 0..=STARTING_MOST {
        start_unreadable(&fleet).await;
    }
    tokio::time::sleep(SECOND).await;
    let other = fleet.start(chain(1)).await;
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(fleet.status(&other).await, Status::Succeeded);
    assert_eq!(one.owned(), STARTING_MOST + 1, "they are held, so that they are not claimed again at once");
}

#[tokio::test(start_paused = true)]
async fn work_that_never_waits_is_claimed_a_little_at_a_time() {
    let fleet = Fleet::new(Duration::ZERO);
    let count = 4 * STARTING_MOST;
    for _ in 0..count {
        fleet.start(chain(2)).await;
    }
    let one = fleet.boot("i-1");
    fleet.until_ended(count, 10 * SECOND).await;
    assert_eq!(one.net.most_claimed.load(Ordering::Relaxed), STARTING_MOST);
}

#[tokio::test(start_paused = true)]
async fn a_full_house_asks_the_store_no_more_often_than_an_empty_one() {
    let fleet = Fleet::new(600 * SECOND);
    let one = fleet.boot_with("i-1", |settings| Settings { owned: 1, ..settings });
    for _ in 0..5 {
        fleet.start(chain(1)).await;
    }
    tokio::time::sleep(20 * SECOND).await;
    assert_eq!(one.owned(), 1);
    assert!(one.net.calls("next_due") < 60, "{}", one.net.calls("next_due"));
}

#[tokio::test(start_paused = true)]
async fn the_last_places_of_a_house_are_filled_too() {
    const PLACES: usize = 80;
    let fleet = Fleet::new(600 * SECOND);
    let one = fleet.boot_with("i-1", |settings| Settings { owned: PLACES, ..settings });
    for _ in 0..PLACES - 3 {
        fleet.start(chain(1)).await;
    }
    tokio::time::sleep(MOMENT).await;
    for _ in 0..PLACES {
        fleet.start(chain(1)).await;
    }
    let mut most = 0;
    for _ in 0..20 {
        tokio::time::sleep(MOMENT).await;
        most = most.max(one.owned());
    }
    assert_eq!(most, PLACES);
}

#[tokio::test(start_paused = true)]
async fn a_runner_whose_handles_are_gone_ends() {
    let fleet = Fleet::new(Duration::ZERO);
    let one = fleet.boot("i-1");
    tokio::time::sleep(SECOND).await;
    assert_eq!(tokio::time::timeout(60 * SECOND, one.forsake()).await, Ok(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_start_is_under_way_is_started_and_named_though_it_is_called_off() {
    let fleet = Fleet::new(Duration::ZERO);
    fleet.save("child", json!({"name": "child", "stages": [{"type": "noop"}]})).await;
    let stop = CancellationToken::new();
    stop.cancel();
    let mut key = AttemptKey { execution: "e".into(), stage: "s".into(), started: START.0, task: "1".into(), number: 1 };
    for number in 1..10 {
        key.number = number;
        let effect = Effect::StartPipeline { application: "app".into(), pipeline: "child".into(), trigger: Default::default() };
        let outcome = Executions::new(fleet.store.clone()).perform(&key, effect, &stop).await;
        assert!(matches!(outcome, Outcome::Started { .. }), "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_restarted_has_the_stage_that_started_it_watch_it_again() {
    let fleet = Fleet::new(Duration::ZERO);
    fleet
        .save(
            "child",
            json!({"name": "child", "stages": [{"type": "checkPreconditions", "preconditions": [
        {"type": "expression", "context": {"expression": "${ execution.stages[0].context['go'] == 'yes' }"}}]}, {"type": "noop"}]}),
        )
        .await;
    let _one = fleet.boot("i-1");
    let stages =
        json!([{"refId": "1", "type": "pipeline", "pipeline": "child"}, {"refId": "2", "type": "noop", "requisiteStageRefIds": ["1"]}]);
    let parent = fleet.start(json!({"name": "p", "application": "app", "stages": stages})).await;
    let all = fleet.until_ended(2, 30 * SECOND).await;
    assert!(all.iter().all(|listing| listing.status == Status::Terminal), "{all:?}");
    let child = all.iter().find(|listing| listing.name == "child").unwrap().id.clone();
    let stage = fleet.load(&child).await.stage(0).id.clone();
    let body = json!({"preconditions": []}).as_object().cloned().unwrap();
    assert!(fleet.store.post(&child, &Message::Restart { stage, by: "me".into(), body }).await.unwrap());
    tokio::time::sleep(5 * SECOND).await;
    fleet.until_ended(2, 30 * SECOND).await;
    assert_eq!((fleet.status(&child).await, fleet.status(&parent).await), (Status::Succeeded, Status::Succeeded));
    assert_eq!(fleet.all().await.len(), 2, "the child is watched, not started again");
    assert_eq!(fleet.load(&parent).await.stage(0).context()["restartDetails"]["restartedBy"], "me");
}
