//! Notices on their way to people.

use super::*;
use crate::orchestrator::engine::event::Notice;
use crate::orchestrator::store::Outgoing;

/// A notice of this number.
pub fn notice(number: u64) -> Notice {
    let address = json!({"type": "email", "address": format!("{number}@example.org")});
    Notice {
        number,
        event: "pipeline.failed".to_owned(),
        to: address.as_object().expect("it is one").clone(),
        stage: None,
        details: serde_json::Map::new(),
    }
}

/// An owner that wrote so many notices.
async fn written(g: &Ground, count: u64) -> Lease {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    g.write(Write { notices: (1..=count).map(notice).collect(), ..keep(&lease) }).await;
    lease
}

async fn take(g: &Ground, max: usize, lease: Duration) -> Vec<Outgoing> {
    g.other.outbox(max, lease).await.unwrap()
}

fn numbers(out: &[Outgoing]) -> Vec<u64> {
    sorted(out.iter().map(|o| o.notice.number).collect())
}

pub async fn a_notice_is_handed_out(g: &Ground) {
    written(g, 2).await;
    let out = take(g, 10, LONG).await;
    assert_eq!(numbers(&out), [1, 2]);
    assert_ne!(out[0].id, out[1].id);
    let first = out.iter().find(|o| o.notice.number == 1).unwrap();
    assert_eq!((&first.notice, first.tries, &first.listing.id), (&notice(1), 0, &id(1)));
    assert!(take(g, 10, LONG).await.is_empty(), "somebody has them");
}

pub async fn a_notice_comes_back_after_its_lease(g: &Ground) {
    written(g, 1).await;
    take(g, 10, SHORT).await;
    g.pass(PAST_SHORT).await;
    assert_eq!(take(g, 10, LONG).await[0].tries, 1);
}

pub async fn a_notice_that_is_done_is_gone(g: &Ground) {
    written(g, 2).await;
    let out = take(g, 10, SHORT).await;
    g.store.outbox_done(&out[0].id).await.unwrap();
    g.store.outbox_done(&out[0].id).await.unwrap();
    g.store.outbox_done("nothing").await.unwrap();
    g.pass(PAST_SHORT).await;
    assert_eq!(take(g, 10, LONG).await.into_iter().map(|o| o.id).collect::<Vec<_>>(), [out[1].id.clone()]);
}

pub async fn a_notice_is_put_off(g: &Ground) {
    written(g, 1).await;
    let out = take(g, 10, SHORT).await.remove(0);
    let later = g.now().await.plus(Duration::from_secs(1));
    g.store.outbox_again(&out.id, later).await.unwrap();
    g.store.outbox_again("nothing", later).await.unwrap();
    g.pass(PAST_SHORT).await;
    assert!(take(g, 10, LONG).await.is_empty());
    g.pass(Duration::from_secs(1)).await;
    assert_eq!(numbers(&take(g, 10, LONG).await), [1]);
}

pub async fn a_notice_written_twice_is_told_once(g: &Ground) {
    let lease = written(g, 2).await;
    let again = Write { notices: vec![notice(1), notice(2), notice(3)], ..keep(&lease) };
    g.write(again.clone()).await;
    let out = take(g, 10, LONG).await;
    assert_eq!(numbers(&out), [1, 2, 3]);
    for o in &out {
        g.store.outbox_done(&o.id).await.unwrap();
    }
    g.write(again).await;
    assert!(take(g, 10, LONG).await.is_empty(), "also when it was told already");
}

pub async fn a_notice_tells_how_the_execution_stood(g: &Ground) {
    let one = g.session("i-1").await;
    let execution = pipeline(1);
    let lease = g.own(&execution, &one).await.lease;
    g.write(Write { notices: vec![notice(1)], ..moved(&execution, &lease, Status::Running, None) }).await;
    g.finish(&lease, Status::Succeeded, Timestamp(5)).await;
    assert!(g.store.remove(&id(1)).await.unwrap());
    let listing = take(g, 10, LONG).await.remove(0).listing;
    assert_eq!(listing, Listing { status: Status::Running, ..record::listing(&execution) });
}

pub async fn two_senders_do_not_get_the_same(g: &Ground) {
    written(g, 30).await;
    let (a, b) = tokio::join!(g.store.outbox(20, LONG), g.other.outbox(20, LONG));
    let both: Vec<Outgoing> = a.unwrap().into_iter().chain(b.unwrap()).collect();
    assert_eq!(numbers(&both), (1..=30).collect::<Vec<_>>());
}

pub async fn a_page_of_the_outbox_is_bounded(g: &Ground) {
    written(g, 5).await;
    assert_eq!(take(g, 3, LONG).await.len(), 3);
    assert_eq!(take(g, 0, LONG).await.len(), 1);
    assert_eq!(take(g, usize::MAX, LONG).await.len(), 1);
}
