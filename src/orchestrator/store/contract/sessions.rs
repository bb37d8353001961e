//! Sessions, roles and marks.

use super::*;

pub async fn a_beat_begins_a_session_and_renews_it(g: &Ground) {
    let (s, other) = (session("i-1", "1"), g.session("i-2").await);
    assert!(g.store.beat(&s, SHORT).await.unwrap());
    assert!(g.store.beat(&s, LONG).await.unwrap());
    g.owned(1, &s).await;
    g.pass(PAST_SHORT).await;
    assert!(g.claim(&other, 10).await.is_empty(), "the longer lease holds");
}

pub async fn a_second_process_of_the_same_instance_is_refused_until_the_lease_ran_out(g: &Ground) {
    assert!(g.store.beat(&session("i-1", "1"), LONG).await.unwrap());
    assert!(!g.other.beat(&session("i-1", "2"), LONG).await.unwrap());
    assert!(g.store.beat(&session("i-1", "1"), SHORT).await.unwrap());
    g.pass(PAST_SHORT).await;
    assert!(g.other.beat(&session("i-1", "2"), LONG).await.unwrap());
}

pub async fn a_second_process_is_let_in_once_the_first_ended_its_session(g: &Ground) {
    let first = g.session("i-1").await;
    g.store.end_session(&first).await.unwrap();
    assert!(g.other.beat(&session("i-1", "2"), LONG).await.unwrap());
}

pub async fn a_process_that_lost_its_place_is_refused(g: &Ground) {
    assert!(g.store.beat(&session("i-1", "1"), SHORT).await.unwrap());
    g.pass(PAST_SHORT).await;
    assert!(g.store.beat(&session("i-1", "2"), LONG).await.unwrap());
    assert!(!g.store.beat(&session("i-1", "1"), LONG).await.unwrap());
}

pub async fn other_instances_do_not_disturb_each_other(g: &Ground) {
    for instance in ["i-1", "i-2", "12@host/a", "ünï code"] {
        assert!(g.store.beat(&session(instance, "1"), LONG).await.unwrap(), "{instance}");
    }
    assert!(!g.store.beat(&session("ünï code", "2"), LONG).await.unwrap());
}

pub async fn the_clock_goes_forward(g: &Ground) {
    let before = g.now().await;
    g.pass(PAST_SHORT).await;
    assert!(g.now().await >= before.plus(SHORT));
    assert!(g.other.now().await.unwrap() >= before.plus(SHORT));
}

pub async fn ending_a_session_gives_all_it_owned_back_now(g: &Ground) {
    let (one, two) = (g.session("i-1").await, g.session("i-2").await);
    for n in 1..=3 {
        g.owned(n, &one).await;
    }
    g.store.end_session(&one).await.unwrap();
    assert_eq!(sorted(ids(&g.claim(&two, 10).await)), [id(1), id(2), id(3)]);
}

pub async fn an_ended_session_gives_back_hundreds(g: &Ground) {
    let (one, two) = (g.session("i-1").await, g.session("i-2").await);
    for n in 0..450 {
        g.create(&pipeline(n)).await;
    }
    assert_eq!(g.claim(&one, 500).await.len(), 450);
    g.store.end_session(&one).await.unwrap();
    assert_eq!(g.claim(&two, 500).await.len(), 450);
}

pub async fn what_an_ended_session_owned_counts_as_adopted(g: &Ground) {
    let (one, two) = (g.session("i-1").await, g.session("i-2").await);
    let owned = g.owned(1, &one).await;
    assert!(!owned.adopted);
    g.store.end_session(&one).await.unwrap();
    let claimed = g.claim(&two, 1).await;
    assert!(claimed[0].adopted);
    g.park(&claimed[0].lease, Some(Timestamp(0))).await;
    assert!(!g.claim(&two, 1).await[0].adopted, "the second owner gave it back");
}

pub async fn ending_a_session_twice_is_harmless(g: &Ground) {
    let one = g.session("i-1").await;
    g.store.end_session(&one).await.unwrap();
    g.store.end_session(&one).await.unwrap();
    g.store.end_session(&session("nobody", "1")).await.unwrap();
}

pub async fn a_dead_sessions_executions_are_handed_over_by_its_successor(g: &Ground) {
    let dead = g.session("i-1").await;
    g.owned(1, &dead).await;
    g.other.end_session(&dead).await.unwrap();
    let successor = session("i-1", "2");
    assert!(g.other.beat(&successor, LONG).await.unwrap());
    assert_eq!(ids(&g.other.claim(&successor, 10).await.unwrap()), [id(1)]);
}

pub async fn an_ended_session_claims_nothing(g: &Ground) {
    let one = g.session("i-1").await;
    g.create(&pipeline(1)).await;
    g.store.end_session(&one).await.unwrap();
    assert!(g.claim(&one, 10).await.is_empty());
    assert!(g.store.claim_one(&one, &id(1)).await.unwrap().is_none());
}

pub async fn a_role_has_one_holder(g: &Ground) {
    assert!(g.store.take_role("scheduler", &session("i-1", "1"), LONG).await.unwrap());
    assert!(!g.other.take_role("scheduler", &session("i-2", "1"), LONG).await.unwrap());
    assert!(!g.other.take_role("scheduler", &session("i-1", "2"), LONG).await.unwrap());
}

pub async fn a_role_is_kept_by_taking_it_again(g: &Ground) {
    let one = session("i-1", "1");
    assert!(g.store.take_role("scheduler", &one, SHORT).await.unwrap());
    assert!(g.store.take_role("scheduler", &one, LONG).await.unwrap());
    g.pass(PAST_SHORT).await;
    assert!(!g.store.take_role("scheduler", &session("i-2", "1"), LONG).await.unwrap());
}

pub async fn a_role_is_free_after_its_lease(g: &Ground) {
    assert!(g.store.take_role("scheduler", &session("i-1", "1"), SHORT).await.unwrap());
    g.pass(PAST_SHORT).await;
    assert!(g.store.take_role("scheduler", &session("i-2", "1"), LONG).await.unwrap());
}

pub async fn a_role_is_free_after_its_holder_ended(g: &Ground) {
    let one = g.session("i-1").await;
    assert!(g.store.take_role("scheduler", &one, LONG).await.unwrap());
    g.store.end_session(&one).await.unwrap();
    assert!(g.store.take_role("scheduler", &session("i-2", "1"), LONG).await.unwrap());
}

pub async fn roles_are_apart(g: &Ground) {
    assert!(g.store.take_role("scheduler", &session("i-1", "1"), LONG).await.unwrap());
    assert!(g.store.take_role("janitor", &session("i-2", "1"), LONG).await.unwrap());
}

pub async fn a_mark_is_remembered_and_replaced(g: &Ground) {
    g.store.set_mark("cron:a", "1").await.unwrap();
    g.store.set_mark("cron:b", "3").await.unwrap();
    g.store.set_mark("cron:a", "2 ü").await.unwrap();
    assert_eq!(g.other.mark("cron:a").await.unwrap().as_deref(), Some("2 ü"));
    assert_eq!(g.other.mark("cron:b").await.unwrap().as_deref(), Some("3"));
}

pub async fn a_mark_nobody_set_is_none(g: &Ground) {
    assert_eq!(g.store.mark("cron:a").await.unwrap(), None);
}

pub async fn what_a_session_owns_is_named_page_by_page(g: &Ground) {
    let (one, two) = (g.session("i-1").await, g.session("i-2").await);
    for n in 0..5 {
        g.owned(n, &one).await;
    }
    g.owned(7, &two).await;
    g.create(&pipeline(8)).await;
    assert_eq!(g.store.owned(&one, None, 1000).await.unwrap(), (0..5).map(id).collect::<Vec<_>>());
    assert_eq!(g.store.owned(&one, None, 2).await.unwrap(), [id(0), id(1)]);
    assert_eq!(g.other.owned(&one, Some(&id(1)), 2).await.unwrap(), [id(2), id(3)]);
    assert_eq!(g.store.owned(&one, Some(&id(4)), 2).await.unwrap(), []);
    assert_eq!(g.store.owned(&session("nobody", "1"), None, 2).await.unwrap(), []);
}
