//! Group commit: writes that are under way together reach the server in one script call.
//!
//! What must stay true: every write is answered, with what became of it alone; one that cannot be carried out does not spoil the others; the queue
//! is bounded, and whoever finds it full waits, no longer than the limit.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::StoreError;
use super::super::Then;
use super::super::Write;
use super::super::WriteError;
use super::Shared;
use super::reply;
use super::reply::Parts;
use super::script;
use super::token;

/// Writes that wait to be sent: more than two workers' executions.
const QUEUE: usize = 4_096;
/// Writes in one call: some hundred microseconds of the server.
const TOGETHER: usize = 128;
/// Bytes in one call, so that large contexts do not hold up what follows.
const BYTES: usize = 1 << 20;

type Outcome = Result<(), WriteError>;

/// One write, as arguments of the script.
struct Job {
    args: Vec<Vec<u8>>,
    bytes: usize,
    reply: oneshot::Sender<Outcome>,
}

/// The sending end of the queue.
pub(super) struct Writer {
    queue: mpsc::Sender<Job>,
}

/// The other end.
pub(super) struct Queue(mpsc::Receiver<Job>);

impl Writer {
    pub(super) fn new() -> (Self, Queue) {
        let (queue, jobs) = mpsc::channel(QUEUE);
        (Self { queue }, Queue(jobs))
    }

    /// Puts a write in the queue and waits for what becomes of it.
    pub(super) async fn write(&self, write: Write, limit: Duration) -> Outcome {
        let args = arguments(write)?;
        let bytes = args.iter().map(Vec::len).sum();
        let (reply, outcome) = oneshot::channel();
        let gone = |_| WriteError::Store(StoreError::Unavailable("this process stops".to_owned()));
        let sent = async {
            self.queue.send(Job { args, bytes, reply }).await.map_err(|_| gone(()))?;
            outcome.await.map_err(|_| gone(()))?
        };
        timeout(limit, sent).await.unwrap_or_else(|_| Err(StoreError::Unavailable("writes wait too long".to_owned()).into()))
    }
}

impl Queue {
    /// Sends what is in the queue, for ever.
    pub(super) async fn send(&mut self, shared: &Shared) {
        let mut jobs = Vec::with_capacity(TOGETHER);
        while self.0.recv_many(&mut jobs, TOGETHER).await > 0 {
            while !jobs.is_empty() {
                let mut bytes = 0;
                let fits = jobs.iter().take_while(|job| {
                    bytes += job.bytes;
                    bytes <= BYTES
                });
                let count = fits.count().max(1);
                commit(shared, jobs.drain(..count).collect()).await;
            }
        }
    }
}

/// Sends these in one call and answers each. Nobody may listen any more: that is theirs to decide.
async fn commit(shared: &Shared, jobs: Vec<Job>) {
    let (args, replies): (Vec<_>, Vec<_>) = jobs.into_iter().map(|job| (job.args, job.reply)).unzip();
    let answer = shared
        .call(&script::WRITE, |cmd| {
            cmd.arg(args.len());
            for arg in args.iter().flatten() {
                cmd.arg(arg.as_slice());
            }
        })
        .await;
    match answer {
        Err(error) => {
            for reply in replies {
                let _ = reply.send(Err(error.clone().into()));
            }
        }
        Ok(mut answers) => {
            for reply in replies {
                let _ = reply.send(outcome(&mut answers));
            }
        }
    }
}

fn outcome(answers: &mut Parts) -> Outcome {
    match answers.value()? {
        redis::Value::Int(1) => Ok(()),
        redis::Value::Int(_) => Err(WriteError::Fenced),
        other => Err(StoreError::Refused(reply::text(other)?).into()),
    }
}

fn arguments(write: Write) -> Result<Vec<Vec<u8>>, StoreError> {
    let session = token(&write.lease.session);
    let lease = format!("{} {session}", write.lease.epoch);
    let mut set = write.set;
    let (after, due) = match write.then {
        Then::Keep => ("k", None),
        Then::Park { due } => {
            set.push(("_owner".to_owned(), format!("-{lease}")));
            ("p", due)
        }
        Then::Finish => {
            set.push(("_owner".to_owned(), format!(".{lease}")));
            ("f", None)
        }
    };
    let mut args: Vec<Vec<u8>> = Vec::with_capacity(16 + 2 * set.len() + write.remove.len());
    let mut arg = |text: String| args.push(text.into_bytes());
    arg(String::new());
    arg(write.lease.execution.0);
    arg(lease);
    arg(session);
    arg(after.to_owned());
    arg(due.map(|due| due.0.to_string()).unwrap_or_default());
    arg(write.taken.to_string());
    arg((2 * set.len()).to_string());
    for (name, text) in set {
        arg(name);
        arg(text);
    }
    arg(write.remove.len().to_string());
    write.remove.into_iter().for_each(&mut arg);
    match write.stage_index {
        None => arg("-1".to_owned()),
        Some(stages) => {
            arg(stages.len().to_string());
            stages.into_iter().for_each(&mut arg);
        }
    }
    arg(write.listing.map(|listing| listing.status.word().to_owned()).unwrap_or_default());
    arg(write.notices.len().to_string());
    for notice in write.notices {
        arg(notice.number.to_string());
        arg(serde_json::to_string(&notice).map_err(|e| StoreError::Refused(e.to_string()))?);
    }
    args[0] = (args.len() - 1).to_string().into_bytes();
    Ok(args)
}
