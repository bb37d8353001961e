//! Bugs to plant in the agents of a play, each the bug that an invariant is there to catch. They exist in test builds alone.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;

use super::station::open;
use crate::cloud;
use crate::cloud::AutoScaling;
use crate::cloud::GroupFilter;
use crate::cloud::OwnInstance;
use crate::cloud::Refresh;
use crate::cloud::Resize;
use crate::cloud::ScalingActivity;
use crate::cloud::ScheduledAction;
use crate::decide::Durable;
use crate::decide::Policy;
use crate::journal::Journal;
use crate::model::Activity;
use crate::model::Group;
use crate::model::GroupInstance;
use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::Intake;
use crate::model::Process;
use crate::model::Sample;
use crate::model::Timestamp;
use crate::orchestrator;
use crate::orchestrator::Abilities;
use crate::orchestrator::Orchestrator;

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Once idle was seen with intake closed, later looks are answered from memory: there is no last look.
    NoLastLook,
    /// What cannot be learnt counts as idle.
    UnknownIsIdle,
    /// A terminate call whose answer was lost is sent again at once.
    RetryBlindly,
    /// Intake is said to be closed although nobody closed it.
    IntakeNeverClosed,
    /// Hold tags are not seen.
    HoldUnseen,
    /// Suspended processes of a group are made up: everybody thinks that its group is disabled.
    AlwaysDisabled,
    /// No quiet time.
    NoQuiet,
    /// Everybody may end at once.
    NoBudget,
    /// The journal is lost with the process.
    NoJournal,
    /// Nothing is written to the journal.
    Unwritten,
    /// desired is written together with min.
    WritesDesired,
}

/// What an agent gets instead.
type Planted = (Arc<dyn AutoScaling>, Arc<dyn Orchestrator>, Box<dyn Journal>, Policy);

/// Plants a bug, or none.
pub fn plant(
    plant: Option<Plant>,
    cloud: Arc<dyn AutoScaling>,
    orchestrator: Arc<dyn Orchestrator>,
    journal: Box<dyn Journal>,
    mut policy: Policy,
) -> Planted {
    let Some(plant) = plant else { return (cloud, orchestrator, journal, policy) };
    match plant {
        Plant::NoQuiet => (policy.quiet, policy.settle) = (Duration::ZERO, Duration::ZERO),
        Plant::NoBudget => policy.budget_percent = 100,
        Plant::NoLastLook
        | Plant::UnknownIsIdle
        | Plant::RetryBlindly
        | Plant::IntakeNeverClosed
        | Plant::HoldUnseen
        | Plant::AlwaysDisabled
        | Plant::NoJournal
        | Plant::Unwritten
        | Plant::WritesDesired => {}
    }
    let journal: Box<dyn Journal> = match plant {
        Plant::NoJournal | Plant::Unwritten => Box::new(Forgets { journal, writes: plant == Plant::NoJournal }),
        _ => journal,
    };
    (Arc::new(BadCloud { cloud, plant }), Arc::new(BadEyes { orchestrator, plant, idle: Mutex::default() }), journal, policy)
}

struct Forgets {
    journal: Box<dyn Journal>,
    writes: bool,
}

impl Journal for Forgets {
    fn load(&mut self, _own: &InstanceId, _boot: &str) -> io::Result<Option<(Durable, bool)>> {
        Ok(None)
    }

    fn save(&mut self, own: &InstanceId, boot: &str, at: Timestamp, durable: &Durable) -> io::Result<()> {
        if self.writes { self.journal.save(own, boot, at, durable) } else { Ok(()) }
    }
}

struct BadEyes {
    orchestrator: Arc<dyn Orchestrator>,
    plant: Plant,
    idle: Mutex<bool>,
}

#[async_trait]
impl Orchestrator for BadEyes {
    async fn activity(&self) -> Sample {
        let mut sample = self.orchestrator.activity().await;
        match self.plant {
            Plant::NoLastLook => {
                let closed = self.orchestrator.intake().await == Intake::Closed;
                let mut idle = open(&self.idle);
                *idle |= closed && sample.activity == Activity::Idle;
                if *idle {
                    sample = Sample { activity: Activity::Idle, measured: None, generation: None, ..sample };
                }
            }
            Plant::UnknownIsIdle if matches!(sample.activity, Activity::Unknown { .. }) => {
                (sample.activity, sample.measured) = (Activity::Idle, None);
            }
            _ => {}
        }
        sample
    }

    async fn intake(&self) -> Intake {
        match self.plant {
            Plant::IntakeNeverClosed => Intake::Closed,
            Plant::NoLastLook if *open(&self.idle) => Intake::Closed,
            Plant::UnknownIsIdle => match self.orchestrator.intake().await {
                Intake::Unknown { .. } => Intake::Closed,
                known => known,
            },
            _ => self.orchestrator.intake().await,
        }
    }

    async fn set_intake(&self, open: bool) -> Result<(), orchestrator::Error> {
        if self.plant == Plant::IntakeNeverClosed { Ok(()) } else { self.orchestrator.set_intake(open).await }
    }

    async fn stop(&self, grace: Duration) -> Result<(), orchestrator::Error> {
        self.orchestrator.stop(grace).await
    }

    async fn start(&self) -> Result<(), orchestrator::Error> {
        self.orchestrator.start().await
    }

    fn abilities(&self) -> Abilities {
        self.orchestrator.abilities()
    }
}

struct BadCloud {
    cloud: Arc<dyn AutoScaling>,
    plant: Plant,
}

impl BadCloud {
    fn seen(&self, mut groups: Vec<Group>) -> Vec<Group> {
        for group in &mut groups {
            match self.plant {
                Plant::HoldUnseen => group.tags.clear(),
                Plant::AlwaysDisabled if group.created.0 < groups_oldest() => {
                    group.suspended.insert(Process::AddToLoadBalancer, String::new());
                }
                _ => {}
            }
        }
        groups
    }
}

/// Groups that a play begins with are made before this.
fn groups_oldest() -> i64 {
    super::scenario::START_MS + 1000
}

#[async_trait]
impl AutoScaling for BadCloud {
    async fn terminate_own(&self, own: &OwnInstance, decrement: bool) -> cloud::Result<ScalingActivity> {
        let answer = self.cloud.terminate_own(own, decrement).await;
        match answer {
            Err(error) if self.plant == Plant::RetryBlindly && error.outcome_unknown() => self.cloud.terminate_own(own, decrement).await,
            answer => answer,
        }
    }

    async fn groups(&self, names: &[GroupName]) -> cloud::Result<Vec<Group>> {
        Ok(self.seen(self.cloud.groups(names).await?))
    }

    async fn find_groups(&self, filter: &GroupFilter) -> cloud::Result<Vec<Group>> {
        Ok(self.seen(self.cloud.find_groups(filter).await?))
    }

    async fn instance(&self, id: &InstanceId) -> cloud::Result<Option<GroupInstance>> {
        self.cloud.instance(id).await
    }

    async fn activities(&self, group: &GroupName, limit: u32) -> cloud::Result<Vec<ScalingActivity>> {
        self.cloud.activities(group, limit).await
    }

    async fn scheduled_actions(&self, group: &GroupName) -> cloud::Result<Vec<ScheduledAction>> {
        self.cloud.scheduled_actions(group).await
    }

    async fn running_refreshes(&self, group: &GroupName) -> cloud::Result<Vec<Refresh>> {
        self.cloud.running_refreshes(group).await
    }

    async fn resize(&self, group: &GroupName, mut change: Resize) -> cloud::Result<()> {
        if self.plant == Plant::WritesDesired {
            change.desired = change.min;
        }
        self.cloud.resize(group, change).await
    }

    async fn suspend(&self, group: &GroupName, processes: &[Process]) -> cloud::Result<()> {
        self.cloud.suspend(group, processes).await
    }

    async fn resume(&self, group: &GroupName, processes: &[Process]) -> cloud::Result<()> {
        self.cloud.resume(group, processes).await
    }

    async fn put_tags(&self, group: &GroupName, tags: &[(String, String)]) -> cloud::Result<()> {
        self.cloud.put_tags(group, tags).await
    }

    async fn delete_tags(&self, group: &GroupName, keys: &[String]) -> cloud::Result<()> {
        self.cloud.delete_tags(group, keys).await
    }
}
