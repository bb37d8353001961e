//! `bellrock pipeline start` and `bellrock pipeline watch`: begin an execution, follow it to its end.
//!
//! What must stay true: whoever stops watching stops nothing; a stream that breaks (an agent restarts, a network hiccups) is taken up again, and
//! what was told is not told twice. Events only say that there is something to look at: what is told is read from the execution.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use serde_json::json;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use super::api;
use super::api::Api;
use super::api::Target;
use super::definitions;
use super::parameters;
use super::progress::Narrator;
use crate::cli::Context;
use crate::cli::Exit;
use crate::cli::Failure;
use crate::http::api::views::Reference;
use crate::orchestrator::engine::definition::Definition;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::status::Status;
use crate::orchestrator::store::Listing;

/// Before the next try, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// Tries in a row without an answer: about five minutes, in which an instance is replaced.
const TRIES: u32 = 60;

/// Executions that are named to one that waits for them.
const AHEAD: &str = "10";

#[derive(Debug, clap::Args)]
#[command(after_help = super::with_statuses!("Ctrl-C ends the watching; the execution goes on.\n\n\
    Examples:\n  \
    bellrock pipeline start shop release --param version=1.2.0\n  \
    bellrock pipeline start shop release --param version=1.2.0 --plan\n  \
    bellrock pipeline start shop release --wait --output json | jq -c 'select(.status == \"TERMINAL\")'"))]
pub(super) struct StartArgs {
    /// Application of the pipeline.
    #[arg(value_name = "APP")]
    application: String,
    /// Its name or id.
    #[arg(value_name = "NAME")]
    name: String,
    /// A parameter; may be repeated.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = super::pair)]
    params: Vec<(String, String)>,
    /// As long as an execution of this id has not ended, a second start gives that one.
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// Show what would begin, with its parameters checked, and start nothing.
    #[arg(long, conflicts_with = "wait")]
    plan: bool,
    /// Watch it to its end.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn start(args: StartArgs, context: &Context) -> Result<Exit, Failure> {
    let api = Api::connect(&args.target, context).await?;
    if !args.params.is_empty()
        // What is not there is refused by the start itself.
        && let Some(document) = definitions::named(&api, &args.application, &args.name).await?
    {
        parameters::check(&Definition::from_document(document), &args.params)?;
    }
    let mut trigger = json!({ "type": "manual", "parameters": parameters::given(&args.params) });
    if let Some(id) = args.correlation_id {
        trigger["correlationId"] = id.into();
    }
    if args.plan {
        trigger["plan"] = true.into();
    }
    let answer = api.send(Method::POST, &["pipelines", &args.application, &args.name], &[], &trigger).await?;
    if args.plan {
        context.print(|| planned(&answer), &answer)?;
        return Ok(Exit::Done);
    }
    let reference = serde_json::from_value::<Reference>(answer).map(|answer| answer.reference).unwrap_or_default();
    let id = reference.rsplit('/').next().unwrap_or_default().to_owned();
    if args.wait {
        return follow(&api, &id, &args.target, context).await;
    }
    let watch = format!("bellrock pipeline watch {id}{}", args.target.options());
    context.print(|| format!("{id} is started; see what comes of it: {watch}"), &json!({ "id": id, "ref": reference, "watch": watch }))?;
    Ok(Exit::Done)
}

/// What would begin: parameters, then stages as the document lists them.
fn planned(plan: &Value) -> String {
    let parameters = plan["trigger"]["parameters"].as_object().into_iter().flatten();
    let parameters =
        parameters.map(|(name, value)| format!("  {name} = {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    let stage = |stage: &Value| {
        let text = |key: &str| stage[key].as_str().unwrap_or_default().to_owned();
        let after: Vec<&str> = stage["requisiteStageRefIds"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let after = if after.is_empty() { String::new() } else { format!(", after {}", after.join(", ")) };
        format!("  [{}] {} ({}){after}", text("refId"), text("name"), text("type"))
    };
    let stages = plan["stages"].as_array().into_iter().flatten().map(stage);
    let head = std::iter::once("nothing is started; this would begin:".to_owned());
    head.chain(parameters).chain(stages).collect::<Vec<_>>().join("\n")
}

#[derive(Debug, clap::Args)]
#[command(after_help = super::with_statuses!("Ctrl-C ends the watching; the execution goes on.\n\n\
    Examples:\n  \
    bellrock pipeline watch 01K7…\n  \
    bellrock pipeline watch 01K7… --output json | jq -r '[.status, .name] | @tsv'"))]
pub(super) struct WatchArgs {
    /// Id of the execution.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn watch(args: WatchArgs, context: &Context) -> Result<Exit, Failure> {
    let api = Api::connect(&args.target, context).await?;
    follow(&api, &args.id, &args.target, context).await
}

async fn follow(api: &Api, id: &str, target: &Target, context: &Context) -> Result<Exit, Failure> {
    let runtime = |e: std::io::Error| Failure::new("runtime", "signals cannot be taken over").because(&e);
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).map_err(runtime)?, signal(SignalKind::terminate()).map_err(runtime)?);
    // Dropping the watch loses nothing: it only reads.
    tokio::select! {
        ended = to_the_end(api, id, target, context) => ended.map(Exit::Ended),
        _ = interrupt.recv() => left(id, target),
        _ = terminate.recv() => left(id, target),
    }
}

fn left(id: &str, target: &Target) -> Result<Exit, Failure> {
    let options = target.options();
    super::say(&format!(
        "\n{id} goes on. Come back with: bellrock pipeline watch {id}{options}\n\
         Call it off with: bellrock pipeline cancel {id}{options}"
    ));
    Ok(Exit::Paused)
}

async fn to_the_end(api: &Api, id: &str, target: &Target, context: &Context) -> Result<Status, Failure> {
    let mut narrator = Narrator::new(context, target.options());
    let (mut failed, mut pause) = (0, FIRST_PAUSE);
    loop {
        let failure = match stretch(api, id, &mut narrator, &mut failed).await {
            Ok(Some(status)) => return Ok(status),
            // The stream is over, as streams are after a while.
            Ok(None) => continue,
            Err(failure) => failure,
        };
        failed += 1;
        // A refusal says itself what to do.
        if !api::may_pass(&failure) {
            return Err(failure);
        }
        if failed >= TRIES {
            return Err(failure.help(format!("the execution goes on; come back with: bellrock pipeline watch {id}{}", target.options())));
        }
        if failed == 1 {
            super::say(&format!("{}; trying again", failure.what));
            pause = FIRST_PAUSE;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Follows for the life of one stream; the status, when the execution has ended.
async fn stretch(api: &Api, id: &str, narrator: &mut Narrator<'_>, failed: &mut u32) -> Result<Option<Status>, Failure> {
    // Opened before the execution is read, so that no change falls between.
    let mut events = api.events(id).await?;
    loop {
        let execution = api.execution(id).await?;
        *failed = 0;
        if !narrator.knows(id, execution.status().word()) {
            narrator.waits_for(ahead(api, &execution).await?);
        }
        narrator.tell(&execution)?;
        if execution.status().is_complete() {
            return Ok(Some(execution.status()));
        }
        loop {
            match events.next().await {
                Some(news) if narrator.knows(&news.id, &news.status) => {}
                Some(_) => break,
                None => return Ok(None),
            }
        }
    }
}

/// Executions of the same pipeline that run while this one may not begin beside them.
async fn ahead(api: &Api, execution: &Execution) -> Result<Vec<String>, Failure> {
    let (summary, waits) = (execution.summary(), matches!(execution.status(), Status::NotStarted | Status::Buffered));
    let Some(config) = summary.pipeline_config_id.as_deref().filter(|_| waits && summary.limit().is_some()) else { return Ok(Vec::new()) };
    let query = [("pipelineConfigIds", config), ("statuses", Status::Running.word()), ("limit", AHEAD), ("expand", "false")];
    let running: Vec<Listing> = api.get(&["executions"], &query).await?;
    Ok(running.into_iter().map(|listing| listing.id.to_string()).filter(|id| *id != execution.id.as_str()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_parameters_and_stages_and_says_that_nothing_began() {
        let stages = json!([{ "refId": "1", "name": "Build", "type": "runJob" },
            { "refId": "2", "name": "Go?", "type": "manualJudgment", "requisiteStageRefIds": ["1"] }]);
        let plan = json!({ "trigger": { "parameters": { "version": "1", "count": 2 } }, "stages": stages });
        let expected =
            "nothing is started; this would begin:\n  count = 2\n  version = 1\n  [1] Build (runJob)\n  [2] Go? (manualJudgment), after 1";
        assert_eq!(planned(&plan), expected);
    }
}
