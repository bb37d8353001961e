//! Bounded HTTP, for talking to an orchestrator and to Spinnaker's Gate.
//!
//! What must stay true: every call ends within its limits, no answer is read past [`Limits::body`], no proxy and no redirect is
//! followed (a login page is no answer), and a credential is read from its file at each call, so that a rotated one is picked up.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use reqwest::StatusCode;
use reqwest::header::HeaderName;
use reqwest::header::HeaderValue;

/// Limits of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To a connection. Default 2 s.
    pub connect: Duration,
    /// To the last byte of the answer. Default 5 s.
    pub total: Duration,
    /// The longest answer that is read, in bytes. Default 4 MiB: a fleet's whole `activeByInstance` is far below it.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), total: Duration::from_secs(5), body: 4 << 20 }
    }
}

/// Credentials of a call. Secrets stay in files, so that they are in no configuration dump and can be rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// None.
    None,
    /// `Authorization: Bearer`, with what the file holds.
    Bearer(PathBuf),
    /// A header of the receiver's own, such as `X-Api-Key`, with what the file holds.
    Header {
        /// Its name.
        name: HeaderName,
        /// Holds its value.
        file: PathBuf,
    },
    /// `Authorization: Basic`.
    Basic {
        /// User name.
        user: String,
        /// Holds the password.
        password_file: PathBuf,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection was made, so nothing was sent.
    #[error("no connection to {url}: {cause}")]
    NotSent {
        /// Where to.
        url: String,
        /// The innermost cause.
        cause: String,
    },
    /// It may have been sent, and carried out.
    #[error("no answer from {url}: {cause}")]
    NoAnswer {
        /// Where to.
        url: String,
        /// The innermost cause.
        cause: String,
    },
    /// The answer is longer than the limit.
    #[error("the answer of {url} is longer than {limit} bytes")]
    TooLong {
        /// Where from.
        url: String,
        /// In bytes.
        limit: usize,
    },
    /// The credential's file cannot be used; nothing was sent.
    #[error("cannot use the credential in {path}: {cause}")]
    Credential {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never its content.
        cause: String,
    },
}

/// A client could not be set up: a URL or method that is none, or TLS that does not start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(pub String);

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// At most [`Limits::body`] bytes.
    pub body: Vec<u8>,
}

/// One client; cheap to clone, connections are shared.
#[derive(Clone, Debug)]
pub struct Web {
    client: reqwest::Client,
    auth: Auth,
    body_limit: usize,
}

impl Web {
    /// Builds the client. Connects to nothing.
    pub fn new(limits: Limits, auth: Auth) -> Result<Self, SetupError> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(limits.connect)
            .timeout(limits.total)
            .build()
            .map_err(|e| SetupError(format!("HTTP client: {}", innermost(&e))))?;
        Ok(Self { client, auth, body_limit: limits.body })
    }

    /// GET.
    pub async fn get(&self, url: &str) -> Result<Answer, Error> {
        self.send(self.client.get(url), url).await
    }

    /// Any method, with a JSON body when one is given.
    pub async fn call(&self, method: Method, url: &str, body: Option<String>, headers: &[(&'static str, String)]) -> Result<Answer, Error> {
        let mut request = self.client.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some(body) = body {
            request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        }
        self.send(request, url).await
    }

    async fn send(&self, request: reqwest::RequestBuilder, url: &str) -> Result<Answer, Error> {
        let url = without_secrets(url);
        let request = match &self.auth {
            Auth::None => request,
            Auth::Bearer(path) => request.header(reqwest::header::AUTHORIZATION, hidden(path, format!("Bearer {}", secret(path).await?))?),
            Auth::Header { name, file } => request.header(name, hidden(file, secret(file).await?)?),
            Auth::Basic { user, password_file } => request.basic_auth(user, Some(secret(password_file).await?)),
        };
        let no_answer = |e: reqwest::Error| {
            let cause = innermost(&e);
            if e.is_connect() || e.is_builder() {
                Error::NotSent { url: url.clone(), cause }
            } else {
                Error::NoAnswer { url: url.clone(), cause }
            }
        };
        let mut response = request.send().await.map_err(no_answer)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
            if body.len() + chunk.len() > self.body_limit {
                return Err(Error::TooLong { url, limit: self.body_limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status: response.status(), body })
    }
}

/// A URL checked to be `http` or `https`, so that a typing error is found at the start.
pub fn check_url(url: &str) -> Result<(), SetupError> {
    match reqwest::Url::parse(url) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => Ok(()),
        Ok(_) => Err(SetupError(format!("{}: not an http or https URL", without_secrets(url)))),
        Err(e) => Err(SetupError(format!("{}: {e}", without_secrets(url)))),
    }
}

/// `base` and `path` with exactly one slash between them.
pub fn join(base: &str, path: &str) -> String {
    format!("{}/{}", base.trim_end_matches('/'), path.trim_start_matches('/'))
}

/// The start of an answer for a message: one line, printable, short.
pub fn excerpt(body: &[u8]) -> String {
    const LONGEST: usize = 120;
    let start = String::from_utf8_lossy(&body[..body.len().min(4 * LONGEST)]);
    let text: String = start.trim().chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.is_empty() { "nothing".to_owned() } else { text }
}

fn without_secrets(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(mut parsed) => {
            // Both fail only for URLs that cannot carry credentials.
            let _ = parsed.set_password(None);
            let _ = parsed.set_username("");
            parsed.set_query(None);
            parsed.into()
        }
        Err(_) => "(not a URL)".to_owned(),
    }
}

/// A token is a line; a file beyond this is the wrong file.
const LONGEST_SECRET: u64 = 64 << 10;

/// What a file of one secret holds, without the newline that editors put at its end.
pub(super) async fn secret(path: &Path) -> Result<String, Error> {
    let size = tokio::fs::metadata(path).await.map_err(|e| bad_secret(path, e))?.len();
    if size > LONGEST_SECRET {
        return Err(bad_secret(path, "too long"));
    }
    let text = tokio::fs::read_to_string(path).await.map_err(|e| bad_secret(path, e))?;
    let text = text.trim();
    if text.is_empty() { Err(bad_secret(path, "empty")) } else { Ok(text.to_owned()) }
}

/// A value that no log shows.
fn hidden(path: &Path, value: String) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::try_from(value).map_err(|_| bad_secret(path, "not fit for a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn bad_secret(path: &Path, cause: impl std::fmt::Display) -> Error {
    Error::Credential { path: path.to_owned(), cause: cause.to_string() }
}

/// The cause that says something; the outer ones repeat the URL.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "timed out".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
