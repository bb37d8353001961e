//! What AWS says of an instance's future, and what the agent makes of it.

use super::*;
use crate::model::HookResult;
use crate::model::Interruption;

const HOOK: &str = "bellrock-drain";

fn ending() -> Rig {
    let mut rig = Rig::new();
    rig.policy.hooks.terminating = Some(HOOK.to_owned());
    rig.hook = Some(Hook { name: HOOK.to_owned(), heartbeat: Duration::from_secs(300), limit: Duration::from_secs(30_000) });
    rig.busy = busy();
    rig.run_s(120);
    rig.target = Some(LifecycleState::Terminated);
    rig.old.instances[0].state = LifecycleState::TerminatingWait;
    rig
}

fn interrupted(seconds: u64) -> Rig {
    let mut rig = Rig::new();
    rig.policy.stop_grace = Some(Duration::from_secs(30));
    rig.run_s(120);
    let at = rig.now.wall.plus(Duration::from_secs(seconds));
    rig.notices.interruption = Some(Interruption { action: "terminate".to_owned(), at });
    rig
}

impl Rig {
    fn heartbeats(&self) -> Vec<Duration> {
        self.deeds.iter().filter(|(_, deed)| matches!(deed, Deed::Heartbeat { .. })).map(|(at, _)| *at).collect()
    }

    fn answers(&self) -> Vec<HookResult> {
        let answer = |(_, deed): &(Duration, Deed)| if let Deed::CompleteHook { result, .. } = deed { Some(*result) } else { None };
        self.deeds.iter().filter_map(answer).collect()
    }

    fn stops(&self) -> Vec<(Duration, Duration)> {
        let stop = |(at, deed): &(Duration, Deed)| if let Deed::StopOrchestrator { grace, .. } = deed { Some((*at, *grace)) } else { None };
        self.deeds.iter().filter_map(stop).collect()
    }

    fn protections(&self) -> Vec<bool> {
        let change = |(_, deed): &(Duration, Deed)| if let Deed::Protect { on } = deed { Some(*on) } else { None };
        self.deeds.iter().filter_map(change).collect()
    }

    fn says(&self, text: &str) -> bool {
        self.state.status(&self.policy, self.now).evidence.iter().any(|line| line.contains(text))
    }
}

#[test]
fn a_busy_instance_keeps_its_hook_waiting_and_answers_it_when_idle_l5_s10() {
    let mut rig = ending();
    let from = rig.now.mono;
    rig.run_s(7200);
    let beats = rig.heartbeats();
    assert!(beats[0] - from <= Duration::from_secs(10), "the first at once: {:?}", beats[0] - from);
    assert!(beats.windows(2).all(|two| two[1] - two[0] <= Duration::from_secs(105)), "a third of the timeout: {beats:?}");
    assert!(beats.len() <= 80 && rig.answers().is_empty(), "{}", beats.len());
    assert_eq!(rig.intake, Intake::Closed);
    rig.busy = Activity::Idle;
    rig.run_s(120);
    assert_eq!(rig.answers(), [HookResult::Continue]);
    assert_eq!((rig.word(), rig.terminations()), ("ending", 0));
    let after = rig.heartbeats().len();
    rig.run_s(600);
    assert_eq!(rig.heartbeats().len(), after, "none once it was answered (F37)");
}

#[test]
fn a_hook_that_is_not_named_is_never_answered_f40() {
    let mut rig = ending();
    rig.policy.hooks.terminating = None;
    rig.busy = Activity::Idle;
    rig.run_s(600);
    assert!(rig.heartbeats().is_empty() && rig.answers().is_empty());
    assert_eq!(rig.word(), "ending");
}

#[test]
fn a_restart_answers_no_hook_before_the_instance_was_confirmed_idle_s10_f39() {
    let mut rig = ending();
    rig.run_s(300);
    for _ in 0..5 {
        rig.see(Seen::Stopping);
        rig.restart(true);
        rig.run_s(60);
    }
    assert!(rig.answers().is_empty());
    rig.busy = Activity::Idle;
    let idle = rig.now.mono;
    rig.run_s(200);
    let (at, _) = rig.deeds.iter().find(|(_, deed)| matches!(deed, Deed::CompleteHook { .. })).unwrap();
    assert!(*at - idle >= rig.policy.quiet);
}

#[test]
fn a_refusal_while_aws_still_waits_is_tried_again_f67() {
    let mut rig = ending();
    rig.busy = Activity::Idle;
    rig.to_hooks = Err(FaultKind::Refused);
    rig.run_s(300);
    assert!(rig.answers().len() > 5, "{:?}", rig.answers());
    assert_ne!(rig.word(), "ending");
    rig.to_hooks = Ok(());
    rig.run_s(30);
    assert_eq!(rig.word(), "ending");
}

#[test]
fn a_refusal_once_aws_waits_no_more_ends_the_asking_f66() {
    let mut rig = ending();
    rig.run_s(60);
    rig.to_hooks = Err(FaultKind::Refused);
    rig.old.instances[0].state = LifecycleState::TerminatingProceed;
    rig.run_s(200);
    assert_eq!(rig.word(), "ending");
    let (beats, deeds) = (rig.heartbeats().len(), rig.deeds.len());
    rig.run_s(3600);
    assert_eq!((rig.heartbeats().len(), rig.deeds.len()), (beats, deeds));
}

#[test]
fn one_read_without_us_does_not_end_the_waiting_f15() {
    let mut rig = ending();
    rig.run_s(60);
    rig.to_hooks = Err(FaultKind::Refused);
    let entry = rig.old.instances.pop();
    let beats = rig.heartbeats().len();
    while rig.heartbeats().len() == beats {
        rig.run_s(1);
    }
    rig.old.instances.extend(entry);
    rig.run_s(120);
    assert_eq!(rig.word(), "confirming_idle");
    assert!(rig.heartbeats().len() > beats + 10, "tried every few seconds");
}

#[test]
fn aws_own_limit_is_announced_and_met_with_the_work_cut_short_f38() {
    let mut rig = ending();
    rig.policy.stop_grace = Some(Duration::from_secs(60));
    rig.run_s(23_000);
    assert!(!rig.says("four fifths"));
    rig.run_s(2_000);
    assert!(rig.says("four fifths") && rig.answers().is_empty());
    rig.run_s(5_000);
    let begun = rig.deeds.iter().find(|(_, deed)| matches!(deed, Deed::SetIntake { .. })).unwrap().0;
    let (at, grace) = rig.stops()[0];
    let left = Duration::from_secs(30_000) - (at - begun);
    assert!(grace <= left && left <= Duration::from_secs(80), "stopped {left:?} before the limit, within {grace:?}");
    assert_eq!(rig.answers(), [HookResult::Continue]);
}

#[test]
fn aws_own_limit_is_met_also_where_the_orchestrator_does_not_stop_f38() {
    for idle in [true, false] {
        let mut rig = ending();
        rig.policy.stop_grace = Some(Duration::from_secs(60));
        rig.stop_refused = true;
        rig.busy = if idle { Activity::Idle } else { unknown() };
        rig.run_s(25_000);
        assert!(rig.answers().is_empty(), "idle: {idle}");
        rig.run_s(5_000);
        assert_eq!(rig.answers(), [HookResult::Continue], "idle: {idle}");
    }
}

#[test]
fn where_aws_retains_what_is_abandoned_no_work_is_cut_short_f38() {
    let mut rig = ending();
    rig.policy.stop_grace = Some(Duration::from_secs(60));
    rig.old.retains_abandoned = true;
    rig.policy.deadline = Some(Duration::from_secs(1000));
    rig.policy.at_deadline = AtDeadline::Retain;
    rig.run_s(1200);
    assert_eq!(rig.answers(), [HookResult::Abandon]);
    assert!(rig.stops().is_empty());
    rig.old.instances[0].state = LifecycleState::TerminatingRetained;
    rig.run_s(60);
    assert_eq!(rig.state.phase().held(), Some(HeldWhy::Retained));
}

#[test]
fn without_that_policy_a_deadline_to_retain_holds() {
    let mut rig = ending();
    rig.policy.deadline = Some(Duration::from_secs(1000));
    rig.policy.at_deadline = AtDeadline::Retain;
    rig.run_s(1200);
    assert!(rig.answers().is_empty());
    assert_eq!(rig.state.phase().held(), Some(HeldWhy::Deadline));
    assert!(rig.now.mono - *rig.heartbeats().last().unwrap() <= Duration::from_secs(105), "AWS is kept waiting meanwhile");
}

#[test]
fn no_hook_is_answered_that_the_journal_does_not_know_of_f46() {
    let mut rig = ending();
    rig.run_s(60);
    rig.disk_full = true;
    rig.busy = Activity::Idle;
    rig.run_s(600);
    assert!(rig.answers().is_empty());
    rig.disk_full = false;
    rig.run_s(700);
    assert_eq!(rig.answers(), [HookResult::Continue]);
}

#[test]
fn a_drain_that_held_goes_on_when_aws_ends_the_instance() {
    let mut rig = ending();
    let (target, state) = (rig.target.take(), std::mem::replace(&mut rig.old.instances[0].state, LifecycleState::InService));
    rig.drain();
    rig.policy.deadline = Some(Duration::from_secs(100));
    rig.run_s(400);
    assert_eq!(rig.state.phase().held(), Some(HeldWhy::Deadline));
    (rig.target, rig.old.instances[0].state) = (target, state);
    rig.policy.deadline = None;
    rig.busy = Activity::Idle;
    rig.run_s(100);
    assert_eq!((rig.answers(), rig.terminations()), (vec![HookResult::Continue], 0));
}

#[test]
fn an_interruption_closes_intake_at_once_waits_for_the_work_and_ends_nothing_f41() {
    let mut rig = interrupted(120);
    rig.busy = busy();
    let from = rig.now.mono;
    rig.run_s(8);
    assert!(rig.deeds[0].0 - from <= Duration::from_millis(6_300), "5 s and the jitter: {:?}", rig.deeds[0].0 - from);
    assert_eq!(rig.intake, Intake::Closed);
    rig.run_s(50);
    assert!(rig.stops().is_empty(), "work that may still end is waited for");
    rig.run_s(60);
    let (at, grace) = rig.stops()[0];
    assert!(at - from >= Duration::from_secs(78) && grace <= Duration::from_secs(120) - (at - from), "{at:?} {grace:?}");
    rig.run_s(600);
    assert_eq!((rig.terminations(), rig.answers().len()), (0, 0));
}

#[test]
fn an_interruption_stops_an_idle_orchestrator_without_waiting_for_the_last_moment() {
    let mut rig = interrupted(120);
    let from = rig.now.mono;
    rig.run_s(110);
    assert!(rig.stops()[0].0 - from <= rig.policy.settle + rig.policy.quiet + Duration::from_secs(20));
}

#[test]
fn an_interruption_needs_no_describe_and_no_journal_f46() {
    let mut rig = interrupted(120);
    rig.busy = busy();
    rig.disk_full = true;
    rig.describe_lag = Duration::from_secs(3600);
    rig.run_s(118);
    assert_eq!(rig.deeds[0].1, Deed::SetIntake { open: false });
    assert_eq!(rig.stops().len(), 1);
}

#[test]
fn a_notice_that_leaves_no_time_stops_at_once() {
    let mut rig = interrupted(20);
    rig.busy = busy();
    let from = rig.now.mono;
    rig.run_s(19);
    let (at, grace) = rig.stops()[0];
    assert!(at - from <= Duration::from_secs(8) && grace <= Duration::from_secs(12), "{at:?} {grace:?}");
}

#[test]
fn nobody_calls_an_interruption_off_but_aws() {
    let mut rig = interrupted(120);
    rig.busy = busy();
    rig.run_s(20);
    assert!(rig.undrain().unwrap().contains("cannot be called off"));
    rig.notices = Notices::default();
    rig.run_s(30);
    assert_eq!((rig.word(), rig.intake.clone()), ("working", Intake::Open));
}

#[test]
fn an_interruption_is_heeded_while_a_called_off_drain_cannot_open_intake() {
    let mut rig = interrupted(120);
    let notices = std::mem::take(&mut rig.notices);
    rig.drain();
    rig.run_s(30);
    rig.switch_obeys = false;
    assert_eq!(rig.undrain(), None);
    rig.run_s(200);
    assert_eq!(rig.state.phase().held(), Some(HeldWhy::IntakeStuck));
    rig.notices = notices;
    rig.notices.interruption.as_mut().unwrap().at = rig.now.wall.plus(Duration::from_secs(120));
    rig.busy = busy();
    rig.run_s(118);
    assert_eq!(rig.stops().len(), 1);
}

#[test]
fn an_orchestrator_that_comes_up_late_is_kept_from_work_though_the_drain_holds_f41() {
    let mut rig = interrupted(120);
    rig.switch_obeys = false;
    rig.run_s(45);
    assert_eq!(rig.state.phase().held(), Some(HeldWhy::IntakeUnstoppable));
    rig.switch_obeys = true;
    rig.run_s(13);
    assert_eq!((rig.intake.clone(), rig.state.phase().held()), (Intake::Closed, None), "AWS does not wait until a hold is over");
}

#[test]
fn a_recommendation_is_noted_or_closes_intake_and_ends_nothing_f42() {
    for (on_rebalance, intake) in [(OnRebalance::Note, Intake::Open), (OnRebalance::CloseIntake, Intake::Closed)] {
        let mut rig = Rig::new();
        rig.policy.on_rebalance = on_rebalance;
        rig.run_s(60);
        rig.notices.rebalance = Some(rig.now.wall);
        rig.run_s(7200);
        assert_eq!((rig.intake.clone(), rig.terminations()), (intake, 0));
        assert!(rig.says("recommends to move away"));
    }
}

#[test]
fn an_operators_no_to_a_recommendation_lasts() {
    let mut rig = Rig::new();
    rig.policy.on_rebalance = OnRebalance::CloseIntake;
    rig.run_s(60);
    rig.notices.rebalance = Some(rig.now.wall);
    rig.run_s(120);
    assert_eq!(rig.undrain(), None);
    rig.run_s(3600);
    rig.restart(true);
    rig.run_s(600);
    assert_eq!((rig.word(), rig.intake.clone()), ("working", Intake::Open));
}

#[test]
fn who_moved_away_and_is_superseded_leaves_l1() {
    let mut rig = Rig::new();
    rig.policy.on_rebalance = OnRebalance::CloseIntake;
    rig.run_s(60);
    rig.notices.rebalance = Some(rig.now.wall);
    rig.run_s(120);
    disable(&mut rig.old);
    rig.run_s(1200);
    assert_eq!(rig.terminations(), 1);
}

#[test]
fn an_instance_that_returns_to_the_warm_pool_takes_no_work_until_it_is_back_f19() {
    let mut rig = Rig::new();
    rig.run_s(60);
    rig.target = Some(LifecycleState::from("Warmed:Running"));
    rig.run_s(600);
    assert_eq!((rig.intake.clone(), rig.terminations()), (Intake::Closed, 0));
    rig.target = Some(LifecycleState::InService);
    rig.run_s(60);
    assert_eq!((rig.word(), rig.intake.clone()), ("working", Intake::Open));
}

#[test]
fn a_launch_hook_is_answered_when_the_orchestrator_is_ready() {
    let launching = |activity: Activity| {
        let mut rig = Rig::new();
        rig.policy.hooks.launching = Some("bellrock-ready".to_owned());
        rig.hook = Some(Hook { name: "bellrock-ready".to_owned(), heartbeat: Duration::from_secs(60), limit: Duration::from_secs(6000) });
        rig.old.instances[0].state = LifecycleState::Pending;
        rig.busy = activity;
        rig.run_s(60);
        assert!(rig.deeds.is_empty(), "AWS does not wait yet");
        rig.old.instances[0].state = LifecycleState::PendingWait;
        rig
    };
    let mut rig = launching(unknown());
    rig.run_s(200);
    assert!(rig.answers().is_empty() && rig.heartbeats().len() > 5);
    rig.busy = Activity::Idle;
    rig.run_s(30);
    rig.old.instances[0].state = LifecycleState::InService;
    rig.run_s(300);
    assert!(rig.answers().iter().all(|answer| *answer == HookResult::Continue) && !rig.answers().is_empty());
    assert_eq!(rig.word(), "working");

    let mut rig = launching(unknown());
    rig.run(rig.policy.ready_within - Duration::from_secs(30));
    assert!(rig.answers().is_empty());
    rig.run_s(60);
    assert_eq!(rig.answers()[0], HookResult::Abandon);
}

/// In a group that another has superseded, while AWS waits for its launch hook.
fn launching_in_vain() -> Rig {
    let mut rig = Rig::superseded();
    rig.policy.hooks.launching = Some("bellrock-ready".to_owned());
    rig.hook = Some(Hook { name: "bellrock-ready".to_owned(), heartbeat: Duration::from_secs(60), limit: Duration::from_secs(6000) });
    rig.old.instances[0].state = LifecycleState::PendingWait;
    rig.busy = unknown();
    rig.run_s(200);
    assert!(rig.state.durable().drain.is_some());
    rig
}

#[test]
fn an_instance_that_drains_keeps_no_launch_waiting_l1() {
    let mut rig = launching_in_vain();
    let beats = rig.heartbeats().len();
    rig.busy = Activity::Idle;
    rig.run_s(3600);
    assert_eq!((rig.heartbeats().len(), rig.answers().len(), rig.terminations()), (beats, 0, 0));
    rig.old.instances[0].state = LifecycleState::InService;
    rig.run_s(1200);
    assert_eq!(rig.terminations(), 1);
}

#[test]
fn an_instance_that_is_taken_back_while_it_launches_is_not_said_to_be_ready_f41() {
    let mut rig = launching_in_vain();
    rig.busy = Activity::Idle;
    let at = rig.now.wall.plus(Duration::from_secs(120));
    rig.notices.interruption = Some(Interruption { action: "terminate".to_owned(), at });
    rig.run_s(130);
    assert_eq!((rig.answers(), rig.word()), (Vec::new(), "ending"));
}

#[test]
fn a_busy_instance_protects_itself_and_an_idle_one_does_not_s16_f25() {
    let mut rig = Rig::new();
    rig.policy.protect = true;
    rig.run_s(60);
    assert!(rig.protections().is_empty());
    rig.busy = busy();
    rig.run_s(60);
    for _ in 0..20 {
        rig.busy = Activity::Idle;
        rig.run_s(60);
        rig.busy = busy();
        rig.run_s(30);
    }
    assert_eq!(rig.protections(), [true], "work that comes and goes costs no call");
    rig.busy = Activity::Idle;
    rig.run_s(200);
    assert_eq!(rig.protections(), [true, false]);
    rig.busy = busy();
    rig.run_s(60);
    rig.see(Seen::Stopping);
    assert_eq!(rig.protections(), [true, false, true, false], "nobody else would take it off (F26)");
}

#[test]
fn whom_a_scale_in_left_since_he_was_protected_leaves_without_a_decrement() {
    let mut rig = Rig::superseded();
    rig.old.capacity.desired = 0;
    rig.terminate = vec![Ok(Receipt::Activity("act-1".to_owned()))];
    rig.run_s(600);
    assert!(matches!(rig.deeds.last(), Some((_, Deed::TerminateOwn { decrement: false, .. }))), "{:?}", rig.deeds);
}

/// Busy, and protected for that.
fn protected() -> Rig {
    let mut rig = Rig::new();
    rig.policy.protect = true;
    rig.busy = busy();
    rig.run_s(100);
    rig
}

#[test]
fn what_a_dead_agent_protected_the_next_one_takes_off() {
    let mut rig = protected();
    rig.policy.protect = false;
    rig.restart(false);
    rig.run_s(100);
    assert_eq!(rig.protections(), [true, false]);
}

#[test]
fn what_a_dead_agent_protected_is_known_though_aws_refuses_to_protect_it_again_s16_f26() {
    let mut rig = protected();
    rig.restart(true);
    rig.to_hooks = Err(FaultKind::Refused);
    rig.run_s(30);
    assert_eq!(rig.protections(), [true, true]);
    (rig.to_hooks, rig.busy) = (Ok(()), Activity::Idle);
    rig.run_s(300);
    assert_eq!(rig.protections(), [true, true, false]);
}

#[test]
fn a_protection_that_aws_refuses_is_asked_for_again_at_a_bounded_rate() {
    let mut rig = Rig::new();
    rig.policy.protect = true;
    rig.busy = busy();
    rig.to_hooks = Err(FaultKind::Refused);
    rig.run_s(3600);
    assert!((30..=62).contains(&rig.protections().len()), "{}", rig.protections().len());
}

#[test]
fn a_describe_that_is_quicker_than_the_metadata_costs_no_heartbeat_l5() {
    let mut rig = ending();
    let target = rig.target.take();
    rig.old.instances[0].state = LifecycleState::InService;
    rig.drain();
    rig.run_s(100);
    rig.old.instances[0].state = LifecycleState::TerminatingWait;
    rig.run_s(300);
    assert!(!rig.heartbeats().is_empty() && rig.answers().is_empty(), "{:?}", rig.deeds);
    rig.target = target;
    rig.run_s(300);
    assert!(rig.answers().is_empty());
    rig.busy = Activity::Idle;
    rig.run_s(200);
    assert_eq!((rig.answers(), rig.terminations()), (vec![HookResult::Continue], 0));
}

#[test]
fn a_hooks_limit_counts_from_the_news_of_the_end_not_from_an_older_drain() {
    let mut rig = ending();
    let (target, state) = (rig.target.take(), std::mem::replace(&mut rig.old.instances[0].state, LifecycleState::InService));
    rig.policy.stop_grace = Some(Duration::from_secs(60));
    rig.drain();
    rig.run_s(40_000);
    (rig.target, rig.old.instances[0].state) = (target, state);
    rig.run_s(29_000);
    assert!(rig.answers().is_empty() && rig.stops().is_empty(), "the limit is 30 000 s: {:?}", rig.stops());
    rig.run_s(2_000);
    assert_eq!(rig.stops().len(), 1);
}

#[test]
fn a_terminating_hook_is_not_answered_with_a_launchs_readiness_s10() {
    let mut rig = Rig::new();
    rig.policy.hooks = HookNames { launching: Some("ready".to_owned()), terminating: Some(HOOK.to_owned()) };
    rig.busy = unknown();
    rig.old.instances[0].state = LifecycleState::PendingWait;
    rig.run_s(60);
    rig.busy = busy();
    rig.to_hooks = Err(FaultKind::NotNow);
    rig.run_s(30);
    rig.to_hooks = Ok(());
    rig.deeds.clear();
    rig.target = Some(LifecycleState::Terminated);
    rig.run_s(600);
    let wrong = rig.deeds.iter().filter(|(_, deed)| matches!(deed, Deed::CompleteHook { hook, .. } if hook == HOOK)).count();
    assert_eq!(wrong, 0, "{:?}", rig.deeds);
}

#[test]
fn our_own_end_answers_our_hook_f33() {
    let mut rig = Rig::superseded();
    rig.policy.hooks.terminating = Some(HOOK.to_owned());
    rig.terminate = vec![Ok(Receipt::Activity("act-1".to_owned()))];
    rig.run_s(300);
    assert_eq!(rig.terminations(), 1);
    assert!(rig.answers().is_empty(), "AWS does not wait yet");
    rig.old.instances[0].state = LifecycleState::TerminatingWait;
    rig.run_s(30);
    assert_eq!(rig.answers()[0], HookResult::Continue);
    rig.to_hooks = Err(FaultKind::Refused);
    rig.run_s(60);
    assert_eq!(rig.word(), "ending");
}

#[test]
fn an_end_that_came_to_nothing_leaves_an_instance_that_is_drained_anew_when_aws_ends_it_s10_s14() {
    for told_by_metadata in [true, false] {
        let mut rig = Rig::superseded();
        rig.policy.hooks.terminating = Some(HOOK.to_owned());
        rig.hook = Some(Hook { name: HOOK.to_owned(), heartbeat: Duration::from_secs(300), limit: Duration::from_secs(30_000) });
        rig.terminate = vec![Ok(Receipt::Activity("act-1".to_owned()))];
        rig.run_s(1200);
        assert_eq!(rig.state.phase().held(), Some(HeldWhy::EndingFailed));
        (rig.intake, rig.busy) = (Intake::Open, busy());
        rig.generation += 1;
        rig.run_s(30);
        assert_eq!(rig.intake, Intake::Closed, "what was restarted is closed again");
        rig.target = told_by_metadata.then_some(LifecycleState::Terminated);
        rig.old.instances[0].state = LifecycleState::TerminatingWait;
        rig.run_s(3600);
        assert_eq!((rig.answers(), rig.terminations()), (Vec::new(), 1), "work is in flight");
        rig.busy = Activity::Idle;
        rig.run_s(300);
        assert_eq!((rig.answers(), rig.word()), (vec![HookResult::Continue], "ending"));
    }
}

#[test]
fn a_hooks_limit_counts_over_restarts_of_the_agent_f38_f43() {
    let mut rig = ending();
    for _ in 0..30 {
        rig.run_s(1000);
        rig.restart(true);
    }
    rig.run_s(100);
    assert_eq!(rig.answers(), [HookResult::Continue]);
}

#[test]
fn a_wall_clock_that_is_set_makes_no_hook_shorter_f31() {
    let mut rig = ending();
    rig.policy.stop_grace = Some(Duration::from_secs(30));
    rig.run_s(300);
    rig.now.wall = rig.now.wall.plus(Duration::from_secs(36_000));
    rig.run_s(3600);
    assert!(rig.answers().is_empty() && rig.stops().is_empty(), "{:?}", rig.deeds);
}

#[test]
fn an_interruption_beats_a_hooks_limit_f41() {
    let mut rig = ending();
    rig.policy.stop_grace = Some(Duration::from_secs(30));
    rig.run_s(60);
    let at = rig.now.wall.plus(Duration::from_secs(120));
    rig.notices.interruption = Some(Interruption { action: "terminate".to_owned(), at });
    rig.run_s(115);
    assert_eq!(rig.stops().len(), 1);
}

#[test]
fn an_interruption_is_heeded_by_an_agent_that_never_saw_its_group() {
    let mut rig = interrupted(120);
    rig.busy = busy();
    rig.old.instances.clear();
    rig.restart(true);
    rig.run_s(118);
    assert_eq!((rig.state.group_name(), rig.stops().len()), (None, 1));
}

#[test]
fn an_agent_that_never_saw_its_group_does_not_spin() {
    let mut rig = ending();
    rig.old.instances.clear();
    rig.restart(true);
    rig.looks = 0;
    rig.run_s(600);
    assert!(rig.looks < 1200 && rig.heartbeats().is_empty(), "{}", rig.looks);
    assert!(wake_at(&rig.state, &rig.policy) > rig.now.mono);
}

#[test]
fn dry_run_keeps_aws_waiting_and_ends_nothing() {
    let mut rig = ending();
    rig.run_s(60);
    rig.policy.dry_run = true;
    rig.busy = Activity::Idle;
    let before = rig.heartbeats().len();
    rig.run_s(1200);
    assert!(rig.heartbeats().len() >= before + 8 && rig.answers().is_empty());
    rig.policy.dry_run = false;
    rig.run_s(900);
    assert_eq!(rig.answers(), [HookResult::Continue]);
}

#[test]
fn a_protection_of_which_nothing_was_heard_is_asked_for_again() {
    let mut rig = Rig::new();
    rig.policy.protect = true;
    rig.busy = busy();
    rig.to_hooks = Err(FaultKind::OutcomeUnknown);
    rig.run_s(100);
    rig.to_hooks = Ok(());
    rig.run_s(100);
    let asked = rig.protections().len();
    assert!(asked >= 2 && rig.protections().iter().all(|on| *on));
    rig.run_s(600);
    assert_eq!(rig.protections().len(), asked, "once it was accepted, never again");
}

#[test]
fn an_operator_may_end_what_moved_away_and_nothing_in_standby() {
    let mut rig = Rig::new();
    rig.policy.on_rebalance = OnRebalance::CloseIntake;
    rig.run_s(60);
    rig.notices.rebalance = Some(rig.now.wall);
    rig.run_s(120);
    assert_eq!(rig.drain(), None);
    rig.run_s(300);
    assert_eq!(rig.terminations(), 1);

    let mut rig = Rig::new();
    rig.run_s(60);
    rig.target = Some(LifecycleState::Standby);
    rig.old.instances[0].state = LifecycleState::Standby;
    rig.run_s(120);
    assert!(rig.drain().unwrap().contains("standby"));
}

#[test]
fn a_launching_instance_that_works_is_never_given_up() {
    let mut rig = Rig::new();
    rig.policy.hooks.launching = Some("ready".to_owned());
    rig.old.instances[0].state = LifecycleState::PendingWait;
    rig.busy = busy();
    rig.intake = Intake::Unknown { why: "404".to_owned() };
    rig.run_s(3000);
    assert!(rig.answers().is_empty() && rig.heartbeats().len() > 20, "{:?}", rig.answers());
}

#[test]
fn a_retained_instance_takes_no_place_in_the_budget() {
    let mut rig = Rig::superseded();
    rig.policy.budget_percent = 10;
    rig.old = testing::disabled(group("app-main-v001", 1, &["i-0a", "i-0b"]));
    rig.old.instances[1].state = LifecycleState::TerminatingRetained;
    rig.run_s(900);
    assert_eq!(rig.terminations(), 1);
}
