//! The connection: one server, the master that Sentinels name, or a Cluster. Made when it is first needed, and anew after it failed.
//!
//! What must stay true: no call takes longer than its limit; after an error that leaves the connection or the server's role in doubt the next call
//! finds the server again, over a connection of a higher number; nothing that may have been done is sent twice, which is its caller's to decide. Fails
//! with what the server said, turned into a [`StoreError`].

use std::time::Duration;

use redis::AsyncConnectionConfig;
use redis::Client;
use redis::Cmd;
use redis::ConnectionAddr;
use redis::ConnectionInfo;
use redis::ErrorKind;
use redis::IntoConnectionInfo;
use redis::RedisError;
use redis::RedisResult;
use redis::ServerErrorKind;
use redis::Value;
use redis::aio::ConnectionLike;
use redis::aio::MultiplexedConnection;
use redis::aio::PubSub;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::super::StoreError;
use super::script::Script;

/// Commands of one connection that wait to be sent: more than all callers of one process have under way.
const UNDER_WAY: usize = 1_024;

/// Where the servers are.
enum Place {
    One(Client),
    Sentinels { sentinels: Vec<Client>, name: String, node: Box<ConnectionInfo> },
    Cluster { client: Box<ClusterClient>, nodes: Vec<Client> },
}

#[derive(Clone)]
enum Wire {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A connection, and its number among those of this process: grows from one to the next.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) number: u64,
    wire: Wire,
}

/// A connection that mends itself.
pub(super) struct Link {
    place: Place,
    limit: Duration,
    /// The connection, and the number of the last one.
    live: Mutex<(u64, Option<Wire>)>,
}

impl Link {
    /// Reads an address: `redis://`, `rediss://`, `redis+sentinel://host,host/name/db`, `redis+cluster://host,host`, with TLS `rediss+…`.
    /// User and password stand before the first host and are those of the servers, not of the Sentinels.
    pub(super) fn open(url: &str, limit: Duration) -> Result<Self, StoreError> {
        let refused = |e: RedisError| StoreError::Refused(format!("Redis address: {e}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| StoreError::Refused("Redis address without a scheme".to_owned()))?;
        let place = match scheme.split_once('+') {
            None => Place::One(Client::open(url).map_err(refused)?),
            Some((scheme, how)) => {
                let (who, rest) = rest.rsplit_once('@').map_or((String::new(), rest), |(who, rest)| (format!("{who}@"), rest));
                let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
                let hosts: Vec<&str> = hosts.split(',').collect();
                match how {
                    "sentinel" => {
                        let (name, db) = path.split_once('/').unwrap_or((path, "0"));
                        if name.is_empty() {
                            return Err(StoreError::Refused("the address of Sentinels names no master".to_owned()));
                        }
                        let node = format!("{scheme}://{who}127.0.0.1:6379/{db}").into_connection_info().map_err(refused)?;
                        let sentinel = |host: &&str| Client::open(format!("{scheme}://{host}")).map_err(refused);
                        let sentinels = hosts.iter().map(sentinel).collect::<Result<_, _>>()?;
                        Place::Sentinels { sentinels, name: name.to_owned(), node: Box::new(node) }
                    }
                    "cluster" => {
                        let urls: Vec<String> = hosts.iter().map(|host| format!("{scheme}://{who}{host}")).collect();
                        let client = ClusterClient::builder(urls.clone())
                            .connection_timeout(limit)
                            .response_timeout(limit)
                            // A script that is sent again by itself could follow one that its owner sent later.
                            .retries(0)
                            .build()
                            .map_err(refused)?;
                        let nodes = urls.iter().map(|url| Client::open(url.as_str()).map_err(refused)).collect::<Result<_, _>>()?;
                        Place::Cluster { client: Box::new(client), nodes }
                    }
                    other => return Err(StoreError::Refused(format!("Redis address: nothing is known of {other}"))),
                }
            }
        };
        Ok(Self { place, limit, live: Mutex::default() })
    }

    /// True when all keys have to share a hash tag.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.place, Place::Cluster { .. })
    }

    /// One script, loaded where it is not known yet: then nothing of it was done.
    pub(super) async fn script(&self, live: &Live, script: &Script, cmd: &Cmd) -> Result<Value, StoreError> {
        match self.run(live, cmd).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let mut load = redis::cmd("SCRIPT");
                load.arg("LOAD").arg(script.code);
                self.run(live, &load).await.map_err(|e| self.explain(&e))?;
                self.run(live, cmd).await.map_err(|e| self.explain(&e))
            }
            other => other.map_err(|e| self.explain(&e)),
        }
    }

    async fn run(&self, live: &Live, cmd: &Cmd) -> RedisResult<Value> {
        let answer = async {
            match live.wire.clone() {
                Wire::One(mut connection) => connection.req_packed_command(cmd).await,
                Wire::Cluster(mut connection) => connection.req_packed_command(cmd).await,
            }
        };
        // A script's own error comes as a value from some servers.
        let answer = match timeout(self.limit, answer).await {
            Ok(Ok(Value::ServerError(error))) => Err(error.into()),
            Ok(answer) => answer,
            Err(_) => Err(late()),
        };
        if let Err(error) = &answer
            && self.leaves_doubt(error)
        {
            self.give_up(live).await;
        }
        answer
    }

    /// The connection, made if there is none.
    pub(super) async fn live(&self) -> Result<Live, StoreError> {
        timeout(self.limit, self.find()).await.unwrap_or_else(|_| Err(late())).map_err(|e| self.explain(&e))
    }

    async fn find(&self) -> RedisResult<Live> {
        let mut guard = self.live.lock().await;
        if let (number, Some(wire)) = &*guard {
            return Ok(Live { number: *number, wire: wire.clone() });
        }
        let wire = match &self.place {
            Place::One(client) => Wire::One(self.connect(client).await?),
            Place::Sentinels { .. } => Wire::One(self.connect(&self.master().await?).await?),
            Place::Cluster { client, .. } => Wire::Cluster(client.get_async_connection().await?),
        };
        guard.0 += 1;
        guard.1 = Some(wire.clone());
        Ok(Live { number: guard.0, wire })
    }

    /// The next call makes another one, unless that was done already.
    pub(super) async fn give_up(&self, live: &Live) {
        let mut guard = self.live.lock().await;
        if guard.0 == live.number {
            guard.1 = None;
        }
    }

    async fn connect(&self, client: &Client) -> RedisResult<MultiplexedConnection> {
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.limit))
            .set_response_timeout(Some(self.limit))
            .set_pipeline_buffer_size(UNDER_WAY);
        client.get_multiplexed_async_connection_with_config(&limits).await
    }

    /// The master, as the first Sentinel that answers names it, when it says so itself.
    async fn master(&self) -> RedisResult<Client> {
        let Place::Sentinels { sentinels, name, node } = &self.place else { unreachable!("asked of Sentinels only") };
        let mut why = RedisError::from((ErrorKind::Io, "no Sentinel answers"));
        let share = self.limit / u32::try_from(sentinels.len().max(1)).unwrap_or(u32::MAX);
        for sentinel in sentinels {
            match timeout(share, self.ask(sentinel, name, node)).await {
                Ok(Ok(client)) => return Ok(client),
                Ok(Err(error)) => why = error,
                Err(_) => why = late(),
            }
        }
        Err(why)
    }

    async fn ask(&self, sentinel: &Client, name: &str, node: &ConnectionInfo) -> RedisResult<Client> {
        let mut connection = self.connect(sentinel).await?;
        let (host, port): (String, u16) =
            redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name).query_async(&mut connection).await?;
        let addr = match node.addr().clone() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls { host, port, insecure, tls_params },
            ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(_) => ConnectionAddr::Tcp(host, port),
            other => other,
        };
        let client = Client::open(node.clone().set_addr(addr))?;
        let role: Vec<Value> = redis::cmd("ROLE").query_async(&mut self.connect(&client).await?).await?;
        match role.first() {
            Some(Value::BulkString(word)) if word == b"master" => Ok(client),
            _ => Err((ErrorKind::Io, "the one that Sentinel names is not a master yet").into()),
        }
    }

    /// A connection for news.
    pub(super) async fn listen(&self, turn: usize) -> RedisResult<PubSub> {
        let client = match &self.place {
            Place::One(client) => client.clone(),
            Place::Sentinels { .. } => timeout(self.limit, self.master()).await.unwrap_or_else(|_| Err(late()))?,
            // A message reaches all nodes of a Cluster.
            Place::Cluster { nodes, .. } => nodes[turn % nodes.len()].clone(),
        };
        timeout(self.limit, client.get_async_pubsub()).await.unwrap_or_else(|_| Err(late()))
    }

    /// Whether the next call should find the server anew.
    fn leaves_doubt(&self, error: &RedisError) -> bool {
        if error.is_unrecoverable_error() || error.is_timeout() || error.is_io_error() {
            return true;
        }
        // A master that became a replica, or lost its own, says so; Sentinels know the other. So does a node of a Cluster whose slots went elsewhere.
        match &self.place {
            Place::One(_) => false,
            Place::Sentinels { .. } => matches!(error.code(), Some("READONLY" | "LOADING" | "MASTERDOWN" | "NOREPLICAS")),
            Place::Cluster { .. } => {
                matches!(error.code(), Some("READONLY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "MOVED" | "ASK" | "TRYAGAIN"))
                    || error.kind() == ErrorKind::ClusterConnectionNotFound
            }
        }
    }

    fn explain(&self, error: &RedisError) -> StoreError {
        let text = error.to_string();
        let says = |word: &str| error.code() == Some(word) || text.contains(&format!("-{word}"));
        let moves = !matches!(self.place, Place::One(_));
        if error.is_timeout() || error.is_io_error() || error.is_unrecoverable_error() || (moves && says("READONLY")) {
            return StoreError::Unavailable(text);
        }
        if ["OOM", "MISCONF", "NOREPLICAS", "READONLY"].into_iter().any(says) {
            return StoreError::Full(text);
        }
        let passing = ["LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "MOVED", "ASK", "NOSCRIPT"].into_iter().any(says);
        if passing || matches!(error.kind(), ErrorKind::ClusterConnectionNotFound | ErrorKind::Client) {
            StoreError::Unavailable(text)
        } else {
            StoreError::Refused(text)
        }
    }
}

fn late() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
