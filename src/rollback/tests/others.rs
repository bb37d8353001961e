//! Somebody else at the same groups: seen at the next look, told field by field, never fought.

use super::*;
use crate::model::Group;
use crate::model::LaunchSource;
use crate::model::TargetGroupArn;
use crate::model::Timestamp;
use crate::rollback::advance::Stage;
use crate::rollback::advance::Stop;

/// Whatever is done at this stage stops it, and nothing is written any more; the stop's text.
async fn stopped_by(stage: Stage, group: &str, what: impl Fn(&mut Group) + Send + Sync) -> String {
    let fleet = redeployed();
    let changes = Mutex::new(0);
    let outcome = meddled(&fleet, stage, |fleet| {
        fleet.meddle(group, &what);
        *changes.lock().unwrap() = fleet.changes();
    })
    .await;
    assert_eq!((outcome.exit_code(), stop_code(&outcome)), (3, "rollback-changed-by-another"), "{stage:?}");
    // What the look before had led to may still be under way.
    let more = fleet.changes() - *changes.lock().unwrap();
    assert!(more <= 8, "{stage:?}: {more} changes after it");
    report(&outcome).clusters[0].stop.as_ref().unwrap().to_string()
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_undone_is_told_and_not_sent_again() {
    let text = stopped_by(Stage::Verify, "spin-ha-v024", |g| g.capacity = Capacity { min: 3, max: 6, desired: 3 }).await;
    assert!(text.contains("min/desired/max 0/0/0 expected, 3/3/6 found"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_restored_group_that_is_disabled_again_is_not_enabled_against_somebodys_will() {
    let text = stopped_by(Stage::Close, "spin-ha-v023", |g| {
        g.suspended.extend(Process::DISABLING.map(|p| (p, "User suspended".to_owned())));
    })
    .await;
    assert!(text.contains("suspended processes AlarmNotification"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_a_rollback_relies_on_and_never_changes_is_watched_too() {
    type Change = fn(&mut Group);
    let fields: [(&str, Change); 5] = [
        ("created 1970", |g| g.created = Timestamp(7)),
        ("launched from", |g| g.launch = Some(LaunchSource { name: "orca".to_owned(), version: Some("8".to_owned()) })),
        ("target groups", |g| g.target_groups = vec![TargetGroupArn::from("arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/other/1")]),
        ("classic load balancers gate-internal expected, none found", |g| g.classic_load_balancers.clear()),
        ("health check type", |g| g.health_check_type = "EC2,VPC_LATTICE".to_owned().into()),
    ];
    for (field, what) in fields {
        for group in ["spin-ha-v023", "spin-ha-v024"] {
            let text = stopped_by(Stage::Await, group, what).await;
            assert!(text.contains(field) && text.contains(group), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_it_was_is_told_where_aws_knows() {
    let fleet = Fleet {
        activity: Some("a user request explicitly set group desired capacity changing the desired capacity from 3 to 5"),
        ..redeployed()
    };
    let outcome = meddled(&fleet, Stage::Verify, |fleet| fleet.meddle("spin-ha-v023", |g| g.capacity.max = 9)).await;
    let stop = report(&outcome).clusters[0].stop.clone().unwrap();
    let Stop::ChangedByAnother { differences, activity, .. } = &stop else { panic!("{stop:?}") };
    assert!(activity.as_ref().unwrap().ends_with("changing the desired capacity from 3 to 5"), "{activity:?}");
    assert_eq!(differences[0].to_string(), "min/desired/max 3/3/6 expected, 3/3/9 found");
    let json = serde_json::to_value(&stop).unwrap();
    assert_eq!((&json["differences"][0]["field"], &json["differences"][0]["found"]), (&"min/desired/max".into(), &"3/3/9".into()));
}

#[tokio::test(start_paused = true)]
async fn a_lost_write_is_no_work_of_somebody_else() {
    let clean = redeployed();
    go(&clean, &request(600)).await;
    for at in 1..=clean.changes() {
        for stale in [0, 4, 9] {
            let fleet = Fleet { stale: Duration::from_secs(stale), ..redeployed() };
            fleet.fault(at, Fault::RequestLost);
            assert!(matches!(go(&fleet, &request(900)).await, Outcome::Done(_)), "change {at}, {stale} s stale");
            assert_rolled_back(&fleet, "lost");
        }
    }
}
