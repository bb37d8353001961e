//! Spinnaker as the hand that retires an instance: one task in the application's Tasks, submitted once and followed to its end.
//!
//! What must stay true: a submission whose answer was lost is never repeated before [`Tasks::find`] was asked (F21), and it carries its
//! key both as the task's correlation id, by which Orca itself gives back an unfinished task instead of starting a second one, and in the
//! stage, by which we know it again. Every ending is an ending: a cancelled or skipped task is over, and not a success.

mod view;

use std::fmt;

use async_trait::async_trait;
use reqwest::Method;
use reqwest::StatusCode;
use reqwest::Url;
use serde::Deserialize;
use serde::Serialize;

use crate::cloud::OwnInstance;
use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::Timestamp;

use super::web;
use super::web::Answer;
use super::web::Web;

/// Which Spinnaker, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Gate's base URL, with or without a slash at the end.
    pub base: String,
    /// Sent as `X-SPINNAKER-USER` and as the task's `user`.
    pub user: String,
    /// Spinnaker's name of the AWS account, the task's `credentials`.
    pub account: String,
    /// Limits of every call.
    pub limits: web::Limits,
    /// Credentials of every call.
    pub auth: web::Auth,
}

/// What Spinnaker is asked to do: `terminateInstanceAndDecrementServerGroup` of our own instance, and of no other (S5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    /// Our instance.
    pub own: OwnInstance,
    /// Its server group.
    pub group: GroupName,
    /// The application whose Tasks keep the record.
    pub application: String,
    /// AWS region.
    pub region: String,
    /// Let Spinnaker lower min when it stands in the way (min-size policy `lower`).
    pub adjust_min: bool,
    /// Why, for the people who read the task.
    pub reason: String,
    /// Names this intent; the same in every attempt to carry it out, and in the journal.
    pub key: String,
}

/// Which tasks are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Our instance.
    pub own: InstanceId,
    /// Its server group.
    pub group: GroupName,
    /// In this application's Tasks.
    pub application: String,
    /// Our own submissions carry it.
    pub key: String,
    /// Older ones are of no interest.
    pub since: Timestamp,
}

/// Names the intent to end this instance in the drain that began then.
pub fn key(own: &InstanceId, drain: Timestamp) -> String {
    format!("{own}@{drain}")
}

/// A task's id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(String);

impl TaskId {
    /// Takes `/tasks/{id}` or the id. `None` when it could lead elsewhere than to a task.
    pub fn parse(text: &str) -> Option<Self> {
        let id = text.strip_prefix("/tasks/").unwrap_or(text);
        let is_id = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        is_id.then(|| Self(id.to_owned()))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How far a task is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum TaskState {
    /// Not ended, waiting included.
    Running,
    /// `SUCCEEDED`: the instance left its group, by this task or before it.
    Succeeded,
    /// Ended in any other way.
    Failed {
        /// Spinnaker's word: `TERMINAL`, `CANCELED`, `STOPPED`, …
        status: String,
        /// What Spinnaker says went wrong, where it does.
        message: Option<String>,
    },
    /// Nobody can say: no answer, no such task (yet), or a word we do not know.
    Unknown {
        /// For people.
        why: String,
    },
}

/// A task that ends, or ended, an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The task.
    pub task: TaskId,
    /// How far it is.
    pub state: TaskState,
    /// It carries our key: our own submission. Otherwise another hand is at work on our instance (F22).
    pub ours: bool,
    /// Whom it ends.
    pub ends: Ends,
}

/// Whom a task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Our instance.
    Us,
    /// Another one of our group.
    Sibling,
}

/// Why a task could not be submitted or looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was sent: asking again is safe.
    #[error("Spinnaker was not reached: {0}")]
    NotSent(String),
    /// Spinnaker understood and said no; there is no task.
    #[error("Spinnaker refused: {0}")]
    Refused(String),
    /// Who we are to Spinnaker may not, or is not known to it (HTTP 401, 403): there is no task, and no repetition helps.
    #[error("Spinnaker does not let us: {0}")]
    Denied(String),
    /// There may be a task: read before anything is sent again (F21).
    #[error("it is not known whether Spinnaker took the task: {0}")]
    OutcomeUnknown(String),
    /// A read that did not succeed; it proves nothing.
    #[error("Spinnaker's tasks cannot be read: {0}")]
    Unreadable(String),
}

/// Spinnaker's tasks, as much of them as retiring an instance takes.
#[async_trait]
pub trait Tasks: Send + Sync + 'static {
    /// Submits the task, once.
    async fn submit(&self, termination: &Termination) -> Result<TaskId, Error>;

    /// How far the task is.
    async fn task(&self, task: &TaskId) -> TaskState;

    /// Asks for the task to be cancelled; whether it was is for [`Tasks::task`] to say. May be repeated.
    async fn cancel(&self, task: &TaskId) -> Result<(), Error>;

    /// The tasks that end this instance or another one of its group, ours and others', newest first. A submission whose answer was lost may take
    /// longer to show than Gate takes to answer (10 s by default): nothing found is a proof only some time after.
    async fn find(&self, search: &Search) -> Result<Vec<Found>, Error>;
}

/// The real one, over Gate's API.
#[derive(Debug)]
pub struct Gate {
    settings: Settings,
    base: Url,
    web: Web,
}

impl Gate {
    /// Builds the client. Connects to nothing.
    pub fn new(settings: Settings) -> Result<Self, web::SetupError> {
        web::check_url(&settings.base)?;
        let mut base = Url::parse(&settings.base).map_err(|e| web::SetupError(e.to_string()))?;
        base.set_query(None);
        reqwest::header::HeaderValue::try_from(settings.user.as_str())
            .map_err(|_| web::SetupError(format!("{:?} cannot be sent as a user name", settings.user)))?;
        let web = Web::new(settings.limits, settings.auth.clone())?;
        Ok(Self { settings, base, web })
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Fails only for URLs that cannot be a base, which `new` refuses.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    async fn call(&self, method: Method, url: Url, body: Option<String>) -> Result<Answer, web::Error> {
        self.web.call(method, url.as_str(), body, &[("x-spinnaker-user", self.settings.user.clone())]).await
    }

    /// The body of a POST that asks for the termination.
    fn body(&self, t: &Termination) -> serde_json::Value {
        let (own, group) = (t.own.id().as_str(), t.group.as_str());
        serde_json::json!({
            "application": t.application,
            "description": format!("Terminate instance {own} and shrink {group}: {}", t.reason),
            "trigger": { "type": "manual", "user": self.settings.user, "correlationId": t.key },
            "job": [{
                "type": view::STAGE,
                "cloudProvider": "aws",
                "credentials": self.settings.account,
                "region": t.region,
                "serverGroupName": group,
                "asgName": group,
                "instance": own,
                "adjustMinIfNecessary": t.adjust_min,
                "setMaxToNewDesired": false,
                "user": self.settings.user,
                "reason": t.reason,
                "bellrock": { "key": t.key },
            }],
        })
    }
}

/// Tasks on one page: small enough that a page of large tasks stays below the limit of an answer.
const PAGE: usize = 20;

/// Pages that are read at most. An application with more tasks than this since our intent is beyond a search.
const MOST_PAGES: usize = 25;

/// How far Spinnaker's clock may be behind ours.
const SKEW: std::time::Duration = std::time::Duration::from_secs(300);

#[async_trait]
impl Tasks for Gate {
    async fn submit(&self, termination: &Termination) -> Result<TaskId, Error> {
        let answer = match self.call(Method::POST, self.url(&["tasks"]), Some(self.body(termination).to_string())).await {
            Ok(answer) => answer,
            Err(error @ (web::Error::NotSent { .. } | web::Error::Credential { .. })) => return Err(Error::NotSent(error.to_string())),
            Err(error @ (web::Error::NoAnswer { .. } | web::Error::TooLong { .. })) => {
                return Err(Error::OutcomeUnknown(error.to_string()));
            }
        };
        let said = describe(&answer);
        match answer.status {
            status if status.is_success() => view::submitted(&answer.body).ok_or(Error::OutcomeUnknown(said)),
            status if denies(status) => Err(Error::Denied(said)),
            // Whoever answers so, Gate or a proxy before it, may have passed the request on.
            status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => Err(Error::OutcomeUnknown(said)),
            _ => Err(Error::Refused(said)),
        }
    }

    async fn task(&self, task: &TaskId) -> TaskState {
        match self.call(Method::GET, self.url(&["tasks", task.as_str()]), None).await {
            Ok(answer) if answer.status == StatusCode::OK => match view::task(&answer.body) {
                Ok(view) if view.is(task) => view.state(),
                Ok(_) => TaskState::Unknown { why: "Gate answered with another task".to_owned() },
                Err(why) => TaskState::Unknown { why },
            },
            Ok(answer) => TaskState::Unknown { why: describe(&answer) },
            Err(error) => TaskState::Unknown { why: error.to_string() },
        }
    }

    async fn cancel(&self, task: &TaskId) -> Result<(), Error> {
        let answer = match self.call(Method::PUT, self.url(&["tasks", task.as_str(), "cancel"]), None).await {
            Ok(answer) => answer,
            Err(error @ (web::Error::NotSent { .. } | web::Error::Credential { .. })) => return Err(Error::NotSent(error.to_string())),
            Err(error @ (web::Error::NoAnswer { .. } | web::Error::TooLong { .. })) => {
                return Err(Error::OutcomeUnknown(error.to_string()));
            }
        };
        match answer.status {
            status if status.is_success() => Ok(()),
            status if denies(status) => Err(Error::Denied(describe(&answer))),
            status if status.is_server_error() => Err(Error::OutcomeUnknown(describe(&answer))),
            _ => Err(Error::Refused(describe(&answer))),
        }
    }

    async fn find(&self, search: &Search) -> Result<Vec<Found>, Error> {
        let mut found: Vec<Found> = Vec::new();
        for page in 1..=MOST_PAGES {
            let mut url = self.url(&["applications", &search.application, "tasks"]);
            url.query_pairs_mut().append_pair("page", &page.to_string()).append_pair("limit", &PAGE.to_string());
            let answer = self.call(Method::GET, url, None).await.map_err(|e| Error::Unreadable(e.to_string()))?;
            match answer.status {
                StatusCode::OK => {}
                // A page to log in at: nobody gets further by asking again.
                status if denies(status) || status.is_redirection() => return Err(Error::Denied(describe(&answer))),
                _ => return Err(Error::Unreadable(describe(&answer))),
            }
            let tasks = view::tasks(&answer.body).map_err(Error::Unreadable)?;
            let reached = tasks.len() < PAGE || tasks.iter().any(|task| task.built().is_some_and(|at| at.plus(SKEW) < search.since));
            for task in tasks.iter().filter_map(|task| task.found(search)) {
                // New tasks push old ones to the next page, so one may come twice.
                if !found.iter().any(|before| before.task == task.task) {
                    found.push(task);
                }
            }
            if reached {
                return Ok(found);
            }
        }
        Err(Error::Unreadable(format!("more than {} tasks since {}", PAGE * MOST_PAGES, search.since)))
    }
}

fn denies(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn describe(answer: &Answer) -> String {
    format!("HTTP {}: {}", answer.status.as_u16(), web::excerpt(&answer.body))
}

#[cfg(test)]
mod tests;
