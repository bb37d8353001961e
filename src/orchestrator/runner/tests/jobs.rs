//! Jobs that outlive the process that began them: the next process of their host comes to them before anybody else.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::Value;
use serde_json::json;

use super::super::embedded::Embedded;
use super::super::*;
use super::SECOND;
use super::rig::Fleet;
use crate::host::clock::VirtualClock;
use crate::model::Activity;
use crate::model::Intake;
use crate::model::Timestamp;
use crate::orchestrator::Error;
use crate::orchestrator::Orchestrator;
use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::event::Message;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::status::Status;

/// Commands by host and key. They go on whatever becomes of the agents.
pub(super) type AllJobs = BTreeMap<(String, String), Command>;

#[derive(Clone)]
pub(super) struct Command {
    execution: ExecutionId,
    ends: Timestamp,
    starts: u32,
    stopped: bool,
}

/// One host's commands, each of which sleeps for the seconds it is given.
pub(super) struct HostJobs {
    pub(super) host: String,
    pub(super) all: Arc<Mutex<AllJobs>>,
    pub(super) clock: Arc<VirtualClock>,
}

impl HostJobs {
    async fn follow(&self, place: &(String, String), stop: &CancellationToken) -> Outcome {
        let ends = self.all.lock().unwrap()[place].ends;
        tokio::select! {
            () = tokio::time::sleep(ends.since(self.clock.now().wall)) => {}
            () = stop.cancelled() => self.all.lock().unwrap().get_mut(place).unwrap().stopped = true,
        }
        let stopped = self.all.lock().unwrap()[place].stopped;
        let (code, signal) = if stopped { (None, Some(15)) } else { (Some(0), None) };
        Outcome::Job { code, signal, timed_out: false, stdout: String::new(), stderr: String::new(), dropped_bytes: 0 }
    }
}

#[async_trait]
impl Performer for HostJobs {
    async fn perform(&self, key: &AttemptKey, effect: Effect, stop: &CancellationToken) -> Outcome {
        let place = (self.host.clone(), key.idempotency_key());
        match effect {
            Effect::Job { argv, .. } => {
                let time = Duration::from_secs(argv[1].parse().unwrap());
                let new = Command { execution: key.execution.clone(), ends: self.clock.now().wall.plus(time), starts: 0, stopped: false };
                self.all.lock().unwrap().entry(place.clone()).or_insert(new).starts += 1;
                self.follow(&place, stop).await
            }
            Effect::AttachJob { .. } if self.all.lock().unwrap().contains_key(&place) => self.follow(&place, stop).await,
            Effect::AttachJob { .. } => Outcome::JobLost,
            Effect::StopJob {} => {
                if let Some(command) = self.all.lock().unwrap().get_mut(&place) {
                    command.stopped = true;
                }
                Outcome::Done { output: Value::Null }
            }
            other => panic!("{other:?}"),
        }
    }

    fn outlived(&self) -> BTreeSet<ExecutionId> {
        let all = self.all.lock().unwrap();
        all.iter().filter(|((host, _), _)| *host == self.host).map(|(_, command)| command.execution.clone()).collect()
    }

    fn running(&self) -> BTreeSet<ExecutionId> {
        let now = self.clock.now().wall;
        let all = self.all.lock().unwrap();
        let runs = |((host, _), command): &(&(String, String), &Command)| *host == self.host && !command.stopped && command.ends > now;
        all.iter().filter(runs).map(|(_, command)| command.execution.clone()).collect()
    }
}

fn job(seconds: u32) -> Value {
    json!({"name": "j", "application": "app", "stages": [{"type": "runJob", "command": ["sleep", seconds]}]})
}

fn all_once(fleet: &Fleet) {
    let jobs = fleet.jobs.lock().unwrap();
    assert!(jobs.values().all(|command| command.starts == 1), "each command is begun once");
}

/// The process of the only host fell when it had begun a job of so many seconds.
async fn fallen_at_a_job(seconds: u32) -> (Fleet, ExecutionId) {
    let fleet = Fleet::new(Duration::ZERO);
    let one = fleet.boot("i-1");
    let id = fleet.start(job(seconds)).await;
    tokio::time::sleep(SECOND).await;
    one.kill().await;
    (fleet, id)
}

#[tokio::test(start_paused = true)]
async fn a_crashed_agents_jobs_are_attached_to_by_its_host_though_siblings_have_nothing_to_do() {
    let fleet = Fleet::new(Duration::ZERO);
    let one = fleet.boot("i-1");
    for _ in 0..20 {
        fleet.start(job(60)).await;
    }
    tokio::time::sleep(SECOND).await;
    let _siblings = ["i-2", "i-3", "i-4"].map(|name| fleet.boot(name));
    tokio::time::sleep(SECOND).await;
    one.kill().await;
    let _again = fleet.boot("i-1");
    let all = fleet.until_ended(20, 120 * SECOND).await;
    assert!(all.iter().all(|listing| listing.status == Status::Succeeded), "{all:?}");
    all_once(&fleet);
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_order_leaves_running_jobs_to_the_next_process_also_with_the_intake_closed() {
    let fleet = Fleet::new(Duration::ZERO);
    let one = fleet.boot("i-1");
    let id = fleet.start(job(60)).await;
    tokio::time::sleep(SECOND).await;
    let _sibling = fleet.boot("i-2");
    assert_eq!(one.stop().await, Ok(()));
    let again = fleet.boot("i-1");
    again.handle.wish(|wish| wish.intake = false);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(again.owned(), 1, "its job runs here");
    fleet.until_ended(1, 120 * SECOND).await;
    assert_eq!(fleet.status(&id).await, Status::Succeeded);
    all_once(&fleet);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_come_back_loses_its_jobs_within_its_lease_and_moments() {
    let fleet = Fleet::new(Duration::ZERO);
    let one = fleet.boot("i-1");
    let id = fleet.start(job(600)).await;
    tokio::time::sleep(SECOND).await;
    let _sibling = fleet.boot("i-2");
    one.kill().await;
    fleet.until_ended(1, 12 * SECOND).await;
    assert_eq!(fleet.status(&id).await, Status::Terminal);
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_execution_is_called_off_while_nobody_is_there_is_stopped_by_its_host() {
    let (fleet, id) = fallen_at_a_job(600).await;
    assert!(fleet.store.post(&id, &Message::Cancel { by: "me".into(), reason: None }).await.unwrap());
    let _again = fleet.boot("i-1");
    fleet.until_ended(1, 60 * SECOND).await;
    assert_eq!(fleet.status(&id).await, Status::Canceled);
    assert!(fleet.jobs.lock().unwrap().values().all(|command| command.stopped));
}

/// The store does not answer an agent that comes back, for longer than an idle engine has to be idle for.
#[tokio::test(start_paused = true)]
async fn an_engine_without_its_session_is_not_idle_and_then_busy_with_the_jobs_of_the_process_before() {
    let (fleet, id) = fallen_at_a_job(60).await;
    let again = fleet.boot("i-1");
    again.cut(true);
    let orchestrator = Embedded::new(again.handle.clone(), fleet.clock.clone());
    assert_eq!(orchestrator.set_intake(false).await, Ok(()), "a drain may begin just then");
    for _ in 0..20 {
        let activity = orchestrator.activity().await.activity;
        assert!(matches!(&activity, Activity::Unknown { why } if why.contains("not known yet")), "{activity:?}");
        assert!(matches!(orchestrator.intake().await, Intake::Unknown { .. }));
        assert!(matches!(orchestrator.stop(SECOND).await, Err(Error::Refused(_))), "nothing was stopped");
        tokio::time::sleep(SECOND).await;
    }
    again.cut(false);
    again.handle.until(|state| state.session.is_some()).await;
    while again.owned() == 0 {
        assert_eq!(orchestrator.intake().await, Intake::Open, "it is about to claim what it works at");
        assert!(matches!(orchestrator.activity().await.activity, Activity::Busy { count: 1, .. }));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(matches!(orchestrator.activity().await.activity, Activity::Busy { count: 1, .. }));
    fleet.until_ended(1, 60 * SECOND).await;
    assert_eq!(fleet.status(&id).await, Status::Succeeded);
    tokio::time::sleep(SECOND).await;
    assert_eq!((orchestrator.activity().await.activity, orchestrator.intake().await), (Activity::Idle, Intake::Closed));
    assert_eq!(orchestrator.stop(SECOND).await, Ok(()));
    all_once(&fleet);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_has_just_started_is_asked_once_and_says_what_it_has() {
    let fleet = Fleet::new(Duration::ZERO);
    let one = fleet.boot("i-1");
    assert_eq!(Embedded::new(one.handle.clone(), fleet.clock.clone()).activity().await.activity, Activity::Idle);
    fleet.start(job(60)).await;
    tokio::time::sleep(SECOND).await;
    one.kill().await;
    let again = fleet.boot("i-1");
    let activity = Embedded::new(again.handle.clone(), fleet.clock.clone()).activity().await.activity;
    assert!(matches!(activity, Activity::Busy { count: 1, .. }), "{activity:?}");
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_execution_went_to_another_instance_keeps_its_host_busy_until_it_ends() {
    let fleet = Fleet::new(Duration::ZERO);
    let one = fleet.boot("i-1");
    fleet.start(job(120)).await;
    tokio::time::sleep(SECOND).await;
    let _sibling = fleet.boot("i-2");
    one.kill().await;
    let again = fleet.boot("i-1");
    again.cut(true);
    again.handle.wish(|wish| wish.intake = false);
    fleet.until_ended(1, 20 * SECOND).await;
    again.cut(false);
    again.handle.until(|state| state.session.is_some()).await;
    let orchestrator = Embedded::new(again.handle.clone(), fleet.clock.clone());
    let runs = || fleet.jobs.lock().unwrap().values().any(|command| command.ends > fleet.now());
    while runs() {
        let activity = orchestrator.activity().await.activity;
        assert!(matches!(activity, Activity::Busy { count: 1, .. }), "{activity:?}");
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!((orchestrator.activity().await.activity, again.owned()), (Activity::Idle, 0));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_a_drain_had_stopped_is_idle_though_its_store_is_away_and_its_session_was_not_ended() {
    let fleet = Fleet::new(Duration::ZERO);
    let one = fleet.boot("i-1");
    tokio::time::sleep(SECOND).await;
    one.cut(true);
    let orchestrator = Embedded::new(one.handle.clone(), fleet.clock.clone());
    assert_eq!(orchestrator.stop(30 * SECOND).await, Ok(()));
    drop(orchestrator);
    one.kill().await;
    let again = fleet.boot_stopped("i-1");
    again.cut(true);
    let orchestrator = Embedded::new(again.handle.clone(), fleet.clock.clone());
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!((orchestrator.activity().await.activity, orchestrator.intake().await), (Activity::Idle, Intake::Closed));
    assert_eq!(orchestrator.stop(SECOND).await, Ok(()));
    assert_eq!(orchestrator.start().await, Ok(()), "the drain was called off");
    assert!(matches!(orchestrator.activity().await.activity, Activity::Unknown { .. }), "it is wanted, and has not begun");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_waits_for_its_store_ends_at_once_when_it_is_told_to() {
    let (fleet, _id) = fallen_at_a_job(60).await;
    let again = fleet.boot("i-1");
    again.cut(true);
    tokio::time::sleep(10 * SECOND).await;
    let told = fleet.now();
    assert_eq!(again.stop().await, Ok(()));
    assert!(fleet.now().since(told) < 3 * SECOND, "{:?}", fleet.now().since(told));
}

#[tokio::test(start_paused = true)]
async fn between_two_sessions_after_a_loss_an_engine_is_not_idle() {
    let fleet = Fleet::new(Duration::ZERO);
    let one = fleet.boot("i-1");
    fleet.start(job(60)).await;
    tokio::time::sleep(SECOND).await;
    let orchestrator = Embedded::new(one.handle.clone(), fleet.clock.clone());
    one.endless(true);
    one.lose();
    one.handle.until(|state| state.session.is_none()).await;
    for _ in 0..20 {
        assert!(matches!(orchestrator.activity().await.activity, Activity::Unknown { .. }));
        tokio::time::sleep(SECOND).await;
    }
    one.endless(false);
    one.handle.until(|state| state.session.is_some()).await;
}

/// An owner that dies after it wrote the end and before it called the child off.
#[tokio::test(start_paused = true)]
async fn what_a_cancelled_stage_wants_undone_is_done_by_the_next_owner() {
    let fleet = Fleet::new(Duration::ZERO);
    fleet.save("child", json!({"name": "child", "stages": [{"type": "wait", "waitTime": 6000}]})).await;
    let one = fleet.boot("i-1");
    let id = fleet.start(json!({"name": "p", "application": "app", "stages": [{"type": "pipeline", "pipeline": "child"}]})).await;
    tokio::time::sleep(5 * SECOND).await;
    one.kill().await;
    let mut execution: Execution = fleet.load(&id).await;
    let child: ExecutionId = execution.stage(0).context()["executionId"].as_str().unwrap().into();
    super::owner::write_as_another(&fleet, &id, &mut execution, Message::Cancel { by: "me".into(), reason: None }).await;
    assert_eq!((fleet.status(&id).await, fleet.status(&child).await), (Status::Canceled, Status::Running));
    let again = fleet.boot("i-1");
    fleet.until_ended(2, 30 * SECOND).await;
    assert_eq!(fleet.status(&child).await, Status::Canceled);
    tokio::time::sleep(SECOND).await;
    assert_eq!(again.owned(), 0);
    assert!(fleet.load(&id).await.stage(0).tasks().iter().all(|task| task.undoing.is_none()));
}
