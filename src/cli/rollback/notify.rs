//! Tells people elsewhere that a rollback begins, has stopped, is done: a line of text, as Slack's incoming webhooks and their kin take it.
//!
//! What must stay true: a rollback neither waits for it nor fails with it; the URL is a secret and is never printed.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::Args;
use crate::cli::Context;
use crate::cli::Failure;
use crate::config;
use crate::config::Config;

/// Of one try.
const LIMIT: Duration = Duration::from_secs(5);
/// Tries; two pauses between them. Whoever is slow for longer is left out.
const TRIES: u32 = 3;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Where to, if anywhere.
pub(super) struct Notifier(Option<(reqwest::Client, reqwest::Url)>);

impl Notifier {
    /// The URL of the command line, or else the one in the file that the configuration names. A rollback needs nothing else of a configuration: one
    /// that is not in order stops none, nor does one at its usual place that cannot be read.
    pub(super) fn new(args: &Args, context: &Context) -> Result<Self, Failure> {
        let text = match &args.notify {
            Some(url) => url.clone(),
            None => match configured(context)? {
                Some(url) => url,
                None => return Ok(Self(None)),
            },
        };
        let unusable = |what: String| Failure::refused("rollback-notify", what).help("give a URL with --notify, or mend notify.url_file");
        let url = reqwest::Url::parse(text.trim()).map_err(|_| unusable("there is no URL to notify in notify.url_file".to_owned()))?;
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(LIMIT).build();
        Ok(Self(Some((client.map_err(|e| unusable("no HTTP client can be made".to_owned()).because(&e))?, url))))
    }

    /// There is somebody to tell.
    pub(super) fn tells(&self) -> bool {
        self.0.is_some()
    }

    /// Tells it, or says on stderr that it could not.
    pub(super) async fn tell(&self, event: &str, text: &str) {
        let Some((client, url)) = &self.0 else { return };
        let mut problem = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let sent = client.post(url.clone()).header("x-bellrock-event", event).json(&json!({ "text": text })).send().await;
            match sent.map(|answer| answer.status()) {
                Ok(status) if status.is_success() => return,
                Ok(status) => problem = format!("status {status}"),
                Err(error) => problem = error.without_url().to_string(),
            }
        }
        let host = url.host_str().unwrap_or_default();
        let _ = writeln!(
            anstream::stderr(),
            "[rollback-notify] {host} could not be told that it {event}: {problem}; the rollback does not depend on it (runbooks/rollback-notify.md)"
        );
    }
}

fn configured(context: &Context) -> Result<Option<String>, Failure> {
    let config = match Config::load(context.config.as_deref(), &context.env) {
        Ok(config) => config,
        // Whoever names a file that is not there meant another.
        Err(unreadable @ config::Error::Unreadable { .. }) if context.config.is_some() => return Err(unreadable.into()),
        Err(error) => {
            let (why, page) = match &error {
                config::Error::Unreadable { .. } => (error.to_string(), "config-unreadable"),
                config::Error::Wrong(_) => {
                    ("the configuration is not in order; `bellrock config check` lists what is wrong".to_owned(), "config-wrong")
                }
            };
            let _ = writeln!(anstream::stderr(), "Nobody is notified: {why} (runbooks/{page}.md)");
            return Ok(None);
        }
    };
    let Some(file) = config.notify_url_file else { return Ok(None) };
    let text = std::fs::read_to_string(&file).map_err(|e| {
        Failure::refused("rollback-notify", format!("cannot read {}; nothing was changed", file.display()))
            .because(&e)
            .help("let the user of this process read it, or give a URL with --notify")
    })?;
    Ok(Some(text))
}
