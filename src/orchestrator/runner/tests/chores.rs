//! Schedules, notices, the past.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::Value;
use serde_json::json;

use super::super::notify::NotTold;
use super::super::scheduler;
use super::super::*;
use super::MOMENT;
use super::SECOND;
use super::rig::Fleet;
use super::rig::START;
use crate::model::Timestamp;
use crate::orchestrator::store::Outgoing;

const MINUTE: Duration = Duration::from_secs(60);

fn every_minute(missed: &str) -> Value {
    json!({"name": "tick", "stages": [{"type": "noop"}],
        "triggers": [{"type": "cron", "enabled": true, "id": "t", "cronExpression": "0 * * * * ?", "missed": missed}]})
}

async fn times(fleet: &Fleet) -> Vec<Timestamp> {
    let mut times: Vec<Timestamp> = fleet.all().await.iter().map(|l| l.build_time).collect();
    times.sort();
    times
}

#[tokio::test(start_paused = true)]
async fn a_cron_fires_once_a_time_whoever_is_there() {
    let fleet = Fleet::new(Duration::ZERO);
    fleet.save("tick", every_minute("skip")).await;
    let one = fleet.boot("i-1");
    let _two = fleet.boot("i-2");
    tokio::time::sleep(5 * MINUTE).await;
    assert_eq!(fleet.all().await.len(), 5);
    one.kill().await;
    tokio::time::sleep(5 * MINUTE).await;
    let times = times(&fleet).await;
    assert_eq!(times.len(), 10, "none is lost with its scheduler");
    let minutes: BTreeSet<i64> = times.iter().map(|t| t.0 / 60_000).collect();
    assert_eq!(minutes.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn times_nobody_was_there_for_are_skipped_or_made_up_for_once() {
    for (missed, expected) in [("skip", 0), ("run-once", 1)] {
        let fleet = Fleet::new(Duration::ZERO);
        fleet.save("tick", every_minute(missed)).await;
        let one = fleet.boot("i-1");
        tokio::time::sleep(SECOND).await;
        one.kill().await;
        // START is 20 s past a minute: an hour later, nothing is in time for 40 s.
        tokio::time::sleep(60 * MINUTE + 15 * SECOND).await;
        let _again = fleet.boot("i-1");
        tokio::time::sleep(5 * SECOND).await;
        assert_eq!(fleet.all().await.len(), expected, "{missed}; START = {START}");
    }
}

#[tokio::test(start_paused = true)]
async fn more_late_triggers_than_may_fire_at_once_wait_for_a_person() {
    let fleet = Fleet::new(Duration::ZERO);
    for n in 0..4 {
        fleet.save(&format!("tick{n}"), every_minute("run-once")).await;
    }
    let few = |settings: Settings| Settings { safeguard: 3, ..settings };
    let one = fleet.boot_with("i-1", few);
    tokio::time::sleep(SECOND).await;
    one.kill().await;
    tokio::time::sleep(60 * MINUTE + 15 * SECOND).await;
    let _again = fleet.boot_with("i-1", few);
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(fleet.all().await.len(), 0);
    let held = scheduler::held(&*fleet.store).await.unwrap().expect("a hold");
    assert_eq!((held.count, held.some.len()), (4, 4));
    scheduler::decide(&*fleet.store, &held, scheduler::Decision::Fire).await.unwrap();
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!(fleet.all().await.len(), 4, "each once");
    assert_eq!(scheduler::held(&*fleet.store).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn however_many_times_went_by_they_are_made_up_for_once() {
    let fleet = Fleet::new(Duration::ZERO);
    fleet.save("tick", every_minute("run-once")).await;
    let one = fleet.boot("i-1");
    tokio::time::sleep(SECOND).await;
    one.kill().await;
    tokio::time::sleep(3 * 24 * 60 * MINUTE + 15 * SECOND).await;
    let _again = fleet.boot("i-1");
    tokio::time::sleep(8 * SECOND).await;
    let all = fleet.all().await;
    assert_eq!(all.len(), 1);
    let time = fleet.load(&all[0].id).await.summary().trigger["correlationId"].as_str().unwrap().rsplit('/').next().unwrap().parse::<i64>();
    let gap = fleet.now().0 - time.unwrap();
    assert!(gap < 90_000, "for the last of them, {gap} ms ago");
}

/// Four crons of which so many are late at once that they wait.
async fn held_up(missed: &str) -> (Fleet, super::rig::Instance) {
    let fleet = Fleet::new(Duration::ZERO);
    for n in 0..4 {
        fleet.save(&format!("tick{n}"), every_minute(missed)).await;
    }
    let one = fleet.boot_with("i-1", few);
    tokio::time::sleep(SECOND).await;
    one.kill().await;
    // START is 20 s past a minute; the next boot is 36 s past one, the next time in 24 s.
    tokio::time::sleep(60 * MINUTE + 15 * SECOND).await;
    let again = fleet.boot_with("i-1", few);
    tokio::time::sleep(4 * SECOND).await;
    assert_eq!(fleet.all().await.len(), 0);
    assert!(scheduler::held(&*fleet.store).await.unwrap().is_some());
    (fleet, again)
}

fn few(settings: Settings) -> Settings {
    Settings { safeguard: 3, ..settings }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_time_fires_though_what_is_late_is_held() {
    let (fleet, again) = held_up("run-once").await;
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(fleet.all().await.len(), 8, "two minutes of four");
    // Neither forgotten nor fired by whoever schedules next.
    again.kill().await;
    let _next = fleet.boot_with("i-2", few);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(fleet.all().await.len(), 12);
    let held = scheduler::held(&*fleet.store).await.unwrap().expect("the hold goes on");
    assert_eq!(held.count, 4);
    scheduler::decide(&*fleet.store, &held, scheduler::Decision::Fire).await.unwrap();
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!((fleet.all().await.len(), scheduler::held(&*fleet.store).await.unwrap()), (16, None));
}

#[tokio::test(start_paused = true)]
async fn what_was_dropped_does_not_fire_and_its_next_time_does() {
    let (fleet, _again) = held_up("run-once").await;
    let held = scheduler::held(&*fleet.store).await.unwrap().unwrap();
    scheduler::decide(&*fleet.store, &held, scheduler::Decision::Drop).await.unwrap();
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!((fleet.all().await.len(), scheduler::held(&*fleet.store).await.unwrap()), (0, None));
    tokio::time::sleep(MINUTE).await;
    assert_eq!(fleet.all().await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_hold_ends_when_no_more_are_late_than_may_fire_at_once() {
    let (fleet, _again) = held_up("run-once").await;
    fleet.save("tick0", json!({"name": "tick0", "stages": []})).await;
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!((fleet.all().await.len(), scheduler::held(&*fleet.store).await.unwrap()), (3, None));
}

/// What is logged, as lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_that_is_given_up_is_told_with_its_pipeline_and_how_many_there_were() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _log = tracing::subscriber::set_default(log);
    let fleet = Fleet::new(Duration::ZERO);
    for n in 0..22 {
        fleet.save(&format!("tick{n}"), every_minute("skip")).await;
    }
    let one = fleet.boot("i-1");
    tokio::time::sleep(SECOND).await;
    one.kill().await;
    tokio::time::sleep(60 * MINUTE + 15 * SECOND).await;
    let _again = fleet.boot("i-1");
    tokio::time::sleep(5 * SECOND).await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let told: Vec<&str> = text.lines().filter(|line| line.contains("trigger-missed.md")).collect();
    assert_eq!(told.len(), 21, "twenty of them, and how many more: {told:#?}");
    assert!(told[0].contains("pipeline=\"tick") && told[0].contains("times=60 more=false"), "{}", told[0]);
    assert!(told[20].contains("more=2"), "{}", told[20]);
    assert_eq!(fleet.all().await.len(), 0);
}

/// Fails twice, then tells.
#[derive(Default)]
struct Reluctant(Mutex<Vec<(u32, String)>>);

#[async_trait]
impl Channel for Reluctant {
    fn serves(&self) -> &'static str {
        "slack"
    }

    async fn tell(&self, notice: &Outgoing) -> Result<(), NotTold> {
        self.0.lock().unwrap().push((notice.tries, notify::text(notice).0));
        if notice.tries < 2 { Err(NotTold { why: "busy".into(), again: true }) } else { Ok(()) }
    }
}

#[tokio::test(start_paused = true)]
async fn a_notice_is_told_until_it_is_heard_and_holds_up_nobody() {
    let fleet = Fleet::new(Duration::ZERO);
    let channel = Arc::new(Reluctant::default());
    let _one = fleet.boot_telling("i-1", channel.clone());
    let notify =
        json!([{"type": "Slack", "address": "#ops", "when": ["pipeline.complete"]}, {"type": "sms", "when": ["pipeline.complete"]}]);
    fleet.start(json!({"name": "p", "application": "app", "stages": [{"type": "noop"}], "notifications": notify})).await;
    fleet.until_ended(1, SECOND).await;
    tokio::time::sleep(MOMENT + 2 * MINUTE).await;
    let told = channel.0.lock().unwrap().clone();
    assert_eq!(told.iter().map(|(tries, _)| *tries).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(told[0].1, "app: p: succeeded");
}

/// Serves what the other does not.
#[derive(Default)]
struct Texts(Mutex<u32>);

#[async_trait]
impl Channel for Texts {
    fn serves(&self) -> &'static str {
        "sms"
    }

    async fn tell(&self, _: &Outgoing) -> Result<(), NotTold> {
        *self.0.lock().unwrap() += 1;
        Ok(())
    }
}

async fn with_an_sms(fleet: &Fleet) {
    let notify = json!([{"type": "sms", "when": ["pipeline.complete"]}]);
    fleet.start(json!({"name": "p", "application": "app", "stages": [{"type": "noop"}], "notifications": notify})).await;
    fleet.until_ended(1, SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_notice_that_one_instance_cannot_tell_waits_for_one_that_can() {
    let fleet = Fleet::new(Duration::ZERO);
    let _one = fleet.boot("i-1");
    with_an_sms(&fleet).await;
    tokio::time::sleep(10 * MINUTE).await;
    let texts = Arc::new(Texts::default());
    let _other = fleet.boot_telling("i-2", texts.clone());
    tokio::time::sleep(4 * 60 * MINUTE).await;
    assert_eq!(*texts.0.lock().unwrap(), 1);
    assert!(fleet.store.outbox(10, SECOND).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_notice_that_nobody_can_tell_is_given_up_after_half_a_day() {
    let fleet = Fleet::new(Duration::ZERO);
    let _one = fleet.boot_telling("i-1", Arc::new(Reluctant::default()));
    with_an_sms(&fleet).await;
    // Its tries come 15 to 30 minutes apart in the end: fifty of them take 12 to 22 hours, as its id has it.
    tokio::time::sleep(24 * 60 * MINUTE).await;
    let late = Arc::new(Texts::default());
    let _other = fleet.boot_telling("i-2", late.clone());
    tokio::time::sleep(60 * MINUTE).await;
    assert_eq!(*late.0.lock().unwrap(), 0, "nothing is left to tell");
}

#[tokio::test(start_paused = true)]
async fn the_past_is_removed_but_for_the_last_of_each_pipeline() {
    let fleet = Fleet::new(Duration::ZERO);
    let _one = fleet.boot_with("i-1", |settings| Settings { history: Some(History { age: 10 * MINUTE, keep: 2 }), ..settings });
    for _ in 0..250 {
        fleet.start(super::chain(1)).await;
    }
    fleet.until_ended(250, 5 * SECOND).await;
    tokio::time::sleep(12 * MINUTE).await;
    assert_eq!(fleet.all().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn definitions_are_read_when_one_was_saved_and_not_because_time_passes() {
    let fleet = Fleet::new(Duration::ZERO);
    for n in 0..3 {
        fleet.save(&format!("tick{n}"), every_minute("skip")).await;
    }
    let one = fleet.boot("i-1");
    tokio::time::sleep(20 * MINUTE).await;
    let reads = one.net.calls("definitions");
    assert!(reads <= 2, "{reads} in twenty minutes");
    fleet.save("tick3", every_minute("skip")).await;
    let before = fleet.all().await.len();
    tokio::time::sleep(MINUTE + 5 * SECOND).await;
    assert!(fleet.all().await.len() >= before + 4, "a new one is heard of in a moment");
}
