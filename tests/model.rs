//! The drain protocol as a model, gone through to the last state: two agents, each stepped by [`bellrock::decide::step`] itself, in one disabled group beside
//! a newer one, and a person who rolls back.
//!
//! # Scope
//!
//! Two groups of two instances. Work comes at any time to whoever takes any, and ends at any time or never. In one run, each at any moment and none of them
//! necessarily: one agent's process dies (before or after its next deed), one answer to a deed is lost (the deed done, not done, or done by the next tick), one describe shows what was so at the beginning of its tick, one rollback. Within that every state is visited: the checker stops for no other reason than
//! that none is left, and each test says how many there were.
//!
//! # What is real, and what stands for something
//!
//! * Real: `decide` with its `State`, `Policy`, actions and answers; `model`'s groups, tags and holds; the rule that the journal is written in the step and
//!   before its deeds (`daemon`).
//! * AWS, load balancers and orchestrators are `world`: each rule is the simulated region's. A second terminate call for one instance decrements again.
//! * The rollback is written down here, not `rollback::advance` itself, in the order of its stages: hold, restore with min pinned (again, where an agent
//!   unpinned it), wait for the agents and for two in service, switch, release. It may be undone, or abandoned, before it restores. Its own lost answers and
//!   stale reads are not in here: `src/rollback/tests` has them.
//! * An agent's looks and deeds of one moment are answered in the order in which they were asked; a crash falls between ticks, or at a deed.
//! * Of the newer group's instances no agent is looked at: nothing supersedes them.
//! * Time goes in ticks. A tick is the settle time, the quiet time, and one and a half turns; three times the staleness bound, and longer than every pause
//!   that is a constant (750 s at most): so every look and every retry is due with the next tick, whatever the jitter. What happens, happens in the first
//!   third of a tick, in any order; looks are answered in the tick in which they are asked, so that a read is used at once or is too old.
//! * What a person does falls between two ticks, or between a deed's being asked for and its being done.
//! * A state counts by what it can still bring about: see `view`, and the test that states which count as one behave alike. A state and its mirror image,
//!   with the two agents' places changed, count as one.
//!
//! Not in here: a read that is answered late, the capacity tag's writing, lifecycle hooks, spot, healing, scale-in by AWS, operators' orders, soak, keep, deadlines, Spinnaker as the hand, suspended `Terminate`, clocks
//! that differ. The drill's seeds and `src/decide/tests.rs` have those.
//!
//! # Guards
//!
//! Each promise is shown to rest on its guard: with the guard taken away, in the policy or by the one lie that `answers` tells between world and agent, the
//! checker finds the way to break it. `BELLROCK_MODEL_PATH=1 cargo test --test model -- --nocapture` prints the ways.

#[path = "model/drain/answers.rs"]
mod answers;
#[path = "model/check.rs"]
mod check;
#[path = "model/drain/fleet.rs"]
mod fleet;
#[path = "model/group.rs"]
mod group;
#[path = "model/drain/setup.rs"]
mod setup;
#[path = "model/view.rs"]
#[allow(dead_code, reason = "the model of permits uses the rest")]
mod view;
#[path = "model/drain/world.rs"]
mod world;

use std::collections::HashMap;
use std::time::Duration;

use stateright::Checker;
use stateright::Model;

use bellrock::decide::Policy;

use check::breaks;
use check::number;
use fleet::Fleet;
use fleet::Left;
use setup::BUDGET;
use setup::BUSY;
use setup::CAPACITY;
use setup::Course;
use setup::Event;
use setup::HELD;
use setup::Lie;
use setup::MIN;
use setup::OPEN;
use setup::REOPENED;
use setup::Setup;
use setup::TWICE;
use setup::UNJUSTIFIED;
use setup::UNWRITTEN;
use world::TICK;

const NOTHING: Left = Left { crashes: 0, lost: 0, stale: 0, unknown: 0, gaps: 0, rollbacks: 0, sick: 0 };
const ROLLBACK: Left = Left { rollbacks: 1, ..NOTHING };

fn policy() -> Policy {
    let often = Duration::from_secs(1);
    Policy {
        describe_every: Duration::from_secs(30),
        metadata_every: often,
        activity_every: TICK / 2,
        activity_every_idle: often,
        settle: TICK,
        quiet: TICK,
        sample_max_age: TICK,
        agree_reads: 2,
        agree_over: TICK,
        stale_bound: TICK / 3,
        ..Policy::default()
    }
}

/// Desired and min are both 2, so that min is in the way of both (F24).
fn setup(left: Left) -> Setup {
    Setup { policy: policy(), min: 2, left, lie: None, settle: 3, course: Course::Through, calm: None }
}

fn holds(setup: Setup) {
    check::holds(&format!("{:?}", setup.left), setup);
}

/// All of this rests on it: of states that count as one, one is gone on from.
#[test]
fn states_that_count_as_one_behave_alike() {
    let next = |setup: &Setup, fleet: &Fleet| -> Vec<(Event, u64)> {
        setup.next_steps(fleet).into_iter().map(|(event, next)| (event, number(&next))).collect()
    };
    for left in [Left { lost: 1, ..NOTHING }, Left { stale: 1, ..NOTHING }, Left { crashes: 1, ..NOTHING }, ROLLBACK] {
        let setup = setup(left);
        let mut queue = setup.init_states();
        let mut first: HashMap<u64, Vec<(Event, u64)>> = HashMap::new();
        let mut compared = 0;
        while let Some(fleet) = queue.pop() {
            let mut ways = next(&setup, &fleet);
            // A mirror image has its events mirrored.
            ways.sort_by_key(|(_, to)| *to);
            match first.get(&number(&fleet)) {
                None => {
                    queue.extend(setup.next_states(&fleet));
                    first.insert(number(&fleet), ways);
                }
                Some(known) => {
                    compared += 1;
                    let reached = |ways: &[(Event, u64)]| ways.iter().map(|(_, to)| *to).collect::<Vec<_>>();
                    assert_eq!(reached(known), reached(&ways), "{fleet:?}\n{known:?}\n{ways:?}");
                }
            }
        }
        println!("{left:?}: {} states, {compared} met again", first.len());
        assert!(compared > 100);
    }
}

#[test]
fn every_promise_is_kept_with_one_crash_one_lost_answer_one_stale_read_and_one_rollback() {
    holds(setup(Left { crashes: 1, lost: 1, stale: 1, ..ROLLBACK }));
}

#[test]
fn every_promise_is_kept_when_a_rollback_is_thought_better_of() {
    holds(Setup { course: Course::ThoughtBetter, ..setup(Left { crashes: 1, ..ROLLBACK }) });
}

#[test]
fn every_promise_is_kept_when_a_rollback_is_abandoned() {
    holds(Setup { course: Course::Abandoned, ..setup(Left { crashes: 1, ..ROLLBACK }) });
}

#[test]
fn every_promise_is_kept_when_the_newer_group_falls_sick() {
    holds(setup(Left { stale: 1, sick: 1, ..NOTHING }));
}

#[test]
fn every_promise_is_kept_when_gauges_fall_to_zero_or_say_nothing() {
    holds(Setup { min: 0, ..setup(Left { crashes: 1, unknown: 1, gaps: 2, ..NOTHING }) });
}

#[test]
fn every_promise_is_kept_when_min_is_in_nobodys_way() {
    holds(Setup { min: 0, ..setup(Left { crashes: 1, lost: 1, stale: 1, ..NOTHING }) });
}

#[test]
fn all_comes_to_its_end_after_a_crash_and_a_lost_answer() {
    holds(Setup { calm: Some(CALM), ..setup(Left { crashes: 1, lost: 1, ..NOTHING }) });
}

#[test]
fn all_comes_to_its_end_after_a_rollback_whatever_became_of_it() {
    for course in [Course::Through, Course::ThoughtBetter, Course::Abandoned] {
        holds(Setup { calm: Some(CALM), course, ..setup(ROLLBACK) });
    }
}

#[test]
fn without_the_settle_time_work_that_does_not_show_yet_is_lost() {
    breaks(BUSY, Setup { policy: Policy { settle: Duration::ZERO, ..policy() }, min: 0, ..setup(Left { gaps: 2, ..NOTHING }) });
}

#[test]
fn without_the_quiet_time_work_between_two_tasks_is_lost() {
    breaks(BUSY, Setup { policy: Policy { quiet: Duration::ZERO, ..policy() }, min: 0, ..setup(Left { gaps: 2, ..NOTHING }) });
}

#[test]
fn if_unknown_were_idle_work_would_be_lost() {
    breaks(BUSY, Setup { lie: Some(Lie::UnknownIsIdle), ..setup(Left { unknown: 4, ..NOTHING }) });
}

#[test]
fn if_the_switch_were_not_read_back_an_instance_would_end_that_takes_work() {
    breaks(OPEN, Setup { lie: Some(Lie::IntakeReadsClosed), ..setup(Left { lost: 1, ..NOTHING }) });
}

#[test]
fn if_a_lost_answer_were_a_no_desired_would_fall_twice() {
    let policy = Policy { budget_percent: 100, ..policy() };
    breaks(TWICE, Setup { policy, lie: Some(Lie::LostIsNo), min: 0, ..setup(Left { lost: 1, ..NOTHING }) });
}

/// The turns of a budget guard against it too: without them, only what is done about a lost answer does.
#[test]
fn desired_falls_once_for_each_even_where_nobody_waits_for_a_turn() {
    let left = Left { crashes: 1, lost: 1, stale: 1, ..NOTHING };
    let checker =
        Setup { policy: Policy { budget_percent: 100, ..policy() }, min: 0, ..setup(left) }.checker().threads(2).spawn_bfs().join();
    println!("{left:?} without turns: {} states", checker.unique_state_count());
    checker.assert_no_discovery(TWICE);
    checker.assert_no_discovery(BUSY);
}

#[test]
fn if_the_journal_were_not_written_first_a_call_would_go_out_unrecorded() {
    breaks(UNWRITTEN, Setup { lie: Some(Lie::IntentIsForgotten), ..setup(NOTHING) });
}

#[test]
fn if_journal_and_metadata_forgot_the_end_a_crash_would_open_intake_on_an_instance_that_ends() {
    breaks(REOPENED, Setup { lie: Some(Lie::EndIsForgotten), ..setup(Left { crashes: 1, ..ROLLBACK }) });
}

#[test]
fn if_the_successors_health_were_not_asked_an_instance_would_end_for_no_reason() {
    breaks(UNJUSTIFIED, Setup { lie: Some(Lie::NewerLooksWell), ..setup(Left { sick: 1, ..NOTHING }) });
}

#[test]
fn if_agents_did_not_see_the_hold_they_would_end_instances_under_it() {
    breaks(HELD, Setup { lie: Some(Lie::HoldIsHidden), course: Course::ThoughtBetter, ..setup(ROLLBACK) });
}

#[test]
fn if_agents_did_not_see_the_hold_they_would_lower_min_under_it() {
    breaks(MIN, Setup { lie: Some(Lie::HoldIsHidden), course: Course::ThoughtBetter, ..setup(ROLLBACK) });
}

#[test]
fn without_the_pin_and_the_wait_for_agents_a_rollback_would_lose_what_it_restored() {
    breaks(CAPACITY, Setup { lie: Some(Lie::MinIsNotPinned), settle: 0, min: 0, ..setup(ROLLBACK) });
}

#[test]
fn if_describes_were_older_than_the_bound_two_would_end_at_once() {
    breaks(BUDGET, Setup { lie: Some(Lie::Older(2)), min: 0, ..setup(Left { stale: 2, ..NOTHING }) });
}

/// Ticks within which all that is left to do is done, once nothing comes between: a cancelled drain begins anew, waits for its evidence and for two turns.
const CALM: u8 = 24;
