//! What the first run was asked, for a machine that is told nothing but to go on.

use super::*;
use crate::rollback::wishes::WISHES_TAGS;
use crate::rollback::wishes::Wish;

const BAKE: Duration = Duration::from_secs(240);

/// A run over two clusters that asks for something of everything, and dies in the middle.
async fn begun() -> Fleet {
    let fleet = with_polling();
    fleet.fault(12, Fault::Dies);
    let asked = Request {
        settle: Duration::from_secs(50),
        bake: BAKE,
        canary: Canary::Always,
        canary_within: Duration::from_secs(420),
        keep_bad: 2,
        notifies: true,
        polling: vec!["spin-ha-polling".to_owned()],
        service_urls: vec!["https://gate/health?deep=1&why=\u{e4}".to_owned(), "https://deck/".to_owned()],
        ..request(1500)
    };
    assert!(tokio::time::timeout(Duration::from_secs(700), go(&fleet, &asked)).await.is_err(), "it dies");
    fleet
}

/// All that is said elsewhere.
fn only_resume() -> Request {
    Request { resume: true, taken_over: true, ..Request::of("spin", "bob@desk") }
}

async fn planned(fleet: &Fleet, request: &Request) -> Result<Plan, Vec<&'static str>> {
    match with_world(fleet, async |world| prepare(world, request).await).await {
        Ok((plan, _)) => Ok(plan),
        Err(NoPlan::Refused(why)) => Err(why.refusals.iter().map(Refusal::code).collect()),
        Err(NoPlan::Blind(error)) => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn another_machine_that_is_told_nothing_goes_on_as_it_was_begun() {
    let fleet = begun().await;
    let plan = planned(&fleet, &only_resume()).await.unwrap();
    let now = &plan.request;
    assert_eq!((now.settle.as_secs(), now.timeout.as_secs(), now.bake), (50, 1500, BAKE));
    assert_eq!((now.canary, now.canary_within.as_secs(), now.keep_bad), (Canary::Always, 420, 2));
    assert_eq!(now.service_urls, ["https://gate/health?deep=1&why=\u{e4}", "https://deck/"]);
    for line in
        ["--bake 240s, as it was begun", "--keep-bad 2, as it was begun", "--service-url https://gate/health", "the URL is a secret"]
    {
        assert!(plan.notes.iter().any(|note| note.contains(line)), "{line}: {:?}", plan.notes);
    }
    let outcome = go(&fleet, &only_resume()).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert!(report(&outcome).took >= BAKE && report(&outcome).verified.contains(&"https://deck/ answers".to_owned()), "{outcome:?}");
    assert_rolled_back(&fleet, "resumed");
    for name in ["spin-ha-v023", "spin-ha-v024", "spin-ha-polling-v023", "spin-ha-polling-v024"] {
        let tags = fleet.group(name).tags;
        assert!(WISHES_TAGS.iter().all(|key| !tags.contains_key(*key)), "{tags:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_said_now_comes_first_and_is_told() {
    let fleet = begun().await;
    let now = Request { bake: Duration::from_secs(5), said: [Wish::Bake].into(), notifies: true, ..only_resume() };
    let plan = planned(&fleet, &now).await.unwrap();
    assert_eq!((plan.request.bake.as_secs(), plan.request.timeout.as_secs()), (5, 1500));
    assert!(plan.notes.contains(&"--bake 5s, as said now; it was begun with --bake 240s".to_owned()), "{:?}", plan.notes);
    assert!(!plan.notes.iter().any(|note| note.contains("secret")), "{:?}", plan.notes);
}

#[tokio::test(start_paused = true)]
async fn where_two_clusters_were_asked_different_things_nobody_guesses() {
    let fleet = begun().await;
    let other = crate::rollback::wishes::Wishes::of(&Request {
        bake: Duration::from_secs(1),
        ..planned(&fleet, &only_resume()).await.unwrap().request
    });
    for name in ["spin-ha-polling-v023", "spin-ha-polling-v024"] {
        fleet.meddle(name, |g| g.tags.extend(other.to_tags()));
    }
    assert_eq!(planned(&fleet, &only_resume()).await.unwrap_err(), ["rollback-wishes-differ"]);
    let said = Request { said: [Wish::Bake].into(), ..only_resume() };
    assert_eq!(planned(&fleet, &said).await.unwrap().request.bake, Duration::ZERO);
    let one = Request { clusters: vec![Wanted { name: "spin-ha-polling".to_owned(), count: None }], ..only_resume() };
    assert_eq!(planned(&fleet, &one).await.unwrap().request.bake.as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn words_of_a_newer_version_are_refused() {
    for key in [WISHES_TAGS[0], crate::model::RECORD_TAG] {
        let fleet = begun().await;
        fleet.meddle("spin-ha-v023", |g| g.tags.get_mut(key).unwrap().push_str(" weather=good"));
        assert_eq!(planned(&fleet, &only_resume()).await.unwrap_err(), ["rollback-record-unreadable"], "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_was_said_to_poll_is_handed_over_by_whoever_goes_on() {
    let fleet = Fleet::new().with("spin-igor-v023", (0, 0, 1), true).with("spin-igor-v024", (1, 1, 1), false);
    let fleet = Fleet { singletons: vec!["spin-igor"], ..fleet };
    fleet.fault(4, Fault::Dies);
    let first = Request { polling: vec!["spin-igor".to_owned()], ..request(900) };
    assert!(tokio::time::timeout(Duration::from_secs(700), go(&fleet, &first)).await.is_err());
    let plan = planned(&fleet, &only_resume()).await.unwrap();
    assert!(plan.clusters[0].singleton, "{:?}", plan.clusters[0].notes);
    assert!(matches!(go(&fleet, &only_resume()).await, Outcome::Done(_)));
    assert_eq!(fleet.broken(), Vec::<String>::new());
}
