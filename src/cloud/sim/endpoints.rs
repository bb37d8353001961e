//! What an orchestrator answers over HTTP: activity in every era's shape, its intake switch, health, metrics (spinnaker.md §1).
//!
//! The typed answers are for the in-process front; both tell the same lies.

use serde_json::Value;
use serde_json::json;

use super::Region;
use super::SimTime;
use super::instance::Instance;
use super::orchestrator::Daemon;
use super::spec::Endpoint;
use super::spec::Era;
use super::spec::Lie;
use super::spec::Switch;
use super::spec::Works;
use crate::model::ExecutionRef;
use crate::model::InstanceId;

/// An answer of an orchestrator, as the HTTP front gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Body.
    pub body: String,
}

/// What comes back from an orchestrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrchestratorReply {
    /// An answer.
    Answer(HttpAnswer),
    /// Nothing, for ever.
    Hang,
    /// Nobody listens: connection refused.
    Refused,
}

/// What a look at one endpoint tells of this instance's activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// That many run, as of then; some of them named.
    Count {
        /// How many.
        count: u64,
        /// Which, where the endpoint can tell.
        executions: Vec<ExecutionRef>,
        /// When this was so.
        as_of: SimTime,
    },
    /// An answer that tells nothing; what it was, for people.
    Nothing(String),
    /// No answer ever.
    Hang,
    /// Nobody listens.
    Refused,
}

impl Region {
    /// Asks the orchestrator on an instance. A query string is ignored.
    pub fn orchestrator_http(&mut self, id: &InstanceId, method: &str, path: &str, body: &str) -> OrchestratorReply {
        let Some(d) = self.listening(id) else { return OrchestratorReply::Refused };
        if d.is_hung(self.now) {
            return OrchestratorReply::Hang;
        }
        let path = path.split('?').next().unwrap_or(path);
        match (method, path) {
            ("GET", "/executions/activeByInstance") => self.active_by_instance(id),
            ("GET", "/metrics" | "/prometheus" | "/actuator/prometheus") => self.metrics(id),
            ("GET", "/health") => match d.behaviour.works {
                Works::Yes => json_answer(200, &json!({"status": "UP"})),
                Works::NeverHealthy | Works::CrashLoops => json_answer(503, &json!({"status": "DOWN"})),
            },
            ("GET", "/admin/instance/enabled") => match d.behaviour.switch {
                Switch::Refuses => json_answer(400, &json!({"error": "Bad Request", "discovery": "enabled"})),
                Switch::Obeys | Switch::Forgets | Switch::Ignores => json_answer(200, &json!({"enabled": d.open})),
                Switch::Lies => json_answer(200, &json!({"enabled": d.told})),
            },
            ("POST", "/admin/instance/enabled") => {
                let parsed: Value = serde_json::from_str(body).unwrap_or_default();
                let asked = parsed.get("enabled").and_then(|e| e.as_bool().or_else(|| e.as_str()?.parse().ok()));
                let Some(open) = asked else { return json_answer(400, &json!({"error": "Bad Request", "message": "enabled is missing"})) };
                if self.turn_switch(id, open) {
                    json_answer(200, &json!({}))
                } else {
                    json_answer(400, &json!({"error": "Bad Request", "discovery": "enabled"}))
                }
            }
            _ => json_answer(404, &json!({"error": "Not Found", "path": path})),
        }
    }

    /// What one endpoint tells of this instance's own activity.
    pub fn look(&self, id: &InstanceId, endpoint: Endpoint) -> Look {
        let Some((i, d)) =
            self.instances.get(id).and_then(|i| Some((i, i.daemon.as_ref()?))).filter(|(i, d)| d.started.is_some() && !i.ec2.is_over())
        else {
            return Look::Refused;
        };
        if d.is_hung(self.now) {
            return Look::Hang;
        }
        let as_of = match d.lie(endpoint, self.now) {
            None => self.now,
            Some(Lie::Old(s)) => self.now.saturating_sub(SimTime::from_secs(u64::from(s))),
            Some(Lie::Zero) => return Look::Count { count: 0, executions: Vec::new(), as_of: self.now },
            Some(Lie::Hang) => return Look::Hang,
            Some(Lie::MissingKey) => return Look::Nothing(format!("the answer does not name {}", i.id)),
            Some(Lie::Malformed) => return Look::Nothing("the body is not understood".into()),
            Some(Lie::NotFound) => return Look::Nothing("404".into()),
            Some(Lie::ServerError) => return Look::Nothing("500".into()),
        };
        let running = d.visible_at(as_of);
        let executions = match endpoint {
            Endpoint::ActiveByInstance => running.iter().filter_map(|n| self.named(*n)).collect(),
            Endpoint::Metrics => Vec::new(),
        };
        Look::Count { count: count(&running), executions, as_of }
    }

    /// What the intake switch reads back as; `None` = it cannot be read.
    pub fn read_intake(&self, id: &InstanceId) -> Option<bool> {
        let d = self.listening(id).filter(|d| !d.is_hung(self.now))?;
        match d.behaviour.switch {
            Switch::Refuses => None,
            Switch::Lies => Some(d.told),
            Switch::Obeys | Switch::Forgets | Switch::Ignores => Some(d.open),
        }
    }

    /// The process that answers: its number and the time it started.
    pub fn process(&self, id: &InstanceId) -> Option<(u32, SimTime)> {
        self.listening(id).and_then(|d| Some((d.generation, d.started?)))
    }

    /// Its process runs and is not hung.
    pub fn answers(&self, id: &InstanceId) -> bool {
        self.listening(id).is_some_and(|d| !d.is_hung(self.now))
    }

    fn listening(&self, id: &InstanceId) -> Option<&Daemon> {
        let i = self.instances.get(id).filter(|i| !i.ec2.is_over())?;
        i.daemon.as_ref().filter(|d| d.started.is_some())
    }

    /// Every instance of the queue, as the keepalives in the store tell it; only the one that is asked lies, about itself.
    fn active_by_instance(&self, id: &InstanceId) -> OrchestratorReply {
        let Some((asked, d)) = self.instances.get(id).and_then(|i| Some((i, i.daemon.as_ref()?))) else {
            return OrchestratorReply::Refused;
        };
        let lie = d.lie(Endpoint::ActiveByInstance, self.now);
        if let Some(reply) = lie.and_then(outright) {
            return reply;
        }
        let mut map = serde_json::Map::new();
        for i in self.instances.values().filter(|i| i.queue == asked.queue && !i.ec2.is_over()) {
            let Some(other) = i.daemon.as_ref() else { continue };
            let own = i.id == *id;
            if own && lie == Some(Lie::MissingKey) {
                continue;
            }
            let as_of = old(lie.filter(|_| own), self.now);
            let zero = own && lie == Some(Lie::Zero);
            let running = if zero { Vec::new() } else { other.visible_at(as_of) };
            let overdue = other.started.is_none() || as_of < self.now;
            map.insert(i.id.to_string(), self.entry(d.behaviour.era, &running, overdue));
        }
        json_answer(200, &Value::Object(map))
    }

    fn entry(&self, era: Era, running: &[u64], overdue: bool) -> Value {
        let executions: Vec<_> = running.iter().filter_map(|n| self.named(*n)).collect();
        match era {
            Era::A => json!(count(running)),
            Era::B if executions.is_empty() => json!({"overdue": overdue, "count": 0}),
            Era::B | Era::C => json!({"overdue": overdue, "count": count(running), "executions": executions}),
        }
    }

    fn metrics(&self, id: &InstanceId) -> OrchestratorReply {
        let Some((_, d)) = self.instances.get(id).and_then(|i: &Instance| Some((i, i.daemon.as_ref()?))) else {
            return OrchestratorReply::Refused;
        };
        let lie = d.lie(Endpoint::Metrics, self.now);
        if let Some(reply) = lie.and_then(outright) {
            return reply;
        }
        let as_of = old(lie, self.now);
        // A metric without a timestamp claims to be true now.
        let stamp = if as_of < self.now { format!(" {}", self.wall_at(as_of).0) } else { String::new() };
        let busy = if lie == Some(Lie::Zero) { 0 } else { count(&d.visible_at(as_of)) };
        let started = d.started.map(|at| self.wall_at(at).0).unwrap_or_default();
        let poll_age = d.closed_since.map_or(0.05, |since| self.now.saturating_sub(since).as_secs_f64());
        let gauge = if lie == Some(Lie::MissingKey) {
            String::new()
        } else {
            format!("# TYPE threadpool_activeCount gauge\nthreadpool_activeCount{{id=\"messageHandlerPool\"}} {busy}{stamp}\n")
        };
        let body = format!(
            "{gauge}# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds {}.{:03}\n# TYPE queue_last_poll_age_seconds gauge\nqueue_last_poll_age_seconds {poll_age:.2}\n",
            started / 1000,
            started % 1000
        );
        OrchestratorReply::Answer(HttpAnswer { status: 200, content_type: "text/plain; version=0.0.4", body })
    }

    fn named(&self, execution: u64) -> Option<ExecutionRef> {
        let e = self.truth.executions.get(usize::try_from(execution).ok()?)?;
        Some(ExecutionRef { application: e.application.clone(), url: format!("/pipelines/01SIM{:021}", e.id) })
    }
}

fn count(running: &[u64]) -> u64 {
    u64::try_from(running.len()).unwrap_or(u64::MAX)
}

fn old(lie: Option<Lie>, now: SimTime) -> SimTime {
    match lie {
        Some(Lie::Old(s)) => now.saturating_sub(SimTime::from_secs(u64::from(s))),
        Some(Lie::Zero | Lie::MissingKey | Lie::Malformed | Lie::NotFound | Lie::ServerError | Lie::Hang) | None => now,
    }
}

/// Lies that are the whole answer.
fn outright(lie: Lie) -> Option<OrchestratorReply> {
    match lie {
        Lie::Malformed => {
            Some(OrchestratorReply::Answer(HttpAnswer { status: 200, content_type: "application/json", body: "{\"i-".into() }))
        }
        Lie::NotFound => Some(json_answer(404, &json!({"error": "Not Found"}))),
        Lie::ServerError => Some(json_answer(500, &json!({"error": "Internal Server Error"}))),
        Lie::Hang => Some(OrchestratorReply::Hang),
        Lie::Zero | Lie::MissingKey | Lie::Old(_) => None,
    }
}

fn json_answer(status: u16, body: &Value) -> OrchestratorReply {
    OrchestratorReply::Answer(HttpAnswer { status, content_type: "application/json", body: body.to_string() })
}
