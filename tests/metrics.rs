//! The pages that speak of metrics speak of those that there are: the table of `docs/metrics.md`, the alerts, the dashboard. Where a shape is Prometheus's to judge,
//! promtool judges it, on what a real agent answers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fleet/host.rs"]
#[allow(dead_code, reason = "the engine's tests use the rest")]
mod host;
#[path = "fleet/process.rs"]
#[allow(dead_code, reason = "the fleet's tests use the rest")]
mod process;
#[path = "fleet/sim.rs"]
#[allow(dead_code, reason = "the fleet's tests use the rest")]
mod sim;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use bellrock::decide::HeldWhy;
use bellrock::decide::heal::Hold;
use bellrock::metrics;
use bellrock::metrics::Kind;
use bellrock::metrics::Metric;
use bellrock::metrics::Unit;
use host::Host;
use host::SOON;
use process::until;
use regex::Regex;
use serde_json::Value;
use serde_json::json;
use sim::Sim;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn yaml(path: &str) -> Value {
    serde_yaml_ng::from_str(&text(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn row(metric: &Metric) -> String {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let unit = match metric.unit {
        Unit::None => "",
        Unit::Seconds => "s",
        Unit::Bytes => "bytes",
    };
    let labels: Vec<String> = metric.labels.iter().map(|(name, bound)| format!("`{name}`: {bound}")).collect();
    format!("| `{}` | {kind} | {unit} | {} | {} |", metric.name(), labels.join("; "), metric.help)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test has no main to hand it the environment")]
fn the_page_has_a_row_for_each_metric_and_for_nothing_else() {
    const HEAD: &str = "| metric | type | unit | labels, and what bounds them | meaning |\n|---|---|---|---|---|\n";
    let page = text("docs/metrics.md");
    let table = metrics::ALL.iter().fold(HEAD.to_owned(), |mut table, metric| {
        writeln!(table, "{}", row(metric)).unwrap();
        table
    });
    let begin = page.find("| metric |").unwrap_or(page.len());
    if std::env::var_os("BELLROCK_BLESS").is_some() {
        fs::write(root().join("docs/metrics.md"), format!("{}{table}", &page[..begin])).unwrap();
    } else {
        assert_eq!(page[begin..], table, "BELLROCK_BLESS=1 cargo test --test metrics writes the table");
    }
}

/// What a query asks for: names of metrics, without a histogram's endings, each with the labels that it is matched by.
fn asked(query: &str) -> Vec<(String, Vec<String>)> {
    let metric = Regex::new(r"\b(bellrock_[a-z_]+)(?:\{([^}]*)\})?").unwrap();
    let label = Regex::new(r"([a-z_]+)\s*(?:=~|!~|!=|=)").unwrap();
    let found = metric.captures_iter(query).map(|found| {
        let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| found[1].strip_suffix(end)).unwrap_or(&found[1]).to_owned();
        let matchers = found.get(2).map_or("", |matchers| matchers.as_str());
        (name, label.captures_iter(matchers).map(|label| label[1].to_owned()).collect())
    });
    found.collect()
}

/// What a query asks for that there is not.
fn unknown(query: &str) -> Vec<String> {
    /// A scrape's own labels.
    const SCRAPE: [&str; 2] = ["job", "instance"];
    let known: BTreeMap<String, &Metric> = metrics::ALL.iter().map(|metric| (metric.name(), *metric)).collect();
    let mut wrong = Vec::new();
    for (name, labels) in asked(query) {
        match known.get(&name) {
            None => wrong.push(name),
            Some(metric) => {
                let has = |label: &str| SCRAPE.contains(&label) || metric.labels.iter().any(|(name, _)| *name == label);
                wrong.extend(labels.into_iter().filter(|label| !has(label)).map(|label| format!("{name}{{{label}}}")));
            }
        }
    }
    wrong
}

fn rules() -> Vec<Value> {
    let document = yaml("docs/monitoring/alerts.yml");
    let groups = document["groups"].as_array().unwrap().iter();
    groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_there_are() {
    let mut wrong = Vec::new();
    for rule in rules() {
        wrong.extend(unknown(rule["expr"].as_str().unwrap()).into_iter().map(|what| format!("{}: {what}", rule["alert"])));
    }
    let dashboard: Value = serde_json::from_str(&text("docs/monitoring/dashboard.json")).unwrap();
    let mut queries = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries += 1;
            wrong.extend(unknown(target["expr"].as_str().unwrap()).into_iter().map(|what| format!("{}: {what}", panel["title"])));
        }
    }
    assert!(queries > 8 && rules().len() > 12, "{queries} queries, {} rules", rules().len());
    assert_eq!(wrong, Vec::<String>::new());
    let sees = |query: &str| unknown(query).len();
    assert_eq!((sees("bellrock_nothing"), sees("bellrock_held{kind=\"a\"}"), sees("bellrock_held{code=\"a\",job=\"b\"}")), (1, 1, 0));
    assert_eq!(sees("histogram_quantile(0.9, rate(bellrock_drain_duration_seconds_bucket[1h]))"), 0);
}

/// The codes that a rule's `code` label can have, by the metric it asks for.
fn codes(query: &str) -> Vec<&'static str> {
    let drain = asked(query).iter().any(|(name, _)| name == "bellrock_held");
    if drain { HeldWhy::ALL.map(HeldWhy::code).to_vec() } else { Hold::ALL.map(Hold::code).to_vec() }
}

#[test]
fn every_alert_has_a_severity_words_and_its_page() {
    for rule in rules() {
        let (name, notes) = (&rule["alert"], &rule["annotations"]);
        assert!(matches!(rule["labels"]["severity"].as_str(), Some("critical" | "warning" | "info")), "{name}: no severity");
        assert!(["summary", "description"].iter().all(|note| notes[*note].as_str().is_some_and(|text| !text.is_empty())), "{name}");
        let page = notes["runbook_url"].as_str().unwrap_or_else(|| panic!("{name}: no page"));
        let pages: Vec<String> = if page.contains("{{ $labels.code }}") {
            codes(rule["expr"].as_str().unwrap()).into_iter().map(|code| page.replace("{{ $labels.code }}", code)).collect()
        } else {
            vec![page.to_owned()]
        };
        for page in pages {
            assert!(page.starts_with("runbooks/") && root().join(&page).is_file(), "{name}: {page}");
        }
    }
}

#[test]
fn every_alert_is_seen_to_fire_and_to_be_silent() {
    let tests = yaml("docs/monitoring/alerts.test.yml");
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for test in tests["tests"].as_array().unwrap() {
        for check in test["alert_rule_test"].as_array().into_iter().flatten() {
            let name = check["alertname"].as_str().unwrap().to_owned();
            let expects = check["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty());
            if expects {
                fires.insert(name)
            } else {
                silent.insert(name)
            };
        }
    }
    let all: BTreeSet<String> = rules().iter().map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect();
    assert_eq!((&fires, &silent), (&all, &all));
}

/// Runs promtool; what it said when it was not content.
#[expect(clippy::disallowed_methods, reason = "a test has no main to hand it the environment")]
fn promtool(args: &[&str], input: &str) {
    let program = std::env::var("BELLROCK_PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    let mut child = Command::new(&program)
        .args(args)
        .current_dir(root().join("docs/monitoring"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| {
            panic!("cannot run {program}: {e}. It comes with Debian's prometheus; give its path in BELLROCK_PROMTOOL. tests/run does both.")
        });
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "promtool {args:?}: {said}\n{input}");
}

#[test]
fn prometheus_takes_the_alerts_and_sees_each_of_them_fire_and_be_silent() {
    promtool(&["check", "rules", "alerts.yml"], "");
    promtool(&["test", "rules", "alerts.test.yml"], "");
}

#[test]
fn prometheus_takes_every_query_of_the_dashboard() {
    let dashboard: Value = serde_json::from_str(&text("docs/monitoring/dashboard.json")).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap().clone());
    let queries = targets.map(|target| target["expr"].as_str().unwrap().replace("$job", "bellrock"));
    let rules: Vec<Value> = queries.enumerate().map(|(n, expr)| json!({"record": format!("panel:{n}"), "expr": expr})).collect();
    assert!(!rules.is_empty());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dashboard.yml");
    fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()).unwrap();
    promtool(&["check", "rules", &file.display().to_string()], "");
}

const GROUP: &str = "shop-main-v001";

/// An agent that runs pipelines itself, on the simulated region.
async fn agent(dir: &std::path::Path) -> (Sim, Host) {
    let region = json!({
        "templates": [{"name": "shop", "versions": [{}]}],
        "target_groups": [{"name": "shop-main"}],
        "groups": [{"name": GROUP, "min": 1, "max": 4, "desired": 2, "template": "shop", "version": "1", "settled": true, "target_groups": ["shop-main"]}],
    });
    let sim = Sim::start(dir, &region, 61).await;
    let host = Host::first(&sim, GROUP, dir, "[orchestrator.activity]\nsample_max_age = \"1s\"\n").await;
    (sim, host)
}

/// The value of a series, as it is written.
fn value<'t>(scrape: &'t str, series: &str) -> Option<&'t str> {
    scrape.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_real_agent_answers_is_what_prometheus_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (_sim, host) = agent(dir.path()).await;
    let address = until("the loopback port", SOON, async || host.agent.said("answering over HTTP")).await;
    let url = format!("http://{}/metrics", address["address"].as_str().unwrap());
    let client = process::client();
    let scrape = async || client.get(&url).send().await.unwrap().text().await.unwrap();
    host.door.save(&json!({"application": "shop", "name": "one", "stages": [{"refId": "1", "type": "wait", "waitTime": 1}]})).await;
    let execution = host.door.start("one", json!({})).await;
    host.door.reaches(&execution, "SUCCEEDED").await;
    let said = until("a scrape with all that was done", SOON, async || {
        let said = scrape().await;
        let ended = value(&said, r#"bellrock_engine_executions_ended_total{status="SUCCEEDED"}"#) == Some("1");
        (ended && value(&said, "bellrock_ready") == Some("1.0")).then_some(said)
    })
    .await;
    promtool(&["check", "metrics"], &said);
    assert_eq!(value(&said, r#"bellrock_phase{phase="working"}"#), Some("1.0"), "{said}");
    let own = format!(r#"server_group="{GROUP}",application="shop",cluster="shop-main",region="us-east-1",account="123456789012"}}"#);
    assert!(said.lines().any(|line| line.starts_with("bellrock_instance_info{") && line.contains(&own)), "{said}");
    let calls = value(&said, r#"bellrock_aws_calls_total{action="DescribeAutoScalingGroups",outcome="ok"}"#);
    assert!(calls.and_then(|count| count.parse::<u64>().ok()).is_some_and(|count| count > 0), "{said}");
    for series in [
        "bellrock_state_disk_free_bytes",
        "bellrock_loop_turn_timestamp_seconds",
        "bellrock_engine_store_up",
        "bellrock_clock_offset_seconds",
    ] {
        assert!(value(&said, series).is_some(), "{series}\n{said}");
    }
    let known: BTreeSet<String> = metrics::ALL.iter().map(|metric| metric.name()).collect();
    let described: BTreeSet<String> =
        said.lines().filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split_once(' ')?.0.to_owned())).collect();
    assert!(described.is_subset(&known) && described.len() > 30, "{described:?}");
    assert!(said.lines().filter(|line| !line.starts_with('#')).count() < 400, "docs/metrics.md says a few hundred series\n{said}");
}
