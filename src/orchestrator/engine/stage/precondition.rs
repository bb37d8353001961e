//! `checkPreconditions`: each entry of `preconditions` becomes a synthetic stage of the same type beside the others; the stage itself has no tasks.
//!
//! | `type` | holds when |
//! |---|---|
//! | `expression` | `context.expression`, written without `${}`, is true |
//! | `stageStatus` | the stage named `context.stageName` has the status `context.stageStatus` |
//! | `clusterSize` | in each of `context.regions`, the number of server groups of `context.cluster` compares as said with `context.expected` |
//!
//! What must stay true: what does not hold, or cannot be judged, fails its stage with the reason. An entry's `failPipeline: false` stops the branch
//! only.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::Failure;
use super::LAST_ERROR;
use super::StageKind;
use super::StageSpec;
use super::Step;
use super::TaskKind;
use super::TaskResult;
use super::TaskSpec;
use super::TaskView;
use super::View;
use super::fields;
use super::fields::Check;
use super::unexpected;
use crate::orchestrator::engine::advance::time::next_look;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::execution::Synthetic;
use crate::orchestrator::engine::expression;
use crate::orchestrator::engine::status::Status;

const NAME: &str = "checkPreconditions";

/// Between two tries to count server groups, and for how long.
const COUNT_AGAIN: Duration = Duration::from_secs(5);
const COUNT_TIMEOUT: Duration = Duration::from_secs(30);

/// The stage.
#[derive(Debug)]
pub struct CheckPreconditions;

impl StageKind for CheckPreconditions {
    fn name(&self) -> &'static str {
        NAME
    }

    fn tasks(&self, view: &View<'_>) -> Vec<TaskSpec> {
        match fields::text(view.context, "preconditionType").filter(|_| view.stage().head().parent_stage_id.is_some()) {
            None => Vec::new(),
            Some("expression") => vec![TaskSpec::new("checkPrecondition", "expression")],
            Some("stageStatus") => vec![TaskSpec::new("checkPrecondition", "stageStatus")],
            Some("clusterSize") => vec![TaskSpec::new("checkPrecondition", "clusterSize")],
            Some(_) => vec![TaskSpec::new("checkPrecondition", "unknown")],
        }
    }

    fn task(&self, class: &str) -> Option<&dyn TaskKind> {
        match class {
            "expression" => Some(&Expression),
            "stageStatus" => Some(&StageStatus),
            "clusterSize" => Some(&ClusterSize),
            "unknown" => Some(&UnknownType),
            _ => None,
        }
    }

    fn synthetic(&self, view: &View<'_>, side: Synthetic) -> Result<Vec<StageSpec>, Failure> {
        if side == Synthetic::StageAfter || view.stage().head().parent_stage_id.is_some() {
            return Ok(Vec::new());
        }
        let list = match view.context.get("preconditions") {
            None | Some(Value::Null) => &[],
            Some(Value::Array(list)) => list.as_slice(),
            // Nothing to check is not the same as nothing checked.
            Some(_) => return Err(Failure::new("ConfigurationException", "preconditions has to be a list, each with a type")),
        };
        list.iter().enumerate().map(|(at, entry)| child(view.context, at, entry)).collect()
    }

    fn prepare_restart(&self, context: &mut Object, body: &Object) {
        if let Some(preconditions) = body.get("preconditions") {
            context.insert("preconditions".to_owned(), preconditions.clone());
        }
    }

    /// Each child resolves its own, once: what an expression of the parent gave would be evaluated by the child as one of its own.
    fn keeps_expressions(&self) -> &'static [&'static str] {
        &["preconditions"]
    }

    fn check(&self, stage: &Object) -> Vec<(String, String)> {
        let mut check = Check::of(stage);
        check.required("preconditions", "list what has to hold, each with a type: expression, stageStatus or clusterSize");
        check.entries("preconditions", |_, entry| check_entry(entry, stage)).done()
    }
}

fn check_entry(entry: &Object, stage: &Object) -> Vec<(String, String)> {
    let mut check = Check::of(entry);
    check.required("type", "write expression, stageStatus or clusterSize").word("type", &["expression", "stageStatus", "clusterSize"]);
    check.flags(&["failPipeline"]);
    let empty = Object::new();
    let inner = fields::object(entry, "context").unwrap_or(&empty);
    let mut below = Check::of(inner);
    match fields::text(entry, "type") {
        Some("expression") => {
            below.required("expression", "write what has to be true, without ${}");
            if fields::text(inner, "expression").is_some_and(|text| text.contains("${") && !expression::is_whole(text)) {
                below.problem(
                    "/expression",
                    "must be one expression, without ${} or with it round the whole: what several give is text and is not evaluated",
                );
            }
            let bare = fields::text(inner, "expression").filter(|text| !text.contains("${"));
            if let Some(Err(error)) = bare.map(expression::check) {
                below.problem("/expression", error.to_string());
            }
        }
        Some("stageStatus") => {
            below.required("stageName", "name the stage to look at").required("stageStatus", "write the status it must have");
            below.word("stageStatus", &Status::ALL.map(Status::word));
        }
        Some("clusterSize") => {
            if fields::text(stage, "cluster").is_none() && cluster(inner).is_none() {
                below.problem("/cluster", "is missing; name the cluster to count");
            }
            if !stage.contains_key("regions") {
                below.required("regions", "list the regions to count in");
            }
            below.numbers(&["expected"]).flags(&["onlyEnabledServerGroups"]).word("comparison", &["==", "<", "<=", ">=", ">"]);
        }
        Some(_) | None => {}
    }
    let below: Vec<(String, String)> = below.done();
    below.into_iter().for_each(|(path, what)| {
        check.problem(&format!("/context{path}"), what);
    });
    check.done()
}

/// The synthetic stage of one entry: the parent's context, the entry over it, and in its inner context what the parent says about the cluster.
fn child(parent: &Object, at: usize, entry: &Value) -> Result<StageSpec, Failure> {
    let wrong = |what: &str| Failure::new("ConfigurationException", format!("precondition {} {what}", at + 1));
    let entry = entry.as_object().ok_or_else(|| wrong("is no object"))?;
    let kind = fields::text(entry, "type").ok_or_else(|| wrong("has no type; write expression, stageStatus or clusterSize"))?;
    let mut context = parent.clone();
    for key in ["preconditions", "notifications", "sendNotifications", "stageEnabled"] {
        context.remove(key);
    }
    context.extend(entry.clone());
    let mut inner = fields::object(entry, "context").cloned().unwrap_or_default();
    for key in ["cluster", "regions", "credentials"] {
        if let (None, Some(value)) = (inner.get(key), parent.get(key)) {
            inner.insert(key.to_owned(), value.clone());
        }
    }
    if kind == "expression" {
        // Resolved with the rest of the context when the stage starts, pages and summary included.
        inner.insert("expressionResult".to_owned(), wrapped(&inner).into());
    }
    let name = format!("Check precondition ({kind})");
    context.insert("type".to_owned(), NAME.into());
    context.insert("preconditionType".to_owned(), kind.into());
    context.insert("name".to_owned(), name.clone().into());
    context.insert("context".to_owned(), inner.into());
    Ok(StageSpec { kind: NAME.to_owned(), name, context, after_previous: false })
}

fn wrapped(inner: &Object) -> String {
    let expression = inner.get("expression").map_or_else(|| "false".to_owned(), fields::shown);
    // One that is written with its signs is evaluated as it is, and what it gives is not evaluated again.
    if expression.contains("${") { expression } else { format!("${{{expression}}}") }
}

fn inner<'a>(view: &TaskView<'a>) -> Option<&'a Object> {
    fields::object(view.stage.context, "context")
}

fn configuration(error: impl Into<String>) -> Step {
    Step::Fail(Failure::new("ConfigurationException", error))
}

fn not_met(error: String) -> Failure {
    Failure::new("PreconditionFailureException", error)
}

#[derive(Debug)]
struct Expression;

impl TaskKind for Expression {
    fn step(&self, view: &TaskView<'_>, _: Option<&Outcome>) -> Step {
        let mut inner = inner(view).cloned().unwrap_or_default();
        let expression = inner.get("expression").map_or_else(|| "false".to_owned(), fields::shown);
        let result = inner.get("expressionResult").map(fields::shown).filter(|result| *result != wrapped(&inner));
        let met = result.as_deref().is_some_and(|result| result.eq_ignore_ascii_case("true"));
        let failure = match &result {
            Some(result) => format!("the expression {expression} is {result}, and has to be true"),
            None => format!("the expression {expression} could not be evaluated; expressionEvaluationSummary says why"),
        };
        inner.insert("expressionResult".to_owned(), result.unwrap_or(expression).into());
        let context: Object = [("context".to_owned(), Value::Object(inner))].into_iter().collect();
        if met {
            Step::Finish(TaskResult { status: Status::Succeeded, context, ..TaskResult::default() })
        } else {
            Step::Fail(Failure { context, ..not_met(failure) })
        }
    }
}

#[derive(Debug)]
struct StageStatus;

impl TaskKind for StageStatus {
    fn step(&self, view: &TaskView<'_>, _: Option<&Outcome>) -> Step {
        let field = |key| inner(view).and_then(|inner| fields::text(inner, key));
        let (Some(name), Some(wanted)) = (field("stageName"), field("stageStatus")) else {
            return configuration("stageName and stageStatus are both needed: which stage has to have which status");
        };
        let Some(stage) = view.stage.execution.stages().iter().find(|stage| stage.head().name == name) else {
            return configuration(format!("there is no stage named {name} in this pipeline; stageName has to be the name of one"));
        };
        if stage.status().word().eq_ignore_ascii_case(wanted) {
            return Step::Finish(TaskResult::of(Status::Succeeded));
        }
        Step::Fail(not_met(format!("the stage {name} is {}, and has to be {wanted}", stage.status())))
    }
}

#[derive(Debug)]
struct ClusterSize;

/// What has to be so in each region.
struct Wanted<'a> {
    cluster: &'a str,
    regions: Vec<String>,
    comparison: &'a str,
    expected: u64,
}

impl Wanted<'_> {
    fn of(inner: &Object) -> Result<Wanted<'_>, String> {
        let cluster = cluster(inner).ok_or("the cluster to count is missing; set cluster or moniker.cluster")?;
        let regions = fields::texts(inner, "regions");
        if regions.is_empty() {
            return Err("the regions to count in are missing; list them in regions".to_owned());
        }
        let comparison = fields::text(inner, "comparison").map_or("==", str::trim);
        if !["==", "<", "<=", ">=", ">"].contains(&comparison) {
            return Err(format!("comparison is {comparison}; it must be one of ==, <, <=, >=, >"));
        }
        let expected = match inner.get("expected") {
            None | Some(Value::Null) => 1,
            Some(given) => fields::number(inner, "expected")
                .ok_or_else(|| format!("expected is {}; it must be a number of at least 0", fields::shown(given)))?,
        };
        Ok(Wanted { cluster, regions, comparison, expected })
    }

    fn holds(&self, count: u64) -> bool {
        match self.comparison {
            "<" => count < self.expected,
            "<=" => count <= self.expected,
            ">=" => count >= self.expected,
            ">" => count > self.expected,
            _ => count == self.expected,
        }
    }

    fn judge(&self, counts: &[(String, u32)]) -> Step {
        let count = |region: &String| u64::from(counts.iter().find(|(name, _)| name == region).map_or(0, |(_, count)| *count));
        let wrong = self.regions.iter().filter(|region| !self.holds(count(region)));
        let told = |region: &String| {
            let Self { cluster, comparison, expected, .. } = self;
            format!("{cluster} has {} server groups in {region}, and has to have {comparison} {expected}", count(region))
        };
        let errors: Vec<String> = wrong.map(told).collect();
        if errors.is_empty() {
            return Step::Finish(TaskResult::of(Status::Succeeded));
        }
        Step::Fail(Failure { errors, ..not_met(String::new()) })
    }
}

fn cluster(inner: &Object) -> Option<&str> {
    fields::text(inner, "cluster").or_else(|| fields::text(fields::object(inner, "moniker")?, "cluster"))
}

impl TaskKind for ClusterSize {
    fn step(&self, view: &TaskView<'_>, outcome: Option<&Outcome>) -> Step {
        let empty = Object::new();
        let inner = inner(view).unwrap_or(&empty);
        let wanted = match Wanted::of(inner) {
            Ok(wanted) => wanted,
            Err(error) => return configuration(error),
        };
        match outcome {
            None => {
                let effect = Effect::ClusterSize {
                    cluster: wanted.cluster.to_owned(),
                    regions: wanted.regions,
                    credentials: fields::text(inner, "credentials").map(str::to_owned),
                    only_enabled: fields::truth(inner, "onlyEnabledServerGroups", false),
                };
                Step::Perform { result: TaskResult::default(), effect }
            }
            Some(Outcome::Sizes { regions }) => wanted.judge(regions),
            Some(Outcome::NotFound { .. }) => wanted.judge(&[]),
            Some(Outcome::Failed { error, retryable: true }) => {
                let result = TaskResult::default().with(LAST_ERROR, error.as_str());
                Step::Wait { result, until: Some(next_look(view, COUNT_AGAIN)) }
            }
            Some(other) => Step::Fail(unexpected("the server groups could not be counted", other)),
        }
    }

    fn timeout(&self, _: &TaskView<'_>) -> Option<Duration> {
        Some(COUNT_TIMEOUT)
    }
}

#[derive(Debug)]
struct UnknownType;

impl TaskKind for UnknownType {
    fn step(&self, view: &TaskView<'_>, _: Option<&Outcome>) -> Step {
        let given = view.stage.context.get("preconditionType").unwrap_or(&json!(null)).to_string();
        configuration(format!("{given} is no type of precondition; write expression, stageStatus or clusterSize"))
    }
}

#[cfg(test)]
mod tests;
