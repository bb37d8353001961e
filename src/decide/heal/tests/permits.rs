//! Permits: of the same small world, whose book answers, is deaf, slow or down.

use super::*;

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
    let theirs = crate::model::Permit { holder: id(1), number: 1 };
    let request = crate::model::PermitRequest {
        group: fleet.group.name.clone(),
        permit: theirs.clone(),
        places: 1,
        lease: Duration::from_secs(3600),
        keeps: false,
        gone: Vec::new(),
    };
    assert_eq!(fleet.book.take(fleet.now.mono, &request), crate::model::PermitAnswer::Granted);
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
fn one_that_a_stale_read_does_not_list_yet_keeps_its_permit() {
    let mut fleet = Fleet::lending(3);
    fleet.policy.heal.turn = Duration::from_secs(5);
    fleet.policy.stale_bound = Duration::from_secs(3600);
    let newcomer = crate::model::PermitRequest {
        group: fleet.group.name.clone(),
        permit: crate::model::Permit { holder: id(9), number: 1 },
        places: 1,
        lease: Duration::from_secs(36_000),
        keeps: false,
        gone: Vec::new(),
    };
    assert_eq!(fleet.book.take(fleet.now.mono, &newcomer), crate::model::PermitAnswer::Granted);
    fleet.sicken(0);
    fleet.run_s(1800);
    assert_eq!((fleet.restarts(), fleet.in_force()), (0, 1));
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
    Leaves(usize),
    DiskFull(bool),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (0..6_usize).prop_map(Happens::Sickens),
        2 => (0..6_usize).prop_map(Happens::AgentFalls),
        3 => lenders().prop_map(Happens::Lends),
        1 => Just(Happens::LosesAll),
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
        for (what, seconds) in script {
            match what {
                Happens::Sickens(n) => fleet.sicken(n % size),
                Happens::AgentFalls(n) => fleet.agent_restarts(n % size, true),
                Happens::Lends(lender) => fleet.lender = lender,
                Happens::LosesAll => {
                    let now = fleet.now.mono;
                    fleet.book.lose(now, restart_limit(&fleet.policy) + Duration::from_secs(60));
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
