use super::*;
use crate::cloud::TargetId;
use crate::cloud::TargetState;
use crate::model::Process;

fn health(r: &mut Region, group: &str, id: &InstanceId) -> TargetState {
    let arn = r.target_group_arn(group).unwrap();
    r.describe_target_health(&arn, &[TargetId { instance: id.clone(), port: None }]).unwrap()[0].state
}

fn behind(target_group: &str) -> GroupSpec {
    GroupSpec { target_groups: vec![target_group.into()], classic_load_balancers: vec!["old-front".into()], ..spec(0, 5, 1) }
}

fn work(r: &mut Region, count: u32, length: u64) {
    let length = Span::secs(length);
    r.submit_work(&WorkSpec { queue: "orca-main".into(), application: "shop".into(), count, length, over: secs(0) });
}

/// One settled instance whose orchestrator behaves so.
fn behaving(change: impl Fn(&mut Behaviour)) -> (Region, InstanceId) {
    let mut r = region();
    let mut behaviour = Behaviour { busy_lag: Span::secs(2), restart: Span::secs(10), ..Behaviour::default() };
    change(&mut behaviour);
    r.add_template(TemplateSpec {
        name: "other".into(),
        versions: vec![VersionSpec { orchestrator: Some(behaviour), ..VersionSpec::default() }],
        default_version: 1,
    });
    let ids = r.add_group(&GroupSpec { template: "other".into(), ..spec(0, 5, 1) }).unwrap();
    (r, ids[0].clone())
}

fn get(r: &mut Region, id: &InstanceId, path: &str) -> (u16, String) {
    match r.orchestrator_http(id, "GET", path, "") {
        OrchestratorReply::Answer(a) => (a.status, a.body),
        other => panic!("{other:?}"),
    }
}

fn active(r: &mut Region, id: &InstanceId) -> serde_json::Value {
    serde_json::from_str(&get(r, id, "/executions/activeByInstance").1).unwrap()
}

#[test]
fn a_new_target_is_initial_healthy_draining_and_gone_over_time() {
    let (mut r, _) = with_spec(GroupSpec { desired: Some(0), ..behind("api") });
    r.set_desired_capacity(&name(), 1, false).unwrap();
    pass(&mut r, 22);
    let id = r.members(&name())[0].clone();
    assert_eq!(health(&mut r, "api", &id), TargetState::Initial);
    pass(&mut r, 15);
    assert_eq!(health(&mut r, "api", &id), TargetState::Initial);
    pass(&mut r, 45);
    assert_eq!(health(&mut r, "api", &id), TargetState::Healthy);
    assert_eq!(r.describe_instance_health("old-front", &[]).unwrap()[0].state, "InService");
    r.set_desired_capacity(&name(), 0, false).unwrap();
    pass(&mut r, 2);
    assert_eq!(health(&mut r, "api", &id), TargetState::Draining);
    pass(&mut r, 31);
    assert_eq!(health(&mut r, "api", &id), TargetState::Unused);
}

#[test]
fn a_service_that_goes_down_turns_unhealthy_after_its_threshold_and_comes_back() {
    let (mut r, ids) = with_spec(behind("api"));
    assert_eq!(health(&mut r, "api", &ids[0]), TargetState::Healthy);
    pass(&mut r, 100);
    r.crash_orchestrator(&ids[0]);
    pass(&mut r, 9);
    assert_eq!(health(&mut r, "api", &ids[0]), TargetState::Healthy, "two bad checks are needed");
    r.stop_orchestrator(&ids[0], secs(0));
    pass(&mut r, 2);
    r.stop_orchestrator(&ids[0], secs(0));
    pass(&mut r, 30);
    assert_eq!(health(&mut r, "api", &ids[0]), TargetState::Unhealthy);
    assert_eq!(r.describe_instance_health("old-front", &[]).unwrap()[0].state, "OutOfService");
    r.start_orchestrator(&ids[0]);
    pass(&mut r, 60);
    assert_eq!(health(&mut r, "api", &ids[0]), TargetState::Healthy);
}

#[test]
fn a_target_on_no_listener_is_unused() {
    let (mut r, ids) = with_spec(behind("spare"));
    assert_eq!(health(&mut r, "spare", &ids[0]), TargetState::Unused);
}

#[test]
fn a_port_override_is_part_of_a_targets_identity() {
    let (mut r, ids) = with_spec(behind("api"));
    let arn = r.target_group_arn("api").unwrap();
    let other = TargetId { instance: ids[0].clone(), port: Some(9999) };
    r.register_targets(&arn, std::slice::from_ref(&other)).unwrap();
    assert_eq!(r.describe_target_health(&arn, &[]).unwrap().len(), 2);
    r.deregister_targets(&arn, &[other]).unwrap();
    assert_eq!(health(&mut r, "api", &ids[0]), TargetState::Healthy);
}

#[test]
fn instances_launched_while_add_to_load_balancer_is_suspended_are_never_registered() {
    let (mut r, _) = with_spec(behind("api"));
    r.suspend_processes(&name(), &[Process::AddToLoadBalancer]).unwrap();
    r.set_desired_capacity(&name(), 2, false).unwrap();
    pass(&mut r, 120);
    r.resume_processes(&name(), &[Process::AddToLoadBalancer]).unwrap();
    pass(&mut r, 120);
    let arn = r.target_group_arn("api").unwrap();
    assert_eq!((in_service(&r), r.describe_target_health(&arn, &[]).unwrap().len()), (2, 1));
    assert_eq!(r.describe_instance_health("old-front", &[]).unwrap().len(), 1);
}

#[test]
fn disabling_takes_a_group_out_of_its_balancers_but_not_out_of_work() {
    let (mut r, ids) = with_spec(behind("api"));
    r.disable(&name()).unwrap();
    assert!(r.group_now(&name()).unwrap().group.is_disabled());
    assert_eq!(health(&mut r, "api", &ids[0]), TargetState::Draining);
    work(&mut r, 1, 60);
    assert_eq!(r.executing(&ids[0]).len(), 1);
    r.enable(&name()).unwrap();
    pass(&mut r, 60);
    assert_eq!(health(&mut r, "api", &ids[0]), TargetState::Healthy);
}

#[test]
fn strangers_are_told_apart_and_absent_ones_may_be_deregistered() {
    let (mut r, ids) = with_spec(behind("api"));
    let arn = r.target_group_arn("api").unwrap();
    let ghost = InstanceId::from("i-0000000000000dead");
    let target = TargetId { instance: ghost.clone(), port: None };
    assert_eq!(r.register_targets(&arn, std::slice::from_ref(&target)).unwrap_err().code, "InvalidTarget");
    r.deregister_targets(&arn, &[target]).unwrap();
    assert_eq!(r.describe_target_health(&"arn:none".into(), &[]).unwrap_err().code, "TargetGroupNotFound");
    assert_eq!(r.describe_instance_health("nope", &[]).unwrap_err().code, "LoadBalancerNotFound");
    let both = [ids[0].clone(), ghost];
    assert_eq!(r.describe_instance_health("old-front", &both).unwrap_err().code, "InvalidInstance");
    r.set_undocumented(Undocumented { unknown_instance_fails_call: false, ..Undocumented::default() });
    assert_eq!(r.describe_instance_health("old-front", &both).unwrap()[1].state, "Unknown");
}

#[test]
fn claimed_work_shows_up_as_busy_only_after_its_lag() {
    let (mut r, id) = behaving(|_| ());
    work(&mut r, 1, 60);
    assert_eq!(r.executing(&id).len(), 1);
    assert_eq!(active(&mut r, &id)[id.as_str()]["count"], 0);
    pass(&mut r, 2);
    let shown = active(&mut r, &id);
    assert_eq!(shown[id.as_str()]["count"], 1);
    assert_eq!(shown[id.as_str()]["executions"][0]["application"], "shop");
    assert!(get(&mut r, &id, "/metrics").1.contains("threadpool_activeCount{id=\"messageHandlerPool\"} 1\n"));
    pass(&mut r, 58);
    assert_eq!((r.executing(&id).len(), r.truth().executions[0].is_finished()), (0, true));
}

#[test]
fn each_era_has_its_shape() {
    for (era, idle) in [
        (Era::A, serde_json::json!(0)),
        (Era::B, serde_json::json!({"overdue": false, "count": 0})),
        (Era::C, serde_json::json!({"overdue": false, "count": 0, "executions": []})),
    ] {
        let (mut r, id) = behaving(|b| b.era = era);
        assert_eq!(active(&mut r, &id)[id.as_str()], idle);
    }
}

#[test]
fn closed_intake_takes_nothing_and_a_restart_forgets_it() {
    for (switch, open_again) in [(Switch::Forgets, true), (Switch::Obeys, false)] {
        let (mut r, id) = behaving(|b| b.switch = switch);
        r.orchestrator_http(&id, "POST", "/admin/instance/enabled", "{\"enabled\":\"false\"}");
        assert_eq!(get(&mut r, &id, "/admin/instance/enabled").1, "{\"enabled\":false}");
        work(&mut r, 1, 60);
        assert_eq!((r.executing(&id).len(), r.queued("orca-main")), (0, 1));
        let before = r.process(&id).unwrap();
        r.crash_orchestrator(&id);
        assert_eq!(r.orchestrator_http(&id, "GET", "/health", ""), OrchestratorReply::Refused);
        pass(&mut r, 11);
        assert_ne!(r.process(&id).unwrap(), before);
        assert_eq!(r.executing(&id).len() == 1, open_again);
    }
}

#[test]
fn a_switch_may_ignore_lie_or_refuse() {
    for (switch, status, reads) in [(Switch::Ignores, 200, Some(true)), (Switch::Lies, 200, Some(false)), (Switch::Refuses, 400, None)] {
        let (mut r, id) = behaving(|b| b.switch = switch);
        let OrchestratorReply::Answer(a) = r.orchestrator_http(&id, "POST", "/admin/instance/enabled", "{\"enabled\":false}") else {
            panic!()
        };
        assert_eq!((a.status, r.read_intake(&id)), (status, reads));
        work(&mut r, 1, 60);
        assert_eq!(r.executing(&id).len(), 1, "it goes on taking work");
    }
}

#[test]
fn a_crash_interrupts_work_and_the_queue_delivers_it_again() {
    let (mut r, id) = behaving(|_| ());
    work(&mut r, 1, 100);
    pass(&mut r, 10);
    r.crash_orchestrator(&id);
    assert_eq!(r.truth().executions[0].runs[0].end, Some(RunEnd::Interrupted));
    pass(&mut r, 300);
    assert!(r.truth().executions[0].is_finished() && r.truth().executions[0].runs.len() == 2);
}

#[test]
fn a_stop_waits_for_its_work_within_the_grace_and_loses_it_after() {
    for (grace, lost) in [(120, 0), (30, 1)] {
        let (mut r, id) = behaving(|_| ());
        work(&mut r, 1, 60);
        r.stop_orchestrator(&id, secs(grace));
        work(&mut r, 1, 60);
        assert_eq!(r.executing(&id).len(), 1, "nothing new while stopping");
        pass(&mut r, 61);
        assert_eq!((r.orchestrator_runs(&id), r.truth().lost().count()), (false, lost));
    }
}

#[test]
fn a_stop_holds_against_the_service_manager_whether_the_process_had_died_before_or_dies_meanwhile() {
    for dies_first in [true, false] {
        let (mut r, id) = behaving(|_| ());
        work(&mut r, 1, 600);
        if dies_first {
            r.crash_orchestrator(&id);
        }
        r.stop_orchestrator(&id, secs(120));
        r.crash_orchestrator(&id);
        pass(&mut r, 600);
        assert!(!r.orchestrator_runs(&id), "died first: {dies_first}");
        r.start_orchestrator(&id);
        pass(&mut r, 300);
        assert!(r.orchestrator_runs(&id), "died first: {dies_first}");
    }
}

#[test]
fn every_lie_looks_as_it_should() {
    for lie in [Lie::Zero, Lie::MissingKey, Lie::Malformed, Lie::NotFound, Lie::Old(30), Lie::ServerError, Lie::Hang] {
        let (mut r, id) = behaving(|_| ());
        pass(&mut r, 60);
        work(&mut r, 1, 600);
        pass(&mut r, 10);
        r.lie(&id, lie, None, secs(5));
        let reply = r.orchestrator_http(&id, "GET", "/executions/activeByInstance", "");
        let body = |reply: &OrchestratorReply| match reply {
            OrchestratorReply::Answer(a) => (a.status, serde_json::from_str::<serde_json::Value>(&a.body).ok()),
            OrchestratorReply::Hang | OrchestratorReply::Refused => (0, None),
        };
        let (status, json) = body(&reply);
        match lie {
            Lie::Zero | Lie::Old(_) => assert_eq!(json.unwrap()[id.as_str()]["count"], 0),
            Lie::MissingKey => assert!(json.unwrap().get(id.as_str()).is_none()),
            Lie::Malformed => assert_eq!((status, json), (200, None)),
            Lie::NotFound => assert_eq!(status, 404),
            Lie::ServerError => assert_eq!(status, 500),
            Lie::Hang => assert_eq!(reply, OrchestratorReply::Hang),
        }
        pass(&mut r, 6);
        assert_eq!(active(&mut r, &id)[id.as_str()]["count"], 1, "the lie is over");
    }
}

#[test]
fn a_broken_image_never_gets_healthy_or_crashes_for_ever_and_takes_no_work() {
    for works in [Works::NeverHealthy, Works::CrashLoops] {
        let (mut r, id) = behaving(|b| b.works = works);
        work(&mut r, 1, 60);
        pass(&mut r, 600);
        assert_eq!(r.queued("orca-main"), 1);
        assert!(r.instance(&id).unwrap().service.up.is_none());
        let generation = r.process(&id).map_or(u32::MAX, |p| p.0);
        assert_eq!(generation > 0, works == Works::CrashLoops);
    }
}

#[test]
fn a_hung_orchestrator_answers_nothing_and_works_on() {
    let (mut r, id) = behaving(|_| ());
    work(&mut r, 1, 30);
    r.hang_orchestrator(&id, secs(60));
    assert_eq!(r.orchestrator_http(&id, "GET", "/health", ""), OrchestratorReply::Hang);
    pass(&mut r, 61);
    assert!(r.truth().executions[0].is_finished() && get(&mut r, &id, "/health").0 == 200);
}
