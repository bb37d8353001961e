use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::cloud::AutoScaling;
use crate::cloud::Kind;
use crate::cloud::Metadata;
use crate::cloud::Resize;
use crate::host::clock::VirtualClock;
use crate::model::Activity as Busy;
use crate::model::InstanceHealth;
use crate::orchestrator::Orchestrator;

fn resize(r: &mut Region) -> Answer<()> {
    r.call("ann", "UpdateAutoScalingGroup", |r| r.update_auto_scaling_group(&name(), Resize { max: Some(7), ..Resize::default() }))
}

#[test]
fn a_lost_reply_leaves_the_change_made_and_the_ledger_says_both() {
    let (mut r, _) = with_group(0, 5, 1);
    r.trouble(Trouble::always(TroubleKind::LoseReply).on("UpdateAutoScalingGroup").times(1));
    assert!(matches!(resize(&mut r), Answer::Hang | Answer::Reset));
    assert_eq!(sizes(&r).max, 7);
    let call = r.truth().calls.last().unwrap();
    assert_eq!((call.caller.as_str(), call.reply_lost, &call.outcome), ("ann", true, &Outcome::Applied));
    assert_eq!(call.args["MaxSize"], 7);
    assert_eq!(resize(&mut r), Answer::Reply(Ok(())));
}

#[test]
fn other_trouble_changes_nothing_and_has_its_code() {
    for (kind, code, status) in [
        (TroubleKind::Throttle, "Throttling", 400),
        (TroubleKind::ServerError, "InternalFailure", 500),
        (TroubleKind::Unavailable, "ServiceUnavailable", 503),
        (TroubleKind::ResourceContention, "ResourceContention", 500),
        (TroubleKind::ScalingActivityInProgress, "ScalingActivityInProgress", 400),
    ] {
        let (mut r, _) = with_group(0, 5, 1);
        r.trouble(Trouble::always(kind));
        let Answer::Reply(Err(e)) = resize(&mut r) else { panic!("no error") };
        assert_eq!((e.code, e.status, sizes(&r).max), (code, status, 5));
        assert!(matches!(r.truth().calls.last().unwrap().outcome, Outcome::Refused(_)));
    }
    for (kind, answer) in [(TroubleKind::Hang, Answer::Hang), (TroubleKind::Reset, Answer::Reset)] {
        let (mut r, _) = with_group(0, 5, 1);
        r.trouble(Trouble::always(kind));
        assert_eq!((resize(&mut r), sizes(&r).max), (answer, 5));
    }
}

#[test]
fn trouble_keeps_to_its_time_its_actions_and_its_callers() {
    let (mut r, _) = with_group(0, 5, 1);
    let rule = Trouble { callers: vec!["bob".into()], ..Trouble::always(TroubleKind::Throttle) };
    r.trouble(rule);
    r.trouble(Trouble::always(TroubleKind::Throttle).on("SetDesiredCapacity"));
    r.trouble(Trouble::always(TroubleKind::Throttle).during(secs(10), secs(20)));
    assert_eq!(r.admit("ann", "DescribeTags"), Admission::Go);
    assert_ne!(r.admit("bob", "DescribeTags"), Admission::Go);
    assert_ne!(r.admit("ann", "SetDesiredCapacity"), Admission::Go);
    pass(&mut r, 10);
    assert_ne!(r.admit("ann", "DescribeTags"), Admission::Go);
    pass(&mut r, 10);
    assert_eq!(r.admit("ann", "DescribeTags"), Admission::Go);
}

#[test]
fn the_accounts_bucket_is_shared_and_fills_again() {
    let mut r = region();
    r.set_bucket(Some(Bucket { size: 2.0, per_second: 1.0 }));
    let ok = ["ann", "bob", "ann"].map(|who| r.admit(who, "DescribeTags") == Admission::Go);
    assert_eq!(ok, [true, true, false]);
    pass(&mut r, 1);
    assert_eq!(r.admit("bob", "DescribeTags"), Admission::Go);
    assert_eq!(r.truth().count("DescribeTags"), 4);
}

#[test]
fn a_read_is_never_older_than_the_bound_and_sometimes_old() {
    let (mut r, _) = with_group(0, 9, 1);
    r.set_stale_bound(secs(5));
    pass(&mut r, 30);
    r.update_auto_scaling_group(&name(), Resize { max: Some(8), ..Resize::default() }).unwrap();
    pass(&mut r, 1);
    let read = |r: &mut Region| r.describe_auto_scaling_groups(&[name()], &[]).unwrap()[0].group.capacity.max;
    let seen: Vec<_> = (0..200).map(|_| read(&mut r)).collect();
    assert!(seen.contains(&9) && seen.contains(&8));
    pass(&mut r, 5);
    assert!((0..200).all(|_| read(&mut r) == 8));
}

#[test]
fn unknown_names_are_absent_and_too_many_are_refused() {
    let (mut r, _) = with_group(0, 9, 1);
    assert!(r.describe_auto_scaling_groups(&["nobody".into()], &[]).unwrap().is_empty());
    let many: Vec<GroupName> = (0..51).map(|n| GroupName::new(format!("g{n}"))).collect();
    assert_eq!(r.describe_auto_scaling_groups(&many, &[]).unwrap_err().code, "ValidationError");
}

#[test]
fn a_scenario_document_loads_and_goes_back_to_the_same_document() {
    let text = r#"{
        "stale_bound": 3,
        "templates": [{"name": "orca", "versions": [{"boot": {"pending": [5, 9], "failure": 0.1}}, {"orchestrator": {"works": "crash_loops"}}]}],
        "target_groups": [{"name": "api"}], "load_balancers": [{"name": "lb", "listeners": [[443, "api"]]}],
        "groups": [{"name": "orca-main-v001", "desired": 2, "max": 4, "settled": true, "target_groups": ["api"],
                    "suspended": ["AZRebalance"], "hooks": [{"name": "h", "transition": "autoscaling:EC2_INSTANCE_TERMINATING"}]}],
        "trouble": [{"kind": "throttle", "probability": 0.1}, {"kind": {"slow": [1, 2]}, "times": 3}],
        "incidents": [{"at": 1, "what": {"work": {"queue": "orca-main", "count": 4, "length": [10, 20]}}},
                      {"at": 2, "what": {"crash": {"group": "orca-main-v001", "nth": 0}}},
                      {"at": 3, "what": {"disable": "orca-main-v001"}}, {"at": 4, "what": "no_trouble"}]
    }"#;
    let scenario: Scenario = serde_json::from_str(text).unwrap();
    let mut r = Region::new(1, Timestamp(0));
    r.load(&scenario).unwrap();
    pass(&mut r, 600);
    assert!(r.group_now(&name()).unwrap().group.is_disabled());
    assert_eq!(r.truth().executions.iter().filter(|e| e.is_finished()).count(), 4);
    let again: Scenario = serde_json::from_value(serde_json::to_value(&scenario).unwrap()).unwrap();
    assert_eq!(again, scenario);
    assert!(serde_json::from_str::<Scenario>(r#"{"grops": []}"#).is_err());
    assert!(serde_json::to_string(r.truth()).unwrap().contains("executions"));
}

#[tokio::test(start_paused = true)]
async fn the_front_gives_up_on_a_hang_and_classifies_errors_as_the_real_cloud_does() {
    let (mut r, ids) = with_group(1, 5, 1);
    r.trouble(Trouble::always(TroubleKind::Hang).on("UpdateAutoScalingGroup"));
    let sim = Sim::new(r, Arc::new(VirtualClock::start(Timestamp(1_790_000_000_000))));
    let cloud = sim.cloud("agent");
    let hang = cloud.resize(&name(), Resize::default()).await.unwrap_err();
    assert_eq!((hang.kind, hang.outcome_unknown()), (Kind::TimedOut, true));
    assert!(sim.with(|r| r.now()) >= CALL_LIMIT);
    let own = sim.metadata(&ids[0]).identity().await.unwrap().own;
    assert_eq!(cloud.terminate_own(&own, true).await.unwrap_err().kind, Kind::Refused);
    assert_eq!(cloud.groups(&[name(), "nobody".into()]).await.unwrap().len(), 1);
    assert_eq!(cloud.instance(own.id()).await.unwrap().unwrap().state, LifecycleState::InService);
    assert_eq!(cloud.activities(&"nobody".into(), 1).await.unwrap_err().kind, Kind::Gone);
}

#[tokio::test(start_paused = true)]
async fn the_orchestrators_two_sources_disagreeing_means_busy_and_silence_means_unknown() {
    let (r, ids) = with_group(0, 5, 1);
    let sim = Sim::new(r, Arc::new(VirtualClock::start(Timestamp(1_790_000_000_000))));
    let orchestrator = sim.orchestrator(&ids[0]);
    assert_eq!(orchestrator.activity().await.activity, Busy::Idle);
    sim.with(|r| {
        r.submit_work(&WorkSpec { queue: "orca-main".into(), application: "a".into(), count: 1, length: Span::secs(900), over: secs(0) });
    });
    tokio::time::sleep(secs(3)).await;
    sim.with(|r| r.lie(&ids[0], Lie::Zero, Some(Endpoint::ActiveByInstance), secs(60)));
    assert!(matches!(orchestrator.activity().await.activity, Busy::Busy { count: 1, .. }));
    sim.with(|r| r.lie(&ids[0], Lie::MissingKey, None, secs(60)));
    assert!(matches!(orchestrator.activity().await.activity, Busy::Unknown { .. }));
    orchestrator.set_intake(false).await.unwrap();
    assert_eq!(orchestrator.intake().await, crate::model::Intake::Closed);
    orchestrator.stop(secs(5)).await.unwrap();
    assert_eq!(sim.with(|r| r.truth().lost().count()), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Desired(u32),
    Bounds(u32, u32),
    Terminate(usize, bool),
    Suspend(usize),
    Resume(usize),
    Health(usize),
    Standby(usize, bool),
    Back(usize),
    Detach(usize, bool),
    Attach(usize),
    Kill(usize),
    Crash(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let nth = 0..6usize;
    prop_oneof![
        4 => (1..200u64).prop_map(Step::Pass),
        1 => (0..7u32).prop_map(Step::Desired),
        1 => (0..5u32, 0..7u32).prop_map(|(a, b)| Step::Bounds(a, b)),
        2 => (nth.clone(), any::<bool>()).prop_map(|(n, d)| Step::Terminate(n, d)),
        1 => (0..9usize).prop_map(Step::Suspend),
        1 => (0..9usize).prop_map(Step::Resume),
        1 => nth.clone().prop_map(Step::Health),
        1 => (nth.clone(), any::<bool>()).prop_map(|(n, d)| Step::Standby(n, d)),
        1 => nth.clone().prop_map(Step::Back),
        1 => (nth.clone(), any::<bool>()).prop_map(|(n, d)| Step::Detach(n, d)),
        1 => nth.clone().prop_map(Step::Attach),
        1 => nth.clone().prop_map(Step::Kill),
        1 => nth.prop_map(Step::Crash),
    ]
}

fn play(seed: u64, steps: &[Step]) -> Region {
    let mut r = Region::new(seed, Timestamp(1_790_000_000_000));
    r.set_stale_bound(secs(5));
    r.add_template(TemplateSpec { name: "orca".into(), versions: vec![VersionSpec::default()], default_version: 1 });
    r.add_target_group(TargetGroupSpec { name: "api".into(), ..TargetGroupSpec::default() });
    r.add_load_balancer(&LoadBalancerSpec { name: "lb".into(), internal: false, listeners: vec![(80, "api".into())] }).unwrap();
    r.add_group(&GroupSpec { target_groups: vec!["api".into()], ..spec(1, 5, 3) }).unwrap();
    let work = WorkSpec { queue: "orca-main".into(), application: "a".into(), count: 20, length: Span::between(10, 900), over: secs(600) };
    r.submit_work(&work);
    for step in steps {
        let all: Vec<_> = r.instances().map(|i| i.id.clone()).collect();
        let at = |n: &usize| all[n % all.len().max(1)].clone();
        match step {
            Step::Pass(s) => pass(&mut r, *s),
            _ if all.is_empty() => pass(&mut r, 1),
            Step::Desired(n) => drop(r.set_desired_capacity(&name(), *n, false)),
            Step::Bounds(min, max) => {
                drop(r.update_auto_scaling_group(&name(), Resize { min: Some(*min), max: Some(*max), desired: None }))
            }
            Step::Terminate(n, d) => drop(r.terminate_instance_in_auto_scaling_group(&at(n), *d)),
            Step::Suspend(n) => drop(r.suspend_processes(&name(), &PROCESSES[*n..=*n])),
            Step::Resume(n) => drop(r.resume_processes(&name(), &PROCESSES[*n..=*n])),
            Step::Health(n) => drop(r.set_instance_health(&at(n), InstanceHealth::Unhealthy, false)),
            Step::Standby(n, d) => drop(r.enter_standby(&name(), &[at(n)], *d)),
            Step::Back(n) => drop(r.exit_standby(&name(), &[at(n)])),
            Step::Detach(n, d) => drop(r.detach_instances(&name(), &[at(n)], *d)),
            Step::Attach(n) => drop(r.attach_instances(&name(), &[at(n)])),
            Step::Kill(n) => drop(r.terminate_instances(&[at(n)])),
            Step::Crash(n) => r.crash_orchestrator(&at(n)),
        }
        let c = sizes(&r);
        assert!(c.min <= c.desired && c.desired <= c.max, "{c} after {step:?}");
        let members = r.describe_auto_scaling_instances(&[]).unwrap();
        let mut ids: Vec<_> = members.iter().map(|i| &i.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), members.len(), "a member twice after {step:?}");
    }
    r
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Sizes stay ordered and members unique whatever is asked; once nothing is suspended and time passes, the group is as desired; every
    /// execution that was claimed has an end that fits; and the same seed with the same calls gives the same truth.
    #[test]
    fn random_calls_keep_the_regions_promises(seed in any::<u64>(), steps in proptest::collection::vec(step(), 1..40)) {
        let mut r = play(seed, &steps);
        let again = play(seed, &steps);
        prop_assert_eq!(r.truth(), again.truth());
        r.resume_processes(&name(), &[]).unwrap();
        pass(&mut r, 3 * 3600);
        r.set_stale_bound(secs(0));
        let group = r.group_now(&name()).unwrap().group;
        let standby = group.instances.iter().filter(|i| i.state == LifecycleState::Standby).count();
        prop_assert_eq!(group.instances.len() - standby, usize::try_from(group.capacity.desired).unwrap());
        prop_assert_eq!(group.healthy_in_service(), usize::try_from(group.capacity.desired).unwrap());
        for e in &r.truth().executions {
            prop_assert!(e.runs.iter().rev().skip(1).all(|run| run.end == Some(RunEnd::Interrupted)));
        }
        for t in &r.truth().terminations {
            let stopped = t.stopped.is_some();
            prop_assert!(stopped, "{} never stopped", t.instance);
        }
        let below = r.truth().capacity.iter().any(|c| c.capacity.desired < c.capacity.min);
        prop_assert!(!below);
    }
}
