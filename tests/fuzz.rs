//! Every parser of what comes from outside, fed with what nobody meant: none panics, and none takes more memory than its bound for the length it got.
//!
//! Inputs are valid ones, mutated: bytes flipped, pieces spliced, nested deep, numbers made huge, words made long. Each has a seed of its own, so one
//! alone can be had again. `BELLROCK_FUZZ=N` shares N inputs among the parsers instead of the few that fit a minute in a debug build, and
//! `BELLROCK_FUZZ_SEED=S` begins elsewhere. What breaks is printed with its seed and its bytes; for one that takes the process with it (a stack that
//! ran over) `BELLROCK_FUZZ_TRACE=1` prints each seed before its input.
//!
//! `cargo test --test fuzz -- --nocapture` prints a line for each parser; `BELLROCK_FUZZ=10000000 cargo test --release --test fuzz -- --nocapture` is the long run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/run.rs"]
mod run;
#[path = "fuzz/seeds.rs"]
mod seeds;
#[path = "fuzz/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bellrock::config::Config;
use bellrock::config::parse_duration;
use bellrock::host::clock::SystemClock;
use bellrock::host::process;
use bellrock::host::vitals;
use bellrock::http::api::tokens::Tokens;
use bellrock::journal::FileJournal;
use bellrock::journal::Journal;
use bellrock::model;
use bellrock::model::Activity;
use bellrock::model::Hold;
use bellrock::model::InstanceId;
use bellrock::model::Moniker;
use bellrock::model::Target;
use bellrock::model::Timestamp;
use bellrock::orchestrator::Orchestrator;
use bellrock::orchestrator::endpoint;
use bellrock::orchestrator::endpoint::Endpoint;
use bellrock::orchestrator::endpoint::GenerationFrom;
use bellrock::orchestrator::endpoint::Series;
use bellrock::orchestrator::endpoint::active_by_instance;
use bellrock::orchestrator::endpoint::active_by_instance::Name;
use bellrock::orchestrator::engine::cron::Schedule;
use bellrock::orchestrator::engine::definition;
use bellrock::orchestrator::engine::execution::ExecutionId;
use bellrock::orchestrator::engine::execution::ExecutionType;
use bellrock::orchestrator::engine::expression;
use bellrock::orchestrator::engine::expression::Unknown;
use bellrock::orchestrator::engine::expression::facts::Facts;
use bellrock::orchestrator::engine::stage::Registry;
use bellrock::orchestrator::engine::stage::json_path;
use bellrock::orchestrator::engine::window;
use bellrock::orchestrator::orca::execution::Document;
use bellrock::orchestrator::orca::execution::Kind;
use bellrock::orchestrator::store::Record;
use bellrock::orchestrator::store::record;
use bellrock::rollback;
use bellrock::rollback::wishes::Wishes;
use jiff::tz::TimeZone;
use peak_alloc::PeakAlloc;
use run::Bound;
use run::Target as Parser;
use run::fuzz;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// For parsers that keep little more than they were given.
const SMALL: Bound = Bound { base: 64 << 10, per_byte: 64 };

fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

fn is_known(activity: &Activity) -> bool {
    !matches!(activity, Activity::Unknown { .. })
}

/// Tags, a line each.
fn tags(input: &[u8]) -> BTreeMap<String, String> {
    let line = |line: &str| line.split_once(": ").map(|(key, value)| (key.to_owned(), value.to_owned()));
    text(input).lines().filter_map(line).collect()
}

#[test]
fn names_of_server_groups() {
    fuzz(Parser { name: "server-group names", seeds: seeds::NAMES, share: 400, bound: SMALL }, |input| {
        let name = text(input);
        let _ = name.parse::<Target>();
        Moniker::parse(&name).is_some()
    });
}

#[test]
fn tags_of_a_rollback() {
    fuzz(Parser { name: "tags: hold, record, capacity, wishes", seeds: seeds::TAGS, share: 200, bound: SMALL }, |input| {
        let tags = tags(input);
        let _ = (model::generation(&tags), model::recorded_capacity(&tags));
        let hold = Hold::parse(&tags);
        let record = rollback::record::Record::parse(&tags).map(|record| record.map(|record| record.to_tags()));
        let wishes = Wishes::parse(&tags).map(|wishes| wishes.map(|wishes| wishes.to_tags()));
        matches!(hold, Ok(Some(_))) || matches!(record, Ok(Some(_))) || matches!(wishes, Ok(Some(_)))
    });
}

#[test]
fn active_by_instance_of_any_era() {
    fuzz(Parser { name: "activeByInstance", seeds: seeds::ACTIVE, share: 300, bound: SMALL }, |input| {
        let names = [Name::Exact("i-0aaa".to_owned()), Name::Host("orca-1".to_owned())];
        names.iter().any(|name| is_known(&active_by_instance::read(input, name)))
    });
}

#[test]
fn json_status_pages() {
    fuzz(Parser { name: "JSON status page", seeds: seeds::ACTIVE, share: 300, bound: SMALL }, |input| {
        is_known(&endpoint::json::read(input, "/i-0aaa/executions"))
    });
}

#[test]
fn metrics_text() {
    let series: Series = "threadpool_activeCount{id=\"messageHandlerPool\"}".parse().unwrap();
    fuzz(Parser { name: "metrics text", seeds: seeds::METRICS, share: 300, bound: SMALL }, |input| {
        let _ = text(input).parse::<Series>();
        is_known(&endpoint::metrics::read(input, &series).activity)
    });
}

#[test]
fn configuration() {
    let bound = Bound { base: 1 << 20, per_byte: 512 };
    fuzz(Parser { name: "configuration", seeds: seeds::CONFIGS, share: 4, bound }, |input| {
        let text = text(input);
        let _ = parse_duration(&text);
        match Config::parse(Path::new("b.toml"), &text, &BTreeMap::new()) {
            Ok(config) => !config.effective().is_empty(),
            Err(problems) => problems.to_string().is_empty(),
        }
    });
}

#[test]
fn token_files() {
    fuzz(Parser { name: "token file", seeds: seeds::TOKENS, share: 100, bound: Bound { base: 64 << 10, per_byte: 256 } }, |input| {
        Tokens::parse(&text(input)).is_ok()
    });
}

#[test]
fn journals() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let own = InstanceId::from("i-0aaa");
    let seeds = seeds::journals();
    let seeds: Vec<&str> = seeds.iter().map(String::as_str).collect();
    fuzz(Parser { name: "journal", seeds: &seeds, share: 60, bound: SMALL }, |input| {
        std::fs::write(&path, input).unwrap();
        let found = FileJournal::new(&path).load(&own, "boot-1");
        for left in std::fs::read_dir(folder.path()).unwrap() {
            std::fs::remove_file(left.unwrap().path()).unwrap();
        }
        matches!(found, Ok(Some(_)))
    });
}

#[test]
fn records_of_a_keeper() {
    let folder = tempfile::tempdir().unwrap();
    let settings = endpoint::Settings { generation: Some(GenerationFrom::Kept(folder.path().to_owned())), ..endpoint::Settings::default() };
    let kept = Endpoint::new(settings, &InstanceId::from("i-0aaa"), Arc::new(SystemClock::start())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let seeds = seeds::runs();
    let seeds: Vec<&str> = seeds.iter().map(String::as_str).collect();
    fuzz(Parser { name: "keeper's record", seeds: &seeds, share: 60, bound: SMALL }, |input| {
        std::fs::write(folder.path().join("run.json"), input).unwrap();
        runtime.block_on(kept.activity()).generation.is_some()
    });
}

#[test]
fn figures_of_proc() {
    fuzz(Parser { name: "/proc figures", seeds: seeds::PROC, share: 400, bound: SMALL }, |input| {
        let text = text(input);
        process::parse_stat(7, input).is_some() || vitals::threads(&text).is_some() || vitals::oom_kills(&text).is_some()
    });
}

#[test]
fn expressions() {
    // What one expression may make is bounded by `limit::BYTES` (16 MiB), whatever its length; what holds it is not counted there.
    let bound = Bound { base: 32 << 20, per_byte: 1024 };
    let context = serde_json::json!({ "a": [1, 2, {"b": "text"}], "n": 7, "s": "some text", "m": {"k": null, "t": true} });
    let execution = serde_json::json!({
        "application": "shop", "authentication": {"user": "ann"}, "trigger": {"parameters": {"version": "1.2"}},
        "stages": [{"id": "1", "refId": "1", "name": "Bake", "status": "SUCCEEDED", "outputs": {"image": "ami-1"}, "context": {}}],
    });
    let facts = Facts { context: context.as_object().unwrap().clone(), execution, current: Some("1".to_owned()), ..Facts::default() };
    fuzz(Parser { name: "expressions", seeds: seeds::EXPRESSIONS, share: 200, bound }, |input| {
        let source = text(input);
        let _ = (expression::check(&source), expression::check_text(&source), expression::is_whole(&source));
        let path = json_path::Path::parse(&source).map(|path| path.find(&facts.execution).is_ok());
        let evaluated = [Unknown::Null, Unknown::Refused].map(|unknown| expression::evaluate(&source, &facts, unknown).is_ok());
        evaluated.contains(&true) || path.is_ok_and(|found| found)
    });
}

#[test]
fn cron_expressions() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    fuzz(Parser { name: "cron", seeds: seeds::CRONS, share: 60, bound: Bound { base: 1 << 20, per_byte: 64 } }, |input| {
        let schedule = Schedule::parse(&text(input), "01A");
        schedule.is_ok_and(|schedule| schedule.next_after(Timestamp(1_700_000_000_000), &zone).is_some())
    });
}

#[test]
fn execution_windows() {
    fuzz(
        Parser { name: "execution window", seeds: seeds::WINDOWS, share: 100, bound: Bound { base: 256 << 10, per_byte: 256 } },
        |input| {
            let Ok(context) = serde_json::from_slice(input) else { return false };
            window::look(&context, Timestamp(1_700_000_000_000), &TimeZone::UTC).is_ok()
        },
    );
}

#[test]
fn pipeline_documents() {
    let types = Registry::standard();
    let bound = Bound { base: 1 << 20, per_byte: 512 };
    fuzz(Parser { name: "pipeline document", seeds: seeds::PIPELINES, share: 120, bound }, |input| {
        let checked = definition::check(input, definition::Rules::of(&types));
        assert!(checked.definition.is_some() || !checked.problems.is_empty(), "refused without a word");
        checked.definition.is_some()
    });
}

#[test]
fn stored_executions() {
    fuzz(Parser { name: "stored execution", seeds: seeds::RECORDS, share: 150, bound: Bound { base: 64 << 10, per_byte: 256 } }, |input| {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let fields: Vec<(String, String)> = text(input).lines().filter_map(|line| line.split_once('=')).map(owned).collect();
        let stage_index = fields.iter().filter(|(name, _)| name == "index").map(|(_, id)| id.clone()).collect();
        let record = Record { fields, stage_index };
        let _ = record::belongs(&record);
        let execution = record::decode(&ExecutionId::from("01A"), Some(ExecutionType::Pipeline), &record);
        execution.is_ok_and(|execution| !record::encode(&execution).fields.is_empty())
    });
}

#[test]
fn executions_of_orca() {
    fuzz(Parser { name: "Orca's execution", seeds: seeds::ORCA, share: 200, bound: Bound { base: 64 << 10, per_byte: 256 } }, |input| {
        Document::read(input).map(|document| document.execution("01A", Kind::Pipeline)).is_ok()
    });
}

#[test]
fn documents_of_instance_metadata() {
    // Over the wire, since an instance's own id comes from there alone. Both ends of the connection are in this process.
    let bound = Bound { base: 4 << 20, per_byte: 256 };
    let mut wire = wire::Wire::start();
    fuzz(Parser { name: "IMDS: identity, notices, state", seeds: seeds::METADATA, share: 8, bound }, |input| wire.ask(input));
}
