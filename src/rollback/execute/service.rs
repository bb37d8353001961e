//! The question whether users are served: asked once everything stands, and again and again while it bakes.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use super::super::World;
use super::super::report::Event;
use super::LOOK_EVERY;
use super::nap;
use crate::model::Moment;

/// Good answers of the service in a row that count as an answer.
const GOOD_ANSWERS: u32 = 3;
/// Between them: long enough to meet another of the service's instances.
const BETWEEN_ANSWERS: Duration = Duration::from_millis(100);
/// How long a service may take to give them once everything stands.
const SERVICE_PATIENCE: Duration = Duration::from_secs(60);
/// Limit of one question to the service.
const ASK_LIMIT: Duration = Duration::from_secs(10);

/// The question whether users are served, asked once everything stands.
pub(super) struct Service<'a> {
    urls: &'a [String],
    /// It has answered, or nobody is to be asked.
    pub answered: bool,
    asked_since: Option<Moment>,
}

impl<'a> Service<'a> {
    pub fn new(urls: &'a [String]) -> Self {
        Self { urls, answered: urls.is_empty(), asked_since: None }
    }

    /// Asks until it has answered often enough in a row, or once failed to. `Some` when it has been silent for too long.
    pub async fn ask(&mut self, world: &World<'_>) -> Option<String> {
        let since = *self.asked_since.get_or_insert(world.clock.now());
        for answer in 0..GOOD_ANSWERS {
            if answer > 0 {
                nap(world, BETWEEN_ANSWERS).await;
            }
            if let Some(problem) = self.ask_once(world).await {
                world.sink.tell(&Event::Trouble { text: problem.clone() });
                if world.clock.now().since(since) >= SERVICE_PATIENCE {
                    return Some(problem);
                }
                nap(world, LOOK_EVERY).await;
                return None;
            }
        }
        self.answered = true;
        None
    }

    /// One question after it has answered: whether it still does.
    pub async fn ask_again(&mut self, world: &World<'_>) {
        let problem = self.ask_once(world).await;
        self.answered = problem.is_none();
        if let Some(text) = problem {
            world.sink.tell(&Event::Trouble { text });
        }
    }

    async fn ask_once(&self, world: &World<'_>) -> Option<String> {
        let ask = |url: &'a String| async move {
            let answer = timeout(ASK_LIMIT, world.service.ask(url)).await.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            answer.err().map(|problem| format!("{url}: {problem}"))
        };
        join_all(self.urls.iter().map(ask)).await.into_iter().flatten().next()
    }
}
