//! What is asked on the way: the person, whether to go ahead, and the service, whether it answers.

use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::cli::Failure;
use crate::rollback::Service;

/// Asks whether to go ahead; `refused` is what the answer no becomes. On a thread of its own: a read of the terminal cannot be given up, and a signal must not wait for it.
pub(in crate::cli) async fn confirm(cancel: &CancellationToken, refused: impl Fn(String) -> Failure) -> Result<(), Failure> {
    let refused = |what: &str| refused(format!("{what}; nothing was changed"));
    if !io::stdin().is_terminal() {
        return Err(refused("there is no terminal to ask at").help("read the plan with --dry-run, then pass --yes"));
    }
    let _ = write!(anstream::stderr(), "Go ahead? [y/N] ");
    let (tell, told) = oneshot::channel();
    let ask = move || {
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer).map(|_| answer);
        // Nobody listens any more after a signal.
        let _ = tell.send(read);
    };
    thread::Builder::new().name("question".to_owned()).spawn(ask).map_err(|e| refused("the question could not be put").because(&e))?;
    // Cancel-safe: the answer that is not waited for any more is not wanted either.
    let answer = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(refused("interrupted")),
        answer = told => answer.map_err(|e| refused("the answer could not be read").because(&e))?,
    };
    let answer = answer.map_err(|e| refused("the answer could not be read").because(&e))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(refused("not agreed to")) }
}

/// Asks the service over HTTP. A redirect is an answer; it is not followed.
pub(in crate::cli) struct Http(reqwest::Client);

impl Http {
    pub(in crate::cli) fn new() -> Result<Self, Failure> {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(Duration::from_secs(5)).build();
        client.map(Self).map_err(|e| Failure::new("runtime", "no HTTP client can be made").because(&e))
    }
}

#[async_trait]
impl Service for Http {
    async fn ask(&self, url: &str) -> Result<(), String> {
        let status = self.0.get(url).send().await.map_err(|e| e.to_string())?.status();
        if status.is_success() || status.is_redirection() { Ok(()) } else { Err(format!("status {status}")) }
    }
}
