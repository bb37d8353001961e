//! The engine of one run: a store, a runner, and what carries effects out.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Map;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::End;
use super::trigger;
use crate::cli::Exit;
use crate::cli::Failure;
use crate::host::clock::SystemClock;
use crate::model::Clock;
use crate::model::Timestamp;
use crate::orchestrator::engine::definition::Definition;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::Authentication;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::stage::Registry;
use crate::orchestrator::runner::Handle;
use crate::orchestrator::runner::Memory;
use crate::orchestrator::runner::Parts;
use crate::orchestrator::runner::Runner;
use crate::orchestrator::runner::Settings;
use crate::orchestrator::runner::Wish;
use crate::orchestrator::runner::definitions;
use crate::orchestrator::runner::effects::Performer;
use crate::orchestrator::runner::effects::Performers;
use crate::orchestrator::runner::effects::executions;
use crate::orchestrator::runner::effects::http;
use crate::orchestrator::runner::effects::job;
use crate::orchestrator::runner::effects::pages;
use crate::orchestrator::runner::start;
use crate::orchestrator::store::DefinitionVersion;
use crate::orchestrator::store::SaveError;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::StoreError;
use crate::orchestrator::store::embedded::EmbeddedStore;
use crate::supervise::Ended;

/// What commands of jobs inherit of the environment, as on an instance.
const INHERITED: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// The store of a run and its engine's clock.
pub(super) struct Engine {
    pub(super) store: Arc<dyn Store>,
    /// Who runs it.
    pub(super) user: String,
    clock: Arc<dyn Clock>,
}

/// The runner, to be kept going.
pub(super) struct Running {
    runner: Pin<Box<dyn Future<Output = Ended> + Send>>,
    stop: CancellationToken,
    /// Without anybody who could want something else of it, a runner ends.
    _handle: Handle,
    /// Removed when the run is over.
    _scratch: Option<Scratch>,
}

impl Engine {
    /// An engine on this store, or on one that is gone with it.
    pub(super) async fn open(store: Option<&Path>, reach: http::Reach, env: &BTreeMap<String, String>) -> Result<(Self, Running), Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let scratch = if store.is_some() { None } else { Some(Scratch::make(env, clock.now().wall).map_err(|e| no_place(&e))?) };
        let path = store.map_or_else(|| scratch.as_ref().map(|scratch| scratch.0.join("store.db")).unwrap_or_default(), Path::to_path_buf);
        let mut beside = path.clone().into_os_string();
        beside.push(".run");
        let beside = PathBuf::from(beside);
        let opened = EmbeddedStore::open(&path, Arc::clone(&clock)).await;
        let opened: Arc<dyn Store> = Arc::new(opened.map_err(|e| store_failed(&e))?);
        let memory = Memory::open(&beside).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => Failure::refused("pipeline-store", format!("another run uses {}", path.display()))
                .because(&e)
                .help("let it end, or name another store"),
            _ => no_place(&e),
        })?;
        let program = std::env::current_exe().map_err(|e| Failure::new("runtime", "this program cannot find itself").because(&e))?;
        let inherited = INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), env.get(*name)?.clone()))).collect();
        let web: Arc<dyn Performer> =
            Arc::new(http::Http::new(reach).map_err(|e| Failure::new("runtime", "no HTTP client can be made").because(&e))?);
        let performers = Performers::default()
            .with(&http::WORDS, Arc::clone(&web))
            .with(&pages::WORDS, Arc::new(pages::Pages::new(web, Arc::clone(&opened))))
            .with(&job::WORDS, Arc::new(job::Jobs::new(beside.join("jobs"), program, inherited)))
            .with(&executions::WORDS, Arc::new(executions::Executions::new(Arc::clone(&opened))));
        let parts = Parts {
            store: Arc::clone(&opened),
            registry: Arc::new(Registry::standard()),
            performer: Arc::new(performers),
            clock: Arc::clone(&clock),
            memory,
            channels: Vec::new(),
        };
        // The instance has the same name every time, so that a run that is resumed finds its jobs.
        let settings = Settings { schedules: false, history: None, ..Settings::new("run") };
        let (runner, handle) = Runner::new(parts, settings, Wish { intake: true, run: true });
        let stop = CancellationToken::new();
        let running = Running { runner: Box::pin(runner.run(stop.clone())), stop, _handle: handle, _scratch: scratch };
        let user = ["USER", "LOGNAME"].iter().find_map(|key| env.get(*key)).map_or("somebody", String::as_str).to_owned();
        Ok((Self { store: opened, user, clock }, running))
    }

    /// Saves the others and starts this one.
    pub(super) async fn start(
        &self,
        definition: &Definition,
        others: &[Definition],
        parameters: Map<String, Value>,
    ) -> Result<ExecutionId, Failure> {
        for other in others {
            self.save(other).await?;
        }
        let now = self.clock.now().wall;
        let order = start::Order {
            id: start::new_id(now),
            trigger: trigger(parameters, &self.user),
            authentication: Authentication { user: self.user.clone(), ..Authentication::default() },
            origin: Some("cli".to_owned()),
            ..start::Order::default()
        };
        match start::start(&*self.store, definition, order, now).await {
            Ok(started) => Ok(started.id),
            Err(start::Error::Store(e)) => Err(store_failed(&e)),
            Err(start::Error::Disabled(name)) => Err(Failure::refused("pipeline-conflict", format!("the pipeline {name} is disabled"))
                .help("take `disabled` out of the document")),
            Err(start::Error::Wrong(problems)) => {
                let mut failure = Failure::refused("pipeline-wrong", "the pipeline cannot be started so");
                failure.causes = problems.iter().map(ToString::to_string).collect();
                Err(failure.help("give parameters with --param NAME=VALUE"))
            }
        }
    }

    /// This execution, if it is there.
    pub(super) async fn found(&self, id: ExecutionId) -> Result<ExecutionId, Failure> {
        match self.store.load(&id).await {
            Ok(Some(_)) => Ok(id),
            Ok(None) => Err(Failure::refused("pipeline-not-found", format!("the store has no execution {id}"))),
            Err(e) => Err(store_failed(&e)),
        }
    }

    /// Tells an execution something. One that ended meanwhile needs to hear nothing.
    pub(super) async fn post(&self, id: &ExecutionId, message: &Message) -> Result<(), Failure> {
        self.store.post(id, message).await.map(drop).map_err(|e| store_failed(&e))
    }

    async fn save(&self, definition: &Definition) -> Result<(), Failure> {
        let nameless = |what: &str| Failure::refused("pipeline-wrong", format!("a pipeline given by --with has no {what}"));
        let name = definition.name().ok_or_else(|| nameless("name"))?.to_owned();
        let application = definition.application().ok_or_else(|| nameless("application"))?.to_owned();
        let id = definition.id().map_or_else(|| start::new_id(self.clock.now().wall).to_string(), str::to_owned);
        let document = Value::Object(definition.document().clone());
        let version = DefinitionVersion {
            id,
            application,
            name,
            version: 0,
            by: self.user.clone(),
            at: Timestamp::default(),
            deleted: false,
            document,
        };
        match definitions::save(&*self.store, version, None).await {
            Ok(_) => Ok(()),
            Err(SaveError::Store(e)) => Err(store_failed(&e)),
            Err(e @ (SaveError::Conflict(_) | SaveError::NameTaken(_) | SaveError::ReadOnly(_))) => {
                Err(Failure::refused("pipeline-conflict", "a pipeline given by --with cannot be saved").because(&e))
            }
        }
    }
}

impl Running {
    /// Keeps the engine going until this work is done, then stops it as the work says.
    pub(super) async fn until(mut self, work: impl Future<Output = Result<End, Failure>>) -> Result<Exit, Failure> {
        // Dropping the work loses nothing but lines; it is dropped only when there is no engine any more.
        let end = tokio::select! {
            ended = &mut self.runner => {
                let why = ended.err().unwrap_or_else(|| "it stopped".to_owned());
                return Err(Failure::new("pipeline-store", "the engine of this run has ended").because(&io::Error::other(why)));
            }
            end = work => end,
        };
        if let Ok(End::Dropped(exit)) = end {
            return Ok(exit);
        }
        self.stop.cancel();
        let stopped = self.runner.await;
        match (end?, stopped) {
            (End::Over(exit) | End::Left(exit) | End::Dropped(exit), Ok(())) => Ok(exit),
            (End::Over(exit), Err(_)) => Ok(exit),
            (End::Left(_) | End::Dropped(_), Err(why)) => {
                Err(Failure::new("pipeline-store", "the execution could not be handed back in order; it can still be resumed")
                    .because(&io::Error::other(why)))
            }
        }
    }
}

/// A folder of this run alone.
struct Scratch(PathBuf);

impl Scratch {
    fn make(env: &BTreeMap<String, String>, now: Timestamp) -> io::Result<Self> {
        let base = env.get("TMPDIR").filter(|dir| !dir.is_empty()).map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
        let folder = base.join(format!("bellrock-run-{}", start::new_id(now)));
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the folder of temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn no_place(error: &io::Error) -> Failure {
    Failure::refused("pipeline-store", "there is no place for the execution")
        .because(error)
        .help("name a file that can be made with --store PATH")
}

pub(super) fn store_failed(error: &StoreError) -> Failure {
    Failure::new("pipeline-store", "the store of this run cannot be used").because(error)
}
