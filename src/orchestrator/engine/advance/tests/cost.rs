//! What an event costs does not grow with the pipeline. Counted in moves, not in time.

use serde_json::json;

use super::harness::Rig;
use super::harness::call;
use super::harness::stage;
use crate::orchestrator::engine::execution::Head;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::status::Status;

fn moves(stages: Vec<(Head, Object)>) -> u64 {
    let mut rig = Rig::new(stages);
    rig.tick();
    let mut changed = 0;
    while let Some(key) = rig.in_flight.pop() {
        rig.execution.take_changes();
        let outcome = crate::orchestrator::engine::effect::Outcome::Done { output: json!("SUCCEEDED") };
        rig.tell(crate::orchestrator::engine::event::Event::Done { key, outcome });
        changed += rig.execution.take_changes().stages.len() as u64;
    }
    assert_eq!(rig.ended(), [Status::Succeeded]);
    rig.execution.graph().moves + changed
}

fn chain(n: usize) -> Vec<(Head, Object)> {
    (0..n).map(|at| if at == 0 { call("0", &[]) } else { call(&at.to_string(), &[&(at - 1).to_string()]) }).collect()
}

fn fork(n: usize) -> Vec<(Head, Object)> {
    let names: Vec<String> = (0..n).map(|at| format!("b{at}")).collect();
    let mut stages = vec![call("first", &[])];
    stages.extend(names.iter().map(|name| call(name, &["first"])));
    stages.push(stage("join", &names.iter().map(String::as_str).collect::<Vec<_>>(), json!({"tasks": ["call"]})));
    stages
}

#[test]
fn four_times_the_stages_cost_four_times_the_moves() {
    for shape in [chain as fn(usize) -> Vec<(Head, Object)>, fork] {
        let (small, large) = (moves(shape(500)), moves(shape(2000)));
        assert!(large <= small * 4 + 8, "{small} moves for 500 stages, {large} for 2000");
        assert!(small <= 500 * 12, "{small} moves for 500 stages");
    }
}

#[test]
fn ten_thousand_stages_run_through() {
    moves(chain(10_000));
}

#[test]
fn synthetic_stages_beside_each_other_are_counted_not_searched() {
    let children = |n: usize| (0..n).map(|at| json!({"name": at.to_string(), "tasks": ["call"]})).collect::<Vec<_>>();
    let parent = |n: usize| vec![stage("1", &[], json!({"tasks": ["call"], "before": children(n)}))];
    let (small, large) = (moves(parent(250)), moves(parent(1000)));
    assert!(large <= small * 4 + 8, "{small} moves for 250 stages, {large} for 1000");
}
