//! Orca's own keys in Redis, the ones behind `activeByInstance`: the set `active_instances`, and for each instance the token
//! `active_executions:{id}` (a count with an expiry, written every 60 s) and the set `active_executions:{id}:executions`.
//!
//! What must stay true: a token that is not there, cannot be dated or makes no sense proves nothing; what is gone of its expiry is the
//! sample's age (F3). Fails by being unknown; the connection is made anew at the next look.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use redis::AsyncConnectionConfig;
use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio::time::timeout;

use crate::model::Timestamp;
use crate::orchestrator::web;

use super::active_by_instance::Name;
use super::activity::Reading;
use super::entry;
use super::entry::Entry;

/// More instances than any fleet has: what is larger is not this set.
const MOST_INSTANCES: u64 = 10_000;

/// More names than a status page shows are not fetched.
const MOST_NAMED: isize = 100;

/// How much longer than its expiry a token may seem to live: the server's clock has milliseconds, and a heartbeat may fall in between.
const SLACK: Duration = Duration::from_secs(1);

/// What Redis holds of one instance, read in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// The token, when it is there.
    pub token: Option<String>,
    /// `PTTL` of the token: milliseconds, or −1 = for ever, −2 = not there.
    pub token_ttl_ms: i64,
    /// Size of the set of executions.
    pub size: u64,
    /// Its members, or some of them.
    pub executions: Vec<String>,
}

impl Keys {
    /// The entry that Orca's reader would make of them. The error is for people.
    pub fn entry(&self) -> Result<Entry, String> {
        let mut executions =
            self.executions.iter().map(|text| entry::record(text)).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
        executions.sort();
        let token = match &self.token {
            Some(text) => Some(text.parse::<u64>().map_err(|_| format!("the token is {:?}, no count", web::excerpt(text.as_bytes())))?),
            None => None,
        };
        let size = self.size.max(executions.len() as u64);
        Ok(Entry { overdue: token.is_none(), count: if size > 0 { size } else { token.unwrap_or(0) }, executions })
    }

    /// When the heartbeat wrote them.
    fn measured(&self, expiry: Duration, now: Timestamp) -> Result<Timestamp, String> {
        let left =
            u64::try_from(self.token_ttl_ms).map(Duration::from_millis).map_err(|_| "the token has no expiry, so its age is not known")?;
        if left > expiry + SLACK {
            return Err(format!("the token lives for another {} s, longer than a heartbeat gives it", left.as_secs()));
        }
        let age = i64::try_from(expiry.saturating_sub(left).as_millis()).unwrap_or(i64::MAX);
        Ok(Timestamp(now.0.saturating_sub(age)))
    }
}

/// What the keys of all the instances that are ours say together, asked at `now`.
pub fn read(found: &[Keys], expiry: Duration, now: Timestamp) -> Reading {
    if found.is_empty() {
        return Reading::unknown("active_instances does not list this instance");
    }
    let mut entries = Vec::new();
    let mut oldest = None;
    for keys in found {
        let entry = match keys.entry() {
            Ok(entry) => entry,
            Err(why) => return Reading::unknown(why),
        };
        if !entry.overdue {
            match keys.measured(expiry, now) {
                Ok(at) => oldest = oldest.into_iter().chain([at]).min(),
                Err(why) => return Reading::unknown(why),
            }
        }
        entries.push(entry);
    }
    Reading { activity: entry::together(entries), measured: oldest, generation: None }
}

/// The source: one server, one connection that is kept while it works.
pub(super) struct Source {
    client: redis::Client,
    connection: Mutex<Option<MultiplexedConnection>>,
    name: Name,
    expiry: Duration,
    limits: web::Limits,
}

impl Source {
    pub(super) fn new(client: redis::Client, name: Name, expiry: Duration, limits: web::Limits) -> Self {
        Self { client, connection: Mutex::new(None), name, expiry, limits }
    }

    pub(super) async fn read(&self, now: Timestamp) -> Reading {
        let found = match timeout(self.limits.connect + self.limits.total, self.fetch()).await {
            Ok(Ok(found)) => return read(&found, self.expiry, now),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "timed out".to_owned(),
        };
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Reading::unknown(format!("Redis: {found}"))
    }

    async fn fetch(&self) -> RedisResult<Vec<Keys>> {
        let mut connection = self.connect().await?;
        let mut found = Vec::new();
        for name in self.names(&mut connection).await? {
            let token = format!("active_executions:{name}");
            let executions = format!("{token}:executions");
            let (token, token_ttl_ms, size, executions) = redis::pipe()
                .atomic()
                .get(&token)
                .cmd("PTTL")
                .arg(&token)
                .scard(&executions)
                .cmd("SRANDMEMBER")
                .arg(&executions)
                .arg(MOST_NAMED)
                .query_async(&mut connection)
                .await?;
            found.push(Keys { token, token_ttl_ms, size, executions });
        }
        Ok(found)
    }

    /// The members of `active_instances` that are ours.
    async fn names(&self, connection: &mut MultiplexedConnection) -> RedisResult<Vec<String>> {
        const ALL: &str = "active_instances";
        match &self.name {
            Name::Exact(name) => {
                let listed: bool = redis::cmd("SISMEMBER").arg(ALL).arg(name).query_async(connection).await?;
                Ok(listed.then(|| name.clone()).into_iter().collect())
            }
            Name::Host(_) => {
                let size: u64 = redis::cmd("SCARD").arg(ALL).query_async(connection).await?;
                if size > MOST_INSTANCES {
                    return Err((redis::ErrorKind::UnexpectedReturnType, "active_instances is too large").into());
                }
                let mut names: Vec<String> = redis::cmd("SMEMBERS").arg(ALL).query_async(connection).await?;
                names.retain(|name| self.name.matches(name));
                Ok(names)
            }
        }
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        if let Some(connection) = &*self.connection.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(connection.clone());
        }
        let limits =
            AsyncConnectionConfig::new().set_connection_timeout(Some(self.limits.connect)).set_response_timeout(Some(self.limits.total));
        let connection = self.client.get_multiplexed_async_connection_with_config(&limits).await?;
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
        Ok(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Activity;

    const EXPIRY: Duration = Duration::from_secs(300);
    const NOW: Timestamp = Timestamp(1_000_000);

    fn keys(token: Option<&str>, executions: &[&str]) -> Keys {
        Keys {
            token: token.map(str::to_owned),
            token_ttl_ms: if token.is_some() { 280_000 } else { -2 },
            size: executions.len() as u64,
            executions: executions.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    fn unknown(found: &[Keys]) -> bool {
        matches!(read(found, EXPIRY, NOW).activity, Activity::Unknown { .. })
    }

    #[test]
    fn entries_are_what_orcas_reader_makes_of_the_keys() {
        for (token, executions, overdue, count) in [
            (Some("2"), vec!["spintest:pipeline:1", "spintest:pipeline:2"], false, 2),
            (Some("0"), vec![], false, 0),
            (Some("7"), vec![], false, 7),
            (Some("0"), vec!["spintest:task:1"], false, 1),
            (None, vec![], true, 0),
            (None, vec!["spintest:pipeline:4"], true, 1),
        ] {
            let entry = keys(token, &executions).entry().unwrap();
            assert_eq!(
                (entry.overdue, entry.count, entry.executions.len()),
                (overdue, count, executions.len()),
                "{token:?} {executions:?}"
            );
        }
        for record in ["a:b", "a:b:c:d", "", "a"] {
            assert!(keys(Some("1"), &[record]).entry().is_err(), "{record}");
        }
    }

    #[test]
    fn the_age_of_the_token_dates_the_sample() {
        let reading = read(&[keys(Some("0"), &[])], EXPIRY, NOW);
        assert_eq!((reading.activity, reading.measured), (Activity::Idle, Some(Timestamp(980_000))));
        assert_eq!(entry::record("foo:task:7").unwrap().url, "/tasks/7");
    }

    #[test]
    fn silent_undated_or_senseless_is_unknown() {
        assert!(unknown(&[]), "not listed");
        assert!(unknown(&[keys(None, &[])]), "silent");
        assert!(unknown(&[keys(None, &["a:pipeline:4"])]), "died holding work");
        assert!(unknown(&[keys(Some("none"), &[])]), "no count");
        assert!(unknown(&[keys(Some("-1"), &[])]), "no count");
        assert!(unknown(&[Keys { token_ttl_ms: -1, ..keys(Some("0"), &[]) }]), "no expiry");
        assert!(unknown(&[Keys { token_ttl_ms: 1_700_000, ..keys(Some("0"), &[]) }]), "another era's expiry");
        assert!(unknown(&[keys(Some("0"), &[]), keys(None, &["a:pipeline:4"])]), "a process before this one died holding work");
        assert!(!unknown(&[keys(Some("0"), &[]), keys(None, &[])]), "a process before this one is gone");
    }
}
