//! Lists, indexes, removal, retention.

use super::*;
use crate::orchestrator::store::InstanceActivity;
use crate::orchestrator::store::Query;
use crate::orchestrator::store::Retention;

fn any(limit: usize) -> Query {
    Query { limit, ..Query::default() }
}

async fn list(g: &Ground, query: Query) -> Vec<ExecutionId> {
    listed(&g.other.list(&query).await.unwrap())
}

async fn by_status(g: &Ground, statuses: &[Status]) -> Vec<ExecutionId> {
    list(g, Query { statuses: statuses.to_vec(), ..any(100) }).await
}

/// Executions of several kinds, applications and definitions.
async fn mixed(g: &Ground) {
    for execution in [
        pipeline_of(1, "a", "c-1"),
        pipeline_of(2, "a", "c-2"),
        pipeline_of(3, "b", "c-3"),
        orchestration(4, "a"),
        orchestration(5, "b"),
        pipeline_of(6, "a", "c-1"),
    ] {
        g.create(&execution).await;
    }
}

async fn ended(g: &Ground, execution: &Execution, session: &Session, at: i64) {
    let lease = g.own(execution, session).await.lease;
    g.finish(&lease, Status::Succeeded, Timestamp(at)).await;
}

pub async fn what_is_not_there_is_none(g: &Ground) {
    assert_eq!(g.store.load(&id(9)).await.unwrap(), None);
    assert!(list(g, any(10)).await.is_empty());
    assert!(g.store.active_by_instance().await.unwrap().is_empty());
    assert_eq!(g.store.next_due().await.unwrap(), None);
}

pub async fn lists_are_newest_first(g: &Ground) {
    for n in [2, 3, 1] {
        g.create(&pipeline(n)).await;
    }
    let all = g.store.list(&any(10)).await.unwrap();
    assert_eq!(all, [3, 2, 1].map(|n| record::listing(&pipeline(n))));
}

pub async fn a_list_is_by_kind(g: &Ground) {
    mixed(g).await;
    let kind = |kind| Query { kind: Some(kind), ..any(10) };
    assert_eq!(list(g, kind(ExecutionType::Orchestration)).await, [id(5), id(4)]);
    assert_eq!(list(g, kind(ExecutionType::Pipeline)).await, [id(6), id(3), id(2), id(1)]);
    assert_eq!(list(g, any(10)).await.len(), 6);
}

pub async fn a_list_is_by_application(g: &Ground) {
    mixed(g).await;
    let of = |name: &str| Query { application: Some(name.to_owned()), ..any(10) };
    assert_eq!(list(g, of("a")).await, [id(6), id(4), id(2), id(1)]);
    assert_eq!(list(g, Query { kind: Some(ExecutionType::Orchestration), ..of("a") }).await, [id(4)]);
    assert!(list(g, of("z")).await.is_empty());
}

pub async fn a_list_is_by_definition(g: &Ground) {
    mixed(g).await;
    let of = |config: &str| Query { pipeline_config_id: Some(config.to_owned()), ..any(10) };
    assert_eq!(list(g, of("c-1")).await, [id(6), id(1)]);
    assert_eq!(list(g, Query { application: Some("b".to_owned()), ..of("c-1") }).await, []);
    assert_eq!(list(g, Query { application: Some("b".to_owned()), ..of("c-3") }).await, [id(3)]);
}

pub async fn a_list_is_by_status(g: &Ground) {
    let one = g.session("i-1").await;
    for (n, status) in [(1, Status::Running), (2, Status::Paused), (3, Status::Succeeded), (4, Status::Terminal)] {
        let execution = pipeline(n);
        let lease = g.own(&execution, &one).await.lease;
        let write =
            if status.is_complete() { finish(&execution, &lease, status, Timestamp(5)) } else { moved(&execution, &lease, status, None) };
        g.write(write).await;
    }
    g.create(&pipeline(5)).await;
    assert_eq!(by_status(g, &[Status::Running]).await, [id(1)]);
    assert_eq!(by_status(g, &[Status::NotStarted, Status::Running, Status::Paused]).await, [id(5), id(2), id(1)]);
    assert_eq!(by_status(g, &[Status::Succeeded]).await, [id(3)]);
    assert_eq!(by_status(g, &[Status::Terminal, Status::Running]).await, [id(4), id(1)]);
    let of = Query { statuses: vec![Status::Paused], application: Some("spintest".to_owned()), ..any(10) };
    assert_eq!(list(g, of).await, [id(2)]);
    let of = Query { statuses: vec![Status::Running], pipeline_config_id: Some("c-1".to_owned()), ..any(10) };
    assert_eq!(list(g, of).await, [id(1)]);
}

pub async fn a_list_follows_a_change_of_status(g: &Ground) {
    let one = g.session("i-1").await;
    let execution = pipeline(1);
    let lease = g.own(&execution, &one).await.lease;
    assert_eq!(by_status(g, &[Status::NotStarted]).await, [id(1)]);
    g.write(moved(&execution, &lease, Status::Running, None)).await;
    assert!(by_status(g, &[Status::NotStarted]).await.is_empty());
    assert_eq!(by_status(g, &[Status::Running]).await, [id(1)]);
    g.finish(&lease, Status::Succeeded, Timestamp(77)).await;
    assert!(by_status(g, &[Status::Running]).await.is_empty());
    let listing = g.store.list(&any(1)).await.unwrap().remove(0);
    assert_eq!((listing.status, listing.end_time), (Status::Succeeded, Some(Timestamp(77))));
}

pub async fn a_restarted_one_is_listed_as_running(g: &Ground) {
    let one = g.session("i-1").await;
    let execution = pipeline(1);
    ended(g, &execution, &one, 5).await;
    assert!(g.post(1, &restart()).await);
    let lease = g.claim(&one, 1).await.remove(0).lease;
    g.write(Write { taken: u64::MAX, ..moved(&execution, &lease, Status::Running, None) }).await;
    assert_eq!(by_status(g, &[Status::Running]).await, [id(1)]);
    let all = Retention { older_than: Timestamp(i64::MAX), keep: 0, step: 10 };
    assert_eq!(g.store.expire(all).await.unwrap(), 0);
    g.finish(&lease, Status::Succeeded, Timestamp(9)).await;
    assert!(by_status(g, &[Status::Running]).await.is_empty());
    assert_eq!(g.store.expire(all).await.unwrap(), 1);
}

pub async fn pages_follow_each_other_without_gap(g: &Ground) {
    for n in 0..25 {
        let execution = if n % 3 == 0 { orchestration(n, "spintest") } else { pipeline(n) };
        g.create(&execution).await;
    }
    let mut seen = Vec::new();
    loop {
        let page = list(g, Query { before: seen.last().cloned(), ..any(10) }).await;
        if page.is_empty() {
            break;
        }
        assert!(page.len() == 10 || seen.len() == 20, "only the last page is short");
        seen.extend(page);
    }
    assert_eq!(seen, (0..25).rev().map(id).collect::<Vec<_>>());
    assert_eq!(
        list(g, Query { before: Some(ExecutionId("01KC00000000000000000000105".to_owned())), ..any(1) }).await,
        [id(10)],
        "one that is no more"
    );
}

pub async fn a_page_is_bounded(g: &Ground) {
    for n in 0..3 {
        g.create(&pipeline(n)).await;
    }
    assert_eq!(list(g, any(0)).await.len(), 1);
    assert_eq!(list(g, any(usize::MAX)).await.len(), 3);
}

pub async fn active_by_instance_tells_who_owns_what(g: &Ground) {
    let (one, two) = (g.session("i-1").await, g.session("i-2").await);
    g.session("idle").await;
    for n in [1, 2] {
        g.owned(n, &one).await;
    }
    g.owned(3, &two).await;
    let active = g.other.active_by_instance().await.unwrap();
    let of = |n: u32| record::listing(&pipeline(n));
    let expected = |instance: &str, executions: Vec<Listing>| InstanceActivity {
        instance: instance.to_owned(),
        overdue: false,
        count: executions.len() as u64,
        executions,
    };
    assert_eq!(active, [expected("i-1", vec![of(1), of(2)]), expected("i-2", vec![of(3)])]);
}

pub async fn a_parked_one_is_active_nowhere(g: &Ground) {
    let one = g.session("i-1").await;
    let (first, second) = (g.owned(1, &one).await.lease, g.owned(2, &one).await.lease);
    g.park(&first, None).await;
    g.finish(&second, Status::Succeeded, Timestamp(5)).await;
    assert!(g.store.active_by_instance().await.unwrap().is_empty());
}

pub async fn a_dead_owner_is_overdue(g: &Ground) {
    let (one, two) = (session("i-1", "1"), g.session("i-2").await);
    assert!(g.store.beat(&one, LONG).await.unwrap());
    g.owned(1, &one).await;
    assert!(g.store.beat(&one, SHORT).await.unwrap());
    g.pass(PAST_SHORT).await;
    let active = g.store.active_by_instance().await.unwrap();
    assert_eq!((active.len(), active[0].overdue, active[0].count), (1, true, 1));
    g.claim(&two, 10).await;
    let active = g.store.active_by_instance().await.unwrap();
    assert_eq!((active.len(), active[0].instance.as_str(), active[0].overdue), (1, "i-2", false));
}

pub async fn only_what_ended_can_be_removed(g: &Ground) {
    let one = g.session("i-1").await;
    assert!(!g.store.remove(&id(9)).await.unwrap());
    g.create(&pipeline(1)).await;
    assert!(!g.store.remove(&id(1)).await.unwrap());
    let lease = g.claim(&one, 1).await.remove(0).lease;
    assert!(!g.store.remove(&id(1)).await.unwrap());
    g.finish(&lease, Status::Succeeded, Timestamp(5)).await;
    assert!(g.store.remove(&id(1)).await.unwrap());
    assert!(!g.store.remove(&id(1)).await.unwrap());
}

pub async fn what_was_removed_is_gone_everywhere(g: &Ground) {
    let one = g.session("i-1").await;
    ended(g, &pipeline(1), &one, 5).await;
    assert!(g.store.remove(&id(1)).await.unwrap());
    assert_eq!(g.store.load(&id(1)).await.unwrap(), None);
    assert!(list(g, any(10)).await.is_empty());
    assert!(list(g, Query { application: Some("spintest".to_owned()), ..any(10) }).await.is_empty());
    assert!(list(g, Query { pipeline_config_id: Some("c-1".to_owned()), ..any(10) }).await.is_empty());
    assert!(!g.post(1, &restart()).await);
    assert!(g.store.claim_one(&one, &id(1)).await.unwrap().is_none());
    g.create(&pipeline(1)).await;
    assert_eq!(list(g, any(10)).await, [id(1)], "its id is free");
}

pub async fn retention_spares_the_young(g: &Ground) {
    let one = g.session("i-1").await;
    for (n, at) in [(1, 100), (2, 200), (3, 300)] {
        ended(g, &pipeline(n), &one, at).await;
    }
    assert_eq!(g.store.expire(Retention { older_than: Timestamp(200), keep: 0, step: 10 }).await.unwrap(), 1);
    assert_eq!(list(g, any(10)).await, [id(3), id(2)]);
}

pub async fn retention_spares_the_newest_of_each_definition(g: &Ground) {
    let one = g.session("i-1").await;
    for n in 1..=5 {
        ended(g, &pipeline_of(n, "a", "often"), &one, i64::from(n)).await;
    }
    ended(g, &pipeline_of(6, "a", "seldom"), &one, 0).await;
    let all = Retention { older_than: Timestamp(i64::MAX), keep: 2, step: 10 };
    assert_eq!(g.store.expire(all).await.unwrap(), 3);
    assert_eq!(list(g, any(10)).await, [id(6), id(5), id(4)]);
    assert_eq!(g.store.expire(all).await.unwrap(), 0);
}

pub async fn retention_counts_orchestrations_by_application(g: &Ground) {
    let one = g.session("i-1").await;
    for n in 1..=3 {
        ended(g, &orchestration(n, "a"), &one, i64::from(n)).await;
    }
    ended(g, &orchestration(4, "b"), &one, 0).await;
    assert_eq!(g.store.expire(Retention { older_than: Timestamp(i64::MAX), keep: 1, step: 10 }).await.unwrap(), 2);
    assert_eq!(list(g, any(10)).await, [id(4), id(3)]);
}

pub async fn retention_goes_in_steps(g: &Ground) {
    let one = g.session("i-1").await;
    for n in 1..=7 {
        ended(g, &pipeline_of(n, "a", if n % 2 == 0 { "c-1" } else { "c-2" }), &one, i64::from(n)).await;
    }
    let step = Retention { older_than: Timestamp(i64::MAX), keep: 0, step: 3 };
    let mut went = Vec::new();
    for _ in 0..4 {
        went.push(g.store.expire(step).await.unwrap());
    }
    assert!(went.iter().all(|n| *n <= 3) && went.iter().sum::<usize>() == 7, "{went:?}");
    assert!(list(g, any(10)).await.is_empty());
}

pub async fn retention_leaves_what_runs(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    g.create(&pipeline(2)).await;
    g.park(&lease, None).await;
    assert_eq!(g.store.expire(Retention { older_than: Timestamp(i64::MAX), keep: 0, step: 10 }).await.unwrap(), 0);
    assert_eq!(list(g, any(10)).await.len(), 2);
}
