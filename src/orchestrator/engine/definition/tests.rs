use serde_json::json;

use super::*;

struct Some3;

impl Types for Some3 {
    fn known(&self, kind: &str) -> bool {
        ["wait", "webhook", "checkPreconditions"].contains(&kind)
    }

    fn check(&self, kind: &str, stage: &Object) -> Vec<Problem> {
        let missing = kind == "wait" && !stage.contains_key("waitTime");
        missing.then(|| Problem::error("/waitTime", "is missing")).into_iter().collect()
    }

    fn names(&self) -> Vec<String> {
        vec!["wait".into(), "webhook".into(), "checkPreconditions".into()]
    }
}

/// Knows one fault: an expression that does not end.
fn fault(text: &str) -> Option<String> {
    (text.matches("${").count() > text.matches('}').count()).then(|| "does not end".into())
}

fn checked(document: &Value) -> Checked {
    check(document.to_string().as_bytes(), Rules { types: &Some3, expression: &fault })
}

fn told(document: &Value) -> Vec<String> {
    checked(document).problems.iter().map(|problem| format!("{:?} {problem}", problem.severity)).collect()
}

fn wait(ref_id: &str, after: &[&str]) -> Value {
    json!({ "type": "wait", "refId": ref_id, "requisiteStageRefIds": after, "waitTime": 1 })
}

fn stages(stages: &[Value]) -> Value {
    json!({ "application": "app", "name": "p", "stages": stages })
}

#[test]
fn a_sound_document_is_kept_as_it_was_written() {
    let mut document = stages(&[wait("a", &[]), wait("b", &["a"])]);
    document["anything"] = json!({ "else": [1, { "x": null }] });
    let checked = checked(&document);
    assert_eq!(checked.problems, []);
    assert_eq!(Value::Object(checked.definition.unwrap().document().clone()), document);
}

#[test]
fn every_problem_is_told_at_once_with_its_place() {
    let mut document = stages(&[
        json!({ "type": "deploy", "refId": "1" }),
        json!({ "type": "wait", "refId": "2", "requisiteStageRefIds": ["9"], "failPipeline": "true", "stageTimeoutMs": "1000" }),
        json!({ "type": "wait", "refId": "2", "waitTime": 1, "restrictExecutionDuringTimeWindow": true, "restrictedExecutionWindow": {} }),
        json!({ "refId": "3", "stageEnabled": { "type": "expression", "expression": "${ a" } }),
        json!({ "type": "webhook", "refId": "4", "url": "${ b", "notifications": [{ "type": "hipchat", "when": ["lunch"] }] }),
    ]);
    document["limitConcurrent"] = json!("yes");
    document["maxConcurrentExecutions"] = json!(-1);
    document["spelEvaluator"] = json!("v5");
    document["timezone"] = json!("Nowhere");
    document["triggers"] = json!([{ "type": "cron", "cronExpression": "0 0 25 * * ?" }, { "type": "docker" }, { "type": "pipeline" }]);
    document["parameterConfig"] = json!([{ "name": "a", "required": 1 }, { "name": "a" }]);
    let told = told(&document);
    let places: Vec<&str> = told.iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(
        places,
        [
            "Error /limitConcurrent",
            "Error /maxConcurrentExecutions",
            "Error /spelEvaluator",
            "Error /timezone",
            "Error /parameterConfig/0/required",
            "Error /parameterConfig/1/name",
            "Error /triggers/0/cronExpression",
            "Warning /triggers/1/type",
            "Error /triggers/2/pipeline",
            "Error /stages/0/type",
            "Error /stages/1/failPipeline",
            "Error /stages/1/stageTimeoutMs",
            "Error /stages/1/waitTime",
            "Error /stages/2/restrictedExecutionWindow",
            "Error /stages/3/type",
            "Error /stages/3/stageEnabled/expression",
            "Warning /stages/4/notifications/0/type",
            "Warning /stages/4/notifications/0/when/0",
            "Warning /stages/4/url",
            "Error /stages/2/refId",
            "Error /stages/1/requisiteStageRefIds/0",
        ]
    );
    let whole = told.join("\n");
    for words in [
        "\"true\" must be true or false (write true without quotes)",
        "write 1000 without quotes",
        "\"deploy\" here (known types: wait, webhook, checkPreconditions)",
        "column 5, hours",
        "stage 1 of the list has the refId \"2\" too",
    ] {
        assert!(whole.contains(words), "{words}\nis not in\n{whole}");
    }
}

#[test]
fn a_text_that_is_no_expression_is_a_warning_except_where_a_decision_hangs_on_it() {
    let broken = |stage: Value| told(&stages(&[stage]));
    assert_eq!(
        broken(json!({ "type": "webhook", "command": "echo ${x" })),
        ["Warning /stages/0/command: does not end; the text is left as it is"]
    );
    assert_eq!(broken(json!({ "type": "webhook", "failOnFailedExpressions": true, "${k": 1 })), ["Error /stages/0/${k: does not end"]);
    let precondition = json!({ "type": "checkPreconditions", "preconditions": [{ "context": { "expression": "${x" } }] });
    assert_eq!(broken(precondition), ["Error /stages/0/preconditions/0/context/expression: does not end"]);
}

#[test]
fn an_expression_may_stand_where_a_boolean_or_a_number_belongs() {
    let stage = json!({ "type": "webhook", "failPipeline": "${ x }", "stageTimeoutMs": "${ y }",
        "restrictExecutionDuringTimeWindow": true, "restrictedExecutionWindow": { "days": "${ days }" } });
    assert_eq!(told(&stages(&[stage])), Vec::<String>::new());
}

#[test]
fn a_cycle_is_named_and_the_rest_of_the_graph_is_still_looked_at() {
    let document =
        stages(&[wait("a", &["c"]), wait("b", &["a"]), wait("c", &["b"]), wait("d", &["d"]), wait("e", &["c", "x"]), wait("f", &[])]);
    assert_eq!(
        told(&document),
        [
            "Error /stages/4/requisiteStageRefIds/1: there is no stage with the refId \"x\"",
            "Error /stages/0/requisiteStageRefIds: stages wait for each other: a → c → b → a (remove one of these from requisiteStageRefIds)",
            "Error /stages/3/requisiteStageRefIds: stages wait for each other: d → d (remove one of these from requisiteStageRefIds)",
        ]
    );
}

#[test]
fn stages_without_any_reference_id_follow_one_another_and_a_mixture_is_refused() {
    let bare = json!({ "type": "wait", "waitTime": 1 });
    let planned = checked(&stages(&[bare.clone(), bare.clone(), bare.clone()])).definition.unwrap().stages();
    let chain: Vec<(&str, &[String])> = planned.iter().map(|stage| (stage.ref_id.as_str(), stage.requisites.as_slice())).collect();
    assert_eq!(chain, [("0", &[][..]), ("1", &["0".to_owned()][..]), ("2", &["1".to_owned()][..])]);
    assert!(told(&stages(&[bare, wait("a", &[])]))[0].starts_with("Error /stages/0/refId: is missing"));
}

#[test]
fn a_planned_stage_has_its_context_apart_and_the_pipelines_zone_in_its_window() {
    let mut stage = wait("a", &[]);
    stage["startTimeExpiry"] = json!(7);
    stage["restrictedExecutionWindow"] = json!({ "days": [1] });
    let mut document = stages(&[stage]);
    document["timezone"] = json!("Europe/Berlin");
    let planned = checked(&document).definition.unwrap().stages().remove(0);
    assert_eq!((planned.name.as_str(), planned.start_time_expiry), ("wait", Some(Timestamp(7))));
    let window = json!({ "waitTime": 1, "restrictedExecutionWindow": { "days": [1], "timezone": "Europe/Berlin" } });
    assert_eq!(Value::Object(planned.context), window);
}

#[test]
fn what_is_no_document_is_refused_in_one_sentence() {
    let rules = Rules { types: &Some3, expression: &fault };
    let refusal = |bytes: &[u8]| check(bytes, rules).problems.remove(0).to_string();
    assert_eq!(refusal(b"{\"name\": \"\xff\"}"), "the document: is not UTF-8 from byte 10 on");
    assert!(refusal(b"{\"a\": 1,}").starts_with("the document: is not JSON: trailing comma at line 1"));
    assert!(refusal(b"[]").contains("is not a JSON object"));
    assert!(refusal("[".repeat(100_000).as_bytes()).contains("recursion limit"));
    assert!(refusal(&vec![b' '; MAX_BYTES + 1]).contains("more than"));
    assert!(check("\u{feff}{\"stages\": []}".as_bytes(), rules).definition.is_some());
    for odd in [json!({ "stages": 7 }), json!({ "stages": [7] }), json!({ "triggers": {}, "parameterConfig": [1], "notifications": ["x"] })]
    {
        assert!(checked(&odd).definition.is_none(), "{odd}");
    }
}

#[test]
fn ten_thousand_stages_are_taken_and_one_more_is_not() {
    let chain = |count: usize| {
        let list: Vec<Value> = (0..count)
            .map(|at| wait(&at.to_string(), &at.checked_sub(1).map(|b| b.to_string()).as_deref().into_iter().collect::<Vec<_>>()))
            .collect();
        checked(&stages(&list))
    };
    let graph = chain(MAX_STAGES).definition.unwrap().graph().unwrap();
    assert_eq!(graph.levels().len(), MAX_STAGES);
    assert!(chain(MAX_STAGES + 1).definition.is_none());
}

#[test]
fn a_ring_and_a_fork_of_thousands_are_told_in_few_words() {
    let mut ring: Vec<Value> = (0..5_000).map(|at| wait(&at.to_string(), &[&((at + 1) % 5_000).to_string()])).collect();
    assert!(told(&stages(&ring))[0].len() < 400);
    ring.iter_mut().for_each(|stage| stage["requisiteStageRefIds"] = json!(["head"]));
    ring.push(wait("head", &[]));
    ring.push(json!({ "type": "wait", "waitTime": 1, "refId": "tail", "requisiteStageRefIds": (0..5_000).map(|at| at.to_string()).collect::<Vec<_>>() }));
    let text = checked(&stages(&ring)).definition.unwrap().graph().unwrap().text(|_| None);
    assert!(text.starts_with("  1. [head] wait") && text.contains("forks to 5000"), "{}", &text[..80]);
    assert!(text.trim_end().ends_with("after 0, 1, 2, 3, 4, 5 and 4994 more (join)"), "{}", &text[text.len() - 80..]);
}

#[test]
fn the_picture_shows_levels_forks_joins_and_remarks() {
    let document = stages(&[wait("a", &[]), wait("c", &["a"]), wait("b", &["a"]), wait("d", &["b", "c"])]);
    let text = checked(&document).definition.unwrap().graph().unwrap().text(|at| (at == 2).then(|| "window".into()));
    assert_eq!(
        text,
        "  1. [a] wait  forks to 2\n  2. [c] wait  after a\n     [b] wait  after a; window\n  3. [d] wait  after b, c (join)\n"
    );
}

#[test]
fn two_triggers_of_one_id_are_an_error() {
    let mut document = stages(&[wait("a", &[])]);
    let hook = |id: Value| json!({ "type": "webhook", "source": "ci", "id": id });
    document["triggers"] =
        json!([hook(json!("t")), hook(json!("u")), hook(json!("t")), hook(json!(7)), hook(json!("")), hook(Value::Null)]);
    let told = told(&document);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].starts_with("Error /triggers/2/id: "), "{}", told[0]);
    assert!(told[1].starts_with("Error /triggers/3/id: "), "{}", told[1]);
}

#[test]
fn triggers_are_read_with_their_defaults() {
    let mut document = stages(&[wait("a", &[])]);
    document["triggers"] = json!([
        { "type": "cron", "id": "t", "enabled": true, "cronExpression": "0 H 3 ? * MON-FRI", "missed": "run-once" },
        { "type": "pipeline", "enabled": true, "pipeline": "p1", "status": ["failed", "canceled"] },
        { "type": "webhook", "source": "ci" },
        { "type": "manual" },
    ]);
    let triggers = checked(&document).definition.unwrap().triggers();
    let on: Vec<(&str, bool, &triggers::On)> = triggers.iter().map(|t| (t.id.as_str(), t.enabled, &t.on)).collect();
    let cron = triggers::On::Cron { expression: "0 H 3 ? * MON-FRI".into(), missed: super::super::cron::MissedPolicy::RunOnce };
    let after = triggers::On::Pipeline { pipeline: "p1".into(), ends: vec![triggers::End::Failed, triggers::End::Canceled] };
    let call = triggers::On::Webhook { source: "ci".into() };
    assert_eq!(on, [("t", true, &cron), ("1", true, &after), ("2", false, &call)]);
}

fn parameters(config: Value) -> Vec<parameters::Parameter> {
    let mut document = stages(&[wait("a", &[])]);
    document["parameterConfig"] = config;
    checked(&document).definition.unwrap().parameters()
}

fn resolved(config: &Value, given: Value) -> Result<Value, Vec<String>> {
    let given = given.as_object().unwrap();
    let told = |problems: Vec<Problem>| problems.iter().map(Problem::to_string).collect();
    parameters::resolve(&parameters(config.clone()), given).map(Value::Object).map_err(told)
}

#[test]
fn what_a_start_gave_stays_and_only_what_is_absent_becomes_the_default() {
    let config = json!([{ "name": "a", "default": "x" }, { "name": "b", "default": true }, { "name": "c" }]);
    assert_eq!(resolved(&config, json!({ "a": "", "b": false, "more": 1 })), Ok(json!({ "a": "", "b": false, "more": 1 })));
    assert_eq!(resolved(&config, json!({ "a": null })), Ok(json!({ "a": "x", "b": true })));
}

#[test]
fn a_start_is_told_everything_that_is_wrong_with_its_parameters() {
    let config = json!([
        { "name": "version", "required": true, "description": "what to deploy" },
        { "name": "region", "required": true, "hasOptions": true, "options": [{ "value": "eu" }, { "value": 1 }], "default": "" },
        { "name": "count", "hasOptions": true, "options": [{ "value": "1" }, { "value": "2" }] },
    ]);
    assert_eq!(
        resolved(&config, json!({ "region": "us", "count": 3 })),
        Err(vec![
            "/parameters/version: is required (what to deploy)".into(),
            "/parameters/region: \"us\" is none of the options (one of: eu, 1)".into(),
            "/parameters/count: 3 is none of the options (one of: 1, 2)".into(),
        ])
    );
    assert_eq!(resolved(&config, json!({ "version": "v1" })).unwrap_err(), ["/parameters/region: is required"]);
    assert!(resolved(&config, json!({ "version": "v1", "region": "1", "count": 2 })).is_ok());
}

#[test]
fn a_parameter_is_required_only_when_its_condition_holds() {
    let config = json!([
        { "name": "mode", "default": "fast" },
        { "name": "why", "required": true, "conditional": { "parameter": "mode", "comparator": "!=", "comparatorValue": "fast" } },
        { "name": "n", "required": true, "conditional": { "parameter": "size", "comparator": ">", "comparatorValue": "9" } },
        { "name": "size" },
    ]);
    assert!(resolved(&config, json!({})).is_ok());
    assert_eq!(resolved(&config, json!({ "mode": "slow", "size": 10 })).unwrap_err().len(), 2);
    assert!(resolved(&config, json!({ "size": "8" })).is_ok());
    let bad = json!({ "stages": [], "parameterConfig": [{ "name": "a", "conditional": { "parameter": "b", "comparator": "=", "comparatorValue": 1 } }] });
    assert!(told(&bad)[0].contains("there is no parameter \"b\""));
}
