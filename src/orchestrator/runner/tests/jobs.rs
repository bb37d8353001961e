//! Jobs that outlive the process that began them: the next process of their host comes to them before anybody else.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::Value;
use serde_json::json;

use super::super::*;
use super::SECOND;
use super::rig::Fleet;
use crate::host::clock::VirtualClock;
use crate::model::Timestamp;
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
}

fn job(seconds: u32) -> Value {
    json!({"name": "j", "application": "app", "stages": [{"type": "runJob", "command": ["sleep", seconds]}]})
}

fn all_once(fleet: &Fleet) {
    let jobs = fleet.jobs.lock().unwrap();
    assert!(jobs.values().all(|command| command.starts == 1), "each command is begun once");
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
    let fleet = Fleet::new(Duration::ZERO);
    let one = fleet.boot("i-1");
    let id = fleet.start(job(600)).await;
    tokio::time::sleep(SECOND).await;
    one.kill().await;
    assert!(fleet.store.post(&id, &Message::Cancel { by: "me".into(), reason: None }).await.unwrap());
    let _again = fleet.boot("i-1");
    fleet.until_ended(1, 60 * SECOND).await;
    assert_eq!(fleet.status(&id).await, Status::Canceled);
    assert!(fleet.jobs.lock().unwrap().values().all(|command| command.stopped));
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
