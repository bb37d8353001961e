//! The tasks of a stage as JSON. *Pure*.
//!
//! They are written again with every task of their stage, and are most of what an engine writes: so their text is put together here, at a fraction of
//! what it costs to have it derived, and what every reader takes for granted is left out: flags that are not set, and the attempt of a task that ended
//! (in a loop it stays, since attempts are counted on). `Task`'s own `Deserialize` reads it.
//!
//! What must stay true: what is read of this text is what was written of it, to the last field that is not ours to know.

use std::fmt::Display;
use std::fmt::Write as _;

use serde::Serialize;

use super::json;
use crate::model::Timestamp;
use crate::orchestrator::engine::execution::Attempt;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::execution::Task;

/// Room for a task's text, bytes: what most take, so that the text of many does not have to move while it grows.
const TASK_BYTES: usize = 200;

/// All tasks of a stage.
pub(super) fn tasks(tasks: &[Task]) -> String {
    let loops = tasks.iter().any(|task| task.loop_start || task.loop_end);
    let mut text = String::with_capacity(2 + TASK_BYTES * tasks.len());
    text.push('[');
    for (at, task) in tasks.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        one(&mut text, task, loops);
    }
    text.push(']');
    text
}

fn one(text: &mut String, task: &Task, loops: bool) {
    let Task {
        id,
        implementing_class,
        name,
        start_time,
        end_time,
        status,
        stage_start,
        stage_end,
        loop_start,
        loop_end,
        task_exception_details,
        attempt,
        undoing,
        due,
        other,
    } = task;
    text.push('{');
    let mut fields = Fields { text, first: true };
    fields.text("id", id);
    fields.text("implementingClass", implementing_class);
    fields.text("name", name);
    fields.time("startTime", *start_time);
    fields.time("endTime", *end_time);
    fields.text("status", status.word());
    fields.flag("stageStart", *stage_start);
    fields.flag("stageEnd", *stage_end);
    fields.flag("loopStart", *loop_start);
    fields.flag("loopEnd", *loop_end);
    if !task_exception_details.is_empty() {
        fields.json("taskExceptionDetails", task_exception_details);
    }
    if let Some(attempt) = attempt
        && (loops || attempt.in_flight || !status.is_complete() || !attempt.other.is_empty())
    {
        fields.attempt("attempt", attempt);
    }
    if let Some(undoing) = undoing {
        fields.plain("undoing", undoing);
    }
    fields.time("due", *due);
    fields.all(other);
    text.push('}');
}

/// The fields of an object, one behind the other.
struct Fields<'a> {
    text: &'a mut String,
    first: bool,
}

impl Fields<'_> {
    fn comma(&mut self) {
        if !std::mem::replace(&mut self.first, false) {
            self.text.push(',');
        }
    }

    /// A name of ours: no letter of it means anything to JSON.
    fn name(&mut self, name: &str) {
        self.comma();
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    /// What JSON has as it is shown: a number, a truth.
    fn plain(&mut self, name: &str, value: impl Display) {
        self.name(name);
        write!(self.text, "{value}").expect("a text takes everything");
    }

    fn time(&mut self, name: &str, time: Option<Timestamp>) {
        if let Some(time) = time {
            self.plain(name, time.0);
        }
    }

    fn flag(&mut self, name: &str, is_set: bool) {
        if is_set {
            self.plain(name, true);
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        quoted(self.text, value);
    }

    fn json(&mut self, name: &str, value: &impl Serialize) {
        self.name(name);
        self.text.push_str(&json(value));
    }

    /// Names and values that are not ours.
    fn all(&mut self, others: &Object) {
        for (name, value) in others {
            self.comma();
            quoted(self.text, name);
            self.text.push(':');
            self.text.push_str(&json(value));
        }
    }

    fn attempt(&mut self, name: &str, attempt: &Attempt) {
        let Attempt { number, started, in_flight, effect, instance, other } = attempt;
        self.name(name);
        self.text.push('{');
        let mut fields = Fields { text: self.text, first: true };
        fields.plain("number", number);
        fields.plain("started", started.0);
        fields.plain("inFlight", in_flight);
        if !effect.is_empty() {
            fields.text("effect", effect);
        }
        if !instance.is_empty() {
            fields.text("instance", instance);
        }
        fields.all(other);
        self.text.push('}');
    }
}

fn quoted(text: &mut String, value: &str) {
    if value.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        text.push_str(&json(&value));
        return;
    }
    text.push('"');
    text.push_str(value);
    text.push('"');
}
