//! What a stage can see: its own context, what those before it gave, and the execution, as names in expressions.
//!
//! What must stay true: contexts of other stages, stages downstream and branches beside are never seen by plain name; what stands in the execution is
//! borrowed, not copied.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::collections::VecDeque;

use jiff::tz::TimeZone;
use serde_json::Value;

use super::execution::Execution;
use super::execution::Object;
use super::execution::Stage;
use super::execution::Synthetic;
use super::expression::Datum;
use super::expression::Record;
use super::expression::Scope;
use super::stage::View;
use super::stage::judgment;
use crate::model::Timestamp;

/// Pages by address, or why they could not be had.
pub type Pages = BTreeMap<String, Result<String, String>>;

/// What this key means to a stage: its own context, else the outputs of the nearest stage before it that has it.
pub fn lookup<'e>(execution: &'e Execution, at: usize, key: &str) -> Option<&'e Value> {
    execution.stage(at).context().get(key).or_else(|| from_ancestors(execution, at, key))
}

fn from_ancestors<'e>(execution: &'e Execution, at: usize, key: &str) -> Option<&'e Value> {
    ancestors(execution, at).find_map(|at| execution.stage(at).outputs().get(key))
}

/// Places of the stages before this one, nearest first: those it waits for with their synthetic stages; for a synthetic stage its earlier siblings, then
/// its parent and what is before that.
pub fn ancestors(execution: &Execution, at: usize) -> impl Iterator<Item = usize> + '_ {
    let mut seen = HashSet::from([at]);
    let mut open = VecDeque::new();
    let mut expand = move |at: usize, open: &mut VecDeque<usize>| {
        let mut add = |at: usize, open: &mut VecDeque<usize>| {
            if seen.insert(at) {
                open.push_back(at);
            }
        };
        let head = execution.stage(at).head();
        let node = &execution.graph().nodes[at];
        for up in head.requisite_stage_ref_ids.iter().filter_map(|name| execution.place_of_ref(name)) {
            add(up, open);
            let parts = &execution.graph().nodes[up];
            parts.before.iter().chain(&parts.after).for_each(|child| add(*child, open));
        }
        if let Some((parent, side)) = node.parent {
            add(parent, open);
            if side == Synthetic::StageAfter {
                execution.graph().nodes[parent].before.iter().for_each(|child| add(*child, open));
            }
        }
    };
    expand(at, &mut open);
    std::iter::from_fn(move || {
        let next = open.pop_front()?;
        expand(next, &mut open);
        Some(next)
    })
}

/// What an execution gives as a whole: the outputs of its stages, those upstream first. Lists are put together without what they already hold; of
/// anything else the later wins.
pub fn merged_outputs(execution: &Execution) -> Object {
    let mut merged = Object::new();
    for at in topological(execution) {
        for (key, value) in execution.stage(at).outputs() {
            match (merged.get_mut(key), value) {
                (Some(Value::Array(list)), Value::Array(more)) => {
                    let new: Vec<Value> = more.iter().filter(|item| !list.contains(item)).cloned().collect();
                    list.extend(new);
                }
                _ => {
                    merged.insert(key.clone(), value.clone());
                }
            }
        }
    }
    merged
}

/// Places of all stages, each after those it waits for; stages that wait for each other come last. Among equals the order of the list.
fn topological(execution: &Execution) -> Vec<usize> {
    let stages = execution.stages();
    let mut missing: Vec<usize> = (0..stages.len())
        .map(|at| {
            let ups: HashSet<usize> =
                stages[at].head().requisite_stage_ref_ids.iter().filter_map(|name| execution.place_of_ref(name)).collect();
            ups.len()
        })
        .collect();
    let mut order: Vec<usize> = Vec::with_capacity(stages.len());
    let mut ready: VecDeque<usize> = (0..stages.len()).filter(|at| missing[*at] == 0).collect();
    while let Some(at) = ready.pop_front() {
        order.push(at);
        for down in &execution.graph().nodes[at].downstream {
            missing[*down] -= 1;
            if missing[*down] == 0 {
                ready.push_back(*down);
            }
        }
    }
    order.extend((0..stages.len()).filter(|at| missing[*at] > 0));
    order
}

impl Record for Stage {
    fn field(&self, name: &str) -> Option<Datum<'_>> {
        match name {
            "id" => Some(self.id.as_str().into()),
            "refId" => Some(self.head().ref_id.as_str().into()),
            "type" => Some(self.head().kind.as_str().into()),
            "name" => Some(self.head().name.as_str().into()),
            "status" => Some(self.status().word().into()),
            "context" => Some(Datum::Object(self.context())),
            "outputs" => Some(Datum::Object(self.outputs())),
            _ => self.to_value().get(name).cloned().map(Datum::from),
        }
    }

    fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Record for Execution {
    fn field(&self, name: &str) -> Option<Datum<'_>> {
        match name {
            "id" => Some(self.id.as_str().into()),
            "stages" => Some(self.stages().iter().map(|stage| Datum::Record(stage)).collect::<Vec<_>>().into()),
            "status" => Some(self.status().word().into()),
            "trigger" => Some(Datum::Object(&self.summary().trigger)),
            _ => serde_json::to_value(self.summary()).ok()?.get(name).cloned().map(Datum::from),
        }
    }

    fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// The names that an expression of a stage may use.
#[derive(Debug)]
pub struct StageScope<'e> {
    execution: &'e Execution,
    at: usize,
    own: &'e Object,
    now: Timestamp,
    zone: &'e TimeZone,
    seed: u64,
    pages: Option<&'e Pages>,
}

impl<'e> StageScope<'e> {
    /// Those of a stage that is looked at.
    pub fn of(view: &View<'e>) -> Self {
        Self { execution: view.execution, at: view.at, own: view.context, now: view.now, zone: view.zone, seed: 0, pages: None }
    }

    /// The same, with these pages.
    #[must_use]
    pub fn with_pages(self, pages: &'e Pages) -> Self {
        Self { pages: Some(pages), ..self }
    }

    /// The same, with this chance.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }
}

impl Scope for StageScope<'_> {
    fn root(&self, name: &str) -> Option<Datum<'_>> {
        if let Some(value) = self.own.get(name).or_else(|| from_ancestors(self.execution, self.at, name)) {
            return Some(value.into());
        }
        match name {
            "execution" => Some(Datum::Record(self.execution)),
            "trigger" => Some(Datum::Object(&self.execution.summary().trigger)),
            "templateVariables" => Some(Datum::Object(&self.execution.summary().template_variables)),
            _ => None,
        }
    }

    fn stages(&self) -> Vec<Datum<'_>> {
        self.execution.stages().iter().map(|stage| Datum::Record(stage)).collect()
    }

    fn current_stage(&self) -> Option<Datum<'_>> {
        Some(Datum::Record(self.execution.stage(self.at)))
    }

    fn user(&self) -> Option<&str> {
        Some(judgment::acting_user(self.execution, self.at)).filter(|user| !user.is_empty())
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn zone(&self) -> TimeZone {
        self.zone.clone()
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn fetched(&self, url: &str) -> Option<Result<&str, &str>> {
        self.pages?.get(url).map(|page| page.as_deref().map_err(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::orchestrator::engine::execution::Head;
    use crate::orchestrator::engine::execution::StageId;
    use crate::orchestrator::engine::execution::Summary;

    fn stage(ref_id: &str, requisites: &[&str], parent: Option<&str>, outputs: &Value) -> Stage {
        let head = Head {
            ref_id: ref_id.to_owned(),
            requisite_stage_ref_ids: requisites.iter().map(|r| (*r).to_owned()).collect(),
            parent_stage_id: parent.map(StageId::from),
            synthetic_stage_owner: parent.map(|_| if ref_id.contains('<') { Synthetic::StageBefore } else { Synthetic::StageAfter }),
            ..Head::default()
        };
        Stage::from_parts(ref_id.into(), head, Object::new(), outputs.as_object().cloned().unwrap_or_default(), Vec::new())
    }

    fn execution(stages: Vec<Stage>) -> Execution {
        Execution::from_parts("E".into(), Summary::default(), stages)
    }

    #[test]
    fn outputs_are_merged_upstream_first_and_lists_are_put_together_once() {
        let merged = merged_outputs(&execution(vec![
            stage("2", &["1"], None, &json!({"list": ["b", "c"], "word": "later", "mixed": "text"})),
            stage("1", &[], None, &json!({"list": ["a", "b"], "word": "earlier", "mixed": [1]})),
        ]));
        assert_eq!(Value::Object(merged), json!({"list": ["a", "b", "c"], "word": "later", "mixed": "text"}));
    }

    #[test]
    fn stages_that_wait_for_each_other_are_merged_too() {
        let merged =
            merged_outputs(&execution(vec![stage("1", &["2"], None, &json!({"a": 1})), stage("2", &["1"], None, &json!({"b": 2}))]));
        assert_eq!(Value::Object(merged), json!({"a": 1, "b": 2}));
    }

    #[test]
    fn ancestors_come_nearest_first_each_once_and_never_from_beside() {
        let none = json!({});
        let execution = execution(vec![
            stage("1", &[], None, &none),
            stage("2<1", &[], Some("2"), &none),
            stage("2", &["1"], None, &none),
            stage("2>1", &[], Some("2"), &none),
            stage("2>2", &["2>1"], Some("2"), &none),
            stage("3", &["2"], None, &none),
            stage("beside", &["1"], None, &none),
        ]);
        let names = |of: &str| -> Vec<&str> {
            let at = execution.place_of_ref(of).expect("there is such a stage");
            ancestors(&execution, at).map(|at| execution.stage(at).head().ref_id.as_str()).collect()
        };
        assert_eq!(names("3"), ["2", "2<1", "2>1", "2>2", "1"]);
        assert_eq!(names("2>2"), ["2>1", "2", "2<1", "1"]);
        assert_eq!(names("2<1"), ["2", "1"]);
    }
}
