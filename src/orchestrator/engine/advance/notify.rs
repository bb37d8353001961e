//! Who is to be told what.

use serde_json::Value;
use serde_json::json;

use super::Run;
use crate::orchestrator::engine::event::Command;
use crate::orchestrator::engine::event::Notice;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::stage::flag;

/// The blocks of a list of notifications that ask for this event.
fn recipients(list: &[Value], event: &str) -> Vec<Object> {
    let wants = |block: &Object| block.get("when").and_then(Value::as_array).is_some_and(|when| when.iter().any(|w| w == event));
    list.iter().filter_map(Value::as_object).filter(|block| wants(block)).cloned().collect()
}

impl Run<'_, '_> {
    /// Tells of the execution: `starting`, `complete`, `failed`.
    pub(super) fn notify_execution(&mut self, what: &str) {
        if self.execution.summary().notifications.is_empty() {
            return;
        }
        let event = format!("pipeline.{what}");
        for to in recipients(&self.execution.summary().notifications, &event) {
            self.notify(event.clone(), to, None, Object::new());
        }
    }

    /// Tells of a stage: `starting`, `complete`, `failed`. Not of one within another: it has its parent's context, and people would be told twice, of the
    /// end of a window as if it were that of a deployment.
    pub(super) fn notify_stage(&mut self, at: usize, what: &str) {
        if self.execution.graph().nodes[at].parent.is_some() {
            return;
        }
        let context = self.execution.stage(at).context();
        let list = context.get("notifications").and_then(Value::as_array).filter(|_| flag(context, "sendNotifications"));
        let Some(list) = list else { return };
        let event = format!("stage.{what}");
        for to in recipients(list, &event) {
            self.notify(event.clone(), to, Some(at), Object::new());
        }
    }

    /// Gives one notice to the outbox, numbered.
    pub(super) fn notify(&mut self, event: String, to: Object, at: Option<usize>, more: Object) {
        let summary = self.execution.summary_mut();
        summary.notified += 1;
        let number = summary.notified;
        let mut details = Object::new();
        details.insert("application".to_owned(), json!(summary.application));
        details.insert("pipeline".to_owned(), json!(summary.name));
        details.insert("status".to_owned(), json!(summary.status));
        let stage = at.map(|at| self.execution.stage(at));
        if let Some(stage) = stage {
            details.insert("stage".to_owned(), json!(stage.head().name));
            details.insert("status".to_owned(), json!(stage.status()));
        }
        details.extend(more);
        let stage = stage.map(|s| s.id.clone());
        self.out.commands.push(Command::Notify(Notice { number, event, to, stage, details }));
    }
}
