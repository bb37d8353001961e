//! Messages.

use super::*;

pub async fn a_message_makes_it_due(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    g.park(&lease, None).await;
    assert!(g.post(1, &cancel()).await);
    assert_eq!(ids(&g.claim(&one, 10).await), [id(1)]);
}

pub async fn a_message_makes_it_due_earlier(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    let later = g.now().await.plus(LONG);
    g.park(&lease, Some(later)).await;
    assert!(g.post(1, &cancel()).await);
    assert_eq!(ids(&g.claim(&one, 10).await), [id(1)]);
}

pub async fn a_message_does_not_delay_what_is_due(g: &Ground) {
    let one = g.session("i-1").await;
    g.create_due(&pipeline(1), Timestamp(1)).await;
    g.create_due(&pipeline(2), Timestamp(2)).await;
    assert!(g.post(1, &cancel()).await);
    assert_eq!(ids(&g.claim(&one, 10).await), [id(1), id(2)]);
}

pub async fn messages_come_with_the_claim_in_order(g: &Ground) {
    let one = g.session("i-1").await;
    g.create(&pipeline(1)).await;
    for by in ["a", "b", "c"] {
        g.post(1, &pause(by)).await;
    }
    let claimed = g.claim(&one, 1).await.remove(0);
    let messages: Vec<Message> = claimed.inbox.into_iter().map(|(_, m)| m).collect();
    assert_eq!(messages, [pause("a"), pause("b"), pause("c")]);
}

pub async fn numbers_grow_and_are_not_used_twice(g: &Ground) {
    let one = g.session("i-1").await;
    let mut lease = g.owned(1, &one).await.lease;
    let mut last = 0;
    for _ in 0..5 {
        g.post(1, &cancel()).await;
        let inbox = g.store.inbox(&lease, 0).await.unwrap();
        assert_eq!(inbox.len(), 1);
        assert!(inbox[0].0 > last, "{} after {last}", inbox[0].0);
        last = inbox[0].0;
        g.write(Write { taken: last, then: Then::Park { due: Some(Timestamp(0)) }, ..keep(&lease) }).await;
        lease = g.claim(&one, 1).await.remove(0).lease;
    }
}

pub async fn the_owner_reads_what_came_since(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    g.post(1, &pause("a")).await;
    let first = g.store.inbox(&lease, 0).await.unwrap().remove(0);
    g.post(1, &pause("b")).await;
    let since = g.store.inbox(&lease, first.0).await.unwrap();
    assert_eq!(since.into_iter().map(|(_, m)| m).collect::<Vec<_>>(), [pause("b")]);
}

pub async fn another_owner_reads_nothing(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    g.post(1, &cancel()).await;
    let stale = Lease { epoch: lease.epoch + 1, ..lease.clone() };
    assert!(g.store.inbox(&stale, 0).await.unwrap().is_empty());
    let nobodys = Lease { execution: id(9), ..lease };
    assert!(g.store.inbox(&nobodys, 0).await.unwrap().is_empty());
}

pub async fn messages_taken_are_gone(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    for by in ["a", "b", "c"] {
        g.post(1, &pause(by)).await;
    }
    let inbox = g.store.inbox(&lease, 0).await.unwrap();
    let write = Write { taken: inbox[1].0, ..keep(&lease) };
    g.write(write.clone()).await;
    g.write(write).await;
    assert_eq!(g.store.inbox(&lease, 0).await.unwrap(), inbox[2..]);
    g.park(&lease, None).await;
    assert_eq!(g.claim(&one, 1).await[0].inbox, inbox[2..]);
}

pub async fn messages_not_taken_come_again(g: &Ground) {
    let (one, two) = (g.session("i-1").await, g.session("i-2").await);
    g.owned(1, &one).await;
    g.post(1, &cancel()).await;
    g.store.end_session(&one).await.unwrap();
    assert_eq!(g.claim(&two, 1).await[0].inbox.len(), 1);
}

pub async fn parking_with_an_unread_message_is_due_at_once(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    g.post(1, &cancel()).await;
    let later = g.now().await.plus(LONG);
    g.park(&lease, Some(later)).await;
    assert_eq!(g.claim(&one, 10).await.len(), 1);
}

pub async fn a_page_of_the_inbox_is_a_hundred(g: &Ground) {
    let one = g.session("i-1").await;
    g.create(&pipeline(1)).await;
    for n in 0..130 {
        g.post(1, &pause(&n.to_string())).await;
    }
    let claimed = g.claim(&one, 1).await.remove(0);
    assert_eq!(claimed.inbox.len(), 100);
    let rest = g.store.inbox(&claimed.lease, claimed.inbox[99].0).await.unwrap();
    assert_eq!((rest.len(), &rest[29].1), (30, &pause("129")));
}

pub async fn a_full_inbox_refuses(g: &Ground) {
    g.create(&pipeline(1)).await;
    for _ in 0..1_000 {
        assert!(g.post(1, &cancel()).await);
    }
    assert_refused(&g.store.post(&id(1), &cancel()).await);
}

pub async fn a_message_for_nobody_is_refused(g: &Ground) {
    assert!(!g.post(9, &cancel()).await);
    assert!(!g.post(9, &restart()).await);
    assert_eq!(g.store.next_due().await.unwrap(), None);
}

pub async fn a_message_after_the_end_is_refused(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    g.finish(&lease, Status::Succeeded, Timestamp(5)).await;
    assert!(!g.post(1, &cancel()).await);
    assert!(g.claim(&one, 10).await.is_empty());
}

pub async fn a_restart_after_the_end_makes_it_due(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    g.finish(&lease, Status::Terminal, Timestamp(5)).await;
    assert!(g.post(1, &restart()).await);
    let claimed = g.claim(&one, 10).await.remove(0);
    assert_eq!(claimed.inbox.into_iter().map(|(_, m)| m).collect::<Vec<_>>(), [restart()]);
    assert!(claimed.lease.epoch > lease.epoch && !claimed.adopted);
    assert!(!g.store.remove(&id(1)).await.unwrap(), "it runs again");
}

pub async fn a_restart_that_was_not_taken_survives_the_end(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    g.post(1, &cancel()).await;
    g.post(1, &restart()).await;
    g.finish(&lease, Status::Terminal, Timestamp(5)).await;
    let claimed = g.claim(&one, 10).await.remove(0);
    assert_eq!(claimed.inbox.into_iter().map(|(_, m)| m).collect::<Vec<_>>(), [restart()]);
}

pub async fn those_with_messages_are_named_to_their_owner(g: &Ground) {
    let (one, two) = (g.session("i-1").await, g.session("i-2").await);
    let mut leases = Vec::new();
    for n in 1..=3 {
        leases.push(g.owned(n, &one).await.lease);
    }
    assert!(g.store.with_messages(&one).await.unwrap().is_empty());
    g.post(1, &cancel()).await;
    g.post(3, &cancel()).await;
    assert_eq!(sorted(g.store.with_messages(&one).await.unwrap()), [id(1), id(3)]);
    assert!(g.store.with_messages(&two).await.unwrap().is_empty());
    let number = g.store.inbox(&leases[0], 0).await.unwrap()[0].0;
    g.write(Write { taken: number, ..keep(&leases[0]) }).await;
    assert_eq!(g.store.with_messages(&one).await.unwrap(), [id(3)]);
    g.park(&leases[2], None).await;
    assert!(g.store.with_messages(&one).await.unwrap().is_empty());
}
