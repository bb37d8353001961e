//! What is wrong with a document, all of it.

use serde_json::Value;

use super::super::problem::Severity;
use super::super::window;
use super::super::window::Window;
use super::MAX_STAGES;
use super::Object;
use super::Problem;
use super::Rules;
use super::expressions;
use super::graph::Fault;
use super::graph::Graph;
use super::parameters;
use super::triggers;

/// Types of notifications that are delivered here, in lower case.
const DELIVERED: [&str; 3] = ["email", "slack", "webhook"];

/// Most types named in the answer to an unknown one.
const NAMED_TYPES: usize = 30;

const PIPELINE_EVENTS: &[&str] = &["pipeline.starting", "pipeline.complete", "pipeline.failed"];
const STAGE_EVENTS: &[&str] =
    &["stage.starting", "stage.complete", "stage.failed", "manualJudgment", "manualJudgmentContinue", "manualJudgmentStop"];

/// Every problem of this document.
pub(super) fn document(document: &Object, rules: Rules<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    texts(document, &["id", "application", "name", "description"], "", &mut problems);
    booleans(document, &["limitConcurrent", "keepWaitingPipelines", "disabled", "respectQuietPeriod"], "", &mut problems);
    numbers(document, &["maxConcurrentExecutions", "startTimeExpiry"], 0, "", &mut problems);
    if document.get("limitConcurrent") == Some(&Value::Bool(true))
        && document.get("maxConcurrentExecutions").and_then(Value::as_u64).is_some_and(|most| most > 1)
    {
        let problem = Problem::warning("/maxConcurrentExecutions", "is not looked at while limitConcurrent is true");
        problems.push(problem.help("set limitConcurrent to false to let several run"));
    }
    match document.get("spelEvaluator") {
        None | Some(Value::Null) => {}
        Some(Value::String(version)) if version == "v3" || version == "v4" => {}
        Some(other) => problems.push(Problem::error("/spelEvaluator", format!("{other} is neither \"v3\" nor \"v4\""))),
    }
    match document.get("timezone") {
        None | Some(Value::Null) => {}
        Some(Value::String(name)) => problems.extend(window::zone(name).err().map(|e| Problem::error("/timezone", e.to_string()))),
        Some(_) => problems.push(Problem::error("/timezone", "must be the name of a time zone")),
    }
    parameters::read(document, &mut problems);
    triggers::read(document, &mut problems);
    notifications(document, PIPELINE_EVENTS, "", &mut problems);
    for (key, value) in document.iter().filter(|(key, _)| *key != "stages") {
        expressions::check(key, value, "", Severity::Warning, rules, &mut problems);
    }
    stages(document, rules, &mut problems);
    problems
}

fn stages(document: &Object, rules: Rules<'_>, problems: &mut Vec<Problem>) {
    let list = list(document, "stages", "", problems).unwrap_or_default();
    if list.is_empty() {
        problems.push(Problem::warning("/stages", "there is no stage: an execution ends TERMINAL at once"));
    }
    if list.len() > MAX_STAGES {
        problems.push(Problem::error("/stages", format!("there are {} stages, more than {MAX_STAGES}", list.len())));
        return;
    }
    let numbered = list.iter().all(|stage| stage.get("refId").is_none_or(Value::is_null));
    let mut wired = true;
    for (at, entry) in list.iter().enumerate() {
        let path = format!("/stages/{at}");
        let Some(entry) = entry.as_object() else {
            problems.push(Problem::error(path, "a stage must be an object"));
            wired = false;
            continue;
        };
        wired &= references(entry, numbered, &path, problems);
        stage(entry, &path, rules, problems);
    }
    if wired {
        graph(document, numbered, problems);
    }
}

/// Whether its reference ids are such that a graph can be made of them.
fn references(stage: &Object, numbered: bool, path: &str, problems: &mut Vec<Problem>) -> bool {
    let before = problems.len();
    if !numbered {
        let path = format!("{path}/refId");
        match stage.get("refId") {
            Some(Value::String(ref_id)) if ref_id.is_empty() => problems.push(Problem::error(path, "is empty")),
            Some(Value::String(ref_id)) if ref_id.contains(['<', '>']) => {
                problems.push(Problem::error(path, "has a < or >, which mark stages that the engine adds"));
            }
            Some(Value::String(_)) => {}
            None | Some(Value::Null) => {
                problems.push(Problem::error(path, "is missing, and other stages have one").help("give every stage one, or none"));
            }
            Some(other) => problems.push(Problem::error(path, format!("{other} must be a text")).help(format!("write \"{other}\""))),
        }
    }
    for (at, requisite) in list(stage, "requisiteStageRefIds", path, problems).unwrap_or_default().iter().enumerate() {
        if !requisite.is_string() {
            problems.push(Problem::error(format!("{path}/requisiteStageRefIds/{at}"), format!("{requisite} must be a text")));
        }
    }
    problems.len() == before
}

fn graph(document: &Object, numbered: bool, problems: &mut Vec<Problem>) {
    if numbered {
        return;
    }
    let nodes = super::nodes(document);
    let Err(faults) = Graph::new(nodes.clone()) else { return };
    for fault in faults {
        problems.push(match fault {
            Fault::Duplicate { at, first } => {
                Problem::error(format!("/stages/{at}/refId"), format!("stage {first} of the list has the refId {:?} too", nodes[at].ref_id))
            }
            Fault::Missing { at, requisite } => {
                let path = format!("/stages/{at}/requisiteStageRefIds/{requisite}");
                Problem::error(path, format!("there is no stage with the refId {:?}", nodes[at].requisites[requisite]))
            }
            Fault::Cycle(places) => {
                let round = places.iter().chain(places.first()).map(|at| nodes[*at].ref_id.as_str());
                let round = shortened(round.collect());
                let path = format!("/stages/{}/requisiteStageRefIds", places.first().expect("a cycle has a stage"));
                Problem::error(path, format!("stages wait for each other: {round}")).help("remove one of these from requisiteStageRefIds")
            }
        });
    }
}

/// `a → b → a`, with the middle left out when it is long.
fn shortened(round: Vec<&str>) -> String {
    let ends = 10;
    if round.len() <= 2 * ends {
        return round.join(" → ");
    }
    let (head, tail) = (&round[..ends], &round[round.len() - ends..]);
    format!("{} → … {} more … → {}", head.join(" → "), round.len() - 2 * ends, tail.join(" → "))
}

fn stage(stage: &Object, path: &str, rules: Rules<'_>, problems: &mut Vec<Problem>) {
    texts(stage, &["name"], path, problems);
    let flags = [
        "restrictExecutionDuringTimeWindow",
        "failPipeline",
        "continuePipeline",
        "completeOtherBranchesThenFail",
        "failOnFailedExpressions",
        "markSuccessfulOnTimeout",
        "manualSkip",
        "sendNotifications",
    ];
    booleans(stage, &flags, path, problems);
    numbers(stage, &["stageTimeoutMs", "backoffPeriodMs"], 1, path, problems);
    numbers(stage, &["startTimeExpiry"], 0, path, problems);
    notifications(stage, STAGE_EVENTS, path, problems);
    match stage.get("type") {
        Some(Value::String(kind)) if rules.types.known(kind) => {
            problems.extend(rules.types.check(kind, stage).into_iter().map(|problem| problem.under(path)));
        }
        Some(Value::String(kind)) => {
            let names = rules.types.names();
            let help = (names.len() <= NAMED_TYPES).then(|| format!("known types: {}", names.join(", ")));
            let problem = Problem::error(format!("{path}/type"), format!("there is no stage type {kind:?} here"));
            problems.push(help.into_iter().fold(problem, Problem::help));
        }
        Some(_) | None => problems.push(Problem::error(format!("{path}/type"), "a stage needs a type, as a text")),
    }
    if stage.get("restrictExecutionDuringTimeWindow") == Some(&Value::Bool(true)) {
        let window = stage.get("restrictedExecutionWindow").unwrap_or(&Value::Null);
        if !expressions::has_any(window)
            && let Err(wrong) = Window::parse(window)
        {
            let path = format!("{path}/restrictedExecutionWindow");
            problems.extend(wrong.into_iter().map(|problem| problem.under(&path)));
        }
    }
    let decided = enabled(stage, path, rules, problems);
    let strict = stage.get("failOnFailedExpressions") == Some(&Value::Bool(true));
    for (key, value) in stage.iter().filter(|(key, _)| !(decided && *key == "stageEnabled")) {
        let decides = key == "preconditions" && stage.get("type").is_some_and(|kind| kind == "checkPreconditions");
        let severity = if strict || decides { Severity::Error } else { Severity::Warning };
        expressions::check(key, value, path, severity, rules, problems);
    }
}

/// Looks at `stageEnabled`; true when there is an expression in it that was looked at.
fn enabled(stage: &Object, path: &str, rules: Rules<'_>, problems: &mut Vec<Problem>) -> bool {
    let Some(condition) = stage.get("stageEnabled").filter(|condition| !condition.is_null()) else { return false };
    let path = format!("{path}/stageEnabled");
    let expression = condition.get("expression").and_then(Value::as_str).filter(|text| !text.is_empty());
    match (condition.get("type").and_then(Value::as_str), expression) {
        (Some("expression"), Some(text)) => {
            let wrapped = if text.contains("${") { text.to_owned() } else { format!("${{{text}}}") };
            problems.extend((rules.expression)(&wrapped).map(|fault| Problem::error(format!("{path}/expression"), fault)));
            true
        }
        (Some("expression"), None) => {
            problems.push(Problem::warning(format!("{path}/expression"), "is missing, so the stage always runs"));
            false
        }
        (Some(_) | None, _) => {
            problems.push(Problem::warning(path, "is not of type \"expression\", so the stage always runs"));
            false
        }
    }
}

fn notifications(owner: &Object, events: &[&str], path: &str, problems: &mut Vec<Problem>) {
    for (at, entry) in list(owner, "notifications", path, problems).unwrap_or_default().iter().enumerate() {
        let path = format!("{path}/notifications/{at}");
        match entry.get("type").and_then(Value::as_str) {
            None => problems.push(Problem::error(format!("{path}/type"), "a notification needs a type")),
            Some(kind) if DELIVERED.contains(&kind.to_lowercase().as_str()) => {}
            Some(kind) => {
                let problem = Problem::warning(format!("{path}/type"), format!("notifications of type {kind:?} are not delivered here"));
                problems.push(problem.help("email, slack and webhook are"));
            }
        }
        let Some(entry) = entry.as_object() else { continue };
        for (nth, when) in list(entry, "when", &path, problems).unwrap_or_default().iter().enumerate() {
            if !when.as_str().is_some_and(|when| events.contains(&when)) {
                let problem = Problem::warning(format!("{path}/when/{nth}"), format!("{when} never happens here"));
                problems.push(problem.help(format!("one of {}", events.join(", "))));
            }
        }
    }
}

/// The list under a key; `None` when there is none, or something else, which is a problem.
pub(super) fn list<'a>(owner: &'a Object, key: &str, path: &str, problems: &mut Vec<Problem>) -> Option<&'a [Value]> {
    match owner.get(key) {
        None | Some(Value::Null) => None,
        Some(Value::Array(list)) => Some(list),
        Some(_) => {
            problems.push(Problem::error(format!("{path}/{key}"), "must be a list"));
            None
        }
    }
}

/// These are booleans, where they are given; Orca takes the text "true" for false here and for true there.
pub(super) fn booleans(owner: &Object, keys: &[&str], path: &str, problems: &mut Vec<Problem>) {
    for key in keys {
        let Some(value) = owner.get(*key).filter(|value| !value.is_null() && !value.is_boolean() && !expressions::has_any(value)) else {
            continue;
        };
        let problem = Problem::error(format!("{path}/{key}"), format!("{value} must be true or false"));
        let meant = value.as_str().filter(|text| ["true", "false"].contains(text));
        problems.push(meant.into_iter().fold(problem, |problem, meant| problem.help(format!("write {meant} without quotes"))));
    }
}

/// These are whole numbers from `least` on, where they are given; Orca ignores a text.
fn numbers(owner: &Object, keys: &[&str], least: u64, path: &str, problems: &mut Vec<Problem>) {
    for key in keys {
        let Some(value) = owner.get(*key).filter(|value| !value.is_null() && !expressions::has_any(value)) else { continue };
        if value.as_u64().is_none_or(|number| number < least) {
            let problem = Problem::error(format!("{path}/{key}"), format!("{value} must be a whole number, {least} or more"));
            let meant = value.as_str().filter(|text| text.parse::<u64>().is_ok());
            problems.push(meant.into_iter().fold(problem, |problem, meant| problem.help(format!("write {meant} without quotes"))));
        }
    }
}

fn texts(owner: &Object, keys: &[&str], path: &str, problems: &mut Vec<Problem>) {
    for key in keys {
        if owner.get(*key).is_some_and(|value| !value.is_null() && !value.is_string()) {
            problems.push(Problem::error(format!("{path}/{key}"), "must be a text"));
        }
    }
}
