//! What is over, is shared or is only told condemns nobody; what was known once is not cut; what was begun is brought to its end.

use super::*;

impl Fleet {
    /// Looked at so often that no start is missed, with a store that is looked at too.
    fn watched(size: usize) -> Self {
        let mut fleet = Self::of(size);
        fleet.policy.heal.level = Level::Replace;
        fleet.policy.heal.store = Some(rules());
        fleet.policy.activity_every_idle = EVERY;
        fleet.run_s(120);
        fleet
    }

    /// So many starts of each of them that nobody asked for, so many seconds from each to the next.
    fn start_anew(&mut self, times: u32, apart: u64) {
        for _ in 0..times {
            self.members.iter_mut().for_each(|member| member.generation += 1);
            self.run_s(apart);
        }
    }

    fn replacements(&self) -> Vec<&Decision> {
        self.decisions.iter().filter(|d| d.what == "replace").collect()
    }

    fn is_being_replaced(&self, n: usize) -> bool {
        self.members[n].state.durable().drain.as_ref().is_some_and(|d| !matches!(d.progress, Progress::Cancelled { .. }))
    }

    fn deeds(&self, n: usize) -> Vec<&str> {
        self.members[n].deeds.iter().map(|(_, deed)| deed.word()).collect()
    }
}

#[test]
fn a_store_outage_in_which_every_orchestrator_starts_again_and_again_replaces_nobody() {
    for size in [1, 4] {
        let mut fleet = Fleet::watched(size);
        fleet.members.iter_mut().for_each(|member| member.store = silent());
        fleet.start_anew(10, 60);
        fleet.members.iter_mut().for_each(|member| member.store = Probed::Passed);
        fleet.start_anew(1, 60);
        fleet.run_s(2 * 3600);
        assert_eq!(fleet.replacements(), [] as [&Decision; 0], "{size} of them");
        assert_eq!(fleet.word(0), "well");
    }
}

#[test]
fn a_cause_that_the_group_shared_replaces_nobody_once_it_is_over() {
    let mut fleet = Fleet::watched(4);
    fleet.group.instances.iter_mut().for_each(|one| one.health = InstanceHealth::Unhealthy);
    fleet.start_anew(10, 60);
    fleet.group.instances.iter_mut().for_each(|one| one.health = InstanceHealth::Healthy);
    fleet.start_anew(1, 60);
    fleet.run_s(2 * 3600);
    assert_eq!(fleet.replacements(), [] as [&Decision; 0]);
}

#[test]
fn a_crash_loop_counts_for_as_long_as_it_goes_on_and_no_longer() {
    for apart in [60, 300, 700] {
        let mut fleet = Fleet::watched(1);
        fleet.policy.heal.level = Level::Restart;
        fleet.start_anew(5, apart);
        for _ in 0..8 {
            assert_eq!(fleet.held(0).as_deref(), Some("heal_beyond_restart"), "one start in {apart} s");
            fleet.start_anew(1, apart);
        }
        fleet.run_s((2 * apart).max(180) - apart + 60);
        assert_eq!((fleet.held(0), fleet.word(0).as_str()), (None, "well"), "one start in {apart} s");
    }
}

#[test]
fn a_limit_that_is_only_told_neither_justifies_the_end_of_an_instance_nor_keeps_its_replacement_going() {
    let with = |free, load| Vitals { disk_free_percent: [("/".to_owned(), free)].into(), load_percent: Some(load), ..Vitals::default() };
    let mut fleet = Fleet::of(3);
    fleet.policy.heal.level = Level::Replace;
    fleet.policy.heal.limits = Limits { disk_free_percent: Some(3), load_percent: Some(400), ..Limits::default() };
    (0..3).for_each(|n| fleet.members[n].vitals = with(60, 50));
    fleet.run_s(60);
    fleet.members[0].vitals = with(1, 900);
    fleet.run_s(1200);
    assert!(fleet.is_being_replaced(0));

    fleet.agent_restarts(0, true);
    fleet.run_s(60);
    let waits = fleet.members[0].state.replacement_waits(&fleet.policy, fleet.now);
    assert!(
        waits.as_ref().is_some_and(|(why, _)| why.contains("begun anew")),
        "its load was seen, its disk not for long enough: {waits:?}"
    );
    fleet.run_s(600);
    assert_eq!(fleet.members[0].state.replacement_waits(&fleet.policy, fleet.now), None);

    fleet.members[0].vitals = with(60, 900);
    fleet.run_s(900);
    assert!(!fleet.is_being_replaced(0), "there is room again, and its load is only told");
}

#[test]
fn a_start_that_is_owed_is_made_up_for_where_healing_sees_nothing_any_more() {
    let blinds: [fn(&mut HealPolicy); 2] = [|heal| heal.level = Level::Off, |heal| heal.liveness = None];
    for (n, blind) in blinds.into_iter().enumerate() {
        let mut fleet = Fleet::of(1);
        fleet.sicken(0);
        fleet.run_s(35);
        assert_eq!(fleet.word(0), "restarting");
        blind(&mut fleet.policy.heal);
        fleet.agent_restarts(0, true);
        fleet.run_s(120);
        assert_eq!(fleet.deeds(0), ["restart_orchestrator", "start_orchestrator"], "case {n}");
        assert!(!fleet.members[0].state.durable().healed.under_way);
        fleet.run_s(3600);
        assert_eq!((fleet.deeds(0).len(), fleet.word(0).as_str()), (2, "off"), "and nothing else is done");
    }
}

#[test]
fn in_a_dry_run_a_start_that_is_owed_is_told_and_not_sent() {
    for (level, rests) in [(Level::Off, "off"), (Level::Restart, "well")] {
        let mut fleet = Fleet::of(1);
        fleet.members[0].restart_helps = false;
        fleet.sicken(0);
        fleet.run_s(35);
        (fleet.policy.dry_run, fleet.policy.heal.level) = (true, level);
        fleet.agent_restarts(0, true);
        fleet.run_s(600);
        assert_eq!((fleet.deeds(0), fleet.word(0).as_str()), (vec!["restart_orchestrator"], "would"), "{level:?}");
        let told = fleet.decisions.iter().filter(|d| d.what == "would" && d.why.contains("would start the orchestrator")).count();
        assert_eq!(told, 1, "{:?}", fleet.decisions);
        // Somebody starts it by hand.
        fleet.members[0].alive = Probed::Passed;
        fleet.run_s(120);
        assert_eq!(fleet.word(0), rests);
    }
}

/// An orchestrator that hangs, beyond its restarts, and says again what it executes while it is drained; that it lives is not believed for long.
fn says_again(meanwhile: Option<Command>) -> Fleet {
    let mut fleet = Fleet::of(3);
    fleet.policy.heal = HealPolicy { level: Level::Replace, restarts: 0, end_unproven: true, ..fleet.policy.heal };
    fleet.sicken(0);
    for _ in 0..3600 {
        if fleet.is_being_replaced(0) {
            break;
        }
        fleet.run_s(1);
    }
    assert!(fleet.members[0].state.durable().drain.as_ref().is_some_and(|drain| drain.forced));
    if let Some(command) = meanwhile {
        assert_eq!(fleet.see(0, Seen::Asked(command)), None);
    }
    fleet.policy.heal.liveness = Some(ProbeRules { successes: 1000, ..rules() });
    let member = &mut fleet.members[0];
    (member.alive, member.intake) = (Probed::Passed, Intake::Closed);
    member.activity = Activity::Busy { count: 12, executions: Vec::new() };
    fleet.run_s(1800);
    fleet
}

#[test]
fn work_that_is_known_of_again_is_waited_for_although_the_owner_accepts_an_end_without_knowing_s1() {
    let mut fleet = says_again(None);
    assert_eq!((fleet.members[0].state.phase().word(), fleet.terminations().len()), ("confirming_idle", 0));
    assert!(fleet.members[0].state.durable().drain.as_ref().is_some_and(|drain| !drain.forced), "an agent that falls has it so too");
    fleet.members[0].activity = Activity::Idle;
    fleet.run_s(1800);
    assert!(matches!(fleet.terminations().as_slice(), [Deed::TerminateOwn { decrement: false, .. }]), "{:?}", fleet.terminations());
}

#[test]
fn what_an_operator_forces_is_not_waited_for_again() {
    let fleet = says_again(Some(Command::Drain { by: "ann".to_owned(), reason: "now".to_owned(), force: true }));
    assert_eq!(fleet.terminations().len(), 1);
}

#[test]
fn what_is_silent_again_after_one_answer_ends_as_its_owner_accepts() {
    let mut fleet = says_again(None);
    fleet.sicken(0);
    fleet.run_s(250);
    assert_eq!(fleet.terminations().len(), 0, "not at once");
    fleet.run_s(1800);
    assert_eq!(fleet.terminations().len(), 1);
}

/// Five starts in work, none once its intake is closed.
#[test]
fn a_loop_that_ends_with_the_work_that_comes_in_is_replaced_all_the_same() {
    let mut fleet = Fleet::watched(4);
    for _ in 0..60 {
        if fleet.is_being_replaced(0) {
            break;
        }
        fleet.members[0].generation += 1;
        fleet.run_s(60);
    }
    // What it is at takes longer than a loop has to be silent for to count as over.
    (fleet.members[0].intake, fleet.members[0].activity) = (Intake::Closed, Activity::Busy { count: 1, executions: Vec::new() });
    fleet.run_s(900);
    fleet.members[0].activity = Activity::Idle;
    fleet.run_s(1500);
    assert!(matches!(fleet.terminations().as_slice(), [Deed::TerminateOwn { decrement: false, .. }]), "{:?}", fleet.terminations());
}
