//! Guards an orchestrator that was chosen by default: somebody may run another one on the same host, whose work nobody here looks at.
//!
//! What must stay true: as long as the other answers, and whoever owns the configuration has not said which of the two counts, nobody knows whether
//! this instance is busy (S1). A port where nothing listens, or something that is no orchestrator, changes nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Abilities;
use super::Error;
use super::Orchestrator;
use super::web;
use super::web::Web;
use crate::model::Activity;
use crate::model::Intake;
use crate::model::Sample;

/// Where an orchestrator of a usual installation answers: Orca's port.
pub const USUAL: &str = "http://127.0.0.1:8083";
/// On loopback an orchestrator that is there answers sooner; one that hangs is there too.
const WITHIN: Duration = Duration::from_secs(2);

/// The chosen one, and an eye on the other.
pub struct Guarded {
    chosen: Arc<dyn Orchestrator>,
    page: String,
    web: Web,
}

impl Guarded {
    /// `base` is where the other would answer. Connects to nothing.
    pub fn new(chosen: Arc<dyn Orchestrator>, base: &str) -> Result<Self, web::SetupError> {
        let limits = web::Limits { connect: WITHIN, total: WITHIN, ..web::Limits::default() };
        Ok(Self { chosen, page: web::join(base, "executions/activeByInstance"), web: Web::new(limits, web::Auth::None)? })
    }

    /// What speaks for another orchestrator here. A server that has no such page is something else.
    async fn other(&self) -> Option<String> {
        let said = match self.web.get(&self.page).await {
            Ok(answer) if answer.status.is_client_error() => return None,
            Ok(answer) => format!("answers with HTTP {}", answer.status.as_u16()),
            Err(web::Error::NotSent { .. } | web::Error::Credential { .. }) => return None,
            Err(error @ (web::Error::NoAnswer { .. } | web::Error::TooLong { .. })) => error.to_string(),
        };
        Some(format!(
            "another orchestrator may run here: {} {said}; say orchestrator.kind = \"endpoint\" if it is what this agent looks after, or \"embedded\" if it is not",
            self.page
        ))
    }
}

#[async_trait]
impl Orchestrator for Guarded {
    async fn activity(&self) -> Sample {
        let other = self.other().await;
        let sample = self.chosen.activity().await;
        match other {
            Some(why) => Sample { activity: Activity::Unknown { why }, ..sample },
            None => sample,
        }
    }

    async fn intake(&self) -> Intake {
        self.chosen.intake().await
    }

    async fn set_intake(&self, open: bool) -> Result<(), Error> {
        self.chosen.set_intake(open).await
    }

    async fn stop(&self, grace: Duration) -> Result<(), Error> {
        self.chosen.stop(grace).await
    }

    async fn start(&self) -> Result<(), Error> {
        self.chosen.start().await
    }

    async fn restart(&self, grace: Duration) -> Result<(), Error> {
        self.chosen.restart(grace).await
    }

    fn abilities(&self) -> Abilities {
        self.chosen.abilities()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::SystemClock;
    use crate::model::Clock;
    use crate::orchestrator::test_server::Reply;
    use crate::orchestrator::test_server::Server;

    struct Idle;

    #[async_trait]
    impl Orchestrator for Idle {
        async fn activity(&self) -> Sample {
            Sample { activity: Activity::Idle, asked: SystemClock::start().now(), measured: None, generation: None }
        }

        async fn intake(&self) -> Intake {
            Intake::Closed
        }

        async fn set_intake(&self, _: bool) -> Result<(), Error> {
            Ok(())
        }

        async fn stop(&self, _: Duration) -> Result<(), Error> {
            Ok(())
        }

        async fn start(&self) -> Result<(), Error> {
            Ok(())
        }

        fn abilities(&self) -> Abilities {
            Abilities { intake: true, stop: true, start: true }
        }
    }

    #[tokio::test]
    async fn idle_is_not_believed_while_another_orchestrator_answers_beside_s1() {
        const PAGE: &str = "GET /executions/activeByInstance";
        let server = Server::start().await;
        let guarded = Guarded::new(Arc::new(Idle), &server.base).unwrap();
        server.says(PAGE, "{}");
        assert!(matches!(guarded.activity().await.activity, Activity::Unknown { why } if why.contains("orchestrator.kind")));
        server.on(PAGE, Reply::Now(500, Vec::new()));
        assert!(matches!(guarded.activity().await.activity, Activity::Unknown { .. }), "a sick one is one");
        server.on(PAGE, Reply::Now(404, Vec::new()));
        assert_eq!(guarded.activity().await.activity, Activity::Idle, "something else");
        let alone = Guarded::new(Arc::new(Idle), "http://127.0.0.1:1").unwrap();
        assert_eq!(alone.activity().await.activity, Activity::Idle, "nothing listens");
    }
}
