//! Instance metadata over a connection: the client that the agent uses, and a server whose documents are the input, one after the other.

use std::sync::Arc;
use std::sync::Mutex;

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;
use bellrock::cloud::Metadata;
use bellrock::cloud::aws::Imds;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// What is read of metadata; one of them has the input at a time, and nothing stands at the others.
const PATHS: [&str; 5] = [
    "/latest/dynamic/instance-identity/document",
    "/latest/meta-data/autoscaling/target-lifecycle-state",
    "/latest/meta-data/spot/instance-action",
    "/latest/meta-data/events/recommendations/rebalance",
    "/latest/meta-data/events/maintenance/scheduled",
];

pub struct Wire {
    runtime: Runtime,
    imds: Imds,
    answer: Arc<Mutex<(usize, Vec<u8>)>>,
    _serving: JoinSet<()>,
}

impl Wire {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = Arc::new(Mutex::new((0, Vec::new())));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let imds = Imds::at(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let says = Arc::clone(&answer);
        let reply = move |request: Request| std::future::ready(reply(&request, &says));
        let mut serving = JoinSet::new();
        serving.spawn_on(async move { axum::serve(listener, Router::new().fallback(reply)).await.unwrap() }, runtime.handle());
        let mut wire = Self { runtime, imds, answer, _serving: serving };
        // The first calls make what the client keeps.
        wire.ask(b"{}");
        wire
    }

    /// Has the next document be this, and reads it; whether it made sense.
    pub fn ask(&mut self, input: &[u8]) -> bool {
        let turn = {
            let mut answer = self.answer.lock().unwrap();
            *answer = ((answer.0 + 1) % PATHS.len(), input.to_vec());
            answer.0
        };
        self.runtime.block_on(async {
            match turn {
                0 => self.imds.identity().await.is_ok(),
                1 => self.imds.target_state().await.is_ok_and(|state| state.is_some()),
                _ => self.imds.notices().await.is_ok(),
            }
        })
    }
}

fn reply(request: &Request, says: &Mutex<(usize, Vec<u8>)>) -> Response {
    let (turn, body) = &*says.lock().unwrap();
    if request.method() == Method::PUT {
        return ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], "a-token").into_response();
    }
    if request.uri().path() == PATHS[*turn] { body.clone().into_response() } else { StatusCode::NOT_FOUND.into_response() }
}
