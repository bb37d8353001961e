use super::*;

fn assert_pass(report: &Report) {
    let broken: Vec<&Invariant> = report.invariants.iter().filter(|i| !i.held).collect();
    assert!(broken.is_empty(), "{} seed {}: {broken:#?}\n{:#?}", report.scenario.name(), report.seed, report.figures);
}

#[test]
fn redeploy_loses_nothing_and_every_old_instance_leaves() {
    for seed in 0..5 {
        let report = run_alone(Scenario::Redeploy, seed, None).unwrap();
        assert_pass(&report);
        assert_eq!(report.figures.executions.lost, 0);
        assert!(report.figures.instances_retired >= 4, "{:?}", report.figures);
        assert_eq!(report.figures.decrements, report.figures.instances_retired);
    }
}

#[test]
fn rollback_restores_what_was() {
    for seed in 0..5 {
        assert_pass(&run_alone(Scenario::Rollback, seed, None).unwrap());
    }
}

#[test]
fn storms_break_nothing() {
    for seed in 0..10 {
        assert_pass(&run_alone(Scenario::Storm, seed, None).unwrap());
    }
}

#[test]
fn the_same_seed_gives_the_same_play() {
    let play = || run_alone(Scenario::Storm, 3, None).unwrap();
    assert_eq!(play(), play());
}

/// Plays storms with a bug planted until an invariant breaks.
fn caught(plant: plants::Plant, by: &[&str]) {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..150 {
        let report = run_alone(Scenario::Storm, seed, Some(plant)).unwrap();
        seen.extend(report.invariants.iter().filter(|i| !i.held).map(|i| i.id));
        if by.iter().all(|id| seen.contains(id)) {
            return;
        }
    }
    panic!("{plant:?}: wanted {by:?} to break, and saw {seen:?}");
}

#[test]
fn skipping_the_last_look_is_caught() {
    caught(plants::Plant::NoLastLook, &["S1", "S3"]);
}

#[test]
fn taking_unknown_for_idle_is_caught() {
    caught(plants::Plant::UnknownIsIdle, &["S1"]);
}

#[test]
fn repeating_a_lost_terminate_blindly_is_caught() {
    caught(plants::Plant::RetryBlindly, &["S4"]);
}

#[test]
fn judging_idle_before_intake_is_closed_is_caught() {
    caught(plants::Plant::IntakeNeverClosed, &["S3"]);
}

#[test]
fn acting_while_held_is_caught() {
    caught(plants::Plant::HoldUnseen, &["S11"]);
}

#[test]
fn ending_in_an_enabled_group_is_caught() {
    caught(plants::Plant::AlwaysDisabled, &["S6"]);
}

#[test]
fn no_quiet_time_is_caught() {
    caught(plants::Plant::NoQuiet, &["S3"]);
}

#[test]
fn ending_all_at_once_is_caught() {
    caught(plants::Plant::NoBudget, &["S9"]);
}

#[test]
fn a_journal_that_is_lost_is_caught() {
    caught(plants::Plant::NoJournal, &["S4"]);
}

#[test]
fn writing_desired_is_caught() {
    caught(plants::Plant::WritesDesired, &["S7"]);
}
