//! What every store promises, each promise a test of its own name. A store runs them all with [`contract!`] and a function that gives it a [`Ground`].
//!
//! Two handles stand for two processes on the same data. Leases that are to run out are short and their end is waited for through [`Ground::pass`];
//! all others are far longer than a slow machine is slow.

pub mod definitions;
pub mod gate;
pub mod inbox;
pub mod lists;
pub mod outbox;
pub mod ownership;
pub mod sessions;
pub mod waiting;

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::Claimed;
use super::Created;
use super::Lease;
use super::Listing;
use super::NewExecution;
use super::Session;
use super::Store;
use super::StoreError;
use super::Then;
use super::Write;
use super::WriteError;
use super::record;
use crate::model::Timestamp;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::execution::ExecutionType;
use crate::orchestrator::engine::execution::Head;
use crate::orchestrator::engine::execution::Stage;
use crate::orchestrator::engine::execution::StageId;
use crate::orchestrator::engine::execution::Summary;
use crate::orchestrator::engine::status::Status;

/// A lease that does not run out during a test.
pub const LONG: Duration = Duration::from_secs(600);
/// A lease that is to run out.
pub const SHORT: Duration = Duration::from_millis(150);
/// A little more than [`SHORT`].
pub const PAST_SHORT: Duration = Duration::from_millis(200);

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An empty store to try a promise on.
pub struct Ground {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The same data as another process sees it.
    pub other: Arc<dyn Store>,
    /// Returns when so much time went by on the store's clock.
    pub pass: Box<dyn Fn(Duration) -> Waiting + Send + Sync>,
    /// Held until the promise was tried: servers, directories.
    pub _keep: Box<dyn Any + Send + Sync>,
}

/// Hands `$run` the names of all promises: `$run! { ($($with)*) module::promise, … }`.
macro_rules! promises {
    ($run:path, $($with:tt)*) => {
        $run! { ($($with)*)
            sessions::a_beat_begins_a_session_and_renews_it,
            sessions::a_second_process_of_the_same_instance_is_refused_until_the_lease_ran_out,
            sessions::a_second_process_is_let_in_once_the_first_ended_its_session,
            sessions::a_process_that_lost_its_place_is_refused,
            sessions::other_instances_do_not_disturb_each_other,
            sessions::the_clock_goes_forward,
            sessions::ending_a_session_gives_all_it_owned_back_now,
            sessions::an_ended_session_gives_back_hundreds,
            sessions::what_an_ended_session_owned_counts_as_adopted,
            sessions::ending_a_session_twice_is_harmless,
            sessions::a_dead_sessions_executions_are_handed_over_by_its_successor,
            sessions::an_ended_session_claims_nothing,
            sessions::what_a_session_owns_is_named_page_by_page,
            sessions::a_role_has_one_holder,
            sessions::a_role_is_kept_by_taking_it_again,
            sessions::a_role_is_free_after_its_lease,
            sessions::a_role_is_free_after_its_holder_ended,
            sessions::roles_are_apart,
            sessions::a_mark_is_remembered_and_replaced,
            sessions::a_mark_nobody_set_is_none,

            ownership::what_was_created_is_due_and_is_claimed_as_it_was_given,
            ownership::creating_twice_gives_the_first,
            ownership::a_correlation_id_gives_the_incomplete_one,
            ownership::a_correlation_id_is_free_after_the_end,
            ownership::a_correlation_id_refers_across_both_kinds,
            ownership::oldest_due_is_claimed_first,
            ownership::what_is_due_later_is_not_claimed_before,
            ownership::a_claim_takes_no_more_than_asked,
            ownership::a_claim_takes_at_most_five_hundred,
            ownership::two_claimers_never_get_the_same,
            ownership::a_session_without_a_lease_claims_nothing,
            ownership::a_session_past_its_lease_claims_nothing,
            ownership::epochs_grow_with_every_owner,
            ownership::claim_one_takes_what_only_waits,
            ownership::claim_one_takes_what_is_due_later,
            ownership::claim_one_leaves_what_another_owns,
            ownership::claim_one_gives_again_what_the_session_owns,
            ownership::claim_one_leaves_what_ended,
            ownership::claim_one_of_what_is_not_there_is_none,
            ownership::claim_one_adopts_from_a_session_past_its_lease,
            ownership::nothing_is_adopted_before_the_lease_ran_out,
            ownership::what_a_session_past_its_lease_owns_is_adopted,
            ownership::a_renewed_lease_keeps_all_it_owns,
            ownership::adoption_of_many_takes_several_claims_and_loses_none,
            ownership::what_was_parked_is_not_adopted,
            ownership::after_an_outage_who_comes_back_first_leaves_the_others_their_work,
            ownership::who_begins_after_a_lease_ran_out_adopts_after_one_of_its_own,
            ownership::a_late_owner_may_write_until_it_is_adopted,
            ownership::a_late_owner_is_fenced_after_adoption,
            ownership::an_owner_is_fenced_after_it_parked,
            ownership::an_owner_is_fenced_after_it_finished,
            ownership::an_owner_is_fenced_after_its_session_ended,
            ownership::a_fenced_write_changes_nothing,
            ownership::a_write_for_what_is_not_there_is_fenced,
            ownership::a_write_may_be_repeated,
            ownership::a_park_may_be_repeated_until_it_is_claimed,
            ownership::a_finish_may_be_repeated,
            ownership::a_write_sets_and_removes_fields,
            ownership::a_write_changes_the_order_of_stages,
            ownership::a_late_duplicate_of_an_older_write_is_refused,
            ownership::a_new_owner_counts_its_writes_anew,
            ownership::writes_of_many_at_once_all_arrive,
            ownership::large_ones_are_claimed_together,
            ownership::a_megabyte_survives,
            ownership::text_of_any_kind_survives,
            ownership::parked_until_a_time_it_is_due_then,
            ownership::parked_without_a_time_it_only_waits,
            ownership::an_ended_one_is_not_due,

            inbox::a_message_makes_it_due,
            inbox::a_message_makes_it_due_earlier,
            inbox::a_message_does_not_delay_what_is_due,
            inbox::messages_come_with_the_claim_in_order,
            inbox::numbers_grow_and_are_not_used_twice,
            inbox::the_owner_reads_what_came_since,
            inbox::another_owner_reads_nothing,
            inbox::messages_taken_are_gone,
            inbox::messages_not_taken_come_again,
            inbox::parking_with_an_unread_message_is_due_at_once,
            inbox::a_page_of_the_inbox_is_a_hundred,
            inbox::a_full_inbox_refuses,
            inbox::a_message_for_nobody_is_refused,
            inbox::a_message_after_the_end_is_refused,
            inbox::a_restart_after_the_end_makes_it_due,
            inbox::a_restart_that_was_not_taken_survives_the_end,
            inbox::those_with_messages_are_named_to_their_owner,

            gate::slots_are_given_up_to_the_limit,
            gate::asking_again_gives_the_same_answer,
            gate::the_order_of_creation_is_that_of_the_gate,
            gate::one_may_be_admitted_before_anybody_owned_it,
            gate::creating_again_takes_no_second_place,
            gate::nobody_passes_those_that_wait,
            gate::gates_of_definitions_are_apart,
            gate::an_admission_needs_the_ownership,
            gate::the_oldest_starts_when_all_are_kept,
            gate::the_newest_starts_and_the_others_are_called_off,
            gate::nobody_starts_without_a_free_slot,
            gate::a_slot_is_free_after_the_end,
            gate::one_that_waited_and_ended_is_not_started,
            gate::hundreds_are_called_off_and_who_comes_later_is_not,
            gate::several_slots_start_several,
            gate::a_slot_is_kept_while_parked_and_across_owners,

            lists::what_is_not_there_is_none,
            lists::lists_are_newest_first,
            lists::a_list_is_by_kind,
            lists::a_list_is_by_application,
            lists::a_list_is_by_definition,
            lists::a_list_is_by_status,
            lists::a_list_follows_a_change_of_status,
            lists::a_restarted_one_is_listed_as_running,
            lists::pages_follow_each_other_without_gap,
            lists::a_page_is_bounded,
            lists::active_by_instance_tells_who_owns_what,
            lists::a_parked_one_is_active_nowhere,
            lists::a_dead_owner_is_overdue,
            lists::only_what_ended_can_be_removed,
            lists::what_was_removed_is_gone_everywhere,
            lists::retention_spares_the_young,
            lists::retention_spares_the_newest_of_each_definition,
            lists::retention_counts_orchestrations_by_application,
            lists::retention_goes_in_steps,
            lists::retention_leaves_what_runs,

            definitions::a_definition_is_read_back,
            definitions::versions_count_from_one,
            definitions::each_save_changes_the_mark_and_a_refused_one_does_not,
            definitions::a_save_from_an_old_version_conflicts,
            definitions::a_new_one_does_not_replace_one_that_is_there,
            definitions::a_save_without_expectation_replaces,
            definitions::a_name_is_taken_once_in_an_application,
            definitions::a_name_is_free_after_a_rename,
            definitions::a_name_is_free_after_a_removal,
            definitions::it_is_found_by_name,
            definitions::a_removed_one_is_not_listed_and_keeps_its_history,
            definitions::names_with_control_characters_are_refused,
            definitions::they_are_listed_by_application_and_name,
            definitions::history_is_newest_first,
            definitions::what_nobody_saved_is_none,

            outbox::a_notice_is_handed_out,
            outbox::a_notice_comes_back_after_its_lease,
            outbox::a_notice_that_is_done_is_gone,
            outbox::a_notice_is_put_off,
            outbox::a_notice_written_twice_is_told_once,
            outbox::a_notice_tells_how_the_execution_stood,
            outbox::two_senders_do_not_get_the_same,
            outbox::a_page_of_the_outbox_is_bounded,

            waiting::a_waiter_is_told_of_a_new_execution,
            waiting::a_waiter_is_told_of_a_message_for_what_it_owns,
            waiting::a_waiter_is_told_when_something_comes_due,
            waiting::a_waiter_is_told_of_a_session_that_ended,
            waiting::a_waiter_is_told_when_it_was_heard_long_enough_to_adopt,
            waiting::a_waiter_is_told_of_a_lease_that_ran_out,
            waiting::a_waiter_is_told_of_a_free_slot,
            waiting::what_is_left_lying_is_not_told_twice,
            waiting::a_wait_ends_with_its_time,
            waiting::next_due_is_the_earliest,
        }
    };
}
pub(crate) use promises;

/// One test for each promise, on the ground that this async function lays.
macro_rules! contract {
    ($ground:path) => {
        $crate::orchestrator::store::contract::promises! { $crate::orchestrator::store::contract::contract_tests, $ground }
    };
}
pub(crate) use contract;

macro_rules! contract_tests {
    (($ground:path) $($module:ident :: $promise:ident,)*) => {
        $(
            #[tokio::test]
            async fn $promise() {
                $crate::orchestrator::store::contract::$module::$promise(&$ground().await).await;
            }
        )*
    };
}
pub(crate) use contract_tests;

impl Ground {
    /// A live session of this instance.
    async fn session(&self, instance: &str) -> Session {
        let session = session(instance, "1");
        assert!(self.store.beat(&session, LONG).await.unwrap());
        session
    }

    async fn now(&self) -> Timestamp {
        self.store.now().await.unwrap()
    }

    /// Adds an execution that is due now.
    async fn create(&self, execution: &Execution) {
        let now = self.now().await;
        self.create_due(execution, now).await;
    }

    async fn create_due(&self, execution: &Execution, due: Timestamp) {
        assert_eq!(self.store.create(new(execution, due)).await.unwrap(), Created::New);
    }

    /// Adds one that is due now and claims it.
    async fn owned(&self, n: u32, session: &Session) -> Claimed {
        self.own(&pipeline(n), session).await
    }

    async fn own(&self, execution: &Execution, session: &Session) -> Claimed {
        self.create(execution).await;
        self.store.claim_one(session, &execution.id).await.unwrap().expect("it is due")
    }

    async fn claim(&self, session: &Session, max: usize) -> Vec<Claimed> {
        self.store.claim(session, max).await.unwrap()
    }

    async fn write(&self, write: Write) {
        self.store.write(write).await.unwrap();
    }

    async fn park(&self, lease: &Lease, due: Option<Timestamp>) {
        self.write(Write { then: Then::Park { due }, ..keep(lease) }).await;
    }

    /// Ends an execution with this status, at this time.
    async fn finish(&self, lease: &Lease, status: Status, at: Timestamp) {
        self.write(finish(&self.read(&lease.execution).await, lease, status, at)).await;
    }

    async fn read(&self, id: &ExecutionId) -> Execution {
        record::decode(id, None, &self.store.load(id).await.unwrap().expect("it is there")).unwrap()
    }

    async fn post(&self, n: u32, message: &Message) -> bool {
        self.other.post(&id(n), message).await.unwrap()
    }

    async fn pass(&self, time: Duration) {
        (self.pass)(time).await;
    }
}

fn session(instance: &str, process: &str) -> Session {
    Session { instance: instance.to_owned(), process: process.to_owned() }
}

fn id(n: u32) -> ExecutionId {
    ExecutionId(format!("01KC{n:022}"))
}

/// A pipeline of application `spintest` and definition `c-1` with two stages.
fn pipeline(n: u32) -> Execution {
    let summary = Summary {
        application: "spintest".to_owned(),
        name: "Deploy".to_owned(),
        pipeline_config_id: Some("c-1".to_owned()),
        build_time: Timestamp(1_763_000_000_000 + i64::from(n)),
        ..Summary::default()
    };
    of(n, summary)
}

fn orchestration(n: u32, application: &str) -> Execution {
    let kind = ExecutionType::Orchestration;
    of(
        n,
        Summary {
            kind,
            application: application.to_owned(),
            build_time: Timestamp(1_763_000_000_000 + i64::from(n)),
            ..Summary::default()
        },
    )
}

fn pipeline_of(n: u32, application: &str, config: &str) -> Execution {
    let mut execution = pipeline(n);
    execution.summary_mut().application = application.to_owned();
    execution.summary_mut().pipeline_config_id = Some(config.to_owned());
    execution
}

fn of(n: u32, summary: Summary) -> Execution {
    let stage = |k: u32| {
        let head = Head { ref_id: k.to_string(), kind: "wait".to_owned(), ..Head::default() };
        Stage::new(StageId(format!("{}-{k}", id(n))), head, json!({ "waitTime": k }).as_object().expect("it is one").clone())
    };
    Execution::new(id(n), summary, vec![stage(1), stage(2)])
}

fn new(execution: &Execution, due: Timestamp) -> NewExecution {
    let limit = execution.summary().limit();
    NewExecution { listing: record::listing(execution), record: record::encode(execution), correlation_id: None, due, limit }
}

/// A write that changes nothing.
fn keep(lease: &Lease) -> Write {
    Write {
        lease: lease.clone(),
        number: 1,
        set: Vec::new(),
        remove: Vec::new(),
        stage_index: None,
        listing: None,
        taken: 0,
        notices: Vec::new(),
        then: Then::Keep,
    }
}

fn set(lease: &Lease, name: &str, text: &str) -> Write {
    Write { set: vec![(name.to_owned(), text.to_owned())], ..keep(lease) }
}

/// A write that moves an execution to this status.
fn moved(execution: &Execution, lease: &Lease, status: Status, ended: Option<Timestamp>) -> Write {
    let mut execution = Execution::from_parts(execution.id.clone(), execution.summary().clone(), Vec::new());
    execution.summary_mut().status = status;
    execution.summary_mut().end_time = ended;
    let changes = execution.take_changes();
    let fields = record::encode_changes(&execution, &changes);
    Write { set: fields.set, remove: fields.remove, listing: Some(record::listing(&execution)), ..keep(lease) }
}

fn finish(execution: &Execution, lease: &Lease, status: Status, at: Timestamp) -> Write {
    Write { then: Then::Finish, ..moved(execution, lease, status, Some(at)) }
}

fn cancel() -> Message {
    Message::Cancel { by: "anna".to_owned(), reason: None }
}

fn pause(by: &str) -> Message {
    Message::Pause { by: by.to_owned() }
}

fn restart() -> Message {
    Message::Restart { stage: StageId::from("s"), by: "anna".to_owned(), body: serde_json::Map::new() }
}

fn ids(claimed: &[Claimed]) -> Vec<ExecutionId> {
    claimed.iter().map(|c| c.lease.execution.clone()).collect()
}

fn listed(found: &[Listing]) -> Vec<ExecutionId> {
    found.iter().map(|l| l.id.clone()).collect()
}

fn field(claimed: &super::Record, name: &str) -> Option<String> {
    claimed.fields.iter().find(|(n, _)| n == name).map(|(_, text)| text.clone())
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

fn assert_fenced(result: &Result<(), WriteError>) {
    assert_eq!(*result, Err(WriteError::Fenced));
}

fn assert_refused<T: std::fmt::Debug>(result: &Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Refused(_))), "{result:?}");
}
