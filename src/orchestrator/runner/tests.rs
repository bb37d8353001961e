mod chores;
mod jobs;
mod owner;
mod refusals;
mod rig;

use serde_json::json;

use super::*;
use crate::model::Probe;
use crate::model::Probed;
use crate::orchestrator::Orchestrator;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::status::Status;
use crate::orchestrator::probe::Nothing;
use crate::orchestrator::probe::Probes;
use embedded::Embedded;
use embedded::KnowsItsStore;
use rig::Fleet;
use rig::chain;

const MOMENT: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_chain_runs_to_its_end_and_is_owned_by_nobody_then() {
    let fleet = Fleet::new(Duration::ZERO);
    let one = fleet.boot("i-1");
    let id = fleet.start(chain(5)).await;
    fleet.until_ended(1, SECOND).await;
    assert_eq!(fleet.status(&id).await, Status::Succeeded);
    assert_eq!(fleet.ledger.entries().len(), 5);
    tokio::time::sleep(MOMENT).await;
    assert_eq!(one.owned(), 0);
    assert!(fleet.store.active_by_instance().await.unwrap().is_empty());
    assert_eq!(one.stop().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_owned_by_nobody_and_goes_on_in_time() {
    let fleet = Fleet::new(Duration::ZERO);
    let one = fleet.boot("i-1");
    let id = fleet.start(json!({"name": "w", "application": "app", "stages": [{"type": "wait", "waitTime": 600}, {"type": "noop"}]})).await;
    tokio::time::sleep(MOMENT).await;
    assert_eq!(fleet.status(&id).await, Status::Running);
    assert_eq!(one.owned(), 0, "waiting costs no ownership");
    fleet.until_ended(1, Duration::from_secs(605)).await;
    let took = fleet.load(&id).await.summary().end_time.unwrap().since(rig::START);
    assert!(took >= Duration::from_secs(600) && took < Duration::from_secs(602), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_gone_is_replaced_within_its_lease_and_a_second() {
    let fleet = Fleet::new(3 * SECOND);
    let one = fleet.boot("i-1");
    tokio::time::sleep(MOMENT).await;
    for _ in 0..50 {
        fleet.start(chain(3)).await;
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(one.owned(), 50);
    let other = fleet.boot("i-2");
    one.kill().await;
    tokio::time::sleep(7 * SECOND).await;
    assert_eq!(other.owned() + fleet.all().await.iter().filter(|l| l.status.is_complete()).count(), 50, "adopted within lease + 1 s");
    fleet.until_ended(50, 20 * SECOND).await;
    assert!(fleet.all().await.iter().all(|l| l.status == Status::Succeeded));
    assert_eq!(fleet.ledger.twice(), []);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_crashed_goes_on_within_a_second_of_its_restart() {
    let fleet = Fleet::new(3 * SECOND);
    let one = fleet.boot("i-1");
    for _ in 0..20 {
        fleet.start(chain(3)).await;
    }
    tokio::time::sleep(SECOND).await;
    one.kill().await;
    let again = fleet.boot("i-1");
    tokio::time::sleep(SECOND).await;
    assert_eq!(again.owned() + fleet.all().await.iter().filter(|l| l.status.is_complete()).count(), 20);
    fleet.until_ended(20, 20 * SECOND).await;
    assert_eq!(fleet.ledger.twice(), []);
}

#[tokio::test(start_paused = true)]
async fn a_drain_with_a_thousand_owned_is_empty_a_second_after_what_was_in_flight() {
    let fleet = Fleet::new(SECOND / 2);
    let one = fleet.boot("i-1");
    let orchestrator = Embedded::new(one.handle.clone(), fleet.clock.clone());
    for _ in 0..1000 {
        fleet.start(chain(20)).await;
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(one.owned(), 1000);
    orchestrator.set_intake(false).await.unwrap();
    tokio::time::sleep(SECOND + SECOND / 2).await;
    assert_eq!(orchestrator.intake().await, crate::model::Intake::Closed);
    assert_eq!(orchestrator.activity().await.activity, crate::model::Activity::Idle);
    let before = fleet.ledger.entries().len();
    assert!(before < 20_000);
    let _other = fleet.boot("i-2");
    fleet.until_ended(1000, 60 * SECOND).await;
    assert!(fleet.all().await.iter().all(|l| l.status == Status::Succeeded));
    assert_eq!(fleet.ledger.twice(), []);
    assert!(fleet.ledger.entries()[before..].iter().all(|entry| entry.instance == "i-2"));
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_done_twice_is_waited_for_and_what_may_is_left() {
    let fleet = Fleet::new(60 * SECOND);
    let one = fleet.boot_with("i-1", |settings| Settings { stop_within: 90 * SECOND, ..settings });
    let once = fleet.start(json!({"name": "o", "application": "app", "stages": [{"type": "once"}, {"type": "noop"}]})).await;
    let chain = fleet.start(chain(2)).await;
    tokio::time::sleep(SECOND).await;
    one.handle.wish(|wish| wish.intake = false);
    tokio::time::sleep(2 * SECOND).await;
    let (count, named) = one.handle.owned(9);
    assert_eq!((count, &named[0].0), (1, &once), "the other was given back");
    let _other = fleet.boot("i-2");
    fleet.until_ended(2, 600 * SECOND).await;
    assert_eq!(fleet.status(&once).await, Status::Succeeded);
    assert_eq!(fleet.status(&chain).await, Status::Succeeded);
    assert_eq!(fleet.ledger.twice(), []);
    assert!(fleet.ledger.ended().values().all(|times| *times == 1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_holds_executions_and_loses_none() {
    let fleet = Fleet::new(2 * SECOND);
    let one = fleet.boot("i-1");
    for _ in 0..20 {
        fleet.start(chain(4)).await;
    }
    tokio::time::sleep(SECOND).await;
    one.cut(true);
    tokio::time::sleep(5 * SECOND).await;
    let held = fleet.ledger.entries().len();
    tokio::time::sleep(25 * SECOND).await;
    assert_eq!(fleet.ledger.entries().len(), held, "nothing new begins");
    assert!(matches!(one.handle.store(), StoreStands::Fails(_)));
    one.cut(false);
    fleet.until_ended(20, 30 * SECOND).await;
    assert_eq!(fleet.ledger.ended().len(), 80);
    assert!(fleet.ledger.ended().values().all(|times| *times == 1), "what was under way went on, and counts");
}

#[tokio::test(start_paused = true)]
async fn an_engine_knows_by_itself_how_its_store_is() {
    let fleet = Fleet::new(2 * SECOND);
    let one = fleet.boot("i-1");
    let knows = KnowsItsStore::new(one.handle.clone(), Nothing, false);
    let also_probed = KnowsItsStore::new(one.handle.clone(), Nothing, true);
    tokio::time::sleep(SECOND).await;
    assert_eq!(knows.probe(Probe::Store).await, Probed::Passed);
    assert!(matches!(also_probed.probe(Probe::Store).await, Probed::Unable { .. }), "the probe has a word too");
    assert!(matches!(knows.probe(Probe::Liveness).await, Probed::Unable { .. }), "of nothing else");
    one.cut(true);
    tokio::time::sleep(5 * SECOND).await;
    for probes in [&knows, &also_probed] {
        let down = probes.probe(Probe::Store).await;
        assert!(matches!(&down, Probed::Failed { why } if why.contains("the store does not answer")), "{down:?}");
    }
    one.cut(false);
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(knows.probe(Probe::Store).await, Probed::Passed);
    one.handle.wish(|wish| wish.run = false);
    one.handle.until(|state| state.session.is_none()).await;
    assert!(matches!(knows.probe(Probe::Store).await, Probed::Unable { .. }), "one that is stopped meets no store");
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_before_the_store_hung_does_not_tell_how_it_is_now() {
    let fleet = Fleet::new(2 * SECOND);
    // However long the lease.
    let one = fleet.boot_with("i-1", |settings| Settings { lease: 300 * SECOND, ..settings });
    let knows = KnowsItsStore::new(one.handle.clone(), Nothing, false);
    for _ in 0..60 {
        tokio::time::sleep(SECOND).await;
        assert_eq!(knows.probe(Probe::Store).await, Probed::Passed);
    }
    one.hang(true);
    tokio::time::sleep(5 * SECOND).await;
    let hangs = knows.probe(Probe::Store).await;
    assert!(matches!(&hangs, Probed::Unable { why } if why.contains("nothing since")), "{hangs:?}");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_does_not_pass_for_a_store_that_does() {
    let fleet = Fleet::new(2 * SECOND);
    let one = fleet.boot("i-1");
    let knows = KnowsItsStore::new(one.handle.clone(), Nothing, false);
    let also_probed = KnowsItsStore::new(one.handle.clone(), Nothing, true);
    tokio::time::sleep(SECOND).await;
    one.freeze();
    tokio::time::sleep(60 * SECOND).await;
    assert!(matches!(one.handle.store(), StoreStands::SilentFor(_)));
    assert_eq!(knows.probe(Probe::Store).await, Probed::Passed, "the store answers whoever asks");
    assert!(matches!(also_probed.probe(Probe::Store).await, Probed::Unable { .. }), "the probe has a word too");
    one.hang(true);
    let both = knows.probe(Probe::Store).await;
    assert!(matches!(&both, Probed::Unable { why } if why.contains("no answer within")), "{both:?}");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_cannot_begin_a_session_says_that_its_store_fails_and_one_that_is_stopped_does_not() {
    let fleet = Fleet::new(2 * SECOND);
    let before = fleet.boot("i-1");
    tokio::time::sleep(SECOND).await;
    before.kill().await;
    let one = fleet.boot("i-1");
    one.cut(true);
    let knows = KnowsItsStore::new(one.handle.clone(), Nothing, false);
    tokio::time::sleep(5 * SECOND).await;
    let down = knows.probe(Probe::Store).await;
    assert!(matches!(&down, Probed::Failed { why } if why.contains("cannot begin a session")), "{down:?}");
    one.handle.wish(|wish| wish.run = false);
    assert!(matches!(knows.probe(Probe::Store).await, Probed::Unable { .. }), "nobody wants one");
    one.handle.wish(|wish| wish.run = true);
    one.cut(false);
    one.handle.until(|state| state.beat.is_some()).await;
    assert_eq!(knows.probe(Probe::Store).await, Probed::Passed);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_was_cut_off_is_fenced_and_stops_its_work() {
    let fleet = Fleet::new(40 * SECOND);
    let one = fleet.boot("i-1");
    for _ in 0..20 {
        fleet.start(chain(1)).await;
    }
    tokio::time::sleep(SECOND).await;
    one.cut(true);
    let other = fleet.boot("i-2");
    tokio::time::sleep(8 * SECOND).await;
    assert!(other.owned() > 0);
    one.cut(false);
    fleet.until_ended(20, 120 * SECOND).await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(one.owned(), 0);
    assert_eq!(fleet.ledger.twice(), []);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_ends_an_execution_whose_effect_is_under_way() {
    let fleet = Fleet::new(6000 * SECOND);
    let _one = fleet.boot("i-1");
    let id = fleet.start(chain(1)).await;
    tokio::time::sleep(SECOND).await;
    assert!(fleet.store.post(&id, &Message::Cancel { by: "me".into(), reason: None }).await.unwrap());
    fleet.until_ended(1, 2 * SECOND).await;
    assert_eq!(fleet.status(&id).await, Status::Canceled);
}

#[tokio::test(start_paused = true)]
async fn a_failed_pipeline_starts_its_follower_once_and_a_successful_one_does_not() {
    let fleet = Fleet::new(Duration::ZERO);
    let follower = json!({"name": "rollback", "stages": [{"type": "noop"}],
        "triggers": [{"type": "pipeline", "enabled": true, "id": "t", "application": "app", "pipeline": "deploy", "status": ["failed"]}]});
    fleet.save("rollback", follower).await;
    let _one = fleet.boot("i-1");
    let good = json!({"name": "deploy", "id": "deploy", "application": "app", "stages": [{"type": "noop"}]});
    fleet.start(good).await;
    fleet.until_ended(1, SECOND).await;
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(fleet.all().await.len(), 1);
    let bad = json!({"name": "deploy", "id": "deploy", "application": "app", "stages": []});
    let bad = fleet.start(bad).await;
    let all = fleet.until_ended(3, 2 * SECOND).await;
    let started = all.iter().find(|l| l.name == "rollback").expect("a rollback");
    let trigger = &fleet.load(&started.id).await.summary().trigger.clone();
    assert_eq!(trigger["parentExecution"]["id"], bad.as_str());
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(fleet.all().await.len(), 3, "once");
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_followers_does_not_carry_all_of_its_ancestors() {
    let fleet = Fleet::new(Duration::ZERO);
    for (name, after) in [("second", "first"), ("third", "second")] {
        let trigger =
            json!({"type": "pipeline", "enabled": true, "id": "t", "application": "app", "pipeline": after, "status": ["successful"]});
        fleet.save(name, json!({"name": name, "stages": [{"type": "noop"}], "triggers": [trigger]})).await;
    }
    let _one = fleet.boot("i-1");
    fleet.start(json!({"name": "first", "id": "first", "application": "app", "stages": [{"type": "noop"}]})).await;
    let all = fleet.until_ended(3, 30 * SECOND).await;
    let third = all.iter().find(|l| l.name == "third").expect("the third");
    let trigger = fleet.load(&third.id).await.summary().trigger.clone();
    assert_eq!(trigger["parentExecution"]["name"], "second");
    assert_eq!(trigger["parentExecution"]["trigger"]["type"], "pipeline", "what started the parent is told");
    assert_eq!(trigger["parentExecution"]["trigger"].get("parentExecution"), None, "and not its whole ancestry");
}

/// Hosts crash, hang, lose answers and come back while executions run; whatever happens, each ends as it should and no attempt begins twice.
#[tokio::test(start_paused = true)]
async fn storms_lose_no_execution_and_begin_no_attempt_twice() {
    for seed in 0..8u64 {
        storm(seed).await;
    }
}

async fn storm(seed: u64) {
    let fleet = Fleet::new(2 * SECOND);
    let names = ["i-1", "i-2", "i-3"];
    let mut hosts: Vec<Option<rig::Instance>> = names.iter().map(|name| Some(fleet.boot(name))).collect();
    let mut chance = seed * 1_000_003;
    let mut roll = |sides: u64| {
        chance += 1;
        pause::mix(chance) % sides
    };
    for _ in 0..40 {
        fleet.start(chain(6)).await;
        fleet.start(json!({"name": "f", "application": "app", "stages": [
            {"refId": "a", "type": "wait", "waitTime": 4}, {"refId": "b", "type": "noop", "tasks": 3, "requisiteStageRefIds": ["a"]},
            {"refId": "c", "type": "noop", "requisiteStageRefIds": ["a"]}, {"refId": "d", "type": "noop", "requisiteStageRefIds": ["b", "c"]}]}))
            .await;
    }
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(100 + roll(900))).await;
        let at = usize::try_from(roll(3)).unwrap();
        match (roll(6), hosts[at].take()) {
            (0, Some(host)) => host.kill().await,
            (1, Some(host)) => assert_eq!(host.stop().await, Ok(())),
            (2, Some(host)) => {
                host.cut(true);
                hosts[at] = Some(host);
            }
            (3, Some(host)) => {
                host.lossy(true);
                hosts[at] = Some(host);
            }
            (4, Some(host)) => {
                host.handle.wish(|wish| wish.intake = !wish.intake);
                hosts[at] = Some(host);
            }
            (_, Some(host)) => {
                host.cut(false);
                host.lossy(false);
                hosts[at] = Some(host);
            }
            (_, None) => hosts[at] = Some(fleet.boot(names[at])),
        }
    }
    for (at, name) in names.iter().enumerate() {
        let host = hosts[at].get_or_insert_with(|| fleet.boot(name));
        host.cut(false);
        host.lossy(false);
        host.handle.wish(|wish| wish.intake = true);
    }
    let all = fleet.until_ended(80, 300 * SECOND).await;
    assert!(all.iter().all(|l| l.status == Status::Succeeded), "seed {seed}");
    assert_eq!(fleet.ledger.twice(), [], "seed {seed}");
    let done = fleet.ledger.ended();
    assert_eq!(done.len(), 40 * 6 + 40 * 5, "seed {seed}: a task was lost");
}

#[tokio::test(start_paused = true)]
async fn after_a_loss_a_new_session_takes_up_what_the_store_holds() {
    let fleet = Fleet::new(3 * SECOND);
    let one = fleet.boot("i-1");
    for _ in 0..20 {
        fleet.start(chain(3)).await;
    }
    tokio::time::sleep(SECOND).await;
    let before = one.handle.state().unwrap().session.unwrap();
    let running = one.owned();
    assert!(running > 10, "{running}");
    one.lose();
    one.handle.until(|state| state.session.as_ref().is_some_and(|session| *session != before)).await;
    tokio::time::sleep(SECOND).await;
    let active = fleet.store.active_by_instance().await.unwrap();
    assert_eq!((active.len(), active[0].count), (1, one.owned() as u64), "one session owns all of it");
    assert!(active[0].count > 10, "{active:?}");
    fleet.until_ended(20, 30 * SECOND).await;
    assert!(fleet.all().await.iter().all(|l| l.status == Status::Succeeded));
    assert_eq!(one.stop().await, Ok(()));
}
