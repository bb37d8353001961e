//! `bellrock orca`: executions of an Orca that nobody works on, found, put back on its queue, or called off for good.
//!
//! What must stay true: nothing is changed before it was seen that nobody works on the execution (or a person said `--force`), before a person agreed,
//! and but through Orca's own admin calls; what came of it is read back.

mod zombies;

use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::Exit;
use super::Failure;
use super::rollback::ask;
use super::rollback::here;
use crate::host::clock::SystemClock;
use crate::orchestrator::orca;
use crate::orchestrator::orca::Findings;
use crate::orchestrator::orca::Hydration;
use crate::orchestrator::orca::Orca;
use crate::orchestrator::orca::execution::Document;
use crate::orchestrator::orca::execution::Kind;
pub(super) use zombies::Report;
use zombies::whom;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A zombie is an execution that Orca has as RUNNING and for which its queue holds no message: it never goes on, and never ends.\n\
    Which Orca: orchestrator.url; where its queue is: [orchestrator.orca] of the configuration. Redis is only read.\n\n\
    Examples:\n  \
    bellrock orca zombies\n  \
    bellrock orca rehydrate 01CS076X85RX6MWBTQ0VGBF8VX --dry-run\n  \
    bellrock orca rehydrate 01CS076X85RX6MWBTQ0VGBF8VX\n  \
    bellrock orca force-cancel 01CS076X85RX6MWBTQ0VGBF8VX --yes"
)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List executions that nobody works on, with what says so. Ends with 1 when there are some, or it cannot be told; changes nothing.
    #[command(after_help = "Example:\n  bellrock orca zombies --output json")]
    Zombies,
    /// Have an execution go on where it stands: Orca puts its messages back on the queue.
    #[command(
        after_help = "Orca looks at what is stored of the execution and queues the message that each of its branches waits for. A task that was \
        under way runs again; where one must not, Orca does nothing at all, and force-cancel is what is left.\n\n\
        Examples:\n  \
        bellrock orca rehydrate 01CS076X85RX6MWBTQ0VGBF8VX --dry-run\n  \
        bellrock orca rehydrate 01CS076X85RX6MWBTQ0VGBF8VX --yes --output json"
    )]
    Rehydrate(Mend),
    /// End an execution for good: Orca's store says CANCELED.
    #[command(
        after_help = "Orca marks the execution, its stages that are under way, and all tasks of those as CANCELED. Nothing is called off or cleaned \
        up outside: what its stages began in the cloud is left as it is. It can be run again as a new execution, or its stages restarted.\n\n\
        Examples:\n  \
        bellrock orca force-cancel 01CS076X85RX6MWBTQ0VGBF8VX --dry-run\n  \
        bellrock orca force-cancel 01CS076X85RX6MWBTQ0VGBF8VX"
    )]
    ForceCancel(Mend),
}

#[derive(Debug, clap::Args)]
struct Mend {
    /// The execution's id.
    #[arg(value_parser = id)]
    execution: String,
    /// Say what would be done, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Although it was not seen that nobody works on it: somebody may, and do the same work twice.
    #[arg(long)]
    force: bool,
}

fn id(text: &str) -> Result<String, String> {
    if orca::is_execution_id(text) { Ok(text.to_owned()) } else { Err("wanted an id such as 01CS076X85RX6MWBTQ0VGBF8VX".to_owned()) }
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    super::runtime()?.block_on(async {
        let orca = connect(context)?;
        match args.what {
            What::Zombies => {
                let found = orca.zombies(None).await.map_err(failure)?;
                let report = Report { found: Ok(found), options: options(context) };
                context.print(|| report.text(), &report.json())?;
                Ok(if report.is_clean() { Exit::Done } else { Exit::Failed })
            }
            What::Rehydrate(mend) => rehydrate(&orca, &mend, context).await,
            What::ForceCancel(mend) => force_cancel(&orca, &mend, context).await,
        }
    })
}

/// For `bellrock doctor`: what is the matter with this host's Orca, where its configuration says how that is seen.
pub(super) async fn examine(config: &crate::config::Config, context: &Context) -> Option<Report> {
    let settings = config.orca.as_ref().filter(|settings| settings.store.is_some())?;
    let found = match Orca::new(settings, Arc::new(SystemClock::start())) {
        Ok(orca) => orca.zombies(None).await.map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    Some(Report { found, options: options(context) })
}

fn connect(context: &Context) -> Result<Orca, Failure> {
    let config = context.load_config()?;
    let settings = config.orca.as_ref().ok_or_else(|| {
        Failure::refused("orca-not-configured", "the configuration names no Orca: the agent runs pipelines itself")
            .help("set orchestrator.kind and orchestrator.url, in the file or as BELLROCK_ORCHESTRATOR_KIND and BELLROCK_ORCHESTRATOR_URL")
    })?;
    Orca::new(settings, Arc::new(SystemClock::start()))
        .map_err(|e| Failure::refused("orca-not-configured", "the configuration's Orca cannot be asked").because(&e))
}

/// The options of this command that the next one needs too.
fn options(context: &Context) -> String {
    context.config.as_ref().map(|path| format!("--config {} ", path.display())).unwrap_or_default()
}

async fn rehydrate(orca: &Orca, mend: &Mend, context: &Context) -> Result<Exit, Failure> {
    let (document, kind) = running(orca, mend).await?;
    let evidence = seen(orca, mend).await?;
    let plan = orca
        .rehydrate(&mend.execution, true)
        .await
        .map_err(failure)?
        .ok_or_else(|| not_running(mend, "Orca has it as no longer RUNNING"))?;
    let of = whom(&document.execution(&mend.execution, kind));
    if !plan.can_apply {
        let mut failure = Failure::refused("orca-cannot-rehydrate", format!("Orca cannot put {of} back on its queue; nothing was changed"))
            .help(format!("`bellrock orca force-cancel {}{}` ends it for good", options(context), mend.execution));
        failure.causes = actions(&plan);
        return Err(failure);
    }
    let view = |done: bool| json!({ "execution": mend.execution, "kind": kind, "done": done, "evidence": evidence, "hydration": plan });
    let would = format!("{}{of}: Orca puts back on its queue\n  {}\n", told(&evidence), actions(&plan).join("\n  "));
    if mend.dry_run {
        context.print(|| format!("{would}Nothing was changed.\n"), &view(false))?;
        return Ok(Exit::Done);
    }
    agree(mend, &would).await?;
    let done = orca.rehydrate(&mend.execution, false).await.map_err(failure)?;
    if !done.as_ref().is_some_and(|done| done.can_apply) {
        return Err(Failure::new("orca-not-mended", format!("Orca did not put {of} back on its queue: it went on or ended meanwhile"))
            .help("`bellrock orca zombies` shows what is left"));
    }
    context.print(
        || format!("{of} is back on Orca's queue. In a minute it has gone on: look at it in Deck, or with `bellrock orca zombies`.\n"),
        &view(true),
    )?;
    Ok(Exit::Done)
}

async fn force_cancel(orca: &Orca, mend: &Mend, context: &Context) -> Result<Exit, Failure> {
    let (document, kind) = running(orca, mend).await?;
    let evidence = seen(orca, mend).await?;
    let execution = document.execution(&mend.execution, kind);
    let (of, stands) = (whom(&execution), execution.stands);
    let view = |done: bool| json!({ "execution": mend.execution, "kind": kind, "done": done, "evidence": evidence, "stands": stands });
    let stages = if stands.is_empty() { String::new() } else { format!("\n  {}", stands.join("\n  ")) };
    let would = format!(
        "{}{of}: Orca's store is made to say CANCELED, of it and of what is under way{stages}\nNothing is cleaned up outside.\n",
        told(&evidence)
    );
    if mend.dry_run {
        context.print(|| format!("{would}Nothing was changed.\n"), &view(false))?;
        return Ok(Exit::Done);
    }
    agree(mend, &would).await?;
    orca.force_cancel(&mend.execution, kind, &here::owner(context)).await.map_err(failure)?;
    let after = orca.execution(&mend.execution).await.map_err(failure)?.map(|(document, _)| document.status);
    if after.as_deref() != Some("CANCELED") {
        let after = after.unwrap_or_else(|| "not there any more".to_owned());
        return Err(Failure::new("orca-not-mended", format!("Orca accepted it, but {of} is {after}"))
            .help("look at it in Deck; `bellrock orca zombies` shows what is left"));
    }
    context.print(|| format!("{of} is CANCELED.\n"), &view(true))?;
    Ok(Exit::Done)
}

/// The execution, if Orca has it as RUNNING.
async fn running(orca: &Orca, mend: &Mend) -> Result<(Document, Kind), Failure> {
    match orca.execution(&mend.execution).await.map_err(failure)? {
        Some((document, kind)) if document.is_running() => Ok((document, kind)),
        Some((document, _)) => Err(not_running(mend, &format!("Orca has it as {}", document.status))),
        None => Err(not_running(mend, "Orca has no execution of this id")),
    }
}

fn not_running(mend: &Mend, why: &str) -> Failure {
    Failure::refused("orca-not-running", format!("{} is not RUNNING: {why}; nothing was changed", mend.execution))
}

/// What says that nobody works on it. Without that, only whoever says `--force` goes on, with no evidence.
async fn seen(orca: &Orca, mend: &Mend) -> Result<Vec<String>, Failure> {
    if mend.force {
        return Ok(Vec::new());
    }
    let Findings { mut zombies, mut unsure, .. } = orca.zombies(Some(&mend.execution)).await.map_err(failure)?;
    if let Some(zombie) = zombies.pop() {
        return Ok(zombie.evidence);
    }
    let why = unsure.pop().map_or_else(
        || "its queue holds a message for it, something was recorded of it lately, or it went on between two looks".to_owned(),
        |unsure| unsure.why,
    );
    let what = format!("it was not seen that nobody works on {}; nothing was changed", mend.execution);
    let mut failure = Failure::refused("orca-not-a-zombie", what).help("wait and look again; --force is for those who know better");
    failure.causes.push(why);
    Err(failure)
}

fn told(evidence: &[String]) -> String {
    match evidence {
        [] => "It was not looked whether somebody works on it (--force).\n".to_owned(),
        _ => format!("Nobody works on it:\n  {}\n", evidence.join("\n  ")),
    }
}

async fn agree(mend: &Mend, would: &str) -> Result<(), Failure> {
    if mend.yes {
        return Ok(());
    }
    // Where there is nobody to read it the question is refused.
    let _ = std::io::Write::write_all(&mut anstream::stderr(), would.as_bytes());
    ask::confirm(&CancellationToken::new(), |what| Failure::refused("orca-not-confirmed", what)).await
}

fn actions(hydration: &Hydration) -> Vec<String> {
    let line = |action: &orca::HydrationAction| {
        let message = action.message.as_ref().map_or("no message", |message| message.kind.as_str());
        let of = [&action.context.stage_type, &action.context.task_type].into_iter().flatten().cloned().collect::<Vec<_>>().join(", ");
        format!("{message}{}: {}", if of.is_empty() { of } else { format!(" ({of})") }, action.description)
    };
    if hydration.actions.is_empty() {
        vec!["Orca finds nothing in it that could go on".to_owned()]
    } else {
        hydration.actions.iter().map(line).collect()
    }
}

fn failure(error: orca::Error) -> Failure {
    match &error {
        orca::Error::NoStore => Failure::refused(
            "orca-not-configured",
            "whether anybody works on an execution cannot be told: the configuration does not say where Orca's queue is",
        )
        .help("set orchestrator.orca.queue_redis, in the file or as BELLROCK_ORCHESTRATOR_ORCA_QUEUE_REDIS"),
        orca::Error::Store(_) => {
            Failure::new("orca-unseen", "it cannot be told whether anybody works on an execution; nothing was changed").because(&error)
        }
        orca::Error::Refused(_) => Failure::refused("orca-refused", "Orca refuses; nothing was changed")
            .because(&error)
            .help("ask Orca itself, not Gate: orchestrator.url; and with what it wants to know you by: orchestrator.auth"),
        orca::Error::NotSent(_) => {
            Failure::new("orca-silent", "Orca cannot be reached; nothing was changed").because(&error).help("name it with orchestrator.url")
        }
        orca::Error::NoAnswer(_) => {
            Failure::new("orca-silent", "Orca gave no answer that makes sense; what it was asked may have been carried out")
                .because(&error)
                .help("look with `bellrock orca zombies` before it is asked again")
        }
    }
}
