//! Turns a look into an answer: asks the cloud, the instance's metadata and the orchestrator, and puts what came back into `decide`'s words.
//!
//! What must stay true: an error is an answer, never a guess; every call is bounded by whoever implements it. Nothing is decided here.

use std::sync::Arc;

use crate::cloud;
use crate::cloud::ActivityStatus;
use crate::cloud::AutoScaling;
use crate::cloud::GroupFilter;
use crate::cloud::Kind;
use crate::cloud::Metadata;
use crate::decide::Answer;
use crate::decide::EndingActivity;
use crate::decide::Fault;
use crate::decide::FaultKind;
use crate::decide::Look;
use crate::decide::OwnRead;
use crate::decide::Siblings;
use crate::decide::TaskRead;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::Hook;
use crate::model::InstanceId;
use crate::model::Moniker;
use crate::model::Timestamp;
use crate::model::Vitals;
use crate::orchestrator::Orchestrator;
use crate::orchestrator::gate;
use crate::orchestrator::gate::Ends;
use crate::orchestrator::gate::Search;
use crate::orchestrator::gate::TaskState;
use crate::orchestrator::gate::Tasks;
use crate::orchestrator::probe::Probes;

/// Activities read when we follow our own ending; the newest come first, and ours is among the newest.
const ACTIVITIES: u32 = 20;

/// What can be looked at.
#[derive(Clone)]
pub struct Eyes {
    /// Auto Scaling.
    pub autoscaling: Arc<dyn AutoScaling>,
    /// Our instance's metadata.
    pub metadata: Arc<dyn Metadata>,
    /// The orchestrator on this instance.
    pub orchestrator: Arc<dyn Orchestrator>,
    /// Spinnaker's tasks, where it is asked to end us.
    pub tasks: Option<Arc<dyn Tasks>>,
    /// How the orchestrator, its store and this host are.
    pub probes: Arc<dyn Probes>,
}

/// Where we are, as far as it is known when the look goes out.
#[derive(Clone, Debug)]
pub struct Place {
    /// Our instance.
    pub own: InstanceId,
    /// Our group.
    pub group: Option<GroupName>,
    /// The value of the tag by which siblings are found.
    pub tag_value: Option<String>,
}

impl Eyes {
    /// Looks, and answers.
    pub async fn look(&self, look: Look, siblings: Siblings, place: Place) -> Answer {
        match look {
            Look::TargetState => Answer::TargetState(self.metadata.target_state().await.map_err(fault)),
            Look::Notices => Answer::Notices(self.metadata.notices().await.map_err(fault)),
            Look::Hook(name) => Answer::Hook(self.hook(&place, &name).await.map_err(fault)),
            Look::Own { activities } => Answer::Own(self.own(&place, activities).await.map_err(fault)),
            Look::Group => Answer::Group(self.group(&place).await.map_err(fault)),
            Look::Cluster => Answer::Cluster(self.cluster(siblings, &place).await.map_err(fault)),
            Look::Orchestrator => {
                let intake = self.orchestrator.intake().await;
                Answer::Orchestrator { intake, sample: self.orchestrator.activity().await }
            }
            Look::Probe(probe) => Answer::Probe(probe, self.probes.probe(probe).await),
            Look::Vitals => {
                let vitals = self.probes.vitals().await;
                Answer::Vitals(Vitals { clock_ahead_ms: self.autoscaling.clock_ahead_ms(), ..vitals })
            }
            Look::Task(reference) => Answer::Task(self.task(&reference).await),
            Look::OwnTask { drain } => Answer::OwnTask(self.own_task(&place, drain).await),
        }
    }

    async fn own(&self, place: &Place, activities: bool) -> cloud::Result<OwnRead> {
        let entry = self.autoscaling.instance(&place.own).await?;
        let group = entry.as_ref().map(|e| &e.group).or(place.group.as_ref());
        let ending = match group {
            Some(group) if activities => self.ending(group, &place.own).await?,
            Some(_) | None => None,
        };
        Ok(OwnRead { entry, ending })
    }

    async fn hook(&self, place: &Place, name: &str) -> cloud::Result<Option<Hook>> {
        let Some(group) = &place.group else { return Ok(None) };
        self.autoscaling.hook(group, name).await
    }

    async fn ending(&self, group: &GroupName, own: &InstanceId) -> cloud::Result<Option<EndingActivity>> {
        let activities = self.autoscaling.activities(group, ACTIVITIES).await?;
        let ours = activities.into_iter().find(|a| a.concerns(own) && a.description.starts_with("Terminating"));
        Ok(ours.map(|a| EndingActivity {
            failed: a.status == ActivityStatus::Failed,
            text: format!("{} {}{}", a.description, a.status_code, a.message.map(|m| format!(": {m}")).unwrap_or_default()),
            id: a.id,
        }))
    }

    async fn group(&self, place: &Place) -> cloud::Result<Option<Group>> {
        let Some(name) = &place.group else { return Ok(None) };
        let groups = self.autoscaling.groups(std::slice::from_ref(name)).await?;
        Ok(groups.into_iter().find(|g| &g.name == name))
    }

    async fn cluster(&self, siblings: Siblings, place: &Place) -> cloud::Result<Vec<Group>> {
        let Some(name) = &place.group else { return Ok(Vec::new()) };
        let filter = match (siblings, &place.tag_value) {
            (Siblings::ByTag(key), Some(value)) => GroupFilter::Tag { key, value: value.clone() },
            (Siblings::ByTag(_), None) | (Siblings::ByName, _) => GroupFilter::All,
        };
        let ours = Moniker::parse(name.as_str());
        let mut groups = self.autoscaling.find_groups(&filter).await?;
        groups.retain(|g| &g.name == name || ours.as_ref().zip(Moniker::parse(g.name.as_str())).is_some_and(|(a, b)| a.is_sibling_of(&b)));
        Ok(groups)
    }

    /// A task that has ended without success ends nobody any more. One whose state nobody knows might.
    async fn own_task(&self, place: &Place, drain: Timestamp) -> Result<Option<String>, Fault> {
        let unknown = |text: String| Fault { what: FaultKind::OutcomeUnknown, text };
        let tasks = self.tasks.as_ref().ok_or_else(|| unknown("no Spinnaker is configured".to_owned()))?;
        let group = place.group.clone().ok_or_else(|| unknown("Auto Scaling has not listed our group yet".to_owned()))?;
        let moniker =
            Moniker::parse(group.as_str()).ok_or_else(|| unknown("the group's name tells no Spinnaker application".to_owned()))?;
        let application = moniker.app().to_owned();
        let search = Search { own: place.own.clone(), group, application, key: gate::key(&place.own, drain), since: drain };
        let found = tasks.find(&search).await.map_err(|error| unknown(error.to_string()))?;
        for found in found.into_iter().filter(|found| found.ends == Ends::Us) {
            match found.state {
                TaskState::Running | TaskState::Succeeded => return Ok(Some(found.task.to_string())),
                TaskState::Unknown { why } => return Err(unknown(why)),
                TaskState::Failed { .. } => {}
            }
        }
        Ok(None)
    }

    async fn task(&self, reference: &str) -> Result<TaskRead, Fault> {
        let broken = |text: &str| Fault { what: FaultKind::Broken, text: text.to_owned() };
        let tasks = self.tasks.as_ref().ok_or_else(|| broken("no Spinnaker is configured"))?;
        let task = gate::TaskId::parse(reference).ok_or_else(|| broken("the journal's task is no task id"))?;
        match tasks.task(&task).await {
            TaskState::Running => Ok(TaskRead::Running),
            TaskState::Succeeded => Ok(TaskRead::Succeeded),
            TaskState::Failed { status, message } => Ok(TaskRead::Failed(format!("{status}: {}", message.unwrap_or_default()))),
            TaskState::Unknown { why } => Err(Fault { what: FaultKind::OutcomeUnknown, text: why }),
        }
    }
}

/// An error of the cloud in `decide`'s words.
pub fn fault(error: cloud::Error) -> Fault {
    let what = match error.kind {
        Kind::Throttled | Kind::Conflict => FaultKind::NotNow,
        Kind::Unavailable | Kind::TimedOut | Kind::Bug => FaultKind::OutcomeUnknown,
        Kind::Denied => FaultKind::Denied,
        Kind::Gone | Kind::Refused => FaultKind::Refused,
    };
    Fault { what, text: error.to_string() }
}
