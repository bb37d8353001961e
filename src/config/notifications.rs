//! `[orchestrator.notifications]`: the ways by which people are told. A way is there when its first key is.

use std::path::PathBuf;

use reqwest::header::HeaderName;

use super::kind::HttpUrl;
use super::kind::choice;
use super::kind::text_kind;
use super::sheet::Chosen;
use super::sheet::Sheet;
use crate::orchestrator::runner::notify::mail;
use crate::orchestrator::runner::notify::mail::Mail;
use crate::orchestrator::runner::notify::mail::Security;
use crate::orchestrator::runner::notify::slack;
use crate::orchestrator::runner::notify::webhook;
use crate::orchestrator::web::Auth;

choice!(Security { "starttls" => Security::StartTls, "tls" => Security::Tls, "none" => Security::None });
text_kind!(HeaderName, "the name of a header such as \"X-Api-Key\"", |t: &str| t.parse().ok(), |name: &HeaderName| name.to_string());

/// Ways to people; `None` = not that one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notifications {
    /// By email.
    pub email: Option<mail::Settings>,
    /// By Slack.
    pub slack: Option<slack::Settings>,
    /// By a webhook of anybody's.
    pub webhook: Option<webhook::Settings>,
}

/// The whole table; `holds` when the engine is chosen.
pub(super) fn notifications(sheet: &mut Sheet<'_>, embedded: Chosen) -> Notifications {
    let before = sheet.within(Some(embedded));
    let link_base = sheet.optional::<HttpUrl>("orchestrator.notifications.link").map(|url| url.0);
    let ways = Notifications {
        email: email(sheet, link_base.clone()),
        slack: slack(sheet, link_base.clone()),
        webhook: webhook(sheet, link_base),
    };
    sheet.within(before);
    ways
}

fn email(sheet: &mut Sheet<'_>, link_base: Option<String>) -> Option<mail::Settings> {
    const SERVER: &str = "orchestrator.notifications.email.server";
    const FROM: &str = "orchestrator.notifications.email.from";
    const SECURITY: &str = "orchestrator.notifications.email.security";
    const USER: &str = "orchestrator.notifications.email.user";
    let host = sheet.optional::<String>(SERVER);
    let chosen = Chosen { holds: sheet.is_written(SERVER), by: SERVER, what: SERVER };
    let security = sheet.chosen_or(&chosen, SECURITY, Security::StartTls);
    let usual = match security {
        Security::StartTls => 587u32,
        Security::Tls => 465,
        Security::None => 25,
    };
    let port = sheet.chosen_or(&chosen, "orchestrator.notifications.email.port", usual);
    let port = u16::try_from(port).ok().filter(|port| *port > 0);
    sheet.check("orchestrator.notifications.email.port", port.is_some(), "is no port", "allowed: 1 to 65535");
    let from = sheet.needed::<String>(&chosen, FROM);
    let user = sheet.chosen::<String>(&chosen, USER);
    let named = Chosen { holds: chosen.holds && user.is_some(), by: USER, what: USER };
    let password_file = sheet.needed::<PathBuf>(&named, "orchestrator.notifications.email.password_file");
    let open = security == Security::None && user.is_some();
    sheet.check(USER, !open, "its password would be sent without TLS", format!("set {SECURITY}, or leave the user out"));
    let settings = mail::Settings { host: host?, port: port?, security, from: from?, user: user.zip(password_file), link_base };
    if !open && let Err(error) = Mail::new(settings.clone()) {
        sheet.wrong(FROM, error.to_string(), "allowed: an address such as \"Bellrock <bellrock@example.com>\"");
    }
    Some(settings)
}

fn slack(sheet: &mut Sheet<'_>, link_base: Option<String>) -> Option<slack::Settings> {
    const URL_FILE: &str = "orchestrator.notifications.slack.url_file";
    const TOKEN_FILE: &str = "orchestrator.notifications.slack.token_file";
    let url_file = sheet.optional::<PathBuf>(URL_FILE);
    let token_file = sheet.optional::<PathBuf>(TOKEN_FILE);
    let bot = Chosen { holds: sheet.is_written(TOKEN_FILE), by: TOKEN_FILE, what: TOKEN_FILE };
    let HttpUrl(api) = sheet.chosen_or(&bot, "orchestrator.notifications.slack.api", HttpUrl(slack::API.to_owned()));
    sheet.check(TOKEN_FILE, url_file.is_none() || token_file.is_none(), format!("and {URL_FILE} are two ways"), "only one of them");
    let by = match (url_file, token_file) {
        (Some(url_file), _) => slack::By::Webhook { url_file },
        (None, token_file) => slack::By::Bot { token_file: token_file?, api },
    };
    Some(slack::Settings { by, link_base })
}

fn webhook(sheet: &mut Sheet<'_>, link_base: Option<String>) -> Option<webhook::Settings> {
    const URL: &str = "orchestrator.notifications.webhook.url";
    const TOKEN_FILE: &str = "orchestrator.notifications.webhook.token_file";
    let url = sheet.optional::<HttpUrl>(URL);
    let chosen = Chosen { holds: sheet.is_written(URL), by: URL, what: URL };
    let token_file = sheet.chosen::<PathBuf>(&chosen, TOKEN_FILE);
    let secret = Chosen { holds: chosen.holds && token_file.is_some(), by: TOKEN_FILE, what: TOKEN_FILE };
    let header = sheet.chosen::<HeaderName>(&secret, "orchestrator.notifications.webhook.token_header");
    let auth = match (token_file, header) {
        (None, _) => Auth::None,
        (Some(file), None) => Auth::Bearer(file),
        (Some(file), Some(name)) => Auth::Header { name, file },
    };
    Some(webhook::Settings { url: url?.0, auth, link_base })
}
