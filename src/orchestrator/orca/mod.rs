//! An Orca that something else runs, as a person mends it: which of its executions nobody works on, and its own commands to put one back on its queue or
//! to call it off for good.
//!
//! What must stay true: Redis is never written; what changes anything is one of Orca's admin calls, for one execution, asked for by a person; each call
//! and each look has its limit. Fails with what was not learnt, and with whether something may have been done.

pub mod execution;
mod keys;
pub mod zombie;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::StatusCode;
use serde::Deserialize;
use serde::Serialize;
use tokio::time::timeout;

use crate::model::Clock;
use crate::model::Timestamp;
use crate::orchestrator::web;
use crate::orchestrator::web::Answer;
use crate::orchestrator::web::Web;

use execution::Document;
use execution::Execution;
use execution::Kind;
use keys::Server;
use zombie::Look;
use zombie::Queue;
use zombie::Rules;
use zombie::Unsure;
use zombie::Verdict;
use zombie::Zombie;

/// For all that one look reads.
const LOOK_WITHIN: Duration = Duration::from_secs(120);
/// Executions that are looked at closely: a person mends no more than that one by one.
const MOST_SUSPECTS: usize = 200;
/// Of an id. Orca's are ULIDs of 26 letters, older ones UUIDs of 36.
const LONGEST_ID: usize = 64;

/// How it is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Base URL of its API.
    pub base: String,
    /// Credentials of its API.
    pub auth: web::Auth,
    /// Of every call, over HTTP and to Redis.
    pub limits: web::Limits,
    /// Where its queue is; `None` = zombies cannot be told.
    pub store: Option<Store>,
}

/// Its queue, and its executions.
#[derive(Clone, PartialEq, Eq)]
pub struct Store {
    /// Redis of Keiko's queue.
    pub queue_redis: String,
    /// `keiko.queue.redis.queueName`.
    pub queue: String,
    /// Redis of executions; `None` = they are elsewhere, such as in SQL, and its API is asked for them.
    pub executions_redis: Option<String>,
    /// What makes a zombie.
    pub rules: Rules,
}

impl fmt::Debug for Store {
    /// Leaves addresses out: they may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("queue", &self.queue).field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// Why something was not learnt, or not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration does not say where Orca's queue is.
    #[error("the configuration does not say where Orca's queue is")]
    NoStore,
    /// Its store was not read.
    #[error("Orca's store was not read: {0}")]
    Store(String),
    /// Orca answered, and the answer was no.
    #[error("Orca refused: {0}")]
    Refused(String),
    /// Nothing was sent.
    #[error("Orca was not reached: {0}")]
    NotSent(String),
    /// No answer, or none that makes sense: it may have been carried out.
    #[error("Orca did not answer: {0}")]
    NoAnswer(String),
}

/// An execution that was found running, before it is looked at closely.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Begun {
    id: String,
    /// `None` = the source does not say.
    kind: Option<Kind>,
    at: Option<Timestamp>,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    /// Executions that Orca has as RUNNING.
    pub running: usize,
    /// Messages in its queue.
    pub messages: u64,
    /// Nobody works on these.
    pub zombies: Vec<Zombie>,
    /// Of these it cannot be told.
    pub unsure: Vec<Unsure>,
    /// What was not looked at.
    pub notes: Vec<String>,
}

/// What Orca's hydration would do, or did, for one execution.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hydration {
    /// It can be done: every branch of it has a message to go on with. Orca does all of it or nothing.
    pub can_apply: bool,
    /// What for each branch.
    pub actions: Vec<HydrationAction>,
}

/// What Orca's hydration does for one branch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct HydrationAction {
    /// Orca's words.
    pub description: String,
    /// The message; without one this branch cannot go on.
    #[serde(default)]
    pub message: Option<HydrationMessage>,
    /// Which branch.
    #[serde(default)]
    pub context: HydrationContext,
}

/// What is read of a message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct HydrationMessage {
    /// Such as `runTask`.
    pub kind: String,
}

/// What is read of where a message belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HydrationContext {
    /// Type of the stage.
    pub stage_type: Option<String>,
    /// Name of the task.
    pub task_type: Option<String>,
}

/// What the command answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hydrated {
    dry_run: bool,
    executions: std::collections::BTreeMap<String, OfOne>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfOne {
    #[serde(default)]
    start_time: Option<i64>,
    #[serde(flatten)]
    hydration: Hydration,
}

/// Whether a text can be an execution's id. What is anything else would mean something else in an address or a key.
pub fn is_execution_id(text: &str) -> bool {
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// An Orca.
pub struct Orca {
    base: String,
    web: Web,
    store: Option<Reader>,
    clock: Arc<dyn Clock>,
}

struct Reader {
    queue: Server,
    name: String,
    executions: Option<Server>,
    rules: Rules,
}

impl Orca {
    /// Builds the adapter. Connects to nothing.
    pub fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, web::SetupError> {
        let Settings { base, auth, limits, store } = settings;
        web::check_url(base)?;
        let reader = |store: &Store| {
            let queue = Server::new(&store.queue_redis, *limits)?;
            let executions = store.executions_redis.as_ref().map(|url| Server::new(url, *limits)).transpose()?;
            Ok(Reader { queue, name: store.queue.clone(), executions, rules: store.rules.clone() })
        };
        Ok(Self { base: base.clone(), web: Web::new(*limits, auth.clone())?, store: store.as_ref().map(reader).transpose()?, clock })
    }

    /// Looks for zombies, among all executions or for one. Takes as long as the two looks have to be apart, when there is a suspect.
    pub async fn zombies(&self, only: Option<&str>) -> Result<Findings, Error> {
        let store = self.store.as_ref().ok_or(Error::NoStore)?;
        let mut findings = Findings::default();
        let Some(first) = within(self.first_look(store, only, &mut findings)).await? else { return Ok(findings) };
        tokio::time::sleep(store.rules.apart).await;
        let ids: Vec<(String, Kind)> = first.executions.iter().map(|execution| (execution.id.clone(), execution.kind)).collect();
        let second = within(self.second_look(store, &ids)).await?;
        let Verdict { zombies, unsure } = zombie::judge(&first, &second, &store.rules);
        Ok(Findings { zombies, unsure, messages: second.queue.messages, ..findings })
    }

    /// The executions that may be zombies, closely; `None` = there is none.
    async fn first_look(&self, store: &Reader, only: Option<&str>, findings: &mut Findings) -> Result<Option<Look>, Error> {
        let at = self.clock.now();
        let begun = self.running(store, only, findings).await?;
        let ids: BTreeSet<&str> = begun.iter().map(|begun| begun.id.as_str()).collect();
        let queue = store.read_queue(&ids).await?;
        findings.running = begun.len();
        findings.messages = queue.messages;
        let is_suspect = |begun: &&Begun| {
            queue.of(&begun.id).live == 0 && (only.is_some() || begun.at.is_none_or(|began| store.rules.is_old(began, at.wall)))
        };
        let suspects: Vec<&Begun> = begun.iter().filter(is_suspect).collect();
        if suspects.len() > MOST_SUSPECTS {
            findings.notes.push(format!("{} executions may be zombies; the first {MOST_SUSPECTS} were looked at", suspects.len()));
        }
        let mut executions = Vec::new();
        for begun in suspects.into_iter().take(MOST_SUSPECTS) {
            executions.extend(self.running_one(store, &begun.id, begun.kind).await?);
        }
        Ok((!executions.is_empty()).then_some(Look { at, executions, queue }))
    }

    async fn second_look(&self, store: &Reader, of: &[(String, Kind)]) -> Result<Look, Error> {
        let at = self.clock.now();
        let mut executions = Vec::new();
        for (id, kind) in of {
            executions.extend(self.running_one(store, id, Some(*kind)).await?);
        }
        let ids: BTreeSet<&str> = of.iter().map(|(id, _)| id.as_str()).collect();
        let queue = store.read_queue(&ids).await?;
        Ok(Look { at, executions, queue })
    }

    async fn running(&self, store: &Reader, only: Option<&str>, findings: &mut Findings) -> Result<Vec<Begun>, Error> {
        if let Some(id) = only {
            return Ok(vec![Begun { id: id.to_owned(), kind: None, at: None }]);
        }
        let Some(redis) = &store.executions else {
            // A dry run of the whole hydration is the one list of all that runs in Orca's API. It changes nothing.
            let hydrated = self.hydrate(None, true).await?;
            let begun = |(id, of): (String, OfOne)| Begun { id, kind: None, at: of.start_time.map(Timestamp) };
            return Ok(hydrated.executions.into_iter().map(begun).collect());
        };
        let running = redis.running().await.map_err(|e| Error::Store(e.to_string()))?;
        if running.is_cut {
            findings.notes.push("there are more executions than are read: the rest was not looked at".to_owned());
        }
        Ok(running.executions)
    }

    /// One execution in full, if it is RUNNING.
    async fn running_one(&self, store: &Reader, id: &str, kind: Option<Kind>) -> Result<Option<Execution>, Error> {
        match &store.executions {
            Some(redis) => {
                let kinds = kind.map_or(Kind::ALL.to_vec(), |kind| vec![kind]);
                redis.execution(id, &kinds).await.map_err(|e| Error::Store(e.to_string()))
            }
            None => {
                let found = self.execution(id).await?;
                Ok(found.filter(|(document, _)| document.is_running()).map(|(document, kind)| document.execution(id, kind)))
            }
        }
    }

    /// One execution as Orca's API has it, whatever its status; `None` = it has none of this id.
    pub async fn execution(&self, id: &str) -> Result<Option<(Document, Kind)>, Error> {
        for kind in Kind::ALL {
            let url = web::join(&self.base, &format!("{}/{id}", kind.collection()));
            let answer = self.web.get(&url).await.map_err(from_web)?;
            if answer.status == StatusCode::NOT_FOUND {
                continue;
            }
            let document = Document::read(&accepted(answer)?).map_err(|e| Error::NoAnswer(format!("{}/{id}: {e}", kind.collection())))?;
            return Ok(Some((document, kind)));
        }
        Ok(None)
    }

    /// Puts messages for one execution back on the queue, or with `dry_run` says which they would be; `None` = Orca has no such RUNNING execution.
    pub async fn rehydrate(&self, id: &str, dry_run: bool) -> Result<Option<Hydration>, Error> {
        let mut hydrated = self.hydrate(Some(id), dry_run).await?;
        Ok(hydrated.executions.remove(id).map(|of| of.hydration))
    }

    async fn hydrate(&self, id: Option<&str>, dry_run: bool) -> Result<Hydrated, Error> {
        let of = id.map(|id| format!("&executionId={id}")).unwrap_or_default();
        let url = web::join(&self.base, &format!("admin/queue/hydrate?dryRun={dry_run}{of}"));
        let body = accepted(self.web.call(Method::POST, &url, None, &[]).await.map_err(from_web)?)?;
        let hydrated: Hydrated = serde_json::from_slice(&body).map_err(|e| Error::NoAnswer(format!("admin/queue/hydrate: {e}")))?;
        if hydrated.dry_run == dry_run {
            Ok(hydrated)
        } else {
            Err(Error::NoAnswer(format!("admin/queue/hydrate was asked for dryRun={dry_run} and says dryRun={}", hydrated.dry_run)))
        }
    }

    /// Has Orca's store say that an execution, its unfinished stages and their tasks are CANCELED. Success means that Orca accepted it: read it back.
    pub async fn force_cancel(&self, id: &str, kind: Kind, by: &str) -> Result<(), Error> {
        let by: String = form_urlencoded::byte_serialize(by.as_bytes()).collect();
        let query = format!("admin/forceCancelExecution?executionId={id}&executionType={}&canceledBy={by}", kind.query());
        accepted(self.web.call(Method::PUT, &web::join(&self.base, &query), None, &[]).await.map_err(from_web)?).map(drop)
    }
}

impl Reader {
    async fn read_queue(&self, of: &BTreeSet<&str>) -> Result<Queue, Error> {
        self.queue.queue(&self.name, of).await.map_err(|e| Error::Store(e.to_string()))
    }
}

async fn within<T>(look: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = |_| Error::Store(format!("not read within {} s", LOOK_WITHIN.as_secs()));
    timeout(LOOK_WITHIN, look).await.map_err(late)?
}

fn from_web(error: web::Error) -> Error {
    match error {
        web::Error::NotSent { .. } | web::Error::Credential { .. } => Error::NotSent(error.to_string()),
        web::Error::NoAnswer { .. } | web::Error::TooLong { .. } => Error::NoAnswer(error.to_string()),
    }
}

/// A no is a 4xx; a 5xx is no answer.
fn accepted(answer: Answer) -> Result<Vec<u8>, Error> {
    let said = |answer: &Answer| format!("HTTP {}: {}", answer.status.as_u16(), web::excerpt(&answer.body));
    match answer.status {
        status if status.is_success() => Ok(answer.body),
        status if status.is_client_error() => Err(Error::Refused(said(&answer))),
        _ => Err(Error::NoAnswer(said(&answer))),
    }
}

#[cfg(test)]
mod tests;
