//! Waiting for something to do.

use super::*;

/// Far longer than a store takes to tell.
const AT_MOST: Duration = Duration::from_secs(30);

/// How long the first of these took by the store's clock, when the second begins beside it.
async fn took(g: &Ground, waiter: &Session, then: impl Future<Output = ()>) -> Duration {
    let before = g.now().await;
    let ((), ()) = tokio::join!(g.store.wait(waiter, AT_MOST), then);
    g.now().await.since(before)
}

/// A session that was told of all there was before.
async fn waiter(g: &Ground) -> Session {
    let one = g.session("i-1").await;
    told(g, &one).await;
    one
}

async fn told(g: &Ground, session: &Session) {
    // The news of what was done before may still be on their way.
    loop {
        let before = g.now().await;
        g.store.wait(session, SHORT).await;
        if g.now().await.since(before) >= SHORT {
            return;
        }
    }
}

fn assert_told(took: Duration) {
    assert!(took < Duration::from_secs(3), "{took:?}");
}

pub async fn a_waiter_is_told_of_a_new_execution(g: &Ground) {
    let one = waiter(g).await;
    let create = async {
        g.other.create(new(&pipeline(1), Timestamp(1))).await.unwrap();
    };
    assert_told(took(g, &one, create).await);
    assert_eq!(g.claim(&one, 1).await.len(), 1);
}

pub async fn a_waiter_is_told_of_a_message_for_what_it_owns(g: &Ground) {
    let one = g.session("i-1").await;
    g.owned(1, &one).await;
    told(g, &one).await;
    let post = async {
        g.post(1, &cancel()).await;
    };
    assert_told(took(g, &one, post).await);
    assert_eq!(g.store.with_messages(&one).await.unwrap(), [id(1)]);
}

pub async fn a_waiter_is_told_when_something_comes_due(g: &Ground) {
    let one = g.session("i-1").await;
    let due = g.now().await.plus(Duration::from_secs(2));
    g.create_due(&pipeline(1), due).await;
    told(g, &one).await;
    g.store.wait(&one, AT_MOST).await;
    let late = g.now().await.since(due);
    assert_told(late);
    assert_eq!(g.claim(&one, 1).await.len(), 1, "not before it is due");
}

pub async fn a_waiter_is_told_of_a_session_that_ended(g: &Ground) {
    let two = g.session("i-2").await;
    g.owned(1, &two).await;
    let one = waiter(g).await;
    assert_told(took(g, &one, async { g.other.end_session(&two).await.unwrap() }).await);
    assert_eq!(g.claim(&one, 1).await.len(), 1);
}

pub async fn a_waiter_is_told_when_it_was_heard_long_enough_to_adopt(g: &Ground) {
    const OWN: Duration = Duration::from_secs(2);
    let one = session("i-1", "1");
    let begun = g.now().await;
    assert!(g.store.beat(&one, OWN).await.unwrap());
    told(g, &one).await;
    g.store.wait(&one, AT_MOST).await;
    let took = g.now().await.since(begun);
    assert!(took >= OWN, "{took:?}");
    assert_told(took - OWN);
}

pub async fn a_waiter_is_told_of_a_lease_that_ran_out(g: &Ground) {
    let two = g.session("i-2").await;
    g.owned(1, &two).await;
    let one = waiter(g).await;
    let before = g.now().await;
    assert!(g.store.beat(&two, Duration::from_secs(1)).await.unwrap());
    let mut claimed = Vec::new();
    while claimed.is_empty() {
        g.store.wait(&one, AT_MOST).await;
        claimed = g.claim(&one, 1).await;
    }
    assert!(claimed[0].adopted);
    assert_told(g.now().await.since(before).saturating_sub(Duration::from_secs(1)));
}

pub async fn a_waiter_is_told_of_a_free_slot(g: &Ground) {
    let one = g.session("i-1").await;
    let (first, second) = (g.owned(1, &one).await.lease, g.owned(2, &one).await.lease);
    g.store.admit(&first, "c-1", 1).await.unwrap();
    g.store.admit(&second, "c-1", 1).await.unwrap();
    g.park(&second, None).await;
    g.finish(&first, Status::Succeeded, Timestamp(5)).await;
    told(g, &one).await;
    assert_told(took(g, &one, async { g.other.start_waiting("c-1", 1, true).await.unwrap() }).await);
}

pub async fn what_is_left_lying_is_not_told_twice(g: &Ground) {
    let one = waiter(g).await;
    g.create(&pipeline(1)).await;
    told(g, &one).await;
    let before = g.now().await;
    g.store.wait(&one, SHORT).await;
    assert!(g.now().await.since(before) >= SHORT);
}

pub async fn a_wait_ends_with_its_time(g: &Ground) {
    let one = waiter(g).await;
    let before = g.now().await;
    g.store.wait(&one, SHORT).await;
    let took = g.now().await.since(before);
    assert!(took >= SHORT);
    assert_told(took);
}

pub async fn next_due_is_the_earliest(g: &Ground) {
    for (n, due) in [(1, 30), (2, 10), (3, 20)] {
        g.create_due(&pipeline(n), Timestamp(due)).await;
    }
    assert_eq!(g.store.next_due().await.unwrap(), Some(Timestamp(10)));
}
