use super::super::rig::Rig;
use super::*;
use crate::orchestrator::engine::context::StageScope;
use crate::orchestrator::engine::execution::Head;
use crate::orchestrator::engine::execution::LastModified;
use crate::orchestrator::engine::execution::Stage;
use crate::orchestrator::engine::expression;
use crate::orchestrator::engine::expression::Unknown;

fn judged(rig: &mut Rig, status: &str, user: &str, roles: &[&str], admin: bool) {
    let roles = roles.iter().map(|r| (*r).to_owned()).collect();
    rig.set("judgmentStatus", status);
    rig.set("judgmentInput", "yes");
    rig.stage_mut().head_mut().last_modified = Some(LastModified { user: user.to_owned(), roles, admin, ..LastModified::default() });
}

fn events(step: &Step) -> Vec<&str> {
    let result = match step {
        Step::Finish(result) | Step::Wait { result, .. } | Step::Perform { result, .. } => result,
        Step::Fail(_) => panic!("failed"),
    };
    result.notices.iter().map(|notice| notice.event.as_str()).collect()
}

#[test]
fn continue_and_stop_decide_in_any_case_and_anything_else_waits() {
    for (said, status) in [("continue", Status::Succeeded), ("STOP", Status::Terminal), ("unknown", Status::Running), ("", Status::Running)]
    {
        let mut rig = Rig::new(ManualJudgment, json!({}));
        judged(&mut rig, said, "ann", &[], false);
        assert_eq!(rig.status(None), status, "{said}");
    }
}

#[test]
fn an_answer_of_somebody_without_the_role_is_taken_out_and_said_so() {
    let mut rig = Rig::new(ManualJudgment, json!({"selectedStageRoles": ["ops"], "requiredJudgmentRoles": ["sre"]}));
    judged(&mut rig, "continue", "bob", &["dev"], false);
    let Step::Wait { .. } = rig.go(None) else { panic!() };
    assert_eq!((rig.context()["judgmentStatus"].clone(), rig.context()["judgmentInput"].clone()), (json!(""), json!("")));
    assert_eq!(rig.context()["judgmentRefused"], "bob has none of the roles ops, sre; ask somebody who has one");
    judged(&mut rig, "Stop", "ann", &["dev", "sre"], false);
    assert_eq!(rig.status(None), Status::Terminal);
    judged(&mut rig, "Continue", "root", &[], true);
    assert_eq!(rig.status(None), Status::Succeeded);
}

#[test]
fn an_answer_in_the_document_is_nobodys_when_roles_are_asked_for() {
    let rig = Rig::new(ManualJudgment, json!({"selectedStageRoles": ["ops"], "judgmentStatus": "continue"}));
    assert_eq!(rig.status(None), Status::Running);
}

#[test]
fn waiting_is_told_once_and_reminded_of_when_asked() {
    let blocks = json!([{"type": "email", "notifyEveryMs": -1}, {"type": "slack", "notifyEveryMs": 600_000}]);
    let mut rig = Rig::new(ManualJudgment, json!({"notifications": blocks, "instructions": "look"}));
    let first = rig.go(None);
    assert_eq!(events(&first), ["manualJudgment", "manualJudgment"]);
    let Step::Wait { result, until } = first else { panic!() };
    assert_eq!((until, &result.notices[0].details["instructions"]), (Some(rig.at_ms(600_000)), &json!("look")));
    assert!(!result.notices[0].to.contains_key(LAST_NOTIFIED));
    assert!(events(&rig.go(None)).is_empty(), "a look between tells nobody");
    rig.pass(Duration::from_secs(600));
    let second = rig.go(None);
    assert_eq!(events(&second), ["manualJudgment"]);
    ManualJudgment.prepare_restart(rig.context(), &Object::new());
    assert_eq!(events(&rig.go(None)).len(), 2, "a restart tells anew");
}

#[test]
fn the_answer_is_told_to_those_who_asked_for_it() {
    for (send, when, said, told) in [
        (false, "manualJudgmentContinue", "continue", false),
        (true, "manualJudgmentContinue", "continue", true),
        (true, "manualJudgmentContinue", "stop", false),
        (true, "manualJudgmentStop", "stop", true),
    ] {
        let mut rig = Rig::new(ManualJudgment, json!({"sendNotifications": send, "notifications": [{"type": "email", "when": [when]}]}));
        judged(&mut rig, said, "ann", &[], false);
        let step = rig.go(None);
        assert_eq!(!events(&step).is_empty(), told, "{send} {when} {said}");
        if let (true, Step::Finish(result)) = (told, step) {
            assert_eq!(
                (&result.notices[0].details["judgedBy"], &result.notices[0].details["judgmentInput"]),
                (&json!("ann"), &json!("yes"))
            );
        }
    }
}

#[test]
fn a_block_that_reminds_too_often_is_slowed_down() {
    let mut rig = Rig::new(ManualJudgment, json!({"notifications": [{"type": "email", "notifyEveryMs": 1}]}));
    assert_eq!(rig.pause(None), Some(MIN_REMINDER));
}

#[test]
fn those_downstream_act_as_the_nearest_judge_who_is_propagated() {
    let judge = |ref_id: &str, user: &str, requisites: &[&str], propagate: bool| {
        let head = Head {
            ref_id: ref_id.to_owned(),
            kind: NAME.to_owned(),
            requisite_stage_ref_ids: requisites.iter().map(|r| (*r).to_owned()).collect(),
            last_modified: Some(LastModified { user: user.to_owned(), ..LastModified::default() }),
            ..Head::default()
        };
        let context = json!({"propagateAuthenticationContext": propagate});
        Stage::new(ref_id.into(), head, context.as_object().unwrap().clone())
    };
    let far = judge("1", "far", &[], true);
    let rig = Rig::after(ManualJudgment, json!({}), vec![far.clone()]);
    assert_eq!(acting(&rig.execution, 1).user, "far");
    let mut rig = Rig::after(ManualJudgment, json!({}), vec![far, judge("2", "near", &["1"], true), judge("3", "silent", &["2"], false)]);
    rig.stage_mut().head_mut().requisite_stage_ref_ids = vec!["3".to_owned()];
    assert_eq!(acting(&rig.execution, 3).user, "near");
    assert_eq!(acting(&rig.execution, 0).user, "", "upstream of all of them the starter acts");
    let current = expression::evaluate("#currentUser()", &StageScope::of(&rig.view()), Unknown::Null);
    assert_eq!(current, Ok(json!("near")), "expressions say so too");
}

#[test]
fn three_days_unless_the_stage_says_otherwise_and_the_check_names_bad_fields() {
    let rig = Rig::new(ManualJudgment, json!({}));
    assert_eq!(rig.timeout(), Some(Duration::from_secs(259_200)));
    let bad = json!({"selectedStageRoles": "ops", "sendNotifications": "true", "judgmentInputs": [{}], "notifications": [{"notifyEveryMs": "x"}]});
    let paths: Vec<String> = ManualJudgment.check(bad.as_object().unwrap()).into_iter().map(|(path, _)| path).collect();
    let wanted =
        ["/selectedStageRoles", "/sendNotifications", "/judgmentInputs/0/value", "/notifications/0/type", "/notifications/0/notifyEveryMs"];
    assert_eq!(paths, wanted);
}
