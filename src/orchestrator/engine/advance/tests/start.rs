//! The start of an execution, its notices, and types that are not known.

use serde_json::json;

use super::harness::Rig;
use super::harness::START;
use super::harness::Script;
use super::harness::call;
use super::harness::stage;
use crate::model::Timestamp;
use crate::orchestrator::engine::event::Command;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::Summary;
use crate::orchestrator::engine::stage::Registry;
use crate::orchestrator::engine::status::Status;

#[test]
fn the_gate_is_asked_when_the_definition_is_limited_and_admission_starts_once() {
    let limits = [(true, 0, Some(1)), (true, 3, Some(1)), (false, 3, Some(3)), (false, 0, None)];
    for (limit_concurrent, max_concurrent_executions, asked) in limits {
        let summary =
            Summary { pipeline_config_id: Some("c".to_owned()), limit_concurrent, max_concurrent_executions, ..Summary::default() };
        let mut rig = Rig::with(summary, vec![call("1", &[])]);
        rig.tick();
        let limit = rig.commands.iter().find_map(|c| if let Command::Admit { limit, .. } = c { Some(*limit) } else { None });
        assert_eq!((limit, rig.status("1") == Status::NotStarted), (asked, asked.is_some()));
        rig.say(Message::Admitted);
        assert!(rig.say(Message::Admitted).commands.is_empty());
        assert_eq!((rig.status("1"), rig.in_flight.len()), (Status::Running, 1));
    }
}

#[test]
fn too_late_to_start_is_a_cancel_by_the_system() {
    let summary = Summary { start_time_expiry: Some(Timestamp(START.0 - 1)), ..Summary::default() };
    let mut rig = Rig::with(summary, vec![call("1", &[])]);
    rig.tick();
    assert_eq!((rig.ended(), rig.execution.summary().canceled_by.as_deref()), (vec![Status::Canceled], Some("spinnaker")));
}

#[test]
fn an_execution_that_nothing_begins_fails() {
    for stages in [vec![], vec![call("1", &["1"])]] {
        let mut rig = Rig::new(stages);
        rig.tick();
        assert_eq!(rig.ended(), [Status::Terminal]);
    }
}

#[test]
fn a_window_comes_first_once_and_people_see_it_where_it_belongs() {
    let child = json!({"name": "child", "tasks": [], "restrictExecutionDuringTimeWindow": true});
    let context = json!({"tasks": [], "before": [child, child, child], "restrictExecutionDuringTimeWindow": true});
    let mut rig = Rig::new(vec![call("0", &[]), stage("1", &["0"], context), call("2", &["1"])]);
    rig.tick();
    rig.run_out();
    let order: Vec<&str> = rig.execution.stages().iter().map(|s| s.head().ref_id.as_str()).collect();
    assert_eq!(order, ["0", "1<0", "1<1", "1<2", "1<3", "1", "2"]);
    assert_eq!(rig.ended(), [Status::Succeeded]);
}

#[test]
fn a_type_that_is_not_known_here_waits_and_fails_nothing() {
    let mut rig = Rig::new(vec![call("1", &[]), stage("2", &["1"], json!({"type": "newer", "tasks": ["call"]}))]);
    rig.tick();
    rig.done("1", "SUCCEEDED");
    assert_eq!((rig.last.waits_for_type.as_deref(), rig.last.wake), (Some("newer"), Some(Timestamp(START.0 + 30_000))));
    assert_eq!((rig.execution.status(), rig.status("2")), (Status::Running, Status::NotStarted));
    let waits = |rig: &Rig| rig.execution.stages()[1].context().get("waitsForType").cloned();
    assert_eq!(waits(&rig), Some(json!("newer")), "people see what it waits for");
    rig.at(30_000);
    assert_eq!(rig.last.waits_for_type, None, "told once");
    rig.registry = Registry::empty().with(Script("script")).with(Script("newer"));
    rig.at(60_000);
    rig.run_out();
    assert_eq!(rig.ended(), [Status::Succeeded]);
    assert_eq!(waits(&rig), None);
}

#[test]
fn people_are_told_what_they_asked_for_under_numbers_that_grow() {
    let block = json!({"type": "email", "when": ["pipeline.starting", "pipeline.failed"]});
    let summary = Summary { notifications: vec![block], ..Summary::default() };
    let of_stage = json!([{"type": "slack", "when": ["stage.starting", "stage.failed"]}]);
    let mut rig =
        Rig::with(summary, vec![stage("1", &[], json!({"tasks": ["fail"], "sendNotifications": true, "notifications": of_stage}))]);
    rig.tick();
    let told: Vec<(u64, &str)> =
        rig.commands.iter().filter_map(|c| if let Command::Notify(n) = c { Some((n.number, n.event.as_str())) } else { None }).collect();
    assert_eq!(told, [(1, "pipeline.starting"), (2, "stage.starting"), (3, "stage.failed"), (4, "pipeline.failed")]);
}

#[test]
fn a_window_and_other_stages_within_tell_nobody_in_their_parents_name() {
    let notifications = json!([{"type": "slack", "when": ["stage.starting", "stage.complete"]}]);
    let child = json!({"name": "child", "tasks": [], "sendNotifications": true, "notifications": notifications});
    let context = json!({"tasks": ["call"], "before": [child], "restrictExecutionDuringTimeWindow": true, "sendNotifications": true, "notifications": notifications});
    let mut rig = Rig::new(vec![stage("1", &[], context)]);
    rig.tick();
    rig.run_out();
    let told = |c: &Command| if let Command::Notify(n) = c { Some((n.event.clone(), n.details["stage"].clone())) } else { None };
    let told: Vec<_> = rig.commands.iter().filter_map(told).collect();
    assert_eq!(told, [("stage.starting".to_owned(), json!("1")), ("stage.complete".to_owned(), json!("1"))]);
}
