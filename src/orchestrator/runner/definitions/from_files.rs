//! A store whose definitions are those of a [`Folder`], and whose executions are another's. Nobody can tell it from one in which the files were saved,
//! but that it takes no saves.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::folder::Folder;
use crate::model::Timestamp;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::store::Admission;
use crate::orchestrator::store::Claimed;
use crate::orchestrator::store::Created;
use crate::orchestrator::store::DEFINITIONS_MARK;
use crate::orchestrator::store::DefinitionVersion;
use crate::orchestrator::store::InstanceActivity;
use crate::orchestrator::store::Lease;
use crate::orchestrator::store::Listing;
use crate::orchestrator::store::NewExecution;
use crate::orchestrator::store::Outgoing;
use crate::orchestrator::store::Query;
use crate::orchestrator::store::Record;
use crate::orchestrator::store::Retention;
use crate::orchestrator::store::SaveError;
use crate::orchestrator::store::Session;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::StoreError;
use crate::orchestrator::store::Write;
use crate::orchestrator::store::WriteError;

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
    ({ $($own:tt)* } $($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl Store for FromFiles {
            $($own)*

            $(async fn $name(&self, $($arg: $type),*) -> $answer {
                self.store.$name($($arg),*).await
            })*
        }
    };
}

with_the_rest_through! {
    {
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
    now() -> Result<Timestamp, StoreError>;
    beat(session: &Session, lease: Duration) -> Result<bool, StoreError>;
    end_session(session: &Session) -> Result<(), StoreError>;
    create(new: NewExecution) -> Result<Created, StoreError>;
    claim(session: &Session, max: usize) -> Result<Vec<Claimed>, StoreError>;
    claim_one(session: &Session, id: &ExecutionId) -> Result<Option<Claimed>, StoreError>;
    write(write: Write) -> Result<(), WriteError>;
    inbox(lease: &Lease, after: u64) -> Result<Vec<(u64, Message)>, StoreError>;
    post(id: &ExecutionId, message: &Message) -> Result<bool, StoreError>;
    admit(lease: &Lease, pipeline_config_id: &str, limit: u32) -> Result<Admission, StoreError>;
    start_waiting(pipeline_config_id: &str, limit: u32, keep: bool) -> Result<(), StoreError>;
    owned(session: &Session, after: Option<&ExecutionId>, limit: usize) -> Result<Vec<ExecutionId>, StoreError>;
    with_messages(session: &Session) -> Result<Vec<ExecutionId>, StoreError>;
    next_due() -> Result<Option<Timestamp>, StoreError>;
    load(id: &ExecutionId) -> Result<Option<Record>, StoreError>;
    list(query: &Query) -> Result<Vec<Listing>, StoreError>;
    active_by_instance() -> Result<Vec<InstanceActivity>, StoreError>;
    remove(id: &ExecutionId) -> Result<bool, StoreError>;
    expire(retention: Retention) -> Result<usize, StoreError>;
    take_role(role: &str, session: &Session, lease: Duration) -> Result<bool, StoreError>;
    set_mark(name: &str, text: &str) -> Result<(), StoreError>;
    outbox(max: usize, lease: Duration) -> Result<Vec<Outgoing>, StoreError>;
    outbox_done(id: &str) -> Result<(), StoreError>;
    outbox_again(id: &str, at: Timestamp) -> Result<(), StoreError>;
}
