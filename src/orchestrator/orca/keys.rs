//! Orca's keys in Redis: Keiko's queue, and executions where they are kept there. Read, never written.
//!
//! What must stay true: everything is read in pages with a bound on their number; a queue that was not read to its end says so; a message that is not
//! understood counts for every execution whose id stands in it. Fails with what Redis said.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use redis::AsyncConnectionConfig;
use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use serde::Deserialize;

use crate::model::Timestamp;
use crate::orchestrator::web;

use super::Begun;
use super::execution::Document;
use super::execution::Execution;
use super::execution::Kind;
use super::execution::RUNNING;
use super::execution::Stage;
use super::execution::Task;
use super::zombie::Held;
use super::zombie::Queue;

/// Members asked for at once.
const PAGE: usize = 500;
/// Messages that are read. A queue of more is in a trouble of another kind.
const MOST_MESSAGES: u64 = 200_000;
/// Executions whose status is read, over both types: years of a large fleet's, where nobody cleans up.
const MOST_EXECUTIONS: u64 = 500_000;
/// Stages of one execution that are read; the largest pipelines known have fewer.
const MOST_STAGES: isize = 1_000;

/// One server.
pub(super) struct Server {
    client: redis::Client,
    limits: web::Limits,
}

/// Executions that are RUNNING, as far as they were looked for.
#[derive(Debug, Default)]
pub(super) struct Running {
    pub(super) executions: Vec<Begun>,
    /// There are more executions than are read.
    pub(super) is_cut: bool,
}

impl Server {
    pub(super) fn new(url: &str, limits: web::Limits) -> Result<Self, web::SetupError> {
        let client = redis::Client::open(url).map_err(|e| web::SetupError(format!("Redis URL: {e}")))?;
        Ok(Self { client, limits })
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let limits =
            AsyncConnectionConfig::new().set_connection_timeout(Some(self.limits.connect)).set_response_timeout(Some(self.limits.total));
        self.client.get_multiplexed_async_connection_with_config(&limits).await
    }

    /// What Keiko's queue `name` holds of these executions.
    pub(super) async fn queue(&self, name: &str, of: &BTreeSet<&str>) -> RedisResult<Queue> {
        let mut connection = self.connect().await?;
        let mut queue = Queue::default();
        let mut cursor = 0u64;
        loop {
            let (next, page): (u64, Vec<(String, Vec<u8>)>) =
                redis::cmd("HSCAN").arg(format!("{name}.messages")).arg(cursor).arg("COUNT").arg(PAGE).query_async(&mut connection).await?;
            queue.messages += page.len() as u64;
            let concerned = page.iter().flat_map(|(fingerprint, json)| concerned(json, of).into_iter().map(move |id| (fingerprint, id)));
            place(&mut connection, name, concerned.collect(), &mut queue.held).await?;
            cursor = next;
            if cursor == 0 {
                queue.is_whole = true;
                return Ok(queue);
            }
            if queue.messages >= MOST_MESSAGES {
                return Ok(queue);
            }
        }
    }

    /// All executions that are RUNNING.
    pub(super) async fn running(&self) -> RedisResult<Running> {
        let mut connection = self.connect().await?;
        let (mut running, mut seen) = (Running::default(), 0u64);
        for kind in Kind::ALL {
            let mut cursor = 0u64;
            loop {
                let (next, ids): (u64, Vec<String>) = redis::cmd("SSCAN")
                    .arg(format!("allJobs:{}", kind.key()))
                    .arg(cursor)
                    .arg("COUNT")
                    .arg(PAGE)
                    .query_async(&mut connection)
                    .await?;
                seen += ids.len() as u64;
                running.executions.extend(statuses(&mut connection, kind, ids).await?);
                cursor = next;
                if cursor == 0 {
                    break;
                }
                if seen >= MOST_EXECUTIONS {
                    running.is_cut = true;
                    return Ok(running);
                }
            }
        }
        // A scan may answer a member twice.
        running.executions.sort_by(|a, b| a.id.cmp(&b.id));
        running.executions.dedup_by(|a, b| a.id == b.id);
        Ok(running)
    }

    /// One execution in full, if it is there and RUNNING.
    pub(super) async fn execution(&self, id: &str, kinds: &[Kind]) -> RedisResult<Option<Execution>> {
        let mut connection = self.connect().await?;
        for kind in kinds {
            let document = document(&mut connection, &format!("{}:{id}", kind.key())).await?;
            if document.is_running() {
                return Ok(Some(document.execution(id, *kind)));
            }
        }
        Ok(None)
    }
}

/// What is read of a message.
#[derive(Deserialize)]
struct Message {
    #[serde(rename = "executionId")]
    execution: Option<String>,
}

/// The executions among `of` that a message is for. One that is not understood may be for each whose id stands in it.
fn concerned<'a>(json: &[u8], of: &BTreeSet<&'a str>) -> Vec<&'a str> {
    match serde_json::from_slice::<Message>(json) {
        Ok(Message { execution: Some(id) }) => of.get(id.as_str()).copied().into_iter().collect(),
        Ok(Message { execution: None }) => Vec::new(),
        Err(_) => {
            let text = String::from_utf8_lossy(json);
            of.iter().copied().filter(|id| text.contains(id)).collect()
        }
    }
}

/// Finds out whether these messages wait, are taken, or neither.
async fn place(
    connection: &mut MultiplexedConnection,
    name: &str,
    messages: Vec<(&String, &str)>,
    held: &mut BTreeMap<String, Held>,
) -> RedisResult<()> {
    if messages.is_empty() {
        return Ok(());
    }
    // In one transaction, so that none is missed on its way from one set to the other.
    let mut ask = redis::pipe();
    ask.atomic();
    for (fingerprint, _) in &messages {
        ask.zscore(format!("{name}.queue"), fingerprint).zscore(format!("{name}.unacked"), fingerprint);
        ask.hexists(format!("{name}.messages"), fingerprint);
    }
    let answers: Vec<(Option<f64>, Option<f64>, bool)> = ask.query_async(connection).await?;
    for ((_, id), (queued, unacked, is_there)) in messages.into_iter().zip(answers) {
        let of = held.entry(id.to_owned()).or_default();
        match (queued, unacked) {
            // One that is gone by now was being worked on.
            (Some(_), _) | (_, Some(_)) => of.live += 1,
            (None, None) if !is_there => of.live += 1,
            (None, None) => of.orphaned += 1,
        }
    }
    Ok(())
}

async fn statuses(connection: &mut MultiplexedConnection, kind: Kind, ids: Vec<String>) -> RedisResult<Vec<Begun>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut ask = redis::pipe();
    for id in &ids {
        ask.cmd("HMGET").arg(format!("{}:{id}", kind.key())).arg(&["status", "buildTime", "startTime"]);
    }
    let answers: Vec<[Option<String>; 3]> = ask.query_async(connection).await?;
    let running = |(id, [status, built, started]): (String, [Option<String>; 3])| {
        let at = [built, started].into_iter().filter_map(millis).max().map(Timestamp);
        (status.as_deref() == Some(RUNNING)).then_some(Begun { id, kind: Some(kind), at })
    };
    Ok(ids.into_iter().zip(answers).filter_map(running).collect())
}

fn millis(text: Option<String>) -> Option<i64> {
    text?.parse().ok().filter(|ms| *ms > 0)
}

/// The fields of a hash that tell whether it is alive, and of its stages.
async fn document(connection: &mut MultiplexedConnection, key: &str) -> RedisResult<Document> {
    type Head = (Option<String>, Option<String>, Option<String>, Option<String>, Option<String>);
    let ((application, name, status, built, started), stages): (Head, Vec<String>) = redis::pipe()
        .cmd("HMGET")
        .arg(key)
        .arg(&["application", "name", "status", "buildTime", "startTime"])
        .lrange(format!("{key}:stageIndex"), 0, MOST_STAGES - 1)
        .query_async(connection)
        .await?;
    let mut document = Document {
        application: application.unwrap_or_default(),
        name,
        status: status.unwrap_or_default(),
        partition: None,
        build_time: millis(built),
        start_time: millis(started),
        stages: Vec::new(),
    };
    if stages.is_empty() || !document.is_running() {
        return Ok(document);
    }
    let mut ask = redis::pipe();
    for stage in &stages {
        let fields = ["name", "type", "status", "startTime", "endTime", "tasks"].map(|field| format!("stage.{stage}.{field}"));
        ask.cmd("HMGET").arg(key).arg(&fields);
    }
    let answers: Vec<[Option<String>; 6]> = ask.query_async(connection).await?;
    document.stages = answers.into_iter().map(stage).collect();
    Ok(document)
}

fn stage([name, r#type, status, started, ended, tasks]: [Option<String>; 6]) -> Stage {
    let tasks = tasks.and_then(|json| serde_json::from_str::<Vec<Task>>(&json).ok()).unwrap_or_default();
    Stage { name, r#type, status, start_time: millis(started), end_time: millis(ended), tasks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_for_its_execution_and_one_that_is_not_understood_for_all_it_names() {
        let of = BTreeSet::from(["01A", "01B"]);
        for (json, expected) in [
            (r#"{"kind":"runTask","executionId":"01A","stageId":"01B"}"#, vec!["01A"]),
            (r#"{"kind":"startWaitingExecutions","pipelineConfigId":"x"}"#, vec![]),
            (r#"{"kind":"runTask","executionId":"01C"}"#, vec![]),
            (r#"{"kind":"runTask","executionId":"01A""#, vec!["01A"]),
            (r#"{"executionId":7,"x":"01B"}"#, vec!["01B"]),
            ("01A 01B", vec!["01A", "01B"]),
            ("", vec![]),
        ] {
            assert_eq!(concerned(json.as_bytes(), &of), expected, "{json}");
        }
        assert_eq!(concerned(b"\xff01B\xfe", &of), ["01B"]);
    }

    #[test]
    fn tasks_that_are_not_understood_are_none() {
        let of = |tasks: &str| stage([None, None, None, Some("x".to_owned()), Some("5".to_owned()), Some(tasks.to_owned())]);
        assert_eq!((of("{").tasks.len(), of("{").start_time, of("[]").end_time), (0, None, Some(5)));
        assert_eq!(of(r#"[{"id":"1","name":"wait","status":"RUNNING","startTime":7,"attempt":{}}]"#).tasks[0].start_time, Some(7));
    }
}
