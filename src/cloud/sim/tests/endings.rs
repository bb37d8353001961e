use super::*;
use crate::model::HookResult;

fn hook(transition: Transition, name: &str, default_result: HookResult) -> HookSpec {
    HookSpec { name: name.into(), transition, heartbeat_s: 60, default_result }
}

fn with_hooks(hooks: Vec<HookSpec>) -> (Region, Vec<InstanceId>) {
    with_spec(GroupSpec { hooks, ..spec(0, 5, 2) })
}

fn end(r: &mut Region, id: &InstanceId) {
    r.terminate_instance_in_auto_scaling_group(id, true).unwrap();
}

#[test]
fn terminate_with_decrement_ends_it_once_and_shrinks_the_group_by_one() {
    let (mut r, ids) = with_group(0, 5, 2);
    let activity = r.terminate_instance_in_auto_scaling_group(&ids[0], true).unwrap();
    assert!(activity.description.contains(ids[0].as_str()) && activity.cause.contains("in response to a user request"));
    assert_eq!((state(&r, &ids[0]), sizes(&r).desired), (LifecycleState::Terminating, 1));
    assert_eq!(r.instance(&ids[0]).unwrap().notices.target_state, Some(LifecycleState::Terminated));
    pass(&mut r, 300);
    assert_eq!(r.members(&name()), ids[1..]);
    assert_eq!((r.truth().decrements_of(&ids[0]), r.truth().terminations.len()), (1, 1));
    let followed = r.describe_scaling_activities(Some(&name()), &[activity.id]).unwrap();
    assert_eq!((followed[0].status, followed[0].progress), ("Successful", 100));
    assert_eq!(r.instance(&ids[0]).unwrap().ec2, Ec2State::Terminated);
    pass(&mut r, 3700);
    assert!(r.instance(&ids[0]).is_none());
}

#[test]
fn terminate_without_decrement_is_replaced() {
    let (mut r, ids) = with_group(2, 5, 2);
    r.terminate_instance_in_auto_scaling_group(&ids[0], false).unwrap();
    pass(&mut r, 60);
    assert_eq!((in_service(&r), sizes(&r).desired), (2, 2));
}

#[test]
fn a_decrement_below_min_is_refused_in_awss_words() {
    let (mut r, ids) = with_group(1, 5, 1);
    let refused = r.terminate_instance_in_auto_scaling_group(&ids[0], true).unwrap_err();
    assert!(refused.message.starts_with("Currently, desiredSize equals minSize (1)."));
    assert_eq!((state(&r, &ids[0]), sizes(&r).desired), (LifecycleState::InService, 1));
}

#[test]
fn protection_does_not_stop_a_terminate_call() {
    let (mut r, ids) = with_group(0, 5, 1);
    r.set_instance_protection(&name(), &ids, true).unwrap();
    end(&mut r, &ids[0]);
    let refused = r.set_instance_protection(&name(), &ids, true).unwrap_err();
    assert!(refused.message.contains("is not in InService or EnteringStandby or Standby"));
}

#[test]
fn a_second_terminate_is_what_the_undocumented_part_says() {
    for (second, ok, desired) in
        [(SecondTerminate::Refused, false, 2), (SecondTerminate::Accepted, true, 2), (SecondTerminate::DecrementsAgain, true, 1)]
    {
        let (mut r, ids) = with_group(0, 5, 3);
        r.set_undocumented(Undocumented { second_terminate: second, ..Undocumented::default() });
        end(&mut r, &ids[0]);
        assert_eq!(r.terminate_instance_in_auto_scaling_group(&ids[0], true).is_ok(), ok);
        assert_eq!(sizes(&r).desired, desired);
    }
}

#[test]
fn terminate_while_suspended_works_or_is_refused_as_the_undocumented_part_says() {
    for works in [true, false] {
        let (mut r, ids) = with_group(0, 5, 3);
        r.set_undocumented(Undocumented { terminate_while_suspended: works, ..Undocumented::default() });
        r.suspend_processes(&name(), &[crate::model::Process::Terminate]).unwrap();
        assert_eq!(r.terminate_instance_in_auto_scaling_group(&ids[0], true).is_ok(), works);
    }
}

#[test]
fn a_terminated_member_lingers_where_the_undocumented_part_says_so() {
    for lingers in [true, false] {
        let (mut r, ids) = with_group(0, 5, 1);
        r.set_undocumented(Undocumented { terminated_lingers: lingers, ..Undocumented::default() });
        end(&mut r, &ids[0]);
        pass(&mut r, 25);
        let shown = r.describe_auto_scaling_instances(&ids).unwrap();
        assert_eq!(shown.iter().any(|i| i.state == LifecycleState::Terminated), lingers);
        pass(&mut r, 30);
        assert!(r.describe_auto_scaling_instances(&ids).unwrap().is_empty());
    }
}

#[test]
fn every_termination_hook_has_to_be_completed_before_the_end() {
    let hooks = ["a", "b"].map(|n| hook(Transition::Terminating, n, HookResult::Abandon)).to_vec();
    let (mut r, ids) = with_hooks(hooks);
    let by_id = ActionRef::Instance(&ids[0]);
    let early = r.complete_lifecycle_action(&name(), "a", by_id, HookResult::Continue).unwrap_err();
    assert_eq!(early.message, format!("No active Lifecycle Action found with instance ID {}", ids[0]));
    end(&mut r, &ids[0]);
    assert_eq!(state(&r, &ids[0]), LifecycleState::TerminatingWait);
    r.complete_lifecycle_action(&name(), "a", by_id, HookResult::Continue).unwrap();
    assert_eq!(state(&r, &ids[0]), LifecycleState::TerminatingWait);
    let token = r.lifecycle_action_token(&ids[0], "b").unwrap();
    r.complete_lifecycle_action(&name(), "b", ActionRef::Token(&token), HookResult::Continue).unwrap();
    assert_eq!(state(&r, &ids[0]), LifecycleState::TerminatingProceed);
    pass(&mut r, 30);
    assert!(!r.members(&name()).contains(&ids[0]));
}

#[test]
fn abandoning_one_termination_hook_cuts_off_the_others() {
    let hooks = ["a", "b"].map(|n| hook(Transition::Terminating, n, HookResult::Continue)).to_vec();
    let (mut r, ids) = with_hooks(hooks);
    end(&mut r, &ids[0]);
    r.complete_lifecycle_action(&name(), "a", ActionRef::Instance(&ids[0]), HookResult::Abandon).unwrap();
    assert_eq!(state(&r, &ids[0]), LifecycleState::TerminatingProceed);
}

#[test]
fn a_heartbeat_restarts_the_timer_but_never_the_global_limit() {
    let (mut r, ids) = with_hooks(vec![hook(Transition::Terminating, "a", HookResult::Continue)]);
    end(&mut r, &ids[0]);
    for _ in 0..119 {
        pass(&mut r, 50);
        r.record_lifecycle_action_heartbeat(&name(), "a", ActionRef::Instance(&ids[0])).unwrap();
    }
    assert_eq!(state(&r, &ids[0]), LifecycleState::TerminatingWait);
    pass(&mut r, 51);
    assert_ne!(state(&r, &ids[0]), LifecycleState::TerminatingWait, "a hundred heartbeats of 60 s are over");
}

#[test]
fn silence_ends_a_wait_with_the_default_result() {
    let (mut r, ids) = with_hooks(vec![hook(Transition::Terminating, "a", HookResult::Continue)]);
    end(&mut r, &ids[0]);
    pass(&mut r, 59);
    assert_eq!(state(&r, &ids[0]), LifecycleState::TerminatingWait);
    pass(&mut r, 2);
    assert_eq!(state(&r, &ids[0]), LifecycleState::TerminatingProceed);
}

#[test]
fn deleting_a_hook_lets_waiting_instances_go() {
    let (mut r, ids) = with_hooks(vec![hook(Transition::Terminating, "a", HookResult::Abandon)]);
    end(&mut r, &ids[0]);
    r.delete_lifecycle_hook(&name(), "a").unwrap();
    assert_eq!(state(&r, &ids[0]), LifecycleState::TerminatingProceed);
}

#[test]
fn a_launch_hook_holds_the_instance_pending_and_abandon_replaces_it() {
    let (mut r, _) = with_hooks(vec![hook(Transition::Launching, "a", HookResult::Abandon)]);
    r.set_desired_capacity(&name(), 3, false).unwrap();
    pass(&mut r, 22);
    let id = r.members(&name())[2].clone();
    assert_eq!(state(&r, &id), LifecycleState::PendingWait);
    pass(&mut r, 60);
    assert!(state(&r, &id).is_ending());
    pass(&mut r, 25);
    let next = r.members(&name()).last().unwrap().clone();
    assert_ne!(next, id);
    r.complete_lifecycle_action(&name(), "a", ActionRef::Instance(&next), HookResult::Continue).unwrap();
    assert_eq!(state(&r, &next), LifecycleState::InService);
}

#[test]
fn an_action_may_be_invisible_just_after_the_wait_shows_up() {
    let (mut r, ids) = with_hooks(vec![hook(Transition::Terminating, "a", HookResult::Abandon)]);
    r.set_undocumented(Undocumented { hook_invisible: secs(5), ..Undocumented::default() });
    end(&mut r, &ids[0]);
    assert!(r.complete_lifecycle_action(&name(), "a", ActionRef::Instance(&ids[0]), HookResult::Continue).is_err());
    pass(&mut r, 5);
    r.complete_lifecycle_action(&name(), "a", ActionRef::Instance(&ids[0]), HookResult::Continue).unwrap();
}

#[test]
fn an_abandoned_instance_is_retained_where_the_groups_policy_says_so_and_only_a_terminate_call_ends_it() {
    let hooks = vec![hook(Transition::Terminating, "a", HookResult::Abandon)];
    let (mut r, ids) = with_spec(GroupSpec { hooks, retains_abandoned: true, ..spec(0, 5, 2) });
    end(&mut r, &ids[0]);
    r.complete_lifecycle_action(&name(), "a", ActionRef::Instance(&ids[0]), HookResult::Abandon).unwrap();
    pass(&mut r, 3600);
    assert_eq!((state(&r, &ids[0]), r.instance(&ids[0]).unwrap().ec2), (LifecycleState::TerminatingRetained, Ec2State::Running));
    let before = sizes(&r).desired;
    end(&mut r, &ids[0]);
    pass(&mut r, 60);
    assert_eq!((r.instance(&ids[0]).unwrap().ec2, sizes(&r).desired), (Ec2State::Terminated, before));
}

#[test]
fn deregistration_and_its_delay_come_before_the_hook() {
    let hooks = vec![hook(Transition::Terminating, "a", HookResult::Abandon)];
    let (mut r, ids) = with_spec(GroupSpec { hooks, target_groups: vec!["api".into()], ..spec(0, 5, 1) });
    end(&mut r, &ids[0]);
    pass(&mut r, 29);
    assert_eq!(state(&r, &ids[0]), LifecycleState::Terminating);
    pass(&mut r, 1);
    assert_eq!(state(&r, &ids[0]), LifecycleState::TerminatingWait);
}

#[test]
fn work_that_runs_when_the_machine_stops_is_lost_and_named_in_the_ledger() {
    let (mut r, ids) = with_group(0, 5, 1);
    r.submit_work(&WorkSpec { queue: "orca-main".into(), application: "a".into(), count: 2, length: Span::secs(600), over: secs(0) });
    end(&mut r, &ids[0]);
    let t = &r.truth().terminations[0];
    assert_eq!((t.executing.len(), t.lost.len(), r.truth().lost().count()), (2, 2, 2));
}

#[test]
fn a_direct_ec2_terminate_passes_hooks_by_and_is_replaced_when_noticed() {
    let (mut r, ids) = with_hooks(vec![hook(Transition::Terminating, "a", HookResult::Abandon)]);
    r.terminate_instances(&ids[..1]).unwrap();
    assert_eq!(r.instance(&ids[0]).unwrap().ec2, Ec2State::ShuttingDown);
    pass(&mut r, 120);
    assert!(!r.members(&name()).contains(&ids[0]));
    assert_eq!((in_service(&r), r.truth().terminations.len()), (2, 1));
}

#[test]
fn a_spot_interruption_gives_two_minutes_notice_in_the_metadata() {
    let (mut r, ids) = with_group(0, 5, 1);
    r.strike(&Incident::Spot(Pick::from(&ids[0])));
    let (action, at) = r.metadata(&ids[0]).unwrap().notices.spot.unwrap();
    assert_eq!((action.as_str(), at), ("terminate", r.wall_at(secs(120))));
    pass(&mut r, 121);
    assert!(r.metadata(&ids[0]).is_none());
}

#[test]
fn a_machine_that_dies_while_it_boots_is_replaced() {
    let (mut r, _) = with_group(0, 5, 0);
    r.set_desired_capacity(&name(), 1, false).unwrap();
    pass(&mut r, 5);
    let id = r.members(&name())[0].clone();
    r.terminate_instances(std::slice::from_ref(&id)).unwrap();
    pass(&mut r, 60);
    assert_eq!((r.members(&name()).contains(&id), in_service(&r)), (false, 1));
}
