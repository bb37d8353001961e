//! The concurrency gate.

use super::*;
use crate::orchestrator::store::Admission;
use crate::orchestrator::store::overtaken;

async fn ask(g: &Ground, lease: &Lease, limit: u32) -> Admission {
    g.store.admit(lease, "c-1", limit).await.unwrap()
}

/// So many executions that ask for a slot of `c-1` one after the other, parked when they have to wait; the leases of all.
async fn crowd(g: &Ground, count: u32, limit: u32) -> Vec<Lease> {
    let one = g.session("i-1").await;
    let mut leases = Vec::new();
    for n in 1..=count {
        let lease = g.owned(n, &one).await.lease;
        let expected = if n <= limit { Admission::Go } else { Admission::Wait };
        assert_eq!(ask(g, &lease, limit).await, expected);
        if expected == Admission::Wait {
            g.park(&lease, None).await;
        }
        leases.push(lease);
    }
    leases
}

/// What is due now, with its messages.
async fn told(g: &Ground) -> Vec<(ExecutionId, Vec<Message>)> {
    let two = g.session("i-2").await;
    let claimed = g.claim(&two, 100).await;
    sorted_by_id(claimed.into_iter().map(|c| (c.lease.execution, c.inbox.into_iter().map(|(_, m)| m).collect())).collect())
}

fn sorted_by_id(mut list: Vec<(ExecutionId, Vec<Message>)>) -> Vec<(ExecutionId, Vec<Message>)> {
    list.sort_by(|a, b| a.0.cmp(&b.0));
    list
}

pub async fn slots_are_given_up_to_the_limit(g: &Ground) {
    crowd(g, 4, 2).await;
}

pub async fn asking_again_gives_the_same_answer(g: &Ground) {
    let one = g.session("i-1").await;
    let (first, second) = (g.owned(1, &one).await.lease, g.owned(2, &one).await.lease);
    for _ in 0..3 {
        assert_eq!(ask(g, &first, 1).await, Admission::Go);
        assert_eq!(ask(g, &second, 1).await, Admission::Wait);
    }
    g.park(&second, None).await;
    g.finish(&first, Status::Succeeded, Timestamp(5)).await;
    g.store.start_waiting("c-1", 1, true).await.unwrap();
    assert_eq!(told(g).await, [(id(2), vec![Message::Admitted])], "once");
}

/// Due now, of a definition of which `limit` run at once.
async fn limited(g: &Ground, n: u32, limit: u32) {
    let new = NewExecution { limit: Some(limit), ..new(&pipeline(n), Timestamp(1)) };
    assert_eq!(g.store.create(new).await.unwrap(), Created::New);
}

pub async fn the_order_of_creation_is_that_of_the_gate(g: &Ground) {
    let one = g.session("i-1").await;
    for n in [3, 1, 2] {
        limited(g, n, 1).await;
    }
    let claimed = g.claim(&one, 10).await;
    let lease = |n: u32| claimed.iter().map(|c| &c.lease).find(|lease| lease.execution == id(n)).unwrap();
    for (n, expected) in [(2, Admission::Wait), (1, Admission::Wait), (3, Admission::Go)] {
        assert_eq!(ask(g, lease(n), 1).await, expected, "{n}");
    }
    g.park(lease(1), None).await;
    g.park(lease(2), None).await;
    g.finish(lease(3), Status::Succeeded, Timestamp(5)).await;
    g.store.start_waiting("c-1", 1, true).await.unwrap();
    assert_eq!(told(g).await, [(id(1), vec![Message::Admitted])]);
}

pub async fn one_may_be_admitted_before_anybody_owned_it(g: &Ground) {
    let one = g.session("i-1").await;
    limited(g, 1, 1).await;
    limited(g, 2, 1).await;
    let first = g.store.claim_one(&one, &id(1)).await.unwrap().unwrap().lease;
    g.finish(&first, Status::Canceled, Timestamp(5)).await;
    g.store.start_waiting("c-1", 1, true).await.unwrap();
    let second = g.claim(&one, 10).await.remove(0);
    assert_eq!((&second.lease.execution, &second.inbox), (&id(2), &vec![(1, Message::Admitted)]));
    assert_eq!(ask(g, &second.lease, 1).await, Admission::Go);
}

pub async fn creating_again_takes_no_second_place(g: &Ground) {
    let one = g.session("i-1").await;
    limited(g, 1, 2).await;
    let again = NewExecution { limit: Some(2), ..new(&pipeline(1), Timestamp(1)) };
    assert_eq!(g.other.create(again).await.unwrap(), Created::Existing(id(1)));
    limited(g, 2, 2).await;
    limited(g, 3, 2).await;
    let mut claimed = g.claim(&one, 10).await;
    claimed.sort_by(|a, b| a.lease.execution.cmp(&b.lease.execution));
    let mut said = Vec::new();
    for one in &claimed {
        said.push(ask(g, &one.lease, 2).await);
    }
    assert_eq!(said, [Admission::Go, Admission::Go, Admission::Wait]);
}

pub async fn nobody_passes_those_that_wait(g: &Ground) {
    let leases = crowd(g, 2, 1).await;
    g.finish(&leases[0], Status::Succeeded, Timestamp(5)).await;
    let one = g.session("i-1").await;
    let late = g.owned(3, &one).await.lease;
    assert_eq!(ask(g, &late, 1).await, Admission::Wait, "though a slot is free");
    limited(g, 4, 1).await;
    let later = g.store.claim_one(&one, &id(4)).await.unwrap().unwrap().lease;
    assert_eq!(ask(g, &later, 1).await, Admission::Wait);
    g.store.start_waiting("c-1", 1, true).await.unwrap();
    assert_eq!(told(g).await, [(id(2), vec![Message::Admitted])]);
}

pub async fn gates_of_definitions_are_apart(g: &Ground) {
    let one = g.session("i-1").await;
    let (first, second) = (g.owned(1, &one).await.lease, g.owned(2, &one).await.lease);
    assert_eq!(ask(g, &first, 1).await, Admission::Go);
    assert_eq!(g.store.admit(&second, "c-2", 1).await.unwrap(), Admission::Go);
}

pub async fn an_admission_needs_the_ownership(g: &Ground) {
    let one = g.session("i-1").await;
    let first = g.owned(1, &one).await.lease;
    g.park(&first, None).await;
    assert_refused(&g.store.admit(&first, "c-1", 1).await);
    assert_refused(&g.store.admit(&Lease { execution: id(9), ..first }, "c-1", 1).await);
}

pub async fn the_oldest_starts_when_all_are_kept(g: &Ground) {
    let leases = crowd(g, 4, 1).await;
    g.finish(&leases[0], Status::Succeeded, Timestamp(5)).await;
    g.store.start_waiting("c-1", 1, true).await.unwrap();
    g.store.start_waiting("c-1", 1, true).await.unwrap();
    assert_eq!(told(g).await, [(id(2), vec![Message::Admitted])]);
}

pub async fn the_newest_starts_and_the_others_are_called_off(g: &Ground) {
    let leases = crowd(g, 4, 1).await;
    g.finish(&leases[0], Status::Succeeded, Timestamp(5)).await;
    g.store.start_waiting("c-1", 1, false).await.unwrap();
    g.store.start_waiting("c-1", 1, false).await.unwrap();
    assert_eq!(told(g).await, [(id(2), vec![overtaken()]), (id(3), vec![overtaken()]), (id(4), vec![Message::Admitted])]);
}

pub async fn nobody_starts_without_a_free_slot(g: &Ground) {
    crowd(g, 3, 1).await;
    g.store.start_waiting("c-1", 1, true).await.unwrap();
    g.store.start_waiting("c-1", 1, false).await.unwrap();
    g.store.start_waiting("nobody's", 1, false).await.unwrap();
    assert!(told(g).await.is_empty());
}

pub async fn a_slot_is_free_after_the_end(g: &Ground) {
    let leases = crowd(g, 1, 1).await;
    g.finish(&leases[0], Status::Canceled, Timestamp(5)).await;
    let one = g.session("i-1").await;
    let next = g.owned(2, &one).await.lease;
    assert_eq!(ask(g, &next, 1).await, Admission::Go);
}

pub async fn one_that_waited_and_ended_is_not_started(g: &Ground) {
    let leases = crowd(g, 3, 1).await;
    let one = g.session("i-1").await;
    let second = g.store.claim_one(&one, &id(2)).await.unwrap().unwrap();
    g.finish(&second.lease, Status::Canceled, Timestamp(5)).await;
    g.finish(&leases[0], Status::Succeeded, Timestamp(5)).await;
    g.store.start_waiting("c-1", 1, true).await.unwrap();
    assert_eq!(told(g).await, [(id(3), vec![Message::Admitted])]);
}

pub async fn several_slots_start_several(g: &Ground) {
    let leases = crowd(g, 6, 2).await;
    for lease in &leases[..2] {
        g.finish(lease, Status::Succeeded, Timestamp(5)).await;
    }
    g.store.start_waiting("c-1", 2, true).await.unwrap();
    assert_eq!(told(g).await, [(id(3), vec![Message::Admitted]), (id(4), vec![Message::Admitted])]);
}

pub async fn a_slot_is_kept_while_parked_and_across_owners(g: &Ground) {
    let leases = crowd(g, 2, 1).await;
    g.park(&leases[0], None).await;
    g.store.start_waiting("c-1", 1, true).await.unwrap();
    assert!(told(g).await.is_empty());
    let two = g.session("i-2").await;
    let again = g.store.claim_one(&two, &id(1)).await.unwrap().unwrap();
    assert_eq!(ask(g, &again.lease, 1).await, Admission::Go);
}

pub async fn hundreds_are_called_off_and_who_comes_later_is_not(g: &Ground) {
    let one = g.session("i-1").await;
    let now = g.now().await;
    futures::future::join_all((0..240).map(|n| g.store.create(new(&pipeline(n), now)))).await;
    let mut leases: Vec<Lease> = g.claim(&one, 500).await.into_iter().map(|c| c.lease).collect();
    leases.sort_by(|a, b| a.execution.cmp(&b.execution));
    for lease in &leases {
        g.store.admit(lease, "c-1", 1).await.unwrap();
    }
    let late = g.owned(999, &one).await.lease;
    let end = finish(&pipeline(0), &leases[0], Status::Succeeded, Timestamp(5));
    g.write(end).await;
    g.store.start_waiting("c-1", 1, false).await.unwrap();
    assert_eq!(g.store.admit(&late, "c-1", 1).await.unwrap(), Admission::Wait);
    g.store.start_waiting("c-1", 1, false).await.unwrap();
    for lease in &leases[1..] {
        let told: Vec<Message> = g.store.inbox(lease, 0).await.unwrap().into_iter().map(|(_, message)| message).collect();
        let expected = if lease.execution == id(239) { Message::Admitted } else { crate::orchestrator::store::overtaken() };
        assert_eq!(told, [expected], "{}", lease.execution);
    }
    assert_eq!(g.store.inbox(&late, 0).await.unwrap(), [], "it waits");
}
