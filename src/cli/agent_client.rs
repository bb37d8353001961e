//! Asks the agent on this host over its unix socket.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use serde::Serialize;
use tokio::net::UnixStream;

use super::Context;
use super::Failure;
use crate::http::views;

/// To a connection; the agent is on this host.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// To the end of an answer; longer than the agent itself allows for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(25);

/// To whoever has to reach an agent while its file is broken.
const WITHOUT_A_CONFIGURATION: &str = "`bellrock config check` lists what is wrong; an agent that runs goes on with what it had, and \
     `--socket /run/bellrock/agent.sock`, or wherever http.socket was, reaches it";

/// The agent on this host.
pub(super) struct Agent {
    client: reqwest::Client,
    socket: PathBuf,
}

impl Agent {
    /// The agent whose socket is `socket`, or the configured one.
    pub(super) async fn connect(socket: Option<PathBuf>, context: &Context) -> Result<Self, Failure> {
        let socket = reach(socket, context).await?;
        let client = client().unix_socket(socket.clone()).build().map_err(|e| no_client(&e))?;
        Ok(Self { client, socket })
    }

    /// Its status.
    pub(super) async fn status(&self) -> Result<views::Status, Failure> {
        self.ask(Method::GET, "status", &()).await
    }

    /// Gives an order; the answer is the status after it.
    pub(super) async fn order(&self, what: &str, body: &impl Serialize) -> Result<views::Status, Failure> {
        self.ask(Method::POST, what, body).await
    }

    async fn ask(&self, method: Method, what: &str, body: &impl Serialize) -> Result<views::Status, Failure> {
        let silent = |e: reqwest::Error| {
            Failure::new("agent-silent", format!("the agent on {} does not answer", self.socket.display()))
                .because(&e)
                .help("ask again with `bellrock status`; an order may have been carried out")
        };
        let mut request = self.client.request(method.clone(), format!("http://agent/{what}"));
        if method == Method::POST {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(silent)?;
        let status = answer.status();
        let text = answer.bytes().await.map_err(silent)?;
        if status.is_success() {
            return serde_json::from_slice(&text).map_err(|e| {
                Failure::new("agent-silent", format!("what listens on {} is no bellrock agent", self.socket.display())).because(&e)
            });
        }
        let said = serde_json::from_slice::<views::Problem>(&text).map_or_else(|_| format!("HTTP {status}"), |problem| problem.message);
        Err(if status.is_client_error() {
            Failure::refused("agent-refused", format!("the agent refuses: {said}")).help("`bellrock status` shows what it is doing")
        } else {
            Failure::new("agent-silent", format!("the agent cannot do it now: {said}")).help("`bellrock status` shows what it is doing")
        })
    }
}

/// The socket on which an agent answers: this one, or the configured one.
pub(super) async fn reach(socket: Option<PathBuf>, context: &Context) -> Result<PathBuf, Failure> {
    let socket = match socket {
        Some(socket) => socket,
        // The agent that runs has what it had before.
        None => context.load_config().map_err(|wrong| wrong.help(WITHOUT_A_CONFIGURATION))?.http.socket,
    };
    // Asked for here, because the reason why nobody answers says what to do.
    let reached = tokio::time::timeout(CONNECT_WITHIN, UnixStream::connect(&socket)).await;
    reached.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|e| unreachable(&socket, &e))?;
    Ok(socket)
}

/// What all our clients have in common: no proxies, no redirects, an end to every answer.
pub(super) fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).connect_timeout(CONNECT_WITHIN).timeout(ANSWER_WITHIN)
}

/// Why there is no client.
pub(super) fn no_client(error: &reqwest::Error) -> Failure {
    Failure::new("runtime", "the HTTP client cannot be set up").because(error)
}

fn unreachable(socket: &std::path::Path, error: &io::Error) -> Failure {
    let at = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Failure::new("agent-not-running", format!("no agent listens on {at}")).because(error).help(
                "start it with `systemctl start bellrock`, or name its socket with --socket PATH or its configuration with --config FILE",
            )
        }
        io::ErrorKind::PermissionDenied => Failure::refused("agent-denied", format!("you may not talk to the agent on {at}"))
            .because(error)
            .help(format!("use sudo, or join the group that owns the socket (`ls -l {at}`)")),
        // A path that is too long, or leads through a file.
        _ => Failure::new("agent-silent", format!("the agent on {at} cannot be reached"))
            .because(error)
            .help("name its socket with --socket PATH, as `http.socket` of its configuration has it; `bellrock config show` prints that"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cli::Output;

    async fn failure(socket: PathBuf) -> Failure {
        let context = Context { output: Output::Text, config: None, env: BTreeMap::new() };
        Agent::connect(Some(socket), &context).await.err().unwrap()
    }

    #[tokio::test]
    async fn an_agent_that_is_not_there_is_told_from_one_that_is_dead() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        let absent = failure(path.clone()).await;
        assert_eq!(absent.code, "agent-not-running");
        assert!(absent.what.contains("agent.sock") && absent.help.unwrap().contains("systemctl start bellrock"));
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let dead = failure(path).await;
        assert_eq!(dead.code, "agent-not-running");
        assert!(dead.causes[0].contains("refused"), "{:?}", dead.causes);
        let nowhere = failure(dir.path().join("x".repeat(200))).await;
        assert_eq!((nowhere.code, nowhere.help.is_some_and(|help| help.contains("--socket PATH"))), ("agent-silent", true));
    }
}
