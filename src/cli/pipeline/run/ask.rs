//! Who answers the judgments of a run: what was said beforehand, a person at the terminal, or nobody.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::thread;

use serde_json::Value;
use tokio::sync::mpsc;

use crate::cli::Context;
use crate::cli::Output;
use crate::cli::pipeline::orders;
use crate::cli::pipeline::orders::Answer;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::execution::Stage;
use crate::orchestrator::engine::execution::StageId;

/// Any judgment.
const ANY: &str = "*";

/// A judgment answered beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Preset {
    stage: String,
    input: Option<String>,
}

/// `STAGE[=INPUT]`.
pub(super) fn preset(text: &str) -> Result<Preset, String> {
    let (stage, input) = match text.split_once('=') {
        Some((stage, input)) => (stage, Some(input.to_owned())),
        None => (text, None),
    };
    if stage.is_empty() { Err("write STAGE or STAGE=INPUT".to_owned()) } else { Ok(Preset { stage: stage.to_owned(), input }) }
}

/// What became of a judgment.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// Nothing yet, or it was answered before.
    Nothing,
    /// What goes into the context of the stage.
    Judged { stage: StageId, context: Object },
    /// There is nobody to ask; why.
    Nobody(String),
}

/// A question at the terminal.
struct Question {
    stage: StageId,
    text: String,
    inputs: Vec<String>,
}

pub(super) struct Ask {
    presets: Vec<Preset>,
    /// A person is at the terminal.
    person: bool,
    /// Asked, answered or given up.
    seen: BTreeSet<StageId>,
    /// The first is being asked.
    questions: VecDeque<Question>,
    /// Lines of the terminal, once it was asked.
    lines: Option<mpsc::Receiver<String>>,
}

impl Ask {
    pub(super) fn new(presets: Vec<Preset>, context: &Context) -> Self {
        let person = context.output == Output::Text && io::stdin().is_terminal();
        Self { presets, person, seen: BTreeSet::new(), questions: VecDeque::new(), lines: None }
    }

    /// A judgment waits. It is answered, or put to a person, once.
    pub(super) fn about(&mut self, stage: &Stage) -> Said {
        if !self.seen.insert(stage.id.clone()) {
            return Said::Nothing;
        }
        let head = stage.head();
        let title = format!("[{}] {}", head.ref_id, head.name);
        let inputs = orders::inputs(stage);
        let is = |preset: &&Preset| [head.ref_id.as_str(), head.name.as_str(), ANY].contains(&preset.stage.as_str());
        if let Some(preset) = self.presets.iter().find(is) {
            return match &preset.input {
                Some(input) if !inputs.contains(input) => {
                    Said::Nobody(format!("{title} does not offer the input {input:?}; it offers: {}", inputs.join(", ")))
                }
                None if orders::lacks_input(Answer::Continue, None, &inputs) => {
                    let with = answers(&head.ref_id, &inputs);
                    Said::Nobody(format!("{title} offers: {}; say with which of them it goes on: {with}", inputs.join(", ")))
                }
                input => judged(&stage.id, Answer::Continue, input.as_deref()),
            };
        }
        if !self.person {
            return Said::Nobody(format!("{title} asks, and there is no terminal; answer it with {}", answers(&head.ref_id, &inputs)));
        }
        let mut text = title;
        if inputs.is_empty() {
            text.push_str(": continue or stop? [y/s] ");
        } else {
            let choices = inputs.iter().enumerate().map(|(at, input)| format!("\n  {}  {input}", at + 1));
            text.extend(choices);
            text.push_str("\n  s  stop\nWhich? ");
        }
        self.questions.push_back(Question { stage: stage.id.clone(), text, inputs });
        if self.questions.len() == 1 {
            self.put();
        }
        if self.lines.is_none() { self.listen() } else { Said::Nothing }
    }

    /// Forgets questions of stages that wait no more, and those of the past, so that a restart asks again.
    pub(super) fn only(&mut self, execution: &Execution) {
        let waits = |id: &StageId| execution.place(id).is_some_and(|at| super::asks(execution.stage(at)));
        self.seen.retain(|id| waits(id));
        let first = self.questions.front().map(|question| question.stage.clone());
        self.questions.retain(|question| waits(&question.stage));
        if first.is_some() && self.questions.front().map(|question| &question.stage) != first.as_ref() {
            self.put();
        }
    }

    /// The next line of the terminal; never, when nobody is asked. Safe to cancel.
    pub(super) async fn line(&mut self) -> Option<String> {
        match &mut self.lines {
            Some(lines) if !self.questions.is_empty() => lines.recv().await,
            Some(_) | None => std::future::pending().await,
        }
    }

    /// Takes a line for the answer of the question that is put; `None` = the terminal is closed.
    pub(super) fn take(&mut self, line: &Option<String>) -> Said {
        let Some(question) = self.questions.front() else { return Said::Nothing };
        let Some(line) = line else { return Said::Nobody("the terminal is closed, and a judgment asks".to_owned()) };
        let Some((answer, input)) = understood(line, &question.inputs) else {
            self.put();
            return Said::Nothing;
        };
        let said = judged(&question.stage, answer, input);
        self.questions.pop_front();
        self.put();
        said
    }

    /// Puts the first question.
    fn put(&self) {
        if let Some(question) = self.questions.front() {
            // When stderr is gone the person sees the terminal's end, and so do we.
            let _ = write!(anstream::stderr(), "{}", question.text);
        }
    }

    /// Reads the terminal on a thread of its own: a read cannot be given up, and the process does not wait for it.
    fn listen(&mut self) -> Said {
        let (tell, lines) = mpsc::channel(1);
        let read = move || {
            for line in io::stdin().lines().map_while(Result::ok) {
                if tell.blocking_send(line).is_err() {
                    return;
                }
            }
        };
        self.lines = Some(lines);
        match thread::Builder::new().name("questions".to_owned()).spawn(read) {
            Ok(_) => Said::Nothing,
            Err(e) => Said::Nobody(format!("the question cannot be put: {e}")),
        }
    }
}

/// The option that answers a judgment, with the first of its inputs for an example.
fn answers(ref_id: &str, inputs: &[String]) -> String {
    let answer = inputs.first().map_or_else(|| ref_id.to_owned(), |input| format!("{ref_id}={input}"));
    // Said as a shell takes it.
    if answer.contains(char::is_whitespace) { format!("--yes-judgment '{answer}'") } else { format!("--yes-judgment {answer}") }
}

fn judged(stage: &StageId, answer: Answer, input: Option<&str>) -> Said {
    let context = match orders::judged(answer, input) {
        Value::Object(context) => context,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Object::new(),
    };
    Said::Judged { stage: stage.clone(), context }
}

/// `s`; a number or an input, where there are inputs; `y`, where there are none.
fn understood<'a>(line: &str, inputs: &'a [String]) -> Option<(Answer, Option<&'a str>)> {
    let line = line.trim();
    let by_number = || line.parse::<usize>().ok().and_then(|number| inputs.get(number.checked_sub(1)?));
    match line.to_ascii_lowercase().as_str() {
        "s" | "stop" => Some((Answer::Stop, None)),
        "y" | "yes" | "continue" if inputs.is_empty() => Some((Answer::Continue, None)),
        _ => inputs.iter().find(|input| *input == line).or_else(by_number).map(|input| (Answer::Continue, Some(input.as_str()))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::orchestrator::engine::execution::Head;
    use crate::orchestrator::engine::status::Status;

    fn judgment(ref_id: &str, inputs: Value) -> Stage {
        let (kind, status) = ("manualJudgment".into(), Status::Running);
        let head = Head { ref_id: ref_id.into(), kind, name: "Where to?".into(), status, ..Head::default() };
        let context = json!({ "judgmentInputs": inputs }).as_object().cloned().unwrap();
        Stage::new(StageId(format!("E-{ref_id}")), head, context)
    }

    fn ask(presets: &[&str]) -> Ask {
        let presets = presets.iter().map(|text| preset(text).unwrap()).collect();
        Ask::new(presets, &Context { output: Output::Json, config: None, env: BTreeMap::new() })
    }

    #[test]
    fn what_was_said_beforehand_is_said_once_and_only_if_it_is_offered() {
        let stage = judgment("go", json!([{ "value": "all" }]));
        let mut said = ask(&["other", "go=all"]);
        let Said::Judged { context, .. } = said.about(&stage) else { panic!("it was answered") };
        assert_eq!(json!(context), json!({ "judgmentStatus": "continue", "judgmentInput": "all" }));
        assert_eq!(said.about(&stage), Said::Nothing);
        assert!(matches!(ask(&["*=all"]).about(&stage), Said::Judged { .. }));
        for unsaid in ["*", "go", "Where to?"] {
            let said = ask(&[unsaid]).about(&stage);
            assert!(matches!(&said, Said::Nobody(why) if why.contains("offers: all") && why.contains("--yes-judgment go=all")), "{said:?}");
        }
        assert!(matches!(ask(&["*"]).about(&judgment("go", json!([]))), Said::Judged { .. }), "there is nothing to choose");
        assert!(matches!(ask(&["Where to?=none"]).about(&stage), Said::Nobody(why) if why.contains("it offers: all")));
        assert!(matches!(ask(&["other"]).about(&stage), Said::Nobody(why) if why.contains("--yes-judgment go=all")));
        let spaced = judgment("go", json!(["a few"]));
        assert!(matches!(ask(&[]).about(&spaced), Said::Nobody(why) if why.ends_with("--yes-judgment 'go=a few'")));
        assert!(preset("=x").is_err());
    }

    #[test]
    fn a_line_is_a_choice_or_it_is_asked_again() {
        let inputs = ["all".to_owned(), "2".to_owned()];
        assert_eq!(understood(" 1 ", &inputs), Some((Answer::Continue, Some("all"))));
        assert_eq!(understood("2", &inputs), Some((Answer::Continue, Some("2"))));
        assert_eq!(understood("S", &inputs), Some((Answer::Stop, None)));
        for unclear in ["y", "", "0", "3", "-1"] {
            assert_eq!(understood(unclear, &inputs), None, "{unclear}");
        }
        assert_eq!(understood("yes", &[]), Some((Answer::Continue, None)));
        assert_eq!(understood("1", &[]), None);
    }
}
