//! Turns a deed into calls: the cloud, the orchestrator, or Spinnaker. Answers with a receipt or a fault; decides nothing, repeats nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::cloud::AutoScaling;
use crate::cloud::Identity;
use crate::decide::Deed;
use crate::decide::Fault;
use crate::decide::FaultKind;
use crate::decide::Policy;
use crate::decide::Receipt;
use crate::decide::Via;
use crate::model::CAPACITY_TAG;
use crate::model::GroupName;
use crate::model::Moniker;
use crate::model::Timestamp;
use crate::observe::fault;
use crate::orchestrator;
use crate::orchestrator::Orchestrator;
use crate::orchestrator::gate;
use crate::orchestrator::gate::Ends;
use crate::orchestrator::gate::Search;
use crate::orchestrator::gate::TaskId;
use crate::orchestrator::gate::TaskState;
use crate::orchestrator::gate::Tasks;
use crate::orchestrator::gate::Termination;
use crate::orchestrator::permits::Permits;
use crate::orchestrator::store::StoreError;

/// For the submission of a task to Spinnaker.
const SUBMIT_LIMIT: Duration = Duration::from_secs(30);

/// What can be acted with.
pub struct Hands {
    /// Auto Scaling.
    pub autoscaling: Arc<dyn AutoScaling>,
    /// The orchestrator on this instance.
    pub orchestrator: Arc<dyn Orchestrator>,
    /// Spinnaker's tasks, where it is asked to end us.
    pub tasks: Option<Arc<dyn Tasks>>,
    /// The fleet's book of permits, where there is one.
    pub permits: Option<Arc<dyn Permits>>,
}

impl Hands {
    /// Does one deed. The only instance that can be named to AWS is the one in `identity`.
    pub async fn act(
        &self,
        deed: Deed,
        reason: &str,
        identity: &Identity,
        group: Option<&GroupName>,
        policy: &Policy,
    ) -> Result<Receipt, Fault> {
        match deed {
            Deed::SetIntake { open } => self.orchestrator.set_intake(open).await.map_err(refusal)?,
            Deed::StopOrchestrator { grace, .. } => self.orchestrator.stop(grace).await.map_err(refusal)?,
            Deed::StartOrchestrator => self.orchestrator.start().await.map_err(refusal)?,
            Deed::Heartbeat { hook } => {
                self.autoscaling.heartbeat(listed(group)?, &hook, &identity.own).await.map_err(fault)?;
            }
            Deed::CompleteHook { hook, result } => {
                self.autoscaling.complete(listed(group)?, &hook, &identity.own, result).await.map_err(fault)?;
            }
            Deed::Protect { on } => {
                self.autoscaling.protect(listed(group)?, std::slice::from_ref(identity.own.id()), on).await.map_err(fault)?;
            }
            Deed::RestartOrchestrator { grace } => self.orchestrator.restart(grace).await.map_err(refusal)?,
            Deed::LowerMin { to } => {
                let group = listed(group)?;
                self.autoscaling.lower_min(group, to).await.map_err(fault)?;
            }
            Deed::RecordCapacity { text } => {
                let group = listed(group)?;
                let key = CAPACITY_TAG.to_owned();
                match text {
                    Some(text) => self.autoscaling.put_tags(group, &[(key, text)]).await.map_err(fault)?,
                    None => self.autoscaling.delete_tags(group, &[key]).await.map_err(fault)?,
                };
            }
            Deed::TerminateOwn { decrement, drain, lower_min, others } => {
                return match policy.via {
                    // Spinnaker's tasks end with decrement; there is none to agree on here.
                    _ if !decrement => {
                        let activity = self.autoscaling.terminate_own(&identity.own, false).await.map_err(fault)?;
                        Ok(Receipt::Activity(activity.id))
                    }
                    Via::Aws => {
                        let activity = self.autoscaling.terminate_own(&identity.own, true).await.map_err(fault)?;
                        Ok(Receipt::Activity(activity.id))
                    }
                    Via::Spinnaker => self.ask_spinnaker(drain, lower_min, others, reason, identity, group, policy.stale_bound).await,
                };
            }
            Deed::TakePermit(request) => {
                let permits = self.permits.as_ref().ok_or_else(|| broken("no store that gives permits is configured"))?;
                return permits.take(&request).await.map(Receipt::Permit).map_err(unpermitted);
            }
            Deed::GivePermit { group, permit } => {
                let permits = self.permits.as_ref().ok_or_else(|| broken("no store that gives permits is configured"))?;
                permits.give(&group, &permit).await.map_err(unpermitted)?;
            }
            Deed::CancelTask { task } => {
                let tasks = self.tasks.as_ref().ok_or_else(|| broken("no Spinnaker is configured"))?;
                let task = TaskId::parse(&task).ok_or_else(|| broken("the journal's task is no task id"))?;
                tasks.cancel(&task).await.map_err(unsubmitted)?;
            }
        }
        Ok(Receipt::Done)
    }

    /// `fresh` is how old what justifies it may be when it is submitted.
    #[expect(clippy::too_many_arguments, reason = "all that a task says")]
    async fn ask_spinnaker(
        &self,
        drain: Timestamp,
        lower_min: bool,
        others: usize,
        reason: &str,
        identity: &Identity,
        group: Option<&GroupName>,
        fresh: Duration,
    ) -> Result<Receipt, Fault> {
        let tasks = self.tasks.as_ref().ok_or_else(|| broken("no Spinnaker is configured"))?;
        let group = listed(group)?;
        let moniker = Moniker::parse(group.as_str()).ok_or_else(|| broken("the group's name tells no Spinnaker application"))?;
        let termination = Termination {
            own: identity.own.clone(),
            group: group.clone(),
            application: moniker.app().to_owned(),
            region: identity.region.clone(),
            adjust_min: lower_min,
            reason: reason.to_owned(),
            key: gate::key(identity.own.id(), drain),
        };
        submit_or_take_up(tasks.as_ref(), &termination, drain, others, fresh).await
    }
}

/// Takes up a task that ends us already, whoever submitted it (F22); submits one only when a read shows none, and no more than `others` that end
/// siblings of ours.
async fn submit_or_take_up(
    tasks: &dyn Tasks,
    termination: &Termination,
    since: Timestamp,
    others: usize,
    fresh: Duration,
) -> Result<Receipt, Fault> {
    let not_now = |text: String| Fault { what: FaultKind::NotNow, text };
    let Termination { own, group, application, key, .. } = termination.clone();
    let search = Search { own: own.id().clone(), group, application, key, since };
    let found = tokio::time::timeout(fresh, tasks.find(&search)).await;
    let found = found.map_err(|_| not_now(format!("Spinnaker's tasks took longer to read than {} s", fresh.as_secs())))?;
    let mut siblings = 0;
    for found in found.map_err(unsearched)? {
        match (found.ends, found.state) {
            (Ends::Us, TaskState::Running | TaskState::Succeeded) => return Ok(Receipt::Task(found.task.to_string())),
            (Ends::Us, TaskState::Unknown { why }) => return Err(not_now(why)),
            (Ends::Sibling, TaskState::Running | TaskState::Unknown { .. }) => siblings += 1,
            (Ends::Us | Ends::Sibling, TaskState::Failed { .. }) | (Ends::Sibling, TaskState::Succeeded) => {}
        }
    }
    if siblings > others {
        return Err(not_now(format!("Spinnaker is to end {siblings} others of the group already")));
    }
    // Dropping it takes back what was not sent yet; what was sent is found by reading.
    match tokio::time::timeout(SUBMIT_LIMIT, tasks.submit(termination)).await {
        Ok(Ok(task)) => Ok(Receipt::Task(task.to_string())),
        Ok(Err(error)) => Err(unsubmitted(error)),
        Err(_) => {
            let text = format!("Spinnaker did not answer within {} s", SUBMIT_LIMIT.as_secs());
            Err(Fault { what: FaultKind::OutcomeUnknown, text })
        }
    }
}

/// After no answer nobody knows whether a permit was granted.
fn unpermitted(error: StoreError) -> Fault {
    let what = match &error {
        StoreError::Unavailable(_) | StoreError::LostData(_) => FaultKind::OutcomeUnknown,
        StoreError::Full(_) => FaultKind::NotNow,
        StoreError::Unreadable(_) | StoreError::Refused(_) => FaultKind::Broken,
    };
    Fault { what, text: error.to_string() }
}

/// A search changes nothing: whatever failed, nothing was sent.
fn unsearched(error: gate::Error) -> Fault {
    let what = match error {
        gate::Error::Denied(_) => FaultKind::Denied,
        gate::Error::NotSent(_) | gate::Error::Refused(_) | gate::Error::OutcomeUnknown(_) | gate::Error::Unreadable(_) => {
            FaultKind::NotNow
        }
    };
    Fault { what, text: error.to_string() }
}

fn unsubmitted(error: gate::Error) -> Fault {
    let what = match error {
        gate::Error::NotSent(_) => FaultKind::NotNow,
        gate::Error::Refused(_) => FaultKind::Refused,
        gate::Error::Denied(_) => FaultKind::Denied,
        gate::Error::OutcomeUnknown(_) | gate::Error::Unreadable(_) => FaultKind::OutcomeUnknown,
    };
    Fault { what, text: error.to_string() }
}

fn refusal(error: orchestrator::Error) -> Fault {
    let what = match error {
        orchestrator::Error::Refused(_) => FaultKind::Refused,
        orchestrator::Error::NoAnswer(_) => FaultKind::OutcomeUnknown,
        orchestrator::Error::Unable(_) => FaultKind::Broken,
    };
    Fault { what, text: error.to_string() }
}

fn listed(group: Option<&GroupName>) -> Result<&GroupName, Fault> {
    group.ok_or_else(|| broken("Auto Scaling has not listed our group yet"))
}

fn broken(text: &str) -> Fault {
    Fault { what: FaultKind::Broken, text: text.to_owned() }
}

#[cfg(test)]
mod tests;
