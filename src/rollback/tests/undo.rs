//! An unfinished rollback, gone on with or taken back, whichever change it died at and whoever does it.

use super::*;
use crate::model::CAPACITY_TAG;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::RECORD_TAG;
use crate::model::generation;
use crate::rollback::facts::Facts;

/// What is to be as it was found: sizes, processes, tags but for the counter of rollbacks, who lives and is protected from scale-in, and who is behind
/// the load balancers.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    capacity: Capacity,
    suspended: Vec<Process>,
    tags: Vec<(String, String)>,
    members: Vec<(InstanceId, bool)>,
    behind: Vec<InstanceId>,
}

async fn found(fleet: &Fleet) -> Vec<(GroupName, Found)> {
    let facts = everything(fleet).await;
    let one = |group: &Group| Found {
        capacity: group.capacity,
        suspended: group.suspended.keys().cloned().collect(),
        tags: group.tags.iter().filter(|(k, _)| *k != crate::model::GENERATION_TAG).map(|(k, v)| (k.clone(), v.clone())).collect(),
        members: plan::alive(group).map(|i| (i.id.clone(), i.protected)).collect(),
        behind: group.instances.iter().map(|i| &i.id).filter(|id| facts.backends.values().any(|b| b.has(id))).cloned().collect(),
    };
    facts.clusters.values().flat_map(|c| &c.versions).map(|v| (v.group.name.clone(), one(&v.group))).collect()
}

async fn everything(fleet: &Fleet) -> Facts {
    let mut facts = facts::survey(fleet, "spin", 1).await.unwrap();
    let names = facts.clusters.values().flat_map(|c| &c.versions).map(|v| v.group.name.clone()).collect();
    facts::look_closer(fleet, fleet, &mut facts, &names, 1).await.unwrap();
    facts
}

/// Half drained, with a scheduled action off and a capacity on record, beside a polling cluster.
fn fleet(stale: u64) -> Fleet {
    let fleet = Fleet { stale: Duration::from_secs(stale), ..with_polling() };
    fleet.meddle("spin-ha-v023", |g| {
        g.suspended.insert(Process::ScheduledActions, String::new());
        g.tags.insert(CAPACITY_TAG.to_owned(), "1/3/6".to_owned());
    });
    fleet
}

fn undo() -> Request {
    Request { undo: true, ..request(900) }
}

fn resume() -> Request {
    Request { resume: true, owner: "bob@desk".to_owned(), taken_over: true, ..request(900) }
}

/// A run that dies at this change; what it leaves behind settles meanwhile.
async fn dies_at(fleet: &Fleet, change: usize, rest: u64) {
    fleet.fault(change, Fault::Dies);
    let request = request(900);
    let died = tokio::time::timeout(Duration::from_secs(rest), go(fleet, &request)).await;
    assert!(died.is_err(), "it dies at {change}: {died:?}");
}

async fn changes_of_a_clean_run() -> usize {
    let clean = fleet(0);
    assert_eq!(go(&clean, &request(900)).await.exit_code(), 0);
    clean.changes()
}

/// The newest group of either cluster has been set to nothing.
fn is_switched(fleet: &Fleet) -> bool {
    ["spin-ha-v024", "spin-ha-polling-v024"].iter().any(|name| fleet.group(name).capacity == Capacity::default())
}

fn assert_rolled_back_to(fleet: &Fleet, expected: &str) {
    assert_eq!((sizes(fleet, "spin-ha-v023").as_str(), sizes(fleet, "spin-ha-v024").as_str()), (expected, "0/0/0"));
    for (name, suspended) in [("spin-ha-v023", &[Process::ScheduledActions][..]), ("spin-ha-v024", &[])] {
        let group = fleet.group(name);
        assert!(group.suspended.keys().eq(suspended), "{group:?}");
        assert!(!group.tags.contains_key(HOLD_TAG) && !group.tags.contains_key(RECORD_TAG), "{group:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_would_fight_is_suspended_meanwhile_and_goes_on_exactly_as_it_was_found() {
    let fleet = fleet(0);
    let outcome = meddled(&fleet, advance::Stage::Await, |fleet| {
        for name in ["spin-ha-v023", "spin-ha-v024"] {
            let suspended = fleet.group(name).suspended;
            assert!(plan::FREEZE.iter().all(|p| suspended.contains_key(p)), "{name}: {suspended:?}");
        }
    })
    .await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert_eq!(fleet.group("spin-ha-v023").suspended.into_keys().collect::<Vec<_>>(), [Process::ScheduledActions]);
    for name in ["spin-ha-v024", "spin-ha-polling-v023", "spin-ha-polling-v024"] {
        let group = fleet.group(name);
        assert!(group.suspended.is_empty() && !group.tags.contains_key(RECORD_TAG), "{group:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn until_the_switch_undo_puts_everything_back_as_it_was_found() {
    let (mut back, mut forward) = (0, 0);
    for at in 1..=changes_of_a_clean_run().await {
        let fleet = Fleet { undone: true, ..fleet(3) };
        let before = found(&fleet).await;
        dies_at(&fleet, at, 300).await;
        if is_switched(&fleet) {
            forward += 1;
            continue;
        }
        back += 1;
        let outcome = go(&fleet, &undo()).await;
        assert!(matches!(outcome, Outcome::Done(_)), "died at {at}: {outcome:?}");
        tokio::time::sleep(ENDING * 2).await;
        assert_eq!(found(&fleet).await, before, "died at {at}");
        assert!(generation(&fleet.group("spin-ha-v023").tags) >= 1, "agents know that a rollback has been there");
    }
    assert!(back >= 8 && forward >= 8, "{back} before the switch, {forward} after it");
}

#[tokio::test(start_paused = true)]
async fn an_undo_at_once_is_not_taken_in_by_reads_from_before_the_death() {
    let mut back = 0;
    for at in 1..=changes_of_a_clean_run().await {
        let fleet = Fleet { undone: true, always: true, ..fleet(9) };
        let before = found(&fleet).await;
        // Reads can only be old of what has been there for long enough.
        tokio::time::sleep(BOOT).await;
        fleet.fault(at, Fault::Dies);
        let request = request(900);
        let dead = async {
            while fleet.changes() < at {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            outcome = go(&fleet, &request) => panic!("it dies at {at}: {outcome:?}"),
            () = dead => {}
        }
        if is_switched(&fleet) {
            break;
        }
        back += 1;
        let outcome = match go(&fleet, &undo()).await {
            // Nothing is to be seen yet of what died.
            Outcome::Refused(_) => {
                tokio::time::sleep(ENDING).await;
                go(&fleet, &undo()).await
            }
            outcome => outcome,
        };
        assert!(matches!(outcome, Outcome::Done(_)), "died at {at}: {outcome:?}");
        tokio::time::sleep(ENDING * 2).await;
        assert_eq!(found(&fleet).await, before, "died at {at}");
    }
    assert!(back >= 8, "{back} before the switch");
}

/// Two that were there and work, one of them protected by somebody; the oldest is whom AWS ends first.
fn with_work() -> Fleet {
    let fleet = Fleet::new().with("spin-ha-v023", (2, 2, 6), true).with("spin-ha-v024", (4, 4, 6), false);
    fleet.meddle("spin-ha-v023", |g| g.instances[0].protected = true);
    Fleet { undone: true, ..fleet }
}

/// Restored, in [`with_work`]; the next change would take the newest out of its load balancers.
const RESTORED: usize = 8;

#[tokio::test(start_paused = true)]
async fn an_undo_that_dies_at_any_change_and_is_given_up_for_the_rollback_leaves_nobody_protected_who_was_not() {
    let mut protected_meanwhile = 0;
    for at in RESTORED + 1.. {
        let fleet = Fleet { stale: Duration::from_secs(3), ..with_work() };
        let before = found(&fleet).await;
        dies_at(&fleet, RESTORED, 300).await;
        assert!(fleet.group("spin-ha-v024").capacity.desired > 0, "choose an earlier change");
        fleet.fault(at, Fault::Dies);
        let undo = undo();
        if tokio::time::timeout(Duration::from_secs(300), go(&fleet, &undo)).await.is_ok() {
            assert_eq!(found(&fleet).await, before);
            break;
        }
        let theirs = |g: Group| g.instances.iter().map(|i| i.protected).collect::<Vec<_>>();
        protected_meanwhile += usize::from(theirs(fleet.group("spin-ha-v023"))[..2] == [true, true]);
        let outcome = go(&fleet, &request(900)).await;
        assert!(matches!(outcome, Outcome::Done(_)), "died at {at}: {outcome:?}");
        assert_eq!(theirs(fleet.group("spin-ha-v023")), [true, false, false, false], "died at {at}");
    }
    assert!(protected_meanwhile >= 3, "{protected_meanwhile}");
}

#[tokio::test(start_paused = true)]
async fn who_was_found_before_it_was_in_service_is_waited_for_so_that_an_undo_can_protect_it() {
    let fleet = with_work();
    fleet.meddle("spin-ha-v023", |g| g.instances[1].state = LifecycleState::PendingWait);
    dies_at(&fleet, RESTORED, 300).await;
    let undo = undo();
    let (outcome, ()) = tokio::join!(go(&fleet, &undo), async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(fleet.group("spin-ha-v023").capacity.desired, 4, "nothing is made smaller before");
        fleet.meddle("spin-ha-v023", |g| g.instances[1].state = LifecycleState::InService);
    });
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    let members = plan::alive(&fleet.group("spin-ha-v023")).map(|i| (i.id.to_string(), i.protected)).collect::<Vec<_>>();
    assert_eq!(members, [("i-spin-ha-v023-1".to_owned(), true), ("i-spin-ha-v023-2".to_owned(), false)]);
}

#[tokio::test(start_paused = true)]
async fn where_the_record_names_no_members_an_undo_makes_nothing_smaller_and_says_so() {
    let fleet = with_work();
    dies_at(&fleet, RESTORED, 300).await;
    // As an older build writes it.
    fleet.meddle("spin-ha-v023", |g| {
        let text = &g.tags[RECORD_TAG];
        let words: Vec<&str> = text.split(' ').filter(|word| !word.starts_with("members=")).collect();
        g.tags.insert(RECORD_TAG.to_owned(), words.join(" "));
    });
    let (plan, facts) = with_world(&fleet, async |world| prepare(world, &undo()).await).await.unwrap();
    assert!(plan.clusters[0].notes.iter().any(|note| note.contains("desired stays 4")), "{:?}", plan.clusters[0].notes);
    assert!(matches!(Outcome::from(with_world(&fleet, async |world| execute(world, &plan, facts).await).await), Outcome::Done(_)));
    let group = fleet.group("spin-ha-v023");
    assert_eq!((group.capacity.to_string(), plan::alive(&group).count(), group.is_disabled()), ("2/4/6".to_owned(), 4, true));
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_dies_at_any_change_is_finished_by_the_next_one() {
    let died_at = 14;
    let clean = Fleet { undone: true, ..fleet(0) };
    let before = found(&clean).await;
    dies_at(&clean, died_at, 300).await;
    assert!(!is_switched(&clean), "choose an earlier change");
    assert_eq!(go(&clean, &undo()).await.exit_code(), 0);
    let changes = clean.changes() - died_at;
    assert!(changes >= 6, "{changes}");
    for at in died_at + 1..=died_at + changes {
        for fault in [Fault::Dies, Fault::ReplyLost, Fault::RequestLost] {
            let fleet = Fleet { undone: true, ..fleet(3) };
            dies_at(&fleet, died_at, 300).await;
            fleet.fault(at, fault);
            let (undo, again) = (undo(), undo());
            let first = tokio::time::timeout(Duration::from_secs(300), go(&fleet, &undo)).await;
            if first.is_err() {
                let outcome = go(&fleet, &again).await;
                let nothing =
                    matches!(&outcome, Outcome::Refused(why) if why.refusals.iter().all(|r| r.code() == "rollback-nothing-to-undo"));
                assert!(matches!(outcome, Outcome::Done(_)) || nothing, "{fault:?} at {at}: {outcome:?}");
            }
            tokio::time::sleep(ENDING * 2).await;
            assert_eq!(found(&fleet).await, before, "{fault:?} at {at}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_switch_undo_is_a_rollback_to_the_newest_and_says_so() {
    let last = changes_of_a_clean_run().await;
    let mut forward = 0;
    for at in 1..=last {
        let fleet = Fleet { undone: true, ..fleet(3) };
        dies_at(&fleet, at, 300).await;
        if !is_switched(&fleet) {
            continue;
        }
        forward += 1;
        let outcome = go(&fleet, &undo()).await;
        assert!(matches!(outcome, Outcome::Done(_)), "died at {at}: {outcome:?}");
        if fleet.group("spin-ha-v024").capacity == Capacity::default() {
            // It had ended for this cluster, and was unfinished for the other, which goes first.
            let again = go(&fleet, &undo()).await;
            assert!(matches!(again, Outcome::Done(_)), "died at {at}: {again:?}");
        }
        let (old, new) = (fleet.group("spin-ha-v023"), fleet.group("spin-ha-v024"));
        assert_eq!(new.capacity.to_string(), "3/3/6", "died at {at}: {new:?}");
        assert!(new.suspended.is_empty() && new.healthy_in_service() == 3, "died at {at}: {new:?}");
        let off = [&old, &new].iter().all(|g| !g.tags.contains_key(HOLD_TAG) && !g.tags.contains_key(RECORD_TAG));
        assert!(off, "died at {at}: {old:?} {new:?}");
        assert_eq!(fleet.broken(), Vec::<String>::new(), "died at {at}");
    }
    assert!(forward >= 8, "{forward}");
    let fleet = fleet(0);
    assert_eq!(go(&fleet, &request(900)).await.exit_code(), 0);
    let outcome = go(&fleet, &undo()).await;
    assert!(matches!(outcome, Outcome::Done(_)), "after the end: {outcome:?}");
    assert_eq!((sizes(&fleet, "spin-ha-v023"), sizes(&fleet, "spin-ha-v024")), ("0/0/0".to_owned(), "3/3/6".to_owned()));
}

/// The first change after which nothing of either newest group is left.
async fn switched_for_good() -> usize {
    for at in 1.. {
        let fleet = fleet(0);
        dies_at(&fleet, at, 300).await;
        if ["spin-ha-v024", "spin-ha-polling-v024"].iter().all(|name| fleet.group(name).capacity == Capacity::default()) {
            return at;
        }
    }
    unreachable!("a rollback ends")
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_dies_when_it_has_marked_one_group_alone_is_still_one_after_the_switch() {
    let switched = switched_for_good().await;
    let marks = 4;
    for marked in 1..=marks {
        let fleet = Fleet { undone: true, ..fleet(3) };
        dies_at(&fleet, switched, 300).await;
        for mark in 1..=marks {
            fleet.fault(switched + mark, if mark == marked { Fault::Dies } else { Fault::RequestLost });
        }
        let (first, again) = (undo(), undo());
        assert!(tokio::time::timeout(Duration::from_secs(300), go(&fleet, &first)).await.is_err(), "it dies at its mark {marked}");
        let outcome = go(&fleet, &again).await;
        assert!(matches!(outcome, Outcome::Done(_)), "mark {marked}: {outcome:?}");
        let left = ["spin-ha-v023", "spin-ha-v024", "spin-ha-polling-v023", "spin-ha-polling-v024"].map(|name| sizes(&fleet, name));
        assert_eq!(left, ["0/0/0", "3/3/6", "0/0/0", "1/1/1"], "mark {marked}");
        assert_eq!(fleet.broken(), Vec::<String>::new(), "mark {marked}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_changes_at_the_very_end_of_an_undo_does_not_turn_it_round() {
    let died_at = RESTORED;
    let clean = with_work();
    dies_at(&clean, died_at, 300).await;
    assert_eq!(go(&clean, &undo()).await.exit_code(), 0);
    let last = clean.changes();
    let fleet = with_work();
    let before = found(&fleet).await;
    dies_at(&fleet, died_at, 300).await;
    fleet.fault(last, Fault::RequestLost);
    fleet.fault(last - 1, Fault::Dies);
    let first = undo();
    assert!(tokio::time::timeout(Duration::from_secs(300), go(&fleet, &first)).await.is_err(), "it dies with one group left");
    assert!(!fleet.group("spin-ha-v024").tags.contains_key(RECORD_TAG) && fleet.group("spin-ha-v023").tags.contains_key(RECORD_TAG));
    fleet.meddle("spin-ha-v023", |g| drop(g.suspended.insert(Process::HealthCheck, String::new())));
    let outcome = go(&fleet, &undo()).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert_eq!(found(&fleet).await, before);
}

#[tokio::test(start_paused = true)]
async fn any_machine_resumes_what_another_began_once_its_hold_has_ended() {
    let last = changes_of_a_clean_run().await;
    for at in 1..last {
        let fleet = fleet(3);
        dies_at(&fleet, at, 300).await;
        let early = go(&fleet, &resume()).await;
        if matches!(&early, Outcome::Refused(why) if why.refusals.iter().all(|r| r.code() == "rollback-nothing-to-resume")) {
            assert!(at + 2 >= last, "died at {at}, its last change");
            assert_rolled_back_to(&fleet, "1/3/6");
            continue;
        }
        let held = |outcome: &Outcome| matches!(outcome, Outcome::Refused(why) if why.refusals.iter().any(|r| r.code() == "rollback-held"));
        assert!(held(&early), "died at {at}: {early:?}");
        tokio::time::sleep(Duration::from_secs(600)).await;
        let begun_anew = go(&fleet, &Request { owner: "bob@desk".to_owned(), ..request(900) }).await;
        let refused = matches!(&begun_anew, Outcome::Refused(why) if why.refusals.iter().all(|r| r.code() == "rollback-unfinished"));
        assert!(refused, "died at {at}: only when told to: {begun_anew:?}");
        let outcome = go(&fleet, &resume()).await;
        assert!(matches!(outcome, Outcome::Done(_)), "died at {at}: {outcome:?}");
        assert_eq!(fleet.broken(), Vec::<String>::new(), "died at {at}");
        assert_rolled_back_to(&fleet, "1/3/6");
    }
    let outcome = go(&fleet(0), &resume()).await;
    let nothing = matches!(&outcome, Outcome::Refused(why) if why.refusals[0].code() == "rollback-nothing-to-resume");
    assert!(nothing, "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_undone_where_nothing_was_rolled_back() {
    let fleet = fleet(0);
    let outcome = go(&fleet, &undo()).await;
    assert!(matches!(&outcome, Outcome::Refused(why) if why.refusals[0].code() == "rollback-nothing-to-undo"), "{outcome:?}");
    assert_eq!(fleet.changes(), 0);
}
