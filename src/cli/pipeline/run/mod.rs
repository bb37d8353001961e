//! `bellrock pipeline run`: one execution on an engine in this process, with a store of its own that is gone afterwards, or one that is kept.
//!
//! What must stay true: the first Ctrl-C calls the execution off and waits for its end, so that no command is left running; the second leaves at once
//! and says what is left. With `--store`, SIGTERM or a crash lose nothing: `--resume` goes on where it was. A judgment that nobody can be asked for
//! calls the execution off instead of waiting for days.

mod ask;
mod engine;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use super::document;
use super::parameters;
use super::progress::Narrator;
use super::progress::asks;
use crate::cli::Context;
use crate::cli::Exit;
use crate::cli::Failure;
use crate::config::Format;
use crate::config::Level;
use crate::config::Log;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::status::Status;
use crate::orchestrator::runner::effects::http;
use crate::orchestrator::store::Listing;
use crate::orchestrator::store::Query;
use crate::orchestrator::store::record;
use ask::Ask;
use engine::Engine;

/// Between looks at the execution: at first after a change, and at most.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LAST_LOOK: Duration = Duration::from_millis(200);
/// Executions of this run that are called off together.
const OTHERS: usize = 1000;

#[derive(Debug, clap::Args)]
#[command(after_help = super::with_statuses!("Ctrl-C calls the execution off and waits for its end; once more leaves at once. With --store, SIGTERM stops without \
    calling it off, and --resume goes on. On a terminal judgments are asked; elsewhere --yes-judgment answers them.\n\n\
    Examples:\n  \
    bellrock pipeline run examples/smoke-test.json --param depth=full\n  \
    bellrock pipeline run examples/deploy.json --with examples/smoke-test.json\n  \
    bellrock pipeline run examples/release.json --yes-judgment go=everybody --output json\n  \
    bellrock pipeline run --store runs.db --resume 01K7…"))]
pub(super) struct Args {
    /// A pipeline as JSON; `-` is stdin.
    #[arg(value_name = "FILE", required_unless_present = "resume")]
    file: Option<PathBuf>,
    /// A parameter; may be repeated.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = super::pair)]
    params: Vec<(String, String)>,
    /// Let this judgment go on, with that input, which one that offers some wants: STAGE is its reference id or name, `*` any; may be repeated.
    #[arg(long, value_name = "STAGE[=INPUT]", value_parser = ask::preset)]
    yes_judgment: Vec<ask::Preset>,
    /// Another pipeline, which this one starts; may be repeated.
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    /// Keep executions in this file, and run whatever is due in it.
    #[arg(long, value_name = "PATH")]
    store: Option<PathBuf>,
    /// Go on with this execution of the store.
    #[arg(long, value_name = "ID", requires = "store", conflicts_with_all = ["file", "params"])]
    resume: Option<String>,
    /// A host that webhooks may call although it is this machine; may be repeated.
    #[arg(long, value_name = "HOST")]
    allow_local: Vec<String>,
    /// A host whose pages expressions may ask for (#fromUrl and its kin), such as "*.example.com"; may be repeated. None without.
    #[arg(long, value_name = "HOST")]
    allow_page: Vec<String>,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    context.start_log(Log { level: Level::Warn, format: Format::Text });
    let definition = args.file.as_deref().map(document::sound).transpose()?;
    let with = args.with.iter().map(|file| document::sound(file)).collect::<Result<Vec<_>, _>>()?;
    definition.iter().try_for_each(|definition| parameters::check(definition, &args.params))?;
    let parameters = parameters::given(&args.params);
    let runtime = crate::cli::runtime()?;
    let ended = runtime.block_on(async {
        let (engine, running) = Engine::open(
            args.store.as_deref(),
            http::Reach { hosts: Vec::new(), local: args.allow_local, pages: args.allow_page },
            &context.env,
        )
        .await?;
        let id = match (definition, args.resume) {
            (Some(definition), _) => engine.start(&definition, &with, parameters).await?,
            (None, Some(id)) => engine.found(ExecutionId(id)).await?,
            (None, None) => return Err(Failure::refused("pipeline-wrong", "there is nothing to run")),
        };
        let runtime = |e: std::io::Error| Failure::new("runtime", "signals cannot be taken over").because(&e);
        let mut run = Run {
            id,
            kept: args.store.as_deref().map(|store| store.display().to_string()),
            narrator: Narrator::here(context),
            ask: Ask::new(args.yes_judgment, context),
            interrupt: signal(SignalKind::interrupt()).map_err(runtime)?,
            terminate: signal(SignalKind::terminate()).map_err(runtime)?,
            cancelled: false,
            waits: false,
            engine: &engine,
        };
        running.until(run.follow()).await
    });
    // A question that nobody answered must not hold the process.
    runtime.shutdown_background();
    ended
}

/// How following ended.
pub(super) enum End {
    /// The execution did: the engine stops in order.
    Over(Exit),
    /// It goes on another time: the engine hands it back.
    Left(Exit),
    /// At once, whatever is under way.
    Dropped(Exit),
}

struct Run<'a> {
    engine: &'a Engine,
    id: ExecutionId,
    /// The store that is kept, for people.
    kept: Option<String>,
    narrator: Narrator<'a>,
    ask: Ask,
    interrupt: Signal,
    terminate: Signal,
    /// It was called off here.
    cancelled: bool,
    /// It ended, and others of this run have not.
    waits: bool,
}

impl Run<'_> {
    async fn follow(&mut self) -> Result<End, Failure> {
        let mut pause = FIRST_LOOK;
        loop {
            let execution = self.look().await?;
            let news = self.narrator.tell(&execution)?;
            if execution.status().is_complete() {
                let others = self.others().await?;
                if others.is_empty() {
                    return Ok(End::Over(Exit::Ended(execution.status())));
                }
                if !std::mem::replace(&mut self.waits, true) {
                    super::say(&format!("it started {} more, which go on; they are waited for", others.len()));
                }
            }
            self.judgments(&execution).await?;
            pause = if news { FIRST_LOOK } else { (pause * 2).min(LAST_LOOK) };
            // Safe to cancel: a line of the terminal stays in its queue, and signals are remembered.
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                line = self.ask.line() => {
                    let answer = self.ask.take(&line);
                    self.judge(answer).await?;
                }
                _ = self.interrupt.recv() => {
                    if self.cancelled {
                        return Ok(self.dropped());
                    }
                    self.cancel("interrupted").await?;
                    super::say("Calling it off; Ctrl-C once more leaves at once.");
                }
                _ = self.terminate.recv() => {
                    let Some(store) = &self.kept else {
                        if self.cancelled {
                            return Ok(self.dropped());
                        }
                        self.cancel("terminated").await?;
                        continue;
                    };
                    super::say(&format!("Stopping; go on with: bellrock pipeline run --store {store} --resume {}", self.id));
                    return Ok(End::Left(Exit::Paused));
                }
            }
        }
    }

    async fn look(&self) -> Result<Execution, Failure> {
        let found = self.engine.store.load(&self.id).await.map_err(|e| engine::store_failed(&e))?;
        let found = found.ok_or_else(|| Failure::refused("pipeline-not-found", format!("there is no execution {}", self.id)))?;
        record::decode(&self.id, None, &found).map_err(|e| engine::store_failed(&e))
    }

    /// What this run started beside its execution and has not ended. A store that is kept goes on with them another time.
    async fn others(&self) -> Result<Vec<Listing>, Failure> {
        if self.kept.is_some() {
            return Ok(Vec::new());
        }
        let statuses = Status::ALL.into_iter().filter(|status| !status.is_complete()).collect();
        let query = Query { statuses, limit: OTHERS, ..Query::default() };
        let mut found = self.engine.store.list(&query).await.map_err(|e| engine::store_failed(&e))?;
        found.retain(|listing| listing.id != self.id);
        Ok(found)
    }

    async fn judgments(&mut self, execution: &Execution) -> Result<(), Failure> {
        for stage in execution.stages().iter().filter(|stage| asks(stage)) {
            let answer = self.ask.about(stage);
            self.judge(answer).await?;
        }
        self.ask.only(execution);
        Ok(())
    }

    async fn judge(&mut self, answer: ask::Said) -> Result<(), Failure> {
        match answer {
            ask::Said::Nothing => Ok(()),
            ask::Said::Judged { stage, context } => {
                let by = self.engine.user.clone();
                // Whoever runs the engine may do anything in it.
                let message = Message::Patch { stage, by, roles: Vec::new(), admin: true, allowed_accounts: Vec::new(), context };
                self.engine.post(&self.id, &message).await
            }
            ask::Said::Nobody(why) => {
                super::say(&why);
                self.cancel("a judgment, and nobody to ask").await
            }
        }
    }

    /// Calls the execution off, and in a store of its own all that it started.
    async fn cancel(&mut self, why: &str) -> Result<(), Failure> {
        self.cancelled = true;
        let message = Message::Cancel { by: self.engine.user.clone(), reason: Some(why.to_owned()) };
        for other in self.others().await? {
            self.engine.post(&other.id, &message).await?;
        }
        self.engine.post(&self.id, &message).await
    }

    fn dropped(&self) -> End {
        match &self.kept {
            Some(store) => {
                super::say(&format!(
                    "Left at once; its commands may still run. Go on with: bellrock pipeline run --store {store} --resume {}",
                    self.id
                ));
                End::Dropped(Exit::Paused)
            }
            None => {
                super::say("Left at once; its commands may still run.");
                End::Dropped(Exit::Failed)
            }
        }
    }
}

/// The trigger of a run.
fn trigger(parameters: Map<String, Value>, user: &str) -> Map<String, Value> {
    let mut trigger = Map::new();
    trigger.insert("type".to_owned(), json!("manual"));
    trigger.insert("user".to_owned(), json!(user));
    trigger.insert("parameters".to_owned(), Value::Object(parameters));
    trigger
}
