//! Whole runs on a small fleet, with a fault at each change in turn.

mod canary;
mod fleet;
mod kept;
mod others;
mod refused;
mod resume;
mod storm;
mod supply;
mod unbegun;
mod undo;

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::cloud::Kind;
use crate::model::Capacity;
use crate::model::HOLD_TAG;
use crate::model::Hold;
use crate::model::LifecycleState;
use crate::model::Process;
use fleet::BOOT;
use fleet::CHECKS;
use fleet::ENDING;
use fleet::Fault;
use fleet::Fleet;

struct Answers(bool);

#[async_trait]
impl Service for Answers {
    async fn ask(&self, _: &str) -> Result<(), String> {
        if self.0 { Ok(()) } else { Err("status 503".to_owned()) }
    }
}

fn request(timeout: u64) -> Request {
    let service_urls = vec!["https://gate/health".to_owned()];
    Request { timeout: Duration::from_secs(timeout), service_urls, ..Request::of("spin", "ann@laptop") }
}

async fn go(fleet: &Fleet, request: &Request) -> Outcome {
    go_with(fleet, request, &Answers(true), &CancellationToken::new(), &Silent).await
}

async fn go_with(fleet: &Fleet, request: &Request, service: &Answers, cancel: &CancellationToken, sink: &dyn Sink) -> Outcome {
    lend(fleet, service, cancel, sink, async |world| run(world, request).await).await
}

/// A world round this fleet, whose service answers, for as long as the work takes.
async fn with_world<T>(fleet: &Fleet, work: impl AsyncFnOnce(&World<'_>) -> T) -> T {
    lend(fleet, &Answers(true), &CancellationToken::new(), &Silent, work).await
}

async fn lend<T>(
    fleet: &Fleet,
    service: &Answers,
    cancel: &CancellationToken,
    sink: &dyn Sink,
    work: impl AsyncFnOnce(&World<'_>) -> T,
) -> T {
    let (clock, journal) = (fleet.clock(), Journal::none());
    let world = World {
        scaling: fleet,
        compute: fleet,
        caller: fleet,
        balancing: fleet,
        service,
        clock: &clock,
        journal: &journal,
        sink,
        cancel,
        seed: 7,
    };
    work(&world).await
}

/// v023 half drained, v024 broken.
fn redeployed() -> Fleet {
    let mut fleet = Fleet::new().with("spin-ha-v023", (1, 1, 6), true).with("spin-ha-v024", (3, 3, 6), false);
    fleet.floors.insert("spin-ha-v024", ("spin-ha-v023", 3));
    fleet
}

/// The same with a polling cluster beside it.
fn with_polling() -> Fleet {
    let fleet = redeployed().with("spin-ha-polling-v023", (0, 0, 1), true).with("spin-ha-polling-v024", (1, 1, 1), false);
    Fleet { singletons: vec!["spin-ha-polling"], ..fleet }
}

/// Of the first writes, which mark the groups, this one alone is carried out: then the laptop dies. Long enough for its hold to end.
async fn marks_one_alone(fleet: &Fleet, request: &Request, marks: usize, marked: usize) {
    let before = fleet.changes();
    for mark in 1..=marks {
        fleet.fault(before + mark, if mark == marked { Fault::Dies } else { Fault::RequestLost });
    }
    assert!(tokio::time::timeout(Duration::from_secs(700), go(fleet, request)).await.is_err(), "it dies at its mark {marked}");
}

fn sizes(fleet: &Fleet, name: &str) -> String {
    fleet.group(name).capacity.to_string()
}

/// What a finished rollback has promised (S12).
fn assert_rolled_back(fleet: &Fleet, context: &str) {
    assert_eq!(fleet.broken(), Vec::<String>::new(), "{context}");
    assert_eq!((sizes(fleet, "spin-ha-v023"), sizes(fleet, "spin-ha-v024")), ("3/3/6".to_owned(), "0/0/0".to_owned()), "{context}");
    for name in ["spin-ha-v023", "spin-ha-v024"] {
        let group = fleet.group(name);
        assert!(group.suspended.is_empty() && !group.tags.contains_key(HOLD_TAG), "{context}: {group:?}");
    }
}

fn report(outcome: &Outcome) -> &Report {
    match outcome {
        Outcome::Done(report) | Outcome::Paused(report) | Outcome::Failed(report) => report,
        Outcome::Refused(_) | Outcome::Blind(_) => panic!("{outcome:?}"),
    }
}

fn stop_code(outcome: &Outcome) -> &'static str {
    report(outcome).clusters.iter().find_map(|c| c.stop.as_ref()).map_or("none", advance::Stop::code)
}

#[tokio::test(start_paused = true)]
async fn the_straight_way_ends_done_with_every_promise_kept_and_little_overhead() {
    let fleet = redeployed();
    let outcome = go(&fleet, &request(600)).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert_rolled_back(&fleet, "straight");
    let over = report(&outcome).took.checked_sub(BOOT + CHECKS).unwrap();
    assert!(over <= Duration::from_millis(2000), "{over:?} over boot and checks");
    assert_eq!(fleet.group("spin-ha-v024").tags["bellrock:capacity"], "3/3/6", "what the retired group had stays on record");
}

#[tokio::test(start_paused = true)]
async fn the_pinned_min_goes_back_to_what_was_recorded() {
    let fleet = redeployed();
    fleet.meddle("spin-ha-v023", |g| {
        g.tags.insert("bellrock:capacity".to_owned(), "1/3/5".to_owned());
    });
    assert_eq!(go(&fleet, &request(600)).await.exit_code(), 0);
    assert_eq!(sizes(&fleet, "spin-ha-v023"), "1/3/6");
}

#[tokio::test(start_paused = true)]
async fn a_singleton_is_handed_over_and_never_runs_twice() {
    let fleet = with_polling();
    let outcome = go(&fleet, &request(600)).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert_rolled_back(&fleet, "singleton");
    assert_eq!((sizes(&fleet, "spin-ha-polling-v023"), sizes(&fleet, "spin-ha-polling-v024")), ("1/1/1".to_owned(), "0/0/0".to_owned()));
    assert!(report(&outcome).took < ENDING + SETTLE + BOOT + CHECKS + Duration::from_secs(8), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn an_older_poller_that_still_drains_does_not_poll_again_while_the_newest_leaves() {
    let fleet = Fleet::new().with("spin-polling-v022", (1, 1, 1), true).with("spin-polling-v023", (0, 0, 1), true);
    let fleet = Fleet { singletons: vec!["spin-polling"], ..fleet.with("spin-polling-v024", (1, 1, 1), false) };
    let outcome = go(&fleet, &request(600)).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert_eq!((sizes(&fleet, "spin-polling-v022"), sizes(&fleet, "spin-polling-v023")), ("0/0/0".to_owned(), "1/1/1".to_owned()));
    assert_eq!((fleet.broken(), fleet.group("spin-polling-v022").instances), (Vec::new(), Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_poller_between_the_restored_and_the_newest_goes_although_it_is_disabled() {
    let fleet = Fleet::new().with("spin-polling-v022", (0, 0, 1), true).with("spin-polling-v023", (1, 1, 1), true);
    let fleet = Fleet { singletons: vec!["spin-polling"], ..fleet.with("spin-polling-v024", (1, 1, 1), false) };
    let outcome = go(&fleet, &Request { to: Some(22), ..request(600) }).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert_eq!((fleet.broken(), fleet.group("spin-polling-v023").instances), (Vec::new(), Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn an_older_version_with_members_is_held_meanwhile_and_left_as_it_was() {
    let fleet = Fleet::new().with("spin-ha-v022", (1, 1, 6), true).with("spin-ha-v023", (1, 1, 6), true);
    let fleet = fleet.with("spin-ha-v024", (3, 3, 6), false);
    let before = fleet.group("spin-ha-v022");
    let outcome = meddled(&fleet, advance::Stage::Close, |fleet| {
        assert!(fleet.group("spin-ha-v022").tags.contains_key(HOLD_TAG));
    })
    .await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    let after = fleet.group("spin-ha-v022");
    assert_eq!((after.capacity, after.suspended, after.instances), (before.capacity, before.suspended, before.instances));
    assert_eq!(after.tags.keys().collect::<Vec<_>>(), ["bellrock:generation"], "its drain begins anew, and no size of it is recorded");
}

#[tokio::test(start_paused = true)]
async fn it_is_not_done_while_an_instance_of_the_newest_works_on() {
    let fleet = redeployed();
    let outcome = meddled(&fleet, advance::Stage::Close, |fleet| fleet.meddle("spin-ha-v024", |g| g.instances[0].protected = true)).await;
    assert_eq!((outcome.exit_code(), stop_code(&outcome)), (3, "rollback-out-of-time"));
    fleet.meddle("spin-ha-v024", |g| g.instances.iter_mut().for_each(|i| i.protected = false));
    assert_eq!(go(&fleet, &request(600)).await.exit_code(), 0);
    assert_rolled_back(&fleet, "no longer protected");
}

#[tokio::test(start_paused = true)]
async fn what_a_policy_has_added_since_the_last_look_stays() {
    for stage in [advance::Stage::Freeze, advance::Stage::Release] {
        let fleet = redeployed();
        fleet.meddle("spin-ha-v023", |g| {
            g.tags.insert("bellrock:capacity".to_owned(), "1/3/6".to_owned());
        });
        let outcome = meddled(&fleet, stage, |fleet| fleet.meddle("spin-ha-v023", |g| g.capacity.desired = 5)).await;
        assert!(matches!(outcome, Outcome::Done(_)), "{stage:?}: {outcome:?}");
        assert_eq!((sizes(&fleet, "spin-ha-v023"), fleet.broken()), ("1/5/6".to_owned(), Vec::new()), "{stage:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_is_lost_is_put_again_and_agents_get_their_time_again() {
    let fleet = Fleet::new().with("spin-ha-v023", (3, 3, 6), true).with("spin-ha-v024", (3, 3, 6), false);
    let outcome = meddled(&fleet, advance::Stage::Await, |fleet| fleet.meddle("spin-ha-v023", |g| drop(g.tags.remove(HOLD_TAG)))).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert!(report(&outcome).took >= SETTLE + Duration::from_secs(9), "{:?}", report(&outcome).took);
    assert_rolled_back(&fleet, "hold lost");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_one_look_does_not_show_is_waited_for_and_one_that_is_gone_stops_it() {
    let fleet = redeployed();
    let request = request(600);
    let (outcome, ()) = tokio::join!(go(&fleet, &request), async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        fleet.hide("spin-ha-v023", Duration::from_secs(2));
    });
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert_rolled_back(&fleet, "blink");
    let fleet = redeployed();
    let outcome = meddled(&fleet, advance::Stage::Await, |fleet| fleet.hide("spin-ha-v023", Duration::from_secs(600))).await;
    assert_eq!((outcome.exit_code(), stop_code(&outcome)), (1, "rollback-group-gone"));
    assert_eq!(sizes(&fleet, "spin-ha-v024"), "3/3/6");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_target_group_is_a_refusal_that_names_the_group() {
    let fleet = Fleet { no_targets: true, ..redeployed() };
    let outcome = go(&fleet, &request(600)).await;
    let Outcome::Refused(why) = &outcome else { panic!("{outcome:?}") };
    assert_eq!((why.refusals[0].code(), fleet.changes()), ("rollback-load-balancer-gone", 0));
    assert!(why.refusals[0].to_string().contains("spin-ha-v023"), "{why:?}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_of_one_cluster_stops_that_one_alone() {
    for (what, kind, code) in [
        ("api-internal", Kind::Denied, "rollback-denied"),
        ("api-internal", Kind::Bug, "rollback-refused-by-aws"),
        ("spin-api-v023", Kind::Bug, "rollback-refused-by-aws"),
    ] {
        let fleet = redeployed().with("spin-api-v023", (1, 1, 6), true).with("spin-api-v024", (2, 2, 6), false);
        for name in ["spin-api-v023", "spin-api-v024"] {
            fleet.meddle(name, |g| g.classic_load_balancers = vec!["api-internal".to_owned()]);
        }
        let outcome = meddled(&fleet, advance::Stage::Await, |fleet| fleet.mute(what, kind)).await;
        assert_eq!((outcome.exit_code(), stop_code(&outcome)), (1, code), "{what}: {outcome:?}");
        assert_rolled_back(&fleet, what);
        assert_eq!(sizes(&fleet, "spin-api-v024"), "2/2/6", "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_not_ask_for_refreshes_is_told_and_rolls_back_all_the_same() {
    let fleet = Fleet { no_refreshes: true, ..redeployed() };
    let (plan, facts) = with_world(&fleet, async |world| prepare(world, &request(600)).await).await.unwrap();
    let told = |group: &str| plan.clusters[0].notes.iter().any(|note| note.contains(&format!("refresh of {group} is under way cannot be")));
    assert!(told("spin-ha-v023") && told("spin-ha-v024"), "{:?}", plan.clusters[0].notes);
    assert!(matches!(Outcome::from(with_world(&fleet, async |world| execute(world, &plan, facts).await).await), Outcome::Done(_)));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_instances_that_aws_cannot_launch_reads_why() {
    let fleet = Fleet { no_launch: Some("no capacity in us-west-2a"), ..redeployed() };
    let outcome = go(&fleet, &request(120)).await;
    assert_eq!((outcome.exit_code(), stop_code(&outcome)), (3, "rollback-out-of-time"));
    let text = report(&outcome).clusters[0].stop.as_ref().unwrap().to_string();
    assert!(text.contains("AWS could not launch: no capacity in us-west-2a"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_appears_meanwhile_pauses_it_with_the_newest_untouched() {
    let fleet = redeployed();
    let outcome = meddled(&fleet, advance::Stage::Await, |fleet| fleet.appear("spin-ha-v025", (3, 3, 6), false)).await;
    assert_eq!((outcome.exit_code(), stop_code(&outcome)), (3, "rollback-changed-by-another"));
    assert_eq!(sizes(&fleet, "spin-ha-v024"), "3/3/6");
    let text = report(&outcome).clusters[0].stop.as_ref().unwrap().to_string();
    assert!(text.contains("spin-ha-v025"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_appears_while_the_person_reads_the_plan_stops_it_before_the_first_change() {
    let fleet = redeployed();
    let (plan, facts) = with_world(&fleet, async |world| prepare(world, &request(600)).await).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    fleet.appear("spin-ha-v025", (3, 3, 6), false);
    let outcome = Outcome::from(with_world(&fleet, async |world| execute(world, &plan, facts).await).await);
    assert_eq!((stop_code(&outcome), fleet.changes()), ("rollback-changed-by-another", 0));
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_change_is_survived() {
    let clean = with_polling();
    go(&clean, &request(900)).await;
    for at in 1..=clean.changes() {
        for fault in
            [Fault::ReplyLost, Fault::RequestLost, Fault::Fails(Kind::Throttled), Fault::Fails(Kind::Conflict), Fault::Fails(Kind::Refused)]
        {
            let fleet = Fleet { stale: Duration::from_secs(4), ..with_polling() };
            fleet.fault(at, fault);
            let outcome = go(&fleet, &request(900)).await;
            assert!(matches!(outcome, Outcome::Done(_)), "{fault:?} at {at}: {outcome:?}");
            assert_rolled_back(&fleet, &format!("{fault:?} at {at}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rerun_finishes_whatever_change_the_first_run_died_at() {
    let clean = with_polling();
    go(&clean, &request(900)).await;
    for at in 1..=clean.changes() {
        let fleet = Fleet { stale: Duration::from_secs(3), ..with_polling() };
        fleet.fault(at, Fault::Dies);
        let request = request(900);
        let died = tokio::time::timeout(Duration::from_secs(600), go(&fleet, &request)).await;
        assert!(died.is_err(), "it dies at {at}: {died:?}");
        let again = go(&fleet, &request).await;
        let finished = match &again {
            Outcome::Done(_) => true,
            Outcome::Refused(why) => why.refusals.iter().all(|r| r.code() == "rollback-nothing-to-do"),
            Outcome::Paused(_) | Outcome::Failed(_) | Outcome::Blind(_) => false,
        };
        assert!(finished, "died at {at}: {again:?}");
        assert_rolled_back(&fleet, &format!("died at {at}"));
    }
}

/// A run that dies once all groups are held, and how long the same command takes when it is given so long after, here or elsewhere.
async fn took_again(after: Duration, taken_over: bool) -> Duration {
    let fleet = with_polling();
    fleet.fault(5, Fault::Dies);
    let request = request(900);
    assert!(tokio::time::timeout(after, go(&fleet, &request)).await.is_err());
    let outcome = go(&fleet, &Request { taken_over, ..request }).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{after:?}: {outcome:?}");
    assert_rolled_back(&fleet, &format!("again after {after:?}"));
    report(&outcome).took
}

#[tokio::test(start_paused = true)]
async fn a_rerun_gives_agents_no_time_that_the_dead_run_has_given_them() {
    let (aws, looks) = (ENDING + BOOT + CHECKS, Duration::from_secs(8));
    assert!(took_again(Duration::from_secs(120), false).await < aws + looks);
    let soon = took_again(Duration::from_secs(10), false).await;
    assert!(soon >= aws + SETTLE, "{soon:?}: a hold so young may not be seen by all");
    let late = took_again(Duration::from_secs(700), false).await;
    assert!(late >= aws + SETTLE, "{late:?}: a hold that has expired has let agents go on");
    let elsewhere = took_again(Duration::from_secs(120), true).await;
    assert!(elsewhere >= aws + SETTLE, "{elsewhere:?}: another machine's clock proves nothing");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_changes_nothing() {
    let fleet = with_polling();
    let (plan, _) = with_world(&fleet, async |world| prepare(world, &request(600)).await).await.unwrap();
    assert_eq!((plan.clusters.len(), fleet.changes()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn instances_that_never_get_healthy_pause_it_with_the_newest_untouched() {
    let fleet = Fleet { sick: Some("v023"), ..redeployed() };
    let outcome = go(&fleet, &request(300)).await;
    assert_eq!((outcome.exit_code(), stop_code(&outcome)), (3, "rollback-out-of-time"));
    assert_eq!((sizes(&fleet, "spin-ha-v024"), fleet.broken()), ("3/3/6".to_owned(), Vec::new()));
    assert!(report(&outcome).clusters[0].left.iter().any(|line| line.contains("0/0/0")), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_service_fails_it_and_a_rerun_finishes_once_it_answers() {
    let fleet = redeployed();
    let outcome = go_with(&fleet, &request(600), &Answers(false), &CancellationToken::new(), &Silent).await;
    assert_eq!((outcome.exit_code(), stop_code(&outcome)), (1, "rollback-service-silent"));
    assert!(fleet.group("spin-ha-v023").tags.contains_key(HOLD_TAG), "held as long as work is left");
    assert_eq!(go(&fleet, &request(600)).await.exit_code(), 0);
    assert_rolled_back(&fleet, "rerun");
}

#[tokio::test(start_paused = true)]
async fn a_bake_keeps_the_holds_until_its_end_and_reports_what_gets_worse() {
    let bake = Duration::from_secs(300);
    let fleet = redeployed();
    let straight = report(&go(&redeployed(), &request(600)).await).took;
    let outcome = meddled_with(&fleet, advance::Stage::Bake, &Request { bake, ..request(600) }, |fleet| {
        assert!(fleet.group("spin-ha-v023").tags.contains_key(HOLD_TAG));
    })
    .await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert!(report(&outcome).took >= straight + bake, "{:?}", report(&outcome).took);
    assert_rolled_back(&fleet, "baked");
    let fleet = redeployed();
    let request = Request { bake, ..request(600) };
    let outcome = meddled_with(&fleet, advance::Stage::Bake, &request, |fleet| fleet.sicken(Some("spin-ha-v023"))).await;
    assert_eq!((outcome.exit_code(), stop_code(&outcome)), (1, "rollback-regressed"));
    assert!(fleet.group("spin-ha-v023").tags.contains_key(HOLD_TAG), "held, so that nobody makes it worse");
    fleet.sicken(None);
    assert!(matches!(go(&fleet, &request).await, Outcome::Done(_)));
    assert_rolled_back(&fleet, "mended");
}

#[tokio::test(start_paused = true)]
async fn missing_rights_fail_it_at_once() {
    let fleet = redeployed();
    fleet.fault(3, Fault::Fails(Kind::Denied));
    let outcome = go(&fleet, &request(600)).await;
    assert_eq!((outcome.exit_code(), stop_code(&outcome)), (1, "rollback-denied"));
}

/// Does something to the fleet when a cluster comes to a stage.
struct At<'a, F: Fn(&Fleet) + Send + Sync>(&'a Fleet, advance::Stage, Mutex<bool>, F);

impl<F: Fn(&Fleet) + Send + Sync> Sink for At<'_, F> {
    fn tell(&self, event: &Event) {
        let mut done = self.2.lock().unwrap();
        if matches!(event, Event::Stage { stage, .. } if *stage == self.1) && !*done {
            *done = true;
            (self.3)(self.0);
        }
    }
}

async fn meddled(fleet: &Fleet, stage: advance::Stage, what: impl Fn(&Fleet) + Send + Sync) -> Outcome {
    meddled_with(fleet, stage, &request(600), what).await
}

async fn meddled_with(fleet: &Fleet, stage: advance::Stage, request: &Request, what: impl Fn(&Fleet) + Send + Sync) -> Outcome {
    let sink = At(fleet, stage, Mutex::new(false), what);
    go_with(fleet, request, &Answers(true), &CancellationToken::new(), &sink).await
}

#[tokio::test(start_paused = true)]
async fn a_concurrent_writer_pauses_it_with_the_difference() {
    let fleet = redeployed();
    let outcome = meddled(&fleet, advance::Stage::Await, |fleet| {
        fleet.meddle("spin-ha-v024", |g| g.capacity = Capacity { min: 5, max: 9, desired: 5 });
    })
    .await;
    assert_eq!((outcome.exit_code(), stop_code(&outcome)), (3, "rollback-changed-by-another"));
    let text = report(&outcome).clusters[0].stop.as_ref().unwrap().to_string();
    assert!(text.contains("3/3/6 expected, 5/5/9 found"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_process_suspended_by_somebody_pauses_it() {
    let fleet = redeployed();
    let outcome = meddled(&fleet, advance::Stage::Await, |fleet| {
        fleet.meddle("spin-ha-v023", |g| drop(g.suspended.insert(Process::HealthCheck, String::new())));
    })
    .await;
    assert_eq!(stop_code(&outcome), "rollback-changed-by-another");
}

#[tokio::test(start_paused = true)]
async fn a_hold_of_somebody_else_stops_it() {
    let fleet = redeployed();
    let outcome = meddled(&fleet, advance::Stage::Await, |fleet| {
        let expires = fleet.clock().now().wall.plus(Duration::from_secs(600));
        fleet.meddle("spin-ha-v023", |g| g.tags.extend(Hold { generation: 1, owner: "bob@desk".to_owned(), expires }.to_tags()));
    })
    .await;
    assert_eq!((outcome.exit_code(), stop_code(&outcome)), (3, "rollback-hold-lost"));
    assert_eq!(sizes(&fleet, "spin-ha-v024"), "3/3/6");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_ends_an_instance_before_it_sees_the_hold_is_made_up_for() {
    let fleet = redeployed();
    let outcome = meddled(&fleet, advance::Stage::Await, |fleet| {
        fleet.meddle("spin-ha-v023", |g| {
            g.capacity = Capacity { min: 0, desired: g.capacity.desired - 1, ..g.capacity };
            g.instances[0].state = LifecycleState::Terminated;
        });
    })
    .await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert_rolled_back(&fleet, "agent");
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_obeyed_between_changes_and_can_be_continued() {
    let fleet = redeployed();
    let cancel = CancellationToken::new();
    let request = request(600);
    let (outcome, ()) = tokio::join!(go_with(&fleet, &request, &Answers(true), &cancel, &Silent), async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        cancel.cancel();
    });
    assert_eq!((outcome.exit_code(), stop_code(&outcome)), (3, "rollback-interrupted"));
    assert_eq!(go(&fleet, &request).await.exit_code(), 0);
    assert_rolled_back(&fleet, "continued");
}

#[tokio::test(start_paused = true)]
async fn reads_do_not_grow_with_instances_and_few_are_spent_while_booting() {
    let mut reads = Vec::new();
    for size in [3, 20] {
        let fleet = Fleet::new().with("spin-ha-v023", (1, 1, 20), true).with("spin-ha-v024", (size, size, 20), false);
        let outcome = go(&fleet, &Request { canary: Canary::Never, ..request(600) }).await;
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
        reads.push(fleet.reads());
    }
    assert_eq!(reads[0], reads[1]);
    assert!(reads[0] < 160, "{reads:?}");
}
