use super::*;
use crate::cloud::Resize;
use crate::model::HealthCheckType;
use crate::model::InstanceHealth;
use crate::model::Process;

#[test]
fn an_instance_is_pending_until_it_booted_and_in_service_then() {
    let (mut r, _) = with_group(0, 5, 0);
    r.set_desired_capacity(&name(), 2, false).unwrap();
    pass(&mut r, 1);
    let ids = r.members(&name());
    assert_eq!(ids.len(), 2);
    assert_eq!(state(&r, &ids[0]), LifecycleState::Pending);
    assert_eq!(r.instance(&ids[0]).unwrap().notices.target_state, None);
    pass(&mut r, 20);
    assert_eq!(in_service(&r), 2);
    assert_ne!(r.instance(&ids[0]).unwrap().zone, r.instance(&ids[1]).unwrap().zone);
    let activities = r.describe_scaling_activities(Some(&name()), &[]).unwrap();
    assert!(activities[0].cause.contains("a user request explicitly set group desired capacity changing the desired capacity from 0 to 2"));
    assert!(activities[0].cause.contains("difference between desired and actual capacity") && activities[0].status == "Successful");
}

#[test]
fn sizes_are_checked_in_the_merged_result_and_refused_in_awss_words() {
    let (mut r, _) = with_group(1, 3, 2);
    let over = r.set_desired_capacity(&name(), 4, false).unwrap_err();
    assert_eq!((over.code, over.status), ("ValidationError", 400));
    assert_eq!(over.message, "New SetDesiredCapacity value 4 is above max value 3 for the AutoScalingGroup.");
    assert!(r.set_desired_capacity(&name(), 0, false).unwrap_err().message.contains("below min value 1"));
    for bad in [Resize { min: Some(4), ..Resize::default() }, Resize { desired: Some(9), ..Resize::default() }] {
        assert_eq!(r.update_auto_scaling_group(&name(), bad).unwrap_err().code, "ValidationError");
    }
    assert_eq!(sizes(&r), Capacity { min: 1, max: 3, desired: 2 });
    r.update_auto_scaling_group(&name(), Resize { min: Some(3), ..Resize::default() }).unwrap();
    assert_eq!(sizes(&r).desired, 3);
    r.update_auto_scaling_group(&name(), Resize { min: Some(0), max: Some(1), ..Resize::default() }).unwrap();
    assert_eq!(sizes(&r).desired, 1);
    assert!(r.set_desired_capacity(&"nobody".into(), 1, false).unwrap_err().message.contains("name not found"));
}

#[test]
fn a_suspended_launch_launches_nothing_and_makes_up_for_it_on_resume() {
    let (mut r, _) = with_group(0, 5, 1);
    r.suspend_processes(&name(), &[Process::Launch]).unwrap();
    r.set_desired_capacity(&name(), 3, false).unwrap();
    pass(&mut r, 300);
    assert_eq!(r.members(&name()).len(), 1);
    r.resume_processes(&name(), &[Process::Launch]).unwrap();
    pass(&mut r, 30);
    assert_eq!(in_service(&r), 3);
}

#[test]
fn a_suspended_terminate_holds_the_scale_in_back_until_resume() {
    let (mut r, _) = with_group(0, 5, 3);
    r.suspend_processes(&name(), &[Process::Terminate]).unwrap();
    r.set_desired_capacity(&name(), 1, false).unwrap();
    pass(&mut r, 300);
    assert_eq!(in_service(&r), 3);
    r.resume_processes(&name(), &[Process::Terminate]).unwrap();
    pass(&mut r, 60);
    assert_eq!(in_service(&r), 1);
}

#[test]
fn suspended_names_are_checked_and_none_means_all_nine() {
    let (mut r, _) = with_group(0, 5, 1);
    assert!(r.suspend_processes(&name(), &["Sleep".into()]).is_err());
    r.suspend_processes(&name(), &[]).unwrap();
    assert_eq!(r.group_now(&name()).unwrap().group.suspended.len(), 9);
}

#[test]
fn scale_in_picks_by_zone_and_age_and_takes_busy_ones_but_no_protected_ones() {
    let (mut r, ids) = with_group(0, 5, 3);
    r.submit_work(&WorkSpec { queue: "orca-main".into(), application: "a".into(), count: 30, length: Span::secs(900), over: secs(0) });
    assert!(ids.iter().all(|id| !r.executing(id).is_empty()));
    r.set_instance_protection(&name(), &ids[..1], true).unwrap();
    r.set_desired_capacity(&name(), 1, false).unwrap();
    pass(&mut r, 60);
    assert_eq!(r.members(&name()), vec![ids[0].clone()]);
    assert!(r.truth().lost().count() > 0);
    r.set_desired_capacity(&name(), 0, false).unwrap();
    pass(&mut r, 60);
    assert_eq!(r.members(&name()).len(), 1, "a protected member stays above desired");
    r.set_instance_protection(&name(), &ids[..1], false).unwrap();
    pass(&mut r, 60);
    assert_eq!(r.members(&name()).len(), 0);
}

#[test]
fn an_unhealthy_instance_is_replaced_unless_that_is_suspended_and_at_once_on_resume() {
    let (mut r, ids) = with_spec(GroupSpec { health_check_grace_s: 0, ..spec(0, 5, 2) });
    r.suspend_processes(&name(), &[Process::ReplaceUnhealthy]).unwrap();
    r.set_instance_health(&ids[0], InstanceHealth::Unhealthy, true).unwrap();
    pass(&mut r, 120);
    assert_eq!(state(&r, &ids[0]), LifecycleState::InService);
    r.resume_processes(&name(), &[Process::ReplaceUnhealthy]).unwrap();
    pass(&mut r, 60);
    assert_eq!((state(&r, &ids[0]), in_service(&r), sizes(&r).desired), (LifecycleState::Terminated, 2, 2));
}

#[test]
fn a_machine_that_dies_is_noticed_by_the_health_check_and_not_while_that_is_suspended() {
    let (mut r, ids) = with_group(0, 5, 2);
    r.suspend_processes(&name(), &[Process::HealthCheck]).unwrap();
    r.terminate_instances(&ids[..1]).unwrap();
    pass(&mut r, 300);
    assert_eq!(
        r.group_now(&name()).unwrap().group.instances.iter().map(|i| i.id.clone()).collect::<Vec<_>>(),
        ids,
        "the book still counts the dead one (F56)"
    );
    r.resume_processes(&name(), &[Process::HealthCheck]).unwrap();
    pass(&mut r, 60);
    assert!(!r.members(&name()).contains(&ids[0]));
    assert_eq!(in_service(&r), 2);
}

#[test]
fn elb_checks_mark_a_failing_instance_unhealthy_only_where_the_group_says_so() {
    for (kind, stays) in [(HealthCheckType::Ec2, true), (HealthCheckType::Elb, false)] {
        let group = GroupSpec { health_check_type: kind, health_check_grace_s: 60, target_groups: vec!["api".into()], ..spec(0, 5, 1) };
        let (mut r, ids) = with_spec(group);
        pass(&mut r, 120);
        r.stop_orchestrator(&ids[0], secs(0));
        pass(&mut r, 30);
        assert_eq!(state(&r, &ids[0]) == LifecycleState::InService, stays);
    }
}

#[test]
fn standby_is_uncounted_and_comes_back_and_needs_room_below() {
    let (mut r, ids) = with_group(1, 5, 2);
    assert!(r.enter_standby(&name(), &ids, true).is_err());
    r.enter_standby(&name(), &ids[..1], true).unwrap();
    assert_eq!((state(&r, &ids[0]), sizes(&r).desired), (LifecycleState::Standby, 1));
    r.suspend_processes(&name(), &[Process::Launch]).unwrap();
    assert!(r.exit_standby(&name(), &ids[..1]).is_err());
    r.resume_processes(&name(), &[Process::Launch]).unwrap();
    r.exit_standby(&name(), &ids[..1]).unwrap();
    assert_eq!((state(&r, &ids[0]), sizes(&r).desired), (LifecycleState::InService, 2));
}

#[test]
fn a_detached_instance_lives_on_and_attach_raises_desired_up_to_max() {
    let (mut r, ids) = with_group(0, 2, 2);
    r.detach_instances(&name(), &ids[..1], true).unwrap();
    pass(&mut r, 60);
    assert_eq!((r.members(&name()).len(), sizes(&r).desired), (1, 1));
    assert_eq!(r.instance(&ids[0]).unwrap().ec2, Ec2State::Running);
    r.attach_instances(&name(), &ids[..1]).unwrap();
    assert_eq!(sizes(&r).desired, 2);
    assert!(r.attach_instances(&name(), &ids[..1]).is_err());
}

#[test]
fn scheduled_actions_fire_and_are_skipped_for_good_while_suspended() {
    let (mut r, _) = with_group(0, 9, 1);
    let at = |s, desired| ScheduledSpec { name: format!("at-{s}"), at: secs(s), every: None, min: None, max: None, desired: Some(desired) };
    r.put_scheduled_update_group_action(&name(), &at(10, 2)).unwrap();
    r.put_scheduled_update_group_action(&name(), &at(20, 5)).unwrap();
    pass(&mut r, 11);
    assert_eq!(sizes(&r).desired, 2);
    r.suspend_processes(&name(), &[Process::ScheduledActions]).unwrap();
    pass(&mut r, 60);
    r.resume_processes(&name(), &[Process::ScheduledActions]).unwrap();
    pass(&mut r, 60);
    assert_eq!(sizes(&r).desired, 2);
    assert!(r.describe_scheduled_actions(Some(&name())).unwrap().is_empty());
}

#[test]
fn an_alarm_fights_back_unless_notifications_are_suspended_and_again_on_resume() {
    let (mut r, _) = with_group(0, 9, 1);
    r.suspend_processes(&name(), &[Process::AlarmNotification]).unwrap();
    r.strike(&Incident::Alarm { group: NAME.into(), desired: 4 });
    assert_eq!(sizes(&r).desired, 1);
    r.resume_processes(&name(), &[Process::AlarmNotification]).unwrap();
    assert_eq!(sizes(&r).desired, 4);
}

#[test]
fn zones_are_evened_out_by_a_launch_before_the_ending_unless_suspended() {
    for suspended in [true, false] {
        let (mut r, ids) = with_group(0, 9, 4);
        let zone = r.instance(&ids[0]).unwrap().zone.clone();
        if suspended {
            r.suspend_processes(&name(), &[Process::AZRebalance]).unwrap();
        }
        for id in ids.iter().filter(|id| r.instance(id).unwrap().zone == zone).cloned().collect::<Vec<_>>() {
            r.terminate_instance_in_auto_scaling_group(&id, true).unwrap();
        }
        pass(&mut r, 600);
        let moved = r.truth().terminations.iter().filter(|t| t.why == Why::Rebalance).count();
        assert_eq!((moved, in_service(&r)), (usize::from(!suspended), 2));
    }
}

#[test]
fn a_launch_from_a_missing_image_fails_with_an_activity_and_is_tried_again() {
    let (mut r, _) = with_group(0, 5, 0);
    let image = VersionSpec::default().image;
    r.remove_image(&image);
    r.set_desired_capacity(&name(), 1, false).unwrap();
    pass(&mut r, 5);
    let activities = r.describe_scaling_activities(Some(&name()), &[]).unwrap();
    assert_eq!((activities[0].status, r.members(&name()).len()), ("Failed", 0));
    assert!(activities[0].message.as_ref().unwrap().contains("does not exist"));
    r.add_image(&image);
    pass(&mut r, 120);
    assert_eq!(in_service(&r), 1);
}

#[test]
fn what_a_describe_shows_as_lacking_is_what_the_next_launch_fails_for() {
    let spec = || VersionSpec { key_pair: Some("ops".into()), security_groups: vec!["sg-1".into()], ..VersionSpec::default() };
    type Take = fn(&mut Region);
    let lost: [(Take, &str); 6] = [
        (|r| r.remove_key_pair("ops"), "key pair 'ops'"),
        (|r| r.remove_security_group("sg-1"), "security group 'sg-1'"),
        (|r| ["us-east-1a", "us-east-1b"].into_iter().for_each(|zone| r.remove_subnet(zone)), "subnet ID"),
        (|r| ["us-east-1a", "us-east-1b"].into_iter().for_each(|zone| r.fill_subnet(zone, 0)), "free addresses"),
        (|r| ["us-east-1a", "us-east-1b"].into_iter().for_each(|zone| r.withdraw_type("m5.large", zone)), "not supported"),
        (|r| r.set_vcpu_quota(Some(1)), "vCPU limit of 1"),
    ];
    for (take, words) in lost {
        let (mut r, _) = with_group(0, 5, 0);
        let version = r.add_template_version("orca", spec()).unwrap();
        r.update_launch_template(&name(), "orca", &version.to_string()).unwrap();
        let subnets = r.group_now(&name()).unwrap().group.subnets;
        let zones = ["us-east-1a", "us-east-1b"].map(str::to_owned);
        let all_there = |r: &mut Region| {
            r.describe_key_pairs(&["ops".into()]).is_ok()
                && r.describe_security_groups(&["sg-1".into()]).is_ok()
                && r.describe_subnets(&subnets).is_ok_and(|found| found.iter().all(|subnet| subnet.free_addresses > 0))
                && r.describe_instance_type_offerings(&["m5.large".into()], &zones).unwrap().len() == 2
                && r.get_vcpu_quota().unwrap() > 1
        };
        assert!(all_there(&mut r));
        take(&mut r);
        assert!(!all_there(&mut r), "{words}");
        r.set_desired_capacity(&name(), 1, false).unwrap();
        pass(&mut r, 5);
        let message = r.describe_scaling_activities(Some(&name()), &[]).unwrap()[0].message.clone().unwrap_or_default();
        assert!(message.contains(words) && r.members(&name()).is_empty(), "{words}: {message}");
    }
}

#[test]
fn a_subnet_with_one_address_left_takes_one_instance_and_no_more() {
    let (mut r, _) = with_group(0, 5, 0);
    r.fill_subnet("us-east-1a", 1);
    r.fill_subnet("us-east-1b", 0);
    r.set_desired_capacity(&name(), 3, false).unwrap();
    pass(&mut r, 600);
    assert_eq!(in_service(&r), 1);
}

#[test]
fn a_boot_that_fails_leaves_the_group_and_is_replaced() {
    let (mut r, _) = with_group(0, 5, 0);
    let bad = VersionSpec { boot: Boot { failure: 1.0, ..Boot::default() }, ..VersionSpec::default() };
    let version = r.add_template_version("orca", bad).unwrap();
    r.update_launch_template(&name(), "orca", &version.to_string()).unwrap();
    r.set_desired_capacity(&name(), 1, false).unwrap();
    pass(&mut r, 600);
    let failed = r.describe_scaling_activities(Some(&name()), &[]).unwrap().iter().filter(|a| a.status == "Failed").count();
    assert!(failed > 1 && in_service(&r) == 0);
}

#[test]
fn an_instance_remembers_the_template_version_it_was_launched_from() {
    let (mut r, ids) = with_group(0, 5, 1);
    r.update_launch_template(&name(), "orca", "$Latest").unwrap();
    r.set_desired_capacity(&name(), 2, false).unwrap();
    pass(&mut r, 30);
    let versions: Vec<_> = r.group_now(&name()).unwrap().group.instances.into_iter().map(|i| i.launch.unwrap().version.unwrap()).collect();
    assert_eq!(versions, ["1", "2"]);
    r.set_desired_capacity(&name(), 1, false).unwrap();
    pass(&mut r, 60);
    assert!(!r.members(&name()).contains(&ids[0]), "the older version goes first");
}

#[test]
fn a_group_is_deleted_when_empty_or_by_force_and_says_so_meanwhile() {
    let (mut r, _) = with_group(0, 5, 2);
    assert_eq!(r.create_auto_scaling_group(&spec(0, 1, 0)).unwrap_err().code, "AlreadyExists");
    assert_eq!(r.delete_auto_scaling_group(&name(), false).unwrap_err().code, "ResourceInUse");
    r.delete_auto_scaling_group(&name(), true).unwrap();
    assert!(r.group_now(&name()).unwrap().group.status.is_some());
    assert!(r.set_desired_capacity(&name(), 1, false).is_err());
    assert!(r.create_auto_scaling_group(&spec(0, 1, 0)).unwrap_err().message.contains("pending delete"));
    pass(&mut r, 120);
    assert!(r.group_now(&name()).is_none());
}

#[test]
fn a_refresh_replaces_all_pauses_while_suspended_and_is_the_only_one() {
    let (mut r, ids) = with_group(0, 5, 2);
    r.suspend_processes(&name(), &[Process::InstanceRefresh]).unwrap();
    r.start_instance_refresh(&name()).unwrap();
    assert_eq!(r.start_instance_refresh(&name()).unwrap_err().code, "InstanceRefreshInProgress");
    pass(&mut r, 120);
    assert_eq!(r.members(&name()), ids);
    r.resume_processes(&name(), &[Process::InstanceRefresh]).unwrap();
    pass(&mut r, 600);
    assert_eq!(r.describe_instance_refreshes(&name()).unwrap()[0].status, "Successful");
    assert!(r.members(&name()).iter().all(|id| !ids.contains(id)) && in_service(&r) == 2);
    assert_eq!(r.cancel_instance_refresh(&name()).unwrap_err().code, "ActiveInstanceRefreshNotFound");
}

#[test]
fn tags_are_written_filtered_by_and_deleted() {
    let (mut r, _) = with_group(0, 5, 0);
    r.create_or_update_tags(&name(), &[("team".into(), "a".into())]).unwrap();
    let find =
        |r: &mut Region, v: &str| r.describe_auto_scaling_groups(&[], &[TagFilter::Tag("team".into(), vec![v.into()])]).unwrap().len();
    assert_eq!((find(&mut r, "a"), find(&mut r, "b")), (1, 0));
    r.delete_tags(&name(), &["team".into(), "absent".into()]).unwrap();
    assert_eq!(find(&mut r, "a"), 0);
}
