//! People and other systems: they save pipelines, start them, and judge. They reach the store over whichever instance is well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::Fleet;
use super::script;
use super::script::Arrival;
use super::script::Pipeline;
use crate::cloud::sim::SimTime;
use crate::drill::scenario::APPLICATION;
use crate::orchestrator::engine::definition::Definition;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::status::Status;
use crate::orchestrator::runner::definitions;
use crate::orchestrator::runner::start;
use crate::orchestrator::store::DefinitionVersion;

/// Between two looks at what waits for a person.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Starts what comes in at its time, each under its number, and judges what is to be judged.
pub(super) async fn serve(fleet: Arc<Fleet>, arrivals: Vec<(usize, Arrival)>) {
    for (name, document) in script::saved() {
        save(&fleet, name, document).await;
    }
    let mut judgments: BTreeMap<ExecutionId, (SimTime, Pipeline)> = BTreeMap::new();
    let mut coming = arrivals.into_iter().peekable();
    while coming.peek().is_some() || !judgments.is_empty() {
        while let Some((n, arrival)) = coming.next_if(|(_, arrival)| arrival.at <= fleet.now()) {
            let id = begin(&fleet, n, &arrival).await;
            if arrival.pipeline.is_judged() {
                judgments.insert(id, (arrival.at + arrival.waits, arrival.pipeline));
            }
        }
        let due: Vec<_> = judgments.iter().filter(|(_, (at, _))| *at <= fleet.now()).map(|(id, (_, what))| (id.clone(), *what)).collect();
        for (id, pipeline) in due {
            if judge(&fleet, &id, pipeline).await {
                judgments.remove(&id);
            }
        }
        let next = coming.peek().map(|(_, arrival)| arrival.at.saturating_sub(fleet.now())).unwrap_or(LOOK_EVERY);
        tokio::time::sleep(next.min(LOOK_EVERY)).await;
    }
    fleet.served.store(true, Ordering::Relaxed);
}

async fn save(fleet: &Fleet, name: &str, document: Value) {
    let version = DefinitionVersion {
        id: name.to_owned(),
        application: APPLICATION.to_owned(),
        name: name.to_owned(),
        version: 0,
        by: "ann".to_owned(),
        at: fleet.clock.now().wall,
        deleted: false,
        document,
    };
    definitions::save(&*fleet.store, version, None).await.expect("a store in memory takes a definition");
}

async fn begin(fleet: &Fleet, n: usize, arrival: &Arrival) -> ExecutionId {
    let now = fleet.clock.now().wall;
    let document = arrival.pipeline.document(arrival.waits);
    let mut document = document.as_object().cloned().unwrap_or_default();
    document.insert("id".to_owned(), arrival.pipeline.name().into());
    let order = start::Order { id: start::id_of(&format!("{}/{n}", fleet.seed), now), ..start::Order::default() };
    let started = start::start(&*fleet.store, &Definition::from_document(document), order, now).await;
    started.expect("a pipeline of the drill's own is in order").id
}

/// True when nothing is left to judge.
async fn judge(fleet: &Fleet, id: &ExecutionId, pipeline: Pipeline) -> bool {
    let Some(execution) = fleet.execution(id).await else { return true };
    let mut stages = execution.stages().iter();
    let Some(stage) = stages.find(|stage| stage.head().kind == "manualJudgment" && stage.status() == Status::Running) else {
        return execution.status().is_complete();
    };
    let word = if pipeline == Pipeline::Refused { "stop" } else { "continue" };
    let context: Object = json!({ "judgmentStatus": word }).as_object().cloned().unwrap_or_default();
    let patch = Message::Patch {
        stage: stage.id.clone(),
        by: "ann".to_owned(),
        roles: Vec::new(),
        admin: false,
        allowed_accounts: Vec::new(),
        context,
    };
    fleet.store.post(id, &patch).await == Ok(true)
}
