//! `bellrock pipeline judge|cancel|pause|resume|restart|skip`: what a person tells an execution.
//!
//! What must stay true: an order goes to the execution's inbox and is answered when it is there; what comes of it is seen by watching. What cannot
//! have an effect (a judgment of a stage that ended) is refused here, with the reason.

use reqwest::Method;
use serde_json::Value;
use serde_json::json;

use super::api;
use super::api::Api;
use super::api::Target;
use crate::cli::Context;
use crate::cli::Exit;
use crate::cli::Failure;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::Stage;
use crate::orchestrator::engine::stage::judgment;
use crate::orchestrator::engine::status::Status;

/// An execution.
#[derive(Debug, clap::Args)]
pub(super) struct Of {
    /// Id of the execution.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    target: Target,
}

/// A stage of an execution.
#[derive(Debug, clap::Args)]
pub(super) struct OfStage {
    #[command(flatten)]
    of: Of,
    /// The stage: reference id, id, or name.
    #[arg(value_name = "STAGE")]
    stage: String,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "A stage that offers inputs goes on with one of them only.\n\n\
    Examples:\n  \
    bellrock pipeline judge 01K7… go continue --input everybody\n  \
    bellrock pipeline judge 01K7… 'Where to?' stop")]
pub(super) struct JudgeArgs {
    #[command(flatten)]
    stage: OfStage,
    /// Let the pipeline go on, or end it.
    #[arg(value_enum)]
    answer: Answer,
    /// Which of the inputs that the stage offers; wanted where it offers some and goes on.
    #[arg(long, value_name = "INPUT")]
    input: Option<String>,
}

/// What a judge says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Answer {
    Continue,
    Stop,
}

impl Answer {
    /// As it stands in the stage's context.
    fn word(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Stop => "stop",
        }
    }
}

pub(super) async fn judge(args: JudgeArgs, context: &Context) -> Result<Exit, Failure> {
    let api = Api::connect(&args.stage.of.target, context).await?;
    let execution = api.execution(&args.stage.of.id).await?;
    let stage = api::stage(&execution, &args.stage.stage)?;
    check(&execution, stage, args.answer, args.input.as_deref())?;
    let body = judged(args.answer, args.input.as_deref());
    patch(&api, &args.stage.of.id, stage, &body).await?;
    let what = format!("[{}] is told: {}", stage.head().ref_id, args.answer.word());
    said(context, &args.stage.of, "judge", what)
}

/// What a judgment puts into the context of its stage.
pub(super) fn judged(answer: Answer, input: Option<&str>) -> Value {
    let mut body = json!({ "judgmentStatus": answer.word() });
    if let Some(input) = input {
        body["judgmentInput"] = input.into();
    }
    body
}

/// Inputs that a judgment offers. A text is taken for an input too, as in old pipelines.
pub(super) fn inputs(stage: &Stage) -> Vec<String> {
    let inputs = stage.context().get("judgmentInputs").and_then(Value::as_array);
    let text = |input: &Value| input.as_str().or_else(|| input["value"].as_str()).map(str::to_owned);
    inputs.into_iter().flatten().filter_map(text).collect()
}

/// Lets a judgment go on without one of the inputs that it offers: whatever asks for the input downstream finds none, and every branch is skipped.
/// Refused to people only: Gate takes such an answer and Orca succeeds with it, so clients of theirs may send it over the API.
pub(super) fn lacks_input(answer: Answer, input: Option<&str>, inputs: &[String]) -> bool {
    answer == Answer::Continue && input.is_none() && !inputs.is_empty()
}

/// Refuses a judgment that could have no effect, or not the one that is meant.
fn check(execution: &Execution, stage: &Stage, answer: Answer, input: Option<&str>) -> Result<(), Failure> {
    let head = stage.head();
    let refused = |why: String| Failure::refused("pipeline-conflict", format!("[{}] {} {why}", head.ref_id, head.name));
    if head.kind != judgment::NAME {
        return Err(refused(format!("asks nobody: it is a {}", head.kind)));
    }
    if head.status.is_complete() {
        return Err(refused(format!("was answered or has ended: {}", head.status)));
    }
    // An answer would wait in its context until the stage begins, and be taken without anybody having seen what is asked then.
    if head.status == Status::NotStarted {
        let ended = execution.status().is_complete().then(|| format!("; the execution has ended: {}", execution.status()));
        let help = format!("`bellrock pipeline watch {}` says when it asks", execution.id);
        return Err(refused(format!("has not begun, so nothing is asked yet{}", ended.unwrap_or_default())).help(help));
    }
    let inputs = inputs(stage);
    match input {
        Some(input) if !inputs.iter().any(|one| one == input) => {
            let offered = if inputs.is_empty() { "it offers none".to_owned() } else { format!("it offers: {}", inputs.join(", ")) };
            Err(refused(format!("does not offer the input {input:?}")).help(offered))
        }
        _ if lacks_input(answer, input, &inputs) => Err(refused("wants to know with which input it goes on".to_owned())
            .help(format!("say --input INPUT; it offers: {}", inputs.join(", ")))),
        Some(_) | None => Ok(()),
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  bellrock pipeline cancel 01K7… --reason 'wrong version'")]
pub(super) struct CancelArgs {
    #[command(flatten)]
    of: Of,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) async fn cancel(args: CancelArgs, context: &Context) -> Result<Exit, Failure> {
    let api = Api::connect(&args.of.target, context).await?;
    let query: Vec<(&str, &str)> = args.reason.iter().map(|reason| ("reason", reason.as_str())).collect();
    api.send(Method::PUT, &["pipelines", &args.of.id, "cancel"], &query, &json!({})).await?;
    said(context, &args.of, "cancel", format!("{} is called off", args.of.id))
}

#[derive(Debug, clap::Args)]
#[command(after_help = "What is under way ends; nothing new begins until `resume`.\n\nExample:\n  bellrock pipeline pause 01K7…")]
pub(super) struct PauseArgs {
    #[command(flatten)]
    of: Of,
}

pub(super) async fn pause(args: PauseArgs, context: &Context) -> Result<Exit, Failure> {
    put(&args.of, "pause", context).await
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  bellrock pipeline resume 01K7…")]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    of: Of,
}

pub(super) async fn resume(args: ResumeArgs, context: &Context) -> Result<Exit, Failure> {
    put(&args.of, "resume", context).await
}

async fn put(of: &Of, what: &str, context: &Context) -> Result<Exit, Failure> {
    let api = Api::connect(&of.target, context).await?;
    api.send(Method::PUT, &["pipelines", &of.id, what], &[], &json!({})).await?;
    said(context, of, what, format!("{} is told: {what}", of.id))
}

#[derive(Debug, clap::Args)]
#[command(after_help = "The stage and all that is downstream of it run again, also of an execution that has ended.\n\n\
    Example:\n  bellrock pipeline restart 01K7… deploy")]
pub(super) struct RestartArgs {
    #[command(flatten)]
    stage: OfStage,
}

pub(super) async fn restart(args: RestartArgs, context: &Context) -> Result<Exit, Failure> {
    let of = &args.stage.of;
    let api = Api::connect(&of.target, context).await?;
    let execution = api.execution(&of.id).await?;
    let stage = api::stage(&execution, &args.stage.stage)?;
    api.send(Method::PUT, &["pipelines", &of.id, "stages", stage.id.as_str(), "restart"], &[], &json!({})).await?;
    said(context, of, "restart", format!("[{}] {} begins again", stage.head().ref_id, stage.head().name))
}

#[derive(Debug, clap::Args)]
#[command(after_help = "A stage that is skipped counts as succeeded. What it began outside is not undone.\n\n\
    Example:\n  bellrock pipeline skip 01K7… 'Smoke test'")]
pub(super) struct SkipArgs {
    #[command(flatten)]
    stage: OfStage,
}

pub(super) async fn skip(args: SkipArgs, context: &Context) -> Result<Exit, Failure> {
    let of = &args.stage.of;
    let api = Api::connect(&of.target, context).await?;
    let execution = api.execution(&of.id).await?;
    let stage = api::stage(&execution, &args.stage.stage)?;
    if stage.status().is_complete() {
        let what = format!("[{}] {} has ended: {}", stage.head().ref_id, stage.head().name, stage.status());
        return Err(Failure::refused("pipeline-conflict", what));
    }
    patch(&api, &of.id, stage, &json!({ "manualSkip": true })).await?;
    said(context, of, "skip", format!("[{}] {} is told to be skipped", stage.head().ref_id, stage.head().name))
}

async fn patch(api: &Api, id: &str, stage: &Stage, body: &Value) -> Result<(), Failure> {
    api.send(Method::PATCH, &["pipelines", id, "stages", stage.id.as_str()], &[], body).await.map(drop)
}

fn said(context: &Context, of: &Of, order: &str, what: String) -> Result<Exit, Failure> {
    let watch = format!("bellrock pipeline watch {}{}", of.id, of.target.options());
    context.print(|| format!("{what}; see what comes of it: {watch}"), &json!({ "id": of.id, "order": order, "watch": watch }))?;
    Ok(Exit::Done)
}
