use super::*;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use crate::orchestrator::engine::execution::Attempt;
use crate::orchestrator::engine::execution::LastModified;
use crate::orchestrator::engine::execution::Paused;
use crate::orchestrator::engine::execution::Task;

const ID: &str = "01KCEXAMPLE0000000000000PE";

/// What Orca leaves of a pipeline: a deploy with a stage before it, under way, resumed once.
fn orcas() -> Record {
    let fields = [
        ("application", "spintest"),
        ("canceled", "false"),
        ("limitConcurrent", "true"),
        ("maxConcurrentExecutions", "0"),
        ("keepWaitingPipelines", "false"),
        ("buildTime", "1763000000000"),
        ("startTime", "1763000000100"),
        ("status", "RUNNING"),
        ("origin", "deck"),
        ("spelEvaluator", "v4"),
        ("authentication", r#"{"user":"anna","allowedAccounts":["prod","test"],"ofLater":1}"#),
        ("paused", r#"{"pausedBy":"bo","pauseTime":1763000000200,"resumedBy":"bo","resumeTime":1763000000300,"ofLater":2}"#),
        ("trigger", r#"{"type":"manual","user":"anna","parameters":{"v":"1"},"artifacts":[]}"#),
        ("systemNotifications", "[]"),
        ("name", "Deploy"),
        ("pipelineConfigId", "c-1"),
        ("notifications", "[]"),
        ("initialConfig", "{}"),
        ("somethingNew", "kept"),
        ("stage.s-1.refId", "1"),
        ("stage.s-1.type", "deploy"),
        ("stage.s-1.name", "Deploy in us-east-1"),
        ("stage.s-1.status", "RUNNING"),
        ("stage.s-1.startTime", "1763000000150"),
        ("stage.s-1.context", r#"{"clusters":[{"account":"prod"}]}"#),
        ("stage.s-1.outputs", "{}"),
        (
            "stage.s-1.tasks",
            r#"[{"id":"1","implementingClass":"com.netflix.spinnaker.orca.clouddriver.tasks.MonitorKatoTask","name":"monitor","startTime":1763000000160,"status":"RUNNING","stageStart":true,"stageEnd":true,"loopStart":false,"loopEnd":false,"ofLater":4,"attempt":{"number":1,"started":1763000000165,"inFlight":true,"ofLater":5}}]"#,
        ),
        ("stage.s-2.refId", "1<1"),
        ("stage.s-2.type", "wait"),
        ("stage.s-2.name", "before"),
        ("stage.s-2.status", "SUCCEEDED"),
        ("stage.s-2.syntheticStageOwner", "STAGE_BEFORE"),
        ("stage.s-2.parentStageId", "s-1"),
        ("stage.s-2.requisiteStageRefIds", "a,b"),
        ("stage.s-2.lastModified", r#"{"user":"anna","allowedAccounts":["prod"],"lastModifiedTime":1763000000170,"ofLater":3}"#),
        ("stage.s-2.context", "{}"),
        ("stage.s-2.outputs", "{}"),
        ("stage.s-2.tasks", "[]"),
    ];
    Record {
        fields: fields.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect(),
        stage_index: vec!["s-2".to_owned(), "s-1".to_owned()],
    }
}

fn read(record: &Record) -> Execution {
    decode(&ExecutionId::from(ID), Some(ExecutionType::Pipeline), record).unwrap()
}

fn with(name: &str, text: &str) -> Result<Execution, StoreError> {
    let mut record = orcas();
    record.fields.retain(|(n, _)| n != name);
    record.fields.push((name.to_owned(), text.to_owned()));
    decode(&ExecutionId::from(ID), None, &record)
}

/// As JSON: an execution has no equality of its own.
fn same(a: &Execution, b: &Execution) -> bool {
    serde_json::to_value(a).unwrap() == serde_json::to_value(b).unwrap()
}

#[test]
fn what_orca_wrote_is_read() {
    let execution = read(&orcas());
    let summary = execution.summary();
    assert_eq!((summary.name.as_str(), summary.status, summary.limit_concurrent), ("Deploy", Status::Running, true));
    assert_eq!((summary.start_time, summary.end_time), (Some(Timestamp(1_763_000_000_100)), None));
    assert_eq!(summary.authentication.allowed_accounts, ["prod", "test"]);
    assert_eq!(summary.paused.as_ref().unwrap().resume_time, Some(Timestamp(1_763_000_000_300)));
    assert_eq!(summary.trigger["parameters"]["v"], "1");
    let refs: Vec<&str> = execution.stages().iter().map(|s| s.head().ref_id.as_str()).collect();
    assert_eq!(refs, ["1<1", "1"], "in the order of the index");
    let before = execution.stage(0).head();
    assert_eq!(before.requisite_stage_ref_ids, ["a", "b"]);
    assert_eq!(
        (before.synthetic_stage_owner, before.parent_stage_id.as_ref()),
        (Some(Synthetic::StageBefore), Some(&StageId::from("s-1")))
    );
    assert_eq!(before.last_modified.as_ref().unwrap().last_modified_time, Timestamp(1_763_000_000_170));
    assert!(execution.stage(1).tasks()[0].implementing_class.ends_with("MonitorKatoTask"));
}

#[test]
fn what_orca_or_a_newer_version_wrote_is_written_as_it_was() {
    let written: HashMap<String, String> = encode(&read(&orcas())).fields.into_iter().collect();
    for (name, text) in orcas().fields {
        let Some(ours) = written.get(&name) else {
            assert!(["systemNotifications", "somethingNew"].contains(&name.as_str()), "{name} is lost");
            continue;
        };
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| json!(text));
        let mut theirs = value(&text);
        if let Some(Value::Object(task)) = theirs.get_mut(0) {
            // Not set and not there are the same to every reader.
            task.retain(|_, v| !v.is_null() && *v != json!(false));
        }
        assert_eq!(value(ours), theirs, "{name}");
    }
}

#[test]
fn what_is_not_known_here_is_not_written_over() {
    let mut execution = read(&orcas());
    execution.summary_mut().status = Status::Succeeded;
    execution.stage_mut(0).head_mut().status = Status::Skipped;
    let changes = execution.take_changes();
    let fields = encode_changes(&execution, &changes);
    let named = |name: &str| fields.set.iter().any(|(n, _)| n == name) || fields.remove.iter().any(|n| n == name);
    assert!(named("status") && named("stage.s-2.status"));
    for name in ["somethingNew", "systemNotifications", "stage.s-2.context", "stage.s-1.status"] {
        assert!(!named(name), "{name}");
    }
    assert_eq!(fields.stage_index, None);
}

#[test]
fn without_an_index_stages_are_found_by_their_fields() {
    let record = Record { stage_index: Vec::new(), ..orcas() };
    let ids: Vec<String> = read(&record).stages().iter().map(|s| s.id.0.clone()).collect();
    assert_eq!(ids, ["s-1", "s-2"]);
}

#[test]
fn a_newer_version_is_not_guessed_at() {
    for (name, text) in [
        ("status", "DREAMING"),
        ("stage.s-1.status", "DREAMING"),
        ("stage.s-1.tasks", r#"[{"id":"1","status":"DREAMING"}]"#),
        ("stage.s-1.syntheticStageOwner", "STAGE_BESIDE"),
        ("bellrock:type", "dream"),
        ("startTime", "noon"),
        ("canceled", "perhaps"),
        ("trigger", "[1"),
        ("stage.s-1.context", "[]"),
    ] {
        assert!(matches!(with(name, text), Err(StoreError::Unreadable(why)) if why.contains(ID)), "{name}={text}");
    }
    assert!(with("paused", "null").unwrap().summary().paused.is_none());
    assert!(with("stage.s-1.tasks", "null").is_ok());
}

#[test]
fn the_key_says_which_kind_it_is_and_else_the_record() {
    let id = ExecutionId::from(ID);
    assert_eq!(decode(&id, None, &orcas()).unwrap().summary().kind, ExecutionType::Pipeline);
    assert_eq!(decode(&id, Some(ExecutionType::Orchestration), &orcas()).unwrap().summary().kind, ExecutionType::Orchestration);
    assert_eq!(with(TYPE, "orchestration").unwrap().summary().kind, ExecutionType::Orchestration);
}

#[test]
fn all_fields_of_a_removed_stage_go() {
    let mut execution = read(&orcas());
    execution.remove_stages(|s| s.id.as_str() == "s-2");
    let changes = execution.take_changes();
    let fields = encode_changes(&execution, &changes);
    assert_eq!(fields.stage_index.as_deref(), Some(&["s-1".to_owned()][..]));
    for (name, _) in orcas().fields.iter().filter(|(n, _)| n.starts_with("stage.s-2.")) {
        assert!(fields.remove.contains(name), "{name}");
    }
}

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 ,.:<>{}\"äß\\\\\n\u{1}\u{2028}-]{0,12}"
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0..4_000_000_000_000i64).prop_map(Timestamp)
}

fn status() -> impl Strategy<Value = Status> {
    proptest::sample::select(&Status::ALL[..])
}

fn object() -> impl Strategy<Value = Object> {
    vec(
        (
            text(),
            prop_oneof![text().prop_map(Value::from), any::<i64>().prop_map(Value::from), Just(Value::Null), Just(json!({"a": [1, "b"]}))],
        ),
        0..4,
    )
    .prop_map(|pairs| pairs.into_iter().collect())
}

/// What a newer version keeps there: under names that this one does not know, so none of its own.
fn newer() -> impl Strategy<Value = Object> {
    object().prop_map(|object| object.into_iter().map(|(name, value)| (format!("x{name}"), value)).collect())
}

prop_compose! {
    fn task()(id in "[1-9]", name in text(), status in status(), start_time in option::of(time()), stage_end: bool, details in object(), due in option::of(time()), undoing in option::of(1u32..9),
        attempt in option::of((1..9u32, time(), any::<bool>(), text(), newer())), implementing_class in text(), stage_start: bool, looped: bool, other in newer()) -> Task {
        // Of a task that ended the attempt is not kept, but for what a newer version keeps there.
        let attempt = attempt.filter(|attempt| attempt.2 || !status.is_complete() || !attempt.4.is_empty());
        let attempt = attempt.map(|(number, started, in_flight, effect, other)| Attempt { number, started, in_flight, instance: effect.clone(), effect, other });
        Task { id, implementing_class, name, status, start_time, end_time: due, stage_start, stage_end, loop_start: looped, loop_end: looped, task_exception_details: details, due, undoing, attempt, other }
    }
}

prop_compose! {
    fn head()(ref_id in text(), kind in text(), name in text(), status in status(), times in (option::of(time()), option::of(time()), option::of(time()), option::of(time())),
        owner in option::of(prop_oneof![Just(Synthetic::StageBefore), Just(Synthetic::StageAfter)]), parent in option::of(text()),
        requisite_stage_ref_ids in vec(text(), 0..4), modified in option::of((text(), time()))) -> Head {
        Head {
            ref_id, kind, name, status, requisite_stage_ref_ids,
            start_time: times.0, end_time: times.1, start_time_expiry: times.2, scheduled_time: times.3,
            synthetic_stage_owner: owner,
            parent_stage_id: parent.map(StageId),
            last_modified: modified.map(|(user, last_modified_time)| LastModified { user, last_modified_time, ..LastModified::default() }),
        }
    }
}

prop_compose! {
    fn summary()(kind in prop_oneof![Just(ExecutionType::Pipeline), Just(ExecutionType::Orchestration)], texts in vec(text(), 3), optional in vec(option::of(text()), 6),
        status in status(), build_time in time(), times in (option::of(time()), option::of(time()), option::of(time())), flags in any::<(bool, bool, bool)>(),
        max in 0..9u32, paused in option::of((text(), option::of(time()), option::of(text()), vec((time(), time()), 0..3))), roles in vec(text(), 0..3), objects in vec(object(), 4),
        notifications in vec(object().prop_map(Value::Object), 0..3), notified in 0..9u64) -> Summary {
        let [application, name, user] = <[String; 3]>::try_from(texts).unwrap();
        let [pipeline_config_id, canceled_by, cancellation_reason, origin, spel_evaluator, description] = <[Option<String>; 6]>::try_from(optional).unwrap();
        let [trigger, initial_config, source, template_variables] = <[Object; 4]>::try_from(objects).unwrap();
        Summary {
            kind, application, name, pipeline_config_id, status, build_time,
            start_time: times.0, end_time: times.1, start_time_expiry: times.2,
            canceled: flags.0, canceled_by, cancellation_reason,
            limit_concurrent: flags.1, max_concurrent_executions: max, keep_waiting_pipelines: flags.2,
            paused: paused.map(|(paused_by, pause_time, resumed_by, earlier)| Paused { paused_by, pause_time, resumed_by, resume_time: pause_time, earlier, ..Paused::default() }),
            authentication: Authentication { user, allowed_accounts: roles.clone(), roles, ..Authentication::default() },
            trigger, origin, spel_evaluator, description, notifications, initial_config, source, template_variables, notified,
        }
    }
}

prop_compose! {
    fn execution()(summary in summary(), stages in vec((head(), object(), object(), vec(task(), 0..3)), 0..5), ids in "[a-z.-]{0,5}") -> Execution {
        let stages = stages.into_iter().enumerate()
            .map(|(n, (head, context, outputs, tasks))| Stage::from_parts(StageId(format!("{ids}{n}")), head, context, outputs, tasks))
            .collect();
        Execution::new(ExecutionId::from(ID), summary, stages)
    }
}

fn apply(record: &mut Record, changes: FieldChanges) {
    let mut fields: HashMap<String, String> = std::mem::take(&mut record.fields).into_iter().collect();
    fields.extend(changes.set);
    for name in &changes.remove {
        fields.remove(name);
    }
    record.fields = fields.into_iter().collect();
    record.stage_index = changes.stage_index.unwrap_or_else(|| std::mem::take(&mut record.stage_index));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn reading_what_was_written_gives_the_same(execution in execution()) {
        let read = decode(&execution.id, None, &encode(&execution)).unwrap();
        prop_assert!(same(&read, &execution));
    }

    #[test]
    fn changes_lead_to_what_a_whole_write_gives(mut execution in execution(), summary in summary(), head in head(), context in object(), tasks in vec(task(), 0..3)) {
        let mut record = encode(&execution);
        execution.take_changes();
        let kind = execution.summary().kind;
        *execution.summary_mut() = Summary { kind, ..summary };
        if let Some(last) = execution.stages().len().checked_sub(1) {
            *execution.stage_mut(last).head_mut() = head.clone();
            *execution.stage_mut(0).tasks_mut() = tasks;
            let gone = execution.stage(last / 2).id.clone();
            execution.remove_stages(|s| s.id == gone);
        }
        execution.insert_stages(0, vec![Stage::new(StageId::from("new"), head, context)]);
        let changes = execution.take_changes();
        apply(&mut record, encode_changes(&execution, &changes));
        prop_assert!(same(&decode(&execution.id, None, &record).unwrap(), &execution));
    }
}

#[test]
fn whose_a_record_is_can_be_told_without_reading_it() {
    for kind in [ExecutionType::Pipeline, ExecutionType::Orchestration] {
        let summary = Summary { kind, application: "shop".into(), ..Summary::default() };
        let record = encode(&Execution::new(ID.into(), summary, Vec::new()));
        assert_eq!(belongs(&record), (kind, "shop".to_owned()));
    }
    assert_eq!(belongs(&orcas()), (ExecutionType::Pipeline, "spintest".to_owned()));
}
