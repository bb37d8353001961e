//! Notices to an incoming webhook of Slack, or of what understands the same (Mattermost, Rocket.Chat): blocks of type `slack`, to the channel that their
//! `address` names.
//!
//! What must stay true: the address of the webhook is its secret, so it is in a file and in no message of ours.

use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::json;

use super::Channel;
use super::NotTold;
use super::field;
use super::letter;
use super::post;
use crate::orchestrator::store::Outgoing;
use crate::orchestrator::web::Auth;
use crate::orchestrator::web::SetupError;
use crate::orchestrator::web::Web;
use crate::orchestrator::web::secret;

/// Where the webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// File that holds its URL.
    pub url_file: PathBuf,
    /// Where people see executions, without what follows `/pipelines`.
    pub link_base: Option<String>,
}

/// The way by Slack.
#[derive(Debug)]
pub struct Slack {
    settings: Settings,
    web: Web,
}

impl Slack {
    /// Tells by this webhook. Reads nothing yet.
    ///
    /// # Errors
    /// TLS does not start.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        Ok(Self { settings, web: Web::new(super::limits(), Auth::None)? })
    }
}

#[async_trait]
impl Channel for Slack {
    fn serves(&self) -> &'static str {
        "slack"
    }

    async fn tell(&self, notice: &Outgoing) -> Result<(), NotTold> {
        let (subject, text) = letter(notice, self.settings.link_base.as_deref());
        let mut body = json!({"text": format!("*{}*\n{}", escaped(&subject), escaped(&text))});
        let channel = field(notice, "address");
        if !channel.is_empty() {
            body["channel"] = channel.into();
        }
        let url = secret(&self.settings.url_file).await.map_err(|e| NotTold { why: e.to_string(), again: true })?;
        post(&self.web, &url, &body, &[]).await
    }
}

/// The three signs that Slack reads as markup of its own.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
