//! The embedded engine of an agent: put together from the configuration, with the API in front of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::chain;
use super::regions::AwsRegions;
use crate::cloud::aws;
use crate::config;
use crate::daemon;
use crate::http::api::Api;
use crate::http::api::desk::Desk;
use crate::http::api::tokens::Tokens;
use crate::model::Clock;
use crate::orchestrator::engine::stage::Registry;
use crate::orchestrator::runner::Handle;
use crate::orchestrator::runner::Memory;
use crate::orchestrator::runner::Parts;
use crate::orchestrator::runner::Settings;
use crate::orchestrator::runner::Wish;
use crate::orchestrator::runner::definitions::folder::Folder;
use crate::orchestrator::runner::definitions::from_files::FromFiles;
use crate::orchestrator::runner::effects::Performers;
use crate::orchestrator::runner::effects::clusters;
use crate::orchestrator::runner::effects::clusters::Clusters;
use crate::orchestrator::runner::effects::executions;
use crate::orchestrator::runner::effects::executions::Executions;
use crate::orchestrator::runner::effects::http;
use crate::orchestrator::runner::effects::http::Http;
use crate::orchestrator::runner::effects::job;
use crate::orchestrator::runner::effects::job::Jobs;
use crate::orchestrator::runner::effects::pages;
use crate::orchestrator::runner::effects::pages::Pages;
use crate::orchestrator::runner::embedded::Embedded;
use crate::orchestrator::runner::notify::Channel;
use crate::orchestrator::runner::notify::mail::Mail;
use crate::orchestrator::runner::notify::slack::Slack;
use crate::orchestrator::runner::notify::webhook::Webhook;
use crate::orchestrator::store::RedisStore;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::embedded::EmbeddedStore;
use crate::supervise::Ended;

/// Where the engine is at home.
pub(super) struct Place<'a> {
    /// What `activeByInstance` calls it.
    pub(super) instance: &'a str,
    /// The agent's directory.
    pub(super) state_dir: &'a Path,
    /// The agent's environment.
    pub(super) env: &'a BTreeMap<String, String>,
    /// What is wanted of it at first.
    pub(super) wish: Wish,
    /// Asks those who read files of their own to do so again.
    pub(super) again: watch::Receiver<u64>,
    /// Whose account the instance is in.
    pub(super) aws: &'a aws::Settings,
}

/// An engine at work.
pub(super) struct Engine {
    pub(super) orchestrator: Arc<Embedded>,
    pub(super) api: Router,
    engine: daemon::engine::Engine,
    /// Ends what reads files beside it.
    stop: CancellationToken,
    /// What the store does beside its calls; for as long as the runner needs it.
    store: JoinSet<()>,
}

impl Engine {
    /// Begins to run it.
    ///
    /// # Errors
    /// The store or the memory of this host cannot be used; for people.
    pub(super) async fn start(
        settings: &config::Engine,
        place: Place<'_>,
        tokens: watch::Receiver<Arc<Tokens>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let mut background = JoinSet::new();
        let store: Arc<dyn Store> = match &settings.store {
            config::Store::File(path) => {
                info!(path = %path.display(), "executions live in a file");
                Arc::new(EmbeddedStore::open(path, clock.clone()).await.map_err(|e| chain(&e))?)
            }
            config::Store::Redis(redis) => {
                info!("executions live in Redis");
                let life = format!("{}.{}.{}", place.instance, std::process::id(), clock.now().wall.0);
                let (store, work) = RedisStore::open(redis.clone(), &life).map_err(|e| chain(&e))?;
                background.spawn(work.run());
                Arc::new(store)
            }
        };
        let registry = Arc::new(Registry::standard());
        let stop = CancellationToken::new();
        let mut store = store;
        let folder = settings.definitions.as_ref().map(|path| Arc::new(Folder::new(path, registry.clone())));
        if let Some(folder) = &folder {
            let first = folder.clone();
            tokio::task::spawn_blocking(move || first.look()).await.map_err(|e| format!("the pipelines in files were not read: {e}"))?;
            background.spawn(folder.clone().keep(place.again, stop.clone()));
            store = Arc::new(FromFiles::new(store, folder.clone()));
        }
        let memory = Memory::open(place.state_dir).map_err(|e| format!("{} cannot be used: {e}", place.state_dir.display()))?;
        let program = std::env::current_exe().map_err(|e| format!("this program cannot find itself: {e}"))?;
        let named = |name: &String| place.env.get_key_value(name).map(|(name, value)| (name.clone(), value.clone()));
        let inherited = settings.job_environment.iter().filter_map(named).collect();
        let regions = Arc::new(AwsRegions::new(place.aws.clone()));
        let web = Arc::new(Http::new(settings.reach.clone()).map_err(|e| chain(&e))?);
        let performers = Performers::default()
            .with(&clusters::WORDS, Arc::new(Clusters::new(regions, settings.accounts.clone())))
            .with(&http::WORDS, web.clone())
            .with(&pages::WORDS, Arc::new(Pages::new(web, store.clone())))
            .with(&job::WORDS, Arc::new(Jobs::new(place.state_dir.join("jobs"), program, inherited)))
            .with(&executions::WORDS, Arc::new(Executions::new(store.clone())));
        let parts = Parts {
            store: store.clone(),
            registry: registry.clone(),
            performer: Arc::new(performers),
            clock: clock.clone(),
            memory,
            channels: ways(&settings.notifications)?,
        };
        let usual = Settings::new(place.instance);
        let runs = Settings {
            lease: settings.lease,
            owned: settings.owned,
            handoff: settings.handoff,
            safeguard: settings.polling_safeguard,
            zone: settings.zone.clone(),
            history: settings.history,
            ..usual
        };
        let engine = daemon::engine::Engine::start(parts, runs, place.wish);
        let desk = Desk {
            store: store.clone(),
            registry,
            runner: engine.runner.clone(),
            clock: clock.clone(),
            zone: settings.zone.clone(),
            folder,
        };
        let api = Api::new(store, Arc::new(desk), tokens, clock.clone()).router();
        Ok(Self { orchestrator: Arc::clone(&engine.orchestrator), api, engine, stop, store: background })
    }

    /// What is known of it.
    pub(super) fn runner(&self) -> Handle {
        self.engine.runner.clone()
    }

    /// Runs beside the loop, as [`daemon::engine::Engine::beside`] does, and what the store and the files need with it.
    ///
    /// # Errors
    /// The engine ended before the loop did.
    pub(super) async fn beside(mut self, work: impl Future<Output = ()>, end_loop: CancellationToken) -> Ended {
        let ended = self.engine.beside(work, end_loop).await;
        self.stop.cancel();
        self.store.abort_all();
        ended
    }
}

/// The ways to people that are configured.
fn ways(settings: &config::Notifications) -> Result<Vec<Arc<dyn Channel>>, String> {
    let mut ways: Vec<Arc<dyn Channel>> = Vec::new();
    if let Some(settings) = &settings.email {
        ways.push(Arc::new(Mail::new(settings.clone()).map_err(|e| chain(&e))?));
    }
    if let Some(settings) = &settings.slack {
        ways.push(Arc::new(Slack::new(settings.clone()).map_err(|e| chain(&e))?));
    }
    if let Some(settings) = &settings.webhook {
        ways.push(Arc::new(Webhook::new(settings.clone()).map_err(|e| chain(&e))?));
    }
    Ok(ways)
}
