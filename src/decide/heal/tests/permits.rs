//! Permits: of the same small world, whose book answers, is deaf, slow or down.

use super::*;
use crate::model::Permit;
use crate::model::PermitAnswer;
use crate::model::PermitRequest;

impl Fleet {
    /// Somebody holds the only place for so long, under their first number.
    fn lend_to(&mut self, holder: InstanceId, lease: Duration) {
        let (group, permit) = (self.group.name.clone(), Permit { holder, number: 1 });
        let request = PermitRequest { group, permit, places: 1, lease, keeps: false, gone: Vec::new() };
        assert_eq!(self.book.take(self.now.mono, &request), PermitAnswer::Granted);
    }
}

#[test]
fn a_restart_takes_a_permit_and_gives_it_back() {
    let mut fleet = Fleet::lending(3);
    fleet.sicken(0);
    fleet.run_s(1200);
    let deeds: Vec<String> = fleet.members[0].deeds.iter().map(|(_, deed)| deed.to_string()).collect();
    assert_eq!((fleet.restarts(), fleet.lent, fleet.in_force(), fleet.word(0).as_str()), (1, 1, 0, "well"), "{deeds:?}");
    assert_eq!(fleet.members[0].state.heal_status(&fleet.policy, fleet.now).permit.as_deref(), Some("none, and none is needed"));
}

#[test]
fn a_permit_is_in_force_for_as_long_as_the_restart_and_named_in_status() {
    let mut fleet = Fleet::lending(1);
    fleet.restart_takes = Duration::from_secs(200);
    fleet.sicken(0);
    fleet.run_s(100);
    for _ in 0..10 {
        assert_eq!((fleet.word(0).as_str(), fleet.in_force()), ("restarting", 1));
        let permit = fleet.members[0].state.heal_status(&fleet.policy, fleet.now).permit.unwrap();
        assert!(permit.starts_with("held, for "), "{permit}");
        fleet.run_s(10);
    }
    fleet.run_s(120);
    assert_eq!((fleet.restarts(), fleet.in_force()), (1, 0));
}

/// Instances whose clocks differ have their turns at the same time.
#[test]
fn where_turns_come_together_the_permit_lets_one_go() {
    let mut fleet = Fleet::lending(4);
    // Far shorter than a restart.
    fleet.policy.heal.turn = Duration::from_secs(1);
    for n in 0..4 {
        fleet.sicken(n);
    }
    fleet.run_s(3600);
    assert_eq!((fleet.restarts(), fleet.at_once(), fleet.lent), (4, 1, 1));

    let mut turns_alone = Fleet::of(4);
    turns_alone.policy.heal.turn = Duration::from_secs(1);
    for n in 0..4 {
        turns_alone.sicken(n);
    }
    turns_alone.run_s(3600);
    assert!(turns_alone.at_once() > 1, "then this shows nothing");
}

#[test]
fn a_sibling_that_holds_it_is_waited_for_and_named() {
    let mut fleet = Fleet::lending(3);
    fleet.lend_to(id(1), Duration::from_secs(3600));
    fleet.sicken(0);
    fleet.run_s(1800);
    assert_eq!(fleet.restarts(), 0);
    let status = fleet.members[0].state.heal_status(&fleet.policy, fleet.now);
    assert!(status.permit.as_deref().is_some_and(|permit| permit.contains("i-01")), "{status:?}");
    // Its agent is alive, or not; AWS lists the instance.
    fleet.group.instances.retain(|one| one.id != id(1));
    fleet.group.capacity.desired = 2;
    fleet.run_s(1800);
    assert_eq!((fleet.restarts(), fleet.lent), (1, 1), "AWS does not list it any more: its permit was taken over before it ran out");
}

#[test]
fn one_that_a_stale_read_does_not_list_yet_keeps_its_permit_and_one_that_later_reads_do_not_list_either_loses_it() {
    let mut fleet = Fleet::lending(3);
    fleet.policy.heal.turn = Duration::from_secs(5);
    fleet.policy.stale_bound = Duration::from_secs(1200);
    fleet.lend_to(id(9), Duration::from_secs(36_000));
    fleet.sicken(0);
    fleet.run_s(1200);
    assert_eq!((fleet.restarts(), fleet.in_force()), (0, 1));
    fleet.run_s(2 * 3600);
    assert_eq!((fleet.restarts(), fleet.in_force(), fleet.lent), (1, 0, 1));
}

#[test]
fn without_an_answer_nobody_is_restarted_and_everything_goes_on_by_itself_afterwards() {
    for lender in [Lender::Down, Lender::Deaf] {
        let mut fleet = Fleet::lending(2);
        fleet.lender = lender;
        fleet.sicken(0);
        fleet.run_s(3600);
        assert_eq!((fleet.restarts(), fleet.decisions.iter().filter(|d| d.held == Some(super::super::Hold::NoPermit)).count()), (0, 1));
        assert!(fleet.members[0].deeds.is_empty());
        fleet.lender = Lender::Answers;
        fleet.run_s(1800);
        assert_eq!((fleet.restarts(), fleet.in_force(), fleet.word(0).as_str()), (1, 0, "well"), "{lender:?}");
    }
}

#[test]
fn an_answer_that_came_too_late_begins_nothing() {
    let mut fleet = Fleet::lending(1);
    fleet.lender = Lender::Slow(Duration::from_secs(400));
    fleet.sicken(0);
    fleet.run_s(3600);
    assert_eq!(fleet.restarts(), 0);
}

#[test]
fn a_permit_of_an_agent_that_fell_is_given_back_when_it_comes_again_and_runs_out_when_it_does_not() {
    let mut fleet = Fleet::lending(2);
    fleet.sicken(0);
    while fleet.members[0].restarts.is_empty() {
        fleet.run_s(1);
    }
    assert_eq!(fleet.in_force(), 1);
    let mut gone = Fleet { members: Vec::new(), ..fleet };
    let (now, group) = (gone.now.mono, gone.group.name.clone());
    assert_eq!(gone.book.in_force(now + restart_limit(&gone.policy), &group), 1, "no restart outlives it");
    assert_eq!(gone.book.in_force(now + restart_limit(&gone.policy) * 2, &group), 0);
    gone.members.clear();

    let mut fleet = Fleet::lending(2);
    fleet.sicken(0);
    while fleet.members[0].restarts.is_empty() {
        fleet.run_s(1);
    }
    fleet.agent_restarts(0, true);
    fleet.run_s(20);
    assert_eq!(fleet.in_force(), 1, "it is being started");
    fleet.run_s(60);
    assert_eq!((fleet.restarts(), fleet.in_force(), fleet.word(0).as_str()), (1, 0, "well"));
}

#[test]
fn a_permit_that_cannot_be_written_down_is_not_asked_for() {
    let mut fleet = Fleet::lending(1);
    fleet.sicken(0);
    fleet.disk_full = true;
    fleet.run_s(600);
    assert_eq!((fleet.restarts(), fleet.lent), (0, 0));
    fleet.disk_full = false;
    fleet.run_s(300);
    assert_eq!((fleet.restarts(), fleet.lent, fleet.in_force()), (1, 1, 0));
}

fn replacing(size: usize) -> Fleet {
    let mut fleet = Fleet::lending(size);
    fleet.policy.heal = HealPolicy { level: Level::Replace, restarts: 0, end_unproven: true, ..fleet.policy.heal };
    fleet
}

#[test]
fn a_replacement_holds_its_permit_to_the_end_and_a_sibling_waits() {
    let mut fleet = replacing(4);
    fleet.policy.heal.turn = Duration::from_secs(1);
    fleet.sicken(0);
    fleet.sicken(1);
    let draining = |fleet: &Fleet| fleet.members.iter().filter(|m| m.state.durable().drain.is_some()).count();
    let mut most = 0;
    for _ in 0..600 {
        fleet.run_s(1);
        most = most.max(draining(&fleet));
    }
    assert_eq!((most, fleet.lent, fleet.in_force()), (1, 1, 1), "the one that ends holds it until it is gone");
    assert!(matches!(fleet.terminations().as_slice(), [Deed::TerminateOwn { decrement: false, .. }]), "{:?}", fleet.terminations());
}

#[test]
fn an_instance_is_not_ended_while_its_permit_is_not_in_force() {
    let mut fleet = replacing(3);
    fleet.sicken(0);
    while fleet.members[0].state.durable().drain.is_none() {
        fleet.run_s(1);
    }
    assert_eq!(fleet.in_force(), 1);
    fleet.lender = Lender::Down;
    // Its intake has to be closed first, which takes three tries of one that is silent; meanwhile the permit runs out.
    fleet.members[0].state.durable();
    fleet.policy.heal.turn = Duration::from_secs(2000);
    fleet.run_s(3600);
    fleet.policy.heal.turn = Duration::from_secs(60);
    fleet.run_s(3600);
    assert_eq!(fleet.terminations().len(), 0);
    fleet.lender = Lender::Answers;
    fleet.run_s(1800);
    assert_eq!(fleet.terminations().len(), 1);
}

#[test]
fn a_permit_is_kept_until_the_orchestrator_serves_again() {
    let mut fleet = Fleet::lending(1);
    fleet.members[0].restart_helps = false;
    fleet.sicken(0);
    while fleet.members[0].restarts.is_empty() {
        fleet.run_s(1);
    }
    fleet.run(fleet.restart_takes + Duration::from_secs(100));
    assert_eq!((fleet.in_force(), fleet.restarts()), (1, 1), "it was started, and does not serve yet");
    fleet.members[0].alive = Probed::Passed;
    fleet.run_s(30);
    assert_eq!((fleet.in_force(), fleet.restarts(), fleet.word(0).as_str()), (0, 1, "well"));
}

#[test]
fn a_permit_is_kept_for_one_that_never_serves_no_longer_than_its_grace_and_not_taken_anew_after_a_crash() {
    let restarted = || {
        let mut fleet = Fleet::lending(1);
        fleet.policy.heal.restarts = 1;
        fleet.members[0].restart_helps = false;
        fleet.sicken(0);
        while fleet.members[0].restarts.is_empty() {
            fleet.run_s(1);
        }
        fleet.run(fleet.restart_takes + Duration::from_secs(10));
        assert_eq!(fleet.in_force(), 1);
        fleet
    };
    let mut fleet = restarted();
    fleet.run(fleet.policy.heal.start_grace - Duration::from_secs(20));
    assert_eq!(fleet.in_force(), 1);
    fleet.run_s(40);
    assert_eq!((fleet.in_force(), fleet.held(0).as_deref()), (0, Some("heal_beyond_restart")));

    let mut fleet = restarted();
    fleet.agent_restarts(0, true);
    fleet.run_s(30);
    assert_eq!(fleet.in_force(), 0);
}

#[test]
fn a_replacement_that_is_called_off_while_it_is_stopped_keeps_its_permit_until_it_takes_work_again() {
    let mut fleet = replacing(3);
    fleet.sicken(0);
    while fleet.members[0].state.durable().drain.is_none() {
        fleet.run_s(1);
    }
    fleet.members[0].state.durable.drain.as_mut().unwrap().progress = Progress::Stopped;
    let off = Command::HealOff { by: "ann".to_owned(), for_ms: 3_600_000 };
    assert_eq!(fleet.see(0, Seen::Asked(off)), None);
    fleet.run_s(20);
    assert_eq!((fleet.members[0].state.phase().word(), fleet.in_force()), ("reopening_intake", 1));
    fleet.run_s(120);
    assert_eq!((fleet.members[0].state.phase().word(), fleet.in_force()), ("working", 0));
}

#[test]
fn a_replacement_that_is_held_gives_its_place_to_others() {
    let mut fleet = replacing(4);
    fleet.policy.heal = HealPolicy { restarts: 1, end_unproven: false, ..fleet.policy.heal };
    fleet.members[0].restart_helps = false;
    fleet.sicken(0);
    while fleet.members[0].state.phase().held().is_none() {
        fleet.run_s(1);
    }
    fleet.sicken(1);
    fleet.run_s(2 * 3600);
    assert_eq!(fleet.members[0].state.phase().held(), Some(HeldWhy::IntakeUnstoppable));
    assert_eq!((fleet.members[1].restarts.len(), fleet.word(1).as_str()), (1, "well"));
}

#[test]
fn a_permit_is_renewed_before_it_is_too_short_to_end_the_instance() {
    let mut fleet = replacing(3);
    fleet.policy.heal.stop_grace = Duration::from_secs(10);
    fleet.sicken(0);
    while fleet.members[0].state.durable().drain.is_none() {
        fleet.run_s(1);
    }
    for second in 0..400 {
        fleet.run_s(1);
        assert_eq!(fleet.members[0].state.replacement_waits(&fleet.policy, fleet.now), None, "after {second} s");
    }
}

#[test]
fn a_refusal_is_shown_only_while_a_permit_is_wanted() {
    let mut fleet = Fleet::lending(3);
    fleet.lend_to(id(1), Duration::from_secs(3600));
    fleet.sicken(0);
    fleet.run_s(600);
    let permit = |fleet: &Fleet| fleet.members[0].state.heal_status(&fleet.policy, fleet.now).permit.unwrap();
    assert!(permit(&fleet).contains("i-01"), "{}", permit(&fleet));
    fleet.members[0].alive = Probed::Passed;
    fleet.run_s(60);
    assert_eq!(permit(&fleet), "none, and none is needed");
}

#[test]
fn a_question_that_arrives_after_its_permit_was_given_back_leaves_none() {
    let mut fleet = Fleet::lending(3);
    fleet.lender = Lender::Down;
    fleet.sicken(0);
    while fleet.members[0].state.durable.healed.permit == 0 {
        fleet.run_s(1);
    }
    fleet.members[0].alive = Probed::Passed;
    fleet.run_s(10);
    fleet.lender = Lender::Answers;
    fleet.run_s(30);
    fleet.lend_to(id(0), restart_limit(&fleet.policy) + Duration::from_secs(60));
    assert_eq!(fleet.in_force(), 1);
    fleet.run_s(60);
    assert_eq!(fleet.in_force(), 0);
}

/// What befalls the book.
fn lenders() -> impl Strategy<Value = Lender> {
    prop_oneof![
        4 => Just(Lender::Answers),
        1 => Just(Lender::Deaf),
        1 => Just(Lender::Down),
        2 => (1_u64..600).prop_map(|s| Lender::Slow(Duration::from_secs(s))),
    ]
}

#[derive(Clone, Debug)]
enum Happens {
    Sickens(usize),
    AgentFalls(usize),
    Lends(Lender),
    LosesAll,
    IsCopied,
    FallsBack,
    Leaves(usize),
    DiskFull(bool),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (0..6_usize).prop_map(Happens::Sickens),
        2 => (0..6_usize).prop_map(Happens::AgentFalls),
        3 => lenders().prop_map(Happens::Lends),
        1 => Just(Happens::LosesAll),
        2 => Just(Happens::IsCopied),
        2 => Just(Happens::FallsBack),
        1 => (0..6_usize).prop_map(Happens::Leaves),
        1 => any::<bool>().prop_map(Happens::DiskFull),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// With turns that keep nobody from anybody, permits alone: whatever the book, its answers, agents and instances come to, no more are in force
    /// than there are places, no more are restarted at once, and when all is over nothing is left in the book.
    #[test]
    fn permits_hold_the_budget_under_any_sequence(
        size in 3_usize..7,
        percent in 1_u8..50,
        script in proptest::collection::vec((happens(), 1_u64..300), 1..40),
    ) {
        let mut fleet = Fleet::lending(size);
        fleet.policy.heal.budget_percent = percent;
        fleet.policy.heal.turn = Duration::from_millis(500);
        fleet.restart_takes = Duration::from_secs(150);
        // Of those that are left, whoever leaves.
        let budget = (size * usize::from(percent) / 100).max(1);
        let mut copy = Book::default();
        for (what, seconds) in script {
            match what {
                Happens::Sickens(n) => fleet.sicken(n % size),
                Happens::AgentFalls(n) => fleet.agent_restarts(n % size, true),
                Happens::Lends(lender) => fleet.lender = lender,
                Happens::LosesAll => {
                    let now = fleet.now.mono;
                    fleet.book.lose(now, restart_limit(&fleet.policy) + Duration::from_secs(60));
                }
                Happens::IsCopied => copy = fleet.book.clone(),
                Happens::FallsBack => {
                    let now = fleet.now.mono;
                    fleet.book.fall_back(copy.clone(), now, restart_limit(&fleet.policy) + Duration::from_secs(60));
                }
                Happens::Leaves(n) if fleet.group.instances.len() > 2 => fleet.group.instances.retain(|one| one.id != id(n % size)),
                Happens::Leaves(_) => {}
                Happens::DiskFull(full) => fleet.disk_full = full,
            }
            fleet.run_s(seconds);
        }
        prop_assert!(fleet.lent <= budget, "{} in force at once, {budget} places", fleet.lent);
        // Who left the group and restarts is no loss of the group's.
        let there: Vec<_> = (0..size).filter(|n| fleet.group.instance(&id(*n)).is_some()).collect();
        let all: Vec<_> = there.iter().flat_map(|n| &fleet.members[*n].restarts).collect();
        let at_once = all.iter().map(|(from, _)| all.iter().filter(|(a, b)| a <= from && from < b).count()).max().unwrap_or(0);
        prop_assert!(at_once <= budget, "{at_once} restarted at once, {budget} places");
        (fleet.lender, fleet.disk_full) = (Lender::Answers, false);
        fleet.run_s(2 * 3600);
        prop_assert_eq!(fleet.in_force(), 0);
    }
}
