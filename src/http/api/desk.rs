//! The engine of this process, as the API asks it.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::Engine;
use super::Start;
use super::StartError;
use super::What;
use crate::model::Clock;
use crate::model::Timestamp;
use crate::orchestrator::engine::context::StageScope;
use crate::orchestrator::engine::definition;
use crate::orchestrator::engine::definition::Definition;
use crate::orchestrator::engine::definition::Rules;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::expression;
use crate::orchestrator::engine::expression::Unknown;
use crate::orchestrator::engine::problem::Problem;
use crate::orchestrator::engine::stage::Registry;
use crate::orchestrator::engine::stage::View;
use crate::orchestrator::runner::Handle;
use crate::orchestrator::runner::definitions;
use crate::orchestrator::runner::definitions::folder::Folder;
use crate::orchestrator::runner::start;
use crate::orchestrator::store::Store;

/// Takes orders for the runner behind a handle.
pub struct Desk {
    /// Where executions live.
    pub store: Arc<dyn Store>,
    /// Stage types of this build.
    pub registry: Arc<Registry>,
    /// The runner.
    pub runner: Handle,
    /// What expressions that are tried take for now. New executions take their time from the store: another host's clock may be wrong.
    pub clock: Arc<dyn Clock>,
    /// Of expressions, unless a pipeline names another.
    pub zone: TimeZone,
    /// Definitions are the files of this directory.
    pub folder: Option<Arc<Folder>>,
}

impl Desk {
    /// The document, when it is in order.
    fn sound(&self, document: &Value) -> Result<Definition, StartError> {
        let checked = definition::check(document.to_string().as_bytes(), Rules::of(&*self.registry));
        checked.definition.ok_or(StartError::Invalid { problems: checked.problems })
    }

    async fn stored(&self, application: &str, pipeline: &str) -> Result<Definition, StartError> {
        let by_id = self.store.definition(pipeline, None).await?.filter(|found| !found.deleted && found.application == application);
        let found = match by_id {
            Some(found) => Some(found),
            None => self.store.definition_named(application, pipeline).await?,
        };
        found.map(|found| definitions::definition(&found)).ok_or_else(|| StartError::NotFound(format!("{pipeline} in {application}")))
    }

    /// The execution that this start makes.
    async fn planned(&self, order: Start, now: Timestamp) -> Result<Execution, StartError> {
        let id = start::new_id(now);
        let definition = match order.what {
            What::Stored { application, pipeline } => self.stored(&application, &pipeline).await?,
            What::Document(document) => self.sound(&document)?,
            What::Jobs { application, description, jobs } => {
                let jobs: Vec<Value> = jobs.into_iter().map(Value::Object).collect();
                self.sound(&serde_json::json!({ "stages": jobs })).map_err(of_jobs)?;
                return Ok(start::plan_tasks(id, &application, &description, jobs, order.authentication, now));
            }
        };
        let order = start::Order {
            id,
            trigger: order.trigger,
            authentication: order.authentication,
            origin: Some("api".to_owned()),
            ..start::Order::default()
        };
        start::plan(&definition, order, now).map_err(|error| match error {
            start::Error::Disabled(name) => StartError::Disabled(name),
            start::Error::Wrong(problems) => StartError::Invalid { problems },
            start::Error::Store(error) => StartError::Store(error),
        })
    }
}

/// Problems of jobs that were checked as stages, at the places where their sender wrote them.
fn of_jobs(error: StartError) -> StartError {
    let StartError::Invalid { problems } = error else { return error };
    let place = |path: String| path.strip_prefix("/stages").map(|rest| format!("/job{rest}")).unwrap_or(path);
    StartError::Invalid { problems: problems.into_iter().map(|p| Problem { path: place(p.path), ..p }).collect() }
}

#[async_trait]
impl Engine for Desk {
    async fn start(&self, order: Start) -> Result<ExecutionId, StartError> {
        let now = self.store.now().await?;
        let correlation_id = order.trigger.get("correlationId").and_then(Value::as_str).map(str::to_owned);
        let execution = self.planned(order, now).await?;
        Ok(start::put(&*self.store, &execution, correlation_id, now).await?.id)
    }

    async fn plan(&self, order: Start) -> Result<Execution, StartError> {
        let now = self.store.now().await?;
        self.planned(order, now).await
    }

    fn check(&self, document: &Value) -> Vec<Problem> {
        definition::check(document.to_string().as_bytes(), Rules::of(&*self.registry)).problems
    }

    fn evaluate(&self, execution: &Execution, text: &str) -> Result<Value, String> {
        let began = |at: &usize| execution.stage(*at).head().start_time.map(|began| (began, *at));
        let at = (0..execution.stages().len()).filter_map(|at| began(&at)).max().map_or(0, |(_, at)| at);
        let Some(stage) = execution.stages().get(at) else { return Err("the execution has no stage".to_owned()) };
        let context: &Object = stage.context();
        let view = View { execution, at, context, now: self.clock.now().wall, zone: &self.zone };
        let scope = StageScope::of(&view);
        if !text.contains("${") {
            return expression::evaluate(text, &scope, Unknown::Null).map_err(|error| error.to_string());
        }
        let source = Value::String(text.to_owned());
        let rendered = expression::render(&source, &scope, Unknown::Null);
        let failed = rendered.summary.entries().values().flatten().map(|entry| entry.description.clone());
        let wanting = rendered.needs.iter().map(|url| format!("{url} would have to be fetched"));
        let causes: Vec<String> = failed.chain(wanting).collect();
        if causes.is_empty() { Ok(rendered.value.into_owned()) } else { Err(causes.join("; ")) }
    }

    fn is_enabled(&self) -> bool {
        self.runner.wished().intake
    }

    fn enable(&self, enabled: bool) {
        self.runner.wish(|wish| wish.intake = enabled);
    }

    fn folder(&self) -> Option<&Folder> {
        self.folder.as_deref()
    }
}

#[cfg(test)]
mod tests;
