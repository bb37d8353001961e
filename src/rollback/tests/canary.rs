//! One restored instance first, and the others once it serves.

use super::*;

/// v023 drained to `alone`, v024 broken, six each before.
fn of_six(alone: u32) -> Fleet {
    let mut fleet = Fleet::new().with("spin-ha-v023", (alone, alone, 6), true).with("spin-ha-v024", (6, 6, 6), false);
    fleet.floors.insert("spin-ha-v024", ("spin-ha-v023", 6));
    fleet.canary = Some(("spin-ha-v023", usize::try_from(alone.max(1)).unwrap()));
    fleet
}

fn ends(fleet: &Fleet) -> (String, String, Vec<String>) {
    (sizes(fleet, "spin-ha-v023"), sizes(fleet, "spin-ha-v024"), fleet.broken())
}

#[tokio::test(start_paused = true)]
async fn of_many_one_serves_before_the_others_are_launched() {
    let fleet = of_six(0);
    let outcome = go(&fleet, &request(600)).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert_eq!(ends(&fleet), ("6/6/6".to_owned(), "0/0/0".to_owned(), Vec::new()));
    let took = report(&outcome).took;
    assert!(took <= 2 * (BOOT + CHECKS) + Duration::from_millis(3500), "one after the other, and little more: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn members_that_live_are_the_canary_and_none_of_them_ends_for_it() {
    let fleet = of_six(2);
    let members: Vec<_> = fleet.group("spin-ha-v023").instances.into_iter().map(|i| i.id).collect();
    assert!(matches!(go(&fleet, &request(600)).await, Outcome::Done(_)));
    assert_eq!(ends(&fleet), ("6/6/6".to_owned(), "0/0/0".to_owned(), Vec::new()));
    let now = fleet.group("spin-ha-v023").instances;
    assert!(members.iter().all(|id| now.iter().any(|i| i.id == *id)), "{members:?} {now:?}");
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_never_serves_stops_it_with_one_instance_launched_and_can_be_taken_back() {
    let fleet = Fleet { sick: Some("v023"), undone: true, ..of_six(0) };
    let outcome = go(&fleet, &Request { canary_within: Duration::from_secs(150), ..request(600) }).await;
    assert_eq!((outcome.exit_code(), stop_code(&outcome)), (1, "rollback-canary-unhealthy"));
    let took = report(&outcome).took;
    assert!((150..160).contains(&took.as_secs()), "{took:?}");
    let text = report(&outcome).clusters[0].stop.as_ref().unwrap().to_string();
    assert!(text.contains("i-spin-ha-v023-7 is InService, gate: not healthy yet") && text.contains("--undo"), "{text}");
    assert_eq!(ends(&fleet), ("1/1/6".to_owned(), "6/6/6".to_owned(), Vec::new()));
    assert!(matches!(go(&fleet, &Request { undo: true, ..request(600) }).await, Outcome::Done(_)));
    assert_eq!(ends(&fleet), ("0/0/6".to_owned(), "6/6/6".to_owned(), Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_is_mended_lets_the_same_command_finish() {
    let fleet = of_six(0);
    fleet.sicken(Some("v023"));
    let request = Request { canary_within: Duration::from_secs(90), ..request(600) };
    assert_eq!(stop_code(&go(&fleet, &request).await), "rollback-canary-unhealthy");
    fleet.sicken(None);
    assert!(matches!(go(&fleet, &request).await, Outcome::Done(_)));
    assert_eq!(ends(&fleet), ("6/6/6".to_owned(), "0/0/0".to_owned(), Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn whether_there_is_a_canary_is_as_the_person_says_or_by_the_number() {
    for (canary, size, expected) in
        [(Canary::ForMany, 4, false), (Canary::ForMany, 5, true), (Canary::Always, 2, true), (Canary::Never, 20, false)]
    {
        let fleet = Fleet::new().with("spin-ha-v023", (0, 0, 20), true).with("spin-ha-v024", (size, size, 20), false);
        let outcome = go(&fleet, &Request { canary, ..request(600) }).await;
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
        let one_after_the_other = report(&outcome).took >= 2 * (BOOT + CHECKS);
        assert_eq!(one_after_the_other, expected, "{canary:?} of {size}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_change_launches_no_more_than_the_canary() {
    let always = Request { canary: Canary::Always, ..request(900) };
    let clean = of_six(0);
    go(&clean, &always).await;
    for at in 1..=clean.changes() {
        for fault in [Fault::ReplyLost, Fault::RequestLost, Fault::Fails(Kind::Throttled), Fault::Dies] {
            let fleet = Fleet { stale: Duration::from_secs(4), ..of_six(0) };
            fleet.fault(at, fault);
            if tokio::time::timeout(Duration::from_secs(300), go(&fleet, &always)).await.is_err() {
                go(&fleet, &always).await;
            }
            assert_eq!(ends(&fleet), ("6/6/6".to_owned(), "0/0/0".to_owned(), Vec::new()), "{fault:?} at {at}");
        }
    }
}
