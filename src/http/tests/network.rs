//! The port for other machines, with real TLS over loopback and a certificate made here.

use std::os::unix::fs::PermissionsExt;

use async_trait::async_trait;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::*;
use crate::host::clock::VirtualClock;
use crate::http::api::Api;
use crate::http::api::Engine;
use crate::http::api::Start;
use crate::http::api::StartError;
use crate::http::api::tokens;
use crate::http::keyring::Files;
use crate::http::keyring::Pair;
use crate::model::Clock;
use crate::model::Moment;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::problem::Problem;
use crate::orchestrator::store::model::ModelStore;

/// Long enough for a slow machine; nothing waits for it where all is well.
const SOON: Duration = Duration::from_secs(60);

/// Writes a file that is its owner's alone.
pub(in crate::http) fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Writes a new `cert.pem` and `key.pem` for localhost; the certificate.
pub(in crate::http) fn write_pair(dir: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    write(&dir.join("cert.pem"), &made.cert.pem());
    write(&dir.join("key.pem"), &made.signing_key.serialize_pem());
    made.cert.pem()
}

struct Starts;

#[async_trait]
impl Engine for Starts {
    async fn start(&self, _: Start) -> Result<ExecutionId, StartError> {
        Ok(ExecutionId::from("NEW"))
    }

    async fn plan(&self, _: Start) -> Result<Execution, StartError> {
        Ok(Execution::default())
    }

    fn check(&self, _: &Value) -> Vec<Problem> {
        Vec::new()
    }

    fn evaluate(&self, _: &Execution, _: &str) -> Result<Value, String> {
        Ok(Value::Null)
    }

    fn is_enabled(&self) -> bool {
        true
    }

    fn enable(&self, _: bool) {}
}

/// Stands still, so that no request comes back.
struct Still;

impl Clock for Still {
    fn now(&self) -> Moment {
        Moment { mono: Duration::ZERO, wall: Timestamp(0) }
    }
}

/// A port with an API behind it, and the tokens `looks`, `works` and `rules` for the three roles.
struct Door {
    dir: tempfile::TempDir,
    certificate: String,
    address: SocketAddr,
    again: watch::Sender<u64>,
    _agent: (watch::Sender<Status>, mpsc::Receiver<Asked>),
    _tasks: JoinSet<()>,
}

impl Door {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let certificate = write_pair(dir.path());
        let entry = |(name, role): (&str, &str)| {
            format!("[[token]]\nname = \"{name}\"\nrole = \"{role}\"\nsha256 = \"{}\"\n", tokens::digest(name))
        };
        let list: String = [("looks", "read"), ("works", "operate"), ("rules", "admin")].map(entry).concat();
        write(&dir.path().join("tokens.toml"), &list);
        let pair = Pair { certificate: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
        let ring = Arc::new(Keyring::new(Files { tokens: Some(dir.path().join("tokens.toml")), pair: Some(pair) }));
        let clock = Arc::new(Still);
        let api = Api::new(Arc::new(ModelStore::new(clock.clone())), Arc::new(Starts), ring.tokens(), clock).router();
        let Agent { status, commands, mut surface, stop } = agent();
        (surface.api, surface.tokens) = (Some(Arc::new(OnceLock::from(api))), ring.tokens());
        let (again, agains) = watch::channel(0);
        let mut tasks = JoinSet::new();
        let kept = Arc::clone(&ring);
        let looks = stop.clone();
        tasks.spawn(async move { kept.keep(agains, looks).await });
        let port = NetworkPort::bind((Ipv4Addr::LOCALHOST, 0).into(), &ring, &stop).await.unwrap().unwrap();
        let address = port.address();
        tasks.spawn(async move { serve_network(port, surface, stop).await.unwrap() });
        Self { dir, certificate, address, again, _agent: (status, commands), _tasks: tasks }
    }

    fn client(&self, certificate: &str) -> reqwest::Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let root = reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap();
        // No connection is kept, so that each request meets the certificate that is in force.
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]).pool_max_idle_per_host(0).timeout(SOON);
        client.build().unwrap()
    }

    async fn ask(&self, method: reqwest::Method, path: &str, token: Option<&str>) -> (u16, Value) {
        let mut request = self.client(&self.certificate).request(method.clone(), format!("https://{}{path}", self.address));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if method == reqwest::Method::POST {
            request = request.json(&json!({}));
        }
        let answer = request.send().await.unwrap();
        let code = answer.status().as_u16();
        let said = answer.text().await.unwrap();
        (code, serde_json::from_str(&said).unwrap_or(Value::String(said)))
    }
}

#[tokio::test]
async fn a_token_opens_as_much_as_its_role_says_and_without_one_nothing_opens() {
    let door = Door::open().await;
    let get = reqwest::Method::GET;
    for path in ["/pipelineConfigs", "/status", "/metrics", "/executions/activeByInstance", "/applications/shop/pipelines"] {
        for nobody in [None, Some("wrong"), Some("")] {
            let (code, said) = door.ask(get.clone(), path, nobody).await;
            assert_eq!((code, &said["code"]), (401, &json!("who_are_you")), "{path} {nobody:?}");
        }
        assert_eq!(door.ask(get.clone(), path, Some("looks")).await.0, 200, "{path}");
    }
    assert_eq!(door.ask(get, "/health", None).await.0, 503, "a load balancer has no token");
    let start = async |token| door.ask(reqwest::Method::POST, "/pipelines/shop/deploy", token).await;
    assert_eq!(start(None).await.0, 401);
    let (code, said) = start(Some("looks")).await;
    assert_eq!((code, &said["code"]), (403, &json!("not_yours")));
    let (code, said) = start(Some("works")).await;
    assert_eq!((code, &said["ref"]), (202, &json!("/pipelines/NEW")));
    let (code, said) = door.ask(reqwest::Method::POST, "/drain", Some("rules")).await;
    assert_eq!((code, &said["code"]), (403, &json!("wrong_door")), "no token orders a drain");
}

#[tokio::test]
async fn a_caller_who_asks_too_often_is_told_so_at_this_door_too() {
    let door = Door::open().await;
    let client = door.client(&door.certificate);
    let url = format!("https://{}/admin/instance/enabled", door.address);
    for asked in 0.. {
        let answer = client.get(&url).bearer_auth("looks").send().await.unwrap();
        if answer.status().as_u16() == 429 {
            assert!(asked == 200 && answer.headers().contains_key("retry-after"), "after {asked}");
            break;
        }
        assert!(asked < 300, "nobody counts");
    }
}

#[tokio::test]
async fn who_speaks_plainly_gets_no_answer() {
    let door = Door::open().await;
    let mut plain = TcpStream::connect(door.address).await.unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut heard = Vec::new();
    // The end may be a reset: what was sent was not read to its end.
    let _ = tokio::time::timeout(SOON, plain.read_to_end(&mut heard)).await.unwrap();
    assert!(!heard.starts_with(b"HTTP"), "{heard:?}");
    assert_eq!(door.ask(reqwest::Method::GET, "/health", None).await.0, 503);
}

#[tokio::test]
async fn who_does_not_shake_hands_holds_up_nobody_and_is_let_go() {
    let door = Door::open().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut one = TcpStream::connect(door.address).await.unwrap();
        one.write_all(&[0x16, 3, 1]).await.unwrap();
        silent.push(one);
    }
    assert_eq!(door.ask(reqwest::Method::GET, "/health", None).await.0, 503);
    tokio::time::pause();
    let clock = VirtualClock::start(Timestamp(0));
    for mut one in silent {
        let mut heard = Vec::new();
        let _ = tokio::time::timeout(SOON, one.read_to_end(&mut heard)).await.expect("it is let go");
    }
    let took = clock.now().mono;
    assert!(took < 2 * tls::HANDSHAKE_WITHIN, "after {took:?}");
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let door = Door::open().await;
    let url = format!("https://{}/health", door.address);
    assert!(door.client(&door.certificate).get(&url).send().await.is_ok());
    let renewed = write_pair(door.dir.path());
    door.again.send_modify(|count| *count += 1);
    let new = door.client(&renewed);
    let taken = async {
        while new.get(&url).send().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, taken).await.expect("the new certificate is shown");
    assert!(door.client(&door.certificate).get(&url).send().await.is_err(), "the old one is shown no more");
}
