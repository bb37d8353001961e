//! A store whose definitions are those of a [`Folder`], and whose executions are another's. Nobody can tell it from one in which the files were saved,
//! but that it takes no saves.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::folder::Folder;
use crate::orchestrator::store::DEFINITIONS_MARK;
use crate::orchestrator::store::DefinitionVersion;
use crate::orchestrator::store::SaveError;
use crate::orchestrator::store::Session;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::StoreError;
use crate::orchestrator::store::calls;

/// Definitions in one answer, as in any store.
const PAGE: usize = 1000;

/// The store.
pub struct FromFiles {
    store: Arc<dyn Store>,
    folder: Arc<Folder>,
}

impl FromFiles {
    /// Definitions of this directory over everything else of that store.
    pub fn new(store: Arc<dyn Store>, folder: Arc<Folder>) -> Self {
        Self { store, folder }
    }

    fn first(&self, such: impl Fn(&DefinitionVersion) -> bool) -> Option<DefinitionVersion> {
        self.folder.found().definitions.iter().find(|found| such(found)).cloned()
    }
}

macro_rules! with_the_rest_through {
    (
        { $($own:tt)* }
        ownership { $($a:ident($($aa:ident: $at:ty),*) -> $answer:ty;)* }
        definitions { $($of:tt)* }
        others { $($b:ident($($ba:ident: $bt:ty),*) -> $said:ty;)* }
    ) => {
        #[async_trait]
        impl Store for FromFiles {
            $($own)*

            $(async fn $a(&self, $($aa: $at),*) -> $answer {
                self.store.$a($($aa),*).await
            })*

            $(async fn $b(&self, $($ba: $bt),*) -> $said {
                self.store.$b($($ba),*).await
            })*
        }
    };
}

calls! {
    with_the_rest_through {
        async fn save_definition(&self, _: DefinitionVersion, _: Option<u64>) -> Result<DefinitionVersion, SaveError> {
            Err(SaveError::ReadOnly(self.folder.path().display().to_string()))
        }

        async fn definition(&self, id: &str, version: Option<u64>) -> Result<Option<DefinitionVersion>, StoreError> {
            Ok(self.first(|found| found.id == id && version.is_none_or(|version| version == found.version)))
        }

        async fn definition_named(&self, application: &str, name: &str) -> Result<Option<DefinitionVersion>, StoreError> {
            Ok(self.first(|found| found.application == application && found.name == name))
        }

        async fn definitions(&self, application: Option<&str>, after: Option<&str>, limit: usize) -> Result<Vec<DefinitionVersion>, StoreError> {
            let found = self.folder.found();
            let all = found.definitions.iter().filter(|found| application.is_none_or(|application| application == found.application));
            let behind = all.skip_while(|found| after.is_some_and(|after| after != found.id)).skip(usize::from(after.is_some()));
            Ok(behind.take(limit.clamp(1, PAGE)).cloned().collect())
        }

        /// The files' own history is with whoever writes them.
        async fn definition_history(&self, id: &str, _: usize) -> Result<Vec<DefinitionVersion>, StoreError> {
            Ok(self.first(|found| found.id == id).into_iter().collect())
        }

        async fn mark(&self, name: &str) -> Result<Option<String>, StoreError> {
            if name == DEFINITIONS_MARK { Ok(Some(format!("files {}", self.folder.found().generation))) } else { self.store.mark(name).await }
        }

        async fn wait(&self, session: &Session, at_most: Duration) {
            self.store.wait(session, at_most).await;
        }
    }
}
