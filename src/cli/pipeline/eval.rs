//! `bellrock pipeline eval`: what an expression gives, over an execution or any JSON, without running anything.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::path::PathBuf;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::document;
use crate::cli::Context;
use crate::cli::Exit;
use crate::cli::Failure;
use crate::host::clock::SystemClock;
use crate::model::Clock;
use crate::orchestrator::engine::expression;
use crate::orchestrator::engine::expression::Unknown;
use crate::orchestrator::engine::expression::facts::Facts;

#[derive(Debug, clap::Args)]
#[command(after_help = "FILE is an execution, as the API answers it (an object with `stages`), or an object whose keys are the names.\n\
    A text with ${…} is resolved as a stage would; anything else is one expression. Nothing is fetched.\n\n\
    Exit codes: 0 it has a value, 1 it has none, 2 the file cannot be used.\n\n\
    Examples:\n  \
    bellrock pipeline eval 'replicas * 2' --context values.json\n  \
    bellrock pipeline eval '${#stage(\"Build\").outputs.image}' --context execution.json --stage deploy")]
pub(super) struct Args {
    /// An expression, or a text with ${…} in it.
    #[arg(value_name = "EXPR")]
    expression: String,
    /// What its names mean, as JSON.
    #[arg(long, value_name = "FILE")]
    context: PathBuf,
    /// The stage of the execution whose text it is: reference id, id or name.
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let file = document::object(&args.context)?;
    let facts = facts(file, args.stage)?;
    let result = value(&args.expression, &facts)?;
    let text = || result.as_str().map_or_else(|| format!("{result:#}"), str::to_owned);
    context.print(text, &json!({ "result": result }))?;
    Ok(Exit::Done)
}

fn value(text: &str, facts: &Facts) -> Result<Value, Failure> {
    let none = || Failure::new("expression-failed", format!("{text:?} has no value here"));
    if !text.contains("${") {
        return expression::evaluate(text, facts, Unknown::Null).map_err(|e| {
            let mut failure = none().because(&e);
            failure.causes.push(e.caret(text));
            failure
        });
    }
    let source = Value::String(text.to_owned());
    let rendered = expression::render(&source, facts, Unknown::Null);
    let mut failure = none();
    failure.causes.extend(rendered.needs.iter().map(|url| format!("{url} would have to be fetched first")));
    for (source, entries) in rendered.summary.entries() {
        failure.causes.extend(entries.iter().map(|entry| format!("{source}: {}", entry.description)));
    }
    if failure.causes.is_empty() { Ok(rendered.value.into_owned()) } else { Err(failure) }
}

fn facts(file: Map<String, Value>, stage: Option<String>) -> Result<Facts, Failure> {
    let now = SystemClock::start().now().wall;
    let Some(stages) = file.get("stages").and_then(Value::as_array) else {
        return match stage {
            None => Ok(Facts { execution: Value::Object(file.clone()), context: file, now, ..Facts::default() }),
            Some(_) => Err(Failure::refused("pipeline-wrong", "--stage needs an execution: the file has no list `stages`")),
        };
    };
    let context = match &stage {
        None => Map::new(),
        Some(wanted) => {
            let is = |stage: &Value| ["refId", "id", "name"].iter().any(|key| stage[key].as_str() == Some(wanted));
            let place = stages.iter().position(is);
            seen_by(stages, place.ok_or_else(|| Failure::refused("pipeline-wrong", format!("the file has no stage {wanted:?}")))?)
        }
    };
    Ok(Facts { context, current: stage, now, execution: Value::Object(file), ..Facts::default() })
}

/// What a stage sees by plain names: its own context, then outputs of those it waits for, the nearest first.
fn seen_by(stages: &[Value], place: usize) -> Map<String, Value> {
    let mut seen = stages[place]["context"].as_object().cloned().unwrap_or_default();
    let mut visited = BTreeSet::from([place]);
    let mut queue = VecDeque::from([place]);
    while let Some(at) = queue.pop_front() {
        for requisite in stages[at]["requisiteStageRefIds"].as_array().into_iter().flatten() {
            let Some(above) = stages.iter().position(|stage| stage["refId"] == *requisite).filter(|above| visited.insert(*above)) else {
                continue;
            };
            for (key, value) in stages[above]["outputs"].as_object().into_iter().flatten() {
                seen.entry(key).or_insert_with(|| value.clone());
            }
            queue.push_back(above);
        }
    }
    seen
}
