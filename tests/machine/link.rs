//! What a machine meets at its own addresses: doors in its network namespace, behind which the simulated region is.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::Path;

use axum::body::Body;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use rustix::thread::LinkNameSpaceType;
use rustix::thread::move_into_link_name_space;

use super::process::client;

/// More than any request of an agent.
const LONGEST_BODY: usize = 1 << 20;

/// Moves this thread into a network namespace, for good.
pub fn enter(namespace: &Path) -> io::Result<()> {
    Ok(move_into_link_name_space(File::open(namespace)?.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Does something in a network namespace: sockets and processes stay where they were made.
pub fn within<T: Send>(namespace: &Path, what: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|threads| {
        let entered = threads.spawn(|| {
            enter(namespace)?;
            Ok(what())
        });
        entered.join().expect("what is done in a namespace does not panic")
    })
}

/// Listens at an address of a network namespace.
pub fn listen(namespace: &Path, at: SocketAddr) -> io::Result<TcpListener> {
    within(namespace, || {
        let door = TcpListener::bind(at)?;
        door.set_nonblocking(true)?;
        Ok(door)
    })?
}

/// Where a door leads.
#[derive(Clone)]
struct Behind {
    base: String,
    http: reqwest::Client,
}

/// Passes on what comes in at the door to this address, for as long as it is polled.
pub async fn serve(door: TcpListener, base: String) {
    let door = tokio::net::TcpListener::from_std(door).expect("a socket of ours");
    let routes = axum::Router::new().fallback(pass).with_state(Behind { base, http: client() });
    axum::serve(door, routes).await.expect("it serves until it is dropped");
}

async fn pass(State(behind): State<Behind>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LONGEST_BODY).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let mut headers = head.headers;
    for hop in [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH] {
        headers.remove(hop);
    }
    let to = format!("{}{}", behind.base, head.uri.path_and_query().map_or("/", |path| path.as_str()));
    let asked = behind.http.request(head.method, to).headers(headers).body(body).send().await;
    // A connection that the region breaks is no answer either way.
    let Ok(answer) = asked else { return StatusCode::BAD_GATEWAY.into_response() };
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    headers.remove(header::TRANSFER_ENCODING);
    let Ok(body) = answer.bytes().await else { return StatusCode::BAD_GATEWAY.into_response() };
    (status, headers, Body::from(body)).into_response()
}
