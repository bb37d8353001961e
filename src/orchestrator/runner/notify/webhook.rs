//! Notices as JSON to one URL of the operator's: blocks of type `webhook`. What the block says besides goes along under `to`; where it is sent is not for
//! a pipeline to say.

use async_trait::async_trait;
use serde_json::json;

use super::Channel;
use super::NotTold;
use super::letter;
use super::link;
use super::post;
use crate::orchestrator::store::Outgoing;
use crate::orchestrator::web;
use crate::orchestrator::web::Auth;
use crate::orchestrator::web::SetupError;
use crate::orchestrator::web::Web;

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// An http or https URL.
    pub url: String,
    /// How the receiver knows us.
    pub auth: Auth,
    /// Where people see executions, without what follows `/pipelines`.
    pub link_base: Option<String>,
}

/// The way by a webhook of anybody's.
#[derive(Debug)]
pub struct Webhook {
    settings: Settings,
    web: Web,
}

impl Webhook {
    /// Tells this URL. Connects to nothing yet.
    ///
    /// # Errors
    /// It is no URL, or TLS does not start.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        web::check_url(&settings.url)?;
        let web = Web::new(super::limits(), settings.auth.clone())?;
        Ok(Self { settings, web })
    }
}

#[async_trait]
impl Channel for Webhook {
    fn serves(&self) -> &'static str {
        "webhook"
    }

    async fn tell(&self, out: &Outgoing) -> Result<(), NotTold> {
        let base = self.settings.link_base.as_deref();
        let (subject, text) = letter(out, base);
        let notice = &out.notice;
        let body = json!({
            "id": out.id, "event": notice.event, "stage": notice.stage, "details": notice.details, "to": notice.to,
            "execution": out.listing, "subject": subject, "text": text, "link": link(out, base),
        });
        // Whoever is told twice can know it.
        post(&self.web, &self.settings.url, &body, &[("idempotency-key", super::plain(&out.id))]).await.map(drop)
    }
}
