//! Notices to Slack: blocks of type `slack`, to the channel that their `address` names. Either by an incoming webhook (of Slack, or of what understands
//! the same: Mattermost, Rocket.Chat), or as a bot with a token, as Spinnaker does it.
//!
//! What must stay true: the address of the webhook is its secret, so it is in a file and in no message of ours, as the bot's token is; what Slack refuses
//! in an answer that looks well is a refusal.

use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::Value;
use serde_json::json;

use super::Channel;
use super::NotTold;
use super::field;
use super::letter;
use super::post;
use crate::orchestrator::store::Outgoing;
use crate::orchestrator::web;
use crate::orchestrator::web::Auth;
use crate::orchestrator::web::SetupError;
use crate::orchestrator::web::Web;
use crate::orchestrator::web::secret;

/// Slack's own API.
pub const API: &str = "https://slack.com/api";

/// Refusals that are about Slack or about our token, not about the message.
const NOT_FOR_GOOD: [&str; 11] = [
    "account_inactive",
    "fatal_error",
    "internal_error",
    "invalid_auth",
    "missing_scope",
    "not_authed",
    "ratelimited",
    "rate_limited",
    "service_unavailable",
    "token_expired",
    "token_revoked",
];

/// How Slack is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to.
    pub by: By,
    /// Where people see executions, without what follows `/pipelines`.
    pub link_base: Option<String>,
}

/// Where to, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// An incoming webhook.
    Webhook {
        /// File that holds its URL.
        url_file: PathBuf,
    },
    /// A bot.
    Bot {
        /// File that holds its token.
        token_file: PathBuf,
        /// The API, without the method.
        api: String,
    },
}

/// The way by Slack.
#[derive(Debug)]
pub struct Slack {
    settings: Settings,
    web: Web,
}

impl Slack {
    /// Tells by this webhook or bot. Reads nothing yet.
    ///
    /// # Errors
    /// The API is no URL, or TLS does not start.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        let auth = match &settings.by {
            By::Webhook { .. } => Auth::None,
            By::Bot { token_file, api } => {
                web::check_url(api)?;
                Auth::Bearer(token_file.clone())
            }
        };
        Ok(Self { settings, web: Web::new(super::limits(), auth)? })
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
        match &self.settings.by {
            By::Webhook { url_file } => {
                let url = secret(url_file).await.map_err(|e| NotTold { why: e.to_string(), again: true })?;
                post(&self.web, &url, &body, &[]).await.map(drop)
            }
            By::Bot { .. } if channel.is_empty() => {
                Err(NotTold { why: "the notification has no address, which is the channel".to_owned(), again: false })
            }
            By::Bot { api, .. } => taken(&post(&self.web, &web::join(api, "chat.postMessage"), &body, &[]).await?),
        }
    }
}

/// Whether Slack took the message: it refuses with a status of 200.
fn taken(answer: &[u8]) -> Result<(), NotTold> {
    let said: Value = serde_json::from_slice(answer).unwrap_or_default();
    if said["ok"] == true {
        return Ok(());
    }
    let why = said["error"].as_str().map_or_else(|| web::excerpt(answer), str::to_owned);
    let again = said["error"].is_null() || NOT_FOR_GOOD.contains(&why.as_str());
    Err(NotTold { why: format!("Slack refused: {why}"), again })
}

/// The three signs that Slack reads as markup of its own.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
