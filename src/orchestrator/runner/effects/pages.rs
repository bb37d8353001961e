//! What expressions ask for: pages, which another performer fetches, and the ids of pipelines (`#pipelineId`), which the store knows.
//!
//! What must stay true: it only reads; a store that does not answer is asked again, since a pipeline that is there must not be taken for none.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::Performer;
use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::expression::address;
use crate::orchestrator::engine::seed;
use crate::orchestrator::runner::pause::Pause;
use crate::orchestrator::store::Store;

/// The words of the effects this carries out.
pub const WORDS: [&str; 1] = ["fetch"];

/// How often the store is asked for one pipeline: some ten seconds.
const TRIES: u32 = 20;

/// The performer.
pub struct Pages {
    web: Arc<dyn Performer>,
    store: Arc<dyn Store>,
}

impl Pages {
    /// Has pages fetched by `web`.
    pub fn new(web: Arc<dyn Performer>, store: Arc<dyn Store>) -> Self {
        Self { web, store }
    }

    async fn id(&self, asked: &str) -> Result<String, String> {
        let (application, name) = address::named_pipeline(asked).ok_or_else(|| format!("{asked} names no pipeline"))?;
        let mut pause = Pause::new(seed::of(asked));
        let mut tries = 1;
        loop {
            match self.store.definition_named(application, name).await {
                Ok(Some(found)) => return Ok(found.id),
                Ok(None) => return Err(format!("there is no pipeline '{name}' in {application}")),
                Err(error) if tries == TRIES || !error.may_pass() => return Err(error.to_string()),
                Err(_) => pause.wait().await,
            }
            tries += 1;
        }
    }
}

#[async_trait]
impl Performer for Pages {
    async fn perform(&self, key: &AttemptKey, effect: Effect, stop: &CancellationToken) -> Outcome {
        let Effect::Fetch { urls } = effect else {
            return Outcome::Failed { error: format!("{} is not done here", effect.word()), retryable: false };
        };
        let (of_store, of_web): (Vec<String>, Vec<String>) = urls.into_iter().partition(|url| address::named_pipeline(url).is_some());
        let looked_up = async {
            let mut found = Vec::with_capacity(of_store.len());
            for address in of_store {
                let id = self.id(&address).await;
                found.push((address, id));
            }
            found
        };
        // Safe to cancel: it only reads.
        let found = tokio::select! {
            found = looked_up => found,
            () = stop.cancelled() => return Outcome::Failed { error: "it was stopped".to_owned(), retryable: true },
        };
        if of_web.is_empty() {
            return Outcome::Fetched { pages: found };
        }
        match self.web.perform(key, Effect::Fetch { urls: of_web }, stop).await {
            Outcome::Fetched { mut pages } => {
                pages.extend(found);
                Outcome::Fetched { pages }
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::host::clock::SystemClock;
    use crate::model::Timestamp;
    use crate::orchestrator::store::DefinitionVersion;
    use crate::orchestrator::store::model::ModelStore;

    /// A web of one page.
    struct Web;

    #[async_trait]
    impl Performer for Web {
        async fn perform(&self, _: &AttemptKey, effect: Effect, _: &CancellationToken) -> Outcome {
            let Effect::Fetch { urls } = effect else { panic!("{effect:?}") };
            Outcome::Fetched { pages: urls.into_iter().map(|url| (url, Ok("page".to_owned()))).collect() }
        }
    }

    #[tokio::test]
    async fn ids_come_from_the_store_and_pages_from_the_web() {
        let store: Arc<dyn Store> = Arc::new(ModelStore::new(Arc::new(SystemClock::start())));
        let saved = DefinitionVersion {
            id: "p-1".into(),
            application: "app".into(),
            name: "Roll / back".into(),
            version: 0,
            by: "anna".into(),
            at: Timestamp(0),
            deleted: false,
            document: json!({}),
        };
        store.save_definition(saved, None).await.unwrap();
        let here = address::of_pipeline("app", "Roll / back").unwrap();
        let gone = address::of_pipeline("other", "Roll / back").unwrap();
        let page = "https://example.com/".to_owned();
        let urls = vec![here.clone(), page.clone(), gone.clone()];
        let key = AttemptKey { execution: "e".into(), stage: "s".into(), started: 1, task: "1".into(), number: 1 };
        let outcome = Pages::new(Arc::new(Web), store).perform(&key, Effect::Fetch { urls }, &CancellationToken::new()).await;
        let Outcome::Fetched { pages } = outcome else { panic!("{outcome:?}") };
        let of = |url: &String| pages.iter().find(|(asked, _)| asked == url).map(|(_, page)| page.clone()).unwrap();
        assert_eq!((of(&here), of(&page)), (Ok("p-1".to_owned()), Ok("page".to_owned())));
        assert!(of(&gone).unwrap_err().contains("no pipeline 'Roll / back' in other"));
    }
}
