//! Group commit: writes that are under way together reach the server in one script call, and so do creations.
//!
//! What must stay true: every one is answered, with what became of it alone; one that cannot be carried out does not spoil the others; the queue
//! is bounded, and whoever finds it full waits, no longer than the limit.

use std::time::Duration;

use redis::Value;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::NewExecution;
use super::super::StoreError;
use super::super::Then;
use super::super::Write;
use super::guard;
use super::reply::Parts;
use super::script::Script;
use super::shared::Room;
use super::shared::Shared;

/// Jobs that wait to be sent: more than two workers' executions.
const QUEUE: usize = 4_096;
/// Jobs in one call: some hundred microseconds of the server.
const TOGETHER: usize = 128;
/// Bytes in one call, so that large contexts do not hold up what follows.
const BYTES: usize = 1 << 20;

/// One job's arguments of the script, one behind the other.
#[derive(Default)]
pub(super) struct Arguments {
    data: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

/// One job, and who waits for what becomes of it.
struct Job {
    /// The life of the data that it builds on; `None` = on nothing that was read.
    life: Option<u64>,
    arguments: Arguments,
    reply: oneshot::Sender<Result<Value, StoreError>>,
}

/// The sending end of a queue.
pub(super) struct Writer {
    queue: mpsc::Sender<Job>,
}

/// The other end: everything in it goes to one script.
pub(super) struct Queue {
    jobs: mpsc::Receiver<Job>,
    script: &'static Script,
}

impl Writer {
    pub(super) fn new(script: &'static Script) -> (Self, Queue) {
        let (queue, jobs) = mpsc::channel(QUEUE);
        (Self { queue }, Queue { jobs, script })
    }

    /// Puts a job in the queue and waits for what becomes of it.
    pub(super) async fn send(&self, life: Option<u64>, arguments: Arguments, limit: Duration) -> Result<Value, StoreError> {
        let (reply, outcome) = oneshot::channel();
        let gone = || StoreError::Unavailable("this process stops".to_owned());
        let sent = async {
            self.queue.send(Job { life, arguments, reply }).await.map_err(|_| gone())?;
            outcome.await.map_err(|_| gone())?
        };
        timeout(limit, sent).await.unwrap_or_else(|_| Err(StoreError::Unavailable("writes wait too long".to_owned())))
    }
}

impl Queue {
    /// Sends what is in the queue, for ever.
    pub(super) async fn send(&mut self, shared: &Shared) {
        let mut jobs = Vec::with_capacity(TOGETHER);
        while self.jobs.recv_many(&mut jobs, TOGETHER).await > 0 {
            while !jobs.is_empty() {
                let mut bytes = 0;
                let fits = jobs.iter().take_while(|job| {
                    bytes += job.arguments.data.len();
                    bytes <= BYTES
                });
                let count = fits.count().max(1);
                commit(shared, self.script, jobs.drain(..count)).await;
            }
        }
    }
}

/// Sends these in one call and answers each. Nobody may listen any more: that is theirs to decide.
async fn commit(shared: &Shared, script: &Script, jobs: impl Iterator<Item = Job>) {
    let told = shared.guard.known();
    // Those that build on what is gone do not reach the server.
    let (jobs, gone): (Vec<Job>, Vec<Job>) = jobs.partition(|job| job.life.is_none_or(|life| life == told.life));
    for job in gone {
        let _ = job.reply.send(Err(guard::over()));
    }
    if jobs.is_empty() {
        return;
    }
    let mut replies = Vec::with_capacity(jobs.len());
    let room = Room {
        arguments: jobs.iter().map(|job| 1 + job.arguments.ends.len()).sum(),
        // Each is preceded by how many arguments it has.
        bytes: jobs.iter().map(|job| 8 + job.arguments.data.len()).sum(),
    };
    let answer = shared
        .call_with(told, script, room, |cmd| {
            cmd.arg(jobs.len());
            for Job { life: _, arguments, reply } in jobs {
                arguments.put(cmd);
                replies.push(reply);
            }
        })
        .await;
    match answer {
        Err(error) => {
            for reply in replies {
                let _ = reply.send(Err(error.clone()));
            }
        }
        Ok(mut answers) => {
            for reply in replies {
                let _ = reply.send(outcome(&mut answers));
            }
        }
    }
}

/// What became of one: a table with one text is what went wrong with it alone.
fn outcome(answers: &mut Parts) -> Result<Value, StoreError> {
    match answers.value()? {
        Value::Array(why) => Err(StoreError::Refused(Parts::of(Value::Array(why))?.text()?)),
        other => Ok(other),
    }
}

impl Arguments {
    fn with_capacity(count: usize, bytes: usize) -> Self {
        Self { data: Vec::with_capacity(bytes), ends: Vec::with_capacity(count) }
    }

    fn text(&mut self, text: &str) {
        self.data.extend_from_slice(text.as_bytes());
        self.ends.push(self.data.len());
    }

    fn number(&mut self, number: impl std::fmt::Display) {
        use std::io::Write as _;
        write!(self.data, "{number}").expect("a vector takes everything");
        self.ends.push(self.data.len());
    }

    /// How many they are, then all of them.
    fn put(&self, cmd: &mut redis::Cmd) {
        cmd.arg(self.ends.len());
        let mut from = 0;
        for end in &self.ends {
            cmd.arg(&self.data[from..*end]);
            from = *end;
        }
    }
}

/// Most writes: fields are set, and nothing else. The server takes time for every argument.
fn is_plain(write: &Write) -> bool {
    let Write { lease: _, number: _, set, remove, stage_index, listing, taken, notices, then } = write;
    !set.is_empty()
        && remove.is_empty()
        && stage_index.is_none()
        && listing.is_none()
        && *taken == 0
        && notices.is_empty()
        && *then == Then::Keep
}

/// What the script of writes is to be told of this one, by this session.
pub(super) fn write(write: &Write, session: &str) -> Result<Arguments, StoreError> {
    let lease = format!("{} {session}", write.lease.epoch);
    let (after, due, mark) = match write.then {
        Then::Keep => ("k", None, None),
        Then::Park { due } => ("p", due, Some('-')),
        Then::Finish => ("f", None, Some('.')),
    };
    let bytes = write.set.iter().map(|(name, text)| name.len() + text.len()).sum::<usize>() + 256;
    let mut args = Arguments::with_capacity(18 + 2 * write.set.len() + write.remove.len(), bytes);
    args.text(&write.lease.execution.0);
    args.text(&lease);
    if is_plain(write) {
        args.text("s");
        args.text("_write");
        args.number(write.number);
        for (name, text) in &write.set {
            args.text(name);
            args.text(text);
        }
        return Ok(args);
    }
    args.text(after);
    args.text(session);
    match due {
        Some(due) => args.number(due.0),
        None => args.text(""),
    }
    args.number(write.taken);
    args.number(2 * (1 + write.set.len() + usize::from(mark.is_some())));
    args.text("_write");
    args.number(write.number);
    for (name, text) in &write.set {
        args.text(name);
        args.text(text);
    }
    if let Some(mark) = mark {
        args.text("_owner");
        args.number(format_args!("{mark}{lease}"));
    }
    args.number(write.remove.len());
    write.remove.iter().for_each(|name| args.text(name));
    match &write.stage_index {
        None => args.text("-1"),
        Some(stages) => {
            args.number(stages.len());
            stages.iter().for_each(|stage| args.text(stage));
        }
    }
    args.text(write.listing.as_ref().map(|listing| listing.status.word()).unwrap_or_default());
    args.number(write.notices.len());
    for notice in &write.notices {
        args.number(notice.number);
        args.text(&super::json(notice)?);
    }
    Ok(args)
}

/// What the script of creations is to be told of this one.
pub(super) fn create(new: &NewExecution) -> Arguments {
    let NewExecution { listing, record, correlation_id, due, limit } = new;
    let bytes = record.fields.iter().map(|(name, text)| name.len() + text.len()).sum::<usize>() + 256;
    let mut args = Arguments::with_capacity(13 + 2 * record.fields.len() + record.stage_index.len(), bytes);
    args.text(&listing.id.0);
    args.text(listing.kind.word());
    args.text(&listing.application);
    args.text(listing.pipeline_config_id.as_deref().unwrap_or_default());
    args.text(correlation_id.as_deref().unwrap_or_default());
    args.number(due.0);
    args.text(listing.status.word());
    args.number(listing.build_time.0);
    args.number(2 * record.fields.len() + 2 + if correlation_id.is_some() { 2 } else { 0 });
    args.number(record.stage_index.len());
    args.number(limit.unwrap_or(0));
    for (name, text) in &record.fields {
        args.text(name);
        args.text(text);
    }
    args.text("_owner");
    args.text("-0");
    if let Some(correlation_id) = correlation_id {
        args.text("_correlation");
        args.text(correlation_id);
    }
    record.stage_index.iter().for_each(|id| args.text(id));
    args
}
