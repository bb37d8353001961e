//! The bad line between the rollback and AWS: an HTTP proxy that loses requests, loses answers after delivery, delays, throttles, and answers 5xx.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::response::Response;
use futures::stream;
use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg32;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Attempts that AWS's client makes of one call.
const TRIES: u32 = 4;

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Delivered, answered.
    Passed,
    /// The line breaks before it arrives.
    NeverArrived,
    /// It took effect, and nobody is told.
    AnswerLost,
    /// It took effect, and the answer is an error of the server.
    AnswerSpoiled,
    /// Refused by the account's bucket.
    Throttled,
    /// A server that is ill.
    Unavailable,
    /// Delivered late.
    Late(Duration),
}

/// One request as the line saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The region it was signed for.
    pub region: String,
    pub action: String,
    pub path: String,
    pub fate: Fate,
}

impl Seen {
    pub fn is_change(&self) -> bool {
        !["Describe", "Get", "Simulate", "AssumeRole"].iter().any(|read| self.action.starts_with(read))
    }
}

struct Line {
    /// Endpoints by the region that a request is signed for; one that is named nowhere goes to the first.
    to: Vec<(String, String)>,
    http: reqwest::Client,
    weather: Mutex<(Pcg32, f64)>,
    /// Calls that stay ill for so many tries more: the client's own retries must not hide every loss from whoever decides.
    ill: Mutex<BTreeMap<Bytes, (Fate, u32)>>,
    /// The next call of this action never arrives, however often the client tries.
    lost: Mutex<Option<String>>,
    /// Calls of this action are neither carried out nor answered.
    held: Mutex<Option<String>>,
    seen: Mutex<Vec<Seen>>,
    changes: watch::Sender<usize>,
}

/// A proxy on a port of its own.
pub struct Proxy {
    pub endpoint: String,
    line: Arc<Line>,
    _server: JoinSet<std::io::Result<()>>,
}

impl Proxy {
    /// A line to this endpoint on which `bad` of all requests, 0 to 1, meet one of the fates above.
    pub async fn to(endpoint: &str, seed: u64, bad: f64) -> Self {
        Self::to_regions(&[("us-east-1", endpoint)], seed, bad).await
    }

    /// The same for several regions behind one address.
    pub async fn to_regions(regions: &[(&str, &str)], seed: u64, bad: f64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let at = format!("http://{}", listener.local_addr().expect("it is bound"));
        let line = Arc::new(Line {
            to: regions.iter().map(|(region, endpoint)| ((*region).to_owned(), (*endpoint).to_owned())).collect(),
            http: super::process::client(),
            weather: Mutex::new((Pcg32::seed_from_u64(seed), bad)),
            ill: Mutex::default(),
            lost: Mutex::default(),
            held: Mutex::default(),
            seen: Mutex::default(),
            changes: watch::Sender::new(0),
        });
        let app = Router::new().fallback(carry).with_state(Arc::clone(&line));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await });
        Self { endpoint: at, line, _server: server }
    }

    /// From now on so much of it is bad.
    pub fn turn(&self, bad: f64) {
        self.line.ill.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.line.weather.lock().unwrap_or_else(PoisonError::into_inner).1 = bad;
    }

    /// Resolves when this many more changes have been asked for; how far each came is the weather's.
    pub async fn after_changes(&self, more: usize) {
        let mut changes = self.line.changes.subscribe();
        let wanted = *changes.borrow_and_update() + more;
        changes.wait_for(|seen| *seen >= wanted).await.expect("the proxy lives");
    }

    /// The next call of this action is lost on its way, each time that the client tries: whoever decides is told so, and has to see to it.
    #[allow(dead_code, reason = "the other tests use the rest")]
    pub fn lose(&self, action: &str) {
        *self.line.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(action.to_owned());
    }

    /// From now on calls of this action get no answer; of none with `None`.
    #[allow(dead_code, reason = "the other tests use the rest")]
    pub fn hold(&self, action: Option<&str>) {
        *self.line.held.lock().unwrap_or_else(PoisonError::into_inner) = action.map(str::to_owned);
    }

    /// Resolves when a change of this action has been asked for in this region.
    #[allow(dead_code, reason = "the other tests use the rest")]
    pub async fn until_asked(&self, region: &str, action: &str) {
        let mut changes = self.line.changes.subscribe();
        let asked = |_: &usize| self.seen().iter().any(|seen| seen.region == region && seen.action == action);
        changes.wait_for(asked).await.expect("the proxy lives");
    }

    /// Everything so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.line.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Line {
    fn fate_of(&self, action: &str, body: &Bytes) -> Fate {
        let mut ill = self.ill.lock().unwrap_or_else(PoisonError::into_inner);
        let is_lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner).take_if(|lost| lost == action).is_some();
        if is_lost {
            ill.insert(body.clone(), (Fate::NeverArrived, TRIES));
        }
        if let Some((fate, left)) = ill.get_mut(body) {
            let fate = *fate;
            *left -= 1;
            if *left == 0 {
                ill.remove(body);
            }
            return fate;
        }
        let fate = self.fate();
        let lasts = matches!(fate, Fate::NeverArrived | Fate::AnswerLost | Fate::AnswerSpoiled | Fate::Unavailable);
        if lasts && self.weather.lock().unwrap_or_else(PoisonError::into_inner).0.random_bool(0.5) {
            ill.insert(body.clone(), (fate, TRIES - 1));
        }
        fate
    }

    fn fate(&self) -> Fate {
        let mut weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
        let (random, bad) = &mut *weather;
        if !random.random_bool(*bad) {
            return Fate::Passed;
        }
        match random.random_range(0..6) {
            0 => Fate::NeverArrived,
            1 => Fate::AnswerLost,
            2 => Fate::AnswerSpoiled,
            3 => Fate::Throttled,
            4 => Fate::Unavailable,
            _ => Fate::Late(Duration::from_millis(random.random_range(50..1500))),
        }
    }
}

async fn carry(State(line): State<Arc<Line>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let form = String::from_utf8_lossy(&body);
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()?.split('.').nth(1));
    let action = form.split('&').find_map(|pair| pair.strip_prefix("Action=")).or(target).unwrap_or_default().to_owned();
    let scope = headers.get("authorization").and_then(|scope| scope.to_str().ok()).unwrap_or_default();
    let to = line.to.iter().find(|(region, _)| scope.contains(&format!("/{region}/"))).or(line.to.first()).expect("a region");
    let fate = line.fate_of(&action, &body);
    let is_held = line.held.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(&action);
    let seen = Seen { region: to.0.clone(), action, path: uri.path().to_owned(), fate };
    let is_change = seen.is_change();
    line.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    if is_change {
        line.changes.send_modify(|seen| *seen += 1);
    }
    if is_held {
        std::future::pending::<()>().await;
    }
    match fate {
        Fate::NeverArrived => return broken(),
        Fate::Throttled => return error(StatusCode::BAD_REQUEST, "Throttling", "Rate exceeded"),
        Fate::Unavailable => return error(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "Service is unable to handle request"),
        // A line is slow for real; nothing in the test waits for it.
        Fate::Late(late) => tokio::time::sleep(late).await,
        Fate::Passed | Fate::AnswerLost | Fate::AnswerSpoiled => {}
    }
    let mut request = line.http.request(method, format!("{}{uri}", to.1)).body(body);
    for name in ["authorization", "content-type", "x-amz-date", "x-amz-security-token", "x-amz-target"] {
        request = headers.get(name).into_iter().fold(request, |request, value| request.header(name, value));
    }
    let Ok(answer) = request.send().await else { return error(StatusCode::BAD_GATEWAY, "BadGateway", "the region does not answer") };
    let (status, kind) = (answer.status(), answer.headers().get(CONTENT_TYPE).cloned());
    let request_id = answer.headers().get("x-amzn-requestid").cloned();
    let Ok(text) = answer.bytes().await else { return broken() };
    match fate {
        Fate::AnswerLost => broken(),
        Fate::AnswerSpoiled => error(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure", "The request processing has failed"),
        Fate::Passed | Fate::Late(_) | Fate::NeverArrived | Fate::Throttled | Fate::Unavailable => {
            let mut response = (status, text).into_response();
            response.headers_mut().extend(kind.map(|kind| (CONTENT_TYPE, kind)));
            response.headers_mut().extend(request_id.map(|id| (HeaderName::from_static("x-amzn-requestid"), id)));
            response
        }
    }
}

/// An answer that breaks off: the connection is closed in the middle.
fn broken() -> Response {
    let end = stream::iter([Err::<Bytes, _>(std::io::Error::other("the line is cut"))]);
    Response::new(Body::from_stream(end))
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let kind = if status.is_server_error() { "Receiver" } else { "Sender" };
    let text = format!(
        "<ErrorResponse><Error><Type>{kind}</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>proxy</RequestId></ErrorResponse>"
    );
    (status, [(CONTENT_TYPE, "text/xml")], text).into_response()
}
