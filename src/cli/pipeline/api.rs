//! Asks the API of the embedded engine: over the socket of the agent on this host, or over the network with a token.
//!
//! What must stay true: a token goes nowhere unencrypted but to this machine; every answer has a size and a time; what the API says of an error
//! reaches the person who asked, with everything it found wrong.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Certificate;
use reqwest::Method;
use reqwest::RequestBuilder;
use reqwest::Response;
use reqwest::StatusCode;
use reqwest::Url;
use reqwest::header::RETRY_AFTER;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::Context;
use crate::cli::Failure;
use crate::cli::agent_client;
use crate::http::api::views;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::Stage;

/// Longest answer, in bytes: an execution with contexts of 10 MB in some of its stages, or a page of definitions.
const ANSWER_LIMIT: usize = 256 << 20;
/// Longest line of a stream of events, in bytes.
const LINE_LIMIT: usize = 1 << 20;
/// A stream is silent no longer than this: the API sends a sign of life every 15 seconds.
const SILENT_FOR: Duration = Duration::from_secs(45);
/// Life of a stream; the API ends it after an hour.
const STREAM_FOR: Duration = Duration::from_secs(2 * 60 * 60);
/// A call that came too often is repeated so many times …
const REPEATS: u32 = 5;
/// … and no later than this.
const REPEAT_WITHIN: Duration = Duration::from_secs(5);
/// Longest token file, in bytes.
const TOKEN_LIMIT: usize = 4096;

/// Whom to ask.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Target {
    /// The agent's socket [default: http.socket of the configuration].
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    socket: Option<PathBuf>,
    /// An agent elsewhere, instead of the one on this host.
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// File with the token that the agent elsewhere wants, and nothing else.
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    /// PEM file of the authority that the agent elsewhere is vouched for by, where the system does not know it.
    #[arg(long, value_name = "FILE", requires = "url")]
    ca_file: Option<PathBuf>,
}

impl Target {
    /// These options again, for commands that are shown to people.
    pub(super) fn options(&self) -> String {
        let option = |name: &str, value: Option<String>| value.map(|value| format!(" --{name} {value}")).unwrap_or_default();
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        [
            option("socket", path(&self.socket)),
            option("url", self.url.as_ref().map(Url::to_string)),
            option("token-file", path(&self.token_file)),
            option("ca-file", path(&self.ca_file)),
        ]
        .concat()
    }
}

/// The API.
pub(super) struct Api {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
    /// Where it is, for people.
    at: String,
}

impl Api {
    pub(super) async fn connect(target: &Target, context: &Context) -> Result<Self, Failure> {
        let client = agent_client::client();
        let Some(base) = &target.url else {
            let socket = agent_client::reach(target.socket.clone(), context).await?;
            let at = format!("the agent on {}", socket.display());
            let http = client.unix_socket(socket).build().map_err(|e| agent_client::no_client(&e))?;
            let base = Url::parse("http://agent/").expect("a URL");
            return Ok(Self { http, base, token: None, at });
        };
        let token = target.token_file.as_deref().map(token).transpose()?;
        let wrong = |why: &str| Failure::refused("api-denied", format!("{base} is not asked: {why}"));
        match base.scheme() {
            "https" => {}
            "http" if token.is_none() || is_here(base) => {}
            "http" => return Err(wrong("the token could be read on the way").help("use https://")),
            _ => return Err(wrong("only https:// and http:// are spoken")),
        }
        let client = match &target.ca_file {
            Some(file) => client.tls_certs_only(authorities(file)?),
            None => client,
        };
        let http = client.build().map_err(|e| agent_client::no_client(&e))?;
        Ok(Self { http, base: base.clone(), token, at: base.to_string() })
    }

    /// Asks for something.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T, Failure> {
        let answer = self.ask(Method::GET, path, query, None).await?;
        serde_json::from_slice(&answer).map_err(|e| self.strange(&e))
    }

    /// Asks for a change; what is answered, if anything.
    pub(super) async fn send(&self, method: Method, path: &[&str], query: &[(&str, &str)], body: &Value) -> Result<Value, Failure> {
        let answer = self.ask(method, path, query, Some(body)).await?;
        if answer.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&answer).map_err(|e| self.strange(&e)) }
    }

    /// An execution as it stands.
    pub(super) async fn execution(&self, id: &str) -> Result<Execution, Failure> {
        self.get(&["pipelines", id], &[]).await
    }

    /// Its events from now on, after those that tell how it stands.
    pub(super) async fn events(&self, id: &str) -> Result<Events, Failure> {
        let request = self.request(Method::GET, &["pipelines", id, "events"], &[], None).timeout(STREAM_FOR);
        let answer = request.send().await.map_err(|e| self.silent(&e))?;
        if answer.status().is_success() { Ok(Events { answer, line: Vec::new() }) } else { Err(self.refusal(answer).await) }
    }

    async fn ask(&self, method: Method, path: &[&str], query: &[(&str, &str)], body: Option<&Value>) -> Result<Vec<u8>, Failure> {
        let mut repeats = 0;
        loop {
            let request = self.request(method.clone(), path, query, body);
            let mut answer = request.send().await.map_err(|e| self.silent(&e))?;
            if answer.status() == StatusCode::TOO_MANY_REQUESTS && repeats < REPEATS {
                repeats += 1;
                tokio::time::sleep(wait(&answer)).await;
                continue;
            }
            if !answer.status().is_success() {
                return Err(self.refusal(answer).await);
            }
            return self.read(&mut answer).await;
        }
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)], body: Option<&Value>) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.http.request(method, url).query(query);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        match body {
            Some(body) => request.json(body),
            None => request,
        }
    }

    async fn read(&self, answer: &mut Response) -> Result<Vec<u8>, Failure> {
        let mut text = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|e| self.silent(&e))? {
            if text.len() + part.len() > ANSWER_LIMIT {
                return Err(Failure::new("api-silent", format!("the answer of {} is longer than {ANSWER_LIMIT} bytes", self.at)));
            }
            text.extend_from_slice(&part);
        }
        Ok(text)
    }

    /// What an answer that is an error says to a person.
    async fn refusal(&self, mut answer: Response) -> Failure {
        let status = answer.status();
        let text = self.read(&mut answer).await.unwrap_or_default();
        let problem = serde_json::from_slice::<views::Problem>(&text).ok();
        let said = problem.as_ref().map_or_else(|| format!("HTTP {status}"), |problem| problem.message.clone());
        let mut failure = match (status, problem.as_ref().map(|problem| problem.code.as_str())) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                Failure::refused("api-denied", said).help("name a token of that role with --token-file, or ask on the host itself")
            }
            (StatusCode::NOT_FOUND, Some("not_found")) => Failure::refused("pipeline-not-found", said)
                .help("`bellrock pipeline list` shows the pipelines there are; executions are removed some time after their end"),
            (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, _) => {
                Failure::refused("api-absent", format!("{} runs no pipelines itself", self.at))
                    .help("it has to run the embedded engine: orchestrator.kind = \"embedded\"")
            }
            (StatusCode::SERVICE_UNAVAILABLE, Some("starting")) => {
                Failure::new("api-silent", format!("{} runs no pipelines yet: {said}", self.at)).help(
                    "`bellrock status` shows what it waits for; without instance metadata it does not begin (runbooks/no_metadata.md), \
                 and `bellrock pipeline run FILE` needs no agent",
                )
            }
            (StatusCode::CONFLICT, _) => Failure::refused("pipeline-conflict", said),
            (StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE, _) => Failure::refused("pipeline-wrong", said),
            (status, _) if status.is_client_error() => Failure::refused("agent-refused", said),
            _ => Failure::new("api-silent", format!("{} cannot do it now: {said}", self.at))
                .help("try again; `bellrock status` shows how it is"),
        };
        failure.causes = problem.into_iter().flat_map(|problem| problem.problems).map(|problem| told(&problem)).collect();
        failure
    }

    fn silent(&self, error: &reqwest::Error) -> Failure {
        Failure::new("api-silent", format!("{} does not answer", self.at))
            .because(error)
            .help("ask again; what was asked for may have been done")
    }

    fn strange(&self, error: &serde_json::Error) -> Failure {
        Failure::new("api-silent", format!("{} answers what this version does not understand", self.at))
            .because(error)
            .help("compare the versions: `bellrock version` here and there")
    }
}

/// True for failures that another try may mend.
pub(super) fn may_pass(failure: &Failure) -> bool {
    matches!(failure.code, "api-silent" | "agent-silent" | "agent-not-running")
}

/// Something of an execution came to another status.
#[derive(Debug, Deserialize)]
pub(super) struct News {
    /// Of the execution or of the stage.
    pub id: String,
    /// Its status now.
    pub status: String,
}

/// A stream of events.
pub(super) struct Events {
    answer: Response,
    line: Vec<u8>,
}

impl Events {
    /// The next event; `None` when the stream is over or broken. Safe to cancel: what was read of a line is kept.
    pub(super) async fn next(&mut self) -> Option<News> {
        loop {
            if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.line.drain(..=end).collect();
                // Lines that are no event of ours (names, signs of life) are passed over.
                let news = line.strip_prefix(b"data:").and_then(|data| serde_json::from_slice(data).ok());
                if news.is_some() {
                    return news;
                }
                continue;
            }
            let part = tokio::time::timeout(SILENT_FOR, self.answer.chunk()).await.ok()?.ok()??;
            if self.line.len() + part.len() > LINE_LIMIT {
                return None;
            }
            self.line.extend_from_slice(&part);
        }
    }
}

/// The stage that a person means: its id, its reference id, or a name that no other stage has.
pub(super) fn stage<'a>(execution: &'a Execution, wanted: &str) -> Result<&'a Stage, Failure> {
    let stages = execution.stages();
    if let Some(found) = stages.iter().find(|stage| stage.id.as_str() == wanted || stage.head().ref_id == wanted) {
        return Ok(found);
    }
    let mut named = stages.iter().filter(|stage| stage.head().name == wanted);
    let known = || stages.iter().map(|stage| format!("[{}] {}", stage.head().ref_id, stage.head().name)).collect::<Vec<_>>().join(", ");
    match (named.next(), named.next()) {
        (Some(found), None) => Ok(found),
        (None, _) => Err(Failure::refused("pipeline-not-found", format!("{} has no stage {wanted:?}", execution.id)).help(known())),
        (Some(_), Some(_)) => Err(Failure::refused("pipeline-not-found", format!("several stages are called {wanted:?}"))
            .help(format!("name one by what stands in brackets: {}", known()))),
    }
}

/// A problem of a document, as its own `Display` tells it.
fn told(problem: &Value) -> String {
    let text = |key: &str| problem[key].as_str().unwrap_or_default();
    let place = if text("path").is_empty() { "the document" } else { text("path") };
    let help = if text("help").is_empty() { String::new() } else { format!(" ({})", text("help")) };
    format!("{place}: {}{help}", text("message"))
}

fn wait(answer: &Response) -> Duration {
    let said = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|value| value.parse().ok());
    Duration::from_secs(said.unwrap_or(1)).min(REPEAT_WITHIN)
}

fn is_here(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

/// Those in a PEM file, and no others.
fn authorities(path: &Path) -> Result<Vec<Certificate>, Failure> {
    let unusable = |why: String| Failure::refused("api-denied", format!("{} names no authority: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|e| unusable(e.to_string()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if found.is_empty() => Err(unusable("it holds no certificate in PEM".to_owned())),
        Ok(found) => Ok(found),
        Err(e) => Err(unusable(e.to_string())),
    }
}

fn token(path: &Path) -> Result<String, Failure> {
    let unusable = |why: String| Failure::refused("api-denied", format!("{} holds no token: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| unusable(e.to_string()))?;
    match text.trim() {
        "" => Err(unusable("it is empty".to_owned())),
        token if token.len() > TOKEN_LIMIT => Err(unusable(format!("it has more than {TOKEN_LIMIT} bytes"))),
        token if token.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(token.to_owned()),
        _ => Err(unusable("a token has no spaces and no line breaks".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::engine::execution::Head;
    use crate::orchestrator::engine::execution::Object;
    use crate::orchestrator::engine::execution::StageId;
    use crate::orchestrator::engine::execution::Summary;

    #[test]
    fn a_stage_is_found_by_id_reference_or_a_name_of_its_own() {
        let named = |ref_id: &str, name: &str| {
            let head = Head { ref_id: ref_id.into(), name: name.into(), ..Head::default() };
            Stage::new(StageId(format!("E-{ref_id}")), head, Object::new())
        };
        let stages = vec![named("1", "Build"), named("2", "Check"), named("3", "Check"), named("4", "2")];
        let execution = Execution::new("E".into(), Summary::default(), stages);
        let found = |wanted: &str| stage(&execution, wanted).map(|stage| stage.head().ref_id.clone()).map_err(|e| e.what);
        assert_eq!(found("E-3").as_deref(), Ok("3"));
        assert_eq!(found("2").as_deref(), Ok("2"), "a reference wins over a name");
        assert_eq!(found("Build").as_deref(), Ok("1"));
        assert!(found("Check").unwrap_err().contains("several"));
        assert!(found("none").unwrap_err().contains("no stage"));
    }

    #[tokio::test]
    async fn a_token_is_not_sent_in_the_clear_to_another_machine() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "secret\n").unwrap();
        let context = Context { output: crate::cli::Output::Text, config: None, env: std::collections::BTreeMap::new() };
        let target = |url: &str| Target { socket: None, url: Some(url.parse().unwrap()), token_file: Some(file.clone()), ca_file: None };
        for (url, goes) in
            [("https://b.example/", true), ("http://127.0.0.1:1/", true), ("http://[::1]/", true), ("http://b.example/", false)]
        {
            assert_eq!(Api::connect(&target(url), &context).await.is_ok(), goes, "{url}");
        }
        std::fs::write(&file, "two words").unwrap();
        assert!(Api::connect(&target("https://b.example/"), &context).await.is_err());
    }
}
