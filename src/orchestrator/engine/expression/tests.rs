//! What expressions mean, what they cost at most, what contexts become.

mod hostile;
mod language;
mod render;

use serde_json::Value;
use serde_json::json;

use super::Error;
use super::Unknown;
use super::evaluate;
use super::facts::Facts;
use crate::model::Timestamp;

/// Sunday, 2026-11-22 16:30:05 UTC.
const NOW: Timestamp = Timestamp(1_795_365_005_123);

/// A pipeline that deployed, judged and was started by hand.
fn facts() -> Facts {
    let context = json!({
        "name": "app", "n": 7, "half": 0.5, "yes": true, "nothing": null, "empty": "",
        "list": [3, 1, 2], "words": ["a", "bb", "ccc"], "map": {"k": "v", "other key": 1, "deep": {"er": [1, {"x": "y"}]}},
        "key": "k", "people": [{"name": "Ann", "age": 41}, {"name": "Bob", "age": 17}, {"name": "Cid", "age": 65}],
    });
    let execution = json!({
        "application": "app",
        "authentication": {"user": "ann@example.com"},
        "trigger": {
            "type": "manual", "parameters": {"region": "us-east-1", "count": "3"},
            "buildInfo": {"scm": [{"branch": "master"}, {"branch": "feature"}]},
            "resolvedExpectedArtifacts": [{"boundArtifact": {"type": "docker/image", "name": "web", "reference": "web:1"}}],
        },
        "stages": [
            {"id": "s1", "refId": "1", "name": "Deploy", "type": "createServerGroup", "status": "SUCCEEDED", "context": {
                "account": "prod", "deploy.server.groups": {"us-east-1": ["app-v001"]}, "availabilityZones": {"us-east-1": ["us-east-1a"]},
                "deploymentDetails": [{"region": "us-east-1", "ami": "ami-1"}, {"region": "us-west-1", "ami": "ami-2"}],
                "kato.tasks": [{"resultObjects": [{"deployments": [{"serverGroupName": "app-v001"}]}]}]}},
            {"id": "s2", "refId": "2", "name": "Go on?", "type": "manualJudgment", "status": "SUCCEEDED", "context": {"judgmentInput": "roll back"}},
            {"id": "s3", "refId": "3", "name": "Broken", "type": "wait", "status": "TERMINAL", "context": {}, "outputs": {"n": 1}},
            {"id": "s5", "refId": "5", "name": "Deploy more", "type": "deploy", "status": "RUNNING", "context": {
                "region": "us-west-1", "deploy.server.groups": {"us-west-1": ["app-v002"]}}},
            {"id": "s4", "refId": "4", "name": "Apply", "type": "deployManifest", "status": "SUCCEEDED", "context": {"manifests": [
                {"kind": "Deployment", "spec": {"template": {"metadata": {"labels": {"app": "web"}}}}}]}},
        ],
    });
    let context = context.as_object().cloned().unwrap_or_default();
    Facts { context, execution, current: Some("s3".into()), now: NOW, seed: 7, ..Facts::default() }
}

fn eval(source: &str) -> Result<Value, Error> {
    evaluate(source, &facts(), Unknown::Null)
}

/// Asserts each result; the source is named when one is wrong.
fn holds(rows: &[(&str, Value)]) {
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|(source, wanted)| {
            let found = eval(source);
            (found.as_ref().ok() != Some(wanted)).then(|| format!("{source} gives {found:?}, not {wanted}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Asserts that each fails, with these words in the reason.
fn fails(rows: &[(&str, &str)]) {
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|(source, words)| match eval(source) {
            Err(error) if error.to_string().contains(words) => None,
            found => Some(format!("{source} gives {found:?}, not '{words}'")),
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
