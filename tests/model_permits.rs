//! Permits to heal as a model, gone through to the last state: agents of one group, each stepped by [`bellrock::decide::step`] itself, their orchestrators
//! all sick, and the book ([`bellrock::orchestrator::permits::Book`]) that lets as many of them be away as there are places.
//!
//! # Scope
//!
//! Two or three instances, one place or two. At any moment and none of it necessarily: an agent's process dies (what it just asked for done or not) and comes
//! back later or never, one answer is lost (done, not done, or the question arrives up to two ticks later), a failover loses the last writes of the book or
//! all of them, one agent reads that there is a place less, an orchestrator falls sick again. A restart ends at any time, is given up at its limit, or its answer is lost. Within
//! what a test says every state is visited; it prints how many there were.
//!
//! # What is promised
//!
//! A permit is *in force* from when its agent hears that it was granted until a lease after the agent asked, by the agent's own clock; or until the agent
//! gives it back, hears that the book does not hold it any more, or dies. Besides, a restart that began under it counts as in force until it is over, or for as long as a restart is
//! waited for (`restart_limit`), also when its agent dies: an agent that stays away for longer leaves its orchestrator stopped, and others do not wait for it.
//!
//! * P1: none comes into force beside as many as there are places, by its own question. Where places do not shrink, there are never more than places.
//! * P2: a restart begins only under a permit that is in force for as long as it may take.
//! * L: once nothing goes wrong any more, all are healed and the book is empty, also where an agent stays away: its place is given again after its lease.
//!
//! # What is real, and what stands for something
//!
//! * Real: `decide` with all that healing is, its policy, journal and answers; the book, which `contract` and `random_sequences_get_the_same_answers` of the
//!   store's tests hold against the Lua on a Redis.
//! * Clocks differ so that it is always everybody's turn: nothing but permits keeps agents apart.
//! * A tick is a minute: a third of how long a restart is waited for, a quarter of a lease, and longer than each pause between two questions. Looks are answered in the step
//!   that asks, deeds in any order within the tick or later.
//!
//! Not in here: a holder that AWS does not list any more, replacements, a journal that cannot be written, a store whose clock jumps, two masters at once.
//! `src/decide/heal/tests/permits.rs` has the first three.

#[path = "model/permits/answers.rs"]
mod answers;
#[path = "model/check.rs"]
mod check;
#[path = "model/group.rs"]
mod group;
#[path = "model/permits/ledger.rs"]
mod ledger;
#[path = "model/permits/setup.rs"]
mod setup;
#[path = "model/view.rs"]
#[allow(dead_code, reason = "the drain's model uses the rest")]
mod view;

use std::collections::HashMap;

use stateright::Model;

use check::breaks;
use check::number;
use ledger::Left;
use ledger::Lending;
use setup::BUDGET;
use setup::COVERED;
use setup::Event;
use setup::Lie;
use setup::Setup;

const NOTHING: Left = Left { crashes: 0, lost: 0, failovers: 0, shrinks: 0, sick: 0 };
/// Ticks within which all that is left to do is done: three wait for a closed book, then one after the other for a place.
const CALM: u8 = 30;

fn setup(agents: usize, left: Left) -> Setup {
    Setup { agents, places: 1, left, lie: None, calm: None }
}

fn holds(setup: Setup) {
    check::holds(&format!("{} agents, {} places, {:?}", setup.agents, setup.places, setup.left), setup);
}

/// All of this rests on it: of states that count as one, one is gone on from.
#[test]
fn states_that_count_as_one_behave_alike() {
    for left in [Left { lost: 1, sick: 1, ..NOTHING }, Left { crashes: 1, ..NOTHING }, Left { failovers: 1, ..NOTHING }] {
        let setup = setup(2, left);
        let next = |lending: &Lending| -> Vec<u64> {
            let mut ways: Vec<u64> = setup.next_states(lending).iter().map(number).collect();
            ways.sort_unstable();
            ways
        };
        let mut queue = setup.init_states();
        let mut first: HashMap<u64, Vec<u64>> = HashMap::new();
        let mut compared = 0;
        while let Some(lending) = queue.pop() {
            let ways = next(&lending);
            match first.get(&number(&lending)) {
                None => {
                    queue.extend(setup.next_states(&lending));
                    first.insert(number(&lending), ways);
                }
                Some(known) => {
                    compared += 1;
                    let steps: Vec<(Event, Lending)> = setup.next_steps(&lending);
                    assert_eq!(*known, ways, "{lending:?}\n{steps:?}");
                }
            }
        }
        println!("{left:?}: {} states, {compared} met again", first.len());
        assert!(compared > 100);
    }
}

#[test]
fn every_promise_is_kept_by_three_with_one_crash_and_one_lost_answer() {
    holds(setup(3, Left { crashes: 1, lost: 1, ..NOTHING }));
}

#[test]
fn every_promise_is_kept_by_three_with_a_failover() {
    holds(setup(3, Left { failovers: 1, ..NOTHING }));
}

#[test]
fn every_promise_is_kept_by_two_with_a_failover_and_a_crash_or_a_lost_answer() {
    holds(setup(2, Left { crashes: 1, failovers: 1, ..NOTHING }));
    holds(setup(2, Left { lost: 1, failovers: 1, ..NOTHING }));
}

#[test]
fn every_promise_is_kept_by_two_of_which_one_falls_sick_again_after_a_failover() {
    holds(setup(2, Left { failovers: 1, sick: 1, ..NOTHING }));
}

#[test]
fn every_promise_is_kept_where_places_shrink_from_two_to_one() {
    holds(Setup { places: 2, ..setup(3, Left { shrinks: 2, ..NOTHING }) });
}

#[test]
fn a_place_is_given_again_after_its_holders_silence_and_all_are_healed_at_last() {
    holds(Setup { calm: Some(CALM), ..setup(2, Left { crashes: 1, lost: 1, ..NOTHING }) });
    holds(Setup { calm: Some(CALM), ..setup(2, Left { failovers: 1, ..NOTHING }) });
}

#[test]
fn without_permits_all_are_away_at_once() {
    breaks(BUDGET, Setup { lie: Some(Lie::NoneNeeded), ..setup(2, NOTHING) });
}

#[test]
fn without_permits_restarts_begin_uncovered() {
    breaks(COVERED, Setup { lie: Some(Lie::NoneNeeded), ..setup(2, NOTHING) });
}

#[test]
fn if_a_lease_were_shorter_in_the_book_than_a_restart_may_take_two_would_be_away() {
    breaks(BUDGET, Setup { lie: Some(Lie::ShortLease), ..setup(2, Left { crashes: 1, ..NOTHING }) });
}

#[test]
fn if_a_book_that_may_have_lost_something_gave_at_once_two_would_hold_the_only_place() {
    breaks(BUDGET, Setup { lie: Some(Lie::OpensAtOnce), ..setup(2, Left { failovers: 1, ..NOTHING }) });
}

#[test]
fn if_an_entry_that_a_book_has_again_let_its_holder_in_two_would_hold_the_only_place() {
    breaks(BUDGET, Setup { lie: Some(Lie::AllKeep), ..setup(2, Left { failovers: 1, sick: 1, ..NOTHING }) });
}

#[test]
fn if_the_number_of_an_intent_were_not_written_down_a_late_word_would_strike_out_the_next_one() {
    breaks(BUDGET, Setup { lie: Some(Lie::NumberIsForgotten), ..setup(2, Left { crashes: 1, lost: 1, sick: 1, ..NOTHING }) });
}

#[test]
fn if_restarts_were_not_over_when_they_are_given_up_they_would_meet_the_next_one() {
    breaks(BUDGET, Setup { lie: Some(Lie::RestartGoesOn), ..setup(2, Left { crashes: 1, ..NOTHING }) });
}

#[test]
fn if_a_permit_were_given_back_before_the_restart_is_over_two_would_be_away() {
    breaks(BUDGET, Setup { lie: Some(Lie::GivenBackEarly), ..setup(2, NOTHING) });
}
