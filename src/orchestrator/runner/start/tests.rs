use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn definition(document: Value) -> Definition {
    let Value::Object(document) = document else { panic!("an object") };
    Definition::from_document(document)
}

fn order(trigger: Value) -> Order {
    let Value::Object(trigger) = trigger else { panic!("an object") };
    Order { id: "01".into(), trigger, ..Order::default() }
}

#[test]
fn stages_without_reference_ids_follow_one_another_and_keep_what_else_they_say() {
    let of = definition(
        json!({"name": "p", "application": "a", "id": "c", "stages": [{"type": "wait", "waitTime": 3}, {"type": "wait", "name": "second"}]}),
    );
    let execution = plan(&of, order(json!({})), NOW).unwrap();
    assert_eq!(execution.stages().iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["01-0", "01-1"]);
    assert_eq!(execution.stage(0).context()["waitTime"], 3);
    assert_eq!(execution.stage(1).head().requisite_stage_ref_ids, ["0"]);
    assert_eq!((execution.stage(0).head().name.as_str(), execution.stage(1).head().name.as_str()), ("wait", "second"));
    assert_eq!(execution.summary().trigger["type"], "manual");
    assert_eq!(execution.summary().authentication.user, "[anonymous]");
    assert_eq!(execution.summary().pipeline_config_id.as_deref(), Some("c"));
}

#[test]
fn a_disabled_pipeline_is_refused_unless_its_start_says_otherwise() {
    let refused = plan(&definition(json!({"name": "p", "disabled": true})), order(json!({})), NOW);
    assert_eq!(refused.err(), Some(Error::Disabled("p".into())));
    let forced = definition(json!({"name": "p", "disabled": true, "initialConfig": {"enabled": true}}));
    assert!(plan(&forced, order(json!({})), NOW).is_ok());
}

#[test]
fn a_dry_run_is_refused_whoever_asks_for_it() {
    for wanted in [json!(true), json!("true"), json!("${ parameters.dry }"), json!(1)] {
        let refused = plan(&definition(json!({"name": "p"})), order(json!({"type": "cron", "dryRun": wanted})), NOW);
        assert!(matches!(&refused, Err(Error::Wrong(problems)) if problems[0].path == "/dryRun"), "{wanted}: {refused:?}");
    }
    for not in [json!(false), json!(null)] {
        assert!(plan(&definition(json!({"name": "p"})), order(json!({"dryRun": not})), NOW).is_ok());
    }
}

#[test]
fn everything_wrong_with_the_parameters_is_said_at_once() {
    let of = definition(json!({"parameterConfig": [
        {"name": "version", "required": true},
        {"name": "region", "hasOptions": true, "options": [{"value": "eu"}], "default": "eu"},
        {"name": "flag", "default": "yes"},
    ]}));
    let Err(Error::Wrong(problems)) = plan(&of, order(json!({"parameters": {"region": "us"}})), NOW) else { panic!("refused") };
    assert_eq!(problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), ["/parameters/version", "/parameters/region"]);
    let execution = plan(&of, order(json!({"parameters": {"version": 7, "flag": "", "more": 1}})), NOW).unwrap();
    assert_eq!(execution.summary().trigger["parameters"], json!({"version": 7, "region": "eu", "flag": "", "more": 1}));
}

#[test]
fn the_id_of_an_event_is_the_same_for_every_try_and_ids_sort_by_time() {
    assert_eq!(id_of("cron/c/1", NOW), id_of("cron/c/1", NOW));
    assert_ne!(id_of("cron/c/1", NOW), id_of("cron/c/2", NOW));
    assert!(new_id(NOW) < new_id(Timestamp(NOW.0 + 1)));
    assert_ne!(new_id(NOW), new_id(NOW));
}

#[test]
fn what_the_pipeline_says_of_itself_is_resolved_at_its_start_and_unknown_names_stay() {
    let of = definition(json!({"name": "p", "id": "c", "spelEvaluator": "v4",
        "parameterConfig": [{"name": "who", "default": "ops"}, {"name": "twice", "default": "${1 + 1}"}],
        "description": "for ${parameters.who}: ${trigger.build ?: 'none'}, ${nobody ?: 'x'}", "templateVariables": {"n": "${ 2 * 3 }"},
        "notifications": [{"type": "slack", "address": "#${parameters['who']}", "when": ["pipeline.failed"]}],
        "stages": [{"type": "wait", "waitTime": "${ 2 + 3 }"}]}));
    let execution = plan(&of, order(json!({"build": "7", "payload": {"text": "${1 + 1}"}})), NOW).unwrap();
    let summary = execution.summary();
    assert_eq!(summary.description.as_deref(), Some("for ops: 7, ${nobody ?: 'x'}"));
    assert_eq!(summary.notifications[0]["address"], "#ops");
    assert_eq!(summary.template_variables["n"], 6);
    assert_eq!(summary.trigger["parameters"]["twice"], 2);
    assert_eq!(summary.trigger["payload"]["text"], "${1 + 1}", "what a stranger sent is no expression of the pipeline's");
    assert_eq!(execution.stage(0).context()["waitTime"], "${ 2 + 3 }", "v4: when the stage is planned");
}

#[test]
fn parameters_that_were_told_are_text() {
    let of = definition(json!({"name": "p", "id": "c", "parameterConfig": [{"name": "own", "default": "${1 + 1}"}], "stages": [
        {"type": "wait", "waitTime": 1, "seen": "${parameters.tag}"}]}));
    let order = Order { told: ["tag".to_owned()].into(), ..order(json!({"parameters": {"tag": "${1 + 1}", "given": "${2 + 2}"}})) };
    let execution = plan(&of, order, NOW).unwrap();
    assert_eq!(execution.summary().trigger["parameters"], json!({"own": 2, "tag": "${1 + 1}", "given": 4}));
    assert_eq!(execution.stage(0).context()["seen"], "${1 + 1}");
    assert_eq!(execution.stage(0).context()["notEvaluated"], json!({"/seen": "${1 + 1}"}), "nor is it by later passes");
}

#[test]
fn without_v4_stages_are_tried_at_the_start_and_keep_what_cannot_be_known_yet() {
    let of = definition(json!({"name": "p", "stages": [{"type": "wait", "name": "wait ${parameters.n}", "waitTime": "${ parameters.n }",
        "of": "${ #stage('later').outputs.x }", "kept": "${ #doNotEval('${later}') }", "page": "${ #fromUrl('https://example.com') }"},
        {"type": "wait", "waitTime": "${ parameters.n }", "of": "${ #stage('later').outputs.x }"}]}));
    let execution = plan(&of, order(json!({"parameters": {"n": 9}})), NOW).unwrap();
    let second = execution.stage(1);
    assert_eq!((&second.context()["waitTime"], &second.context()["of"]), (&json!(9), &json!("${ #stage('later').outputs.x }")));
    let first = execution.stage(0);
    assert_eq!(first.context()["waitTime"], "${ parameters.n }", "a stage that asks for a page is left whole");
}
