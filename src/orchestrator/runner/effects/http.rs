//! Requests of webhooks and pages of expressions.
//!
//! What must stay true: only `http` and `https`, only to the hosts that are allowed, and never to this machine, to a link-local address or to the
//! cloud's metadata service unless a host is named for it. The address that was judged is the address that is connected to: the check sits in the
//! resolver. No redirect is followed, each exchange ends within its limit and no answer is read past [`MAX_BODY`].
//!
//! How it fails: what was certainly not sent may be tried again, unless it never can be; a request with an effect whose answer was lost may not.

use std::error::Error as _;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Method;
use reqwest::Url;
use reqwest::dns::Addrs;
use reqwest::dns::Name;
use reqwest::dns::Resolve;
use reqwest::dns::Resolving;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Performer;
use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::web::SetupError;

/// The words of the effects this carries out.
pub const WORDS: [&str; 2] = ["http", "fetch"];

/// Longest answer that is read, in bytes: it goes into the stage's context, and so into the store.
pub const MAX_BODY: usize = 1 << 20;

/// Most headers of an answer that are kept, and the longest value of one.
const MAX_HEADERS: usize = 64;
const MAX_HEADER: usize = 4 << 10;

/// To a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Limit for a page of an expression, and the most pages of one pass.
const PAGE: Duration = Duration::from_secs(10);
const MAX_PAGES: usize = 16;

/// Where requests may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Hosts that may be called: `ci.example.com`, `*.example.com`. Empty = any.
    pub hosts: Vec<String>,
    /// Hosts that may be at a loopback, link-local or metadata address, written in the same way.
    pub local: Vec<String>,
    /// Hosts whose pages expressions may ask for (`#fromUrl` and its kin), written in the same way. Empty = none.
    pub pages: Vec<String>,
}

impl Reach {
    fn allows(&self, host: &str) -> bool {
        self.hosts.is_empty() || listed(&self.hosts, host) || listed(&self.local, host)
    }

    fn allows_address(&self, host: &str, address: IpAddr) -> bool {
        !is_local(address) || listed(&self.local, host)
    }
}

fn listed(patterns: &[String], host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
    patterns.iter().any(|pattern| match pattern.to_ascii_lowercase().strip_prefix('*') {
        Some(end) => host.len() > end.len() && host.ends_with(end),
        None => host == pattern.to_ascii_lowercase(),
    })
}

/// An address at which no pipeline has any business: this machine, the link, the cloud's metadata.
fn is_local(address: IpAddr) -> bool {
    /// AWS has its services of an instance in fd00:ec2::/32: metadata, DNS, time, credentials of pods.
    const OF_THE_INSTANCE: [u16; 2] = [0xfd00, 0x0ec2];
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => {
            let link_local = v6.segments()[0] & 0xffc0 == 0xfe80;
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || link_local
                || v6.segments()[..2] == OF_THE_INSTANCE
                || embedded(v6).is_some_and(is_local)
        }
    }
}

/// The IPv4 address inside a translated one (NAT64, 6to4, IPv4-compatible): it is where the packets arrive.
fn embedded(v6: Ipv6Addr) -> Option<IpAddr> {
    let s = v6.segments();
    let [.., a, b] = s;
    let v4 = |high: u16, low: u16| IpAddr::from(((u32::from(high) << 16) | u32::from(low)).to_be_bytes());
    match s {
        [0x0064, 0xff9b, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0, 0, ..] => Some(v4(a, b)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

/// A name that has no address but such that may not be called.
#[derive(Debug, thiserror::Error)]
#[error("{0} is at an address of this machine, its link or its metadata; an administrator can allow it")]
struct OutOfReach(String);

/// Resolves names, and leaves out the addresses that are not allowed.
#[derive(Debug)]
struct Guard(Arc<Reach>);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> = found.into_iter().filter(|a| reach.allows_address(&host, a.ip())).collect();
            if allowed.is_empty() {
                return Err(Box::new(OutOfReach(host)) as _);
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Carries out requests.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
    reach: Arc<Reach>,
}

/// An answer, read to its end.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// Why there is none.
struct Trouble {
    error: String,
    /// Nothing was carried out.
    unsent: bool,
    /// It would come to the same each time: the request cannot be made, or its address may not be called.
    lasting: bool,
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Self {
        let (unsent, lasting) = (error.is_connect() || error.is_builder(), error.is_builder() || is_out_of_reach(&error));
        Self { error: innermost(&error), unsent, lasting }
    }
}

impl Http {
    /// Connects to nothing yet.
    pub fn new(reach: Reach) -> Result<Self, SetupError> {
        let reach = Arc::new(reach);
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .dns_resolver(Arc::new(Guard(Arc::clone(&reach))))
            .build()
            .map_err(|e| SetupError(format!("HTTP client: {e}")))?;
        Ok(Self { client, reach })
    }

    /// The address, if it may be called. Names are judged again by the addresses they turn out to have.
    fn check(&self, url: &str) -> Result<Url, String> {
        let parsed = self.check_address(url)?;
        let host = parsed.host_str().unwrap_or_default();
        if !self.reach.allows(host) {
            return Err(format!("{host} is not among the hosts that may be called; an administrator can add it"));
        }
        Ok(parsed)
    }

    fn check_address(&self, url: &str) -> Result<Url, String> {
        let parsed = Url::parse(url).map_err(|e| format!("the address cannot be read: {e}"))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(format!("{}: only http and https may be called", parsed.scheme()));
        }
        let host = parsed.host_str().unwrap_or_default();
        let literal: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        if literal.is_some_and(|address| !self.reach.allows_address(host, address)) {
            return Err(format!("{host} is an address of this machine, its link or its metadata; an administrator can allow it"));
        }
        Ok(parsed)
    }

    /// The same for a page: what an address says can carry secrets to whoever owns its host, so it has to be listed.
    fn check_page(&self, url: &str) -> Result<Url, String> {
        let parsed = self.check_address(url)?;
        let host = parsed.host_str().unwrap_or_default();
        if !listed(&self.reach.pages, host) {
            return Err(format!("{host} is not among the hosts whose pages expressions may ask for; an administrator can add it"));
        }
        Ok(parsed)
    }

    async fn exchange(&self, request: reqwest::RequestBuilder, limit: Duration) -> Result<Answer, Trouble> {
        let mut response = request.timeout(limit).send().await?;
        let kept =
            |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(&value.as_bytes()[..value.len().min(MAX_HEADER)]).into_owned();
        let headers = response.headers().iter().take(MAX_HEADERS).map(|(name, value)| (name.as_str().to_owned(), kept(value))).collect();
        let (status, mut body) = (response.status().as_u16(), Vec::new());
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(Trouble { error: format!("the answer is longer than {MAX_BODY} bytes"), unsent: false, lasting: false });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }

    async fn request(
        &self,
        key: &AttemptKey,
        method: &str,
        url: &str,
        headers: Vec<(String, String)>,
        body: Option<Value>,
        ms: u64,
    ) -> Outcome {
        let refused = |error: String| Outcome::Failed { error, retryable: false };
        let url = match self.check(url) {
            Ok(url) => url,
            Err(error) => return refused(error),
        };
        let Ok(method) = Method::from_bytes(method.as_bytes()) else { return refused(format!("{method} is no HTTP method")) };
        let has = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let (typed, keyed) = (has(CONTENT_TYPE.as_str()), has(IDEMPOTENCY_KEY) || method.is_safe());
        // A request that is repeated does no further harm.
        let harmless = method.is_idempotent();
        let mut request = self.client.request(method, url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if !keyed {
            request = request.header(IDEMPOTENCY_KEY, key.idempotency_key());
        }
        request = match body {
            None => request,
            Some(Value::String(text)) if typed => request.body(text),
            Some(json) => if typed { request } else { request.header(CONTENT_TYPE, "application/json") }.body(json.to_string()),
        };
        match self.exchange(request, Duration::from_millis(ms)).await {
            Ok(Answer { status, headers, body }) => {
                let body = if body.is_empty() { Value::Null } else { serde_json::from_str(&body).unwrap_or(Value::String(body)) };
                Outcome::Http { status, headers, body }
            }
            Err(Trouble { error, unsent, lasting }) => Outcome::Failed { error, retryable: !lasting && (unsent || harmless) },
        }
    }

    async fn page(&self, url: &str) -> Result<String, String> {
        let checked = self.check_page(url)?;
        let answer = self.exchange(self.client.get(checked), PAGE).await.map_err(|trouble| trouble.error)?;
        if (200..300).contains(&answer.status) { Ok(answer.body) } else { Err(format!("the answer was HTTP {}", answer.status)) }
    }

    async fn carry_out(&self, key: &AttemptKey, effect: Effect) -> Outcome {
        match effect {
            Effect::Http { method, url, headers, body, timeout_ms } => self.request(key, &method, &url, headers, body, timeout_ms).await,
            Effect::Fetch { urls } if urls.len() > MAX_PAGES => {
                Outcome::Failed { error: format!("more than {MAX_PAGES} pages are asked for at once"), retryable: false }
            }
            Effect::Fetch { urls } => {
                let mut pages = Vec::with_capacity(urls.len());
                for url in urls {
                    let page = self.page(&url).await;
                    pages.push((url, page));
                }
                Outcome::Fetched { pages }
            }
            other => Outcome::Failed { error: format!("{} is no request", other.word()), retryable: false },
        }
    }
}

fn is_out_of_reach(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(one) = cause {
        if one.is::<OutOfReach>() {
            return true;
        }
        cause = one.source();
    }
    false
}

/// Tells a server that honours it that a request was made before.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

#[async_trait]
impl Performer for Http {
    async fn perform(&self, key: &AttemptKey, effect: Effect, stop: &CancellationToken) -> Outcome {
        tokio::select! {
            // Giving an exchange up loses its answer, and whoever stopped it does not want one.
            outcome = self.carry_out(key, effect) => outcome,
            () = stop.cancelled() => Outcome::Failed { error: "the request was called off".to_owned(), retryable: false },
        }
    }
}

/// The cause that says something; the outer ones repeat the address, which may hold a secret.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer within the time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::orchestrator::test_server::Reply;
    use crate::orchestrator::test_server::Server;

    fn http(hosts: &[&str], local: &[&str]) -> Http {
        let of = |list: &[&str]| list.iter().map(|host| (*host).to_owned()).collect();
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Http::new(Reach { hosts: of(hosts), local: of(local), pages: of(&["127.0.0.1", "*.example.com"]) }).unwrap()
    }

    fn key() -> AttemptKey {
        AttemptKey { execution: "E".into(), stage: "S".into(), started: 1, task: "1".to_owned(), number: 2 }
    }

    fn call(method: &str, url: &str, body: Option<Value>) -> Effect {
        Effect::Http { method: method.to_owned(), url: url.to_owned(), headers: Vec::new(), body, timeout_ms: 5000 }
    }

    #[tokio::test]
    async fn a_request_carries_its_key_and_the_answer_comes_back_as_it_is() {
        let (server, stop) = (Server::start().await, CancellationToken::new());
        let at = |path: &str| format!("{}{path}", server.base);
        server.on("POST /json", Reply::Now(307, b"{\"a\": 1}".to_vec()));
        server.on("GET /text", Reply::Now(200, b"plain".to_vec()));
        server.on("GET /long", Reply::Now(200, vec![b'x'; MAX_BODY + 1]));
        let http = http(&[], &["127.0.0.1"]);
        let posted = http.perform(&key(), call("POST", &at("/json"), Some(json!({"a": 1}))), &stop).await;
        let Outcome::Http { status, body, .. } = posted else { panic!("{posted:?}") };
        assert_eq!((status, body), (307, json!({"a": 1})), "no redirect is followed");
        let asked = server.asked().pop().unwrap();
        let header = |name: &str| asked.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!((header("idempotency-key").as_deref(), header("content-type").as_deref()), (Some("E-S-1-1"), Some("application/json")));
        assert_eq!(asked.body, r#"{"a":1}"#);
        let text = http.perform(&key(), call("GET", &at("/text"), None), &stop).await;
        assert!(matches!(&text, Outcome::Http { body, .. } if body == "plain"), "{text:?}");
        assert!(server.asked().pop().unwrap().headers.get("idempotency-key").is_none());
        let long = http.perform(&key(), call("GET", &at("/long"), None), &stop).await;
        assert!(matches!(&long, Outcome::Failed { error, .. } if error.contains("longer")), "{long:?}");
        let Outcome::Fetched { pages } = http.perform(&key(), Effect::Fetch { urls: vec![at("/text"), at("/gone")] }, &stop).await else {
            panic!()
        };
        assert_eq!((pages[0].1.as_deref(), pages[1].1.is_err()), (Ok("plain"), true));
    }

    #[tokio::test]
    async fn what_is_near_is_out_of_reach_by_address_and_by_name() {
        let server = Server::start().await;
        server.on("GET /text", Reply::Now(200, b"plain".to_vec()));
        let (stop, open) = (CancellationToken::new(), http(&[], &[]));
        for url in [
            format!("{}/text", server.base),
            format!("{}/text", server.base.replace("127.0.0.1", "localhost")),
            "http://169.254.169.254/latest".to_owned(),
            "http://[::ffff:127.0.0.1]/".to_owned(),
            "http://2130706433/".to_owned(),
            "file:///etc/passwd".to_owned(),
            "http:".to_owned(),
        ] {
            let refused = open.perform(&key(), call("GET", &url, None), &stop).await;
            assert!(matches!(refused, Outcome::Failed { .. }), "{url}: {refused:?}");
        }
        assert!(server.asked().is_empty());
        let named = http(&["*.example.com"], &[]);
        assert!(named.check("https://example.org/").is_err() && named.check("https://ci.example.com/").is_ok());
        assert!(named.check("https://badexample.com/").is_err());
        assert!(open.check("https://ci.example.org/").is_ok() && open.check_page("https://ci.example.org/").is_err(), "no list, no page");
        assert!(open.check_page("https://ci.example.com/").is_ok() && open.check_page("http://127.0.0.1/").is_err());
    }

    #[test]
    fn addresses_in_disguise_are_known() {
        for near in [
            "127.9.9.9",
            "0.0.0.0",
            "169.254.1.1",
            "::1",
            "fe80::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd00:ec2:ffff::1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "::7f00:1",
            "ff02::1",
        ] {
            assert!(is_local(near.parse().unwrap()), "{near}");
        }
        for far in ["10.0.0.1", "192.168.1.1", "8.8.8.8", "2600::1", "fd12::1", "fd00:ec3::254", "64:ff9b::808:808"] {
            assert!(!is_local(far.parse().unwrap()), "{far}");
        }
    }

    #[tokio::test]
    async fn only_what_did_no_harm_may_be_tried_again() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = listener.local_addr().unwrap();
        let http = http(&[], &["127.0.0.1"]);
        let quick = |method: &str| Effect::Http {
            method: method.to_owned(),
            url: format!("http://{silent}/"),
            headers: Vec::new(),
            body: None,
            timeout_ms: 50,
        };
        for (method, again) in [("POST", false), ("GET", true)] {
            let outcome = http.perform(&key(), quick(method), &CancellationToken::new()).await;
            assert!(matches!(outcome, Outcome::Failed { retryable, .. } if retryable == again), "{method}: {outcome:?}");
        }
        let never = |url: String, headers: &[(&str, &str)]| Effect::Http {
            method: "GET".to_owned(),
            url,
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: None,
            timeout_ms: 5000,
        };
        for (what, effect) in [
            ("a header", never(format!("http://{silent}/"), &[("bad name", "x")])),
            ("a value", never(format!("http://{silent}/"), &[("x", "a\nb")])),
            ("the guard", never(format!("http://localhost:{}/", silent.port()), &[])),
        ] {
            let outcome = http.perform(&key(), effect, &CancellationToken::new()).await;
            assert!(matches!(outcome, Outcome::Failed { retryable: false, .. }), "{what} is refused for good: {outcome:?}");
        }
        drop(listener);
        let outcome = http.perform(&key(), quick("POST"), &CancellationToken::new()).await;
        assert!(matches!(outcome, Outcome::Failed { retryable: true, .. }), "nothing was sent: {outcome:?}");
        let stopped = CancellationToken::new();
        stopped.cancel();
        assert!(matches!(http.perform(&key(), quick("GET"), &stopped).await, Outcome::Failed { .. }));
    }
}
