//! What a machine meets at its own addresses: doors in its network namespace, behind which the simulated region is.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
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

/// Listens at an address of a network namespace, which is left again: a socket stays where it was made.
pub fn listen(namespace: &Path, at: SocketAddr) -> io::Result<TcpListener> {
    use std::os::fd::AsFd;
    let namespace = File::open(namespace)?;
    let entered = std::thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        let door = TcpListener::bind(at)?;
        door.set_nonblocking(true)?;
        Ok(door)
    });
    entered.join().expect("it only listens")
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
