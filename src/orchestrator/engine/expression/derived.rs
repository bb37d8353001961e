//! Names that stand for something worked out from the trigger and the stages.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::Datum;
use super::error::Problem;
use super::eval::Machine;

/// A plain name that the scope does not know. The scope is asked first, so a stage's own `parameters` win over the trigger's.
pub fn root<'a>(machine: &Machine<'a, '_>, name: &str) -> Result<Option<Datum<'a>>, Problem> {
    let trigger = |path: &[&str]| path.iter().try_fold(machine.scope.root("trigger")?, |at, key| at.field(key));
    Ok(match name {
        "parameters" => trigger(&["parameters"]).filter(|found| found.len().is_some_and(|n| n > 0)),
        "scmInfo" => trigger(&["buildInfo", "scm"]).and_then(|scm| branch_of_interest(&scm)),
        "deployedServerGroups" => Some(deployed(machine, &[])?).filter(|found| found.len().is_some_and(|n| n > 0)),
        _ => None,
    })
}

/// The first source that is not a main branch, else the first.
fn branch_of_interest<'a>(scm: &Datum<'a>) -> Option<Datum<'a>> {
    let sources = scm.items()?;
    let main = |source: &Datum<'a>| {
        source
            .field("branch")
            .is_some_and(|b| b.as_str().is_some_and(|b| b.eq_ignore_ascii_case("master") || b.eq_ignore_ascii_case("develop")))
    };
    sources.iter().find(|source| !main(source)).or(sources.first()).cloned()
}

/// What a stage can be asked beside its fields.
pub fn of_stage<'a>(stage: &Datum<'a>, name: &str) -> Option<Datum<'a>> {
    let wanted = match name {
        "hasSucceeded" => "SUCCEEDED",
        "hasFailed" => "TERMINAL",
        _ => return None,
    };
    let status = stage.field("status")?;
    Some((status.as_str()? == wanted).into())
}

/// Stage types that deploy a server group.
const DEPLOYING: [&str; 4] = ["deploy", "createServerGroup", "cloneServerGroup", "rollingPush"];

/// What the stages of these names or ids, or all stages, have deployed.
pub fn deployed<'a>(machine: &Machine<'a, '_>, names: &[&str]) -> Result<Datum<'a>, Problem> {
    let mut list = Vec::new();
    for stage in machine.scope.stages() {
        machine.budget.work(1)?;
        let is = |key: &str, wanted: &[&str]| stage.field(key).is_some_and(|f| f.as_str().is_some_and(|f| wanted.contains(&f)));
        let named = names.is_empty() || is("name", names) || is("id", names);
        if !named || !is("type", &DEPLOYING) || !is("status", &["SUCCEEDED"]) {
            continue;
        }
        if let Some(context) = stage.field("context")
            && let Some(groups) = context.field("deploy.server.groups")
            && let Some(details) = details(machine, &context, &groups)?
        {
            list.push(details);
        }
    }
    Ok(Value::Array(list).into())
}

fn details(machine: &Machine<'_, '_>, context: &Datum<'_>, groups: &Datum<'_>) -> Result<Option<Value>, Problem> {
    let given = context.field("region").and_then(|r| r.as_str().map(str::to_owned));
    let zoned = || context.field("availabilityZones")?.entries()?.into_iter().next().map(|(region, _)| region);
    let Some(region) = given.or_else(zoned) else { return Ok(None) };
    let copy = |datum: Option<Datum<'_>>| datum.map_or(Ok(Value::Null), |d| d.into_value(machine.budget));
    let mut details = Map::new();
    for key in ["account", "capacity", "parentStage"] {
        details.insert(key.to_owned(), copy(context.field(key))?);
    }
    for existing in context.field("deploymentDetails").and_then(|d| d.items()).unwrap_or_default() {
        if existing.field("region").is_some_and(|r| r.as_str() == Some(&region))
            && let Value::Object(more) = existing.into_value(machine.budget)?
        {
            details.extend(more);
        }
    }
    if let Some(group) = groups.field(&region).and_then(|list| list.element(0)) {
        details.insert("serverGroup".to_owned(), copy(Some(group))?);
    }
    details.insert("region".to_owned(), json!(region));
    details.insert("deployments".to_owned(), deployments(machine, context)?);
    Ok(Some(Value::Object(details)))
}

/// `kato.tasks[].resultObjects[].deployments[]`.
fn deployments(machine: &Machine<'_, '_>, context: &Datum<'_>) -> Result<Value, Problem> {
    fn inner<'d>(at: &Datum<'d>, key: &str) -> Vec<Datum<'d>> {
        at.field(key).and_then(|list| list.items()).unwrap_or_default()
    }
    let results = inner(context, "kato.tasks").into_iter().flat_map(|task| inner(&task, "resultObjects"));
    let made = results.flat_map(|result| inner(&result, "deployments"));
    made.map(|deployment| deployment.into_value(machine.budget)).collect::<Result<_, _>>().map(Value::Array)
}
