//! Chains, forks, joins, synthetic stages, failures.

use serde_json::json;

use super::harness::Rig;
use super::harness::call;
use super::harness::stage;
use crate::orchestrator::engine::status::Status;

#[test]
fn a_chain_runs_one_stage_after_the_other() {
    let mut rig = Rig::new(vec![call("1", &[]), stage("2", &["1"], json!({"tasks": ["call", "call"]}))]);
    rig.tick();
    assert_eq!((rig.status("1"), rig.status("2")), (Status::Running, Status::NotStarted));
    rig.done("1", "SUCCEEDED");
    assert_eq!((rig.status("1"), rig.status("2")), (Status::Succeeded, Status::Running));
    rig.run_out();
    assert_eq!(rig.ended(), [Status::Succeeded]);
    assert_eq!(rig.execution.status(), Status::Succeeded);
}

#[test]
fn a_join_starts_when_the_last_branch_ends() {
    let mut rig = Rig::new(vec![call("1", &[]), call("2a", &["1"]), call("2b", &["1"]), call("3", &["2a", "2b"])]);
    rig.tick();
    rig.done("1", "SUCCEEDED");
    rig.done("2b", "SUCCEEDED");
    assert_eq!(rig.status("3"), Status::NotStarted);
    rig.done("2a", "SUCCEEDED");
    assert_eq!(rig.status("3"), Status::Running);
    rig.run_out();
    assert_eq!(rig.ended(), [Status::Succeeded]);
}

#[test]
fn a_task_that_waits_says_when_to_look_again() {
    let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": ["wait"], "waitMs": 5000}))]);
    let wake = rig.tick().wake;
    assert_eq!(wake.map(|t| t.0 - rig.now.0), Some(5000));
    rig.at(4999);
    assert_eq!(rig.status("1"), Status::Running);
    rig.at(5000);
    assert_eq!(rig.ended(), [Status::Succeeded]);
}
