//! What the runner knows of pipeline definitions: their triggers, in memory.
//!
//! What must stay true: what is used was compared with the store within [`FRESH`]; documents are read again only when one was saved, which the store's mark
//! tells, so that ten thousand of them cost nothing while nobody edits. Whoever saves a definition does it through [`save`], which names its triggers.

pub mod folder;
pub mod from_files;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::Value;

use super::session::StoreClock;
use crate::model::Moment;
use crate::orchestrator::engine::definition::Definition;
use crate::orchestrator::engine::definition::triggers;
use crate::orchestrator::engine::definition::triggers::On;
use crate::orchestrator::engine::definition::triggers::Trigger;
use crate::orchestrator::store::DEFINITIONS_MARK;
use crate::orchestrator::store::DefinitionVersion;
use crate::orchestrator::store::SaveError;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::StoreError;

/// How old the comparison with the store may be.
const FRESH: Duration = Duration::from_secs(2);
/// Definitions of one answer.
const PAGE: usize = 200;

/// Saves a definition; its triggers get ids if they have none. `expected` is as in [`Store::save_definition`].
///
/// # Errors
/// Those of [`Store::save_definition`].
pub async fn save(store: &dyn Store, mut definition: DefinitionVersion, expected: Option<u64>) -> Result<DefinitionVersion, SaveError> {
    if let Some(document) = definition.document.as_object_mut() {
        triggers::name_them(document);
    }
    store.save_definition(definition, expected).await
}

/// The definition in a stored version, with the id and application it is stored under.
pub fn definition(version: &DefinitionVersion) -> Definition {
    let mut document = version.document.as_object().cloned().unwrap_or_default();
    document.insert("id".to_owned(), Value::from(version.id.as_str()));
    document.insert("application".to_owned(), Value::from(version.application.as_str()));
    Definition::from_document(document)
}

/// A definition with triggers.
#[derive(Debug)]
pub(super) struct Triggered {
    pub(super) id: String,
    pub(super) application: String,
    pub(super) name: String,
    /// Zone of its schedules, when it names one.
    pub(super) zone: Option<TimeZone>,
    /// Those that are enabled.
    pub(super) triggers: Vec<Trigger>,
}

/// All definitions with triggers that may fire.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) all: Vec<Triggered>,
    /// Places in `all` and in its triggers, by the id of the pipeline that is followed.
    followers: HashMap<String, Vec<(usize, usize)>>,
    /// The same by the source of webhooks.
    listeners: HashMap<String, Vec<(usize, usize)>>,
}

impl Index {
    fn new(all: Vec<Triggered>) -> Self {
        let mut index = Self::default();
        for (at, triggered) in all.iter().enumerate() {
            for (nth, trigger) in triggered.triggers.iter().enumerate() {
                let (map, key) = match &trigger.on {
                    On::Cron { .. } => continue,
                    On::Pipeline { pipeline, .. } => (&mut index.followers, pipeline),
                    On::Webhook { source } => (&mut index.listeners, source),
                };
                map.entry(key.clone()).or_default().push((at, nth));
            }
        }
        index.all = all;
        index
    }

    /// Triggers that follow the pipeline of this id.
    pub(super) fn followers(&self, pipeline: &str) -> impl Iterator<Item = (&Triggered, &Trigger)> {
        self.at(&self.followers, pipeline)
    }

    /// Triggers that listen to this source.
    pub(super) fn listeners(&self, source: &str) -> impl Iterator<Item = (&Triggered, &Trigger)> {
        self.at(&self.listeners, source)
    }

    fn at<'a>(
        &'a self,
        places: &'a HashMap<String, Vec<(usize, usize)>>,
        key: &str,
    ) -> impl Iterator<Item = (&'a Triggered, &'a Trigger)> + use<'a> {
        places.get(key).into_iter().flatten().map(|(at, nth)| (&self.all[*at], &self.all[*at].triggers[*nth]))
    }
}

/// The definitions of a store, remembered.
pub(super) struct Definitions {
    store: Arc<dyn Store>,
    clock: StoreClock,
    kept: Mutex<Option<Kept>>,
    /// One reader at a time; the others take what it found.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Kept {
    index: Arc<Index>,
    mark: Option<String>,
    compared: Moment,
}

impl Definitions {
    pub(super) fn new(store: Arc<dyn Store>, clock: StoreClock) -> Self {
        Self { store, clock, kept: Mutex::default(), reading: tokio::sync::Mutex::default() }
    }

    /// What is known, if it is fresh.
    pub(super) fn peek(&self) -> Option<Arc<Index>> {
        let kept = self.kept();
        kept.filter(|kept| self.clock.local().since(kept.compared) <= FRESH).map(|kept| kept.index)
    }

    /// What is known, compared with the store first if need be.
    pub(super) async fn current(&self) -> Result<Arc<Index>, StoreError> {
        if let Some(index) = self.peek() {
            return Ok(index);
        }
        let _one_at_a_time = self.reading.lock().await;
        if let Some(index) = self.peek() {
            return Ok(index);
        }
        let now = self.clock.local();
        // Read before the definitions: a save in between is seen next time.
        let mark = self.store.mark(DEFINITIONS_MARK).await?;
        let kept = match self.kept() {
            Some(kept) if kept.mark == mark => Kept { compared: now, ..kept },
            Some(_) | None => Kept { index: Arc::new(self.read().await?), mark, compared: now },
        };
        let index = Arc::clone(&kept.index);
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(index)
    }

    fn kept(&self) -> Option<Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn read(&self) -> Result<Index, StoreError> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.definitions(None, after.as_deref(), PAGE).await?;
            let full = page.len() >= PAGE;
            after = page.last().map(|version| version.id.clone());
            for version in page {
                let definition = definition(&version);
                let triggers: Vec<Trigger> = definition.triggers().into_iter().filter(|trigger| trigger.enabled).collect();
                if !triggers.is_empty() && !definition.is_disabled() {
                    all.push(Triggered {
                        zone: definition.zone(),
                        id: version.id,
                        application: version.application,
                        name: version.name,
                        triggers,
                    });
                }
            }
            if !full {
                return Ok(Index::new(all));
            }
        }
    }
}
