//! Limits, without the time that was not theirs.

use std::time::Duration;

use serde_json::json;

use super::harness::Rig;
use super::harness::START;
use super::harness::stage;
use crate::model::Timestamp;
use crate::orchestrator::engine::advance::time::backoff;
use crate::orchestrator::engine::advance::time::paused_since;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::event::Command;
use crate::orchestrator::engine::event::Event;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::Paused;
use crate::orchestrator::engine::stage::Registry;
use crate::orchestrator::engine::status::Status;

#[test]
fn a_limit_is_strict_and_is_a_failure_unless_it_counts_as_success() {
    for (good, end) in [(false, Status::Terminal), (true, Status::Succeeded)] {
        let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": ["call"], "taskTimeoutMs": 5000, "markSuccessfulOnTimeout": good}))]);
        assert_eq!(rig.tick().wake, Some(Timestamp(START.0 + 5001)));
        rig.at(5000);
        assert_eq!(rig.status("1"), Status::Running);
        rig.at(5001);
        assert_eq!(rig.ended(), [end]);
    }
}

#[test]
fn what_runs_out_of_time_is_undone_outside_unless_that_counts_as_success() {
    for (good, undone) in [(false, 1), (true, 0)] {
        let context = json!({"tasks": ["hold"], "undo": true, "taskTimeoutMs": 5000, "markSuccessfulOnTimeout": good});
        let mut rig = Rig::new(vec![stage("1", &[], context)]);
        rig.tick();
        rig.at(5001);
        assert!(rig.execution.status().is_complete());
        assert_eq!(rig.commands.iter().filter(|c| matches!(c, Command::Undo { .. })).count(), undone);
    }
}

#[test]
fn a_start_in_flight_is_waited_for_so_that_what_was_started_can_be_called_off() {
    let context = json!({"tasks": ["call", "hold"], "undo": true, "waitedFor": true, "stageTimeoutMs": 1000});
    let mut rig = Rig::new(vec![stage("1", &[], context)]);
    rig.tick();
    let wake = rig.at(1001).wake;
    assert!(wake.is_none_or(|wake| wake > rig.now), "it is not looked at again and again: {wake:?}");
    assert_eq!(rig.status("1"), Status::Running);
    rig.done("1", "SUCCEEDED");
    assert!(matches!(rig.last.commands.as_slice(), [Command::Undo { .. }, Command::Ended { status: Status::Terminal }]));
}

#[test]
fn a_limit_that_ends_a_webhook_says_what_its_tries_came_to() {
    let webhook = json!({"type": "webhook", "url": "https://ci.example/"});
    let mut rig = Rig::new(vec![stage("1", &[], webhook)]);
    rig.registry = Registry::standard();
    rig.tick();
    let key = rig.in_flight.remove(0);
    rig.tell(Event::Done { key, outcome: Outcome::Failed { error: "no route to ci.example".to_owned(), retryable: true } });
    rig.at(300_001);
    let error = rig.stage("1").context()["exception"]["details"]["error"].as_str().unwrap_or_default();
    assert!(error.contains("no route to ci.example") && error.contains("createWebhook"), "{error}");
    assert_eq!(rig.ended(), [Status::Terminal]);
}

#[test]
fn a_stages_limit_reaches_the_stages_within_it_and_a_text_is_no_limit() {
    let child = json!({"name": "child", "tasks": ["hold"]});
    for (limit, end) in [(json!(1000), Status::Terminal), (json!("1000"), Status::Running)] {
        let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": [], "before": [child], "stageTimeoutMs": limit}))]);
        rig.tick();
        rig.at(1001);
        assert_eq!(rig.execution.status(), end);
    }
}

#[test]
fn neither_pauses_nor_the_window_count() {
    let context = json!({"tasks": ["hold"], "stageTimeoutMs": 1000, "restrictExecutionDuringTimeWindow": true});
    let mut rig = Rig::new(vec![stage("1", &[], context)]);
    rig.tick();
    rig.now = Timestamp(START.0 + 60_000);
    let window = rig.stage("1<0").id.clone();
    let open = json!({"answer": "SUCCEEDED"}).as_object().cloned().expect("an object");
    rig.say(Message::Patch { stage: window, by: String::new(), roles: vec![], admin: false, allowed_accounts: vec![], context: open });
    for _ in 0..2 {
        rig.say(Message::Pause { by: String::new() });
        rig.now = Timestamp(rig.now.0 + 10_000);
        rig.say(Message::Resume { by: String::new() });
    }
    rig.at(81_000);
    assert_eq!(rig.status("1"), Status::Running);
    rig.at(81_001);
    assert_eq!(rig.ended(), [Status::Terminal]);
}

#[test]
fn only_pauses_that_began_after_the_start_count() {
    let (s, t) = (Timestamp, |ms| Duration::from_millis(ms));
    let paused = Paused { pause_time: Some(s(50)), resume_time: None, earlier: vec![(s(0), s(10)), (s(20), s(25))], ..Paused::default() };
    assert_eq!(paused_since(Some(&paused), s(0), s(60)), t(25));
    assert_eq!(paused_since(Some(&paused), s(20), s(60)), t(15));
    assert_eq!(paused_since(None, s(0), s(60)), t(0));
}

#[test]
fn the_longest_wait_wins_and_is_capped() {
    let s = Duration::from_secs;
    assert_eq!(backoff([s(2), s(30), s(5)], [s(60), s(31)]), s(30));
    assert_eq!(backoff([s(2), s(40)], [s(31)]), s(31));
    assert_eq!(backoff([], []), s(1));
}
