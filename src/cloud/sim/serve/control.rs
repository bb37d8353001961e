//! The control page: JSON for tests, drills and the curious. It reads what no AWS call shows and makes happen what no AWS call can.
//!
//! ```text
//! GET    /control                 time, groups, instances with their metadata endpoint and orchestrator
//! GET    /control/truth           everything that really happened
//! GET    /control/scenarios       names of the scenarios in the box
//! POST   /control/scenario        {"scenario": document or name, "seed": 1}: a new region takes the place of this one
//! POST   /control/trouble         a rule of trouble, or several; `stale_s`, `bucket` (see [`TroubleOrder`])
//! DELETE /control/trouble         no more trouble
//! POST   /control/incident        anything a scenario may let happen, now
//! POST   /control/work            executions for a queue
//! POST   /control/instance/{id}   something that happens to one instance (see [`InstanceOrder`])
//! POST   /control/advance         {"seconds": 90}: time passes at once
//! POST   /control/speed           {"speed": 60}: virtual seconds per real second; 0 stands still
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::FromRequest;
use axum::extract::Path;
use axum::extract::Request;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::json;

use super::Shared;
use super::World;
use super::scenario;
use crate::cloud::sim::Bucket;
use crate::cloud::sim::Endpoint;
use crate::cloud::sim::Incident;
use crate::cloud::sim::Lie;
use crate::cloud::sim::Pick;
use crate::cloud::sim::Region;
use crate::cloud::sim::Scenario;
use crate::cloud::sim::Span;
use crate::cloud::sim::Trouble;
use crate::cloud::sim::WorkSpec;
use crate::model::GroupInstance;
use crate::model::InstanceId;

/// Farthest jump, in seconds: thirty days, what a scenario may span.
const MAX_JUMP_S: f64 = 30.0 * 86_400.0;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/control", get(summary))
        .route("/control/truth", get(truth))
        .route("/control/scenarios", get(async || Json(scenario::NAMES)))
        .route("/control/scenario", post(load))
        .route("/control/trouble", post(trouble).delete(no_trouble))
        .route("/control/incident", post(incident))
        .route("/control/work", post(work))
        .route("/control/instance/{id}", post(instance))
        .route("/control/advance", post(advance))
        .route("/control/speed", post(speed))
}

type Answer = Result<Json<Value>, Refused>;

/// An order that cannot be carried out: status and why.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<JsonRejection> for Refused {
    fn from(e: JsonRejection) -> Self {
        Self(e.status(), e.body_text())
    }
}

fn bad(why: impl ToString) -> Refused {
    Refused(StatusCode::BAD_REQUEST, why.to_string())
}

/// JSON whose refusal is JSON too.
struct Order<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Order<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let Json(order) = Json::from_request(request, state).await?;
        Ok(Self(order))
    }
}

fn time(world: &World) -> Json<Value> {
    Json(json!({ "now_s": world.region.now().as_secs_f64(), "wall": world.region.wall().to_string() }))
}

async fn summary(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let world = shared.world();
    let (region, at) = (&world.region, shared.endpoint());
    let groups: Vec<Value> = region
        .group_names()
        .iter()
        .filter_map(|name| region.group_now(name))
        .map(|g| {
            let member = |i: &GroupInstance| json!({"id": i.id, "state": i.state, "health": i.health, "protected": i.protected});
            let instances: Vec<Value> = g.group.instances.iter().map(member).collect();
            json!({
                "name": g.group.name, "min": g.group.capacity.min, "max": g.group.capacity.max, "desired": g.group.capacity.desired,
                "suspended": g.group.suspended.keys().collect::<Vec<_>>(), "status": g.group.status, "tags": g.group.tags, "instances": instances,
            })
        })
        .collect();
    let instances: Vec<Value> = region
        .instances()
        .map(|i| {
            json!({
                "id": i.id, "group": i.group, "state": i.ec2.as_str(),
                "metadata": format!("{at}/imds/{}", i.id), "orchestrator": format!("{at}/orchestrators/{}", i.id),
            })
        })
        .collect();
    Json(json!({
        "endpoint": at, "now_s": region.now().as_secs_f64(), "wall": region.wall().to_string(), "speed": world.pace.speed(),
        "requests": world.requests, "undocumented": region.undocumented(), "groups": groups, "instances": instances,
    }))
}

async fn truth(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.world().region.truth()).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenarioOrder {
    /// A document, or the name of one. Taken apart later: an untagged choice could not say which key of a document is wrong.
    scenario: Value,
    #[serde(default)]
    seed: u64,
}

async fn load(State(shared): State<Arc<Shared>>, order: Order<ScenarioOrder>) -> Answer {
    let scenario = match order.0.scenario {
        Value::String(name) => scenario::named(&name).ok_or_else(|| bad(format!("no scenario is called {name}")))?,
        document => serde_json::from_value::<Scenario>(document).map_err(bad)?,
    };
    let mut world = shared.world();
    // The new region begins at the old one's time of day, so that no client sees the clock go back.
    let mut region = Region::new(order.0.seed, world.region.wall());
    region.load(&scenario).map_err(bad)?;
    world.pace.restart(shared.now());
    world.region = region;
    world.dark.clear();
    Ok(time(&world))
}

/// Trouble to add: rules, and what is set rather than added.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TroubleOrder {
    /// Rules, asked in their order after those that are there.
    #[serde(default)]
    rules: Vec<Trouble>,
    /// How old a read may be, in seconds.
    stale_s: Option<f64>,
    /// The account's request bucket.
    bucket: Option<Bucket>,
}

async fn trouble(State(shared): State<Arc<Shared>>, order: Order<TroubleOrder>) -> Answer {
    let Order(order) = order;
    let stale = order.stale_s.map(seconds).transpose()?;
    let region = &mut shared.world().region;
    order.rules.into_iter().for_each(|rule| region.trouble(rule));
    stale.into_iter().for_each(|bound| region.set_stale_bound(bound));
    order.bucket.into_iter().for_each(|bucket| region.set_bucket(Some(bucket)));
    Ok(Json(json!({})))
}

async fn no_trouble(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let mut world = shared.world();
    world.region.no_trouble();
    time(&world)
}

async fn incident(State(shared): State<Arc<Shared>>, order: Order<Incident>) -> Answer {
    happen(&shared, order.0)
}

async fn work(State(shared): State<Arc<Shared>>, order: Order<WorkSpec>) -> Answer {
    happen(&shared, Incident::Work(order.0))
}

fn happen(shared: &Shared, what: Incident) -> Answer {
    let mut world = shared.world();
    world.region.strike(&what);
    Ok(time(&world))
}

/// Something that happens to one instance.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum InstanceOrder {
    /// The orchestrator's process dies and is started again.
    Crash,
    /// It answers nothing for so many seconds.
    Hang(Span),
    /// It lies for so many seconds.
    Lie { lie: Lie, endpoint: Option<Endpoint>, r#for: Span },
    /// Spot interruption.
    Spot,
    /// A rebalance recommendation.
    RebalanceRecommendation,
    /// A maintenance event.
    Maintenance { code: String, r#in: Span },
    /// The machine dies.
    Kill,
    /// Instance metadata is switched on or off.
    Metadata(bool),
    /// Somebody on the machine stops the orchestrator, and gives it so many seconds to finish.
    Stop(f64),
    /// Somebody on the machine starts it.
    Start,
}

async fn instance(State(shared): State<Arc<Shared>>, Path(id): Path<String>, order: Order<InstanceOrder>) -> Answer {
    let id = InstanceId::new(id);
    if shared.world().region.instance(&id).is_none() {
        return Err(Refused(StatusCode::NOT_FOUND, format!("no instance {id}")));
    }
    let on = Pick::Id(id.clone());
    happen(
        &shared,
        match order.0 {
            InstanceOrder::Crash => Incident::Crash(on),
            InstanceOrder::Hang(r#for) => Incident::HangOrchestrator { on, r#for },
            InstanceOrder::Lie { lie, endpoint, r#for } => Incident::Lie { on, lie, endpoint, r#for },
            InstanceOrder::Spot => Incident::Spot(on),
            InstanceOrder::RebalanceRecommendation => Incident::RebalanceRecommendation(on),
            InstanceOrder::Maintenance { code, r#in } => Incident::Maintenance { on, code, r#in },
            InstanceOrder::Kill => Incident::Kill(on),
            InstanceOrder::Stop(grace) => {
                let grace = seconds(grace)?;
                let mut world = shared.world();
                world.region.stop_orchestrator(&id, grace);
                return Ok(time(&world));
            }
            InstanceOrder::Start => {
                let mut world = shared.world();
                world.region.start_orchestrator(&id);
                return Ok(time(&world));
            }
            InstanceOrder::Metadata(on) => {
                let mut world = shared.world();
                if on {
                    world.dark.remove(&id)
                } else {
                    world.dark.insert(id)
                };
                return Ok(time(&world));
            }
        },
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdvanceOrder {
    seconds: f64,
}

async fn advance(State(shared): State<Arc<Shared>>, order: Order<AdvanceOrder>) -> Answer {
    let by = seconds(order.0.seconds)?;
    shared.world().pace.jump(by);
    Ok(time(&shared.world()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpeedOrder {
    speed: f64,
}

async fn speed(State(shared): State<Arc<Shared>>, order: Order<SpeedOrder>) -> Answer {
    let mut world = shared.world();
    world.pace.set_speed(order.0.speed, shared.now());
    Ok(Json(json!({ "speed": world.pace.speed() })))
}

fn seconds(s: f64) -> Result<Duration, Refused> {
    if s > MAX_JUMP_S {
        return Err(bad(format!("{s} s is more than thirty days")));
    }
    Duration::try_from_secs_f64(s).map_err(|e| bad(format!("{s} s: {e}")))
}
