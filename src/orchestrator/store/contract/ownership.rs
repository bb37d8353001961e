//! Creation, claims, epochs, fences, writes.

use super::*;

pub async fn what_was_created_is_due_and_is_claimed_as_it_was_given(g: &Ground) {
    let one = g.session("i-1").await;
    let execution = pipeline(1);
    g.create(&execution).await;
    let claimed = g.claim(&one, 10).await.remove(0);
    let given = record::encode(&execution);
    assert_eq!((claimed.lease.execution, claimed.lease.session, claimed.adopted), (id(1), one, false));
    assert!(claimed.lease.epoch > 0 && claimed.inbox.is_empty());
    assert_eq!(sorted(claimed.record.fields), sorted(given.fields));
    assert_eq!(claimed.record.stage_index, given.stage_index);
    let loaded = g.other.load(&id(1)).await.unwrap().unwrap();
    assert_eq!(sorted(loaded.fields), sorted(record::encode(&execution).fields));
}

pub async fn creating_twice_gives_the_first(g: &Ground) {
    let one = g.session("i-1").await;
    g.create(&pipeline(1)).await;
    let again = NewExecution { record: record::encode(&pipeline_of(1, "other", "c-2")), ..new(&pipeline(1), Timestamp(0)) };
    assert_eq!(g.other.create(again).await.unwrap(), Created::Existing(id(1)));
    assert_eq!(g.read(&id(1)).await.summary().application, "spintest");
    assert_eq!(g.claim(&one, 10).await.len(), 1);
}

fn correlated(execution: &Execution, correlation: &str) -> NewExecution {
    NewExecution { correlation_id: Some(correlation.to_owned()), ..new(execution, Timestamp(0)) }
}

pub async fn a_correlation_id_gives_the_incomplete_one(g: &Ground) {
    assert_eq!(g.store.create(correlated(&pipeline(1), "x")).await.unwrap(), Created::New);
    assert_eq!(g.other.create(correlated(&pipeline(2), "x")).await.unwrap(), Created::Existing(id(1)));
    assert_eq!(g.other.create(correlated(&pipeline(3), "y")).await.unwrap(), Created::New);
    assert_eq!(g.store.load(&id(2)).await.unwrap(), None);
}

pub async fn a_correlation_id_is_free_after_the_end(g: &Ground) {
    let one = g.session("i-1").await;
    g.store.create(correlated(&pipeline(1), "x")).await.unwrap();
    let claimed = g.claim(&one, 1).await.remove(0);
    g.finish(&claimed.lease, Status::Succeeded, Timestamp(5)).await;
    assert_eq!(g.store.create(correlated(&pipeline(2), "x")).await.unwrap(), Created::New);
    assert_eq!(g.store.create(correlated(&pipeline(3), "x")).await.unwrap(), Created::Existing(id(2)));
}

pub async fn a_correlation_id_refers_across_both_kinds(g: &Ground) {
    g.store.create(correlated(&pipeline(1), "x")).await.unwrap();
    assert_eq!(g.store.create(correlated(&orchestration(2, "spintest"), "x")).await.unwrap(), Created::Existing(id(1)));
}

pub async fn oldest_due_is_claimed_first(g: &Ground) {
    let one = g.session("i-1").await;
    for (n, due) in [(1, 30), (2, 10), (3, 20)] {
        g.create_due(&pipeline(n), Timestamp(due)).await;
    }
    assert_eq!(ids(&g.claim(&one, 10).await), [id(2), id(3), id(1)]);
}

pub async fn what_is_due_later_is_not_claimed_before(g: &Ground) {
    let one = g.session("i-1").await;
    let now = g.now().await;
    g.create_due(&pipeline(1), now.plus(LONG)).await;
    g.create_due(&pipeline(2), now.plus(Duration::from_secs(1))).await;
    assert!(g.claim(&one, 10).await.is_empty());
    g.pass(Duration::from_millis(1_100)).await;
    assert_eq!(ids(&g.claim(&one, 10).await), [id(2)]);
}

pub async fn a_claim_takes_no_more_than_asked(g: &Ground) {
    let one = g.session("i-1").await;
    for n in 1..=3 {
        g.create_due(&pipeline(n), Timestamp(i64::from(n))).await;
    }
    assert_eq!(ids(&g.claim(&one, 2).await), [id(1), id(2)]);
    assert_eq!(ids(&g.claim(&one, 2).await), [id(3)]);
}

pub async fn a_claim_takes_at_most_five_hundred(g: &Ground) {
    let one = g.session("i-1").await;
    for n in 0..510 {
        g.create(&pipeline(n)).await;
    }
    assert_eq!(g.claim(&one, 10_000).await.len(), 500);
    assert_eq!(g.claim(&one, 10_000).await.len(), 10);
}

pub async fn two_claimers_never_get_the_same(g: &Ground) {
    let (one, two) = (g.session("i-1").await, g.session("i-2").await);
    for n in 0..60 {
        g.create(&pipeline(n)).await;
    }
    let mut all = Vec::new();
    while all.len() < 60 {
        let (a, b) = tokio::join!(g.store.claim(&one, 7), g.other.claim(&two, 5));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert!(!a.is_empty() || !b.is_empty());
        all.extend(ids(&a).into_iter().chain(ids(&b)));
    }
    assert_eq!(sorted(all), (0..60).map(id).collect::<Vec<_>>());
}

pub async fn a_session_without_a_lease_claims_nothing(g: &Ground) {
    g.create(&pipeline(1)).await;
    assert!(g.claim(&session("i-1", "1"), 10).await.is_empty());
}

pub async fn a_session_past_its_lease_claims_nothing(g: &Ground) {
    let one = session("i-1", "1");
    assert!(g.store.beat(&one, SHORT).await.unwrap());
    g.create(&pipeline(1)).await;
    g.pass(PAST_SHORT).await;
    assert!(g.claim(&one, 10).await.is_empty());
    assert!(g.store.claim_one(&one, &id(1)).await.unwrap().is_none());
    assert!(g.store.beat(&one, LONG).await.unwrap());
    assert_eq!(g.claim(&one, 10).await.len(), 1);
}

pub async fn epochs_grow_with_every_owner(g: &Ground) {
    let (one, two) = (g.session("i-1").await, g.session("i-2").await);
    let mut epochs = vec![g.owned(1, &one).await.lease];
    for who in [&two, &one, &one] {
        g.park(epochs.last().unwrap(), Some(Timestamp(0))).await;
        epochs.push(g.claim(who, 1).await.remove(0).lease);
    }
    assert!(epochs.windows(2).all(|w| w[0].epoch < w[1].epoch), "{epochs:?}");
}

pub async fn claim_one_takes_what_only_waits(g: &Ground) {
    let (one, two) = (g.session("i-1").await, g.session("i-2").await);
    let lease = g.owned(1, &one).await.lease;
    g.park(&lease, None).await;
    let claimed = g.store.claim_one(&two, &id(1)).await.unwrap().unwrap();
    assert!(claimed.lease.epoch > lease.epoch && !claimed.adopted);
}

pub async fn claim_one_takes_what_is_due_later(g: &Ground) {
    let one = g.session("i-1").await;
    let due = g.now().await.plus(LONG);
    g.create_due(&pipeline(1), due).await;
    assert!(g.store.claim_one(&one, &id(1)).await.unwrap().is_some());
    assert_eq!(g.store.next_due().await.unwrap(), None, "it is no longer due");
}

pub async fn claim_one_leaves_what_another_owns(g: &Ground) {
    let (one, two) = (g.session("i-1").await, g.session("i-2").await);
    g.owned(1, &one).await;
    assert!(g.other.claim_one(&two, &id(1)).await.unwrap().is_none());
}

pub async fn claim_one_gives_again_what_the_session_owns(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    let again = g.store.claim_one(&one, &id(1)).await.unwrap().unwrap();
    assert!(again.lease.epoch > lease.epoch && again.adopted, "the answer that gave it may have been lost");
}

pub async fn claim_one_leaves_what_ended(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    g.finish(&lease, Status::Succeeded, Timestamp(5)).await;
    assert!(g.store.claim_one(&one, &id(1)).await.unwrap().is_none());
}

pub async fn claim_one_of_what_is_not_there_is_none(g: &Ground) {
    let one = g.session("i-1").await;
    assert!(g.store.claim_one(&one, &id(9)).await.unwrap().is_none());
}

/// Owned by a session whose lease then runs out, while that of `i-2` holds.
async fn overdue(g: &Ground) -> Lease {
    g.session("i-2").await;
    let one = session("i-1", "1");
    assert!(g.store.beat(&one, LONG).await.unwrap());
    let lease = g.owned(1, &one).await.lease;
    assert!(g.store.beat(&one, SHORT).await.unwrap());
    g.pass(PAST_SHORT).await;
    lease
}

pub async fn claim_one_adopts_from_a_session_past_its_lease(g: &Ground) {
    let old = overdue(g).await;
    let two = g.session("i-2").await;
    let claimed = g.store.claim_one(&two, &id(1)).await.unwrap().unwrap();
    assert!(claimed.adopted && claimed.lease.epoch > old.epoch);
}

pub async fn nothing_is_adopted_before_the_lease_ran_out(g: &Ground) {
    let (one, two) = (g.session("i-1").await, g.session("i-2").await);
    g.owned(1, &one).await;
    g.pass(PAST_SHORT).await;
    assert!(g.claim(&two, 10).await.is_empty());
}

pub async fn what_a_session_past_its_lease_owns_is_adopted(g: &Ground) {
    let old = overdue(g).await;
    let two = g.session("i-2").await;
    let claimed = g.claim(&two, 10).await.remove(0);
    assert!(claimed.adopted && claimed.lease.epoch > old.epoch);
    assert_eq!((claimed.lease.execution, claimed.lease.session), (id(1), two));
    assert_eq!(claimed.record.stage_index.len(), 2);
}

pub async fn a_renewed_lease_keeps_all_it_owns(g: &Ground) {
    let (one, two) = (session("i-1", "1"), g.session("i-2").await);
    assert!(g.store.beat(&one, LONG).await.unwrap());
    let lease = g.owned(1, &one).await.lease;
    g.owned(2, &one).await;
    assert!(g.store.beat(&one, SHORT).await.unwrap());
    assert!(g.store.beat(&one, LONG).await.unwrap());
    g.pass(PAST_SHORT).await;
    assert!(g.claim(&two, 10).await.is_empty());
    g.write(set(&lease, "x", "1")).await;
}

pub async fn adoption_of_many_takes_several_claims_and_loses_none(g: &Ground) {
    let (one, two) = (session("i-1", "1"), g.session("i-2").await);
    assert!(g.store.beat(&one, LONG).await.unwrap());
    for n in 0..120 {
        g.create(&pipeline(n)).await;
    }
    assert_eq!(g.claim(&one, 500).await.len(), 120);
    assert!(g.store.beat(&one, SHORT).await.unwrap());
    g.pass(PAST_SHORT).await;
    let mut all = Vec::new();
    for _ in 0..4 {
        let claimed = g.claim(&two, 40).await;
        assert!(claimed.len() <= 40 && claimed.iter().all(|c| c.adopted));
        all.extend(ids(&claimed));
    }
    assert_eq!(sorted(all), (0..120).map(id).collect::<Vec<_>>());
}

pub async fn what_was_parked_is_not_adopted(g: &Ground) {
    let (one, two) = (session("i-1", "1"), g.session("i-2").await);
    assert!(g.store.beat(&one, LONG).await.unwrap());
    let lease = g.owned(1, &one).await.lease;
    g.park(&lease, None).await;
    assert!(g.store.beat(&one, SHORT).await.unwrap());
    g.pass(PAST_SHORT).await;
    assert!(g.claim(&two, 10).await.is_empty());
}

pub async fn after_an_outage_who_comes_back_first_leaves_the_others_their_work(g: &Ground) {
    let (one, two) = (session("i-1", "1"), session("i-2", "1"));
    assert!(g.store.beat(&one, LONG).await.unwrap());
    let lease = g.owned(1, &one).await.lease;
    for session in [&one, &two] {
        assert!(g.store.beat(session, SHORT).await.unwrap());
    }
    g.pass(PAST_SHORT).await;
    assert!(g.other.beat(&two, LONG).await.unwrap());
    assert!(g.claim(&two, 10).await.is_empty());
    assert!(g.store.claim_one(&two, &id(1)).await.unwrap().is_none());
    assert!(g.store.beat(&one, LONG).await.unwrap());
    g.write(set(&lease, "x", "1")).await;
    assert!(g.claim(&two, 10).await.is_empty());
}

pub async fn who_begins_after_a_lease_ran_out_adopts_after_one_of_its_own(g: &Ground) {
    const OWN: Duration = Duration::from_millis(300);
    overdue(g).await;
    let three = session("i-3", "1");
    let begun = g.now().await;
    let adopted = loop {
        assert!(g.store.beat(&three, OWN).await.unwrap());
        let adopted = g.claim(&three, 10).await;
        if !adopted.is_empty() {
            break adopted;
        }
        assert!(g.now().await.since(begun) < LONG, "never");
        g.pass(Duration::from_millis(20)).await;
    };
    assert!(g.now().await.since(begun) >= OWN, "at once");
    assert!(adopted[0].adopted);
}

pub async fn a_late_owner_may_write_until_it_is_adopted(g: &Ground) {
    let lease = overdue(g).await;
    g.write(set(&lease, "x", "1")).await;
    let two = g.session("i-2").await;
    assert_eq!(field(&g.claim(&two, 1).await[0].record, "x").as_deref(), Some("1"));
}

pub async fn a_late_owner_is_fenced_after_adoption(g: &Ground) {
    let lease = overdue(g).await;
    let two = g.session("i-2").await;
    let adopted = g.claim(&two, 1).await.remove(0);
    assert_fenced(&g.other.write(set(&lease, "x", "1")).await);
    assert_fenced(&g.other.write(Write { then: Then::Park { due: None }, ..keep(&lease) }).await);
    g.write(set(&adopted.lease, "x", "2")).await;
}

pub async fn an_owner_is_fenced_after_it_parked(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    g.park(&lease, None).await;
    assert_fenced(&g.store.write(set(&lease, "x", "1")).await);
    let now_owned = g.store.claim_one(&one, &id(1)).await.unwrap().unwrap();
    assert_fenced(&g.store.write(set(&lease, "x", "1")).await);
    assert_eq!(field(&now_owned.record, "x"), None);
}

pub async fn an_owner_is_fenced_after_it_finished(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    g.finish(&lease, Status::Succeeded, Timestamp(5)).await;
    assert_fenced(&g.store.write(set(&lease, "x", "1")).await);
}

pub async fn an_owner_is_fenced_after_its_session_ended(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    g.other.end_session(&one).await.unwrap();
    assert_fenced(&g.store.write(set(&lease, "x", "1")).await);
    assert_fenced(&g.store.write(Write { then: Then::Finish, ..keep(&lease) }).await);
}

pub async fn a_fenced_write_changes_nothing(g: &Ground) {
    let lease = overdue(g).await;
    let two = g.session("i-2").await;
    g.claim(&two, 1).await;
    g.post(1, &cancel()).await;
    let before = g.read(&id(1)).await;
    let late = Write {
        stage_index: Some(Vec::new()),
        taken: 1,
        notices: vec![outbox::notice(1)],
        ..finish(&before, &lease, Status::Terminal, Timestamp(5))
    };
    assert_fenced(&g.store.write(late).await);
    let after = g.read(&id(1)).await;
    assert_eq!((after.status(), after.stages().len()), (before.status(), 2));
    assert!(g.store.outbox(10, LONG).await.unwrap().is_empty());
    assert_eq!(g.store.with_messages(&two).await.unwrap(), [id(1)]);
}

pub async fn a_write_for_what_is_not_there_is_fenced(g: &Ground) {
    let lease = Lease { execution: id(9), session: g.session("i-1").await, epoch: 1 };
    assert_fenced(&g.store.write(set(&lease, "x", "1")).await);
    assert_eq!(g.store.load(&id(9)).await.unwrap(), None);
}

pub async fn a_write_may_be_repeated(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    let write = Write { stage_index: Some(vec!["a".to_owned()]), notices: vec![outbox::notice(1)], ..set(&lease, "x", "1") };
    for _ in 0..3 {
        g.write(write.clone()).await;
    }
    let record = g.store.load(&id(1)).await.unwrap().unwrap();
    assert_eq!((field(&record, "x").as_deref(), record.stage_index), (Some("1"), vec!["a".to_owned()]));
}

pub async fn a_park_may_be_repeated_until_it_is_claimed(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    let park = Write { then: Then::Park { due: Some(Timestamp(1)) }, ..set(&lease, "x", "1") };
    g.write(park.clone()).await;
    g.write(park.clone()).await;
    g.claim(&one, 1).await;
    assert_fenced(&g.store.write(park).await);
}

pub async fn a_finish_may_be_repeated(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    let end = finish(&pipeline(1), &lease, Status::Succeeded, Timestamp(5));
    g.write(end.clone()).await;
    g.write(end).await;
    assert_eq!(g.read(&id(1)).await.status(), Status::Succeeded);
}

pub async fn a_write_sets_and_removes_fields(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    g.write(Write { set: vec![("x".to_owned(), "1".to_owned()), ("y".to_owned(), String::new())], ..keep(&lease) }).await;
    g.write(Write { remove: vec!["x".to_owned(), "never there".to_owned()], ..keep(&lease) }).await;
    let record = g.store.load(&id(1)).await.unwrap().unwrap();
    assert_eq!((field(&record, "x"), field(&record, "y").as_deref(), field(&record, "name").as_deref()), (None, Some(""), Some("Deploy")));
}

pub async fn a_write_changes_the_order_of_stages(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    for order in [vec!["c", "a", "b"], vec!["b"], vec![]] {
        let order: Vec<String> = order.into_iter().map(str::to_owned).collect();
        g.write(Write { stage_index: Some(order.clone()), ..keep(&lease) }).await;
        assert_eq!(g.other.load(&id(1)).await.unwrap().unwrap().stage_index, order);
    }
}

pub async fn writes_of_many_at_once_all_arrive(g: &Ground) {
    let one = g.session("i-1").await;
    for n in 0..200 {
        g.create(&pipeline(n)).await;
    }
    let claimed = g.claim(&one, 200).await;
    // One of them has nobody's ownership: it must not spoil the others.
    let mut writes: Vec<Write> = claimed.iter().map(|c| set(&c.lease, "x", c.lease.execution.as_str())).collect();
    writes[50].lease.epoch += 1;
    let results = futures::future::join_all(writes.into_iter().map(|w| g.store.write(w))).await;
    for (n, (result, claimed)) in results.iter().zip(&claimed).enumerate() {
        let wrote = field(&g.store.load(&claimed.lease.execution).await.unwrap().unwrap(), "x");
        if n == 50 {
            assert_fenced(result);
            assert_eq!(wrote, None);
        } else {
            assert_eq!(*result, Ok(()));
            assert_eq!(wrote.as_deref(), Some(claimed.lease.execution.as_str()));
        }
    }
}

pub async fn a_megabyte_survives(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    let large = "0123456789abcdef".repeat(65_536);
    let many: Vec<(String, String)> = (0..3_000).map(|n| (format!("stage.s{n}.context"), "{}".to_owned())).collect();
    g.write(set(&lease, "large", &large)).await;
    g.write(Write { set: many.clone(), stage_index: Some((0..3_000).map(|n| format!("s{n}")).collect()), ..keep(&lease) }).await;
    let record = g.other.load(&id(1)).await.unwrap().unwrap();
    assert_eq!(field(&record, "large"), Some(large));
    assert_eq!(record.stage_index.len(), 3_000);
    g.write(Write { remove: many.into_iter().map(|(n, _)| n).collect(), ..keep(&lease) }).await;
    assert_eq!(field(&g.other.load(&id(1)).await.unwrap().unwrap(), "stage.s2999.context"), None);
}

pub async fn text_of_any_kind_survives(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    let odd = "a\0b\r\n\u{1F600} ''\"\\ %s $1 {x} ü";
    g.write(set(&lease, odd, odd)).await;
    assert_eq!(field(&g.other.load(&id(1)).await.unwrap().unwrap(), odd).as_deref(), Some(odd));
}

pub async fn parked_until_a_time_it_is_due_then(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    let due = g.now().await.plus(Duration::from_secs(1));
    g.park(&lease, Some(due)).await;
    assert!(g.claim(&one, 10).await.is_empty());
    assert_eq!(g.store.next_due().await.unwrap(), Some(due));
    g.pass(Duration::from_millis(1_100)).await;
    assert_eq!(g.claim(&one, 10).await.len(), 1);
}

pub async fn parked_without_a_time_it_only_waits(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    g.park(&lease, None).await;
    assert!(g.claim(&one, 10).await.is_empty());
    assert_eq!(g.store.next_due().await.unwrap(), None);
}

pub async fn an_ended_one_is_not_due(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    g.finish(&lease, Status::Succeeded, Timestamp(5)).await;
    assert!(g.claim(&one, 10).await.is_empty());
    assert_eq!(g.store.next_due().await.unwrap(), None);
}

pub async fn a_late_duplicate_of_an_older_write_is_refused(g: &Ground) {
    let one = g.session("i-1").await;
    for (n, plain) in [(1, true), (2, false)] {
        let lease = g.owned(n, &one).await.lease;
        let write = |number: u32| Write { number, taken: u64::from(!plain), ..set(&lease, "x", &number.to_string()) };
        g.write(write(1)).await;
        g.write(write(1)).await;
        g.write(write(2)).await;
        g.write(write(7)).await;
        let late = g.store.write(write(2)).await;
        assert!(matches!(late, Err(WriteError::Store(StoreError::Refused(_)))), "{late:?}");
        let late = g.store.write(Write { then: Then::Park { due: None }, ..write(6) }).await;
        assert!(matches!(late, Err(WriteError::Store(StoreError::Refused(_)))), "{late:?}");
        assert_eq!(field(&g.store.load(&lease.execution).await.unwrap().unwrap(), "x").as_deref(), Some("7"));
        g.write(write(7)).await;
    }
}

pub async fn a_new_owner_counts_its_writes_anew(g: &Ground) {
    let one = g.session("i-1").await;
    let lease = g.owned(1, &one).await.lease;
    g.write(Write { number: u32::MAX, then: Then::Park { due: Some(Timestamp(1)) }, ..keep(&lease) }).await;
    let lease = g.claim(&one, 1).await.remove(0).lease;
    g.write(set(&lease, "x", "1")).await;
    assert_eq!(field(&g.store.load(&id(1)).await.unwrap().unwrap(), "x").as_deref(), Some("1"));
}

pub async fn large_ones_are_claimed_together(g: &Ground) {
    let one = g.session("i-1").await;
    let large = "0123456789abcdef".repeat(100_000);
    for n in 0..8 {
        let mut new = new(&pipeline(n), Timestamp(1));
        new.record.fields.push(("large".to_owned(), large.clone()));
        g.store.create(new).await.unwrap();
    }
    assert_eq!(ids(&g.claim(&one, 7).await), (0..7).map(id).collect::<Vec<_>>());
    g.store.end_session(&one).await.unwrap();
    let two = g.session("i-2").await;
    assert_eq!(sorted(ids(&g.claim(&two, 500).await)), (0..8).map(id).collect::<Vec<_>>());
}
