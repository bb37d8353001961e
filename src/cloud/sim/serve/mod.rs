//! The simulated region over HTTP on loopback: AWS's wire protocols, instance metadata, the orchestrators and a control page, on one port.
//!
//! ```text
//! POST /                                AWS: the service is told by `Version`, the action by `Action`; Service Quotas by `X-Amz-Target`
//! *    /imds/{instance}/latest/…        instance metadata: the value of AWS_EC2_METADATA_SERVICE_ENDPOINT is …/imds/{instance}
//! *    /orchestrators/{instance}/…      the orchestrator on that instance
//! *    /control…                        scenario, trouble, time, ground truth (see `control`)
//! ```
//!
//! What must stay true: every rule is the region's; nothing here decides anything but the shape of bytes and when they are sent. The region
//! has no thread of its own: it catches up with the clock before each request. A body is at most 1 MiB, a hang at most 60 s.
//! How it fails: on purpose, and only as the region says; a connection that it wants broken is broken without a byte of answer.

mod autoscaling;
mod control;
mod ec2;
mod elb;
mod elbv2;
mod iam;
mod imds;
mod pace;
mod query;
mod quotas;
pub mod scenario;
mod socket;
mod sts;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::extract::DefaultBodyLimit;
use axum::extract::Form;
use axum::extract::FromRequest;
use axum::extract::Path;
use axum::extract::Request;
use axum::extract::State;
use axum::extract::rejection::StringRejection;
use axum::http::HeaderMap;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::any;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use pace::MAX_SPEED;

use super::Answer;
use super::ApiError;
use super::ApiResult;
use super::OrchestratorReply;
use super::Region;
use crate::host::clock::SystemClock;
use crate::model::Clock;
use crate::model::InstanceId;
use pace::Pace;
use query::Params;
use query::Service;
use query::Xml;
use socket::Cut;

/// Largest request body, in bytes. AWS's own calls stay below 100 kB; a scenario with a thousand executions too.
const MAX_BODY: usize = 1024 * 1024;
/// Longest a client is left without an answer. Longer than any client of ours waits; short enough that none is kept for ever.
const MAX_HANG: Duration = Duration::from_secs(60);
/// How long open requests may take to end once the server is told to stop.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Carries out one action and writes the inside of its result.
type Handler = fn(&mut Region, &Params, &mut Xml) -> ApiResult<()>;
/// Actions of a service by AWS's name.
type Actions = &'static [(&'static str, Handler)];

/// A region behind a bound socket.
pub struct Server {
    tcp: TcpListener,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Binds `listen` (port 0: any free one). `speed` is virtual seconds per real second, 0 to [`MAX_SPEED`]; at 0 the region moves by
    /// `/control/advance` alone.
    pub async fn bind(listen: SocketAddr, region: Region, speed: f64) -> io::Result<Self> {
        let tcp = TcpListener::bind(listen).await?;
        let clock = SystemClock::start();
        let now = clock.now();
        let shared = Arc::new(Shared {
            address: tcp.local_addr()?,
            key: now.wall.0.unsigned_abs(),
            world: Mutex::new(World { pace: Pace::new(speed, now.mono), region, dark: BTreeSet::new(), requests: 0 }),
            clock,
            stop: CancellationToken::new(),
        });
        Ok(Self { tcp, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// `AWS_ENDPOINT_URL` of its clients.
    pub fn endpoint(&self) -> String {
        self.shared.endpoint()
    }

    /// Serves until `stop` resolves; open requests get a short grace, hung ones none.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let Self { tcp, shared } = self;
        let routes = Router::new()
            .route("/", any(aws))
            .route("/imds/{instance}/{*path}", any(metadata))
            .route("/orchestrators/{instance}/{*path}", any(orchestrator))
            .merge(control::routes())
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(Arc::clone(&shared));
        let stopping = shared.stop.clone();
        let serving = axum::serve(socket::Listener::new(tcp), routes.into_make_service_with_connect_info::<Cut>())
            .with_graceful_shutdown(stopping.clone().cancelled_owned());
        let mut serving = std::pin::pin!(serving.into_future());
        tokio::select! {
            ended = &mut serving => return ended,
            () = stop => stopping.cancel(),
        }
        // Connections that do not end in time are dropped with the runtime.
        tokio::time::timeout(STOP_GRACE, serving).await.unwrap_or(Ok(()))
    }
}

struct Shared {
    world: Mutex<World>,
    clock: SystemClock,
    address: SocketAddr,
    /// Marks the metadata tokens of this run.
    key: u64,
    stop: CancellationToken,
}

struct World {
    region: Region,
    pace: Pace,
    /// Instances whose metadata is switched off.
    dark: BTreeSet<InstanceId>,
    requests: u64,
}

impl Shared {
    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The world at this moment. A request that panicked holds nothing half done that the next could make worse.
    fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let now = world.pace.at(self.now());
        world.region.advance(now);
        world
    }

    /// Real time since the start.
    fn now(&self) -> Duration {
        self.clock.now().mono
    }

    /// Waits a virtual time.
    async fn pass(&self, virtually: Duration) {
        let speed = self.world().pace.speed();
        if speed > 0.0 && !virtually.is_zero() {
            let really = Duration::try_from_secs_f64(virtually.as_secs_f64() / speed).unwrap_or(MAX_HANG);
            tokio::time::sleep(really.min(MAX_HANG)).await;
        }
    }

    /// Leaves the client waiting, then breaks the connection. A client that gives up first ends it sooner.
    async fn hang(&self, cut: &Cut) -> Response {
        tokio::select! {
            () = tokio::time::sleep(MAX_HANG) => {}
            () = self.stop.cancelled() => {}
        }
        reset(cut)
    }
}

/// The answer is never written: the connection it would go to is cut.
fn reset(cut: &Cut) -> Response {
    cut.reset();
    Response::new(Body::empty())
}

async fn aws(State(shared): State<Arc<Shared>>, ConnectInfo(cut): ConnectInfo<Cut>, request: Request) -> Response {
    let caller = caller(request.headers());
    let request_id = {
        let mut world = shared.world();
        world.requests += 1;
        format!("{:08x}-0000-4000-8000-{:012x}", shared.key & 0xffff_ffff, world.requests)
    };
    let target = request.headers().get("x-amz-target").and_then(|value| value.to_str().ok()).map(str::to_owned);
    if let Some(target) = target {
        return quotas::answer(&shared, &caller, &request_id, &target, &cut).await;
    }
    let pairs = match Form::<Vec<(String, String)>>::from_request(request, &()).await {
        Ok(Form(pairs)) => pairs,
        Err(e) => {
            let malformed = ApiError { code: "MalformedQueryString", message: e.body_text(), status: e.status().as_u16() };
            return said(Service::Sts, &request_id, Err(malformed));
        }
    };
    let (service, name, handler, params) = match find(pairs) {
        Ok(found) => found,
        Err((service, e)) => return said(service, &request_id, Err(e)),
    };

    let latency = shared.world().region.latency(&caller, name) / 2;
    shared.pass(latency).await;
    let mut body = service.xml();
    let answer = shared.world().region.call(&caller, name, |region| handler(region, &params, &mut body));
    shared.pass(latency).await;
    match answer {
        Answer::Reply(Ok(())) => said(service, &request_id, Ok(service.answer(name, &request_id, &body))),
        Answer::Reply(Err(e)) => said(service, &request_id, Err(e)),
        Answer::Hang => shared.hang(&cut).await,
        Answer::Reset => reset(&cut),
    }
}

type Found = (Service, &'static str, Handler, Params);

fn find(pairs: Vec<(String, String)>) -> Result<Found, (Service, ApiError)> {
    let params = Params::from_pairs(pairs).map_err(|e| (Service::Sts, e))?;
    let version = params.text("Version").unwrap_or_default();
    let Some(service) = Service::of_version(version) else {
        let message = format!("The simulated region has no API of version '{version}'");
        return Err((Service::Sts, ApiError::new("NoSuchVersion", message)));
    };
    let actions = match service {
        Service::AutoScaling => autoscaling::ACTIONS,
        Service::ElbV2 => elbv2::ACTIONS,
        Service::Elb => elb::ACTIONS,
        Service::Ec2 => ec2::ACTIONS,
        Service::Sts => sts::ACTIONS,
        Service::Iam => iam::ACTIONS,
    };
    let Some(action) = params.text("Action") else {
        return Err((service, ApiError::new("MissingAction", "The request must contain the parameter Action")));
    };
    match actions.iter().find(|(name, _)| *name == action) {
        Some((name, handler)) => Ok((service, name, *handler, params)),
        None => Err((service, query::unknown_action(action))),
    }
}

fn said(service: Service, request_id: &str, answer: Result<String, ApiError>) -> Response {
    let (status, document) = match answer {
        Ok(document) => (StatusCode::OK, document),
        Err(e) => (StatusCode::from_u16(e.status).unwrap_or(StatusCode::BAD_REQUEST), service.error(request_id, &e)),
    };
    let headers = [(header::CONTENT_TYPE.as_str(), "text/xml;charset=UTF-8"), ("x-amzn-requestid", request_id)];
    (status, headers, document).into_response()
}

/// Who calls: the instance whose metadata gave the credentials, else the access key. Nothing is verified.
fn caller(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let instance = text("x-amz-security-token").and_then(imds::instance_of);
    let key = || text("authorization")?.split_once("Credential=")?.1.split('/').next();
    instance.or_else(key).filter(|k| !k.is_empty()).unwrap_or("anonymous").to_owned()
}

async fn metadata(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    Path((instance, path)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let path = format!("/{path}");
    let ask = imds::Ask {
        put: method == Method::PUT,
        path: &path,
        ttl: text(imds::TTL_HEADER),
        token: text(imds::TOKEN_HEADER),
        forwarded: headers.contains_key("x-forwarded-for"),
    };
    let id = InstanceId::new(instance);
    let (facts, dark) = {
        let world = shared.world();
        (world.region.metadata(&id), world.dark.contains(&id))
    };
    // A machine that is gone answers nothing, and nobody on it could ask.
    let Some(facts) = facts else { return reset(&cut) };
    let (status, kind, body) = imds::answer(Some(&facts).filter(|_| !dark), ask, shared.clock.now().wall, shared.key);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let ttl = ask.ttl.filter(|_| ask.put && status == StatusCode::OK);
    let mut response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
    if let Some(ttl) = ttl.and_then(|t| t.parse().ok()) {
        response.headers_mut().insert(imds::TTL_HEADER, ttl);
    }
    response
}

async fn orchestrator(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    Path((instance, path)): Path<(String, String)>,
    method: Method,
    body: Result<String, StringRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(e) => return e.into_response(),
    };
    let reply = shared.world().region.orchestrator_http(&InstanceId::new(instance), method.as_str(), &format!("/{path}"), &body);
    match reply {
        OrchestratorReply::Answer(a) => {
            let status = StatusCode::from_u16(a.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, [(header::CONTENT_TYPE, a.content_type)], a.body).into_response()
        }
        OrchestratorReply::Hang => shared.hang(&cut).await,
        // All share one port, so a refusal can only be told by a reset: to the client both are no answer.
        OrchestratorReply::Refused => reset(&cut),
    }
}
