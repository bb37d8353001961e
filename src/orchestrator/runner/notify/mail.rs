//! Notices by email, over SMTP: notification blocks of type `email`, to their `address` and `cc` (lists with commas).
//!
//! What must stay true: the password is read from its file for each message, so that a rotated one is picked up; a server that is away, busy or refuses
//! our credentials is asked again later, an address it refuses for good is not. A message has the id of its notice, so that one that was sent twice can
//! be known.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use lettre::AsyncSmtpTransport;
use lettre::AsyncTransport;
use lettre::Message;
use lettre::Tokio1Executor;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::Tls;
use lettre::transport::smtp::client::TlsParameters;

use super::Channel;
use super::NotTold;
use super::field;
use super::letter;
use crate::orchestrator::store::Outgoing;
use crate::orchestrator::web::secret;

/// One step of the conversation with the server.
const STEP: Duration = Duration::from_secs(10);
/// Most recipients of one message; more is a mailing list's work.
const RECIPIENTS: usize = 50;
/// Answers that are about our credentials, not about the message.
const OUR_FAULT: [&str; 4] = ["530", "534", "535", "538"];

/// How the connection is kept from others' eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte; usually port 465.
    Tls,
    /// TLS after `STARTTLS`, or nothing is sent; usually port 587.
    StartTls,
    /// None: a relay on this host.
    None,
}

/// The server to send by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name, which its certificate has to bear.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is secured.
    pub security: Security,
    /// Whom messages are from: `Bellrock <bellrock@example.com>`.
    pub from: String,
    /// Who sends: user name, and the file with the password. `None` = the server asks for nobody.
    pub user: Option<(String, PathBuf)>,
    /// Where people see executions, without what follows `/pipelines`.
    pub link_base: Option<String>,
}

/// Settings of no use.
#[derive(Debug, thiserror::Error)]
#[error("email: {0}")]
pub struct SetupError(String);

/// The way by email.
#[derive(Debug)]
pub struct Mail {
    settings: Settings,
    from: Mailbox,
    tls: Tls,
}

impl Mail {
    /// Sends by this server. Connects to nothing yet.
    ///
    /// # Errors
    /// The sender is no address, TLS does not start, or a password would go over an open connection.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        let from = settings.from.parse().map_err(|e| SetupError(format!("{:?} is no sender: {e}", settings.from)))?;
        let parameters = || TlsParameters::new(settings.host.clone()).map_err(|e| SetupError(format!("TLS: {e}")));
        let tls = match settings.security {
            Security::Tls => Tls::Wrapper(parameters()?),
            Security::StartTls => Tls::Required(parameters()?),
            Security::None if settings.user.is_some() => return Err(SetupError("a password is not sent without TLS".to_owned())),
            Security::None => Tls::None,
        };
        Ok(Self { settings, from, tls })
    }

    fn message(&self, notice: &Outgoing) -> Result<Message, NotTold> {
        let never = |why: String| NotTold { why, again: false };
        let (subject, text) = letter(notice, self.settings.link_base.as_deref());
        // An execution's name must not become a header.
        let subject: String = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let to = mailboxes(field(notice, "address")).map_err(never)?;
        let cc = mailboxes(field(notice, "cc")).map_err(never)?;
        if to.is_empty() {
            return Err(never("the notification has no address".to_owned()));
        }
        if to.len() + cc.len() > RECIPIENTS {
            return Err(never(format!("more than {RECIPIENTS} recipients")));
        }
        let id = format!("<{}@{}>", super::plain(&notice.id), self.from.email.domain());
        let mut builder = Message::builder().from(self.from.clone()).subject(subject).message_id(Some(id)).header(ContentType::TEXT_PLAIN);
        for mailbox in to {
            builder = builder.to(mailbox);
        }
        for mailbox in cc {
            builder = builder.cc(mailbox);
        }
        builder.body(text).map_err(|e| never(format!("the message cannot be made: {e}")))
    }
}

fn mailboxes(list: &str) -> Result<Vec<Mailbox>, String> {
    let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(|entry| entry.parse().map_err(|e| format!("{entry:?} is no address: {e}"))).collect()
}

#[async_trait]
impl Channel for Mail {
    fn serves(&self) -> &'static str {
        "email"
    }

    async fn tell(&self, notice: &Outgoing) -> Result<(), NotTold> {
        let message = self.message(notice)?;
        let Settings { host, port, user, .. } = &self.settings;
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.as_str());
        builder = builder.port(*port).tls(self.tls.clone()).timeout(Some(STEP));
        if let Some((user, file)) = user {
            let password = secret(file).await.map_err(|e| NotTold { why: e.to_string(), again: true })?;
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        match builder.build().send(message).await {
            Ok(_) => Ok(()),
            Err(error) => Err(NotTold { why: format!("{host}: {error}"), again: !for_good(&error) }),
        }
    }
}

fn for_good(error: &smtp::Error) -> bool {
    error.is_permanent() && !error.status().is_some_and(|code| OUR_FAULT.contains(&code.to_string().as_str()))
}
