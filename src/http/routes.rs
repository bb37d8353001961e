//! The routes.

use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::ConnectInfo;
use axum::extract::DefaultBodyLimit;
use axum::extract::Request;
use axum::extract::State;
use axum::extract::connect_info::Connected;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::ACCEPT;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tower::ServiceExt;

use super::ANSWER_WITHIN;
use super::Asked;
use super::Surface;
use super::api::auth;
use super::api::auth::Door;
use super::api::auth::Role;
use super::listener::Bounded;
use super::views;
use crate::decide::Command;
use crate::metrics::Format;
use crate::metrics::Now;

/// Longest body in bytes; a command is a sentence and a flag.
const BODY_LIMIT: usize = 4096;
/// Longest reason in characters: it goes into a log line and a tag.
const REASON_LIMIT: usize = 200;
/// From the head of a request to its answer; above [`ANSWER_WITHIN`], which has the better message.
const REQUEST_WITHIN: Duration = Duration::from_secs(12);
/// Longest user database that is searched for a name, in bytes.
const PASSWD_LIMIT: u64 = 1 << 20;

/// Who is at the other end of the socket, as the kernel saw it when the connection was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, Bounded<UnixListener>>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded<UnixListener>>) -> Self {
        Self { uid: stream.io().get().peer_cred().ok().map(|cred| cred.uid()) }
    }
}

/// For the loopback port.
pub(super) fn reads(surface: Surface) -> Router {
    bounded(no_orders().merge(common())).fallback(over_loopback).with_state(surface)
}

/// For callers from elsewhere. Whether it is well is not their secret, so that a load balancer needs no token; all else is.
pub(super) fn network(surface: Surface) -> Router {
    let routes =
        no_orders().route("/health", get(health)).route("/status", get(status_for_readers)).route("/metrics", get(metrics_for_readers));
    bounded(routes).fallback(over_the_network).with_state(surface)
}

/// For the unix socket.
pub(super) fn all(surface: Surface) -> Router {
    let orders = Router::new().route("/drain", post(drain)).route("/undrain", post(undrain));
    let routes = orders.route("/heal/off", post(heal_off)).route("/heal/on", post(heal_on));
    bounded(routes.merge(common())).fallback(over_the_socket).with_state(surface)
}

async fn over_loopback(State(surface): State<Surface>, request: Request) -> Response {
    engine(surface, Door::Loopback, request).await
}

async fn over_the_network(State(surface): State<Surface>, request: Request) -> Response {
    engine(surface, Door::Network, request).await
}

async fn over_the_socket(State(surface): State<Surface>, ConnectInfo(peer): ConnectInfo<Peer>, request: Request) -> Response {
    match peer.uid {
        Some(uid) => engine(surface, Door::Socket(name(uid).await), request).await,
        None => problem(StatusCode::FORBIDDEN, "nobody", "the kernel does not say who asks"),
    }
}

/// What only the engine can answer. Its API has its own limits.
async fn engine(surface: Surface, door: Door, mut request: Request) -> Response {
    let Some(api) = surface.api else {
        return problem(
            StatusCode::NOT_FOUND,
            "no_such_call",
            "there is no such call; pipelines are with the orchestrator beside this agent",
        );
    };
    let Some(routes) = api.get() else {
        let waits = surface.status.borrow().waits_for.as_ref().map(|what| format!("; the agent waits for {what}"));
        let message = format!("the engine has not started yet{}", waits.unwrap_or_default());
        return problem(StatusCode::SERVICE_UNAVAILABLE, "starting", &message);
    };
    request.extensions_mut().insert(door);
    let Ok(response) = routes.clone().oneshot(request).await;
    response
}

fn no_orders() -> Router<Surface> {
    let drains = Router::new().route("/drain", post(only_on_the_socket)).route("/undrain", post(only_on_the_socket));
    drains.route("/heal/off", post(only_on_the_socket)).route("/heal/on", post(only_on_the_socket))
}

fn common() -> Router<Surface> {
    Router::new().route("/health", get(health)).route("/status", get(status)).route("/metrics", get(metrics))
}

fn bounded(routes: Router<Surface>) -> Router<Surface> {
    routes.layer(DefaultBodyLimit::max(BODY_LIMIT)).layer(from_fn(in_time))
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => problem(StatusCode::REQUEST_TIMEOUT, "too_slow", "the request took too long"),
    }
}

async fn health(State(surface): State<Surface>) -> Response {
    if ended(&surface) {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "ending", "the agent is ending");
    }
    let health = views::Health::from(&*surface.status.borrow());
    let code = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(health)).into_response()
}

async fn status(State(surface): State<Surface>) -> Response {
    if ended(&surface) {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "ending", "the agent is ending");
    }
    let status = views::Status::from(surface.status.borrow().clone());
    let process = surface.process.borrow().clone().map(views::Process::from);
    Json(views::Status { process, ..status }).into_response()
}

async fn status_for_readers(State(surface): State<Surface>, headers: HeaderMap) -> Response {
    match reads_at(&surface, &headers) {
        true => status(State(surface)).await,
        false => nobody(),
    }
}

async fn metrics_for_readers(State(surface): State<Surface>, headers: HeaderMap) -> Response {
    match reads_at(&surface, &headers) {
        true => metrics(State(surface), headers).await,
        false => nobody(),
    }
}

/// The caller from elsewhere has a token that lets it read.
fn reads_at(surface: &Surface, headers: &HeaderMap) -> bool {
    auth::caller(&surface.tokens.borrow(), &Door::Network, headers, Role::Read).is_ok()
}

fn nobody() -> Response {
    problem(StatusCode::UNAUTHORIZED, "who_are_you", "this call needs a token of role read")
}

async fn metrics(State(surface): State<Surface>, headers: HeaderMap) -> Response {
    if ended(&surface) {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "ending", "the agent is ending");
    }
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let (status, process) = (surface.status.borrow().clone(), surface.process.borrow().clone());
    let orders = surface.commands.max_capacity() - surface.commands.capacity();
    let text = surface.metrics.scrape(Now { status, process, orders }, format).await;
    ([(CONTENT_TYPE, format.content_type())], text).into_response()
}

async fn drain(State(surface): State<Surface>, ConnectInfo(peer): ConnectInfo<Peer>, body: Bytes) -> Response {
    let asked: views::Drain = match if body.is_empty() { Ok(views::Drain::default()) } else { serde_json::from_slice(&body) } {
        Ok(asked) => asked,
        Err(e) => return problem(StatusCode::BAD_REQUEST, "bad_request", &format!("the body is no drain request: {e}")),
    };
    let reason = asked.reason.unwrap_or_else(|| "asked by an operator".to_owned());
    if reason.trim().is_empty() || reason.chars().count() > REASON_LIMIT || reason.chars().any(char::is_control) {
        let allowed = format!("the reason is one line of 1 to {REASON_LIMIT} characters");
        return problem(StatusCode::BAD_REQUEST, "bad_request", &allowed);
    }
    ask(surface, |by| Command::Drain { by, reason, force: asked.force }, peer).await
}

async fn undrain(State(surface): State<Surface>, ConnectInfo(peer): ConnectInfo<Peer>) -> Response {
    ask(surface, |by| Command::Undrain { by }, peer).await
}

async fn heal_off(State(surface): State<Surface>, ConnectInfo(peer): ConnectInfo<Peer>, body: Bytes) -> Response {
    match serde_json::from_slice::<views::HealOff>(&body) {
        Ok(asked) => ask(surface, |by| Command::HealOff { by, for_ms: asked.for_ms }, peer).await,
        Err(e) => problem(StatusCode::BAD_REQUEST, "bad_request", &format!("the body does not say for how long: {e}")),
    }
}

async fn heal_on(State(surface): State<Surface>, ConnectInfo(peer): ConnectInfo<Peer>) -> Response {
    ask(surface, |by| Command::HealOn { by }, peer).await
}

async fn ask(surface: Surface, command: impl FnOnce(String) -> Command, peer: Peer) -> Response {
    let Some(uid) = peer.uid else {
        return problem(StatusCode::FORBIDDEN, "nobody", "the kernel does not say who asks");
    };
    let command = command(name(uid).await);
    let (answer, answered) = oneshot::channel();
    if surface.commands.try_send(Asked { command, answer }).is_err() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "not_taken", "the agent takes no commands now; nothing was changed");
    }
    match tokio::time::timeout(ANSWER_WITHIN, answered).await {
        Ok(Ok(Ok(status))) => Json(views::Status::from(status)).into_response(),
        Ok(Ok(Err(why))) => problem(StatusCode::CONFLICT, "refused", &why),
        Ok(Err(_)) => problem(StatusCode::SERVICE_UNAVAILABLE, "unanswered", "the agent ended before it answered; ask for its status"),
        Err(_) => {
            problem(StatusCode::GATEWAY_TIMEOUT, "unanswered", "the agent has not answered yet and may still do it; ask for its status")
        }
    }
}

async fn only_on_the_socket() -> Response {
    problem(StatusCode::FORBIDDEN, "wrong_door", "commands are taken on the unix socket only (http.socket)")
}

fn ended(surface: &Surface) -> bool {
    surface.status.has_changed().is_err()
}

fn problem(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(views::Problem { code: code.to_owned(), message: message.to_owned() })).into_response()
}

/// `alice (uid 1000)`. Only the local user database is asked: a directory service could take its time.
async fn name(uid: u32) -> String {
    let small = tokio::fs::metadata("/etc/passwd").await.is_ok_and(|found| found.len() <= PASSWD_LIMIT);
    let users = if small { tokio::fs::read_to_string("/etc/passwd").await.unwrap_or_default() } else { String::new() };
    match name_in(&users, uid) {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

fn name_in(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_by_the_third_field() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(name_in(users, 1000), Some("alice"));
        assert_eq!(name_in(users, 0), Some("root"));
        assert_eq!(name_in(users, 7), None);
    }
}
