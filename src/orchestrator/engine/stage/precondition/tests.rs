use super::super::rig::Rig;
use super::*;
use crate::orchestrator::engine::execution::Head;
use crate::orchestrator::engine::execution::Stage;

/// The child of one precondition, as the engine would start it, with this result of its expression.
fn child_of(stage: Value, result: Option<Value>, before: Vec<Stage>) -> Rig {
    let parent = Rig::new(CheckPreconditions, stage);
    let spec = CheckPreconditions.synthetic(&parent.view(), Synthetic::StageBefore).unwrap().remove(0);
    let mut rig = Rig::after(CheckPreconditions, Value::Object(spec.context), before);
    if let Some(result) = result {
        rig.context()["context"]["expressionResult"] = result;
    }
    rig.stage_mut().head_mut().parent_stage_id = Some("P".into());
    rig.start(0);
    rig
}

fn of(kind: &str, inner: Value) -> Value {
    json!({"preconditions": [{"type": kind, "context": inner}]})
}

#[test]
fn each_entry_is_a_stage_beside_the_others_and_the_stage_has_no_tasks() {
    let entries = json!([{"type": "expression", "context": {"expression": "a == 1"}}, {"type": "clusterSize", "failPipeline": false, "context": {"cluster": "other"}}]);
    let rig = Rig::new(
        CheckPreconditions,
        json!({"preconditions": entries, "cluster": "app-main", "regions": ["r"], "keep": 1, "sendNotifications": true}),
    );
    let specs = CheckPreconditions.synthetic(&rig.view(), Synthetic::StageBefore).unwrap();
    assert!(rig.tasks().is_empty() && specs.iter().all(|spec| !spec.after_previous && spec.kind == NAME));
    assert_eq!((specs[0].name.as_str(), &specs[0].context["keep"]), ("Check precondition (expression)", &json!(1)));
    assert_eq!(
        specs[0].context["context"],
        json!({"expression": "a == 1", "expressionResult": "${a == 1}", "cluster": "app-main", "regions": ["r"]})
    );
    assert_eq!((&specs[1].context["context"]["cluster"], &specs[1].context["failPipeline"]), (&json!("other"), &json!(false)));
    assert!(["preconditions", "sendNotifications"].iter().all(|key| !specs[0].context.contains_key(*key)));
    assert!(CheckPreconditions.synthetic(&rig.view(), Synthetic::StageAfter).unwrap().is_empty());
}

#[test]
fn an_expression_holds_when_it_is_true_as_a_text_in_any_case() {
    for (result, status) in [(json!(true), Status::Succeeded), (json!("TRUE"), Status::Succeeded), (json!(1), Status::Terminal)] {
        let mut rig = child_of(of("expression", json!({"expression": "x"})), Some(result.clone()), Vec::new());
        assert_eq!(rig.status(None), status, "{result}");
        let _ = rig.go(None);
        assert_eq!(rig.context()["context"]["expressionResult"], fields::shown(&result));
    }
}

#[test]
fn an_expression_that_could_not_be_evaluated_fails_and_stands_for_its_result() {
    let mut rig = child_of(of("expression", json!({"expression": "no such"})), None, Vec::new());
    let (kind, error) = rig.failure(None);
    assert!(kind == "PreconditionFailureException" && error.contains("could not be evaluated"), "{error}");
    assert_eq!(rig.context()["context"]["expressionResult"], "no such");
    let absent = child_of(of("expression", json!({})), None, Vec::new());
    assert_eq!(absent.stage_context()["context"]["expressionResult"], "${false}");
}

#[test]
fn a_stage_has_the_status_or_the_reason_says_which_it_has() {
    let stage =
        || vec![Stage::new("A".into(), Head { name: "Stage A".to_owned(), status: Status::Succeeded, ..Head::default() }, Object::new())];
    let with = |inner| child_of(of("stageStatus", inner), None, stage());
    assert_eq!(with(json!({"stageName": "Stage A", "stageStatus": "SUCCEEDED"})).status(None), Status::Succeeded);
    let failures = [
        (json!({"stageName": "Stage A", "stageStatus": "TERMINAL"}), "PreconditionFailureException"),
        (json!({"stageName": "Gone", "stageStatus": "SUCCEEDED"}), "ConfigurationException"),
        (json!({"stageName": "Stage A", "stageStatus": null}), "ConfigurationException"),
    ];
    for (inner, kind) in failures {
        assert_eq!(with(inner.clone()).failure(None).0, kind, "{inner}");
    }
}

#[test]
fn a_cluster_is_counted_and_compared_in_every_region() {
    let with = |comparison: Value, expected: Value| {
        let inner =
            json!({"moniker": {"cluster": "app-main"}, "regions": "us-east-1, eu-west-1", "comparison": comparison, "expected": expected});
        child_of(of("clusterSize", inner), None, Vec::new())
    };
    let Effect::ClusterSize { cluster, regions, only_enabled, .. } = with(json!("<="), json!("2")).effect(None) else { panic!() };
    assert_eq!((cluster.as_str(), regions.len(), only_enabled), ("app-main", 2, false));
    let sizes = |a, b| Outcome::Sizes { regions: vec![("us-east-1".to_owned(), a), ("eu-west-1".to_owned(), b)] };
    for (comparison, expected, counts, status) in [
        (json!("<="), json!("2"), sizes(2, 0), Status::Succeeded),
        (json!("<="), json!(2), sizes(2, 3), Status::Terminal),
        (json!(null), json!(null), sizes(1, 1), Status::Succeeded),
        (json!(">"), json!(0), sizes(1, 0), Status::Terminal),
        (json!("<"), json!(1), Outcome::NotFound { what: "cluster".to_owned() }, Status::Succeeded),
    ] {
        assert_eq!(with(comparison.clone(), expected).status(Some(&counts)), status, "{comparison} {counts:?}");
    }
    for (comparison, expected) in [(json!("=>"), json!(1)), (json!("=="), json!(-1))] {
        assert_eq!(with(comparison, expected).failure(None).0, "ConfigurationException");
    }
    let again = Outcome::Failed { error: "throttled".to_owned(), retryable: true };
    assert_eq!(with(json!("=="), json!(1)).pause(Some(&again)), Some(COUNT_AGAIN));
}

#[test]
fn a_restart_may_bring_other_preconditions_and_the_check_looks_into_each() {
    let mut context = Object::new();
    CheckPreconditions.prepare_restart(&mut context, json!({"preconditions": [1], "other": 2}).as_object().unwrap());
    assert_eq!(Value::Object(context), json!({"preconditions": [1]}));
    let bad = json!([{"type": "expression"}, {"type": "stageStatus", "context": {"stageName": "a", "stageStatus": "GREEN"}}, {"type": "x"}, {"type": "expression", "context": {"expression": "a == "}}, {"type": "clusterSize", "context": {"comparison": "="}}]);
    let bad = json!({ "preconditions": bad });
    let paths: Vec<String> = CheckPreconditions.check(bad.as_object().unwrap()).into_iter().map(|(path, _)| path).collect();
    let at = |n: usize, below: &str| format!("/preconditions/{n}{below}");
    let wanted = [
        at(0, "/context/expression"),
        at(1, "/context/stageStatus"),
        at(2, "/type"),
        at(3, "/context/expression"),
        at(4, "/context/cluster"),
        at(4, "/context/regions"),
        at(4, "/context/comparison"),
    ];
    assert_eq!(paths, wanted);
}
