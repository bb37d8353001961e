use super::super::rig::Rig;
use super::*;
use crate::orchestrator::engine::execution::Head;
use crate::orchestrator::engine::execution::Stage;
use crate::orchestrator::engine::execution::Summary;

fn seen(status: Status, outputs: Value, failed: Option<Value>) -> Outcome {
    Outcome::Execution { status, outputs: outputs.as_object().unwrap().clone(), failed, name: "Child".to_owned() }
}

fn monitor(context: Value) -> Rig {
    let mut rig = Rig::new(Pipeline, context);
    rig.set("executionId", "C");
    rig.start(0);
    rig
}

#[test]
fn starts_the_child_with_its_parent_and_who_acts_in_the_trigger() {
    let mut rig = Rig::new(Pipeline, json!({"pipeline": "deploy", "pipelineParameters": {"a": 1}}));
    rig.execution.summary_mut().authentication.user = "ann".to_owned();
    rig.execution.summary_mut().trigger.insert("parentExecution".to_owned(), json!({"id": "grandparent"}));
    let Effect::StartPipeline { application, pipeline, trigger } = rig.effect(None) else { panic!() };
    assert_eq!((application.as_str(), pipeline.as_str()), ("app", "deploy"));
    assert_eq!((&trigger["user"], &trigger["parameters"]), (&json!("ann"), &json!({"a": 1})));
    assert_eq!((&trigger["parentPipelineId"], &trigger["parentPipelineStageId"]), (&json!("E"), &json!("E-this")));
    assert_eq!(trigger["parentExecution"]["trigger"], json!({}), "ancestors do not pile up");
    let result = rig.finish(Some(&Outcome::Started { execution: "C".into(), name: "Child".to_owned() }));
    assert_eq!((result.status, &result.outputs["executionId"]), (Status::Succeeded, &json!("C")));
}

#[test]
fn a_definition_that_is_not_there_fails_and_says_what_to_check() {
    let mut rig = Rig::new(Pipeline, json!({"pipeline": "gone"}));
    let (_, error) = rig.failure(Some(&Outcome::NotFound { what: "gone in app".to_owned() }));
    assert!(error.contains("gone in app") && error.contains("check"), "{error}");
    assert_eq!(rig.pause(Some(&Outcome::Failed { error: "busy".to_owned(), retryable: true })), Some(TRY_AGAIN));
    assert_eq!(Rig::new(Pipeline, json!({})).failure(None).0, "ConfigurationException");
}

#[test]
fn ends_as_its_child_does_with_its_outputs() {
    for status in Status::ALL {
        let wanted = match status {
            Status::Succeeded | Status::Canceled | Status::Terminal => status,
            Status::Stopped => Status::Terminal,
            _ => Status::Running,
        };
        let mut rig = monitor(json!({}));
        assert_eq!(rig.status(Some(&seen(status, json!({"a": 1}), None))), wanted, "{status}");
        let _ = rig.go(Some(&seen(status, json!({"a": 1}), None)));
        assert_eq!(rig.stage_outputs().get("a").is_some(), wanted != Status::Running, "{status}");
        assert_eq!(rig.context()["status"], status.word());
    }
    let result = monitor(json!({"skipDownstreamOutput": true})).finish(Some(&seen(Status::Succeeded, json!({"a": 1}), None)));
    assert!(result.outputs.is_empty());
}

#[test]
fn a_failed_child_says_where_it_failed() {
    let failed = json!({"stageId": "C-1", "stageName": "Deploy", "stageIndex": 2, "exception": {"details": {"errors": ["no room"]}}});
    let result = monitor(json!({})).finish(Some(&seen(Status::Terminal, json!({}), Some(failed))));
    let exception = &result.context["exception"];
    assert_eq!(exception["details"]["errors"], json!(["Child, stage Deploy: no room"]));
    assert_eq!(exception["source"], json!({"executionId": "C", "stageId": "C-1", "stageName": "Deploy", "stageIndex": 2}));
    let result = monitor(json!({})).finish(Some(&seen(Status::Stopped, json!({}), None)));
    assert_eq!(result.context["exception"]["details"]["error"], "Child: ended STOPPED; see execution C");
}

#[test]
fn looks_rarely_when_nothing_is_said_and_calls_the_child_off_with_itself() {
    let mut rig = monitor(json!({}));
    assert_eq!(rig.effect(None), Effect::ReadExecution { execution: "C".into() });
    assert_eq!(rig.pause(Some(&seen(Status::Running, json!({}), None))), Some(LOOK_AGAIN));
    rig.execution.summary_mut().canceled_by = Some("ann".to_owned());
    rig.execution.summary_mut().canceled = true;
    let Some(Effect::CancelExecution { execution, by, reason }) = rig.on_cancel() else { panic!() };
    assert_eq!((execution.as_str(), by.as_str(), rig.timeout()), ("C", "ann", Some(TIMEOUT)));
    assert_eq!(reason, "the parent pipeline pipe was called off");
}

#[test]
fn a_child_that_is_waited_for_no_longer_is_called_off_and_told_why() {
    let rig = monitor(json!({}));
    let Some(Effect::CancelExecution { execution, by, reason }) = rig.on_cancel() else { panic!() };
    assert_eq!((execution.as_str(), by.as_str()), ("C", "system"));
    assert_eq!(reason, "the stage This of the parent pipeline pipe ended without waiting for it any longer");
    assert!(Start.is_waited_for(&rig.task_view()), "a child whose start is under way is not known yet");
}

#[test]
fn does_not_wait_when_told_so_and_a_restart_starts_another_child_unless_it_is_the_childs() {
    let names = |rig: &Rig| rig.tasks().iter().map(|task| task.name).collect::<Vec<_>>();
    assert_eq!(names(&Rig::new(Pipeline, json!({"waitForCompletion": "false"}))), ["startPipeline"]);
    let mut rig = monitor(json!({"_skipPipelineRestart": true, "status": "TERMINAL"}));
    Pipeline.prepare_restart(rig.context(), &Object::new());
    assert_eq!(names(&rig), ["monitorPipeline"]);
    assert!(!rig.context().contains_key("status"));
    Pipeline.prepare_restart(rig.context(), json!({"_skipPipelineRestart": true}).as_object().unwrap());
    assert_eq!(names(&rig), ["monitorPipeline"]);
    Pipeline.prepare_restart(rig.context(), &Object::new());
    assert_eq!(names(&rig), ["startPipeline", "monitorPipeline"]);
}

/// What the children of one parent carry of it grows with their number, not with its square.
#[test]
fn a_child_is_told_a_bounded_part_of_its_parent() {
    let stages = |count: usize, bytes: usize| {
        let stage = |n: usize| {
            let mut stage = Stage::new(format!("E-{n}").as_str().into(), Head { ref_id: n.to_string(), ..Head::default() }, Object::new());
            stage.outputs_mut().insert("text".to_owned(), "x".repeat(bytes).into());
            stage
        };
        Execution::new("E".into(), Summary::default(), (0..count).map(stage).collect())
    };
    let small = parent_execution(&stages(3, 10));
    assert_eq!((small["stages"][2]["outputs"]["text"].as_str(), small.get("outputsLeftOut")), (Some("xxxxxxxxxx"), None));
    for (count, bytes) in [(10_000, 10), (10, 1 << 20)] {
        let told = parent_execution(&stages(count, bytes));
        assert!(told.to_string().len() < TOLD_BYTES * 2, "{}", told.to_string().len());
        assert!(told["stagesLeftOut"].as_u64().unwrap_or(0) + told["outputsLeftOut"].as_u64().unwrap_or(0) > 0);
    }
}
