//! Answers that come late, after something else was decided meanwhile.

use super::*;

/// An orchestrator is being stopped, and takes 20 s to it.
fn stopping() -> Rig {
    let mut rig = stops();
    rig.run_s(60);
    rig.deed_lag = Duration::from_secs(20);
    rig.until(|rig| rig.word() == "stopping_orchestrator");
    rig
}

#[test]
fn a_drain_called_off_while_the_orchestrator_stops_starts_it_again_l3() {
    for (answers_meanwhile, switch) in [(false, true), (true, true), (false, false), (true, false)] {
        let mut rig = stopping();
        let intake = |known: Intake| if switch { known } else { Intake::NoSwitch };
        let dead = (rig.busy.clone(), intake(rig.intake.clone()));
        (rig.busy, rig.intake) = if answers_meanwhile { (Activity::Idle, intake(Intake::Closed)) } else { dead.clone() };
        rig.undrain();
        rig.deed_lag = Duration::ZERO;
        rig.run_s(10);
        (rig.busy, rig.intake) = dead;
        assert_eq!(rig.word(), "reopening_intake", "{answers_meanwhile} {switch}");
        rig.run_s(70);
        let starts = rig.count(|deed| *deed == Deed::StartOrchestrator);
        assert_eq!((rig.word(), starts, &rig.busy), ("working", 1, &Activity::Idle), "{answers_meanwhile} {switch}: {:?}", rig.deeds);
    }
}

#[test]
fn an_orchestrator_that_does_not_start_again_is_not_given_up_for_want_of_a_switch_l3() {
    let mut rig = stopping();
    rig.undrain();
    (rig.starts, rig.deed_lag) = (false, Duration::ZERO);
    for _ in 0..600 {
        rig.run_s(1);
        rig.intake = Intake::NoSwitch;
        assert_ne!(rig.word(), "working");
        if rig.state.phase().held() == Some(HeldWhy::IntakeStuck) {
            break;
        }
    }
    rig.run_s(20);
    assert_eq!(rig.state.phase().held(), Some(HeldWhy::IntakeStuck));
    rig.busy = Activity::Idle;
    rig.run_s(60);
    assert_eq!(rig.word(), "working");
}

#[test]
fn a_call_that_is_out_is_not_forgotten_when_the_journal_cannot_be_written_after_it_s4() {
    let mut rig = Rig::superseded();
    rig.terminate = vec![fault(FaultKind::OutcomeUnknown, "timed out")];
    rig.run_s(60);
    rig.deed_lag = Duration::from_secs(20);
    rig.until(|rig| rig.word() == "terminating");
    rig.run_s(1);
    rig.see(Seen::JournalLost("disk full".to_owned()));
    rig.run_s(25);
    assert_eq!(rig.word(), "outcome_unknown");
}

#[test]
fn idle_at_last_is_not_held_up_by_a_deadline_that_is_long_past_f8() {
    let mut rig = Rig::superseded();
    rig.policy.deadline = Some(Duration::from_secs(1800));
    rig.look_lag = Duration::from_secs(3);
    rig.busy = busy();
    rig.run_s(4000);
    assert_eq!(rig.state.phase().held(), Some(HeldWhy::Deadline));
    rig.busy = Activity::Idle;
    rig.until(|rig| rig.word() == "closing_intake");
    rig.see(Seen::Tick);
    assert_eq!(rig.word(), "closing_intake", "the look that shows it idle is on its way");
    rig.run_s(60);
    assert_eq!(rig.terminations(), 1);
}
