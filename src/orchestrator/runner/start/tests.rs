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
