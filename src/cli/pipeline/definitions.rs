//! `bellrock pipeline save|list|history|diff|revert`: pipeline definitions in the engine's store. Each save is a version, and none is lost.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reqwest::Method;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use similar::ChangeTag;
use similar::TextDiff;

use super::api::Api;
use super::api::Target;
use super::document;
use super::say;
use crate::cli::Context;
use crate::cli::Exit;
use crate::cli::Failure;
use crate::model::Timestamp;
use crate::orchestrator::store::DefinitionVersion;
use crate::rollback::show::table;

/// Keys the API adds to a document.
const ADDED: [&str; 3] = ["version", "lastModifiedBy", "updateTs"];
/// Pages of definitions that are read: 100 000 definitions.
const PAGES: usize = 200;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A document without an `id` takes the place of the pipeline of its application and name. Whatever is wrong with it is \
    listed and nothing is saved.\n\n\
    Exit codes: 0 saved, 1 the agent cannot do it now, 2 refused.\n\n\
    Examples:\n  \
    bellrock pipeline save deploy.json\n  \
    jq '.limitConcurrent = true' deploy.json | bellrock pipeline save - --version 4"
)]
pub(super) struct SaveArgs {
    /// A pipeline as JSON; `-` is stdin.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Save only if this is the newest version there is; 0 = if there is none.
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn save(args: SaveArgs, context: &Context) -> Result<Exit, Failure> {
    let mut document = document::object(&args.file)?;
    if let Some(version) = args.version {
        document.insert("version".to_owned(), version.into());
    }
    let api = Api::connect(&args.target, context).await?;
    let saved = put(&api, document).await?;
    context.print(|| format!("{} is saved as version {}", title(&saved), saved["version"]), &saved)?;
    Ok(Exit::Done)
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bellrock pipeline list\n  \
    bellrock pipeline list shop --output json | jq -r '.[].name'")]
pub(super) struct ListArgs {
    /// Only pipelines of this application.
    #[arg(value_name = "APP")]
    application: Option<String>,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn list(args: ListArgs, context: &Context) -> Result<Exit, Failure> {
    let api = Api::connect(&args.target, context).await?;
    let found = definitions(&api, args.application.as_deref()).await?;
    let text = || {
        if found.is_empty() {
            return "there are no pipelines; `bellrock pipeline save FILE` brings one".to_owned();
        }
        let mut table = table(["application", "name", "id", "version", "saved by", "at", ""]);
        for document in &found {
            let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
            let at = text("updateTs").parse().map(|ms| time(Timestamp(ms))).unwrap_or_default();
            let disabled = if document["disabled"] == true { "disabled" } else { "" };
            let version = document["version"].to_string();
            table.add_row([text("application"), text("name"), text("id"), version, text("lastModifiedBy"), at, disabled.to_owned()]);
        }
        table.to_string()
    };
    context.print(text, &found)?;
    broken(&api).await;
    Ok(Exit::Done)
}

/// Tells which pipelines in files are not in order.
async fn broken(api: &Api) {
    // An agent of an older version does not say; what was asked for is answered all the same.
    let Ok(source) = api.get::<Value>(&["admin", "definitions"], &[]).await else { return };
    let directory = source["directory"].as_str().unwrap_or_default();
    for problem in source["problems"].as_array().into_iter().flatten() {
        let text = |key: &str| problem[key].as_str().unwrap_or_default();
        let kept = if problem["kept"] == true { "; what it held before is in force" } else { "" };
        say(&format!("{directory}/{}: {}: {}{kept}", text("file"), text("path"), text("message")));
    }
}

/// A pipeline in the store.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Its application.
    #[arg(value_name = "APP")]
    application: String,
    /// Its name or id.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    target: Target,
}

impl Which {
    /// Its versions, newest first. One that was removed is still found by its id.
    async fn history(&self, api: &Api) -> Result<Vec<DefinitionVersion>, Failure> {
        let found = definitions(api, Some(&self.application)).await?;
        let is = |document: &&Value| document["id"] == *self.name || document["name"] == *self.name;
        let id = found.iter().find(is).and_then(|document| document["id"].as_str()).unwrap_or(&self.name);
        let versions: Vec<DefinitionVersion> = api.get(&["pipelineConfigs", id, "history"], &[]).await?;
        match versions.first() {
            Some(newest) if newest.application == self.application => Ok(versions),
            Some(_) | None => Err(Failure::refused("pipeline-not-found", format!("{} has no pipeline {:?}", self.application, self.name))
                .help("`bellrock pipeline list` shows those there are")),
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "The last 100 versions, newest first, each with the lines it added and took away.\n\n\
    Examples:\n  \
    bellrock pipeline history shop deploy\n  \
    bellrock pipeline history shop deploy --output json | jq '.[0].document'")]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    which: Which,
}

pub(super) async fn history(args: HistoryArgs, context: &Context) -> Result<Exit, Failure> {
    let api = Api::connect(&args.which.target, context).await?;
    let versions = args.which.history(&api).await?;
    let text = || {
        let mut table = table(["version", "saved by", "at", "lines", ""]);
        for (at, version) in versions.iter().enumerate() {
            let lines = match versions.get(at + 1) {
                Some(before) => counted(before, version),
                None => String::new(),
            };
            let removed = if version.deleted { "removed" } else { "" };
            table.add_row([version.version.to_string(), version.by.clone(), time(version.at), lines, removed.to_owned()]);
        }
        table.to_string()
    };
    context.print(text, &versions)?;
    Ok(Exit::Done)
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Without A and B: what the newest version changed. With A alone: what changed since A.\n\n\
    Examples:\n  \
    bellrock pipeline diff shop deploy\n  \
    bellrock pipeline diff shop deploy 3 5")]
pub(super) struct DiffArgs {
    #[command(flatten)]
    which: Which,
    /// Version to compare from.
    #[arg(value_name = "A")]
    from: Option<u64>,
    /// Version to compare with.
    #[arg(value_name = "B")]
    to: Option<u64>,
}

pub(super) async fn diff(args: DiffArgs, context: &Context) -> Result<Exit, Failure> {
    let api = Api::connect(&args.which.target, context).await?;
    let versions = args.which.history(&api).await?;
    let newest = versions.first().map_or(0, |version| version.version);
    let to = version(&api, &versions, args.to.unwrap_or(newest)).await?;
    let from = match args.from {
        Some(from) => version(&api, &versions, from).await?,
        // The first version is compared with nothing.
        None if newest <= 1 => Edition { version: 0, by: String::new(), text: String::new() },
        None => version(&api, &versions, newest - 1).await?,
    };
    let diff = TextDiff::from_lines(&from.text, &to.text);
    let text = diff.unified_diff().header(&from.title(), &to.title()).to_string();
    let same = from.text == to.text;
    let shown = || if same { format!("versions {} and {} are the same", from.version, to.version) } else { text.clone() };
    context.print(shown, &json!({ "from": from.version, "to": to.version, "same": same, "diff": text }))?;
    Ok(Exit::Done)
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Saves the document of an earlier version as the newest one; nothing is lost. A pipeline that was removed comes back \
    by its id. If somebody saves at the same moment, nothing is changed.\n\n\
    Examples:\n  \
    bellrock pipeline diff shop deploy 3\n  \
    bellrock pipeline revert shop deploy 3"
)]
pub(super) struct RevertArgs {
    #[command(flatten)]
    which: Which,
    /// Version to go back to.
    #[arg(value_name = "VERSION")]
    version: u64,
}

pub(super) async fn revert(args: RevertArgs, context: &Context) -> Result<Exit, Failure> {
    let api = Api::connect(&args.which.target, context).await?;
    let versions = args.which.history(&api).await?;
    let newest = versions.first().map_or(0, |version| version.version);
    let id = versions.first().map(|version| version.id.clone()).unwrap_or_default();
    let mut document = shown(&api, &id, args.version).await?;
    document.insert("version".to_owned(), newest.into());
    let saved = put(&api, document).await?;
    let text = || format!("{} is as it was in version {}, saved as version {}", title(&saved), args.version, saved["version"]);
    context.print(text, &saved)?;
    Ok(Exit::Done)
}

/// A version as it is compared.
struct Edition {
    version: u64,
    by: String,
    text: String,
}

impl Edition {
    fn title(&self) -> String {
        match self.version {
            0 => "/dev/null".to_owned(),
            version => format!("version {version} by {}", self.by),
        }
    }
}

/// A version of the history, or an older one by its number.
async fn version(api: &Api, versions: &[DefinitionVersion], wanted: u64) -> Result<Edition, Failure> {
    if let Some(found) = versions.iter().find(|version| version.version == wanted) {
        return Ok(Edition { version: wanted, by: found.by.clone(), text: pretty(&found.document) });
    }
    let id = versions.first().map(|version| version.id.clone()).unwrap_or_default();
    let document = shown(api, &id, wanted).await?;
    Ok(Edition { version: wanted, by: "somebody".to_owned(), text: pretty(&Value::Object(document)) })
}

/// The document of a version as it was saved.
async fn shown(api: &Api, id: &str, version: u64) -> Result<Map<String, Value>, Failure> {
    let mut document: Map<String, Value> = api.get(&["pipelineConfigs", id], &[("version", &version.to_string())]).await?;
    document.retain(|key, _| !ADDED.contains(&key.as_str()));
    Ok(document)
}

async fn put(api: &Api, document: Map<String, Value>) -> Result<Value, Failure> {
    api.send(Method::POST, &["pipelines"], &[], &Value::Object(document)).await
}

/// The document that a start by this name or id takes, if there is one.
pub(super) async fn named(api: &Api, application: &str, name: &str) -> Result<Option<Map<String, Value>>, Failure> {
    let found = definitions(api, Some(application)).await?;
    let is = |key: &str| found.iter().find(|document| document[key] == *name);
    Ok(is("id").or_else(|| is("name")).and_then(Value::as_object).cloned())
}

/// All definitions, of one application or of all.
async fn definitions(api: &Api, application: Option<&str>) -> Result<Vec<Value>, Failure> {
    let path = match application {
        Some(application) => vec!["applications", application, "pipelineConfigs"],
        None => vec!["pipelineConfigs"],
    };
    let mut all: Vec<Value> = Vec::new();
    for _ in 0..PAGES {
        let last = all.last().and_then(|document| document["id"].as_str()).map(str::to_owned);
        let query: Vec<(&str, &str)> = last.iter().map(|id| ("after", id.as_str())).collect();
        let page: Vec<Value> = api.get(&path, &query).await?;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    Ok(all)
}

/// With its keys in order, so that the order in which a program wrote them is no difference.
fn pretty(document: &Value) -> String {
    format!("{:#}\n", sorted(document))
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let keys: BTreeMap<&String, Value> = object.iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(keys.into_iter().map(|(key, value)| (key.clone(), value)).collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn counted(before: &DefinitionVersion, after: &DefinitionVersion) -> String {
    let (before, after) = (pretty(&before.document), pretty(&after.document));
    let diff = TextDiff::from_lines(&before, &after);
    let count = |tag: ChangeTag| diff.iter_all_changes().filter(|change| change.tag() == tag).count();
    format!("+{} -{}", count(ChangeTag::Insert), count(ChangeTag::Delete))
}

fn title(document: &Value) -> String {
    let text = |key: &str| document[key].as_str().unwrap_or_default();
    format!("{}/{} ({})", text("application"), text("name"), text("id"))
}

fn time(at: Timestamp) -> String {
    let text = at.to_string();
    // To the second, for people.
    text.split_once('.').map_or(text.clone(), |(whole, _)| format!("{whole}Z"))
}
