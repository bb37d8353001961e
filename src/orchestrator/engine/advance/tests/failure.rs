//! What a failure comes to.

use serde_json::Value;
use serde_json::json;

use super::harness::Rig;
use super::harness::call;
use super::harness::stage;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::event::Event;
use crate::orchestrator::engine::stage::Registry;
use crate::orchestrator::engine::status::Status;

fn failing(policy: Value) -> Rig {
    let mut context = json!({"tasks": ["fail", "call"]});
    context.as_object_mut().expect("an object").extend(policy.as_object().cloned().unwrap_or_default());
    let mut rig = Rig::new(vec![stage("1", &[], context), call("2", &["1"]), call("3", &[])]);
    rig.tick();
    rig
}

#[test]
fn each_policy_ends_stage_and_execution_as_people_chose() {
    let mut rig = failing(json!({}));
    assert_eq!(rig.status("1"), Status::Terminal);
    rig.done("3", "SUCCEEDED");
    assert_eq!((rig.status("3"), rig.ended()), (Status::Canceled, vec![Status::Terminal]));

    for (fail_at_end, end) in [(false, Status::Succeeded), (true, Status::Terminal)] {
        let mut rig = failing(json!({"failPipeline": false, "completeOtherBranchesThenFail": fail_at_end}));
        assert_eq!((rig.status("1"), rig.ended()), (Status::Stopped, vec![]));
        rig.done("3", "SUCCEEDED");
        assert_eq!((rig.ended(), rig.status("2")), (vec![end], Status::NotStarted));
    }

    let mut rig = failing(json!({"continuePipeline": true}));
    assert_eq!((rig.status("1"), rig.status("2")), (Status::FailedContinue, Status::Running));
    assert_eq!(rig.stage("1").tasks()[1].status, Status::NotStarted, "the rest of a failed stage does not run");
    rig.run_out();
    assert_eq!(rig.ended(), [Status::Succeeded]);
}

#[test]
fn the_error_is_kept_with_the_stage_and_its_task() {
    let rig = failing(json!({}));
    let exception = &rig.stage("1").context()["exception"];
    assert_eq!(exception["exceptionType"], "ScriptException");
    assert_eq!(exception["details"]["errors"], json!(["it is scripted"]));
    assert_eq!(&rig.stage("1").tasks()[0].task_exception_details["exception"], exception);
}

#[test]
fn stages_for_a_failure_run_once_and_the_failure_stands() {
    let names = |n: u32| json!({"name": format!("clean{n}"), "tasks": ["call"]});
    let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": ["fail"], "onFailure": [names(1), names(2)]}))]);
    rig.tick();
    assert_eq!((rig.status("1"), rig.status("1>1"), rig.status("1>2")), (Status::Running, Status::Running, Status::NotStarted));
    rig.run_out();
    assert_eq!((rig.status("1>2"), rig.status("1"), rig.ended()), (Status::Succeeded, Status::Terminal, vec![Status::Terminal]));
}

#[test]
fn a_plan_that_fails_fails_its_stage() {
    let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": ["call"], "planningFails": true}))]);
    rig.tick();
    assert_eq!((rig.ended(), &rig.stage("1").context()["beforeStagePlanningFailed"]), (vec![Status::Terminal], &json!(true)));
}

#[test]
fn stages_beside_a_halted_one_are_called_off_before_their_parent_ends() {
    let child = |word: &str| json!({"name": word, "tasks": [word]});
    let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": ["call"], "before": [child("call"), child("TERMINAL")]}))]);
    rig.tick();
    assert_eq!((rig.status("1<2"), rig.status("1")), (Status::Terminal, Status::Running), "the first one is still in flight");
    rig.done("1<1", "SUCCEEDED");
    assert_eq!((rig.status("1<1"), rig.status("1"), rig.ended()), (Status::Canceled, Status::Terminal, vec![Status::Terminal]));
}

#[test]
fn stages_that_wait_for_each_other_end_the_execution() {
    let mut rig = Rig::new(vec![call("1", &[]), call("2", &["3"]), call("3", &["2"])]);
    rig.tick();
    rig.run_out();
    assert_eq!(rig.ended(), [Status::Terminal]);
}

#[test]
fn a_job_that_others_ask_for_is_still_its_hosts_and_is_lost_with_that_host() {
    let mut rig = Rig::new(vec![stage("1", &[], json!({"type": "runJob", "command": ["make"]}))]);
    rig.registry = Registry::standard();
    rig.tick();
    for adopter in ["i-2", "i-3"] {
        rig.instance = adopter;
        rig.tell(Event::Adopted);
        let attempt = rig.stage("1").tasks()[0].attempt.clone().expect("an attempt");
        assert_eq!((attempt.effect.as_str(), attempt.instance.as_str()), ("attachJob", "i-1"), "by {adopter}");
    }
    let key = rig.in_flight.pop().expect("the last one that was asked for");
    rig.tell(Event::Done { key, outcome: Outcome::JobLost });
    let said = rig.stage("1").context()["exception"]["details"]["error"].to_string();
    assert!(said.contains("instance i-1,"), "{said}");
}
