//! Expressions: conditions of stages, and contexts before each use.
//!
//! What was resolved is kept in the context, so that a look costs nothing once nothing is left to resolve. Pages that expressions ask for are fetched by an
//! attempt like any other, on the task under way or on a task of its own while the stage has none yet; they are not kept beyond the event that brought them.

use serde::Deserialize;
use serde_json::Value;

use super::Move;
use super::Run;
use super::task::too_deep;
use crate::orchestrator::engine::context::StageScope;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::execution::Attempt;
use crate::orchestrator::engine::execution::ExecutionType;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::execution::Task;
use crate::orchestrator::engine::expression::Entry;
use crate::orchestrator::engine::expression::SUMMARY_KEY;
use crate::orchestrator::engine::expression::Summary;
use crate::orchestrator::engine::expression::Unknown;
use crate::orchestrator::engine::expression::limit;
use crate::orchestrator::engine::expression::optional;
use crate::orchestrator::engine::expression::optional::Condition;
use crate::orchestrator::engine::expression::render_object;
use crate::orchestrator::engine::nesting::is_object_too_deep;
use crate::orchestrator::engine::stage::View;
use crate::orchestrator::engine::status::Status;

/// The word of attempts that fetch pages for expressions, and the class of the task that does so before a stage is planned.
pub(super) const PAGES: &str = "expressions";

/// A context with its expressions resolved, or the pages it takes.
type Resolved = Result<(Object, Summary), Vec<String>>;

impl Run<'_, '_> {
    /// Whether the stage is to run, by its own condition or the nearest of its parents'. `Err` = pages are needed.
    pub(super) fn condition(&mut self, at: usize) -> Result<Condition, Vec<String>> {
        if self.execution.summary().kind != ExecutionType::Pipeline {
            return Ok(Condition::None);
        }
        let has_one = |at: &usize| optional::expression(self.execution.stage(*at).context().get("stageEnabled")).is_some();
        let Some(owner) = std::iter::once(at).chain(self.ancestors(at)).find(has_one) else { return Ok(Condition::None) };
        // Asked of the resolved context, but the stored one keeps its expressions: a stage that is restarted asks anew.
        let resolved = if self.execution.stage_mut(at).has_expressions() { Some(self.rendered(at)?.0) } else { None };
        let own = resolved.as_ref().unwrap_or_else(|| self.execution.stage(at).context());
        // As it was written: what its parts give is no expression.
        let source = self.execution.stage(owner).context().get("stageEnabled");
        let view = View { context: own, ..self.view(at) };
        match optional::condition(source, &StageScope::of(&view).with_seed(self.world.seed).with_pages(&self.pages)) {
            Condition::Needs(urls) => Err(urls),
            answer @ (Condition::None | Condition::Run | Condition::Skip | Condition::Unclear { .. }) => Ok(answer),
        }
    }

    /// Resolves the stage's context as far as it goes, and keeps it. False = it has to wait for pages, or failed.
    pub(super) fn resolve(&mut self, at: usize) -> bool {
        if !self.execution.stage_mut(at).has_expressions() {
            return true;
        }
        let (mut context, summary) = match self.rendered(at) {
            Ok(resolved) => resolved,
            Err(urls) => {
                self.fetch(at, urls);
                return false;
            }
        };
        let old = self.execution.stage(at).context();
        if let Some(kept) = old.get(SUMMARY_KEY).filter(|old| same_summary(old, &summary)) {
            context.insert(SUMMARY_KEY.to_owned(), kept.clone());
        } else if !summary.is_empty() {
            context.insert(SUMMARY_KEY.to_owned(), serde_json::to_value(&summary).unwrap_or_default());
        }
        if is_object_too_deep(&context) {
            let failure = too_deep("the context with its expressions resolved");
            match self.current_task(at) {
                Some(task) => self.fail(at, task, failure),
                None => self.fail_planning(at, failure),
            }
            return false;
        }
        if context != *old {
            *self.execution.stage_mut(at).context_mut() = context;
        }
        true
    }

    /// The context without the summary of the last pass, and what this pass says; keys that the stage's tasks resolve themselves stay as they are.
    fn rendered(&mut self, at: usize) -> Resolved {
        loop {
            let stage = self.execution.stage(at);
            let mut source = stage.context().clone();
            source.remove(SUMMARY_KEY);
            let kept = self.kind(at).map(|kind| kind.keeps_expressions()).unwrap_or_default();
            let kept: Vec<(String, Value)> = kept.iter().filter_map(|key| source.remove_entry(*key)).collect();
            let view = self.view(at);
            let scope = StageScope::of(&view).with_seed(self.world.seed).with_pages(&self.pages);
            let rendered = render_object(&source, &scope, Unknown::Null);
            if rendered.needs.is_empty() {
                let mut context = rendered.value.into_owned();
                context.extend(kept);
                return Ok((context, rendered.summary));
            }
            let refusal = match &self.no_pages {
                Some(why) => why.clone(),
                None if self.pages.len() + rendered.needs.len() > limit::NEEDS => format!("a stage may ask for {} pages", limit::NEEDS),
                None => return Err(rendered.needs),
            };
            self.pages.extend(rendered.needs.into_iter().map(|url| (url, Err(refusal.clone()))));
        }
    }

    /// Asks for pages, those at hand included: the next event brings all of them together.
    pub(super) fn fetch(&mut self, at: usize, needs: Vec<String>) {
        let mut urls: Vec<String> = self.pages.keys().cloned().collect();
        urls.extend(needs);
        let task = self.current_task(at).unwrap_or_else(|| {
            let now = self.world.now;
            let task = Task {
                id: "0".to_owned(),
                implementing_class: PAGES.to_owned(),
                name: "fetchPages".to_owned(),
                start_time: Some(now),
                status: Status::Running,
                attempt: (self.fetches > 0).then(|| Attempt { number: self.fetches, ..Attempt::default() }),
                ..Task::default()
            };
            self.execution.stage_mut(at).tasks_mut().insert(0, task);
            0
        });
        self.perform_as(at, task, PAGES, Effect::Fetch { urls });
    }

    /// Pages came, or did not: the stage goes on where it asked for them.
    pub(super) fn fetched(&mut self, at: usize, task: usize, outcome: &Outcome) {
        match outcome {
            Outcome::Fetched { pages } => self.pages = pages.iter().cloned().collect(),
            Outcome::Failed { error, .. } => self.no_pages = Some(error.clone()),
            other => self.no_pages = Some(format!("no pages came: {other:?}")),
        }
        self.after_pages(at, task);
    }

    /// Goes on with a stage whose fetch has ended or was lost.
    pub(super) fn after_pages(&mut self, at: usize, task: usize) {
        if self.execution.stage(at).tasks()[task].status == Status::Canceled {
            self.stop_now(at);
        } else if self.execution.stage(at).tasks()[task].implementing_class == PAGES {
            let task = self.execution.stage_mut(at).tasks_mut().remove(task);
            self.fetches = task.attempt.map_or(0, |a| a.number);
            self.begin(at);
            self.fetches = 0;
        } else {
            self.push(Move::Look(at));
        }
    }
}

/// A stored summary says what this one says, whenever it was said.
fn same_summary(old: &Value, new: &Summary) -> bool {
    let Ok(old) = Summary::deserialize(old) else { return false };
    let words = |summary: &Summary| -> Vec<(String, Vec<String>)> {
        let said = |(key, entries): (&String, &Vec<_>)| (key.clone(), entries.iter().map(|e: &Entry| e.description.clone()).collect());
        summary.entries().iter().map(said).collect()
    };
    words(&old) == words(new)
}
