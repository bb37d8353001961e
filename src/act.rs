//! Turns a deed into calls: the cloud, the orchestrator, or Spinnaker. Answers with a receipt or a fault; decides nothing, repeats nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::cloud::AutoScaling;
use crate::cloud::Identity;
use crate::cloud::Resize;
use crate::decide::Deed;
use crate::decide::Fault;
use crate::decide::FaultKind;
use crate::decide::Policy;
use crate::decide::Receipt;
use crate::decide::Via;
use crate::model::GroupName;
use crate::model::Moniker;
use crate::model::Timestamp;
use crate::observe::fault;
use crate::orchestrator;
use crate::orchestrator::Orchestrator;
use crate::orchestrator::gate;
use crate::orchestrator::gate::TaskState;
use crate::orchestrator::gate::Tasks;
use crate::orchestrator::gate::Termination;

/// For the whole of a termination through Spinnaker: looking for a task that is there already, and submitting one.
const SPINNAKER_LIMIT: Duration = Duration::from_secs(30);

/// What can be acted with.
pub struct Hands {
    /// Auto Scaling.
    pub autoscaling: Arc<dyn AutoScaling>,
    /// The orchestrator on this instance.
    pub orchestrator: Arc<dyn Orchestrator>,
    /// Spinnaker's tasks, where it is asked to end us.
    pub tasks: Option<Arc<dyn Tasks>>,
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
            Deed::StopOrchestrator { grace } => self.orchestrator.stop(grace).await.map_err(refusal)?,
            Deed::StartOrchestrator => self.orchestrator.start().await.map_err(refusal)?,
            Deed::LowerMin { to } => {
                let group = group.ok_or_else(|| broken("Auto Scaling has not listed our group yet"))?;
                self.autoscaling.resize(group, Resize { min: Some(to), ..Resize::default() }).await.map_err(fault)?;
            }
            Deed::TerminateOwn { drain, lower_min } => return self.terminate(drain, lower_min, reason, identity, group, policy).await,
        }
        Ok(Receipt::Done)
    }

    async fn terminate(
        &self,
        drain: Timestamp,
        lower_min: bool,
        reason: &str,
        identity: &Identity,
        group: Option<&GroupName>,
        policy: &Policy,
    ) -> Result<Receipt, Fault> {
        match policy.via {
            Via::Aws => {
                let activity = self.autoscaling.terminate_own(&identity.own, true).await.map_err(fault)?;
                Ok(Receipt::Activity(activity.id))
            }
            Via::Spinnaker => {
                let tasks = self.tasks.as_ref().ok_or_else(|| broken("no Spinnaker is configured"))?;
                let group = group.ok_or_else(|| broken("Auto Scaling has not listed our group yet"))?;
                let moniker = Moniker::parse(group.as_str()).ok_or_else(|| broken("the group's name tells no Spinnaker application"))?;
                let termination = Termination {
                    own: identity.own.clone(),
                    group: group.clone(),
                    application: moniker.app().to_owned(),
                    region: identity.region.clone(),
                    adjust_min: lower_min,
                    reason: reason.to_owned(),
                    key: format!("{}@{drain}", identity.own.id()),
                };
                // Dropping it takes back what was not sent yet; what was sent is found by reading.
                let limited = tokio::time::timeout(SPINNAKER_LIMIT, ask_spinnaker(tasks.as_ref(), &termination, drain));
                limited.await.unwrap_or_else(|_| {
                    let text = format!("Spinnaker did not answer within {} s", SPINNAKER_LIMIT.as_secs());
                    Err(Fault { what: FaultKind::OutcomeUnknown, text })
                })
            }
        }
    }
}

/// Takes up a task that ends us already, whoever submitted it (F22); submits one only when a read shows none.
async fn ask_spinnaker(tasks: &dyn Tasks, termination: &Termination, since: Timestamp) -> Result<Receipt, Fault> {
    for found in tasks.find(termination, since).await.map_err(unsearched)? {
        match found.state {
            TaskState::Running | TaskState::Succeeded => return Ok(Receipt::Task(found.task.to_string())),
            TaskState::Unknown { why } => return Err(Fault { what: FaultKind::NotNow, text: why }),
            TaskState::Failed { .. } => {}
        }
    }
    match tasks.submit(termination).await {
        Ok(task) => Ok(Receipt::Task(task.to_string())),
        Err(error) => Err(unsubmitted(error)),
    }
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

fn broken(text: &str) -> Fault {
    Fault { what: FaultKind::Broken, text: text.to_owned() }
}

#[cfg(test)]
mod tests;
