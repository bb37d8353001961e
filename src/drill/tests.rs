use std::time::Duration;

use super::*;
use crate::cloud::sim;

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

/// Plays storms with a bug planted until every one of these invariants has broken: those storms alone in which the bug can show.
fn caught(plant: plants::Plant, can_show: fn(&scenario::Play) -> bool, by: &[&str]) {
    let mut seen = std::collections::BTreeMap::new();
    for seed in (0..4000).filter(|seed| can_show(&scenario::play(Scenario::Storm, *seed))).take(40) {
        let report = run_alone(Scenario::Storm, seed, Some(plant)).unwrap();
        for broken in report.invariants.iter().filter(|i| !i.held) {
            seen.entry(broken.id).or_insert(seed);
        }
        if by.iter().all(|id| seen.contains_key(id)) {
            eprintln!("{plant:?}: broken, first by seed: {seen:?}");
            return;
        }
    }
    panic!("{plant:?}: wanted {by:?} to break, and saw {seen:?}");
}

/// A bug that nothing but this one invariant sees, and that it sees in every one of a few redeployments.
fn caught_by_one(plant: plants::Plant, by: &str) {
    for seed in 0..5 {
        let report = run_alone(Scenario::Redeploy, seed, Some(plant)).unwrap();
        let broken: Vec<&str> = report.invariants.iter().filter(|i| !i.held).map(|i| i.id).collect();
        assert_eq!(broken, [by], "{plant:?}, seed {seed}");
    }
}

#[test]
fn an_audit_log_that_loses_outcomes_is_caught() {
    caught_by_one(plants::Plant::NoOutcomes, "S17");
}

#[test]
fn turns_that_last_too_long_are_caught() {
    caught_by_one(plants::Plant::LongTurns, "L8");
}

/// Instances of the old groups can leave: intake can be closed, AWS ends what it is asked to end, no rollback comes between.
fn drains(play: &scenario::Play) -> bool {
    let orchestrator = play.region.templates[0].versions[0].orchestrator.unwrap();
    let obeys = matches!(orchestrator.switch, sim::Switch::Obeys | sim::Switch::Forgets);
    obeys && play.region.undocumented.as_ref().unwrap().terminate_while_suspended && play.goes_bad_after.is_none()
}

/// How many of these a play has.
fn incidents(play: &scenario::Play, which: fn(&sim::Incident) -> bool) -> usize {
    play.region.incidents.iter().filter(|i| which(&i.what)).count()
}

/// Orchestrators crash and come back with their intake open, and there is work for them at once.
fn forgets(play: &scenario::Play) -> bool {
    let orchestrator = play.region.templates[0].versions[0].orchestrator.unwrap();
    let work = incidents(play, |i| matches!(i, sim::Incident::Work(w) if w.count >= 100));
    let crashes = incidents(play, |i| matches!(i, sim::Incident::Crash(_)));
    drains(play) && orchestrator.switch == sim::Switch::Forgets && work > 0 && crashes >= 12 && play.policy.stop_grace.is_none()
}

/// A second terminate call takes desired down again, min allows it, and answers get lost.
fn decrements_again(play: &scenario::Play) -> bool {
    let second = play.region.undocumented.as_ref().unwrap().second_terminate;
    let lost = play.region.trouble.iter().any(|t| t.kind == sim::TroubleKind::LoseReply && t.probability > 0.5);
    let low = play.region.groups[0].min == 0;
    drains(play) && second == sim::SecondTerminate::DecrementsAgain && lost && low && play.crash_at_call == 0.0
}

fn rolls_back_late(play: &scenario::Play) -> bool {
    play.goes_bad_after.is_some_and(|after| after > Duration::from_secs(300))
}

fn enabled_for_long(play: &scenario::Play) -> bool {
    play.disabled_after > Duration::from_secs(300)
}

fn lies(play: &scenario::Play) -> bool {
    let silent = |i: &sim::Incident| matches!(i, sim::Incident::Lie { .. } | sim::Incident::HangOrchestrator { .. });
    drains(play) && incidents(play, silent) >= 4
}

fn pushes_min(play: &scenario::Play) -> bool {
    drains(play) && play.region.groups[0].min == play.region.groups[0].desired.unwrap()
}

fn has_crashes(play: &scenario::Play) -> bool {
    play.goes_bad_after.is_some() && play.crash_every.is_some_and(|every| every < Duration::from_secs(300))
}

macro_rules! caught {
    ($($name:ident: $plant:ident where $can_show:ident, by $by:expr;)*) => {
        $(#[test] fn $name() { caught(plants::Plant::$plant, $can_show, &$by); })*
    };
}

caught! {
    skipping_the_last_look_is_caught: NoLastLook where forgets, by ["S1", "S2", "S3"];
    taking_unknown_for_idle_is_caught: UnknownIsIdle where lies, by ["S2"];
    repeating_a_lost_terminate_blindly_is_caught: RetryBlindly where decrements_again, by ["S4", "S17", "L7"];
    judging_idle_before_intake_is_closed_is_caught: IntakeNeverClosed where drains, by ["S3"];
    acting_while_held_is_caught: HoldUnseen where rolls_back_late, by ["S11"];
    ending_in_an_enabled_group_is_caught: AlwaysDisabled where enabled_for_long, by ["S6"];
    no_quiet_time_is_caught: NoQuiet where drains, by ["S3"];
    ending_all_at_once_is_caught: NoBudget where drains, by ["S9"];
    // A terminate call that was carried out shows in every read before a forgetful agent can send a second one, so the journal is not what
    // keeps S4. What only it knows is that a drain is to be called off.
    a_journal_that_is_lost_is_caught: NoJournal where has_crashes, by ["L3"];
    a_journal_that_is_not_written_is_caught: Unwritten where drains, by ["S5"];
    writing_desired_is_caught: WritesDesired where pushes_min, by ["S7"];
}
