//! An HTTP server for tests: answers what it was told to and remembers what it was asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What the server was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub line: String,
    pub headers: HeaderMap,
    pub body: String,
}

/// What it does when asked.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers.
    Now(u16, Vec<u8>),
    /// Answers the first time with the first, then with the second, and so on; the last one for ever.
    InTurn(Vec<(u16, String)>),
    /// Takes the request and never answers.
    Never,
}

#[derive(Default)]
struct State {
    replies: HashMap<String, Reply>,
    asked: Vec<Asked>,
}

/// Ends when it is dropped.
pub struct Server {
    pub base: String,
    state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

impl Server {
    /// Serves on a free port of loopback; 404 for what it was not told.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let router = Router::new().fallback({
            let state = state.clone();
            move |request: Request| answer(state.clone(), request)
        });
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { base, state, _serving: serving }
    }

    /// Tells what to do when asked for `METHOD /path` (with its query, where there is one).
    pub fn on(&self, line: &str, reply: Reply) -> &Self {
        self.state.lock().unwrap().replies.insert(line.to_owned(), reply);
        self
    }

    /// Answers 200 with this.
    pub fn says(&self, line: &str, body: impl Into<Vec<u8>>) -> &Self {
        self.on(line, Reply::Now(200, body.into()))
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }
}

async fn answer(state: Arc<Mutex<State>>, request: Request) -> Response {
    let line = format!("{} {}", request.method(), request.uri());
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or(Bytes::new());
    let reply = {
        let mut state = state.lock().unwrap();
        state.asked.push(Asked { line: line.clone(), headers: parts.headers, body: String::from_utf8_lossy(&body).into_owned() });
        match state.replies.get_mut(&line) {
            Some(Reply::InTurn(turns)) if turns.len() > 1 => Some(turns.remove(0)).map(|(status, body)| Reply::Now(status, body.into())),
            Some(Reply::InTurn(turns)) => turns.first().cloned().map(|(status, body)| Reply::Now(status, body.into())),
            other => other.cloned(),
        }
    };
    match reply {
        Some(Reply::Now(status, body)) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
        Some(Reply::InTurn(_)) | None => StatusCode::NOT_FOUND.into_response(),
        Some(Reply::Never) => std::future::pending().await,
    }
}
