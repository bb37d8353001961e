//! A store with hooks: every call is passed on, and hooks may add to some, take the place of some, or lose them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::store::Claimed;
use crate::orchestrator::store::Created;
use crate::orchestrator::store::NewExecution;
use crate::orchestrator::store::Session;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::StoreError;
use crate::orchestrator::store::Write;
use crate::orchestrator::store::WriteError;
use crate::orchestrator::store::calls;

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
    (
        {}
        ownership { $($hooked:ident($($h:ident: $ht:ty),*) -> $ha:ty;)* }
        definitions { $($of:ident($($d:ident: $dt:ty),*) -> $da:ty;)* }
        others { $($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)* }
    ) => {
        #[async_trait]
        impl<H: Hooks> Store for Passage<H> {
            $(async fn $hooked(&self, $($h: $ht),*) -> $ha {
                self.hooks.going(stringify!($hooked)).await?;
                let answer = self.hooks.$hooked(&*self.store, $($h),*).await;
                self.hooks.coming(stringify!($hooked)).await?;
                answer
            })*

            $(async fn $of(&self, $($d: $dt),*) -> $da {
                self.hooks.going(stringify!($of)).await?;
                let answer = self.store.$of($($d),*).await;
                self.hooks.coming(stringify!($of)).await?;
                answer
            })*

            $(async fn $name(&self, $($arg: $type),*) -> $answer {
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

calls!(through {});
