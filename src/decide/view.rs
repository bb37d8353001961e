//! The state in words, for people and programs that ask.

use crate::model::Moment;

use super::policy::Policy;
use super::state::Phase;
use super::state::Progress;
use super::state::State;
use super::status::DrainStatus;
use super::status::Status;

impl State {
    /// What `bellrock status` shows.
    pub fn status(&self, policy: &Policy, now: Moment) -> Status {
        let drain = self.durable.drain.as_ref();
        let reason = drain.map(|d| match &d.progress {
            Progress::Cancelled { why, .. } => format!("called off: {why}"),
            Progress::Draining | Progress::Stopping | Progress::Stopped | Progress::Intent { .. } | Progress::Accepted { .. } => {
                d.reason.to_string()
            }
        });
        let mut evidence = Vec::new();
        if let Some((asked, group)) = &self.group {
            let disabled = if group.is_disabled() { "disabled" } else { "enabled" };
            evidence.push(format!("{} is {disabled}, {}, read {} s ago", group.name, group.capacity, now.since(*asked).as_secs()));
        }
        evidence.extend(self.explain_notices(now));
        evidence.extend(self.explain_wait(policy, now));
        evidence.extend(self.explain_protection());
        evidence.extend(self.agreement.explain().map(str::to_owned));
        evidence.extend(self.finding.clone());
        if let Some(since) = self.unknown_since.filter(|since| now.since(*since) >= policy.unknown_alert) {
            evidence.push(format!(
                "activity unknown for {} s; unknown counts as busy (runbooks/activity_unknown.md)",
                now.since(since).as_secs()
            ));
        }
        if let Some(veto) = &self.durable.veto {
            evidence.push(format!("{} called the drain off; `bellrock drain` starts it again", veto.by));
        }
        evidence.extend(self.deed_fault.as_ref().map(|fault| format!("last deed failed: {fault}")));
        evidence.extend(self.fault.as_ref().map(|fault| format!("last error: {fault}")));
        Status {
            instance: Some(self.own.clone()),
            group: self.group_name.clone(),
            phase: self.phase.word().to_owned(),
            since: self.since.wall,
            reason,
            evidence,
            waits_for: self.waits_for(),
            held: self.phase.held().map(|why| why.code().to_owned()),
            activity: self.sample.as_ref().map(|s| s.activity.clone()),
            intake: self.intake.clone(),
            heal: Some(self.heal_status(policy, now)),
            unknown_since: self.unknown_since.map(|since| since.wall),
            drain: drain.map(|d| DrainStatus { reason: d.reason.word().to_owned(), started: d.started }),
            hook: self.hook_status(policy),
            interruption: self.notices.interruption.as_ref().map(|notice| notice.at),
            protected: self.durable.protected,
            // One that the drain itself has stopped has nothing to say.
            ready: self.group.is_some() && (self.answered || drain.is_some_and(|d| d.progress.is_stopped())),
        }
    }

    fn waits_for(&self) -> Option<String> {
        Some(match &self.phase {
            Phase::Working if self.group_name.is_none() => "Auto Scaling to list this instance".to_owned(),
            Phase::Working | Phase::Gone => return None,
            Phase::Closing { .. } => "intake to read back as closed".to_owned(),
            Phase::Confirming => self.finding.clone().unwrap_or_else(|| "the orchestrator to be idle over the quiet time".to_owned()),
            Phase::Validating => "fresh reads of the group".to_owned(),
            Phase::Waiting { why, .. } => why.clone(),
            Phase::Lowering => "min to be lowered".to_owned(),
            Phase::Stopping => "the orchestrator to stop".to_owned(),
            Phase::LastLook => "one last look at the orchestrator".to_owned(),
            Phase::Answering => "AWS to take the lifecycle hook's answer".to_owned(),
            Phase::Terminating => "the answer to the terminate call".to_owned(),
            Phase::Uncertain { .. } => "reads that tell whether the terminate call was carried out".to_owned(),
            Phase::Ending { .. } => self.finding.clone().unwrap_or_else(|| "Auto Scaling to end the instance".to_owned()),
            Phase::Held { text, .. } => text.clone(),
            Phase::Reopening { start: true, .. } => "the orchestrator to start".to_owned(),
            Phase::Reopening { .. } => "intake to read back as open".to_owned(),
        })
    }
}
