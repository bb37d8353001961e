//! A scrape of an agent of which everything is known is the table, no more and no less.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::*;
use crate::decide::Answer;
use crate::decide::Drain;
use crate::decide::DrainStatus;
use crate::decide::HookStatus;
use crate::decide::Progress;
use crate::decide::Receipt;
use crate::decide::heal::HealStatus;
use crate::decide::heal::Level;
use crate::host::clock::VirtualClock;
use crate::model::Activity;
use crate::model::Moment;
use crate::model::PermitAnswer;
use crate::model::Sample;
use crate::orchestrator::engine::stage::Registry;
use crate::orchestrator::engine::status;
use crate::orchestrator::runner::Memory;
use crate::orchestrator::runner::Parts;
use crate::orchestrator::runner::Runner;
use crate::orchestrator::runner::Settings;
use crate::orchestrator::runner::Wish;
use crate::orchestrator::runner::effects::Performers;
use crate::orchestrator::store::model::ModelStore;

const AT: Timestamp = Timestamp(1_700_000_000_000);

/// Everything that can be known, and nothing that cannot be at once but for the test.
fn everything() -> Status {
    Status {
        instance: Some("i-0abc".into()),
        group: Some("shop-main-v023".into()),
        phase: "held".into(),
        since: AT,
        held: Some("min_size".into()),
        activity: Some(Activity::Busy { count: 2, executions: vec![] }),
        intake: Some(Intake::Closed),
        heal: Some(HealStatus {
            level: Level::Restart,
            off: None,
            state: "hold".into(),
            since: AT,
            next: None,
            held: Some("heal_store_down".into()),
            evidence: vec![],
            decisions: vec![],
            restarts: 1,
            restarts_most: 3,
            permit: None,
        }),
        ready: true,
        unknown_since: Some(AT),
        drain: Some(DrainStatus { reason: "superseded".into(), started: AT }),
        hook: Some(HookStatus {
            started: AT,
            limit: Some(Duration::from_secs(172_800)),
            heartbeat: Some(Duration::from_secs(3600)),
            accepted: Some(AT),
        }),
        interruption: Some(AT),
        protected: true,
        ..Status::default()
    }
}

fn engine(clock: VirtualClock) -> (Runner, Handle) {
    let parts = Parts {
        store: Arc::new(ModelStore::new(Arc::new(clock))),
        registry: Arc::new(Registry::standard()),
        performer: Arc::new(Performers::default()),
        clock: Arc::new(clock),
        memory: Memory::none(),
        channels: vec![],
    };
    Runner::new(parts, Settings::new("i-0abc"), Wish { intake: true, run: true })
}

/// Has done one of everything.
fn busy(metrics: &Metrics) {
    let counts = metrics.counts();
    let drain = |progress| Drain {
        reason: crate::decide::Reason::TargetTerminated,
        started: AT,
        generation: 0,
        forced: false,
        unproven: false,
        progress,
        doomed: None,
    };
    counts.turned(Moment { mono: Duration::ZERO, wall: AT });
    counts.woke_late(Duration::from_millis(2));
    counts.moved("working", "held", Some("min_size"));
    let accepted = drain(Progress::Accepted { reference: String::new(), task: false, stopped: false });
    counts.drained(Some(&drain(Progress::Draining)), Some(&accepted), AT.plus(Duration::from_secs(90)));
    let sample = Sample { activity: Activity::Idle, asked: Moment::default(), measured: None, generation: None };
    counts.answered("orchestrator", &Answer::Orchestrator { intake: Intake::Open, sample });
    counts.answered("take_permit", &Answer::Done(Ok(Receipt::Permit(PermitAnswer::Granted))));
    counts.decided("hold");
    counts.saved(true);
    metrics.traffic.calls.add(("DescribeAutoScalingGroups", "ok"));
    metrics.traffic.requests.add("DescribeAutoScalingGroups".to_owned());
    metrics.traffic.throttles.add("DescribeAutoScalingGroups".to_owned());
    metrics.traffic.set_ahead_ms(-1_500);
    let of_engine = metrics.engine.get().expect("it has one").counts();
    of_engine.claims.add("adopted");
    of_engine.let_go.add("parked");
    of_engine.ended.add(status::Status::Succeeded);
    of_engine.attempts.add(("http", "ok"));
    of_engine.renewals.add("ok");
    of_engine.notices.add("delivered");
}

fn process() -> Report {
    Report { kind: "process".into(), state: "running".into(), since: Some(AT), restarts: 3, ..Report::default() }
}

/// Metrics with everything behind them; the runner is what the engine's handle speaks of.
fn full() -> (Metrics, Runner) {
    let metrics = Metrics::new(AT, "/".into(), Traffic::default());
    let (runner, handle) = engine(VirtualClock::start(AT));
    metrics.set_engine(handle);
    metrics.set_place("eu-west-1", "123456789012");
    busy(&metrics);
    (metrics, runner)
}

/// Types by name, and label names by the name of a sample.
fn read(text: &str) -> (BTreeMap<String, String>, BTreeMap<String, BTreeSet<String>>) {
    let (mut types, mut labels) = (BTreeMap::new(), BTreeMap::<String, BTreeSet<String>>::new());
    for line in text.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').expect("a type");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} is described twice");
        } else if !line.starts_with('#') {
            let (name, rest) = line.split_once(['{', ' ']).expect("a sample");
            let names = rest.split("=\"").filter_map(|part| part.rsplit(['"', ',', '{']).next());
            let count = rest.matches("=\"").count();
            labels.entry(name.to_owned()).or_default().extend(names.take(count).map(str::to_owned));
        }
    }
    (types, labels)
}

#[tokio::test]
async fn a_scrape_of_everything_is_the_table_and_nothing_else() {
    let (metrics, _runner) = full();
    let text = metrics.scrape(Now { status: everything(), process: Some(process()), orders: 1 }, Format::Text).await;
    let (types, labels) = read(&text);
    let kind = |metric: &Metric| format!("{:?}", metric.kind).to_lowercase();
    let expected: BTreeMap<String, String> = ALL.iter().map(|metric| (metric.name(), kind(metric))).collect();
    assert_eq!(types, expected);
    for metric in ALL {
        let own: BTreeSet<String> = metric.labels.iter().map(|(name, _)| (*name).to_owned()).collect();
        let sample = if metric.kind == Kind::Histogram { format!("{}_sum", metric.name()) } else { metric.name() };
        assert_eq!(labels.get(&sample), Some(&own), "{}\n{text}", metric.name());
    }
    for line in [
        r#"bellrock_instance_info{instance_id="i-0abc",server_group="shop-main-v023",application="shop",cluster="shop-main",region="eu-west-1",account="123456789012"} 1.0"#,
        r#"bellrock_phase{phase="held"} 1.0"#,
        r#"bellrock_phase{phase="working"} 0.0"#,
        r#"bellrock_held{code="min_size"} 1.0"#,
        r#"bellrock_drain{reason="superseded"} 1.0"#,
        r#"bellrock_drain_duration_seconds_bucket{le="300.0",outcome="accepted"} 1"#,
        r#"bellrock_terminations_total{reason="target_terminated"} 1"#,
        "bellrock_active_executions 2.0",
        "bellrock_hook_wait_limit_seconds 172800.0",
        r#"bellrock_heal_held{code="heal_store_down"} 1.0"#,
        "bellrock_clock_offset_seconds -1.5",
        r#"bellrock_deeds_total{deed="take_permit",outcome="ok"} 1"#,
        r#"bellrock_engine_claims_total{how="adopted"} 1"#,
        "bellrock_orchestrator_restarts_total 3",
        "bellrock_loop_lag_seconds 0.002",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
    }
}

#[tokio::test]
async fn an_agent_that_knows_nothing_yet_says_nothing_that_it_does_not_know() {
    let metrics = Metrics::new(AT, "/no/such/place".into(), Traffic::default());
    let text = metrics.scrape(Now { status: Status::default(), process: None, orders: 0 }, Format::OpenMetrics).await;
    let (types, _) = read(&text);
    for absent in ["phase_since", "active_executions", "unknown_since", "state_disk", "clock_offset", "engine_", "orchestrator_", "hook_"] {
        let said: Vec<&String> = types.keys().filter(|name| name.contains(absent)).collect();
        assert_eq!(said, Vec::<&String>::new());
    }
    assert!(text.contains("bellrock_ready 0.0") && !text.contains("} 1.0\nbellrock_phase"), "{text}");
}

#[tokio::test]
async fn an_engine_that_was_stopped_says_nothing_of_its_store() {
    let (metrics, _runner) = full();
    let scrape = || metrics.scrape(Now { status: everything(), process: None, orders: 0 }, Format::Text);
    assert!(scrape().await.contains("\nbellrock_engine_store_up 0.0"), "it is wanted, and has no session");
    metrics.engine.get().expect("it has one").wish(|wish| wish.run = false);
    assert!(!scrape().await.contains("\nbellrock_engine_store_up "), "nobody asks it");
}

#[tokio::test]
async fn a_disk_that_does_not_answer_costs_a_scrape_nothing_but_its_own_figures() {
    let (metrics, _runner) = full();
    let _hangs = metrics.asking.clone().try_lock_owned().expect("nobody asks");
    let text = metrics.scrape(Now { status: everything(), process: None, orders: 0 }, Format::Text).await;
    assert!(!text.contains("state_disk") && text.contains("bellrock_ready 1.0"), "{text}");
}
