//! Cancel, pause, patch, restart, adoption.

use serde_json::json;

use super::harness::Rig;
use super::harness::START;
use super::harness::call;
use super::harness::stage;
use crate::model::Timestamp;
use crate::orchestrator::engine::event::Command;
use crate::orchestrator::engine::event::Event;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::Head;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::execution::Summary;
use crate::orchestrator::engine::stage::Registry;
use crate::orchestrator::engine::status::Status;

fn patch(rig: &mut Rig, ref_id: &str, context: serde_json::Value) {
    let stage = rig.stage(ref_id).id.clone();
    let context = context.as_object().cloned().unwrap_or_default();
    rig.say(Message::Patch { stage, by: "me".to_owned(), roles: vec![], admin: false, allowed_accounts: vec![], context });
}

/// A judgment that only `ops` may make, and what these people say to it.
fn guarded() -> Rig {
    let head = Head { ref_id: "1".into(), name: "1".into(), kind: "manualJudgment".into(), ..Head::default() };
    let context = json!({"selectedStageRoles": ["ops"]}).as_object().cloned().unwrap_or_default();
    let mut rig = Rig::new(vec![(head, context)]);
    rig.registry = Registry::standard();
    rig
}

fn says(rig: &mut Rig, who: &str, roles: &[&str], context: serde_json::Value) {
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    let context = context.as_object().cloned().unwrap_or_default();
    let stage = rig.stage("1").id.clone();
    rig.say(Message::Patch { stage, by: who.into(), roles, admin: false, allowed_accounts: vec![], context });
}

#[test]
fn nobody_without_the_role_answers_or_skips_a_judgment_whenever_they_say_it() {
    let cases = [json!({"judgmentStatus": "continue"}), json!({"judgmentInput": "yes"}), json!({"manualSkip": true})];
    for (context, begun) in cases.into_iter().flat_map(|context| [(context.clone(), false), (context, true)]) {
        let mut rig = guarded();
        if begun {
            rig.tick();
        }
        says(&mut rig, "bob", &["dev"], context.clone());
        assert!(rig.last.refusal.is_some(), "{context}");
        rig.tick();
        let stage = rig.stage("1");
        assert_eq!(stage.status(), Status::Running, "{context}");
        assert!(stage.context()["judgmentRefused"].as_str().is_some_and(|why| why.starts_with("bob has none")), "{context}");
        assert!(context.as_object().is_some_and(|said| said.keys().all(|key| !stage.context().contains_key(key))), "{context}");
    }
    let mut rig = guarded();
    rig.tick();
    says(&mut rig, "ann", &["ops"], json!({"manualSkip": true}));
    assert_eq!(rig.status("1"), Status::Skipped);
}

#[test]
fn an_answer_given_while_it_is_paused_stays_that_of_who_gave_it() {
    let mut rig = guarded();
    rig.tick();
    rig.say(Message::Pause { by: "me".to_owned() });
    says(&mut rig, "ann", &["ops"], json!({"judgmentStatus": "continue"}));
    says(&mut rig, "bob", &["dev"], json!({"judgmentStatus": "stop"}));
    says(&mut rig, "cat", &["dev"], json!({"comment": "look here"}));
    rig.say(Message::Resume { by: "me".to_owned() });
    assert_eq!(rig.status("1"), Status::Succeeded);
    assert_eq!(rig.stage("1").head().last_modified.as_ref().map(|judge| judge.user.as_str()), Some("ann"));
}

fn restart(rig: &mut Rig, ref_id: &str) {
    let stage = rig.stage(ref_id).id.clone();
    rig.say(Message::Restart { stage, by: "me".to_owned(), body: Object::new() });
}

#[test]
fn a_cancel_of_what_only_waits_ends_it_in_the_same_step() {
    let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": ["hold"], "undo": true})), call("2", &["1"])]);
    rig.tick();
    rig.cancel();
    assert_eq!((rig.status("1"), rig.status("2"), rig.ended()), (Status::Canceled, Status::NotStarted, vec![Status::Canceled]));
    assert!(rig.commands.iter().any(|c| matches!(c, Command::Undo { .. })), "what the task did outside is undone");
}

#[test]
fn a_cancel_learns_what_an_attempt_in_flight_came_to_before_it_undoes() {
    let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": ["call"], "undo": true}))]);
    rig.tick();
    rig.cancel();
    assert!(matches!(rig.last.commands.as_slice(), [Command::Abort { .. }]));
    assert_eq!(rig.execution.status(), Status::Running);
    rig.done("1", "SUCCEEDED");
    assert_eq!(rig.stage("1").context()["ran0"], true);
    assert!(matches!(rig.last.commands.as_slice(), [Command::Undo { .. }, Command::Ended { status: Status::Canceled }]));
}

#[test]
fn a_cancel_waits_no_longer_than_its_grace_and_a_second_one_not_at_all() {
    let in_flight = || {
        let mut rig = Rig::new(vec![call("1", &[])]);
        rig.tick();
        rig.cancel();
        rig
    };
    let mut rig = in_flight();
    assert_eq!(rig.last.wake, Some(Timestamp(START.0 + 30_000)));
    rig.at(30_000);
    assert_eq!(rig.ended(), [Status::Canceled]);
    let mut rig = in_flight();
    rig.cancel();
    assert_eq!(rig.ended(), [Status::Canceled]);
}

#[test]
fn a_paused_execution_starts_nothing_and_goes_on_where_it_was() {
    let mut rig = Rig::new(vec![call("1", &[]), call("2", &["1"])]);
    rig.tick();
    rig.say(Message::Pause { by: "me".to_owned() });
    assert_eq!((rig.execution.status(), rig.status("1")), (Status::Paused, Status::Paused));
    rig.done("1", "SUCCEEDED");
    assert_eq!((rig.status("1"), rig.status("2")), (Status::Succeeded, Status::NotStarted));
    rig.say(Message::Resume { by: "me".to_owned() });
    assert_eq!(rig.status("2"), Status::Running);
    rig.run_out();
    assert_eq!(rig.ended(), [Status::Succeeded]);
    assert!(rig.say(Message::Pause { by: "me".to_owned() }).refusal.is_some());
}

#[test]
fn an_answer_is_seen_at_once_also_when_it_comes_while_an_attempt_is_in_flight() {
    let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": ["hold"]}))]);
    rig.tick();
    patch(&mut rig, "1", json!({"answer": "SUCCEEDED"}));
    assert_eq!(rig.ended(), [Status::Succeeded]);
    let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": ["poll"]}))]);
    rig.tick();
    patch(&mut rig, "1", json!({"more": 1}));
    rig.done("1", "?");
    assert_eq!(rig.in_flight.len(), 1, "it is looked at again instead of waiting for its period");
}

#[test]
fn a_skip_by_hand_ends_the_whole_stage_and_what_is_downstream_goes_on() {
    let child = json!({"name": "child", "tasks": ["hold"]});
    let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": ["call"], "before": [child]})), call("2", &["1"])]);
    rig.tick();
    patch(&mut rig, "1<1", json!({"manualSkip": true}));
    assert_eq!((rig.status("1<1"), rig.status("1"), rig.status("2")), (Status::Skipped, Status::Skipped, Status::Running));
}

#[test]
fn a_skip_said_before_the_stage_starts_is_kept_until_its_turn() {
    let mut rig = Rig::new(vec![call("1", &[]), call("2", &["1"]), call("3", &["2"])]);
    rig.tick();
    patch(&mut rig, "2", json!({"manualSkip": true}));
    assert_eq!((rig.last.refusal.as_deref(), rig.status("2")), (None, Status::NotStarted));
    rig.done("1", "SUCCEEDED");
    assert_eq!((rig.status("2"), rig.status("3"), rig.in_flight.len()), (Status::Skipped, Status::Running, 1));
    let head = rig.stage("2").head();
    assert_eq!((head.start_time, head.end_time), (None, Some(START)));
    rig.run_out();
    restart(&mut rig, "2");
    assert_eq!(rig.status("2"), Status::Running, "whoever restarts it wants it to run");
}

#[test]
fn a_skip_of_a_stage_within_said_before_it_starts_ends_the_whole_stage() {
    let child = json!({"name": "child", "tasks": ["call"], "linear": true});
    let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": ["call"], "before": [child, child]})), call("2", &["1"])]);
    rig.tick();
    patch(&mut rig, "1<2", json!({"manualSkip": true}));
    assert_eq!(rig.status("1<1"), Status::Running);
    rig.done("1<1", "SUCCEEDED");
    assert_eq!((rig.status("1<1"), rig.status("1<2")), (Status::Succeeded, Status::Skipped));
    assert_eq!((rig.status("1"), rig.status("2")), (Status::Skipped, Status::Running));
}

#[test]
fn a_pipeline_may_skip_any_stage_of_its_own_and_a_person_only_those_that_can_be() {
    for (word, status) in [(json!(true), Status::Skipped), (json!("${ 1 == 1 }"), Status::Skipped), (json!(false), Status::Running)] {
        let context = json!({"type": "firm", "tasks": ["call"], "manualSkip": word, "restrictExecutionDuringTimeWindow": false});
        let mut rig = Rig::new(vec![stage("1", &[], context), call("2", &["1"])]);
        rig.tick();
        assert_eq!(rig.status("1"), status, "{word}");
    }
    let mut rig = Rig::new(vec![call("1", &[]), stage("2", &["1"], json!({"type": "firm", "tasks": ["call"]}))]);
    rig.tick();
    patch(&mut rig, "2", json!({"manualSkip": true}));
    assert!(rig.last.refusal.as_deref().is_some_and(|why| why.contains("firm")), "{:?}", rig.last.refusal);
    rig.done("1", "SUCCEEDED");
    assert_eq!(rig.status("2"), Status::Running);
}

#[test]
fn a_restart_runs_the_stage_and_what_is_downstream_and_leaves_cancelled_siblings() {
    let mut rig = Rig::new(vec![call("1", &[]), stage("2", &[], json!({"tasks": ["hold"]})), call("3", &["1", "2"])]);
    rig.tick();
    rig.done("1", "TERMINAL");
    assert_eq!((rig.ended(), rig.status("2")), (vec![Status::Terminal], Status::Canceled));
    restart(&mut rig, "1");
    assert_eq!((rig.execution.status(), rig.status("1")), (Status::Running, Status::Running));
    assert_eq!(rig.stage("1").context()["restartDetails"]["restartedBy"], "me");
    rig.done("1", "SUCCEEDED");
    assert_eq!(rig.ended(), [Status::Terminal, Status::Canceled]);
}

#[test]
fn a_restart_of_a_limited_execution_asks_the_gate_again() {
    let summary = Summary { pipeline_config_id: Some("c".to_owned()), limit_concurrent: true, ..Summary::default() };
    let mut rig = Rig::with(summary, vec![call("1", &[])]);
    rig.tick();
    rig.say(Message::Admitted);
    rig.run_out();
    restart(&mut rig, "1");
    assert!(matches!(rig.last.commands.as_slice(), [Command::Reopened { .. }, Command::Admit { limit: 1, .. }]));
    rig.say(Message::Admitted);
    assert_eq!(rig.status("1"), Status::Running);
}

#[test]
fn a_lost_attempt_is_repeated_asked_about_or_failed_as_its_kind_says() {
    let lost = |how: &str| {
        let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": ["call"], "lost": how}))]);
        rig.tick();
        rig.in_flight.clear();
        rig.tell(Event::Adopted);
        rig
    };
    let rig = lost("repeat");
    assert_eq!(rig.in_flight.iter().map(|key| key.number).collect::<Vec<_>>(), [2]);
    assert_eq!(lost("ask").in_flight.len(), 1);
    assert_eq!(lost("fail").ended(), [Status::Terminal]);
}

#[test]
fn a_skip_of_a_stage_that_is_being_called_off_is_refused_and_the_cancel_ends() {
    let page = json!({"tasks": ["call"], "text": "${ #fromUrl('http://x.example/') }"});
    let mut rig = Rig::new(vec![stage("1", &[], page), call("2", &["1"])]);
    rig.tick();
    rig.cancel();
    patch(&mut rig, "1", json!({"manualSkip": true}));
    assert!(rig.last.refusal.is_some());
    rig.done("1", "SUCCEEDED");
    assert_eq!(rig.ended(), [Status::Canceled]);
}

#[test]
fn what_is_ready_in_an_execution_that_was_called_off_does_not_keep_it_from_its_end() {
    let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": ["SUCCEEDED"]})), stage("2", &["1"], json!({"tasks": ["hold"]}))]);
    // As an owner leaves it that died with half of a cancel written.
    rig.execution.summary_mut().status = Status::Running;
    rig.execution.summary_mut().canceled = true;
    rig.tell(Event::Adopted);
    assert_eq!(rig.ended(), [Status::Canceled]);
}

#[test]
fn an_execution_that_cannot_be_kept_ends_where_it_stands() {
    let mut rig = Rig::new(vec![call("1", &[]), stage("2", &[], json!({"tasks": ["hold"]})), call("3", &["1", "2"])]);
    rig.tick();
    rig.tell(Event::Unkept { why: "too big".to_owned() });
    assert_eq!((rig.ended(), rig.status("1"), rig.status("3")), (vec![Status::Terminal], Status::Canceled, Status::NotStarted));
    assert_eq!(rig.execution.summary().cancellation_reason.as_deref(), Some("too big"));
    assert!(rig.last.commands.iter().any(|command| matches!(command, Command::Abort { .. })));
}

#[test]
fn an_undoing_is_owed_until_it_is_told_and_one_that_is_given_up_is_told_of() {
    let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": ["hold"], "undo": true}))]);
    rig.tick();
    rig.cancel();
    let [Command::Undo { key, .. }] =
        &rig.last.commands.iter().filter(|c| matches!(c, Command::Undo { .. })).cloned().collect::<Vec<_>>()[..]
    else {
        panic!("{:?}", rig.last.commands)
    };
    rig.tell(Event::Adopted);
    assert!(matches!(&rig.last.commands[..], [Command::Undo { key: again, .. }] if again == key), "{:?}", rig.last.commands);
    rig.tell(Event::Undone { key: key.clone(), failed: Some("no answer".to_owned()) });
    assert_eq!(rig.stage("1").context()["undoError"], "no answer");
    rig.tell(Event::Adopted);
    assert_eq!(rig.last.commands, []);
}
