//! A store with hooks: every call is passed on, and hooks may add to some, take the place of some, or lose them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::Timestamp;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::store::Admission;
use crate::orchestrator::store::Claimed;
use crate::orchestrator::store::Created;
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

/// What is different; by default nothing is.
#[async_trait]
pub(in crate::drill) trait Hooks: Send + Sync + 'static {
    /// On the way of a call to the store; an error = it never arrives.
    async fn going(&self, call: &'static str) -> Result<(), StoreError> {
        let _ = call;
        Ok(())
    }

    /// On the way of its answer back; an error = the answer is lost.
    async fn coming(&self, call: &'static str) -> Result<(), StoreError> {
        let _ = call;
        Ok(())
    }

    /// In place of a call, as the following.
    async fn claim(&self, store: &dyn Store, session: &Session, max: usize) -> Result<Vec<Claimed>, StoreError> {
        store.claim(session, max).await
    }

    async fn claim_one(&self, store: &dyn Store, session: &Session, id: &ExecutionId) -> Result<Option<Claimed>, StoreError> {
        store.claim_one(session, id).await
    }

    async fn write(&self, store: &dyn Store, write: Write) -> Result<(), WriteError> {
        store.write(write).await
    }

    async fn create(&self, store: &dyn Store, new: NewExecution) -> Result<Created, StoreError> {
        store.create(new).await
    }

    async fn end_session(&self, store: &dyn Store, session: &Session) -> Result<(), StoreError> {
        store.end_session(session).await
    }

    async fn wait(&self, store: &dyn Store, session: &Session, at_most: Duration) {
        store.wait(session, at_most).await;
    }
}

/// The store behind its hooks.
pub(in crate::drill) struct Passage<H> {
    pub(in crate::drill) store: Arc<dyn Store>,
    pub(in crate::drill) hooks: H,
}

macro_rules! through {
    (hooked { $($hooked:ident($($h:ident: $ht:ty),*) -> $ha:ty, $he:ty;)* } passed { $($name:ident($($arg:ident: $type:ty),*) -> $answer:ty, $error:ty;)* }) => {
        #[async_trait]
        impl<H: Hooks> Store for Passage<H> {
            $(async fn $hooked(&self, $($h: $ht),*) -> Result<$ha, $he> {
                self.hooks.going(stringify!($hooked)).await?;
                let answer = self.hooks.$hooked(&*self.store, $($h),*).await;
                self.hooks.coming(stringify!($hooked)).await?;
                answer
            })*

            $(async fn $name(&self, $($arg: $type),*) -> Result<$answer, $error> {
                self.hooks.going(stringify!($name)).await?;
                let answer = self.store.$name($($arg),*).await;
                self.hooks.coming(stringify!($name)).await?;
                answer
            })*

            async fn wait(&self, session: &Session, at_most: Duration) {
                self.hooks.wait(&*self.store, session, at_most).await;
            }
        }
    };
}

through! {
    hooked {
        claim(session: &Session, max: usize) -> Vec<Claimed>, StoreError;
        claim_one(session: &Session, id: &ExecutionId) -> Option<Claimed>, StoreError;
        write(write: Write) -> (), WriteError;
        create(new: NewExecution) -> Created, StoreError;
        end_session(session: &Session) -> (), StoreError;
    }
    passed {
        now() -> Timestamp, StoreError;
        beat(session: &Session, lease: Duration) -> bool, StoreError;
        inbox(lease: &Lease, after: u64) -> Vec<(u64, Message)>, StoreError;
        post(id: &ExecutionId, message: &Message) -> bool, StoreError;
        admit(lease: &Lease, pipeline_config_id: &str, limit: u32) -> Admission, StoreError;
        start_waiting(pipeline_config_id: &str, limit: u32, keep: bool) -> (), StoreError;
        owned(session: &Session, after: Option<&ExecutionId>, limit: usize) -> Vec<ExecutionId>, StoreError;
        with_messages(session: &Session) -> Vec<ExecutionId>, StoreError;
        next_due() -> Option<Timestamp>, StoreError;
        show(id: &ExecutionId) -> Option<Record>, StoreError;
        load(id: &ExecutionId) -> Option<Record>, StoreError;
        list(query: &Query) -> Vec<Listing>, StoreError;
        active_by_instance() -> Vec<InstanceActivity>, StoreError;
        remove(id: &ExecutionId) -> bool, StoreError;
        expire(retention: Retention) -> usize, StoreError;
        save_definition(definition: DefinitionVersion, expected: Option<u64>) -> DefinitionVersion, SaveError;
        definition(id: &str, version: Option<u64>) -> Option<DefinitionVersion>, StoreError;
        definition_named(application: &str, name: &str) -> Option<DefinitionVersion>, StoreError;
        definitions(application: Option<&str>, after: Option<&str>, limit: usize) -> Vec<DefinitionVersion>, StoreError;
        definition_history(id: &str, limit: usize) -> Vec<DefinitionVersion>, StoreError;
        take_role(role: &str, session: &Session, lease: Duration) -> bool, StoreError;
        set_mark(name: &str, text: &str) -> (), StoreError;
        mark(name: &str) -> Option<String>, StoreError;
        outbox(max: usize, lease: Duration) -> Vec<Outgoing>, StoreError;
        outbox_done(id: &str) -> (), StoreError;
        outbox_again(id: &str, at: Timestamp) -> (), StoreError;
    }
}
