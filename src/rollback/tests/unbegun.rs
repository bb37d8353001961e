//! A rollback of several clusters that died before it had laid hands on all of them, and whoever goes on with it.

use super::*;
use crate::model::RECORD_TAG;

fn resume() -> Request {
    Request { resume: true, taken_over: true, ..Request::of("spin", "bob@desk") }
}

fn left(fleet: &Fleet, names: [&str; 4]) -> [String; 4] {
    names.map(|name| sizes(fleet, name))
}

const GROUPS: [&str; 4] = ["spin-ha-v023", "spin-ha-v024", "spin-ha-polling-v023", "spin-ha-polling-v024"];

#[tokio::test(start_paused = true)]
async fn whoever_goes_on_begins_the_clusters_that_were_never_marked() {
    for marked in 1..=4 {
        let fleet = with_polling();
        marks_one_alone(&fleet, &request(900), 4, marked).await;
        let outcome = go(&fleet, &resume()).await;
        assert!(matches!(outcome, Outcome::Done(_)), "mark {marked}: {outcome:?}");
        assert_rolled_back(&fleet, &format!("mark {marked}"));
        assert_eq!(left(&fleet, GROUPS), ["3/3/6", "0/0/0", "1/1/1", "0/0/0"], "mark {marked}");
        assert!(GROUPS.iter().all(|name| !fleet.group(name).tags.keys().any(|key| key.starts_with("bellrock:asked"))), "mark {marked}");
    }
}

#[tokio::test(start_paused = true)]
async fn they_go_to_the_version_that_was_asked_for_and_poll_if_that_was_said() {
    for marked in 1..=4 {
        let fleet = Fleet::new().with("spin-ha-v022", (0, 0, 6), true).with("spin-igor-v022", (0, 0, 1), true);
        let fleet = fleet.with("spin-ha-v023", (1, 1, 6), true).with("spin-igor-v023", (0, 0, 1), true);
        let fleet = fleet.with("spin-ha-v024", (3, 3, 6), false).with("spin-igor-v024", (1, 1, 1), false);
        let fleet = Fleet { singletons: vec!["spin-igor"], ..fleet };
        let first = Request { to: Some(22), polling: vec!["spin-igor".to_owned()], ..request(900) };
        // Of the polling cluster v023 is neither restored nor running; of the other it is taken away too.
        marks_one_alone(&fleet, &first, 5, marked).await;
        let outcome = go(&fleet, &resume()).await;
        assert!(matches!(outcome, Outcome::Done(_)), "mark {marked}: {outcome:?}");
        let sizes = left(&fleet, ["spin-ha-v022", "spin-ha-v024", "spin-igor-v022", "spin-igor-v024"]);
        assert_eq!(sizes, ["3/3/6", "0/0/0", "1/1/1", "0/0/0"], "mark {marked}");
        assert_eq!(fleet.broken(), Vec::<String>::new(), "mark {marked}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_has_a_newer_version_by_then_is_left_alone_and_the_run_is_not_done() {
    let fleet = with_polling();
    marks_one_alone(&fleet, &request(900), 4, 3).await;
    fleet.appear("spin-ha-v025", (3, 3, 6), false);
    let outcome = go(&fleet, &resume()).await;
    assert_eq!((outcome.exit_code(), stop_code(&outcome)), (1, "rollback-not-begun"));
    let clusters = &report(&outcome).clusters;
    let text = clusters.iter().find_map(|c| Some(format!("{}: {}", c.cluster, c.stop.as_ref()?))).unwrap();
    for words in ["spin-ha: asked for", "was v024, and is v025 now", "bellrock rollback spin --cluster spin-ha"] {
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(left(&fleet, GROUPS), ["1/1/6", "3/3/6", "1/1/1", "0/0/0"]);
    assert_eq!(sizes(&fleet, "spin-ha-v025"), "3/3/6");
    assert!(!fleet.group("spin-ha-v024").tags.contains_key(HOLD_TAG), "nobody laid a hand on it");
}

/// A run that has died when the one cluster was released and the other was not.
async fn half_finished() -> Fleet {
    let clean = with_polling();
    assert_eq!(go(&clean, &request(900)).await.exit_code(), 0);
    for at in (1..clean.changes()).rev() {
        let fleet = with_polling();
        fleet.fault(at, Fault::Dies);
        let request = request(900);
        assert!(tokio::time::timeout(Duration::from_secs(700), go(&fleet, &request)).await.is_err());
        let is_open = |name: &str| fleet.group(name).tags.contains_key(RECORD_TAG);
        if !is_open("spin-ha-v023") && is_open("spin-ha-polling-v023") {
            return fleet;
        }
    }
    panic!("both are released by the same change");
}

#[tokio::test(start_paused = true)]
async fn one_that_was_finished_is_not_begun_anew_whatever_somebody_made_of_it_since() {
    let fleet = half_finished().await;
    fleet.meddle("spin-ha-v024", |g| g.capacity = Capacity { min: 3, desired: 3, max: 6 });
    let outcome = go(&fleet, &resume()).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert_eq!(report(&outcome).clusters.iter().map(|c| c.cluster.as_str()).collect::<Vec<_>>(), ["spin-ha-polling"]);
    assert_eq!(left(&fleet, GROUPS), ["3/3/6", "3/3/6", "1/1/1", "0/0/0"]);
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_has_marked_one_cluster_is_one_for_the_others_that_were_switched() {
    let switched = {
        let mut at = 1;
        loop {
            let fleet = with_polling();
            fleet.fault(at, Fault::Dies);
            let request = request(900);
            assert!(tokio::time::timeout(Duration::from_secs(700), go(&fleet, &request)).await.is_err());
            if sizes(&fleet, "spin-ha-v024") == "0/0/0" && sizes(&fleet, "spin-ha-polling-v024") == "0/0/0" {
                break at;
            }
            at += 1;
        }
    };
    for marked in 1..=4 {
        let fleet = Fleet { undone: true, ..with_polling() };
        fleet.fault(switched, Fault::Dies);
        let request = request(900);
        assert!(tokio::time::timeout(Duration::from_secs(700), go(&fleet, &request)).await.is_err());
        marks_one_alone(&fleet, &Request { undo: true, ..request.clone() }, 4, marked).await;
        let outcome = go(&fleet, &resume()).await;
        assert!(matches!(outcome, Outcome::Done(_)), "mark {marked}: {outcome:?}");
        assert_eq!(left(&fleet, GROUPS), ["0/0/0", "3/3/6", "0/0/0", "1/1/1"], "mark {marked}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_tags_have_no_room_for_names_their_number_says_that_some_are_missing() {
    let fleet = with_polling();
    fleet.meddle("spin-ha-polling-v023", |g| g.tags.extend((0..44).map(|n| (format!("team-{n}"), String::new()))));
    marks_one_alone(&fleet, &request(900), 4, 3).await;
    let tags = fleet.group("spin-ha-polling-v023").tags;
    assert!(tags.contains_key(RECORD_TAG) && tags.len() <= 50, "{}", tags.len());
    let outcome = go(&fleet, &resume()).await;
    assert_eq!((outcome.exit_code(), stop_code(&outcome)), (1, "rollback-not-begun"));
    let text = report(&outcome).clusters.iter().find_map(|c| Some(format!("{}: {}", c.cluster, c.stop.as_ref()?))).unwrap();
    assert!(text.contains("spin: asked for") && text.contains("1 of the 2 clusters") && text.contains("of spin-ha;"), "{text}");
    assert_eq!(left(&fleet, GROUPS), ["1/1/6", "3/3/6", "1/1/1", "0/0/0"]);
}
