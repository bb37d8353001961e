//! `--keep-bad`: who is left alive, what becomes of the rest, and every way out of it.

use super::*;
use crate::model::CAPACITY_TAG;
use crate::model::GENERATION_TAG;
use crate::model::Group;
use crate::rollback::kept::KEPT_TAG;

fn keeping(count: u32) -> Request {
    Request { keep_bad: count, ..request(900) }
}

fn undo() -> Request {
    Request { undo: true, ..request(900) }
}

async fn dies_at(fleet: &Fleet, change: usize) {
    fleet.fault(change, Fault::Dies);
    let request = keeping(1);
    let died = tokio::time::timeout(Duration::from_secs(300), go(fleet, &request)).await;
    assert!(died.is_err(), "it dies at {change}: {died:?}");
}

async fn changes_of_a_clean_run() -> usize {
    let clean = with_polling();
    assert_eq!(go(&clean, &keeping(1)).await.exit_code(), 0);
    clean.changes()
}

fn in_standby(fleet: &Fleet) -> Vec<String> {
    let group = fleet.group("spin-ha-v024");
    group.instances.iter().filter(|i| i.state == LifecycleState::Standby).map(|i| i.id.to_string()).collect()
}

/// All but the counter of rollbacks.
fn shape(group: Group) -> impl PartialEq + std::fmt::Debug {
    let tags: Vec<(String, String)> = group.tags.into_iter().filter(|(key, _)| key != GENERATION_TAG).collect();
    let members: Vec<(String, LifecycleState)> = group.instances.into_iter().map(|i| (i.id.to_string(), i.state)).collect();
    (group.capacity, group.suspended.into_keys().collect::<Vec<_>>(), tags, members)
}

#[tokio::test(start_paused = true)]
async fn who_does_not_serve_is_kept_in_standby_and_the_rest_ends() {
    let fleet = redeployed();
    fleet.sicken(Some("spin-ha-v024-4"));
    let outcome = go(&fleet, &keeping(2)).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    tokio::time::sleep(ENDING * 2).await;
    assert_rolled_back(&fleet, "two are kept");
    assert_eq!(in_standby(&fleet), ["i-spin-ha-v024-2", "i-spin-ha-v024-4"], "the sick one, and the first of the others");
    let group = fleet.group("spin-ha-v024");
    assert_eq!((group.instances.len(), group.tags[CAPACITY_TAG].as_str()), (2, "3/3/6"));
    let told = report(&outcome).verified.iter().find(|line| line.contains("in standby")).expect("it is told");
    assert!(told.contains("--instance-id i-spin-ha-v024-4"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn standby_takes_as_much_of_the_sizes_as_the_kept_weigh() {
    let fleet = redeployed();
    ["spin-ha-v023", "spin-ha-v024"].iter().for_each(|name| fleet.weigh(name, 4));
    let outcome = go(&fleet, &keeping(2)).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    tokio::time::sleep(ENDING * 2).await;
    assert_eq!((sizes(&fleet, "spin-ha-v023"), sizes(&fleet, "spin-ha-v024")), ("12/12/24".to_owned(), "0/0/0".to_owned()));
    assert_eq!((in_standby(&fleet).len(), fleet.group("spin-ha-v024").instances.len()), (2, 2));
    assert_eq!((fleet.group("spin-ha-v023").instances.len(), fleet.group("spin-ha-v024").tags[CAPACITY_TAG].as_str()), (3, "12/12/24"));
    assert_eq!(fleet.broken(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn another_machine_that_is_told_nothing_keeps_as_many_as_the_first_was_asked_to() {
    for marked in 1..=4 {
        let fleet = with_polling();
        // Where the newest group has no tags yet, nobody has been chosen.
        marks_one_alone(&fleet, &keeping(2), 4, marked).await;
        let resume = Request { resume: true, taken_over: true, ..Request::of("spin", "bob@desk") };
        let outcome = go(&fleet, &resume).await;
        assert!(matches!(outcome, Outcome::Done(_)), "mark {marked}: {outcome:?}");
        assert_eq!(in_standby(&fleet).len(), 2, "mark {marked}");
        assert_rolled_back(&fleet, &format!("mark {marked}"));
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_cluster_that_polls_nobody_is_kept() {
    let fleet = with_polling();
    let outcome = go(&fleet, &keeping(1)).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert_rolled_back(&fleet, "one is kept");
    assert_eq!((in_standby(&fleet).len(), fleet.group("spin-ha-polling-v024").instances.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_rerun_without_the_option_keeps_whom_the_first_run_chose_whichever_change_it_died_at() {
    for at in 1..=changes_of_a_clean_run().await {
        let fleet = Fleet { stale: Duration::from_secs(3), ..with_polling() };
        dies_at(&fleet, at).await;
        let chosen = fleet.group("spin-ha-v024").tags.contains_key(KEPT_TAG);
        let outcome = go(&fleet, &request(900)).await;
        let nothing = matches!(&outcome, Outcome::Refused(why) if why.refusals.iter().all(|r| r.code() == "rollback-nothing-to-do"));
        assert!(matches!(outcome, Outcome::Done(_)) || nothing, "died at {at}: {outcome:?}");
        assert_rolled_back(&fleet, &format!("died at {at}"));
        assert_eq!(in_standby(&fleet).len(), usize::from(chosen), "died at {at}");
        assert_eq!(fleet.group("spin-ha-v024").tags[CAPACITY_TAG], "3/3/6", "died at {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_at_any_change_keeps_one_and_no_more() {
    for at in 1..=changes_of_a_clean_run().await {
        for fault in [Fault::ReplyLost, Fault::RequestLost] {
            let fleet = Fleet { stale: Duration::from_secs(4), ..with_polling() };
            fleet.fault(at, fault);
            let outcome = go(&fleet, &keeping(1)).await;
            assert!(matches!(outcome, Outcome::Done(_)), "{fault:?} at {at}: {outcome:?}");
            assert_rolled_back(&fleet, &format!("{fault:?} at {at}"));
            assert_eq!(in_standby(&fleet), ["i-spin-ha-v024-2"], "{fault:?} at {at}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_puts_all_back_until_the_first_is_in_standby_and_goes_forward_afterwards() {
    let (mut back, mut forward) = (0, 0);
    for at in 1..=changes_of_a_clean_run().await {
        let fleet = Fleet { undone: true, stale: Duration::from_secs(3), ..with_polling() };
        let before = ["spin-ha-v023", "spin-ha-v024"].map(|name| shape(fleet.group(name)));
        dies_at(&fleet, at).await;
        let switched = !in_standby(&fleet).is_empty() || fleet.group("spin-ha-polling-v024").capacity == Capacity::default();
        let outcome = go(&fleet, &undo()).await;
        assert!(matches!(outcome, Outcome::Done(_)), "died at {at}: {outcome:?}");
        tokio::time::sleep(ENDING * 2).await;
        if in_standby(&fleet).is_empty() && !switched {
            back += 1;
            assert_eq!(["spin-ha-v023", "spin-ha-v024"].map(|name| shape(fleet.group(name))), before, "died at {at}");
        } else if !in_standby(&fleet).is_empty() && fleet.group("spin-ha-v024").capacity.desired > 0 {
            forward += 1;
            let group = fleet.group("spin-ha-v024");
            assert_eq!((group.capacity.to_string().as_str(), group.healthy_in_service()), ("3/3/6", 3), "died at {at}");
        }
    }
    assert!(back >= 8 && forward >= 3, "{back} back, {forward} forward");
}

#[tokio::test(start_paused = true)]
async fn who_was_kept_does_not_stand_in_the_way_of_the_next_rollback() {
    let fleet = redeployed();
    assert_eq!(go(&fleet, &keeping(1)).await.exit_code(), 0);
    tokio::time::sleep(ENDING * 2).await;
    fleet.meddle("spin-ha-v023", |g| drop(g.suspended.insert(Process::AddToLoadBalancer, String::new())));
    fleet.appear("spin-ha-v025", (3, 3, 6), false);
    let outcome = go(&fleet, &Request { to: Some(23), ..keeping(1) }).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert_eq!(in_standby(&fleet), ["i-spin-ha-v024-2"]);
    assert_eq!((sizes(&fleet, "spin-ha-v023"), sizes(&fleet, "spin-ha-v025")), ("3/3/6".to_owned(), "0/0/0".to_owned()));
}
