//! `--param NAME=VALUE`: what people give a start.
//!
//! What must stay true: a name that is mistyped starts nothing. The API carries what a pipeline does not declare, as Orca does, since triggers and other
//! programs send more than a pipeline looks at; a person who types a name means one that is there.

use serde_json::Map;
use serde_json::Value;

use crate::cli::Failure;
use crate::config::nearest;
use crate::orchestrator::engine::definition::Definition;
use crate::orchestrator::engine::problem::Problem;
use crate::orchestrator::engine::problem::escaped;

/// As the trigger takes them.
pub(super) fn given(params: &[(String, String)]) -> Map<String, Value> {
    params.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect()
}

/// Refuses those that the pipeline does not declare, where it declares any.
pub(super) fn check(definition: &Definition, params: &[(String, String)]) -> Result<(), Failure> {
    let declared: Vec<String> = definition.parameters().into_iter().map(|parameter| parameter.name).collect();
    if declared.is_empty() {
        return Ok(());
    }
    let unknown = |name: &String| {
        let problem = Problem::error(format!("/parameters/{}", escaped(name)), "the pipeline declares no such parameter");
        match nearest(name, declared.iter().map(String::as_str)) {
            Some(near) => problem.help(format!("did you mean {near}?")),
            None => problem,
        }
    };
    let problems: Vec<Problem> = params.iter().map(|(name, _)| name).filter(|name| !declared.contains(name)).map(unknown).collect();
    if problems.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::refused("pipeline-wrong", "the pipeline cannot be started so; nothing was started");
    failure.causes = problems.iter().map(ToString::to_string).collect();
    let mut names = declared;
    names.sort();
    Err(failure.help(format!("its parameters: {}", names.join(", "))))
}
