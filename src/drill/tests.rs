use std::time::Duration;

use super::*;
use crate::cloud::sim;

fn assert_pass(report: &Report) {
    let broken: Vec<&Invariant> = report.invariants.iter().filter(|i| !i.held).collect();
    assert!(broken.is_empty(), "{} seed {}: {broken:#?}\n{:#?}", report.piece.scenario.name(), report.seed, report.figures);
}

fn endpoint() -> Piece {
    Piece::on(Scenario::Redeploy, Runs::Endpoint).unwrap()
}

#[test]
fn a_redeploy_hands_work_on_and_every_old_instance_leaves_in_moments() {
    for seed in 0..5 {
        let report = run_alone(Scenario::Redeploy, seed, None).unwrap();
        assert_pass(&report);
        let figures = &report.figures;
        assert!(figures.executions.started >= 60 && figures.executions.lost == 0 && figures.executions.lost_to_agents == 0, "{figures:?}");
        assert_eq!(figures.lost_jobs, 0);
        assert!(figures.instances_retired >= 4 && figures.decrements == figures.instances_retired, "{figures:?}");
        assert!(figures.longest_drain_s < 180, "{figures:?}");
    }
}

#[test]
fn a_redeploy_of_another_orchestrator_loses_nothing_and_every_old_instance_leaves() {
    for seed in 0..5 {
        let report = run_alone(endpoint(), seed, None).unwrap();
        assert_pass(&report);
        assert_eq!(report.figures.executions.lost, 0);
        assert!(report.figures.instances_retired >= 4, "{:?}", report.figures);
        assert_eq!(report.figures.decrements, report.figures.instances_retired);
    }
}

#[test]
fn crashes_lose_nothing_and_others_go_on() {
    let mut all = Figures::default();
    for seed in 0..10 {
        let report = run_alone(Scenario::Crash, seed, None).unwrap();
        assert_pass(&report);
        all.add(report.figures);
    }
    assert!(all.machines_fallen >= 20 && all.adopted >= 50 && all.lost_jobs > 0, "nothing much happened: {all:?}");
}

#[test]
fn rollback_restores_what_was() {
    for seed in 0..40 {
        assert_pass(&run_alone(Scenario::Rollback, seed, None).unwrap());
    }
}

/// Nights that went wrong once: an undo that had marked one group alone (464, 500) or whose laptop died after its last change (932, 1180), a process
/// suspended by somebody at its very end (1649), a rollback that died before it had marked the second cluster (the others).
#[test]
fn nights_that_went_wrong_once_do_not_again() {
    for seed in [464, 500, 716, 837, 932, 1180, 1211, 1397, 1649] {
        assert_pass(&run_before_anybody_was_kept(seed, None));
    }
}

/// The call that resumes what was frozen was lost, and a read from before it was frozen looked like its success.
#[test]
fn a_night_in_which_a_stale_read_looked_like_a_success() {
    assert_pass(&run_alone(Scenario::Rollback, 4553, None).unwrap());
}

/// Agents that could read nothing in time until they were let go recorded nothing of what their group had, or recorded what a sibling had lowered.
#[test]
fn nights_in_which_a_record_was_missing_or_late() {
    assert_pass(&run_alone(Scenario::Rollback, 4388, None).unwrap());
    for seed in [712, 1785, 2049, 2091, 3353, 3472, 4314] {
        assert_pass(&run_alone(Scenario::Storm, seed, None).unwrap());
    }
}

/// An agent that came back started the engine again that its drain had stopped (238, 659); a machine kept an execution for the job it was at, over a line
/// that lost calls (the others); an orchestrator came up, its intake open, after AWS had taken its instance back (Spot); one that hung came to itself while it was being
/// restarted (SickFleet).
#[test]
fn nights_in_which_something_came_up_late() {
    for seed in [2083, 2110, 3113] {
        assert_pass(&run_alone(Scenario::SickFleet, seed, None).unwrap());
    }
    for seed in [238, 408, 503, 659, 839, 4055] {
        assert_pass(&run_before_anybody_lay_in_wait(seed));
    }
    assert_pass(&run_alone(Piece::on(Scenario::Spot, Runs::Endpoint).unwrap(), 245, None).unwrap());
}

/// The crashes of this seed as they were before agents fell at the worst of times.
fn run_before_anybody_lay_in_wait(seed: u64) -> Report {
    let mut play = scenario::play(Scenario::Crash, seed);
    play.engines.as_mut().unwrap().ambushes = super::fleet::script::Ambushes::default();
    alone().unwrap().block_on(run_play(&play, Scenario::Crash.into(), seed, &mut Nobody, None))
}

/// The night of this seed as it was before some of them had somebody kept for the post-mortem.
fn run_before_anybody_was_kept(seed: u64, plant: Plant) -> Report {
    let mut play = scenario::play(Scenario::Rollback, seed);
    play.oncall.keep_bad = 0;
    alone().unwrap().block_on(run_play(&play, Scenario::Rollback.into(), seed, &mut Nobody, plant))
}

#[test]
fn an_undo_whose_laptop_dies_is_judged_all_the_same() {
    for (plant, by) in
        [(plants::Plant::RecordForgotten, "S12"), (plants::Plant::ProtectsNobody, "S13"), (plants::Plant::ProtectsForGood, "S16")]
    {
        let report = run_before_anybody_was_kept(932, Some(plant));
        let broken: Vec<&str> = report.invariants.iter().filter(|i| !i.held).map(|i| i.id).collect();
        assert_eq!(broken, [by], "{plant:?}");
    }
}

#[test]
fn bad_nights_have_every_kind_of_trouble_in_them() {
    let plays: Vec<_> = (0..40).map(|seed| scenario::play(Scenario::Rollback, seed)).collect();
    for then in [scenario::Then::Again, scenario::Then::Resume, scenario::Then::Undo] {
        assert!(plays.iter().filter(|p| p.oncall.then == then && !p.oncall.deaths.is_empty()).count() >= 4, "{then:?}");
    }
    assert!(plays.iter().filter(|p| p.oncall.canary).count() >= 10);
    assert!(plays.iter().filter(|p| p.oncall.keep_bad > 0).count() >= 10);
    assert!(plays.iter().filter(|p| p.oncall.meddled_after.is_some()).count() >= 4);
    assert!(plays.iter().filter(|p| !p.region.trouble.is_empty()).count() >= 10);
}

#[test]
fn storms_break_nothing() {
    for seed in 0..10 {
        assert_pass(&run_alone(Scenario::Storm, seed, None).unwrap());
    }
}

#[test]
fn what_hangs_by_itself_is_restarted_and_nobody_else() {
    let mut all = Figures::default();
    for seed in 0..6 {
        let report = run_alone(Scenario::SickOrchestrator, seed, None).unwrap();
        assert_pass(&report);
        all.add(report.figures);
    }
    assert!(all.restarts >= 6 && all.restarts_at_once == 1, "{all:?}");
}

/// Turns rest on clocks, reads and lengths of time; whatever becomes of those, permits hold the budget.
#[test]
fn where_there_are_permits_turns_that_are_too_short_do_no_harm() {
    let (mut with, mut without) = (0, 0);
    for seed in 0..12 {
        let play = scenario::play(Scenario::SickFleet, seed);
        if !is_seen_by_nobody(&play) {
            continue;
        }
        let report = run_alone(Scenario::SickFleet, seed, Some(plants::Plant::ShortTurns)).unwrap();
        let kept = |id: &str| report.invariants.iter().all(|i| i.id != id || i.held);
        if play.permits {
            assert!(kept("H1") && kept("H5"), "seed {seed}: {:?}", report.figures);
            assert!(report.figures.permits_at_once <= 1, "{:?}", report.figures);
            with += report.figures.restarts;
        } else {
            without += usize::from(!kept("H1"));
        }
    }
    assert!(with > 0 && without > 0, "{with} restarts with permits, {without} plays in which turns alone did not hold the budget");
}

#[test]
fn a_cause_that_all_share_makes_no_storm_of_restarts_and_replaces_nobody() {
    let mut all = Figures::default();
    for seed in 0..6 {
        let report = run_alone(Scenario::SickFleet, seed, None).unwrap();
        assert_pass(&report);
        all.add(report.figures);
    }
    assert!(all.restarts > 0 && all.restarts_at_once == 1 && all.heal_held.contains_key("heal_fleet_sick"), "{all:?}");
}

#[test]
fn a_store_that_does_not_answer_restarts_nobody() {
    for seed in 0..6 {
        let report = run_alone(Scenario::SickStore, seed, None).unwrap();
        assert_pass(&report);
        assert_eq!(report.figures.restarts, 0);
        assert!(report.figures.heal_held.contains_key("heal_store_down"), "{:?}", report.figures);
    }
}

#[test]
fn whose_disk_is_full_is_replaced_and_nobody_else() {
    let mut all = Figures::default();
    for seed in 0..8 {
        let report = run_alone(Scenario::SickHost, seed, None).unwrap();
        assert_pass(&report);
        all.add(report.figures);
    }
    assert!(all.instances_retired > all.decrements && all.restarts == 0, "{all:?}");
}

#[test]
fn what_aws_ends_is_drained_before_and_taken_over_after() {
    let mut all = std::collections::BTreeMap::<_, Figures>::new();
    for (scenario, seed) in
        [Scenario::Spot, Scenario::ScaleIn, Scenario::Refresh, Scenario::AzOutage].into_iter().flat_map(|s| (0..3).map(move |n| (s, n)))
    {
        for runs in scenario.orchestrators() {
            let report = run_alone(Piece::on(scenario, *runs).unwrap(), seed, None).unwrap();
            assert_pass(&report);
            all.entry((scenario.name(), runs.name())).or_default().add(report.figures);
        }
    }
    let calls = |name: &str, action: &str| all[&(name, "endpoint")].calls.get(action).copied().unwrap_or_default();
    assert!(calls("scale-in", "CompleteLifecycleAction") >= 3 && calls("refresh", "CompleteLifecycleAction") >= 9, "{all:#?}");
    assert!(calls("scale-in", "RecordLifecycleActionHeartbeat") >= 10 && calls("scale-in", "SetInstanceProtection") >= 1, "{all:#?}");
    assert!(all[&("az-outage", "embedded")].adopted >= 1, "{all:#?}");
}

#[test]
fn the_same_seed_gives_the_same_play() {
    for scenario in [Scenario::SickFleet, Scenario::Storm, Scenario::Crash, Scenario::Redeploy] {
        let play = || run_alone(scenario, 3, None).unwrap();
        assert_eq!(play(), play());
    }
}

/// Plays storms, or crashes, with a bug planted until every one of these invariants has broken: those alone in which the bug can show.
fn caught(scenario: Scenario, plant: plants::Plant, can_show: fn(&scenario::Play) -> bool, by: &[&str]) {
    let mut seen = std::collections::BTreeMap::new();
    for seed in (0..4000).filter(|seed| can_show(&scenario::play(scenario, *seed))).take(40) {
        let report = run_alone(scenario, seed, Some(plant)).unwrap();
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
        let report = run_alone(endpoint(), seed, Some(plant)).unwrap();
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

/// Busy instances protect themselves.
fn protects(play: &scenario::Play) -> bool {
    play.policy.protect
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

/// The machine of the person on call dies in the middle of the rollback.
fn dies_at_it(play: &scenario::Play) -> bool {
    !play.oncall.deaths.is_empty() && play.oncall.meddled_after.is_none()
}

/// Somebody of the old group has gone, so that some have to come.
fn has_canary(play: &scenario::Play) -> bool {
    play.oncall.canary
}

/// Some are to be kept for the post-mortem.
fn keeps(play: &scenario::Play) -> bool {
    play.oncall.keep_bad > 0
}

/// And the rollback is taken back then.
fn is_taken_back(play: &scenario::Play) -> bool {
    dies_at_it(play) && play.oncall.then == scenario::Then::Undo
}

/// All hang, and agents can see that.
fn is_seen_by_all(play: &scenario::Play) -> bool {
    play.sickness.as_ref().is_some_and(|sickness| sickness.shared.is_some())
}

fn is_seen_by_nobody(play: &scenario::Play) -> bool {
    !is_seen_by_all(play)
}

/// The same, and permits are to be had.
fn lends_unseen(play: &scenario::Play) -> bool {
    is_seen_by_nobody(play) && play.permits
}

fn anything(_: &scenario::Play) -> bool {
    true
}

/// Agents fall in a drain and come back to a line that is cut.
fn has_ambushes(play: &scenario::Play) -> bool {
    play.engines.as_ref().is_some_and(|script| !script.ambushes.cuts.is_empty())
}

fn falls_at_effects(play: &scenario::Play) -> bool {
    play.engines.as_ref().is_some_and(|script| script.falls_at_effects() >= 3)
}

/// The line of a busy machine is cut for longer than its lease.
fn cuts(play: &scenario::Play) -> bool {
    play.engines.as_ref().is_some_and(|script| script.longest_cut() > Duration::from_secs(12))
}

macro_rules! caught {
    ($($name:ident: $plant:ident in $scenario:ident where $can_show:ident, by $by:expr;)*) => {
        $(#[test] fn $name() { caught(Scenario::$scenario, plants::Plant::$plant, $can_show, &$by); })*
    };
}

caught! {
    skipping_the_last_look_is_caught: NoLastLook in Storm where forgets, by ["S1", "S2", "S3"];
    taking_unknown_for_idle_is_caught: UnknownIsIdle in Storm where lies, by ["S2"];
    repeating_a_lost_terminate_blindly_is_caught: RetryBlindly in Storm where decrements_again, by ["S4", "S17", "L7"];
    judging_idle_before_intake_is_closed_is_caught: IntakeNeverClosed in Storm where drains, by ["S3"];
    acting_while_held_is_caught: HoldUnseen in Storm where rolls_back_late, by ["S11"];
    ending_in_an_enabled_group_is_caught: AlwaysDisabled in Storm where enabled_for_long, by ["S6"];
    no_quiet_time_is_caught: NoQuiet in Storm where drains, by ["S3"];
    ending_all_at_once_is_caught: NoBudget in Storm where drains, by ["S9"];
    // A terminate call that was carried out shows in every read before a forgetful agent can send a second one, so the journal is not what
    // keeps S4. What only it knows is that a drain is to be called off.
    a_journal_that_is_lost_is_caught: NoJournal in Storm where has_crashes, by ["L3"];
    a_journal_that_is_not_written_is_caught: Unwritten in Storm where drains, by ["S5"];
    writing_desired_is_caught: WritesDesired in Storm where pushes_min, by ["S7"];
    beginning_before_the_write_is_caught: BeginsEarly in Crash where falls_at_effects, by ["E2"];
    ignoring_the_fence_is_caught: FenceIgnored in Crash where cuts, by ["E3"];
    repeating_a_job_that_is_not_idempotent_is_caught: JobsAgain in Crash where anything, by ["E2"];
    forgetting_the_jobs_of_a_machine_is_caught: JobsForgotten in Crash where anything, by ["E8"];
    forgetting_an_adoption_is_caught: AdoptionForgotten in Crash where anything, by ["E1"];
    taking_an_engine_without_its_session_for_idle_is_caught: UnseenIsIdle in Crash where has_ambushes, by ["S1"];
    overlooking_a_job_whose_execution_went_elsewhere_is_caught: JobsOfOthersUnseen in Crash where has_ambushes, by ["S1"];
    a_lease_that_is_too_long_is_caught: LongLease in Crash where anything, by ["E4"];
    closing_intake_without_stopping_claims_is_caught: IntakeNeverClosed in Redeploy where anything, by ["S3"];
    letting_a_hook_run_out_is_caught: NoHeartbeats in ScaleIn where anything, by ["L5"];
    answering_a_hook_with_work_in_flight_is_caught: AnswersAtOnce in ScaleIn where anything, by ["S10", "L5"];
    leaving_oneself_protected_is_caught: StaysProtected in ScaleIn where protects, by ["S16"];
    taking_work_after_a_spot_notice_is_caught: IntakeNeverClosed in Spot where anything, by ["F41"];
    running_on_instead_of_handing_off_is_caught: NoHandoff in Redeploy where anything, by ["E6"];
    a_hand_off_that_takes_too_long_is_caught: SlowHandback in Redeploy where anything, by ["E5"];
    not_writing_down_how_a_group_was_found_is_caught: RecordForgotten in Rollback where dies_at_it, by ["S12"];
    an_undo_that_leaves_it_to_aws_who_ends_is_caught: ProtectsNobody in Rollback where is_taken_back, by ["S13"];
    an_undo_that_leaves_members_protected_is_caught: ProtectsForGood in Rollback where is_taken_back, by ["S16"];
    leaving_frozen_what_was_frozen_is_caught: NeverThaws in Rollback where anything, by ["S12"];
    a_rollback_that_sees_what_it_wants_to_see_is_caught: SeesWhatItWants in Rollback where anything, by ["S13"];
    launching_all_beside_the_canary_is_caught: AllAtOnce in Rollback where has_canary, by ["S13"];
    keeping_nobody_is_caught: KeepsNobody in Rollback where keeps, by ["S12"];
    starting_twice_is_caught: StartsTwice in Redeploy where anything, by ["E7"];
    restarting_all_at_once_is_caught: RestartsAtOnce in SickFleet where is_seen_by_nobody, by ["H1"];
    restarting_for_ever_is_caught: RestartsForEver in SickFleet where is_seen_by_nobody, by ["H2"];
    restarting_for_a_store_that_is_down_is_caught: StoreUnseen in SickStore where anything, by ["H3"];
    restarting_for_a_cause_that_all_share_is_caught: SiblingsUnseen in SickFleet where is_seen_by_all, by ["H3"];
    a_permit_for_everybody_is_caught: PermitsForAll in SickFleet where lends_unseen, by ["H1", "H5"];
    leaving_a_sick_orchestrator_alone_is_caught: NeverHeals in SickOrchestrator where anything, by ["H4"];
}
