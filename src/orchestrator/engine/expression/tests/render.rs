use std::borrow::Cow;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::super::Level;
use super::super::Rendered;
use super::super::SUMMARY_KEY;
use super::super::Unknown;
use super::super::optional::Condition;
use super::super::optional::condition;
use super::super::render;
use super::super::render_object;
use super::NOW;
use super::facts;
use crate::orchestrator::engine::expression::has_open;
use crate::orchestrator::engine::expression::merge_told;

fn rendered(value: Value) -> Value {
    render(&value, &facts(), Unknown::Null).value.into_owned()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn pass(context: &Map<String, Value>) -> Rendered<Map<String, Value>> {
    let Rendered { value, summary, needs } = render_object(context, &facts(), Unknown::Null);
    Rendered { value: value.into_owned(), summary, needs }
}

#[test]
fn one_expression_keeps_its_type_and_text_round_it_makes_text() {
    assert_eq!(rendered(json!("${n}")), json!(7));
    assert_eq!(rendered(json!("${ list }")), json!([3, 1, 2]));
    assert_eq!(rendered(json!("${ {a: {b: n}}.a.b } ${'}'}")), json!("7 }"));
    assert_eq!(rendered(json!("v${n}-${half}-${yes}-${words}")), json!("v7-0.5-true-a,bb,ccc"));
    assert_eq!(rendered(json!({"${name}!": {"deep": ["${n}", 1, null]}})), json!({"app!": {"deep": [7, 1, null]}}));
}

#[test]
fn a_part_that_fails_stays_and_the_others_do_not() {
    let rendered = pass(&object(json!({"k": "${n} ${1/0} ${unheard} ${map} ${'${X}'}"})));
    assert_eq!(rendered.value["k"], json!("7 ${1/0} ${unheard} ${map} ${X}"));
    assert_eq!(rendered.summary.entries().len(), 1);
    assert!(rendered.summary.has_errors());
}

#[test]
fn a_value_without_expressions_is_only_looked_through() {
    let value = json!({"a": ["{}", "$x", {"b": 1}]});
    assert!(matches!(render(&value, &facts(), Unknown::Null).value, Cow::Borrowed(_)));
    assert!(matches!(render_object(value.as_object().unwrap(), &facts(), Unknown::Null).value, Cow::Borrowed(_)));
}

#[test]
fn the_summary_says_which_how_bad_why_and_when() {
    let rendered = pass(&object(json!({"good": "${n}", "odd": "${ unheard }", "bad": ["${#toInt('x')}", "${a b}", "${open"]})));
    let entries = rendered.summary.entries();
    assert_eq!(entries.len(), 4);
    let odd = &entries["unheard"][0];
    assert_eq!((odd.level, odd.exception_type.as_deref(), odd.timestamp), (Level::Info, None, NOW));
    assert!(odd.description.contains("[odd]") && odd.description.contains("not found"), "{}", odd.description);
    let bad = &entries["#toInt('x')"][0];
    assert_eq!(bad.level, Level::Error);
    assert!(bad.description.starts_with("Failed to evaluate [bad] 'x' is no whole number"), "{}", bad.description);
    assert!(bad.exception_type.as_deref().is_some_and(|class| class.ends_with("SpelHelperFunctionException")));
    assert_eq!(rendered.value["bad"], json!(["${#toInt('x')}", "${a b}", "${open"]));
    let json = serde_json::to_value(&rendered.summary).unwrap();
    assert_eq!(json["unheard"][0]["level"], json!("INFO"));
    assert_eq!(json["#toInt('x')"][0]["timestamp"], json!(NOW.0));
}

#[test]
fn a_summary_in_a_context_is_no_expression() {
    let mut context = object(json!({"a": "${ '${X' + 1/0 }", "b": "x ${1/0} ${'${'}"}));
    let first = pass(&context);
    context.insert(SUMMARY_KEY.to_owned(), serde_json::to_value(&first.summary).unwrap());
    let second = pass(&context);
    assert_eq!(second.value[SUMMARY_KEY], context[SUMMARY_KEY]);
    assert_eq!(second.summary, first.summary);
    assert!(!context[SUMMARY_KEY].to_string().contains("${"));
}

#[test]
fn what_must_not_be_evaluated_is_left_alone_by_later_passes() {
    let first = pass(&object(
        json!({"whole": "${#doNotEval('${n}')}", "in": {"part": "x ${#doNotEval('${n}')}"}, "json": "${#toJson(#doNotEval('${n}'))}"}),
    ));
    assert_eq!(first.value["whole"], json!("${n}"));
    assert_eq!(first.value["in"]["part"], json!("x ${n}"));
    assert_eq!(first.value["json"], json!("\"${n}\""));
    let second = pass(&first.value);
    assert_eq!(second.value, first.value);
    let mut changed = second.value;
    changed.insert("whole".into(), json!("${n} now"));
    assert_eq!(pass(&changed).value["whole"], json!("7 now"));
}

#[test]
fn what_an_expression_gave_is_never_evaluated() {
    let first = pass(&object(json!({
        "whole": "${'${' + 'n}'}", "part": "x ${'${' + 'n}'}", "met": "${'$'}${'{n}'}", "halves": "${'$'}{n}", "later": "${nobody} ${'${' + 'n}'}",
        "list": "${{'${' + 'n}', {'k': '${' + 'n}'}}}", "${'${' + 'n}'}": 1,
    })));
    let text = json!("${n}");
    assert_eq!((&first.value["whole"], &first.value["met"], &first.value["halves"]), (&text, &text, &text));
    assert_eq!((&first.value["part"], &first.value["later"]), (&json!("x ${n}"), &json!("${nobody} ${n}")));
    assert!(first.value.contains_key("${n}"), "{:?}", first.value);
    let second = pass(&first.value);
    assert_eq!(second.value, first.value);
    assert!(!has_open(&second.value));
}

#[test]
fn what_was_told_is_never_evaluated_and_what_the_pipeline_wrote_still_is() {
    let mut context = object(json!({"own": ["${nobody}", "${n}"], "body": "${n}"}));
    let told = json!({"own": ["${nobody}", "${n}", "${n}"], "body": {"a": ["${n}"], "${n}": 1}, "words": "${n}", "notEvaluated": {}});
    merge_told(&mut context, object(told), &["words"]);
    let first = pass(&context).value;
    assert_eq!(first["own"], json!(["${nobody}", 7, "${n}"]), "what stood there before is the pipeline's");
    assert_eq!((&first["body"], &first["words"]), (&json!({"a": ["${n}"], "${n}": 1}), &json!(7)));
    let many: Vec<String> = (0..1000).map(|n| format!("${{n + {n}}}")).collect();
    merge_told(&mut context, object(json!({"body": many})), &[]);
    assert_eq!(pass(&context).value["body"], json!(many));
    assert!(context["notEvaluated"].to_string().len() < 200, "{}", context["notEvaluated"]);
    merge_told(&mut context, object(json!({"body": "${n}"})), &["body"]);
    assert_eq!(pass(&context).value["body"], json!(7));
}

#[test]
fn pages_are_asked_for_together() {
    let context = object(
        json!({"a": "${#fromUrl('https://x.org/1')}", "b": "v ${#fromUrl('https://x.org/2')}", "c": "${#fromUrl('https://x.org/1')}"}),
    );
    let mut facts = facts();
    let asked = render_object(&context, &facts, Unknown::Null);
    assert_eq!(asked.needs, ["https://x.org/1", "https://x.org/2"]);
    assert!(asked.summary.is_empty());
    facts.pages.extend(asked.needs.into_iter().map(|url| (url.clone(), Ok(url))));
    let rendered = render_object(&context, &facts, Unknown::Null);
    assert_eq!(*rendered.value, object(json!({"a": "https://x.org/1", "b": "v https://x.org/2", "c": "https://x.org/1"})));
    assert!(rendered.needs.is_empty());
}

#[test]
fn a_condition_runs_skips_or_is_unclear() {
    let says = |expression: Value| condition(Some(&json!({"type": "expression", "expression": expression})), &facts());
    assert_eq!(condition(None, &facts()), Condition::None);
    assert_eq!(condition(Some(&json!({"type": "other", "expression": "false"})), &facts()), Condition::None);
    for none in [json!(""), json!(null)] {
        assert_eq!(says(none), Condition::None);
    }
    for runs in [json!("n == 7"), json!("${n == 7}"), json!("'TRUE'"), json!(true), json!("yes"), json!("true")] {
        assert_eq!(says(runs), Condition::Run);
    }
    for skips in [json!("n == 8"), json!("${ !yes }"), json!(false), json!("#stage('Broken').hasSucceeded")] {
        assert_eq!(says(skips), Condition::Skip);
    }
    for unclear in [json!("n"), json!("unheard"), json!("1/0"), json!("n =="), json!("#stage('nope').hasFailed"), json!(1)] {
        assert!(matches!(says(unclear.clone()), Condition::Unclear { .. }), "{unclear}");
    }
    assert_eq!(says(json!("#fromUrl('https://x.org/')")), Condition::Needs(vec!["https://x.org/".into()]));
    let Condition::Unclear { result, summary } = says(json!("#stage('nope').hasFailed")) else { panic!("it has an answer") };
    assert_eq!(result, "${#stage('nope').hasFailed}");
    assert!(summary.has_errors());
}
